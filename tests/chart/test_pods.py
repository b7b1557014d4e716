"""Every pod runs as Pod Security's `restricted` level asks, and where its volume and image are."""

import re

import pytest
import yaml

from chart import CHART, SCENARIOS, environment, nested, render

DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())


def at(tree, path):
    """The value at a path."""
    for key in path.split("."):
        tree = tree[key]
    return tree


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
        allowed = {"name", "persistentVolumeClaim", "emptyDir", "configMap", "secret", "downwardAPI", "projected"}
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
        if name not in r.names("Deployment"):
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


def test_the_identity_of_a_pod_is_mounted_where_the_fetch_reads_it_and_nowhere_else():
    r = render({"model": {"hfOidc": {"resource": "me", "audience": "https://huggingface.co"}}})
    (download,) = r.job("download-model")["spec"]["template"]["spec"]["containers"]
    for container in download, r.guard:
        path = environment(container)["MODELFETCH_ID_TOKEN_FILE"]
        (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "id-token")
        assert path == f"{mount['mountPath']}/token" and mount["readOnly"]
        assert environment(container)["HF_OIDC_RESOURCE"] == "me"
    assert "id-token" not in {mount["name"] for mount in r.server["volumeMounts"]}
    for pod in r.job("download-model")["spec"]["template"]["spec"], r.deployment["spec"]["template"]["spec"]:
        (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "id-token")
        assert volume["projected"]["sources"] == [
            {"serviceAccountToken": {"audience": "https://huggingface.co", "expirationSeconds": 3600, "path": "token"}}]
        # The API server's own token is not what is mounted.
        assert pod["automountServiceAccountToken"] is False


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


def test_a_model_is_weighed_before_its_first_byte_where_the_memory_of_a_gpu_is_known():
    assert "initContainers" not in render().job("download-model")["spec"]["template"]["spec"]
    values = {
        "gpu": {"memory": "22Gi", "number": 2, "checkArchitecture": True},
        "server": {"slots": 8, "extraArgs": ["--cache-type-k", "q8_0"]},
    }
    spec = render(values).job("download-model")["spec"]
    [check] = spec["template"]["spec"]["initContainers"]
    assert (check["name"], check["args"]) == ("check", ["inspect"])
    variables = environment(check)
    assert variables["MODELFETCH_FITS"] == "22Gi\n22Gi"
    assert variables["MODELFETCH_SERVER_ARGS"].split("\n") == render(values).server_args
    assert "gpt-oss" in variables["MODELFETCH_ARCHITECTURES"].split(",")
    of_check = next(r["onExitCodes"] for r in spec["podFailurePolicy"]["rules"]
                    if r.get("onExitCodes", {}).get("containerName") == "check")
    assert {24, 25} <= set(of_check["values"])
    in_pod = render({**values, "fetch": {"mode": "initContainer"}}).deployment["spec"]["template"]["spec"]
    assert [c["name"] for c in in_pod["initContainers"]] == ["check", "fetch"]


def test_a_rollout_may_take_as_long_as_download_and_startup():
    def seconds(values):
        return render(values).deployment["spec"]["progressDeadlineSeconds"]

    for downloads_in_pod in ({"fetch": {"mode": "initContainer"}}, {"argocd": {"enabled": False}}):
        assert seconds(downloads_in_pod) > 21600 + 10 * 180
    for download_is_over in ({}, {"fetch": {"mode": "none"}}, {"fetch": {"job": {"hook": "Sync"}}}):
        assert 10 * 180 < seconds(download_is_over) < 3600


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


def policies(values):
    """The policies of the server and of the Jobs."""
    r = render(values)
    assert r.names("NetworkPolicy") == ["llamacpp-app", "llamacpp-app-jobs"]
    return r, r.one("NetworkPolicy", "llamacpp-app")["spec"], r.one("NetworkPolicy", "llamacpp-app-jobs")["spec"]


