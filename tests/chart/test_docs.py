"""The values that the pages of chart/docs and the examples show are values that render, and render what they say."""

import re

import pytest
import yaml

from chart import CHART, render
from strict_yaml import objects_of
from test_kubernetes import VERSIONS, check

PAGES = sorted(CHART.glob("docs/*.md"))
ARGOCD = CHART / "examples/argocd/apps/applications/llamacpp/llamacpp-app.yaml"
FLUX = CHART / "examples/flux/llamacpp-app.yaml"


def blocks(page):
    """Each block of values on a page: fenced, and headed `# values.yaml`."""
    return [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(# values\.yaml\n.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)]


VALUES = [(page, i, values) for page in PAGES for i, values in enumerate(blocks(page))]


def test_each_page_shows_values():
    assert {page for page, _, _ in VALUES} == set(PAGES)


@pytest.mark.parametrize("page,i,values", VALUES, ids=lambda x: getattr(x, "stem", x if isinstance(x, int) else ""))
def test_values_of_a_page_render_what_the_api_takes(page, i, values):
    for o in render(values, "--kube-version", VERSIONS[-1]).objects:
        check(o, VERSIONS[-1])


def test_values_of_the_examples_render():
    """Without a null, which Argo CD and Flux lose."""
    application, release = yaml.safe_load(ARGOCD.read_text()), objects_of(FLUX.read_text())[1]
    for values in (application["spec"]["source"]["helm"]["valuesObject"], release["spec"]["values"]):
        assert "null" not in yaml.safe_dump(values)
        assert render(values).objects


def test_flux_waits_for_the_download_and_uninstalls_nothing():
    spec = objects_of(FLUX.read_text())[1]["spec"]
    assert spec["timeout"] == "3h"
    assert spec["install"]["strategy"]["name"] == spec["upgrade"]["strategy"]["name"] == "RetryOnFailure"
    assert "remediation" not in str(spec)
