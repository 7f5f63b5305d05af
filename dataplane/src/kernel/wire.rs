//! Netlink framing, and neighbour messages (FDB, ARP and ND entries) by hand.
//!
//! Links go through netlink-packet-route. Neighbour messages do not: they are the hot path, and that library reads
//! the address of an AF_BRIDGE row as loose bytes. The layouts are those of `linux/netlink.h`, `linux/rtnetlink.h`
//! and `linux/neighbour.h`; integers are in host order but where said.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use types::{MacAddr, Vni};

pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
pub(super) const RTM_GETLINK: u16 = 18;
pub(super) const RTM_SETLINK: u16 = 19;
pub(super) const RTM_NEWNEIGH: u16 = 28;
pub(super) const RTM_DELNEIGH: u16 = 29;
pub(super) const RTM_GETNEIGH: u16 = 30;

pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;

pub(super) const NLM_F_REQUEST: u16 = 1;
pub(super) const NLM_F_ACK: u16 = 4;
pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(super) const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_REPLACE: u16 = 0x100;
pub(super) const NLM_F_EXCL: u16 = 0x200;
/// Of a removal: of all that match.
pub(super) const NLM_F_BULK: u16 = 0x200;
pub(super) const NLM_F_CREATE: u16 = 0x400;
pub(super) const NLM_F_APPEND: u16 = 0x800;
/// In an error reply: the header of the request stands there without its body.
const NLM_F_CAPPED: u16 = 0x100;
/// In an error reply: attributes follow.
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

pub(super) const AF_UNSPEC: u8 = 0;
pub(super) const AF_INET: u8 = 2;
pub(super) const AF_BRIDGE: u8 = 7;
pub(super) const AF_INET6: u8 = 10;

pub(super) const NTF_SELF: u8 = 0x02;
pub(super) const NTF_MASTER: u8 = 0x04;
pub(super) const NTF_EXT_LEARNED: u8 = 0x10;
pub(super) const NTF_STICKY: u8 = 0x40;
pub(super) const NTF_ROUTER: u8 = 0x80;

pub(super) const NUD_INCOMPLETE: u16 = 0x01;
pub(super) const NUD_REACHABLE: u16 = 0x02;
pub(super) const NUD_FAILED: u16 = 0x20;
pub(super) const NUD_NOARP: u16 = 0x40;
pub(super) const NUD_PERMANENT: u16 = 0x80;

pub(super) const NDA_DST: u16 = 1;
pub(super) const NDA_LLADDR: u16 = 2;
pub(super) const NDA_VLAN: u16 = 5;
pub(super) const NDA_VNI: u16 = 7;
pub(super) const NDA_IFINDEX: u16 = 8;
pub(super) const NDA_MASTER: u16 = 9;
pub(super) const NDA_SRC_VNI: u16 = 11;
pub(super) const NDA_PROTOCOL: u16 = 12;
const NDA_NH_ID: u16 = 13;
pub(super) const NDA_NDM_FLAGS_MASK: u16 = 17;

/// Length of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// Length of `struct ndmsg`.
pub(super) const NDMSG: usize = 12;

const fn align(n: usize) -> usize {
    (n + 3) & !3
}

pub(super) fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

/// Messages to be sent together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Where each message starts.
    starts: Vec<usize>,
}

impl Batch {
    pub(super) const fn len(&self) -> usize {
        self.starts.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    pub(super) const fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
    }

    /// Begins a message; its body is appended with the methods below.
    pub(super) fn begin(&mut self, kind: u16, flags: u16) {
        self.finish();
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
    }

    pub(super) fn body(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(align(self.bytes.len()), 0);
    }

    /// `struct ndmsg`.
    pub(super) fn neigh(&mut self, family: u8, index: u32, state: u16, flags: u8) {
        let (i, s) = (index.to_ne_bytes(), state.to_ne_bytes());
        self.body(&[family, 0, 0, 0, i[0], i[1], i[2], i[3], s[0], s[1], flags, 0]);
    }

    pub(super) fn attr(&mut self, kind: u16, value: &[u8]) {
        let len = (4 + value.len()) as u16;
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.body(value);
    }

    pub(super) fn attr_ip(&mut self, kind: u16, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.attr(kind, &ip.octets()),
            IpAddr::V6(ip) => self.attr(kind, &ip.octets()),
        }
    }

    /// Begins an attribute that holds others; [`Self::end_nest`] takes what this gives.
    pub(super) fn nest(&mut self, kind: u16) -> usize {
        let at = self.bytes.len();
        self.attr(kind, &[]);
        at
    }

    /// Ends an attribute that holds others: at most 64 kB of them.
    pub(super) fn end_nest(&mut self, at: usize) {
        let len = (self.bytes.len() - at) as u16;
        debug_assert_eq!(usize::from(len), self.bytes.len() - at);
        self.bytes[at..at + 2].copy_from_slice(&len.to_ne_bytes());
    }

    /// Writes the length of the last message.
    fn finish(&mut self) {
        if let Some(&start) = self.starts.last() {
            let len = (self.bytes.len() - start) as u32;
            self.bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
        }
    }

    /// Numbers the messages from `first`, has the last one acknowledged, and shows the bytes.
    pub(super) fn sealed(&mut self, first: u32) -> &[u8] {
        self.finish();
        for (i, &start) in self.starts.iter().enumerate() {
            let number = first.wrapping_add(i as u32);
            self.bytes[start + 8..start + 12].copy_from_slice(&number.to_ne_bytes());
        }
        if let Some(&start) = self.starts.last() {
            let flags = u16_at(&self.bytes, start + 6).unwrap_or(0) | NLM_F_ACK;
            self.bytes[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
        }
        &self.bytes
    }
}

