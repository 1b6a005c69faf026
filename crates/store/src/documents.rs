//! Turns the objects that the API keeps into rows of one table, and back.
//!
//! The store knows of an object what lists, deletion, expiry and queues need; the rest is its body,
//! JSON that only the caller reads. So a new kind of object is a new [`Kind`], and no new table.

use sqlx::any::AnyRow;
use sqlx::{FromRow, Row};

use crate::database::Store;
use crate::errors::StoreError;
use crate::limits::PAGE_MAX;
use crate::writer::{Change, Step, Value};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// What a document is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$variant,)*];

            /// As it stands in the table.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$variant => $name,)*
                }
            }

            fn of(name: &str) -> Option<Kind> {
                match name {
                    $($name => Some(Kind::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// A chat completion that was stored; its messages are its parts.
    Chat = "chat",
    /// Which of several models' answers a person found better.
    Vote = "vote",
    /// A message of a stored chat.
    ChatMessage = "chat_message",
    /// A response, with its own input and output.
    Response = "response",
    /// A conversation; its items are its parts.
    Conversation = "conversation",
    /// An item of a conversation.
    Item = "item",
    /// A file; its content is a blob.
    File = "file",
    /// An upload in parts.
    Upload = "upload",
    /// A part of an upload; its content is a blob.
    UploadPart = "upload_part",
    /// A batch; its finished lines are its parts.
    Batch = "batch",
    /// The answer to one line of a batch.
    BatchLine = "batch_line",
    /// A conversation of the chat in the browser; its messages are its parts.
    AppChat = "app_chat",
    /// A message of such a conversation.
    AppMessage = "app_message",
    /// A copy of such a conversation that a link shows.
    Share = "share",
    /// A model with its parameters, under a name, of the chat in the browser.
    Preset = "preset",
    /// A text to begin with, of the chat in the browser.
    Prompt = "prompt",
    /// A file that was added to such a conversation; its text is a blob.
    AppFile = "app_file",
    /// That such a conversation, whose part it is, has a file: the one that its state names.
    AppFileUse = "app_file_use",
    /// What a model made of a file's passages; a part of the file, its numbers are a blob.
    AppFileVectors = "app_file_vectors",
}

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it is.
    pub kind: Kind,
    /// Its own name, unique among all documents.
    pub id: String,
    /// Whose it is: others do not see it.
    pub owner: String,
    /// The document that it is a part of, and is deleted with; empty for none.
    pub parent: String,
    /// Its place in lists: microseconds since 1970, or a number among its parent's parts.
    pub position: i64,
    /// What is happening to it; empty where nothing can.
    pub state: String,
    /// When it is to be deleted, in seconds since 1970.
    pub expires_at: Option<i64>,
    /// Its content's digest, where it has one on disk.
    pub blob: Option<String>,
    /// The content's length, as it counts for its owner.
    pub bytes: i64,
    /// How often it was changed. Set by the store: 0 at first.
    pub revision: i64,
    /// The rest, as JSON.
    pub body: String,
}

impl Kind {
    /// The kind that a row names.
    pub(crate) fn named(name: &str) -> Result<Kind, sqlx::Error> {
        Kind::of(name).ok_or_else(|| {
            // A program of the same layout wrote it, or nobody did.
            sqlx::Error::Decode(format!("there is no kind of document '{name}'").into())
        })
    }
}

impl Document {
    /// A document of its own, without state, expiry or content.
    pub fn new(kind: Kind, owner: &str, id: impl Into<String>, position: i64) -> Document {
        Document {
            kind,
            id: id.into(),
            owner: owner.to_owned(),
            parent: String::new(),
            position,
            state: String::new(),
            expires_at: None,
            blob: None,
            bytes: 0,
            revision: 0,
            body: String::new(),
        }
    }
}

/// Which documents a list is of.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// What they are.
    pub kind: Kind,
    /// Whose they are.
    pub owner: &'a str,
    /// What they are parts of; empty for documents of their own.
    pub parent: &'a str,
    /// The document before the page; one that is not there yields [`None`].
    pub after: Option<&'a str>,
    /// The document behind the page.
    pub before: Option<&'a str>,
    /// Whether the latest come first.
    pub descending: bool,
    /// Most documents of the page.
    pub limit: usize,
}

impl<'a> Query<'a> {
    /// All documents of a kind that are no parts, the oldest first.
    pub fn of(kind: Kind, owner: &'a str) -> Query<'a> {
        let limit = PAGE_MAX;
        Query { kind, owner, parent: "", after: None, before: None, descending: false, limit }
    }

    /// The parts of a document in their order.
    pub fn parts(kind: Kind, owner: &'a str, parent: &'a str) -> Query<'a> {
        Query { parent, ..Query::of(kind, owner) }
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The documents in the order that was asked for.
    pub documents: Vec<Document>,
    /// Whether more follow.
    pub more: bool,
}

const INSERT: &str = "INSERT INTO documents \
     (kind, id, owner, parent, position, state, expires_at, blob, bytes, revision, body) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10) ON CONFLICT DO NOTHING";

const UPDATE: &str = "UPDATE documents \
     SET parent = $4, position = $5, state = $6, expires_at = $7, blob = $8, bytes = $9, \
     body = $10, revision = revision + 1 \
     WHERE kind = $1 AND id = $2 AND owner = $3 AND revision = $11";

const DELETE: &str = "DELETE FROM documents WHERE kind = $1 AND id = $2 AND owner = $3";

const DELETE_PARTS: &str = "DELETE FROM documents WHERE parent = $1 AND owner = $2";

impl Change {
    /// Adds a document; one of its id must not be there.
    pub fn insert(self, document: Document) -> Change {
        let one_row = Some(document.id.clone());
        self.step(Step { sql: INSERT, values: values(document), one_row, deletes: false })
    }

    /// Writes a document over the one that was read; nobody must have changed it since.
    pub fn update(self, document: Document) -> Change {
        let (one_row, revision) = (Some(document.id.clone()), document.revision);
        let mut values = values(document);
        values.push(Value::Number(revision));
        self.step(Step { sql: UPDATE, values, one_row, deletes: true })
    }

    /// Deletes a document and its parts; it must be there.
    pub fn delete(self, document: &Document) -> Change {
        let (id, owner) = (document.id.clone(), document.owner.clone());
        let name = Value::Text(document.kind.name().to_owned());
        let values = vec![name, Value::Text(id.clone()), Value::Text(owner)];
        let step = Step { sql: DELETE, values, one_row: Some(id), deletes: true };
        self.delete_parts(document).unindex(document).step(step)
    }

    /// Deletes the parts of a document, and leaves it.
    pub fn delete_parts(self, document: &Document) -> Change {
        let values = vec![Value::Text(document.id.clone()), Value::Text(document.owner.clone())];
        let step = Step { sql: DELETE_PARTS, values, one_row: None, deletes: true };
        self.unindex_parts(document).step(step)
    }
}

/// In the order of [`INSERT`].
fn values(document: Document) -> Vec<Value> {
    vec![
        Value::Text(document.kind.name().to_owned()),
        Value::Text(document.id),
        Value::Text(document.owner),
        Value::Text(document.parent),
        Value::Number(document.position),
        Value::Text(document.state),
        Value::OptionalNumber(document.expires_at),
        Value::OptionalText(document.blob),
        Value::Number(document.bytes),
        Value::Text(document.body),
    ]
}

impl Store {
    /// The document of this name, if its owner has one of this kind.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn document(
        &self,
        kind: Kind,
        owner: &str,
        id: &str,
    ) -> Result<Option<Document>, StoreError> {
        // No row has one: PostgreSQL takes none in a text, and would call the question an error.
        if id.contains('\0') {
            return Ok(None);
        }
        let sql = "SELECT * FROM documents WHERE id = $1 AND kind = $2 AND owner = $3";
        let query = sqlx::query_as(sql).bind(id).bind(kind.name()).bind(owner);
        Ok(query.fetch_optional(&self.readers).await?)
    }

    /// The document of this name, whoever's it is: for those that are open to whoever knows it.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn document_of_anyone(
        &self,
        kind: Kind,
        id: &str,
    ) -> Result<Option<Document>, StoreError> {
        let sql = "SELECT * FROM documents WHERE id = $1 AND kind = $2";
        let query = sqlx::query_as(sql).bind(id).bind(kind.name());
        Ok(query.fetch_optional(&self.readers).await?)
    }

    /// A page of documents; none where `after` or `before` name no document of this list.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list(&self, query: &Query<'_>) -> Result<Option<Page>, StoreError> {
        let (Some(after), Some(before)) =
            (self.edge(query, query.after).await?, self.edge(query, query.before).await?)
        else {
            return Ok(None);
        };
        // Behind `after` in the list's own direction, before `before`.
        let (low, high) = if query.descending { (before, after) } else { (after, before) };
        // No document stands at either end of all positions.
        let low = low.unwrap_or((i64::MIN, String::new()));
        let high = high.unwrap_or((i64::MAX, String::new()));
        let sql = match query.descending {
            false => concat!(
                "SELECT * FROM documents WHERE kind = $1 AND owner = $2 AND parent = $3 ",
                "AND (position, id) > ($4, $5) AND (position, id) < ($6, $7) ",
                "ORDER BY position, id LIMIT $8"
            ),
            true => concat!(
                "SELECT * FROM documents WHERE kind = $1 AND owner = $2 AND parent = $3 ",
                "AND (position, id) > ($4, $5) AND (position, id) < ($6, $7) ",
                "ORDER BY position DESC, id DESC LIMIT $8"
            ),
        };
        let limit = query.limit.clamp(1, PAGE_MAX);
        let rows = sqlx::query_as(sql)
            .bind(query.kind.name())
            .bind(query.owner)
            .bind(query.parent)
            .bind(low.0)
            .bind(low.1)
            .bind(high.0)
            .bind(high.1)
            .bind(limit as i64 + 1);
        let mut documents: Vec<Document> = rows.fetch_all(&self.readers).await?;
        let more = documents.len() > limit;
        documents.truncate(limit);
        Ok(Some(Page { documents, more }))
    }

    /// Where a named document stands in a list: outer none where it is not in it.
    async fn edge(
        &self,
        query: &Query<'_>,
        id: Option<&str>,
    ) -> Result<Option<Option<(i64, String)>>, StoreError> {
        let Some(id) = id else { return Ok(Some(None)) };
        let found = self.document(query.kind, query.owner, id).await?;
        let found = found.filter(|document| document.parent == query.parent);
        Ok(found.map(|document| Some((document.position, document.id))))
    }

    /// Documents of all owners that are in a state, the oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn in_state(&self, kind: Kind, state: &str) -> Result<Vec<Document>, StoreError> {
        let sql = "SELECT * FROM documents WHERE kind = $1 AND state = $2 ORDER BY position, id";
        let query = sqlx::query_as(sql).bind(kind.name()).bind(state);
        Ok(query.fetch_all(&self.readers).await?)
    }

    /// Documents of all owners and kinds whose time is over, at most `limit`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn expired(&self, now: i64, limit: usize) -> Result<Vec<Document>, StoreError> {
        let sql = "SELECT * FROM documents WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2";
        let query = sqlx::query_as(sql).bind(now).bind(limit.min(PAGE_MAX) as i64);
        Ok(query.fetch_all(&self.readers).await?)
    }

    /// How many parts of a kind a document has.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn count_parts(&self, kind: Kind, parent: &str) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) FROM documents WHERE parent = $1 AND kind = $2";
        let query = sqlx::query_scalar::<_, i64>(sql).bind(parent).bind(kind.name());
        Ok(query.fetch_one(&self.readers).await?.unsigned_abs())
    }

    /// How many parts of a kind a document has in each state.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn count_states(
        &self,
        kind: Kind,
        parent: &str,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let sql = "SELECT state, COUNT(*) FROM documents \
                   WHERE parent = $1 AND kind = $2 GROUP BY state";
        let query = sqlx::query_as::<_, (String, i64)>(sql).bind(parent).bind(kind.name());
        let rows = query.fetch_all(&self.readers).await?;
        Ok(rows.into_iter().map(|(state, count)| (state, count.unsigned_abs())).collect())
    }

    /// The positions of a document's parts of a kind, in no order.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn positions(&self, kind: Kind, parent: &str) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT position FROM documents WHERE parent = $1 AND kind = $2";
        let query = sqlx::query_scalar(sql).bind(parent).bind(kind.name());
        Ok(query.fetch_all(&self.readers).await?)
    }

    /// The contents that a document and its parts have.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn contents(&self, document: &Document) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT DISTINCT blob FROM documents \
                   WHERE (id = $1 OR parent = $1) AND owner = $2 AND blob IS NOT NULL";
        let query = sqlx::query_scalar(sql).bind(&document.id).bind(&document.owner);
        Ok(query.fetch_all(&self.readers).await?)
    }

    /// Bytes of all contents of an owner.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn bytes_of(&self, owner: &str) -> Result<u64, StoreError> {
        let sql = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM documents \
                   WHERE owner = $1 AND bytes > 0";
        let query = sqlx::query_scalar::<_, i64>(sql).bind(owner);
        Ok(query.fetch_one(&self.readers).await?.unsigned_abs())
    }

    /// How many documents have a content.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn count_uses(&self, blob: &str) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) FROM documents WHERE blob = $1";
        let query = sqlx::query_scalar::<_, i64>(sql).bind(blob);
        Ok(query.fetch_one(&self.readers).await?.unsigned_abs())
    }
}

impl<'r> FromRow<'r, AnyRow> for Document {
    fn from_row(row: &'r AnyRow) -> Result<Document, sqlx::Error> {
        let kind: String = row.try_get("kind")?;
        let kind = Kind::named(&kind)?;
        Ok(Document {
            kind,
            id: row.try_get("id")?,
            owner: row.try_get("owner")?,
            parent: row.try_get("parent")?,
            position: row.try_get("position")?,
            state: row.try_get("state")?,
            expires_at: row.try_get("expires_at")?,
            blob: row.try_get("blob")?,
            bytes: row.try_get("bytes")?,
            revision: row.try_get("revision")?,
            body: row.try_get("body")?,
        })
    }
}
