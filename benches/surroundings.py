"""Where the contenders run: one environment for all, and what they need to know of the files."""

import os
import platform
import time

from measure import Bench
from servers import REPO


def environment(home, **more):
    """A private home, no colours, no telemetry."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "MODELFETCH": os.environ["MODELFETCH"],
        "LLAMA_SERVER": os.environ.get("LLAMA_SERVER", ""),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "REPO": REPO,
        **more,
    }


def bench(hub, work):
    home, lists = work / "home", work / "lists"
    home.mkdir(exist_ok=True)
    lists.mkdir(exist_ok=True)
    urls = {name: f"{hub.endpoint}/{REPO}/resolve/main/{name}" for name in sorted(hub.files)}
    digests = {name: hub.files[name]["sha256"] for name in urls}
    write_lists(lists, urls, digests)
    first = next(iter(urls))
    known = {
        "HF_ENDPOINT": hub.endpoint,
        "LISTS": str(lists),
        "FILE": first,
        "SHA": digests[first],
        "URL": urls[first],
    }
    if hub.authority:
        (home / ".wgetrc").write_text(f"ca_certificate = {hub.authority}\n")
        known |= dict.fromkeys(["CA", "SSL_CERT_FILE", "CURL_CA_BUNDLE"], hub.authority)
    return Bench(work, environment(home, **known))


def write_lists(lists, urls, digests):
    def write(name, form):
        (lists / name).write_text("".join(form.format(file=file, url=urls[file], sha=digests[file]) for file in urls))

    write("names", "{file}\n")
    write("urls", "{url}\n")
    write("SHA256SUMS", "{sha}  {file}\n")
    write("openssl", "{sha} *{file}\n")
    write("curl", 'url = "{url}"\noutput = "{file}"\n')
    write("aria2", "{url}\n  out={file}\n  checksum=sha-256={sha}\n")


def describe_machine(work):
    """When and where this was measured."""
    cpu = processor()
    device = os.stat(work).st_dev
    mounts = [line.split() for line in open("/proc/self/mountinfo")]
    numbers = f"{os.major(device)}:{os.minor(device)}"
    system = next((fields[fields.index("-") + 1] for fields in mounts if fields[2] == numbers), "unknown")
    machine = f"{os.cpu_count()} × {cpu}, Linux {platform.release()}, {system}"
    return f"{time.strftime('%Y-%m-%d')}, {machine}; load {os.getloadavg()[0]:.1f} at the start"


def processor():
    """Its name, as the kernel has it."""
    return next(line for line in open("/proc/cpuinfo") if line.startswith("model name")).partition(":")[2].strip()
