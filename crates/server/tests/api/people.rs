//! Turns people with names and passwords into who reaches what: sessions, roles, keys, invitations.

use std::time::{Duration, Instant};

use myriad_server::ServerConfig;
use serde_json::{Value, json};

use crate::harness::{Keeps, Live, Reply, Setup, chat};

const PASSWORD: &str = "correct horse";

/// The origin of the chat's own page, as the harness names the host.
const OWN: (&str, &str) = ("origin", "http://localhost");

fn start() -> Live {
    Live::start(Setup { storage: Some(Keeps::Everything), ..Setup::default() })
}

/// A browser of one person, with the cookie that it was given.
struct Browser<'a> {
    live: &'a Live,
    cookie: String,
}

impl<'a> Browser<'a> {
    fn new(live: &'a Live) -> Browser<'a> {
        Browser { live, cookie: String::new() }
    }

    /// A request of the chat's own page.
    fn ask(&mut self, method: &str, path: &str, body: &Value) -> Reply {
        self.ask_with(&[OWN], method, path, body)
    }

    fn ask_with(
        &mut self,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        body: &Value,
    ) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let cookie = [("cookie", self.cookie.as_str())];
        let cookie = if self.cookie.is_empty() { &[][..] } else { &cookie[..] };
        let reply = self.live.send(method, path, &[headers, cookie].concat(), body.as_bytes());
        if let Some(set) = reply.header("set-cookie") {
            self.cookie = set.split(';').next().unwrap().to_owned();
        }
        reply
    }

    fn get(&mut self, path: &str) -> Reply {
        self.ask("GET", path, &Value::Null)
    }

    fn post(&mut self, path: &str, body: Value) -> Reply {
        self.ask("POST", path, &body)
    }

    fn log_in(&mut self, name: &str, password: &str) -> Reply {
        self.post("/app/session", json!({ "name": name, "password": password }))
    }

    fn token(&self) -> &str {
        self.cookie.split_once('=').expect("a cookie").1
    }
}

/// The first account, Anna's, in her browser.
fn anna(live: &Live) -> Browser<'_> {
    let mut browser = Browser::new(live);
    let shown = browser.post("/app/setup", json!({ "name": "Anna", "password": PASSWORD })).good();
    assert_eq!((&shown["mode"], &shown["role"]), (&json!("account"), &json!("admin")));
    browser
}

/// A second account in a browser of its own, which Anna has invited; and its id.
fn invited<'a>(anna: &mut Browser<'a>, name: &str, role: &str) -> (Browser<'a>, String) {
    let made = anna.post("/app/invitations", json!({ "role": role })).good();
    let mut browser = Browser::new(anna.live);
    let body = json!({ "token": made["token"], "name": name, "password": PASSWORD });
    let shown = browser.post("/app/invitations/accept", body).good();
    (browser, shown["user"]["id"].as_str().unwrap().to_owned())
}

fn conversation(browser: &mut Browser<'_>) -> String {
    let made = browser.post("/v1/conversations", json!({})).good();
    format!("/v1/conversations/{}", made["id"].as_str().unwrap())
}

#[test]
fn without_accounts_everyone_on_the_machine_is_let_in() {
    let live = start();
    let shown = Browser::new(&live).get("/app/session").good();
    assert_eq!((&shown["mode"], &shown["role"]), (&json!("single"), &json!("admin")));
    assert_eq!((&shown["setup"], &shown["user"]), (&json!(true), &Value::Null));
    live.post("/v1/chat/completions", &chat(json!({ "max_tokens": 2 }))).good();
    let refused = live.post("/app/keys", &json!({ "name": "laptop" }));
    assert_eq!(refused.error(409)["code"], "no_account", "it would lock out whoever makes it");
    live.get("/v1/models").good();
}

#[test]
fn the_first_account_keeps_what_was_there_and_closes_the_door() {
    let live = start();
    let before = conversation(&mut Browser::new(&live));
    live.get(&before).good();
    let mut anna = anna(&live);
    anna.get(&before).good();
    for path in [before.as_str(), "/v1/models", "/app/keys", "/app/users", "/nowhere"] {
        assert_eq!(live.get(path).error(401)["code"], "invalid_api_key", "{path}");
    }
    live.get("/health").good();
    let body = chat(json!({ "max_tokens": 2 }));
    live.post("/v1/chat/completions", &body).error(401);
    anna.post("/v1/chat/completions", body).good();
    let shown = Browser::new(&live).get("/app/session").good();
    assert_eq!((&shown["mode"], &shown["role"]), (&json!("account"), &Value::Null));
    assert_eq!((&shown["setup"], &shown["methods"]), (&json!(false), &json!(["password"])));
    let again = live.post("/app/setup", &json!({ "name": "eve", "password": PASSWORD }));
    assert_eq!(again.error(409)["code"], "account_exists");
}

