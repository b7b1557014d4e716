"""Clients on nodes that share what they fetch, by Dragonfly's contract."""

from concurrent.futures import ThreadPoolExecutor

import dragonfly
import pytest
from client import Client
from conftest import CONTENT
from fake_hub import FakeHub

NODES = 4
SIGNING = {"Expires", "Issued", "Nonce", "Signature", "Key-Pair-Id"}
"""What a signature of the fake Hub's CDN consists of."""


@pytest.mark.parametrize(
    ("parameters", "downloads"),
    [
        pytest.param(SIGNING, 1, id="all-that-differs-between-signatures"),
        pytest.param(dragonfly.DEFAULT_PARAMETERS, NODES, id="the-default-list"),
    ],
)
def test_nodes_share_a_download_if_the_rule_leaves_out_the_signature(parameters, downloads, place):
    with FakeHub(*CONTENT) as hub, dragonfly.peers(hub.cdn, parameters) as peers:
        clients = [Client(hub, place / f"node-{n}") for n in range(NODES)]
        for client in clients:
            client.environment["HTTP_PROXY"] = "http://127.0.0.1:%d" % peers.server_port
        with ThreadPoolExecutor(NODES) as pool:
            list(pool.map(Client.fetch, clients))
        assert len(peers.tasks) == downloads
        assert hub.counts()["cdn"]["bytes"] == downloads * hub.files["model.gguf"]["size"]
