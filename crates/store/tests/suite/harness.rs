//! Turns a test into runs of it on each database, in a place of its own.

use std::path::PathBuf;
use std::sync::Arc;

use myriad_store::Store;
use tempfile::TempDir;

/// A database of one test.
pub struct Place {
    pub name: &'static str,
    pub address: String,
    pub folder: TempDir,
    /// To drop the database at the end.
    server: Option<(String, String)>,
}

impl Place {
    /// One place for each database.
    pub async fn all() -> Vec<Place> {
        let mut places = vec![Place::sqlite()];
        match std::env::var("MYRIAD_TEST_POSTGRES") {
            Ok(server) => places.push(Place::postgres(server).await),
            Err(_) => eprintln!("MYRIAD_TEST_POSTGRES is not set: PostgreSQL is skipped"),
        }
        places
    }

    fn sqlite() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("sqlite:{}", folder.path().join("store.db").display());
        Place { name: "SQLite", address, folder, server: None }
    }

    async fn postgres(server: String) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let unique = folder.path().file_name().unwrap().to_string_lossy().to_lowercase();
        let database = format!("test_{}_{}", unique.trim_start_matches('.'), std::process::id());
        run(&server, &format!("CREATE DATABASE {database}")).await;
        let address = format!("{}/{database}", server.rsplit_once('/').unwrap().0);
        Place { name: "PostgreSQL", address, folder, server: Some((server, database)) }
    }

    pub async fn open(&self) -> Arc<Store> {
        Arc::new(Store::open(&self.address).await.unwrap())
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Removes the database; what fails before it leaves one behind, which is no harm.
    pub async fn end(self) {
        if let Some((server, database)) = &self.server {
            run(server, &format!("DROP DATABASE {database} WITH (FORCE)")).await;
        }
    }
}

async fn run(server: &str, sql: &str) {
    use sqlx::Connection;
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(server).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
