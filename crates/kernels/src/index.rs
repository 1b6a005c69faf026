//! Turns queries and cached keys into scores of positions, and scores into the positions that are
//! to be attended to.
//!
//! The indexer of DeepSeek-V3.2 (DeepSeek-AI 2025): small heads, which share one key, choose for
//! each token what its attention reads. Each score is made in one order, whatever else is in the
//! call: one chain over the key's dimensions for each head, one over the heads, both ascending.

use crate::attention::AttentionRow;
use crate::compute::Compute;
use crate::kv::{Element, Elements, GROUP_TOKENS, KvCache, KvShape, PAGE_TOKENS, SCALED_NUMBERS};
use crate::lanes::Lanes;
use crate::level::leveled;
use crate::pool::Shares;

/// Pages of a task: some 40 µs of work with 64 heads of 128.
const TASK_PAGES: usize = 8;

/// Products below which waking the other threads costs more than it saves (~5 µs of work).
const PARALLEL_MIN: usize = 256 << 10;

/// What is to be scored, by what, and how.
#[derive(Clone, Copy)]
pub struct IndexCall<'a> {
    /// The keys; those of all positions up to each row's own must be there.
    pub cache: &'a KvCache,
    /// Which layer of the cache. It has one kv head; its values, if it has any, are not read, so
    /// that their size may be 0.
    pub layer: usize,
    /// The rows, each a token of some sequence. Their selections mean nothing here.
    pub rows: &'a [AttentionRow<'a>],
    /// [rows, heads * key_size], `q_stride` floats from one row to the next.
    pub q: &'a [f32],
    /// See `q`.
    pub q_stride: usize,
    /// What each head's scores count. [rows, heads], `weight_stride` floats from one row to the
    /// next
    pub weights: &'a [f32],
    /// See `weights`.
    pub weight_stride: usize,
    /// Query heads.
    pub heads: usize,
    /// Factor of all scores.
    pub scale: f32,
}

/// `scores[row][position] = scale · Σ_h weights[row, h] · max(0, q[row, h] · k[position])` for all
/// positions up to the row's own: [position + 1] each, whatever the vectors held before.
///
/// # Panics
///
/// If the layer has several kv heads, or the layer, a page, the counts or the slices do not fit the
/// cache and each other.
pub fn index_scores(compute: &Compute, call: &IndexCall<'_>, scores: &mut [Vec<f32>]) {
    let shape = call.cache.shape(call.layer);
    let (heads, size) = (call.heads, shape.key_size);
    assert_eq!(shape.kv_heads, 1, "kv heads of layer {}", call.layer);
    assert_eq!(scores.len(), call.rows.len(), "a vector of scores for each row");
    let Some(last) = call.rows.len().checked_sub(1) else { return };
    let holds = |x: &[f32], stride: usize, width: usize| {
        last.saturating_mul(stride).saturating_add(width) <= x.len()
    };
    assert!(holds(call.q, call.q_stride, heads.saturating_mul(size)), "q: [rows, q_stride]");
    assert!(holds(call.weights, call.weight_stride, heads), "weights: [rows, weight_stride]");

    // Where the tasks of each row begin.
    let mut firsts = Vec::with_capacity(call.rows.len());
    let (mut tasks, mut pages) = (0, 0);
    let mut shares = Vec::with_capacity(call.rows.len());
    for (row, scores) in call.rows.iter().zip(scores) {
        let needed = row.position as usize / PAGE_TOKENS + 1;
        let found = row.pages.len();
        assert!(needed <= found, "{found} pages for position {}", row.position);
        firsts.push(tasks);
        tasks += needed.div_ceil(TASK_PAGES);
        pages += needed;
        scores.resize(row.position as usize + 1, 0.0);
        shares.push(Shares::new(scores));
    }
    let task = |task: usize, _worker: usize| {
        let row = firsts.partition_point(|&first| first <= task) - 1;
        let start = (task - firsts[row]) * TASK_PAGES * PAGE_TOKENS;
        let end = (start + TASK_PAGES * PAGE_TOKENS).min(call.rows[row].position as usize + 1);
        // SAFETY: each of these positions belongs to one task of the row.
        let out = unsafe { shares[row].slice(start, end - start) };
        score(compute, call, row, start / PAGE_TOKENS, out);
    };
    if pages * PAGE_TOKENS * heads * size < PARALLEL_MIN {
        (0..tasks).for_each(|index| task(index, 0));
    } else {
        compute.pool.run(tasks, &task);
    }
}

