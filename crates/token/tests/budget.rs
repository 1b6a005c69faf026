//! Holds reasoning to its budget: at its end the closing marker is all that may come.

mod common;

use std::sync::Arc;

use common::{Random, chatml_tokenizer, tiny_spec};
use myriad_token::{
    AnswerEvent, AnswerFormat, AnswerGrammar, AnswerParser, AnswerRules, AnswerState, CallFormat,
    GrammarCompiler, Opening, ReasoningBudget, ReasoningFormat, Specials, StreamDecoder,
    TextGrammar, TokenType, Tokenizer,
};
use serde_json::{Value, json};

const THINK: AnswerFormat =
    AnswerFormat { reasoning: ReasoningFormat::Think, calls: CallFormat::None };
const HARMONY: AnswerFormat =
    AnswerFormat { reasoning: ReasoningFormat::None, calls: CallFormat::Harmony };

fn rules(
    tokenizer: &Arc<Tokenizer>,
    format: AnswerFormat,
    prompt: &str,
    calls: bool,
    tokens: usize,
) -> AnswerRules {
    let budget = ReasoningBudget::new(tokenizer, format, prompt, calls, tokens);
    AnswerRules { budget: Some(budget.expect("a budget")), ..AnswerRules::default() }
}

fn harmony_tokenizer() -> Arc<Tokenizer> {
    let markers: Vec<_> = HARMONY.markers().map(|marker| (marker, TokenType::Control)).collect();
    Arc::new(Tokenizer::new(&tiny_spec(&markers, &[])).expect("a vocabulary"))
}

fn allowed(state: &mut AnswerState, tokenizer: &Tokenizer) -> Vec<u32> {
    let vocab = tokenizer.vocab_size();
    let mut words = vec![0u32; vocab.div_ceil(32)];
    state.mask(&mut words).expect("a mask");
    (0..vocab as u32).filter(|t| words[*t as usize / 32] >> (t % 32) & 1 == 1).collect()
}

/// Goes on by a text, all of which is free.
fn say(state: &mut AnswerState, tokenizer: &Tokenizer, text: &str) {
    for token in tokenizer.encode(text, Specials::Parse) {
        assert!(state.is_free(), "before the end of {text:?}");
        assert!(state.may_end() && !state.must_end());
        state.accept(token).expect("a token");
    }
}

/// What comes as long as there is no choice.
fn forced(state: &mut AnswerState, tokenizer: &Tokenizer) -> String {
    let mut tokens = Vec::new();
    while !state.is_free() {
        let allowed = allowed(state, tokenizer);
        let [token] = allowed[..] else { break };
        assert!(!state.may_end() && !state.must_end());
        state.accept(token).expect("the only token");
        tokens.push(token);
    }
    String::from_utf8(tokenizer.decode(&tokens, true)).expect("a text")
}

#[test]
fn a_budget_ends_the_reasoning_and_nothing_else() {
    let tokenizer = Arc::new(chatml_tokenizer());
    let close = "\n</think>\n\n";
    // Prompt, what is said, and what must follow.
    for (prompt, said, budget, follows) in [
        ("<think>\n", "abc", 3, close),
        ("<think>\n", "abc", 4, ""),
        ("<think>\n", "", 0, close),
        // Tokens are counted, not letters: `hell` is one.
        ("<think>\n", "hellhe", 2, close),
        ("", "<think>abc", 3, close),
        ("", "<think>", 0, close),
        ("", "abcdef", 3, ""),
        ("<think>\n", "a</think>bcdef", 3, ""),
        ("<think>\n\n</think>\n\n", "abcdef", 3, ""),
        // Not in the middle of a character.
        ("<think>\n", "é", 1, close),
        // What may be a marker is none after all.
        ("<think>\n", "a</th", 5, close),
    ] {
        let mut state = rules(&tokenizer, THINK, prompt, false, budget).start();
        say(&mut state, &tokenizer, said);
        assert_eq!(forced(&mut state, &tokenizer), follows, "{prompt:?}, {said:?}, {budget}");
        if !follows.is_empty() {
            say(&mut state, &tokenizer, "abcdef<think>abcdef");
        }
    }
}

