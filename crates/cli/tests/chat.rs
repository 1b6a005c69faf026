//! Turns lines in a pipe into a conversation with a small model.

mod common;

use std::fs;

use common::Home;

const CHAT: [&str; 6] = ["chat", "tiny", "--seed", "1", "--max-tokens", "8"];

#[test]
fn each_line_gets_an_answer_and_the_second_finds_the_first_in_the_cache() {
    let home = Home::with_model("tiny");
    let long = "the rain in the hills and on the sea ".repeat(3);
    let ran = home.run_with(&CHAT, format!("{long}\nAgain.\n/stats\n").as_bytes());
    assert_eq!(ran.err, "");
    let out = ran.good();
    assert!(out.contains("messages  4, of them 2 answers"), "{out}");
    let cached = out.split("of them ").nth(2).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(cached.parse::<usize>().unwrap() >= 32, "{out}");
    assert!(!out.contains('\x1b'), "{out}");
}

#[test]
fn commands_work_in_a_pipe_too() {
    let home = Home::with_model("tiny");
    let script = "/help\n/system Be brief.\n/system\nHello \\\nthere\n\"\"\"\none\ntwo\n\"\"\"\n\
                  /regenerate\n/save chat.json\n/save chat.md\n/clear\n/regenerate\n/what\n/quit\n\
                  never read";
    let ran = home.run_with(&CHAT, script.as_bytes());
    assert!(
        ran.err.contains("no answer yet") && ran.err.contains("/what is no command"),
        "{ran:?}"
    );
    let out = ran.good();
    assert!(out.contains("/regenerate    answer") && out.contains("\nBe brief.\n"), "{out}");
    let saved = fs::read_to_string(home.path().join("chat.json")).unwrap();
    let saved: serde_json::Value = serde_json::from_str(&saved).unwrap();
    let messages = saved["messages"].as_array().unwrap();
    let roles: Vec<_> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    assert_eq!(messages[1]["content"], "Hello \nthere");
    assert_eq!(messages[3]["content"], "one\ntwo");
    assert!(fs::read_to_string(home.path().join("chat.md")).unwrap().contains("## user\n\nHello"));
    // Only people have a history.
    assert!(!home.path().join("state").exists());
}

#[test]
fn a_conversation_that_is_full_says_so_and_goes_on() {
    let home = Home::with_model("tiny");
    let script = format!("{}\nHello\n/stats\n", "word ".repeat(400));
    let ran = home.run_with(&CHAT, script.as_bytes());
    assert!(ran.err.contains("the context holds 512") && ran.err.contains("/clear"), "{ran:?}");
    assert!(ran.good().contains("messages  2, of them 1 answers"));
}
