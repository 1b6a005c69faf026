//! Texts of tokens into their ids.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// A table from texts to ids that holds no text of its own.
pub(crate) struct PieceIndex {
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl PieceIndex {
    /// Of equal texts the first token stays.
    pub(crate) fn new(tokens: &[String]) -> PieceIndex {
        let hasher = DefaultHashBuilder::default();
        let hash = |id: &u32| hasher.hash_one(tokens[*id as usize].as_str());
        let mut table = HashTable::with_capacity(tokens.len());
        for (id, piece) in (0u32..).zip(tokens) {
            let same = |other: &u32| tokens[*other as usize] == *piece;
            table.entry(hash(&id), same, hash).or_insert(id);
        }
        PieceIndex { table, hasher }
    }

    /// The token with this text among those that the table was made of.
    pub(crate) fn find(&self, tokens: &[String], piece: &str) -> Option<u32> {
        let same = |id: &u32| tokens[*id as usize] == piece;
        self.table.find(self.hasher.hash_one(piece), same).copied()
    }
}
