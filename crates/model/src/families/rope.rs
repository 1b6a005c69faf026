//! Turns a file's rope keys into one `RopeConfig`: base, pairs, and one divisor for each pair.

use myriad_formats::{JsonObject, Metadata, Value};
use myriad_kernels::RopePairing;

use super::keys::{Keys, Settings, in_range, shorten};
use super::{CONTEXT_MAX, ROPE_FREQS};
use crate::config::RopeConfig;
use crate::error::ModelError;
use crate::tensors;

/// What tells the ropes of families apart.
#[derive(Clone, Copy)]
pub(super) struct RopeTraits {
    /// Which elements form a pair in GGUF, and in folders.
    pub pairing: [RopePairing; 2],
    /// The file may have divisors of its own (Llama 3.x).
    pub freqs: bool,
    /// Whether the ends of YaRN's ramp are whole pairs where the file does not say.
    pub truncate: bool,
}

impl RopeTraits {
    const fn of(gguf: RopePairing, folder: RopePairing) -> RopeTraits {
        RopeTraits { pairing: [gguf, folder], freqs: false, truncate: true }
    }

    /// Halves in both formats.
    pub const HALVES: RopeTraits = RopeTraits::of(RopePairing::Halves, RopePairing::Halves);
    /// Adjacent pairs in both formats.
    pub const ADJACENT: RopeTraits = RopeTraits::of(RopePairing::Adjacent, RopePairing::Adjacent);
    /// Converters permute the rows of Q and K for adjacent pairs; folders have them as trained.
    pub const PERMUTED: RopeTraits = RopeTraits::of(RopePairing::Adjacent, RopePairing::Halves);
}

/// A rotary embedding, and what its scaling asks of others.
pub(super) struct ScaledRope {
    pub rope: RopeConfig,
    /// Factor on cosines and sines.
    pub magnitude: f32,
    /// Factor of the scores of latent attention (DeepSeek's `mscale_all_dim`).
    pub score_factor: f32,
}

impl ScaledRope {
    /// The rope where it turns a part of each head only, so that its factor is not one of scores.
    pub fn stretched(self) -> RopeConfig {
        RopeConfig { magnitude: self.magnitude, ..self.rope }
    }
}

/// How positions are scaled.
enum Scaling {
    None,
    /// Every pair turns `factor` times slower.
    Linear {
        factor: f32,
    },
    /// Llama 3.x's: slow pairs turn `factor` times slower, fast ones as ever, a ramp between.
    Llama3 {
        factor: f32,
        original: f32,
        low: f32,
        high: f32,
    },
    Yarn(Yarn),
}

/// The parameters of YaRN (Peng et al. 2023).
struct Yarn {
    factor: f32,
    /// Positions that the model was first trained for.
    original: f32,
    beta_fast: f32,
    beta_slow: f32,
    /// Whether the ends of the ramp are whole pairs.
    truncate: bool,
    /// Factor on cosines and sines.
    magnitude: f32,
    /// See [`ScaledRope::score_factor`].
    score_factor: f32,
    /// DeepSeek's `mscale_all_dim`.
    all: Option<f32>,
}

