#!/usr/bin/env python3
"""Makes the golden blocks of the kernels: random blocks of each quantised type and their floats.

Development only; nothing at run time or in the test suite needs Python. Usage:

    python3 -m venv VENV && VENV/bin/pip install gguf==0.19.0 llama-cpp-python==0.3.36
    VENV/bin/python tools/make_block_fixtures.py --out crates/kernels/tests/golden

Written is one file for each type, NAME.blocks: BLOCKS blocks, then their weights as f32. What the
`gguf` package and ggml itself (the library in llama-cpp-python) make of the blocks must be equal.
"""

import argparse
import ctypes
from pathlib import Path

import llama_cpp
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

SEED = 20261125
ELEMENTS = 1024
# Where the half floats of a block stand.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
}
# Exponent bytes of MXFP4 that are a case of their own: subnormal scales, and the greatest.
EXPONENTS = [0, 1, 2, 3, 126, 127, 128, 250]


def blocks_of(name, random):
    elements, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    blocks = random.integers(0, 256, (ELEMENTS // elements, size), dtype=np.uint8)
    for at in HALVES[name]:
        for index, block in enumerate(blocks):
            # Of both signs; the last one is subnormal.
            value = random.normal() * (1e-6 if index == len(blocks) - 1 else 0.1)
            block[at : at + 2] = np.frombuffer(np.float16(value).tobytes(), dtype=np.uint8)
    if name == "MXFP4":
        blocks[: len(EXPONENTS), 0] = EXPONENTS
        blocks[len(EXPONENTS) :, 0] = random.integers(100, 140, len(blocks) - len(EXPONENTS))
    return blocks


def by_ggml(library, name, blocks):
    function = getattr(library, "dequantize_row_" + name.lower().replace("_k", "_K"))
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    function.restype = None
    floats = np.full(ELEMENTS, np.nan, dtype=np.float32)
    function(blocks.ctypes.data, floats.ctypes.data, ELEMENTS)
    return floats


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    library = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
    random = np.random.default_rng(SEED)
    for name in HALVES:
        blocks = blocks_of(name, random)
        floats = dequantize(blocks, GGMLQuantizationType[name]).reshape(-1).astype("<f4")
        assert np.array_equal(floats, by_ggml(library, name, blocks)), name
        assert np.isfinite(floats).all(), name
        (out / f"{name}.blocks").write_bytes(blocks.tobytes() + floats.tobytes())
        print(f"{name}: {len(blocks)} blocks")


if __name__ == "__main__":
    main()
