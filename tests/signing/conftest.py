"""Keys, certificates, a model, and the two programs that judge it."""

import datetime
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from loopback import loopback_up
from model_signing._cli import main as model_signing_command


def pytest_configure():
    loopback_up()


CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


def write_key(path, key):
    path.with_suffix(".key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    path.with_suffix(".pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def certificate(name, key, issuer, issuer_key, is_authority, algorithm=hashes.SHA256()):
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = dict.fromkeys(
        ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"],
        False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=100))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_authority, key_cert_sign=is_authority, crl_sign=is_authority, **usage
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if not is_authority:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
        )
    return builder.sign(issuer_key, algorithm)


class Bed:
    """A folder with a model and what it takes to sign and to judge it."""

    def __init__(self, place):
        self.place, self.model = place, place / "model"
        self.model.mkdir()
        self.signature = self.model / "model.sig"
        for name, content in {
            "model.gguf": b"GGUF" * 1000,
            "config.json": b"{}",
            "sub/tokenizer.json": b"[]",
            "sub.txt": b"beside the folder sub",
            "empty": b"",
        }.items():
            path = self.model / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        for name, curve in CURVES.items():
            write_key(place / name, ec.generate_private_key(curve))

    def chain(self, authority_key):
        """A certificate for the key P-384, by an authority that one with this key has authorised."""
        root_key = authority_key
        root = certificate("root", root_key, None, root_key, True)
        between_key = ec.generate_private_key(ec.SECP256R1())
        between = certificate("between", between_key, root.subject, root_key, True)
        key = serialization.load_pem_private_key((self.place / "P-384.key").read_bytes(), None)
        leaf = certificate("signer", key, between.subject, between_key, False)
        for name, one in {"root": root, "between": between, "leaf": leaf}.items():
            (self.place / f"{name}.pem").write_bytes(one.public_bytes(serialization.Encoding.PEM))

    def theirs(self, action, *arguments):
        """What model-signing's own command ends with: in this process, because to start one takes it two seconds."""
        command = [action, *arguments, "--signature", self.signature, self.model]
        return CliRunner().invoke(model_signing_command, list(map(str, command)))

    def sign(self, *arguments):
        self.signature.unlink(missing_ok=True)
        signed = self.theirs("sign", *arguments)
        assert signed.exit_code == 0, signed.output

    def sign_by_key(self, curve="P-256"):
        self.sign("key", "--private_key", self.place / f"{curve}.key")

    def their_verdict(self, *arguments):
        """Whether model-signing accepts the folder."""
        return self.theirs("verify", *arguments).exit_code == 0

    def run(self, *arguments):
        command = [os.environ["MODELFETCH"], *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env={"HOME": str(self.place)})

    def verdict(self, *arguments):
        """The exit number of `verify`."""
        return self.run("verify", "--dir", self.model, "--signature", self.signature, *arguments).returncode


@pytest.fixture
def bed(tmp_path):
    yield Bed(tmp_path)
    shutil.rmtree(tmp_path)


@pytest.fixture
def rsa_key():
    return rsa.generate_private_key(65537, 3072)
