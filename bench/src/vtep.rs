//! UPDATEs on one side, rows in the kernel's forwarding database on the other.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Result;
use crate::clock::now;
use crate::daemon::{Daemon, Kind, SENDER_ASN, VNI};
use crate::fdb::{self, Fdb, Monitor};
use crate::peer::{Counted, Peer};
use crate::process::{self, Usage};
use crate::sandbox::{self, DUT, SENDER};
use crate::wire::Table;

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// First octet of the first UPDATE written → both rows of all MACs there.
    pub(crate) install: Option<Duration>,
    /// First octet of the first withdrawing UPDATE written → all rows gone.
    pub(crate) remove: Option<Duration>,
    /// With all rows there.
    pub(crate) usage: Usage,
    /// Processor time of the writer for them, kernel included.
    pub(crate) cpu: Duration,
    /// The kernel's share of it.
    pub(crate) system: Option<Duration>,
}

/// A daemon as VTEP, with devices of its own.
pub(crate) fn measure(kind: Kind, macs: usize, limit: Duration) -> Result<Sample> {
    with_vtep(kind, |sender, daemon, device| {
        let table = Table::one_vni(macs, VNI, SENDER_ASN);
        let (announcement, withdrawal) = (table.announce(), table.withdraw());
        let mut fdb = Fdb::new(device)?;
        let send_and_wait = |fdb: &mut Fdb, bytes: &[u8], present| {
            std::thread::scope(|scope| {
                let start = now();
                let sending = scope.spawn(|| sender.send(bytes));
                let took = fdb.wait(macs, present, start, limit);
                if !matches!(took, Ok(Some(_))) {
                    sender.shutdown();
                }
                let sent = sending.join().expect("it does not panic");
                took.and_then(|took| if took.is_some() { sent.map(|()| took) } else { Ok(None) })
            })
        };
        let before = daemon.usage();
        let install = send_and_wait(&mut fdb, &announcement, true)?;
        let usage = daemon.usage();
        let mut remove = None;
        if install.is_some() {
            // What the daemon hears of its own rows is not part of the withdrawal.
            daemon.quiet();
            remove = send_and_wait(&mut fdb, &withdrawal, false)?;
            if remove.is_none() {
                let left = fdb.first_exception(0..macs, false)?;
                println!("  {}", daemon.explain(&format!("row {left:?} is still there")));
            }
        }
        Ok(Sample {
            install,
            remove,
            usage,
            cpu: usage.cpu.saturating_sub(before.cpu),
            system: Some(usage.system.saturating_sub(before.system)),
        })
    })
}

/// `bridge -batch` with the same rows.
pub(crate) fn batch(macs: usize) -> Result<Sample> {
    let index = fdb::make_devices(VNI)?;
    let device = fdb::vxlan(VNI);
    let table = Table::one_vni(macs, VNI, SENDER_ASN);
    let dir = sandbox::fresh_dir("batch")?;
    let mut fdb = Fdb::new(index)?;
    let mut step = |verb: &str, present: bool| -> Result<Option<Duration>> {
        let mut lines = String::new();
        for index in 0..macs {
            let [a, b, c, d, e, f] = Table::mac(index);
            let (vtep, _) = table.place(index);
            let _ = writeln!(
                lines,
                "fdb {verb} {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} dev {device} dst {vtep} self master{}",
                if present { " extern_learn" } else { "" }
            );
        }
        let file = format!("{dir}/rows");
        std::fs::write(&file, lines).map_err(|e| e.to_string())?;
        let start = now();
        let mut command = Command::new("bridge");
        let status =
            command.args(["-batch", &file]).stdin(Stdio::null()).status().map_err(|e| e.to_string())?;
        let took = start.elapsed();
        let exception = fdb.first_exception(0..macs, present)?;
        if !status.success() || exception.is_some() {
            return Err(format!("bridge -batch of {macs} rows ({verb}): {status}, wrong at {exception:?}"));
        }
        Ok(Some(took))
    };
    let before = process::ended_children();
    let install = step("add", true)?;
    let cpu = process::ended_children().saturating_sub(before);
    let remove = step("del", false)?;
    fdb::remove_devices(VNI)?;
    Ok(Sample { install, remove, usage: Usage::default(), cpu, system: None })
}

/// One MAC at a time on a quiet system: the time from writing its UPDATE to the kernel's notification of the second
/// of its rows, sorted.
pub(crate) fn latency(kind: Kind, times: usize) -> Result<Vec<Duration>> {
    with_vtep(kind, |sender, _, device| {
        let table = Table::one_vni(times, VNI, SENDER_ASN);
        let mut monitor = Monitor::new(device)?;
        let mut all = Vec::with_capacity(times);
        for index in 0..times {
            let mut update = Vec::new();
            table.announce_some(index..index + 1, &mut update);
            // Long enough for everybody to be asleep again, and not a beat that a timer could share.
            std::thread::sleep(Duration::from_micros(20_000 + 137 * (index as u64 % 50)));
            monitor.drain();
            let start = now();
            sender.send(&update)?;
            let took = monitor.wait(Table::mac(index), start, Duration::from_secs(5));
            all.push(took.ok_or_else(|| format!("MAC {index} is not there after 5 s"))?);
        }
        all.sort_unstable();
        Ok(all)
    })
}

/// Wake-ups within `span` and memory of evpnd with four VNIs and one established neighbour that says nothing.
pub(crate) fn idle(span: Duration) -> Result<(Usage, u64)> {
    let daemon = Daemon::idle()?;
    let measured = || {
        let _peer = Peer::connect(SENDER, DUT, SENDER_ASN, Counted::Macs(0), Duration::from_secs(15))?;
        // Whatever follows the start is over.
        std::thread::sleep(Duration::from_secs(5));
        let before = process::voluntary_switches(&daemon.pids());
        std::thread::sleep(span);
        Ok((daemon.usage(), process::voluntary_switches(&daemon.pids()) - before))
    };
    measured().map_err(|e: String| daemon.explain(&e))
}

fn with_vtep<T>(kind: Kind, measure: impl FnOnce(&Peer, &Daemon, u32) -> Result<T>) -> Result<T> {
    let device = fdb::make_devices(VNI)?;
    let daemon = Daemon::vtep(kind)?;
    let measured = || {
        let sender = Peer::connect(SENDER, DUT, SENDER_ASN, Counted::Macs(0), Duration::from_secs(15))?;
        sender.send(&Table::one_vni(1, VNI, SENDER_ASN).announce_vteps())?;
        daemon.quiet();
        measure(&sender, &daemon, device)
    };
    let result = measured().map_err(|e: String| daemon.explain(&e));
    drop(daemon);
    fdb::remove_devices(VNI)?;
    result
}
