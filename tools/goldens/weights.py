"""Random weights that let every part of a model matter, and the check that no choice is a near tie."""

import torch

# A router or indexer must choose the same where its input moves by this share: more than what keys
# and values in f16 do to it.
STEADY = 2e-3


def randomise(model, row, generator):
    """Weights of a spread that lets every part matter; norms around 1, biases around 0."""
    for name, parameter in model.named_parameters():
        value = drawn(name, parameter, model, generator)
        parameter.data.copy_(value if name.endswith(row.floats) else value.to(torch.bfloat16).to(torch.float32))
    for name, buffer in model.named_buffers():
        # Not those that are computed, as tables of rope are.
        if name in model.state_dict():
            buffer.data.copy_(drawn(name, buffer, model, generator))


def drawn(name, parameter, model, generator):
    draw = torch.randn(parameter.shape, generator=generator)
    if parameter.dim() == 1 or name.endswith("bias"):
        return centre(name, model.config.model_type) + 0.3 * draw
    if "embed_tokens" in name or "lm_head" in name:
        return draw * 2.5 / parameter.shape[-1] ** 0.5
    return draw * 1.4 / parameter.shape[-1] ** 0.5


def centre(name, family):
    if name.endswith("sinks"):
        return 1.0
    if name.endswith("A_log"):
        # A state that lasts for some ten tokens.
        return -2.0
    is_norm = "norm" in name and not name.endswith("bias")
    # Some keep what norms have above 1.
    above_one = family.startswith(("gemma", "qwen3_next", "qwen3_5")) and "linear_attn" not in name
    return 1.0 if is_norm and not above_one else 0.0


@torch.no_grad()
def is_steady(model, tokens):
    """Whether every router and indexer, fed with `tokens`, stays with its choice where its input moves a bit."""
    generator = torch.Generator().manual_seed(0)
    steady = True

    def compare(module, args, kwargs, output):
        nonlocal steady
        chosen = choice(output, args, kwargs)
        for _ in range(4):
            moved = [move(value, generator) for value in args]
            moved_by_name = {name: value if name == "attention_mask" else move(value, generator)
                             for name, value in kwargs.items()}
            steady &= torch.equal(chosen, choice(module.forward(*moved, **moved_by_name), moved, kwargs))

    hooks = [module.register_forward_hook(compare, with_kwargs=True) for module in model.modules()
             if type(module).__name__.lower().endswith(("topkrouter", "indexer"))]
    model(tokens[None], use_cache=False)
    for hook in hooks:
        hook.remove()
    return steady


def move(value, generator):
    if not torch.is_tensor(value) or not value.is_floating_point():
        return value
    return value * (1 + STEADY * torch.randn(value.shape, generator=generator))


def choice(output, args, kwargs):
    """Of a router: the experts of each token, in ascending order."""
    return output[2].sort(dim=-1).values
