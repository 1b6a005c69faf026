//! Turns large files and a question into the passages that fit it, within a number of tokens.
//!
//! Words and meanings rank the pieces apart, and the ranks are joined (reciprocal rank fusion,
//! Cormack, Clarke and Büttcher, 2009): so scores of different kinds need no common measure. A
//! server without a model for vectors goes by words alone.

use std::sync::Arc;

use myriad_extract::Text;
use myriad_store::Document;

use super::chunks::{self, Chunk};
use super::{vectors, words};
use crate::app::App;
use crate::catalogue::{Lease, Purpose};
use crate::errors::ApiError;
use crate::storage::Storage;
use crate::wire::app_files::{AppFile, AppPassage};

/// How little the first ranks stand above the others, as the paper has it.
const RANK_SHIFT: f32 = 60.0;

/// Hears how many of how many pieces were read.
pub type Told = Arc<dyn Fn(usize, usize) + Send + Sync>;

/// A file with its text.
#[derive(Clone)]
pub struct Loaded {
    pub document: Document,
    pub about: AppFile,
    pub text: Arc<Text>,
}

/// A piece of one of the files.
struct Candidate {
    file: usize,
    chunk: Chunk,
    score: f32,
}

/// The passages of all files that fit the question best, in the order of the files and pages; as
/// many as `tokens` allow, and one at least. `told` hears how many of how many pieces were read.
///
/// # Errors
/// Where the embedder or the store fails.
pub async fn best(
    app: &Arc<App>,
    storage: &Storage,
    files: &[Loaded],
    question: &str,
    tokens: usize,
    told: &Told,
) -> Result<Vec<AppPassage>, ApiError> {
    let (loaded, asked) = (files.to_vec(), question.to_owned());
    let (mut candidates, by_words) = app.blocking(move |_| Ok(by_words(&loaded, &asked))).await?;
    let embedder = app.lease(None, Purpose::Vectors).await?;
    // The model that answers would take as long as it takes to read all of the files.
    let by_meaning = match std::ptr::eq(&*embedder, &*app.runtime) {
        true => Vec::new(),
        false => by_meaning(storage, &embedder, files, &candidates, question, told).await?,
    };
    for scores in [by_words, by_meaning] {
        add_ranks(&mut candidates, &scores);
    }
    let loaded = files.to_vec();
    app.blocking(move |app| Ok(chosen(app, &loaded, candidates, tokens))).await
}

fn by_words(files: &[Loaded], question: &str) -> (Vec<Candidate>, Vec<f32>) {
    let candidates: Vec<Candidate> = files
        .iter()
        .enumerate()
        .flat_map(|(file, loaded)| {
            let chunks = chunks::of(&loaded.text.pages).into_iter();
            chunks.map(move |chunk| Candidate { file, chunk, score: 0.0 })
        })
        .collect();
    let texts: Vec<&str> = candidates.iter().map(|candidate| text_of(files, candidate)).collect();
    let scores = words::scores(&texts, question);
    (candidates, scores)
}

async fn by_meaning(
    storage: &Storage,
    embedder: &Lease,
    files: &[Loaded],
    candidates: &[Candidate],
    question: &str,
    told: &Told,
) -> Result<Vec<f32>, ApiError> {
    let asked = vectors::of_text(embedder, question).await?;
    let mut scores = Vec::with_capacity(candidates.len());
    for (index, file) in files.iter().enumerate() {
        let own = candidates.iter().filter(|candidate| candidate.file == index);
        let texts = own.map(|candidate| text_of(files, candidate).to_owned()).collect();
        let (told, before, total) = (Arc::clone(told), scores.len(), candidates.len());
        let told = move |done: usize| told(before + done, total);
        let made = vectors::of_file(storage, embedder, &file.document, texts, told).await?;
        scores.extend(made.iter().map(|vector| vectors::cosine(&asked, vector)));
    }
    Ok(scores)
}

/// Adds what a piece's place in an order is worth; what has no score has no place.
fn add_ranks(candidates: &mut [Candidate], scores: &[f32]) {
    let mut order: Vec<usize> = (0..scores.len()).filter(|index| scores[*index] > 0.0).collect();
    // The sort is stable: of equals the earlier comes first.
    order.sort_by(|one, other| scores[*other].total_cmp(&scores[*one]));
    for (rank, index) in order.into_iter().enumerate() {
        candidates[index].score += 1.0 / (RANK_SHIFT + rank as f32 + 1.0);
    }
}

/// The best that have room, in their order, with neighbours as one.
fn chosen(
    app: &App,
    files: &[Loaded],
    mut candidates: Vec<Candidate>,
    tokens: usize,
) -> Vec<AppPassage> {
    // Where nothing fits the question, as with "sum it up", the beginnings come first.
    candidates.sort_by(|one, other| other.score.total_cmp(&one.score));
    let (mut used, mut count) = (0, 0);
    for candidate in &candidates {
        used += app.tokens_of(text_of(files, candidate));
        if used > tokens && count > 0 {
            break;
        }
        count += 1;
    }
    candidates.truncate(count);
    candidates.sort_by_key(|it| (it.file, it.chunk.page, it.chunk.range.start));
    let mut joined: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        match joined.last_mut() {
            Some(last) if touches(files, last, &candidate) => {
                last.chunk.range.end = last.chunk.range.end.max(candidate.chunk.range.end);
                last.score = last.score.max(candidate.score);
            }
            _ => joined.push(candidate),
        }
    }
    joined.iter().map(|candidate| passage(files, candidate)).collect()
}

/// Whether nothing but blanks stands between two pieces of a page.
fn touches(files: &[Loaded], one: &Candidate, next: &Candidate) -> bool {
    let text = &files[one.file].text.pages[one.chunk.page];
    let between = text.get(one.chunk.range.end..next.chunk.range.start);
    (one.file, one.chunk.page) == (next.file, next.chunk.page)
        && between.is_none_or(|between| between.trim().is_empty())
}

fn text_of<'a>(files: &'a [Loaded], candidate: &Candidate) -> &'a str {
    &files[candidate.file].text.pages[candidate.chunk.page][candidate.chunk.range.clone()]
}

fn passage(files: &[Loaded], candidate: &Candidate) -> AppPassage {
    let AppFile { id, name, pages, .. } = &files[candidate.file].about;
    AppPassage {
        file: id.clone(),
        name: name.clone(),
        page: pages.map(|_| candidate.chunk.page as u32 + 1),
        text: text_of(files, candidate).to_owned(),
        score: f64::from(candidate.score),
    }
}
