//! Turns GGUF's tensor names into those of a Hugging Face folder.

use std::ops::Range;

use myriad_formats::{ModelFolder, TensorSource, TensorView};

use crate::config::Family;

/// Where a folder has what GGUF has in one tensor.
pub(super) enum Place {
    /// In a tensor of that name.
    Whole(String),
    /// In one tensor for each expert: `before`, its number, `after`.
    Experts { before: String, after: String },
    /// In every other half of the rows of a tensor that holds gate, then up, of each expert.
    Half { name: String, second: bool },
}

/// What models without and with other parts (vision, speech) write before the names of a decoder.
const PREFIXES: [&str; 3] = ["model.", "model.language_model.", "language_model.model."];

/// Names inside a layer: GGUF's, and Hugging Face's.
const IN_LAYER: [(&str, &str); 17] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    // Seed-OSS keeps this name in GGUF.
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("ffn_gate_inp", "mlp.gate"),
    ("ffn_gate_inp_shexp", "mlp.shared_expert_gate"),
    ("ffn_gate_shexp", "mlp.shared_expert.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_expert.up_proj"),
    ("ffn_down_shexp", "mlp.shared_expert.down_proj"),
];

/// Names inside a layer that Gemma has otherwise.
const IN_GEMMA_LAYER: [(&str, &str); 3] = [
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

/// The place of the tensor that GGUF calls `name`.
pub(super) fn in_folder(folder: &ModelFolder, family: Family, name: &str) -> Place {
    let prefix = prefix(folder);
    match name {
        "token_embd.weight" => return Place::Whole(format!("{prefix}embed_tokens.weight")),
        "output_norm.weight" => return Place::Whole(format!("{prefix}norm.weight")),
        "output.weight" => return Place::Whole(head(prefix)),
        _ => {}
    }
    let parts = || {
        let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
        let (part, kind) = rest.rsplit_once('.')?;
        Some((format!("{prefix}layers.{layer}."), part, kind))
    };
    // What GGUF alone has is nowhere in a folder, under its own name.
    let Some((layer, part, kind)) = parts() else { return Place::Whole(name.to_owned()) };
    if let Some(matrix) = part.strip_prefix("ffn_").and_then(|part| part.strip_suffix("_exps")) {
        return experts(folder, &layer, matrix, kind);
    }
    let own: &[_] = if family == Family::Gemma3 { &IN_GEMMA_LAYER } else { &[] };
    Place::Whole(match own.iter().chain(&IN_LAYER).find(|(gguf, _)| *gguf == part) {
        Some((_, theirs)) => format!("{layer}{theirs}.{kind}"),
        None => name.to_owned(),
    })
}

/// Published files have a tensor for each expert; newer programs also save all of them in one.
fn experts(folder: &ModelFolder, layer: &str, matrix: &str, kind: &str) -> Place {
    let fused = match matrix {
        "down" => format!("{layer}mlp.experts.down_proj"),
        _ => format!("{layer}mlp.experts.gate_up_proj"),
    };
    match (folder.find_tensor(&fused).is_some(), matrix) {
        (true, "down") => Place::Whole(fused),
        (true, _) => Place::Half { name: fused, second: matrix == "up" },
        (false, _) => Place::Experts {
            before: format!("{layer}mlp.experts."),
            after: format!(".{matrix}_proj.{kind}"),
        },
    }
}

/// Whether a tensor of the folder is no part of the model's description.
pub(super) fn is_ignorable(folder: &ModelFolder, name: &str, tied_output: bool) -> bool {
    let scaled = name.strip_suffix("_scale_inv");
    // Scales belong to their weights; angles follow from the settings.
    scaled.is_some_and(|weight| folder.find_tensor(weight).is_some())
        || name.ends_with(".rotary_emb.inv_freq")
        || (tied_output && name == head(prefix(folder)))
}

/// The head stands outside of the decoder.
fn head(prefix: &str) -> String {
    match prefix.strip_suffix("model.") {
        Some(before) if prefix.starts_with("language_model.") => format!("{before}lm_head.weight"),
        _ => "lm_head.weight".to_owned(),
    }
}

fn prefix(folder: &ModelFolder) -> &'static str {
    let is_there =
        |prefix: &&&str| folder.find_tensor(&format!("{prefix}embed_tokens.weight")).is_some();
    PREFIXES.iter().find(is_there).unwrap_or(&PREFIXES[0])
}

impl Place {
    /// The tensors that stand there, experts in their order; none if it is empty.
    pub fn views<'a>(&self, folder: &'a ModelFolder) -> Vec<TensorView<'a>> {
        match self {
            Place::Whole(name) | Place::Half { name, .. } => {
                folder.find_tensor(name).into_iter().collect()
            }
            Place::Experts { before, after } => (0..)
                .map_while(|expert| folder.find_tensor(&format!("{before}{expert}{after}")))
                .collect(),
        }
    }

    /// For a part of each expert's rows: which rows, and how many of them each expert has.
    pub fn rows_within(&self, view: TensorView<'_>) -> Option<(Vec<Range<usize>>, usize)> {
        let Place::Half { second, .. } = self else { return None };
        let (both, experts) = match view.shape {
            [_, both, experts] => (*both, *experts),
            _ => return None,
        };
        let size = both / 2;
        let start = |expert: usize| expert * both + if *second { size } else { 0 };
        Some(((0..experts).map(|expert| start(expert)..start(expert) + size).collect(), size))
    }

    /// The name of what should be there.
    pub fn for_people(&self) -> String {
        match self {
            Place::Whole(name) | Place::Half { name, .. } => name.clone(),
            Place::Experts { before, after } => format!("{before}0{after}"),
        }
    }
}
