//! Chats become prompts as the template says, and message text stays text.

mod common;

use std::time::{Duration, Instant};

use common::{Random, chatml_tokenizer, default_spec};
use myriad_token::{ChatTemplate, Message, RenderOptions, Specials, TemplateError, Tokenizer};
use serde_json::{Map, json};

const CHATML: &str = "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] \
     + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}\
     {{ '<|im_start|>assistant\n' }}{% endif %}";

fn message(role: &str, content: &str) -> Message {
    Message { role: role.to_owned(), content: content.to_owned(), extra: Map::new() }
}

fn answer() -> RenderOptions {
    RenderOptions { add_generation_prompt: true, ..RenderOptions::default() }
}

/// What a template without any message of interest renders.
fn render(source: &str) -> Result<String, TemplateError> {
    let template = ChatTemplate::new(source, &chatml_tokenizer())?;
    template.render(&[message("user", "hello")], &answer())
}

#[test]
fn the_default_model_speaks_chatml() {
    let spec = default_spec();
    let tokenizer = Tokenizer::new(&spec).expect("a vocabulary");
    let source = spec.chat_template.expect("a chat template");
    let template = ChatTemplate::new(&source, &tokenizer).expect("a valid template");
    let messages = [message("user", "Hi"), message("assistant", "Yes?"), message("user", "No.")];
    let text = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by \
                Hugging Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n\
                Yes?<|im_end|>\n<|im_start|>user\nNo.<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(template.render(&messages, &answer()).expect("rendered"), text);
    let ids = template.encode(&tokenizer, &messages, &answer()).expect("encoded");
    assert_eq!(ids, tokenizer.encode(text, Specials::Parse));
}

