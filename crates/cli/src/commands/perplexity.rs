//! Turns a model and a text into how well the one predicts the other.

mod divergence;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use myriad_engine::log_probabilities;
use myriad_kernels::{BlockType, Compute, KvType, PAGE_TOKENS};
use myriad_model::{Batch, Cache, LogitRows, Logits, Model, Precision, Scratch, Segment};
use myriad_token::Specials;
use serde_json::json;

use crate::arguments::{self, Kv, Threads, Weights, text_or_stdin};
use crate::load::{self, Holding, Opened};
use crate::models;
use crate::screen::{self, count, seconds, steps_bar};
use divergence::Divergence;

/// Rows whose logits are held at a time: some tens of megabytes with the largest vocabularies.
const CHUNK_TOKENS: usize = 64;

const EXAMPLES: &str = "\
What is counted:
  The text is cut into windows of --context tokens. In each, the first half is given, and each
  token of the second half is predicted from all that stands before it in the window: as llama.cpp
  does, so that figures can be compared. The perplexity is e to the mean negative
  log-probability; lower is better. A text shorter than a window is one window.
  --divergence computes the same tokens a second time with all weights, activations, keys and
  values as floats, and says how far the probabilities are from those: what the types of weights
  and of the KV cache cost, without chance of the text.

Examples:
  myriad perplexity MODEL wiki.test.raw
  myriad perplexity MODEL book.txt --context 2048 --json
  myriad perplexity MODEL book.txt --kv q8_0 --divergence";

/// Measure how well a model predicts a text.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    model: arguments::Model,
    /// A text file in UTF-8; `-` reads standard input.
    #[arg(value_name = "TEXTFILE")]
    text: PathBuf,
    #[command(flatten)]
    weights: Weights,
    #[command(flatten)]
    kv: Kv,
    #[command(flatten)]
    threads: Threads,
    /// Tokens of one window.
    #[arg(long, short = 'c', value_name = "TOKENS", default_value_t = 512,
          value_parser = clap::value_parser!(u32).range(2..))]
    context: u32,
    /// Also measure how far the model is from its exact twin, all in floats. Takes the memory and
    /// time of that twin.
    #[arg(long)]
    divergence: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let opened = load::open(Some(&arguments.model.model), arguments.weights.holding())?;
    let context = arguments.context as usize;
    if context > opened.config.context_length {
        bail!(
            "--context {context} is more than the {} tokens that this model was made for",
            opened.config.context_length
        );
    }
    let text = read(&arguments.text)?;
    let tokenizer = opened.tokenizer()?;
    let tokens = tokenizer.encode_prompt(&text, Specials::AsText);
    if tokens.len() < 4 {
        bail!("the text has {} tokens; at least 4 are needed to predict any", tokens.len());
    }
    let windows: Vec<Vec<u32>> = windows(&tokens, context, begin(&tokenizer, &tokens));
    let compute = load::compute(arguments.threads.count())?;
    let start = Instant::now();
    let measured = measure(&arguments, &opened, &compute, &windows)?;
    let elapsed = start.elapsed();
    let sum = &measured.sum;
    let scored = sum.count as usize;
    let (perplexity, error) = (sum.perplexity(), sum.perplexity_error());
    let mut out = screen::output();
    if arguments.json {
        let report = json!({
            "model": models::name_of(&opened.path),
            "perplexity": perplexity,
            "standard_error": error,
            "negative_log_likelihood": sum.mean(),
            "divergence": measured.divergence.as_ref().map(Divergence::json),
            "tokens": tokens.len(),
            "scored_tokens": scored,
            "windows": windows.len(),
            "context": context,
            "kv": arguments.kv.kind.name(),
            "kernels": compute.kernels.level().name(),
            "seconds": elapsed.as_secs_f64(),
        });
        writeln!(out, "{report}")?;
        return Ok(());
    }
    writeln!(
        out,
        "perplexity {perplexity:.4} ± {error:.4}  ({} tokens scored in {} windows of {}, {})",
        count(scored),
        windows.len(),
        windows[0].len(),
        seconds(elapsed)
    )?;
    if let Some(divergence) = &measured.divergence {
        writeln!(out, "{}", divergence.text())?;
    }
    Ok(())
}

/// What was found over all windows.
#[derive(Default)]
struct Measured {
    sum: Sum,
    divergence: Option<Divergence>,
}

fn measure(
    arguments: &Arguments,
    opened: &Opened,
    compute: &Compute,
    windows: &[Vec<u32>],
) -> Result<Measured> {
    let length = windows[0].len();
    let model = opened.model(compute)?;
    let exact = match arguments.divergence {
        true => {
            let holding = Holding { precision: Precision::All(BlockType::F32), mmap: false };
            Some(load::open(Some(&arguments.model.model), holding)?.model(compute)?)
        }
        false => None,
    };
    let mut scorer = Scorer::new(&model, compute, arguments.kv.kind, length)?;
    let mut twin = match &exact {
        Some(exact) => Some(Scorer::new(exact, compute, KvType::F32, length)?),
        None => None,
    };
    let divergence = exact.as_ref().map(|_| Divergence::default());
    let mut measured = Measured { divergence, ..Measured::default() };
    let bar = steps_bar(windows.len() as u64, "windows");
    for window in windows {
        score(&mut scorer, twin.as_mut(), window, &mut measured);
        bar.inc(1);
        bar.set_message(format!("perplexity {:.3}, windows", measured.sum.perplexity()));
    }
    bar.finish_and_clear();
    Ok(measured)
}

