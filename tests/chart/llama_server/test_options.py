"""The chart's list of options is the real server's."""

import json
import re
import subprocess

import pytest
import yaml

from chart import CHART
from llama_server.pod import SERVER

KNOWN = json.loads((CHART / "files/llama-server-options.json").read_text())
REFUSED = yaml.safe_load((CHART / "files/refused-options.yaml").read_text())


def option_names():
    """All options of the real server, from its own help: names, then values or text."""
    help_text = subprocess.run([SERVER, "--help"], check=True, capture_output=True, text=True).stdout
    heads = re.findall(r"^(?:--?\w[-\w.]*(?:,\s+)?)+", help_text, re.MULTILINE)
    return {name for head in heads for name in re.split(r",\s+", head)}


def test_the_option_list_is_the_servers():
    listed = set(KNOWN["options"]) | set(KNOWN["removed"])
    real = option_names()
    assert listed - real == set()
    assert real - listed == set()


def refusal(*args):
    done = subprocess.run([SERVER, "-m", "/nonexistent.gguf", *args], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.mark.parametrize("option", [*REFUSED["gone"], "--flash-atn"])
def test_the_server_refuses_what_the_chart_calls_gone(option):
    assert f"invalid argument: {option}" in refusal(option)


@pytest.mark.parametrize("option", KNOWN["removed"])
def test_the_server_refuses_what_the_chart_calls_removed(option):
    assert "removed" in refusal(option, "1")


def test_a_bare_flash_attention_switch_would_end_the_server():
    assert "unknown value for --flash-attn: '-ngl'" in refusal("-fa", "-ngl", "99")


def complaint(*args):
    done = subprocess.run([SERVER, *args], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("option", [o for o, values in KNOWN["options"].items() if values > 0])
def test_an_option_takes_as_many_values_as_listed(option):
    values = KNOWN["options"][option]
    assert "expected value for argument" in complaint(option, *["1"] * (values - 1))


# Nothing is parsed after a switch that ends the server.
SWITCHES = [o for o, values in KNOWN["options"].items() if values == 0 and REFUSED["managed"].get(o) != "it ends the server"]


@pytest.mark.parametrize("option", SWITCHES)
def test_a_switch_takes_no_value(option):
    assert "invalid argument: --flash-atn" in complaint(option, "--flash-atn")
