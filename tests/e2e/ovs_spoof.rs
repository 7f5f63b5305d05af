//! What clients send in other clients' names is dropped, unless their file says that they may.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::common::frames::{BROADCAST, Mac, advertisement, arp, inject, mac, ping4, ping6, solicitation};
use crate::common::ovs::{Client, GATEWAY_MAC, L2, L3, Site, only, sees};
use crate::common::{Result, ensure};

/// Who is spoofed, or nobody.
const OTHER: Mac = [2, 0, 0, 0, 0, 0x66];
const FOREIGN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 66);

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap_or(Ipv6Addr::UNSPECIFIED)
}

/// Every lie an L2 client at 10.9.0.1 could tell the one at 10.9.0.2, whose MAC is `to`. Lies in ICMP bear 0xbad.
fn lies(own: Mac, to: Mac) -> Vec<Vec<u8>> {
    let (ip, peer) = (Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2));
    vec![
        // Another MAC, another address, both.
        ping4(to, OTHER, ip, peer, 64, 0xbad),
        ping4(to, own, FOREIGN, peer, 64, 0xbad),
        ping4(to, OTHER, FOREIGN, peer, 64, 0xbad),
        ping6(to, OTHER, v6("fd00:9::1"), v6("fd00:9::2"), 0xbad),
        ping6(to, own, v6("fd00:9::66"), v6("fd00:9::2"), 0xbad),
        // ARP: a request and an answer for another's address, and one's own address with another's MAC.
        arp(BROADCAST, own, 1, (own, FOREIGN), ([0; 6], peer)),
        arp(to, own, 2, (own, FOREIGN), (to, peer)),
        arp(to, own, 2, (OTHER, ip), (to, peer)),
        // Neighbour discovery likewise.
        advertisement(to, own, v6("fd00:9::1"), v6("fd00:9::66"), own),
        advertisement(to, own, v6("fd00:9::1"), v6("fd00:9::1"), OTHER),
        solicitation(to, own, v6("fd00:9::66"), v6("fd00:9::2"), own),
        solicitation(to, own, v6("fd00:9::1"), v6("fd00:9::2"), OTHER),
    ]
}

/// A capture filter's words for all of [`lies`].
const A_LIE: &str = "icmp.ident == 0xbad || icmpv6.echo.identifier == 0xbad || eth.src == 02:00:00:00:00:66 \
    || arp.src.proto_ipv4 == 10.9.0.66 || arp.src.hw_mac == 02:00:00:00:00:66 \
    || icmpv6.nd.na.target_address == fd00:9::66 || icmpv6.opt.linkaddr == 02:00:00:00:00:66 \
    || ipv6.src == fd00:9::66";

/// The same liar to a client on its own host and to one behind a tunnel.
fn liar(client: &Client) -> Result<(Site, crate::common::Node, [crate::common::Node; 2])> {
    let site = Site::new(2)?;
    let (near, far) = (Client::l2("near", L2, 2), Client::l2("far", L2, 3));
    let nodes = [site.attach(1, client)?, site.attach(1, &near)?, site.attach(2, &far)?];
    site.all_reach(&[(client, &nodes[0]), (&near, &nodes[1]), (&far, &nodes[2])])?;
    let [liar, near, far] = nodes;
    Ok((site, liar, [near, far]))
}

#[test]
fn a_flat_client_that_lies_is_not_heard() -> Result<()> {
    not_heard(&Client::l2("liar", L2, 1))
}

#[test]
fn a_vlan_client_that_lies_is_not_heard() -> Result<()> {
    not_heard(&Client::l2("liar", L2, 1).vlan("t1", 200, 5))
}

fn not_heard(client: &Client) -> Result<()> {
    let (site, liar, others) = liar(client)?;
    let captures = [others[0].capture("eth0", "")?, others[1].capture("eth0", "")?];
    let own = mac("02:00:00:00:00:01");
    for (id, capture) in [(2, &captures[0]), (3, &captures[1])] {
        let to = [2, 0, 0, 0, 0, id];
        let mut frames = lies(own, to);
        frames.push(ping4(to, own, [10, 9, 0, 1].into(), [10, 9, 0, id].into(), 64, 0x600d));
        inject(&liar, &frames)?;
        only(&site.lab, capture, "icmp.ident == 0x600d", A_LIE)?;
    }
    // What an honest stack needs though it has none of its addresses yet: probes for those, link-local. Probes for
    // others' would keep these from getting their own.
    let probe = |ip: u8| {
        let none = Ipv4Addr::UNSPECIFIED;
        arp(BROADCAST, own, 1, (own, none), ([0; 6], Ipv4Addr::new(10, 9, 0, ip)))
    };
    let detection = |ip: &str| solicitation(BROADCAST, own, v6("::"), v6(ip), own);
    let local = ping6([2, 0, 0, 0, 0, 3], own, v6("fe80::ff:fe00:1"), v6("fe80::ff:fe00:3"), 0x600d);
    inject(&liar, &[probe(66), detection("fd00:9::66"), probe(1), detection("fd00:9::1"), local])?;
    only(&site.lab, &captures[1], "icmpv6.echo.identifier == 0x600d", A_LIE)?;
    for seen in [
        "arp.src.proto_ipv4 == 0.0.0.0 && arp.dst.proto_ipv4 == 10.9.0.1",
        "icmpv6.nd.ns.target_address == fd00:9::1 && ipv6.src == ::",
    ] {
        only(&site.lab, &captures[1], seen, "arp.dst.proto_ipv4 == 10.9.0.66")?;
    }
    let probed = captures[1].fields("icmpv6.nd.ns.target_address == fd00:9::66", &["frame.number"])?;
    ensure(probed.is_empty(), || "another's address was probed for".to_owned())
}

