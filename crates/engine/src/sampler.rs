//! Turns logits into a token and its score: penalties, temperature, top-k, top-p, min-p, one draw.
//!
//! A choice depends on the logits, the request and the position alone: the random number is counted
//! from (seed, position), sums run in one fixed order.

use hashbrown::HashMap;

use crate::constraint::{Guide, Onward};
use crate::request::{Sampling, TokenScore};

/// How one request chooses its tokens.
pub(crate) struct Sampler {
    sampling: Sampling,
    /// Tokens of prompt and answer with their count in the answer; kept where a penalty needs it.
    seen: Option<HashMap<u32, u32>>,
    min_tokens: usize,
    /// Not chosen before `min_tokens`.
    end_tokens: Vec<u32>,
    vocab: usize,
}

impl Sampler {
    pub(crate) fn new(
        sampling: Sampling,
        prompt: &[u32],
        vocab: usize,
        min_tokens: usize,
        end_tokens: &[u32],
    ) -> Sampler {
        let penalised = sampling.repetition_penalty != 1.0
            || sampling.frequency_penalty != 0.0
            || sampling.presence_penalty != 0.0;
        let seen = penalised.then(|| prompt.iter().map(|&token| (token, 0)).collect());
        Sampler { sampling, seen, min_tokens, end_tokens: end_tokens.to_vec(), vocab }
    }

    /// Whether a choice depends on the tokens before it by their logits alone.
    pub(crate) fn forgets(&self) -> bool {
        self.seen.is_none()
    }

    /// Takes note of a token of the answer.
    pub(crate) fn record(&mut self, token: u32) {
        if let Some(seen) = &mut self.seen {
            *seen.entry(token).or_insert(0) += 1;
        }
    }

    /// Chooses the token at `position` of the sequence, the answer having `generated` tokens, among
    /// those that `guide` allows.
    ///
    /// # Errors
    /// How the answer ends where it allows none.
    pub(crate) fn choose(
        &self,
        logits: &[f32],
        position: usize,
        generated: usize,
        guide: Option<&Guide>,
        scratch: &mut Scratch,
    ) -> Result<(u32, Option<TokenScore>), Onward> {
        debug_assert_eq!(logits.len(), self.vocab);
        let Scratch { adjusted, allowed, tokens, weights } = scratch;
        let own = self.adjust(logits, generated, adjusted);
        let held_back = self.holds_back(generated);
        let count = match guide {
            Some(guide) => guide.allowed(&self.end_tokens, held_back, allowed)?,
            None => None,
        };
        let token = match count {
            None => self.draw(if own { adjusted } else { logits }, position, weights),
            Some(count) => {
                if !own {
                    copy(logits, adjusted);
                }
                if count * FEW <= self.vocab {
                    gather(allowed, tokens, adjusted);
                    tokens[self.draw(adjusted, position, weights) as usize]
                } else {
                    rule_out(allowed, adjusted);
                    self.draw(adjusted, position, weights)
                }
            }
        };
        let asked = &self.sampling.logprob_tokens;
        let score = self.sampling.logprobs.map(|top| score(logits, token, top, asked));
        Ok((token, score))
    }

    /// Whether the answer, having `generated` tokens, is too short to end.
    pub(crate) fn holds_back(&self, generated: usize) -> bool {
        generated < self.min_tokens
    }

    /// Puts the logits after biases and penalties into `adjusted`; false where there are none.
    fn adjust(&self, logits: &[f32], generated: usize, adjusted: &mut Vec<f32>) -> bool {
        let sampling = &self.sampling;
        let held_back: &[u32] = if self.holds_back(generated) { &self.end_tokens } else { &[] };
        if self.seen.is_none() && sampling.logit_bias.is_empty() && held_back.is_empty() {
            return false;
        }
        copy(logits, adjusted);
        for (&token, &count) in self.seen.iter().flatten() {
            let logit = &mut adjusted[token as usize];
            *logit = match *logit {
                positive if positive > 0.0 => positive / sampling.repetition_penalty,
                other => other * sampling.repetition_penalty,
            };
            *logit -= sampling.frequency_penalty * count as f32;
            *logit -= sampling.presence_penalty * f32::from(u8::from(count > 0));
        }
        for &(token, bias) in &sampling.logit_bias {
            adjusted[token as usize] += bias;
        }
        for &token in held_back {
            adjusted[token as usize] = f32::NEG_INFINITY;
        }
        true
    }

    fn draw(&self, logits: &[f32], position: usize, weights: &mut Vec<f32>) -> u32 {
        let best = best(logits);
        let max = logits[best as usize];
        // Nothing but NaN and infinities: the first of them, as good as any.
        if self.sampling.temperature == 0.0 || !max.is_finite() {
            return best;
        }
        let inverse = 1.0 / self.sampling.temperature;
        // Weights relative to the likeliest token's, whose own is 1.
        weights.clear();
        weights.extend(logits.iter().map(|&x| exp((x - max) * inverse)));
        let uniform = uniform(self.sampling.seed, position as u64);
        let sampling = &self.sampling;
        if sampling.top_k.is_none() && sampling.top_p >= 1.0 && sampling.min_p <= 0.0 {
            return draw_from_all(weights, uniform);
        }
        draw_from_best(weights, sampling, uniform)
    }
}

