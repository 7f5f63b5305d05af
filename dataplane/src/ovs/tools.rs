//! Open vSwitch's own tools, run as processes: `ovs-vsctl` for bridges and ports, `ovs-ofctl` for flows.
//!
//! What they say when they fail becomes one line: what was being done, why it did not work, and what to do about it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use super::process::{Lines, Running, Trouble, read, run};
use crate::backend::{Error, ErrorKind};

/// Seconds after which `ovs-vsctl` gives up: it waits for ovs-vswitchd to do what it wrote, if that runs or not.
const VSCTL_TIMEOUT: &str = "--timeout=5";
/// Seconds after which `ovs-ofctl` gives up: as long as a busy ovs-vswitchd may take for what is small, and for each
/// thousand lines of a bundle one more.
const PATIENCE: usize = 5;
/// Seconds to list all flows, however many there are.
const DUMP_PATIENCE: usize = 60;
/// The database is small; a larger answer is none.
const ANSWER: usize = 64 * 1024 * 1024;
/// What `ovs-ofctl` says when nobody serves the bridge.
const ABSENT: [&str; 3] =
    ["is not a bridge or a socket", "failed to connect to socket", "failed to open socket"];
/// What an operator is shown of an error.
const SHOWN: usize = 400;

/// Why a step did not work, so far as it changes what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Nothing of the kind works now: Open vSwitch is not there, or does not let us.
    Away,
    /// It did not answer in time. ovs-vswitchd does not while it has no connection to its database.
    Silent,
    /// What was asked for is refused; at this line of the input (the first is 0), if it said so.
    Refused(Option<usize>),
}

/// A step that did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What to do next.
    pub(crate) cause: Cause,
    /// What to say.
    pub(crate) error: Error,
}

impl Failure {
    /// Nothing works now.
    pub(crate) fn away(kind: ErrorKind, action: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { cause: Cause::Away, error: Error::new(kind, action, reason) }
    }
}

/// What the engine needs of Open vSwitch.
pub(crate) trait Tools: fmt::Debug {
    /// Runs `ovs-vsctl`; what it printed.
    fn vsctl(&self, action: &str, args: &[String]) -> Result<String, Failure>;

    /// Applies lines (`add …`, `delete_strict …`) to the bridge's flows, all or none.
    fn bundle(&self, lines: &str) -> Result<(), Failure>;

    /// The same, but only once it is told to: until then the lines are read and checked, and nothing is changed.
    fn ready(&self, lines: &str) -> Result<Box<dyn Ready>, Failure>;

    /// Gives every flow of the bridge, a line each; headings too.
    fn dump(&self, line: &mut dyn FnMut(&str)) -> Result<(), Failure>;

    /// The ports of the bridge as the switch has them: numbers and names (of 15 characters at most).
    fn ports(&self) -> Result<Vec<(u16, String)>, Failure>;

    /// Listens to what happens to the bridge's ports.
    fn monitor(&self) -> Result<Box<dyn Monitor>, Failure>;
}

/// A bundle that is ready to go. Dropped before it was told to, it changes nothing.
pub(crate) trait Ready: fmt::Debug + Send {
    /// Now.
    fn go(&mut self);

    /// Waits until it is in, or was refused.
    fn finish(self: Box<Self>) -> Result<(), Failure>;
}

/// What tells of ports that come and go.
pub(crate) trait Monitor: fmt::Debug + Send {
    /// Takes in what has been said; says whether there was news of ports, or that it is over.
    fn poll(&mut self) -> News;

    /// Becomes readable when there is news.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}

/// What a [`Monitor`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing.
    None,
    /// Ports came, went or changed.
    Ports,
    /// The connection to the bridge is lost; with what was said last.
    Ended(String),
}

/// The real tools.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    /// The bridge.
    pub(crate) bridge: String,
    /// The database's address, if not the usual one.
    pub(crate) db: Option<String>,
    /// The run directory, if not the usual one.
    pub(crate) rundir: Option<PathBuf>,
    /// `ovs-vsctl`.
    pub(crate) vsctl: PathBuf,
    /// `ovs-ofctl`.
    pub(crate) ofctl: PathBuf,
}

