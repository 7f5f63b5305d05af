//! What a client may send: frames from its own MAC and, as far as they are known, packets from its own addresses.
//!
//! Two tables: the first looks at Ethernet, ARP and IP, the second at what neighbour discovery says (RFC 4861 §4.3,
//! §4.4), which IP's source alone does not vouch for.

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};

use super::clients::Seat;
use super::render::{by_family, flow, table};
use super::text::Text as _;
use crate::intent::{Client, Service};
use crate::ovs::flow::Flow;

/// What every IPv6 host has and nobody announces.
const LINK_LOCAL: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10));

/// The flows that let through what this client may send.
pub(super) fn checks(client: &Client, seat: Seat, out: &mut Vec<Flow>) {
    let (vni, l2, sources): (_, _, Vec<IpNet>) = match &client.service {
        Service::L2 { vni, ips } => (*vni, true, ips.iter().map(|ip| IpNet::from(*ip)).collect()),
        Service::L3 { vrf, prefixes } => (*vrf, false, prefixes.clone()),
    };
    let mut allow = Allow { client, seat, vni, out };
    if l2 && sources.is_empty() {
        allow.mac_alone();
        return;
    }
    let mut sources: Vec<IpNet> = sources.iter().map(IpNet::trunc).collect();
    sources.push(LINK_LOCAL);
    sources.sort_unstable();
    sources.dedup();

    if l2 && sources.iter().any(|net| matches!(net, IpNet::V4(_))) {
        // It does not have its address yet (RFC 2131 §4.1).
        let dhcp = ",nw_src=0.0.0.0,tp_src=68,tp_dst=67";
        allow.packet(table::SPOOF, 20, "udp", dhcp, table::QUESTION);
    }
    for net in &sources {
        allow.source(*net);
        if l2 || matches!(net, IpNet::V6(_)) {
            allow.probe(*net);
        }
    }
    allow.solicitations();
}

struct Allow<'a> {
    client: &'a Client,
    seat: Seat,
    vni: types::Vni,
    out: &'a mut Vec<Flow>,
}

impl Allow<'_> {
    /// A flow that lets what matches go on; from the client's MAC in the first table, where that is looked at.
    fn packet(&mut self, at: u8, priority: u16, protocol: &str, matches: &str, next: u8) {
        let mut flow = flow(at, priority, self.vni);
        if !protocol.is_empty() {
            flow.matches.text(protocol).text(",");
        }
        flow.matches.text("reg5=").hex(self.seat.0);
        if at == table::SPOOF {
            flow.matches.text(",dl_src=").mac(self.client.mac);
        }
        flow.matches.text(matches);
        flow.actions.text("goto_table:").number(next);
        self.out.push(flow);
    }

    /// `,name=` the client's MAC.
    fn own(&self, name: &str) -> String {
        let mut text = String::with_capacity(32);
        text.text(",").text(name).text("=").mac(self.client.mac);
        text
    }

    /// No address is known: its MAC has to be right, everywhere it is written.
    fn mac_alone(&mut self) {
        let sha = self.own("arp_sha");
        self.packet(table::SPOOF, 20, "arp", &sha, table::QUESTION);
        self.packet(table::SPOOF, 20, "ipv6", "", table::SPOOF_ND);
        let mut arp = flow(table::SPOOF, 15, self.vni);
        arp.matches.text("arp,reg5=").hex(self.seat.0);
        arp.actions.text("drop");
        self.out.push(arp);
        self.packet(table::SPOOF, 10, "", "", table::QUESTION);

        self.solicitations();
        self.advertisements("");
        // It may be a router.
        for kind in [",icmp_type=134", ",icmp_type=137"] {
            self.packet(table::SPOOF_ND, 20, "icmp6", kind, table::QUESTION);
        }
    }

    /// The question whether an address is free, which comes from no address (RFC 5227 §2.1.1, RFC 4862 §5.4.2). Of its
    /// own alone: who hears it asked for an address that he is about to take may not take it.
    fn probe(&mut self, net: IpNet) {
        let mut probe = String::with_capacity(96);
        match net {
            IpNet::V4(_) => {
                probe
                    .text(",arp_spa=0.0.0.0")
                    .field("arp_tpa", net)
                    .text(",arp_op=1")
                    .text(&self.own("arp_sha"));
                self.packet(table::SPOOF, 20, "arp", &probe, table::QUESTION);
            }
            IpNet::V6(_) => {
                probe.text(",ipv6_src=::,icmp_type=135,icmp_code=0").field("nd_target", net);
                self.packet(table::SPOOF, 20, "icmp6", &probe, table::SPOOF_ND);
            }
        }
    }

    /// Packets from these addresses, and that it has them.
    fn source(&mut self, net: IpNet) {
        let mut source = String::with_capacity(48);
        source.field(by_family(&net, "nw_src", "ipv6_src"), net);
        match net {
            IpNet::V4(_) => {
                self.packet(table::SPOOF, 20, "ip", &source, table::QUESTION);
                let mut spa = String::with_capacity(64);
                spa.field("arp_spa", net).text(&self.own("arp_sha"));
                self.packet(table::SPOOF, 20, "arp", &spa, table::QUESTION);
            }
            IpNet::V6(_) => {
                self.packet(table::SPOOF, 20, "ipv6", &source, table::SPOOF_ND);
                let mut target = String::with_capacity(64);
                target.field("nd_target", net);
                self.advertisements(&target);
            }
        }
    }

    /// Questions, with its own link-layer address in them or none (which reads as zero).
    fn solicitations(&mut self) {
        let own = self.own("nd_sll");
        for option in [&own, ",nd_sll=00:00:00:00:00:00"] {
            let matches = format!(",icmp_type=135,icmp_code=0{option}");
            self.packet(table::SPOOF_ND, 20, "icmp6", &matches, table::QUESTION);
        }
    }

    /// Answers, likewise, for a target of its own.
    fn advertisements(&mut self, target: &str) {
        let own = self.own("nd_tll");
        for option in [&own, ",nd_tll=00:00:00:00:00:00"] {
            let matches = format!(",icmp_type=136,icmp_code=0{target}{option}");
            self.packet(table::SPOOF_ND, 20, "icmp6", &matches, table::QUESTION);
        }
    }
}
