//! Turns words into the documents whose texts have all of them.
//!
//! Texts are folded before they are stored, and words before they are looked for: without case and
//! accents. Both databases keep an index of pieces of three letters, which `LIKE` goes by, so that
//! text without spaces is found as well; shorter words read all of an owner's texts.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::database::Store;
use crate::documents::Document;
use crate::errors::StoreError;
use crate::limits::{FOUND_MAX, WORDS_MAX};
use crate::writer::{Change, Step, Value};

/// A document that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The document that is no part of another.
    pub whole: String,
    /// Its first part that has the words; none where only its own text has them.
    pub part: Option<String>,
}

const INSERT: &str = "INSERT INTO texts (document, whole, owner, text) VALUES ($1, $2, $3, $4)";

const DELETE: &str = "DELETE FROM texts WHERE document = $1 AND owner = $2";

const DELETE_PARTS: &str = "DELETE FROM texts WHERE whole = $1 AND document <> $1 AND owner = $2";

impl Change {
    /// Makes a document found by this text, and no longer by an earlier one.
    pub fn index(self, document: &Document, text: &str) -> Change {
        let change = self.unindex(document);
        if text.is_empty() {
            return change;
        }
        let whole = if document.parent.is_empty() { &document.id } else { &document.parent };
        let values = [&document.id, whole, &document.owner, &folded(text)];
        let values = values.into_iter().map(|value| Value::Text(value.clone())).collect();
        change.step(Step { sql: INSERT, values, one_row: None, deletes: false })
    }

    /// Makes a document found by nothing.
    pub(crate) fn unindex(self, document: &Document) -> Change {
        self.step(Step { sql: DELETE, values: names(document), one_row: None, deletes: true })
    }

    /// Makes the parts of a document found by nothing.
    pub(crate) fn unindex_parts(self, document: &Document) -> Change {
        let values = names(document);
        self.step(Step { sql: DELETE_PARTS, values, one_row: None, deletes: true })
    }
}

fn names(document: &Document) -> Vec<Value> {
    vec![Value::Text(document.id.clone()), Value::Text(document.owner.clone())]
}

/// The first part of each whole that has all words; the wholes that changed last come first.
/// `replace` compares exactly and in both databases, where `LIKE` has wildcards.
macro_rules! statement {
    ($likeness:literal) => {
        concat!(
            "SELECT found.whole, part.document FROM (",
            "SELECT t.whole AS whole, w.position AS position, ",
            "MIN(CASE WHEN t.document <> t.whole THEN t.number END) AS number ",
            "FROM texts t JOIN documents w ON w.id = t.whole ",
            "WHERE t.owner = $1 AND ",
            $likeness,
            " AND replace(t.text, $3, '') <> t.text AND replace(t.text, $4, '') <> t.text ",
            "AND replace(t.text, $5, '') <> t.text AND replace(t.text, $6, '') <> t.text ",
            "GROUP BY t.whole, w.position ORDER BY w.position DESC LIMIT $7) found ",
            "LEFT JOIN texts part ON part.number = found.number ORDER BY found.position DESC"
        )
    };
}

const BY_INDEX: &str =
    statement!("t.number IN (SELECT s.rowid FROM searches s WHERE s.text LIKE $2)");

const BY_READING: &str = statement!("t.text LIKE $2");

impl Store {
    /// The documents of an owner that have all words of a text in one of their texts, at most
    /// `limit`; those that changed last come first. Of many words the longest count.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn search(
        &self,
        owner: &str,
        text: &str,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let text = folded(text);
        let mut words: Vec<&str> = text.split_whitespace().collect();
        words.sort_by_key(|word| std::cmp::Reverse(word.chars().count()));
        let Some(longest) = words.first().copied() else { return Ok(Vec::new()) };
        let indexed = longest.chars().count() >= PIECE;
        let sql = if indexed { BY_INDEX } else { BY_READING };
        // A wildcard for one letter stands for the letters that mean something to `LIKE`.
        let pattern = format!("%{}%", longest.replace(['%', '\\'], "_"));
        let query = sqlx::query_as::<_, (String, Option<String>)>(sql).bind(owner).bind(pattern);
        let query = (0..WORDS_MAX)
            .fold(query, |query, index| query.bind(words.get(index).copied().unwrap_or(longest)));
        let query = query.bind(limit.clamp(1, FOUND_MAX) as i64);
        let rows = query.fetch_all(&self.readers).await?;
        Ok(rows.into_iter().map(|(whole, part)| Found { whole, part }).collect())
    }
}

/// Letters of a piece that the indices know.
const PIECE: usize = 3;

/// A text without case and accents, as it is compared: "Été" is found by "ete".
pub fn folded(text: &str) -> String {
    // PostgreSQL takes no zero in a text.
    let letters = text.nfd().filter(|&letter| !is_combining_mark(letter) && letter != '\0');
    letters.nfc().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_accents_do_not_count() {
        for (text, right) in [
            ("Été À", "ete a"),
            ("ÅNGSTRÖM", "angstrom"),
            ("注意力", "注意力"),
            ("한국", "한국"),
            ("a\0b", "ab"),
        ] {
            assert_eq!(folded(text), right);
        }
    }

    #[tokio::test]
    async fn words_of_three_letters_go_by_the_index() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_file(&folder.path().join("store.db")).await.unwrap();
        let plan = format!("EXPLAIN QUERY PLAN {BY_INDEX}");
        let query = sqlx::query_as::<_, (i64, i64, i64, String)>(&plan).bind("me").bind("%abc%");
        let query = (0..WORDS_MAX).fold(query, |query, _| query.bind("abc")).bind(1i64);
        let steps = query.fetch_all(&store.readers).await.unwrap();
        // `L0`: the first column by LIKE.
        let by_index = |step: &(i64, i64, i64, String)| step.3.contains("VIRTUAL TABLE INDEX 0:L0");
        assert!(steps.iter().any(by_index), "{steps:?}");
        store.close().await;
    }
}
