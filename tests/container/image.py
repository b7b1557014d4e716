"""The image, built from a binary that exists already."""

import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# A user as OpenShift makes them up, who has no name, and the group that may write to the volume.
USER, GROUP = 1000680000, 4242


@dataclass
class Image:
    archive: Path
    """A tar archive in OCI layout, with the user that a pod's security context would set."""
    config: dict
    files: dict
    """Size of each file in it, by path."""


def build_image(work):
    buildah = Buildah(work)
    build_program(buildah)
    config, files = read(buildah.archive("modelfetch"))
    # ctr has no flag for the user.
    container = buildah("from", "modelfetch")
    buildah("config", "--user", f"{USER}:{GROUP}", container)
    buildah("commit", container, "modelfetch-in-pod")
    return Image(buildah.archive("modelfetch-in-pod"), config, files)


def build_program(buildah):
    """The image `modelfetch`, as it is shipped."""
    context = buildah.work / "context"
    context.mkdir()
    shutil.copy(os.environ["MODELFETCH"], context / "modelfetch")
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", context)
    target = ["--isolation", "chroot", "--target", "prebuilt", "--file", REPOSITORY / "Dockerfile"]
    buildah("build", *target, "--tag", "modelfetch", context)


class Buildah:
    """Runs buildah with images of its own."""

    def __init__(self, work):
        self.work = work
        self.storage = ["--storage-driver", "vfs", "--root", work / "storage", "--runroot", work / "run"]

    def __call__(self, *arguments):
        command = list(map(str, ["buildah", *self.storage, *arguments]))
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def archive(self, image):
        path = self.work / f"{image}.tar"
        self("push", image, f"oci-archive:{path}:{image}:test")
        return path


def read(archive):
    with tarfile.open(archive) as outer:

        def blob(descriptor):
            return outer.extractfile("blobs/" + descriptor["digest"].replace(":", "/"))

        (entry,) = json.load(outer.extractfile("index.json"))["manifests"]
        manifest = json.load(blob(entry))
        files = {}
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=blob(layer)) as inner:
                files |= {member.name: member.size for member in inner if not member.isdir()}
        return json.load(blob(manifest["config"])), files
