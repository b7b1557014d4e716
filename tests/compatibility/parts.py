"""Programs that run for the length of a test."""

import contextlib
import os
import re
import socket
import subprocess
import time
from functools import cache


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(command, port, log, host="127.0.0.1", patience=20, **options):
    """Runs a server in the foreground; it is ready when it listens on `port`."""
    with open(log, "w") as output:
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=output, **options)
    try:
        until = time.monotonic() + patience
        while not listens(port, host):
            assert process.poll() is None, f"{command[0]} ended: {open(log).read()}"
            assert time.monotonic() < until, f"{command[0]} does not listen: {open(log).read()}"
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(port, host="127.0.0.1"):
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


@cache
def release(package):
    """The version of an installed Debian package, without what only Debian counts."""
    version = subprocess.check_output(["dpkg-query", "-W", "-f", "${Version}", package], text=True)
    return re.match(r"(?:\d+:)?([^-+]+)", version)[1]


def write(place, name, text):
    path = place / name
    path.write_text(text)
    return path


@cache
def python_release(package):
    """The version of a package that was installed beside these tests."""
    command = [f"{os.environ['PACKAGES']}/python", "-c", f"import importlib.metadata as m; print(m.version('{package}'))"]
    return subprocess.check_output(command, text=True).strip()
