//! Flood rows of very many VNIs: is there one for each, seen without getting in the way (rtnetlink(7), RTM_GETNEIGH of
//! AF_BRIDGE).
//!
//! While they are being written a few VNIs are asked for, spread over all; only when these are there are all counted,
//! in a dump.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::Result;
use crate::fdb::{AF_BRIDGE, NDA_LLADDR, NLM_F_REQUEST, NTF_SELF, RTM_GETNEIGH, RTM_NEWNEIGH, each_message};
use crate::vnis::Layout;

const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NDA_DST: u16 = 1;
const NDA_VNI: u16 = 7;

/// Between two looks at the sample, and between two dumps.
const PAUSE: Duration = Duration::from_millis(1);
const PAUSE_DUMP: Duration = Duration::from_millis(20);

/// A view of the flood rows towards one VTEP.
pub(crate) struct Floods {
    socket: Socket,
    layout: Layout,
    vtep: Ipv4Addr,
    buffer: Vec<u8>,
}

impl Floods {
    /// Of the devices of this layout.
    pub(crate) fn new(layout: Layout, vtep: Ipv4Addr) -> Result<Self> {
        let socket = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            Ok(socket)
        };
        let socket = socket().map_err(|e: std::io::Error| format!("netlink: {e}"))?;
        Ok(Self { socket, layout, vtep, buffer: vec![0; 1 << 17] })
    }

    /// Waits until each of these VNIs has its row and no other has; the time since `start`, or `None` when `limit` has
    /// passed.
    pub(crate) fn wait(&mut self, vnis: &[u32], start: Instant, limit: Duration) -> Result<Option<Duration>> {
        let last = vnis.len() - 1;
        for sample in [0, last / 4, last / 2, last / 4 * 3, last] {
            while !self.stands(vnis[sample])? {
                if start.elapsed() > limit {
                    return Ok(None);
                }
                std::thread::sleep(PAUSE);
            }
        }
        loop {
            let now = start.elapsed();
            if self.count()? == vnis.len() {
                return Ok(Some(now));
            }
            if now > limit {
                return Ok(None);
            }
            std::thread::sleep(PAUSE_DUMP);
        }
    }

    /// Is there a flood row of this VNI?
    fn stands(&mut self, vni: u32) -> Result<bool> {
        let device = self.layout.vxlan(vni);
        let Ok(index) = std::fs::read_to_string(format!("/sys/class/net/{device}/ifindex")) else {
            return Ok(false);
        };
        let index: u32 = index.trim().parse().map_err(|e| format!("ifindex of {device}: {e}"))?;
        let mut attributes = vec![10, 0, NDA_LLADDR as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        if self.layout == Layout::SingleDevice {
            attributes.extend_from_slice(&[8, 0, NDA_VNI as u8, 0]);
            attributes.extend_from_slice(&vni.to_ne_bytes());
        }
        let mut there = false;
        self.ask(0, index, NTF_SELF, &attributes, |kind, _| there |= kind == RTM_NEWNEIGH)?;
        Ok(there)
    }

    /// How many rows there are towards the VTEP.
    fn count(&mut self) -> Result<usize> {
        let (mut count, vtep) = (0, self.vtep.octets());
        self.ask(NLM_F_DUMP, 0, 0, &[], |kind, body| {
            count += usize::from(kind == RTM_NEWNEIGH && is_flood(body, vtep));
        })?;
        Ok(count)
    }

    fn ask(
        &mut self,
        flags: u16,
        index: u32,
        row_flags: u8,
        attributes: &[u8],
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<()> {
        let mut request = Vec::with_capacity(64);
        request.extend_from_slice(&(28 + attributes.len() as u32).to_ne_bytes());
        request.extend_from_slice(&RTM_GETNEIGH.to_ne_bytes());
        request.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        request.extend_from_slice(&[0; 8]);
        request.extend_from_slice(&[AF_BRIDGE, 0, 0, 0]);
        request.extend_from_slice(&index.to_ne_bytes());
        request.extend_from_slice(&[0, 0, row_flags, 0]);
        request.extend_from_slice(attributes);
        let failed = |e: std::io::Error| format!("netlink: {e}");
        self.socket.send_to(&request, &SocketAddr::new(0, 0), 0).map_err(failed)?;
        let mut done = false;
        while !done {
            let (length, _) = self.socket.recv_from(&mut &mut self.buffer[..], 0).map_err(failed)?;
            each_message(&self.buffer[..length], |kind, _, body| {
                done |= flags == 0 || matches!(kind, NLMSG_ERROR | NLMSG_DONE);
                each(kind, body);
            });
        }
        Ok(())
    }
}

/// Is this the row of MAC 00:00:00:00:00:00 towards a VTEP?
fn is_flood(body: &[u8], vtep: [u8; 4]) -> bool {
    let (mut zero, mut there) = (false, false);
    let mut attributes = body.get(12..).unwrap_or_default();
    while let [a, b, kind_a, kind_b, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([a, b])).max(4);
        let value = attributes.get(4..length).unwrap_or_default();
        match u16::from_ne_bytes([kind_a, kind_b]) {
            NDA_LLADDR => zero = value == [0; 6],
            NDA_DST => there = value == vtep,
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    zero && there
}
