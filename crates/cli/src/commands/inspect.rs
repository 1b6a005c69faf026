//! Turns a model file into what it is: family, sizes, quantisation, tokenizer, memory needed.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use clap::Args;
use myriad_formats::TensorView;
use myriad_kernels::{Kernels, KvType, PAGE_TOKENS};
use myriad_model::{Config, FeedForward, Mixer};
use myriad_token::{ChatTemplate, Tokenizer};
use serde::Serialize;
use serde_json::json;

use crate::arguments::{Model, Weights};
use crate::file::ModelFile;
use crate::load::Holding;
use crate::screen::{self, count, harmless, one_text, size};
use crate::{memory, models, sizes};

const EXAMPLES: &str = "\
Examples:
  myriad inspect model.gguf
  myriad inspect ./Qwen3-0.6B                    a Hugging Face folder
  myriad inspect MODEL --json | jq .memory
  MYRIAD_KERNELS=scalar myriad inspect MODEL     which kernels would run";

/// Show what a model file holds and needs.
///
/// Reads the file's header only. Also tells what files are that Myriad cannot run, and why not.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    weights: Weights,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Everything that is told about a file.
#[derive(Serialize)]
struct Report {
    file: String,
    file_bytes: u64,
    format: String,
    family: String,
    title: Option<String>,
    licence: Option<String>,
    parameters: u64,
    runs: bool,
    /// Why it does not run, if so.
    reason: Option<String>,
    shape: Option<Shape>,
    quantisation: Vec<Class>,
    tokenizer: Option<TokenizerReport>,
    /// Whether there is one, and whether it can be understood.
    chat_template: String,
    memory: Option<MemoryReport>,
    kernels: String,
}

#[derive(Serialize)]
struct Shape {
    layers: usize,
    hidden: usize,
    /// Of layers that attend, if there are any.
    attention: Option<Attention>,
    /// Of layers with a memory of fixed size, if there are any.
    recurrence: Option<Recurrence>,
    /// Of dense layers, if there are any.
    feed_forward: Option<usize>,
    /// Of layers that are mixtures, if there are any.
    experts: Option<Experts>,
    vocab: usize,
    context: usize,
    tied_output: bool,
    /// Whether it has a layer that guesses further tokens.
    mtp: bool,
}

#[derive(Serialize)]
struct Attention {
    heads: usize,
    kv_heads: usize,
    head_size: usize,
    /// Layers that see a window only, and its width.
    windows: Option<(usize, usize)>,
    /// Width of the latent that keys and values are made of.
    latent: Option<usize>,
    /// Positions that are attended to, where an indexer chooses them.
    chosen_positions: Option<usize>,
}

#[derive(Serialize)]
struct Recurrence {
    layers: usize,
    key_heads: usize,
    value_heads: usize,
    key_size: usize,
    value_size: usize,
}

#[derive(Serialize)]
struct Experts {
    count: usize,
    used: usize,
    feed_forward: usize,
    shared_feed_forward: Option<usize>,
}

/// Tensors that do the same work in different layers, and how they are stored.
#[derive(Serialize)]
struct Class {
    class: &'static str,
    types: Vec<TypeShare>,
    bytes: u64,
}

#[derive(Serialize)]
struct TypeShare {
    #[serde(rename = "type")]
    kind: &'static str,
    tensors: usize,
}

#[derive(Serialize)]
struct TokenizerReport {
    model: String,
    pre_tokenizer: String,
    tokens: usize,
    begins_with: Option<String>,
    end_tokens: Vec<String>,
}

#[derive(Serialize)]
struct MemoryReport {
    weights_bytes: u64,
    kv_bytes_per_token: f64,
    free_bytes: Option<u64>,
    contexts: Vec<ContextReport>,
}

#[derive(Serialize)]
struct ContextReport {
    context: usize,
    kv_bytes: u64,
    total_bytes: u64,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let path = models::find(Some(&arguments.model.model))?;
    let report = report(&path, &ModelFile::open(&path)?, arguments.weights.holding());
    let mut out = std::io::BufWriter::new(screen::output());
    if arguments.json {
        writeln!(out, "{}", json!(report))?;
    } else {
        print(&mut out, &report)?;
    }
    Ok(out.flush()?)
}

