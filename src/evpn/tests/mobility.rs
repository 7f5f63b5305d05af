//! MACs that move: between two nodes, in races of three, too often, and those that must not (RFC 7432 §15).

use super::*;

/// Nodes that hear each other, each pair in order, pairs in an order a seed decides.
struct Net {
    nodes: Vec<Node>,
    /// `queues[from][to]`
    queues: Vec<Vec<std::collections::VecDeque<Message>>>,
    random: u64,
}

impl Net {
    fn new(n: u8, seed: u64) -> Self {
        let mut net = Self {
            nodes: (1..=n).map(|i| Node::new(i, &[100])).collect(),
            queues: vec![vec![std::collections::VecDeque::new(); n.into()]; n.into()],
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        };
        for i in 0..n.into() {
            let first = net.nodes[i].announced.clone().into_iter().map(|(k, c)| (k, Some(c))).collect();
            net.send(i, first);
        }
        net.run();
        net
    }

    fn send(&mut self, from: usize, messages: Vec<Message>) {
        for message in messages {
            for to in (0..self.nodes.len()).filter(|&to| to != from) {
                self.queues[from][to].push_back(message.clone());
            }
        }
    }

    fn pick(&mut self, n: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % n as u64) as usize
    }

    /// Delivers one message; false if there is none.
    fn step(&mut self) -> bool {
        let n = self.nodes.len();
        let waiting: Vec<_> = (0..n * n)
            .filter(|at| !self.queues[at / n][at % n].is_empty())
            .map(|at| (at / n, at % n))
            .collect();
        if waiting.is_empty() {
            return false;
        }
        let (from, to) = waiting[self.pick(waiting.len())];
        let message = self.queues[from][to].pop_front().unwrap();
        let answer = self.nodes[to].hear(message);
        self.send(to, answer);
        true
    }

    fn run(&mut self) {
        for _ in 0..10_000 {
            if !self.step() {
                return;
            }
        }
        panic!("does not come to rest");
    }

    fn seen(&mut self, at: usize, mac: MacAddr) {
        let messages = self.nodes[at].seen(100, mac);
        self.send(at, messages);
    }

    fn wait(&mut self, seconds: u64) {
        for node in &mut self.nodes {
            node.wait(seconds);
        }
    }

    /// Who announces the MAC; everyone else must have it installed there, its address too.
    fn owner(&self, mac: MacAddr) -> usize {
        let owners: Vec<_> =
            (0..self.nodes.len()).filter(|&i| self.nodes[i].announces(100, mac).is_some()).collect();
        let [owner] = owners[..] else { panic!("announced by {owners:?}") };
        for (i, node) in self.nodes.iter().enumerate() {
            let expected = (i != owner).then(|| self.nodes[owner].vtep());
            assert_eq!(node.remote(100, mac), expected, "at node {i}");
        }
        owner
    }
}

#[test]
fn a_host_moves_and_moves_back() {
    let mut net = Net::new(3, 1);
    net.seen(0, mac(1));
    net.run();
    assert_eq!(net.owner(mac(1)), 0);
    let sent = net.nodes[0].address(100, mac(1), "192.0.2.1");
    net.send(0, sent);
    net.run();
    assert_eq!(net.nodes[2].table.neighbours.len(), 1);
    net.seen(1, mac(1));
    assert_eq!(net.nodes[1].announces(100, mac(1)), Some((1, false)));
    assert_eq!(net.nodes[1].remote(100, mac(1)), None, "local at once");
    net.run();
    assert_eq!(net.owner(mac(1)), 1);
    assert_eq!(net.nodes[0].announced.len(), 1, "the address went with it");
    net.seen(0, mac(1));
    net.run();
    assert_eq!((net.owner(mac(1)), net.nodes[0].announces(100, mac(1))), (0, Some((2, false))));
    assert_eq!(net.nodes[0].announced.len(), 3, "and came back");
    assert_eq!(net.nodes[1].evpn.explain(vni(100), mac(1)).unwrap().recent_moves, 2);
    assert_eq!(net.nodes[2].evpn.counters().moves, 0, "moves among others are not counted");
    let sent = net.nodes[0].gone(100, mac(1));
    net.send(0, sent);
    net.run();
    assert!(net.nodes.iter().all(|n| n.table.macs.is_empty() && n.announced.len() == 1));
}

#[test]
fn races_come_to_one_owner_in_every_order() {
    for seed in 0..500 {
        let mut net = Net::new(3, seed);
        // Anyone may see it at any time, messages on their way or not.
        for _ in 0..4 {
            let at = net.pick(3);
            net.seen(at, mac(1));
            for _ in 0..net.pick(6) {
                net.step();
            }
        }
        net.run();
        net.owner(mac(1));
    }
}

