//! Extended communities (RFC 4360) as EVPN uses them: route targets and site of origin (RFC 4360 §4, §5), encapsulation
//! (RFC 9012 §4.1), those of RFC 7432 §7 (MAC mobility, ESI label, ES-Import, default gateway), Router's MAC (RFC 9135
//! §8.1), ARP/ND (RFC 9047 §2), layer 2 attributes (RFC 8214 §3.1), E-Tree (RFC 8317 §5.1), DF election (RFC 8584
//! §2.2), multicast flags (RFC 9251 §9.4).

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use types::{MacAddr, Vni};

/// Eight octets; compared and stored whole, looked into by the methods below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtCommunity(pub [u8; 8]);

/// Layer 2 attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L2Attributes {
    /// Control flags: P 0x01, B 0x02, C 0x04.
    pub flags: u16,
    /// Layer 2 MTU; zero means not told.
    pub mtu: u16,
}

/// DF election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DfElection {
    /// 0 modulo, 1 highest random weight, 2 preference; 5 bits.
    pub algorithm: u8,
    /// Capabilities: AC-influenced 0x4000, don't-preempt 0x8000.
    pub capabilities: u16,
    /// The preference, where the algorithm has one.
    pub preference: u16,
}

/// Flags of the ARP/ND community.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArpNd(pub u8);

impl ArpNd {
    /// R: the host is a router.
    pub const fn router(self) -> bool {
        self.0 & 0x01 != 0
    }

    /// O: the binding overrides what a neighbour cache holds.
    pub const fn overrides(self) -> bool {
        self.0 & 0x02 != 0
    }

    /// I: the binding is immutable.
    pub const fn immutable(self) -> bool {
        self.0 & 0x08 != 0
    }
}

impl ExtCommunity {
    /// Encapsulation VXLAN (RFC 9012 §4.1, tunnel type 8).
    pub const VXLAN: Self = Self([0x03, 0x0c, 0, 0, 0, 0, 0, 8]);
    /// Default gateway (RFC 7432 §7.8).
    pub const DEFAULT_GATEWAY: Self = Self([0x03, 0x0d, 0, 0, 0, 0, 0, 0]);

    /// MAC mobility (RFC 7432 §7.7).
    pub fn mac_mobility(sequence: u32, sticky: bool) -> Self {
        let [a, b, c, d] = sequence.to_be_bytes();
        Self([0x06, 0x00, u8::from(sticky), 0, a, b, c, d])
    }

    /// ESI label (RFC 7432 §7.5); zero with VXLAN.
    pub fn esi_label(single_active: bool, label: Vni) -> Self {
        let [a, b, c] = label.to_be_bytes();
        Self([0x06, 0x01, u8::from(single_active), 0, 0, a, b, c])
    }

