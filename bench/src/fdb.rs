//! The kernel's forwarding database, looked at without getting in the way (rtnetlink(7), RTM_GETNEIGH of
//! AF_BRIDGE).
//!
//! While rows are being written, only a sample of them is asked for, spread over the whole table and the last one, every
//! millisecond, 2 µs each. Only when all of the sample are there (or gone) is every row asked for, one by one; what is
//! then still missing (or there) is waited for, and counts. Dumps would be worse: the kernel's walk through a
//! bridge's rows starts over with each datagram, 300 k rows take it seconds, and writers wait meanwhile.

use std::ops::Range;
use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use socket2::SockRef;

use crate::Result;
use crate::clock::now;
use crate::sandbox;
use crate::wire::Table;

pub(crate) const RTM_NEWNEIGH: u16 = 28;
pub(crate) const RTM_GETNEIGH: u16 = 30;
pub(crate) const NLM_F_REQUEST: u16 = 1;
pub(crate) const AF_BRIDGE: u8 = 7;
pub(crate) const NTF_SELF: u8 = 2;
const NTF_MASTER: u8 = 4;
pub(crate) const NDA_LLADDR: u16 = 2;
const RTNLGRP_NEIGH: u32 = 3;
/// Between two looks at the sample.
const PAUSE: Duration = Duration::from_millis(1);

/// So many MACs asked for in one datagram.
const AT_ONCE: usize = 32;

/// Both rows of a MAC: in the VXLAN device (self) and in the bridge (master).
const BOTH: [u8; 2] = [NTF_SELF, NTF_MASTER];

/// The bridge of a VNI.
pub(crate) fn bridge(vni: u32) -> String {
    format!("br-{vni}")
}

/// The VXLAN device of a VNI.
pub(crate) fn vxlan(vni: u32) -> String {
    format!("vxlan-{vni}")
}

/// Makes the bridge of a VNI with its VXLAN device in it, for all candidates alike; the index of the latter.
pub(crate) fn make_devices(vni: u32) -> Result<u32> {
    let (bridge, vxlan, local) = (bridge(vni), vxlan(vni), sandbox::DUT);
    sandbox::run("ip", &format!("link add {bridge} type bridge"))?;
    sandbox::run(
        "ip",
        &format!("link add {vxlan} type vxlan id {vni} local {local} dstport 4789 nolearning"),
    )?;
    sandbox::run("ip", &format!("link set {vxlan} master {bridge} up"))?;
    sandbox::run("bridge", &format!("link set dev {vxlan} learning off neigh_suppress on"))?;
    sandbox::run("ip", &format!("link set {bridge} up"))?;
    let index =
        std::fs::read_to_string(format!("/sys/class/net/{vxlan}/ifindex")).map_err(|e| e.to_string())?;
    index.trim().parse().map_err(|e| format!("ifindex of {vxlan}: {e}"))
}

/// Removes them, and every row with them.
pub(crate) fn remove_devices(vni: u32) -> Result<()> {
    sandbox::run("ip", &format!("link del {}", vxlan(vni)))?;
    sandbox::run("ip", &format!("link del {}", bridge(vni)))
}

/// A view of the rows of one VXLAN device.
pub(crate) struct Fdb {
    socket: Socket,
    device: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Fdb {
    /// Of the device with this index.
    pub(crate) fn new(device: u32) -> Result<Self> {
        let socket = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            Ok(socket)
        };
        let socket = socket().map_err(|e: std::io::Error| format!("netlink: {e}"))?;
        Ok(Self { socket, device, sequence: 0, buffer: vec![0; 1 << 18] })
    }

    /// Waits until the MACs of routes `0..routes` have both rows (or neither, if `present` is false); the time since
    /// `start`, or `None` when `limit` has passed.
    pub(crate) fn wait(
        &mut self,
        routes: usize,
        present: bool,
        start: Instant,
        limit: Duration,
    ) -> Result<Option<Duration>> {
        let mut sample: Vec<usize> = (0..256).map(|n| n * routes / 256).chain([routes - 1]).collect();
        while let Some(&index) = sample.last() {
            if self.exception(&[index], present)?.is_none() {
                sample.pop();
            } else if start.elapsed() > limit {
                return Ok(None);
            } else {
                std::thread::sleep(PAUSE);
            }
        }
        let mut reached = start.elapsed();
        let mut from = 0;
        while let Some(exception) = self.first_exception(from..routes, present)? {
            from = exception;
            while self.exception(&[exception], present)?.is_some() {
                if start.elapsed() > limit {
                    return Ok(None);
                }
                std::thread::sleep(PAUSE);
            }
            reached = start.elapsed();
        }
        Ok(Some(reached))
    }

