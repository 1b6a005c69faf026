//! Turns a model file of either format into the GGUF file that is to be written of it.
//!
//! Folders get the names, layouts and keys of llama.cpp's converters; GGUF files keep theirs. The
//! types of tensors are those of the loader's rule ([`Precision`]), so that a converted model is
//! the model that quantising while loading gives.

use std::collections::BTreeMap;
use std::io::{self, Write};

use myriad_formats::{GgufBody, GgufWriter, ModelFolder, VocabSpec, WordRules};
use myriad_kernels::{BlockType, Compute, DeltaShape};

use crate::checkpoint::{Checkpoint, Source, Tensor, encode_all};
use crate::config::{Config, Family, Mixer};
use crate::error::ModelError;
use crate::families::{ROPE_FREQS, as_gguf_says, keys_of_folder};
use crate::precision::Precision;
use crate::tensors;

/// A GGUF file to be written: all of it but the weights, which are converted while it is written.
pub struct Conversion<'a> {
    header: GgufWriter<'a>,
    tensors: Vec<Written<'a>>,
    /// Bytes of all weights as they will be written.
    bytes: u64,
    /// Weights of all layers in each type.
    in_layers: BTreeMap<BlockType, usize>,
}

/// Where the bytes of a tensor come from.
enum Written<'a> {
    Converted(Tensor<'a>),
    /// Divisors of rope, which folders have as settings.
    Floats(Vec<u8>),
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The weights are not what they should be.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<'a> Conversion<'a> {
    /// Checks the model and decides about every key and tensor; touches no weights. `name` is that
    /// of the model, for people; `vocab` is needed for folders only.
    ///
    /// # Errors
    /// [`ModelError`] as of loading, and where GGUF cannot say what the folder does.
    pub fn new(
        source: impl Into<Source<'a>>,
        vocab: &VocabSpec,
        name: &str,
        precision: Precision,
    ) -> Result<Conversion<'a>, ModelError> {
        let source = source.into();
        let config = Config::read(source)?;
        let file = Checkpoint::of(source, &config).with(precision);
        let mut conversion = Conversion {
            header: GgufWriter::new(),
            tensors: Vec::new(),
            bytes: 0,
            in_layers: BTreeMap::new(),
        };
        match source {
            Source::Gguf(gguf) => {
                for (key, value) in gguf.metadata().iter() {
                    conversion.header.set(key, value.clone());
                }
                for view in source.tensors().tensor_views() {
                    conversion.push(view.name, file.stored(view)?);
                }
            }
            Source::Folder(folder) => {
                if vocab.tokens.len() > config.vocab {
                    let (tokens, rows) = (vocab.tokens.len(), config.vocab);
                    return Err(ModelError::TokensWithoutRows { tokens, rows });
                }
                if vocab.words != WordRules::default() {
                    let what = "how words are written".to_owned();
                    return Err(ModelError::GgufCannotSay { what });
                }
                conversion.header.set("general.architecture", config.family.name());
                conversion.header.set("general.type", "model");
                conversion.header.set("general.name", name);
                conversion.set_keys(folder, &config)?;
                vocab.set_keys(&mut conversion.header, config.vocab);
                as_gguf_says(folder, &config, &conversion.header.metadata()?)?;
                conversion.push_tensors(&file, &config)?;
            }
        }
        conversion.header.set("general.file_type", conversion.file_type());
        conversion.header.set("general.quantization_version", QUANTISATION_VERSION);
        Ok(conversion)
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.header.file_bytes()
    }

    /// Bytes of all weights as they will be written, which progress counts.
    pub fn weight_bytes(&self) -> u64 {
        self.bytes
    }

    /// How many tensors the file will have.
    pub fn tensor_count(&self) -> usize {
        self.tensors.len()
    }

    /// Converts and writes everything. Needs memory for a few million weights at a time;
    /// `progress` is told how many bytes of weights are written.
    ///
    /// # Errors
    /// [`ConvertError`] of the weights, or of `out`.
    pub fn write<W: Write>(
        &self,
        out: W,
        compute: &Compute,
        progress: &mut dyn FnMut(u64),
    ) -> Result<W, ConvertError> {
        let mut body = self.header.begin(out)?;
        let mut written = 0;
        let mut put = |body: &mut GgufBody<W>, bytes: &[u8]| -> io::Result<()> {
            body.write(bytes)?;
            written += bytes.len() as u64;
            progress(written);
            Ok(())
        };
        for tensor in &self.tensors {
            match tensor {
                Written::Floats(bytes) => put(&mut body, bytes)?,
                Written::Converted(tensor) => {
                    // Two pieces for each thread: none waits long for the slowest.
                    for pieces in tensor.pieces().chunks(2 * compute.pool.threads()) {
                        for bytes in encode_all(pieces, compute)? {
                            put(&mut body, &bytes)?;
                        }
                    }
                }
            }
        }
        Ok(body.finish()?)
    }

    fn set_keys(&mut self, folder: &ModelFolder, config: &Config) -> Result<(), ModelError> {
        for (key, value) in keys_of_folder(folder, config)? {
            self.header.set(&format!("{}.{key}", config.family.name()), value);
        }
        Ok(())
    }

    /// All tensors of a folder, in the order of the layers.
    fn push_tensors(&mut self, file: &Checkpoint<'a>, config: &Config) -> Result<(), ModelError> {
        if config.family == Family::Llama
            && let Some(divisors) = &config.ropes[0].divisors
            && self.header.metadata()?.get("llama.rope.scaling.type").is_none()
        {
            self.header.declare(ROPE_FREQS, BlockType::F32, &[divisors.len()]);
            let bytes: Vec<u8> = divisors.iter().flat_map(|value| value.to_le_bytes()).collect();
            self.bytes += bytes.len() as u64;
            self.tensors.push(Written::Floats(bytes));
        }
        for (name, _) in tensors::all(config) {
            let together =
                |part: &str| name.strip_suffix(part).map(|layer| format!("{layer}ssm_ba.weight"));
            let beta = together("ssm_beta.weight").filter(|whole| file.has(whole));
            let alpha = together("ssm_alpha.weight").filter(|whole| file.has(whole));
            match (beta, alpha) {
                (Some(whole), _) => self.push(&whole, file.find(&whole)?),
                // It is in that one, too.
                (None, Some(_)) => {}
                (None, None) => {
                    self.push(&name, in_layout_of_gguf(config, &name, file.find(&name)?))
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, name: &str, tensor: Tensor<'a>) {
        self.header.declare(name, tensor.goal, &tensor.shape);
        if name.starts_with("blk.") {
            *self.in_layers.entry(tensor.goal).or_default() += tensor.rows() * tensor.columns();
        }
        self.bytes += tensor.goal_bytes() as u64;
        self.tensors.push(Written::Converted(tensor));
    }

    /// llama.cpp's number (`enum llama_ftype`) for files that have most weights of their layers in
    /// one type.
    fn file_type(&self) -> u32 {
        let most = self.in_layers.iter().max_by_key(|(_, weights)| **weights);
        match most.map_or(BlockType::F32, |(kind, _)| *kind) {
            BlockType::F32 => 0,
            BlockType::F16 => 1,
            BlockType::Q4_0 => 2,
            BlockType::Q4_1 => 3,
            BlockType::Q8_0 => 7,
            BlockType::Q5_0 => 8,
            BlockType::Q5_1 => 9,
            BlockType::Q2K => 10,
            BlockType::Q3K => 11,
            BlockType::Q4K => 14,
            BlockType::Q5K => 16,
            BlockType::Q6K => 18,
            BlockType::IQ4NL => 25,
            BlockType::IQ4XS => 30,
            BlockType::BF16 => 32,
            BlockType::MXFP4 => 38,
        }
    }
}

/// Of the layouts of blocks that this file has: ggml's today.
const QUANTISATION_VERSION: u32 = 2;

/// A folder's tensor with its rows and columns where GGUF has them, and of the type.
fn in_layout_of_gguf<'a>(config: &Config, name: &str, mut tensor: Tensor<'a>) -> Tensor<'a> {
    if Precision::is_float_in_gguf(name, &tensor.shape) {
        tensor.goal = BlockType::F32;
    }
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    let Some((layer, part)) = layer else { return tensor };
    let layer = layer.parse().ok().and_then(|layer: usize| config.layers.get(layer));
    match (config.family, layer.map(|layer| &layer.mixer)) {
        (Family::Llama | Family::SmolLm3, Some(Mixer::Gqa(gqa))) => match part {
            "attn_q.weight" | "attn_q.bias" => {
                tensor.in_order(&adjacent_pairs(gqa.heads, gqa.head_size))
            }
            "attn_k.weight" | "attn_k.bias" => {
                tensor.in_order(&adjacent_pairs(gqa.kv_heads, gqa.head_size))
            }
            _ => tensor,
        },
        (Family::Qwen35 | Family::Qwen35Moe, Some(Mixer::GatedDelta(shape))) => {
            let keys = 2 * shape.key_heads * shape.key_size;
            match part {
                "attn_qkv.weight" | "ssm_conv1d.weight" => {
                    let values = tiled(shape, shape.value_size).into_iter().map(|row| keys + row);
                    tensor.in_order(&(0..keys).chain(values).collect::<Vec<_>>())
                }
                "attn_gate.weight" => tensor.in_order(&tiled(shape, shape.value_size)),
                "ssm_out.weight" => tensor.columns_in_order(&tiled(shape, shape.value_size)),
                "ssm_alpha.weight" | "ssm_beta.weight" | "ssm_a" | "ssm_dt.bias" => {
                    tensor.in_order(&tiled(shape, 1))
                }
                _ => tensor,
            }
        }
        _ => tensor,
    }
}

/// Where rows come from that rope turns by two neighbours: folders have the first of all pairs of
/// a head, then the second.
fn adjacent_pairs(heads: usize, head_size: usize) -> Vec<usize> {
    let half = head_size / 2;
    let row = |row: usize| row / head_size * head_size + row % head_size / 2 + row % 2 * half;
    (0..heads * head_size).map(row).collect()
}

/// Where the elements of value heads, `size` each, come from: folders have all heads of one key
/// head together, GGUF the first of each key head, then the second.
fn tiled(shape: &DeltaShape, size: usize) -> Vec<usize> {
    let each = shape.value_heads / shape.key_heads;
    let heads = (0..each).flat_map(|own| (0..shape.key_heads).map(move |key| key * each + own));
    heads.flat_map(|head| head * size..(head + 1) * size).collect()
}
