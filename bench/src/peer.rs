//! A BGP neighbour that only measures: it connects, announces what was encoded beforehand, and keeps a tally of
//! the routes of one type that it is told. A bit for each route keeps a route sent twice from counting twice.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::Result;
use crate::clock::{now, poll};
use crate::wire::{self, KEEPALIVE, Listener, NOTIFICATION, OPEN};

/// The hold time we propose: long, since a daemon under load is what is measured, not its timers.
const HOLD_TIME: u16 = 240;
/// Room for what was read and not yet walked.
const BUFFER: usize = 1 << 20;

/// What a neighbour has been told so far.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Routes of the type that is counted that are there now.
    pub(crate) present: usize,
    /// UPDATEs received.
    pub(crate) updates: u64,
    /// Octets received.
    pub(crate) octets: u64,
    /// When `present` last changed.
    pub(crate) changed: Instant,
    /// The session is over, and why.
    pub(crate) closed: Option<String>,
}

struct Shared {
    tally: Mutex<Tally>,
    changed: Condvar,
    writing: Mutex<()>,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counted {
    /// Type 2, up to this index.
    Macs(usize),
    /// Type 3, with so many numbers from this one on in their route distinguishers.
    Imets { first: usize, count: usize },
}

impl Counted {
    const fn count(self) -> usize {
        match self {
            Self::Macs(count) | Self::Imets { count, .. } => count,
        }
    }

    /// The place of a route among those that are counted.
    fn place(self, kind: u8, index: usize) -> Option<usize> {
        let index = match (self, kind) {
            (Self::Macs(_), 2) => index,
            (Self::Imets { first, .. }, 3) => index.checked_sub(first)?,
            _ => return None,
        };
        (index < self.count()).then_some(index)
    }
}

/// An established session.
pub(crate) struct Peer {
    stream: TcpStream,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

impl Peer {
    /// Connects from `local` to `remote`, again and again until the session is established or `limit` has passed.
    pub(crate) fn connect(
        local: Ipv4Addr,
        remote: Ipv4Addr,
        asn: u32,
        counted: Counted,
        limit: Duration,
    ) -> Result<Self> {
        let mut last = String::new();
        let attempt = || match handshake(local, remote, asn) {
            Ok(established) => Some(established),
            Err(why) => {
                last = why;
                None
            }
        };
        let Some((stream, rest)) = poll(limit, Duration::from_millis(10), attempt) else {
            return Err(format!("no session from {local} to {remote} within {limit:?}: {last}"));
        };
        let tally = Tally { present: 0, updates: 0, octets: 0, changed: now(), closed: None };
        let shared =
            Arc::new(Shared { tally: Mutex::new(tally), changed: Condvar::new(), writing: Mutex::new(()) });
        let reader = Reader {
            stream: stream.try_clone().map_err(|e| e.to_string())?,
            shared: shared.clone(),
            bits: vec![0; counted.count().div_ceil(64)],
            counted,
            keepalives: 0,
            notification: None,
            tally: shared.tally.lock().expect("no thread panics with it").clone(),
        };
        let reader = std::thread::spawn(move || reader.run(rest));
        let peer = Self { stream, shared, reader: Some(reader) };
        peer.send(&wire::end_of_rib())?;
        Ok(peer)
    }

    /// Writes it all, in chunks as large as the socket takes.
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<()> {
        let _writing = self.shared.writing.lock().expect("no thread panics with it");
        (&self.stream).write_all(bytes).map_err(|e| format!("sending: {e}"))
    }

    /// The tally as it is now.
    pub(crate) fn tally(&self) -> Tally {
        self.shared.tally.lock().expect("no thread panics with it").clone()
    }

    /// Waits until exactly so many routes are there; `Ok(None)` when `limit` has passed since `start`.
    pub(crate) fn wait_for(
        &self,
        routes: usize,
        start: Instant,
        limit: Duration,
    ) -> Result<Option<Duration>> {
        let mut tally = self.shared.tally.lock().expect("no thread panics with it");
        loop {
            if tally.present == routes {
                return Ok(Some(tally.changed.saturating_duration_since(start)));
            }
            if let Some(why) = &tally.closed {
                return Err(format!("the session ended with {} routes there: {why}", tally.present));
            }
            let Some(left) = limit.checked_sub(start.elapsed()) else { return Ok(None) };
            tally = self.shared.changed.wait_timeout(tally, left).expect("no thread panics with it").0;
        }
    }

