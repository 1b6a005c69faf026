//! Turns the shapes of recurrent layers into memory for the states of many sequences.
//!
//! A slot holds one sequence at one point. For each recurrent layer it has
//!
//! - the last inputs of the convolution, `[kernel - 1][channels]`, the oldest first;
//! - the memory S of each value head, `[key_size][value_size]`, cut into blocks of 64 columns that
//!   lie one after the other: `[value_heads][blocks][key_size][columns]`. A block fits the L1 cache
//!   and belongs to one task; the last one is rounded up to whole registers, with zeros.

use crate::memory::Memory;
use crate::pool::Shares;
use std::fmt;

/// Columns of S in a block: 32 KiB for keys of 128.
pub(super) const BLOCK_COLUMNS: usize = 64;

/// Longest convolution: its rows of inputs stand in an array on the stack. Models have 4.
pub(super) const KERNEL_MAX: usize = 16;

/// Columns are rounded up to a multiple of these: the lanes of a register.
const LANES: usize = 16;

/// Which key head a value head belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadOrder {
    /// Value heads of one key head are neighbours: `head / (value_heads / key_heads)`.
    Grouped,
    /// Value heads of one key head are `key_heads` apart: `head % key_heads`.
    Tiled,
}

/// The sizes of a gated delta net: what its state is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaShape {
    /// Heads of queries and of keys.
    pub key_heads: usize,
    /// Heads of values, a multiple of `key_heads`.
    pub value_heads: usize,
    /// Width of a query and of a key.
    pub key_size: usize,
    /// Width of a value.
    pub value_size: usize,
    /// Tokens that the convolution sees, its own among them: from 1 to 16.
    pub kernel: usize,
    /// Which key head a value head belongs to.
    pub order: HeadOrder,
}

impl DeltaShape {
    /// Numbers of a token that pass through the convolution: queries, keys, values; `usize::MAX` if
    /// that is no number.
    pub fn channels(&self) -> usize {
        let keys = self.key_heads.saturating_mul(self.key_size);
        keys.saturating_mul(2).saturating_add(self.value_width())
    }

    /// Numbers of a token that come out, the values of all heads; `usize::MAX` if that is none.
    pub fn value_width(&self) -> usize {
        self.value_heads.saturating_mul(self.value_size)
    }

    /// The key head of a value head.
    pub(super) fn key_head(&self, value_head: usize) -> usize {
        match self.order {
            HeadOrder::Grouped => value_head / (self.value_heads / self.key_heads),
            HeadOrder::Tiled => value_head % self.key_heads,
        }
    }

    /// Blocks of columns in each value head.
    pub(super) fn blocks(&self) -> usize {
        self.value_size.div_ceil(BLOCK_COLUMNS)
    }

    /// From one row of all blocks of S to the next, if they lay side by side.
    fn value_stride(&self) -> usize {
        self.value_size.saturating_add(LANES - 1) / LANES * LANES
    }

    /// Floats of the inputs of the convolution, in whole cache lines.
    fn inputs_length(&self) -> usize {
        let floats = self.channels().saturating_mul(self.kernel.saturating_sub(1));
        floats.saturating_add(LANES - 1) / LANES * LANES
    }

    /// Floats of S of one head.
    fn head_length(&self) -> usize {
        self.key_size.saturating_mul(self.value_stride())
    }

    /// Floats of all that one sequence needs; `usize::MAX` or some less if that is no number.
    fn length(&self) -> usize {
        self.value_heads.saturating_mul(self.head_length()).saturating_add(self.inputs_length())
    }

    fn check(&self, layer: usize) -> Result<(), StateError> {
        let &DeltaShape { key_heads, value_heads, key_size, value_size, kernel, .. } = self;
        let (field, value, right) = if key_heads == 0 {
            ("key_heads", key_heads, "at least 1")
        } else if value_heads == 0 || !value_heads.is_multiple_of(key_heads) {
            ("value_heads", value_heads, "a multiple of key_heads")
        } else if key_size == 0 {
            ("key_size", key_size, "at least 1")
        } else if value_size == 0 {
            ("value_size", value_size, "at least 1")
        } else if !(1..=KERNEL_MAX).contains(&kernel) {
            ("kernel", kernel, "from 1 to 16")
        } else {
            return Ok(());
        };
        Err(StateError::Layer { layer, field, value, right })
    }
}

