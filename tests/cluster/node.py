"""The node: the first process of namespaces of its own (network, mounts, processes), which end with it.

`up` starts it. It lays out addresses and mounts, starts every component of the cluster, and starts again what ends.
"""

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

NODE = "node"
# The node's own network, with the load balancer's pools in it, and those of pods and services.
ADDRESS, POD_NETWORK, SERVICE_NETWORK = "10.88.0.1", "10.89.0.0/16", "10.96.0.0/16"
# The same of IPv6, which a pod has and a Service asks for.
ADDRESS6, POD_NETWORK6, SERVICE_NETWORK6 = "fd10:88::1", "fd10:89::/64", "fd10:96::/112"
API_SERVICE, API = "10.96.0.1", f"https://{ADDRESS}:6443"
CGROUP = "modelfetch-cluster"
CGROUPS = Path("/sys/fs/cgroup")
# What the kubelet would set for the whole machine.
TUNABLES = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
# Who talks to the API server: name and groups.
USERS = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
}


def command(*words, **options):
    """Runs a command to its end; what it says is seen when it fails."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr or done.stdout}")
    return done.stdout


def run_succeeds(*words):
    return subprocess.run(list(map(str, words)), capture_output=True, check=False).returncode == 0


def wait_until(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.2)


class Node:
    def __init__(self, state, components, kubectl, router):
        self.state, self.components, self.kubectl_program = Path(state), Path(components), kubectl
        self.router = router
        self.pki, self.logs, self.configs = self.state / "pki", self.state / "logs", self.state / "configs"
        self.tokens = {user: secrets.token_hex(16) for user in USERS}
        # Processes of components; the lock is held from a process' start until it is among them.
        self.running, self.lock = set(), threading.Lock()

    def run(self):
        for folder in (self.pki, self.logs, self.configs):
            folder.mkdir()
        self.lay_out_network()
        self.lay_out_mounts()
        make_cgroup(CGROUP)
        self.make_pki()
        self.write_kubeconfigs()
        self.start_all()
        self.furnish()
        (self.state / "ready").touch()
        self.keep()

    # The machine's part

    def lay_out_network(self):
        command("ip", "link", "set", "lo", "up")
        command("ip", "link", "add", "lan0", "type", "bridge")
        command("ip", "address", "add", f"{ADDRESS}/24", "dev", "lan0")
        command("ip", "address", "add", f"{ADDRESS6}/64", "dev", "lan0", "nodad")
        command("ip", "link", "set", "lan0", "up")
        # kube-proxy rewrites what has a route.
        for network in (SERVICE_NETWORK, SERVICE_NETWORK6):
            command("ip", "route", "add", network, "dev", "lan0")
        for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding", "bridge/bridge-nf-call-iptables",
                        "bridge/bridge-nf-call-ip6tables"):
            Path("/proc/sys/net", setting).write_text("1")

    def lay_out_mounts(self):
        # Pods' mounts have to appear in the kubelet's and containerd's view alike; nobody else sees these.
        command("mount", "--make-rshared", "/")
        for folder in ("/run", "/var/lib", "/var/log"):
            command("mount", "-t", "tmpfs", "tmpfs", folder)
        for path in ("/var/lib/kubelet", "/var/log/pods", "/var/lib/cni"):
            Path(path).mkdir()
            below = self.state / Path(path).name
            below.mkdir()
            command("mount", "--bind", below, path)
        for name, value in TUNABLES.items():
            stand_in(self.state, name).write_text(str(value))
            command("mount", "--bind", stand_in(self.state, name), f"/proc/sys/{name}")

    # Identities

    def make_pki(self):
        def openssl(*words):
            command("openssl", *words, cwd=self.pki)

        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", "/CN=cluster", "-keyout", "ca.key", "-out", "ca.crt")
        openssl("genrsa", "-out", "accounts.key", "2048")
        (self.pki / "extensions").write_text(
            f"subjectAltName=IP:127.0.0.1,IP:{ADDRESS},IP:{API_SERVICE},DNS:kubernetes.default.svc\n"
            "extendedKeyUsage=serverAuth,clientAuth\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-subj", "/O=system:masters/CN=kube-apiserver", "-keyout", "apiserver.key", "-out", "apiserver.csr")
        openssl("x509", "-req", "-in", "apiserver.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "extensions", "-out", "apiserver.crt")
        lines = [f'{self.tokens[u]},{name},{name},"{groups}"' for u, (name, groups) in USERS.items()]
        (self.pki / "tokens.csv").write_text("\n".join(lines) + "\n")

    def write_kubeconfigs(self):
        authority = base64.b64encode((self.pki / "ca.crt").read_bytes()).decode()
        for user, token in self.tokens.items():
            self.write_json(f"{user}.kubeconfig", {
                "apiVersion": "v1", "kind": "Config", "current-context": "it",
                "clusters": [{"name": "it", "cluster": {"server": API, "certificate-authority-data": authority}}],
                "users": [{"name": "it", "user": {"token": token}}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            })
        # What a pod has, for the sealed-secrets controller, which looks nowhere else.
        account = Path("/run/secrets/kubernetes.io/serviceaccount")
        account.mkdir(parents=True)
        (account / "ca.crt").write_bytes((self.pki / "ca.crt").read_bytes())
        (account / "token").write_text(self.tokens["admin"])
        (account / "namespace").write_text("kube-system")

    def write_json(self, name, content):
        path = self.configs / name
        path.write_text(json.dumps(content, indent=1))
        return path

    def kubeconfig(self, user):
        return self.configs / f"{user}.kubeconfig"

    # Components

    def start_all(self):
        self.start("etcd", self.components / "etcd", f"--data-dir={self.state}/etcd", "--unsafe-no-fsync",
                   "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
                   "--listen-peer-urls=http://127.0.0.1:2380")
        self.start("kube-apiserver", self.components / "kube-apiserver",
                   "--etcd-servers=http://127.0.0.1:2379", f"--advertise-address={ADDRESS}",
                   f"--service-cluster-ip-range={SERVICE_NETWORK},{SERVICE_NETWORK6}", "--authorization-mode=Node,RBAC",
                   # As every distribution sets it; whether a namespace admits such pods is Pod Security's to say.
                   "--allow-privileged",
                   "--enable-admission-plugins=NodeRestriction", f"--token-auth-file={self.pki}/tokens.csv",
                   f"--client-ca-file={self.pki}/ca.crt",
                   f"--tls-cert-file={self.pki}/apiserver.crt", f"--tls-private-key-file={self.pki}/apiserver.key",
                   f"--kubelet-client-certificate={self.pki}/apiserver.crt",
                   f"--kubelet-client-key={self.pki}/apiserver.key",
                   "--kubelet-preferred-address-types=InternalIP",
                   "--service-account-issuer=https://kubernetes.default.svc",
                   f"--service-account-key-file={self.pki}/accounts.key",
                   f"--service-account-signing-key-file={self.pki}/accounts.key")
        self.start("containerd", "containerd", "--config", self.containerd_config())
        wait_until(self.api_is_ready, "API server")
        self.start("kube-controller-manager", self.components / "kube-controller-manager",
                   f"--kubeconfig={self.kubeconfig('kube-controller-manager')}", "--use-service-account-credentials",
                   "--leader-elect=false", "--controllers=*", f"--root-ca-file={self.pki}/ca.crt",
                   f"--service-account-private-key-file={self.pki}/accounts.key")
        self.start("kube-scheduler", self.components / "kube-scheduler",
                   f"--kubeconfig={self.kubeconfig('kube-scheduler')}", "--leader-elect=false")
        self.start("kubelet", self.components / "kubelet", f"--config={self.kubelet_config()}",
                   f"--kubeconfig={self.kubeconfig('kubelet')}", f"--hostname-override={NODE}", f"--node-ip={ADDRESS},{ADDRESS6}",
                   "--node-labels=gpu=true", "--register-with-taints=nvidia.com/gpu=present:NoSchedule")
        self.start("kube-proxy", self.components / "kube-proxy", f"--config={self.proxy_config()}")

    def start(self, name, *words, **environment):
        """Starts a component, and from then on starts it again whenever it ends, as an init system does."""
        def launch():
            with self.lock, open(self.logs / f"{name}.log", "ab") as log:
                process = subprocess.Popen(list(map(str, words)), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                           env=os.environ | environment)
                self.running.add(process.pid)
            (self.state / f"{name}.pid").write_text(str(process.pid))
            return process

        def supervise(process):
            while True:
                status = process.wait()
                with self.lock:
                    self.running.remove(process.pid)
                print(f"{name} ended with {status}; starting it again", flush=True)
                time.sleep(1)
                process = launch()

        threading.Thread(target=supervise, args=[launch()], name=name, daemon=True).start()

    def api_is_ready(self):
        return self.kubectl("get", "--raw", "/readyz", check=False).returncode == 0

    def containerd_config(self):
        networks = self.configs / "cni"
        networks.mkdir()
        (networks / "bridge.conflist").write_text(json.dumps({
            "cniVersion": "0.4.0", "name": "pods",
            "plugins": [{
                "type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "hairpinMode": True,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": POD_NETWORK}], [{"subnet": POD_NETWORK6}]],
                         "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]},
            }],
        }))
        path = self.configs / "containerd.toml"
        path.write_text(f"""
