//! The place where everything runs: network, mount and process namespaces of our own, so that daemons find empty
//! run directories, nothing is sent outside, and whatever happens nothing stays behind.
//!
//! The benchmark runs itself again inside them. When the outer process goes, by Ctrl-C or otherwise, the kernel
//! kills `unshare` (PR_SET_PDEATHSIG), that kills process 1 of the inner namespace, and with it go all daemons,
//! devices and files.
//!
//! All of it is one session, which gets more of the processors than others where the scheduler groups by session.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::Result;

/// Set in the inner process.
pub(crate) const INSIDE: &str = "EVPND_BENCH_INSIDE";
/// Where files of a run are; in memory, and gone with the namespaces.
pub(crate) const DIR: &str = "/run/evpnd-bench";

/// Where the daemon under test is: its BGP address and VTEP.
pub(crate) const DUT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The neighbour that announces.
pub(crate) const SENDER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// The neighbour that receives.
pub(crate) const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 3);

/// Are we inside?
pub(crate) fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs this program again, with the same arguments, inside.
pub(crate) fn enter() -> Result<ExitCode> {
    let exe = std::env::current_exe().map_err(|e| format!("finding this program: {e}"))?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]);
    command.arg("--mount-proc");
    let root = fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if !root {
        command.arg("--map-root-user");
    }
    command.args(["--", "setsid"]).arg(exe).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    let status = command.status().map_err(|e| format!("setpriv and unshare (package util-linux): {e}"))?;
    Ok(status
        .code()
        .map_or(ExitCode::FAILURE, |code| if code == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}

/// Makes the inner world: an empty /run, loopback with the addresses of all three, and a network behind a veth
/// pair in which the VTEPs of the announced routes would be.
pub(crate) fn furnish() -> Result<()> {
    run("mount", "-t tmpfs -o mode=755 tmpfs /run")?;
    run("mount", "-t sysfs sysfs /sys")?;
    fs::create_dir_all(DIR).map_err(|e| format!("{DIR}: {e}"))?;
    join_vty_group()?;
    // Other work on this machine shall spoil as little as possible: a session is scheduled as one (sched(7),
    // autogroup), and all of ours are one. Not permitted or not there: then it is as it is.
    let _ = fs::write("/proc/self/autogroup", "-10");
    run("ip", "link set lo up")?;
    for address in [DUT, SENDER, RECEIVER] {
        run("ip", &format!("addr add {address}/32 dev lo"))?;
    }
    run("ip", "link add underlay type veth peer name fabric")?;
    run("ip", "addr add 10.9.1.254/24 dev underlay")?;
    run("ip", "link set underlay up")?;
    run("ip", "link set fabric up")
}

/// FRR insists that its user, here root, is in the group `frrvty`; in this mount namespace it is.
fn join_vty_group() -> Result<()> {
    let groups = fs::read_to_string("/etc/group").map_err(|e| format!("/etc/group: {e}"))?;
    let joined = groups.lines().map(|line| match line.strip_prefix("frrvty:") {
        Some(rest) if rest.ends_with(':') => format!("{line}root\n"),
        Some(_) => format!("{line},root\n"),
        None => format!("{line}\n"),
    });
    let file = format!("{DIR}/group");
    fs::write(&file, joined.collect::<String>()).map_err(|e| format!("{file}: {e}"))?;
    run("mount", &format!("--bind {file} /etc/group"))
}

/// An empty directory for one daemon.
pub(crate) fn fresh_dir(name: &str) -> Result<String> {
    let dir = format!("{DIR}/{name}");
    if Path::new(&dir).exists() {
        fs::remove_dir_all(&dir).map_err(|e| format!("{dir}: {e}"))?;
    }
    fs::create_dir_all(&dir).map_err(|e| format!("{dir}: {e}"))?;
    Ok(dir)
}

/// Runs a command line without quoting; its error output is the error.
pub(crate) fn run(program: &str, arguments: &str) -> Result<()> {
    output(program, arguments).map(drop)
}

/// The same, and yields what it printed.
pub(crate) fn output(program: &str, arguments: &str) -> Result<String> {
    let done = Command::new(program).args(arguments.split_whitespace()).output();
    let done = done.map_err(|e| format!("{program}: {e}{}", crate::daemon::package_hint(program)))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(format!("{program} {arguments}: {}", String::from_utf8_lossy(&done.stderr).trim()))
    }
}
