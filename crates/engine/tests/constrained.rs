//! Holds constrained answers to their grammar, and to the same tokens in every company.

mod common;

use std::sync::Arc;

use common::{Answer, config, engine, model, request, run_all, tokens};
use myriad_engine::{
    Constraint, ConstraintError, EngineConfig, Event, FinishReason, Grammar, Request,
};
use myriad_kernels::BlockType;
use myriad_model::Family;

/// Ends an answer.
const END: u32 = 280;

/// Small enough for answers to fill pages.
const STEP: u32 = 6;

/// Answers whose tokens go up by 1 to `STEP` each, up to 250: those below 200 are not complete.
#[derive(Debug)]
struct Rising;

struct Place {
    last: u32,
}

impl Grammar for Rising {
    fn start(&self) -> Box<dyn Constraint> {
        Box::new(Place { last: 0 })
    }
}

impl Constraint for Place {
    fn mask(&mut self, allowed: &mut [u32]) -> Result<(), ConstraintError> {
        assert!(allowed.iter().all(|word| *word == 0));
        for token in self.last + 1..=(self.last + STEP).min(250) {
            allowed[token as usize / 32] |= 1 << (token % 32);
        }
        Ok(())
    }

    fn accept(&mut self, token: u32) -> Result<(), ConstraintError> {
        assert!(token > self.last && token <= self.last + STEP, "{token} after {}", self.last);
        self.last = token;
        Ok(())
    }

    fn may_end(&mut self) -> bool {
        self.last >= 200
    }

    fn must_end(&mut self) -> bool {
        self.last == 250
    }
}

fn constrained(prompt: &[u32], seed: u64) -> Request {
    let mut request = request(prompt, 250, seed);
    request.grammar = Some(Arc::new(Rising));
    // Those that the grammar knows are text before the answer is complete.
    request.end_tokens = vec![END, 20, 21, 22, 23, 24, 25, 26];
    request.sampling.temperature = 2.0;
    request
}

/// Requests with everything that pulls at a choice.
fn hostile() -> Vec<Request> {
    let shared = tokens(70, 99);
    (0..24u64)
        .map(|seed| {
            let mut prompt = if seed % 3 == 0 { shared.clone() } else { Vec::new() };
            prompt.extend(tokens(1 + (seed as usize * 37) % 150, seed + 1));
            let mut request = constrained(&prompt, seed);
            match seed % 8 {
                0 => request.sampling.repetition_penalty = 3.0,
                1 => request.sampling.logit_bias = (0..288).map(|t| (t, -100.0)).collect(),
                2 => request.sampling.logit_bias = vec![(END, 1000.0), (7, f32::INFINITY)],
                3 => request.sampling.logit_bias = (0..288).map(|t| (t, -f32::INFINITY)).collect(),
                4 => request.min_tokens = 12,
                5 if seed > 8 => request.sampling.top_k = Some(1),
                5 => request.sampling.top_p = 0.01,
                6 => request.sampling.min_p = 0.9,
                // Only the grammar ends it.
                _ => request.end_tokens.clear(),
            }
            request
        })
        .collect()
}

fn assert_rising(answer: &Answer, label: &str) {
    let mut last = 0;
    for &token in &answer.tokens {
        assert!(
            token > last && token <= last + STEP && token <= 250,
            "{label}: {:?}",
            answer.tokens
        );
        last = token;
    }
    match answer.end.expect("an end").0 {
        FinishReason::Complete => assert_eq!(last, 250, "{label}"),
        FinishReason::EndToken(END | 20..=26) => {
            assert!((200..250).contains(&last), "{label}: {last}")
        }
        other => panic!("{label}: {other:?}"),
    }
}

#[test]
fn answers_follow_their_grammar_whatever_pulls_at_them() {
    let model = model(Family::Qwen3, BlockType::Q8_0);
    let requests = hostile();
    let answers = run_all(&mut engine(&model, 1, config()), &requests);
    let mut ends = [0, 0];
    for (number, (request, answer)) in requests.iter().zip(&answers).enumerate() {
        assert_rising(answer, &format!("request {number}"));
        let complete = answer.end.expect("an end").0 == FinishReason::Complete;
        ends[usize::from(complete)] += 1;
        let long_enough = answer.tokens.len() >= request.min_tokens;
        assert!(complete || long_enough, "an end token before min_tokens: {number}");
    }
    assert!(ends[0] > 0 && ends[1] > 0, "{ends:?}");
}

