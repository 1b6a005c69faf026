//! Turns random caches and queries into attention, held against plain sums in f64 and against
//! itself in other batches, chunks, threads and levels.

use myriad_kernels::{
    AttentionRow, AttentionScratch, Compute, Kernels, KvCache, KvShape, Level, PAGE_TOKENS,
    RowSlot, attention, f16_to_f32, f32_to_f16,
};

const LAYERS: usize = 2;
const LAYER: usize = 1;

/// splitmix64: a number for every seed and index.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Between -1 and 1.
    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn floats(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| self.float()).collect()
    }
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    kv_heads: usize,
    group: usize,
    key_size: usize,
    value_size: usize,
}

impl Shape {
    fn heads(self) -> usize {
        self.kv_heads * self.group
    }

    /// Floats of all queries of a row.
    fn q_width(self) -> usize {
        self.heads() * self.key_size
    }

    /// Floats of all outputs of a row.
    fn width(self) -> usize {
        self.heads() * self.value_size
    }

    fn k_width(self) -> usize {
        self.kv_heads * self.key_size
    }

    fn v_width(self) -> usize {
        self.kv_heads * self.value_size
    }

    fn of_cache(self) -> KvShape {
        let Shape { kv_heads, key_size, value_size, .. } = self;
        KvShape { kv_heads, key_size, value_size }
    }
}

/// Sequences of given lengths in pages in random order, with a query for every position.
struct World {
    shape: Shape,
    cache: KvCache,
    pages: Vec<Vec<u32>>,
    /// Per sequence, as stored: [tokens, kv_heads * key_size], then of values.
    k: Vec<Vec<f32>>,
    v: Vec<Vec<f32>>,
    q: Vec<Vec<f32>>,
}

fn compute(level: Level, threads: usize) -> Compute {
    Compute::new(Kernels::at(level).expect("an available level"), threads)
}

fn best() -> Level {
    Level::available().pop().expect("scalar at least")
}

impl World {
    fn new(shape: Shape, lengths: &[usize], seed: u64) -> World {
        let mut random = Random(seed);
        let counts: Vec<usize> =
            lengths.iter().map(|length| length.div_ceil(PAGE_TOKENS)).collect();
        let total: usize = counts.iter().sum::<usize>() + 2;
        let mut free: Vec<u32> = (0..total as u32).collect();
        for i in (1..free.len()).rev() {
            free.swap(i, random.below(i + 1));
        }
        // The other layer is of another shape: nothing of it may matter.
        let other = KvShape { kv_heads: 2, key_size: 20, value_size: 8 };
        let mut layers = [other; LAYERS];
        layers[LAYER] = shape.of_cache();
        let mut cache = KvCache::new(&layers, total).expect("a small cache");
        let compute = compute(Level::Scalar, 1);
        // What an old sequence may have left: NaN everywhere. Nothing of it may show.
        let nan = vec![f32::NAN; shape.k_width().max(shape.v_width())];
        for page in 0..total as u32 {
            for slot in 0..PAGE_TOKENS as u32 {
                cache.store(
                    &compute,
                    LAYER,
                    &[RowSlot { page, slot }],
                    &nan,
                    nan.len(),
                    &nan,
                    nan.len(),
                );
            }
        }
        let mut world = World { shape, cache, pages: vec![], k: vec![], v: vec![], q: vec![] };
        for (&length, &count) in lengths.iter().zip(&counts) {
            let pages = free.split_off(free.len() - count);
            let k: Vec<f32> =
                random.floats(length * shape.k_width()).iter().map(|x| 3.0 * x).collect();
            let v = random.floats(length * shape.v_width());
            let slots: Vec<RowSlot> = (0..length)
                .map(|token| RowSlot {
                    page: pages[token / PAGE_TOKENS],
                    slot: (token % PAGE_TOKENS) as u32,
                })
                .collect();
            world.cache.store(&compute, LAYER, &slots, &k, shape.k_width(), &v, shape.v_width());
            let half = |x: Vec<f32>| -> Vec<f32> {
                x.into_iter().map(|x| f16_to_f32(f32_to_f16(x))).collect()
            };
            world.pages.push(pages);
            world.k.push(half(k));
            world.v.push(half(v));
            world.q.push(random.floats(length * shape.q_width()));
        }
        world
    }

