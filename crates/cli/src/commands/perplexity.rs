//! Turns a model and a text into how well the one predicts the other.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use myriad_engine::log_probabilities;
use myriad_kernels::{Compute, PAGE_TOKENS};
use myriad_model::{Batch, Cache, LogitRows, Model, Scratch, Segment};
use myriad_token::Specials;
use serde_json::json;

use crate::arguments::{self, Threads, Weights, text_or_stdin};
use crate::load;
use crate::models;
use crate::screen::{self, count, seconds, steps_bar};

/// Rows whose logits are held at a time: some tens of megabytes with the largest vocabularies.
const CHUNK_TOKENS: usize = 64;

const EXAMPLES: &str = "\
What is counted:
  The text is cut into windows of --context tokens. In each, the first half is given, and each
  token of the second half is predicted from all that stands before it in the window: as llama.cpp
  does, so that figures can be compared. The perplexity is e to the mean negative
  log-probability; lower is better. A text shorter than a window is one window.

Examples:
  myriad perplexity MODEL wiki.test.raw
  myriad perplexity MODEL book.txt --context 2048 --json";

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
    threads: Threads,
    /// Tokens of one window.
    #[arg(long, short = 'c', value_name = "TOKENS", default_value_t = 512,
          value_parser = clap::value_parser!(u32).range(2..))]
    context: u32,
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
    let model = opened.model(&compute)?;
    let start = Instant::now();
    let mut scorer = Scorer::new(&model, &compute, windows[0].len())?;
    let bar = steps_bar(windows.len() as u64, "windows");
    let mut sum = Sum::default();
    for window in &windows {
        scorer.score(window, &mut sum);
        bar.inc(1);
        bar.set_message(format!("perplexity {:.3}, windows", sum.perplexity()));
    }
    bar.finish_and_clear();
    let scored = sum.count as usize;
    let (perplexity, error) = (sum.perplexity(), sum.perplexity_error());
    let mut out = screen::output();
    if arguments.json {
        let report = json!({
            "model": models::name_of(&opened.path),
            "perplexity": perplexity,
            "standard_error": error,
            "negative_log_likelihood": sum.mean(),
            "tokens": tokens.len(),
            "scored_tokens": scored,
            "windows": windows.len(),
            "context": context,
            "kernels": compute.kernels.level().name(),
            "seconds": start.elapsed().as_secs_f64(),
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
        seconds(start.elapsed())
    )?;
    Ok(())
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
    fn new(model: &'a Model, compute: &'a Compute, window: usize) -> Result<Scorer<'a>> {
        let pages = window.div_ceil(PAGE_TOKENS);
        let cache = model.new_cache(pages, 1)?;
        let pages = (0..pages as u32).collect();
        Ok(Scorer { model, compute, cache, scratch: Scratch::new(), pages })
    }

    /// Scores the second half of a window.
    fn score(&mut self, window: &[u32], sum: &mut Sum) {
        // The token at `first` is predicted by the one before it.
        let first = window.len() / 2;
        self.forward(window, 0..first - 1, LogitRows::None, sum);
        for start in (first - 1..window.len() - 1).step_by(CHUNK_TOKENS) {
            let end = (start + CHUNK_TOKENS).min(window.len() - 1);
            self.forward(window, start..end, LogitRows::All, sum);
        }
    }

    fn forward(
        &mut self,
        window: &[u32],
        range: std::ops::Range<usize>,
        logits: LogitRows,
        sum: &mut Sum,
    ) {
        if range.is_empty() {
            return;
        }
        let tokens = &window[range.clone()];
        let segment = Segment::alone(tokens, range.start as u32, &self.pages, logits);
        let batch = Batch { sequences: &[segment] };
        let logits = self.model.forward(self.compute, &batch, &mut self.cache, &mut self.scratch);
        let wanted = window[range.start + 1..].iter();
        for (row, &token) in (0..logits.rows()).zip(wanted) {
            sum.add(-f64::from(log_probabilities(logits.row(row))[token as usize]));
        }
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

    /// That of the mean, carried through the exponential.
    fn perplexity_error(&self) -> f64 {
        let variance = (self.squares / self.count - self.mean().powi(2)).max(0.0);
        self.perplexity() * (variance / (self.count - 1.0).max(1.0)).sqrt()
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