def selects(spec, labels):
    """True when a policy's pod selector selects a pod of these labels."""
    selector = spec["podSelector"]
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", []))


CLOSED = {"networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}]}}
SEALED = {"sealedSecret": {"encryptedData": {"loadBalancerIP": "AgBy3i4O"}}}


def test_each_pod_has_its_network_policy():
    r, server, jobs = policies({**CLOSED, **SEALED})
    assert selects(server, r.deployment["spec"]["template"]["metadata"]["labels"])
    assert not selects(jobs, r.deployment["spec"]["template"]["metadata"]["labels"])
    pods = [job["spec"]["template"]["metadata"]["labels"] for job in r.all("Job")] + [r.one("Pod")["metadata"]["labels"]]
    assert len(pods) == 4
    for labels in pods:
        assert selects(jobs, labels) and not selects(server, labels)


def test_the_server_has_no_way_out_once_its_model_is_there():
    _, server, jobs = policies(CLOSED)
    assert server["policyTypes"] == ["Ingress", "Egress"] and "egress" not in server
    assert "ingress" not in jobs
    for fetches in ({"argocd": {"enabled": False}}, {"fetch": {"mode": "initContainer"}}):
        _, server, jobs = policies({**CLOSED, **fetches})
        assert server["egress"] == jobs["egress"][:-1]


def test_the_jobs_reach_the_hub_any_api_server_and_the_clusters_dns_alone():
    _, _, jobs = policies(CLOSED)
    dns, ports, _ = jobs["egress"]
    assert dns["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                          "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}]
    assert [p["port"] for p in dns["ports"]] == [53, 53]
    assert {443, 6443, 16443} <= {p["port"] for p in ports["ports"]}


def test_the_network_policy_lets_helm_test_reach_the_server():
    r, server, jobs = policies(CLOSED)
    test, pod = r.one("Pod")["metadata"]["labels"], r.deployment["spec"]["template"]["metadata"]["labels"]
    assert any(selects({"podSelector": peer.get("podSelector", {"matchLabels": {"no": "peer"}})}, test)
               for peer in server["ingress"][0]["from"])
    (to,) = jobs["egress"][-1]["to"]
    assert selects(to, pod)
    assert jobs["egress"][-1]["ports"] == [{"port": 8080, "protocol": "TCP"}]


def test_the_jobs_policy_is_there_before_the_first_pod():
    """In a namespace that denies everything, PreSync's pods would wait for it in vain."""
    for hook, wave in (("PreSync", "-3"), ("Sync", "-2")):
        r, _, _ = policies({**CLOSED, "fetch": {"job": {"hook": hook}}})
        notes = r.one("NetworkPolicy", "llamacpp-app-jobs")["metadata"]["annotations"]
        assert notes["argocd.argoproj.io/sync-wave"] == wave
        assert notes.get("argocd.argoproj.io/hook", "Sync") == hook


def test_pods_of_jobs_and_helpers_take_labels_and_annotations():
    """A mesh's sidecar keeps a Job from ending; policies ask for labels."""
    mesh = {"podLabels": {"sidecar.istio.io/inject": "false"}, "podAnnotations": {"linkerd.io/inject": "disabled"}}
    r = render({**SEALED, "helpers": mesh, "fetch": {"job": mesh}})
    metadata = [job["spec"]["template"]["metadata"] for job in r.all("Job")] + [r.one("Pod")["metadata"]]
    assert len(metadata) == 4
    for m in metadata:
        assert m["labels"]["sidecar.istio.io/inject"] == "false"
        assert m["annotations"]["linkerd.io/inject"] == "disabled"


