"""What is known of a model before it is fetched: too large for the GPU, or of no architecture that the server knows."""

import pytest

import cluster
from cluster import FETCHED, chat, condition, reason, values

HEADER_MAX = 2 << 20


def refused(there, hub, exit_number, **more):
    """A sync that the check ends: its summary."""
    operation = there.sync(values(hub, **more))

    assert operation.phase == "Failed", operation
    job = there.job("download-model")
    assert (condition(job, "Failed"), reason(job, "Failed")) == ("True", "PodFailurePolicy")
    (summary,) = there.summaries(container="check")
    assert (summary["outcome"], summary["exit"]) == ("error", exit_number), summary
    described = there.kubectl("describe", "pods").stdout
    assert summary["error"] in described and summary["hint"][:40] in described
    assert not there.list("deployments")
    return summary


@pytest.fixture
def large(tmp_path):
    """More than a header."""
    return cluster.padded_model(tmp_path, FETCHED, 16)


def test_a_model_that_is_too_large_is_not_fetched(volume, there, large):
    with cluster.hub(files=[large]) as hub:
        summary = refused(there, hub, 24, gpu={"memory": "1Mi"})
        assert "card 1 of 1.0 MiB" in summary["error"], summary
        assert hub.counts()["cdn"]["bytes"] < HEADER_MAX
        assert not volume.holds()

        there.synced(values(hub, gpu={"memory": "64Gi", "checkArchitecture": True}))
    assert volume.stat().st_size == large.stat().st_size
    chat(there.service()["spec"]["clusterIP"])


def test_an_architecture_that_the_server_does_not_know_is_not_fetched(volume, there, large):
    content = large.read_bytes()
    named = content.index(b"general.architecture") + len(b"general.architecture") + 4 + 8
    assert content[named:named + 5] == b"llama"
    large.write_bytes(content[:named] + b"lxama" + content[named + 5:])
    with cluster.hub(files=[large]) as hub:
        summary = refused(there, hub, 25, gpu={"checkArchitecture": True})
        assert "lxama" in summary["error"], summary
        assert hub.counts()["cdn"]["bytes"] < HEADER_MAX
    assert not volume.holds()
