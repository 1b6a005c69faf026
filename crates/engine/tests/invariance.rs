//! Holds answers to equal bits: alone, among others, cached, preempted, in any chunks, on any
//! threads.

mod common;

use std::sync::Arc;

use common::{Answer, compute, config, engine, model, request, run, run_all, tokens};
use myriad_engine::{EngineConfig, Request, Sampling};
use myriad_formats::Gguf;
use myriad_kernels::BlockType;
use myriad_model::synthetic::{self, Shape};
use myriad_model::{Family, Model, Precision};

/// Sixteen requests with all there is in sampling, of very different lengths.
fn sixteen() -> Vec<Request> {
    let shared = tokens(70, 99);
    (0..16u64)
        .map(|number| {
            let mut prompt = if number % 3 == 0 { shared.clone() } else { Vec::new() };
            prompt.extend(tokens(1 + (number as usize * 37) % 150, number + 1));
            let mut request = request(&prompt, 5 + (number as usize * 7) % 30, number);
            match number % 5 {
                0 => request.sampling.temperature = 0.0,
                1 => request.sampling.top_k = Some(20),
                2 => request.sampling.top_p = 0.8,
                3 => request.sampling.min_p = 0.05,
                _ => request.sampling.repetition_penalty = 1.3,
            }
            if number % 4 == 1 {
                request.prompt_logprobs = Some(2);
            }
            if number % 4 == 2 {
                request.sampling.logprob_tokens = vec![200, 0, 7];
            }
            request
        })
        .collect()
}

/// Each request in an engine of its own, token by token.
fn alone(requests: &[Request], model: &Arc<Model>) -> Vec<Answer> {
    let config = EngineConfig { speculate: false, ..config() };
    let single = |request: &Request| {
        run_all(&mut engine(model, 1, config.clone()), std::slice::from_ref(request)).remove(0)
    };
    requests.iter().map(single).collect()
}

fn assert_equal(found: &[Answer], right: &[Answer], label: &str) {
    for (number, (found, right)) in found.iter().zip(right).enumerate() {
        assert_eq!(found.essence(), right.essence(), "{label}: request {number}");
    }
}

#[test]
fn the_same_bits_in_every_company() {
    for (family, kind) in [
        (Family::Llama, BlockType::Q4_1),
        (Family::Qwen2, BlockType::Q4K),
        (Family::Qwen3, BlockType::F32),
        (Family::Llama, BlockType::BF16),
        (Family::Qwen35, BlockType::Q8_0),
        (Family::DeepSeek32, BlockType::Q4_0),
    ] {
        let model = model(family, kind);
        let requests = sixteen();
        let right = alone(&requests, &model);
        assert!(right.iter().any(|answer| answer.tokens.len() > 20));
        for threads in [1, 2, 3] {
            let label = format!("{family:?} {kind:?} with {threads} threads");
            let mut engine = engine(&model, threads, config());
            assert_equal(&run_all(&mut engine, &requests), &right, &label);
            // All prompts are in the cache now.
            let again = run_all(&mut engine, &requests);
            assert_equal(&again, &right, &format!("{label}, cached"));
            let hits = again.iter().filter(|answer| answer.cached_tokens > Some(0)).count();
            assert!(hits >= 8, "{hits} of 16 found something");
        }
    }
}

#[test]
fn the_same_bits_in_any_chunks_and_order() {
    let model = model(Family::Qwen2, BlockType::Q8_0);
    let requests = sixteen();
    let right = alone(&requests, &model);
    for (step_tokens, parallel) in [(1, 16), (33, 3), (50, 16), (512, 2)] {
        let config = EngineConfig { step_tokens, parallel, ..config() };
        let mut engine = engine(&model, 2, config);
        let label = format!("{step_tokens} tokens a step, {parallel} at once");
        let mut order: Vec<usize> = (0..requests.len()).collect();
        order.rotate_left(step_tokens % 7);
        let shuffled: Vec<Request> = order.iter().map(|at| requests[*at].clone()).collect();
        let wanted: Vec<Answer> = order.iter().map(|at| right[*at].clone()).collect();
        assert_equal(&run_all(&mut engine, &shuffled), &wanted, &label);
    }
}

