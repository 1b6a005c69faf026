//! Turns states and the tokens behind them into guesses of the tokens behind those.
//!
//! The layer is one of the model's kind, with keys and values of its own, and stands on what the
//! output head of the model sees (vLLM's `deepseek_mtp.py` and `qwen3_5_mtp.py`, llama.cpp's
//! `deepseek2.cpp` and `qwen35.cpp`). To guess a further token it is applied to its own state, as
//! its head sees it: so do SGLang and llama.cpp; vLLM takes DeepSeek's before the head's norm.

use myriad_kernels::{Compute, Product, matmul, rms_norm};

use super::{Batch, Logits, Pass, Rows, Scratch, sized};
use crate::cache::Cache;
use crate::weights::MtpWeights;
use crate::{Model, MtpHead};

impl Model {
    /// Guesses the tokens behind those of the batch, and writes the keys and values of the layer
    /// that does so. Each token of a segment is the one *behind* its position; `states` has what
    /// [`Logits::all_states`] gave of the position itself, or [`Logits::states`] of this, where the
    /// token was guessed. [rows of the batch, hidden]
    ///
    /// Returns logits and states of the rows that want logits. `cache` is one of
    /// [`MtpHead::new_cache`].
    ///
    /// # Panics
    /// As [`Model::forward`], and where `head` is that of another model or `states` has another
    /// number of rows.
    pub fn guess<'s>(
        &self,
        head: &MtpHead,
        compute: &Compute,
        batch: &Batch<'_>,
        states: &[f32],
        cache: &mut Cache,
        scratch: &'s mut Scratch,
    ) -> Logits<'s> {
        let (hidden, vocab) = (self.config.hidden, self.config.vocab);
        let mtp = self.config.mtp.as_ref().expect("the model of this head");
        let weights = &head.weights;
        let matrix = weights.head.as_ref().unwrap_or(self.weights.head());
        scratch.input.keep(weights.forms.and_of(matrix.kind()));
        let mut rows = Rows::of(batch);
        self.join(weights, compute, batch, states, scratch);
        let pass = Pass { model: self, compute, index: 0, cache_layer: 0 };
        pass.layer(&mtp.layer, &weights.layer, true, &mut rows, cache, scratch);
        let norm = weights.norm.as_ref().unwrap_or(&self.weights.output_norm);
        let count = rows.count();
        self.head(compute, norm, matrix, count, scratch);
        let states = sized(&mut scratch.states, count * hidden);
        if count > 0 {
            let (residual, epsilon) = (&scratch.residual, self.config.norm_epsilon);
            rms_norm(compute, &residual[..count * hidden], count, hidden, norm, epsilon, states);
        }
        let Scratch { logits, states, .. } = scratch;
        let (values, states) = (&logits[..count * vocab], &states[..count * hidden]);
        Logits { values, vocab, states, all_states: &[] }
    }

    /// residual = joined · [rms_norm(embedding of the token), rms_norm(state)]
    fn join(
        &self,
        weights: &MtpWeights,
        compute: &Compute,
        batch: &Batch<'_>,
        states: &[f32],
        scratch: &mut Scratch,
    ) {
        let (hidden, epsilon) = (self.config.hidden, self.config.norm_epsilon);
        self.embed(weights.embedding.as_ref(), batch, scratch);
        let count = batch.sequences.iter().map(|segment| segment.tokens.len()).sum::<usize>();
        assert_eq!(states.len(), count * hidden, "one state for each token");
        let Scratch { residual, added, qkv, input, .. } = scratch;
        let tokens = &residual[..count * hidden];
        let pairs = sized(qkv, count * 2 * hidden);
        let normed = sized(added, count * hidden);
        for (half, (x, norm)) in
            [(tokens, &weights.token_norm), (states, &weights.state_norm)].into_iter().enumerate()
        {
            rms_norm(compute, x, count, hidden, norm, epsilon, normed);
            for (row, pair) in normed.chunks_exact(hidden).zip(pairs.chunks_exact_mut(2 * hidden)) {
                pair[half * hidden..][..hidden].copy_from_slice(row);
            }
        }
        input.set(compute, pairs, count, 2 * hidden);
        let out = sized(residual, count * hidden);
        let (first_column, bias, weight) = (None, None, &weights.joined);
        let product =
            Product { weight, first_column, bias, out, out_stride: hidden, accumulate: false };
        matmul(compute, input, &mut [product]);
    }
}
