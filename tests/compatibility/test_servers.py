"""Mirrors, which stand before the Hub, and edges, which serve the bytes."""

import contextlib

import pytest
import servers
from client import Client, holds
from conftest import CONTENT
from fake_hub import FakeHub
from parts import release

SERVERS = {
    "nginx": ("nginx-light", servers.nginx),
    "nginx, caches": ("nginx-light", servers.nginx_cache),
    "nginx, caches slices of 1 MB": ("nginx-light", servers.nginx_slices),
    "nginx, compresses": ("nginx-light", servers.nginx_gzip),
    "nginx, below a path": ("nginx-light", servers.nginx_prefix),
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


COLUMNS = pytest.mark.parametrize(
    "column", ["resume", *(pytest.param(column, marks=pytest.mark.thorough) for column in ["fetch", "again"])]
)


def row(role):
    name, comma, rest = role.partition(",")
    return f"{name} {release(SERVERS[role][0])}{comma}{rest}"


@contextlib.contextmanager
def folder(place, name):
    path = place / name
    path.mkdir()
    yield path


@COLUMNS
@pytest.mark.parametrize("role", [role for role in SERVERS if "slices" not in role])
def test_a_mirror(role, column, hub, place, cell):
    cell("mirrors", row(role), column)
    with folder(place, "server") as own, SERVERS[role][1](own, hub.endpoint) as endpoint:
        holds(Client(hub, place / "models", endpoint), column)


@COLUMNS
@pytest.mark.parametrize("role", [role for role in SERVERS if "path" not in role])
def test_an_edge(role, column, place, cell):
    cell("edges", row(role), column)
    blobs = place / "blobs"
    with (
        folder(place, "origin") as origins,
        folder(place, "server") as own,
        servers.files(origins, blobs) as origin,
        SERVERS[role][1](own, origin) as edge,
        FakeHub(*CONTENT, "--blobs", blobs, "--cdn-base", edge) as hub,
    ):
        holds(Client(hub, place / "models"), column)
