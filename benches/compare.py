"""Started by `compare`: measures every contender in turn and prints Markdown."""

import argparse
import contextlib
import os
import pathlib
import re
import shutil
import statistics
import tempfile
from functools import partial

import contenders
import guard
import limits
import line
import servers
import storage
from fake_hub import FakeHub
from loopback import loopback_up
from measure import flush
from surroundings import bench, describe_machine

LINKS = {
    "uncapped": "no cap on the link (nginx)",
    "tls": "TLS, no cap on the link (the fake Hub)",
    "capped": "25 MB/s for each connection",
    "far": "25 MB/s for each connection, 40 ms before each answer, TLS",
    "punishing": "25 MB/s for each connection, 2 MB/s while there are more than 4",
    "uneven": "25 MB/s for each connection, 2 MB/s for every eighth",
    "xet": "no cap on the link, the file in Xet storage too (Xet's own CAS server)",
    "many": "500 files of 1 MB, no cap on the link",
    "thousands": "10,000 files of 100 kB, no cap on the link",
    "sharded": "8 shards, no cap on the link",
    "long": "50 MB/s, 200 ms there and back",
    "lossy": "50 MB/s, 200 ms there and back, 1 % of the packets lost each way",
    "lossy-at-times": "50 MB/s, 200 ms there and back, 0.1 % of the packets lost each way",
    "changing": "5 and 200 MB/s in turn, for ten seconds each, 20 ms there and back",
}
LINES = {
    "long": ["--round-trip", "0.2", "--rates", "50e6"],
    "lossy": ["--round-trip", "0.2", "--rates", "50e6", "--loss", "0.01"],
    "lossy-at-times": ["--round-trip", "0.2", "--rates", "50e6", "--loss", "0.001"],
    "changing": ["--round-trip", "0.02", "--rates", "5e6,200e6"],
}


def arguments():
    parser = argparse.ArgumentParser(prog="benches/compare", description=__doc__.partition(": ")[2])
    parser.add_argument("--size", default="1GiB", help="of the file [1GiB]")
    parser.add_argument("--runs", type=int, default=3, help="of which the median is shown [3]")
    parser.add_argument("--only", default="", help="contenders whose name matches this regular expression")
    parser.add_argument("--links", default=",".join([*LINKS, "limits"]), help="parts to run [%(default)s]")
    parser.add_argument("--cold", action="store_true", help="drop the page cache before each run, but for the server's files")
    parser.add_argument("--no-resume", action="store_true", help="leave out the runs after SIGKILL")
    parser.add_argument("--guard", action="store_true",
                        help="a five-minute part, whose ratios to the alternatives must not be worse than those in guard.json")
    parser.add_argument("--write", action="store_true", help="with --guard: write guard.json instead, from 7 runs")
    parser.add_argument("--work", help="directory on the disk to measure [a temporary one]")
    return parser.parse_args()


def main():
    options = arguments()
    loopback_up()
    work = pathlib.Path(tempfile.mkdtemp(prefix="compare-", dir=options.work))
    try:
        print(f"{describe_machine(work)}; clients and servers share the machine.")
        if options.guard:
            options.no_resume = True
            measured = guard.measured(partial(measure_part, options, work), options.write)
            raise SystemExit(guard.write(measured) if options.write else guard.check(measured))
        print(f"Median of {options.runs}; in brackets the lowest and highest. `ratio` compares wall with fsync.")
        for link in options.links.split(","):
            if link == "limits":
                with servers.uncapped(work, "--file", servers.FILE, "--size", options.size) as hub:
                    limits.show(bench(hub, work), hub)
            elif link == "xet" and not os.environ["CAS_SERVER"]:
                print("\nSkipped: the file in Xet storage (fixtures/cas-server.sh builds the server, ten minutes)")
            else:
                with serve(link, work, options.size) as hub:
                    table(link, bench(hub, work), options, hub)
    finally:
        shutil.rmtree(work)


def serve(link, work, size):
    """The servers of a link; where a connection is slow, the kernel paces it."""
    one_file = ["--file", servers.FILE, "--size", size]
    capped = [*one_file, "--rate-per-connection", "25MB"]
    match link:
        case "uncapped":
            return servers.uncapped(work, *one_file)
        case "xet":
            return xet(work, *one_file)
        case "many":
            return servers.uncapped(work, *names(500), "--size", "1MB")
        case "thousands":
            return servers.uncapped(work, *names(10_000), "--size", "100kB")
        case "sharded":
            shards = [argument for n in range(1, 9) for argument in ("--file", f"model-{n:05}-of-00008.gguf")]
            return servers.uncapped(work, *shards, "--size", size)
        case _ if link in LINES:
            return servers.behind_a_line(work, LINES[link], *one_file)
        case "tls":
            return servers.cdn(*one_file, "--tls", work)
        case "capped":
            return servers.cdn(*capped)
        case "far":
            return servers.cdn(*capped, "--latency-ms", "40", "--tls", work)
        case "punishing":
            return servers.cdn(*capped, "--punish-above", "4")
        case "uneven":
            return servers.cdn(*capped, "--slow-connection-every", "8")
    raise SystemExit(f"no such part: {link}")


