//! Turns queries and the cached keys and values of their sequences into mixed values.
//!
//! Rows are gathered into tiles (a decode row alone, neighbours of a prompt together, and those of
//! a text that is read in both directions), so that each key and value is loaded once for all query
//! heads that share it and all rows of the tile. A sequence is cut into segments of 256 absolute
//! positions, whose parts are merged in ascending order. Hence the result of a row has the same
//! bits whatever else is in the call. Segments in which a row sees nothing, before its window or
//! between its selected positions, cost nothing.

mod mix;
mod parts;
mod segment;
mod tiles;
mod tokens;

pub(crate) use mix::ValuePairs;

use crate::compute::Compute;
use crate::kv::{Elements, KvCache, KvShape, PAGE_TOKENS};
use crate::memory::Floats;
use crate::pool::Shares;
use parts::QUERIES_MAX;
use segment::{Attended, Buffers, SEGMENT_PAGES, Segment, VALUES_LENGTH};
use std::sync::atomic::{AtomicUsize, Ordering};
use tiles::{Tile, Tiles};
use tokens::SEGMENT_TOKENS;

/// Query heads of one kv head that are taken together; larger groups are cut.
const GROUP_HEADS_MAX: usize = 16;

/// Floats of parts (16 MiB) above which segments are not shared out: there are tasks enough then.
const PARTS_MAX: usize = 4 << 20;

/// One query row: a token of a sequence, which attends to positions up to its own. Where a text is
/// read in both directions, all of its tokens have the position of the last one.
#[derive(Clone, Copy, Debug)]
pub struct AttentionRow<'a> {
    /// The page table of its sequence.
    pub pages: &'a [u32],
    /// The token's position in its sequence.
    pub position: u32,
    /// The positions that it attends to, ascending, where they are chosen one by one.
    pub selection: Option<&'a [u32]>,
}

/// What is to be attended to, by what, and how.
#[derive(Clone, Copy)]
pub struct AttentionCall<'a> {
    /// Keys and values; those of all positions that a row sees must be there.
    pub cache: &'a KvCache,
    /// Which layer of the cache; it has values.
    pub layer: usize,
    /// The rows, each a token of some sequence.
    pub rows: &'a [AttentionRow<'a>],
    /// [rows, heads * key_size], `q_stride` floats from one row to the next.
    pub q: &'a [f32],
    /// See `q`.
    pub q_stride: usize,
    /// Query heads, a multiple of the layer's kv heads: neighbours share a kv head.
    pub heads: usize,
    /// Factor of the scores before the softmax.
    pub scale: f32,
    /// Whether weights and values are multiplied as floats. Otherwise they are rounded to BF16, at
    /// up to twice the speed: less of a loss than int8, to which products of quantised weights
    /// round what they read. A cache of floats is exact always.
    pub exact: bool,
    /// A row at position p sees p + 1 - window ..= p (sliding window); none: everything up to p.
    pub window: Option<usize>,
    /// A score for each head that joins the softmax, but has no value: what it takes away from the
    /// weights of the others is lost.
    pub sinks: Option<&'a [f32]>,
}

/// Buffers of [`attention`], kept from call to call.
#[derive(Default)]
pub struct AttentionScratch {
    tiles: Tiles,
    workers: Vec<Worker>,
    parts: Floats,
    /// Segments that are still to come, for each tile and slot.
    pending: Vec<AtomicUsize>,
}

impl AttentionScratch {
    /// Empty buffers; they grow on first use.
    pub fn new() -> AttentionScratch {
        AttentionScratch::default()
    }
}

/// What one thread needs for one tile.
#[derive(Default)]
struct Worker {
    queries: Floats,
    scores: Floats,
    values: Floats,
    part: Floats,
    total: Floats,
}

/// The call, as every task sees it.
struct Plan<'a> {
    compute: &'a Compute,
    call: &'a AttentionCall<'a>,
    shape: KvShape,
    /// Query heads for each kv head.
    group: usize,
    /// Query heads in each chunk of a group, and chunks in a group.
    chunk: usize,
    chunks: usize,
    /// A divisor of 16, so that all rows of a tile end in the same group of keys.
    tile_rows: usize,
}

