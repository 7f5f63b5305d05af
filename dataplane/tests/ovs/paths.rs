//! What becomes of packets, as ovs-vswitchd itself says.

use std::net::IpAddr;

use dataplane::intent::{Change, Client, Flood, Hop, L2Vni, Neighbour, RemoteMac, Service, Vrf};

use crate::harness::{Node, client, in_namespace, mac, vni};

const REMOTE: [&str; 2] = ["192.0.2.2", "192.0.2.3"];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn remote(vtep: &str, wire: u32, router_mac: &str) -> Hop {
    Hop::Remote { vtep: ip(vtep), vni: vni(wire), router_mac: mac(router_mac) }
}

/// VNI 10, an L2 VNI and a VRF; flat and VLAN clients, two of them on one port, and what is far away.
pub(crate) fn network() -> Vec<Change> {
    let l2 = |ips: &[&str]| Service::L2 { vni: vni(10), ips: ips.iter().map(|a| ip(a)).collect() };
    let l3 = |nets: &[&str]| Service::L3 {
        vrf: vni(10),
        prefixes: nets.iter().map(|net| net.parse().unwrap()).collect(),
    };
    let flat = client("flat", 5, None, "02:00:00:00:00:01", l2(&["10.0.0.1", "2001:db8::1"]));
    let tagged = client("tagged", 6, Some(100), "02:00:00:00:00:02", l2(&[]));
    let trusting = Client {
        anti_spoof: false,
        ..client("trusting", 6, Some(200), "02:00:00:00:00:03", l2(&["10.0.0.3"]))
    };
    let routed = client("routed", 7, None, "02:00:00:00:00:11", l3(&["10.1.0.1/32", "2001:db8:1::1/128"]));
    let routed_tagged = client("routed-tagged", 7, Some(300), "02:00:00:00:00:12", l3(&["10.1.0.2/32"]));

    let mut changes = vec![
        Change::PutVni(L2Vni {
            vni: vni(10),
            vtep: ip("192.0.2.1"),
            port: 4789,
            interfaces: Vec::new(),
            arp_suppression: true,
            vlan: None,
        }),
        Change::PutMac(
            vni(10),
            mac("02:00:00:00:00:09"),
            RemoteMac { vtep: ip(REMOTE[0]), vni: vni(11), sticky: false },
        ),
        Change::PutFlood(vni(10), ip(REMOTE[0]), Flood { vni: vni(11) }),
        Change::PutFlood(vni(10), ip(REMOTE[1]), Flood { vni: vni(10) }),
    ];
    for (address, router) in [("10.0.0.9", false), ("2001:db8::9", false), ("2001:db8::fe", true)] {
        let neighbour = Neighbour { mac: mac("02:00:00:00:00:09"), router };
        changes.push(Change::PutNeighbour(vni(10), ip(address), neighbour));
    }
    changes.extend([flat, tagged, trusting, routed, routed_tagged].map(Change::PutClient));
    changes.push(Change::PutVrf(Vrf { vni: vni(10), router_mac: mac("02:e5:c0:00:02:01") }));
    let far = remote(REMOTE[0], 5000, "02:e5:c0:00:02:02");
    let farther = remote(REMOTE[1], 5001, "02:e5:c0:00:02:03");
    for (net, hops) in [
        ("10.1.0.1/32", vec![Hop::Client("routed".into())]),
        ("2001:db8:1::1/128", vec![Hop::Client("routed".into())]),
        ("10.1.0.2/32", vec![Hop::Client("routed-tagged".into())]),
        ("0.0.0.0/0", vec![far.clone()]),
        ("::/0", vec![far.clone()]),
        ("10.2.0.0/16", vec![far, farther]),
        ("10.3.0.0/16", Vec::new()),
    ] {
        changes.push(Change::PutPrefix(vni(10), net.parse().unwrap(), hops));
    }
    changes
}

/// A node with that network.
fn node() -> Node {
    let mut node = Node::new(&[5, 6, 7]);
    node.change(&network());
    node.apply();
    node
}

/// This packet leaves as these copies.
#[track_caller]
fn goes(node: &Node, packet: &str, copies: &[&str]) {
    let trace = node.trace(packet);
    assert_eq!(trace.copies(), copies, "{packet}\n{trace}");
}

