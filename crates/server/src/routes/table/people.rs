//! Turns what people do with accounts into rows of the table: sessions, keys, users, invitations.

use super::*;
use crate::wire::people::*;

/// Rows of the chat's own API for accounts.
pub(super) fn rows(known: &mut Components) -> Vec<Route> {
    let mut routes = of_one(known);
    routes.extend(of_all(known));
    routes
}

/// What everyone may do, for themselves.
fn of_one(known: &mut Components) -> Vec<Route> {
    use Input::Named;
    let session = "/app/session";
    let (change, accept) = (post(password::change), post(invitations::accept));
    let (enter, make) = (post(session::create), post(app_keys::create));
    let unlink = delete(oidc::unlink);
    vec![
        Route::get(session, "Who one is, or how to come in; needs no key", get(session::show))
            .gives::<SessionObject>(known, JSON),
        Route::post(session, "Signs in; needs no key", Named("LoginRequest"), enter)
            .gives::<SessionObject>(known, JSON),
        Route::delete(session, "Signs out; needs no key", delete(session::delete))
            .gives::<SessionObject>(known, JSON),
        Route::post(
            "/app/setup",
            "Makes the first account, on the machine itself; needs no key",
            Named("SetupRequest"),
            post(setup::create),
        )
        .gives::<SessionObject>(known, JSON),
        Route::post(
            "/app/invitations/accept",
            "Makes an account, or sets a password, by a link; needs no key",
            Named("AcceptRequest"),
            accept,
        )
        .gives::<SessionObject>(known, JSON),
        Route::post(
            "/app/oidc",
            "Says where to sign in by OpenID Connect; needs no key",
            Named("OidcRequest"),
            post(oidc::begin),
        )
        .gives::<OidcWay>(known, JSON),
        Route::get(
            "/app/oidc/callback",
            "Where the issuer sends browsers back to; needs no key",
            get(oidc::finish),
        )
        .asks(&["code", "state", "iss", "error"]),
        Route::delete("/app/oidc/link", "Takes the identity from one's account", unlink)
            .gives_named(JSON, "Deleted"),
        Route::post("/app/password", "Changes one's password", Named("PasswordRequest"), change)
            .gives::<SessionObject>(known, JSON),
        Route::get(
            "/app/keys",
            "One's API keys; all of them for administrators",
            get(app_keys::list),
        )
        .asks(&["all"])
        .gives::<KeyList>(known, JSON),
        Route::post("/app/keys", "Makes an API key, shown once", Named("KeyRequest"), make)
            .gives::<MadeKey>(known, JSON),
        Route::delete("/app/keys/{id}", "Revokes an API key", delete(app_keys::delete))
            .gives_named(JSON, "Deleted"),
    ]
}

/// What administrators do for others.
fn of_all(known: &mut Components) -> Vec<Route> {
    use Input::Named;
    let (list, one) = ("/app/users", "/app/users/{id}");
    let links = "/app/invitations";
    vec![
        Route::get(list, "All accounts", get(users::list)).gives::<UserList>(known, JSON),
        Route::post(list, "Makes an account", Named("UserRequest"), post(users::create))
            .gives::<ChangedUser>(known, JSON),
        Route::post(one, "Changes an account", Named("UserChange"), post(users::update))
            .gives::<ChangedUser>(known, JSON),
        Route::delete(one, "Deletes an account with all it keeps", delete(users::delete))
            .gives_named(JSON, "Deleted"),
        Route::get(links, "All invitations", get(invitations::list))
            .gives::<InvitationList>(known, JSON),
        Route::post(
            links,
            "Makes an invitation, shown once",
            Named("InvitationRequest"),
            post(invitations::create),
        )
        .gives::<MadeInvitation>(known, JSON),
        Route::delete(
            "/app/invitations/{id}",
            "Withdraws an invitation",
            delete(invitations::delete),
        )
        .gives_named(JSON, "Deleted"),
    ]
}
