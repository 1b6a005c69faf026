//! Turns a data folder and the address of a database into what handlers keep things in.

use std::path::Path;
use std::sync::Arc;

use myriad_store::{Blobs, Key, KeySecret, Keys, Store, StoreError};

use crate::app::unix_seconds;

/// Whose documents requests without a key of the store reach.
const DEFAULT_OWNER: &str = "default";

/// What a request may reach: the owner of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner(Arc<str>);

impl Owner {
    /// The owner's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Owner {
    fn default() -> Owner {
        Owner(DEFAULT_OWNER.into())
    }
}

impl From<Key> for Owner {
    fn from(key: Key) -> Owner {
        Owner(key.owner.into())
    }
}

/// A database, contents of files, and keys.
#[derive(Debug)]
pub struct Storage {
    /// Rows.
    pub store: Arc<Store>,
    /// Contents of files.
    pub blobs: Blobs,
    /// Who may come in.
    pub keys: Keys,
    /// Whether anything of requests and answers may be kept at all.
    pub content: bool,
}

impl Storage {
    /// Opens what lies in a data folder, which is made where it is missing; the database is a file
    /// there unless it has an address of its own. Without `content` keys alone are read.
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
        let keys = Keys::new(Arc::clone(&store), secret);
        let blobs = Blobs::open(&folder.join("blobs")).await?;
        Ok(Storage { store, blobs, keys, content })
    }

    /// Whether requests must show a key of the store.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn locked(&self) -> Result<bool, StoreError> {
        self.keys.any().await
    }

    /// Whose key this is.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn owner(&self, key: &str) -> Result<Option<Owner>, StoreError> {
        Ok(self.keys.find(key, unix_seconds() as i64).await?.map(Owner::from))
    }
}

/// A folder that nobody else on the machine may look into.
fn make_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
