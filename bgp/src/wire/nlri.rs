//! EVPN routes: RFC 7432 §7 (types 1-4), RFC 9136 §3 (type 5), types 6-11 by key only (RFC 9251, 9572).
//!
//! A route on the wire splits into its [`RouteKey`] (what makes it *this* route: the RIB's key) and its [`NlriBody`]
//! (what the same NLRI carries beside it and may change without a withdraw).

use std::net::IpAddr;

use ipnet::IpNet;
use types::{MacAddr, Vni};

use super::rd::{Esi, Rd};

/// What identifies an EVPN route (reference: RFC 7432 §7, "for the purpose of BGP route key processing").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKey {
    /// Type 1, Ethernet Auto-Discovery.
    EthernetAd {
        /// Route distinguisher.
        rd: Rd,
        /// Ethernet segment.
        esi: Esi,
        /// Ethernet tag; `u32::MAX` for the per-segment route.
        tag: u32,
    },
    /// Type 2, MAC/IP advertisement.
    MacIp {
        /// Route distinguisher.
        rd: Rd,
        /// Ethernet tag; zero for VLAN-based service.
        tag: u32,
        /// The host's MAC.
        mac: MacAddr,
        /// The host's address, where the route binds one.
        ip: Option<IpAddr>,
    },
    /// Type 3, Inclusive Multicast Ethernet Tag.
    Imet {
        /// Route distinguisher.
        rd: Rd,
        /// Ethernet tag.
        tag: u32,
        /// The originating router.
        originator: IpAddr,
    },
    /// Type 4, Ethernet Segment.
    EthernetSegment {
        /// Route distinguisher.
        rd: Rd,
        /// Ethernet segment.
        esi: Esi,
        /// The originating router.
        originator: IpAddr,
    },
    /// Type 5, IP prefix.
    Prefix {
        /// Route distinguisher.
        rd: Rd,
        /// Ethernet tag.
        tag: u32,
        /// The prefix, host bits zero.
        prefix: IpNet,
    },
    /// Types 6-11, reflected without being understood: the octets of the body that are key.
    Opaque {
        /// Route type, 6 ..= 11.
        kind: u8,
        /// The key octets.
        key: Box<[u8]>,
    },
}

impl RouteKey {
    /// The EVPN route type.
    pub const fn route_type(&self) -> u8 {
        match self {
            Self::EthernetAd { .. } => 1,
            Self::MacIp { .. } => 2,
            Self::Imet { .. } => 3,
            Self::EthernetSegment { .. } => 4,
            Self::Prefix { .. } => 5,
            Self::Opaque { kind, .. } => *kind,
        }
    }
}

/// What an NLRI carries beside its key. A new body for a known key is an implicit replace.
///
/// Fields that a route type does not have are zero or `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NlriBody {
    /// Types 2 and 5 (type 1 and 4 have it in the key).
    pub esi: Esi,
    /// Types 1, 2 and 5: the first label field.
    pub label: Vni,
    /// Type 2: the second label field (symmetric IRB, RFC 9135 §4).
    pub label2: Option<Vni>,
    /// Type 5: the gateway address, `None` when all zeros.
    pub gateway: Option<IpAddr>,
    /// Types 6-8: the octets after the key.
    pub tail: Tail,
}

/// Up to six octets that follow the key in route types 6-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tail {
    /// How many octets count.
    pub len: u8,
    /// The octets; zero past `len`.
    pub octets: [u8; 6],
}
