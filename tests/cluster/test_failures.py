"""Downloads that fail, and downloads that are interrupted."""

import json
import os
import signal
from dataclasses import dataclass

import yaml

import cluster
from chart import CHART
from cluster import DOWNLOAD, FETCHED, SERVER, chat, condition, padded_model, reason, values
from node import wait_until

MIB = 1 << 20
# What may be fetched again after a SIGKILL: what the journal doesn't know yet, and what was under way.
FETCHED_AGAIN_MAX = 12 * MIB


@dataclass
class Cause:
    """Values that make the download fail, and how it says so."""

    name: str
    values: dict
    exit: int


def causes(gated):
    return [
        Cause("file not found", {"file": "typo.gguf"}, 11),
        Cause("wrong sha256", {"model": {"sha256": "0" * 64}}, 12),
        Cause("no space", {"file": "huge.gguf"}, 21),
        Cause("gated", {"fetch": {"endpoints": [gated.endpoint]}, "file": "gated.gguf"}, 10),
    ]


def test_failed_download_stops_the_sync_and_not_the_server(volume, there, tmp_path, subtests):
    gated_model = padded_model(tmp_path, "gated.gguf", 1)
    with (cluster.hub("--file", "huge.gguf", "--size", "2GiB") as hub,
          cluster.hub("--gated", "hf_token", files=[gated_model]) as gated):
        there.synced(values(hub))
        old, address = there.server_pod()["metadata"]["uid"], there.service()["spec"]["clusterIP"]

        for cause in causes(gated):
            with subtests.test(cause.name):
                operation = there.sync(values(hub, **cause.values))

                assert operation.phase == "Failed", operation
                job = there.job("download-model")
                assert (condition(job, "Failed"), reason(job, "Failed")) == ("True", "PodFailurePolicy")
                (summary,) = there.summaries()
                assert (summary["outcome"], summary["exit"]) == ("error", cause.exit), summary
                described = there.kubectl("describe", "pod", "-l", DOWNLOAD).stdout
                assert summary["reason"] in described and summary["hint"][:40] in described
                assert there.server_pod()["metadata"]["uid"] == old
                chat(address)

        there.synced(values(hub))
        assert there.server_pod()["metadata"]["uid"] == old


def test_interrupted_download_goes_on(volume, there, tmp_path):
    model = padded_model(tmp_path, "large.gguf", 120)
    size = model.stat().st_size
    with cluster.hub("--rate-per-connection", "2MiB", files=[model]) as hub:

        def sent():
            return hub.counts()["cdn"]["bytes"]

        sync = there.start_sync(values(hub, file="large.gguf", fetch={"connections": 4}, model={"size": "200Mi"}))

        wait_until(lambda: sent() > 20 * MIB, "a start")
        evict(there, there.download_pod())

        wait_until(lambda: sent() > 45 * MIB, "a third")
        there.kubectl("delete", "pod", there.download_pod())

        wait_until(lambda: sent() > 70 * MIB, "a half")
        os.kill(there.download_process(), signal.SIGKILL)

        wait_until(lambda: sent() > 95 * MIB, "three quarters")
        restart_kubelet()

        sync.succeed()
        # The deletion and the kill; the eviction is none.
        assert there.job("download-model")["status"]["failed"] == 2
        again = sent() - size
        print(f"fetched again: {again / MIB:.1f} MiB")
        assert 0 <= again <= 3 * FETCHED_AGAIN_MAX
    (guard,) = there.summaries(SERVER)
    assert (guard["outcome"], guard["bytes_fetched"]) == ("ok", 0)
    chat(there.service()["spec"]["clusterIP"])


def evict(there, pod):
    """What `kubectl drain` does."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{there.name}/pods/{pod}/eviction"
    there.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def restart_kubelet():
    file = cluster.STATE / "kubelet.pid"
    old = file.read_text()
    os.kill(int(old), signal.SIGKILL)
    wait_until(lambda: file.read_text() != old, "another kubelet", 30)


def test_one_download_for_all_who_want_the_model(volume, there, tmp_path):
    model = padded_model(tmp_path, "large.gguf", 24)
    with cluster.hub("--rate-per-connection", "1MiB", files=[model]) as hub:
        wanted = values(hub, file="large.gguf")
        sync = there.start_sync(wanted)
        wait_until(lambda: hub.counts()["cdn"]["bytes"] > 0, "a download")

        # By hand: the chart's example, twice at once.
        there.apply(prefetch_job(hub, "large.gguf", parallelism=2))

        sync.succeed()
        there.kubectl("wait", "--for=condition=Complete", "job/llamacpp-app-prefetch", "--timeout=60s")
        size = model.stat().st_size
        # Of a range that changes hands what was on its way arrives twice. The server counts besides
        # what its kernel still held; a second download would have cost all of it again.
        (download,) = there.summaries()
        assert size <= download["bytes_fetched"] < 1.1 * size
        assert size <= hub.counts()["cdn"]["bytes"] < 1.5 * size
    by_hand = there.summaries("job-name=llamacpp-app-prefetch")
    assert [(s["outcome"], s["bytes_fetched"]) for s in by_hand] == [("ok", 0)] * 2


def prefetch_job(hub, file, parallelism):
    job = yaml.safe_load((CHART / "examples/prefetch-job.yaml").read_text())
    del job["metadata"]["namespace"]
    job["spec"] |= {"parallelism": parallelism, "completions": parallelism}
    (container,) = job["spec"]["template"]["spec"]["containers"]
    given = {"MODELFETCH_REPO": hub.repo, "MODELFETCH_FILES": file, "MODELFETCH_ENDPOINT": hub.endpoint}
    container["env"] = [{"name": e["name"], "value": given.pop(e["name"], e.get("value"))} for e in container["env"]]
    container["env"] += [{"name": name, "value": value} for name, value in given.items()]
    return job
