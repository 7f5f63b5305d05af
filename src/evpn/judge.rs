//! Whether a route that a VNI takes by its route target can be used there, and if not, why.

use std::fmt;
use std::net::IpAddr;

use bgp::wire::Esi;
use bgp::wire::attr::{Pmsi, PmsiTunnel};
use types::{MacAddr, Vni};

use super::target::Facts;

/// Why a route is not used although its route target says it belongs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reject {
    /// Encapsulation communities are there, none is VXLAN.
    NotVxlan = 1,
    /// We have no VTEP address.
    NoVtep,
    /// The next hop is our own VTEP.
    OwnNextHop,
    /// The next hop is of the other address family than our VTEP.
    OtherFamily,
    /// The next hop is no host's address.
    BadNextHop,
    /// A non-zero Ethernet tag that is not the VNI, and a label that is not either: a broadcast domain of a VLAN-aware
    /// bundle that is not this one.
    OtherTag,
    /// A group address or all zeros.
    NotHostMac,
    /// The IP address is no host's.
    NotHostIp,
    /// Type 3 without PMSI attribute, or with one that says "no tunnel".
    NoTunnel,
    /// Type 3 for another kind of tunnel than ingress replication.
    NotIngressReplication,
    /// The route names an Ethernet segment that this next hop did not announce (RFC 7432 §9.2.1).
    NoEthernetAd,
    /// Prefix with an Ethernet segment as overlay index (RFC 9136 §4.3), which we do not resolve.
    SegmentIndex,
    /// Prefix with a gateway address as overlay index (RFC 9136 §4.1), which we do not resolve.
    GatewayIndex,
    /// Prefix without a VNI: its Router's MAC is the overlay index (RFC 9136 §3.2), which we do not resolve.
    MacIndex,
    /// No Router's MAC: nothing to send an Ethernet frame to.
    NoRouterMac,
    /// Its Router's MAC is a group address.
    BadRouterMac,
    /// Its Router's MAC is ours.
    OwnRouterMac,
    /// Type 2 with the target of a VRF, but without a second label: not to be routed to.
    NotSymmetric,
}

impl Reject {
    /// As those of MACs and floods are stored: four bits, 0 for none.
    pub(super) const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::NotVxlan,
            2 => Self::NoVtep,
            3 => Self::OwnNextHop,
            4 => Self::OtherFamily,
            5 => Self::BadNextHop,
            6 => Self::OtherTag,
            7 => Self::NotHostMac,
            8 => Self::NotHostIp,
            9 => Self::NoTunnel,
            10 => Self::NotIngressReplication,
            11 => Self::NoEthernetAd,
            _ => return None,
        })
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotVxlan => "its encapsulation is not VXLAN",
            Self::NoVtep => "this node has no VTEP address",
            Self::OwnNextHop => "its next hop is our own VTEP",
            Self::OtherFamily => "its next hop is of the other address family than our VTEP",
            Self::BadNextHop => "its next hop is not a host's address",
            Self::OtherTag => "neither its Ethernet tag nor its label is this VNI",
            Self::NotHostMac => "a group address or all zeros is not a host's MAC",
            Self::NotHostIp => "its IP address is not a host's",
            Self::NoTunnel => "it has no PMSI tunnel to flood to",
            Self::NotIngressReplication => "its PMSI tunnel is not ingress replication",
            Self::NoEthernetAd => {
                "its next hop did not announce its Ethernet segment (no type 1 per-ES route)"
            }
            Self::SegmentIndex => {
                "it leads to an Ethernet segment (overlay index), which is not resolved here: announce it \
                 interface-less"
            }
            Self::GatewayIndex => {
                "it leads to a gateway address (overlay index), which is not resolved here: announce it \
                 interface-less"
            }
            Self::MacIndex => "its label has no VNI",
            Self::NoRouterMac => "it has no Router's MAC to send to",
            Self::BadRouterMac => "its Router's MAC is not a router's: a group address or all zeros",
            Self::OwnRouterMac => "its Router's MAC is our own: two nodes have the same",
            Self::NotSymmetric => "it has no second label (symmetric IRB)",
        })
    }
}

/// Can be the address of one host.
pub(super) fn is_host(ip: IpAddr) -> bool {
    let v4_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    // A v4-mapped address would be one more spelling of an IPv4 host.
    let mapped = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || v4_broadcast || mapped)
}

fn next_hop(ip: IpAddr, vtep: Option<IpAddr>) -> Option<Reject> {
    let Some(own) = vtep else { return Some(Reject::NoVtep) };
    if ip == own {
        Some(Reject::OwnNextHop)
    } else if ip.is_ipv4() != own.is_ipv4() {
        Some(Reject::OtherFamily)
    } else if is_host(ip) {
        None
    } else {
        Some(Reject::BadNextHop)
    }
}

/// What both route types share.
pub(super) fn common(facts: Facts, hop: IpAddr, vtep: Option<IpAddr>) -> Option<Reject> {
    if facts.not_vxlan { Some(Reject::NotVxlan) } else { next_hop(hop, vtep) }
}

/// VLAN-based service has tag zero (RFC 7432 §6.1). VLAN-aware bundles tag with the VNI (Junos) or a VLAN (EOS): taken
/// where tag or label says that it is this very VNI.
pub(super) fn tag(tag: u32, label: Vni, vni: Vni) -> Option<Reject> {
    (tag != 0 && tag != vni.get() && label != vni).then_some(Reject::OtherTag)
}

