"""Makes crates/model/tests/golden/mtp: tiny checkpoints with multi-token prediction, and what it guesses.

Development only. Needs numpy alone, as transformers leaves these layers out:

    python tools/make_mtp_goldens.py

Each row takes the checkpoint of crates/model/tests/golden/families of its name, adds a random layer as
published files have it (DeepSeek's `model.layers.N`, Qwen's `mtp`), and computes both in float64 after vLLM's
`deepseek_mtp.py` and `qwen3_5_mtp.py`. That the model below is right is checked against transformers' logits,
which lie beside that checkpoint. golden.safetensors has, for three prompts, the tokens with one more behind,
the float32 logits of every position, and of three guesses in a row behind the last: the layer applied to its
own state, as its head sees it. Running it again gives the same bytes.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from goldens import numpy_models

GOLDEN = Path(__file__).resolve().parent.parent / "crates/model/tests/golden"
ROWS = ("deepseek_v3", "qwen3_5", "qwen3_next")
GUESSES = 3
SEED = 7
# Largest difference to transformers' logits, as a share of their spread: float32 on their side.
CLOSE = 1e-4


def random_layer(name, tensors, config):
    """What a published file has behind the layers, in BF16: shapes as those of the last layer."""
    generator = np.random.default_rng(SEED)
    hidden = config["hidden_size"]
    last = f"model.layers.{config['num_hidden_layers'] - 1}."
    is_deepseek = name.startswith("deepseek")
    prefix = f"model.layers.{config['num_hidden_layers']}." if is_deepseek else "mtp."
    layer = prefix if is_deepseek else "mtp.layers.0."
    shapes = {layer + key.removeprefix(last): value.shape for key, value in tensors.items() if key.startswith(last)}
    if is_deepseek:
        parts = ("eh_proj", "enorm", "hnorm", "shared_head.norm", "embed_tokens", "shared_head.head")
    else:
        parts = ("fc", "pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm")
    joined, *norms = parts[:4]
    shapes[f"{prefix}{joined}.weight"] = (hidden, 2 * hidden)
    shapes |= {f"{prefix}{norm}.weight": (hidden,) for norm in norms}
    out = {}
    for key, shape in sorted(shapes.items()):
        value = generator.standard_normal(shape)
        if len(shape) == 1:
            centre = 1.0 if is_deepseek and "norm" in key else 0.0
            value = centre + 0.3 * value
        else:
            value *= 1.4 / shape[-1] ** 0.5
        out[key] = value.astype(np.float32)
    if is_deepseek:
        # The embedding is the model's once more, as published; the head is another, to be told from it.
        out[f"{prefix}embed_tokens.weight"] = tensors["model.embed_tokens.weight"].astype(np.float32)
        head = generator.standard_normal((config["vocab_size"], hidden)) * 2.5 / hidden ** 0.5
        out[f"{prefix}shared_head.head.weight"] = head.astype(np.float32)
    return out


def make(name):
    source, folder = GOLDEN / "families" / name, GOLDEN / "mtp" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = json.loads((source / "config.json").read_text())
    stored = numpy_models.read(source / "model.safetensors")
    layer = random_layer(name, numpy_models.values(stored), config)
    floats = ("e_score_correction_bias",)
    stored |= {key: numpy_models.stored(value, key.endswith(floats)) for key, value in layer.items()}
    if name.startswith("deepseek"):
        config["num_nextn_predict_layers"] = 1
    elif name == "qwen3_5":
        config["mtp_num_hidden_layers"] = 1
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    numpy_models.write(folder / "model.safetensors", stored)

    model = numpy_models.Model(config, numpy_models.values(numpy_models.read(folder / "model.safetensors")))
    goldens = numpy_models.values(numpy_models.read(source / "golden.safetensors"))
    out = {}
    for index in range(3):
        right = goldens[f"logits.{index}"]
        prompt = goldens[f"prompt.{index}"].astype(np.int64)
        behind = np.append(prompt[1:], goldens[f"greedy.{index}"].astype(np.int64)[0])
        states = model.states(prompt)
        error = np.abs(model.head(states) - right).max() / right.std()
        assert error <= CLOSE, f"{name}: the model below differs by {error}"
        out |= guesses(model, index, states, prompt, behind)
    numpy_models.write(folder / "golden.safetensors", out)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name}: {size // 1000} KB, spread of the logits {out['logits.2'][0].std():.2f}")


def guesses(model, index, states, prompt, behind):
    """Logits of all positions, and of guesses in a row behind the last one."""
    own = model.guess_states(states, behind)
    logits = model.guess_head(own)
    rows = [logits[-1]]
    tokens = [int(logits[-1].argmax())]
    for _ in range(1, GUESSES):
        states, behind = np.vstack([states, own[-1:]]), np.append(behind, tokens[-1])
        own = model.guess_states(states, behind)
        rows.append(model.guess_head(own[-1:])[0])
        tokens.append(int(rows[-1].argmax()))
    int32 = lambda values: (np.asarray(values, dtype=np.int32), "I32")
    return {
        f"tokens.{index}": int32(np.append(prompt, behind[len(prompt) - 1])),
        f"logits.{index}": (logits.astype(np.float32), "F32"),
        f"guessed.{index}": int32(tokens),
        f"guesses.{index}": (np.array(rows, dtype=np.float32), "F32"),
    }


if __name__ == "__main__":
    for row in ROWS:
        make(row)
