//! Turns vocabularies into the tokens that ask for the middle of a text, or none.

mod common;

use common::tiny_spec;
use myriad_token::{TokenType, Tokenizer, VocabSpec};

/// By the names that vocabularies have for them, or by the ids that a file gives; never ordinary
/// text that looks like them, and never some of the three alone.
#[test]
fn tokens_that_ask_for_the_middle_are_found() {
    use TokenType::{Control, Normal, UserDefined};
    let fim = |specials: &[(&str, TokenType)], given: [Option<u32>; 3]| {
        let spec = VocabSpec { fim: given, ..tiny_spec(specials, &[]) };
        let tokenizer = Tokenizer::new(&spec).unwrap();
        tokenizer.fim().map(|fim| [fim.prefix, fim.suffix, fim.middle].map(|id| id - 256))
    };
    let qwen = ["<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"];
    let of = |kind: TokenType| qwen.map(|text| (text, kind));
    assert_eq!(fim(&of(Control), [None; 3]), Some([0, 2, 1]));
    assert_eq!(fim(&of(UserDefined), [None; 3]), Some([0, 2, 1]));
    assert_eq!(fim(&of(Normal), [None; 3]), None);
    assert_eq!(fim(&of(Normal), [Some(258), Some(257), Some(256)]), Some([2, 1, 0]));
    assert_eq!(fim(&of(Control)[..2], [None; 3]), None);
    assert_eq!(fim(&of(Control)[..2], [Some(256), None, Some(257)]), None);
    let deepseek = ["<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>"];
    assert_eq!(fim(&deepseek.map(|text| (text, Control)), [None; 3]), Some([1, 0, 2]));
    let spec = VocabSpec { bos: Some(258), add_bos: true, ..tiny_spec(&of(Control), &[]) };
    let tokenizer = Tokenizer::new(&spec).unwrap();
    let ids = tokenizer.encode_fim(tokenizer.fim().unwrap(), &[1, 2], &[3]);
    assert_eq!(ids, [258, 256, 1, 2, 258, 3, 257]);
}
