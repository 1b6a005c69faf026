//! Turns a name and a password into a session, and `/app/session` into who one is here.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use myriad_store::User;

use super::setup;
use crate::app::{App, unix_seconds};
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::limits::{PASSWORD_CHARS, USER_NAME_CHARS_MAX};
use crate::people::{Caller, Visit};
use crate::wire::fields::Fields;
use crate::wire::people::{self, AccountLimits, OidcOffer, SessionObject, UserObject};

/// Who one is here; for whoever is nobody, how to come in.
pub async fn show(State(app): State<Arc<App>>, visit: Visit) -> Result<Response, ApiError> {
    let shown = describe(&app, &visit, visit.caller.as_ref()).await?;
    Ok(([("cache-control", "no-store")], Json(shown)).into_response())
}

/// Signs in. The browser's earlier session ends: nobody can have laid one under.
pub async fn create(
    State(app): State<Arc<App>>,
    visit: Visit,
    Extension(upload): Extension<Upload>,
) -> Result<Response, ApiError> {
    let body = upload.read(&app.large_bodies).await?;
    let mut fields = Fields::of_body(&body)?;
    let (name, password) =
        (people::text(&mut fields, "name")?, people::text(&mut fields, "password")?);
    fields.none_left()?;
    app.check_passwords()?;
    let storage = app.accounts()?;
    let known = storage.users.named(&name).await?;
    let wrong = || ApiError::wrong_password("The name or the password is wrong.");
    let hash = known.as_ref().and_then(|user| user.password.clone());
    let user = match check(&app, &visit, &name, password, hash).await? {
        true => known.filter(User::is_active).ok_or_else(wrong)?,
        false => return Err(wrong()),
    };
    let (earlier, now) = (visit.token.as_deref(), unix_seconds() as i64);
    let token = storage.users.begin_session(&user, earlier, now).await?;
    enter(&app, &visit, user, &token).await
}

/// Signs out.
pub async fn delete(State(app): State<Arc<App>>, visit: Visit) -> Result<Response, ApiError> {
    if let (Some(storage), Some(token)) = (&app.config.storage, &visit.token) {
        storage.users.end_session(token).await?;
    }
    let shown = describe(&app, &visit, None).await?;
    Ok(visit.with_cookie(None, Json(shown)))
}

/// Whether a password is the one of this hash, for those who have not tried too often.
///
/// # Errors
/// 429 with the time to wait.
pub async fn check(
    app: &App,
    visit: &Visit,
    name: &str,
    password: String,
    hash: Option<String>,
) -> Result<bool, ApiError> {
    let (attempts, address) = (&app.people.attempts, visit.address);
    attempts.begin(name, address, Instant::now()).map_err(|seconds| {
        let message = format!("Too many wrong passwords. Try again in {seconds} seconds.");
        let error = ApiError::busy("too_many_attempts", message);
        ApiError { retry_after: seconds, ..error }
    })?;
    let matches = app.people.passwords.matches(password, hash).await?;
    if matches {
        attempts.succeeded(name, address);
    }
    Ok(matches)
}

/// The answer that gives a browser a session.
///
/// # Errors
/// Where the store fails.
pub async fn enter(
    app: &App,
    visit: &Visit,
    user: User,
    token: &str,
) -> Result<Response, ApiError> {
    tracing::info!(user = %user.id, "signed in");
    let owner = (&user).into();
    let (role, session) = (user.role, Some(token.into()));
    let caller = Caller { owner, role, user: Some(user), session, key: None };
    let shown = describe(app, visit, Some(&caller)).await?;
    Ok(visit.with_cookie(Some(token), Json(shown)))
}

async fn describe(
    app: &App,
    visit: &Visit,
    caller: Option<&Caller>,
) -> Result<SessionObject, ApiError> {
    let accounts = match &app.config.storage {
        Some(storage) => storage.users.any().await?,
        None => false,
    };
    let mode = match (accounts, app.locked().await) {
        (true, _) => "account",
        (false, true) => "key",
        (false, false) => "single",
    };
    let setup = setup::is_possible(app, visit).await?;
    Ok(SessionObject {
        object: "session",
        mode,
        user: caller.and_then(|caller| caller.user.as_ref()).map(UserObject::from),
        role: caller.map(|caller| caller.role.name()),
        setup,
        methods: methods(app, accounts || setup),
        oidc: app
            .config
            .oidc
            .as_ref()
            .map(|oidc| OidcOffer { name: oidc.config.name.clone(), signup: oidc.config.signup }),
        limits: AccountLimits {
            password_min: *PASSWORD_CHARS.start(),
            password_max: *PASSWORD_CHARS.end(),
            name_max: USER_NAME_CHARS_MAX,
            file_bytes_max: app.config.file_bytes_max,
            owner_bytes_max: app.config.owner_bytes_max,
        },
    })
}

/// How an account can be signed in to, or made.
fn methods(app: &App, accounts: bool) -> Vec<&'static str> {
    let password = (accounts && app.check_passwords().is_ok()).then_some("password");
    let oidc = app.config.oidc.as_ref().map(|_| "oidc");
    password.into_iter().chain(oidc).collect()
}
