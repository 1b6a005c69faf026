//! Turns names into accounts, and accounts into ones with another password, locked out, or let in.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use myriad_server::Storage;
use myriad_server::people::passwords;
use myriad_server::wire::people::{check_name, check_password};
use myriad_store::{NewUser, Role, StoreError, User, UserState};

use super::keys::{date, unix_seconds};
use crate::screen::{self, advise, note};
use crate::storage::Place;

const EXAMPLES: &str = "\
Examples:
  myriad users create anna                an account with a password that is shown once
  myriad users create ben --role admin
  echo 'my password' | myriad users create carl --password-stdin
  myriad users list
  myriad users disable carl               his sessions and keys open nothing from now on
  myriad users reset-password anna        another password, shown once; her sessions end

The first account is an administrator and takes over everything that was stored without one. From
then on the chat asks people to sign in, and programs for a key, also on a server that runs
already. Administrators invite others in the chat.";

/// Letters of a password that is made here: 119 random bits.
const PASSWORD_LETTERS: usize = 20;

/// A password on standard input is no longer than this.
const INPUT_BYTES_MAX: u64 = 4096;

/// Make accounts for people, and lock them out.
#[derive(Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make an account.
    Create(Create),
    /// Show all accounts.
    List(List),
    /// Lock an account out, with its sessions and keys.
    Disable(One),
    /// Let an account in again.
    Enable(One),
    /// Give an account another password, and end its sessions.
    ResetPassword(Reset),
}

#[derive(Args)]
struct Create {
    /// What the person signs in with.
    #[arg(value_name = "NAME")]
    name: String,
    /// What others are shown. [default: the name]
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// What the account may do; the first is an administrator in any case.
    #[arg(long, value_name = "ROLE", default_value = "user")]
    role: RoleName,
    /// Take the password from standard input instead of making one.
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleName {
    Admin,
    User,
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct One {
    /// What the person signs in with.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Reset {
    #[command(flatten)]
    one: One,
    /// Take the password from standard input instead of making one.
    #[arg(long)]
    password_stdin: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    executor.block_on(async {
        match arguments.action {
            Action::Create(create) => {
                let storage = create.place.open(false).await?;
                make(&storage, &create).await
            }
            Action::List(list) => show(&list.place.open(false).await?).await,
            Action::Disable(one) => set(&one, UserState::Disabled).await,
            Action::Enable(one) => set(&one, UserState::Active).await,
            Action::ResetPassword(reset) => renew(&reset).await,
        }
    })
}

async fn make(storage: &Storage, create: &Create) -> Result<()> {
    right("name", check_name(&create.name))?;
    let display_name = create.display_name.as_deref().unwrap_or(&create.name).trim();
    if !(1..=64).contains(&display_name.chars().count())
        || display_name.chars().any(char::is_control)
    {
        let next = "take 1 to 64 characters, without line breaks";
        return Err(advise("that is nothing to show of an account", next));
    }
    let (password, hash) = password(create.password_stdin)?;
    let role = match create.role {
        RoleName::Admin => Role::Admin,
        RoleName::User => Role::User,
    };
    let new =
        NewUser { name: &create.name, display_name, password: Some(&hash), role, subject: None };
    let first = !storage.users.any().await?;
    let made = match first {
        true => storage.create_first(new).await,
        false => storage.users.create(new, unix_seconds() as i64).await,
    };
    storage.store.close().await;
    let user = made.map_err(|error| match error {
        StoreError::Conflict(name) => {
            advise(format!("the name '{name}' is taken"), "see the names:  myriad users list")
        }
        error => error.into(),
    })?;
    tell(&user, password)?;
    if first {
        note("It is the first account: an administrator, with everything that was stored before.");
    }
    Ok(())
}

async fn show(storage: &Storage) -> Result<()> {
    let users = storage.users.list().await?;
    let mut out = screen::output();
    if users.is_empty() {
        writeln!(out, "There are no accounts: the chat asks nobody to sign in.")?;
        note("make one:  myriad users create NAME");
        return Ok(());
    }
    let width = users.iter().map(|user| user.name.chars().count()).max().unwrap_or(0).max(4);
    writeln!(
        out,
        "{:width$}  {:5}  {:8}  {:10}  {:10}  SHOWN AS",
        "NAME", "ROLE", "STATE", "CREATED", "LAST SEEN"
    )?;
    for user in &users {
        writeln!(
            out,
            "{:width$}  {:5}  {:8}  {:10}  {:10}  {}",
            user.name,
            user.role.name(),
            user.state.name(),
            date(user.created_at),
            user.seen_at.map_or("never".to_owned(), date),
            user.display_name
        )?;
    }
    Ok(())
}

async fn set(one: &One, state: UserState) -> Result<()> {
    let storage = one.place.open(false).await?;
    let user = find(&storage, &one.name).await?;
    let done = storage.users.set(&user.id, user.role, state).await;
    storage.store.close().await;
    done.map_err(|error| match error {
        StoreError::Conflict(_) => advise(
            format!("'{}' is the last active administrator", user.name),
            "make another one first:  myriad users create NAME --role admin",
        ),
        error => error.into(),
    })?;
    let what = match state {
        UserState::Active => "is let in again",
        UserState::Disabled => "is locked out. Running servers refuse it within a second",
    };
    writeln!(screen::output(), "{} {what}.", user.name)?;
    Ok(())
}

async fn renew(reset: &Reset) -> Result<()> {
    let storage = reset.one.place.open(false).await?;
    let user = find(&storage, &reset.one.name).await?;
    let (password, hash) = password(reset.password_stdin)?;
    storage.users.set_password(&user, Some(&hash)).await?;
    storage.store.close().await;
    tell(&user, password)
}

async fn find(storage: &Storage, name: &str) -> Result<User> {
    let next = "see the names:  myriad users list";
    let found = storage.users.named(name).await?;
    found.ok_or_else(|| advise(format!("there is no account of the name '{name}'"), next))
}

/// A password, where it was made here, and its hash.
fn password(from_input: bool) -> Result<(Option<String>, String)> {
    let password = match from_input {
        true => {
            let mut text = String::new();
            let input = std::io::stdin().lock().take(INPUT_BYTES_MAX);
            { input }.read_to_string(&mut text).context("reading the password")?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        false => passwords::random(PASSWORD_LETTERS),
    };
    right("password", check_password("password", &password))?;
    let Some(hash) = passwords::hash(&password) else { bail!("the system has no randomness") };
    Ok(((!from_input).then_some(password), hash))
}

fn right(what: &str, checked: Result<(), myriad_server::errors::ApiError>) -> Result<()> {
    checked.map_err(|error| advise(format!("the {what} cannot be taken"), error.message))
}

/// The password alone on standard output: scripts take it from there.
fn tell(user: &User, password: Option<String>) -> Result<()> {
    match password {
        Some(password) => {
            writeln!(screen::output(), "{password}")?;
            note(format!(
                "This is the password of {}. It is not shown again; it is changed in the chat.",
                user.name
            ));
        }
        None => note(format!("{} signs in with that password.", user.name)),
    }
    Ok(())
}
