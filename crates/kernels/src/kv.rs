//! Turns keys and values of tokens into pages of half floats that attention reads back.
//!
//! A page holds [`PAGE_TOKENS`] tokens of all layers, each of its own shape. For each layer and kv
//! head it has one block:
//!
//! - keys, `[key_size][PAGE_TOKENS]`: sixteen scores come out of one register, without a sum
//!   across its lanes, and the page is read from its first byte to its last;
//! - values, `[PAGE_TOKENS][value_stride]`, the value size rounded up to whole registers.

use crate::compute::Compute;
use crate::lanes::Lanes;
use crate::level::leveled;
use crate::memory::Memory;
use crate::pool::Shares;
use std::fmt;

/// Tokens in one page of the cache.
pub const PAGE_TOKENS: usize = 32;

/// Tokens whose scores are computed side by side: the lanes of a register.
pub(crate) const GROUP_TOKENS: usize = 16;

/// Widest key, a multiple of [`GROUP_TOKENS`]: a buffer of this size stands on the stack. It is
/// DeepSeek's latent of 512 with its 64 turned numbers.
const KEY_SIZE_MAX: usize = 576;

/// Widest value: the parts of 32 queries fill 64 KiB.
const VALUE_SIZE_MAX: usize = 512;

/// The largest finite half float. Larger keys and values are stored as it: an infinity would turn
/// every later token of the sequence into NaN.
const HALF_MAX: f32 = 65504.0;

/// Stored numbers below which waking the other threads costs more than it saves (~5 µs of work).
const PARALLEL_MIN: usize = 16 << 10;

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
    /// A size that no layer can have.
    Layer {
        /// Which layer.
        layer: usize,
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
        /// Bytes of one page (`usize::MAX` if that itself is no number).
        bytes_per_page: usize,
    },
    /// The system did not give the memory.
    OutOfMemory {
        /// Bytes that were wanted.
        bytes: usize,
    },
}

impl fmt::Display for KvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KvError::Shape { field, value, right } => {
                write!(f, "KV cache: {field} is {value}, must be {right}")
            }
            KvError::Layer { layer, field, value, right } => {
                write!(f, "KV cache: {field} of layer {layer} is {value}, must be {right}")
            }
            KvError::TooLarge { pages, bytes_per_page } => write!(
                f,
                "KV cache: {pages} pages of {bytes_per_page} bytes are more than can be addressed; \
                 ask for fewer pages"
            ),
            KvError::OutOfMemory { bytes } => write!(
                f,
                "KV cache: the system has no {bytes} bytes ({} MiB) to give; ask for fewer pages",
                bytes >> 20
            ),
        }
    }
}

impl std::error::Error for KvError {}

/// Keys and values of all layers, in pages of [`PAGE_TOKENS`] tokens, as half floats.
pub struct KvCache {
    memory: Memory,
    pages: usize,
    /// Halves of one page, all layers together.
    page_halves: usize,
    layers: Vec<Layer>,
}

/// What one layer keeps of each token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Heads that keys and values have; several query heads may share one.
    pub kv_heads: usize,
    /// Width of a key, from 1 to 576.
    pub key_size: usize,
    /// Width of a value, up to 512; 0 where only scores are wanted.
    pub value_size: usize,
}

/// One layer, and where its blocks begin in each page.
#[derive(Clone, Copy)]
struct Layer {
    shape: KvShape,
    offset: usize,
}

/// In halves, for a shape that was checked.
impl KvShape {
    /// From one token's values to the next.
    pub(crate) fn value_stride(self) -> usize {
        self.value_size.next_multiple_of(GROUP_TOKENS)
    }

    /// The keys of one block.
    pub(crate) fn key_halves(self) -> usize {
        PAGE_TOKENS * self.key_size
    }

    /// One block: keys, then values.
    pub(crate) fn block_halves(self) -> usize {
        self.key_halves() + PAGE_TOKENS * self.value_stride()
    }

