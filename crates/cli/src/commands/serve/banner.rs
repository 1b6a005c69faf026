//! Turns a server that listens into what people and programs are told of it.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Result;
use myriad_server::{Models, Served};
use tracing::info;

use super::LogFormat;
use crate::load::Opened;
use crate::screen::{self, count, note, size};
use crate::sizes::Sizes;

/// What people and programs are told at the start.
pub struct Banner<'a> {
    pub address: SocketAddr,
    pub models: &'a Models,
    pub opened: &'a Opened,
    pub sizes: &'a Sizes,
    pub threads: usize,
    pub keys: bool,
}

impl Banner<'_> {
    /// Says it.
    pub fn show(&self, format: LogFormat) -> Result<()> {
        let kernels = myriad_kernels::Kernels::detect()?.level().name();
        if !self.address.ip().is_loopback() && !self.keys {
            let warning = "other machines can reach this server, and it asks no one for a key";
            match format {
                LogFormat::Text => note(format!("warning: {warning}")),
                LogFormat::Json => tracing::warn!("{warning}"),
            }
        }
        let engine = &self.sizes.engine;
        if format == LogFormat::Json {
            info!(
                url = %self.url(),
                model = self.models.main.runtime.name(),
                embedding_model = self.models.embedder.as_ref().map(|model| model.runtime.name()),
                kernels,
                threads = self.threads,
                context = self.models.main.runtime.context_max(),
                parallel = engine.parallel,
                kv_bytes = self.sizes.kv_bytes,
                "listening"
            );
            return Ok(());
        }
        let (mut out, main) = (screen::output(), &self.models.main.runtime);
        writeln!(
            out,
            "Myriad serves {model} at {url}\n  \
             weights   {weights} of {family}; {kernels} kernels, {threads} threads\n  \
             context   {context} tokens a request{shared}",
            model = main.name(),
            url = self.url(),
            weights = size(main.model().map_or(0, |model| model.weight_bytes()) as u64),
            family = self.opened.config.family.name(),
            threads = self.threads,
            context = count(main.context_max()),
            shared = match main.is_encoder() {
                true => String::new(),
                false => format!(
                    "; {} requests together share {} of KV memory",
                    engine.parallel,
                    size(self.sizes.kv_bytes)
                ),
            },
        )?;
        if let Some(Served { runtime: embedder, .. }) = &self.models.embedder {
            let limit = count(embedder.context_max());
            writeln!(out, "  embedder  {}, {limit} tokens a text", embedder.name())?;
        }
        // An encoder has nothing to say to people.
        if myriad_server::has_chat() && !main.is_encoder() {
            writeln!(out, "  chat      {}   (open it in a browser)", self.url())?;
        }
        let locked = if self.keys { "; with your key" } else { "; no key needed" };
        writeln!(out, "  API       {}/v1   (OpenAI's and others'{locked})\n", self.url())?;
        writeln!(out, "Try it:\n\n{}\n\nCtrl-C stops it.", self.example())?;
        out.flush()?;
        Ok(())
    }

    /// A request that a person can send.
    fn example(&self) -> String {
        let model = self.models.main.runtime.name();
        let (path, fields) = match self.models.main.runtime.is_encoder() {
            true => ("embeddings", r#""input": "The capital of Germany is Berlin.""#.to_owned()),
            false => (
                "chat/completions",
                r#""messages": [{"role": "user", "content": "What is the capital of Germany?"}], "#
                    .to_owned()
                    + r#""max_tokens": 40"#,
            ),
        };
        let key =
            if self.keys { "\n  -H \"authorization: Bearer $MYRIAD_API_KEY\" \\" } else { "" };
        format!(
            "curl -s {}/v1/{path} -H 'content-type: application/json' \\{key}\n  \
             -d '{{\"model\": \"{model}\", {fields}}}'",
            self.url()
        )
    }

    /// Where this machine reaches the server.
    fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{address}")
    }
}
