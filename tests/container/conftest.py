import os
import shutil
from pathlib import Path

import pytest
from containerd import Containerd
from fake_hub import FakeHub
from image import GROUP, build_image
from loopback import loopback_up


@pytest.fixture(scope="session", autouse=True)
def network():
    loopback_up()


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    return build_image(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def containerd(tmp_path_factory, image):
    with Containerd(tmp_path_factory.mktemp("containerd")) as daemon:
        daemon.load(image)
        yield daemon


@pytest.fixture
def models(tmp_path):
    """A directory as a volume with an fsGroup: its group may write, nobody else."""
    directory = tmp_path / "models"
    directory.mkdir()
    os.chown(directory, 0, GROUP)
    os.chmod(directory, 0o2770)
    yield directory
    # The fetched gigabytes need not wait until pytest forgets old directories.
    shutil.rmtree(directory)


@pytest.fixture
def hub():
    with FakeHub("--file", "model.gguf", "--size", "64MiB") as hub:
        yield hub


@pytest.fixture
def named_hub():
    """A Hub whose redirects lead to a name: from a name to an address of this machine none is followed."""
    address = "127.0.0.1:8080"
    options = ["--cdn-listen", address, "--cdn-base", f"http://{address.replace('127.0.0.1', 'cdn.models')}"]
    with FakeHub("--file", "model.gguf", "--size", "64MiB", *options) as hub:
        yield hub


@pytest.fixture
def file(tmp_path):
    """Makes a file that is mounted into a container."""

    def write(name, text):
        path = Path(tmp_path, name)
        path.write_text(text)
        path.chmod(0o666)
        return path

    return write
