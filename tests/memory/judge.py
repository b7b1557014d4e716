"""Compares what `modelfetch inspect` computes with what the real llama-server allocates.

Usage: judge.py MODELFETCH JUDGES MODELS FAMILIES DOCS [--write] [--sample] [--only REGEX]

JUDGES is what tests/memory/tools builds: llama-server, servers of its RPC backend, which play cards, and gguf-parser-go.
MODELS are small models with random weights, one of each architecture that llama.cpp's own test can make; the `gguf`
package gives each the metadata of a real one (context, windows). The server loads each with several contexts, slots and
types of the caches, and the sizes of the buffers that it prints are compared, to the hundredth of a MiB. FAMILIES is the
source with the architectures that are known. The table goes between the marks in DOCS with --write; without it the whole
table must be there already. With --sample a few families are judged, and only what llama-server says of them.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import gguf

MIB = 1 << 20
# A server prints hundredths of a MiB; what differs by more than rounding is another size.
ROUNDING = 0.5
BUFFER = re.compile(r"(\S+)\s+(model|KV|RS|compute) buffer size\s*=\s*([\d.]+) MiB")
READY = "server is listening", "listening on http"
PATIENCE = 300

# context, slots (None: the server's own choice), keys, values
SETUPS = [
    (8192, None, "f16", "f16"),
    (32768, 1, "f16", "f16"),
    (65536, 4, "q8_0", "q8_0"),
    (10000, 3, "f32", "q4_0"),
]
# How layers are divided, and how many layers have their experts in main memory.
SPLITS = [("1,1", 0), ("3,1", 0), ("1,1", 1)]
CONTEXT, WINDOW = 131072, 1024
# One of each kind: grouped queries, MLA, interleaved windows, states alone, states beside attention, a bound.
SAMPLE = r"^(llama-dense|deepseek2-moe|gemma3-dense|gpt-oss-moe|mamba-dense|qwen3next-moe|granitehybrid-dense|deepseek4-moe)$"

BEGIN, END = "<!-- generated: judges -->\n", "<!-- end -->"


def adapt(source: Path, target: Path) -> None:
    """Copies a model, with a context and windows as real ones have them."""
    reader = gguf.GGUFReader(source)
    architecture = str(reader.fields["general.architecture"].contents())
    writer = gguf.GGUFWriter(target, architecture)
    changed = {
        f"{architecture}.context_length": CONTEXT,
        f"{architecture}.attention.sliding_window": WINDOW,
    }
    if any(tensor.name.startswith("position_embd") for tensor in reader.tensors):
        # It has a row for each position, and so no more of them.
        changed = {}
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind = field.types[0]
        is_empty = kind == gguf.GGUFValueType.ARRAY and not len(field.data)
        # The maker writes every key that it knows; one for how embeddings are pooled makes a model one of embeddings.
        if is_empty or name.endswith(".pooling_type") and field.contents() == 2**32 - 1:
            continue
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, changed.get(name, field.contents()), kind, sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def arguments(setup: tuple) -> list[str]:
    """What both a server and `inspect` are told."""
    context, slots, keys, values = setup
    slots = ["--parallel", str(slots)] if slots else []
    return ["--ctx-size", str(context), "--cache-type-k", keys, "--cache-type-v", values, *slots]


def load(server: Path, model: Path, options: list[str]) -> list[tuple[str, str, float]] | str:
    """What a server allocates: device, kind, MiB; or why it did not load the model."""
    # Without mmap, and without another order of the weights, a buffer is as large as its tensors.
    fixed = ["--load-mode", "none", "--no-repack", "--fit", "off", "--no-warmup", "--log-verbosity", "4"]
    command = [server, "-m", model, "--host", "127.0.0.1", "--port", str(free_port()), *fixed, *options]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    limit = threading.Timer(PATIENCE, process.kill)
    limit.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            if any(word in line for word in READY):
                break
        else:
            wrong = [line for line in lines if re.search(r"error|failed|assert|exception|terminate", line, re.I)]
            return " | ".join(wrong[-2:] or lines[-2:])
    finally:
        limit.cancel()
        process.kill()
        process.wait()
    return [(found[1], found[2], float(found[3])) for line in lines if (found := BUFFER.search(line))]


def sum_of(buffers: list[tuple[str, str, float]], *kinds: str) -> float:
    return sum(size for _, kind, size in buffers if kind in kinds)


def inspect(modelfetch: Path, model: Path, options: list[str]) -> dict:
    command = [modelfetch, "inspect", model, "--json", "--quiet", "--server-args", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["models"][0]["memory"]


def second(tool: Path, model: Path, setup: tuple) -> float | None:
    """MiB of the caches of all devices, as gguf-parser-go estimates them."""
    context, slots, keys, values = setup
    command = [tool, "-context", str(context), "-slots", str(slots or 4), "-keys", keys, "-values", values, model]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    devices = json.loads(done.stdout)["devices"]
    return sum(sum(device["kvCache"].values()) for device in devices) / MIB


class Row:
    """What was found about a model, in several runs."""

    def __init__(self, name: str):
        self.name, self.runs, self.different, self.refused, self.at_most = name, 0, [], [], False
        self.second: list[bool] = []

    def compare(self, what: str, allocated: float, computed: float, at_most: bool) -> None:
        is_right = allocated <= computed + ROUNDING if at_most else abs(allocated - computed) <= ROUNDING
        if not is_right:
            self.different.append(f"{what} {allocated:.2f}, computed {'at most ' * at_most}{computed:.2f}")

    def words(self) -> str:
        if not self.runs:
            return "not loaded"
        return "DIFFERENT" if self.different else "at most" if self.at_most else "equal"


def setups(model: Path) -> list[tuple]:
    """All of them, but for models that have a row for each position: no context is longer."""
    reader = gguf.GGUFReader(model)
    rows = [int(tensor.shape[-1]) for tensor in reader.tensors if tensor.name == "position_embd.weight"]
    return [(min(context, *rows), *rest) for context, *rest in SETUPS] if rows else SETUPS


def judge_family(judges: "Judges", model: Path, is_sample: bool) -> Row:
    row = Row(model.stem)
    for setup in setups(model):
        allocated = load(judges.server, model, arguments(setup))
        if isinstance(allocated, str):
            row.refused.append(f"{setup}: {allocated}")
            continue
        ours = inspect(judges.modelfetch, model, arguments(setup))
        row.runs += 1
        row.at_most |= ours["at_most"]
        # On the CPU alone a tied output is not loaded twice: weights are judged by devices.
        shares = [*ours["cards"], ours["main"]]
        for kind, field in {"KV": "cache", "RS": "state"}.items():
            computed = sum(share[field] for share in shares) / MIB
            # Where it is not known how an architecture remembers, it is not known either by which of the two.
            if not ours["at_most"]:
                row.compare(f"{setup}: {kind}", sum_of(allocated, kind), computed, False)
        caches = sum(share["cache"] + share["state"] for share in shares) / MIB
        row.compare(f"{setup}: caches", sum_of(allocated, "KV", "RS"), caches, ours["at_most"])
        largest = max((size for _, kind, size in allocated if kind == "compute"), default=0)
        row.compare(f"{setup}: buffers", largest, ours["main"]["compute_at_most"] / MIB, True)
        estimate = None if is_sample else second(judges.second, model, setup)
        if estimate is not None:
            row.second.append(abs(estimate - sum_of(allocated, "KV", "RS")) <= ROUNDING)
    return row


@contextmanager
def cards(judges: "Judges", count: int):
    """Addresses of servers of the RPC backend, each of which plays a card."""
    ports = [free_port() for _ in range(count)]
    command = [judges.rpc, "-H", "127.0.0.1", "-p"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    servers = [subprocess.Popen([*command, str(port)], **quiet) for port in ports]
    try:
        for port in ports:
            wait_for(port)
        yield [f"127.0.0.1:{port}" for port in ports]
    finally:
        for server in servers:
            server.kill()
            server.wait()


def wait_for(port: int) -> None:
    pause = threading.Event()
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        pause.wait(0.1)
    raise TimeoutError(f"nothing listens on port {port}")


def judge_devices(judges: "Judges", model: Path) -> Row:
    """The same with two cards: what each of them holds, and main memory."""
    row = Row(model.stem)
    setup = setups(model)[1]
    with cards(judges, 2) as addresses:
        for split, experts in SPLITS:
            options = [*arguments(setup), "--n-gpu-layers", "999", "--tensor-split", split]
            options += ["--n-cpu-moe", str(experts)] if experts else []
            allocated = load(judges.server, model, ["--rpc", ",".join(addresses), *options])
            if isinstance(allocated, str):
                row.refused.append(f"{split}: {allocated}")
                continue
            ours = inspect(judges.modelfetch, model, options)
            row.runs += 1
            row.at_most |= ours["at_most"]
            where = f"{split}, experts of {experts} layers in main memory"
            for at, (address, share) in enumerate(zip(addresses, ours["cards"])):
                of_card = [buffer for buffer in allocated if address in buffer[0]]
                on = f"{where}: card {at + 1}"
                row.compare(f"{on}: weights", sum_of(of_card, "model"), share["weights"] / MIB, False)
                caches = (share["cache"] + share["state"]) / MIB
                row.compare(f"{on}: caches", sum_of(of_card, "KV", "RS"), caches, ours["at_most"])
                row.compare(f"{on}: buffers", sum_of(of_card, "compute"), share["compute_at_most"] / MIB, True)
            main = [buffer for buffer in allocated if not any(address in buffer[0] for address in addresses)]
            row.compare(f"{where}: main memory", sum_of(main, "model"), ours["main"]["weights"] / MIB, False)
    return row


class Judges:
    def __init__(self, modelfetch: str, folder: Path):
        self.modelfetch = Path(modelfetch)
        self.server, self.rpc, self.second = (folder / name for name in ("llama-server", "ggml-rpc-server", "second"))


def table(families: list[Row], devices: list[Row], known: set[str]) -> str:
    lines = ["| model | runs | llama-server | two cards | gguf-parser-go |", "|---|---|---|---|---|"]
    for row, on_cards in zip(families, devices):
        agree = f"{sum(row.second)} of {len(row.second)}" if row.second else "cannot read it"
        lines.append(f"| {row.name} | {row.runs} + {on_cards.runs} | {row.words()} | {on_cards.words()} | {agree} |")
    judged = {re.sub(r"-(dense|moe)$", "", row.name) for row in families if row.runs}
    unjudged = ", ".join(f"`{name}`" for name in sorted(known - judged))
    return "\n".join(lines) + f"\n\nKnown by the source of llama.cpp alone, and not judged: {unjudged}.\n"


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("modelfetch", "judges", "models", "families", "docs"):
        parser.add_argument(name)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    judges = Judges(args.modelfetch, Path(args.judges))
    wanted = SAMPLE if args.sample else args.only
    sources = [source for source in sorted(Path(args.models).glob("*.gguf")) if re.search(wanted, source.stem)]
    if not sources:
        raise SystemExit(f"no model matches {wanted}")

    def judge(source: Path) -> tuple[Row, Row]:
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / source.name
            adapt(source, model)
            return judge_family(judges, model, args.sample), judge_devices(judges, model)

    families, devices = [], []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for family, on_cards in pool.map(judge, sources):
            families.append(family)
            devices.append(on_cards)
            print(f"{family.name}: {family.words()} in {family.runs}, two cards: {on_cards.words()} in {on_cards.runs}")
            for row in (family, on_cards):
                for line in [*row.different, *(f"not loaded: {why}" for why in row.refused)]:
                    print(f"    {line}")
            sys.stdout.flush()
    is_wrong = any(row.different for row in families + devices)
    if args.sample:
        is_wrong |= any(not row.runs for row in families + devices)
    if not wanted:
        source = Path(args.families).read_text().split("#[cfg(test)]")[0]
        known = set(re.findall(r'"([a-z0-9][a-z0-9_.-]*)"', source))
        found, docs = table(families, devices, known), Path(args.docs)
        before, rest = docs.read_text().split(BEGIN)
        there, after = rest.split(END, 1)
        if args.write:
            docs.write_text(before + BEGIN + found + END + after)
        elif there != found:
            print(f"the table in {docs} is another one: --write writes it")
            is_wrong = True
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
