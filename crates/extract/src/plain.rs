//! Turns the bytes of a text in any common encoding into a text with plain line ends.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::Encoding;

use crate::ExtractError;
use crate::limits::TEXT_BYTES_MAX;

/// The text: as its byte order mark says, or UTF-8, or what its bytes are most likely in (GBK,
/// Shift_JIS, Windows-1252 …).
///
/// # Errors
/// [`ExtractError::Long`], before anything is made of it.
pub fn text(bytes: &[u8]) -> Result<String, ExtractError> {
    // No encoding that is guessed needs less than a third of its bytes in UTF-8.
    if bytes.len() / 3 > TEXT_BYTES_MAX {
        return Err(ExtractError::Long { limit: TEXT_BYTES_MAX });
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}').into(),
        Err(_) => {
            // A byte order mark counts before the guess.
            let (text, _, _) = guess(bytes).decode(bytes);
            text
        }
    };
    Ok(tidied(&text))
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    detector.guess(None, Utf8Detection::Deny)
}

/// Line ends are `\n`, and of the other controls only tabs stay.
pub fn tidied(text: &str) -> String {
    let mut tidied = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' => {
                letters.next_if_eq(&'\n');
                tidied.push('\n');
            }
            '\u{c}' => tidied.push('\n'),
            '\n' | '\t' => tidied.push(letter),
            letter if letter.is_control() => {}
            letter => tidied.push(letter),
        }
    }
    tidied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_told_apart() {
        let utf16 = |text: &str, order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            text.encode_utf16().flat_map(order).collect()
        };
        let french = "L\u{2019}été dernier, nous étions à la plage près de \
                      Béziers, où l\u{2019}eau était tiède.";
        let chinese = "注意力机制让模型在生成每个词时关注输入的不同部分。这是一个测试文件。";
        let (windows, _, _) = encoding_rs::WINDOWS_1252.encode(french);
        let (gbk, _, _) = encoding_rs::GBK.encode(chinese);
        for (bytes, right) in [
            (french.as_bytes().to_vec(), french),
            ([b"\xef\xbb\xbf", chinese.as_bytes()].concat(), chinese),
            ([b"\xff\xfe".to_vec(), utf16(chinese, u16::to_le_bytes)].concat(), chinese),
            ([b"\xfe\xff".to_vec(), utf16(french, u16::to_be_bytes)].concat(), french),
            (windows.into_owned(), french),
            (gbk.into_owned(), chinese),
        ] {
            assert_eq!(text(&bytes).unwrap(), right);
        }
    }

    #[test]
    fn lines_end_alike_and_controls_are_gone() {
        assert_eq!(text(b"a\r\nb\rc\nd\te\x1b[0m\x0cf").unwrap(), "a\nb\nc\nd\te[0m\nf");
        let long = vec![b'a'; TEXT_BYTES_MAX * 3 + 3];
        assert_eq!(text(&long), Err(ExtractError::Long { limit: TEXT_BYTES_MAX }));
    }
}
