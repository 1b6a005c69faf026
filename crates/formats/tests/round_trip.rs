//! Holds the reader to what the writer wrote, and the writer to what the reader read.

mod common;

use common::{Random, Raw, U32, sound, vocabulary};
use myriad_formats::{Gguf, GgufWriter, Value};
use myriad_kernels::BlockType;

#[test]
fn keys_and_tensors_come_back_as_they_were() {
    let bytes = sound().to_bytes();
    let file = Gguf::from_bytes(bytes.clone()).expect("a sound file");
    assert_eq!(file.version(), 3);
    assert_eq!(file.file_bytes(), bytes.len() as u64);
    let metadata = file.metadata();
    assert_eq!(metadata.get("a.u64"), Some(&Value::U64(u64::MAX)));
    assert_eq!(metadata.get("a.i64"), Some(&Value::I64(i64::MIN)));
    assert_eq!(metadata.get("b.i32"), Some(&Value::from(Vec::<i32>::new())));
    assert_eq!(metadata.str("a.string").expect("text"), "text, é, 你好");
    assert_eq!(
        metadata.strings("b.string").expect("texts").iter().collect::<Vec<_>>(),
        ["", "a", "é"]
    );
    assert_eq!(metadata.u32s("b.u16").expect("numbers"), [1, 2, 3]);
    assert_eq!(metadata.f32s("b.f32").expect("numbers"), [1.5, f32::INFINITY]);
    let names: Vec<_> = file.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["first", "second", "third"]);
    let second = file.tensor("second").expect("the tensor");
    assert_eq!((second.columns(), second.rows(), second.elements()), (32, 2, 64));
    assert_eq!(file.data(second), [9; 68]);
    assert_eq!(file.data(file.tensor("third").expect("the tensor")), [1, 2]);
    assert!(file.tensor("fourth").is_none() && metadata.get("a").is_none());
    assert_eq!(rewritten(&file), bytes);
}

#[test]
fn vocabularies_come_back_as_they_were() {
    let mut file = GgufWriter::new();
    vocabulary(&mut file);
    for (name, id) in [("eot", 0u32), ("fim_pre", 4), ("fim_suf", 2), ("fim_mid", 3)] {
        file.set(&format!("tokenizer.ggml.{name}_token_id"), id);
    }
    let read = Gguf::from_bytes(file.to_bytes()).and_then(|file| file.vocab()).expect("sound");
    assert_eq!(read.fim, [Some(4), Some(2), Some(3)]);
    let mut again = GgufWriter::new();
    read.set_keys(&mut again, read.tokens.len());
    let again = Gguf::from_bytes(again.to_bytes()).and_then(|file| file.vocab());
    assert_eq!(again.expect("sound"), read);
}

#[test]
fn a_file_on_disk_is_read_as_in_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sound.gguf");
    let bytes = sound().to_bytes();
    std::fs::write(&path, &bytes).expect("written");
    assert_eq!(rewritten(&Gguf::open(&path).expect("a sound file")), bytes);
}

#[test]
fn random_files_come_back_as_they_were() {
    for seed in 0..500 {
        let file = random_file(&mut Random(seed));
        let bytes = file.to_bytes();
        let read =
            Gguf::from_bytes(bytes.clone()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(rewritten(&read) == bytes, "seed {seed}");
    }
}

#[test]
fn version_2_and_other_alignments_are_read() {
    let mut bytes = sound().to_bytes();
    bytes[4] = 2;
    assert_eq!(Gguf::from_bytes(bytes).expect("version 2").version(), 2);
    for alignment in [1u32, 2, 8, 64, 4096] {
        let mut file = sound();
        file.set("general.alignment", alignment);
        let bytes = file.to_bytes();
        let read = Gguf::from_bytes(bytes.clone()).expect("a sound file");
        assert_eq!(read.data(read.tensor("second").expect("the tensor")), [9; 68]);
        assert!(rewritten(&read) == bytes, "alignment {alignment}");
    }
}

#[test]
fn what_is_unusual_but_right_is_read() {
    // No keys, no tensors, nothing behind the header.
    assert_eq!(Gguf::from_bytes(Raw::new(0, 0).0).expect("a sound file").tensors().len(), 0);
    // An alignment beyond the file harms nothing where there is no data.
    let far = Raw::new(0, 1).key("general.alignment", U32).u32(1 << 31);
    Gguf::from_bytes(far.0).expect("a sound file");
    // Tensors in another order than their data, and a gap between.
    let shuffled = Raw::new(2, 0).tensor(b"a", &[8], 0, 64).tensor(b"b", &[8], 0, 0).data(96);
    assert_eq!(Gguf::from_bytes(shuffled.0).expect("a sound file").tensors()[0].offset(), 64);
    // A name as long as ggml allows, and one beyond ASCII.
    let long = Raw::new(1, 0).tensor(&[b'a'; 63], &[1, 1, 1, 1], 0, 0).data(4);
    assert_eq!(Gguf::from_bytes(long.0).expect("a sound file").tensors()[0].name.len(), 63);
    let ideograph = Raw::new(1, 0).tensor("重み".as_bytes(), &[1], 0, 0).data(4);
    Gguf::from_bytes(ideograph.0).expect("a sound file");
}

/// What the writer makes of what the reader read.
fn rewritten(file: &Gguf) -> Vec<u8> {
    let mut writer = GgufWriter::new();
    for (key, value) in file.metadata().iter() {
        writer.set(key, value.clone());
    }
    for tensor in file.tensors() {
        writer.tensor(&tensor.name, tensor.kind, &tensor.shape, file.data(tensor));
    }
    writer.to_bytes()
}

fn random_file(random: &mut Random) -> GgufWriter<'static> {
    let mut file = GgufWriter::new();
    if random.below(2) == 0 {
        file.set("general.alignment", 1u32 << random.below(8));
    }
    for index in 0..random.below(8) {
        file.set(&format!("key.{index}"), random_value(random));
    }
    for index in 0..random.below(6) {
        let kind = BlockType::ALL[random.below(BlockType::ALL.len())];
        let columns = kind.block_elements() * (1 + random.below(3));
        let rows = 1 + random.below(3);
        let bytes = kind.row_bytes(columns).expect("whole blocks") * rows;
        let data: Vec<u8> = (0..bytes).map(|_| random.next() as u8).collect();
        file.tensor(&format!("tensor.{index}"), kind, &[columns, rows], data);
    }
    file
}

fn random_value(random: &mut Random) -> Value {
    fn many<T>(random: &mut Random, one: impl Fn(&mut Random) -> T) -> Vec<T> {
        (0..random.below(5)).map(|_| one(random)).collect()
    }
    let text = |random: &mut Random| {
        (0..random.below(9)).filter_map(|_| char::from_u32(random.below(0x3000) as u32)).collect()
    };
    match random.below(12) {
        0 => (random.next() as u8).into(),
        1 => (random.next() as i16).into(),
        2 => (random.next() as i32).into(),
        3 => random.next().into(),
        4 => (random.next() as f32).into(),
        5 => (random.below(2) == 0).into(),
        6 => Value::String(text(random)),
        7 => many(random, |random| random.next() as i8).into(),
        8 => many(random, |random| random.next() as u16).into(),
        9 => many(random, |random| random.next() as f64).into(),
        10 => many(random, |random| random.below(2) == 0).into(),
        _ => many(random, text).into(),
    }
}
