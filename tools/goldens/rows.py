"""The table of fixtures: one row for each family, or way of writing a family's files."""

from dataclasses import dataclass, field


@dataclass
class Row:
    """One fixture: a configuration, and what its published files have that transformers' own have not."""

    # The class of the configuration, and its settings.
    config: str
    settings: dict
    # How `config.json` describes positions: as files of today do ("new"), as those before transformers 5
    # ("old"), or as those with `type` for `rope_type` ("type").
    positions: str
    # Keys of the published `config.json` that the class does not write, and keys it should not have.
    keys: dict = field(default_factory=dict)
    without: tuple = ()
    # What `config.json` has around this as its `text_config`; tensors are then of `model.language_model`.
    wrapper: dict = field(default_factory=dict)
    # Ends of names of what is stored as F32 amid BF16.
    floats: tuple = ("A_log", "e_score_correction_bias")
    # Whether all experts of a layer are one tensor, where the family's files may have either.
    fused: bool = False
    # How large matrices are stored: as BF16, or packed (`published.PACKINGS`).
    packing: str = "bf16"
    # By what matrices whose names end so are larger than others.
    gains: dict = field(default_factory=dict)
    # Whether GGUF can say all of it: llama.cpp has some numbers in its code instead. A smaller row with
    # those numbers then follows.
    gguf: bool = True
    # Whether seeds are passed over where a router's choice is a near tie. Rows from before this was
    # checked keep their seeds, with which none is near enough to matter.
    steady: bool = True


SHARED = dict(
    vocab_size=192, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    intermediate_size=64, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, output_router_logits=False)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)
SMALL = dict(SHARED, vocab_size=128, hidden_size=32, head_dim=16, intermediate_size=48)
GPT_OSS = dict(
    SHARED, head_dim=16, intermediate_size=32, num_local_experts=4, num_experts_per_tok=2, sliding_window=8,
    tie_word_embeddings=False, attention_bias=True,
    rope_parameters=dict(YARN, rope_theta=150000.0, beta_fast=32.0, beta_slow=1.0, truncate=False),
)
MXFP4 = dict(experts_per_token=2, initial_context_length=64, quantization_config=dict(
    quant_method="mxfp4", modules_to_not_convert=["model.layers.*.self_attn", "model.layers.*.mlp.router",
                                                  "model.embed_tokens", "lm_head"]))
MLA = dict(
    SHARED, num_key_value_heads=4, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16,
    n_shared_experts=1, moe_intermediate_size=16, first_k_dense_replace=1, tie_word_embeddings=False,
)
# What files of DeepSeek have beside what transformers writes, and what they have not.
DEEPSEEK = dict(scoring_func="softmax", moe_layer_freq=1, seq_aux=True, ep_size=1)
NOT_DEEPSEEK = ("head_dim", "qk_head_dim", "mlp_bias")
FP8 = dict(quant_method="fp8", fmt="e4m3", activation_scheme="dynamic", weight_block_size=[128, 128])
MLA_YARN = dict(YARN, rope_theta=10000.0, beta_fast=32, beta_slow=1)
# Three layers of four keep a state of fixed size; the fourth attends.
HYBRID = dict(
    SHARED, vocab_size=128, hidden_size=48, num_hidden_layers=4, head_dim=32, linear_conv_kernel_dim=4,
    linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=16, linear_value_head_dim=16,
)
# Of text, all three positions are the same.
MROPE = dict(rope_type="default", rope_theta=10000000.0, partial_rotary_factor=0.25, mrope_interleaved=True,
             mrope_section=[2, 1, 1])
QWEN3_5 = dict(attn_output_gate=True, full_attention_interval=4, mamba_ssm_dtype="float32")
QWEN3_5_FLOATS = ("A_log", "linear_attn.norm.weight")