#[test]
fn every_format_is_ended_in_its_own_way() {
    let tokenizer = harmony_tokenizer();
    let (prompt, open) = ("<|start|>assistant", "<|channel|>analysis<|message|>");
    let mut state = rules(&tokenizer, HARMONY, prompt, false, 2).start();
    say(&mut state, &tokenizer, &format!("{open}ab"));
    let end = "<|end|><|start|>assistant<|channel|>";
    assert_eq!(forced(&mut state, &tokenizer), format!("{end}final<|message|>"));
    say(&mut state, &tokenizer, "cdef");
    // With tools there may be a call instead, but no more reasoning.
    let mut state = rules(&tokenizer, HARMONY, prompt, true, 2).start();
    say(&mut state, &tokenizer, &format!("{open}ab"));
    assert_eq!(forced(&mut state, &tokenizer), end);
    let first = |text: &str| tokenizer.encode(text, Specials::AsText)[0];
    let mut both = vec![first("final"), first("commentary")];
    both.sort_unstable();
    assert_eq!(allowed(&mut state, &tokenizer), both);
    state.accept(first("commentary")).expect("a channel");
    say(&mut state, &tokenizer, "ommentary<|message|>abc<|end|><|start|>assistant");
    // A second thought finds the budget spent.
    say(&mut state, &tokenizer, open);
    assert_eq!(forced(&mut state, &tokenizer), end);

    let seed = AnswerFormat { reasoning: ReasoningFormat::SeedThink, calls: CallFormat::SeedOss };
    let tokenizer = Arc::new(chatml_tokenizer());
    let mut state = rules(&tokenizer, seed, "", true, 1).start();
    say(&mut state, &tokenizer, "<seed:think>a");
    assert_eq!(forced(&mut state, &tokenizer), "\n</seed:think>\n\n");
    let plain = AnswerFormat { reasoning: ReasoningFormat::None, calls: CallFormat::Hermes };
    assert!(ReasoningBudget::new(&tokenizer, plain, "", true, 1).is_none());
}

#[test]
fn a_grammar_follows_the_reasoning_that_a_budget_ends() {
    let schema = json!({
        "type": "object",
        "properties": { "a": { "enum": ["x", "y z"] }, "b": { "type": "boolean" } },
        "required": ["a", "b"], "additionalProperties": false,
    });
    let judge = jsonschema::validator_for(&schema).expect("a schema");
    for (tokenizer, format, prompt, opening) in [
        (Arc::new(chatml_tokenizer()), THINK, "<think>\n", Opening::Reasoning),
        (Arc::new(chatml_tokenizer()), THINK, "", Opening::Free),
        (harmony_tokenizer(), HARMONY, "<|start|>assistant", Opening::Free),
    ] {
        let compiler = GrammarCompiler::new(Arc::clone(&tokenizer));
        let text = Some(TextGrammar::Json(schema.clone()));
        let grammar = compiler.compile(AnswerGrammar { format, opening, calls: None, text });
        let mut rules = rules(&tokenizer, format, prompt, false, 9);
        rules.grammar = Some(grammar.expect("a grammar"));
        let (mut random, mut thoughtful) = (Random(1), 0);
        for _ in 0..60 {
            let mut state = rules.start();
            let mut parser = AnswerParser::new(format, prompt, Vec::new());
            let mut decoder = StreamDecoder::for_answer(&tokenizer, &format);
            let (mut events, mut tokens) = (Vec::new(), 0);
            while !(state.may_end() && (state.must_end() || random.below(2) == 0)) {
                assert!(!state.is_free());
                let token = *random.pick(&allowed(&mut state, &tokenizer));
                state.accept(token).expect("what the mask allowed");
                events.extend(parser.push(&decoder.push(&tokenizer, token)));
                tokens += 1;
                // Reasoning, markers, and JSON with its white space.
                assert!(tokens < 800, "an answer without end");
            }
            events.extend(parser.finish());
            let (mut thought, mut text) = (String::new(), String::new());
            for event in events {
                match event {
                    AnswerEvent::Reasoning(more) => thought.push_str(&more),
                    AnswerEvent::Text(more) => text.push_str(&more),
                    other => panic!("{other:?}"),
                }
            }
            let value: Value = serde_json::from_str(&text).expect("JSON");
            assert!(judge.is_valid(&value), "{text}");
            // At most three bytes beyond it end a character.
            assert!(thought.trim().len() <= 9 * 4 + 3, "{thought:?}");
            thoughtful += usize::from(!thought.is_empty());
        }
        assert!(thoughtful > 0, "{format:?}");
    }
}
