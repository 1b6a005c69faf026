//! Turns windows, sinks and selections into attention to a part of what stands before, held against
//! the definition in f64, and against itself: alone, in prompts, on threads, at every level.

mod common;

use common::world::{Shape, World, shape};
use common::{Random, assert_same_bits, best, compute};
use myriad_kernels::{AttentionScratch, KvType, Level};

const SHAPES: [Shape; 6] = [
    shape(1, 1, 16, 16),
    shape(2, 3, 24, 16),
    shape(1, 8, 16, 8),
    shape(3, 5, 8, 24),
    shape(1, 33, 16, 16),
    shape(1, 16, 72, 64),
];

fn every_row(length: usize) -> Vec<(usize, usize)> {
    (0..length).map(|position| (0, position)).collect()
}

/// A prompt in one call against the definition, and against each of its rows alone, for windows
/// around every size that the kernel knows: tiles, groups, pages, segments.
#[test]
fn windows_of_every_alignment() {
    let lengths = [1..=35, 62..=66, 127..=129, 254..=258, 510..=514, 600..=600];
    let (one, two) = (compute(best(), 1), compute(best(), 2));
    for (index, window) in lengths.into_iter().flatten().enumerate() {
        let shape = SHAPES[index % SHAPES.len()];
        let mut world = World::new(shape, &[560], 400 + index as u64);
        world.window = Some(window);
        let rows = every_row(560);
        let out = world.attend(&two, &rows, &mut AttentionScratch::new());
        let mut scratch = AttentionScratch::new();
        for (&row, out) in rows.iter().zip(out.chunks_exact(shape.width())) {
            let alone = world.attend(&one, &[row], &mut scratch);
            assert_same_bits(&format!("{shape:?}, window {window}, row {row:?}"), out, &alone);
            if row.1 % 7 == index % 7 {
                world.check(row, out);
            }
        }
        world.window = None;
        let whole = world.attend(&two, &rows, &mut scratch);
        let seen = window.min(560) * shape.width();
        assert_same_bits("what the window covers", &out[..seen], &whole[..seen]);
    }
}

/// What lies before the window is neither read nor looked for.
#[test]
fn nothing_before_the_window_is_touched() {
    let shape = SHAPES[1];
    let nan = vec![f32::NAN; shape.k_width().max(shape.v_width())];
    for level in Level::available() {
        let mut world = World::new(shape, &[900], 41);
        world.window = Some(70);
        let rows: Vec<(usize, usize)> = (840..900).map(|position| (0, position)).collect();
        let compute = compute(level, 2);
        let mut scratch = AttentionScratch::new();
        let before = world.attend(&compute, &rows, &mut scratch);
        // Row 840 sees 771..=840.
        for token in 0..771 {
            world.store(0, token, &nan[..shape.k_width()], &nan[..shape.v_width()]);
        }
        world.pages[0][..771 / 32].fill(u32::MAX);
        let after = world.attend(&compute, &rows, &mut scratch);
        assert_same_bits(level.name(), &after, &before);
    }
}

#[test]
fn sinks_take_their_part_and_no_more() {
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let seed = 500 + index as u64;
        let mut random = Random(seed);
        let mut world = World::new(shape, &[300], seed);
        let rows = every_row(300);
        let two = compute(best(), 2);
        let mut scratch = AttentionScratch::new();
        let without = world.attend(&two, &rows, &mut scratch);
        world.sinks = Some(vec![f32::NEG_INFINITY; shape.heads()]);
        let nothing = world.attend(&two, &rows, &mut scratch);
        assert_same_bits("sinks that take nothing", &nothing, &without);

        let among = [-1e30, -200.0, 30.0, 1e30];
        let sinks = (0..shape.heads()).map(|head| match among.get(head / 4) {
            Some(sink) if head % 4 == 1 => *sink,
            _ => 4.0 * random.value(),
        });
        world.sinks = Some(sinks.collect());
        for window in [None, Some(20)] {
            world.window = window;
            let out = world.attend(&two, &rows, &mut scratch);
            for (&row, out) in rows.iter().zip(out.chunks_exact(shape.width())) {
                world.check(row, out);
                let alone = world.attend(&two, &[row], &mut scratch);
                assert_same_bits(&format!("{shape:?}, row {row:?}"), out, &alone);
            }
        }
    }
}

/// About one position in `every`, and none of 100..400; never an empty list.
fn some_of(random: &mut Random, position: usize, every: usize) -> Vec<u32> {
    let mut selected: Vec<u32> = (0..=position)
        .filter(|token| !(100..400).contains(token) && random.below(every) == 0)
        .map(|token| token as u32)
        .collect();
    if selected.is_empty() {
        selected.push(random.below(position + 1) as u32);
    }
    selected
}

