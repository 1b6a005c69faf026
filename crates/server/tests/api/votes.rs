//! Turns votes between models into kept ones and a leaderboard, each owner's own.

use serde_json::{Value, json};

use super::harness::{Keeps, Live, Setup};

fn vote(comparison: &str, outcome: &str, best: Value) -> Value {
    json!({ "comparison": comparison, "models": ["a", "b"], "outcome": outcome, "best": best })
}

#[test]
fn votes_are_kept_once_for_each_comparison_and_rated() {
    let live = Live::start(Setup { storage: Some(Keeps::Everything), ..Setup::default() });
    assert_eq!(live.get("/app/leaderboard").good(), json!({ "votes": 0, "models": [] }));
    let first = vote("one", "better", json!("b"));
    assert_eq!(live.post("/app/votes", &first).good(), first);
    live.post("/app/votes", &vote("two", "bad", Value::Null)).good();
    // Another mind about the first.
    live.post("/app/votes", &vote("one", "better", json!("a"))).good();
    let board = live.get("/app/leaderboard").good();
    assert_eq!(board["votes"], 2);
    let (best, other) = (&board["models"][0], &board["models"][1]);
    assert_eq!((&best["model"], &best["wins"], &best["bad"]), (&json!("a"), &json!(1), &json!(1)));
    let found = (&other["model"], &other["losses"], &other["few"]);
    assert_eq!(found, (&json!("b"), &json!(1), &json!(true)));
    assert!(best["rating"].as_f64().unwrap() > 1000.0 && best["error"].as_f64().unwrap() > 100.0);
    live.post("/app/votes", &json!({ "comparison": "x" })).error(400);
}

#[test]
fn each_owner_has_votes_of_its_own() {
    let live = Live::start(Setup { storage: Some(Keeps::Everything), ..Setup::default() });
    let (one, other) = (live.key_of("one"), live.key_of("other"));
    let mine = vote("same", "tie", Value::Null);
    live.ask(&one, "POST", "/app/votes", &mine).good();
    assert_eq!(live.ask(&other, "GET", "/app/leaderboard", &Value::Null).good()["votes"], 0);
    live.ask(&other, "POST", "/app/votes", &mine).good();
    assert_eq!(live.ask(&one, "GET", "/app/leaderboard", &Value::Null).good()["votes"], 1);
}

#[test]
fn a_server_that_keeps_nothing_counts_what_it_is_sent() {
    let live = Live::start(Setup::default());
    let mine = vote("one", "better", json!("b"));
    assert_eq!(live.post("/app/votes", &mine).error(400)["code"], "unsupported_parameter");
    live.get("/app/leaderboard").error(400);
    let board = live.post("/app/leaderboard", &json!({ "votes": [mine] })).good();
    assert_eq!((&board["votes"], &board["models"][0]["model"]), (&json!(1), &json!("b")));
    let wrong = json!({ "votes": [vote("one", "better", json!("c"))] });
    assert_eq!(live.post("/app/leaderboard", &wrong).error(400)["param"], "votes[0].best");
}
