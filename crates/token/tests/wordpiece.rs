//! BERT's tokenizer: ids as of Hugging Face's, ends of texts, pairs, and what a vocabulary must
//! have.

mod common;

use common::{golden, number};
use myriad_formats::{JsonFile, TokenizerFiles, VocabError};
use myriad_token::{Specials, Tokenizer, TokenizerError, VocabSpec};
use serde_json::{Map, Value, json};

/// `tokenizer.json` with a vocabulary of a golden file, and with rules of this name.
fn tokenizer_json(golden: &Value, rules: &str) -> Value {
    let tokens = golden["vocab"].as_array().expect("tokens");
    let id = |(id, token): (usize, &Value)| (token.as_str().expect("a text").to_owned(), id.into());
    let vocab: Map<String, Value> = tokens.iter().enumerate().map(id).collect();
    let special = |id: usize| json!({"id": id, "content": tokens[id], "special": true});
    let mut normalizer = golden["rules"][rules].clone();
    normalizer["type"] = "BertNormalizer".into();
    json!({
        "added_tokens": (0..5).map(special).collect::<Vec<_>>(),
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": golden["characters_max"], "vocab": vocab,
        },
    })
}

fn vocab(tokenizer: &Value) -> Result<VocabSpec, VocabError> {
    let bytes = tokenizer.to_string();
    let config = json!({"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"});
    let config = JsonFile::from_bytes("tokenizer_config.json", config.to_string().as_bytes());
    let files = TokenizerFiles {
        tokenizer: bytes.as_bytes(),
        tokenizer_config: Some(config.expect("an object")),
        special_tokens_map: None,
        generation_config: None,
        config: None,
        chat_template: None,
    };
    files.vocab()
}

fn tokenizer(rules: &str) -> Tokenizer {
    let spec = vocab(&tokenizer_json(&golden("wordpiece.json"), rules)).expect("a vocabulary");
    Tokenizer::new(&spec).expect("a usable vocabulary")
}

#[test]
fn ids_are_those_of_huggingface_tokenizers() {
    let golden = golden("wordpiece.json");
    let cases = golden["cases"].as_array().expect("cases");
    let mut wrong = Vec::new();
    for rules in ["uncased", "cased", "accents", "raw"] {
        let tokenizer = tokenizer(rules);
        let own: Vec<&Value> = cases.iter().filter(|case| case[0] == rules).collect();
        assert!(own.len() > 100, "{rules}");
        for case in own {
            let text = case[1].as_str().expect("a text");
            let ids: Vec<u32> = case[2].as_array().expect("ids").iter().map(number).collect();
            let found = tokenizer.encode(text, Specials::Parse);
            if found != ids {
                wrong.push(format!("{rules}: {text:?} became {found:?}, not {ids:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn texts_and_pairs_have_their_ends() {
    let tokenizer = tokenizer("uncased");
    let (first, second) = (
        tokenizer.encode("the license", Specials::Parse),
        tokenizer.encode("You may", Specials::Parse),
    );
    let whole = [&[2][..], &first, &[3]].concat();
    assert_eq!(tokenizer.encode_whole("the license"), whole);
    let pair = [&whole[..], &second, &[3]].concat();
    assert_eq!(tokenizer.encode_pair("the license", "You may"), (pair, whole.len()));
    assert_eq!(tokenizer.encode_whole(""), [2, 3]);
    assert_eq!(tokenizer.decode(&whole, false), b"the license");
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(2), Some(3)));
}

#[test]
fn control_tokens_are_text_where_they_shall_be() {
    let tokenizer = tokenizer("uncased");
    assert_eq!(tokenizer.encode("[SEP]", Specials::Parse), [3]);
    let text = tokenizer.encode("[SEP]", Specials::AsText);
    assert!(text.len() >= 3 && !text.contains(&3), "{text:?}");
}

#[test]
fn what_is_no_tokenizer_of_bert_is_refused() {
    let whole = tokenizer_json(&golden("wordpiece.json"), "uncased");
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut changed = whole.clone();
        change(&mut changed);
        vocab(&changed).expect_err("refused").to_string()
    };
    for (message, change) in [
        (
            "`##x`",
            &(|json: &mut Value| json["model"]["continuing_subword_prefix"] = "##x".into())
                as &dyn Fn(&mut Value),
        ),
        ("max_input_chars_per_word", &|json| json["model"]["max_input_chars_per_word"] = 0.into()),
        ("max_input_chars_per_word", &|json| {
            json["model"]["max_input_chars_per_word"] = 1_000_000.into();
        }),
        ("Lowercase", &|json| json["normalizer"] = json!({"type": "Lowercase"})),
        ("lowercase", &|json| json["normalizer"]["lowercase"] = "yes".into()),
        ("Whitespace", &|json| json["pre_tokenizer"] = json!({"type": "Whitespace"})),
        ("model.vocab", &|json| {
            json["model"].as_object_mut().expect("an object").remove("vocab");
        }),
        ("`Unigram`", &|json| json["model"]["type"] = "Unigram".into()),
    ] {
        let error = refused(change);
        assert!(error.contains(message), "{message} in {error}");
    }
    let spec = VocabSpec { unknown: None, ..vocab(&whole).expect("a vocabulary") };
    assert_eq!(Tokenizer::new(&spec).err(), Some(TokenizerError::NoUnknown));
}

#[test]
fn hostile_words_take_time_in_proportion() {
    let tokenizer = tokenizer("raw");
    let long = "a".repeat(1 << 20);
    assert_eq!(tokenizer.encode(&long, Specials::Parse), [1]);
    let marks = "\u{301}".repeat(1 << 18);
    assert!(tokenizer.encode(&marks, Specials::Parse).len() <= 1);
    let punctuation = "!".repeat(1 << 18);
    assert_eq!(tokenizer.encode(&punctuation, Specials::Parse).len(), 1 << 18);
}