/// One message received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) number: u32,
    pub(super) body: &'a [u8],
}

impl Message<'_> {
    /// Of an [`NLMSG_ERROR`], or of the [`NLMSG_DONE`] of a dump that had begun: the error number (0: there is none) and
    /// the kernel's own words.
    pub(super) fn error(&self) -> Option<(i32, Option<String>)> {
        let code = u32_at(self.body, 0)?.cast_signed();
        let mut text = None;
        if self.flags & NLM_F_ACK_TLVS != 0 {
            // Only an answer to one message has that message, or its header, before the attributes.
            let echoed = match self.kind {
                NLMSG_DONE => 0,
                _ if self.flags & NLM_F_CAPPED != 0 => HEADER,
                _ => align(u32_at(self.body, 4)? as usize),
            };
            let attrs = self.body.get(4 + echoed..).unwrap_or(&[]);
            text = Attrs(attrs).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG).map(|(_, value)| {
                let value = value.strip_suffix(&[0]).unwrap_or(value);
                String::from_utf8_lossy(value).into_owned()
            });
        }
        Some((-code, text))
    }
}

/// The messages in a datagram. Ends early at one that is malformed.
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let len = u32_at(self.0, 0)? as usize;
        let message = Message {
            kind: u16_at(self.0, 4)?,
            flags: u16_at(self.0, 6)?,
            number: u32_at(self.0, 8)?,
            body: self.0.get(HEADER..len)?,
        };
        self.0 = self.0.get(align(len)..).unwrap_or(&[]);
        Some(message)
    }
}

/// The attributes in a run of them.
pub(super) struct Attrs<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & 0x3fff;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(align(len)..).unwrap_or(&[]);
        Some((kind, value))
    }
}

/// A neighbour message: an FDB row, or an ARP or ND entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Neigh {
    pub(super) family: u8,
    pub(super) index: u32,
    pub(super) state: u16,
    pub(super) flags: u8,
    pub(super) mac: Option<MacAddr>,
    pub(super) dst: Option<IpAddr>,
    pub(super) vni: Option<Vni>,
    pub(super) vlan: Option<u16>,
    /// The VNI whose row it is, in a VXLAN device of many.
    pub(super) src_vni: Option<Vni>,
    /// It leads to a nexthop group.
    pub(super) nexthop: bool,
    pub(super) master: Option<u32>,
}

impl Neigh {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut neigh = Self {
            family: *body.first()?,
            index: u32_at(body, 4)?,
            state: u16_at(body, 8)?,
            flags: *body.get(10)?,
            ..Self::default()
        };
        for (kind, value) in Attrs(body.get(NDMSG..)?) {
            match kind {
                NDA_DST => neigh.dst = ip(value),
                NDA_LLADDR => neigh.mac = value.try_into().ok().map(MacAddr),
                NDA_VLAN => neigh.vlan = u16_at(value, 0),
                NDA_VNI => neigh.vni = u32_at(value, 0).and_then(Vni::new),
                NDA_SRC_VNI => neigh.src_vni = u32_at(value, 0).and_then(Vni::new),
                NDA_NH_ID => neigh.nexthop = true,
                NDA_MASTER => neigh.master = u32_at(value, 0),
                _ => {}
            }
        }
        Some(neigh)
    }

    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) const fn is(&self, state: u16) -> bool {
        self.state & state != 0
    }
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(value).ok().map(|v6| Ipv6Addr::from(v6).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_back_as_written_and_messages_are_numbered() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let mut batch = Batch::default();
        for vtep in ["10.0.0.2", "2001:db8::2"] {
            batch.begin(RTM_NEWNEIGH, NLM_F_CREATE);
            batch.neigh(AF_BRIDGE, 7, NUD_PERMANENT, NTF_SELF | NTF_EXT_LEARNED);
            batch.attr(NDA_LLADDR, &mac.0);
            batch.attr_ip(NDA_DST, vtep.parse().unwrap());
            batch.attr(NDA_VNI, &100_u32.to_ne_bytes());
        }
        assert_eq!(batch.len(), 2);
        let bytes = batch.sealed(41).to_vec();
        let messages: Vec<_> = Messages(&bytes).collect();
        assert_eq!(messages.iter().map(|m| m.number).collect::<Vec<_>>(), [41, 42]);
        assert_eq!(messages[0].flags & NLM_F_ACK, 0);
        assert_eq!(messages[1].flags & NLM_F_ACK, NLM_F_ACK);
        let row = Neigh::parse(messages[1].body).unwrap();
        assert_eq!((row.mac, row.vni), (Some(mac), Vni::new(100)));
        assert_eq!(row.dst, Some("2001:db8::2".parse().unwrap()));
        assert!(row.has(NTF_SELF) && !row.has(NTF_MASTER) && row.is(NUD_PERMANENT));
    }

    #[test]
    fn cut_short_bytes_end_the_walk() {
        let mut batch = Batch::default();
        batch.begin(RTM_NEWNEIGH, 0);
        batch.neigh(AF_BRIDGE, 7, 0, 0);
        batch.attr(NDA_LLADDR, &[2, 0, 0, 0, 0, 1]);
        let bytes = batch.sealed(1).to_vec();
        for len in 0..bytes.len() {
            assert_eq!(Messages(&bytes[..len]).count(), 0);
            assert!(
                len >= HEADER + NDMSG || Neigh::parse(bytes[..len].get(HEADER..).unwrap_or(&[])).is_none()
            );
        }
    }
}
