//! The `evpnd` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    evpnd::cli::main(|_, _| anyhow::bail!("this build has no daemon"))
}
