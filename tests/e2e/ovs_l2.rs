//! L2 clients on Open vSwitch: flat and in VLANs, on one host, between hosts, beside other kinds of VTEP, apart from
//! other VNIs; and what is answered on the spot instead of flooded.

use crate::common::frames::{BROADCAST, arp, inject, inject_on, mac, ping4};
use crate::common::frr::Frr;
use crate::common::ovs::{CONTROLLER, Client, L2, Site, only, tcp, vtep};
use crate::common::{Config, PATIENCE, Result, ensure, forwards_to, routes, same, wait_session};

/// Two untagged ports, and a port with two VLANs and one untagged client.
#[test]
fn flat_and_vlan_clients_of_one_host() -> Result<()> {
    let site = Site::new(1)?;
    let clients = [
        Client::l2("flat1", L2, 1),
        Client::l2("flat2", L2, 2),
        Client::l2("vlan3", L2, 3).vlan("t1", 200, 100),
        Client::l2("vlan4", L2, 4).vlan("t1", 200, 4094),
        Client::l2("flat5", L2, 5).vlan("t1", 200, 0),
    ];
    let nodes = clients.iter().map(|client| site.attach(1, client)).collect::<Result<Vec<_>>>()?;
    let trunk = site.host(1).capture("t1", "")?;
    site.all_reach(&clients.iter().zip(&nodes).collect::<Vec<_>>())?;
    tcp(&site.lab, &nodes[0], &nodes[3], "10.9.0.4")?;
    // On the shared port each bears its own tag, both ways.
    site.lab.wait("tags on the trunk", PATIENCE, || {
        let tagged = |from: &str, tag: &str| {
            let filter = format!("icmp.type == 8 && ip.src == {from} && ip.dst == 10.9.0.4 && {tag}");
            ensure(!trunk.fields(&filter, &["frame.number"])?.is_empty(), || filter)
        };
        tagged("10.9.0.1", "vlan.id == 4094")?;
        tagged("10.9.0.3", "vlan.id == 100")?;
        tagged("10.9.0.3", "vlan.id == 4094")?;
        tagged("10.9.0.5", "!vlan")
    })
}

#[test]
fn across_two_hosts() -> Result<()> {
    let site = Site::new(2)?;
    let clients = [
        (1, Client::l2("a", L2, 1)),
        (1, Client::l2("b", L2, 2).vlan("t1", 200, 7)),
        (2, Client::l2("c", L2, 3)),
        (2, Client::l2("d", L2, 4).vlan("t1", 200, 9)),
        // Nobody knows its addresses: it is asked for by flooding.
        (2, Client::l2("e", L2, 5).without_ip()),
    ];
    let wire = site.host(1).capture("eth0", "udp port 4789")?;
    let nodes =
        clients.iter().map(|(host, client)| site.attach(*host, client)).collect::<Result<Vec<_>>>()?;
    let all: Vec<_> = clients.iter().map(|(_, client)| client).zip(&nodes).collect();
    site.all_reach(&all)?;
    tcp(&site.lab, &nodes[1], &nodes[3], "10.9.0.4")?;
    site.lab.wait("the VNI on the wire", PATIENCE, || {
        let packets = wire.fields("icmp", &["vxlan.vni", "ip.src", "vlan.id"])?;
        ensure(packets.iter().any(|p| p == &["100", "10.0.0.1,10.9.0.2", ""]), || format!("{packets:?}"))?;
        ensure(packets.iter().all(|p| p[0] == "100" && p[2].is_empty()), || format!("{packets:?}"))
    })?;
    // What a client is becomes routes as design has it: type 3 of its VNI, type 2 for the MAC and with each address.
    let macs = routes(site.host(2), 2, CONTROLLER)?;
    let of_a = macs.iter().filter(|row| row["mac"] == "02:00:00:00:00:01").count();
    same(&of_a, &3)?;
    let flood = routes(site.host(2), 3, CONTROLLER)?;
    ensure(flood.iter().any(|row| row["ip"] == vtep(1)), || format!("{flood:?}"))
}

