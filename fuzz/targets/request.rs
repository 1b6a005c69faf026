//! Turns arbitrary bytes into a request of every endpoint, or a 400 of bounded length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use myriad_server::errors::ApiError;
use myriad_server::limits::{CHOICES_MAX, LOGIT_BIAS_MAX, SEQUENCES_MAX, STOPS_MAX};
use myriad_server::wire::chat::ChatRequest;
use myriad_server::wire::completions::{CompletionRequest, Prompt};
use myriad_server::wire::generation::GenerationFields;
use myriad_server::wire::tokenize::{DetokenizeRequest, TokenizeRequest};

const VOCAB: usize = 1000;

fuzz_target!(|data: &[u8]| {
    match ChatRequest::parse(data, VOCAB) {
        Ok(request) => {
            assert!(!request.chat.messages.is_empty());
            check_generation(&request.generation);
        }
        Err(error) => check_error(&error),
    }
    match CompletionRequest::parse(data, VOCAB) {
        Ok(request) => {
            assert!(request.prompts.len() * request.generation.n <= SEQUENCES_MAX);
            for prompt in &request.prompts {
                if let Prompt::Tokens(ids) = prompt {
                    assert!(ids.iter().all(|id| (*id as usize) < VOCAB));
                }
            }
            check_generation(&request.generation);
        }
        Err(error) => check_error(&error),
    }
    if let Err(error) = TokenizeRequest::parse(data) {
        check_error(&error);
    }
    match DetokenizeRequest::parse(data, VOCAB) {
        Ok(request) => assert!(request.tokens.iter().all(|id| (*id as usize) < VOCAB)),
        Err(error) => check_error(&error),
    }
});

/// What was let through is what the engine takes.
fn check_generation(generation: &GenerationFields) {
    assert!((1..=CHOICES_MAX).contains(&generation.n));
    assert!(generation.stops.len() <= STOPS_MAX);
    assert!(generation.stops.iter().all(|stop| !stop.is_empty()));
    let sampling = generation.sampling_of(0);
    assert!((0.0..=2.0).contains(&sampling.temperature));
    assert!((0.0..=1.0).contains(&sampling.top_p) && (0.0..=1.0).contains(&sampling.min_p));
    assert!(sampling.repetition_penalty > 0.0 && sampling.repetition_penalty.is_finite());
    assert!(sampling.logit_bias.len() <= LOGIT_BIAS_MAX);
    for (token, bias) in &sampling.logit_bias {
        assert!((*token as usize) < VOCAB && (-100.0..=100.0).contains(bias));
    }
}

fn check_error(error: &ApiError) {
    assert_eq!(error.status.as_u16(), 400);
    assert!(error.message.len() < 2048, "an error that quotes too much: {}", error.message);
    assert!(error.param.as_ref().is_none_or(|param| param.len() < 512));
}
