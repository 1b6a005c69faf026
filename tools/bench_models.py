"""Writes GGUF files with random weights in the shapes of published models, for `cargo xtask bench`.

Development only. Needs PyPI `numpy` and `gguf`. How fast a model is depends on its shapes and on the
types of its weights, not on what it has learned: blocks of random bits with scales that keep the
activations in range are as good as real ones, and can be made without a download.

    python tools/bench_models.py FOLDER            every model that is not there yet
    python tools/bench_models.py FOLDER NAME ...   these
    python tools/bench_models.py --list

Q4_K_M is the mixture that llama.cpp's quantiser makes: Q6_K for the output head, and for half of the
layers' `attn_v` and `ffn_down`; where rows are no multiple of 256, Q5_0 and Q8_0 in their places.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter, LlamaFileType, TokenType

# Names of files: shape and mixture.
QWEN_05B = dict(arch="qwen2", layers=24, hidden=896, heads=14, kv_heads=2, size=64, ffn=4864, vocab=151936)
QWEN_15B = dict(arch="qwen2", layers=28, hidden=1536, heads=12, kv_heads=2, size=128, ffn=8960, vocab=151936)
# Qwen3-30B-A3B with 8 of its 48 layers.
QWEN3_MOE = dict(
    arch="qwen3moe", layers=8, hidden=2048, heads=32, kv_heads=4, size=128, experts=128, used=8, expert_ffn=768,
    vocab=151936,
)
# DeepSeek-V2-Lite with 6 of its 27 layers.
DEEPSEEK = dict(
    arch="deepseek2", layers=6, hidden=2048, heads=16, ffn=10944, experts=64, used=6, shared=2, expert_ffn=1408,
    latent=512, rope=64, nope=128, value=128, dense=1, vocab=102400,
)
MODELS = {
    "qwen2.5-0.5b-q4_k_m": (QWEN_05B, "Q4_K_M"),
    "qwen2.5-0.5b-q4_0": (QWEN_05B, "Q4_0"),
    "qwen2.5-0.5b-q8_0": (QWEN_05B, "Q8_0"),
    "qwen2.5-1.5b-q4_k_m": (QWEN_15B, "Q4_K_M"),
    "qwen2.5-1.5b-q4_0": (QWEN_15B, "Q4_0"),
    "qwen2.5-1.5b-q8_0": (QWEN_15B, "Q8_0"),
    "qwen2.5-1.5b-bf16": (QWEN_15B, "BF16"),
    "qwen3-moe-8-layers-q4_k_m": (QWEN3_MOE, "Q4_K_M"),
    "deepseek-v2-lite-6-layers-q4_k_m": (DEEPSEEK, "Q4_K_M"),
}

FILE_TYPES = {
    "Q4_0": LlamaFileType.MOSTLY_Q4_0, "Q4_1": LlamaFileType.MOSTLY_Q4_1, "Q8_0": LlamaFileType.MOSTLY_Q8_0,
    "BF16": LlamaFileType.MOSTLY_BF16, "Q4_K_M": LlamaFileType.MOSTLY_Q4_K_M,
}

# Standard deviation of a weight times the square root of its row's length: keeps activations in range.
SPREAD = 0.7


def halves(source, count, value):
    """`count` half floats around `value`, as bytes [count, 2]; scales of blocks differ in real files."""
    scales = value * source.uniform(0.8, 1.2, count)
    return scales.astype(numpy.float16).view(numpy.uint8).reshape(count, 2)


def bits(source, count, length):
    return numpy.frombuffer(source.bytes(count * length), numpy.uint8).reshape(count, length)


def blocks(source, kind, rows, columns):
    """Random blocks of a matrix [rows, columns], as bytes [rows, bytes of a row]."""
    weight = SPREAD / columns**0.5
    per = {Type.Q4_K: 256, Type.Q6_K: 256}.get(kind, 32)
    n = rows * columns // per
    if kind is Type.BF16:
        values = (source.standard_normal((rows, columns), numpy.float32) * weight).view(numpy.uint32)
        return (values >> 16).astype(numpy.uint16).view(numpy.uint8).reshape(rows, columns * 2)
    if kind is Type.Q4_0:  # d (q - 8), q of 0..15: spread 4.6
        parts = [halves(source, n, weight / 4.6), bits(source, n, 16)]
    elif kind is Type.Q4_1:  # d q + m
        parts = [halves(source, n, weight / 4.6), halves(source, n, -7.5 * weight / 4.6), bits(source, n, 16)]
    elif kind is Type.Q5_0:  # d (q - 16), q of 0..31: spread 9.2
        parts = [halves(source, n, weight / 9.2), bits(source, n, 20)]
    elif kind is Type.Q8_0:  # d q, q of -128..127: spread 74
        parts = [halves(source, n, weight / 74), bits(source, n, 32)]
    elif kind is Type.Q4_K:  # d s q - m t, s and t of 0..63, q of 0..15: spread about 300 d
        parts = [halves(source, n, weight / 300), halves(source, n, 7.5 * weight / 300), bits(source, n, 140)]
    elif kind is Type.Q6_K:  # d s (q - 32), s of -128..127, q of 0..63: spread 1,370
        parts = [bits(source, n, 208), halves(source, n, weight / 1370)]
    else:
        sys.exit(f"no random blocks of {kind}")
    return numpy.concatenate(parts, axis=1).reshape(rows, -1)


class Model:
    """A file that is being written."""

    def __init__(self, path, shape, mixture):
        self.shape, self.mixture = shape, mixture
        self.writer = GGUFWriter(path, shape["arch"])
        self.source = numpy.random.default_rng(1)

    def kind(self, columns, more_bits):
        if self.mixture != "Q4_K_M":
            return Type[self.mixture]
        if columns % 256:
            return Type.Q8_0 if more_bits else Type.Q5_0
        return Type.Q6_K if more_bits else Type.Q4_K

    def matrix(self, name, rows, columns, more_bits=False, experts=None):
        kind = self.kind(columns, more_bits)
        data = blocks(self.source, kind, rows * (experts or 1), columns)
        if experts:
            data = data.reshape(experts, rows, -1)
        self.writer.add_tensor(f"{name}.weight", data, raw_dtype=kind)

    def floats(self, name, *shape, centre=0.0, spread=0.02):
        values = centre + spread * self.source.standard_normal(shape, numpy.float32)
        self.writer.add_tensor(name, values.astype(numpy.float32))

    def norm(self, name, size):
        self.floats(f"{name}.weight", size, centre=1.0, spread=0.1)

    def keys(self):
        shape, writer = self.shape, self.writer
        writer.add_name("random weights")
        writer.add_file_type(FILE_TYPES[self.mixture])
        writer.add_block_count(shape["layers"])
        writer.add_context_length(32768)
        writer.add_embedding_length(shape["hidden"])
        writer.add_head_count(shape["heads"])
        writer.add_head_count_kv(1 if "latent" in shape else shape["kv_heads"])
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_rope_freq_base(1e6)
        writer.add_vocab_size(shape["vocab"])
        if "ffn" in shape:
            writer.add_feed_forward_length(shape["ffn"])
        if "experts" in shape:
            writer.add_expert_count(shape["experts"])
            writer.add_expert_used_count(shape["used"])
            writer.add_expert_feed_forward_length(shape["expert_ffn"])
        if "latent" in shape:
            self.latent_keys()
        else:
            writer.add_key_length(shape["size"])
            writer.add_value_length(shape["size"])
            writer.add_rope_dimension_count(shape["size"])
        self.vocabulary()

    def latent_keys(self):
        shape, writer = self.shape, self.writer
        # llama.cpp knows V2-Lite, whose queries have no latent, by its 27 layers, and else wants this.
        writer.add_q_lora_rank(0)
        writer.add_kv_lora_rank(shape["latent"])
        writer.add_key_length(shape["latent"] + shape["rope"])
        writer.add_value_length(shape["latent"])
        writer.add_key_length_mla(shape["nope"] + shape["rope"])
        writer.add_value_length_mla(shape["value"])
        writer.add_rope_dimension_count(shape["rope"])
        writer.add_leading_dense_block_count(shape["dense"])
        writer.add_expert_shared_count(shape["shared"])
        writer.add_expert_weights_scale(1.0)

    def vocabulary(self):
        """Bytes, one merge (BPE must have some), and tokens that no text makes."""
        printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in printed]
        tokens = ["<|endoftext|>", *map(chr, printed), *(chr(256 + n) for n in range(len(others))), "th"]
        types = [TokenType.CONTROL] + [TokenType.NORMAL] * (len(tokens) - 1)
        fill = self.shape["vocab"] - len(tokens)
        writer = self.writer
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list([*tokens, *(f"<|unused{n}|>" for n in range(fill))])
        writer.add_token_types([*types, *[TokenType.UNUSED] * fill])
        writer.add_token_merges(["t h"])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(0)
        writer.add_add_bos_token(False)

    def tensors(self):
        shape = self.shape
        hidden, vocab = shape["hidden"], shape["vocab"]
        tied = shape["arch"] == "qwen2"
        # A tied embedding is the output head too, and as fine as that.
        self.matrix("token_embd", vocab, hidden, more_bits=tied)
        for layer in range(shape["layers"]):
            self.layer(layer)
        self.norm("output_norm", hidden)
        if not tied:
            self.matrix("output", vocab, hidden, more_bits=True)

    def layer(self, layer):
        shape, block = self.shape, f"blk.{layer}"
        hidden, layers = shape["hidden"], shape["layers"]
        # llama.cpp's `use_more_bits`: the first and the last eighth, and each third between.
        eighth = layers // 8
        more_bits = layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
        self.norm(f"{block}.attn_norm", hidden)
        if "latent" in shape:
            self.latent_attention(block)
        else:
            self.attention(block, more_bits)
        self.norm(f"{block}.ffn_norm", hidden)
        if "experts" in shape and layer >= shape.get("dense", 0):
            self.experts(block, more_bits)
        else:
            self.feed_forward(block, shape["ffn"], more_bits)

    def attention(self, block, more_bits):
        shape = self.shape
        hidden, size = shape["hidden"], shape["size"]
        queries, keys = shape["heads"] * size, shape["kv_heads"] * size
        for name, rows in (("q", queries), ("k", keys), ("v", keys)):
            self.matrix(f"{block}.attn_{name}", rows, hidden, more_bits and name == "v")
            if shape["arch"] == "qwen2":
                self.floats(f"{block}.attn_{name}.bias", rows)
            elif shape["arch"] == "qwen3moe" and name != "v":
                self.norm(f"{block}.attn_{name}_norm", size)
        self.matrix(f"{block}.attn_output", hidden, queries)

    def latent_attention(self, block):
        shape = self.shape
        hidden, heads, latent = shape["hidden"], shape["heads"], shape["latent"]
        self.matrix(f"{block}.attn_q", heads * (shape["nope"] + shape["rope"]), hidden)
        self.matrix(f"{block}.attn_kv_a_mqa", latent + shape["rope"], hidden)
        self.norm(f"{block}.attn_kv_a_norm", latent)
        # Rows of 128: too short for blocks of 256.
        self.matrix(f"{block}.attn_k_b", latent, shape["nope"], experts=heads)
        self.matrix(f"{block}.attn_v_b", shape["value"], latent, experts=heads)
        self.matrix(f"{block}.attn_output", hidden, heads * shape["value"])

    def feed_forward(self, block, width, more_bits, suffix=""):
        hidden = self.shape["hidden"]
        self.matrix(f"{block}.ffn_gate{suffix}", width, hidden)
        self.matrix(f"{block}.ffn_up{suffix}", width, hidden)
        self.matrix(f"{block}.ffn_down{suffix}", hidden, width, more_bits)

    def experts(self, block, more_bits):
        shape = self.shape
        hidden, width, experts = shape["hidden"], shape["expert_ffn"], shape["experts"]
        self.floats(f"{block}.ffn_gate_inp.weight", experts, hidden, spread=hidden**-0.5)
        self.matrix(f"{block}.ffn_gate_exps", width, hidden, experts=experts)
        self.matrix(f"{block}.ffn_up_exps", width, hidden, experts=experts)
        self.matrix(f"{block}.ffn_down_exps", hidden, width, more_bits, experts)
        if "shared" in shape:
            self.feed_forward(block, shape["shared"] * width, more_bits, "_shexp")

    def write(self):
        self.keys()
        self.tensors()
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file(progress=False)
        self.writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    arguments = parser.parse_args()
    if arguments.list or not arguments.folder:
        print("\n".join(MODELS))
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or MODELS:
        if name not in MODELS:
            sys.exit(f"no model {name!r}; there are: {', '.join(MODELS)}")
        path = arguments.folder / f"{name}.gguf"
        if path.exists():
            continue
        partial = path.with_suffix(".partial")
        Model(partial, *MODELS[name]).write()
        os.replace(partial, path)
        print(f"{path}  {path.stat().st_size / 1e6:,.0f} MB")


main()
