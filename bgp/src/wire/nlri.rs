//! EVPN routes: RFC 7432 §7 (types 1-4), RFC 9136 §3 (type 5), types 6-11 by key only (RFC 9251 §9, 9572 §3).
//!
//! A route on the wire splits into its [`RouteKey`] (what makes it *this* route: the RIB's key) and its [`NlriBody`]
//! (what the same NLRI carries beside it and may change without a withdraw).
//!
//! Keys are canonical, so that two keys are equal exactly if they name the same route: the host bits of a prefix are
//! cleared on the way in (their value is irrelevant, RFC 4271 §4.3), and MAC length is always 48.

mod decode;
mod encode;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use ipnet::IpNet;
use types::{MacAddr, Vni};

pub use decode::{Nlri, NlriDiscard, NlriIter};
pub(super) use decode::{RouterMac, check_framing, check_strict};
pub use encode::{encode, encoded_len};

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

    /// The route distinguisher; `None` for type 11, whose key starts with another route's.
    pub fn rd(&self) -> Option<Rd> {
        match self {
            Self::EthernetAd { rd, .. }
            | Self::MacIp { rd, .. }
            | Self::Imet { rd, .. }
            | Self::EthernetSegment { rd, .. }
            | Self::Prefix { rd, .. } => Some(*rd),
            Self::Opaque { kind: 6..=10, key } => key.first_chunk().copied().map(Rd),
            Self::Opaque { .. } => None,
        }
    }
}

/// Few and whole words to the hasher: the RIB hashes a key for every route that comes in.
impl Hash for RouteKey {
    #[inline]
    fn hash<H: Hasher>(&self, h: &mut H) {
        // The first word says type and address family, so routes of different shape never write the same words.
        let head = |kind: u8, family: u8, low48: [u8; 6]| {
            let [a, b, c, d, e, f] = low48;
            u64::from_be_bytes([kind, family, a, b, c, d, e, f])
        };
        let rd = |rd: &Rd| u64::from_be_bytes(rd.0);
        match self {
            Self::MacIp { rd: r, tag, mac, ip } => {
                h.write_u64(rd(r));
                hash_ip(h, *tag, *ip, |family| head(2, family, mac.0));
            }
            Self::EthernetAd { rd: r, esi, tag } => {
                let [a, b, c, d, e, f, rest @ ..] = esi.0;
                h.write_u64(rd(r));
                h.write_u64(head(1, 0, [a, b, c, d, e, f]));
                h.write_u64(u64::from(u32::from_be_bytes(rest)) << 32 | u64::from(*tag));
            }
            Self::Imet { rd: r, tag, originator } => {
                h.write_u64(rd(r));
                hash_ip(h, *tag, Some(*originator), |family| head(3, family, [0; 6]));
            }
            Self::EthernetSegment { rd: r, esi, originator } => {
                let [a, b, c, d, e, f, rest @ ..] = esi.0;
                h.write_u64(rd(r));
                hash_ip(h, u32::from_be_bytes(rest), Some(*originator), |family| {
                    head(4, family, [a, b, c, d, e, f])
                });
            }
            Self::Prefix { rd: r, tag, prefix } => {
                h.write_u64(rd(r));
                let len = prefix.prefix_len();
                hash_ip(h, *tag, Some(prefix.addr()), |family| head(5, family, [len, 0, 0, 0, 0, 0]));
            }
            Self::Opaque { kind, key } => {
                h.write_u64(head(*kind, 0, [key.len() as u8, 0, 0, 0, 0, 0]));
                h.write(key);
            }
        }
    }
}

/// The head word, then `tag` and the address in one word (IPv4) or three (IPv6).
#[inline]
fn hash_ip<H: Hasher>(h: &mut H, tag: u32, ip: Option<IpAddr>, head: impl FnOnce(u8) -> u64) {
    let tag = u64::from(tag) << 32;
    match ip {
        None => {
            h.write_u64(head(0));
            h.write_u64(tag);
        }
        Some(IpAddr::V4(ip)) => {
            h.write_u64(head(4));
            h.write_u64(tag | u64::from(ip.to_bits()));
        }
        Some(IpAddr::V6(ip)) => {
            let bits = ip.to_bits();
            h.write_u64(head(6));
            h.write_u64(tag);
            h.write_u64((bits >> 64) as u64);
            h.write_u64(bits as u64);
        }
    }
}

/// The notation of FRR's `show bgp l2vpn evpn`, which does not show the RD: `[2]:[0]:[48]:[02:00:00:00:00:01]:[32]:[10.0.0.1]`.
impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = |ip: &IpAddr| if ip.is_ipv4() { 32 } else { 128 };
        let text = match self {
            Self::EthernetAd { esi, tag, .. } => format!("[1]:[{tag}]:[{esi}]"),
            Self::MacIp { tag, mac, ip: None, .. } => format!("[2]:[{tag}]:[48]:[{mac}]"),
            Self::MacIp { tag, mac, ip: Some(ip), .. } => {
                format!("[2]:[{tag}]:[48]:[{mac}]:[{}]:[{ip}]", bits(ip))
            }
            Self::Imet { tag, originator, .. } => {
                format!("[3]:[{tag}]:[{}]:[{originator}]", bits(originator))
            }
            Self::EthernetSegment { esi, originator, .. } => {
                format!("[4]:[{esi}]:[{}]:[{originator}]", bits(originator))
            }
            Self::Prefix { tag, prefix, .. } => {
                format!("[5]:[{tag}]:[{}]:[{}]", prefix.prefix_len(), prefix.addr())
            }
            Self::Opaque { kind, key } => {
                let hex: Vec<_> = key.iter().map(|b| format!("{b:02x}")).collect();
                format!("[{kind}]:[{}]", hex.concat())
            }
        };
        f.pad(&text)
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
///
/// Eight octets, aligned, so that it is copied as one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(align(8))]
pub struct Tail {
    /// How many octets count.
    pub len: u8,
    /// The octets; zero past `len`.
    pub octets: [u8; 6],
}

impl Tail {
    /// None: every type but 6-8.
    pub const EMPTY: Self = Self { len: 0, octets: [0; 6] };
}

#[cfg(test)]
mod tests;
