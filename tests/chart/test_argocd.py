"""What Argo CD is told: phases, waves, and which objects it never deletes."""

import json

import pytest

from chart import SCENARIOS, annotations, environment, render

HOOK, WAVE = "argocd.argoproj.io/hook", "argocd.argoproj.io/sync-wave"
PHASES = {"PreSync": 0, "Sync": 1, "PostSync": 2}
SEALED = {"sealedSecret": {"encryptedData": {"loadBalancerIP": "AgBy3i4O"}}}


def order(o):
    """(phase, wave) in which Argo CD applies the object."""
    notes = annotations(o)
    return PHASES[notes.get(HOOK, "Sync")], int(notes.get(WAVE, 0))


def needs(pod):
    """(kind, name) of everything a pod can't start without."""
    yield "ServiceAccount", pod["serviceAccountName"]
    for volume in pod.get("volumes", []):
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]


def test_first_sync_claims_then_downloads_then_serves():
    r = render(SEALED)
    ensure, download = order(r.job("ensure-claim")), order(r.job("download-model"))
    assert ensure < download < order(r.deployment) == order(r.job("lb-ip-patch"))
    assert download[0] == PHASES["PreSync"]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda p: p.name)
def test_what_a_hook_needs_is_there_before_it(scenario):
    """No hook waits for an object of a later phase or wave: that sync would never end."""
    r = render(scenario)
    known = {(o["kind"], o["metadata"]["name"]): o for o in r.objects}
    for job in r.all("Job"):
        for kind, name in needs(job["spec"]["template"]["spec"]):
            needed = known.get((kind, name))
            if needed is None or (kind == "PersistentVolumeClaim" and ensured(r, name)):
                continue
            assert order(needed) <= order(job), f"{job['metadata']['name']} needs {kind} {name}, which comes later"


def ensured(r, claim):
    """True when the claim helper makes the claim before the download."""
    manifest = claim_manifest(r)
    return manifest is not None and manifest["metadata"]["name"] == claim


def claim_manifest(r):
    jobs = [j for j in r.all("Job") if j["metadata"]["name"].endswith("ensure-claim")]
    if not jobs:
        return None
    return json.loads(jobs[0]["spec"]["template"]["metadata"]["annotations"]["modelfetch/claim-manifest"])


@pytest.mark.parametrize("values", [{}, {"model": {"size": "1Ti"}, "commonLabels": {"team": "ml"},
                                         "persistence": {"storageClass": "-", "annotations": {"a": "b"}}}], ids=str)
def test_the_helper_makes_the_very_claim_of_the_chart(values):
    r = render(values)
    assert claim_manifest(r) == r.claim


def test_the_claim_is_no_hook_and_is_neither_pruned_nor_deleted():
    """Argo CD deletes a hook at every sync, whatever else it is annotated with."""
    for values in ({}, {"fetch": {"job": {"hook": "Sync"}}}):
        notes = annotations(render(values).claim)
        assert HOOK not in notes and "helm.sh/hook" not in notes
        assert notes["argocd.argoproj.io/sync-options"] == "Prune=false,Delete=false"
        assert notes["helm.sh/resource-policy"] == "keep"


def test_sync_hook_shares_its_wave_with_the_claim_and_needs_no_rights():
    """A claim of a WaitForFirstConsumer class is never healthy in a wave before its first consumer."""
    r = render({"fetch": {"job": {"hook": "Sync"}}})
    assert order(r.claim) == order(r.job("download-model")) == (PHASES["Sync"], -1)
    assert r.names("Job") == ["llamacpp-app-download-model"]
    assert not r.all("Role")


def test_outside_sync_mode_the_claim_shares_its_wave_with_the_server():
    for values in ({}, {"fetch": {"mode": "initContainer"}}, {"fetch": {"mode": "none"}}):
        r = render(values)
        assert order(r.claim) == order(r.deployment)


def test_an_existing_claim_needs_no_helper():
    r = render({"persistence": {"existingClaim": "mine"}})
    assert r.names("Job") == ["llamacpp-app-download-model"]
    assert not r.all("Role") and not r.all("PersistentVolumeClaim")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda p: p.name)
def test_no_object_is_both_hook_and_resource(scenario):
    r = render(scenario)
    identities = [(o["kind"], o["metadata"]["name"]) for o in r.objects]
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda p: p.name)
def test_hooks_are_made_anew_and_never_share_a_helm_hook(scenario):
    for o in render(scenario).objects:
        notes = annotations(o)
        if HOOK in notes:
            assert "BeforeHookCreation" in notes["argocd.argoproj.io/hook-delete-policy"].split(",")
            assert "helm.sh/hook" not in notes


def test_claim_helper_may_only_see_its_claim_and_create():
    (role,) = render().all("Role")
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "resourceNames": ["llamacpp-app"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["create"]},
    ]


def test_who_may_create_claims_goes_with_the_sync_that_needed_it():
    for o in render().objects:
        if o["metadata"]["name"].endswith("ensure-claim"):
            policies = annotations(o)["argocd.argoproj.io/hook-delete-policy"].split(",")
            # The Job stays for its log; without its account it can do nothing.
            assert ("HookSucceeded" in policies and "HookFailed" in policies) is (o["kind"] != "Job"), o["kind"]


def test_claim_helper_reads_its_manifest_without_a_config_map():
    pod = render().job("ensure-claim")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == ["cluster", "ensure-claim", "--manifest", "/etc/modelfetch/claim.json"]
    assert container["volumeMounts"][0]["mountPath"] == "/etc/modelfetch"
    assert pod["volumes"][0]["downwardAPI"]["items"] == [{
        "path": "claim.json", "fieldRef": {"fieldPath": "metadata.annotations['modelfetch/claim-manifest']"}}]


def test_address_job_may_only_touch_its_service_and_gets_the_address_from_the_kubelet():
    r = render({**SEALED, "persistence": {"existingClaim": "mine"}})
    (role,) = r.all("Role")
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["services"], "resourceNames": ["llamacpp-app"], "verbs": ["patch"]}]
    (container,) = r.job("lb-ip-patch")["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["cluster", "patch-service"]
    assert environment(container) == {"MODELFETCH_SERVICE": "llamacpp-app", "MODELFETCH_SERVICE_PROVIDER": "metallb"}
    assert annotations(r.service) == {}, "the chart must not own the annotation that the Job writes"


def test_the_address_does_not_wait_for_a_healthy_service():
    """A Service without an address is never healthy, so PostSync would wait for ever where the pool gives none by itself."""
    r = render(SEALED)
    assert order(r.job("lb-ip-patch")) == order(r.service)
    late = render({"sealedSecret": {**SEALED["sealedSecret"], "patchJob": {"hook": "PostSync"}}})
    assert order(late.job("lb-ip-patch")) == (PHASES["PostSync"], 0)


def test_a_missing_sealed_secrets_controller_does_not_stop_the_dry_run():
    notes = annotations(render(SEALED).one("SealedSecret"))
    assert notes["argocd.argoproj.io/sync-options"] == "SkipDryRunOnMissingResource=true"