/// The scores of a row from a page on.
fn score(compute: &Compute, call: &IndexCall<'_>, row: usize, first: usize, out: &mut [f32]) {
    let shape = call.cache.shape(call.layer);
    let query = Query {
        q: &call.q[row * call.q_stride..][..call.heads * shape.key_size],
        weights: &call.weights[row * call.weight_stride..][..call.heads],
        size: shape.key_size,
        scale: call.scale,
    };
    let pages = &call.rows[row].pages[first..];
    for (out, &page) in out.chunks_mut(PAGE_TOKENS).zip(pages) {
        let block = call.cache.block(page, call.layer, 0);
        // Those behind the row's own are of later tokens, or of nobody's.
        let mut scores = [0.0; PAGE_TOKENS];
        match call.cache.elements() {
            Elements::F16(elements) => {
                let keys = &elements[block..][..shape.key_length::<u16>()];
                score_page_f16(compute.kernels, &query, keys, &mut scores);
            }
            Elements::F32(elements) => {
                let keys = &elements[block..][..shape.key_length::<f32>()];
                score_page_f32(compute.kernels, &query, keys, &mut scores);
            }
            Elements::Q8(elements) => {
                let keys = &elements[block..][..shape.key_length::<u8>()];
                score_page_q8(compute.kernels, &query, keys, &mut scores);
            }
        }
        out.copy_from_slice(&scores[..out.len()]);
    }
}

/// All heads of one row.
struct Query<'a> {
    /// [heads][size]
    q: &'a [f32],
    /// [heads]
    weights: &'a [f32],
    size: usize,
    scale: f32,
}

leveled!(
    /// The scores of one page. `keys`: [size][PAGE_TOKENS]
    fn score_page_f16(
        kernels,
        query: &Query<'_>,
        keys: &[u16],
        scores: &mut [f32; PAGE_TOKENS],
    ) = score_page::<u16>
);

leveled!(
    /// The same for a cache of floats.
    fn score_page_f32(
        kernels,
        query: &Query<'_>,
        keys: &[f32],
        scores: &mut [f32; PAGE_TOKENS],
    ) = score_page::<f32>
);

leveled!(
    /// The same for a cache of bytes; their scales stand behind the keys.
    fn score_page_q8(
        kernels,
        query: &Query<'_>,
        keys: &[u8],
        scores: &mut [f32; PAGE_TOKENS],
    ) = score_page::<u8>
);

/// # Safety
///
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn score_page<L: Lanes, E: Element>(
    query: &Query<'_>,
    keys: &[E],
    scores: &mut [f32; PAGE_TOKENS],
) {
    let shape = KvShape { kv_heads: 1, key_size: query.size, value_size: 0 };
    let wanted = shape.key_length::<E>();
    assert_eq!(keys.len(), wanted, "the keys of a page, and their scales");
    assert_eq!(query.q.len(), query.size * query.weights.len(), "q: [heads][size]");
    // SAFETY: the caller's promise; both groups of tokens lie in the page.
    unsafe {
        if L::MANY_REGISTERS {
            score_groups::<L, E, 2>(query, keys, 0, scores.as_mut_ptr());
        } else {
            for token in (0..PAGE_TOKENS).step_by(GROUP_TOKENS) {
                score_groups::<L, E, 1>(query, keys, token, scores.as_mut_ptr().add(token));
            }
        }
    }
}

