//! Measures by hand what grammars cost and what guesses bring the default model, and holds it to
//! grammars at a high temperature.
//!
//! `cargo nextest run --release -p myriad-server --test decode_speed --run-ignored only
//! --no-capture`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use myriad_engine::{EngineConfig, Sampling};
use myriad_formats::Gguf;
use myriad_kernels::{Compute, Kernels, KvType};
use myriad_model::Model;
use myriad_server::{Finish, GenerateRequest, LoadedModel, Runtime, TextEvent};
use myriad_token::{AnswerGrammar, AnswerRules, Grammar, Specials, TextGrammar, Tokenizer};
use serde_json::{Value, json};

/// Tokens of each answer that is measured.
const TOKENS: usize = 96;

/// Pairs of answers that are measured, one after another.
const ROUNDS: usize = 40;

fn runtime(threads: usize, speculate: bool) -> Arc<Runtime> {
    let path = std::env::var_os("MYRIAD_TEST_MODEL").map_or_else(
        || {
            let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set"));
            let cache = cache.unwrap_or_else(|| home().join(".cache"));
            cache.join("myriad/models/SmolLM2-135M-Instruct.Q4_1.gguf")
        },
        PathBuf::from,
    );
    let gguf = Gguf::open(&path).expect("the default model");
    let compute = Compute::new(Kernels::detect().expect("kernels"), threads);
    let tokenizer = Tokenizer::new(&gguf.vocab().expect("a vocabulary")).expect("a tokenizer");
    let model = LoadedModel {
        names: vec!["default".into()],
        model: Arc::new(Model::load(&gguf, &compute, &mut |_| ()).expect("a model")),
        draft: None,
        compute,
        tokenizer: Arc::new(tokenizer),
        template: None,
    };
    let config = EngineConfig {
        context: 1024,
        parallel: 8,
        step_tokens: 256,
        pages: 256,
        kv: KvType::F16,
        snapshots: 0,
        speculate,
    };
    Runtime::start(model, config).expect("started")
}

fn grammar(runtime: &Runtime, schema: Value) -> Grammar {
    let text = TextGrammar::Json(schema);
    runtime.grammars().compile(AnswerGrammar::of_text(text)).expect("a grammar")
}

/// An answer: its text, how it ended, its tokens and the seconds that they took after the first.
fn answer(runtime: &Runtime, request: GenerateRequest) -> (String, Finish, usize, f64) {
    let generation = runtime.generate_blocking(request).expect("taken");
    let (mut text, mut tokens, mut first) = (String::new(), 0, None);
    for event in generation.into_blocking_iter() {
        match event {
            TextEvent::Text { text: more, tokens: new } => {
                first.get_or_insert_with(Instant::now);
                tokens += new.len();
                text.push_str(&more);
            }
            TextEvent::Finished { finish, .. } => {
                let seconds = first.map_or(0.0, |first: Instant| first.elapsed().as_secs_f64());
                return (text, finish, tokens, seconds);
            }
            TextEvent::Failed => panic!("the engine failed after {text:?}"),
            _ => {}
        }
    }
    panic!("an answer without an end");
}

fn request(runtime: &Runtime, prompt: &str, sampling: Sampling) -> GenerateRequest {
    GenerateRequest {
        prompt: runtime.tokenizer().encode(prompt, Specials::AsText),
        sampling,
        ..GenerateRequest::default()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Decode speed with and without a grammar, taken in turns so that what else the machine does falls
/// on both.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_a_grammar() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = runtime(threads, false);
    // Its answers are as long as any: strings, numbers, and choices among names.
    let item = json!({ "type": "object", "properties": {
        "name": { "type": "string", "minLength": 4 }, "kind": { "enum": ["red", "green", "blue"] },
        "size": { "type": "number" } }, "required": ["name", "kind", "size"],
        "additionalProperties": false });
    let schema = json!({ "type": "array", "items": item, "minItems": 100 });
    let held = AnswerRules { grammar: Some(grammar(&runtime, schema)), budget: None };
    let mut speeds = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for (at, rules) in [AnswerRules::default(), held.clone()].into_iter().enumerate() {
            let sampling = Sampling { seed: round as u64, ..Sampling::default() };
            let request = GenerateRequest {
                max_tokens: Some(TOKENS),
                ignore_eos: true,
                rules,
                ..request(&runtime, "A list of things as JSON:\n", sampling)
            };
            let (_, _, tokens, seconds) = answer(&runtime, request);
            speeds[at].push((tokens.saturating_sub(1)) as f64 / seconds);
        }
    }
    let ratios = speeds[0].iter().zip(&speeds[1]).map(|(free, held)| held / free).collect();
    let [free, held] = speeds.map(median);
    println!(
        "{ROUNDS} rounds of {TOKENS} tokens: {free:.1} tokens/s free, {held:.1} with a grammar: \
         {:.3} of it; median of the ratios {:.3}",
        held / free,
        median(ratios)
    );
}

