//! Turns GGUF's tensor names into those of a Hugging Face folder.

mod bert;

use myriad_formats::{Gguf, ModelFolder, TensorSource};

use super::place::{DeltaPart, Part, Place};
use crate::config::{Config, Family};

/// What models without and with other parts (vision, speech) write before the names of a decoder.
const PREFIXES: [&str; 3] = ["model.", "model.language_model.", "language_model.model."];

/// Beginnings of names that do not belong to a decoder: of parts that see, and of a part that
/// guesses further tokens.
const OTHER_PARTS: [&str; 6] = [
    "model.visual.",
    "visual.",
    "model.vision_tower.",
    "vision_tower.",
    "model.multi_modal_projector.",
    "mtp.",
];

/// Names inside a layer: GGUF's, and Hugging Face's.
const IN_LAYER: [(&str, &str); 33] = [
    ("attn_norm", "input_layernorm"),
    ("attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"),
    ("attn_kv_a_norm", "self_attn.kv_a_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_q_a", "self_attn.q_a_proj"),
    ("attn_q_a_norm", "self_attn.q_a_layernorm"),
    ("attn_q_b", "self_attn.q_b_proj"),
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
    ("attn_gate", "linear_attn.in_proj_z"),
    ("attn_qkv", "linear_attn.in_proj_qkv"),
    ("ssm_alpha", "linear_attn.in_proj_a"),
    // Converters of Qwen3-Next leave these two together.
    ("ssm_ba", "linear_attn.in_proj_ba"),
    ("ssm_beta", "linear_attn.in_proj_b"),
    ("ssm_norm", "linear_attn.norm"),
    ("ssm_out", "linear_attn.out_proj"),
    ("indexer.attn_k", "self_attn.indexer.wk"),
    ("indexer.attn_q_b", "self_attn.indexer.wq_b"),
    ("indexer.k_norm", "self_attn.indexer.k_norm"),
    ("indexer.proj", "self_attn.indexer.weights_proj"),
];

