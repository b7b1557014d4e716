"""NOTES.txt tells a Helm user where to look and what looks wrong."""

import pytest

from chart import nested, render, render_text


def notes(values=None, *options):
    text = render_text(values, "--dry-run=client", *options, command="install")
    return text.split("\nNOTES:\n", 1)[1]


def test_notes_name_the_download_and_the_server():
    text = notes()
    assert "kubectl logs -n applications -f job/llamacpp-app-download-model" in text
    assert "kubectl logs -n applications -f deploy/llamacpp-app -c server" in text
    assert "kubectl get svc -n applications llamacpp-app" in text


def test_notes_name_the_job_by_its_hashed_name():
    assert "job/llamacpp-app-download-model-" in notes({"jobNameSuffix": "hash"})


def test_notes_show_how_the_local_image_gets_to_the_node():
    text = notes()
    assert "docker build -t modelfetch:0.1.0 ." in text
    assert "ctr -n k8s.io images import -" in text
    assert "docker push" in text
    assert "docker build" not in notes(nested("images.fetch.repository", "registry.example.com/modelfetch"))


WARNINGS = {
    "Argo CD annotations under Helm": ({}, {"argocd": {"enabled": False}}, "argocd.enabled=false"),
    "floating server image": ({}, nested("images.server.tag", "b11434"), "server-cuda moves"),
    "old owner": (nested("images.server.repository", "ghcr.io/ggerganov/llama.cpp"), {}, "names the old owner"),
    "unpinned model": ({}, nested("model.sha256", "a" * 64), "The model is not pinned"),
    "embeddings beside completions": (nested("server.embeddings", True), {}, "starts the embeddings mode"),
    "annotations with API keys": (nested("server.apiKeySecret.name", "keys"), {}, "annotations are left out"),
    "reranker with completions": (nested("server.reranking", True), {}, "A reranking model answers no completions"),
    "replicas on one node": ({"replicaCount": 2}, {}, "All replicas run on one node"),
    "rolling update": ({"strategy": {"type": "RollingUpdate"}}, {}, "needs a second free GPU"),
    "CUDA image without GPU": (nested("gpu.enabled", False), {}, "set gpu.vendor=cpu, or images.server.name=server"),
    "open load balancer": ({}, nested("server.apiKeySecret.name", "keys"), "Everyone who reaches the load balancer"),
}


ONLY_IN_NOTES = "Argo CD annotations under Helm"


@pytest.mark.parametrize("name", [name for name in WARNINGS if name != ONLY_IN_NOTES])
def test_the_deployment_shows_what_argo_cd_and_flux_never_print(name):
    suspicious, _, message = WARNINGS[name]
    assert message in render(suspicious).deployment["metadata"]["annotations"]["modelfetch/warnings"]


@pytest.mark.parametrize("name", WARNINGS)
def test_notes_warn_about(name):
    suspicious, harmless, message = WARNINGS[name]
    assert message in notes(suspicious)
    assert message not in notes(harmless)


def test_a_careful_release_gets_no_warning():
    careful = {
        "argocd": {"enabled": False},
        "images": {"server": {"tag": "b11434"}, "fetch": {"repository": "registry.example.com/modelfetch"}},
        "model": {"sha256": "a" * 64},
        "service": {"type": "ClusterIP"},
    }
    assert "Look at these" not in notes(careful)
    assert "annotations" not in render(careful).deployment["metadata"]