/// The other host's dataplane is the kernel: VNI, route target and endpoint by its configuration.
#[test]
fn beside_a_host_with_the_kernel_backend() -> Result<()> {
    let site = Site::new(1)?;
    let kernel = site.lab.host("k")?.underlay(&site.spine, &["10.0.0.2/24"])?;
    let far = site.lab.endpoint(&kernel, "far", "02:00:00:00:00:02", &["10.9.0.2/24", "fd00:9::2/64"])?;
    kernel
        .evpnd(&Config::host(65002, "10.0.0.2").neighbor(CONTROLLER, "64512", "").vni(L2, &["far"]).toml())?;
    let flat = site.attach(1, &Client::l2("flat", L2, 1))?;
    let vlan = site.attach(1, &Client::l2("vlan", L2, 3).vlan("t1", 200, 5))?;
    for near in [&flat, &vlan] {
        site.reach(near, "10.9.0.2")?;
        site.reach(near, "fd00:9::2")?;
    }
    site.reach(&far, "10.9.0.1")?;
    site.reach(&far, "fd00:9::3")?;
    tcp(&site.lab, &flat, &far, "10.9.0.2")?;
    tcp(&site.lab, &far, &vlan, "10.9.0.3")?;
    site.lab.wait("both clients in the other kernel", PATIENCE, || {
        let device = kernel.vxlan(L2)?;
        let want = ["02:00:00:00:00:01", "02:00:00:00:00:03"].map(|mac| (mac.to_owned(), vtep(1)));
        same(&kernel.remote_macs(&device)?, &want.into())?;
        same(&kernel.flood(&device)?, &[vtep(1)].into())
    })
}

/// FRR (bgpd + zebra) with its devices made by hand, in a session of its own.
#[test]
fn beside_frr() -> Result<()> {
    let site = Site::idle(1)?;
    let frr_host = site.lab.host("f")?.underlay(&site.spine, &["10.0.0.2/24"])?;
    let far = site.lab.endpoint(&frr_host, "far", "02:00:00:00:00:02", &["10.9.0.2/24", "fd00:9::2/64"])?;
    frr_host.sh(&format!(
        "ip link add br{L2} type bridge; ip link set br{L2} addrgenmode none; ip link set br{L2} up
         ip link add vxlan{L2} type vxlan id {L2} local 10.0.0.2 dstport 4789 nolearning
         ip link set vxlan{L2} master br{L2} addrgenmode none
         bridge link set dev vxlan{L2} learning off neigh_suppress on
         ip link set vxlan{L2} up; ip link set far master br{L2}"
    ))?;
    let config = crate::common::ovs::config(1).neighbor("10.0.0.2", "65002", "hold-time = 9");
    site.start(1, &config)?;
    let frr = Frr::start(
        &frr_host,
        &format!(
            "router bgp 65002
 bgp router-id 10.0.0.2
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor 10.0.0.1 remote-as 65001
 neighbor 10.0.0.1 timers 3 9
 neighbor 10.0.0.1 timers connect 1
 address-family l2vpn evpn
  neighbor 10.0.0.1 activate
  advertise-all-vni
  vni {L2}
   route-target both 65000:{L2}
  exit-vni
 exit-address-family
"
        ),
    )?;
    wait_session(&site.lab, site.host(1), "10.0.0.2", "established")?;
    let flat = site.attach(1, &Client::l2("flat", L2, 1))?;
    let vlan = site.attach(1, &Client::l2("vlan", L2, 3).vlan("t1", 200, 5))?;
    for near in [&flat, &vlan] {
        site.reach(near, "10.9.0.2")?;
        site.reach(near, "fd00:9::2")?;
    }
    site.reach(&far, "10.9.0.1")?;
    tcp(&site.lab, &far, &vlan, "10.9.0.3")?;
    site.lab.wait("our clients in zebra, with their addresses", PATIENCE, || {
        let macs = frr.json("zebra", &format!("show evpn mac vni {L2} json"))?["macs"].clone();
        ensure(macs["02:00:00:00:00:01"]["type"] == "remote", || macs.to_string())?;
        ensure(macs["02:00:00:00:00:03"]["type"] == "remote", || macs.to_string())?;
        let cache = frr.json("zebra", &format!("show evpn arp-cache vni {L2} json"))?;
        ensure(cache["10.9.0.1"]["mac"] == "02:00:00:00:00:01", || cache.to_string())
    })?;
    // A client that goes is withdrawn.
    site.forget(1, &Client::l2("vlan", L2, 3))?;
    site.lab.wait("one client left in FRR's kernel", PATIENCE, || {
        forwards_to(&frr_host, &vtep(1), "02:00:00:00:00:01")
    })
}

