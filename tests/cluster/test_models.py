"""Several models: one download, one router; and several releases on one claim."""

import cluster
from chart import CHART
from cluster import FETCHED, RELEASE, SERVER, merged, padded_model, request, values
from node import wait_until


def models_values(hub, models, **more):
    """The defaults of the journeys, with models in place of the one."""
    wanted = merged(values(hub), more)
    wanted["model"] = {"size": "200Mi"}
    return wanted | {"models": [{"repo": hub.repo, **model} for model in models]}


def ask(there, model):
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    return request(f"http://{there.service()['spec']['clusterIP']}:8080/v1/chat/completions", body)[0]


def test_one_download_and_one_router_for_several_models(volume, there, tmp_path):
    new = padded_model(tmp_path, "new.gguf", 4)
    with cluster.hub(files=[cluster.GGUF / FETCHED, new]) as hub:
        one, two = {"name": "one", "files": [FETCHED]}, {"name": "two", "files": ["new.gguf"], "args": ["-c", 256]}
        there.synced(models_values(hub, [one, two]))

        (download,) = there.summaries()
        size = (cluster.GGUF / FETCHED).stat().st_size + new.stat().st_size
        assert (download["outcome"], download["bytes_fetched"]) == ("ok", size)
        assert volume.holds(f"one/{FETCHED}") and volume.holds("two/new.gguf")
        assert [ask(there, name) for name in ("one", "two", "one")] == [200, 200, 200]
        assert ask(there, "three") != 200

        there.synced(models_values(hub, [one]))
        assert ask(there, "one") == 200 and ask(there, "two") != 200
        assert hub.counts()["cdn"]["bytes"] == size


def test_two_releases_on_one_claim_keep_their_files(volume, there, tmp_path):
    """Both want an `extra.gguf` of their repository, and each gets its own."""
    there.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "shared"},
                 "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "longhorn", "resources": {"requests": {"storage": "200Mi"}}}})
    extras = {}
    for name, size in (("a", 2), ("b", 3)):
        (tmp_path / name).mkdir()
        extras[name] = padded_model(tmp_path / name, "extra.gguf", size)
    for name, extra in extras.items():
        with cluster.hub(files=[cluster.GGUF / FETCHED, extra]) as hub:
            wanted = values(hub, argocd={"enabled": False}, persistence={"existingClaim": "shared"}, gpu={"vendor": "cpu"},
                            tolerations=[{"operator": "Exists"}], model={"dir": name, "extraFiles": ["extra.gguf"]}, server={"extraArgs": []})
            there.helm("install", f"{RELEASE}-{name}", CHART, values=wanted)
            selector = f"{SERVER},app.kubernetes.io/instance={RELEASE}-{name}"
            wait_until(lambda s=selector: [cluster.condition(p, "Ready") for p in there.list("pods", s)] == ["True"], f"server {name}")
    for name, extra in extras.items():
        assert volume.stat(f"{name}/extra.gguf").st_size == extra.stat().st_size
