"""Writes a model as its family's checkpoints are published: tensors' names and types, config.json."""

import itertools
import json
import shutil
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

FP4_VALUES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
NOT_TEXT = ("model.visual.blocks.0.norm1.weight", "mtp.norm.weight")
FP8_BLOCK = 128
NOT_FP8 = ("embed_tokens.weight", "lm_head.weight", "mlp.gate.weight", "indexer.weights_proj.weight")


def write(model, row, folder):
    """`config.json` and `model.safetensors` of `row` into `folder`, which is made anew."""
    with tempfile.TemporaryDirectory() as scratch:
        # Undoes what transformers does to names and layouts when it loads a published model.
        model.save_pretrained(scratch, save_original_format=not row.fused)
        tensors = load_file(Path(scratch) / "model.safetensors")
        config = json.loads((Path(scratch) / "config.json").read_text())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stored = {}
    for name, tensor in tensors.items():
        stored.update(PACKINGS[row.packing](name, tensor, row))
    if row.wrapper:
        stored = {name.replace("model.", "model.language_model.", 1): tensor for name, tensor in stored.items()}
        # What is not of the text, and is to be passed over.
        stored |= {name: torch.ones(4, dtype=torch.bfloat16) for name in NOT_TEXT}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    config["dtype"] = "bfloat16"
    if row.positions != "new":
        old_positions(config)
    if row.positions == "type":
        config["rope_scaling"]["type"] = config["rope_scaling"].pop("rope_type")
    config = {key: value for key, value in {**config, **row.keys}.items() if key not in row.without}
    if row.wrapper:
        del config["architectures"]
        config = dict(row.wrapper, text_config=config)
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def read(folder):
    """The model that is stored in `folder`, in float32: what goldens are computed of."""
    with tempfile.TemporaryDirectory() as scratch:
        tensors = load_file(folder / "model.safetensors")
        if any(name.endswith("_scale_inv") for name in tensors):
            folder = without_fp8(folder, tensors, Path(scratch))
        model, found = transformers.AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float32, output_loading_info=True)
    # What is missing would be random, without an error.
    assert not found["missing_keys"] and not found["mismatched_keys"], found
    return model.eval()


def without_fp8(folder, tensors, scratch):
    """`folder` in float32: transformers shares out scales evenly, also where the last block is smaller."""
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    (scratch / "config.json").write_text(json.dumps(config))
    floats = {}
    for name, tensor in tensors.items():
        if not name.endswith("_scale_inv"):
            floats[name] = tensor.float()
        if (scales := tensors.get(f"{name}_scale_inv")) is not None:
            for axis, size in enumerate(tensor.shape):
                scales = scales.repeat_interleave(FP8_BLOCK, dim=axis).narrow(axis, 0, size)
            floats[name] *= scales
    save_file(floats, scratch / "model.safetensors", metadata={"format": "pt"})
    return scratch


def old_positions(config):
    """As files before transformers 5 describe them."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope


def bf16(name, tensor, row):
    return {name: tensor if name.endswith(row.floats) else tensor.to(torch.bfloat16)}


def mxfp4(name, tensor, row):
    """Experts as gpt-oss has them: blocks of 32 along the inputs, 4 bits each, with one exponent."""
    if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
        return bf16(name, tensor, row)
    # [experts, inputs, outputs] -> [experts, outputs, blocks, 32]
    blocks = tensor.transpose(1, 2).unflatten(2, (-1, 32))
    # The largest value is then of the size of FP4's largest, 4 or 6.
    exponent = blocks.abs().amax(dim=-1).log2().floor() - 2
    scaled = blocks / exponent.exp2()[..., None]
    distance = (scaled.abs()[..., None] - FP4_VALUES).abs()
    code = (distance.argmin(dim=-1) + 8 * scaled.signbit()).to(torch.uint8)
    return {
        f"{name}_blocks": code[..., 0::2] | code[..., 1::2] << 4,
        f"{name}_scales": (exponent + 127).to(torch.uint8),
    }


def fp8(name, tensor, row):
    """Linear layers as DeepSeek has them: E4M3 with a scale for each block of 128 by 128."""
    if tensor.dim() != 2 or name.endswith(NOT_FP8):
        return bf16(name, tensor, row)
    counts = [-(-size // FP8_BLOCK) for size in tensor.shape]
    # With four binary digits, as E4M3 has, their products are exact in BF16, as which some load such weights.
    digits = 1 if row.keys["quantization_config"].get("scale_fmt") == "ue8m0" else 4
    stored = torch.empty_like(tensor, dtype=torch.float8_e4m3fn)
    scales = torch.empty(counts)
    for block in itertools.product(*map(range, counts)):
        part = tuple(slice(index * FP8_BLOCK, (index + 1) * FP8_BLOCK) for index in block)
        scales[block] = fp8_scale(tensor[part].abs().max(), digits)
        stored[part] = (tensor[part] / scales[block]).to(torch.float8_e4m3fn)
    return {name: stored, f"{name}_scale_inv": scales}


def fp8_scale(largest, digits):
    """The least scale of so many binary digits with which `largest` is not cut off."""
    fraction, exponent = torch.frexp(largest / torch.finfo(torch.float8_e4m3fn).max)
    return torch.ldexp(torch.ceil(fraction * 2**digits) / 2**digits, exponent)


PACKINGS = {"bf16": bf16, "mxfp4": mxfp4, "fp8": fp8}
