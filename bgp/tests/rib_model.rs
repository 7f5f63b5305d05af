//! Random sessions against a model too simple to be wrong: whatever happens in whatever order, with whoever reading
//! slowly, in the end every peer has exactly the routes it should, every octet it was sent made sense on the way, and
//! when all is gone nothing is left behind.

#[path = "rib_support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use bgp::rib::{Counters, DestId, PeerId, PeerInfo, PeerKind, Rib, Source};
use bgp::wire::{Attributes, Esi, ExtCommunity, NlriBody, Origin, RouteKey};
use proptest::prelude::*;
use support::{
    ASN, CLUSTER_ID, ROUTER_ID, Receiver, announcements, feed, imet, info, label, mac, path, withdrawals,
};
use types::Vni;

const SLOTS: usize = 7;

fn slot_info(slot: usize) -> PeerInfo {
    use PeerKind::{Ebgp, Ibgp, IbgpClient};
    let kind = [Ebgp, Ebgp, Ebgp, Ibgp, Ibgp, IbgpClient, IbgpClient][slot];
    PeerInfo {
        enhanced_refresh: slot.is_multiple_of(2),
        max_message: if slot == 1 { 65535 } else { 4096 },
        as4: slot != 2,
        ..info(slot as u8 + 1, kind)
    }
}

fn key(n: u8) -> RouteKey {
    if n % 4 == 3 { imet(n) } else { mac(u32::from(n)) }
}

/// Attribute sets that go different ways; some are ineligible, some stay here.
fn variant(peer: Option<&PeerInfo>, n: u8) -> Attributes {
    let external = peer.is_some_and(|p| p.kind == PeerKind::Ebgp);
    let first: Vec<u32> = peer.filter(|_| external).map(|p| p.asn).into_iter().collect();
    let with = |more: &[u32]| path(&[&first[..], more].concat());
    let mut a = with(&[]);
    match n {
        0 => {}
        1 => a = with(&[65100]),
        2 => a = with(&[ASN, 65100]),
        3 => a.communities = vec![0xffff_ff01, 7],
        4 => a.communities = vec![0xffff_ff02],
        5 => a.ext_communities = vec![ExtCommunity::VXLAN, ExtCommunity::mac_mobility(5, false)],
        6 => a.ext_communities = vec![ExtCommunity::mac_mobility(1, true)],
        7 => (a.med, a.origin) = (Some(50), Origin::Igp),
        8 => (a.med, a.origin) = (Some(20), Origin::Igp),
        9 if peer.is_some() && !external => a.originator_id = Some(ROUTER_ID),
        10 if peer.is_some() && !external => a.cluster_list = vec![CLUSTER_ID],
        11 if !external => a.local_pref = Some(200),
        12 if peer.is_some() && !external => {
            (a.originator_id, a.cluster_list) =
                (Some(Ipv4Addr::new(10, 9, 9, 1)), vec![Ipv4Addr::new(6, 6, 6, 6)]);
        }
        _ => a.communities = vec![u32::from(n)],
    }
    a
}
const VARIANTS: u8 = 16;

#[derive(Clone, Debug)]
enum Op {
    Up(usize),
    Down(usize),
    Announce(usize, u8, u32, Vec<u8>),
    /// An error in the attributes: treat-as-withdraw.
    Faulty(usize, Vec<u8>),
    Withdraw(usize, Vec<u8>),
    Originate(u8, u8, u32),
    WithdrawLocal(u8),
    /// Which slots can take more from now on.
    Ready(u8),
    Poll(u8),
    Subscriber(u8),
    Refresh(usize),
    /// It repeats these of its routes, between BoRR and EoRR: the others are gone.
    Repeats(usize, Vec<u8>),
    /// The subscriber wants to see everything again.
    Replay,
}

fn op() -> impl Strategy<Value = Op> {
    let slot = || 0..SLOTS;
    let keys = || proptest::collection::vec(0..24_u8, 1..8);
    prop_oneof![
        3 => slot().prop_map(Op::Up),
        1 => slot().prop_map(Op::Down),
        10 => (slot(), 0..VARIANTS, 1..4_u32, keys()).prop_map(|(s, v, l, k)| Op::Announce(s, v, l, k)),
        1 => (slot(), keys()).prop_map(|(s, k)| Op::Faulty(s, k)),
        4 => (slot(), keys()).prop_map(|(s, k)| Op::Withdraw(s, k)),
        2 => (0..24_u8, 0..VARIANTS, 1..4_u32).prop_map(|(k, v, l)| Op::Originate(k, v, l)),
        1 => (0..24_u8).prop_map(Op::WithdrawLocal),
        4 => any::<u8>().prop_map(Op::Ready),
        6 => (1..4_u8).prop_map(Op::Poll),
        2 => (1..30_u8).prop_map(Op::Subscriber),
        1 => slot().prop_map(Op::Refresh),
        1 => (slot(), keys()).prop_map(|(s, k)| Op::Repeats(s, k)),
        1 => Just(Op::Replay),
    ]
}

