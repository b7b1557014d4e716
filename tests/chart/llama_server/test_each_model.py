"""A server for each model, with the arguments that the chart renders for it."""

import pytest

from chart import Render, render
from llama_server.pod import started
from llama_server.test_router import FILES, MODELS

ANSWERS = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}),
    "embed": ("/v1/embeddings", {"input": "Hello"}),
}


@pytest.mark.parametrize("name,context", [("chat", 512), ("embed", 256)])
def test_a_server_answers_for_its_own_model(name, context, tmp_path):
    r = render({"models": MODELS, "server": {"router": {"enabled": False}}, "service": {"type": "ClusterIP"}})
    own = Render([r.one("Deployment", f"llamacpp-app-{name}")])
    files = {path: gguf for path, gguf in FILES.items() if path.startswith(name)}
    with started(own, tmp_path, files) as server:
        server.wait_until_healthy()
        assert [m["id"] for m in server.request("/v1/models").json["data"]] == [name]
        path, question = ANSWERS[name]
        assert server.request(path, {"model": name, **question}).status == 200
        assert server.request("/props").json["default_generation_settings"]["n_ctx"] == context
        assert "llamacpp:requests_processing" in server.request("/metrics").text
