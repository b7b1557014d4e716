"""Places and processes as clusters, images and odd disks have them."""

import errno
import os
import shutil
import subprocess
import time

import pytest
from disk import Behaviour, Disk, Mounted
from images import mounted, run
from sweep import killed_after
from system_calls import Ended
from target import MIB, Target, Wanted, fetched

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SOMEBODY, GROUP = 1000680000, 4242


@pytest.fixture
def wanted(serve):
    return Wanted.of(serve("--file", "model.gguf", "--size", "9MiB", "--small", "config.json"), "config.json")


def fetch_and_repeat(target, prefix=()):
    """A first run, one that finds all there, and one that was killed in between."""
    target.assert_done(target.fetch(prefix=prefix))
    again = target.fetch(prefix=prefix)
    target.assert_done(again)
    assert fetched(again) == 0
    assert not target.leftovers(), target.leftovers()


@needs_root
@pytest.mark.parametrize("umask", ["077", "000", "027"])
@pytest.mark.parametrize("cache", [False, True], ids=["directory", "cache"])
def test_a_random_user_in_the_volumes_group(umask, cache, wanted, place, note):
    root = place / "volume"
    root.mkdir()
    os.chown(root, 0, GROUP)
    root.chmod(0o2770)
    place.chmod(0o755)
    as_somebody = ["setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", f"--groups={GROUP}", "--no-new-privs"]
    prefix = [*as_somebody, "--bounding-set=-all", "--inh-caps=-all", "sh", "-c", f'umask {umask}; exec "$@"', "sh"]
    target = Target(place, wanted, cache, root=root)
    fetch_and_repeat(target, prefix)
    assert target.final("model.gguf").stat().st_gid == GROUP
    note(f"umask {umask}: published")


@needs_root
@pytest.mark.parametrize("how", ["read-only root", "no home, no /tmp"])
def test_nothing_but_the_volume_can_be_written(how, wanted, place, note):
    """In an empty root, as an image built FROM scratch has it."""
    root = place / "root"
    (root / "models").mkdir(parents=True)
    (root / "proc").mkdir()
    shutil.copy(os.environ["MODELFETCH"], root / "modelfetch")
    target = Target(place, wanted, root=root / "models")
    script = """
        mount --bind "$0" "$0" && mount --bind "$0/models" "$0/models" && mount -t proc proc "$0/proc" || exit 99
        [ "$1" = "read-only root" ] && { mount -o remount,bind,ro "$0" || exit 99; }
        shift; exec chroot "$0" "$@"
    """
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, root, how]

    def fetch():
        command = ["/modelfetch", "fetch", wanted.repo, "--dir=/models", "--json"]
        done = subprocess.run([*prefix, *command], env=target.environment, capture_output=True, text=True)
        return Ended(done.returncode, done.stdout, done.stderr)

    target.assert_done(fetch())
    again = fetch()
    target.assert_done(again)
    assert fetched(again) == 0
    note(f"{how}: published, and found again")


@needs_root
@pytest.mark.parametrize("why", ["a read-only volume", "a foreign volume"])
def test_a_volume_that_cannot_be_written_is_named(why, wanted, place):
    root = place / "volume"
    root.mkdir()
    place.chmod(0o755)
    prefix = ["setpriv", f"--reuid={SOMEBODY}", "--clear-groups", "--bounding-set=-all", "--no-new-privs"]
    if why == "a read-only volume":
        script = 'mount -t tmpfs -o ro none "$0" && exec "$@"'
        prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, root]
    ended = Target(place, wanted, root=root).fetch(prefix=prefix)
    assert ended.status == 22, ended.stderr
    assert f"{root}" in ended.stderr and "hint: " in ended.stderr, ended.stderr


@needs_root
@pytest.mark.parametrize("hard_links", [True, False])
def test_a_cache_on_a_disk_without_symlinks(hard_links, wanted, place, note):
    root = place / "disk"
    root.mkdir()
    with Mounted(Disk(Behaviour(symlinks=False, hard_links=hard_links)), root):
        target = Target(place, wanted, cache=True, root=root)
        fetch_and_repeat(target)
        assert not target.final("model.gguf").is_symlink()
    note("with hard links" if hard_links else "with copies")


@needs_root
def test_a_cache_on_a_disk_whose_symlinks_nobody_reads(wanted, place):
    """As SSHFS has them since `contain_symlinks`."""
    root = place / "disk"
    root.mkdir()
    with Mounted(Disk(Behaviour(reads_symlinks=False)), root):
        target = Target(place, wanted, cache=True, root=root)
        fetch_and_repeat(target)
        assert not target.final("model.gguf").is_symlink()


@needs_root
def test_a_cache_on_a_disk_that_frees_names_late(wanted, place):
    """As SMB does, where a file that was removed has its name until the server hears of its close."""
    root = place / "disk"
    root.mkdir()
    with Mounted(Disk(Behaviour(symlinks=False, hard_links=False, frees_names=False)), root):
        fetch_and_repeat(Target(place, wanted, cache=True, root=root))


