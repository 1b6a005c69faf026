//! Turns keys and values into pages, and pages, by the layout's description, into what was stored.

use super::*;
use crate::f16::{f16_to_f32, f32_to_f16};
use crate::level::{Kernels, Level};

const TYPES: [KvType; 3] = [KvType::F16, KvType::F32, KvType::Q8_0];

impl KvCache {
    fn element(&self, at: usize) -> f32 {
        match self.elements() {
            Elements::F16(halves) => f16_to_f32(halves[at]),
            Elements::F32(floats) => floats[at],
            Elements::Q8(bytes) => f32::from(bytes[at].cast_signed()),
        }
    }

    /// Number `d` of the key of a token.
    fn key_element(&self, block: usize, d: usize, token: usize) -> f32 {
        match self.elements() {
            Elements::Q8(bytes) => {
                f32::from(bytes[block + (d / 4 * PAGE_TOKENS + token) * 4 + d % 4]) - 128.0
            }
            _ => self.element(block + d * PAGE_TOKENS + token),
        }
    }

    /// A scale; 1 where numbers have none.
    fn scale(&self, at: usize) -> f32 {
        match self.elements() {
            Elements::Q8(bytes) => f16_to_f32(u16::from_ne_bytes([bytes[at], bytes[at + 1]])),
            _ => 1.0,
        }
    }

    /// The stored key and value of a token, by the layout's description.
    fn read(&self, slot: RowSlot, layer: usize, kv_head: usize) -> (Vec<f32>, Vec<f32>) {
        let KvShape { key_size, value_size, .. } = self.shape(layer);
        let block = self.block(slot.page, layer, kv_head);
        let token = slot.slot as usize;
        let has_scales = matches!(self.elements(), Elements::Q8(_));
        let numbers = if has_scales { key_size.div_ceil(4) * 4 } else { key_size };
        let key_scales = block + PAGE_TOKENS * numbers;
        let key = |d: usize| {
            let scale = self.scale(key_scales + 2 * (d / 32 * PAGE_TOKENS + token));
            self.key_element(block, d, token) * scale
        };
        let scales = |numbers: usize| if has_scales { 2 * numbers.div_ceil(32) } else { 0 };
        let stride = value_size.div_ceil(16) * 16;
        let values = key_scales + PAGE_TOKENS * scales(key_size);
        let value_scales = values + PAGE_TOKENS * stride;
        let value = |d: usize| {
            let scale = self.scale(value_scales + 2 * (d / 32 * PAGE_TOKENS + token));
            self.element(values + token * stride + d) * scale
        };
        ((0..key_size).map(key).collect(), (0..value_size).map(value).collect())
    }
}

fn compute(level: Level, threads: usize) -> Compute {
    Compute::new(Kernels::at(level).expect("an available level"), threads)
}

fn shape(kv_heads: usize, key_size: usize, value_size: usize) -> KvShape {
    KvShape { kv_heads, key_size, value_size }
}

/// [`row`][..][`head`][size] as it is stored.
fn wanted(
    kind: KvType,
    x: &[f32],
    stride: usize,
    row: usize,
    head: usize,
    size: usize,
) -> Vec<f32> {
    let x = x.iter().skip(row * stride + head * size).take(size);
    match kind {
        KvType::F16 => x.map(|&x| f16_to_f32(f32_to_f16(x))).collect(),
        KvType::F32 => x.copied().collect(),
        KvType::Q8_0 => {
            let x: Vec<f32> = x.copied().collect();
            x.chunks(32).flat_map(wanted_bytes).collect()
        }
    }
}

/// Thirty-two numbers, or the last few, to the nearest of 255 levels.
fn wanted_bytes(x: &[f32]) -> Vec<f32> {
    let greatest = x.iter().fold(0.0, |greatest: f32, x| greatest.max(x.abs()));
    let step = f16_to_f32(f32_to_f16(greatest / 127.0));
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    let level = |x: &f32| (x * inverse).clamp(-127.0, 127.0).round_ties_even();
    x.iter().map(|x| level(x) * step).collect()
}

