"""Killed at every system call that changes the disk, and at random times."""

import random
import shutil
import threading
import time
from dataclasses import dataclass

import pytest
from sweep import killed_after, scratch, spread
from target import MIB, Target, Wanted, copied, fetched, written

SAMPLE = 2
"""Points of each scenario when only a sample is wanted."""
TWICE_MAX = 24 * MIB
"""Bytes that a killed run may cost: 8 MiB since the last journal entry, and what was on the way in both
runs, which depends on the machine's speed. Copies of a second name count too."""


@dataclass(frozen=True)
class Scenario:
    """What there is before the run that is killed."""

    wanted: Wanted
    cache: bool = False
    before: Wanted = None
    """Fetched before: another content under the same names."""
    part: int = 0
    """Bytes that a run before had written when it was killed."""
    complete: bool = False
    foreign: bytes = None
    """What lies at the first file's name without a receipt; empty for the right content."""
    options: tuple = ()
    flock_lies: bool = False
    copies: bool = False
    """Most of it comes from the content before."""

    def target(self, place):
        old = None
        if self.before:
            old = next(iter(self.before.digests.values()))
            assert Target(place, self.before, self.cache, options=self.options).fetch().status == 0
        target = Target(place, self.wanted, self.cache, old, self.options, flock_lies=self.flock_lies)
        if self.complete or self.foreign is not None:
            assert target.fetch().status == 0
        if self.foreign is not None:
            shutil.rmtree(target.state)
            first = target.final(next(iter(self.wanted.files)))
            if self.foreign:
                first.write_bytes(self.foreign)
        if self.part:
            killed_after(target, bytes_written=self.part)
        return target


def calls_of(scenario, place):
    """How many calls change the disk when nothing happens."""
    with scratch(place) as directory:
        target = scenario.target(directory)
        ended = target.run()
        target.assert_done(ended)
        assert copied(ended) > 0 or not scenario.copies, "nothing was copied"
        return sum(call.changes for call in ended.calls)


@dataclass
class Point:
    killed: bool
    twice: int = 0
    """Bytes fetched more than once."""
    left: bool = False
    """Small files stayed until a run took the lock again."""
    failure: str = None


def point(number, scenario, place):
    """Kills a run before its call of this number, and runs again."""
    with scratch(place) as directory:
        target = scenario.target(directory)
        had = target.journaled()
        ended = killed_after(target, calls=number)
        if ended.status == 0:
            return Point(killed=False)
        at = f"call {number}, {ended.calls[-1].name} {ended.calls[-1].path.removeprefix(str(target.root))}"
        try:
            # Those of a foreign file that has the old content are honest too.
            if not scenario.foreign:
                target.assert_honest()
            again = target.fetch()
            target.assert_done(again)
            left = target.clean_up()
            # The call it was killed before was not carried out.
            lost = max(0, had + written(ended.calls[:-1]) + fetched(again) - scenario.wanted.bytes)
            assert lost <= TWICE_MAX, f"{lost} bytes fetched twice"
            return Point(killed=True, twice=lost, left=left)
        except AssertionError as why:
            return Point(killed=True, failure=f"{at}: {why}")


def chain(seed, scenario, place):
    """Killed at random times, later and later, until a run gets through."""
    chance = random.Random(seed)
    points = []
    with scratch(place) as directory:
        target = scenario.target(directory)
        while True:
            run = target.start(calls=())
            timer = threading.Timer(chance.uniform(0.005, 0.06 * 1.1 ** len(points)), run.kill)
            timer.start()
            ended = run.finish()
            timer.cancel()
            timer.join()
            try:
                target.assert_honest()
                if ended.status == 0:
                    target.assert_done(ended)
                    target.clean_up()
                    return points
                assert ended.status == -9, f"exit {ended.status}: {ended.stderr}"
            except AssertionError as why:
                points.append(Point(killed=True, failure=f"seed {seed}: {why}"))
                return points
            points.append(Point(killed=True))


def judge(points, note, full):
    killed = [point for point in points if point.killed]
    failures = [point.failure for point in killed if point.failure]
    most = max((point.twice for point in killed), default=0)
    left = sum(point.left for point in killed)
    note(
        f"{len(killed)} kills, {len(failures)} failures, at most {most / MIB:.1f} MiB fetched twice, "
        f"{left} left a small file for a later run to remove"
    )
    # In a sample every run may have been quicker than its end.
    assert killed or not full
    assert not failures, "\n".join(failures)


@pytest.fixture
def hub_files(serve, tmp_path_factory):
    """Two names with one content, a second content, and a small file."""
    directory = tmp_path_factory.getbasetemp() / "twins"
    if not directory.exists():
        directory.mkdir()
        content = random.Random(1).randbytes(2 * MIB)
        for name in ["one.bin", "two.bin"]:
            (directory / name).write_bytes(content)
    local = [part for name in ["one.bin", "two.bin"] for part in ["--local", directory / name]]
    hub = serve("--file", "model.gguf", "--size", "9MiB", "--small", "config.json", *local)
    return Wanted.of(hub, "config.json")