/// Scores the second half of a window.
fn score(
    scorer: &mut Scorer<'_>,
    mut twin: Option<&mut Scorer<'_>>,
    window: &[u32],
    measured: &mut Measured,
) {
    // The token at `first` is predicted by the one before it.
    let first = window.len() / 2;
    if first > 1 {
        scorer.forward(window, 0..first - 1, LogitRows::None);
        if let Some(twin) = &mut twin {
            twin.forward(window, 0..first - 1, LogitRows::None);
        }
    }
    for start in (first - 1..window.len() - 1).step_by(CHUNK_TOKENS) {
        let range = start..(start + CHUNK_TOKENS).min(window.len() - 1);
        let wanted = &window[range.start + 1..=range.end];
        let logits = scorer.forward(window, range.clone(), LogitRows::All);
        for (row, &token) in wanted.iter().enumerate() {
            let logprob = log_probabilities(logits.row(row))[token as usize];
            measured.sum.add(-f64::from(logprob));
        }
        if let (Some(twin), Some(divergence)) = (&mut twin, &mut measured.divergence) {
            let exact = twin.forward(window, range, LogitRows::All);
            for row in 0..wanted.len() {
                divergence.add(exact.row(row), logits.row(row));
            }
        }
    }
}

fn read(path: &std::path::Path) -> Result<String> {
    if path.as_os_str() == "-" {
        return text_or_stdin("-");
    }
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    String::from_utf8(bytes).map_err(|error| {
        let position = error.utf8_error().valid_up_to();
        anyhow::anyhow!("{} is not UTF-8 text: see byte {position}", path.display())
    })
}

/// The token that each window begins with, where the model expects one.
fn begin(tokenizer: &myriad_token::Tokenizer, tokens: &[u32]) -> Option<u32> {
    tokenizer.bos().filter(|bos| tokens.first() == Some(bos))
}

/// Windows of equal length; what is left at the end is not scored. A short text is one window.
fn windows(tokens: &[u32], context: usize, begin: Option<u32>) -> Vec<Vec<u32>> {
    let whole = tokens.chunks_exact(context.min(tokens.len()));
    let mut windows: Vec<Vec<u32>> = whole.map(<[u32]>::to_vec).collect();
    if let Some(begin) = begin {
        windows.iter_mut().for_each(|window| window[0] = begin);
    }
    windows
}

struct Scorer<'a> {
    model: &'a Model,
    compute: &'a Compute,
    cache: Cache,
    scratch: Scratch,
    pages: Vec<u32>,
}

impl<'a> Scorer<'a> {
    fn new(
        model: &'a Model,
        compute: &'a Compute,
        kv: KvType,
        window: usize,
    ) -> Result<Scorer<'a>> {
        let pages = window.div_ceil(PAGE_TOKENS);
        let cache = model.new_cache_of(kv, pages, 1)?;
        let pages = (0..pages as u32).collect();
        Ok(Scorer { model, compute, cache, scratch: Scratch::new(), pages })
    }

    fn forward(
        &mut self,
        window: &[u32],
        range: std::ops::Range<usize>,
        logits: LogitRows,
    ) -> Logits<'_> {
        let tokens = &window[range.clone()];
        let segment = Segment::alone(tokens, range.start as u32, &self.pages, logits);
        let batch = Batch { sequences: &[segment] };
        self.model.forward(self.compute, &batch, &mut self.cache, &mut self.scratch)
    }
}

/// Mean and spread of what was scored.
#[derive(Default)]
struct Sum {
    count: f64,
    total: f64,
    squares: f64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        self.total += value;
        self.squares += value * value;
    }

    fn mean(&self) -> f64 {
        self.total / self.count
    }

    fn perplexity(&self) -> f64 {
        self.mean().exp()
    }

    fn mean_error(&self) -> f64 {
        let variance = (self.squares / self.count - self.mean().powi(2)).max(0.0);
        (variance / (self.count - 1.0).max(1.0)).sqrt()
    }

    /// That of the mean, carried through the exponential.
    fn perplexity_error(&self) -> f64 {
        self.perplexity() * self.mean_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_whole_and_begin_as_the_model_wants() {
        let tokens: Vec<u32> = (0..10).collect();
        assert_eq!(windows(&tokens, 4, None), [vec![0, 1, 2, 3], vec![4, 5, 6, 7]]);
        assert_eq!(windows(&tokens, 4, Some(99))[1], [99, 5, 6, 7]);
        assert_eq!(windows(&tokens, 100, None), [tokens]);
    }

    #[test]
    fn the_error_is_that_of_the_mean() {
        let mut sum = Sum::default();
        [1.0, 2.0, 3.0].into_iter().for_each(|value| sum.add(value));
        assert!((sum.perplexity() - 2f64.exp()).abs() < 1e-12);
        // Sample variance 1, three values.
        assert!((sum.perplexity_error() - 2f64.exp() * (1f64 / 3.0).sqrt()).abs() < 1e-12);
    }
}
