//! Turns letters with their places on a page into lines and paragraphs.
//!
//! Letters are taken in the order in which the page draws them: that is the order of reading for
//! what today's programs write, in columns too. Places only say where words, lines and paragraphs
//! end, in the direction of the writing, so that turned text is read as well.

/// A gap of this share of the letters' size is a space between words.
const WORD_GAP: f64 = 0.2;

/// A step across the line of this share of the size is another line; exponents are nearer.
const LINE_STEP: f64 = 0.6;

/// A step across of this many sizes is another paragraph.
const PARAGRAPH_STEP: f64 = 1.9;

/// A letter with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter<'a> {
    /// What it says; ligatures say more than one.
    pub text: &'a str,
    /// Where it begins, and where it ends.
    pub start: (f64, f64),
    /// See `start`.
    pub end: (f64, f64),
    /// Its size in the same units.
    pub size: f64,
}

/// The text of a page as it grows.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    /// Where the last letter ended, in which direction, and how large it was.
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    end: (f64, f64),
    /// Of length 1.
    direction: (f64, f64),
    size: f64,
}

impl Page {
    /// Adds the next letter that the page draws.
    pub fn push(&mut self, letter: &Letter<'_>) {
        let numbers = [letter.start.0, letter.start.1, letter.end.0, letter.end.1, letter.size];
        if numbers.iter().any(|number| !number.is_finite()) {
            return;
        }
        if let Some(last) = self.last {
            self.separate(last, letter);
        }
        let blank = letter.text.trim().is_empty();
        if !blank {
            for character in letter.text.chars() {
                push_plain(&mut self.text, character);
            }
        } else if !self.text.is_empty() && !self.text.ends_with([' ', '\n']) {
            self.text.push(' ');
        }
        let (x, y) = (letter.end.0 - letter.start.0, letter.end.1 - letter.start.1);
        let length = x.hypot(y);
        let before = self.last.map_or((1.0, 0.0), |last| last.direction);
        let direction = if length > 1e-6 { (x / length, y / length) } else { before };
        self.last = Some(Last { end: letter.end, direction, size: letter.size.abs().max(1e-6) });
    }

    /// Writes what stands between the last letter and the next: nothing, a space, an end of a line.
    fn separate(&mut self, last: Last, next: &Letter<'_>) {
        let (x, y) = (next.start.0 - last.end.0, next.start.1 - last.end.1);
        let along = x * last.direction.0 + y * last.direction.1;
        let across = (x * last.direction.1 - y * last.direction.0).abs();
        let size = last.size.max(next.size.abs());
        if across > LINE_STEP * size || along < -2.0 * size {
            let paragraph = across > PARAGRAPH_STEP * size;
            self.end_line(paragraph);
        } else if along > WORD_GAP * last.size.min(next.size.abs())
            && !self.text.ends_with([' ', '\n'])
            && !next.text.starts_with(' ')
        {
            self.text.push(' ');
        }
    }

    fn end_line(&mut self, paragraph: bool) {
        while self.text.ends_with(' ') {
            self.text.pop();
        }
        if self.text.is_empty() {
            return;
        }
        let wanted = if paragraph { 2 } else { 1 };
        let there = self.text.chars().rev().take_while(|it| *it == '\n').count();
        self.text.extend(std::iter::repeat_n('\n', wanted - there.min(wanted)));
    }

    /// Bytes of the text so far.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The text, with words whole that a line's end had cut.
    pub fn finish(self) -> String {
        joined(self.text.trim())
    }
}

/// Ligatures of print are letters again, so that words are found.
fn push_plain(text: &mut String, character: char) {
    match character {
        '\u{fb00}' => text.push_str("ff"),
        '\u{fb01}' => text.push_str("fi"),
        '\u{fb02}' => text.push_str("fl"),
        '\u{fb03}' => text.push_str("ffi"),
        '\u{fb04}' => text.push_str("ffl"),
        '\u{fb05}' | '\u{fb06}' => text.push_str("st"),
        '\u{a0}' => text.push(' '),
        character if character.is_control() => {}
        character => text.push(character),
    }
}

/// `exam-` at a line's end and `ple` at the next one's beginning are one word.
fn joined(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for line in text.split('\n') {
        let line = line.trim_end();
        let begins_low = line.chars().next().is_some_and(char::is_lowercase);
        let mut before = whole.strip_suffix('\n').unwrap_or(&whole).chars().rev();
        let cut = match before.next() {
            Some('\u{ad}') => true,
            Some('-' | '\u{2010}') => before.next().is_some_and(char::is_lowercase) && begins_low,
            _ => false,
        };
        if cut {
            whole.pop();
            whole.pop();
        }
        whole.push_str(line);
        whole.push('\n');
    }
    whole.truncate(whole.trim_end().len());
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of letters of size 10, each 5 wide.
    fn write(page: &mut Page, text: &str, x: f64, y: f64) {
        for (index, character) in text.chars().enumerate() {
            let at = x + 5.0 * index as f64;
            let text = character.to_string();
            page.push(&Letter { text: &text, start: (at, y), end: (at + 5.0, y), size: 10.0 });
        }
    }

    #[test]
    fn gaps_are_spaces_and_steps_are_lines() {
        let mut page = Page::default();
        write(&mut page, "two", 0.0, 100.0);
        write(&mut page, "words", 18.0, 100.0);
        write(&mut page, "exam-", 0.0, 88.0);
        write(&mut page, "ple \u{fb01}t", 0.0, 76.0);
        write(&mut page, "Next", 0.0, 40.0);
        write(&mut page, "column", 300.0, 100.0);
        assert_eq!(page.finish(), "two words\nexample fit\n\nNext\n\ncolumn");
    }

    #[test]
    fn turned_text_and_odd_places_are_read() {
        let mut page = Page::default();
        for (index, text) in ["u", "p"].into_iter().enumerate() {
            let at = 5.0 * index as f64;
            page.push(&Letter { text, start: (9.0, at), end: (9.0, at + 5.0), size: 10.0 });
        }
        page.push(&Letter { text: "x", start: (f64::NAN, 0.0), end: (0.0, 0.0), size: 1.0 });
        page.push(&Letter { text: "!", start: (9.0, 10.0), end: (9.0, 10.0), size: 0.0 });
        assert_eq!(page.finish(), "up!");
    }
}
