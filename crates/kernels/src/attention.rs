//! Turns queries and the cached keys and values of their sequences into mixed values.
//!
//! Rows are gathered into tiles (a decode row alone, neighbours of a prompt together), so that each
//! key and value is loaded once for all query heads that share it and all rows of the tile. A
//! sequence is cut into segments of 256 absolute positions, whose parts are merged in ascending
//! order. Hence the result of a row has the same bits whatever else is in the call.

mod segment;

use crate::compute::Compute;
use crate::kv::{HeadShape, KvCache, PAGE_TOKENS};
use crate::memory::Floats;
use crate::pool::Shares;
use segment::{QUERIES_MAX, SEGMENT_PAGES, SEGMENT_TOKENS, Segment};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Query heads of one kv head that are taken together; larger groups are cut.
const GROUP_HEADS_MAX: usize = 16;

/// Floats of parts (16 MiB) above which segments are not shared out: there are tasks enough then.
const PARTS_MAX: usize = 4 << 20;

/// One query row: a token of a sequence, which attends to positions `0..=position`.
#[derive(Clone, Copy, Debug)]
pub struct AttentionRow<'a> {
    /// The page table of its sequence.
    pub pages: &'a [u32],
    /// The token's position in its sequence.
    pub position: u32,
}

/// Buffers of [`attention`], kept from call to call.
#[derive(Default)]
pub struct AttentionScratch {
    tiles: Vec<Tile>,
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

/// Consecutive rows of one sequence, all inside one stretch of `Plan::tile_rows` positions.
#[derive(Clone, Copy)]
struct Tile {
    first_row: usize,
    rows: usize,
    /// Position of the first row.
    position: usize,
    segments: usize,
    /// Segments of all tiles before.
    segments_before: usize,
}

/// What one thread needs for one tile.
#[derive(Default)]
struct Worker {
    queries: Floats,
    scores: Floats,
    part: Floats,
    total: Floats,
}

/// The call, as every task sees it.
struct Plan<'a> {
    compute: &'a Compute,
    cache: &'a KvCache,
    layer: usize,
    rows: &'a [AttentionRow<'a>],
    q: &'a [f32],
    q_stride: usize,
    heads: usize,
    scale: f32,
    shape: HeadShape,
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

/// Causal grouped-query attention. `q`: [rows, heads * head_size], `q_stride` floats apart;
/// `out`: [rows, heads * head_size], dense. Keys and values of all positions that a row sees must
/// be in the cache.
///
/// # Panics
///
/// If the layer, a page, the head count or the slices do not fit the cache and each other.
pub fn attention(
    compute: &Compute,
    cache: &KvCache,
    layer: usize,
    rows: &[AttentionRow<'_>],
    q: &[f32],
    q_stride: usize,
    heads: usize,
    scale: f32,
    out: &mut [f32], // [rows, heads * head_size]
    scratch: &mut AttentionScratch,
) {
    let Some(last) = rows.len().checked_sub(1) else { return };
    let shape = cache.shape();
    let width = heads * shape.head_size;
    assert!(layer < cache.layers(), "layer {layer} of {}", cache.layers());
    assert!(heads > 0 && heads.is_multiple_of(shape.kv_heads), "{heads} heads");
    assert!(last * q_stride + width <= q.len(), "queries are too short");
    assert!(rows.len() * width <= out.len(), "outputs are too short");
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
        1 | 2 => 16,
        3 | 4 => 8,
        5..=8 => 4,
        _ => 2,
    };
    let plan = Plan {
        compute,
        cache,
        layer,
        rows,
        q,
        q_stride,
        heads,
        scale,
        shape,
        group,
        chunk,
        chunks,
        tile_rows,
    };
    plan.run(out, scratch);
}