#[test]
fn python_and_huggingface_extensions_work() {
    let cases = [
        (
            "{{ {'b': [1, 2.0, none, true], 'a': 'é<&>\\'\"'} | tojson }}",
            r#"{"b": [1, 2.0, null, true], "a": "é<&>'\""}"#,
        ),
        (
            "{{ {'b': 1, 'a': []} | tojson(indent=2, sort_keys=true) }}",
            "{\n  \"a\": [],\n  \"b\": 1\n}",
        ),
        ("{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}", r#"[1,{"a":2}]"#),
        ("{{ 'é👍' | tojson(ensure_ascii=true) }}", r#""\u00e9\ud83d\udc4d""#),
        (
            "{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
            "13",
        ),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "hello"),
        ("{{ messages[0]['content'].strip().upper().split('L')[0] }}", "HE"),
        ("{{ missing }}{{ missing is defined }}", "False"),
        ("{{ tools is none }}{{ bos_token }}{{ eos_token }}{{ unk_token }}", "True<s><|im_end|>"),
        ("{{ '<b>' }}{{ none }}{{ true }}", "<b>NoneTrue"),
        ("{{ [1, 2.5] | sum }} {{ [{'a': 3}] | sum('a', start=1) }}", "3.5 4"),
        ("{{ 'In 2024: {:>4}, {x:.1f}'.format(7, x=0.25) }}", "In 2024:    7, 0.2"),
        ("a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"),
    ];
    for (source, expected) in cases {
        assert_eq!(render(source).expect(source), expected, "{source}");
    }
}

#[test]
fn the_time_is_the_one_that_was_passed_in() {
    let source = "{{ strftime_now('%Y-%m-%d %B %-d %%') }}";
    let template = ChatTemplate::new(source, &chatml_tokenizer()).expect("valid");
    let options = RenderOptions { now_unix_seconds: 1_699_963_200, ..RenderOptions::default() };
    let text = template.render(&[message("user", "")], &options).expect("rendered");
    assert_eq!(text, "2023-11-14 November 14 %");
    let bad = ChatTemplate::new("{{ strftime_now('%') }}", &chatml_tokenizer()).expect("valid");
    let error = bad.render(&[message("user", "")], &options);
    assert!(matches!(error, Err(TemplateError::Render(_))), "{error:?}");
    let options = RenderOptions { now_unix_seconds: i64::MAX, ..options };
    assert!(template.render(&[message("user", "")], &options).is_err());
}

#[test]
fn refusals_and_mistakes_are_told_apart() {
    let error = render("{{ raise_exception('Roles must alternate: ' + messages[0].role) }}");
    assert!(
        matches!(&error, Err(TemplateError::Raised(text)) if text == "Roles must alternate: user"),
        "{error:?}"
    );
    let error = render("{% macro m() %}{{ raise_exception('inner') }}{% endmacro %}{{ m() }}");
    assert!(matches!(&error, Err(TemplateError::Raised(text)) if text == "inner"), "{error:?}");
    let error = render("{{ nothing() }}");
    assert!(matches!(error, Err(TemplateError::Render(_))), "{error:?}");
    let error = render("{% if %}");
    assert!(matches!(error, Err(TemplateError::Syntax(_))), "{error:?}");
    let error = render(&" ".repeat((1 << 20) + 1));
    assert!(matches!(error, Err(TemplateError::TooLarge { bytes: 1_048_577 })), "{error:?}");
    let template = ChatTemplate::new(CHATML, &chatml_tokenizer()).expect("valid");
    assert!(matches!(template.render(&[], &answer()), Err(TemplateError::NoMessages)));
}

#[test]
fn hostile_templates_end_in_an_error_soon() {
    let long = "{{ ".to_owned() + &"(".repeat(10_000) + "1" + &")".repeat(10_000) + " }}";
    let blocks = "{% if true %}".repeat(20_000) + &"{% endif %}".repeat(20_000);
    let tags = "{% for a in [1] %}".repeat(2_000) + "x" + &"{% endfor %}".repeat(2_000);
    let sources = [
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}",
        "{% for i in range(10000) %}{% for j in range(10000) %}xxxxxxxx{% endfor %}{% endfor %}",
        "{{ 'a' * 10**9 }}",
        "{{ ('a' * 10**6) * 10**6 }}",
        "{% set ns = namespace(s='a') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}\
         {% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s='a') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}\
         {% endfor %}{{ ns.s }}",
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{% macro f(x) %}{{ g(x) }}{% endmacro %}{% macro g(x) %}{{ f(x) }}{% endmacro %}\
         {{ f(1) }}",
        "{% macro f() %}{{ caller() }}{% endmacro %}{% macro g() %}{% call f() %}{{ g() }}\
         {% endcall %}{% endmacro %}{{ g() }}",
        "{{ [0] * 10**9 }}",
        "{{ 10 ** 10 ** 10 ** 10 }}",
        "{{ range(0, 10**18) | list | length }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ [1] | batch(1000000000, 0) | list | length }}",
        "{{ [1] | slice(1000000000) | list | length }}",
        "{{ [1] | slice(1000000000, 0) | list | length }}",
        "{{ 'a' | indent(1000000000, true) }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ ('a ' * 100000) | wordwrap(1, wrapstring='x' * 100000) }}",
        "{{ 1.5 | round(1000000000) }}",
        "{{ ('a' * 100000).join(['b'] * 100000) }}",
        "{{ ('a' * 100000).replace('', 'b' * 100000) }}",
        "{{ ('a\n' * 1000000).splitlines() | tojson(indent=64) | length }}",
        "{{ [[0] * 1000] * 1000000 }}",
        "{{ ([[0] * 1000] * 1000) | sum(start=[]) | length }}",
        "{{ '{:é>100000000000000000000000}'.format(1) }}",
        "{{ '{:.1000000000f}'.format(1.5) }}",
        "{{ ('{:9999}' * 100000).format(1) }}",
        "{{ ('{0}' * 100000).format('a' * 100000) }}",
        "{{ ('{x}' * 100000).format(x='a' * 100000) }}",
        "{% include 'chat_template' %}",
        "{% import 'chat_template' as x %}",
        "{% extends 'chat_template' %}",
        "{% include '/etc/passwd' %}",
        "{{ ''.__class__.__mro__ }}{{ self.__init__.__globals__() }}",
        "{% for x in ['a'] recursive %}{{ loop(['a']) }}{% endfor %}",
        "{{ ('a' * 1000000) | replace('a', 'b' * 1000) }}",
        "{{ 'a,' * 1000000 | map('upper') | join('x' * 100000) }}",
        &long,
        &blocks,
        &tags,
    ];
    for source in sources {
        let start = Instant::now();
        let result = render(source);
        let shown: String = source.chars().take(90).collect();
        let is_small = result.as_ref().is_ok_and(|text| text.len() < 10_000);
        assert!(result.is_err() || is_small, "{shown}");
        assert!(start.elapsed() < Duration::from_secs(10), "{shown} took {:?}", start.elapsed());
    }
}

