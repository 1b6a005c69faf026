"""Makes crates/model/tests/golden/families: tiny random checkpoints and what transformers computes of them.

Development only. Needs the packages of tools/requirements-goldens.txt:

    python tools/make_goldens.py [--llama-cpp DIR] [ROW ...]

Each row is a folder as its family is published (config.json, model.safetensors in BF16, FP8 or MXFP4) with
a golden.safetensors beside: for three prompts their tokens, the float32 logits of every position, and
sixteen greedy tokens. Every norm, bias and gate is moved away from its default, where a mistake in it
would not show. Running it again gives the same bytes.

With a source tree of llama.cpp (its converter, `conversion` and `gguf-py`; the source package of
llama-cpp-python 0.3.36 on PyPI has it in vendor/llama.cpp), each row that GGUF can describe is also written
so, the same weights in BF16 or MXFP4, to crates/model/tests/golden/families-gguf.

Rows of encoders (goldens/encoders.py) go to crates/model/tests/golden/encoders: for three texts, the last a
pair, the float32 states of every position, and the score of a cross-encoder.
"""

import argparse
import os
from pathlib import Path

# Threads that spin while they wait are far slower with matrices this small.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
import transformers
from safetensors.torch import save_file

from goldens import encoders, llama_cpp, published
from goldens.rows import ROWS
from goldens.weights import is_steady, randomise

GOLDEN = Path(__file__).resolve().parent.parent / "crates/model/tests/golden"
PROMPTS = (1, 12, 48)
GREEDY = 16
# A greedy token must lead by this share of the logits' spread, so that rounding cannot change it.
MARGIN = 5e-3
SEEDS = 1000
BYTES_MAX = 300_000


@torch.no_grad()
def golden(model, row, generator):
    """Tokens, logits and greedy tokens of each prompt; none where a choice is too close."""
    tensors = {}
    for index, length in enumerate(PROMPTS):
        prompt = torch.randint(3, row.settings["vocab_size"], (length,), generator=generator)
        tokens, logits = prompt, model(prompt[None]).logits[0]
        tensors[f"prompt.{index}"] = prompt.to(torch.int32)
        tensors[f"logits.{index}"] = logits.float().contiguous()
        for _ in range(GREEDY):
            best = model(tokens[None]).logits[0, -1].topk(2)
            if best.values[0] - best.values[1] < MARGIN * logits.std():
                return None
            tokens = torch.cat([tokens, best.indices[:1]])
        tensors[f"greedy.{index}"] = tokens[length:].to(torch.int32)
        if row.steady and not is_steady(model, tokens):
            return None
    return tensors


def make(name):
    row, folder = ROWS[name], GOLDEN / "families" / name
    config = getattr(transformers, row.config)(**row.settings)
    for seed in range(1, SEEDS):
        generator = torch.Generator().manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation="eager", dtype=torch.float32).eval()
        randomise(model, row, generator)
        published.write(model, row, folder)
        tensors = golden(published.read(folder), row, generator)
        if tensors is not None:
            break
    else:
        raise SystemExit(f"{name}: every seed has a choice that is too close")
    save_file(tensors, folder / "golden.safetensors")
    size = sum(file.stat().st_size for file in folder.iterdir())
    spread = tensors["logits.2"].std().item()
    print(f"{name}: seed {seed}, {size // 1000} KB, spread of the logits {spread:.2f}", flush=True)
    assert size <= BYTES_MAX, "too large to be kept"


def make_encoder(name):
    folder = GOLDEN / "encoders" / name
    spread = encoders.make(name, folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{name}: {size // 1000} KB, spread of the states {spread:.2f}", flush=True)
    assert size <= BYTES_MAX, "too large to be kept"


def make_gguf(name, conversion):
    path = GOLDEN / "families-gguf" / f"{name}.gguf"
    llama_cpp.write_gguf(conversion, name, GOLDEN / "families" / name, path, ROWS[name].settings["vocab_size"])
    size = path.stat().st_size
    print(f"{name}: GGUF of {size // 1000} KB", flush=True)
    assert size <= BYTES_MAX, "too large to be kept"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-cpp", type=Path, metavar="DIR", help="source tree of llama.cpp: make GGUF too")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="default: all")
    arguments = parser.parse_args()
    # The order of sums depends on it.
    torch.set_num_threads(2)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    conversion = arguments.llama_cpp and llama_cpp.converter(arguments.llama_cpp)
    for name in arguments.rows or [*ROWS, *encoders.ENCODERS]:
        if name in encoders.ENCODERS:
            make_encoder(name)
            continue
        make(name)
        if conversion and ROWS[name].gguf:
            make_gguf(name, conversion)


if __name__ == "__main__":
    main()
