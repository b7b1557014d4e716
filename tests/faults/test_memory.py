"""A pod with 128 MiB, and models many times as large, on a slow disk: it is not killed, and little is dirty."""

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
from images import IMAGES, mounted, run
from target import MIB, Target, Wanted

LIMIT = 128 * MIB
GROUPS = Path("/sys/fs/cgroup/memory")
BLOCK_GROUPS = Path("/sys/fs/cgroup/blkio")
RESIDENT_MAX = 32 * MIB
DIRTY_MAX = 96 * MIB
"""The program keeps 64 MiB dirty at most; the device's own buffers come on top."""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not (GROUPS / "memory.limit_in_bytes").exists(),
    reason="needs root and the memory controller of control groups, version 1",
)


class Group:
    """A memory control group, watched."""

    def __init__(self, limit):
        self.path = GROUPS / f"modelfetch-faults-{os.getpid()}"
        self.limit = limit
        self.highest = {"total_rss": 0, "total_dirty": 0, "total_writeback": 0, "total_dirty + total_writeback": 0}

    def __enter__(self):
        self.path.mkdir()
        (self.path / "memory.limit_in_bytes").write_text(str(self.limit))
        self.over = threading.Event()
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.watcher.join()
        self.path.rmdir()

    def watch(self):
        while not self.over.wait(0.02):
            lines = (self.path / "memory.stat").read_text().splitlines()
            stat = {name: int(value) for name, value in map(str.split, lines)}
            stat["total_dirty + total_writeback"] = stat["total_dirty"] + stat["total_writeback"]
            for name in self.highest:
                self.highest[name] = max(self.highest[name], stat[name])

    def enter(self):
        """The beginning of a command that runs in it."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', self.path / "cgroup.procs"]

    @property
    def kills(self):
        counts = dict(line.split() for line in (self.path / "memory.oom_control").read_text().splitlines())
        return int(counts["oom_kill"])

    @property
    def peak(self):
        return int((self.path / "memory.max_usage_in_bytes").read_text())


def throttle(disk, bytes_per_second):
    """Slows the device under a mount down, for the kernel's own write-back too."""
    device = run("findmnt", "--noheadings", "--output", "MAJ:MIN", disk).strip()
    (BLOCK_GROUPS / "blkio.throttle.write_bps_device").write_text(f"{device} {bytes_per_second}")


@pytest.mark.parametrize(
    "kind, size, rate",
    [("ext4", "384MiB", None), ("ext4", "2GiB", 60_000_000), ("xfs", "2GiB", None), ("ext4", "12800MB", None)],
    ids=["small", "slow", "xfs", "hundredfold"],
)
def test_gigabytes_within_128_mib(kind, size, rate, serve, tmp_path, full, note, request):
    if not full and "small" not in request.node.name:
        pytest.skip("writes gigabytes")
    wanted = Wanted.one_file(serve, size)
    if os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize < 1.2 * wanted.bytes:
        pytest.skip("not enough disk space")
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    with open(image, "wb") as file:
        file.truncate(int(wanted.bytes * 1.1) + 320 * MIB)
    run(*IMAGES[kind], image)
    try:
        with mounted(image, disk), Group(LIMIT) as group:
            if rate:
                throttle(disk, rate)
            target = Target(tmp_path, wanted, root=disk / "models")
            begin = time.monotonic()
            ended = subprocess.run(
                [*group.enter(), *target.command("--progress", "lines")], env=target.environment,
                capture_output=True, text=True,
            )  # fmt: skip
            seconds = time.monotonic() - begin
            if rate:
                throttle(disk, 0)
            rss, dirty, back, both = (f"{value / MIB:.0f} MiB" for value in group.highest.values())
            note(
                f"{size} on {kind} in {seconds:.0f} s, {group.kills} kills; at most {rss} resident, {dirty} dirty, "
                f"{back} in write-back, {both} of both, {group.peak / MIB:.0f} MiB with the page cache"
            )
            assert ended.returncode == 0, f"exit {ended.returncode}: {ended.stderr}"
            assert group.kills == 0
            assert group.highest["total_rss"] < RESIDENT_MAX
            assert group.highest["total_dirty + total_writeback"] < DIRTY_MAX
            target.assert_done(target.fetch("--verify", "full"))
    finally:
        image.unlink()