def test_privileges_of_the_server_reach_no_other_container():
    """Devices without a plugin need a privileged server. The API refuses one that may not gain privileges."""
    r = render({"server": {"securityContext": {"privileged": True}}})
    assert r.server["securityContext"] == {"privileged": True, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    r2 = render({"server": {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}})
    assert "allowPrivilegeEscalation" not in r2.server["securityContext"]
    for name, pod in r.pods():
        for container in containers(pod):
            assert container["name"] == "server" or "privileged" not in container["securityContext"], name


def test_groups_of_the_server_reach_no_job():
    r = render({"server": {"podSecurityContext": {"supplementalGroups": [44, 992]}}})
    assert r.server_pod["securityContext"]["supplementalGroups"] == [44, 992]
    assert r.server_pod["securityContext"]["runAsNonRoot"] is True
    assert all("supplementalGroups" not in job["spec"]["template"]["spec"]["securityContext"] for job in r.all("Job"))


def test_the_download_may_have_a_security_context_of_its_own():
    r = render({"fetch": {"securityContext": {"runAsUser": 7}}})
    (download,) = r.job("download-model")["spec"]["template"]["spec"]["containers"]
    assert download["securityContext"]["runAsUser"] == r.guard["securityContext"]["runAsUser"] == 7
    assert download["securityContext"]["allowPrivilegeEscalation"] is False
    assert "runAsUser" not in r.server["securityContext"]


class TestWithoutNull:
    """What only `null` removed: Argo CD's `valuesObject` and Flux drop a null before helm sees it."""

    def test_nodes_need_no_label(self):
        for values in ({"gpu": {"nodeLabel": False}}, {"gpu": {"enabled": False}}):
            assert all("nodeSelector" not in pod for _, pod in render(values).pods())

    def test_nodes_may_have_another_label(self):
        r = render({"gpu": {"nodeLabel": False}, "nodeSelector": {"node-role.kubernetes.io/worker": ""}})
        assert {str(pod["nodeSelector"]) for _, pod in r.pods()} == {"{'node-role.kubernetes.io/worker': ''}"}

    def test_replicas_are_left_to_an_autoscaler(self):
        assert "replicas" not in render({"autoscaling": {"external": True}}).deployment["spec"]

    def test_openshift_chooses_user_and_groups(self):
        for _, pod in render({"openshift": {"enabled": True}}).pods():
            assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(pod["securityContext"])
            assert pod["securityContext"]["runAsNonRoot"] is True

    def test_an_empty_value_takes_a_key_out(self):
        r = render({"podSecurityContext": {"fsGroup": "", "runAsUser": ""}, "securityContext": {"readOnlyRootFilesystem": ""},
                    "resources": {"limits": {"memory": ""}, "requests": {"memory": ""}},
                    "fetch": {"resources": {"limits": {"memory": ""}}}})
        assert "fsGroup" not in r.server_pod["securityContext"] and "runAsUser" not in r.server_pod["securityContext"]
        assert "readOnlyRootFilesystem" not in r.server["securityContext"]
        assert r.server["resources"] == {"limits": {"nvidia.com/gpu": 1}}
        assert "limits" not in r.guard["resources"]


OPEN_DEFAULTS = [f"{context}.{key}" for context in ("podSecurityContext", "securityContext") for key in DEFAULTS[context]] + [
    f"{resources}.{kind}.{name}" for resources in ("resources", "fetch.resources")
    for kind, quantities in at(DEFAULTS, resources).items() for name in quantities]


def containers_with(r, path):
    """What the pods have of a default inside a map, wherever its map is rendered."""
    *where, key = path.split(".")
    contexts = [pod.get("securityContext", {}) for _, pod in r.pods()]
    inside = [c for _, pod in r.pods() for c in containers(pod)]
    found = {
        "podSecurityContext": contexts,
        "securityContext": [c.get("securityContext", {}) for c in inside],
        "resources": [r.server.get("resources", {}).get(where[-1], {})],
        "fetch": [r.guard.get("resources", {}).get(where[-1], {})],
    }[where[0]]
    return [c for c in found if key in c]


@pytest.mark.parametrize("path", OPEN_DEFAULTS)
def test_every_default_inside_a_map_can_be_taken_out_without_null(path):
    assert containers_with(render(), path)
    assert not containers_with(render(nested(path, "")), path)


def test_the_users_entry_stands_in_the_place_of_the_charts():
    r = render({"server": {
        "extraEnv": [{"name": "HOME", "value": "/data"}],
        "extraVolumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
        "extraVolumeMounts": [{"name": "scratch", "mountPath": "/tmp/"}]}})
    assert environment(r.server)["HOME"] == "/data"
    assert [v for v in r.server_pod["volumes"] if v["name"] == "tmp"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}]
    assert [m["name"] for m in r.server["volumeMounts"]] == ["models", "scratch"]


