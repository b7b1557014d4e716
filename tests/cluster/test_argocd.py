"""The chart as Argo CD syncs it, from an empty namespace on."""

import cluster
from cluster import FETCHED, RELEASE, SERVER, chat, padded_model, request, seal, values
from node import wait_until

GIVEN_ADDRESS = "10.88.0.207"


def sealed_address(there):
    return {"encryptedData": {"loadBalancerIP": seal(there.name, GIVEN_ADDRESS)}}


def test_first_sync(volume, there, hub):
    operation = there.synced(values(hub, sealedSecret=sealed_address(there)))

    assert there.get("pvc")["status"]["phase"] == "Bound"
    (download,) = there.summaries()
    assert (download["outcome"], download["bytes_fetched"]) == ("ok", volume.stat().st_size)
    assert hub.counts()["cdn"]["bytes"] == volume.stat().st_size
    (guard,) = there.summaries(SERVER)
    assert (guard["outcome"], guard["bytes_fetched"]) == ("ok", 0)
    assert guard["seconds"] < 10
    assert there.server_is_ready()
    assert operation.resources["Job/llamacpp-app-lb-ip-patch"]["HookPhase"] == "Succeeded"
    assert there.service()["metadata"]["annotations"]["metallb.io/loadBalancerIPs"] == GIVEN_ADDRESS
    wait_until(lambda: there.address() == GIVEN_ADDRESS, "address on the Service", 30)
    chat(GIVEN_ADDRESS)
    chat(there.service()["spec"]["clusterIP"])
    # Who may create claims is gone with the sync.
    assert not there.get("serviceaccount", f"{RELEASE}-ensure-claim")
    assert not there.get("role", f"{RELEASE}-ensure-claim") and not there.get("rolebinding", f"{RELEASE}-ensure-claim")
    assert there.job("ensure-claim")["status"]["succeeded"] == 1


def test_second_sync_changes_nothing(volume, there, hub):
    wanted = values(hub, sealedSecret=sealed_address(there))
    there.synced(wanted)
    claim, file, pod, sent = there.get("pvc"), volume.stat(), there.server_pod(), hub.counts()["cdn"]

    there.synced(wanted)

    assert there.get("pvc")["metadata"]["uid"] == claim["metadata"]["uid"]
    assert (volume.stat().st_ino, volume.stat().st_mtime_ns) == (file.st_ino, file.st_mtime_ns)
    (download,) = there.summaries()
    assert (download["outcome"], download["bytes_fetched"]) == ("ok", 0)
    assert hub.counts()["cdn"] == sent
    same = there.server_pod()
    assert same["metadata"]["uid"] == pod["metadata"]["uid"]
    assert [s["restartCount"] for s in same["status"]["containerStatuses"]] == [0]
    assert there.address() == GIVEN_ADDRESS


def test_changed_model_is_served_once_it_is_verified(volume, there, tmp_path):
    new = padded_model(tmp_path, "new.gguf", 24)
    with cluster.hub("--rate-per-connection", "3MiB", files=[cluster.GGUF / FETCHED, new]) as hub:
        slow = {"connections": 1}
        there.synced(values(hub, fetch=slow))
        old, address = there.server_pod()["metadata"]["uid"], there.service()["spec"]["clusterIP"]

        sync = there.start_sync(values(hub, file="new.gguf", fetch=slow))
        sent, served = hub.counts()["cdn"]["bytes"], 0
        while not volume.holds("new.gguf"):
            assert not sync.is_over(), sync.finish()
            assert there.server_pod()["metadata"]["uid"] == old
            chat(address)
            served += hub.counts()["cdn"]["bytes"] > sent

        sync.succeed()
    assert served > 0
    assert there.server_pod()["metadata"]["uid"] != old
    status, models = request(f"http://{address}:8080/v1/models")
    assert [model["id"] for model in models["data"]] == ["new"]


def test_server_comes_back_while_the_hub_is_down(volume, there):
    with cluster.hub() as hub:
        there.synced(values(hub))
    old = there.server_pod()

    there.kubectl("delete", "pod", old["metadata"]["name"])

    new = there.wait_for_server()
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    (guard,) = there.summaries(SERVER)
    assert (guard["outcome"], guard["bytes_fetched"]) == ("ok", 0)
    chat(there.service()["spec"]["clusterIP"])


def test_pruning_spares_the_claim(volume, there, hub):
    there.synced(values(hub, sealedSecret=sealed_address(there)))
    claim, file = there.get("pvc"), volume.stat()

    # The chart now renders neither claim nor address.
    operation = there.synced(values(hub, persistence={"existingClaim": RELEASE}))

    assert operation.resources[f"PersistentVolumeClaim/{RELEASE}"]["Status"] == "PruneSkipped"
    assert operation.resources[f"SealedSecret/{RELEASE}-lb-ip"]["Status"] == "Pruned"
    kept = there.get("pvc")["metadata"]
    assert (kept["uid"], kept.get("deletionTimestamp")) == (claim["metadata"]["uid"], None)
    assert volume.stat().st_ino == file.st_ino
    wait_until(lambda: not there.get("secret", f"{RELEASE}-lb-ip"), "the Secret gone with its SealedSecret", 60)
    assert not there.list("roles", "app.kubernetes.io/component=lb-ip-patch")


def test_deleted_application_leaves_the_claim_alone(volume, there, hub):
    there.synced(values(hub, sealedSecret=sealed_address(there)))
    claim, file = there.get("pvc"), volume.stat()

    there.delete_application()

    kinds = "all,pvc,sealedsecrets,secrets,serviceaccounts,roles,rolebindings"
    wait_until(lambda: not there.list("pods"), "no pods", 60)
    left = there.kubectl("get", kinds, "-o", "name").stdout.split()
    assert left == ["persistentvolumeclaim/llamacpp-app", "serviceaccount/default"]
    assert there.get("pvc")["metadata"]["uid"] == claim["metadata"]["uid"]
    assert volume.stat().st_ino == file.st_ino

    there.synced(values(hub))
    assert volume.stat().st_ino == file.st_ino
    (download,) = there.summaries()
    assert download["bytes_fetched"] == 0
