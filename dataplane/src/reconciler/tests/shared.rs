//! Tables that all VNIs share, VLANs, VNIs that others set up, and rows that are nowhere.

use super::*;

fn locals(out: Vec<Output>) -> Vec<Local> {
    out.into_iter().filter_map(|o| if let Output::Local(local) = o { Some(local) } else { None }).collect()
}

fn shared(changes: &[Change]) -> Node {
    let mut node = Node::new(Memory::shared());
    node.change(changes);
    node
}

/// A VNI with a row of each kind.
fn whole(n: u32) -> [Change; 4] {
    let remote = RemoteMac { vtep: vtep(1), vni: vni(n), sticky: false };
    [
        Change::PutVni(l2(n)),
        Change::PutFlood(vni(n), vtep(1), Flood { vni: vni(n) }),
        Change::PutMac(vni(n), mac(1), remote),
        Change::PutNeighbour(vni(n), vtep(50), Neighbour { mac: mac(1), router: false }),
    ]
}

#[test]
fn the_vlan_is_told_before_its_vni_is_ready_and_when_it_changes() {
    let mut node = shared(&base());
    assert_eq!(locals(node.quiet()), [Local::Vlan(vni(1), 1), Local::VniReady(vni(1), true)]);
    node.r.backend_mut().set_vlan(vni(1), 7);
    assert_eq!(locals(node.quiet()), [Local::Vlan(vni(1), 7)]);
    assert_eq!(locals(node.after(61)), [], "once");
    node.change(&[Change::PutVni(L2Vni { vlan: Some(9), ..l2(1) })]);
    assert_eq!(locals(node.quiet()), [Local::Vlan(vni(1), 9)]);
    // Whoever configures it anew hears of it again.
    node.change(&[Change::DelVni(vni(1)), Change::PutVni(l2(1))]);
    let told = [Local::VniReady(vni(1), false), Local::Vlan(vni(1), 9), Local::VniReady(vni(1), true)];
    assert_eq!(locals(node.quiet()), told);
}

#[test]
fn vnis_that_others_set_up_are_told_as_they_come_and_go() {
    let mut node = Node::new(Memory::shared());
    node.r.backend_mut().set_found(vni(1), true);
    node.r.backend_mut().set_found(vni(2), true);
    let first = [Local::Found(vni(1), true), Local::Found(vni(2), true), Local::FoundAll];
    assert_eq!(locals(node.quiet()), first);
    node.r.backend_mut().set_found(vni(2), false);
    node.r.backend_mut().set_found(vni(3), true);
    assert_eq!(locals(node.quiet()), [Local::Found(vni(2), false), Local::Found(vni(3), true)]);
    assert_eq!(locals(node.after(61)), []);
    // Without an event, the next resync finds it.
    node.r.backend_mut().lose_events(true);
    node.r.backend_mut().set_found(vni(1), false);
    assert_eq!(locals(node.quiet()), []);
    assert_eq!(locals(node.after(61)), [Local::Found(vni(1), false)]);
}

#[test]
fn what_others_take_away_is_no_failure_and_no_repair() {
    let mut node = Node::new(Memory::shared());
    node.r.backend_mut().set_found(vni(1), true);
    node.change(&whole(1));
    node.quiet();
    assert_eq!(node.r.status().installed, 4);
    let take_away = |node: &mut Node| {
        node.r.backend_mut().set_found(vni(1), false);
        node.r.backend_mut().drop_row(&Key::Vni(vni(1)));
        let out = node.quiet();
        assert!(!out.iter().any(|o| matches!(o, Output::Event(_))), "{out:?}");
        assert_eq!(locals(out)[..2], [Local::Found(vni(1), false), Local::VniReady(vni(1), false)]);
    };
    take_away(&mut node);
    node.change(&[Change::DelVni(vni(1))]);
    node.quiet();
    assert_eq!((node.r.status().installed, node.r.status().failing), (0, 0));
    assert!(node.r.status().in_sync, "{:?}", node.r.status());
    // For whom it is wanted all the same, it is looked for soon, and when it is back.
    node.r.backend_mut().set_found(vni(1), true);
    node.change(&whole(1));
    node.quiet();
    take_away(&mut node);
    assert!(!node.r.status().in_sync);
    node.r.backend_mut().refuse(Some(ErrorKind::NoDevice));
    assert!(node.after(2).iter().any(|o| matches!(o, Output::Event(Event::Failed { .. }))));
    node.r.backend_mut().refuse(None);
    node.r.backend_mut().set_found(vni(1), true);
    node.quiet();
    assert_eq!((node.r.status().installed, node.r.status().failing), (4, 0));
}

