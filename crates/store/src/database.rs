//! Turns the address of a database into a store: connections, layout, the writer.

use std::path::Path;
use std::str::FromStr;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, ConnectOptions, Executor};

use crate::errors::StoreError;
use crate::limits::{READERS_MAX, WAIT};
use crate::migrations;
use crate::writer::{Change, Writer};

/// What SQLite needs on each connection: many readers beside one writer; a commit is on disk when
/// it returns; what is deleted is overwritten.
const SQLITE_PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA secure_delete = ON; PRAGMA busy_timeout = 10000;";

/// A database that is open.
#[derive(Debug)]
pub struct Store {
    pub(crate) readers: AnyPool,
    writer: Writer,
    shared: bool,
}

impl Store {
    /// Opens `sqlite:PATH` (made where it is missing) or `postgres://…`, brings it to the newest
    /// layout and starts its writer. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::Address`], [`StoreError::Open`], [`StoreError::TooNew`].
    pub async fn open(address: &str) -> Result<Store, StoreError> {
        sqlx::any::install_default_drivers();
        let options = connect_options(address)?;
        let shown = without_password(address);
        let opening = |source| StoreError::Open { address: shown.clone(), source };
        let mut first = options.connect().await.map_err(opening)?;
        prepare(&mut first).await.map_err(opening)?;
        migrations::run(&mut first).await?;
        let shared = first.backend_name() != "SQLite";
        let readers = AnyPoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(WAIT)
            .after_connect(|connection, _| Box::pin(prepare(connection)))
            .connect_with(options.clone())
            .await
            .map_err(opening)?;
        Ok(Store { readers, writer: Writer::start(first, options), shared })
    }

    /// Opens the SQLite database in a file.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_file(path: &Path) -> Result<Store, StoreError> {
        Store::open(&format!("sqlite:{}", escaped(&path.to_string_lossy()))).await
    }

    /// Writes a change as a whole, or not at all; when this returns it is on disk.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where a row is not as the change wants it.
    pub async fn commit(&self, change: Change) -> Result<(), StoreError> {
        self.writer.commit(change).await
    }

    /// Whether other programs may write in the same database.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Ends the writer after what waits, and closes all connections.
    pub async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }
}

/// Makes a connection ready, whichever database it leads to.
pub(crate) async fn prepare(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    if connection.backend_name() == "SQLite" {
        connection.execute(SQLITE_PRAGMAS).await?;
    }
    Ok(())
}

fn connect_options(address: &str) -> Result<AnyConnectOptions, StoreError> {
    let unknown = || StoreError::Address(without_password(address));
    let known = ["sqlite:", "postgres:", "postgresql:"];
    if !known.iter().any(|scheme| address.starts_with(scheme)) {
        return Err(unknown());
    }
    let address = match address.starts_with("sqlite:") && !address.contains('?') {
        true => format!("{address}?mode=rwc"),
        false => address.to_owned(),
    };
    let options = AnyConnectOptions::from_str(&address).map_err(|_| unknown())?;
    Ok(options.disable_statement_logging())
}

/// A path as it stands in an address.
fn escaped(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3F").replace('#', "%23")
}

/// An address as it may be shown: `postgres://user:secret@host` without the secret.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let Some((user, host)) = rest.rsplit_once('@') else { return address.to_owned() };
    let user = user.split_once(':').map_or(user, |(user, _)| user);
    format!("{scheme}://{user}@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (address, shown) in [
            ("postgres://me:secret@host:5432/db", "postgres://me@host:5432/db"),
            ("postgres://me:p@ss@host/db", "postgres://me@host/db"),
            ("postgres://host/db", "postgres://host/db"),
            ("sqlite:here.db", "sqlite:here.db"),
        ] {
            assert_eq!(without_password(address), shown);
        }
    }

    #[tokio::test]
    async fn strange_addresses_are_refused() {
        for address in ["", "here.db", "mysql://me:secret@host/db", "postgres://host:port/db"] {
            let error = Store::open(address).await.unwrap_err();
            assert!(matches!(error, StoreError::Address(_)), "{address}: {error}");
            assert!(!error.to_string().contains("secret"));
        }
        let error = Store::open("sqlite:/nowhere/at/all/here.db").await.unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all/here.db"), "{error}");
    }
}
