"""Ingress and HTTPRoute open the APIs that the server has, and nothing else."""

import itertools

import pytest

from chart import RenderError, render

SHARED = {"/v1/models", "/health"}
PATHS = {
    "completions": {"/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages"} | SHARED,
    "embeddings": {"/v1/embeddings"} | SHARED,
    "reranking": {"/v1/rerank", "/v1/reranking", "/rerank", "/reranking"} | SHARED,
}
GATEWAY = {"enabled": True, "parentRefs": [{"name": "gw"}]}
# Every way to start a server of each kind.
SERVERS = [
    ({}, ["completions"]),
    ({"embeddings": True}, ["completions", "embeddings"]),
    ({"completions": False, "embeddings": True}, ["embeddings"]),
    ({"completions": False, "reranking": True}, ["reranking"]),
    ({"completions": False, "extraArgs": ["--reranking"]}, ["reranking"]),
    ({"completions": False, "extraArgs": ["-fa", "--rerank"]}, ["reranking"]),
    ({"completions": False, "embeddings": True, "extraArgs": ["--pooling", "rank"]}, ["embeddings", "reranking"]),
    ({"completions": False, "embeddings": True, "extraEnv": [{"name": "LLAMA_ARG_POOLING", "value": "rank"}]},
     ["embeddings", "reranking"]),
]


def route_paths(server):
    (rule,) = render({"server": server, "httpRoute": GATEWAY}).one("HTTPRoute")["spec"]["rules"]
    return {m["path"]["value"] for m in rule["matches"]}


@pytest.mark.parametrize("server,apis", SERVERS, ids=str)
def test_a_route_opens_exactly_the_apis_of_the_server(server, apis):
    """A route without matches would open `/`: the web interface, /metrics and /props."""
    assert route_paths(server) == set().union(*(PATHS[api] for api in apis))


@pytest.mark.parametrize("server,apis", SERVERS, ids=str)
def test_each_api_of_the_server_may_have_an_ingress_and_no_other(server, apis):
    for api in PATHS:
        values = {"server": server, "ingresses": {api: {"enabled": True, "hosts": ["a.example.com"]}}}
        if api in apis:
            assert paths(render(values), api) == {"a.example.com": PATHS[api]}
        else:
            with pytest.raises(RenderError, match=f"ingresses.{api}.enabled=true needs server.{api}=true"):
                render(values)


def paths(r, api):
    """Paths of each host of an API's Ingress."""
    ingress = r.one("Ingress", f"llamacpp-app-{api}")
    return {rule["host"]: {p["path"] for p in rule["http"]["paths"]} for rule in ingress["spec"]["rules"]}


BOTH = {"embeddings": True}


def two_ingresses(completions, embeddings):
    return {"server": BOTH, "ingresses": {"completions": {"enabled": True, **completions}, "embeddings": {"enabled": True, **embeddings}}}


@pytest.mark.parametrize("completions,embeddings", list(itertools.product([["a"], ["a", "b"], ["b"]], [["a"], ["b", "a"], ["c"]])), ids=str)
def test_no_two_ingresses_want_one_path_of_one_host(completions, embeddings):
    r = render(two_ingresses({"hosts": completions}, {"hosts": embeddings}))
    wanted = [(host, path) for api in ("completions", "embeddings") for host, found in paths(r, api).items() for path in found]
    assert len(wanted) == len(set(wanted))
    for host in embeddings:
        open_paths = {path for h, path in wanted if h == host}
        assert PATHS["embeddings"] <= open_paths, "everything of the API stays reachable"


def test_ingresses_that_want_all_the_same_are_refused():
    with pytest.raises(RenderError, match="another Ingress has all its paths on host a"):
        render(two_ingresses({"hosts": ["a"], "paths": ["/"]}, {"hosts": ["a"], "paths": ["/"]}))
