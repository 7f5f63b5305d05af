//! What the tests of the RIB share: peers, routes, UPDATEs made and read by the real codec.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use bgp::rib::{PeerId, PeerInfo, PeerKind, Rib, RibConfig, UpdateStats};
use bgp::wire::{
    AsPath, AsSegment, Attributes, DecodeContext, EncodeContext, Framer, MessageType, Nlri, NlriBody, Rd,
    RefreshKind, RouteKey, RouteRefresh, Update, decode_update, encode_attributes, encode_reach,
    encode_unreach, nlri, reach_room, unreach_room,
};
use bytes::{Bytes, BytesMut};
use types::{MacAddr, Vni};

pub const ASN: u32 = 65000;
pub const ROUTER_ID: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);
pub const CLUSTER_ID: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 2);

pub fn rib() -> Rib {
    Rib::new(RibConfig { asn: ASN, router_id: ROUTER_ID, cluster_id: CLUSTER_ID })
}

pub fn info(n: u8, kind: PeerKind) -> PeerInfo {
    PeerInfo {
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)),
        asn: if kind == PeerKind::Ebgp { 65000 + u32::from(n) } else { ASN },
        router_id: Ipv4Addr::new(10, 9, 9, n),
        kind,
        as4: true,
        max_message: 4096,
        enhanced_refresh: false,
    }
}

/// Type 2, MAC only.
pub fn mac(n: u32) -> RouteKey {
    let [_, a, b, c] = n.to_be_bytes();
    RouteKey::MacIp {
        rd: Rd::from_ip(Ipv4Addr::new(10, 0, 0, 1), 7),
        tag: 0,
        mac: MacAddr([2, 0, 0, a, b, c]),
        ip: None,
    }
}

pub fn imet(n: u8) -> RouteKey {
    RouteKey::Imet {
        rd: Rd::from_ip(Ipv4Addr::new(10, 0, 0, n), 7),
        tag: 0,
        originator: IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)),
    }
}

pub fn label(n: u32) -> NlriBody {
    NlriBody { label: Vni::new(n).unwrap(), ..NlriBody::default() }
}

