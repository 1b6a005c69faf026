"""Makes crates/model/tests/golden/families: tiny random checkpoints and what transformers computes of them.

Development only. Needs the packages of tools/requirements-goldens.txt:

    python tools/make_goldens.py [ROW ...]

Each row is a folder as Hugging Face publishes models (config.json, model.safetensors in BF16) with a
golden.safetensors beside: for three prompts their tokens, the float32 logits of every position, and
sixteen greedy tokens. Every norm, bias and gate is moved away from its default, where a mistake in it
would not show. Running it again gives the same bytes.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

FOLDER = Path(__file__).resolve().parent.parent / "crates/model/tests/golden/families"
VOCAB = 192
PROMPTS = (1, 12, 48)
GREEDY = 16
# A greedy token must lead by this share of the logits' spread, so that rounding cannot change it.
MARGIN = 5e-3

SHARED = dict(
    vocab_size=VOCAB, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    intermediate_size=64, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, output_router_logits=False)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)

# Row: class of the config, its settings, whether positions are described as files of today do.
ROWS = {
    "llama": ("LlamaConfig", dict(SHARED, tie_word_embeddings=False, rope_parameters=dict(
        LLAMA3, rope_theta=10000.0)), "old"),
    "llama-tied": ("LlamaConfig", dict(SHARED, head_dim=16, tie_word_embeddings=True, attention_bias=False,
                   rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=100000.0)), "new"),
    "gemma3": ("Gemma3TextConfig", dict(SHARED, num_hidden_layers=4, head_dim=16, num_key_value_heads=1,
               hidden_activation="gelu_pytorch_tanh", query_pre_attn_scalar=20, sliding_window=8,
               intermediate_size=48, tie_word_embeddings=True,
               layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
               rope_parameters=dict(
                   sliding_attention=dict(rope_type="default", rope_theta=10000.0),
                   full_attention=dict(rope_type="linear", factor=4.0, rope_theta=1000000.0))), "new"),
    "smollm3": ("SmolLM3Config", dict(SHARED, num_hidden_layers=4, tie_word_embeddings=True,
                no_rope_layers=[1, 0, 1, 1],
                rope_parameters=dict(rope_type="default", rope_theta=50000.0)), "old"),
    "qwen2": ("Qwen2Config", dict(SHARED, tie_word_embeddings=True, use_sliding_window=False,
              rope_parameters=dict(YARN, rope_theta=1000000.0)), "old"),
    "qwen2_moe": ("Qwen2MoeConfig", dict(SHARED, **EXPERTS, num_hidden_layers=3, tie_word_embeddings=False,
                  shared_expert_intermediate_size=32, norm_topk_prob=False, decoder_sparse_step=1,
                  mlp_only_layers=[1], use_sliding_window=False,
                  rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), "old"),
    "qwen3": ("Qwen3Config", dict(SHARED, head_dim=24, tie_word_embeddings=True, use_sliding_window=False,
              rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), "new"),
    "qwen3_moe": ("Qwen3MoeConfig", dict(SHARED, **EXPERTS, head_dim=24, tie_word_embeddings=False,
                  norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], use_sliding_window=False,
                  rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), "old"),
    "seed_oss": ("SeedOssConfig", dict(SHARED, head_dim=24, tie_word_embeddings=False, attention_bias=True,
                 attention_out_bias=False,
                 rope_parameters=dict(rope_type="default", rope_theta=10000000.0)), "new"),
}


def randomise(model, generator):
    """Weights of a spread that lets every part matter; norms around 1, biases around 0."""
    for name, parameter in model.named_parameters():
        draw = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            # Gemma keeps what norms have above 1.
            centre = 1.0 if "norm" in name and "gemma" not in model.config.model_type else 0.0
            draw = centre + 0.3 * draw
        elif "embed_tokens" in name or "lm_head" in name:
            draw = draw * 2.5 / parameter.shape[-1] ** 0.5
        else:
            draw = draw * 1.4 / parameter.shape[-1] ** 0.5
        parameter.data.copy_(draw.to(torch.bfloat16).to(torch.float32))


@torch.no_grad()
def golden(model, generator):
    """Tokens, logits and greedy tokens of each prompt; none where a greedy choice is too close."""
    tensors = {}
    for index, length in enumerate(PROMPTS):
        prompt = torch.randint(3, VOCAB, (length,), generator=generator)
        tokens, logits = prompt, model(prompt[None]).logits[0]
        tensors[f"prompt.{index}"] = prompt.to(torch.int32)
        tensors[f"logits.{index}"] = logits.float().contiguous()
        for _ in range(GREEDY):
            best = model(tokens[None]).logits[0, -1].topk(2)
            if best.values[0] - best.values[1] < MARGIN * logits.std():
                return None
            tokens = torch.cat([tokens, best.indices[:1]])
        tensors[f"greedy.{index}"] = tokens[length:].to(torch.int32)
    return tensors


def old_positions(config):
    """As files before transformers 5 describe them."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope


def make(row):
    name, settings, positions = ROWS[row]
    config = getattr(transformers, name)(**settings)
    for seed in range(1, 100):
        generator = torch.Generator().manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation="eager", dtype=torch.float32).eval()
        randomise(model, generator)
        tensors = golden(model, generator)
        if tensors is not None:
            break
    else:
        raise SystemExit(f"{row}: every seed has a greedy choice that is too close")
    folder = FOLDER / row
    shutil.rmtree(folder, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    written = json.loads((folder / "config.json").read_text())
    if positions == "old":
        old_positions(written)
    (folder / "config.json").write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
    save_file(tensors, folder / "golden.safetensors")
    size = sum(file.stat().st_size for file in folder.iterdir())
    spread = tensors["logits.2"].std().item()
    print(f"{row}: seed {seed}, {size // 1000} KB, spread of the logits {spread:.2f}", flush=True)
    assert size <= 300_000, "too large to be kept"


if __name__ == "__main__":
    for row in sys.argv[1:] or ROWS:
        make(row)
