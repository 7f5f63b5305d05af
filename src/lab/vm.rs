//! The lab in a virtual machine, where this machine's own kernel cannot do what it takes: VLAN filtering.
//!
//! The machine is that of the tests (`.ci/vm`, which says what it is): Debian's kernel, this machine's file system, and in
//! it the same binary with the same arguments. Both scripts are part of the binary, and no file is made of them: this process
//! becomes the shell that runs them, so that signals, output and exit code need nobody in between.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::args::Layout;
use super::demo::{colourful, say};
use super::shape::Shape;
use super::world::{require_tools, search_path};
use super::{Error, PATIENCE, Result};

const SCRIPT: &str = include_str!("../../.ci/vm");
const GUEST: &str = include_str!("../../.ci/vm-init");
/// Its companion, for the script.
const INIT: &str = "EVPND_VM_INIT";
/// The directory in which the guest's files stay.
const OUT: &str = "EVPND_VM_OUT";
/// The seconds after which the machine is switched off.
const LIMIT: &str = "EVPND_VM_LIMIT";
/// The environment variable that decides whether a virtual machine is used: 1 is always, 0 never.
const CHOICE: &str = "EVPND_LAB_VM";

/// Why a lab cannot be here, on this machine's own kernel; `None`: it can.
pub(super) fn needed(shape: Shape) -> Result<Option<&'static str>> {
    match std::env::var(CHOICE).ok().as_deref() {
        Some("1") => return Ok(Some("as EVPND_LAB_VM says")),
        Some("0") => return Ok(None),
        _ if shape.layout != Layout::SingleDevice => return Ok(None),
        _ => {}
    }
    require_tools()?;
    let probe = script().arg("filtering").stdin(Stdio::null()).output();
    let probe = probe.map_err(|e| Error::new(format!("sh: {e}")))?;
    match probe.status.code() {
        Some(0) => Ok(None),
        Some(1) => Ok(Some("as this kernel has no VLAN filtering")),
        _ => Ok(Some("as no namespaces can be made here")),
    }
}

/// Runs this binary with these arguments in a virtual machine; what goes into the directory stays. Returns only if it
/// cannot.
pub(super) fn run(why: &str, args: &[String], out: &Path) -> Error {
    say(format!(
        "In a virtual machine with Debian's kernel, {why}: without help from the processor it is ten times slower.\n\
         It boots in some ten seconds.\n"
    ));
    become_machine(script().arg("run"), args, Some(out))
}

/// The same with the terminal, for a command that wants one.
pub(super) fn shell(args: &[String]) -> Error {
    become_machine(script().arg("shell"), args, None)
}

fn become_machine(script: &mut Command, args: &[String], out: Option<&Path>) -> Error {
    let failed = |what: &str, e: std::io::Error| Error::new(format!("{what}: {e}"));
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(e) => return failed("own path", e),
    };
    if let Some(out) = out {
        script.env(OUT, out);
    }
    let unless_set = [(PATIENCE, "5"), (LIMIT, "1800")];
    script.envs(unless_set.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()));
    if colourful() {
        script.env("CLICOLOR_FORCE", "1");
    }
    // Not into yet another one.
    script.arg(own).args(args).env(CHOICE, "0");
    failed("sh", script.exec())
}

/// The script, to be given its arguments.
fn script() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "vm"]).env("PATH", search_path()).env(INIT, GUEST);
    command
}

/// A directory as the guest finds it, too.
pub(super) fn absolute(dir: &Path) -> Result<PathBuf> {
    let fail = |e: std::io::Error| Error::new(format!("{}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(fail)?;
    dir.canonicalize().map_err(fail)
}
