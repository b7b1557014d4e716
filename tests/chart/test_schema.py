"""values.schema.json: a misspelt key, a wrong type or an impossible value is refused, with its place."""

import json

import jsonschema
import pytest
import yaml

from chart import CHART, RenderError, nested, render
from values_table import leaves

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())

# Maps whose keys are the user's own or those of the Kubernetes API.
OPEN = ("nodeSelector", "podSecurityContext", "securityContext", "resources.requests", "resources.limits",
        "fetch.resources.requests", "fetch.resources.limits")


def maps(tree, path=()):
    """The path of every map with keys, the top one included."""
    if isinstance(tree, dict) and tree:
        yield ".".join(path)
        for key, value in tree.items():
            yield from maps(value, (*path, key))


def place(path):
    """How helm names a place in the values."""
    return "'/" + path.replace(".", "/") + "'" if path else "''"


def refusal(values):
    with pytest.raises(RenderError) as refused:
        render(values)
    return str(refused.value)


def test_the_schema_is_valid():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


CLOSED = [m for m in maps(DEFAULTS) if not m.startswith(OPEN)]


@pytest.mark.parametrize("path", CLOSED, ids=lambda p: p or "top")
def test_a_misspelt_key_is_refused(path):
    misspelt = f"{path}.mispelt".lstrip(".")
    message = refusal(nested(misspelt, "x"))
    assert f"at {place(path)}: additional properties 'mispelt' not allowed" in message


# The parts of security contexts are checked by the API server.
TYPED = [p for p in leaves(DEFAULTS) if not p.startswith(("podSecurityContext.", "securityContext."))]


@pytest.mark.parametrize("path", TYPED)
def test_a_value_of_the_wrong_kind_is_refused(path):
    value = DEFAULTS
    for key in path.split("."):
        value = value[key]
    wrong = [["nested"]] if isinstance(value, list) else {"a": {"b": 1}} if not isinstance(value, dict) else "text"
    assert place(path)[:-1] in refusal(nested(path, wrong))


IMPOSSIBLE = {
    "model.hfOidc.resource": ["a b", "https://huggingface.co/me", "a/b/c/d", "/a"],
    "model.hfOidc.audience": ["a b"],
    "model.sha256": ["abc", "g" * 64, "a" * 63],
    "model.file": ["/etc/passwd.gguf", "a/../../b.gguf", "a\\b.gguf", "model.bin", "x/*.gguf", ""],
    "model.repo": ["", "a b"],
    "model.dir": ["/a", "../a", "a/", "a/../b"],
    "model.path": ["models", "/models/", "", "/a:b"],
    "model.size": ["50 GB", "fifty", "", 50, "50", "500m"],
    "model.revision": ["", "a b"],
    "model.extraFiles": [["../x.gguf"], ["/x"]],
    "fetch.mode": ["Job", ""],
    "fetch.endpoints": [["huggingface.co"], ["ftp://a"]],
    "fetch.connections": [65, -1],
    "fetch.delta": ["no", 1],
    "fetch.deadline": ["soon", "5"],
    "fetch.job.hook": ["PostSync"],
    "images.server.digest": ["sha256:abc", "latest"],
    "images.pullPolicy": ["always"],
    "server.port": [80, 65536, "8080"],
    "server.slots": [0, "4"],
    "server.kvCache.size": [-1],
    "server.extraArgs": ["-fa", [True], [""]],
    "gpu.number": [0, "1"],
    "gpu.nvidiaResource": ["gpu"],
    "nodeSelector": [{"gpu": True}],
    "resources.limits.memory": ["64 GB", True, 64, "64"],
    "fetch.resources.limits.memory": [128],
    "images.server.tag": ["a b", "server@latest"],
    "images.server.image": ["a b", "r.example.com/l@sha256:abc"],
    "server.kvCache.unified": ["auto"],
    "server.slotsEndpoint": ["off"],
    "service.ipFamilies": [["IPv5"], ["IPv4", "IPv4"]],
    "runtimeClassName": ["a: b", "NVIDIA"],
    "priorityClassName": ["a: b #c"],
    "nameOverride": ["a: b", "GPU Chat"],
    "server.apiKeySecret.name": ["a: b"],
    "podLabels": [{"a": "b c"}],
    "persistence.accessModes": [[], ["RWO"], ["ReadWriteOnce", "ReadWriteOnce"]],
    "service.type": ["ExternalName", "loadBalancer"],
    "service.port": [0],
    "service.loadBalancerIP": ["llama.example.com"],
    "service.loadBalancer.provider": ["custom"],
    "sealedSecret.scope": ["namespace"],
    "sealedSecret.patchJob.hook": ["PreSync"],
    "replicaCount": [-1, "1"],
    "strategy": [{"type": "OnDelete"}, {"rollingUpdate": {}, "type": ""}],
    "metrics.serviceMonitor.interval": ["30"],
    "pdb.maxUnavailable": ["half"],
    "fullnameOverride": ["Llama", "a_b", "a" * 49],
}


@pytest.mark.parametrize("path,value", [(p, v) for p, vs in IMPOSSIBLE.items() for v in vs], ids=str)
def test_an_impossible_value_is_refused(path, value):
    assert place(path)[:-1] in refusal(nested(path, value))


def test_values_of_a_parent_chart_are_allowed():
    assert render({"global": {"imageRegistry": "r.example.com"}}).objects
