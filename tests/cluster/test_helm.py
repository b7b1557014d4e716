"""The chart as helm installs it."""

import cluster
from chart import CHART
from cluster import FETCHED, RELEASE, SERVER, chat, padded_model, request, values
from dns_server import DnsServer
from node import ADDRESS, wait_until


def served(there):
    status, models = request(f"http://{there.service()['spec']['clusterIP']}:8080/v1/models")
    return [model["id"] for model in models["data"]] if status == 200 else None


def wait_until_served(there, alias):
    wait_until(lambda: served(there) == [alias], f"{alias} served")
    wait_until(there.server_is_ready, "server ready")


def all_jobs_are_done(there):
    return all(job["status"].get("succeeded") == 1 for job in there.list("jobs"))


def test_install_upgrade_rollback_uninstall_reinstall(volume, there, tmp_path):
    new = padded_model(tmp_path, "new.gguf", 8)
    with cluster.hub(files=[cluster.GGUF / FETCHED, new]) as hub:
        first = values(hub, argocd={"enabled": False})
        second = values(hub, file="new.gguf", argocd={"enabled": False})

        there.helm("install", RELEASE, CHART, values=first)
        wait_until_served(there, "tiny-llama-Q8_0")
        wait_until(lambda: all_jobs_are_done(there), "download done")
        claim, pod = there.get("pvc")["metadata"]["uid"], there.server_pod()["metadata"]["uid"]

        there.helm("upgrade", RELEASE, CHART, values=first)
        wait_until(lambda: all_jobs_are_done(there), "download done")
        assert there.server_pod()["metadata"]["uid"] == pod
        assert there.server_is_ready()

        there.helm("upgrade", RELEASE, CHART, values=second)
        wait_until_served(there, "new")
        wait_until(lambda: all_jobs_are_done(there), "download done")

        there.helm("rollback", RELEASE, 1)
        wait_until_served(there, "tiny-llama-Q8_0")
        wait_until(lambda: all_jobs_are_done(there), "download done")
        total = (cluster.GGUF / FETCHED).stat().st_size + new.stat().st_size
        assert hub.counts()["cdn"]["bytes"] == total

        names = {f"{RELEASE}.{there.name}.svc.cluster.local": there.service()["spec"]["clusterIP"]}
        with DnsServer(names, listen=ADDRESS):
            there.helm("test", RELEASE, "--timeout", "60s")

        there.helm("uninstall", RELEASE, "--wait")
        assert there.get("pvc")["metadata"]["uid"] == claim
        assert volume.holds("new.gguf") and volume.holds()
        wait_until(lambda: not there.list("pods", SERVER), "no server", 60)

        there.helm("install", RELEASE, CHART, values=second)
        wait_until_served(there, "new")
        assert there.get("pvc")["metadata"]["uid"] == claim
        assert hub.counts()["cdn"]["bytes"] == total
    chat(there.service()["spec"]["clusterIP"])
