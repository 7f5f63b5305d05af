//! The routes of our own: type 3 for each VNI, type 2 for each local MAC and its addresses (RFC 7432 §9, §11;
//! RFC 8365 §5.1.3; RFC 9047). Those of type 5 are in [`super::ipvrf`].
//!
//! Originator, tunnel id and next hop of a type 3 route are all the VTEP address, since some peers flood to the first
//! (FRR) and some to the second (BIRD). The MAC mobility community is there only with a sequence above zero or the
//! sticky flag; ARP/ND only on IPv6 bindings, which must have it, since GoBGP takes an UPDATE with it for a withdraw.

use std::net::IpAddr;

use bgp::wire::attr::{Pmsi, PmsiTunnel};
use bgp::wire::{Attributes, ExtCommunity, NlriBody, RouteKey, RouteTarget};
use types::{MacAddr, Vni};

use super::local::Claim;
use super::target::ND_OVERRIDE;
use super::vrf::{Cx, MacVrf};

/// What every route of a VNI carries.
pub(super) fn communities(export: &[RouteTarget]) -> Vec<ExtCommunity> {
    export.iter().map(|rt| rt.community()).chain([ExtCommunity::VXLAN]).collect()
}

/// What a prefix carries (RFC 9136 §3.2, RFC 9135 §8.1).
pub(super) fn prefix_communities(
    export: impl IntoIterator<Item = RouteTarget>,
    router_mac: Option<MacAddr>,
) -> Vec<ExtCommunity> {
    let targets = export.into_iter().map(RouteTarget::community);
    targets.chain([ExtCommunity::VXLAN]).chain(router_mac.map(ExtCommunity::router_mac)).collect()
}

fn arp_nd(flags: u8) -> ExtCommunity {
    ExtCommunity([0x06, 0x08, flags, 0, 0, 0, 0, 0])
}

pub(super) fn attributes(next_hop: IpAddr, communities: &[ExtCommunity]) -> Attributes {
    Attributes { ext_communities: communities.to_vec(), ..Attributes::local(next_hop) }
}

pub(super) fn imet(vtep: IpAddr, vni: Vni, communities: &[ExtCommunity]) -> Attributes {
    let pmsi = Pmsi { flags: 0, vni, tunnel: PmsiTunnel::IngressReplication(vtep) };
    Attributes { pmsi: Some(pmsi), ..attributes(vtep, communities) }
}

pub(super) fn mac_ip(
    vtep: IpAddr,
    communities: &[ExtCommunity],
    ip: Option<IpAddr>,
    sequence: u32,
    sticky: bool,
) -> Attributes {
    let mut attributes = attributes(vtep, communities);
    if sequence > 0 || sticky {
        attributes.ext_communities.push(ExtCommunity::mac_mobility(sequence, sticky));
    }
    if let Some(IpAddr::V6(_)) = ip {
        attributes.ext_communities.push(arp_nd(ND_OVERRIDE));
    }
    attributes
}

impl MacVrf {
    fn imet_key(&self, originator: IpAddr) -> RouteKey {
        RouteKey::Imet { rd: self.rd, tag: 0, originator }
    }

    const fn mac_key(&self, mac: MacAddr, ip: Option<IpAddr>) -> RouteKey {
        RouteKey::MacIp { rd: self.rd, tag: 0, mac, ip }
    }

    /// Announces or withdraws the type 3 route as things stand.
    pub(super) fn sync_imet(&mut self, cx: &mut Cx<'_>) {
        let Some(vtep) = cx.node.vtep else { return };
        let wanted = self.ready && self.config.flood;
        if wanted == self.imet_announced {
            return;
        }
        self.imet_announced = wanted;
        if wanted {
            self.announce_imet(cx);
        } else {
            cx.out.withdraw(self.imet_key(vtep));
        }
    }