/// This packet leaves by one way, and with these fields.
#[track_caller]
fn goes_as(node: &Node, packet: &str, copy: &str, fields: &str) {
    let trace = node.trace(packet);
    assert_eq!(trace.copies(), [copy], "{packet}\n{trace}");
    assert!(trace.ends_with(fields), "{packet} should end with {fields}\n{trace}");
}

#[track_caller]
fn dropped(node: &Node, packet: &str) {
    goes(node, packet, &[]);
}

const FLAT: &str = "in_port=5,dl_src=02:00:00:00:00:01";
const TAGGED: &str = "in_port=6,dl_vlan=100,dl_src=02:00:00:00:00:02";
const TRUSTING: &str = "in_port=6,dl_vlan=200,dl_src=02:00:00:00:00:03";
const ROUTED: &str = "in_port=7,dl_src=02:00:00:00:00:11,dl_dst=00:00:5e:00:01:01,nw_ttl=64";
/// From the tunnel in VNI 10.
const FAR: &str = "in_port=100,tun_id=10,tun_src=192.0.2.2,tun_dst=192.0.2.1,dl_src=02:00:00:00:00:09";
const ALL: &str = "dl_dst=ff:ff:ff:ff:ff:ff";

#[test]
fn frames_are_bridged_between_clients_and_tunnel() {
    in_namespace("paths::frames_are_bridged_between_clients_and_tunnel", || {
        let node = node();
        let from_flat = |to: &str| format!("{FLAT},dl_dst={to},ip,nw_src=10.0.0.1,nw_dst=10.0.0.9,nw_ttl=64");
        goes(&node, &from_flat("02:00:00:00:00:02"), &["port 6 vlan 100"]);
        goes(&node, &from_flat("02:00:00:00:00:03"), &["port 6 vlan 200"]);
        goes(&node, &from_flat("02:00:00:00:00:09"), &["192.0.2.2 vni 11"]);
        dropped(&node, &from_flat("02:00:00:00:00:01"));
        // The clients of a VRF of the same number are not of this VNI.
        let all = ["port 6 vlan 100", "port 6 vlan 200", "192.0.2.2 vni 11", "192.0.2.3 vni 10"];
        for to in ["02:00:00:00:00:11", "02:00:00:00:00:77", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:05"] {
            goes(&node, &from_flat(to), &all);
        }
        dropped(&node, &from_flat("01:80:c2:00:00:0e"));

        // Two clients behind one port are two clients.
        let tagged = format!("{TAGGED},dl_dst=02:00:00:00:00:03,ip");
        goes(&node, &tagged, &["port 6 vlan 200"]);
        let all = ["port 5", "port 6 vlan 200", "192.0.2.2 vni 11", "192.0.2.3 vni 10"];
        goes(&node, &format!("{TAGGED},{ALL},ip"), &all);
        let all = ["port 5", "port 6 vlan 100", "192.0.2.2 vni 11", "192.0.2.3 vni 10"];
        goes(&node, &format!("{TRUSTING},{ALL},ip"), &all);

        // From the tunnel: to clients only, whatever the frame is.
        goes(&node, &format!("{FAR},dl_dst=02:00:00:00:00:01,ip"), &["port 5"]);
        goes(&node, &format!("{FAR},dl_dst=02:00:00:00:00:02,ip"), &["port 6 vlan 100"]);
        dropped(&node, &format!("{FAR},dl_dst=02:00:00:00:00:09,ip"));
        let locals = ["port 5", "port 6 vlan 100", "port 6 vlan 200"];
        goes(&node, &format!("{FAR},{ALL},ip"), &locals);
        goes(&node, &format!("{FAR},{ALL},arp,arp_op=1,arp_spa=10.0.0.8,arp_tpa=10.0.0.9"), &locals);
    });
}

