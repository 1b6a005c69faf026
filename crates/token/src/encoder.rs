//! Text without special tokens into ids, by the algorithm of the vocabulary.

use std::ops::Range;

use hashbrown::HashMap;

use crate::bpe::{self, Merges};
use crate::bytes::byte_to_char;
use crate::pretoken::PreTokenizer;
use crate::sentencepiece::{self, SentencePiece};
use crate::wordpiece::WordPiece;
use crate::{Tokenizer, TokenizerError, VocabSpec};

/// How text becomes ids.
pub(crate) enum Algorithm {
    /// Byte-level BPE: merges inside pre-tokens, perhaps only if they are no tokens as a whole.
    ByteLevel { pre_tokenizer: PreTokenizer, merges: Merges, whole_words_first: bool },
    /// SentencePiece's BPE: merges by scores.
    SentencePiece(SentencePiece),
    /// BERT's: words, cut into the longest pieces.
    WordPiece(WordPiece),
}

impl Algorithm {
    /// The algorithm that a vocabulary names; `find` gives the token of a piece.
    pub(crate) fn new(
        spec: &VocabSpec,
        find: impl Fn(&str) -> Option<u32>,
    ) -> Result<Algorithm, TokenizerError> {
        match spec.model.as_str() {
            "gpt2" => {
                let unknown = || TokenizerError::UnknownPreTokenizer { name: spec.pre.clone() };
                let pre_tokenizer = PreTokenizer::named(&spec.pre).ok_or_else(unknown)?;
                let merges = read_merges(spec, find)?;
                let by_name = pre_tokenizer.whole_words_first;
                let whole_words_first = spec.ignore_merges.unwrap_or(by_name);
                Ok(Algorithm::ByteLevel { pre_tokenizer, merges, whole_words_first })
            }
            "llama" => Ok(Algorithm::SentencePiece(SentencePiece::new(spec)?)),
            "bert" => Ok(Algorithm::WordPiece(WordPiece::new(spec)?)),
            _ => Err(TokenizerError::UnknownModel { model: spec.model.clone() }),
        }
    }

    /// Whether a space goes before a text, which is then no part of it.
    pub(crate) fn adds_space(&self) -> bool {
        match self {
            Algorithm::ByteLevel { .. } => false,
            Algorithm::SentencePiece(rules) => rules.adds_space,
            Algorithm::WordPiece(_) => true,
        }
    }
}

/// Words up to this length are remembered within one text; longer ones hardly come twice.
const CACHED_WORD_BYTES_MAX: usize = 64;

/// Words that are remembered within one text: bounds the memory of a hostile one.
const CACHED_WORDS_MAX: usize = 1 << 16;

/// One text on its way into ids. Words are remembered as the place of their ids in the output.
pub(crate) struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    pub(crate) out: Vec<u32>,
    words: bpe::Scratch,
    pieces: sentencepiece::Scratch,
    known: HashMap<&'a [u8], Range<u32>>,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Encoder<'a> {
        Encoder {
            tokenizer,
            out: Vec::new(),
            words: bpe::Scratch::default(),
            pieces: sentencepiece::Scratch::default(),
            known: HashMap::new(),
        }
    }

    /// Appends the ids of text without special tokens.
    pub(crate) fn text(&mut self, text: &'a str) {
        let tokenizer = self.tokenizer;
        match &tokenizer.algorithm {
            Algorithm::ByteLevel { pre_tokenizer, merges, whole_words_first } => {
                for word in pre_tokenizer.split(text) {
                    self.word(word, merges, *whole_words_first);
                }
            }
            Algorithm::SentencePiece(rules) => {
                let mut space = rules.adds_space;
                for word in rules.words(text) {
                    self.spaced_word(word, std::mem::take(&mut space), rules);
                }
            }
            Algorithm::WordPiece(rules) => {
                rules.encode(text, |piece| tokenizer.id_of(piece), &mut self.out);
            }
        }
    }

    fn word(&mut self, word: &'a str, merges: &Merges, whole_words_first: bool) {
        if self.repeat(word) {
            return;
        }
        let start = self.out.len();
        match whole_words_first.then(|| self.whole_word(word)).flatten() {
            Some(id) => self.out.push(id),
            None => merges.encode_word(word.as_bytes(), &mut self.words, &mut self.out),
        }
        self.remember(word, start);
    }

    fn spaced_word(&mut self, word: &'a str, space: bool, rules: &SentencePiece) {
        let find = |piece: &str| self.tokenizer.id_of(piece);
        if space {
            rules.encode(word, space, find, &mut self.pieces, &mut self.out);
        } else if !self.repeat(word) {
            let start = self.out.len();
            rules.encode(word, space, find, &mut self.pieces, &mut self.out);
            self.remember(word, start);
        }
    }

    /// Appends the ids of a word that is remembered.
    fn repeat(&mut self, word: &str) -> bool {
        let Some(place) = self.known.get(word.as_bytes()) else { return false };
        self.out.extend_from_within(place.start as usize..place.end as usize);
        true
    }

    /// Remembers a word whose ids are the output from `start` on.
    fn remember(&mut self, word: &'a str, start: usize) {
        if word.len() > 1
            && word.len() <= CACHED_WORD_BYTES_MAX
            && self.known.len() < CACHED_WORDS_MAX
            && let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(self.out.len()))
        {
            self.known.insert(word.as_bytes(), start..end);
        }
    }

    /// The token of a whole word, if text may become it.
    fn whole_word(&self, word: &str) -> Option<u32> {
        let piece: String = word.bytes().map(byte_to_char).collect();
        self.tokenizer.id_of(&piece).filter(|id| !self.tokenizer.is_special(*id))
    }
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
