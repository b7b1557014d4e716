"""Clients of a registry in a network of their own."""

import json
import os
import random
import subprocess
import time
from pathlib import Path

import pytest
import registry as registries
from loopback import loopback_up

MIB = 1 << 20
STANDARD = ("PATH", "LANG")


def pytest_configure():
    loopback_up()


def content(size, seed):
    return random.Random(seed).randbytes(size)


SMALL = {"config.json": b'{"a": 1}', "weights/part-1.bin": content(3 * MIB, 1), "weights/part-2.bin": content(5 * MIB + 7, 2)}
"""The files of most models here."""


class Client:
    """The program, into one folder."""

    def __init__(self, place):
        self.target, self.home = place / "target", place / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        known = {name: os.environ[name] for name in STANDARD if name in os.environ}
        self.environment = known | {"HOME": str(self.home)}

    def command(self, *arguments, of="fetch", where=True):
        options = ["--dir", self.target] if where else []
        return list(map(str, [os.environ["MODELFETCH"], of, *arguments, *options]))

    def run(self, *arguments, **options):
        command = self.command(*arguments, **options)
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)

    def fetch(self, *arguments):
        """Must succeed. Returns the result."""
        ended = self.run(*arguments, "--json")
        assert ended.returncode == 0, f"exit {ended.returncode}: {ended.stderr}"
        return json.loads(ended.stdout)

    def fails(self, number, *arguments, **options):
        """Must end with this number. Returns what it says."""
        ended = self.run(*arguments, **options)
        assert ended.returncode == number, f"exit {ended.returncode}: {ended.stderr}"
        assert registries.PASSWORD not in ended.stdout + ended.stderr
        return ended.stderr

    def holds(self, files):
        for path, expected in files.items():
            assert (self.target / path).read_bytes() == expected, f"{path} has other bytes"
        found = [path.relative_to(self.target) for path in self.target.rglob("*") if path.is_file()]
        assert {str(path) for path in found if ".modelfetch" not in path.parts} == set(files)

    def killed(self, *arguments):
        """Is killed when 8 MiB were written down."""
        command = self.command(*arguments, "--limit-rate", "24MB")
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        partials, until = self.target / ".modelfetch/partial", time.monotonic() + 60
        while not self.written(partials):
            assert process.poll() is None, f"it ended before it could be killed: {process.stderr.read()}"
            assert time.monotonic() < until, "nothing was written down"
            time.sleep(0.01)
        process.kill()
        process.communicate()
        return self.written(partials)

    @staticmethod
    def written(partials):
        records = [path for path in partials.glob("*.json") if not path.name.endswith(".flushed.json")]
        return sum(end - start for path in records for start, end in json.loads(path.read_text())["written"])


@pytest.fixture
def client(tmp_path):
    return Client(tmp_path / "client")


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """One that lets everybody in, with a small model."""
    with registries.running(tmp_path_factory.mktemp("registry")) as running:
        running.digest = running.push(SMALL)
        yield running


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path
