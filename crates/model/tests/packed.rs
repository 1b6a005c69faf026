//! Holds models whose weights stay in a file against the same models in memory: equal bits.

mod common;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use common::{best, decoders, exact_logits, prompt};
use myriad_formats::Gguf;
use myriad_kernels::{BlockType, MappedFile};
use myriad_model::synthetic::{Shape, gguf};
use myriad_model::{Family, Model, ModelError, Precision};

/// A file under a name of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(bytes: &[u8], name: &str) -> Scratch {
        let name = format!("myriad-packed-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).expect("a scratch file");
        Scratch(path)
    }

    fn map(&self) -> Arc<MappedFile> {
        let file = File::open(&self.0).and_then(|file| MappedFile::new(&file));
        Arc::new(file.expect("a map"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn weights_in_a_file_compute_the_same_bits() {
    let compute = best(2);
    for family in decoders() {
        let shape = Shape::small(family, BlockType::Q4_0);
        let file = Gguf::from_bytes(gguf(&shape, 11)).unwrap();
        for precision in [Precision::AsStored, Precision::All(BlockType::Q8_0)] {
            let mut bytes = Vec::new();
            Model::write_packed(&file, precision, &mut bytes, &compute, &mut |_| ()).unwrap();
            let scratch = Scratch::new(&bytes, family.name());
            let mapped = scratch.map();
            let mapped =
                Model::load_packed(&file, precision, mapped, &compute, &mut |_| ()).unwrap();
            let held = Model::load_as(&file, precision, &compute, &mut |_| ()).unwrap();
            assert!(mapped.weight_bytes() * 4 < held.weight_bytes(), "{family:?}");
            assert_eq!(mapped.weight_bytes_per_token(), held.weight_bytes_per_token());
            let tokens = prompt(40, shape.vocab, 3);
            let [held, mapped] =
                [&held, &mapped].map(|model| exact_logits(model, &compute, &tokens));
            assert!(held == mapped, "{family:?}");
        }
    }
}

#[test]
fn files_of_other_models_and_cut_ones_are_refused() {
    let compute = best(1);
    let model = |kind| Gguf::from_bytes(gguf(&Shape::small(Family::Qwen3, kind), 1)).unwrap();
    let (eight, four) = (model(BlockType::Q8_0), model(BlockType::Q4_0));
    let mut bytes = Vec::new();
    Model::write_packed(&eight, Precision::AsStored, &mut bytes, &compute, &mut |_| ()).unwrap();
    let load = |file: &Gguf, bytes: &[u8], name: &str| {
        let mapped = Scratch::new(bytes, name).map();
        Model::load_packed(file, Precision::AsStored, mapped, &compute, &mut |_| ()).map(|_| ())
    };
    load(&eight, &bytes, "whole").unwrap();
    let longer = [&bytes[..], b"more"].concat();
    for (file, bytes) in [
        (&four, &bytes[..]),
        (&eight, &bytes[..bytes.len() - 1]),
        (&eight, &bytes[..bytes.len() / 2]),
        (&eight, &[]),
        (&eight, &longer),
    ] {
        let error = load(file, bytes, "wrong").unwrap_err();
        assert!(matches!(error, ModelError::PackedFile), "{error}");
    }
}
