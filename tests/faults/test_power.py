"""The power fails: what was not flushed is gone, in part, in any order.

After a cut the kernel has another boot id; so has the run that follows here. An owner's record that
survived is removed first: on a network file system the next run would wait for half a minute, to see
that it shows no life.
"""

import json
import os
import random
import shutil
import signal
import uuid
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest
from disk import Behaviour, Disk, Mounted, played_back
from images import IMAGES, mounted, run
from sweep import scratch, spread
from target import MIB, Target, Wanted, fetched, sha256_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems")

SAMPLE = 3


def another_boot(place):
    """The beginning of a command that runs as after a reboot."""
    boot = place / "boot_id"
    boot.write_text(f"{uuid.uuid4()}\n")
    script = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, boot]


@dataclass
class Recorded:
    """Every change of a run on an empty disk, or on one that something was on before."""

    wanted: Wanted
    recording: list
    begin: int
    """Changes before the run of interest: all of them durable."""
    cache: bool = False
    old: str = None
    foreign: bool = False
    """Another program's file is at the final name: until it is adopted it may be anything."""


def record(place, wanted, cache=False, before=None, behaviour=None, foreign=None):
    disk = Disk(behaviour or Behaviour())
    with scratch(place) as directory:
        root = directory / "disk"
        root.mkdir()
        with Mounted(disk, root):
            old = None
            if before:
                old = next(iter(before.digests.values()))
                target = Target(directory, before, cache, root=root)
                target.assert_done(target.fetch())
            disk.apply(("flush_everything",))
            begin = len(disk.recording)
            target = Target(directory, wanted, cache, root=root)
            if foreign:
                shutil.copyfile(foreign, target.final(next(iter(wanted.files))))
            target.assert_done(target.fetch())
    return Recorded(wanted, disk.recording, begin, cache, old, bool(foreign))


RECORDED = None
"""For the worker processes, which are copies of this one: too large to be passed on."""


@dataclass
class Cut:
    again: int = 0
    """Bytes fetched after it."""
    failure: str = None


def cut(point, place):
    number, seed, twice = point
    chance = random.Random(seed)
    recorded = RECORDED
    disk = played_back(recorded.recording[:number])
    with scratch(place) as directory:
        root = directory / "disk"
        root.mkdir()
        try:
            left = disk.after_power_cut(chance, ordered_names=chance.random() < 0.5)
            if twice:
                # And again, while the next run is at work.
                start = deepcopy(left)
                with Mounted(left, root):
                    target = Target(directory, recorded.wanted, recorded.cache, recorded.old, root=root)
                    bury(target)
                    target.assert_done(target.fetch(prefix=another_boot(directory)))
                for change in left.recording[: chance.randint(0, len(left.recording))]:
                    start.apply(change)
                left = start.after_power_cut(chance, ordered_names=chance.random() < 0.5)
            with Mounted(left, root):
                target = Target(directory, recorded.wanted, recorded.cache, recorded.old, root=root)
                if not recorded.foreign:
                    target.assert_honest()
                return Cut(check(target, directory))
        except AssertionError as why:
            change = recorded.recording[number - 1]
            shown = [part for part in change if not isinstance(part, bytes)]
            return Cut(failure=f"cut after change {number} {shown}, seed {seed}: {why}")


def bury(target):
    for record in target.state.glob("owner*"):
        record.unlink()


def check(target, directory):
    bury(target)
    boot = another_boot(directory)
    offline = target.fetch("--offline", prefix=boot)
    assert offline.status in (0, 32), f"offline: exit {offline.status}: {offline.stderr}"
    if offline.status == 0:
        assert_published(offline)
    ended = target.fetch(prefix=boot)
    target.assert_done(ended)
    target.clean_up()
    return fetched(ended)


def assert_published(ended):
    """What a run says is there, and verified, is."""
    for file in json.loads(ended.stdout)["files"]:
        if len(file["digest"]) == 64:
            assert sha256_of(file["target"]) == file["digest"], f"{file['path']} is not what was published"


