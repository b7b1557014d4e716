"""Started by `compare`: measures every contender in turn and prints Markdown."""

import argparse
import os
import pathlib
import platform
import shutil
import statistics
import tempfile
import time

import contenders
import limits
import servers
from loopback import loopback_up
from measure import Bench, flush


def arguments():
    parser = argparse.ArgumentParser(prog="benches/compare", description=__doc__.partition(": ")[2])
    parser.add_argument("--size", default="1GiB", help="of the file [1GiB]")
    parser.add_argument("--runs", type=int, default=3, help="of which the median is shown [3]")
    parser.add_argument("--rate", default="25MB", help="per second and connection, where it is capped [25MB]")
    parser.add_argument("--only", default="", help="contenders whose name contains this")
    parser.add_argument("--links", default="uncapped,capped,limits", help="parts to run [all: %(default)s]")
    parser.add_argument("--work", help="directory on the disk to measure [a temporary one]")
    return parser.parse_args()


def main():
    options = arguments()
    loopback_up()
    work = pathlib.Path(tempfile.mkdtemp(prefix="compare-", dir=options.work))
    chosen = [contender for contender in contenders.ALL if options.only in contender.name]
    try:
        describe_machine(work, options)
        parts = options.links.split(",")
        if "uncapped" in parts or "limits" in parts:
            with servers.uncapped(str(work), options.size) as hub:
                if "uncapped" in parts:
                    table("No cap on the link (nginx)", bench(hub, work), chosen, options, hub)
                if "limits" in parts:
                    limits.show(bench(hub, work), hub)
        if "capped" in parts:
            with servers.capped(options.size, options.rate) as hub:
                title = f"{options.rate}/s for each connection (the fake Hub's CDN, paced by the kernel)"
                table(title, bench(hub, work), chosen, options, hub)
    finally:
        shutil.rmtree(work)


def bench(hub, work):
    """The same surroundings for all: a private home, no colours, no telemetry."""
    home = work / "home"
    home.mkdir(exist_ok=True)
    return Bench(work, {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "MODELFETCH": os.environ["MODELFETCH"],
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "REPO": servers.REPO,
        "FILE": servers.FILE,
        "SHA": hub.files[servers.FILE]["sha256"],
        "URL": f"{hub.endpoint}/{servers.REPO}/resolve/main/{servers.FILE}",
    })


class Results:
    """What one contender showed, run by run."""

    def __init__(self):
        self.cold, self.flushed, self.second, self.resumed, self.wasted = [], [], [], [], []

    def measure(self, bench, command, size):
        target = bench.empty()
        self.cold.append(bench.run(command, target))
        self.flushed.append(flush(target / servers.FILE))
        self.second.append(bench.run(command, target))
        target = bench.empty()
        # Framing and the questions to the Hub make up the difference to the file's size.
        at_kill = bench.kill_at(command, target, size / 2)
        self.resumed.append(bench.run(command, target))
        self.wasted.append(at_kill + self.resumed[-1].wire - self.cold[-1].wire)


def table(title, bench, chosen, options, hub):
    results = {contender.name: Results() for contender in chosen}
    size = hub.files[servers.FILE]["size"] / (1 << 20)
    # All in turn, again and again: what disturbs the machine disturbs everybody.
    for _ in range(options.runs):
        for contender in chosen:
            results[contender.name].measure(bench, contender.command, size)
    print(f"\n### {title}, {options.size}\n")
    print("| | wall s | with fsync s | CPU s | peak MiB | ratio | second run s | after SIGKILL s | MiB fetched again |")
    print("|---|---|---|---|---|---|---|---|---|")
    first = durable(results[chosen[0].name])
    for contender in chosen:
        result = results[contender.name]
        cells = [
            contender.name,
            spread([sample.wall for sample in result.cold]),
            spread(durable(result)),
            median([sample.cpu for sample in result.cold]),
            median([sample.peak for sample in result.cold], "{:.0f}"),
            f"{statistics.median(durable(result)) / statistics.median(first):.2f}",
            median([sample.wall for sample in result.second], "{:.3f}"),
            median([sample.wall for sample in result.resumed]),
            median(result.wasted, "{:.0f}"),
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


def durable(result):
    return [sample.wall + wait for sample, wait in zip(result.cold, result.flushed, strict=True)]


def median(values, form="{:.2f}"):
    return form.format(statistics.median(values))


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def describe_machine(work, options):
    cpu = next(line for line in open("/proc/cpuinfo") if line.startswith("model name")).partition(":")[2].strip()
    device = os.stat(work).st_dev
    mounts = [line.split() for line in open("/proc/self/mountinfo")]
    numbers = f"{os.major(device)}:{os.minor(device)}"
    system = next((fields[fields.index("-") + 1] for fields in mounts if fields[2] == numbers), "unknown")
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} × {cpu}, Linux {platform.release()}, {system}; ", end="")
    print(f"load {os.getloadavg()[0]:.1f} at the start; clients and servers share the machine.")
    print(f"Median of {options.runs}; in brackets the lowest and highest. `ratio` compares wall with fsync.")


main()
