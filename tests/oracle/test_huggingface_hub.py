"""Python's huggingface_hub finds what `modelfetch fetch` wrote with --cache or --local-dir, and the other way round."""

import os
import subprocess
from pathlib import Path

import httpx2
import pytest
from conftest import LFS, SMALL
from fake_hub import FakeHub
from huggingface_hub import (
    HfApi,
    file_download,
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


@pytest.fixture
def hashed(monkeypatch):
    """The files that huggingface_hub hashes."""
    hashed = []
    original = file_download.sha_fileobj

    def note(file):
        hashed.append(file.name)
        return original(file)

    monkeypatch.setattr(file_download, "sha_fileobj", note)
    return hashed


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
    hub, modelfetch, assert_content, requests, hashed, tmp_path
):
    modelfetch("fetch", hub.repo, LFS[1], "--dir", tmp_path)

    found = hf_hub_download(hub.repo, LFS[1], local_dir=tmp_path, endpoint=hub.endpoint)

    assert_content(found, LFS[1])
    assert [method for method, _ in requests] == ["HEAD"]
    assert hashed == [found]


def gets_of_bytes(requests):
    """All but questions: large files come straight from where the metadata say they are."""
    return [path for method, path in requests if method == "GET" and not path.startswith("/api/models/")]


@pytest.mark.parametrize("name", LFS + SMALL)
def test_a_file_in_a_local_dir_is_found_without_a_request(hub, modelfetch, assert_content, requests, tmp_path, name):
    modelfetch("fetch", hub.repo, name, "--local-dir", tmp_path)

    found = hf_hub_download(hub.repo, name, revision=hub.commit, local_dir=tmp_path, endpoint=NOBODY)

    assert found == str(tmp_path / name)
    assert_content(found, name)
    assert requests == []


def test_a_branch_in_a_local_dir_costs_its_metadata_and_neither_a_hash_nor_a_byte(
    hub, modelfetch, assert_content, requests, hashed, tmp_path
):
    modelfetch("fetch", hub.repo, "--local-dir", tmp_path)

    snapshot_download(hub.repo, local_dir=tmp_path, endpoint=hub.endpoint)

    assert requests == [("GET", f"/api/models/{hub.repo}/revision/main")], "which commit it is, and no more"
    assert hashed == []
    for name in LFS + SMALL:
        assert_content(tmp_path / name, name)


def test_a_local_dir_is_known_to_be_complete_without_a_request(hub, modelfetch, requests, tmp_path):
    modelfetch("fetch", hub.repo, "--local-dir", tmp_path)
    look_up = {"revision": hub.commit, "local_dir": tmp_path, "endpoint": NOBODY, "local_files_only": True}

    snapshot_download(hub.repo, **look_up)
    (tmp_path / LFS[0]).unlink()
    with pytest.raises(IncompleteSnapshotError):
        snapshot_download(hub.repo, **look_up)

    assert requests == []


def hf(*arguments, endpoint):
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(["hf", *map(str, arguments)], env=environment, capture_output=True, text=True)


def test_the_hf_command_downloads_nothing_into_our_local_dir_and_verifies_it(hub, modelfetch, tmp_path):
    modelfetch("fetch", hub.repo, "--local-dir", tmp_path)
    before = hub.counts()["cdn"]

    downloaded = hf("download", hub.repo, "--local-dir", tmp_path, endpoint=hub.endpoint)
    assert downloaded.returncode == 0, downloaded.stderr
    assert hub.counts()["cdn"] == before

    verified = hf(
        "cache", "verify", hub.repo, "--local-dir", tmp_path, "--fail-on-missing-files", endpoint=hub.endpoint
    )
    assert verified.returncode == 0, verified.stderr
    assert f"Verified {len(LFS + SMALL)} file" in verified.stdout + verified.stderr


def test_after_the_branch_moved_hf_fetches_from_our_local_dir_on_only_what_is_new(
    moving_hub, modelfetch, requests, hashed, tmp_path
):
    hub = moving_hub
    modelfetch("fetch", hub.repo, "--local-dir", tmp_path, hub=hub)
    hub.push(LFS[0])

    snapshot_download(hub.repo, local_dir=tmp_path, endpoint=hub.endpoint)

    assert len(gets_of_bytes(requests)) == 1, gets_of_bytes(requests)
    assert hashed == []
    result = modelfetch("fetch", hub.repo, "--local-dir", tmp_path, hub=hub)
    assert result["bytes_fetched"] == 0
    done = {file["path"]: file["done"] for file in result["files"]}
    assert done == {name: "adopted" if name == LFS[0] else "skipped" for name in LFS + SMALL}


def test_what_hf_fetched_into_a_local_dir_is_hashed_once_and_not_fetched(
    moving_hub, modelfetch, requests, hashed, tmp_path
):
    hub = moving_hub
    snapshot_download(hub.repo, local_dir=tmp_path, endpoint=hub.endpoint)
    metadata = {name: path_of_metadata(tmp_path, name).read_bytes() for name in LFS + SMALL}

    for done in ["adopted", "skipped"]:
        result = modelfetch("fetch", hub.repo, "--local-dir", tmp_path, hub=hub)
        assert result["bytes_fetched"] == 0
        assert {file["path"]: file["done"] for file in result["files"]} == dict.fromkeys(LFS + SMALL, done)
    assert {name: path_of_metadata(tmp_path, name).read_bytes() for name in LFS + SMALL} == metadata

    hub.push(LFS[0])
    result = modelfetch("fetch", hub.repo, "--local-dir", tmp_path, hub=hub)
    done = {file["path"]: file["done"] for file in result["files"]}
    assert done == {name: "fetched" if name == LFS[0] else "skipped" for name in LFS + SMALL}
    requests.clear()
    snapshot_download(hub.repo, local_dir=tmp_path, endpoint=hub.endpoint)
    assert gets_of_bytes(requests) == [] and hashed == []


def path_of_metadata(directory, name):
    return directory / ".cache/huggingface/download" / f"{name}.metadata"


def test_both_log_in_with_an_identity_alone(modelfetch, tmp_path, monkeypatch):
    with FakeHub("--file", "model.gguf", "--size", "1MiB", "--gated", "hf_reader", "--publisher", "somebody") as hub:
        monkeypatch.setenv("HF_OIDC_RESOURCE", "somebody")
        monkeypatch.setenv("HF_OIDC_ID_TOKEN", hub.id_token)
        environment = {**os.environ, "HF_ENDPOINT": hub.endpoint}
        command = ["hf", "download", hub.repo, "model.gguf", "--local-dir", tmp_path / "theirs"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        modelfetch("fetch", hub.repo, "model.gguf", "--dir", tmp_path / "ours", hub=hub)
        assert (tmp_path / "theirs/model.gguf").read_bytes() == (tmp_path / "ours/model.gguf").read_bytes()
