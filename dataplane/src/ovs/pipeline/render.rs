//! The flows of L2 VNIs: classification, answers, bridging, flooding, and the way out to tunnel and clients.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use types::{MacAddr, Vni};

use super::Pipeline;
use super::clients::{Attached, Seat};
use super::text::Text as _;
use crate::intent::{Flood, RemoteMac, Service};
use crate::ovs::flow::{Flow, cookie};
use crate::rows::{Key, Row};

/// The tables, in the order a packet passes them.
pub(super) mod table {
    pub(in super::super) const CLASSIFY: u8 = 0;
    pub(in super::super) const SPOOF: u8 = 10;
    pub(in super::super) const SPOOF_ND: u8 = 11;
    pub(in super::super) const QUESTION: u8 = 20;
    pub(in super::super) const ANNOUNCEMENT: u8 = 21;
    pub(in super::super) const ANSWER: u8 = 22;
    pub(in super::super) const REPLY: u8 = 25;
    pub(in super::super) const REPLY_ND: u8 = 26;
    pub(in super::super) const BRIDGE: u8 = 30;
    pub(in super::super) const LOCALS: u8 = 31;
    pub(in super::super) const TUNNELS: u8 = 32;
    pub(in super::super) const ROUTE: u8 = 40;
    pub(in super::super) const HOPS: u8 = 45;
    pub(in super::super) const ENCAP: u8 = 50;
    pub(in super::super) const DELIVER: u8 = 60;
}

/// The match of "carries no VLAN tag".
const UNTAGGED: &str = "vlan_tci=0x0000/0x1fff";
/// Flags of a neighbour advertisement: solicited, override; and router.
pub(super) const ANSWERED: u32 = 0x6000_0000;
pub(super) const ANSWERED_BY_ROUTER: u32 = 0xe000_0000;

/// A flow that matches everything yet and does nothing yet.
pub(super) fn flow(table: u8, priority: u16, vni: Vni) -> Flow {
    Flow {
        table,
        priority,
        cookie: cookie(vni),
        matches: String::with_capacity(64),
        actions: String::with_capacity(80),
    }
}

/// One whose words never change.
fn fixed(table: u8, priority: u16, matches: &str, actions: &str) -> Flow {
    Flow {
        table,
        priority,
        cookie: cookie(Vni::ZERO),
        matches: matches.to_owned(),
        actions: actions.to_owned(),
    }
}

