//! Turns the latest record that is whole, and those of other machines, into the README's tables.

use super::record::{Record, Row};
use crate::{readme, root};
use anyhow::{Context, Result};
use std::fmt::Write;

/// Groups in the order of the page, and what stands above each.
const GROUPS: [(&str, &str); 8] = [
    ("prefill", "Prompts"),
    ("decode", "Answers"),
    ("batch", "Answers to many at once"),
    ("serving", "Serving"),
    ("speculation", "Guesses"),
    ("levels", "Other kernels"),
    ("scaling", "Threads"),
    ("quality", "Exactness"),
];

/// Writes them.
pub fn write() -> Result<()> {
    let records = Record::all()?;
    // One that was cut short says less than the one before.
    let whole = records.iter().find(|(_, record)| is_whole(record));
    let (name, record) = whole.or(records.first()).context("bench/record holds no record yet")?;
    let mut latest: Vec<&(String, Record)> = Vec::new();
    for other in &records {
        let is_new = |known: &str| known != other.1.machine;
        if is_new(&record.machine) && latest.iter().all(|(_, known)| is_new(&known.machine)) {
            latest.push(other);
        }
    }
    let text = tables(name, record) + &others(&latest);
    readme::replace_table(&root().join("README.md"), &text)
}

/// Whether it has something of each group.
fn is_whole(record: &Record) -> bool {
    GROUPS.iter().all(|(group, _)| record.rows.iter().any(|row| row.group == *group))
}

/// What the latest records of other machines say, in a line each.
fn others(records: &[&(String, Record)]) -> String {
    if records.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\n| Other machines | kernels | prompts of 512 tokens | answers of 128 | goals reached | \
         record |\n|---|---|---:|---:|---:|---|\n",
    );
    for (name, record) in records {
        let ratios = |work: &str| {
            let rows = record.rows.iter().filter(|row| row.work == work);
            let mut ratios: Vec<f64> = rows.map(Row::ratio).collect();
            ratios.sort_by(f64::total_cmp);
            match (ratios.first(), ratios.last()) {
                (Some(only), _) if ratios.len() == 1 => format!("**{only:.2}×**"),
                (Some(least), Some(most)) => format!("**{least:.2}× to {most:.2}×**"),
                _ => String::new(),
            }
        };
        let reached = record.rows.iter().filter(|row| row.is_reached()).count();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {reached} of {} | `bench/record/{name}` |",
            record.machine,
            record.kernels,
            ratios("prefill, 512 tokens"),
            ratios("decode, 128 tokens"),
            record.rows.len(),
        );
    }
    text
}

fn tables(name: &str, record: &Record) -> String {
    let mut text = String::new();
    for (group, title) in GROUPS {
        let rows: Vec<&Row> = record.rows.iter().filter(|row| row.group == group).collect();
        if !rows.is_empty() {
            text += &table(title, &rows);
            text += "\n";
        }
    }
    let judged = record.rows.iter().filter(|row| row.group != "quality");
    let counts = || judged.clone().map(|row| row.rounds.len());
    let (least, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    let _ = writeln!(
        text,
        "Medians of {most} interleaved rounds (down to {least} for long texts, 1 for \
         exactness), {} threads, {} kernels, on {}; {}. A share is that of the machine's own \
         limit, measured in the same minute: of the int8 peak for prompts (for BF16 half of it, \
         or a quarter where no instruction multiplies them), of the memory bandwidth for answers. \
         Record: `bench/record/{name}`. Machines differ: the ratios carry over better than the \
         figures.",
        record.threads, record.kernels, record.machine, record.peer,
    );
    text
}

fn table(title: &str, rows: &[&Row]) -> String {
    let shares = rows.iter().any(|row| row.share().is_some());
    let mut text = format!("| {title} | | Myriad | against | ratio |");
    text += if shares {
        " share |\n|---|---|---:|---:|---:|---:|\n"
    } else {
        "\n|---|---|---:|---:|---:|\n"
    };
    for row in rows {
        let _ = write!(
            text,
            "| {} | {} | {} {} | {} ({}) | **{:.2}×** |",
            row.model,
            row.work,
            figure(row.myriad()),
            row.unit,
            figure(row.peer()),
            row.peer,
            row.ratio(),
        );
        if shares {
            let share = row.share().map(|share| format!(" {:.0} % |", share * 100.0));
            text += &share.unwrap_or_else(|| " |".into());
        }
        text += "\n";
    }
    text
}

/// Three digits that count.
fn figure(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0..100.0 => format!("{value:.1}"),
        0.1..10.0 => format!("{value:.2}"),
        _ => format!("{value:.6}"),
    }
}
