//! Turns a JSON object into fields that are taken one by one, with errors that name the parameter.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::errors::ApiError;
use crate::limits::JSON_DEPTH_MAX;

/// Fields of one object: more than any request has.
const FIELDS_MAX: usize = 256;

/// An object whose fields are taken by name; what is left at the end was unknown.
///
/// Values stay text until they are taken, so that a body takes no more memory than its bytes.
#[derive(Debug)]
pub struct Fields<'a> {
    map: BTreeMap<String, &'a RawValue>,
    /// Where the object stands: empty for the body itself, else as `messages[0]`.
    place: String,
}

impl<'a> Fields<'a> {
    /// The fields of a request's body.
    ///
    /// # Errors
    /// 400 where the body is no JSON object in UTF-8, or nested too deeply.
    pub fn of_body(body: &'a [u8]) -> Result<Fields<'a>, ApiError> {
        let text = std::str::from_utf8(body).map_err(|error| {
            let at = error.valid_up_to();
            ApiError::bad_request(format!("The request body is not UTF-8: byte {at} is wrong."))
        })?;
        check_depth(body)?;
        match serde_json::from_str::<Object<'a>>(text) {
            Ok(Object(map)) => Ok(Fields { map, place: String::new() }),
            Err(error) => Err(ApiError::bad_request(format!(
                "The request body is not a JSON object that can be read: {}",
                clipped(&error.to_string())
            ))),
        }
    }

    /// The fields of an object inside of the body.
    ///
    /// # Errors
    /// 400 naming `place` where the value is no object.
    pub fn of_value(value: &'a RawValue, place: String) -> Result<Fields<'a>, ApiError> {
        match serde_json::from_str::<Object<'a>>(value.get()) {
            Ok(Object(map)) => Ok(Fields { map, place }),
            Err(_) => Err(wrong_type(&place, "an object", value)),
        }
    }

    /// The name of a field as errors show it: `temperature`, `messages[0].role`.
    pub fn name(&self, field: &str) -> String {
        match self.place.as_str() {
            "" => field.to_owned(),
            place => format!("{place}.{field}"),
        }
    }

    /// The value of a field; `null` is none.
    pub fn raw(&mut self, field: &str) -> Option<&'a RawValue> {
        #[cfg(test)]
        if self.place.is_empty() {
            ASKED.with_borrow_mut(|asked| asked.insert(field.to_owned()));
        }
        self.map.remove(field).filter(|value| value.get() != "null")
    }

    /// The value of a field that is taken later.
    pub fn peek(&self, field: &str) -> Option<&'a RawValue> {
        self.map.get(field).copied()
    }

    /// A field of any type; `expected` says in words which.
    ///
    /// # Errors
    /// 400 naming the field where it has another type.
    pub fn take<T: DeserializeOwned>(
        &mut self,
        field: &str,
        expected: &str,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.raw(field) else { return Ok(None) };
        match serde_json::from_str(value.get()) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(wrong_type(&self.name(field), expected, value)),
        }
    }

    /// A boolean.
    ///
    /// # Errors
    /// As [`Fields::take`].
    pub fn boolean(&mut self, field: &str) -> Result<Option<bool>, ApiError> {
        self.take(field, "a boolean")
    }

    /// A string of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// As [`Fields::take`]; 400 where it is longer.
    pub fn string(&mut self, field: &str, bytes_max: usize) -> Result<Option<String>, ApiError> {
        let text: Option<String> = self.take(field, "a string")?;
        match &text {
            Some(text) if text.len() > bytes_max => Err(self.out_of_range(
                field,
                &format!("a string of {} bytes", text.len()),
                &format!("at most {bytes_max} bytes"),
            )),
            _ => Ok(text),
        }
    }

    /// A number within `range`.
    ///
    /// # Errors
    /// As [`Fields::take`]; 400 with the range where the number lies outside.
    pub fn number(
        &mut self,
        field: &str,
        range: RangeInclusive<f32>,
    ) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.take::<f64>(field, "a number")? else { return Ok(None) };
        // Compared before it is rounded; not-a-number lies in no range.
        if !(f64::from(*range.start())..=f64::from(*range.end())).contains(&value) {
            let right = format!("between {} and {}", range.start(), range.end());
            return Err(self.out_of_range(field, &value.to_string(), &right));
        }
        Ok(Some(value as f32))
    }

    /// A whole number within `range`; `10.0` is one.
    ///
    /// # Errors
    /// As [`Fields::number`].
    pub fn integer(
        &mut self,
        field: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.raw(field) else { return Ok(None) };
        let Some(number) = whole(value.get()) else {
            return Err(wrong_type(&self.name(field), "an integer", value));
        };
        match i64::try_from(number).ok().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let right = match *range.end() {
                    i64::MAX => format!("at least {}", range.start()),
                    end => format!("between {} and {end}", range.start()),
                };
                Err(self.out_of_range(field, &number.to_string(), &right))
            }
        }
    }

    /// A count of at most `max`.
    ///
    /// # Errors
    /// As [`Fields::number`].
    pub fn count(&mut self, field: &str, max: usize) -> Result<Option<usize>, ApiError> {
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        Ok(self.integer(field, 0..=max)?.map(|count| count as usize))
    }

    /// The elements of an array of at most `max`.
    ///
    /// # Errors
    /// As [`Fields::take`]; 400 where there are more.
    pub fn list(&mut self, field: &str, max: usize) -> Result<Option<Vec<&'a RawValue>>, ApiError> {
        match self.raw(field) {
            Some(value) => elements(value, &self.name(field), max).map(Some),
            None => Ok(None),
        }
    }

    /// The names of the fields that are left.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.map.keys().map(String::as_str)
    }

    /// Fields that nobody took.
    pub fn rest(self) -> BTreeMap<String, &'a RawValue> {
        self.map
    }

    /// 400 for the first field that nobody took.
    ///
    /// # Errors
    /// That one.
    pub fn none_left(self) -> Result<(), ApiError> {
        // Lists of nulls are how some clients spell "nothing", so null is fine everywhere.
        match self.map.iter().find(|(_, value)| value.get() != "null") {
            Some((field, _)) => Err(ApiError::unknown_parameter(&self.name(field))),
            None => Ok(()),
        }
    }

    fn out_of_range(&self, field: &str, found: &str, right: &str) -> ApiError {
        let name = self.name(field);
        let message = format!("Invalid value for '{name}': {found}. Right would be {right}.");
        ApiError::invalid(name, message)
    }
}

