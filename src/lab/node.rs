//! One node of a lab: a network and a mount namespace with a /run of its own, so that every daemon in it finds its
//! usual paths free (`/run/evpnd/evpnd.sock`, `/run/frr`), and the programs that run in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::world::World;
use super::{Error, Result, until};

/// Where a node keeps the configuration of its evpnd.
pub const CONFIG: &str = "/run/evpnd.toml";
/// The flood row's address.
pub const FLOOD: &str = "00:00:00:00:00:00";

/// A node of a lab; a cheap handle, clones are the same node.
#[derive(Clone, Debug)]
pub struct Node(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    world: Arc<World>,
    /// The process that holds the node's namespaces, as numbered inside the world.
    pid: u32,
    binary: PathBuf,
    underlays: AtomicUsize,
    daemons: Mutex<BTreeMap<String, Daemon>>,
}

#[derive(Debug)]
struct Daemon {
    argv: Vec<String>,
    /// The `nsenter` that waits for it.
    waiter: Option<Child>,
}

/// One row of a forwarding database, as `bridge -j fdb` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FdbRow {
    /// The address.
    pub mac: String,
    /// The VTEP, on a VXLAN device's own rows.
    pub dst: Option<String>,
    /// The bridge, on rows of the bridge.
    pub master: Option<String>,
    /// `self`, `master`, `extern_learn`, `sticky`…
    #[serde(default)]
    pub flags: BTreeSet<String>,
    /// `permanent`, `reachable`, or nothing.
    #[serde(default)]
    pub state: String,
    /// The VLAN.
    pub vlan: Option<u16>,
    /// The VNI the row belongs to, on a device that carries several.
    pub src_vni: Option<u32>,
}

