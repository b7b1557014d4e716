"""One system call fails, or all of a kind from there on: the run says what is wrong, and the next one goes on."""

import errno
import os
import random
import re
import signal
from collections import Counter
from dataclasses import dataclass

import pytest
from system_calls import CALLS, Fails, Short
from sweep import killed_after, scratch, spread
from target import MIB, Target, Wanted, fetched, written

SAMPLE = 12
NO_SPACE, IO = 21, 22
FLUSH_COSTS_MAX = 24 * MIB
"""Bytes that a single failed flush may cost: 16 MiB are dirty when it is due, and some arrive
until it fails: the more, the busier the machine is."""

FULL, BROKEN, AGAIN = (errno.ENOSPC, errno.EDQUOT), (errno.EIO, errno.EROFS), (errno.EINTR,)
OPENING = FULL + BROKEN + AGAIN + (errno.EMFILE, errno.ENFILE)
LINKING = FULL + BROKEN + (errno.EPERM, errno.EOPNOTSUPP)
LOOKING = (errno.EIO, errno.EACCES)
ERRORS = {
    "open": OPENING,
    "openat": OPENING,
    "write": FULL + BROKEN + AGAIN,
    "pwrite64": FULL + BROKEN + AGAIN,
    "fallocate": FULL + BROKEN + AGAIN + (errno.EOPNOTSUPP,),
    "ftruncate": FULL + BROKEN + AGAIN,
    "mkdirat": FULL + BROKEN + AGAIN,
    "renameat": FULL + BROKEN + AGAIN,
    "unlinkat": BROKEN + AGAIN,
    "symlinkat": LINKING,
    "linkat": LINKING,
    "fchmod": (errno.EPERM, errno.EROFS, errno.EIO),
    "fsync": FULL + BROKEN + AGAIN + (errno.EINVAL,),
    "fdatasync": FULL + BROKEN + AGAIN,
    "flock": (errno.EIO, errno.ENOLCK, errno.EOPNOTSUPP) + AGAIN,
    "statfs": (errno.EIO, errno.ENOSYS),
    "fstatfs": (errno.EIO, errno.ENOSYS),
    "fstat": LOOKING,
    "newfstatat": LOOKING,
    "statx": LOOKING,
    "readlinkat": LOOKING,
    "getdents64": (errno.EIO,),
    "read": (errno.EIO,) + AGAIN,
    "pread64": (errno.EIO,) + AGAIN,
    "close": FULL + BROKEN + AGAIN,
}
"""What each call is made to fail with."""
SHORT = "short"


@dataclass(frozen=True)
class Fault:
    call: str
    file: str
    """The file's role: digests and random numbers are left out."""
    nth: int
    error: object
    """An error number, or SHORT."""
    for_ever: bool

    def __str__(self):
        what = self.error if self.error == SHORT else errno.errorcode[self.error]
        return f"{self.call} {self.file} no. {self.nth}{'+' if self.for_ever else ''}: {what}"

    @property
    def exit_number(self):
        return NO_SPACE if self.error in FULL else IO


def role(call, root):
    path = call.path.removeprefix(str(root)) or "/"
    return re.sub(r"[0-9a-f]{32,64}|(?<=owner-)[0-9a-f]+", "#", path)


def prepared(place, wanted, cache, part):
    target = Target(place, wanted, cache)
    if cache:
        # One that a group shares: what is made there is opened to it.
        target.root.mkdir()
        target.root.chmod(0o2775)
    if part:
        killed_after(target, bytes_written=part)
    return target


