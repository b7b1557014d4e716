"""Xet storage as it is: its own CAS server, filled by its own client, and a Hub that knows of it."""

import contextlib
import os
import socket
import subprocess
import time
from pathlib import Path

import hf_xet
from fake_hub import FakeHub

PAIRS = ["metadata grown", "chat template changed", "one tensor changed", "tensors reordered",
         "another quantization", "shards joined", "cut short before", "another model"]  # fmt: skip
REPO = "owner/name"


@contextlib.contextmanager
def cas_server(place):
    """The CAS server of crate xet-client; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [os.environ["CAS_SERVER"], "--data-directory", place / "cas", "--port", str(port)]
    with open(place / "cas.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(500):
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def upload(cas, paths):
    """Uploads files as the Hub's clients do; what Xet calls each of them."""
    expires = int(time.time()) + 86400
    uploaded = hf_xet.upload_files([str(path) for path in paths], cas, ("token", expires), None, None, None)
    return {path.name: info.hash for path, info in zip(paths, uploaded, strict=True)}


def serve(cas, paths, *arguments):
    """A Hub with these files, all of them uploaded."""
    hashes = upload(cas, paths)
    files = [part for path in paths for part in ("--local", path, "--xet-hash", f"{path.name}={hashes[path.name]}")]
    return FakeHub("--repo", REPO, "--cas", cas, *files, *arguments)


def versions(name):
    """The files of a pair before and after, made by pairs.py."""
    place = Path(os.environ["PAIRS"]) / name.replace(" ", "-")
    return sorted((place / "old").iterdir()), sorted((place / "new").iterdir())