#[test]
fn anti_spoof_can_be_turned_off() -> Result<()> {
    let (site, liar, others) = liar(&Client::l2("liar", L2, 1).trusted())?;
    let own = mac("02:00:00:00:00:01");
    for (id, other) in [(2, &others[0]), (3, &others[1])] {
        let capture = other.capture("eth0", "")?;
        inject(&liar, &lies(own, [2, 0, 0, 0, 0, id]))?;
        for seen in [
            "icmp.ident == 0xbad && eth.src == 02:00:00:00:00:66 && ip.src == 10.9.0.66",
            "icmp.ident == 0xbad && eth.src == 02:00:00:00:00:01 && ip.src == 10.9.0.66",
            "icmpv6.echo.identifier == 0xbad && ipv6.src == fd00:9::66",
            "arp.opcode == 2 && arp.src.proto_ipv4 == 10.9.0.66",
            "arp.opcode == 2 && arp.src.hw_mac == 02:00:00:00:00:66",
            "icmpv6.nd.na.target_address == fd00:9::66",
        ] {
            sees(&site.lab, &capture, seen)?;
        }
    }
    Ok(())
}

/// A client without listed addresses is held to its MAC alone.
#[test]
fn without_addresses_only_the_mac_counts() -> Result<()> {
    let (site, liar, others) = liar(&Client::l2("liar", L2, 1).without_ip())?;
    let own = mac("02:00:00:00:00:01");
    let capture = others[1].capture("eth0", "")?;
    inject(&liar, &lies(own, [2, 0, 0, 0, 0, 3]))?;
    let mac_lies = "eth.src == 02:00:00:00:00:66 || arp.src.hw_mac == 02:00:00:00:00:66 \
         || icmpv6.opt.linkaddr == 02:00:00:00:00:66";
    for seen in
        ["icmp.ident == 0xbad && ip.src == 10.9.0.66", "arp.opcode == 2 && arp.src.proto_ipv4 == 10.9.0.66"]
    {
        only(&site.lab, &capture, seen, mac_lies)?;
    }
    Ok(())
}

#[test]
fn an_l3_client_that_lies_is_not_routed() -> Result<()> {
    let site = Site::new(2)?;
    let (liar, near, far) = (Client::l3("liar", L3, 1), Client::l3("near", L3, 2), Client::l3("far", L3, 3));
    let nodes = [site.attach(1, &liar)?, site.attach(1, &near)?, site.attach(2, &far)?];
    site.all_reach(&[(&liar, &nodes[0]), (&near, &nodes[1]), (&far, &nodes[2])])?;
    let (own, gateway) = (mac(&liar.mac), mac(GATEWAY_MAC));
    let ip = |id: u8| Ipv4Addr::new(10, 1, 0, id);
    for (id, node) in [(2, &nodes[1]), (3, &nodes[2])] {
        let capture = node.capture("eth0", "")?;
        let other = v6(&format!("fd00:1::{id}"));
        inject(
            &nodes[0],
            &[
                ping4(gateway, OTHER, ip(1), ip(id), 64, 0xbad),
                ping4(gateway, own, ip(66), ip(id), 64, 0xbad),
                ping4(gateway, own, [127, 0, 0, 1].into(), ip(id), 64, 0xbad),
                ping6(gateway, own, v6("fd00:1::66"), other, 0xbad),
                ping6(gateway, OTHER, v6("fd00:1::1"), other, 0xbad),
                // A frame for the other client itself is not for the router either way: nothing is bridged.
                arp(BROADCAST, own, 1, (own, ip(1)), ([0; 6], ip(id))),
                ping4(gateway, own, ip(1), ip(id), 64, 0x600d),
                ping6(gateway, own, v6("fd00:1::1"), other, 0x600d),
            ],
        )?;
        let lie = "icmp.ident == 0xbad || icmpv6.echo.identifier == 0xbad || arp.src.proto_ipv4 == 10.1.0.1";
        only(&site.lab, &capture, "icmp.ident == 0x600d", lie)?;
        only(&site.lab, &capture, "icmpv6.echo.identifier == 0x600d", lie)?;
    }
    // Its address cannot be taken by asking for it: no answer claims the client's own address.
    let at_liar = nodes[0].capture("eth0", "arp")?;
    inject(
        &nodes[0],
        &[
            arp(BROADCAST, own, 1, (own, [0, 0, 0, 0].into()), ([0; 6], ip(1))),
            arp(BROADCAST, own, 1, (own, ip(1)), ([0; 6], [169, 254, 1, 1].into())),
        ],
    )?;
    only(
        &site.lab,
        &at_liar,
        "arp.opcode == 2 && arp.src.proto_ipv4 == 169.254.1.1",
        "arp.opcode == 2 && arp.src.proto_ipv4 == 10.1.0.1 && eth.src != 02:00:00:00:00:01",
    )?;
    ensure(nodes[0].ping("10.1.0.3").is_ok(), || "honest packets".to_owned())
}