/// Prompts that say the same again and again, and answers that go on with it.
fn repeating() -> Vec<Request> {
    let requests = (0..12u64).map(|number| {
        let phrase = tokens(4 + number as usize, number + 1);
        let mut request = request(&phrase.repeat(6), 40 + 3 * number as usize, number);
        // Towards the phrase, so that a random model says it, if not always.
        request.sampling.logit_bias = phrase.iter().map(|token| (*token, 4.0)).collect();
        request.sampling.temperature = [0.0, 0.3, 1.0][number as usize % 3];
        request.sampling.logprobs = (number % 2 == 0).then_some(2);
        if number % 4 == 3 {
            request.end_tokens = vec![phrase[3]];
            request.min_tokens = 10;
        }
        if number == 5 {
            request.sampling.presence_penalty = 0.1;
        }
        request
    });
    requests.collect()
}

#[test]
fn the_same_bits_with_guesses_that_are_right_and_that_fail() {
    let (mut guessed, mut guessed_right) = (0, 0);
    for (family, kind) in [
        (Family::Llama, BlockType::Q4_1),
        (Family::Gemma3, BlockType::Q8_0),
        (Family::DeepSeek2, BlockType::BF16),
        (Family::Qwen35, BlockType::F32),
    ] {
        let model = model(family, kind);
        let requests = repeating();
        let right = alone(&requests, &model);
        for (threads, parallel, pages) in [(1, 1, 256), (2, 2, 256), (2, 3, 12), (3, 16, 256)] {
            let label = format!("{family:?}, {threads} threads, {parallel} at once, {pages} pages");
            let mut engine = engine(&model, threads, EngineConfig { parallel, pages, ..config() });
            assert_equal(&run_all(&mut engine, &requests), &right, &label);
            let stats = engine.stats();
            println!("{label}: {} of {} guesses right", stats.guessed_right, stats.guessed);
            assert_eq!(stats.pages_used, 0, "{label}");
            if model.state_bytes() > 0 {
                assert_eq!(stats.guessed, 0, "{label}: a state cannot be taken back");
            }
            guessed += stats.guessed;
            guessed_right += stats.guessed_right;
            // What was published is what was computed.
            let again = run_all(&mut engine, &requests);
            assert_equal(&again, &right, &format!("{label}, cached"));
        }
    }
    assert!(guessed_right > 30 && guessed - guessed_right > 30, "{guessed_right} of {guessed}");
}

/// The model of a file as it is, and as a quantiser leaves it: it often says the same.
fn with_coarser(family: Family) -> (Arc<Model>, Arc<Model>) {
    let bytes = synthetic::gguf(&Shape::small(family, BlockType::F32), 5);
    let file = Gguf::from_bytes(bytes).expect("a well-formed file");
    let load = |precision| {
        let model = Model::load_as(&file, precision, &compute(1), &mut |_| ());
        Arc::new(model.expect("a loadable model"))
    };
    (load(Precision::AsStored), load(Precision::quantised(BlockType::Q8_0)))
}

#[test]
fn the_same_bits_with_a_draft_model() {
    let (mut guessed, mut guessed_right) = (0, 0);
    for (family, other) in [
        (Family::Llama, Family::Qwen2),
        (Family::DeepSeek2, Family::Llama),
        (Family::Qwen35, Family::Qwen3),
    ] {
        let (target, coarser) = with_coarser(family);
        let requests = [&sixteen()[..8], &repeating()[..4]].concat();
        let right = alone(&requests, &target);
        let other = model(other, BlockType::Q8_0);
        // What has recurrent layers cannot guess.
        let drafts = [if coarser.state_bytes() > 0 { &other } else { &coarser }, &other];
        for (draft, (threads, parallel, pages)) in drafts.into_iter().zip([(2, 4, 256), (2, 3, 14)])
        {
            let label = format!("{family:?}, {threads} threads, {parallel} at once, {pages} pages");
            let engine = engine(&target, threads, EngineConfig { parallel, pages, ..config() });
            let mut engine = engine.with_draft(Arc::clone(draft)).expect("a draft");
            for label in [label.clone(), format!("{label}, cached")] {
                assert_equal(&run_all(&mut engine, &requests), &right, &label);
            }
            let stats = engine.stats();
            println!("{label}: {} of {} guesses right", stats.guessed_right, stats.guessed);
            assert_eq!(stats.pages_used, 0, "{label}");
            guessed += stats.guessed;
            guessed_right += stats.guessed_right;
        }
    }
    let wrong = guessed - guessed_right;
    assert!(guessed_right > 20 && wrong > 50, "{guessed_right} of {guessed}");
}

