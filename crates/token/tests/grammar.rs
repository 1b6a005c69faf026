//! Holds answers to their schemas under the most hostile sampler, chance, and schemas to their
//! refusals.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::walk::{Walk, is_answer, oracle, tamed, text};
use common::{Random, chatml_tokenizer, default_tokenizer, golden};
use myriad_token::limits::{GRAMMAR_COMPILE_TIME_MAX, GRAMMARS_KEPT_MAX};
use myriad_token::{GrammarCompiler, GrammarError, Specials, Tokenizer};
use serde_json::{Value, json};

struct Case {
    name: String,
    schema: Value,
    /// It cannot be enforced, or nothing satisfies it.
    refused: bool,
    valid: Vec<Value>,
    invalid: Vec<Value>,
}

fn cases() -> Vec<Case> {
    let list = golden("schemas.json");
    let list = list.as_array().expect("a list");
    let values = |case: &Value, key: &str| case[key].as_array().cloned().unwrap_or_default();
    list.iter()
        .map(|case| Case {
            name: case["name"].as_str().expect("a name").to_owned(),
            schema: case["schema"].clone(),
            refused: case["refused"] == true,
            valid: values(case, "valid"),
            invalid: values(case, "invalid"),
        })
        .collect()
}

#[test]
fn what_is_valid_can_be_said_and_what_is_not_cannot() {
    let tokenizer = Arc::new(chatml_tokenizer());
    let compiler = GrammarCompiler::new(Arc::clone(&tokenizer));
    for Case { name, schema, refused, valid, invalid } in cases() {
        let grammar = compiler.json_schema(&schema);
        assert_eq!(grammar.is_err(), refused, "{name}: {grammar:?}");
        let Ok(grammar) = grammar else { continue };
        let oracle = oracle(&schema);
        for value in &valid {
            assert!(oracle.is_valid(value), "{name}: {value} is not valid at all");
            for text in [value.to_string(), serde_json::to_string_pretty(value).expect("JSON")] {
                assert!(is_answer(&grammar, &tokenizer, &text), "{name}: {text}");
            }
        }
        for value in &invalid {
            assert!(!oracle.is_valid(value), "{name}: {value} is valid");
            let text = value.to_string();
            assert!(!is_answer(&grammar, &tokenizer, &text), "{name}: {text}");
        }
    }
}

/// Answers by chance; returns how many came to an end.
fn all_valid(tokenizer: &Arc<Tokenizer>, rounds: usize) -> (usize, usize) {
    let compiler = GrammarCompiler::new(Arc::clone(tokenizer));
    let (mut ended, mut begun) = (0, 0);
    for (number, Case { name, schema, .. }) in cases().into_iter().enumerate() {
        let Ok(grammar) = compiler.json_schema(&schema) else { continue };
        let oracle = oracle(&schema);
        let mut random = Random(number as u64 + 1);
        let mut own = 0;
        for _ in 0..rounds {
            begun += 1;
            let Some(answer) = Walk::new(&grammar, tokenizer).answer(&mut random) else { continue };
            own += 1;
            let text = text(tokenizer, &answer);
            let value: Value = match serde_json::from_str(&tamed(&text)) {
                Ok(value) => value,
                Err(error) => panic!("{name}: {text:?}: {error}"),
            };
            if let Err(error) = oracle.validate(&value) {
                panic!("{name}: {text:?}: {error}");
            }
        }
        assert!(own > 0, "{name}: no answer came to an end");
        ended += own;
    }
    (ended, begun)
}

#[test]
fn every_answer_by_chance_is_valid_in_bytes() {
    let (ended, begun) = all_valid(&Arc::new(chatml_tokenizer()), 120);
    assert!(ended * 2 > begun, "{ended} of {begun} answers came to an end");
}

#[test]
fn every_answer_by_chance_is_valid_in_the_default_vocabulary() {
    let (ended, begun) = all_valid(&Arc::new(default_tokenizer()), 8);
    assert!(ended * 2 > begun, "{ended} of {begun} answers came to an end");
}

#[test]
fn what_cannot_be_enforced_is_refused_by_place_and_name() {
    let compiler = GrammarCompiler::new(Arc::new(chatml_tokenizer()));
    for case in golden("refused_schemas.json").as_array().expect("a list") {
        let right = (case["pointer"].as_str(), case["keyword"].as_str());
        match compiler.json_schema(&case["schema"]) {
            Err(GrammarError::Keyword { pointer, keyword, reason }) => {
                assert!(!reason.is_empty());
                assert_eq!(
                    (Some(&*pointer), Some(&*keyword)),
                    right,
                    "{}: {reason}",
                    case["schema"]
                );
            }
            other => panic!("{}: {other:?}", case["schema"]),
        }
    }
}

