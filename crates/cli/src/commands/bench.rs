//! Turns a model and this machine into tokens/s, and into the share of the machine's own limits.

use std::io::Write;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use myriad_engine::EngineConfig;
use myriad_kernels::{Compute, KvType, PAGE_TOKENS, int8_peak, memory_read_bandwidth};
use myriad_model::{Batch, Cache, Config, LogitRows, Model, Scratch, Segment};
use serde::Serialize;
use serde_json::json;

use crate::arguments::{Kv, OptionalModel, Threads, Weights};
use crate::load;
use crate::models;
use crate::screen::{self, count, is_fancy, note};

const EXAMPLES: &str = "\
What is counted:
  prefill   tokens of a prompt per second, computed in steps as the server does, logits of the last
            token alone. Its share: two operations for each weight in the layers and each token,
            held against the int8 products per second that this processor does out of registers.
  decode    tokens per second, one after the other. Its share: the bytes of weights (as stored in
            the file) and of keys and values that each token must read, held against the bytes per
            second that all threads together read from memory.
  Limits and speeds are measured in the same run, before and after; speeds are medians of --repeat
  rounds. Sampling, tokenizer and HTTP are not in it.

Examples:
  myriad bench                                    the default model
  myriad bench MODEL --depth 4096                 with 4,096 tokens in the cache already
  myriad bench MODEL --depth 128 --sequences 16   sixteen answers at once
  myriad bench MODEL --depth 1000 --shared 992 --sequences 16
                                                  the same behind one system prompt
  MYRIAD_KERNELS=avx2 myriad bench MODEL --json   one level of kernels, for scripts";

/// Most tokens of a sequence: longer than any model's context, and no mistyped number.
const TOKENS_MAX: usize = 1 << 24;

/// Measure this machine: tokens per second, and the share of its limits.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    model: OptionalModel,
    #[command(flatten)]
    weights: Weights,
    #[command(flatten)]
    kv: Kv,
    #[command(flatten)]
    threads: Threads,
    /// Tokens of the prompt.
    #[arg(long, value_name = "N", default_value_t = 512,
          value_parser = clap::value_parser!(u32).range(1..))]
    prompt: u32,
    /// Tokens to generate.
    #[arg(long, value_name = "N", default_value_t = 128,
          value_parser = clap::value_parser!(u32).range(1..))]
    generate: u32,
    /// Tokens in the cache before both.
    #[arg(long, value_name = "N", default_value_t = 0)]
    depth: u32,
    /// Sequences that are decoded together, each after --depth tokens of its own.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    sequences: u32,
    /// How many tokens of --depth all sequences share, as those behind one system prompt do: whole
    /// pages of 32.
    #[arg(long, value_name = "N", default_value_t = 0)]
    shared: u32,
    /// Rounds; the median counts.
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What the machine can do at most.
#[derive(Clone, Copy)]
struct Limits {
    memory_bytes_per_second: f64,
    int8_operations_per_second: f64,
}

