//! Routes that an operator makes by hand: `evpnd route add`.

use std::net::IpAddr;

use bgp::wire::{Attributes, Esi, NlriBody, Rd, RouteKey, RouteTarget};
use ipnet::IpNet;
use types::{MacAddr, Time, Vni};

use super::event::Output;
use super::originate::{attributes, communities, imet, mac_ip, prefix_communities};
use super::rd::Owner;
use super::target::auto_export;
use super::{Evpn, judge, with_vrf};

/// A route made by hand: `evpnd route add`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualRoute {
    /// The VNI, configured or not.
    pub vni: Vni,
    /// What it says.
    pub kind: ManualKind,
    /// Its route distinguisher; `None`: that of the VNI or VRF, or a free `router-id:N`.
    pub rd: Option<Rd>,
    /// Its route targets; empty: those of the VNI, or the automatic one.
    pub route_targets: Vec<RouteTarget>,
    /// Its next hop; `None`: our VTEP address.
    pub next_hop: Option<IpAddr>,
}

/// The type of a [`ManualRoute`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManualKind {
    /// Type 3.
    Imet,
    /// Type 2.
    Mac {
        /// The MAC.
        mac: MacAddr,
        /// Its address.
        ip: Option<IpAddr>,
        /// Mobility sequence.
        sequence: u32,
        /// Does not move.
        sticky: bool,
    },
    /// Type 5.
    Prefix {
        /// The prefix; host bits are cleared.
        prefix: IpNet,
        /// Gateway address (RFC 9136 §4.1), `None` for the interface-less form.
        gateway: Option<IpAddr>,
        /// Router's MAC, wanted by symmetric peers; `None`: ours, if the next hop is our VTEP.
        router_mac: Option<MacAddr>,
    },
}

impl ManualRoute {
    /// With every default.
    pub const fn new(vni: Vni, kind: ManualKind) -> Self {
        Self { vni, kind, rd: None, route_targets: Vec::new(), next_hop: None }
    }
}

/// Why a route cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManualError {
    /// Nowhere to point it to.
    #[error("no VTEP address is configured: say the next hop")]
    NoNextHop,
    /// The MAC is no host's.
    #[error("{0} is not the MAC of a host")]
    NotHostMac(MacAddr),
    /// The address is no host's.
    #[error("{0} is not the address of a host")]
    NotHostIp(IpAddr),
    /// Gateway and prefix are of different families.
    #[error("gateway {0} is of the other address family than the prefix")]
    OtherFamily(IpAddr),
    /// All numbers are taken.
    #[error("no route distinguisher router-id:N is left: say the rd")]
    NoRdLeft,
    /// VNI 0.
    #[error("VNI 0 cannot be used")]
    ZeroVni,
}

