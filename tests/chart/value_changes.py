"""What each value of the chart changes: a table of values, where to look in the render, and what must be there."""

from dataclasses import dataclass, field

from chart import annotations, environment, nested

SEALED = nested("sealedSecret.encryptedData.loadBalancerIP", "AgBy3i4O")
IP_SECRET = nested("service.loadBalancer.ipSecret.name", "my-ip")
COMPLETIONS_INGRESS = {"enabled": True, "hosts": ["a.example.com"]}
EMBEDDINGS = {"server": {"embeddings": True}}
GATEWAY = {"enabled": True, "parentRefs": [{"name": "public"}]}
CRON = {"type": "cron", "metadata": {}}
KEDA = {"keda": {"enabled": True, "triggers": [CRON]}}
DASHBOARD = nested("metrics.dashboard.enabled", True)
POLICY = nested("networkPolicy.enabled", True)
DRA = nested("gpu.dra.enabled", True)
RULE = nested("metrics.prometheusRule.enabled", True)


@dataclass
class Change:
    """A value set to `to`, what is `seen` of it in the render, and what that must be (`then`)."""

    to: object
    seen: object
    then: object
    given: dict = field(default_factory=dict)
    options: tuple = ()


def merged(*maps):
    """Values laid over each other, as helm does it."""
    result = {}
    for m in maps:
        for key, value in m.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def after(option):
    """The word after an option in the server's arguments."""
    return lambda r: r.server_args[r.server_args.index(option) + 1]


def has_arg(option):
    return lambda r: option in r.server_args


def variable(name):
    """A variable of the download Job, None when it isn't set."""
    return lambda r: environment(fetch(r)).get(name)


def fetch(r):
    return r.job("download-model")["spec"]["template"]["spec"]["containers"][0]


def id_token(r):
    """What the download Job asks an access token for, and the audience of the token it shows for that."""
    volumes = {volume["name"]: volume for volume in download_pod(r)["volumes"]}
    if "id-token" not in volumes:
        return None
    (source,) = volumes["id-token"]["projected"]["sources"]
    return variable("HF_OIDC_RESOURCE")(r), source["serviceAccountToken"]["audience"]


def download_pod(r):
    return r.job("download-model")["spec"]["template"]["spec"]


def of_check(name):
    """A variable of the container that looks at the model before it is fetched."""
    return lambda r: environment(download_pod(r)["initContainers"][0])[name]


def helper_pod(r):
    return r.job("lb-ip-patch")["spec"]["template"]["spec"]


def helper_metadata(r):
    return r.job("lb-ip-patch")["spec"]["template"]["metadata"]


def policy(name):
    return lambda r: r.one("NetworkPolicy", name)["spec"]


def device(key):
    return lambda r: r.one("ResourceClaimTemplate")["spec"]["spec"]["devices"]["requests"][0]["exactly"].get(key)


def mount(container):
    """Where a container has the models."""
    return next(m for m in container["volumeMounts"] if m["name"] == "models")


def secret_variable(r, name="HF_TOKEN"):
    refs = [e["valueFrom"]["secretKeyRef"] for e in fetch(r)["env"] if e["name"] == name]
    return refs[0] if refs else None


def lb_ip_ref(r):
    return next(e["valueFrom"]["secretKeyRef"] for e in helper_pod(r)["containers"][0]["env"] if e["name"] == "LB_IP")


def count(kind):
    return lambda r: len(r.all(kind))


def claim_spec(key):
    return lambda r: r.claim["spec"].get(key)


def service_spec(key):
    return lambda r: r.service["spec"].get(key)


def service_annotation(key):
    return lambda r: annotations(r.service).get(key)


def pod_spec(key):
    return lambda r: r.server_pod.get(key)


def pod_template(r):
    return r.deployment["spec"]["template"]["metadata"]


def ingress(api, key):
    def seen(r):
        found = [i for i in r.all("Ingress") if i["metadata"]["name"].endswith(api)]
        return key(found[0]) if found else None
    return seen


def paths_of(i):
    return [p["path"] for p in i["spec"]["rules"][0]["http"]["paths"]]


def monitor(kind, key):
    return lambda r: key(r.one(kind)) if r.all(kind) else None


def on_every_pod(key):
    """The same part of every pod, which must be the same everywhere."""
    def seen(r):
        found = [key(spec) for _, spec in r.pods()]
        assert all(f == found[0] for f in found)
        return found[0]
    return seen