#[test]
fn what_is_stored_is_read_back() {
    // Layers of all shapes in one cache: each is stored to in turn, and none shows in another.
    let shapes = [
        shape(1, 8, 8),
        shape(3, 64, 64),
        shape(2, 72, 24),
        shape(3, 12, 80),
        shape(2, 128, 128),
        shape(1, 576, 512),
        shape(1, 128, 0),
        shape(4, 1, 1),
        shape(1, 192, 128),
        shape(1, 512, 512),
    ];
    let x = |i: usize| ((i * 7919) % 1009) as f32 / 31.3 - 16.0;
    for (level, kind) in
        Level::available().into_iter().flat_map(|level| TYPES.map(|kind| (level, kind)))
    {
        let mut cache = KvCache::with_type(kind, &shapes, 5).expect("small");
        let compute = compute(level, 2);
        for (layer, (shape, rows)) in
            shapes.into_iter().zip([1, 5, 40, 70, 100].repeat(2)).enumerate()
        {
            let KvShape { kv_heads, key_size, value_size } = shape;
            let (k_stride, v_stride) = (kv_heads * key_size + 3, kv_heads * value_size + 5);
            let k: Vec<f32> = (0..rows * k_stride).map(x).collect();
            let v: Vec<f32> = (0..rows * v_stride).map(|i| x(i + 500)).collect();
            let slots: Vec<RowSlot> = (0..rows)
                .map(|i| RowSlot { page: ((i * 3 / 32 + 1) % 5) as u32, slot: (i % 32) as u32 })
                .collect();
            let before: Vec<Vec<_>> = (0..shapes.len())
                .map(|layer| slots.iter().map(|&slot| cache.read(slot, layer, 0)).collect())
                .collect();
            cache.store(&compute, layer, &slots, &k, k_stride, &v, v_stride);
            for (row, slot) in slots.iter().enumerate() {
                // Later rows may land on earlier ones: look at those that stay.
                if slots[row + 1..].contains(slot) {
                    continue;
                }
                for head in 0..kv_heads {
                    let (key, value) = cache.read(*slot, layer, head);
                    let wanted_key = wanted(kind, &k, k_stride, row, head, key_size);
                    assert_eq!(key, wanted_key, "{level:?} {kind:?} {shape:?} keys of row {row}");
                    let wanted_value = wanted(kind, &v, v_stride, row, head, value_size);
                    assert_eq!(
                        value, wanted_value,
                        "{level:?} {kind:?} {shape:?} values of row {row}"
                    );
                }
                for other in (0..shapes.len()).filter(|other| *other != layer) {
                    assert_eq!(cache.read(*slot, other, 0), before[other][row], "layer {other}");
                }
            }
        }
    }
}

#[test]
fn values_may_be_the_beginning_of_their_keys() {
    for level in Level::available() {
        let mut cache = KvCache::new(&[shape(1, 24, 16)], 2).expect("small");
        let latent: Vec<f32> = (0..3 * 30).map(|i| i as f32).collect();
        let slots = [3, 31, 0].map(|slot| RowSlot { page: 1, slot });
        cache.store(&compute(level, 1), 0, &slots, &latent, 30, &latent, 30);
        for (row, slot) in slots.into_iter().enumerate() {
            let (key, value) = cache.read(slot, 0, 0);
            assert_eq!(key, wanted(KvType::F16, &latent, 30, row, 0, 24));
            assert_eq!(value, key[..16]);
        }
    }
}

#[test]
fn numbers_that_no_half_holds() {
    let x = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e9, -65520.0, 65504.0, 1e-30, -0.0];
    let others = |x: &[f32]| [x[0], x[1], x[3], x[4], x[5], x[6], x[7]];
    for level in Level::available() {
        for kind in [KvType::F16, KvType::F32] {
            let mut cache = KvCache::with_type(kind, &[shape(1, 8, 8)], 1).expect("small");
            let slot = RowSlot { page: 0, slot: 17 };
            cache.store(&compute(level, 1), 0, &[slot], &x, 8, &x, 8);
            let (key, value) = cache.read(slot, 0, 0);
            let right = match kind {
                KvType::F16 => [65504.0, -65504.0, 65504.0, -65504.0, 65504.0, 0.0, -0.0],
                _ => others(&x),
            };
            for stored in [key, value] {
                assert!(stored[2].is_nan(), "{level:?} {kind:?}");
                assert_eq!(others(&stored), right, "{level:?} {kind:?}");
            }
        }
    }
}

/// A NaN shows in all numbers that share its scale, and in no others; others that no half holds
/// are its ends.
#[test]
fn numbers_that_no_byte_holds() {
    for level in Level::available() {
        let mut cache = KvCache::with_type(KvType::Q8_0, &[shape(1, 72, 72)], 1).expect("small");
        let mut x: Vec<f32> = (0..72).map(|i| i as f32 - 30.0).collect();
        (x[5], x[40], x[70]) = (f32::NAN, f32::NEG_INFINITY, 1e-30);
        let slot = RowSlot { page: 0, slot: 17 };
        cache.store(&compute(level, 1), 0, &[slot], &x, 72, &x, 72);
        let (key, value) = cache.read(slot, 0, 0);
        for stored in [key, value] {
            assert!(stored[..32].iter().all(|x| x.is_nan()), "{level:?}");
            assert!((stored[40] + 65504.0).abs() < 40.0, "{level:?}: {}", stored[40]);
            assert_eq!(stored[33], 0.0, "{level:?}");
            assert!((stored[65] - 35.0).abs() < 0.2 && stored[70] == 0.0, "{level:?}");
        }
    }
}

