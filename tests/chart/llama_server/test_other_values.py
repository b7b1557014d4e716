"""The server with other values that the chart renders."""

import re

import pytest

from chart import SCENARIOS, render
from llama_server.pod import DEFAULT_MODEL, started

KEY = "s3cret-key"


@pytest.mark.parametrize("unified,slot_tokens", [(True, 1024), (False, 256)])
def test_a_unified_pool_gives_one_request_the_whole_context(unified, slot_tokens, tmp_path):
    r = render({"server": {"kvCache": {"size": 1024, "unified": unified}}})
    with started(r, tmp_path, DEFAULT_MODEL) as server:
        server.wait_until_healthy()
        assert re.search(rf"n_slots = 4, n_ctx_slot = {slot_tokens}\b", server.log)


def test_termination_is_graceful(tmp_path):
    with started(render(), tmp_path, DEFAULT_MODEL) as server:
        server.wait_until_healthy()
        server.process.terminate()
        assert server.process.wait(timeout=20) == 0


def test_a_missing_model_ends_the_server(tmp_path):
    with started(render(), tmp_path, {"other.gguf": "tiny-llama-Q8_0.gguf"}) as server:
        assert server.process.wait(timeout=30) != 0


def test_api_keys(tmp_path):
    r = render({"server": {"apiKeySecret": {"name": "keys"}}})
    with started(r, tmp_path, DEFAULT_MODEL, {"/etc/llama.cpp-keys/api-key": f"{KEY}\n"}) as server:
        server.wait_until_healthy()
        assert server.request("/metrics").status == 401
        assert server.request("/metrics", key=KEY).status == 200
        assert server.request("/v1/completions", {"prompt": "x", "max_tokens": 1}).status == 401
        assert server.request("/v1/completions", {"prompt": "x", "max_tokens": 1}, key=KEY).status == 200
        assert KEY not in " ".join(map(str, server.process.args))


def test_embeddings_scenario(tmp_path):
    (scenario,) = [s for s in SCENARIOS if s.name == "cpu-embeddings-values.yaml"]
    with started(render(scenario), tmp_path, {"embeddinggemma-300M-Q8_0.gguf": "tiny-llama-Q8_0.gguf"}) as server:
        server.wait_until_healthy()
        answer = server.request("/v1/embeddings", {"input": "Hello", "model": "embeddinggemma-300m"})
        assert answer.status == 200
        assert answer.json["data"][0]["embedding"]


def test_embeddings_and_completions_answer_together(tmp_path):
    r = render({"server": {"embeddings": True, "extraArgs": ["-fa", "--pooling", "mean"]}})
    with started(r, tmp_path, DEFAULT_MODEL) as server:
        server.wait_until_healthy()
        assert server.request("/v1/completions", {"prompt": "x", "max_tokens": 1}).status == 200
        assert server.request("/v1/embeddings", {"input": "x"}).status == 200


def test_the_first_shard_loads_all(tmp_path):
    names = [f"tiny-llama-Q8_0-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    r = render({"model": {"repo": "example/tiny-GGUF", "file": f"Q8_0/{names[0]}"}})
    with started(r, tmp_path, {f"Q8_0/{name}": name for name in names}) as server:
        server.wait_until_healthy()
        assert server.request("/v1/completions", {"prompt": "Hello", "max_tokens": 4}).status == 200


@pytest.mark.parametrize("values", [
    {"webui": False, "slotsEndpoint": True, "metrics": False},
    {"kvCache": {"size": 0}, "slots": 1},
    {"extraArgs": ["-fa", "auto", "-ngl", "all", "-lm", "none", "-cram", 256, "-ctk", "q8_0", "-ctv", "q8_0"]},
    {"extraArgs": []},
    {"fit": True},
    {"sleepIdleSeconds": 60},
    {"kvCache": {"unified": "unset"}, "slotsEndpoint": "unset"},
], ids=str)
def test_other_values_start_too(values, tmp_path):
    with started(render({"server": values}), tmp_path, DEFAULT_MODEL) as server:
        server.wait_until_healthy()
