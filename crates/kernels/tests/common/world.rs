//! Turns a seed into sequences in a cache, and their queries into attention: by the kernel, and by
//! its definition in f64.

use super::Random;
use myriad_kernels::{
    AttentionCall, AttentionRow, AttentionScratch, Compute, KvCache, KvShape, KvType, Level,
    PAGE_TOKENS, RowSlot, attention, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16,
};

const LAYERS: usize = 2;
pub const LAYER: usize = 1;

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub kv_heads: usize,
    pub group: usize,
    pub key_size: usize,
    pub value_size: usize,
}

pub const fn shape(kv_heads: usize, group: usize, key_size: usize, value_size: usize) -> Shape {
    Shape { kv_heads, group, key_size, value_size }
}

impl Shape {
    pub fn heads(self) -> usize {
        self.kv_heads * self.group
    }

    /// Floats of all queries of a row.
    pub fn q_width(self) -> usize {
        self.heads() * self.key_size
    }

    /// Floats of all outputs of a row.
    pub fn width(self) -> usize {
        self.heads() * self.value_size
    }

    pub fn k_width(self) -> usize {
        self.kv_heads * self.key_size
    }

    pub fn v_width(self) -> usize {
        self.kv_heads * self.value_size
    }

    fn of_cache(self) -> KvShape {
        let Shape { kv_heads, key_size, value_size, .. } = self;
        KvShape { kv_heads, key_size, value_size }
    }
}

/// Sequences of given lengths in pages in random order, with a query for every position.
pub struct World {
    pub shape: Shape,
    pub cache: KvCache,
    pub pages: Vec<Vec<u32>>,
    /// Per sequence, as stored: [tokens, kv_heads * key_size], then of values.
    pub k: Vec<Vec<f32>>,
    pub v: Vec<Vec<f32>>,
    pub q: Vec<Vec<f32>>,
    /// Half of all seeds make worlds of exact calls.
    pub exact: bool,
    pub window: Option<usize>,
    pub sinks: Option<Vec<f32>>,
    /// Whether each row sees its whole sequence, not what comes before it alone.
    pub whole: bool,
    /// Per sequence and position; nothing where all is attended to.
    pub selections: Vec<Vec<Option<Vec<u32>>>>,
}

impl World {
    pub fn new(shape: Shape, lengths: &[usize], seed: u64) -> World {
        World::of(KvType::F16, shape, lengths, seed)
    }

    /// With keys and values stored as `kind`.
    pub fn of(kind: KvType, shape: Shape, lengths: &[usize], seed: u64) -> World {
        let mut random = Random(seed);
        let counts: Vec<usize> =
            lengths.iter().map(|length| length.div_ceil(PAGE_TOKENS)).collect();
        let total: usize = counts.iter().sum::<usize>() + 2;
        let mut free: Vec<u32> = (0..total as u32).collect();
        for i in (1..free.len()).rev() {
            free.swap(i, random.below(i + 1));
        }
        let mut world = World {
            shape,
            cache: cache_of_nothing(kind, shape, total),
            pages: vec![],
            k: vec![],
            v: vec![],
            q: vec![],
            exact: seed % 2 == 1,
            window: None,
            sinks: None,
            whole: false,
            selections: lengths.iter().map(|&length| vec![None; length]).collect(),
        };
        let compute = super::compute(Level::Scalar, 1);
        for (&length, &count) in lengths.iter().zip(&counts) {
            let pages = free.split_off(free.len() - count);
            let k: Vec<f32> =
                random.values(length * shape.k_width()).iter().map(|x| 3.0 * x).collect();
            let v = random.values(length * shape.v_width());
            let slots: Vec<RowSlot> = (0..length).map(|token| slot(&pages, token)).collect();
            world.cache.store(&compute, LAYER, &slots, &k, shape.k_width(), &v, shape.v_width());
            world.pages.push(pages);
            world.k.push(stored(kind, &k, shape.key_size));
            world.v.push(stored(kind, &v, shape.value_size));
            world.q.push(random.values(length * shape.q_width()));
        }
        world
    }

    /// Stores other keys and values for one token.
    pub fn store(&mut self, sequence: usize, token: usize, k: &[f32], v: &[f32]) {
        let slot = slot(&self.pages[sequence], token);
        let compute = super::compute(Level::Scalar, 1);
        self.cache.store(&compute, LAYER, &[slot], k, k.len(), v, v.len());
    }

    pub fn scale(&self) -> f32 {
        1.5 / (self.shape.key_size as f32).sqrt()
    }

