//! Path attributes as values (RFC 4271 §5, 1997, 4360, 4456, 4760, 6514, 8092).

use std::net::{IpAddr, Ipv4Addr};

use types::Vni;

pub use super::as_path::{AsPath, AsSegment};
use super::community::{ExtCommunity, RouteTarget};

/// Everything an UPDATE says of its routes but the NLRI themselves. Routes with equal attributes share one of these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH, AS4_PATH already merged in (RFC 6793 §4.2.3).
    pub as_path: AsPath,
    /// The next hop of MP_REACH_NLRI: with VXLAN, the VTEP.
    pub next_hop: IpAddr,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF; only ever present from iBGP or on routes of our own.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE.
    pub atomic_aggregate: bool,
    /// AGGREGATOR: AS and router.
    pub aggregator: Option<(u32, Ipv4Addr)>,
    /// ORIGINATOR_ID (RFC 4456).
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456).
    pub cluster_list: Vec<Ipv4Addr>,
    /// COMMUNITIES (RFC 1997).
    pub communities: Vec<u32>,
    /// EXTENDED COMMUNITIES (RFC 4360), in the order received.
    pub ext_communities: Vec<ExtCommunity>,
    /// LARGE_COMMUNITY (RFC 8092).
    pub large_communities: Vec<[u32; 3]>,
    /// PMSI_TUNNEL (RFC 6514 §5).
    pub pmsi: Option<Pmsi>,
    /// Everything carried without being understood: tunnel encapsulation (RFC 9012) and unknown optional transitive
    /// attributes, the latter with the partial bit already set. Sorted by type code.
    pub opaque: Vec<RawAttr>,
    /// Which of the optional transitive attributes above, by type code, came with the partial bit: somebody on the way
    /// did not know them. Once set it stays set (RFC 4271 §5). Those in `opaque` have it in their flags.
    pub partial: u64,
}

impl Attributes {
    /// Attributes of a route of our own: origin INCOMPLETE, an empty AS path and nothing else.
    pub fn local(next_hop: IpAddr) -> Self {
        Self {
            origin: Origin::Incomplete,
            as_path: AsPath::default(),
            next_hop,
            med: None,
            local_pref: None,
            atomic_aggregate: false,
            aggregator: None,
            originator_id: None,
            cluster_list: Vec::new(),
            communities: Vec::new(),
            ext_communities: Vec::new(),
            large_communities: Vec::new(),
            pmsi: None,
            opaque: Vec::new(),
            partial: 0,
        }
    }

    /// The route targets, in order.
    pub fn route_targets(&self) -> impl Iterator<Item = RouteTarget> + '_ {
        self.ext_communities.iter().filter_map(|c| c.as_route_target())
    }

    /// MAC mobility: sequence and sticky flag; the first community counts, none means (0, false).
    pub fn mac_mobility(&self) -> (u32, bool) {
        self.ext_communities.iter().find_map(|c| c.as_mac_mobility()).unwrap_or((0, false))
    }
}

/// Attribute type codes (IANA "BGP Path Attributes").
pub mod code {
    #![allow(missing_docs, reason = "the names are the documentation")]
    pub const ORIGIN: u8 = 1;
    pub const AS_PATH: u8 = 2;
    pub const NEXT_HOP: u8 = 3;
    pub const MED: u8 = 4;
    pub const LOCAL_PREF: u8 = 5;
    pub const ATOMIC_AGGREGATE: u8 = 6;
    pub const AGGREGATOR: u8 = 7;
    pub const COMMUNITIES: u8 = 8;
    pub const ORIGINATOR_ID: u8 = 9;
    pub const CLUSTER_LIST: u8 = 10;
    pub const MP_REACH_NLRI: u8 = 14;
    pub const MP_UNREACH_NLRI: u8 = 15;
    pub const EXT_COMMUNITIES: u8 = 16;
    pub const AS4_PATH: u8 = 17;
    pub const AS4_AGGREGATOR: u8 = 18;
    pub const PMSI_TUNNEL: u8 = 22;
    pub const TUNNEL_ENCAP: u8 = 23;
    pub const LARGE_COMMUNITIES: u8 = 32;
}

/// Attribute flag bits (RFC 4271 §4.3).
pub mod flag {
    #![allow(missing_docs, reason = "the names are the documentation")]
    pub const OPTIONAL: u8 = 0x80;
    pub const TRANSITIVE: u8 = 0x40;
    pub const PARTIAL: u8 = 0x20;
    pub const EXTENDED: u8 = 0x10;
}

/// ORIGIN, lower preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// 0
    Igp,
    /// 1
    Egp,
    /// 2
    Incomplete,
}

/// PMSI_TUNNEL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pmsi {
    /// Flags; bit 0 is "leaf information required".
    pub flags: u8,
    /// The label field: with VXLAN, the VNI, unshifted.
    pub vni: Vni,
    /// What kind of tunnel.
    pub tunnel: PmsiTunnel,
}

/// The tunnel of a [`Pmsi`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PmsiTunnel {
    /// Type 0: no tunnel information.
    None,
    /// Type 6: ingress replication to this endpoint.
    IngressReplication(IpAddr),
    /// Another type; carried, not used. An attribute whose identifier is longer than 24 octets (mLDP with IPv6) is
    /// among [`Attributes::opaque`] instead.
    Other {
        /// The tunnel type.
        kind: u8,
        /// Length of the identifier.
        len: u8,
        /// The identifier; zero past `len`.
        id: [u8; 24],
    },
}

/// An attribute carried as it came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawAttr {
    /// Type code.
    pub code: u8,
    /// Flag octet, without the extended-length bit (which the encoder sets as needed).
    pub flags: u8,
    /// The value.
    pub value: Box<[u8]>,
}
