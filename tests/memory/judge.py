"""Compares what `modelfetch inspect` computes with what the real llama-server allocates.

Usage: judge.py MODELFETCH LOADS RPC_SERVER ARCHS SECOND WORK [--write DOCS]

ARCHS is llama.cpp's `test-llama-archs`, which writes a small model with random weights for every architecture that
it knows; the `gguf` package then gives each the metadata of a real one (context, windows). Each is loaded with several
contexts, slots and types of the caches, and the sizes of the buffers that the server prints are compared, to the
hundredth of a MiB. SECOND is gguf-parser-go. The table goes between the marks in DOCS.
"""

import argparse
import json
import re
import socket
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import gguf

MIB = 1 << 20
BUFFER = re.compile(r"(\S+)\s+(model|KV|RS|compute) buffer size\s*=\s*([\d.]+) MiB")

# context, slots (None: the server's own choice), keys, values
SETUPS = [
    (8192, None, "f16", "f16"),
    (32768, 1, "f16", "f16"),
    (65536, 4, "q8_0", "q8_0"),
    (10000, 3, "f32", "q4_0"),
]
WINDOW = 1024


def adapt(source: Path, target: Path) -> None:
    """Copies a model, with a context and windows as real ones have them."""
    reader = gguf.GGUFReader(source)
    architecture = str(reader.fields["general.architecture"].contents())
    writer = gguf.GGUFWriter(target, architecture)
    changed = {
        f"{architecture}.context_length": 131072,
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


def flags(context: int, slots: int | None, keys: str, values: str) -> list[str]:
    return ["--cache-type-k", keys, "--cache-type-v", values] + (["--parallel", str(slots)] if slots else [])


def load(loads: str, model: Path, setup: tuple, remote: list[str]) -> dict[tuple[str, str], float] | str:
    """Buffers by device and kind in MiB, or why it was not loaded."""
    context, slots, keys, values = setup
    command = [loads, str(model), str(context), str(slots or 0), keys, values, *remote]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=300)
    lines = done.stderr.splitlines()
    if "LOADED" not in lines:
        return " | ".join(lines[-3:])
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for line in lines:
        if found := BUFFER.search(line):
            sums[found[1], found[2]] += float(found[3])
    return dict(sums)


def inspect(modelfetch: str, model: Path, setup: tuple, extra: list[str]) -> dict:
    command = [modelfetch, "inspect", str(model), "--json", "--quiet", "--ctx", str(setup[0]), *flags(*setup), *extra]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["models"][0]["memory"]


