"""The images of the pods, loaded into containerd under the names that the chart's defaults give them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from image import Buildah, build_program
from node import command

# No USER, as in llama.cpp's own image: the pod's security context has to do it.
SERVER_FILE = """
FROM scratch
COPY root /
ENV LLAMA_ARG_HOST=0.0.0.0 PATH=/usr/bin
WORKDIR /app
ENTRYPOINT ["/app/llama-server"]
"""
PAUSE_FILE = """
FROM scratch
COPY pause /
ENTRYPOINT ["/pause"]
"""


def load_images(work, names):
    """`names` says what program, server and pause are called, each by one name or more."""
    buildah = Buildah(work)
    build_program(buildah)
    build_server(buildah, Path(os.environ["LLAMA_SERVER"]))
    build_pause(buildah, Path(os.environ["COMPONENTS"], "pause"))
    for image, (name, *others) in names.items():
        archive = work / f"{image}.tar"
        buildah("push", image, f"docker-archive:{archive}:{name}")
        command("ctr", "--namespace", "k8s.io", "images", "import", archive)
        for other in others:
            command("ctr", "--namespace", "k8s.io", "images", "tag", "--force", name, other)


def build_server(buildah, server):
    """A llama-server for CPUs where the real image has one for CUDA, and curl, which that has too."""
    context = buildah.work / "server"
    curl = Path(shutil.which("curl"))
    files = {file: file for program in (server, curl) for file in libraries(program)}
    for file, place in (files | {server: "/app/llama-server", curl: "/usr/bin/curl"}).items():
        target = context / f"root{place}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    build(buildah, context, SERVER_FILE, "server")


def libraries(program):
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", listed)]


def build_pause(buildah, program):
    context = buildah.work / "pause"
    context.mkdir()
    shutil.copy(program, context / "pause")
    build(buildah, context, PAUSE_FILE, "pause")


def build(buildah, context, text, tag):
    file = context.with_suffix(".Containerfile")
    file.write_text(text)
    buildah("build", "--isolation", "chroot", "--file", file, "--tag", tag, context)
