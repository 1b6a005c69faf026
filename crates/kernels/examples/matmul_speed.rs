//! Turns every weight type and level into speeds, beside the machine's own limits of the same run.
//!
//! `cargo run --release -p myriad-kernels --example matmul_speed
//! [-- THREADS [LEVEL [ROWS TYPES]]]`,
//! say `-- 1 avx2 1 4 Q4_K Q2_K`.

use myriad_kernels::{
    Activations, BlockType, Compute, Kernels, Level, Matrix, Product, int8_peak, matmul,
    memory_read_bandwidth, quantise,
};
use std::time::Instant;

/// Shapes of a prefill [outputs, columns]: SmolLM2-135M's and Qwen2.5-1.5B's widest.
const PREFILL: [(usize, usize); 3] = [(1536, 512), (576, 1536), (8960, 1536)];

/// Rows of a prefill: a prompt of 504 tokens.
const PREFILL_ROWS: usize = 504;

/// Weight bytes read by a decode measurement: far more than the caches hold.
const DECODE_BYTES: usize = 256 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(2);
    let wanted = arguments.get(1).and_then(|name| Level::parse(name));
    let rows: Vec<usize> = arguments.iter().skip(2).filter_map(|text| text.parse().ok()).collect();
    let named = |kind: &BlockType| arguments.iter().any(|text| text == kind.name());
    let mut kinds: Vec<BlockType> = BlockType::ALL.into_iter().filter(named).collect();
    if kinds.is_empty() {
        kinds.extend(BlockType::ALL);
    }
    let rows = if rows.is_empty() { vec![1, 2, 4, 8, 16] } else { rows };
    for level in Level::available().into_iter().rev() {
        if wanted.unwrap_or(level) != level || (wanted.is_none() && level == Level::Scalar) {
            continue; // the scalar twin is for tests: minutes, unless asked for
        }
        let Some(kernels) = Kernels::at(level) else { continue };
        let compute = Compute::new(kernels, threads);
        let peak = int8_peak(&compute) / 1e9;
        let bandwidth = memory_read_bandwidth(&compute) / 1e9;
        println!(
            "{} with {threads} threads: int8 peak {peak:.0} Gop/s, memory {bandwidth:.1} GB/s",
            level.name()
        );
        for kind in &kinds {
            report(&compute, *kind, &rows, peak, bandwidth);
        }
    }
}

fn report(compute: &Compute, kind: BlockType, rows: &[usize], peak: f64, bandwidth: f64) {
    print!("{:6} prefill Gop/s", kind.name());
    for (outputs, columns) in PREFILL {
        let speed = prefill(compute, kind, outputs, columns) / 1e9;
        print!(" {outputs}x{columns} {speed:5.0} ({:2.0} %)", 100.0 * speed / peak);
    }
    print!(" | decode GB/s");
    for rows in rows {
        let speed = decode(compute, kind, *rows) / 1e9;
        print!(" {rows}: {speed:.1} ({:.0} %)", 100.0 * speed / bandwidth);
    }
    println!();
}

fn matrix(compute: &Compute, kind: BlockType, outputs: usize, columns: usize) -> Matrix {
    // One row's values again and again: their size does not matter, only that they are no zeros.
    let row: Vec<f32> = (0..columns).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
    let bytes = quantise(kind, &row).repeat(outputs);
    Matrix::pack(compute, kind, outputs, columns, &bytes).expect("whole blocks")
}

fn activations(compute: &Compute, rows: usize, columns: usize) -> Activations {
    let x: Vec<f32> = (0..rows * columns).map(|i| ((i * 53 % 103) as f32 - 50.0) / 50.0).collect();
    let mut activations = Activations::new();
    activations.set(compute, &x, rows, columns);
    activations
}

/// Operations per second; the best of a few tries.
fn prefill(compute: &Compute, kind: BlockType, outputs: usize, columns: usize) -> f64 {
    let weight = matrix(compute, kind, outputs, columns);
    let x = activations(compute, PREFILL_ROWS, columns);
    let mut out = vec![0.0; PREFILL_ROWS * outputs];
    let operations = (2 * PREFILL_ROWS * outputs * columns) as f64;
    let tries = (6e10 / operations).clamp(2.0, 40.0) as usize;
    operations / best(tries, || product(compute, &weight, &x, &mut out))
}

/// Weight bytes per second, through as many matrices as exceed the caches.
fn decode(compute: &Compute, kind: BlockType, rows: usize) -> f64 {
    let (outputs, columns) = (1536, 1536);
    let weights: Vec<Matrix> = {
        let first = matrix(compute, kind, outputs, columns);
        let count = DECODE_BYTES / first.bytes();
        (0..count).map(|_| matrix(compute, kind, outputs, columns)).collect()
    };
    let x = activations(compute, rows, columns);
    let mut out = vec![0.0; rows * outputs];
    let seconds = best(3, || {
        for weight in &weights {
            product(compute, weight, &x, &mut out);
        }
    });
    weights.iter().map(Matrix::bytes).sum::<usize>() as f64 / seconds
}

fn product(compute: &Compute, weight: &Matrix, x: &Activations, out: &mut [f32]) {
    let out_stride = weight.rows();
    let first_column = None;
    let product = Product { weight, first_column, bias: None, out, out_stride, accumulate: false };
    matmul(compute, x, &mut [product]);
}

fn best(tries: usize, mut work: impl FnMut()) -> f64 {
    work(); // caches and pages warm
    (0..tries)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}
