"""Plain Helm: objects without hooks, Jobs that never meet an immutable field, a claim that stays."""

import itertools
import re

import pytest
import yaml

from chart import SCENARIOS, RenderError, annotations, render

PLAIN = {"argocd": {"enabled": False}}
SEALED = {"sealedSecret": {"encryptedData": {"loadBalancerIP": "AgBy3i4O"}}}

# What a release goes through: each value set is installed or upgraded to.
VERSIONS = {
    "first": {},
    "other model": {"model": {"file": "x-GGUF/x.gguf"}},
    "other fetch image": {"images": {"fetch": {"tag": "9.9.9"}}},
    "other resources": {"fetch": {"resources": {"limits": {"memory": "256Mi"}}}},
    "other nodes": {"nodeSelector": {"zone": "a"}},
}


def installed(values):
    return render({**SEALED, **values})


def upgraded(values):
    return render({**SEALED, **values}, "--is-upgrade")


def job_specs(r):
    return {job["metadata"]["name"]: job["spec"] for job in r.all("Job")}


def assert_no_immutable_change(before, after):
    """A Job that Helm finds under its name in both manifests is patched, which its template forbids."""
    old, new = job_specs(before), job_specs(after)
    for name in old.keys() & new.keys():
        assert old[name] == new[name], f"Job {name} would be patched"


@pytest.mark.parametrize("first,second", list(itertools.permutations(VERSIONS, 2)))
def test_upgrade_and_rollback_never_patch_a_job(first, second):
    install = installed(VERSIONS[first])
    upgrade, again = upgraded(VERSIONS[second]), upgraded(VERSIONS[first])
    for before, after in [
        (install, upgrade),  # helm upgrade
        (upgrade, install),  # helm rollback to the first revision
        (upgrade, again),  # upgrade back to the first values
        (again, upgrade),  # helm rollback between upgrades
        (install, again),  # upgrade with the same values
    ]:
        assert_no_immutable_change(before, after)


def test_an_upgrade_with_the_same_values_runs_no_job_again():
    assert upgraded({}).objects == upgraded({}).objects


def test_a_changed_model_is_a_new_job_under_helm():
    before, after = upgraded({}), upgraded(VERSIONS["other model"])
    assert not set(before.names("Job")) & {n for n in after.names("Job") if "download" in n}


def test_a_newly_sealed_address_is_a_new_job_under_helm():
    names = {upgraded({"sealedSecret": {"encryptedData": {"loadBalancerIP": sealed}}}).job("lb-ip-patch")["metadata"]["name"]
             for sealed in ("AgAAAA", "AgBBBB")}
    assert len(names) == 2


def test_an_upgrade_needs_no_claim_helper():
    assert not any("ensure-claim" in o["metadata"]["name"] for o in upgraded({}).objects)


def test_without_argo_cd_nothing_is_made_for_it():
    r = render({**PLAIN, **SEALED})
    assert not any("argocd" in key for o in r.objects for key in annotations(o))
    assert not any("ensure-claim" in o["metadata"]["name"] for o in r.objects)
    assert r.names("Job") == ["llamacpp-app-download-model", "llamacpp-app-lb-ip-patch"]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda p: p.name)
def test_helm_waits_for_no_hook(scenario):
    """Helm gives a hook five minutes; a download may take hours."""
    hooks = {o["metadata"]["name"] for o in render(scenario).objects if "helm.sh/hook" in annotations(o)}
    assert all(name.endswith("-test") for name in hooks)


def test_an_upgrade_may_fetch_while_the_old_server_serves():
    """A hook Job runs before anything of the release is changed; the server's pod then finds its model."""
    values = {**PLAIN, "fetch": {"job": {"preUpgrade": True}}}
    job = render(values, "--is-upgrade").job("download-model")
    assert annotations(job) == {"helm.sh/hook": "pre-upgrade", "helm.sh/hook-delete-policy": "before-hook-creation"}
    assert not annotations(render(values).job("download-model")), "an install has nothing that serves"
    with_argo = render({"fetch": {"job": {"preUpgrade": True}}}, "--is-upgrade").job("download-model")
    assert "helm.sh/hook" not in annotations(with_argo)
    needed = job["spec"]["template"]["spec"]
    assert needed["serviceAccountName"] == "default", "what a hook needs is there before the release is changed"
    assert not [v for v in needed["volumes"] if "configMap" in v or "secret" in v]


