//! Turns GGUF's tensor names into those of a Hugging Face folder of BERT.

use myriad_formats::{ModelFolder, TensorSource};

use super::super::place::Place;

/// What models with something behind the encoder write before the names of the encoder.
const PREFIX: &str = "bert.";

/// Names outside of the layers: GGUF's, and Hugging Face's.
const AROUND: [(&str, &str); 5] = [
    ("token_embd", "embeddings.word_embeddings"),
    ("position_embd", "embeddings.position_embeddings"),
    ("token_types", "embeddings.token_type_embeddings"),
    ("token_embd_norm", "embeddings.LayerNorm"),
    ("cls", POOLER),
];

/// What pairs are scored by: within the encoder, and behind it.
const POOLER: &str = "pooler.dense";
const CLASSIFIER: &str = "classifier";

/// Names inside a layer.
const IN_LAYER: [(&str, &str); 8] = [
    ("attn_q", "attention.self.query"),
    ("attn_k", "attention.self.key"),
    ("attn_v", "attention.self.value"),
    ("attn_output", "attention.output.dense"),
    ("attn_output_norm", "attention.output.LayerNorm"),
    ("ffn_up", "intermediate.dense"),
    ("ffn_down", "output.dense"),
    ("layer_output_norm", "output.LayerNorm"),
];

/// The place of the tensor that GGUF calls `name`.
pub(super) fn in_folder(folder: &ModelFolder, name: &str) -> Place {
    let is_within = folder.find_tensor("bert.embeddings.word_embeddings.weight").is_some();
    let theirs = theirs(name, if is_within { PREFIX } else { "" });
    // What GGUF alone has is nowhere in a folder, under its own name.
    Place::whole(theirs.unwrap_or_else(|| name.to_owned()))
}

fn theirs(name: &str, prefix: &str) -> Option<String> {
    let find = |table: &[(&str, &'static str)], part: &str| {
        table.iter().find(|(gguf, _)| *gguf == part).map(|(_, theirs)| *theirs)
    };
    let (part, kind) = name.rsplit_once('.')?;
    if let Some((layer, part)) = part.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        return Some(format!("{prefix}encoder.layer.{layer}.{}.{kind}", find(&IN_LAYER, part)?));
    }
    match part {
        "cls.output" => Some(format!("{CLASSIFIER}.{kind}")),
        _ => Some(format!("{prefix}{}.{kind}", find(&AROUND, part)?)),
    }
}

/// Whether a tensor of the folder is no part of the model's description: the numbers of positions,
/// and what an embedder was trained with (the pooler, heads that guess words or neighbours).
pub(super) fn is_ignorable(name: &str, has_classifier: bool) -> bool {
    let own = name.strip_prefix(PREFIX).unwrap_or(name);
    own == "embeddings.position_ids"
        || (!has_classifier && (own.starts_with(POOLER) || name.starts_with("cls.")))
}
