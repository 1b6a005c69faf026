//! Text into token ids and token ids into bytes, by the vocabulary of a model file.

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::bpe::{Merges, Scratch};
use crate::bytes::{byte_to_char, piece_bytes};
use crate::ends;
use crate::limits::{SPECIAL_BYTES_MAX, SPECIALS_MAX, TOKENS_MAX};
use crate::pretoken::PreTokenizer;
use crate::specials::{Part, SpecialTree};
use crate::{TokenType, VocabSpec, guard};

/// What the text of a control token (`<|im_end|>`, …) inside a text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// Nothing: it is text like any other. (User-defined tokens are matched all the same, as
    /// Hugging Face and llama.cpp match their added tokens.)
    AsText,
    /// The token itself.
    Parse,
}

/// Why a vocabulary cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A kind of tokenizer that is not implemented.
    #[error("tokenizer.ggml.model is `{model}`; only `gpt2` (byte-level BPE) is supported")]
    UnknownModel {
        /// What the file says.
        model: String,
    },
    /// A pre-tokenizer that is not implemented.
    #[error("tokenizer.ggml.pre is `{name}`; supported are {}", known_names())]
    UnknownPreTokenizer {
        /// What the file says.
        name: String,
    },
    /// More tokens than any real vocabulary has, or none.
    #[error("tokenizer.ggml.tokens has {count} tokens; right would be 1 to {TOKENS_MAX}")]
    TokenCount {
        /// How many there are.
        count: usize,
    },
    /// The types do not match the tokens.
    #[error("tokenizer.ggml.token_type has {types} entries for {tokens} tokens")]
    TypeCount {
        /// Entries of the type array.
        types: usize,
        /// Tokens.
        tokens: usize,
    },
    /// A merge that is not two pieces with a space between them.
    #[error("tokenizer.ggml.merges[{index}] is `{merge}`; right would be two pieces and a space")]
    BadMerge {
        /// Where in the list.
        index: usize,
        /// The merge.
        merge: String,
    },
    /// A merge of, or into, a piece that is not a token.
    #[error("tokenizer.ggml.merges[{index}] needs the token `{piece}`, which does not exist")]
    MergeWithoutToken {
        /// Where in the list.
        index: usize,
        /// The piece that no token has.
        piece: String,
    },
    /// A byte that every text uses has no token.
    #[error("the vocabulary has no token for the byte {byte:#04x} (`{piece}`)")]
    MissingByte {
        /// The byte.
        byte: u8,
        /// How the vocabulary would write it.
        piece: char,
    },
    /// A byte token whose text is not `<0xNN>`.
    #[error("token {id} is a byte token but its text is `{piece}`; right would be `<0x41>`")]
    BadByteToken {
        /// The token.
        id: u32,
        /// Its text.
        piece: String,
    },
    /// A special token that is too long to search for.
    #[error("special token {id} has {bytes} bytes; at most {SPECIAL_BYTES_MAX} are allowed")]
    SpecialTooLong {
        /// The token.
        id: u32,
        /// Length of its text.
        bytes: usize,
    },
    /// Too many special tokens.
    #[error("the vocabulary has {count} special tokens; at most {SPECIALS_MAX} are allowed")]
    TooManySpecials {
        /// How many there are.
        count: usize,
    },
    /// A special token with a noncharacter that marks message text internally.
    #[error("the text of special token {id} holds a noncharacter (U+FDD0 to U+FDD2)")]
    SpecialWithMark {
        /// The token.
        id: u32,
    },
    /// A special id outside of the vocabulary.
    #[error("{field} is {id}, but there are only {tokens} tokens")]
    IdOutOfRange {
        /// The metadata key.
        field: &'static str,
        /// Its value.
        id: u32,
        /// Size of the vocabulary.
        tokens: usize,
    },
}

fn known_names() -> String {
    PreTokenizer::names().collect::<Vec<_>>().join(", ")
}

/// Words up to this length are remembered within one text; longer ones hardly come twice.
const CACHED_WORD_BYTES_MAX: usize = 64;

/// Words that are remembered within one text: bounds the memory of a hostile one.
const CACHED_WORDS_MAX: usize = 1 << 16;

