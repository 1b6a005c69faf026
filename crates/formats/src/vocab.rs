//! Turns the `tokenizer.*` keys into a vocabulary whose parts fit together.

mod write;

use crate::error::{GgufError, shown};
use crate::limits::TOKENS_MAX;
use crate::metadata::Metadata;
use crate::strings::Strings;

/// Everything that a model file says about its tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VocabSpec {
    /// The algorithm, `tokenizer.ggml.model`: `gpt2` is byte-level BPE; `llama` is BPE over text as
    /// it is, spaces as `▁`, with a token for each byte that nothing else covers (SentencePiece);
    /// `bert` is WordPiece, `▁` before what begins a word.
    pub model: String,
    /// The name of the pre-tokenizer, `tokenizer.ggml.pre`; `default` where the file has none.
    pub pre: String,
    /// The text of each token, by id.
    pub tokens: Vec<String>,
    /// What each token is for; as many as tokens.
    pub token_types: Vec<TokenType>,
    /// Merges of BPE, first rank first, each two pieces with a space between.
    pub merges: Vec<String>,
    /// For `llama`, how early two pieces are merged into each token: the highest first. As many as
    /// tokens, or none.
    pub scores: Vec<f32>,
    /// Whether a word that is a token as a whole is taken without looking at the merges; none where
    /// the file leaves it to the name of the pre-tokenizer.
    pub ignore_merges: Option<bool>,
    /// For `llama`, whether text is encoded as if a space stood before it.
    pub add_space_prefix: bool,
    /// For `bert`, how a text becomes words.
    pub words: WordRules,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The token that ends a text.
    pub eos: Option<u32>,
    /// The token that ends a turn.
    pub eot: Option<u32>,
    /// Tokens that end an answer, in ascending order, where the files list them
    /// (`generation_config.json`); `eos` is among them.
    pub ends: Vec<u32>,
    /// The token for what has none.
    pub unknown: Option<u32>,
    /// The token that fills up a batch.
    pub padding: Option<u32>,
    /// The tokens before a text's beginning, its end and its middle, where the model is to fill in
    /// the last, as far as the file names them.
    pub fim: [Option<u32>; 3],
    /// Whether prompts begin with `bos`.
    pub add_bos: bool,
    /// Whether prompts end with `eos`.
    pub add_eos: bool,
    /// The token behind a text that nothing follows, such as one that gets a vector: `eos`, or
    /// another that `tokenizer.json` puts there.
    pub closing: Option<u32>,
    /// The Jinja source that turns messages into a prompt.
    pub chat_template: Option<String>,
}

/// How BERT's BasicTokenizer makes words of a text. GGUF has no keys for it, and means the usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordRules {
    /// Control characters are dropped, and all white space is a space.
    pub clean: bool,
    /// Chinese characters are words of their own.
    pub chinese: bool,
    /// Accents are dropped.
    pub strip_accents: bool,
    /// Letters are written small.
    pub lower_case: bool,
    /// Longer words are unknown, in characters.
    pub characters_max: usize,
}

impl Default for WordRules {
    fn default() -> WordRules {
        WordRules {
            clean: true,
            chinese: true,
            strip_accents: true,
            lower_case: true,
            characters_max: 100,
        }
    }
}

/// What a token is for. The numbers are those of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenType {
    /// Ordinary text.
    Normal = 1,
    /// Stands for what has no token.
    Unknown = 2,
    /// Structure, such as the end of a turn; never made from users' text.
    Control = 3,
    /// Added text that is never split.
    UserDefined = 4,
    /// A place without meaning.
    Unused = 5,
    /// One byte, written `<0x0A>`.
    Byte = 6,
}

