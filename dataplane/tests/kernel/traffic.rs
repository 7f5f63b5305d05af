//! Real packets: two hosts in namespaces of their own, an underlay between them, endpoints on both.

use dataplane::intent::{Change, L2Vni};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;
use types::Time;

use crate::harness::*;
use crate::layout::*;

/// Applies changes to the kernel of host `n`, and leaves them there.
fn configure(n: u32, six: bool, changes: Vec<Change>) {
    let file = std::fs::File::open(format!("/run/netns/host{n}")).unwrap();
    // A thread of its own: the namespace is the thread's.
    std::thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let mut r = reconciler(config_at(&vtep(n, six)));
        for change in &changes {
            r.change(change);
        }
        let mut outputs = Vec::new();
        while r.deadline() <= Time::from_micros(1) {
            r.handle(Time::from_micros(1), &mut outputs);
        }
        let status = r.status();
        assert!(status.in_sync, "{status:?} {outputs:?}");
    })
    .join()
    .unwrap();
}

/// Host `n` has 10.9.1.`n` in the underlay and endpoint `en` with 192.0.2.`n` behind port `pn`.
fn topology() {
    for n in [1, 2] {
        sh(&format!(
            "ip netns add host{n} && ip netns add e{n} && ip -n host{n} link set lo up && \
             ip link add p{n} netns host{n} type veth peer name eth0 netns e{n} && \
             ip -n e{n} link set eth0 address 02:00:00:00:00:0{n} && ip -n e{n} link set eth0 up && \
             ip -n e{n} addr add 192.0.2.{n}/24 dev eth0 && ip -n e{n} addr add 2001:db8::{n}/64 dev eth0 nodad"
        ));
    }
    sh("ip link add u0 netns host1 type veth peer name u0 netns host2");
    for n in [1, 2] {
        sh(&format!(
            "ip -n host{n} link set u0 up && ip -n host{n} addr add 10.9.1.{n}/24 dev u0 && \
             ip -n host{n} addr add 2001:db8:1::{n}/64 dev u0 nodad"
        ));
    }
}

fn vtep(n: u32, six: bool) -> String {
    if six { format!("2001:db8:1::{n}") } else { format!("10.9.1.{n}") }
}

fn changes(n: u32, six: bool, suppress: bool) -> Vec<Change> {
    let other = 3 - n;
    let there = vtep(other, six);
    let l2 = L2Vni { vtep: ip(&vtep(n, six)), arp_suppression: suppress, ..l2(100, &[&format!("p{n}")]) };
    let m = format!("02:00:00:00:00:0{other}");
    vec![
        Change::PutVni(l2),
        put_flood(100, &there),
        put_mac(100, &m, &there),
        put_neighbour(100, &format!("192.0.2.{other}"), &m),
        put_neighbour(100, &format!("2001:db8::{other}"), &m),
        Change::Settled,
    ]
}

fn pings(six_underlay: bool) {
    topology();
    for n in [1, 2] {
        configure(n, six_underlay, changes(n, six_underlay, true));
    }
    for n in [1, 2] {
        let other = 3 - n;
        for target in [format!("192.0.2.{other}"), format!("2001:db8::{other}")] {
            // (The underlay may have to find its own neighbours first.)
            let command = format!("ip netns exec e{n} ping -q -c 2 -i 0.2 -W 5 {target}");
            let until = clock() + patience();
            while !succeeds(&command) {
                assert!(clock() < until, "{command}");
            }
        }
        // More than the underlay takes in one packet: the first comes back with the size that fits.
        if !six_underlay {
            let command = format!("ip netns exec e{n} ping -q -c 3 -i 0.2 -W 5 -s 1472 192.0.2.{other}");
            assert!(succeeds(&command), "{command}");
        }
    }
}

#[test]
fn pings_cross_the_overlay_both_ways() {
    in_namespace("traffic::pings_cross_the_overlay_both_ways", || pings(false));
}

#[test]
fn pings_cross_an_ipv6_underlay() {
    in_namespace("traffic::pings_cross_an_ipv6_underlay", || pings(true));
}

#[test]
fn arp_and_nd_are_answered_here_or_flooded() {
    in_namespace("traffic::arp_and_nd_are_answered_here_or_flooded", || {
        topology();
        // Host 2 does not exist for this: whoever answers does so from what is known here.
        configure(1, false, changes(1, false, true));
        let resolved = |address: &str| {
            sh("ip -n e1 neigh flush all");
            sh(&format!("ip netns exec e1 ping -c 1 -W 1 {address} > /dev/null || true"));
            sh(&format!("ip -n e1 neigh show {address}")).contains("lladdr 02:00:00:00:00:02")
        };
        let until_resolved = |address: &str, what: &str| {
            let until = clock() + patience();
            while !resolved(address) {
                assert!(clock() < until, "{what}");
            }
        };
        until_resolved("192.0.2.2", "ARP was not answered");
        until_resolved("2001:db8::2", "ND was not answered");
        configure(1, false, changes(1, false, false));
        assert!(!resolved("192.0.2.2"), "with suppression off it is to be flooded");
        configure(2, false, changes(2, false, false));
        until_resolved("192.0.2.2", "the flood does not reach the other host");
    });
}
