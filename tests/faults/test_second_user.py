"""What another user of the disk can do: who may write the folder is trusted for what is in it, and for nothing else."""

import json
import os
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path

import pytest
from second_user import (
    ATTACKER, COLLEAGUE, FETCHER, FILE, GROUP, LEFTOVER, RUNNERS, SECONDS, Shared, as_user, change_in_place, evil_twin,
    exchange, folder, gives_name, huge, is_regular, link_to, made_by_attacker, names_of, owned_by_attacker, pipe,
    remove, swapping,
)  # fmt: skip
from sweep import killed_after, scratch
from system_calls import CALLS
from target import MIB, TEMPORARY, Target, Wanted, fetched, sha256_of
from test_writers import together, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be several users")
LAYOUTS = {"directory": False, "cache": True}


def each(**values):
    """One test per value; of a dictionary, named by the keys."""
    (name, choices), = values.items()
    if isinstance(choices, dict):
        return pytest.mark.parametrize(name, list(choices.values()), ids=list(choices))
    return pytest.mark.parametrize(name, choices, ids=str)


def everywhere(kind):
    cases = names_of(kind)
    return pytest.mark.parametrize(
        "cache, name", cases, ids=[f"{'cache' if cache else 'directory'}-{name}" for cache, name in cases]
    )


@pytest.fixture(scope="module", autouse=True)
def everyones_binary():
    """Where each user may execute it."""
    before = os.environ["MODELFETCH"]
    with tempfile.TemporaryDirectory(prefix="modelfetch-binary-") as directory:
        os.chmod(directory, 0o755)
        os.environ["MODELFETCH"] = shutil.copy(before, directory)
        yield
    os.environ["MODELFETCH"] = before


@pytest.fixture
def place(place):
    """Where each user may go."""
    place.chmod(0o755)
    return place


@pytest.fixture
def sampled(request, full):
    """Only some of many alike, always the same ones."""
    if not full and zlib.crc32(request.node.name.encode()) % 25:
        pytest.skip("a sample does")


@pytest.fixture
def wanted(serve):
    return Wanted.of(serve("--file", FILE, "--size", "256KiB"))


@pytest.fixture
def slow(serve):
    return Wanted.of(serve("--file", FILE, "--size", "8MiB", "--rate-per-connection", "128KiB"))


# What was planted before.

KINDS = {
    "link": lambda victim: link_to(victim.file),
    "dangling link": lambda victim: link_to(victim.absent),
    "hard link": lambda victim: lambda path: os.link(victim.file, path),
}


@each(uid=RUNNERS)
@each(kind=KINDS)
@everywhere("files")
def test_a_planted_link_for_a_file_is_not_written_through(cache, name, kind, uid, wanted, place, sampled):
    target = Shared(place, wanted, cache, uid)
    target.plant(name, kind(target.victim))
    target.assert_harmless(target.watch(f"--metrics-file={target.where('metrics')}"))


@each(uid=RUNNERS)
@everywhere("folders")
def test_a_planted_link_for_a_folder_leads_nowhere(cache, name, uid, wanted, place):
    target = Shared(place, wanted, cache, uid)
    target.plant(name, link_to(target.victim.folder_like(name)))
    target.assert_harmless(target.watch())


@each(uid=RUNNERS)
@each(cache=LAYOUTS)
def test_what_lies_in_the_state_folder_under_a_foreign_name_stays(cache, uid, wanted, place):
    """And of what is called like a file of a run, a folder stays, and a link goes without what it leads to."""
    target = Shared(place, wanted, cache, uid)
    state, partials = target.where("state"), target.where("partials")
    made_by_attacker(partials)
    for parent, name in (state, LEFTOVER), (partials, "a" * 64):
        (parent / name).mkdir()
        (parent / name / "notes.txt").write_text("mine")
        (parent / "notes.txt").write_text("mine")
    for parent, name in (state, LEFTOVER[:-1] + "e"), (partials, "b" * 64):
        os.symlink(target.victim.folder, parent / name)
    target.assert_done(target.watch())
    target.victim.assert_untouched()
    for parent, name in (state, LEFTOVER), (partials, "a" * 64):
        assert [path.read_text() for path in (parent / "notes.txt", parent / name / "notes.txt")] == ["mine", "mine"]


