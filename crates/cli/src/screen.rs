//! Turns results, notes, errors and progress into what a person or a pipe sees.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Standard output, for results. `println!` would panic where the reader has gone.
pub fn output() -> Output {
    Output(io::stdout())
}

/// Standard output whose closed end can be told from every other broken pipe.
pub struct Output(io::Stdout);

/// The reader of our standard output has gone.
#[derive(Debug)]
struct ClosedOutput;

impl Display for ClosedOutput {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the reader of the output has gone")
    }
}

impl std::error::Error for ClosedOutput {}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(closed)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(closed)
    }
}

fn closed(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(error.kind(), ClosedOutput),
        _ => error,
    }
}

/// Whether an error says no more than that nobody reads our output any longer.
pub fn is_closed_output(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.is_some_and(|inner| inner.is::<ClosedOutput>())
    })
}

/// A line on standard error. That nobody can read it is no reason to stop.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// An error as one line, and below it what to do next, where the error says so.
pub fn error(error: &anyhow::Error) {
    let text = one_text(error);
    let mut lines = text.lines();
    note(format!("error: {}", lines.next().unwrap_or_default()));
    lines.for_each(|line| note(format!("  {line}")));
}

/// The messages of an error and its causes; a cause whose words are there already says nothing new.
pub fn one_text(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// An error message with what to do next on the lines below it.
pub fn advise(message: impl Display, next: impl Display) -> anyhow::Error {
    anyhow::anyhow!("{message}\n{next}")
}

/// Whether people read standard output.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard error may have colours and bars.
pub fn is_fancy() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Text of a model or a stranger for a terminal: without the characters that would steer it.
pub fn harmless(text: &str) -> String {
    text.chars().filter(|&shown| !shown.is_control() || shown == '\n' || shown == '\t').collect()
}

/// A size for people, in decimal units as on disks.
pub fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        0.0..1e3 => format!("{bytes:.0} bytes"),
        1e3..1e6 => format!("{:.1} kB", bytes / 1e3),
        1e6..1e9 => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{:.2} GB", bytes / 1e9),
    }
}

/// A count for people: 8,192.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A bar for bytes that come or are read, with speed and time left. Hidden where nobody looks.
pub fn bytes_bar(total: u64, what: &str) -> ProgressBar {
    let bar = "{msg} {bar:28} {decimal_bytes} of {decimal_total_bytes}, \
               {decimal_bytes_per_sec}, {eta} left";
    styled(total, bar, what)
}

/// A bar for steps of equal size.
pub fn steps_bar(total: u64, what: &str) -> ProgressBar {
    styled(total, "{msg} {bar:28} {pos} of {len}, {eta} left", what)
}

fn styled(total: u64, template: &str, what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
    // A template that cannot be parsed leaves indicatif's own, which shows as much.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar.set_message(what.to_owned());
    bar
}

/// Seconds for people.
pub fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn sizes_and_counts_read_well() {
        assert_eq!(size(999), "999 bytes");
        assert_eq!(size(98_362_432), "98.4 MB");
        assert_eq!(size(2_500_000_000), "2.50 GB");
        assert_eq!(count(0), "0");
        assert_eq!(count(512), "512");
        assert_eq!(count(8192), "8,192");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn a_cause_is_told_once() {
        let inner = io::Error::other("no disk");
        let error = anyhow::Error::from(inner).context("writing x: no disk");
        assert_eq!(one_text(&error), "writing x: no disk");
        let error = Err::<(), _>(io::Error::other("no disk")).context("writing x").unwrap_err();
        assert_eq!(one_text(&error), "writing x: no disk");
    }

    #[test]
    fn only_our_own_output_counts_as_closed() {
        let network = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(!is_closed_output(&network));
        let ours = closed(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_closed_output(&anyhow::Error::from(ours).context("writing")));
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\r\u{9b}c\n\td"), "a[2Jbc\n\td");
    }
}
