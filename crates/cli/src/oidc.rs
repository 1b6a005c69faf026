//! Turns flags about an issuer of OpenID Connect into a way to sign in.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use myriad_server::oidc::{Oidc, OidcConfig, Secret};

use crate::screen::advise;

/// Where the flags stand in the help.
const HEADING: &str = "Sign-in by OpenID Connect";

/// Signing in with accounts of somewhere else.
#[derive(Args)]
pub struct Issuer {
    /// Address of the issuer, as it writes itself: https://id.example.com/realms/main
    #[arg(long, value_name = "URL", env = "MYRIAD_OIDC_ISSUER", help_heading = HEADING)]
    oidc_issuer: Option<String>,
    /// Name of this server at the issuer.
    #[arg(
        long,
        value_name = "ID",
        requires = "oidc_issuer",
        env = "MYRIAD_OIDC_CLIENT_ID",
        help_heading = HEADING
    )]
    oidc_client_id: Option<String>,
    /// File with its secret; none for a public client.
    #[arg(long, value_name = "FILE", requires = "oidc_issuer", help_heading = HEADING)]
    oidc_client_secret_file: Option<PathBuf>,
    /// Give an account to whoever the issuer knows; else it takes an invitation.
    #[arg(long, requires = "oidc_issuer", help_heading = HEADING)]
    oidc_signup: bool,
    /// Take no passwords: the issuer alone says who somebody is.
    #[arg(long, requires = "oidc_issuer", help_heading = HEADING)]
    oidc_only: bool,
    /// What people call the issuer, for the button: "Sign in with NAME". [default: its host]
    #[arg(long, value_name = "NAME", requires = "oidc_issuer", help_heading = HEADING)]
    oidc_name: Option<String>,
    /// Address at which browsers reach this server: https://chat.example.com
    #[arg(long, value_name = "URL", env = "MYRIAD_PUBLIC_URL", help_heading = HEADING)]
    public_url: Option<String>,
}

impl Issuer {
    /// The issuer, where one is named.
    pub fn open(&self) -> Result<Option<Arc<Oidc>>> {
        let Some(issuer) = &self.oidc_issuer else { return Ok(None) };
        let client_id = self.oidc_client_id.as_deref().ok_or_else(|| {
            advise(
                "--oidc-issuer takes the name of this server there",
                "register a client at the issuer, and say  --oidc-client-id ID",
            )
        })?;
        let public_url = self.public_url.as_deref().ok_or_else(|| {
            advise(
                "--oidc-issuer takes the address at which browsers reach this server",
                "say  --public-url https://chat.example.com\n\
                 (or http://127.0.0.1:8080 for this machine alone); the issuer sends them back\n\
                 to /app/oidc/callback there, which is what it has to be told",
            )
        })?;
        let mut config = OidcConfig::new(issuer, client_id, public_url)?;
        if let Some(name) = &self.oidc_name {
            config = config.named(name).context("--oidc-name")?;
        }
        if let Some(file) = &self.oidc_client_secret_file {
            let shown = || format!("--oidc-client-secret-file {}", file.display());
            let text = fs::read_to_string(file).with_context(shown)?;
            config.client_secret = Some(Secret::parse(&text).with_context(shown)?);
        }
        (config.signup, config.only) = (self.oidc_signup, self.oidc_only);
        let back = config.redirect_uri();
        tracing::info!(issuer, back, "people may sign in by OpenID Connect");
        Ok(Some(Arc::new(Oidc::new(config))))
    }
}