impl Pipeline {
    /// What is there before anything is configured: what happens to what no flow wants, and the flows all share.
    pub(super) fn base(&self, out: &mut Vec<Flow>) {
        for table in [
            table::SPOOF,
            table::REPLY,
            table::REPLY_ND,
            table::BRIDGE,
            table::LOCALS,
            table::TUNNELS,
            table::ROUTE,
            table::HOPS,
            table::ENCAP,
            table::DELIVER,
        ] {
            out.push(fixed(table, 0, "", "drop"));
        }

        // What the ND of every client has to pass, and nothing else has (RFC 4861 §4).
        out.push(fixed(table::SPOOF_ND, 0, "", "goto_table:20"));
        for kind in ["134", "135", "136", "137"] {
            out.push(fixed(table::SPOOF_ND, 10, &format!("icmp6,icmp_type={kind}"), "drop"));
        }

        // Headers that cannot be followed to their end, in this packet or for good, and ND whose options make no sense:
        // a fragment may hide from us what the host puts together (RFC 7113 §2, §3), and hosts differ in what they make
        // of an option that is there twice. All of that reads as zero.
        for never in ["icmp6,icmp_type=0", "ipv6,nw_proto=0", "icmp6,icmp_type=135,icmp_code=0,nd_target=::"]
        {
            out.push(fixed(table::SPOOF_ND, 30, never, "drop"));
        }
        // A tag below the client's own: a host takes a frame with tag 0 for one without, and what is in it has not been
        // looked at. The second is what Open vSwitch sees where its `vlan-limit` is not 1.
        for tag in ["dl_type=0x8100", "dl_type=0x88a8", "vlan_tci=0x1000/0x1000"] {
            out.push(fixed(table::SPOOF, 30, tag, "drop"));
        }

        // Whoever asks from nowhere wants to know whether an address is free: only its owner may say so
        // (RFC 5227 §2.1.1, RFC 4862 §5.4).
        let probe = "arp,arp_spa=0.0.0.0,arp_op=1";
        out.push(fixed(table::QUESTION, 300, probe, "goto_table:30"));
        let probe = "icmp6,ipv6_src=::,icmp_type=135,icmp_code=0";
        out.push(fixed(table::QUESTION, 300, probe, "goto_table:30"));
        out.push(fixed(table::QUESTION, 200, "arp,arp_op=1", "goto_table:21"));
        out.push(fixed(table::QUESTION, 200, "icmp6,icmp_type=135,icmp_code=0", "goto_table:22"));
        for table in [table::QUESTION, table::ANSWER] {
            out.push(fixed(table, 10, "reg0=0", "goto_table:40"));
            out.push(fixed(table, 0, "", "goto_table:30"));
        }
        announcements(out);

        // A question turned round: the Ethernet addresses are right already, and register 7 is free.
        let arp = "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ETH_SRC[]->NXM_NX_ARP_SHA[],\
                   move:NXM_OF_ARP_TPA[]->NXM_NX_REG7[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],\
                   move:NXM_NX_REG7[]->NXM_OF_ARP_SPA[],set_field:2->arp_op,\
                   move:NXM_NX_REG5[]->NXM_NX_REG6[],set_field:0->reg5,goto_table:60";
        out.push(fixed(table::REPLY, 100, "arp,arp_op=1", arp));
        // The kernel's datapath cannot write ND's flags and the option's type, and ovs-vswitchd refuses to set them
        // there. Moved into them it takes them, and writes them itself: a packet whose addresses are exchanged is
        // its own work in any case.
        let nd = "move:NXM_NX_IPV6_SRC[]->NXM_NX_IPV6_DST[],move:NXM_NX_ND_TARGET[]->NXM_NX_IPV6_SRC[],\
                  set_field:136->icmpv6_type,move:NXM_NX_REG7[]->ERICOXM_OF_ICMPV6_ND_RESERVED[],\
                  set_field:0x2->reg7,move:NXM_NX_REG7[0..7]->ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE[],goto_table:26";
        out.push(fixed(table::REPLY, 100, "icmp6,icmp_type=135,icmp_code=0", nd));
        // The option can be written only where the packet is known to be an advertisement.
        let nd = "move:NXM_OF_ETH_SRC[]->NXM_NX_ND_TLL[],move:NXM_NX_REG5[]->NXM_NX_REG6[],\
                  set_field:0->reg5,goto_table:60";
        out.push(fixed(table::REPLY_ND, 100, "icmp6,icmp_type=136,icmp_code=0", nd));

        // Between a bridge and its neighbours: never passed on (IEEE 802.1Q §8.6.3).
        let reserved = "dl_dst=01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0";
        out.push(fixed(table::BRIDGE, 200, reserved, "drop"));

        // What no router passes on: RFC 1812 §5.3.1, §5.3.7, RFC 4291 §2.4, §2.5.
        for never in [
            "ip,nw_ttl=0",
            "ip,nw_ttl=1",
            "ipv6,nw_ttl=0",
            "ipv6,nw_ttl=1",
            "ip,nw_dst=224.0.0.0/4",
            "ip,nw_dst=255.255.255.255",
            "ip,nw_dst=127.0.0.0/8",
            "ipv6,ipv6_dst=ff00::/8",
            "ipv6,ipv6_dst=fe80::/10",
            "ipv6,ipv6_src=fe80::/10",
            "ipv6,ipv6_src=::",
        ] {
            out.push(fixed(table::ROUTE, 300, never, "drop"));
        }

        // The userspace datapath takes every packet to a local VTEP out of its tunnel, whatever port it was about to
        // leave by: a client that wraps up its own could enter any VNI. (With the kernel's it is one packet that
        // nobody needs.)
        let (protocol, destination) = match self.vtep {
            IpAddr::V4(_) => ("udp", "nw_dst"),
            IpAddr::V6(_) => ("udp6", "ipv6_dst"),
        };
        let inwards = format!("{protocol},{destination}={},tp_dst={}", self.vtep, self.vxlan_port);
        out.push(fixed(table::DELIVER, 30, &inwards, "drop"));

        // Split horizon: what came from the tunnel never goes back into it, bridged or routed.
        out.push(fixed(table::ENCAP, 100, "reg1=0x1", "drop"));
        if let Some(tunnel) = self.tunnel {
            out.push(fixed(table::CLASSIFY, 100, &format!("in_port={tunnel}"), "drop"));
            out.push(fixed(table::ENCAP, 10, "", &format!("output:{tunnel}")));
        }
    }

