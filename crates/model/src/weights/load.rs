//! Turns a checked file's tensors into packed weights, reading each byte of the file once.

use std::ops::Range;
use std::sync::atomic::AtomicU64;

use myriad_kernels::{BlockType, Compute, DeltaShape, DeltaWeights, Forms, Matrix};

use super::{
    Biased, BidirectionalWeights, ClassifierWeights, DeltaNetWeights, DenseWeights, EncoderWeights,
    FeedForwardWeights, Fused, GqaWeights, IndexerWeights, Layer, LayerNorm, MixerWeights,
    MlaWeights, MlpWeights, MoeWeights, MtpWeights, Packed, Part, SwiGlu, Weights,
};
use crate::checkpoint::{Checkpoint, Source, Tensor};
use crate::config::{Config, Encoder, FeedForward, Gqa, LayerConfig, Mixer, Mla, Moe};
use crate::error::ModelError;
use crate::precision::Precision;
use crate::tensors;

/// Packs all weights of `config`, which was read from this very file, as the types that `precision`
/// says; `packed` says where they go.
pub(crate) fn load(
    source: Source<'_>,
    config: &Config,
    precision: Precision,
    packed: Packed<'_>,
    compute: &Compute,
    progress: &mut dyn FnMut(f32),
) -> Result<Weights, ModelError> {
    progress(0.0);
    let tensors = Checkpoint::of(source, config).with(precision);
    let total = tensors::bytes(tensors::expected(config), &tensors)?;
    let (forms, read, held, unused) = (Forms::NONE, 0, 0, 0);
    let mut loader =
        Loader { tensors, config, packed, compute, progress, total, forms, read, held, unused };
    let embedding = loader.matrix("token_embd.weight")?;
    let embedding_bytes = loader.read;
    let layers = config.layers.iter().enumerate();
    let layers = layers.map(|(index, layer)| loader.layer(index, layer));
    let layers = layers.collect::<Result<_, _>>()?;
    let encoder = config.encoder.as_ref().map(|encoder| loader.encoder(encoder)).transpose()?;
    let output_norm = match encoder {
        Some(_) => Vec::new(),
        None => loader.vector("output_norm.weight")?,
    };
    let output = match config.tied_output {
        true => None,
        false => Some(loader.matrix("output.weight")?),
    };
    // Of an embedding that is not the head, a token reads one row, which is nothing.
    let unread = loader.unused + if config.tied_output { 0 } else { embedding_bytes };
    loader.packed.finish()?;
    (loader.progress)(1.0);
    Ok(Weights {
        embedding,
        output,
        output_norm,
        encoder,
        layers,
        forms: loader.forms,
        held_bytes: loader.held,
        bytes_per_token: loader.read - unread,
    })
}

/// Packs the weights of the layer that guesses further tokens; none where the file has no such.
pub(crate) fn load_mtp(
    source: Source<'_>,
    config: &Config,
    precision: Precision,
    compute: &Compute,
    progress: &mut dyn FnMut(f32),
) -> Result<Option<MtpWeights>, ModelError> {
    let Some(mtp) = &config.mtp else { return Ok(None) };
    let tensors = Checkpoint::of(source, config).with(precision);
    let total = tensors::bytes(tensors::expected_of_mtp(config), &tensors)?;
    let (packed, forms, read, held, unused) = (Packed::Held, Forms::NONE, 0, 0, 0);
    let mut loader =
        Loader { tensors, config, packed, compute, progress, total, forms, read, held, unused };
    let index = config.layers.len();
    let name = |part: &str| format!("blk.{index}.nextn.{part}.weight");
    // DeepSeek's files repeat what the model has.
    let embedding = match mtp.embedding {
        true => loader.unless_equal(&name("embed_tokens"), "token_embd.weight")?,
        false => None,
    };
    // Of an embedding a token reads one row.
    let unread = loader.read;
    let the_models = if config.tied_output { "token_embd.weight" } else { "output.weight" };
    let head = match mtp.head {
        true => loader.unless_equal(&name("shared_head_head"), the_models)?,
        false => None,
    };
    let weights = MtpWeights {
        embedding,
        head,
        joined: loader.matrix(&name("eh_proj"))?,
        token_norm: loader.vector(&name("enorm"))?,
        state_norm: loader.vector(&name("hnorm"))?,
        norm: match mtp.norm {
            true => Some(loader.vector(&name("shared_head_norm"))?),
            false => None,
        },
        layer: loader.layer(index, &mtp.layer)?,
        forms: loader.forms,
        held_bytes: loader.held,
        bytes_per_token: loader.read - unread - loader.unused,
    };
    (loader.progress)(1.0);
    Ok(Some(weights))
}

