//! Turns names into API keys, which are shown once, and ids into revoked ones.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Args, Subcommand};
use myriad_server::Storage;
use myriad_store::{Key, NewKey};
use tokio::runtime::Builder;

use crate::screen::{self, advise, note};
use crate::storage::Place;

const EXAMPLES: &str = "\
Examples:
  myriad keys create laptop               a key for yourself, shown once
  myriad keys create shop --owner shop    one that sees only what the owner 'shop' has stored
  myriad keys create guest --days 7       one that opens nothing after a week
  myriad keys list
  myriad keys revoke key_Zo1yI3vXx0Zb2nQr

From the first key on `myriad serve` lets nobody in without one, also a server that runs already,
and also after the last key was revoked. Of a key only a hash is kept.";

const SECONDS_A_DAY: u64 = 24 * 3600;

/// Make, list and revoke the keys that open the server.
#[derive(Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a key and show it, once.
    Create(Create),
    /// Show all keys, without what opens.
    List(List),
    /// Make a key open nothing from now on.
    Revoke(Revoke),
}

#[derive(Args)]
struct Create {
    /// What to call it, to know it in the list.
    #[arg(value_name = "NAME")]
    name: String,
    /// Whose stored objects it reaches, an account's or anything else's; keys of one owner share
    /// them.
    #[arg(long, value_name = "OWNER", default_value = "default")]
    owner: String,
    /// Days after which it opens nothing. [default: never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    days: Option<u32>,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Revoke {
    /// The id that `myriad keys list` shows.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    place: Place,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let executor = Builder::new_current_thread().enable_all().build()?;
    executor.block_on(async {
        match arguments.action {
            Action::Create(create) => {
                let storage = create.place.open(false).await?;
                make(&storage, &create).await
            }
            Action::List(list) => show(&list.place.open(false).await?).await,
            Action::Revoke(revoke) => {
                let storage = revoke.place.open(false).await?;
                end(&storage, &revoke.id).await
            }
        }
    })
}

async fn make(storage: &Storage, create: &Create) -> Result<()> {
    for (what, text) in [("name", &create.name), ("owner", &create.owner)] {
        let right = (1..=64).contains(&text.len()) && !text.chars().any(char::is_control);
        if !right {
            let next = "take 1 to 64 bytes, without line breaks";
            return Err(advise(format!("the {what} of a key cannot be '{text}'"), next));
        }
    }
    // What an account keeps has its id as the owner, which people do not know.
    let account = storage.users.named(&create.owner).await?;
    let owner = account.as_ref().map_or(&create.owner, |account| &account.id);
    let now = unix_seconds();
    let end = create.days.map(|days| now.saturating_add(u64::from(days) * SECONDS_A_DAY));
    let expires_at = end.map(|end| end as i64);
    let new = NewKey { owner, name: &create.name, expires_at };
    let (key, text) = storage.keys.create(new, now as i64).await?;
    storage.store.close().await;
    // The key alone on standard output: scripts take it from there.
    writeln!(screen::output(), "{text}")?;
    note(format!(
        "This is {} ({}). Keep it: it is not shown again.\n\
         Use it:     export MYRIAD_API_KEY={text}   (or OPENAI_API_KEY, ANTHROPIC_API_KEY)\n\
         Revoke it:  myriad keys revoke {}",
        key.name, key.id, key.id
    ));
    Ok(())
}

async fn show(storage: &Storage) -> Result<()> {
    let keys = storage.keys.list().await?;
    let mut out = screen::output();
    if keys.is_empty() {
        let door = match storage.users.any().await? {
            true => "There are no keys: people sign in, and no program may use the server.",
            false => "There are no keys: everyone on this machine may use the server.",
        };
        writeln!(out, "{door}")?;
        note("make one:  myriad keys create NAME");
        return Ok(());
    }
    let now = unix_seconds() as i64;
    let width = |column: fn(&Key) -> usize, least: usize| {
        keys.iter().map(column).max().unwrap_or(0).max(least)
    };
    let (name, owner) = (width(|key| key.name.len(), 4), width(|key| key.owner.len(), 5));
    writeln!(
        out,
        "{:20}  {:name$}  {:owner$}  {:17}  {:10}  STATE",
        "ID", "NAME", "OWNER", "KEY", "CREATED"
    )?;
    for key in &keys {
        writeln!(
            out,
            "{:20}  {:name$}  {:owner$}  {:17}  {:10}  {}",
            key.id,
            key.name,
            key.owner,
            format!("{}…", key.prefix),
            date(key.created_at),
            state(key, now)
        )?;
    }
    Ok(())
}

fn state(key: &Key, now: i64) -> String {
    match (key.revoked_at, key.expires_at) {
        (Some(at), _) => format!("revoked {}", date(at)),
        (None, Some(end)) if end <= now => format!("expired {}", date(end)),
        (None, Some(end)) => format!("valid until {}", date(end)),
        (None, None) => "valid".to_owned(),
    }
}

async fn end(storage: &Storage, id: &str) -> Result<()> {
    let revoked = storage.keys.revoke(id, unix_seconds() as i64).await?;
    storage.store.close().await;
    if !revoked {
        let next = "see the ids:  myriad keys list";
        return Err(advise(format!("there is no valid key with the id '{id}'"), next));
    }
    writeln!(screen::output(), "{id} is revoked. Running servers refuse it within a second.")?;
    Ok(())
}

/// The day, UTC.
pub fn date(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let text = myriad_server::timestamp_of(seconds);
    text.split('T').next().unwrap_or_default().to_owned()
}

/// Now, in seconds since 1970.
pub fn unix_seconds() -> u64 {
    // A clock before 1970 is wrong anyway.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