    /// ES-Import route target (RFC 7432 §7.6).
    pub const fn es_import(mac: MacAddr) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        Self([0x06, 0x02, a, b, c, d, e, f])
    }

    /// Router's MAC (RFC 9135 §8.1).
    pub const fn router_mac(mac: MacAddr) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        Self([0x06, 0x03, a, b, c, d, e, f])
    }

    /// ARP/ND (RFC 9047 §2).
    pub const fn arp_nd(flags: ArpNd) -> Self {
        Self([0x06, 0x08, flags.0, 0, 0, 0, 0, 0])
    }

    /// May leave the AS (RFC 4360 §2: the second bit of the type says it may not).
    pub const fn is_transitive(self) -> bool {
        self.0[0] & 0x40 == 0
    }

    /// The route target in here, if it is one: type 0, 1 or 2, sub-type 2.
    pub const fn as_route_target(self) -> Option<RouteTarget> {
        if matches!(self.0, [0x00..=0x02, 0x02, ..]) { Some(RouteTarget(self.0)) } else { None }
    }

    /// The route target that has the same administrator and number as this site of origin, if it is one.
    pub const fn as_site_of_origin(self) -> Option<RouteTarget> {
        match self.0 {
            [kind @ 0x00..=0x02, 0x03, a, b, c, d, e, f] => Some(RouteTarget([kind, 0x02, a, b, c, d, e, f])),
            _ => None,
        }
    }

    /// The tunnel type, if this is an encapsulation community.
    pub const fn as_encapsulation(self) -> Option<u16> {
        match self.0 {
            [0x03, 0x0c, .., hi, lo] => Some(u16::from_be_bytes([hi, lo])),
            _ => None,
        }
    }

    /// Whether this is the default gateway community.
    pub const fn is_default_gateway(self) -> bool {
        matches!(self.0, [0x03, 0x0d, ..])
    }

    /// Sequence and sticky flag, if this is MAC mobility.
    pub const fn as_mac_mobility(self) -> Option<(u32, bool)> {
        match self.0 {
            [0x06, 0x00, flags, _, a, b, c, d] => Some((u32::from_be_bytes([a, b, c, d]), flags & 1 == 1)),
            _ => None,
        }
    }

    /// Single-active flag and label, if this is the ESI label.
    pub const fn as_esi_label(self) -> Option<(bool, Vni)> {
        match self.0 {
            [0x06, 0x01, flags, _, _, a, b, c] => Some((flags & 1 == 1, Vni::from_be_bytes([a, b, c]))),
            _ => None,
        }
    }

    /// The six octets of an ESI, if this is ES-Import.
    pub const fn as_es_import(self) -> Option<MacAddr> {
        match self.0 {
            [0x06, 0x02, a, b, c, d, e, f] => Some(MacAddr([a, b, c, d, e, f])),
            _ => None,
        }
    }

    /// The MAC, if this is Router's MAC.
    pub const fn as_router_mac(self) -> Option<MacAddr> {
        match self.0 {
            [0x06, 0x03, a, b, c, d, e, f] => Some(MacAddr([a, b, c, d, e, f])),
            _ => None,
        }
    }

    /// Layer 2 attributes, if this is that.
    pub const fn as_l2_attributes(self) -> Option<L2Attributes> {
        match self.0 {
            [0x06, 0x04, a, b, c, d, ..] => {
                Some(L2Attributes { flags: u16::from_be_bytes([a, b]), mtu: u16::from_be_bytes([c, d]) })
            }
            _ => None,
        }
    }

    /// Leaf flag and leaf label, if this is E-Tree.
    pub const fn as_etree(self) -> Option<(bool, Vni)> {
        match self.0 {
            [0x06, 0x05, flags, _, _, a, b, c] => Some((flags & 1 == 1, Vni::from_be_bytes([a, b, c]))),
            _ => None,
        }
    }

    /// Algorithm, capabilities and preference, if this is DF election.
    pub const fn as_df_election(self) -> Option<DfElection> {
        match self.0 {
            [0x06, 0x06, algorithm, a, b, _, c, d] => Some(DfElection {
                algorithm: algorithm & 0x1f,
                capabilities: u16::from_be_bytes([a, b]),
                preference: u16::from_be_bytes([c, d]),
            }),
            _ => None,
        }
    }

    /// ARP/ND flags, if this is that.
    pub const fn as_arp_nd(self) -> Option<ArpNd> {
        match self.0 {
            [0x06, 0x08, flags, ..] => Some(ArpNd(flags)),
            _ => None,
        }
    }

    /// Flags (IGMP proxy 0x01, MLD proxy 0x02), if this is multicast flags.
    pub const fn as_multicast_flags(self) -> Option<u16> {
        match self.0 {
            [0x06, 0x09, a, b, ..] => Some(u16::from_be_bytes([a, b])),
            _ => None,
        }
    }
}

/// The name of a tunnel type (IANA "BGP Tunnel Encapsulation Attribute Tunnel Types"), where EVPN uses it.
const fn encapsulation(kind: u16) -> Option<&'static str> {
    Some(match kind {
        8 => "vxlan",
        9 => "nvgre",
        10 => "mpls",
        11 => "mpls-in-gre",
        12 => "vxlan-gpe",
        19 => "geneve",
        _ => return None,
    })
}