@each(uid=RUNNERS)
@each(kind=KINDS)
def test_a_planted_link_for_the_termination_message_is_not_written_through(kind, uid, wanted, place):
    if kind is KINDS["hard link"]:
        pytest.skip("a file of two names is written in place: a container runtime may mount it so")
    target = Shared(place, wanted, uid=uid)
    path = planted_in_open_folder(place, "termination", kind(target.victim))
    target.assert_harmless(target.watch(f"--termination-message={path}"))


@each(uid=RUNNERS)
@each(there=[True, False])
def test_a_plain_termination_message_is_written_in_a_folder_of_all(there, uid, wanted, place):
    target = Shared(place, wanted, uid=uid)
    path = planted_in_open_folder(place, "termination", lambda path: path.write_text("old") if there else None)
    if there:
        os.chown(path, uid, uid)
        inode = path.stat().st_ino
    target.assert_done(target.watch(f"--termination-message={path}"))
    assert json.loads(path.read_text())["outcome"] == "ok"
    assert not there or path.stat().st_ino == inode, "replaced: the container runtime has the old one"


@each(uid=RUNNERS)
def test_a_pipe_for_the_termination_message_holds_nobody_up(uid, wanted, place):
    target = Shared(place, wanted, uid=uid)
    path = planted_in_open_folder(place, "termination", pipe)
    target.assert_harmless(target.watch(f"--termination-message={path}"))


def planted_in_open_folder(place, name, make):
    folder = place / "open"
    made_by_attacker(folder)
    make(folder / name)
    return folder / name


# What is swapped meanwhile.


