"""A model that changed at the Hub: what the next sync fetches of it."""

from pathlib import Path

from cluster import merged, values
from fake_hub import FakeHub
from node import ADDRESS

MODEL = "m.gguf"
CHANGED = 2 << 20
"""Bytes: more than a new version of a generated file does not share with the one before, and the answers of the CAS."""


def sent_for_a_sync(there, hub, wanted):
    """Bytes that the Hub's CDN sends for it."""
    before = hub.counts()["cdn"]["bytes"]
    operation = there.sync(wanted)
    assert operation.phase == "Succeeded", operation
    return hub.counts()["cdn"]["bytes"] - before


def test_an_update_costs_what_has_changed(volume, there, tmp_path):
    """The chart's defaults: nothing has to be asked for. The Hub speaks TLS, for no token goes to a CAS without."""
    listen = f"{ADDRESS}:0"
    with FakeHub("--listen", listen, "--cdn-listen", listen, "--tls", tmp_path, "--xet", "--file", MODEL, "--size", "48MiB") as hub:
        there.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authority"},
                     "data": {"ca.crt": Path(hub.authority).read_text()}})
        # No server: the generated file is no model that one could load.
        wanted = merged(values(hub, file=MODEL), {"replicaCount": 0, "fetch": {"caBundle": {"configMap": "authority"}}})
        size = hub.files[MODEL]["size"]

        assert sent_for_a_sync(there, hub, wanted) >= size
        hub.push(MODEL)
        assert 0 < sent_for_a_sync(there, hub, wanted) < CHANGED
        (*_, update) = there.summaries()
        assert 0 < update["bytes_fetched"] < CHANGED
        assert update["bytes_fetched"] + update["bytes_copied"] == size == volume.stat(MODEL).st_size

        hub.push(MODEL)
        assert sent_for_a_sync(there, hub, merged(wanted, {"fetch": {"delta": False}})) >= size
