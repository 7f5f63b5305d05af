//! VNIs that others set up: they come and go, and nothing that stands is lost over a restart.

use std::time::Duration;

use bgp::wire::RouteTarget;
use evpnd::core::events::Level;
use evpnd::evpn::{ImportRt, MacVrfConfig};

use super::model;
use super::net::{Net, controller, mac, neighbour, node, vni, vrf};

/// A controller, number 0, and `hosts` nodes with VNI 100, of which the first takes what is found.
fn star(hosts: usize, lag: usize) -> Net {
    let mut net = Net::new(1);
    net.lag = lag;
    net.add(controller(0, 64512));
    for n in 1..=hosts {
        let mut config = node(n, 65000 + n as u32);
        config.neighbours = vec![neighbour(&config, 0)];
        config.mac_vrfs = vec![vrf(100)];
        config.discover = (n == 1).then(|| "no VLAN is mapped to it on vxlan1".to_owned());
        net.add(config);
    }
    net.run_for(Duration::from_secs(10));
    for n in 1..=hosts {
        assert!(net.memory(n).learn(vni(100), mac(n as u64), "port0"));
        net.settle(n);
    }
    net.run_for(Duration::from_secs(1));
    net
}

/// Others set up these VNIs on a node, and no more.
fn set_up(net: &mut Net, n: usize, vnis: &[u32]) {
    let mut config = net.nodes[n].config.clone();
    config.mac_vrfs = vnis.iter().map(|v| vrf(*v)).collect();
    net.reconfigure(n, config);
    net.run_for(Duration::from_secs(1));
}

/// What the log of a node says, from this level on.
fn said(net: &Net, n: usize, level: Level) -> Vec<String> {
    let core = net.nodes[n].core.as_ref().expect("it is up");
    core.log().after(0).filter(|e| e.level >= level).map(|e| e.text.to_string()).collect()
}

#[test]
fn a_vni_that_is_found_is_like_any_other_until_it_goes() {
    let mut net = star(2, 0);
    model::check(&net, &[0]).unwrap();
    assert!(said(&net, 1, Level::Info).contains(&"VNI 100: found, VLAN 1".to_owned()));
    let mut config = net.nodes[2].config.clone();
    config.mac_vrfs.push(vrf(200));
    net.reconfigure(2, config);
    for vnis in [&[100, 200][..], &[200], &[], &[100, 200]] {
        set_up(&mut net, 1, vnis);
        model::check(&net, &[0]).unwrap();
        assert_eq!(model::table(&net, 2).flood.len(), vnis.len(), "{vnis:?}");
    }
    // What is learned there is announced.
    assert!(net.memory(1).learn(vni(200), mac(9), "port0"));
    net.settle(1);
    net.run_for(Duration::from_secs(1));
    assert!(model::table(&net, 2).macs.contains_key(&(vni(200), mac(9))));
}

#[test]
fn a_restart_loses_nothing_however_late_it_is_found() {
    // The dataplane's thread takes so long that the controller has told everything before a VNI is found.
    let mut net = star(3, 200_000);
    let before = model::table(&net, 1);
    assert_eq!((before.macs.len(), before.flood.len()), (2, 2));
    for _ in 0..10 {
        net.kill(1);
        net.run_for(Duration::from_secs(1));
        net.start(1);
        for _ in 0..2000 {
            net.run_for(Duration::from_millis(1));
            assert_eq!(model::table(&net, 1), before);
        }
        net.run_for(Duration::from_secs(10));
        assert!(net.plane(1).intent().settled());
        model::check(&net, &[0]).unwrap();
    }
    // And what went meanwhile goes.
    net.kill(1);
    net.kill(3);
    net.run_for(Duration::from_secs(1));
    net.start(1);
    net.run_for(Duration::from_secs(10));
    assert_eq!(model::table(&net, 1).macs.len(), 1);
    model::check(&net, &[0]).unwrap();
}

