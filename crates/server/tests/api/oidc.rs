//! Turns an issuer that behaves well or badly into people who come in, and others who do not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use myriad_server::ServerConfig;
use myriad_server::oidc::{Oidc, OidcConfig, Secret};
use myriad_server::outbound::Patience;
use serde_json::{Value, json};

use crate::harness::{Keeps, Live, Reply, Setup};
use crate::issuer::{CLIENT, Issuer, Mood, Person, SECRET, Signing, pairs, person};

const PASSWORD: &str = "correct horse";

/// A server that asks this issuer.
fn serve(issuer: &Issuer, change: impl Fn(&mut OidcConfig)) -> Live {
    let mut config = OidcConfig::new(&issuer.address(), CLIENT, "http://localhost:8080").unwrap();
    config.client_secret = Some(Secret::parse(SECRET).unwrap());
    let (first_byte, idle) = (Duration::from_millis(700), Duration::from_millis(700));
    config.patience = Patience { first_byte, idle };
    change(&mut config);
    let oidc = Some(Arc::new(Oidc::new(config)));
    let config = ServerConfig { port: 0, oidc, ..ServerConfig::default() };
    Live::start(Setup { storage: Some(Keeps::Everything), config, ..Setup::default() })
}

/// The same, with Anna's account, an administrator with a password.
fn with_anna(issuer: &Issuer, change: impl Fn(&mut OidcConfig)) -> Live {
    let live = serve(issuer, change);
    live.post("/app/setup", &json!({ "name": "anna", "password": PASSWORD })).good();
    live
}

/// A browser of one person, with the cookies that it was given.
struct Browser<'a> {
    live: &'a Live,
    jar: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    fn new(live: &'a Live) -> Browser<'a> {
        Browser { live, jar: BTreeMap::new() }
    }

    fn of_anna(live: &'a Live) -> Browser<'a> {
        let mut browser = Browser::new(live);
        browser.post("/app/session", json!({ "name": "anna", "password": PASSWORD })).good();
        browser
    }

    fn send(&mut self, headers: &[(&str, &str)], method: &str, path: &str, body: &str) -> Reply {
        let cookies: Vec<String> =
            self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookie = cookies.join("; ");
        let headers = [headers, &[("cookie", cookie.as_str())]].concat();
        let reply = self.live.send(method, path, &headers, body.as_bytes());
        for (_, set) in reply.headers.iter().filter(|(name, _)| name == "set-cookie") {
            assert!(set.contains("; HttpOnly; SameSite=Lax"), "{set}");
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => self.jar.remove(name),
                value => self.jar.insert(name.to_owned(), value.to_owned()),
            };
        }
        reply
    }

    fn post(&mut self, path: &str, body: Value) -> Reply {
        self.send(&[("origin", "http://localhost")], "POST", path, &body.to_string())
    }

    fn get(&mut self, path: &str) -> Reply {
        self.send(&[], "GET", path, "")
    }

    fn who(&mut self) -> Value {
        self.get("/app/session").good()["user"].clone()
    }

    /// Where it is sent.
    fn set_out(&mut self, body: Value) -> String {
        self.post("/app/oidc", body).good()["url"].as_str().unwrap().to_owned()
    }

    /// Where it goes on after it came back.
    fn come_back(&mut self, path: &str) -> String {
        // As a browser says it: the way leads over another site.
        let reply = self.send(&[("sec-fetch-site", "cross-site")], "GET", path, "");
        assert_eq!((reply.status, reply.text()), (303, ""));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert!(!self.jar.contains_key("myriad-journey"), "a journey ends once");
        reply.header("location").unwrap().to_owned()
    }

    /// There and back.
    fn travel(&mut self, issuer: &Issuer, person: &Person, body: Value) -> String {
        let url = self.set_out(body);
        self.come_back(&issuer.authorize(&url, person))
    }

    fn sign_in(&mut self, issuer: &Issuer, person: &Person) -> String {
        self.travel(issuer, person, json!({}))
    }
}