impl VocabSpec {
    /// Reads the keys and checks sizes, ids, types and byte tokens. What the pieces mean, and that
    /// merges are made of tokens, is for the tokenizer to check.
    pub(crate) fn read(metadata: &Metadata) -> Result<VocabSpec, GgufError> {
        let model = metadata.str("tokenizer.ggml.model")?.to_owned();
        let pre = metadata.optional_str("tokenizer.ggml.pre")?.unwrap_or("default").to_owned();
        let tokens = metadata.strings("tokenizer.ggml.tokens")?;
        if tokens.is_empty() || tokens.len() > TOKENS_MAX {
            return Err(GgufError::TokenCount { count: tokens.len(), max: TOKENS_MAX });
        }
        let token_types = read_types(metadata, tokens)?;
        let scores = metadata.optional_f32s(SCORES)?.unwrap_or_default().to_vec();
        if metadata.get(SCORES).is_some() {
            check_length(SCORES, scores.len(), tokens.len())?;
        }
        let id = |key| read_id(metadata, key, tokens.len());
        let is_bert = model == "bert";
        // Encoders name the ends of a text otherwise; the spelling is the format's own.
        let (begin, end) = match is_bert {
            true => (id("tokenizer.ggml.cls_token_id")?, id("tokenizer.ggml.seperator_token_id")?),
            false => (None, None),
        };
        let eos = id("tokenizer.ggml.eos_token_id")?.or(end);
        let add_eos = metadata.optional_bool("tokenizer.ggml.add_eos_token")?.unwrap_or(is_bert);
        Ok(VocabSpec {
            merges: read_merges(metadata, &model)?,
            scores,
            ignore_merges: None,
            add_space_prefix: metadata
                .optional_bool("tokenizer.ggml.add_space_prefix")?
                .unwrap_or(model == "llama"),
            words: WordRules::default(),
            bos: id("tokenizer.ggml.bos_token_id")?.or(begin),
            eos,
            eot: id("tokenizer.ggml.eot_token_id")?,
            ends: Vec::new(),
            unknown: id("tokenizer.ggml.unknown_token_id")?,
            padding: id("tokenizer.ggml.padding_token_id")?,
            fim: [
                id("tokenizer.ggml.fim_pre_token_id")?,
                id("tokenizer.ggml.fim_suf_token_id")?,
                id("tokenizer.ggml.fim_mid_token_id")?,
            ],
            add_bos: metadata
                .optional_bool("tokenizer.ggml.add_bos_token")?
                .unwrap_or_else(|| adds_bos_by_default(&model, &pre)),
            add_eos,
            closing: eos.filter(|_| add_eos),
            chat_template: metadata.optional_str("tokenizer.chat_template")?.map(str::to_owned),
            tokens: tokens.iter().map(str::to_owned).collect(),
            token_types,
            model,
            pre,
        })
    }
}

const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";

impl TokenType {
    fn from_number(number: u32) -> Option<TokenType> {
        Some(match number {
            1 => TokenType::Normal,
            2 => TokenType::Unknown,
            3 => TokenType::Control,
            4 => TokenType::UserDefined,
            5 => TokenType::Unused,
            6 => TokenType::Byte,
            _ => return None,
        })
    }
}

/// One type for each token; without the key, all are ordinary text.
fn read_types(metadata: &Metadata, tokens: &Strings) -> Result<Vec<TokenType>, GgufError> {
    let Some(numbers) = metadata.optional_u32s(TOKEN_TYPES)? else {
        return Ok(vec![TokenType::Normal; tokens.len()]);
    };
    check_length(TOKEN_TYPES, numbers.len(), tokens.len())?;
    let mut types = Vec::with_capacity(numbers.len());
    for (id, (&value, text)) in numbers.iter().zip(tokens.iter()).enumerate() {
        let kind = TokenType::from_number(value);
        let kind = kind.ok_or(GgufError::TokenTypeRange { id, value })?;
        if kind == TokenType::Byte && !is_byte_token(text) {
            return Err(GgufError::ByteToken { id, text: shown(text) });
        }
        types.push(kind);
    }
    Ok(types)
}

/// `<0x00>` to `<0xFF>`.
pub(crate) fn is_byte_token(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| {
        digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// Byte-level BPE is not itself without its merges; other algorithms have none.
fn read_merges(metadata: &Metadata, model: &str) -> Result<Vec<String>, GgufError> {
    const KEY: &str = "tokenizer.ggml.merges";
    let merges = match model {
        "gpt2" => Some(metadata.strings(KEY)?),
        _ => metadata.optional_strings(KEY)?,
    };
    Ok(merges.map_or(Vec::new(), |merges| merges.iter().map(str::to_owned).collect()))
}

fn read_id(
    metadata: &Metadata,
    key: &'static str,
    tokens: usize,
) -> Result<Option<u32>, GgufError> {
    match metadata.optional_u32(key)? {
        Some(id) if id as usize >= tokens => Err(GgufError::TokenId { key, id, tokens }),
        id => Ok(id),
    }
}

fn check_length(key: &'static str, found: usize, tokens: usize) -> Result<(), GgufError> {
    if found != tokens {
        return Err(GgufError::TokenList { key, found, tokens });
    }
    Ok(())
}

/// What llama.cpp takes where the file is silent (`llama-vocab.cpp`, `llama_vocab::impl::load`):
/// many published Llama 3 files leave the key out.
fn adds_bos_by_default(model: &str, pre: &str) -> bool {
    const BPE_WITH_BOS: [&str; 11] = [
        "llama3",
        "llama-v3",
        "llama-bpe",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
        "jina-v5-nano",
        "tekken",
        "chameleon",
    ];
    match model {
        "gpt2" => BPE_WITH_BOS.contains(&pre),
        "llama" | "bert" => true,
        _ => false,
    }
}
