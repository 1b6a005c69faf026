//! Turns the pages of a text into overlapping pieces that begin and end with sentences.
//!
//! The cuts depend on the text alone, so that what was computed for its pieces stays right.

use std::ops::Range;

/// Weight of a piece: some 300 tokens.
const WEIGHT: usize = 1200;

/// Weight of what a piece repeats of the one before it: what was cut in two is whole in one.
const OVERLAP: usize = 200;

/// A letter of Chinese, Japanese or Korean is about a token, four of other writings are one.
const WIDE_WEIGHT: usize = 4;

/// A piece of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The page, from 0.
    pub page: usize,
    /// Its bytes in the page's text.
    pub range: Range<usize>,
}

/// The pieces of all pages, in order. No piece goes over the end of a page, so that each is found
/// where its number says.
pub fn of(pages: &[String]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for (page, text) in pages.iter().enumerate() {
        let sentences = sentences(text);
        let mut first = 0;
        while first < sentences.len() {
            let (mut end, mut weight) = (first, 0);
            while end < sentences.len() && (end == first || weight + sentences[end].1 <= WEIGHT) {
                weight += sentences[end].1;
                end += 1;
            }
            let range = trimmed(text, sentences[first].0.start..sentences[end - 1].0.end);
            if !range.is_empty() {
                chunks.push(Chunk { page, range });
            }
            if end == sentences.len() {
                break;
            }
            // Back over as many sentences as the overlap holds, but never to where this one began.
            let (mut next, mut repeated) = (end, 0);
            while next > first + 1 && repeated + sentences[next - 1].1 <= OVERLAP {
                next -= 1;
                repeated += sentences[next].1;
            }
            first = next;
        }
    }
    chunks
}

/// Bytes of sentences with their weights; one that is too heavy for a piece is cut.
fn sentences(text: &str) -> Vec<(Range<usize>, usize)> {
    let mut found = Vec::new();
    let (mut start, mut weight) = (0, 0);
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        weight += if is_wide(letter) { WIDE_WEIGHT } else { 1 };
        let end = at + letter.len_utf8();
        let next = letters.peek().map(|(_, next)| *next);
        let ends = match letter {
            '。' | '！' | '？' | '\n' => true,
            '.' | '!' | '?' | ';' => next.is_none_or(char::is_whitespace),
            _ => false,
        };
        // A text without sentences is cut between words, and one without words anywhere.
        let heavy = weight >= WEIGHT / 2 && (letter.is_whitespace() || is_wide(letter));
        if ends || heavy || weight >= WEIGHT || next.is_none() {
            found.push((start..end, weight));
            (start, weight) = (end, 0);
        }
    }
    found
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let piece = &text[range.clone()];
    let start = range.start + (piece.len() - piece.trim_start().len());
    start..start + piece.trim().len()
}

/// Whether words of this writing are not told apart by spaces.
pub fn is_wide(letter: char) -> bool {
    matches!(letter, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}'
        | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_all_and_overlap() {
        let sentence = |number: usize| format!("Sentence {number} has some words in it. ");
        let english: String = (0..200).map(sentence).collect();
        let chinese = "注意力机制让模型关注输入的不同部分。".repeat(100);
        let solid = "x".repeat(5000);
        let pages = vec![english, String::new(), chinese, solid, "Short.".to_owned()];
        let chunks = of(&pages);
        for (page, text) in pages.iter().enumerate() {
            let own: Vec<_> = chunks.iter().filter(|chunk| chunk.page == page).collect();
            let mut reached = 0;
            for chunk in &own {
                assert!(text[reached.min(chunk.range.start)..chunk.range.start].trim().is_empty());
                assert!(chunk.range.end > reached, "each goes on");
                reached = chunk.range.end;
                let weight: usize = text[chunk.range.clone()]
                    .chars()
                    .map(|letter| if is_wide(letter) { WIDE_WEIGHT } else { 1 })
                    .sum();
                assert!(weight <= WEIGHT + WIDE_WEIGHT, "{weight}");
            }
            assert!(text[reached..].trim().is_empty());
        }
        let first: Vec<_> = chunks.iter().filter(|chunk| chunk.page == 0).collect();
        assert!(first.windows(2).all(|pair| pair[1].range.start < pair[0].range.end));
        assert_eq!(chunks, of(&pages));
        assert_eq!(chunks.iter().filter(|chunk| chunk.page == 4).count(), 1);
    }
}