#[test]
fn a_reload_keeps_what_was_found_and_its_section_counts() {
    let mut net = star(2, 0);
    let target = RouteTarget::new(7, 7).expect("small numbers");
    let section =
        MacVrfConfig { import_rt: vec![ImportRt::Exact(target)], export_rt: vec![target], ..vrf(100) };
    for n in [1, 2] {
        let mut config = net.nodes[n].config.clone();
        config.mac_vrfs = vec![section.clone()];
        net.reconfigure(n, config);
        net.run_for(Duration::from_secs(1));
        assert_eq!(model::table(&net, 1).flood.len(), n - 1, "both have it, or neither");
    }
    model::check(&net, &[0]).unwrap();
    for n in [1, 2] {
        let mut config = net.nodes[n].config.clone();
        config.mac_vrfs = vec![vrf(100)];
        net.reconfigure(n, config);
    }
    net.run_for(Duration::from_secs(1));
    model::check(&net, &[0]).unwrap();
    let found = said(&net, 1, Level::Info).into_iter().filter(|text| text.contains("found")).count();
    assert_eq!(found, 1, "once, not at each reload");
}

#[test]
fn a_vni_that_is_configured_and_not_found_is_told() {
    let mut net = star(1, 0);
    let mut config = net.nodes[1].config.clone();
    // Not by the configuration of the simulation, which is what others have set up.
    config.mac_vrfs = (101..=112).map(vrf).collect();
    let now = net.now;
    let core = net.nodes[1].core.as_mut().expect("it is up");
    core.reconfigure(config, now, &mut Vec::new()).expect("nothing that needs a restart");
    let views = core.vni_views(true);
    let ready = |v: u32| views.iter().find(|view| view.vni == v).and_then(|view| view.ready);
    assert_eq!((ready(100), ready(101)), (Some(true), Some(false)));
    net.run_for(Duration::from_secs(10));
    let told = said(&net, 1, Level::Warn);
    assert_eq!(
        told[told.len() - 11..][..1],
        [
            "VNI 101 is configured, but no VLAN is mapped to it on vxlan1; with discover evpnd makes nothing itself"
        ]
    );
    assert_eq!(
        told.last().map(String::as_str),
        Some("and 2 more VNIs that are configured and were not found: see evpnd show vnis")
    );
}

#[test]
fn a_burst_of_vnis_is_taken_up_one_by_one() {
    const VNIS: u32 = 500;
    let mut net = star(2, 0);
    let mut config = net.nodes[2].config.clone();
    config.mac_vrfs = (1..=VNIS).map(vrf).collect();
    net.reconfigure(2, config.clone());
    net.run_for(Duration::from_secs(5));
    // One by one, a script's pace; and then as many gone.
    for v in 1..=VNIS {
        net.memory(1).set_found(vni(v), true);
        net.settle(1);
        net.run_for(Duration::from_micros(100));
    }
    net.run_for(Duration::from_secs(1));
    net.nodes[1].config.mac_vrfs = config.mac_vrfs;
    model::check(&net, &[0]).unwrap();
    assert_eq!(model::table(&net, 1).flood.len(), VNIS as usize);
    set_up(&mut net, 1, &[7]);
    model::check(&net, &[0]).unwrap();
}

#[test]
fn thousands_are_found_in_one_go() {
    const VNIS: u32 = 4000;
    let mut net = star(2, 0);
    for v in 1..=VNIS {
        net.memory(1).set_found(vni(v), true);
    }
    net.settle(1);
    net.run_for(Duration::from_secs(1));
    let core = net.nodes[1].core.as_ref().expect("it is up");
    assert_eq!(core.vni_views(true).iter().filter(|view| view.ready == Some(true)).count(), VNIS as usize);
    assert_eq!(
        core.rib_counters().destinations,
        VNIS as usize + 1 + 2,
        "its own type 3, those of the other, two MACs"
    );
}
