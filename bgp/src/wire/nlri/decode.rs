//! A run of EVPN NLRI into routes, without allocating for types 1-5.
//!
//! Framing (`type length body`, does each length fit?) is checked for the whole run first, by [`check_framing`]: it
//! decides between a session reset and going on. After that each NLRI stands alone: one that is malformed is skipped,
//! the others are not touched.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use types::{MacAddr, Vni};

use super::{NlriBody, RouteKey, Tail};
use crate::wire::rd::{Esi, Rd};
use crate::wire::read::{exact, take, take_slice, take_u8, take_u32};

/// One NLRI of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nlri {
    /// A route; in a run of withdrawn NLRI only the key has meaning.
    Route(RouteKey, NlriBody),
    /// An announcement that must be treated as a withdraw of this one route, and why.
    Withdraw(RouteKey, &'static str),
    /// Nothing to keep: count it and go on.
    Discard(NlriDiscard),
}

/// Why an NLRI is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NlriDiscard {
    /// A route type nobody here knows.
    UnknownType(u8),
    /// The body is not what its type says it is. Reflecting such a route would reset sessions of others.
    Malformed(u8, &'static str),
    /// Well formed, but no route to keep or to pass on.
    Refused(u8, &'static str),
}

impl fmt::Display for NlriDiscard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType(kind) => write!(f, "unknown route type {kind}"),
            Self::Malformed(kind, why) => write!(f, "malformed type {kind}: {why}"),
            Self::Refused(kind, why) => write!(f, "refused type {kind}: {why}"),
        }
    }
}

/// The Router's MAC beside the routes of an UPDATE, as far as type 5 cares (RFC 9136 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouterMac {
    Absent,
    Host,
    Group,
}

/// How a run is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Reach(RouterMac),
    Unreach,
    TreatAsWithdraw(&'static str),
}

/// The NLRI of a run whose framing has been checked.
#[derive(Clone, Debug)]
pub struct NlriIter<'a> {
    run: &'a [u8],
    mode: Mode,
}

impl<'a> NlriIter<'a> {
    pub(crate) const fn reach(run: &'a [u8], router_mac: RouterMac) -> Self {
        Self { run, mode: Mode::Reach(router_mac) }
    }

    pub(crate) const fn treat_as_withdraw(run: &'a [u8], why: &'static str) -> Self {
        Self { run, mode: Mode::TreatAsWithdraw(why) }
    }

    /// A run of withdrawn routes, or of any for which what RFC 9136 asks of announcements does not matter.
    pub const fn withdrawn(run: &'a [u8]) -> Self {
        Self { run, mode: Mode::Unreach }
    }
}

impl<'a> NlriIter<'a> {
    /// Type and body of the next NLRI.
    #[inline]
    fn split(&mut self) -> Option<(u8, &'a [u8])> {
        let [kind, len] = take(&mut self.run)?;
        // A run that lies about its length was refused long ago; should one get here, it ends here.
        Some((kind, take_slice(&mut self.run, usize::from(len))?))
    }

    /// The usual case, in line; anything else goes through [`decode`].
    #[inline]
    fn usual(&self, kind: u8, body: &[u8]) -> Option<(RouteKey, NlriBody)> {
        if kind == 2 && !matches!(self.mode, Mode::TreatAsWithdraw(_)) { usual_mac_ip(body) } else { None }
    }
}

impl Iterator for NlriIter<'_> {
    type Item = Nlri;

    #[inline]
    fn next(&mut self) -> Option<Nlri> {
        let (kind, body) = self.split()?;
        Some(match self.usual(kind, body) {
            Some((key, body)) => Nlri::Route(key, body),
            None => decode(kind, body, self.mode),
        })
    }

    /// What `for_each` goes through, and the quick way: `f` is called in two places on purpose. Where the two ways
    /// joined, the compiler would put each route together in one place and copy it to another, which takes longer
    /// than reading it.
    #[inline]
    fn fold<B, F: FnMut(B, Nlri) -> B>(mut self, init: B, mut f: F) -> B {
        let mut acc = init;
        while let Some((kind, body)) = self.split() {
            acc = match self.usual(kind, body) {
                Some((key, body)) => f(acc, Nlri::Route(key, body)),
                None => f(acc, decode(kind, body, self.mode)),
            };
        }
        acc
    }
}

/// Whether every length in a run fits; how many NLRI there are.
pub(crate) fn check_framing(mut run: &[u8]) -> Option<usize> {
    let mut count = 0;
    while !run.is_empty() {
        let [_, len] = take(&mut run)?;
        take_slice(&mut run, usize::from(len))?;
        count += 1;
    }
    Some(count)
}

/// Whether no body of type 1-5 is malformed: what a strict session demands.
pub(crate) fn check_strict(run: &[u8]) -> bool {
    !NlriIter::withdrawn(run).any(|n| matches!(n, Nlri::Discard(NlriDiscard::Malformed(1..=5, _))))
}