def api_ingress_changes(api, given):
    enabled = merged(given, nested(f"ingresses.{api}", {"enabled": True, "hosts": ["a.example.com"]}))
    path = f"ingresses.{api}"
    return {
        f"{path}.enabled": Change(True, ingress(api, lambda i: i["kind"]), "Ingress", merged(given, nested(f"{path}.hosts", ["a"]))),
        f"{path}.className": Change("nginx", ingress(api, lambda i: i["spec"].get("ingressClassName")), "nginx", enabled),
        f"{path}.annotations": Change({"a": "b"}, ingress(api, annotations), {"a": "b"}, enabled),
        f"{path}.hosts": Change(["b.example.com"], ingress(api, lambda i: i["spec"]["rules"][0]["host"]), "b.example.com", enabled),
        f"{path}.paths": Change(["/"], ingress(api, paths_of), ["/"], enabled),
        f"{path}.extraPaths": Change(["/infill"], ingress(api, lambda i: paths_of(i)[-1]), "/infill", enabled),
        f"{path}.tls": Change([{"secretName": "t"}], ingress(api, lambda i: i["spec"].get("tls")), [{"secretName": "t"}], enabled),
    }


def monitor_changes(kind, path, endpoint):
    enabled = nested(f"{path}.enabled", True)
    return {
        f"{path}.enabled": Change(True, count(kind), 1),
        f"{path}.labels": Change({"a": "b"}, monitor(kind, lambda m: m["metadata"]["labels"].get("a")), "b", enabled),
        f"{path}.interval": Change("10s", monitor(kind, lambda m: m["spec"][endpoint][0]["interval"]), "10s", enabled),
    }


def probe_change(name):
    timing = {"periodSeconds": 7, "timeoutSeconds": 2, "failureThreshold": 9}
    return Change(timing, lambda r: r.server[name], {"httpGet": {"path": "/health", "port": "http"}, **timing})


SCRAPED = {"server": {"apiKeySecret": {"name": "keys"}}, "metrics": {"podMonitor": {"enabled": True}}}


def scrape_key(r):
    return r.one("PodMonitor")["spec"]["podMetricsEndpoints"][0]["authorization"]["credentials"]


