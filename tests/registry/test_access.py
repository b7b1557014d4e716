"""Who is let in, with what, and who sees a login."""

import hashlib
import json

import pytest
import registry as registries
from conftest import MIB, SMALL, content
from registry import PASSWORD, USER


@pytest.fixture
def guarded(place):
    """A registry with a list of users."""
    with registries.running(place / "registry", registries.htpasswd(place / "users")) as running:
        running.logins = registries.write_logins(place / "logins", running.host)
        running.push(SMALL)
        yield running


def test_a_login_is_found_where_docker_podman_and_oras_keep_it(guarded, client, place):
    said = client.fails(10, guarded.address())
    assert f"docker login {guarded.host}" in said and "DOCKER_CONFIG" in said
    for variable, value in [("DOCKER_CONFIG", guarded.logins), ("REGISTRY_AUTH_FILE", guarded.logins / "config.json")]:
        client.environment[variable] = str(value)
        client.fetch(guarded.address(), "--verify", "full")
        del client.environment[variable]
    registries.write_logins(client.home / ".docker", guarded.host)
    client.fetch(guarded.address())
    client.holds(SMALL)


def test_what_oras_login_writes_is_a_login(guarded, client, place):
    written = place / "by-oras/config.json"
    guarded.logins = None
    guarded.oras("login", guarded.host, "-u", USER, "-p", PASSWORD, "--registry-config", written)
    client.environment["DOCKER_CONFIG"] = str(written.parent)
    client.fetch(guarded.address())
    client.holds(SMALL)


def test_a_wrong_login_is_told_with_the_file_it_is_from(guarded, client, place):
    folder = registries.write_logins(place / "wrong", guarded.host, {"username": USER, "password": "wrong-password"})
    client.environment["DOCKER_CONFIG"] = str(folder)
    before = len(guarded.requests())
    said = client.fails(10, guarded.address())
    assert f"{folder}/config.json" in said and "wrong-password" not in said
    refused = [status for *_, status in guarded.requests()[before:] if status == 401]
    assert len(refused) <= 3, "it does not ask again and again"


def test_a_program_that_has_the_login_is_named_and_not_run(guarded, client, place):
    marker = place / "was-run"
    helper = place / "bin/docker-credential-test"
    helper.parent.mkdir()
    helper.write_text(f"#!/bin/sh\ntouch {marker}\n")
    helper.chmod(0o755)
    client.environment["PATH"] = f"{helper.parent}:{client.environment['PATH']}"
    folder = place / "helped"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {guarded.host: {}}, "credsStore": "test"}))
    client.environment["DOCKER_CONFIG"] = str(folder)
    said = client.fails(10, guarded.address())
    assert "docker-credential-test" in said and "does not run" in said
    assert not marker.exists()


@pytest.mark.parametrize("is_public", [True, False], ids=["anybody", "a user"])
def test_a_token_is_fetched_where_the_registry_sends_for_it(is_public, client, place):
    with (
        registries.tokens(place / "tokens", is_public=is_public) as tokens,
        registries.running(place / "registry", tokens.configuration) as registry,
    ):
        registry.logins = registries.write_logins(place / "logins", registry.host)
        registry.push(SMALL)
        tokens.asked.clear()
        client.environment["HF_TOKEN"] = "hf_of_the_hub"
        if is_public:
            client.fetch(registry.address())
        else:
            said = client.fails(10, registry.address())
            assert "who is that?" in said and "docker login" in said
            tokens.asked.clear()
            client.environment["DOCKER_CONFIG"] = str(registry.logins)
            client.fetch(registry.address())
        client.holds(SMALL)
        [(method, query, header)] = tokens.asked
        assert (method, query["service"], query["scope"]) == ("GET", [registries.SERVICE], ["repository:models/small:pull"])
        assert (header is None) == is_public and "hf_of_the_hub" not in str(tokens.asked)