/// Working memory of a choice. A vocabulary's worth of numbers is more than the allocator keeps at
/// hand: without this the system would clear pages for every token.
#[derive(Default)]
pub(crate) struct Scratch {
    adjusted: Vec<f32>,
    allowed: Vec<u32>,
    tokens: Vec<u32>,
    weights: Vec<f32>,
}

/// Where no more than one token in so many may come, those alone are looked at.
const FEW: usize = 16;

fn copy(from: &[f32], to: &mut Vec<f32>) {
    to.clear();
    to.extend_from_slice(from);
}

/// The tokens whose bits are set, ascending, and in the place of all logits theirs.
fn gather(allowed: &[u32], tokens: &mut Vec<u32>, logits: &mut Vec<f32>) {
    tokens.clear();
    for (first, &word) in (0..).step_by(32).zip(allowed) {
        let mut left = word;
        while left != 0 {
            let token = first + left.trailing_zeros();
            // Ascending, so that the place was read before.
            logits[tokens.len()] = within(logits[token as usize]);
            tokens.push(token);
            left &= left - 1;
        }
    }
    logits.truncate(tokens.len());
}

/// Makes the tokens whose bits are not set impossible.
fn rule_out(allowed: &[u32], logits: &mut [f32]) {
    for (logits, &word) in logits.chunks_mut(32).zip(allowed) {
        for (bit, logit) in logits.iter_mut().enumerate() {
            let allowed = word >> bit & 1 != 0;
            *logit = if allowed { within(*logit) } else { f32::NEG_INFINITY };
        }
    }
}

/// A bias may be infinite and a broken model's logits anything: any token that may come is better
/// than one that may not.
fn within(logit: f32) -> f32 {
    if logit.is_nan() { f32::MIN } else { logit.clamp(f32::MIN, f32::MAX) }
}

/// A token by its weight, tokens in the order of their ids.
fn draw_from_all(weights: &[f32], uniform: f64) -> u32 {
    let mut left = uniform * sum(weights);
    let mut last = 0;
    for (block, values) in weights.chunks(SUM_BLOCK).enumerate() {
        let whole = sum(values);
        if left >= whole {
            left -= whole;
            continue;
        }
        for (index, &weight) in values.iter().enumerate() {
            let token = block * SUM_BLOCK + index;
            if f64::from(weight) > 0.0 {
                last = token;
                if left < f64::from(weight) {
                    return token as u32;
                }
            }
            left -= f64::from(weight);
        }
    }
    // Rounding may leave a crumb beyond the last token that could come.
    if last == 0 { best(weights) } else { last as u32 }
}

/// A token by its weight among the top k of them, of those the top p, of those all above min p.
fn draw_from_best(weights: &[f32], sampling: &Sampling, uniform: f64) -> u32 {
    let count = sampling.top_k.map_or(weights.len(), |top_k| top_k as usize).min(weights.len());
    let mut ranking = Ranking::new(weights);
    let total = if count == weights.len() {
        sum(weights)
    } else {
        ranking.best(count).iter().map(|&token| f64::from(weights[token as usize])).sum()
    };
    let wanted = f64::from(sampling.top_p) * total;
    let (mut kept, mut mass) = (0, 0.0);
    for rank in 0..count {
        let weight = f64::from(weights[ranking.at(rank) as usize]);
        // The likeliest token is always kept: its weight is 1, and min_p is at most that.
        if rank > 0 && (weight < f64::from(sampling.min_p) || weight == 0.0 || mass >= wanted) {
            break;
        }
        mass += weight;
        kept += 1;
    }
    let mut left = uniform * mass;
    for rank in 0..kept {
        let token = ranking.at(rank);
        left -= f64::from(weights[token as usize]);
        if left < 0.0 {
            return token;
        }
    }
    ranking.at(kept - 1)
}

/// Tokens by descending weight, lower ids first among equals, sorted as far as somebody looks.
struct Ranking<'a> {
    weights: &'a [f32],
    tokens: Vec<u32>,
    sorted: usize,
}