impl Commands {
    fn environment(&self, command: &mut Command) {
        command.env("LC_ALL", "C");
        // The terminal's Ctrl-C is for evpnd, which ends in its own order.
        command.process_group(0);
        if let Some(rundir) = &self.rundir {
            command.env("OVS_RUNDIR", rundir);
        }
    }

    fn ofctl(
        &self,
        action: &str,
        seconds: usize,
        args: &[&str],
        input: &str,
        line: &mut dyn FnMut(&str),
    ) -> Result<(), Failure> {
        let result = run(&mut self.ofctl_command(seconds, args), input.as_bytes(), line);
        self.ofctl_result(action, seconds, result)
    }

    fn ofctl_command(&self, seconds: usize, args: &[&str]) -> Command {
        let mut command = Command::new(&self.ofctl);
        command.args(["-O", "OpenFlow13", &format!("--timeout={seconds}")]).args(args);
        self.environment(&mut command);
        command
    }

    fn ofctl_result(
        &self,
        action: &str,
        seconds: usize,
        result: Result<String, Trouble>,
    ) -> Result<(), Failure> {
        match result {
            Ok(said) => {
                if !said.is_empty() {
                    tracing::debug!("{action}: ovs-ofctl says: {}", shown(&said));
                }
                Ok(())
            }
            Err(trouble) => Err(self.ofctl_failure(action, seconds, &trouble)),
        }
    }

    fn bundle_action(&self) -> String {
        format!("change flows of bridge {}", self.bridge)
    }

    fn vsctl_failure(&self, action: &str, trouble: &Trouble) -> Failure {
        let said = match trouble {
            Trouble::Start(error) => return start_failure(action, &self.vsctl, "vsctl", error),
            Trouble::TimedOut => {
                let reason =
                    "ovs-vswitchd does not answer: is it running? (systemctl status openvswitch-switch)";
                return Failure::away(ErrorKind::NoDevice, action, reason);
            }
            Trouble::Failed(said) => said,
        };
        if said.contains("database connection failed") {
            if said.contains("Permission denied") {
                let reason = format!(
                    "no permission for the Open vSwitch database ({}): run evpnd as root, or as a user that may use it",
                    shown(said)
                );
                return Failure::away(ErrorKind::Permission, action, reason);
            }
            let reason = format!(
                "ovsdb-server is not running ({}): start Open vSwitch (systemctl start openvswitch-switch), or \
                 say where it is with db in [dataplane.ovs]",
                shown(said)
            );
            return Failure::away(ErrorKind::NoDevice, action, reason);
        }
        Failure { cause: Cause::Refused(None), error: Error::new(ErrorKind::Other, action, shown(said)) }
    }

    fn ofctl_failure(&self, action: &str, seconds: usize, trouble: &Trouble) -> Failure {
        let bridge = &self.bridge;
        let said = match trouble {
            Trouble::Start(error) => return start_failure(action, &self.ofctl, "ofctl", error),
            Trouble::TimedOut => {
                let reason = format!("ovs-vswitchd did not answer within {seconds} s");
                return Failure {
                    cause: Cause::Silent,
                    error: Error::new(ErrorKind::NoDevice, action, reason),
                };
            }
            Trouble::Failed(said) => said,
        };
        let (kind, reason) = if said.contains("version negotiation failed") {
            (
                ErrorKind::Conflict,
                format!(
                    "the bridge does not speak OpenFlow 1.3: allow it with: ovs-vsctl add bridge {bridge} \
                     protocols OpenFlow13"
                ),
            )
        } else if said.contains("Permission denied") {
            (
                ErrorKind::Permission,
                format!(
                    "no permission for the bridge's OpenFlow socket ({}): run evpnd as root, or as a user that \
                     may use it",
                    shown(said)
                ),
            )
        } else if ABSENT.iter().any(|text| said.contains(text)) {
            (
                ErrorKind::NoDevice,
                format!(
                    "ovs-vswitchd does not serve bridge {bridge}: is it running? (systemctl status \
                     openvswitch-switch)"
                ),
            )
        } else if let Some(cause) = refusal(said) {
            return Failure { cause, error: Error::new(ErrorKind::Other, action, complaint(said)) };
        } else {
            (ErrorKind::NoDevice, format!("the connection to bridge {bridge} was lost ({})", shown(said)))
        };
        Failure::away(kind, action, reason)
    }
}

