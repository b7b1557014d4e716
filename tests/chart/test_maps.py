"""What the user adds to the chart's own maps and lists is merged: no key and no name stands twice.

`render` reads every manifest strictly, so each render of this suite is checked; here are the values
that meet the chart's own entries.
"""

import pytest
import yaml

from chart import SCENARIOS, RenderError, annotations, nested, render
from strict_yaml import NotStrict, objects_of
from value_changes import SEALED, merged

MONITORS = {"metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
                        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}}}}


@pytest.mark.parametrize("text", [
    "kind: A\nkind: B", "a: {b: 1, b: 2}", "matches:", "from: []", "env: [{name: A}, {name: A}]",
    "volumes: [{name: A}, {name: A}]", "volumeMounts: [{mountPath: /a, name: x}, {mountPath: /a, name: y}]"])
def test_a_strict_reader_refuses(text):
    with pytest.raises(NotStrict):
        objects_of(text)


def test_an_objects_own_label_stands_over_the_common_one():
    r = render({**MONITORS, "commonLabels": {"release": "all", "team": "ml"}})
    assert r.one("ServiceMonitor")["metadata"]["labels"]["release"] == "prometheus"
    assert r.one("PrometheusRule")["metadata"]["labels"]["release"] == "prometheus"
    assert r.service["metadata"]["labels"]["release"] == "all"


def test_a_users_scrape_annotations_stand_over_the_charts():
    r = render({"podAnnotations": {"prometheus.io/port": "9000", "prometheus.io/scrape": "false"}})
    notes = r.deployment["spec"]["template"]["metadata"]["annotations"]
    assert (notes["prometheus.io/port"], notes["prometheus.io/scrape"], notes["prometheus.io/path"]) == ("9000", "false", "/metrics")


def test_labels_of_the_user_may_describe_the_release():
    r = render({"commonLabels": {"helm.sh/chart": "parent-1.0", "app.kubernetes.io/version": "2"}})
    assert r.service["metadata"]["labels"]["helm.sh/chart"] == "parent-1.0"


@pytest.mark.parametrize("values", ["commonLabels", "podLabels", "fetch.job.podLabels", "helpers.podLabels"])
@pytest.mark.parametrize("label", ["app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component",
                                   "app.kubernetes.io/managed-by", "modelfetch/claim"])
def test_a_label_that_selects_is_refused(values, label):
    with pytest.raises(RenderError, match=f"{values} sets {label}"):
        render(nested(values, {label: "x"}))


def claim_with(notes, **values):
    return annotations(render({"persistence": {"annotations": notes}, **values}).claim)


def test_sync_options_of_the_claim_are_added_to_those_that_keep_the_model():
    options = claim_with({"argocd.argoproj.io/sync-options": "ServerSideApply=true, Prune=false"})["argocd.argoproj.io/sync-options"]
    assert options.split(",") == ["Prune=false", "Delete=false", "ServerSideApply=true"]


@pytest.mark.parametrize("notes", [
    {"argocd.argoproj.io/sync-options": "Prune=true"}, {"argocd.argoproj.io/sync-options": "Replace=true,Delete=confirm"},
    {"helm.sh/resource-policy": "delete"}, {"meta.helm.sh/release-name": "x"},
    {"argocd.argoproj.io/hook": "PreSync"}, {"helm.sh/hook": "pre-install"}], ids=str)
def test_what_would_lose_the_model_is_refused(notes):
    with pytest.raises(RenderError, match="persistence.annotations"):
        claim_with(notes)


def test_a_wave_apart_from_the_download_is_refused():
    wave = {"argocd.argoproj.io/sync-wave": "3"}
    assert claim_with(wave)["argocd.argoproj.io/sync-wave"] == "3"
    with pytest.raises(RenderError, match="sync-wave"):
        claim_with(wave, fetch={"job": {"hook": "Sync"}})


# Everything of the user's at once, in every scenario.
CROWDED = {
    "commonLabels": {"release": "prometheus", "team": "ml", "helm.sh/chart": "x"},
    "podLabels": {"team": "llm"}, "podAnnotations": {"prometheus.io/scrape": "true", "prometheus.io/path": "/x"},
    "imagePullSecrets": [{"name": "registry"}, {"name": "registry"}],
    "helpers": {"podLabels": {"team": "x"}, "podAnnotations": {"a": "b"}},
    "fetch": {"extraEnv": [{"name": "HF_TOKEN", "value": "x"}, {"name": "SSL_CERT_FILE", "value": "/x"}]},
    "server": {"extraEnv": [{"name": "HOME", "value": "/x"}, {"name": "LLAMA_CACHE", "value": "/x"}],
               "extraVolumes": [{"name": "tmp", "emptyDir": {}}], "extraVolumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]},
    "persistence": {"annotations": {"argocd.argoproj.io/sync-options": "ServerSideApply=true"}},
    "service": {"annotations": {"a": "b"}},
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda p: p.name)
def test_every_scenario_takes_a_users_entries_of_the_charts_names(scenario):
    values = merged(yaml.safe_load(scenario.read_text()) or {}, CROWDED, MONITORS, nested("metrics.podMonitor.enabled", False))
    values.get("server", {}).pop("metrics", None)
    assert render(values).objects


# Texts that YAML reads as something else where they are not quoted.
AWKWARD = ["true", "null", "1e3", "0x10", "12", "yes", "~", "a: b", "#c", "- d", "{e}", "[f]", "*g", "&h", "!i", "%j", "@k", "`l"]
FREE_TEXTS = ["model.alias", "fetch.job.podAnnotations.a", "podAnnotations.a", "service.annotations.a", "persistence.storageClass",
              "service.loadBalancerClass", "autoscaling.metric", "gpu.dra.deviceClassName", "ingresses.completions.className",
              "server.host"]
SHOWN = merged(nested("autoscaling.enabled", True), nested("gpu.dra.enabled", True),
               nested("ingresses.completions", {"enabled": True, "hosts": ["a"]}))


def texts(tree):
    """Every value of a manifest that is no map and no list."""
    if isinstance(tree, dict):
        for value in tree.values():
            yield from texts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from texts(value)
    else:
        yield tree


def count_texts(r, text):
    return sum(found == text for o in r.objects for found in texts(o) if isinstance(found, str))


@pytest.mark.parametrize("text", AWKWARD)
def test_a_text_stays_a_text(text):
    plain = count_texts(render(merged(*(nested(path, "plain-text") for path in FREE_TEXTS), SHOWN)), "plain-text")
    found = count_texts(render(merged(*(nested(path, text) for path in FREE_TEXTS), SHOWN)), text)
    # "true" stands in the render by itself, too.
    assert found >= plain >= len(FREE_TEXTS)


# Names follow the API's pattern, and some of those are numbers or truths to YAML.
NAMES = ["server.apiKeySecret.name", "runtimeClassName", "priorityClassName", "nameOverride", "fullnameOverride",
         "model.hfTokenSecret.name", "fetch.caBundle.configMap", "persistence.existingClaim", "serviceAccount.name",
         "fetch.serviceAccountName", "sealedSecret.nameOverride", "nodeSelector.gpu", "commonLabels.a", "podLabels.a"]


@pytest.mark.parametrize("text", ["true", "null", "no", "y"])
def test_a_name_stays_a_text(text):
    def shape(name):
        r = render(merged(*(nested(path, name) for path in NAMES), {"imagePullSecrets": [{"name": name}]}, SEALED))
        return [[type(t) for t in texts(o)] for o in r.objects]

    assert shape(text) == shape("plain")