/// Two VNIs with the same addresses in both, on the same hosts: nothing passes from one to the other.
#[test]
fn vnis_are_apart() -> Result<()> {
    let site = Site::new(2)?;
    let blue = [Client::l2("blue1", L2, 1), Client::l2("blue2", L2, 2)];
    let red = [
        Client::l2("red1", 200, 1).vlan("t1", 200, 5),
        Client::l2("red2", 200, 2).vlan("t1", 200, 5),
        Client::l2("red3", 200, 3),
    ];
    let on = |host: usize, client: &Client| site.attach(host, client);
    let (blue1, blue2) = (on(1, &blue[0])?, on(2, &blue[1])?);
    let (red1, red2, red3) = (on(1, &red[0])?, on(2, &red[1])?, on(2, &red[2])?);
    // Each pair of the same addresses meets its own.
    for node in [&blue1, &red1] {
        site.reach(node, "10.9.0.2")?;
        site.reach(node, "fd00:9::2")?;
    }
    site.reach(&red1, "10.9.0.3")?;
    site.reach(&red2, "10.9.0.3")?;
    let at = |node| evpnd::lab::Node::capture(node, "eth0", "icmp or arp");
    let (at_red1, at_red2, at_red3) = (at(&red1)?, at(&red2)?, at(&red3)?);
    // Blue speaks to everybody, to the other blue, and to one that is in red alone.
    let m = |id: u8| mac(&format!("02:00:00:00:00:{id:02x}"));
    let ip = |id: u8| std::net::Ipv4Addr::new(10, 9, 0, id);
    inject(
        &blue1,
        &[
            ping4(BROADCAST, m(1), ip(1), ip(255), 64, 0xb100),
            ping4(m(3), m(1), ip(1), ip(3), 64, 0xb103),
            arp(BROADCAST, m(1), 1, (m(1), ip(1)), ([0; 6], ip(33))),
            ping4(m(2), m(1), ip(1), ip(2), 64, 0xb102),
        ],
    )?;
    let at_blue2 = at(&blue2)?;
    inject(&blue1, &[ping4(m(2), m(1), ip(1), ip(2), 64, 0xb1ff)])?;
    only(&site.lab, &at_blue2, "icmp.ident == 0xb1ff", "icmp.ident == 0xbad")?;
    // Once red's own packets have arrived, blue's would have as well.
    inject(
        &red1,
        &[ping4(BROADCAST, m(1), ip(1), ip(255), 64, 0x1ed), ping4(m(3), m(1), ip(1), ip(3), 64, 0x1ed)],
    )?;
    let from_blue = "icmp.ident >= 0xb100 && icmp.ident <= 0xb1ff || arp.dst.proto_ipv4 == 10.9.0.33";
    for capture in [&at_red2, &at_red3] {
        only(&site.lab, capture, "icmp.ident == 0x1ed", from_blue)?;
    }
    same(&at_red1.fields(from_blue, &["frame.number"])?.len(), &0)?;
    ensure(blue1.ping("10.9.0.3").is_err(), || "blue reaches red".to_owned())
}

