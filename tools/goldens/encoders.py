"""Fixtures of encoders: tiny random checkpoints with the states, and scores, that transformers computes."""

import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

from .weights import randomise

SEED = 1
# Tokens of each text, and how many of them are the first of a pair.
TEXTS = ((1, 1), (12, 12), (48, 20))
BERT = dict(
    vocab_size=160, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96,
    max_position_embeddings=64, type_vocab_size=2, layer_norm_eps=1e-12, hidden_act="gelu",
    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)


@dataclass
class Encoder:
    """One fixture: the class of the model, its settings, and what `1_Pooling/config.json` says."""

    model: str
    settings: dict
    pooling: dict = field(default_factory=dict)
    floats: tuple = ()
    gains: dict = field(default_factory=dict)


ENCODERS = {
    # An embedder: its pooler is not used.
    "bert": Encoder("BertModel", BERT, dict(
        word_embedding_dimension=64, pooling_mode_cls_token=True, pooling_mode_mean_tokens=False,
        pooling_mode_max_tokens=False, pooling_mode_mean_sqrt_len_tokens=False)),
    # A cross-encoder: one score for each pair. One head more than a power of two.
    "bert-scores": Encoder("BertForSequenceClassification", dict(
        BERT, num_hidden_layers=2, hidden_size=72, num_attention_heads=3, num_labels=1)),
}


@torch.no_grad()
def make(name, folder):
    """`config.json`, `model.safetensors` in BF16 and `golden.safetensors` of a row."""
    row = ENCODERS[name]
    kind = getattr(transformers, row.model)
    generator = torch.Generator().manual_seed(SEED)
    model = kind._from_config(
        transformers.BertConfig(**row.settings), attn_implementation="eager", dtype=torch.float32).eval()
    randomise(model, row, generator)
    write(model, row, folder)
    model = kind.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    encoder = getattr(model, "bert", model)
    tensors = {}
    for index, (length, first) in enumerate(TEXTS):
        tokens = torch.randint(3, row.settings["vocab_size"], (length,), generator=generator)
        types = (torch.arange(length) >= first).long()
        arguments = dict(input_ids=tokens[None], token_type_ids=types[None])
        tensors[f"tokens.{index}"] = tokens.to(torch.int32)
        tensors[f"first.{index}"] = torch.tensor([first], dtype=torch.int32)
        tensors[f"states.{index}"] = encoder(**arguments).last_hidden_state[0].contiguous()
        if encoder is not model:
            tensors[f"score.{index}"] = model(**arguments).logits[0].contiguous()
    save_file(tensors, folder / "golden.safetensors")
    return tensors["states.2"].std().item()


def write(model, row, folder):
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        tensors = load_file(Path(scratch) / "model.safetensors")
        config = json.loads((Path(scratch) / "config.json").read_text())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stored = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
    # As files of older programs have it.
    prefix = "" if row.model == "BertModel" else "bert."
    stored[f"{prefix}embeddings.position_ids"] = torch.arange(row.settings["max_position_embeddings"])[None]
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    config["dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    if row.pooling:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling/config.json").write_text(json.dumps(row.pooling, indent=1) + "\n")
