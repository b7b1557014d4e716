"""Two nodes that reach the claim, and one of them drained."""

import os

import pytest

from chart import render
from cluster import COMPONENTS, DOWNLOAD, KUBECONFIG, SERVER, STATE, chat, hub, padded_model, values
from node import NODE, wait_until
from second_node import SECOND, second_node

MIB = 1 << 20
# A process that is asked to end saves what it has; what was on its way in its connections is sent again.
FETCHED_AGAIN_MAX = 12 * MIB


@pytest.fixture
def second():
    """A node without a GPU: room for the download, not for the server."""
    kubectl = [os.environ["KUBECTL"], f"--kubeconfig={KUBECONFIG}"]
    images = [f"docker.io/library/{render().guard['image']}", "localhost/pause:1"]
    with second_node(STATE, COMPONENTS, kubectl, images) as name:
        yield name


def test_a_download_goes_on_elsewhere_when_its_node_is_drained(second, volume, there, tmp_path):
    model = padded_model(tmp_path, "large.gguf", 120)
    size = model.stat().st_size
    with hub("--rate-per-connection", "2MiB", files=[model]) as source:

        def sent():
            return source.counts()["cdn"]["bytes"]

        there.kubectl("cordon", second)
        sync = there.start_sync(values(source, file="large.gguf", fetch={"connections": 4}, model={"size": "200Mi"}))
        wait_until(lambda: sent() > 50 * MIB, "a third")
        there.kubectl("uncordon", second)

        there.kubectl("drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s")
        try:
            wait_until(lambda: runs_on(there, second), f"the download on {second}", 60)
        finally:
            there.kubectl("uncordon", NODE)

        sync.succeed()
        # A drained node is no failed attempt.
        assert "failed" not in there.job("download-model")["status"]
        (download,) = there.summaries()
        again = sent() - size
        print(f"fetched by the second: {download['bytes_fetched'] / MIB:.1f} MiB; fetched again: {again / MIB:.1f} MiB")
        assert download["outcome"] == "ok" and 0 <= again <= FETCHED_AGAIN_MAX
        assert runs_on(there, second, "Succeeded")
    (guard,) = there.summaries(SERVER)
    assert (guard["outcome"], guard["bytes_fetched"]) == ("ok", 0)
    chat(there.service()["spec"]["clusterIP"])


def runs_on(there, node, phase="Running"):
    return [node] == [pod["spec"]["nodeName"] for pod in there.list("pods", DOWNLOAD) if pod["status"]["phase"] == phase]