def faults_of(place, wanted, cache, part):
    """Every call of an undisturbed run, with everything that can go wrong with it."""
    with scratch(place) as directory:
        target = prepared(directory, wanted, cache, part)
        ended = target.run(calls=CALLS)
        target.assert_done(ended)
        counts = Counter((call.name, role(call, target.root)) for call in ended.calls)
        # The kernel closes a file, and gives its lock away, even when it returns an error.
        not_closed = {role(call, target.root) for call in ended.calls if call.name == "flock"}
    faults = []
    for (call, file), count in counts.items():
        if call == "close" and file in not_closed:
            continue
        # Of the many calls for the bytes themselves some stand for all.
        numbers = sorted({1, 2, count // 2, count - 2} & set(range(1, count + 1))) if count > 8 else range(1, count + 1)
        errors = ERRORS[call] + ((SHORT,) if call in ("write", "pwrite64") else ())
        for nth in numbers:
            for error in errors:
                faults.append(Fault(call, file, nth, error, for_ever=False))
                if nth == 1 and error not in (SHORT, errno.EINTR):
                    faults.append(Fault(call, file, nth, error, for_ever=True))
    return faults


@dataclass
class Result:
    fault: Fault
    happened: bool
    status: int = None
    failure: str = None


def try_fault(fault, place, wanted, cache, part):
    with scratch(place) as directory:
        target = prepared(directory, wanted, cache, part)
        count = 0

        def decide(call):
            nonlocal count
            if call.name != fault.call or role(call, target.root) != fault.file:
                return "continue"
            count += 1
            if count == fault.nth or (fault.for_ever and count > fault.nth):
                return Short() if fault.error == SHORT else Fails(fault.error)
            return "continue"

        try:
            ended = target.start(decide, CALLS).finish(seconds=120)
            if count < fault.nth:
                return Result(fault, happened=False)
            target.assert_honest()
            judge(fault, ended, target)
            target.assert_done(target.fetch())
            target.clean_up()
            return Result(fault, True, ended.status)
        except (AssertionError, TimeoutError) as why:
            return Result(fault, True, failure=f"{fault}: {why}")


def judge(fault, ended, target):
    """Either the fault made no difference, or the run ends with the right number and says why."""
    if ended.status == 0:
        assert fault.call not in MUST_NOT_PASS.get(fault.error, ()), f"passed over: {ended.stderr}"
        target.assert_done(ended)
        return
    assert fault.error not in (SHORT, errno.EINTR), f"exit {ended.status}: {ended.stderr}"
    assert fault.call not in HARMLESS, f"exit {ended.status}: {ended.stderr}"
    assert ended.status == fault.exit_number, f"exit {ended.status}: {ended.stderr}"
    said = ended.stderr[ended.stderr.index("error: ") :]
    assert str(target.root) in said, said
    assert os.strerror(fault.error) in said, said


MUST_NOT_PASS = dict.fromkeys(FULL + BROKEN, ("pwrite64", "fdatasync", "ftruncate", "fallocate"))
"""Calls whose failure may mean that bytes are missing."""
HARMLESS = {"statfs", "fstatfs", "fchmod"}
"""Calls without which a run goes on: some file systems cannot tell how much room there is, or have no modes."""


CASES = {
    "fresh": (False, 0),
    "fresh, in a cache": (True, 0),
    "resumed": (False, 9 * MIB),
}


@pytest.mark.parametrize("name", CASES)
def test_a_system_call_fails(name, serve, place, full, note):
    hub = serve("--file", "model.gguf", "--size", "12MiB", "--small", "config.json")
    wanted = Wanted.of(hub, "config.json")
    cache, part = CASES[name]
    faults = faults_of(place, wanted, cache, part)
    if not full:
        # One that was missed once: what was tried in a folder stays there.
        missed = [fault for fault in faults if fault.call == "unlinkat" and fault.file == "/tmp-#"]
        faults = random.sample(faults, SAMPLE) + missed
    check(faults, place, wanted, cache, part, note)


def test_a_flush_meanwhile_fails(serve, place, full, note):
    """Files above 16 MiB are flushed, and what was flushed is recorded, while they arrive."""
    wanted = Wanted.one_file(serve, "72MiB")
    meanwhile = [
        fault
        for fault in faults_of(place, wanted, False, 0)
        if "flushed" in fault.file
        # The record of what was flushed, on its way.
        or (fault.call in ("openat", "write", "fsync", "close") and "tmp-" in fault.file)
        or (fault.call in ("fdatasync", "pwrite64") and "partial" in fault.file)
    ]
    check(meanwhile if full else random.sample(meanwhile, 3), place, wanted, False, 0, note)


def test_a_write_past_the_page_cache_fails(serve, ext4, full, note):
    wanted = Wanted.one_file(serve, "20MiB")
    writes = [
        fault
        for fault in faults_of(ext4, wanted, False, 0)
        if "partial" in fault.file and fault.call in ("pwrite64", "openat", "fdatasync", "fallocate")
    ]
    check(writes if full else random.sample(writes, 4), ext4, wanted, False, 0, note)


def failing_once(target, point, error, nth=1):
    """A run of which the nth call of a name on the file of a role fails."""
    count = 0

    def decide(call):
        nonlocal count
        if (call.name, role(call, target.root)) != point:
            return "continue"
        count += 1
        return Fails(error) if count == nth else "continue"

    ended = target.run(decide, CALLS)
    assert count >= nth, f"there were only {count} such calls"
    return ended


RECORDED = ("renameat", "/.modelfetch/partial/#.flushed.json")
FLUSHED = ("fdatasync", "/.modelfetch/partial/#")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT], ids=["full", "quota"])
@pytest.mark.parametrize("size, nth", [("60MiB", 1), ("72MiB", 1), ("72MiB", 3), ("160MiB", 6)])
def test_a_flush_that_fails_once_costs_little(size, nth, error, serve, place, note):
    wanted = Wanted.one_file(serve, size)
    target = Target(place, wanted)
    ended = failing_once(target, FLUSHED, error, nth)
    assert ended.status == NO_SPACE, f"exit {ended.status}: {ended.stderr}"
    again = target.fetch()
    target.assert_done(again)
    lost = written(ended.calls) + fetched(again) - wanted.bytes
    note(f"{written(ended.calls) / MIB:.0f} MiB of {size} were there, {lost / MIB:.1f} MiB fetched twice")
    assert lost <= FLUSH_COSTS_MAX, f"{lost} bytes fetched twice"


