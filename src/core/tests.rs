use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bgp::session::{ConnId, RemoteAsn, SessionConfig};
use bgp::wire::capability::Capabilities;
use bgp::wire::{
    Attributes, EncodeContext, NlriBody, Open, Rd, RefreshKind, RouteKey, RouteRefresh, encode_attributes,
    encode_reach, message, nlri,
};
use bytes::{Bytes, BytesMut};
use types::Time;

use super::neighbour::{DynamicConfig, NeighbourConfig};
use super::{Core, CoreConfig, Input, Output};
use crate::evpn::DuplicateDetection;
use crate::speaker::socket::SocketOptions;

const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
const START: Time = Time::from_micros(1_000_000);

/// A core whose only neighbours are those of a range.
fn config() -> CoreConfig {
    let template = NeighbourConfig {
        address: Ipv4Addr::UNSPECIFIED.into(),
        port: 179,
        session: SessionConfig { passive: true, ..SessionConfig::new(64512, US, RemoteAsn::External) },
        socket: SocketOptions::default(),
        route_reflector_client: false,
        max_routes: None,
        description: None,
    };
    CoreConfig {
        asn: 64512,
        router_id: US,
        cluster_id: US,
        vtep: None,
        neighbours: Vec::new(),
        dynamic: vec![DynamicConfig { range: "10.0.0.0/24".parse().unwrap(), max_peers: 2, template }],
        vxlan_port: 4789,
        discover: None,
        router_mac: None,
        mac_vrfs: Vec::new(),
        duplicate_macs: DuplicateDetection::default(),
    }
}

/// The peer connects; what follows from it.
fn connect(core: &mut Core, conn: u64, now: Time) -> Vec<Output> {
    let mut out = Vec::new();
    let (neighbour, _) = core.admit(PEER, now).expect("somebody from the range");
    core.handle(Input::Accepted { conn: ConnId(conn), neighbour }, now, &mut out);
    out
}

fn open(asn: u32) -> Bytes {
    let mut message = BytesMut::new();
    let capabilities = Capabilities {
        multiprotocol: vec![(bgp::wire::AFI_L2VPN, bgp::wire::SAFI_EVPN)],
        as4: Some(asn),
        route_refresh: true,
        enhanced_refresh: true,
        ..Capabilities::default()
    };
    Open { asn, hold_time: 90, router_id: [10, 0, 0, 9].into(), capabilities }.encode(&mut message);
    message.freeze()
}

fn closes(out: &[Output], conn: u64) -> bool {
    out.contains(&Output::Close { conn: ConnId(conn) })
}

#[test]
fn a_dynamic_neighbour_that_is_kept_away_is_not_forgotten() {
    let mut core = Core::new(config(), 1, START, &mut Vec::new());
    assert!(!closes(&connect(&mut core, 1, START), 1));
    // Our own AS, where an external one is wanted.
    let mut out = Vec::new();
    core.handle(Input::Received { conn: ConnId(1), data: open(64512) }, START, &mut out);
    assert!(closes(&out, 1));
    assert!(closes(&connect(&mut core, 2, START), 2), "let in at once, though it is to be kept away");
    let later = START + Duration::from_secs(120);
    core.handle(Input::Tick, later, &mut Vec::new());
    assert!(core.neighbour_views(later).is_empty(), "forgotten once the pause is over");
    assert!(!closes(&connect(&mut core, 3, later), 3));
}

#[test]
fn a_dynamic_neighbour_may_come_back_after_its_range_changed() {
    let mut core = Core::new(config(), 1, START, &mut Vec::new());
    connect(&mut core, 1, START);
    let mut changed = config();
    changed.dynamic[0].template.session.hold_time = 30;
    let mut out = Vec::new();
    core.reconfigure(changed, START, &mut out).unwrap();
    assert!(closes(&out, 1));
    assert!(!closes(&connect(&mut core, 2, START), 2));
}

#[test]
fn a_neighbour_may_repeat_its_routes_unasked() {
    // RFC 7313 §4: what it does not repeat between BoRR and EoRR is gone.
    let mut core = Core::new(config(), 1, START, &mut Vec::new());
    connect(&mut core, 1, START);
    let mut attributes = Vec::new();
    let ebgp = EncodeContext { ebgp: true, as4: true };
    encode_attributes(&Attributes::local(PEER), &ebgp, &mut attributes);
    let route = |n: u8, out: &mut BytesMut| {
        let originator = IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
        let key = RouteKey::Imet { rd: Rd::from_ip([10, 0, 0, 9].into(), 1), tag: 0, originator };
        let mut run = Vec::new();
        nlri::encode(&key, &NlriBody::default(), &mut run);
        encode_reach(&attributes, PEER, &run, out).unwrap();
    };
    let mut session = BytesMut::from(&open(65001)[..]);
    message::encode_keepalive(&mut session);
    for n in 1..=3 {
        route(n, &mut session);
    }
    let mut hear = |data: BytesMut| {
        let data = data.freeze();
        core.handle(Input::Received { conn: ConnId(1), data }, START, &mut Vec::new());
        while core.work(true, START, &mut Vec::new()) {}
        core.rib.counters().destinations
    };
    assert_eq!(hear(session), 3);
    let mut begin = BytesMut::new();
    RouteRefresh::evpn(RefreshKind::Begin).encode(&mut begin);
    route(2, &mut begin);
    assert_eq!(hear(begin), 3);
    let mut end = BytesMut::new();
    RouteRefresh::evpn(RefreshKind::End).encode(&mut end);
    assert_eq!(hear(end), 1);
}
