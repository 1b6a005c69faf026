//! Text into token ids and token ids into bytes, by the vocabulary of a model file.

use std::borrow::Cow;

use crate::bytes::piece_bytes;
use crate::check::{byte_of, check_sizes, is_special};
use crate::encoder::{Algorithm, Encoder};
use crate::error::TokenizerError;
use crate::fim::{FimTokens, fim_tokens};
use crate::index::PieceIndex;
use crate::sentencepiece::SPACE;
use crate::specials::{Part, SpecialTree};
use crate::{TokenType, VocabSpec, ends, guard};

/// What the text of a control token (`<|im_end|>`, …) inside a text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// Nothing: it is text like any other. (User-defined tokens are matched all the same, as
    /// Hugging Face and llama.cpp match their added tokens.)
    AsText,
    /// The token itself.
    Parse,
}

/// A vocabulary and the rules by which text becomes its ids.
pub struct Tokenizer {
    pieces: Vec<String>,
    types: Vec<TokenType>,
    bytes: Vec<Box<[u8]>>,
    by_piece: PieceIndex,
    pub(crate) algorithm: Algorithm,
    /// Control, unknown and user-defined tokens.
    specials: SpecialTree,
    user_defined: SpecialTree,
    bos: Option<u32>,
    eos: Option<u32>,
    unknown: Option<u32>,
    padding: Option<u32>,
    add_bos: bool,
    /// Behind a text that nothing follows.
    closing: Option<u32>,
    end_tokens: Vec<u32>,
    fim: Option<FimTokens>,
}

impl Tokenizer {
    /// Checks a vocabulary and prepares its tables.
    pub fn new(spec: &VocabSpec) -> Result<Tokenizer, TokenizerError> {
        check_sizes(spec)?;
        let by_piece = PieceIndex::new(&spec.tokens);
        let find = |piece: &str| by_piece.find(&spec.tokens, piece);
        let algorithm = Algorithm::new(spec, find)?;
        let pieces = (0u32..).zip(&spec.tokens).zip(&spec.token_types);
        let bytes = pieces.map(|((id, piece), kind)| token_bytes(id, piece, *kind, &algorithm));
        let bytes = bytes.collect::<Result<_, _>>()?;
        let specials: Vec<_> = special_forms(&spec.tokens, &spec.token_types, &algorithm).collect();
        let tree_of = |wanted: fn(TokenType) -> bool| {
            let wanted = specials.iter().filter(|special| wanted(special.kind));
            SpecialTree::new(wanted.map(|special| (&*special.text, special.id)))
        };
        Ok(Tokenizer {
            specials: tree_of(|_| true),
            user_defined: tree_of(|kind| kind == TokenType::UserDefined),
            end_tokens: ends::end_tokens(spec, find),
            fim: fim_tokens(spec, find),
            pieces: spec.tokens.clone(),
            types: spec.token_types.clone(),
            bytes,
            by_piece,
            algorithm,
            bos: spec.bos,
            eos: spec.eos,
            unknown: spec.unknown,
            padding: spec.padding,
            add_bos: spec.add_bos,
            closing: spec.closing,
        })
    }

    /// Ids of `text`; no token for its beginning is added. They decode to the same text again, but
    /// that SentencePiece writes U+2581 for spaces and so takes the one for the other.
    pub fn encode(&self, text: &str, specials: Specials) -> Vec<u32> {
        let tree = match specials {
            Specials::AsText => &self.user_defined,
            Specials::Parse => &self.specials,
        };
        let mut encoder = Encoder::new(self);
        for part in tree.split(text, None) {
            match part {
                Part::Text(text) => encoder.text(text),
                Part::Token(id) => encoder.out.push(id),
            }
        }
        encoder.out
    }

    /// Ids of `text`, with the token of the beginning where the model expects one and the text does
    /// not bring it along itself.
    pub fn encode_prompt(&self, text: &str, specials: Specials) -> Vec<u32> {
        let mut ids = self.encode(text, specials);
        if let Some(bos) = self.bos.filter(|bos| self.add_bos && ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        ids
    }

    /// Ids of a text that nothing follows, with the tokens of its beginning and of its end where
    /// the model expects them.
    pub fn encode_whole(&self, text: &str) -> Vec<u32> {
        let mut ids = self.encode_prompt(text, Specials::Parse);
        ids.extend(self.closing.filter(|closing| ids.last() != Some(closing)));
        ids
    }

    /// Ids of two texts of one input, as encoders want them, and how many are the first one's with
    /// the tokens around it.
    pub fn encode_pair(&self, first: &str, second: &str) -> (Vec<u32>, usize) {
        let mut ids = self.encode_whole(first);
        let count = ids.len();
        ids.extend(self.encode(second, Specials::Parse));
        ids.extend(self.closing);
        (ids, count)
    }

    /// The bytes of `ids` as a whole text; control tokens as their text if `specials`, else left
    /// out. An id outside of the vocabulary has no bytes. Where encoding puts a space before a
    /// text, a space at its beginning is left out.
    pub fn decode(&self, ids: &[u32], specials: bool) -> Vec<u8> {
        let mut added_space = self.algorithm.adds_space();
        let mut text = Vec::new();
        for id in ids {
            let bytes = self.token_bytes(*id).unwrap_or_default();
            if !self.is_hidden(*id) {
                let space: &[u8] = if std::mem::take(&mut added_space) { b" " } else { b"" };
                text.extend_from_slice(bytes.strip_prefix(space).unwrap_or(bytes));
            } else if specials {
                text.extend_from_slice(bytes);
            }
        }
        text
    }

    /// The bytes that a token stands for; for a control token those of its text.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.bytes.get(id as usize).map(|bytes| &**bytes)
    }

