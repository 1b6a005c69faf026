//! Turns a chat, in whichever dialect it came, into the ids of a prompt and how to read its answer.

use std::sync::Arc;

use myriad_token::{
    AnswerGrammar, AnswerRules, CallFormat, CallGrammar, ChatTemplate, Grammar, GrammarError,
    Opening, ReasoningBudget, RenderOptions, TemplateError, Tokenizer,
};
use serde_json::{Map, Value};

use crate::app::unix_seconds;
use crate::errors::ApiError;
use crate::runtime::{Parsing, Runtime};
use crate::wire::chat::Chat;
use crate::wire::response_format::ResponseFormat;

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
    /// What the answer is held to.
    pub rules: AnswerRules,
    /// The end of the text: it may have opened the reasoning.
    end: String,
}

impl Prompt {
    /// A text that goes on, as it is.
    pub fn raw(ids: Vec<u32>) -> Prompt {
        Prompt { ids, parsing: None, rules: AnswerRules::default(), end: String::new() }
    }

    /// Holds the answer to what the chat asks for: calls that must come or keep to their schemas,
    /// a format of its text, a bound of its reasoning. Blocks while grammars are compiled.
    ///
    /// # Errors
    /// 400 naming what cannot be enforced: the tool whose schema it is, the keyword and its place,
    /// or the model's way to write calls.
    pub fn hold(
        &mut self,
        runtime: &Runtime,
        chat: &Chat,
        response_format: &ResponseFormat,
    ) -> Result<(), ApiError> {
        let (tools, format) = (&chat.tools, runtime.manners().format);
        let opening = match format.opening(&self.end) {
            // An answer that has begun does not begin with reasoning.
            Opening::Free if chat.continue_final_message => Opening::Text,
            opening => opening,
        };
        let text = response_format.text.clone().filter(|_| !tools.forced);
        let held = tools.are_held() || (text.is_some() && !tools.offered.is_empty());
        let calls = held.then(|| CallGrammar {
            tools: tools.offered.iter().map(|tool| tool.for_parser()).collect(),
            parallel: !tools.one_call,
            must: tools.forced,
        });
        if let (Some(_), None, Opening::Text, Some(parsing)) =
            (&text, &calls, opening, &mut self.parsing)
            && parsing.format.calls != CallFormat::Harmony
        {
            // All of it is the text, whatever that looks like.
            self.parsing = None;
        }
        self.bound_reasoning(runtime, chat, opening)?;
        if text.is_none() && calls.is_none() {
            return Ok(());
        }
        let source = AnswerGrammar { format, opening, calls, text };
        let grammar = runtime.grammars().compile(source);
        self.rules.grammar = Some(grammar.map_err(|error| match error {
            GrammarError::Tool { index, .. } => {
                ApiError::invalid(format!("tools[{index}]"), format!("Invalid schema: {error}."))
            }
            GrammarError::Unsupported(_) if tools.forced => {
                ApiError::unsupported("tool_choice", format!("{error}."))
            }
            error if response_format.text.is_some() => response_format.refused(&error),
            GrammarError::Busy => ApiError::busy("compilers_busy", format!("{error}.")),
            error => ApiError::invalid("tools", format!("Invalid schema: {error}.")),
        })?);
        Ok(())
    }

    /// Holds a text to a format.
    ///
    /// # Errors
    /// 400 naming what cannot be enforced.
    pub fn hold_text(
        &mut self,
        runtime: &Runtime,
        format: &ResponseFormat,
    ) -> Result<(), ApiError> {
        self.rules.grammar = compiled(runtime, format)?;
        Ok(())
    }