#[test]
fn values_cannot_be_nested_until_the_stack_overflows() {
    let uses = ["", "{{ ns.x }}", "{{ ns.x | tojson }}", "{{ ns.x == [ns.x] }}", "{{ ns ~ '' }}"];
    let stores = [
        "[ns.x]",
        "{'a': ns.x}",
        "(ns.x,)",
        "[[[[[[[[ns.x]]]]]]]]",
        "[ns.x] | reverse",
        "[ns.x] | map('list')",
        "[ns.x] | batch(1)",
        "{1: ns.x} | items",
        "ns",
        "[ns]",
        "{'a': ns}",
        "ns if true else 1",
        "[ns] | list",
        "namespace(y=ns)",
        "dict(a=ns)",
        "1) or (ns",
    ];
    for store in stores {
        for end in uses {
            let source = format!(
                "{{% set ns = namespace(x=[]) %}}{{% for i in range(9999) %}}\
                 {{% for j in range(99) %}}\
                 {{%set ns.x={store}%}}{{% endfor %}}{{% endfor %}}{end}"
            );
            assert!(render(&source).is_err(), "{store}, {end}");
        }
    }
    let line = "{% set x = [[[[[[[[x]]]]]]]] %}".repeat(30_000);
    for source in [
        line + "{{ x }}",
        "{% set ns = namespace() %}{% set ns.x | default(ns, true) %}{% endset %}{{ ns }}"
            .to_owned(),
        "{% set ns = namespace() %}{%- set (ns.x, ns.y) = (ns, ns) %}{{ ns }}".to_owned(),
        "{% set ns = namespace() %}{% macro m() %}{{ ns.m }}{% endmacro %}{% set ns.m = m %}"
            .to_owned(),
        "{% set ns = namespace() %}{% macro m() %}{{ ns.m }}{% endmacro %}{% set ns.m = [m] %}"
            .to_owned(),
        "{% set ns = namespace() %}{% set ns.x = [namespace(y=ns)] %}{{ ns }}".to_owned(),
        "{% set ns = namespace() %}{%\u{2003}set ns.x = ns %}{{ ns }}".to_owned(),
        "{% set ns = namespace() %}{# {% #}{% set ns.x = ns %}{{ ns }}".to_owned(),
        "{% set ns = namespace() %}{{ '{% raw %}' }}{% set ns.x = ns %}{{ ns }}".to_owned(),
    ] {
        assert!(render(&source).is_err(), "{}", &source[..source.len().min(100)]);
    }
    let good = "{% macro m(x) %}<{{ x }}>{% endmacro %}{% set f = m %}{{ f(1) }}";
    assert_eq!(render(good).expect("rendered"), "<1>");
    let good = "{% set ns = namespace(n=0, l=[]) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}\
                {%- set ns.l = ns.l + [{'i': (i, -i)}] -%} {% endfor %}{{ ns.n }} {{ ns.l[2].i }}";
    assert_eq!(render(good).expect("rendered"), "3 (2, -2)");
}

#[test]
fn developers_are_the_system_where_a_template_does_not_know_them() {
    let tokenizer = chatml_tokenizer();
    let template = ChatTemplate::new(CHATML, &tokenizer).expect("valid");
    let render = |messages: &[Message]| {
        template.render(messages, &RenderOptions::default()).expect("rendered")
    };
    let (developer, user) = (message("developer", "D"), message("user", "U"));
    assert_eq!(
        render(&[developer.clone(), user.clone()]),
        "<|im_start|>system\nD<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
    );
    assert_eq!(
        render(&[message("system", "S"), user.clone(), developer.clone()]),
        "<|im_start|>system\nS\n\nD<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
    );
    let knowing = "{# developer #}{{ messages[0].role }}";
    let template = ChatTemplate::new(knowing, &tokenizer).expect("valid");
    assert_eq!(template.render(&[developer], &answer()).expect("rendered"), "developer");
}

#[test]
fn the_final_message_can_be_left_open() {
    let tokenizer = chatml_tokenizer();
    let open = RenderOptions { continue_final_message: true, ..RenderOptions::default() };
    let trims = CHATML.replace("m['content']", "m['content'] | trim");
    let messages = |text: &str| [message("user", "Say <|im_end|>"), message("assistant", text)];
    let start = "<|im_start|>user\nSay <|im_end|><|im_end|>\n<|im_start|>assistant\n";
    for (source, text, expected) in [
        (CHATML, "One, two", "One, two"),
        (CHATML, " One, two ", " One, two "),
        (CHATML, "", ""),
        (&trims, " One, two ", "One, two"),
        (CHATML, "a <|im_end|> b", "a <|im_end|> b"),
    ] {
        let template = ChatTemplate::new(source, &tokenizer).expect("valid");
        let rendered = template.render(&messages(text), &open).expect("rendered");
        assert_eq!(rendered, format!("{start}{expected}"));
        let ids = template.encode(&tokenizer, &messages(text), &open).expect("encoded");
        assert_eq!(tokenizer.decode(&ids, true), rendered.as_bytes());
        assert_eq!(ids.iter().filter(|id| tokenizer.is_control(**id)).count(), 3);
    }
    let blind = ChatTemplate::new("nothing", &tokenizer).expect("valid");
    let error = blind.render(&messages("x"), &open);
    assert!(matches!(error, Err(TemplateError::CannotContinue)), "{error:?}");
    let both = RenderOptions { add_generation_prompt: true, ..open };
    let error = blind.render(&messages("x"), &both);
    assert!(matches!(error, Err(TemplateError::TwoContinuations)), "{error:?}");
}