@needs_root
def test_a_disk_that_sets_the_time_of_a_file_when_it_gets_its_name(wanted, place):
    """As SMB does, where the server hears of writes late."""
    root = place / "disk"
    root.mkdir()
    late = set()

    def set_time(operation, node):
        if operation == "getattr" and node.number in late:
            late.remove(node.number)
            node.mtime += 1_000_000_000
        elif operation == "rename":
            late.update(number for name, number in node.entries.items() if len(name) in (40, 64))

    with Mounted(Disk(), root, set_time):
        fetch_and_repeat(Target(place, wanted, root=root))


@needs_root
def test_a_cache_on_a_disk_that_opens_renamed_files_late(wanted, place):
    """As the SMB client of Linux does, as long as it keeps them open under their old names."""
    root = place / "disk"
    root.mkdir()
    late = {}

    def refuse(operation, node):
        if operation == "rename":
            late.update((number, 2) for name, number in node.entries.items() if len(name) in (40, 64))
        elif operation == "open" and late.get(node.number):
            late[node.number] -= 1
            return errno.EINVAL

    with Mounted(Disk(Behaviour(symlinks=False, hard_links=False)), root, refuse):
        fetch_and_repeat(Target(place, wanted, cache=True, root=root))


@needs_root
def test_a_copy_for_which_there_is_no_room_leaves_nothing(wanted, place, note):
    root = place / "disk"
    root.mkdir()
    behaviour = Behaviour(symlinks=False, hard_links=False, capacity=15 * MIB)
    with Mounted(Disk(behaviour), root):
        target = Target(place, wanted, cache=True, root=root)
        ended = target.fetch()
        assert ended.status == 21, f"exit {ended.status}: {ended.stderr}"
        assert not [path for path in target.leftovers() if "/tmp-" in path], target.leftovers()
    note("exit 21, no copy left")


@needs_root
@pytest.mark.parametrize("seconds", [1, 2])
def test_a_disk_with_coarse_times(seconds, wanted, serve, place, note):
    root = place / "disk"
    root.mkdir()
    with Mounted(Disk(Behaviour(seconds=seconds)), root):
        target = Target(place, wanted, root=root)
        fetch_and_repeat(target)
        # Another content of the same length within the same tick is still another file.
        other = Wanted.one_file(serve, "9MiB", seed=8)
        moved = Target(place, other, root=root)
        moved.assert_done(moved.fetch())
        target.assert_done(target.fetch())
    note(f"ticks of {seconds} s")


@needs_root
def test_a_disk_that_can_neither_preallocate_nor_flush_directories(wanted, place):
    root = place / "disk"
    root.mkdir()
    with Mounted(Disk(Behaviour(preallocates=False, directory_flush=False, flock="missing")), root):
        fetch_and_repeat(Target(place, wanted, root=root))


@needs_root
@pytest.mark.parametrize("cache", [False, True], ids=["directory", "cache"])
def test_a_disk_that_numbers_files_by_their_names(cache, wanted, place):
    """As rclone and gcsfuse do, which cannot make hard links either."""
    root = place / "disk"
    root.mkdir()
    with Mounted(Disk(Behaviour(keeps_numbers=False, hard_links=False)), root):
        fetch_and_repeat(Target(place, wanted, cache, root=root))


@needs_root
def test_a_disk_that_sets_times_of_its_own_when_it_brings_a_file_home(wanted, place):
    """As mounts with a cache for writes do: after the file has its name, and while it is hashed."""
    root = place / "disk"
    root.mkdir()
    brought_home = set()

    def bring_home(operation, node):
        if operation == "read" and node.renamed and node.number not in brought_home:
            brought_home.add(node.number)
            node.mtime += 1_000_000_000

    with Mounted(Disk(Behaviour(keeps_numbers=False, hard_links=False)), root, bring_home):
        fetch_and_repeat(Target(place, wanted, root=root))
    assert len(brought_home) >= len(wanted.digests)


@needs_root
def test_a_disk_that_takes_files_only_from_their_start_is_told_before_the_download(wanted, place):
    """As rclone does without a cache for writes."""
    root = place / "disk"
    root.mkdir()
    grow = lambda operation, node: errno.EPERM if operation == "setattr" else None
    with Mounted(Disk(Behaviour(preallocates=False)), root, grow):
        ended = Target(place, wanted, root=root).fetch()
    assert ended.status == 22 and "--vfs-cache-mode writes" in ended.stderr, ended.stderr
    assert "fetched in" not in ended.stderr, ended.stderr


def test_a_clock_that_jumps_back_costs_nothing(wanted, place, note):
    """Files from tomorrow, as after a clock was set back."""
    target = Target(place, wanted)
    # Some way beyond the first journal entry.
    killed_after(target, bytes_written=8 * MIB + 768 * 1024)
    had = target.journaled()
    assert had > 0
    tomorrow = time.time() + 86400
    for path in target.root.rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    ended = target.fetch()
    target.assert_done(ended)
    assert fetched(ended) < wanted.bytes
    target.clean_up()
    # A receipt from tomorrow is as good as one from today.
    receipts = list((target.state / "receipts").glob("*.json"))
    for path in receipts:
        path.write_text(path.read_text().replace('"verified_at":1', '"verified_at":9'))
    again = target.fetch()
    target.assert_done(again)
    assert fetched(again) == 0
    note(f"{had / MIB:.0f} MiB from tomorrow resumed, {len(receipts)} receipts from tomorrow honoured")


