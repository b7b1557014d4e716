"""Volumes as people mount them: each mounts itself at a folder, in a place of its own, as often as it is asked to."""

import time
from contextlib import contextmanager
from dataclasses import dataclass

from images import run
from target import MIB


@dataclass(frozen=True)
class Volume:
    program: str
    """Without it there is no such volume here."""
    mount: tuple
    """The command; `{place}`, `{at}` and `{device}` stand for the volume's own place, the folder, a loop device."""
    image: tuple = ()
    """The command that makes a file system in an image."""
    block: int = 512
    """Of the loop device, in bytes: direct I/O takes multiples of it."""
    folders: tuple = ()
    """What has to be in the volume's place."""
    refuses: tuple = ()
    """Names that it does not take."""
    folds_case: bool = False
    hashes_again: bool = False
    """After a mount, for inode numbers and times that do not stay as they were."""


def xfs(block):
    """On a disk whose blocks are larger than a page of this processor, as pages of others are (Linux 6.15)."""
    make = ("mkfs.xfs", "-q", "-s", f"size={block}", "-b", f"size={block}")
    return Volume("mkfs.xfs", ("mount", "{device}", "{at}"), make, block=block)


NTFS = ("mkfs.ntfs", "-F", "-Q", "-q")
OVERLAY = "lowerdir={place}/low,upperdir={place}/up,workdir={place}/work"
VOLUMES = {
    "ext4": Volume("mkfs.ext4", ("mount", "{device}", "{at}"), ("mkfs.ext4", "-q")),
    "xfs": Volume("mkfs.xfs", ("mount", "{device}", "{at}"), ("mkfs.xfs", "-q")),
    "xfs, blocks of 16 KiB": xfs(16 << 10),
    "xfs, blocks of 32 KiB": xfs(32 << 10),
    "btrfs": Volume("mkfs.btrfs", ("mount", "{device}", "{at}"), ("mkfs.btrfs", "-q")),
    "overlayfs": Volume("mount", ("mount", "-t", "overlay", "-o", OVERLAY, "none", "{at}"), folders=("low", "up", "work")),
    "fuse-overlayfs": Volume(
        "fuse-overlayfs", ("fuse-overlayfs", "-o", OVERLAY, "{at}"), folders=("low", "up", "work"), hashes_again=True
    ),
    "bindfs": Volume("bindfs", ("bindfs", "{place}/below", "{at}"), folders=("below",)),
    "mergerfs": Volume("mergerfs", ("mergerfs", "{place}/one:{place}/two", "{at}"), folders=("one", "two")),
    "ntfs-3g": Volume("ntfs-3g", ("ntfs-3g", "{device}", "{at}"), NTFS),
    "ntfs-3g, windows_names": Volume(
        "ntfs-3g", ("ntfs-3g", "-o", "windows_names", "{device}", "{at}"), NTFS, refuses=("ab:c.gguf", "a?.gguf")
    ),
    "lowntfs-3g, ignore_case": Volume(
        "lowntfs-3g", ("lowntfs-3g", "-o", "ignore_case", "{device}", "{at}"), NTFS, folds_case=True
    ),
    "exfat-fuse": Volume(
        "mount.exfat-fuse", ("mount.exfat-fuse", "{device}", "{at}"), ("mkfs.exfat",),
        refuses=("ab:c.gguf", "a?.gguf"), folds_case=True, hashes_again=True,
    ),
}  # fmt: skip


def prepare(volume, place):
    for folder in volume.folders:
        (place / folder).mkdir()
    if volume.image:
        with open(place / "image", "wb") as file:
            file.truncate(300 * MIB)
        run(*volume.image, place / "image")


@contextmanager
def mounted(volume, place, at):
    device = None
    if volume.image:
        device = run("losetup", "--find", "--show", "--sector-size", volume.block, place / "image").strip()
    try:
        run(*[part.format(place=place, at=at, device=device) for part in volume.mount])
        try:
            yield
        finally:
            unmount(at)
    finally:
        if device:
            run("losetup", "--detach", device)


def unmount(at):
    """A server in user space may hold it for a moment."""
    for _ in range(50):
        try:
            run("umount", at)
            break
        except AssertionError:
            time.sleep(0.1)
    else:
        run("umount", "--lazy", at)
    # Its server writes what it has.
    time.sleep(0.3)
