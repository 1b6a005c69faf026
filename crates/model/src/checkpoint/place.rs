//! Turns the place of a tensor in a file into the tensors that stand there.

use myriad_formats::{TensorSource, TensorView};

/// Where a file has what GGUF has in one tensor.
pub(super) struct Place {
    /// The tensor; where there is one for each expert, what stands before its number.
    pub name: String,
    /// What stands behind that number.
    pub behind: String,
    /// What of it is meant.
    pub part: Part,
}

/// What of the tensors at a place is meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    /// One tensor, as it is.
    Whole,
    /// One tensor, without its dimensions of 1.
    Squeezed,
    /// One tensor with what norms have above 1.
    PlusOne,
    /// One tensor with the logarithms of what is taken away: `-exp(x)`.
    MinusExp,
    /// One tensor for each expert.
    Experts,
    /// One half of each expert's rows: gate, then up.
    Half(usize),
    /// Every other element of each row, from this one on: gate and up in turns.
    Alternate(usize),
    /// Each expert's matrix, transposed; of its rows all, or gate and up in turns.
    Transposed(Option<usize>),
    /// Blocks and scales of 4-bit floats; of their rows all, or gate and up in turns.
    Mxfp4(Option<usize>),
    /// The keys' rows in the matrix of latents, transposed.
    LatentKeys,
    /// The values' rows in the matrix of latents.
    LatentValues,
    /// What a gated delta net's first products have in one matrix, key head by key head.
    Delta(DeltaPart),
}

/// Rows of each key head in a matrix of several parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum DeltaPart {
    /// Queries, keys and values, of four parts.
    Qkv,
    /// The gate of the output, the last of the four.
    Gate,
    /// How much is learnt, of two.
    Beta,
    /// How much is forgotten, of two.
    Alpha,
}

impl Place {
    /// A part of one tensor.
    pub fn of(name: String, part: Part) -> Place {
        Place { name, behind: String::new(), part }
    }

    /// All of one tensor.
    pub fn whole(name: String) -> Place {
        Place::of(name, Part::Whole)
    }

    /// The tensors that stand there, experts in their order; none if something is missing.
    pub fn views<'a>(&self, file: &'a dyn TensorSource) -> Vec<TensorView<'a>> {
        let Place { name, behind, part } = self;
        match part {
            Part::Experts => (0..)
                .map_while(|expert| file.find_tensor(&format!("{name}{expert}{behind}")))
                .collect(),
            Part::Mxfp4(_) => {
                let parts = ["_blocks", "_scales"].map(|part| format!("{name}{part}"));
                let views = parts.iter().filter_map(|name| file.find_tensor(name));
                Some(views.collect::<Vec<_>>()).filter(|views| views.len() == 2).unwrap_or_default()
            }
            _ => file.find_tensor(name).into_iter().collect(),
        }
    }

    /// The name of what should be there.
    pub fn for_people(&self) -> String {
        match self.part {
            Part::Experts => format!("{}0{}", self.name, self.behind),
            Part::Mxfp4(_) => format!("{}_blocks", self.name),
            _ => self.name.clone(),
        }
    }
}