impl Plan<'_> {
    fn run(&self, out: &mut [f32], scratch: &mut AttentionScratch) {
        let threads = self.compute.pool.threads();
        cut_into_tiles(self.rows, self.tile_rows, &mut scratch.tiles);
        scratch.workers.resize_with(threads.max(scratch.workers.len()), Worker::default);
        let tiles = &scratch.tiles;
        let slots = self.shape.kv_heads * self.chunks;
        let units: usize = tiles.iter().map(|tile| tile.segments).sum();
        let longest = tiles.iter().map(|tile| tile.segments).max().unwrap_or(0);
        let workers = Shares::new(&mut scratch.workers);
        let out = Shares::new(out);

        // With few and long tasks a thread would wait for the last one: share out the segments.
        let part_length = segment::part_length(self.tile_rows * self.chunk, self.shape);
        let shared_out = longest > 1
            && units * slots < 4 * threads * longest
            && threads > 1
            && units * slots * part_length <= PARTS_MAX;
        if !shared_out {
            self.compute.pool.run(tiles.len() * slots, &|task, worker| {
                // The last tiles of a prompt see most tokens: begin with them.
                let tile = &tiles[tiles.len() - 1 - task / slots];
                // SAFETY: no two tasks that overlap have the same worker.
                let worker = unsafe { &mut workers.slice(worker, 1)[0] };
                self.whole_tile(tile, self.slot(task % slots), worker, &out);
            });
            return;
        }

        let parts = Shares::new(scratch.parts.take(units * slots * part_length));
        let pending = &mut scratch.pending;
        pending.clear();
        for tile in tiles {
            pending.extend((0..slots).map(|_| AtomicUsize::new(tile.segments)));
        }
        self.compute.pool.run(units * slots, &|task, worker| {
            let unit = task / slots;
            let index = tiles.partition_point(|tile| tile.segments_before <= unit) - 1;
            let tile = &tiles[index];
            let slot = self.slot(task % slots);
            // SAFETY: no two tasks that overlap have the same worker.
            let worker = unsafe { &mut workers.slice(worker, 1)[0] };
            let length = segment::part_length(tile.rows * slot.heads, self.shape);
            let part_of = |unit: usize| {
                let start = (unit * slots + task % slots) * part_length;
                // SAFETY: until the count below reaches zero, only this task uses the part of
                // `unit`; then only the task that made it zero uses the parts of the tile.
                unsafe { parts.slice(start, length) }
            };
            self.pack(tile, slot, worker);
            self.attend(tile, slot, unit - tile.segments_before, worker, part_of(unit));
            // Release our part, acquire the others'.
            if pending[index * slots + task % slots].fetch_sub(1, Ordering::AcqRel) > 1 {
                return;
            }
            let total = part_of(tile.segments_before);
            for segment in 1..tile.segments {
                let part = part_of(tile.segments_before + segment);
                segment::merge(self.compute.kernels, total, part, tile.rows * slot.heads);
            }
            self.finish(tile, slot, total, &out);
        });
    }

    /// All segments of a tile, one after the other.
    fn whole_tile(&self, tile: &Tile, slot: Slot, worker: &mut Worker, out: &Shares<f32>) {
        let queries = tile.rows * slot.heads;
        let length = segment::part_length(queries, self.shape);
        self.pack(tile, slot, worker);
        let (mut total, mut part) =
            (std::mem::take(&mut worker.total), std::mem::take(&mut worker.part));
        self.attend(tile, slot, 0, worker, total.take(length));
        for index in 1..tile.segments {
            self.attend(tile, slot, index, worker, part.take(length));
            let (total, part) = (total.take(length), part.take(length));
            segment::merge(self.compute.kernels, total, part, queries);
        }
        self.finish(tile, slot, total.take(length), out);
        (worker.total, worker.part) = (total, part);
    }

    fn slot(&self, index: usize) -> Slot {
        let (kv_head, chunk) = (index / self.chunks, index % self.chunks);
        let first = chunk * self.chunk;
        let heads = self.chunk.min(self.group - first);
        Slot { kv_head, first_head: kv_head * self.group + first, heads }
    }

    /// Puts the tile's queries in the order in which the kernel reads them: for each block of
    /// queries [head_size][count].
    fn pack(&self, tile: &Tile, slot: Slot, worker: &mut Worker) {
        let queries = tile.rows * slot.heads;
        let size = self.shape.head_size;
        let packed = worker.queries.take(queries * size);
        for (first, count) in segment::query_blocks(queries) {
            let block = &mut packed[first * size..(first + count) * size];
            for index in 0..count {
                let (row, head) = ((first + index) / slot.heads, (first + index) % slot.heads);
                let start =
                    (tile.first_row + row) * self.q_stride + (slot.first_head + head) * size;
                let query = &self.q[start..start + size];
                for (to, from) in block[index..].iter_mut().step_by(count).zip(query) {
                    *to = *from;
                }
            }
        }
    }

    /// One segment of a tile, whose queries are packed, into `part`.
    fn attend(&self, tile: &Tile, slot: Slot, index: usize, worker: &mut Worker, part: &mut [f32]) {
        let start = index * SEGMENT_TOKENS;
        let last = index + 1 == tile.segments;
        let (tokens, step) =
            if last { (tile.position + 1 - start, 1) } else { (SEGMENT_TOKENS, 0) };
        let pages = &self.rows[tile.first_row + tile.rows - 1].pages[start / PAGE_TOKENS..];
        let mut blocks = [0; SEGMENT_PAGES];
        let used = (tokens + (tile.rows - 1) * step).div_ceil(PAGE_TOKENS);
        for (block, &page) in blocks.iter_mut().zip(&pages[..used]) {
            *block = self.cache.block(page, self.layer, slot.kv_head);
        }
        let segment = Segment {
            halves: self.cache.halves(),
            blocks,
            shape: self.shape,
            rows: tile.rows,
            heads: slot.heads,
            tokens,
            step,
            scale: self.scale,
        };
        let queries = tile.rows * slot.heads;
        let packed = worker.queries.take(queries * self.shape.head_size);
        let scores = worker.scores.take(QUERIES_MAX * SEGMENT_TOKENS);
        segment::attend(self.compute.kernels, &segment, packed, scores, part);
    }

    /// Divides by the sums of weights and writes the tile's outputs.
    fn finish(&self, tile: &Tile, slot: Slot, total: &mut [f32], out: &Shares<f32>) {
        segment::normalise(self.compute.kernels, total, tile.rows * slot.heads);
        let size = self.shape.head_size;
        let outputs = total[2 * QUERIES_MAX..].chunks_exact(self.shape.value_stride());
        for (query, output) in outputs.enumerate() {
            let (row, head) = (query / slot.heads, query % slot.heads);
            let start = ((tile.first_row + row) * self.heads + slot.first_head + head) * size;
            // SAFETY: each row and head belongs to one tile and slot, so to one task.
            unsafe { out.slice(start, size) }.copy_from_slice(&output[..size]);
        }
    }
}

/// Consecutive rows with consecutive positions of one sequence, cut at multiples of `tile_rows`.
fn cut_into_tiles(rows: &[AttentionRow<'_>], tile_rows: usize, tiles: &mut Vec<Tile>) {
    tiles.clear();
    let mut segments_before = 0;
    for (index, row) in rows.iter().enumerate() {
        let position = row.position as usize;
        if let Some(tile) = tiles.last_mut() {
            let goes_on = tile.position + tile.rows == position
                && !position.is_multiple_of(tile_rows)
                && rows[index - 1].pages == row.pages;
            if goes_on {
                tile.rows += 1;
                continue;
            }
        }
        let segments = position / SEGMENT_TOKENS + 1;
        tiles.push(Tile { first_row: index, rows: 1, position, segments, segments_before });
        segments_before += segments;
    }
}
