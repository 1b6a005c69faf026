//! A vocabulary into the tokens around a text whose middle is missing.

use crate::{TokenType, VocabSpec};

/// Tokens that ask a model to fill in the middle of a text: the first before what stands before
/// the gap, the second before what stands behind it, the third before what the model writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FimTokens {
    /// Before the text before the gap.
    pub prefix: u32,
    /// Before the text behind the gap.
    pub suffix: u32,
    /// Before the answer.
    pub middle: u32,
}

/// What the tokens are called in vocabularies in use, as llama.cpp has it (`llama-vocab.cpp`).
const NAMES: &[[&str; 3]] = &[
    // Qwen.
    ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
    // StarCoder, Granite.
    ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
    ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"],
    // DeepSeek: the text behind the gap comes where the hole is.
    ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
    // CodeLlama.
    ["▁<PRE>", "▁<SUF>", "▁<MID>"],
    ["<PRE>", "<SUF>", "<MID>"],
];

/// Those that the file names, or those with a known name that are no ordinary text; all or none.
pub(crate) fn fim_tokens(
    spec: &VocabSpec,
    find: impl Fn(&str) -> Option<u32>,
) -> Option<FimTokens> {
    let all = |[prefix, suffix, middle]: [Option<u32>; 3]| {
        Some(FimTokens { prefix: prefix?, suffix: suffix?, middle: middle? })
    };
    let special = |piece: &str| {
        let is_text = |id: &u32| spec.token_types.get(*id as usize) == Some(&TokenType::Normal);
        find(piece).filter(|id| !is_text(id))
    };
    all(spec.fim).or_else(|| NAMES.iter().find_map(|names| all(names.map(special))))
}
