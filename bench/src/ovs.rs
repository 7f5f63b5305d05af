//! An Open vSwitch of our own: ovsdb-server and ovs-vswitchd with the userspace datapath, in their usual places below
//! the sandbox's empty /run, and the two ways its flows are counted and watched.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use crate::clock::{now, poll};
use crate::{Result, sandbox};

const RUN: &str = "/run/openvswitch";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// The bridge of all measurements.
pub(crate) const BRIDGE: &str = "br-evpn";

/// A running switch; ends with this.
pub(crate) struct Switch {
    children: Vec<Child>,
}

impl Switch {
    /// Starts one with an empty bridge and so many ports, numbered from 1.
    pub(crate) fn start(ports: usize) -> Result<Self> {
        let mut switch = Self { children: Vec::new() };
        if fs::exists(RUN).is_ok_and(|there| there) {
            fs::remove_dir_all(RUN).map_err(|e| format!("{RUN}: {e}"))?;
        }
        fs::create_dir_all(RUN).map_err(|e| format!("{RUN}: {e}"))?;
        sandbox::run("ovsdb-tool", &format!("create {RUN}/conf.db {SCHEMA}"))?;
        switch.child(
            "ovsdb-server",
            &format!("{RUN}/conf.db --remote=punix:{RUN}/db.sock --pidfile -vfile:off"),
        )?;
        let socket = || fs::exists(format!("{RUN}/db.sock")).is_ok_and(|there| there).then_some(());
        poll(Duration::from_secs(10), Duration::from_millis(20), socket)
            .ok_or("ovsdb-server does not start")?;
        sandbox::run("ovs-vsctl", "--no-wait init")?;
        switch.child("ovs-vswitchd", "--disable-system --pidfile -vfile:off -vsyslog:off")?;
        sandbox::run(
            "ovs-vsctl",
            &format!(
                "--timeout=20 add-br {BRIDGE} -- set bridge {BRIDGE} datapath_type=netdev fail_mode=secure"
            ),
        )?;
        for first in (1..=ports).step_by(100) {
            let some = (first..(first + 100).min(ports + 1)).map(|n| {
                format!("-- add-port {BRIDGE} p{n} -- set interface p{n} type=internal ofport_request={n} ")
            });
            sandbox::run("ovs-vsctl", &format!("--timeout=120 {}", some.collect::<String>()))?;
        }
        Ok(switch)
    }

    fn child(&mut self, program: &str, arguments: &str) -> Result<()> {
        let mut command = Command::new(program);
        command.args(arguments.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn();
        let child = child.map_err(|e| format!("{program}: {e}{}", crate::daemon::package_hint(program)))?;
        self.children.push(child);
        Ok(())
    }

    /// Both processes, the switch itself last.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            // Both fail only if it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How many flows a table has: the switch keeps count, so that asking costs it nothing. One that is being configured
/// drops its connections: asked again for a second.
pub(crate) fn flows(table: u8) -> Result<usize> {
    let command = format!("-O OpenFlow13 dump-tables {BRIDGE}");
    let mut last = String::new();
    let count = poll(Duration::from_secs(1), Duration::from_millis(20), || {
        let text = sandbox::output("ovs-ofctl", &command).map_err(|error| last = error).ok()?;
        active(&text, table)
    });
    count.ok_or(last)
}

/// `table 30:` and on the next line `active=17, …`; tables like the one before are `tables 1...29: ditto`.
fn active(text: &str, table: u8) -> Option<usize> {
    let mut lines = text.lines().map(str::trim);
    let mut last = None;
    while let Some(line) = lines.next() {
        let Some((numbers, rest)) =
            line.strip_prefix("table").and_then(|l| l.trim_start_matches('s').split_once(':'))
        else {
            continue;
        };
        let (from, to) = numbers.trim().split_once("...").unwrap_or((numbers.trim(), numbers.trim()));
        // A table may have a name: `table 0 ("classify"):`.
        let number = |text: &str| text.split(' ').next().and_then(|n| n.parse::<u8>().ok());
        if !rest.contains("ditto") {
            let count =
                lines.next().and_then(|l| l.strip_prefix("active=")).and_then(|l| l.split(',').next());
            last = count.and_then(|n| n.parse().ok());
        }
        if (number(from)?..=number(to)?).contains(&table) {
            return last;
        }
    }
    None
}

/// Waits until a table has exactly so many flows; the time since `start`, or `None` when `limit` has passed.
pub(crate) fn wait(table: u8, count: usize, start: Instant, limit: Duration) -> Result<Option<Duration>> {
    while flows(table)? != count {
        if start.elapsed() > limit {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Some(start.elapsed()))
}

/// The flows of a table as lines for `ovs-ofctl add-flows`.
pub(crate) fn file_of(table: u8, file: &str) -> Result<usize> {
    let command = format!("-O OpenFlow13 --no-names --no-stats dump-flows {BRIDGE} table={table}");
    let text = sandbox::output("ovs-ofctl", &command)?;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| line.starts_with("cookie=")).collect();
    fs::write(file, lines.join("\n") + "\n").map_err(|e| format!("{file}: {e}"))?;
    Ok(lines.len())
}

/// Hears of every flow of a table that comes, from the switch itself.
pub(crate) struct Monitor {
    child: Child,
    heard: Receiver<(Instant, String)>,
}

impl Monitor {
    pub(crate) fn start(table: u8) -> Result<Self> {
        let mut command = Command::new("ovs-ofctl");
        command.args(["monitor", BRIDGE, &format!("watch:!initial,!delete,!modify,table={table}")]);
        // What it hears goes to stderr.
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|e| format!("ovs-ofctl monitor: {e}"))?;
        let output = child.stderr.take().ok_or("no output of ovs-ofctl monitor")?;
        let (sender, heard) = sync_channel(1024);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                if line.contains("event=ADDED") && sender.send((now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, heard })
    }

    /// Waits for a flow with these words in it; when it came.
    pub(crate) fn wait(&self, words: &str, limit: Duration) -> Option<Instant> {
        loop {
            let (at, line) = self.heard.recv_timeout(limit).ok()?;
            if line.contains(words) {
                return Some(at);
            }
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::active;

    #[test]
    fn counts_are_found() {
        let text = "OFPST_TABLE reply (OF1.3) (xid=0x2):\n  table 0:\n    active=3, lookup=0, matched=0\n\n  \
                    tables 1...29: ditto\n\n  table 30:\n    active=17, lookup=0, matched=0\n\n  tables 31...253: ditto\n";
        assert_eq!([0, 7, 30, 253].map(|table| active(text, table)), [Some(3), Some(3), Some(17), Some(17)]);
        assert_eq!(active(text, 254), None);
    }
}
