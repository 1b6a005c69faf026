//! Holds answers with guesses of the model's own layer (multi-token prediction) to equal bits with
//! those without, and sees that guesses are right where they should be.

mod common;

use std::sync::Arc;

use common::{Answer, compute, config, engine, request, run_all, tokens};
use myriad_engine::{Engine, EngineConfig, Request, Stats};
use myriad_formats::Gguf;
use myriad_kernels::BlockType;
use myriad_model::synthetic::{Parts, Shape};
use myriad_model::{Family, Model, MtpHead, Precision};

/// Deep enough that a guess is much less than a step.
const LAYERS: usize = 8;

/// A model and the layer that guesses for it.
type Pair = (Arc<Model>, Arc<MtpHead>);

fn load(parts: &Parts) -> Pair {
    let file = Gguf::from_bytes(parts.to_bytes()).expect("a well-formed file");
    let compute = compute(1);
    let model = Model::load(&file, &compute, &mut |_| ()).expect("a loadable model");
    let head = model.load_mtp(&file, Precision::AsStored, &compute, &mut |_| ());
    (Arc::new(model), Arc::new(head.expect("a loadable layer").expect("it has one")))
}

/// A random model, whose layer guesses at random.
fn random(family: Family, kind: BlockType) -> Pair {
    load(&Parts::new(&Shape { mtp: true, layers: LAYERS, ..Shape::small(family, kind) }, 5))
}

/// A model whose next token depends on the last one nearly alone, and whose layer knows that: it
/// hands on what the token's embedding says.
fn right(family: Family) -> Pair {
    let shape = Shape { mtp: true, layers: LAYERS, ..Shape::small(family, BlockType::F32) };
    let mut parts = Parts::new(&shape, 5);
    let norm = parts.tensor("output_norm.weight").values.clone();
    for tensor in &mut parts.tensors {
        let adds = ["attn_output.", "ffn_down", "ssm_out."];
        if adds.iter().any(|part| tensor.name.contains(part)) {
            tensor.values.iter_mut().for_each(|value| *value *= 0.02);
        }
        let (_, part) = tensor.name.split_once("nextn.").unwrap_or_default();
        match part {
            "eh_proj.weight" => {
                let columns = tensor.shape[0];
                for (index, value) in tensor.values.iter_mut().enumerate() {
                    *value = f32::from(u8::from(index / columns == index % columns));
                }
            }
            "enorm.weight" => tensor.values.fill(1.0),
            "shared_head_norm.weight" => tensor.values.clone_from(&norm),
            _ => {}
        }
    }
    load(&parts)
}

fn with_head((model, head): &Pair, threads: usize, config: EngineConfig) -> Engine {
    engine(model, threads, config).with_draft(Arc::clone(head)).expect("a draft")
}

/// Of different lengths, greedy and not, some with a common beginning, one with scores of its
/// prompt and one with penalties.
fn requests() -> Vec<Request> {
    let shared = tokens(70, 99);
    let request = |number: u64| {
        let mut prompt = if number.is_multiple_of(3) { shared.clone() } else { Vec::new() };
        prompt.extend(tokens(1 + (number as usize * 37) % 150, number + 1));
        let mut request = request(&prompt, 30 + (number as usize * 7) % 40, number);
        request.sampling.temperature = [0.0, 0.4, 1.0][number as usize % 3];
        match number {
            4 => request.prompt_logprobs = Some(2),
            5 => request.sampling.repetition_penalty = 1.3,
            7 => request.end_tokens = tokens(20, 3),
            _ => {}
        }
        request
    };
    (0..8).map(request).collect()
}

/// Each request in an engine of its own, token by token.
fn alone(requests: &[Request], (model, _): &Pair) -> Vec<Answer> {
    let config = EngineConfig { speculate: false, ..config() };
    let single = |request: &Request| {
        run_all(&mut engine(model, 1, config.clone()), std::slice::from_ref(request)).remove(0)
    };
    requests.iter().map(single).collect()
}

/// Runs the requests twice, the second time with prompts in the cache; returns what was guessed.
fn check(engine: &mut Engine, requests: &[Request], right: &[Answer], label: &str) -> Stats {
    for label in [label.to_owned(), format!("{label}, cached")] {
        for (number, (found, right)) in run_all(engine, requests).iter().zip(right).enumerate() {
            assert_eq!(found.essence(), right.essence(), "{label}: request {number}");
        }
    }
    let stats = engine.stats();
    println!("{label}: {} of {} guesses right", stats.guessed_right, stats.guessed);
    assert_eq!(stats.pages_used, 0, "{label}");
    stats
}

