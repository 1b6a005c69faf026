//! Turns keys and values of tokens into pages of half floats that attention reads back.

use crate::compute::Compute;

/// Tokens in one page of the cache.
pub const PAGE_TOKENS: usize = 32;

/// Where one token's keys and values stand: the page and the token's place inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSlot {
    /// Page number, below [`KvCache::pages`].
    pub page: u32,
    /// Place in the page, below [`PAGE_TOKENS`].
    pub slot: u32,
}

/// Why a cache could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvError {
    /// A size that no cache can have.
    Shape {
        /// Which size.
        field: &'static str,
        /// What was asked for.
        value: usize,
        /// What would have been right.
        right: &'static str,
    },
    /// The sizes multiply to more bytes than a machine can address.
    TooLarge {
        /// Pages asked for.
        pages: usize,
        /// Bytes of one page, if that itself is a number.
        bytes_per_page: Option<usize>,
    },
    /// The system did not give the memory.
    OutOfMemory {
        /// Bytes that were wanted.
        bytes: usize,
    },
}

/// Keys and values of all layers, in pages of [`PAGE_TOKENS`] tokens, as half floats.
pub struct KvCache {}

impl KvCache {
    /// A cache of zeros; memory is taken page by page as tokens are stored.
    pub fn new(
        _layers: usize,
        _pages: usize,
        _kv_heads: usize,
        _head_size: usize,
    ) -> Result<KvCache, KvError> {
        todo!()
    }

    /// Pages that the cache has.
    pub fn pages(&self) -> usize {
        todo!()
    }

    /// Bytes that one page takes, all layers together.
    pub fn bytes_per_page(_layers: usize, _kv_heads: usize, _head_size: usize) -> usize {
        todo!()
    }

    /// Stores the keys and values of `rows`, both [rows, kv_heads * head_size], `stride` floats
    /// from one row to the next.
    pub fn store(
        &mut self,
        _compute: &Compute,
        _layer: usize,
        _rows: &[RowSlot],
        _k: &[f32],
        _v: &[f32],
        _stride: usize,
    ) {
        todo!()
    }

    /// Copies all layers of page `from` onto page `to`.
    pub fn copy_page(&mut self, _from: u32, _to: u32) {
        todo!()
    }
}
