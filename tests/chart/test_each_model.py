"""A Deployment and a Service for each model: one run fetches all, and each server has its own model, values and routes."""

import re
import tomllib

import pytest

from chart import RenderError, annotations, render
from test_models import CHAT, EMBED

RERANK = {"name": "rerank", "repo": "o/r", "files": ["r.gguf"], "args": ["--reranking"]}
GATEWAY = {"enabled": True, "parentRefs": [{"name": "gw"}]}
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def each(models, **more):
    """Values by which each model has a server of its own, on a claim that any node can mount."""
    values = {"service": {"type": "ClusterIP"}, "persistence": {"accessModes": ["ReadWriteMany"]}, **more}
    server = {"router": {"enabled": False}, **values.pop("server", {})}
    return {"models": models, "server": server, **values}


def deployment(r, model):
    return r.one("Deployment", f"llamacpp-app-{model}")


def server(r, model):
    return deployment(r, model)["spec"]["template"]["spec"]["containers"][0]


def models_of(template):
    return [model["name"] for model in tomllib.loads(annotations(template)["modelfetch/models.toml"])["model"]]


def paths(route):
    return {m["path"]["value"] for m in route["spec"]["rules"][0]["matches"]}


def selects(selector, template):
    return selector.items() <= template["metadata"]["labels"].items()


def test_each_model_has_a_deployment_and_a_service_that_selects_its_pods_alone():
    r = render(each([CHAT, EMBED], pdb={"enabled": True}))
    assert r.names("Deployment") == r.names("Service") == ["llamacpp-app-chat", "llamacpp-app-embed"]
    templates = {o["metadata"]["name"]: o["spec"]["template"] for o in r.all("Deployment")}
    selectors = [(o, o["spec"]["selector"]) for o in r.all("Service")]
    selectors += [(o, o["spec"]["selector"]["matchLabels"]) for o in r.all("PodDisruptionBudget") + r.all("Deployment")]
    for o, selector in selectors:
        assert [name for name, template in templates.items() if selects(selector, template)] == [o["metadata"]["name"]]


def test_one_run_fetches_all_models_and_each_pod_waits_for_its_own():
    r = render(each([CHAT, EMBED]))
    assert models_of(r.job("download-model")["spec"]["template"]) == ["chat", "embed"]
    for model in ("chat", "embed"):
        assert models_of(deployment(r, model)["spec"]["template"]) == [model]


def test_each_server_loads_its_model_under_its_name():
    vision = {**CHAT, "files": ["chat.gguf", "mmproj-F16.gguf"], "args": ["-c", 16384]}
    r = render(each([vision, EMBED], server={"extraArgs": ["-ngl", 50, "--ubatch-size", 512]}))
    chat, embed = server(r, "chat")["args"], server(r, "embed")["args"]
    assert chat[:4] == ["-m", "/models/chat/chat.gguf", "--alias", "chat"]
    assert embed[:4] == ["-m", "/models/embed/e.gguf", "--alias", "embed"]
    assert chat[chat.index("--mmproj") + 1] == "/models/chat/mmproj-F16.gguf" and "--mmproj" not in embed
    assert (chat.count("-c"), chat[chat.index("-c") + 1]) == (1, "16384"), "the server would take the last of two"
    assert "--embeddings" in embed and "--embeddings" not in chat
    assert "--models-preset" not in chat + embed
    assert chat[chat.index("-ngl") + 1] == embed[embed.index("-ngl") + 1] == "50"


def test_an_option_of_a_model_takes_the_place_of_the_releases_by_any_of_its_names():
    r = render(each([{**CHAT, "args": ["--ubatch_size", 64, "--ctx-size", 4096]}], server={"extraArgs": ["-ub", 512, "--jinja"]}))
    args = server(r, "chat")["args"]
    assert "-ub" not in args and "512" not in args and "-c" not in args
    assert "--jinja" in args and args[-4:] == ["--ubatch_size", "64", "--ctx-size", "4096"]


def test_values_of_a_model_hold_for_its_server_alone():
    own = {"gpu": {"number": 2}, "nodeSelector": {"disk": "nvme"}, "resources": {"requests": {"memory": "30Gi"}}, "replicaCount": 3}
    r = render(each([{**CHAT, "values": own}, EMBED], nodeSelector={"zone": "a"}))
    chat, embed = deployment(r, "chat")["spec"], deployment(r, "embed")["spec"]
    assert (chat["replicas"], embed["replicas"]) == (3, 1)
    assert chat["template"]["spec"]["nodeSelector"].items() >= {"disk": "nvme", "zone": "a"}.items()
    assert "disk" not in embed["template"]["spec"]["nodeSelector"]
    limits = [server(r, model)["resources"]["limits"]["nvidia.com/gpu"] for model in ("chat", "embed")]
    assert [int(limit) for limit in limits] == [2, 1]
    assert server(r, "chat")["resources"]["requests"]["memory"] == "30Gi"


def test_each_route_leads_to_who_serves_it_and_no_path_is_there_twice():
    r = render(each([CHAT, EMBED, RERANK], httpRoute=GATEWAY))
    routes = {o["metadata"]["name"]: o for o in r.all("HTTPRoute")}
    wanted = {"chat": "/v1/chat/completions", "embed": "/v1/embeddings", "rerank": "/v1/rerank"}
    for model, path in wanted.items():
        assert [name for name, route in routes.items() if path in paths(route)] == [f"llamacpp-app-{model}"]
        (backend,) = routes[f"llamacpp-app-{model}"]["spec"]["rules"][0]["backendRefs"]
        assert backend["name"] == f"llamacpp-app-{model}"
    assert sum(len(paths(route)) for route in routes.values()) == len(set().union(*map(paths, routes.values())))


