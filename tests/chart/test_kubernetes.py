"""What the chart renders is valid for the API servers it says it supports, custom resources included."""

import json

import jsonschema
import kubernetes_validate
import pytest
import yaml

from chart import CHART, SCENARIOS, TESTS, render

VERSIONS = ["1.29.1", "1.34.1", kubernetes_validate.latest_version()]
CUSTOM = {
    (schema["properties"]["apiVersion"]["const"], schema["properties"]["kind"]["const"]): schema
    for schema in (json.loads(path.read_text()) for path in (TESTS / "crds").glob("*.json"))
}
# Refused below 1.34 by the chart itself, see test_guards.
NEEDS_1_34 = {"dra-values.yaml"}
CASES = [(s, v) for s in SCENARIOS for v in VERSIONS if not (s.name in NEEDS_1_34 and v.startswith("1.29"))]


def check(o, version):
    """Fails on an invalid object and on a kind that no schema is known for."""
    custom = CUSTOM.get((o["apiVersion"], o["kind"]))
    if custom:
        jsonschema.Draft202012Validator(custom).validate(o)
    else:
        kubernetes_validate.validate(o, version, strict=True)


@pytest.mark.parametrize("scenario,version", CASES, ids=lambda case: getattr(case, "name", case))
def test_scenario_is_valid(scenario, version):
    objects = render(scenario, "--kube-version", version).objects
    assert objects
    for o in objects:
        check(o, version)


@pytest.mark.parametrize("path", sorted(CHART.glob("examples/**/*.yaml")), ids=lambda path: path.name)
def test_example_is_valid(path):
    if path.name.endswith("values.yaml"):
        assert render(path).objects
        return
    for o in yaml.safe_load_all(path.read_text()):
        check(o, VERSIONS[-1])


def test_an_unknown_kind_is_an_error():
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        check({"apiVersion": "example.com/v1", "kind": "Unknown", "metadata": {"name": "x"}}, VERSIONS[-1])


def test_a_misspelt_field_of_a_custom_resource_is_an_error():
    o = {"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": {}, "spec": {"encryptedDate": {}}}
    with pytest.raises(jsonschema.ValidationError):
        check(o, VERSIONS[-1])