impl Evpn {
    /// Announces a route made by hand, in front of one of ours with the same key.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub fn add_manual(&mut self, route: &ManualRoute) -> Result<RouteKey, ManualError> {
        let (key, body, attributes) = self.build_manual(route)?;
        let attributes = Box::new(attributes);
        self.out.manual.insert(key.clone(), (body, attributes.clone()));
        self.out.queue.push_back(Output::Originate(key.clone(), body, attributes));
        Ok(key)
    }

    /// Takes one back; false if there is none with its key.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn remove_manual(&mut self, route: &ManualRoute, now: Time) -> Result<bool, ManualError> {
        let (key, ..) = self.build_manual(route)?;
        Ok(self.remove_manual_key(&key, now))
    }

    /// Takes the one with this key back; false if there is none.
    pub fn remove_manual_key(&mut self, key: &RouteKey, now: Time) -> bool {
        if self.out.manual.remove(key).is_none() {
            return false;
        }
        self.out.queue.push_back(Output::Withdraw(key.clone()));
        // One of ours may have stood behind it.
        if let RouteKey::Prefix { rd, prefix, .. } = *key {
            if let Some(vrf) = self.ip_vrfs.iter().flatten().find(|v| v.rd == rd) {
                vrf.announce_again(&self.node, &mut self.out, prefix);
            }
            return true;
        }
        let (RouteKey::MacIp { rd, .. } | RouteKey::Imet { rd, .. }) = *key else { return true };
        let Some(slot) = self.vrfs.iter().flatten().find(|v| v.rd == rd).map(|v| v.slot) else { return true };
        with_vrf!(self, slot, now, |vrf, cx| match *key {
            RouteKey::MacIp { mac, .. } => vrf.announce_again(&mut cx, mac),
            _ => vrf.announce_imet(&mut cx),
        });
        true
    }

    /// The routes made by hand.
    pub fn manual_routes(&self) -> impl Iterator<Item = (&RouteKey, &NlriBody, &Attributes)> {
        self.out.manual.iter().map(|(key, (body, attributes))| (key, body, &**attributes))
    }

    fn build_manual(&self, route: &ManualRoute) -> Result<(RouteKey, NlriBody, Attributes), ManualError> {
        if route.vni == Vni::ZERO {
            return Err(ManualError::ZeroVni);
        }
        match route.kind {
            ManualKind::Mac { mac, .. } if !mac.is_host() => return Err(ManualError::NotHostMac(mac)),
            ManualKind::Mac { ip: Some(ip), .. } if !judge::is_host(ip) => {
                return Err(ManualError::NotHostIp(ip));
            }
            ManualKind::Prefix { prefix, gateway: Some(gateway), .. }
                if prefix.addr().is_ipv4() != gateway.is_ipv4() =>
            {
                return Err(ManualError::OtherFamily(gateway));
            }
            _ => {}
        }
        let next_hop = route.next_hop.or(self.node.vtep).ok_or(ManualError::NoNextHop)?;
        let bridged = || self.vrf(route.vni).map(|v| (v.rd, v.export.clone()));
        let routed = || self.ip_vrf(route.vni).map(|v| (v.rd, v.export()));
        let ours = match route.kind {
            ManualKind::Prefix { .. } => routed().or_else(bridged),
            ManualKind::Imet | ManualKind::Mac { .. } => bridged(),
        };
        let (ours_rd, ours_export) = ours.unzip();
        let owner = Owner::Mac(route.vni);
        let rd = route
            .rd
            .or(ours_rd)
            .or_else(|| self.rds.get(owner).or_else(|| self.rds.spare(owner)))
            .ok_or(ManualError::NoRdLeft)?;
        let export = match ours_export {
            _ if !route.route_targets.is_empty() => route.route_targets.clone(),
            Some(export) => export,
            None => vec![auto_export(self.node.asn, route.vni)],
        };
        let mut kind = route.kind;
        if let ManualKind::Prefix { gateway: None, ref mut router_mac, .. } = kind
            && Some(next_hop) == self.node.vtep
        {
            // Without one nobody could send to us.
            router_mac.get_or_insert(self.node.router_mac());
        }
        Ok(build(kind, route.vni, rd, next_hop, &export))
    }
}

/// The route itself. `rd` and `export` are those of its VNI.
fn build(
    kind: ManualKind,
    vni: Vni,
    rd: Rd,
    next_hop: IpAddr,
    export: &[RouteTarget],
) -> (RouteKey, NlriBody, Attributes) {
    let communities = communities(export);
    let labelled = NlriBody { label: vni, ..NlriBody::default() };
    match kind {
        ManualKind::Imet => (
            RouteKey::Imet { rd, tag: 0, originator: next_hop },
            NlriBody::default(),
            imet(next_hop, vni, &communities),
        ),
        ManualKind::Mac { mac, ip, sequence, sticky } => (
            RouteKey::MacIp { rd, tag: 0, mac, ip },
            labelled,
            mac_ip(next_hop, &communities, ip, sequence, sticky),
        ),
        ManualKind::Prefix { prefix, gateway, router_mac } => {
            let communities = prefix_communities(export.iter().copied(), router_mac);
            let attributes = attributes(next_hop, &communities);
            let key = RouteKey::Prefix { rd, tag: 0, prefix: prefix.trunc() };
            (key, NlriBody { esi: Esi::ZERO, gateway, ..labelled }, attributes)
        }
    }
}