@pytest.mark.parametrize("suffix,is_upgrade,hashed", [
    ("auto", False, False), ("auto", True, True), ("hash", False, True), ("hash", True, True),
    ("none", False, False), ("none", True, False)])
def test_job_name_suffix(suffix, is_upgrade, hashed):
    options = ["--is-upgrade"] if is_upgrade else []
    name = render({"jobNameSuffix": suffix}, *options).job("download-model")["metadata"]["name"]
    assert (name != "llamacpp-app-download-model") is hashed


def test_names_fit_into_63_characters():
    r = render({**SEALED, "jobNameSuffix": "hash"}, release="a" * 53)
    for o in r.objects:
        assert len(o["metadata"]["name"]) <= 63
    assert len(set(r.names("Job"))) == 3


def test_the_claim_survives_uninstall_and_is_adopted_by_the_next_install():
    notes = annotations(render(PLAIN).claim)
    assert notes["helm.sh/resource-policy"] == "keep"
    assert notes["meta.helm.sh/release-name"] == "llamacpp-app"
    assert notes["meta.helm.sh/release-namespace"] == "applications"
    assert render(PLAIN).claim["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def test_one_gpu_is_released_before_it_is_taken_again():
    assert render().deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_helm_test_asks_the_server_from_the_small_image():
    r = render({"server": {"healthPath": "/up"}})
    pod = r.one("Pod")
    (container,) = pod["spec"]["containers"]
    assert annotations(pod)["helm.sh/hook"] == "test"
    assert container["image"] == r.guard["image"] != r.server["image"]
    assert "affinity" not in pod["spec"]
    assert container["args"] == ["cluster", "check-server", "http://llamacpp-app:8080/up", "http://llamacpp-app:8080/v1/models"]


def test_helm_test_asks_only_what_is_open_when_there_are_api_keys():
    pod = render({"server": {"apiKeySecret": {"name": "keys"}}}).one("Pod")
    assert pod["spec"]["containers"][0]["args"][-1] == "http://llamacpp-app:8080/health"


def test_extra_objects_may_be_maps_or_templates():
    objects = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-a", "labels": {}}},
               yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "labels": {}}})]
    assert sorted(render({"extraObjects": objects}).names("ConfigMap")) == ["b", "llamacpp-app-a"]


def test_an_extra_object_may_loop_over_values():
    text = """
{{- range $key, $value := .Values.podLabels }}
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ $key }}"}
data: {label: "{{ $value }}", at: "{{ now }}"}
{{ end }}"""
    assert render({"extraObjects": [text], "podLabels": {"team": "a"}}).one("ConfigMap")["data"]["label"] == "a"


def test_raw_objects_keep_their_braces():
    """A chat template or a dashboard is no Helm template."""
    braces = "{% for m in messages %}{{ m['content'] }}{{ raise_exception('x') }}{% endfor %} {{ $labels.pod }}"
    r = render({"rawObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "chat"}, "data": {"t": braces}}]})
    assert r.one("ConfigMap")["data"]["t"] == braces


@pytest.mark.parametrize("release,fullname", [
    ("team.llama", "team-llama-llamacpp-app"), ("20b", "llama-20b-llamacpp-app"), ("llamacpp-app.v2", "llamacpp-app-v2"),
    ("1." + "a" * 51, "llama-1-" + "a" * 40)])
def test_any_release_name_gives_a_valid_service_name(release, fullname):
    """A Service's name is a DNS-1035 label; a release's may begin with a digit and have dots."""
    r = render(release=release)
    assert r.names("Service") == r.names("Deployment") == [fullname]
    for o in r.objects:
        assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", o["metadata"]["name"])


def test_a_parent_charts_condition_is_accepted_and_alone_turns_nothing_off():
    assert render({"enabled": True}).deployment
    with pytest.raises(RenderError, match="enabled=false is a parent chart's condition"):
        render({"enabled": False})