type Held = (Attributes, NlriBody);

/// What a reader of the Loc-RIB believes.
type Told = BTreeMap<DestId, (RouteKey, Held, Source)>;

struct World {
    rib: Rib,
    ids: [Option<PeerId>; SLOTS],
    receivers: BTreeMap<PeerId, Receiver>,
    /// The model: what each slot, and under `SLOTS` we ourselves, announced.
    announced: Vec<BTreeMap<RouteKey, Held>>,
    ready: u8,
    subscriber: bgp::rib::SubscriberId,
    told: Told,
    /// What a replay has not shown yet.
    unseen: BTreeSet<DestId>,
    refreshes: BTreeMap<PeerId, usize>,
}

impl World {
    fn new(chunk: u32) -> Self {
        let mut rib = support::rib().with_chunk(chunk);
        let subscriber = rib.subscribe();
        Self {
            rib,
            ids: [None; SLOTS],
            receivers: BTreeMap::new(),
            announced: vec![BTreeMap::new(); SLOTS + 1],
            ready: 0xff,
            subscriber,
            told: Told::new(),
            unseen: BTreeSet::new(),
            refreshes: BTreeMap::new(),
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Up(slot) => self.up(slot),
            Op::Down(slot) => self.down(slot),
            Op::Announce(slot, v, l, keys) => {
                let Some(id) = self.ids[slot] else { return };
                let peer = slot_info(slot);
                let attributes = variant(Some(&peer), v);
                let routes = keys.iter().map(|&k| (key(k), body(&key(k), l)));
                feed(&mut self.rib, id, announcements(&peer, &attributes, routes.clone()));
                // What the wire makes of it on the way to us is not this test's business.
                let attributes = if peer.kind == PeerKind::Ebgp {
                    attributes
                } else {
                    Attributes { local_pref: attributes.local_pref.or(Some(100)), ..attributes }
                };
                for (key, body) in routes {
                    self.announced[slot].insert(key, (attributes.clone(), body));
                }
            }
            Op::Faulty(slot, keys) => {
                let Some(id) = self.ids[slot] else { return };
                let peer = slot_info(slot);
                let routes = keys.iter().map(|&k| (key(k), NlriBody::default()));
                let mut updates = announcements(&peer, &variant(Some(&peer), 0), routes);
                for update in &mut updates {
                    update.attributes = None;
                }
                feed(&mut self.rib, id, updates);
                for &k in &keys {
                    self.announced[slot].remove(&key(k));
                }
            }
            Op::Withdraw(slot, keys) => {
                let Some(id) = self.ids[slot] else { return };
                let mut had: Vec<RouteKey> = keys.iter().map(|&k| key(k)).collect();
                let stats = feed(&mut self.rib, id, withdrawals(&slot_info(slot), had.clone()));
                had.sort();
                had.dedup();
                let n = had.iter().filter(|k| self.announced[slot].remove(k).is_some()).count();
                assert_eq!(stats.withdrawn as usize, n);
                assert_eq!(stats.routes as usize, self.announced[slot].len());
            }
            Op::Originate(k, v, l) => {
                let (key, attributes) = (key(k), variant(None, v));
                let body = body(&key, l);
                self.rib.originate(key.clone(), &body, attributes.clone());
                self.announced[SLOTS].insert(key, (attributes, body));
            }
            Op::WithdrawLocal(k) => {
                let had = self.announced[SLOTS].remove(&key(k)).is_some();
                assert_eq!(self.rib.withdraw_local(&key(k)), had);
            }
            Op::Ready(mask) => self.ready = mask,
            Op::Poll(times) => {
                for _ in 0..times {
                    self.poll();
                }
            }
            Op::Subscriber(max) => {
                self.poll_subscriber(usize::from(max));
            }
            Op::Replay => {
                self.rib.replay(self.subscriber);
                self.unseen = self.told.keys().copied().collect();
            }
            Op::Repeats(slot, keys) => self.repeats(slot, &keys),
            Op::Refresh(slot) => {
                if let Some(id) = self.ids[slot] {
                    self.rib.refresh(id);
                    *self.refreshes.entry(id).or_default() += 1;
                }
            }
        }
    }

