//! Turns a vocabulary into the `tokenizer.*` keys of a GGUF file.

use super::{TokenType, VocabSpec};
use crate::metadata::Value;
use crate::writer::GgufWriter;

/// What SentencePiece's BPE would never choose.
const SCORE_OF_NOTHING: f32 = -1000.0;

impl VocabSpec {
    /// Sets the keys of a vocabulary of `rows` tokens: as many as the embedding has rows, since
    /// readers of GGUF take one for the other. Ids behind the last token become places without
    /// meaning.
    ///
    /// GGUF has no list of the tokens that end an answer: the one that ends a turn is the first
    /// that does not end a text, where the vocabulary does not name it.
    pub fn set_keys(&self, writer: &mut GgufWriter<'_>, rows: usize) {
        let mut set = |key: &str, value: Value| writer.set(&format!("tokenizer.ggml.{key}"), value);
        set("model", self.model.as_str().into());
        set("pre", self.pre.as_str().into());
        let unused = (self.tokens.len()..rows).map(|id| format!("[PAD{id}]"));
        let tokens: Vec<String> = self.tokens.iter().cloned().chain(unused).collect();
        set("tokens", tokens.into());
        let types = self.token_types.iter().map(|&kind| kind as i32);
        let types = types.chain(std::iter::repeat(TokenType::Unused as i32)).take(rows);
        set("token_type", types.collect::<Vec<i32>>().into());
        if !self.scores.is_empty() {
            let scores = self.scores.iter().copied();
            let scores = scores.chain(std::iter::repeat(SCORE_OF_NOTHING)).take(rows);
            set("scores", scores.collect::<Vec<f32>>().into());
        }
        if self.model == "gpt2" || !self.merges.is_empty() {
            set("merges", self.merges.clone().into());
        }
        let end_of_turn = self.ends.iter().copied().find(|&end| Some(end) != self.eos);
        for (name, id) in [
            ("bos", self.bos),
            ("eos", self.eos),
            ("eot", self.eot.or(end_of_turn)),
            ("unknown", self.unknown),
            ("padding", self.padding),
            ("fim_pre", self.fim[0]),
            ("fim_suf", self.fim[1]),
            ("fim_mid", self.fim[2]),
        ] {
            if let Some(id) = id {
                set(&format!("{name}_token_id"), id.into());
            }
        }
        if self.model == "bert" {
            for (name, id) in [("cls", self.bos), ("seperator", self.eos)] {
                if let Some(id) = id {
                    set(&format!("{name}_token_id"), id.into());
                }
            }
        }
        set("add_bos_token", self.add_bos.into());
        set("add_eos_token", self.add_eos.into());
        if self.model == "llama" {
            set("add_space_prefix", self.add_space_prefix.into());
        }
        if let Some(template) = &self.chat_template {
            writer.set("tokenizer.chat_template", template.as_str());
        }
    }
}