    fn scale(&self) -> f32 {
        1.5 / (self.shape.key_size as f32).sqrt()
    }

    /// Attention of `rows` (sequence, position), in one call.
    fn attend(
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
                position: position as u32,
            })
            .collect();
        let mut out = vec![f32::NAN; rows.len() * width];
        attention(
            compute,
            &self.cache,
            LAYER,
            &attention_rows,
            &q,
            stride,
            self.shape.heads(),
            self.scale(),
            &mut out,
            scratch,
        );
        out
    }

    /// The same for one row, by the definition, in f64.
    fn plain(&self, sequence: usize, position: usize) -> Vec<f64> {
        let Shape { group, key_size, value_size, .. } = self.shape;
        let mut out = vec![0.0; self.shape.width()];
        for (head, out) in out.chunks_exact_mut(value_size).enumerate() {
            let q = &self.q[sequence][position * self.shape.q_width() + head * key_size..];
            let key = |token: usize, d: usize| {
                let at = token * self.shape.k_width() + head / group * key_size + d;
                f64::from(self.k[sequence][at])
            };
            let value = |token: usize, d: usize| {
                let at = token * self.shape.v_width() + head / group * value_size + d;
                f64::from(self.v[sequence][at])
            };
            let scores: Vec<f64> = (0..=position)
                .map(|token| {
                    let dot: f64 = (0..key_size).map(|d| f64::from(q[d]) * key(token, d)).sum();
                    dot * f64::from(self.scale())
                })
                .collect();
            let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|score| (score - greatest).exp()).sum();
            for (token, score) in scores.iter().enumerate() {
                let weight = (score - greatest).exp() / sum;
                for (d, out) in out.iter_mut().enumerate() {
                    *out += weight * value(token, d);
                }
            }
        }
        out
    }

    fn check(&self, row: (usize, usize), out: &[f32]) {
        for (index, (out, plain)) in out.iter().zip(self.plain(row.0, row.1)).enumerate() {
            assert!(
                (f64::from(*out) - plain).abs() < 2e-6,
                "{:?}, row {row:?}, output {index}: {out}, should be {plain}",
                self.shape
            );
        }
    }
}

const fn shape(kv_heads: usize, group: usize, key_size: usize, value_size: usize) -> Shape {
    Shape { kv_heads, group, key_size, value_size }
}

const SHAPES: [Shape; 16] = [
    shape(1, 1, 16, 16),
    shape(3, 3, 64, 64),
    shape(2, 7, 64, 64),
    shape(1, 8, 80, 80),
    shape(2, 6, 128, 128),
    shape(1, 2, 96, 96),
    shape(4, 1, 8, 8),
    shape(2, 5, 72, 72),
    shape(1, 16, 24, 24),
    shape(2, 17, 16, 16),
    shape(1, 35, 8, 8),
    shape(1, 4, 512, 512),
    shape(1, 16, 576, 512),
    shape(2, 3, 24, 16),
    shape(1, 5, 12, 40),
    shape(2, 2, 192, 128),
];

const LENGTHS: [usize; 14] = [1, 2, 15, 16, 17, 31, 32, 33, 255, 256, 257, 511, 513, 1000];

#[test]
fn last_rows_equal_plain_sums_at_every_level() {
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let lengths: Vec<usize> =
            LENGTHS.into_iter().filter(|length| length * shape.q_width() < 300_000).collect();
        let world = World::new(shape, &lengths, 100 + index as u64);
        let rows: Vec<(usize, usize)> =
            lengths.iter().enumerate().map(|(i, length)| (i, length - 1)).collect();
        let mut scratch = AttentionScratch::new();
        let out = world.attend(&compute(best(), 1), &rows, &mut scratch);
        for (&row, out) in rows.iter().zip(out.chunks_exact(shape.width())) {
            world.check(row, out);
        }
        for level in Level::available() {
            let other = world.attend(&compute(level, 2), &rows, &mut scratch);
            assert_eq!(out, other, "{shape:?} at level {level:?}");
        }
    }
}

