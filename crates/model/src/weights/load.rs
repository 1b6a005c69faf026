//! Turns a checked file's tensors into packed weights, reading each byte of the file once.

use std::ops::Range;

use myriad_formats::{Gguf, TensorInfo};
use myriad_kernels::{Compute, Matrix};

use super::{
    DenseWeights, FeedForwardWeights, Fused, GqaWeights, Layer, MixerWeights, Part, Weights,
};
use crate::config::{Config, FeedForward, Gqa, Mixer};
use crate::error::ModelError;
use crate::tensors;

/// Packs all weights of `config`, which was read from this very file.
pub(crate) fn load(
    gguf: &Gguf,
    config: &Config,
    compute: &Compute,
    progress: &mut dyn FnMut(f32),
) -> Result<Weights, ModelError> {
    progress(0.0);
    let total: usize = gguf.tensors().iter().map(TensorInfo::bytes).sum();
    let mut loader = Loader { gguf, config, compute, progress, total, read: 0, held: 0 };
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
    let unread = if config.tied_output { 0 } else { embedding_file_bytes };
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
    gguf: &'a Gguf,
    config: &'a Config,
    compute: &'a Compute,
    progress: &'a mut dyn FnMut(f32),
    /// Bytes of all tensors in the file.
    total: usize,
    /// Bytes of tensors read so far.
    read: usize,
    /// Bytes of memory held so far.
    held: usize,
}

impl<'a> Loader<'a> {
    fn layer(&mut self, index: usize) -> Result<Layer, ModelError> {
        let config = self.config;
        let prefix = format!("blk.{index}");
        let mixer = match &config.layers[index].mixer {
            Mixer::Gqa(gqa) => MixerWeights::Gqa(self.gqa(&prefix, gqa)?),
        };
        let feed_forward = match config.layers[index].feed_forward {
            FeedForward::Dense { .. } => FeedForwardWeights::Dense(self.dense(&prefix)?),
        };
        Ok(Layer { mixer, feed_forward })
    }

    fn gqa(&mut self, prefix: &str, gqa: &Gqa) -> Result<GqaWeights, ModelError> {
        let parts = ["attn_q", "attn_k", "attn_v"].map(|part| format!("{prefix}.{part}"));
        let qk_norms = match gqa.qk_norm {
            true => Some([
                self.vector(&format!("{prefix}.attn_q_norm.weight"))?,
                self.vector(&format!("{prefix}.attn_k_norm.weight"))?,
            ]),
            false => None,
        };
        Ok(GqaWeights {
            norm: self.vector(&format!("{prefix}.attn_norm.weight"))?,
            qkv: self.fused(&parts, gqa.qkv_bias)?,
            qk_norms,
            output: self.matrix(&format!("{prefix}.attn_output.weight"))?,
        })
    }

    fn dense(&mut self, prefix: &str) -> Result<DenseWeights, ModelError> {
        let parts = ["ffn_gate", "ffn_up"].map(|part| format!("{prefix}.{part}"));
        Ok(DenseWeights {
            norm: self.vector(&format!("{prefix}.ffn_norm.weight"))?,
            gate_up: self.fused(&parts, false)?,
            down: self.matrix(&format!("{prefix}.ffn_down.weight"))?,
        })
    }

    /// Weights of one input, those of one block type put together where they are neighbours.
    fn fused(&mut self, names: &[String], bias: bool) -> Result<Fused, ModelError> {
        let infos = names
            .iter()
            .map(|name| self.find(&format!("{name}.weight")))
            .collect::<Result<Vec<_>, _>>()?;
        let parts = runs_of_equal(&infos, |info| info.kind)
            .into_iter()
            .map(|run| {
                let weight = self.pack(&infos[run.clone()])?;
                let bias = bias.then(|| self.biases(&names[run])).transpose()?;
                Ok(Part { weight, bias })
            })
            .collect::<Result<Vec<_>, ModelError>>()?;
        Ok(Fused { rows: parts.iter().map(|part| part.weight.rows()).sum(), parts })
    }

    /// The biases of several weights, one after the other.
    fn biases(&mut self, names: &[String]) -> Result<Vec<f32>, ModelError> {
        let mut all = Vec::new();
        for name in names {
            all.extend(self.vector(&format!("{name}.bias"))?);
        }
        Ok(all)
    }

    fn matrix(&mut self, name: &str) -> Result<Matrix, ModelError> {
        let info = self.find(name)?;
        self.pack(&[info])
    }

    fn vector(&mut self, name: &str) -> Result<Vec<f32>, ModelError> {
        let info = self.find(name)?;
        let values = tensors::vector(self.gguf, info)?;
        self.count(info.bytes(), values.len() * size_of::<f32>());
        Ok(values)
    }

    /// One matrix of tensors that have one block type and one width.
    fn pack(&mut self, infos: &[&TensorInfo]) -> Result<Matrix, ModelError> {
        let (kind, columns) = (infos[0].kind, infos[0].columns());
        let parts: Vec<_> = infos.iter().map(|info| (info.rows(), self.gguf.data(info))).collect();
        let matrix = Matrix::pack_parts(self.compute, kind, columns, &parts).map_err(|source| {
            let names: Vec<&str> = infos.iter().map(|info| info.name.as_str()).collect();
            ModelError::Pack { name: names.join(" + "), source }
        })?;
        self.count(infos.iter().map(|info| info.bytes()).sum(), matrix.bytes());
        Ok(matrix)
    }

    fn find(&self, name: &str) -> Result<&'a TensorInfo, ModelError> {
        tensors::find(self.gguf, name, self.config.family)
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
