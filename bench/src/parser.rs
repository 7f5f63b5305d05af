//! The parser, next to copying the same octets out by hand: the figures of `bgp/benches/parse.rs`.

use std::ffi::OsString;
use std::process::Command;

use crate::Result;

/// The lines that the goal is about.
pub(crate) const UPDATE: &str = "evpnd: UPDATE with attributes, n=40";
pub(crate) const BY_HAND: &str = "UPDATE by hand, reused buffers, n=40";

/// Builds the measurement.
pub(crate) fn build() -> Result<()> {
    let status = cargo().args(["bench", "-p", "evpnd-bgp", "--bench", "parse", "--no-run"]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("building the parser's benchmark: {status}")),
        Err(e) => Err(format!("building the parser's benchmark: cargo: {e}")),
    }
}

/// Runs it: each line's name and figure, in nanoseconds a NLRI unless it says `ratio`.
pub(crate) fn measure() -> Result<Vec<(String, f64)>> {
    let output =
        cargo().args(["bench", "--quiet", "--offline", "-p", "evpnd-bgp", "--bench", "parse"]).output();
    let output = output.map_err(|e| format!("cargo bench: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo bench: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let lines: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().filter_map(figure).collect();
    let complete = [UPDATE, BY_HAND].iter().all(|name| lines.iter().any(|(n, _)| n == name));
    if complete {
        Ok(lines)
    } else {
        Err(format!("bgp/benches/parse.rs prints no `{UPDATE}` or no `{BY_HAND}`"))
    }
}

/// Under `cargo run`, the same cargo.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// A name and a number at the end of a line.
fn figure(line: &str) -> Option<(String, f64)> {
    let (name, number) = line.trim_end().rsplit_once(' ')?;
    Some((name.trim_end().to_owned(), number.parse().ok()?))
}