/// A vocabulary and the rules by which text becomes its ids.
pub struct Tokenizer {
    pieces: Vec<String>,
    types: Vec<TokenType>,
    bytes: Vec<Box<[u8]>>,
    by_piece: HashTable<u32>,
    hasher: DefaultHashBuilder,
    pre_tokenizer: PreTokenizer,
    merges: Merges,
    /// Control, unknown and user-defined tokens.
    specials: SpecialTree,
    user_defined: SpecialTree,
    bos: Option<u32>,
    eos: Option<u32>,
    unknown: Option<u32>,
    padding: Option<u32>,
    add_bos: bool,
    end_tokens: Vec<u32>,
}

impl Tokenizer {
    /// Checks a vocabulary and prepares its tables.
    pub fn new(spec: &VocabSpec) -> Result<Tokenizer, TokenizerError> {
        if spec.model != "gpt2" {
            return Err(TokenizerError::UnknownModel { model: spec.model.clone() });
        }
        let pre_tokenizer = PreTokenizer::named(&spec.pre)
            .ok_or_else(|| TokenizerError::UnknownPreTokenizer { name: spec.pre.clone() })?;
        check_sizes(spec)?;
        let (tokens, types) = (&spec.tokens, &spec.token_types);
        let hasher = DefaultHashBuilder::default();
        let by_piece = index_pieces(tokens, &hasher);
        let find = |piece: &str| find_piece(tokens, &by_piece, &hasher, piece);
        let merges = read_merges(spec, find)?;
        let ids = 0u32..;
        let bytes =
            ids.zip(tokens).zip(types).map(|((id, piece), kind)| token_bytes(id, piece, *kind));
        let special = |wanted: fn(TokenType) -> bool| {
            let all = (0u32..).zip(tokens).zip(types).filter(move |(_, kind)| wanted(**kind));
            SpecialTree::new(all.map(|((id, piece), _)| (piece.as_str(), id)))
        };
        Ok(Tokenizer {
            bytes: bytes.collect::<Result<_, _>>()?,
            specials: special(is_special),
            user_defined: special(|kind| kind == TokenType::UserDefined),
            end_tokens: ends::end_tokens(spec, find),
            pieces: tokens.clone(),
            types: types.clone(),
            by_piece,
            hasher,
            pre_tokenizer,
            merges,
            bos: spec.bos,
            eos: spec.eos,
            unknown: spec.unknown,
            padding: spec.padding,
            add_bos: spec.add_bos,
        })
    }

    /// Ids of `text`; no token for its beginning is added.
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

    /// The bytes of `ids`; control tokens as their text if `specials`, else left out. An id outside
    /// of the vocabulary has no bytes.
    pub fn decode(&self, ids: &[u32], specials: bool) -> Vec<u8> {
        let shown = ids.iter().filter(|id| specials || !self.is_hidden(**id));
        shown.filter_map(|id| self.token_bytes(*id)).flatten().copied().collect()
    }

    /// The bytes that a token stands for; for a control token those of its text.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.bytes.get(id as usize).map(|bytes| &**bytes)
    }

    /// A token as the vocabulary writes it (`Ġthe`).
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.pieces.get(id as usize).map(String::as_str)
    }

    /// Whether a token steers the model rather than being text.
    pub fn is_control(&self, id: u32) -> bool {
        self.types.get(id as usize) == Some(&TokenType::Control)
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

    /// The token with this text, written as in the vocabulary.
    pub fn id_of(&self, piece: &str) -> Option<u32> {
        find_piece(&self.pieces, &self.by_piece, &self.hasher, piece)
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

    /// (text, type) of every special token.
    pub(crate) fn special_texts(&self) -> impl Iterator<Item = (&str, TokenType)> {
        let all = self.pieces.iter().zip(&self.types).filter(|(_, kind)| is_special(**kind));
        all.map(|(piece, kind)| (piece.as_str(), *kind))
    }
}

/// Whether the text of a token of this type is searched for in prompts.
fn is_special(kind: TokenType) -> bool {
    matches!(kind, TokenType::Control | TokenType::Unknown | TokenType::UserDefined)
}

/// One text on its way into ids. Words are remembered as the place of their ids in the output.
struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    out: Vec<u32>,
    scratch: Scratch,
    known: HashMap<&'a [u8], Range<u32>>,
}