#[test]
fn a_model_is_right_about_itself() {
    let (target, coarser) = with_coarser(Family::Qwen3);
    let mut request = request(&tokens(50, 3), 60, 1);
    request.sampling.temperature = 0.0;
    let right = alone(std::slice::from_ref(&request), &target);
    for draft in [&target, &coarser] {
        let mut engine = engine(&target, 1, config()).with_draft(Arc::clone(draft)).expect("one");
        let answers: Vec<Answer> =
            (0..2).flat_map(|_| run_all(&mut engine, std::slice::from_ref(&request))).collect();
        assert_equal(&answers, &[right.clone(), right.clone()].concat(), "drafted");
        let stats = engine.stats();
        println!("{} of {} guesses right", stats.guessed_right, stats.guessed);
        // A draft of the same size never pays: it is tried at first, and then now and then.
        assert!(stats.guessed > 0);
        if Arc::ptr_eq(draft, &target) {
            // What stood before says something else now and then.
            assert!(stats.guessed_right * 10 >= stats.guessed * 9, "{stats:?}");
        }
    }
}

#[test]
fn what_cannot_be_taken_back_does_not_guess() {
    let (plain, recurrent) =
        (model(Family::Llama, BlockType::F32), model(Family::Qwen35, BlockType::F32));
    let error = engine(&plain, 1, config()).with_draft(recurrent).err();
    let error = error.expect("no guesses").to_string();
    assert!(error.contains("recurrent layers"), "{error}");
}

#[test]
fn the_same_bits_after_preemption() {
    for family in [Family::Llama, Family::Qwen35Moe] {
        the_same_bits_after_preemption_of(family);
    }
}

fn the_same_bits_after_preemption_of(family: Family) {
    let model = model(family, BlockType::Q4_0);
    let requests: Vec<Request> = (0..6).map(|n| request(&tokens(30, n), 120, n)).collect();
    let right = alone(&requests, &model);
    // Six times 150 tokens want 30 pages: there are 12.
    let mut engine = engine(&model, 2, EngineConfig { pages: 12, ..config() });
    assert_equal(&run_all(&mut engine, &requests), &right, "12 pages");
    assert!(engine.stats().preemptions > 0, "{:?}", engine.stats());
    assert_eq!(engine.stats().pages_used, 0);
}

#[test]
fn the_same_bits_when_others_come_and_go() {
    for family in [Family::Qwen3, Family::Qwen3Next] {
        the_same_bits_when_others_come_and_go_with(family);
    }
}

fn the_same_bits_when_others_come_and_go_with(family: Family) {
    let model = model(family, BlockType::Q4_1);
    let watched = request(&tokens(100, 3), 60, 7);
    let right = alone(std::slice::from_ref(&watched), &model).remove(0);
    let mut engine = engine(&model, 2, EngineConfig { step_tokens: 48, ..config() });
    let id = engine.submit(watched).unwrap();
    let mut found = Answer::default();
    let mut events = Vec::new();
    let mut others = std::collections::VecDeque::new();
    for step in 0..200u64 {
        if step % 3 == 0 {
            others.push_back(engine.submit(request(&tokens(40, step), 50, step)).unwrap());
        }
        if step % 4 == 3 {
            others.pop_front().into_iter().for_each(|other| engine.cancel(other));
        }
        engine.step(&mut events);
        events.drain(..).filter(|event| common::id_of(event) == id).for_each(|e| found.note(e));
    }
    assert_eq!(found.essence(), right.essence());
}

