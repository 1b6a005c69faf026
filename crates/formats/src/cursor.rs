//! Turns the bytes of a header into numbers and strings, within its limits.
