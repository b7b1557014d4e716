"""The server gets what today's llama-server takes; what it would refuse is refused at render."""

import json

import pytest
import yaml

from chart import CHART, RenderError, render

KNOWN = json.loads((CHART / "files/llama-server-options.json").read_text())
REFUSED = yaml.safe_load((CHART / "files/refused-options.yaml").read_text())


def extra(*words, **server):
    """What the extra arguments become."""
    args = render({"server": {"extraArgs": list(words), **server}}).server_args
    return args[args.index("--no-slots") + 1:]


def problems(*words, **server):
    with pytest.raises(RenderError) as refusal:
        render({"server": {"extraArgs": list(words), **server}})
    return [line.removeprefix("  - server.extraArgs: ") for line in str(refusal.value).splitlines() if line.startswith("  - ")]


def test_default_arguments():
    assert render().server_args == [
        "-m", "/models/gpt-oss-20b-mxfp4.gguf", "--alias", "gpt-oss-20b", "--host", "0.0.0.0", "--port", "8080",
        "-c", "8192", "-np", "4", "--kv-unified", "--metrics", "--no-slots", "-fa", "on", "-ngl", "99",
    ]


@pytest.mark.parametrize("words,becomes", [
    (["-fa"], ["-fa", "on"]),
    (["-fa", "-ngl", "99"], ["-fa", "on", "-ngl", "99"]),
    (["-ngl", "99", "--flash-attn"], ["-ngl", "99", "--flash-attn", "on"]),
    (["-fa", "off"], ["-fa", "off"]),
    (["--flash-attn", "auto", "-cb"], ["--flash-attn", "auto", "-cb"]),
    (["-fa", "-1"], ["-fa", "-1"]),
    (["-ngl", 99, "--temp", 0.7, "-cram", 1000000], ["-ngl", "99", "--temp", "0.7", "-cram", "1000000"]),
    (["--log_disable"], ["--log_disable"]),
    (["--override-kv", "tokenizer.ggml.add_bos_token=bool:false"], ["--override-kv", "tokenizer.ggml.add_bos_token=bool:false"]),
    (["--control-vector-layer-range", "1", "2", "-cb"], ["--control-vector-layer-range", "1", "2", "-cb"]),
    (["--grammar", "root ::= \"-fa\""], ["--grammar", "root ::= \"-fa\""]),
    ([], []),
], ids=str)
def test_extra_arguments_become(words, becomes):
    assert extra(*words) == becomes


@pytest.mark.parametrize("words,message", [
    (["--flash-atn", "on"], "`--flash-atn` is no option of llama-server b11434"),
    (["-ngl 99"], "`-ngl 99` has a space: write one word per item"),
    (["--gpu-layers=99"], "llama-server knows no `option=value`"),
    (["99"], "`99` stands where an option is expected"),
    (["-cb", "on"], "`on` stands where an option is expected"),
    (["-ngl"], "`-ngl` needs a value"),
    (["-ngl", "-fa"], "`-ngl` needs a value before `-fa`"),
    (["--control-vector-layer-range", "1"], "`--control-vector-layer-range` needs a value"),
    (["--no-mmap"], "`--no-mmap` was removed from llama-server: use `-lm none`"),
    (["--mlock"], "`--mlock` was removed from llama-server: use `-lm mlock`"),
    (["--log-format", "text"], "`--log-format` was removed from llama-server"),
    (["--draft", "8"], "`--draft` was removed from llama-server: use --spec-draft-n-max"),
    (["-m", "x.gguf"], "`-m` is not for extraArgs: set model.file"),
    (["--port", "80"], "`--port` is not for extraArgs: set server.port"),
    (["--ctx_size", "1"], "`--ctx-size` is not for extraArgs: set server.kvCache.size"),
    (["--api-key", "secret"], "put the keys into a Secret"),
    (["--tools", "all"], "`--tools` needs server.allowTools=true"),
    (["--gpt-oss-20b-default"], "it downloads another model"),
], ids=str)
def test_what_the_server_would_refuse_is_refused_at_render(words, message):
    assert any(message in problem for problem in problems(*words))


def test_one_mistake_is_one_line():
    assert len(problems("--flash-atn", "on", "-ngl", "99")) == 1


def test_every_refused_option_is_refused():
    options = [option for group in ("managed", "gone") for option in REFUSED[group]]
    found = problems(*(word for option in options for word in (option, "x")))
    for option in options:
        assert any(f"`{option}`" in problem for problem in found), option


