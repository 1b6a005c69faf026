//! Turns a model's description into the memory of its sequences: keys and values in pages, states
//! of recurrent layers in slots.

use myriad_kernels::{KvCache, KvType, RecurrentStates};

use crate::config::Config;
use crate::error::ModelError;

/// What a model keeps of the sequences that it works on.
pub struct Cache {
    /// Keys and values of layers that attend, in pages.
    pub(crate) keys: KvCache,
    /// States of recurrent layers, in slots: one for each sequence, others as snapshots.
    pub(crate) states: RecurrentStates,
}

impl Cache {
    /// Memory for `pages` pages and `slots` states.
    pub(crate) fn new(
        config: &Config,
        kind: KvType,
        pages: usize,
        slots: usize,
    ) -> Result<Cache, ModelError> {
        if config.encoder.is_some() {
            return Err(ModelError::NoDecoder { family: config.family.name() });
        }
        Ok(Cache {
            keys: KvCache::with_type(kind, &config.kv_shapes(), pages)?,
            states: RecurrentStates::new(&config.state_shapes(), slots)?,
        })
    }

    /// Memory for `pages` pages of the layer that guesses further tokens.
    pub(crate) fn of_mtp(config: &Config, kind: KvType, pages: usize) -> Result<Cache, ModelError> {
        Ok(Cache {
            keys: KvCache::with_type(kind, &config.mtp_kv_shapes(), pages)?,
            states: RecurrentStates::new(&[], 0)?,
        })
    }

    /// Copies the keys and values of page `from` onto page `to`.
    ///
    /// # Panics
    /// Where there is no such page.
    pub fn copy_page(&mut self, from: u32, to: u32) {
        self.keys.copy_page(from, to);
    }

    /// Has the system bring the memory of a page before it is needed.
    ///
    /// # Panics
    /// Where there is no such page.
    pub fn touch_page(&mut self, page: u32) {
        self.keys.touch_page(page);
    }

    /// Makes the state in slot `to` that of slot `from`.
    ///
    /// # Panics
    /// Where there is no such slot.
    pub fn copy_state(&mut self, from: usize, to: usize) {
        self.states.copy(from, to);
    }
}
