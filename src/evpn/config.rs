//! What the EVPN part is told: the node, its MAC-VRFs, and how duplicates are detected.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bgp::wire::{Rd, RouteTarget};
use dataplane::intent;
use types::{MacAddr, Vni};

use super::target::ImportRt;

/// The node. It cannot change while running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvpnConfig {
    /// Our AS, for automatic route targets.
    pub asn: u32,
    /// Our router id, for automatic route distinguishers.
    pub router_id: Ipv4Addr,
    /// Our VTEP address. Without one nothing is imported and nothing announced by itself.
    pub vtep: Option<IpAddr>,
    /// UDP port of VXLAN, for VNIs that only clients name.
    pub vxlan_port: u16,
    /// The VNIs are those that others set up ([`super::Evpn::found`]) and those of clients; what is configured is how they
    /// are once they are there.
    pub discover: bool,
    /// The router MAC of our VRFs; `None`: see [`default_router_mac`].
    pub router_mac: Option<MacAddr>,
}

impl EvpnConfig {
    /// What our prefixes carry as Router's MAC, and what is routed here when it arrives for it.
    pub(super) fn router_mac(&self) -> MacAddr {
        self.router_mac.or_else(|| self.vtep.map(default_router_mac)).unwrap_or(MacAddr::ZERO)
    }
}

/// The router MAC of a VTEP that was given none: 02:e5 and the four octets of an IPv4 address, 46 well-mixed bits of an
/// IPv6 address. The same after each restart, so that what others have installed stays right.
pub fn default_router_mac(vtep: IpAddr) -> MacAddr {
    match vtep {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            MacAddr([0x02, 0xe5, a, b, c, d])
        }
        IpAddr::V6(v6) => {
            // The finaliser of SplitMix64, once for each half.
            let mix = |mut z: u64| {
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            };
            let bits = v6.to_bits();
            let (high, low) = ((bits >> 64) as u64, bits as u64);
            let [first, rest @ .., _, _] = mix(mix(high ^ 0x6576_706e_6421_2121) ^ low).to_be_bytes();
            let [b, c, d, e, f] = rest;
            // Locally administered, not a group.
            MacAddr([first & 0xfc | 0x02, b, c, d, e, f])
        }
    }
}

/// One L2 VNI: a MAC-VRF with VLAN-based service (RFC 7432 §6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacVrfConfig {
    /// The VNI; not 0.
    pub vni: Vni,
    /// The route distinguisher; `None`: an automatic one, see [`super::rd`].
    pub rd: Option<Rd>,
    /// Routes with any of these are taken; empty means [`ImportRt::Auto`].
    pub import_rt: Vec<ImportRt>,
    /// Our routes carry all of these; empty means [`super::target::auto_export`].
    pub export_rt: Vec<RouteTarget>,
    /// Local ports, for the dataplane.
    pub interfaces: Vec<String>,
    /// UDP port of VXLAN, for the dataplane.
    pub port: u16,
    /// Host-local VLAN, for the dataplane.
    pub vlan: Option<u16>,
    /// Ingress replication; otherwise no type 3 is sent and nothing is flooded.
    pub flood: bool,
    /// Announce local MACs.
    pub advertise_macs: bool,
    /// ARP and ND suppression, for the dataplane.
    pub arp_suppression: bool,
}

impl MacVrfConfig {
    /// A VNI with every default.
    pub const fn new(vni: Vni) -> Self {
        Self {
            vni,
            rd: None,
            import_rt: Vec::new(),
            export_rt: Vec::new(),
            interfaces: Vec::new(),
            port: 4789,
            vlan: None,
            flood: true,
            advertise_macs: true,
            arp_suppression: true,
        }
    }
}

/// A client: where it is attached, and whose routes its VNI or VRF takes and sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Its place on this host.
    pub client: intent::Client,
    /// Its VNI or VRF takes routes with any of these; empty means [`ImportRt::Auto`].
    pub import_rt: Vec<ImportRt>,
    /// Its routes carry all of these; empty means [`super::target::auto_export`].
    pub export_rt: Vec<RouteTarget>,
}

/// Duplicate MAC detection (RFC 7432 §15.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DuplicateDetection {
    /// N: so many moves between here and elsewhere make a duplicate; 0 turns detection off.
    pub moves: u32,
    /// M: within this time.
    pub window: Duration,
    /// Forgive after this time; `None`: only when told ([`super::Evpn::clear`]).
    pub recover_after: Option<Duration>,
}

impl Default for DuplicateDetection {
    fn default() -> Self {
        Self { moves: 5, window: Duration::from_secs(180), recover_after: None }
    }
}

/// A configuration that cannot be; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// VNI 0 means "none" in label fields.
    #[error("VNI 0 cannot be used")]
    ZeroVni,
    /// The same VNI twice.
    #[error("VNI {0} appears twice")]
    DuplicateVni(Vni),
    /// The same route distinguisher twice.
    #[error("VNI {1} has the route distinguisher of another VNI, {0}")]
    DuplicateRd(Rd, Vni),
    /// More VNIs than there are route distinguishers `router-id:N`.
    #[error("no route distinguisher router-id:N is left for VNI {0}: configure its rd")]
    NoRdLeft(Vni),
}

/// What follows from a changed configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "routes already known are not imported into new VNIs unless they are replayed"]
pub struct Configured {
    /// VNIs or import route targets are new: hand every route of the Loc-RIB to [`super::Evpn::route`] once more.
    pub needs_replay: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn router_macs_are_of_one_node() {
        let mac = |ip: &str| default_router_mac(ip.parse().unwrap());
        assert_eq!(mac("10.0.0.101").to_string(), "02:e5:0a:00:00:65");
        let many: std::collections::BTreeSet<_> = (0..10_000)
            .map(|n| mac(&format!("2001:db8:{:x}::{:x}", n / 100, n % 100)))
            .inspect(|mac| assert!(mac.is_host() && mac.0[0] & 2 == 2))
            .collect();
        assert_eq!(many.len(), 10_000);
        assert_eq!(mac("2001:db8::1"), mac("2001:db8:0::1"), "a function of the address alone");
    }
}
