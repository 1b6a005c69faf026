//! Holds the engine to what it promises about places, pages, prefixes, ends, cancels and errors.

mod common;

use common::{Answer, config, engine, id_of, model, request, run, run_all, tokens};
use myriad_engine::{EngineConfig, EngineError, Event, FinishReason, Request, Sampling};
use myriad_kernels::BlockType;
use myriad_model::Family;
use proptest::prelude::*;

#[test]
fn a_second_turn_computes_only_what_is_new() {
    let model = model(Family::Llama, BlockType::Q4_1);
    let mut engine = engine(&model, 2, config());
    let first = run_all(&mut engine, &[request(&tokens(100, 1), 40, 1)]).remove(0);
    assert_eq!(first.cached_tokens, Some(0));
    let mut chat = tokens(100, 1);
    chat.extend(&first.tokens);
    chat.extend(tokens(20, 2));
    let second = run_all(&mut engine, &[request(&chat, 5, 1)]).remove(0);
    // The last token of the answer was never computed.
    assert_eq!(second.cached_tokens, Some(139));
    let stats = engine.stats();
    assert_eq!((stats.prefix_queries, stats.prefix_hits), (260, 139));
    // A prompt that is cached as a whole: the last token is computed, for its logits.
    let whole = run_all(&mut engine, &[request(&chat[..128], 1, 1)]).remove(0);
    assert_eq!(whole.cached_tokens, Some(127));
}

#[test]
fn a_shared_prompt_is_computed_once_even_at_the_same_time() {
    let model = model(Family::Llama, BlockType::Q4_1);
    for step_tokens in [64, 100, 512] {
        let mut engine = engine(&model, 2, EngineConfig { step_tokens, ..config() });
        let system = tokens(320, 4);
        let requests: Vec<Request> = (0..8)
            .map(|n| request(&[system.clone(), tokens(10 + n, n as u64)].concat(), 4, n as u64))
            .collect();
        let answers = run_all(&mut engine, &requests);
        let cached: Vec<usize> =
            answers.iter().map(|answer| answer.cached_tokens.unwrap()).collect();
        assert_eq!(cached[0], 0, "{step_tokens}");
        assert!(cached[1..].iter().all(|cached| *cached == 320), "{step_tokens}: {cached:?}");
    }
}

#[test]
fn salts_share_nothing() {
    let model = model(Family::Llama, BlockType::Q4_1);
    let mut engine = engine(&model, 1, config());
    let salted = |salt| Request { cache_salt: salt, ..request(&tokens(100, 1), 1, 1) };
    let cached = |answers: Vec<Answer>| answers[0].cached_tokens;
    assert_eq!(cached(run_all(&mut engine, &[salted(1)])), Some(0));
    assert_eq!(cached(run_all(&mut engine, &[salted(2)])), Some(0));
    assert_eq!(cached(run_all(&mut engine, &[salted(1)])), Some(99));
}

#[test]
fn old_prefixes_make_room_and_those_in_use_do_not() {
    let model = model(Family::Llama, BlockType::Q4_1);
    let mut engine = engine(&model, 1, EngineConfig { pages: 16, ..config() });
    let held = request(&tokens(64, 1), 100, 1);
    let id = engine.submit(held.clone()).unwrap();
    let mut watched = Answer::default();
    let mut events = Vec::new();
    // Many other prompts pass through the pages that are left.
    for number in 0..20 {
        engine.submit(request(&tokens(100, 100 + number), 2, number)).unwrap();
        for _ in 0..4 {
            engine.step(&mut events);
        }
    }
    while engine.has_work() {
        engine.step(&mut events);
    }
    events.into_iter().filter(|event| id_of(event) == id).for_each(|event| watched.note(event));
    let alone = run_all(&mut common::engine(&model, 1, config()), &[held]).remove(0);
    assert_eq!(watched.essence(), alone.essence());
    // The first of the others is long gone, the last one is still there.
    let cached = |engine: &mut _, number: u64| {
        run_all(engine, &[request(&tokens(100, 100 + number), 1, 1)])[0].cached_tokens
    };
    assert_eq!(cached(&mut engine, 19), Some(99));
    assert_eq!(cached(&mut engine, 0), Some(0));
}

