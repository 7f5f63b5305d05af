//! Just enough BGP to be a neighbour that costs nothing: messages made by hand before the clock starts, and a
//! walk over lengths to count what comes back (RFC 4271 §4, RFC 4760 §3-4, RFC 7432 §7.2).
//!
//! On purpose independent of evpnd's own codec: the judge does not share code with the judged.

use std::net::Ipv4Addr;

/// Message types of RFC 4271 §4.1.
pub(crate) const OPEN: u8 = 1;
pub(crate) const UPDATE: u8 = 2;
pub(crate) const NOTIFICATION: u8 = 3;
pub(crate) const KEEPALIVE: u8 = 4;

/// AFI 25, SAFI 70.
const EVPN: [u8; 3] = [0, 25, 70];
const HEADER: usize = 19;
/// The most an UPDATE may take without RFC 8654, which these peers do not offer.
const MAX_MESSAGE: usize = 4096;

/// So many NLRIs to an UPDATE.
pub(crate) const PACKED: usize = 80;

fn message(kind: u8, body: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(HEADER + body.len()).expect("messages here are short");
    assert!(usize::from(length) <= MAX_MESSAGE, "an UPDATE of {length} octets");
    out.extend_from_slice(&[0xff; 16]);
    out.extend_from_slice(&length.to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
}

/// An OPEN with EVPN, ROUTE-REFRESH and 4-octet AS numbers.
pub(crate) fn open(asn: u32, router_id: Ipv4Addr, hold_time: u16) -> Vec<u8> {
    let mut capabilities = vec![1, 4, 0, 25, 0, 70, 2, 0, 65, 4];
    capabilities.extend_from_slice(&asn.to_be_bytes());
    let mut body = vec![4];
    body.extend_from_slice(&u16::try_from(asn).unwrap_or(23456).to_be_bytes());
    body.extend_from_slice(&hold_time.to_be_bytes());
    body.extend_from_slice(&router_id.octets());
    let length = capabilities.len() as u8;
    body.extend_from_slice(&[length + 2, 2, length]);
    body.extend_from_slice(&capabilities);
    let mut out = Vec::new();
    message(OPEN, &body, &mut out);
    out
}

/// A KEEPALIVE.
pub(crate) fn keepalive() -> Vec<u8> {
    let mut out = Vec::new();
    message(KEEPALIVE, &[], &mut out);
    out
}

/// The End-of-RIB marker of EVPN (RFC 4724 §2).
pub(crate) fn end_of_rib() -> Vec<u8> {
    let mut out = Vec::new();
    message(UPDATE, &[0, 0, 0, 6, 0x80, 15, 3, EVPN[0], EVPN[1], EVPN[2]], &mut out);
    out
}

/// A table of type-2 routes: `routes` MACs behind `vteps` VTEPs in `vnis` VNIs, one attribute set for each
/// pair of VTEP and VNI. Route `i` has the MAC `02:00:00` + `i`; consecutive UPDATEs are of different pairs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) routes: usize,
    pub(crate) vteps: usize,
    pub(crate) vnis: usize,
    pub(crate) first_vni: u32,
    pub(crate) asn: u32,
}

impl Table {
    /// What a large fabric looks like: 50 VTEPs with 20 VNIs each.
    pub(crate) fn fabric(routes: usize, asn: u32) -> Self {
        Self { routes, vteps: 50, vnis: 20, first_vni: 20_001, asn }
    }

    /// One VNI whose MACs are spread over 16 VTEPs.
    pub(crate) fn one_vni(routes: usize, vni: u32, asn: u32) -> Self {
        Self { routes, vteps: 16, vnis: 1, first_vni: vni, asn }
    }

    /// The MAC of a route.
    pub(crate) fn mac(index: usize) -> [u8; 6] {
        let [.., a, b, c] = (index as u32).to_be_bytes();
        [2, 0, 0, a, b, c]
    }

    /// The VTEP and VNI of a route.
    pub(crate) fn place(&self, index: usize) -> (Ipv4Addr, u32) {
        let set = index / PACKED % (self.vteps * self.vnis);
        (Self::vtep(set % self.vteps), self.first_vni + (set / self.vteps) as u32)
    }