impl Keys<'_> {
    /// The rotary embedding of `dims` elements.
    pub(super) fn rope(
        &self,
        traits: RopeTraits,
        dims: usize,
        context_length: usize,
    ) -> Result<ScaledRope, ModelError> {
        let pairs = dims / 2;
        let mut divisors = vec![1.0f32; pairs];
        if traits.freqs && self.tensors.has(ROPE_FREQS) {
            divisors = self.rope_freqs(pairs)?;
        }
        let (theta, scaling) = match &self.file {
            Settings::Gguf(metadata) => self.scaling_of_gguf(metadata, traits, context_length)?,
            Settings::Folder(json) => scaling_of_folder(json, traits, context_length)?,
        };
        let key = || match self.file {
            Settings::Gguf(_) => self.name("rope.scaling.factor"),
            Settings::Folder(_) => "rope_scaling.factor".to_owned(),
        };
        scaling.apply(theta, &mut divisors).map_err(|()| {
            let expected = "above 1 with YaRN";
            ModelError::Number { key: self.theta_name(), value: theta, expected }
        })?;
        // Products of positive and finite numbers can still be neither.
        if !divisors.iter().all(|&divisor| divisor > 0.0 && divisor.is_finite()) {
            let expected = "such that scaled angles stay finite and are not 0";
            return Err(ModelError::Number { key: key(), value: scaling.factor(), expected });
        }
        let divisors = divisors.iter().any(|&divisor| divisor != 1.0).then_some(divisors);
        let pairing = traits.pairing[match self.file {
            Settings::Gguf(_) => 0,
            Settings::Folder(_) => 1,
        }];
        let (magnitude, score_factor) = match &scaling {
            Scaling::Yarn(yarn) => (yarn.magnitude, yarn.score_factor),
            _ => (1.0, 1.0),
        };
        let rope = RopeConfig { dims, theta, pairing, divisors, magnitude: 1.0 };
        Ok(ScaledRope { rope, magnitude, score_factor })
    }

    fn theta_name(&self) -> String {
        match self.file {
            Settings::Gguf(_) => self.name("rope.freq_base"),
            Settings::Folder(_) => "rope_theta".to_owned(),
        }
    }

    fn scaling_of_gguf(
        &self,
        metadata: &Metadata,
        traits: RopeTraits,
        context_length: usize,
    ) -> Result<(f32, Scaling), ModelError> {
        let theta = self.positive("rope.freq_base")?.unwrap_or(10_000.0);
        // `rope.scale_linear` is the name that the first GGUF files used.
        let factor = match self.positive("rope.scaling.factor")? {
            Some(factor) => factor,
            None => self.positive("rope.scale_linear")?.unwrap_or(1.0),
        };
        let key = self.name("rope.scaling.type");
        let scaling = match metadata.optional_str(&key)?.unwrap_or("linear") {
            "none" => Scaling::None,
            "linear" => Scaling::Linear { factor },
            "yarn" => {
                let key = "rope.scaling.original_context_length";
                let original = match self.optional_u32(key)? {
                    Some(value) => in_range(self.name(key), value, CONTEXT_MAX)? as f32,
                    None => context_length as f32,
                };
                let attention_factor = self.positive("rope.scaling.attn_factor")?.unwrap_or(1.0);
                // DeepSeek's, a tenth of `mscale_all_dim` as its converter writes it: all of the
                // stretching is in the scores then (llama.cpp's `models/deepseek2.cpp`).
                let all = match self.optional_f32("rope.scaling.yarn_log_multiplier")? {
                    None | Some(0.0) => None,
                    Some(_) => self.positive("rope.scaling.yarn_log_multiplier")?,
                };
                let all = all.map(|tenth| tenth / 0.1);
                let stretch = attention_factor * magnitude_of(factor, all.unwrap_or(0.0));
                Scaling::Yarn(Yarn {
                    factor,
                    original,
                    beta_fast: self.positive("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                    beta_slow: self.positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                    truncate: traits.truncate,
                    magnitude: match all {
                        Some(_) => 1.0,
                        None => attention_factor * magnitude_of(factor, 1.0),
                    },
                    score_factor: stretch * stretch,
                    all,
                })
            }
            other => {
                let (known, value) = ("none, linear and yarn", shorten(other));
                return Err(ModelError::Choice { key, value, known });
            }
        };
        Ok((theta, scaling))
    }

    /// What GGUF says of a folder's rope, key by key. Divisors of Llama 3.x are no key.
    pub(super) fn rope_keys(
        json: &JsonObject<'_>,
        traits: RopeTraits,
        context_length: usize,
    ) -> Result<Vec<(&'static str, Value)>, ModelError> {
        let (theta, scaling) = scaling_of_folder(json, traits, context_length)?;
        let mut keys = vec![("rope.freq_base", theta.into())];
        match scaling {
            Scaling::None | Scaling::Llama3 { .. } => {}
            Scaling::Linear { factor } => {
                keys.push(("rope.scaling.type", "linear".into()));
                keys.push(("rope.scaling.factor", factor.into()));
            }
            Scaling::Yarn(yarn) => {
                let original = yarn.original as u32;
                keys.push(("rope.scaling.type", "yarn".into()));
                keys.push(("rope.scaling.factor", yarn.factor.into()));
                keys.push(("rope.scaling.original_context_length", original.into()));
                keys.push(("rope.scaling.yarn_beta_fast", yarn.beta_fast.into()));
                keys.push(("rope.scaling.yarn_beta_slow", yarn.beta_slow.into()));
                match yarn.all {
                    Some(all) => {
                        keys.push(("rope.scaling.yarn_log_multiplier", (0.1 * all).into()));
                    }
                    None => {
                        let own = yarn.magnitude / magnitude_of(yarn.factor, 1.0);
                        if (own - 1.0).abs() > 1e-6 {
                            keys.push(("rope.scaling.attn_factor", own.into()));
                        }
                    }
                }
            }
        }
        Ok(keys)
    }

    /// The divisors of Llama 3.x, which its converter stores as a tensor.
    fn rope_freqs(&self, pairs: usize) -> Result<Vec<f32>, ModelError> {
        let tensor = self.tensors.find(ROPE_FREQS)?;
        tensors::check_shape(&tensor, &[pairs])?;
        let divisors = tensor.vector()?;
        for (index, &value) in divisors.iter().enumerate() {
            if !(value > 0.0 && value.is_finite()) {
                let name = ROPE_FREQS.to_owned();
                return Err(ModelError::RopeDivisor { name, index, value });
            }
        }
        Ok(divisors)
    }
}

