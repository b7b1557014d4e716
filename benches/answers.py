"""Started by `answers`: from an empty disk to a server that is ready, and prints Markdown."""

import argparse
import contextlib
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import servers
from contenders import CURL_OPENSSL, OURS
from loopback import loopback_up, slow_loopback
from measure import MIB
from surroundings import bench, describe_machine

LINKS = {"100 MB/s": "800mbit", "400 MB/s": "3200mbit", "no cap": None}
MEMORY = {"plenty": None, "128 MiB for the download": 128 * MIB}
GROUPS = pathlib.Path("/sys/fs/cgroup/memory")
PORT = 8090


def arguments():
    parser = argparse.ArgumentParser(prog="benches/answers", description=__doc__.partition(": ")[2])
    parser.add_argument("--sizes", default="1024,4096", help="of the model in MiB [%(default)s]")
    parser.add_argument("--links", default=",".join(LINKS), help="[%(default)s]")
    parser.add_argument("--runs", type=int, default=3, help="of which the median is shown [3]")
    parser.add_argument("--work", help="directory on the disk to measure [a temporary one]")
    return parser.parse_args()


def main():
    options = arguments()
    loopback_up()
    work = pathlib.Path(tempfile.mkdtemp(prefix="answers-", dir=options.work))
    try:
        print(f"{describe_machine(work)}; all share the machine. Median of {options.runs}.\n")
        print("| MiB | link | memory | by | fetch s | MiB in the page cache then | load s | together s |")
        print("|---" * 8 + "|")
        for mib in options.sizes.split(","):
            model = work / servers.FILE
            subprocess.run([*os.environ["MAKE_MODEL"].split(), model, mib], check=True)
            with servers.uncapped(work, "--local", model) as hub:
                model.unlink()
                for link in options.links.split(","):
                    table(bench(hub, work), mib, link, options.runs)
    finally:
        shutil.rmtree(work)


def table(bench, mib, link, runs):
    rows = [(memory, contender) for memory in MEMORY for contender in (OURS, CURL_OPENSSL)]
    measured = {(memory, contender.name): [] for memory, contender in rows}
    for _ in range(runs):
        for memory, contender in rows:
            measured[memory, contender.name].append(measure(bench, link, MEMORY[memory], contender.command))
    for (memory, name), samples in measured.items():
        fetch, cached, load = (statistics.median(column) for column in zip(*samples, strict=True))
        together = statistics.median(fetch + load for fetch, _, load in samples)
        print(f"| {mib} | {link} | {memory} | {name} | {fetch:.2f} | {cached:.0f} | {load:.2f} | {together:.2f} |", flush=True)


def measure(bench, link, limit, command):
    """Seconds of the download, MiB that the page cache has of it then, seconds until the server is ready."""
    target = bench.empty()
    with slow_loopback(LINKS[link], burst="2mb"), group(limit) as enter:
        fetch = bench.run(enter + command, target).wall
    cached = in_page_cache(target / servers.FILE)
    begin = time.perf_counter()
    serve_until_ready(target / servers.FILE)
    return fetch, cached, time.perf_counter() - begin


@contextlib.contextmanager
def group(limit):
    """What a shell does first to have so much memory, page cache included."""
    if limit is None:
        yield ""
        return
    path = GROUPS / f"modelfetch-answers-{os.getpid()}"
    path.mkdir()
    try:
        (path / "memory.limit_in_bytes").write_text(str(limit))
        yield f"echo $$ > {path}/cgroup.procs && "
    finally:
        # What is in the page cache goes to the group above.
        path.rmdir()


def in_page_cache(path):
    pages = subprocess.run(["fincore", "--bytes", "--noheadings", "--output", "RES", path], capture_output=True, text=True, check=True)
    return int(pages.stdout) / MIB


def serve_until_ready(model):
    """A server that takes every byte of the model at its start, as it must where a GPU is to have them."""
    command = [os.environ["LLAMA_SERVER"], "--model", model, "--load-mode", "none", "--no-warmup", "--ctx-size", "256", "--port", str(PORT)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        while not is_ready():
            if server.poll() is not None:
                raise SystemExit(f"llama-server ended with {server.returncode}")
            time.sleep(0.01)
        server.kill()


def is_ready():
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health") as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


main()