    fn repeats(&mut self, slot: usize, keys: &[u8]) {
        let Some(id) = self.ids[slot] else { return };
        let peer = slot_info(slot);
        self.rib.refresh_begins(id);
        let keys: BTreeSet<RouteKey> = keys.iter().map(|&k| key(k)).collect();
        self.announced[slot].retain(|key, _| keys.contains(key));
        for (key, (attributes, body)) in &self.announced[slot] {
            feed(&mut self.rib, id, announcements(&peer, attributes, [(key.clone(), *body)]));
        }
        self.rib.refresh_ends(id);
        // Nobody reads until it is done: the model knows nothing in between.
        while support::poll_some(&mut self.rib, &mut self.receivers, |_| false) {}
    }

    fn up(&mut self, slot: usize) {
        if self.ids[slot].is_none() {
            let id = self.rib.peer_up(slot_info(slot));
            self.ids[slot] = Some(id);
            let old = self.receivers.insert(id, Receiver::new(slot_info(slot)));
            assert!(old.is_none(), "{id:?} is in use");
        }
    }

    fn down(&mut self, slot: usize) {
        if let Some(id) = self.ids[slot].take() {
            self.rib.peer_down(id);
            self.receivers.remove(&id);
            self.refreshes.remove(&id);
            self.announced[slot].clear();
        }
    }

    fn poll(&mut self) -> bool {
        let ready: Vec<PeerId> =
            (0..SLOTS).filter(|s| self.ready >> s & 1 == 1).filter_map(|s| self.ids[s]).collect();
        support::poll_some(&mut self.rib, &mut self.receivers, |id| ready.contains(&id))
    }

    fn poll_subscriber(&mut self, max: usize) -> usize {
        let (told, unseen) = (&mut self.told, &mut self.unseen);
        self.rib.poll(self.subscriber, max, |change| {
            unseen.remove(&change.dest);
            if let Some(b) = change.best {
                let new = (change.key.clone(), (b.attributes.clone(), b.body), b.source);
                if let Some((key, ..)) = told.insert(change.dest, new) {
                    assert_eq!(&key, change.key, "the id was given to another route unsaid");
                }
            } else {
                let (key, ..) = told.remove(&change.dest).expect("told of an end, never of a beginning");
                assert_eq!(&key, change.key);
            }
        })
    }

    fn drain(&mut self) {
        self.ready = 0xff;
        let mut rounds = 0;
        loop {
            let sent = self.poll();
            let seen = self.poll_subscriber(1000);
            if !sent && seen == 0 {
                break;
            }
            rounds += 1;
            assert!(rounds < 10_000, "no end to it");
        }
    }

    /// The best path of a route by the book, and its slot.
    fn best(&self, key: &RouteKey) -> Option<(usize, &Held)> {
        let mut all: Vec<(usize, &Held)> =
            (0..=SLOTS).filter_map(|s| Some((s, self.announced[s].get(key)?))).collect();
        let asn = |a: &Attributes| a.as_path.first_as();
        all.retain(|(s, (a, _))| {
            *s == SLOTS
                || !a.as_path.contains(ASN)
                    && a.originator_id != Some(ROUTER_ID)
                    && !a.cluster_list.contains(&CLUSTER_ID)
        });
        fn keep<K: Ord>(all: &mut Vec<(usize, &Held)>, key: impl Fn(usize, &Attributes) -> K) {
            if let Some(best) = all.iter().map(|(s, h)| key(*s, &h.0)).min() {
                all.retain(|(s, h)| key(*s, &h.0) == best);
            }
        }
        if matches!(key, RouteKey::MacIp { .. }) {
            keep(&mut all, |_, a| !a.mac_mobility().1);
            keep(&mut all, |_, a| !a.mac_mobility().0);
        }
        keep(&mut all, |s, _| s != SLOTS);
        keep(&mut all, |_, a| !a.local_pref.unwrap_or(100));
        keep(&mut all, |_, a| a.as_path.length());
        keep(&mut all, |_, a| a.origin);
        let rivals = all.clone();
        all.retain(|(_, (a, _))| {
            !rivals.iter().any(|(_, (b, _))| asn(a) == asn(b) && b.med.unwrap_or(0) < a.med.unwrap_or(0))
        });
        keep(&mut all, |s, _| s != SLOTS && slot_info(s).kind != PeerKind::Ebgp);
        keep(&mut all, |s, a| {
            a.originator_id.or((s != SLOTS).then(|| slot_info(s).router_id)).map_or(0, u32::from)
        });
        keep(&mut all, |_, a| a.cluster_list.len());
        keep(&mut all, |s, _| s);
        all.first().copied()
    }

