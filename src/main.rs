//! The `evpnd` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    evpnd::cli::main(evpnd::agent::run)
}
