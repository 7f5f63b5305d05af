//! What peers are sent, case by case: next hops, reflection, packing, split horizon, slow peers, refresh.

#[path = "rib_support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use bgp::rib::{Ineligible, PeerId, PeerInfo, PeerKind, Reason, Rib, Source};
use bgp::wire::{AsPath, AsSegment, Attributes, ExtCommunity, NlriBody, RawAttr, RouteKey, RouteTarget};
use bytes::Bytes;
use support::{
    ASN, CLUSTER_ID, ROUTER_ID, Receiver, announcements, drain, feed, from, info, label, mac, path,
    poll_some, rib, withdrawals,
};

use PeerKind::{Ebgp, Ibgp, IbgpClient};

struct Net {
    rib: Rib,
    peers: BTreeMap<PeerId, Receiver>,
}

impl Net {
    fn new() -> Self {
        Self { rib: rib(), peers: BTreeMap::new() }
    }

    fn up(&mut self, info: PeerInfo) -> PeerId {
        let id = self.rib.peer_up(info.clone());
        self.peers.insert(id, Receiver::new(info));
        id
    }

    fn down(&mut self, id: PeerId) {
        self.rib.peer_down(id);
        self.peers.remove(&id);
    }

    fn announce(&mut self, id: PeerId, attributes: &Attributes, keys: impl IntoIterator<Item = RouteKey>) {
        let updates =
            announcements(&self.peers[&id].info, attributes, keys.into_iter().map(|k| (k, label(100))));
        feed(&mut self.rib, id, updates);
    }

    fn withdraw(&mut self, id: PeerId, keys: impl IntoIterator<Item = RouteKey>) {
        let updates = withdrawals(&self.peers[&id].info, keys);
        feed(&mut self.rib, id, updates);
    }

    fn drain(&mut self) {
        drain(&mut self.rib, &mut self.peers);
    }

    fn has(&self, id: PeerId, key: &RouteKey) -> Option<&Attributes> {
        self.peers[&id].table.get(key).map(|(a, _)| a)
    }
}

#[test]
fn to_the_octet_what_an_external_peer_is_sent() {
    let mut net = Net::new();
    let (a, b) = (net.up(info(1, Ebgp)), net.up(info(2, Ebgp)));
    let mut attributes = path(&[65001]);
    attributes.med = Some(9);
    attributes.ext_communities =
        vec![RouteTarget::new(65000, 100).unwrap().community(), ExtCommunity::VXLAN, ExtCommunity([0x40; 8])];
    attributes.opaque = vec![RawAttr { code: 200, flags: 0xe0, value: Box::new([1, 2, 3]) }];
    net.drain();
    net.announce(a, &attributes, [mac(1)]);
    let mut sent: Vec<(PeerId, Bytes)> = Vec::new();
    while net.rib.poll_send(|_| true, |id, octets| sent.push((id, octets))) {}
    #[rustfmt::skip]
    let expected = [
        &[0xff; 16][..], &[0, 123, 2, 0, 0, 0, 100],
        // MP_REACH_NLRI: 25/70, next hop 192.0.2.1 as it came
        &[0x90, 14, 0, 44, 0, 25, 70, 4, 192, 0, 2, 1, 0],
        // type 2, RD 10.0.0.1:7, no ESI, tag 0, the MAC, no IP, VNI 100
        &[2, 33, 0, 1, 10, 0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 48, 2, 0, 0, 0, 0, 1, 0, 0, 0, 100],
        // ORIGIN incomplete; AS_PATH 65000 65001; no MED, no LOCAL_PREF
        &[0x40, 1, 1, 2, 0x40, 2, 10, 2, 2, 0, 0, 0xfd, 0xe8, 0, 0, 0xfd, 0xe9],
        // route target and encapsulation; the community that is not transitive stays here
        &[0xc0, 16, 16, 0, 2, 0xfd, 0xe8, 0, 0, 0, 100, 3, 0x0c, 0, 0, 0, 0, 0, 8],
        // what nobody knows, with the partial bit
        &[0xe0, 200, 3, 1, 2, 3],
    ].concat();
    let mut expected = expected;
    let len = expected.len() as u16;
    expected[16..18].copy_from_slice(&len.to_be_bytes());
    let attributes_len = len - 23;
    expected[21..23].copy_from_slice(&attributes_len.to_be_bytes());
    assert_eq!(sent, [(b, Bytes::from(expected))]);
}