#[test]
fn a_race_is_won_by_the_lower_address() {
    let mut net = Net::new(3, 7);
    for at in [2, 1, 0] {
        net.seen(at, mac(1));
    }
    net.run();
    assert_eq!(net.owner(mac(1)), 0);
    assert_eq!(net.nodes[0].announces(100, mac(1)), Some((0, false)));
    // Whose host it really is is seen again, and wins.
    net.seen(2, mac(1));
    net.run();
    assert_eq!(net.owner(mac(1)), 2);
}

#[test]
fn fifty_migrations_leave_nothing_behind() {
    let mut net = Net::new(3, 3);
    for step in 0..50 {
        net.wait(61);
        let at = (step * 2 + step / 7) % 3;
        net.seen(at, mac(1));
        net.run();
        assert_eq!(net.owner(mac(1)), at, "step {step}");
    }
    assert!(net.nodes.iter().all(|n| n.evpn.counters().duplicates == 0));
}

#[test]
fn a_mac_that_moves_too_often_is_held_until_cleared() {
    let mut net = Net::new(2, 1);
    net.seen(0, mac(1));
    net.run();
    for at in [1, 0, 1, 0, 1] {
        net.wait(10);
        net.seen(at, mac(1));
        net.run();
    }
    // The second node counted five moves: it neither announces the MAC nor has it installed. The first counted four.
    assert_eq!(
        (net.nodes[0].announces(100, mac(1)), net.nodes[0].remote(100, mac(1))),
        (Some((4, false)), None)
    );
    let node = &net.nodes[1];
    assert!(node.events.iter().any(|e| matches!(e, EventKind::Duplicate(..))));
    assert_eq!((node.announces(100, mac(1)), node.remote(100, mac(1))), (None, None));
    assert_eq!(
        (node.evpn.macs(None).filter(|m| m.duplicate).count(), node.evpn.counters().duplicates),
        (1, 1)
    );
    let view = node.evpn.macs(None).find(|m| m.mac == mac(1)).unwrap();
    assert!(view.duplicate && view.source == MacSource::Local);
    // Held, whatever happens, until cleared.
    net.wait(1000);
    net.seen(1, mac(1));
    let sent = net.nodes[0].gone(100, mac(1));
    net.send(0, sent);
    net.seen(0, mac(1));
    net.run();
    let node = &mut net.nodes[1];
    assert_eq!((node.announces(100, mac(1)), node.remote(100, mac(1))), (None, None));
    assert_eq!(node.standing(100, mac(1)), [Standing::Frozen]);
    let now = node.now;
    assert!(node.evpn.clear(vni(100), mac(1), now));
    assert!(!node.evpn.clear(vni(100), mac(1), now));
    let sent = node.drain();
    net.send(1, sent);
    net.run();
    assert_eq!((net.owner(mac(1)), net.nodes[1].announces(100, mac(1))), (1, Some((5, false))));
}

#[test]
fn duplicates_are_forgiven_after_a_time_if_so_told() {
    let mut node = Node::new(1, &[100]);
    let recover_after = Some(Duration::from_secs(300));
    node.evpn.set_duplicate_detection(DuplicateDetection { moves: 2, recover_after, ..Default::default() });
    node.seen(100, mac(1));
    node.hear(type2(2, mac(1), None, 100, with(from(2, &["1:100"]), ExtCommunity::mac_mobility(1, false))));
    assert_eq!(node.remote(100, mac(1)), Some(ip("10.0.0.2")));
    assert_eq!(node.evpn.deadline(), None);
    node.seen(100, mac(1));
    assert_eq!((node.remote(100, mac(1)), node.announces(100, mac(1))), (None, None));
    let at = node.evpn.deadline().unwrap();
    assert_eq!(at, Time::ZERO + Duration::from_secs(300));
    node.evpn.tick(Time::from_micros(at.as_micros() - 1));
    node.drain();
    assert_eq!(node.announces(100, mac(1)), None);
    node.evpn.tick(at);
    node.drain();
    assert_eq!((node.evpn.deadline(), node.announces(100, mac(1))), (None, Some((2, false))));
}

#[test]
fn old_moves_are_forgotten() {
    let mut node = Node::new(1, &[100]);
    for n in 0..1000u32 {
        node.wait(10);
        let [_, _, a, b] = n.to_be_bytes();
        let m = MacAddr([2, 0, 0, 0, a, b]);
        node.hear(type2(2, m, None, 100, from(2, &["1:100"])));
        node.seen(100, m);
    }
    let vrf = node.evpn.vrf(vni(100)).unwrap();
    assert_eq!(vrf.claims.len(), 1000);
    assert!(vrf.moves.len() < 200, "{}", vrf.moves.len());
}

