//! L3 clients on Open vSwitch: routed between hosts, apart by VRF, and out by border routers.

use std::collections::BTreeMap;

use crate::common::border::{Border, INTERNET, INTERNET6};
use crate::common::frames::{inject, mac, ping4};
use crate::common::frr::Frr;
use crate::common::ovs::{CONTROLLER, Client, GATEWAY_MAC, L3, Site, only, router_mac, tcp};
use crate::common::{Node, PATIENCE, Result, ensure, routes, same, wait_session};

/// The TTL of an answer.
fn ttl(from: &Node, to: &str) -> Result<u8> {
    let said = from.run(&["ping", "-n", "-c", "1", "-W", "2", to])?;
    let number = said.split("ttl=").nth(1).and_then(|rest| rest.split(' ').next());
    number.and_then(|n| n.parse().ok()).ok_or_else(|| crate::common::Error::new(said.clone()))
}

#[test]
fn routed_on_one_host_and_between_two() -> Result<()> {
    let site = Site::new(2)?;
    let clients = [
        (1, Client::l3("a", L3, 1)),
        (1, Client::l3("b", L3, 2)),
        // The predecessor could not do this one: no push_vlan.
        (1, Client::l3("c", L3, 3).vlan("t1", 200, 30)),
        (1, Client::l3("d", L3, 4).vlan("t1", 200, 40)),
        (2, Client::l3("e", L3, 5)),
        (2, Client::l3("f", L3, 6).vlan("t1", 200, 60)),
    ];
    let wire = site.host(1).capture("eth0", "udp port 4789")?;
    let nodes =
        clients.iter().map(|(host, client)| site.attach(*host, client)).collect::<Result<Vec<_>>>()?;
    let all: Vec<_> = clients.iter().map(|(_, client)| client).zip(&nodes).collect();
    site.all_reach(&all)?;
    // Two clients on one host are one hop apart, on two hosts two.
    for (to, hops) in [("10.1.0.2", 63), ("10.1.0.4", 63), ("10.1.0.5", 62), ("fd00:1::6", 62)] {
        same(&(to, ttl(&nodes[0], to)?), &(to, hops))?;
    }
    tcp(&site.lab, &nodes[0], &nodes[5], "10.1.0.6")?;
    tcp(&site.lab, &nodes[4], &nodes[2], "10.1.0.3")?;
    // RFC 9135 §5.1: VNI of the VRF, from our router MAC to theirs.
    site.lab.wait("router MACs on the wire", PATIENCE, || {
        let packets =
            wire.fields("icmp.type == 8 && ip.dst == 10.1.0.5", &["vxlan.vni", "eth.src", "eth.dst"])?;
        let (ours, theirs) = (format!(",{}", router_mac(1)), format!(",{}", router_mac(2)));
        let good = packets.iter().any(|p| p[0] == "5000" && p[1].ends_with(&ours) && p[2].ends_with(&theirs));
        ensure(good, || format!("{packets:?}"))
    })?;
    // The gateway has one MAC, everywhere.
    for node in [&nodes[0], &nodes[5]] {
        let neighbours = node.run(&["ip", "neigh", "show", "169.254.1.1"])?;
        ensure(neighbours.contains(GATEWAY_MAC), || neighbours)?;
    }
    let rows = routes(site.host(2), 5, CONTROLLER)?;
    let prefixes: Vec<_> = rows.iter().filter_map(|row| row["prefix"].as_str()).collect();
    for prefix in ["10.1.0.1/32", "fd00:1::4/128"] {
        ensure(prefixes.contains(&prefix), || format!("{rows:?}"))?;
    }
    // A client that goes leaves nothing that draws its packets anywhere.
    site.forget(2, &clients[4].1)?;
    site.lab.wait("the prefix gone", PATIENCE, || {
        let flows = site.host(1).ovs().flows()?;
        ensure(!flows.iter().any(|flow| flow.contains("nw_dst=10.1.0.5")), || flows.join("\n"))
    })?;
    site.reach(&nodes[0], "10.1.0.6")
}