/// N groups of sixteen tokens, from `token` on.
///
/// # Safety
///
/// `keys` are those of a page and their scales, `scores` is good for 16 N, and the
/// processor has the instructions of `L`.
#[inline(always)]
unsafe fn score_groups<L: Lanes, E: Element, const N: usize>(
    query: &Query<'_>,
    keys: &[E],
    token: usize,
    scores: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [L::splat(0.0); N];
        let heads = query.weights.len();
        let mut head = 0;
        while head < heads {
            // Six times two registers of sums, two of keys and one of a query.
            head += match heads - head {
                6.. => add_heads::<L, E, 6, N>(query, head, keys, token, &mut sums),
                4.. => add_heads::<L, E, 4, N>(query, head, keys, token, &mut sums),
                2.. => add_heads::<L, E, 2, N>(query, head, keys, token, &mut sums),
                _ => add_heads::<L, E, 1, N>(query, head, keys, token, &mut sums),
            };
        }
        for (n, sum) in sums.into_iter().enumerate() {
            sum.mul(L::splat(query.scale)).store(scores.add(n * GROUP_TOKENS));
        }
    }
}

/// Adds the scores of M heads, one after the other. Gives M.
///
/// # Safety
///
/// As for [`score_groups`]; there are M heads from `first` on.
#[inline(always)]
unsafe fn add_heads<L: Lanes, E: Element, const M: usize, const N: usize>(
    query: &Query<'_>,
    first: usize,
    keys: &[E],
    token: usize,
    sums: &mut [L; N],
) -> usize {
    let q = query.q[first * query.size..][..M * query.size].as_ptr();
    // SAFETY: the caller's promise.
    unsafe {
        let numbers = query.size.next_multiple_of(E::KEY_STEP) * PAGE_TOKENS;
        let scales = keys.as_ptr().wrapping_add(numbers + 2 * token);
        let keys = keys.as_ptr().add(token * E::KEY_STEP);
        let mut dots = [[L::splat(0.0); N]; M];
        let mut scale = [L::splat(1.0); N];
        for d in 0..query.size {
            if E::HAS_SCALES && d % SCALED_NUMBERS == 0 {
                let row = scales.add(d / SCALED_NUMBERS * 2 * PAGE_TOKENS);
                for (n, scale) in scale.iter_mut().enumerate() {
                    *scale = E::load_scales(row.add(2 * n * GROUP_TOKENS));
                }
            }
            let mut key = [L::splat(0.0); N];
            for (n, key) in key.iter_mut().enumerate() {
                *key = E::load_key(keys.add(n * GROUP_TOKENS * E::KEY_STEP), d);
                if E::HAS_SCALES {
                    *key = key.mul(scale[n]);
                }
            }
            for (m, dots) in dots.iter_mut().enumerate() {
                let q = L::splat(*q.add(m * query.size + d));
                for (dot, key) in dots.iter_mut().zip(key) {
                    *dot = q.mul_add(key, *dot);
                }
            }
        }
        for (dots, weight) in dots.into_iter().zip(&query.weights[first..]) {
            for (dot, sum) in dots.into_iter().zip(sums.iter_mut()) {
                // A NaN, the second operand, passes.
                *sum = L::splat(0.0).max(dot).mul_add(L::splat(*weight), *sum);
            }
        }
    }
    M
}

/// The positions of the `count` greatest scores, ascending; all where there are no more. Of equal
/// scores the earlier one is taken, and a NaN counts as the least.
///
/// Attention takes the result as a selection, unless `count` is 0.
pub fn top_positions(scores: &[f32], count: usize) -> Vec<u32> {
    let mut positions: Vec<u32> = (0..scores.len() as u32).collect();
    if count >= positions.len() {
        return positions;
    }
    let rank = |position: u32| match scores[position as usize] {
        score if score.is_nan() => f32::NEG_INFINITY,
        score => score,
    };
    if let Some(last) = count.checked_sub(1) {
        positions.select_nth_unstable_by(last, |&a, &b| {
            rank(b).partial_cmp(&rank(a)).expect("no NaN is left").then(a.cmp(&b))
        });
    }
    positions.truncate(count);
    positions.sort_unstable();
    positions
}
