//! Turns floats into GGML's quantised blocks, by rounding to nearest.
//!
//! Simple on purpose: scales come from each block's extremes; where levels are few or uneven, from
//! a short search around those (`search.rs`).

mod search;

use crate::block::{BlockType, FOUR_FLOAT_LEVELS, NONLINEAR_LEVELS, half_e8m0};
use crate::f16::{f16_to_f32, f32_to_bf16, f32_to_f16};
use search::{Table, best_scale, best_scale_and_minimum};

/// Turns `values` into blocks.
///
/// # Panics
///
/// If the values do not fill whole blocks.
pub fn quantise(kind: BlockType, values: &[f32]) -> Vec<u8> {
    let bytes = kind.row_bytes(values.len()).expect("values fill whole blocks");
    let mut out = Vec::with_capacity(bytes);
    for block in values.chunks_exact(kind.block_elements()) {
        match kind {
            BlockType::F32 => out.extend(block[0].to_le_bytes()),
            BlockType::F16 => out.extend(f32_to_f16(block[0]).to_le_bytes()),
            BlockType::BF16 => out.extend(f32_to_bf16(block[0]).to_le_bytes()),
            BlockType::Q4_0 => symmetric(block, 8, &mut out),
            BlockType::Q5_0 => symmetric(block, 16, &mut out),
            BlockType::Q4_1 => with_minimum(block, 15, &mut out),
            BlockType::Q5_1 => with_minimum(block, 31, &mut out),
            BlockType::Q8_0 => eight_bits(block, &mut out),
            BlockType::Q4K => super_block(block, 15, &mut out),
            BlockType::Q5K => super_block(block, 31, &mut out),
            BlockType::Q6K => six_bits(block, &mut out),
            BlockType::Q2K => two_bits(block, &mut out),
            BlockType::Q3K => three_bits(block, &mut out),
            BlockType::IQ4NL => nonlinear(block, &mut out),
            BlockType::IQ4XS => nonlinear_super_block(block, &mut out),
            BlockType::MXFP4 => four_floats(block, &mut out),
        }
    }
    out
}

