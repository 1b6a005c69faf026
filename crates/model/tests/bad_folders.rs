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