    /// Asks for every row of these: the first route whose MAC has not both rows (or has one, if `present` is false).
    pub(crate) fn first_exception(&mut self, routes: Range<usize>, present: bool) -> Result<Option<usize>> {
        let all: Vec<usize> = routes.collect();
        for some in all.chunks(AT_ONCE) {
            if let Some(index) = self.exception(some, present)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// The same for a few routes, in one go.
    fn exception(&mut self, indices: &[usize], present: bool) -> Result<Option<usize>> {
        let first = self.sequence;
        let mut request = Vec::with_capacity(indices.len() * 2 * 40);
        for index in indices {
            for flag in BOTH {
                self.ask(Table::mac(*index), flag, &mut request);
            }
        }
        let sent = self.socket.send_to(&request, &SocketAddr::new(0, 0), 0);
        sent.map_err(|e| format!("netlink: {e}"))?;
        let mut exception = None;
        let mut answers = 0;
        while answers < indices.len() * 2 {
            let received = self.socket.recv_from(&mut &mut self.buffer[..], 0);
            let (length, _) = received.map_err(|e| format!("netlink: {e}"))?;
            each_message(&self.buffer[..length], |kind, sequence, _| {
                answers += 1;
                if (kind == RTM_NEWNEIGH) != present {
                    let index = indices[(sequence.wrapping_sub(first) as usize - 1) / 2 % indices.len()];
                    exception = Some(exception.map_or(index, |e: usize| e.min(index)));
                }
            });
        }
        Ok(exception)
    }

    /// RTM_GETNEIGH for one row of a MAC.
    fn ask(&mut self, mac: [u8; 6], flag: u8, out: &mut Vec<u8>) {
        self.sequence = self.sequence.wrapping_add(1);
        out.extend_from_slice(&40_u32.to_ne_bytes());
        out.extend_from_slice(&RTM_GETNEIGH.to_ne_bytes());
        out.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
        out.extend_from_slice(&self.sequence.to_ne_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&[AF_BRIDGE, 0, 0, 0]);
        out.extend_from_slice(&self.device.to_ne_bytes());
        out.extend_from_slice(&[0, 0, flag, 0]);
        out.extend_from_slice(&[10, 0, NDA_LLADDR as u8, 0]);
        out.extend_from_slice(&mac);
        out.extend_from_slice(&[0, 0]);
    }
}

/// Listens to the kernel's own notifications: when exactly a row appeared.
pub(crate) struct Monitor {
    socket: Socket,
    device: u32,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Of the device with this index.
    pub(crate) fn new(device: u32) -> Result<Self> {
        let socket = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.add_membership(RTNLGRP_NEIGH)?;
            Ok(socket)
        };
        let socket = socket().map_err(|e: std::io::Error| format!("netlink: {e}"))?;
        Ok(Self { socket, device, buffer: vec![0; 1 << 16] })
    }

    /// Forgets what was heard so far.
    pub(crate) fn drain(&mut self) {
        self.patience(Duration::from_millis(1));
        while self.socket.recv_from(&mut &mut self.buffer[..], 0).is_ok() {}
    }

    /// How long to wait for a notification.
    fn patience(&self, limit: Duration) {
        // It takes a span that is not nothing.
        let _ = SockRef::from(&self.socket).set_read_timeout(Some(limit.max(Duration::from_millis(1))));
    }

    /// Waits for both rows of this MAC; the time since `start`.
    pub(crate) fn wait(&mut self, mac: [u8; 6], start: Instant, limit: Duration) -> Option<Duration> {
        let mut seen = [false; 2];
        while start.elapsed() < limit {
            self.patience(limit.saturating_sub(start.elapsed()));
            let (length, _) = self.socket.recv_from(&mut &mut self.buffer[..], 0).ok()?;
            let at = now();
            each_message(&self.buffer[..length], |kind, _, body| {
                if kind == RTM_NEWNEIGH
                    && let Some((found, flags)) = neighbour(body, self.device)
                    && found == mac
                {
                    seen[usize::from(flags & NTF_SELF == 0)] = true;
                }
            });
            if seen == [true; 2] {
                return Some(at - start);
            }
        }
        None
    }
}

/// Calls `each` with type, sequence number and body of every message in a datagram.
pub(crate) fn each_message(mut datagram: &[u8], mut each: impl FnMut(u16, u32, &[u8])) {
    while let [a, b, c, d, kind_a, kind_b, _, _, s, t, u, v, ..] = *datagram {
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        let Some(body) = datagram.get(16..length) else { return };
        each(u16::from_ne_bytes([kind_a, kind_b]), u32::from_ne_bytes([s, t, u, v]), body);
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// MAC and flags of a row, if it is one of ours in this device.
fn neighbour(body: &[u8], device: u32) -> Option<([u8; 6], u8)> {
    let index = u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?);
    if body[0] != AF_BRIDGE || index != device {
        return None;
    }
    let flags = *body.get(10)?;
    let mut attributes = body.get(12..)?;
    while let [a, b, kind_a, kind_b, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        if u16::from_ne_bytes([kind_a, kind_b]) == NDA_LLADDR {
            let mac: [u8; 6] = attributes.get(4..10)?.try_into().ok()?;
            return mac.starts_with(&[2, 0, 0]).then_some((mac, flags));
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
    None
}