#[test]
fn whoever_the_issuer_knows_comes_in() {
    let issuer = Issuer::start();
    let live = with_anna(&issuer, |config| config.signup = true);
    let ben = person("ben's", "Ben");
    let mut browser = Browser::new(&live);
    let shown = browser.get("/app/session").good();
    assert_eq!(shown["methods"], json!(["password", "oidc"]));
    assert_eq!(shown["oidc"], json!({ "name": "127.0.0.1", "signup": true }));
    assert_eq!(browser.sign_in(&issuer, &ben), "/");
    let who = browser.who();
    assert_eq!((&who["name"], &who["display_name"]), (&json!("ben"), &json!("Someone")));
    assert_eq!((&who["has_password"], &who["has_identity"]), (&json!(false), &json!(true)));
    assert_eq!(who["role"], "user");
    browser.get("/v1/models").good();
    // The account is found again by issuer and subject, whatever its name is by now.
    let mut other = Browser::new(&live);
    assert_eq!(other.sign_in(&issuer, &person("ben's", "benjamin")), "/");
    assert_eq!(other.who()["id"], who["id"]);
    // Another one of the same name, and one who calls himself as Anna does, are others.
    for (sub, name, right) in [("2", "ben", "ben-2"), ("3", "Anna", "anna-2"), ("4", "", "someone")]
    {
        let mut stranger = Browser::new(&live);
        assert_eq!(stranger.sign_in(&issuer, &person(sub, name)), "/");
        assert_eq!(stranger.who()["name"], right);
    }
    assert_eq!(issuer.asked("/openid-configuration"), 1, "it is asked once an hour");
    assert_eq!(issuer.asked("/jwks"), 1);
}

#[test]
fn every_way_to_sign_and_to_show_oneself_is_known() {
    let issuer = Issuer::start();
    let post = json!(["client_secret_post"]);
    for (methods, public) in [(json!(null), false), (post, false), (json!(null), true)] {
        issuer.clients(methods, public);
        let live = with_anna(&issuer, |config| {
            config.signup = true;
            if public {
                config.client_secret = None;
            }
        });
        for signing in [Signing::Es256, Signing::Rs256, Signing::EdDsa] {
            issuer.sign(signing);
            let mut browser = Browser::new(&live);
            assert_eq!(browser.sign_in(&issuer, &person("1", "ben")), "/", "{signing:?}");
        }
    }
}

#[test]
fn what_is_not_the_issuers_word_lets_nobody_in() {
    let issuer = Issuer::start();
    let live = with_anna(&issuer, |config| config.signup = true);
    let ben = person("1", "ben");
    let refused = |signing: Signing, twist: fn(&mut Value)| {
        issuer.sign(signing);
        issuer.twist(twist);
        let mut browser = Browser::new(&live);
        let place = browser.sign_in(&issuer, &ben);
        assert!(browser.jar.is_empty(), "{:?}", browser.jar);
        assert_eq!(place, "/#/arrived/token", "{signing:?}");
    };
    for signing in [Signing::Forged, Signing::Unknown, Signing::None, Signing::Hmac] {
        refused(signing, |_| ());
    }
    let wrong: &[fn(&mut Value)] = &[
        |claims| claims["nonce"] = json!("another"),
        |claims| drop(claims.as_object_mut().unwrap().remove("nonce")),
        |claims| claims["aud"] = json!("another"),
        |claims| claims["aud"] = json!([CLIENT, "another"]),
        |claims| claims["azp"] = json!("another"),
        |claims| claims["iss"] = json!("http://127.0.0.1/"),
        |claims| claims["exp"] = json!(1_000_000_000),
        |claims| claims["iat"] = json!(1_000_000_000),
        |claims| claims["iat"] = json!(4_000_000_000u64),
        |claims| claims["sub"] = json!(""),
        |claims| claims["sub"] = json!(7),
        |claims| *claims = json!([]),
    ];
    for twist in wrong {
        refused(Signing::Es256, *twist);
    }
    issuer.twist(|_| ());
    assert_eq!(Browser::new(&live).sign_in(&issuer, &ben), "/", "it was not the person");
    let users = Browser::of_anna(&live).get("/app/users").good();
    assert_eq!(users["data"].as_array().unwrap().len(), 2);
}

