//! Turns keys and values of tokens into pages of half floats that attention reads back.
//!
//! A page holds [`PAGE_TOKENS`] tokens of all layers. For each layer and kv head it has one block:
//!
//! - keys, `[head_size][PAGE_TOKENS]`: sixteen scores come out of one register, without a sum
//!   across its lanes, and the page is read from its first byte to its last;
//! - values, `[PAGE_TOKENS][value_stride]`, the head size rounded up to whole registers.

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

/// Largest head: scratch buffers in the kernels have this size.
pub(crate) const HEAD_SIZE_MAX: usize = 512;

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
    layers: usize,
    shape: HeadShape,
}

/// The sizes that the kernels need: one layer of one page is `kv_heads` blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadShape {
    pub(crate) kv_heads: usize,
    pub(crate) head_size: usize,
}

impl HeadShape {
    /// Halves from one token's values to the next.
    pub(crate) fn value_stride(self) -> usize {
        self.head_size.next_multiple_of(GROUP_TOKENS)
    }

    /// Halves of the keys of one block.
    pub(crate) fn key_halves(self) -> usize {
        PAGE_TOKENS * self.head_size
    }

    /// Halves of one block: keys, then values.
    pub(crate) fn block_halves(self) -> usize {
        self.key_halves() + PAGE_TOKENS * self.value_stride()
    }
}

impl KvCache {
    /// A cache of zeros; memory is taken page by page as tokens are stored.
    pub fn new(
        layers: usize,
        pages: usize,
        kv_heads: usize,
        head_size: usize,
    ) -> Result<KvCache, KvError> {
        let check = |field, value: usize, good: bool, right| {
            if good { Ok(()) } else { Err(KvError::Shape { field, value, right }) }
        };
        check("layers", layers, layers > 0, "at least 1")?;
        check("pages", pages, pages > 0 && u32::try_from(pages).is_ok(), "from 1 to 2^32 - 1")?;
        check("kv_heads", kv_heads, kv_heads > 0, "at least 1")?;
        let good = head_size > 0 && head_size.is_multiple_of(8) && head_size <= HEAD_SIZE_MAX;
        check("head_size", head_size, good, "a multiple of 8 up to 512")?;

        let bytes_per_page = KvCache::bytes_per_page(layers, kv_heads, head_size);
        let bytes = bytes_per_page
            .checked_mul(pages)
            .filter(|&bytes| bytes <= isize::MAX as usize)
            .ok_or(KvError::TooLarge { pages, bytes_per_page })?;
        let memory = Memory::zeroed(bytes).ok_or(KvError::OutOfMemory { bytes })?;
        Ok(KvCache { memory, pages, layers, shape: HeadShape { kv_heads, head_size } })
    }

    /// Pages that the cache has.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Bytes that one page takes, all layers together.
    pub fn bytes_per_page(layers: usize, kv_heads: usize, head_size: usize) -> usize {
        let value_stride = head_size.saturating_add(GROUP_TOKENS - 1) / GROUP_TOKENS * GROUP_TOKENS;
        let token = head_size.saturating_add(value_stride).saturating_mul(size_of::<u16>());
        token.saturating_mul(PAGE_TOKENS).saturating_mul(kv_heads).saturating_mul(layers)
    }

