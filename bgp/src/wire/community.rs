//! Extended communities (RFC 4360) as EVPN uses them: route targets, encapsulation, MAC mobility and the rest of
//! RFC 7432 §7, RFC 8365 §5, RFC 9135 §8, RFC 9047, RFC 8584.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use types::MacAddr;

/// Eight octets; compared and stored whole, looked into by the methods below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtCommunity(pub [u8; 8]);

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

    /// Router's MAC (RFC 9135 §8.1).
    pub const fn router_mac(mac: MacAddr) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        Self([0x06, 0x03, a, b, c, d, e, f])
    }

    /// The route target in here, if it is one: type 0, 1 or 2, sub-type 2.
    pub const fn as_route_target(self) -> Option<RouteTarget> {
        if matches!(self.0, [0x00..=0x02, 0x02, ..]) { Some(RouteTarget(self.0)) } else { None }
    }

    /// The tunnel type, if this is an encapsulation community.
    pub const fn as_encapsulation(self) -> Option<u16> {
        match self.0 {
            [0x03, 0x0c, .., hi, lo] => Some(u16::from_be_bytes([hi, lo])),
            _ => None,
        }
    }

    /// Sequence and sticky flag, if this is MAC mobility.
    pub const fn as_mac_mobility(self) -> Option<(u32, bool)> {
        match self.0 {
            [0x06, 0x00, flags, _, a, b, c, d] => Some((u32::from_be_bytes([a, b, c, d]), flags & 1 == 1)),
            _ => None,
        }
    }

    /// ARP/ND flags (RFC 9047 §2), if this is that.
    pub const fn as_arp_nd(self) -> Option<ArpNd> {
        match self.0 {
            [0x06, 0x08, flags, ..] => Some(ArpNd(flags)),
            _ => None,
        }
    }

    /// May leave the AS (RFC 4360 §2: the second bit of the type says it may not).
    pub const fn is_transitive(self) -> bool {
        self.0[0] & 0x40 == 0
    }

    /// The MAC, if this is Router's MAC.
    pub const fn as_router_mac(self) -> Option<MacAddr> {
        match self.0 {
            [0x06, 0x03, a, b, c, d, e, f] => Some(MacAddr([a, b, c, d, e, f])),
            _ => None,
        }
    }
}

/// Flags of the ARP/ND community (RFC 9047 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A route target; two are the same only if all eight octets are (RFC 4360 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteTarget(pub [u8; 8]);

impl RouteTarget {
    /// `asn:number`: type 0 when the AS fits two octets, else type 2 with its low 16 bits of `number`.
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