fn report(path: &Path, file: &ModelFile, holding: Holding) -> Report {
    let short = |text: &str| harmless(text).chars().take(120).collect::<String>();
    let config = Config::read(file.source());
    let vocab = file.vocab();
    let tokenizer = vocab.as_ref().ok().map(Tokenizer::new);
    let mut reasons: Vec<String> = Vec::new();
    let mut because = |error: anyhow::Error| reasons.push(one_text(&error));
    let shape = config.as_ref().ok().map(shape);
    let memory = config.as_ref().ok().map(|config| memory_report(file, config, holding));
    let reported =
        tokenizer.as_ref().and_then(|tokenizer| tokenizer.as_ref().ok()).zip(vocab.as_ref().ok());
    let reported = reported.map(|(tokenizer, vocab)| TokenizerReport {
        model: vocab.model.clone(),
        pre_tokenizer: vocab.pre.clone(),
        tokens: tokenizer.vocab_size(),
        begins_with: vocab.bos.filter(|_| vocab.add_bos).map(|id| token(tokenizer, id)),
        end_tokens: tokenizer.end_tokens().iter().map(|&id| token(tokenizer, id)).collect(),
    });
    let chat_template = {
        let tokenizer = tokenizer.as_ref().and_then(|found| found.as_ref().ok());
        let source = vocab.as_ref().ok().and_then(|spec| spec.chat_template.as_deref());
        match config.as_ref().is_ok_and(|config| config.encoder.is_some()) {
            true => "none (an encoder: it makes embeddings)".into(),
            false => template(source, tokenizer),
        }
    };
    if let Err(error) = config {
        because(error.into());
    } else if let Err(error) = vocab {
        because(error);
    } else if let Some(Err(error)) = tokenizer {
        because(error.into());
    }
    Report {
        file: path.display().to_string(),
        file_bytes: file.file_bytes(),
        format: file.format(),
        family: file.family().map_or_else(|| "unknown".into(), short),
        title: file.general("name").map(short),
        licence: file.general("license").map(short),
        parameters: file.tensors().tensor_views().map(|view| parameters(&view)).sum(),
        runs: reasons.is_empty(),
        reason: reasons.pop(),
        shape,
        quantisation: classes(file),
        tokenizer: reported,
        chat_template,
        memory,
        kernels: match Kernels::detect() {
            Ok(kernels) => kernels.level().name().to_owned(),
            Err(error) => error.to_string(),
        },
    }
}

fn shape(config: &Config) -> Shape {
    let layers = || config.layers.iter().map(|layer| &layer.feed_forward);
    let feed_forward = layers().find_map(|feed_forward| match feed_forward {
        FeedForward::Dense { size, .. } | FeedForward::Mlp { size } => Some(*size),
        FeedForward::Moe(_) => None,
    });
    let experts = layers().find_map(|feed_forward| match feed_forward {
        FeedForward::Dense { .. } | FeedForward::Mlp { .. } => None,
        FeedForward::Moe(moe) => Some(Experts {
            count: moe.experts,
            used: moe.used,
            feed_forward: moe.size,
            shared_feed_forward: moe.shared.as_ref().map(|shared| shared.size),
        }),
    });
    Shape {
        layers: config.layers.len(),
        hidden: config.hidden,
        attention: attention(config),
        recurrence: recurrence(config),
        feed_forward,
        experts,
        vocab: config.vocab,
        context: config.context_length,
        tied_output: config.tied_output,
        mtp: config.mtp.is_some(),
    }
}

/// Weights that a tensor holds: two in each byte of 4-bit floats, none in scales of others.
fn parameters(view: &TensorView<'_>) -> u64 {
    let elements = view.elements() as u64;
    match view.name {
        name if name.ends_with("_blocks") => 2 * elements,
        name if name.ends_with("_scales") || name.ends_with("_scale_inv") => 0,
        _ => elements,
    }
}

/// Of the layers that attend, which are alike but for their windows.
fn attention(config: &Config) -> Option<Attention> {
    let windows = config.layers.iter().filter_map(|layer| match &layer.mixer {
        Mixer::Gqa(gqa) => gqa.window,
        Mixer::Mla(_) | Mixer::GatedDelta(_) | Mixer::Bidirectional(_) => None,
    });
    let windows: Vec<usize> = windows.collect();
    config.layers.iter().find_map(|layer| match &layer.mixer {
        Mixer::Gqa(gqa) => Some(Attention {
            heads: gqa.heads,
            kv_heads: gqa.kv_heads,
            head_size: gqa.head_size,
            windows: windows.first().map(|&window| (windows.len(), window)),
            latent: None,
            chosen_positions: None,
        }),
        Mixer::Mla(mla) => Some(Attention {
            heads: mla.heads,
            kv_heads: 1,
            head_size: mla.head_size(),
            windows: None,
            latent: Some(mla.kv_rank),
            chosen_positions: mla.indexer.as_ref().map(|indexer| indexer.top),
        }),
        Mixer::Bidirectional(attention) => Some(Attention {
            heads: attention.heads,
            kv_heads: attention.heads,
            head_size: attention.head_size,
            windows: None,
            latent: None,
            chosen_positions: None,
        }),
        Mixer::GatedDelta(_) => None,
    })
}