/// Who has an address that is known is answered by the switch: the question does not leave the host. Others are asked
/// for everywhere, but in the other direction than they came from.
#[test]
fn arp_and_nd_are_answered_on_the_spot() -> Result<()> {
    let site = Site::new(2)?;
    let (a, b) = (Client::l2("a", L2, 1), Client::l2("b", L2, 2));
    let near = Client::l2("near", L2, 3);
    let (node_a, node_b) = (site.attach(1, &a)?, site.attach(2, &b)?);
    let node_near = site.attach(1, &near)?;
    let all = [(&a, &node_a), (&b, &node_b), (&near, &node_near)];
    site.all_reach(&all)?;
    let (wire, at_near) = (site.host(1).capture("eth0", "udp port 4789")?, node_near.capture("eth0", "")?);
    for _ in 0..3 {
        node_a.run(&["ip", "neigh", "flush", "all"])?;
        for to in ["10.9.0.2", "fd00:9::2", "10.9.0.3", "fd00:9::3"] {
            node_a.ping(to)?;
        }
    }
    // One question that only flooding can answer; the wire sees it, and none before it.
    let m = |id: u8| mac(&format!("02:00:00:00:00:{id:02x}"));
    let ip = |id: u8| std::net::Ipv4Addr::new(10, 9, 0, id);
    inject(&node_a, &[arp(BROADCAST, m(1), 1, (m(1), ip(1)), ([0; 6], ip(99)))])?;
    let questions = "(arp.opcode == 1 && arp.src.proto_ipv4 == 10.9.0.1 && !(arp.dst.proto_ipv4 == 10.9.0.99)) \
         || (icmpv6.type == 135 && icmpv6.nd.ns.target_address in {fd00:9::2, fd00:9::3} && !(ipv6.src == ::))";
    only(&site.lab, &wire, "arp.dst.proto_ipv4 == 10.9.0.99", questions)?;
    only(&site.lab, &at_near, "arp.dst.proto_ipv4 == 10.9.0.99", questions)?;
    // The answers were the clients' own MACs.
    for (address, mac) in [("10.9.0.2", &b.mac), ("fd00:9::2", &b.mac), ("10.9.0.3", &near.mac)] {
        let neighbours = node_a.run(&["ip", "neigh", "show", address])?;
        ensure(neighbours.contains(mac.as_str()), || neighbours)?;
    }
    // A question for the asker's own address is not: that would look like a duplicate.
    let at_a = node_a.capture("eth0", "arp")?;
    inject(
        &node_a,
        &[
            arp(BROADCAST, m(1), 1, (m(1), ip(1)), ([0; 6], ip(1))),
            arp(BROADCAST, m(1), 1, (m(1), [0, 0, 0, 0].into()), ([0; 6], ip(1))),
            arp(BROADCAST, m(1), 1, (m(1), ip(1)), ([0; 6], ip(2))),
        ],
    )?;
    only(
        &site.lab,
        &at_a,
        "arp.opcode == 2 && arp.src.proto_ipv4 == 10.9.0.2",
        "arp.opcode == 2 && arp.src.proto_ipv4 == 10.9.0.1 && !(eth.src == 02:00:00:00:00:01)",
    )
}