ROWS = {
    "llama": Row("LlamaConfig", dict(SHARED, tie_word_embeddings=False, rope_parameters=dict(
        LLAMA3, rope_theta=10000.0)), "old"),
    "llama-tied": Row("LlamaConfig", dict(SHARED, head_dim=16, tie_word_embeddings=True, attention_bias=False,
                      rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=100000.0)), "new"),
    "gemma3": Row("Gemma3TextConfig", dict(SHARED, num_hidden_layers=4, head_dim=16, num_key_value_heads=1,
                  hidden_activation="gelu_pytorch_tanh", query_pre_attn_scalar=20, sliding_window=8,
                  intermediate_size=48, tie_word_embeddings=True,
                  layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
                  rope_parameters=dict(
                      sliding_attention=dict(rope_type="default", rope_theta=10000.0),
                      full_attention=dict(rope_type="linear", factor=4.0, rope_theta=1000000.0))), "new",
                  gguf=False),
    "gemma3-pattern": Row("Gemma3TextConfig", dict(SMALL, num_hidden_layers=6, num_key_value_heads=1,
                          hidden_activation="gelu_pytorch_tanh", query_pre_attn_scalar=16, sliding_window=8,
                          tie_word_embeddings=True, layer_types=["sliding_attention"] * 5 + ["full_attention"],
                          rope_parameters=dict(
                              sliding_attention=dict(rope_type="default", rope_theta=10000.0),
                              full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1000000.0))),
                          "new"),
    "smollm3": Row("SmolLM3Config", dict(SHARED, num_hidden_layers=4, tie_word_embeddings=True,
                   no_rope_layers=[1, 0, 1, 1],
                   rope_parameters=dict(rope_type="default", rope_theta=50000.0)), "old", gguf=False),
    "smollm3-pattern": Row("SmolLM3Config", dict(SMALL, num_hidden_layers=4, tie_word_embeddings=True,
                           rope_parameters=dict(rope_type="default", rope_theta=50000.0)), "old"),
    "qwen2": Row("Qwen2Config", dict(SHARED, tie_word_embeddings=True, use_sliding_window=False,
                 rope_parameters=dict(YARN, rope_theta=1000000.0)), "old"),
    "qwen2_moe": Row("Qwen2MoeConfig", dict(SHARED, **EXPERTS, num_hidden_layers=3, tie_word_embeddings=False,
                     shared_expert_intermediate_size=32, norm_topk_prob=False, decoder_sparse_step=1,
                     mlp_only_layers=[1], use_sliding_window=False,
                     rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), "old", steady=False,
                     gguf=False),
    "qwen2_moe-sparse": Row("Qwen2MoeConfig", dict(SMALL, **EXPERTS, tie_word_embeddings=False,
                            shared_expert_intermediate_size=24, norm_topk_prob=False, decoder_sparse_step=1,
                            mlp_only_layers=[], use_sliding_window=False,
                            rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), "old"),
    "qwen3": Row("Qwen3Config", dict(SHARED, head_dim=24, tie_word_embeddings=True, use_sliding_window=False,
                 rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), "new"),
    "qwen3_moe": Row("Qwen3MoeConfig", dict(SHARED, **EXPERTS, head_dim=24, tie_word_embeddings=False,
                     norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], use_sliding_window=False,
                     rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), "old", steady=False),
    "seed_oss": Row("SeedOssConfig", dict(SHARED, head_dim=24, tie_word_embeddings=False, attention_bias=True,
                    attention_out_bias=False,
                    rope_parameters=dict(rope_type="default", rope_theta=10000000.0)), "new"),
    # The limit is low enough that some gates and ups pass it.
    "gpt_oss": Row("GptOssConfig", dict(GPT_OSS, num_hidden_layers=4, swiglu_limit=1.5), "old",
                   keys=MXFP4, without=("swiglu_alpha",), packing="mxfp4", gguf=False),
    "gpt_oss-limit": Row("GptOssConfig", dict(GPT_OSS, vocab_size=128, num_hidden_layers=2,
                         swiglu_limit=7.0), "old", keys=MXFP4, without=("swiglu_alpha",), packing="mxfp4",
                         gains=dict(gate_up_proj=5.0, down_proj=0.1)),
    "deepseek_v2_lite": Row("DeepseekV2Config", dict(MLA, num_hidden_layers=3, q_lora_rank=None,
                            n_routed_experts=4, num_experts_per_tok=2, topk_method="greedy", n_group=1,
                            topk_group=1, norm_topk_prob=False, routed_scaling_factor=1.0,
                            rope_parameters=dict(MLA_YARN, mscale=0.707, mscale_all_dim=0.707)), "type",
                            keys=DEEPSEEK, without=NOT_DEEPSEEK),
    "deepseek_v2": Row("DeepseekV2Config", dict(MLA, q_lora_rank=24,
                       n_routed_experts=8, num_experts_per_tok=3, topk_method="group_limited_greedy", n_group=4,
                       topk_group=2, norm_topk_prob=False, routed_scaling_factor=2.5,
                       rope_parameters=dict(MLA_YARN, mscale=0.707, mscale_all_dim=0.707)), "type",
                       keys=DEEPSEEK, without=NOT_DEEPSEEK),
    # Wider than one block of scales in its dense layer.
    "deepseek_v3": Row("DeepseekV3Config", dict(MLA, num_hidden_layers=3, vocab_size=128,
                       intermediate_size=136, q_lora_rank=24, n_routed_experts=8, num_experts_per_tok=3,
                       n_group=4, topk_group=2, norm_topk_prob=True, routed_scaling_factor=2.5,
                       num_mtp_layers=0,
                       rope_parameters=dict(MLA_YARN, mscale=1.0, mscale_all_dim=1.0)), "type",
                       keys=dict(DEEPSEEK, scoring_func="sigmoid", topk_method="noaux_tc",
                                 num_nextn_predict_layers=0, quantization_config=FP8),
                       without=(*NOT_DEEPSEEK, "rope_interleave", "num_mtp_layers"), packing="fp8"),
    "qwen3_next": Row("Qwen3NextConfig", dict(HYBRID, **EXPERTS, shared_expert_intermediate_size=16,
                      norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], tie_word_embeddings=False,
                      rope_parameters=dict(rope_type="default", rope_theta=10000000.0,
                                           partial_rotary_factor=0.25)), "old",
                      keys=dict(full_attention_interval=4), without=("layer_types",)),
    "qwen3_5": Row("Qwen3_5TextConfig", dict(HYBRID, tie_word_embeddings=True, rope_parameters=MROPE), "new",
                   keys=QWEN3_5, floats=QWEN3_5_FLOATS),
    # As files of models that also see: the text's part among others.
    "qwen3_5-wrapped": Row("Qwen3_5TextConfig", dict(
                           HYBRID, hidden_size=32, intermediate_size=48, tie_word_embeddings=False,
                           rope_parameters=MROPE), "new", keys=QWEN3_5, floats=QWEN3_5_FLOATS, gguf=False,
                           wrapper=dict(architectures=["Qwen3_5ForConditionalGeneration"], model_type="qwen3_5",
                                        image_token_id=3, video_token_id=4, vision_start_token_id=5,
                                        vision_end_token_id=6, tie_word_embeddings=False)),
    "qwen3_5_moe": Row("Qwen3_5MoeTextConfig", dict(HYBRID, **EXPERTS, shared_expert_intermediate_size=16,
                       tie_word_embeddings=False, rope_parameters=MROPE), "new",
                       keys=QWEN3_5, floats=QWEN3_5_FLOATS, fused=True),
    # Chooses 8 of up to 64 positions; with fewer heads, scores that were cut off to zero are often tied.
    "deepseek_v32": Row("DeepseekV32Config", dict(MLA, q_lora_rank=24, n_routed_experts=4,
                        num_experts_per_tok=2, n_group=2, topk_group=1, norm_topk_prob=True,
                        routed_scaling_factor=2.5, index_topk=8, index_n_heads=8, index_head_dim=16,
                        rope_parameters=dict(MLA_YARN, mscale=1.0, mscale_all_dim=1.0)), "type",
                        keys=dict(DEEPSEEK, scoring_func="sigmoid", topk_method="noaux_tc",
                                  num_nextn_predict_layers=0, quantization_config=dict(FP8, scale_fmt="ue8m0")),
                        without=(*NOT_DEEPSEEK, "mlp_layer_types", "layer_types"), packing="fp8"),
}
