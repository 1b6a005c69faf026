//! Turns an engine that panics into error events, a new engine, and at last an unhealthy server.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use futures_util::StreamExt;
use myriad_engine::EngineConfig;
use myriad_formats::Gguf;
use myriad_kernels::{BlockType, Compute, Kernels, KvType};
use myriad_model::synthetic::{self, Shape};
use myriad_model::{Family, Model};
use myriad_token::{ChatTemplate, Tokenizer};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::app::App;
use crate::layers::journal;
use crate::limits::ENGINE_FAILURES_MAX;
use crate::{LoadedModel, Runtime, ServerConfig, router};

fn start() -> (Arc<Runtime>, Router) {
    let shape = Shape { context: 4096, ..Shape::small(Family::Llama, BlockType::Q8_0) };
    let file = Gguf::from_bytes(synthetic::gguf(&shape, 7)).unwrap();
    let compute = Compute::new(Kernels::detect().unwrap(), 1);
    let vocab = file.vocab().unwrap();
    let tokenizer = Arc::new(Tokenizer::new(&vocab).unwrap());
    let template = ChatTemplate::new(&vocab.chat_template.unwrap(), &tokenizer).unwrap();
    let model = LoadedModel {
        names: vec!["synthetic".into()],
        model: Arc::new(Model::load(&file, &compute, &mut |_| ()).unwrap()),
        draft: None,
        compute,
        tokenizer,
        template: Some(Arc::new(template)),
    };
    let engine = EngineConfig {
        context: 4096,
        parallel: 4,
        step_tokens: 64,
        pages: 512,
        kv: KvType::F16,
        snapshots: 4,
        speculate: true,
    };
    let runtime = Runtime::start(model, engine).unwrap();
    let app = router(Arc::clone(&runtime), &ServerConfig::default());
    (runtime, app)
}

/// Sends a request, and returns the status and the body as it comes.
async fn send(app: &Router, method: &str, path: &str, body: Value) -> (StatusCode, Body) {
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    let request = request.body(Body::from(body.to_string())).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    (response.status(), response.into_body())
}

async fn whole(body: Body) -> String {
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn endless(stream: bool) -> Value {
    json!({ "messages": [{ "role": "user", "content": "Hi" }], "ignore_eos": true,
            "stream": stream })
}

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_stream_whose_engine_fails_ends_with_an_error_event() {
    let (runtime, app) = start();
    let (status, body) = send(&app, "POST", CHAT, endless(true)).await;
    assert_eq!(status, StatusCode::OK);
    let mut events = body.into_data_stream();
    // The role, then the first text: the engine runs.
    for _ in 0..2 {
        events.next().await.unwrap().unwrap();
    }
    runtime.inject_panic();
    let mut last = Vec::new();
    while let Some(event) = events.next().await {
        last = event.unwrap().to_vec();
    }
    let last = String::from_utf8(last).unwrap();
    let error: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "internal_error");
    assert!(error["error"].get("param").is_some());
}

#[tokio::test]
async fn the_next_engine_answers_until_too_many_have_failed() {
    let (runtime, app) = start();
    let question = json!({ "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 5,
                           "seed": 1, "ignore_eos": true });
    let mut answers = Vec::new();
    for failure in 1..=ENGINE_FAILURES_MAX {
        let (status, body) = send(&app, "POST", CHAT, question.clone()).await;
        assert_eq!(status, StatusCode::OK);
        let answer: Value = serde_json::from_str(&whole(body).await).unwrap();
        answers.push(answer["choices"][0]["message"]["content"].clone());
        assert_eq!(send(&app, "GET", "/health", Value::Null).await.0, StatusCode::OK);
        // One that waits for a whole answer gets a status.
        let fails = send(&app, "POST", CHAT, endless(false));
        let panic = async {
            while runtime.stats().running == 0 {
                tokio::task::yield_now().await;
            }
            runtime.inject_panic();
        };
        let ((status, _), ()) = tokio::join!(fails, panic);
        assert!(status.is_server_error(), "{status} after {failure} failures");
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "the same from every engine");
    // The thread says so just after it has told its requests.
    while runtime.healthy() {
        tokio::task::yield_now().await;
    }
    let health = send(&app, "GET", "/health", Value::Null).await.0;
    assert_eq!(health, StatusCode::SERVICE_UNAVAILABLE);
    let (status, body) = send(&app, "POST", CHAT, question).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(whole(body).await.contains("engine_unavailable"));
    let metrics = send(&app, "GET", "/metrics", Value::Null).await;
    assert_eq!(metrics.0, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_is_dropped_ends_its_generation() {
    let (runtime, app) = start();
    let (_, body) = send(&app, "POST", CHAT, endless(true)).await;
    let mut events = body.into_data_stream();
    for _ in 0..2 {
        events.next().await.unwrap().unwrap();
    }
    drop(events);
    while runtime.stats().running > 0 || runtime.stats().pages_used > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_handler_that_panics_is_one_500() {
    let (runtime, _) = start();
    let state = Arc::new(App::new(runtime.into(), ServerConfig::default()));
    let panics = || async {
        if true {
            panic!("a panic for a test");
        }
    };
    let app = Router::new()
        .route("/panics", get(panics))
        .route("/answers", get(|| async { "yes" }))
        .layer(from_fn_with_state(Arc::clone(&state), journal::keep));
    let (status, body) = send(&app, "GET", "/panics", Value::Null).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let error: Value = serde_json::from_str(&whole(body).await).unwrap();
    assert_eq!(error["error"]["code"], "internal_error");
    assert!(!error.to_string().contains("for a test"), "nothing of the inside is told");
    assert_eq!(send(&app, "GET", "/answers", Value::Null).await.0, StatusCode::OK);
}
