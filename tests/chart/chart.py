"""Renders the chart with real helm and finds things in what comes out."""

import json
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from strict_yaml import objects_of

TESTS = Path(__file__).parent
CHART = TESTS.parents[1] / "chart"
SCENARIOS = sorted(CHART.glob("ci/*-values.yaml"))
HELM, HELM3 = os.environ["HELM"], os.environ["HELM3"]
RELEASE, NAMESPACE = "llamacpp-app", "applications"


class RenderError(Exception):
    """helm refused the values; the text is what the user sees."""


def render_text(values=None, *options, helm=HELM, release=RELEASE, command="template"):
    """The manifests as text. `values` is a map, or the path of a values file."""
    arguments = [helm, command, release, str(CHART), "--namespace", NAMESPACE, *options]
    stdin = None
    if isinstance(values, Path):
        arguments += ["--values", str(values)]
    elif values:
        arguments += ["--values", "-"]
        # JSON, because PyYAML leaves texts unquoted that helm reads as numbers and truths.
        stdin = json.dumps(values)
    returncode, stdout, stderr = run(tuple(arguments), stdin)
    if returncode != 0:
        raise RenderError(stderr)
    return stdout


@cache
def run(arguments, stdin):
    """helm's exit status, output and errors; the same command runs once a session."""
    done = subprocess.run(arguments, input=stdin, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@dataclass
class Render:
    """Rendered objects."""

    objects: list

    def all(self, kind):
        """Every object of a kind."""
        return [o for o in self.objects if o["kind"] == kind]

    def one(self, kind, name=None):
        """The only object of a kind (and name)."""
        found = [o for o in self.all(kind) if name in (None, o["metadata"]["name"])]
        assert len(found) == 1, f"{len(found)} objects {kind} {name or ''} in the render"
        return found[0]

    def names(self, kind):
        """Names of the objects of a kind."""
        return [o["metadata"]["name"] for o in self.all(kind)]

    @property
    def deployment(self):
        return self.one("Deployment")

    @property
    def server_pod(self):
        return self.deployment["spec"]["template"]["spec"]

    @property
    def server(self):
        """The server's container, the first one."""
        return self.server_pod["containers"][0]

    @property
    def server_args(self):
        return self.server["args"]

    @property
    def guard(self):
        """The server pod's init container, or None."""
        containers = self.server_pod.get("initContainers", [])
        return containers[0] if containers else None

    @property
    def service(self):
        return self.one("Service")

    @property
    def claim(self):
        return self.one("PersistentVolumeClaim")

    def job(self, component):
        """The Job of a component: `download-model`, `ensure-claim` or `lb-ip-patch`."""
        jobs = [j for j in self.all("Job") if j["metadata"]["labels"]["app.kubernetes.io/component"] == component]
        assert len(jobs) == 1, f"{len(jobs)} Jobs of component {component}"
        return jobs[0]

    def pods(self):
        """(name, pod spec) of every object that makes pods."""
        for o in self.objects:
            if o["kind"] in ("Deployment", "Job"):
                yield o["metadata"]["name"], o["spec"]["template"]["spec"]
            elif o["kind"] == "Pod":
                yield o["metadata"]["name"], o["spec"]


def render(values=None, *options, **how):
    """The rendered objects, read strictly."""
    return Render(objects_of(render_text(values, *options, **how)))


def nested(path, value):
    """`nested("a.b", 1)` is {"a": {"b": 1}}."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def environment(container):
    """The container's plain variables."""
    return {e["name"]: e["value"] for e in container["env"] if "value" in e}


def annotations(o):
    """The object's annotations."""
    return o["metadata"].get("annotations", {})
