//! Turns a file's keys about windows into one flag for each layer.

use super::keys::{Keys, Settings, in_range, shorten};
use crate::error::ModelError;

impl Keys<'_> {
    /// Which layers have a window: all but each last of `pattern`, where the file does not say.
    pub(super) fn local_layers(
        &self,
        layers: usize,
        mut pattern: usize,
    ) -> Result<Vec<bool>, ModelError> {
        if let Settings::Folder(json) = &self.file {
            if let Some(kinds) = json.optional_strs("layer_types")? {
                return layer_types(&kinds, layers, ["sliding_attention", "full_attention"]);
            }
            if let Some(value) = json.optional_u32("sliding_window_pattern")? {
                pattern = in_range("sliding_window_pattern".to_owned(), value, u32::MAX)? as usize;
            }
        }
        Ok((0..layers).map(|layer| !(layer + 1).is_multiple_of(pattern)).collect())
    }
}

/// Whether each layer is of the first of two kinds.
pub(super) fn layer_types(
    kinds: &[&str],
    layers: usize,
    [first, second]: [&'static str; 2],
) -> Result<Vec<bool>, ModelError> {
    if kinds.len() != layers {
        return Err(ModelError::Disagree {
            key: "layer_types".to_owned(),
            value: kinds.len(),
            expected: layers,
            reason: "the list has one word for each layer",
        });
    }
    let is_first = |kind: &&str| match *kind {
        kind if kind == first => Ok(true),
        kind if kind == second => Ok(false),
        other => Err(ModelError::LayerType { value: shorten(other), known: [first, second] }),
    };
    kinds.iter().map(is_first).collect()
}
