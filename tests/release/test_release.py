"""Every form of a release, from an empty root to a verified file, and what vouches for it."""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
import tomllib

import pytest
from crates import REPOSITORY, embedded
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from fake_hub import FakeHub
from roots import ARCHITECTURES, RELEASE, TARGETS, VERSION, Root

REGISTRY = os.environ["REGISTRY"]
USER = 10001


def said(*command, **more):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Tarball


def test_the_tarball_is_all_that_an_empty_root_needs(unpacked, root, hub):
    shutil.copy(unpacked / "modelfetch", root.path / "modelfetch")
    assert root.run("/modelfetch", "--version").split() == ["modelfetch", VERSION]
    root.fetch("/modelfetch", hub)


def test_the_tarball_brings_pages_licences_and_completions(unpacked):
    assert "Apache License" in (unpacked / "LICENSE").read_text()
    assert "rustls" in (unpacked / "THIRD-PARTY").read_text()
    for page in ["modelfetch.1", "modelfetch-fetch.1", "modelfetch-verify.1"]:
        assert ".TH" in (unpacked / "man" / page).read_text()
    assert "--quant" in (unpacked / "completions/modelfetch.bash").read_text()
    assert (unpacked / "modelfetch").stat().st_size < 8_000_000


def test_binstall_looks_where_the_tarball_is(unpacked, release, target):
    manifest = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]
    words = {"repo": manifest["repository"], "version": VERSION, "target": target, "bin": "modelfetch", "binary-ext": ""}
    fill = lambda text: re.sub(r"\{ ([-a-z]+) \}", lambda found: words[found[1]], text)
    binstall = manifest["metadata"]["binstall"]
    url, program = fill(binstall["pkg-url"]), fill(binstall["bin-dir"])
    assert url.startswith(f"{manifest['repository']}/releases/download/v{VERSION}/")
    assert (release / url.rsplit("/", 1)[1]).exists()
    assert (unpacked.parent / program).exists()


def test_what_one_architecture_left_the_other_goes_on_with(release, tmp_path):
    roots = [Root(tmp_path / target, target) for target in TARGETS]
    for root in roots:
        with tarfile.open(release / f"modelfetch-{VERSION}-{root.target}.tar.gz") as archive:
            member = archive.extractfile(f"modelfetch-{VERSION}-{root.target}/modelfetch")
            (root.path / "modelfetch").write_bytes(member.read())
        (root.path / "modelfetch").chmod(0o755)
    for first, second in [roots, roots[::-1]]:
        with FakeHub("--file", "model.gguf", "--size", "16MiB", "--rate-per-connection", "1MiB") as hub:
            fetch = ["/modelfetch", "fetch", hub.repo, "model.gguf", "--dir", "/models", "--json"]
            environment = {"HF_ENDPOINT": hub.endpoint}
            first.run(*fetch, "--connections", "2", "--deadline", "3s", environment=environment, status=30)
            shutil.move(first.path / "models", second.path / "models")
            result = json.loads(second.run(*fetch, environment=environment))
            assert result["files"][0]["done"] == "resumed"
            shutil.move(second.path / "models", first.path / "models")
            assert json.loads(first.run(*fetch, environment=environment))["files"][0]["done"] == "skipped"
            shutil.rmtree(first.path / "models")


# Debian package


