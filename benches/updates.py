"""Started by `updates`: measures updates pair by pair and prints Markdown."""

import argparse
import contextlib
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

import storage
from loopback import loopback_up
from measure import Bench
from surroundings import describe_machine

LINKS = {"uncapped": None, "25 MB/s": "200mbit"}
FETCH = '"$MODELFETCH" fetch "$REPO" --dir . --progress none >/dev/null'
HF = 'hf download "$REPO" --local-dir . --quiet >/dev/null'
CONTENDERS = {
    "modelfetch, update": FETCH,
    "modelfetch, all of it": f"{FETCH} --no-delta",
    "hf download by Xet": HF,
    "hf download by Xet, with its cache": HF,
}
CACHED = "hf download by Xet, with its cache"


def arguments():
    parser = argparse.ArgumentParser(prog="benches/updates", description=__doc__.partition(": ")[2])
    parser.add_argument("--mib", type=int, default=1024, help="of the model [1024]")
    parser.add_argument("--runs", type=int, default=3, help="of which the median is shown [3]")
    parser.add_argument("--pairs", default=",".join(storage.PAIRS), help="[%(default)s]")
    parser.add_argument("--links", default=",".join(LINKS), help="[%(default)s]")
    parser.add_argument("--work", help="directory on the disk to measure [a temporary one]")
    return parser.parse_args()


def main():
    options = arguments()
    loopback_up()
    names = options.pairs.split(",")
    os.environ["PAIRS"] = f"{os.environ['PAIRS_CACHE']}-{options.mib}"
    pathlib.Path(os.environ["PAIRS"]).mkdir(exist_ok=True)
    subprocess.run([*os.environ["MAKE_PAIRS"].split(), os.environ["PAIRS"], str(options.mib), *names], check=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix="updates-", dir=options.work))
    try:
        print(f"{describe_machine(work)}; clients and servers share the machine. Median of {options.runs}.")
        with storage.cas_server(work) as cas:
            for link in options.links.split(","):
                table(link, names, cas, work, options)
    finally:
        shutil.rmtree(work)


def table(link, names, cas, work, options):
    print(f"\n### {options.mib} MiB, {link}\n")
    print("| what changed | by | MiB on the wire | wall s | CPU s | peak MiB |")
    print("|---|---|---|---|---|---|")
    for name in names:
        old, new = storage.versions(name)
        with storage.serve(cas, old) as before, storage.serve(cas, new) as now:
            for contender, command in CONTENDERS.items():
                samples = [update(contender, command, before, now, work, link) for _ in range(options.runs)]
                values = [
                    statistics.median(getattr(sample, field) for sample in samples)
                    for field in ("wire", "wall", "cpu", "peak")
                ]
                wire, wall, cpu, peak = values
                print(f"| {name} | {contender} | {wire:.1f} | {wall:.2f} | {cpu:.2f} | {peak:.0f} |", flush=True)


def update(contender, command, before, now, work, link):
    """The second of two fetches: of the version before, and of the one that is there now."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="home-", dir=work))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "MODELFETCH": os.environ["MODELFETCH"],
        "REPO": storage.REPO,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    if contender == CACHED:
        environment["HF_XET_CHUNK_CACHE_SIZE_BYTES"] = str(10 << 30)
    bench = Bench(work, environment)
    target = bench.empty()
    bench.environment["HF_ENDPOINT"] = before.endpoint
    bench.run(command, target)
    os.sync()
    bench.environment["HF_ENDPOINT"] = now.endpoint
    with capped(LINKS[link]):
        sample = bench.run(command, target)
    shutil.rmtree(home)
    return sample


@contextlib.contextmanager
def capped(rate):
    """All that passes the interface, together: the kernel's token bucket."""
    if rate is None:
        yield
        return
    # A bucket of a 50th of a second; packets of the loopback interface are large.
    shape = ["tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", rate, "burst", "512kb", "latency", "200ms"]
    subprocess.run(shape, check=True)
    try:
        yield
    finally:
        subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], check=True)


main()
