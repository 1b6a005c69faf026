//! Regular expressions and grammars as clients write them into rules that do no more than they say.

use llguidance::regex_to_lark;

use super::error::GrammarError;
use super::formats::translated;

fn refused(what: &'static str, reason: impl Into<String>) -> GrammarError {
    GrammarError::Syntax { what, reason: reason.into() }
}

/// A terminal that matches all of a text, as the expression does; its own anchors say no more.
pub(super) fn regex(regex: &str) -> Result<String, GrammarError> {
    let what = "regex";
    let inside = regex.strip_prefix('^').unwrap_or(regex);
    let escapes = |before: &str| before.len() - before.trim_end_matches('\\').len();
    let end = inside.strip_suffix('$').filter(|before| escapes(before) % 2 == 0);
    let inside = end.unwrap_or(inside);
    if inside.is_empty() {
        return Err(refused(what, "matches nothing but the empty text"));
    }
    let inside = translated(inside)
        .map_err(|found| refused(what, format!("has {found}, which cannot be enforced")))?;
    Ok(format!("/(?:{})/", regex_to_lark(&inside, "dw")))
}

/// Statements of a grammar that may stand in it; others would set options, or bring in schemas that
/// nobody has looked at.
const STATEMENTS: &[&str] = &["ignore", "import"];

/// A grammar within the grammar.
pub(super) fn lark(text: &str) -> Result<String, GrammarError> {
    let mut rest = text;
    let mut line_start = true;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '"' => quoted_end(after, '"'),
            '/' if after.starts_with('/') => after.trim_start_matches(|c| c != '\n'),
            '/' => quoted_end(after, '/'),
            '#' => after.trim_start_matches(|c| c != '\n'),
            '%' if !STATEMENTS.iter().any(|word| after.starts_with(word)) => {
                let reason = format!("may have the statements %{} only", STATEMENTS.join(" and %"));
                return Err(refused("grammar", reason));
            }
            '<' => return Err(refused("grammar", "may have no special tokens, '<…>'")),
            '@' => return Err(refused("grammar", "may have no other grammars, '@…'")),
            '{' | '}' if line_start => {
                return Err(refused("grammar", "has a brace where a rule should begin"));
            }
            c if line_start && is_name(c) => {
                let name = after.trim_start_matches(is_name);
                if name.starts_with('[') {
                    return Err(refused("grammar", "may have no attributes of rules, 'name[…]'"));
                }
                name
            }
            _ => after,
        };
        line_start = c == '\n' || (line_start && c.is_whitespace());
    }
    // What it has is checked where it is compiled; a comment at its end must not swallow the brace.
    Ok(format!("%lark {{\n{text}\n}}"))
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '!' | '?')
}

/// What follows a string or an expression, behind its beginning.
fn quoted_end(text: &str, quote: char) -> &str {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_the_whole_text() {
        assert_eq!(regex(r"^\d+/[a-z]$").unwrap(), r"/(?:[0-9]+\/[a-z])/");
        assert_eq!(regex(r"a|b\$").unwrap(), r"/(?:a|b\$)/");
        for wrong in ["", "^$", "(?=a)", r"\bx", r"(a)\1"] {
            assert!(regex(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn grammars_have_no_options_and_nothing_foreign() {
        for right in [
            "start: \"<a>\" /@[%]/ b // %json\nb: [\"x\"] | /[0-9]+/\n%ignore \" \"",
            "start: W+\n%import common.WORD -> W # <s>",
        ] {
            assert!(lark(right).is_ok(), "{right}: {:?}", lark(right));
        }
        for wrong in [
            "start: %json {}",
            "%llguidance {}\nstart: \"a\"",
            "start: <|im_end|>",
            "start: @other",
            "start[lazy]: /a*/",
            "start: \"a\"\n}",
        ] {
            assert!(lark(wrong).is_err(), "{wrong}");
        }
    }
}
