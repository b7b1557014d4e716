"""Makes pairs of an older and a newer state of a model, as people upload them again, with the `gguf` package.

    pairs.py DIRECTORY MIB

Each pair is a folder with `old/` and `new/`. The metadata is that of the fixture's model (`fixtures/gguf`); its tensors
are grown to so many MiB with pseudo-random ones. Does nothing where the pairs are already there.
"""

import shutil
import sys
from pathlib import Path

import gguf
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures/gguf"))
from make_gguf import CHAT_TEMPLATE, Noise, add_metadata  # noqa: E402

NAME = "model.gguf"
MIB = 1 << 20
ROW = 4096
"""Elements of a tensor's row."""
TENSOR = 8 * MIB
Q8_0, Q4_0 = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0
Q8_0_BLOCK = 34
"""Bytes of 32 weights: a scale and a byte for each."""


def tensors(mib, seed=1):
    """Random weights of 8 bits, tensor by tensor."""
    row = ROW // 32 * Q8_0_BLOCK
    rows = TENSOR // row
    found = []
    for number in range(max(1, mib * MIB // TENSOR)):
        blocks = np.frombuffer(np.random.Generator(np.random.PCG64([seed, number])).bytes(rows * row), np.uint8)
        blocks = blocks.reshape(-1, Q8_0_BLOCK).copy()
        # A scale that is a number: 2^-6 in half precision.
        blocks[:, :2] = np.array([0x00, 0x24], np.uint8)
        found.append((f"blk.{number}.ffn_up.weight", blocks.reshape(rows, row), Q8_0))
    return found


def quantized(mib, kind):
    """The same floats, quantized as asked."""
    noise = Noise(5)
    rows = TENSOR // (ROW // 32 * Q8_0_BLOCK)
    floats = ((number, noise.matrix(rows, ROW)) for number in range(max(1, mib * MIB // TENSOR)))
    return [(f"blk.{n}.ffn_up.weight", gguf.quants.quantize(values, kind), kind) for n, values in floats]


def write(path, found, template=CHAT_TEMPLATE, note="", shards=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=-(-len(found) // shards) if shards else 0)
    add_metadata(writer)
    writer.add_chat_template(template)
    if note:
        writer.add_string("general.notes", note)
    for name, data, kind in found:
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Pair:
    def __init__(self, directory):
        self.old, self.new = directory / "old" / NAME, directory / "new" / NAME


def metadata_grown(pair, mib):
    write(pair.old, tensors(mib))
    write(pair.new, tensors(mib), note="what is new in this version " * 110)


def template_changed(pair, mib):
    write(pair.old, tensors(mib))
    write(pair.new, tensors(mib), template=CHAT_TEMPLATE.replace("assistant", "helpful assistant"))


def tensor_changed(pair, mib):
    found = tensors(mib)
    write(pair.old, found)
    at = len(found) // 2
    found[at] = (found[at][0], tensors(8, seed=2)[0][1], Q8_0)
    write(pair.new, found)


def tensors_reordered(pair, mib):
    found = tensors(mib)
    write(pair.old, found)
    write(pair.new, found[1::2] + found[::2])


def other_quantization(pair, mib):
    write(pair.old, quantized(mib, Q8_0))
    write(pair.new, quantized(mib, Q4_0))


def shards_joined(pair, mib):
    write(pair.old, tensors(mib), shards=3)
    write(pair.new, tensors(mib))


def cut_short(pair, mib):
    """The upload broke off, and was done again."""
    write(pair.new, tensors(mib))
    whole = pair.new.read_bytes()
    pair.old.parent.mkdir(parents=True, exist_ok=True)
    pair.old.write_bytes(whole[: len(whole) * 3 // 5])


def other_model(pair, mib):
    write(pair.old, tensors(mib))
    write(pair.new, tensors(mib, seed=3))


PAIRS = {
    "metadata grown": metadata_grown,
    "chat template changed": template_changed,
    "one tensor changed": tensor_changed,
    "tensors reordered": tensors_reordered,
    "another quantization": other_quantization,
    "shards joined": shards_joined,
    "cut short before": cut_short,
    "another model": other_model,
}


def main(directory, mib, names):
    for name in names or PAIRS:
        place = directory / name.replace(" ", "-")
        if place.exists():
            continue
        # Renamed when it is complete.
        unfinished = place.with_name(place.name + ".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        PAIRS[name](Pair(unfinished), mib)
        unfinished.rename(place)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