/// Two VRFs with the same addresses, on the same hosts.
#[test]
fn vrfs_are_apart() -> Result<()> {
    let site = Site::new(2)?;
    let (blue1, blue2) = (Client::l3("blue1", L3, 1), Client::l3("blue2", L3, 2));
    let red = |name: &str, id: u8, port: u16| Client::l3(name, 6000, id).port(port);
    let (red1, red2, red3) = (red("red1", 1, 301), red("red2", 2, 302), red("red3", 3, 303));
    let (b1, b2) = (site.attach(1, &blue1)?, site.attach(2, &blue2)?);
    let (r1, r2) = (site.attach(1, &red1)?, site.attach(2, &red2)?);
    let r3 = site.attach(1, &red3)?;
    for from in [&b1, &r1] {
        site.reach(from, "10.1.0.2")?;
        site.reach(from, "fd00:1::2")?;
    }
    site.reach(&r1, "10.1.0.3")?;
    let captures = [&b2, &r2, &r3].map(|node| node.capture("eth0", "icmp"));
    let [at_b2, at_r2, at_r3] = captures;
    let (at_b2, at_r2, at_r3) = (at_b2?, at_r2?, at_r3?);
    let (gateway, own) = (mac(GATEWAY_MAC), mac(&blue1.mac));
    let ip = |id: u8| std::net::Ipv4Addr::new(10, 1, 0, id);
    inject(
        &b1,
        &[
            ping4(gateway, own, ip(1), ip(3), 64, 0xb103),
            ping4(mac(&red3.mac), own, ip(1), ip(3), 64, 0xb103),
            // Expires at the first hop, and is told to nobody's controller.
            ping4(gateway, own, ip(1), ip(2), 1, 0xb1e0),
            ping4(gateway, own, ip(1), ip(2), 64, 0xb102),
        ],
    )?;
    inject(
        &r1,
        &[
            ping4(gateway, mac(&red1.mac), ip(1), ip(3), 64, 0x1ed),
            ping4(gateway, mac(&red1.mac), ip(1), ip(2), 64, 0x1ed),
        ],
    )?;
    only(&site.lab, &at_b2, "icmp.ident == 0xb102", "icmp.ident == 0x1ed || icmp.ident == 0xb1e0")?;
    for capture in [&at_r2, &at_r3] {
        only(&site.lab, capture, "icmp.ident == 0x1ed", "icmp.ident == 0xb102 || icmp.ident == 0xb103")?;
    }
    ensure(b1.ping("10.1.0.3").is_err() && r1.ping("10.1.0.3").is_ok(), || "blue reaches red".to_owned())
}

/// gobgpd as the border: its default route leads out, and what comes back finds its client.
#[test]
fn the_default_route_of_a_border_with_gobgpd() -> Result<()> {
    let site = Site::new(1)?;
    let border = Border::new(&site, 1, &[(1, 1), (1, 2)])?;
    let (flat, vlan) = (Client::l3("flat", L3, 1), Client::l3("vlan", L3, 2).vlan("t1", 200, 5));
    let nodes = [site.attach(1, &flat)?, site.attach(1, &vlan)?];
    site.reach(&nodes[0], "10.1.0.2")?;
    ensure(nodes[0].ping(INTERNET).is_err(), || "out without a route".to_owned())?;
    border.prefix("add", "0.0.0.0/0")?;
    border.prefix("add", "::/0")?;
    for node in &nodes {
        site.reach(node, INTERNET)?;
        site.reach(node, INTERNET6)?;
        tcp(&site.lab, node, &border.node, INTERNET)?;
    }
    // A longer prefix wins over it: the other client, and a hole where nobody is.
    same(&ttl(&nodes[0], "10.1.0.2")?, &63)?;
    let wire = site.host(1).capture("eth0", "udp port 4789")?;
    let gone = Client::l3("gone", L3, 3);
    site.file(1, &gone)?;
    site.lab.wait("its address leads nowhere", PATIENCE, || {
        let flows = site.host(1).ovs().flows()?;
        let hole = flows.iter().any(|f| f.contains("nw_dst=10.1.0.3") && f.contains("actions=drop"));
        ensure(hole, || flows.join("\n"))
    })?;
    let (gateway, own) = (mac(GATEWAY_MAC), mac(&flat.mac));
    let ip = |text: &str| text.parse().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED);
    inject(
        &nodes[0],
        &[
            ping4(gateway, own, ip("10.1.0.1"), ip("10.1.0.3"), 64, 0xbad),
            ping4(gateway, own, ip("10.1.0.1"), ip("198.51.100.7"), 64, 0x600d),
        ],
    )?;
    only(&site.lab, &wire, "icmp.ident == 0x600d", "icmp.ident == 0xbad")?;
    border.prefix("del", "0.0.0.0/0")?;
    site.lab.wait("no way out any more", PATIENCE, || {
        ensure(nodes[0].ping(INTERNET).is_err(), || "still answers".to_owned())
    })?;
    site.reach(&nodes[0], INTERNET6)
}

