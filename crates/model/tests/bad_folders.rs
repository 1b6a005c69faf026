//! Holds each rule that a Hugging Face folder can break to its error: one fixture broken in one way
//! each.

use std::fs;
use std::path::Path;

use myriad_formats::ModelFolder;
use myriad_kernels::{Compute, Kernels};
use myriad_model::Model;

/// The fixture, what in `config.json` becomes what, and words that the message must have.
type Case = (&'static str, &'static str, &'static str, &'static [&'static str]);

const CASES: &[Case] = &[
    (
        "llama",
        "\"model_type\": \"llama\"",
        "\"model_type\": \"mamba2\"",
        &["`mamba2`", "model_type"],
    ),
    ("llama", "\"model_type\": \"llama\"", "\"model_type\": 7", &["`model_type`", "a string"]),
    ("llama", "\"hidden_size\": 64", "\"hidden_size\": 0", &["`hidden_size` is 0", "at least 1"]),
    ("llama", "\"hidden_size\": 64", "\"hidden_size\": 4294967295", &["`hidden_size`", "at most"]),
    ("llama", "\"hidden_size\": 64", "\"hidden_size\": 128", &["shape [64", "[128"]),
    ("llama", "\"hidden_size\": 64,", "", &["`hidden_size` is missing"]),
    ("llama", "\"hidden_size\": 64", "\"hidden_size\": -64", &["`hidden_size` is -64"]),
    (
        "llama",
        "\"num_hidden_layers\": 2",
        "\"num_hidden_layers\": 0",
        &["`num_hidden_layers` is 0"],
    ),
    (
        "llama",
        "\"num_hidden_layers\": 2",
        "\"num_hidden_layers\": 3",
        &["`model.layers.2.input_layernorm.weight` is missing"],
    ),
    (
        "llama",
        "\"num_hidden_layers\": 2",
        "\"num_hidden_layers\": 1",
        &["`model.layers.1.", "does not belong", "1 layers"],
    ),
    (
        "llama",
        "\"num_attention_heads\": 4",
        "\"num_attention_heads\": 0",
        &["`num_attention_heads` is 0"],
    ),
    (
        "llama",
        "\"num_key_value_heads\": 2",
        "\"num_key_value_heads\": 0",
        &["`num_key_value_heads` is 0"],
    ),
    (
        "llama",
        "\"num_key_value_heads\": 2",
        "\"num_key_value_heads\": 3",
        &["`num_key_value_heads` is 3"],
    ),
    (
        "llama",
        "\"rms_norm_eps\": 1e-06",
        "\"rms_norm_eps\": 0",
        &["`rms_norm_eps` is 0", "between 0 and 1"],
    ),
    ("llama", "\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": NaN", &["config.json"]),
    ("llama", "\"vocab_size\": 192", "\"vocab_size\": 191", &["`vocab_size`", "191", "192 rows"]),
    ("llama", "\"rope_theta\": 10000.0", "\"rope_theta\": -1", &["`rope_theta` is -1", "positive"]),
    ("llama", "\"rope_theta\": 10000.0", "\"rope_theta\": 1e400", &["config.json"]),
    ("llama", "\"factor\": 8.0", "\"factor\": 0", &["`factor` is 0", "positive"]),
    ("llama", "\"factor\": 8.0", "\"factor\": 1e-45", &["factor", "finite"]),
    ("llama", "\"rope_type\": \"llama3\"", "\"rope_type\": \"longrope\"", &["`longrope`", "yarn"]),
    (
        "llama",
        "\"max_position_embeddings\": 256",
        "\"max_position_embeddings\": 0",
        &["`max_position_embeddings` is 0"],
    ),
    (
        "llama",
        "\"rope_theta\"",
        "\"sliding_window\": 8, \"rope_theta\"",
        &["`sliding_window` is 8"],
    ),
    ("qwen3", "\"head_dim\": 24", "\"head_dim\": 23", &["heads of 23", "an even number"]),
    (
        "qwen3_moe",
        "\"num_local_experts\": 4",
        "\"num_local_experts\": 0",
        &["`num_local_experts` is 0"],
    ),
    (
        "qwen3_moe",
        "\"num_local_experts\": 4",
        "\"num_local_experts\": 5",
        &["mlp.gate.weight", "[64, 4]", "[64, 5]"],
    ),
    (
        "qwen3_moe",
        "\"num_experts_per_tok\": 2",
        "\"num_experts_per_tok\": 5",
        &["`num_experts_per_tok` is 5", "4 experts"],
    ),
    (
        "qwen3_moe",
        "\"num_experts_per_tok\": 2",
        "\"num_experts_per_tok\": 0",
        &["`num_experts_per_tok` is 0"],
    ),
    (
        "smollm3",
        "\"no_rope_layers\": [",
        "\"no_rope_layers\": [1,",
        &["`no_rope_layers` is 5", "must be 4"],
    ),
    ("deepseek_v3", "\"kv_lora_rank\": 32", "\"kv_lora_rank\": 0", &["`kv_lora_rank` is 0"]),
    (
        "deepseek_v3",
        "\"kv_lora_rank\": 32",
        "\"kv_lora_rank\": 1024",
        &["`kv_lora_rank` is 1024", "at most 512"],
    ),
    (
        "deepseek_v3",
        "\"qk_nope_head_dim\": 16",
        "\"qk_nope_head_dim\": 0",
        &["`qk_nope_head_dim` is 0"],
    ),
    (
        "deepseek_v3",
        "\"qk_rope_head_dim\": 8",
        "\"qk_rope_head_dim\": 7",
        &["heads of 7", "even number"],
    ),
    ("deepseek_v3", "\"v_head_dim\": 16", "\"v_head_dim\": 0", &["`v_head_dim` is 0"]),
    ("deepseek_v3", "\"n_group\": 4", "\"n_group\": 3", &["`n_group` is 3", "8 experts"]),
    ("deepseek_v3", "\"topk_group\": 2", "\"topk_group\": 9", &["of which 9 are open"]),
    (
        "deepseek_v3",
        "\"scoring_func\": \"sigmoid\"",
        "\"scoring_func\": \"sqrtsoftplus\"",
        &["`sqrtsoftplus`", "softmax and sigmoid"],
    ),
    (
        "deepseek_v3",
        "\"routed_scaling_factor\": 2.5",
        "\"routed_scaling_factor\": -2.5",
        &["`routed_scaling_factor` is -2.5", "positive"],
    ),
    ("deepseek_v32", "\"index_topk\": 8", "\"index_topk\": 0", &["`index_topk` is 0"]),
    (
        "deepseek_v32",
        "\"index_head_dim\": 16",
        "\"index_head_dim\": 4",
        &["heads of 4", "at least the 8"],
    ),
    ("deepseek_v32", "\"q_lora_rank\": 24", "\"q_lora_rank\": null", &["`q_lora_rank` is missing"]),
    ("gpt_oss", "\"sliding_window\": 8", "\"sliding_window\": 0", &["`sliding_window` is 0"]),
    (
        "gpt_oss",
        "\"sliding_attention\"",
        "\"chunked_attention\"",
        &["`chunked_attention`", "full_attention"],
    ),
    ("gpt_oss", "\"num_local_experts\": 4", "\"num_local_experts\": 3", &["[64, 4]", "[64, 3]"]),
    (
        "gpt_oss",
        "\"swiglu_limit\": 1.5",
        "\"swiglu_limit\": 0",
        &["`swiglu_limit` is 0", "positive"],
    ),
    (
        "qwen3_next",
        "\"linear_conv_kernel_dim\": 4",
        "\"linear_conv_kernel_dim\": 0",
        &["`linear_conv_kernel_dim` is 0"],
    ),
    (
        "qwen3_next",
        "\"linear_conv_kernel_dim\": 4",
        "\"linear_conv_kernel_dim\": 40",
        &["`linear_conv_kernel_dim` is 40", "at most 16"],
    ),
    (
        "qwen3_next",
        "\"linear_num_key_heads\": 2",
        "\"linear_num_key_heads\": 3",
        &["`linear_num_key_heads` is 3"],
    ),
    (
        "qwen3_next",
        "\"linear_value_head_dim\": 16",
        "\"linear_value_head_dim\": 0",
        &["`linear_value_head_dim` is 0"],
    ),
    (
        "qwen3_next",
        "\"partial_rotary_factor\": 0.25",
        "\"partial_rotary_factor\": 2",
        &["`partial_rotary_factor` is 2", "at most 1"],
    ),
    (
        "qwen3_next",
        "\"partial_rotary_factor\": 0.25",
        "\"partial_rotary_factor\": 0.01",
        &["`partial_rotary_factor` makes heads of 0", "even number"],
    ),
    (
        "qwen3_5",
        "\"linear_attention\"",
        "\"sliding_attention\"",
        &["`sliding_attention`", "linear_attention"],
    ),
    ("qwen3_5", "\"linear_attention\",", "", &["`layer_types` is 3", "must be 4"]),
];

fn fixture(name: &str) -> std::path::PathBuf {
    std::path::PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .join("tests/golden/families")
        .join(name)
}

fn load(config: &str, weights: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config).unwrap();
    fs::copy(weights, folder.path().join("model.safetensors")).unwrap();
    let folder = ModelFolder::open(folder.path()).map_err(|error| error.to_string())?;
    let compute = Compute::new(Kernels::detect().unwrap(), 1);
    Model::load(&folder, &compute, &mut |_| ()).map(drop).map_err(|error| error.to_string())
}

#[test]
fn each_broken_setting_has_its_sentence() {
    let mut wrong = Vec::new();
    for (row, from, to, says) in CASES {
        let path = fixture(row);
        let config = fs::read_to_string(path.join("config.json")).unwrap();
        assert!(config.contains(from), "{row}: no {from} in {config}");
        let broken = config.replacen(from, to, 1);
        let weights = path.join("model.safetensors");
        match load(&broken, &weights) {
            Ok(()) => wrong.push(format!("{row}, {to}: loads")),
            Err(message) => {
                let told = says.iter().all(|words| message.contains(words));
                if !told || message.len() > 400 || message.contains('\n') {
                    wrong.push(format!("{row}, {to}: {says:?} not in: {message}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