def test_unchecked_arguments_pass_but_cannot_replace_the_charts_own():
    assert extra("--new-option", "x", checkArgs=False) == ["--new-option", "x"]
    assert extra("-fa", "--new-option", checkArgs=False) == ["-fa", "on", "--new-option"]
    assert problems("-m", "x.gguf", checkArgs=False) == ["`-m` is not for extraArgs: set model.file"]


def environment_problems(*names, **server):
    env = [{"name": name, "value": "1"} for name in names]
    with pytest.raises(RenderError) as refusal:
        render({"server": {"extraEnv": env, **server}})
    return [line.removeprefix("  - server.extraEnv: ") for line in str(refusal.value).splitlines() if line.startswith("  - ")]


@pytest.mark.parametrize("name,message", [
    ("LLAMA_ARG_CTX_SIZE", "`LLAMA_ARG_CTX_SIZE` is not for extraEnv: set server.kvCache.size"),
    ("LLAMA_ARG_API_PREFIX", "the probes ask /health"),
    ("LLAMA_ARG_TOOLS", "`LLAMA_ARG_TOOLS` needs server.allowTools=true"),
    ("LLAMA_ARG_AGENT", "`LLAMA_ARG_AGENT` needs server.allowTools=true"),
    ("LLAMA_ARG_MCP_SERVERS_CONFIG", "needs server.allowTools=true"),
    ("LLAMA_ARG_UI_MCP_PROXY", "needs server.allowTools=true"),
    ("LLAMA_API_KEY", "put the keys into a Secret"),
    ("LLAMA_ARG_NO_KV_UNIFIED", "set server.kvCache.unified"),
    ("LLAMA_ARG_NO_ENDPOINT_SLOTS", "set server.slotsEndpoint"),
    ("LLAMA_ARG_RERANKING", "set server.reranking"),
    ("LLAMA_ARG_FLASH_ATTN", "`LLAMA_ARG_FLASH_ATTN` is overruled by `-fa` in server.extraArgs"),
    ("LLAMA_ARG_N_GPU_LAYERS", "is overruled by `-ngl`"),
    ("LLAMA_ARG_CTX_SIZ", "`LLAMA_ARG_CTX_SIZ` is no variable of llama-server b11434"),
    ("AIP_MODE", "it moves the port and the health path"),
])
def test_a_variable_gets_the_check_of_its_option(name, message):
    (problem,) = environment_problems(name)
    assert message in problem


def test_every_variable_of_a_refused_option_is_refused():
    refused = set(REFUSED["managed"]) | set(REFUSED["tools"])
    variables = [v for v, options in KNOWN["variables"].items() if set(options) & refused]
    assert len(environment_problems(*variables)) == len(variables) > 20


def test_variables_that_overrule_nothing_are_passed():
    env = [{"name": "LLAMA_ARG_CACHE_RAM", "value": "2048"}, {"name": "LLAMA_ARG_NO_AGENT", "value": "1"}, {"name": "NO_PROXY", "value": "x"}]
    assert [e for e in render({"server": {"extraEnv": env}}).server["env"] if e in env] == env
    tools = {"extraEnv": [{"name": "LLAMA_ARG_TOOLS", "value": "all"}], "allowTools": True}
    assert render({"server": tools}).server["env"][-1] == tools["extraEnv"][0]
    unknown = {"extraEnv": [{"name": "LLAMA_ARG_OF_A_FORK", "value": "1"}], "checkArgs": False}
    assert render({"server": unknown}).server["env"][-1] == unknown["extraEnv"][0]


def test_options_that_forks_and_older_builds_lack_are_left_out():
    args = render({"server": {"kvCache": {"unified": "unset"}, "slotsEndpoint": "unset", "checkArgs": False}}).server_args
    assert not [arg for arg in args if "kv-unified" in arg or "slots" in arg]


def test_refused_options_are_real_options_or_gone():
    for option in [*REFUSED["managed"], *REFUSED["tools"]]:
        assert option in KNOWN["options"], option
    for option in REFUSED["gone"]:
        assert option not in KNOWN["options"], option


def test_the_model_is_always_given_because_without_it_the_server_is_a_router():
    for mode in ("job", "initContainer", "none"):
        args = render({"fetch": {"mode": mode}}).server_args
        assert args[:2] == ["-m", "/models/gpt-oss-20b-mxfp4.gguf"]