/// Attributes with an AS path.
pub fn path(asns: &[u32]) -> Attributes {
    let mut a = Attributes::local(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    if !asns.is_empty() {
        a.as_path = AsPath(vec![AsSegment::Sequence(asns.to_vec())]);
    }
    a
}

/// Attributes as `from` would send them.
pub fn from(from: &PeerInfo) -> Attributes {
    if from.kind == PeerKind::Ebgp { path(&[from.asn]) } else { path(&[]) }
}

/// UPDATEs that announce `routes`.
pub fn announcements(
    peer: &PeerInfo,
    attributes: &Attributes,
    routes: impl IntoIterator<Item = (RouteKey, NlriBody)>,
) -> Vec<Update> {
    let mut wire = Vec::new();
    let ctx = EncodeContext { ebgp: peer.kind == PeerKind::Ebgp, as4: peer.as4 };
    encode_attributes(attributes, &ctx, &mut wire);
    let room = reach_room(wire.len(), attributes.next_hop, peer.max_message);
    runs(routes, room)
        .iter()
        .map(|run| {
            let mut out = BytesMut::new();
            encode_reach(&wire, attributes.next_hop, run, &mut out).unwrap();
            decode(peer, &out.freeze())
        })
        .collect()
}

/// UPDATEs that withdraw `routes`.
pub fn withdrawals(peer: &PeerInfo, routes: impl IntoIterator<Item = RouteKey>) -> Vec<Update> {
    runs(routes.into_iter().map(|key| (key, NlriBody::default())), unreach_room(peer.max_message))
        .iter()
        .map(|run| {
            let mut out = BytesMut::new();
            encode_unreach(run, &mut out).unwrap();
            decode(peer, &out.freeze())
        })
        .collect()
}

fn runs(routes: impl IntoIterator<Item = (RouteKey, NlriBody)>, room: usize) -> Vec<Vec<u8>> {
    let mut runs: Vec<Vec<u8>> = Vec::new();
    for (key, body) in routes {
        let mut one = Vec::new();
        nlri::encode(&key, &body, &mut one);
        match runs.last_mut() {
            Some(run) if run.len() + one.len() <= room => run.extend_from_slice(&one),
            _ => runs.push(one),
        }
    }
    runs
}

fn decode(peer: &PeerInfo, message: &Bytes) -> Update {
    let ctx = DecodeContext { ebgp: peer.kind == PeerKind::Ebgp, as4: peer.as4, strict: true };
    decode_update(&message.slice(19..), &ctx).unwrap()
}

/// Feeds UPDATEs to the RIB.
pub fn feed(rib: &mut Rib, id: PeerId, updates: Vec<Update>) -> UpdateStats {
    let mut sum = UpdateStats::default();
    for update in updates {
        let s = rib.update(id, update);
        sum.accepted += s.accepted;
        sum.unchanged += s.unchanged;
        sum.withdrawn += s.withdrawn;
        sum.spurious += s.spurious;
        sum.discarded += s.discarded;
        sum.treated_as_withdraw += s.treated_as_withdraw;
        sum.ineligible += s.ineligible;
        sum.routes = s.routes;
    }
    sum
}

/// The other end of a session: reads every octet it is sent and objects to what no speaker should send.
#[derive(Debug)]
pub struct Receiver {
    pub info: PeerInfo,
    pub table: BTreeMap<RouteKey, (Attributes, NlriBody)>,
    /// During a marked refresh: what was not repeated yet.
    stale: Option<BTreeSet<RouteKey>>,
    pub eors: usize,
    pub refreshes: usize,
    pub messages: usize,
    pub octets: usize,
}

impl Receiver {
    pub fn new(info: PeerInfo) -> Self {
        Self { info, table: BTreeMap::new(), stale: None, eors: 0, refreshes: 0, messages: 0, octets: 0 }
    }

    pub fn receive(&mut self, octets: Bytes) {
        self.octets += octets.len();
        let mut framer = Framer::default();
        framer.push(octets);
        while let Some(frame) = framer.next(self.info.max_message).expect("sound framing") {
            match frame.kind {
                MessageType::Update => self.update(&frame.body),
                MessageType::RouteRefresh => match RouteRefresh::decode(&frame.body).unwrap().kind {
                    RefreshKind::Begin => self.stale = Some(self.table.keys().cloned().collect()),
                    RefreshKind::End => {
                        let stale = self.stale.take().expect("EoRR without BoRR");
                        assert_eq!(stale, BTreeSet::new(), "not repeated between BoRR and EoRR");
                        self.refreshes += 1;
                    }
                    kind => panic!("{kind:?} from the RIB"),
                },
                kind => panic!("{kind:?} from the RIB"),
            }
            self.messages += 1;
        }
        assert_eq!(framer.buffered(), 0, "only whole messages");
    }

    fn update(&mut self, body: &Bytes) {
        let ctx = DecodeContext { ebgp: self.info.kind == PeerKind::Ebgp, as4: self.info.as4, strict: true };
        let update = decode_update(body, &ctx).expect("a sound UPDATE");
        assert_eq!(update.attr_discards, 0);
        if update.eor {
            self.eors += 1;
            return;
        }
        for nlri in update.withdrawn() {
            let Nlri::Route(key, _) = nlri else { panic!("{nlri:?}") };
            assert!(self.table.remove(&key).is_some(), "withdraw of {key:?}, which was never announced");
            self.fresh(&key);
        }
        for nlri in update.routes() {
            let Nlri::Route(key, body) = nlri else { panic!("{nlri:?}") };
            self.fresh(&key);
            self.table.insert(key, (*update.attributes.clone().unwrap(), body));
        }
    }

    fn fresh(&mut self, key: &RouteKey) {
        if let Some(stale) = &mut self.stale {
            stale.remove(key);
        }
    }

    pub fn keys(&self) -> Vec<RouteKey> {
        self.table.keys().cloned().collect()
    }
}

/// Everybody reads until there is nothing more to read.
pub fn drain(rib: &mut Rib, receivers: &mut BTreeMap<PeerId, Receiver>) {
    while poll_some(rib, receivers, |_| true) {}
}

/// One step, with only some ready.
pub fn poll_some(
    rib: &mut Rib,
    receivers: &mut BTreeMap<PeerId, Receiver>,
    ready: impl Fn(PeerId) -> bool,
) -> bool {
    rib.poll_send(&ready, |id, octets| {
        assert!(ready(id), "sent to a peer that is not ready");
        assert!(octets.len() <= 160 * 1024, "{} octets at once", octets.len());
        receivers.get_mut(&id).expect("a peer that is up").receive(octets);
    })
}