def second(tool: str, model: Path, setup: tuple) -> float | None:
    """Bytes of the caches of all devices, as gguf-parser-go estimates them."""
    context, slots, keys, values = setup
    command = [tool, "-context", str(context), "-slots", str(slots or 4), "-keys", keys, "-values", values, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    devices = json.loads(done.stdout)["devices"]
    return sum(sum(device["kvCache"].values()) for device in devices)


def compare(ours: dict, theirs: dict, kinds: dict[str, str]) -> list[str]:
    """What differs by more than rounding, summed over all devices."""
    differences = []
    for kind, field in kinds.items():
        printed = sum(size for (_, name), size in theirs.items() if name == kind)
        shares = [*ours["cards"], ours["main"]]
        computed = sum(share[field] for share in shares) / MIB
        if kind == "compute":
            bound = max(share[field] for share in shares) / MIB
            largest = max((size for (_, name), size in theirs.items() if name == kind), default=0)
            if largest > bound:
                differences.append(f"buffers {largest:.2f} > {bound:.2f}")
        elif abs(printed - computed) > 0.5:
            differences.append(f"{kind} {printed:.2f} != {computed:.2f}")
    return differences


def judge_family(args, model: Path) -> dict:
    row: dict = {"name": model.stem, "runs": 0, "different": [], "refused": [], "second": [], "at_most": False}
    for setup in SETUPS:
        printed = load(args.loads, model, setup, [])
        if isinstance(printed, str):
            row["refused"].append(printed)
            continue
        ours = inspect(args.modelfetch, model, setup, [])
        row["at_most"] |= ours["at_most"]
        row["runs"] += 1
        # On the CPU alone a tied output is not loaded twice: weights are judged by devices.
        different = compare(ours, printed, {"KV": "cache", "RS": "state", "compute": "compute_at_most"})
        if ours["at_most"]:
            bound = sum(share["cache"] + share["state"] for share in ours["cards"]) / MIB
            there = sum(size for (_, kind), size in printed.items() if kind in ("KV", "RS"))
            different = [] if there <= bound + 0.5 else [f"{there:.2f} > at most {bound:.2f}"]
        row["different"] += [f"{setup}: {what}" for what in different]
        estimate = second(args.second, model, setup) if args.second else None
        if estimate is not None:
            there = sum(size for (_, kind), size in printed.items() if kind in ("KV", "RS"))
            row["second"].append(abs(estimate / MIB - there) <= 0.5)
    return row


def judge_devices(args, model: Path) -> dict:
    """The same with two cards, each played by a server of llama.cpp's RPC backend."""
    ports = [free_port(), free_port()]
    servers = [
        subprocess.Popen([args.rpc, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for port in ports
    ]
    time.sleep(1)
    row: dict = {"name": model.stem, "runs": 0, "different": [], "refused": []}
    try:
        remote = ",".join(f"127.0.0.1:{port}" for port in ports)
        for split, experts in (("1,1", 0), ("3,1", 0), ("1,1", 1)):
            setup = SETUPS[1]
            shared = ["--tensor-split", split] + (["--n-cpu-moe", str(experts)] if experts else [])
            printed = load(args.loads, model, setup, [remote, split, str(experts)])
            if isinstance(printed, str):
                row["refused"].append(printed)
                continue
            ours = inspect(args.modelfetch, model, setup, shared)
            row["runs"] += 1
            for at in range(2):
                of_card = {kind: size for (device, kind), size in printed.items() if device.endswith(f":{ports[at]}]")}
                share = ours["cards"][at]
                for kind, field in {"model": "weights", "KV": "cache", "RS": "state"}.items():
                    there, computed = of_card.get(kind, 0.0), share[field] / MIB
                    is_bounded = ours["at_most"] and kind != "model" and there <= computed + 0.5
                    if abs(there - computed) > 0.5 and not is_bounded:
                        row["different"].append(f"card {at + 1} of {shared}: {kind} {there:.2f} != {computed:.2f}")
                if not ours["at_most"] and of_card.get("compute", 0.0) > share["compute_at_most"] / MIB:
                    row["different"].append(f"card {at + 1}: buffers {of_card['compute']:.2f}")
            main = sum(size for (device, kind), size in printed.items() if kind == "model" and "RPC" not in device)
            if abs(main - ours["main"]["weights"] / MIB) > 0.5:
                row["different"].append(f"main memory of {shared}: {main:.2f} != {ours['main']['weights'] / MIB:.2f}")
    finally:
        for server in servers:
            server.kill()
            server.wait()
    return row


def words(row: dict) -> str:
    if not row["runs"]:
        return "not loaded"
    if row["different"]:
        return "DIFFERENT"
    return "no more than computed" if row["at_most"] else "equal"


def table(families: list[dict], devices: list[dict]) -> str:
    by_name = {row["name"]: row for row in devices}
    lines = ["| model | runs | llama.cpp | two cards | gguf-parser-go |", "|---|---|---|---|---|"]
    for row in families:
        cards = by_name.get(row["name"])
        on_cards = "" if cards is None or not cards["runs"] else "DIFFERENT" if cards["different"] else "equal"
        agree = f"{sum(row['second'])} of {len(row['second'])}" if row["second"] else "cannot read it"
        lines.append(f"| {row['name']} | {row['runs']} | {words(row)} | {on_cards} | {agree} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("modelfetch", "loads", "rpc", "archs", "second", "work"):
        parser.add_argument(name)
    parser.add_argument("--write")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    work = Path(args.work)
    raw, models = work / "raw", work / "models"
    raw.mkdir(parents=True, exist_ok=True)
    models.mkdir(exist_ok=True)
    if not any(raw.iterdir()):
        subprocess.run([args.archs, str(raw)], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    families, devices = [], []
    for source in sorted(raw.glob("*.gguf")):
        if not re.search(args.only, source.stem):
            continue
        model = models / source.name
        if not model.exists():
            adapt(source, model)
        families.append(judge_family(args, model))
        devices.append(judge_devices(args, model))
        row, cards = families[-1], devices[-1]
        print(row["name"], words(row), row["different"][:2], row["refused"][:1], "| cards:", cards["runs"], cards["different"][:2], cards["refused"][:1], row["second"], flush=True)
    if args.write:
        docs = Path(args.write)
        text = docs.read_text()
        begin, end = "<!-- generated: judges -->\n", "<!-- end -->"
        before, rest = text.split(begin)
        docs.write_text(before + begin + table(families, devices) + "\n" + end + rest.split(end, 1)[1])
    return int(any(row["different"] for row in families + devices))


if __name__ == "__main__":
    sys.exit(main())