impl<'a> Encoder<'a> {
    fn new(tokenizer: &'a Tokenizer) -> Encoder<'a> {
        Encoder { tokenizer, out: Vec::new(), scratch: Scratch::default(), known: HashMap::new() }
    }

    /// Appends the ids of text without special tokens.
    fn text(&mut self, text: &'a str) {
        for word in self.tokenizer.pre_tokenizer.split(text) {
            self.word(word);
        }
    }

    fn word(&mut self, word: &'a str) {
        if let Some(place) = self.known.get(word.as_bytes()) {
            self.out.extend_from_within(place.start as usize..place.end as usize);
            return;
        }
        let start = self.out.len();
        match self.whole_word(word) {
            Some(id) => self.out.push(id),
            None => {
                let merges = &self.tokenizer.merges;
                merges.encode_word(word.as_bytes(), &mut self.scratch, &mut self.out);
            }
        }
        if word.len() > 1
            && word.len() <= CACHED_WORD_BYTES_MAX
            && self.known.len() < CACHED_WORDS_MAX
            && let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(self.out.len()))
        {
            self.known.insert(word.as_bytes(), start..end);
        }
    }

    fn whole_word(&self, word: &str) -> Option<u32> {
        if !self.tokenizer.pre_tokenizer.whole_words_first {
            return None;
        }
        let piece: String = word.bytes().map(byte_to_char).collect();
        self.tokenizer.id_of(&piece)
    }
}

fn check_sizes(spec: &VocabSpec) -> Result<(), TokenizerError> {
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
    ];
    for (field, id) in ids {
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

/// A table from texts to ids; of equal texts the first token stays.
fn index_pieces(tokens: &[String], hasher: &DefaultHashBuilder) -> HashTable<u32> {
    let hash = |id: &u32| hasher.hash_one(tokens[*id as usize].as_str());
    let mut table = HashTable::with_capacity(tokens.len());
    for (id, piece) in (0u32..).zip(tokens) {
        let same = |other: &u32| tokens[*other as usize] == *piece;
        table.entry(hash(&id), same, hash).or_insert(id);
    }
    table
}

fn find_piece(
    tokens: &[String],
    table: &HashTable<u32>,
    hasher: &DefaultHashBuilder,
    piece: &str,
) -> Option<u32> {
    table.find(hasher.hash_one(piece), |id| tokens[*id as usize] == piece).copied()
}

fn read_merges(
    spec: &VocabSpec,
    find: impl Fn(&str) -> Option<u32>,
) -> Result<Merges, TokenizerError> {
    let byte_ids: [Option<u32>; 256] =
        std::array::from_fn(|byte| find(byte_to_char(byte as u8).encode_utf8(&mut [0; 4])));
    // Some published vocabularies lack bytes that their training text never had; without these,
    // though, hardly any text could be written.
    for byte in (b' '..=b'~').chain([b'\n']) {
        if byte_ids[usize::from(byte)].is_none() {
            return Err(TokenizerError::MissingByte { byte, piece: byte_to_char(byte) });
        }
    }
    let mut merges = Vec::with_capacity(spec.merges.len());
    let mut joined = String::new();
    for (index, merge) in spec.merges.iter().enumerate() {
        let bad = || TokenizerError::BadMerge { index, merge: merge.clone() };
        let (left, right) = merge.split_once(' ').ok_or_else(bad)?;
        if left.is_empty() || right.is_empty() || right.contains(' ') {
            return Err(bad());
        }
        let id = |piece: &str| {
            let piece_of = || piece.to_owned();
            find(piece)
                .ok_or_else(|| TokenizerError::MergeWithoutToken { index, piece: piece_of() })
        };
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        merges.push((id(left)?, id(right)?, id(&joined)?));
    }
    Ok(Merges::new(byte_ids, merges.into_iter()))
}

fn token_bytes(id: u32, piece: &str, kind: TokenType) -> Result<Box<[u8]>, TokenizerError> {
    let bytes = match kind {
        TokenType::Normal | TokenType::Unused => piece_bytes(piece),
        TokenType::Control | TokenType::Unknown | TokenType::UserDefined => piece.into(),
        TokenType::Byte => {
            let digits = piece.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
            let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let bad = || TokenizerError::BadByteToken { id, piece: piece.to_owned() };
            vec![byte.ok_or_else(bad)?]
        }
    };
    Ok(bytes.into())
}
