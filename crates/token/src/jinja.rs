//! The source of a chat template into an environment that renders it as Hugging Face would.
//!
//! What `transformers` adds to Jinja: `tojson` as `json.dumps`, `raise_exception`, `strftime_now`,
//! loop controls and `{% generation %}`. What Python adds: methods of strings, lists and dicts. And
//! what a template from a stranger needs: limits on work, output and depth.

use std::io;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

use crate::json::{JsonStyle, to_json};
use crate::keep;
use crate::limits::{TEMPLATE_FUEL, TEMPLATE_OUTPUT_BYTES_MAX, TEMPLATE_RECURSION_MAX};
use crate::source;

/// Name of the one template in its environment.
pub(crate) const NAME: &str = "chat_template";

/// Variable that carries the time into `strftime_now`. No message or option can overwrite it: its
/// name is not one that a template could be meant to read.
pub(crate) const NOW: &str = "__now_unix_seconds";

/// The message of a template's own `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Raised(pub(crate) String);

/// A chat template is too large to be one, or is not valid Jinja.
pub(crate) fn environment(source: &str) -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
    env.set_syntax(syntax);
    env.set_undefined_behavior(UndefinedBehavior::Lenient);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_unknown_method_callback(python_method);
    env.set_fuel(Some(TEMPLATE_FUEL));
    env.set_recursion_limit(TEMPLATE_RECURSION_MAX);
    env.add_test("iterable", is_iterable);
    env.add_filter("tojson", tojson);
    env.add_filter("sum", sum_of_numbers);
    env.add_function("raise_exception", raise_exception);
    env.add_function("strftime_now", strftime_now);
    env.add_filter(source::KEEP, keep::keep);
    env.add_filter(source::KEEP_INSIDE, keep::keep_inside);
    let source = source::prepare(source).map_err(|error| {
        Error::new(ErrorKind::SyntaxError, error.to_string()).with_source(error)
    })?;
    env.add_template_owned(NAME, source)?;
    Ok(env)
}

/// The rendered template; at most `TEMPLATE_OUTPUT_BYTES_MAX` bytes.
pub(crate) fn render(env: &Environment<'_>, context: Value) -> Result<String, Error> {
    let mut output = Limited(Vec::new());
    env.get_template(NAME)?.render_captured_to(context, &mut output)?;
    String::from_utf8(output.0)
        .map_err(|error| Error::new(ErrorKind::WriteFailure, "not UTF-8").with_source(error))
}

struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > TEMPLATE_OUTPUT_BYTES_MAX {
            let message = format!("the output exceeds {TEMPLATE_OUTPUT_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Python's methods. `str.format` alone does not ask for fuel before it allocates: a width, or a
/// long argument put in many times, would let a short template take all memory.
fn python_method(
    state: &mut State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if method == "format"
        && let Some(text) = value.as_str()
    {
        let bytes = formatted_bytes_max(text, arguments);
        if bytes > TEMPLATE_OUTPUT_BYTES_MAX as u64 {
            let message =
                format!("format: the result could exceed {TEMPLATE_OUTPUT_BYTES_MAX} bytes");
            return Err(Error::new(ErrorKind::OutOfFuel, message));
        }
        state.consume_fuel(bytes / BYTES_PER_FUEL)?;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
}

/// What minijinja itself takes for data.
const BYTES_PER_FUEL: u64 = 64;

/// At least as many bytes as `text.format(arguments)` has: its own, every number between braces as
/// a width, and the longest argument in each field.
fn formatted_bytes_max(text: &str, arguments: &[Value]) -> u64 {
    let fields = text.bytes().filter(|byte| *byte == b'{').count() as u64;
    let longest = arguments.iter().map(|value| value.to_string().len() as u64).max().unwrap_or(0);
    let (mut widths, mut number, mut inside) = (0u64, 0u64, false);
    for byte in text.bytes().chain([b'}']) {
        if inside && byte.is_ascii_digit() {
            number = number.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
            continue;
        }
        // A filling character has up to four bytes.
        widths = widths.saturating_add(number.saturating_mul(4));
        number = 0;
        inside = byte == b'{' || (inside && byte != b'}');
    }
    fields.saturating_mul(longest).saturating_add(widths).saturating_add(text.len() as u64)
}

/// minijinja's `sum`, for numbers alone: a sum of lists copies all of them for each one more, and
/// no fuel is asked for that.
fn sum_of_numbers(
    state: &State,
    values: Value,
    attribute: Option<&str>,
    start: Option<Value>,
    names: Kwargs,
) -> Result<Value, Error> {
    let attribute =
        attribute.map_or_else(|| names.get::<Option<&str>>("attribute"), |a| Ok(Some(a)));
    let start = start.map_or_else(|| names.get::<Option<Value>>("start"), |start| Ok(Some(start)));
    let start = start?.unwrap_or_else(|| Value::from(0));
    names.assert_all_used()?;
    if start.kind() != ValueKind::Number {
        return Err(Error::new(ErrorKind::InvalidOperation, "sum: only numbers can be summed"));
    }
    minijinja::filters::sum(
        state,
        values,
        attribute?,
        Some(start),
        Kwargs::from_iter::<[(&str, Value); 0]>([]),
    )
}

/// As in Python, where `tools is iterable` asks whether tools were given: `None` is not, though
/// minijinja would loop over it.
fn is_iterable(value: &Value) -> bool {
    let kind = value.kind();
    !matches!(kind, ValueKind::None | ValueKind::Bool | ValueKind::Number)
        && value.try_iter().is_ok()
}

fn raise_exception(message: String) -> Result<Value, Error> {
    let error = Error::new(ErrorKind::InvalidOperation, message.clone());
    Err(error.with_source(Raised(message)))
}

/// The local time by a format of C's `strftime`.
fn strftime_now(state: &State, format: &str) -> Result<String, Error> {
    let seconds = state.lookup(NOW).and_then(|now| now.as_i64()).unwrap_or(0);
    let failed = |error: jiff::Error| {
        Error::new(ErrorKind::InvalidOperation, format!("strftime_now: `{format}`: {error}"))
    };
    let now = Timestamp::from_second(seconds).map_err(failed)?.to_zoned(TimeZone::system());
    // Formatting by `Display` would panic on an unknown conversion.
    jiff::fmt::strtime::format(format, &now).map_err(failed)
}

/// `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`
fn tojson(
    state: &State,
    value: &Value,
    places: Rest<Value>,
    names: Kwargs,
) -> Result<String, Error> {
    let argument = |place: usize, name: &str| -> Result<Option<Value>, Error> {
        let named = if names.has(name) { Some(names.get::<Value>(name)?) } else { None };
        let found = places.get(place).cloned().or(named);
        Ok(found.filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let ensure_ascii = is_true(argument(0, "ensure_ascii")?);
    let indent = match argument(1, "indent")? {
        None => None,
        Some(indent) if indent.kind() == ValueKind::String => Some(indent.to_string()),
        // Python takes a bool as a number here too.
        Some(indent) => Some(" ".repeat(usize::try_from(indent)?.min(64))),
    };
    let (item_separator, key_separator) = match argument(2, "separators")? {
        Some(pair) => {
            let part = |index: usize| pair.get_item_by_index(index).map(|part| part.to_string());
            (part(0)?, part(1)?)
        }
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let sort_keys = is_true(argument(3, "sort_keys")?);
    names.assert_all_used()?;
    let style = JsonStyle { ensure_ascii, indent, item_separator, key_separator, sort_keys };
    let json = to_json(value, &style)?;
    // As much as minijinja's own `tojson` charges: 16 times the price of copying.
    state.consume_fuel(json.len() as u64 / 4)?;
    Ok(json)
}
