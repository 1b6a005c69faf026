//! Turns interleaved runs of Myriad and llama.cpp into a record and the README's tables.

mod cases;
mod engines;
mod guard;
mod quality;
mod record;
mod serving;
mod speculation;
mod table;

use crate::live::default_model;
use crate::option;
use anyhow::{Context, Result, ensure};
use cases::{CASES, Case, DEFAULT, LONG, PORTABLE, SCALING};
use engines::Bench;
use record::{Record, Row, Sample};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Measures and writes a record, or only rewrites the README's tables (`--table`), or counts
/// instructions (`--guard`).
pub fn run(arguments: &[String]) -> Result<()> {
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has("--table") {
        return table::write();
    }
    if has("--guard") {
        return guard::run(has("--write"));
    }
    let peers = option(arguments, "--peers")
        .context("--peers FOLDER: llama.cpp, as `tools/llama_cpp.sh FOLDER` builds it")?;
    let peers = PathBuf::from(peers);
    let rounds: usize = option(arguments, "--rounds").map_or(Ok(5), |text| text.parse())?;
    let threads: usize = option(arguments, "--threads").map_or(Ok(2), |text| text.parse())?;
    ensure!(rounds > 0 && threads > 0, "--rounds and --threads begin at 1");
    let models = option(arguments, "--models").map(PathBuf::from);
    let only = option(arguments, "--only").unwrap_or_default();
    let text = option(arguments, "--text").map(PathBuf::from);
    let bench = Bench { tools: peers.join("bin"), threads, level: None, kernels: String::new() };
    let mut record = Record {
        unix_seconds: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        commit: record::commit()?,
        machine: record::machine(),
        threads,
        kernels: String::new(),
        peer: format!("llama.cpp of {}, native build", read_version(&peers)),
        rows: Vec::new(),
    };
    if has("--resume") {
        record = Record::latest()?.resumed_as(record)?;
    }
    let joins = only.is_empty() || has("--resume");
    let mut run = Run { bench, rounds, only, joins, record };
    run.speeds(CASES, models.as_deref())?;
    run.portable(&peers.join("avx2/bin"), models.as_deref())?;
    run.scaling(models.as_deref())?;
    run.serving()?;
    run.speculation()?;
    if let Some(text) = &text {
        run.quality(models.as_deref(), text)?;
    }
    run.speeds(LONG, models.as_deref())?;
    let rows = &run.record.rows;
    ensure!(!rows.is_empty(), "nothing is called {:?}", run.only);
    let reached = rows.iter().filter(|row| row.is_reached()).count();
    println!("{reached} of {} goals are reached", rows.len());
    if run.only.is_empty() {
        table::write()?;
    }
    Ok(())
}

fn read_version(peers: &Path) -> String {
    let text = fs::read_to_string(peers.join("version")).unwrap_or_default();
    text.trim().to_string()
}

/// A run that goes on.
struct Run {
    bench: Bench,
    rounds: usize,
    /// Part of the names of what is measured.
    only: String,
    /// Whether what is measured is written to the record: it is a whole one, or what one lacks.
    joins: bool,
    record: Record,
}

impl Run {
    /// Whether some of the rows are asked for, and not yet in the record.
    fn wants(&self, rows: &[Row]) -> bool {
        let name = |row: &Row| format!("{} {} {}", row.group, row.model, row.work);
        let is_known = |row: &Row| self.record.rows.iter().any(|known| name(known) == name(row));
        rows.iter().any(|row| name(row).contains(&self.only)) && !rows.iter().all(is_known)
    }

    fn speeds(&mut self, cases: &[Case], models: Option<&Path>) -> Result<()> {
        for case in cases {
            let mut rows = Bench::rows(case);
            if let Some(level) = self.bench.level {
                for row in &mut rows {
                    (row.group, row.work) = ("levels".into(), format!("{}, {level}", row.work));
                    row.peer = format!("llama.cpp for {level}");
                }
            }
            if !self.wants(&rows) {
                continue;
            }
            let Some(model) = find(case.model, models)? else { continue };
            self.measure(rows, case.rounds(self.rounds), |bench| bench.samples(case, &model))?;
        }
        Ok(())
    }