#[test]
fn what_belongs_to_nobody_is_dropped() {
    in_namespace("paths::what_belongs_to_nobody_is_dropped", || {
        let mut node = node();
        // A tag that no client has, a tag on a port without, none on a port of tags.
        dropped(&node, &format!("in_port=6,dl_vlan=101,dl_src=02:00:00:00:00:02,{ALL},ip"));
        dropped(&node, &format!("in_port=5,dl_vlan=100,dl_src=02:00:00:00:00:01,{ALL},ip,nw_src=10.0.0.1"));
        dropped(&node, &format!("in_port=6,dl_src=02:00:00:00:00:02,{ALL},ip"));
        // A VNI that is not ours; a tag inside the tunnel; the MAC of another router.
        dropped(&node, &format!("in_port=100,tun_id=12,tun_src=192.0.2.2,{ALL},ip"));
        dropped(&node, &format!("{FAR},{ALL},dl_vlan=100,ip"));
        node.change(&[Change::DelVni(vni(10))]);
        node.apply();
        dropped(&node, &format!("{FAR},dl_dst=02:e5:c0:00:02:99,ip,nw_dst=10.1.0.1,nw_ttl=64"));
        dropped(&node, &format!("{FAR},dl_dst=02:00:00:00:00:01,ip"));
        dropped(&node, &format!("{FLAT},{ALL},ip,nw_src=10.0.0.1"));
        goes(&node, &format!("{FAR},dl_dst=02:e5:c0:00:02:01,ip,nw_dst=10.1.0.1,nw_ttl=64"), &["port 7"]);
    });
}

#[test]
fn a_client_cannot_pretend_to_be_another() {
    in_namespace("paths::a_client_cannot_pretend_to_be_another", || {
        let node = node();
        let far = "dl_dst=02:00:00:00:00:09";
        let passes = |packet: &str| {
            let trace = node.trace(packet);
            assert!(!trace.copies().is_empty(), "{packet}\n{trace}");
        };
        let sha = "arp_sha=02:00:00:00:00:01";
        let sll = "nd_sll=02:00:00:00:00:01";
        let tll = "nd_tll=02:00:00:00:00:01";
        let na = "icmp6,icmpv6_type=136,icmpv6_code=0";
        let ns = "icmp6,icmpv6_type=135,icmpv6_code=0";
        for own in [
            "ip,nw_src=10.0.0.1".to_owned(),
            "tcp6,ipv6_src=2001:db8::1".to_owned(),
            "tcp6,ipv6_src=fe80::1".to_owned(),
            "udp,nw_src=0.0.0.0,nw_dst=255.255.255.255,udp_src=68,udp_dst=67".to_owned(),
            format!("arp,arp_op=1,arp_spa=10.0.0.1,arp_tpa=10.0.0.77,{sha}"),
            format!("arp,arp_op=2,arp_spa=10.0.0.1,arp_tpa=10.0.0.77,{sha}"),
            format!("arp,arp_op=1,arp_spa=0.0.0.0,arp_tpa=10.0.0.1,{sha}"),
            format!("{ns},ipv6_src=2001:db8::1,nd_target=2001:db8::77,{sll}"),
            format!("{ns},ipv6_src=::,nd_target=2001:db8::1"),
            format!("{na},ipv6_src=2001:db8::1,nd_target=2001:db8::1,{tll}"),
            format!("{na},ipv6_src=fe80::1,nd_target=fe80::1,{tll}"),
            "icmp6,icmpv6_type=133,ipv6_src=fe80::1".to_owned(),
        ] {
            passes(&format!("{FLAT},{far},{own}"));
            dropped(&node, &format!("in_port=5,dl_src=02:00:00:00:00:66,{far},{own}"));
        }
        for other in [
            "ip,nw_src=10.0.0.2".to_owned(),
            "tcp6,ipv6_src=2001:db8::2".to_owned(),
            "udp,nw_src=0.0.0.0,udp_src=1000,udp_dst=67".to_owned(),
            format!("arp,arp_op=1,arp_spa=10.0.0.2,arp_tpa=10.0.0.77,{sha}"),
            "arp,arp_op=2,arp_spa=10.0.0.1,arp_tpa=10.0.0.77,arp_sha=02:00:00:00:00:66".to_owned(),
            format!("arp,arp_op=2,arp_spa=0.0.0.0,arp_tpa=10.0.0.77,{sha}"),
            // Whether the address of somebody else is free: he may be about to ask the same.
            format!("arp,arp_op=1,arp_spa=0.0.0.0,arp_tpa=10.0.0.77,{sha}"),
            format!("{ns},ipv6_src=::,nd_target=2001:db8::77"),
            format!("{ns},ipv6_src=2001:db8::1,nd_target=2001:db8::77,nd_sll=02:00:00:00:00:66"),
            format!("{na},ipv6_src=2001:db8::1,nd_target=2001:db8::1,nd_tll=02:00:00:00:00:66"),
            format!("{na},ipv6_src=fe80::1,nd_target=2001:db8::2,{tll}"),
            "icmp6,icmpv6_type=134,ipv6_src=fe80::1".to_owned(),
            "icmp6,icmpv6_type=137,ipv6_src=fe80::1".to_owned(),
            // Options that make no sense; the rest of the headers is in the next fragment.
            format!("{ns},ipv6_src=fe80::1,nd_target=::"),
            "icmp6,icmpv6_type=0,ipv6_src=fe80::1,ip_frag=first".to_owned(),
            "ipv6,nw_proto=0,ipv6_src=fe80::1".to_owned(),
            "dl_type=0x88b5".to_owned(),
        ] {
            dropped(&node, &format!("{FLAT},{far},{other}"));
            // Nobody asked for a check of this one.
            passes(&format!("{TRUSTING},{far},{other}"));
        }

        // Where only the MAC is known, the MAC is looked at, also where ARP and ND write it.
        passes(&format!("{TAGGED},{far},ip,nw_src=10.0.0.200"));
        passes(&format!("{TAGGED},{far},dl_type=0x88b5"));
        passes(&format!("{TAGGED},{far},icmp6,icmpv6_type=134,ipv6_src=fe80::1"));
        let tagged = format!("{TAGGED},{far},arp,arp_op=2,arp_spa=10.0.0.200,arp_tpa=10.0.0.77");
        passes(&format!("{tagged},arp_sha=02:00:00:00:00:02"));
        dropped(&node, &format!("{tagged},arp_sha=02:00:00:00:00:66"));
        dropped(&node, &format!("{TAGGED},{far},{na},nd_target=2001:db8::1,nd_tll=02:00:00:00:00:66"));
        dropped(&node, &format!("in_port=6,dl_vlan=100,dl_src=02:00:00:00:00:03,{far},ip"));
        // What it says below a second tag, nobody has looked at.
        dropped(&node, &format!("{TAGGED},{far},dl_type=0x8100"));
        passes(&format!("{TRUSTING},{far},dl_type=0x8100"));

        // A routed client, from addresses that are not its own; and what is not IP.
        dropped(&node, &format!("{ROUTED},ip,nw_src=10.1.0.2,nw_dst=10.9.0.1"));
        dropped(&node, &format!("{ROUTED},tcp6,ipv6_src=2001:db8:1::2,ipv6_dst=2001:db8:9::1"));
        dropped(&node, "in_port=7,dl_src=02:00:00:00:00:11,dl_dst=00:00:5e:00:01:01,dl_type=0x88b5");
    });
}