    /// Once more, since its attributes changed or a route made by hand no longer stands in front of it.
    pub(super) fn announce_imet(&self, cx: &mut Cx<'_>) {
        if let Some(vtep) = cx.node.vtep.filter(|_| self.imet_announced) {
            let attributes = imet(vtep, self.vni(), &self.communities);
            cx.out.originate(self.imet_key(vtep), NlriBody::default(), attributes);
        }
    }

    fn announce_one(&self, cx: &mut Cx<'_>, mac: MacAddr, ip: Option<IpAddr>, claim: &Claim) {
        if let Some(vtep) = cx.node.vtep {
            let attributes = mac_ip(vtep, &self.communities, ip, claim.sequence, claim.sticky);
            let body = NlriBody { label: self.vni(), ..NlriBody::default() };
            cx.out.originate(self.mac_key(mac, ip), body, attributes);
        }
    }

    /// Announces or withdraws the type 2 routes of a MAC as things stand.
    pub(super) fn sync_mac(&mut self, cx: &mut Cx<'_>, mac: MacAddr) {
        let wanted = self.owns(mac) && self.ready && self.config.advertise_macs && cx.node.vtep.is_some();
        if !wanted {
            self.withdraw_mac(cx, mac);
            return;
        }
        if let Some(claim) = self.claims.get_mut(&mac)
            && !claim.announced
        {
            claim.announced = true;
            self.announce_again(cx, mac);
        }
    }

    /// Announces what is announced once more, with attributes as they are now.
    pub(super) fn announce_again(&self, cx: &mut Cx<'_>, mac: MacAddr) {
        if let Some(claim) = self.claims.get(&mac).filter(|c| c.announced) {
            self.announce_one(cx, mac, None, claim);
            for ip in self.addresses(mac) {
                self.announce_one(cx, mac, Some(ip), claim);
            }
        }
    }

    /// Withdraws the type 2 routes of a MAC.
    pub(super) fn withdraw_mac(&mut self, cx: &mut Cx<'_>, mac: MacAddr) {
        let Some(claim) = self.claims.get_mut(&mac).filter(|c| c.announced) else { return };
        claim.announced = false;
        cx.out.withdraw(self.mac_key(mac, None));
        for ip in self.addresses(mac) {
            cx.out.withdraw(self.mac_key(mac, Some(ip)));
        }
    }

    /// A MAC has one address more.
    pub(super) fn announce_address(&self, cx: &mut Cx<'_>, mac: MacAddr, ip: IpAddr) {
        if let Some(claim) = self.claims.get(&mac).filter(|c| c.announced) {
            self.announce_one(cx, mac, Some(ip), claim);
        }
    }

    /// A MAC has one address fewer.
    pub(super) fn withdraw_address(&self, cx: &mut Cx<'_>, mac: MacAddr, ip: IpAddr) {
        if self.claims.get(&mac).is_some_and(|c| c.announced) {
            cx.out.withdraw(self.mac_key(mac, Some(ip)));
        }
    }

    /// The local MACs, in order.
    fn local_macs(&self) -> Vec<MacAddr> {
        let mut macs: Vec<_> = self.claims.keys().copied().collect();
        macs.sort_unstable();
        macs
    }

    /// Announces or withdraws everything as things stand.
    pub(super) fn sync_all(&mut self, cx: &mut Cx<'_>) {
        self.sync_imet(cx);
        for mac in self.local_macs() {
            self.sync_mac(cx, mac);
        }
    }

    /// Announces everything that is announced once more.
    pub(super) fn announce_all_again(&self, cx: &mut Cx<'_>) {
        self.announce_imet(cx);
        for mac in self.local_macs() {
            self.announce_again(cx, mac);
        }
    }

    /// Withdraws everything.
    pub(super) fn withdraw_all(&mut self, cx: &mut Cx<'_>) {
        if let Some(vtep) = cx.node.vtep.filter(|_| self.imet_announced) {
            self.imet_announced = false;
            cx.out.withdraw(self.imet_key(vtep));
        }
        for mac in self.local_macs() {
            self.withdraw_mac(cx, mac);
        }
    }
}
