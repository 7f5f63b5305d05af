//! The target `update`: UPDATEs the way they go in the daemon. Octets to a session, the session's UPDATE to the RIB
//! (RFC 7606 on the way), the RIB's messages through the other sessions to their neighbours, who read them as strictly
//! as can be.
//!
//! A model beside it knows what each neighbour announced and is asked, whenever all is read, what everybody should have.

mod build;
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use bgp::rib::{Counters, PeerId, PeerInfo, PeerKind, Rib, RibConfig, Source};
use bgp::session::{ConnId, Direction, Input, Negotiated, Output, RemoteAsn, Session, SessionConfig};
use bgp::wire::capability::Capabilities;
use bgp::wire::message::encode_keepalive;
use bgp::wire::{
    DecodeContext, Disposition, Framer, MessageType, Nlri, Notification, Open, RefreshKind, RouteKey,
    RouteRefresh, Update,
};
use bytes::{BufMut, Bytes, BytesMut};
use types::Time;

use crate::choices::Choices;
use crate::codec::{check_notification, check_update};
use crate::support::Receiver;
use model::Held;

pub(super) const ASN: u32 = 65000;
pub(super) const ROUTER_ID: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);
pub(super) const CLUSTER_ID: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 2);

/// Neighbours: two that announce, and all three listen.
const NEIGHBOURS: usize = 3;
const CONN: ConnId = ConnId(1);

/// A neighbour with the session to it.
struct Neighbour {
    slot: usize,
    session: Session,
    info: PeerInfo,
    strict: bool,
    id: PeerId,
    /// What it was sent.
    receiver: Receiver,
    /// What it announced and did not withdraw.
    announced: BTreeMap<RouteKey, Held>,
}

struct World {
    rib: Rib,
    neighbours: Vec<Neighbour>,
    /// What we announce ourselves.
    local: BTreeMap<RouteKey, Held>,
}

/// Octets are: for each neighbour what it is and can, then what happens.
pub fn update(data: &[u8]) {
    let mut c = Choices(data);
    let rib = Rib::new(RibConfig { asn: ASN, router_id: ROUTER_ID, cluster_id: CLUSTER_ID });
    let mut world = World {
        rib: rib.with_chunk(1 + u32::from(c.octet())),
        neighbours: Vec::new(),
        local: BTreeMap::new(),
    };
    for slot in 0..NEIGHBOURS {
        let neighbour = connect(&mut world.rib, slot, c.octet());
        world.neighbours.push(neighbour);
    }
    while !c.0.is_empty() {
        world.step(&mut c);
    }
    world.end();
}

/// A neighbour whose session is just up.
fn connect(rib: &mut Rib, slot: usize, bits: u8) -> Neighbour {
    let n = slot as u8 + 1;
    let kind = [PeerKind::Ebgp, PeerKind::Ibgp, PeerKind::IbgpClient, PeerKind::Ebgp][usize::from(bits & 3)];
    let (as4, extended, strict, enhanced) = (bits & 4 == 0, bits & 8 != 0, bits & 16 != 0, bits & 32 != 0);
    let asn = if kind == PeerKind::Ebgp { 65000 + u32::from(n) } else { ASN };
    let remote_asn = if kind == PeerKind::Ebgp { RemoteAsn::External } else { RemoteAsn::Internal };
    let config = SessionConfig { passive: true, strict, ..SessionConfig::new(ASN, ROUTER_ID, remote_asn) };
    let mut session = Session::new(config, Time::ZERO, 7);
    let open = Open {
        asn,
        hold_time: 90,
        router_id: Ipv4Addr::new(10, 9, 9, n),
        capabilities: Capabilities {
            multiprotocol: vec![(25, 70)],
            route_refresh: true,
            enhanced_refresh: enhanced,
            extended_message: extended,
            as4: as4.then_some(asn),
            ..Capabilities::default()
        },
    };
    let mut hello = BytesMut::new();
    open.encode(&mut hello);
    encode_keepalive(&mut hello);
    let mut out = Vec::new();
    session.handle(Input::Start, Time::ZERO, &mut out);
    session.handle(Input::Connected { conn: CONN, direction: Direction::Incoming }, Time::ZERO, &mut out);
    session.handle(Input::Received { conn: CONN, data: hello.freeze() }, Time::ZERO, &mut out);
    let greeting = out.iter().map(|o| if let Output::Send { data, .. } = o { data.len() } else { 0 }).sum();
    session.handle(Input::Written { conn: CONN, bytes: greeting }, Time::ZERO, &mut out);
    let up = out.iter().find_map(|o| if let Output::Established(n) = o { Some(n) } else { None });
    let info = peer_info(up.expect("it comes up"), n, kind);
    assert_eq!((info.asn, info.as4, info.enhanced_refresh), (asn, as4, enhanced));
    let id = rib.peer_up(info.clone());
    let receiver = Receiver::new(info.clone());
    Neighbour { slot, session, info, strict, id, receiver, announced: BTreeMap::new() }
}

