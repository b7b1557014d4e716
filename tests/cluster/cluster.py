"""What journeys do on the cluster, and how they look at it."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import yaml

from chart import render_text
from fake_hub import FakeHub
from node import ADDRESS, NODE, command, run_succeeds, wait_until
from second_node import SECOND

STATE, COMPONENTS = Path(os.environ["MODELFETCH_CLUSTER"]), Path(os.environ["COMPONENTS"])
KUBECONFIG = STATE / "configs/admin.kubeconfig"
GGUF = Path(os.environ["GGUF"])
RELEASE = "llamacpp-app"
DOWNLOAD = "app.kubernetes.io/component=download-model"
SERVER = "app.kubernetes.io/component=server"
FETCHED = "tiny-llama-Q8_0.gguf"


class Namespace:
    """A namespace of its own for a journey, and the release in it."""

    def __init__(self, name):
        self.name = name
        self.syncs = []

    def kubectl(self, *words, check=True, stdin=None, seconds=180):
        words = [os.environ["KUBECTL"], f"--kubeconfig={KUBECONFIG}", "--namespace", self.name, *map(str, words)]
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
        assert done.returncode == 0 or not check, f"{' '.join(words[3:])}: {done.stderr}"
        return done

    def get(self, kind, name=RELEASE):
        """An object, or None."""
        done = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(done.stdout) if done.stdout else None

    def list(self, kind, selector=""):
        return json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json").stdout)["items"]

    def apply(self, *objects):
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    # The release

    def start_sync(self, values):
        """Argo CD's sync of the chart with these values, going on in the background."""
        manifests = render_text(values, "--namespace", self.name, release=RELEASE)
        self.syncs.append(Sync(self, manifests))
        return self.syncs[-1]

    def sync(self, values):
        return self.start_sync(values).finish()

    def synced(self, values):
        """A sync that must succeed, and the server that it leads to."""
        return self.start_sync(values).succeed()

    def delete_application(self):
        argo = subprocess.run([COMPONENTS / "argo", "delete", RELEASE, self.name], capture_output=True, text=True,
                              env=argo_environment(), timeout=180, check=False)
        assert argo.returncode == 0, argo.stderr

    def helm(self, *words, values=None, check=True):
        words = [os.environ["HELM"], *map(str, words), "--namespace", self.name]
        if values is not None:
            words += ["--values", "-"]
        done = subprocess.run(words, input=yaml.safe_dump(values) if values else None, capture_output=True, text=True,
                              env=os.environ | {"KUBECONFIG": str(KUBECONFIG)}, timeout=300, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done

    def start_helm(self, *words, values):
        """The same, going on in the background: the process."""
        words = [os.environ["HELM"], *map(str, words), "--namespace", self.name, "--values", "-"]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=os.environ | {"KUBECONFIG": str(KUBECONFIG)})
        process.stdin.write(yaml.safe_dump(values))
        process.stdin.close()
        process.stdin = None
        return process

    # What there is

    def server_pod(self):
        """The one pod of the server that is not about to go, or None."""
        pods = [pod for pod in self.list("pods", SERVER) if "deletionTimestamp" not in pod["metadata"]]
        assert len(pods) <= 1, [pod["metadata"]["name"] for pod in pods]
        return pods[0] if pods else None

    def server_is_ready(self):
        pod = self.server_pod()
        return pod is not None and condition(pod, "Ready") == "True"

    def wait_for_server(self):
        """Waits until the newest server is ready, and returns its pod."""
        self.kubectl("rollout", "status", f"deployment/{RELEASE}", "--timeout=120s")
        wait_until(self.server_is_ready, "the old server gone", 60)
        return self.server_pod()

    def job(self, component):
        """The Job of a component, or None."""
        jobs = self.list("jobs", f"app.kubernetes.io/component={component}")
        assert len(jobs) <= 1, jobs
        return jobs[0] if jobs else None

    def download_pod(self):
        """The name of the download's pod that runs."""
        (name,) = [pod["metadata"]["name"] for pod in self.list("pods", DOWNLOAD) if pod["status"]["phase"] == "Running"]
        return name

    def download_process(self):
        """The process of the download that runs, as the node numbers it; None while there is none."""
        tasks = dict(line.split()[:2] for line in command("ctr", "-n", "k8s.io", "task", "ls").splitlines()[1:])
        for pod in self.list("pods", DOWNLOAD):
            for status in pod["status"].get("containerStatuses", []):
                if "running" in status["state"]:
                    return int(tasks[status["containerID"].removeprefix("containerd://")])
        return None

    def summaries(self, selector=DOWNLOAD, container="fetch"):
        """The termination messages of a component's pods, in the order of their ends."""
        ends = [end for pod in self.list("pods", selector) for end in terminations(pod, container)]
        return [json.loads(end["message"]) for end in sorted(ends, key=lambda end: end["finishedAt"])]

    def service(self):
        return self.get("service")

    def address(self):
        """The load balancer's address, or None."""
        ingress = self.service()["status"]["loadBalancer"].get("ingress")
        return ingress[0]["ip"] if ingress else None

    # What happened, for whoever has to find out why

    def report(self):
        parts = [self.kubectl("get", "all,pvc,sealedsecrets", "-o", "wide", check=False).stdout]
        for kind in ("pods", "jobs", "pvc", "services"):
            parts.append(self.kubectl("describe", kind, check=False).stdout)
        for pod in self.list("pods"):
            name = pod["metadata"]["name"]
            logs = self.kubectl("logs", name, "--all-containers", "--prefix", "--tail=40", check=False)
            parts.append(f"logs of {name}:\n{logs.stdout}{logs.stderr}")
        parts.append(self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False).stdout)
        return "\n".join(parts)


