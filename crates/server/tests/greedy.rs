//! Holds greedy answers of the default model to recorded ones, letter by letter.
//!
//! All kernel levels agree to the bit, so one record holds on every machine. To record anew after a
//! change that is meant to alter numbers: `MYRIAD_RECORD_GOLDENS=1 cargo test -p myriad-server
//! --release --test greedy`, and look at the difference.

use std::path::PathBuf;
use std::sync::Arc;

use myriad_engine::{EngineConfig, Sampling};
use myriad_formats::Gguf;
use myriad_kernels::{Compute, Kernels, KvType};
use myriad_model::Model;
use myriad_server::{GenerateRequest, Generation, LoadedModel, Runtime, TextEvent};
use myriad_token::{ChatTemplate, Message, RenderOptions, Specials, Tokenizer};
use serde::{Deserialize, Serialize};

/// Tokens of each answer.
const TOKENS: usize = 32;

#[derive(Serialize, Deserialize)]
struct Golden {
    /// Whether the prompt is a user's message, or text to go on with.
    chat: bool,
    prompt: String,
    answer: String,
}

#[test]
fn twenty_greedy_answers_are_the_recorded_ones() {
    let path = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .join("tests/golden/greedy.json");
    let text = std::fs::read_to_string(&path).expect("the goldens");
    let mut goldens: Vec<Golden> = serde_json::from_str(&text).expect("goldens");
    assert_eq!(goldens.len(), 20);
    let runtime = runtime();
    // All at once: company changes nothing.
    let running: Vec<Generation> = goldens
        .iter()
        .map(|golden| runtime.generate_blocking(request(&runtime, golden)).expect("taken"))
        .collect();
    let answers: Vec<String> = running.into_iter().map(answer).collect();
    if std::env::var_os("MYRIAD_RECORD_GOLDENS").is_some() {
        for (golden, answer) in goldens.iter_mut().zip(answers) {
            golden.answer = answer;
        }
        let text = serde_json::to_string_pretty(&goldens).expect("JSON") + "\n";
        return std::fs::write(&path, text).expect("written");
    }
    for (golden, answer) in goldens.iter().zip(answers) {
        assert_eq!(answer, golden.answer, "the answer to {:?}", golden.prompt);
    }
}

fn runtime() -> Arc<Runtime> {
    let gguf = Gguf::open(&default_model_path()).expect("the default model");
    let compute = Compute::new(Kernels::detect().expect("kernels"), 2);
    let vocab = gguf.vocab().expect("a vocabulary");
    let tokenizer = Arc::new(Tokenizer::new(&vocab).expect("a known tokenizer"));
    let source = vocab.chat_template.expect("a template");
    let template = ChatTemplate::new(&source, &tokenizer).expect("a good template");
    let model = LoadedModel {
        names: vec!["default".into()],
        model: Arc::new(Model::load(&gguf, &compute, &mut |_| ()).expect("a model")),
        draft: None,
        compute,
        tokenizer,
        template: Some(Arc::new(template)),
    };
    let config = EngineConfig {
        context: 512,
        parallel: 20,
        step_tokens: 256,
        pages: 128,
        kv: KvType::F16,
        snapshots: 0,
        speculate: true,
    };
    Runtime::start(model, config).expect("started")
}

fn request(runtime: &Runtime, golden: &Golden) -> GenerateRequest {
    let tokenizer = runtime.tokenizer();
    let prompt = if golden.chat {
        let message = Message {
            role: "user".into(),
            content: golden.prompt.clone(),
            extra: serde_json::Map::new(),
        };
        let template = runtime.template().expect("the default model has a template");
        let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
        template.encode(tokenizer, &[message], &options).expect("rendered")
    } else {
        tokenizer.encode(&golden.prompt, Specials::AsText)
    };
    GenerateRequest {
        prompt,
        sampling: Sampling::greedy(),
        max_tokens: Some(TOKENS),
        ..GenerateRequest::default()
    }
}

fn answer(generation: Generation) -> String {
    let mut text = String::new();
    for event in generation.into_blocking_iter() {
        match event {
            TextEvent::Text { text: more, .. } => text.push_str(&more),
            TextEvent::Failed => panic!("the engine failed"),
            _ => {}
        }
    }
    text
}

/// The default model's file; `make test` gets it first.
fn default_model_path() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache"));
    let path = cache.join("myriad/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.exists(), "{} is not there; `make model` gets it", path.display());
    path
}
