//! Turns arbitrary templates and messages into prompts: within limits, and text stays text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use myriad_formats::Gguf;
use myriad_kernels::BlockType;
use myriad_model::Family;
use myriad_model::synthetic::{self, CONTROL_TOKENS, Shape};
use myriad_token::{ChatTemplate, Message, RenderOptions, Tokenizer};
use std::sync::LazyLock;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let shape = Shape::small(Family::Llama, BlockType::F32);
    let file = Gguf::from_bytes(synthetic::gguf(&shape, 1)).expect("a valid file");
    Tokenizer::new(&file.vocab().expect("a vocabulary")).expect("a tokenizer")
});

/// Templates that put message text between texts in different ways, none of which depends on what
/// the text says.
const HONEST: [&str; 4] = [
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' }}\
     {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "{% for m in messages %}<|{{ m.content }}|>{{ m.content | trim }}end|>{% endfor %}",
    "{% for m in messages %}<|im_{{ m.content }}{{ m.content }}>{% endfor %}<|endoftext|>",
    "{% for m in messages %}<{{ m.content.strip() }}>{{ m | tojson }}<|im_end|>{% endfor %}",
];

static HONEST_TEMPLATES: LazyLock<Vec<ChatTemplate>> = LazyLock::new(|| {
    HONEST.map(|source| ChatTemplate::new(source, &TOKENIZER).expect("a valid template")).into()
});

// Texts are separated by a zero byte: the first is a template, or one digit that names an honest
// one; the others are messages.
fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (source, contents) = text.split_once('\0').unwrap_or((&text, "Hello"));
    let contents: Vec<&str> = contents.split('\0').take(4).collect();
    let honest = source.parse::<usize>().ok().and_then(|index| HONEST_TEMPLATES.get(index));
    if let Some(template) = honest {
        let hostile = encode(template, &contents).expect("an honest template renders any text");
        let plain = encode(template, &vec!["-"; contents.len()]).expect("as it does this");
        assert_eq!(controls(&hostile), controls(&plain));
        return;
    }
    if let Ok(template) = ChatTemplate::new(source, &TOKENIZER) {
        let _ = encode(&template, &contents);
    }
});

/// Ids of a chat, after a look at whether they are those of the rendered text.
fn encode(template: &ChatTemplate, contents: &[&str]) -> Option<Vec<u32>> {
    let message = |(index, content): (usize, &&str)| Message {
        role: ["user", "assistant"][index % 2].to_owned(),
        content: (*content).to_owned(),
        ..Message::default()
    };
    let messages: Vec<Message> = contents.iter().enumerate().map(message).collect();
    let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
    let rendered = template.render(&messages, &options).ok()?;
    let ids = template.encode(&TOKENIZER, &messages, &options).ok()?;
    assert_eq!(String::from_utf8_lossy(&TOKENIZER.decode(&ids, true)), rendered);
    Some(ids)
}

fn controls(ids: &[u32]) -> Vec<u32> {
    ids.iter().copied().filter(|id| (*id as usize) < CONTROL_TOKENS.len()).collect()
}