#[test]
fn a_long_prompt_does_not_stop_running_answers() {
    let model = model(Family::Llama, BlockType::Q4_1);
    let mut engine = engine(&model, 2, EngineConfig { step_tokens: 40, ..config() });
    let id = engine.submit(request(&tokens(10, 1), 200, 1)).unwrap();
    let mut events = Vec::new();
    engine.step(&mut events);
    engine.submit(request(&tokens(400, 2), 5, 2)).unwrap();
    for _ in 0..9 {
        events.clear();
        engine.step(&mut events);
        let of_first = events.iter().filter(|e| matches!(e, Event::Token { .. }) && id_of(e) == id);
        assert_eq!(of_first.count(), 1, "every step has a token for the first");
    }
}

#[test]
fn short_prompts_do_not_wait_for_all_others() {
    let model = model(Family::Llama, BlockType::Q4_1);
    let first_step = |max_tokens| {
        let mut engine = engine(&model, 2, EngineConfig { step_tokens: 512, ..config() });
        for number in 0..16 {
            engine.submit(request(&tokens(20, number), max_tokens, number)).unwrap();
        }
        let mut events = Vec::new();
        engine.step(&mut events);
        events.iter().filter(|event| matches!(event, Event::Token { .. })).count()
    };
    assert_eq!(first_step(8), 4);
    assert_eq!(first_step(1), 16, "who asks for one token has nothing to read meanwhile");
}

#[test]
fn answers_end_where_they_should() {
    let model = model(Family::Llama, BlockType::Q4_1);
    let mut engine = engine(&model, 1, config());
    let base = Request { sampling: Sampling::greedy(), ..request(&tokens(9, 1), 12, 1) };
    let whole = run_all(&mut engine, std::slice::from_ref(&base)).remove(0);
    let (reason, usage) = whole.end.unwrap();
    assert_eq!((reason, whole.tokens.len()), (FinishReason::Length, 12));
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (9, 12));

    let end = whole.tokens[5];
    let first = whole.tokens.iter().position(|token| *token == end).unwrap();
    let ended = Request { end_tokens: vec![end], ..base.clone() };
    let answer = run_all(&mut engine, std::slice::from_ref(&ended)).remove(0);
    assert_eq!(answer.tokens, whole.tokens[..first]);
    let (reason, usage) = answer.end.unwrap();
    assert_eq!((reason, usage.completion_tokens), (FinishReason::EndToken(end), first + 1));

    let later = Request { min_tokens: first + 1, ..ended };
    let answer = run_all(&mut engine, &[later]).remove(0);
    assert!(answer.tokens.len() > first && answer.tokens[..first] == whole.tokens[..first]);
    assert_ne!(answer.tokens[first], end);

    let nothing = run_all(&mut engine, &[Request { max_tokens: 0, ..base }]).remove(0);
    let (reason, usage) = nothing.end.unwrap();
    assert_eq!(
        (reason, usage.completion_tokens, nothing.tokens.len()),
        (FinishReason::Length, 0, 0)
    );
}

#[test]
fn a_cancelled_request_gives_its_pages_back_at_once() {
    let model = model(Family::Llama, BlockType::Q4_1);
    let mut engine = engine(&model, 1, EngineConfig { parallel: 1, ..config() });
    let running = engine.submit(request(&tokens(100, 1), 50, 1)).unwrap();
    let waiting = engine.submit(request(&tokens(100, 2), 50, 2)).unwrap();
    let last = engine.submit(request(&tokens(5, 3), 2, 3)).unwrap();
    let mut events = Vec::new();
    engine.step(&mut events);
    let stats = engine.stats();
    assert_eq!((stats.running, stats.waiting, stats.pages_used), (1, 2, 4));
    engine.cancel(running);
    engine.cancel(waiting);
    engine.cancel(waiting);
    let stats = engine.stats();
    assert_eq!((stats.running, stats.waiting, stats.pages_used), (0, 1, 0));
    let answers = run(&mut engine);
    assert_eq!(answers.keys().collect::<Vec<_>>(), [&last]);
    assert!(!engine.has_work());
}