/// Schemas that ask for much, each with a name.
fn hostile_schemas() -> Vec<(&'static str, Value)> {
    let chain = |length: usize| {
        let link = |n: usize| (format!("d{n}"), json!({ "$ref": format!("#/$defs/d{}", n + 1) }));
        let mut links: serde_json::Map<String, Value> = (0..length).map(link).collect();
        links.insert(format!("d{length}"), json!({ "type": "null" }));
        json!({ "$ref": "#/$defs/d0", "$defs": links })
    };
    let properties = |count: usize| {
        let property = |n: usize| (format!("p{n}"), json!({ "type": "integer" }));
        let properties: serde_json::Map<String, Value> = (0..count).map(property).collect();
        json!({ "type": "object", "properties": properties, "additionalProperties": false })
    };
    let choice = |n: usize| json!({ "anyOf": [{ "minimum": n }, { "maxLength": n }] });
    let product: Vec<Value> = (0..24).map(choice).collect();
    let names: Vec<String> = (0..4000).map(|n| format!("name {n}")).collect();
    let pattern = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let itself = json!({ "$ref": "#" });
    let mutual = json!({ "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } });
    vec![
        ("a chain of references", chain(4000)),
        ("a longer one", chain(6000)),
        ("properties", properties(2000)),
        ("more properties", properties(6000)),
        ("a product of choices", json!({ "allOf": product })),
        ("a large enum", json!({ "enum": names })),
        ("large", json!({ "const": "x".repeat(300_000) })),
        ("a long string", json!({ "type": "string", "minLength": 1_000_000 })),
        ("a long array", json!({ "type": "array", "minItems": 4_000_000_000u32 })),
        ("nested repetitions", pattern("^((a{1,100}){1,100}){1,100}$")),
        ("backtracking", pattern("^(x+x+)+y$")),
        ("a window", pattern("a.{200}b.{200}c")),
        ("itself", itself.clone()),
        ("two of each other", json!({ "$ref": "#/$defs/a", "$defs": mutual })),
        ("endless", json!({ "type": "object", "properties": { "a": itself }, "required": ["a"] })),
    ]
}

#[test]
fn hostile_schemas_take_no_more_than_their_limits() {
    let tokenizer = Arc::new(default_tokenizer());
    let compiler = GrammarCompiler::new(Arc::clone(&tokenizer));
    compiler.json_object().expect("the vocabulary's tree");
    for (name, schema) in hostile_schemas() {
        let since = Instant::now();
        let result = compiler.json_schema(&schema);
        let compiled = since.elapsed();
        let mut steps = 0;
        if let Ok(grammar) = &result {
            let mut random = Random(7);
            let mut state = grammar.start();
            let mut words = vec![0u32; tokenizer.vocab_size().div_ceil(32)];
            // It may fail on the way, but not panic nor stand still.
            while steps < 40 && !state.must_end() {
                words.fill(0);
                if state.mask(&mut words).is_err() {
                    break;
                }
                let bit = |t: &u32| words[*t as usize / 32] >> (t % 32) & 1 == 1;
                let allowed: Vec<u32> = (0..tokenizer.vocab_size() as u32).filter(bit).collect();
                if allowed.is_empty() || state.accept(*random.pick(&allowed)).is_err() {
                    break;
                }
                steps += 1;
            }
        }
        let outcome = result.map_or_else(|error| error.to_string(), |_| format!("{steps} steps"));
        println!("{name}: {compiled:?}, then {:?}: {outcome}", since.elapsed() - compiled);
        assert!(compiled < GRAMMAR_COMPILE_TIME_MAX + Duration::from_secs(5), "{name}");
    }
}

#[test]
fn a_grammar_is_compiled_once() {
    let compiler = GrammarCompiler::new(Arc::new(chatml_tokenizer()));
    let schema = json!({ "type": "array", "items": { "enum": ["a", "b"] } });
    let first = compiler.json_schema(&schema).expect("a grammar");
    let second = compiler.json_schema(&schema).expect("a grammar");
    assert!(first.is_same(&second));
    // The order of properties is that of the answer.
    let order = |text: &str| {
        let schema: Value = serde_json::from_str(text).expect("JSON");
        compiler.json_schema(&schema).expect("a grammar")
    };
    let one = order(r#"{"properties": {"a": true, "b": true}}"#);
    assert!(!one.is_same(&order(r#"{"properties": {"b": true, "a": true}}"#)));
    for number in 0..GRAMMARS_KEPT_MAX {
        compiler.json_schema(&json!({ "const": number })).expect("a grammar");
    }
    assert!(!first.is_same(&compiler.json_schema(&schema).expect("a grammar")), "kept for ever");
}

/// The work for one token beside the forward pass, in the time of one thread: run by hand, with
/// `--ignored --nocapture`, as it says more about the machine than about the code.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_a_mask() {
    let tokenizer = Arc::new(default_tokenizer());
    let compiler = GrammarCompiler::new(Arc::clone(&tokenizer));
    let since = Instant::now();
    compiler.json_object().expect("a grammar");
    println!("first grammar: {:?}", since.elapsed());
    let (mut all, mut tokens, mut worst, mut starts) = (Duration::ZERO, 0u32, Duration::ZERO, 0u32);
    let (mut start_time, mut compile_time) = (Duration::ZERO, Duration::ZERO);
    for Case { name, schema, valid, .. } in cases() {
        let since = Instant::now();
        let Ok(grammar) = compiler.json_schema(&schema) else { continue };
        compile_time += since.elapsed();
        let (mut own, mut count) = (Duration::ZERO, 0u32);
        for text in valid.iter().map(|value| serde_json::to_string_pretty(value).expect("JSON")) {
            let since = Instant::now();
            let mut state = grammar.start();
            start_time += since.elapsed();
            starts += 1;
            let mut words = vec![0u32; tokenizer.vocab_size().div_ceil(32)];
            for token in tokenizer.encode(&text, Specials::AsText) {
                let since = Instant::now();
                words.fill(0);
                state.mask(&mut words).expect("a mask");
                let accepted = state.accept(token);
                let spent = since.elapsed();
                if accepted.is_err() {
                    break;
                }
                (own, count, worst) = (own + spent, count + 1, worst.max(spent));
            }
        }
        if count > 0 {
            println!("{name}: {:?} a token", own / count);
        }
        (all, tokens) = (all + own, tokens + count);
    }
    println!("{:?} a token ({tokens}), at worst {worst:?}", all / tokens);
    println!("{:?} a start, {:?} all schemas compiled", start_time / starts, compile_time);
}
