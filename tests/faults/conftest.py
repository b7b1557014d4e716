import os
import shutil
import tempfile
from pathlib import Path

import pytest
from fake_hub import FakeHub
from images import IMAGES, mounted, run


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="try everything, not a sample")


NUMBERS = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[NUMBERS] = []


@pytest.fixture
def full(request):
    return request.config.getoption("--full")


@pytest.fixture
def note(request):
    """Notes what was tried, for the summary at the end."""
    return lambda text: request.config.stash[NUMBERS].append(f"{request.node.name}: {text}")


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[NUMBERS]:
        terminalreporter.section("what was tried")
    for line in config.stash[NUMBERS]:
        terminalreporter.write_line(line)


@pytest.fixture
def place():
    """A directory in memory: a flush costs nothing there, and thousands of runs have many."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="modelfetch-faults-", dir=base))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def ext4(place):
    """The same on ext4, which takes writes past the page cache; the device is in memory."""
    if os.geteuid() != 0:
        pytest.skip("mounts a file system")
    image, directory = place / "ext4.image", place / "ext4"
    directory.mkdir()
    with open(image, "wb") as file:
        file.truncate(512 << 20)
    run(*IMAGES["ext4"], image)
    with mounted(image, directory):
        yield directory


@pytest.fixture(scope="session")
def serve():
    """Starts fake Hubs that live until the end; one for the same arguments."""
    hubs = {}

    def start(*arguments):
        if arguments not in hubs:
            hubs[arguments] = FakeHub(*arguments)
        return hubs[arguments]

    yield start
    for hub in hubs.values():
        hub.__exit__()
