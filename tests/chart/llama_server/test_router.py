"""Several models behind the router, with the preset that the chart renders."""

import pytest

from chart import annotations, render
from llama_server.pod import started

FILE = "tiny-llama-Q8_0.gguf"
MODELS = [
    {"name": "chat", "repo": "o/chat-GGUF", "files": ["chat.gguf"], "args": ["-c", 512], "loadOnStartup": True},
    {"name": "embed", "repo": "o/embed-GGUF", "files": ["q8/embed.gguf"], "args": ["--embeddings", "--pooling", "mean", "-c", 256]},
]
FILES = {"chat/chat.gguf": FILE, "embed/q8/embed.gguf": FILE}


@pytest.fixture(scope="module")
def router(tmp_path_factory):
    r = render({"models": MODELS, "server": {"router": {"maxModels": 2}}})
    preset = annotations(r.deployment["spec"]["template"])["modelfetch/models.ini"]
    with started(r, tmp_path_factory.mktemp("router"), FILES, {"/etc/llama.cpp-models/models.ini": preset}) as server:
        server.wait_until_healthy()
        yield server


def test_the_models_have_their_names(router):
    assert {m["id"] for m in router.request("/v1/models").json["data"]} == {"chat", "embed"}


def test_each_model_answers_as_what_it_is(router):
    chat = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    assert router.request("/v1/chat/completions", chat).status == 200
    answer = router.request("/v1/embeddings", {"model": "embed", "input": "Hello"})
    assert answer.status == 200
    assert answer.json["data"][0]["embedding"]


def test_a_models_own_context_stands_over_the_common_one(router):
    router.request("/v1/chat/completions", {"model": "chat", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1})
    props = router.request("/props?model=chat").json
    assert props["default_generation_settings"]["n_ctx"] == 512


def test_metrics_want_a_model(router):
    router.request("/v1/chat/completions", {"model": "chat", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1})
    assert router.request("/metrics").status == 400
    answer = router.request("/metrics?model=chat&autoload=false")
    assert answer.status == 200 and "llamacpp:requests_processing" in answer.text


def test_an_unknown_model_is_refused(router):
    assert router.request("/v1/chat/completions", {"model": "other", "messages": []}).status in (400, 404)
