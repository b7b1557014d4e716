"""Other values than the defaults, each from an empty namespace on."""

import json
import time

import pytest

from cluster import SERVER, chat, request, seal, values
from node import wait_until

RESERVED = "10.88.0.231"


def cluster_ip(there):
    return there.service()["spec"]["clusterIP"]


def test_the_namespace_admits_restricted_pods_only(there):
    """All journeys are made in such a namespace."""
    plain = {"containers": [{"name": "plain", "image": "modelfetch:0.1.0"}]}
    refused = there.kubectl("apply", "-f", "-", check=False, stdin=json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain"}, "spec": plain}))
    assert 'violates PodSecurity "restricted' in refused.stderr


def test_init_container_alone(volume, there, hub):
    there.synced(values(hub, fetch={"mode": "initContainer"}))

    there.wait_for_server()
    (fetched,) = there.summaries(SERVER)
    assert (fetched["outcome"], fetched["bytes_fetched"]) == ("ok", volume.stat().st_size)
    assert not there.list("jobs")
    chat(cluster_ip(there))


def test_download_in_the_sync_phase(volume, there, hub):
    wanted = values(hub, fetch={"job": {"hook": "Sync"}})
    there.synced(wanted)
    claim, inode = there.get("pvc")["metadata"]["uid"], volume.stat().st_ino
    chat(cluster_ip(there))
    assert not there.list("roles")

    there.synced(wanted)
    assert (there.get("pvc")["metadata"]["uid"], volume.stat().st_ino) == (claim, inode)


def test_existing_claim(volume, there, hub):
    there.apply({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "mine"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "longhorn",
                 "resources": {"requests": {"storage": "100Mi"}}},
    })

    there.synced(values(hub, persistence={"existingClaim": "mine"}))

    chat(cluster_ip(there))
    assert [claim["metadata"]["name"] for claim in there.list("pvc")] == ["mine"]
    there.delete_application()
    assert there.get("pvc", "mine")["status"]["phase"] == "Bound"


def test_two_addresses_make_a_dual_stack_service(volume, there, hub):
    both = ["10.88.0.208", "fd10:88::208"]

    there.synced(values(hub, service={"loadBalancerIP": ",".join(both)}))

    service = there.service()
    assert (service["spec"]["ipFamilyPolicy"], service["spec"]["ipFamilies"]) == ("RequireDualStack", ["IPv4", "IPv6"])
    wait_until(lambda: there.address(), "addresses on the Service", 30)
    assert [ingress["ip"] for ingress in there.service()["status"]["loadBalancer"]["ingress"]] == both
    for address in (both[0], f"[{both[1]}]"):
        chat(address)


class TestPoolOnRequest:
    @pytest.fixture
    def labels(self):
        return {"pod-security.kubernetes.io/enforce": "restricted"}

    def test_pool_without_auto_assign(self, volume, there, hub):
        sealed = {"encryptedData": {"loadBalancerIP": seal(there.name, RESERVED)}}
        waiting = there.start_sync(values(hub, sealedSecret=sealed | {"patchJob": {"hook": "PostSync"}}))
        wait_until(lambda: there.service() and there.server_is_ready(), "server ready")

        # PostSync waits for a healthy Service, and the Service for PostSync.
        time.sleep(5)
        assert not waiting.is_over()
        assert there.address() is None
        assert there.job("lb-ip-patch") is None

        waiting.terminate()
        # The default is beside the Service.
        there.synced(values(hub, sealedSecret=sealed))
        assert there.address() == RESERVED
        chat(RESERVED)


def test_embeddings_server(volume, there, hub):
    server = {"completions": False, "embeddings": True, "extraArgs": ["--pooling", "mean", "-ub", 2048]}

    there.synced(values(hub, server=server))

    status, answer = request(f"http://{cluster_ip(there)}:8080/v1/embeddings", {"input": "Hello"})
    assert status == 200
    assert answer["data"][0]["embedding"]


def test_api_key(volume, there, hub):
    there.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"api-key": "one\ntwo\n"}})

    there.synced(values(hub, server={"apiKeySecret": {"name": "keys"}}))

    address = cluster_ip(there)
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    for key in (None, "wrong"):
        assert request(f"http://{address}:8080/v1/chat/completions", body, key)[0] == 401
    chat(address, key="two")


def test_privileged_server_alone(volume, there, hub):
    """The namespace refuses it, and says the server: download and helpers are as restricted as ever."""
    sync = there.start_sync(values(hub, server={"securityContext": {"privileged": True}}))
    wait_until(lambda: there.get("deployment"), "the Deployment", 120)

    assert [job["status"].get("succeeded") for job in there.list("jobs")] == [1, 1]
    wait_until(lambda: "privileged" in there.kubectl("get", "events", "-o", "json").stdout, "a refusal that names it", 60)
    assert there.server_pod() is None
    sync.terminate()


def test_network_policies_are_there_before_the_first_pod(volume, there, hub):
    there.synced(values(hub, networkPolicy={"enabled": True}))

    (server,) = there.list("networkpolicies", SERVER)
    (jobs,) = there.list("networkpolicies", "app.kubernetes.io/component=jobs")
    ensured = there.job("ensure-claim")["metadata"]["creationTimestamp"]
    assert jobs["metadata"]["creationTimestamp"] <= ensured < server["metadata"]["creationTimestamp"]
