//! Turns a data folder and the address of a database into what handlers keep things in.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use myriad_store::{
    Blobs, Change, Document, Key, KeySecret, Keys, Kind, NewUser, Query, Store, StoreError, User,
    Users,
};

use sha2::{Digest, Sha256};

use crate::app::unix_seconds;
use crate::quota::Quota;

/// Whose documents requests without an account or a key of the store reach.
pub const DEFAULT_OWNER: &str = "default";

/// What a request may reach: the account, or the owner of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner(Arc<str>);

impl Owner {
    /// The owner of this name, whether it has anything or not.
    pub fn named(name: &str) -> Owner {
        Owner(name.into())
    }

    /// The owner's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The salt under which prompts share cached prefixes: owners share none, so that the time of
    /// an answer tells nobody what others have asked. Under SHA-256, so that no salt of a client's
    /// makes up for the owner.
    pub(crate) fn cache_salt(&self, asked: u64) -> u64 {
        let hash = Sha256::new().chain_update(asked.to_le_bytes()).chain_update(self.as_str());
        let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = hash.finalize().into();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl Default for Owner {
    fn default() -> Owner {
        Owner(DEFAULT_OWNER.into())
    }
}

impl From<&Document> for Owner {
    fn from(document: &Document) -> Owner {
        Owner(document.owner.as_str().into())
    }
}

impl From<Key> for Owner {
    fn from(key: Key) -> Owner {
        Owner(key.owner.into())
    }
}

impl From<&User> for Owner {
    fn from(user: &User) -> Owner {
        Owner(user.id.as_str().into())
    }
}

/// A database, contents of files, accounts and keys.
#[derive(Debug)]
pub struct Storage {
    /// Rows.
    pub store: Arc<Store>,
    /// Contents of files.
    pub blobs: Blobs,
    /// Who may come in: people.
    pub users: Users,
    /// Who may come in: programs.
    pub keys: Keys,
    /// Whether anything of requests and answers may be kept at all.
    pub content: bool,
    pub(crate) quota: Quota,
}

impl Storage {
    /// Opens what lies in a data folder, which is made where it is missing; the database is a file
    /// there unless it has an address of its own. Without `content` accounts and keys alone are
    /// read.
    ///
    /// # Errors
    /// [`StoreError`] where the folder or the database cannot be used.
    pub async fn open(
        folder: &Path,
        address: Option<&str>,
        content: bool,
    ) -> Result<Storage, StoreError> {
        let made = make_private(folder);
        made.map_err(|source| StoreError::File { path: folder.to_owned(), source })?;
        let store = match address {
            Some(address) => Store::open(address).await?,
            None => Store::open_file(&folder.join("store.db")).await?,
        };
        let store = Arc::new(store);
        let secret = KeySecret::load(&folder.join("key-secret"))?;
        let users = Users::new(Arc::clone(&store), secret.clone());
        let keys = Keys::new(Arc::clone(&store), secret);
        let blobs = Blobs::open(&folder.join("blobs")).await?;
        Ok(Storage { store, blobs, users, keys, content, quota: Quota::default() })
    }

    /// A document of this name, if its owner has one of this kind whose time is not over.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find(
        &self,
        kind: Kind,
        owner: &Owner,
        id: &str,
    ) -> Result<Option<Document>, StoreError> {
        let found = self.store.document(kind, owner.as_str(), id).await?;
        let now = unix_seconds() as i64;
        Ok(found.filter(|document| document.expires_at.is_none_or(|time| time > now)))
    }

    /// Deletes a document with its parts, and the contents that nothing else has.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where it is not there; where the database or the disk fails.
    pub async fn delete(&self, document: &Document) -> Result<(), StoreError> {
        let contents = self.store.contents(document).await?;
        self.store.commit(Change::new().delete(document)).await?;
        self.release(&contents).await
    }

    /// Removes those of the contents that no document has any more.
    ///
    /// # Errors
    /// Where the database or the disk fails.
    pub async fn release(&self, contents: &[String]) -> Result<(), StoreError> {
        for digest in contents {
            self.blobs.remove_unused(&self.store, digest).await?;
        }
        Ok(())
    }

    /// A document's parts of a kind in their order, `limit` at a time: the page behind `after`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn parts(
        &self,
        kind: Kind,
        parent: &Document,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let query = Query::parts(kind, &parent.owner, &parent.id);
        let page = self.store.list(&Query { after, limit, ..query }).await?;
        Ok(page.map(|page| page.documents).unwrap_or_default())
    }

    /// Whether requests must show a key, or a session.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn locked(&self) -> Result<bool, StoreError> {
        Ok(self.keys.any().await? || self.users.any().await?)
    }

    /// Makes the first account, which takes over what was everyone's: no history is lost.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where there is an account already.
    pub async fn create_first(&self, new: NewUser<'_>) -> Result<User, StoreError> {
        let made = self.users.create_first(new, DEFAULT_OWNER, unix_seconds() as i64).await;
        self.keys.forget();
        made
    }

    /// Deletes an account with all that it has.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where it is gone or the last active administrator; where the
    /// database or the disk fails.
    pub async fn delete_user(&self, id: &str) -> Result<(), StoreError> {
        let contents = self.users.delete(id).await?;
        self.keys.forget();
        self.release(&contents).await
    }
}

/// The first of `count` places at the end of all lists: microseconds since 1970, but never one
/// twice, so that lists keep the order in which things came.
pub fn positions(count: usize) -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |time| i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 2));
    let count = i64::try_from(count).unwrap_or(0);
    let taken = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
        Some(next.max(now).saturating_add(count))
    });
    taken.unwrap_or(now).max(now)
}

/// The next place at the end of all lists.
pub fn position() -> i64 {
    positions(1)
}

/// When a document was made, in seconds since 1970: its place says it.
pub fn created_at(document: &Document) -> i64 {
    document.position.div_euclid(1_000_000)
}

/// A folder that nobody else on the machine may look into.
fn make_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_rise() {
        let first = positions(3);
        assert!(position() >= first + 3);
        assert!(first > 1_700_000_000_000_000);
    }
}