    /// Lets sequence `to` begin with so many pages of sequence `from`.
    pub fn share(&mut self, from: usize, to: usize, pages: usize) {
        let begin_alike = |all: &mut [Vec<f32>], width: usize| {
            let prefix = all[from][..pages * PAGE_TOKENS * width].to_vec();
            all[to][..prefix.len()].copy_from_slice(&prefix);
        };
        begin_alike(&mut self.k, self.shape.k_width());
        begin_alike(&mut self.v, self.shape.v_width());
        let prefix = self.pages[from][..pages].to_vec();
        self.pages[to][..pages].copy_from_slice(&prefix);
    }

    /// Attention of `rows` (sequence, position), in one call.
    pub fn attend(
        &self,
        compute: &Compute,
        rows: &[(usize, usize)],
        scratch: &mut AttentionScratch,
    ) -> Vec<f32> {
        let (q_width, width) = (self.shape.q_width(), self.shape.width());
        let stride = q_width + 5;
        let mut q = vec![f32::NAN; rows.len() * stride];
        for (&(sequence, position), q) in rows.iter().zip(q.chunks_exact_mut(stride)) {
            q[..q_width].copy_from_slice(&self.q[sequence][position * q_width..][..q_width]);
        }
        let attention_rows: Vec<AttentionRow<'_>> = rows
            .iter()
            .map(|&(sequence, position)| AttentionRow {
                pages: &self.pages[sequence],
                position: self.last_seen(sequence, position) as u32,
                selection: self.selections[sequence][position].as_deref(),
            })
            .collect();
        let call = AttentionCall {
            cache: &self.cache,
            layer: LAYER,
            rows: &attention_rows,
            q: &q,
            q_stride: stride,
            heads: self.shape.heads(),
            scale: self.scale(),
            exact: self.exact,
            window: self.window,
            sinks: self.sinks.as_deref(),
        };
        let mut out = vec![f32::NAN; rows.len() * width];
        attention(compute, &call, &mut out, scratch);
        out
    }

    fn last_seen(&self, sequence: usize, position: usize) -> usize {
        if self.whole { self.selections[sequence].len() - 1 } else { position }
    }

    /// The positions that a row attends to, by the definition.
    pub fn attended(&self, sequence: usize, position: usize) -> Vec<usize> {
        let selection = &self.selections[sequence][position];
        let position = self.last_seen(sequence, position);
        (0..=position)
            .filter(|token| self.window.is_none_or(|window| token + window > position))
            .filter(|token| {
                selection.as_ref().is_none_or(|selected| selected.contains(&(*token as u32)))
            })
            .collect()
    }

    /// The attention of one row, by the definition, in f64.
    pub fn plain(&self, sequence: usize, position: usize) -> Vec<f64> {
        let Shape { group, key_size, value_size, .. } = self.shape;
        let attended = self.attended(sequence, position);
        let mut out = vec![0.0; self.shape.width()];
        for (head, out) in out.chunks_exact_mut(value_size).enumerate() {
            let q = &self.q[sequence][position * self.shape.q_width() + head * key_size..];
            let q: Vec<f32> = match self.cache.kind() {
                KvType::Q8_0 => q[..key_size].chunks(32).flat_map(multiplied_q8).collect(),
                _ => q[..key_size].to_vec(),
            };
            let score = |token: &usize| {
                let at = token * self.shape.k_width() + head / group * key_size;
                let products = q.iter().zip(&self.k[sequence][at..]);
                let dot: f64 = products.map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                dot * f64::from(self.scale())
            };
            let scores: Vec<f64> = attended.iter().map(score).collect();
            let sink = self.sinks.as_ref().map_or(f64::NEG_INFINITY, |sinks| sinks[head].into());
            let greatest = scores.iter().copied().fold(sink, f64::max);
            let weights = self.weights(&attended, &scores, greatest);
            let sum = weights.iter().sum::<f64>() + (sink - greatest).exp();
            for (token, weight) in attended.iter().zip(&weights) {
                let at = token * self.shape.v_width() + head / group * value_size;
                for (out, v) in out.iter_mut().zip(&self.v[sequence][at..]) {
                    *out += weight / sum * self.rounded((*v).into());
                }
            }
        }
        out
    }

    /// e^(score - greatest), rounded in each segment of 256 positions as multiples of its greatest.
    fn weights(&self, attended: &[usize], scores: &[f64], greatest: f64) -> Vec<f64> {
        let both: Vec<(usize, f64)> =
            attended.iter().map(|token| token / 256).zip(scores.iter().copied()).collect();
        let segments = both.chunk_by(|a, b| a.0 == b.0).flat_map(|segment| {
            let most = segment.iter().map(|(_, score)| *score).fold(f64::NEG_INFINITY, f64::max);
            let scale = (most - greatest).exp();
            segment.iter().map(move |(_, score)| scale * self.rounded((score - most).exp()))
        });
        segments.collect()
    }