    /// Whether the kernels can work with it.
    fn check(self, layer: usize) -> Result<(), KvError> {
        let KvShape { kv_heads, key_size, value_size } = self;
        let (field, value, right) = if kv_heads == 0 {
            ("kv_heads", kv_heads, "at least 1")
        } else if !(1..=KEY_SIZE_MAX).contains(&key_size) {
            ("key_size", key_size, "from 1 to 576")
        } else if value_size > VALUE_SIZE_MAX {
            ("value_size", value_size, "at most 512")
        } else {
            return Ok(());
        };
        Err(KvError::Layer { layer, field, value, right })
    }
}

impl KvCache {
    /// A cache of zeros with a layer for each shape; memory is taken page by page as tokens are
    /// stored.
    ///
    /// # Errors
    ///
    /// [`KvError`] where a size is out of range or the system has not so much memory.
    pub fn new(layers: &[KvShape], pages: usize) -> Result<KvCache, KvError> {
        let check = |field, value: usize, good: bool, right| {
            if good { Ok(()) } else { Err(KvError::Shape { field, value, right }) }
        };
        check("layers", layers.len(), !layers.is_empty(), "at least 1")?;
        check("pages", pages, pages > 0 && u32::try_from(pages).is_ok(), "from 1 to 2^32 - 1")?;
        layers.iter().enumerate().try_for_each(|(layer, shape)| shape.check(layer))?;

        let bytes_per_page = KvCache::bytes_per_page(layers);
        let bytes = bytes_per_page
            .checked_mul(pages)
            .filter(|&bytes| bytes <= isize::MAX as usize)
            .ok_or(KvError::TooLarge { pages, bytes_per_page })?;
        let memory = Memory::zeroed(bytes).ok_or(KvError::OutOfMemory { bytes })?;
        let mut page_halves = 0;
        let layers = layers.iter().map(|&shape| {
            let offset = page_halves;
            page_halves += shape.kv_heads * shape.block_halves();
            Layer { shape, offset }
        });
        let layers = layers.collect();
        Ok(KvCache { memory, pages, page_halves, layers })
    }

    /// Pages that the cache has.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Bytes that one page takes, all layers together; `usize::MAX` if that is no number.
    pub fn bytes_per_page(layers: &[KvShape]) -> usize {
        let bytes = layers.iter().map(|shape| {
            let value_stride =
                shape.value_size.saturating_add(GROUP_TOKENS - 1) / GROUP_TOKENS * GROUP_TOKENS;
            let token = shape.key_size.saturating_add(value_stride);
            token.saturating_mul(size_of::<u16>() * PAGE_TOKENS).saturating_mul(shape.kv_heads)
        });
        bytes.fold(0, usize::saturating_add)
    }

    /// Stores the keys and values of `rows`. `k`: [rows, kv_heads * key_size], `k_stride` floats
    /// from one row to the next, `v` the same with `value_size`: they may overlap, and `v` may be
    /// empty where values have no width. Numbers beyond the range of a half float are stored as
    /// its ends.
    ///
    /// # Panics
    ///
    /// If the layer, a page, a slot or the slices are outside the sizes of the cache.
    pub fn store(
        &mut self,
        compute: &Compute,
        layer: usize,
        rows: &[RowSlot],
        k: &[f32],
        k_stride: usize,
        v: &[f32],
        v_stride: usize,
    ) {
        let Some(last) = rows.len().checked_sub(1) else { return };
        let shape = self.shape(layer);
        let KvShape { kv_heads, key_size, value_size } = shape;
        let fits = |x: &[f32], stride: usize, size: usize| {
            size == 0 || last * stride + kv_heads * size <= x.len()
        };
        assert!(rows.iter().all(|row| (row.page as usize) < self.pages), "page out of range");
        assert!(rows.iter().all(|row| (row.slot as usize) < PAGE_TOKENS), "slot out of range");
        assert!(fits(k, k_stride, key_size), "keys are too short");
        assert!(fits(v, v_stride, value_size), "values are too short");

        let blocks: Vec<usize> = rows.iter().map(|row| self.block(row.page, layer, 0)).collect();
        let halves = Shares::new(self.memory.halves_mut());
        let places = || rows.iter().zip(&blocks).map(|(row, block)| (row.slot as usize, *block));
        let store_keys = |head: usize| {
            for (row, (slot, block)) in places().enumerate() {
                let x = &k[row * k_stride + head * key_size..][..key_size];
                let start = block + head * shape.block_halves();
                // SAFETY: the keys of this head, which only this task writes.
                let keys = unsafe { halves.slice(start, shape.key_halves()) };
                store_key(compute.kernels, x, keys, slot);
            }
        };
        let store_values = |head: usize| {
            for (row, (slot, block)) in places().enumerate() {
                let x = &v[row * v_stride + head * value_size..][..value_size];
                let values = block + head * shape.block_halves() + shape.key_halves();
                let start = values + slot * shape.value_stride();
                // SAFETY: the values of this head, which only this task writes.
                let value = unsafe { halves.slice(start, shape.value_stride()) };
                store_value(compute.kernels, x, value);
            }
        };
        // Keys and values of each head are tasks of their own: no two write the same place, even
        // if two rows name the same slot.
        let tasks = if value_size == 0 { kv_heads } else { 2 * kv_heads };
        let task = |task: usize, _worker: usize| match task.checked_sub(kv_heads) {
            None => store_keys(task),
            Some(head) => store_values(head),
        };
        if rows.len() * kv_heads * key_size.max(value_size) < PARALLEL_MIN {
            (0..tasks).for_each(|index| task(index, 0));
        } else {
            compute.pool.run(tasks, &task);
        }
    }