fn recurrence(config: &Config) -> Option<Recurrence> {
    let states = config.state_shapes();
    let shape = states.iter().flatten().next()?;
    Some(Recurrence {
        layers: states.iter().flatten().count(),
        key_heads: shape.key_heads,
        value_heads: shape.value_heads,
        key_size: shape.key_size,
        value_size: shape.value_size,
    })
}

/// Which work a tensor does, by the names that converters give.
fn class_of(name: &str) -> &'static str {
    const CLASSES: [(&str, &str); 20] = [
        ("norm", "norms"),
        ("LayerNorm", "norms"),
        ("token_embd", "embedding"),
        ("embed_tokens", "embedding"),
        ("_embd", "embedding"),
        ("token_types", "embedding"),
        ("embeddings.", "embedding"),
        ("bias", "biases"),
        ("ssm_", "recurrence"),
        ("linear_attn", "recurrence"),
        ("indexer", "attention"),
        ("attn_", "attention"),
        ("self_attn", "attention"),
        (".attention.", "attention"),
        ("ffn_", "feed-forward"),
        (".mlp.", "feed-forward"),
        // Of BERT, whose attention is told above.
        ("encoder.layer", "feed-forward"),
        ("pooler", "other"),
        ("output", "output head"),
        ("lm_head", "output head"),
    ];
    let found = CLASSES.into_iter().find(|(part, _)| name.contains(part));
    found.map_or("other", |(_, class)| class)
}

/// Classes in the order of their first tensors; types with the most tensors first.
fn classes(file: &ModelFile) -> Vec<Class> {
    let mut order: Vec<&'static str> = Vec::new();
    let mut sums: BTreeMap<&'static str, (BTreeMap<&'static str, usize>, u64)> = BTreeMap::new();
    for tensor in file.tensors().tensor_views() {
        let class = class_of(tensor.name);
        if !order.contains(&class) {
            order.push(class);
        }
        let (types, bytes) = sums.entry(class).or_default();
        *types.entry(tensor.kind.name()).or_default() += 1;
        *bytes += tensor.bytes.len() as u64;
    }
    let class = |class| {
        let (types, bytes) = sums.remove(class).unwrap_or_default();
        let mut types: Vec<TypeShare> =
            types.into_iter().map(|(kind, tensors)| TypeShare { kind, tensors }).collect();
        types.sort_by_key(|share| std::cmp::Reverse(share.tensors));
        Class { class, types, bytes }
    };
    order.into_iter().map(class).collect()
}

fn token(tokenizer: &Tokenizer, id: u32) -> String {
    harmless(tokenizer.token_text(id).unwrap_or_default())
}

fn template(source: Option<&str>, tokenizer: Option<&Tokenizer>) -> String {
    let Some(source) = source else {
        return "none (a base model: it continues texts)".into();
    };
    let length = format!("{} characters", count(source.chars().count()));
    match tokenizer.map(|tokenizer| ChatTemplate::new(source, tokenizer)) {
        None => length,
        Some(Ok(_)) => format!("{length}, valid"),
        Some(Err(error)) => error.to_string(),
    }
}

/// What a few contexts need, the model's own last.
fn memory_report(file: &ModelFile, config: &Config, holding: Holding) -> MemoryReport {
    const CONTEXTS: [usize; 4] = [2048, 8192, 32_768, 131_072];
    let (source, precision) = (file.source(), holding.precision);
    // The file that the config was read from has all tensors.
    let weights = match holding.mmap {
        true => 0,
        false => {
            config.weight_bytes(source, precision).unwrap_or(file.weight_bytes())
                + config.mtp_weight_bytes(source, precision).unwrap_or(0)
        }
    };
    let own = config.context_length;
    let contexts = CONTEXTS.into_iter().filter(|&context| context < own).chain([own]);
    let report = |context| {
        let kv_bytes = sizes::kv_bytes(config, KvType::F16, context) + sizes::state_bytes(config);
        ContextReport { context, kv_bytes, total_bytes: weights + kv_bytes }
    };
    MemoryReport {
        weights_bytes: weights,
        kv_bytes_per_token: sizes::page_bytes(config, KvType::F16) as f64 / PAGE_TOKENS as f64,
        free_bytes: memory::free_bytes(),
        contexts: contexts.map(report).collect(),
    }
}

