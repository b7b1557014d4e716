"""Writes a model of some size that llama.cpp loads: the fixture's (`fixtures/gguf`), with a feed-forward network as wide as
it takes.

    large_model.py FILE MIB
"""

import sys
from pathlib import Path

import gguf
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures/gguf"))
from make_gguf import EMBEDDING, LAYERS, add_metadata  # noqa: E402

Q8_0 = gguf.GGMLQuantizationType.Q8_0
BLOCK = 34
"""Bytes of 32 weights: a scale and a byte for each."""


def matrix(seed, rows, columns):
    """Random weights of 8 bits, already quantized."""
    bytes_of_row = columns // 32 * BLOCK
    blocks = np.frombuffer(np.random.Generator(np.random.PCG64(seed)).bytes(rows * bytes_of_row), np.uint8)
    blocks = blocks.reshape(-1, BLOCK).copy()
    # A scale that is a number: 2^-10 in half precision.
    blocks[:, :2] = np.array([0x00, 0x14], np.uint8)
    return blocks.reshape(rows, bytes_of_row)


def main(path, mib):
    width = (mib << 20) // (LAYERS * 3 * EMBEDDING // 32 * BLOCK) // 32 * 32
    writer = gguf.GGUFWriter(path, "llama")
    vocabulary = add_metadata(writer, feed_forward=width)
    norm = np.ones(EMBEDDING, dtype=np.float32)
    shapes = {name: (EMBEDDING, EMBEDDING) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
    shapes |= {"ffn_gate": (width, EMBEDDING), "ffn_up": (width, EMBEDDING), "ffn_down": (EMBEDDING, width)}
    for name in ("token_embd", "output"):
        writer.add_tensor(f"{name}.weight", matrix(7, vocabulary, EMBEDDING), raw_dtype=Q8_0)
    writer.add_tensor("output_norm.weight", norm)
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", norm)
        for number, (name, shape) in enumerate(shapes.items()):
            writer.add_tensor(f"blk.{layer}.{name}.weight", matrix(10 * layer + number, *shape), raw_dtype=Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
