"""The crates that are in the program, as cargo and as the program itself knows them."""

import json
import subprocess
import tomllib
import zlib
from pathlib import Path

from elftools.elf.elffile import ELFFile

REPOSITORY = Path(__file__).resolve().parents[2]


def all_of(target):
    """cargo's description of this crate and of each that takes part in a build for a target: macros and tests' too."""
    metadata = metadata_of(target)
    packages = {package["id"]: package for package in metadata["packages"]}
    return packages.pop(metadata["resolve"]["root"]), list(packages.values())


def linked(target):
    """cargo's description of each crate that the program needs to run: none that only builds or tests it, no macros."""
    metadata = metadata_of(target)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, waiting = set(), [metadata["resolve"]["root"]]
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            package = dependency["pkg"]
            is_normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if is_normal and package not in found and not is_macro(packages[package]):
                found.add(package)
                waiting.append(package)
    return sorted((packages[package] for package in found), key=key)


def metadata_of(target):
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", target]
    return json.loads(subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True).stdout)


def is_macro(package):
    return any("proc-macro" in part["kind"] for part in package["targets"])


def key(package):
    return package["name"], package["version"]


def embedded(program):
    """Names and versions of the crates in the section that cargo-auditable adds; its format is in that project's PARSING.md.
    Macros are among them: what they made is in the program."""
    with open(program, "rb") as file:
        section = ELFFile(file).get_section_by_name(".dep-v0")
        if section is None:
            raise SystemExit(f"{program} was not built by cargo auditable")
        packages = json.loads(zlib.decompress(section.data()))["packages"]
    return {key(package) for package in packages if package.get("kind", "runtime") == "runtime" and not package.get("root")}


def checksums():
    """SHA-256 of each crate's archive, from Cargo.lock."""
    lock = tomllib.loads((REPOSITORY / "Cargo.lock").read_text())
    return {key(package): package["checksum"] for package in lock["package"] if "checksum" in package}
