//! Turns a browser's way to an issuer of OpenID Connect and back into a session, or an account's
//! second door.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use myriad_store::{NewUser, Role, StoreError, User, secret_letters};
use serde_json::{Value, json};

use super::{invitations, setup};
use crate::app::{App, unix_seconds};
use crate::errors::ApiError;
use crate::layers::upload::Upload;
use crate::limits::USER_NAME_CHARS_MAX;
use crate::oidc::{Identity, Journey, Oidc, OidcError, Purpose};
use crate::people::{Caller, Visit, cookie};
use crate::wire::fields::Fields;
use crate::wire::people::{self, OidcWay};
use crate::wire::query::Parameters;

/// Bytes of a code: the longest are tokens themselves.
const CODE_BYTES_MAX: usize = 8192;

/// Letters that make a name another one.
const SUFFIX_LETTERS: usize = 6;

/// Sets out: says where the browser has to go, and leaves a cookie with it.
///
/// A POST of the own page alone can: a link of somebody else's begins no sign-in.
pub async fn begin(
    State(app): State<Arc<App>>,
    visit: Visit,
    Extension(upload): Extension<Upload>,
) -> Result<Response, ApiError> {
    let oidc = app.oidc()?;
    let body = upload.read(&app.large_bodies).await?;
    let mut fields = Fields::of_body(if body.is_empty() { b"{}" } else { &body })?;
    let invitation = people::optional_token(&mut fields, "invitation")?;
    let link = fields.boolean("link")?.unwrap_or(false);
    fields.none_left()?;
    let now = unix_seconds() as i64;
    let purpose = match (invitation, link) {
        (None, false) => Purpose::SignIn,
        (None, true) => Purpose::Link(signed_in(&visit)?.id.clone()),
        (Some(token), false) => {
            let found = app.accounts()?.users.invited(&token, now).await?;
            found.filter(|it| it.user.is_none()).ok_or_else(invitations::over)?;
            Purpose::Invitation(token)
        }
        (Some(_), true) => {
            let message = "An invitation makes an account, and 'link' is for one that is there.";
            return Err(ApiError::invalid("invitation", message));
        }
    };
    let journey = Journey::begin(purpose, now);
    let url = oidc.way(&journey).await.map_err(away)?;
    let way = OidcWay { object: "oidc.way", url };
    Ok(visit.with(&cookie::JOURNEY, Some(journey.cookie()), Json(way)))
}

/// Comes back. Goes on to the chat in any case, which tells what there is to tell.
pub async fn finish(
    State(app): State<Arc<App>>,
    visit: Visit,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let oidc = app.oidc()?;
    let (place, token) = match arrive(&app, oidc, &visit, parameters).await {
        Ok(Arrival::Entered(token)) => (Cow::from("/"), Some(token)),
        Ok(Arrival::Linked) => (Cow::from("/#/arrived/linked"), None),
        Err(refusal) => (Cow::from(format!("/#/arrived/{}", refusal.name())), None),
    };
    // Of this server's own pages, always: nothing that came in chooses where it goes on.
    let place = HeaderValue::from_str(&place).map_err(|_| ApiError::internal())?;
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response();
    // The address that is left has a code in it.
    let silent = HeaderValue::from_static("no-referrer");
    response.headers_mut().insert(header::REFERRER_POLICY, silent);
    let response = visit.with(&cookie::JOURNEY, None, response);
    Ok(match token {
        Some(token) => visit.with_cookie(Some(&token), response),
        None => response,
    })
}

/// Takes the identity elsewhere from one's own account, which needs a password from then on.
pub async fn unlink(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, ApiError> {
    let user = caller.account()?;
    app.accounts()?.users.clear_subject(&user.id).await.map_err(|error| match error {
        StoreError::Conflict(_) => {
            let message = "Nothing is linked, or there is no password to sign in with without it.";
            ApiError::conflict("not_unlinked", message)
        }
        error => error.into(),
    })?;
    Ok(Json(json!({ "id": user.id, "object": "oidc.link.deleted", "deleted": true })))
}

/// How somebody arrives.
enum Arrival {
    /// With a session of this token.
    Entered(String),
    /// As before, and an account has another door.
    Linked,
}

/// Why somebody stays outside. The chat has words for each.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    /// This browser did not set out, or too long ago, or has come back already.
    Journey,
    /// The person, or the issuer, said no.
    Denied,
    /// The issuer cannot be asked.
    Issuer,
    /// What the issuer sent is not to be believed.
    Token,
    /// Whoever it is has no account here, and gets none.
    NoAccount,
    /// The account is locked.
    Disabled,
    /// The invitation was used or withdrawn meanwhile.
    Invitation,
    /// The identity is another account's, or the account has another one.
    Taken,
    /// The first account is made on the machine itself.
    First,
    /// The store failed.
    Failed,
}

