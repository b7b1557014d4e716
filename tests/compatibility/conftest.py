"""What holds with which part, as tables."""

import json
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from loopback import loopback_up

DOCUMENT = Path(__file__).parents[2] / "docs/compatibility.md"
RESULTS = pytest.StashKey[dict]()
LEADS = {
    "proxies": ["proxy", "tried"],
    "certificates": ["server", "tried"],
    "names": ["resolver", "tried"],
    "volumes": ["volume", "release"],
}
"""What stands over the first columns of a table; elsewhere there is one, and its name is the section's."""
WORDS = {"passed": "yes", "failed": "**no**", "skipped": "not tried"}


def pytest_addoption(parser):
    parser.addoption("--write", action="store_true", help="try all, and write the results into docs/compatibility.md")
    parser.addoption("--all", action="store_true", help="the same, and write nothing")
    parser.addoption("--in-guest", metavar="FILE", help="try what `guest` is for, and write the results there")


def pytest_configure(config):
    config.addinivalue_line("markers", "thorough: tried only with --write and --all")
    config.stash[RESULTS] = {}
    loopback_up()


def pytest_collection_modifyitems(config, items):
    if config.getoption("--write") or config.getoption("--all"):
        return
    is_guest = config.getoption("--in-guest")
    is_left_out = lambda item: "another_kernel" not in item.name if is_guest else item.get_closest_marker("thorough")
    left_out = [item for item in items if is_left_out(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def place():
    directory = Path(tempfile.mkdtemp(prefix="modelfetch-compatibility-"))
    # Servers that give up root must still read it.
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


CONTENT = ["--file", "model.gguf", "--size", "24MB", "--small", "config.json", "--small", "tokenizer.json"]


@pytest.fixture
def cell(record_property):
    """Says where the outcome of a test stands: the section, the row (one word or several), and the column of the table.

    A cell that more than one test fills says what the worst of them says."""

    def at(section, row, column, passed=WORDS["passed"]):
        record_property("cell", ((section, (row,) if isinstance(row, str) else row, column), passed))

    return at


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    for name, value in report.user_properties if call.when == "call" else ():
        if name == "cell":
            results, (where, passed) = item.config.stash[RESULTS], value
            if results.get(where) != WORDS["failed"]:
                results[where] = passed if report.passed else WORDS[report.outcome]
    return report


def pytest_sessionfinish(session):
    results = session.config.stash[RESULTS]
    if outcomes := session.config.getoption("--in-guest"):
        Path(outcomes).write_text(json.dumps({column: value for (*_, column), value in results.items()}))
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
    leads = LEADS.get(section, [section])
    lines = [[*leads, *columns], ["---"] * (len(leads) + len(columns))]
    lines += [[*row, *(cells.get((row, column), "–") for column in columns)] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
