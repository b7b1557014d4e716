"""Every block of docs/install.md and of README's first minute is run, or is what its reader's schema allows."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import threading
import tomllib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jsonschema
import pytest
import yaml
from fake_hub import FakeHub

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/install.md").read_text()
BLOCKS = dict(re.findall(r"<!-- block: (\w+) -->\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
README = (REPOSITORY / "README.md").read_text()
# Containers, a binary, the source: the three ways in.
FIRST_MINUTE = re.findall(r"^# .*\n((?:[^#\n].*\n)+)", README[README.index("```bash") : README.index("\n```\n")] + "\n", re.MULTILINE)
VERSION = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]["version"]
# The model of all examples, which the fake Hub has under that name.
REPO, FILE = "ggml-org/gpt-oss-20b-GGUF", "gpt-oss-20b-mxfp4.gguf"


@pytest.fixture
def hub():
    with FakeHub("--repo", REPO, "--file", FILE, "--size", "2MiB") as hub:
        yield hub


def run(*command, status=0, **more):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def check_schema(tmp_path, block, schema):
    path = tmp_path / "block.yaml"
    path.write_text(BLOCKS[block])
    run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", path)
    return yaml.safe_load(BLOCKS[block])


def test_every_block_of_the_page_has_a_test():
    assert len(BLOCKS) == PAGE.count("\n```") / 2
    tests = Path(__file__).read_text()
    assert [name for name in BLOCKS if f'BLOCKS["{name}"]' not in tests and f'"{name}", ' not in tests] == []


def test_the_version_of_the_examples_is_this_one():
    assert set(re.findall(r"modelfetch[-:/v]+(\d[\d.]*\d)", PAGE + README)) == {VERSION}


@contextlib.contextmanager
def release(tmp_path):
    """The environment in which a release can be fetched from a server."""
    name = f"modelfetch-{VERSION}-{os.uname().machine}-unknown-linux-gnu"
    release = tmp_path / f"releases/download/v{VERSION}"
    release.mkdir(parents=True)
    with tarfile.open(release / f"{name}.tar.gz", "w:gz") as archive:
        archive.add(os.environ["MODELFETCH"], f"{name}/modelfetch")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        yield {"PATH": os.environ["PATH"], "REPOSITORY": address, "VERSION": VERSION}
        server.shutdown()


def test_the_tarball_is_unpacked_and_installed(tmp_path):
    with release(tmp_path) as environment:
        block = BLOCKS["tarball"].replace("/usr/local/bin", str(tmp_path))
        run("bash", "-euo", "pipefail", "-c", block, env=environment, cwd=tmp_path)
    assert run(tmp_path / "modelfetch", "--version").split() == ["modelfetch", VERSION]


def test_the_first_minute_with_a_binary_ends_with_a_model(tmp_path, hub):
    _, binary, _ = FIRST_MINUTE
    with release(tmp_path) as environment:
        lines = binary.replace("/srv/models", str(tmp_path / "models"))
        run("bash", "-euo", "pipefail", "-c", lines, env=environment | {"HF_ENDPOINT": hub.endpoint}, cwd=tmp_path)
    assert (tmp_path / "models" / FILE).stat().st_size == hub.files[FILE]["size"]


def test_the_first_minute_with_a_container_is_one_of_its_command_lines(tmp_path, hub):
    """No engine runs here: what docker is given is read, what the image is given is run where the image would."""
    for lines in [FIRST_MINUTE[0], BLOCKS["container"]]:
        words = shlex.split(lines.replace("\\\n", " "), comments=True)
        place = words.index(f"registry.example.com/modelfetch:{VERSION}")
        assert words[:3] == ["docker", "run", "--rm"] and "/srv/models:/models" in words[:place]
        work = tmp_path / str(place)
        work.mkdir()
        run(os.environ["MODELFETCH"], *words[place + 1 :], env={"HF_ENDPOINT": hub.endpoint}, cwd=work)
        assert (work / FILE).exists()


def test_the_first_minute_from_source_installs_it(tmp_path):
    install = shlex.split(FIRST_MINUTE[2].splitlines()[0])
    assert install == ["cargo", "install", "--locked", "--path", "."]
    # As built for the other tests: --debug is not what a user does, and a quarter of an hour less.
    run(*install, "--quiet", "--debug", "--root", tmp_path, cwd=REPOSITORY)
    assert run(tmp_path / "bin/modelfetch", "--version").split() == ["modelfetch", VERSION]


def test_the_variables_of_the_unit_are_those_that_the_program_takes(tmp_path, hub):
    lines = re.search(r"<<'ENV'\n(.*?)^ENV$", BLOCKS["systemd"], re.DOTALL | re.MULTILINE)[1].splitlines()
    environment = dict(line.split("=", 1) for line in lines) | {"HF_ENDPOINT": hub.endpoint}
    run(os.environ["MODELFETCH"], "fetch", env=environment, cwd=tmp_path)
    assert (tmp_path / FILE).stat().st_size == hub.files[FILE]["size"]


def test_the_units_are_what_systemd_takes(tmp_path):
    template = (REPOSITORY / "packaging/debian/modelfetch@.service").read_text()
    (tmp_path / "modelfetch@.service").write_text(template.replace("/usr/bin/modelfetch", os.environ["MODELFETCH"]))
    server = BLOCKS["unit"].replace("/usr/local/bin/llama-server", "/bin/true")
    (tmp_path / "llama-server.service").write_text(server)
    search = {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    for unit in ["modelfetch@chat.service", "llama-server.service"]:
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, env=os.environ | search
        )
        ours = [line for line in done.stderr.splitlines() if "modelfetch" in line or "llama-server" in line]
        # The user comes with the package.
        assert done.returncode == 0 and not ours, done.stderr


def test_the_unit_stops_where_another_try_cannot_help():
    template = (REPOSITORY / "packaging/debian/modelfetch@.service").read_text()
    numbers = re.search(r"^RestartPreventExitStatus=(.*)$", template, re.MULTILINE)[1].split()
    table = re.findall(r"^\| (\d+) \|.*\| fail \|$", (REPOSITORY / "README.md").read_text(), re.MULTILINE)
    assert numbers == table


def test_compose_starts_the_server_when_the_model_is_complete(tmp_path, hub):
    services = check_schema(tmp_path, "compose", "compose-spec")["services"]
    assert services["server"]["depends_on"]["model"]["condition"] == "service_completed_successfully"
    command = [str(tmp_path / "models") if word == "/models" else word for word in services["model"]["command"]]
    run(os.environ["MODELFETCH"], *command, env={"HF_ENDPOINT": hub.endpoint})
    served = services["server"]["command"][1]
    assert (tmp_path / served.lstrip("/")).exists()


def test_argo_cd_and_flux_take_their_objects():
    schemas = [json.loads(path.read_text()) for path in (REPOSITORY / "tests/chart/crds").glob("*.json")]
    known = {(s["properties"]["apiVersion"]["const"], s["properties"]["kind"]["const"]): s for s in schemas}
    values = json.loads((REPOSITORY / "chart/values.schema.json").read_text())
    objects = [*yaml.safe_load_all(BLOCKS["argocd"]), *yaml.safe_load_all(BLOCKS["flux"])]
    assert [o["kind"] for o in objects] == ["Application", "OCIRepository", "HelmRelease"]
    for o in objects:
        jsonschema.Draft202012Validator(known[o["apiVersion"], o["kind"]]).validate(o)
    application, _, release = objects
    for given in [application["spec"]["source"]["helm"]["valuesObject"], release["spec"]["values"]]:
        for key in given:
            assert key in values["properties"]


def test_the_workflow_of_github_is_one(tmp_path):
    steps = check_schema(tmp_path, "github", "github-workflows")["jobs"]["smoke"]["steps"]
    assert "modelfetch:" + VERSION in steps[0]["run"]


def test_the_job_of_gitlab_is_one_and_its_script_runs(tmp_path, hub):
    job = check_schema(tmp_path, "gitlab", "gitlab-ci")["model"]
    os.symlink(os.environ["MODELFETCH"], tmp_path / "modelfetch")
    places = {"CI_PROJECT_DIR": str(tmp_path), "HF_ENDPOINT": hub.endpoint}
    variables = {name: value.replace("$CI_PROJECT_DIR", str(tmp_path)) for name, value in job["variables"].items()}
    run("bash", "-euc", "\n".join(job["script"]), cwd=tmp_path, env=places | variables)
    assert (tmp_path / job["cache"]["paths"][0] / FILE).exists()


def test_the_line_of_ansible_runs_on_every_host(tmp_path, hub):
    inventory = tmp_path / "hosts"
    inventory.write_text(f"[gpu]\nlocalhost ansible_connection=local ansible_python_interpreter={sys.executable}\n")
    os.symlink(os.environ["MODELFETCH"], tmp_path / "modelfetch")
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "HF_ENDPOINT": hub.endpoint,
        "ANSIBLE_INVENTORY": str(inventory),
    }
    line = BLOCKS["ansible"].replace("/srv/models", str(tmp_path / "models"))
    for _ in range(2):
        assert "rc=0" in run("bash", "-euc", line, env=environment)
    assert (tmp_path / "models" / FILE).exists()