fn level(value: f32, max: u8) -> u8 {
    value.round_ties_even().clamp(0.0, f32::from(max)) as u8
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// The value of greatest magnitude, with its sign.
fn extreme(block: &[f32]) -> f32 {
    block
        .iter()
        .fold(0.0, |found: f32, value| if value.abs() > found.abs() { *value } else { found })
}

/// Q4_0 and Q5_0: the extreme value becomes level 0, that is −bias.
fn symmetric(block: &[f32], bias: u8, out: &mut Vec<u8>) {
    let d = f32_to_f16(extreme(block) / -f32::from(bias));
    let inverse = inverse(f16_to_f32(d));
    let levels: Vec<u8> =
        block.iter().map(|x| level(x * inverse + f32::from(bias), 2 * bias - 1)).collect();
    out.extend(d.to_le_bytes());
    push_levels(&levels, bias == 16, out);
}

/// Q4_1 and Q5_1.
fn with_minimum(block: &[f32], max: u8, out: &mut Vec<u8>) {
    let low = block.iter().copied().fold(f32::INFINITY, f32::min);
    let high = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let d = f32_to_f16((high - low) / f32::from(max));
    let m = f32_to_f16(low);
    let inverse = inverse(f16_to_f32(d));
    let levels: Vec<u8> = block.iter().map(|x| level((x - f16_to_f32(m)) * inverse, max)).collect();
    out.extend(d.to_le_bytes());
    out.extend(m.to_le_bytes());
    push_levels(&levels, max == 31, out);
}

/// Thirty-two levels as nibbles, the fifth bits (if there) before them.
fn push_levels(levels: &[u8], fifth: bool, out: &mut Vec<u8>) {
    if fifth {
        let bits = levels
            .iter()
            .enumerate()
            .fold(0u32, |bits, (i, level)| bits | (u32::from(level >> 4) << i));
        out.extend(bits.to_le_bytes());
    }
    out.extend((0..16).map(|i| (levels[i] & 15) | ((levels[i + 16] & 15) << 4)));
}

fn eight_bits(block: &[f32], out: &mut Vec<u8>) {
    let d = f32_to_f16(extreme(block).abs() / 127.0);
    let inverse = inverse(f16_to_f32(d));
    out.extend(d.to_le_bytes());
    out.extend(
        block.iter().map(|x| (x * inverse).round_ties_even().clamp(-127.0, 127.0) as i8 as u8),
    );
}

/// Q4_K and Q5_K: d scales eight 6-bit scales, dmin eight 6-bit minima.
fn super_block(block: &[f32], max: u8, out: &mut Vec<u8>) {
    let mut scales = [0.0f32; 8];
    let mut minima = [0.0f32; 8];
    for (sub, values) in block.chunks_exact(32).enumerate() {
        let low = values.iter().copied().fold(0.0, f32::min);
        let high = values.iter().copied().fold(0.0, f32::max);
        scales[sub] = (high - low) / f32::from(max);
        minima[sub] = -low;
    }
    let d = f32_to_f16(scales.iter().copied().fold(0.0, f32::max) / 63.0);
    let dmin = f32_to_f16(minima.iter().copied().fold(0.0, f32::max) / 63.0);
    let raw_scales = scales.map(|scale| level(scale * inverse(f16_to_f32(d)), 63));
    let raw_minima = minima.map(|minimum| level(minimum * inverse(f16_to_f32(dmin)), 63));
    let mut levels = [0u8; 256];
    for (i, x) in block.iter().enumerate() {
        let scale = f16_to_f32(d) * f32::from(raw_scales[i / 32]);
        let minimum = f16_to_f32(dmin) * f32::from(raw_minima[i / 32]);
        levels[i] = level((x + minimum) * inverse(scale), max);
    }
    out.extend(d.to_le_bytes());
    out.extend(dmin.to_le_bytes());
    out.extend(pack_six_bit_pairs(&raw_scales, &raw_minima));
    if max == 31 {
        out.extend(
            (0..32)
                .map(|i| (0..8).fold(0, |bits, sub| bits | ((levels[32 * sub + i] >> 4) << sub))),
        );
    }
    for chunk in levels.chunks_exact(64) {
        out.extend((0..32).map(|i| (chunk[i] & 15) | ((chunk[i + 32] & 15) << 4)));
    }
}

fn pack_six_bit_pairs(scales: &[u8; 8], minima: &[u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for sub in 0..4 {
        packed[sub] = scales[sub] | ((scales[sub + 4] >> 4) << 6);
        packed[sub + 4] = minima[sub] | ((minima[sub + 4] >> 4) << 6);
        packed[sub + 8] = (scales[sub + 4] & 15) | ((minima[sub + 4] & 15) << 4);
    }
    packed
}

/// Q6_K: d scales sixteen 8-bit scales.
fn six_bits(block: &[f32], out: &mut Vec<u8>) {
    let mut scales = [0.0f32; 16];
    for (scale, values) in scales.iter_mut().zip(block.chunks_exact(16)) {
        *scale = extreme(values) / -32.0;
    }
    let d = f32_to_f16(extreme(&scales).abs() / 127.0);
    let raw = scales
        .map(|scale| (scale * inverse(f16_to_f32(d))).round_ties_even().clamp(-128.0, 127.0) as i8);
    let mut levels = [0u8; 256];
    for (i, x) in block.iter().enumerate() {
        let scale = f16_to_f32(d) * f32::from(raw[i / 16]);
        levels[i] = level(x * inverse(scale) + 32.0, 63);
    }
    for half in levels.chunks_exact(128) {
        out.extend((0..64).map(|i| (half[i] & 15) | ((half[i + 64] & 15) << 4)));
    }
    for half in levels.chunks_exact(128) {
        out.extend((0..32).map(|i| {
            (0..4).fold(0, |bits, quarter| bits | ((half[32 * quarter + i] >> 4) << (2 * quarter)))
        }));
    }
    out.extend(raw.map(|scale| scale as u8));
    out.extend(d.to_le_bytes());
}

/// Two-bit parts of 256 levels: 32 bytes for each half, which hold four runs of 32.
fn push_pairs(levels: &[u8; 256], out: &mut Vec<u8>) {
    for half in levels.chunks_exact(128) {
        out.extend(
            (0..32).map(|i| {
                (0..4).fold(0, |bits, run| bits | ((half[32 * run + i] & 3) << (2 * run)))
            }),
        );
    }
}

/// Q2_K: d scales sixteen 4-bit scales, dmin sixteen 4-bit minima.
fn two_bits(block: &[f32], out: &mut Vec<u8>) {
    let mut scales = [0.0f32; 16];
    let mut minima = [0.0f32; 16];
    for (sub, values) in block.chunks_exact(16).enumerate() {
        (scales[sub], minima[sub]) = best_scale_and_minimum(values, 3);
    }
    let d = f32_to_f16(scales.iter().copied().fold(0.0, f32::max) / 15.0);
    let dmin = f32_to_f16(minima.iter().copied().fold(0.0, f32::max) / 15.0);
    let raw_scales = scales.map(|scale| level(scale * inverse(f16_to_f32(d)), 15));
    let raw_minima = minima.map(|minimum| level(minimum * inverse(f16_to_f32(dmin)), 15));
    let mut levels = [0u8; 256];
    for (i, x) in block.iter().enumerate() {
        let scale = f16_to_f32(d) * f32::from(raw_scales[i / 16]);
        let minimum = f16_to_f32(dmin) * f32::from(raw_minima[i / 16]);
        levels[i] = level((x + minimum) * inverse(scale), 3);
    }
    out.extend((0..16).map(|i| raw_scales[i] | (raw_minima[i] << 4)));
    push_pairs(&levels, out);
    out.extend(d.to_le_bytes());
    out.extend(dmin.to_le_bytes());
}

/// A half float and 6-bit integers from -32 to 31 whose products are about `scales`.
fn six_bit_scales<const N: usize>(scales: [f32; N]) -> (u16, [i8; N]) {
    let d = f32_to_f16(extreme(&scales) / -32.0);
    let inverse = inverse(f16_to_f32(d));
    (d, scales.map(|scale| (scale * inverse).round_ties_even().clamp(-32.0, 31.0) as i8))
}

/// Q3_K: d scales sixteen 6-bit scales.
fn three_bits(block: &[f32], out: &mut Vec<u8>) {
    let nearest = |x: f32| x.round_ties_even().clamp(-4.0, 3.0);
    let mut scales = [0.0f32; 16];
    for (scale, values) in scales.iter_mut().zip(block.chunks_exact(16)) {
        *scale = best_scale(values, -4.0, nearest);
    }
    let (d, raw) = six_bit_scales(scales);
    let mut levels = [0u8; 256];
    for (i, x) in block.iter().enumerate() {
        let scale = f16_to_f32(d) * f32::from(raw[i / 16]);
        levels[i] = (nearest(x * inverse(scale)) + 4.0) as u8;
    }
    out.extend(
        (0..32).map(|i| (0..8).fold(0, |bits, run| bits | ((levels[32 * run + i] >> 2) << run))),
    );
    push_pairs(&levels, out);
    let raw = raw.map(|scale| (scale + 32) as u8);
    out.extend((0..8).map(|i| (raw[i] & 15) | ((raw[i + 8] & 15) << 4)));
    out.extend(
        (0..4).map(|i| (0..4).fold(0, |bits, run| bits | ((raw[4 * run + i] >> 4) << (2 * run)))),
    );
    out.extend(d.to_le_bytes());
}

/// IQ4_NL: places in the table of uneven levels.
fn nonlinear(block: &[f32], out: &mut Vec<u8>) {
    let table = Table::new(&NONLINEAR_LEVELS, 128);
    let d = f32_to_f16(best_scale(block, table.edge(), |x| table.nearest(x)));
    out.extend(d.to_le_bytes());
    push_places(&table, block, f16_to_f32(d), out);
}

/// Thirty-two places as nibbles.
fn push_places(table: &Table, values: &[f32], scale: f32, out: &mut Vec<u8>) {
    let inverse = inverse(scale);
    let levels: Vec<u8> = values.iter().map(|x| table.place(x * inverse)).collect();
    push_levels(&levels, false, out);
}

/// IQ4_XS: the same with d for eight 6-bit scales.
fn nonlinear_super_block(block: &[f32], out: &mut Vec<u8>) {
    let table = Table::new(&NONLINEAR_LEVELS, 128);
    let mut scales = [0.0f32; 8];
    for (scale, values) in scales.iter_mut().zip(block.chunks_exact(32)) {
        *scale = best_scale(values, table.edge(), |x| table.nearest(x));
    }
    let (d, signed) = six_bit_scales(scales);
    let raw = signed.map(|scale| (scale + 32) as u8);
    let high = (0..8).fold(0u16, |bits, sub| bits | (u16::from(raw[sub] >> 4) << (2 * sub)));
    out.extend(d.to_le_bytes());
    out.extend(high.to_le_bytes());
    out.extend((0..4).map(|i| (raw[2 * i] & 15) | ((raw[2 * i + 1] & 15) << 4)));
    for (values, scale) in block.chunks_exact(32).zip(signed) {
        push_places(&table, values, f16_to_f32(d) * f32::from(scale), out);
    }
}

/// MXFP4: of the power of two that holds the extreme value, with at most a quarter of it cut off,
/// and the next one, that of the lesser error.
fn four_floats(block: &[f32], out: &mut Vec<u8>) {
    let table = Table::new(&FOUR_FLOAT_LEVELS, 12);
    // The exponent of the extreme value, less the 2 of the greatest level, 6. From 2 on the inverse
    // of the scale is finite.
    let least = ((extreme(block).abs().to_bits() >> 23) as u8).saturating_sub(2).max(2);
    let error = |exponent: u8| {
        let (scale, inverse) = (half_e8m0(exponent), inverse(half_e8m0(exponent)));
        block.iter().map(|x| (table.nearest(x * inverse) * scale - x).powi(2)).sum::<f32>()
    };
    let next = least.saturating_add(1).min(254);
    let exponent = if error(next) < error(least) { next } else { least };
    out.push(exponent);
    push_places(&table, block, half_e8m0(exponent), out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::dequantise;

    /// The largest error in steps of the block's range, per type.
    #[test]
    fn what_is_quantised_comes_back_within_its_step() {
        let mut state = 7u64;
        let values: Vec<f32> = (0..256 * 50)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect();
        let bounds = [
            0.0, 5e-4, 4e-3, 0.13, 0.07, 0.065, 0.034, 0.0045, 0.09, 0.05, 0.04, 0.45, 0.28, 0.14,
            0.14, 0.15,
        ];
        assert_eq!(bounds.len(), BlockType::ALL.len());
        for (kind, bound) in BlockType::ALL.into_iter().zip(bounds) {
            let mut back = vec![0.0; values.len()];
            dequantise(kind, &quantise(kind, &values), &mut back);
            let worst = values.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= bound, "{}: {worst} > {bound}", kind.name());
            // Once quantised, a second round changes (almost) nothing: the layout is read as
            // written.
            let mut again = vec![0.0; values.len()];
            dequantise(kind, &quantise(kind, &back), &mut again);
            let drift = back.iter().zip(&again).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(drift <= bound, "{}: drift {drift}", kind.name());
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        for kind in BlockType::ALL {
            let mut back = vec![1.0; 256];
            dequantise(kind, &quantise(kind, &[0.0; 256]), &mut back);
            assert!(back.iter().all(|value| *value == 0.0), "{}", kind.name());
        }
    }
}
