"""Started by `servers.py`. A long line: packets that go through a TUN device are delayed, lost and paced here, as a far network would do it.

Whoever connects to FAR is answered by a server that listens at NEAR: the line sends each packet back with its two addresses
exchanged, which leaves all checksums as they are. So the kernel's own TCP is at both ends, with its windows and its recovery."""

import argparse
import collections
import fcntl
import os
import random
import select
import struct
import subprocess
import time

NEAR, FAR = "10.9.0.1", "10.9.0.2"
# Jumbo frames: a program that handles packets one by one would be the limit otherwise.
MTU = 9000
# Seconds of bytes that wait at the bottleneck before it drops what comes.
QUEUE = 0.1
# Seconds without a packet: whoever comes next finds the first rate.
PAUSE = 0.5
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def tun():
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"line", IFF_TUN | IFF_NO_PI))
    for words in (["addr", "add", f"{NEAR}/24", "dev", "line"], ["link", "set", "line", "mtu", str(MTU), "txqueuelen", "10000", "up"]):
        subprocess.run(["ip", *words], check=True)
    return device


def carry(device, delay, loss, rates, period):
    """For ever. `rates` take turns, each for `period` seconds from the first packet after a pause; bytes per second, each
    way."""
    waiting = collections.deque()
    free_at, begin, last = {}, 0, 0
    while True:
        timeout = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        select.select([device], [], [], timeout)
        now = time.monotonic()
        for packet in received(device):
            begin, last = begin if now - last < PAUSE else now, now
            rate = rates[int((now - begin) / period) % len(rates)]
            way = packet[12:16]
            starts = max(now, free_at.get(way, now))
            if random.random() < loss or starts - now > QUEUE:
                continue
            free_at[way] = starts + len(packet) / rate
            waiting.append((free_at[way] + delay, packet[:12] + packet[16:20] + way + packet[20:]))
        while waiting and waiting[0][0] <= now:
            os.write(device, waiting.popleft()[1])


def received(device):
    # Not for ever: those that wait come due.
    for _ in range(64):
        try:
            packet = os.read(device, MTU)
        except BlockingIOError:
            return
        if packet[0] >> 4 == 4:
            yield packet


def main():
    parser = argparse.ArgumentParser(description="Carries packets to and from itself.")
    parser.add_argument("--round-trip", type=float, default=0, help="seconds, of the line alone")
    parser.add_argument("--loss", type=float, default=0, help="share of the packets, each way")
    parser.add_argument("--rates", default="1e9", help="bytes per second, in turn: 5e6,200e6")
    parser.add_argument("--period", type=float, default=10, help="seconds of each rate")
    options = parser.parse_args()
    device = tun()
    print("ready", flush=True)
    carry(device, options.round_trip / 2, options.loss, [float(rate) for rate in options.rates.split(",")], options.period)


if __name__ == "__main__":
    main()