def cut_anywhere(recorded, place, count, note, twice=False):
    global RECORDED
    RECORDED = recorded
    end = len(recorded.recording)
    # Every moment once before any a second time.
    moments = list(range(recorded.begin + 1, end + 1)) * (count // (end - recorded.begin) + 1)
    chance = random.Random()
    if count < end - recorded.begin:
        chance.shuffle(moments)
    points = [(number, chance.randrange(1 << 32), twice) for number in moments[:count]]
    cuts = spread(cut, points, place)
    failures = [cut.failure for cut in cuts if cut.failure]
    note(f"{len(cuts)} power cuts in {end - recorded.begin} changes, {len(failures)} failures")
    assert not failures, "\n\n".join(failures)
    return cuts


def small_hub(serve):
    hub = serve("--file", "model.gguf", "--size", "1MiB", "--small", "config.json")
    return Wanted.of(hub, "config.json")


@pytest.mark.parametrize("cache", [False, True], ids=["directory", "cache"])
def test_the_power_fails_during_a_fetch(cache, serve, place, full, note):
    recorded = record(place, small_hub(serve), cache)
    cut_anywhere(recorded, place, 500 if full else SAMPLE, note)


def test_the_power_fails_again_during_the_next_fetch(serve, place, full, note):
    recorded = record(place, small_hub(serve))
    cut_anywhere(recorded, place, 200 if full else SAMPLE, note, twice=True)


@pytest.mark.parametrize("cache", [False, True], ids=["directory", "cache"])
def test_the_power_fails_while_another_content_replaces_a_good_file(cache, serve, place, full, note):
    wanted, before = Wanted.one_file(serve, "1MiB"), Wanted.one_file(serve, "1MiB", seed=8)
    cut_anywhere(record(place, wanted, cache, before), place, 200 if full else SAMPLE, note)


def test_the_power_fails_in_a_cache_without_links(serve, place, full, note):
    behaviour = Behaviour(symlinks=False, hard_links=False)
    recorded = record(place, small_hub(serve), cache=True, behaviour=behaviour)
    cut_anywhere(recorded, place, 300 if full else SAMPLE, note)


def test_the_power_fails_after_a_file_was_adopted_that_nobody_had_flushed(serve, place, full, note):
    wanted = Wanted.one_file(serve, "1MiB")
    foreign = Target(place, wanted)
    foreign.assert_done(foreign.fetch())
    recorded = record(place, wanted, foreign=foreign.final("model.gguf"))
    cut_anywhere(recorded, place, 300 if full else 6, note)


def test_after_a_power_cut_what_was_flushed_meanwhile_is_not_fetched_again(serve, place, full, note):
    wanted = Wanted.one_file(serve, "160MiB")
    recorded = record(place, wanted)
    cuts = cut_anywhere(recorded, place, 60 if full else 1, note)
    if full:
        least = min(cut.again for cut in cuts if cut.again)
        note(f"{least / MIB:.0f} to {max(cut.again for cut in cuts) / MIB:.0f} MiB of 160 fetched afterwards")
        assert least < wanted.bytes


@pytest.mark.parametrize("which", ["first", "last"])
def test_a_flush_that_failed_is_not_believed_later(which, serve, place, note):
    """Linux tells of a lost page once. Readers find it in memory, and the next flush says all is well."""
    size = {"first": "72MiB", "last": "1MiB"}[which]
    wanted = Wanted.one_file(serve, size)
    root = place / "disk"
    root.mkdir()
    disk = Disk()
    failed = []

    def fails(operation, node):
        if operation == "fsync" and not node.is_dir and len(node.content) == wanted.bytes and not failed:
            failed.append(node.number)
            disk.apply(("lose", node.number))
            return 5
        return None

    with Mounted(disk, root, fails):
        target = Target(place, wanted, root=root)
        ended = target.fetch()
        assert failed and ended.status == 22, f"exit {ended.status}: {ended.stderr}"
        target.assert_done(target.fetch())
    # Not even what a disk does on its own has arrived.
    never = random.Random()
    never.choice = lambda options: options[0]
    never.random = lambda: 1
    never.randint = lambda low, high: high
    with Mounted(disk.after_power_cut(never, ordered_names=True), root):
        target.assert_honest()
        target.assert_done(target.fetch())
    note("1 failed flush, the file is right after a power cut")


@pytest.mark.parametrize("kind", IMAGES)
def test_the_power_fails_on_a_real_file_system(kind, serve, place, full, note):
    """A copy of the image, taken while the process stands still, is what the device had received."""
    if shutil.which(IMAGES[kind][0]) is None:
        pytest.skip(f"no {IMAGES[kind][0]}")
    target = Target(place, Wanted.one_file(serve, "24MiB"), root=place / "disk" / "models")
    (place / "disk").mkdir()
    total = power_cut_on_image(kind, target, None)
    cuts = [power_cut_on_image(kind, target, random.randint(1, total)) for _ in range(60 if full else 1)]
    # The calls differ in number from run to run.
    note(f"{sum(cuts)} power cuts on {kind}, no failure")
    assert any(cuts) or not full


def power_cut_on_image(kind, target, at):
    """Cuts before the run's call number `at`, and says whether there was one; without it, counts them."""
    place, disk = target.place, target.root.parent
    image, copy = place / "image", place / "copy"
    with open(image, "wb") as file:
        file.truncate(320 * MIB)
    run(*IMAGES[kind], image)
    seen = 0

    def decide(call):
        nonlocal seen
        seen += call.changes
        if not call.changes or seen != at:
            return "continue"
        os.kill(process.pid, signal.SIGSTOP)
        copy_still(image, copy, disk)
        return "kill"

    with mounted(image, disk):
        process = target.start(decide)
        ended = process.finish()
    if at is None:
        assert ended.status == 0, ended.stderr
        return seen
    if ended.status == 0:
        return False
    with mounted(copy, disk):
        target.assert_honest()
        target.assert_done(target.fetch(prefix=another_boot(place)))
        target.clean_up()
    return True


def copy_still(image, copy, disk):
    """Copies what a device holds, at a moment when nothing is written to it."""
    device = run("findmnt", "--noheadings", "--output", "SOURCE", disk).removeprefix("/dev/").strip()
    writes = Path("/sys/block", device, "stat")
    while True:
        before = writes.read_text().split()[4:8]
        run("cp", "--sparse=always", image, copy)
        if writes.read_text().split()[4:8] == before:
            return