#[test]
fn constrained_answers_are_the_same_in_every_company() {
    let model = model(Family::Llama, BlockType::Q4_0);
    let requests = hostile();
    let alone = |request: &Request| {
        run_all(&mut engine(&model, 1, config()), std::slice::from_ref(request)).remove(0)
    };
    let right: Vec<_> = requests.iter().map(|request| alone(request).essence()).collect();
    for (threads, pages) in [(1, 256), (2, 256), (2, 16)] {
        let mut engine = engine(&model, threads, EngineConfig { pages, ..config() });
        for round in ["first", "cached"] {
            let found = run_all(&mut engine, &requests);
            let found: Vec<_> = found.iter().map(Answer::essence).collect();
            assert_eq!(found, right, "{round} round, {threads} threads, {pages} pages");
        }
        assert_eq!(engine.stats().preemptions > 0, pages == 16, "{:?}", engine.stats());
    }
}

#[test]
fn a_mask_of_everything_changes_nothing() {
    /// Masks of all tokens at every place, or at every fifth with nothing at the others.
    #[derive(Clone, Copy, Debug)]
    struct Anything {
        free: bool,
        tokens: usize,
    }
    impl Grammar for Anything {
        fn start(&self) -> Box<dyn Constraint> {
            Box::new(*self)
        }
    }
    impl Constraint for Anything {
        fn mask(&mut self, allowed: &mut [u32]) -> Result<(), ConstraintError> {
            assert!(!self.is_free(), "the mask of a free place");
            allowed.fill(u32::MAX);
            Ok(())
        }
        fn accept(&mut self, _: u32) -> Result<(), ConstraintError> {
            self.tokens += 1;
            Ok(())
        }
        fn is_free(&mut self) -> bool {
            self.free && !self.tokens.is_multiple_of(5)
        }
        fn may_end(&mut self) -> bool {
            true
        }
        fn must_end(&mut self) -> bool {
            false
        }
    }
    let model = model(Family::Qwen2, BlockType::Q8_0);
    let mut requests = hostile();
    // An infinite bias means nothing that a free choice could be compared with.
    requests.retain(|request| request.sampling.logit_bias.iter().all(|(_, bias)| bias.is_finite()));
    requests.iter_mut().for_each(|request| request.grammar = None);
    let free = run_all(&mut engine(&model, 1, config()), &requests);
    for by_turns in [false, true] {
        let anything = Arc::new(Anything { free: by_turns, tokens: 0 });
        requests.iter_mut().for_each(|request| request.grammar = Some(anything.clone()));
        let held = run_all(&mut engine(&model, 1, config()), &requests);
        for (free, held) in free.iter().zip(&held) {
            assert_eq!(held.essence(), free.essence());
        }
    }
}

#[test]
fn a_length_cuts_and_a_dead_end_is_told() {
    let model = model(Family::Llama, BlockType::Q8_0);
    let mut engine = engine(&model, 1, config());
    let cut = Request { max_tokens: 2, ..constrained(&tokens(5, 1), 1) };
    let answer = run_all(&mut engine, &[cut]).remove(0);
    assert_eq!((answer.end.expect("an end").0, answer.tokens.len()), (FinishReason::Length, 2));

    #[derive(Debug)]
    struct Nothing(ConstraintError);
    impl Grammar for Nothing {
        fn start(&self) -> Box<dyn Constraint> {
            Box::new(NoPlace(self.0))
        }
    }
    struct NoPlace(ConstraintError);
    impl Constraint for NoPlace {
        fn mask(&mut self, _: &mut [u32]) -> Result<(), ConstraintError> {
            if self.0 == ConstraintError::DeadEnd { Ok(()) } else { Err(self.0) }
        }
        fn accept(&mut self, _: u32) -> Result<(), ConstraintError> {
            unreachable!("nothing is allowed")
        }
        fn may_end(&mut self) -> bool {
            false
        }
        fn must_end(&mut self) -> bool {
            false
        }
    }
    for error in [ConstraintError::DeadEnd, ConstraintError::TooComplex] {
        let mut request = constrained(&tokens(5, 1), 1);
        request.grammar = Some(Arc::new(Nothing(error)));
        engine.submit(request).expect("a request");
        let mut events = Vec::new();
        engine.step(&mut events);
        let end = events.iter().find_map(|event| match event {
            Event::Finished { reason, .. } => Some(*reason),
            _ => None,
        });
        assert_eq!(end, Some(FinishReason::Constraint(error)));
    }
}
