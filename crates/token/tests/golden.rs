//! What other implementations make of hard texts, and what this one makes of them.

mod common;

use common::{default_tokenizer, golden};
use myriad_token::{PreTokenizer, Specials, StreamDecoder};
use serde_json::Value;

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().expect("a list of ids");
    ids.iter().map(|id| u32::try_from(id.as_u64().expect("an id")).expect("32 bits")).collect()
}

#[test]
fn ids_are_those_of_huggingface_tokenizers() {
    let tokenizer = default_tokenizer();
    let golden = golden("encode_smollm2.json");
    let cases = golden["cases"].as_array().expect("cases");
    assert!(cases.len() > 200);
    for case in cases {
        let text = case["text"].as_str().expect("a text");
        let expected = ids(&case["ids"]);
        assert_eq!(tokenizer.encode(text, Specials::AsText), expected, "{text:?}");
    }
}

/// Whether a text has bytes that the default model's vocabulary lacks: no implementation can encode
/// them.
fn is_lost(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, 4 | 6 | 0x13 | 0x14 | 0x16 | 0x1d | 0xf1 | 0xf2))
}

#[test]
fn decoding_gives_the_text_back() {
    let tokenizer = default_tokenizer();
    for name in ["encode_smollm2.json", "pretokens.json"] {
        let golden = golden(name);
        for case in golden["cases"].as_array().expect("cases") {
            let text = case.get("text").unwrap_or(&case[0]).as_str().expect("a text");
            if !is_lost(text) {
                let ids = tokenizer.encode(text, Specials::AsText);
                let bytes = tokenizer.decode(&ids, false);
                assert_eq!(String::from_utf8_lossy(&bytes), text);
            }
        }
    }
}

#[test]
fn bytes_that_are_no_utf8_decode_as_in_huggingface_tokenizers() {
    let tokenizer = default_tokenizer();
    let golden = golden("decode_smollm2.json");
    for case in golden["cases"].as_array().expect("cases") {
        let (ids, expected) = (ids(&case["ids"]), case["text"].as_str().expect("a text"));
        assert_eq!(String::from_utf8_lossy(&tokenizer.decode(&ids, true)), expected, "{ids:?}");
        let mut decoder = StreamDecoder::new();
        let mut text: String = ids.iter().map(|id| decoder.push(&tokenizer, *id)).collect();
        text.push_str(&decoder.finish());
        assert_eq!(text, expected, "{ids:?} one by one");
    }
}

/// Lengths in characters, one base-36 digit each or (N).
fn lengths(code: &str) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        if first == '(' {
            let (number, after) = rest[1..].split_once(')').expect("a closing parenthesis");
            lengths.push(number.parse().expect("a number"));
            rest = after;
        } else {
            lengths.push(first.to_digit(36).expect("a digit") as usize);
            rest = &rest[1..];
        }
    }
    lengths
}

#[test]
fn pre_tokens_are_those_of_the_regular_expressions() {
    let golden = golden("pretokens.json");
    let patterns = golden["patterns"].as_array().expect("patterns");
    let cases = golden["cases"].as_array().expect("cases");
    assert!(cases.len() > 2000 && patterns.len() == 8);
    let mut wrong = Vec::new();
    for (index, name) in patterns.iter().enumerate() {
        let name = name.as_str().expect("a name");
        let pre_tokenizer = PreTokenizer::named(name).expect("a known pattern");
        for case in cases {
            let text = case[0].as_str().expect("a text");
            let split: Vec<&str> = pre_tokenizer.split(text).collect();
            assert_eq!(split.concat(), text);
            let found: Vec<usize> = split.iter().map(|token| token.chars().count()).collect();
            if found != lengths(case[index + 1].as_str().expect("lengths")) {
                wrong.push(format!("{name}: {text:?} was cut into {split:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn special_tokens_are_found_or_left_as_text() {
    let tokenizer = default_tokenizer();
    let text = "<|im_start|>user\nHi<|im_end|>";
    let parsed = tokenizer.encode(text, Specials::Parse);
    assert_eq!((parsed[0], parsed[parsed.len() - 1]), (1, 2));
    assert_eq!(parsed[1..parsed.len() - 1], tokenizer.encode("user\nHi", Specials::AsText));
    let plain = tokenizer.encode(text, Specials::AsText);
    assert!(plain.iter().all(|id| !tokenizer.is_control(*id)));
    assert_eq!(tokenizer.decode(&plain, false), text.as_bytes());
    assert_eq!(tokenizer.decode(&parsed, true), text.as_bytes());
    assert_eq!(tokenizer.decode(&parsed, false), b"user\nHi");
}

#[test]
fn end_tokens_are_those_of_llama_cpp() {
    let tokenizer = default_tokenizer();
    assert_eq!(tokenizer.end_tokens(), [0, 2, 4]);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
    assert_eq!(tokenizer.id_of("Ġthe"), tokenizer.encode(" the", Specials::AsText).pop());
    assert_eq!(tokenizer.id_of("no such token"), None);
    assert_eq!(tokenizer.token_bytes(49_152), None);
}