/// Tokens per second.
#[derive(Clone, Copy, Serialize)]
struct Speeds {
    #[serde(rename = "prefill_tokens_per_second")]
    prefill: f64,
    #[serde(rename = "decode_tokens_per_second")]
    decode: f64,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let opened = load::open(arguments.model.model.as_deref(), arguments.weights.holding())?;
    let (prompt, generate) = (arguments.prompt as usize, arguments.generate as usize);
    let (depth, sequences) = (arguments.depth as usize, arguments.sequences as usize);
    let needed = depth.saturating_add(prompt.max(generate));
    if needed > TOKENS_MAX {
        bail!("--depth with --prompt or --generate is {}; at most {TOKENS_MAX}", count(needed));
    }
    let shared = arguments.shared as usize / PAGE_TOKENS;
    if arguments.shared > arguments.depth {
        bail!("--shared {} is more than --depth {depth}, of which it is a part", arguments.shared);
    }
    let compute = load::compute(arguments.threads.count())?;
    let model = opened.model(&compute)?;
    let mut bench = Bench::new(&model, &compute, arguments.kv.kind, sequences, needed)?;
    bench.share(shared);
    let before = Limits::measure(&compute);
    let mut rounds = Vec::new();
    bench.round(prompt, generate.min(8), depth); // warm: pages, caches, clock rates
    for round in 1..=arguments.repeat {
        let speeds = bench.round(prompt, generate, depth);
        if is_fancy() && !arguments.json {
            let (prefill, decode) = (speeds.prefill, speeds.decode);
            note(format!("round {round}: prefill {prefill:.0}, decode {decode:.1} tokens/s"));
        }
        rounds.push(speeds);
    }
    let limits = before.best(Limits::measure(&compute));
    let report = Report {
        model: models::name_of(&opened.path),
        kernels: compute.kernels.level().name(),
        threads: compute.pool.threads(),
        prompt_tokens: prompt,
        generated_tokens: generate,
        depth,
        sequences,
        shared: shared * PAGE_TOKENS,
        kv: arguments.kv.kind.name(),
        prefill_tokens_per_second: median(rounds.iter().map(|round| round.prefill)),
        decode_tokens_per_second: median(rounds.iter().map(|round| round.decode)),
        prefill_share_of_int8_peak: 0.0,
        decode_share_of_bandwidth: 0.0,
        memory_bytes_per_second: limits.memory_bytes_per_second,
        int8_operations_per_second: limits.int8_operations_per_second,
        operations_per_prefilled_token: 2.0 * layer_weights(model.config()) as f64,
        bytes_per_decoded_token: model.weight_bytes_per_token() as f64 / sequences as f64
            + kv_bytes_read(
                &bench,
                (shared * PAGE_TOKENS) as f64 / sequences as f64
                    + (depth - shared * PAGE_TOKENS) as f64
                    + generate as f64 / 2.0,
            ),
        rounds,
    };
    let report = report.with_shares();
    let mut out = screen::output();
    match arguments.json {
        true => writeln!(out, "{}", json!(report))?,
        false => report.print(&mut out)?,
    }
    Ok(())
}

/// Everything that was measured; the keys are those of the JSON.
#[derive(Serialize)]
struct Report {
    model: String,
    kernels: &'static str,
    threads: usize,
    prompt_tokens: usize,
    generated_tokens: usize,
    depth: usize,
    sequences: usize,
    shared: usize,
    kv: &'static str,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
    prefill_share_of_int8_peak: f64,
    decode_share_of_bandwidth: f64,
    memory_bytes_per_second: f64,
    int8_operations_per_second: f64,
    operations_per_prefilled_token: f64,
    bytes_per_decoded_token: f64,
    rounds: Vec<Speeds>,
}

impl Report {
    fn with_shares(mut self) -> Report {
        self.prefill_share_of_int8_peak = self.prefill_tokens_per_second
            * self.operations_per_prefilled_token
            / self.int8_operations_per_second;
        self.decode_share_of_bandwidth = self.decode_tokens_per_second
            * self.bytes_per_decoded_token
            / self.memory_bytes_per_second;
        self
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut at_depth = match self.depth {
            0 => String::new(),
            depth => format!(", after {} tokens of {}", count(depth), self.kv),
        };
        if self.sequences > 1 {
            at_depth += &format!(", {} sequences", self.sequences);
        }
        if self.shared > 0 {
            at_depth += &format!(" that share {}", count(self.shared));
        }
        writeln!(
            out,
            "{}: {} kernels, {} threads, median of {}{at_depth}",
            self.model,
            self.kernels,
            self.threads,
            self.rounds.len()
        )?;
        writeln!(
            out,
            "prefill  {:>8.1} tokens/s   {:>3.0} % of the int8 peak ({:.2} T operations/s)",
            self.prefill_tokens_per_second,
            self.prefill_share_of_int8_peak * 100.0,
            self.int8_operations_per_second / 1e12
        )?;
        writeln!(
            out,
            "decode   {:>8.1} tokens/s   {:>3.0} % of the memory bandwidth ({:.1} GB/s)",
            self.decode_tokens_per_second,
            self.decode_share_of_bandwidth * 100.0,
            self.memory_bytes_per_second / 1e9
        )
    }
}

impl Limits {
    fn measure(compute: &Compute) -> Limits {
        Limits {
            memory_bytes_per_second: memory_read_bandwidth(compute),
            int8_operations_per_second: int8_peak(compute),
        }
    }

    /// A limit is the most that was ever reached; less was somebody else's work in between.
    fn best(self, other: Limits) -> Limits {
        Limits {
            memory_bytes_per_second: self
                .memory_bytes_per_second
                .max(other.memory_bytes_per_second),
            int8_operations_per_second: self
                .int8_operations_per_second
                .max(other.int8_operations_per_second),
        }
    }
}