    /// The level of kernels that most machines have, against a build for the same.
    fn portable(&mut self, tools: &Path, models: Option<&Path>) -> Result<()> {
        if !tools.exists() {
            eprintln!("{} is not there: levels skipped", tools.display());
            return Ok(());
        }
        let (tools, kernels) = (tools.to_path_buf(), String::new());
        let portable = Bench { tools, threads: self.bench.threads, level: Some("avx2"), kernels };
        let bench = std::mem::replace(&mut self.bench, portable);
        let measured = self.speeds(PORTABLE, models);
        self.bench = bench;
        measured
    }

    fn scaling(&mut self, models: Option<&Path>) -> Result<()> {
        for name in SCALING {
            let row = Row {
                group: "scaling".into(),
                model: (*name).into(),
                work: "prefill, 512 tokens, one thread".into(),
                unit: "tokens/s".into(),
                peer: "half of two threads".into(),
                less_is_better: false,
                floor: 0.9,
                share_floor: None,
                rounds: Vec::new(),
            };
            if !self.wants(std::slice::from_ref(&row)) {
                continue;
            }
            let Some(model) = find(name, models)? else { continue };
            self.measure(vec![row], self.rounds, |bench| Ok(vec![bench.scaling(&model)?]))?;
        }
        Ok(())
    }

    fn speculation(&mut self) -> Result<()> {
        let rows = speculation::rows();
        match self.wants(&rows) {
            true => self.measure(rows, self.rounds, |bench| speculation::samples(bench)),
            false => Ok(()),
        }
    }

    fn serving(&mut self) -> Result<()> {
        let rows = serving::rows();
        match self.wants(&rows) {
            true => self.measure(rows, self.rounds, |bench| serving::samples(bench)),
            false => Ok(()),
        }
    }

    /// Divergence is the same in each round: one is enough.
    fn quality(&mut self, models: Option<&Path>, text: &Path) -> Result<()> {
        let made = quality::KINDS.map(|kind| (DEFAULT, Some(kind)));
        for (name, kind) in [(DEFAULT, None), ("gemma-3-270m-q4_k_m", None)].into_iter().chain(made)
        {
            let row = quality::row(name, kind);
            if !self.wants(std::slice::from_ref(&row)) {
                continue;
            }
            let Some(model) = find(name, models)? else { continue };
            self.measure(vec![row], 1, |bench| {
                Ok(vec![quality::sample(bench, &model, kind, text)?])
            })?;
        }
        Ok(())
    }

    /// All rounds of some rows that are measured together. What is known so far is recorded.
    fn measure(
        &mut self,
        mut rows: Vec<Row>,
        rounds: usize,
        mut samples: impl FnMut(&mut Bench) -> Result<Vec<Sample>>,
    ) -> Result<()> {
        for round in 1..=rounds {
            for (row, sample) in rows.iter_mut().zip(samples(&mut self.bench)?) {
                row.rounds.push(sample);
            }
            eprintln!("{}: round {round} of {rounds}", rows[0].model);
        }
        for row in &rows {
            let share = row.share().map(|share| format!(", {:.0} % of the limit", share * 100.0));
            println!(
                "{} {}: {:.4} to {:.4} {} of {}, {:.2} of {:.2} asked{}{}",
                row.model,
                row.work,
                row.myriad(),
                row.peer(),
                row.unit,
                row.peer,
                row.ratio(),
                row.floor,
                share.unwrap_or_default(),
                if row.is_reached() { "" } else { "  ← short" },
            );
        }
        self.record.rows.append(&mut rows);
        if self.bench.level.is_none() && !self.bench.kernels.is_empty() {
            self.record.kernels.clone_from(&self.bench.kernels);
        }
        if self.joins {
            self.record.write()?;
        }
        Ok(())
    }
}

/// The file of a model; none, said so, where it is not there.
fn find(name: &str, models: Option<&Path>) -> Result<Option<PathBuf>> {
    if name == DEFAULT {
        return Ok(Some(default_model()?));
    }
    let path = models.map(|folder| folder.join(format!("{name}.gguf")));
    let found = path.filter(|path| path.exists());
    if found.is_none() {
        eprintln!("{name} is not there: skipped (tools/bench_models.py makes it)");
    }
    Ok(found)
}
