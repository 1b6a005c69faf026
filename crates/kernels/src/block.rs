//! Turns GGML's quantised blocks into floats, one weight type after the other.
//!
//! Layouts are those of llama.cpp's `ggml-common.h`; `d` is a half-float scale.

use crate::f16::{bf16_to_f32, f16_to_f32};

/// The weight types that Myriad computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(non_camel_case_types)] // the field's own names
pub enum BlockType {
    /// 32-bit float.
    F32,
    /// IEEE half float.
    F16,
    /// bfloat16.
    BF16,
    /// 32 × 4 bits, one scale: d·(q − 8).
    Q4_0,
    /// 32 × 4 bits, scale and minimum: d·q + m.
    Q4_1,
    /// 32 × 5 bits, one scale: d·(q − 16).
    Q5_0,
    /// 32 × 5 bits, scale and minimum: d·q + m.
    Q5_1,
    /// 32 × 8 bits, one scale: d·q.
    Q8_0,
    /// 256 × 4 bits, 6-bit scales and minima per 32: d·s·q − dmin·m.
    Q4K,
    /// 256 × 5 bits, 6-bit scales and minima per 32.
    Q5K,
    /// 256 × 6 bits, 8-bit scales per 16: d·s·(q − 32).
    Q6K,
    /// 256 × 2 bits, 4-bit scales and minima per 16: d·s·q − dmin·m.
    Q2K,
    /// 256 × 3 bits, 6-bit scales per 16: d·s·(q − 4).
    Q3K,
    /// 32 × 4 bits, places in a table of levels, one scale: d·table[q].
    IQ4NL,
    /// 256 × 4 bits, the places of IQ4_NL, 6-bit scales per 32: d·s·table[q].
    IQ4XS,
    /// 32 floats of 4 bits (e2m1), one power of two (e8m0) as their scale.
    MXFP4,
}

impl BlockType {
    /// Every type.
    pub const ALL: [BlockType; 16] = [
        BlockType::F32,
        BlockType::F16,
        BlockType::BF16,
        BlockType::Q4_0,
        BlockType::Q4_1,
        BlockType::Q5_0,
        BlockType::Q5_1,
        BlockType::Q8_0,
        BlockType::Q4K,
        BlockType::Q5K,
        BlockType::Q6K,
        BlockType::Q2K,
        BlockType::Q3K,
        BlockType::IQ4NL,
        BlockType::IQ4XS,
        BlockType::MXFP4,
    ];

    /// Weights in one block.
    pub fn block_elements(self) -> usize {
        match self {
            BlockType::F32 | BlockType::F16 | BlockType::BF16 => 1,
            BlockType::Q2K
            | BlockType::Q3K
            | BlockType::Q4K
            | BlockType::Q5K
            | BlockType::Q6K
            | BlockType::IQ4XS => 256,
            _ => 32,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            BlockType::F32 => 4,
            BlockType::F16 | BlockType::BF16 => 2,
            BlockType::Q4_0 => 18,
            BlockType::Q4_1 => 20,
            BlockType::Q5_0 => 22,
            BlockType::Q5_1 => 24,
            BlockType::Q8_0 => 34,
            BlockType::Q4K => 144,
            BlockType::Q5K => 176,
            BlockType::Q6K => 210,
            BlockType::IQ4NL => 18,
            BlockType::Q3K => 110,
            BlockType::Q2K => 84,
            BlockType::IQ4XS => 136,
            BlockType::MXFP4 => 17,
        }
    }

    /// Bytes of a row of `columns` weights; none if the columns do not fill whole blocks.
    pub fn row_bytes(self, columns: usize) -> Option<usize> {
        if !columns.is_multiple_of(self.block_elements()) {
            return None;
        }
        (columns / self.block_elements()).checked_mul(self.block_bytes())
    }

