//! Turns a prompt and the few texts that may follow it into the log-probability of each.

use std::collections::BTreeSet;

use myriad_engine::{Sampling, Usage};

use super::{GenerateError, GenerateRequest, Runtime, TextEvent};

/// A prompt, and what may follow it.
#[derive(Clone, Debug)]
pub struct LabelRequest {
    /// Ids of the prompt.
    pub prompt: Vec<u32>,
    /// Ids of each continuation: at least one each.
    pub labels: Vec<Vec<u32>>,
    /// Prompts share cached prefixes only under the same salt.
    pub cache_salt: u64,
}

/// What came of a [`LabelRequest`].
#[derive(Clone, Debug, PartialEq)]
pub struct LabelScores {
    /// The natural log-probability of each continuation under the model alone: the sum of those of
    /// its tokens. None is rounded away, however unlikely it is.
    pub logprobs: Vec<f64>,
    /// Tokens of the prompt, and those of them that were cached.
    pub usage: Usage,
}

/// Labels that have begun alike.
struct Branch {
    /// Their common tokens.
    path: Vec<u32>,
    members: Vec<usize>,
}

impl Runtime {
    /// The log-probability of each continuation of a prompt.
    ///
    /// One step of the engine tells those of all labels of one token. Where labels have more, each
    /// beginning that they share is one more step, behind the prompt, which is in the cache then.
    ///
    /// # Errors
    /// [`GenerateError`]: what is wrong with the request, or that the engine is full or gone.
    pub async fn score_labels(&self, request: LabelRequest) -> Result<LabelScores, GenerateError> {
        let LabelRequest { prompt, labels, cache_salt } = request;
        let mut scores = LabelScores { logprobs: vec![0.0; labels.len()], usage: Usage::default() };
        let all = (0..labels.len()).collect();
        let mut branches = vec![Branch { path: Vec::new(), members: all }];
        while let Some(Branch { path, members }) = branches.pop() {
            let next = |member: &usize| labels[*member].get(path.len()).copied();
            let asked: BTreeSet<u32> = members.iter().filter_map(next).collect();
            if asked.is_empty() {
                continue;
            }
            let asked: Vec<u32> = asked.into_iter().collect();
            let behind = [prompt.as_slice(), &path].concat();
            let (found, usage) = self.score_tokens(behind, asked, cache_salt).await?;
            if path.is_empty() {
                scores.usage = usage;
            }
            for (token, logprob) in found {
                let with = members.iter().filter(|member| next(member) == Some(token));
                let members: Vec<usize> = with.copied().collect();
                members.iter().for_each(|at| scores.logprobs[*at] += f64::from(logprob));
                branches.push(Branch { path: [path.as_slice(), &[token]].concat(), members });
            }
        }
        Ok(scores)
    }

    /// The log-probability of each of some tokens behind a prompt.
    async fn score_tokens(
        &self,
        prompt: Vec<u32>,
        asked: Vec<u32>,
        cache_salt: u64,
    ) -> Result<(Vec<(u32, f32)>, Usage), GenerateError> {
        let sampling =
            Sampling { logprobs: Some(0), logprob_tokens: asked.clone(), ..Sampling::greedy() };
        let request = GenerateRequest {
            prompt,
            sampling,
            max_tokens: Some(1),
            // So that whatever token comes is one of the answer.
            ignore_eos: true,
            cache_salt,
            ..GenerateRequest::default()
        };
        let mut generation = self.generate(request).await?;
        // What a script does not say cannot come.
        let mut found: Vec<(u32, f32)> =
            asked.into_iter().map(|token| (token, f32::NEG_INFINITY)).collect();
        while let Some(event) = generation.next().await {
            match event {
                TextEvent::Text { tokens, .. } => {
                    let scores = tokens.into_iter().filter_map(|token| token.score);
                    scores.for_each(|score| found = score.asked);
                }
                TextEvent::Finished { usage, .. } => return Ok((found, usage)),
                _ => {}
            }
        }
        Err(GenerateError::Failed)
    }
}
