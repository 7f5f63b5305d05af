//! What reading an UPDATE costs, in nanoseconds a type-2 NLRI, next to copying the same octets by hand.
//!
//! `cargo bench -p evpnd-bgp --bench parse`. Each line is the best of several rounds: the machine's noise only adds.
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock; nothing here is part of the daemon"
)]
#![allow(missing_docs, reason = "a program")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use bgp::wire::{
    AsPath, AsSegment, Attributes, DecodeContext, EncodeContext, Esi, ExtCommunity, Nlri, NlriBody, Rd,
    RouteKey, RouteTarget, decode_update, encode_attributes, encode_reach, nlri,
};
use bytes::{Bytes, BytesMut};
use types::{MacAddr, Vni};

const ROUNDS: usize = 15;
const REPEATS: u32 = 20_000;
const VTEP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// The route a benchmark line is about: what FRR announces for a MAC.
fn route(i: u32) -> (RouteKey, NlriBody) {
    let [_, _, a, b] = i.to_be_bytes();
    let key = RouteKey::MacIp {
        rd: Rd::from_ip(Ipv4Addr::new(10, 0, 0, 1), 2),
        tag: 0,
        mac: MacAddr([0x02, 0, 0, 1, a, b]),
        ip: None,
    };
    (key, NlriBody { label: Vni::new(100).unwrap_or_default(), ..NlriBody::default() })
}

/// The body of an UPDATE with `n` routes, and the run of NLRI in it.
fn update(n: u32) -> (Bytes, Vec<u8>) {
    let mut attributes = Attributes::local(VTEP);
    attributes.as_path = AsPath(vec![AsSegment::Sequence(vec![65001, 64512])]);
    attributes.ext_communities = vec![ExtCommunity::VXLAN];
    attributes.ext_communities.extend(RouteTarget::new(65001, 100).map(RouteTarget::community));
    let mut wire = Vec::new();
    encode_attributes(&attributes, &EncodeContext { ebgp: true, as4: true }, &mut wire);
    let mut run = Vec::new();
    for i in 0..n {
        let (key, body) = route(i);
        nlri::encode(&key, &body, &mut run);
    }
    let mut message = BytesMut::new();
    encode_reach(&wire, VTEP, &run, &mut message).expect("fits a message");
    (message.freeze().slice(19..), run)
}

/// Nanoseconds a repetition of the fastest round.
fn best(mut work: impl FnMut()) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..REPEATS {
                work();
            }
            start.elapsed().as_secs_f64() * 1e9
        })
        .fold(f64::INFINITY, f64::min)
        / f64::from(REPEATS)
}

/// What the fields of a type-2 route come to, copied by hand.
#[derive(Clone, Copy, Default)]
struct Plain {
    rd: [u8; 8],
    esi: [u8; 10],
    tag: u32,
    mac: [u8; 6],
    label: [u8; 3],
}

/// Copies the fields of MAC-only routes into a buffer that is there already: the least a reader can do.
fn copy_out(mut run: &[u8], out: &mut [Plain]) -> usize {
    let mut n = 0;
    for slot in out {
        let Some((head, rest)) = run.split_first_chunk::<35>() else { break };
        if (head[0], head[1], head[24], head[31]) != (2, 33, 48, 0) {
            break;
        }
        slot.rd.copy_from_slice(&head[2..10]);
        slot.esi.copy_from_slice(&head[10..20]);
        slot.tag = u32::from_be_bytes([head[20], head[21], head[22], head[23]]);
        slot.mac.copy_from_slice(&head[25..31]);
        slot.label.copy_from_slice(&head[32..35]);
        run = rest;
        n += 1;
    }
    n
}

/// The same into the types evpnd has for routes, which hold more than a MAC without an address needs.
fn same_types(mut run: &[u8], out: &mut Vec<(RouteKey, NlriBody)>) {
    out.clear();
    while let Some((head, rest)) = run.split_first_chunk::<35>() {
        if (head[0], head[1], head[24], head[31]) != (2, 33, 48, 0) {
            break;
        }
        let (mut rd, mut esi, mut mac) = (Rd::default(), Esi::ZERO, MacAddr::ZERO);
        rd.0.copy_from_slice(&head[2..10]);
        esi.0.copy_from_slice(&head[10..20]);
        mac.0.copy_from_slice(&head[25..31]);
        let tag = u32::from_be_bytes([head[20], head[21], head[22], head[23]]);
        let label = Vni::from_be_bytes([head[32], head[33], head[34]]);
        out.push((
            RouteKey::MacIp { rd, tag, mac, ip: None },
            NlriBody { esi, label, ..NlriBody::default() },
        ));
        run = rest;
    }
}

/// What an UPDATE of such routes comes to, copied by hand.
#[derive(Default)]
struct PlainUpdate {
    origin: u8,
    as_path: Vec<u32>,
    communities: Vec<[u8; 8]>,
    next_hop: [u8; 4],
    routes: Vec<Plain>,
    count: usize,
}

