"""Random weights that let every part of a model matter, and the check that no choice is a near tie."""

from unittest import mock

import torch

# A router must choose the same where its input moves by this share, and what an indexer chooses last must
# lead by this share of its scores' spread: more than what keys and values in f16 do to them.
STEADY = 2e-3


def randomise(model, row, generator):
    """Weights of a spread that lets every part matter; norms around 1, biases around 0."""
    for name, parameter in model.named_parameters():
        value = drawn(name, parameter, model, row, generator)
        parameter.data.copy_(value if name.endswith(row.floats) else value.to(torch.bfloat16).to(torch.float32))
    for name, buffer in model.named_buffers():
        # Not those that are computed, as tables of rope are.
        if name in model.state_dict():
            buffer.data.copy_(drawn(name, buffer, model, row, generator))


def drawn(name, parameter, model, row, generator):
    draw = torch.randn(parameter.shape, generator=generator)
    if parameter.dim() == 1 or name.endswith("bias"):
        return centre(name, model.config.model_type) + 0.3 * draw
    if "embed_tokens" in name or "lm_head" in name:
        return draw * 2.5 / parameter.shape[-1] ** 0.5
    gain = next((gain for end, gain in row.gains.items() if name.endswith(end)), 1.0)
    return draw * 1.4 * gain / parameter.shape[-1] ** 0.5


def centre(name, family):
    if name.endswith("sinks"):
        return 1.0
    if name.endswith("A_log"):
        # A state that lasts for some ten tokens.
        return -2.0
    is_norm = "norm" in name.lower() and not name.endswith("bias")
    # Some keep what norms have above 1.
    above_one = family.startswith(("gemma", "qwen3_next", "qwen3_5")) and "linear_attn" not in name
    return 1.0 if is_norm and not above_one else 0.0


@torch.no_grad()
def is_steady(model, tokens):
    """Whether every router and indexer, fed with `tokens`, keeps its choice where its input moves a bit."""
    generator = torch.Generator().manual_seed(0)
    steady = True

    def compare_experts(router, args, output):
        nonlocal steady
        for _ in range(4):
            noise = torch.randn(args[0].shape, generator=generator)
            moved = router.forward(args[0] * (1 + STEADY * noise))
            # [tokens, experts used], in no order that matters
            steady &= torch.equal(moved[2].sort(dim=-1).values, output[2].sort(dim=-1).values)

    def compare_positions(indexer, args, output):
        nonlocal steady
        steady &= not has_near_tie(index_scores(indexer, *args[:4]), output.shape[-1])

    hooks = []
    for module in model.modules():
        kind = type(module).__name__.lower()
        if kind.endswith("topkrouter"):
            hooks.append(module.register_forward_hook(compare_experts))
        elif kind.endswith("indexer"):
            hooks.append(module.register_forward_hook(compare_positions))
    model(tokens[None], use_cache=False)
    for hook in hooks:
        hook.remove()
    return steady


def index_scores(indexer, *args):
    """What an indexer chooses the largest of, [batch, tokens, positions]; -inf or so where none is visible."""
    seen = []
    topk = torch.Tensor.topk

    def record(scores, *args, **settings):
        seen.append(scores)
        return topk(scores, *args, **settings)

    with mock.patch.object(torch.Tensor, "topk", record):
        indexer.forward(*args, position_ids=None)
    return seen[0]


def has_near_tie(scores, count):
    """Whether in a row more than `count` are visible and the last that is chosen leads by nearly nothing."""
    if scores.shape[-1] <= count:
        return False
    visible = scores > torch.finfo(scores.dtype).min / 2
    best = scores.topk(count + 1).values
    lead = best[..., count - 1] - best[..., count]
    # Also zeros are tied, which cut-off scores often are.
    spread = scores.masked_fill(~visible, 0.0).std(dim=-1)
    return bool(((visible.sum(dim=-1) > count) & (lead < STEADY * spread)).any())
