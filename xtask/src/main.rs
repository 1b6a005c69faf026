//! The `myriad` binary.
fn main() {}