    /// The name that model files use.
    pub fn name(self) -> &'static str {
        match self {
            BlockType::F32 => "F32",
            BlockType::F16 => "F16",
            BlockType::BF16 => "BF16",
            BlockType::Q4_0 => "Q4_0",
            BlockType::Q4_1 => "Q4_1",
            BlockType::Q5_0 => "Q5_0",
            BlockType::Q5_1 => "Q5_1",
            BlockType::Q8_0 => "Q8_0",
            BlockType::Q4K => "Q4_K",
            BlockType::Q5K => "Q5_K",
            BlockType::Q6K => "Q6_K",
            BlockType::IQ4NL => "IQ4_NL",
            BlockType::Q3K => "Q3_K",
            BlockType::Q2K => "Q2_K",
            BlockType::IQ4XS => "IQ4_XS",
            BlockType::MXFP4 => "MXFP4",
        }
    }

    /// The type of that name, whatever its case: `q4_k` as well as `Q4_K`.
    pub fn parse(name: &str) -> Option<BlockType> {
        BlockType::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// Whether the weights are plain floats.
    pub fn is_float(self) -> bool {
        matches!(self, BlockType::F32 | BlockType::F16 | BlockType::BF16)
    }
}

/// Turns whole blocks into floats: the reference that every kernel is held against.
///
/// # Panics
///
/// If `bytes` are not exactly the blocks of `out.len()` weights.
pub fn dequantise(kind: BlockType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(kind.row_bytes(out.len()), Some(bytes.len()), "{} blocks", kind.name());
    let blocks = bytes.chunks_exact(kind.block_bytes());
    for (block, out) in blocks.zip(out.chunks_exact_mut(kind.block_elements())) {
        match kind {
            BlockType::F32 => out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
            BlockType::F16 => out[0] = half(block, 0),
            BlockType::BF16 => out[0] = bf16_to_f32(u16::from_le_bytes([block[0], block[1]])),
            _ => {
                let parts = Parts::of(kind, block);
                for (i, out) in out.iter_mut().enumerate() {
                    *out = parts.weight(i);
                }
            }
        }
    }
}

/// The levels of IQ4_NL and IQ4_XS (llama.cpp's `kvalues_iq4nl`, −127 to 113), with a bias of 128.
pub(crate) const NONLINEAR_LEVELS: [u8; 16] =
    [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];

/// Twice the floats of 4 bits (0, ½, 1, 1½, 2, 3, 4, 6, then those below 0), with a bias of 12.
pub(crate) const FOUR_FLOAT_LEVELS: [u8; 16] =
    [12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0];

/// Half of the power of two that an e8m0 byte stands for: 2^(byte − 128), exactly.
pub(crate) fn half_e8m0(byte: u8) -> f32 {
    // Below 2 a subnormal number.
    let exponent = u32::from(byte);
    f32::from_bits(if exponent < 2 { 0x0020_0000 << exponent } else { (exponent - 1) << 23 })
}

