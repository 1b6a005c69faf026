//! Blocks of every quantised type: floats equal to ggml's, and little lost when they are made.

mod common;

use common::Random;
use myriad_kernels::{BlockType, dequantise, quantise};

/// `tools/make_block_fixtures.py` made the files: blocks, then the floats that ggml reads in them.
#[test]
fn random_blocks_are_read_as_ggml_reads_them() {
    let folder =
        std::path::PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
            .join("tests/golden");
    for kind in BlockType::ALL.into_iter().filter(|kind| !kind.is_float()) {
        let name = kind.name();
        let file = std::fs::read(folder.join(format!("{name}.blocks"))).expect(name);
        let elements = 1024;
        let (blocks, floats) = file.split_at(kind.row_bytes(elements).expect("whole blocks"));
        let mut found = vec![f32::NAN; elements];
        dequantise(kind, blocks, &mut found);
        let expected: Vec<f32> =
            floats.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        assert_eq!(found, expected, "{name}");
    }
}

/// Root-mean-square errors of normal weights, in their standard deviations: a quantiser that
/// misses good scales, or packs a level wrongly, is worse.
#[test]
fn normal_weights_lose_no_more_than_their_type_must() {
    // A twentieth more than was measured.
    let bound = |kind| match kind {
        BlockType::F32 => 0.0,
        BlockType::F16 => 0.000_22,
        BlockType::BF16 => 0.001_75,
        BlockType::Q8_0 => 0.0055,
        BlockType::Q6K => 0.0195,
        BlockType::Q5_0 => 0.0442,
        BlockType::Q5_1 => 0.0394,
        BlockType::Q5K => 0.0398,
        BlockType::Q4_0 => 0.0890,
        BlockType::Q4_1 => 0.0811,
        BlockType::Q4K => 0.0811,
        BlockType::IQ4NL => 0.0761,
        BlockType::IQ4XS => 0.0769,
        BlockType::MXFP4 => 0.1168,
        BlockType::Q3K => 0.1486,
        BlockType::Q2K => 0.2793,
    };
    let mut random = Random(41);
    // A sum of twelve uniform numbers is as good as normal.
    let values: Vec<f32> =
        (0..64 * 1024).map(|_| (0..12).map(|_| random.value()).sum::<f32>() / 2.0).collect();
    let size: f64 = values.iter().map(|x| f64::from(*x).powi(2)).sum();
    for kind in BlockType::ALL {
        let mut back = vec![f32::NAN; values.len()];
        dequantise(kind, &quantise(kind, &values), &mut back);
        let lost: f64 =
            values.iter().zip(&back).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum();
        let error = (lost / size).sqrt();
        assert!(error <= bound(kind), "{}: {error}", kind.name());
    }
}
