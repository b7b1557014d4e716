"""The chart's own files: helm's lint, YAML style, fresh tables, and a README that tells the truth about the values."""

import re
import subprocess
import sys

import pytest
import yaml

from chart import CHART, HELM, HELM3, SCENARIOS, TESTS

METADATA = yaml.safe_load((CHART / "Chart.yaml").read_text())
# Sequences that helm's toYaml writes are not indented, so this checks what is not a matter of style.
YAMLLINT = """
extends: default
rules:
  line-length: disable
  document-start: disable
  indentation: {indent-sequences: whatever}
  comments: {min-spaces-from-content: 1}
  braces: {max-spaces-inside: 1}
"""


def yamllint(text):
    done = subprocess.run([sys.executable, "-m", "yamllint", "--strict", "-d", YAMLLINT, "-"],
                          input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("helm", [HELM, HELM3], ids=["helm4", "helm3"])
@pytest.mark.parametrize("values", [None, *SCENARIOS], ids=lambda p: p.name if p else "no values")
def test_helm_lint_is_strict_and_silent(helm, values):
    options = ["--values", str(values)] if values else []
    done = subprocess.run([helm, "lint", "--strict", "--quiet", *options, str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", [CHART / "values.yaml", CHART / "Chart.yaml", *SCENARIOS, *sorted(CHART.glob("files/*.yaml")),
                                  *sorted(CHART.glob("examples/**/*.yaml"))], ids=lambda p: p.name)
def test_yaml_files_are_tidy(path):
    yamllint(path.read_text())


@pytest.mark.parametrize("path", sorted((TESTS / "golden").glob("*.yaml")), ids=lambda p: p.name)
def test_renders_are_tidy(path):
    yamllint(path.read_text())


def test_the_values_table_is_fresh():
    done = subprocess.run([sys.executable, TESTS / "values_table.py", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


PROSE = [CHART / "README.md", CHART / "CHANGELOG.md", *sorted(CHART.glob("templates/*.t*t")), *sorted(CHART.glob("templates/_*.tpl")),
         *sorted(CHART.glob("docs/*.md")), CHART / "files/refused-options.yaml", CHART / "values.yaml"]


@pytest.mark.parametrize("path", PROSE, ids=lambda p: p.name)
def test_values_that_the_prose_names_exist(path):
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    sections = "|".join(key for key, value in defaults.items() if isinstance(value, dict) and value)
    # Not `.Values.a.b`, `$a.b`, a file's name, or a vendor's name at its driver.
    named = re.findall(rf"(?<![-.\w/$])(?!gpu\.(?:nvidia|amd|intel))(?:{sections})(?:\.[a-zA-Z0-9]+)+(?![-\w]*[/.]\w)", path.read_text())
    for name in set(named):
        value = defaults
        for key in name.split("."):
            assert isinstance(value, dict) and key in value, f"{path.name} names {name}"
            value = value[key]


def test_the_changelog_has_this_version():
    assert f"## {METADATA['version']}" in (CHART / "CHANGELOG.md").read_text()


def test_the_package_holds_no_test_or_example(tmp_path):
    subprocess.run([HELM, "package", str(CHART), "--destination", str(tmp_path)], check=True, capture_output=True)
    (package,) = tmp_path.glob("*.tgz")
    listing = subprocess.run(["tar", "tzf", str(package)], check=True, capture_output=True, text=True).stdout
    assert "llamacpp-app/files/llama-server-options.json" in listing
    assert "llamacpp-app/ci/" not in listing and "llamacpp-app/examples/" not in listing and "llamacpp-app/docs/" not in listing