/// What a type 2 route says beyond that.
pub(super) fn host(mac: MacAddr, ip: Option<IpAddr>) -> Option<Reject> {
    if !mac.is_host() {
        Some(Reject::NotHostMac)
    } else if ip.is_some_and(|ip| !is_host(ip)) {
        Some(Reject::NotHostIp)
    } else {
        None
    }
}

/// A prefix leads to its next hop itself, not to an overlay index that another route has to resolve (RFC 9136 §3.2).
pub(super) fn interface_less(esi: Esi, gateway: Option<IpAddr>) -> Option<Reject> {
    if esi.is_zero() { gateway.is_some().then_some(Reject::GatewayIndex) } else { Some(Reject::SegmentIndex) }
}

/// The router that packets in a VNI go to.
pub(super) fn router_mac(label: Vni, theirs: Option<MacAddr>, ours: MacAddr) -> Result<MacAddr, Reject> {
    match theirs {
        None => Err(Reject::NoRouterMac),
        Some(mac) if !mac.is_host() => Err(Reject::BadRouterMac),
        Some(mac) if mac == ours => Err(Reject::OwnRouterMac),
        Some(_) if label == Vni::ZERO => Err(Reject::MacIndex),
        Some(mac) => Ok(mac),
    }
}

/// The VNI on the wire: what the label says (it may be of the receiver's choosing), our own where it says nothing.
pub(super) const fn wire_vni(label: Vni, vni: Vni) -> Vni {
    if label.get() == 0 { vni } else { label }
}

/// Where a type 3 route wants floods sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tunnel {
    pub endpoint: IpAddr,
    pub wire: Vni,
    /// The tunnel id, the next hop and the originator do not agree.
    pub mismatch: bool,
}

/// The tunnel of a type 3 route: the tunnel id if it can be used, else the next hop.
pub(super) fn tunnel(
    pmsi: Option<Pmsi>,
    hop: IpAddr,
    originator: IpAddr,
    vtep: IpAddr,
    vni: Vni,
) -> Result<Tunnel, Reject> {
    let Some(pmsi) = pmsi else { return Err(Reject::NoTunnel) };
    let id = match pmsi.tunnel {
        PmsiTunnel::IngressReplication(id) => id,
        PmsiTunnel::None => return Err(Reject::NoTunnel),
        PmsiTunnel::Other { .. } => return Err(Reject::NotIngressReplication),
    };
    let endpoint = match next_hop(id, Some(vtep)) {
        None => id,
        Some(Reject::OwnNextHop) => return Err(Reject::OwnNextHop),
        Some(_) => hop,
    };
    Ok(Tunnel { endpoint, wire: wire_vni(pmsi.vni, vni), mismatch: id != hop || originator != hop })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_reasons_agree() {
        let all: Vec<_> = (0..16).filter_map(Reject::from_code).collect();
        assert_eq!(all.len(), 11);
        for reject in all {
            assert_eq!(Reject::from_code(reject as u8), Some(reject));
        }
    }

    #[test]
    fn tags() {
        let vni = |n| Vni::new(n).unwrap();
        for (number, label, good) in [
            (0, 100, true),
            (0, 777, true),
            (100, 777, true),
            (10, 100, true),
            (10, 777, false),
            (10, 0, false),
        ] {
            assert_eq!(tag(number, vni(label), vni(100)).is_none(), good, "{number} {label}");
        }
    }

    #[test]
    fn pmsi_variants() {
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        let (own, hop, vni) = (ip("10.0.0.1"), ip("10.0.0.2"), Vni::new(100).unwrap());
        let pmsi = |tunnel, label| Some(Pmsi { flags: 0, vni: Vni::new(label).unwrap(), tunnel });
        let to = |t: &str| PmsiTunnel::IngressReplication(ip(t));
        let good = |endpoint: &str, wire, mismatch| {
            Ok(Tunnel { endpoint: ip(endpoint), wire: Vni::new(wire).unwrap(), mismatch })
        };
        for (given, expected) in [
            (None, Err(Reject::NoTunnel)),
            (pmsi(PmsiTunnel::None, 100), Err(Reject::NoTunnel)),
            (
                pmsi(PmsiTunnel::Other { kind: 1, len: 0, id: [0; 24] }, 100),
                Err(Reject::NotIngressReplication),
            ),
            (pmsi(to("10.0.0.2"), 100), good("10.0.0.2", 100, false)),
            (pmsi(to("10.0.0.2"), 0), good("10.0.0.2", 100, false)),
            (pmsi(to("10.0.0.2"), 777), good("10.0.0.2", 777, false)),
            (pmsi(to("10.0.0.3"), 100), good("10.0.0.3", 100, true)),
            (pmsi(to("0.0.0.0"), 100), good("10.0.0.2", 100, true)),
            (pmsi(to("2001:db8::1"), 100), good("10.0.0.2", 100, true)),
            (pmsi(to("10.0.0.1"), 100), Err(Reject::OwnNextHop)),
        ] {
            assert_eq!(tunnel(given, hop, hop, own, vni), expected, "{given:?}");
        }
        assert!(tunnel(pmsi(to("10.0.0.2"), 100), hop, ip("10.0.0.9"), own, vni).unwrap().mismatch);
    }
}
