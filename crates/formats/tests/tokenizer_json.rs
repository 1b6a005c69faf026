//! Holds `tokenizer.json` and its neighbours to the vocabularies and the errors that they make.

mod common;

use common::tokenizer::{LLAMA3, Pre, Tokenizer, files, json};
use common::{Random, harm};
use myriad_formats::{TokenType, TokenizerFiles, VocabError, VocabSpec};
use serde_json::{Value, json};

fn vocab(tokenizer: &Value) -> Result<VocabSpec, VocabError> {
    let bytes = tokenizer.to_string();
    files(bytes.as_bytes()).vocab()
}

#[test]
fn a_byte_level_vocabulary_is_what_gguf_has() {
    let tokenizer =
        Tokenizer::byte_level(Pre::Regex(LLAMA3)).ignore_merges(true).json().to_string();
    let files = TokenizerFiles {
        tokenizer_config: json(
            "tokenizer_config.json",
            json!({
                "bos_token": "<|begin|>", "eos_token": {"content": "<|end|>"}, "pad_token": null,
                "add_eos_token": false, "chat_template": "{{ messages }}"
            }),
        ),
        generation_config: json("generation_config.json", json!({"eos_token_id": [7, 5]})),
        config: json("config.json", json!({"vocab_size": 12, "eos_token_id": 1})),
        ..files(tokenizer.as_bytes())
    };
    let spec = files.vocab().expect("a vocabulary");
    assert_eq!((&*spec.model, &*spec.pre, spec.ignore_merges), ("gpt2", "llama-bpe", Some(true)));
    let texts = ["Ġ", "a", "b", "ab", "Ġab", "<|begin|>", "<tool>", "<|end|>", "[PAD8]"];
    assert_eq!(spec.tokens[..9], texts);
    assert_eq!(spec.tokens.len(), 12);
    use TokenType::{Control, Normal, Unused, UserDefined};
    let types = [Normal, Normal, Normal, Normal, Normal, Control, UserDefined, Control, Unused];
    assert_eq!(spec.token_types[..9], types);
    assert_eq!(spec.merges, ["a b", "Ġ ab"]);
    assert_eq!((spec.bos, spec.eos, spec.eot), (Some(5), Some(7), None));
    assert_eq!((spec.ends, spec.padding, spec.unknown), (vec![5, 7], None, None));
    // By the template of the post-processor, which has `<|begin|>` first.
    assert_eq!((spec.add_bos, spec.add_eos), (true, false));
    assert_eq!(spec.chat_template.as_deref(), Some("{{ messages }}"));
    assert!(spec.scores.is_empty() && !spec.add_space_prefix);
}

#[test]
fn both_forms_of_merges_are_the_same() {
    let text = Tokenizer::byte_level(Pre::Gpt2).json();
    let mut pairs = text.clone();
    pairs["model"]["merges"] = json!([["a", "b"], ["Ġ", "ab"]]);
    assert_eq!(vocab(&text).unwrap(), vocab(&pairs).unwrap());
}

#[test]
fn a_vocabulary_of_sentencepiece_has_scores_and_bytes() {
    let tokenizer = Tokenizer::sentencepiece().json();
    let spec = vocab(&tokenizer).expect("a vocabulary");
    assert_eq!((&*spec.model, &*spec.pre), ("llama", "default"));
    assert_eq!(spec.tokens, ["<pad>", "<eos>", "<unk>", "<0x0A>", "▁", "a", "b", "ab", "▁ab"]);
    use TokenType::{Byte, Control, Normal, Unknown};
    assert_eq!(spec.token_types[..5], [Control, Control, Unknown, Byte, Normal]);
    // `ab` is made by the merge of rank 0, `▁ab` by those of ranks 1 and 2: the earlier counts.
    assert_eq!(spec.scores, [-3.0, -3.0, -3.0, -3.0, -3.0, -3.0, -3.0, 0.0, -1.0]);
    assert!(!spec.add_space_prefix && spec.unknown == Some(2));
    let mut with_prefix = tokenizer.clone();
    with_prefix["normalizer"] = json!({"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"}, tokenizer["normalizer"]]});
    assert!(vocab(&with_prefix).unwrap().add_space_prefix);
    let mut metaspace = tokenizer;
    metaspace["normalizer"] = Value::Null;
    metaspace["pre_tokenizer"] = json!({"type": "Metaspace", "replacement": "▁",
        "prepend_scheme": "first", "split": false});
    assert!(vocab(&metaspace).unwrap().add_space_prefix);
}

#[test]
fn pre_tokenizers_are_known_by_their_patterns() {
    for (pre, name) in common::tokenizer::known() {
        let spec = vocab(&Tokenizer::byte_level(pre).json()).unwrap_or_else(|error| {
            panic!("{name}: {error}");
        });
        assert_eq!(spec.pre, name);
    }
    // Llama 3's name stands for its setting too.
    let llama = Tokenizer::byte_level(Pre::Regex(LLAMA3));
    assert_eq!(vocab(&llama.clone().json()).unwrap().pre, "dbrx");
    assert_eq!(vocab(&llama.ignore_merges(true).json()).unwrap().pre, "llama-bpe");
}