/// The elements of an array of at most `max`; `place` is its name in errors.
///
/// # Errors
/// 400 naming `place` where it is no array, or longer.
pub fn elements<'a>(
    value: &'a RawValue,
    place: &str,
    max: usize,
) -> Result<Vec<&'a RawValue>, ApiError> {
    let mut reader = serde_json::Deserializer::from_str(value.get());
    match (&mut reader).deserialize_seq(ElementsVisitor { max }) {
        Ok(Some(elements)) => Ok(elements),
        Ok(None) => {
            let message = format!("'{place}' has too many elements: at most {max} are allowed.");
            Err(ApiError::invalid(place, message))
        }
        Err(_) => Err(wrong_type(place, "an array", value)),
    }
}

/// 400: the value at `place` should be of another type.
pub fn wrong_type(place: &str, expected: &str, found: &RawValue) -> ApiError {
    let found = kind(found);
    let message =
        format!("Invalid type for '{place}': expected {expected}, but got {found} instead.");
    ApiError::wrong_type(place, message)
}

/// What a JSON value is, in words.
pub fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ if whole(value.get()).is_some() => "an integer",
        _ => "a number",
    }
}

/// The whole number that a JSON number is, if it is one.
fn whole(text: &str) -> Option<i128> {
    if let Ok(number) = text.parse::<i128>() {
        return Some(number);
    }
    let number: f64 = serde_json::from_str(text).ok()?;
    // Above 2^53 not every whole number can be told apart; those are written without a point.
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i128)
}

/// Refuses bodies that nest deeper than any request does, before anything recurses on them.
fn check_depth(body: &[u8]) -> Result<(), ApiError> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in body {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_DEPTH_MAX {
            return Err(ApiError::bad_request(format!(
                "The request body is nested deeper than {JSON_DEPTH_MAX} levels."
            )));
        }
    }
    Ok(())
}

/// Errors of the JSON reader may quote the body: not at any length.
fn clipped(message: &str) -> String {
    const CHARS_MAX: usize = 200;
    message.chars().take(CHARS_MAX).collect()
}

/// An object's fields as text; of equal names the last one counts.
struct Object<'a>(BTreeMap<String, &'a RawValue>);

impl<'de> serde::Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((name, value)) = access.next_entry::<String, &'de RawValue>()? {
            map.insert(name, value);
            if map.len() > FIELDS_MAX {
                return Err(A::Error::custom("an object has too many fields"));
            }
        }
        Ok(Object(map))
    }
}

/// Elements as text; none where there are more than `max`.
struct ElementsVisitor {
    max: usize,
}

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        let mut more = false;
        while let Some(value) = access.next_element::<&'de RawValue>()? {
            more |= elements.len() >= self.max;
            if !more {
                elements.push(value);
            }
        }
        Ok((!more).then_some(elements))
    }
}

#[cfg(test)]
thread_local! {
    /// Fields of bodies that were asked for on this thread.
    static ASKED: std::cell::RefCell<std::collections::BTreeSet<String>> = Default::default();
}

/// What `parse` returns, and the fields of the body that it asked for.
#[cfg(test)]
pub fn asked_for<T>(parse: impl FnOnce() -> T) -> (std::collections::BTreeSet<String>, T) {
    ASKED.take();
    let parsed = parse();
    (ASKED.take(), parsed)
}
