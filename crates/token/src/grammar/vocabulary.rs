//! A tokenizer into the tree of bytes that grammars walk.

use std::sync::Arc;

use llguidance::toktrie::{INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::limits::GRAMMAR_TOKEN_BYTES_MAX;
use crate::{Specials, TokenType, Tokenizer};

/// A vocabulary as grammars see it.
struct Vocabulary {
    trie: TokTrie,
    tokenizer: Arc<Tokenizer>,
}

/// The vocabulary of a tokenizer.
///
/// It has no end token: where an answer may end is asked for by itself.
pub(super) fn vocabulary(tokenizer: &Arc<Tokenizer>) -> TokEnv {
    let bytes: Vec<Vec<u8>> =
        (0..tokenizer.vocab_size() as u32).map(|id| bytes_of(tokenizer, id)).collect();
    // TOKENS_MAX makes it fit.
    let info = TokRxInfo::new(bytes.len() as u32, INVALID_TOKEN);
    let trie = TokTrie::from(&info, &bytes);
    Arc::new(Vocabulary { trie, tokenizer: Arc::clone(tokenizer) })
}

/// What a token writes. Control tokens write nothing that a text could have: their bytes begin
/// with a mark that is not in UTF-8. Tokens that no model was taught, or too long ones, have none.
fn bytes_of(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    match tokenizer.token_type(id) {
        Some(TokenType::Normal | TokenType::UserDefined | TokenType::Byte)
            if bytes.len() <= GRAMMAR_TOKEN_BYTES_MAX =>
        {
            // One that begins with the mark itself is a part of no text.
            if bytes.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER) && bytes.len() > 1 {
                return Vec::new();
            }
            bytes.to_vec()
        }
        Some(TokenType::Control) if bytes.len() < GRAMMAR_TOKEN_BYTES_MAX => {
            [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat()
        }
        _ => Vec::new(),
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// Text that a grammar leaves no choice about is written in the tokens that the model would
    /// read it in.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let encode = |text: &str| {
            let ids = self.tokenizer.encode(text, Specials::AsText);
            let known = ids.iter().all(|id| self.trie.token_len(*id) > 0);
            if known { ids } else { self.trie.greedy_tokenize(text.as_bytes()) }
        };
        self.trie.tokenize_with_greedy_fallback(bytes, encode)
    }

    /// Where a space is put before each text, a text in the middle of an answer cannot be encoded
    /// by itself.
    fn tokenize_is_canonical(&self) -> bool {
        !self.tokenizer.algorithm.adds_space()
    }
}
