"""Runs a command and says what it took."""

import os
import pathlib
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

MIB = 1 << 20


@dataclass
class Sample:
    wall: float
    """Seconds."""
    cpu: float
    """Seconds of user and system time, of the command and its children."""
    peak: float
    """MiB resident, of the largest process."""
    wire: float
    """MiB that passed the loopback interface, or a line."""
    written: float = 0
    """MiB that a disk was given to write, where somebody looked."""


class Bench:
    """Runs commands in directories of their own under `work`."""

    def __init__(self, work, environment):
        self.work = pathlib.Path(work)
        self.environment = environment
        self.pause = 0
        """Seconds before each run."""

    def empty(self, drop_caches=False):
        target = self.work / "target"
        if target.exists():
            self.put_aside(target)
        target.mkdir()
        os.sync()
        if drop_caches:
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
            for blob in self.work.glob("blobs/*"):
                subprocess.run(["cat", blob], stdout=subprocess.DEVNULL, check=True)
        time.sleep(self.pause)
        return target

    def put_aside(self, target):
        """Gives its room back and keeps its inodes: ext4 passes over those deleted in the last minutes one by one, so that
        each run would be slower than the one before, and a contender with two files for each one slower than its rivals."""
        for path in target.rglob("*"):
            if path.is_file() and not path.is_symlink():
                os.truncate(path, 0)
        target.rename(tempfile.mkdtemp(prefix="used-", dir=self.work))

    def run(self, command, target):
        """To its end, which must be a success."""
        with tempfile.NamedTemporaryFile("r", dir=self.work) as peak:
            before, begin = received_bytes(), time.perf_counter()
            # GNU time in between: a child of this process would inherit the peak of an interpreter.
            process = self.start(["time", "-f", "%M", "-o", peak.name, "sh", "-c", command], target)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            wall, wire = time.perf_counter() - begin, received_bytes() - before
            if process.returncode != 0:
                raise SystemExit(f"exit status {process.returncode}: {command}")
            kib = int(peak.read().split()[-1])
        return Sample(wall, usage.ru_utime + usage.ru_stime, kib * 1024 / MIB, wire / MIB)

    def kill_at(self, command, target, wire):
        """SIGKILL for the whole process group when so many MiB have passed; returns the MiB then."""
        before = received_bytes()
        process = self.start(["sh", "-c", command], target)
        while (received_bytes() - before) / MIB < wire:
            if process.poll() is not None:
                raise SystemExit(f"ended with {process.returncode} before it was killed: {command}")
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # What the servers had given to the kernel still drains.
        time.sleep(0.2)
        return (received_bytes() - before) / MIB

    def start(self, command, target):
        return subprocess.Popen(command, cwd=target, env=self.environment, start_new_session=True)


def flush(target):
    """Seconds until finished files are on the disk."""
    begin = time.perf_counter()
    for path in target.iterdir():
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    return time.perf_counter() - begin


def received_bytes():
    """By the loopback interface, and from the other end of a line."""
    lines = [line.partition(":") for line in pathlib.Path("/proc/net/dev").read_text().splitlines()]
    return sum(int(counts.split()[0]) for name, _, counts in lines if name.strip() in ("lo", "line"))
