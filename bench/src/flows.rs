//! UPDATEs and client files on one side, flows in Open vSwitch on the other: evpnd, `ovs-ofctl` by hand, and
//! evpn-connector with gobgpd where it is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::clock::now;
use crate::daemon::{Daemon, Kind, SENDER_ASN, VNI};
use crate::ovs::{self, BRIDGE, Monitor, Switch};
use crate::peer::{Counted, Peer};
use crate::process::{self, Usage};
use crate::sandbox::{self, DUT, RECEIVER, SENDER};
use crate::wire::Table;

/// Where evpnd has its flows for remote MACs, and evpn-connector its own.
const BRIDGE_TABLE: u8 = 30;
const CONNECTOR_TABLE: u8 = 1;
/// Where evpnd delivers to clients.
const DELIVER_TABLE: u8 = 60;
/// One MAC at a time, so often.
const SINGLES: usize = 50;

/// Who turns routes into flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Agent {
    Evpnd,
    /// gobgpd and this program.
    Connector(PathBuf),
}

/// One run of many MACs.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// First octet of the first UPDATE written → all flows there.
    pub(crate) install: Option<Duration>,
    /// First octet of the first withdrawing UPDATE written → all gone.
    pub(crate) remove: Option<Duration>,
    /// With all of them there.
    pub(crate) usage: Usage,
    /// Processor time for installing them, of the daemon and the tools it ran.
    pub(crate) cpu: Duration,
    /// `ovs-ofctl --bundle add-flows` of the same flows, afterwards, into the same switch.
    pub(crate) by_hand: Option<Duration>,
    /// One more MAC with all of these there: first octet written → its flow there; sorted.
    pub(crate) singles: Vec<Duration>,
}

/// Many MACs from a neighbour.
pub(crate) fn measure(agent: &Agent, macs: usize, limit: Duration) -> Result<Sample> {
    let switch = Switch::start(1)?;
    let clients = client_files(1)?;
    let daemon = start(agent, &clients, false)?;
    let measured = || {
        let table = table_of(agent);
        let sender = Peer::connect(SENDER, DUT, SENDER_ASN, Counted::Macs(0), Duration::from_secs(20))?;
        let routes = Table::one_vni(macs + SINGLES, VNI, SENDER_ASN);
        sender.send(&routes.announce_vteps())?;
        daemon.quiet();
        let base = settled(table)?;
        let (mut announcement, mut singles) = (Vec::new(), Vec::new());
        for start in (0..macs).step_by(crate::wire::PACKED) {
            routes.announce_some(start..(start + crate::wire::PACKED).min(macs), &mut announcement);
        }
        let before = daemon.usage_with_children();
        let start = now();
        sender.send(&announcement)?;
        let install = ovs::wait(table, base + macs, start, limit)?;
        let usage = daemon.usage();
        let cpu = daemon.usage_with_children().cpu.saturating_sub(before.cpu);
        let mut by_hand = None;
        let mut remove = None;
        if install.is_some() {
            if *agent == Agent::Evpnd {
                daemon.quiet();
                let monitor = Monitor::start(table)?;
                for index in macs..macs + SINGLES {
                    let mut update = Vec::new();
                    routes.announce_some(index..index + 1, &mut update);
                    // Long enough for everybody to be asleep again, and not a beat that a timer could share.
                    std::thread::sleep(Duration::from_micros(30_000 + 137 * (index as u64 % 50)));
                    let start = now();
                    sender.send(&update)?;
                    let [a, b, c, d, e, f] = Table::mac(index);
                    let words = format!("dl_dst={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
                    let came = monitor.wait(&words, Duration::from_secs(10));
                    singles.push(came.ok_or_else(|| format!("MAC {index} has no flow after 10 s"))? - start);
                }
                singles.sort_unstable();
            }
            let file = format!("{}/flows", sandbox::fresh_dir("by-hand")?);
            let lines = ovs::file_of(table, &file)?;
            let start = now();
            sender.send(&routes.withdraw())?;
            remove = ovs::wait(table, base, start, limit)?;
            if *agent == Agent::Evpnd {
                by_hand = Some(add_by_hand(&file, lines, table, base + macs)?);
            }
        }
        Ok(Sample { install, remove, usage, cpu, by_hand, singles })
    };
    let result = measured().map_err(|e: String| daemon.explain(&e));
    drop(daemon);
    drop(switch);
    result
}

/// The same flows, put back by `ovs-ofctl` itself.
fn add_by_hand(file: &str, lines: usize, table: u8, least: usize) -> Result<Duration> {
    let start = now();
    let mut command = Command::new("ovs-ofctl");
    command.args(["-O", "OpenFlow13", "--bundle", "add-flows", BRIDGE, file]);
    let status = command.stdin(Stdio::null()).status().map_err(|e| e.to_string())?;
    let took = start.elapsed();
    let there = ovs::flows(table)?;
    if status.success() && there >= lines.max(least) {
        Ok(took)
    } else {
        Err(format!("ovs-ofctl add-flows: {status}, {there} of {lines} flows"))
    }
}

/// Client files at start.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// Started → a neighbour has the type 2 of each client.
    pub(crate) routes: Option<Duration>,
    /// Started → the flows that deliver to each client are there.
    pub(crate) flows: Option<Duration>,
}

