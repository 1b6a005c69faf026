//! Turns keys and values of tokens into pages of numbers that attention reads back.
//!
//! A page holds [`PAGE_TOKENS`] tokens of all layers, each of its own shape. For each layer and kv
//! head it has one block:
//!
//! - keys, `[key_size][PAGE_TOKENS]`: sixteen scores come out of one register, without a sum
//!   across its lanes, and the page is read from its first byte to its last;
//! - values, `[PAGE_TOKENS][value_stride]`, the value size rounded up to whole registers.
//!
//! In a cache of bytes keys are `[key_size / 4][PAGE_TOKENS][4]`, and behind each stand the scales:
//! `[key_size / 32][PAGE_TOKENS]` and `[value_stride / 32][PAGE_TOKENS]` half floats. All are
//! rounded up.

mod element;

pub use element::{KvType, KvTypeError};

use crate::compute::Compute;
use crate::lanes::Lanes;
use crate::level::{Kernels, leveled};
use crate::memory::Memory;
use crate::pool::Shares;
pub(crate) use element::{Element, SCALED_NUMBERS};
use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Tokens in one page of the cache.
pub const PAGE_TOKENS: usize = 32;

/// Tokens whose scores are computed side by side: the lanes of a register.
pub(crate) const GROUP_TOKENS: usize = 16;

/// Widest key, a multiple of [`GROUP_TOKENS`]: a buffer of this size stands on the stack. It is
/// DeepSeek's latent of 512 with its 64 turned numbers.
const KEY_SIZE_MAX: usize = 576;

/// Widest value: the parts of 32 queries fill 64 KiB.
const VALUE_SIZE_MAX: usize = 512;

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

/// Keys and values of all layers, in pages of [`PAGE_TOKENS`] tokens.
pub struct KvCache {
    memory: Memory,
    kind: KvType,
    pages: usize,
    /// Elements of one page, all layers together.
    page_length: usize,
    layers: Vec<Layer>,
}

