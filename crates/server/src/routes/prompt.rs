//! Turns a chat, in whichever dialect it came, into the ids of a prompt and how to read its answer.

use std::sync::Arc;

use myriad_token::{
    CallGrammar, ChatTemplate, Grammar, GrammarError, RenderOptions, TemplateError, Tokenizer,
};
use serde_json::{Map, Value};

use crate::app::{App, unix_seconds};
use crate::errors::ApiError;
use crate::runtime::Parsing;
use crate::wire::chat::Chat;
use crate::wire::response_format::{Places, ResponseFormat};

/// The parameter that errors about the prompt name.
pub const PARAM: &str = "messages";

/// Tokens at a prompt's end that are looked at: it may have opened the reasoning.
pub const END_TOKENS: usize = 32;

/// A chat as the model sees it.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// The rendered chat.
    pub ids: Vec<u32>,
    /// How the answer is read; none where it is all text.
    pub parsing: Option<Parsing>,
    /// What the answer is held to: where calls must come.
    pub grammar: Option<Grammar>,
}

impl Prompt {
    /// Holds the answer to calls, where the chat asks for that. Blocks while they are compiled.
    ///
    /// # Errors
    /// 400 naming the tool whose schema cannot be enforced, or that the model's calls cannot be
    /// forced.
    pub fn hold_to_calls(&mut self, app: &App, chat: &Chat) -> Result<(), ApiError> {
        if !chat.tools.forced {
            return Ok(());
        }
        let calls = CallGrammar {
            format: app.runtime.manners().format.calls,
            tools: chat.tools.offered.iter().map(|tool| tool.for_parser()).collect(),
            parallel: !chat.tools.one_call,
        };
        let grammar = app.runtime.grammars().tool_calls(&calls);
        self.grammar = Some(grammar.map_err(|error| match error {
            GrammarError::Busy => ApiError::busy("compilers_busy", format!("{error}.")),
            GrammarError::Unsupported(_) => {
                ApiError::unsupported("tool_choice", format!("{error}."))
            }
            GrammarError::Tool { index, .. } => {
                ApiError::invalid(format!("tools[{index}]"), format!("Invalid schema: {error}."))
            }
            error => ApiError::invalid("tools", format!("Invalid schema: {error}.")),
        })?);
        // The first token begins a call, whatever the prompt has opened.
        if let Some(parsing) = &mut self.parsing {
            parsing.prompt_end.clear();
        }
        Ok(())
    }

    /// Holds the answer to a format, where no calls must come. Blocks while it is compiled.
    ///
    /// # Errors
    /// 400 naming what of its schema cannot be enforced.
    pub fn hold_to_format(
        &mut self,
        app: &App,
        format: &ResponseFormat,
        places: Places,
    ) -> Result<(), ApiError> {
        if self.grammar.is_none() {
            self.grammar = format.grammar(app.runtime.grammars(), places)?;
            // What follows a schema is the answer itself: no calls, no reasoning.
            self.parsing = self.parsing.take().filter(|_| self.grammar.is_none());
        }
        Ok(())
    }
}

/// The chat as the model's template writes it.
///
/// # Errors
/// 400 naming what the template cannot show.
pub fn encode(app: &App, chat: &Chat) -> Result<Prompt, ApiError> {
    let template = template(app, PARAM)?;
    let manners = app.runtime.manners();
    let tools: Vec<Value> = chat.tools.offered.iter().map(|tool| tool.definition()).collect();
    let options = RenderOptions {
        add_generation_prompt: chat.add_generation_prompt,
        now_unix_seconds: i64::try_from(unix_seconds()).unwrap_or(i64::MAX),
        continue_final_message: chat.continue_final_message,
        extra: variables(app, chat, &tools)?,
    };
    let messages = manners.messages(&chat.messages, &tools);
    let tokenizer = app.runtime.tokenizer();
    let ids = template.encode(tokenizer, &messages, &options).map_err(|error| {
        let param = match error {
            TemplateError::TwoContinuations | TemplateError::CannotContinue => {
                "continue_final_message"
            }
            _ => PARAM,
        };
        // What a template says may quote the chat: not at any length.
        let message: String = error.to_string().chars().take(500).collect();
        ApiError::invalid(param, message)
    })?;
    let offered = &chat.tools.offered;
    let parsed = manners.reasons() || !offered.is_empty();
    let parsing = parsed.then(|| Parsing {
        format: manners.format,
        prompt_end: end_of(tokenizer, &ids),
        tools: offered.iter().map(|tool| tool.for_parser()).collect(),
        one_call: chat.tools.one_call,
    });
    Ok(Prompt { ids, parsing, grammar: None })
}

/// The template of the model that is served; `param` is where the chat came from.
///
/// # Errors
/// 400 where it has none.
pub fn template<'a>(app: &'a App, param: &str) -> Result<&'a Arc<ChatTemplate>, ApiError> {
    app.runtime.template().ok_or_else(|| {
        let name = app.runtime.name();
        let message = format!(
            "The model '{name}' has no chat template: it continues texts. Use /v1/completions."
        );
        ApiError::unsupported(param, message)
    })
}

/// The text at a prompt's end, where its reasoning may have begun.
pub fn end_of(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let end = &ids[ids.len().saturating_sub(END_TOKENS)..];
    String::from_utf8_lossy(&tokenizer.decode(end, true)).into_owned()
}

/// What the template is given besides the messages: the client's own variables win over what
/// follows from other fields, but for the tools.
fn variables(app: &App, chat: &Chat, tools: &[Value]) -> Result<Map<String, Value>, ApiError> {
    let manners = app.runtime.manners();
    let mut variables = chat.thinking.variables(manners)?;
    variables.extend(chat.template_kwargs.clone());
    if manners.shows_tools && !tools.is_empty() {
        variables.insert("tools".to_owned(), Value::Array(tools.to_vec()));
    }
    Ok(variables)
}
