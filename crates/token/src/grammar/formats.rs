//! Names of formats and patterns into what can be enforced of them.

/// What is done about a format.
pub(super) enum Format {
    /// The compiler knows it.
    Enforced,
    /// The compiler knows it, but not this pattern, which its values follow too.
    EnforcedWith(&'static str),
    /// JSON Schema defines it, but it cannot be enforced.
    Unknown,
    /// JSON Schema does not define it: an annotation.
    Annotation,
}

/// Days that exist: the 29th of February in leap years alone (RFC 3339, appendix C).
const DATE: &str = concat!(
    "^(?:[0-9]{4}-(?:0[13-9]|1[0-2])-[0-9]{2}|[0-9]{4}-02-(?:[01][0-9]|2[0-8])",
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)",
);

/// No leap seconds: those that existed are not known here. An offset has its colon.
const TIME: &str = "^[0-9]{2}:[0-9]{2}:[0-5]";

/// [`DATE`] and [`TIME`] together.
const DATE_TIME: &str = concat!(
    "^(?:[0-9]{4}-(?:0[13-9]|1[0-2])-[0-9]{2}|[0-9]{4}-02-(?:[01][0-9]|2[0-8])",
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)",
    "[tT][0-9]{2}:[0-9]{2}:[0-5]",
);

/// Up to three labels, for 253 bytes, without `--` at their third and fourth place, where those of
/// other scripts are marked.
const HOSTNAME: &str = concat!(
    r"^(?:[^.]{1,2}|[^.]{2}[^-.][^.]*|[^.]{3}[^-.][^.]*)",
    r"(?:\.(?:[^.]{1,2}|[^.]{2}[^-.][^.]*|[^.]{3}[^-.][^.]*)){0,2}$",
);

/// A part before the `@` of up to 64 bytes and a domain of up to two labels.
const EMAIL: &str = r"^[^@]{1,64}@[a-zA-Z0-9]{1,63}(?:\.[a-zA-Z0-9]{1,63}){0,2}$";

/// A host that is a name or nothing: what stands in brackets is not looked at closely enough.
const URI: &str = r"^[^\[\]]*$";

/// What can be enforced of a format.
pub(super) fn format(name: &str) -> Format {
    match name {
        "date" => Format::EnforcedWith(DATE),
        "time" => Format::EnforcedWith(TIME),
        "date-time" => Format::EnforcedWith(DATE_TIME),
        "hostname" => Format::EnforcedWith(HOSTNAME),
        "email" => Format::EnforcedWith(EMAIL),
        "uri" => Format::EnforcedWith(URI),
        "duration" | "ipv4" | "ipv6" | "uuid" => Format::Enforced,
        "idn-email"
        | "idn-hostname"
        | "iri"
        | "iri-reference"
        | "uri-reference"
        | "uri-template"
        | "json-pointer"
        | "relative-json-pointer"
        | "regex" => Format::Unknown,
        _ => Format::Annotation,
    }
}

/// White space and the ends of lines of ECMA 262, as the inside of a class.
const SPACE: &str = r"\t-\r\x20\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff";
const LINE_ENDS: &str = r"\n\r\u2028\u2029";

/// A pattern of JSON Schema (ECMA 262) in the syntax of the compiler (Rust's `regex-syntax`).
///
/// # Errors
/// What it has that means something else there.
pub(super) fn translated(pattern: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(pattern.len());
    let mut class = false;
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied();
        match c {
            '\\' => {
                rest.next();
                match next {
                    Some('s') if class => out.push_str(SPACE),
                    Some('s') => out.extend(["[", SPACE, "]"]),
                    Some('S') if class => return Err(r"'\S' within a class"),
                    Some('S') => out.extend(["[^", SPACE, "]"]),
                    Some('A' | 'z' | 'Z' | 'a' | '<' | '>') => return Err("an escape of its own"),
                    Some('b' | 'B') => return Err("word boundaries"),
                    Some('0'..='9' | 'k' | 'c') => return Err("references and control escapes"),
                    Some(escaped) => out.extend(['\\', escaped]),
                    None => return Err("an escape without an end"),
                }
                continue;
            }
            '.' if !class => {
                out.extend(["[^", LINE_ENDS, "]"]);
                continue;
            }
            '[' if class => return Err("'[' within a class"),
            '[' => {
                class = true;
                out.push('[');
                let inverted = rest.next_if_eq(&'^').is_some();
                out.push_str(if inverted { "^" } else { "" });
                if rest.peek() == Some(&']') {
                    return Err("an empty class");
                }
                continue;
            }
            ']' => class = false,
            '&' | '~' | '-' if class && next == Some(c) => return Err("operators within a class"),
            '(' if !class && next == Some('?') => {
                let mut after = rest.clone();
                after.next();
                if after.next() != Some(':') {
                    return Err("groups that look around, have names or set flags");
                }
            }
            _ => {}
        }
        out.push(c);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_else_is_found() {
        for same in ["^[a-z]+$", r"\d{3}-\d{4}", "^(?:a|b)*$", r"^[\w.-]+@[\w-]+\[\w+$", "^é+$"] {
            assert_eq!(translated(same), Ok(same.to_owned()));
        }
        assert_eq!(translated(r"a.[.\s]"), Ok(format!("a[^{LINE_ENDS}][.{SPACE}]")));
        assert_eq!(translated(r"\S\."), Ok(format!(r"[^{SPACE}]\.")));
        for foreign in [
            r"\bword\b",
            "[[:alpha:]]",
            "[a-z&&b]",
            "(?=x)",
            "(?i)x",
            r"(a)\1",
            r"\Ax",
            "(?<n>x)",
            "[^]x]",
            "[]",
            "a\\",
            r"[\S]",
        ] {
            assert!(translated(foreign).is_err(), "{foreign}");
        }
    }
}
