//! Turns a Hugging Face folder or a GGUF file into a GGUF file, quantised if asked for.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use myriad_formats::VocabSpec;
use myriad_kernels::BlockType;
use myriad_model::{Config, Conversion, Precision};

use crate::arguments::{Threads, block_type};
use crate::file::ModelFile;
use crate::partial::Partial;
use crate::screen::{advise, bytes_bar, note, seconds, size};
use crate::{load, models};

const EXAMPLES: &str = "\
Examples:
  myriad convert ./Qwen3-0.6B Qwen3-0.6B.gguf                       as published, in one file
  myriad convert ./Qwen3-0.6B Qwen3-0.6B.Q4_K.gguf --quantize q4_k  in a third of the size
  myriad convert big.Q8_0.gguf small.gguf --quantize q4_k --requantize

llama.cpp runs these files, too.";

/// Bytes that are written to the disk at a time.
const BUFFER: usize = 1 << 20;

/// A folder or a file as GGUF, quantised if asked for.
///
/// Needs little memory, however large the model is. The file appears under its name when it is
/// complete, and not before.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A Hugging Face folder, a GGUF file, or the name of a model in the cache.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The GGUF file to be written.
    #[arg(value_name = "OUT.gguf")]
    output: PathBuf,
    /// The type of most matrices: q8_0, q6_k, q5_k, q4_k, mxfp4, iq4_nl … Norms and routers stay
    /// floats; the embedding and the output head get at least q6_k. [default: as they are]
    #[arg(long, alias = "quantise", value_name = "TYPE", value_parser = block_type)]
    quantize: Option<BlockType>,
    /// Quantise what is quantised already, too. It loses twice: better begin with floats.
    #[arg(long, alias = "requantise", requires = "quantize")]
    requantize: bool,
    /// Replace OUT if it is there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    threads: Threads,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let (output, start) = (&arguments.output, Instant::now());
    let folder = check_output(output, arguments.force)?;
    let path = models::find(Some(&arguments.input))?;
    let file = ModelFile::open(&path)?;
    let precision = match arguments.quantize {
        Some(kind) => Precision::Quantised { kind, again: arguments.requantize },
        None => Precision::AsStored,
    };
    let plan = || {
        // A file's keys are kept as they are.
        let vocab = match &file {
            ModelFile::Gguf(_) => VocabSpec::default(),
            ModelFile::Folder(_) => file.vocab()?,
        };
        let name = models::name_of(&path);
        anyhow::Ok(Conversion::new(file.source(), &vocab, &name, precision)?)
    };
    let conversion = plan().with_context(|| path.display().to_string())?;
    check_not_in_vain(&file, &arguments)?;
    models::check_room(&folder, conversion.file_bytes())?;
    write(&conversion, output, &arguments.threads)?;
    let shown = output.display();
    note(format!(
        "{shown}: {}, {} tensors, in {}",
        size(conversion.file_bytes()),
        conversion.tensor_count(),
        seconds(start.elapsed())
    ));
    let config = Config::read(file.source())?;
    note(models::next_step(&config, &shown.to_string()));
    Ok(())
}

/// The folder of the file to be written.
fn check_output(output: &Path, force: bool) -> Result<PathBuf> {
    let shown = output.display();
    if output.is_dir() {
        return Err(advise(
            format!("{shown} is a folder"),
            format!("name a file in it:  {}", output.join("model.gguf").display()),
        ));
    }
    if output.extension().is_none_or(|ending| ending != "gguf") {
        bail!("{shown} does not end in .gguf, by which GGUF files are known");
    }
    if output.exists() && !force {
        return Err(advise(format!("{shown} is there already"), "--force replaces it"));
    }
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.is_dir() {
        bail!("there is no folder {}", folder.display());
    }
    Ok(folder.to_path_buf())
}

/// Refuses to quantise a file that has nothing to be quantised.
fn check_not_in_vain(file: &ModelFile, arguments: &Arguments) -> Result<()> {
    let kinds = || file.tensors().tensor_views().filter(|view| view.shape.len() > 1);
    let is_quantised = |kind: Option<BlockType>| kind.is_some_and(|kind| !kind.is_float());
    let quantised = kinds().filter(|view| is_quantised(view.kind.block_type())).count();
    if arguments.quantize.is_none() || arguments.requantize || quantised == 0 {
        return Ok(());
    }
    if 2 * quantised > kinds().count() {
        return Err(advise(
            format!("{} is quantised already", arguments.input.display()),
            "begin with the published floats, or take --requantize, which loses twice",
        ));
    }
    note(format!("{quantised} tensors are quantised already and stay as they are"));
    Ok(())
}

/// Writes into a file beside the one that is wanted, which then takes its name.
fn write(conversion: &Conversion<'_>, output: &Path, threads: &Threads) -> Result<()> {
    let compute = load::compute(threads.count())?;
    let (partial, file) = Partial::create(output)?;
    let bar = bytes_bar(conversion.weight_bytes(), "converting");
    let written =
        conversion.write(BufWriter::with_capacity(BUFFER, file), &compute, &mut |bytes| {
            bar.set_position(bytes);
        });
    bar.finish_and_clear();
    let shown = || output.display().to_string();
    let mut file = written.with_context(shown)?;
    file.flush().with_context(shown)?;
    partial.finish(file.get_ref())
}
