//! Turns texts into vectors and scores over HTTP: shapes, limits, which model, what is refused.

use std::time::Duration;

use myriad_formats::Gguf;
use myriad_kernels::{Compute, Kernels};
use myriad_model::{Model, Pool, Text};
use myriad_token::Tokenizer;
use serde_json::{Value, json};

use crate::harness::{ENCODER, Live, MODEL, Setup, chat, encoder_file, wait_for};

const PATH: &str = "/v1/embeddings";

fn alone() -> Live {
    Live::start(Setup { encoder: true, ..Setup::default() })
}

fn vector(embedding: &Value) -> Vec<f32> {
    let numbers = embedding.as_array().expect("numbers");
    numbers.iter().map(|number| number.as_f64().expect("a number") as f32).collect()
}

fn vectors(reply: &Value) -> Vec<Vec<f32>> {
    let data = reply["data"].as_array().expect("data");
    data.iter().map(|embedding| vector(&embedding["embedding"])).collect()
}

/// Base64 of little-endian floats.
fn decoded(text: &str) -> Vec<f32> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for character in text.trim_end_matches('=').chars() {
        bits = bits << 6 | ALPHABET.find(character).expect("Base64") as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[test]
fn an_encoder_alone_makes_vectors_of_all_kinds_of_input() {
    let live = alone();
    let texts = ["hello, world!", "another text", "x"];
    let reply = live.post(PATH, &json!({ "model": ENCODER, "input": texts, "user": "u" })).good();
    assert_eq!((&reply["object"], &reply["model"]), (&json!("list"), &json!(ENCODER)));
    let all = vectors(&reply);
    for (index, found) in all.iter().enumerate() {
        assert_eq!(reply["data"][index]["object"], "embedding");
        assert_eq!(reply["data"][index]["index"], index);
        assert!((dot(found, found) - 1.0).abs() < 1e-5 && found.len() == 256);
    }
    // The vectors of the model itself.
    let file = Gguf::from_bytes(encoder_file(false)).unwrap();
    let compute = Compute::new(Kernels::detect().unwrap(), 1);
    let model = Model::load(&file, &compute, &mut |_| ()).unwrap();
    let tokenizer = Tokenizer::new(&file.vocab().unwrap()).unwrap();
    let mut tokens = 0;
    for (text, found) in texts.iter().zip(&all) {
        let ids = tokenizer.encode_whole(text);
        tokens += ids.len();
        let mut encoding = model.new_encoding(16).unwrap();
        let states = model.encode(&compute, &[Text::alone(&ids)], &mut encoding);
        let mut pool = Pool::new(model.config().pooling, 256);
        pool.take(states);
        assert_eq!(*found, pool.finish(), "{text}");
        let by_ids = live.post(PATH, &json!({ "input": [ids] })).good();
        assert_eq!(vectors(&by_ids)[0], *found);
        let flat = live.post(PATH, &json!({ "input": ids, "encoding_format": "float" })).good();
        assert_eq!(vectors(&flat)[0], *found);
        let alone = live.post(PATH, &json!({ "input": text })).good();
        assert_eq!(vectors(&alone)[0], *found, "the same alone as in company");
    }
    assert_eq!(reply["usage"], json!({ "prompt_tokens": tokens, "total_tokens": tokens }));
}

#[test]
fn base64_and_dimensions_are_the_same_numbers() {
    let live = alone();
    let body = |fields: Value| {
        let mut body = json!({ "input": "hello" });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    };
    let whole = vectors(&live.post(PATH, &body(json!({}))).good()).remove(0);
    let reply = live.post(PATH, &body(json!({ "encoding_format": "base64" }))).good();
    assert_eq!(decoded(reply["data"][0]["embedding"].as_str().unwrap()), whole);
    let short = vectors(&live.post(PATH, &body(json!({ "dimensions": 10 }))).good()).remove(0);
    let length = dot(&whole[..10], &whole[..10]).sqrt();
    assert_eq!(short.len(), 10);
    for (short, whole) in short.iter().zip(&whole) {
        assert!((f64::from(*short) - f64::from(*whole) / length).abs() < 1e-6);
    }
    let most = vectors(&live.post(PATH, &body(json!({ "dimensions": 256 }))).good()).remove(0);
    assert!((dot(&most, &whole) - 1.0).abs() < 1e-6);
    let error = live.post(PATH, &body(json!({ "dimensions": 257 }))).error(400);
    assert_eq!((&error["param"], &error["code"]), (&json!("dimensions"), &json!("invalid_value")));
    assert!(error["message"].as_str().unwrap().contains("256"), "{error}");
}

#[test]
fn what_is_wrong_is_named() {
    let live = alone();
    let many = vec!["x"; 2049];
    for (body, param, code) in [
        (json!({}), "input", "missing_required_parameter"),
        (json!({ "input": null }), "input", "missing_required_parameter"),
        (json!({ "input": "" }), "input", "invalid_value"),
        (json!({ "input": [] }), "input", "invalid_value"),
        (json!({ "input": ["a", ""] }), "input", "invalid_value"),
        (json!({ "input": [[]] }), "input", "invalid_value"),
        (json!({ "input": many }), "input", "invalid_value"),
        (json!({ "input": 5 }), "input", "invalid_type"),
        (json!({ "input": [1, "a"] }), "input", "invalid_type"),
        (json!({ "input": ["a", 1] }), "input", "invalid_type"),
        (json!({ "input": [[[1]]] }), "input", "invalid_type"),
        (json!({ "input": [1.5] }), "input", "invalid_type"),
        (json!({ "input": [-1] }), "input", "invalid_type"),
        (json!({ "input": { "text": "a" } }), "input", "invalid_type"),
        (json!({ "input": [288] }), "input", "invalid_value"),
        (json!({ "input": "a ".repeat(600) }), "input", "context_length_exceeded"),
        (json!({ "input": vec![5; 513] }), "input", "context_length_exceeded"),
        (json!({ "input": "a", "dimensions": 0 }), "dimensions", "invalid_value"),
        (json!({ "input": "a", "dimensions": "8" }), "dimensions", "invalid_type"),
        (json!({ "input": "a", "encoding_format": "int8" }), "encoding_format", "invalid_value"),
        (json!({ "input": "a", "encoding_format": 1 }), "encoding_format", "invalid_type"),
        (json!({ "input": "a", "task": "query" }), "task", "unknown_parameter"),
        (json!({ "input": "a", "model": "other" }), "model", "model_not_found"),
    ] {
        let shown: String = body.to_string().chars().take(80).collect();
        let reply = live.post(PATH, &body);
        let error = reply.error(if code == "model_not_found" { 404 } else { 400 });
        assert_eq!(
            (error["param"].as_str(), error["code"].as_str()),
            (Some(param), Some(code)),
            "{shown}"
        );
    }
    for body in [&b"[]"[..], b"{", b"\xff", b"", b"{\"input\":\"\\ud800\"}"] {
        live.send("POST", PATH, &[], body).error(400);
    }
    assert_eq!(live.get(PATH).error(405)["code"], "method_not_allowed");
    assert_eq!(vectors(&live.post(PATH, &json!({ "input": "a".repeat(100) })).good()).len(), 1);
    let most = vec!["x"; 2048];
    assert_eq!(vectors(&live.post(PATH, &json!({ "input": most })).good()).len(), 2048);
}

#[test]
fn an_encoder_answers_no_prompts() {
    let live = alone();
    for (path, body) in [
        ("/v1/chat/completions", chat(json!({}))),
        ("/v1/completions", json!({ "prompt": "a" })),
        ("/v1/chat/completions", chat(json!({ "model": ENCODER, "stream": true }))),
    ] {
        let error = live.post(path, &body).error(400);
        assert_eq!(
            (&error["param"], &error["code"]),
            (&json!("model"), &json!("model_not_supported"))
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(ENCODER) && message.contains("embeddings only"), "{message}");
    }
    let body = json!({ "model": ENCODER, "max_tokens": 5,
                       "messages": [{ "role": "user", "content": "a" }] });
    let reply = live.post("/v1/messages", &body);
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("embeddings only"), "{}", reply.text());
    let reply = live.post("/api/chat", &body_of_ollama());
    assert!(reply.status == 400 && reply.text().contains("embeddings only"), "{}", reply.text());
    assert_eq!(live.get("/v1/models").good()["data"][0]["id"], ENCODER);
    let ids = live.post("/tokenize", &json!({ "prompt": "ab" })).good();
    assert_eq!(ids["count"], 3, "{ids}");
    let show = live.post("/api/show", &json!({ "model": ENCODER })).good();
    assert_eq!(show["capabilities"], json!(["embedding"]));
    assert_eq!(live.get("/health").good()["status"], "ok");
}