#[test]
fn static_macs_elsewhere_are_not_taken() {
    let mut node = Node::new(1, &[100]);
    node.seen(100, mac(1));
    let fixed = type2(2, mac(1), None, 100, with(from(2, &["1:100"]), ExtCommunity::mac_mobility(0, true)));
    node.hear(fixed.clone());
    assert_eq!((node.announces(100, mac(1)), node.remote(100, mac(1))), (None, Some(ip("10.0.0.2"))));
    assert!(node.table.macs[&(vni(100), mac(1))].sticky);
    node.seen(100, mac(1));
    assert_eq!((node.announces(100, mac(1)), node.remote(100, mac(1))), (None, Some(ip("10.0.0.2"))));
    let alerts = node.events.iter().filter(|e| matches!(e, EventKind::StaticElsewhere(..))).count();
    assert_eq!((alerts, node.evpn.counters().moves), (2, 0));
    // An operator says it is here: it is, and stays.
    node.seen_static(100, mac(1));
    assert_eq!((node.announces(100, mac(1)), node.remote(100, mac(1))), (Some((0, true)), None));
    assert!(node.events.iter().any(|e| matches!(e, EventKind::StaticTwice(..))));
    node.hear(gone(&fixed));
    let later = type2(2, mac(1), None, 100, with(from(2, &["1:100"]), ExtCommunity::mac_mobility(9, false)));
    node.hear(later.clone());
    assert_eq!(node.announces(100, mac(1)), Some((0, true)), "no sequence moves a static MAC");
    assert_eq!(node.standing(100, mac(1)), [Standing::Local]);
    // No longer static: what stood against it wins.
    node.seen(100, mac(1));
    assert_eq!((node.announces(100, mac(1)), node.remote(100, mac(1))), (None, Some(ip("10.0.0.2"))));
}

#[test]
fn an_anycast_gateway_is_no_duplicate() {
    let mut node = Node::new(1, &[100]);
    let gateway = |n| {
        type2(n, mac(9), Some("192.0.2.254"), 100, with(from(n, &["1:100"]), ExtCommunity::DEFAULT_GATEWAY))
    };
    for round in 0..10 {
        node.hear_all((2..40).map(gateway));
        node.seen(100, mac(9));
        assert_eq!(node.remote(100, mac(9)), Some(ip("10.0.0.2")), "round {round}");
        assert_eq!(node.table.neighbours.len(), 1);
        node.hear_all((2..40).map(|n| super::gone(&gateway(n))));
        assert!(node.table.macs.is_empty() && node.table.neighbours.is_empty());
    }
    assert_eq!((node.evpn.counters().moves, node.evpn.counters().duplicates), (0, 0));
    node.hear(gateway(2));
    node.seen_static(100, mac(9));
    assert_eq!((node.remote(100, mac(9)), node.table.neighbours.len()), (None, 0), "ours here");
}

#[test]
fn the_sequence_ends_and_does_not_wrap() {
    let last = |n| {
        type2(n, mac(1), None, 100, with(from(n, &["1:100"]), ExtCommunity::mac_mobility(u32::MAX, false)))
    };
    let mut node = Node::new(2, &[100]);
    node.hear(last(1));
    assert_eq!(node.seen(100, mac(1)), [], "the lower address keeps it");
    assert_eq!(node.remote(100, mac(1)), Some(ip("10.0.0.1")));
    assert!(node.events.iter().any(|e| matches!(e, EventKind::SequenceExhausted(_))));
    let mut node = Node::new(2, &[100]);
    node.hear(last(3));
    node.seen(100, mac(1));
    assert_eq!((node.announces(100, mac(1)), node.remote(100, mac(1))), (Some((u32::MAX, false)), None));
}

#[test]
fn a_remote_withdraw_leaves_the_local_mac() {
    let mut node = Node::new(1, &[100]);
    let remote = type2(2, mac(1), None, 100, from(2, &["1:100"]));
    node.seen(100, mac(1));
    node.hear(remote.clone());
    assert_eq!(node.standing(100, mac(1)), [Standing::Local]);
    assert_eq!(node.hear(gone(&remote)), []);
    assert_eq!(node.announces(100, mac(1)), Some((0, false)));
    node.hear(remote.clone());
    node.gone(100, mac(1));
    assert_eq!(node.remote(100, mac(1)), Some(ip("10.0.0.2")), "what stood behind comes forward");
}
