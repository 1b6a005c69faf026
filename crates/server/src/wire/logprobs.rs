//! Turns scores of tokens into the two shapes of `logprobs`: that of chats, that of completions.

use myriad_engine::TokenScore;
use myriad_token::Tokenizer;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// What OpenAI gives for a token that cannot come; JSON has no infinity.
const LOGPROB_MIN: f32 = -9999.0;

/// `choices[].logprobs` of a chat.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct ChatLogprobs {
    content: Vec<ChatToken>,
    #[schema(value_type = Option<String>)]
    refusal: (),
}

#[derive(Clone, Debug, Serialize, ToSchema)]
struct ChatToken {
    #[serde(flatten)]
    token: Alternative,
    top_logprobs: Vec<Alternative>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
struct Alternative {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl ChatLogprobs {
    /// Logprobs of some tokens, in their order.
    pub fn new<'a>(
        tokenizer: &Tokenizer,
        scores: impl IntoIterator<Item = &'a TokenScore>,
    ) -> ChatLogprobs {
        let alternative = |token: u32, logprob: f32| Alternative::new(tokenizer, token, logprob);
        let entry = |score: &TokenScore| ChatToken {
            token: alternative(score.token, score.logprob),
            top_logprobs: score
                .top
                .iter()
                .map(|(id, logprob)| alternative(*id, *logprob))
                .collect(),
        };
        ChatLogprobs { content: scores.into_iter().map(entry).collect(), refusal: () }
    }

    /// The tokens alone, as responses have them.
    pub fn into_values(self) -> Vec<Value> {
        self.content.into_iter().map(|token| json!(token)).collect()
    }

    /// Adds the tokens of a later piece.
    pub fn extend(&mut self, later: ChatLogprobs) {
        self.content.extend(later.content);
    }
}

impl Alternative {
    fn new(tokenizer: &Tokenizer, token: u32, logprob: f32) -> Alternative {
        let bytes = tokenizer.token_bytes(token).unwrap_or_default().to_vec();
        let token = String::from_utf8_lossy(&bytes).into_owned();
        Alternative { token, logprob: finite(logprob), bytes }
    }
}

/// `choices[].logprobs` of a completion: four lists of equal length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct CompletionLogprobs {
    text_offset: Vec<usize>,
    token_logprobs: Vec<Option<f32>>,
    tokens: Vec<String>,
    #[schema(value_type = Vec<Option<std::collections::HashMap<String, f32>>>)]
    top_logprobs: Vec<Option<Map<String, Value>>>,
}

impl CompletionLogprobs {
    /// Adds a token that nothing stood before: it has no probability. `offset` is the place of its
    /// text, in characters.
    pub fn push_first(&mut self, tokenizer: &Tokenizer, token: u32, offset: usize) {
        self.text_offset.push(offset);
        self.token_logprobs.push(None);
        self.tokens.push(spelled(tokenizer, token));
        self.top_logprobs.push(None);
    }

    /// Adds a token with its score.
    pub fn push(&mut self, tokenizer: &Tokenizer, score: &TokenScore, offset: usize) {
        let mut top = Map::new();
        for (id, logprob) in &score.top {
            top.entry(spelled(tokenizer, *id)).or_insert_with(|| number(*logprob));
        }
        // The token itself is always listed, even where it is none of the likeliest.
        let token = spelled(tokenizer, score.token);
        top.insert(token.clone(), number(score.logprob));
        self.text_offset.push(offset);
        self.token_logprobs.push(Some(finite(score.logprob)));
        self.tokens.push(token);
        self.top_logprobs.push(Some(top));
    }

    /// Whether no token was added yet.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Adds the tokens of a later piece.
    pub fn extend(&mut self, later: CompletionLogprobs) {
        self.text_offset.extend(later.text_offset);
        self.token_logprobs.extend(later.token_logprobs);
        self.tokens.extend(later.tokens);
        self.top_logprobs.extend(later.top_logprobs);
    }
}

/// A token's text; parts of characters as OpenAI writes them (`bytes:\xe2\x82`), so that different
/// tokens stay different.
pub fn spelled(tokenizer: &Tokenizer, token: u32) -> String {
    let bytes = tokenizer.token_bytes(token).unwrap_or_default();
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            bytes.iter().fold("bytes:".to_owned(), |text, byte| format!("{text}\\x{byte:02x}"))
        }
    }
}

fn finite(logprob: f32) -> f32 {
    // Not-a-number becomes the least too.
    if logprob >= LOGPROB_MIN { logprob } else { LOGPROB_MIN }
}

/// The number with as few digits as an f32 needs, as it is written outside of maps.
fn number(logprob: f32) -> Value {
    let shortest = finite(logprob).to_string().parse::<f64>();
    shortest.unwrap_or(f64::from(LOGPROB_MIN)).into()
}
