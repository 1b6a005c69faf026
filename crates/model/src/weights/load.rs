//! Turns a checked file's tensors into packed weights, reading each byte of the file once.

use std::ops::Range;

use myriad_kernels::{BlockType, Compute, Matrix};

use super::{
    DenseWeights, FeedForwardWeights, Fused, GqaWeights, Layer, MixerWeights, MoeWeights, Part,
    SwiGlu, Weights,
};
use crate::checkpoint::{Checkpoint, Source, Tensor};
use crate::config::{Config, FeedForward, Gqa, Mixer, Moe};
use crate::error::ModelError;
use crate::tensors;

/// Packs all weights of `config`, which was read from this very file.
pub(crate) fn load(
    source: Source<'_>,
    config: &Config,
    compute: &Compute,
    progress: &mut dyn FnMut(f32),
) -> Result<Weights, ModelError> {
    progress(0.0);
    let total = source.tensors().tensor_views().map(|view| view.bytes.len()).sum();
    let tensors = Checkpoint { source, family: config.family };
    let mut loader =
        Loader { tensors, config, compute, progress, total, read: 0, held: 0, unused: 0 };
    let embedding = loader.matrix("token_embd.weight")?;
    let embedding_file_bytes = loader.read;
    let layers =
        (0..config.layers.len()).map(|index| loader.layer(index)).collect::<Result<_, _>>()?;
    let output_norm = loader.vector("output_norm.weight")?;
    let output = match config.tied_output {
        true => None,
        false => Some(loader.matrix("output.weight")?),
    };
    // Of an embedding that is not the head, a token reads one row, which is nothing.
    let unread = loader.unused + if config.tied_output { 0 } else { embedding_file_bytes };
    (loader.progress)(1.0);
    Ok(Weights {
        embedding,
        output,
        output_norm,
        layers,
        held_bytes: loader.held,
        file_bytes_per_token: loader.read - unread,
    })
}

struct Loader<'a> {
    tensors: Checkpoint<'a>,
    config: &'a Config,
    compute: &'a Compute,
    progress: &'a mut dyn FnMut(f32),
    /// Bytes of all tensors in the file.
    total: usize,
    /// Bytes of tensors read so far.
    read: usize,
    /// Bytes of memory held so far.
    held: usize,
    /// Bytes of experts read so far, without the share that one token uses.
    unused: usize,
}

impl<'a> Loader<'a> {
    fn layer(&mut self, index: usize) -> Result<Layer, ModelError> {
        let config = self.config;
        let prefix = format!("blk.{index}");
        let post_norms = config.layers[index].post_norms;
        let mixer = match &config.layers[index].mixer {
            Mixer::Gqa(gqa) => MixerWeights::Gqa(self.gqa(&prefix, gqa, post_norms)?),
        };
        let feed_forward = match &config.layers[index].feed_forward {
            FeedForward::Dense { .. } => {
                FeedForwardWeights::Dense(self.dense(&prefix, post_norms)?)
            }
            FeedForward::Moe(moe) => FeedForwardWeights::Moe(self.moe(&prefix, moe)?),
        };
        Ok(Layer { mixer, feed_forward })
    }

    fn gqa(&mut self, prefix: &str, gqa: &Gqa, post_norms: bool) -> Result<GqaWeights, ModelError> {
        let part = |part| self.tensors.find(&format!("{prefix}.attn_{part}.weight"));
        let parts = [part("q")?, part("k")?, part("v")?];
        let biases = match gqa.qkv_bias {
            true => Some(self.biases(prefix, ["q", "k", "v"])?),
            false => None,
        };
        let qk_norms = match gqa.qk_norm {
            true => Some([
                self.vector(&format!("{prefix}.attn_q_norm.weight"))?,
                self.vector(&format!("{prefix}.attn_k_norm.weight"))?,
            ]),
            false => None,
        };
        Ok(GqaWeights {
            norm: self.vector(&format!("{prefix}.attn_norm.weight"))?,
            qkv: self.fused(&parts, biases)?,
            qk_norms,
            output: self.matrix(&format!("{prefix}.attn_output.weight"))?,
            post_norm: match post_norms {
                true => Some(self.vector(&format!("{prefix}.post_attention_norm.weight"))?),
                false => None,
            },
        })
    }

    fn dense(&mut self, prefix: &str, post_norms: bool) -> Result<DenseWeights, ModelError> {
        Ok(DenseWeights {
            norm: self.ffn_norm(prefix)?,
            swiglu: self.swiglu(prefix, "", |tensor| tensor)?,
            post_norm: match post_norms {
                true => Some(self.vector(&format!("{prefix}.post_ffw_norm.weight"))?),
                false => None,
            },
        })
    }

    fn moe(&mut self, prefix: &str, moe: &Moe) -> Result<MoeWeights, ModelError> {
        let norm = self.ffn_norm(prefix)?;
        let router = self.router(prefix, moe)?;
        let before = self.read;
        let experts = (0..moe.experts)
            .map(|expert| {
                self.swiglu(prefix, "_exps", |tensor| tensor.of_expert(expert, moe.experts))
            })
            .collect::<Result<_, _>>()?;
        self.unused += (self.read - before) / moe.experts * (moe.experts - moe.used);
        let shared = match moe.shared {
            Some(_) => Some(self.swiglu(prefix, "_shexp", |tensor| tensor)?),
            None => None,
        };
        Ok(MoeWeights { norm, router, experts, shared })
    }