#[test]
fn bad_requests_are_refused_by_name() {
    let model = model(Family::Llama, BlockType::Q4_1);
    let mut engine = engine(&model, 1, EngineConfig { pages: 4, ..config() });
    assert_eq!(engine.context_max(), 128);
    let good = request(&tokens(9, 1), 3, 1);
    let message = |engine: &mut myriad_engine::Engine, request: Request| {
        engine.submit(request).unwrap_err().to_string()
    };
    let empty = Request { prompt: Vec::new(), ..good.clone() };
    assert!(message(&mut engine, empty).contains("prompt is empty"));
    let unknown = Request { prompt: vec![5, 288], ..good.clone() };
    assert_eq!(message(&mut engine, unknown), "prompt has token 288: right would be ids below 288");
    for max_tokens in [120, usize::MAX] {
        let long = Request { max_tokens, ..good.clone() };
        assert!(matches!(engine.submit(long), Err(EngineError::ContextLength { .. })));
    }
    let with = |change: &dyn Fn(&mut Sampling)| {
        let mut request = good.clone();
        change(&mut request.sampling);
        request
    };
    for (field, bad) in [
        ("temperature", with(&|s| s.temperature = f32::NAN)),
        ("temperature", with(&|s| s.temperature = -1.0)),
        ("top_p", with(&|s| s.top_p = 1.5)),
        ("min_p", with(&|s| s.min_p = f32::NAN)),
        ("repetition_penalty", with(&|s| s.repetition_penalty = 0.0)),
        ("frequency_penalty", with(&|s| s.frequency_penalty = f32::INFINITY)),
        ("presence_penalty", with(&|s| s.presence_penalty = f32::NAN)),
        ("logit_bias", with(&|s| s.logit_bias = vec![(1, f32::NAN)])),
        ("logit_bias", with(&|s| s.logit_bias = vec![(999, 1.0)])),
        ("logprob_tokens", with(&|s| s.logprob_tokens = vec![5, 288])),
    ] {
        assert!(message(&mut engine, bad).starts_with(field), "{field}");
    }
    assert!(!engine.has_work());
    for config in [
        EngineConfig { context: 0, ..config() },
        EngineConfig { parallel: 0, ..config() },
        EngineConfig { step_tokens: 0, ..config() },
        EngineConfig { pages: 0, ..config() },
        EngineConfig { pages: 1 << 40, ..config() },
    ] {
        let shown = format!("{config:?}");
        let result = myriad_engine::Engine::new(model.clone(), common::compute(1), config);
        assert!(result.is_err(), "{shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any load on few pages comes to its end, gives everything back, and every answer is the one
    /// that the request has alone.
    #[test]
    fn any_load_ends_as_if_each_were_alone(
        loads in prop::collection::vec((1usize..200, 0usize..40, 0u64..3, any::<bool>()), 1..12),
        pages in 8usize..24,
        parallel in 1usize..9,
        step_tokens in 1usize..200,
    ) {
        let model = model(Family::Llama, BlockType::Q4_1);
        let requests: Vec<Request> = loads
            .iter()
            .map(|&(length, max_tokens, seed, scored)| {
                // Few seeds: prompts share beginnings.
                let mut request = request(&tokens(length, seed), max_tokens, seed);
                request.prompt_logprobs = scored.then_some(1);
                request
            })
            .collect();
        let tight = EngineConfig { pages, parallel, step_tokens, ..config() };
        let mut engine = engine(&model, 2, tight);
        let found = run_all(&mut engine, &requests);
        prop_assert_eq!(engine.stats().pages_used, 0);
        for (found, request) in found.iter().zip(&requests) {
            let mut own = common::engine(&model, 1, config());
            let right = run_all(&mut own, std::slice::from_ref(request)).remove(0);
            prop_assert_eq!(found.essence(), right.essence());
        }
    }
}