/// The combinations of RFC 9136 §3.2 that carry no usable overlay index.
fn check_prefix(body: &NlriBody, router_mac: RouterMac) -> Result<(), &'static str> {
    let (esi, gateway) = (!body.esi.is_zero(), body.gateway.is_some());
    match router_mac {
        RouterMac::Group => Err("Router's MAC is a group address"),
        _ if esi && gateway => Err("both ESI and gateway address"),
        RouterMac::Absent if !esi && !gateway && body.label == Vni::ZERO => {
            Err("no overlay index and no label")
        }
        RouterMac::Absent | RouterMac::Host => Ok(()),
    }
}

const LENGTH: &str = "body length";
const ADDRESS_LENGTH: &str = "IP address length";

/// Type 2 as it comes by the million: well formed, without an address or with an IPv4 one. `None`: [`mac_ip`] knows.
#[inline]
fn usual_mac_ip(body: &[u8]) -> Option<(RouteKey, NlriBody)> {
    let (head, rest) = body.split_first_chunk::<30>()?;
    let [.., mac_len, first, _, _, _, _, _, ip_len] = *head;
    if mac_len != 48 || first & 1 != 0 || head[23..29] == [0; 6] {
        return None;
    }
    let (ip, labels) = match ip_len {
        0 => (None, rest),
        32 => {
            let (&ip, labels) = rest.split_first_chunk::<4>()?;
            (Some(IpAddr::V4(ip.into())), labels)
        }
        _ => return None,
    };
    let label = Vni::from_be_bytes(*labels.first_chunk()?);
    let label2 = match labels.len() {
        3 => None,
        6 => Some(Vni::from_be_bytes(*labels.last_chunk()?)),
        _ => return None,
    };
    let mut head = &head[..];
    let (rd, esi, tag) = (Rd(take(&mut head)?), Esi(take(&mut head)?), take_u32(&mut head)?);
    take_u8(&mut head)?;
    let mac = MacAddr(take(&mut head)?);
    Some((
        RouteKey::MacIp { rd, tag, mac, ip },
        NlriBody { esi, label, label2, gateway: None, tail: Tail::EMPTY },
    ))
}

/// Type 2 in general.
fn mac_ip(mut b: &[u8]) -> Result<(RouteKey, NlriBody), NlriDiscard> {
    let malformed = |why| Err(NlriDiscard::Malformed(2, why));
    let fields = (|| {
        let (rd, esi, tag) = (Rd(take(&mut b)?), Esi(take(&mut b)?), take_u32(&mut b)?);
        Some((rd, esi, tag, take_u8(&mut b)?, MacAddr(take(&mut b)?), take_u8(&mut b)?))
    })();
    let Some((rd, esi, tag, mac_len, mac, ip_len)) = fields else { return malformed(LENGTH) };
    if mac_len != 48 {
        return malformed("MAC address length");
    }
    let ip = match ip_len {
        0 => None,
        32 => match take::<4>(&mut b) {
            Some(ip) => Some(IpAddr::from(ip)),
            None => return malformed(LENGTH),
        },
        128 => match take::<16>(&mut b) {
            Some(ip) => Some(IpAddr::from(ip)),
            None => return malformed(LENGTH),
        },
        _ => return malformed(ADDRESS_LENGTH),
    };
    let (label, label2) = match *b {
        [x, y, z] => (Vni::from_be_bytes([x, y, z]), None),
        [x, y, z, p, q, r] => (Vni::from_be_bytes([x, y, z]), Some(Vni::from_be_bytes([p, q, r]))),
        _ => return malformed(LENGTH),
    };
    if !mac.is_host() {
        // FRR would put a group address into the FDB: neither kept nor passed on.
        return Err(NlriDiscard::Refused(2, "not the MAC address of a host"));
    }
    Ok((RouteKey::MacIp { rd, tag, mac, ip }, NlriBody { esi, label, label2, ..NlriBody::default() }))
}

/// Any NLRI.
#[inline(never)]
fn decode(kind: u8, body: &[u8], mode: Mode) -> Nlri {
    match (decode_body(kind, body), mode) {
        (Err(discard), _) => Nlri::Discard(discard),
        (Ok((key, _)), Mode::TreatAsWithdraw(why)) => Nlri::Withdraw(key, why),
        (Ok((key, body)), Mode::Reach(router_mac)) if kind == 5 => match check_prefix(&body, router_mac) {
            Ok(()) => Nlri::Route(key, body),
            Err(why) => Nlri::Withdraw(key, why),
        },
        (Ok((key, body)), Mode::Reach(_) | Mode::Unreach) => Nlri::Route(key, body),
    }
}

fn decode_body(kind: u8, b: &[u8]) -> Result<(RouteKey, NlriBody), NlriDiscard> {
    let malformed = |why| NlriDiscard::Malformed(kind, why);
    match kind {
        1 => ethernet_ad(b).ok_or(malformed(LENGTH)),
        2 => mac_ip(b),
        3 => imet(b).map_err(malformed),
        4 => ethernet_segment(b).map_err(malformed),
        5 => prefix(b),
        6..=11 => opaque(kind, b).ok_or(malformed(LENGTH)),
        _ => Err(NlriDiscard::UnknownType(kind)),
    }
}

