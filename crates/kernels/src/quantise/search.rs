//! Turns floats into the scales that round them with the least error.

/// Levels that are not evenly spaced, in ascending order.
pub(super) struct Table {
    /// Values of the levels, ascending.
    values: [f32; 16],
    /// The place of each in the type's own table.
    places: [u8; 16],
    /// Half-way from each to the next.
    middles: [f32; 15],
}

impl Table {
    /// From the levels of a type, each plus `bias`.
    pub(super) fn new(levels: &[u8; 16], bias: i16) -> Table {
        let mut places: [u8; 16] = std::array::from_fn(|place| place as u8);
        places.sort_by_key(|place| levels[usize::from(*place)]);
        let values = places.map(|place| f32::from(i16::from(levels[usize::from(place)]) - bias));
        let middles = std::array::from_fn(|i| (values[i] + values[i + 1]) / 2.0);
        Table { values, places, middles }
    }

    /// The level furthest from 0.
    pub(super) fn edge(&self) -> f32 {
        self.values[0]
    }

    /// The level nearest to `x`.
    pub(super) fn nearest(&self, x: f32) -> f32 {
        self.values[self.index(x)]
    }

    /// The place of the level nearest to `x` in the type's table.
    pub(super) fn place(&self, x: f32) -> u8 {
        self.places[self.index(x)]
    }

    fn index(&self, x: f32) -> usize {
        self.middles.iter().map(|middle| usize::from(x > *middle)).sum()
    }
}

/// How far a search goes from the scale that makes the extreme value the outermost level, in steps
/// of a fortieth: to a quarter smaller, which cuts the extreme off, and to a fifth larger.
const STEPS: std::ops::RangeInclusive<i32> = -8..=10;

/// The scale whose levels, found by `nearest`, have the least squared error. `edge`: the outermost
/// level; the extreme value is tried there.
pub(super) fn best_scale(values: &[f32], edge: f32, nearest: impl Fn(f32) -> f32) -> f32 {
    let extreme = super::extreme(values);
    if extreme == 0.0 {
        return 0.0;
    }
    let mut best = (f32::NEG_INFINITY, 0.0);
    for sign in [1.0, -1.0] {
        for step in STEPS {
            let inverse = sign * edge / extreme * (1.0 + step as f32 / 40.0);
            let (mut product, mut square) = (0.0, 0.0);
            for x in values {
                let level = nearest(x * inverse);
                product += x * level;
                square += level * level;
            }
            // With the levels fixed, this scale is best; the error is least where gain is greatest.
            let scale = product / square;
            let gain = product * scale;
            if gain > best.0 {
                best = (gain, scale);
            }
        }
    }
    best.1
}

/// The scale and minimum (both at least 0) of the least squared error, for levels from 0 to `max`:
/// x ≈ scale · level − minimum.
pub(super) fn best_scale_and_minimum(values: &[f32], max: u8) -> (f32, f32) {
    let low = values.iter().copied().fold(0.0, f32::min);
    let high = values.iter().copied().fold(0.0, f32::max);
    if high == low {
        return (0.0, 0.0);
    }
    let mut best = (f32::INFINITY, 0.0, 0.0);
    for step in STEPS {
        let first = (high - low) / f32::from(max) / (1.0 + step as f32 / 40.0);
        let (scale, minimum) = fit(values, max, first, -low);
        let error = values
            .iter()
            .map(|x| {
                let level = super::level((x + minimum) * super::inverse(scale), max);
                (scale * f32::from(level) - minimum - x).powi(2)
            })
            .sum::<f32>();
        if error < best.0 {
            best = (error, scale, minimum);
        }
    }
    (best.1, best.2)
}

/// The line of least squares through the levels that `scale` and `minimum` give.
fn fit(values: &[f32], max: u8, scale: f32, minimum: f32) -> (f32, f32) {
    let (mut levels, mut squares, mut sum, mut products) = (0.0, 0.0, 0.0, 0.0);
    for x in values {
        let level = f32::from(super::level((x + minimum) * super::inverse(scale), max));
        levels += level;
        squares += level * level;
        sum += x;
        products += x * level;
    }
    let count = values.len() as f32;
    let spread = count * squares - levels * levels;
    if spread <= 0.0 {
        return (scale, minimum);
    }
    let slope = (count * products - levels * sum) / spread;
    let start = (sum - slope * levels) / count;
    // A minimum is taken away, never added.
    if start > 0.0 { (products / squares, 0.0) } else { (slope.max(0.0), -start) }
}
