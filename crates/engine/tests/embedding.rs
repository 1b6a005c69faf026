//! Vectors of texts, and scores of pairs: what the plain twin says, the same alone and in company.

mod common;

use std::sync::Arc;

use common::{Answer, compute, config, engine, id_of, model, request, run_all};
use myriad_engine::{
    Embedder, Engine, EngineConfig, EngineError, Event, FinishReason, Output, Request, RequestId,
};
use myriad_formats::{Gguf, Value};
use myriad_kernels::BlockType;
use myriad_model::reference::Reference;
use myriad_model::synthetic::{Parts, Shape};
use myriad_model::{Family, Model, Pool, Pooling, Text};

/// The vector that is wanted of a text.
fn vector(prompt: &[u32]) -> Request {
    Request { prompt: prompt.to_vec(), output: Output::Vector, ..Request::default() }
}

/// Tokens that no two texts share.
fn text(length: usize, seed: usize) -> Vec<u32> {
    (0..length).map(|index| ((index * index * 7 + index * 31 + seed * 101) % 256) as u32).collect()
}

/// A random model in f32 whose key says how its states become a vector.
fn pooled(family: Family, pooling: u32) -> (Arc<Model>, Reference) {
    let mut parts = Parts::new(&Shape::small(family, BlockType::F32), 5);
    parts.set(&format!("{}.pooling_type", family.name()), Value::U32(pooling));
    let gguf = Gguf::from_bytes(parts.to_bytes()).unwrap();
    let model = Model::load(&gguf, &compute(1), &mut |_| ()).unwrap();
    (Arc::new(model), Reference::load(&gguf).unwrap())
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn alone(engine: &mut Engine, request: Request) -> Answer {
    run_all(engine, &[request]).remove(0)
}

#[test]
fn a_decoder_makes_the_vectors_of_its_twin() {
    for (key, pooling) in [(1, Pooling::Mean), (2, Pooling::First), (3, Pooling::Last)] {
        let (model, reference) = pooled(Family::Qwen3, key);
        assert_eq!(model.config().pooling, pooling);
        let mut engine = engine(&model, 2, config());
        for length in [1, 31, 200] {
            let tokens = text(length, key as usize);
            let mut pool = Pool::new(pooling, model.config().hidden);
            pool.take(&reference.states(&tokens));
            let answer = alone(&mut engine, vector(&tokens));
            let found = cosine(&answer.values, &pool.finish());
            // Keys and values are half floats.
            assert!(found > 0.9999, "{pooling:?}, {length} tokens: {found}");
            let norm: f32 = answer.values.iter().map(|value| value * value).sum();
            assert!((norm - 1.0).abs() < 1e-5);
            let (reason, usage) = answer.end.unwrap();
            assert_eq!(reason, FinishReason::Complete);
            assert_eq!((usage.prompt_tokens, usage.completion_tokens), (length, 0));
        }
    }
    let unsaid = model_of(Family::Llama);
    assert_eq!(unsaid.config().pooling, Pooling::Last);
}

fn model_of(family: Family) -> Arc<Model> {
    model(family, BlockType::Q4_0)
}

/// Alone, among others and answers, in small steps, with a cached prefix, after preemptions.
#[test]
fn circumstances_do_not_show_in_a_vector() {
    for (family, pooling) in [(Family::Qwen3, 1), (Family::Llama, 3), (Family::Qwen35, 1)] {
        let (model, _) = pooled(family, pooling);
        let texts: Vec<Vec<u32>> =
            [1, 40, 96, 150, 150].iter().enumerate().map(|(i, n)| text(*n, i.min(3))).collect();
        let right: Vec<Answer> = texts
            .iter()
            .map(|tokens| alone(&mut engine(&model, 1, config()), vector(tokens)))
            .collect();
        for (step_tokens, pages, threads) in [(128, 256, 2), (33, 256, 1), (64, 16, 2)] {
            let sizes = EngineConfig { step_tokens, pages, ..config() };
            let mut engine = engine(&model, threads, sizes);
            for round in 0..2 {
                let requests: Vec<Request> = texts
                    .iter()
                    .flat_map(|tokens| {
                        let chat = request(&tokens[..tokens.len().min(40)], 12, 1);
                        [chat, vector(tokens)]
                    })
                    .collect();
                let answers = run_all(&mut engine, &requests);
                for (index, right) in right.iter().enumerate() {
                    let found = &answers[2 * index + 1];
                    assert!(
                        found.values == right.values,
                        "{family:?}, text {index}, {step_tokens} a step, round {round}"
                    );
                    assert_eq!(answers[2 * index].tokens.len(), 12);
                }
            }
        }
    }
}

fn embedder(model: &Arc<Model>) -> Embedder {
    Embedder::new(Arc::clone(model), compute(2), EngineConfig { pages: 16, ..config() }).unwrap()
}

fn events_of(embedder: &mut Embedder) -> Vec<Event> {
    let mut events = Vec::new();
    while embedder.has_work() {
        embedder.step(&mut events);
    }
    events
}

fn values(events: &[Event], wanted: RequestId) -> Vec<f32> {
    let own = events.iter().find_map(|event| match event {
        Event::Computed { id, values } if *id == wanted => Some(values.clone()),
        _ => None,
    });
    own.expect("a vector")
}

#[test]
fn an_encoder_makes_vectors_in_batches_of_whole_texts() {
    let encoder = model(Family::Bert, BlockType::Q8_0);
    let mut engine = embedder(&encoder);
    assert_eq!(engine.context_max(), 512);
    let texts: Vec<Vec<u32>> =
        [1, 512, 40, 64, 3, 300, 300].iter().enumerate().map(|(i, n)| text(*n, i)).collect();
    let ids: Vec<RequestId> =
        texts.iter().map(|tokens| engine.submit(vector(tokens)).unwrap()).collect();
    assert_eq!(engine.stats().waiting, 7);
    let mut events = Vec::new();
    engine.step(&mut events);
    assert_eq!(engine.stats().waiting, 6, "the second fills a step of its own");
    events.extend(events_of(&mut engine));
    for (id, tokens) in ids.iter().zip(&texts) {
        let mut encoding = encoder.new_encoding(16).unwrap();
        let states = encoder.encode(&compute(1), &[Text::alone(tokens)], &mut encoding);
        let mut pool = Pool::new(Pooling::Mean, encoder.config().hidden);
        pool.take(states);
        assert!(values(&events, *id) == pool.finish(), "{} tokens", tokens.len());
    }
    let ends = events.iter().filter(|event| matches!(event, Event::Finished { .. })).count();
    assert_eq!(ends, 7);
}

#[test]
fn what_is_cancelled_is_not_computed() {
    let mut engine = embedder(&model(Family::Bert, BlockType::Q8_0));
    let first = engine.submit(vector(&[1, 2])).unwrap();
    let second = engine.submit(vector(&[3])).unwrap();
    engine.cancel(first);
    let events = events_of(&mut engine);
    assert!(events.iter().all(|event| id_of(event) == second) && events.len() == 3);
}

#[test]
fn each_kind_of_model_refuses_what_it_does_not_do() {
    let mut encoder = embedder(&model(Family::Bert, BlockType::Q8_0));
    let answer = Request { prompt: vec![1], max_tokens: 5, ..Request::default() };
    let pair = Request { output: Output::PairScore { first: 1 }, ..vector(&[1, 2]) };
    let refused = |result: Result<RequestId, EngineError>| result.unwrap_err().to_string();
    assert!(refused(encoder.submit(answer)).contains("an encoder"));
    assert!(refused(encoder.submit(pair.clone())).contains("trained to make vectors"));
    assert!(refused(encoder.submit(vector(&[]))).contains("empty"));
    assert!(refused(encoder.submit(vector(&[288]))).contains("below 288"));
    let long = encoder.submit(vector(&text(513, 1)));
    assert!(matches!(long, Err(EngineError::ContextLength { prompt: 513, context: 512, .. })));
    assert!(!encoder.has_work());

    let llama = model_of(Family::Llama);
    let mut decoder = engine(&llama, 1, config());
    assert!(refused(decoder.submit(pair)).contains("it continues texts"));
    let bert = model(Family::Bert, BlockType::Q8_0);
    assert!(Engine::new(Arc::clone(&bert), compute(1), config()).is_err());
    assert!(Embedder::new(llama, compute(1), config()).is_err());
    let few = EngineConfig { pages: 15, ..config() };
    assert!(matches!(
        Embedder::new(bert, compute(1), few),
        Err(EngineError::Config { field: "pages", value: 15, .. })
    ));
}
