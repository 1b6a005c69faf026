//! Turns a place in packed or unpacked weights into levels, scales and addends.

use crate::activations::CORRECTED_BIAS;
use crate::lanes::Lanes;
use crate::memory::prefetch;
use crate::tiles::{Format, GROUP_ROWS};

/// How far ahead of the multiplication packed weights are called from memory: some 300 ns at
/// 13 GB/s a core. The processor's own guesses stop at every page of 4 KB, and fall behind on tiles
/// of 4 bits.
pub(super) const AHEAD_BYTES: usize = 4096;

/// Where the levels and scales of a group are read from.
///
/// Plain methods instead of closures and arrays: what the compiler does not melt into the function
/// with the level's instructions becomes calls and copies through memory.
pub(super) trait Source: Copy {
    /// What is taken from each level.
    #[inline(always)]
    fn bias<L: Lanes, F: Format>() -> i32 {
        F::BIAS
    }
    /// Bits of a level.
    #[inline(always)]
    fn bits<L: Lanes, F: Format>() -> usize {
        F::BITS
    }
    /// Asks for what will be read a little later.
    fn ahead<F: Format>(self, at: Block);
    /// Four columns of sixteen rows. `step`: 0..8
    unsafe fn level<L: Lanes, F: Format>(self, at: Block, step: usize) -> L::Bytes;
    /// The scales of the block's two halves (equal unless `HALVES`).
    unsafe fn scales<L: Lanes, F: Format>(self, at: Block) -> [L; 2];
    /// The addends of the block's two halves (only if `MINIMA`; equal unless `HALVES`).
    unsafe fn minima<L: Lanes, F: Format>(self, at: Block) -> [L; 2];
}

/// A block of 32 columns: its unit, and its place in that. Two loops count it, so that what the
/// blocks of a unit share is read once.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) unit: usize,
    pub(super) place: usize,
}

impl Block {
    /// Its number in the row.
    #[inline(always)]
    pub(super) fn number<F: Format>(self) -> usize {
        self.unit * F::BLOCKS + self.place
    }
}

/// A group as it lies in memory.
#[derive(Clone, Copy)]
pub(super) struct Packed(pub(super) *const u8);

// SAFETY (all four): the caller's level runs here, and the caller stays inside the group's blocks.
impl Source for Packed {
    #[inline(always)]
    fn ahead<F: Format>(self, at: Block) {
        let bytes = F::BYTES / F::BLOCKS;
        call_ahead(self.0.wrapping_add(at.unit * F::BYTES + at.place * bytes), bytes);
    }
    #[inline(always)]
    unsafe fn level<L: Lanes, F: Format>(self, at: Block, step: usize) -> L::Bytes {
        unsafe { F::level::<L>(self.0.add(at.unit * F::BYTES), at.place, step) }
    }
    #[inline(always)]
    unsafe fn scales<L: Lanes, F: Format>(self, at: Block) -> [L; 2] {
        unsafe { F::scales::<L>(self.0.add(at.unit * F::BYTES), at.place) }
    }
    #[inline(always)]
    unsafe fn minima<L: Lanes, F: Format>(self, at: Block) -> [L; 2] {
        unsafe { F::minima::<L>(self.0.add(at.unit * F::BYTES), at.place) }
    }
}

/// Bytes of one unpacked block of a group: eight steps of levels, two scales, two minima.
pub(super) const PANEL_BLOCK: usize = 8 * 64 + 4 * 64;

/// A group unpacked: a [`PANEL_BLOCK`] for each block.
#[derive(Clone, Copy)]
pub(super) struct Unpacked(pub(super) *const u8);

impl Unpacked {
    #[inline(always)]
    unsafe fn block<F: Format>(self, at: Block) -> *const u8 {
        // SAFETY: the caller stays inside the group's blocks.
        unsafe { self.0.add(at.number::<F>() * PANEL_BLOCK) }
    }
}

// SAFETY (all four): as for `Packed`.
impl Source for Unpacked {
    #[inline(always)]
    fn bias<L: Lanes, F: Format>() -> i32 {
        if F::BIAS != 0 && L::WIDE_PANELS { CORRECTED_BIAS } else { F::BIAS }
    }
    #[inline(always)]
    fn bits<L: Lanes, F: Format>() -> usize {
        if Self::bias::<L, F>() == CORRECTED_BIAS { 8 } else { F::BITS }
    }
    #[inline(always)]
    fn ahead<F: Format>(self, _at: Block) {}
    #[inline(always)]
    unsafe fn level<L: Lanes, F: Format>(self, at: Block, step: usize) -> L::Bytes {
        unsafe { L::load_bytes(self.block::<F>(at).add(64 * step)) }
    }
    #[inline(always)]
    unsafe fn scales<L: Lanes, F: Format>(self, at: Block) -> [L; 2] {
        unsafe {
            let at = self.block::<F>(at).add(512).cast::<f32>();
            let first = L::load(at);
            [first, if F::HALVES { L::load(at.add(GROUP_ROWS)) } else { first }]
        }
    }
    #[inline(always)]
    unsafe fn minima<L: Lanes, F: Format>(self, at: Block) -> [L; 2] {
        unsafe {
            let at = self.block::<F>(at).add(640).cast::<f32>();
            let first = L::load(at);
            [first, if F::HALVES { L::load(at.add(GROUP_ROWS)) } else { first }]
        }
    }
}

/// Asks for the two packed groups that will be read next, some of their lines with each block that
/// is multiplied: where several tiles of rows pass over two groups, memory has something to do
/// while all but the first find theirs in the caches.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    starts: [*const u8; 2],
    /// Bytes behind each start from which on lines are to be called next, and up to which.
    from: usize,
    to: usize,
    /// Bytes for each block.
    step: usize,
}

impl Ahead {
    /// `bytes` behind each start are asked for within `blocks` blocks.
    #[inline(always)]
    pub(super) fn new(starts: [*const u8; 2], bytes: usize, blocks: usize) -> Ahead {
        Ahead { starts, from: 0, to: 0, step: bytes.div_ceil(blocks.max(1)) }
    }

    /// To be called with each block.
    #[inline(always)]
    pub(super) fn call(&mut self) {
        self.to += self.step;
        while self.from < self.to {
            for start in self.starts {
                prefetch::<true>(start.wrapping_add(self.from));
            }
            self.from += 64;
        }
    }
}

/// Asks for the lines of `bytes` bytes that are read [`AHEAD_BYTES`] after these.
#[inline(always)]
pub(super) fn call_ahead(start: *const u8, bytes: usize) {
    for line in 0..bytes.div_ceil(64) {
        prefetch::<true>(start.wrapping_add(AHEAD_BYTES + 64 * line));
    }
}