impl Refusal {
    fn name(self) -> &'static str {
        match self {
            Refusal::Journey => "journey",
            Refusal::Denied => "denied",
            Refusal::Issuer => "issuer",
            Refusal::Token => "token",
            Refusal::NoAccount => "no_account",
            Refusal::Disabled => "disabled",
            Refusal::Invitation => "invitation",
            Refusal::Taken => "taken",
            Refusal::First => "first",
            Refusal::Failed => "failed",
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        tracing::error!(%error, "the store failed");
        Refusal::Failed
    }
}

impl From<ApiError> for Refusal {
    fn from(_: ApiError) -> Refusal {
        Refusal::Failed
    }
}

async fn arrive(
    app: &App,
    oidc: &Oidc,
    visit: &Visit,
    mut parameters: Parameters,
) -> Result<Arrival, Refusal> {
    let now = unix_seconds() as i64;
    let cookie = visit.journey.as_deref().ok_or(Refusal::Journey)?;
    let journey = Journey::read(cookie, now).ok_or(Refusal::Journey)?;
    if parameters.text("state") != Some(journey.state()) {
        return Err(Refusal::Journey);
    }
    // An answer of another issuer's (RFC 9207).
    let bare = |issuer: &str| issuer.trim_end_matches('/').to_owned();
    if parameters.text("iss").is_some_and(|it| bare(&it) != bare(&oidc.config.issuer)) {
        return Err(Refusal::Token);
    }
    if let Some(error) = parameters.text("error") {
        let shown: String = error.chars().filter(char::is_ascii_graphic).take(64).collect();
        tracing::warn!(error = shown, "the issuer lets nobody in");
        return Err(if error == "access_denied" { Refusal::Denied } else { Refusal::Issuer });
    }
    let code = parameters.text("code").filter(|code| code.len() <= CODE_BYTES_MAX);
    let code = code.ok_or(Refusal::Journey)?;
    let identity = oidc.identify(&journey, &code, now).await.map_err(|error| {
        tracing::warn!(%error, "nobody is known by what an issuer said");
        match error {
            OidcError::Token(_) => Refusal::Token,
            _ => Refusal::Issuer,
        }
    })?;
    match &journey.purpose {
        Purpose::Link(id) => link(app, visit, id, &identity).await,
        Purpose::Invitation(token) => enter(app, oidc, visit, &identity, Some(token)).await,
        Purpose::SignIn => enter(app, oidc, visit, &identity, None).await,
    }
}

/// Gives the account that set out, and is still signed in, its second door.
async fn link(app: &App, visit: &Visit, id: &str, identity: &Identity) -> Result<Arrival, Refusal> {
    let users = &app.accounts()?.users;
    let user = signed_in(visit).ok().filter(|user| user.id == id).ok_or(Refusal::Journey)?;
    match users.known_as(&identity.subject).await? {
        Some(known) if known.id == user.id => return Ok(Arrival::Linked),
        Some(_) => return Err(Refusal::Taken),
        None => {}
    }
    users.set_subject(&user.id, &identity.subject).await.map_err(|error| match error {
        StoreError::Conflict(_) => Refusal::Taken,
        error => error.into(),
    })?;
    tracing::info!(user = %user.id, "linked to an identity elsewhere");
    Ok(Arrival::Linked)
}

async fn enter(
    app: &App,
    oidc: &Oidc,
    visit: &Visit,
    identity: &Identity,
    invitation: Option<&str>,
) -> Result<Arrival, Refusal> {
    let users = &app.accounts()?.users;
    let user = match users.known_as(&identity.subject).await? {
        Some(user) => user,
        None => make(app, oidc, visit, identity, invitation).await?,
    };
    let (earlier, now) = (visit.token.as_deref(), unix_seconds() as i64);
    let token = users.begin_session(&user, earlier, now).await.map_err(|error| match error {
        StoreError::Conflict(_) => Refusal::Disabled,
        error => error.into(),
    })?;
    tracing::info!(user = %user.id, "signed in by an issuer");
    Ok(Arrival::Entered(token))
}