    /// `tun_id=…,in_port=…,` and untagged: RFC 7348 §6.1 wants frames with a tag inside dropped.
    pub(super) fn entry_from_tunnel(&self, vni: Vni, priority: u16) -> Option<Flow> {
        let mut flow = flow(table::CLASSIFY, priority, vni);
        flow.matches.text("tun_id=").hex(vni.get()).text(",in_port=").port(self.tunnel?);
        flow.matches.text(",").text(UNTAGGED);
        Some(flow)
    }

    /// The way in from the tunnel, and the heads of the flood lists.
    pub(super) fn vni(&self, vni: Vni, out: &mut Vec<Flow>) {
        if self.intent.rows().device(vni).is_none() {
            return;
        }
        if let Some(mut flow) = self.entry_from_tunnel(vni, 200) {
            flow.actions.text("set_field:").hex(vni.get()).text("->reg0,set_field:0x1->reg1,goto_table:30");
            out.push(flow);
        }
        let locals = self.locals.get(&vni).map_or(0, super::Chunks::count);
        let tunnels = self.tunnels.get(&vni).map_or(0, super::Chunks::count);
        let mut head = |priority, matches: &str, lists: &[(u8, u16)]| {
            let mut flow = flow(table::BRIDGE, priority, vni);
            flow.matches.text("reg0=").hex(vni.get()).text(matches);
            for (table, chunks) in lists {
                for chunk in 0..*chunks {
                    flow.actions.text("set_field:").hex(chunk.into()).text("->reg7,resubmit(,");
                    flow.actions.number(*table).text("),");
                }
            }
            finish(&mut flow.actions);
            out.push(flow);
        };
        head(20, ",reg1=0x1", &[(table::LOCALS, locals)]);
        head(10, "", &[(table::LOCALS, locals), (table::TUNNELS, tunnels)]);
    }

    /// A piece of a flood list: clients.
    pub(super) fn locals(&self, vni: Vni, number: u16, out: &mut Vec<Flow>) {
        let Some(chunk) = self.locals.get(&vni).and_then(|chunks| chunks.chunk(number)) else { return };
        if self.intent.rows().device(vni).is_none() {
            return;
        }
        let mut flow = flow(table::LOCALS, 100, vni);
        flow.matches.text("reg0=").hex(vni.get()).text(",reg7=").hex(number.into());
        for seat in chunk {
            flow.actions.text("set_field:").hex(seat.0).text("->reg6,resubmit(,60),");
        }
        finish(&mut flow.actions);
        out.push(flow);
    }

    /// A piece of a flood list: VTEPs.
    pub(super) fn tunnels(&self, vni: Vni, number: u16, out: &mut Vec<Flow>) {
        let Some(chunk) = self.tunnels.get(&vni).and_then(|chunks| chunks.chunk(number)) else { return };
        let Some(tunnel) = self.tunnel.filter(|_| self.intent.rows().device(vni).is_some()) else { return };
        let mut flow = flow(table::TUNNELS, 100, vni);
        flow.matches.text("reg0=").hex(vni.get()).text(",reg7=").hex(number.into());
        let mut last = None;
        for vtep in chunk {
            let Some(Row::Flood(_, _, Flood { vni: wire })) =
                self.intent.rows().get(&Key::Flood(vni, *vtep)).filter(|_| self.reaches(*vtep))
            else {
                continue;
            };
            if last != Some(wire) {
                last = Some(wire);
                flow.actions.text("set_field:").hex(wire.get()).text("->tun_id,");
            }
            destination(&mut flow.actions, *vtep);
            flow.actions.text("output:").port(tunnel).text(",");
        }
        finish(&mut flow.actions);
        out.push(flow);
    }