/// Every position of sequences alone, in chunks of random sizes, among other sequences' rows, on
/// one, two and three threads, with a fresh and a used scratch: the same bits.
#[test]
fn batches_chunks_and_threads_do_not_show() {
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let seed = 200 + index as u64;
        println!("seed {seed}");
        let mut random = Random(seed);
        let lengths = if index < 2 { vec![1, 47, 260, 530] } else { vec![40, 265] };
        let world = World::new(shape, &lengths, seed);
        let one = compute(best(), 1);
        let alone: Vec<Vec<Vec<f32>>> = lengths
            .iter()
            .enumerate()
            .map(|(sequence, &length)| {
                let mut scratch = AttentionScratch::new();
                (0..length)
                    .map(|position| world.attend(&one, &[(sequence, position)], &mut scratch))
                    .collect()
            })
            .collect();
        world.check((1, 39), &alone[1][39]);

        for round in 0..3 {
            let several = compute(best(), 1 + round % 3);
            let mut scratch = AttentionScratch::new();
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
                let out = world.attend(&several, &rows, &mut scratch);
                for (&(sequence, position), out) in rows.iter().zip(out.chunks_exact(shape.width()))
                {
                    let alone = &alone[sequence][position];
                    assert_eq!(out, alone, "{shape:?}, sequence {sequence}, position {position}");
                }
            }
        }
    }
}

#[test]
fn prompts_have_equal_bits_at_every_level() {
    for (index, shape) in SHAPES.into_iter().enumerate().take(4) {
        let world = World::new(shape, &[275], 300 + index as u64);
        let rows: Vec<(usize, usize)> = (0..275).map(|position| (0, position)).collect();
        let mut outs = Level::available().into_iter().map(|level| {
            (level, world.attend(&compute(level, 2), &rows, &mut AttentionScratch::new()))
        });
        let (_, scalar) = outs.next().expect("scalar at least");
        for (level, out) in outs {
            assert_eq!(scalar, out, "{shape:?} at level {level:?}");
        }
    }
}

#[test]
fn far_apart_scores_give_the_greatest_key_alone() {
    let shape = shape(1, 1, 16, 16);
    for level in Level::available() {
        let compute = compute(level, 2);
        let mut world = World::new(shape, &[600], 7);
        // A key far along the query, in the middle segment.
        let q = world.q[0][599 * 16..].to_vec();
        let k: Vec<f32> = q.iter().map(|x| 20_000.0 * x).collect();
        let v: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let slot = RowSlot { page: world.pages[0][300 / 32], slot: 300 % 32 };
        world.cache.store(&compute, LAYER, &[slot], &k, 16, &v, 16);
        let out = world.attend(&compute, &[(0, 599)], &mut AttentionScratch::new());
        assert_eq!(out, v, "{level:?}");
    }
}

#[test]
fn a_query_that_is_no_number_gives_none() {
    let shape = shape(1, 2, 16, 16);
    for level in Level::available() {
        let mut world = World::new(shape, &[300], 8);
        world.q[0][299 * 32 + 3] = f32::NAN;
        let out = world.attend(&compute(level, 1), &[(0, 299)], &mut AttentionScratch::new());
        assert!(out[..16].iter().all(|x| x.is_nan()), "{level:?}");
        assert!(out[16..].iter().all(|x| x.is_finite()), "{level:?}");
    }
}

#[test]
#[should_panic(expected = "1 pages for position 32")]
fn a_position_outside_the_page_table_is_refused() {
    let shape = shape(1, 1, 8, 8);
    let mut world = World::new(shape, &[33], 1);
    world.pages[0].pop();
    world.attend(&compute(Level::Scalar, 1), &[(0, 32)], &mut AttentionScratch::new());
}