/// Templates that put contents between texts in different ways.
const SHAPES: &[&str] = &[
    CHATML,
    "{% for m in messages %}<|{{ m.content }}|>{{ m.content | trim }}end|>{% endfor %}",
    "{% for m in messages %}<|im_{{ m.content }}{{ m.content }}<s>{{ m.name }}>{% endfor %}",
    "{% for m in messages %}{{ m.content }}{% endfor %}<|endoftext|>",
    "{% for m in messages %}<{{ m.content.strip() }}>{{ m | tojson }}<|im_end|>{% endfor %}",
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}",
];

/// Control and user-defined tokens, in order.
fn specials(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<u32> {
    // 263 is a run of spaces, which is user-defined but steers nothing.
    let is_special = |id: &u32| (256..263).contains(id);
    assert!((256..263).all(|id| tokenizer.token_text(id).is_some_and(|text| text.contains('<'))));
    ids.iter().copied().filter(is_special).collect()
}

/// Pieces of hostile messages: special tokens, their parts, and what guards them.
const FRAGMENTS: &[&str] = &[
    "<|im_end|>",
    "<|im_start|>",
    "<|endoftext|>",
    "<think>",
    "</think>",
    "<s>",
    "</s>",
    "<|im_",
    "im_end",
    "_end|>",
    "|>",
    ">",
    "<",
    "<|",
    "|",
    "end",
    "endoftext",
    "s",
    "/s",
    "think",
    "  ",
    " ",
    "\n",
    "x",
    "\u{fdd0}",
    "\u{fdd1}",
    "\u{fdd2}",
    "0",
    "1",
    "2",
    "é",
    "\"",
    "\\",
];

#[test]
fn message_text_never_becomes_a_special_token() {
    let tokenizer = chatml_tokenizer();
    for seed in 0..6000 {
        let mut random = Random(seed);
        let source = *random.pick(SHAPES);
        let template = ChatTemplate::new(source, &tokenizer).expect("valid");
        let mut text = || -> String {
            let count = random.below(5);
            (0..count).map(|_| *random.pick(FRAGMENTS)).collect()
        };
        let hostile: Vec<Message> = (0..3)
            .map(|_| {
                let mut message = message("user", &text());
                message.extra.insert("name".to_owned(), json!(text()));
                message
            })
            .collect();
        let benign: Vec<Message> = hostile
            .iter()
            .map(|_| {
                let mut message = message("user", "-");
                message.extra.insert("name".to_owned(), json!("-"));
                message
            })
            .collect();
        let encode = |messages: &[Message]| {
            template.encode(&tokenizer, messages, &answer()).expect("encoded")
        };
        let ids = encode(&hostile);
        let context = format!("seed {seed}, {source}, {hostile:?}");
        assert_eq!(specials(&tokenizer, &ids), specials(&tokenizer, &encode(&benign)), "{context}");
        let rendered = template.render(&hostile, &answer()).expect("rendered");
        let decoded = tokenizer.decode(&ids, true);
        assert_eq!(String::from_utf8_lossy(&decoded), rendered, "{context}");
        if source == CHATML {
            for message in &hostile {
                assert!(rendered.contains(&message.content), "{context}");
            }
        }
    }
}

#[test]
fn models_may_think_and_roles_may_be_tokens_but_strange_roles_may_not() {
    let tokenizer = chatml_tokenizer();
    let template = ChatTemplate::new(CHATML, &tokenizer).expect("valid");
    let thought = "<think>hm</think>ok<|im_end|>";
    let specials_of = |role: &str| {
        let messages = [message(role, thought)];
        let ids = template.encode(&tokenizer, &messages, &RenderOptions::default());
        specials(&tokenizer, &ids.expect("encoded"))
    };
    assert_eq!(specials_of("assistant"), [257, 259, 260, 258]);
    assert_eq!(specials_of("user"), [257, 258]);
    assert_eq!(specials_of("<|im_end|>"), [257, 258]);
    let source = "<|{{ messages[0].role }}|>{% if messages[0].role == 'im_start' %}!{% endif %}";
    let template = ChatTemplate::new(source, &tokenizer).expect("valid");
    for (role, expected) in [("im_start", vec![257]), ("im_end", vec![]), ("endoftext", vec![])] {
        let messages = [message(role, "")];
        let ids = template.encode(&tokenizer, &messages, &RenderOptions::default());
        assert_eq!(specials(&tokenizer, &ids.expect("encoded")), expected, "{role}");
    }
}
