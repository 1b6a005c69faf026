//! Holds answers that begin with a part of another sequence's page to equal bits with those that
//! compute all of it, and counts what they found.

mod common;

use std::sync::Arc;

use common::{Answer, config, engine, id_of, model, request, run_all, tokens};
use myriad_engine::{Engine, EngineConfig, Request};
use myriad_kernels::{BlockType, KvType};
use myriad_model::{Family, Model};

/// A prompt of these many tokens that many share, and eight of its own.
fn with_own(shared: usize, own: u64) -> Request {
    request(&[tokens(shared, 77), tokens(8, own)].concat(), 12, own)
}

fn alone(model: &Arc<Model>, kv: KvType, request: &Request) -> Answer {
    let mut engine = engine(model, 1, EngineConfig { kv, ..config() });
    run_all(&mut engine, std::slice::from_ref(request)).remove(0)
}

#[test]
fn the_same_bits_behind_a_part_of_a_page() {
    for (family, kind, kv) in [
        (Family::Llama, BlockType::Q4_1, KvType::F16),
        (Family::Gemma3, BlockType::Q8_0, KvType::Q8_0),
        (Family::DeepSeek2, BlockType::BF16, KvType::F32),
    ] {
        let model = model(family, kind);
        for shared in [5, 70, 95] {
            let mut engine = engine(&model, 2, EngineConfig { kv, ..config() });
            run_all(&mut engine, &[with_own(shared, 1)]);
            let requests: Vec<Request> = (2..10).map(|own| with_own(shared, own)).collect();
            let found = run_all(&mut engine, &requests);
            for (found, request) in found.iter().zip(&requests) {
                let label = format!("{family:?}, {kv:?}, {shared} shared");
                assert_eq!(found.cached_tokens, Some(shared), "{label}");
                assert_eq!(found.essence(), alone(&model, kv, request).essence(), "{label}");
            }
            assert_eq!(engine.stats().pages_used, 0);
        }
    }
}

#[test]
fn a_shared_beginning_is_computed_once_to_its_last_token() {
    let model = model(Family::Llama, BlockType::Q4_1);
    let mut engine = engine(&model, 2, config());
    let requests: Vec<Request> = (1..17).map(|own| with_own(70, own)).collect();
    let found = run_all(&mut engine, &requests);
    assert_eq!(found[0].cached_tokens, Some(0));
    for (found, request) in found[1..].iter().zip(&requests[1..]) {
        assert_eq!(found.cached_tokens, Some(70));
        assert_eq!(found.essence(), alone(&model, KvType::F16, request).essence());
    }
}

#[test]
fn salts_share_no_part_of_a_page() {
    let model = model(Family::Llama, BlockType::Q4_1);
    let mut engine = engine(&model, 1, config());
    let salted = |salt| Request { cache_salt: salt, ..with_own(20, 1) };
    for (salt, cached) in [(1, 0), (2, 0), (1, 27)] {
        let answer = run_all(&mut engine, &[salted(salt)]).remove(0);
        assert_eq!(answer.cached_tokens, Some(cached), "{salt}");
    }
}

#[test]
fn states_are_shared_by_whole_pages() {
    let model = model(Family::Qwen35, BlockType::Q8_0);
    let mut engine = engine(&model, 1, config());
    let again = || with_own(70, 1);
    assert_eq!(run_all(&mut engine, &[again()])[0].cached_tokens, Some(0));
    assert_eq!(run_all(&mut engine, &[again()])[0].cached_tokens, Some(64));
}

/// Computes `steps` steps of a request, then another one to its end beside it.
fn beside(engine: &mut Engine, first: &Request, steps: usize, cancels: bool) -> Answer {
    let second = Request { max_tokens: 5, ..first.clone() };
    let id = engine.submit(first.clone()).expect("good");
    (0..steps).for_each(|_| engine.step(&mut Vec::new()));
    if cancels {
        engine.cancel(id);
    }
    let id = engine.submit(second).expect("good");
    let (mut answer, mut events) = (Answer::default(), Vec::new());
    while engine.has_work() {
        engine.step(&mut events);
        events.drain(..).filter(|event| id_of(event) == id).for_each(|event| answer.note(event));
    }
    answer
}

/// Rows that are yet to come are not taken for computed.
#[test]
fn a_page_that_is_being_computed_is_shared_as_far_as_it_is() {
    let model = model(Family::Llama, BlockType::Q4_1);
    let config = EngineConfig { step_tokens: 50, ..config() };
    let first = request(&tokens(120, 1), 40, 1);
    let right = alone(&model, KvType::F16, &Request { max_tokens: 5, ..first.clone() });
    for (steps, cancels, cached) in
        [(1, true, 50), (2, true, 100), (20, true, 119), (20, false, 119)]
    {
        let mut engine = engine(&model, 2, config.clone());
        let found = beside(&mut engine, &first, steps, cancels);
        assert_eq!(found.cached_tokens, Some(cached), "{steps} steps");
        assert_eq!(found.essence(), right.essence(), "{steps} steps");
        assert_eq!(engine.stats().pages_used, 0);
    }
}

/// What an answer has computed is what the next turn finds, guesses that failed aside.
#[test]
fn the_next_turn_finds_all_that_was_computed() {
    let model = model(Family::Llama, BlockType::Q4_1);
    let mut engine = engine(&model, 2, config());
    let mut prompt = tokens(6, 3).repeat(6);
    for turn in 0..6 {
        let mut request = request(&prompt, 30, turn);
        request.sampling.logit_bias = prompt[..6].iter().map(|token| (*token, 8.0)).collect();
        let found = run_all(&mut engine, std::slice::from_ref(&request)).remove(0);
        assert_eq!(found.essence(), alone(&model, KvType::F16, &request).essence());
        let before = prompt.len() - 3 - 1;
        assert_eq!(found.cached_tokens, Some(if turn > 0 { before } else { 0 }));
        prompt.extend(&found.tokens);
        prompt.extend(tokens(3, turn + 9));
    }
    let stats = engine.stats();
    assert!(stats.guessed > stats.guessed_right, "{stats:?}");
}

/// A request that gave way goes on in the pages that it had, if nobody took them.
#[test]
fn the_same_bits_after_preemption_within_a_page() {
    let model = model(Family::Llama, BlockType::Q4_0);
    let requests: Vec<Request> =
        (1..9).map(|own| Request { max_tokens: 100, ..with_own(40, own) }).collect();
    let mut engine = engine(&model, 2, EngineConfig { pages: 11, ..config() });
    let found = run_all(&mut engine, &requests);
    assert!(engine.stats().preemptions > 0, "{:?}", engine.stats());
    for (found, request) in found.iter().zip(&requests) {
        assert_eq!(found.essence(), alone(&model, KvType::F16, request).essence());
    }
    assert_eq!(engine.stats().pages_used, 0);
}