/// The whole UPDATE by hand, into buffers that are there already: lengths and flags checked, all fields copied. What a
/// parser made for these messages alone would do; it knows no other attributes, faults or route types.
fn update_by_hand(body: &[u8], out: &mut PlainUpdate) -> Option<()> {
    let (&[0, 0, a, b], mut rest) = body.split_first_chunk()? else { return None };
    if rest.len() != usize::from(u16::from_be_bytes([a, b])) {
        return None;
    }
    while let [flags, code, tail @ ..] = rest {
        let (len, tail) = if flags & 0x10 == 0 {
            let (len, tail) = tail.split_first()?;
            (usize::from(*len), tail)
        } else {
            let (len, tail) = tail.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*len)), tail)
        };
        let (value, tail) = tail.split_at_checked(len)?;
        match (code, flags & 0xc0) {
            (1, 0x40) => out.origin = *value.first().filter(|_| len == 1)?,
            (2, 0x40) => {
                let ([2, count], asns) = value.split_first_chunk()? else { return None };
                let (asns, []) = asns.as_chunks() else { return None };
                if asns.len() != usize::from(*count) {
                    return None;
                }
                out.as_path.clear();
                out.as_path.extend(asns.iter().map(|&asn| u32::from_be_bytes(asn)));
            }
            (16, 0xc0) => {
                let (communities, []) = value.as_chunks() else { return None };
                out.communities.clear();
                out.communities.extend_from_slice(communities);
            }
            (14, 0x80) => {
                let ([0, 25, 70, 4, next_hop @ .., 0], run) = value.split_first_chunk::<9>()? else {
                    return None;
                };
                out.next_hop = *next_hop;
                out.count = copy_out(run, &mut out.routes);
            }
            _ => return None,
        }
        rest = tail;
    }
    Some(())
}

fn main() {
    let ctx = DecodeContext { ebgp: true, as4: true, strict: false };
    // What decoding an UPDATE means to the RIB: the attributes, and each route by value.
    let decode = |body: &Bytes, out: &mut Vec<(RouteKey, NlriBody)>| {
        out.clear();
        let update = decode_update(black_box(body), &ctx).expect("sound");
        update.routes().for_each(|n| {
            if let Nlri::Route(key, body) = n {
                out.push((key, body));
            }
        });
        black_box(&update);
    };
    let (one, _) = update(1);
    let (forty, run) = update(40);
    let mut copied = vec![0; run.len()];
    let mut plain = vec![Plain::default(); 40];
    let mut routes = Vec::with_capacity(40);
    let mut encoded = Vec::with_capacity(4096);

    let memcpy = best(|| black_box(&mut copied).copy_from_slice(black_box(&run))) / 40.0;
    let by_hand = best(|| assert_eq!(copy_out(black_box(&run), black_box(&mut plain)), 40)) / 40.0;
    let mut update = PlainUpdate { routes: vec![Plain::default(); 40], ..PlainUpdate::default() };
    let whole = best(|| assert!(update_by_hand(black_box(&forty), black_box(&mut update)).is_some())) / 40.0;
    assert_eq!((update.count, update.as_path.len(), update.communities.len()), (40, 2, 2));
    let same = best(|| same_types(black_box(&run), black_box(&mut routes))) / 40.0;
    let walk = best(|| {
        bgp::wire::NlriIter::withdrawn(black_box(&run)).for_each(|n| {
            black_box(&n);
        });
    }) / 40.0;
    let n1 = best(|| decode(&one, &mut routes));
    let n40 = best(|| decode(&forty, &mut routes)) / 40.0;
    // Each route used where it is read, as for_each lets one: not collected first.
    let visit = best(|| {
        let update = decode_update(black_box(&forty), &ctx).expect("sound");
        update.routes().for_each(|n| {
            black_box(&n);
        });
        black_box(&update);
    }) / 40.0;
    decode(&forty, &mut routes);
    assert_eq!(routes.len(), 40);
    let encode = best(|| {
        encoded.clear();
        for (key, body) in &routes {
            nlri::encode(key, body, &mut encoded);
        }
        black_box(&encoded);
    }) / 40.0;
    assert_eq!(encoded, run);
    black_box((Esi::ZERO, &plain));

    println!("{:<42}{:>8}", "type-2 NLRI, MAC only", "ns/NLRI");
    for (what, ns) in [
        ("memcpy of the run, n=40", memcpy),
        ("copy-out by hand, reused buffer, n=40", by_hand),
        ("the same into evpnd's types, n=40", same),
        ("UPDATE by hand, reused buffers, n=40", whole),
        ("evpnd: NLRI alone, n=40", walk),
        ("evpnd: UPDATE with attributes, n=40", visit),
        ("evpnd: the same, routes kept in a Vec", n40),
        ("evpnd: the same, n=1", n1),
        ("evpnd: encode NLRI, n=40", encode),
    ] {
        println!("{what:<42}{ns:>8.2}");
    }
    println!("{:<42}{:>8.2}", "ratio UPDATE n=40 / UPDATE by hand", visit / whole);
    println!("{:<42}{:>8.2}", "ratio UPDATE n=40 / into evpnd's types", visit / same);
}
