import hashlib
import json
import os
import subprocess

import pytest
from fake_hub import FakeHub

LFS = ["model.gguf", "quants/Q4_K_M/model-Q4_K_M.gguf", "weights.safetensors"]
SMALL = ["config.json", "tokenizer/vocab.json"]


def serving():
    """A Hub with files of both kinds, some of them in folders."""
    arguments = [argument for name in LFS for argument in ("--file", name)]
    arguments += [argument for name in SMALL for argument in ("--small", name)]
    return FakeHub(*arguments, "--size", "3MiB")


@pytest.fixture(scope="session")
def hub():
    with serving() as hub:
        yield hub


@pytest.fixture
def moving_hub():
    """One of a single test, which may move its branch."""
    with serving() as hub:
        yield hub


@pytest.fixture
def modelfetch(hub):
    """Runs the program against the Hub, or another one, and returns its JSON result."""

    def run(*arguments, hub=hub):
        passed_on = ["PATH", "HF_OIDC_RESOURCE", "HF_OIDC_ID_TOKEN"]
        environment = {name: os.environ[name] for name in passed_on if name in os.environ}
        environment["HF_ENDPOINT"] = hub.endpoint
        command = [os.environ["MODELFETCH"], *map(str, arguments), "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def assert_content(hub):
    """Compares files on disk with what the Hub announced."""

    def check(path, name):
        with open(path, "rb") as file:
            content = file.read()
        if name in SMALL:
            assert content == b"{}"
        else:
            assert hashlib.sha256(content).hexdigest() == hub.files[name]["sha256"]

    return check
