"""Mirrors, which stand before the Hub, and edges, which serve the bytes."""

import contextlib

import pytest
import servers
from client import Client, holds
from conftest import CONTENT
from fake_hub import FakeHub
from parts import python_release, release

SERVERS = {
    "nginx": ("nginx-light", servers.nginx),
    "nginx, caches": ("nginx-light", servers.nginx_cache),
    "nginx, caches slices of 1 MB": ("nginx-light", servers.nginx_slices),
    "nginx, compresses": ("nginx-light", servers.nginx_gzip),
    "nginx, below a path": ("nginx-light", servers.nginx_prefix),
    "nginx, below a path that links forget": ("nginx-light", servers.nginx_forgetful_prefix),
    "Apache httpd": ("apache2", servers.apache),
    "Apache httpd, compresses": ("apache2", servers.apache_deflate),
    "HAProxy": ("haproxy", servers.haproxy),
    "Varnish, caches": ("varnish", servers.varnish),
    "Caddy": ("caddy", servers.caddy),
    "Caddy, compresses": ("caddy", servers.caddy_encode),
    "H2O, compresses": ("h2o", servers.h2o),
    "lighttpd": ("lighttpd", servers.lighttpd),
    "Squid, as accelerator": ("squid", servers.squid_accelerator),
}


TLS = {
    "nginx": ("nginx-light", servers.nginx_tls),
    "Apache httpd": ("apache2", servers.apache_tls),
    "HAProxy": ("haproxy", servers.haproxy_tls),
    "Caddy": ("caddy", servers.caddy_tls),
    "H2O": ("h2o", servers.h2o_tls),
}

SLOW = ["--file", "model.gguf", "--size", "4MB", "--small", "config.json"]
MANY = [*(word for number in range(40) for word in ["--file", f"{number:02}.bin"]), "--size", "1kB"]
OTHER_CONTENT = {"slow": SLOW, "many": MANY}


def columns(*more):
    return ["resume", *(pytest.param(column, marks=pytest.mark.thorough) for column in ["fetch", "again", *more])]


def content(column):
    return OTHER_CONTENT.get(column, CONTENT)


def row(role):
    name, comma, rest = role.partition(",")
    return f"{name} {release(SERVERS[role][0])}{comma}{rest}"


@contextlib.contextmanager
def folder(place, name):
    path = place / name
    path.mkdir()
    yield path


@pytest.mark.parametrize("column", columns("glob", "many", "slow"))
@pytest.mark.parametrize("role", [role for role in SERVERS if "slices" not in role])
def test_a_mirror(role, column, place, cell):
    cell("mirrors", row(role), column)
    judge_mirror(SERVERS[role][1], column, place)


@pytest.mark.thorough
@pytest.mark.parametrize("column", columns("glob", "many", "slow"))
def test_olah(column, place, cell):
    cell("mirrors", f"Olah {python_release('olah')}", column)
    judge_mirror(servers.olah, column, place)


@pytest.mark.thorough
@pytest.mark.parametrize("column", columns("glob", "many", "slow"))
@pytest.mark.parametrize("manager", ["Artifactory", "Nexus"])
def test_an_artifact_manager(manager, column, place, cell):
    """As the fake Hub plays it."""
    cell("mirrors", f"{manager}, as fixtures/src/manager.rs has it", column)
    with FakeHub(*content(column), "--manager", manager.lower()) as hub:
        holds(Client(hub, place / "models"), column)


def judge_mirror(server, column, place):
    with (
        folder(place, "server") as own,
        FakeHub(*content(column)) as hub,
        server(own, hub.endpoint) as endpoint,
    ):
        holds(Client(hub, place / "models", endpoint), column)


@contextlib.contextmanager
def before_blobs(place, server, column, *more):
    """A Hub whose bytes are served by this server, which has them from nginx."""
    blobs = place / "blobs"
    with (
        folder(place, "origin") as origins,
        folder(place, "edge") as own,
        servers.files(origins, blobs) as origin,
        server(own, origin, *more) as edge,
        FakeHub(*content(column), "--blobs", blobs, "--cdn-base", edge) as hub,
    ):
        yield hub


@pytest.mark.parametrize("column", columns("many", "slow"))
@pytest.mark.parametrize("role", [role for role in SERVERS if "path" not in role])
def test_an_edge(role, column, place, cell):
    cell("edges", row(role), column)
    with before_blobs(place, SERVERS[role][1], column) as hub:
        holds(Client(hub, place / "models"), column)


@pytest.mark.parametrize("column", columns())
@pytest.mark.parametrize("name", TLS)
def test_tls_of_a_private_authority(name, column, place, cell):
    """Of a mirror and of an edge."""
    package, server = TLS[name]
    cell("private authorities", f"{name} {release(package)}", column)
    authority = servers.Authority(place)
    with (
        before_blobs(place, server, column, authority) as hub,
        folder(place, "mirror") as own,
        server(own, hub.endpoint, authority) as endpoint,
    ):
        client = Client(hub, place / "models", endpoint)
        assert client.run(client.command("--give-up-after", "1s")).returncode == 30, "nobody vouches for it"
        client.environment["SSL_CERT_FILE"] = str(authority.file)
        holds(client, column)
