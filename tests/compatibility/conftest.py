"""What holds with which part, as a table."""

import re
import shutil
import tempfile
from pathlib import Path

import pytest
from fake_hub import FakeHub
from loopback import loopback_up

DOCUMENT = Path(__file__).parents[2] / "docs/compatibility.md"
RESULTS = pytest.StashKey[dict]()


def pytest_addoption(parser):
    parser.addoption("--write", action="store_true", help="write the results into docs/compatibility.md")


def pytest_configure(config):
    config.stash[RESULTS] = {}
    loopback_up()


@pytest.fixture
def place():
    directory = Path(tempfile.mkdtemp(prefix="modelfetch-compatibility-"))
    # Servers that give up root must still read it.
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def hub(place):
    with FakeHub(*CONTENT) as hub:
        yield hub


CONTENT = ["--file", "model.gguf", "--size", "24MB", "--small", "config.json", "--small", "tokenizer.json"]


@pytest.fixture
def cell(request, record_property):
    """Says where the outcome of a test stands: the section, the row, and the column of the table."""

    def at(section, row, column):
        record_property("cell", (section, row, column))

    return at


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    for name, value in report.user_properties if call.when == "call" else ():
        if name == "cell":
            item.config.stash[RESULTS][value] = "yes" if report.passed else "**no**"
    return report


def pytest_sessionfinish(session):
    results = session.config.stash[RESULTS]
    if not session.config.getoption("--write") or not results:
        return
    text = DOCUMENT.read_text()
    for section in dict.fromkeys(section for section, _, _ in results):
        cells = {(row, column): value for (name, row, column), value in results.items() if name == section}
        generated = f"<!-- generated: {section} -->\n{table(section, cells)}<!-- end -->"
        pattern = f"<!-- generated: {re.escape(section)} -->\n.*?<!-- end -->"
        text, found = re.subn(pattern, lambda _: generated, text, flags=re.DOTALL)
        assert found == 1, f"{DOCUMENT} has no place for `{section}`"
    DOCUMENT.write_text(text)


def table(section, cells):
    rows = dict.fromkeys(row for row, _ in cells)
    columns = dict.fromkeys(column for _, column in cells)
    lines = [[section, *columns], ["---"] * (len(columns) + 1)]
    lines += [[row, *(cells.get((row, column), "–") for column in columns)] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
