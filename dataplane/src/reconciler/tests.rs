//! Scenarios on the memory backend, and random intents against random dataplanes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use types::{MacAddr, Time, Vni};

use super::{Config, Event, Output, Reconciler};
use crate::backend::{Backend, ErrorKind, Fact};
use crate::intent::{Change, Flood, L2Vni, Local, Neighbour, RemoteMac};
use crate::memory::Memory;
use crate::plan::{self, Op};
use crate::plane::{self, Action, Thing};
use crate::rows::{Key, Row, Rows};

mod shared;

fn vni(n: u32) -> Vni {
    Vni::new(n).unwrap()
}

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

fn vtep(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

fn l2(n: u32) -> L2Vni {
    L2Vni { vni: vni(n), vtep: vtep(100), port: 4789, interfaces: vec![], arp_suppression: true, vlan: None }
}

fn to(n: u8) -> RemoteMac {
    RemoteMac { vtep: vtep(n), vni: vni(1), sticky: false }
}

struct Node {
    r: Reconciler<Memory>,
    now: Time,
    out: Vec<Output>,
    /// As they were told.
    vlans: BTreeMap<Vni, u16>,
}

impl Node {
    fn new(backend: Memory) -> Self {
        Self {
            r: Reconciler::new(backend, Config::default()),
            now: Time::from_micros(1_000_000),
            out: Vec::new(),
            vlans: BTreeMap::new(),
        }
    }

    fn with(changes: &[Change]) -> Self {
        let mut node = Self::new(Memory::new());
        node.change(changes);
        node.quiet();
        node
    }

    fn change(&mut self, changes: &[Change]) {
        for change in changes {
            self.r.change(change);
        }
    }

    /// Runs until there is nothing left to do now.
    fn quiet(&mut self) -> Vec<Output> {
        for _ in 0..10_000 {
            self.r.handle(self.now, &mut self.out);
            if self.r.deadline() > self.now {
                for output in &self.out {
                    if let Output::Local(Local::Vlan(vni, vlan)) = output {
                        self.vlans.insert(*vni, *vlan);
                    }
                }
                return std::mem::take(&mut self.out);
            }
        }
        panic!("never quiet");
    }

    fn after(&mut self, seconds: u64) -> Vec<Output> {
        self.now = self.now + Duration::from_secs(seconds);
        self.quiet()
    }

    fn has(&self, key: Key) -> Option<Row> {
        self.r.backend().rows().get(&key)
    }
}

fn base() -> Vec<Change> {
    vec![
        Change::PutVni(l2(1)),
        Change::PutFlood(vni(1), vtep(1), Flood { vni: vni(1) }),
        Change::PutMac(vni(1), mac(1), to(1)),
        Change::PutNeighbour(vni(1), vtep(50), Neighbour { mac: mac(1), router: false }),
        Change::Settled,
    ]
}

#[test]
fn what_is_wanted_stands_and_the_status_says_so() {
    let node = Node::with(&base());
    assert_eq!(node.r.backend().rows(), node.r.intent().rows());
    let status = node.r.status();
    assert!(status.in_sync, "{status:?}");
    assert_eq!((status.desired, status.installed, status.repairs), (4, 4, 0));
    assert_eq!(status.backend, "memory");
}

#[test]
fn rows_may_come_before_their_vni() {
    let mut changes = base();
    let device = changes.remove(0);
    let mut node = Node::with(&changes);
    assert!(node.r.backend().rows().is_empty());
    node.change(&[device]);
    let out = node.quiet();
    assert!(out.contains(&Output::Local(Local::VniReady(vni(1), true))));
    assert_eq!(node.r.backend().rows(), node.r.intent().rows());
}

#[test]
fn one_change_costs_one_op() {
    let mut node = Node::with(&base());
    let before = node.r.backend().ops();
    node.change(&[Change::PutMac(vni(1), mac(1), to(2))]);
    node.quiet();
    assert_eq!(node.r.backend().ops() - before, 1);
    node.change(&[Change::PutMac(vni(1), mac(1), to(2))]);
    node.quiet();
    assert_eq!(node.r.backend().ops() - before, 1, "the same again costs none");
}

#[test]
fn a_row_removed_behind_our_back_is_put_back_and_counted() {
    let mut node = Node::with(&base());
    let key = Key::Mac(vni(1), mac(1));
    node.r.backend_mut().drop_row(&key);
    let out = node.quiet();
    assert!(out.contains(&Output::Event(Event::Repaired { vni: vni(1), rows: 1, example: key })));
    assert!(node.has(key).is_some());
    assert_eq!(node.r.status().repairs, 1);

    // Without an event, the timer finds it.
    node.r.backend_mut().lose_events(true);
    node.r.backend_mut().drop_row(&key);
    node.quiet();
    assert!(node.has(key).is_none());
    node.after(61);
    assert!(node.has(key).is_some());
    assert_eq!(node.r.status().repairs, 2);
}

#[test]
fn our_own_removals_are_no_repairs() {
    let mut node = Node::with(&base());
    node.change(&[Change::DelMac(vni(1), mac(1))]);
    node.quiet();
    assert_eq!(node.has(Key::Mac(vni(1), mac(1))), None);
    node.after(61);
    assert_eq!(node.r.status().repairs, 0);
}

#[test]
fn lost_events_lead_to_a_full_comparison() {
    let mut node = Node::with(&base());
    node.r.backend_mut().lose_events(true);
    node.r.backend_mut().drop_row(&Key::Flood(vni(1), vtep(1)));
    node.r.backend_mut().learn(vni(1), mac(7), "veth7");
    node.r.backend_mut().lose_events(false);
    node.r.backend_mut().overrun();
    let out = node.quiet();
    assert!(out.contains(&Output::Event(Event::EventsLost)));
    let seen = Local::MacSeen { vni: vni(1), mac: mac(7), interface: "veth7".into(), sticky: false };
    assert!(out.contains(&Output::Local(seen)));
    assert_eq!(node.r.backend().rows(), node.r.intent().rows());
}

#[test]
fn a_deleted_bridge_is_rebuilt_with_its_rows() {
    let mut node = Node::with(&base());
    node.r.backend_mut().drop_row(&Key::Vni(vni(1)));
    let out = node.quiet();
    assert!(out.contains(&Output::Local(Local::VniReady(vni(1), false))));
    assert!(out.contains(&Output::Local(Local::VniReady(vni(1), true))));
    assert_eq!(node.r.backend().rows(), node.r.intent().rows());
    assert_eq!(node.r.status().repairs, 4);
}

#[test]
fn local_macs_come_move_and_go() {
    let mut node = Node::with(&base());
    let seen = |interface: &str, sticky| {
        Output::Local(Local::MacSeen { vni: vni(1), mac: mac(7), interface: interface.into(), sticky })
    };
    node.r.backend_mut().learn(vni(1), mac(7), "veth1");
    assert_eq!(node.quiet(), [seen("veth1", false)]);
    node.r.backend_mut().learn(vni(1), mac(7), "veth2");
    assert_eq!(node.quiet(), [seen("veth2", false)]);
    node.r.backend_mut().age(vni(1), mac(7));
    assert_eq!(node.quiet(), [Output::Local(Local::MacGone { vni: vni(1), mac: mac(7) })]);
    node.r.backend_mut().add_static(vni(1), mac(7), "veth1");
    assert_eq!(node.quiet(), [seen("veth1", true)]);
}

#[test]
fn a_host_that_moves_here_is_told_and_not_fought() {
    let mut node = Node::with(&base());
    assert!(node.r.backend_mut().learn(vni(1), mac(1), "veth1"));
    let out = node.quiet();
    assert!(out.iter().any(|o| matches!(o, Output::Local(Local::MacSeen { .. }))), "{out:?}");
    node.after(61);
    assert_eq!(node.r.backend().locals(vni(1)).count(), 1, "still local after a resync");
    // evpn lets go of the remote one: the bridge's entry stays.
    node.change(&[Change::DelMac(vni(1), mac(1))]);
    node.quiet();
    assert_eq!(node.r.backend().locals(vni(1)).count(), 1);
    assert_eq!(node.has(Key::Mac(vni(1), mac(1))), None);
    // It moves away: the remote row replaces the bridge's entry.
    node.change(&[Change::PutMac(vni(1), mac(1), to(3))]);
    let out = node.quiet();
    assert!(out.contains(&Output::Local(Local::MacGone { vni: vni(1), mac: mac(1) })));
    assert_eq!(node.r.backend().locals(vni(1)).count(), 0);
    assert_eq!(node.has(Key::Mac(vni(1), mac(1))), Some(Row::Mac(vni(1), mac(1), Some(to(3)))));
    assert_eq!(node.r.status().repairs, 0);
}

#[test]
fn a_host_given_up_for_a_place_that_is_gone_again_is_told_once_more() {
    let interface = "veth1".to_owned();
    let seen = [Output::Local(Local::MacSeen { vni: vni(1), mac: mac(7), interface, sticky: false })];
    let mut node = Node::with(&base());
    node.r.backend_mut().learn(vni(1), mac(7), "veth1");
    assert_eq!(node.quiet(), seen);
    // Both before anything could be written.
    node.change(&[Change::PutMac(vni(1), mac(7), to(1)), Change::DelMac(vni(1), mac(7))]);
    assert_eq!(node.quiet(), seen);
    assert_eq!(node.r.backend().locals(vni(1)).count(), 1);
    // The write fails, and the other place is gone before it is tried again.
    node.r.backend_mut().fail_op(0, ErrorKind::Other);
    node.change(&[Change::PutMac(vni(1), mac(7), to(1))]);
    node.quiet();
    node.change(&[Change::DelMac(vni(1), mac(7))]);
    assert_eq!(node.quiet(), seen);
    node.change(&[Change::DelMac(vni(1), mac(7))]);
    assert_eq!(node.quiet(), [], "nothing to say twice");
}

#[test]
fn a_vni_that_is_configured_anew_is_told_of_everything_again() {
    let ip = vtep(60);
    let mut node = Node::with(&base());
    node.r.backend_mut().learn(vni(1), mac(7), "veth1");
    node.r.backend_mut().add_neighbour(vni(1), ip, mac(7), false);
    node.quiet();
    let locals = |out: Vec<Output>| -> Vec<Local> {
        out.into_iter().filter_map(|o| if let Output::Local(l) = o { Some(l) } else { None }).collect()
    };
    let gone = [
        Local::VniReady(vni(1), false),
        Local::MacGone { vni: vni(1), mac: mac(7) },
        Local::NeighbourGone { vni: vni(1), ip },
    ];
    let there = [
        Local::VniReady(vni(1), true),
        Local::MacSeen { vni: vni(1), mac: mac(7), interface: "veth1".into(), sticky: false },
        Local::NeighbourSeen { vni: vni(1), ip, mac: mac(7) },
    ];
    // So quickly that the devices are never taken away.
    node.change(&[Change::DelVni(vni(1)), Change::PutVni(l2(1))]);
    assert_eq!(locals(node.quiet()), [&gone[..], &there[..]].concat());
    // Taking them away fails at first.
    node.r.backend_mut().fail_op(0, ErrorKind::Other);
    node.change(&[Change::DelVni(vni(1))]);
    assert_eq!(locals(node.quiet()), gone);
    node.change(&[Change::PutVni(l2(1))]);
    assert_eq!(locals(node.quiet()), there);
}

#[test]
fn a_local_mac_that_ages_out_makes_room_for_the_remote_one() {
    let mut node = Node::with(&base());
    node.r.backend_mut().learn(vni(1), mac(1), "veth1");
    node.quiet();
    node.r.backend_mut().age(vni(1), mac(1));
    node.quiet();
    assert_eq!(node.has(Key::Mac(vni(1), mac(1))), Some(Row::Mac(vni(1), mac(1), Some(to(1)))));
}

#[test]
fn rows_of_others_survive_and_are_reported() {
    let mut node = Node::with(&base());
    node.r.backend_mut().add_foreign(vni(1), mac(9));
    node.r.backend_mut().add_static(vni(1), mac(8), "veth8");
    node.change(&[Change::PutMac(vni(1), mac(9), to(1)), Change::PutMac(vni(1), mac(8), to(1))]);
    node.quiet();
    assert_eq!(node.has(Key::Mac(vni(1), mac(9))), None);
    assert_eq!(node.has(Key::Mac(vni(1), mac(8))), None);
    let status = node.r.status();
    assert!(!status.in_sync && status.failing == 2);
    assert!(status.last_error.unwrap().contains("covers"));
    // He takes it away: ours comes in.
    node.r.backend_mut().remove_foreign(vni(1), mac(9));
    node.r.backend_mut().age(vni(1), mac(8));
    node.quiet();
    assert!(node.has(Key::Mac(vni(1), mac(9))).is_some());
    assert!(node.r.status().in_sync);
}

#[test]
fn a_local_host_that_somebody_pins_elsewhere_is_local_no_longer() {
    let mut node = Node::with(&base());
    node.r.backend_mut().learn(vni(1), mac(9), "veth9");
    node.quiet();
    node.r.backend_mut().add_foreign(vni(1), mac(9));
    assert_eq!(node.quiet(), [Output::Local(Local::MacGone { vni: vni(1), mac: mac(9) })]);
    node.change(&[Change::PutMac(vni(1), mac(9), to(1))]);
    node.quiet();
    assert_eq!(node.r.backend().trespasses(), 0);
}

#[test]
fn what_is_not_ours_survives_a_vni_that_is_configured_anew() {
    let mut node = Node::with(&base());
    node.r.backend_mut().add_foreign(vni(1), mac(9));
    node.r.backend_mut().add_static(vni(1), mac(8), "veth8");
    node.quiet();
    let again = [Change::DelVni(vni(1))].into_iter().chain(base());
    let again: Vec<_> =
        again.chain([Change::PutMac(vni(1), mac(9), to(1)), Change::PutMac(vni(1), mac(8), to(1))]).collect();
    node.change(&again);
    node.quiet();
    assert_eq!(node.r.backend().trespasses(), 0);
    assert_eq!(node.r.status().failing, 2);
}

#[test]
fn a_conflict_nobody_wants_resolved_is_forgotten() {
    let mut node = Node::with(&base());
    node.r.backend_mut().add_foreign(vni(1), mac(9));
    node.change(&[Change::PutMac(vni(1), mac(9), to(1))]);
    node.quiet();
    node.change(&[Change::DelMac(vni(1), mac(9))]);
    node.quiet();
    assert!(node.r.status().in_sync);
    assert!(node.r.backend().foreign().contains(&(vni(1), mac(9))));
}

#[test]
fn a_failed_op_is_tried_again_and_the_others_go_on() {
    let mut node = Node::with(&base());
    node.r.backend_mut().fail_op(0, ErrorKind::Other);
    node.change(&[Change::PutMac(vni(1), mac(2), to(1)), Change::PutMac(vni(1), mac(3), to(1))]);
    let out = node.quiet();
    assert!(out.iter().any(|o| matches!(o, Output::Event(Event::Failed { more: 0, .. }))));
    assert_eq!(node.r.status().failing, 1);
    assert_eq!(node.r.backend().rows().len(), 5);
    node.after(2);
    assert_eq!(node.r.backend().rows().len(), 6);
    assert!(node.r.status().in_sync);
    assert!(node.r.status().last_error.is_some(), "it is remembered");
}

#[test]
fn without_permission_it_waits_as_a_whole() {
    let mut node = Node::new(Memory::new());
    node.r.backend_mut().refuse(Some(ErrorKind::Permission));
    node.change(&base());
    node.quiet();
    node.after(1);
    node.after(2);
    assert_eq!(node.r.backend().ops(), 3, "one try each time, with longer waits");
    node.r.backend_mut().refuse(None);
    node.after(60);
    assert_eq!(node.r.backend().rows(), node.r.intent().rows());
    assert!(node.r.status().in_sync);
}

#[test]
fn after_a_restart_what_stands_is_adopted_and_the_rest_goes_once_settled() {
    let mut node = Node::with(&base());
    node.change(&[Change::PutVni(l2(2)), Change::PutMac(vni(1), mac(5), to(5))]);
    node.quiet();
    let (backend, _) = node.r.shutdown(false);
    let rows = backend.rows().clone();
    let ops = backend.ops();

    let mut node = Node::new(backend);
    let mut changes = base();
    let settled = changes.pop().unwrap();
    node.change(&changes);
    node.quiet();
    assert_eq!(node.r.backend().rows(), &rows, "nothing goes before the rest was heard");
    assert_eq!(node.r.backend().ops() - ops, 1, "the device is checked, no row is written");
    node.change(&[settled]);
    node.quiet();
    assert_eq!(node.r.backend().rows(), node.r.intent().rows());
    assert_eq!(node.r.status().repairs, 0);
}

#[test]
fn shutdown_removes_everything_if_told_to() {
    let node = Node::with(&base());
    let (backend, errors) = node.r.shutdown(true);
    assert!(errors.is_empty());
    assert!(backend.rows().is_empty());
}

#[test]
fn a_dry_run_tells_and_does_nothing() {
    let mut node = Node::new(Memory::new());
    node.change(&base());
    let steps = node.r.dry_run(&mut Vec::new()).unwrap();
    let device = |step: &plane::Step| (step.action, step.thing) == (Action::Add, Thing::Device);
    assert!(steps.len() == 4 && device(&steps[0]), "{steps:?}");
    let row = plane::Step::new(Action::Add, Thing::Row, "vni 1 mac 02:00:00:00:00:01 via 10.0.0.1");
    assert_eq!(steps[2], row);
    assert!(node.r.backend().rows().is_empty());
}

// ---- random ------------------------------------------------------------------------------------------------

fn any_row() -> impl Strategy<Value = Row> {
    let v = (1_u32..4).prop_map(vni);
    prop_oneof![
        1 => v.clone().prop_map(|v| Row::Vni(l2(v.get()))),
        2 => (v.clone(), 0_u8..4, 1_u32..3).prop_map(|(v, t, w)| Row::Flood(v, vtep(t), Flood { vni: vni(w) })),
        4 => (v.clone(), 0_u8..8, 0_u8..4, any::<bool>()).prop_map(|(v, m, t, sticky)| {
            Row::Mac(v, mac(m), Some(RemoteMac { sticky, ..to(t) }))
        }),
        2 => (v, 0_u8..4, 0_u8..4).prop_map(|(v, ip, m)| {
            Row::Neighbour(v, vtep(ip), Neighbour { mac: mac(m), router: m == 0 })
        }),
    ]
}

fn put(row: Row) -> Change {
    match row {
        Row::Vni(l2) => Change::PutVni(l2),
        Row::Flood(v, t, f) => Change::PutFlood(v, t, f),
        Row::Mac(v, m, Some(r)) => Change::PutMac(v, m, r),
        Row::Mac(v, m, None) => Change::DelMac(v, m),
        Row::Neighbour(v, ip, n) => Change::PutNeighbour(v, ip, n),
    }
}

fn del(key: Key) -> Change {
    match key {
        Key::Vni(v) => Change::DelVni(v),
        Key::Flood(v, t) => Change::DelFlood(v, t),
        Key::Mac(v, m) => Change::DelMac(v, m),
        Key::Neighbour(v, ip) => Change::DelNeighbour(v, ip),
        Key::Prefix(v, net) => Change::DelPrefix(v, net),
    }
}

fn all_keys(rows: &Rows) -> Vec<Key> {
    let mut keys = Vec::new();
    rows.vnis().for_each(|v| rows.keys(v, &mut keys));
    keys
}

/// What of the intent can stand: rows of VNIs that exist.
fn standing(want: &Rows) -> Rows {
    let mut rows = Rows::default();
    for key in all_keys(want) {
        if want.device(key.vni()).is_some() {
            rows.insert(want.get(&key).unwrap());
        }
    }
    rows
}

#[derive(Clone, Debug)]
enum Step {
    Put(Row),
    Del(Row),
    Drop(Row, bool),
    Stray(Row),
    Fail(u64),
    Foreign(u32, u8),
    Table(u32, bool),
    Vlan(u32, u16),
    Overrun,
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any_row().prop_map(Step::Put),
        3 => any_row().prop_map(Step::Del),
        2 => (any_row(), any::<bool>()).prop_map(|(r, quiet)| Step::Drop(r, quiet)),
        1 => any_row().prop_map(Step::Stray),
        1 => (0_u64..3).prop_map(Step::Fail),
        1 => (1_u32..4, 10_u8..12).prop_map(|(v, m)| Step::Foreign(v, m)),
        1 => (1_u32..4, any::<bool>()).prop_map(|(v, there)| Step::Table(v, there)),
        1 => (1_u32..4, 1_u16..4).prop_map(|(v, vlan)| Step::Vlan(v, vlan)),
        1 => Just(Step::Overrun),
        2 => (0_u64..100).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn the_plan_leads_from_any_rows_to_any_others_and_then_is_empty(
        want in prop::collection::vec(any_row(), 0..40),
        have in prop::collection::vec(any_row(), 0..40),
    ) {
        let mut wanted = Rows::default();
        for row in want { wanted.insert(row); }
        let mut backend = Memory::new();
        for row in have { backend.set_row(row); }
        // Devices first, as the reconciler does it; then the rows of those there are.
        for v in 1..4 {
            let mut ops = Vec::new();
            plan::plan(&wanted, backend.rows(), &[Key::Vni(vni(v))], &mut ops);
            if wanted.device(vni(v)).is_none() {
                ops.push(Op::Remove(vni(v)));
            }
            backend.apply(&ops, &Rows::default(), &mut Vec::new());
            let (mut keys, mut ops) = (Vec::new(), Vec::new());
            plan::differences(&wanted, backend.rows(), vni(v), true, &mut keys);
            plan::plan(&wanted, backend.rows(), &keys, &mut ops);
            prop_assert!(ops.len() <= 2 * keys.len());
            backend.apply(&ops, &Rows::default(), &mut Vec::new());
            keys.clear();
            ops.clear();
            plan::differences(&standing(&wanted), backend.rows(), vni(v), true, &mut keys);
            prop_assert!(keys.is_empty(), "second plan: {keys:?}");
        }
        prop_assert_eq!(backend.rows(), &standing(&wanted));
    }

    #[test]
    fn whatever_happens_it_ends_as_wanted(
        steps in prop::collection::vec(any_step(), 1..80),
        whole in any::<bool>(),
        shared in any::<bool>(),
    ) {
        let mut node = Node::new(if shared { Memory::shared() } else { Memory::new() });
        if !whole {
            node.r.config.observe_limit = 0;
        }
        node.change(&[Change::Settled]);
        node.quiet();
        let mut foreign = BTreeSet::new();
        let mut tableless = BTreeSet::new();
        for step in steps {
            match step {
                Step::Put(row) => node.change(&[put(row)]),
                Step::Del(row) => node.change(&[del(row.key())]),
                Step::Drop(row, quiet) => {
                    node.r.backend_mut().lose_events(quiet);
                    node.r.backend_mut().drop_row(&row.key());
                    node.r.backend_mut().lose_events(false);
                    if let Key::Vni(v) = row.key() {
                        foreign.retain(|(f, _)| *f != v);
                    }
                }
                // Only an observation of all finds a row nobody knew of.
                Step::Stray(row) if whole => node.r.backend_mut().set_row(row),
                Step::Stray(_) => {}
                Step::Fail(n) => node.r.backend_mut().fail_op(n, ErrorKind::Other),
                Step::Foreign(v, m) => {
                    node.r.backend_mut().add_foreign(vni(v), mac(m));
                    foreign.insert((vni(v), mac(m)));
                }
                Step::Table(v, there) => {
                    node.r.backend_mut().set_table(vni(v), there);
                    if there { tableless.remove(&vni(v)) } else { tableless.insert(vni(v)) };
                }
                Step::Vlan(v, vlan) => node.r.backend_mut().set_vlan(vni(v), vlan),
                Step::Overrun => node.r.backend_mut().overrun(),
                Step::Wait(n) => { node.after(n); }
            }
            let wanted = node.r.intent().rows();
            let nowhere: usize = node.r.nowhere.vnis().map(|vni| wanted.neighbours(vni)).sum();
            prop_assert_eq!(node.r.status().desired, wanted.len() - nowhere);
        }
        for _ in 0..4 {
            node.after(61);
        }
        let mut wanted = standing(node.r.intent().rows());
        for key in all_keys(&wanted) {
            if matches!(key, Key::Neighbour(..)) && tableless.contains(&key.vni()) {
                wanted.remove(&key);
            }
        }
        prop_assert_eq!(node.r.backend().rows(), &wanted);
        // A VNI that is alone on its devices has a VLAN only for as long as somebody says so.
        for v in wanted.vnis().filter(|_| shared) {
            prop_assert_eq!(node.vlans.get(&v).copied(), node.r.backend().vlan(v), "told of its VLAN");
        }
        prop_assert_eq!(node.r.backend().foreign(), &foreign);
        prop_assert_eq!(node.r.backend().trespasses(), 0);
        prop_assert!(node.r.status().in_sync, "{:?}", node.r.status());
        let (ops, walks) = (node.r.backend().ops(), node.r.backend().walks());
        node.after(61);
        if whole && tableless.is_empty() {
            prop_assert_eq!(node.r.backend().ops(), ops, "once as wanted, nothing is written");
        }
        let each = if shared { 1 } else { wanted.vnis().count() as u64 };
        prop_assert!(node.r.backend().walks() - walks <= each, "each VNI is observed once in a resync");
    }
}

#[test]
fn rows_rewritten_faster_than_looked_at_do_not_pile_up() {
    let mut node = Node::with(&base());
    for _ in 0..100_000 {
        node.r.event(Fact::Touched(Key::Mac(vni(1), mac(1))), &mut node.out);
    }
    assert!(node.r.audit.len() < 5 * super::AUDIT_BATCH, "{}", node.r.audit.len());
    node.quiet();
    assert!(node.r.audit.is_empty());
}