/// Names inside a layer that Gemma has otherwise.
const IN_GEMMA_LAYER: [(&str, &str); 3] = [
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

/// Names inside a layer that DeepSeek has otherwise.
const IN_DEEPSEEK_LAYER: [(&str, &str); 3] = [
    ("ffn_gate_shexp", "mlp.shared_experts.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_experts.up_proj"),
    ("ffn_down_shexp", "mlp.shared_experts.down_proj"),
];

/// Names inside a layer that gpt-oss has otherwise.
const IN_GPT_OSS_LAYER: [(&str, &str); 1] = [("ffn_gate_inp", "mlp.router")];

/// Names inside a layer whose ends the formats do not share.
const WITH_OWN_ENDING: [(&str, &str, Part); 5] = [
    ("attn_sinks.weight", "self_attn.sinks", Part::Whole),
    ("exp_probs_b.bias", "mlp.gate.e_score_correction_bias", Part::Whole),
    ("ssm_a", "linear_attn.A_log", Part::MinusExp),
    ("ssm_conv1d.weight", "linear_attn.conv1d.weight", Part::Squeezed),
    ("ssm_dt.bias", "linear_attn.dt_bias", Part::Whole),
];

/// Names inside the layer that guesses further tokens: GGUF's, DeepSeek's and Qwen's.
const IN_MTP: [(&str, &str, &str); 6] = [
    ("eh_proj", "eh_proj", "fc"),
    ("embed_tokens", "embed_tokens", "embed_tokens"),
    ("enorm", "enorm", "pre_fc_norm_embedding"),
    ("hnorm", "hnorm", "pre_fc_norm_hidden"),
    ("shared_head_head", "shared_head.head", "shared_head.head"),
    ("shared_head_norm", "shared_head.norm", "norm"),
];

/// What gated delta nets may have in one matrix: the name of the part, of the matrix in GGUF, and
/// in folders. The first GGUF files of Qwen3-Next have the folder's four parts in one, too.
const DELTA_PARTS: [(&str, &str, &str, DeltaPart); 4] = [
    ("attn_qkv.weight", "ssm_in.weight", "linear_attn.in_proj_qkvz.weight", DeltaPart::Qkv),
    ("attn_gate.weight", "ssm_in.weight", "linear_attn.in_proj_qkvz.weight", DeltaPart::Gate),
    ("ssm_beta.weight", "ssm_ba.weight", "linear_attn.in_proj_ba.weight", DeltaPart::Beta),
    ("ssm_alpha.weight", "ssm_ba.weight", "linear_attn.in_proj_ba.weight", DeltaPart::Alpha),
];

/// The place of the tensor that llama.cpp's converters of today call `name`.
pub(super) fn in_gguf(gguf: &Gguf, name: &str) -> Place {
    let is_there = |name: &str| gguf.find_tensor(name).is_some();
    if is_there(name) {
        return Place::whole(name.to_owned());
    }
    // The first files of DeepSeek have keys and values in one matrix.
    if let Some((layer, part)) = latent_part(name) {
        let whole = format!("{layer}.attn_kv_b.weight");
        if is_there(&whole) {
            return Place::of(whole, part);
        }
    }
    for (part, matrix, _, delta) in DELTA_PARTS {
        if let Some(whole) = name.strip_suffix(part).map(|layer| format!("{layer}{matrix}"))
            && is_there(&whole)
        {
            return Place::of(whole, Part::Delta(delta));
        }
    }
    Place::whole(name.to_owned())
}

/// The layer of a tensor that folders have in one with another.
fn latent_part(name: &str) -> Option<(&str, Part)> {
    let keys = name.strip_suffix(".attn_k_b.weight").map(|layer| (layer, Part::LatentKeys));
    let values = || name.strip_suffix(".attn_v_b.weight").map(|layer| (layer, Part::LatentValues));
    keys.or_else(values)
}

/// The place of the tensor that GGUF calls `name`, of a model of so many layers (none: not known).
pub(super) fn in_folder(
    folder: &ModelFolder,
    family: Family,
    trunk: Option<usize>,
    name: &str,
) -> Place {
    if family == Family::Bert {
        return bert::in_folder(folder, name);
    }
    let prefix = prefix(folder);
    let is_hybrid = matches!(family, Family::Qwen3Next | Family::Qwen35 | Family::Qwen35Moe);
    let norm = if is_hybrid || family == Family::Gemma3 { Part::PlusOne } else { Part::Whole };
    match name {
        "token_embd.weight" => return Place::whole(format!("{prefix}embed_tokens.weight")),
        "output_norm.weight" => return Place::of(format!("{prefix}norm.weight"), norm),
        "output.weight" => return Place::whole(head(prefix)),
        _ => {}
    }
    let in_layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    // What GGUF alone has is nowhere in a folder, under its own name.
    let Some((layer, rest)) = in_layer else { return Place::whole(name.to_owned()) };
    let behind = layer.parse::<usize>().ok().zip(trunk);
    let layer = match behind.and_then(|(layer, trunk)| layer.checked_sub(trunk)) {
        // Counted anew there.
        Some(behind) if is_hybrid => format!("mtp.layers.{behind}."),
        _ => format!("{prefix}layers.{layer}."),
    };
    if let Some(place) = in_mtp(&layer, is_hybrid, norm, rest) {
        return place;
    }
    if let Some((_, theirs, part)) = WITH_OWN_ENDING.iter().find(|(gguf, ..)| *gguf == rest) {
        return Place::of(format!("{layer}{theirs}"), *part);
    }
    if let Some((_, _, whole, delta)) = DELTA_PARTS.iter().find(|(gguf, ..)| *gguf == rest) {
        let whole = format!("{layer}{whole}");
        if folder.find_tensor(&whole).is_some() {
            return Place::of(whole, Part::Delta(*delta));
        }
    }
    let Some((part, kind)) = rest.rsplit_once('.') else { return Place::whole(name.to_owned()) };
    if let Some(matrix) = part.strip_prefix("ffn_").and_then(|part| part.strip_suffix("_exps")) {
        return match family {
            Family::GptOss => experts_of_gpt_oss(folder, &layer, matrix, kind),
            _ => experts(folder, &layer, matrix, kind),
        };
    }
    if let Some((_, part)) = latent_part(name) {
        return Place::of(format!("{layer}self_attn.kv_b_proj.weight"), part);
    }
    let own: &[_] = match family {
        Family::Gemma3 => &IN_GEMMA_LAYER,
        Family::DeepSeek2 | Family::DeepSeek32 => &IN_DEEPSEEK_LAYER,
        Family::GptOss => &IN_GPT_OSS_LAYER,
        _ => &[],
    };
    match own.iter().chain(&IN_LAYER).find(|(gguf, _)| *gguf == part) {
        Some((gguf, theirs)) => {
            let name = format!("{layer}{theirs}.{kind}");
            // The norm of a gated delta net's output is kept as it is everywhere.
            let is_norm = gguf.ends_with("norm") && *gguf != "ssm_norm";
            Place::of(name, if is_norm { norm } else { Part::Whole })
        }
        None => Place::whole(name.to_owned()),
    }
}

/// What GGUF calls `nextn` and a folder otherwise.
fn in_mtp(layer: &str, is_hybrid: bool, norm: Part, name: &str) -> Option<Place> {
    let (part, kind) = name.strip_prefix("nextn.")?.rsplit_once('.')?;
    let (_, deepseeks, qwens) = IN_MTP.iter().find(|(gguf, ..)| *gguf == part)?;
    let part = if part.ends_with("norm") { norm } else { Part::Whole };
    Some(match is_hybrid {
        true => Place::of(format!("mtp.{qwens}.{kind}"), part),
        false => Place::of(format!("{layer}{deepseeks}.{kind}"), part),
    })
}

/// Published files have a tensor for each expert; newer programs also save all of them in one.
fn experts(folder: &ModelFolder, layer: &str, matrix: &str, kind: &str) -> Place {
    let (fused, part) = match matrix {
        "down" => (format!("{layer}mlp.experts.down_proj"), Part::Whole),
        "gate" => (format!("{layer}mlp.experts.gate_up_proj"), Part::Half(0)),
        _ => (format!("{layer}mlp.experts.gate_up_proj"), Part::Half(1)),
    };
    match folder.find_tensor(&fused) {
        Some(_) => Place::of(fused, part),
        None => Place {
            name: format!("{layer}mlp.experts."),
            behind: format!(".{matrix}_proj.{kind}"),
            part: Part::Experts,
        },
    }
}

/// gpt-oss has rows of gate and up in turns, in 4-bit floats as published, or transposed in others.
fn experts_of_gpt_oss(folder: &ModelFolder, layer: &str, matrix: &str, kind: &str) -> Place {
    let (name, alternate) = match matrix {
        "down" => (format!("{layer}mlp.experts.down_proj"), None),
        "gate" => (format!("{layer}mlp.experts.gate_up_proj"), Some(0)),
        _ => (format!("{layer}mlp.experts.gate_up_proj"), Some(1)),
    };
    match (kind, alternate) {
        ("bias", Some(from)) => Place::of(format!("{name}_bias"), Part::Alternate(from)),
        ("bias", None) => Place::whole(format!("{name}_bias")),
        _ if folder.find_tensor(&name).is_some() => Place::of(name, Part::Transposed(alternate)),
        _ => Place::of(name, Part::Mxfp4(alternate)),
    }
}

/// Whether a tensor of the folder is no part of the model's description.
pub(super) fn is_ignorable(folder: &ModelFolder, name: &str, config: &Config) -> bool {
    if let Some(encoder) = &config.encoder {
        return bert::is_ignorable(name, encoder.classifier);
    }
    let scaled = name.strip_suffix("_scale_inv");
    let prefix = prefix(folder);
    // Scales belong to their weights; angles follow from the settings.
    scaled.is_some_and(|weight| folder.find_tensor(weight).is_some())
        || name.ends_with(".rotary_emb.inv_freq")
        || OTHER_PARTS.iter().any(|part| name.starts_with(part))
        || (config.tied_output && name == head(prefix))
        || is_behind_the_trunk(name, &format!("{prefix}layers."), config)
}

/// Some files have layers behind the last that guess further tokens; the model is whole without
/// them, and uses no more than one.
pub(super) fn is_behind_the_trunk(name: &str, prefix: &str, config: &Config) -> bool {
    let may_have = matches!(
        config.family,
        Family::DeepSeek2
            | Family::DeepSeek32
            | Family::Qwen3Next
            | Family::Qwen35
            | Family::Qwen35Moe
    );
    let layer = name.strip_prefix(prefix).and_then(|rest| rest.split_once('.'));
    let layer = layer.and_then(|(layer, _)| layer.parse::<usize>().ok());
    let count = config.mtp.as_ref().map_or(1, |mtp| mtp.layers);
    let behind = layer.and_then(|layer| layer.checked_sub(config.layers.len()));
    may_have && behind.is_some_and(|behind| behind < count)
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