def test_an_identity_token_is_exchanged(client, place):
    with (
        registries.tokens(place / "tokens") as tokens,
        registries.running(place / "registry", tokens.configuration) as registry,
    ):
        registry.logins = registries.write_logins(place / "logins", registry.host)
        registry.push(SMALL)
        tokens.asked.clear()
        entry = {"auth": "PHRva2VuPjo=", "identitytoken": PASSWORD}
        client.environment["DOCKER_CONFIG"] = str(registries.write_logins(place / "identity", registry.host, entry))
        client.fetch(registry.address())
        client.holds(SMALL)
        [(method, form, header)] = tokens.asked
        assert (method, form["grant_type"], header) == ("POST", ["refresh_token"], None)


def test_a_token_that_runs_out_is_renewed_in_the_middle(client, place):
    with (
        registries.tokens(place / "tokens", seconds=2) as tokens,
        registries.running(place / "registry", tokens.configuration) as registry,
    ):
        registry.logins = registries.write_logins(place / "logins", registry.host)
        client.environment["DOCKER_CONFIG"] = str(registry.logins)
        tokens.seconds = 60
        files = {"large.bin": content(40 * MIB, 10)}
        registry.push(files)
        tokens.seconds = 2
        tokens.asked.clear()
        client.fetch(registry.address(), "--limit-rate", "6MB")
        client.holds(files)
        assert len(tokens.asked) > 1


def test_an_interrupted_download_behind_a_login_goes_on(guarded, client):
    client.environment["DOCKER_CONFIG"] = str(guarded.logins)
    files = {"large.bin": content(32 * MIB, 11)}
    guarded.push(files, name="models/large")
    written = client.killed(guarded.address("models/large"))
    result = client.fetch(guarded.address("models/large"))
    client.holds(files)
    assert sum(file["bytes_fetched"] for file in result["files"]) <= 32 * MIB - written + MIB


def test_tls_is_spoken_on_this_machine_too(place, client):
    made = registries.certificate(place / "tls")
    with registries.running(place / "registry", certificate=made) as registry:
        registry.push(SMALL)
        said = client.fails(30, registry.address(), "--give-up-after", "5s")
        assert "SSL_CERT_FILE" in said
        client.environment["SSL_CERT_FILE"] = str(made[2])
        client.fetch(registry.address())
        client.holds(SMALL)


@pytest.fixture
def another_machine():
    """An address that is not this machine's, as far as anybody can tell by it."""
    import subprocess

    subprocess.run(["ip", "addr", "add", "10.99.0.1/32", "dev", "lo"], check=False, capture_output=True)
    return "10.99.0.1"


def test_plain_http_to_another_machine_is_spoken_if_that_is_allowed(another_machine, place, client):
    with registries.running(place / "registry", host=another_machine) as registry:
        registry.push(SMALL)
        said = client.fails(30, registry.address(), "--give-up-after", "3s")
        assert "TLS" in said and "--insecure-token" in said, said
        client.fetch(registry.address(), "--insecure-token")
        client.holds(SMALL)


def test_a_registry_is_a_mirror_by_digest_of_what_a_lock_or_pin_knows(registry, client, place):
    """The Hub is a name that nobody answers to."""
    lock = place / "models.lock"
    (place / "models.toml").write_text(f'[[model]]\nname = "m"\nrepo = "{registry.address()}"\n')
    client.run("--manifest", place / "models.toml", of="lock", where=False)
    assert lock.exists()
    client.environment["HF_TOKEN"] = "hf_of_the_hub"
    name, pinned = "weights/part-1.bin", SMALL["weights/part-1.bin"]
    digest = hashlib.sha256(pinned).hexdigest()
    mirror = f"oci://{registry.host}/models/small"
    client.fetch("owner/name", name, "--sha256", digest, "--endpoint", mirror, "--endpoint", "http://127.0.0.1:9")
    client.holds({name: pinned})
    said = client.fails(30, "owner/name", "other.bin", "--endpoint", mirror, "--give-up-after", "1s")
    assert "SHA256" in said
