//! Turns synthetic models and requests into the tokens, scores and events that tests compare.
#![allow(dead_code)] // each test file uses some of it

use std::collections::BTreeMap;
use std::sync::Arc;

use myriad_engine::{
    Engine, EngineConfig, Event, FinishReason, Request, RequestId, Sampling, TokenScore, Usage,
};
use myriad_formats::Gguf;
use myriad_kernels::{BlockType, Compute, Kernels, KvType};
use myriad_model::synthetic::{self, Shape};
use myriad_model::{Family, Model};

/// A small random model of a family and a block type.
pub fn model(family: Family, kind: BlockType) -> Arc<Model> {
    let bytes = synthetic::gguf(&Shape::small(family, kind), 5);
    let gguf = Gguf::from_bytes(bytes).expect("a well-formed file");
    Arc::new(Model::load(&gguf, &compute(1), &mut |_| ()).expect("a loadable model"))
}

pub fn compute(threads: usize) -> Compute {
    Compute::new(Kernels::detect().expect("kernels"), threads)
}

/// Room for everything.
pub fn config() -> EngineConfig {
    EngineConfig {
        context: 512,
        parallel: 16,
        step_tokens: 128,
        pages: 256,
        kv: KvType::F16,
        snapshots: 16,
        speculate: true,
    }
}

pub fn engine(model: &Arc<Model>, threads: usize, config: EngineConfig) -> Engine {
    Engine::new(Arc::clone(model), compute(threads), config).expect("an engine")
}

/// Tokens, scores as (place, token, bits of the log-probability), and the end of an answer.
pub type Essence = (Vec<u32>, Vec<(usize, u32, u32)>, Option<FinishReason>);

/// What came of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub tokens: Vec<u32>,
    pub scores: Vec<TokenScore>,
    pub prompt_scores: Vec<(usize, TokenScore)>,
    pub cached_tokens: Option<usize>,
    /// What was asked for instead of an answer.
    pub values: Vec<f32>,
    pub end: Option<(FinishReason, Usage)>,
}

impl Answer {
    /// What must not depend on circumstances, floats by their bits.
    pub fn essence(&self) -> Essence {
        let bits = |place: usize, score: &TokenScore| (place, score.token, score.logprob.to_bits());
        let mut scores: Vec<_> = self.prompt_scores.iter().map(|(at, s)| bits(*at, s)).collect();
        scores.extend(self.scores.iter().flat_map(|score| {
            let top = score.top.iter().map(|(token, p)| (usize::MAX - 1, *token, p.to_bits()));
            let asked = score.asked.iter().map(|(token, p)| (usize::MAX - 2, *token, p.to_bits()));
            std::iter::once(bits(usize::MAX, score)).chain(top).chain(asked).collect::<Vec<_>>()
        }));
        (self.tokens.clone(), scores, self.end.map(|(reason, _)| reason))
    }

    /// Takes in one event, and checks that it may come now.
    pub fn note(&mut self, event: Event) {
        assert!(self.end.is_none(), "nothing comes after the end");
        match event {
            Event::Started { cached_tokens, .. } => {
                assert_eq!(self.cached_tokens.replace(cached_tokens), None, "one start");
            }
            Event::Prompt { index, scored, .. } => {
                let before = self.prompt_scores.last().map_or(0, |(index, _)| *index);
                assert_eq!(index, before + 1, "scores come in order, once each");
                self.prompt_scores.push((index, scored));
            }
            Event::Token { token, score, .. } => {
                assert!(self.cached_tokens.is_some(), "a start comes first");
                self.tokens.push(token);
                self.scores.extend(score);
            }
            Event::Computed { values, .. } => {
                assert!(self.cached_tokens.is_some(), "a start comes first");
                self.values = values;
            }
            Event::Finished { reason, usage, .. } => self.end = Some((reason, usage)),
        }
    }
}

pub fn id_of(event: &Event) -> RequestId {
    match event {
        Event::Started { id, .. }
        | Event::Prompt { id, .. }
        | Event::Token { id, .. }
        | Event::Computed { id, .. }
        | Event::Finished { id, .. } => *id,
    }
}

/// Runs until nothing is left to do.
pub fn run(engine: &mut Engine) -> BTreeMap<RequestId, Answer> {
    let mut answers = BTreeMap::<RequestId, Answer>::new();
    let mut events = Vec::new();
    let mut steps = 0;
    while engine.has_work() {
        engine.step(&mut events);
        for event in events.drain(..) {
            answers.entry(id_of(&event)).or_default().note(event);
        }
        steps += 1;
        assert!(steps < 100_000, "the engine does not come to an end");
    }
    answers
}

/// Submits all at once and runs them.
pub fn run_all(engine: &mut Engine, requests: &[Request]) -> Vec<Answer> {
    let ids: Vec<RequestId> =
        requests.iter().map(|request| engine.submit(request.clone()).expect("good")).collect();
    let mut answers = run(engine);
    ids.iter().map(|id| answers.remove(id).expect("an answer")).collect()
}

/// A request of pseudo-random tokens that samples at temperature 1 and scores what it samples.
pub fn request(prompt: &[u32], max_tokens: usize, seed: u64) -> Request {
    let sampling = Sampling { seed, logprobs: Some(3), ..Sampling::default() };
    Request { prompt: prompt.to_vec(), max_tokens, sampling, ..Request::default() }
}

/// Pseudo-random tokens of the small models.
pub fn tokens(length: usize, seed: u64) -> Vec<u32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as u32 % 288
    };
    (0..length).map(next).collect()
}
