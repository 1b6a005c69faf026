//! Turns a wish for a weight type into the type of each tensor.

use myriad_kernels::BlockType;

/// Which types a model's weights become while they are loaded or converted.
///
/// One rule for both, so that a converted file and a file quantised while loading have equal
/// weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Those of the file.
    #[default]
    AsStored,
    /// One type for all matrices whose rows its blocks fill: to compare with exact logits.
    All(BlockType),
    /// This type, as people mean it: see [`Precision::goal`].
    Quantised {
        /// The type of most matrices.
        kind: BlockType,
        /// Whether also what is quantised already becomes that type, which loses twice.
        again: bool,
    },
}

impl Precision {
    /// Matrices of floats become `kind`; what is quantised already stays as it is.
    pub fn quantised(kind: BlockType) -> Precision {
        Precision::Quantised { kind, again: false }
    }

    /// The type of the tensor that GGUF calls `name`, of that shape (columns first).
    ///
    /// Norms, biases, routers, convolutions, positions and what scores pairs stay as they are: they
    /// are small, and their errors are not. The embedding and the output head take a finer type
    /// than the rest, as in other programs' mixtures (`Q4_K_S`, `Q4_K_M`): each of their errors is
    /// one of a token. Rows that blocks of 256 do not fill take a type of blocks of 32 and about as
    /// many bits; rows that those do not fill stay floats.
    pub(crate) fn goal(self, name: &str, shape: &[usize], stored: BlockType) -> BlockType {
        let columns = shape.first().copied().unwrap_or(1);
        let (kind, again) = match self {
            Precision::AsStored => return stored,
            Precision::All(kind) if kind.row_bytes(columns).is_some() => return kind,
            Precision::All(_) => return stored,
            Precision::Quantised { kind, again } => (kind, again),
        };
        if !(stored.is_float() || again) || is_kept(name, shape) {
            return stored;
        }
        let is_of_tokens = matches!(name, "token_embd.weight" | "output.weight")
            || name.ends_with(".nextn.embed_tokens.weight")
            || name.ends_with(".nextn.shared_head_head.weight");
        let goal = fitting(if is_of_tokens { finer(kind) } else { kind }, columns);
        // Half floats would not hold what BF16 holds.
        if goal.is_float() && !kind.is_float() && stored.is_float() { stored } else { goal }
    }

    /// Whether converters write a tensor as F32, whatever the others are: norms, biases, routers,
    /// convolutions.
    pub(crate) fn is_float_in_gguf(name: &str, shape: &[usize]) -> bool {
        let of_gguf = ["ssm_alpha.weight", "ssm_beta.weight", "ssm_ba.weight", "attn_k.weight"];
        is_kept(name, shape) && !of_gguf.iter().any(|part| name.ends_with(part))
    }
}

/// Whether a tensor is not quantised, whatever is asked for.
fn is_kept(name: &str, shape: &[usize]) -> bool {
    const KEPT: [&str; 12] = [
        "cls.weight",
        "cls.output.weight",
        "ffn_gate_inp.weight",
        "ffn_gate_inp_shexp.weight",
        "indexer.attn_k.weight",
        "indexer.proj.weight",
        "position_embd.weight",
        "ssm_alpha.weight",
        "ssm_beta.weight",
        "ssm_ba.weight",
        "ssm_conv1d.weight",
        "token_types.weight",
    ];
    let is_matrix = shape.iter().skip(1).any(|&size| size > 1);
    let part = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    let part = part.map_or(name, |(_, part)| part);
    !is_matrix || part.ends_with(".bias") || KEPT.contains(&part)
}

/// The type of an embedding or an output head, where the other matrices are of type `kind`.
fn finer(kind: BlockType) -> BlockType {
    match kind {
        kind if kind.is_float() => kind,
        BlockType::Q8_0 => kind,
        _ => BlockType::Q6K,
    }
}

/// The type, or one of about as many bits whose blocks the columns fill.
fn fitting(kind: BlockType, columns: usize) -> BlockType {
    if kind.row_bytes(columns).is_some() {
        return kind;
    }
    let smaller_blocks = match kind {
        BlockType::Q2K | BlockType::Q3K | BlockType::IQ4XS => BlockType::IQ4NL,
        BlockType::Q4K => BlockType::Q5_0,
        BlockType::Q5K => BlockType::Q5_1,
        BlockType::Q6K => BlockType::Q8_0,
        // Blocks of one, which fit.
        _ => return BlockType::F16,
    };
    fitting(smaller_blocks, columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tensor_gets_the_type_that_people_mean() {
        use BlockType::*;
        let body = "blk.3.ffn_down.weight";
        for (wish, name, shape, stored, right) in [
            (Q4K, body, &[512, 256][..], BF16, Q4K),
            (Q4K, "token_embd.weight", &[512, 1000], BF16, Q6K),
            (Q4K, "output.weight", &[576, 1000], BF16, Q8_0),
            (Q4K, "blk.9.nextn.shared_head_head.weight", &[512, 1000], BF16, Q6K),
            (Q4K, "blk.9.nextn.eh_proj.weight", &[512, 256], BF16, Q4K),
            (Q4_0, "output.weight", &[512, 1000], F32, Q6K),
            (Q8_0, "token_embd.weight", &[512, 1000], F16, Q8_0),
            (F16, "token_embd.weight", &[512, 1000], F32, F16),
            (Q4K, body, &[576, 256], BF16, Q5_0),
            (Q5K, body, &[576, 256], BF16, Q5_1),
            (Q6K, body, &[576, 256], BF16, Q8_0),
            (Q2K, body, &[576, 256], BF16, IQ4NL),
            (Q4K, body, &[50, 256], BF16, BF16),
            (Q8_0, body, &[50, 256], F32, F32),
            (Q4K, body, &[512, 256], Q8_0, Q8_0),
            (Q4K, "blk.0.attn_norm.weight", &[512], F32, F32),
            (Q4K, "blk.0.ffn_gate_inp.weight", &[512, 8], F32, F32),
            (Q4K, "blk.0.ffn_gate_exps.bias", &[512, 8], F32, F32),
            (Q4K, "blk.0.ssm_conv1d.weight", &[4, 512], F32, F32),
            (Q4K, "blk.0.ffn_gate_exps.weight", &[512, 64, 8], BF16, Q4K),
        ] {
            let found = Precision::quantised(wish).goal(name, shape, stored);
            assert_eq!(found, right, "{} for {name} {shape:?}", wish.name());
        }
        let again = Precision::Quantised { kind: Q8_0, again: true };
        assert_eq!(again.goal(body, &[512, 256], Q4_1), Q8_0);
        assert_eq!(again.goal("output.weight", &[50, 256], Q4_1), F16);
        assert_eq!(Precision::AsStored.goal(body, &[512, 256], Q4_1), Q4_1);
        assert_eq!(Precision::All(F32).goal(body, &[512, 256], Q4_1), F32);
    }
}
