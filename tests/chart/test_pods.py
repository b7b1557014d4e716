"""Every pod runs as Pod Security's `restricted` level asks, and where its volume and image are."""

import pytest

from chart import SCENARIOS, environment, render


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda p: p.name)
def test_pods_are_restricted(scenario):
    for name, pod in render(scenario).pods():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), name
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["readOnlyRootFilesystem"] is True
        allowed = {"name", "persistentVolumeClaim", "emptyDir", "configMap", "secret", "downwardAPI"}
        assert all(set(volume) <= allowed for volume in pod.get("volumes", [])), name


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda p: p.name)
def test_only_the_helpers_hold_a_token(scenario):
    for name, pod in render(scenario).pods():
        helper = any(part in name for part in ("ensure-claim", "lb-ip-patch"))
        assert pod["automountServiceAccountToken"] is helper, name


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda p: p.name)
def test_only_the_server_asks_for_gpus_and_their_runtime(scenario):
    r = render(scenario)
    for name, pod in r.pods():
        if name != r.deployment["metadata"]["name"]:
            assert "runtimeClassName" not in pod
            assert "nvidia.com" not in str([c.get("resources") for c in containers(pod)])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda p: p.name)
def test_every_container_has_bounded_memory(scenario):
    for name, pod in render(scenario).pods():
        for container in containers(pod):
            assert "memory" in container["resources"]["limits"], f"{name}/{container['name']}"


def volume_affinity(pod):
    terms = pod.get("affinity", {}).get("podAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", [])
    return [t["labelSelector"]["matchLabels"] for t in terms if t["topologyKey"] == "kubernetes.io/hostname"]


def test_download_and_server_share_the_node_of_a_read_write_once_volume():
    r = render()
    server, download = r.deployment["spec"]["template"], r.job("download-model")["spec"]["template"]
    for template in (server, download):
        # Both select a label that both carry, so that either may come first.
        assert volume_affinity(template["spec"]) == [{"modelfetch/claim": "llamacpp-app"}]
        assert template["metadata"]["labels"]["modelfetch/claim"] == "llamacpp-app"
    assert server["spec"]["nodeSelector"] == download["spec"]["nodeSelector"]
    assert server["spec"]["tolerations"] == download["spec"]["tolerations"]


def test_releases_on_one_existing_claim_share_its_node():
    r = render({"persistence": {"existingClaim": "shared"}}, release="other")
    assert volume_affinity(r.server_pod) == [{"modelfetch/claim": "shared"}]


def test_a_shared_volume_binds_no_node():
    r = render({"persistence": {"accessModes": ["ReadWriteMany"]}})
    assert "affinity" not in r.server_pod


def test_a_users_affinity_is_kept():
    own = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}, "nodeAffinity": {"x": 1}}
    affinity = render({"affinity": own}).server_pod["affinity"]
    assert affinity["nodeAffinity"] == {"x": 1}
    terms = affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert [t["topologyKey"] for t in terms] == ["zone", "kubernetes.io/hostname"]


def test_helpers_run_where_the_local_image_is():
    for name, pod in render().pods():
        if not name.endswith("-test"):
            assert pod["nodeSelector"] == {"gpu": "true"}, name
        assert pod["tolerations"][0]["key"] == "nvidia.com/gpu", name


def test_the_guard_is_the_download_itself():
    r = render({"model": {"hfTokenSecret": {"name": "hf"}}})
    (download,) = r.job("download-model")["spec"]["template"]["spec"]["containers"]
    # A restarted server asks nobody about a model that is there and verified.
    guard = dict(r.guard, env=[entry for entry in r.guard["env"] if entry["name"] != "MODELFETCH_PREFER_OFFLINE"])
    assert guard == download
    assert environment(r.guard)["MODELFETCH_PREFER_OFFLINE"] == "true"
    assert environment(r.guard)["MODELFETCH_REPO"] == "ggml-org/gpt-oss-20b-GGUF"


def test_without_a_job_the_init_container_asks_the_hub():
    r = render({"fetch": {"mode": "initContainer"}})
    assert "MODELFETCH_PREFER_OFFLINE" not in environment(r.guard)


def test_the_server_reads_the_volume_and_writes_only_to_tmp():
    mounts = {m["mountPath"]: m for m in render().server["volumeMounts"]}
    assert mounts["/models"]["readOnly"] is True
    assert set(mounts) == {"/models", "/tmp"}
    assert environment(render().server)["HOME"] == "/tmp"


def test_the_job_fails_at_once_on_what_another_attempt_cannot_change():
    spec = render().job("download-model")["spec"]
    disruption, final = spec["podFailurePolicy"]["rules"]
    assert disruption["action"] == "Ignore"
    assert final["action"] == "FailJob"
    assert final["onExitCodes"]["values"] == [2, 10, 11, 12, 20, 21, 22]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["podReplacementPolicy"] == "Failed"


def test_a_rollout_may_take_as_long_as_download_and_startup():
    seconds = render().deployment["spec"]["progressDeadlineSeconds"]
    assert seconds > 21600 + 10 * 180
    assert render({"fetch": {"mode": "none"}}).deployment["spec"]["progressDeadlineSeconds"] < 3600


@pytest.mark.parametrize("change", [
    {"model": {"revision": "v2"}}, {"model": {"sha256": "a" * 64}}, {"model": {"file": "x-GGUF/x.gguf"}},
    {"model": {"extraFiles": ["m.gguf"]}}], ids=str)
def test_a_changed_model_restarts_the_server_even_without_the_guard(change):
    unguarded = {"fetch": {"guard": False}}
    before, after = render(unguarded), render({**unguarded, **change})
    assert before.deployment["spec"]["template"] != after.deployment["spec"]["template"]


def test_a_new_chart_release_alone_restarts_nothing():
    labels = render().deployment["spec"]["template"]["metadata"]["labels"]
    assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(labels)


def test_api_keys_close_annotation_scraping_and_open_the_monitors():
    r = render({"server": {"apiKeySecret": {"name": "keys"}}, "metrics": {"serviceMonitor": {"enabled": True}}})
    assert "prometheus.io/scrape" not in r.deployment["spec"]["template"]["metadata"]["annotations"]
    (endpoint,) = r.one("ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["authorization"] == {"type": "Bearer", "credentials": {"name": "keys", "key": "api-key"}}


def test_no_secret_is_in_any_argument():
    r = render({"model": {"hfTokenSecret": {"name": "hf"}}, "server": {"apiKeySecret": {"name": "keys"}},
                "sealedSecret": {"encryptedData": {"loadBalancerIP": "AgBy3i4O"}}})
    for _, pod in r.pods():
        for container in containers(pod):
            assert "$(" not in str(container.get("args"))


def test_the_network_policy_lets_helm_test_reach_the_server():
    r = render({"networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}]}})
    spec, test_labels = r.one("NetworkPolicy")["spec"], r.one("Pod")["metadata"]["labels"]
    release = spec["podSelector"]["matchLabels"]
    assert release.items() <= test_labels.items()
    assert {"podSelector": {"matchLabels": release}} in spec["ingress"][0]["from"]
    assert {"ports": [{"port": 8080, "protocol": "TCP"}], "to": [{"podSelector": {"matchLabels": release}}]} in spec["egress"]
