"""DeepSeek-V3, Qwen3-Next and Qwen3.5 in float64, from safetensors to logits and multi-token prediction."""

import json
import struct

import numpy as np

TYPES = {"F32": np.float32, "I32": np.int32, "BF16": np.uint16, "F8_E4M3": np.uint8}
FP8_BLOCK = 128


def read(path):
    """Tensors as they are stored: an array of bytes' numbers, and the type's name."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[start:end], dtype=TYPES[entry["dtype"]])
        found[name] = values.reshape(entry["shape"]), entry["dtype"]
    return found


def write(path, tensors):
    header, blobs, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name, (values, kind) in sorted(tensors.items()):
        blob = np.ascontiguousarray(values).tobytes()
        header[name] = dict(dtype=kind, shape=list(values.shape), data_offsets=[offset, offset + len(blob)])
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def stored(values, as_float):
    """float32 as F32, or rounded to BF16."""
    if as_float:
        return values.astype(np.float32), "F32"
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16), "BF16"


def values(tensors):
    """All tensors in float64; 8-bit floats with their scales."""
    found = {}
    for name, (bits, kind) in tensors.items():
        if name.endswith("_scale_inv"):
            continue
        if kind == "BF16":
            value = (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        elif kind == "F8_E4M3":
            value = fp8(bits)
            scales = tensors[f"{name}_scale_inv"][0].astype(np.float64)
            for axis, size in enumerate(value.shape):
                scales = scales.repeat(FP8_BLOCK, axis=axis).take(range(size), axis=axis)
            value = value * scales
        else:
            value = bits.astype(np.float64)
        found[name] = value
    return found


def fp8(bits):
    """E4M3 (fn): a sign, 4 bits of exponent with a bias of 7, 3 of mantissa."""
    exponent, mantissa = bits >> 3 & 15, (bits & 7).astype(np.float64)
    size = np.where(exponent > 0, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0), mantissa / 8 * 2.0 ** -6)
    return np.where(bits >> 7 == 1, -size, size)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def softmax(x):
    exp = np.exp(x - x.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


class Model:
    """One model, whole sequences from position 0 on."""

    def __init__(self, config, tensors):
        self.config, self.tensors = config, tensors
        self.is_deepseek = config["model_type"].startswith("deepseek")
        self.count = config["num_hidden_layers"]

    def weight(self, name):
        return self.tensors[f"{name}.weight"]

    def norm(self, x, name, plus=None):
        plus = (0.0 if self.is_deepseek else 1.0) if plus is None else plus
        mean = (x * x).mean(axis=-1, keepdims=True)
        return x / np.sqrt(mean + self.config["rms_norm_eps"]) * (plus + self.weight(name))

    def states(self, tokens):
        """What the head sees of each token. [tokens, hidden]"""
        x = self.weight("model.embed_tokens")[tokens]
        for index in range(self.count):
            x = self.layer(x, f"model.layers.{index}.", index)
        return self.norm(x, "model.norm")

    def head(self, states):
        tied = "lm_head.weight" not in self.tensors
        return states @ self.weight("model.embed_tokens" if tied else "lm_head").T

    def guess_states(self, states, behind):
        """What the head of multi-token prediction sees of states and the tokens behind them."""
        if self.is_deepseek:
            prefix = layer = f"model.layers.{self.count}."
            joined, token_norm, state_norm, norm = "eh_proj", "enorm", "hnorm", "shared_head.norm"
        else:
            prefix, layer = "mtp.", "mtp.layers.0."
            joined, token_norm, state_norm, norm = "fc", "pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm"
        embedding = f"{prefix}embed_tokens" if self.is_deepseek else "model.embed_tokens"
        tokens = self.norm(self.weight(embedding)[behind], prefix + token_norm)
        pairs = np.concatenate([tokens, self.norm(states, prefix + state_norm)], axis=-1)
        x = self.layer(pairs @ self.weight(prefix + joined).T, layer, self.count)
        return self.norm(x, prefix + norm)

    def guess_head(self, states):
        if self.is_deepseek:
            return states @ self.weight(f"model.layers.{self.count}.shared_head.head").T
        return self.head(states)

    def layer(self, x, prefix, index):
        normed = self.norm(x, f"{prefix}input_layernorm")
        if self.is_deepseek:
            x = x + self.latent_attention(normed, f"{prefix}self_attn.")
        elif f"{prefix}self_attn.q_proj.weight" in self.tensors:
            x = x + self.gated_attention(normed, f"{prefix}self_attn.")
        else:
            x = x + self.gated_delta(normed, f"{prefix}linear_attn.")
        normed = self.norm(x, f"{prefix}post_attention_layernorm")
        return x + self.feed_forward(normed, f"{prefix}mlp.")

    def swiglu(self, x, prefix):
        gate, up = x @ self.weight(f"{prefix}gate_proj").T, x @ self.weight(f"{prefix}up_proj").T
        return silu(gate) * up @ self.weight(f"{prefix}down_proj").T

    def feed_forward(self, x, prefix):
        if f"{prefix}gate.weight" not in self.tensors:
            return self.swiglu(x, prefix)
        logits = x @ self.weight(f"{prefix}gate").T
        choose = self.deepseek_experts if self.is_deepseek else self.qwen_experts
        out = np.zeros_like(x)
        for row, (chosen, weights) in enumerate(choose(row, prefix) for row in logits):
            for expert, weight in zip(chosen, weights):
                out[row] += weight * self.swiglu(x[row], f"{prefix}experts.{expert}.")
        if self.is_deepseek:
            return out + self.swiglu(x, f"{prefix}shared_experts.")
        gate = sigmoid(x @ self.weight(f"{prefix}shared_expert_gate").T)
        return out + gate * self.swiglu(x, f"{prefix}shared_expert.")

    def qwen_experts(self, logits, prefix):
        scores = softmax(logits)
        chosen = np.argsort(-scores, kind="stable")[:self.config["num_experts_per_tok"]]
        return chosen, scores[chosen] / scores[chosen].sum()

    def deepseek_experts(self, logits, prefix):
        config, scores = self.config, sigmoid(logits)
        biased = scores + self.tensors[f"{prefix}gate.e_score_correction_bias"]
        groups = biased.reshape(config["n_group"], -1)
        best = np.sort(groups, axis=-1)[:, -2:].sum(axis=-1)
        closed = np.argsort(-best, kind="stable")[config["topk_group"]:]
        groups = groups.copy()
        groups[closed] = -np.inf
        chosen = np.argsort(-groups.reshape(-1), kind="stable")[:config["num_experts_per_tok"]]
        return chosen, scores[chosen] / scores[chosen].sum() * config["routed_scaling_factor"]

    def attend(self, q, k, v, scale):
        """q, k: [tokens, heads, size]; each row sees itself and what is before."""
        count = len(q)
        scores = np.einsum("qhd,khd->hqk", q, k) * scale
        scores = np.where(np.tril(np.ones((count, count), dtype=bool)), scores, -np.inf)
        return np.einsum("hqk,khd->qhd", softmax(scores), v).reshape(count, -1)

    def latent_attention(self, x, prefix):
        config = self.config
        heads, rope, nope = (config[key] for key in ("num_attention_heads", "qk_rope_head_dim", "qk_nope_head_dim"))
        rank, count = config["kv_lora_rank"], len(x)
        latent = self.norm(x @ self.weight(f"{prefix}q_a_proj").T, f"{prefix}q_a_layernorm")
        q = (latent @ self.weight(f"{prefix}q_b_proj").T).reshape(count, heads, nope + rope)
        kv = x @ self.weight(f"{prefix}kv_a_proj_with_mqa").T
        latent = self.norm(kv[:, :rank], f"{prefix}kv_a_layernorm")
        both = (latent @ self.weight(f"{prefix}kv_b_proj").T).reshape(count, heads, -1)
        frequencies, factor = self.yarn(rope)
        turned = turn_neighbours(kv[:, None, rank:], frequencies).repeat(heads, axis=1)
        k = np.concatenate([both[..., :nope], turned], axis=-1)
        q = np.concatenate([q[..., :nope], turn_neighbours(q[..., nope:], frequencies)], axis=-1)
        scale = factor ** 2 / (nope + rope) ** 0.5
        return self.attend(q, k, both[..., nope:], scale) @ self.weight(f"{prefix}o_proj").T

    def yarn(self, size):
        """Angles of one position, and the factor of queries and of keys (YaRN, arXiv:2309.00071)."""
        rope, base = self.config["rope_scaling"], self.config["rope_theta"]
        factor, original = rope["factor"], rope["original_max_position_embeddings"]
        pairs = np.arange(size // 2)
        frequencies = base ** (-2.0 * pairs / size)
        dim = lambda turns: size * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(base))
        low, high = max(np.floor(dim(rope["beta_fast"])), 0), min(np.ceil(dim(rope["beta_slow"])), size - 1)
        ramp = np.clip((pairs - low) / max(high - low, 0.001), 0, 1)
        mscale = 0.1 * rope["mscale_all_dim"] * np.log(factor) + 1
        return frequencies / factor * ramp + frequencies * (1 - ramp), mscale

    def gated_attention(self, x, prefix):
        config, count = self.config, len(x)
        heads, kv_heads, size = (config[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim"))
        q = (x @ self.weight(f"{prefix}q_proj").T).reshape(count, heads, 2 * size)
        q, gate = q[..., :size], q[..., size:].reshape(count, -1)
        k, v = ((x @ self.weight(f"{prefix}{part}_proj").T).reshape(count, kv_heads, size) for part in "kv")
        q, k = self.norm(q, f"{prefix}q_norm"), self.norm(k, f"{prefix}k_norm")
        rope = config.get("rope_parameters") or config
        turned = int(size * rope["partial_rotary_factor"])
        frequencies = rope["rope_theta"] ** (-2.0 * np.arange(turned // 2) / turned)
        q, k = (np.concatenate([turn_halves(part[..., :turned], frequencies), part[..., turned:]], axis=-1)
                for part in (q, k))
        k, v = (part.repeat(heads // kv_heads, axis=1) for part in (k, v))
        return self.attend(q, k, v, size ** -0.5) * sigmoid(gate) @ self.weight(f"{prefix}o_proj").T

    def gated_delta(self, x, prefix):
        config, count = self.config, len(x)
        keys, heads, key, value = (config[f"linear_{part}"] for part in (
            "num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim"))
        each = heads // keys
        if f"{prefix}in_proj_qkvz.weight" in self.tensors:
            both = (x @ self.weight(f"{prefix}in_proj_qkvz").T).reshape(count, keys, -1)
            cuts = np.cumsum([key, key, each * value])
            *qkv, z = (part.reshape(count, -1) for part in np.split(both, cuts, axis=-1))
            qkv = np.concatenate(qkv, axis=-1)
            gates = (x @ self.weight(f"{prefix}in_proj_ba").T).reshape(count, keys, -1)
            b, a = (part.reshape(count, -1) for part in np.split(gates, 2, axis=-1))
        else:
            qkv, z, b, a = (x @ self.weight(f"{prefix}in_proj_{part}").T for part in ("qkv", "z", "b", "a"))
        kernel = self.weight(f"{prefix}conv1d")[:, 0]
        width = kernel.shape[1]
        padded = np.vstack([np.zeros((width - 1, qkv.shape[1])), qkv])
        qkv = silu(sum(padded[tap:tap + count] * kernel[:, tap] for tap in range(width)))
        q, k, v = np.split(qkv, [keys * key, 2 * keys * key], axis=-1)
        unit = lambda part: part / np.sqrt((part * part).sum(axis=-1, keepdims=True) + 1e-6)
        q, k = (unit(part.reshape(count, keys, key)).repeat(each, axis=1) for part in (q, k))
        v, z = v.reshape(count, heads, value), z.reshape(count, heads, value)
        learnt = sigmoid(b)
        step = np.log1p(np.exp(a + self.tensors[f"{prefix}dt_bias"]))
        kept = np.exp(-np.exp(self.tensors[f"{prefix}A_log"]) * step)
        state, out = np.zeros((heads, key, value)), np.empty((count, heads, value))
        for row in range(count):
            state *= kept[row][:, None, None]
            error = (v[row] - np.einsum("hkv,hk->hv", state, k[row])) * learnt[row][:, None]
            state += k[row][:, :, None] * error[:, None, :]
            out[row] = np.einsum("hkv,hk->hv", state, q[row]) / key ** 0.5
        out = self.norm(out, f"{prefix}norm", 0.0) * silu(z)
        return out.reshape(count, -1) @ self.weight(f"{prefix}out_proj").T


def angles(x, frequencies):
    turned = np.arange(len(x))[:, None, None] * frequencies
    return np.cos(turned), np.sin(turned)


def turn_neighbours(x, frequencies):
    cos, sin = angles(x, frequencies)
    out = np.empty_like(x)
    out[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    out[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos
    return out


def turn_halves(x, frequencies):
    cos, sin = angles(x, frequencies)
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