/// Base and scaling of `config.json`: in `rope_parameters`, or as older files have them, the base
/// beside the other keys and the scaling in `rope_scaling`.
fn scaling_of_folder(
    json: &JsonObject<'_>,
    traits: RopeTraits,
    context_length: usize,
) -> Result<(f32, Scaling), ModelError> {
    let mut parameters = json.optional_object("rope_parameters")?;
    // Where kinds of layers turn differently, this is about those that see everything.
    if let Some(rope) = &parameters
        && let Some(of_kind) = rope.optional_object("full_attention")?
    {
        parameters = Some(of_kind);
    }
    let theta = match &parameters {
        Some(rope) if rope.has("rope_theta") => positive(rope, "rope_theta")?,
        _ => positive(json, "rope_theta")?,
    };
    let theta = theta.unwrap_or(10_000.0);
    let Some(rope) =
        parameters.map_or_else(|| json.optional_object("rope_scaling"), |rope| Ok(Some(rope)))?
    else {
        return Ok((theta, Scaling::None));
    };
    let kind = rope.optional_str("rope_type")?.or(rope.optional_str("type")?).unwrap_or("default");
    let original = || -> Result<f32, ModelError> {
        let key = "original_max_position_embeddings";
        match rope.optional_u32(key)? {
            Some(value) => Ok(in_range(format!("rope_scaling.{key}"), value, CONTEXT_MAX)? as f32),
            None => Ok(context_length as f32),
        }
    };
    let scaling = match kind {
        "default" => Scaling::None,
        "linear" => Scaling::Linear { factor: required(&rope, "factor")? },
        "llama3" => Scaling::Llama3 {
            factor: required(&rope, "factor")?,
            original: original()?,
            low: required(&rope, "low_freq_factor")?,
            high: required(&rope, "high_freq_factor")?,
        },
        "yarn" => {
            let original = original()?;
            let factor = positive(&rope, "factor")?.unwrap_or(context_length as f32 / original);
            let all = positive(&rope, "mscale_all_dim")?;
            let of_scales = match (positive(&rope, "mscale")?, all) {
                (Some(one), Some(all)) => magnitude_of(factor, one) / magnitude_of(factor, all),
                _ => magnitude_of(factor, 1.0),
            };
            let stretch = magnitude_of(factor, all.unwrap_or(0.0));
            Scaling::Yarn(Yarn {
                factor,
                original,
                beta_fast: positive(&rope, "beta_fast")?.unwrap_or(32.0),
                beta_slow: positive(&rope, "beta_slow")?.unwrap_or(1.0),
                truncate: rope.optional_bool("truncate")?.unwrap_or(traits.truncate),
                magnitude: positive(&rope, "attention_factor")?.unwrap_or(of_scales),
                score_factor: stretch * stretch,
                all,
            })
        }
        other => {
            let (key, value) = ("rope_scaling.rope_type".to_owned(), shorten(other));
            let known = "default, linear, llama3 and yarn";
            return Err(ModelError::Choice { key, value, known });
        }
    };
    Ok((theta, scaling))
}

