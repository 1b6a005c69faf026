//! Chats into prompts, by the template of a model file.

use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde_json::{Map, json};

use crate::guard::{self, CUT, Guard, Trust};
use crate::jinja::{self, Raised};
use crate::limits::TEMPLATE_BYTES_MAX;
use crate::{AnswerFormat, Tokenizer};

/// Why a template cannot be used, or refuses a chat.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The source is larger than any real template.
    #[error("the chat template has {bytes} bytes; at most {TEMPLATE_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The source is not valid Jinja.
    #[error("the chat template is not valid: {0}")]
    Syntax(#[source] minijinja::Error),
    /// The template called `raise_exception`; the message is the template author's.
    #[error("{0}")]
    Raised(String),
    /// The template did something that is not defined.
    #[error("the chat template cannot render this chat: {0}")]
    Render(#[source] minijinja::Error),
    /// The template did too much work, put out too much, or called itself too often.
    #[error("the chat template exceeds its limits: {0}")]
    Limit(#[source] minijinja::Error),
    /// There is no message.
    #[error("messages is empty; right would be at least one message")]
    NoMessages,
    /// The final message was to be continued, but the template did not show it.
    #[error("continue_final_message: the template does not show the final message's text")]
    CannotContinue,
    /// Both a new answer and the continuation of the final message were asked for.
    #[error("add_generation_prompt and continue_final_message exclude each other")]
    TwoContinuations,
}

/// One message of a chat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// `system`, `developer`, `user`, `assistant`, `tool`, or whatever the template knows.
    pub role: String,
    /// The text.
    pub content: String,
    /// Further fields that the template may read (`name`, `tool_calls`, …). A `content` in here
    /// replaces the text.
    pub extra: Map<String, serde_json::Value>,
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
    pub extra: Map<String, serde_json::Value>,
}

/// A compiled chat template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    guard: Guard,
    knows_developer: bool,
    answer_format: AnswerFormat,
    /// `bos_token` and its like, as the vocabulary writes them.
    special_tokens: Vec<(&'static str, String)>,
}

impl ChatTemplate {
    /// Compiles the source of a template.
    pub fn new(source: &str, tokenizer: &Tokenizer) -> Result<ChatTemplate, TemplateError> {
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLarge { bytes: source.len() });
        }
        let tokens = [
            ("bos_token", tokenizer.bos()),
            ("eos_token", tokenizer.eos()),
            ("pad_token", tokenizer.padding()),
            ("unk_token", tokenizer.unknown()),
        ];
        let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).map(str::to_owned);
        Ok(ChatTemplate {
            environment: jinja::environment(source).map_err(TemplateError::Syntax)?,
            guard: Guard::new(tokenizer, source),
            knows_developer: source.contains("developer"),
            answer_format: AnswerFormat::of(Some(source), |text| tokenizer.id_of(text).is_some()),
            special_tokens: tokens
                .into_iter()
                .filter_map(|(name, id)| Some((name, text(id)?)))
                .collect(),
        })
    }

    /// How the model of this template writes its answers.
    pub fn answer_format(&self) -> AnswerFormat {
        self.answer_format
    }

    /// Token ids of a chat. The text of a message never becomes a special token.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<Vec<u32>, TemplateError> {
        Ok(tokenizer.encode_guarded(&self.render_marked(messages, options)?))
    }

    /// The chat as the text that the template makes of it.
    pub fn render(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<String, TemplateError> {
        let marked = self.render_marked(messages, options)?;
        Ok(guard::unmark(&marked).into_owned())
    }

    /// The rendered chat with the marks of [`guard`] in it.
    fn render_marked(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<String, TemplateError> {
        if messages.is_empty() {
            return Err(TemplateError::NoMessages);
        }
        if options.add_generation_prompt && options.continue_final_message {
            return Err(TemplateError::TwoContinuations);
        }
        let messages = if self.knows_developer { messages.to_vec() } else { as_system(messages) };
        let mut messages: Vec<Map<String, serde_json::Value>> =
            messages.iter().map(|message| self.marked_message(message)).collect();
        if options.continue_final_message {
            leave_open(messages.last_mut());
        }
        let context = self.context(messages, options);
        let rendered = jinja::render(&self.environment, context).map_err(template_error)?;
        if options.continue_final_message { cut(rendered) } else { Ok(rendered) }
    }

    fn marked_message(&self, message: &Message) -> Map<String, serde_json::Value> {
        let trust = match message.role.as_str() {
            "assistant" => Trust::Model,
            _ => Trust::Outside,
        };
        let mut map = Map::new();
        map.insert("role".to_owned(), self.guard.name(&message.role).into());
        map.insert("content".to_owned(), self.guard.text(&message.content, trust).into());
        map.extend(self.guard.map(&message.extra, trust));
        map
    }

    fn context(
        &self,
        messages: Vec<Map<String, serde_json::Value>>,
        options: &RenderOptions,
    ) -> Value {
        let mut map = Map::new();
        // Hugging Face always defines these two.
        map.insert("tools".to_owned(), serde_json::Value::Null);
        map.insert("documents".to_owned(), serde_json::Value::Null);
        for (name, text) in &self.special_tokens {
            map.insert((*name).to_owned(), text.clone().into());
        }
        map.extend(self.guard.map(&options.extra, Trust::Outside));
        map.insert("messages".to_owned(), json!(messages));
        map.insert("add_generation_prompt".to_owned(), options.add_generation_prompt.into());
        map.insert(jinja::NOW.to_owned(), options.now_unix_seconds.into());
        Value::from(Serde(map))
    }
}

/// For templates that do not know developers: their messages are the system's. One system message
/// at the beginning holds all of them, since most templates look for it there alone.
fn as_system(messages: &[Message]) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages {
        if message.role != "developer" {
            out.push(message.clone());
            continue;
        }
        match out.first_mut().filter(|first| first.role == "system") {
            Some(first) => {
                first.content.push_str("\n\n");
                first.content.push_str(&message.content);
            }
            None => out.insert(0, Message { role: "system".to_owned(), ..message.clone() }),
        }
    }
    out
}

/// Puts the mark of a cut behind the text of the final message.
fn leave_open(message: Option<&mut Map<String, serde_json::Value>>) {
    let Some(message) = message else { return };
    let Some(serde_json::Value::String(text)) = message.get_mut("content") else { return };
    text.push(CUT);
    // The space tells afterwards whether the template trims its messages.
    text.push(' ');
}

/// Rendered text up to the end of the final message's own text.
fn cut(mut rendered: String) -> Result<String, TemplateError> {
    let at = rendered.rfind(CUT).ok_or(TemplateError::CannotContinue)?;
    let trims = !rendered[at + CUT.len_utf8()..].starts_with(' ');
    rendered.truncate(at);
    if trims {
        rendered.truncate(rendered.trim_end().len());
    }
    Ok(rendered)
}

/// Tells the template's own refusal, a limit and a mistake apart.
fn template_error(error: minijinja::Error) -> TemplateError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut limited = false;
    while let Some(cause) = source {
        if let Some(Raised(message)) = cause.downcast_ref() {
            return TemplateError::Raised(guard::unmark(message).into_owned());
        }
        if let Some(error) = cause.downcast_ref::<minijinja::Error>() {
            use minijinja::ErrorKind::{OutOfFuel, WriteFailure};
            limited |= matches!(error.kind(), OutOfFuel | WriteFailure);
            limited |= error.detail() == Some("recursion limit exceeded");
        }
        source = cause.source();
    }
    if limited { TemplateError::Limit(error) } else { TemplateError::Render(error) }
}