#[test]
fn a_journey_ends_where_it_began_and_once() {
    let issuer = Issuer::start();
    let live = with_anna(&issuer, |config| config.signup = true);
    let (ben, eve) = (person("1", "ben"), person("2", "eve"));
    let lost = "/#/arrived/journey";
    // Without a cookie: a link that somebody else made.
    let mut eves = Browser::new(&live);
    let url = eves.set_out(json!({}));
    let eves_code = issuer.authorize(&url, &eve);
    assert_eq!(Browser::new(&live).come_back(&eves_code), lost);
    // With one of another journey.
    let mut bens = Browser::new(&live);
    bens.set_out(json!({}));
    assert_eq!(bens.come_back(&eves_code), lost);
    // With the state of one's own journey and the code of another.
    let url = bens.set_out(json!({}));
    let own = issuer.authorize(&url, &ben);
    let code = &pairs(eves_code.split_once('?').unwrap().1)["code"];
    let own_code = &pairs(own.split_once('?').unwrap().1)["code"];
    assert_eq!(bens.come_back(&own.replace(own_code, code)), "/#/arrived/issuer", "PKCE");
    // Once: whoever kept the cookie comes back to an issuer that has given the code away.
    let url = bens.set_out(json!({}));
    let own = issuer.authorize(&url, &ben);
    let kept = bens.jar.clone();
    assert_eq!(bens.come_back(&own), "/");
    assert_eq!(bens.come_back(&own), lost);
    let mut thief = Browser { live: &live, jar: kept };
    thief.jar.remove("myriad-session");
    assert_eq!(thief.come_back(&own), "/#/arrived/issuer");
    assert_eq!(thief.who(), Value::Null);
    // What else an issuer, or whoever plays one, may say.
    let back = |query: &str| {
        let mut browser = Browser::new(&live);
        let state = pairs(browser.set_out(json!({})).split_once('?').unwrap().1)["state"].clone();
        browser.come_back(&format!("/app/oidc/callback?{}", query.replace("STATE", &state)))
    };
    for (query, right) in [
        ("state=STATE&error=access_denied&error_description=%0a", "denied"),
        ("state=STATE&error=server_error", "issuer"),
        ("state=STATE&code=x&iss=https://evil.example", "token"),
        ("state=STATE&code=x", "issuer"),
        ("state=STATE", "journey"),
        ("state=STATE&state=other&code=x", "journey"),
        ("code=x", "journey"),
        ("", "journey"),
    ] {
        assert_eq!(back(query), format!("/#/arrived/{right}"), "{query}");
    }
    let long = "x".repeat(10_000);
    assert_eq!(back(&format!("state=STATE&code={long}")), lost);
    // A page of somebody else's begins nothing.
    let foreign = [("origin", "https://evil.example")];
    Browser::new(&live).send(&foreign, "POST", "/app/oidc", "{}").error(403);
}

#[test]
fn keys_may_change_and_guesses_cost_the_issuer_little() {
    let issuer = Issuer::start();
    let live = with_anna(&issuer, |config| config.signup = true);
    let ben = person("1", "ben");
    let sign_in = || Browser::new(&live).sign_in(&issuer, &ben);
    assert_eq!(sign_in(), "/");
    issuer.rotate();
    assert_eq!(sign_in(), "/");
    assert_eq!(issuer.asked("/jwks"), 2);
    issuer.sign(Signing::Unknown);
    for _ in 0..3 {
        assert_eq!(sign_in(), "/#/arrived/token");
    }
    assert_eq!(issuer.asked("/jwks"), 2, "not again within a minute");
    issuer.sign(Signing::Es256);
    assert_eq!(sign_in(), "/");
}