struct Loader<'a, 'p> {
    tensors: Checkpoint<'a>,
    config: &'a Config,
    packed: Packed<'p>,
    compute: &'a Compute,
    progress: &'a mut dyn FnMut(f32),
    /// Bytes of all tensors, in blocks of the types that they become.
    total: usize,
    /// What the matrices so far are multiplied by.
    forms: Forms,
    /// Bytes of tensors read so far.
    read: usize,
    /// Bytes of memory held so far.
    held: usize,
    /// Bytes of experts read so far, without the share that one token uses.
    unused: usize,
}

impl<'a> Loader<'a, '_> {
    fn layer(&mut self, index: usize, layer: &LayerConfig) -> Result<Layer, ModelError> {
        let prefix = format!("blk.{index}");
        let post_norms = layer.post_norms;
        let mixer = match &layer.mixer {
            Mixer::Gqa(gqa) => MixerWeights::Gqa(self.gqa(&prefix, gqa, post_norms)?),
            Mixer::Mla(mla) => MixerWeights::Mla(self.mla(&prefix, mla)?),
            Mixer::GatedDelta(shape) => {
                MixerWeights::GatedDelta(self.gated_delta(&prefix, *shape)?)
            }
            Mixer::Bidirectional(_) => MixerWeights::Bidirectional(self.bidirectional(&prefix)?),
        };
        let feed_forward = match &layer.feed_forward {
            FeedForward::Dense { .. } => {
                FeedForwardWeights::Dense(self.dense(&prefix, post_norms)?)
            }
            FeedForward::Mlp { .. } => FeedForwardWeights::Mlp(self.mlp(&prefix)?),
            FeedForward::Moe(moe) => FeedForwardWeights::Moe(self.moe(&prefix, moe)?),
        };
        Ok(Layer { mixer, feed_forward })
    }

    fn gqa(&mut self, prefix: &str, gqa: &Gqa, post_norms: bool) -> Result<GqaWeights, ModelError> {
        let part = |part| self.tensors.find(&format!("{prefix}.attn_{part}.weight"));
        let mut parts = vec![part("q")?, part("k")?, part("v")?];
        if gqa.gate {
            // Each head's gate stands behind it; here all gates stand behind everything.
            parts.push(parts[0].alternate_groups(gqa.head_size, 1));
            parts[0] = parts[0].alternate_groups(gqa.head_size, 0);
        }
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
            sinks: self.optional(prefix, gqa.sinks, "attn_sinks.weight")?,
            output: self.matrix(&format!("{prefix}.attn_output.weight"))?,
            output_bias: self.optional(prefix, gqa.output_bias, "attn_output.bias")?,
            post_norm: self.optional(prefix, post_norms, "post_attention_norm.weight")?,
        })
    }

    fn gated_delta(
        &mut self,
        prefix: &str,
        shape: DeltaShape,
    ) -> Result<DeltaNetWeights, ModelError> {
        let name = |part: &str| format!("{prefix}.{part}.weight");
        let wide = [self.tensors.find(&name("attn_qkv"))?, self.tensors.find(&name("attn_gate"))?];
        let mut first = self.fused(&wide, None)?;
        first.push(self.floats(&[name("ssm_beta"), name("ssm_alpha")])?);
        let convolution = self.vector(&name("ssm_conv1d"))?;
        let decay = self.vector(&format!("{prefix}.ssm_a"))?;
        let dt_bias = self.vector(&format!("{prefix}.ssm_dt.bias"))?;
        Ok(DeltaNetWeights {
            norm: self.vector(&name("attn_norm"))?,
            first,
            recurrence: DeltaWeights::new(shape, &convolution, &decay, &dt_bias),
            output_norm: self.vector(&name("ssm_norm"))?,
            output: self.matrix(&name("ssm_out"))?,
        })
    }

    fn mla(&mut self, prefix: &str, mla: &Mla) -> Result<MlaWeights, ModelError> {
        let name = |part: &str| format!("{prefix}.{part}.weight");
        let q = if mla.q_rank.is_some() { "attn_q_a" } else { "attn_q" };
        let first = [self.tensors.find(&name(q))?, self.tensors.find(&name("attn_kv_a_mqa"))?];
        let of_heads = |loader: &mut Self, part: &str| -> Result<Vec<Matrix>, ModelError> {
            let tensor = loader.tensors.find(&name(part))?;
            (0..mla.heads).map(|head| loader.pack(&[tensor.of_expert(head, mla.heads)])).collect()
        };
        Ok(MlaWeights {
            norm: self.vector(&name("attn_norm"))?,
            first: self.fused(&first, None)?,
            q_latent: match mla.q_rank {
                Some(_) => {
                    let norm = self.vector(&name("attn_q_a_norm"))?;
                    Some((norm, self.matrix(&name("attn_q_b"))?))
                }
                None => None,
            },
            kv_norm: self.vector(&name("attn_kv_a_norm"))?,
            k_b: of_heads(self, "attn_k_b")?,
            v_b: of_heads(self, "attn_v_b")?,
            output: self.matrix(&name("attn_output"))?,
            indexer: match mla.indexer {
                Some(_) => Some(IndexerWeights {
                    q_b: self.matrix(&name("indexer.attn_q_b"))?,
                    key_and_weights: self
                        .floats(&[name("indexer.attn_k"), name("indexer.proj")])?,
                    norm: [
                        self.vector(&name("indexer.k_norm"))?,
                        self.vector(&format!("{prefix}.indexer.k_norm.bias"))?,
                    ],
                }),
                None => None,
            },
        })
    }

    fn encoder(&mut self, encoder: &Encoder) -> Result<EncoderWeights, ModelError> {
        Ok(EncoderWeights {
            positions: self.matrix("position_embd.weight")?,
            token_types: self.matrix("token_types.weight")?,
            norm: self.layer_norm("token_embd_norm")?,
            classifier: match encoder.classifier {
                true => {
                    let (pooler, output) = (self.biased("cls")?, self.biased("cls.output")?);
                    Some(ClassifierWeights { pooler, output })
                }
                false => None,
            },
        })
    }

    fn bidirectional(&mut self, prefix: &str) -> Result<BidirectionalWeights, ModelError> {
        let part = |part| self.tensors.find(&format!("{prefix}.attn_{part}.weight"));
        let parts = [part("q")?, part("k")?, part("v")?];
        let biases = self.biases(prefix, ["q", "k", "v"])?;
        Ok(BidirectionalWeights {
            qkv: self.fused(&parts, Some(biases))?,
            output: self.biased(&format!("{prefix}.attn_output"))?,
            norm: self.layer_norm(&format!("{prefix}.attn_output_norm"))?,
        })
    }

    fn mlp(&mut self, prefix: &str) -> Result<MlpWeights, ModelError> {
        Ok(MlpWeights {
            up: self.biased(&format!("{prefix}.ffn_up"))?,
            down: self.biased(&format!("{prefix}.ffn_down"))?,
            norm: self.layer_norm(&format!("{prefix}.layer_output_norm"))?,
        })
    }

    fn biased(&mut self, name: &str) -> Result<Biased, ModelError> {
        let weight = self.matrix(&format!("{name}.weight"))?;
        Ok(Biased { weight, bias: self.vector(&format!("{name}.bias"))? })
    }

    fn layer_norm(&mut self, name: &str) -> Result<LayerNorm, ModelError> {
        let weight = self.vector(&format!("{name}.weight"))?;
        Ok(LayerNorm { weight, bias: self.vector(&format!("{name}.bias"))? })
    }

    fn dense(&mut self, prefix: &str, post_norms: bool) -> Result<DenseWeights, ModelError> {
        Ok(DenseWeights {
            norm: self.ffn_norm(prefix)?,
            swiglu: self.swiglu(prefix, "", None, false)?,
            post_norm: self.optional(prefix, post_norms, "post_ffw_norm.weight")?,
        })
    }

    fn moe(&mut self, prefix: &str, moe: &Moe) -> Result<MoeWeights, ModelError> {
        let norm = self.ffn_norm(prefix)?;
        let mut router = vec![format!("{prefix}.ffn_gate_inp.weight")];
        if moe.shared.as_ref().is_some_and(|shared| shared.gate) {
            router.push(format!("{prefix}.ffn_gate_inp_shexp.weight"));
        }
        let router = self.floats(&router)?;
        let before = self.read;
        let experts = (0..moe.experts)
            .map(|expert| self.swiglu(prefix, "_exps", Some((expert, moe.experts)), moe.bias))
            .collect::<Result<_, _>>()?;
        self.unused += (self.read - before) / moe.experts * (moe.experts - moe.used);
        Ok(MoeWeights {
            norm,
            router,
            router_bias: self.optional(prefix, moe.bias, "ffn_gate_inp.bias")?,
            selection_bias: self.optional(prefix, moe.router.selection_bias, "exp_probs_b.bias")?,
            used: (0..moe.experts).map(|_| AtomicU64::new(0)).collect(),
            experts,
            shared: match moe.shared {
                Some(_) => Some(self.swiglu(prefix, "_shexp", None, false)?),
                None => None,
            },
        })
    }

    fn ffn_norm(&mut self, prefix: &str) -> Result<Vec<f32>, ModelError> {
        self.vector(&format!("{prefix}.{}", tensors::ffn_norm(self.config.family)))
    }

    /// Tensors of `hidden` columns as one matrix of F32, dequantised.
    fn floats(&mut self, names: &[String]) -> Result<Matrix, ModelError> {
        let (mut values, mut read) = (Vec::new(), 0);
        for name in names {
            let tensor = self.tensors.find(name)?;
            values.extend(tensor.values()?);
            read += tensor.goal_bytes();
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let columns = self.config.hidden;
        let rows = values.len() / columns;
        let matrix = Matrix::pack(self.compute, BlockType::F32, rows, columns, &bytes)
            .map_err(|source| ModelError::Pack { name: names.join(" + "), source })?;
        self.forms = self.forms.and_of(matrix.kind());
        self.count(read, matrix.bytes());
        Ok(matrix)
    }

    /// Gate, up and down with this ending of their names: of one of several experts, or whole.
    fn swiglu(
        &mut self,
        prefix: &str,
        suffix: &str,
        expert: Option<(usize, usize)>,
        bias: bool,
    ) -> Result<SwiGlu, ModelError> {
        let find = |part: &str, kind: &str| {
            let tensor = self.tensors.find(&format!("{prefix}.ffn_{part}{suffix}.{kind}"))?;
            Ok::<_, ModelError>(match expert {
                Some((expert, experts)) => tensor.of_expert(expert, experts),
                None => tensor,
            })
        };
        let weights = [find("gate", "weight")?, find("up", "weight")?];
        let down = find("down", "weight")?;
        let biases = match bias {
            true => Some([find("gate", "bias")?, find("up", "bias")?, find("down", "bias")?]),
            false => None,
        };
        let (gate_up_bias, down_bias) = match biases {
            Some([gate, up, down]) => {
                let gate_up = [self.values(&gate)?, self.values(&up)?].concat();
                (Some(gate_up), Some(self.values(&down)?))
            }
            None => (None, None),
        };
        let gate_up = self.fused(&weights, gate_up_bias)?;
        Ok(SwiGlu { gate_up, down: self.pack(&[down])?, down_bias })
    }

    /// Weights of one input, those of one block type put together where they are neighbours;
    /// `biases` are those of all of them, one after the other.
    fn fused(
        &mut self,
        tensors: &[Tensor<'a>],
        biases: Option<Vec<f32>>,
    ) -> Result<Fused, ModelError> {
        let (mut parts, mut rows) = (Vec::new(), 0);
        for run in runs_of_equal(tensors, |tensor| tensor.goal) {
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

    /// A matrix, unless it is what the model has under another name.
    fn unless_equal(&mut self, name: &str, other: &str) -> Result<Option<Matrix>, ModelError> {
        match self.tensors.find(name)?.is_equal(&self.tensors.find(other)?) {
            true => Ok(None),
            false => self.matrix(name).map(Some),
        }
    }

    fn matrix(&mut self, name: &str) -> Result<Matrix, ModelError> {
        let tensor = self.tensors.find(name)?;
        self.pack(&[tensor])
    }

    /// A norm or bias that some models have.
    fn optional(
        &mut self,
        prefix: &str,
        is_there: bool,
        name: &str,
    ) -> Result<Option<Vec<f32>>, ModelError> {
        match is_there {
            true => self.vector(&format!("{prefix}.{name}")).map(Some),
            false => Ok(None),
        }
    }

    fn vector(&mut self, name: &str) -> Result<Vec<f32>, ModelError> {
        let tensor = self.tensors.find(name)?;
        self.values(&tensor)
    }

    /// The values of a norm or bias.
    fn values(&mut self, tensor: &Tensor<'_>) -> Result<Vec<f32>, ModelError> {
        let values = tensor.vector()?;
        self.count(tensor.goal_bytes(), values.len() * size_of::<f32>());
        Ok(values)
    }

    /// One matrix of tensors that have one block type and one width.
    fn pack(&mut self, tensors: &[Tensor<'a>]) -> Result<Matrix, ModelError> {
        let (kind, columns) = (tensors[0].goal, tensors[0].columns());
        let all_rows = tensors.iter().map(Tensor::rows).sum();
        let read = tensors.iter().map(Tensor::goal_bytes).sum();
        self.forms = self.forms.and_of(kind);
        if let Some(matrix) = self.packed.stored(kind, all_rows, columns)? {
            self.count(read, matrix.bytes());
            return Ok(matrix);
        }
        let bytes = tensors.iter().map(|tensor| tensor.goal_rows(self.compute));
        let bytes = bytes.collect::<Result<Vec<_>, _>>()?;
        let rows = tensors.iter().map(Tensor::rows);
        let parts: Vec<_> = rows.zip(&bytes).map(|(rows, bytes)| (rows, &bytes[..])).collect();
        let matrix = Matrix::pack_parts(self.compute, kind, columns, &parts).map_err(|source| {
            let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
            ModelError::Pack { name: names.join(" + "), source }
        })?;
        let matrix = self.packed.keep(self.compute, matrix)?;
        self.count(read, matrix.bytes());
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
