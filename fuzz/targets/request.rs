//! Turns arbitrary bytes into a request of every endpoint, or a 400 of bounded length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use myriad_server::errors::ApiError;
use myriad_server::limits::{
    CHOICES_MAX, INPUTS_MAX, LOGIT_BIAS_MAX, SEQUENCES_MAX, STOPS_MAX, TOOL_NAME_BYTES_MAX,
    TOOLS_MAX,
};
use myriad_server::wire::anthropic::MessagesRequest;
use myriad_server::wire::chat::{Chat, ChatRequest};
use myriad_server::wire::completions::CompletionRequest;
use myriad_server::wire::decisions::DecisionRequest;
use myriad_server::wire::embeddings::EmbeddingsRequest;
use myriad_server::wire::generation::GenerationFields;
use myriad_server::wire::moderations::ModerationRequest;
use myriad_server::wire::ollama::{Input, OllamaRequest};
use myriad_server::wire::prompts::Prompt;
use myriad_server::wire::rerank::RerankRequest;
use myriad_server::wire::responses::ResponsesRequest;
use myriad_server::wire::responses::dialogue::{messages, shortened};
use myriad_server::wire::responses::items::{Item, Sent};
use myriad_server::wire::tokenize::{DetokenizeRequest, TokenizeRequest};

const VOCAB: usize = 1000;

fuzz_target!(|data: &[u8]| {
    match ChatRequest::parse(data, VOCAB) {
        Ok(request) => {
            check_chat(&request.chat);
            check_generation(&request.generation);
        }
        Err(error) => check_error(&error),
    }
    for counts in [false, true] {
        match MessagesRequest::parse(data, VOCAB, counts) {
            Ok(request) => {
                check_chat(&request.chat);
                check_generation(&request.generation);
            }
            Err(error) => check_error(&error),
        }
    }
    for parse in [OllamaRequest::chat, OllamaRequest::generate] {
        match parse(data, VOCAB) {
            Ok(request) => {
                if let Some(Input::Chat(chat)) = &request.input {
                    check_chat(chat);
                }
                check_generation(&request.generation);
            }
            Err(error) => check_error(&error),
        }
    }
    match ResponsesRequest::parse(data, VOCAB) {
        Ok(request) => {
            let item = |sent| match sent {
                Sent::Item(item) => Some(item),
                Sent::Reference { .. } => None,
            };
            let items: Vec<Item> = request.input.into_iter().filter_map(item).collect();
            let messages = messages(request.instructions.as_deref(), &items);
            for count in [0, 1, messages.len()] {
                assert!(shortened(&messages, count).len() <= messages.len());
            }
            // What is kept is read again as it was.
            let text = serde_json::to_string(&items).unwrap();
            assert_eq!(serde_json::from_str::<Vec<Item>>(&text).unwrap(), items);
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
    match DecisionRequest::parse(data) {
        Ok(request) => {
            for question in request.questions {
                let labels = question.labels();
                assert!(labels.len() >= 2 && !question.text().is_empty());
                // A share for each label is answered.
                question.answer(&vec![1.0 / labels.len() as f64; labels.len()]);
            }
        }
        Err(error) => check_error(&error),
    }
    match ModerationRequest::parse(data) {
        Ok(request) => assert!(!request.inputs.is_empty()),
        Err(error) => check_error(&error),
    }
    if let Err(error) = TokenizeRequest::parse(data) {
        check_error(&error);
    }
    let checked = DetokenizeRequest::parse(data).and_then(|it| it.check(VOCAB).map(|()| it));
    match checked {
        Ok(request) => assert!(request.tokens.iter().all(|id| (*id as usize) < VOCAB)),
        Err(error) => check_error(&error),
    }
    type Embeddings = EmbeddingsRequest;
    for parse in [Embeddings::openai, Embeddings::ollama, Embeddings::ollama_single] {
        match parse(data) {
            Ok(request) => {
                assert!(request.inputs.len() <= INPUTS_MAX);
                if let Err(error) = request.check(VOCAB, 64) {
                    check_error(&error);
                }
            }
            Err(error) => check_error(&error),
        }
    }
    match RerankRequest::parse(data) {
        Ok(request) => assert!((1..=INPUTS_MAX).contains(&request.documents.len())),
        Err(error) => check_error(&error),
    }
});

/// What was let through is what a template can be given.
fn check_chat(chat: &Chat) {
    assert!(!chat.messages.is_empty());
    assert!(chat.tools.offered.len() <= TOOLS_MAX);
    for tool in &chat.tools.offered {
        assert!((1..=TOOL_NAME_BYTES_MAX).contains(&tool.name.len()));
        assert!(tool.parameters.as_ref().is_none_or(|schema| schema.is_object()));
    }
    for message in &chat.messages {
        let calls = message.extra.get("tool_calls").and_then(|calls| calls.as_array());
        for call in calls.into_iter().flatten() {
            assert!(call["function"]["name"].is_string());
            assert!(call["function"]["arguments"].is_string(), "texts, as the API has them");
        }
    }
}

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