    pub(crate) fn vtep(number: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 9, 1, 1 + number as u8)
    }

    /// UPDATEs that announce all of them, [`PACKED`] to an UPDATE.
    pub(crate) fn announce(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.routes * 38);
        for start in (0..self.routes).step_by(PACKED) {
            self.announce_some(start..(start + PACKED).min(self.routes), &mut out);
        }
        out
    }

    /// One UPDATE that announces these, which share VTEP and VNI.
    pub(crate) fn announce_some(&self, range: std::ops::Range<usize>, out: &mut Vec<u8>) {
        let (vtep, vni) = self.place(range.start);
        let mut nlri = Vec::with_capacity(range.len() * 35);
        range.for_each(|index| mac_route(vtep, vni, Self::mac(index), &mut nlri));
        self.reach(vtep, vni, &nlri, None, out);
    }

    /// UPDATEs that withdraw all of them.
    pub(crate) fn withdraw(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.routes * 38);
        for start in (0..self.routes).step_by(PACKED) {
            let (vtep, vni) = self.place(start);
            let mut attribute = EVPN.to_vec();
            for index in start..(start + PACKED).min(self.routes) {
                mac_route(vtep, vni, Self::mac(index), &mut attribute);
            }
            let mut body = vec![0, 0];
            let mut attributes = vec![0x90, 15];
            attributes.extend_from_slice(&(attribute.len() as u16).to_be_bytes());
            attributes.extend_from_slice(&attribute);
            body.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
            body.extend_from_slice(&attributes);
            message(UPDATE, &body, &mut out);
        }
        out
    }

    /// A type-3 route of each VTEP in each VNI: receivers learn of a VTEP from them.
    pub(crate) fn announce_vteps(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for vni in (self.first_vni..).take(self.vnis) {
            for vtep in (0..self.vteps).map(Self::vtep) {
                let mut nlri = vec![3, 17];
                nlri.extend_from_slice(&rd(vtep, vni));
                nlri.extend_from_slice(&[0, 0, 0, 0, 32]);
                nlri.extend_from_slice(&vtep.octets());
                self.reach(vtep, vni, &nlri, Some(vtep), &mut out);
            }
        }
        out
    }

    /// An UPDATE with the attributes a ToR sends: ORIGIN, AS_PATH, RT and VXLAN encapsulation, PMSI if asked.
    fn reach(&self, vtep: Ipv4Addr, vni: u32, nlri: &[u8], pmsi: Option<Ipv4Addr>, out: &mut Vec<u8>) {
        let mut attributes = vec![0x90, 14];
        attributes.extend_from_slice(&((9 + nlri.len()) as u16).to_be_bytes());
        attributes.extend_from_slice(&EVPN);
        attributes.push(4);
        attributes.extend_from_slice(&vtep.octets());
        attributes.push(0);
        attributes.extend_from_slice(nlri);
        attributes.extend_from_slice(&[0x40, 1, 1, 0]);
        attributes.extend_from_slice(&[0x40, 2, 10, 2, 2]);
        attributes.extend_from_slice(&self.asn.to_be_bytes());
        attributes.extend_from_slice(&(4_200_000_000 + u32::from(vtep.octets()[3])).to_be_bytes());
        attributes.extend_from_slice(&[0xc0, 16, 16, 0, 2]);
        attributes.extend_from_slice(&65000_u16.to_be_bytes());
        attributes.extend_from_slice(&vni.to_be_bytes());
        attributes.extend_from_slice(&[3, 0x0c, 0, 0, 0, 0, 0, 8]);
        if let Some(endpoint) = pmsi {
            attributes.extend_from_slice(&[0xc0, 22, 9, 0, 6]);
            attributes.extend_from_slice(&vni.to_be_bytes()[1..]);
            attributes.extend_from_slice(&endpoint.octets());
        }
        let mut body = vec![0, 0];
        body.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
        body.extend_from_slice(&attributes);
        message(UPDATE, &body, out);
    }
}

/// RD type 1, `VTEP:VNI`.
fn rd(vtep: Ipv4Addr, vni: u32) -> [u8; 8] {
    let [a, b, c, d] = vtep.octets();
    let [.., hi, lo] = vni.to_be_bytes();
    [0, 1, a, b, c, d, hi, lo]
}

