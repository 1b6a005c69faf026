//! SentencePiece's BPE: ids as of others, bytes, spaces, and what a vocabulary must have.

mod common;

use common::{Random, golden, number, small_sentencepiece, small_sentencepiece_spec as spec};
use myriad_formats::{Array, Gguf, GgufWriter, Strings};
use myriad_token::{
    ChatTemplate, Message, RenderOptions, Specials, StreamDecoder, TokenType, Tokenizer,
    TokenizerError, VocabSpec,
};
use serde_json::{Map, Value};

/// The same under the settings of a case.
fn variant(golden: &Value, name: &str) -> Tokenizer {
    let mut spec = spec(golden);
    match name {
        "gemma" => {}
        "prefix" => spec.add_space_prefix = true,
        "unused" => {
            for id in golden["unused"].as_array().expect("ids") {
                spec.token_types[number(id) as usize] = TokenType::Unused;
            }
        }
        "unknown" => {
            for kind in spec.token_types.iter_mut().filter(|kind| **kind == TokenType::Byte) {
                *kind = TokenType::Unused;
            }
        }
        other => panic!("variant {other}"),
    }
    Tokenizer::new(&spec).expect("a valid vocabulary")
}

#[test]
fn ids_are_those_of_sentencepiece() {
    let golden = golden("sentencepiece.json");
    let cases = golden["cases"].as_array().expect("cases");
    let mut wrong = Vec::new();
    for name in ["gemma", "prefix", "unused", "unknown"] {
        let tokenizer = variant(&golden, name);
        let own: Vec<&Value> = cases.iter().filter(|case| case[0] == name).collect();
        assert!(own.len() > 80, "{name}");
        for case in own {
            let text = case[1].as_str().expect("a text");
            let ids: Vec<u32> = case[2].as_array().expect("ids").iter().map(number).collect();
            let found = tokenizer.encode(text, Specials::AsText);
            if found != ids {
                wrong.push(format!("{name}: {text:?} became {found:?}, not {ids:?}"));
            } else if name != "unknown" && name != "prefix" {
                assert_eq!(String::from_utf8_lossy(&tokenizer.decode(&ids, false)), text);
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Text of hard pieces; U+2581 is not among them, since it is the same as a space.
fn random_text(random: &mut Random) -> String {
    const PIECES: &[&str] = &[
        " ",
        "  ",
        "\n",
        "\n\n",
        "a",
        "the",
        "The ",
        "<b>",
        "<0x41>",
        "<unk>",
        "<start_of_turn>",
        "<end_of",
        "</s>",
        "é",
        "你好",
        "👩‍💻",
        "\u{10ffff}",
        "\0",
        "\t",
        "1234",
        "license",
        "\u{301}",
        "\r\n",
        "[multimodal]",
        "\u{fdd0}",
    ];
    (0..random.below(12)).map(|_| *random.pick(PIECES)).collect()
}

#[test]
fn random_texts_come_back_whole_and_piece_by_piece() {
    let tokenizer = small_sentencepiece();
    for seed in 0..3000 {
        let text = random_text(&mut Random(seed));
        for specials in [Specials::AsText, Specials::Parse] {
            let ids = tokenizer.encode(&text, specials);
            let bytes = tokenizer.decode(&ids, true);
            assert_eq!(String::from_utf8_lossy(&bytes), text, "seed {seed}");
        }
        let ids = tokenizer.encode(&text, Specials::AsText);
        assert!(ids.iter().all(|id| !tokenizer.is_control(*id)), "seed {seed}: {text:?}");
        let mut decoder = StreamDecoder::new();
        let mut streamed: String = ids.iter().map(|id| decoder.push(&tokenizer, *id)).collect();
        streamed.push_str(&decoder.finish());
        assert_eq!(streamed, text, "seed {seed}");
    }
}

#[test]
fn only_what_steers_ends_an_answer() {
    let spec = spec(&golden("sentencepiece.json"));
    let ends = |spec: &VocabSpec| Tokenizer::new(spec).expect("a vocabulary").end_tokens().to_vec();
    assert_eq!(ends(&spec), [1, 5], "</s>, which is the end of a text, and <end_of_turn>");
    let mut listed = spec.clone();
    listed.ends = vec![4, 5];
    assert_eq!(ends(&listed), [1, 4, 5], "also what generation_config.json lists");
    let mut tag = spec.clone();
    (tag.eos, tag.token_types[1]) = (Some(0), TokenType::UserDefined);
    assert_eq!(ends(&tag), [0, 5], "a tag of HTML does not end an answer");
}

#[test]
fn bytes_of_an_unfinished_character_are_held_back() {
    let tokenizer = small_sentencepiece();
    let byte = |byte: u8| tokenizer.id_of(&format!("<0x{byte:02X}>")).expect("a byte token");
    let ids = "𓀀".bytes().map(byte).collect::<Vec<_>>();
    assert_eq!(tokenizer.encode("𓀀", Specials::AsText), ids, "no piece has it");
    let mut decoder = StreamDecoder::new();
    let pieces: Vec<String> = ids.iter().map(|id| decoder.push(&tokenizer, *id)).collect();
    assert_eq!(pieces, ["", "", "", "𓀀"]);
    assert_eq!(decoder.push(&tokenizer, ids[0]), "");
    let the = tokenizer.encode(" the", Specials::AsText);
    assert_eq!(decoder.push(&tokenizer, the[0]), "\u{fffd} the");
}

#[test]
fn a_space_before_the_text_is_put_there_and_taken_away_again() {
    let golden = golden("sentencepiece.json");
    let (with, without) = (variant(&golden, "prefix"), variant(&golden, "gemma"));
    for text in ["the license", " the license", "x", "你", "a\tb"] {
        let ids = with.encode(text, Specials::AsText);
        if !text.starts_with(' ') {
            // Two spaces are a user-defined token of their own.
            assert_eq!(ids, without.encode(&format!(" {text}"), Specials::AsText), "{text:?}");
        }
        assert_eq!(with.decode(&ids, false), text.as_bytes());
        let begun: Vec<u32> = [2].into_iter().chain(ids.clone()).collect();
        assert_eq!(with.decode(&begun, false), text.as_bytes());
        assert_eq!(with.decode(&begun, true), format!("<s>{text}").as_bytes());
        // An answer goes on from its prompt: there the space is part of it.
        let mut decoder = StreamDecoder::new();
        let streamed: String = ids.iter().map(|id| decoder.push(&with, *id)).collect();
        assert_eq!(streamed, format!(" {text}"));
    }
    assert!(with.encode("", Specials::AsText).is_empty());
    assert_eq!(with.decode(&[], false), b"");
    let the = with.encode("the", Specials::AsText);
    let parsed = with.encode("<s>the</s>the", Specials::Parse);
    assert_eq!(parsed, [&[2][..], &the, &[1], &the].concat(), "also after control tokens");
}

#[test]
fn spaces_in_user_defined_tokens_may_be_written_either_way() {
    let golden = golden("sentencepiece.json");
    let mut changed = spec(&golden);
    for (piece, kind) in changed.tokens.iter_mut().zip(&changed.token_types) {
        if *kind == TokenType::UserDefined {
            *piece = piece.replace(' ', "\u{2581}");
        }
    }
    let (changed, usual) = (Tokenizer::new(&changed).expect("a vocabulary"), small_sentencepiece());
    for seed in 0..300 {
        let text = random_text(&mut Random(seed));
        let ids = usual.encode(&text, Specials::AsText);
        assert_eq!(changed.encode(&text, Specials::AsText), ids, "seed {seed}");
        assert_eq!(changed.decode(&ids, false), text.as_bytes(), "seed {seed}");
    }
}

#[test]
fn text_of_messages_becomes_no_control_token() {
    let tokenizer = small_sentencepiece();
    let source = "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m.role }}\n\
                  {{ m.content }}<end_of_turn>\n{% endfor %}";
    let template = ChatTemplate::new(source, &tokenizer).expect("a template");
    let options = RenderOptions::default();
    let is_control = |id: &&u32| tokenizer.is_control(**id);
    for seed in 0..1000 {
        let mut random = Random(seed);
        let mut content = random_text(&mut random);
        let ends = ["<end_of_turn>", "<end_of_turn", "<s>", "<pad>", ""];
        content.push_str(ends[random.below(ends.len())]);
        let message =
            Message { role: "user".to_owned(), content: content.clone(), extra: Map::new() };
        let ids = template.encode(&tokenizer, &[message], &options).expect("ids");
        let control = ids.iter().filter(is_control).count();
        assert_eq!(control, 3, "seed {seed}: {content:?} became {ids:?}");
        let shown = tokenizer.decode(&ids, true);
        let expected = format!("<s><start_of_turn>user\n{content}<end_of_turn>\n");
        assert_eq!(String::from_utf8_lossy(&shown), expected, "seed {seed}");
    }
}

#[test]
fn merging_makes_no_control_token() {
    // `<s>` could be made of `<` and `s>`: it is a piece like any other to the heap.
    let golden = golden("sentencepiece.json");
    let mut spec = spec(&golden);
    for (id, piece) in [(990, "s>"), (991, "<s"), (992, "<0x4"), (993, "1>"), (994, "<0x41")] {
        (spec.tokens[id], spec.scores[id]) = (piece.to_owned(), 1.0);
        spec.token_types[id] = TokenType::Normal;
    }
    let tokenizer = Tokenizer::new(&spec).expect("a vocabulary");
    for text in ["<s>", "<0x41>", "x<s></s>"] {
        let ids = tokenizer.encode(text, Specials::AsText);
        assert!(ids.iter().all(|id| !tokenizer.is_control(*id)), "{text}: {ids:?}");
        assert_eq!(tokenizer.decode(&ids, false), text.as_bytes());
    }
}

/// The error of the small vocabulary after one change.
fn error_of(change: impl FnOnce(&mut VocabSpec)) -> TokenizerError {
    let mut spec = spec(&golden("sentencepiece.json"));
    change(&mut spec);
    match Tokenizer::new(&spec) {
        Ok(_) => panic!("the change must be refused"),
        Err(error) => error,
    }
}

#[test]
fn bad_vocabularies_are_refused() {
    use TokenizerError::*;
    let id_of = |spec: &VocabSpec, piece: &str| {
        spec.tokens.iter().position(|token| token == piece).expect("a token")
    };
    assert_eq!(error_of(|spec| spec.scores.clear()), NoScores);
    let error = error_of(|spec| spec.scores.truncate(7));
    assert_eq!(error, ScoreCount { scores: 7, tokens: 1000 });
    assert_eq!(error_of(|spec| spec.scores[900] = f32::NAN), ScoreNotANumber { id: 900 });
    let error = error_of(|spec| spec.tokens[900] = "x".repeat(4097));
    assert_eq!(error, PieceTooLong { id: 900, bytes: 4097 });
    for piece in ["<0x-1>", "<0xZZ>", "<0x100>", "<0xA>", "A", ""] {
        let mut place = 0;
        let error = error_of(|spec| {
            place = id_of(spec, "<0x41>");
            spec.tokens[place] = piece.to_owned();
        });
        assert_eq!(error, BadByteToken { id: place as u32, piece: piece.to_owned() });
    }
    let error = error_of(|spec| {
        let place = id_of(spec, "<0xF0>");
        spec.token_types[place] = TokenType::Unused;
    });
    assert_eq!(error, MissingByteToken { byte: 0xf0 });
    assert!(error.to_string().contains("0xf0 (`<0xF0>`)"), "{error}");
    let error = error_of(|spec| {
        let is_fallback = |kind: &TokenType| matches!(kind, TokenType::Byte | TokenType::Unknown);
        let kinds = spec.token_types.iter_mut();
        kinds.filter(|kind| is_fallback(kind)).for_each(|kind| *kind = TokenType::Unused);
        spec.unknown = None;
    });
    assert_eq!(error, NoFallback);
}

#[test]
fn a_file_brings_scores_and_the_space_before_texts() {
    let spec = spec(&golden("sentencepiece.json"));
    for (key, expected) in [(None, true), (Some(true), true), (Some(false), false)] {
        let mut writer = GgufWriter::new();
        writer.set("general.architecture", "gemma3");
        writer.set("tokenizer.ggml.model", "llama");
        let tokens: Strings = spec.tokens.iter().collect();
        writer.set("tokenizer.ggml.tokens", Array::String(tokens));
        writer.set("tokenizer.ggml.scores", spec.scores.clone());
        let types: Vec<i32> = spec.token_types.iter().map(|kind| *kind as i32).collect();
        writer.set("tokenizer.ggml.token_type", types);
        if let Some(adds) = key {
            writer.set("tokenizer.ggml.add_space_prefix", adds);
        }
        let file = Gguf::from_bytes(writer.to_bytes()).expect("a valid file");
        let read = file.vocab().expect("a vocabulary");
        assert_eq!((read.add_space_prefix, &read.scores), (expected, &spec.scores), "{key:?}");
        let tokenizer = Tokenizer::new(&read).expect("a usable vocabulary");
        assert_eq!(tokenizer.encode("<b>", Specials::AsText).len(), 1);
    }
}