    /// A MAC, which is remote if the intent says so, and else a client's.
    pub(super) fn mac(&self, vni: Vni, mac: MacAddr, out: &mut Vec<Flow>) {
        let rows = self.intent.rows();
        if rows.device(vni).is_none() {
            return;
        }
        let mut flow = flow(table::BRIDGE, 100, vni);
        flow.matches.text("reg0=").hex(vni.get()).text(",dl_dst=").mac(mac);
        if let Some(Row::Mac(_, _, Some(RemoteMac { vtep, vni: wire, .. }))) = rows.get(&Key::Mac(vni, mac)) {
            self.to_tunnel(&mut flow.actions, wire, vtep);
        } else if let Some(seat) = self.clients.with_mac(vni, mac).and_then(Attached::seat) {
            to_client(&mut flow.actions, seat);
        } else {
            return;
        }
        out.push(flow);
    }

    /// An address whose MAC is known, a client's before a remote one: questions for it are answered.
    pub(super) fn neighbour(&self, vni: Vni, ip: IpAddr, out: &mut Vec<Flow>) {
        let rows = self.intent.rows();
        if !rows.device(vni).is_some_and(|l2| l2.arp_suppression) {
            return;
        }
        let (mac, router) = match self.clients.with_ip(vni, ip) {
            Some(at) => (at.client.mac, false),
            None => match rows.get(&Key::Neighbour(vni, ip)) {
                Some(Row::Neighbour(_, _, n)) => (n.mac, n.router),
                _ => return,
            },
        };
        let mut answer = flow(table::ANSWER, 100, vni);
        match ip {
            // A question to one host alone asks whether it is still there: that it answers itself.
            IpAddr::V4(_) => {
                answer.matches.text("arp,reg0=").hex(vni.get()).text(",dl_dst=ff:ff:ff:ff:ff:ff,arp_tpa=");
                answer.matches.ip(ip).text(",arp_op=1");
                reply(&mut answer.actions, mac, None);
            }
            IpAddr::V6(_) => {
                answer.matches.text("icmp6,reg0=").hex(vni.get());
                answer.matches.text(",dl_dst=33:33:00:00:00:00/ff:ff:00:00:00:00");
                answer.matches.text(",icmp_type=135,icmp_code=0,nd_target=").ip(ip);
                let flags = if router { ANSWERED_BY_ROUTER } else { ANSWERED };
                reply(&mut answer.actions, mac, Some(flags));
            }
        }
        out.push(answer);
    }