def names(count):
    return [argument for n in range(count) for argument in ("--file", f"{n:05}.bin")]


@contextlib.contextmanager
def xet(work, *arguments):
    """nginx, as ever, and Xet's own CAS server, which has the file too for clients that ask for it there."""
    with FakeHub(*arguments, "--blobs", work / "blobs") as made:
        blob = work / "blobs" / made.files[servers.FILE]["sha256"]
    with storage.cas_server(work) as cas:
        name = storage.upload(cas, [blob])[blob.name]
        with servers.uncapped(work, *arguments, "--cas", cas, "--xet-hash", f"{servers.FILE}={name}") as hub:
            yield hub


class Results:
    """What one contender showed, run by run."""

    def __init__(self):
        self.cold, self.flushed, self.second, self.resumed, self.wasted = [], [], [], [], []

    def measure(self, bench, command, options):
        target = bench.empty(options.cold)
        self.cold.append(bench.run(command, target))
        self.flushed.append(flush(target))
        self.second.append(bench.run(command, target))

    def durable(self):
        """Seconds until the disk has it, run by run."""
        return [sample.wall + wait for sample, wait in zip(self.cold, self.flushed, strict=True)]

    def interrupt(self, bench, command, options, size):
        target = bench.empty(options.cold)
        # Framing and the questions to the Hub make up the difference to the file's size.
        at_kill = bench.kill_at(command, target, size / 2)
        self.resumed.append(bench.run(command, target))
        self.wasted.append(at_kill + self.resumed[-1].wire - self.cold[-1].wire)


def measure_part(options, work, link, size, runs, chosen):
    """The results of some contenders on one link."""
    with serve(link, work, size) as hub:
        return measure(bench(hub, work), hub, chosen, runs, options, interrupts=False)


def measure(bench, hub, chosen, runs, options, interrupts):
    """All in turn, again and again: what disturbs the machine disturbs everybody."""
    results = {contender.name: Results() for contender in chosen}
    for _ in range(runs):
        for contender in chosen:
            results[contender.name].measure(bench, contender.command, options)
            if interrupts:
                results[contender.name].interrupt(bench, contender.command, options, size_of(hub))
    return results


def size_of(hub):
    """MiB of all files."""
    return sum(file["size"] for file in hub.files.values()) / (1 << 20)


def table(link, bench, options, hub):
    chosen = [contender for contender in contenders.of(link) if re.search(options.only, contender.name)]
    # Of many files most alternatives would take the cut ones for complete.
    interrupts = contenders.of(link) is not contenders.MANY_FILES and not options.no_resume
    if link in LINES:
        bench.pause = 2 * line.PAUSE
    results = measure(bench, hub, chosen, options.runs, options, interrupts)
    cache = ", page cache dropped before each run (the server keeps its files)" if options.cold else ""
    print(f"\n### {size_of(hub):.0f} MiB, {LINKS[link]}{cache}\n")
    header = ["", "wall s", "with fsync s", "CPU s", "peak MiB", "MiB on the wire", "ratio", "second run s"]
    header += ["after SIGKILL s", "MiB fetched again"] if interrupts else []
    print("| " + " | ".join(header) + " |")
    print("|---" * len(header) + "|")
    first = results[chosen[0].name].durable()
    for contender in chosen:
        result = results[contender.name]
        cells = [
            contender.name,
            spread([sample.wall for sample in result.cold]),
            spread(result.durable()),
            median([sample.cpu for sample in result.cold]),
            median([sample.peak for sample in result.cold], "{:.0f}"),
            median([sample.wire for sample in result.cold], "{:.0f}"),
            f"{statistics.median(result.durable()) / statistics.median(first):.2f}",
            median([sample.wall for sample in result.second], "{:.3f}"),
        ]
        if interrupts:
            cells += [median([sample.wall for sample in result.resumed]), median(result.wasted, "{:.0f}")]
        print("| " + " | ".join(cells) + " |", flush=True)


def median(values, form="{:.2f}"):
    return form.format(statistics.median(values))


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


main()
