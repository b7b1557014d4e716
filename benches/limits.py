"""What the machine can do at best: one core of SHA-256, the disk, the loopback interface."""

import subprocess

import contenders
import servers
from measure import MIB

VERIFIERS = {
    "SHA-256, `modelfetch verify`": '"$MODELFETCH" verify --dir . --progress none >/dev/null',
    "SHA-256, `openssl dgst`": 'openssl dgst -sha256 "$FILE" >/dev/null',
    "SHA-256, `sha256sum`": 'sha256sum "$FILE" >/dev/null',
}


def show(bench, hub):
    """Everything in MiB of the file per second, best of three."""
    size = hub.files[servers.FILE]["size"]
    target = bench.empty()
    bench.run(contenders.MODELFETCH, target)
    blob = bench.work / "blobs" / hub.files[servers.FILE]["sha256"]
    probes = VERIFIERS | {
        "write and fsync, buffered": f'dd if="{blob}" of=copy bs=4M conv=fsync status=none; rm copy',
        "write and fsync, O_DIRECT": f'dd if="{blob}" of=copy bs=4M oflag=direct conv=fsync status=none; rm copy',
        "loopback, one connection into /dev/null": 'curl -fsSL -o /dev/null "$URL"',
    }
    print("\n### Limits of this machine\n\n| | MiB/s | CPU s per GiB |\n|---|---|---|")
    for name, command in probes.items():
        samples = [bench.run(command, target) for _ in range(3)]
        best = min(samples, key=lambda sample: sample.wall)
        print(f"| {name} | {size / MIB / best.wall:.0f} | {best.cpu / (size / (1 << 30)):.2f} |", flush=True)
    flags = subprocess.run(["grep", "-o", "-m1", "-w", "sha_ni", "/proc/cpuinfo"], capture_output=True).stdout
    print(f"\nThe CPU has SHA instructions: {'yes' if flags else 'no'}.")