#[test]
fn a_vni_that_gets_another_vlan_is_filled_again_and_that_is_no_repair() {
    let mut node = shared(&whole(1));
    node.quiet();
    for (vlan, repairs) in [(7, 0), (7, 1)] {
        node.r.backend_mut().lose_events(true);
        node.r.backend_mut().set_vlan(vni(1), vlan);
        node.r.backend_mut().drop_row(&Key::Mac(vni(1), mac(1)));
        let out = node.after(61);
        assert_eq!(out.iter().any(|o| matches!(o, Output::Event(_))), repairs != 0, "{out:?}");
        let status = node.r.status();
        assert_eq!((status.installed, status.repairs), (4, repairs), "{status:?}");
    }
}

#[test]
fn a_dry_run_tells_of_vnis_that_others_set_up() {
    let mut node = Node::new(Memory::shared());
    node.r.backend_mut().set_found(vni(1), true);
    let mut out = Vec::new();
    node.r.dry_run(&mut out).unwrap();
    assert_eq!(locals(out), [Local::Found(vni(1), true), Local::FoundAll]);
}

#[test]
fn rows_that_are_nowhere_are_neither_missed_nor_failures_nor_repairs() {
    let mut node = Node::new(Memory::shared());
    node.r.backend_mut().set_table(vni(1), false);
    node.change(&base());
    node.quiet();
    let in_sync = |node: &Node, rows| {
        let status = node.r.status();
        assert!(status.in_sync, "{status:?}");
        assert_eq!((status.desired, status.installed, status.repairs), (rows, rows, 0), "{status:?}");
    };
    in_sync(&node, 3);
    let asked = node.r.backend().ops();
    node.change(&[Change::PutNeighbour(vni(1), vtep(51), Neighbour { mac: mac(2), router: false })]);
    node.quiet();
    assert_eq!(node.r.backend().ops(), asked, "one of them has said it for all");
    for _ in 0..3 {
        node.after(61);
        in_sync(&node, 3);
    }
    // Somebody makes the table.
    node.r.backend_mut().set_table(vni(1), true);
    node.quiet();
    in_sync(&node, 5);
    assert_eq!(node.r.backend().rows(), node.r.intent().rows());
    // And takes it away, with a write just failing.
    node.r.backend_mut().fail_op(0, ErrorKind::Other);
    node.change(&[Change::PutNeighbour(vni(1), vtep(52), Neighbour { mac: mac(2), router: false })]);
    node.quiet();
    node.r.backend_mut().set_table(vni(1), false);
    node.quiet();
    node.after(61);
    assert!(node.r.status().in_sync, "{:?}", node.r.status());
    assert_eq!(node.r.status().desired, node.r.status().installed);
    node.change(&[Change::DelVni(vni(1))]);
    node.quiet();
    assert_eq!((node.r.status().desired, node.r.status().installed), (0, 0));
}

#[test]
fn thousands_of_vnis_cost_no_more_looks_than_one() {
    const VNIS: u32 = 4000;
    let mut node = shared(&[Change::Settled]);
    node.change(&(1..VNIS).flat_map(whole).collect::<Vec<_>>());
    node.quiet();
    assert_eq!(node.r.backend().largest_group(), VNIS as usize - 1, "put together");
    assert_eq!(node.r.backend().walks(), 0, "nothing can be in what was just made");
    assert_eq!(node.r.backend().rows(), node.r.intent().rows());

    node.change(&whole(VNIS));
    node.quiet();
    assert_eq!(node.r.backend().walks(), 0);
    let ops = node.r.backend().ops();
    node.after(61);
    assert_eq!((node.r.backend().walks(), node.r.backend().ops()), (1, ops), "a resync looks once");

    // After a restart it is not known what is in them.
    let (backend, _) = node.r.shutdown(false);
    let mut node = Node::new(backend);
    node.change(&(1..=VNIS).flat_map(whole).collect::<Vec<_>>());
    node.change(&[Change::Settled]);
    node.quiet();
    assert_eq!(node.r.backend().walks(), 2);
    assert_eq!(node.r.backend().ops(), ops + u64::from(VNIS), "the devices are checked, no row is written");
    let (backend, errors) = node.r.shutdown(true);
    assert!(backend.rows().is_empty() && errors.is_empty());
}

