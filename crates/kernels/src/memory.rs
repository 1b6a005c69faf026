//! Turns a size into zeroed, aligned memory that costs nothing until it is touched.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Alignment of large blocks: the processor's large page, so that the system can use it.
const LARGE_PAGE: usize = 2 << 20;

/// Alignment of small blocks: a cache line, which is also the widest register.
const LINE: usize = 64;

/// Blocks of these sizes lie side by side in one allocation. A layer's matrices are smaller than a
/// large page each, and reading all of them in turn over small pages costs a tenth of the speed.
const SHARING: std::ops::Range<usize> = 64 << 10..8 << 20;

/// What such blocks are cut from. Address space: only what is touched costs memory.
const SHARED_BYTES: usize = 64 << 20;

/// Zeroed bytes, aligned to 64 or more. Pages that are never touched cost no memory.
pub(crate) struct Memory {
    /// Keeps the bytes there.
    _allocation: Arc<Allocation>,
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a `Memory` owns its bytes, like a `Vec<u8>`: no other `Memory` has them.
unsafe impl Send for Memory {}
// SAFETY: as above; shared access is through `&[u8]`.
unsafe impl Sync for Memory {}

/// The allocation that blocks are cut from, and how much of it is given away.
static SHARED: Mutex<(Weak<Allocation>, usize)> = Mutex::new((Weak::new(), 0));

impl Memory {
    /// `length` zero bytes, or none if the system has not so many.
    pub(crate) fn zeroed(length: usize) -> Option<Memory> {
        if !SHARING.contains(&length) {
            let allocation = Arc::new(Allocation::zeroed(length)?);
            let start = allocation.start;
            return Some(Memory { _allocation: allocation, start, length });
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let (allocation, used) = match shared.0.upgrade() {
            Some(allocation) if shared.1 + length <= SHARED_BYTES => (allocation, shared.1),
            _ => (Arc::new(Allocation::zeroed(SHARED_BYTES)?), 0),
        };
        *shared = (Arc::downgrade(&allocation), (used + length).next_multiple_of(LINE));
        // SAFETY: `used + length` is within the allocation, and nobody had these bytes before.
        let start = unsafe { allocation.start.add(used) };
        Some(Memory { _allocation: allocation, start, length })
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: owned, initialised (zeroed), of that length.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// All bytes, to be written.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    /// All bytes, two by two.
    pub(crate) fn halves(&self) -> &[u16] {
        // SAFETY: as above; aligned to 64, and every bit pattern is a u16.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.length / 2) }
    }

    /// All bytes, two by two, to be written.
    pub(crate) fn halves_mut(&mut self) -> &mut [u16] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.length / 2) }
    }

    /// All bytes, four by four.
    pub(crate) fn floats(&self) -> &[f32] {
        // SAFETY: as above; aligned to 64, and every bit pattern is an f32.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.length / 4) }
    }

    /// All bytes, four by four, to be written.
    pub(crate) fn floats_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.length / 4) }
    }
}

/// Zeroed memory of the system's.
struct Allocation {
    whole: NonNull<u8>,
    layout: Layout,
    /// The first aligned byte.
    start: NonNull<u8>,
}

// SAFETY: pointers to memory that the allocation owns; it reads and writes none of it.
unsafe impl Send for Allocation {}
// SAFETY: as above.
unsafe impl Sync for Allocation {}

impl Allocation {
    fn zeroed(length: usize) -> Option<Allocation> {
        let align = if length >= LARGE_PAGE { LARGE_PAGE } else { LINE };
        // Aligned by hand: asked for an alignment above 16, the system allocator of Rust writes the
        // zeros itself, and every page of an unused cache would be there.
        let layout = Layout::from_size_align(length.checked_add(align)?, 16).ok()?;
        let whole = pages::take(layout)?;
        let skipped = whole.as_ptr().align_offset(align).min(align);
        // SAFETY: at most `align` bytes are skipped, and so many were asked for beyond `length`.
        let start = unsafe { whole.add(skipped) };
        if align == LARGE_PAGE {
            pages::advise_large(start, length);
        }
        Some(Allocation { whole, layout, start })
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: taken with this layout.
        unsafe { pages::give_back(self.whole, self.layout) }
    }
}

/// Large memory straight from the system and back to it. An allocator keeps what it is given back,
/// up to 64 MB for each thread that ever loaded a model.
#[cfg(target_os = "linux")]
mod pages {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::ffi::c_void;
    use std::ptr::{NonNull, null_mut};

    use super::LARGE_PAGE;

    const READ_WRITE: i32 = 1 | 2;
    const PRIVATE: i32 = 0x02;
    const ANONYMOUS: i32 = 0x20;
    const FAILED: *mut c_void = usize::MAX as *mut c_void;
    const ADVICE_LARGE_PAGES: i32 = 14;

    unsafe extern "C" {
        fn mmap(
            address: *mut c_void,
            length: usize,
            protection: i32,
            flags: i32,
            file: i32,
            offset: i64,
        ) -> *mut c_void;
        fn munmap(address: *mut c_void, length: usize) -> i32;
        fn madvise(address: *mut c_void, length: usize, advice: i32) -> i32;
    }