    /// Copies all layers of page `from` onto page `to`.
    ///
    /// # Panics
    ///
    /// If a page is not below [`Self::pages`].
    pub fn copy_page(&mut self, from: u32, to: u32) {
        let (from, to) = (from as usize, to as usize);
        assert!(from < self.pages && to < self.pages, "pages {from}, {to} of {}", self.pages);
        let length = self.page_halves;
        self.memory.halves_mut().copy_within(from * length..(from + 1) * length, to * length);
    }

    /// Where the block of a page, layer and kv head begins in [`Self::halves`].
    pub(crate) fn block(&self, page: u32, layer: usize, kv_head: usize) -> usize {
        let Layer { shape, offset } = self.layers[layer];
        page as usize * self.page_halves + offset + kv_head * shape.block_halves()
    }

    /// The memory of all pages: [page][layer][kv head][block].
    pub(crate) fn halves(&self) -> &[u16] {
        self.memory.halves()
    }

    pub(crate) fn shape(&self, layer: usize) -> KvShape {
        assert!(layer < self.layers.len(), "layer {layer} of {}", self.layers.len());
        self.layers[layer].shape
    }
}

leveled!(fn store_value(kernels, x: &[f32], to: &mut [u16]) = convert);
leveled!(fn store_key(kernels, x: &[f32], keys: &mut [u16], token: usize) = convert_apart);

/// x: [n] → halves: [n rounded up to 16], zeros behind.
///
/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn convert<V: Lanes>(x: &[f32], halves: &mut [u16]) {
    for (x, halves) in x.chunks(GROUP_TOKENS).zip(halves.chunks_exact_mut(GROUP_TOKENS)) {
        // SAFETY: `x` has `x.len()` floats, at most 16, and `halves` sixteen halves.
        unsafe {
            let lanes = V::load_first(x.as_ptr(), x.len());
            // A NaN is the second operand of both, and passes.
            let lanes = V::splat(-HALF_MAX).max(V::splat(HALF_MAX).min(lanes));
            lanes.store_f16(halves.as_mut_ptr());
        }
    }
}

/// x: [key_size] → column `token` of keys: [key_size][PAGE_TOKENS].
///
/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn convert_apart<V: Lanes>(x: &[f32], keys: &mut [u16], token: usize) {
    let mut halves = [0; KEY_SIZE_MAX];
    // SAFETY: passed on.
    unsafe { convert::<V>(x, &mut halves) };
    for (key, half) in keys.chunks_exact_mut(PAGE_TOKENS).zip(&halves[..x.len()]) {
        key[token] = *half;
    }
}

#[cfg(test)]
mod tests;