class Sync:
    """A running sync."""

    def __init__(self, namespace, manifests):
        self.namespace = namespace
        self.process = subprocess.Popen(
            [COMPONENTS / "argo", "sync", RELEASE, namespace.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=argo_environment())
        self.process.stdin.write(manifests)
        self.process.stdin.close()
        self.process.stdin = None

    def is_over(self):
        return self.process.poll() is not None

    def terminate(self):
        self.process.kill()
        self.process.wait()

    def finish(self):
        output, errors = self.process.communicate(timeout=300)
        assert output, errors
        return Operation(json.loads(output))

    def succeed(self):
        operation = self.finish()
        assert operation.phase == "Succeeded", operation
        # Argo CD itself waits for health before PostSync only.
        self.namespace.wait_for_server()
        return operation


class Operation:
    """How a sync ended."""

    def __init__(self, result):
        self.phase, self.message = result["Phase"], result["Message"]
        self.resources = {f"{r['ResourceKey']['Kind']}/{r['ResourceKey']['Name']}": r for r in result["Resources"]}

    def __repr__(self):
        lines = [f"{key}: {r['Status']} {r['HookPhase']} {r['Message']}" for key, r in self.resources.items()]
        return "\n".join([f"{self.phase}: {self.message}", *lines])


def argo_environment():
    return os.environ | {"KUBECONFIG": str(KUBECONFIG)}


class Volume:
    """A small disk with a file system, offered to the class `longhorn`."""

    def __init__(self, name, size, mode="ReadWriteOnce"):
        self.name, self.size, self.mode = name, size, mode
        self.disk, self.path = STATE / f"{name}.disk", STATE / "volumes" / name

    def __enter__(self):
        self.path.mkdir(parents=True)
        command("truncate", "--size", str(self.size), self.disk)
        command("mkfs.ext4", "-q", "-m", "0", self.disk)
        command("mount", "-o", "loop", self.disk, self.path)
        Namespace("default").apply({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": self.name},
            "spec": {
                "capacity": {"storage": str(self.size)}, "accessModes": [self.mode], "storageClassName": "longhorn",
                "persistentVolumeReclaimPolicy": "Retain", "local": {"path": str(self.path)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE, SECOND]}]}]}},
            },
        })
        return self

    def __exit__(self, *_):
        Namespace("default").kubectl("delete", "pv", self.name, "--wait=false")
        wait_until(lambda: run_succeeds("umount", self.path), f"{self.path} unmounted", seconds=60)
        self.disk.unlink()

    def stat(self, file=FETCHED):
        return (self.path / file).stat()

    def holds(self, file=FETCHED):
        return (self.path / file).exists()