def scenarios(serve, hub_files):
    right, other = Wanted.one_file(serve, "9MiB"), Wanted.one_file(serve, "9MiB", seed=8)
    large = Wanted.one_file(serve, "24MiB")
    update, outdated = Wanted.update(serve, 8, 7), Wanted.update(serve, 7, 8)
    return {
        "fresh": Scenario(hub_files),
        "fresh, in a cache": Scenario(hub_files, cache=True),
        "a pinned commit": Scenario(right, options=("--revision", right.commit)),
        "resumed": Scenario(large, part=17 * MIB),
        "resumed, in a cache": Scenario(large, cache=True, part=17 * MIB),
        "another content before": Scenario(right, before=other),
        "another content before, in a cache": Scenario(right, before=other, cache=True),
        "the right file without a receipt": Scenario(hub_files, foreign=b""),
        "a wrong file without a receipt": Scenario(right, foreign=b"x" * right.bytes),
        "flock lies": Scenario(right, flock_lies=True),
        "hashed again": Scenario(right, complete=True, options=("--verify", "full")),
        "large enough to be flushed meanwhile": Scenario(Wanted.one_file(serve, "72MiB")),
        "an update": Scenario(update, before=outdated, copies=True),
        "an update, in a cache": Scenario(update, cache=True, before=outdated, copies=True),
    }


NAMES = [
    "fresh",
    "fresh, in a cache",
    "a pinned commit",
    "resumed",
    "resumed, in a cache",
    "another content before",
    "another content before, in a cache",
    "the right file without a receipt",
    "a wrong file without a receipt",
    "flock lies",
    "hashed again",
    "large enough to be flushed meanwhile",
    "an update",
    "an update, in a cache",
]


@pytest.mark.parametrize("name", NAMES)
def test_killed_before_every_change_of_the_disk(name, serve, hub_files, place, full, note):
    scenario = scenarios(serve, hub_files)[name]
    total = calls_of(scenario, place)
    numbers = range(1, total + 1) if full else sorted(random.sample(range(1, total + 1), min(SAMPLE, total)))
    judge(spread(point, numbers, scenario, place), note, full)


@pytest.mark.parametrize("part", [0, 17 * MIB], ids=["fresh", "resumed"])
def test_killed_while_it_writes_past_the_page_cache(part, serve, ext4, full, note):
    scenario = Scenario(Wanted.one_file(serve, "32MiB"), part=part)
    total = calls_of(scenario, ext4)
    numbers = range(1, total + 1) if full else sorted(random.sample(range(1, total + 1), SAMPLE))
    judge(spread(point, numbers, scenario, ext4), note, full)


@pytest.mark.parametrize("name", ["fresh", "fresh, in a cache", "another content before", "an update"])
def test_killed_at_random_times_again_and_again(name, serve, hub_files, place, full, note):
    scenario = scenarios(serve, hub_files)[name]
    seeds = range(60) if full else [random.randrange(1 << 32) for _ in range(2)]
    points = [point for points in spread(chain, seeds, scenario, place) for point in points]
    judge(points, note, full)


@pytest.mark.parametrize("options", [(), ("--revision", "commit")], ids=["branch", "commit"])
def test_a_repeated_run_changes_nothing(options, serve, place, note):
    wanted = Wanted.one_file(serve, "9MiB")
    options = tuple(option.replace("commit", wanted.commit) for option in options)
    target = Scenario(wanted, complete=True, options=options).target(place)
    ended = target.run()
    target.assert_done(ended)
    assert [call for call in ended.calls if call.changes] == []
    note("0 changing calls in a repeated run")


def shared_point(number, scenario, place):
    """Of two runs in one directory, one is killed before its call of this number."""
    with scratch(place) as directory:
        target = scenario.target(directory)
        other = []
        thread = threading.Thread(target=lambda: other.append(target.fetch()))
        if random.random() < 0.3:
            thread.start()
            time.sleep(random.uniform(0, 0.06))
            ended = killed_after(target, calls=number)
        else:
            ended = killed_after(target, calls=number, meanwhile=(random.randint(1, number), thread.start))
        thread.join()
        if ended.status == 0:
            return Point(killed=False)
        try:
            target.assert_done(other[0])
            again = target.fetch()
            target.assert_done(again)
            assert fetched(again) == 0
            return Point(killed=True, left=target.clean_up())
        except AssertionError as why:
            return Point(killed=True, failure=f"call {number}, {ended.calls[-1].path}: {why}")


@pytest.mark.parametrize("lies", [False, True], ids=["flock", "flock that always succeeds"])
def test_one_of_two_in_a_directory_is_killed(lies, serve, hub_files, place, full, note):
    scenario = Scenario(hub_files, flock_lies=lies)
    total = calls_of(scenario, place)
    numbers = range(1, total + 1) if full else random.sample(range(1, total + 1), SAMPLE)
    judge(spread(shared_point, numbers, scenario, place), note, full)


def test_what_was_fetched_of_a_file_that_then_came_otherwise_is_dropped(serve, place):
    wanted = Wanted.one_file(serve, "24MiB")
    elsewhere = Target(place, wanted, root=place / "elsewhere")
    elsewhere.assert_done(elsewhere.fetch())
    target = Scenario(wanted, part=17 * MIB).target(place)
    shutil.copyfile(elsewhere.final("model.gguf"), target.final("model.gguf"))
    ended = target.fetch()
    target.assert_done(ended)
    assert fetched(ended) == 0
    assert not target.leftovers(), target.leftovers()