version = 2
root = "{self.state}/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  # Root of a sandboxed machine may lack the right to lower it.
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{networks}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
    runtime_type = "io.containerd.runc.v2"
""")
        return path

    def kubelet_config(self):
        resolver = self.configs / "resolv.conf"
        resolver.write_text("")
        return self.write_json("kubelet.json", {
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                               "x509": {"clientCAFile": str(self.pki / "ca.crt")}},
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{CGROUP}", "failCgroupV1": False,
            "resolvConf": str(resolver), "clusterDomain": "cluster.local", "failSwapOn": False,
            # A journey that needs names answers there itself.
            "clusterDNS": [ADDRESS],
            # The machine's own disk may be full for other reasons than the cluster's.
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            # So that a test sees soon what happened.
            "syncFrequency": "10s", "nodeStatusUpdateFrequency": "5s",
        })

    def proxy_config(self):
        return self.write_json("proxy.json", {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(self.kubeconfig("kube-proxy"))},
            "mode": "iptables", "clusterCIDR": f"{POD_NETWORK},{POD_NETWORK6}", "hostnameOverride": NODE,
            # The limits of connection tracking are the whole machine's.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        })

    def furnish(self):
        """The node's device, and what a cluster has beside Kubernetes."""
        self.apply(Path(__file__).parent / "furniture.yaml", self.components / "crds")
        wait_until(lambda: self.kubectl("get", "node", NODE, check=False).returncode == 0, "node")
        if self.router:
            # Of its three parts the one that enforces network policies.
            self.start("kube-router", self.router, f"--kubeconfig={self.kubeconfig('admin')}",
                       "--run-firewall", "--run-router=false", "--run-service-proxy=false", "--enable-cni=false",
                       f"--hostname-override={NODE}", "--enable-ipv6",
                       f"--service-cluster-ip-range={SERVICE_NETWORK}", f"--service-cluster-ip-range={SERVICE_NETWORK6}")
        wait_until(Path("/var/lib/kubelet/device-plugins/kubelet.sock").exists, "kubelet's socket for devices")
        self.start("gpu", self.components / "gpu", "/var/lib/kubelet/device-plugins")
        self.start("sealed-secrets", self.components / "sealed-secrets",
                   KUBERNETES_SERVICE_HOST=ADDRESS, KUBERNETES_SERVICE_PORT="6443")
        self.start("metallb", self.components / "metallb", "--namespace=metallb-system", "--webhook-mode=disabled",
                   "--disable-cert-rotation", KUBECONFIG=str(self.kubeconfig("admin")))
        wait_until(lambda: answers("http://127.0.0.1:8080/v1/cert.pem"), "sealed-secrets controller")
        self.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=120s")
        wait_until(self.has_device, "the node's nvidia.com/gpu")

    def apply(self, furniture, definitions):
        self.kubectl("apply", "--server-side", "-f", definitions)
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        self.kubectl("apply", "-f", furniture)

    def has_device(self):
        node = json.loads(self.kubectl("get", "node", NODE, "-o", "json").stdout)
        return node["status"]["allocatable"].get("nvidia.com/gpu") == "1"

    def kubectl(self, *words, check=True):
        words = [self.kubectl_program, f"--kubeconfig={self.kubeconfig('admin')}", *map(str, words)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
        return done

    def keep(self):
        """Collects the orphans that end, as the first process must; components are collected by their own threads."""
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT).si_pid
            with self.lock:
                component = ended in self.running
            if component:
                time.sleep(0.05)
            else:
                # A component whose thread was quicker just now isn't there any more.
                with suppress(ChildProcessError):
                    os.waitpid(ended, 0)


def stand_in(state, tunable):
    """The file that is seen in a tunable's place."""
    return state / tunable.replace("/", ".")


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=2).status == 200
    except OSError:
        return False


def cgroup_hierarchies():
    """Version 2 has one, version 1 one for each controller."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink() and path.name != "unified"]


def make_cgroup(name):
    for hierarchy in cgroup_hierarchies():
        (hierarchy / name).mkdir(exist_ok=True)
        # A group of version 1 takes no process before it knows its processors.
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / setting).exists():
                (hierarchy / name / setting).write_text((hierarchy / setting).read_text())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Node(*sys.argv[1:]).run()
