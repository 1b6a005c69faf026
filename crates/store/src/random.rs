//! Turns the operating system's randomness into names and secrets.

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// So many letters and digits, each of 62 equally likely ones: 5.95 bits each.
///
/// # Panics
/// Where the operating system has no randomness: nothing that needs a secret may go on then.
pub fn letters(count: usize) -> String {
    let mut text = String::with_capacity(count);
    while text.len() < count {
        // 248 = 4 · 62: what lies above would make the first letters likelier.
        let fair = bytes().into_iter().filter(|byte| *byte < 248);
        let fair = fair.map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
        text.extend(fair.take(count - text.len()));
    }
    text
}

/// 32 random bytes.
///
/// # Panics
/// As [`letters`].
pub fn bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_many_and_fair() {
        let text = letters(62_000);
        assert_eq!(text.len(), 62_000);
        for letter in LETTERS {
            let count = text.bytes().filter(|byte| byte == letter).count();
            // 1,000 are expected; eight standard deviations are 250.
            assert!((750..1250).contains(&count), "{} came {count} times", char::from(*letter));
        }
    }
}
