//! Vocabularies into the certainty that their parts fit together.

use crate::error::TokenizerError;
use crate::limits::{SPECIAL_BYTES_MAX, SPECIALS_MAX, TOKENS_MAX};
use crate::{TokenType, VocabSpec, guard};

/// Whether the text of a token of this type is searched for in prompts.
pub(crate) fn is_special(kind: TokenType) -> bool {
    matches!(kind, TokenType::Control | TokenType::Unknown | TokenType::UserDefined)
}

/// Checks the sizes of the lists, the ids and the special tokens.
pub(crate) fn check_sizes(spec: &VocabSpec) -> Result<(), TokenizerError> {
    let count = spec.tokens.len();
    if count == 0 || count > TOKENS_MAX {
        return Err(TokenizerError::TokenCount { count });
    }
    if spec.token_types.len() != count {
        let types = spec.token_types.len();
        return Err(TokenizerError::TypeCount { types, tokens: count });
    }
    let ids = [
        ("tokenizer.ggml.bos_token_id", spec.bos),
        ("tokenizer.ggml.eos_token_id", spec.eos),
        ("tokenizer.ggml.eot_token_id", spec.eot),
        ("tokenizer.ggml.unknown_token_id", spec.unknown),
        ("tokenizer.ggml.padding_token_id", spec.padding),
        ("the token behind whole texts", spec.closing),
    ];
    let ends = spec.ends.iter().map(|id| ("generation_config.json eos_token_id", Some(*id)));
    for (field, id) in ids.into_iter().chain(ends) {
        if let Some(id) = id.filter(|id| *id as usize >= count) {
            return Err(TokenizerError::IdOutOfRange { field, id, tokens: count });
        }
    }
    let specials = (0u32..).zip(&spec.tokens).zip(&spec.token_types);
    let specials: Vec<_> = specials.filter(|(_, kind)| is_special(**kind)).collect();
    if specials.len() > SPECIALS_MAX {
        return Err(TokenizerError::TooManySpecials { count: specials.len() });
    }
    for ((id, piece), _) in specials {
        if piece.len() > SPECIAL_BYTES_MAX {
            return Err(TokenizerError::SpecialTooLong { id, bytes: piece.len() });
        }
        if piece.contains(guard::is_reserved) {
            return Err(TokenizerError::SpecialWithMark { id });
        }
    }
    Ok(())
}

/// The byte that a byte token stands for.
pub(crate) fn byte_of(id: u32, piece: &str) -> Result<u8, TokenizerError> {
    let digits = piece.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    let is_hexadecimal =
        |digits: &&str| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let byte = digits.filter(is_hexadecimal).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    byte.ok_or_else(|| TokenizerError::BadByteToken { id, piece: piece.to_owned() })
}