/// A conversation goes on from the state at the end of its last whole page, the same prompt from
/// that at its own last one; where no state was kept, nothing is shared.
#[test]
fn the_same_bits_from_a_snapshot() {
    let model = model(Family::Qwen35, BlockType::Q8_0);
    let compute = |snapshots| {
        let config = EngineConfig { context: 2048, step_tokens: 200, snapshots, ..config() };
        engine(&model, 2, config)
    };
    let model_context = model.config().context_length;
    let first = request(&tokens(100, 1), 40, 1);
    let mut engine_of_all = compute(8);
    let answer = run_all(&mut engine_of_all, std::slice::from_ref(&first)).remove(0);
    let mut longer = [first.prompt.clone(), answer.tokens.clone()].concat();
    longer.extend(tokens(50, 2));
    let turn = request(&longer, 10, 2);
    let again = request(&tokens(100, 1), 10, 3);
    // 90 of its tokens are those of the first prompt: no state ends there but at 64 + 32.
    let other = request(&[&tokens(100, 1)[..90], &tokens(40, 4)[..]].concat(), 10, 4);
    assert!(longer.len() + 10 <= model_context);
    for (request, cached) in [(&turn, 128), (&again, 96), (&other, 0)] {
        let request = std::slice::from_ref(request);
        let found = run_all(&mut engine_of_all, request).remove(0);
        let right = run_all(&mut compute(0), request).remove(0);
        assert_eq!(found.essence(), right.essence());
        assert_eq!((found.cached_tokens, right.cached_tokens), (Some(cached), Some(0)));
    }
}

#[test]
fn two_runs_have_equal_events() {
    let model = model(Family::Llama, BlockType::Q6K);
    let all = |threads| {
        let mut engine = engine(&model, threads, EngineConfig { pages: 40, ..config() });
        for request in sixteen() {
            engine.submit(request).unwrap();
        }
        let mut events = Vec::new();
        while engine.has_work() {
            engine.step(&mut events);
        }
        format!("{events:?}")
    };
    assert_eq!(all(1), all(2));
}

#[test]
fn prompt_scores_are_the_models_own() {
    use myriad_model::{Batch, LogitRows, Scratch, Segment};
    let model = model(Family::Llama, BlockType::Q5K);
    let prompt = tokens(150, 8);
    let compute = common::compute(1);
    let pages: Vec<u32> = (0..5).collect();
    let mut cache = model.new_cache(5, 1).unwrap();
    let segment = Segment::alone(&prompt, 0, &pages, LogitRows::All);
    let mut scratch = Scratch::new();
    let logits =
        model.forward(&compute, &Batch { sequences: &[segment] }, &mut cache, &mut scratch);
    let right: Vec<(usize, u32, u32)> = (1..prompt.len())
        .map(|at| {
            let log = myriad_engine::log_probabilities(logits.row(at - 1));
            (at, prompt[at], log[prompt[at] as usize].to_bits())
        })
        .collect();
    for max_tokens in [0, 4] {
        let mut engine = engine(&model, 2, config());
        // What is cached must not hide what is to be scored.
        run_all(&mut engine, &[request(&prompt, 1, 0)]);
        let mut request = request(&prompt, max_tokens, 0);
        request.prompt_logprobs = Some(5);
        request.sampling = Sampling::greedy();
        let id = engine.submit(request).unwrap();
        let answer = run(&mut engine).remove(&id).unwrap();
        let scores: Vec<(usize, u32, u32)> = answer
            .prompt_scores
            .iter()
            .map(|(at, score)| (*at, score.token, score.logprob.to_bits()))
            .collect();
        assert_eq!(scores, right);
        assert!(answer.prompt_scores.iter().all(|(_, score)| score.top.len() == 5));
        assert_eq!(answer.tokens.len(), max_tokens);
    }
}

/// However unlikely, in the order in which they are asked for, whatever is chosen.
#[test]
fn tokens_that_are_asked_for_have_the_models_own_probabilities() {
    let model = model(Family::Qwen3, BlockType::Q8_0);
    let prompt = tokens(50, 8);
    let mut asked = request(&prompt, 4, 3);
    asked.sampling.logprobs = Some(0);
    asked.sampling.logprob_tokens = vec![287, 0, 42, 42];
    let answer = run_all(&mut engine(&model, 1, config()), &[asked]).remove(0);
    assert_eq!(answer.scores.len(), 4);
    for (at, score) in answer.scores.iter().enumerate() {
        for (place, token) in [287, 0, 42, 42].into_iter().enumerate() {
            // The same token as the last one of a prompt.
            let so_far = [&prompt, &answer.tokens[..at], &[token]].concat();
            let mut read = request(&so_far, 0, 0);
            read.prompt_logprobs = Some(0);
            let read = run_all(&mut engine(&model, 1, config()), &[read]).remove(0);
            let (_, right) = read.prompt_scores.last().unwrap();
            assert_eq!(score.asked[place], (token, right.logprob));
        }
        assert_eq!((score.asked.len(), score.top.len()), (4, 0));
    }
}
