//! Every rule that a vocabulary can break has its own error, which names what is wrong.

mod common;

use common::tiny_spec;
use myriad_token::{PreTokenizer, Specials, TokenType, Tokenizer, TokenizerError, VocabSpec};

/// The error of a small good vocabulary after one change.
fn error_of(change: impl FnOnce(&mut VocabSpec)) -> TokenizerError {
    let mut spec = tiny_spec(&[("<|end|>", TokenType::Control)], &[("a", "b"), ("ab", "c")]);
    Tokenizer::new(&spec).expect("good before the change");
    change(&mut spec);
    match Tokenizer::new(&spec) {
        Ok(_) => panic!("the change must be refused"),
        Err(error) => error,
    }
}

#[test]
fn what_is_not_implemented_is_named() {
    use TokenizerError::{UnknownModel, UnknownPreTokenizer};
    for model in ["t5", "rwkv", ""] {
        let error = error_of(|spec| spec.model = model.to_owned());
        assert_eq!(error, UnknownModel { model: model.to_owned() });
    }
    let error = error_of(|spec| spec.pre = "tekken".to_owned());
    assert_eq!(error, UnknownPreTokenizer { name: "tekken".to_owned() });
    let message = error.to_string();
    assert!(message.contains("`tekken`"), "{message}");
    for name in PreTokenizer::names() {
        assert!(message.contains(name), "{message} lacks {name}");
    }
}

#[test]
fn sizes_and_ids_must_fit() {
    use TokenizerError::*;
    assert_eq!(error_of(|spec| spec.tokens.clear()), TokenCount { count: 0 });
    let error = error_of(|spec| spec.token_types.truncate(7));
    assert_eq!(error, TypeCount { types: 7, tokens: 259 });
    let error = error_of(|spec| spec.eos = Some(259));
    let field = "tokenizer.ggml.eos_token_id";
    assert_eq!(error, IdOutOfRange { field, id: 259, tokens: 259 });
    let error = error_of(|spec| spec.ends = vec![3, 900]);
    let field = "generation_config.json eos_token_id";
    assert_eq!(error, IdOutOfRange { field, id: 900, tokens: 259 });
    assert!(matches!(
        error_of(|spec| spec.bos = Some(u32::MAX)),
        IdOutOfRange { id: u32::MAX, .. }
    ));
}

#[test]
fn merges_must_be_two_tokens_that_make_a_third() {
    use TokenizerError::*;
    for merge in ["ab", "", " ", "a ", " b", "a b c", "a  b"] {
        let error = error_of(|spec| spec.merges[1] = merge.to_owned());
        assert_eq!(error, BadMerge { index: 1, merge: merge.to_owned() });
    }
    for (merge, piece) in [("zz b", "zz"), ("a zz", "zz"), ("b a", "ba")] {
        let error = error_of(|spec| spec.merges[0] = merge.to_owned());
        assert_eq!(error, MergeWithoutToken { index: 0, piece: piece.to_owned() });
    }
}

#[test]
fn tokens_must_be_usable() {
    use TokenizerError::*;
    let error = error_of(|spec| spec.tokens[usize::from(b'x')] = "longer".to_owned());
    assert_eq!(error, MissingByte { byte: b'x', piece: 'x' });
    for piece in ["<0xZZ>", "<0x-1>", "<0x+1>", "<0x100>", "<0x4>", "<0x041>", "<0x>", "A", ""] {
        let error = error_of(|spec| {
            spec.tokens[256] = piece.to_owned();
            spec.token_types[256] = TokenType::Byte;
        });
        assert_eq!(error, BadByteToken { id: 256, piece: piece.to_owned() });
    }
    let error = error_of(|spec| spec.tokens[256] = "x".repeat(513));
    assert_eq!(error, SpecialTooLong { id: 256, bytes: 513 });
    let error = error_of(|spec| spec.tokens[256] = "<\u{fdd0}>".to_owned());
    assert_eq!(error, SpecialWithMark { id: 256 });
}

#[test]
fn a_beginning_is_added_once_where_the_model_wants_it() {
    let mut spec = tiny_spec(&[("<s>", TokenType::Control)], &[("a", "b")]);
    spec.bos = Some(256);
    let without = Tokenizer::new(&spec).expect("a vocabulary");
    assert_eq!(without.encode_prompt("ab", Specials::Parse), [257]);
    spec.add_bos = true;
    let with = Tokenizer::new(&spec).expect("a vocabulary");
    assert_eq!(with.encode_prompt("ab", Specials::Parse), [256, 257]);
    assert_eq!(with.encode_prompt("<s>ab", Specials::Parse), [256, 257]);
    assert_eq!(with.encode_prompt("", Specials::AsText), [256]);
    assert_eq!(with.encode_prompt("<s>", Specials::AsText).len(), 4);
}

#[test]
fn whole_words_come_before_merges_where_the_original_has_it_so() {
    // `abc` is a token, but no merge leads to it from `a` and `bc`.
    let mut spec = tiny_spec(&[], &[("b", "c")]);
    spec.tokens.push("abc".to_owned());
    spec.token_types.push(TokenType::Normal);
    let merged = [u32::from(b'a'), 256];
    for (pre, expected) in
        [("llama-bpe", &[257][..]), ("gpt-4o", &[257]), ("qwen2", &merged), ("qwen35", &merged)]
    {
        spec.pre = pre.to_owned();
        let tokenizer = Tokenizer::new(&spec).expect("a vocabulary");
        assert_eq!(tokenizer.encode("abc", Specials::AsText), expected, "{pre}");
    }
    // A file may say otherwise than the name.
    for (pre, ignore_merges, expected) in
        [("llama-bpe", Some(false), &merged[..]), ("qwen2", Some(true), &[257])]
    {
        (spec.pre, spec.ignore_merges) = (pre.to_owned(), ignore_merges);
        let tokenizer = Tokenizer::new(&spec).expect("a vocabulary");
        assert_eq!(tokenizer.encode("abc", Specials::AsText), expected, "{pre}");
    }
    (spec.pre, spec.ignore_merges) = ("llama-bpe".to_owned(), None);
    spec.token_types[257] = TokenType::Control;
    let tokenizer = Tokenizer::new(&spec).expect("a vocabulary");
    assert_eq!(tokenizer.encode("abc", Specials::AsText), merged, "text is no control token");
}

#[test]
fn user_defined_tokens_are_found_in_any_text_and_the_longest_wins() {
    use TokenType::{Control, UserDefined};
    let specials = [("<a>", UserDefined), ("<a><b>", UserDefined), ("<c>", Control)];
    let tokenizer = Tokenizer::new(&tiny_spec(&specials, &[])).expect("a vocabulary");
    assert_eq!(tokenizer.encode("<a><b><a>", Specials::AsText), [257, 256]);
    assert_eq!(tokenizer.encode("<c>", Specials::AsText).len(), 3);
    assert_eq!(tokenizer.encode("<c>", Specials::Parse), [258]);
    assert_eq!(tokenizer.decode(&[256, 258, 999_999], false), b"<a>");
}
