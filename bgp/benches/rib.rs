//! What a route costs in the RIB: a million type-2 routes from peer A, from the octets of real UPDATEs, through the best
//! path to the octets sent to peer B, and all of them withdrawn again.
//!
//! `cargo bench -p evpnd-bgp --bench rib [-- ROUTES [ROUNDS [SHARE]]]`. The figures are nanoseconds a route, best of the rounds, and
//! octets of resident memory a route.
#![allow(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bgp::rib::{PeerId, PeerInfo, PeerKind, Rib, RibConfig};
use bgp::wire::{
    AsPath, AsSegment, Attributes, DecodeContext, EncodeContext, ExtCommunity, NlriBody, Rd, RouteKey,
    RouteTarget, Update, decode_update, encode_attributes, encode_reach, encode_unreach, nlri, reach_room,
};
use bytes::{Bytes, BytesMut};
use types::{MacAddr, Vni};

const CONTEXT: DecodeContext = DecodeContext { ebgp: true, as4: true, strict: false };

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|a| a.parse::<u32>().ok());
    let routes = args.next().unwrap_or(1_000_000);
    let rounds = args.next().unwrap_or(3);
    // Routes of one VTEP in one VNI, which share an attribute set.
    let share = args.next().unwrap_or(100);
    println!("{routes} routes, {share} an attribute set, best of {rounds}; ns a route");
    for (name, with_ip) in [("type 2, MAC only", false), ("type 2, MAC and IPv4", true)] {
        let (announce, withdraw) = updates(routes, share, with_ip);
        println!("{name}: {} UPDATEs, {} routes each at most", announce.len(), per_update(&announce));
        let mut best: Vec<(&str, f64)> = Vec::new();
        for _ in 0..rounds {
            let figures = round(routes, &announce, &withdraw);
            if best.is_empty() {
                best = figures;
            } else {
                // Later rounds run in memory that earlier ones touched: what is resident shows in the first only.
                best.iter_mut()
                    .zip(figures)
                    .filter(|(b, _)| !b.0.contains("memory"))
                    .for_each(|(b, f)| b.1 = b.1.min(f.1));
            }
        }
        for (what, figure) in best {
            println!("  {what:<44} {figure:7.1}");
        }
    }
}

fn round(routes: u32, announce: &[Bytes], withdraw: &[Bytes]) -> Vec<(&'static str, f64)> {
    let n = f64::from(routes);
    let per_route = |time: Duration| time.as_nanos() as f64 / n;
    let decode = |message: &Bytes| decode_update(&message.slice(19..), &CONTEXT).expect("our own UPDATE");
    let mut figures = Vec::new();

    // Everything in, then everything out.
    let start_memory = resident();
    let mut rib =
        Rib::new(RibConfig { asn: 65000, router_id: Ipv4Addr::LOCALHOST, cluster_id: Ipv4Addr::LOCALHOST });
    let a = rib.peer_up(peer(1));
    let b = rib.peer_up(peer(2));
    send(&mut rib);
    let begin = Instant::now();
    let mut count = 0;
    for message in announce {
        count += decode(message).routes().count();
    }
    figures.push(("decode alone", per_route(begin.elapsed())));
    assert_eq!(count, routes as usize);
    let begin = Instant::now();
    for message in announce {
        rib.update(a, decode(message));
    }
    figures.push(("decode, insert", per_route(begin.elapsed())));
    assert_eq!(rib.peer_routes(a), routes);
    let begin = Instant::now();
    let octets = send(&mut rib);
    figures.push(("encode for B", per_route(begin.elapsed())));
    figures.push(("  octets", octets as f64 / n));
    assert_eq!(rib.peer_counters(b).map(|c| c.routes_sent), Some(routes));
    figures.push(("  memory: octets resident", (resident() - start_memory) as f64 / n));
    figures.push(("  memory: octets by own account", rib.counters().memory as f64 / n));
    let begin = Instant::now();
    for message in announce {
        rib.update(a, decode(message));
    }
    figures.push(("the same again: decode, no change", per_route(begin.elapsed())));
    let begin = Instant::now();
    rib.refresh(b);
    send(&mut rib);
    figures.push(("route refresh for B", per_route(begin.elapsed())));
    // Other peers have the same routes, as the spines of a fabric do.
    let others = [3, 4, 5].map(|n| rib.peer_up(peer(n)));
    send(&mut rib);
    for (what, &other) in ["second path", "third path", "fourth path"].into_iter().zip(&others) {
        let begin = Instant::now();
        for message in announce {
            rib.update(other, decode(message));
        }
        figures.push((what, per_route(begin.elapsed())));
    }
    let begin = Instant::now();
    for other in others {
        rib.peer_down(other);
    }
    send(&mut rib);
    figures.push(("these three die", per_route(begin.elapsed())));
    let begin = Instant::now();
    rib.peer_down(a);
    send(&mut rib);
    figures.push(("A dies: withdraw from B, free", per_route(begin.elapsed())));
    assert_eq!((rib.counters().destinations, rib.counters().tombstones), (0, 0));

    // As it happens: a read of the socket in, a chunk out.
    let a = rib.peer_up(peer(3));
    send(&mut rib);
    let mut longest = Duration::ZERO;
    let begin = Instant::now();
    for read in announce.chunks(16) {
        let turn = Instant::now();
        for message in read {
            rib.update(a, decode(message));
        }
        send(&mut rib);
        longest = longest.max(turn.elapsed());
    }
    figures.push(("relay A to B, 16 UPDATEs at a time", per_route(begin.elapsed())));
    figures.push(("  longest turn, microseconds", longest.as_micros() as f64));
    let begin = Instant::now();
    for read in withdraw.chunks(16) {
        for message in read {
            rib.update(a, decode(message));
        }
        send(&mut rib);
    }
    figures.push(("A withdraws, 16 UPDATEs at a time", per_route(begin.elapsed())));
    assert_eq!((rib.counters().destinations, rib.counters().tombstones), (0, 0));
    figures
}

