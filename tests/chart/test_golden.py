"""Every scenario in chart/ci renders what golden/ holds, with Helm 4 and with Helm 3 (Argo CD uses either)."""

import difflib

import pytest

from chart import HELM, HELM3, SCENARIOS, TESTS, render_text

KUBE_VERSION = ("--kube-version", "1.34.0")


def scenario_name(path):
    return path.name.removesuffix("-values.yaml")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=scenario_name)
def test_scenario_renders_as_recorded(scenario, update_golden):
    rendered = render_text(scenario, *KUBE_VERSION)
    golden = TESTS / "golden" / f"{scenario_name(scenario)}.yaml"
    if update_golden:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(rendered)
    recorded = golden.read_text()
    difference = "\n".join(difflib.unified_diff(
        recorded.splitlines(), rendered.splitlines(), "golden", "rendered", lineterm="", n=2))
    assert not difference, f"{difference}\n(after a wanted change: tests/chart/run --update-golden)"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=scenario_name)
def test_helm_3_renders_the_same(scenario):
    assert render_text(scenario, *KUBE_VERSION, helm=HELM3) == render_text(scenario, *KUBE_VERSION, helm=HELM)


def test_no_golden_file_is_left_over():
    recorded = {path.stem for path in (TESTS / "golden").glob("*.yaml")}
    assert recorded == {scenario_name(s) for s in SCENARIOS}