impl Node {
    /// A new node in `world`.
    pub(super) fn new(world: &Arc<World>, name: &str, binary: &Path) -> Result<Self> {
        let mut holder = world.enter(1);
        holder
            .args(["unshare", "--net", "--mount", "--", "sh", "-c"])
            .arg("mount -t tmpfs tmpfs /run && mkdir /run/evpnd /run/log && ip link set lo up && echo $$ && exec >/dev/null 2>&1 && exec sleep infinity")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Not ours: who waits for the end of our stderr would wait for a lab that stays.
            .stderr(Stdio::null());
        let mut child = holder.spawn().map_err(|e| Error::new(format!("nsenter: {e}")))?;
        let mut pid = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut pid).map_err(|e| Error::new(format!("{name}: {e}")))?;
        }
        let pid =
            pid.trim().parse().map_err(|_| Error::new(format!("cannot make the namespaces of {name}")))?;
        let node = Self::attach(world, name, pid, binary);
        // The name `ip netns` knows it by, inside the world.
        run(node.0.world.enter(1).args(["ip", "netns", "attach", name, &pid.to_string()]))?;
        Ok(node)
    }

    /// A node made earlier, by another process.
    pub(super) fn attach(world: &Arc<World>, name: &str, pid: u32, binary: &Path) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            world: Arc::clone(world),
            pid,
            binary: binary.to_owned(),
            underlays: AtomicUsize::new(0),
            daemons: Mutex::new(BTreeMap::new()),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.pid
    }

    /// The number of the next underlay interface.
    pub(super) fn next_underlay(&self) -> usize {
        self.0.underlays.fetch_add(1, Ordering::Relaxed)
    }

    /// A program in this node, to be completed and run by the caller.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.0.world.enter(self.0.pid);
        command.arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a program to its end and gives its output; an error when it fails.
    pub fn run(&self, argv: &[&str]) -> Result<String> {
        let (program, args) = argv.split_first().ok_or_else(|| Error::new("nothing to run"))?;
        run(self.command(program).args(args)).map_err(|e| Error::new(format!("{}: {e}", self.name())))
    }

    /// Runs a shell script that stops at the first failure.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.run(&["sh", "-ec", script])
    }

    /// One of the node's own paths, seen from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.world.path(self.0.pid, path)
    }

    /// Writes a file under the node's own /run.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        fs::write(self.path(path), text).map_err(|e| Error::new(format!("{}: {path}: {e}", self.name())))
    }

    // ---- daemons -------------------------------------------------------------------------------------------------

    /// Starts a program that stays; what it prints goes to `/run/log/NAME`.
    pub fn spawn(&self, name: &str, argv: &[&str]) -> Result<()> {
        self.launch(name, argv.iter().map(|&s| s.to_owned()).collect())
    }

    fn launch(&self, name: &str, argv: Vec<String>) -> Result<()> {
        let pid_file = format!("/run/log/{name}.pid");
        let _ = fs::remove_file(self.path(&pid_file));
        let script = format!(
            "echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec \"$@\" >> /run/log/{name} 2>&1"
        );
        let waiter = self
            .command("sh")
            .args(["-c", &script, name])
            .args(&argv)
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| Error::new(format!("{name}: {e}")))?;
        self.daemons().insert(name.to_owned(), Daemon { argv, waiter: Some(waiter) });
        until(Duration::from_secs(10), || self.daemon_pid(name).map(drop))
    }

    /// The pid of a daemon as the node sees it.
    pub fn daemon_pid(&self, name: &str) -> Result<u32> {
        fs::read_to_string(self.path(&format!("/run/log/{name}.pid")))
            .ok()
            .and_then(|s| s.trim().parse().ok())
            .ok_or_else(|| Error::new(format!("{}: {name} was not started", self.name())))
    }

    /// Whether a daemon still runs.
    pub fn running(&self, name: &str) -> bool {
        let Ok(pid) = self.daemon_pid(name) else { return false };
        let stat = fs::read_to_string(self.path(&format!("/proc/{pid}/stat"))).unwrap_or_default();
        // The state follows the name in parentheses; Z and X are dead.
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    }

    /// Sends a signal to a daemon.
    pub fn signal(&self, name: &str, signal: &str) -> Result<()> {
        // The shell's own: the program is in a package that not every host has.
        self.sh(&format!("kill -{signal} {}", self.daemon_pid(name)?)).map(drop)
    }

    /// Sends a signal to a daemon and waits until it has ended; its exit code, when it left one.
    pub fn stop(&self, name: &str, signal: &str) -> Result<Option<i32>> {
        self.signal(name, signal)?;
        self.wait(name)
    }

    /// Waits until a daemon has ended by itself.
    pub fn wait(&self, name: &str) -> Result<Option<i32>> {
        until(Duration::from_secs(15), || {
            if self.running(name) {
                Err(Error::new(format!("{}: {name} does not end", self.name())))
            } else {
                Ok(())
            }
        })?;
        let waiter = self.daemons().get_mut(name).and_then(|d| d.waiter.take());
        Ok(waiter.and_then(|mut w| w.wait().ok()).and_then(|status| status.code()))
    }

    /// Starts a daemon again that was stopped, with the same arguments.
    pub fn restart(&self, name: &str) -> Result<()> {
        let argv = self.daemons().get(name).map(|d| d.argv.clone());
        self.launch(
            name,
            argv.ok_or_else(|| Error::new(format!("{}: {name} was never started", self.name())))?,
        )
    }

    /// What a daemon has printed so far.
    pub fn log(&self, name: &str) -> String {
        let bytes = fs::read(self.path(&format!("/run/log/{name}"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn daemons(&self) -> MutexGuard<'_, BTreeMap<String, Daemon>> {
        self.0.daemons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- evpnd ---------------------------------------------------------------------------------------------------

    /// Writes the configuration and starts evpnd; returns when it answers on its socket.
    pub fn evpnd(&self, config: &str) -> Result<()> {
        self.write(CONFIG, config)?;
        let binary = self.0.binary.to_string_lossy().into_owned();
        self.spawn("evpnd", &[&binary, "run", "-c", CONFIG])?;
        self.answering()
    }

    /// Starts evpnd again after [`Node::kill9`] or [`Node::stop`].
    pub fn start(&self) -> Result<()> {
        self.restart("evpnd")?;
        self.answering()
    }

    /// `kill -9` for evpnd.
    pub fn kill9(&self) -> Result<()> {
        self.stop("evpnd", "KILL").map(drop)
    }

    fn answering(&self) -> Result<()> {
        until(Duration::from_secs(15), || {
            if !self.running("evpnd") {
                return Err(Error::last(format!(
                    "{}: evpnd ended:\n{}",
                    self.name(),
                    tail(&self.log("evpnd"), 20)
                )));
            }
            self.show("summary").map(drop)
        })
    }

    /// Runs `evpnd ARGS` in the node, whatever becomes of it.
    pub fn evpnd_output(&self, args: &[&str]) -> Result<Output> {
        self.command("timeout")
            .args(["-k", "1", "20"])
            .arg(&self.0.binary)
            .args(args)
            .output()
            .map_err(|e| Error::new(format!("{}: evpnd: {e}", self.name())))
    }

    /// Runs `evpnd ARGS` in the node and gives what it prints; an error when it fails.
    pub fn evpnd_run(&self, args: &[&str]) -> Result<String> {
        let output = self.evpnd_output(args)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::new(format!(
            "{}: evpnd {}: {}: {}",
            self.name(),
            args.join(" "),
            output.status,
            said.trim()
        )))
    }

    /// `evpnd show WHAT --json`.
    pub fn show(&self, what: &str) -> Result<Value> {
        let text = self.evpnd_run(&["show", what, "--json"])?;
        serde_json::from_str(&text)
            .map_err(|e| Error::new(format!("{}: show {what}: {e}: {text}", self.name())))
    }

    /// The rows of `evpnd show WHAT --json` (an array).
    pub fn rows(&self, what: &str) -> Result<Vec<Value>> {
        match self.show(what)? {
            Value::Array(rows) => Ok(rows),
            other => Err(Error::new(format!("{}: show {what} is no array: {other}", self.name()))),
        }
    }

    /// The state of the session with a neighbour; `None` when it is not known.
    pub fn session(&self, address: &str) -> Result<Option<String>> {
        let rows = self.rows("neighbors")?;
        let row = rows.iter().find(|row| row["address"] == address);
        Ok(row.and_then(|row| row["state"].as_str()).map(str::to_owned))
    }

    // ---- what the kernel has -------------------------------------------------------------------------------------

    /// The forwarding rows of a device.
    pub fn fdb(&self, device: &str) -> Result<Vec<FdbRow>> {
        let text = self.run(&["bridge", "-j", "fdb", "show", "dev", device])?;
        serde_json::from_str(&text)
            .map_err(|e| Error::new(format!("{}: bridge -j fdb: {e}: {text}", self.name())))
    }

    /// The VTEPs a VXLAN device floods to.
    pub fn flood(&self, device: &str) -> Result<BTreeSet<String>> {
        Ok(self.fdb(device)?.into_iter().filter(|row| row.mac == FLOOD).filter_map(|row| row.dst).collect())
    }

    /// The VTEP each remote MAC of a VXLAN device is behind.
    pub fn remote_macs(&self, device: &str) -> Result<BTreeMap<String, String>> {
        let rows = self.fdb(device)?.into_iter().filter(|row| row.mac != FLOOD);
        Ok(rows.filter_map(|row| row.dst.map(|dst| (row.mac, dst))).collect())
    }

    /// The VXLAN device that carries a VNI.
    pub fn vxlan(&self, vni: u32) -> Result<String> {
        let text = self.run(&["ip", "-d", "-j", "link", "show", "type", "vxlan"])?;
        let links: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        let found = links.iter().find(|link| link["linkinfo"]["info_data"]["id"] == vni);
        let name = found.and_then(|link| link["ifname"].as_str());
        name.map(str::to_owned)
            .ok_or_else(|| Error::new(format!("{}: no VXLAN device for VNI {vni}", self.name())))
    }

    /// The bridge a device is a port of.
    pub fn bridge_of(&self, device: &str) -> Result<String> {
        let text = self.run(&["ip", "-j", "link", "show", "dev", device])?;
        let link: Value = serde_json::from_str(&text).unwrap_or_default();
        let master = link[0]["master"].as_str().map(str::to_owned);
        master.ok_or_else(|| Error::new(format!("{}: {device} is in no bridge", self.name())))
    }

    /// One ping; an error when no answer comes within two seconds.
    pub fn ping(&self, to: &str) -> Result<()> {
        self.run(&["ping", "-n", "-c", "1", "-W", "2", to])
            .map(drop)
            .map_err(|_| Error::new(format!("{}: no answer from {to}", self.name())))
    }

    /// What went on here, for a failure's report: the ends of the logs and the kernel's tables.
    pub fn report(&self) -> String {
        let mut text = String::new();
        let names: Vec<String> = self.daemons().keys().cloned().collect();
        for name in &names {
            let state = if self.running(name) { "running" } else { "ended" };
            let _ = writeln!(
                text,
                "---- {}: {name} ({state}), its last words:\n{}",
                self.name(),
                tail(&self.log(name), 40)
            );
        }
        if !names.is_empty() {
            for argv in [&["bridge", "fdb", "show"][..], &["ip", "-br", "link"], &["ip", "-br", "address"]] {
                let out = self.run(argv).unwrap_or_else(|e| e.to_string());
                let _ = writeln!(text, "---- {}: {}\n{}", self.name(), argv.join(" "), tail(&out, 60));
            }
            text += &self.ovs().report();
        }
        text
    }
}

/// Runs a command to its end and gives its output; an error with what it said when it fails.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let line = || {
        let args: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
        // What follows nsenter's own arguments is what somebody wanted to run.
        let start = args.iter().position(|a| a == "--").map_or(0, |at| at + 1);
        args[start..].join(" ")
    };
    let line = line();
    let output = command.stdin(Stdio::null()).output().map_err(|e| Error::new(format!("{line}: {e}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("`{line}`: {}: {}", output.status, said.trim())))
}

/// The last lines of a text, the long ones cut.
fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let last = all[all.len().saturating_sub(lines)..].iter();
    last.map(|line| line.chars().take(300).collect::<String>()).collect::<Vec<_>>().join("\n")
}