fn ethernet_ad(mut b: &[u8]) -> Option<(RouteKey, NlriBody)> {
    let key = RouteKey::EthernetAd { rd: Rd(take(&mut b)?), esi: Esi(take(&mut b)?), tag: take_u32(&mut b)? };
    let label = Vni::from_be_bytes(exact(b)?);
    Some((key, NlriBody { label, ..NlriBody::default() }))
}

fn imet(mut b: &[u8]) -> Result<(RouteKey, NlriBody), &'static str> {
    let rd = Rd(take(&mut b).ok_or(LENGTH)?);
    let tag = take_u32(&mut b).ok_or(LENGTH)?;
    Ok((RouteKey::Imet { rd, tag, originator: originator(b)? }, NlriBody::default()))
}

fn ethernet_segment(mut b: &[u8]) -> Result<(RouteKey, NlriBody), &'static str> {
    let rd = Rd(take(&mut b).ok_or(LENGTH)?);
    let esi = Esi(take(&mut b).ok_or(LENGTH)?);
    Ok((RouteKey::EthernetSegment { rd, esi, originator: originator(b)? }, NlriBody::default()))
}

/// A length in bits and an address, to the end of the body.
fn originator(b: &[u8]) -> Result<IpAddr, &'static str> {
    let (&bits, address) = b.split_first().ok_or(LENGTH)?;
    match bits {
        32 => exact::<4>(address).map(IpAddr::from).ok_or(LENGTH),
        128 => exact::<16>(address).map(IpAddr::from).ok_or(LENGTH),
        _ => Err(ADDRESS_LENGTH),
    }
}

/// Type 5: the length of the body alone decides the family (RFC 9136 §3.1).
fn prefix(mut b: &[u8]) -> Result<(RouteKey, NlriBody), NlriDiscard> {
    let v4 = match b.len() {
        34 => true,
        58 => false,
        _ => return Err(NlriDiscard::Malformed(5, LENGTH)),
    };
    let fields = (|| {
        let (rd, esi) = (Rd(take(&mut b)?), Esi(take(&mut b)?));
        let (tag, bits) = (take_u32(&mut b)?, take_u8(&mut b)?);
        let (prefix, gateway) = if v4 {
            let (prefix, gateway) = (take::<4>(&mut b)?, take::<4>(&mut b)?);
            (Ipv4Net::new(prefix.into(), bits).ok().map(|n| IpNet::V4(n.trunc())), IpAddr::from(gateway))
        } else {
            let (prefix, gateway) = (take::<16>(&mut b)?, take::<16>(&mut b)?);
            (Ipv6Net::new(prefix.into(), bits).ok().map(|n| IpNet::V6(n.trunc())), IpAddr::from(gateway))
        };
        Some((rd, esi, tag, prefix, gateway, Vni::from_be_bytes(take(&mut b)?)))
    })();
    let Some((rd, esi, tag, prefix, gateway, label)) = fields else {
        return Err(NlriDiscard::Malformed(5, LENGTH));
    };
    // Such a prefix names no route, so there is nothing a treat-as-withdraw could withdraw.
    let prefix = prefix.ok_or(NlriDiscard::Refused(5, "prefix length"))?;
    let gateway = Some(gateway).filter(|g| !g.is_unspecified());
    Ok((RouteKey::Prefix { rd, tag, prefix }, NlriBody { esi, label, gateway, ..NlriBody::default() }))
}

/// How many octets after the key an opaque type has: flags (6, 7); reserved, maximum response time, flags (8).
pub(super) const fn tail_len(kind: u8) -> usize {
    match kind {
        6 | 7 => 1,
        8 => 6,
        _ => 0,
    }
}

/// Types 6-11: enough is read to know the body is whole, nothing is understood.
fn opaque(kind: u8, b: &[u8]) -> Option<(RouteKey, NlriBody)> {
    let split = b.len().checked_sub(tail_len(kind))?;
    let (key, tail) = b.split_at(split);
    let mut rest = key;
    match kind {
        6 | 10 => {
            take::<12>(&mut rest)?;
            group_and_originator(rest)?;
        }
        7 | 8 => {
            take::<22>(&mut rest)?;
            group_and_originator(rest)?;
        }
        9 if key.len() == 20 => {}
        // A route key of another type and an originator; how they share the body only the types know.
        11 if key.len() > 5 => {}
        _ => return None,
    }
    let mut octets = [0; 6];
    octets.get_mut(..tail.len())?.copy_from_slice(tail);
    let tail = Tail { len: tail.len() as u8, octets };
    Some((RouteKey::Opaque { kind, key: key.into() }, NlriBody { tail, ..NlriBody::default() }))
}

/// Source, group and originator, each with its length in bits, to the end.
fn group_and_originator(mut b: &[u8]) -> Option<()> {
    for wildcard in [true, true, false] {
        let octets = match take_u8(&mut b)? {
            0 if wildcard => 0,
            32 => 4,
            128 => 16,
            _ => return None,
        };
        take_slice(&mut b, octets)?;
    }
    b.is_empty().then_some(())
}
