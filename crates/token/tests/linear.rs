//! Hostile texts cost time in proportion to their length, and no depth of the stack.

mod common;

use std::time::{Duration, Instant};

use common::answers::cut;
use common::{Random, default_tokenizer, small_sentencepiece, tiny_spec};
use myriad_token::{
    AnswerFormat, AnswerParser, AnswerTool, CallFormat, PreTokenizer, ReasoningFormat, Specials,
    TokenType, Tokenizer,
};

/// Asserts that four times the text takes as long as four texts, and a little: less than 2.5 times
/// as long for twice the text, which is 25/16 times as long as four texts for four times the text.
/// Both are measured for the same time, so that whatever else the machine does disturbs both alike.
/// Noise is met by taking the best of several rounds, and by trying again.
fn assert_linear(name: &str, unit: &str, bytes: usize, mut encode: impl FnMut(&str)) {
    let once = unit.repeat(bytes / unit.len());
    let four_times = once.repeat(4);
    let mut time = |text: &str, times: usize| -> Duration {
        let rounds = (0..2).map(|_| {
            let start = Instant::now();
            (0..times).for_each(|_| encode(text));
            start.elapsed()
        });
        rounds.min().unwrap_or_default()
    };
    let mut seen = Vec::new();
    for _ in 0..12 {
        let (short, long) = (time(&once, 4), time(&four_times, 1));
        // A text too long for a cache costs up to a nanosecond a byte more, whatever is done.
        let caches = Duration::from_nanos(four_times.len() as u64);
        if long < short * 25 / 16 + caches {
            return;
        }
        seen.push((short, long));
    }
    panic!("{name}: time is not linear: {seen:?}");
}

const UNITS: &[(&str, &str)] = &[
    ("carets", "^"),
    ("letters", "a"),
    ("spaces", " "),
    ("underscores", "_"),
    ("one ideograph", "你"),
    ("newlines", "\n"),
    ("spaces and newlines", " \n"),
    ("digits", "7"),
    ("quotes", "'"),
    ("contractions", "'l"),
    ("spaces and letters", " a"),
    ("letters and spaces", "a  "),
    ("marks", "e\u{301}"),
    ("beginnings of special tokens", "<|im_"),
    ("opening brackets", "<"),
];

/// Texts at which the scanners look twice.
const WORD_UNITS: &[(&str, &str)] = &[
    ("capitals", "A"),
    ("marks and capitals", "\u{301}A"),
    ("marks and capitals and small letters", "\u{301}AAa"),
    ("letters without case and capitals", "ªA"),
    ("punctuation and capitals", "!A"),
    ("ideographs and commas", "、你ー "),
    ("controls", "\u{1}"),
    ("kana and their signs", "か・"),
    ("ideographic spaces", "\u{3000}"),
    ("spaces of many kinds", " \u{3000}\u{2028}"),
    ("slashes and newlines", "/\n"),
];

/// One name for each list of patterns.
const PATTERNS: &[&str] = &[
    "gpt-2",
    "smollm",
    "qwen2",
    "llama-bpe",
    "qwen35",
    "seed-coder",
    "gpt-4o",
    "deepseek-v3",
    "deepseek-llm",
    "deepseek-coder",
];

#[test]
fn encoding_takes_linear_time() {
    let tokenizer = default_tokenizer();
    for (name, unit) in UNITS {
        assert_linear(name, unit, 25_000, |text| {
            std::hint::black_box(tokenizer.encode(text, Specials::Parse));
        });
    }
}

#[test]
fn encoding_by_scores_takes_linear_time() {
    let tokenizer = small_sentencepiece();
    for (name, unit) in UNITS.iter().chain(WORD_UNITS).chain(&[("turns", "<start_of_")]) {
        assert_linear(name, unit, 25_000, |text| {
            std::hint::black_box(tokenizer.encode(text, Specials::Parse));
        });
    }
}

#[test]
fn pre_tokens_take_linear_time() {
    for pattern in PATTERNS {
        let pre_tokenizer = PreTokenizer::named(pattern).expect("a known pattern");
        for (name, unit) in UNITS.iter().chain(WORD_UNITS) {
            assert_linear(&format!("{pattern}, {name}"), unit, 60_000, |text| {
                std::hint::black_box(pre_tokenizer.split(text).count());
            });
        }
    }
}

