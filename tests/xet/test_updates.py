"""An update from Xet's own storage costs what has changed, and is the same file that `hf download` gets from it."""

import hashlib
import json
import os
import subprocess

import pytest
import storage

MIB = 1 << 20
MOST = {
    "metadata grown": 1 * MIB,
    "chat template changed": 1 * MIB,
    "one tensor changed": 10 * MIB,
    # Of a shard in the middle of a xorb neither end is told.
    "shards joined": 40 * MIB,
    "cut short before": 44 * MIB,
}
"""Bytes that may be fetched. Of the other pairs all may be: reordered tensors begin and end in the middle of what the
old file has in one piece, so that nobody tells where."""
TWICE = 16 * MIB
"""What connections take over from each other comes twice: on a busy machine one is soon taken for slow."""


@pytest.fixture(scope="module")
def cas(tmp_path_factory):
    with storage.cas_server(tmp_path_factory.mktemp("cas")) as address:
        yield address


def modelfetch(hub, place, *arguments):
    command = [os.environ["MODELFETCH"], "fetch", storage.REPO, f"--dir={place}", "--json", *arguments]
    done = subprocess.run(command, env={"HF_ENDPOINT": hub.endpoint}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def assert_right(hub, place):
    for name, file in hub.files.items():
        with open(place / name, "rb") as stream:
            assert hashlib.file_digest(stream, "sha256").hexdigest() == file["sha256"], name


@pytest.mark.parametrize("name", storage.PAIRS)
def test_an_update_fetches_what_differs(name, cas, tmp_path):
    old, new = storage.versions(name)
    place = tmp_path / "models"
    with storage.serve(cas, old) as hub:
        # A file that was cut short is no model: only who pins its digest gets it.
        pins = [f"--sha256={hub.files[old[0].name]['sha256']}"] if name == "cut short before" else []
        modelfetch(hub, place, *pins)
        assert_right(hub, place)
    with storage.serve(cas, new) as hub:
        result, said = modelfetch(hub, place)
        assert_right(hub, place)
        sent = hub.counts()["cdn"]["bytes"]
    assert "warning" not in said, said
    size = sum(file["size"] for file in result["files"])
    assert sent + result["bytes_copied"] <= size * 1.01 + TWICE
    assert sent <= MOST.get(name, size * 1.01 + TWICE), f"{sent} bytes sent, {result['bytes_copied']} copied of {size}"
    if name in MOST:
        assert result["bytes_copied"] > size / 2
        assert "to fetch" in said and " from " in said
    if name == "another model":
        assert result["bytes_copied"] == 0 and "copy" not in said


@pytest.mark.parametrize("name", ["metadata grown", "one tensor changed"])
def test_hf_download_reads_the_same_file_from_the_same_storage(name, cas, tmp_path):
    """The bed is as the Hub's: its own client takes the Xet way on it."""
    _, new = storage.versions(name)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1"}
    with storage.serve(cas, new) as hub:
        command = ["hf", "download", storage.REPO, "--local-dir", tmp_path / "models"]
        environment["HF_ENDPOINT"] = hub.endpoint
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert_right(hub, tmp_path / "models")
        assert hub.counts()["cdn"]["bytes"] == 0, "the file came from the CDN"