    fn bound_reasoning(
        &mut self,
        runtime: &Runtime,
        chat: &Chat,
        opening: Opening,
    ) -> Result<(), ApiError> {
        let (manners, tokenizer) = (runtime.manners(), runtime.tokenizer());
        let bound = chat.thinking.bound(manners).filter(|_| manners.reasons());
        let Some(tokens) = bound.filter(|_| opening != Opening::Text) else { return Ok(()) };
        let calls = !chat.tools.offered.is_empty();
        let budget = ReasoningBudget::new(tokenizer, manners.format, &self.end, calls, tokens);
        if budget.is_none() && !chat.thinking.hints {
            let message = "This model's vocabulary has no way to end its reasoning.";
            return Err(ApiError::unsupported("thinking_budget", message));
        }
        self.rules.budget = budget;
        Ok(())
    }
}

/// The grammar of a text from its first token on; none where it may be anything.
///
/// # Errors
/// As [`Prompt::hold_text`].
pub fn compiled(runtime: &Runtime, format: &ResponseFormat) -> Result<Option<Grammar>, ApiError> {
    let Some(text) = &format.text else { return Ok(None) };
    let grammar = runtime.grammars().compile(AnswerGrammar::of_text(text.clone()));
    grammar.map(Some).map_err(|error| format.refused(&error))
}

/// The chat as the model's template writes it.
///
/// # Errors
/// 400 naming what the template cannot show.
pub fn encode(runtime: &Runtime, chat: &Chat) -> Result<Prompt, ApiError> {
    let template = template(runtime, PARAM)?;
    let manners = runtime.manners();
    let tools: Vec<Value> = chat.tools.offered.iter().map(|tool| tool.definition()).collect();
    let options = RenderOptions {
        add_generation_prompt: chat.add_generation_prompt,
        now_unix_seconds: i64::try_from(unix_seconds()).unwrap_or(i64::MAX),
        continue_final_message: chat.continue_final_message,
        extra: variables(runtime, chat, &tools)?,
    };
    let messages = manners.messages(&chat.messages, &tools);
    let tokenizer = runtime.tokenizer();
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
    let end = end_of(tokenizer, &ids);
    let parsing = parsed.then(|| Parsing {
        format: manners.format,
        prompt_end: end.clone(),
        tools: offered.iter().map(|tool| tool.for_parser()).collect(),
        one_call: chat.tools.one_call,
    });
    Ok(Prompt { ids, parsing, rules: AnswerRules::default(), end })
}

/// The template of the model that is served; `param` is where the chat came from.
///
/// # Errors
/// 400 where it has none.
pub fn template<'a>(runtime: &'a Runtime, param: &str) -> Result<&'a Arc<ChatTemplate>, ApiError> {
    runtime.template().ok_or_else(|| {
        let name = runtime.name();
        let message = format!(
            "The model '{name}' has no chat template: it continues texts. Use /v1/completions."
        );
        ApiError::unsupported(param, message)
    })
}

/// A prompt, which came from `param`, must fit with what is asked for.
///
/// # Errors
/// 400.
pub fn check_length(
    runtime: &Runtime,
    prompt: usize,
    max_tokens: Option<usize>,
    param: &str,
) -> Result<(), ApiError> {
    let fits = runtime.check_length(prompt, max_tokens);
    fits.map_err(|error| ApiError::from_generate(error, param))
}

/// The text at a prompt's end, where its reasoning may have begun.
pub fn end_of(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let end = &ids[ids.len().saturating_sub(END_TOKENS)..];
    String::from_utf8_lossy(&tokenizer.decode(end, true)).into_owned()
}

/// What the template is given besides the messages: the client's own variables win over what
/// follows from other fields, but for the tools.
fn variables(
    runtime: &Runtime,
    chat: &Chat,
    tools: &[Value],
) -> Result<Map<String, Value>, ApiError> {
    let manners = runtime.manners();
    let mut variables = chat.thinking.variables(manners)?;
    variables.extend(chat.template_kwargs.clone());
    if manners.shows_tools && !tools.is_empty() {
        variables.insert("tools".to_owned(), Value::Array(tools.to_vec()));
    }
    Ok(variables)
}
