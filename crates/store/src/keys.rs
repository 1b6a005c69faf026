//! Turns API keys into rows that cannot be turned back, and requests' keys into their owners.
//!
//! A key is shown once. What is kept is its HMAC-SHA-256 under a secret in a file of the data
//! folder, so that neither the database alone nor a copy of it lets anyone in or tell which of two
//! known keys is there. Keys are random in 238 bits: no slow hash is needed against guessing.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row};

use crate::blobs::hexadecimal;
use crate::database::Store;
use crate::errors::StoreError;
use crate::random;
use crate::remembered::{Any, Remembered};
use crate::writer::{Change, Step, Value};

/// How keys begin, so that scanners of leaked secrets know them.
const BEGIN: &str = "sk-myriad-";

/// Random letters of a key.
const LETTERS: usize = 40;

/// Characters of a key that lists show.
const SHOWN: usize = BEGIN.len() + 4;

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its own name, to revoke it by.
    pub id: String,
    /// Whose documents it reaches.
    pub owner: String,
    /// What its maker called it.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// From when on it opens nothing, in seconds since 1970.
    pub expires_at: Option<i64>,
    /// When it was revoked, in seconds since 1970.
    pub revoked_at: Option<i64>,
}

impl Key {
    /// Whether it opens anything.
    pub fn is_valid(&self, now: i64) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey<'a> {
    /// Whose documents it reaches.
    pub owner: &'a str,
    /// What to call it.
    pub name: &'a str,
    /// From when on it opens nothing, in seconds since 1970.
    pub expires_at: Option<i64>,
}

/// What keys are hashed with.
#[derive(Clone)]
pub struct KeySecret([u8; 32]);

impl std::fmt::Debug for KeySecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("KeySecret(…)")
    }
}

impl KeySecret {
    /// The secret in a file, which is made, readable for its owner alone, where it is missing.
    ///
    /// # Errors
    /// [`StoreError::Secret`] where the file holds something else; [`StoreError::File`].
    pub fn load(path: &Path) -> Result<KeySecret, StoreError> {
        let at = |source| StoreError::File { path: path.to_owned(), source };
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let secret = digits(text.trim());
                secret.map(KeySecret).ok_or_else(|| StoreError::Secret(path.to_owned()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let secret = random::bytes();
                // Made whole under another name, then linked: of two programs that start together
                // one wins, and the other reads what that one made.
                let part = path.with_extension(random::letters(12));
                let made = make(&part, &hexadecimal(&secret));
                let linked = made.and_then(|()| std::fs::hard_link(&part, path));
                let _ = std::fs::remove_file(&part);
                match linked {
                    Ok(()) => Ok(KeySecret(secret)),
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                        KeySecret::load(path)
                    }
                    Err(error) => Err(at(error)),
                }
            }
            Err(error) => Err(at(error)),
        }
    }

    pub(crate) fn hash(&self, key: &str) -> String {
        // A key of 32 bytes is always taken.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes any key");
        mac.update(key.as_bytes());
        hexadecimal(&mac.finalize().into_bytes())
    }
}

fn make(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn digits(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

/// The keys of a store.
#[derive(Debug)]
pub struct Keys {
    store: Arc<Store>,
    secret: KeySecret,
    /// By hash.
    remembered: Remembered<Key>,
    known: Any,
}

impl Keys {
    /// The keys of `store` under `secret`.
    pub fn new(store: Arc<Store>, secret: KeySecret) -> Keys {
        Keys { store, secret, remembered: Remembered::default(), known: Any::default() }
    }

    /// Makes a key: what is known of it, and the key itself, which nobody can see again.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn create(&self, new: NewKey<'_>, now: i64) -> Result<(Key, String), StoreError> {
        let text = format!("{BEGIN}{}", random::letters(LETTERS));
        let key = Key {
            id: format!("key_{}", random::letters(16)),
            owner: new.owner.to_owned(),
            name: new.name.to_owned(),
            prefix: text[..SHOWN].to_owned(),
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
        };
        let sql = "INSERT INTO keys (id, owner, name, prefix, hash, created_at, expires_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let values = vec![
            Value::Text(key.id.clone()),
            Value::Text(key.owner.clone()),
            Value::Text(key.name.clone()),
            Value::Text(key.prefix.clone()),
            Value::Text(self.secret.hash(&text)),
            Value::Number(key.created_at),
            Value::OptionalNumber(key.expires_at),
        ];
        let step = Step { sql, values, one_row: Some(key.id.clone()), deletes: false };
        self.store.commit(Change::new().step(step)).await?;
        self.known.put(true);
        // A guess of it may be remembered.
        self.remembered.forget();
        Ok((key, text))
    }

    /// All keys, also revoked ones, the oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list(&self) -> Result<Vec<Key>, StoreError> {
        let query = sqlx::query_as("SELECT * FROM keys ORDER BY created_at, id");
        Ok(query.fetch_all(&self.store.readers).await?)
    }

    /// The keys of an owner, also revoked ones, the oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_of(&self, owner: &str) -> Result<Vec<Key>, StoreError> {
        let query = sqlx::query_as("SELECT * FROM keys WHERE owner = $1 ORDER BY created_at, id");
        Ok(query.bind(owner).fetch_all(&self.store.readers).await?)
    }

    /// Revokes the key of this id; false where there is none that is not revoked. Servers that
    /// have just seen it believe it for a second more.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn revoke(&self, id: &str, now: i64) -> Result<bool, StoreError> {
        let sql = "UPDATE keys SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
        let values = vec![Value::Number(now), Value::Text(id.to_owned())];
        let step = Step { sql, values, one_row: Some(id.to_owned()), deletes: false };
        let done = self.store.commit(Change::new().step(step)).await;
        self.remembered.forget();
        match done {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether any key was ever made: then nobody comes in without one. The first key closes the
    /// doors of servers that run within a second.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn any(&self) -> Result<bool, StoreError> {
        if let Some(any) = self.known.get() {
            return Ok(any);
        }
        let query = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM keys");
        let any = query.fetch_one(&self.store.readers).await? > 0;
        self.known.put(any);
        Ok(any)
    }

    /// The valid key that a request shows, if it is one.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find(&self, text: &str, now: i64) -> Result<Option<Key>, StoreError> {
        let hash = self.secret.hash(text);
        let asked = match self.remembered.get(&hash) {
            Ok(key) => return Ok(key.filter(|key| key.is_valid(now))),
            Err(asked) => asked,
        };
        // Found by the hash, of which whoever guesses learns nothing by the time it takes.
        let query = sqlx::query_as("SELECT * FROM keys WHERE hash = $1").bind(&hash);
        let key: Option<Key> = query.fetch_optional(&self.store.readers).await?;
        self.remembered.put(hash, key.clone(), asked);
        Ok(key.filter(|key| key.is_valid(now)))
    }

    /// Forgets what is remembered of keys: their owners have changed.
    pub fn forget(&self) {
        self.remembered.forget();
    }
}

impl<'r> FromRow<'r, AnyRow> for Key {
    fn from_row(row: &'r AnyRow) -> Result<Key, sqlx::Error> {
        Ok(Key {
            id: row.try_get("id")?,
            owner: row.try_get("owner")?,
            name: row.try_get("name")?,
            prefix: row.try_get("prefix")?,
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
            revoked_at: row.try_get("revoked_at")?,
        })
    }
}