/// The half float at byte `at` of a block.
fn half(block: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// One quantised block taken apart: weight i is `scale · (level − bias) + minimum`.
pub(crate) struct Parts {
    /// Unsigned levels, or places in `table`.
    pub levels: [u8; 256],
    /// The unsigned levels that places stand for.
    pub table: Option<&'static [u8; 16]>,
    /// What is taken from each level.
    pub bias: i32,
    /// One scale for each 16 weights.
    pub scales: [f32; 16],
    /// One addend for each 16 weights.
    pub minima: [f32; 16],
    /// Scales as integers (super-blocks: unsigned, or i8 in two's complement), one for each 16
    /// weights; the exponent of MXFP4.
    pub raw_scales: [u8; 16],
    /// Minima as the file has them (K types), one for each 16 weights.
    pub raw_minima: [u8; 16],
    /// The block's half-float scale.
    pub d: u16,
    /// The block's half-float minimum (or scale of minima).
    pub m: u16,
}

impl Parts {
    /// Takes one block of a quantised type apart.
    pub fn of(kind: BlockType, block: &[u8]) -> Parts {
        let mut parts = Parts {
            levels: [0; 256],
            table: None,
            bias: 0,
            scales: [0.0; 16],
            minima: [0.0; 16],
            raw_scales: [0; 16],
            raw_minima: [0; 16],
            d: u16::from_le_bytes([block[0], block[1]]),
            m: 0,
        };
        match kind {
            BlockType::Q4_0 => parts.nibbles(&block[2..18], None, 8),
            BlockType::Q4_1 => parts.with_minimum(block).nibbles(&block[4..20], None, 0),
            BlockType::Q5_0 => parts.nibbles(&block[6..22], Some(&block[2..6]), 16),
            BlockType::Q5_1 => {
                parts.with_minimum(block).nibbles(&block[8..24], Some(&block[4..8]), 0);
            }
            BlockType::Q8_0 => {
                parts.bias = 128;
                for (level, byte) in parts.levels.iter_mut().zip(&block[2..34]) {
                    *level = byte ^ 0x80;
                }
            }
            BlockType::Q4K => parts.super_block(&block[4..16], None, &block[16..144], block),
            BlockType::Q5K => {
                parts.super_block(&block[4..16], Some(&block[16..48]), &block[48..176], block);
            }
            BlockType::Q6K => parts.six_bits(block),
            BlockType::IQ4NL => {
                parts.nibbles(&block[2..18], None, 128);
                parts.table = Some(&NONLINEAR_LEVELS);
            }
            BlockType::Q3K => parts.three_bits(block),
            BlockType::Q2K => parts.two_bits(block),
            BlockType::IQ4XS => parts.nonlinear_super_block(block),
            BlockType::MXFP4 => {
                parts.nibbles(&block[1..17], None, 12);
                parts.table = Some(&FOUR_FLOAT_LEVELS);
                parts.raw_scales = [block[0]; 16];
                parts.scales = [half_e8m0(block[0]); 16];
            }
            BlockType::F32 | BlockType::F16 | BlockType::BF16 => {
                unreachable!("floats have no levels")
            }
        }
        if kind.block_elements() == 32 && kind != BlockType::MXFP4 {
            parts.scales = [f16_to_f32(parts.d); 16];
            parts.minima = [f16_to_f32(parts.m); 16];
        }
        parts
    }

    /// Weight `i` of the block.
    pub fn weight(&self, i: usize) -> f32 {
        let level = self.levels[i];
        let level = self.table.map_or(level, |table| table[usize::from(level)]);
        let level = i32::from(level) - self.bias;
        self.scales[i / 16] * level as f32 + self.minima[i / 16]
    }

    fn with_minimum(&mut self, block: &[u8]) -> &mut Parts {
        self.m = u16::from_le_bytes([block[2], block[3]]);
        self
    }

    /// Thirty-two levels: low nibbles are 0..16, high nibbles 16..32; `high` holds the fifth bits.
    fn nibbles(&mut self, nibbles: &[u8], high: Option<&[u8]>, bias: i32) {
        self.bias = bias;
        let high = high.map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        for (i, byte) in nibbles.iter().enumerate() {
            self.levels[i] = (byte & 15) | (((high >> i) & 1) << 4) as u8;
            self.levels[i + 16] = (byte >> 4) | (((high >> (i + 16)) & 1) << 4) as u8;
        }
    }

    /// Q4_K and Q5_K: eight sub-blocks of 32, nibbles in four chunks of 32 bytes.
    fn super_block(&mut self, packed: &[u8], high: Option<&[u8]>, nibbles: &[u8], block: &[u8]) {
        self.with_minimum(block);
        let (d, dmin) = (f16_to_f32(self.d), f16_to_f32(self.m));
        for sub in 0..8 {
            let (scale, minimum) = six_bit_pair(packed, sub);
            for half in 0..2 {
                self.raw_scales[2 * sub + half] = scale;
                self.raw_minima[2 * sub + half] = minimum;
                self.scales[2 * sub + half] = d * f32::from(scale);
                // Not negated: the kernels have no negative zero here either.
                self.minima[2 * sub + half] = 0.0 - dmin * f32::from(minimum);
            }
            for i in 0..32 {
                let byte = nibbles[32 * (sub / 2) + i];
                let level = if sub % 2 == 0 { byte & 15 } else { byte >> 4 };
                let fifth = high.map_or(0, |high| (high[i] >> sub) & 1);
                self.levels[32 * sub + i] = level | (fifth << 4);
            }
        }
    }

    /// Q6_K: ql[128], qh[64], scales i8[16], d.
    fn six_bits(&mut self, block: &[u8]) {
        let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
        self.bias = 32;
        self.d = u16::from_le_bytes([block[208], block[209]]);
        for half in 0..2 {
            for i in 0..32 {
                let pairs = high[32 * half + i];
                for quarter in 0..4 {
                    let byte = low[64 * half + 32 * (quarter % 2) + i];
                    let nibble = if quarter < 2 { byte & 15 } else { byte >> 4 };
                    let level = nibble | (((pairs >> (2 * quarter)) & 3) << 4);
                    self.levels[128 * half + 32 * quarter + i] = level;
                }
            }
        }
        for (i, scale) in scales.iter().enumerate() {
            self.signed_scale(i, *scale as i8);
        }
    }

    /// Sets scale `i` (of 16) from `d` and its integer.
    fn signed_scale(&mut self, i: usize, scale: i8) {
        self.raw_scales[i] = scale as u8;
        self.scales[i] = f16_to_f32(self.d) * f32::from(scale);
    }

    /// The pairs of bits of Q2_K and Q3_K: 32 bytes for each half, which hold four runs of 32.
    fn pairs(&mut self, pairs: &[u8]) {
        for (i, level) in self.levels.iter_mut().enumerate() {
            *level = (pairs[32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32))) & 3;
        }
    }

    /// Q2_K: scales and minima u4[16], pairs[64], d, dmin.
    fn two_bits(&mut self, block: &[u8]) {
        self.pairs(&block[16..80]);
        self.d = u16::from_le_bytes([block[80], block[81]]);
        self.m = u16::from_le_bytes([block[82], block[83]]);
        for (i, both) in block[..16].iter().enumerate() {
            let (scale, minimum) = (both & 15, both >> 4);
            (self.raw_scales[i], self.raw_minima[i]) = (scale, minimum);
            self.scales[i] = f16_to_f32(self.d) * f32::from(scale);
            self.minima[i] = (0.0 - f16_to_f32(self.m)) * f32::from(minimum);
        }
    }

    /// Q3_K: high bits[32], pairs[64], scales[12], d.
    fn three_bits(&mut self, block: &[u8]) {
        self.bias = 4;
        self.pairs(&block[32..96]);
        for (i, level) in self.levels.iter_mut().enumerate() {
            *level |= ((block[i % 32] >> (i / 32)) & 1) << 2;
        }
        let packed = &block[96..108];
        self.d = u16::from_le_bytes([block[108], block[109]]);
        for i in 0..16 {
            let low = (packed[i % 8] >> (4 * (i / 8))) & 15;
            let high = (packed[8 + i % 4] >> (2 * (i / 4))) & 3;
            self.signed_scale(i, (low | (high << 4)) as i8 - 32);
        }
    }

    /// IQ4_XS: d, the scales' high bits u16, their low bits[4], nibbles[128].
    fn nonlinear_super_block(&mut self, block: &[u8]) {
        let high = u16::from_le_bytes([block[2], block[3]]);
        for sub in 0..8 {
            let low = (block[4 + sub / 2] >> (4 * (sub % 2))) & 15;
            let high = ((high >> (2 * sub)) & 3) as u8;
            for half in 0..2 {
                self.signed_scale(2 * sub + half, (low | (high << 4)) as i8 - 32);
            }
            for (i, byte) in block[8 + 16 * sub..][..16].iter().enumerate() {
                self.levels[32 * sub + i] = byte & 15;
                self.levels[32 * sub + 16 + i] = byte >> 4;
            }
        }
        self.bias = 128;
        self.table = Some(&NONLINEAR_LEVELS);
    }
}

/// The 6-bit scale and minimum of sub-block `sub`, out of the twelve bytes of Q4_K and Q5_K.
fn six_bit_pair(packed: &[u8], sub: usize) -> (u8, u8) {
    if sub < 4 {
        (packed[sub] & 63, packed[sub + 4] & 63)
    } else {
        let low = packed[sub + 4];
        let scale = (low & 15) | ((packed[sub - 4] >> 6) << 4);
        let minimum = (low >> 4) | ((packed[sub] >> 6) << 4);
        (scale, minimum)
    }
}