/// Sequences that are computed again and again.
struct Bench<'a> {
    model: &'a Model,
    compute: &'a Compute,
    kv: KvType,
    cache: Cache,
    scratch: Scratch,
    /// Of each sequence.
    pages: Vec<Vec<u32>>,
    /// State of the row of tokens, which is the same in each run.
    token: u32,
}

impl<'a> Bench<'a> {
    fn new(
        model: &'a Model,
        compute: &'a Compute,
        kv: KvType,
        sequences: usize,
        tokens: usize,
    ) -> Result<Bench<'a>> {
        let each = tokens.div_ceil(PAGE_TOKENS);
        let pages: Vec<u32> = (0..(each * sequences) as u32).collect();
        let mut cache = model.new_cache_of(kv, pages.len(), sequences)?;
        // As an engine does before requests come.
        pages.iter().for_each(|&page| cache.touch_page(page));
        Ok(Bench {
            model,
            compute,
            kv,
            cache,
            scratch: Scratch::new(),
            pages: pages.chunks(each).map(<[u32]>::to_vec).collect(),
            token: 1,
        })
    }

    /// Lets all sequences begin with so many pages of the first.
    fn share(&mut self, pages: usize) {
        let (first, others) = self.pages.split_at_mut(1);
        for other in others {
            other[..pages].copy_from_slice(&first[0][..pages]);
        }
    }

    /// Prefill of one sequence and decode of all, each after `depth` tokens.
    fn round(&mut self, prompt: usize, generate: usize, depth: usize) -> Speeds {
        for sequence in 0..self.pages.len() {
            self.prefill(sequence, 0, depth);
        }
        let start = Instant::now();
        self.prefill(0, depth, prompt);
        let prefill = prompt as f64 / start.elapsed().as_secs_f64();
        let start = Instant::now();
        for position in depth..depth + generate {
            self.decode(position);
        }
        let tokens = generate * self.pages.len();
        let decode = tokens as f64 / start.elapsed().as_secs_f64();
        Speeds { prefill, decode }
    }

    fn prefill(&mut self, sequence: usize, start: usize, tokens: usize) {
        let end = start + tokens;
        for position in (start..end).step_by(EngineConfig::STEP_TOKENS) {
            let count = EngineConfig::STEP_TOKENS.min(end - position);
            let last = position + count == end;
            let logits = if last { LogitRows::Last } else { LogitRows::None };
            let tokens: Vec<u32> = (0..count).map(|_| self.next_token()).collect();
            let pages = &self.pages[sequence];
            let segment = Segment {
                state: sequence,
                ..Segment::alone(&tokens, position as u32, pages, logits)
            };
            let batch = Batch { sequences: &[segment] };
            self.model.forward(self.compute, &batch, &mut self.cache, &mut self.scratch);
        }
    }

    /// One token of each sequence.
    fn decode(&mut self, position: usize) {
        let tokens: Vec<[u32; 1]> = (0..self.pages.len()).map(|_| [self.next_token()]).collect();
        let sequences = self.pages.iter().zip(&tokens).enumerate();
        let segments: Vec<Segment<'_>> = sequences
            .map(|(state, (pages, tokens))| Segment {
                state,
                ..Segment::alone(tokens, position as u32, pages, LogitRows::Last)
            })
            .collect();
        let batch = Batch { sequences: &segments };
        self.model.forward(self.compute, &batch, &mut self.cache, &mut self.scratch);
    }

    /// Tokens from all over the vocabulary, as texts have them: a generator of Numerical Recipes.
    fn next_token(&mut self) -> u32 {
        self.token = self.token.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.token >> 8) % self.model.config().vocab as u32
    }
}

/// Weights of the matrices in all layers that take part in one product per token.
fn layer_weights(config: &Config) -> usize {
    let weights = config.layers.iter().map(|layer| {
        layer.mixer.weights_per_token(config.hidden)
            + layer.feed_forward.weights_per_token(config.hidden)
    });
    weights.sum()
}

/// Bytes of keys and values that a token at this position reads.
fn kv_bytes_read(bench: &Bench<'_>, position: f64) -> f64 {
    bench.model.cache_bytes_per_page(bench.kv) as f64 / PAGE_TOKENS as f64 * position
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
