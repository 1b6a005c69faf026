//! Turns what browsers ask for into the chat's files, where the build has them.

use myriad_server::ServerConfig;

use crate::harness::{Live, Setup};

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

#[test]
fn browsers_get_the_chat_and_programs_the_list() {
    let live = Live::start(Setup::default());
    let list = live.get("/").good();
    let page = live.send("GET", "/", &[BROWSER], b"");
    if !list["chat"].as_str().unwrap().starts_with("open") {
        assert!(list["chat"].as_str().unwrap().contains("Node.js"), "{list}");
        assert_eq!(page.good()["chat"], list["chat"]);
        return;
    }
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("-inline"), "{policy}");
    let etag = page.header("etag").unwrap().to_owned();
    let again = live.send("GET", "/", &[BROWSER, ("if-none-match", &etag)], b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    let html = page.text();
    assert!(!html.contains("http:") && !html.contains("https:"), "it asks no other host: {html}");
    let script = html.split('"').find(|part| part.starts_with("/assets/")).unwrap();
    let plain = live.get(script);
    assert_eq!(plain.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(plain.header("content-encoding"), None);
    let packed = live.send("GET", script, &[("accept-encoding", "gzip, br")], b"");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() * 2 < plain.body.len());
    assert_ne!(packed.header("etag"), plain.header("etag"));
    live.get("/index.html").error(404);
    let frame = live.get("/frame.html");
    let policy = frame.header("content-security-policy").unwrap();
    assert!(policy.starts_with("sandbox allow-scripts; default-src 'none';"), "{policy}");
    assert!(!policy.contains("allow-same-origin") && !policy.contains("'self';"), "{policy}");
    for (path, kind) in [
        ("/sw.js", "text/javascript; charset=utf-8"),
        ("/manifest.webmanifest", "application/manifest+json"),
        ("/icon-192.png", "image/png"),
    ] {
        let file = live.get(path);
        assert_eq!(file.header("content-type"), Some(kind));
        assert_eq!(file.header("cache-control"), Some("no-cache"));
    }
}

#[test]
fn the_chat_opens_without_a_key_and_nothing_behind_it_does() {
    let config = ServerConfig { port: 0, api_keys: vec!["key".into()], ..ServerConfig::default() };
    let live = Live::start(Setup { config, ..Setup::default() });
    let page = live.send("GET", "/", &[BROWSER], b"");
    let built = page.header("content-type") == Some("text/html; charset=utf-8");
    assert_eq!(page.status, if built { 200 } else { 401 });
    for (method, path) in [("GET", "/v1/models"), ("POST", "/"), ("GET", "/assets/nothing.js")] {
        live.send(method, path, &[BROWSER], b"").error(401);
    }
    live.get("/").error(401);
}