/// As `show` prints it: `rt:65000:100`, `encap:vxlan`, `mac-mobility:3,sticky`, `router-mac:02:00:00:00:00:01`; what has no
/// name as its eight octets: `0x030b000000000001`.
impl fmt::Display for ExtCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |set: bool, name: &'static str| if set { name } else { "" };
        let text = if let Some(rt) = self.as_route_target() {
            format!("rt:{rt}")
        } else if let Some(soo) = self.as_site_of_origin() {
            format!("soo:{soo}")
        } else if let Some(kind) = self.as_encapsulation() {
            encapsulation(kind).map_or_else(|| format!("encap:{kind}"), |name| format!("encap:{name}"))
        } else if self.is_default_gateway() {
            "default-gateway".to_owned()
        } else if let Some((sequence, sticky)) = self.as_mac_mobility() {
            format!("mac-mobility:{sequence}{}", flag(sticky, ",sticky"))
        } else if let Some((single_active, label)) = self.as_esi_label() {
            format!("esi-label:{label}{}", flag(single_active, ",single-active"))
        } else if let Some(mac) = self.as_es_import() {
            format!("es-import:{mac}")
        } else if let Some(mac) = self.as_router_mac() {
            format!("router-mac:{mac}")
        } else if let Some(l2) = self.as_l2_attributes() {
            format!("l2-attributes:mtu={},flags={:#x}", l2.mtu, l2.flags)
        } else if let Some((leaf, label)) = self.as_etree() {
            format!("e-tree:{label}{}", flag(leaf, ",leaf"))
        } else if let Some(df) = self.as_df_election() {
            format!("df-election:algorithm={},preference={}", df.algorithm, df.preference)
        } else if let Some(nd) = self.as_arp_nd() {
            let flags =
                [flag(nd.router(), "R"), flag(nd.overrides(), "O"), flag(nd.immutable(), "I")].concat();
            format!("arp-nd:{}", if flags.is_empty() { "-" } else { &flags })
        } else if let Some(flags) = self.as_multicast_flags() {
            format!("multicast-flags:{flags:#x}")
        } else {
            format!("{:#018x}", u64::from_be_bytes(self.0))
        };
        f.pad(&text)
    }
}

/// A route target; two are the same only if all eight octets are (RFC 4360 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteTarget(pub [u8; 8]);

impl RouteTarget {
    /// `asn:number`: type 0 when the AS fits two octets, else type 2, whose `number` has 16 bits.
    pub fn new(asn: u32, number: u32) -> Option<Self> {
        let [a, b, c, d] = number.to_be_bytes();
        if let Ok(asn) = u16::try_from(asn) {
            let [x, y] = asn.to_be_bytes();
            Some(Self([0x00, 0x02, x, y, a, b, c, d]))
        } else {
            let [w, x, y, z] = asn.to_be_bytes();
            (number <= 0xffff).then_some(Self([0x02, 0x02, w, x, y, z, c, d]))
        }
    }

    /// As an extended community.
    pub const fn community(self) -> ExtCommunity {
        ExtCommunity(self.0)
    }

    /// The number after the administrator: 32 bits in type 0, 16 in the others.
    pub const fn number(self) -> u32 {
        let [kind, _, _, _, c, d, e, f] = self.0;
        if kind == 0 { u32::from_be_bytes([c, d, e, f]) } else { u32::from_be_bytes([0, 0, e, f]) }
    }
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, _, a, b, c, d, e, g] = self.0;
        let text = match kind {
            0 => format!("{}:{}", u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, g])),
            1 => format!("{}:{}", Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([e, g])),
            _ => format!("{}:{}", u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, g])),
        };
        f.pad(&text)
    }
}

/// Not `asn:number` or `ip:number` within range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseRtError;

impl fmt::Display for ParseRtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a route target is written 65000:100, 10.0.0.1:100 (0-65535) or 4200000000:100 (0-65535)")
    }
}

impl std::error::Error for ParseRtError {}

impl FromStr for RouteTarget {
    type Err = ParseRtError;
    fn from_str(s: &str) -> Result<Self, ParseRtError> {
        let (admin, number) = s.split_once(':').ok_or(ParseRtError)?;
        if let Ok(ip) = admin.parse::<Ipv4Addr>() {
            let [a, b, c, d] = ip.octets();
            let [x, y] = number.parse::<u16>().map_err(|_| ParseRtError)?.to_be_bytes();
            return Ok(Self([0x01, 0x02, a, b, c, d, x, y]));
        }
        let asn = admin.parse().map_err(|_| ParseRtError)?;
        let number = number.parse().map_err(|_| ParseRtError)?;
        Self::new(asn, number).ok_or(ParseRtError)
    }
}

#[cfg(test)]
mod tests;