/// The userspace datapath would open a tunnel packet on its way to any port.
#[test]
fn a_client_cannot_enter_other_vnis_by_a_tunnel_of_its_own() {
    in_namespace("paths::a_client_cannot_enter_other_vnis_by_a_tunnel_of_its_own", || {
        let node = node();
        let to = |address: &str, port: u16| {
            let udp = format!("udp,nw_dst={address},nw_ttl=64,udp_src=5000,udp_dst={port}");
            [
                format!("{TRUSTING},dl_dst=02:00:00:00:00:01,{udp},nw_src=10.0.0.3"),
                format!("{FAR},dl_dst=02:00:00:00:00:01,{udp},nw_src=10.0.0.9"),
            ]
        };
        for packet in to("192.0.2.1", 4789) {
            dropped(&node, &packet);
        }
        for packet in to("192.0.2.1", 4790).iter().chain(&to("192.0.2.77", 4789)) {
            goes(&node, packet, &["port 5"]);
        }
    });
}

#[test]
fn questions_are_answered_and_nothing_else_is() {
    in_namespace("paths::questions_are_answered_and_nothing_else_is", || {
        let node = node();
        let arp = |dst: &str, op: u8, spa: &str, tpa: &str| {
            format!(
                "{FLAT},dl_dst={dst},arp,arp_op={op},arp_spa={spa},arp_tpa={tpa},arp_sha=02:00:00:00:00:01"
            )
        };
        let all = "ff:ff:ff:ff:ff:ff";
        let answer = "dl_src=02:00:00:00:00:09,dl_dst=02:00:00:00:00:01,arp_op=2,arp_spa=10.0.0.9,\
                      arp_tpa=10.0.0.1,arp_sha=02:00:00:00:00:09,arp_tha=02:00:00:00:00:01";
        goes_as(&node, &arp(all, 1, "10.0.0.1", "10.0.0.9"), "port 5", answer);
        let answer = "dl_src=02:00:00:00:00:03,arp_op=2,arp_spa=10.0.0.3,arp_sha=02:00:00:00:00:03";
        goes_as(&node, &arp(all, 1, "10.0.0.1", "10.0.0.3"), "port 5", answer);
        // Through a tag.
        let tagged = format!(
            "{TAGGED},{ALL},arp,arp_op=1,arp_spa=10.0.0.2,arp_tpa=10.0.0.9,arp_sha=02:00:00:00:00:02"
        );
        goes_as(&node, &tagged, "port 6 vlan 100", "arp_op=2,arp_sha=02:00:00:00:00:09");

        let flood = ["port 6 vlan 100", "port 6 vlan 200", "192.0.2.2 vni 11", "192.0.2.3 vni 10"];
        // Unknown, probe, announcement, answer.
        goes(&node, &arp(all, 1, "10.0.0.1", "10.0.0.77"), &flood);
        goes(&node, &arp(all, 1, "0.0.0.0", "10.0.0.1"), &flood);
        goes(&node, &arp(all, 1, "10.0.0.1", "10.0.0.1"), &flood);
        goes(&node, &arp(all, 2, "10.0.0.1", "10.0.0.9"), &flood);
        // Is it still there? It says so itself.
        goes(&node, &arp("02:00:00:00:00:09", 1, "10.0.0.1", "10.0.0.9"), &["192.0.2.2 vni 11"]);

        let nd = |src: &str, target: &str| {
            let sll = if src == "::" { "" } else { ",nd_sll=02:00:00:00:00:01" };
            format!(
                "{FLAT},dl_dst=33:33:ff:00:00:09,icmp6,icmpv6_type=135,icmpv6_code=0,nw_ttl=255,ipv6_src={src},\
                 ipv6_dst=ff02::1:ff00:9,nd_target={target}{sll}"
            )
        };
        let answer = "dl_src=02:00:00:00:00:09,dl_dst=02:00:00:00:00:01,ipv6_src=2001:db8::9,ipv6_dst=2001:db8::1,\
                      icmp_type=136,nd_target=2001:db8::9,nd_tll=02:00:00:00:00:09,nw_ttl=255";
        let trace = node.trace(&nd("2001:db8::1", "2001:db8::9"));
        assert_eq!(trace.copies(), ["port 5"], "{trace}");
        assert!(trace.ends_with(answer), "{trace}");
        // Solicited and override; a router says that it is one.
        assert!(trace.to_string().contains("nd_ext(nd_reserved=0x60000000,nd_options_type=2)"), "{trace}");
        let trace = node.trace(&nd("2001:db8::1", "2001:db8::fe"));
        assert!(trace.to_string().contains("nd_ext(nd_reserved=0xe0000000,nd_options_type=2)"), "{trace}");
        goes(&node, &nd("2001:db8::1", "2001:db8::77"), &flood);
        goes(&node, &nd("::", "2001:db8::1"), &flood);

        // The gateway of a VRF has every address, also those in its clients' prefixes.
        let arp = |spa: &str, tpa: &str| {
            format!(
                "in_port=7,dl_src=02:00:00:00:00:11,{ALL},arp,arp_op=1,arp_spa={spa},arp_tpa={tpa},\
                 arp_sha=02:00:00:00:00:11"
            )
        };
        let answer = "dl_src=00:00:5e:00:01:01,arp_op=2,arp_spa=169.254.1.1,arp_tpa=10.1.0.1,\
                      arp_sha=00:00:5e:00:01:01,arp_tha=02:00:00:00:00:11";
        goes_as(&node, &arp("10.1.0.1", "169.254.1.1"), "port 7", answer);
        dropped(&node, &arp("10.1.0.1", "10.1.0.1"));
        dropped(&node, &arp("0.0.0.0", "10.1.0.1"));
        goes(&node, &arp("10.1.0.1", "10.1.0.2"), &["port 7"]);
        let nd = |target: &str| {
            format!(
                "in_port=7,dl_src=02:00:00:00:00:11,dl_dst=33:33:ff:00:00:01,icmp6,icmpv6_type=135,icmpv6_code=0,\
                 nw_ttl=255,ipv6_src=fe80::11,ipv6_dst=ff02::1:ff00:1,nd_target={target},nd_sll=02:00:00:00:00:11"
            )
        };
        let answer = "dl_src=00:00:5e:00:01:01,ipv6_src=fe80::1,ipv6_dst=fe80::11,icmp_type=136,\
                      nd_tll=00:00:5e:00:01:01";
        goes_as(&node, &nd("fe80::1"), "port 7", answer);
        goes(&node, &nd("2001:db8:1::ff"), &["port 7"]);
    });
}

