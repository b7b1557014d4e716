"""Real file systems in image files."""

import subprocess
from contextlib import contextmanager

IMAGES = {
    "ext4": ["mkfs.ext4", "-q"],
    "xfs": ["mkfs.xfs", "-q"],
    "btrfs": ["mkfs.btrfs", "-q"],
}


@contextmanager
def mounted(image, directory):
    run("mount", "-o", "loop", image, directory)
    try:
        yield
    finally:
        run("umount", directory)


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout
