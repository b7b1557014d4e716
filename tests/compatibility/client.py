"""The program, and what a run of it must have done."""

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path

SECONDS = 60
STANDARD = ("PATH", "HOME", "LANG")
ISLANDS = 1 << 20
"""Pieces that are shorter than the request for their gap is worth are fetched again."""


class Client:
    """Fetches everything that the Hub has into one directory."""

    def __init__(self, hub, target, endpoint=None):
        self.hub, self.target = hub, Path(target)
        known = {name: os.environ[name] for name in STANDARD if name in os.environ}
        self.environment = known | {"HF_ENDPOINT": endpoint or hub.endpoint}

    def command(self, *more):
        return [os.environ["MODELFETCH"], "fetch", self.hub.repo, "--dir", self.target, "--json", *more]

    def run(self, *more):
        return subprocess.run(
            self.command(*more), env=self.environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )

    def fetch(self, *more):
        """Must succeed. Returns how many bytes it took."""
        ended = self.run(*more)
        assert ended.returncode == 0, f"exit {ended.returncode}: {ended.stderr}"
        for path, file in self.hub.files.items():
            digest = hashlib.sha256((self.target / path).read_bytes()).hexdigest()
            assert digest == file["sha256"], f"{path} has other bytes"
        return sum(file["bytes_fetched"] for file in json.loads(ended.stdout)["files"])

    def killed(self):
        """Is killed when something was written down. Returns how many bytes the next run need not fetch."""
        process = subprocess.Popen(
            self.command("--limit-rate", "24MB"), env=self.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        partials = self.target / ".modelfetch/partial"
        until = time.monotonic() + SECONDS
        while not (written := self.written(partials)):
            assert process.poll() is None, f"it ended before it could be killed: {process.stderr.read()}"
            assert time.monotonic() < until, "nothing was written down"
            time.sleep(0.01)
        process.kill()
        process.communicate()
        return max(written, self.written(partials))

    @staticmethod
    def written(partials):
        total = 0
        for record in partials.glob("*.json") if partials.is_dir() else ():
            if not record.name.endswith(".flushed.json"):
                total += sum(end - start for start, end in json.loads(record.read_text())["written"])
        return total

def holds(client, column):
    """The claims, each a column of the tables."""
    match column:
        case "fetch":
            client.fetch()
        case "resume":
            kept = client.killed()
            size = sum(file["size"] for file in client.hub.files.values())
            assert client.fetch() <= size - kept + ISLANDS, f"{kept} bytes were there"
        case "again":
            client.fetch()
            assert client.fetch() == 0
