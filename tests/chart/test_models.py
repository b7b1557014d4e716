"""Several models: one run fetches all, one router serves all, and no two want the same file."""

import configparser
import tomllib

import pytest

from chart import RenderError, annotations, environment, render

CHAT = {"name": "chat", "repo": "o/chat-GGUF", "files": ["chat.gguf"]}
EMBED = {"name": "embed", "repo": "o/embed-GGUF", "files": ["e.gguf"], "args": ["--embeddings", "-c", 2048]}


def pod_notes(r):
    return annotations(r.deployment["spec"]["template"])


def manifest(r):
    return tomllib.loads(pod_notes(r)["modelfetch/models.toml"])["model"]


def preset(r):
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), default_section="none")
    parser.read_string("[top]\n" + pod_notes(r)["modelfetch/models.ini"])
    return {name: dict(parser[name]) for name in parser.sections() if name != "top"}


def test_one_run_fetches_all_models_by_a_manifest():
    given = {**CHAT, "revision": "v1", "sha256": {"chat.gguf": "A" * 64}}
    r = render({"models": [given, EMBED]})
    (download,) = r.job("download-model")["spec"]["template"]["spec"]["containers"]
    variables = environment(download)
    assert (variables["MODELFETCH_MANIFEST"], variables["MODELFETCH_DIR"]) == ("/etc/modelfetch/models/models.toml", "/models")
    assert "MODELFETCH_REPO" not in variables
    assert manifest(r) == [
        {"name": "chat", "repo": "o/chat-GGUF", "revision": "v1", "dir": "chat", "files": ["chat.gguf"], "sha256": {"chat.gguf": "a" * 64}},
        {"name": "embed", "repo": "o/embed-GGUF", "dir": "embed", "files": ["e.gguf"]}]


def test_the_manifest_needs_no_config_map_before_the_hook():
    r = render({"models": [CHAT]})
    for template in (r.job("download-model")["spec"]["template"], r.deployment["spec"]["template"]):
        (volume,) = [v for v in template["spec"]["volumes"] if v["name"] == "manifest"]
        (item,) = volume["downwardAPI"]["items"]
        assert item == {"path": "models.toml", "fieldRef": {"fieldPath": "metadata.annotations['modelfetch/models.toml']"}}
        assert "modelfetch/models.toml" in annotations(template)


def test_the_router_serves_them_by_their_names():
    r = render({"models": [{**CHAT, "loadOnStartup": True}, EMBED], "server": {"router": {"maxModels": 2}}})
    assert r.server_args[:4] == ["--models-preset", "/etc/llama.cpp-models/models.ini", "--models-max", "2"]
    assert "-m" not in r.server_args and "-c" not in r.server_args, "an option of the command line would overrule each model's"
    assert preset(r) == {
        "*": {"c": "8192", "np": "4", "kv-unified": "true", "fa": "on", "ngl": "99"},
        "chat": {"model": "/models/chat/chat.gguf", "load-on-startup": "true"},
        "embed": {"model": "/models/embed/e.gguf", "embeddings": "true", "c": "2048"}}


def test_a_projector_goes_with_its_model():
    r = render({"models": [{**CHAT, "dir": "vl", "files": ["Q4/chat.gguf", "mmproj-F16.gguf"]}]})
    assert preset(r)["chat"] == {"model": "/models/vl/Q4/chat.gguf", "mmproj": "/models/vl/mmproj-F16.gguf"}


def test_a_quantization_is_fetched_and_its_file_served():
    r = render({"models": [{"name": "q", "repo": "o/r", "quant": "Q4_K_M", "file": "x-Q4_K_M-00001-of-00002.gguf"}]})
    assert preset(r)["q"]["model"] == "/models/q/x-Q4_K_M-00001-of-00002.gguf"
    assert manifest(r)[0]["quant"] == "Q4_K_M"


def test_models_may_be_in_a_registry():
    r = render({"models": [{**CHAT, "repo": "oci://registry.example/models/chat:v1"}]})
    assert manifest(r)[0]["repo"] == "oci://registry.example/models/chat:v1"


@pytest.mark.parametrize("models,message", [
    ([CHAT, CHAT], "two are called chat"),
    ([CHAT, {**CHAT, "name": "b", "dir": "chat"}], "two want /models/chat/chat.gguf"),
    ([{**CHAT, "repo": "https://huggingface.co/o/r"}], "is not owner/name"),
    ([{**CHAT, "repo": "o/r:Q4"}], "is not owner/name"),
    ([{"name": "a", "repo": "o/r", "quant": "Q4_K_M"}], "the server needs the name of a .gguf file"),
    ([{**CHAT, "files": ["*.gguf"]}], "the server needs the name of a .gguf file"),
    ([{**CHAT, "args": ["--port", "1"]}], "`--port` is not for a model's args"),
    ([{**CHAT, "args": ["--flash-atn"]}], "is no option of llama-server"),
    ([{**CHAT, "args": ["--tools", "all"]}], "needs server.allowTools=true"),
    ([{**CHAT, "args": ["--grammar", "a;b"]}], "where a router's preset ends a value"),
    ([{**CHAT, "args": ["--control-vector-layer-range", "1", "2"]}], "takes two values"),
], ids=str)
def test_what_cannot_work_is_refused(models, message):
    with pytest.raises(RenderError) as refusal:
        render({"models": models})
    assert message in str(refusal.value)


def test_values_of_the_one_model_are_refused_beside_several():
    with pytest.raises(RenderError, match="model.sha256 is for one model"):
        render({"models": [CHAT], "model": {"sha256": "a" * 64}})


def test_each_model_is_measured_and_none_is_loaded_for_it():
    r = render({"models": [CHAT, EMBED], "metrics": {"podMonitor": {"enabled": True}}})
    endpoints = r.one("PodMonitor")["spec"]["podMetricsEndpoints"]
    assert [e["params"] for e in endpoints] == [{"model": [name], "autoload": ["false"]} for name in ("chat", "embed")]
    assert "prometheus.io/scrape" not in pod_notes(r), "plain scraping names no model"


def test_routes_open_what_the_models_are_for():
    rerank = {"name": "rerank", "repo": "o/r", "files": ["r.gguf"], "args": ["--reranking"]}
    r = render({"models": [CHAT, EMBED, rerank], "httpRoute": {"enabled": True, "parentRefs": [{"name": "gw"}]}})
    paths = {m["path"]["value"] for m in r.one("HTTPRoute")["spec"]["rules"][0]["matches"]}
    assert {"/v1/chat/completions", "/v1/embeddings", "/v1/rerank", "/v1/models"} <= paths
    assert "/models/load" not in paths and "/" not in paths


def test_a_changed_list_restarts_the_server():
    assert pod_notes(render({"models": [CHAT]})) != pod_notes(render({"models": [CHAT, EMBED]}))


def test_another_server_may_serve_what_one_run_fetched():
    r = render({"models": [CHAT, EMBED], "server": {"args": []}})
    assert "args" not in r.server
    assert "modelfetch/models.ini" not in pod_notes(r) and len(manifest(r)) == 2