/// Everybody takes everything; returns the octets.
fn send(rib: &mut Rib) -> usize {
    let mut octets = 0;
    while rib.poll_send(|_: PeerId| true, |_, out| octets += std::hint::black_box(out).len()) {}
    octets
}

fn peer(n: u8) -> PeerInfo {
    PeerInfo {
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)),
        asn: 65000 + u32::from(n),
        router_id: Ipv4Addr::new(10, 0, 0, n),
        kind: PeerKind::Ebgp,
        as4: true,
        max_message: 4096,
        enhanced_refresh: false,
    }
}

/// The routes in UPDATEs that announce them and in UPDATEs that withdraw them.
fn updates(routes: u32, share: u32, with_ip: bool) -> (Vec<Bytes>, Vec<Bytes>) {
    let (mut announce, mut withdraw) = (Vec::new(), Vec::new());
    for set in 0..routes.div_ceil(share) {
        let (vtep, vni) = (set / 100, 10_000 + set % 100);
        let [_, _, x, y] = vtep.to_be_bytes();
        let address = Ipv4Addr::new(10, 1, x, y);
        let mut attributes = Attributes::local(IpAddr::V4(address));
        attributes.as_path = AsPath(vec![AsSegment::Sequence(vec![65001, 4_200_000_000 + vtep])]);
        attributes.ext_communities =
            vec![RouteTarget::new(65000, vni).expect("fits").community(), ExtCommunity::VXLAN];
        let mut wire = Vec::new();
        encode_attributes(&attributes, &EncodeContext { ebgp: true, as4: true }, &mut wire);
        let body = NlriBody { label: Vni::new(vni).expect("24 bits"), ..NlriBody::default() };
        let rd = Rd::from_ip(address, vni as u16);
        let room = reach_room(wire.len(), attributes.next_hop, 4096);
        let mut run = Vec::new();
        let mut flush = |run: &mut Vec<u8>| {
            let mut out = BytesMut::new();
            encode_reach(&wire, attributes.next_hop, run, &mut out).expect("fits");
            announce.push(out.freeze());
            let mut out = BytesMut::new();
            encode_unreach(run, &mut out).expect("fits");
            withdraw.push(out.freeze());
            run.clear();
        };
        for n in set * share..routes.min((set + 1) * share) {
            let [h, i, j, k] = n.wrapping_mul(0x9e37_79b1).to_be_bytes(); // MACs do not come in order
            let ip = with_ip.then_some(IpAddr::V4(Ipv4Addr::from(n | 10 << 24)));
            let key = RouteKey::MacIp { rd, tag: 0, mac: MacAddr([2, 0, h, i, j, k]), ip };
            if run.len() + nlri::encoded_len(&key, &body) > room {
                flush(&mut run);
            }
            nlri::encode(&key, &body, &mut run);
        }
        flush(&mut run);
    }
    (announce, withdraw)
}

fn per_update(updates: &[Bytes]) -> usize {
    let routes =
        |m: &Bytes| decode_update(&m.slice(19..), &CONTEXT).map_or(0, |u: Update| u.routes().count());
    updates.iter().map(routes).max().unwrap_or(0)
}

/// Octets of resident memory of this process.
fn resident() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<i64>().ok()).unwrap_or(0) * 4096
}