#[test]
fn selected_positions_are_attended_to_and_no_others() {
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let seed = 600 + index as u64;
        let mut random = Random(seed);
        let mut world = World::new(shape, &[530], seed);
        for (position, selection) in world.selections[0].iter_mut().enumerate() {
            let every = [1, 2, 30, 500][position % 4];
            *selection = Some(some_of(&mut random, position, every));
        }
        let rows = every_row(530);
        let out = world.attend(&compute(best(), 2), &rows, &mut AttentionScratch::new());
        for (&row, out) in rows.iter().zip(out.chunks_exact(shape.width())) {
            world.check(row, out);
        }
        // One row alone, with nothing but what it selected in the cache.
        let row = (0, 529);
        let nan = vec![f32::NAN; shape.k_width().max(shape.v_width())];
        let attended = world.attended(0, 529);
        for token in (0..530).filter(|token| !attended.contains(token)) {
            world.store(0, token, &nan[..shape.k_width()], &nan[..shape.v_width()]);
        }
        for level in Level::available() {
            let alone = world.attend(&compute(level, 1), &[row], &mut AttentionScratch::new());
            assert_same_bits(level.name(), &alone, &out[529 * shape.width()..]);
        }
    }
}

#[test]
fn to_select_everything_is_to_select_nothing() {
    for window in [None, Some(33), Some(300)] {
        let mut world = World::new(SHAPES[1], &[600], 61);
        world.window = window;
        let rows = every_row(600);
        let two = compute(best(), 2);
        let mut scratch = AttentionScratch::new();
        let without = world.attend(&two, &rows, &mut scratch);
        for (position, selection) in world.selections[0].iter_mut().enumerate() {
            *selection = Some((0..=position as u32).collect());
        }
        let with = world.attend(&two, &rows, &mut scratch);
        assert_same_bits(&format!("window {window:?}"), &with, &without);
    }
}

/// Everything at once: random shapes, types, windows, sinks and selections, in chunks of random
/// sizes among other rows, on one to three threads, at every level: the bits of each row alone.
#[test]
fn companions_chunks_threads_and_levels_do_not_show() {
    for seed in 700..716 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let below = |random: &mut Random, end| 1 + random.below(end);
        let shape = Shape {
            kv_heads: below(&mut random, 2),
            group: below(&mut random, 19),
            key_size: below(&mut random, 40),
            value_size: below(&mut random, 40),
        };
        let lengths = [300, 560, 40].map(|most| below(&mut random, most));
        let kind = [KvType::F16, KvType::F32, KvType::Q8_0][random.below(3)];
        let mut world = World::of(kind, shape, &lengths, seed);
        let most = [10, 80, 600][random.below(3)];
        world.window = (random.below(3) > 0).then(|| below(&mut random, most));
        if random.below(2) == 0 {
            world.sinks = Some(random.values(shape.heads()).iter().map(|x| 5.0 * x).collect());
        }
        if random.below(2) == 0 {
            // The positions just before are seen through any window.
            for (position, selection) in world.selections[1].iter_mut().enumerate() {
                let mut selected = some_of(&mut random, position, 3);
                selected.retain(|&token| token < position as u32);
                selected.push(position as u32);
                *selection = (position % 5 > 0).then_some(selected);
            }
        }
        let one = compute(Level::Scalar, 1);
        let mut scratch = AttentionScratch::new();
        let alone: Vec<Vec<Vec<f32>>> = lengths
            .iter()
            .enumerate()
            .map(|(sequence, &length)| {
                (0..length)
                    .map(|position| world.attend(&one, &[(sequence, position)], &mut scratch))
                    .collect()
            })
            .collect();
        for (sequence, length) in lengths.iter().enumerate() {
            world.check((sequence, length - 1), &alone[sequence][length - 1]);
            world.check((sequence, length / 2), &alone[sequence][length / 2]);
        }
        for (round, level) in Level::available().into_iter().enumerate() {
            let several = compute(level, 1 + (round + seed as usize) % 3);
            world.attend_in_chunks(&several, &mut random, |(sequence, position), out| {
                let what = format!("{shape:?} at {level:?}, {sequence}, position {position}");
                assert_same_bits(&what, out, &alone[sequence][position]);
            });
        }
    }
}

/// The message of the panic that a row's attention ends in.
fn refusal(change: impl Fn(&mut World)) -> String {
    let mut world = World::new(SHAPES[0], &[40], 1);
    change(&mut world);
    let attend = || world.attend(&compute(Level::Scalar, 1), &[(0, 39)], &mut Default::default());
    let panic =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(attend)).expect_err("refused");
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| panic.downcast_ref::<&str>().expect("a message").to_string())
}

#[test]
fn what_cannot_be_attended_to_is_refused() {
    let select = |positions: &[u32]| {
        let positions = positions.to_vec();
        refusal(move |world| world.selections[0][39] = Some(positions.clone()))
    };
    assert!(select(&[]).contains("nothing that is seen is selected"));
    assert!(select(&[3, 40]).contains("position 40 is selected, before 40"));
    assert!(select(&[5, 3]).contains("do not ascend"));
    assert!(select(&[3, 3]).contains("do not ascend"));
    let outside = refusal(|world| {
        world.window = Some(5);
        world.selections[0][39] = Some(vec![34]);
    });
    assert!(outside.contains("nothing that is seen is selected"));
    assert!(refusal(|world| world.window = Some(0)).contains("a window of nothing"));
    assert!(refusal(|world| world.sinks = Some(vec![])).contains("a sink for each head"));
}
