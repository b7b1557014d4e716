"""Started by `fleet`: so many clients fetch one model at once, in each way in turn."""

import argparse
import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

from fake_hub import FakeHub
from loopback import loopback_up
from measure import MIB
from servers import FILE, REPO, wait_for
from surroundings import describe_machine

HUB_ADDRESS = "127.0.0.2"


def arguments():
    parser = argparse.ArgumentParser(prog="benches/fleet", description=__doc__.partition(": ")[2])
    parser.add_argument("--clients", type=int, default=8, help="[8]")
    parser.add_argument("--size", default="512MiB", help="of the model [512MiB]")
    parser.add_argument("--uplink", default="1gbit", help="of the whole site, as tc writes it [1gbit]")
    parser.add_argument("--ways", default=",".join(WAYS), help="[%(default)s]")
    parser.add_argument("--work", help="directory on the disk to use [a temporary one]")
    return parser.parse_args()


def main():
    options = arguments()
    loopback_up()
    cap_uplink(options.uplink)
    print(f"{describe_machine(options.work or tempfile.gettempdir())}; {options.clients} clients, the uplink to the Hub", end=" ")
    print(f"is {options.uplink} for all together. Clients, Hub and what stands between them share the machine.\n")
    header = ["", "from the Hub", "times the model", "requests to the Hub", "first ready s", "all ready s", "memory of a client",
              "beside the clients", "its memory", "its CPU s", "its disk"]  # fmt: skip
    print("| " + " | ".join(header) + " |")
    print("|---" * len(header) + "|")
    for way in options.ways.split(","):
        work = pathlib.Path(tempfile.mkdtemp(prefix="fleet-", dir=options.work))
        try:
            print("| " + " | ".join(WAYS[way](work, options).cells(way)) + " |", flush=True)
        finally:
            shutil.rmtree(work)


def cap_uplink(rate):
    """Of what the Hub and its CDN send, together; nothing else on the loopback interface is slowed down."""
    of_hub = ["match", "ip", "src", f"{HUB_ADDRESS}/32"]
    for command in (
        ["qdisc", "add", "dev", "lo", "root", "handle", "1:", "htb"],
        ["class", "add", "dev", "lo", "parent", "1:", "classid", "1:1", "htb", "rate", rate, "burst", "256k", "quantum", "60000"],
        ["filter", "add", "dev", "lo", "parent", "1:", "protocol", "ip", "u32", *of_hub, "flowid", "1:1"],
    ):  # fmt: skip
        subprocess.run(["tc", *command], check=True)


@dataclass
class Between:
    """What has to run beside the clients."""

    name: str = "–"
    memory: float | None = None
    """MiB resident at most."""
    cpu: float | None = None
    """Seconds."""
    disk: float | None = None
    """MiB."""


@dataclass
class Outcome:
    upstream: int
    """Bytes of bodies that the Hub and its CDN sent."""
    size: int
    """Bytes of the model."""
    requests: int
    ends: list[float]
    """Seconds until each client had it, verified."""
    peaks: list[float]
    """MiB resident at most, of each client."""
    between: Between = field(default_factory=Between)

    def cells(self, way):
        def number(value, unit):
            return "–" if value is None else f"{value:.0f}{unit}"

        between = self.between
        return [
            LABELS[way],
            f"{self.upstream / MIB:.0f} MiB",
            f"{self.upstream / self.size:.2f}",
            str(self.requests),
            f"{min(self.ends):.1f}",
            f"{max(self.ends):.1f}",
            f"{max(self.peaks):.0f} MiB",
            between.name,
            number(between.memory, " MiB"),
            "–" if between.cpu is None else f"{between.cpu:.1f}",
            number(between.disk, " MiB"),
        ]


def hub(options):
    return FakeHub("--repo", REPO, "--file", FILE, "--size", options.size, "--small", "config.json",
                   "--listen", f"{HUB_ADDRESS}:0", "--cdn-listen", f"{HUB_ADDRESS}:0")  # fmt: skip


