//! What the kernel sees by itself, told upwards: MACs learned, moved, aged; neighbours; hosts that move between here
//! and elsewhere; lost events.

use std::fmt::Write as _;

use dataplane::intent::{Change, Local, RemoteMac};
use dataplane::kernel::KernelConfig;
use dataplane::reconciler::{Event, Output};
use types::MacAddr;

use crate::harness::*;
use crate::layout::*;

const HOST: &str = "02:00:00:00:00:a1";

/// A VNI with two ports; frames can be sent into them.
fn host() -> Host {
    for i in [1, 2] {
        sh(&format!(
            "ip link add veth{i} type veth peer name h{i} && sysctl -qw net.ipv6.conf.h{i}.disable_ipv6=1 \
             net.ipv6.conf.veth{i}.disable_ipv6=1 && ip link set h{i} up"
        ));
    }
    let host = Host::new(&[
        Change::PutVni(l2(100, &["veth1", "veth2"])),
        put_flood(100, "10.9.0.2"),
        Change::Settled,
    ]);
    host.assert_in_sync();
    host
}

/// A frame from this MAC comes in on port `i`. (To a neighbour written by hand: no ARP that has to be waited for.)
fn frame_from(mac: &str, i: u32) {
    sh(&format!(
        "ip link set h{i} address {mac} && ip addr replace 192.0.2.{i}/24 dev h{i} && \
         ip neigh replace 192.0.2.99 lladdr 02:00:00:00:00:99 nud permanent dev h{i} && \
         ping -q -c 1 -W 0.05 -I h{i} 192.0.2.99 || true"
    ));
}

fn seen(m: &str, interface: &str) -> Local {
    Local::MacSeen { vni: vni(100), mac: mac(m), interface: interface.into(), sticky: false }
}

fn gone(m: &str) -> Local {
    Local::MacGone { vni: vni(100), mac: mac(m) }
}

#[test]
fn macs_are_learned_move_and_age() {
    in_namespace("events::macs_are_learned_move_and_age", || {
        let mut host = host();
        frame_from(HOST, 1);
        host.hears(&seen(HOST, "veth1"));
        sh("ip link set h1 address 02:00:00:00:00:ff");
        frame_from(HOST, 2);
        host.hears(&seen(HOST, "veth2"));
        assert!(!host.outputs.contains(&Output::Local(gone(HOST))), "a move is no loss");
        let ageing = |time: u32| sh(&format!("ip link set {} type bridge ageing_time {time}", bridge(100)));
        ageing(10);
        host.hears(&gone(HOST));
        ageing(30000);
        frame_from(HOST, 2);
        host.outputs.clear();
        host.hears(&seen(HOST, "veth2"));
        host.outputs.clear();
        sh("ip link set h2 address 02:00:00:00:00:fe; ip link del veth2");
        host.hears(&gone(HOST));
        let ports = host.outputs.iter().filter(|o| matches!(o, Output::Local(Local::MacSeen { .. }))).count();
        assert_eq!(ports, 0, "a port's own address is no host: {:?}", host.outputs);
    });
}

#[test]
fn a_restart_sees_the_hosts_that_are_there() {
    in_namespace("events::a_restart_sees_the_hosts_that_are_there", || {
        let mut host = host();
        frame_from(HOST, 1);
        host.hears(&seen(HOST, "veth1"));
        drop(host);
        let host = Host::new(&[Change::PutVni(l2(100, &["veth1", "veth2"]))]);
        assert!(host.outputs.contains(&Output::Local(seen(HOST, "veth1"))), "{:?}", host.outputs);
    });
}

#[test]
fn a_host_moves_here_and_away() {
    in_namespace("events::a_host_moves_here_and_away", || {
        let mut host = host();
        host.change(&[put_mac(100, HOST, "10.9.0.2")]);
        frame_from(HOST, 1);
        host.hears(&seen(HOST, "veth1"));
        let rows = || on_bridge(100, HOST).join("\n");
        assert!(rows().contains("dev veth1"), "{}", rows());
        host.resync();
        assert!(rows().contains("dev veth1"), "no fight: {}", rows());
        assert_eq!(host.r.status().repairs, 0);
        // evpn gives the remote row up; the bridge's own entry is left alone.
        host.change(&[Change::DelMac(vni(100), mac(HOST))]);
        assert!(rows().contains("dev veth1"), "{}", rows());
        assert!(!has_row(100, HOST), "the VXLAN half is gone");
        host.resync();
        host.assert_in_sync();
        // It moves away; the bridge still has it here, and we are told otherwise.
        host.change(&[put_mac(100, HOST, "10.9.0.2")]);
        assert!(rows().contains(&format!("dev {} extern_learn", vxlan(100))), "{}", rows());
        assert!(host.outputs.contains(&Output::Local(gone(HOST))));
        host.resync();
        host.assert_in_sync();
        assert_eq!(host.r.status().repairs, 0, "{:?}", host.outputs);
    });
}

