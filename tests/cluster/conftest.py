import secrets
import shutil

import pytest

import cluster
from chart import render
from images import load_images
from node import command

TAG = {"images": {"server": {"tag": "b11434"}}}


@pytest.fixture(scope="session", autouse=True)
def images(tmp_path_factory):
    rendered, on_cpu = render(TAG), render(TAG | {"gpu": {"vendor": "cpu"}})
    names = {
        "modelfetch": [f"docker.io/library/{rendered.guard['image']}"],
        "server": [rendered.server["image"], on_cpu.server["image"]],
        "pause": ["localhost/pause:1"],
    }
    work = tmp_path_factory.mktemp("images")
    load_images(work, names)
    shutil.rmtree(work)


@pytest.fixture(scope="session", autouse=True)
def no_old_disks():
    cluster.free_disk_images()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """What the cluster says of a journey that failed, while it is still there."""
    report = (yield).get_result()
    there = item.funcargs.get("there")
    if report.failed and there:
        report.sections.append((f"namespace {there.name}", there.report()))
        for name in ("kubelet", "kube-controller-manager", "metallb"):
            report.sections.append((f"{name}.log", command("tail", "-n", 10, cluster.STATE / f"logs/{name}.log")))


@pytest.fixture
def labels():
    """Labels of the journey's namespace: pods that are not `restricted` are refused, addresses are given."""
    return {"pod-security.kubernetes.io/enforce": "restricted", "addresses": "automatic"}


@pytest.fixture
def there(labels, request):
    """The journey's namespace."""
    name = request.function.__name__.removeprefix("test_").replace("_", "-")[:40].strip("-")
    with cluster.namespace(f"{name}-{secrets.token_hex(2)}", labels) as namespace:
        yield namespace


@pytest.fixture
def volume():
    """A disk of its own for the journey's claim."""
    with cluster.Volume(f"disk-{secrets.token_hex(2)}", 300 << 20) as disk:
        yield disk


@pytest.fixture
def hub():
    with cluster.hub() as running:
        yield running