/// What comes out of a tunnel never goes into one, and a VNI that is nobody's goes nowhere.
#[test]
fn nothing_passes_from_tunnel_to_tunnel() -> Result<()> {
    let site = Site::new(2)?;
    let (a, b) = (Client::l2("a", L2, 1), Client::l2("b", L2, 2));
    let (node_a, node_b) = (site.attach(1, &a)?, site.attach(2, &b)?);
    site.all_reach(&[(&a, &node_a), (&b, &node_b)])?;
    // A VTEP made by hand sends into h1 what it should send to h2.
    let far = site.lab.host("x")?.underlay(&site.spine, &["10.0.0.77/24"])?;
    far.sh(&format!(
        "for vni in {L2} 4711; do
           ip link add vx$vni type vxlan id $vni local 10.0.0.77 remote 10.0.0.1 dstport 4789 nolearning
           ip link set vx$vni up
         done"
    ))?;
    let wire = site.host(1).capture("eth0", "udp port 4789 and src host 10.0.0.1")?;
    let at_a = node_a.capture("eth0", "")?;
    let m = |id: u8| mac(&format!("02:00:00:00:00:{id:02x}"));
    let ip = |id: u8| std::net::Ipv4Addr::new(10, 9, 0, id);
    inject_on(
        &far,
        "vx4711",
        &[
            ping4(BROADCAST, m(0x77), ip(77), ip(255), 64, 0xbad),
            ping4(m(1), m(0x77), ip(77), ip(1), 64, 0xbad),
        ],
    )?;
    inject_on(
        &far,
        &format!("vx{L2}"),
        &[
            ping4(m(2), m(0x77), ip(77), ip(2), 64, 0xbad),
            ping4(m(0x55), m(0x77), ip(77), ip(55), 64, 0x600d),
            ping4(BROADCAST, m(0x77), ip(77), ip(255), 64, 0x600d),
        ],
    )?;
    // Broadcast and unknown unicast reach h1's own clients; nothing else did, and nothing came back out.
    only(&site.lab, &at_a, "icmp.ident == 0x600d && eth.dst == ff:ff:ff:ff:ff:ff", "icmp.ident == 0xbad")?;
    ensure(
        !at_a.fields("icmp.ident == 0x600d && ip.dst == 10.9.0.55", &["frame.number"])?.is_empty(),
        || "unknown unicast".to_owned(),
    )?;
    inject(&node_a, &[ping4(m(2), m(1), ip(1), ip(2), 64, 0x9009)])?;
    only(&site.lab, &wire, "icmp.ident == 0x9009", "icmp.ident == 0xbad || icmp.ident == 0x600d")
}

/// A client moves: the file appears in the new place, then goes from the old one.
#[test]
fn a_client_moves_from_host_to_host() -> Result<()> {
    let site = Site::new(2)?;
    let (stays, moves) = (Client::l2("stays", L2, 1), Client::l2("moves", L2, 2));
    let (a, b) = (site.attach(1, &stays)?, site.attach(1, &moves)?);
    let c = site.attach(2, &Client::l2("other", L2, 3))?;
    site.reach(&a, "10.9.0.2")?;
    site.reach(&c, "10.9.0.2")?;
    let (mut from, mut to) = (1, 2);
    for round in 0..4 {
        site.replug(to, &moves, &b)?;
        site.file(to, &moves)?;
        if round % 2 == 0 {
            // As in a live migration: the old place is cleaned up late.
            for node in [&a, &c] {
                site.reach(node, "10.9.0.2")?;
            }
        }
        site.forget(from, &moves)?;
        site.host(from).ovs().vsctl(&["del-port", "moves"])?;
        for node in [&a, &c] {
            site.reach(node, "10.9.0.2")?;
            site.reach(node, "fd00:9::2")?;
        }
        site.reach(&b, "10.9.0.1")?;
        site.lab.wait("both agree where it is", PATIENCE, || {
            let found = |host: usize, source: &str| -> Result<()> {
                let rows = site.host(host).rows("macs")?;
                let row = rows.iter().find(|row| row["mac"] == moves.mac).cloned().unwrap_or_default();
                ensure(row["source"] == source, || format!("h{host}: {row}"))
            };
            found(to, "local")?;
            found(from, "remote")
        })?;
        (from, to) = (to, from);
    }
    Ok(())
}

