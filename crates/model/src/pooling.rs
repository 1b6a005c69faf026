//! Turns the last states of a text into its vector, of length 1.

use myriad_formats::{JsonError, ModelFolder};

use crate::error::ModelError;

/// How the states of a text's tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first one (`[CLS]`).
    First,
    /// The last one.
    Last,
}

/// What `1_Pooling/config.json` calls the ways that there are here.
const MODES: [(&str, Pooling); 3] = [
    ("pooling_mode_mean_tokens", Pooling::Mean),
    ("pooling_mode_cls_token", Pooling::First),
    ("pooling_mode_lasttoken", Pooling::Last),
];

impl Pooling {
    /// What a folder says, if it says something.
    pub(crate) fn of_folder(folder: &ModelFolder) -> Result<Option<Pooling>, ModelError> {
        if folder.has_dense() {
            return Err(ModelError::Choice {
                key: "modules.json".to_owned(),
                value: "2_Dense".to_owned(),
                known: "pooling without a layer behind it",
            });
        }
        let Some(json) = folder.pooling() else { return Ok(None) };
        let is_on = |key: &str| -> Result<bool, JsonError> {
            Ok(key.starts_with("pooling_mode_") && json.optional_bool(key)? == Some(true))
        };
        let mut found = None;
        for key in json.keys() {
            if !is_on(key)? {
                continue;
            }
            let mode = MODES.iter().find(|(name, _)| *name == key).map(|(_, mode)| *mode);
            match mode.filter(|_| found.is_none()) {
                Some(mode) => found = Some(mode),
                None => {
                    return Err(ModelError::Choice {
                        key: "1_Pooling/config.json".to_owned(),
                        value: key.to_owned(),
                        known: "one of pooling_mode_mean_tokens, pooling_mode_cls_token and \
                                pooling_mode_lasttoken",
                    });
                }
            }
        }
        Ok(found)
    }

    /// What the number of GGUF's `pooling_type` means, if it means something. 4, the score of a
    /// pair, begins at the first state.
    pub(crate) fn of_key(key: String, value: Option<u32>) -> Result<Option<Pooling>, ModelError> {
        match value {
            None | Some(0) => Ok(None),
            Some(1) => Ok(Some(Pooling::Mean)),
            Some(2 | 4) => Ok(Some(Pooling::First)),
            Some(3) => Ok(Some(Pooling::Last)),
            Some(value) => {
                let known = "0 (unsaid), 1 (mean), 2 (first), 3 (last) and 4 (score)";
                Err(ModelError::Choice { key, value: value.to_string(), known })
            }
        }
    }
}

/// The states of one text on their way into its vector. They come in order, in any pieces: the
/// vector is the same.
#[derive(Clone, Debug)]
pub struct Pool {
    pooling: Pooling,
    /// Their sum, or the one that counts so far. [hidden]
    vector: Vec<f32>,
    empty: bool,
}

impl Pool {
    /// Of a model of width `hidden`.
    pub fn new(pooling: Pooling, hidden: usize) -> Pool {
        Pool { pooling, vector: vec![0.0; hidden], empty: true }
    }

    /// Takes the next states in. [tokens, hidden]
    pub fn take(&mut self, states: &[f32]) {
        for state in states.chunks_exact(self.vector.len()) {
            match self.pooling {
                Pooling::Mean => {
                    self.vector.iter_mut().zip(state).for_each(|(sum, value)| *sum += value);
                }
                Pooling::First if !self.empty => {}
                Pooling::First | Pooling::Last => self.vector.copy_from_slice(state),
            }
            self.empty = false;
        }
    }

    /// The vector, of length 1: a sum points where the mean does. [hidden]
    pub fn finish(mut self) -> Vec<f32> {
        normalise(&mut self.vector);
        self.vector
    }
}

/// Brings a vector to length 1; one that has none stays as it is.
pub fn normalise(vector: &mut [f32]) {
    let square: f64 = vector.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
    if square > 0.0 {
        let factor = 1.0 / square.sqrt();
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_text_make_the_vector_of_the_whole() {
        let states: Vec<f32> = (0..15).map(|index| (index * index % 7) as f32 - 2.5).collect();
        for pooling in [Pooling::Mean, Pooling::First, Pooling::Last] {
            let whole = |pieces: &[&[f32]]| {
                let mut pool = Pool::new(pooling, 3);
                pieces.iter().for_each(|piece| pool.take(piece));
                pool.finish()
            };
            let at_once = whole(&[&states]);
            assert_eq!(whole(&[&states[..3], &states[3..12], &states[12..]]), at_once);
            let length: f32 = at_once.iter().map(|value| value * value).sum();
            assert!((length - 1.0).abs() < 1e-6, "{pooling:?}: {length}");
        }
        let mut last = Pool::new(Pooling::Last, 2);
        last.take(&[5.0, 5.0, 3.0, 4.0]);
        assert_eq!(last.finish(), [0.6, 0.8]);
        let mut first = Pool::new(Pooling::First, 2);
        first.take(&[0.0, 2.0, 3.0, 4.0]);
        assert_eq!(first.finish(), [0.0, 1.0]);
        let mut mean = Pool::new(Pooling::Mean, 2);
        mean.take(&[3.0, 0.0, 3.0, 8.0]);
        assert_eq!(mean.finish(), [0.6, 0.8]);
    }

    #[test]
    fn nothing_has_no_direction() {
        let mut nothing = [0.0; 3];
        normalise(&mut nothing);
        assert_eq!(nothing, [0.0; 3]);
    }
}
