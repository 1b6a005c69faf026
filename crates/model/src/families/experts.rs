//! Turns a file's expert keys into one `Moe`.

use myriad_kernels::Activation;

use super::keys::{Keys, in_range};
use super::{EXPERTS_MAX, SIZE_MAX};
use crate::config::{Moe, Router, SharedExpert};
use crate::error::ModelError;

/// What tells the mixtures of experts apart.
#[derive(Clone, Copy)]
pub(super) struct ExpertTraits {
    /// Weights of the used experts are divided by their sum, unless the file says otherwise.
    pub renormalise: bool,
    /// There is a shared expert with a gate.
    pub shared: bool,
}

impl Keys<'_> {
    /// The mixture of all layers that have one.
    pub(super) fn moe(&self, traits: ExpertTraits, layers: usize) -> Result<Moe, ModelError> {
        let (experts, used) = self.expert_counts()?;
        self.refuse_other_routers()?;
        let renormalise = self.optional_bool("expert_weights_norm")?.unwrap_or(traits.renormalise);
        Ok(Moe {
            experts: experts as usize,
            used: used as usize,
            size: self.expert_width(used, layers)? as usize,
            activation: Activation::Silu,
            bias: false,
            router: Router::softmax(renormalise),
            shared: match traits.shared {
                true => {
                    Some(SharedExpert { size: self.shared_width(layers)? as usize, gate: true })
                }
                false => None,
            },
        })
    }

    /// How many experts there are, and how many of them a token uses.
    pub(super) fn expert_counts(&self) -> Result<(u32, u32), ModelError> {
        let experts = self.size("expert_count", EXPERTS_MAX)?;
        let used = self.size("expert_used_count", u32::MAX)?;
        if used > experts {
            let key = self.name("expert_used_count");
            return Err(ModelError::ExpertsUsed { key, used, experts });
        }
        Ok((experts, used))
    }

    /// Whether a layer of a mixture is dense: no key says so, its tensors do.
    pub(super) fn is_dense_layer(&self, layer: usize) -> bool {
        let has = |part: &str| self.tensors.has(&format!("blk.{layer}.{part}.weight"));
        has("ffn_gate") && !has("ffn_gate_inp")
    }

    /// The first files give the width of all used experts together only.
    fn expert_width(&self, used: u32, layers: usize) -> Result<u32, ModelError> {
        if let Some(width) = self.optional_u32("expert_feed_forward_length")? {
            return in_range(self.name("expert_feed_forward_length"), width, SIZE_MAX);
        }
        let width = self.width_of_layers("feed_forward_length", layers)?;
        if !width.is_multiple_of(used) {
            let key = self.name("feed_forward_length");
            return Err(ModelError::ExpertWidth { key, width, used });
        }
        Ok(width / used)
    }

    fn shared_width(&self, layers: usize) -> Result<u32, ModelError> {
        match self.optional_u32("expert_shared_feed_forward_length")? {
            Some(width) => {
                in_range(self.name("expert_shared_feed_forward_length"), width, SIZE_MAX)
            }
            None => self.width_of_layers("feed_forward_length", layers),
        }
    }

    /// llama.cpp ignores these keys in families whose router is fixed. What says something else
    /// than that router is refused rather than ignored.
    fn refuse_other_routers(&self) -> Result<(), ModelError> {
        for (key, reason) in [
            ("expert_gating_func", "routers of this family are a softmax (1)"),
            ("expert_group_count", "experts of this family are one group"),
        ] {
            match self.optional_u32(key)? {
                None | Some(0 | 1) => {}
                Some(value) => {
                    let (key, value) = (self.name(key), value as usize);
                    return Err(ModelError::Disagree { key, value, expected: 1, reason });
                }
            }
        }
        match self.optional_f32("expert_weights_scale")? {
            // 0 is how llama.cpp says that there is no scale.
            Some(value) if value != 0.0 && value != 1.0 => Err(ModelError::Number {
                key: self.name("expert_weights_scale"),
                value,
                expected: "1, as weights of experts are not scaled in this family",
            }),
            _ => Ok(()),
        }
    }
}