@pytest.mark.parametrize("past_the_page_cache", [False, True])
def test_a_run_ends_when_what_was_flushed_cannot_be_recorded(past_the_page_cache, serve, place, request, note):
    """Or nothing would bound what a power cut costs."""
    place = request.getfixturevalue("ext4") if past_the_page_cache else place
    wanted = Wanted.one_file(serve, "400MiB" if past_the_page_cache else "160MiB")
    # One connection brings all bytes in order, so that none needs the page cache.
    target = Target(place, wanted, connections=1)
    ended = failing_once(target, RECORDED, errno.EIO)
    assert ended.status == IO and "flushed.json" in ended.stderr, f"exit {ended.status}: {ended.stderr}"
    failed = next(n for n, call in enumerate(ended.calls) if (call.name, role(call, target.root)) == RECORDED)
    done, later = written(ended.calls), written(ended.calls[failed:])
    note(f"ended after {done / MIB:.0f} of {wanted.bytes / MIB:.0f} MiB, {later / MIB:.1f} of them later")
    # A block for each thread that writes, and some more while the failed one is removed.
    assert later < 16 * MIB, f"{later} bytes later"
    again = target.fetch()
    target.assert_done(again)
    assert fetched(again) < wanted.bytes


SAVING = {
    "fallocate": (errno.EIO, errno.EOPNOTSUPP, errno.ENOSPC, errno.EINTR),
    "ftruncate": FULL + BROKEN,
    "openat": FULL + BROKEN,
    "write": FULL + BROKEN,
    "renameat": FULL + BROKEN,
    "close": FULL + BROKEN,
}


@pytest.mark.parametrize("call", SAVING)
def test_a_call_fails_while_an_interrupted_run_saves_its_state(call, serve, place, note):
    """And gives back the disk space that it had taken beforehand."""
    wanted = Wanted.one_file(serve, "24MiB")
    ends = Counter()
    made = 0
    for error in (None, *SAVING[call]):
        with scratch(place) as directory:
            target = Target(directory, wanted)
            total, failed = 0, 0

            def decide(shown, error=error):
                nonlocal total, failed
                total += shown.length if shown.name == "pwrite64" else 0
                if total > 12 * MIB and not failed:
                    failed = 1
                    os.kill(process.pid, signal.SIGTERM)
                elif failed and shown.name == call and error and not role(shown, target.root).endswith("/lock"):
                    failed += 1
                    return Fails(error)
                return "continue"

            process = target.start(decide, CALLS)
            ended = process.finish()
            assert ended.status in (143, IO, NO_SPACE), f"exit {ended.status}: {ended.stderr}"
            made += max(0, failed - 1)
            ends[ended.status] += 1
            target.assert_honest()
            target.assert_done(target.fetch())
            target.clean_up()
    assert made, "it was never made"
    note(f"failed {made} times, " + ", ".join(f"{count} ended with {number}" for number, count in sorted(ends.items())))


def check(faults, place, wanted, cache, part, note):
    results = spread(try_fault, faults, place, wanted, cache, part)
    happened = [result for result in results if result.happened]
    failures = [result.failure for result in happened if result.failure]
    ends = Counter(result.status for result in happened if not result.failure)
    told = ", ".join(f"{count} ended with {number}" for number, count in sorted(ends.items()))
    note(f"{len(happened)} faults of {len(faults)} planned, {told}, {len(failures)} failures")
    assert happened
    assert not failures, "\n\n".join(failures)