fn peer_info(negotiated: &Negotiated, n: u8, kind: PeerKind) -> PeerInfo {
    PeerInfo::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)), kind, negotiated)
}

impl World {
    fn step(&mut self, c: &mut Choices<'_>) {
        let what = c.octet();
        let slot = usize::from(what >> 6) % NEIGHBOURS;
        match what & 15 {
            // The body of an UPDATE as it is.
            0..=2 => {
                let n = usize::from(c.word());
                let body = c.octets(n);
                self.receive(slot, &build::message(2, body));
            }
            // One put together.
            3..=7 => {
                let peer = &self.neighbours[slot].info;
                let body = build::update(c, peer);
                self.receive(slot, &build::message(2, &body));
            }
            8 => {
                let keys: Vec<RouteKey> = (0..=c.octet() % 8).map(|_| build::key(c.octet())).collect();
                self.receive(slot, &build::message(2, &build::withdraw(&keys)));
            }
            9 | 10 => drop(self.poll(c.octet())),
            11 => {
                let mut out = BytesMut::new();
                RouteRefresh::evpn(RefreshKind::Request).encode(&mut out);
                self.receive(slot, &out.freeze());
            }
            12 => self.reconnect(slot, c.octet()),
            13 => {
                let key = build::key(c.octet());
                let body = build::body(&key, c.octet());
                let attributes = build::local(c);
                self.rib.originate(key.clone(), &body, attributes.clone());
                self.local.insert(key, (Rc::new(attributes), body));
            }
            14 => {
                let key = build::key(c.octet());
                let had = self.local.remove(&key).is_some();
                assert_eq!(self.rib.withdraw_local(&key), had);
            }
            _ => self.check(),
        }
    }

