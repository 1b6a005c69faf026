//! Turns a runtime into a listening server: routes, layers, graceful shutdown.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::app::App;
use crate::attached::Extractor;
use crate::catalogue::Models;
use crate::oidc::Oidc;
use crate::storage::Storage;
use crate::tools::Tools;
use crate::upstreams::Upstreams;
use crate::{batches, chats, connections, ledger, limits, routes, sweeper};

/// How a server listens and whom it lets in.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address to listen at: a name or a number. Loopback unless you mean the network.
    pub host: String,
    /// Port; 0 takes a free one.
    pub port: u16,
    /// Keys of which each request must carry one, besides those of the storage; where there are
    /// none at all everyone comes in.
    pub api_keys: Vec<String>,
    /// What is kept between requests, and accounts and keys; without it nothing is.
    pub storage: Option<Arc<Storage>>,
    /// Bytes that a file sent in one request may have.
    pub file_bytes_max: u64,
    /// Bytes that all files of one owner may have together.
    pub owner_bytes_max: u64,
    /// Lines of batches that are answered at the same time.
    pub batch_lines: usize,
    /// Where the text of files is read.
    pub extractor: Extractor,
    /// Whether a proxy in front is believed what it says of clients: their address, and that they
    /// speak HTTPS.
    pub trust_proxy: bool,
    /// Origins of web pages that may call from a browser, besides those of this machine.
    pub allowed_origins: Vec<String>,
    /// Who else may say who somebody is.
    pub oidc: Option<Arc<Oidc>>,
    /// Other servers whose models are offered beside the own ones.
    pub upstreams: Arc<Upstreams>,
    /// Servers whose tools the chat may call, and the search.
    pub tools: Arc<Tools>,
    /// Silence on a stream before a comment is sent.
    pub keep_alive: Duration,
    /// How long running answers may take to finish after the shutdown signal.
    pub shutdown_grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            host: "127.0.0.1".into(),
            port: 8080,
            api_keys: Vec::new(),
            storage: None,
            file_bytes_max: limits::FILE_BYTES_MAX,
            owner_bytes_max: limits::OWNER_BYTES_MAX,
            batch_lines: limits::BATCH_LINES,
            extractor: Extractor::Inside,
            trust_proxy: false,
            allowed_origins: Vec::new(),
            oidc: None,
            upstreams: Arc::default(),
            tools: Arc::default(),
            keep_alive: limits::KEEP_ALIVE,
            shutdown_grace: limits::SHUTDOWN_GRACE,
        }
    }
}

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be had.
    #[error("listening at {host}:{port}: {source}")]
    Bind {
        /// As configured.
        host: String,
        /// As configured.
        port: u16,
        /// What the operating system says.
        source: io::Error,
    },
    /// An API key is empty or has characters that no header can carry.
    #[error("API key {number} is empty or not plain ASCII: no client could send it")]
    Key {
        /// Which one, from 1.
        number: usize,
    },
}

/// Listens and serves until `shutdown` completes, then lets running answers finish for a while.
///
/// # Errors
/// [`ServeError`] where the address cannot be had or a key could never be sent.
pub async fn serve(
    models: impl Into<Models>,
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let listener = bind(&config).await?;
    serve_on(listener, models, config, shutdown).await
}

/// Takes the address of `config`; `local_addr` of the result tells the port.
///
/// # Errors
/// [`ServeError::Bind`].
pub async fn bind(config: &ServerConfig) -> Result<TcpListener, ServeError> {
    TcpListener::bind((config.host.as_str(), config.port))
        .await
        .map_err(|source| ServeError::Bind { host: config.host.clone(), port: config.port, source })
}

/// As [`serve`], on a listener that is there already.
///
/// # Errors
/// As [`serve`].
pub async fn serve_on(
    listener: TcpListener,
    models: impl Into<Models>,
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    check_keys(&config.api_keys)?;
    let grace = config.shutdown_grace;
    let app = Arc::new(App::new(models.into(), config));
    let (ledger, storage) = (Arc::clone(&app.ledger), app.config.storage.clone());
    let mut background = background(&app);
    let routes = routes::router(app);
    let shutdown = async move {
        shutdown.await;
        // Lines of batches that are cut off now are answered after the next start.
        background.shutdown().await;
    };
    connections::run(listener, routes, grace, shutdown).await;
    if let Some(storage) = storage.filter(|storage| storage.content)
        && let Err(error) = ledger.flush(&storage).await
    {
        tracing::error!(%error, "writing down what was used");
    }
    Ok(())
}

/// What runs beside the answering of requests; ends when it is dropped.
fn background(app: &Arc<App>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    app.config.upstreams.refresh(&mut tasks);
    if let Some(storage) = &app.config.storage {
        tasks.spawn(sweeper::run(Arc::clone(storage)));
        if storage.content {
            tasks.spawn(ledger::run(Arc::clone(&app.ledger), Arc::clone(storage)));
            tasks.spawn(batches::run(Arc::clone(app), Arc::clone(storage)));
            tasks.spawn(chats::runs::run(Arc::clone(app), Arc::clone(storage)));
        }
    }
    tasks
}

/// All routes with their layers, without a socket.
pub fn router(models: impl Into<Models>, config: &ServerConfig) -> Router {
    routes::router(Arc::new(App::new(models.into(), config.clone())))
}

fn check_keys(keys: &[String]) -> Result<(), ServeError> {
    let wrong = |key: &String| key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic());
    match keys.iter().position(wrong) {
        Some(index) => Err(ServeError::Key { number: index + 1 }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_no_header_carries_are_refused() {
        let check = |keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
            check_keys(&keys)
        };
        assert!(check(&[]).is_ok());
        assert!(check(&["sk-1_2.3"]).is_ok());
        for wrong in ["", " ", "two words", "schlüssel", "line\n"] {
            assert!(matches!(check(&["good", wrong]), Err(ServeError::Key { number: 2 })));
        }
    }
}