const CIRCUMSTANCES: [(usize, usize, usize, usize); 4] =
    [(1, 1, 256, 128), (2, 2, 256, 33), (2, 3, 14, 128), (1, 10, 24, 64)];

/// How many tokens were guessed, and how many of them rightly, in all circumstances.
fn the_same_bits_with(pair: &Pair, label: &str) -> (u64, u64) {
    let requests = requests();
    let right = alone(&requests, pair);
    let (mut guessed, mut guessed_right, mut preemptions) = (0, 0, 0);
    for (threads, parallel, pages, step_tokens) in CIRCUMSTANCES {
        let label = format!("{label}, {threads} threads, {parallel} at once, {pages} pages");
        let config = EngineConfig { parallel, pages, step_tokens, ..config() };
        let stats = check(&mut with_head(pair, threads, config), &requests, &right, &label);
        guessed += stats.guessed;
        guessed_right += stats.guessed_right;
        preemptions += stats.preemptions;
    }
    assert!(preemptions > 0, "{label}: pages were to be short");
    (guessed, guessed_right)
}

#[test]
fn the_same_bits_with_guesses_that_fail() {
    for (family, kind) in [
        (Family::DeepSeek2, BlockType::Q4_1),
        (Family::DeepSeek32, BlockType::BF16),
        (Family::Qwen3Next, BlockType::Q4_0),
        (Family::Qwen35, BlockType::Q8_0),
    ] {
        let (guessed, right) = the_same_bits_with(&random(family, kind), &format!("{family:?}"));
        assert!(guessed - right > 60, "{right} of {guessed}");
    }
}

/// What stood before is guessed to follow again without the layer, too: it is right beside that.
#[test]
fn the_same_bits_with_guesses_that_are_right() {
    for family in [Family::DeepSeek2, Family::Qwen35, Family::Qwen35Moe] {
        let pair = right(family);
        let (guessed, right) = the_same_bits_with(&pair, &format!("{family:?}"));
        let mut lookup = engine(&pair.0, 1, config());
        let requests = requests();
        let without = check(&mut lookup, &requests, &alone(&requests, &pair), "lookup alone");
        let of_layer = right.saturating_sub(CIRCUMSTANCES.len() as u64 * without.guessed_right);
        assert!(of_layer > 200 && right * 5 > guessed * 2, "{of_layer}, {right} of {guessed}");
    }
}

/// What an answer of guesses leaves in the cache, states among it, is what the next turn begins
/// from.
#[test]
fn the_same_bits_from_what_guesses_left() {
    for family in [Family::DeepSeek2, Family::Qwen35] {
        let pair = right(family);
        let mut engine = with_head(&pair, 2, config());
        let mut longer = tokens(70, 1);
        for turn in 0..4 {
            let mut request = request(&longer, 50, turn);
            request.sampling.temperature = 0.5;
            let right = alone(std::slice::from_ref(&request), &pair).remove(0);
            let found = run_all(&mut engine, &[request]).remove(0);
            assert_eq!(found.essence(), right.essence(), "{family:?}, turn {turn}");
            // Of the answer before, the last token was not computed; a state was kept of the last
            // whole page.
            let computed = longer.len() - 20 - 1;
            let cached = if pair.0.state_bytes() > 0 { computed / 32 * 32 } else { computed };
            if turn > 0 {
                assert_eq!(found.cached_tokens, Some(cached), "{family:?}, turn {turn}");
            }
            longer.extend(&found.tokens);
            longer.extend(tokens(20, turn + 2));
        }
        let stats = engine.stats();
        assert!(stats.guessed > 20, "{stats:?}");
    }
}

/// More was computed than the answer has then, and none of it is followed.
#[test]
fn an_answer_may_end_within_a_guess() {
    let pair = right(Family::DeepSeek2);
    let greedy = |prompt: &[u32], max_tokens| {
        let mut request = request(prompt, max_tokens, 1);
        request.sampling.temperature = 0.0;
        request
    };
    // Such a model soon says the same again and again.
    let said = alone(&[greedy(&[7], 120)], &pair).remove(0).tokens;
    let mut guessed_right = 0;
    for end in [said[101], said[102], said[110]] {
        let ending = Request { end_tokens: vec![end], ..greedy(&said[..100], 60) };
        let right = alone(std::slice::from_ref(&ending), &pair);
        let mut engine = with_head(&pair, 1, config());
        guessed_right += check(&mut engine, &[ending], &right, "an end").guessed_right;
    }
    assert!(guessed_right > 0);
}
