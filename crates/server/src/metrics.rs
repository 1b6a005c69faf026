//! Turns what requests and the engine do into Prometheus metrics, under our names and vLLM's.
//!
//! Routers and dashboards of the field scrape vLLM's names; each metric stands under both.

mod experts;
mod merge;
mod rate;

pub(crate) use experts::imbalance;
pub(crate) use merge::merge;
use rate::Rate;

use std::sync::Arc;
use std::time::{Duration, Instant};

use myriad_engine::Stats;
use myriad_model::Model;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use crate::runtime::Usage;

/// The content type of [`Metrics::encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Each metric is registered under both.
const PREFIXES: [&str; 2] = ["myriad_", "vllm:"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Finished {
    finished_reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Http {
    route: String,
    status: u16,
}

/// All metrics of one runtime.
pub struct Metrics {
    registry: Registry,
    running: Gauge,
    waiting: Gauge,
    cache_usage: Gauge<f64, std::sync::atomic::AtomicU64>,
    prefix_queries: Counter,
    prefix_hits: Counter,
    preemptions: Counter,
    guessed: Counter,
    guessed_right: Counter,
    prompt_tokens: Counter,
    generation_tokens: Counter,
    success: Family<Finished, Counter>,
    rejections: Counter,
    http: Family<Http, Counter>,
    request_prompt_tokens: Histogram,
    request_generation_tokens: Histogram,
    time_to_first_token: Histogram,
    inter_token_latency: Histogram,
    time_per_output_token: Histogram,
    latency: Histogram,
    queue_time: Histogram,
    prefill_time: Histogram,
    decode_time: Histogram,
    /// Tokens of prompts that were computed, and of answers, in the last seconds.
    pub(crate) prompt_rate: Rate,
    pub(crate) generation_rate: Rate,
}

/// When a request's steps happened.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    submitted: Instant,
    started: Option<Instant>,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

/// How long a token took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TokenTime {
    /// From submission to the first token.
    First(Duration),
    /// From the token before.
    Next(Duration),
}

impl Timing {
    pub(crate) fn new(submitted: Instant) -> Timing {
        Timing { submitted, started: None, first_token: None, last_token: None }
    }

    pub(crate) fn start(&mut self, now: Instant) {
        self.started.get_or_insert(now);
    }

    pub(crate) fn token(&mut self, now: Instant) -> TokenTime {
        match self.last_token.replace(now) {
            Some(before) => TokenTime::Next(now - before),
            None => {
                self.first_token = Some(now);
                TokenTime::First(now - self.submitted)
            }
        }
    }
}

impl Metrics {
    /// Metrics of a model, all at zero.
    pub fn new(model: &str) -> Metrics {
        // 1 ms to 16 s for single tokens; 1 to 65,536 tokens; 10 ms to 5 minutes for requests.
        let step = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let tokens = || Histogram::new(exponential_buckets(1.0, 2.0, 17));
        let whole = || Histogram::new(exponential_buckets(0.01, 2.0, 16));
        let mut metrics = Metrics {
            registry: Registry::default(),
            running: Gauge::default(),
            waiting: Gauge::default(),
            cache_usage: Gauge::default(),
            prefix_queries: Counter::default(),
            prefix_hits: Counter::default(),
            preemptions: Counter::default(),
            guessed: Counter::default(),
            guessed_right: Counter::default(),
            prompt_tokens: Counter::default(),
            generation_tokens: Counter::default(),
            success: Family::default(),
            rejections: Counter::default(),
            http: Family::default(),
            request_prompt_tokens: tokens(),
            request_generation_tokens: tokens(),
            time_to_first_token: step(),
            inter_token_latency: step(),
            time_per_output_token: step(),
            latency: whole(),
            queue_time: whole(),
            prefill_time: whole(),
            decode_time: whole(),
            prompt_rate: Rate::default(),
            generation_rate: Rate::default(),
        };
        metrics.register(model);
        metrics
    }

    fn register(&mut self, model: &str) {
        let labels = [("model_name".into(), model.to_owned().into())];
        let mut registry = Registry::with_labels(labels.into_iter());
        let mut list = Names(&mut registry);
        list.add("num_requests_running", "Requests that the engine computes", &self.running);
        list.add("num_requests_waiting", "Requests that wait for a place", &self.waiting);
        list.add("kv_cache_usage_perc", "Share of KV pages in use, 0 to 1", &self.cache_usage);
        list.add("prefix_cache_queries", "Prompt tokens looked up", &self.prefix_queries);
        list.add("prefix_cache_hits", "Prompt tokens found cached", &self.prefix_hits);
        list.add("num_preemptions", "Requests put back to wait", &self.preemptions);
        list.add("spec_decode_num_draft_tokens", "Tokens that answers guessed", &self.guessed);
        list.add(
            "spec_decode_num_accepted_tokens",
            "Guessed tokens that were right",
            &self.guessed_right,
        );
        list.add("prompt_tokens", "Tokens of finished prompts", &self.prompt_tokens);
        list.add("generation_tokens", "Tokens generated", &self.generation_tokens);
        list.add("request_success", "Requests by the way they ended", &self.success);
        list.add("admission_rejections", "Requests refused, queue full", &self.rejections);
        let (prompt, generation) = (&self.request_prompt_tokens, &self.request_generation_tokens);
        list.add("request_prompt_tokens", "Tokens of a prompt", prompt);
        list.add("request_generation_tokens", "Tokens of an answer", generation);
        let first = &self.time_to_first_token;
        list.add("time_to_first_token_seconds", "Submission to first token", first);
        let next = &self.inter_token_latency;
        list.add("inter_token_latency_seconds", "One token to the next", next);
        let mean = &self.time_per_output_token;
        list.add("request_time_per_output_token_seconds", "Mean time of a token", mean);
        list.add("e2e_request_latency_seconds", "Submission to end", &self.latency);
        list.add("request_queue_time_seconds", "Submission to first step", &self.queue_time);
        list.add("request_prefill_time_seconds", "First step to first token", &self.prefill_time);
        list.add("request_decode_time_seconds", "First token to last", &self.decode_time);
        registry.register("myriad_http_requests", "HTTP answers", self.http.clone());
        self.registry = registry;
    }

    /// Also tells how evenly the experts of a model are used; nothing where it has none.
    pub(crate) fn watch_experts(&mut self, model: Arc<Model>) {
        if !model.expert_tokens().is_empty() {
            self.registry.register_collector(Box::new(experts::ExpertLoad(model)));
        }
    }

    /// All metrics as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail, and the metrics are our own.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// An answer went out.
    pub(crate) fn http(&self, route: &str, status: u16) {
        self.http.get_or_create(&Http { route: route.to_owned(), status }).inc();
    }

    /// A request was refused because the queue is full.
    pub(crate) fn rejected(&self) {
        self.rejections.inc();
    }

    /// So many tokens of a prompt were computed.
    pub(crate) fn prompt(&self, tokens: usize) {
        self.prompt_rate.add(tokens as u64);
    }

    /// Tokens of answers so far.
    pub(crate) fn generation_tokens(&self) -> u64 {
        self.generation_tokens.get()
    }

    /// A token came out.
    pub(crate) fn token(&self, time: TokenTime) {
        self.generation_tokens.inc();
        self.generation_rate.add(1);
        match time {
            TokenTime::First(time) => self.time_to_first_token.observe(time.as_secs_f64()),
            TokenTime::Next(time) => self.inter_token_latency.observe(time.as_secs_f64()),
        }
    }

    /// A request ended: `stop`, `length`, `abort` or `error`.
    pub(crate) fn finished(&self, timing: &Timing, usage: &Usage, reason: &'static str) {
        self.success.get_or_create(&Finished { finished_reason: reason }).inc();
        let seconds = |from: Instant, to: Instant| (to - from).as_secs_f64();
        let end = Instant::now();
        self.latency.observe(seconds(timing.submitted, end));
        let Some(started) = timing.started else { return };
        self.queue_time.observe(seconds(timing.submitted, started));
        self.prompt_tokens.inc_by(usage.prompt_tokens as u64);
        self.request_prompt_tokens.observe(usage.prompt_tokens as f64);
        self.request_generation_tokens.observe(usage.completion_tokens as f64);
        let (Some(first), Some(last)) = (timing.first_token, timing.last_token) else { return };
        self.prefill_time.observe(seconds(started, first));
        self.decode_time.observe(seconds(first, last));
        if usage.completion_tokens > 1 {
            let gaps = (usage.completion_tokens - 1) as f64;
            self.time_per_output_token.observe(seconds(first, last) / gaps);
        }
    }

    /// What the engine holds now. Counters are the engine's own totals.
    pub(crate) fn engine(&self, stats: &Stats) {
        self.running.set(stats.running as i64);
        self.waiting.set(stats.waiting as i64);
        self.cache_usage.set(stats.pages_used as f64 / stats.pages_total.max(1) as f64);
        raise(&self.prefix_queries, stats.prefix_queries);
        raise(&self.prefix_hits, stats.prefix_hits);
        raise(&self.preemptions, stats.preemptions);
        raise(&self.guessed, stats.guessed);
        raise(&self.guessed_right, stats.guessed_right);
    }
}

/// Lifts a counter to a total. A smaller total is that of a new engine, and counts from zero.
fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// Registers each metric under every prefix.
struct Names<'a>(&'a mut Registry);

impl Names<'_> {
    fn add(&mut self, name: &str, help: &str, metric: &(impl Metric + Clone)) {
        for prefix in PREFIXES {
            self.0.register(format!("{prefix}{name}"), help, metric.clone());
        }
    }
}