CHANGES = {
    # Naming
    "nameOverride": Change("gpu-chat", lambda r: r.names("Deployment"), ["llamacpp-app-gpu-chat"]),
    "fullnameOverride": Change("llama", lambda r: r.names("Service"), ["llama"]),
    "commonLabels": Change({"team": "ml"}, lambda r: {o["metadata"]["labels"].get("team") for o in r.objects}, {"ml"}),
    "imagePullSecrets": Change([{"name": "r"}], on_every_pod(lambda p: p.get("imagePullSecrets")), [{"name": "r"}]),
    # Images
    "images.pullPolicy": Change("Never", lambda r: {c["imagePullPolicy"] for c in (r.server, fetch(r))}, {"Never"}),
    "images.server.repository": Change("r.example.com/l", lambda r: r.server["image"], "r.example.com/l:server-cuda"),
    "images.server.name": Change("server", lambda r: r.server["image"], "ghcr.io/ggml-org/llama.cpp:server"),
    "images.server.tag": Change("b11434", lambda r: r.server["image"], "ghcr.io/ggml-org/llama.cpp:server-cuda-b11434"),
    "images.server.digest": Change(
        "sha256:" + "a" * 64, lambda r: r.server["image"], "ghcr.io/ggml-org/llama.cpp@sha256:" + "a" * 64),
    "images.server.image": Change("r.example.com/l:b1", lambda r: r.server["image"], "r.example.com/l:b1"),
    "images.fetch.repository": Change("r.example.com/m", lambda r: fetch(r)["image"], "r.example.com/m:0.1.0"),
    "images.fetch.tag": Change("9", lambda r: fetch(r)["image"], "modelfetch:9"),
    "images.fetch.digest": Change("sha256:" + "b" * 64, lambda r: fetch(r)["image"], "modelfetch@sha256:" + "b" * 64),
    # Model
    "model.path": Change(
        "/data", lambda r: (r.server_args[1], variable("MODELFETCH_DIR")(r), r.server["volumeMounts"][0]["mountPath"]),
        ("/data/gpt-oss-20b-mxfp4.gguf", "/data", "/data")),
    "model.dir": Change(
        "chat", lambda r: (r.server_args[1], variable("MODELFETCH_DIR")(r)), ("/models/chat/gpt-oss-20b-mxfp4.gguf", "/models/chat")),
    "model.alias": Change("mine", after("--alias"), "mine"),
    "model.repo": Change(
        "someone", lambda r: (variable("MODELFETCH_REPO")(r), variable("MODELFETCH_FILES")(r)),
        ("someone/gpt-oss-20b-GGUF", "gpt-oss-20b-mxfp4.gguf")),
    "model.file": Change(
        "x-GGUF/Q4/x.gguf", lambda r: (variable("MODELFETCH_REPO")(r), variable("MODELFETCH_FILES")(r), r.server_args[1]),
        ("ggml-org/x-GGUF", "Q4/x.gguf", "/models/Q4/x.gguf")),
    "model.revision": Change("v2", variable("MODELFETCH_REVISION"), "v2"),
    "model.sha256": Change("A" * 64, variable("MODELFETCH_SHA256"), "gpt-oss-20b-mxfp4.gguf=" + "a" * 64),
    "model.extraFiles": Change(["mmproj-*.gguf"], variable("MODELFETCH_FILES"), "gpt-oss-20b-mxfp4.gguf\nmmproj-*.gguf"),
    "model.extraSha256": Change({"m.gguf": "c" * 64}, variable("MODELFETCH_SHA256"), "m.gguf=" + "c" * 64),
    "model.localFile": Change("own/x.gguf", after("-m"), "/models/own/x.gguf", nested("fetch.mode", "none")),
    "model.size": Change("100Gi", claim_spec("resources"), {"requests": {"storage": "100Gi"}}),
    "model.hfTokenSecret.name": Change("hf", secret_variable, {"name": "hf", "key": "token"}),
    "model.hfTokenSecret.key": Change("t", secret_variable, {"name": "hf", "key": "t"}, nested("model.hfTokenSecret.name", "hf")),
    "models": Change(
        [{"name": "a", "repo": "o/r", "files": ["x.gguf"]}],
        lambda r: (r.server_args[:2], "MODELFETCH_REPO" in environment(fetch(r))),
        (["--models-preset", "/etc/llama.cpp-models/models.ini"], False)),
    "model.hfOidc.resource": Change("me", id_token, ("me", "hub"), nested("model.hfOidc.audience", "hub")),
    "model.hfOidc.audience": Change("hub", id_token, ("me", "hub"), nested("model.hfOidc.resource", "me")),
    # Download
    "fetch.mode": Change("initContainer", lambda r: (count("Job")(r), r.guard["args"]), (0, ["fetch"])),
    "fetch.guard": Change(False, lambda r: r.guard, None),
    "fetch.registrySecret": Change("login", variable("REGISTRY_AUTH_FILE"), "/etc/modelfetch/registry/.dockerconfigjson"),
    "fetch.endpoints": Change(["https://a", "https://b"], variable("MODELFETCH_ENDPOINT"), "https://a\nhttps://b"),
    "fetch.connections": Change(4, variable("MODELFETCH_CONNECTIONS"), "4"),
    "fetch.progress": Change("json", variable("MODELFETCH_PROGRESS"), "json"),
    "fetch.delta": Change(False, variable("MODELFETCH_NO_DELTA"), "true"),
    "fetch.deadline": Change("2h", variable("MODELFETCH_DEADLINE"), "2h"),
    "fetch.extraEnv": Change([{"name": "HTTPS_PROXY", "value": "http://p"}], variable("HTTPS_PROXY"), "http://p"),
    "fetch.caBundle.configMap": Change("ca", variable("SSL_CERT_FILE"), "/etc/modelfetch/ca/ca.crt"),
    "fetch.caBundle.key": Change(
        "own.pem", variable("SSL_CERT_FILE"), "/etc/modelfetch/ca/own.pem", nested("fetch.caBundle.configMap", "ca")),
    "fetch.serviceAccountName": Change("puller", lambda r: download_pod(r)["serviceAccountName"], "puller"),
    "fetch.resources": Change(
        {"limits": {"memory": "1Gi"}}, lambda r: fetch(r)["resources"]["limits"], {"memory": "1Gi"}),
    "fetch.securityContext": Change(
        {"runAsUser": 7}, lambda r: (fetch(r)["securityContext"].get("runAsUser"), r.guard["securityContext"].get("runAsUser"),
                                     r.server["securityContext"].get("runAsUser")), (7, 7, None)),
    "fetch.job.hook": Change(
        "Sync", lambda r: annotations(r.job("download-model"))["argocd.argoproj.io/hook"], "Sync"),
    "fetch.job.backoffLimit": Change(2, lambda r: r.job("download-model")["spec"]["backoffLimit"], 2),
    "fetch.job.activeDeadlineSeconds": Change(60, lambda r: r.job("download-model")["spec"]["activeDeadlineSeconds"], 60),
    "fetch.job.ttlSecondsAfterFinished": Change(
        0, lambda r: r.job("download-model")["spec"].get("ttlSecondsAfterFinished"), 0),
    "fetch.job.podAnnotations": Change(
        {"a": "b"}, lambda r: annotations(r.job("download-model")["spec"]["template"]), {"a": "b"}),
    "fetch.job.preUpgrade": Change(
        True, lambda r: annotations(r.job("download-model")).get("helm.sh/hook"), "pre-upgrade", nested("argocd.enabled", False),
        ("--is-upgrade",)),
    "fetch.job.podLabels": Change(
        {"a": "b"}, lambda r: r.job("download-model")["spec"]["template"]["metadata"]["labels"].get("a"), "b"),
    "helpers.podLabels": Change({"a": "b"}, lambda r: helper_metadata(r)["labels"].get("a"), "b", SEALED),
    "helpers.podAnnotations": Change({"a": "b"}, lambda r: helper_metadata(r).get("annotations", {}).get("a"), "b", SEALED),
    "helpers.securityContext": Change(
        {"runAsUser": 7}, lambda r: (helper_pod(r)["containers"][0]["securityContext"].get("runAsUser"),
                                     r.one("Pod")["spec"]["containers"][0]["securityContext"].get("runAsUser"),
                                     fetch(r)["securityContext"].get("runAsUser")), (7, 7, None), SEALED),
    "jobNameSuffix": Change(
        "hash", lambda r: bool(r.job("download-model")["metadata"]["name"] != "llamacpp-app-download-model"), True),
    "argocd.enabled": Change(
        False, lambda r: any("argocd" in key for o in r.objects for key in annotations(o)), False),
    # Server
    "replicaCount": Change(3, lambda r: r.deployment["spec"]["replicas"], 3),
    "server.command": Change(["/x"], lambda r: (r.server.get("command"), r.server.get("args")), (["/x"], None)),
    "server.args": Change(["serve"], lambda r: r.server_args, ["serve"]),
    "server.healthPath": Change("/healthz", lambda r: {r.server[f"{p}Probe"]["httpGet"]["path"] for p in ("startup", "readiness", "liveness")},
                                {"/healthz"}),
    "server.fit": Change(True, lambda r: (after("--fit")(r), has_arg("-c")(r), has_arg("-ngl")(r)), ("on", False, False)),
    "server.sleepIdleSeconds": Change(600, after("--sleep-idle-seconds"), "600"),
    "server.router.enabled": Change(
        False, lambda r: (r.names("Deployment"), has_arg("--models-preset")(r)), (["llamacpp-app-a"], False),
        {"models": [{"name": "a", "repo": "o/r", "files": ["x.gguf"]}], "service": {"type": "ClusterIP"}}),
    "server.router.maxModels": Change(3, after("--models-max"), "3", {"models": [{"name": "a", "repo": "o/r", "files": ["x.gguf"]}]}),
    "server.envFrom": Change([{"secretRef": {"name": "s"}}], lambda r: r.server.get("envFrom"), [{"secretRef": {"name": "s"}}]),
    "server.lifecycle": Change(
        {"preStop": {"sleep": {"seconds": 5}}}, lambda r: r.server.get("lifecycle"), {"preStop": {"sleep": {"seconds": 5}}}),
    "server.hostPort": Change(8081, lambda r: r.server["ports"][0].get("hostPort"), 8081),
    "server.host": Change("::", after("--host"), "::"),
    "server.port": Change(
        9000, lambda r: (after("--port")(r), r.server["ports"][0]["containerPort"], r.service["spec"]["ports"][0]["port"],
                         annotations({"metadata": pod_template(r)})["prometheus.io/port"]), ("9000", 9000, 9000, "9000")),
    "server.kvCache.size": Change(131072, after("-c"), "131072"),
    "server.kvCache.unified": Change(False, has_arg("--no-kv-unified"), True),
    "server.slots": Change(2, after("-np"), "2"),
    "server.metrics": Change(
        False, lambda r: (has_arg("--metrics")(r), "prometheus.io/scrape" in annotations({"metadata": pod_template(r)})),
        (False, False)),
    "server.completions": Change(
        False, lambda r: "/v1/completions" in str(r.one("HTTPRoute")), False, merged(EMBEDDINGS, {"httpRoute": GATEWAY})),
    "server.embeddings": Change(
        True, lambda r: (has_arg("--embeddings")(r), "/v1/embeddings" in str(r.one("HTTPRoute"))), (True, True),
        {"httpRoute": GATEWAY}),
    "server.reranking": Change(
        True, lambda r: (has_arg("--reranking")(r), "/v1/rerank" in str(r.one("HTTPRoute"))), (True, True), {"httpRoute": GATEWAY}),
    "server.extraArgs": Change(["-ub", 2048], lambda r: r.server_args[-2:], ["-ub", "2048"]),
    "server.checkArgs": Change(False, lambda r: r.server_args[-1], "--from-the-future",
                               {"server": {"extraArgs": ["--from-the-future"]}}),
    "server.allowTools": Change(True, lambda r: r.server_args[-1], "all", {"server": {"extraArgs": ["--tools", "all"]}}),
    "server.webui": Change(False, has_arg("--no-webui"), True),
    "server.slotsEndpoint": Change(True, lambda r: (has_arg("--slots")(r), has_arg("--no-slots")(r)), (True, False)),
    "server.apiKeySecret.name": Change(
        "keys", lambda r: ("--api-key-file" in r.server_args and after("--api-key-file")(r),
                           [v["secret"]["secretName"] for v in r.server_pod["volumes"] if "secret" in v]),
        ("/etc/llama.cpp-keys/api-key", ["keys"])),
    "server.apiKeySecret.key": Change(
        "k", after("--api-key-file"), "/etc/llama.cpp-keys/k", nested("server.apiKeySecret.name", "keys")),
    "server.extraEnv": Change([{"name": "A", "value": "b"}], lambda r: environment(r.server).get("A"), "b"),
    "server.extraVolumes": Change(
        [{"name": "x", "emptyDir": {}}], lambda r: r.server_pod["volumes"][-1], {"name": "x", "emptyDir": {}}),
    "server.extraVolumeMounts": Change(
        [{"name": "x", "mountPath": "/x"}], lambda r: r.server["volumeMounts"][-1], {"name": "x", "mountPath": "/x"}),
    "server.securityContext": Change(
        {"runAsUser": 7}, lambda r: (r.server["securityContext"].get("runAsUser"), fetch(r)["securityContext"].get("runAsUser")), (7, None)),
    "server.podSecurityContext": Change(
        {"supplementalGroups": [44]}, lambda r: (r.server_pod["securityContext"].get("supplementalGroups"),
                                                 download_pod(r)["securityContext"].get("supplementalGroups")), ([44], None)),
    "gpu.vendor": Change("amd", lambda r: r.server["resources"]["limits"], {"memory": "64Gi", "amd.com/gpu": 1}),
    "gpu.resource": Change("gpu.intel.com/xe", lambda r: r.server["resources"]["limits"], {"memory": "64Gi", "gpu.intel.com/xe": 1}),
    "gpu.deviceGroups": Change([303], lambda r: r.server_pod["securityContext"].get("supplementalGroups"), [303]),
    "gpu.enabled": Change(
        False, lambda r: ("nvidia.com/gpu" in r.server["resources"]["limits"], r.server_pod.get("tolerations"),
                          r.server_pod.get("runtimeClassName")), (False, None, None)),
    "gpu.nvidiaResource": Change(
        "nvidia.com/mig-1g.10gb", lambda r: r.server["resources"]["limits"], {"memory": "64Gi", "nvidia.com/mig-1g.10gb": 1}),
    "gpu.number": Change(2, lambda r: r.server["resources"]["limits"]["nvidia.com/gpu"], 2),
    "gpu.memory": Change("22Gi", of_check("MODELFETCH_FITS"), "22Gi"),
    "gpu.checkArchitecture": Change(
        True, lambda r: "gpt-oss" in of_check("MODELFETCH_ARCHITECTURES")(r).split(","), True),
    "gpu.dra.enabled": Change(
        True, lambda r: (r.server["resources"].get("claims"), "nvidia.com/gpu" in r.server["resources"]["limits"]),
        ([{"name": "gpu"}], False)),
    "gpu.dra.deviceClassName": Change("mig.nvidia.com", device("deviceClassName"), "mig.nvidia.com", DRA),
    "gpu.dra.selectors": Change(["true"], device("selectors"), [{"cel": {"expression": "true"}}], DRA),
    "gpu.dra.adminAccess": Change(True, device("adminAccess"), True, DRA),
    "gpu.dra.claimTemplateName": Change(
        "mine", lambda r: (r.server_pod["resourceClaims"], count("ResourceClaimTemplate")(r)),
        ([{"name": "gpu", "resourceClaimTemplateName": "mine"}], 0), DRA),
    "gpu.dra.claimName": Change(
        "mine", lambda r: (r.server_pod["resourceClaims"], count("ResourceClaimTemplate")(r)),
        ([{"name": "gpu", "resourceClaimName": "mine"}], 0), DRA),
    "gpu.nodeLabel": Change(False, on_every_pod(lambda p: p.get("nodeSelector")), None),
    "resources.requests.memory": Change("8Gi", lambda r: r.server["resources"]["requests"]["memory"], "8Gi"),
    "resources.limits.memory": Change("16Gi", lambda r: r.server["resources"]["limits"]["memory"], "16Gi"),
    # Storage
    "persistence.storageClass": Change("fast", claim_spec("storageClassName"), "fast"),
    "persistence.accessModes": Change(["ReadWriteMany"], claim_spec("accessModes"), ["ReadWriteMany"]),
    "persistence.volume": Change(
        {"nfs": {"server": "nas", "path": "/m"}}, lambda r: (count("PersistentVolumeClaim")(r), r.server_pod["volumes"][0]),
        (0, {"name": "models", "nfs": {"server": "nas", "path": "/m"}})),
    "persistence.subPath": Change("llm", lambda r: {mount(c)["subPath"] for c in (r.server, r.guard, fetch(r))}, {"llm"}),
    "persistence.existingClaim": Change(
        "mine", lambda r: (count("PersistentVolumeClaim")(r), r.server_pod["volumes"][0]["persistentVolumeClaim"]["claimName"]),
        (0, "mine")),
    "persistence.keep": Change(False, lambda r: annotations(r.claim).get("helm.sh/resource-policy"), None),
    "persistence.annotations": Change({"a": "b"}, lambda r: annotations(r.claim).get("a"), "b"),
    "persistence.coLocate": Change(False, pod_spec("affinity"), None),
    # Service and address
    "service.type": Change("ClusterIP", service_spec("type"), "ClusterIP"),
    "service.port": Change(80, lambda r: (r.service["spec"]["ports"][0]["port"], after("--port")(r)), (80, "8080")),
    "service.nodePort": Change(30080, lambda r: r.service["spec"]["ports"][0].get("nodePort"), 30080),
    "service.labels": Change({"a": "b"}, lambda r: r.service["metadata"]["labels"].get("a"), "b"),
    "service.annotations": Change({"a": "b"}, lambda r: annotations(r.service), {"a": "b"}),
    "service.externalTrafficPolicy": Change("Local", service_spec("externalTrafficPolicy"), "Local"),
    "service.loadBalancerClass": Change("metallb", service_spec("loadBalancerClass"), "metallb"),
    "service.loadBalancerSourceRanges": Change(["192.0.2.0/24"], service_spec("loadBalancerSourceRanges"), ["192.0.2.0/24"]),
    "service.loadBalancerIP": Change("192.0.2.1", service_annotation("metallb.io/loadBalancerIPs"), "192.0.2.1"),
    "service.ipFamilyPolicy": Change("PreferDualStack", service_spec("ipFamilyPolicy"), "PreferDualStack"),
    "service.ipFamilies": Change(["IPv6"], service_spec("ipFamilies"), ["IPv6"]),
    "service.loadBalancer.provider": Change(
        "spec", lambda r: (service_spec("loadBalancerIP")(r), annotations(r.service)), ("192.0.2.1", {}),
        nested("service.loadBalancerIP", "192.0.2.1")),
    "service.loadBalancer.annotationKey": Change(
        "metallb.universe.tf/loadBalancerIPs", lambda r: annotations(r.service), {"metallb.universe.tf/loadBalancerIPs": "192.0.2.1"},
        nested("service.loadBalancerIP", "192.0.2.1")),
    "service.loadBalancer.ipSecret.name": Change(
        "my-ip", lambda r: lb_ip_ref(r) if len(r.all("Job")) > 2 else None, {"name": "my-ip", "key": "loadBalancerIP"}),
    "service.loadBalancer.ipSecret.key": Change("ip", lb_ip_ref, {"name": "my-ip", "key": "ip"}, IP_SECRET),
    "sealedSecret.encryptedData.loadBalancerIP": Change(
        "AgBy3i4O", lambda r: [s["spec"]["encryptedData"] for s in r.all("SealedSecret")], [{"loadBalancerIP": "AgBy3i4O"}]),
    "sealedSecret.nameOverride": Change(
        "ips", lambda r: (r.names("SealedSecret"), lb_ip_ref(r)), (["ips"], {"name": "ips", "key": "loadBalancerIP"}), SEALED),
    "sealedSecret.scope": Change(
        "cluster-wide", lambda r: annotations(r.one("SealedSecret")).get("sealedsecrets.bitnami.com/cluster-wide"), "true", SEALED),
    "sealedSecret.patchJob.hook": Change(
        "PostSync", lambda r: annotations(r.job("lb-ip-patch"))["argocd.argoproj.io/hook"], "PostSync", SEALED),
    "sealedSecret.patchJob.backoffLimit": Change(1, lambda r: r.job("lb-ip-patch")["spec"]["backoffLimit"], 1, SEALED),
    "sealedSecret.patchJob.activeDeadlineSeconds": Change(
        30, lambda r: r.job("lb-ip-patch")["spec"]["activeDeadlineSeconds"], 30, SEALED),
    **api_ingress_changes("completions", {}),
    **api_ingress_changes("embeddings", EMBEDDINGS),
    **api_ingress_changes("reranking", {"server": {"reranking": True, "completions": False}}),
    "httpRoute.enabled": Change(True, count("HTTPRoute"), 1, nested("httpRoute.parentRefs", [{"name": "public"}])),
    "httpRoute.parentRefs": Change(
        [{"name": "other"}], monitor("HTTPRoute", lambda h: h["spec"]["parentRefs"]), [{"name": "other"}], {"httpRoute": GATEWAY}),
    "httpRoute.hostnames": Change(
        ["a.example.com"], monitor("HTTPRoute", lambda h: h["spec"].get("hostnames")), ["a.example.com"], {"httpRoute": GATEWAY}),
    "httpRoute.annotations": Change({"a": "b"}, monitor("HTTPRoute", annotations), {"a": "b"}, {"httpRoute": GATEWAY}),
    "httpRoute.paths": Change(
        ["/"], monitor("HTTPRoute", lambda h: [m["path"]["value"] for m in h["spec"]["rules"][0]["matches"]]), ["/"],
        {"httpRoute": GATEWAY}),
    "httpRoute.extraPaths": Change(
        ["/infill"], monitor("HTTPRoute", lambda h: h["spec"]["rules"][0]["matches"][-1]["path"]["value"]), "/infill", {"httpRoute": GATEWAY}),
    "httpRoute.filters": Change(
        [{"type": "URLRewrite"}], monitor("HTTPRoute", lambda h: h["spec"]["rules"][0].get("filters")), [{"type": "URLRewrite"}],
        {"httpRoute": GATEWAY}),
    "httpRoute.timeouts": Change(
        {"request": "0s"}, monitor("HTTPRoute", lambda h: h["spec"]["rules"][0].get("timeouts")), {"request": "0s"},
        {"httpRoute": GATEWAY}),
    # Pod
    "openshift.enabled": Change(True, on_every_pod(lambda p: p["securityContext"].get("runAsUser")), None),
    "runtimeClassName": Change("", pod_spec("runtimeClassName"), None),
    "nodeSelector.gpu": Change("a100", lambda r: {p["nodeSelector"]["gpu"] for _, p in r.pods()}, {"a100"}),
    "tolerations": Change(
        [{"key": "k", "operator": "Exists"}], on_every_pod(lambda p: [t["key"] for t in p["tolerations"]]), ["nvidia.com/gpu", "k"]),
    "affinity": Change({"nodeAffinity": {}}, lambda r: sorted(r.server_pod["affinity"]), ["nodeAffinity", "podAffinity"]),
    "topologySpreadConstraints": Change(
        [{"maxSkew": 1}], pod_spec("topologySpreadConstraints"), [{"maxSkew": 1}]),
    "priorityClassName": Change("high", pod_spec("priorityClassName"), "high"),
    "sidecars": Change([{"name": "proxy"}], lambda r: r.server_pod["containers"][1:], [{"name": "proxy"}]),
    "extraInitContainers": Change(
        [{"name": "wait"}], lambda r: [c["name"] for c in r.server_pod["initContainers"]], ["fetch", "wait"]),
    "deploymentAnnotations": Change({"a": "b"}, lambda r: annotations(r.deployment).get("a"), "b"),
    "podLabels": Change({"a": "b"}, lambda r: pod_template(r)["labels"].get("a"), "b"),
    "podAnnotations": Change({"a": "b"}, lambda r: pod_template(r)["annotations"].get("a"), "b"),
    "podSecurityContext": Change({"fsGroup": 5}, on_every_pod(lambda p: p["securityContext"]["fsGroup"]), 5),
    "securityContext": Change(
        {"readOnlyRootFilesystem": False},
        on_every_pod(lambda p: p["containers"][0]["securityContext"]["readOnlyRootFilesystem"]), False),
    "strategy": Change({"type": "RollingUpdate"}, lambda r: r.deployment["spec"]["strategy"], {"type": "RollingUpdate"}),
    "progressDeadlineSeconds": Change(99, lambda r: r.deployment["spec"]["progressDeadlineSeconds"], 99),
    "terminationGracePeriodSeconds": Change(9, pod_spec("terminationGracePeriodSeconds"), 9),
    "startupProbe": probe_change("startupProbe"),
    "readinessProbe": probe_change("readinessProbe"),
    "livenessProbe": probe_change("livenessProbe"),
    "serviceAccount.create": Change(False, pod_spec("serviceAccountName"), "default"),
    "serviceAccount.name": Change("mine", pod_spec("serviceAccountName"), "mine"),
    "serviceAccount.annotations": Change({"a": "b"}, lambda r: annotations(r.one("ServiceAccount", "llamacpp-app")), {"a": "b"}),
    "rbac.create": Change(False, count("Role"), 0, nested("rbac.serviceAccountName", "ops")),
    "rbac.serviceAccountName": Change(
        "ops", lambda r: [j["spec"]["template"]["spec"]["serviceAccountName"] for j in r.all("Job")
                          if j["metadata"]["name"].endswith("ensure-claim")], ["ops"], nested("rbac.create", False)),
    # Monitoring and scaling
    "metrics.apiKeySecret.name": Change("scraper", scrape_key, {"name": "scraper", "key": "api-key"}, SCRAPED),
    "metrics.apiKeySecret.key": Change(
        "one", scrape_key, {"name": "scraper", "key": "one"}, merged(SCRAPED, nested("metrics.apiKeySecret.name", "scraper"))),
    "metrics.annotations": Change(False, lambda r: "prometheus.io/scrape" in pod_template(r)["annotations"], False),
    **monitor_changes("ServiceMonitor", "metrics.serviceMonitor", "endpoints"),
    **monitor_changes("PodMonitor", "metrics.podMonitor", "podMetricsEndpoints"),
    "metrics.prometheusRule.enabled": Change(True, count("PrometheusRule"), 1),
    "metrics.prometheusRule.labels": Change(
        {"a": "b"}, monitor("PrometheusRule", lambda p: p["metadata"]["labels"].get("a")), "b", RULE),
    "metrics.prometheusRule.deferredRequests": Change(
        3, monitor("PrometheusRule", lambda p: p["spec"]["groups"][0]["rules"][1]["expr"].endswith("> 3")), True, RULE),
    "metrics.dashboard.enabled": Change(True, lambda r: r.names("ConfigMap"), ["llamacpp-app-dashboard"]),
    "metrics.dashboard.labels": Change(
        {"grafana_dashboard": "yes"}, lambda r: r.one("ConfigMap")["metadata"]["labels"]["grafana_dashboard"], "yes", DASHBOARD),
    "metrics.dashboard.annotations": Change({"a": "b"}, lambda r: annotations(r.one("ConfigMap")), {"a": "b"}, DASHBOARD),
    "autoscaling.external": Change(True, lambda r: "replicas" in r.deployment["spec"], False),
    "autoscaling.enabled": Change(
        True, lambda r: (count("HorizontalPodAutoscaler")(r), "replicas" in r.deployment["spec"]), (1, False)),
    **{
        f"autoscaling.{key}": Change(to, lambda r, seen=seen: seen(r.one("HorizontalPodAutoscaler")["spec"]), then,
                                     nested("autoscaling.enabled", True))
        for key, to, seen, then in [
            ("minReplicas", 2, lambda s: s["minReplicas"], 2),
            ("maxReplicas", 5, lambda s: s["maxReplicas"], 5),
            ("metric", "queue", lambda s: s["metrics"][0]["pods"]["metric"]["name"], "queue"),
            ("target", "4", lambda s: s["metrics"][0]["pods"]["target"]["averageValue"], "4"),
            ("behavior", {"scaleUp": {}}, lambda s: s.get("behavior"), {"scaleUp": {}}),
        ]
    },
    "keda.enabled": Change(
        True, lambda r: (count("ScaledObject")(r), "replicas" in r.deployment["spec"]), (1, False), nested("keda.triggers", [CRON])),
    **{
        f"keda.{key}": Change(to, lambda r, seen=seen: seen(r.one("ScaledObject")), then, KEDA)
        for key, to, seen, then in [
            ("minReplicas", 0, lambda o: o["spec"]["minReplicaCount"], 0),
            ("maxReplicas", 5, lambda o: o["spec"]["maxReplicaCount"], 5),
            ("cooldownSeconds", 60, lambda o: o["spec"]["cooldownPeriod"], 60),
            ("annotations", {"a": "b"}, annotations, {"a": "b"}),
            ("prometheus.serverAddress", "http://p", lambda o: o["spec"]["triggers"][0]["metadata"].get("serverAddress"), "http://p"),
            ("triggers", [{"type": "x"}], lambda o: o["spec"]["triggers"], [{"type": "x"}]),
        ]
    },
    "keda.prometheus.threshold": Change(
        "4", lambda r: r.one("ScaledObject")["spec"]["triggers"][0]["metadata"].get("threshold"), "4",
        merged(KEDA, nested("keda.prometheus.serverAddress", "http://p"))),
    "pdb.enabled": Change(True, count("PodDisruptionBudget"), 1),
    "pdb.maxUnavailable": Change(
        "50%", lambda r: r.one("PodDisruptionBudget")["spec"]["maxUnavailable"], "50%", nested("pdb.enabled", True)),
    "pdb.minAvailable": Change(
        2, lambda r: {k: v for k, v in r.one("PodDisruptionBudget")["spec"].items() if k != "selector"}, {"minAvailable": 2},
        nested("pdb.enabled", True)),
    "networkPolicy.enabled": Change(True, count("NetworkPolicy"), 2),
    "networkPolicy.from": Change(
        [{"podSelector": {}}], lambda r: policy("llamacpp-app")(r)["ingress"][0].get("from", [])[:1], [{"podSelector": {}}], POLICY),
    "networkPolicy.egressPorts": Change(
        [8443], lambda r: [p["port"] for p in policy("llamacpp-app-jobs")(r)["egress"][1]["ports"]], [8443], POLICY),
    "networkPolicy.dns": Change(
        [{"ipBlock": {"cidr": "169.254.20.10/32"}}], lambda r: policy("llamacpp-app-jobs")(r)["egress"][0]["to"],
        [{"ipBlock": {"cidr": "169.254.20.10/32"}}], POLICY),
    "networkPolicy.extraEgress": Change(
        [{"to": [{"podSelector": {}}]}], lambda r: policy("llamacpp-app-jobs")(r)["egress"][2], {"to": [{"podSelector": {}}]}, POLICY),
    "rawObjects": Change(
        [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ x }}", "labels": {}}}],
        lambda r: r.names("ConfigMap"), ["{{ x }}"]),
    "extraObjects": Change(
        ["apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-x', labels: {}}"],
        lambda r: r.names("ConfigMap"), ["llamacpp-app-x"]),
}
