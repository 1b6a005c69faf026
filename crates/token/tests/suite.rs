//! Holds grammars to the JSON Schema Test Suite (draft 2020-12): what is valid can be said, what is
//! not cannot, and what cannot be enforced is refused by name.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::walk::{Walk, is_answer, oracle, tamed, text};
use common::{Random, chatml_tokenizer, golden};
use myriad_token::{Grammar, GrammarCompiler, GrammarError, Tokenizer};
use serde_json::{Map, Value};

/// Answers by chance over all schemas that are taken.
const ANSWERS: usize = 5000;

/// A schema with values that it allows or not.
struct Group {
    name: String,
    schema: Value,
    tests: Vec<(Value, bool)>,
}

fn groups() -> Vec<Group> {
    let suite = golden("json_schema_suite.json");
    let groups = suite["groups"].as_array().expect("groups").iter();
    let group = |group: &Value| Group {
        name: group["name"].as_str().expect("a name").to_owned(),
        schema: group["schema"].clone(),
        tests: group["tests"]
            .as_array()
            .expect("tests")
            .iter()
            .map(|test| (test[0].clone(), test[1] == true))
            .collect(),
    };
    groups.map(group).collect()
}

/// Values that are the same in JSON Schema: properties in every order, whole numbers as such.
fn spellings(value: &Value) -> Vec<Value> {
    match value {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|it| it.fract() == 0.0 && it.abs() < 1e15);
            vec![whole.map_or_else(|| value.clone(), |whole| Value::from(whole as i64))]
        }
        Value::Array(items) => {
            let mut lists: Vec<Vec<Value>> = vec![Vec::new()];
            for item in items {
                let ways = spellings(item);
                let longer = |list: &Vec<Value>| {
                    let ways = ways.iter();
                    ways.map(|way| [list.as_slice(), std::slice::from_ref(way)].concat())
                        .collect::<Vec<_>>()
                };
                lists = lists.iter().flat_map(longer).take(200).collect();
            }
            lists.into_iter().map(Value::Array).collect()
        }
        Value::Object(members) => {
            let members: Vec<(&String, Vec<Value>)> =
                members.iter().map(|(name, value)| (name, spellings(value))).collect();
            let mut objects = Vec::new();
            orders(&members, &mut Map::new(), &mut objects);
            objects
        }
        other => vec![other.clone()],
    }
}

fn orders(members: &[(&String, Vec<Value>)], begun: &mut Map<String, Value>, all: &mut Vec<Value>) {
    if begun.len() == members.len() {
        all.push(Value::Object(begun.clone()));
        return;
    }
    for (name, ways) in members {
        if begun.contains_key(*name) || all.len() > 200 {
            continue;
        }
        for way in ways {
            begun.insert((*name).clone(), way.clone());
            orders(members, begun, all);
            begun.shift_remove(*name);
        }
    }
}

/// Whether a value can be said, as compact and as spaced JSON.
fn is_reachable(grammar: &Grammar, tokenizer: &Tokenizer, value: &Value) -> bool {
    spellings(value).iter().any(|value| {
        let spaced = serde_json::to_string_pretty(value).expect("JSON");
        is_answer(grammar, tokenizer, &value.to_string()) && is_answer(grammar, tokenizer, &spaced)
    })
}

