"""The program, and what a run of it must have done."""

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path

from loopback import slow_loopback

SECONDS = 60
STANDARD = ("PATH", "HOME", "LANG")
ISLANDS = 1 << 20
"""Pieces that are shorter than the request for their gap is worth are fetched again."""


class Client:
    """Fetches everything that the Hub has into one directory."""

    def __init__(self, hub, target, endpoint=None):
        self.hub, self.target = hub, Path(target)
        self.is_cache = False
        """Of huggingface_hub, instead of plain files."""
        self.has_large = True
        """The files in LFS are wanted too."""
        self.settle = lambda: None
        """Waits until a run's writes are where they belong."""
        known = {name: os.environ[name] for name in STANDARD if name in os.environ}
        self.environment = known | {"HF_ENDPOINT": endpoint or hub.endpoint}

    def command(self, *more):
        where = [f"--cache={self.target}"] if self.is_cache else ["--dir", self.target]
        return [os.environ["MODELFETCH"], "fetch", self.hub.repo, *where, "--json", *more]

    def run(self, command):
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )

    def fetch(self, *more):
        """Must succeed, with right bytes where a reader looks. Returns how many bytes it took."""
        ended = self.fetched(*more)
        return sum(file["bytes_fetched"] for file in json.loads(ended.stdout)["files"])

    def fetch_on(self):
        """The same. Returns with how many bytes it began."""
        events = map(json.loads, self.fetched("--progress", "json").stderr.splitlines())
        return sum(event["resumed"] for event in events if event["event"] == "started")

    def fetched(self, *more):
        ended = self.run(self.command(*more))
        assert ended.returncode == 0, f"exit {ended.returncode}: {ended.stderr}"
        self.settle()
        self.assert_right()
        return ended

    def assert_right(self):
        for path in self.hub.smalls:
            assert (self.seen / path).read_text() == "{}", f"{path} has other bytes"
        for path, file in self.hub.files.items() if self.has_large else ():
            digest = hashlib.sha256((self.seen / path).read_bytes()).hexdigest()
            assert digest == file["sha256"], f"{path} has other bytes"

    @property
    def seen(self):
        """The folder in which a reader finds the files."""
        if not self.is_cache:
            return self.target
        return self.target / f"models--{self.hub.repo.replace('/', '--')}/snapshots/{self.hub.commit}"

    def verify(self, number, *more):
        """Must end with this number."""
        ended = self.run([os.environ["MODELFETCH"], "verify", "--dir", self.target, *more])
        assert ended.returncode == number, f"exit {ended.returncode}: {ended.stderr}"

    @property
    def size(self):
        return sum(file["size"] for file in self.hub.files.values())

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
        case "fetch" | "many":
            client.fetch()
        case "resume":
            kept = client.killed()
            # Not by what it fetches: on a busy machine slow connections are replaced, and some bytes come twice.
            taken = client.fetch_on()
            assert taken >= kept - ISLANDS, f"{kept} bytes were there, {taken} were used"
        case "again":
            client.fetch()
            assert client.fetch() == 0
        case "glob":
            client.has_large = False
            client.fetch("--include", "*.json", "--exclude", "model*")
            assert not any((client.target / path).exists() for path in client.hub.files)
        case "slow":
            with slow_loopback():
                assert client.fetch() <= client.size + ISLANDS
        case "cache":
            client.is_cache = True
            client.fetch()
            assert client.fetch() == 0
        case "verify":
            client.fetch()
            client.verify(0)
            flip_a_byte(max(client.target.glob("*"), key=lambda path: path.stat().st_size))
            client.verify(20)
            client.verify(0, "--repair")
            client.assert_right()
        case _:
            raise AssertionError(f"nobody knows when `{column}` holds")


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