def test_models_on_hosts_of_their_own_have_all_their_paths():
    def at(model, host):
        return {**model, "values": {"httpRoute": {"hostnames": [host]}}}

    r = render(each([at(CHAT, "a.example"), at({**CHAT, "name": "b"}, "b.example")], httpRoute=GATEWAY))
    first, second = r.all("HTTPRoute")
    assert paths(first) == paths(second) and first["spec"]["hostnames"] == ["a.example"]


def test_two_ingresses_of_one_host_share_no_path():
    ingress = {"enabled": True, "hosts": ["llm.example"]}
    r = render(each([CHAT, EMBED], ingresses={"completions": ingress, "embeddings": ingress}))
    rules = [(path["backend"]["service"]["name"], path["path"]) for o in r.all("Ingress") for path in o["spec"]["rules"][0]["http"]["paths"]]
    assert len({path for _, path in rules}) == len(rules)
    assert ("llamacpp-app-embed", "/v1/embeddings") in rules and ("llamacpp-app-chat", "/v1/chat/completions") in rules
    assert sorted(r.names("Ingress")) == ["llamacpp-app-chat-completions", "llamacpp-app-embed-embeddings"]


def test_each_server_is_measured_and_watched_by_its_name():
    r = render(each([CHAT, EMBED], metrics={
        "serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}}))
    for model, monitor in zip(("chat", "embed"), r.all("ServiceMonitor"), strict=True):
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["relabelings"] == [{"targetLabel": "model", "replacement": model}] and "params" not in endpoint
        assert selects(monitor["spec"]["selector"]["matchLabels"], r.one("Service", f"llamacpp-app-{model}"))
    rules = r.one("PrometheusRule")["spec"]["groups"][0]["rules"]
    down = [rule for rule in rules if rule["alert"] == "LlamaServerDown"]
    assert [re.search(r'deployment="([^"]+)"', rule["expr"])[1] for rule in down] == ["llamacpp-app-chat", "llamacpp-app-embed"]
    dashboard = next(iter(r.one("ConfigMap")["data"].values()))
    pattern = re.search(r'pod=~\\"([^"]+)\\"', dashboard)[1]
    for pod, is_ours in {"llamacpp-app-chat-7d9f-abcde": True, "llamacpp-app-embed-7d9f": True, "llamacpp-app-other-7d9f-abcde": False}.items():
        assert bool(re.fullmatch(pattern, pod)) == is_ours, pod


def test_the_network_policy_opens_the_port_of_each():
    own = {**EMBED, "values": {"server": {"port": 9000}}}
    r = render(each([CHAT, own], networkPolicy={"enabled": True}))
    policy = r.one("NetworkPolicy", "llamacpp-app")["spec"]
    assert [port["port"] for port in policy["ingress"][0]["ports"]] == [8080, 9000]
    for o in r.all("Deployment"):
        assert selects(policy["podSelector"]["matchLabels"], o["spec"]["template"])


def test_helm_test_asks_each_server():
    args = render(each([CHAT, EMBED])).one("Pod")["spec"]["containers"][0]["args"]
    assert [arg for arg in args if arg.endswith("/health")] == [f"http://llamacpp-app-{model}:8080/health" for model in ("chat", "embed")]


def test_names_of_models_become_names_of_services():
    names = ["Qwen3_Coder.30B", "x" * 60, "x" * 59 + "y", "a-"]
    r = render(each([{**CHAT, "name": name, "dir": str(i)} for i, name in enumerate(names)]), release="long-release-name-of-somebody")
    assert len(set(r.names("Service"))) == len(names)
    assert all(SERVICE_NAME.fullmatch(name) for name in r.names("Service")), r.names("Service")


@pytest.mark.parametrize("values,message", [
    ({"models": [{**CHAT, "values": {"replicaCount": 2}}]}, "values are for a Deployment of its own: set server.router.enabled=false"),
    (each([CHAT, {**CHAT, "name": "Chat", "dir": "b"}]), "two would be the Service llamacpp-app-chat"),
    (each([CHAT, EMBED], service={"type": "LoadBalancer", "loadBalancerIP": "192.0.2.1"}), "two Services want the address 192.0.2.1"),
    (each([CHAT, EMBED], service={"type": "NodePort", "nodePort": 30080}), "two Services want the node port 30080"),
    (each([CHAT, EMBED], persistence={"coLocate": False}), "can't share a ReadWriteOnce claim across nodes"),
    (each([CHAT, EMBED], persistence={"accessModes": ["ReadWriteOncePod"]}), "each model has its own"),
    (each([CHAT], server={"args": ["serve"]}), "would start them all alike"),
    (each([CHAT], server={"embeddings": True}), "write --embeddings or --reranking into its args"),
    (each([CHAT, {**CHAT, "name": "b"}], httpRoute=GATEWAY), "models[1] (b): httpRoute: another model's route has all its paths"),
    (each([CHAT], ingresses={"embeddings": {"enabled": True, "hosts": ["a.example"]}}), "no model is for embeddings by its args"),
    (each([CHAT, {**EMBED, "values": {"server": {"router": {"maxModels": 2}}}}]), "values.server.router is no value of one model"),
    (each([CHAT, {**EMBED, "values": {"server": {"extraArgs": ["--port", "1"]}}}]), "models[1] (embed): "),
], ids=str)
def test_what_cannot_work_is_refused(values, message):
    with pytest.raises(RenderError) as refusal:
        render(values)
    assert message in str(refusal.value)


def test_what_is_wrong_with_all_is_said_once():
    with pytest.raises(RenderError) as refusal:
        render(each([CHAT, EMBED], server={"extraArgs": ["--flash-atn"]}))
    assert str(refusal.value).count("--flash-atn") == 1