def test_another_number_of_gpus_is_another_claim_template():
    """A template's spec is immutable: under one name another count would never arrive."""
    def template(number):
        r = render({"gpu": {"number": number, "dra": {"enabled": True}}})
        (claim,) = r.server_pod["resourceClaims"]
        assert r.names("ResourceClaimTemplate") == [claim["resourceClaimTemplateName"]]
        return claim["resourceClaimTemplateName"]

    assert template(1) != template(2) and template(1) == template(1)


@pytest.mark.parametrize("given,claim", [
    ({"claimTemplateName": "mine"}, {"name": "gpu", "resourceClaimTemplateName": "mine"}),
    ({"claimName": "shared"}, {"name": "gpu", "resourceClaimName": "shared"})])
def test_a_device_claim_of_ones_own(given, claim):
    r = render({"gpu": {"dra": {"enabled": True, **given}}})
    assert r.server_pod["resourceClaims"] == [claim]
    assert r.server["resources"]["claims"] == [{"name": "gpu"}]
    assert not r.all("ResourceClaimTemplate")


def test_devices_are_selected_and_watched():
    r = render({"gpu": {"dra": {"enabled": True, "adminAccess": True, "selectors": ["device.driver == 'gpu.nvidia.com'"]}}})
    (request,) = r.one("ResourceClaimTemplate")["spec"]["spec"]["devices"]["requests"]
    assert request["exactly"]["selectors"] == [{"cel": {"expression": "device.driver == 'gpu.nvidia.com'"}}]
    assert request["exactly"]["adminAccess"] is True


@pytest.mark.parametrize("volume", [
    {"nfs": {"server": "nas", "path": "/models"}}, {"hostPath": {"path": "/models", "type": "Directory"}},
    {"image": {"reference": "registry.example.com/models:1", "pullPolicy": "IfNotPresent"}}], ids=lambda v: next(iter(v)))
def test_models_may_be_on_any_volume(volume):
    fetch = {"fetch": {"mode": "none"}, "model": {"localFile": "a.gguf"}} if "image" in volume else {}
    r = render({"persistence": {"volume": volume, "subPath": "llm"}, **fetch})
    assert not r.all("PersistentVolumeClaim") and "ensure-claim" not in str(r.names("Job"))
    assert "affinity" not in r.server_pod, "no node has it alone"
    for _, pod in r.pods():
        found = [v for v in pod.get("volumes", []) if v["name"] == "models"]
        assert found in ([], [{"name": "models", **volume}])
    (mount,) = [m for m in r.server["volumeMounts"] if m["name"] == "models"]
    assert mount == {"name": "models", "mountPath": "/models", "subPath": "llm", "readOnly": True}


def test_containers_beside_the_server_come_as_they_are():
    proxy = {"name": "proxy", "image": "p", "resources": {"limits": {"memory": "1Gi"}}}
    r = render({"sidecars": [proxy], "extraInitContainers": [{"name": "wait", "image": "w"}]})
    assert r.server_pod["containers"][1] == proxy
    assert [c["name"] for c in r.server_pod["initContainers"]] == ["fetch", "wait"]


