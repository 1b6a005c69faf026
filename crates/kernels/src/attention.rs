//! Turns queries and the cached keys and values of their sequences into mixed values.
//!
//! Rows are gathered into tiles (a decode row alone, neighbours of a prompt together, and those of
//! a text that is read in both directions), so that each key and value is loaded once for all query
//! heads that share it and all rows of the tile. A sequence is cut into segments of 256 absolute
//! positions, whose parts are merged in ascending order. Segments that neighbouring sequences
//! share are attended to by the rows of all of them together. Hence the result of a row has the
//! same bits whatever else is in the call. Segments in which a row sees nothing, before its window
//! or between its selected positions, cost nothing.

mod mix;
mod parts;
mod score;
mod segment;
mod tiles;
mod tokens;

pub(crate) use mix::ValuePairs;

use crate::compute::Compute;
use crate::kv::{Elements, KvCache, KvShape, KvType, PAGE_TOKENS, SCALED_NUMBERS};
use crate::memory::Floats;
use crate::pool::Shares;
use parts::QUERIES_MAX;
use score::{Queries, QueryBytes};
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
    /// round what they read. A cache of floats is exact always. Keys of a cache of bytes are
    /// multiplied by queries that are rounded to bytes, too, either way.
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
    /// The parts of shared tiles.
    prefixes: Floats,
    tasks: Tasks,
}

/// What tasks need, of whichever tiles.
#[derive(Default)]
struct Tasks {
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
    query_bytes: Vec<QueryBytes>,
    scores: Floats,
    scaled: Floats,
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

/// Tiles that are attended to at once.
struct Pass<'a> {
    tiles: &'a Tiles,
    all: &'a [Tile],
    results: Results<'a>,
}

/// What becomes of tiles.
enum Results<'a> {
    /// Of shared ones: a part for each tile and slot.
    Prefixes(Shares<f32>),
    /// Of rows' own: outputs, each merged with what is here of its prefix.
    Outputs { prefixes: &'a [f32], out: Shares<f32> },
}