/// Makes an account for somebody who has none: the first one on the machine itself, others by an
/// invitation, or where whoever the issuer knows may have one.
async fn make(
    app: &App,
    oidc: &Oidc,
    visit: &Visit,
    identity: &Identity,
    invitation: Option<&str>,
) -> Result<User, Refusal> {
    let (storage, now) = (app.accounts()?, unix_seconds() as i64);
    let users = &storage.users;
    let first = !users.any().await?;
    if first && !setup::is_possible(app, visit).await? {
        return Err(Refusal::First);
    }
    let invitation = match invitation {
        Some(token) => {
            let found = users.invited(token, now).await?.filter(|it| it.user.is_none());
            Some(found.ok_or(Refusal::Invitation)?)
        }
        None => None,
    };
    if !first && invitation.is_none() && !oidc.config.signup {
        return Err(Refusal::NoAccount);
    }
    for name in names(identity) {
        if users.named(&name).await?.is_some() {
            continue;
        }
        let new = NewUser {
            name: &name,
            display_name: &display_name(identity, &name),
            password: None,
            role: Role::User,
            subject: Some(&identity.subject),
        };
        let made = match &invitation {
            _ if first => storage.create_first(new).await,
            Some(invitation) => users.accept(invitation, new, now).await,
            None => users.create(new, now).await,
        };
        match made {
            Ok(user) => return Ok(user),
            Err(StoreError::Conflict(what)) => {
                // The same person in another window; or somebody else, with the name or the link.
                if let Some(user) = users.known_as(&identity.subject).await? {
                    return Ok(user);
                }
                if first {
                    return Err(Refusal::First);
                }
                if invitation.as_ref().is_some_and(|invitation| invitation.id == what) {
                    return Err(Refusal::Invitation);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Failed)
}

/// Names that an account may have, the best first; the last one is nobody's.
fn names(identity: &Identity) -> Vec<String> {
    let right = |letter: &char| letter.is_alphanumeric() || "._-+@".contains(*letter);
    let room = USER_NAME_CHARS_MAX - SUFFIX_LETTERS - 1;
    let plain = |name: &String| name.chars().filter(right).take(room).collect::<String>();
    let best = identity.names.iter().map(plain).find(|name| !name.is_empty());
    let best = best.unwrap_or_else(|| "user".to_owned());
    let others = (2..10).map(|number| format!("{best}-{number}"));
    let last = format!("{best}-{}", secret_letters(SUFFIX_LETTERS).to_lowercase());
    std::iter::once(best.clone()).chain(others).chain([last]).collect()
}

fn display_name(identity: &Identity, name: &str) -> String {
    let said = identity.display_name.as_deref().unwrap_or_default();
    let shown: String = said.chars().filter(|letter| !letter.is_control()).collect();
    let shown: String = shown.trim().chars().take(USER_NAME_CHARS_MAX).collect();
    if shown.is_empty() { name.to_owned() } else { shown }
}

/// The account whose session the browser has: a key gives nobody another door.
fn signed_in(visit: &Visit) -> Result<&User, ApiError> {
    let caller = visit.caller.as_ref().filter(|caller| caller.session.is_some());
    caller.and_then(|caller| caller.user.as_ref()).ok_or_else(|| {
        ApiError::not_allowed("This takes an account that is signed in with the chat.")
    })
}

/// What is told where nothing is left to redirect: the log has the reason.
fn away(error: OidcError) -> ApiError {
    if error == OidcError::Busy {
        return ApiError::busy("logins_busy", "Too many others are signing in.");
    }
    tracing::warn!(%error, "nobody can be sent to the issuer");
    let message = "The sign-in service does not answer as it should. Try again later.";
    ApiError::upstream(StatusCode::BAD_GATEWAY, message.to_owned(), "issuer_unavailable")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::people::check_name;

    #[test]
    fn whatever_an_issuer_says_becomes_a_name() {
        for (said, right) in [
            (&["anna@example.org"][..], "anna@example.org"),
            (&["", "Anna B."], "AnnaB."),
            (&["<script>", "x"], "script"),
            (&["\u{202e} \n"], "user"),
            (&[], "user"),
            (&["王伟"], "王伟"),
        ] {
            let names = |display_name: Option<&str>| Identity {
                subject: "i s".into(),
                names: said.iter().map(|name| name.to_string()).collect(),
                display_name: display_name.map(str::to_owned),
            };
            let found = super::names(&names(None));
            assert_eq!((found[0].as_str(), found.len()), (right, 10));
            assert!(found.iter().all(|name| check_name(name).is_ok()), "{found:?}");
            assert_eq!(display_name(&names(Some("\u{0} \n")), "name"), "name");
            assert_eq!(display_name(&names(Some(" Anna B. ")), "name"), "Anna B.");
        }
        let long = Identity {
            subject: String::new(),
            names: vec!["x".repeat(1000)],
            display_name: Some("y".repeat(1000)),
        };
        assert!(super::names(&long).iter().all(|name| check_name(name).is_ok()));
        assert_eq!(display_name(&long, "x").len(), USER_NAME_CHARS_MAX);
    }
}