def fetched(hub, endpoint, targets, work, source=REPO):
    """All of them at once, each from `endpoint` into its target."""
    before, begin = hub.counts(), time.perf_counter()
    clients = [start(endpoint, target, work / f"peak-{n}", source) for n, target in enumerate(targets)]
    ends = {}
    while len(ends) < len(clients):
        pid, status = os.wait()
        client = next((client for client in clients if client.pid == pid), None)
        if client is None:
            raise SystemExit("what stands between the clients and the Hub ended")
        client.returncode = os.waitstatus_to_exitcode(status)
        if client.returncode != 0:
            raise SystemExit(f"a client ended with {client.returncode}")
        ends[pid] = time.perf_counter() - begin
    peaks = [int((work / f"peak-{n}").read_text().split()[-1]) * 1024 / MIB for n in range(len(clients))]
    after = hub.counts()
    requests, upstream = (sum(after[server][of] - before[server][of] for server in after) for of in ("requests", "bytes"))
    size = sum(file["size"] for file in hub.files.values())
    return Outcome(upstream, size, requests, list(ends.values()), peaks)


def start(endpoint, target, peak, source):
    target.mkdir(parents=True, exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(target.parent), "HF_ENDPOINT": endpoint}
    fetch = [os.environ["MODELFETCH"], "fetch", source, "--dir", ".", "--progress", "none"]
    # GNU time in between: a child of this process would inherit the peak of an interpreter.
    command = ["time", "-f", "%M", "-o", peak, *fetch]
    return subprocess.Popen(command, cwd=target, env=environment, stdout=subprocess.DEVNULL)


def own_disks(work, options):
    return [work / f"node-{n}" / "models" for n in range(options.clients)]


def direct(work, options):
    with hub(options) as origin:
        return fetched(origin, origin.endpoint, own_disks(work, options), work)


def shared(work, options):
    with hub(options) as origin:
        return fetched(origin, origin.endpoint, [work / "models"] * options.clients, work)


def cold_olah(work, options):
    with hub(options) as origin, olah(origin, work) as (endpoint, running):
        outcome = fetched(origin, endpoint, own_disks(work, options), work)
        outcome.between = running()
        return outcome


def warm_olah(work, options):
    with hub(options) as origin, olah(origin, work) as (endpoint, running):
        fetched(origin, endpoint, [work / "first"], work)
        outcome = fetched(origin, endpoint, own_disks(work, options), work)
        outcome.between = running()
        return outcome


def through_nginx(work, options):
    with hub(options) as origin, nginx(origin, work) as (endpoint, running):
        outcome = fetched(origin, endpoint, own_disks(work, options), work)
        outcome.between = running()
        return outcome


def from_registry(work, options):
    """One client takes it from the Hub, oras pushes what it has, and all others ask the registry alone."""
    with hub(options) as origin, registry(work) as (address, running):
        model = work / "pushed"
        fetched(origin, origin.endpoint, [model], work)
        files = sorted(path.name for path in model.iterdir() if path.is_file())
        push = [os.environ["ORAS"], "push", "--plain-http", f"{address}:v1", *files]
        subprocess.run(list(map(str, push)), cwd=model, stdout=subprocess.DEVNULL, check=True)
        outcome = fetched(origin, "http://127.0.0.1:9", own_disks(work, options), work, f"oci://{address}:v1")
        outcome.between = running()
        return outcome