    /// Closes the TCP connection, nothing said before.
    pub(crate) fn shutdown(&self) {
        // Failure means that the other side was quicker.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shutdown();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// One attempt: the stream of an established session, and octets that came after the handshake.
fn handshake(local: Ipv4Addr, remote: Ipv4Addr, asn: u32) -> Result<(TcpStream, Vec<u8>)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).map_err(|e| e.to_string())?;
    let options = || {
        // A receiver that is woken rarely leaves the processors to what is measured.
        socket.set_recv_buffer_size(4 << 20)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&SocketAddr::from((local, 0)).into())?;
        socket.connect_timeout(&SocketAddr::from((remote, 179)).into(), Duration::from_secs(5))
    };
    options().map_err(|e: std::io::Error| format!("connecting: {e}"))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(|e| e.to_string())?;
    stream.write_all(&wire::open(asn, local, HOLD_TIME)).map_err(|e| e.to_string())?;
    let mut progress = Handshake::default();
    let mut buffer = Vec::new();
    let mut walked = 0;
    while !progress.done {
        let mut some = [0; 4096];
        let n = stream.read(&mut some).map_err(|e| format!("waiting for OPEN and KEEPALIVE: {e}"))?;
        if n == 0 {
            return Err("closed during the handshake".into());
        }
        buffer.extend_from_slice(&some[..n]);
        let opened = progress.opened;
        walked += wire::walk(&buffer[walked..], &mut progress).ok_or("not BGP")?;
        if let Some(why) = progress.refused {
            return Err(why);
        }
        if progress.opened && !opened {
            stream.write_all(&wire::keepalive()).map_err(|e| e.to_string())?;
        }
    }
    stream.set_read_timeout(None).map_err(|e| e.to_string())?;
    Ok((stream, buffer.split_off(walked)))
}

#[derive(Default)]
struct Handshake {
    opened: bool,
    done: bool,
    refused: Option<String>,
}

impl Listener for Handshake {
    fn message(&mut self, kind: u8, body: &[u8]) {
        match kind {
            OPEN => self.opened = true,
            KEEPALIVE => self.done |= self.opened,
            NOTIFICATION => self.refused = Some(describe(body)),
            _ => {}
        }
    }
    fn route(&mut self, _: u8, _: usize, _: bool) {}
}

fn describe(notification: &[u8]) -> String {
    match notification {
        [code, subcode, ..] => format!("NOTIFICATION {code}/{subcode}"),
        _ => "a short NOTIFICATION".into(),
    }
}

/// The thread that reads.
struct Reader {
    stream: TcpStream,
    shared: Arc<Shared>,
    bits: Vec<u64>,
    counted: Counted,
    keepalives: usize,
    notification: Option<String>,
    tally: Tally,
}

impl Listener for Reader {
    fn message(&mut self, kind: u8, body: &[u8]) {
        match kind {
            wire::UPDATE => self.tally.updates += 1,
            KEEPALIVE => self.keepalives += 1,
            NOTIFICATION => self.notification = Some(describe(body)),
            _ => {}
        }
    }

    fn route(&mut self, kind: u8, index: usize, reachable: bool) {
        let Some(index) = self.counted.place(kind, index) else { return };
        let (word, bit) = (&mut self.bits[index / 64], 1 << (index % 64));
        let was = *word & bit != 0;
        if was != reachable {
            *word ^= bit;
            if reachable { self.tally.present += 1 } else { self.tally.present -= 1 }
        }
    }
}

impl Reader {
    fn run(mut self, mut rest: Vec<u8>) {
        let mut filled = rest.len();
        rest.resize(BUFFER, 0);
        let why = loop {
            let before = self.tally.present;
            let Some(walked) = wire::walk(&rest[..filled], &mut self) else { break "not BGP".to_owned() };
            rest.copy_within(walked..filled, 0);
            filled -= walked;
            if self.tally.present != before {
                self.tally.changed = now();
            }
            self.publish();
            if let Some(why) = self.notification.take() {
                break why;
            }
            if std::mem::take(&mut self.keepalives) > 0 {
                self.reply();
            }
            match self.stream.read(&mut rest[filled..]) {
                Ok(0) => break "closed".to_owned(),
                Ok(n) => {
                    filled += n;
                    self.tally.octets += n as u64;
                }
                Err(e) => break e.to_string(),
            }
        };
        self.tally.closed = Some(why);
        self.publish();
    }

    /// A KEEPALIVE, unless UPDATEs are being written: those keep the session alive as well.
    fn reply(&mut self) {
        if let Ok(_writing) = self.shared.writing.try_lock() {
            // A failure shows in the next read.
            let _ = self.stream.write_all(&wire::keepalive());
        }
    }

    fn publish(&self) {
        self.shared.tally.lock().expect("no thread panics with it").clone_from(&self.tally);
        self.shared.changed.notify_all();
    }
}