#[test]
fn an_issuer_that_fails_is_told_apart_and_waited_for_briefly() {
    let issuer = Issuer::start();
    let moods = [Mood::Away, Mood::Silent, Mood::Huge, Mood::Garbage, Mood::Redirect, Mood::Broken];
    for mood in moods {
        // Nothing is known of it yet, and what fails is not kept.
        let live = with_anna(&issuer, |config| config.signup = true);
        issuer.mood(mood);
        let since = Instant::now();
        let error = Browser::new(&live).post("/app/oidc", json!({})).error(502);
        assert_eq!(error["code"], "issuer_unavailable", "{mood:?}");
        issuer.mood(Mood::Well);
        let mut browser = Browser::new(&live);
        let url = browser.set_out(json!({}));
        let back = issuer.authorize(&url, &person("1", "ben"));
        issuer.mood(mood);
        assert_eq!(browser.come_back(&back), "/#/arrived/issuer", "{mood:?}");
        assert!(since.elapsed() < Duration::from_secs(5), "{mood:?}");
        issuer.mood(Mood::Well);
        assert_eq!(browser.sign_in(&issuer, &person("1", "ben")), "/");
        Browser::of_anna(&live).get("/v1/models").good();
    }
}

#[test]
fn without_signup_it_takes_an_invitation() {
    let issuer = Issuer::start();
    let live = with_anna(&issuer, |_| ());
    let (ben, eve) = (person("1", "ben"), person("2", "eve"));
    assert_eq!(Browser::new(&live).sign_in(&issuer, &ben), "/#/arrived/no_account");
    let mut anna = Browser::of_anna(&live);
    let made = anna.post("/app/invitations", json!({ "role": "admin" })).good();
    let invited = json!({ "invitation": made["token"] });
    let mut bens = Browser::new(&live);
    // Two who have the same link set out together: one of them is in time.
    let mut eves = Browser::new(&live);
    let url = eves.set_out(invited.clone());
    assert_eq!(bens.travel(&issuer, &ben, invited.clone()), "/");
    assert_eq!((&bens.who()["name"], &bens.who()["role"]), (&json!("ben"), &json!("admin")));
    assert_eq!(eves.come_back(&issuer.authorize(&url, &eve)), "/#/arrived/invitation");
    let used = Browser::new(&live).post("/app/oidc", invited).error(400);
    assert_eq!(used["code"], "invitation_over");
    for odd in ["nobody's", "a b", "", "; Path=/"] {
        Browser::new(&live).post("/app/oidc", json!({ "invitation": odd })).error(400);
    }
    // A link that sets a password makes no account.
    let (id, name) = (bens.who()["id"].clone(), json!({ "reset_password": true }));
    let reset = anna.post(&format!("/app/users/{}", id.as_str().unwrap()), name).good();
    let body = json!({ "invitation": reset["token"] });
    Browser::new(&live).post("/app/oidc", body).error(400);
    // Who has an account needs no invitation any more.
    assert_eq!(Browser::new(&live).sign_in(&issuer, &ben), "/");
    // A locked one opens nothing.
    let path = format!("/app/users/{}", id.as_str().unwrap());
    anna.post(&path, json!({ "state": "disabled" })).good();
    assert_eq!(Browser::new(&live).sign_in(&issuer, &ben), "/#/arrived/disabled");
}

