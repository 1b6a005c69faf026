//! Turns a listening socket into an issuer of OpenID Connect, which behaves well or as it is told.
//!
//! Tokens are signed here by `ring`'s signers; that what verifies them is right beyond this pair is
//! shown by the standards' own tokens (`oidc/fixtures.json`).

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`, as PKCS #8. For tests alone.
const RSA: &[u8] = include_bytes!("issuer.pk8");

/// What this server is called at the issuer.
pub const CLIENT: &str = "my riad";

/// Its secret there.
pub const SECRET: &str = "s3cret:&word";

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Signing {
    Es256,
    Rs256,
    EdDsa,
    /// By a key that the issuer does not show, under the name of one that it does.
    Forged,
    /// By a key that nobody has heard of.
    Unknown,
    /// `alg: none`
    None,
    /// HMAC under the public key, which everyone can read.
    Hmac,
}

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mood {
    Well,
    /// Ends connections.
    Away,
    /// Takes requests, and says nothing.
    Silent,
    /// Answers with megabytes.
    Huge,
    /// Answers with a page.
    Garbage,
    /// Sends elsewhere.
    Redirect,
    /// Fails.
    Broken,
}

/// Someone who signs in there.
#[derive(Clone)]
pub struct Person {
    pub claims: Value,
}

/// A code that was given out, and what it was asked with.
struct Grant {
    query: BTreeMap<String, String>,
    claims: Value,
}

struct State {
    mood: Mood,
    signing: Signing,
    /// Changes what the next tokens say.
    twist: fn(&mut Value),
    /// Which of its key pairs it signs with, and shows.
    generation: usize,
    grants: HashMap<String, Grant>,
    methods: Value,
    public: bool,
    /// Paths that were asked for.
    asked: Vec<String>,
}

pub struct Issuer {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Issuer {
    pub fn start() -> Issuer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = State {
            mood: Mood::Well,
            signing: Signing::Es256,
            twist: |_| (),
            generation: 0,
            grants: HashMap::new(),
            methods: json!(null),
            public: false,
            asked: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || answer(stream, port, &shared));
            }
        });
        Issuer { port, state }
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/realms/main", self.port)
    }

    pub fn mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    pub fn sign(&self, signing: Signing) {
        self.state.lock().unwrap().signing = signing;
    }

    pub fn twist(&self, twist: fn(&mut Value)) {
        self.state.lock().unwrap().twist = twist;
    }

    /// Signs by another key from now on, and forgets the one before.
    pub fn rotate(&self) {
        self.state.lock().unwrap().generation += 1;
    }

    /// How it wants its client to show itself: as in its document, or not at all.
    pub fn clients(&self, methods: Value, public: bool) {
        let mut state = self.state.lock().unwrap();
        (state.methods, state.public) = (methods, public);
    }

    /// How often something was asked for.
    pub fn asked(&self, end: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|path| path.ends_with(end)).count()
    }

    /// What a browser that was sent there brings back, once the person has signed in there.
    pub fn authorize(&self, url: &str, person: &Person) -> String {
        let (address, query) = url.split_once('?').expect("a query");
        assert_eq!(address, format!("http://127.0.0.1:{}/authorize", self.port));
        let query = pairs(query);
        for (name, right) in [
            ("response_type", "code"),
            ("client_id", CLIENT),
            ("code_challenge_method", "S256"),
            ("redirect_uri", "http://localhost:8080/app/oidc/callback"),
        ] {
            assert_eq!(query[name], right, "{url}");
        }
        assert!(query["scope"].split(' ').any(|scope| scope == "openid"));
        let mut state = self.state.lock().unwrap();
        let code = format!("code-{}", state.grants.len());
        let back = format!("/app/oidc/callback?code={code}&state={}&hd=x", query["state"]);
        state.grants.insert(code, Grant { query, claims: person.claims.clone() });
        back
    }
}

pub fn person(sub: &str, name: &str) -> Person {
    Person { claims: json!({ "sub": sub, "preferred_username": name, "name": "Someone" }) }
}

/// A query, or a form, read.
pub fn pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), unescaped(value))).collect()
}

fn unescaped(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = std::str::from_utf8(&rest[..2]).expect("digits");
                bytes.push(u8::from_str_radix(digits, 16).expect("digits"));
                rest = &rest[2..];
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).expect("a text")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

/// Key pairs by number, the same for the whole run.
fn pair(number: usize) -> EcdsaKeyPair {
    static ALL: Mutex<BTreeMap<usize, Vec<u8>>> = Mutex::new(BTreeMap::new());
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let mut all = ALL.lock().unwrap();
    let bytes = all.entry(number).or_insert_with(|| {
        EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key").as_ref().to_vec()
    });
    EcdsaKeyPair::from_pkcs8(algorithm, bytes, &random).expect("a key")
}

fn edwards() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key")
}

fn rsa() -> RsaKeyPair {
    RsaKeyPair::from_pkcs8(RSA).expect("a key")
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn keys(generation: usize) -> Value {
    let pair = pair(generation);
    let point = pair.public_key().as_ref();
    let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(rsa().public());
    json!({ "keys": [
        { "kty": "RSA", "kid": "old-rsa", "use": "enc", "n": base64(&n), "e": base64(&e) },
        { "kty": "EC", "crv": "P-256", "kid": format!("ec-{generation}"), "alg": "ES256",
          "x": base64(&point[1..33]), "y": base64(&point[33..]) },
        { "kty": "RSA", "kid": "rsa", "use": "sig", "n": base64(n), "e": base64(e) },
        { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": base64(edwards().public_key()) },
    ] })
}

fn token(state: &State, claims: &Value) -> String {
    let current = format!("ec-{}", state.generation);
    let (alg, kid) = match state.signing {
        Signing::Es256 | Signing::Forged => ("ES256", current.as_str()),
        Signing::Unknown => ("ES256", "nobody's"),
        Signing::Rs256 => ("RS256", "rsa"),
        Signing::EdDsa => ("EdDSA", "ed"),
        Signing::None => ("none", current.as_str()),
        Signing::Hmac => ("HS256", "rsa"),
    };
    let header = json!({ "alg": alg, "kid": kid, "typ": "JWT" }).to_string();
    let signed = format!("{}.{}", base64(header), base64(claims.to_string()));
    let random = SystemRandom::new();
    let text = signed.as_bytes();
    let signature = match state.signing {
        Signing::Es256 => {
            pair(state.generation).sign(&random, text).expect("one").as_ref().to_vec()
        }
        Signing::Forged | Signing::Unknown => {
            pair(1000).sign(&random, text).expect("one").as_ref().to_vec()
        }
        Signing::Rs256 => {
            let key = rsa();
            let mut signature = vec![0; key.public().modulus_len()];
            key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).expect("one");
            signature
        }
        Signing::EdDsa => edwards().sign(text).as_ref().to_vec(),
        Signing::None => Vec::new(),
        Signing::Hmac => {
            let public = PublicKeyComponents::<Vec<u8>>::from(rsa().public());
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &public.n);
            ring::hmac::sign(&key, text).as_ref().to_vec()
        }
    };
    format!("{signed}.{}", base64(signature))
}

fn answer(mut stream: TcpStream, port: u16, shared: &Mutex<State>) {
    let Some((path, head, body)) = read(&mut stream) else { return };
    let mut state = shared.lock().unwrap();
    state.asked.push(path.clone());
    let json_of = |value: Value| ("200 OK", "application/json", value.to_string());
    let (status, kind, text) = match state.mood {
        Mood::Away => return,
        Mood::Silent => {
            drop(state);
            std::thread::sleep(Duration::from_secs(3));
            return;
        }
        Mood::Huge => ("200 OK", "application/json", "[".repeat(4 << 20)),
        Mood::Garbage => ("200 OK", "text/html", "<!doctype html>".to_owned()),
        Mood::Redirect => {
            ("302 Found", "text/html\r\nlocation: http://127.0.0.1:1/", String::new())
        }
        Mood::Broken => ("500 Internal Server Error", "text/html", "oh".to_owned()),
        Mood::Well => match path.as_str() {
            "/realms/main/.well-known/openid-configuration" => json_of(json!({
                "issuer": format!("http://127.0.0.1:{port}/realms/main"),
                "authorization_endpoint": format!("http://127.0.0.1:{port}/authorize"),
                "token_endpoint": format!("http://127.0.0.1:{port}/token"),
                "jwks_uri": format!("http://127.0.0.1:{port}/jwks"),
                "token_endpoint_auth_methods_supported": state.methods,
            })),
            "/jwks" => json_of(keys(state.generation)),
            "/token" => match redeem(&mut state, port, &head, &body) {
                Ok(token) => json_of(json!({ "id_token": token, "access_token": "x" })),
                Err(error) => {
                    ("400 Bad Request", "application/json", json!({ "error": error }).to_string())
                }
            },
            _ => ("404 Not Found", "text/plain", String::new()),
        },
    };
    drop(state);
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\
         content-type: {kind}\r\n\r\n"
    );
    // Whoever had enough of it is gone.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(text.as_bytes()));
}

/// What the token endpoint does: a code is good once, for who asked for it.
fn redeem(state: &mut State, port: u16, head: &str, body: &str) -> Result<String, &'static str> {
    let form = pairs(body);
    let header = head.lines().find_map(|line| line.strip_prefix("authorization: Basic "));
    let escaped = "my%20riad:s3cret%3A%26word";
    let by_header = header == Some(BASE64_STANDARD.encode(escaped).as_str());
    let in_form = form.get("client_id").is_some_and(|id| id == CLIENT);
    let known = match (state.public, state.methods.as_array()) {
        (true, _) => in_form && !form.contains_key("client_secret") && header.is_none(),
        (false, Some(_)) => in_form && form.get("client_secret").is_some_and(|it| it == SECRET),
        (false, None) => by_header && !form.contains_key("client_secret"),
    };
    if !known || form["grant_type"] != "authorization_code" {
        return Err("invalid_client");
    }
    let grant = state.grants.remove(&form["code"]).ok_or("invalid_grant")?;
    let challenge = base64(Sha256::digest(&form["code_verifier"]));
    let asked = |name: &str| &grant.query[name];
    if *asked("code_challenge") != challenge || *asked("redirect_uri") != form["redirect_uri"] {
        return Err("invalid_grant");
    }
    let mut claims = grant.claims.clone();
    for (name, value) in [
        ("iss", json!(format!("http://127.0.0.1:{port}/realms/main"))),
        ("aud", json!(CLIENT)),
        ("exp", json!(now() + 300)),
        ("iat", json!(now())),
        ("nonce", json!(asked("nonce"))),
    ] {
        claims[name] = value;
    }
    (state.twist)(&mut claims);
    Ok(token(state, &claims))
}

/// The path, the head in small names, and the body of a request.
fn read(stream: &mut TcpStream) -> Option<(String, String, String)> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8(bytes.clone()).ok()?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().expect("a length")) {
            let path = head.split(' ').nth(1)?.to_owned();
            return Some((path, head.to_owned(), body.to_owned()));
        }
    }
}
