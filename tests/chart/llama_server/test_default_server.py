"""The server with the chart's default arguments, all of them."""

import json
import re

import pytest

from chart import CHART, render
from llama_server.pod import DEFAULT_MODEL, started


@pytest.fixture(scope="module")
def default_server(tmp_path_factory):
    with started(render(), tmp_path_factory.mktemp("default"), DEFAULT_MODEL) as server:
        server.wait_until_healthy()
        yield server


def test_default_arguments_are_accepted_without_complaint(default_server):
    complaints = [line for line in default_server.log.splitlines()
                  if re.search(r"invalid argument|unknown value|DEPRECATED|removed", line)]
    assert not complaints


def test_completions(default_server):
    answer = default_server.request("/v1/completions", {"prompt": "Hello", "max_tokens": 8})
    assert answer.status == 200
    assert answer.json["usage"]["completion_tokens"] > 0


def test_chat_completions(default_server):
    answer = default_server.request(
        "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8})
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["role"] == "assistant"


def test_the_model_has_its_alias(default_server):
    assert [m["id"] for m in default_server.request("/v1/models").json["data"]] == ["gpt-oss-20b"]


def test_metrics_that_examples_and_alerts_use(default_server):
    text = default_server.request("/metrics").text
    for metric in ("llamacpp:requests_processing", "llamacpp:requests_deferred", "llamacpp:predicted_tokens_seconds"):
        assert f"\n{metric} " in text


def test_metrics_of_the_dashboard(default_server):
    text = default_server.request("/metrics").text
    for panel in json.loads((CHART / "files/dashboard.json").read_text())["panels"]:
        (metric,) = re.findall(r"llamacpp:\w+", panel["targets"][0]["expr"])
        assert f"\n{metric} " in text, panel["title"]


def test_slots_are_closed(default_server):
    assert default_server.request("/slots").status != 200


def test_the_read_only_root_is_enough(default_server):
    assert "Read-only file system" not in default_server.log
    assert "Permission denied" not in default_server.log