@each(uid=RUNNERS)
@everywhere("folders")
def test_a_folder_swapped_for_a_link_before_any_call_leads_nowhere(cache, name, uid, wanted, place, full, note):
    if not full and cache == bool(uid):
        pytest.skip("a sample does")

    def attacked(directory, moment):
        target = Shared(directory, wanted, cache, uid)
        path, count = target.where(name), 0

        def decide(call):
            nonlocal count
            count += call.changes
            if call.changes and count == moment and path.parent.is_dir():
                if path.is_dir():
                    path.rename(path.with_name("moved"))
                link_to(target.victim.folder_like(name))(path)
            return "continue"

        ended = target.run(decide)
        target.victim.assert_untouched()
        assert ended.status in (0, 22), f"before call {moment}: exit {ended.status}: {ended.stderr}"
        return count

    with scratch(place) as directory:
        calls = attacked(directory, None)
    assert calls > 9, f"only {calls} calls were seen"
    # As a sample, when it is there and the file is not.
    moments = range(1, calls + 1) if full else [calls // 2]
    for moment in moments:
        with scratch(place) as directory:
            attacked(directory, moment)
    note(f"swapped before {len(moments)} of {calls} calls")


@each(uid=RUNNERS)
@pytest.mark.parametrize(
    "cache, name",
    [(False, "folder of the file"), (False, "partials"), (False, "state"), (True, "blobs"), (True, "snapshot")],
)
def test_a_folder_swapped_for_a_link_all_the_time_leads_nowhere(cache, name, uid, wanted, place, full, note):
    rounds = 100 if full else 3
    ends = []
    for _ in range(rounds):
        with scratch(place) as directory:
            target = Shared(directory, wanted, cache, uid)
            path = target.where(name)
            made_by_attacker(path)
            link = path.with_name("link")
            link_to(target.victim.folder_like(name))(link)
            with swapping(path, link):
                ended = target.watch()
            target.victim.assert_untouched()
            assert ended.status in (0, 22), f"exit {ended.status}: {ended.stderr}"
            ends.append(ended.status)
            target.assert_honest()
            target.assert_harmless(target.watch())
    note(f"{rounds} runs: {ends.count(0)} ended with 0, {ends.count(22)} with 22")


@each(when=["before", "after"])
@each(uid=RUNNERS)
@each(cache=LAYOUTS)
def test_a_file_exchanged_when_it_gets_its_name_is_not_taken_for_the_verified_one(cache, uid, when, wanted, place):
    """All files of its size in the state folder are, just before; or the published one is, just after."""
    target = Shared(place, wanted, cache, uid)
    size = wanted.files[FILE][0]
    published, count = target.published, 0

    def decide(call):
        nonlocal count
        if when == "before" and gives_name(call, published):
            victims = [path for path in target.state.rglob("*") if is_regular(path) and path.stat().st_size == size]
        elif when == "after" and not count and is_regular(published):
            victims = [published]
        else:
            return "continue"
        for path in victims:
            evil_twin(place / "evil", size)
            count += exchange(place / "evil", path)
        return "continue"

    ended = target.run(decide)
    assert count, "nothing was exchanged"
    assert ended.status in ((0, 20, 22, 23) if when == "after" else (20, 22, 23)) or sha256_of(published) == target.sha256, (
        f"exit {ended.status} with the wrong file: {ended.stderr}"
    )
    target.assert_not_trusted()


SWAPS = KINDS | {"pipe": lambda victim: pipe, "folder": lambda victim: folder, "huge": lambda victim: huge}


@each(uid=RUNNERS)
@each(kind=SWAPS)
@each(cache=LAYOUTS)
def test_a_temporary_file_exchanged_as_soon_as_it_is_there_leads_nowhere(cache, kind, uid, wanted, place, full, note):
    """Nobody can know its name before, so nothing can be planted there; but everyone can list the folder."""

    def attacked(directory, number):
        target = Shared(directory, wanted, cache, uid)
        metrics = target.root / "metrics.prom"
        seen = []

        def decide(call):
            for folder in target.root, target.state:
                for path in folder.glob("tmp-*"):
                    if TEMPORARY.fullmatch(path.name) and path not in seen:
                        seen.append(path)
                        if len(seen) == number:
                            remove(path)
                            kind(target.victim)(path)
            return "continue"

        # The metrics are the last of all, and written beside the others.
        ended = target.start(decide, CALLS, more=[f"--metrics-file={metrics}"]).finish()
        target.victim.assert_untouched()
        assert ended.status in (0, 20, 22, 23), f"temporary file {number}: exit {ended.status}: {ended.stderr}"
        if number and len(seen) >= number:
            target.assert_not_trusted()
        return len(seen)

    with scratch(place) as directory:
        count = attacked(directory, 0)
    assert count > 5, f"only {count} temporary files were seen"
    numbers = range(1, count + 1) if full else [zlib.crc32(f"{cache} {uid}".encode()) % count + 1]
    for number in numbers:
        with scratch(place) as directory:
            attacked(directory, number)
    note(f"{len(numbers)} of {count} temporary files")


# What belongs to somebody else.


@each(uid=RUNNERS)
@each(cache=LAYOUTS)
def test_a_partial_file_of_another_user_is_begun_anew(cache, uid, serve, place):
    """That user has it open, and would write into what was verified."""
    # Large enough for a journal entry.
    wanted = Wanted.of(serve("--file", FILE, "--size", "9MiB"))
    target = Shared(place, wanted, cache, uid)
    killed = target.run(lambda call: "kill" if gives_name(call, target.published) else "continue")
    assert killed.status == -9, killed.stderr
    partials = target.where("partials")
    for path in partials.iterdir():
        owned_by_attacker(path)
    partials.chmod(0o777)
    with open(target.where("partial"), "r+b", buffering=0) as file:
        ended = target.watch()
        file.write(b"evil")
    target.assert_done(ended)
    assert fetched(ended) == wanted.bytes
    assert target.final(FILE).stat().st_uid == uid


@each(uid=RUNNERS)
@each(cache=LAYOUTS)
def test_a_good_file_of_another_user_is_adopted_and_watched(cache, uid, wanted, place):
    """Changed in place, with the old time put back, it is not called a good one any more."""
    target = Shared(place, wanted, cache, uid)
    target.assert_done(target.watch())
    final = target.final(FILE)
    shutil.rmtree(target.where("receipts"))
    owned_by_attacker(final)
    ended = target.watch()
    target.assert_done(ended)
    assert fetched(ended) == 0
    for how in [], [f"--sha256={FILE}={target.sha256}"], ["--offline"], ["--prefer-offline"]:
        change_in_place(final)
        ended = target.watch(FILE, *how)
        assert ended.status in (0, 20, 22, 32), f"{how}: exit {ended.status}: {ended.stderr}"
        assert ended.status != 0 or sha256_of(final) == target.sha256, f"{how}: exit 0 with wrong bytes"
        target.assert_done(target.watch("--verify=full"))


# What changes meanwhile.


@each(cache=LAYOUTS)
def test_a_verified_file_overwritten_while_another_one_is_fetched_is_repaired(cache, serve, place):
    hub = serve("--file", "z.gguf", "--file", "m.gguf", "--size", "256KiB", "--size", "2MiB",
                "--rate-per-connection", "512KiB")  # fmt: skip
    target = Target(place, Wanted.of(hub), cache)
    assert target.fetch("z.gguf").status == 0
    final = target.final("z.gguf")
    other = target.state / "partial" / target.wanted.digests["m.gguf"]
    with subprocess.Popen(
        target.command(), env=target.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        wait_until(other.exists, SECONDS)
        final.write_bytes(bytes(final.stat().st_size))
        process.wait(SECONDS)
    offline = target.fetch("z.gguf", "--offline")
    assert offline.status != 0 or sha256_of(final) == target.wanted.digests["z.gguf"], "called verified"
    target.assert_done(target.fetch())


@each(cache=LAYOUTS)
def test_a_verified_file_changed_before_any_call_gets_no_new_receipt(cache, serve, place, full, note):
    """While another one is fetched, and with the old time put back."""
    wanted = Wanted.of(serve("--file", "z.gguf", "--file", "m.gguf", "--size", "256KiB"))

    def attacked(directory, moment):
        target = Target(directory, wanted, cache)
        assert target.fetch("z.gguf").status == 0
        final = target.final("z.gguf")
        count = 0

        def decide(call):
            nonlocal count
            count += 1
            if count == moment:
                change_in_place(final)
            return "continue"

        ended = target.run(decide, calls=CALLS)
        assert ended.status in (0, 20, 22, 23), f"before call {moment}: exit {ended.status}: {ended.stderr}"
        offline = target.fetch("z.gguf", "--offline")
        right = sha256_of(final) == wanted.digests["z.gguf"]
        assert offline.status != 0 or right, f"changed before call {moment} of {count}: called verified"
        target.assert_done(target.fetch())
        return count

    with scratch(place) as directory:
        calls = attacked(directory, None)
    moments = range(1, calls + 1, 1 if full else calls // 10)
    for moment in moments:
        with scratch(place) as directory:
            attacked(directory, moment)
    note(f"changed before {len(moments)} of {calls} calls")


@each(cache=LAYOUTS)
def test_a_file_changed_while_it_is_hashed_is_not_adopted(cache, serve, place):
    """Its middle, when that was read, with the old time put back."""
    wanted = Wanted.of(serve("--file", FILE, "--size", "2MiB"))
    target = Shared(place, wanted, cache)
    target.assert_done(target.watch())
    shutil.rmtree(target.where("receipts"))
    blob = target.final(FILE).resolve()
    asked, changed = 0, False

    def decide(call):
        nonlocal asked, changed
        if call.path == str(blob):
            if asked > wanted.bytes * 5 // 8 and not changed:
                change_in_place(blob)
                changed = True
            asked += call.length
        return "continue"

    ended = target.run(decide, calls={"read", "pread64"})
    assert changed, "nothing was changed"
    assert ended.status != 0 or sha256_of(blob) == target.sha256, "adopted"
    target.assert_not_trusted()


# What never ends.

ODD = {"pipe": pipe, "folder": folder, "huge": huge, "endless": link_to("/dev/zero"), "loop": link_to("loop")}
VERBS = ["fetch", "plan", "smoke", "verify"]
STATUSES = {"verify": (0, 2, 20, 22)}
"""Nothing to verify is bad usage; a file that is not there is a wrong one."""


@each(uid=RUNNERS)
@each(make=ODD)
@each(before=[False, True])
@everywhere("files")
def test_no_odd_file_holds_a_run_up(cache, name, before, make, uid, wanted, place, sampled):
    """Or fills the memory, whether it is there before the first run or comes later."""
    target = Shared(place, wanted, cache, uid)
    if not before:
        target.assert_done(target.watch())
    target.plant(name, make)
    for verb in VERBS if before else reversed(VERBS):
        ended = target.watch(f"--metrics-file={target.where('metrics')}", verb=verb)
        assert ended.status in STATUSES.get(verb, (0, 22)), f"{verb}: exit {ended.status}: {ended.stderr}"
        if verb == "fetch":
            target.assert_harmless(ended)


@each(uid=RUNNERS)
@each(before=[False, True])
@everywhere("files")
def test_a_run_held_up_by_a_pipe_obeys_sigterm(cache, name, before, uid, slow, place, sampled):
    target = Shared(place, slow, cache, uid)
    if not before:
        killed_after(target, bytes_written=MIB // 2)
    target.plant(name, pipe)
    ended = target.watch(f"--metrics-file={target.where('metrics')}", terminate_after=1, seconds=3)
    target.assert_harmless(ended, (22, 143))


# Who works together.


class Member(Target):
    """One of several users of a group to which a volume belongs, as random users of a namespace are: in its group, or
    with it beside their own, as `fsGroup` makes it."""

    def __init__(self, place, wanted, cache, uid, gid, umask):
        super().__init__(place, wanted, cache, root=place / "volume" / "models")
        ids = [f"--reuid={uid}", f"--regid={gid}", "--clear-groups" if gid == GROUP else f"--groups={GROUP}"]
        rights = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        self.prefix = [shutil.which("setpriv"), *ids, *rights, "/bin/sh", "-c", f'umask {umask}; exec "$@"', "sh"]

    def command(self, *more):
        return [*self.prefix, *super().command(*more)]

    def verify(self):
        binary, _, _, where, *_ = super().command()
        done = subprocess.run([*self.prefix, binary, "verify", where], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@each(umask=["002", "022", "027", "077"])
@each(primary=[True, False])
@pytest.mark.parametrize("cache", LAYOUTS.values(), ids=LAYOUTS)
def test_users_of_one_group_go_on_with_each_others_work(cache, primary, umask, serve, place, note):
    """The first is killed, the second goes on, the first brings a new revision, and each finds it verified. No image
    needs a shell that sets a umask."""
    volume = place / "volume"
    volume.mkdir()
    os.chown(volume, 0, GROUP)
    volume.chmod(0o2775)
    names = "--file", "model.gguf", "--file", "sub/other.gguf", "--small", "config.json"

    def members(*sizes):
        wanted = Wanted.of(serve(*names, *[part for size in sizes for part in ("--size", size)]), "config.json")
        return [Member(place, wanted, cache, uid, GROUP if primary else uid, umask) for uid in (FETCHER, COLLEAGUE)]

    one, two = members("1MiB", "24MiB")
    assert one.fetch("model.gguf").status == 0
    killed = killed_after(one, bytes_written=17 * MIB)
    assert killed.status == -9
    ended = two.fetch()
    two.assert_done(ended)
    files = {file["path"]: file["bytes_fetched"] for file in json.loads(ended.stdout)["files"]}
    assert files["model.gguf"] == 0 and files["sub/other.gguf"] < 17 * MIB, files
    again = one.fetch()
    one.assert_done(again)
    assert fetched(again) == 0
    assert not two.leftovers(), two.leftovers()

    one, two = members("2MiB", "3MiB")
    one.assert_done(one.fetch())
    again = two.fetch("--verify", "full")
    two.assert_done(again)
    assert fetched(again) == 0
    for member in one, two:
        member.verify()
    note(f"the second user fetched {fetched(ended) / MIB:.0f} of 25 MiB")


@each(left_by=["this version", "an earlier one"])
@each(reader={"of its group": GROUP, "anybody": ATTACKER})
@each(cache=LAYOUTS)
def test_a_reader_cannot_keep_the_lock(left_by, reader, cache, wanted, place):
    """Or whoever waits is told which process has it."""
    target = Shared(place, wanted, cache)
    os.chown(target.root, -1, GROUP)
    target.root.chmod(0o2755)
    target.assert_done(target.watch())
    if left_by == "an earlier one":
        for path in target.state, *target.state.rglob("*"):
            path.chmod(0o2755 if path.is_dir() else 0o644)
    command = [*as_user(ATTACKER, reader), "flock", "--nonblock", "--no-fork", target.where("lock")]
    with subprocess.Popen([*command, "sh", "-c", "echo held; read _"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as holder:  # fmt: skip
        holder.stdout.readline()
        target.final(FILE).unlink()
        ended = target.watch("--deadline=3s")
        holder.stdin.close()
    assert ended.status in (0, 23), f"exit {ended.status}: {ended.stderr}"
    assert ended.status == 0 or f"process {holder.pid}" in ended.stderr, ended.stderr
    target.assert_done(target.watch())


@each(break_with={"newline": "\n", "return": "\r", "escape": "\x1b[1G"})
def test_an_owner_record_forges_no_line(break_with, wanted, place):
    target = Shared(place, wanted)
    lock, owner = target.where("lock"), target.where("owner")
    made_by_attacker(lock.parent)
    forged = f"there{break_with}hint: run this as root"
    record = {"host": forged, "pid": 1, "space": forged, "token": 1, "beat": 0}
    owner.write_text(json.dumps(record))
    # Taken by root, so that it can be: what the record says is the attacker's.
    with subprocess.Popen(["flock", lock, "sh", "-c", "echo held; read _"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as holder:  # fmt: skip
        holder.stdout.readline()
        for progress in "lines", "none", "bars":
            owner.write_text(json.dumps(record))
            ended = target.watch("--deadline=1s", f"--progress={progress}", f"--termination-message={place / 'last'}")
            assert ended.status in (0, 22, 23), f"exit {ended.status}: {ended.stderr}"
            lines = ended.stderr.splitlines()
            assert not any(line.startswith("hint: run this") for line in lines), ended.stderr
            assert "\x1b[1G" not in ended.stderr
        holder.stdin.close()


def test_many_writers_of_one_metrics_file(wanted, place, full, note):
    rounds, count = 10 if full else 1, 20
    metrics = place / "modelfetch.prom"
    for _ in range(rounds):
        targets = [Target(place, wanted, root=place / f"models-{number}") for number in range(count)]
        ends = together(count, lambda n, targets=targets: targets[n].fetch(f"--metrics-file={metrics}"))
        for target, ended in zip(targets, ends, strict=True):
            target.assert_done(ended)
            shutil.rmtree(target.root)
        assert "modelfetch_success" in metrics.read_text()
        assert list(place.iterdir()) == [metrics]
    note(f"{rounds} rounds of {count}: none failed")


def test_many_first_runs_into_a_new_cache(serve, place, full, note):
    rounds, count = 20 if full else 2, 10
    hubs = [serve("--repo", f"owner/name-{n}", "--file", "m.gguf", "--size", "256KiB") for n in range(count)]
    for number in range(rounds):
        targets = [Target(place, Wanted.of(hub), cache=True, root=place / f"cache-{number}") for hub in hubs]
        ends = together(count, lambda n, targets=targets: targets[n].fetch())
        for target, ended in zip(targets, ends, strict=True):
            target.assert_done(ended)
            assert not target.leftovers(), target.leftovers()
    note(f"{rounds} caches, {count} repositories each: none failed")


def test_first_runs_into_a_new_cache_may_meet_at_every_step(serve, place, note):
    """Whenever one of them makes something that they share, another does so just before."""
    arguments = "--file", "m.gguf", "--size", "256KiB"
    others = (Wanted.of(serve("--repo", f"owner/name-{n}", *arguments)) for n in range(20))
    target = Target(place, Wanted.of(serve(*arguments)), cache=True)
    tag, count = target.root / "CACHEDIR.TAG", 0

    def decide(call):
        nonlocal count
        if call.changes and Path(call.path).parent == target.root:
            count += 1
            other = Target(place, next(others), cache=True)
            other.assert_done(other.fetch())
            # Neither of them found one.
            tag.unlink(missing_ok=True)
        return "continue"

    target.assert_done(target.run(decide))
    assert count, "it never made anything there"
    note(f"met at {count} steps")