    /// Zeroed bytes; `layout` is at least a cache line.
    pub fn take(layout: Layout) -> Option<NonNull<u8>> {
        if layout.size() < LARGE_PAGE {
            // SAFETY: the layout's size is not zero.
            return NonNull::new(unsafe { alloc_zeroed(layout) });
        }
        // SAFETY: new memory, which nothing else has; its offset counts from 0 in no file.
        let pages =
            unsafe { mmap(null_mut(), layout.size(), READ_WRITE, PRIVATE | ANONYMOUS, -1, 0) };
        NonNull::new(pages.cast()).filter(|_| pages != FAILED)
    }

    /// # Safety
    /// `whole` came from [`take`] with this layout, and nobody has it any more.
    pub unsafe fn give_back(whole: NonNull<u8>, layout: Layout) {
        if layout.size() < LARGE_PAGE {
            // SAFETY: allocated with this layout.
            return unsafe { dealloc(whole.as_ptr(), layout) };
        }
        // SAFETY: mapped with this length. Failure would leave it mapped, which harms nobody.
        unsafe { munmap(whole.as_ptr().cast(), layout.size()) };
    }

    pub fn advise_large(start: NonNull<u8>, length: usize) {
        // Whole large pages only: the advice must not reach into a neighbour's memory.
        let length = length / LARGE_PAGE * LARGE_PAGE;
        // SAFETY: advice about memory that we own; it changes no contents, and failure is harmless.
        unsafe { madvise(start.as_ptr().cast(), length, ADVICE_LARGE_PAGES) };
    }
}

/// Memory of the allocator's, where the system's own calls are not known.
#[cfg(not(target_os = "linux"))]
mod pages {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::ptr::NonNull;

    /// Zeroed bytes; `layout` is at least a cache line.
    pub fn take(layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the layout's size is not zero.
        NonNull::new(unsafe { alloc_zeroed(layout) })
    }

    /// # Safety
    /// `whole` came from [`take`] with this layout, and nobody has it any more.
    pub unsafe fn give_back(whole: NonNull<u8>, layout: Layout) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(whole.as_ptr(), layout) }
    }

    pub fn advise_large(_start: NonNull<u8>, _length: usize) {}
}

/// Asks for the cache line at an address, which need not be valid: into the nearest cache, or into
/// the one behind it.
#[inline(always)]
pub(crate) fn prefetch<const NEAREST: bool>(address: *const u8) {
    // SAFETY (of both): a prefetch reads nothing and never faults.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        match NEAREST {
            true => _mm_prefetch::<_MM_HINT_T0>(address.cast()),
            false => _mm_prefetch::<_MM_HINT_T1>(address.cast()),
        }
    }
    #[cfg(target_arch = "aarch64")]
    unsafe {
        use std::arch::asm;
        match NEAREST {
            true => asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, readonly)),
            false => asm!("prfm pldl2keep, [{0}]", in(reg) address, options(nostack, readonly)),
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [f32; 16]);

/// A reusable buffer of floats that begins on a cache line.
#[derive(Default)]
pub(crate) struct Floats {
    lines: Vec<Line>,
}

impl Floats {
    /// The first `length` floats, with whatever was in them; grows if needed.
    pub(crate) fn take(&mut self, length: usize) -> &mut [f32] {
        let lines = length.div_ceil(16);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0.0; 16]));
        }
        // SAFETY: a `Line` is sixteen f32 without padding, so the lines hold `length` of them.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_and_aligned() {
        for length in [0, 1, 31, 1000, (2 << 20) - 1, 2 << 20, (6 << 20) + 5] {
            let mut memory = Memory::zeroed(length).expect("a few megabytes");
            assert_eq!((memory.bytes().len(), memory.halves().len()), (length, length / 2));
            assert!(memory.bytes().iter().all(|&byte| byte == 0));
            assert_eq!(memory.bytes().as_ptr() as usize % LINE, 0);
            memory.bytes_mut().fill(7);
            assert!(memory.halves_mut().iter().all(|&half| half == 0x0707));
            assert_eq!(memory.floats().len(), length / 4);
            assert!(memory.floats_mut().iter().all(|float| float.to_bits() == 0x0707_0707));
        }
        // Side by side, and each for itself.
        let mut blocks: Vec<Memory> = (0..200)
            .map(|number| Memory::zeroed((100 << 10) + 7 * number).expect("20 MB"))
            .collect();
        for (number, block) in blocks.iter_mut().enumerate() {
            assert!(block.bytes().iter().all(|&byte| byte == 0));
            block.bytes_mut().fill(number as u8);
        }
        drop(blocks.drain(50..150));
        for (number, block) in (0..50).chain(150..200).zip(&blocks) {
            assert!(block.bytes().iter().all(|&byte| byte == number as u8));
            assert_eq!(block.bytes().as_ptr() as usize % LINE, 0);
        }
        assert!(Memory::zeroed(isize::MAX as usize).is_none());
        assert!(Memory::zeroed(usize::MAX).is_none());
    }

    #[test]
    fn floats_grow_and_stay_aligned() {
        let mut floats = Floats::default();
        for length in [0, 1, 17, 1000, 5] {
            let slice = floats.take(length);
            assert_eq!(slice.len(), length);
            assert_eq!(slice.as_ptr() as usize % 64, 0);
        }
    }
}
