//! The flows of VRFs: their way in from the tunnel, the gateway's answers, prefixes and the ways to them.

use std::fmt::Write as _;

use ipnet::IpNet;
use types::Vni;

use super::Pipeline;
use super::clients::Attached;
use super::hops::{BUCKETS, owners};
use super::render::{ANSWERED_BY_ROUTER, by_family, flow, reply, table, to_client};
use super::text::Text as _;
use crate::intent::{Hop, Vrf};
use crate::ovs::flow::Flow;

/// The priority of the shortest prefix; the longest is 128 above it.
const PREFIX: u16 = 100;
/// One hop less to live. Packets that have none left have been dropped by then: this action would send them up to
/// ovs-vswitchd, one by one, for a controller that nobody has.
const DEC_TTL: &str = "dec_ttl,";

impl Pipeline {
    /// The VRF of this VNI, if it shall exist.
    pub(super) fn vrf_of(&self, vni: Vni) -> Option<&Vrf> {
        self.vrfs.get(&vni)?.vrf.as_ref()
    }

    /// The way in from the tunnel, before that of an L2 VNI of the same number; and the gateway, which has every
    /// address somebody asks for (proxy ARP and ND, RFC 9135 §4.1).
    pub(super) fn vrf(&self, vni: Vni, out: &mut Vec<Flow>) {
        let Some(vrf) = self.vrf_of(vni) else { return };
        if let Some(mut flow) = self.entry_from_tunnel(vni, 300) {
            flow.matches.text(",dl_dst=").mac(vrf.router_mac);
            flow.actions.text("set_field:").hex(vni.get()).text("->reg2,set_field:0x1->reg1,goto_table:40");
            out.push(flow);
        }
        let mut arp = flow(table::ANSWER, 100, vni);
        arp.matches.text("arp,reg2=").hex(vni.get()).text(",arp_op=1");
        reply(&mut arp.actions, self.gateway_mac, None);
        out.push(arp);
        let mut nd = flow(table::ANSWER, 100, vni);
        nd.matches.text("icmp6,reg2=").hex(vni.get()).text(",icmp_type=135,icmp_code=0");
        reply(&mut nd.actions, self.gateway_mac, Some(ANSWERED_BY_ROUTER));
        out.push(nd);
    }

    /// A prefix: one way is in its own flow, several are a set's.
    pub(super) fn prefix(&self, vni: Vni, net: IpNet, out: &mut Vec<Flow>) {
        let Some(table) = self.vrfs.get(&vni) else { return };
        let Some(vrf) = &table.vrf else { return };
        let Some(number) = table.prefixes.get(&net) else { return };
        let Some(set) = self.sets.get(*number) else { return };
        let mut flow = flow(table::ROUTE, PREFIX + u16::from(net.prefix_len()), vni);
        flow.matches.text(by_family(&net, "ip,reg2=", "ipv6,reg2=")).hex(vni.get());
        flow.matches.field(by_family(&net, "nw_dst", "ipv6_dst"), net);
        if set.is_ecmp() {
            flow.actions.text(DEC_TTL).text("set_field:").hex(*number).text("->reg3,");
            let _ = write!(
                flow.actions,
                "multipath(symmetric_l3l4+udp,0,modulo_n,{BUCKETS},0,NXM_NX_REG4[]),goto_table:45"
            );
        } else {
            match set.hops.first().filter(|hop| self.can_use(hop)) {
                Some(hop) => {
                    flow.actions.text(DEC_TTL);
                    self.to_hop(&mut flow.actions, vrf, hop);
                }
                None => {
                    flow.actions.text("drop");
                }
            }
        }
        out.push(flow);
    }

    /// The buckets of a set of several hops; those of a client that is at no port are the others'.
    pub(super) fn hops(&self, number: u32, out: &mut Vec<Flow>) {
        let Some(set) = self.sets.get(number).filter(|set| set.is_ecmp()) else { return };
        let Some(vrf) = self.vrf_of(set.vrf) else { return };
        let usable: Vec<&Hop> = set.hops.iter().filter(|hop| self.can_use(hop)).collect();
        for (bucket, owner) in (0_u32..).zip(owners(usable.iter().copied())) {
            let Some(hop) = owner.and_then(|owner| usable.get(owner)) else { return };
            let mut flow = flow(table::HOPS, 100, set.vrf);
            flow.matches.text("reg3=").hex(number).text(",reg4=").hex(bucket);
            self.to_hop(&mut flow.actions, vrf, hop);
            out.push(flow);
        }
    }

    fn can_use(&self, hop: &Hop) -> bool {
        match hop {
            Hop::Client(name) => self.clients.get(name).and_then(Attached::seat).is_some(),
            Hop::Remote { vtep, .. } => self.reaches(*vtep),
        }
    }

    fn to_hop(&self, actions: &mut String, vrf: &Vrf, hop: &Hop) {
        match hop {
            Hop::Client(name) => {
                let Some(at) = self.clients.get(name) else { return };
                let Some(seat) = at.seat() else { return };
                actions.text("set_field:").mac(self.gateway_mac).text("->eth_src,");
                actions.text("set_field:").mac(at.client.mac).text("->eth_dst,");
                to_client(actions, seat);
            }
            Hop::Remote { vtep, vni, router_mac } => {
                actions.text("set_field:").mac(vrf.router_mac).text("->eth_src,");
                actions.text("set_field:").mac(*router_mac).text("->eth_dst,");
                self.to_tunnel(actions, *vni, *vtep);
            }
        }
    }
}