    /// A token as the vocabulary writes it (`Ġthe`).
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.pieces.get(id as usize).map(String::as_str)
    }

    /// What a token is for.
    pub(crate) fn token_type(&self, id: u32) -> Option<TokenType> {
        self.types.get(id as usize).copied()
    }

    /// Whether a token steers the model rather than being text.
    pub fn is_control(&self, id: u32) -> bool {
        self.types.get(id as usize) == Some(&TokenType::Control)
    }

    /// Whether a token is searched for in prompts rather than made of text.
    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.types.get(id as usize).is_some_and(|kind| is_special(*kind))
    }

    /// Whether a token is not part of the text that people see.
    pub(crate) fn is_hidden(&self, id: u32) -> bool {
        let kind = self.types.get(id as usize);
        matches!(kind, Some(TokenType::Control | TokenType::Unknown) | None)
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// The token of a text's beginning.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token of a text's end.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The token for what the vocabulary lacks.
    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// The token that fills up shorter texts of a batch.
    pub fn padding(&self) -> Option<u32> {
        self.padding
    }

    /// Every token that ends an answer, in ascending order.
    pub fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// The tokens that ask for the middle of a text, where the model knows such.
    pub fn fim(&self) -> Option<FimTokens> {
        self.fim
    }

    /// Ids of a text whose middle is missing: `prefix` and `suffix` are the texts around the gap.
    pub fn encode_fim(&self, fim: FimTokens, prefix: &[u32], suffix: &[u32]) -> Vec<u32> {
        let bos = self.bos.filter(|_| self.add_bos);
        let before = bos.into_iter().chain([fim.prefix]);
        let parts = [prefix, &[fim.suffix], suffix, &[fim.middle]].concat();
        before.chain(parts).collect()
    }

    /// The token with this text, written as in the vocabulary.
    pub fn id_of(&self, piece: &str) -> Option<u32> {
        self.by_piece.find(&self.pieces, piece)
    }

    /// Ids of a text in which message text is marked by [`guard`]: marked specials stay text.
    pub(crate) fn encode_guarded(&self, text: &str) -> Vec<u32> {
        let parts = self.specials.split(text, Some(guard::MARK));
        let unmarked: Vec<_> = parts
            .into_iter()
            .map(|part| match part {
                Part::Text(text) => Ok(guard::unmark(text)),
                Part::Token(id) => Err(id),
            })
            .collect();
        let mut encoder = Encoder::new(self);
        for part in &unmarked {
            match part {
                Ok(text) => encoder.text(text),
                Err(id) => encoder.out.push(*id),
            }
        }
        encoder.out
    }

    /// (text, type) of every special token, in each way in which a text may have it.
    pub(crate) fn special_texts(&self) -> impl Iterator<Item = (Cow<'_, str>, TokenType)> {
        let all = special_forms(&self.pieces, &self.types, &self.algorithm);
        all.map(|special| (special.text, special.kind))
    }
}

/// A special token as a text may have it.
struct Special<'a> {
    text: Cow<'a, str>,
    id: u32,
    kind: TokenType,
}

/// The special tokens of a vocabulary. SentencePiece looks for user-defined ones in texts whose
/// spaces have been replaced already, so that theirs mean either; converters write both.
fn special_forms<'a>(
    pieces: &'a [String],
    types: &'a [TokenType],
    algorithm: &Algorithm,
) -> impl Iterator<Item = Special<'a>> {
    let has_spaces = matches!(algorithm, Algorithm::SentencePiece(_));
    let specials = (0u32..).zip(pieces).zip(types).filter(|(_, kind)| is_special(**kind));
    specials.flat_map(move |((id, piece), &kind)| {
        let spaced = has_spaces && kind == TokenType::UserDefined && piece.contains(SPACE);
        let spaced = spaced.then(|| Cow::from(piece.replace(SPACE, " ")));
        let texts = [Some(Cow::from(piece.as_str())), spaced].into_iter().flatten();
        texts.map(move |text| Special { text, id, kind })
    })
}

fn token_bytes(
    id: u32,
    piece: &str,
    kind: TokenType,
    algorithm: &Algorithm,
) -> Result<Box<[u8]>, TokenizerError> {
    use Algorithm::{ByteLevel, SentencePiece, WordPiece};
    let bytes = match (kind, algorithm) {
        (TokenType::Byte, _) => vec![byte_of(id, piece)?],
        (TokenType::Normal | TokenType::Unused, ByteLevel { .. }) => piece_bytes(piece),
        (
            TokenType::Normal | TokenType::Unused | TokenType::UserDefined,
            SentencePiece(_) | WordPiece(_),
        ) => piece.replace(SPACE, " ").into(),
        (TokenType::UserDefined, ByteLevel { .. })
        | (TokenType::Control | TokenType::Unknown, _) => piece.into(),
    };
    Ok(bytes.into())
}
