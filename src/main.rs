//! The `evpnd` command.
#![forbid(unsafe_code)]

fn main() {}