/// FRR as the border: it learns the clients' prefixes into its kernel, and announces where it can get to. It has no VRF
/// (many kernels in which tests run know none): its VNI is that of the main table.
#[test]
fn routes_of_a_border_with_frr() -> Result<()> {
    let site = Site::idle(1)?;
    let border = site.lab.host("f")?.underlay(&site.spine, &["10.0.0.2/24"])?;
    border.sh(&format!(
        "echo 1 > /proc/sys/net/ipv4/ip_forward
         ip link add br{L3} type bridge; ip link set br{L3} address 02:b0:00:00:00:02 addrgenmode none up
         ip link add vxlan{L3} type vxlan id {L3} local 10.0.0.2 dstport 4789 nolearning
         ip link set vxlan{L3} master br{L3} addrgenmode none up
         ip link add out type veth peer name beyond; ip link set out up; ip link set beyond up
         ip addr add {INTERNET}/24 dev out; ip addr add 203.0.113.1/32 dev out"
    ))?;
    let config = crate::common::ovs::config(1).neighbor("10.0.0.2", "65002", "hold-time = 9");
    site.start(1, &config)?;
    let frr = Frr::start_with(
        &border,
        &format!("vni {L3}\n"),
        &format!(
            "router bgp 65002
 bgp router-id 10.0.0.2
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor 10.0.0.1 remote-as 65001
 neighbor 10.0.0.1 timers 3 9
 neighbor 10.0.0.1 timers connect 1
 address-family ipv4 unicast
  network 198.51.100.0/24
 exit-address-family
 address-family l2vpn evpn
  neighbor 10.0.0.1 activate
  advertise-all-vni
  advertise ipv4 unicast
  default-originate ipv4
  route-target both 65000:{L3}
 exit-address-family
"
        ),
    )?;
    wait_session(&site.lab, site.host(1), "10.0.0.2", "established")?;
    let nodes = [
        site.attach(1, &Client::l3("flat", L3, 1))?,
        site.attach(1, &Client::l3("vlan", L3, 2).vlan("t1", 200, 5))?,
    ];
    site.lab.wait("the clients in FRR's kernel", PATIENCE, || {
        let routes = border.run(&["ip", "route", "show", "proto", "bgp"])?;
        let all = routes.contains("10.1.0.1 ") && routes.contains("10.1.0.2 ");
        ensure(all, || format!("{routes}\n{:?}", frr.json("bgpd", "show bgp l2vpn evpn json")))
    })?;
    for node in &nodes {
        site.reach(node, INTERNET)?;
        // By the default route.
        site.reach(node, "203.0.113.1")?;
        tcp(&site.lab, node, &border, INTERNET)?;
    }
    site.forget(1, &Client::l3("flat", L3, 1))?;
    site.lab.wait("one of them left", PATIENCE, || {
        let routes = border.run(&["ip", "route", "show", "proto", "bgp"])?;
        ensure(!routes.contains("10.1.0.1 ") && routes.contains("10.1.0.2 "), || routes)
    })
}

/// The border's [`INTERNET`] block is wide: which of its addresses were seen where.
fn seen(
    borders: &[Border],
    captures: &[evpnd::lab::Capture],
    lab: &crate::common::Lab,
) -> Result<BTreeMap<String, usize>> {
    lab.wait("every ping seen", PATIENCE, || {
        let mut seen = BTreeMap::new();
        for (at, capture) in captures.iter().enumerate() {
            for row in capture.fields("icmp.type == 8", &["ip.dst"])? {
                let before = seen.insert(row[0].clone(), at);
                ensure(before.is_none_or(|border| border == at), || format!("{} at two borders", row[0]))?;
            }
        }
        ensure(seen.len() == ADDRESSES, || format!("{} of {ADDRESSES} at {}", seen.len(), borders.len()))?;
        Ok(seen)
    })
}

const ADDRESSES: usize = 60;

/// Pings many addresses beyond the borders; all must answer.
fn ping_many(from: &Node) -> Result<()> {
    from.sh(&format!(
        "for n in $(seq 2 {}); do ping -n -q -c 1 -W 2 198.51.100.$n > /dev/null || echo $n >> /run/lost & done; wait
         ! test -e /run/lost",
        ADDRESSES + 1
    ))
    .map(drop)
}

/// Three borders share the work; one that goes takes with it what it had, and nothing else moves.
#[test]
fn several_borders_and_one_goes() -> Result<()> {
    let site = Site::new(1)?;
    let borders = [1, 2, 3]
        .map(|number| Border::new(&site, number, &[(1, 1)]))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let client = site.attach(1, &Client::l3("a", L3, 1))?;
    for border in &borders {
        border.prefix("add", "0.0.0.0/0")?;
    }
    site.flow(1, "multipath(")?;
    let all = |count: usize| {
        site.lab.wait("buckets", PATIENCE, || {
            let flows = site.host(1).ovs().flows()?;
            let hops = (1..=3).filter(|n| {
                flows.iter().any(|f| f.contains("table=45") && f.contains(&format!("10.0.0.20{n}->tun_dst")))
            });
            same(&hops.count(), &count)
        })
    };
    all(3)?;
    site.reach(&client, INTERNET)?;
    let capture =
        || borders.iter().map(|border| border.node.capture("vx", "icmp")).collect::<Result<Vec<_>>>();
    let before = capture()?;
    ping_many(&client)?;
    let before = seen(&borders, &before, &site.lab)?;
    for border in 0..3 {
        let share = before.values().filter(|at| **at == border).count();
        ensure(share >= ADDRESSES / 10, || format!("{share} of {ADDRESSES} at border {border}"))?;
    }
    borders[1].prefix("del", "0.0.0.0/0")?;
    all(2)?;
    let after = capture()?;
    ping_many(&client)?;
    let after = seen(&borders, &after, &site.lab)?;
    for (address, at) in &before {
        let now = after[address];
        ensure(now != 1 && (*at == 1 || now == *at), || format!("{address}: from border {at} to {now}"))?;
    }
    // It comes back, and has its old share again.
    borders[1].prefix("add", "0.0.0.0/0")?;
    all(3)?;
    let again = capture()?;
    ping_many(&client)?;
    same(&seen(&borders, &again, &site.lab)?, &before)
}
