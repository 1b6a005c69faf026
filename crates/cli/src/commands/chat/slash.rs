//! Turns a line that begins with a slash into a command of the chat.

/// What can be asked of the chat itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slash {
    /// What commands there are.
    Help,
    /// Shows (none), sets or (`off`) removes the system message.
    System(Option<String>),
    /// Forgets the conversation.
    Clear,
    /// Answers the last message once more.
    Regenerate,
    /// Speeds and sizes so far.
    Stats,
    /// Writes the conversation to a file.
    Save(String),
    /// Leaves.
    Quit,
}

/// Commands as they are typed, and what they do.
pub const COMMANDS: [(&str, &str); 7] = [
    ("/help", "this list"),
    ("/system TEXT", "how the model is to behave; without TEXT shows it, `off` removes it"),
    ("/clear", "forget the conversation"),
    ("/regenerate", "answer the last message once more"),
    ("/stats", "speed, tokens, memory so far"),
    ("/save FILE", "write the conversation to a file: Markdown, or JSON if it ends with .json"),
    ("/quit", "leave (as Ctrl-D does)"),
];

impl Slash {
    /// None where the text is a message for the model; an error where no command is so called.
    pub fn parse(text: &str) -> Option<Result<Slash, String>> {
        if !text.starts_with('/') {
            return None;
        }
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        let command = match (name, rest) {
            ("/help" | "/?", "") => Slash::Help,
            ("/system", "") => Slash::System(None),
            ("/system", text) => Slash::System(Some(text.to_owned())),
            ("/clear" | "/new", "") => Slash::Clear,
            ("/regenerate" | "/retry", "") => Slash::Regenerate,
            ("/stats", "") => Slash::Stats,
            ("/save", "") => return Some(Err("/save needs the name of a file".into())),
            ("/save", file) => Slash::Save(file.to_owned()),
            ("/quit" | "/exit" | "/bye", "") => Slash::Quit,
            _ => {
                let name: String = name.chars().take(40).filter(|c| !c.is_control()).collect();
                return Some(Err(format!(
                    "{name} is no command that can be given so; /help lists them. To send the \
                     line to the model, begin it with a space."
                )));
            }
        };
        Some(Ok(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_messages() {
        let parsed = |text| Slash::parse(text).and_then(Result::ok);
        assert_eq!(Slash::parse("Hello /help"), None);
        assert_eq!(Slash::parse(" /help"), None);
        assert_eq!(parsed("/help"), Some(Slash::Help));
        assert_eq!(parsed("/system Be\nbrief. "), Some(Slash::System(Some("Be\nbrief.".into()))));
        assert_eq!(parsed("/system"), Some(Slash::System(None)));
        assert_eq!(parsed("/save a b.md"), Some(Slash::Save("a b.md".into())));
        for bad in ["/", "/etc/passwd", "/clear now", "/save"] {
            assert!(matches!(Slash::parse(bad), Some(Err(_))), "{bad}");
        }
    }

    #[test]
    fn every_listed_command_exists() {
        for (name, _) in COMMANDS {
            assert!(matches!(Slash::parse(name), Some(Ok(_))), "{name}");
        }
    }
}