#[test]
fn a_page_is_copied_with_all_layers() {
    let compute = compute(Level::Scalar, 1);
    let shapes = [shape(2, 16, 16), shape(1, 20, 4), shape(2, 8, 16)];
    let x: Vec<f32> = (0..32).map(|i| i as f32).collect();
    for kind in TYPES {
        let mut cache = KvCache::with_type(kind, &shapes, 4).expect("small");
        for layer in 0..3 {
            cache.store(&compute, layer, &[RowSlot { page: 2, slot: 9 }], &x, 32, &x, 32);
        }
        cache.copy_page(2, 0);
        cache.copy_page(1, 1);
        (0..4).for_each(|page| cache.touch_page(page));
        for (layer, shape) in shapes.into_iter().enumerate() {
            for head in 0..shape.kv_heads {
                let from = cache.read(RowSlot { page: 2, slot: 9 }, layer, head);
                assert_eq!(cache.read(RowSlot { page: 0, slot: 9 }, layer, head), from);
                let stored = (head * shape.key_size + 1) as f32;
                assert!((from.0[1] - stored).abs() <= 0.15, "{kind:?}: {}", from.0[1]);
                let untouched = cache.read(RowSlot { page: 1, slot: 9 }, layer, head);
                assert_eq!(untouched.0, vec![0.0; shape.key_size]);
            }
        }
    }
}

#[test]
fn bytes_of_a_page_are_those_of_its_layers() {
    let shapes = [shape(3, 64, 64), shape(1, 576, 512), shape(1, 128, 0), shape(2, 12, 12)];
    // Values are padded to sixteen.
    let halves = [3 * (64 + 64), 576 + 512, 128, 2 * (12 + 16)];
    let bytes = halves.map(|halves| 2 * PAGE_TOKENS * halves);
    // Two more for every 32 numbers of a token.
    let scales = [3 * (2 + 2), 18 + 16, 4, 2 * (1 + 1)].map(|scales| 2 * PAGE_TOKENS * scales);
    let all = |kind: KvType, shapes: &[KvShape]| KvCache::bytes_per_page(kind, shapes);
    for ((shape, bytes), scales) in shapes.into_iter().zip(bytes).zip(scales) {
        assert_eq!(all(KvType::F16, &[shape]), bytes, "{shape:?}");
        assert_eq!(all(KvType::F32, &[shape]), 2 * bytes, "{shape:?}");
        assert_eq!(all(KvType::Q8_0, &[shape]), bytes / 2 + scales, "{shape:?}");
    }
    for kind in TYPES {
        let cache = KvCache::with_type(kind, &shapes, 3).expect("small");
        let bytes: usize = shapes.iter().map(|&shape| all(kind, &[shape])).sum();
        assert_eq!(all(kind, &shapes), bytes);
        assert_eq!(cache.memory.bytes().len(), 3 * bytes);
    }
}

#[test]
fn names_of_types_are_read() {
    for kind in KvType::OFFERED {
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    assert_eq!("Q8_0".parse(), Ok(KvType::Q8_0));
    let error = "q4_0".parse::<KvType>().expect_err("not there").to_string();
    assert_eq!(error, "\"q4_0\" is no type of a KV cache; there are f16 and q8_0");
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let field = |layers: &[KvShape], pages: usize| match KvCache::new(layers, pages) {
        Err(KvError::Shape { field, .. } | KvError::Layer { field, .. }) => field,
        Err(KvError::TooLarge { .. }) => "too large",
        Err(KvError::OutOfMemory { .. }) => "memory",
        Ok(_) => "fine",
    };
    let good = shape(1, 8, 8);
    assert_eq!(field(&[good], 1), "fine");
    assert_eq!(field(&[], 1), "layers");
    assert_eq!(field(&[good], 0), "pages");
    assert_eq!(field(&[good], 1 << 32), "pages");
    assert_eq!(field(&[good, shape(0, 8, 8)], 1), "kv_heads");
    for size in [0, 577, usize::MAX] {
        assert_eq!(field(&[good, shape(1, size, 8)], 1), "key_size");
    }
    for size in [513, usize::MAX] {
        assert_eq!(field(&[good, shape(1, 8, size)], 1), "value_size");
    }
    let many = shape(usize::MAX / 9, 64, 64);
    assert_eq!(field(&[many], 9), "too large");
    assert_eq!(field(&[many, many], 1), "too large");
    let large = [shape(1 << 20, 64, 64)];
    assert_eq!(field(&large, 1 << 22), "memory");
    let message = |layers: &[KvShape], pages: usize| {
        KvCache::new(layers, pages).err().expect("refused").to_string()
    };
    let text = message(&large, 1 << 22);
    assert!(text.contains("36028797018963968 bytes"), "{text}");
    let text = message(&[good, shape(1, 640, 8)], 1);
    assert_eq!(text, "KV cache: key_size of layer 1 is 640, must be from 1 to 576");
}

#[cfg(target_os = "linux")]
#[test]
fn an_unused_cache_costs_nothing() {
    let resident_pages = || -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
        text.split(' ').nth(1).expect("the second field").parse().expect("a number")
    };
    // 4 GiB of address space.
    let before = resident_pages();
    let Ok(mut cache) = KvCache::new(&[shape(4, 64, 64)], 1 << 17) else { return };
    assert_eq!(cache.memory.bytes().last(), Some(&0));
    cache.copy_page(0, 77);
    cache.touch_page(99);
    // Other tests run beside this one: 64 MiB for them.
    assert!(resident_pages() < before + (64 << 20 >> 12));
}
