//! Turns an address into a connection, with TLS where it says so, within a time.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::timeout;
use tower::Service;

/// Name, connection and TLS together: a server far away takes half a second.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

type BoxError = Box<dyn Error + Send + Sync>;
type Inner = HttpsConnector<HttpConnector>;

/// Makes connections. Certificates are judged by Mozilla's roots, as with downloads.
#[derive(Clone, Debug)]
pub struct Connector(Inner);

impl Connector {
    pub fn new() -> Connector {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        // TLS is added around it.
        tcp.enforce_http(false);
        let builder = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http();
        Connector(builder.enable_http1().wrap_connector(tcp))
    }
}

impl Service<Uri> for Connector {
    type Response = <Inner as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connected = self.0.call(uri);
        Box::pin(async move {
            match timeout(CONNECT_TIME_MAX, connected).await {
                Ok(connected) => connected,
                Err(_) => Err(ConnectTime(CONNECT_TIME_MAX).into()),
            }
        })
    }
}

/// The time was over.
#[derive(Debug)]
pub struct ConnectTime(Duration);

impl ConnectTime {
    /// The time, where this is what stands behind an error.
    pub fn within(error: &(dyn Error + 'static)) -> Option<Duration> {
        match error.downcast_ref::<ConnectTime>() {
            Some(ConnectTime(time)) => Some(*time),
            None => ConnectTime::within(error.source()?),
        }
    }
}

impl fmt::Display for ConnectTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("too slow")
    }
}

impl Error for ConnectTime {}
