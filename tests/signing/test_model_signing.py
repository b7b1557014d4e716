"""What model-signing 1.1.1 writes is accepted, and what it refuses is refused."""

import base64
import copy
import hashlib
import json
import os

import model_signing
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fake_hub import FakeHub

BY_KEY = ["key", "--public_key"]


@pytest.mark.parametrize("curve", ["P-256", "P-384"])
def test_keys_that_ring_knows(bed, curve):
    bed.sign_by_key(curve)
    assert bed.their_verdict(*BY_KEY, bed.place / f"{curve}.pub")
    assert bed.verdict("--trust-key", bed.place / f"{curve}.pub") == 0
    for other in {"P-256", "P-384"} - {curve}:
        assert bed.verdict("--trust-key", bed.place / f"{other}.pub") == 12


def test_the_key_is_called_as_model_signing_calls_it(bed):
    bed.sign_by_key()
    hint = json.loads(bed.signature.read_text())["verificationMaterial"]["publicKey"]["hint"]
    assert hint == hashlib.sha256((bed.place / "P-256.pub").read_bytes()).hexdigest()
    run = bed.run("verify", "--dir", bed.model, "--trust-key", bed.place / "P-256.pub")
    assert f"key:{hint}" in run.stderr, run.stderr


def test_p_521_is_refused_with_the_reason(bed):
    bed.sign_by_key("P-521")
    assert bed.their_verdict(*BY_KEY, bed.place / "P-521.pub")
    run = bed.run("verify", "--dir", bed.model, "--trust-key", bed.place / "P-521.pub")
    assert run.returncode == 2 and "P-521" in run.stderr, run.stderr


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_certificates(bed, rsa_key, kind):
    bed.chain(rsa_key if kind == "rsa" else ec.generate_private_key(ec.SECP384R1()))
    bed.sign(
        "certificate", "--private_key", bed.place / "P-384.key",
        "--signing_certificate", bed.place / "leaf.pem", "--certificate_chain", bed.place / "between.pem",
    )  # fmt: skip
    assert bed.their_verdict("certificate", "--certificate_chain", bed.place / "root.pem")
    assert bed.verdict("--trust-cert", bed.place / "root.pem") == 0
    assert bed.verdict("--trust-cert", bed.place / "leaf.pem") == 0
    bed.chain(ec.generate_private_key(ec.SECP384R1()))
    assert not bed.their_verdict("certificate", "--certificate_chain", bed.place / "root.pem")
    assert bed.verdict("--trust-cert", bed.place / "root.pem") == 12


@pytest.mark.parametrize("size", [7, 1000, 1_000_000_000])
def test_parts_of_files(bed, size):
    hashing = model_signing.hashing.Config().use_shard_serialization(shard_size=size)
    hashing.set_ignored_paths(paths=["model.sig"])
    signing = model_signing.signing.Config().use_elliptic_key_signer(private_key=bed.place / "P-256.key")
    signing.set_hashing_config(hashing).sign(bed.model, bed.signature)
    trust = ["--trust-key", bed.place / "P-256.pub"]
    assert bed.verdict(*trust) == 0
    (bed.model / "model.gguf").write_bytes(b"GGUF" * 999 + b"GGUf")
    assert bed.verdict(*trust) == 20


@pytest.mark.parametrize("algorithm", ["blake2", "blake3"])
def test_other_digests_are_refused(bed, algorithm):
    hashing = model_signing.hashing.Config().use_file_serialization(hashing_algorithm=algorithm)
    hashing.set_ignored_paths(paths=["model.sig"])
    signing = model_signing.signing.Config().use_elliptic_key_signer(private_key=bed.place / "P-256.key")
    signing.set_hashing_config(hashing).sign(bed.model, bed.signature)
    run = bed.run("verify", "--dir", bed.model, "--trust-key", bed.place / "P-256.pub")
    assert run.returncode == 12 and "sha256" in run.stderr, run.stderr


def test_a_model_that_is_one_file(bed):
    model = bed.model / "model.gguf"
    signing = model_signing.signing.Config().use_elliptic_key_signer(private_key=bed.place / "P-256.key")
    signing.sign(model, bed.signature)
    trust = ["--trust-key", bed.place / "P-256.pub"]
    assert bed.verdict(*trust, "model.gguf") == 0
    assert bed.verdict(*trust) == 2
    assert bed.verdict(*trust, "config.json") == 20


CHANGES = {
    "a byte": lambda model: (model / "model.gguf").write_bytes(b"GGUF" * 999 + b"GGUf"),
    "a byte more": lambda model: (model / "config.json").write_bytes(b"{}\n"),
    "a file less": lambda model: (model / "config.json").unlink(),
    "a file more": lambda model: (model / "evil.py").write_bytes(b"import os"),
    "an empty file more": lambda model: (model / "__init__.py").touch(),
    "a file more in a folder": lambda model: (model / "sub/evil.py").touch(),
    "a hidden file more": lambda model: (model / ".env").touch(),
    "another name": lambda model: (model / "config.json").rename(model / "Config.json"),
    "a link more": lambda model: (model / "link").symlink_to("config.json"),
    "a link to a folder": lambda model: (model / "link").symlink_to("sub"),
    "a link that leads nowhere": lambda model: (model / "link").symlink_to("nowhere"),
    "a link in the place of a file": lambda model: (
        (model / "config.json").rename(model.parent / "config.json"),
        (model / "config.json").symlink_to("../config.json"),
    ),
    "a pipe": lambda model: os.mkfifo(model / "pipe"),
    "git's own in a folder": lambda model: (model / "sub/.gitattributes").touch(),
}
HARMLESS = {
    "git's own": lambda model: (model / ".gitattributes").touch(),
    "a whole repository": lambda model: ((model / ".git").mkdir(), (model / ".git/HEAD").touch()),
    "an empty folder": lambda model: (model / "more").mkdir(),
}