/// A MAC-only type-2 NLRI: 35 octets.
fn mac_route(vtep: Ipv4Addr, vni: u32, mac: [u8; 6], out: &mut Vec<u8>) {
    out.extend_from_slice(&[2, 33]);
    out.extend_from_slice(&rd(vtep, vni));
    out.extend_from_slice(&[0; 14]);
    out.push(48);
    out.extend_from_slice(&mac);
    out.push(0);
    out.extend_from_slice(&vni.to_be_bytes()[1..]);
}

/// What a stream of messages holds, told as it is walked.
pub(crate) trait Listener {
    /// A message of this type; for a NOTIFICATION also its body.
    fn message(&mut self, kind: u8, body: &[u8]);
    /// A route of this type appeared or went: type 2 with the MAC of this index, or type 3 with this number in its RD.
    fn route(&mut self, kind: u8, index: usize, reachable: bool);
}

/// Walks the whole messages in `bytes` by their lengths alone; returns how many octets that took.
pub(crate) fn walk(bytes: &[u8], listener: &mut impl Listener) -> Option<usize> {
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + HEADER) {
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        if length < HEADER {
            return None;
        }
        let Some(message) = bytes.get(at..at + length) else { break };
        let body = &message[HEADER..];
        listener.message(header[18], body);
        if header[18] == UPDATE {
            walk_update(body, listener)?;
        }
        at += length;
    }
    Some(at)
}

fn walk_update(body: &[u8], listener: &mut impl Listener) -> Option<()> {
    let withdrawn = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    let mut rest = body.get(2 + withdrawn + 2..)?;
    while let [flags, kind, tail @ ..] = rest {
        let (length, start) = if flags & 0x10 == 0 {
            (usize::from(*tail.first()?), 1)
        } else {
            (usize::from(u16::from_be_bytes([*tail.first()?, *tail.get(1)?])), 2)
        };
        let value = tail.get(start..start + length)?;
        rest = tail.get(start + length..)?;
        match kind {
            14 if value.starts_with(&EVPN) => {
                let next_hop = usize::from(*value.get(3)?);
                walk_nlri(value.get(5 + next_hop..)?, true, listener)?;
            }
            15 if value.starts_with(&EVPN) => walk_nlri(value.get(3..)?, false, listener)?,
            _ => {}
        }
    }
    Some(())
}

fn walk_nlri(mut run: &[u8], reachable: bool, listener: &mut impl Listener) -> Option<()> {
    while let [kind, length, tail @ ..] = run {
        let length = usize::from(*length);
        let number = |octets: &[u8]| octets.iter().fold(0, |n, octet| n << 8 | usize::from(*octet));
        match kind {
            2 => listener.route(2, number(tail.get(26..29)?), reachable),
            3 => listener.route(3, number(tail.get(6..8)?), reachable),
            _ => {}
        }
        run = tail.get(length..)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Count {
        updates: usize,
        seen: Vec<bool>,
        balance: i64,
    }

    impl Listener for Count {
        fn message(&mut self, kind: u8, _: &[u8]) {
            self.updates += usize::from(kind == UPDATE);
        }
        fn route(&mut self, kind: u8, index: usize, reachable: bool) {
            if kind == 3 {
                assert!((200..203).contains(&index));
                return;
            }
            self.seen[index] = true;
            self.balance += if reachable { 1 } else { -1 };
        }
    }

    #[test]
    fn the_walk_finds_what_was_encoded() {
        let table = Table::fabric(1234, 65101);
        let mut count = Count { seen: vec![false; 1234], ..Count::default() };
        let bytes = table.announce();
        assert_eq!(walk(&bytes, &mut count), Some(bytes.len()));
        assert_eq!((count.updates, count.balance), (1234_usize.div_ceil(PACKED), 1234));
        assert!(count.seen.iter().all(|&seen| seen));
        let vteps = Table { vteps: 2, vnis: 3, first_vni: 200, ..table }.announce_vteps();
        assert_eq!(walk(&vteps, &mut count), Some(vteps.len()));
        let bytes = table.withdraw();
        assert_eq!(walk(&bytes, &mut count), Some(bytes.len()));
        assert_eq!(count.balance, 0);
    }

    #[test]
    fn the_walk_stops_before_a_message_that_is_not_whole() {
        let mut count = Count::default();
        let bytes = [keepalive(), end_of_rib()].concat();
        assert_eq!(walk(&bytes[..bytes.len() - 1], &mut count), Some(HEADER));
        assert_eq!(count.updates, 0);
    }
}