@contextlib.contextmanager
def registry(work):
    """One of the distribution project, with its blobs in files. Gives the address of a repository, and what tells its costs."""
    port, data = free_port(), work / "registry"
    (work / "registry.yml").write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {data}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with open(work / "registry.log", "w") as log:
        process = subprocess.Popen([os.environ["REGISTRY"], "serve", work / "registry.yml"], stdout=log, stderr=log)
    try:
        wait_for(port)
        version = subprocess.check_output([os.environ["REGISTRY"], "--version"], text=True).split()[-1]
        name = f"one registry {version.lstrip('v').partition('+')[0]}"
        yield f"127.0.0.1:{port}/models/bench", lambda: Between(name, peak(process.pid), cpu(process.pid), used(data))
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def nginx(origin, work):
    """A mirror that keeps the bytes in slices, as docs/fleet.md shows it. Gives its endpoint, and what tells its costs."""
    port, cache = free_port(), work / "nginx-cache"
    configuration = f"""
        user root; daemon off; master_process off; worker_processes 1; pid {work}/nginx.pid; error_log {work}/error.log;
        events {{}}
        http {{
            access_log off; client_body_temp_path {work}/body; proxy_temp_path {work}/proxy;
            fastcgi_temp_path {work}/fastcgi; uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
            proxy_cache_path {cache} keys_zone=models:10m max_size=200g inactive=30d use_temp_path=off;
            proxy_http_version 1.1; proxy_set_header Connection "";
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass {origin.endpoint};
                    proxy_redirect {origin.cdn}/ /cdn/;
                }}
                location /cdn/ {{
                    slice 8m; proxy_cache models; proxy_cache_key $uri$slice_range; proxy_cache_lock on;
                    proxy_cache_valid 200 206 30d; proxy_cache_lock_timeout 60s;
                    proxy_set_header Range $slice_range; proxy_set_header Authorization "";
                    proxy_pass {origin.cdn}/;
                }}
            }}
        }}"""
    (work / "nginx.conf").write_text(configuration)
    process = subprocess.Popen(["nginx", "-p", work, "-c", work / "nginx.conf", "-e", work / "error.log"])
    try:
        wait_for(port)
        release = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr.strip().rpartition("/")[2]
        name = f"one nginx {release}"
        yield f"http://127.0.0.1:{port}", lambda: Between(name, peak(process.pid), cpu(process.pid), used(cache))
    finally:
        process.terminate()
        process.wait()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def olah(origin, work):
    """A mirror of this Hub. Gives its endpoint, and what tells its costs."""
    port = free_port()
    here, upstream = f"127.0.0.1:{port}", origin.endpoint.removeprefix("http://")
    cdn = origin.cdn.removeprefix("http://")
    repos = work / "olah"
    command = [os.environ["OLAH"], "--host", "127.0.0.1", "--port", str(port)]
    command += ["--hf-scheme", "http", "--hf-netloc", upstream, "--hf-lfs-netloc", cdn]
    command += ["--mirror-scheme", "http", "--mirror-netloc", here, "--mirror-lfs-netloc", here]
    command += ["--repos-path", repos, "--log-path", work / "olah-logs"]
    with open(work / "olah.log", "w") as log:
        process = subprocess.Popen(list(map(str, command)), cwd=work, stdout=log, stderr=log)
    try:
        wait_for(port)
        yield f"http://{here}", lambda: Between(release(), peak(process.pid), cpu(process.pid), used(repos))
    finally:
        process.terminate()
        process.wait()


def release():
    python = pathlib.Path(os.environ["OLAH"]).with_name("python")
    code = "import importlib.metadata; print(importlib.metadata.version('olah'))"
    return "one Olah " + subprocess.check_output([python, "-c", code], text=True).strip()


def peak(pid):
    [line] = [line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / MIB


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def used(folder):
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / MIB


WAYS = {"direct": direct, "olah": cold_olah, "warm-olah": warm_olah, "nginx": through_nginx, "registry": from_registry,
        "shared": shared}  # fmt: skip
LABELS = {
    "direct": "each for itself",
    "olah": "through Olah, which has nothing yet",
    "warm-olah": "through Olah, which has it",
    "nginx": "through nginx, which has nothing yet",
    "registry": "from a registry, after one push",
    "shared": "into one folder",
}

main()