    /// What `slot` should have: by RFC 4271 §9.2, RFC 4456, RFC 1997.
    fn expected(&self, slot: usize) -> BTreeMap<RouteKey, Held> {
        let to = slot_info(slot);
        let external = to.kind == PeerKind::Ebgp;
        let mut table = BTreeMap::new();
        for key in (0..24).map(key) {
            let Some((from, (a, body))) = self.best(&key) else { continue };
            let from_kind = (from != SLOTS).then(|| slot_info(from).kind);
            let kept_back = from == slot
                || a.communities.contains(&0xffff_ff02)
                || external && a.communities.contains(&0xffff_ff01)
                || from_kind == Some(PeerKind::Ibgp) && to.kind == PeerKind::Ibgp;
            if kept_back {
                continue;
            }
            let mut a = a.clone();
            if external {
                a.as_path.prepend(ASN);
                a.local_pref = None;
                a.originator_id = None;
                a.cluster_list.clear();
                if from != SLOTS {
                    a.med = None;
                }
            } else {
                a.local_pref = a.local_pref.or(Some(100));
                if from_kind.is_some_and(|k| k != PeerKind::Ebgp) {
                    a.originator_id = a.originator_id.or(Some(slot_info(from).router_id));
                    a.cluster_list.insert(0, CLUSTER_ID);
                }
            }
            table.insert(key, (a, *body));
        }
        table
    }

    fn check(&mut self) {
        for slot in 0..SLOTS {
            let Some(id) = self.ids[slot] else { continue };
            let receiver = &self.receivers[&id];
            assert_eq!(receiver.table, self.expected(slot), "slot {slot}");
            assert_eq!(receiver.eors, 1, "End-of-RIB once, slot {slot}");
            let counters = self.rib.peer_counters(id).unwrap();
            assert_eq!(counters.routes_sent as usize, receiver.table.len());
            assert_eq!(counters.routes_received as usize, self.announced[slot].len());
            assert_eq!(counters.messages_sent as usize, receiver.messages);
            let asked = self.refreshes.get(&id).copied().unwrap_or(0);
            let marked = if receiver.info.enhanced_refresh { asked } else { 0 };
            assert!(receiver.refreshes <= marked && (receiver.refreshes > 0) == (marked > 0));
        }
        let told: BTreeMap<_, _> =
            self.told.values().map(|(k, held, source)| (k.clone(), (held, *source))).collect();
        let mut live = 0;
        for key in (0..24).map(key) {
            let best = self.best(&key).map(|(slot, held)| {
                (held, self.ids.get(slot).copied().flatten().map_or(Source::Local, Source::Peer))
            });
            assert_eq!(told.get(&key).copied(), best, "{key:?}");
            let view = self.rib.lookup(&key);
            let paths = view.as_ref().map_or(0, |v| v.paths.len());
            assert_eq!(paths, self.announced.iter().filter(|a| a.contains_key(&key)).count());
            live += usize::from(paths > 0);
            let Some(view) = view else { continue };
            let shown = view.paths.iter().find(|p| p.best);
            assert_eq!(shown.map(|p| p.source), best.map(|b| b.1));
            assert!(view.paths.iter().all(|p| p.best != (p.lost.is_some() || p.ineligible.is_some())));
            let sent = self.rib.sent(view.id);
            let has: Vec<PeerId> = self
                .receivers
                .iter()
                .filter(|(_, r)| r.table.contains_key(&key))
                .map(|(id, _)| *id)
                .collect();
            assert_eq!(sent, has);
        }
        assert_eq!((self.rib.counters().destinations, self.rib.counters().tombstones), (live, 0));
        assert_eq!(self.rib.routes(None).count(), live);
    }
}

/// Bodies with and without the rare parts.
fn body(key: &RouteKey, l: u32) -> NlriBody {
    match (key, l) {
        (RouteKey::Imet { .. }, _) => NlriBody::default(),
        (_, 2) => NlriBody { esi: Esi([7; 10]), ..label(l) },
        (_, 3) => NlriBody { label2: Vni::new(5000), ..label(l) },
        _ => label(l),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn everyone_ends_up_with_what_the_model_says(
        chunk in 1..20_u32,
        ops in proptest::collection::vec(op(), 1..120),
    ) {
        let mut world = World::new(chunk);
        for slot in 0..4 {
            world.up(slot);
        }
        let half = ops.len() / 2;
        for (at, op) in ops.into_iter().enumerate() {
            world.apply(op);
            if at == half {
                world.drain();
                world.check();
            }
        }
        world.drain();
        world.check();

        // Peers that are still there see the rest go, then go themselves.
        for slot in (0..SLOTS).rev() {
            world.down(slot);
            if slot == 3 {
                world.drain();
                world.check();
            }
        }
        for k in 0..24 {
            world.apply(Op::WithdrawLocal(k));
        }
        world.drain();
        world.check();
        let Counters { destinations, paths, local, tombstones, attribute_sets, nlri_extras, subgroups, .. } =
            world.rib.counters();
        prop_assert_eq!([destinations, paths, local, tombstones, attribute_sets, nlri_extras, subgroups], [0; 7]);
    }
}