#[test]
fn packets_are_routed_between_clients_and_tunnel() {
    in_namespace("paths::packets_are_routed_between_clients_and_tunnel", || {
        let mut node = node();
        let v4 = |to: &str| format!("{ROUTED},ip,nw_src=10.1.0.1,nw_dst={to}");
        // To the client behind the same port.
        let local = "dl_src=00:00:5e:00:01:01,dl_dst=02:00:00:00:00:12,nw_ttl=63";
        goes_as(&node, &v4("10.1.0.2"), "port 7 vlan 300", local);
        let far = "dl_src=02:e5:c0:00:02:01,dl_dst=02:e5:c0:00:02:02,nw_ttl=63";
        goes_as(&node, &v4("10.9.0.1"), "192.0.2.2 vni 5000", far);
        let six = format!("{ROUTED},tcp6,ipv6_src=2001:db8:1::1,ipv6_dst=2001:db8:9::1");
        goes_as(&node, &six, "192.0.2.2 vni 5000", far);
        // No way there, whatever the default route says; what no router passes on; nothing left to live.
        for nowhere in ["10.3.0.1", "10.1.0.1", "224.0.0.5", "255.255.255.255"] {
            dropped(&node, &v4(nowhere));
        }
        dropped(&node, &six.replace("2001:db8:9::1", "ff02::1"));
        dropped(&node, &six.replace("2001:db8:9::1", "fe80::9"));
        dropped(&node, &six.replace("ipv6_src=2001:db8:1::1", "ipv6_src=fe80::11"));
        dropped(&node, &v4("10.9.0.1").replace("nw_ttl=64", "nw_ttl=1"));
        dropped(&node, &six.replace("nw_ttl=64", "nw_ttl=1"));

        // From the tunnel, for our router MAC: to clients only.
        let far = format!("{FAR},dl_dst=02:e5:c0:00:02:01,nw_ttl=9,ip,nw_src=10.9.0.1");
        goes_as(
            &node,
            &format!("{far},nw_dst=10.1.0.1"),
            "port 7",
            "dl_src=00:00:5e:00:01:01,dl_dst=02:00:00:00:00:11,nw_ttl=8",
        );
        goes(&node, &format!("{far},nw_dst=10.1.0.2"), &["port 7 vlan 300"]);
        dropped(&node, &format!("{far},nw_dst=10.9.0.2"));
        dropped(&node, &format!("{far},nw_dst=10.2.0.2"));

        // Two ways, by port numbers; the same one for the way back. One that goes leaves the other's packets alone.
        let flow =
            |port: u16| format!("{ROUTED},udp,nw_src=10.1.0.1,nw_dst=10.2.0.2,udp_src={port},udp_dst=53");
        let ways = |node: &Node| -> Vec<String> {
            (1000..1016).map(|port| node.trace(&flow(port)).copies().join(" and ")).collect()
        };
        let before = ways(&node);
        for way in ["192.0.2.2 vni 5000", "192.0.2.3 vni 5001"] {
            assert!(before.iter().any(|w| w == way), "{before:?}");
        }
        let third = remote("192.0.2.4", 5002, "02:e5:c0:00:02:04");
        let far = remote(REMOTE[0], 5000, "02:e5:c0:00:02:02");
        let farther = remote(REMOTE[1], 5001, "02:e5:c0:00:02:03");
        let net = "10.2.0.0/16".parse().unwrap();
        node.change(&[Change::PutPrefix(vni(10), net, vec![far, farther, third])]);
        node.apply();
        for (two, three) in before.iter().zip(ways(&node)) {
            assert!(*two == three || three == "192.0.2.4 vni 5002", "{two} became {three}");
        }
    });
}
