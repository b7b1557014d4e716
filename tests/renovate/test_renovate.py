"""The recipe of docs/gitops.md."""

import hashlib
import os
import subprocess

import pytest
from fake_hub import FakeHub

MANIFEST = """
[[model]]
name = "{name}"
repo = "owner/name"
revision = "{revision}"
files = ["model.gguf"]
dir = "{name}"
"""


def hub(commit, seed):
    """As it is when `main` is this commit."""
    return FakeHub("--commit", commit, "--seed", seed, "--file", "model.gguf", "--size", "3MB")


def modelfetch(hub, deployment, *arguments):
    environment = deployment.environment | {"HF_ENDPOINT": hub.endpoint}
    command = [os.environ["MODELFETCH"], *arguments]
    return subprocess.run(command, cwd=deployment.folder, env=environment, capture_output=True, text=True, check=False)


def succeeds(*arguments):
    ended = modelfetch(*arguments)
    assert ended.returncode == 0, ended.stderr


FETCH = ["fetch", "--manifest", "models.toml", "--locked", "--dir", "models"]


def write(deployment, *models):
    text = "".join(MANIFEST.format(name=name, revision=revision) for name, revision in models)
    (deployment.folder / "models.toml").write_text(text)


def is_fetched(hub, deployment, name="chat"):
    content = (deployment.folder / "models" / name / "model.gguf").read_bytes()
    return hashlib.sha256(content).hexdigest() == hub.files["model.gguf"]["sha256"]


def test_a_branch_that_moved_is_found_and_its_files_are_locked_and_fetched(model, deployment, renovate):
    old = model.commit("one")
    write(deployment, ("chat", "main"), ("again", "main"))
    with hub(old, 7) as before:
        succeeds(before, deployment, "lock")
        deployment.commit("models")
        new = model.commit("two")
        updates = [dependency["updates"] for dependency in renovate.look_up()]
        assert [[update["newDigest"] for update in of_one] for of_one in updates] == [[new], [new]]
        assert {update["updateType"] for of_one in updates for update in of_one} == {"digest"}
        branches = {update["branchName"] for of_one in updates for update in of_one}
        assert len(branches) == 1
        locked = (deployment.folder / "models.lock").read_text()
        renovate.apply()
        assert (deployment.folder / "models.lock").read_text() == locked.replace(old, new)
    with hub(new, 8) as after:
        half = modelfetch(after, deployment, *FETCH)
        assert half.returncode == 2 and "modelfetch lock" in half.stderr, half.stderr
        succeeds(after, deployment, "lock")
        succeeds(after, deployment, *FETCH)
        assert is_fetched(after, deployment) and is_fetched(after, deployment, "again")
        deployment.commit("models are locked")
        assert all(dependency["updates"] == [] for dependency in renovate.look_up())


@pytest.mark.parametrize("revision", ["v1.0", "commit", "refs/pr/1"])
def test_what_does_not_move_is_left_alone(revision, model, deployment, renovate):
    old = model.commit("one")
    model("tag", "v1.0")
    model("update-ref", "refs/pr/1", old)
    revision = old if revision == "commit" else revision
    write(deployment, ("chat", "main"))
    with hub(old, 7) as before:
        succeeds(before, deployment, "lock")
    # What a Hub without this reference cannot be asked for.
    lock = deployment.folder / "models.lock"
    lock.write_text(lock.read_text().replace('revision = "main"', f'revision = "{revision}"'))
    deployment.commit("models")
    model.commit("two")
    model("tag", "v1.1")
    for dependency in renovate.look_up():
        assert dependency["updates"] == [] and not dependency.get("warnings"), dependency


def test_a_tag_that_moved_is_found(model, deployment, renovate):
    old = model.commit("one")
    model("tag", "--annotate", "v1.0", "--message", "first")
    write(deployment, ("chat", "main"))
    with hub(old, 7) as before:
        succeeds(before, deployment, "lock")
    lock = deployment.folder / "models.lock"
    lock.write_text(lock.read_text().replace('revision = "main"', 'revision = "v1.0"'))
    deployment.commit("models")
    new = model.commit("two")
    model("tag", "v1.1")
    model("tag", "--force", "--annotate", "v1.0", "--message", "moved")
    [dependency] = renovate.look_up()
    assert [(update["newValue"], update["newDigest"]) for update in dependency["updates"]] == [("v1.0", new)]