#[test]
fn a_pattern_that_is_unknown_is_shown_in_short() {
    let long = format!("{}|{}", r"\p{Han}+", "x".repeat(500));
    let error = vocab(&Tokenizer::byte_level(Pre::Regex(&long)).json()).unwrap_err().to_string();
    assert!(error.contains(r"`\\p{Han}+|xxx") && error.contains("seed-coder"), "{error}");
    assert!(error.len() < 400, "{error}");
    for steps in common::tokenizer::unknown() {
        let mut tokenizer = Tokenizer::byte_level(Pre::Gpt2).json();
        tokenizer["pre_tokenizer"] = steps.clone();
        let error = vocab(&tokenizer).unwrap_err();
        assert!(matches!(error, VocabError::PreTokenizer { .. }), "{steps}: {error}");
    }
}

#[test]
fn special_tokens_come_from_the_first_file_that_has_them() {
    let bytes = Tokenizer::byte_level(Pre::Gpt2).json().to_string();
    let mut files = files(bytes.as_bytes());
    files.config = json("config.json", json!({"bos_token_id": 5, "eos_token_id": 6}));
    let spec = files.vocab().unwrap();
    assert_eq!((spec.bos, spec.eos, spec.ends), (Some(5), Some(6), vec![6]));
    files.special_tokens_map =
        json("special_tokens_map.json", json!({"eos_token": "<|end|>", "pad_token": "absent"}));
    let spec = files.vocab().unwrap();
    assert_eq!((spec.eos, spec.ends, spec.padding), (Some(7), vec![6, 7], None));
    files.tokenizer_config = json(
        "tokenizer_config.json",
        json!({
            "eos_token": "<|begin|>", "add_bos_token": false,
            "chat_template": [
                {"name": "tools", "template": "T"}, {"name": "default", "template": "D"}
            ]
        }),
    );
    let spec = files.vocab().unwrap();
    assert_eq!((spec.eos, spec.add_bos), (Some(5), false));
    assert_eq!(spec.chat_template.as_deref(), Some("D"));
    files.chat_template = Some("J");
    assert_eq!(files.vocab().unwrap().chat_template.as_deref(), Some("J"));
}

/// Gemma 3 has an added token for images, and in its small models no row of the embedding for it.
#[test]
fn added_tokens_without_an_embedding_are_left_out() {
    let bytes = Tokenizer::byte_level(Pre::Gpt2).json().to_string();
    let mut files = files(bytes.as_bytes());
    files.config = json("config.json", json!({"vocab_size": 6}));
    let spec = files.vocab().unwrap();
    assert_eq!(spec.tokens, ["Ġ", "a", "b", "ab", "Ġab", "<|begin|>"]);
    assert_eq!(spec.token_types.len(), 6);
    files.tokenizer_config = json("tokenizer_config.json", json!({"eos_token": "<|end|>"}));
    assert!(matches!(files.vocab(), Err(VocabError::SpecialToken { .. })));
}

#[test]
fn each_broken_file_ends_in_its_error() {
    let mut failures = Vec::new();
    for case in common::tokenizer::cases() {
        match case.files().vocab() {
            Ok(_) => failures.push(format!("{}: it was accepted", case.name)),
            Err(error) => {
                let message = error.to_string();
                if !(case.is)(&error) || message.len() > 500 {
                    failures.push(format!("{}: the wrong error: {error:?}", case.name));
                }
                if !case.says.iter().all(|word| message.contains(word)) {
                    failures.push(format!("{}: {:?} not in {message:?}", case.name, case.says));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Rounds of harm; half a second.
const SEEDS: u64 = 15_000;

#[test]
fn random_harm_ends_in_an_error_or_a_vocabulary() {
    let wholes = [Tokenizer::byte_level(Pre::Gpt2), Tokenizer::sentencepiece()];
    let wholes = wholes.map(|tokenizer| tokenizer.json().to_string().into_bytes());
    let mut accepted = 0;
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut bytes = wholes[random.below(2)].clone();
        harm(&mut bytes, &mut random);
        let outcome = std::panic::catch_unwind(|| files(&bytes).vocab());
        let Ok(outcome) = outcome else { panic!("seed {seed}: a panic") };
        let Ok(spec) = outcome else { continue };
        accepted += 1;
        let count = spec.tokens.len();
        assert_eq!(spec.token_types.len(), count, "seed {seed}");
        assert!(spec.scores.is_empty() || spec.scores.len() == count, "seed {seed}");
        let ids = [spec.bos, spec.eos, spec.unknown, spec.padding];
        assert!(ids.into_iter().flatten().chain(spec.ends).all(|id| (id as usize) < count));
    }
    println!("{accepted} of {SEEDS} harmed files are sound");
    assert!(accepted > SEEDS / 100, "only {accepted} of {SEEDS} were accepted");
}