#[test]
fn of_many_who_set_up_at_once_one_does() {
    let live = start();
    let made: Vec<u16> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..6)
            .map(|number| {
                let body = json!({ "name": format!("user{number}"), "password": PASSWORD });
                let live = &live;
                scope.spawn(move || live.post("/app/setup", &body).status)
            })
            .collect();
        tries.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(made.iter().filter(|status| **status == 200).count(), 1, "{made:?}");
    // The others were late, or found the door closed already.
    assert!(made.iter().all(|status| [200, 401, 403, 409].contains(status)), "{made:?}");
}

#[test]
fn the_first_account_is_made_on_the_machine_itself() {
    let live = start();
    let body = json!({ "name": "eve", "password": PASSWORD }).to_string();
    let set_up =
        |headers: &[(&str, &str)]| live.send("POST", "/app/setup", headers, body.as_bytes());
    for headers in [
        ("x-forwarded-for", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9"),
        ("host", "192.168.1.7:8080"),
        ("origin", "https://evil.example"),
        ("host", "evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        set_up(&[headers]).error(403);
    }
    // Where there are keys, whoever has none is not the operator.
    let key = live.key_of("default");
    assert_eq!(set_up(&[]).error(403)["code"], "permission_denied");
    set_up(&[("authorization", &live.key_of("shop"))]).error(403);
    let shown = set_up(&[("authorization", &key)]).good();
    let owner = &shown["user"]["id"];
    // The key is the account's from then on, and opens what it opened.
    let who = live.ask(&key, "GET", "/app/session", &Value::Null).good();
    assert_eq!(&who["user"]["id"], owner);
}

#[test]
fn each_login_has_a_token_of_its_own() {
    let live = start();
    let mut first = anna(&live);
    let token = first.token().to_owned();
    assert_eq!(token.len(), 43);
    // A token that somebody laid under is not taken over.
    let mut victim = Browser::new(&live);
    victim.cookie = format!("myriad-session={}", "a".repeat(43));
    victim.get("/v1/models").error(401);
    victim.log_in("ANNA", PASSWORD).good();
    assert_ne!(victim.token(), "a".repeat(43));
    // Whoever signs in again leaves no session behind.
    let mut old = Browser { live: &live, cookie: first.cookie.clone() };
    first.log_in("anna", PASSWORD).good();
    assert_ne!(first.token(), token);
    old.get("/v1/models").error(401);
    let reply = first.ask("DELETE", "/app/session", &Value::Null);
    assert_eq!(reply.good()["role"], Value::Null);
    assert!(reply.header("set-cookie").unwrap().contains("Max-Age=0"));
    let mut out = Browser { live: &live, cookie: format!("myriad-session={token}") };
    out.get("/v1/models").error(401);
    victim.get("/v1/models").good();
}

#[test]
fn wrong_names_and_wrong_passwords_are_told_alike() {
    let live = start();
    let mut anna = anna(&live);
    let mut errors = Vec::new();
    for (name, password) in
        [("anna", "wrong horse"), ("nobody", PASSWORD), ("", ""), ("anna", ""), ("a\0", PASSWORD)]
    {
        let error = Browser::new(&live).log_in(name, password).error(401);
        assert_eq!(error["code"], "invalid_credentials", "{name}");
        errors.push(error.to_string());
    }
    errors.dedup();
    assert_eq!(errors.len(), 1, "{errors:?}");
    // An account without a password, and one that is locked, look the same.
    let made = anna.post("/app/users", json!({ "name": "ben" })).good();
    assert_eq!(made["has_password"], false);
    Browser::new(&live).log_in("ben", "").error(401);
    let body = json!({ "name": "carl", "password": PASSWORD });
    let carl = anna.post("/app/users", body).good()["id"].clone();
    let path = format!("/app/users/{}", carl.as_str().unwrap());
    anna.post(&path, json!({ "state": "disabled" })).good();
    Browser::new(&live).log_in("carl", PASSWORD).error(401);
}

#[test]
fn unknown_names_take_as_long_as_known_ones() {
    let live = start();
    drop(anna(&live));
    let least = |name: &str| {
        let tries = (0..4).map(|_| {
            let since = Instant::now();
            Browser::new(&live).log_in(name, "wrong horse").error(401);
            since.elapsed()
        });
        tries.min().unwrap()
    };
    let (known, unknown) = (least("anna"), least("nobody"));
    assert!(unknown > known / 2, "{unknown:?} against {known:?}");
    assert!(known > Duration::from_millis(5), "a password is slow to guess: {known:?}");
}

#[test]
fn too_many_wrong_passwords_wait() {
    let live = start();
    let mut anna = anna(&live);
    for _ in 0..10 {
        Browser::new(&live).log_in("Anna", "wrong horse").error(401);
    }
    let reply = Browser::new(&live).log_in("anna", PASSWORD);
    assert_eq!(reply.error(429)["code"], "too_many_attempts", "the right one waits, too");
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((800..=900).contains(&wait), "{wait}");
    // Whoever is in stays in, and may not guess either.
    anna.get("/v1/models").good();
    let guess = json!({ "old_password": "guess", "new_password": PASSWORD });
    anna.post("/app/password", guess).error(429);
    // Others from the same address are counted by themselves, up to a bound.
    Browser::new(&live).log_in("ben", PASSWORD).error(401);
    let statuses =
        (0..30).map(|number| Browser::new(&live).log_in(&format!("name{number}"), PASSWORD).status);
    let statuses: Vec<u16> = statuses.collect();
    assert!(statuses.starts_with(&[401]) && statuses.ends_with(&[429]), "{statuses:?}");
}

#[test]
fn pages_of_others_do_nothing_with_a_session() {
    let config = ServerConfig {
        port: 0,
        allowed_origins: vec!["https://chat.example.com".into()],
        ..ServerConfig::default()
    };
    let live = Live::start(Setup { storage: Some(Keeps::Everything), config, ..Setup::default() });
    let mut anna = anna(&live);
    let kept = conversation(&mut anna);
    let body = json!({ "items": [] });
    for headers in [
        &[][..],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://localhost:3000")],
        &[("origin", "https://chat.example.com")],
        &[OWN, ("sec-fetch-site", "cross-site")],
        &[OWN, ("sec-fetch-site", "same-site")],
        &[OWN, ("sec-fetch-site", "none")],
    ] {
        for (method, path) in [
            ("POST", "/v1/conversations"),
            ("DELETE", kept.as_str()),
            ("POST", "/app/password"),
            ("POST", "/app/invitations"),
            ("DELETE", "/app/session"),
            ("POST", "/v1/chat/completions"),
        ] {
            let reply = anna.ask_with(headers, method, path, &body);
            reply.error(403);
            assert_eq!(reply.header("access-control-allow-credentials"), None);
        }
    }
    anna.get(&kept).good();
    // Nor does one sign a browser in to an account of its own.
    let login = json!({ "name": "anna", "password": PASSWORD });
    for header in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        Browser::new(&live).ask_with(&[header], "POST", "/app/session", &login).error(403);
    }
    // What the browser itself says is enough, whatever a proxy made of the host.
    let own = [("host", "inside:1"), ("sec-fetch-site", "same-origin")];
    anna.ask_with(&own, "POST", "/v1/conversations", &json!({})).good();
    // A key is no cookie: programs say no origin.
    let key = anna.post("/app/keys", json!({ "name": "program" })).good()["key"].clone();
    let key = format!("Bearer {}", key.as_str().unwrap());
    live.ask(&key, "POST", "/v1/conversations", &json!({})).good();
}

#[test]
fn everyone_reaches_only_what_is_theirs() {
    let live = start();
    let mut anna = anna(&live);
    let (mut ben, _) = invited(&mut anna, "ben", "user");
    let (hers, his) = (conversation(&mut anna), conversation(&mut ben));
    anna.get(&his).error(404);
    ben.get(&hers).error(404);
    ben.ask("DELETE", &hers, &Value::Null).error(404);
    let file = live.upload(&[("cookie", &ben.cookie), OWN], "user_data", b"his");
    let path = format!("/v1/files/{}", file["id"].as_str().unwrap());
    anna.get(&path).error(404);
    assert_eq!(anna.get("/v1/files").good()["data"], json!([]));
    assert_eq!(ben.get("/v1/files").good()["data"][0]["id"], file["id"]);
    // His key is he.
    let made = ben.post("/app/keys", json!({ "name": "laptop", "days": 7 })).good();
    let key = format!("Bearer {}", made["key"].as_str().unwrap());
    live.ask(&key, "GET", &his, &Value::Null).good();
    live.ask(&key, "GET", &hers, &Value::Null).error(404);
    for (method, path) in [
        ("GET", "/app/users"),
        ("POST", "/app/users"),
        ("POST", "/app/users/user_x"),
        ("DELETE", "/app/users/user_x"),
        ("GET", "/app/invitations"),
        ("POST", "/app/invitations"),
        ("DELETE", "/app/invitations/invite_x"),
        ("GET", "/app/keys?all=true"),
    ] {
        let error = ben.ask(method, path, &json!({})).error(403);
        assert_eq!(error["code"], "permission_denied", "{method} {path}");
        live.ask(&key, method, path, &json!({})).error(403);
    }
}

#[test]
fn whoever_is_locked_out_is_out_at_once() {
    let live = start();
    let mut anna = anna(&live);
    let (mut ben, id) = invited(&mut anna, "ben", "admin");
    let key = ben.post("/app/keys", json!({ "name": "laptop" })).good()["key"].clone();
    let key = format!("Bearer {}", key.as_str().unwrap());
    let link = ben.post("/app/invitations", json!({})).good()["token"].clone();
    ben.get("/app/users").good();
    live.ask(&key, "GET", "/v1/models", &Value::Null).good();
    let path = format!("/app/users/{id}");
    anna.post(&path, json!({ "role": "user" })).good();
    ben.get("/app/users").error(403);
    live.ask(&key, "GET", "/app/users", &Value::Null).error(403);
    anna.post(&path, json!({ "state": "disabled" })).good();
    ben.get("/v1/models").error(401);
    live.ask(&key, "GET", "/v1/models", &Value::Null).error(401);
    Browser::new(&live).log_in("ben", PASSWORD).error(401);
    let body = json!({ "token": link, "name": "mole", "password": PASSWORD });
    let error = Browser::new(&live).post("/app/invitations/accept", body).error(400);
    assert_eq!(error["code"], "invitation_over", "whom he invited does not come in");
    anna.post(&path, json!({ "state": "active" })).good();
    ben.get("/v1/models").error(401);
    live.ask(&key, "GET", "/v1/models", &Value::Null).good();
    ben.log_in("ben", PASSWORD).good();
}

#[test]
fn a_deleted_account_leaves_nothing() {
    let live = start();
    let mut anna = anna(&live);
    let (mut ben, id) = invited(&mut anna, "ben", "user");
    let his = conversation(&mut ben);
    live.upload(&[("cookie", &ben.cookie), OWN], "user_data", b"his alone");
    let key = ben.post("/app/keys", json!({ "name": "laptop" })).good()["key"].clone();
    let key = format!("Bearer {}", key.as_str().unwrap());
    live.ask(&key, "GET", &his, &Value::Null).good();
    assert_eq!(live.contents(), 1);
    let path = format!("/app/users/{id}");
    assert_eq!(anna.ask("DELETE", &path, &Value::Null).good()["deleted"], true);
    anna.ask("DELETE", &path, &Value::Null).error(404);
    ben.get(&his).error(401);
    live.ask(&key, "GET", &his, &Value::Null).error(401);
    assert_eq!(live.contents(), 0, "its files go with it");
    let (mut again, _) = invited(&mut anna, "ben", "user");
    again.get(&his).error(404);
}

#[test]
fn there_is_always_an_administrator() {
    let live = start();
    let mut anna = anna(&live);
    let id = anna.get("/app/session").good()["user"]["id"].as_str().unwrap().to_owned();
    let path = format!("/app/users/{id}");
    for change in [json!({ "role": "user" }), json!({ "state": "disabled" })] {
        assert_eq!(anna.post(&path, change).error(409)["code"], "last_admin");
    }
    assert_eq!(anna.ask("DELETE", &path, &Value::Null).error(409)["code"], "last_admin");
    let reset = json!({ "reset_password": true });
    assert_eq!(anna.post(&path, reset).error(400)["param"], "reset_password");
    invited(&mut anna, "ben", "admin");
    anna.post(&path, json!({ "role": "user" })).good();
    anna.get("/app/users").error(403);
}

#[test]
fn an_invitation_makes_one_account_of_its_role() {
    let live = start();
    let mut anna = anna(&live);
    let made = anna.post("/app/invitations", json!({ "role": "admin" })).good();
    let listed = anna.get("/app/invitations").good()["data"][0].clone();
    assert_eq!((&listed["id"], listed.get("token")), (&made["id"], None), "shown once");
    let accept = |token: &Value, name: &str| {
        let body = json!({ "token": token, "name": name, "password": PASSWORD });
        Browser::new(&live).post("/app/invitations/accept", body)
    };
    assert_eq!(accept(&json!("wrong"), "ben").error(400)["code"], "invitation_over");
    assert_eq!(accept(&made["token"], "ANNA").error(409)["code"], "name_taken");
    let shown = accept(&made["token"], "Ben").good();
    assert_eq!((&shown["user"]["name"], &shown["role"]), (&json!("ben"), &json!("admin")));
    assert_eq!(shown["user"]["display_name"], "Ben");
    assert_eq!(accept(&made["token"], "carl").error(400)["code"], "invitation_over");
    let (id, token) = {
        let made = anna.post("/app/invitations", json!({})).good();
        (made["id"].as_str().unwrap().to_owned(), made["token"].clone())
    };
    let path = format!("/app/invitations/{id}");
    anna.ask("DELETE", &path, &Value::Null).good();
    anna.ask("DELETE", &path, &Value::Null).error(404);
    assert_eq!(accept(&token, "dora").error(400)["code"], "invitation_over");
}

#[test]
fn a_reset_ends_the_old_password_and_a_link_sets_a_new_one() {
    let live = start();
    let mut anna = anna(&live);
    let (mut ben, id) = invited(&mut anna, "ben", "user");
    let changed = anna.post(&format!("/app/users/{id}"), json!({ "reset_password": true })).good();
    assert_eq!(changed["has_password"], false);
    ben.get("/v1/models").error(401);
    ben.log_in("ben", PASSWORD).error(401);
    let renew = |password: &str| {
        let body = json!({ "token": changed["token"], "password": password });
        Browser::new(&live).post("/app/invitations/accept", body)
    };
    assert_eq!(renew("short").error(400)["param"], "password");
    assert_eq!(renew("another horse").good()["user"]["id"], id.as_str());
    renew("a third horse").error(400);
    ben.log_in("ben", "another horse").good();
}

#[test]
fn a_new_password_ends_all_other_sessions() {
    let live = start();
    let mut here = anna(&live);
    let mut there = Browser::new(&live);
    there.log_in("anna", PASSWORD).good();
    let change = |old: &str, new: &str| json!({ "old_password": old, "new_password": new });
    let wrong = here.post("/app/password", change("wrong horse", "another horse"));
    assert_eq!(wrong.error(400)["param"], "old_password");
    let short = here.post("/app/password", change(PASSWORD, "short"));
    assert_eq!(short.error(400)["param"], "new_password");
    there.get("/v1/models").good();
    let token = here.token().to_owned();
    here.post("/app/password", change(PASSWORD, "another horse")).good();
    assert_ne!(here.token(), token, "a new token, too");
    here.get("/v1/models").good();
    there.get("/v1/models").error(401);
    there.log_in("anna", PASSWORD).error(401);
    there.log_in("anna", "another horse").good();
}

#[test]
fn keys_are_shown_once_and_revoked_by_their_owner_or_an_administrator() {
    let live = start();
    let mut anna = anna(&live);
    let (mut ben, _) = invited(&mut anna, "ben", "user");
    let hers = anna.post("/app/keys", json!({ "name": "hers" })).good();
    let his = ben.post("/app/keys", json!({ "name": "his", "days": 7 })).good();
    assert_eq!(
        his["expires_at"].as_i64().unwrap() - his["created_at"].as_i64().unwrap(),
        7 * 24 * 3600
    );
    let listed = ben.get("/app/keys").good()["data"].clone();
    assert_eq!((listed.as_array().unwrap().len(), listed[0].get("key")), (1, None));
    let all = anna.get("/app/keys?all=true").good();
    assert_eq!(all["data"].as_array().unwrap().len(), 2);
    let path = |made: &Value| format!("/app/keys/{}", made["id"].as_str().unwrap());
    ben.ask("DELETE", &path(&hers), &Value::Null).error(404);
    anna.ask("DELETE", &path(&his), &Value::Null).good();
    anna.ask("DELETE", &path(&his), &Value::Null).error(404);
    let key = |made: &Value| format!("Bearer {}", made["key"].as_str().unwrap());
    live.ask(&key(&his), "GET", "/v1/models", &Value::Null).error(401);
    live.ask(&key(&hers), "GET", "/v1/models", &Value::Null).good();
}

#[test]
fn cookies_are_secure_behind_a_proxy_that_is_trusted() {
    let config = ServerConfig { port: 0, trust_proxy: true, ..ServerConfig::default() };
    let live = Live::start(Setup { storage: Some(Keeps::Keys), config, ..Setup::default() });
    let mut direct = anna(&live);
    assert!(direct.cookie.starts_with("myriad-session="));
    let login = json!({ "name": "anna", "password": PASSWORD });
    let proxied = [("x-forwarded-proto", "https"), ("host", "chat.example.com")];
    let own = [&proxied[..], &[("origin", "https://chat.example.com")]].concat();
    let mut browser = Browser::new(&live);
    let set = browser.ask_with(&own, "POST", "/app/session", &login);
    let cookie = set.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("__Host-myriad-session=") && cookie.contains("; Secure"),
        "{cookie}"
    );
    for part in ["; HttpOnly", "; SameSite=Lax", "; Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    browser.ask_with(&own, "GET", "/v1/models", &Value::Null).good();
    browser.get("/v1/models").error(401);
    // Tries are counted for the client that the proxy names.
    for number in 0..30 {
        let (name, from) = (format!("name{number}"), ("x-forwarded-for", "1.2.3.4, 203.0.113.9"));
        let body = json!({ "name": name, "password": PASSWORD });
        let headers = [&own[..], &[from]].concat();
        Browser::new(&live).ask_with(&headers, "POST", "/app/session", &body).error(401);
    }
    let headers = [&own[..], &[("x-forwarded-for", "203.0.113.9")]].concat();
    Browser::new(&live).ask_with(&headers, "POST", "/app/session", &login).error(429);
    direct.log_in("anna", PASSWORD).good();
}

#[test]
fn a_proxy_that_is_not_trusted_says_nothing() {
    let live = start();
    drop(anna(&live));
    let login = json!({ "name": "anna", "password": PASSWORD });
    let headers = [OWN, ("x-forwarded-proto", "https"), ("x-forwarded-for", "203.0.113.9")];
    let set = Browser::new(&live).ask_with(&headers, "POST", "/app/session", &login);
    assert!(set.header("set-cookie").unwrap().starts_with("myriad-session="));
}

#[test]
fn what_is_wrong_is_named_and_passwords_are_not_repeated() {
    let live = start();
    let set_up = |body: Value| Browser::new(&live).post("/app/setup", body);
    for (body, param) in [
        (json!({ "password": PASSWORD }), "name"),
        (json!({ "name": "anna" }), "password"),
        (json!({ "name": "two words", "password": PASSWORD }), "name"),
        (json!({ "name": "x".repeat(65), "password": PASSWORD }), "name"),
        (json!({ "name": "anna", "password": "secret7" }), "password"),
        (json!({ "name": "anna", "password": "s".repeat(257) }), "password"),
        (json!({ "name": "anna", "password": 12345678 }), "password"),
        (json!({ "name": "anna", "password": PASSWORD, "display_name": "a\nb" }), "display_name"),
        (json!({ "name": "anna", "password": PASSWORD, "role": "admin" }), "role"),
    ] {
        let error = set_up(body).error(400);
        assert_eq!(error["param"], param);
        let message = error["message"].as_str().unwrap();
        assert!(!message.contains("secret7") && !message.contains("ssss"), "{message}");
    }
    let mut anna = anna(&live);
    for (body, param) in [
        (json!({ "role": "owner" }), "role"),
        (json!({ "state": "gone" }), "state"),
        (json!({ "name": "other" }), "name"),
    ] {
        assert_eq!(anna.post("/app/users/user_x", body).error(400)["param"], param);
    }
    anna.post("/app/users/user_x", json!({})).error(404);
    assert_eq!(anna.post("/app/users", json!({ "name": "ANNA" })).error(409)["code"], "name_taken");
    assert_eq!(
        anna.post("/app/keys", json!({ "name": "a", "days": 0 })).error(400)["param"],
        "days"
    );
    assert_eq!(anna.post("/app/keys", json!({})).error(400)["param"], "name");
}