/// A text to be said again, as an editor's or a translator's answer says most of its prompt.
const TEXT: &str = "The harbour of Marlin was built in 1823 by two brothers, Tom and Eli Cray, who \
    had come from the north with nothing but a boat and a letter. They cut the stones from the \
    cliff above the village, and carried them down on sledges in winter, when the path was frozen. \
    It took eleven years. The east wall was finished first, then the lighthouse, and last of all \
    the long pier that the fishermen still call the Arm. In 1901 a storm broke the Arm in three \
    places; it was mended with iron, which has rusted since, so that the stones are red at low \
    tide.";

/// Decode speed with guesses and without, taken in turns: of a text that is said again, and of
/// answers that say nothing again.
#[test]
#[ignore = "a measurement"]
fn what_guesses_bring() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtimes = [false, true].map(|speculate| runtime(threads, speculate));
    let chat = |text: &str| format!("<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n");
    let again = chat(&format!("Write this text again, word for word:\n\n{TEXT}"));
    let plain = [
        "Tell me a story about a dog.",
        "What is a black hole?",
        "How do I bake bread?",
        "Why is the sky blue?",
        "List ten cities in Europe and what they are known for.",
    ];
    for (what, prompts) in [("said again", vec![again]), ("plain", plain.map(chat).to_vec())] {
        let mut speeds = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            let mut texts = Vec::new();
            for (at, runtime) in runtimes.iter().enumerate() {
                let prompt = &prompts[round % prompts.len()];
                let prompt = runtime.tokenizer().encode(prompt, Specials::Parse);
                let temperature = [0.0, 0.7][round / prompts.len() % 2];
                let sampling = Sampling { temperature, seed: round as u64, ..Sampling::default() };
                let request = GenerateRequest {
                    prompt,
                    sampling,
                    max_tokens: Some(2 * TOKENS),
                    ignore_eos: true,
                    ..GenerateRequest::default()
                };
                let (text, _, tokens, seconds) = answer(runtime, request);
                speeds[at].push((tokens.saturating_sub(1)) as f64 / seconds);
                texts.push(text);
            }
            assert_eq!(texts[0], texts[1], "the same answer");
        }
        let ratios = speeds[0].iter().zip(&speeds[1]).map(|(without, with)| with / without);
        let ratios: Vec<f64> = ratios.collect();
        let worst = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let stats = runtimes[1].stats();
        println!(
            "{what}: median of the ratios {:.3}, worst {worst:.3}; {} of {} guesses right so far",
            median(ratios),
            stats.guessed_right,
            stats.guessed
        );
    }
}

/// A real model's answers at a temperature that makes nonsense of them: none is invalid.
#[test]
#[ignore = "takes minutes"]
fn a_real_model_at_a_high_temperature_breaks_no_schema() {
    let runtime = runtime(2, true);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../token/tests/golden/json_schema_suite.json");
    let suite = std::fs::read_to_string(path).expect("the suite");
    let suite: Value = serde_json::from_str(&suite).expect("JSON");
    let (mut whole, mut cut) = (0, 0);
    for (number, group) in suite["groups"].as_array().expect("groups").iter().enumerate() {
        let schema = &group["schema"];
        let source = AnswerGrammar::of_text(TextGrammar::Json(schema.clone()));
        let Ok(grammar) = runtime.grammars().compile(source) else { continue };
        let judge = jsonschema::options().should_validate_formats(true).build(schema);
        let judge = judge.expect("a schema");
        for seed in 0..2 {
            let seed = 2 * number as u64 + seed;
            let sampling = Sampling { temperature: 2.0, seed, ..Sampling::default() };
            let rules = AnswerRules { grammar: Some(grammar.clone()), budget: None };
            let request = GenerateRequest {
                max_tokens: Some(48),
                rules,
                ..request(&runtime, "Some JSON, as short as can be:\n", sampling)
            };
            let (text, finish, ..) = answer(&runtime, request);
            if finish == Finish::Length {
                cut += 1;
                continue;
            }
            match serde_json::from_str::<Value>(&text) {
                Ok(value) => assert!(judge.is_valid(&value), "seed {seed}: {schema}: {text}"),
                // JSON that has no room in 64 bits.
                Err(error) if error.to_string().contains("out of range") => {}
                Err(error) => panic!("seed {seed}: {schema}: {text:?}: {error}"),
            }
            whole += 1;
        }
    }
    println!("{whole} answers, seeds 0 on, none invalid; {cut} were cut at their length");
    assert!(whole > 100);
}