    /// What a neighbour sends, as far as its session takes it.
    fn receive(&mut self, slot: usize, data: &Bytes) {
        let neighbour = &mut self.neighbours[slot];
        let ctx = DecodeContext {
            ebgp: neighbour.info.kind == PeerKind::Ebgp,
            as4: neighbour.info.as4,
            strict: neighbour.strict,
        };
        let mut out = Vec::new();
        neighbour.session.handle(Input::Received { conn: CONN, data: data.clone() }, Time::ZERO, &mut out);
        let mut told = None;
        let mut down = false;
        for output in out {
            match output {
                Output::Update(update) => {
                    check_update(&data.slice(19..), ctx).expect("the session took it");
                    self.announce(slot, update);
                }
                Output::Refresh(refresh) => {
                    assert_eq!(refresh.kind, RefreshKind::Request);
                    self.rib.refresh(self.neighbours[slot].id);
                }
                Output::Send { data, .. } => told = Some(data),
                Output::Down(_) => down = true,
                Output::Close { .. } | Output::StateChanged(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told.is_some(), down, "who ends a session says why");
        if let Some(told) = told {
            check_told(told);
            let bits = self.bits(slot);
            self.reconnect(slot, bits);
        }
    }

    /// The octet that makes a neighbour what it is.
    fn bits(&self, slot: usize) -> u8 {
        let n = &self.neighbours[slot];
        let kind = match n.info.kind {
            PeerKind::Ebgp => 0,
            PeerKind::Ibgp => 1,
            PeerKind::IbgpClient => 2,
        };
        kind | u8::from(!n.info.as4) << 2
            | u8::from(n.info.max_message > 4096) << 3
            | u8::from(n.strict) << 4
            | u8::from(n.info.enhanced_refresh) << 5
    }

    /// The session ends and another begins.
    fn reconnect(&mut self, slot: usize, bits: u8) {
        self.rib.peer_down(self.neighbours[slot].id);
        self.neighbours[slot] = connect(&mut self.rib, slot, bits);
    }

    /// An UPDATE to the RIB, and to the model.
    fn announce(&mut self, slot: usize, update: Update) {
        let neighbour = &mut self.neighbours[slot];
        let before = neighbour.announced.len();
        let mut removed = 0;
        for n in update.withdrawn() {
            if let Nlri::Route(key, _) = n {
                removed += u32::from(neighbour.announced.remove(&key).is_some());
            }
        }
        let mut discarded = update.withdrawn().filter(|n| matches!(n, Nlri::Discard(_))).count();
        let attributes = update.attributes.as_deref().cloned().map(Rc::new);
        for n in update.routes() {
            match n {
                Nlri::Route(key, body) => {
                    assert_eq!(update.disposition, Disposition::Accept);
                    let attributes = attributes.as_ref().expect("announced with attributes");
                    neighbour.announced.insert(key, (Rc::clone(attributes), body));
                }
                Nlri::Withdraw(key, _) => drop(neighbour.announced.remove(&key)),
                Nlri::Discard(_) => discarded += 1,
            }
        }
        let stats = self.rib.update(neighbour.id, update);
        assert_eq!((stats.withdrawn, stats.discarded as usize), (removed, discarded));
        assert_eq!(stats.routes as usize, neighbour.announced.len(), "{before} before, {stats:?}");
    }

    /// One turn of sending to those neighbours whose bit is set.
    fn poll(&mut self, ready: u8) -> bool {
        let mut sent: Vec<(PeerId, Bytes)> = Vec::new();
        let neighbours = &self.neighbours;
        let ready = |id| neighbours.iter().any(|n| n.id == id && ready >> n.slot & 1 == 1);
        let progress = self.rib.poll_send(ready, |id, data| sent.push((id, data)));
        for (id, data) in sent {
            let neighbour = self.neighbours.iter_mut().find(|n| n.id == id).expect("a session that is up");
            assert!(data.len() <= 160 * 1024, "{} octets at once", data.len());
            let mut out = Vec::new();
            neighbour.session.handle(Input::Send { data: data.clone() }, Time::ZERO, &mut out);
            let mut octets = BytesMut::new();
            for output in out {
                let Output::Send { conn: CONN, data } = output else { panic!("{output:?}") };
                octets.put_slice(&data);
            }
            assert_eq!(octets, data, "the session sends what the RIB gave it");
            let written = Input::Written { conn: CONN, bytes: data.len() };
            neighbour.session.handle(written, Time::ZERO, &mut Vec::new());
            assert_eq!(neighbour.session.backlog(), 0);
            neighbour.receiver.receive(data);
        }
        progress
    }

    /// Everybody reads all there is.
    fn drain(&mut self) {
        for _ in 0..100_000 {
            if !self.poll(0xff) {
                return;
            }
        }
        panic!("no end to it");
    }

    /// Everything against the model, once all is read.
    fn check(&mut self) {
        self.drain();
        let announced: Vec<model::Announced<'_>> = self
            .neighbours
            .iter()
            .map(|n| (Some(&n.info), Source::Peer(n.id), &n.announced))
            .chain([(None, Source::Local, &self.local)])
            .collect();
        let mut live = 0;
        let mut best = Vec::new();
        for view in self.rib.routes(None) {
            live += 1;
            let mut paths: Vec<_> = view.paths.iter().map(|p| (p.source, p.attributes, p.body)).collect();
            paths.sort_by_key(|p| p.0);
            let mut expected: Vec<_> = announced
                .iter()
                .filter_map(|(_, source, routes)| routes.get(view.key).map(|(a, b)| (*source, &**a, *b)))
                .collect();
            expected.sort_by_key(|p| p.0);
            assert_eq!(paths, expected, "{}", view.key);
            let chosen = model::best(view.key, &announced);
            let shown = view.paths.iter().find(|p| p.best).map(|p| p.source);
            assert_eq!(shown, chosen.map(|at| announced[at].1), "{}: {:?}", view.key, view.paths);
            if let Some(at) = chosen {
                assert!(view.paths[0].best, "the best path is the first");
                best.push((view.key.clone(), at));
            }
        }
        let all: BTreeSet<_> = announced.iter().flat_map(|a| a.2.keys()).collect();
        assert_eq!(live, all.len());
        for neighbour in &self.neighbours {
            let expected = model::expected(&neighbour.info, neighbour.slot, &announced, &best);
            let table = &neighbour.receiver.table;
            assert!(
                table.keys().eq(expected.keys()),
                "neighbour {}: {table:?}, not {expected:?}",
                neighbour.slot
            );
            for ((key, has), (attributes, body)) in table.iter().zip(expected.values()) {
                assert_eq!((&has.0, has.1), (&**attributes, *body), "{key}, neighbour {}", neighbour.slot);
            }
            assert_eq!(neighbour.receiver.eors, 1);
            let counters = self.rib.peer_counters(neighbour.id).expect("it is up");
            assert_eq!(counters.routes_sent as usize, expected.len());
            assert_eq!(counters.routes_received as usize, neighbour.announced.len());
            assert_eq!(counters.messages_sent as usize, neighbour.receiver.messages);
        }
        let counters = self.rib.counters();
        assert_eq!((counters.destinations, counters.tombstones), (live, 0));
        assert_eq!(counters.paths, announced.iter().map(|a| a.2.len()).sum::<usize>());
        assert!(counters.attribute_sets <= counters.paths + NEIGHBOURS);
    }

    /// All is withdrawn, then all sessions end, and nothing is left of it.
    fn end(&mut self) {
        self.check();
        for slot in 0..NEIGHBOURS {
            let keys: Vec<_> = self.neighbours[slot].announced.keys().cloned().collect();
            for key in keys {
                self.receive(slot, &build::message(2, &build::withdraw(&[key])));
            }
            assert_eq!(self.neighbours[slot].announced.len(), 0);
        }
        for key in std::mem::take(&mut self.local).into_keys() {
            assert!(self.rib.withdraw_local(&key));
        }
        self.check();
        assert!(self.neighbours.iter().all(|n| n.receiver.table.is_empty()));
        let Counters { nlri_extras, attribute_sets, .. } = self.rib.counters();
        // The RIB keeps the last set of each session, since the next UPDATE mostly has the same.
        assert!(nlri_extras == 0 && attribute_sets <= NEIGHBOURS, "{nlri_extras} {attribute_sets}");
        for n in &self.neighbours {
            self.rib.peer_down(n.id);
        }
        while self.rib.poll_send(|_| true, |id, _| panic!("{id:?} is gone")) {}
        let Counters { attribute_sets, nlri_extras, subgroups, destinations, paths, tombstones, .. } =
            self.rib.counters();
        assert_eq!([attribute_sets, nlri_extras, subgroups, destinations, paths, tombstones], [0; 6]);
    }
}

/// What a session says when it ends: one NOTIFICATION.
fn check_told(data: Bytes) {
    let mut framer = Framer::default();
    framer.push(data);
    let frame = framer.next(4096).expect("sound").expect("whole");
    assert_eq!((frame.kind, framer.buffered()), (MessageType::Notification, 0));
    check_notification(&Notification::decode(&frame.body).expect("a NOTIFICATION"));
}