/// What is attended to in one go: one of the segments of a tile, for one slot.
#[derive(Clone, Copy)]
struct Unit<'a> {
    tile: &'a Tile,
    slot: Slot,
    /// Its place among all tiles and slots of the pass.
    place: usize,
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
        let AttentionScratch { tiles, prefixes, tasks } = scratch;
        tiles.cut(self.call.rows, self.tile_rows, self.call.window);
        tasks.workers.resize_with(threads.max(tasks.workers.len()), Worker::default);
        let prefixes = prefixes.take(tiles.shared.len() * self.slots() * self.part_length());
        let results = Results::Prefixes(Shares::new(prefixes));
        self.run_pass(&Pass { tiles, all: &tiles.shared, results }, tasks);
        let results = Results::Outputs { prefixes, out: Shares::new(out) };
        self.run_pass(&Pass { tiles, all: &tiles.tiles, results }, tasks);
    }

    fn run_pass(&self, pass: &Pass<'_>, tasks: &mut Tasks) {
        let threads = self.compute.pool.threads();
        let (mut units, mut longest) = (0, 0);
        for tile in pass.all {
            units += tile.segments * self.slots();
            longest = longest.max(tile.segments);
        }
        // With few and long tasks a thread would wait for the last one: share out the segments.
        let few = longest > 1 && threads > 1 && units < 4 * threads * longest;
        if few && units * self.part_length() <= PARTS_MAX {
            self.run_segments(pass, units, tasks);
        } else if units > 0 {
            self.run_tiles(pass, tasks);
        }
    }

    /// A task for each tile and slot.
    fn run_tiles(&self, pass: &Pass<'_>, tasks: &mut Tasks) {
        let workers = Shares::new(&mut tasks.workers);
        let count = pass.all.len() * self.slots();
        // The last tiles of a prompt see most tokens: begin with them.
        let first_unit = |task: usize| {
            let tile = pass.all.len() - 1 - task / self.slots();
            self.unit(pass, tile, task % self.slots(), 0)
        };
        self.compute.pool.run(count, &|task, worker| {
            // SAFETY: no two tasks that overlap have the same worker.
            let worker = unsafe { &mut workers.slice(worker, 1)[0] };
            let next_task = task + self.compute.pool.threads();
            let next = (next_task < count).then(|| first_unit(next_task));
            self.whole_tile(pass, first_unit(task), next, worker);
        });
    }

    /// A task for each segment, tile and slot; the last to be done of a tile merges the parts.
    fn run_segments(&self, pass: &Pass<'_>, units: usize, tasks: &mut Tasks) {
        let Tasks { workers, parts, pending } = tasks;
        let workers = Shares::new(workers);
        let (slots, part_length) = (self.slots(), self.part_length());
        let parts = Shares::new(parts.take(units * part_length));
        pending.clear();
        for tile in pass.all {
            pending.extend((0..slots).map(|_| AtomicUsize::new(tile.segments)));
        }
        let unit_of = |task: usize| {
            let tile = pass.all.partition_point(|tile| tile.segments_before <= task / slots) - 1;
            let index = task / slots - pass.all[tile].segments_before;
            self.unit(pass, tile, task % slots, index)
        };
        self.compute.pool.run(units, &|task, worker| {
            let unit = unit_of(task);
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
            let next = (next_task < units).then(|| unit_of(next_task));
            self.pack(unit, worker);
            self.attend(pass.tiles, unit, next, worker, part_of(unit.index));
            // Releases our part and acquires the others'.
            if pending[unit.place].fetch_sub(1, Ordering::AcqRel) > 1 {
                return;
            }
            let (mut total, mut behind) = (worker.total.take(length), 0);
            if !self.begin(pass, unit, total) {
                (total, behind) = (part_of(0), 1);
            }
            for index in behind..tile.segments {
                parts::merge(self.compute.kernels, total, part_of(index), unit.queries());
            }
            self.finish(pass, unit, total);
        });
    }

    /// All segments of a tile, one after the other; `next` is what this thread probably does then.
    fn whole_tile(
        &self,
        pass: &Pass<'_>,
        first: Unit<'_>,
        next: Option<Unit<'_>>,
        worker: &mut Worker,
    ) {
        let length = first.part_length(self.shape);
        self.pack(first, worker);
        let (mut total, mut part) =
            (std::mem::take(&mut worker.total), std::mem::take(&mut worker.part));
        let has_begun = self.begin(pass, first, total.take(length));
        for index in 0..first.tile.segments {
            let unit = Unit { index, ..first };
            let following = Unit { index: index + 1, ..first };
            let next = if following.index < first.tile.segments { Some(following) } else { next };
            if index == 0 && !has_begun {
                self.attend(pass.tiles, unit, next, worker, total.take(length));
            } else {
                self.attend(pass.tiles, unit, next, worker, part.take(length));
                let (total, part) = (total.take(length), part.take(length));
                parts::merge(self.compute.kernels, total, part, unit.queries());
            }
        }
        self.finish(pass, first, total.take(length));
        (worker.total, worker.part) = (total, part);
    }

    fn slots(&self) -> usize {
        self.shape.kv_heads * self.chunks
    }

    fn unit<'a>(&self, pass: &Pass<'a>, tile: usize, slot: usize, index: usize) -> Unit<'a> {
        let place = tile * self.slots() + slot;
        Unit { tile: &pass.all[tile], slot: self.slot(slot), place, index }
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

    /// Puts the unit's queries, scaled, in the order in which the kernel reads them, see
    /// [`Queries`].
    fn pack(&self, unit: Unit<'_>, worker: &mut Worker) {
        let (size, scale) = (self.shape.key_size, self.call.scale);
        let queries = segment::query_blocks(unit.queries()).flat_map(|(first, count)| {
            (0..count).map(move |index| {
                let (row, head) = unit.row_and_head(first + index);
                let query = &self.call.q[row * self.call.q_stride + head * size..][..size];
                (first, index, count, query)
            })
        });
        if self.call.cache.kind() == KvType::Q8_0 {
            let length = size.div_ceil(SCALED_NUMBERS);
            worker.query_bytes.resize(unit.queries() * length, QueryBytes::default());
            for (first, index, count, query) in queries {
                let to = &mut worker.query_bytes[first * length + index..];
                score::pack_bytes(self.compute.kernels, query, scale, to, count);
            }
        } else {
            let packed = worker.queries.take(unit.queries() * size);
            for (first, index, count, query) in queries {
                let to = packed[first * size + index..].iter_mut().step_by(count);
                for (to, from) in to.zip(query) {
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
        let is_scaled = self.call.cache.kind() == KvType::Q8_0;
        let floats = if is_scaled { 0 } else { unit.queries() * self.shape.key_size };
        let floats = worker.queries.take(floats);
        let buffers = Buffers {
            queries: Queries { floats, bytes: &worker.query_bytes },
            scores: worker.scores.take(QUERIES_MAX * SEGMENT_TOKENS),
            scaled: worker.scaled.take(if is_scaled { QUERIES_MAX * SEGMENT_TOKENS } else { 0 }),
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
        let Unit { tile, slot, index, .. } = unit;
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

    /// Puts the part of the segments before the tile into `total`, if it shares some with others.
    fn begin(&self, pass: &Pass<'_>, unit: Unit<'_>, total: &mut [f32]) -> bool {
        let (Results::Outputs { prefixes, .. }, Some(prefix)) = (&pass.results, unit.tile.prefix)
        else {
            return false;
        };
        let place = prefix * self.slots() + unit.place % self.slots();
        let first_row = unit.tile.first_row - pass.tiles.shared[prefix].first_row;
        let from = &prefixes[place * self.part_length()..];
        parts::pick(from, first_row * unit.slot.heads, unit.queries(), total);
        true
    }

    /// Keeps the part of a shared tile, or divides by the sums of weights and writes the outputs.
    fn finish(&self, pass: &Pass<'_>, unit: Unit<'_>, total: &mut [f32]) {
        let out = match &pass.results {
            Results::Prefixes(parts) => {
                // SAFETY: each tile and slot has a place of its own, and is finished once.
                let part = unsafe { parts.slice(unit.place * self.part_length(), total.len()) };
                part.copy_from_slice(total);
                return;
            }
            Results::Outputs { out, .. } => out,
        };
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