@pytest.fixture(scope="session")
def installed(debian):
    package = RELEASE / f"modelfetch_{VERSION}_amd64.deb"
    shutil.copy(package, debian.path / "package.deb")
    debian.run("/usr/bin/dpkg", "--install", "/package.deb", environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    return debian


def test_the_package_brings_program_unit_and_user(installed):
    assert installed.run("/usr/bin/modelfetch", "--version").split() == ["modelfetch", VERSION]
    passwd = installed.run("/usr/bin/getent", "passwd", "modelfetch")
    assert passwd.split(":")[5] == "/var/lib/modelfetch"
    installed.run("/usr/bin/systemd-analyze", "verify", "--man=no", "modelfetch@chat.service")


def test_the_unit_is_as_closed_as_it_can_be(installed):
    report = installed.run("/usr/bin/systemd-analyze", "security", "--offline=true", "modelfetch@chat.service")
    exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", report)[1])
    assert exposure < 2.5, report


# What waits for the model, tells what it finds, and ends the machine.
WAITING = """\
[Unit]
Requires=modelfetch@chat.service
After=modelfetch@chat.service
FailureAction=poweroff-force
SuccessAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'stat -c "%%U %%s" /var/lib/modelfetch/chat/model.gguf >/found'
[Install]
WantedBy=multi-user.target
"""


@pytest.mark.parametrize("token", ["", "hf_of_this_machine"], ids=["public", "gated"])
def test_a_service_that_waits_for_the_unit_finds_the_model_at_boot(installed, token):
    options = ["--gated", token] if token else []
    with FakeHub("--file", "model.gguf", "--size", "4MiB", *options) as hub:
        etc = installed.path / "etc"
        lines = [f"MODELFETCH_REPO={hub.repo}", "MODELFETCH_FILES=model.gguf", f"HF_ENDPOINT={hub.endpoint}"]
        (etc / "modelfetch/chat.env").write_text("\n".join(lines) + "\n")
        (etc / "modelfetch/hf-token").unlink(missing_ok=True)
        if token:
            (etc / "modelfetch/hf-token").write_text(token)
            (etc / "modelfetch/hf-token").chmod(0o600)
        (etc / "systemd/system/waiting.service").write_text(WAITING)
        installed.run("/usr/bin/systemctl", "enable", "waiting.service")
        for old in [installed.path / "found", installed.path / "var/lib/modelfetch"]:
            subprocess.run(["rm", "-rf", old], check=True)
        boot = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "-D", installed.path]
        console = subprocess.run(list(map(str, boot)), capture_output=True, text=True, timeout=300).stdout
        found = installed.path / "found"
        assert found.exists(), console + installed.run("/usr/bin/journalctl", "--no-pager", "--unit", "modelfetch@chat")
        # StateDirectory's owner, by the name that the package gave it.
        assert found.read_text().split() == ["modelfetch", str(hub.files["model.gguf"]["size"])]


def test_the_package_of_the_other_architecture_says_so(release):
    for target, architecture in ARCHITECTURES.items():
        fields = said("dpkg-deb", "--field", release / f"modelfetch_{VERSION}_{architecture}.deb", "Architecture", "Version")
        assert fields.split() == ["Architecture:", architecture, "Version:", f"{VERSION}-1"]


# Image