/// One kv head and the query heads (of one chunk) that read it.
#[derive(Clone, Copy)]
struct Slot {
    kv_head: usize,
    first_head: usize,
    heads: usize,
}

/// What is attended to in one go: one of the segments of a tile, for one slot.
#[derive(Clone, Copy)]
struct Unit<'a> {
    tile: &'a Tile,
    slot: Slot,
    index: usize,
}

impl Unit<'_> {
    fn queries(self) -> usize {
        self.tile.rows * self.slot.heads
    }

    fn part_length(self, shape: KvShape) -> usize {
        parts::part_length(self.queries(), shape)
    }

    /// Row of the call and head of the model of a query.
    fn row_and_head(self, query: usize) -> (usize, usize) {
        let Slot { first_head, heads, .. } = self.slot;
        (self.tile.first_row + query / heads, first_head + query % heads)
    }
}

/// Grouped-query attention of rows to positions up to their own. `out`: [rows, heads * value_size],
/// dense.
///
/// # Panics
///
/// If the layer has no values, or the layer, a page, a selection, the counts or the slices do not
/// fit the cache and each other.
pub fn attention(
    compute: &Compute,
    call: &AttentionCall<'_>,
    out: &mut [f32], // [rows, heads * value_size]
    scratch: &mut AttentionScratch,
) {
    let AttentionCall { rows, heads, layer, .. } = *call;
    let Some(last) = rows.len().checked_sub(1) else { return };
    let shape = call.cache.shape(layer);
    assert!(shape.value_size > 0, "layer {layer} has no values");
    assert!(heads > 0 && heads.is_multiple_of(shape.kv_heads), "{heads} heads");
    let q_length = last * call.q_stride + heads * shape.key_size;
    assert!(q_length <= call.q.len(), "queries are too short");
    assert!(rows.len() * heads * shape.value_size <= out.len(), "outputs are too short");
    assert!(call.window != Some(0), "a window of nothing");
    assert!(call.sinks.is_none_or(|sinks| sinks.len() == heads), "a sink for each head");
    for row in rows {
        let pages = row.position as usize / PAGE_TOKENS + 1;
        assert!(
            pages <= row.pages.len(),
            "{} pages for position {}",
            row.pages.len(),
            row.position
        );
    }

    let group = heads / shape.kv_heads;
    let chunks = group.div_ceil(GROUP_HEADS_MAX);
    let chunk = group.div_ceil(chunks);
    let tile_rows = match chunk {
        1..=4 => 16,
        5..=8 => 8,
        _ => 4,
    };
    Plan { compute, call, shape, group, chunk, chunks, tile_rows }.run(out, scratch);
}

