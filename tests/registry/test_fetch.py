"""What oras has pushed, fetched byte for byte."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import registry as registries
from conftest import MIB, SMALL, Client, content


def test_what_oras_pushed_comes_byte_for_byte_and_a_second_run_asks_one_question(registry, client):
    result = client.fetch(registry.address())
    client.holds(SMALL)
    assert result["commit"] == registry.digest
    before = len(registry.requests())
    result = client.fetch(registry.address())
    assert sum(file["bytes_fetched"] for file in result["files"]) == 0
    # On this machine a registry is asked, too, whether it speaks plain http.
    asked = [request for request in registry.requests()[before:] if request[1] != "/v2/"]
    assert asked == [("HEAD", "/v2/models/small/manifests/v1", 200)]


def test_a_digest_never_moves_so_that_a_second_run_asks_nobody(registry, client):
    address = registry.address(reference=f"@{registry.digest}")
    client.fetch(address)
    client.holds(SMALL)
    before = len(registry.requests())
    client.fetch(address)
    client.fetch(address, "config.json")
    assert len(registry.requests()) == before


def test_files_are_chosen_by_name_and_glob(registry, client):
    client.fetch(registry.address(), "config.json")
    client.holds({"config.json": SMALL["config.json"]})
    client.fetch(registry.address(), "weights/*1.bin")
    assert "no/such.bin" in client.fails(11, registry.address(), "no/such.bin")
    assert "matches *.gguf" in client.fails(11, registry.address(), "--include", "*.gguf")


def test_a_tag_that_moved_brings_the_new_content_alone(registry, client):
    files = {"a.bin": content(MIB, 3), "b.bin": content(MIB, 4)}
    registry.push(files, name="models/moving")
    client.fetch(registry.address("models/moving"))
    files["b.bin"] = content(2 * MIB, 5)
    registry.push(files, name="models/moving")
    result = client.fetch(registry.address("models/moving"))
    assert sum(file["bytes_fetched"] for file in result["files"]) == 2 * MIB
    client.holds(files)


def test_a_model_pack_and_a_model_of_docker_are_models(registry, client, place):
    gguf = b"GGUF" + (3).to_bytes(4, "little") + bytes(16)
    work = place / "packed"
    work.mkdir()
    (work / "w.bin").write_bytes(SMALL["weights/part-1.bin"])
    (work / "m.gguf").write_bytes(gguf)
    (work / "empty.json").write_text("{}")
    (work / "annotations.json").write_text(json.dumps({"w.bin": {"org.cncf.model.filepath": "deep/weights.bin"}}))
    registry.oras(
        "push", f"{registry.host}/models/pack:v1", "--artifact-type", "application/vnd.cncf.model.manifest.v1+json",
        "--config", "empty.json:application/vnd.cncf.model.config.v1+json", "--annotation-file", "annotations.json",
        "w.bin:application/vnd.cncf.model.weight.v1.raw", cwd=work,
    )  # fmt: skip
    client.fetch(registry.address("models/pack"))
    client.holds({"deep/weights.bin": SMALL["weights/part-1.bin"]})
    # Docker's layers have no names.
    digest = "sha256:" + hashlib.sha256(gguf).hexdigest()
    config = "sha256:" + hashlib.sha256(b"{}").hexdigest()
    registry.oras("blob", "push", f"{registry.host}/models/docker@{digest}", "m.gguf", cwd=work)
    registry.oras("blob", "push", f"{registry.host}/models/docker@{config}", "empty.json", cwd=work)
    (work / "manifest.json").write_text(json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.docker.ai.model.config.v0.1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.docker.ai.gguf.v3", "digest": digest, "size": len(gguf)}],
    }))  # fmt: skip
    registry.oras("manifest", "push", f"{registry.host}/models/docker:v1", "manifest.json", cwd=work)
    docker = Client(place / "docker")
    docker.fetch(registry.address("models/docker"))
    docker.holds({"model.gguf": gguf})


def test_an_index_stands_for_its_one_artifact_and_of_several_one_is_to_be_named(registry, client):
    registry.push({"a.bin": b"one"}, name="models/index", tag="one")
    digest = registry.push({"b.bin": b"two"}, name="models/index", tag="two")
    registry.oras("manifest", "index", "create", f"{registry.host}/models/index:only", "one")
    registry.oras("manifest", "index", "create", f"{registry.host}/models/index:both", "one", "two")
    client.fetch(registry.address("models/index", ":only"))
    client.holds({"a.bin": b"one"})
    said = client.fails(2, registry.address("models/index", ":both"))
    assert "an index of 2 manifests" in said and digest in said
    client.fetch(registry.address("models/index", f"@{digest}"))


def test_a_folder_that_oras_packed_is_refused_with_what_to_use(registry, client, place):
    (place / "folder").mkdir()
    (place / "folder/x.bin").write_bytes(b"x")
    (place / "config.json").write_text("{}")
    registry.oras("push", f"{registry.host}/models/folder:v1", "folder", "config.json", cwd=place)
    said = client.fails(2, registry.address("models/folder"))
    assert "`folder`" in said and "an archive" in said and "oras pull" in said
    client.fetch(registry.address("models/folder"), "config.json")
    # What the first run has learnt is no reason to take it.
    assert client.run(registry.address("models/folder")).returncode == 2
    client.holds({"config.json": b"{}"})


def test_what_is_not_there_is_told(registry, client):
    assert "revision `v9` not found" in client.fails(11, registry.address(reference=":v9"))
    assert "oras repo tags" in client.fails(11, registry.address("models/none"))
    assert client.run(registry.address(reference="@sha256:" + "0" * 64)).returncode == 11


def test_a_download_that_was_killed_goes_on_where_it_was(registry, client):
    files = {"large.bin": content(48 * MIB, 6)}
    registry.push(files, name="models/large")
    written = client.killed(registry.address("models/large"))
    result = client.fetch(registry.address("models/large"))
    client.holds(files)
    fetched = sum(file["bytes_fetched"] for file in result["files"])
    assert fetched <= 48 * MIB - written + MIB, f"{written} bytes were there, {fetched} were fetched"


def test_many_clients_have_it_at_once(registry, place):
    clients = [Client(place / f"node-{n}") for n in range(8)]
    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(lambda client: client.fetch(registry.address()), clients))
    for client in clients:
        client.holds(SMALL)


def test_many_clients_of_one_folder_share_one_download(registry, client):
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda _: client.fetch(registry.address()), range(6)))
    fetched = sum(file["bytes_fetched"] for result in results for file in result["files"])
    # On a busy machine slow connections are replaced, and some bytes come twice.
    assert fetched < 2 * sum(map(len, SMALL.values()))
    client.holds(SMALL)


def test_garbage_collection_in_between_costs_what_it_took_and_nothing_else(place, client):
    """The tag moves, the old blobs go, in the middle of a download of the old model."""
    with registries.running(place / "own") as registry:
        old = {"large.bin": content(32 * MIB, 7), "kept.bin": content(MIB, 8)}
        digest = registry.push(old)
        kept = client.killed(registry.address())
        assert kept > 0
        new = {"large.bin": content(33 * MIB, 9), "kept.bin": old["kept.bin"]}
        registry.push(new)
        registry.collect_garbage()
        gone = client.fails(11, registry.address(reference=f"@{digest}"))
        assert "not found" in gone
        client.fetch(registry.address())
        client.holds(new)


def test_a_layer_that_was_collected_is_named(place, client):
    with registries.running(place / "own") as registry:
        registry.push(SMALL)
        digest = hashlib.sha256(SMALL["weights/part-2.bin"]).hexdigest()
        registry.blob(digest).unlink()
        said = client.fails(11, registry.address())
        assert digest in said and "garbage collection" in said
        # The registry gets it back, and the run goes on.
        registry.blob(digest).write_bytes(SMALL["weights/part-2.bin"])
        client.fetch(registry.address())
        client.holds(SMALL)


def test_other_bytes_of_a_layer_are_never_published(place, client):
    with registries.running(place / "own") as registry:
        registry.push(SMALL)
        digest = hashlib.sha256(SMALL["weights/part-1.bin"]).hexdigest()
        changed = bytearray(SMALL["weights/part-1.bin"])
        changed[MIB] ^= 1
        registry.blob(digest).write_bytes(changed)
        assert "digest mismatch" in client.fails(20, registry.address())
        assert not (client.target / "weights/part-1.bin").exists()


def test_a_smoke_test_and_a_plan_say_what_a_fetch_would_do(registry, client):
    planned = json.loads(client.run(registry.address(), "--json", of="plan").stdout)["plan"]
    assert planned["bytes_to_fetch"] == sum(map(len, SMALL.values()))
    ended = client.run(registry.address(), of="smoke")
    assert ended.returncode == 0, ended.stderr
    assert registry.digest in ended.stderr + ended.stdout


def test_verify_and_list_know_where_it_came_from(registry, client):
    client.fetch(registry.address())
    damaged = client.target / "weights/part-1.bin"
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    assert client.run(of="verify").returncode == 20
    assert client.run("--repair", of="verify").returncode == 0
    client.holds(SMALL)
    listed = client.run(of="list").stdout
    assert f"oci://{registry.host}/models/small@v1 sha256:{registry.digest[7:15]}" in listed, listed


def test_models_toml_and_its_lock_name_a_registry_and_its_manifest(registry, client, place):
    registry.push(SMALL, name="models/locked")
    manifest = place / "models.toml"
    manifest.write_text(
        f'[[model]]\nname = "here"\nrepo = "{registry.address("models/locked")}"\nfiles = ["weights/*"]\ndir = "here"\n'
    )
    assert client.run("--manifest", manifest, of="lock", where=False).returncode == 0
    digest = registry.oras("resolve", f"{registry.host}/models/locked:v1").strip()
    lock = (place / "models.lock").read_text()
    assert f'commit = "{digest}"' in lock and hashlib.sha256(SMALL["weights/part-1.bin"]).hexdigest() in lock
    registry.push({"weights/other": b"x"}, name="models/locked")
    ended = client.run("--manifest", manifest, "--check", of="lock", where=False)
    assert ended.returncode == 12, ended.stderr
    before = len(registry.requests())
    client.fetch("--manifest", manifest, "--locked")
    client.holds({f"here/{path}": bytes for path, bytes in SMALL.items() if path.startswith("weights/")})
    asked = registry.requests()[before:]
    assert not [path for _, path, _ in asked if "/manifests/" in path], "no question about what is locked"
    # Found again, without a question, as a file of the same digest.
    before = len(registry.requests())
    client.fetch("--manifest", manifest, "--locked")
    assert len(registry.requests()) == before


def test_list_and_prune_know_what_a_lock_keeps_and_ask_nobody(registry, client, place):
    registry.push({"old.bin": content(2 * MIB, 10)}, name="models/old")
    manifest, lock = place / "models.toml", place / "models.lock"
    manifest.write_text(f'[[model]]\nname = "small"\nrepo = "{registry.address()}"\n')
    assert client.run("--manifest", manifest, of="lock", where=False).returncode == 0
    client.fetch("--manifest", manifest, "--locked")
    client.fetch(registry.address("models/old"))
    before = len(registry.requests())

    held = json.loads(client.run("--json", of="list").stdout)["held"]["files"]
    of_old = [file for file in held if file["path"] == "old.bin"]
    assert {file["repo"] for file in held} == {registry.address(reference=""), registry.address("models/old", "")}
    assert [(file["revision"], file["vouched_by"], file["state"]) for file in of_old] == [("v1", ["registry"], "verified")]
    assert all(file["vouched_by"] == ["lock"] for file in held if file not in of_old)

    said = client.run("--keep", lock, of="prune")
    assert said.returncode == 0 and "would remove" in said.stdout and f"{registry.host}/models/old@v1" in said.stdout
    client.holds(SMALL | {"old.bin": content(2 * MIB, 10)})
    pruned = json.loads(client.run("--keep", lock, "--yes", "--json", of="prune").stdout)["pruned"]
    assert [Path(removed["path"]).name for removed in pruned["removed"]] == ["old.bin"]
    assert pruned["bytes_freed"] >= 2 * MIB
    client.holds(SMALL)
    client.fetch("--manifest", manifest, "--locked")
    assert len(registry.requests()) == before, "nothing of this is a question"


def test_kserve_names_a_registry(registry, client):
    ended = client.run(registry.address(), client.target, of="storage-initializer", where=False)
    assert ended.returncode == 0, ended.stderr
    client.holds(SMALL)
