//! A vocabulary into the set of tokens that end an answer.

use crate::{TokenType, VocabSpec};

/// Texts of tokens that end a turn or a document in the vocabularies in use: the list of llama.cpp
/// (`llama-vocab.cpp`, special_eog_ids).
const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Tokens between the files of a code corpus: a model that writes one has finished too. The first
/// of each group that the vocabulary has counts.
const FILE_ENDS: &[&[&str]] = &[
    &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
    &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"],
    &["<|file_sep|>"],
];

/// Every token that ends an answer, in ascending order. A token of an ordinary type is text even if
/// it looks like an end: a BPE vocabulary of web pages may hold `</s>`. In Gemma's that is one of
/// many user-defined tags.
pub(crate) fn end_tokens(spec: &VocabSpec, find: impl Fn(&str) -> Option<u32>) -> Vec<u32> {
    let special = |piece: &&str| {
        let is_text = |id: &u32| match spec.token_types.get(*id as usize) {
            Some(TokenType::Normal) => true,
            Some(TokenType::UserDefined) => *piece == "</s>",
            _ => false,
        };
        find(piece).filter(|id| !is_text(id))
    };
    let mut ends: Vec<u32> = ENDS.iter().filter_map(special).collect();
    ends.extend(FILE_ENDS.iter().filter_map(|group| group.iter().find_map(special)));
    ends.extend(spec.eos.into_iter().chain(spec.eot).chain(spec.ends.iter().copied()));
    ends.sort_unstable();
    ends.dedup();
    // In gpt-oss and Solar, `<|end|>` ends a message within the answer, not the answer.
    let has = |piece: &str| find(piece).is_some_and(|id| ends.contains(&id));
    let call = has("<|call|>") || has("<|calls|>");
    if call && (has("<|return|>") || has("<|flush|>")) {
        let end = find("<|end|>");
        ends.retain(|id| Some(*id) != end);
    }
    ends
}
