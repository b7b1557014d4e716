"""Started by `updates`: measures updates pair by pair and prints Markdown."""

import argparse
import contextlib
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile

import servers
import storage
from contenders import HF, MODELFETCH
from images import IMAGES, mounted, run
from loopback import loopback_up, slow_loopback
from measure import MIB, Bench
from surroundings import describe_machine, environment

LINKS = {"uncapped": None, "25 MB/s": "200mbit"}
CONTENDERS = {
    "modelfetch, update": MODELFETCH,
    "modelfetch, all of it": f"{MODELFETCH} --no-delta",
    "hf download by Xet": HF,
    "hf download by Xet, with its cache": HF,
}
CACHED = "hf download by Xet, with its cache"


def arguments():
    parser = argparse.ArgumentParser(prog="benches/updates", description=__doc__.partition(": ")[2])
    parser.add_argument("--mib", type=int, default=1024, help="of the model [1024]")
    parser.add_argument("--runs", type=int, default=3, help="of which the median is shown [3]")
    parser.add_argument("--pairs", default=",".join(storage.PAIRS), help="[%(default)s]")
    parser.add_argument("--only", default="", help="contenders whose name matches this regular expression")
    parser.add_argument("--links", default=",".join(LINKS), help="[%(default)s]")
    parser.add_argument("--disks", default=",".join(IMAGES), help="file systems in images, for root; none: '' [%(default)s]")
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
        # nginx serves from memory, as for the other tables.
        with storage.cas_server(work) as cas, servers.nginx(str(work), work / "blobs"):
            for link in filter(None, options.links.split(",")):
                table(link, names, cas, work, options)
            if options.disks and os.geteuid() != 0:
                print("\nSkipped: file systems in images, which take root to mount.")
            elif options.disks:
                disks(options.disks.split(","), names, cas, work, options)
    finally:
        shutil.rmtree(work)


def table(link, names, cas, work, options):
    print(f"\n### {options.mib} MiB, {link}\n")
    print("| what changed | by | MiB on the wire | wall s | CPU s | peak MiB |")
    print("|---|---|---|---|---|---|")
    for name in names:
        with pair(name, cas, work) as (before, now):
            for contender, command in CONTENDERS.items():
                if not re.search(options.only, contender):
                    continue
                samples = [update(contender, command, before, now, work, link) for _ in range(options.runs)]
                values = [
                    statistics.median(getattr(sample, field) for sample in samples)
                    for field in ("wire", "wall", "cpu", "peak")
                ]
                wire, wall, cpu, peak = values
                print(f"| {name} | {contender} | {wire:.1f} | {wall:.2f} | {cpu:.2f} | {peak:.0f} |", flush=True)


@contextlib.contextmanager
def pair(name, cas, work):
    """Two Hubs: one with the files before, one with those that are there now."""
    old, new = storage.versions(name)
    elsewhere = ["--blobs", work / "blobs", "--cdn-base", f"http://127.0.0.1:{servers.NGINX_PORT}"]
    with storage.serve(cas, old, *elsewhere) as before, storage.serve(cas, new, *elsewhere) as now:
        yield before, now
    for blob in (work / "blobs").iterdir():
        blob.unlink()


def disks(kinds, names, cas, work, options):
    """The same update on file systems of which some share blocks; each is in an image of its own."""
    contender = "modelfetch, update"
    print(f"\n### {options.mib} MiB, uncapped, by file system (in an image on the disk above)\n")
    print("| what changed | file system | MiB written to it | wall s | CPU s |")
    print("|---|---|---|---|---|")
    for name in names:
        with pair(name, cas, work) as (before, now):
            for kind in kinds:
                with disk(kind, work, 3 * options.mib + 512) as place:
                    samples = []
                    for _ in range(options.runs):
                        samples.append(update(contender, CONTENDERS[contender], before, now, place, "uncapped"))
                    values = [[getattr(sample, field) for sample in samples] for field in ("written", "wall", "cpu")]
                    written, wall, cpu = map(statistics.median, values)
                print(f"| {name} | {kind} | {written:.0f} | {wall:.2f} | {cpu:.2f} |", flush=True)


@contextlib.contextmanager
def disk(kind, work, mib):
    image, place = work / "image", work / "disk"
    place.mkdir(exist_ok=True)
    with open(image, "wb") as file:
        file.truncate(mib << 20)
    run(*IMAGES[kind], image)
    with mounted(image, place):
        yield place
    image.unlink()


def written_to(place):
    """MiB that the device below a mount point was given to write; 0 where it is no image."""
    source = subprocess.run(["findmnt", "-no", "SOURCE", place], capture_output=True, text=True).stdout.strip()
    if not source.startswith("/dev/loop"):
        return 0
    run("sync", "--file-system", place)
    # The seventh number: sectors (kernel, Documentation/block/stat.rst).
    return int(pathlib.Path("/sys/class/block", pathlib.Path(source).name, "stat").read_text().split()[6]) * 512 / MIB


def update(contender, command, old, now, work, link):
    """The second of two fetches: of the version before, and of the one that is there now."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="home-", dir=work))
    more = {"HF_XET_CHUNK_CACHE_SIZE_BYTES": str(10 << 30)} if contender == CACHED else {}
    bench = Bench(work, environment(home, **more))
    target = bench.empty()
    bench.environment["HF_ENDPOINT"] = old.endpoint
    if len(old.files) == 1:
        # One that was cut short is no model: only who pins its digest gets it.
        (file,) = old.files.values()
        bench.environment["MODELFETCH_SHA256"] = file["sha256"]
    bench.run(command, target)
    bench.environment.pop("MODELFETCH_SHA256", None)
    os.sync()
    bench.environment["HF_ENDPOINT"] = now.endpoint
    before = written_to(work)
    with slow_loopback(LINKS[link], burst="512kb"):
        sample = bench.run(command, target)
    sample.written = written_to(work) - before
    shutil.rmtree(home)
    return sample


main()
