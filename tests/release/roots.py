"""Roots in which a program is installed and run."""

import json
import os
import shutil
import subprocess
from pathlib import Path

RELEASE = Path(os.environ["RELEASE"])
VERSION = os.environ["VERSION"]
TARGETS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]
ARCHITECTURES = dict(zip(TARGETS, ["amd64", "arm64"]))
MACHINES = dict(zip(TARGETS, ["x86_64", "aarch64"]))


class Root:
    def __init__(self, path, target):
        self.path, self.target = path, target
        path.mkdir(exist_ok=True, parents=True)

    def emulator(self):
        """What programs of the target are run through: nothing on a machine of its kind."""
        if os.uname().machine == MACHINES[self.target]:
            return []
        name = f"qemu-{MACHINES[self.target]}-static"
        if not (self.path / name).exists():
            shutil.copy(shutil.which(name), self.path / name)
        return [f"/{name}"]

    def run(self, *command, user=0, environment=None, status=0):
        """Runs a program in the root as this user, with this environment and no other; returns what it printed."""
        change = [shutil.which("chroot"), f"--userspec={user}:{user}", self.path]
        done = subprocess.run(
            list(map(str, [*change, *self.emulator(), *command])), env=environment or {}, capture_output=True, text=True
        )
        assert done.returncode == status, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def fetch(self, program, hub, user=0):
        """Fetches with this program of the root, twice, and sees that the second time nothing is asked for but the branch."""
        models = self.path / "models"
        models.mkdir(exist_ok=True)
        os.chown(models, user, user)
        arguments = [program, "fetch", hub.repo, "model.gguf", "--dir", "/models", "--json"]
        results = [
            json.loads(self.run(*arguments, user=user, environment={"HF_ENDPOINT": hub.endpoint})) for _ in range(2)
        ]
        wanted = hub.files["model.gguf"]
        for result in results:
            assert result["files"][0]["digest"] == wanted["sha256"]
        assert results[1]["bytes_fetched"] == 0
        assert (models / "model.gguf").stat().st_size == wanted["size"]