    /// A client that is at a port: its way in, what it may send, the way out to it.
    pub(super) fn client(&self, name: &str, out: &mut Vec<Flow>) {
        let Some(at) = self.clients.get(name) else { return };
        let Some(seat) = at.seat() else { return };
        let (vni, register, known) = match &at.client.service {
            Service::L2 { vni, .. } => (*vni, "->reg0", self.intent.rows().device(*vni).is_some()),
            Service::L3 { vrf, .. } => (*vrf, "->reg2", self.vrf_of(*vrf).is_some()),
        };
        if !known {
            return;
        }

        let mut way_in = flow(table::CLASSIFY, 200, vni);
        way_in.matches.text("in_port=").port(seat.port());
        match seat.vlan() {
            Some(tag) => {
                way_in.matches.text(",dl_vlan=").number(tag);
                way_in.actions.text("pop_vlan,");
            }
            None => {
                way_in.matches.text(",").text(UNTAGGED);
            }
        }
        way_in.actions.text("set_field:").hex(seat.0).text("->reg5,set_field:").hex(vni.get()).text(register);
        // Nothing is ever sent out of the port it came in by, else; another client may be behind the same one.
        way_in.actions.text(",set_field:0->in_port,goto_table:");
        way_in.actions.number(if at.client.anti_spoof { table::SPOOF } else { table::QUESTION });
        out.push(way_in);

        if at.client.anti_spoof {
            super::spoof::checks(&at.client, seat, out);
        }

        let mut back = flow(table::DELIVER, 20, vni);
        back.matches.text("reg5=").hex(seat.0).text(",reg6=").hex(seat.0);
        back.actions.text("drop");
        out.push(back);

        let mut deliver = flow(table::DELIVER, 10, vni);
        deliver.matches.text("reg6=").hex(seat.0);
        if let Some(tag) = seat.vlan() {
            // The tag as OpenFlow writes it, with the bit that says there is one.
            deliver.actions.text("push_vlan:0x8100,set_field:").number(0x1000 | tag).text("->vlan_vid,");
        }
        deliver.actions.text("output:").port(seat.port());
        if seat.vlan().is_some() {
            // The next member of a flood list wants it without.
            deliver.actions.text(",pop_vlan");
        }
        out.push(deliver);
    }

    /// Can this VTEP be reached from ours? A tunnel port has one source address.
    pub(super) const fn reaches(&self, vtep: IpAddr) -> bool {
        self.vtep.is_ipv4() == vtep.is_ipv4()
    }

    /// Sends a packet to a VTEP.
    pub(super) fn to_tunnel(&self, actions: &mut String, wire: Vni, vtep: IpAddr) {
        if !self.reaches(vtep) {
            actions.text("drop");
            return;
        }
        actions.text("set_field:").hex(wire.get()).text("->tun_id,");
        destination(actions, vtep);
        actions.text("goto_table:50");
    }
}

/// An announcement has the form of a question for the sender's own address (RFC 5227 §2.3) and is for everybody: a
/// question is what differs in any bit. No flow can compare two fields, but two for each bit can.
fn announcements(out: &mut Vec<Flow>) {
    for bit in 0..32 {
        let one = Ipv4Addr::from_bits(1 << bit);
        let mask = if bit == 31 { "1".to_owned() } else { one.to_string() };
        for (spa, tpa) in [(one, Ipv4Addr::UNSPECIFIED), (Ipv4Addr::UNSPECIFIED, one)] {
            let matches = format!("arp,arp_spa={spa}/{mask},arp_tpa={tpa}/{mask},arp_op=1");
            out.push(fixed(table::ANNOUNCEMENT, 100, &matches, "goto_table:22"));
        }
    }
    out.push(fixed(table::ANNOUNCEMENT, 0, "", "goto_table:30"));
}

/// Sends a packet to a client.
pub(super) fn to_client(actions: &mut String, seat: Seat) {
    actions.text("set_field:").hex(seat.0).text("->reg6,goto_table:60");
}

/// Sends a question back with this MAC as the answer: what differs from one to the other. The rest is in the table
/// of replies, which takes the flags of an ND answer from register 7.
pub(super) fn reply(actions: &mut String, mac: MacAddr, flags: Option<u32>) {
    actions.text("move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:").mac(mac).text("->eth_src,");
    if let Some(flags) = flags {
        actions.text("set_field:").hex(flags).text("->reg7,");
    }
    actions.text("goto_table:25");
}

/// `name=prefix` of its address family.
pub(super) const fn by_family(net: &IpNet, v4: &'static str, v6: &'static str) -> &'static str {
    match net {
        IpNet::V4(_) => v4,
        IpNet::V6(_) => v6,
    }
}

fn destination(actions: &mut String, vtep: IpAddr) {
    let field = if vtep.is_ipv4() { "->tun_dst," } else { "->tun_ipv6_dst," };
    actions.text("set_field:").ip(vtep).text(field);
}

/// Takes the comma off the end; no actions are written as one that says so.
fn finish(actions: &mut String) {
    if actions.pop().is_none() {
        actions.text("drop");
    }
}
