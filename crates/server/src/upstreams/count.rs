//! Turns requests that went to other servers into counts by server and by how they ended.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    upstream: String,
    outcome: &'static str,
}

#[derive(Debug)]
pub struct Counts {
    registry: Registry,
    requests: Family<Ended, Counter>,
}

impl Default for Counts {
    fn default() -> Self {
        let (mut registry, requests) = (Registry::default(), Family::<Ended, Counter>::default());
        let help = "Requests to other servers by how they ended";
        registry.register("myriad_upstream_requests", help, requests.clone());
        Counts { registry, requests }
    }
}

impl Counts {
    /// As OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// A request begins; it is counted when what is returned goes out of scope.
    pub fn begin(&self, upstream: &str) -> Request {
        let (requests, upstream) = (self.requests.clone(), upstream.to_owned());
        Request { requests, upstream, outcome: "aborted" }
    }
}

/// A request that is under way. It counts as aborted until another end is known: whoever waits for
/// it may go away at any time.
pub struct Request {
    requests: Family<Ended, Counter>,
    upstream: String,
    outcome: &'static str,
}

impl Request {
    pub fn ended(&mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let (upstream, outcome) = (self.upstream.clone(), self.outcome);
        tracing::info!(upstream, outcome, "upstream request");
        self.requests.get_or_create(&Ended { upstream, outcome }).inc();
    }
}
