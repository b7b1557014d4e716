"""The loopback interface of a network namespace that has just been made."""

import contextlib
import fcntl
import socket
import struct
import subprocess


def loopback_up():
    """`ip link set lo up`."""
    get_flags, set_flags, up = 0x8913, 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(handle, get_flags, request))[1]
        fcntl.ioctl(handle, set_flags, struct.pack("16sh22x", b"lo", flags | up))


@contextlib.contextmanager
def slow_loopback():
    """Two megabytes per second for all that goes over loopback together."""
    queue = ["dev", "lo", "root", "tbf", "rate", "16mbit", "burst", "128kb", "latency", "500ms"]
    subprocess.run(["tc", "qdisc", "add", *queue], check=True)
    try:
        yield
    finally:
        subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], check=True)
