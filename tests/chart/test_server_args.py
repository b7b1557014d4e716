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


@pytest.mark.parametrize("option", [o for group in ("managed", "gone") for o in REFUSED[group]])
def test_every_refused_option_is_refused(option):
    assert any(f"`{option}`" in problem for problem in problems(option, "x"))


def test_unchecked_arguments_pass_but_cannot_replace_the_charts_own():
    assert extra("--new-option", "x", checkArgs=False) == ["--new-option", "x"]
    assert extra("-fa", "--new-option", checkArgs=False) == ["-fa", "on", "--new-option"]
    assert problems("-m", "x.gguf", checkArgs=False) == ["`-m` is not for extraArgs: set model.file"]


def test_refused_options_are_real_options_or_gone():
    for option in [*REFUSED["managed"], *REFUSED["tools"]]:
        assert option in KNOWN["options"], option
    for option in REFUSED["gone"]:
        assert option not in KNOWN["options"], option


def test_the_model_is_always_given_because_without_it_the_server_is_a_router():
    for mode in ("job", "initContainer", "none"):
        args = render({"fetch": {"mode": mode}}).server_args
        assert args[:2] == ["-m", "/models/gpt-oss-20b-mxfp4.gguf"]
