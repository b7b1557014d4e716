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
def slow_loopback(rate="16mbit", burst="128kb"):
    """For all that goes over loopback together, as tc writes it; None: as it is. The burst is worth a few milliseconds at
    least, for packets there are large."""
    if rate is None:
        yield
        return
    queue = ["dev", "lo", "root", "tbf", "rate", rate, "burst", burst, "latency", "500ms"]
    subprocess.run(["tc", "qdisc", "add", *queue], check=True)
    try:
        yield
    finally:
        subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], check=True)