/// A tool that could not be started; `key` is where the configuration says which it is.
fn start_failure(action: &str, tool: &Path, key: &str, error: &io::Error) -> Failure {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => format!(
            "{} is not installed: install Open vSwitch (package openvswitch-switch), or say where it is \
             with {key} in [dataplane.ovs]",
            tool.display()
        ),
        _ => format!("{} cannot be run: {}", tool.display(), plain(error)),
    };
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Permission,
        _ => ErrorKind::Other,
    };
    Failure::away(kind, action, reason)
}

/// An I/O error in words, without Rust's "(os error 2)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Was the input refused? Then by which of its lines, if it says so: `ovs-ofctl: -:17: unknown …`.
fn refusal(said: &str) -> Option<Cause> {
    for line in said.lines() {
        if let Some(rest) = line.strip_prefix("ovs-ofctl: -:") {
            let number = rest.split(':').next().and_then(|n| n.parse::<usize>().ok());
            return Some(Cause::Refused(number.and_then(|n| n.checked_sub(1))));
        }
    }
    (said.contains("Error OFP") || said.contains("OFPT_ERROR")).then_some(Cause::Refused(None))
}

/// What is wrong with the input, without the numbers that are others the next time (of lines, of transactions).
fn complaint(said: &str) -> String {
    let text = shown(said);
    if let Some((number, rest)) = text.strip_prefix("-:").and_then(|rest| rest.split_once(':'))
        && number.bytes().all(|b| b.is_ascii_digit())
    {
        return rest.trim_start().to_owned();
    }
    text.split(" (OF1").next().unwrap_or_default().to_owned()
}