/// So many client files, each with a port of its own, and a neighbour that listens.
pub(crate) fn start_with(agent: &Agent, clients: usize, limit: Duration) -> Result<Start> {
    let switch = Switch::start(clients)?;
    let dir = client_files(clients)?;
    let began = now();
    let daemon = start(agent, &dir, true)?;
    let measured = || {
        let deliver = if *agent == Agent::Evpnd { DELIVER_TABLE } else { CONNECTOR_TABLE };
        std::thread::scope(|scope| {
            let heard = scope.spawn(|| -> Result<Option<Duration>> {
                let peer = Peer::connect(
                    RECEIVER,
                    DUT,
                    crate::daemon::RECEIVER_ASN,
                    Counted::Macs(clients),
                    Duration::from_secs(20),
                )?;
                peer.wait_for(clients, began, limit)
            });
            let flows = at_least(deliver, clients, began, limit);
            let routes = heard.join().expect("it does not panic")?;
            Ok(Start { routes, flows: flows? })
        })
    };
    let result = measured().map_err(|e: String| daemon.explain(&e));
    drop(daemon);
    drop(switch);
    result
}

/// Processor time within `span` with so many flows there and nothing happening, of the daemon and its tools.
pub(crate) fn idle(agent: &Agent, macs: usize, span: Duration) -> Result<Duration> {
    let switch = Switch::start(1)?;
    let clients = client_files(1)?;
    let daemon = start(agent, &clients, false)?;
    let measured = || {
        let table = table_of(agent);
        let sender = Peer::connect(SENDER, DUT, SENDER_ASN, Counted::Macs(0), Duration::from_secs(20))?;
        let routes = Table::one_vni(macs, VNI, SENDER_ASN);
        sender.send(&routes.announce_vteps())?;
        sender.send(&routes.announce())?;
        let start = now();
        at_least(table, macs, start, Duration::from_secs(60))?.ok_or("the flows do not come")?;
        daemon.quiet();
        let before = daemon.usage_with_children().cpu + process::usage(&switch.pids()).cpu;
        std::thread::sleep(span);
        Ok((daemon.usage_with_children().cpu + process::usage(&switch.pids()).cpu).saturating_sub(before))
    };
    measured().map_err(|e: String| daemon.explain(&e))
}

fn table_of(agent: &Agent) -> u8 {
    if *agent == Agent::Evpnd { BRIDGE_TABLE } else { CONNECTOR_TABLE }
}

/// Waits until a table has at least so many flows.
fn at_least(table: u8, count: usize, start: Instant, limit: Duration) -> Result<Option<Duration>> {
    while ovs::flows(table)? < count {
        if start.elapsed() > limit {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Some(start.elapsed()))
}

/// The number of flows once it stays the same for two seconds (evpn-connector looks every three).
fn settled(table: u8) -> Result<usize> {
    let mut last = (ovs::flows(table)?, now());
    let start = now();
    while last.1.elapsed() < Duration::from_secs(4) && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(200));
        let there = ovs::flows(table)?;
        if there != last.0 {
            last = (there, now());
        }
    }
    Ok(last.0)
}

/// Files that both read: l2, flat, a hundred clients to a VNI, a port each.
fn client_files(clients: usize) -> Result<String> {
    let dir = sandbox::fresh_dir("clients")?;
    for index in 0..clients {
        let [a, b, c, d, e, f] = Table::mac(index);
        // The one client of the measurements with remote MACs must not have a MAC that is announced.
        let first = if clients == 1 { 6 } else { a };
        let vni = VNI + (index / 100) as u32;
        let text = format!(
            "{{\"cfg_type\": \"l2\", \"mac\": \"{first:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}\", \"ip\": \"10.{}.{}.{}\", \
             \"vni\": {vni}, \"ofport\": {}, \"type\": \"flat\", \"tag\": 0, \"imp_rt\": [\"65000:{vni}\"], \
             \"exp_rt\": [\"65000:{vni}\"]}}\n",
            100 + index / 10_000,
            index / 100 % 100,
            1 + index % 100,
            index + 1,
        );
        let file = format!("{dir}/vm{index:04}.json");
        fs::write(&file, text).map_err(|e| format!("{file}: {e}"))?;
    }
    Ok(dir)
}

fn start(agent: &Agent, clients: &str, listener: bool) -> Result<Daemon> {
    let neighbour = if listener { (RECEIVER, crate::daemon::RECEIVER_ASN) } else { (SENDER, SENDER_ASN) };
    match agent {
        Agent::Evpnd => Daemon::ovs(neighbour, clients),
        Agent::Connector(program) => Daemon::connector(program, neighbour, clients),
    }
}

/// Where `--evpn-connector` points, or what is in PATH.
pub(crate) fn connector(given: Option<&Path>) -> Option<PathBuf> {
    let found = given.map(Path::to_path_buf).or_else(|| crate::daemon::find("evpn-connector"))?;
    (found.exists() && crate::daemon::find(Kind::Gobgp.name()).is_some()).then_some(found)
}
