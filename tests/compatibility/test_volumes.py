"""Volumes: files are fetched, resumed, found again, checked and replaced there, and a cache is kept."""

import json
import shutil
import tempfile
from pathlib import Path

import guest
import pytest
from client import Client, holds
from conftest import CONTENT
from fake_hub import FakeHub
from volumes import IN_GUEST, QUICK, REFUSED, THOROUGH, settle

COLUMNS = ["fetch", "resume", "again", "verify", "moved", "cache"]
HERE = QUICK | THOROUGH


@pytest.fixture(scope="module")
def hubs():
    """One repository at two commits."""
    with FakeHub(*CONTENT) as now, FakeHub(*CONTENT, "--seed", 77) as later:
        yield now, later


def cells(kinds, quick=()):
    def marks(kind, column):
        return () if kind in quick and column == "resume" else pytest.mark.thorough

    return [pytest.param(kind, column, marks=marks(kind, column)) for kind in kinds for column in COLUMNS]


def judge(mount, column, hubs, place):
    with mount(place) as volume:
        now, later = (Client(hub, volume / "models") for hub in hubs)
        now.settle = later.settle = lambda: settle(volume)
        if column == "moved":
            now.fetch()
            later.fetch()
        else:
            holds(now, column)


@pytest.mark.parametrize("kind, column", cells(HERE, QUICK))
def test_a_volume(kind, column, hubs, place, cell):
    mount, tell = HERE[kind]
    cell("volumes", (kind, tell()), column)
    judge(mount, column, hubs, place)


@pytest.mark.parametrize("kind, column", cells(REFUSED))
def test_a_volume_that_is_told_before_the_download(kind, column, hubs, place, cell):
    mount, tell, said = REFUSED[kind]
    cell("volumes", (kind, tell()), column, passed="told")
    before = hubs[0].counts()["cdn"]
    with mount(place) as volume:
        client = Client(hubs[0], volume / "models")
        ended = client.run(client.command())
        assert ended.returncode == 22 and said in ended.stderr, f"exit {ended.returncode}: {ended.stderr}"
    assert hubs[0].counts()["cdn"] == before


@pytest.fixture(scope="module")
def outcomes():
    """What a guest found out about a volume, by column: one start for all of them."""
    known = {}

    def of(kind):
        if kind not in known:
            place = Path(tempfile.mkdtemp(prefix="modelfetch-guest-"))
            try:
                said = guest.run(place, __file__, "--in-guest", place / "outcomes", "-k", kind.split()[0])
                assert (place / "outcomes").exists(), said
                known[kind] = json.loads((place / "outcomes").read_text()), said
            finally:
                shutil.rmtree(place)
        return known[kind]

    return of


@pytest.mark.parametrize("kind, column", cells(IN_GUEST))
def test_a_volume_of_another_kernel(kind, column, hubs, place, cell, outcomes, request):
    mount, tell = IN_GUEST[kind]
    if request.config.getoption("--in-guest"):
        cell("volumes", (kind, ""), column)
        return judge(mount, column, hubs, place)
    cell("volumes", (kind, f"{tell()}, Linux {guest.release()}"), column)
    found, said = outcomes(kind)
    assert found.get(column) == "yes", said
