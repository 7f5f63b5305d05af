//! Scenarios on whole nodes, one behaviour a test.

use std::time::Duration;

use dataplane::backend::ErrorKind;
use dataplane::rows::Key;
use evpnd::core::CoreConfig;

use super::model;
use super::net::{Net, address, controller, mac, neighbour, node, vni, vrf};

/// A controller, number 0, and `hosts` nodes with VNI 100.
fn star(hosts: usize) -> Net {
    let mut net = Net::new(1);
    net.add(controller(0, 64512));
    for n in 1..=hosts {
        let mut config = node(n, 65000 + n as u32);
        config.neighbours = vec![neighbour(&config, 0)];
        config.mac_vrfs = vec![vrf(100)];
        net.add(config);
    }
    net.run_for(Duration::from_secs(10));
    net
}

fn learn(net: &mut Net, n: usize, m: u64) {
    assert!(net.memory(n).learn(vni(100), mac(m), "port0"));
    net.settle(n);
}

fn is_right(net: &Net) {
    model::check(net, &[0]).unwrap();
}

#[test]
fn everybody_floods_to_everybody_and_knows_every_mac() {
    let mut net = star(4);
    for n in 1..=4 {
        for m in 0..10 {
            learn(&mut net, n, 100 * n as u64 + m);
        }
    }
    net.run_for(Duration::from_secs(1));
    is_right(&net);
    assert_eq!(model::table(&net, 1).macs.len(), 30);
    assert_eq!(model::table(&net, 1).flood.len(), 3);
}

#[test]
fn a_dead_node_is_forgotten_and_comes_back() {
    let mut net = star(3);
    learn(&mut net, 3, 7);
    net.run_for(Duration::from_secs(1));
    net.kill(3);
    net.run_for(Duration::from_secs(1));
    assert_eq!(model::table(&net, 1).macs.len(), 0);
    assert_eq!(model::table(&net, 1).flood.len(), 1);
    net.start(3);
    net.run_for(Duration::from_secs(10));
    is_right(&net);
    assert_eq!(model::table(&net, 1).macs.len(), 1, "the bridge of node 3 still has the MAC");
}

#[test]
fn a_silent_link_is_noticed_by_the_hold_timer_and_mends() {
    let mut net = star(2);
    learn(&mut net, 2, 7);
    net.run_for(Duration::from_secs(1));
    net.cut(0, 2);
    net.run_for(Duration::from_secs(7));
    assert_eq!(model::table(&net, 1).macs.len(), 1, "nobody can know yet");
    net.run_for(Duration::from_secs(5));
    assert_eq!(model::table(&net, 1).macs.len(), 0);
    net.mend(0, 2);
    net.run_for(Duration::from_secs(20));
    is_right(&net);
}

#[test]
fn a_break_shorter_than_the_hold_time_loses_nothing() {
    let mut net = star(2);
    learn(&mut net, 2, 7);
    net.run_for(Duration::from_secs(1));
    net.cut(0, 1);
    learn(&mut net, 2, 8);
    net.memory(2).age(vni(100), mac(7));
    net.settle(2);
    net.run_for(Duration::from_secs(4));
    assert_eq!(model::table(&net, 1).macs.keys().copied().collect::<Vec<_>>(), [(vni(100), mac(7))]);
    net.mend(0, 1);
    net.run_for(Duration::from_secs(1));
    is_right(&net);
    assert_eq!(model::table(&net, 1).macs.keys().copied().collect::<Vec<_>>(), [(vni(100), mac(8))]);
}

#[test]
fn a_host_that_seemed_to_move_away_is_announced_again() {
    let mut net = star(3);
    learn(&mut net, 1, 7);
    net.run_for(Duration::from_secs(1));
    // Node 2 says it has the host, node 1 cannot write that in time, and then node 2 was wrong.
    net.memory(1).fail_op(0, ErrorKind::Other);
    learn(&mut net, 2, 7);
    net.run_for(Duration::from_millis(500));
    net.memory(2).age(vni(100), mac(7));
    net.settle(2);
    net.run_for(Duration::from_secs(5));
    is_right(&net);
    assert!(model::table(&net, 3).macs.contains_key(&(vni(100), mac(7))));
}

#[test]
fn a_host_that_is_static_elsewhere_does_not_stay_where_it_is_heard() {
    let mut net = star(2);
    net.memory(1).fail_op(0, ErrorKind::Other);
    assert!(net.memory(2).add_static(vni(100), mac(7), "port1"));
    net.settle(2);
    net.run_for(Duration::from_millis(500));
    // The row that would keep it from being learned does not stand yet.
    learn(&mut net, 1, 7);
    net.run_for(Duration::from_secs(5));
    is_right(&net);
    assert!(model::locals(&net, 1).is_empty());
}

