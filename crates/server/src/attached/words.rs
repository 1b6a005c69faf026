//! Turns pieces of text and a question into how near each piece is by its words (BM25).
//!
//! Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.

use std::collections::HashMap;

use myriad_store::search::folded;

use super::chunks::is_wide;

/// How soon more of one word counts no more.
const SATURATION: f32 = 1.2;

/// How much longer pieces count less.
const LENGTH_SHARE: f32 = 0.75;

/// What is in more of the pieces than this says nothing of one: "the" is a word too.
const COMMON_SHARE: f32 = 0.75;

/// A score for each text; 0 where it has no word of the question.
pub fn scores(texts: &[&str], question: &str) -> Vec<f32> {
    let asked: Vec<String> = terms(question);
    let mut places: HashMap<&str, usize> = HashMap::new();
    for term in &asked {
        let next = places.len();
        places.entry(term).or_insert(next);
    }
    // counts: for each text, how often it has each term of the question.
    let mut counts = vec![vec![0u32; places.len()]; texts.len()];
    let mut lengths = vec![0usize; texts.len()];
    for (index, text) in texts.iter().enumerate() {
        for term in terms(text) {
            lengths[index] += 1;
            if let Some(place) = places.get(term.as_str()) {
                counts[index][*place] += 1;
            }
        }
    }
    let total = texts.len() as f32;
    let mean = (lengths.iter().sum::<usize>() as f32 / total.max(1.0)).max(1.0);
    let weights: Vec<f32> = (0..places.len())
        .map(|place| {
            let having = counts.iter().filter(|counts| counts[place] > 0).count() as f32;
            if having > COMMON_SHARE * total {
                return 0.0;
            }
            (1.0 + (total - having + 0.5) / (having + 0.5)).ln()
        })
        .collect();
    let score = |(counts, length): (&Vec<u32>, &usize)| {
        let norm = SATURATION * (1.0 - LENGTH_SHARE + LENGTH_SHARE * *length as f32 / mean);
        let one = |(count, weight): (&u32, &f32)| {
            let count = *count as f32;
            weight * count * (SATURATION + 1.0) / (count + norm)
        };
        counts.iter().zip(&weights).map(one).sum()
    };
    counts.iter().zip(&lengths).map(score).collect()
}

/// Words without case and accents; of writings without spaces each two letters that stand together.
fn terms(text: &str) -> Vec<String> {
    let folded = folded(text);
    let mut terms = Vec::new();
    let mut word = String::new();
    let mut before: Option<char> = None;
    for letter in folded.chars().chain([' ']) {
        if is_wide(letter) && letter.is_alphanumeric() {
            if let Some(before) = before {
                terms.push([before, letter].iter().collect());
            }
            before = Some(letter);
        } else {
            before = None;
        }
        if letter.is_alphanumeric() && !is_wide(letter) {
            word.push(letter);
        } else if !word.is_empty() {
            terms.push(std::mem::take(&mut word));
        }
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(texts: &[&str], question: &str) -> usize {
        let scores = scores(texts, question);
        (0..texts.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap()
    }

    #[test]
    fn rare_words_count_more_than_frequent_ones() {
        let texts = [
            "The report is about the harvest and the weather of the year.",
            "The password of the boiler room is Zebra-91, says the report.",
            "The report of the year is about the weather, the weather and the weather.",
        ];
        assert_eq!(best(&texts, "What is the password of the boiler room?"), 1);
        assert_eq!(best(&texts, "WEATHER"), 2);
        assert_eq!(best(&["L'été à Béziers", "L'hiver à Paris"], "ete beziers"), 0);
        assert_eq!(best(&["今天的天气很好。", "锅炉房的密码是七号。"], "密码是什么"), 1);
        assert_eq!(scores(&texts, "nothing 无关"), [0.0; 3]);
        assert_eq!(scores(&[], "empty"), [0.0; 0]);
    }
}