#[test]
fn many_moves_leave_the_right_row() {
    in_namespace("events::many_moves_leave_the_right_row", || {
        let mut host = host();
        for i in 0..if SHARED { 5 } else { 25 } {
            host.change(&[put_mac(100, HOST, &format!("10.9.0.{}", 2 + i % 3))]);
            assert!(has_row(100, &format!("{HOST} extern_learn master")), "away {i}");
            host.outputs.clear();
            frame_from(HOST, 1 + i % 2);
            host.hears(&seen(HOST, &format!("veth{}", 1 + i % 2)));
            if i % 4 == 0 {
                host.change(&[Change::DelMac(vni(100), mac(HOST))]);
            }
        }
        host.change(&[Change::DelMac(vni(100), mac(HOST))]);
        let rows = on_bridge(100, HOST);
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert!(rows[0].contains("dev veth1 master"), "{rows:?}");
        assert_eq!(host.r.status().repairs, 0);
    });
}

#[test]
fn a_sticky_mac_does_not_move() {
    in_namespace("events::a_sticky_mac_does_not_move", || {
        let mut host = host();
        let sticky = RemoteMac { vtep: ip("10.9.0.2"), vni: vni(100), sticky: true };
        host.change(&[Change::PutMac(vni(100), mac(HOST), sticky)]);
        frame_from(HOST, 1);
        frame_from("02:00:00:00:00:a2", 1);
        host.hears(&seen("02:00:00:00:00:a2", "veth1"));
        assert!(!host.outputs.contains(&Output::Local(seen(HOST, "veth1"))));
        assert!(has_row(100, &format!("{HOST} extern_learn sticky master")));
    });
}

#[test]
fn neighbours_found_here_are_told() {
    in_namespace("events::neighbours_found_here_are_told", || {
        let mut host = host();
        let seen = |a: &str| Local::NeighbourSeen { vni: vni(100), ip: ip(a), mac: mac(HOST) };
        let gone = |a: &str| Local::NeighbourGone { vni: vni(100), ip: ip(a) };
        host.change(&[put_neighbour(100, "192.0.2.60", HOST)]);
        let table = table(100);
        for address in ["192.0.2.50", "2001:db8::50"] {
            sh(&format!("ip neigh add {address} lladdr {HOST} dev {table} nud reachable"));
            host.hears(&seen(address));
            sh(&format!("ip neigh del {address} dev {table}"));
            host.hears(&gone(address));
        }
        // Ours are no news.
        host.outputs.clear();
        host.change(&[put_neighbour(100, "192.0.2.61", HOST)]);
        host.resync();
        assert!(host.outputs.is_empty(), "{:?}", host.outputs);
    });
}

#[test]
fn an_overrun_of_the_buffer_costs_nothing_but_time() {
    in_namespace("events::an_overrun_of_the_buffer_costs_nothing_but_time", || {
        for i in [1, 2] {
            sh(&format!("ip link add veth{i} type veth peer name h{i} && ip link set h{i} up"));
        }
        let small = KernelConfig { receive_buffer: 4096, ..config() };
        let mut host = Host::with(
            small,
            &[
                Change::PutVni(l2(100, &["veth1", "veth2"])),
                put_mac(100, "02:00:00:00:00:01", "10.9.0.2"),
                Change::Settled,
            ],
        );
        host.assert_in_sync();
        // Four thousand hosts on a port, while nobody reads; and a row of ours lost on the way.
        let name = |i: u32| MacAddr([2, 0, 0, 1, (i >> 8) as u8, i as u8]);
        let mut script = String::new();
        let at = on_port(100, "veth1");
        for i in 0..4000 {
            writeln!(script, "fdb add {} {at} master dynamic", name(i)).unwrap();
        }
        writeln!(script, "fdb del 02:00:00:00:00:01 {} self master", on_vxlan(100)).unwrap();
        std::fs::write("/run/rows", script).unwrap();
        sh("bridge -batch /run/rows");
        host.outputs.clear();
        host.work();
        assert!(host.outputs.contains(&Output::Event(Event::EventsLost)), "it was to overflow");
        for i in [0, 1999, 3999] {
            let seen =
                Local::MacSeen { vni: vni(100), mac: name(i), interface: "veth1".into(), sticky: false };
            assert!(host.outputs.contains(&Output::Local(seen)), "{i}");
        }
        assert!(has_row(100, "02:00:00:00:00:01 dst 10.9.0.2"));
        host.assert_in_sync();
    });
}
