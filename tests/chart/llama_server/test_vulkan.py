"""A server built for Vulkan, on Mesa's device in the processor, with the arguments that the chart renders for that vendor."""

import os

import pytest

from chart import render
from llama_server.pod import DEFAULT_MODEL, started

SERVER = os.environ["VULKAN_SERVER"]
pytestmark = pytest.mark.skipif(not SERVER, reason="fixtures/llama-server.sh vulkan builds the server, in a quarter of an hour")
# llama.cpp passes over a device that is a processor, unless it is named.
DEVICE = {"extraEnv": [{"name": "GGML_VK_VISIBLE_DEVICES", "value": "0"}], "extraArgs": ["-ngl", 99, "--log-verbosity", 4]}


def test_the_model_is_on_the_device_and_answers(tmp_path):
    r = render({"gpu": {"vendor": "vulkan", "resource": "amd.com/gpu"}, "server": DEVICE})
    with started(r, tmp_path, DEFAULT_MODEL, server=SERVER) as server:
        server.wait_until_healthy()
        assert "Vulkan0 model buffer size" in server.log
        assert server.request("/v1/completions", {"prompt": "Hello", "max_tokens": 2}).status == 200
