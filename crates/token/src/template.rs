//! Chats into prompts, by the template of a model file.

use crate::Tokenizer;

/// Why a template cannot be used, or refuses a chat.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The template called `raise_exception`; the message is the template author's.
    #[error("{0}")]
    Raised(String),
}

/// One message of a chat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// `system`, `developer`, `user`, `assistant`, `tool`, or whatever the template knows.
    pub role: String,
    /// The text.
    pub content: String,
    /// Further fields that the template may read (`name`, `tool_calls`, …).
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// How a chat is rendered.
#[derive(Clone, Debug, Default)]
pub struct RenderOptions {
    /// Whether the prompt ends with the beginning of the assistant's answer.
    pub add_generation_prompt: bool,
    /// The time that the template may show, in seconds since 1970.
    pub now_unix_seconds: i64,
    /// Whether the final message is left open for the model to continue it.
    pub continue_final_message: bool,
    /// Further variables for the template (`tools`, `enable_thinking`, …).
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// A compiled chat template.
pub struct ChatTemplate {}

impl ChatTemplate {
    pub fn new(source: &str, tokenizer: &Tokenizer) -> Result<ChatTemplate, TemplateError> {
        todo!()
    }
    /// Token ids of a chat. The text of a message never becomes a special token.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<Vec<u32>, TemplateError> {
        todo!()
    }
    /// The chat as the text that the template makes of it.
    pub fn render(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<String, TemplateError> {
        todo!()
    }
}