def hub(*options, files=(GGUF / FETCHED,)):
    """A fake Hub with these files, at the node's address."""
    listen = f"{ADDRESS}:0"
    local = [word for file in files for word in ("--local", file)]
    return FakeHub("--listen", listen, "--cdn-listen", listen, *local, *options)


def padded_model(folder, name, mebibytes):
    """The genuine model with bytes behind it that nobody reads: large enough to be interrupted, and it still answers."""
    path = Path(folder, name)
    with open(path, "wb") as file:
        file.write((GGUF / FETCHED).read_bytes())
        file.write(os.urandom(mebibytes << 20))
    return path


def values(hub, file=FETCHED, **more):
    """The defaults but for what can't be had here: the Hub, the model, main memory, and no `latest` to be pulled."""
    return merged({
        "images": {"server": {"tag": "b11434"}},
        "model": {"repo": hub.repo, "file": file, "alias": file.removesuffix(".gguf"), "size": "100Mi"},
        "fetch": {"endpoints": [hub.endpoint]},
        "resources": {"requests": {"memory": "128Mi"}, "limits": {"memory": "2Gi"}},
        "startupProbe": {"periodSeconds": 1},
        "readinessProbe": {"periodSeconds": 1},
    }, more)


def merged(one, other):
    """`other` over `one`, map by map."""
    both = one | other
    for key in one.keys() & other.keys():
        if isinstance(one[key], dict) and isinstance(other[key], dict):
            both[key] = merged(one[key], other[key])
    return both


def condition(o, kind):
    """The status of a condition, or None."""
    return next((c["status"] for c in o["status"].get("conditions", []) if c["type"] == kind), None)


def reason(o, kind):
    """The reason of a condition, or None."""
    return next((c.get("reason") for c in o["status"].get("conditions", []) if c["type"] == kind), None)


def terminations(pod, container):
    """Ends of a container, of the last run and of the one before."""
    statuses = [*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", [])]
    states = [s for status in statuses if status["name"] == container for s in (status["lastState"], status["state"])]
    return [state["terminated"] for state in states if "terminated" in state]


def request(url, body=None, key=None, seconds=30):
    """Status and JSON of an answer; (0, None) where nobody answers."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = json.dumps(body).encode() if body else None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=seconds) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, None
    except OSError:
        return 0, None


def chat(address, key=None, port=8080):
    """A chat completion's answer."""
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
    status, answer = request(f"http://{address}:{port}/v1/chat/completions", body, key)
    assert status == 200, status
    assert answer["choices"][0]["message"]["role"] == "assistant"
    return answer


def seal(namespace, text, name=f"{RELEASE}-lb-ip"):
    """A value sealed by kubeseal for this cluster's controller."""
    certificate = STATE / "sealed-secrets.pem"
    if not certificate.exists():
        with urllib.request.urlopen("http://127.0.0.1:8080/v1/cert.pem", timeout=10) as answer:
            certificate.write_bytes(answer.read())
    sealed = subprocess.run([COMPONENTS / "kubeseal", "--raw", "--cert", certificate, "--namespace", namespace,
                             "--name", name, "--from-file=/dev/stdin"],
                            input=text, capture_output=True, text=True, check=False)
    assert sealed.returncode == 0, sealed.stderr
    return sealed.stdout.strip()


@contextmanager
def namespace(name, labels):
    """A namespace, gone at the end with all that is in it."""
    default = Namespace("default")
    metadata = {"name": name, "labels": labels}
    default.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    there = Namespace(name)
    try:
        yield there
    finally:
        for sync in there.syncs:
            sync.terminate()
        # Emptied first: a namespace that still has pods is looked at again only seconds later.
        there.kubectl("delete", "deployments,jobs,pods,services,pvc", "--all", "--timeout=90s")
        default.kubectl("delete", "namespace", name, "--wait=false")


def free_disk_images():
    """Disks that an interrupted run left mounted."""
    for path in (STATE / "volumes").glob("*"):
        run_succeeds("umount", path)
        shutil.rmtree(path, ignore_errors=True)