/// Why memory for states could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateError {
    /// A size that no layer can have.
    Layer {
        /// Which layer.
        layer: usize,
        /// Which size.
        field: &'static str,
        /// What was asked for.
        value: usize,
        /// What would have been right.
        right: &'static str,
    },
    /// The sizes multiply to more bytes than a machine can address.
    TooLarge {
        /// Slots asked for.
        slots: usize,
        /// Bytes of one slot (`usize::MAX` if that itself is no number).
        bytes_per_slot: usize,
    },
    /// The system did not give the memory.
    OutOfMemory {
        /// Bytes that were wanted.
        bytes: usize,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Layer { layer, field, value, right } => {
                write!(f, "recurrent states: {field} of layer {layer} is {value}, must be {right}")
            }
            StateError::TooLarge { slots, bytes_per_slot } => write!(
                f,
                "recurrent states: {slots} slots of {bytes_per_slot} bytes are more than can be \
                 addressed; ask for fewer slots"
            ),
            StateError::OutOfMemory { bytes } => write!(
                f,
                "recurrent states: the system has no {bytes} bytes ({} MiB) to give; ask for \
                 fewer slots",
                bytes >> 20
            ),
        }
    }
}

impl std::error::Error for StateError {}

/// The states of all recurrent layers, in slots: one for each running sequence, and one for each
/// point of a sequence that is to be come back to.
pub struct RecurrentStates {
    memory: Memory,
    slots: usize,
    /// Floats of one slot, all layers together.
    slot_length: usize,
    layers: Vec<Option<Layer>>,
}

/// Where one layer stands in each slot.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    pub(super) shape: DeltaShape,
    offset: usize,
    slot_length: usize,
}

impl Layer {
    /// Where the inputs of the convolution begin: [kernel - 1][channels].
    pub(super) fn inputs(&self, slot: usize) -> usize {
        slot * self.slot_length + self.offset
    }

    /// Where a block of a value head's S begins, and its length: [key_size][columns].
    pub(super) fn block(&self, slot: usize, head: usize, block: usize) -> (usize, usize) {
        let shape = &self.shape;
        let first = block * BLOCK_COLUMNS;
        let columns = (shape.value_stride() - first).min(BLOCK_COLUMNS);
        let start = self.inputs(slot) + shape.inputs_length() + head * shape.head_length();
        (start + first * shape.key_size, columns * shape.key_size)
    }
}

impl RecurrentStates {
    /// Memory for `slots` sequences, all as before their first token. `shapes`: one for each layer
    /// of the model, nothing where the layer is not recurrent. Memory is taken as it is used.
    ///
    /// # Errors
    ///
    /// [`StateError`] where a size is out of range or the system has not so much memory.
    pub fn new(shapes: &[Option<DeltaShape>], slots: usize) -> Result<RecurrentStates, StateError> {
        for (layer, shape) in shapes.iter().enumerate() {
            shape.map_or(Ok(()), |shape| shape.check(layer))?;
        }
        let bytes_per_slot = RecurrentStates::bytes_per_slot(shapes);
        let bytes = bytes_per_slot
            .checked_mul(slots)
            .filter(|&bytes| bytes <= isize::MAX as usize)
            .ok_or(StateError::TooLarge { slots, bytes_per_slot })?;
        let memory = Memory::zeroed(bytes).ok_or(StateError::OutOfMemory { bytes })?;
        let slot_length = bytes_per_slot / size_of::<f32>();
        let mut next = 0;
        let layers = shapes.iter().map(|shape| {
            let offset = next;
            next += shape.as_ref().map_or(0, DeltaShape::length);
            shape.map(|shape| Layer { shape, offset, slot_length })
        });
        let layers = layers.collect();
        Ok(RecurrentStates { memory, slots, slot_length, layers })
    }

    /// Slots that there are.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Bytes that one slot takes, all layers together; `usize::MAX` if that is no number.
    pub fn bytes_per_slot(shapes: &[Option<DeltaShape>]) -> usize {
        let floats = shapes.iter().flatten().map(DeltaShape::length);
        floats.fold(0, usize::saturating_add).saturating_mul(size_of::<f32>())
    }

    /// Makes a slot the state before the first token.
    ///
    /// # Panics
    ///
    /// If the slot is not below [`Self::slots`].
    pub fn clear(&mut self, slot: usize) {
        assert!(slot < self.slots, "slot {slot} of {}", self.slots);
        let length = self.slot_length;
        self.memory.floats_mut()[slot * length..][..length].fill(0.0);
    }

    /// Copies all layers of slot `from` to slot `to`.
    ///
    /// # Panics
    ///
    /// If a slot is not below [`Self::slots`].
    pub fn copy(&mut self, from: usize, to: usize) {
        assert!(from < self.slots && to < self.slots, "slots {from}, {to} of {}", self.slots);
        let length = self.slot_length;
        let from = from * length;
        self.memory.floats_mut().copy_within(from..from + length, to * length);
    }

    /// Where the layer stands, which must be a recurrent one.
    pub(super) fn layer(&self, layer: usize) -> Layer {
        let found = self.layers.get(layer);
        let found = found.unwrap_or_else(|| panic!("layer {layer} of {}", self.layers.len()));
        found.unwrap_or_else(|| panic!("layer {layer} is not recurrent"))
    }