#[test]
fn who_is_told_of_whose_routes() {
    // RFC 4456 §6: rows are sources, columns receivers.
    let kinds = [Ebgp, Ebgp, Ibgp, Ibgp, IbgpClient, IbgpClient];
    let allowed = |source: Option<PeerKind>, to: PeerKind| !(source == Some(Ibgp) && to == Ibgp);
    let mut net = Net::new();
    let ids: Vec<PeerId> =
        kinds.iter().enumerate().map(|(n, &kind)| net.up(info(n as u8 + 1, kind))).collect();
    for (n, &id) in ids.iter().enumerate() {
        let attributes = from(&info(n as u8 + 1, kinds[n]));
        net.announce(id, &attributes, [mac(n as u32)]);
    }
    net.rib.originate(mac(99), &label(100), path(&[]));
    net.drain();
    for (to, &id) in ids.iter().enumerate() {
        for (source, kind) in kinds.iter().map(|&k| Some(k)).chain([None]).enumerate() {
            let key = mac(if kind.is_some() { source as u32 } else { 99 });
            let expected = allowed(kind, kinds[to]) && to != source;
            let got = net.has(id, &key);
            assert_eq!(got.is_some(), expected, "{kind:?} to {:?}", kinds[to]);
            let Some(got) = got else { continue };
            assert_eq!(got.next_hop, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
            let internal = kinds[to] != Ebgp;
            assert_eq!(got.local_pref, internal.then_some(100));
            let reflected = internal && matches!(kind, Some(Ibgp | IbgpClient));
            let originator = Ipv4Addr::new(10, 9, 9, source as u8 + 1);
            assert_eq!(got.originator_id, reflected.then_some(originator));
            assert_eq!(got.cluster_list, if reflected { vec![CLUSTER_ID] } else { vec![] });
            let mut as_path = vec![];
            if !internal {
                as_path.push(ASN);
            }
            if kind == Some(Ebgp) {
                as_path.push(65001 + source as u32);
            }
            assert_eq!(got.as_path, path(&as_path).as_path);
        }
    }
}

#[test]
fn a_second_reflector_adds_to_the_list_and_keeps_the_originator() {
    let mut net = Net::new();
    let (a, b) = (net.up(info(1, IbgpClient)), net.up(info(2, Ibgp)));
    let first = Ipv4Addr::new(5, 5, 5, 5);
    let attributes = Attributes {
        originator_id: Some(first),
        cluster_list: vec![Ipv4Addr::new(6, 6, 6, 6)],
        local_pref: Some(300),
        med: Some(4),
        ..path(&[65100])
    };
    net.announce(a, &attributes, [mac(1)]);
    net.drain();
    let got = net.has(b, &mac(1)).unwrap();
    assert_eq!((got.originator_id, got.local_pref, got.med), (Some(first), Some(300), Some(4)));
    assert_eq!(got.cluster_list, [CLUSTER_ID, Ipv4Addr::new(6, 6, 6, 6)]);
}

#[test]
fn loops_are_kept_out_of_the_decision_and_can_be_seen() {
    let mut net = Net::new();
    let (a, b, c) = (net.up(info(1, Ebgp)), net.up(info(2, Ibgp)), net.up(info(3, Ebgp)));
    net.announce(a, &path(&[65001, ASN]), [mac(1)]);
    net.announce(b, &Attributes { originator_id: Some(ROUTER_ID), ..path(&[]) }, [mac(2)]);
    net.announce(b, &Attributes { cluster_list: vec![CLUSTER_ID], ..path(&[]) }, [mac(3)]);
    net.drain();
    assert!(net.peers[&c].table.is_empty());
    for (n, why) in [(1, Ineligible::AsLoop), (2, Ineligible::OriginatorLoop), (3, Ineligible::ClusterLoop)] {
        let view = net.rib.lookup(&mac(n)).unwrap();
        assert_eq!((view.paths[0].ineligible, view.paths[0].best), (Some(why), false));
    }
    assert_eq!(net.rib.peer_counters(b).unwrap().ineligible, 2);
    // A route that turns into a loop is withdrawn, and comes back.
    for (as_path, there) in
        [(vec![65001], true), (vec![65001, ASN], false), (vec![65001, 65002, 65003], true)]
    {
        net.announce(a, &path(&as_path), [mac(1)]);
        net.drain();
        assert_eq!(net.has(c, &mac(1)).is_some(), there);
    }
}

#[test]
fn well_known_communities_are_obeyed() {
    let mut net = Net::new();
    let a = net.up(info(1, IbgpClient));
    let (external, internal) = (net.up(info(2, Ebgp)), net.up(info(3, Ibgp)));
    let communities =
        [(0xffff_ff01, (false, true)), (0xffff_ff02, (false, false)), (0xffff_ff03, (false, true))];
    for (community, expected) in communities.into_iter().chain([(0x0001_0001, (true, true))]) {
        net.announce(a, &Attributes { communities: vec![7, community], ..path(&[]) }, [mac(1)]);
        net.drain();
        let got = (net.has(external, &mac(1)).is_some(), net.has(internal, &mac(1)).is_some());
        assert_eq!(got, expected, "{community:#x}");
    }
}

#[test]
fn routes_of_one_attribute_set_fill_their_messages() {
    let mut net = Net::new();
    let (a, b) = (net.up(info(1, Ebgp)), net.up(info(2, Ebgp)));
    let wide = net.up(PeerInfo { max_message: 65535, ..info(3, Ebgp) });
    net.drain();
    let before = |net: &Net, id| net.peers[&id].messages;
    let (b0, wide0) = (before(&net, b), before(&net, wide));
    net.announce(a, &path(&[65001]), (0..1000).map(mac));
    net.drain();
    // 4096 - 23 - 4 - 9 of MP_REACH - 4 of ORIGIN - 13 of AS_PATH leaves room for 115 routes of 35 octets.
    assert_eq!(before(&net, b) - b0, 1000_usize.div_ceil(115));
    assert_eq!(before(&net, wide) - wide0, 1);
    let (b0, wide0) = (before(&net, b), before(&net, wide));
    net.withdraw(a, (0..1000).map(mac));
    net.drain();
    assert_eq!(before(&net, b) - b0, 1000_usize.div_ceil(116));
    assert_eq!(before(&net, wide) - wide0, 1);
    assert_eq!(net.peers[&a].messages, 1, "End-of-RIB and nothing else");
}

#[test]
fn routes_of_two_attribute_sets_in_turn_still_share_messages() {
    let mut net = Net::new();
    let (a, b) = (net.up(info(1, Ebgp)), net.up(info(2, Ebgp)));
    net.drain();
    for n in 0..200 {
        net.announce(a, &path(&[65001, 65100 + n % 2]), [mac(n)]);
    }
    let before = net.peers[&b].messages;
    net.drain();
    assert_eq!(net.peers[&b].messages - before, 2);
    assert_eq!(net.peers[&b].table.len(), 200);
}

#[test]
fn a_route_too_long_for_a_peer_is_not_sent_to_it() {
    let mut net = Net::new();
    let a = net.up(PeerInfo { max_message: 65535, ..info(1, Ebgp) });
    let b = net.up(info(2, Ebgp));
    let wide = net.up(PeerInfo { max_message: 65535, ..info(3, Ebgp) });
    net.announce(a, &path(&[65001]), [mac(1)]);
    net.drain();
    assert!(net.has(b, &mac(1)).is_some());
    net.announce(a, &Attributes { communities: (1..1100).collect(), ..path(&[65001]) }, [mac(1)]);
    net.drain();
    assert_eq!((net.has(b, &mac(1)), net.has(wide, &mac(1)).is_some()), (None, true));
}

#[test]
fn the_source_of_the_best_path_loses_what_it_was_sent() {
    let mut net = Net::new();
    let (a, b, c) = (net.up(info(1, Ebgp)), net.up(info(2, Ebgp)), net.up(info(3, Ebgp)));
    net.announce(b, &path(&[65002, 65100, 65101]), [mac(1)]);
    net.drain();
    let holders = |net: &Net| [a, b, c].map(|id| net.has(id, &mac(1)).is_some());
    assert_eq!(holders(&net), [true, false, true]);
    net.announce(a, &path(&[65001]), [mac(1)]);
    net.drain();
    assert_eq!(holders(&net), [false, true, true]);
    let view = net.rib.lookup(&mac(1)).unwrap();
    let shown: Vec<_> = view.paths.iter().map(|p| (p.source, p.best, p.lost)).collect();
    let expected = [(Source::Peer(a), true, None), (Source::Peer(b), false, Some(Reason::AsPathLength))];
    assert_eq!(shown, expected);
    assert_eq!(net.rib.sent(view.id), [b, c]);
    net.withdraw(a, [mac(1)]);
    net.drain();
    assert_eq!(holders(&net), [true, false, true]);
    net.down(b);
    net.drain();
    assert!(net.has(a, &mac(1)).is_none() && net.has(c, &mac(1)).is_none());
}

#[test]
fn peers_in_step_share_octets() {
    let mut net = Net::new();
    let a = net.up(info(1, Ebgp));
    let others: Vec<PeerId> = (2..10).map(|n| net.up(info(n, Ebgp))).collect();
    net.drain();
    assert_eq!(net.rib.counters().subgroups, 1);
    net.announce(a, &path(&[65001]), (0..500).map(mac));
    let mut pieces: BTreeMap<PeerId, Vec<Bytes>> = BTreeMap::new();
    while net.rib.poll_send(|_| true, |id, octets| pieces.entry(id).or_default().push(octets)) {}
    assert_eq!(pieces.keys().copied().collect::<Vec<_>>(), others);
    let first = &pieces[&others[0]];
    for piece in pieces.values() {
        assert!(piece.iter().zip(first).all(|(x, y)| x.as_ptr() == y.as_ptr() && x == y));
    }
}

#[test]
fn a_slow_peer_costs_nothing_and_catches_up() {
    const ROUTES: u32 = 5000;
    let mut net = Net::new();
    let (a, fast, slow) = (net.up(info(1, Ebgp)), net.up(info(2, Ebgp)), net.up(info(3, Ebgp)));
    net.announce(a, &path(&[65001]), (0..ROUTES).map(mac));
    net.drain();
    let held = net.rib.counters();
    let round = |net: &mut Net| while poll_some(&mut net.rib, &mut net.peers, |id| id != slow) {};

    // Fifty generations of everything pass by; then routes that the slow peer never hears of come and go.
    for generation in 0..50 {
        net.announce(a, &path(&[65001, 65100 + generation]), (0..ROUTES).map(mac));
        round(&mut net);
    }
    for generation in 1..20 {
        let keys = || (generation * ROUTES..(generation + 1) * ROUTES).map(mac);
        net.announce(a, &path(&[65001]), keys());
        round(&mut net);
        net.withdraw(a, keys());
        round(&mut net);
    }
    let now = net.rib.counters();
    assert_eq!((now.tombstones, now.destinations, now.subgroups), (0, held.destinations, 2));
    assert!(now.memory < 2 * held.memory + (1 << 20), "{} octets, were {}", now.memory, held.memory);
    assert_eq!(net.peers[&fast].table.len(), ROUTES as usize);

    // What it was sent and is gone does stay, as a tombstone, until it has been told.
    net.withdraw(a, (0..100).map(mac));
    round(&mut net);
    assert_eq!(net.rib.counters().tombstones, 100);
    let before = net.peers[&slow].messages;
    net.drain();
    assert_eq!(net.peers[&slow].table, net.peers[&fast].table);
    assert!(net.peers[&slow].messages - before < 60, "one generation, not fifty");
    assert_eq!((net.rib.counters().tombstones, net.rib.counters().subgroups), (0, 1));
}

#[test]
fn one_call_does_a_bounded_amount() {
    let mut net = Net::new();
    let (a, b) = (net.up(info(1, Ebgp)), net.up(info(2, Ebgp)));
    net.announce(a, &path(&[65001]), (0..20_000).map(mac));
    let mut calls = 0;
    loop {
        let (before, octets) = (net.peers[&b].table.len(), net.peers[&b].octets);
        if !poll_some(&mut net.rib, &mut net.peers, |_| true) {
            break;
        }
        calls += 1;
        assert!(net.peers[&b].table.len() - before <= 2048 && net.peers[&b].octets - octets < 128 * 1024);
    }
    assert!((10..20).contains(&calls), "{calls}");
}

#[test]
fn a_late_peer_is_sent_all_and_then_the_end_of_it() {
    let mut net = Net::new();
    let a = net.up(info(1, Ebgp));
    net.announce(a, &path(&[65001]), (0..5000).map(mac));
    net.drain();
    let b = net.up(info(2, Ebgp));
    let mut at_eor = 0;
    while poll_some(&mut net.rib, &mut net.peers, |_| true) {
        if net.peers[&b].eors == 1 && at_eor == 0 {
            at_eor = net.peers[&b].table.len();
        }
    }
    assert_eq!((at_eor, net.peers[&b].eors, net.peers[&b].table.len()), (5000, 1, 5000));
}

#[test]
fn a_refresh_repeats_everything_to_the_one_who_asked() {
    let mut net = Net::new();
    let a = net.up(info(1, Ebgp));
    let plain = net.up(info(2, Ebgp));
    let marked = net.up(PeerInfo { enhanced_refresh: true, ..info(3, Ebgp) });
    net.announce(a, &path(&[65001]), (0..3000).map(mac));
    net.drain();
    let octets = |net: &Net| [plain, marked].map(|id| net.peers[&id].octets);
    let before = octets(&net);
    net.rib.refresh(marked);
    net.drain();
    let after = octets(&net);
    assert_eq!(after[0], before[0]);
    assert!(after[1] - before[1] > 3000 * 35);
    assert_eq!((net.peers[&marked].refreshes, net.peers[&marked].eors), (1, 1));
    net.rib.refresh(plain);
    net.drain();
    assert!(octets(&net)[0] - after[0] > 3000 * 35);
    assert_eq!((net.peers[&plain].refreshes, net.peers[&plain].eors), (0, 1));
    assert_eq!(net.rib.counters().subgroups, 1);
}

#[test]
fn what_a_refresh_does_not_repeat_is_gone() {
    // RFC 7313 §4.
    let mut net = Net::new();
    let (a, b, c) = (net.up(info(1, Ebgp)), net.up(info(2, Ebgp)), net.up(info(3, Ebgp)));
    net.announce(a, &path(&[65001]), (0..50_000).map(mac));
    net.announce(b, &path(&[65002, 65009]), [mac(7)]);
    net.drain();
    // An end without a beginning means nothing.
    net.rib.refresh_ends(a);
    net.drain();
    assert_eq!((net.rib.peer_routes(a), net.peers[&c].table.len()), (50_000, 50_000));

    net.rib.refresh_begins(a);
    net.withdraw(a, [mac(2)]);
    net.announce(a, &path(&[65001]), [mac(0), mac(2), mac(60_000)]);
    net.drain();
    assert_eq!(net.rib.peer_routes(a), 50_001, "stale routes stay until the end");
    net.rib.refresh_ends(a);
    // Removed a slice at a time; what comes meanwhile counts as repeated.
    assert!(poll_some(&mut net.rib, &mut net.peers, |_| false));
    assert!(net.rib.peer_routes(a) > 1000);
    net.announce(a, &path(&[65001]), [mac(49_999)]);
    net.drain();
    assert_eq!(net.rib.peer_routes(a), 4);
    assert_eq!(net.peers[&c].keys(), [mac(0), mac(2), mac(7), mac(49_999), mac(60_000)]);
    assert_eq!(net.has(c, &mac(7)).unwrap().as_path.first_as(), Some(ASN));
    assert!(net.has(a, &mac(7)).is_some(), "the path of another is best now");
    // Over: what is announced later is not measured by it, and a lost peer leaves nothing behind.
    net.withdraw(a, [mac(0)]);
    net.rib.refresh_begins(a);
    net.rib.refresh_ends(a);
    net.down(a);
    net.drain();
    assert_eq!(net.peers[&c].keys(), [mac(7)]);
}

#[test]
fn a_lost_peer_goes_in_slices_while_others_are_told() {
    const ROUTES: u32 = 60_000;
    let mut net = Net::new();
    let (a, b, c) = (net.up(info(1, Ebgp)), net.up(info(2, Ebgp)), net.up(info(3, Ebgp)));
    net.announce(a, &path(&[65001]), (0..ROUTES).map(mac));
    net.announce(c, &path(&[65003, 65100]), (0..10).map(mac));
    net.drain();
    net.down(a);
    poll_some(&mut net.rib, &mut net.peers, |_| true);
    assert!(net.rib.peer_routes(a) > 0 && net.peers[&b].table.len() < ROUTES as usize, "on its way");
    let again = net.up(info(1, Ebgp));
    assert_ne!(again, a, "not before its routes are gone");
    net.drain();
    assert_eq!((net.rib.peer_routes(a), net.peers[&b].table.len()), (0, 10));
    assert_eq!(net.has(b, &mac(1)).unwrap().as_path, path(&[ASN, 65003, 65100]).as_path);
    assert!(net.rib.peer_counters(a).is_none());
    assert_eq!(
        net.rib
            .update(a, announcements(&info(1, Ebgp), &path(&[65001]), [(mac(7), label(1))]).remove(0))
            .routes,
        0
    );
}

#[test]
fn an_unchanged_route_is_not_sent_again() {
    let mut net = Net::new();
    let (a, b) = (net.up(info(1, Ebgp)), net.up(info(2, Ebgp)));
    let esi = NlriBody { esi: bgp::wire::Esi([1; 10]), ..label(5) };
    let send = |net: &mut Net, body: NlriBody| {
        let stats = feed(&mut net.rib, a, announcements(&info(1, Ebgp), &path(&[65001]), [(mac(1), body)]));
        net.drain();
        (stats.accepted, stats.unchanged)
    };
    assert_eq!(send(&mut net, esi), (1, 0));
    let messages = net.peers[&b].messages;
    assert_eq!(send(&mut net, esi), (0, 1));
    assert_eq!(net.peers[&b].messages, messages);
    assert_eq!(send(&mut net, label(5)), (1, 0));
    assert_eq!(net.peers[&b].table[&mac(1)].1, label(5));
    assert_eq!(net.rib.counters().nlri_extras, 0);
}

#[test]
fn own_routes_go_out_with_our_as_alone() {
    let mut net = Net::new();
    let b = net.up(info(2, Ebgp));
    net.rib.originate(mac(1), &label(7), Attributes { med: Some(3), ..path(&[]) });
    net.drain();
    let got = net.has(b, &mac(1)).unwrap();
    assert_eq!((&got.as_path, got.med), (&AsPath(vec![AsSegment::Sequence(vec![ASN])]), Some(3)));
    assert!(net.rib.withdraw_local(&mac(1)) && !net.rib.withdraw_local(&mac(1)));
    net.drain();
    assert!(net.has(b, &mac(1)).is_none());
    assert_eq!(net.rib.counters().attribute_sets, 0);
}

#[test]
fn what_only_a_lost_peer_knew_is_forgotten() {
    let mut net = Net::new();
    let (a, slow) = (net.up(info(1, Ebgp)), net.up(info(2, Ebgp)));
    net.announce(a, &path(&[65001]), [mac(1)]);
    net.drain();
    net.down(a);
    while poll_some(&mut net.rib, &mut net.peers, |id| id != slow) {}
    assert_eq!((net.rib.counters().tombstones, net.rib.peer_routes(a)), (1, 0));
    // The table grows behind the place the sweep has come to.
    net.rib.originate(mac(2), &label(1), path(&[]));
    net.down(slow);
    net.rib.originate(mac(3), &label(1), path(&[]));
    net.drain();
    assert_eq!((net.rib.counters().tombstones, net.rib.counters().destinations), (0, 2));
}

#[test]
fn the_inside_of_a_confederation_stays_inside() {
    let mut net = Net::new();
    let (member, client, outside) =
        (net.up(info(1, Ibgp)), net.up(info(2, IbgpClient)), net.up(info(3, Ebgp)));
    let inside = vec![AsSegment::ConfedSequence(vec![65_500, 65_501]), AsSegment::Sequence(vec![7])];
    net.announce(member, &Attributes { as_path: AsPath(inside.clone()), ..path(&[]) }, [mac(1)]);
    net.drain();
    assert_eq!(net.has(client, &mac(1)).unwrap().as_path, AsPath(inside));
    assert_eq!(net.has(outside, &mac(1)).unwrap().as_path, AsPath(vec![AsSegment::Sequence(vec![ASN, 7])]));
}

#[test]
fn an_as_path_that_outgrows_its_attribute_is_not_left_out() {
    // 20 000 ASes: 40 kB as the one neighbour writes them, 80 kB as the others would have to read them.
    let mut net = Net::new();
    let long = |n, as4| PeerInfo { max_message: 65_535, as4, ..info(n, Ebgp) };
    let (from, two, four) = (net.up(long(1, false)), net.up(long(2, false)), net.up(long(3, true)));
    let ases: Vec<u32> = std::iter::once(65_001).chain(std::iter::repeat_n(7, 20_000)).collect();
    net.announce(from, &path(&ases), [mac(1)]);
    net.drain();
    assert_eq!(net.has(two, &mac(1)).unwrap().as_path.length(), 20_002);
    assert!(net.has(four, &mac(1)).is_none());
}
