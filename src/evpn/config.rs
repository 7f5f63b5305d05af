//! What the EVPN part is told: the node, its MAC-VRFs, and how duplicates are detected.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bgp::wire::{Rd, RouteTarget};
use dataplane::intent;
use types::Vni;

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
}

/// One L2 VNI: a MAC-VRF with VLAN-based service (RFC 7432 §6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacVrfConfig {
    /// The VNI; not 0.
    pub vni: Vni,
    /// The route distinguisher; `None`: see [`super::rd`].
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