@pytest.mark.parametrize("change", CHANGES | HARMLESS)
def test_folders_are_judged_alike(bed, change):
    bed.sign_by_key()
    (CHANGES | HARMLESS)[change](bed.model)
    theirs = bed.their_verdict(*BY_KEY, bed.place / "P-256.pub")
    assert theirs == (change in HARMLESS), "model-signing itself thinks otherwise"
    assert bed.verdict("--trust-key", bed.place / "P-256.pub") == (0 if theirs else 20)


def places(value, path=()):
    """Every member of a document."""
    if isinstance(value, dict):
        for key in value:
            yield (*path, key)
            yield from places(value[key], (*path, key))
    if isinstance(value, list):
        for at in range(len(value)):
            yield (*path, at)
            yield from places(value[at], (*path, at))


def changed(document, path, change):
    document = copy.deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return document


EDITS = [
    lambda inner, key: inner.pop(key),
    lambda inner, key: inner.__setitem__(key, None),
    lambda inner, key: inner.__setitem__(key, "x"),
    lambda inner, key: inner.__setitem__(key, 1),
    lambda inner, key: inner.__setitem__(key, []),
    lambda inner, key: inner.__setitem__(key, {}),
    lambda inner, key: inner.__setitem__(key, True),
]
# What may be otherwise, because nothing depends on it: the specification says so of each (sections 4.1, 6.5 and 11.1).
FREE = {"tlogEntries", "hint", "keyid", "name of the model", "ignore_paths", "allow_symlinks"}


def test_what_model_signing_refuses_is_refused(bed):
    """Each member of bundle and statement, missing or another one; the statement is signed anew."""
    from cryptography.hazmat.primitives import hashes, serialization

    bed.sign_by_key()
    bundle = json.loads(bed.signature.read_text())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    key = serialization.load_pem_private_key((bed.place / "P-256.key").read_bytes(), None)

    def sealed(changed_statement):
        payload = json.dumps(changed_statement).encode()
        message = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)
        signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
        other = copy.deepcopy(bundle)
        other["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
        other["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
        return other

    documents = [(path, edit, changed(bundle, path, edit)) for path in places(bundle) for edit in EDITS]
    documents += [(path, edit, sealed(changed(statement, path, edit))) for path in places(statement) for edit in EDITS]

    def is_theirs():
        try:
            model_signing.verifying.Config().use_elliptic_key_verifier(
                public_key=bed.place / "P-256.pub"
            ).verify(bed.model, bed.signature)
            return True
        except Exception:
            return False

    bed.signature.write_text(json.dumps(sealed(statement)))
    assert is_theirs() and bed.verdict("--trust-key", bed.place / "P-256.pub") == 0
    stricter, wrong = [], []
    for path, edit, document in documents:
        bed.signature.write_text(json.dumps(document))
        ours, theirs = bed.verdict("--trust-key", bed.place / "P-256.pub") == 0, is_theirs()
        is_free = path[-1] in FREE or path[:2] == ("subject", 0) and path[-1] == "name" or path[-1] == "verificationMaterial"
        is_left_out = "ignore_paths" in path
        if ours and not theirs and not is_free and not is_left_out:
            wrong.append((path, document))
        if theirs and not ours:
            stricter.append(path)
    assert not wrong, wrong[:3]
    assert len(documents) > 200
    print(f"{len(documents)} documents, of which {len(stricter)} are refused that model-signing accepts: {stricter}")


def test_a_signed_model_is_fetched_from_a_hub(bed, tmp_path):
    for path in ["sub/tokenizer.json", "sub.txt", "empty"]:
        (bed.model / path).unlink()
    (bed.model / "sub").rmdir()
    bed.sign_by_key()
    locals_ = [argument for path in sorted(bed.model.iterdir()) for argument in ("--local", path)]
    with FakeHub(*locals_) as hub:
        def fetch(key, folder):
            return bed.run("fetch", hub.repo, "--endpoint", hub.endpoint, "--trust-key", bed.place / key, "--dir", folder)

        run = fetch("P-384.pub", tmp_path / "strangers")
        assert run.returncode == 12, run.stderr
        assert not list((tmp_path / "strangers").glob("*.*")) if (tmp_path / "strangers").exists() else True
        run = fetch("P-256.pub", tmp_path / "fetched")
        assert run.returncode == 0, run.stderr
    # What was fetched is what model-signing itself accepts.
    fetched = tmp_path / "fetched"
    held = json.loads(bed.run("list", "--json", "--dir", fetched).stdout)["held"]["files"]
    assert {file["path"]: len(file["vouched_by"]) for file in held} == {"config.json": 2, "model.gguf": 2, "model.sig": 1}
    bed.model, bed.signature = fetched, fetched / "model.sig"
    assert bed.verdict("--trust-key", bed.place / "P-256.pub") == 0
    assert bed.their_verdict(*BY_KEY, bed.place / "P-256.pub", "--ignore-paths", fetched / ".modelfetch")