/// A number greater than zero that must be there.
fn required(json: &JsonObject<'_>, key: &str) -> Result<f32, ModelError> {
    match positive(json, key)? {
        Some(value) => Ok(value),
        None => Ok(json.f32(key)?),
    }
}

/// An optional number greater than zero.
fn positive(json: &JsonObject<'_>, key: &str) -> Result<Option<f32>, ModelError> {
    match json.optional_f32(key)? {
        Some(value) if value <= 0.0 => {
            let (key, expected) = (key.to_owned(), "positive and finite");
            Err(ModelError::Number { key, value, expected })
        }
        value => Ok(value),
    }
}

/// The factor on cosines and sines that YaRN's authors fitted.
fn magnitude_of(factor: f32, scale: f32) -> f32 {
    if factor > 1.0 { 1.0 + 0.1 * scale * factor.ln() } else { 1.0 }
}

impl Scaling {
    fn factor(&self) -> f32 {
        match self {
            Scaling::None => 1.0,
            Scaling::Linear { factor } | Scaling::Llama3 { factor, .. } => *factor,
            Scaling::Yarn(yarn) => yarn.factor,
        }
    }

    /// Multiplies the divisors. Fails where the base of the angles is not above 1 and must be.
    fn apply(&self, theta: f32, divisors: &mut [f32]) -> Result<(), ()> {
        let dims = 2 * divisors.len();
        match self {
            Scaling::None => {}
            Scaling::Linear { factor } => {
                divisors.iter_mut().for_each(|divisor| *divisor *= factor);
            }
            Scaling::Llama3 { factor, original, low, high } => {
                for (pair, divisor) in divisors.iter_mut().enumerate() {
                    let frequency = theta.powf(-2.0 * pair as f32 / dims as f32);
                    let turns = original * frequency / std::f32::consts::TAU;
                    // 1 for pairs that turn often over the original context, 0 for slow ones.
                    let kept = ((turns - low) / (high - low).max(1e-6)).clamp(0.0, 1.0);
                    *divisor /= (1.0 - kept) / factor + kept;
                }
            }
            Scaling::Yarn(yarn) if theta > 1.0 => yarn.apply(theta, divisors),
            Scaling::Yarn(_) => return Err(()),
        }
        Ok(())
    }
}

impl Yarn {
    /// As ggml (`ggml_rope_yarn_corr_dims`, `rope_yarn`) and transformers
    /// (`_compute_yarn_parameters`) compute it: slow pairs are interpolated by `factor`, fast ones
    /// kept, with a ramp between. Since a pair's angle is linear in the position, this is one
    /// divisor per pair.
    fn apply(&self, theta: f32, divisors: &mut [f32]) {
        let dims = 2 * divisors.len();
        // The pair that turns `turns` times over the original context.
        let dim_of = |turns: f32| {
            let logarithm = (self.original / (turns * std::f32::consts::TAU)).ln();
            dims as f32 * logarithm / (2.0 * theta.ln())
        };
        let (mut low, mut high) = (dim_of(self.beta_fast), dim_of(self.beta_slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, high) = (low.max(0.0), high.min(dims as f32 - 1.0));
        for (pair, divisor) in divisors.iter_mut().enumerate() {
            let kept = 1.0 - ((pair as f32 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
            *divisor /= (1.0 - kept) / self.factor + kept;
        }
    }
}