fn print(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    let mut line = |name: &str, text: &str| writeln!(out, "{name:<14} {text}");
    line("file", &format!("{} ({}, {})", report.file, report.format, size(report.file_bytes)))?;
    let title = report.title.as_deref().map_or(String::new(), |title| format!(" ({title})"));
    line("family", &format!("{}{title}", report.family))?;
    if let Some(licence) = &report.licence {
        line("licence", licence)?;
    }
    line("parameters", &format!("{:.1} million", report.parameters as f64 / 1e6))?;
    if let Some(shape) = &report.shape {
        line(
            "layers",
            &format!("{} of width {}; {}", shape.layers, count(shape.hidden), feed_forwards(shape)),
        )?;
        if let Some(attention) = &shape.attention {
            line("attention", &attention_for_people(attention))?;
        }
        if let Some(recurrence) = &shape.recurrence {
            let Recurrence { layers, key_heads, value_heads, key_size, value_size } = recurrence;
            let heads = format!("{key_heads} key and {value_heads} value heads");
            let text = format!("in {layers} layers: {heads}, states of {key_size} × {value_size}");
            line("recurrence", &text)?;
        }
        if shape.mtp {
            line("guesses", "by a layer of its own (multi-token prediction)")?;
        }
        line("context", &format!("{} tokens", count(shape.context)))?;
    }
    for (index, class) in report.quantisation.iter().enumerate() {
        let types: Vec<String> =
            class.types.iter().map(|share| format!("{} × {}", share.tensors, share.kind)).collect();
        let name = if index == 0 { "weights" } else { "" };
        line(name, &format!("{:<13} {:>9}  {}", class.class, size(class.bytes), types.join(", ")))?;
    }
    if let Some(tokenizer) = &report.tokenizer {
        let begin = tokenizer
            .begins_with
            .as_deref()
            .map_or(String::new(), |token| format!("; prompts begin with {token}"));
        line(
            "tokenizer",
            &format!(
                "{} ({}), {} tokens; ends: {}{begin}",
                tokenizer.model,
                tokenizer.pre_tokenizer,
                count(tokenizer.tokens),
                tokenizer.end_tokens.join(" ")
            ),
        )?;
    }
    line("chat template", &report.chat_template)?;
    if let Some(memory) = &report.memory {
        print_memory(out, memory)?;
    }
    let mut line = |name: &str, text: &str| writeln!(out, "{name:<14} {text}");
    line("kernels", &report.kernels)?;
    match &report.reason {
        None => line("runs here", "yes"),
        Some(reason) => line("runs here", &format!("no: {reason}")),
    }
}

/// How the layers see other positions.
fn attention_for_people(attention: &Attention) -> String {
    let Attention { heads, kv_heads, head_size, .. } = attention;
    let mut text = match attention.latent {
        Some(latent) => format!("{heads} heads of {head_size} over latents of {latent}"),
        None => format!("{heads} query and {kv_heads} key heads of {head_size}"),
    };
    if let Some((layers, window)) = attention.windows {
        text += &format!("; {layers} layers see {} tokens back", count(window));
    }
    if let Some(chosen) = attention.chosen_positions {
        text += &format!("; {} positions are chosen", count(chosen));
    }
    text
}

/// How the layers work on each position alone.
fn feed_forwards(shape: &Shape) -> String {
    let dense = shape.feed_forward.map(|width| format!("feed-forward {}", count(width)));
    let experts = shape.experts.as_ref().map(|experts| {
        let width = count(experts.feed_forward);
        let shared = experts
            .shared_feed_forward
            .map_or(String::new(), |width| format!(" and a shared one of {}", count(width)));
        format!("{} experts of {width}, {} used{shared}", experts.count, experts.used)
    });
    dense.into_iter().chain(experts).collect::<Vec<_>>().join("; ")
}

fn print_memory(out: &mut impl Write, memory: &MemoryReport) -> std::io::Result<()> {
    for (index, context) in memory.contexts.iter().enumerate() {
        let name = if index == 0 { "memory" } else { "" };
        let free = memory.free_bytes.filter(|&free| free < context.total_bytes);
        let short = if free.is_some() { "  (more than is free now)" } else { "" };
        writeln!(
            out,
            "{name:<14} {:>9} with a context of {:>7}: weights and {} of keys and values{short}",
            size(context.total_bytes),
            count(context.context),
            size(context.kv_bytes)
        )?;
    }
    Ok(())
}
