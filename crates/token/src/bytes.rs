//! Bytes into the visible characters that byte-level vocabularies write for them, and back.

/// The character that stands for each byte: printable Latin-1 for itself, the others from U+0100 on
/// (`bytes_to_unicode` of GPT-2).
pub(crate) fn byte_to_char(byte: u8) -> char {
    match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        0x00..=0x20 => shifted(u32::from(byte)),
        0x7f..=0xa0 => shifted(u32::from(byte) - 0x7f + 33),
        0xad => shifted(67),
    }
}

fn shifted(index: u32) -> char {
    char::from_u32(0x100 + index).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte that a character stands for, if it is one of the 256.
fn char_to_byte(c: char) -> Option<u8> {
    let code = u32::from(c);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x100 - 33 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// The bytes of an ordinary piece of a vocabulary. A piece with a character that stands for no byte
/// means its own UTF-8, as in `tokenizers`.
pub(crate) fn piece_bytes(piece: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = piece.chars().map(char_to_byte).collect();
    bytes.unwrap_or_else(|| piece.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character() {
        for byte in 0..=255u8 {
            assert_eq!(char_to_byte(byte_to_char(byte)), Some(byte), "byte {byte:#04x}");
        }
        assert_eq!(byte_to_char(b' '), 'Ġ');
        assert_eq!(byte_to_char(b'\n'), 'Ċ');
        assert_eq!(byte_to_char(0xad), 'Ń');
        assert_eq!(char_to_byte('Ņ'), None);
    }

    #[test]
    fn a_piece_of_other_characters_means_itself() {
        assert_eq!(piece_bytes("Ġthe"), b" the");
        assert_eq!(piece_bytes("▁the"), "▁the".as_bytes());
    }
}
