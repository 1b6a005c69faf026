//! Turns samples of two engines into a record in `bench/record/`, and reads the latest one.

use crate::root;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// One comparison: the same work by both, one after the other, in each round.
#[derive(Serialize, Deserialize)]
pub struct Row {
    /// Rows of one group stand in one table: `prefill`, `decode`, `batch`, …
    pub group: String,
    /// The model's file.
    pub model: String,
    /// What was done, for people.
    pub work: String,
    /// Of both figures: `tokens/s`, `ms`, `nats`, …
    pub unit: String,
    /// Who Myriad is held against: `llama.cpp`, or itself in another way.
    pub peer: String,
    /// Whether less is better.
    pub less_is_better: bool,
    /// How many times as good as the peer Myriad is to be.
    pub floor: f64,
    /// The share of the machine's limit that is to be reached.
    pub share_floor: Option<f64>,
    pub rounds: Vec<Sample>,
}

/// One round.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Sample {
    pub myriad: f64,
    pub peer: f64,
    /// Of the machine's limit, which was measured beside it.
    pub share: Option<f64>,
}

#[derive(Serialize, Deserialize)]
pub struct Record {
    pub unix_seconds: u64,
    pub commit: String,
    pub machine: String,
    pub threads: usize,
    pub kernels: String,
    pub peer: String,
    pub rows: Vec<Row>,
}

impl Row {
    pub fn myriad(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.myriad))
    }

    pub fn peer(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.peer))
    }

    /// How many times as good as the peer: the median of the rounds' ratios.
    pub fn ratio(&self) -> f64 {
        median(self.rounds.iter().map(|round| match self.less_is_better {
            true => round.peer / round.myriad,
            false => round.myriad / round.peer,
        }))
    }

    pub fn share(&self) -> Option<f64> {
        let shares: Vec<f64> = self.rounds.iter().filter_map(|round| round.share).collect();
        (!shares.is_empty()).then(|| median(shares.into_iter()))
    }

    /// Whether everything that was asked for is reached.
    pub fn is_reached(&self) -> bool {
        let share = match (self.share_floor, self.share()) {
            (Some(floor), Some(share)) => share >= floor,
            _ => true,
        };
        self.ratio() >= self.floor && share
    }
}

impl Record {
    /// This record, if what `next` will measure belongs into it.
    pub fn resumed_as(self, next: Record) -> Result<Record> {
        let of = |record: &Record| {
            let Record { commit, machine, threads, peer, .. } = record;
            format!("commit {commit} on {machine}, {threads} threads, against {peer}")
        };
        let (own, its) = (of(&self), of(&next));
        ensure!(own == its, "the latest record is of {own}, this is {its}: begin without --resume");
        Ok(self)
    }

    pub fn write(&self) -> Result<PathBuf> {
        let folder = root().join("bench/record");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.json", self.unix_seconds));
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(path)
    }

    /// The latest.
    pub fn latest() -> Result<Record> {
        let latest = Record::all()?.into_iter().next();
        latest.map(|(_, record)| record).context("bench/record holds no record yet")
    }

    /// All of them and their files' names, the latest first.
    pub fn all() -> Result<Vec<(String, Record)>> {
        let mut paths: Vec<PathBuf> = fs::read_dir(root().join("bench/record"))
            .context("bench/record holds no record yet")?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        paths.sort();
        let read = |path: &PathBuf| {
            let text = fs::read_to_string(path)?;
            let record = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
            Ok((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), record))
        };
        paths.iter().rev().map(read).collect()
    }
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The commit that is measured: the last that changed what the binary is made of.
pub fn commit() -> Result<String> {
    let mut git = Command::new("git");
    let sources = ["Cargo.toml", "Cargo.lock", "crates"];
    git.args(["log", "-1", "--format=%h", "--"]).args(sources).current_dir(root());
    let output = git.output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_string())
}

/// The processor's name and the number of cores, as Linux tells them.
pub fn machine() -> String {
    let text = processors();
    let field = |name: &str| field(&text, name).unwrap_or("unknown");
    let cores = text.lines().filter(|line| line.starts_with("processor")).count();
    let (name, family, model) = (field("model name"), field("cpu family"), field("model"));
    format!("{name} (family {family}, model {model}), {cores} cores")
}

/// Whether the processor has some instructions, by Linux's name of them.
pub fn has_flag(flag: &str) -> bool {
    let text = processors();
    field(&text, "flags").is_some_and(|flags| flags.split(' ').any(|name| name == flag))
}

fn processors() -> String {
    fs::read_to_string("/proc/cpuinfo").unwrap_or_default()
}

/// The first processor's.
fn field<'a>(processors: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = processors.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_goes_on_where_nothing_has_changed() {
        let record = |commit: &str, unix_seconds| Record {
            unix_seconds,
            commit: commit.into(),
            machine: "a machine".into(),
            threads: 2,
            kernels: String::new(),
            peer: "llama.cpp".into(),
            rows: Vec::new(),
        };
        let resumed = record("abc", 1).resumed_as(record("abc", 2)).expect("the same");
        assert_eq!(resumed.unix_seconds, 1);
        let error = record("abc", 1).resumed_as(record("def", 2)).err().expect("another commit");
        assert!(error.to_string().contains("of commit abc"), "{error}");
    }

    #[test]
    fn a_floor_is_reached_by_the_median() {
        let sample = |myriad, share| Sample { myriad, peer: 10.0, share: Some(share) };
        let mut row = Row {
            group: "decode".into(),
            model: "a model".into(),
            work: "decode".into(),
            unit: "tokens/s".into(),
            peer: "llama.cpp".into(),
            less_is_better: false,
            floor: 2.0,
            share_floor: Some(0.5),
            rounds: vec![sample(19.0, 0.4), sample(21.0, 0.6), sample(99.0, 0.7)],
        };
        assert_eq!((row.ratio(), row.share()), (2.1, Some(0.6)));
        assert!(row.is_reached());
        row.share_floor = Some(0.65);
        assert!(!row.is_reached());
        (row.share_floor, row.less_is_better) = (None, true);
        assert!(!row.is_reached(), "{}", row.ratio());
    }
}