fn body_of_ollama() -> Value {
    json!({ "model": ENCODER, "messages": [{ "role": "user", "content": "a" }], "stream": false })
}

#[test]
fn two_models_are_chosen_by_their_names() {
    let live = Live::start(Setup { embedder: true, ..Setup::default() });
    let list = live.get("/v1/models").good();
    let ids: Vec<&str> =
        list["data"].as_array().unwrap().iter().map(|card| card["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [MODEL, "alias", ENCODER]);
    assert_eq!(live.get(&format!("/v1/models/{ENCODER}")).good(), list["data"][2]);
    let embed = |model: Value| {
        let reply = live.post(PATH, &json!({ "input": "hello", "model": model })).good();
        (reply["model"].clone(), vectors(&reply).remove(0))
    };
    let (encoder, decoder) = (embed(ENCODER.into()), embed(MODEL.into()));
    assert_eq!((&encoder.0, &decoder.0), (&json!(ENCODER), &json!(MODEL)));
    assert!(encoder.1 != decoder.1);
    assert_eq!(embed(Value::Null), encoder, "without a name, the one for embeddings");
    live.post("/v1/chat/completions", &chat(json!({ "max_tokens": 3 }))).good();
    let error = live.post("/v1/chat/completions", &chat(json!({ "model": ENCODER }))).error(400);
    assert_eq!(error["code"], "model_not_supported");
    let error = live.post(PATH, &json!({ "input": "a", "model": "no" })).error(404);
    assert!(error["message"].as_str().unwrap().contains(ENCODER), "{error}");
    let metrics = live.get("/metrics");
    for name in [MODEL, ENCODER] {
        let line = format!("myriad_prompt_tokens_total{{model_name=\"{name}\"}}");
        assert!(metrics.text().contains(&line), "{line}");
    }
    assert_eq!(metrics.text().matches("# EOF").count(), 1);
    assert_eq!(live.get("/").good()["models"], json!([MODEL, "alias", ENCODER]));
    let tags = live.get("/api/tags").good();
    assert_eq!(tags["models"].as_array().unwrap().len(), 3);
}

#[test]
fn a_decoder_embeds_beside_its_answers() {
    let live = Live::start(Setup { parallel: 2, ..Setup::default() });
    let body = json!({ "input": "the sea is blue" });
    let right = live.post(PATH, &body).good();
    let tokens = right["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(tokens > 5);
    let stream = chat(json!({ "max_tokens": 300, "ignore_eos": true, "stream": true }));
    let _running = live.begin("/v1/chat/completions", &stream);
    let inputs: Vec<&str> = vec!["the sea is blue"; 20];
    let reply = live.post(PATH, &json!({ "input": inputs })).good();
    assert_eq!(reply["usage"]["total_tokens"], 20 * tokens);
    for found in vectors(&reply) {
        assert_eq!(found, vectors(&right)[0]);
    }
}

#[test]
fn who_leaves_is_forgotten_and_a_full_queue_says_so() {
    use std::io::Write;
    let live = Live::start(Setup { encoder: true, queue_max: 4, ..Setup::default() });
    let long: Vec<String> = (0..2048).map(|index| format!("{index} ").repeat(60)).collect();
    let body = json!({ "input": long }).to_string();
    let mut stream = live.connect();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    // More texts at a time than may wait: the request is refused as a whole.
    let mut reply = vec![0; 12];
    std::io::Read::read_exact(&mut stream, &mut reply).unwrap();
    assert_eq!(reply, b"HTTP/1.1 429");
    drop(stream);
    wait_for(|| (live.runtime.stats().waiting == 0).then_some(()));

    let live = alone();
    let mut stream = live.connect();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    wait_for(|| (live.runtime.stats().waiting > 0).then_some(()));
    drop(stream);
    wait_for(|| (live.runtime.stats().waiting == 0).then_some(()));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(live.runtime.stats().waiting, 0, "nothing comes after");
    let finished = live.get("/metrics").text().lines().find_map(|line| {
        let count = line.strip_prefix(
            "myriad_request_success_total{model_name=\"tests/encoder\",finished_reason=\"stop\"} ",
        );
        count.map(|count| count.parse::<u64>().unwrap())
    });
    assert!(finished.unwrap_or(0) < 2048, "{finished:?}");
}

#[test]
fn ollama_has_its_own_shapes() {
    let live = Live::start(Setup { embedder: true, ..Setup::default() });
    let right = vectors(&live.post(PATH, &json!({ "input": ["one", "two"] })).good());
    for model in [ENCODER.to_owned(), format!("{ENCODER}:latest")] {
        let body = json!({ "model": model, "input": ["one", "two"], "keep_alive": "5m",
                           "options": { "num_ctx": 512 } });
        let reply = live.post("/api/embed", &body).good();
        assert_eq!(reply["model"], ENCODER);
        let found: Vec<_> = reply["embeddings"].as_array().unwrap().iter().map(vector).collect();
        assert_eq!(found, right);
        assert!(reply["total_duration"].is_u64() && reply["prompt_eval_count"].is_u64());
    }
    let one =
        live.post("/api/embed", &json!({ "model": ENCODER, "input": "one", "dimensions": 4 }));
    assert_eq!(vector(&one.good()["embeddings"][0]).len(), 4);
    let old = live.post("/api/embeddings", &json!({ "model": ENCODER, "prompt": "one" })).good();
    assert_eq!(vector(&old["embedding"]), right[0]);
    let load = live.post("/api/embed", &json!({ "model": ENCODER })).good();
    assert_eq!(load["embeddings"], json!([]));
    let empty = live.post("/api/embeddings", &json!({ "model": ENCODER, "prompt": "" })).good();
    assert_eq!(empty["embedding"], json!([]));
    let long = "a ".repeat(600);
    let cut = live.post("/api/embed", &json!({ "model": ENCODER, "input": long })).good();
    assert_eq!(cut["prompt_eval_count"], 512);
    for (body, status) in [
        (json!({ "model": ENCODER, "input": long, "truncate": false }), 400),
        (json!({ "model": "other", "input": "a" }), 404),
        (json!({ "input": "a" }), 400),
        (json!({ "model": ENCODER, "input": "a", "images": [] }), 400),
    ] {
        let reply = live.post("/api/embed", &body);
        assert_eq!(reply.status, status, "{}", reply.text());
        assert!(reply.json()["error"].is_string(), "{}", reply.text());
    }
    let list = live.post("/api/embeddings", &json!({ "model": ENCODER, "prompt": ["a", "b"] }));
    assert_eq!(list.status, 400);
}

#[test]
fn documents_are_ranked_by_the_cosine_of_their_vectors() {
    let live = Live::start(Setup { embedder: true, ..Setup::default() });
    let documents = ["far away", "the query", "the query!", "zzz"];
    let mut texts = vec!["the query"];
    texts.extend(documents);
    let right = vectors(&live.post(PATH, &json!({ "input": texts })).good());
    let body = json!({ "model": ENCODER, "query": "the query", "return_documents": true,
        "documents": ["far away", { "text": "the query" }, "the query!", "zzz"] });
    for path in ["/v1/rerank", "/rerank", "/v2/rerank"] {
        let reply = live.post(path, &body).good();
        assert_eq!(reply["model"], ENCODER);
        assert!(reply["id"].as_str().unwrap().starts_with("rerank-"));
        let results = reply["results"].as_array().unwrap();
        assert_eq!(results.len(), 4);
        assert_eq!(results[0]["index"], 1, "the query itself: {reply}");
        let mut before = f64::INFINITY;
        for result in results {
            let index = result["index"].as_u64().unwrap() as usize;
            let score = result["relevance_score"].as_f64().unwrap();
            assert!((score - dot(&right[0], &right[index + 1])).abs() < 1e-5);
            assert!(score <= before, "sorted");
            before = score;
            assert_eq!(result["document"]["text"], documents[index]);
        }
        let tokens = reply["usage"]["total_tokens"].as_u64().unwrap();
        assert_eq!(reply["meta"]["tokens"]["input_tokens"], tokens);
    }
    let body = json!({ "query": "a", "documents": documents, "top_n": 2 });
    let reply = live.post("/v1/rerank", &body).good();
    assert_eq!(reply["results"].as_array().unwrap().len(), 2);
    assert!(reply["results"][0].get("document").is_none());
    for (body, param) in [
        (json!({ "documents": ["a"] }), "query"),
        (json!({ "query": "a" }), "documents"),
        (json!({ "query": "", "documents": ["a"] }), "query"),
        (json!({ "query": "a", "documents": [] }), "documents"),
        (json!({ "query": "a", "documents": ["b", ""] }), "documents[1]"),
        (json!({ "query": "a", "documents": ["b", 5] }), "documents[1]"),
        (json!({ "query": "a", "documents": [{ "title": "b" }] }), "documents[0].title"),
        (json!({ "query": "a", "documents": [{}] }), "documents[0].text"),
        (json!({ "query": "a", "documents": vec!["b"; 2049] }), "documents"),
        (json!({ "query": "a", "documents": ["b"], "top_n": 0 }), "top_n"),
        (json!({ "query": "a", "documents": ["b"], "rank_fields": ["c"] }), "rank_fields"),
        (json!({ "query": "a ".repeat(600), "documents": ["b"] }), "query"),
        (json!({ "query": "a", "documents": ["b", "c ".repeat(600)] }), "documents[1]"),
    ] {
        let error = live.post("/v1/rerank", &body).error(400);
        assert_eq!(error["param"], param, "{error}");
    }
}

#[test]
fn a_cross_encoder_scores_query_and_document_together() {
    let live = Live::start(Setup { encoder: true, classifier: true, ..Setup::default() });
    let (query, documents) = ("who?", ["nobody", "who else", "you"]);
    let body = json!({ "query": query, "documents": documents });
    let reply = live.post("/v1/rerank", &body).good();

    let file = Gguf::from_bytes(encoder_file(true)).unwrap();
    let compute = Compute::new(Kernels::detect().unwrap(), 1);
    let model = Model::load(&file, &compute, &mut |_| ()).unwrap();
    let tokenizer = Tokenizer::new(&file.vocab().unwrap()).unwrap();
    let mut tokens = 0;
    let score = |document: &&str| {
        let (ids, first) = tokenizer.encode_pair(query, document);
        tokens += ids.len();
        let mut encoding = model.new_encoding(16).unwrap();
        let states = model.encode(&compute, &[Text { tokens: &ids, first }], &mut encoding);
        let score = model.pair_scores(&compute, &states[..256]).unwrap()[0];
        1.0 / (1.0 + (-f64::from(score)).exp())
    };
    let right: Vec<f64> = documents.iter().map(score).collect();
    let results = reply["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    for result in results {
        let index = result["index"].as_u64().unwrap() as usize;
        let found = result["relevance_score"].as_f64().unwrap();
        assert!((found - right[index]).abs() < 1e-6, "{found} {right:?}");
    }
    assert_eq!(reply["usage"]["total_tokens"], tokens);
    let scores: Vec<_> = results.iter().map(|it| it["relevance_score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores[0] > scores[2], "{scores:?}");
    let long = json!({ "query": "a ".repeat(300), "documents": ["b", "c ".repeat(300)] });
    assert_eq!(live.post("/v1/rerank", &long).error(400)["param"], "documents[1]");
}

#[test]
fn a_script_makes_no_vectors() {
    let script = json!({ "answers": [{ "when": "", "text": "hi" }] });
    let live = Live::start(Setup { script: Some(script), ..Setup::default() });
    let error = live.post(PATH, &json!({ "input": "a" })).error(400);
    assert!(error["message"].as_str().unwrap().contains("script"), "{error}");
}
