//! UPDATEs put together from a few octets: attributes right and wrong, short and as long as a message, routes from so
//! few that they meet again.

use std::net::{IpAddr, Ipv4Addr};

use bgp::rib::PeerInfo;
use bgp::wire::{Attributes, Esi, ExtCommunity, NlriBody, Rd, RouteKey, nlri};
use bytes::{BufMut, Bytes, BytesMut};
use types::{MacAddr, Vni};

use crate::choices::Choices;

/// Octets of attributes past which no more are added.
const MOST: usize = 60_000;

/// A whole message.
pub(super) fn message(kind: u8, body: &[u8]) -> Bytes {
    let body = &body[..body.len().min(65_535 - 19)];
    let mut message = BytesMut::with_capacity(19 + body.len());
    message.put_bytes(0xff, 16);
    message.put_u16((19 + body.len()) as u16);
    message.put_u8(kind);
    message.put_slice(body);
    message.freeze()
}

/// One of 32 routes, of types 1-6.
pub(super) fn key(n: u8) -> RouteKey {
    let rd = Rd::from_ip(Ipv4Addr::new(10, 0, 0, n >> 3 & 1), 7);
    let v4 = IpAddr::V4(Ipv4Addr::new(10, 1, 0, n >> 4 & 1));
    let mac = MacAddr([2, 0, 0, 0, 0, n >> 4 & 1]);
    match n & 7 {
        0 => RouteKey::EthernetAd { rd, esi: Esi([1; 10]), tag: u32::from(n >> 4 & 1) },
        1 => RouteKey::MacIp { rd, tag: 0, mac, ip: None },
        2 => RouteKey::MacIp { rd, tag: 0, mac, ip: Some(v4) },
        3 => RouteKey::MacIp { rd, tag: 0, mac, ip: Some(IpAddr::from([n >> 4 & 1; 16])) },
        4 => RouteKey::Imet { rd, tag: 0, originator: v4 },
        5 => RouteKey::EthernetSegment { rd, esi: Esi([2; 10]), originator: v4 },
        6 => RouteKey::Prefix {
            rd,
            tag: 0,
            prefix: format!("10.{}.0.0/16", n >> 4 & 1).parse().expect("a prefix"),
        },
        _ => {
            let key = [&rd.0[..], &[0; 6], &[32, 10, 1, 0, n >> 4 & 1]].concat().into();
            RouteKey::Opaque { kind: 10, key }
        }
    }
}

/// What goes with it.
pub(super) fn body(key: &RouteKey, n: u8) -> NlriBody {
    let label = Vni::new(100 + u32::from(n & 3)).expect("a VNI");
    let esi = if n & 4 == 0 { Esi::ZERO } else { Esi([7; 10]) };
    match key {
        RouteKey::EthernetAd { .. } => NlriBody { label, ..NlriBody::default() },
        RouteKey::MacIp { .. } => {
            let label2 = if n & 8 == 0 { None } else { Vni::new(5000) };
            NlriBody { esi, label, label2, ..NlriBody::default() }
        }
        RouteKey::Prefix { .. } => {
            let gateway = (n & 8 != 0 && esi.is_zero()).then(|| IpAddr::V4(Ipv4Addr::new(10, 1, 0, 9)));
            NlriBody { esi, label, gateway, ..NlriBody::default() }
        }
        _ => NlriBody::default(),
    }
}

/// Attributes of a route of our own.
pub(super) fn local(c: &mut Choices<'_>) -> Attributes {
    let n = c.octet();
    let mut a = Attributes::local(IpAddr::V4(Ipv4Addr::new(192, 0, 2, n & 1)));
    if n & 2 != 0 {
        a.ext_communities =
            vec![ExtCommunity::VXLAN, ExtCommunity::mac_mobility(u32::from(n >> 4), n & 4 != 0)];
    }
    if n & 8 != 0 {
        a.communities = vec![0xffff_ff01];
    }
    a
}