/// The memory of all pages: [page][layer][kv head][block].
#[derive(Clone, Copy)]
pub(crate) enum Elements<'a> {
    F16(&'a [u16]),
    F32(&'a [f32]),
    Q8(&'a [u8]),
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
    /// From one kv head's block to the next.
    block_length: usize,
}

/// In elements, for a shape that was checked.
impl KvShape {
    /// From one token's values to the next.
    pub(crate) fn value_stride(self) -> usize {
        self.value_size.next_multiple_of(GROUP_TOKENS)
    }

    /// The keys of one block, without their scales.
    pub(crate) fn key_numbers<E: Element>(self) -> usize {
        PAGE_TOKENS * self.key_size.next_multiple_of(E::KEY_STEP)
    }

    /// The keys of one block and their scales.
    pub(crate) fn key_length<E: Element>(self) -> usize {
        self.key_numbers::<E>() + PAGE_TOKENS * E::scales(self.key_size)
    }

    /// The values of one block, without their scales.
    pub(crate) fn value_numbers(self) -> usize {
        PAGE_TOKENS * self.value_stride()
    }

    /// One block: keys, then values, each with their scales behind.
    pub(crate) fn block_length<E: Element>(self) -> usize {
        let value_scales = PAGE_TOKENS * E::scales(self.value_stride());
        self.key_length::<E>() + self.value_numbers() + value_scales
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
    /// A cache of half floats, all zero, with a layer for each shape; memory is taken page by page
    /// as tokens are stored.
    ///
    /// # Errors
    ///
    /// [`KvError`] where a size is out of range or the system has not so much memory.
    pub fn new(layers: &[KvShape], pages: usize) -> Result<KvCache, KvError> {
        KvCache::with_type(KvType::F16, layers, pages)
    }

    /// The same, of another type.
    ///
    /// # Errors
    ///
    /// As [`KvCache::new`].
    pub fn with_type(kind: KvType, layers: &[KvShape], pages: usize) -> Result<KvCache, KvError> {
        let check = |field, value: usize, good: bool, right| {
            if good { Ok(()) } else { Err(KvError::Shape { field, value, right }) }
        };
        check("layers", layers.len(), !layers.is_empty(), "at least 1")?;
        check("pages", pages, pages > 0 && u32::try_from(pages).is_ok(), "from 1 to 2^32 - 1")?;
        layers.iter().enumerate().try_for_each(|(layer, shape)| shape.check(layer))?;

        let bytes_per_page = KvCache::bytes_per_page(kind, layers);
        let bytes = bytes_per_page
            .checked_mul(pages)
            .filter(|&bytes| bytes <= isize::MAX as usize)
            .ok_or(KvError::TooLarge { pages, bytes_per_page })?;
        let memory = Memory::zeroed(bytes).ok_or(KvError::OutOfMemory { bytes })?;
        let mut page_length = 0;
        let layers = layers.iter().map(|&shape| {
            let block_length = match kind {
                KvType::F16 => shape.block_length::<u16>(),
                KvType::F32 => shape.block_length::<f32>(),
                KvType::Q8_0 => shape.block_length::<u8>(),
            };
            let offset = page_length;
            page_length += shape.kv_heads * block_length;
            Layer { shape, offset, block_length }
        });
        let layers = layers.collect();
        Ok(KvCache { memory, kind, pages, page_length, layers })
    }

    /// Pages that the cache has.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// The type of its numbers.
    pub fn kind(&self) -> KvType {
        self.kind
    }

    /// Bytes that one page takes, all layers together; `usize::MAX` if that is no number.
    pub fn bytes_per_page(kind: KvType, layers: &[KvShape]) -> usize {
        let bytes = layers.iter().map(|shape| {
            let padded = |size: usize, step| size.saturating_add(step - 1) / step * step;
            let key = kind.bytes(padded(shape.key_size, kind.key_step()));
            let token = key.saturating_add(kind.bytes(padded(shape.value_size, GROUP_TOKENS)));
            token.saturating_mul(PAGE_TOKENS).saturating_mul(shape.kv_heads)
        });
        bytes.fold(0, usize::saturating_add)
    }

    /// Stores the keys and values of `rows`. `k`: [rows, kv_heads * key_size], `k_stride` floats
    /// from one row to the next, `v` the same with `value_size`: they may overlap, and `v` may be
    /// empty where values have no width. Numbers beyond the range of a half float are stored as
    /// its ends, where the cache is one of half floats.
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

        let row = |(index, row): (usize, &RowSlot)| Row {
            block: self.block(row.page, layer, 0),
            slot: row.slot as usize,
            key: &k[index * k_stride..],
            value: if value_size == 0 { &[] } else { &v[index * v_stride..] },
        };
        let rows: Vec<Row> = rows.iter().enumerate().map(row).collect();
        match self.kind {
            KvType::F16 => store_rows(compute, shape, &rows, self.memory.halves_mut()),
            KvType::F32 => store_rows(compute, shape, &rows, self.memory.floats_mut()),
            KvType::Q8_0 => store_rows(compute, shape, &rows, self.memory.bytes_mut()),
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
        let length = self.memory.bytes().len() / self.pages;
        self.memory.bytes_mut().copy_within(from * length..(from + 1) * length, to * length);
    }

    /// Has the system bring the memory of a page now: what is stored there first need not wait for
    /// it. The numbers stay as they are.
    ///
    /// # Panics
    ///
    /// If the page is not below [`Self::pages`].
    pub fn touch_page(&mut self, page: u32) {
        /// The smallest piece that any system brings.
        const PIECE: usize = 4096;
        let page = page as usize;
        assert!(page < self.pages, "page {page} of {}", self.pages);
        let length = self.memory.bytes().len() / self.pages;
        let bytes = &mut self.memory.bytes_mut()[page * length..][..length];
        for byte in bytes.iter_mut().step_by(PIECE) {
            // In one go: after a read, Linux has a large page of zeros there, and a write behind
            // it cuts that into small ones.
            // SAFETY: borrowed alone, and an atomic byte is aligned like any.
            unsafe { AtomicU8::from_ptr(byte) }.fetch_add(black_box(0), Relaxed);
        }
    }

    /// Where the block of a page, layer and kv head begins in [`Self::elements`].
    pub(crate) fn block(&self, page: u32, layer: usize, kv_head: usize) -> usize {
        let Layer { offset, block_length, .. } = self.layers[layer];
        page as usize * self.page_length + offset + kv_head * block_length
    }

    pub(crate) fn elements(&self) -> Elements<'_> {
        match self.kind {
            KvType::F16 => Elements::F16(self.memory.halves()),
            KvType::F32 => Elements::F32(self.memory.floats()),
            KvType::Q8_0 => Elements::Q8(self.memory.bytes()),
        }
    }

    pub(crate) fn shape(&self, layer: usize) -> KvShape {
        assert!(layer < self.layers.len(), "layer {layer} of {}", self.layers.len());
        self.layers[layer].shape
    }
}

/// A token to be stored.
struct Row<'a> {
    /// Where the first head's block of its page begins.
    block: usize,
    slot: usize,
    /// All heads, and what may stand behind.
    key: &'a [f32],
    value: &'a [f32],
}

fn store_rows<E: Element + Stored>(
    compute: &Compute,
    shape: KvShape,
    rows: &[Row<'_>],
    elements: &mut [E],
) {
    let KvShape { kv_heads, key_size, value_size } = shape;
    let elements = Shares::new(elements);
    let (key_length, block_length) = (shape.key_length::<E>(), shape.block_length::<E>());
    let store_keys = |head: usize| {
        for row in rows {
            let start = row.block + head * block_length;
            // SAFETY: the keys of this head, which only this task writes.
            let keys = unsafe { elements.slice(start, key_length) };
            let key = &row.key[head * key_size..][..key_size];
            E::store_key(compute.kernels, key, keys, row.slot);
        }
    };
    let store_values = |head: usize| {
        for row in rows {
            let start = row.block + head * block_length + key_length;
            // SAFETY: the values of this head, which only this task writes.
            let values = unsafe { elements.slice(start, block_length - key_length) };
            let value = &row.value[head * value_size..][..value_size];
            E::store_value(compute.kernels, value, values, row.slot);
        }
    };
    // Keys and values of each head are tasks of their own: no two write the same place, even if two
    // rows name the same slot.
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

/// The kernels below for one type.
trait Stored: Sized {
    fn store_value(kernels: &Kernels, x: &[f32], values: &mut [Self], token: usize);
    fn store_key(kernels: &Kernels, x: &[f32], keys: &mut [Self], token: usize);
}

macro_rules! stored {
    ($element:ident) => {
        impl Stored for $element {
            fn store_value(
                kernels: &Kernels,
                x: &[f32],
                values: &mut [$element],
                token: usize,
            ) {
                leveled!(
                    fn convert_value(
                        kernels,
                        x: &[f32],
                        values: &mut [$element],
                        token: usize,
                    ) = convert_value_lanes::<$element>
                );
                convert_value(kernels, x, values, token);
            }

            fn store_key(kernels: &Kernels, x: &[f32], keys: &mut [$element], token: usize) {
                leveled!(
                    fn convert_key(
                        kernels,
                        x: &[f32],
                        keys: &mut [$element],
                        token: usize,
                    ) = convert_key_lanes::<$element>
                );
                convert_key(kernels, x, keys, token);
            }
        }
    };
}

stored!(u16);
stored!(f32);
stored!(u8);

/// x: [value_size] → row `token` of values: [PAGE_TOKENS][value_stride], zeros behind, and column
/// `token` of their scales.
///
/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn convert_value_lanes<V: Lanes, E: Element>(x: &[f32], values: &mut [E], token: usize) {
    let stride = x.len().next_multiple_of(GROUP_TOKENS);
    let (values, value_scales) = values.split_at_mut(PAGE_TOKENS * stride);
    let mut scales = [E::default(); 2 * VALUE_SIZE_MAX / SCALED_NUMBERS];
    let scales = &mut scales[..E::scales(stride)];
    // SAFETY: passed on.
    unsafe { E::convert::<V>(x, &mut values[token * stride..][..stride], scales) };
    store_scales(scales, value_scales, token);
}

/// x: [key_size] → column `token` of keys: [key_size / step][PAGE_TOKENS][step], and of their
/// scales.
///
/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn convert_key_lanes<V: Lanes, E: Element>(x: &[f32], keys: &mut [E], token: usize) {
    let mut elements = [E::default(); KEY_SIZE_MAX];
    let mut scales = [E::default(); 2 * KEY_SIZE_MAX / SCALED_NUMBERS];
    let scales = &mut scales[..E::scales(x.len())];
    // SAFETY: passed on.
    unsafe { E::convert::<V>(x, &mut elements, scales) };
    let numbers = x.len().next_multiple_of(E::KEY_STEP);
    let (keys, key_scales) = keys.split_at_mut(numbers * PAGE_TOKENS);
    let rows = keys.chunks_exact_mut(E::KEY_STEP * PAGE_TOKENS);
    for (row, numbers) in rows.zip(elements[..numbers].chunks_exact(E::KEY_STEP)) {
        for (to, number) in row[token * E::KEY_STEP..].iter_mut().zip(numbers) {
            *to = number.as_key();
        }
    }
    store_scales(scales, key_scales, token);
}

/// The scales of one token, two elements each → column `token` of `to`: [scales][PAGE_TOKENS].
fn store_scales<E: Element>(scales: &[E], to: &mut [E], token: usize) {
    for (to, scale) in to.chunks_exact_mut(2 * PAGE_TOKENS).zip(scales.chunks_exact(2)) {
        to[2 * token..2 * token + 2].copy_from_slice(scale);
    }
}

#[cfg(test)]
mod tests;