    /// All slots, for tasks that write places of their own.
    pub(super) fn shares(&mut self) -> Shares<f32> {
        Shares::new(self.memory.floats_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: DeltaShape = DeltaShape {
        key_heads: 2,
        value_heads: 6,
        key_size: 3,
        value_size: 130,
        kernel: 4,
        order: HeadOrder::Grouped,
    };

    #[test]
    fn no_two_places_of_the_states_meet() {
        let other = DeltaShape { key_size: 5, value_size: 16, kernel: 1, ..GOOD };
        let mut states = RecurrentStates::new(&[Some(GOOD), None, Some(other)], 3).expect("small");
        assert_eq!(states.memory.floats().len() % 3, 0);
        let mut places = vec![];
        for slot in 0..3 {
            for layer in [0, 2].map(|layer| states.layer(layer)) {
                let shape = layer.shape;
                places.push((layer.inputs(slot), (shape.kernel - 1) * shape.channels()));
                for head in 0..shape.value_heads {
                    places.extend((0..shape.blocks()).map(|block| layer.block(slot, head, block)));
                }
            }
        }
        // 144 columns of GOOD in blocks of 64, 64 and 16.
        assert_eq!(places.len(), 3 * ((1 + 6 * 3) + (1 + 6)));
        let shares = states.shares();
        for (number, &(start, length)) in places.iter().enumerate() {
            // SAFETY: nobody else has the states.
            let place = unsafe { shares.slice(start, length) };
            assert!(place.iter().all(|&x| x == 0.0), "place {number}");
            place.fill(1.0 + number as f32);
        }
        let used: usize = places.iter().map(|place| place.1).sum();
        let found = states.memory.floats().iter().filter(|&&x| x != 0.0).count();
        assert_eq!(found, used);
    }

    #[test]
    fn key_heads_by_both_orders() {
        let heads = |order| (0..6).map(move |head| DeltaShape { order, ..GOOD }.key_head(head));
        assert!(heads(HeadOrder::Grouped).eq([0, 0, 0, 1, 1, 1]));
        assert!(heads(HeadOrder::Tiled).eq([0, 1, 0, 1, 0, 1]));
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        let field =
            |shape: DeltaShape, slots| match RecurrentStates::new(&[None, Some(shape)], slots) {
                Err(StateError::Layer { layer: 1, field, .. }) => field,
                Err(StateError::Layer { .. }) => "another layer",
                Err(StateError::TooLarge { .. }) => "too large",
                Err(StateError::OutOfMemory { .. }) => "memory",
                Ok(_) => "fine",
            };
        assert_eq!(field(GOOD, 2), "fine");
        assert_eq!(field(GOOD, 0), "fine");
        assert_eq!(field(DeltaShape { key_heads: 0, ..GOOD }, 1), "key_heads");
        assert_eq!(field(DeltaShape { key_heads: 4, ..GOOD }, 1), "value_heads");
        assert_eq!(field(DeltaShape { value_heads: 0, ..GOOD }, 1), "value_heads");
        assert_eq!(field(DeltaShape { key_size: 0, ..GOOD }, 1), "key_size");
        assert_eq!(field(DeltaShape { value_size: 0, ..GOOD }, 1), "value_size");
        assert_eq!(field(DeltaShape { kernel: 0, ..GOOD }, 1), "kernel");
        assert_eq!(field(DeltaShape { kernel: 17, ..GOOD }, 1), "kernel");
        assert_eq!(field(GOOD, usize::MAX), "too large");
        for huge in [usize::MAX, usize::MAX / 2, 1 << 40] {
            assert_eq!(field(DeltaShape { value_size: huge, ..GOOD }, 1 << 22), "too large");
            assert_eq!(field(DeltaShape { key_size: huge, ..GOOD }, 1 << 22), "too large");
        }
        assert_eq!(field(GOOD, 1 << 46), "memory");
        let text = RecurrentStates::new(&[Some(DeltaShape { kernel: 17, ..GOOD })], 1);
        let text = text.err().expect("refused").to_string();
        assert_eq!(text, "recurrent states: kernel of layer 0 is 17, must be from 1 to 16");
    }

    #[test]
    fn bytes_of_a_slot_are_those_of_its_layers() {
        // 6 heads of 144 columns, and three rows of 2 · 2 · 3 + 6 · 130 inputs, in whole lines.
        let floats = 6 * 3 * 144 + (3 * 792usize).next_multiple_of(16);
        let both = [Some(GOOD), None, Some(GOOD)];
        assert_eq!(RecurrentStates::bytes_per_slot(&both[..2]), 4 * floats);
        assert_eq!(RecurrentStates::bytes_per_slot(&both), 8 * floats);
        assert_eq!(RecurrentStates::bytes_per_slot(&[None]), 0);
        assert!(RecurrentStates::new(&[None], 7).is_ok());
    }
}
