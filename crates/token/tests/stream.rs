//! Streaming gives what the whole text gives, and holds back no more than it must.

mod common;

use common::{Random, chatml_tokenizer};
use myriad_token::{StopMatcher, StreamDecoder};

#[test]
fn streamed_ids_are_the_lossy_text_of_all_bytes() {
    let tokenizer = chatml_tokenizer();
    let texts = ["é", "你好", "👩‍💻", "\u{10ffff}", "plain", "\u{7ff}"];
    for seed in 0..2000 {
        let mut random = Random(seed);
        let mut ids = Vec::new();
        for _ in 0..1 + random.below(6) {
            let text = random.pick(&texts).as_bytes();
            let part = &text[random.below(text.len())..];
            ids.extend(part.iter().map(|byte| u32::from(*byte)));
            if random.below(3) == 0 {
                ids.push(random.below(264) as u32);
            }
        }
        let mut decoder = StreamDecoder::new();
        let mut streamed = String::new();
        for id in &ids {
            streamed.push_str(&decoder.push(&tokenizer, *id));
        }
        streamed.push_str(&decoder.finish());
        let whole = tokenizer.decode(&ids, false);
        assert_eq!(streamed, String::from_utf8_lossy(&whole), "seed {seed}, ids {ids:?}");
    }
}

#[test]
fn an_unfinished_character_is_held_back() {
    let tokenizer = chatml_tokenizer();
    let mut decoder = StreamDecoder::new();
    let pieces: Vec<String> =
        "a€b".bytes().map(|byte| decoder.push(&tokenizer, u32::from(byte))).collect();
    assert_eq!(pieces, ["a", "", "", "€", "b"]);
    assert_eq!(decoder.push(&tokenizer, 0xe2), "");
    assert_eq!(decoder.push(&tokenizer, 258), "", "a control token has no text");
    assert_eq!(decoder.finish(), "\u{fffd}");
    assert_eq!(decoder.finish(), "");
}

/// The slow twin: looks at every beginning of the text for one that ends with a stop string.
fn expected(text: &str, stops: &[String]) -> (String, Option<String>) {
    for (end, c) in text.char_indices() {
        let seen = &text[..end + c.len_utf8()];
        let found = stops.iter().filter(|stop| !stop.is_empty() && seen.ends_with(*stop));
        if let Some(stop) = found.max_by_key(|stop| stop.len()) {
            return (seen[..seen.len() - stop.len()].to_owned(), Some(stop.clone()));
        }
    }
    (text.to_owned(), None)
}

/// The longest end of `text` that is a proper beginning of a stop string.
fn must_hold(text: &str, stops: &[String]) -> usize {
    let ends = text.char_indices().map(|(at, _)| &text[at..]);
    let held = ends.filter(|end| stops.iter().any(|s| s.starts_with(end) && s != end));
    held.map(str::len).max().unwrap_or(0)
}

#[test]
fn stops_do_not_depend_on_pieces_and_hold_back_the_least() {
    for seed in 0..3000 {
        let mut random = Random(seed);
        let letters = ["a", "b", "é", "ab", "ba"];
        let mut word = |most: usize| -> String {
            let count = random.below(most + 1);
            (0..count).map(|_| *random.pick(&letters)).collect()
        };
        let text = word(14);
        let stops: Vec<String> = (0..3).map(|_| word(4)).collect();
        let (expected_text, expected_stop) = expected(&text, &stops);
        let mut matcher = StopMatcher::new(&stops);
        let (mut emitted, mut stopped, mut rest) = (String::new(), None, text.as_str());
        let mut taken = 0;
        while !rest.is_empty() && stopped.is_none() {
            let ends: Vec<usize> =
                rest.char_indices().map(|(at, _)| at).chain([rest.len()]).collect();
            let end = *random.pick(&ends);
            let output = matcher.push(&rest[..end]);
            emitted.push_str(&output.text);
            stopped = output.stopped;
            rest = &rest[end..];
            taken += end;
            if stopped.is_none() {
                let held = taken - emitted.len();
                assert_eq!(
                    held,
                    must_hold(&text[..taken], &stops),
                    "seed {seed}: {text} {stops:?}"
                );
            }
        }
        emitted.push_str(&matcher.finish());
        let found = (emitted, stopped);
        assert_eq!(found, (expected_text, expected_stop), "seed {seed}: {text} {stops:?}");
    }
}

#[test]
fn nothing_comes_after_a_stop() {
    let mut matcher = StopMatcher::new(&["END".to_owned(), String::new()]);
    assert_eq!(matcher.push("one E").text, "one ");
    let output = matcher.push("ND two");
    assert_eq!((output.text.as_str(), output.stopped.as_deref()), ("", Some("END")));
    let output = matcher.push("three");
    assert_eq!((output.text.as_str(), output.stopped.as_deref()), ("", Some("END")));
    assert_eq!(matcher.finish(), "");
}