    /// Stores the keys and values of `rows`, both [rows, kv_heads * head_size], `stride` floats
    /// from one row to the next. Numbers beyond the range of a half float are stored as its ends.
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
        v: &[f32],
        stride: usize,
    ) {
        let Some(last) = rows.len().checked_sub(1) else { return };
        let shape = self.shape;
        let width = shape.kv_heads * shape.head_size;
        assert!(layer < self.layers, "layer {layer} of {}", self.layers);
        assert!(rows.iter().all(|row| (row.page as usize) < self.pages), "page out of range");
        assert!(rows.iter().all(|row| (row.slot as usize) < PAGE_TOKENS), "slot out of range");
        assert!(last * stride + width <= k.len().min(v.len()), "keys or values are too short");

        let blocks: Vec<usize> = rows.iter().map(|row| self.block(row.page, layer, 0)).collect();
        let halves = Shares::new(self.memory.halves_mut());
        // Keys and values of each head are tasks of their own: no two write the same place, even
        // if two rows name the same slot.
        let task = |task: usize, _worker: usize| {
            let (head, is_value) = (task / 2, task % 2 == 1);
            for (row, slot) in rows.iter().enumerate() {
                let start = row * stride + head * shape.head_size;
                let x = &(if is_value { v } else { k })[start..start + shape.head_size];
                let block = blocks[row] + head * shape.block_halves();
                let slot = slot.slot as usize;
                if is_value {
                    let start = block + shape.key_halves() + slot * shape.value_stride();
                    // SAFETY: the values of this head, which only this task writes.
                    store_value(compute.kernels, x, unsafe {
                        halves.slice(start, shape.value_stride())
                    });
                } else {
                    // SAFETY: the keys of this head, which only this task writes.
                    let keys = unsafe { halves.slice(block, shape.key_halves()) };
                    store_key(compute.kernels, x, keys, slot);
                }
            }
        };
        if rows.len() * width < PARALLEL_MIN {
            (0..2 * shape.kv_heads).for_each(|index| task(index, 0));
        } else {
            compute.pool.run(2 * shape.kv_heads, &task);
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
        let length = self.layers * self.shape.kv_heads * self.shape.block_halves();
        self.memory.halves_mut().copy_within(from * length..(from + 1) * length, to * length);
    }

    /// Where the block of a page, layer and kv head begins in [`Self::halves`].
    pub(crate) fn block(&self, page: u32, layer: usize, kv_head: usize) -> usize {
        let block = (page as usize * self.layers + layer) * self.shape.kv_heads + kv_head;
        block * self.shape.block_halves()
    }

    /// The memory of all pages: [page][layer][kv head][block].
    pub(crate) fn halves(&self) -> &[u16] {
        self.memory.halves()
    }

    pub(crate) fn shape(&self) -> HeadShape {
        self.shape
    }

    pub(crate) fn layers(&self) -> usize {
        self.layers
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

/// x: [head_size] → column `token` of keys: [head_size][PAGE_TOKENS].
///
/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn convert_apart<V: Lanes>(x: &[f32], keys: &mut [u16], token: usize) {
    let mut halves = [0; HEAD_SIZE_MAX];
    // SAFETY: passed on.
    unsafe { convert::<V>(x, &mut halves) };
    for (key, half) in keys.chunks_exact_mut(PAGE_TOKENS).zip(&halves[..x.len()]) {
        key[token] = *half;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::f16::{f16_to_f32, f32_to_f16};
    use crate::level::{Kernels, Level};

    impl KvCache {
        /// The stored key and value of a token, by the layout's description.
        fn read(&self, slot: RowSlot, layer: usize, kv_head: usize) -> (Vec<u16>, Vec<u16>) {
            let shape = self.shape;
            let block = &self.halves()[self.block(slot.page, layer, kv_head)..];
            let token = slot.slot as usize;
            let key = (0..shape.head_size).map(|d| block[d * PAGE_TOKENS + token]).collect();
            let value = PAGE_TOKENS * shape.head_size + token * shape.value_stride();
            (key, block[value..value + shape.head_size].to_vec())
        }
    }

    fn compute(level: Level, threads: usize) -> Compute {
        Compute::new(Kernels::at(level).expect("an available level"), threads)
    }

    #[test]
    fn what_is_stored_is_read_back() {
        for level in Level::available() {
            for (kv_heads, head_size, rows) in
                [(1, 8, 1), (3, 64, 5), (2, 72, 40), (3, 80, 70), (2, 128, 100), (1, 512, 33)]
            {
                let compute = compute(level, 2);
                let (layers, pages) = (2, 5);
                let mut cache = KvCache::new(layers, pages, kv_heads, head_size).expect("small");
                let stride = kv_heads * head_size + 3;
                let x = |i: usize| ((i * 7919) % 1009) as f32 / 31.0 - 16.0;
                let k: Vec<f32> = (0..rows * stride).map(x).collect();
                let v: Vec<f32> = (0..rows * stride).map(|i| x(i + 500)).collect();
                let slots: Vec<RowSlot> = (0..rows)
                    .map(|i| RowSlot { page: ((i * 3 / 32 + 1) % 5) as u32, slot: (i % 32) as u32 })
                    .collect();
                // Later rows may land on earlier ones: keep those that stay.
                cache.store(&compute, 1, &slots, &k, &v, stride);
                for (row, slot) in slots.iter().enumerate() {
                    if slots[row + 1..].contains(slot) {
                        continue;
                    }
                    for head in 0..kv_heads {
                        let at = row * stride + head * head_size;
                        let wanted = |x: &[f32]| -> Vec<u16> {
                            x[at..at + head_size].iter().map(|&x| f32_to_f16(x)).collect()
                        };
                        let (key, value) = cache.read(*slot, 1, head);
                        assert_eq!(key, wanted(&k), "{level:?} keys of row {row}");
                        assert_eq!(value, wanted(&v), "{level:?} values of row {row}");
                        let (key, value) = cache.read(*slot, 0, head);
                        assert!(key.iter().chain(&value).all(|&half| half == 0), "other layer");
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_that_no_half_holds() {
        for level in Level::available() {
            let mut cache = KvCache::new(1, 1, 1, 8).expect("small");
            let x =
                [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e9, -65520.0, 65504.0, 1e-30, -0.0];
            let slot = RowSlot { page: 0, slot: 17 };
            cache.store(&compute(level, 1), 0, &[slot], &x, &x, 8);
            let (key, value) = cache.read(slot, 0, 0);
            for halves in [key, value] {
                let back: Vec<f32> = halves.iter().map(|&half| f16_to_f32(half)).collect();
                assert!(back[2].is_nan(), "{level:?}");
                let others = [back[0], back[1], back[3], back[4], back[5], back[6], back[7]];
                assert_eq!(others, [65504.0, -65504.0, 65504.0, -65504.0, 65504.0, 0.0, -0.0]);
            }
        }
    }

    #[test]
    fn a_page_is_copied_with_all_layers() {
        let compute = compute(Level::Scalar, 1);
        let mut cache = KvCache::new(3, 4, 2, 16).expect("small");
        let x: Vec<f32> = (0..32).map(|i| i as f32).collect();
        for layer in 0..3 {
            cache.store(&compute, layer, &[RowSlot { page: 2, slot: 9 }], &x, &x, 32);
        }
        cache.copy_page(2, 0);
        cache.copy_page(1, 1);
        for layer in 0..3 {
            for head in 0..2 {
                let from = cache.read(RowSlot { page: 2, slot: 9 }, layer, head);
                assert_eq!(cache.read(RowSlot { page: 0, slot: 9 }, layer, head), from);
                assert_eq!(from.0[1], f32_to_f16((head * 16 + 1) as f32));
                let untouched = cache.read(RowSlot { page: 1, slot: 9 }, layer, head);
                assert_eq!(untouched.0, [0; 16]);
            }
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        let field = |result: Result<KvCache, KvError>| match result {
            Err(KvError::Shape { field, .. }) => field,
            Err(KvError::TooLarge { .. }) => "too large",
            Err(KvError::OutOfMemory { .. }) => "memory",
            Ok(_) => "fine",
        };
        assert_eq!(field(KvCache::new(0, 1, 1, 8)), "layers");
        assert_eq!(field(KvCache::new(1, 0, 1, 8)), "pages");
        assert_eq!(field(KvCache::new(1, 1 << 32, 1, 8)), "pages");
        assert_eq!(field(KvCache::new(1, 1, 0, 8)), "kv_heads");
        for size in [0, 4, 12, 520, usize::MAX] {
            assert_eq!(field(KvCache::new(1, 1, 1, size)), "head_size");
        }
        assert_eq!(field(KvCache::new(usize::MAX / 9, 9, 1, 64)), "too large");
        assert_eq!(field(KvCache::new(1 << 20, 1 << 22, 1, 64)), "memory");
        let message = KvCache::new(1 << 20, 1 << 22, 1, 64).err().expect("refused").to_string();
        assert!(message.contains("36028797018963968 bytes"), "{message}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_unused_cache_costs_nothing() {
        let resident_pages = || -> usize {
            let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
            text.split(' ').nth(1).expect("the second field").parse().expect("a number")
        };
        // 4 GiB of address space.
        let before = resident_pages();
        let Ok(mut cache) = KvCache::new(1, 1 << 17, 4, 64) else { return };
        assert_eq!(cache.halves()[cache.halves().len() - 1], 0);
        cache.copy_page(0, 77);
        // Other tests run beside this one: 64 MiB for them.
        assert!(resident_pages() < before + (64 << 20 >> 12));
    }
}
