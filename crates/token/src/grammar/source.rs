//! What an answer is held to, as a client says it, into the grammar of a whole answer.

use serde_json::{Value, json};

use super::calls::{self, CallGrammar, json_rule};
use super::compiler::check;
use super::error::GrammarError;
use super::lark::{ANY, Writer, quoted};
use super::schema::{Judged, judge};
use super::{client, lead};
use crate::{AnswerFormat, Opening, Tokenizer};

/// What a whole answer is held to: reasoning where the model is to have it, then calls or a text.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerGrammar {
    /// How the model writes its answers.
    pub format: AnswerFormat,
    /// Where the answer begins. Its reasoning is free.
    pub opening: Opening,
    /// The calls that it may have, or must.
    pub calls: Option<CallGrammar>,
    /// What its text is held to; none for any, or where it must be calls.
    pub text: Option<TextGrammar>,
}

/// What the text of an answer is held to.
#[derive(Clone, Debug, PartialEq)]
pub enum TextGrammar {
    /// JSON that a schema allows: properties in the schema's order, others behind them, white space
    /// of a space, or of a new line and its indentation.
    Json(Value),
    /// A regular expression that matches all of it.
    Regex(String),
    /// One of some texts.
    Choice(Vec<String>),
    /// A grammar in the language of the parser generator Lark, as far as llguidance has it.
    Lark(String),
}

impl AnswerGrammar {
    /// A text that is held to a grammar from its first token on.
    pub fn of_text(text: TextGrammar) -> AnswerGrammar {
        let (format, opening) = (AnswerFormat::PLAIN, Opening::Text);
        AnswerGrammar { format, opening, calls: None, text: Some(text) }
    }

    /// What tells it from others.
    pub(super) fn key(&self) -> String {
        let AnswerFormat { reasoning, calls } = self.format;
        let text = match &self.text {
            None => Value::Null,
            Some(TextGrammar::Json(schema)) => json!(["json", schema]),
            Some(TextGrammar::Regex(regex)) => json!(["regex", regex]),
            Some(TextGrammar::Choice(choices)) => json!(["choice", choices]),
            Some(TextGrammar::Lark(lark)) => json!(["lark", lark]),
        };
        let format = format!("{reasoning:?} {calls:?} {:?}", self.opening);
        json!([format, self.calls.as_ref().map(CallGrammar::key), text]).to_string()
    }

    pub(super) fn leaves_text_free(&self) -> bool {
        self.text.is_none() && self.calls.as_ref().is_none_or(|calls| !calls.must)
    }

    /// The same without reasoning before it.
    pub(super) fn bare(&self) -> AnswerGrammar {
        AnswerGrammar { opening: Opening::Text, ..self.clone() }
    }

    /// Why the compiler does not take it: schemas were checked before, what clients write as a
    /// grammar was not.
    pub(super) fn refused(&self, message: &str) -> GrammarError {
        let what = match self.text {
            Some(TextGrammar::Regex(_)) => "regex",
            Some(TextGrammar::Lark(_)) => "grammar",
            _ => return GrammarError::TooComplex(message.to_owned()),
        };
        GrammarError::Syntax { what, reason: message.to_owned() }
    }

    /// The grammar in llguidance's variant of Lark.
    pub(super) fn lark(&self, tokenizer: &Tokenizer) -> Result<String, GrammarError> {
        let mut writer = Writer::new(tokenizer, &self.format);
        let mut text = None;
        if let Some(grammar) = &self.text {
            let body = grammar.rule()?;
            // In capitals it is a terminal, which the lexer takes as a whole.
            let name = if grammar.is_terminal() { "TEXT" } else { "text" };
            writer.rule(name, &body);
            text = Some(format!("{} {name}", lead::text(&writer, self.format, self.opening)));
        }
        let answer = match &self.calls {
            Some(calls) => {
                let place = (self.format, self.opening);
                calls::answer(&mut writer, place, calls, text.as_deref())?
            }
            None => text.unwrap_or_else(|| writer.terminal(ANY)),
        };
        let reasoning = lead::reasoning(&mut writer, self.format, self.opening);
        writer.rule("start", &format!("{reasoning} {answer}"));
        Ok(writer.finish())
    }
}

impl TextGrammar {
    fn is_terminal(&self) -> bool {
        matches!(self, TextGrammar::Regex(_) | TextGrammar::Choice(_))
    }

    fn rule(&self) -> Result<String, GrammarError> {
        match self {
            TextGrammar::Json(schema) => {
                let judged = judge(schema, "r")?;
                let whole = Judged::whole(judged.root.clone(), &judged.definitions);
                check(&judged, &whole)?;
                Ok(json_rule(whole))
            }
            TextGrammar::Regex(regex) => client::regex(regex),
            TextGrammar::Choice(choices) => {
                if choices.is_empty() || choices.iter().any(String::is_empty) {
                    let reason = "must be a list of at least one text, none of them empty";
                    return Err(GrammarError::Syntax { what: "choice", reason: reason.into() });
                }
                let choices: Vec<String> = choices.iter().map(|choice| quoted(choice)).collect();
                Ok(choices.join(" | "))
            }
            TextGrammar::Lark(lark) => client::lark(lark),
        }
    }
}
