"""Python's huggingface_hub finds what `modelfetch fetch --cache` wrote, and the other way round."""

import os
import subprocess
from pathlib import Path

import httpx2
import pytest
from conftest import LFS, SMALL
from huggingface_hub import (
    HfApi,
    hf_hub_download,
    scan_cache_dir,
    set_client_factory,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import IncompleteSnapshotError

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def requests():
    """Every request huggingface_hub makes: method and path."""
    made = []

    def note(request):
        made.append((request.method, request.url.path))

    set_client_factory(lambda: httpx2.Client(event_hooks={"request": [note]}, timeout=10))
    yield made


def files_below(directory):
    return sorted(str(path.relative_to(directory)) for path in Path(directory).rglob("*") if not path.is_dir())


@pytest.mark.parametrize("name", LFS + SMALL)
def test_a_file_is_found_without_a_request(hub, modelfetch, assert_content, requests, tmp_path, name):
    modelfetch("fetch", hub.repo, name, f"--cache={tmp_path}")

    for revision in ["main", hub.commit]:
        found = hf_hub_download(
            hub.repo, name, revision=revision, cache_dir=tmp_path, endpoint=NOBODY, local_files_only=True
        )
        assert_content(found, name)
        assert try_to_load_from_cache(hub.repo, name, cache_dir=tmp_path, revision=revision) == found
    assert requests == []


def test_a_snapshot_is_known_to_be_complete_without_a_request(hub, modelfetch, assert_content, requests, tmp_path):
    modelfetch("fetch", hub.repo, f"--cache={tmp_path}")

    snapshot = snapshot_download(hub.repo, cache_dir=tmp_path, endpoint=NOBODY, local_files_only=True)

    assert files_below(snapshot) == sorted(LFS + SMALL)
    for name in LFS + SMALL:
        assert_content(os.path.join(snapshot, name), name)
    assert requests == []


def test_a_part_of_a_snapshot_is_found_by_its_glob_and_not_taken_for_the_whole(hub, modelfetch, tmp_path):
    modelfetch("fetch", hub.repo, "--include", "*.gguf", f"--cache={tmp_path}")

    look_up = {"cache_dir": tmp_path, "endpoint": NOBODY, "local_files_only": True}
    snapshot = snapshot_download(hub.repo, allow_patterns="*.gguf", **look_up)

    assert files_below(snapshot) == sorted(name for name in LFS if name.endswith(".gguf"))
    with pytest.raises(IncompleteSnapshotError):
        snapshot_download(hub.repo, **look_up)


def test_the_scanner_has_nothing_to_complain_about(hub, modelfetch, tmp_path):
    modelfetch("fetch", hub.repo, f"--cache={tmp_path}")

    scan = scan_cache_dir(tmp_path)

    assert scan.warnings == []
    (repo,) = scan.repos
    (revision,) = repo.revisions
    assert (repo.repo_id, revision.commit_hash, revision.refs) == (hub.repo, hub.commit, {"main"})
    assert revision.nb_files == len(LFS + SMALL)
    sizes = {name: hub.files[name]["size"] for name in LFS} | {name: len("{}") for name in SMALL}
    assert revision.size_on_disk == sum(sizes.values()) - len("{}"), "equal files share a blob"


def test_online_a_file_costs_one_head_request(hub, modelfetch, assert_content, requests, tmp_path):
    modelfetch("fetch", hub.repo, LFS[1], f"--cache={tmp_path}")

    found = hf_hub_download(hub.repo, LFS[1], cache_dir=tmp_path, endpoint=hub.endpoint)

    assert_content(found, LFS[1])
    assert requests == [("HEAD", f"/{hub.repo}/resolve/main/{LFS[1]}")]


def test_online_a_snapshot_is_not_fetched_again(hub, modelfetch, requests, tmp_path):
    modelfetch("fetch", hub.repo, f"--cache={tmp_path}")

    snapshot_download(hub.repo, cache_dir=tmp_path, endpoint=hub.endpoint)

    assert requests, "the recorder sees nothing"
    assert [path for method, path in requests if method == "GET" and "/resolve/" in path] == []


def test_the_hf_command_finds_files_offline(hub, modelfetch, assert_content, tmp_path):
    modelfetch("fetch", hub.repo, f"--cache={tmp_path}")

    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": NOBODY, "HF_HUB_CACHE": str(tmp_path)}
    command = ["hf", "download", hub.repo, LFS[0], "--quiet"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert_content(done.stdout.strip(), LFS[0])


def test_the_digests_of_a_cache_are_those_of_the_hub(hub, modelfetch, tmp_path):
    modelfetch("fetch", hub.repo, f"--cache={tmp_path}")

    found = HfApi(endpoint=hub.endpoint).verify_repo_checksums(hub.repo, cache_dir=tmp_path)

    assert found.checked_count == len(LFS + SMALL)
    assert (found.mismatches, found.missing_paths, found.extra_paths) == ([], [], [])


def test_what_huggingface_hub_fetched_is_adopted(hub, modelfetch, tmp_path):
    snapshot_download(hub.repo, cache_dir=tmp_path, endpoint=hub.endpoint)

    result = modelfetch("fetch", hub.repo, f"--cache={tmp_path}")

    assert result["bytes_fetched"] == 0
    assert {file["path"] for file in result["files"]} == set(LFS + SMALL)
    assert scan_cache_dir(tmp_path).warnings == []


def test_a_plain_directory_costs_huggingface_hub_a_hash_and_no_download(
    hub, modelfetch, assert_content, requests, tmp_path
):
    modelfetch("fetch", hub.repo, LFS[1], "--dir", tmp_path)

    found = hf_hub_download(hub.repo, LFS[1], local_dir=tmp_path, endpoint=hub.endpoint)

    assert_content(found, LFS[1])
    assert [method for method, _ in requests] == ["HEAD"]