/// Ports by name, and files that change: another VNI, another VLAN, another service.
#[test]
fn a_file_that_changes_takes_effect() -> Result<()> {
    let site = Site::new(1)?;
    let (a, b) = (Client::l2("a", L2, 1), Client::l2("b", L2, 2).vlan("t1", 200, 5));
    let (node_a, node_b) = (site.plug(1, &a)?, site.plug(1, &b)?);
    let by_name = |client: &Client, port: &str| {
        client.json().replace(&format!("\"ofport\":{}", client.ofport), &format!("\"interface\":\"{port}\""))
    };
    site.text(1, "a.json", &by_name(&a, "a"))?;
    site.text(1, "b.json", &by_name(&b, "t1"))?;
    site.all_reach(&[(&a, &node_a), (&b, &node_b)])?;
    let apart = |what: &str| {
        site.lab.wait(what, PATIENCE, || ensure(node_a.ping("10.9.0.2").is_err(), || "an answer".to_owned()))
    };
    site.file(1, &Client::l2("b", 200, 2).vlan("t1", 200, 5))?;
    apart("in another VNI")?;
    site.file(1, &b)?;
    site.reach(&node_a, "10.9.0.2")?;
    site.file(1, &Client::l2("b", L2, 2).vlan("t1", 200, 6))?;
    apart("in another VLAN")?;
    site.file(1, &b)?;
    site.reach(&node_b, "10.9.0.1")?;
    // Both become routed: the same addresses by another file.
    let routed = |client: &Client, ip: &str| {
        let text = client.json().replace("\"l2\"", "\"l3\"").replace("\"ip\":", "\"routes\":");
        text.replace(&format!("\"{ip}\""), &format!("\"{ip}/32\""))
    };
    site.text(1, "a.json", &routed(&a, "10.9.0.1"))?;
    site.text(1, "b.json", &routed(&b, "10.9.0.2"))?;
    site.lab.wait("routed, not bridged", PATIENCE, || {
        let said = node_a.run(&["ping", "-n", "-c", "1", "-W", "2", "10.9.0.2"])?;
        ensure(said.contains("ttl=63"), || said)
    })
}

/// Tunnels between IPv6 addresses.
#[test]
fn over_an_ipv6_underlay() -> Result<()> {
    let lab = crate::common::lab()?;
    let spine = lab.switch("spine")?;
    let mut hosts = Vec::new();
    for (own, other) in [(1, 2), (2, 1)] {
        let host = lab.host(&format!("h{own}"))?.underlay_ovs(&spine, &[&format!("fd00::{own}/64")])?;
        host.sh(&format!("mkdir {}", crate::common::ovs::CLIENTS))?;
        let config = Config::ovs(65000 + own, &format!("10.0.0.{own}")).toml();
        let config = config.replace(&format!("vtep = \"10.0.0.{own}\""), &format!("vtep = \"fd00::{own}\""));
        let config = config.replace("[bgp]", "[bgp]\nlisten = [\"[::]:179\"]");
        let peer = Config::default().neighbor(&format!("fd00::{other}"), &format!("{}", 65000 + other), "");
        host.evpnd(&[config, peer.toml()].concat())?;
        hosts.push(host);
    }
    let site = Site { controller: hosts[0].clone(), lab, spine, hosts };
    for (own, other) in [(1, 2), (2, 1)] {
        site.bridged(own)?;
        wait_session(&site.lab, site.host(own), &format!("fd00::{other}"), "established")?;
        site.host(own).ovs().warm(&[&format!("fd00::{other}")])?;
    }
    let clients = [Client::l2("a", L2, 1), Client::l2("b", L2, 2)];
    let routed = [Client::l3("c", 5000, 3), Client::l3("d", 5000, 4)];
    let wire = site.host(1).capture("eth0", "ip6")?;
    let nodes = [site.attach(1, &clients[0])?, site.attach(2, &clients[1])?];
    let routed_nodes = [site.attach(1, &routed[0])?, site.attach(2, &routed[1])?];
    site.all_reach(&[(&clients[0], &nodes[0]), (&clients[1], &nodes[1])])?;
    site.all_reach(&[(&routed[0], &routed_nodes[0]), (&routed[1], &routed_nodes[1])])?;
    tcp(&site.lab, &nodes[0], &nodes[1], "10.9.0.2")?;
    crate::common::ovs::sees(&site.lab, &wire, "vxlan.vni == 100 && icmp && ipv6.src == fd00::1")
}
