//! Turns request bodies, one table row each, into requests, or errors that name what is wrong.

use myriad_server::errors::ApiError;
use myriad_server::limits;
use myriad_server::wire::chat::ChatRequest;
use myriad_server::wire::completions::CompletionRequest;
use myriad_server::wire::prompts::Prompt;
use myriad_server::wire::tokenize::{DetokenizeRequest, TokenizeInput, TokenizeRequest};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const VOCAB: usize = 1000;

fn chat_bytes(body: &[u8]) -> Result<ChatRequest, ApiError> {
    ChatRequest::parse(body, VOCAB)
}

/// A chat with one message and these further fields, written as JSON text.
fn chat(fields: &str) -> Result<ChatRequest, ApiError> {
    let comma = if fields.is_empty() { "" } else { "," };
    let message = r#""messages":[{"role":"user","content":"Hi"}]"#;
    chat_bytes(format!("{{{message}{comma}{fields}}}").as_bytes())
}

fn completion(fields: &str) -> Result<CompletionRequest, ApiError> {
    CompletionRequest::parse(format!("{{{fields}}}").as_bytes(), VOCAB)
}

/// The status is 400, the error names `param`, and its message shows the name too.
fn assert_names(error: &ApiError, param: &str, case: &str) {
    assert_eq!(error.status, 400, "{case}");
    assert_eq!(error.param.as_deref(), Some(param), "{case}: {}", error.message);
    assert!(error.message.contains(param), "{case}: {}", error.message);
    let body = serde_json::to_value(error.body()).unwrap();
    for key in ["message", "type", "param", "code"] {
        assert!(body["error"].get(key).is_some(), "{case}: no {key}");
    }
}

#[test]
fn a_chat_needs_nothing_but_messages() {
    let request = chat("").unwrap();
    assert_eq!(request.model, None);
    assert_eq!(request.max_tokens, None);
    assert_eq!(request.logprobs, None);
    assert_eq!(request.generation.sampling.temperature, 1.0);
    assert_eq!(request.generation.sampling.top_p, 1.0);
    assert_eq!(request.generation.n, 1);
    assert!(!request.generation.stream);
    assert!(request.chat.add_generation_prompt);
}

