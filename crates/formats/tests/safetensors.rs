//! Holds each broken safetensors file to its error, and the writer and the reader to each other.

mod common;

use std::io;
use std::time::{Duration, Instant};

use common::safetensors::{Case, cases, file, sound, writer};
use common::{Random, harm};
use myriad_formats::{
    Safetensors, SafetensorsFault, SafetensorsWriteError, SafetensorsWriter, TensorKind,
    TensorSource,
};
use myriad_kernels::BlockType;

const F32: TensorKind = TensorKind::Blocks(BlockType::F32);
const BF16: TensorKind = TensorKind::Blocks(BlockType::BF16);

/// A hostile file may not hold anyone up; parsing takes microseconds.
const TIME_MAX: Duration = Duration::from_millis(10);

#[test]
fn each_broken_file_ends_in_its_error_at_once() {
    let mut failures = Vec::new();
    for case in cases() {
        let (error, took) = outcome(&case);
        let Some(error) = error else {
            failures.push(format!("{}: it was accepted", case.name));
            continue;
        };
        let message = error.to_string();
        if !(case.is)(&error.fault) || !message.starts_with("x.safetensors: ") {
            failures.push(format!("{}: the wrong error: {error:?}", case.name));
        }
        let missing: Vec<_> = case.says.iter().filter(|word| !message.contains(**word)).collect();
        if !missing.is_empty() || message.len() > 400 || message.contains(char::is_control) {
            failures.push(format!("{}: {missing:?} not in: {message:?}", case.name));
        }
        if took > TIME_MAX {
            failures.push(format!("{}: took {took:?}", case.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What becomes of a case, and the least time of a few: the machine may be busy with others.
fn outcome(case: &Case) -> (Option<myriad_formats::SafetensorsError>, Duration) {
    let once = || {
        let bytes = case.bytes.clone();
        let start = Instant::now();
        (Safetensors::from_bytes("x.safetensors", bytes).err(), start.elapsed())
    };
    (0..5).map(|_| once()).min_by_key(|(_, took)| *took).expect("five runs")
}

#[test]
fn more_tensors_than_any_model_has_are_refused() {
    let entries: Vec<String> = (0..(1 << 18) + 1)
        .map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[],"data_offsets":[{i},{}]}}"#, i + 1))
        .collect();
    let bytes = file(&format!("{{{}}}", entries.join(",")), (1 << 18) + 1);
    let error = Safetensors::from_bytes("x", bytes).unwrap_err();
    assert!(matches!(error.fault, SafetensorsFault::TensorCount { .. }), "{error}");
}

#[test]
fn a_file_that_ends_anywhere_is_refused() {
    let whole = sound();
    Safetensors::from_bytes("x", whole.clone()).expect("a sound file");
    for length in 0..whole.len() {
        let cut = Safetensors::from_bytes("x", whole[..length].to_vec());
        assert!(cut.is_err(), "{length} of {} bytes are no whole file", whole.len());
    }
}

#[test]
fn what_the_official_reader_accepts_is_accepted() {
    let header = concat!(
        r#"{"b":{"data_offsets":[4,8],"shape":[],"dtype":"F32","more":{"x":[[1]]}},"#,
        r#""__metadata__":{"format":"pt"},"a é":{"dtype":"BF16","shape":[2,1],"#,
        "\"data_offsets\":[0,4]}}  \n "
    );
    let parsed = Safetensors::from_bytes("x", file(header, 8)).expect("a sound file");
    let views: Vec<_> = parsed.tensor_views().map(|view| (view.name, view.kind)).collect();
    assert_eq!(views, [("b", F32), ("a é", BF16)]);
    let view = parsed.find_tensor("a é").expect("a tensor");
    assert_eq!((view.shape, view.columns(), view.rows()), (&[1, 2][..], 1, 2));
    let scalar = parsed.find_tensor("b").expect("a tensor");
    assert_eq!((scalar.shape, scalar.rows(), scalar.elements()), (&[][..], 1, 1));
    assert_eq!(parsed.metadata().collect::<Vec<_>>(), [("format", "pt")]);
    assert!(parsed.find_tensor("c").is_none());
    for header in ["{}", r#"{"__metadata__":null}"#] {
        assert_eq!(Safetensors::from_bytes("x", file(header, 0)).unwrap().tensor_count(), 0);
    }
}

#[test]
fn what_is_written_is_read() {
    let mut out = Vec::new();
    let mut order = Vec::new();
    let fill = |name: &str, sink: &mut dyn io::Write| {
        order.push(name.to_owned());
        // In pieces of one byte: the writer holds nothing.
        (0..common::safetensors::bytes_of(name)).try_for_each(|at| sink.write_all(&[at as u8]))
    };
    writer().write_to(&mut out, fill).expect("written");
    assert_eq!(order, ["long", "float", "whole", "half", "brain", "fp8", "bytes", "signed"]);
    let read = Safetensors::from_bytes("x", out.clone()).expect("a sound file");
    assert_eq!(read.tensor_count(), order.len());
    let data_start = out.len() - read.tensor_views().map(|view| view.bytes.len()).sum::<usize>();
    assert_eq!(data_start % 8, 0);
    for view in read.tensor_views() {
        assert_eq!(view.bytes.len(), common::safetensors::bytes_of(view.name));
        assert!(view.bytes.iter().enumerate().all(|(at, byte)| *byte == at as u8));
        assert_eq!(view.row_bytes() * view.rows(), view.bytes.len());
    }
    assert_eq!(read.find_tensor("float").unwrap().shape, [3, 2]);
    assert_eq!(read.metadata().collect::<Vec<_>>(), [("format", "pt"), ("quote", "\" \\ \n é")]);
}

#[test]
fn the_writer_refuses_what_no_reader_would_take() {
    let mut file = SafetensorsWriter::new();
    let long = "n".repeat(513);
    for name in ["", "__metadata__", long.as_str()] {
        let error = file.tensor(name, F32, &[1]).unwrap_err();
        assert!(matches!(error, SafetensorsWriteError::Name { .. }), "{error}");
    }
    for shape in [&[0][..], &[1; 9], &[usize::MAX, 2], &[usize::MAX / 2]] {
        let error = file.tensor("a", F32, shape).unwrap_err();
        assert!(matches!(error, SafetensorsWriteError::Shape { .. }), "{error}");
    }
    let error = file.tensor("a", TensorKind::Blocks(BlockType::Q4K), &[256]).unwrap_err();
    assert!(matches!(error, SafetensorsWriteError::Kind { kind: "Q4_K", .. }), "{error}");
    file.tensor("a", F32, &[1]).expect("a sound tensor");
    let mut twice = file.clone();
    twice.tensor("a", F32, &[1]).expect("seen when written");
    let error = twice.write_to(io::sink(), |_, _| Ok(())).unwrap_err();
    assert!(matches!(error, SafetensorsWriteError::Duplicate { .. }), "{error}");
    for length in [0, 3, 5, 9] {
        let fill = |_: &str, sink: &mut dyn io::Write| sink.write_all(&vec![0; length as usize]);
        let error = file.clone().write_to(io::sink(), fill).unwrap_err();
        let told = matches!(
            error,
            SafetensorsWriteError::TensorBytes { expected: 4, found, .. } if found == length
        );
        assert!(told, "{length}: {error}");
    }
    let gone = |_: &str, _: &mut dyn io::Write| Err(io::Error::other("gone"));
    let error = file.write_to(io::sink(), gone).unwrap_err();
    assert!(matches!(error, SafetensorsWriteError::Io(_)), "{error}");
}

/// Rounds of harm; a second.
const SEEDS: u64 = 40_000;

#[test]
fn random_harm_ends_in_an_error_or_a_sound_file() {
    let whole = sound();
    let mut accepted = 0;
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut bytes = whole.clone();
        for _ in 0..1 + random.below(3) {
            harm(&mut bytes, &mut random);
        }
        match std::panic::catch_unwind(|| use_all(bytes)) {
            Ok(sound) => accepted += u64::from(sound),
            Err(_) => panic!("seed {seed}: a panic"),
        }
    }
    println!("{accepted} of {SEEDS} harmed files are sound");
    // Else the harm would be too coarse to get far into the reader.
    assert!(accepted > SEEDS / 100, "only {accepted} of {SEEDS} were accepted");
}

/// Reads a file and touches everything that it promises; whether it was sound.
fn use_all(bytes: Vec<u8>) -> bool {
    let Ok(file) = Safetensors::from_bytes("x", bytes) else { return false };
    let mut covered = 0;
    for view in file.tensor_views() {
        assert_eq!(file.find_tensor(view.name), Some(view));
        assert_eq!(view.rows() * view.columns(), view.elements());
        assert_eq!(Some(view.row_bytes()), view.kind.row_bytes(view.columns()));
        let mut out = vec![0.0; view.elements()];
        let _ = view.dequantise_rows(0..view.rows(), &mut out);
        covered += view.bytes.len() as u64;
    }
    assert!(covered < file.file_bytes());
    let _ = (format!("{file:?}"), file.metadata().count());
    true
}

#[test]
fn a_path_that_is_no_file_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    for path in [folder.path().to_owned(), folder.path().join("absent.safetensors")] {
        let error = Safetensors::open(&path).unwrap_err();
        assert!(matches!(error.fault, SafetensorsFault::Io(_)), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    let path = folder.path().join("a.safetensors");
    std::fs::write(&path, sound()).expect("written");
    assert_eq!(Safetensors::open(&path).expect("a sound file").tensor_count(), 8);
}
