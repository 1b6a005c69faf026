//! Turns a file's rope keys into one `RopeConfig`: base, pairs, and one divisor for each pair.

use super::keys::{Keys, in_range, shorten};
use super::{CONTEXT_MAX, ROPE_FREQS, Traits};
use crate::config::RopeConfig;
use crate::error::ModelError;
use crate::tensors;

impl Keys<'_> {
    /// The rotary embedding, and the factor that its scaling puts on cosines and sines.
    pub(super) fn rope(
        &self,
        traits: &Traits,
        head_size: usize,
        context_length: usize,
    ) -> Result<(RopeConfig, f32), ModelError> {
        let theta = self.positive("rope.freq_base")?.unwrap_or(10_000.0);
        let pairs = head_size / 2;
        let mut divisors = vec![1.0f32; pairs];
        if traits.rope_freqs && self.gguf.tensor(ROPE_FREQS).is_some() {
            divisors = self.rope_freqs(pairs)?;
        }
        // `rope.scale_linear` is the name that the first GGUF files used.
        let factor = match self.positive("rope.scaling.factor")? {
            Some(factor) => factor,
            None => self.positive("rope.scale_linear")?.unwrap_or(1.0),
        };
        let key = self.name("rope.scaling.type");
        let magnitude = match self.gguf.metadata().optional_str(&key)?.unwrap_or("linear") {
            "none" => 1.0,
            "linear" => {
                divisors.iter_mut().for_each(|divisor| *divisor *= factor);
                1.0
            }
            "yarn" => self.yarn(theta, factor, context_length, &mut divisors)?,
            other => return Err(ModelError::RopeScaling { key, value: shorten(other) }),
        };
        // Products of positive and finite numbers can still be neither.
        if !divisors.iter().all(|&divisor| divisor > 0.0 && divisor.is_finite()) {
            let key = self.name("rope.scaling.factor");
            let expected = "such that scaled angles stay finite and are not 0";
            return Err(ModelError::Number { key, value: factor, expected });
        }
        let divisors = divisors.iter().any(|&divisor| divisor != 1.0).then_some(divisors);
        let rope = RopeConfig { dims: head_size, theta, pairing: traits.pairing, divisors };
        Ok((rope, magnitude))
    }

    /// YaRN (Peng et al. 2023) as ggml computes it (`ggml_rope_yarn_corr_dims`, `rope_yarn`): slow
    /// pairs are interpolated by `factor`, fast ones kept, with a ramp between. Since a pair's
    /// angle is linear in the position, this is one divisor per pair. Returns the factor on the
    /// cosines.
    fn yarn(
        &self,
        theta: f32,
        factor: f32,
        context_length: usize,
        divisors: &mut [f32],
    ) -> Result<f32, ModelError> {
        let original = match self.optional_u32("rope.scaling.original_context_length")? {
            Some(value) => {
                let key = self.name("rope.scaling.original_context_length");
                in_range(key, value, CONTEXT_MAX)? as f32
            }
            None => context_length as f32,
        };
        if theta <= 1.0 {
            let key = self.name("rope.freq_base");
            return Err(ModelError::Number { key, value: theta, expected: "above 1 with YaRN" });
        }
        let beta_fast = self.positive("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0);
        let beta_slow = self.positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0);
        let attention_factor = self.positive("rope.scaling.attn_factor")?.unwrap_or(1.0);

        let dims = 2 * divisors.len();
        // The pair that turns `turns` times over the original context.
        let dim_of = |turns: f32| {
            dims as f32 * (original / (turns * std::f32::consts::TAU)).ln() / (2.0 * theta.ln())
        };
        let low = dim_of(beta_fast).floor().max(0.0);
        let high = dim_of(beta_slow).ceil().min(dims as f32 - 1.0);
        for (pair, divisor) in divisors.iter_mut().enumerate() {
            let kept = 1.0 - ((pair as f32 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
            *divisor /= (1.0 - kept) / factor + kept;
        }
        Ok(if factor > 1.0 {
            attention_factor * (1.0 + 0.1 * factor.ln())
        } else {
            attention_factor
        })
    }

    /// The divisors of Llama 3.x, which its converter stores as a tensor.
    fn rope_freqs(&self, pairs: usize) -> Result<Vec<f32>, ModelError> {
        let info = tensors::find(self.gguf, ROPE_FREQS, self.family)?;
        tensors::check_shape(info, &[pairs])?;
        let divisors = tensors::vector(self.gguf, info)?;
        for (index, &value) in divisors.iter().enumerate() {
            if !(value > 0.0 && value.is_finite()) {
                let name = ROPE_FREQS.to_owned();
                return Err(ModelError::RopeDivisor { name, index, value });
            }
        }
        Ok(divisors)
    }
}