#[test]
fn null_is_absent_everywhere() {
    let names = [
        "model",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "n",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "seed",
        "stream",
        "stream_options",
        "user",
        "tools",
        "tool_choice",
        "response_format",
        "ignore_eos",
        "stop_token_ids",
        "min_tokens",
        "return_token_ids",
        "cache_salt",
        "chat_template_kwargs",
        "add_generation_prompt",
        "continue_final_message",
        "functions",
        "audio",
        "modalities",
        "prediction",
        "metadata",
        "parallel_tool_calls",
        "service_tier",
        "store",
        "reasoning_effort",
        "nobody_knows_this",
    ];
    let fields: Vec<_> = names.iter().map(|name| format!("\"{name}\":null")).collect();
    let request = chat(&fields.join(",")).unwrap();
    assert_eq!(format!("{request:?}"), format!("{:?}", chat("").unwrap()));
    completion(r#""prompt":"a","echo":null,"logprobs":null,"best_of":null,"suffix":null"#).unwrap();
}

#[test]
fn values_of_chats_are_taken_over() {
    let request = chat(
        r#""model":"m","temperature":0.5,"top_p":0.25,"top_k":7,"min_p":0.125,"n":3,
        "stop":["a","b"],"max_tokens":5,"max_completion_tokens":6,"presence_penalty":-1,
        "frequency_penalty":2,"repetition_penalty":1.5,"logit_bias":{"7":-100,"8":1.5},
        "logprobs":true,"top_logprobs":2,"seed":-5,"stream":true,
        "stream_options":{"include_usage":true},"stop_token_ids":[1,2],"ignore_eos":true,
        "min_tokens":2,"return_token_ids":true,"include_stop_str_in_output":true,"user":"x""#,
    )
    .unwrap();
    let (generation, sampling) = (&request.generation, &request.generation.sampling);
    assert_eq!(request.model.as_deref(), Some("m"));
    assert_eq!(request.max_tokens, Some(6), "the newer name wins");
    assert_eq!(request.logprobs, Some(2));
    assert_eq!(sampling.logprobs, Some(2));
    assert_eq!((sampling.temperature, sampling.top_p, sampling.min_p), (0.5, 0.25, 0.125));
    assert_eq!(sampling.top_k, Some(7));
    assert_eq!((sampling.presence_penalty, sampling.frequency_penalty), (-1.0, 2.0));
    assert_eq!(sampling.repetition_penalty, 1.5);
    assert_eq!(sampling.logit_bias, [(7, -100.0), (8, 1.5)]);
    assert_eq!(generation.stops, ["a", "b"]);
    assert_eq!((generation.n, generation.seed, generation.min_tokens), (3, Some(-5), 2));
    assert_eq!(generation.stop_token_ids, [1, 2]);
    assert!(generation.stream && generation.include_usage && generation.include_stop);
    assert!(generation.ignore_eos && generation.return_token_ids);
}

#[test]
fn other_spellings_of_the_same_value_are_taken() {
    assert_eq!(chat(r#""n":2.0"#).unwrap().generation.n, 2);
    assert_eq!(chat(r#""stop":"x""#).unwrap().generation.stops, ["x"]);
    assert_eq!(chat(r#""seed":18446744073709551615"#).unwrap().generation.seed, Some(-1));
    assert_eq!(chat(r#""top_k":-1"#).unwrap().generation.sampling.top_k, None);
    assert_eq!(chat(r#""top_k":0"#).unwrap().generation.sampling.top_k, None);
    assert_eq!(chat(r#""temperature":1e0"#).unwrap().generation.sampling.temperature, 1.0);
    for harmless in [
        r#""tools":[]"#,
        r#""tool_choice":"none""#,
        r#""response_format":{ "type" : "text" }"#,
        r#""service_tier":"auto""#,
        r#""store":false"#,
        r#""user":"someone","metadata":{"a":"b"},"prompt_cache_key":"k""#,
    ] {
        chat(harmless).unwrap_or_else(|error| panic!("{harmless}: {error:?}"));
    }
}

/// Fields of a chat, each with a value that is wrong.
const WRONG: &[(&str, &str)] = &[
    ("model", "5"),
    ("model", r#"["a"]"#),
    ("temperature", "-0.1"),
    ("temperature", "2.1"),
    ("temperature", "1e999"),
    ("temperature", r#""hot""#),
    ("temperature", "[1]"),
    ("temperature", "true"),
    ("top_p", "1.5"),
    ("top_p", "-1"),
    ("min_p", "2"),
    ("top_k", "-2"),
    ("top_k", "1.5"),
    ("top_k", "99999999999999999999999999"),
    ("presence_penalty", "2.5"),
    ("frequency_penalty", "-3"),
    ("repetition_penalty", "0"),
    ("n", "0"),
    ("n", "17"),
    ("n", "-1"),
    ("n", r#""2""#),
    ("n", "1.5"),
    ("n", "1e300"),
    ("max_tokens", "0"),
    ("max_tokens", "-5"),
    ("max_tokens", r#""many""#),
    ("max_completion_tokens", "0"),
    ("stop", "5"),
    ("stop", r#"[""]"#),
    ("stop", r#"[5]"#),
    ("stop", r#"{"a":1}"#),
    ("logit_bias", "[]"),
    ("logit_bias", r#"{"1000":1}"#),
    ("logit_bias", r#"{"-1":1}"#),
    ("logit_bias", r#"{"a":1}"#),
    ("logit_bias", r#"{"5":101}"#),
    ("logit_bias", r#"{"5":"1"}"#),
    ("logit_bias", r#"{"5":null}"#),
    ("logprobs", "5"),
    ("top_logprobs", "21"),
    ("top_logprobs", "2"),
    ("seed", "1.5"),
    ("seed", r#""x""#),
    ("seed", "18446744073709551616"),
    ("stream", "1"),
    ("stream", r#""true""#),
    ("stream_options", "{}"),
    ("stop_token_ids", "[1000]"),
    ("stop_token_ids", "[-1]"),
    ("stop_token_ids", "5"),
    ("ignore_eos", r#""yes""#),
    ("min_tokens", "-1"),
    ("chat_template_kwargs", "[]"),
    ("chat_template", r#""{{ messages }}""#),
    ("continue_final_message", "1"),
    ("tools", "5"),
    ("tools", r#""f""#),
    ("tool_choice", r#""perhaps""#),
    ("response_format", "5"),
    ("response_format.type", r#"{"type":"grammar"}"#),
    ("response_format.json_schema", r#"{"type":"json_schema"}"#),
    ("response_format.json_schema.name", r#"{"type":"json_schema","json_schema":{}}"#),
    (
        "response_format.json_schema.schema",
        r#"{"type":"json_schema","json_schema":{"name":"x","schema":[]}}"#,
    ),
    ("response_format.schema", r#"{"type":"json_object","schema":{}}"#),
    ("modalities", r#"["audio"]"#),
    ("reasoning_effort", r#""much""#),
    ("store", "1"),
    ("audio", "{}"),
    ("guided_json", "5"),
    ("guided_json", r#""no schema""#),
    ("guided_regex", "{}"),
    ("guided_choice", "[]"),
    ("guided_choice", r#"["a",1]"#),
    ("guided_grammar", "[]"),
    ("structured_outputs", r#""json""#),
    ("structured_outputs.json", r#"{"json":[]}"#),
    ("structured_outputs.choice", r#"{"choice":["a"],"regex":"a"}"#),
    ("structured_outputs.structural_tag", r#"{"structural_tag":"{}"}"#),
    ("structured_outputs.disable_any_whitespace", r#"{"json":{},"disable_any_whitespace":true}"#),
    ("best_of", "2"),
    ("prompt", r#""hello""#),
    ("temperatur", "1"),
    ("Temperature", "1"),
];

#[test]
fn wrong_fields_of_chats_are_named() {
    for (param, value) in WRONG {
        let field = param.split('.').next().unwrap_or(param);
        let fields = format!("\"{field}\":{value}");
        let error = chat(&fields).expect_err(&fields);
        assert_names(&error, param, &fields);
    }
}

/// Every field of OpenAI's CreateChatCompletionRequest (openai 3.57) but the messages, with a value
/// that OpenAI takes.
const OF_OPENAI: &[(&str, &str)] = &[
    ("audio", r#"{"voice":"alloy","format":"wav"}"#),
    ("frequency_penalty", "0.5"),
    ("function_call", r#""auto""#),
    ("functions", r#"[{"name":"f"}]"#),
    ("logit_bias", r#"{"5":1}"#),
    ("logprobs", "true"),
    ("max_completion_tokens", "5"),
    ("max_tokens", "5"),
    ("metadata", r#"{"a":"b"}"#),
    ("modalities", r#"["text"]"#),
    ("model", r#""m""#),
    ("moderation", r#"{"model":"omni-moderation-latest"}"#),
    ("n", "2"),
    ("parallel_tool_calls", "false"),
    ("prediction", r#"{"type":"content","content":"a"}"#),
    ("presence_penalty", "0.5"),
    ("prompt_cache_key", r#""k""#),
    ("prompt_cache_options", r#"{"mode":"implicit","ttl":"30m"}"#),
    ("prompt_cache_retention", r#""24h""#),
    ("reasoning_effort", r#""low""#),
    ("response_format", r#"{"type":"json_object"}"#),
    ("safety_identifier", r#""s""#),
    ("seed", "1"),
    ("service_tier", r#""priority""#),
    ("stop", r#"["a"]"#),
    ("store", "true"),
    ("stream", "true"),
    ("stream_options", r#"{"include_usage":true}"#),
    ("temperature", "1"),
    ("tool_choice", r#""auto""#),
    ("tools", r#"[{"type":"function","function":{"name":"f"}}]"#),
    ("top_logprobs", "0"),
    ("top_p", "1"),
    ("user", r#""u""#),
    ("verbosity", r#""low""#),
    ("web_search_options", "{}"),
];

#[test]
fn every_field_of_openais_is_honoured_a_hint_or_refused_as_what_it_is() {
    let refused = ["audio", "moderation", "verbosity", "web_search_options"];
    for (name, value) in OF_OPENAI {
        let stream = if *name == "stream_options" { r#""stream":true,"# } else { "" };
        match chat(&format!("{stream}\"{name}\":{value}")) {
            Ok(_) => assert!(!refused.contains(name), "{name}"),
            Err(error) => {
                assert!(refused.contains(name), "{name}: {error:?}");
                assert_names(&error, name, name);
                assert_eq!(error.code, Some("unsupported_parameter"), "{name}");
            }
        }
    }
}

#[test]
fn allowed_tools_are_the_only_ones() {
    let tool = |name: &str| json!({ "type": "function", "function": { "name": name } });
    let tools = json!([tool("a"), tool("b"), tool("c")]);
    for (mode, forced) in [("auto", false), ("required", true)] {
        let allowed = json!({ "mode": mode, "tools": [tool("c"), tool("a")] });
        let choice = json!({ "type": "allowed_tools", "allowed_tools": allowed });
        let request = chat(&format!(r#""tools":{tools},"tool_choice":{choice}"#)).unwrap();
        let names: Vec<&str> =
            request.chat.tools.offered.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!((names, request.chat.tools.forced), (vec!["a", "c"], forced));
    }
}

#[test]
fn wrong_messages_are_named_with_their_place() {
    for (param, messages) in [
        ("messages", "5"),
        ("messages", r#""hi""#),
        ("messages", "[]"),
        ("messages", "null"),
        ("messages[0]", "[5]"),
        ("messages[0].role", r#"[{"content":"a"}]"#),
        ("messages[0].role", r#"[{"role":"wizard","content":"a"}]"#),
        ("messages[0].role", r#"[{"role":5,"content":"a"}]"#),
        ("messages[0].content", r#"[{"role":"user"}]"#),
        ("messages[0].content", r#"[{"role":"user","content":null}]"#),
        ("messages[0].content", r#"[{"role":"user","content":5}]"#),
        ("messages[0].content", r#"[{"role":"user","content":{"a":1}}]"#),
        ("messages[0].content[0]", r#"[{"role":"user","content":["a"]}]"#),
        ("messages[0].content[0].type", r#"[{"role":"user","content":[{"text":"a"}]}]"#),
        ("messages[0].content[0].text", r#"[{"role":"user","content":[{"type":"text"}]}]"#),
        (
            "messages[1].content[1].type",
            r#"[{"role":"user","content":"a"},{"role":"user","content":[{"type":"text","text":"a"},
            {"type":"image_url","image_url":{"url":"http://example.org"}}]}]"#,
        ),
        (
            "messages[0].tool_calls[0].function",
            r#"[{"role":"assistant","tool_calls":[{"id":"a"}]}]"#,
        ),
        (
            "messages[0].tool_calls[0].type",
            r#"[{"role":"assistant","tool_calls":[{"type":"custom","custom":{"name":"a"}}]}]"#,
        ),
        (
            "messages[0].tool_calls",
            r#"[{"role":"user","content":"a","tool_calls":[{"function":{"name":"f"}}]}]"#,
        ),
        ("messages[0].function_call.name", r#"[{"role":"assistant","function_call":{}}]"#),
        ("messages[0].words", r#"[{"role":"user","content":"a","words":1}]"#),
    ] {
        let error = chat_bytes(format!("{{\"messages\":{messages}}}").as_bytes());
        assert_names(&error.expect_err(messages), param, messages);
    }
    assert_names(&chat_bytes(b"{}").unwrap_err(), "messages", "{}");
}

#[test]
fn messages_of_other_servers_are_taken_back() {
    let body = json!({ "messages": [
        { "role": "developer", "content": "Be brief." },
        { "role": "user", "content": [{ "type": "text", "text": "a" },
                                      { "type": "text", "text": "b" }], "name": "ann" },
        { "role": "assistant", "content": "c", "refusal": null, "annotations": [],
          "tool_calls": [], "audio": null, "function_call": null, "reasoning": "thought" },
        { "role": "assistant", "content": null },
        { "role": "tool", "content": "d", "tool_call_id": "call_1" },
    ]});
    let request = chat_bytes(body.to_string().as_bytes()).unwrap();
    let messages = &request.chat.messages;
    assert_eq!(messages.len(), 5);
    assert_eq!(messages[1].content, "a\nb");
    assert_eq!(messages[1].extra["name"], "ann");
    assert_eq!(messages[2].extra["reasoning_content"], "thought");
    assert_eq!(messages[3].content, "");
    assert_eq!(messages[4].extra["tool_call_id"], "call_1");
}

#[test]
fn bodies_that_are_no_objects_are_refused() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_field = format!("{{\"metadata\":{deep},\"messages\":[]}}");
    let deep_objects = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
    let cases: [&[u8]; 14] = [
        b"",
        b" ",
        b"null",
        b"5",
        b"[]",
        b"\"messages\"",
        b"{",
        b"{\"messages\":[}",
        b"{\"messages\":[]} more",
        b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}",
        b"{\"temperature\":NaN,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}",
        b"{\"temperature\":Infinity}",
        deep_field.as_bytes(),
        deep_objects.as_bytes(),
    ];
    for case in cases {
        let shown = String::from_utf8_lossy(&case[..case.len().min(60)]).into_owned();
        let chat = ChatRequest::parse(case, VOCAB).expect_err(&shown);
        assert_eq!(chat.status, 400, "{shown}");
        assert!(chat.message.len() < 600, "{shown}: {}", chat.message);
        assert_eq!(CompletionRequest::parse(case, VOCAB).expect_err(&shown).status, 400);
        assert_eq!(TokenizeRequest::parse(case).expect_err(&shown).status, 400);
        assert_eq!(DetokenizeRequest::parse(case).expect_err(&shown).status, 400);
    }
}

#[test]
fn lone_surrogates_are_refused_and_pairs_are_not() {
    let message = |text: &str| {
        chat_bytes(
            format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}").as_bytes(),
        )
    };
    assert_names(&message("\\ud83d").unwrap_err(), "messages[0].content", "lone");
    assert_eq!(message("\\ud83d\\ude00").unwrap().chat.messages[0].content, "😀");
    assert_eq!(message("\\u0000").unwrap().chat.messages[0].content, "\0");
}

#[test]
fn long_texts_are_read_quickly_and_whole() {
    for text in ["^".repeat(1_000_000), "\\\\".repeat(500_000), "\\u00e9".repeat(150_000)] {
        let started = Instant::now();
        let body = format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}");
        let request = chat_bytes(body.as_bytes()).unwrap();
        assert!(request.chat.messages[0].content.len() >= 300_000);
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn counts_beyond_the_limits_are_refused() {
    let many = |count: usize, item: &str| vec![item; count].join(",");
    let stops = format!("\"stop\":[{}]", many(limits::STOPS_MAX + 1, "\"a\""));
    assert_names(&chat(&stops).unwrap_err(), "stop", "stops");
    let long = format!("\"stop\":\"{}\"", "a".repeat(limits::STOP_BYTES_MAX + 1));
    assert_names(&chat(&long).unwrap_err(), "stop", "long stop");
    let tokens = format!("\"stop_token_ids\":[{}]", many(limits::STOP_TOKENS_MAX + 1, "1"));
    assert_names(&chat(&tokens).unwrap_err(), "stop_token_ids", "stop tokens");
    let bias = |count: usize| {
        let entries: Vec<_> = (0..count).map(|id| format!("\"{id}\":1")).collect();
        format!("\"logit_bias\":{{{}}}", entries.join(","))
    };
    let parse = |fields: &str| {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"a"}}],{fields}}}"#);
        ChatRequest::parse(body.as_bytes(), 1_000_000)
    };
    assert!(parse(&bias(limits::LOGIT_BIAS_MAX)).is_ok());
    assert_names(&parse(&bias(limits::LOGIT_BIAS_MAX + 1)).unwrap_err(), "logit_bias", "bias");
    assert_names(&parse(&bias(200_000)).unwrap_err(), "logit_bias", "huge bias");
    let message = r#"{"role":"user","content":""}"#;
    let messages = many(limits::MESSAGES_MAX + 1, message);
    let error = chat_bytes(format!("{{\"messages\":[{messages}]}}").as_bytes()).unwrap_err();
    assert_names(&error, "messages", "messages");
    let prompts = format!("\"prompt\":[{}]", many(limits::PROMPTS_MAX + 1, "\"a\""));
    assert_names(&completion(&prompts).unwrap_err(), "prompt", "prompts");
    let sequences = format!("\"prompt\":[{}],\"n\":2", many(limits::PROMPTS_MAX, "\"a\""));
    assert_names(&completion(&sequences).unwrap_err(), "n", "sequences");
    let fields: Vec<_> = (0..1000).map(|index| format!("\"field{index}\":1")).collect();
    assert_eq!(chat(&fields.join(",")).unwrap_err().status, 400);
    let name = "x".repeat(1_000_000);
    let error = chat(&format!("\"{name}\":1")).unwrap_err();
    assert!(error.message.len() < 200, "names of clients are shown, but not at any length");
}

#[test]
fn prompts_come_in_four_forms() {
    for (prompt, right) in [
        (json!("a"), vec![Prompt::Text("a".into())]),
        (json!(["a", "b"]), vec![Prompt::Text("a".into()), Prompt::Text("b".into())]),
        (json!([1, 2]), vec![Prompt::Tokens(vec![1, 2])]),
        (json!([[1], [2, 3]]), vec![Prompt::Tokens(vec![1]), Prompt::Tokens(vec![2, 3])]),
    ] {
        let request = completion(&format!("\"prompt\":{prompt}")).unwrap();
        assert_eq!(request.prompts, right, "{prompt}");
        assert_eq!(request.max_tokens, 16);
    }
    let wrong: [Value; 9] = [
        json!([]),
        json!(5),
        json!({}),
        json!(true),
        json!([1, "a"]),
        json!([1, -1]),
        json!([1, 1.5]),
        json!([1, VOCAB]),
        json!([[1], [[2]]]),
    ];
    for prompt in wrong {
        let fields = format!("\"prompt\":{prompt}");
        assert_names(&completion(&fields).expect_err(&fields), "prompt", &fields);
    }
    assert_names(&completion("").unwrap_err(), "prompt", "none");
}

#[test]
fn wrong_fields_of_completions_are_named() {
    for (param, value) in [
        ("max_tokens", "0"),
        ("max_tokens", "-1"),
        ("logprobs", "6"),
        ("logprobs", "true"),
        ("echo", "1"),
        ("best_of", "0"),
        ("best_of", "17"),
        ("suffix", "5"),
        ("min_tokens", "17"),
        ("messages", "[]"),
        ("top_logprobs", "1"),
    ] {
        let fields = format!("\"prompt\":\"a\",\"{param}\":{value}");
        assert_names(&completion(&fields).expect_err(&fields), param, &fields);
    }
    let scored = completion(r#""prompt":"a","echo":true,"max_tokens":0,"logprobs":0"#).unwrap();
    assert_eq!((scored.max_tokens, scored.prompt_logprobs()), (0, Some(0)));
    assert_eq!(completion(r#""prompt":"a","logprobs":3"#).unwrap().prompt_logprobs(), None);
    completion(r#""prompt":"a","n":2,"best_of":2"#).unwrap();
}

#[test]
fn tokenize_takes_a_text_or_a_chat() {
    let parse = |body: &str| TokenizeRequest::parse(body.as_bytes());
    let text = parse(r#"{"prompt":"a","add_special_tokens":false}"#).unwrap();
    assert!(matches!(text.input, TokenizeInput::Text { add_special_tokens: false, .. }));
    let chat = parse(r#"{"messages":[{"role":"user","content":"a"}]}"#).unwrap();
    assert!(matches!(chat.input, TokenizeInput::Chat(_)));
    assert_names(&parse("{}").unwrap_err(), "prompt", "{}");
    assert_names(&parse(r#"{"prompt":5}"#).unwrap_err(), "prompt", "5");
    assert_names(&parse(r#"{"prompt":"a","messages":[]}"#).unwrap_err(), "messages", "both");
    let detokenize = |body: &str| {
        let request = DetokenizeRequest::parse(body.as_bytes())?;
        request.check(VOCAB).map(|()| request)
    };
    assert_eq!(detokenize(r#"{"tokens":[1,2]}"#).unwrap().tokens, [1, 2]);
    for body in [r#"{}"#, r#"{"tokens":5}"#, r#"{"tokens":[1000]}"#, r#"{"tokens":[-1]}"#] {
        assert_names(&detokenize(body).expect_err(body), "tokens", body);
    }
}

#[test]
fn choices_of_one_seed_differ_and_repeat() {
    let seeds = |fields: &str| -> Vec<u64> {
        let generation = chat(fields).unwrap().generation;
        (0..4).map(|index| generation.sampling_of(index).seed).collect()
    };
    let first = seeds(r#""seed":7,"n":4"#);
    assert_eq!(first, seeds(r#""seed":7"#));
    assert_eq!(first[0], 7);
    let mut unique = first.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), 4);
    assert_ne!(seeds(r#""n":4"#), seeds(r#""n":4"#), "without a seed, chance");
}
