"""A second node on the same machine: a containerd and a kubelet, which see folders of their own at the paths of the first's."""

import json
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

from node import ADDRESS, CGROUP, TUNABLES, command, make_cgroup, run_succeeds, stand_in, wait_until

SECOND = "node-2"
# In a process namespace of its own, so that no container outlives it.
SCRIPT = """
set -e
{mounts}
mount --make-rshared /
containerd --config {containerd} &
{kubelet} --config={config} --kubeconfig={kubeconfig} --hostname-override={name} --node-ip={address} \
    --node-labels=gpu=true --register-with-taints=nvidia.com/gpu=present:NoSchedule &
wait -n
"""


@contextmanager
def second_node(state, components, kubectl, images):
    """Runs until the block ends. It has `images` of the first node's, the same labels and taint, and no GPU."""
    folder = state / SECOND
    folder.mkdir()
    make_cgroup(f"{CGROUP}-{SECOND}")
    archive = folder / "images.tar"
    command("ctr", "--namespace", "k8s.io", "images", "export", archive, *images)
    with open(state / f"logs/{SECOND}.log", "ab") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "slave", "--pid", "--fork", "--kill-child", "--mount-proc",
             "bash", "-c", script(state, components, folder)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        init = wait_for_child(process)
        within = ["nsenter", "--target", init, "--mount", "--pid"]
        wait_until(lambda: run_succeeds(*within, "ctr", "version"), f"containerd of {SECOND}, see logs/{SECOND}.log", 30)
        command(*within, "ctr", "--namespace", "k8s.io", "images", "import", archive)
        archive.unlink()
        wait_until(lambda: run_succeeds(*kubectl, "wait", "--for=condition=Ready", f"node/{SECOND}", "--timeout=1s"),
                   f"{SECOND}, see logs/{SECOND}.log", 60)
        yield SECOND
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)
        command(*kubectl, "delete", "node", SECOND, "--ignore-not-found")


def script(state, components, folder):
    mounts = ["mount -t tmpfs tmpfs /run/containerd"]
    for place in ("/var/lib/kubelet", "/var/log/pods", state / "containerd"):
        own = folder / Path(place).name
        own.mkdir()
        mounts.append(f"mount --bind {own} {place}")
    mounts += [f"mount --bind {stand_in(state, name)} /proc/sys/{name}" for name in TUNABLES]
    first = json.loads((state / "configs/kubelet.json").read_text())
    config = folder / "kubelet.json"
    config.write_text(json.dumps(first | {"port": 10260, "healthzPort": 0, "cgroupRoot": f"/{CGROUP}-{SECOND}"}))
    return SCRIPT.format(mounts="\n".join(mounts), containerd=state / "configs/containerd.toml",
                         kubelet=components / "kubelet", config=config,
                         # Only the first's identity is on the API server's list.
                         kubeconfig=state / "configs/admin.kubeconfig", name=SECOND, address=ADDRESS)


def wait_for_child(process):
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: children.read_text().split(), "the second node's first process", 10)
    return children.read_text().split()[0]