#[test]
fn very_long_words_are_no_trouble() {
    let tokenizers = [default_tokenizer(), small_sentencepiece()];
    // Half a megabyte of stack: recursion by length would overflow it.
    let encode = move || {
        let hard = [("^", 1_000_000), ("_", 200_000), (" ", 1_000_000), ("a", 100_000)];
        for (unit, count) in hard.into_iter().chain([("你", 100_000), ("a 你", 50_000)]) {
            let text = unit.repeat(count);
            for tokenizer in &tokenizers {
                let ids = tokenizer.encode(&text, Specials::AsText);
                assert!(!ids.is_empty() && tokenizer.decode(&ids, false) == text.as_bytes());
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(encode);
    thread.expect("a thread").join().expect("no overflow");
}

#[test]
fn long_unused_pieces_are_taken_apart_without_recursion() {
    let golden = common::golden("sentencepiece.json");
    let mut spec = common::small_sentencepiece_spec(&golden);
    // `q`, `qq`, `qqq`, …, each longer one made first: a chain of pieces as deep as the longest.
    for (length, id) in (2..).zip(500..800) {
        spec.tokens[id] = "q".repeat(length);
        (spec.scores[id], spec.token_types[id]) = (length as f32, TokenType::Unused);
    }
    let tokenizer = Tokenizer::new(&spec).expect("a vocabulary");
    let text = "q".repeat(3000);
    let ids = tokenizer.encode(&text, Specials::AsText);
    assert_eq!((ids.len(), tokenizer.decode(&ids, false)), (3000, text.into_bytes()));
    assert_linear("unused pieces", "q", 5000, |text| {
        std::hint::black_box(tokenizer.encode(text, Specials::AsText));
    });
}

#[test]
fn long_special_tokens_do_not_make_a_text_quadratic() {
    let long = "<".repeat(500);
    let tokenizer =
        Tokenizer::new(&tiny_spec(&[(&long, TokenType::Control)], &[])).expect("a vocabulary");
    assert_linear("long special", "<<<<<<<<<!", 10_000, |text| {
        std::hint::black_box(tokenizer.encode(text, Specials::Parse));
    });
}

#[test]
fn answers_take_linear_time() {
    let units = [
        ("letters", "a"),
        ("spaces", " "),
        ("brackets", "<"),
        ("beginnings of tags", "<tool_cal"),
        ("tags", "<tool_call>"),
        ("open calls", "<tool_call>{\"name\": \""),
        ("calls", "<tool_call>{\"name\": \"stop\"}</tool_call>"),
        ("parameters", "<parameter=a>1</parameter>"),
        ("functions", "<function=a>"),
        ("separators", "<｜tool▁call▁begin｜>a<｜tool▁sep｜>"),
        ("channels", "<|channel|>"),
        ("messages", "<|start|>assistant<|channel|>final<|message|>a<|end|>"),
        ("semicolons", "; "),
        ("fences", "```"),
    ];
    let begins = [
        "",
        "<think>",
        "<function=a>",
        "<function=a><parameter=b>",
        "<tool_call>",
        "<tool_call>{\"name\": \"a\", \"arguments\": {\"b\": \"",
        "<｜tool▁calls▁begin｜>",
        "{\"name\": \"stop\", \"parameters\": {}}",
        "<|channel|>final<|message|>",
    ];
    use CallFormat::{DeepSeek, Dsml, Harmony, Hermes, Llama3, Qwen3Coder};
    for calls in [Hermes, Qwen3Coder, DeepSeek, Dsml, Llama3, Harmony] {
        let format = AnswerFormat { reasoning: ReasoningFormat::Think, calls };
        for begin in begins {
            for (name, unit) in units {
                assert_linear(&format!("{calls:?}, {begin}, {name}"), unit, 10_000, |text| {
                    let text = format!("{begin}{text}");
                    let tool = AnswerTool { name: "stop".to_owned(), parameters: None };
                    let mut whole = AnswerParser::new(format, "", vec![tool]);
                    let mut streamed = whole.clone();
                    std::hint::black_box((whole.push(&text), whole.finish()));
                    for piece in &cut(&text, &mut Random(1), 30) {
                        std::hint::black_box(streamed.push(piece));
                    }
                    std::hint::black_box(streamed.finish());
                });
            }
        }
    }
}