def test_the_image_of_each_architecture_is_taken_by_its_one_digest(release, target, root, hub):
    reference = (release / "image.txt").read_text().strip()
    platform = f"linux/{ARCHITECTURES[target]}"
    config = json.loads(said("crane", "config", "--platform", platform, reference))
    assert config["architecture"] == ARCHITECTURES[target]
    assert config["config"]["User"] == f"{USER}:{USER}"
    labels = config["config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert re.fullmatch("[0-9a-f]{40}", labels["org.opencontainers.image.revision"])
    archive = root.path.parent / "image.tar"
    said("crane", "export", "--platform", platform, reference, archive)
    said("tar", "-xf", archive, "-C", root.path)
    program = (root.path / "modelfetch").stat()
    assert (stat.S_IMODE(program.st_mode), program.st_uid) == (0o711, 0)
    # qemu must read what it runs.
    root.fetch("/modelfetch", hub, user=0 if root.emulator() else USER)


def test_the_tarball_is_an_image_without_a_build(unpacked, target, tmp_path, hub):
    storage = ["--storage-driver", "vfs", "--root", tmp_path / "storage", "--runroot", tmp_path / "run"]
    said("buildah", *storage, "build", "--isolation", "chroot", "--platform", f"linux/{ARCHITECTURES[target]}",
         "--tag", "modelfetch", unpacked)  # fmt: skip
    archive = tmp_path / "image.tar"
    said("buildah", *storage, "push", "modelfetch", f"docker-archive:{archive}:modelfetch:test")
    config = json.loads(said("buildah", *storage, "inspect", "--type", "image", "modelfetch"))["OCIv1"]["config"]
    of_registry = json.loads(said("crane", "config", (RELEASE / "image.txt").read_text().strip()))["config"]
    for key in ["User", "Entrypoint", "WorkingDir"]:
        assert config[key] == of_registry[key]


# Chart, formula, SBOMs, signatures


def test_the_chart_of_the_registry_asks_for_this_image_by_its_digest(release, tmp_path):
    said(os.environ["HELM"], "pull", "--plain-http", f"oci://{REGISTRY}/charts/llamacpp-app", "--destination", tmp_path)
    (chart,) = tmp_path.glob("*.tgz")
    assert chart.read_bytes() == (release / chart.name).read_bytes()
    rendered = said(os.environ["HELM"], "template", "chat", chart)
    image, digest = (release / "image.txt").read_text().strip().split("@")
    repository = image.rsplit(":", 1)[0]
    assert re.search(rf"image: \"?{re.escape(repository)}(:{VERSION})?@{digest}\"?$", rendered, re.MULTILINE), rendered


def test_the_formula_is_of_these_tarballs(release):
    formula = (release / "modelfetch.rb").read_text()
    assert "@" not in formula.replace("@VERSION@", "@")
    for target in TARGETS:
        tarball = release / f"modelfetch-{VERSION}-{target}.tar.gz"
        assert hashlib.sha256(tarball.read_bytes()).hexdigest() in formula
        assert tarball.name in formula
    said("ruby", "-c", release / "modelfetch.rb")


def test_each_sbom_is_valid_and_names_the_crates_that_the_program_holds(release, unpacked, target):
    sboms = [path for path in release.glob("*.cdx.json") if target in path.name or ARCHITECTURES[target] in path.name]
    assert len(sboms) == 3, "of tarball, package and image"
    for path in sboms:
        text = path.read_text()
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
        crates = {(part["name"], part["version"]) for part in json.loads(text)["components"]}
        assert crates == embedded(unpacked / "modelfetch")
        assert ("rustls" in dict(crates)) and ("fake-hub" not in dict(crates))
        assert all(part["licenses"] and part["hashes"] for part in json.loads(text)["components"])


def test_every_file_is_signed_for_and_one_wrong_byte_is_found(release, tmp_path):
    named = {line.split()[1] for line in (release / "SHA256SUMS").read_text().splitlines()}
    others = {"SHA256SUMS", "SHA256SUMS.sigstore.json", "notes.md", "image"}
    assert {path.name for path in release.iterdir()} == named | others
    copy = tmp_path / "copy"
    shutil.copytree(release, copy)
    verify = [REPOSITORY / ".github/release/verify", copy, os.environ["PUBLIC_KEY"]]
    said(*verify)
    for name in ["modelfetch.rb", "SHA256SUMS"]:
        right = (copy / name).read_bytes()
        (copy / name).write_bytes(right.replace(b"a", b"b", 1))
        assert subprocess.run(verify, capture_output=True).returncode != 0, name
        (copy / name).write_bytes(right)


def test_image_and_chart_are_signed_by_digest(release):
    chart = said("crane", "digest", f"{REGISTRY}/charts/llamacpp-app:{chart_version(release)}").strip()
    for reference in [(release / "image.txt").read_text().strip(), f"{REGISTRY}/charts/llamacpp-app@{chart}"]:
        said("cosign", "verify", "--key", os.environ["PUBLIC_KEY"], "--insecure-ignore-tlog", "--allow-insecure-registry", reference)


def chart_version(release):
    (chart,) = release.glob("llamacpp-app-*.tgz")
    return chart.name.removeprefix("llamacpp-app-").removesuffix(".tgz")
