import subprocess
import tarfile

import pytest
from fake_hub import FakeHub
from roots import RELEASE, TARGETS, VERSION, Root


@pytest.fixture
def release():
    return RELEASE


@pytest.fixture
def hub():
    with FakeHub("--file", "model.gguf", "--size", "8MiB") as hub:
        yield hub


@pytest.fixture(params=TARGETS)
def target(request):
    return request.param


@pytest.fixture
def unpacked(target, tmp_path):
    """The folder that a tarball brings."""
    name = f"modelfetch-{VERSION}-{target}"
    with tarfile.open(RELEASE / f"{name}.tar.gz") as archive:
        archive.extractall(tmp_path / "unpacked", filter="tar")
    return tmp_path / "unpacked" / name


@pytest.fixture
def root(target, tmp_path):
    """An empty root, whose programs are of the target's architecture."""
    return Root(tmp_path / "root", target)


@pytest.fixture(scope="session")
def debian(tmp_path_factory):
    """A Debian of nothing but what a package may count on, and systemd."""
    path = tmp_path_factory.mktemp("debian") / "root"
    command = ["mmdebstrap", "--quiet", "--variant=essential", "--include=systemd", "bookworm", path]
    subprocess.run(list(map(str, command)), check=True)
    return Root(path, TARGETS[0])