#[test]
fn an_account_gets_a_second_door_and_may_close_it() {
    let issuer = Issuer::start();
    let live = with_anna(&issuer, |config| config.signup = true);
    let (mine, eve) = (person("1", "anna.b"), person("2", "eve"));
    assert_eq!(Browser::new(&live).sign_in(&issuer, &eve), "/");
    let mut anna = Browser::of_anna(&live);
    let id = anna.who()["id"].clone();
    let link = json!({ "link": true });
    assert_eq!(anna.travel(&issuer, &eve, link.clone()), "/#/arrived/taken");
    assert_eq!(anna.travel(&issuer, &mine, link.clone()), "/#/arrived/linked");
    assert_eq!(anna.who()["has_identity"], true);
    assert_eq!(anna.travel(&issuer, &mine, link.clone()), "/#/arrived/linked", "as before");
    assert_eq!(anna.travel(&issuer, &person("3", "x"), link.clone()), "/#/arrived/taken");
    let mut other = Browser::new(&live);
    assert_eq!(other.sign_in(&issuer, &mine), "/");
    assert_eq!(other.who()["id"], id);
    // Only with the session that set out.
    let url = anna.set_out(link.clone());
    let back = issuer.authorize(&url, &person("4", "y"));
    let mut signed_out = Browser { live: &live, jar: anna.jar.clone() };
    signed_out.jar.remove("myriad-session");
    assert_eq!(signed_out.come_back(&back), "/#/arrived/journey");
    Browser::new(&live).post("/app/oidc", link).error(403);
    let own = [("origin", "http://localhost")];
    anna.send(&own, "DELETE", "/app/oidc/link", "").good();
    assert_eq!(anna.who()["has_identity"], false);
    assert_eq!(anna.send(&own, "DELETE", "/app/oidc/link", "").error(409)["code"], "not_unlinked");
    assert_eq!(other.sign_in(&issuer, &mine), "/", "as somebody new");
    assert_ne!(other.who()["id"], id);
    // Whoever has no password keeps the only door.
    other.send(&own, "DELETE", "/app/oidc/link", "").error(409);
}

#[test]
fn the_first_account_is_made_on_the_machine_itself() {
    let issuer = Issuer::start();
    let live = serve(&issuer, |config| config.only = true);
    let kept = live.post("/v1/conversations", &json!({})).good();
    let ben = person("1", "ben");
    let mut far = Browser::new(&live);
    let url = far.set_out(json!({}));
    let back = issuer.authorize(&url, &ben);
    let reply = far.send(&[("x-forwarded-for", "203.0.113.9")], "GET", &back, "");
    assert_eq!(reply.header("location"), Some("/#/arrived/first"));
    let set_up = json!({ "name": "anna", "password": PASSWORD });
    live.post("/app/setup", &set_up).error(403);
    let mut here = Browser::new(&live);
    assert_eq!(here.get("/app/session").good()["methods"], json!(["oidc"]));
    assert_eq!(here.sign_in(&issuer, &ben), "/");
    assert_eq!(here.who()["role"], "admin");
    here.get(&format!("/v1/conversations/{}", kept["id"].as_str().unwrap())).good();
    // With --oidc-only passwords open nothing.
    live.get("/v1/models").error(401);
    let log_in = json!({ "name": "ben", "password": PASSWORD });
    let error = Browser::new(&live).post("/app/session", log_in).error(403);
    assert!(error["message"].as_str().unwrap().contains("127.0.0.1"), "{error}");
    let made = here.post("/app/invitations", json!({})).good();
    let body = json!({ "token": made["token"], "name": "eve", "password": PASSWORD });
    Browser::new(&live).post("/app/invitations/accept", body).error(403);
    assert_eq!(Browser::new(&live).sign_in(&issuer, &person("2", "eve")), "/#/arrived/no_account");
}

#[test]
fn without_an_issuer_there_is_no_such_door() {
    let live = Live::start(Setup { storage: Some(Keeps::Everything), ..Setup::default() });
    assert_eq!(live.get("/app/session").good()["oidc"], Value::Null);
    live.post("/app/oidc", &json!({})).error(400);
    live.get("/app/oidc/callback?code=x&state=y").error(400);
}