#[test]
fn a_duplicate_that_is_nowhere_here_can_be_seen_and_forgiven() {
    let mut net = star(2);
    for _ in 0..3 {
        for n in 1..=2 {
            learn(&mut net, n, 7);
            net.run_for(Duration::from_millis(100));
        }
    }
    let held: Vec<usize> = (1..=2).filter(|&n| !net.duplicates(n).is_empty()).collect();
    assert!(!held.is_empty());
    for n in 1..=2 {
        net.memory(n).age(vni(100), mac(7));
        net.settle(n);
    }
    net.run_for(Duration::from_secs(1));
    let elsewhere = 3 - held[0];
    learn(&mut net, elsewhere, 7);
    net.run_for(Duration::from_secs(1));
    assert_eq!(net.duplicates(held[0]), [(vni(100), mac(7))], "still, and without being here");
    net.clear_duplicates();
    net.run_for(Duration::from_secs(1));
    is_right(&net);
    assert_eq!(model::table(&net, held[0]).macs.len() + model::table(&net, elsewhere).macs.len(), 1);
}

#[test]
fn a_vni_that_comes_back_before_it_is_gone_knows_its_hosts() {
    let mut net = star(2);
    learn(&mut net, 1, 7);
    net.run_for(Duration::from_secs(1));
    let with = net.nodes[1].config.clone();
    let without = CoreConfig { mac_vrfs: Vec::new(), ..with.clone() };
    net.memory(1).fail_op(0, ErrorKind::Other);
    net.reconfigure(1, without);
    assert_eq!(net.memory(1).locals(vni(100)).count(), 1, "the devices could not be removed");
    net.reconfigure(1, with);
    net.run_for(Duration::from_secs(5));
    is_right(&net);
    assert_eq!(model::table(&net, 2).macs.len(), 1);
}

#[test]
fn a_restart_adopts_and_removes_nothing_that_is_still_wanted() {
    let mut net = star(3);
    for m in 0..50 {
        learn(&mut net, 2, m);
    }
    net.run_for(Duration::from_secs(1));
    let ops = net.plane(1).backend().ops();
    net.kill(1);
    net.start(1);
    net.run_for(Duration::from_secs(120));
    is_right(&net);
    let written = net.plane(1).backend().ops() - ops;
    assert!(written <= 1, "{written} rows were written though all stood");
}

#[test]
fn what_went_while_a_node_was_down_is_reaped_after_everything_was_heard() {
    let mut net = star(3);
    learn(&mut net, 2, 1);
    learn(&mut net, 2, 2);
    net.run_for(Duration::from_secs(1));
    net.kill(1);
    net.memory(2).age(vni(100), mac(1));
    net.settle(2);
    net.run_for(Duration::from_secs(1));
    assert_eq!(model::table(&net, 1).macs.len(), 2, "a dead node's dataplane stays as it was");
    net.start(1);
    net.run_for(Duration::from_secs(20));
    is_right(&net);
    assert_eq!(model::table(&net, 1).macs.len(), 1);
}

#[test]
fn fifty_migrations_leave_one_place_each_time() {
    let mut net = star(4);
    for step in 0..50 {
        let to = 1 + step % 4;
        learn(&mut net, to, 7);
        net.run_for(Duration::from_secs(60));
        is_right(&net);
        assert!(
            model::locals(&net, to).contains(&(vni(100), mac(7))),
            "step {step}: the MAC is where it came to"
        );
    }
}

#[test]
fn rows_and_devices_removed_by_hand_come_back() {
    let mut net = star(2);
    learn(&mut net, 2, 7);
    net.run_for(Duration::from_secs(1));
    net.memory(1).drop_row(&Key::Mac(vni(100), mac(7)));
    net.memory(1).drop_row(&Key::Flood(vni(100), address(2)));
    net.settle(1);
    net.run_for(Duration::from_secs(1));
    is_right(&net);
    net.memory(1).drop_row(&Key::Vni(vni(100)));
    net.settle(1);
    net.run_for(Duration::from_secs(5));
    is_right(&net);
    assert!(net.plane(1).status().repairs > 0);
}

#[test]
fn a_node_that_does_not_read_disturbs_nobody() {
    let mut net = star(3);
    net.stall(3, true);
    for m in 0..500 {
        learn(&mut net, 2, m);
    }
    net.run_for(Duration::from_secs(2));
    assert_eq!(model::table(&net, 1).macs.len(), 500);
    assert_eq!(model::table(&net, 3).macs.len(), 0);
    net.stall(3, false);
    net.run_for(Duration::from_secs(2));
    is_right(&net);
}

#[test]
fn a_vni_that_is_added_later_imports_what_is_already_known() {
    let mut net = star(3);
    learn(&mut net, 2, 7);
    let mut config = net.nodes[1].config.clone();
    let vrfs = std::mem::take(&mut config.mac_vrfs);
    net.reconfigure(1, config.clone());
    net.run_for(Duration::from_secs(1));
    assert_eq!(model::table(&net, 1), model::Table::default());
    config.mac_vrfs = vrfs;
    net.reconfigure(1, config);
    net.run_for(Duration::from_secs(1));
    is_right(&net);
    assert_eq!(model::table(&net, 1).macs.len(), 1);
}
