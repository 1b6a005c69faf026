//! Turns arbitrary files into text within limits, or a typed error; the reader of PDFs is not ours.
#![no_main]

use libfuzzer_sys::fuzz_target;
use myriad_extract::layout::{Letter, Page};
use myriad_extract::limits::TEXT_BYTES_MAX;
use myriad_extract::{Kind, extract, kind};

const NAMES: [&str; 4] = ["a.txt", "a.docx", "a.csv", "Makefile"];

// The first byte chooses the name; one more that it has is letters on a page, six bytes each.
fuzz_target!(|data: &[u8]| {
    let [choice, bytes @ ..] = data else { return };
    let Some(name) = NAMES.get(usize::from(*choice) % (NAMES.len() + 1)) else {
        return lay_out(bytes);
    };
    if kind::of(name, bytes) == Ok(Kind::Pdf) {
        return;
    }
    if let Ok(text) = extract(name, bytes.to_vec()) {
        let text = text.pages.concat();
        assert!(text.len() <= TEXT_BYTES_MAX && !text.trim().is_empty());
        assert!(!text.chars().any(|letter| letter.is_control() && !"\n\t".contains(letter)));
    }
});

fn lay_out(bytes: &[u8]) {
    let mut page = Page::default();
    for letter in bytes.chunks_exact(6) {
        let number = |index: usize| f64::from(letter[index] as i8) * 3.0;
        let text = String::from_utf8_lossy(&letter[..1]);
        let (start, end) = ((number(1), number(2)), (number(3), number(4)));
        page.push(&Letter { text: &text, start, end, size: number(5) });
    }
    let text = page.finish();
    assert!(text.len() <= 8 * bytes.len() && !text.contains("\n\n\n"));
}