impl Ranking<'_> {
    fn new(weights: &[f32]) -> Ranking<'_> {
        Ranking { weights, tokens: (0..weights.len() as u32).collect(), sorted: 0 }
    }

    /// The token at a rank.
    fn at(&mut self, rank: usize) -> u32 {
        // Few draws look beyond the first hundred; each further look costs a pass.
        const FIRST: usize = 128;
        if rank >= self.sorted {
            self.best((rank + 1).max(FIRST).max(self.sorted * 8).min(self.tokens.len()));
        }
        self.tokens[rank]
    }

    /// The first `count` tokens.
    fn best(&mut self, count: usize) -> &[u32] {
        if count > self.sorted {
            let weights = self.weights;
            let order = |a: &u32, b: &u32| {
                weights[*b as usize].total_cmp(&weights[*a as usize]).then(a.cmp(b))
            };
            let rest = &mut self.tokens[self.sorted..];
            let more = count - self.sorted;
            if more < rest.len() {
                rest.select_nth_unstable_by(more, order);
            }
            rest[..more].sort_unstable_by(order);
            self.sorted = count;
        }
        &self.tokens[..count]
    }
}

/// The score of a token under the model alone.
pub(crate) fn score(logits: &[f32], token: u32, top: usize, asked: &[u32]) -> TokenScore {
    let offset = log_sum_exp(logits);
    let logprob = |token: u32| logits[token as usize] - offset;
    let top = likeliest(logits, top).into_iter().map(|token| (token, logprob(token)));
    let asked = asked.iter().map(|&token| (token, logprob(token)));
    TokenScore { token, logprob: logprob(token), top: top.collect(), asked: asked.collect() }
}

/// Natural log-probabilities of a row of logits. [vocab] → [vocab]
pub fn log_probabilities(logits: &[f32]) -> Vec<f32> {
    let offset = log_sum_exp(logits);
    logits.iter().map(|&logit| logit - offset).collect()
}

fn log_sum_exp(logits: &[f32]) -> f32 {
    let max = logits[best(logits) as usize];
    let weights: Vec<f32> = logits.iter().map(|&x| exp(x - max)).collect();
    max + sum(&weights).ln() as f32
}

/// The token of the largest logit, the lowest id among equals. NaN is none.
fn best(logits: &[f32]) -> u32 {
    let (lanes, rest) = logits.as_chunks::<16>();
    let mut largest = [f32::NEG_INFINITY; 16];
    for lanes in lanes {
        for (largest, &logit) in largest.iter_mut().zip(lanes) {
            *largest = if logit > *largest { logit } else { *largest };
        }
    }
    let max = largest.iter().chain(rest).fold(f32::NEG_INFINITY, |max, &logit| max.max(logit));
    // Whole blocks first: a loop without an early end is one over vector registers.
    const BLOCK: usize = 64;
    let holds = |block: &[f32]| block.iter().fold(false, |found, &logit| found | (logit == max));
    let block = BLOCK * logits.chunks(BLOCK).position(holds).unwrap_or(0);
    let within = logits[block..].iter().position(|&logit| logit == max);
    (block + within.unwrap_or(0)) as u32
}

/// The `count` tokens of the largest logits, descending, lower ids first among equals.
fn likeliest(logits: &[f32], count: usize) -> Vec<u32> {
    let mut tokens: Vec<u32> = Vec::with_capacity(count + 1);
    for (token, &logit) in logits.iter().enumerate() {
        let worse = |other: &u32| logits[*other as usize] < logit;
        if logit.is_nan() || (tokens.len() == count && !tokens.last().is_some_and(worse)) {
            continue;
        }
        let place = tokens.partition_point(|other| !worse(other));
        tokens.insert(place, token as u32);
        tokens.truncate(count);
    }
    tokens
}

/// A number in [0, 1) for each seed and position: the outputs of SplitMix64 (Steele et al. 2014)
/// at a place that both determine.
fn uniform(seed: u64, position: u64) -> f64 {
    let mixed = mix(mix(seed).wrapping_add(position.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Values that are summed in single precision before they join the sum in double: few enough that
/// no more than the last bit is lost.
const SUM_BLOCK: usize = 256;

/// The sum of weights between 0 and 1, in one fixed order that vector registers can follow.
fn sum(weights: &[f32]) -> f64 {
    weights
        .chunks(SUM_BLOCK)
        .map(|block| {
            let (eights, rest) = block.as_chunks::<8>();
            let mut lanes = [0.0f32; 8];
            for eight in eights {
                for (lane, value) in lanes.iter_mut().zip(eight) {
                    *lane += value;
                }
            }
            let lanes: f64 = lanes.iter().map(|&lane| f64::from(lane)).sum();
            lanes + rest.iter().map(|&value| f64::from(value)).sum::<f64>()
        })
        .sum()
}

/// e^x for x at or below 0, within 2 units of the last place; NaN and everything below -87 give 0.
///
/// Without branches, so that the compiler makes loops over vector registers of it: a vocabulary of
/// 150,000 is passed for every token.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding it leaves the nearest whole number in the last bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let inside = x >= -87.0;
    let clamped = if inside { x } else { -87.0 };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    // Cephes' minimax polynomial on [-ln 2 / 2, ln 2 / 2].
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5] {
        p = p * r + c;
    }
    let p = p * r * r + r + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    if inside { p * scale } else { 0.0 }
}

#[cfg(test)]
mod tests;