def test_a_file_whose_time_was_set_is_hashed_again_not_fetched(wanted, place):
    target = Target(place, wanted)
    target.assert_done(target.fetch())
    os.utime(target.final("model.gguf"), (0, 0))
    again = target.fetch()
    target.assert_done(again)
    assert fetched(again) == 0


NAMES = [
    "ein Modell.gguf",
    "модель.gguf",
    "模型 v2.gguf",
    "é.gguf",
    "-rf.gguf",
    "a%20b.gguf",
    "[1].gguf",
    "x" * 200 + ".gguf",
]


@pytest.mark.parametrize("cache", [False, True], ids=["directory", "cache"])
def test_names_with_spaces_and_beyond_ascii(cache, serve, place, note):
    names = [part for name in NAMES for part in [f"--file={name}"]]
    wanted = Wanted.of(serve(*names, "--size", "256KiB"))
    target = Target(place / "ein Ordner – größer", wanted, cache)
    (place / "ein Ordner – größer").mkdir()
    fetch_and_repeat(target)
    note(f"{len(NAMES)} names")


@needs_root
@pytest.mark.parametrize("inodes", range(1, 24))
def test_a_disk_runs_out_of_inodes(inodes, serve, place, full):
    """ENOSPC for real, at every file the run makes, while there are bytes enough."""
    if not full and inodes not in (3, 8, 12):
        pytest.skip("a sample does")
    wanted = Wanted.of(serve("--file", "model.gguf", "--size", "1MiB", "--small", "config.json"), "config.json")
    root = place / "disk"
    root.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size=64m,nr_inodes={inodes}", "none", root)
    try:
        target = Target(place, wanted, root=root / "models")
        ended = target.fetch()
        assert ended.status in (0, 21), f"exit {ended.status}: {ended.stderr}"
        if ended.status == 21:
            assert str(target.root) in ended.stderr and "hint: " in ended.stderr, ended.stderr
        target.assert_honest()
        run("mount", "-o", "remount,nr_inodes=1000", root)
        target.assert_done(target.fetch())
        target.clean_up()
    finally:
        run("umount", root)


@needs_root
@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_a_disk_that_others_fill_meanwhile(kind, serve, place, full, note):
    """After the check of the free space, at any moment of the run: ENOSPC from the file system itself."""
    wanted = Wanted.one_file(serve, "3MiB")
    disk, image = place / "disk", place / "image"
    disk.mkdir()
    count = 40 if full else 3
    ends = []
    for number in range(count):
        with open(image, "wb") as file:
            file.truncate(24 * MIB)
        if kind == "ext4":
            run("mkfs.ext4", "-q", "-O", "^has_journal", image)
            mount = mounted(image, disk)
        else:
            mount = Memory(disk, 24)
        with mount:
            target = Target(place, wanted, root=disk / "models")
            at, seen = 1 + number * 60 // count, 0

            def decide(call, at=at):
                nonlocal seen
                seen += call.changes
                if call.changes and seen == at:
                    fill(disk / "filler")
                return "continue"

            ended = target.run(decide)
            ends.append(ended.status)
            assert ended.status in (0, 21), f"exit {ended.status}: {ended.stderr}"
            target.assert_honest()
            (disk / "filler").unlink(missing_ok=True)
            target.assert_done(target.fetch())
            target.clean_up()
    note(f"filled at {count} moments: {ends.count(21)} ended with 21, {ends.count(0)} with 0")


class Memory:
    """A tmpfs of so many MiB."""

    def __init__(self, directory, mebibytes):
        self.directory, self.size = directory, mebibytes

    def __enter__(self):
        run("mount", "-t", "tmpfs", "-o", f"size={self.size}m", "none", self.directory)

    def __exit__(self, *_):
        run("umount", self.directory)


def fill(path):
    with open(path, "ab", buffering=0) as file:
        for size in [MIB, 4096, 1]:
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError as why:
                if why.errno != errno.ENOSPC:
                    raise


def test_few_file_descriptors(serve, place, full, note):
    """EMFILE for real, from files and sockets alike."""
    wanted = Wanted.one_file(serve, "3MiB")
    ends = {}
    for number in range(4, 40) if full else [4, 9, 14, 20]:
        target = Target(place, wanted, root=place / str(number))
        limited = ["prlimit", f"--nofile={number}:{number}"]
        ended = target.fetch("--give-up-after", "1s", prefix=limited)
        ends[ended.status] = ends.get(ended.status, 0) + 1
        # With too few to even start the library for signals panics.
        expected = (0, 22, 30) if number > 8 else (1, 22, 30)
        assert ended.status in expected, f"{number} descriptors, exit {ended.status}: {ended.stderr}"
        assert ended.status == 0 or os.strerror(errno.EMFILE) in ended.stderr, ended.stderr
        target.assert_honest()
        target.assert_done(target.fetch())
        target.clean_up()
    note(f"with 4 to 39 descriptors: {ends}")
