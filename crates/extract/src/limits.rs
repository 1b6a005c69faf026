//! Turns "how much may a file ask for?" into constants, each with its reason.

/// Text of one file: some two million tokens, more than any context holds.
pub const TEXT_BYTES_MAX: usize = 8 << 20;

/// Pages of a PDF: the thickest books have some thousands.
pub const PAGES_MAX: usize = 5_000;

/// Letters of one page. A newspaper's has some 40,000; what has more draws in circles.
pub const GLYPHS_MAX: usize = 500_000;

/// XML of a DOCX: markup is some ten times its text.
pub const XML_BYTES_MAX: u64 = 64 << 20;

/// Bytes that are looked at to tell a file's kind.
pub const HEAD_BYTES: usize = 8 << 10;
