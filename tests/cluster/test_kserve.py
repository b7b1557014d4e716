"""`modelfetch storage-initializer` in a pod as KServe's webhook makes it; KServe's own controller is not here.

Init container `storage-initializer` with the source and /mnt/models as arguments, an emptyDir
`kserve-provision-location` that the server's container mounts read-only (kserve, pkg/webhook/admission/pod,
storage_initializer_injector.go).
"""

import json

import yaml

import cluster
from chart import CHART, render
from cluster import FETCHED, terminations
from node import wait_until

IMAGE = render().guard["image"]


def container_of_the_docs():
    """The container of docs/kserve.md, which is what a cluster has."""
    page = (CHART.parent / "docs/kserve.md").read_text()
    return yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])["spec"]["container"]


def pod(hub, source):
    mount = {"name": "kserve-provision-location", "mountPath": "/mnt/models"}
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    fetch = container_of_the_docs() | {
        "image": IMAGE, "args": [source, "/mnt/models"], "volumeMounts": [mount], "securityContext": restricted,
        "terminationMessagePolicy": "FallbackToLogsOnError"}
    fetch["env"] = [*fetch["env"], {"name": "HF_ENDPOINT", "value": hub.endpoint}]
    server = {"name": "kserve-container", "image": IMAGE, "volumeMounts": [mount | {"readOnly": True}],
              "args": ["verify", "--dir", "/mnt/models"], "securityContext": restricted}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"},
        "spec": {
            "restartPolicy": "Never", "initContainers": [fetch], "containers": [server],
            "volumes": [{"name": "kserve-provision-location", "emptyDir": {}}],
            "tolerations": [{"operator": "Exists"}],
            "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001,
                                "seccompProfile": {"type": "RuntimeDefault"}},
        },
    }


def phase(there):
    return there.get("pod", "predictor")["status"]["phase"]


def test_a_predictor_gets_its_model_within_the_limit_of_the_docs(there, tmp_path):
    model = cluster.padded_model(tmp_path, FETCHED, 300)
    with cluster.hub(files=[model]) as hub:
        there.apply(pod(hub, f"hf://{hub.repo}"))
        wait_until(lambda: phase(there) in ("Succeeded", "Failed"), "the predictor's end", 180)

        ended = there.get("pod", "predictor")
        (fetched,) = [json.loads(end["message"]) for end in terminations(ended, "storage-initializer")]
        assert phase(there) == "Succeeded", fetched
        assert fetched["bytes_fetched"] >= model.stat().st_size
    assert FETCHED in there.kubectl("logs", "predictor", "-c", "kserve-container").stdout


def test_a_source_that_is_not_there_is_said_in_the_pod(there, hub):
    there.apply(pod(hub, "hf://nobody/nothing"))
    wait_until(lambda: phase(there) == "Failed", "the predictor's end", 60)

    (summary,) = [json.loads(end["message"]) for end in terminations(there.get("pod", "predictor"), "storage-initializer")]
    assert (summary["outcome"], summary["exit"]) == ("error", 11)
    assert "nobody/nothing" in summary["error"], summary
