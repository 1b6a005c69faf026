//! Turns the type numbers of a file into types, or into words about why not.

use myriad_kernels::BlockType;

/// The types of metadata values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    const ALL: [ValueType; 13] = [
        ValueType::U8,
        ValueType::I8,
        ValueType::U16,
        ValueType::I16,
        ValueType::U32,
        ValueType::I32,
        ValueType::F32,
        ValueType::Bool,
        ValueType::String,
        ValueType::Array,
        ValueType::U64,
        ValueType::I64,
        ValueType::F64,
    ];

    /// The type of that number.
    pub(crate) fn from_id(id: u32) -> Option<ValueType> {
        ValueType::ALL.into_iter().find(|kind| *kind as u32 == id)
    }

    /// The name, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ValueType::U8 => "u8",
            ValueType::I8 => "i8",
            ValueType::U16 => "u16",
            ValueType::I16 => "i16",
            ValueType::U32 => "u32",
            ValueType::I32 => "i32",
            ValueType::F32 => "f32",
            ValueType::Bool => "bool",
            ValueType::String => "string",
            ValueType::Array => "array",
            ValueType::U64 => "u64",
            ValueType::I64 => "i64",
            ValueType::F64 => "f64",
        }
    }

    /// Least bytes that a value takes in a file: a string may be empty behind its length.
    pub(crate) fn bytes_min(self) -> u64 {
        match self {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => 1,
            ValueType::U16 | ValueType::I16 => 2,
            ValueType::U32 | ValueType::I32 | ValueType::F32 => 4,
            ValueType::U64 | ValueType::I64 | ValueType::F64 | ValueType::String => 8,
            ValueType::Array => 12,
        }
    }
}

/// Why a type number names no weights that Myriad can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TypeFault {
    /// ggml has it, Myriad has not.
    Unsupported(&'static str),
    /// ggml had it once.
    Removed(&'static str),
    /// Nobody has it.
    Unknown,
}

/// The number of a block type in a file, as in ggml's `enum ggml_type`.
pub(crate) fn block_type_id(kind: BlockType) -> u32 {
    match kind {
        BlockType::F32 => 0,
        BlockType::F16 => 1,
        BlockType::Q4_0 => 2,
        BlockType::Q4_1 => 3,
        BlockType::Q5_0 => 6,
        BlockType::Q5_1 => 7,
        BlockType::Q8_0 => 8,
        BlockType::Q2K => 10,
        BlockType::Q3K => 11,
        BlockType::Q4K => 12,
        BlockType::Q5K => 13,
        BlockType::Q6K => 14,
        BlockType::IQ4NL => 20,
        BlockType::IQ4XS => 23,
        BlockType::BF16 => 30,
        BlockType::MXFP4 => 39,
    }
}

/// The block type of a number.
pub(crate) fn block_type(id: u32) -> Result<BlockType, TypeFault> {
    if let Some(kind) = BlockType::ALL.into_iter().find(|kind| block_type_id(*kind) == id) {
        return Ok(kind);
    }
    Err(match id {
        4 => TypeFault::Removed("Q4_2"),
        5 => TypeFault::Removed("Q4_3"),
        31 => TypeFault::Removed("Q4_0_4_4"),
        32 => TypeFault::Removed("Q4_0_4_8"),
        33 => TypeFault::Removed("Q4_0_8_8"),
        36 => TypeFault::Removed("IQ4_NL_4_4"),
        37 => TypeFault::Removed("IQ4_NL_4_8"),
        38 => TypeFault::Removed("IQ4_NL_8_8"),
        _ => UNSUPPORTED
            .iter()
            .find(|(number, _)| *number == id)
            .map_or(TypeFault::Unknown, |(_, name)| TypeFault::Unsupported(name)),
    })
}

/// The names of all types that Myriad computes with, for people.
pub(crate) fn supported_types() -> String {
    BlockType::ALL.map(BlockType::name).join(", ")
}

/// Types of ggml that Myriad does not compute with.
const UNSUPPORTED: &[(u32, &str)] = &[
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (40, "NVFP4"),
    (41, "Q1_0"),
    (42, "Q2_0"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_meaning() {
        for kind in BlockType::ALL {
            assert_eq!(block_type(block_type_id(kind)), Ok(kind));
        }
        for id in 0..=42 {
            assert_ne!(block_type(id), Err(TypeFault::Unknown), "type {id}");
        }
        assert_eq!(block_type(43), Err(TypeFault::Unknown));
        assert_eq!(block_type(u32::MAX), Err(TypeFault::Unknown));
        for id in 0..13 {
            assert_eq!(ValueType::from_id(id).map(|kind| kind as u32), Some(id));
        }
        assert_eq!(ValueType::from_id(13), None);
    }
}
