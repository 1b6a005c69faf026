//! Turns slices of numbers into slices of numbers, fast: the arithmetic under every model.
//!
//! This is the only room with `unsafe`. It knows neither models nor files nor text. Every kernel is
//! written once over [`lanes::Lanes`]; a level (scalar, AVX2, AVX-512 VNNI) is one implementation
//! of that trait, chosen once at run time ([`Kernels`]), and all levels agree bit for bit.

mod activations;
mod attention;
mod block;
mod compute;
mod delta;
mod f16;
mod index;
mod kv;
mod lanes;
mod level;
mod map;
mod matmul;
mod matrix;
mod memory;
mod pool;
mod probe;
mod quantise;
mod reached;
mod rope;
mod tiles;
mod vector;

pub use activations::{Activations, Forms};
pub use attention::{AttentionCall, AttentionRow, AttentionScratch, attention};
pub use block::{BlockType, dequantise};
pub use compute::Compute;
pub use delta::{
    DeltaCall, DeltaRun, DeltaScratch, DeltaShape, DeltaSnapshot, DeltaWeights, HeadOrder,
    RecurrentStates, StateError, gated_delta,
};
pub use f16::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
pub use index::{IndexCall, index_scores, top_positions};
pub use kv::{KvCache, KvError, KvShape, KvType, KvTypeError, PAGE_TOKENS, RowSlot};
pub use level::{Kernels, LEVEL_VARIABLE, Level, LevelError};
pub use map::MappedFile;
pub use matmul::{Product, matmul, matmul_beside, matmul_gated};
pub use matrix::{Matrix, PackError};
pub use pool::ThreadPool;
pub use probe::{int8_peak, memory_read_bandwidth};
pub use quantise::quantise;
pub use reached::reached_kernels;
pub use rope::{Rope, RopeHeads, RopePairing, rope};
pub use vector::{Activation, add_rms_norm, layer_norm, rms_norm, rms_norm_heads};