#[test]
fn one_vni_of_thousands_costs_no_look_at_the_others() {
    const VNIS: u32 = 1000;
    let mut node = shared(&[Change::Settled]);
    node.change(&(1..=VNIS).flat_map(whole).collect::<Vec<_>>());
    node.quiet();
    let cost = |node: &mut Node| {
        let before = (node.r.backend().walks(), node.r.backend().ops());
        node.quiet();
        assert_eq!(node.r.backend().rows(), node.r.intent().rows());
        (node.r.backend().walks() - before.0, node.r.backend().ops() - before.1)
    };
    node.change(&[Change::DelVni(vni(7))]);
    assert_eq!(cost(&mut node), (0, 1));
    node.change(&whole(7));
    assert_eq!(cost(&mut node), (0, 4));
    // Somebody takes a row away and changes the devices.
    node.r.backend_mut().lose_events(true);
    node.r.backend_mut().drop_row(&Key::Mac(vni(8), mac(1)));
    node.r.backend_mut().lose_events(false);
    node.r.event(Fact::Device(vni(8)), &mut Vec::new());
    assert_eq!(cost(&mut node), (0, 2), "the MAC, and the flood row that cannot be looked up");
    assert_eq!(node.r.status().repairs, 1);
    // In another VLAN all is written again, without a look.
    node.r.backend_mut().lose_events(true);
    node.r.backend_mut().drop_row(&Key::Mac(vni(9), mac(1)));
    node.r.backend_mut().lose_events(false);
    node.r.backend_mut().set_vlan(vni(9), 4000);
    assert_eq!(cost(&mut node), (0, 2));
    assert_eq!(node.r.status().repairs, 1, "nobody took it away");
}

#[test]
fn vnis_of_others_are_told_one_by_one() {
    for backend in [Memory::new(), Memory::shared()] {
        let mut node = Node::new(backend);
        node.change(&[Change::Settled]);
        for n in 1..=1000 {
            node.r.backend_mut().set_found(vni(n), true);
        }
        node.quiet();
        node.change(&(1..=1000).flat_map(whole).collect::<Vec<_>>());
        node.quiet();
        let surveys = node.r.backend().surveys();
        for n in 1001..=1100 {
            node.r.backend_mut().set_found(vni(n), true);
            node.r.backend_mut().set_found(vni(n - 1000), false);
            let told = locals(node.quiet());
            let gone = vni(n - 1000);
            let expected =
                [Local::Found(gone, false), Local::VniReady(gone, false), Local::Found(vni(n), true)];
            assert_eq!(told, expected);
            assert_eq!(node.r.installed().count(gone), 0, "wanted or not");
            node.change(&[Change::DelVni(gone)]);
            node.change(&whole(n));
            node.quiet();
        }
        assert_eq!(node.r.backend().surveys(), surveys, "nobody asks for all of them");
        assert_eq!(node.r.backend().rows(), node.r.intent().rows());
    }
}

#[test]
fn a_device_for_each_vni_leaves_other_work_its_turn() {
    let mut node = Node::new(Memory::new());
    node.change(&(1..=1000).map(|n| Change::PutVni(l2(n))).collect::<Vec<_>>());
    node.quiet();
    assert_eq!(node.r.backend().largest_group(), super::super::PUT_BATCH);
    assert_eq!(node.r.backend().rows(), node.r.intent().rows());
}

/// In one table, how much there is decides whether all of it is walked, not how much of that is one VNI's.
#[test]
fn a_large_shared_table_is_not_walked_for_a_small_vni() {
    let mut node = shared(&[Change::Settled]);
    node.r.config.observe_limit = 2;
    node.change(&(1..=4).flat_map(whole).collect::<Vec<_>>());
    node.quiet();
    node.r.backend_mut().lose_events(true);
    node.r.backend_mut().drop_row(&Key::Mac(vni(1), mac(1)));
    node.r.backend_mut().lose_events(false);
    node.r.event(Fact::Device(vni(1)), &mut node.out);
    let out = node.quiet();
    let key = Key::Mac(vni(1), mac(1));
    assert!(out.contains(&Output::Event(Event::Repaired { vni: vni(1), rows: 1, example: key })), "{out:?}");
    assert_eq!(node.r.backend().rows(), node.r.intent().rows());
}

#[test]
fn what_was_shown_all_the_same_is_not_looked_up_again() {
    let mut node = shared(&[Change::Settled]);
    node.r.config.observe_limit = 2;
    node.change(&(1..=4).flat_map(whole).collect::<Vec<_>>());
    node.quiet();
    node.r.backend_mut().lose_events(true);
    node.r.backend_mut().drop_row(&Key::Mac(vni(2), mac(1)));
    node.now = node.now + Duration::from_secs(61);
    node.r.handle(node.now, &mut node.out);
    assert_eq!(node.r.audit, [Key::Mac(vni(2), mac(1))], "the others were seen");
    node.quiet();
    assert_eq!((node.r.status().repairs, node.r.backend().rows()), (1, node.r.intent().rows()));
}
