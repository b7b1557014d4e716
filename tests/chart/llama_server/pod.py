"""Runs the server's container as the chart describes it, without Kubernetes.

The root is a read-only tmpfs with the machine's libraries; the model is mounted read-only at the
container's own path; `/tmp` is the only place to write; user and environment are the pod's.
"""

import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from chart import environment

SERVER = Path(os.environ["LLAMA_SERVER"])
GGUF = Path(os.environ["GGUF"])
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
START_SECONDS = 60
# The small model under the default file's name.
DEFAULT_MODEL = {"gpt-oss-20b-mxfp4.gguf": "tiny-llama-Q8_0.gguf"}


def bring_loopback_up():
    """The network namespace of this process begins with loopback down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def make_root(root, server, models, files):
    """A root with the machine's libraries, the `server`, `models` at /models, and small `files`."""
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root)
    for folder in ("usr", "lib", "lib64"):
        if Path("/", folder).exists():
            (root / folder).mkdir()
            mount("--bind", f"/{folder}", root / folder)
    for folder in ("tmp", "models", "app", "proc"):
        (root / folder).mkdir()
    mount("-t", "proc", "proc", root / "proc")
    mount("-t", "tmpfs", "tmpfs", root / "tmp")
    shutil.copy(server, root / "app/llama-server")
    mount("--bind", "-o", "ro", models, root / "models")
    mount("-o", "remount,bind,ro", root / "models")
    for path, text in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    mount("-o", "remount,ro", root)


class Answer:
    """An HTTP answer: status and body."""

    def __init__(self, status, body):
        self.status, self.text = status, body.decode()

    @property
    def json(self):
        return json.loads(self.text)


class Server:
    """A started server."""

    def __init__(self, process, port, log):
        self.process, self.port, self.log_path = process, port, log

    def request(self, path, body=None, key=None):
        """GET, or POST of a JSON body, with an API key."""
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, answer.read())
        except urllib.error.HTTPError as refused:
            return Answer(refused.code, refused.read())

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_until_healthy(self):
        """Waits for 200 from /health, as the startup probe does. Raises AssertionError with the log."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.log}"
            try:
                if self.request("/health").status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise AssertionError(f"not healthy after {START_SECONDS} s:\n{self.log}")


@contextmanager
def started(render, folder, model_names, files=None, server=SERVER):
    """The rendered server container as a process. `model_names` maps a name below /models to a GGUF of the fixtures."""
    models, root = folder / "models", folder / "root"
    root.mkdir()
    for name, gguf in model_names.items():
        target = models / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(GGUF / gguf, target)
    make_root(root, server, models, files or {})
    container, user = render.server, render.server_pod["securityContext"]["runAsUser"]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [shutil.which("chroot"), f"--userspec={user}:{user}", "--groups=", root, "/app/llama-server", *container["args"]],
            env=environment(container), stdout=output, stderr=subprocess.STDOUT)
    try:
        yield Server(process, container["ports"][0]["containerPort"], log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        subprocess.run(["umount", "--recursive", root], check=True)