    fn ffn_norm(&mut self, prefix: &str) -> Result<Vec<f32>, ModelError> {
        self.vector(&format!("{prefix}.{}", tensors::ffn_norm(self.config.family)))
    }

    /// The router's rows, and the shared expert's gate below them, dequantised.
    fn router(&mut self, prefix: &str, moe: &Moe) -> Result<Matrix, ModelError> {
        let name = format!("{prefix}.ffn_gate_inp.weight");
        let tensor = self.tensors.find(&name)?;
        let mut values = tensor.values()?;
        let mut read = tensor.file_bytes();
        if moe.shared.is_some() {
            let tensor = self.tensors.find(&format!("{prefix}.ffn_gate_inp_shexp.weight"))?;
            values.extend(tensor.values()?);
            read += tensor.file_bytes();
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let columns = self.config.hidden;
        let rows = values.len() / columns;
        let matrix = Matrix::pack(self.compute, BlockType::F32, rows, columns, &bytes)
            .map_err(|source| ModelError::Pack { name, source })?;
        self.count(read, matrix.bytes());
        Ok(matrix)
    }

    /// Gate, up and down with this ending of their names; `cut` takes what is wanted of each.
    fn swiglu(
        &mut self,
        prefix: &str,
        suffix: &str,
        cut: impl Fn(Tensor<'a>) -> Tensor<'a>,
    ) -> Result<SwiGlu, ModelError> {
        let [gate, up, down] = ["gate", "up", "down"].map(|part| {
            self.tensors.find(&format!("{prefix}.ffn_{part}{suffix}.weight")).map(&cut)
        });
        Ok(SwiGlu { gate_up: self.fused(&[gate?, up?], None)?, down: self.pack(&[down?])? })
    }

    /// Weights of one input, those of one block type put together where they are neighbours;
    /// `biases` are those of all of them, one after the other.
    fn fused(
        &mut self,
        tensors: &[Tensor<'a>],
        biases: Option<Vec<f32>>,
    ) -> Result<Fused, ModelError> {
        let (mut parts, mut rows) = (Vec::new(), 0);
        for run in runs_of_equal(tensors, |tensor| tensor.kind) {
            let weight = self.pack(&tensors[run])?;
            let own = rows..rows + weight.rows();
            rows = own.end;
            parts.push(Part { weight, bias: biases.as_ref().map(|all| all[own].to_vec()) });
        }
        Ok(Fused { rows, parts })
    }

    /// The biases of attention's products, one after the other.
    fn biases<const N: usize>(
        &mut self,
        prefix: &str,
        parts: [&str; N],
    ) -> Result<Vec<f32>, ModelError> {
        let mut all = Vec::new();
        for part in parts {
            all.extend(self.vector(&format!("{prefix}.attn_{part}.bias"))?);
        }
        Ok(all)
    }

    fn matrix(&mut self, name: &str) -> Result<Matrix, ModelError> {
        let tensor = self.tensors.find(name)?;
        self.pack(&[tensor])
    }

    fn vector(&mut self, name: &str) -> Result<Vec<f32>, ModelError> {
        let tensor = self.tensors.find(name)?;
        let values = tensor.vector()?;
        self.count(tensor.file_bytes(), values.len() * size_of::<f32>());
        Ok(values)
    }

    /// One matrix of tensors that have one block type and one width.
    fn pack(&mut self, tensors: &[Tensor<'a>]) -> Result<Matrix, ModelError> {
        let (kind, columns) = (tensors[0].kind, tensors[0].columns());
        let bytes = tensors.iter().map(Tensor::bytes).collect::<Result<Vec<_>, _>>()?;
        let rows = tensors.iter().map(Tensor::rows);
        let parts: Vec<_> = rows.zip(&bytes).map(|(rows, bytes)| (rows, &bytes[..])).collect();
        let matrix = Matrix::pack_parts(self.compute, kind, columns, &parts).map_err(|source| {
            let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
            ModelError::Pack { name: names.join(" + "), source }
        })?;
        self.count(tensors.iter().map(Tensor::file_bytes).sum(), matrix.bytes());
        Ok(matrix)
    }

    fn count(&mut self, read: usize, held: usize) {
        self.read += read;
        self.held += held;
        (self.progress)((self.read as f64 / self.total.max(1) as f64).min(1.0) as f32);
    }
}

/// The ranges of neighbours that have an equal key.
fn runs_of_equal<T, K: PartialEq>(items: &[T], key: impl Fn(&T) -> K) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if key(&items[run.start]) == key(item) => run.end = index + 1,
            _ => runs.push(index..index + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::runs_of_equal;

    #[test]
    fn neighbours_of_one_kind_form_one_run() {
        let runs = |kinds: &str| runs_of_equal(&kinds.chars().collect::<Vec<_>>(), |kind| *kind);
        assert_eq!(runs(""), []);
        assert_eq!(runs("aaa").len(), 1);
        assert_eq!(runs("aab"), [0..2, 2..3]);
        assert_eq!(runs("aba"), [0..1, 1..2, 2..3]);
    }
}
