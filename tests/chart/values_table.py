#!/usr/bin/env python3
"""Makes the values table in chart/README.md from the comments in chart/values.yaml.

    values_table.py            rewrite the table
    values_table.py --check    exit 1 when the table is stale
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

CHART = Path(__file__).parents[2] / "chart"
BEGIN, END = "<!-- values: made by tests/chart/values_table.py -->", "<!-- end of values -->"
KEY = re.compile(r"^(?P<indent> *)(?P<key>[\w.]+):(?P<rest>.*)$")


@dataclass
class Value:
    """A key of values.yaml that has a comment."""

    path: str
    text: str
    section: str
    default: object


def documented(source):
    """Every commented key, in order, without those that only introduce commented keys below them."""
    defaults = yaml.safe_load(source)
    values, parents, comment, section = [], [], [], ""
    for line in source.splitlines():
        stripped = line.strip()
        if line.startswith("## "):
            section, comment = line[3:], []
        elif stripped.startswith("# "):
            comment.append(stripped[2:])
        elif not stripped:
            comment = []
        elif match := KEY.match(line):
            depth = len(match["indent"]) // 2
            parents = parents[:depth] + [match["key"]]
            if comment:
                values.append(Value(".".join(parents), " ".join(comment), section, at(defaults, parents)))
            comment = []
    paths = [v.path for v in values]
    return [v for v in values if not any(p.startswith(v.path + ".") for p in paths)]


def at(tree, path):
    """The value at a path."""
    for key in path:
        tree = tree[key]
    return tree


def leaves(tree, path=()):
    """The path of every value that is no map with keys."""
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    else:
        yield ".".join(path)


def table(values):
    """The table's Markdown, one heading per section."""
    lines, section = [], None
    for value in values:
        if value.section != section:
            section = value.section
            lines += ["", f"### {section}", "", "| Value | Description | Default |", "|---|---|---|"]
        text = value.text.replace("|", "\\|")
        default = json.dumps(value.default, ensure_ascii=False).replace("|", "\\|")
        lines.append(f"| `{value.path}` | {text} | `{default}` |")
    return "\n".join([BEGIN, *lines, "", END])


def with_table(readme, values):
    """The README with the table made anew."""
    begin, end = readme.index(BEGIN), readme.index(END) + len(END)
    return readme[:begin] + table(values) + readme[end:]


if __name__ == "__main__":
    path = CHART / "README.md"
    readme = path.read_text()
    fresh = with_table(readme, documented((CHART / "values.yaml").read_text()))
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if fresh == readme else f"{path}: the values table is stale; run tests/chart/values_table.py")
    path.write_text(fresh)
