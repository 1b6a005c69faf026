//! Packing: a packed row reads back as the file's row, and a wrong shape is an error that says so.

mod common;

use std::sync::Arc;

use common::{Random, assert_same_bits, bits, compute, product, weights};
use myriad_kernels::{BlockType, Level, MappedFile, Matrix, PackError, dequantise, quantise};

#[test]
fn packed_rows_read_back_exactly() {
    let mut random = Random(21);
    for kind in BlockType::ALL {
        for rows in [1, 15, 16, 17, 33] {
            let columns = kind.block_elements() * (1 + random.below(4));
            let compute = compute(Level::Scalar, 2);
            let packed = weights(&compute, kind, rows, columns, random.bits());
            assert_eq!((packed.matrix.rows(), packed.matrix.columns()), (rows, columns));
            assert_eq!(packed.matrix.kind(), kind);
            let mut found = vec![f32::NAN; columns];
            for row in 0..rows {
                packed.matrix.row(row, &mut found);
                let what = format!("{} row {row} of {rows}", kind.name());
                assert_same_bits(&what, &found, &packed.plain[row * columns..][..columns]);
            }
        }
    }
}

#[test]
fn a_mapped_matrix_is_the_one_that_was_written() {
    let (mut random, compute) = (Random(23), compute(Level::Scalar, 2));
    let path = std::env::temp_dir().join(format!("myriad-tiles-{}", std::process::id()));
    for kind in BlockType::ALL {
        let (rows, columns) = (37, 2 * kind.block_elements().max(16));
        let held = weights(&compute, kind, rows, columns, random.bits()).matrix;
        std::fs::write(&path, [&[0; 128], held.packed()].concat()).expect("a scratch file");
        let file = std::fs::File::open(&path).and_then(|file| MappedFile::new(&file));
        let file = Arc::new(file.expect("a map"));
        let mapped = Matrix::mapped(kind, rows, columns, &file, 128).expect("all is there");
        assert_eq!((mapped.packed(), mapped.bytes()), (held.packed(), 0), "{}", kind.name());
        let x = random.activations(9 * columns);
        for rows in [1, 9] {
            let x = &x[..rows * columns];
            let [held, mapped] = [&held, &mapped].map(|matrix| product(&compute, matrix, x, rows));
            assert_eq!(bits(&held), bits(&mapped), "{}", kind.name());
        }
        let error = Matrix::mapped(kind, rows, columns, &file, 192).err();
        let found = held.packed().len() - 64;
        let expected = Some(held.packed().len());
        assert_eq!(error, Some(PackError::Bytes { expected, found }), "{}", kind.name());
        let beyond = Matrix::mapped(kind, rows, columns, &file, usize::MAX).err();
        assert_eq!(beyond, Some(PackError::Bytes { expected, found: 0 }));
    }
    std::fs::remove_file(&path).expect("the scratch file");
}

/// Blocks of any bytes, not only those that our own quantiser writes; scales stay finite.
#[test]
fn any_bytes_read_back_and_multiply_like_the_twin() {
    let mut random = Random(22);
    for kind in BlockType::ALL {
        let (rows, columns) = (19, 2 * kind.block_elements().max(16));
        let size = kind.row_bytes(columns).expect("whole blocks");
        let mut bytes: Vec<u8> = (0..rows * size).map(|_| random.bits() as u8).collect();
        // Half floats (every type's scales): no exponent of all ones, which is infinite or no
        // number.
        for block in bytes.chunks_exact_mut(kind.block_bytes()) {
            let scales: &[usize] = match kind {
                BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[1, 3],
                BlockType::Q6K => &[209],
                BlockType::Q2K => &[81, 83],
                BlockType::Q3K => &[109],
                BlockType::MXFP4 => &[0],
                BlockType::F32 => &[3],
                _ => &[1],
            };
            scales.iter().for_each(|at| block[*at] &= 0xbf);
        }
        let mut plain = vec![0.0; rows * columns];
        dequantise(kind, &bytes, &mut plain);
        let scalar = compute(Level::Scalar, 1);
        let twin = Matrix::pack(&scalar, kind, rows, columns, &bytes).expect("whole blocks");
        let mut found = vec![0.0; columns];
        for row in 0..rows {
            twin.row(row, &mut found);
            assert_eq!(bits(&found), bits(&plain[row * columns..][..columns]), "{}", kind.name());
        }
        let x = random.activations(9 * columns);
        for rows in [1, 9] {
            let expected = product(&scalar, &twin, &x[..rows * columns], rows);
            for level in Level::available() {
                let compute = compute(level, 2);
                let found = product(&compute, &twin, &x[..rows * columns], rows);
                let what = format!("{} {} {rows} rows", kind.name(), level.name());
                assert_same_bits(&what, &found, &expected);
            }
        }
    }
}

#[test]
fn parts_stand_one_below_the_other() {
    let compute = compute(Level::Scalar, 2);
    for kind in [BlockType::Q4_1, BlockType::Q6K, BlockType::BF16] {
        let columns = 256;
        let parts = [(17, 1), (5, 2), (0, 3), (32, 4)].map(|(rows, seed)| {
            (rows, Random(seed).blocks(kind, rows * columns / kind.block_elements()))
        });
        let views = parts.each_ref().map(|(rows, bytes)| (*rows, &bytes[..]));
        let joined = Matrix::pack_parts(&compute, kind, columns, &views).expect("whole blocks");
        let whole: Vec<u8> = parts.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let expected = Matrix::pack(&compute, kind, 54, columns, &whole).expect("whole blocks");
        assert_eq!(joined.rows(), 54);
        let (mut a, mut b) = (vec![0.0; columns], vec![0.0; columns]);
        for row in 0..54 {
            joined.row(row, &mut a);
            expected.row(row, &mut b);
            assert_same_bits(kind.name(), &a, &b);
        }
    }
}

#[test]
fn packed_weights_are_about_as_small_as_the_file() {
    let compute = compute(Level::Scalar, 1);
    for kind in BlockType::ALL {
        let bytes = quantise(kind, &vec![0.5; 64 * 512]);
        let packed = Matrix::pack(&compute, kind, 64, 512, &bytes).expect("whole blocks");
        // K types keep their 6-bit scales as bytes: 148 for 144, 114 for 110.
        let ratio = packed.bytes() as f64 / bytes.len() as f64;
        assert!((1.0..1.04).contains(&ratio), "{}: {ratio}", kind.name());
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let compute = compute(Level::Scalar, 1);
    let pack = |kind, rows, columns, bytes: &[u8]| {
        Matrix::pack(&compute, kind, rows, columns, bytes).err().expect("an error")
    };
    let error = pack(BlockType::Q4K, 1, 100, &[]);
    assert_eq!(error, PackError::Columns { kind: BlockType::Q4K, columns: 100 });
    assert_eq!(error.to_string(), "100 columns do not fill blocks of 256 (Q4_K)");
    let error = pack(BlockType::Q8_0, 2, 32, &[0; 67]);
    assert_eq!(error, PackError::Bytes { expected: Some(68), found: 67 });
    let error = pack(BlockType::F32, usize::MAX, 1 << 20, &[]);
    assert_eq!(error, PackError::Bytes { expected: None, found: 0 });
    let error = pack(BlockType::F32, 1, usize::MAX, &[]);
    assert!(matches!(error, PackError::Columns { .. } | PackError::Bytes { .. }), "{error}");
}