impl Plan<'_> {
    fn run(&self, out: &mut [f32], scratch: &mut AttentionScratch) {
        let threads = self.compute.pool.threads();
        scratch.tiles.cut(self.call.rows, self.tile_rows, self.call.window);
        scratch.workers.resize_with(threads.max(scratch.workers.len()), Worker::default);
        let slots = self.shape.kv_heads * self.chunks;
        let (mut units, mut longest) = (0, 0);
        for tile in &scratch.tiles.tiles {
            units += tile.segments * slots;
            longest = longest.max(tile.segments);
        }
        // With few and long tasks a thread would wait for the last one: share out the segments.
        let few = longest > 1 && threads > 1 && units < 4 * threads * longest;
        if few && units * self.part_length() <= PARTS_MAX {
            self.run_segments(units, out, scratch);
        } else {
            self.run_tiles(out, scratch);
        }
    }

    /// A task for each tile and slot.
    fn run_tiles(&self, out: &mut [f32], scratch: &mut AttentionScratch) {
        let AttentionScratch { tiles, workers, .. } = scratch;
        let all = &tiles.tiles;
        let (workers, out) = (Shares::new(workers), Shares::new(out));
        let slots = self.shape.kv_heads * self.chunks;
        let tasks = all.len() * slots;
        // The last tiles of a prompt see most tokens: begin with them.
        let first_unit = |task: usize| {
            let tile = &all[all.len() - 1 - task / slots];
            Unit { tile, slot: self.slot(task % slots), index: 0 }
        };
        self.compute.pool.run(tasks, &|task, worker| {
            // SAFETY: no two tasks that overlap have the same worker.
            let worker = unsafe { &mut workers.slice(worker, 1)[0] };
            let next_task = task + self.compute.pool.threads();
            let next = (next_task < tasks).then(|| first_unit(next_task));
            self.whole_tile(tiles, first_unit(task), next, worker, &out);
        });
    }

    /// A task for each segment, tile and slot; the last to be done of a tile merges the parts.
    fn run_segments(&self, units: usize, out: &mut [f32], scratch: &mut AttentionScratch) {
        let AttentionScratch { tiles, workers, parts, pending } = scratch;
        let all = &tiles.tiles;
        let (workers, out) = (Shares::new(workers), Shares::new(out));
        let slots = self.shape.kv_heads * self.chunks;
        let part_length = self.part_length();
        let parts = Shares::new(parts.take(units * part_length));
        pending.clear();
        for tile in all {
            pending.extend((0..slots).map(|_| AtomicUsize::new(tile.segments)));
        }
        let place = |task: usize| {
            let index = all.partition_point(|tile| tile.segments_before <= task / slots) - 1;
            let tile = &all[index];
            let slot = self.slot(task % slots);
            (index, Unit { tile, slot, index: task / slots - tile.segments_before })
        };
        self.compute.pool.run(units, &|task, worker| {
            let (tile_index, unit) = place(task);
            let (tile, length) = (unit.tile, unit.part_length(self.shape));
            // SAFETY: no two tasks that overlap have the same worker.
            let worker = unsafe { &mut workers.slice(worker, 1)[0] };
            let part_of = |index: usize| {
                let start = (tile.segments_before + index) * slots + task % slots;
                // SAFETY: until the count below reaches zero, each task uses the part of its own
                // segment only; then only the task that made it zero uses the parts of the tile.
                unsafe { parts.slice(start * part_length, length) }
            };
            let next_task = task + self.compute.pool.threads();
            let next = (next_task < units).then(|| place(next_task).1);
            self.pack(unit, worker);
            self.attend(tiles, unit, next, worker, part_of(unit.index));
            // Releases our part and acquires the others'.
            let left = &pending[tile_index * slots + task % slots];
            if left.fetch_sub(1, Ordering::AcqRel) > 1 {
                return;
            }
            let total = part_of(0);
            for index in 1..tile.segments {
                parts::merge(self.compute.kernels, total, part_of(index), unit.queries());
            }
            self.finish(unit, total, &out);
        });
    }

    /// All segments of a tile, one after the other; `next` is what this thread probably does then.
    fn whole_tile(
        &self,
        tiles: &Tiles,
        first: Unit<'_>,
        next: Option<Unit<'_>>,
        worker: &mut Worker,
        out: &Shares<f32>,
    ) {
        let length = first.part_length(self.shape);
        self.pack(first, worker);
        let (mut total, mut part) =
            (std::mem::take(&mut worker.total), std::mem::take(&mut worker.part));
        for index in 0..first.tile.segments {
            let unit = Unit { index, ..first };
            let following = Unit { index: index + 1, ..first };
            let next = if following.index < first.tile.segments { Some(following) } else { next };
            if index == 0 {
                self.attend(tiles, unit, next, worker, total.take(length));
            } else {
                self.attend(tiles, unit, next, worker, part.take(length));
                let (total, part) = (total.take(length), part.take(length));
                parts::merge(self.compute.kernels, total, part, unit.queries());
            }
        }
        self.finish(first, total.take(length), out);
        (worker.total, worker.part) = (total, part);
    }

    /// Floats from one part to the next.
    fn part_length(&self) -> usize {
        parts::part_length(self.tile_rows * self.chunk, self.shape)
    }

    fn slot(&self, index: usize) -> Slot {
        let (kv_head, chunk) = (index / self.chunks, index % self.chunks);
        let first = chunk * self.chunk;
        let heads = self.chunk.min(self.group - first);
        Slot { kv_head, first_head: kv_head * self.group + first, heads }
    }

    /// Puts the unit's queries, scaled, in the order in which the kernel reads them: for each block
    /// of queries [key_size][count].
    fn pack(&self, unit: Unit<'_>, worker: &mut Worker) {
        let (size, scale) = (self.shape.key_size, self.call.scale);
        let packed = worker.queries.take(unit.queries() * size);
        for (first, count) in segment::query_blocks(unit.queries()) {
            let block = &mut packed[first * size..(first + count) * size];
            for index in 0..count {
                let (row, head) = unit.row_and_head(first + index);
                let query = &self.call.q[row * self.call.q_stride + head * size..][..size];
                for (to, from) in block[index..].iter_mut().step_by(count).zip(query) {
                    *to = scale * from;
                }
            }
        }
    }

    /// One segment of a tile, whose queries are packed, into `part`.
    fn attend(
        &self,
        tiles: &Tiles,
        unit: Unit<'_>,
        next: Option<Unit<'_>>,
        worker: &mut Worker,
        part: &mut [f32],
    ) {
        let buffers = Buffers {
            queries: worker.queries.take(unit.queries() * self.shape.key_size),
            scores: worker.scores.take(QUERIES_MAX * SEGMENT_TOKENS),
            values: worker.values.take(VALUES_LENGTH),
            part,
        };
        let (kernels, exact) = (self.compute.kernels, self.call.exact);
        match self.call.cache.elements() {
            Elements::F16(elements) => {
                let segment = self.segment(elements, tiles, unit, next);
                Attended::attend(kernels, &segment, exact, buffers);
            }
            Elements::F32(elements) => {
                let segment = self.segment(elements, tiles, unit, next);
                Attended::attend(kernels, &segment, exact, buffers);
            }
            Elements::Q8(elements) => {
                let segment = self.segment(elements, tiles, unit, next);
                Attended::attend(kernels, &segment, exact, buffers);
            }
        }
    }

    fn segment<'a, E>(
        &self,
        elements: &'a [E],
        tiles: &Tiles,
        unit: Unit<'_>,
        next: Option<Unit<'_>>,
    ) -> Segment<'a, E> {
        let Unit { tile, slot, index } = unit;
        let (number, selection) = tiles.segment(tile, index);
        Segment {
            elements,
            blocks: self.blocks(unit, number),
            shape: self.shape,
            rows: tile.rows,
            heads: slot.heads,
            seen: tile.position + 1 - number * SEGMENT_TOKENS,
            step: tile.step,
            window: self.call.window.unwrap_or(usize::MAX),
            selection,
            // The tiles of a prompt find their keys in the cache, from the tile before.
            next: next
                .filter(|_| tile.rows == 1)
                .map(|next| self.blocks(next, tiles.segment(next.tile, next.index).0)),
        }
    }

    /// Where the blocks of the segment of that number begin in the cache; 0 for pages behind the
    /// tile's last row.
    fn blocks(&self, unit: Unit<'_>, number: usize) -> [usize; SEGMENT_PAGES] {
        let AttentionCall { cache, layer, rows, .. } = *self.call;
        let first = number * SEGMENT_PAGES;
        let end = unit.tile.last_position() / PAGE_TOKENS + 1;
        let pages = rows[unit.tile.first_row + unit.tile.rows - 1].pages;
        let mut blocks = [0; SEGMENT_PAGES];
        for (block, &page) in blocks.iter_mut().zip(&pages[first..end.min(first + SEGMENT_PAGES)]) {
            *block = cache.block(page, layer, unit.slot.kv_head);
        }
        blocks
    }

    /// Divides by the sums of weights and writes the tile's outputs.
    fn finish(&self, unit: Unit<'_>, total: &mut [f32], out: &Shares<f32>) {
        let sinks = self.call.sinks.map(|all| {
            let mut sinks = [0.0; QUERIES_MAX];
            for (query, sink) in sinks.iter_mut().enumerate().take(unit.queries()) {
                *sink = all[unit.row_and_head(query).1];
            }
            sinks
        });
        parts::normalise(self.compute.kernels, total, unit.queries(), sinks.as_ref());
        let size = self.shape.value_size;
        let outputs = total[2 * QUERIES_MAX..].chunks_exact(self.shape.value_stride());
        for (query, output) in outputs.enumerate() {
            let (row, head) = unit.row_and_head(query);
            // SAFETY: each row and head belongs to one tile and slot, so to one task.
            let out = unsafe { out.slice((row * self.call.heads + head) * size, size) };
            out.copy_from_slice(&output[..size]);
        }
    }
}