/// What a tool said, as one line: the tool's own line if there is one, else what its log says; without time stamps.
fn shown(said: &str) -> String {
    let own: Vec<&str> = said
        .lines()
        .filter_map(|l| l.strip_prefix("ovs-ofctl: ").or_else(|| l.strip_prefix("ovs-vsctl: ")))
        .filter(|l| !l.starts_with("The default log directory") && !l.starts_with("talking to "))
        .collect();
    let mut text = if own.is_empty() {
        // `2026-11-21T04:00:26Z|00001|vconn|WARN|text`
        let text = |l: &str| l.splitn(5, '|').last().unwrap_or(l).trim().to_owned();
        let lines: Vec<String> = said.lines().map(text).filter(|l| !l.is_empty()).take(3).collect();
        lines.join("; ")
    } else {
        own.into_iter().take(3).collect::<Vec<_>>().join("; ")
    };
    if text.len() > SHOWN {
        let end = (0..=SHOWN).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// ` 12(tap0): addr:…` of `dump-ports-desc`: number and name. The bridge's own port has no number there.
pub(crate) fn parse_port(line: &str) -> Option<(u16, String)> {
    let (head, _) = line.trim_start().rsplit_once("): addr:")?;
    let (number, name) = head.split_once('(')?;
    let number = number.parse().ok()?;
    let name = name.strip_prefix('"').and_then(|n| n.strip_suffix('"')).unwrap_or(name);
    Some((number, name.to_owned()))
}

impl Tools for Commands {
    fn vsctl(&self, action: &str, args: &[String]) -> Result<String, Failure> {
        let mut command = Command::new(&self.vsctl);
        if let Some(db) = &self.db {
            command.arg(format!("--db={db}"));
        }
        // Without --no-wait, so that what ovs-vswitchd has to say of it is heard; without reconnecting for ever.
        command.args([VSCTL_TIMEOUT, "--format=json"]).args(args);
        self.environment(&mut command);
        let mut text = String::new();
        let result = run(&mut command, b"", &mut |line| {
            if text.len() < ANSWER {
                text.push_str(line);
                text.push('\n');
            }
        });
        match result {
            Ok(said) if said.contains("Error detected while setting up") => {
                let error = Error::new(ErrorKind::Other, action, shown(&said));
                Err(Failure { cause: Cause::Refused(None), error })
            }
            Ok(_) => Ok(text),
            Err(trouble) => Err(self.vsctl_failure(action, &trouble)),
        }
    }

    fn bundle(&self, lines: &str) -> Result<(), Failure> {
        let action = self.bundle_action();
        let seconds = PATIENCE + lines.lines().count() / 1000;
        self.ofctl(&action, seconds, &["--bundle", "add-flows", &self.bridge, "-"], lines, &mut |_| {})
    }

    fn ready(&self, lines: &str) -> Result<Box<dyn Ready>, Failure> {
        // Its time runs from now, while the one before may still be at work.
        let seconds = 2 * (PATIENCE + lines.lines().count() / 1000);
        let mut command = self.ofctl_command(seconds, &["--bundle", "add-flows", &self.bridge, "-"]);
        match Running::start(&mut command, lines.as_bytes(), &mut |_| {}) {
            Ok(running) => Ok(Box::new(Bundle { tools: self.clone(), seconds, running })),
            Err(trouble) => Err(self.ofctl_failure(&self.bundle_action(), seconds, &trouble)),
        }
    }

    fn dump(&self, line: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        let action = format!("list flows of bridge {}", self.bridge);
        let args = ["--no-names", "--no-stats", "dump-flows", &self.bridge];
        self.ofctl(&action, DUMP_PATIENCE, &args, "", line)
    }

    fn ports(&self) -> Result<Vec<(u16, String)>, Failure> {
        let action = format!("list ports of bridge {}", self.bridge);
        let mut ports = Vec::new();
        self.ofctl(&action, PATIENCE, &["--no-names", "dump-ports-desc", &self.bridge], "", &mut |line| {
            ports.extend(parse_port(line));
        })?;
        Ok(ports)
    }

    fn monitor(&self) -> Result<Box<dyn Monitor>, Failure> {
        let action = format!("watch the ports of bridge {}", self.bridge);
        // A shell in between ends the monitor when our end of its stdin is closed, however we end. It says
        // everything on stderr. The 1 (octets of a packet) makes the switch send events to it at all.
        let script = r#""$@" </dev/null >/dev/null & exec >&- 2>&-; read -r _; kill -KILL $!; wait"#;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "evpnd-monitor"]).arg(&self.ofctl);
        command.args(["-O", "OpenFlow13", "monitor", &self.bridge, "1"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        self.environment(&mut command);
        let start = |error: io::Error| start_failure(&action, "/bin/sh".as_ref(), "ofctl", &error);
        let mut child = command.spawn().map_err(start)?;
        let output = child.stderr.take();
        let monitor = Watch { child, output, lines: Lines::default(), last: String::new() };
        if let Some(output) = &monitor.output {
            rustix::io::ioctl_fionbio(output, true).map_err(|e| start(e.into()))?;
        }
        Ok(Box::new(monitor))
    }
}

/// `ovs-ofctl --bundle add-flows`, which sends nothing before it has read everything.
#[derive(Debug)]
struct Bundle {
    tools: Commands,
    seconds: usize,
    running: Running,
}

impl Ready for Bundle {
    fn go(&mut self) {
        self.running.release();
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        let result = self.running.finish(&mut |_| {});
        self.tools.ofctl_result(&self.tools.bundle_action(), self.seconds, result)
    }
}

/// `ovs-ofctl monitor`, as it runs.
#[derive(Debug)]
struct Watch {
    child: Child,
    output: Option<ChildStderr>,
    lines: Lines,
    last: String,
}

impl Monitor for Watch {
    fn poll(&mut self) -> News {
        let Some(output) = &mut self.output else { return News::Ended(self.last.clone()) };
        let mut buffer = [0; 8 * 1024];
        let mut ports = false;
        match read(output, &mut buffer) {
            Ok(None) => {}
            Ok(Some(n)) if n > 0 => {
                let last = &mut self.last;
                self.lines.push(&buffer[..n], &mut |line| {
                    ports |= line.starts_with("OFPT_PORT_STATUS");
                    if line.starts_with("ovs-ofctl: ") {
                        last.clear();
                        last.extend(line.chars().take(SHOWN));
                    }
                });
            }
            Ok(_) | Err(_) => {
                self.output = None;
                return News::Ended(shown(&self.last));
            }
        }
        if ports { News::Ports } else { News::None }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests;