    /// A weight or value as it is multiplied: in BF16 unless the call or the cache is exact. (Where
    /// values have scales, weights are multiplied by them first: see the tolerance.)
    fn rounded(&self, x: f64) -> f64 {
        if self.is_exact() || self.cache.kind() == KvType::Q8_0 {
            x
        } else {
            bf16_to_f32(f32_to_bf16(x as f32)).into()
        }
    }

    fn is_exact(&self) -> bool {
        self.exact || self.cache.kind() == KvType::F32
    }

    /// How far from the definition a result may lie. A weight (of values up to 1) that lies between
    /// two numbers of BF16 may be rounded to the other one.
    fn tolerance(&self) -> f64 {
        if self.is_exact() { 2e-6 } else { 2f64.powi(-8) }
    }

    /// Fails where the kernel's result for a row is not what the definition says.
    pub fn check(&self, row: (usize, usize), out: &[f32]) {
        let (plain, tolerance) = (self.plain(row.0, row.1), self.tolerance());
        for (index, (out, plain)) in out.iter().zip(&plain).enumerate() {
            assert!(
                (f64::from(*out) - plain).abs() < tolerance,
                "{:?}, window {:?}, row {row:?}, output {index}: {out}, should be {plain}",
                self.shape,
                self.window
            );
        }
    }

    /// All rows of each sequence, in calls of random chunks among each other.
    pub fn attend_in_chunks(
        &self,
        compute: &Compute,
        random: &mut Random,
        mut check: impl FnMut((usize, usize), &[f32]),
    ) {
        let mut scratch = AttentionScratch::new();
        let lengths: Vec<usize> = self.selections.iter().map(Vec::len).collect();
        let mut done = vec![0; lengths.len()];
        while done != lengths {
            let mut rows = vec![];
            for (sequence, &length) in lengths.iter().enumerate() {
                let most = [1, 4, 70, 600][random.below(4)];
                let count = (1 + random.below(most)).min(length - done[sequence]);
                rows.extend((0..count).map(|i| (sequence, done[sequence] + i)));
                done[sequence] += count;
            }
            if random.below(4) == 0 {
                rows.reverse();
            }
            let out = self.attend(compute, &rows, &mut scratch);
            for (&row, out) in rows.iter().zip(out.chunks_exact(self.shape.width())) {
                check(row, out);
            }
        }
    }
}

/// Numbers as a cache gives them back; `size` of them are one head's of one token.
pub fn stored(kind: KvType, x: &[f32], size: usize) -> Vec<f32> {
    let half = |x: f32| f16_to_f32(f32_to_f16(x));
    match kind {
        KvType::F16 => x.iter().map(|&x| half(x)).collect(),
        KvType::F32 => x.to_vec(),
        KvType::Q8_0 => {
            let blocks = x.chunks(size.max(1)).flat_map(|head| head.chunks(32));
            blocks.flat_map(|block| stored_q8(block, half)).collect()
        }
    }
}

fn stored_q8(block: &[f32], half: impl Fn(f32) -> f32) -> Vec<f32> {
    let greatest = block.iter().fold(0.0, |greatest: f32, x| greatest.max(x.abs()));
    let step = half(greatest / 127.0);
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    let level = |x: &f32| (x * inverse).clamp(-127.0, 127.0).round_ties_even();
    block.iter().map(|x| level(x) * step).collect()
}

/// Thirty-two numbers of a query as they are multiplied by keys of bytes.
fn multiplied_q8(block: &[f32]) -> Vec<f32> {
    let greatest = block.iter().fold(0.0, |greatest: f32, x| greatest.max(x.abs()));
    let inverse = if greatest > 0.0 { 127.0 / greatest } else { 0.0 };
    block.iter().map(|x| (x * inverse).round_ties_even() * (greatest / 127.0)).collect()
}

fn slot(pages: &[u32], token: usize) -> RowSlot {
    RowSlot { page: pages[token / PAGE_TOKENS], slot: (token % PAGE_TOKENS) as u32 }
}

/// What old sequences may have left: NaN everywhere. Nothing of it may show. Nor may the other
/// layer, which has another shape.
fn cache_of_nothing(kind: KvType, shape: Shape, pages: usize) -> KvCache {
    let mut layers = [KvShape { kv_heads: 2, key_size: 20, value_size: 8 }; LAYERS];
    layers[LAYER] = shape.of_cache();
    let mut cache = KvCache::with_type(kind, &layers, pages).expect("a small cache");
    let nan = vec![f32::NAN; shape.k_width().max(shape.v_width())];
    let table: Vec<u32> = (0..pages as u32).collect();
    let slots: Vec<RowSlot> = (0..pages * PAGE_TOKENS).map(|token| slot(&table, token)).collect();
    // A stride of 0: every row is the same.
    cache.store(&super::compute(Level::Scalar, 1), LAYER, &slots, &nan, 0, &nan, 0);
    cache
}