def test_what_the_chart_does_not_start_it_does_not_test():
    """Another server says something else at its health path."""
    assert not render({"server": {"args": []}}).all("Pod")
    assert not render({"server": {"command": ["/x"]}}).all("Pod")


class TestModelFolder:
    """Releases on one claim, each with its folder."""

    VALUES = {"persistence": {"existingClaim": "shared"}, "model": {"extraFiles": ["mmproj-F16.gguf"]}}

    def test_each_model_has_its_folder(self):
        def folder(name):
            r = render({**self.VALUES, "model": {**self.VALUES["model"], "dir": name}})
            assert r.server_args[1] == f"/models/{name}/gpt-oss-20b-mxfp4.gguf"
            return environment(r.guard)["MODELFETCH_DIR"]

        assert (folder("a"), folder("team/b")) == ("/models/a", "/models/team/b")

    def test_without_one_the_documented_path_stays_and_a_warning_stands(self):
        r = render(self.VALUES)
        assert r.server_args[1] == "/models/gpt-oss-20b-mxfp4.gguf"
        assert "set model.dir" in r.deployment["metadata"]["annotations"]["modelfetch/warnings"]
        assert "set model.dir" not in str(render({**self.VALUES, "model": {"dir": "a"}}).deployment["metadata"])


class TestAlerts:
    """Alerts say what their names say, of this release alone."""

    @staticmethod
    def expression(alert, values=None):
        r = render({"metrics": {"prometheusRule": {"enabled": True}}, **(values or {})})
        (rule,) = [rule for rule in r.one("PrometheusRule")["spec"]["groups"][0]["rules"] if rule["alert"] == alert]
        return " ".join(rule["expr"].split())

    def test_a_failed_download_is_a_failed_job(self):
        assert self.expression("LlamaModelDownloadFailed") == (
            'kube_job_failed{namespace="applications",job_name="llamacpp-app-download-model",condition="true"} > 0')

    def test_without_a_job_there_is_no_alert_for_it(self):
        rules = render({"metrics": {"prometheusRule": {"enabled": True}}, "fetch": {"mode": "initContainer"}}).one("PrometheusRule")
        assert "LlamaModelDownloadFailed" not in str(rules)

    def test_a_server_scaled_to_zero_is_not_down(self):
        assert self.expression("LlamaServerDown") == (
            'kube_deployment_status_replicas_available{namespace="applications",deployment="llamacpp-app"} == 0 '
            'and kube_deployment_spec_replicas{namespace="applications",deployment="llamacpp-app"} > 0')

    @pytest.mark.parametrize("pod,matches", [
        ("llamacpp-app-7d9f8c6b5-x2x4z", True),
        ("llamacpp-app-two-7d9f8c6b5-x2x4z", False),
        ("llamacpp-app-2-7d9f8c6b5-x2x4z", False)])
    def test_waiting_requests_are_those_of_this_release(self, pod, matches):
        pattern = re.search('pod=~"([^"]+)"', self.expression("LlamaRequestsWaiting"))[1]
        assert bool(re.fullmatch(pattern, pod)) is matches


def test_the_monitors_send_one_key_of_a_list():
    keys = {"server": {"apiKeySecret": {"name": "keys"}}, "metrics": {"podMonitor": {"enabled": True}}}
    one = {**keys, "metrics": {**keys["metrics"], "apiKeySecret": {"name": "scraper", "key": "one"}}}

    def sent(values):
        return render(values).one("PodMonitor")["spec"]["podMetricsEndpoints"][0]["authorization"]["credentials"]

    assert sent(one) == {"name": "scraper", "key": "one"}
    assert sent(keys) == {"name": "keys", "key": "api-key"}
    assert "metrics.apiKeySecret" in str(render(keys).deployment["metadata"])
    assert "metrics.apiKeySecret" not in str(render(one).deployment["metadata"])
    assert "authorization" not in str(render({"metrics": {**one["metrics"]}}).one("PodMonitor"))
