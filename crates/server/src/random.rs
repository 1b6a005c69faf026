//! Turns the operating system's randomness into seeds and identifiers.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// A random number. Not for secrets.
///
/// The standard library keys its hash tables from the operating system's randomness, once per
/// thread; hashing a counter under such a key gives numbers that nobody can tell in advance.
pub fn number() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one(COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// `prefix` and 32 random hexadecimal digits, as OpenAI's identifiers look.
pub fn identifier(prefix: &str) -> String {
    format!("{prefix}{:016x}{:016x}", number(), number())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_differ_and_have_their_shape() {
        let ids: Vec<String> = (0..1000).map(|_| identifier("chatcmpl-")).collect();
        assert!(ids.iter().all(|id| id.len() == "chatcmpl-".len() + 32));
        let mut unique = ids.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), ids.len());
    }
}
