"""A directory that a fetch goes to, and what must be true of it whatever happened."""

import hashlib
import json
import os
import re
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from system_calls import CHANGES, Ended, Process, Returns

MIB = 1 << 20
STATE = ".modelfetch"
CONNECTIONS = 4
TEMPORARY = re.compile(r"tmp-[0-9a-f]{32}")


@dataclass(frozen=True)
class Wanted:
    """What the Hub has: facts that can be passed to other processes."""

    endpoint: str
    repo: str
    commit: str
    files: dict
    """Size and SHA256 of each file in LFS, by path; the other files hold `{}`."""
    smalls: tuple = ()

    @classmethod
    def of(cls, hub, *smalls):
        files = {path: (file["size"], file["sha256"]) for path, file in hub.files.items()}
        return cls(hub.endpoint, hub.repo, hub.commit, files, smalls)

    @classmethod
    def one_file(cls, serve, size, seed=7):
        return cls.of(serve("--file", "model.gguf", "--size", size, "--seed", seed))

    @classmethod
    def update(cls, serve, seed, before):
        """A file that differs from that of the seed before in its first megabyte alone, which Xet storage tells."""
        versions = ["--seed", seed, "--before", before, "--xet"]
        return cls.of(serve("--file", "model.gguf", "--size", "34MiB", *versions))

    @property
    def digests(self):
        small = hashlib.sha256(b"{}").hexdigest()
        return {path: sha256 for path, (_, sha256) in self.files.items()} | dict.fromkeys(self.smalls, small)

    @property
    def bytes(self):
        """Of the files in LFS, each content once."""
        return sum({sha256: size for size, sha256 in self.files.values()}.values())


class Target:
    def __init__(
        self, place, wanted, cache=False, old=None, options=(), root=None, flock_lies=False, connections=CONNECTIONS
    ):
        self.place, self.wanted, self.cache = Path(place), wanted, cache
        self.root = Path(root or self.place / "models")
        self.old = old
        """SHA256 of the good file that may be at a final name before."""
        self.options = tuple(options)
        self.connections = connections
        self.flock_lies = flock_lies
        """Every process is told that it has the lock."""

    def command(self, *more):
        where = f"--cache={self.root}" if self.cache else f"--dir={self.root}"
        count = f"--connections={self.connections}"
        return [os.environ["MODELFETCH"], "fetch", self.wanted.repo, where, count, "--json", *self.options, *more]

    @property
    def environment(self):
        return {"HF_ENDPOINT": self.wanted.endpoint}

    def start(self, decide=lambda call: "continue", calls=CHANGES, name="run", more=()):
        """Starts a fetch whose system calls `decide` may stop."""

        def decide_or_lie(call):
            answer = decide(call)
            return Returns(0) if call.name == "flock" and answer == "continue" else answer

        if self.flock_lies:
            calls = {*calls, "flock"}
        shown = decide_or_lie if self.flock_lies else decide
        return Process(self.command(*more), self.root, shown, self.place / name, self.environment, calls)

    def run(self, decide=lambda call: "continue", calls=CHANGES, more=()):
        return self.start(decide, calls, more=more).finish()

    def fetch(self, *more, prefix=()):
        """A fetch nobody interferes with."""
        if self.flock_lies and not prefix:
            return self.start(calls=(), name=f"fetch-{threading.get_ident()}", more=more).finish()
        done = subprocess.run(
            [*prefix, *self.command(*more)], env=self.environment, capture_output=True, text=True, timeout=300
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    # What must be true.

    def final(self, path):
        """The file a reader finds under this name."""
        if not self.cache:
            return self.root / path
        return self.repo / "snapshots" / self.wanted.commit / path

    @property
    def repo(self):
        return self.root / ("models--" + self.wanted.repo.replace("/", "--"))

    @property
    def state(self):
        return (self.repo if self.cache else self.root) / STATE

    def assert_honest(self):
        """Under every final name there is nothing, the old good file, or the new one, complete."""
        for path, digest in self.wanted.digests.items():
            final = self.final(path)
            assert not final.is_symlink() or final.exists(), f"{path} leads nowhere"
            if final.exists():
                assert sha256_of(final) in (digest, self.old), f"{path} is wrong"
        if self.cache:
            for blob in (self.repo / "blobs").glob("*"):
                if blob.name in self.wanted.digests.values():
                    assert sha256_of(blob) == blob.name, f"blob {blob.name} is wrong"

    def assert_done(self, ended):
        """The run said so, and it is true."""
        assert ended.status == 0, f"exit {ended.status}: {ended.stderr}"
        for path, digest in self.wanted.digests.items():
            assert sha256_of(self.final(path)) == digest, f"{path} is wrong"

    def leftovers(self):
        """What is there besides the files, their receipts, and what was learnt about the repository."""
        paths = [path for path in self.root.rglob("*") if path.is_symlink() or path.is_file()]
        receipts, learnt = self.state / "receipts", self.state / "hub"
        kept = {self.state / "lock"}
        left = [
            path
            for path in paths
            if TEMPORARY.fullmatch(path.name)
            or path.is_relative_to(self.state)
            and path not in kept
            and not (path.is_relative_to(receipts) or path.is_relative_to(learnt))
        ]
        return sorted(str(path.relative_to(self.root)) for path in left)

    def clean_up(self):
        """A run that finds all there and verified takes no lock, and leaves what a killed one left; the
        next one that takes it cleans up. Says whether there was anything."""
        left = self.leftovers()
        if not left:
            return False
        size = sum((self.root / path).lstat().st_size for path in left)
        assert size < 4096, f"{size} bytes left: {left}"
        self.assert_done(self.fetch("--verify", "full"))
        assert not self.leftovers(), f"left for ever: {self.leftovers()}"
        return True

    def journaled(self):
        """Bytes that the journals vouch for."""
        journals = (self.state / "partial").glob("*.json")
        ranges = [json.loads(path.read_text())["written"] for path in journals if "flushed" not in path.name]
        return sum(end - start for written in ranges for start, end in written)


def fetched(ended):
    """Bytes the run fetched, or copied from an older file, by its own account."""
    files = json.loads(ended.stdout)["files"]
    return sum(file["bytes_fetched"] + file["bytes_copied"] for file in files)


def copied(ended):
    """Bytes of these that it copied."""
    return sum(file["bytes_copied"] for file in json.loads(ended.stdout)["files"])


def written(calls):
    """Bytes written to partial files."""
    return sum(call.length for call in calls if call.name in ("pwrite64", "copy_file_range"))


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
