//! One eBGP neighbour announces, another receives, the daemon is between them; then the first one dies.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use crate::Result;
use crate::clock::now;
use crate::daemon::{Daemon, Kind, RECEIVER_ASN, SENDER_ASN};
use crate::peer::{Counted, Peer};
use crate::process::{self, Usage};
use crate::sandbox::{DUT, RECEIVER, SENDER};
use crate::wire::Table;

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// First octet of the first UPDATE written → last route received; none: not within the limit.
    pub(crate) announce: Option<Duration>,
    /// The announcing neighbour closes → last withdrawal received.
    pub(crate) withdraw: Option<Duration>,
    /// Sessions up, no route yet.
    pub(crate) idle: Usage,
    /// All routes there (its peak: of the whole run up to the withdrawal's end).
    pub(crate) full: Usage,
    /// Processor time of the daemon for the announcement.
    pub(crate) announce_cpu: Duration,
    /// Processor time of the daemon for the withdrawal.
    pub(crate) withdraw_cpu: Duration,
    /// Processor time of both neighbours, in all.
    pub(crate) ours: Duration,
    /// UPDATEs and octets the receiver was sent for the announcement.
    pub(crate) received: (u64, u64),
}

/// Measures one daemon once.
pub(crate) fn measure(kind: Kind, routes: usize, limit: Duration) -> Result<Sample> {
    let daemon = Daemon::relay(kind)?;
    measure_with(kind, &daemon, routes, limit).map_err(|e| daemon.explain(&e))
}

fn measure_with(kind: Kind, daemon: &Daemon, routes: usize, limit: Duration) -> Result<Sample> {
    let announcement = Table::fabric(routes, SENDER_ASN).announce();
    let patience = Duration::from_secs(15);
    let (sender, receiver) = std::thread::scope(|scope| {
        // Both at once: through the floor they shake hands with each other.
        let sender = scope.spawn(|| Peer::connect(SENDER, DUT, SENDER_ASN, Counted::Macs(0), patience));
        let receiver = Peer::connect(RECEIVER, DUT, RECEIVER_ASN, Counted::Macs(routes), patience);
        (sender.join().expect("it does not panic"), receiver)
    });
    let (sender, receiver) = (sender?, receiver?);
    // Let timers that sessions start run out (FRR packs for up to a second after a peer came up).
    daemon.quiet();
    let idle = daemon.usage();
    let ours = process::usage(&[std::process::id()]).cpu;
    let before = receiver.tally();
    let start = now();
    let announce = std::thread::scope(|scope| {
        let sending = scope.spawn(|| sender.send(&announcement));
        let announce = receiver.wait_for(routes, start, limit);
        if !matches!(announce, Ok(Some(_))) {
            // The sender may still be at it; nobody waits for it any more.
            sender.shutdown();
        }
        let sent = sending.join().expect("it does not panic");
        let announce = announce?;
        if announce.is_some() {
            sent?;
        }
        Ok::<_, String>(announce)
    })?;
    let full = daemon.usage();
    let after = receiver.tally();
    let mut sample = Sample {
        announce,
        withdraw: None,
        idle,
        full,
        announce_cpu: full.cpu.saturating_sub(idle.cpu),
        withdraw_cpu: Duration::ZERO,
        ours: Duration::ZERO,
        received: (after.updates - before.updates, after.octets - before.octets),
    };
    if announce.is_some() && kind != Kind::Floor {
        daemon.quiet();
        let settled = daemon.usage();
        sample.full.resident = settled.resident;
        let start = now();
        sender.shutdown();
        sample.withdraw = receiver.wait_for(0, start, limit)?;
        let end = daemon.usage();
        sample.withdraw_cpu = end.cpu.saturating_sub(settled.cpu);
        sample.full.peak = end.peak;
    }
    sample.ours = process::usage(&[std::process::id()]).cpu.saturating_sub(ours);
    Ok(sample)
}

/// The floor: joins the first connections of the two neighbours and copies octets, both ways. They shake hands with
/// each other through it.
pub(crate) fn floor() -> Result<()> {
    let listener = TcpListener::bind((DUT, 179)).map_err(|e| e.to_string())?;
    let accept = |from: Ipv4Addr| -> Result<TcpStream> {
        let (stream, _) = listener.accept().map_err(|e| format!("{from}: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        Ok(stream)
    };
    let (one, other) = (accept(SENDER)?, accept(RECEIVER)?);
    std::thread::scope(|scope| {
        scope.spawn(|| copy(&one, &other));
        copy(&other, &one);
    });
    Ok(())
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = vec![0; 1 << 18];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    // Fails only if it is closed already.
    let _ = to.shutdown(Shutdown::Both);
}
