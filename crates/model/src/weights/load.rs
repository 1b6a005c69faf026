//! Turns a checked file's tensors into packed weights, reading each byte of the file once.

use std::ops::Range;

use myriad_formats::{Gguf, TensorInfo};
use myriad_kernels::{BlockType, Compute, Matrix};

use super::{
    DenseWeights, FeedForwardWeights, Fused, GqaWeights, Layer, MixerWeights, MoeWeights, Part,
    SwiGlu, Weights,
};
use crate::config::{Config, FeedForward, Gqa, Mixer, Moe};
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
    let mut loader = Loader { gguf, config, compute, progress, total, read: 0, held: 0, unused: 0 };
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
    /// Bytes of experts read so far, without the share that one token uses.
    unused: usize,
}

impl<'a> Loader<'a> {
    fn layer(&mut self, index: usize) -> Result<Layer, ModelError> {
        let config = self.config;
        let prefix = format!("blk.{index}");
        let mixer = match &config.layers[index].mixer {
            Mixer::Gqa(gqa) => MixerWeights::Gqa(self.gqa(&prefix, gqa)?),
        };
        let feed_forward = match &config.layers[index].feed_forward {
            FeedForward::Dense { .. } => FeedForwardWeights::Dense(self.dense(&prefix)?),
            FeedForward::Moe(moe) => FeedForwardWeights::Moe(self.moe(&prefix, moe)?),
        };
        Ok(Layer { mixer, feed_forward })
    }

    fn gqa(&mut self, prefix: &str, gqa: &Gqa) -> Result<GqaWeights, ModelError> {
        let piece = |part| self.piece(&format!("{prefix}.attn_{part}.weight"));
        let parts = [piece("q")?, piece("k")?, piece("v")?];
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
        Ok(DenseWeights {
            norm: self.ffn_norm(prefix)?,
            swiglu: self.swiglu(prefix, "", Piece::whole)?,
        })
    }

    fn moe(&mut self, prefix: &str, moe: &Moe) -> Result<MoeWeights, ModelError> {
        let norm = self.ffn_norm(prefix)?;
        let router = self.router(prefix, moe)?;
        let before = self.read;
        let experts = (0..moe.experts)
            .map(|expert| {
                self.swiglu(prefix, "_exps", |piece| piece.of_expert(expert, moe.experts))
            })
            .collect::<Result<_, _>>()?;
        self.unused += (self.read - before) / moe.experts * (moe.experts - moe.used);
        let shared = match moe.shared {
            Some(_) => Some(self.swiglu(prefix, "_shexp", Piece::whole)?),
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
        let info = self.find(&name)?;
        let mut values = tensors::values(self.gguf, info);
        let mut read = info.bytes();
        if moe.shared.is_some() {
            let info = self.find(&format!("{prefix}.ffn_gate_inp_shexp.weight"))?;
            values.extend(tensors::values(self.gguf, info));
            read += info.bytes();
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
        cut: impl Fn(Piece<'a>) -> Piece<'a>,
    ) -> Result<SwiGlu, ModelError> {
        let [gate, up, down] = ["gate", "up", "down"]
            .map(|part| self.piece(&format!("{prefix}.ffn_{part}{suffix}.weight")).map(&cut));
        Ok(SwiGlu { gate_up: self.fused(&[gate?, up?], false)?, down: self.pack(&[down?])? })
    }

    /// Weights of one input, those of one block type put together where they are neighbours.
    fn fused(&mut self, pieces: &[Piece<'a>], bias: bool) -> Result<Fused, ModelError> {
        let parts = runs_of_equal(pieces, |piece| piece.info.kind)
            .into_iter()
            .map(|run| {
                let weight = self.pack(&pieces[run.clone()])?;
                let bias = bias.then(|| self.biases(&pieces[run])).transpose()?;
                Ok(Part { weight, bias })
            })
            .collect::<Result<Vec<_>, ModelError>>()?;
        Ok(Fused { rows: parts.iter().map(|part| part.weight.rows()).sum(), parts })
    }

    /// The biases of several weights, one after the other.
    fn biases(&mut self, pieces: &[Piece<'a>]) -> Result<Vec<f32>, ModelError> {
        let mut all = Vec::new();
        for piece in pieces {
            all.extend(self.vector(&piece.info.name.replace(".weight", ".bias"))?);
        }
        Ok(all)
    }

    fn matrix(&mut self, name: &str) -> Result<Matrix, ModelError> {
        let piece = self.piece(name)?;
        self.pack(&[piece])
    }

    fn vector(&mut self, name: &str) -> Result<Vec<f32>, ModelError> {
        let info = self.find(name)?;
        let values = tensors::vector(self.gguf, info)?;
        self.count(info.bytes(), values.len() * size_of::<f32>());
        Ok(values)
    }

    /// One matrix of pieces that have one block type and one width.
    fn pack(&mut self, pieces: &[Piece<'a>]) -> Result<Matrix, ModelError> {
        let (kind, columns) = (pieces[0].info.kind, pieces[0].info.columns());
        let parts: Vec<_> = pieces.iter().map(|piece| (piece.rows, piece.bytes)).collect();
        let matrix = Matrix::pack_parts(self.compute, kind, columns, &parts).map_err(|source| {
            let names: Vec<&str> = pieces.iter().map(|piece| piece.info.name.as_str()).collect();
            ModelError::Pack { name: names.join(" + "), source }
        })?;
        self.count(pieces.iter().map(|piece| piece.bytes.len()).sum(), matrix.bytes());
        Ok(matrix)
    }

    /// A whole tensor.
    fn piece(&self, name: &str) -> Result<Piece<'a>, ModelError> {
        let info = self.find(name)?;
        Ok(Piece { info, rows: info.rows(), bytes: self.gguf.data(info) })
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

/// A tensor, or what one expert has of it.
#[derive(Clone, Copy)]
struct Piece<'a> {
    info: &'a TensorInfo,
    rows: usize,
    bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    fn whole(self) -> Piece<'a> {
        self
    }

    /// Experts lie one behind the other: they are the tensor's last dimension.
    fn of_expert(self, expert: usize, experts: usize) -> Piece<'a> {
        let size = self.bytes.len() / experts;
        let bytes = &self.bytes[expert * size..(expert + 1) * size];
        Piece { info: self.info, rows: self.rows / experts, bytes }
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
