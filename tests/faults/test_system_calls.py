"""One system call fails, or all of a kind from there on: the run says what is wrong, and the next one goes on."""

import errno
import os
import random
import re
from collections import Counter
from dataclasses import dataclass

import pytest
from system_calls import CALLS, Fails, Short
from sweep import killed_after, scratch, spread
from target import MIB, Target, Wanted

SAMPLE = 12
NO_SPACE, IO = 21, 22

FULL, BROKEN, AGAIN = (errno.ENOSPC, errno.EDQUOT), (errno.EIO, errno.EROFS), (errno.EINTR,)
ERRORS = {
    "open": FULL + BROKEN + AGAIN + (errno.EMFILE, errno.ENFILE),
    "openat": FULL + BROKEN + AGAIN + (errno.EMFILE, errno.ENFILE),
    "write": FULL + BROKEN + AGAIN,
    "pwrite64": FULL + BROKEN + AGAIN,
    "fallocate": FULL + BROKEN + AGAIN + (errno.EOPNOTSUPP,),
    "ftruncate": FULL + BROKEN + AGAIN,
    "mkdir": FULL + BROKEN,
    "mkdirat": FULL + BROKEN + AGAIN,
    "rename": FULL + BROKEN,
    "renameat": FULL + BROKEN + AGAIN,
    "unlink": BROKEN,
    "unlinkat": BROKEN + AGAIN,
    "linkat": FULL + BROKEN + (errno.EPERM, errno.EOPNOTSUPP),
    "symlinkat": FULL + BROKEN + (errno.EPERM, errno.EOPNOTSUPP),
    "fchmod": (errno.EPERM, errno.EROFS, errno.EIO),
    "fsync": FULL + BROKEN + AGAIN + (errno.EINVAL,),
    "fdatasync": FULL + BROKEN + AGAIN,
    "sync_file_range": FULL + BROKEN,
    "flock": (errno.EIO, errno.ENOLCK, errno.EOPNOTSUPP) + AGAIN,
    "statfs": (errno.EIO, errno.ENOSYS),
    "fstatfs": (errno.EIO, errno.ENOSYS),
    "statx": (errno.EIO, errno.EACCES),
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
    return re.sub(r"[0-9a-f]{32,64}", "#", path)


def prepared(place, wanted, cache, part):
    target = Target(place, wanted, cache)
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
    assert ended.status == fault.exit_number, f"exit {ended.status}: {ended.stderr}"
    said = ended.stderr[ended.stderr.index("error: ") :]
    assert str(target.root) in said, said
    assert os.strerror(fault.error) in said, said


MUST_NOT_PASS = dict.fromkeys(FULL + BROKEN, ("pwrite64", "fdatasync", "ftruncate", "fallocate"))
"""Calls whose failure may mean that bytes are missing."""


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
        faults = random.sample(faults, SAMPLE)
    check(faults, place, wanted, cache, part, note)


def test_a_flush_meanwhile_fails(serve, place, full, note):
    """Files above 64 MiB are flushed, and what was flushed is recorded, while they arrive."""
    wanted = Wanted.one_file(serve, "72MiB")
    meanwhile = [
        fault
        for fault in faults_of(place, wanted, False, 0)
        if "flushed" in fault.file or (fault.call in ("fdatasync", "pwrite64") and "partial" in fault.file)
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


def check(faults, place, wanted, cache, part, note):
    results = spread(try_fault, faults, place, wanted, cache, part)
    happened = [result for result in results if result.happened]
    failures = [result.failure for result in happened if result.failure]
    ends = Counter(result.status for result in happened if not result.failure)
    told = ", ".join(f"{count} ended with {number}" for number, count in sorted(ends.items()))
    note(f"{len(happened)} faults of {len(faults)} planned, {told}, {len(failures)} failures")
    assert happened
    assert not failures, "\n\n".join(failures)