/// The keyword that a schema is refused for, or what else is wrong with it.
fn refusal(error: &GrammarError) -> String {
    match error {
        GrammarError::Keyword { keyword, .. } => keyword.clone(),
        GrammarError::Unsatisfiable(_) => "(no value)".into(),
        GrammarError::TooComplex(_) => "(too complex)".into(),
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_valid_can_be_said_and_what_is_not_cannot() {
    let tokenizer = Arc::new(chatml_tokenizer());
    let compiler = GrammarCompiler::new(Arc::clone(&tokenizer));
    let (mut taken, mut said) = (0, 0);
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let (mut unreachable, mut wrong) = (Vec::new(), Vec::new());
    for Group { name, schema, tests } in groups() {
        let grammar = match compiler.json_schema(&schema) {
            Ok(grammar) => grammar,
            Err(error) => {
                *refused.entry(refusal(&error)).or_default() += 1;
                // Nothing is valid where no value is.
                let none = matches!(error, GrammarError::Unsatisfiable(_));
                assert!(!none || tests.iter().all(|(_, valid)| !valid), "{name}: {error}");
                continue;
            }
        };
        taken += 1;
        for (value, valid) in &tests {
            if *valid && !is_reachable(&grammar, &tokenizer, value) {
                unreachable.push(format!("{name}: {value}"));
            }
            let mut ways = spellings(value);
            ways.push(value.clone());
            let found = |value: &Value| is_answer(&grammar, &tokenizer, &value.to_string());
            if !valid && ways.iter().any(found) {
                wrong.push(format!("{name}: {value}"));
            }
            said += 1;
        }
    }
    let count: usize = refused.values().sum();
    println!("{taken} schemas are taken, with {said} values; {count} are refused: {refused:#?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
    let is_known = |said: &str, (name, part): &(&str, &str)| {
        said.split_once(": ").is_some_and(|(file, rest)| file == *name && rest.contains(part))
    };
    let left: Vec<&String> = unreachable
        .iter()
        .filter(|said| !UNSAID.iter().any(|known| is_known(said, known)))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
    let idle = UNSAID.iter().find(|known| !unreachable.iter().any(|said| is_known(said, known)));
    assert!(idle.is_none(), "{idle:?} can be said");
    assert!(taken > 100, "{taken} schemas");
}

/// Values that are valid and never said, by their file and a part that they have: formats are
/// enforced more narrowly than they are written.
const UNSAID: &[(&str, &str)] = &[
    // Leap seconds: which there were is not known.
    ("format/date-time", ":60"),
    ("format/time", ":60"),
    // Quoted names and addresses for hosts.
    ("format/email", "\\\""),
    ("format/email", "@["),
    ("format/uri", "["),
    // Other scripts, whose letters would have to be decoded.
    ("format/hostname", "xn--"),
    // IPv4 within IPv6.
    ("format/ipv6", ".1"),
    ("format/ipv6", "255.255"),
];

/// Whether a text has a number that floats do not hold exactly, which the judge calculates with.
fn is_beyond_floats(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_digit() && c != '.').any(|number| number.len() > 15)
}

#[test]
fn every_answer_by_chance_is_valid() {
    let seed = 11;
    println!("seed {seed}");
    let tokenizer = Arc::new(chatml_tokenizer());
    let compiler = GrammarCompiler::new(Arc::clone(&tokenizer));
    let taken: Vec<_> = groups()
        .into_iter()
        .filter_map(|group| Some((compiler.json_schema(&group.schema).ok()?, group)))
        .collect();
    let mut random = Random(seed);
    let each = ANSWERS.div_ceil(taken.len()) + 1;
    let mut ended = 0;
    for (grammar, Group { name, schema, .. }) in &taken {
        let judge = oracle(schema);
        let walk = Walk::new(grammar, &tokenizer).with_ends(20, &[]);
        for _ in 0..each {
            let Some(answer) = walk.answer(&mut random) else { continue };
            let said = text(&tokenizer, &answer);
            let value: Value = serde_json::from_str(&tamed(&said))
                .unwrap_or_else(|error| panic!("seed {seed}, {name}: {said:?}: {error}"));
            if let Err(error) = judge.validate(&value)
                && !(schema.to_string().contains("multipleOf") && is_beyond_floats(&said))
            {
                panic!("seed {seed}, {name}: {said:?}: {error}");
            }
            ended += 1;
        }
    }
    println!("{ended} answers of {} schemas", taken.len());
    assert!(ended >= ANSWERS * 9 / 10, "{ended} answers");
}
