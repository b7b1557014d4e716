"""The hf-hub crate finds what `modelfetch fetch --cache` wrote."""

import json
import os
import subprocess

import pytest
from conftest import LFS, SMALL


def ask(cache, hub, revision, *names):
    """Runs the oracle, which has no way to a Hub."""
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "SSL_CERT_FILE": os.environ.get("SSL_CERT_FILE", "")}
    environment = {name: value for name, value in environment.items() if value}
    command = [os.environ["ORACLE"], str(cache), hub.repo, revision, *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("revision", ["main", "commit"])
def test_files_and_their_snapshot_are_found_offline(hub, modelfetch, assert_content, tmp_path, revision):
    modelfetch("fetch", hub.repo, f"--cache={tmp_path}")

    names = LFS + SMALL
    found = ask(tmp_path, hub, hub.commit if revision == "commit" else "main", *names)

    for name, path in zip(names, found["files"], strict=True):
        assert_content(path, name)
    assert found["snapshot"].endswith(hub.commit)


def test_its_scanner_sees_every_file_and_has_no_warning(hub, modelfetch, tmp_path):
    modelfetch("fetch", hub.repo, f"--cache={tmp_path}")

    found = ask(tmp_path, hub, "main")

    assert found["warnings"] == []
    assert sorted(found["scanned"]) == sorted(LFS + SMALL)
