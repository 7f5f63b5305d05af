//! A private world: a user (when not root), network, mount and process namespace that nothing outside can see and
//! that is gone, with every process in it, the moment its holder dies.
//!
//! The holder is `unshare … --fork --kill-child`; its child is process 1 of the world. That one reads from a pipe
//! whose other end only we have: when we end, by return, panic, ctrl-C or `kill -9`, the pipe closes, process 1
//! ends, and the kernel ends the rest. Told to stay (`evpnd lab up`) it sleeps until its holder is killed.
//!
//! Nodes are reached from outside through `/proc/<holder>/ns` and `/proc/<holder>/root/proc/<pid>`: mount namespaces
//! are deliberately not bound to files, because since Linux 6.18 binding one fails now and then (`EINVAL`: the check
//! against loops compares numbers that are no longer given out in order across CPUs).

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::{Error, Result};

/// What process 1 of a world does: its own /run (`ip netns` names live there), a loopback, then wait.
const INIT: &str = "mount -t tmpfs tmpfs /run && mkdir /run/netns && ip link set lo up || exit 1
echo ready
exec >/dev/null 2>&1
read -r word && [ \"$word\" = stay ] && exec sleep infinity";

/// A set of namespaces of our own.
#[derive(Debug)]
pub(crate) struct World {
    /// The process `unshare`, outside: the handle by which the world is entered and ended.
    holder: u32,
    /// Made inside a user namespace, where we are root.
    user: bool,
    /// Present when the world lives and dies with us.
    child: Mutex<Option<Child>>,
}

impl World {
    /// A detached world made earlier, by the pid of its holder.
    pub(crate) fn attach(holder: u32, user: bool) -> Self {
        Self { holder, user, child: Mutex::new(None) }
    }

    /// A world that ends when this value is dropped or this process ends in whatever way.
    pub(crate) fn new() -> Result<Self> {
        require_tools()?;
        let user = !is_root()?;
        let mut command = program("unshare");
        if user {
            command.args(["--user", "--map-root-user"]);
        }
        command
            .args(["--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "--", "sh", "-c"])
            .arg(INIT)
            // Not in our process group: a ctrl-C is for us alone, what it means for the world is our end.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| Error::new(format!("cannot run unshare: {e}")))?;
        let mut ready = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut ready).map_err(|e| Error::new(format!("unshare: {e}")))?;
        }
        if ready.trim() == "ready" {
            return Ok(Self { holder: child.id(), user, child: Mutex::new(Some(child)) });
        }
        let mut said = String::new();
        if let Some(mut err) = child.stderr.take() {
            let _ = err.read_to_string(&mut said);
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(Error::new(explain(user, said.trim())))
    }

    /// Lets the world outlive this process.
    pub(crate) fn stay(&self) -> Result<()> {
        let Some(mut child) = self.take() else { return Ok(()) };
        let told = child.stdin.take().map(|mut pipe| pipe.write_all(b"stay\n"));
        told.unwrap_or(Ok(())).map_err(|e| Error::new(format!("the lab has ended: {e}")))
    }

    /// Ends the world and all in it, unless it was told to stay.
    pub(crate) fn end(&self) {
        if let Some(mut child) = self.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn take(&self) -> Option<Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn holder(&self) -> u32 {
        self.holder
    }

    pub(crate) fn user(&self) -> bool {
        self.user
    }

    /// Where a path of process `pid` of this world is, seen from outside.
    pub(crate) fn path(&self, pid: u32, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root/proc/{pid}/root", self.holder)).join(path.trim_start_matches('/'))
    }

    /// `nsenter` into the namespaces of process `pid` of the world (1: the world itself), ready for a program.
    pub(crate) fn enter(&self, pid: u32) -> Command {
        let outside = format!("/proc/{}", self.holder);
        let inside = format!("{outside}/root/proc/{pid}");
        let mut command = program("nsenter");
        if self.user {
            command.args([&format!("--user={outside}/ns/user"), "--preserve-credentials"]);
        }
        command.args([
            &format!("--pid={outside}/ns/pid_for_children"),
            &format!("--net={inside}/ns/net"),
            &format!("--mount={inside}/ns/mnt"),
            "--",
        ]);
        command
    }
}

/// Whether this process is root.
pub(crate) fn is_root() -> Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").map(|m| m.uid() == 0).map_err(|e| Error::new(format!("/proc/self: {e}")))
}

/// Where programs are looked for: `PATH`, and where an ordinary user's does not lead (`bridge` is in /usr/sbin).
pub(crate) fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push("/usr/sbin:/sbin:/usr/bin:/bin");
    path
}

/// A program that finds others as we do.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", search_path());
    command
}

/// Looks for a program.
pub(crate) fn find(tool: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path()).map(|dir| dir.join(tool)).find(|file| file.is_file())
}

/// Sees whether all programs are there that every world needs.
pub(crate) fn require_tools() -> Result<()> {
    ["unshare", "nsenter", "ip", "bridge", "ping"].into_iter().try_for_each(require)
}

fn require(tool: &str) -> Result<()> {
    if find(tool).is_some() {
        return Ok(());
    }
    let package = match tool {
        "ip" | "bridge" => "iproute2",
        "ping" => "iputils-ping",
        _ => "util-linux",
    };
    Err(Error::new(format!("`{tool}` is not installed (Debian package {package})")))
}

/// Says why the namespaces were refused, and what to do.
fn explain(user: bool, said: &str) -> String {
    let sysctl =
        |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default().trim().to_owned();
    if !user {
        return format!("cannot make namespaces, though root: {said}");
    }
    let why = if sysctl("user/max_user_namespaces") == "0" {
        "sysctl user.max_user_namespaces is 0"
    } else if sysctl("kernel/unprivileged_userns_clone") == "0" {
        "sysctl kernel.unprivileged_userns_clone is 0"
    } else if sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" {
        "sysctl kernel.apparmor_restrict_unprivileged_userns is 1"
    } else {
        "this system does not let ordinary users make user namespaces"
    };
    format!("cannot make namespaces: {why} ({said}); change that, or run as root")
}