fn attribute(out: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) {
    out.extend([flags | 0x10, code]);
    out.extend((value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}

fn with_attributes(attributes: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0];
    body.extend((attributes.len() as u16).to_be_bytes());
    body.extend_from_slice(attributes);
    body
}

/// The body of an UPDATE that withdraws.
pub(super) fn withdraw(keys: &[RouteKey]) -> Vec<u8> {
    let mut value = vec![0, 25, 70];
    for key in keys {
        nlri::encode(key, &NlriBody::default(), &mut value);
    }
    let mut attributes = Vec::new();
    attribute(&mut attributes, 0x80, 15, &value);
    with_attributes(&attributes)
}

/// The body of an UPDATE that announces, mostly without error.
pub(super) fn update(c: &mut Choices<'_>, peer: &PeerInfo) -> Vec<u8> {
    let mut reach = vec![0, 25, 70];
    match c.octet() & 7 {
        0 => reach.extend([&[16][..], &[0xfd; 16]].concat()),
        1 => reach.extend([&[32][..], &[0xfd; 32]].concat()),
        n => reach.extend([4, 192, 0, 2, n]),
    }
    reach.push(0);
    let routes = c.octet();
    for _ in 0..=routes % 8 {
        let n = c.octet();
        let key = key(n);
        let body = body(&key, c.octet());
        nlri::encode(&key, &body, &mut reach);
    }
    if routes & 0xe0 == 0xe0 {
        // One more, of any type and with any body.
        let (kind, n) = (c.octet() % 13, c.octet());
        let given = c.octets(usize::from(n));
        reach.extend([kind, given.len() as u8]);
        reach.extend_from_slice(given);
    }
    let mut attributes = Vec::new();
    attribute(&mut attributes, 0x80, 14, &reach);
    let bits = c.octet();
    if bits & 7 != 7 {
        attribute(&mut attributes, 0x40, 1, &[bits & 3]);
    }
    if bits & 0x38 != 0x38 {
        attribute(&mut attributes, 0x40, 2, &as_path(c, if peer.as4 { 4 } else { 2 }, peer));
    }
    for _ in 0..bits >> 6 {
        more(c, peer, &mut attributes);
        if attributes.len() > MOST {
            break;
        }
    }
    with_attributes(&attributes)
}

/// An AS path, now and then an endless one.
fn as_path(c: &mut Choices<'_>, width: usize, peer: &PeerInfo) -> Vec<u8> {
    let mut path = Vec::new();
    let segments = c.octet();
    for _ in 0..segments & 3 {
        let what = c.octet();
        let kind = if what & 0x30 == 0x30 { 1 + (what & 3) } else { 2 };
        let (count, repeat) = (what >> 6, if segments & 0xf0 == 0xf0 { 60 } else { 1 });
        let mut asns = Vec::new();
        for _ in 0..=count {
            let asn = c.one(&[peer.asn, 65_100, 4_200_000_000, 23_456, super::ASN, 7]);
            asns.extend(if width == 4 { asn.to_be_bytes().to_vec() } else { bgp_as_trans(asn).to_vec() });
        }
        for _ in 0..repeat {
            path.extend([kind, count + 1]);
            path.extend_from_slice(&asns);
        }
    }
    if segments & 0x3c == 0x3c {
        // As long as messages may be.
        let segment = [&[2, 255][..], &[0xfd; 255 * 4][..255 * width]].concat();
        let n = usize::from(c.octet()) % 118;
        path.extend(segment.iter().copied().cycle().take(segment.len() * n.min(MOST / segment.len())));
    }
    path
}

fn bgp_as_trans(asn: u32) -> [u8; 2] {
    u16::try_from(asn).unwrap_or(23_456).to_be_bytes()
}

/// One more attribute.
fn more(c: &mut Choices<'_>, peer: &PeerInfo, out: &mut Vec<u8>) {
    let what = c.octet();
    let times = [1, 1, 1, 1, 2, 3, 60, 1000][usize::from(what >> 5)];
    let list = |unit: &[u8], most: usize| {
        unit.iter().copied().cycle().take(unit.len() * times.min(most / unit.len())).collect::<Vec<u8>>()
    };
    let number = u32::from(c.octet());
    let (flags, code, value) = match what & 31 {
        0 => (0x80, 4, number.to_be_bytes().to_vec()),
        1 => (0x40, 5, number.to_be_bytes().to_vec()),
        2 => (0x40, 6, vec![]),
        3 => {
            let asn = c.one::<u32>(&[7, 65_100, 4_200_000_000, 23_456]);
            let asn = if peer.as4 { asn.to_be_bytes().to_vec() } else { bgp_as_trans(asn).to_vec() };
            (0xc0, 7, [&asn[..], &[10, 0, 0, 1]].concat())
        }
        4 | 5 => {
            let one = c.one::<u32>(&[7, 0xffff_ff01, 0xffff_ff02, 0xffff_ff03, 0xffff_ff04]);
            (0xc0, 8, list(&one.to_be_bytes(), MOST))
        }
        6 => (0x80, 9, c.one(&[super::ROUTER_ID, Ipv4Addr::new(10, 9, 9, 1)]).octets().to_vec()),
        7 => (0x80, 10, list(&c.one(&[super::CLUSTER_ID, Ipv4Addr::new(6, 6, 6, 6)]).octets(), MOST)),
        8..=11 => {
            let one = c.one(&[
                ExtCommunity::VXLAN.0,
                [0, 2, 0xfd, 0xe8, 0, 0, 0, 100],
                ExtCommunity::mac_mobility(number, false).0,
                ExtCommunity::mac_mobility(number, true).0,
                [6, 3, 2, 0, 0, 0, 0, 1],
                [6, 3, 3, 0, 0, 0, 0, 1],
                [6, 8, number as u8, 0, 0, 0, 0, 0],
                [0x43, 1, 2, 3, 4, 5, 6, 7],
            ]);
            (0xc0, 16, list(&one, MOST))
        }
        12 => (0xc0, 17, as_path(c, 4, peer)),
        13 => {
            let asn = c.one::<u32>(&[7, 4_200_000_000, 0]);
            (0xc0, 18, [&asn.to_be_bytes()[..], &[10, 0, 0, 2]].concat())
        }
        14 => {
            let kind = c.one(&[6, 0, 1, 2]);
            let len = c.one(&[4, 16, 0, 24, 29]);
            (0xc0, 22, [&[0, kind, 0, 0, 100][..], &[1; 29][..len]].concat())
        }
        15 => (0xc0, 23, list(&[0, 8, 0, 2, 1, 2], MOST)),
        16 => (0xc0, 32, list(&[&[0; 11][..], &[number as u8]].concat(), MOST)),
        17 => (0xc0, 128 | number as u8, list(&[1, 2, 3, 4], MOST)),
        18 => (0x80, 128 | number as u8, vec![1]),
        19 => {
            // Withdrawn beside it, perhaps the same.
            let mut value = vec![0, 25, 70];
            nlri::encode(&key(number as u8), &NlriBody::default(), &mut value);
            (0x80, 15, value)
        }
        20 => (0x40, 3, vec![10, 0, 0, 1]),
        _ => {
            let (flags, n) = (c.octet(), c.octet());
            (flags & 0xef, number as u8, c.octets(usize::from(n)).to_vec())
        }
    };
    attribute(out, flags, code, &value);
}
