//! Path attributes from the wire, each fault answered as RFC 7606 §7 wants it (RFC 9012 §13 for tunnel encapsulation,
//! RFC 6793 §6 for AS4_*, RFC 7607 for AS 0, RFC 9047 §3 for ARP/ND).
//!
//! [`Reader`] walks the attributes of one UPDATE once and gathers; what the gathered faults mean for the UPDATE is
//! decided in [`super::update`], which knows the routes.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use types::Vni;

use super::as_path::{AsPath, AsSegment};
use super::attr::{Attributes, Origin, Pmsi, PmsiTunnel, RawAttr, code, flag};
use super::community::ExtCommunity;
use super::fault::{Problem, Reason};
use super::notification::Notification;
use super::read::{exact, take, take_slice, take_u8, take_u16};
use super::update::DecodeContext;
use super::{AFI_L2VPN, AS_TRANS, SAFI_EVPN};

/// What is done about one attribute.
enum Fault {
    /// Go on as if the attribute were not there (RFC 7606 §2, attribute discard).
    Discard,
    /// The routes of the UPDATE are withdrawn.
    Withdraw(Problem),
    /// No way to tell the routes: the session ends with UPDATE Message Error and this subcode.
    Reset(u8),
}

/// The attributes of one UPDATE as far as they have been read.
pub(super) struct Reader<'a> {
    ctx: &'a DecodeContext,
    /// The body of the UPDATE.
    message: &'a Bytes,
    pub(super) attributes: Attributes,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<(u32, Ipv4Addr)>,
    /// Type codes met, one bit each.
    seen: [u64; 4],
    /// EVPN routes announced, from MP_REACH_NLRI.
    pub(super) reach: Option<Bytes>,
    /// EVPN routes withdrawn, from MP_UNREACH_NLRI.
    pub(super) unreach: Option<Bytes>,
    /// MP_REACH_NLRI announces something, of whatever family.
    pub(super) announces: bool,
    /// MP attributes of other families, which nobody asked for.
    pub(super) foreign: u16,
    /// How many attributes there were, MP_UNREACH_NLRI not counted.
    pub(super) count: usize,
    /// The first fault that wants treat-as-withdraw, and the attribute that has it.
    pub(super) fault: Option<(Reason, Bytes)>,
    pub(super) discards: u16,
}

impl<'a> Reader<'a> {
    pub(super) fn new(ctx: &'a DecodeContext, message: &'a Bytes) -> Self {
        Self {
            ctx,
            message,
            attributes: Attributes::local(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            as4_path: None,
            as4_aggregator: None,
            seen: [0; 4],
            reach: None,
            unreach: None,
            announces: false,
            foreign: 0,
            count: 0,
            fault: None,
            discards: 0,
        }
    }

    pub(super) fn has(&self, code: u8) -> bool {
        self.seen[usize::from(code >> 6)] >> (code & 63) & 1 == 1
    }

    /// Notes a fault that wants treat-as-withdraw. The first is the one told of.
    pub(super) fn withdraw(&mut self, attribute: u8, problem: Problem, octets: Bytes) {
        self.fault.get_or_insert((Reason::new(attribute, problem), octets));
    }

    /// Reads all attributes, `rest` being where they are in the message. An error ends the session.
    pub(super) fn read(&mut self, mut rest: &[u8]) -> Result<(), Notification> {
        let message = self.message;
        while !rest.is_empty() {
            let start = rest;
            let Some((flags, code, value)) = header(&mut rest) else {
                let code = start.get(1).copied().unwrap_or(0);
                if matches!(code, code::MP_REACH_NLRI | code::MP_UNREACH_NLRI) {
                    // Routes are in there, and nobody can tell which.
                    return Err(Notification::update(1, Bytes::new()));
                }
                // RFC 7606 §4: no further attribute can be told apart, those before it stand.
                self.withdraw(code, Problem::Overrun, message.slice_ref(start));
                break;
            };
            let octets = &start[..start.len() - rest.len()];
            if self.has(code) {
                if matches!(code, code::MP_REACH_NLRI | code::MP_UNREACH_NLRI) {
                    return Err(Notification::update(1, Bytes::new()));
                }
                self.discards = self.discards.saturating_add(1);
                continue;
            }
            self.seen[usize::from(code >> 6)] |= 1 << (code & 63);
            self.count += usize::from(code != code::MP_UNREACH_NLRI);
            match self.attribute(flags, code, value) {
                Ok(()) => {}
                Err(Fault::Discard) => self.discards = self.discards.saturating_add(1),
                Err(Fault::Withdraw(problem)) => self.withdraw(code, problem, message.slice_ref(octets)),
                Err(Fault::Reset(subcode)) => {
                    return Err(Notification::update(subcode, message.slice_ref(octets)));
                }
            }
        }
        Ok(())
    }

    /// Puts together what two-octet speakers tear apart, and sorts what is carried along.
    pub(super) fn finish(mut self) -> Attributes {
        if !self.ctx.as4 {
            self.merge_as4();
        }
        self.attributes.opaque.sort_unstable_by_key(|a| a.code);
        self.attributes
    }

    /// RFC 6793 §4.2.3.
    fn merge_as4(&mut self) {
        // Without AS4_AGGREGATOR the aggregator's AS fits two octets, which says nothing of AS4_PATH.
        if let (Some((asn, _)), Some(aggregator)) = (self.attributes.aggregator, self.as4_aggregator) {
            if asn != u32::from(AS_TRANS) {
                // Aggregated by a two-octet speaker since: AS4_* tell of the routes before that.
                return;
            }
            self.attributes.aggregator = Some(aggregator);
        }
        if let Some(as4) = self.as4_path.take() {
            let two = std::mem::take(&mut self.attributes.as_path);
            self.attributes.as_path = two.merge_as4(as4);
        }
    }

    fn attribute(&mut self, flags: u8, code: u8, value: &[u8]) -> Result<(), Fault> {
        // RFC 7606 §3 c: only these two bits can conflict; extended length and partial are never wrong.
        let class = flags & (flag::OPTIONAL | flag::TRANSITIVE);
        let wanted = match code {
            code::ORIGIN | code::AS_PATH | code::NEXT_HOP | code::LOCAL_PREF | code::ATOMIC_AGGREGATE => {
                flag::TRANSITIVE
            }
            code::MED
            | code::ORIGINATOR_ID
            | code::CLUSTER_LIST
            | code::MP_REACH_NLRI
            | code::MP_UNREACH_NLRI => flag::OPTIONAL,
            code::AGGREGATOR
            | code::COMMUNITIES
            | code::EXT_COMMUNITIES
            | code::AS4_PATH
            | code::AS4_AGGREGATOR
            | code::PMSI_TUNNEL
            | code::TUNNEL_ENCAP
            | code::LARGE_COMMUNITIES => flag::OPTIONAL | flag::TRANSITIVE,
            _ if class & flag::OPTIONAL == 0 => return Err(Fault::Reset(2)),
            _ => class,
        };
        if class != wanted {
            return Err(match code {
                code::MP_REACH_NLRI | code::MP_UNREACH_NLRI => Fault::Reset(4),
                _ => Fault::Withdraw(Problem::Flags),
            });
        }
        match code {
            code::MP_REACH_NLRI => return self.mp_reach(value).ok_or(Fault::Reset(9)),
            code::MP_UNREACH_NLRI => return self.mp_unreach(value).ok_or(Fault::Reset(9)),
            // RFC 7606 §7.5, 7.9, 7.10: not from outside the AS, whatever they say.
            code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST if self.ctx.ebgp => {
                return Err(Fault::Discard);
            }
            _ => {}
        }
        self.value(flags, code, value)?;
        if flags & flag::PARTIAL != 0
            && match code {
                code::AGGREGATOR | code::COMMUNITIES | code::EXT_COMMUNITIES | code::LARGE_COMMUNITIES => {
                    true
                }
                code::PMSI_TUNNEL => self.attributes.pmsi.is_some(),
                _ => false,
            }
        {
            self.attributes.partial |= 1 << code;
        }
        Ok(())
    }

    fn value(&mut self, flags: u8, code: u8, value: &[u8]) -> Result<(), Fault> {
        const LENGTH: Fault = Fault::Withdraw(Problem::Length);
        const VALUE: Fault = Fault::Withdraw(Problem::Value);
        let u32_value = || exact(value).map(u32::from_be_bytes).ok_or(LENGTH);
        let a = &mut self.attributes;
        match code {
            code::ORIGIN => {
                let [origin] = exact(value).ok_or(LENGTH)?;
                a.origin = match origin {
                    0 => Origin::Igp,
                    1 => Origin::Egp,
                    2 => Origin::Incomplete,
                    _ => return Err(VALUE),
                };
            }
            code::AS_PATH => {
                let path = as_path(value, self.ctx.as4).ok_or(VALUE)?;
                // RFC 5065 §5: nobody outside sends these, and evpnd is in no confederation.
                if path.contains(0) || self.ctx.ebgp && path.0.iter().any(AsSegment::is_confed) {
                    return Err(VALUE);
                }
                a.as_path = path;
            }
            // RFC 4760 §3: means nothing for the routes in MP_REACH_NLRI.
            code::NEXT_HOP => u32_value().map(drop)?,
            code::MED => a.med = Some(u32_value()?),
            code::LOCAL_PREF => a.local_pref = Some(u32_value()?),
            code::ATOMIC_AGGREGATE if value.is_empty() => a.atomic_aggregate = true,
            code::AGGREGATOR => a.aggregator = Some(aggregator(value, self.ctx.as4).ok_or(Fault::Discard)?),
            code::COMMUNITIES => a.communities = list(value, u32::from_be_bytes).ok_or(LENGTH)?,
            code::ORIGINATOR_ID => a.originator_id = Some(Ipv4Addr::from(u32_value()?)),
            code::CLUSTER_LIST => a.cluster_list = list::<4, _>(value, Ipv4Addr::from).ok_or(LENGTH)?,
            code::EXT_COMMUNITIES => a.ext_communities = ext_communities(value).ok_or(LENGTH)?,
            code::LARGE_COMMUNITIES => a.large_communities = large_communities(value).ok_or(LENGTH)?,
            // RFC 6793 §4.1: between four-octet speakers these two do not exist.
            code::AS4_PATH if !self.ctx.as4 && !value.is_empty() => {
                self.as4_path = Some(as_path(value, true).filter(|p| !p.contains(0)).ok_or(Fault::Discard)?);
            }
            code::AS4_AGGREGATOR if !self.ctx.as4 => {
                self.as4_aggregator = Some(aggregator(value, true).ok_or(Fault::Discard)?);
            }
            code::ATOMIC_AGGREGATE | code::AS4_PATH | code::AS4_AGGREGATOR => return Err(Fault::Discard),
            code::PMSI_TUNNEL => match pmsi(value).ok_or(VALUE)? {
                Carried::Read(pmsi) => a.pmsi = Some(pmsi),
                Carried::Opaque => a.opaque.push(raw(flags, code, value)),
            },
            code::TUNNEL_ENCAP => {
                if !tunnels_framed(value) {
                    return Err(VALUE);
                }
                a.opaque.push(raw(flags, code, value));
            }
            _ if flags & flag::TRANSITIVE != 0 => a.opaque.push(raw(flags | flag::PARTIAL, code, value)),
            // RFC 4271 §9: unknown, optional, non-transitive: quietly ignored, and not a fault.
            _ => {}
        }
        Ok(())
    }

    /// `None`: the routes cannot be told.
    fn mp_reach(&mut self, mut value: &[u8]) -> Option<()> {
        let (afi, safi) = (take_u16(&mut value)?, take_u8(&mut value)?);
        let next_hop_len = take_u8(&mut value)?;
        let next_hop = take_slice(&mut value, usize::from(next_hop_len))?;
        let _reserved = take_u8(&mut value)?;
        self.announces |= !value.is_empty();
        if (afi, safi) != (AFI_L2VPN, SAFI_EVPN) {
            self.foreign = self.foreign.saturating_add(1);
            return Some(());
        }
        self.attributes.next_hop = match next_hop.len() {
            4 => IpAddr::from(exact::<4>(next_hop)?),
            // 32: FRR puts the link-local address behind the global one, as RFC 2545 does. FRR also writes an IPv4
            // VTEP as ::ffff:a.b.c.d at times; it is the same VTEP.
            16 | 32 => IpAddr::from(*next_hop.first_chunk::<16>()?).to_canonical(),
            _ => return None,
        };
        self.reach = Some(self.message.slice_ref(value));
        Some(())
    }

    /// `None`: the routes cannot be told.
    fn mp_unreach(&mut self, mut value: &[u8]) -> Option<()> {
        let (afi, safi) = (take_u16(&mut value)?, take_u8(&mut value)?);
        if (afi, safi) == (AFI_L2VPN, SAFI_EVPN) {
            self.unreach = Some(self.message.slice_ref(value));
        } else {
            self.foreign = self.foreign.saturating_add(1);
        }
        Some(())
    }
}

/// Flags, type and value of the next attribute.
#[inline]
fn header<'a>(rest: &mut &'a [u8]) -> Option<(u8, u8, &'a [u8])> {
    let [flags, code] = take(rest)?;
    let len =
        if flags & flag::EXTENDED == 0 { usize::from(take_u8(rest)?) } else { usize::from(take_u16(rest)?) };
    Some((flags, code, take_slice(rest, len)?))
}

fn raw(flags: u8, code: u8, value: &[u8]) -> RawAttr {
    RawAttr { code, flags: flags & (flag::OPTIONAL | flag::TRANSITIVE | flag::PARTIAL), value: value.into() }
}

/// A list of entries of `N` octets, of which there must be one.
fn list<const N: usize, T>(value: &[u8], entry: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
    let (entries, rest) = value.as_chunks::<N>();
    (rest.is_empty() && !entries.is_empty()).then(|| entries.iter().map(|&e| entry(e)).collect())
}

/// RFC 7606 §7.2: known segment types, none empty, none past the end.
fn as_path(mut value: &[u8], as4: bool) -> Option<AsPath> {
    let mut path = AsPath::default();
    while !value.is_empty() {
        let [kind, count] = take(&mut value)?;
        let asns = if as4 {
            list(take_slice(&mut value, usize::from(count) * 4)?, u32::from_be_bytes)?
        } else {
            list(take_slice(&mut value, usize::from(count) * 2)?, |b| u32::from(u16::from_be_bytes(b)))?
        };
        path.push(AsSegment::from_wire(kind, asns)?);
    }
    Some(path)
}

fn aggregator(value: &[u8], as4: bool) -> Option<(u32, Ipv4Addr)> {
    let (asn, id) = if as4 {
        let [a, b, c, d, id @ ..] = exact::<8>(value)?;
        (u32::from_be_bytes([a, b, c, d]), id)
    } else {
        let [a, b, id @ ..] = exact::<6>(value)?;
        (u32::from(u16::from_be_bytes([a, b])), id)
    };
    (asn != 0).then(|| (asn, Ipv4Addr::from(id)))
}

/// RFC 9047 §3: of several ARP/ND communities the first counts and the others must not be propagated.
fn ext_communities(value: &[u8]) -> Option<Vec<ExtCommunity>> {
    let mut list = list(value, ExtCommunity)?;
    let mut first = true;
    list.retain(|c| c.as_arp_nd().is_none() || std::mem::take(&mut first));
    Some(list)
}

/// RFC 8092 §5: duplicates are removed silently.
fn large_communities(value: &[u8]) -> Option<Vec<[u32; 3]>> {
    let mut list = list(value, |[a, b, c, d, e, f, g, h, i, j, k, l]: [u8; 12]| {
        [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_be_bytes)
    })?;
    if list.len() > 1 {
        let mut seen = HashSet::with_capacity_and_hasher(list.len(), foldhash::fast::RandomState::default());
        list.retain(|c| seen.insert(*c));
    }
    Some(list)
}

/// A sound PMSI_TUNNEL.
enum Carried {
    Read(Pmsi),
    /// Of a kind and length only fit to be carried along.
    Opaque,
}

/// PMSI_TUNNEL (RFC 6514 §5).
fn pmsi(mut value: &[u8]) -> Option<Carried> {
    let [flags, kind] = take(&mut value)?;
    let vni = Vni::from_be_bytes(take(&mut value)?);
    let tunnel = match (kind, value.len()) {
        (0, 0) => PmsiTunnel::None,
        (6, 4) => PmsiTunnel::IngressReplication(IpAddr::from(exact::<4>(value)?)),
        (6, 16) => PmsiTunnel::IngressReplication(IpAddr::from(exact::<16>(value)?)),
        (0 | 6, _) => return None,
        (_, len @ ..=24) => {
            let mut id = [0; 24];
            id[..len].copy_from_slice(value);
            PmsiTunnel::Other { kind, len: len as u8, id }
        }
        _ => return Some(Carried::Opaque),
    };
    Some(Carried::Read(Pmsi { flags, vni, tunnel }))
}

/// Tunnel encapsulation (RFC 9012 §2, §13): at least one TLV, and all of them whole. Unknown types are fine.
fn tunnels_framed(mut value: &[u8]) -> bool {
    if value.is_empty() {
        return false;
    }
    while !value.is_empty() {
        let Some(_kind) = take_u16(&mut value) else { return false };
        let Some(len) = take_u16(&mut value) else { return false };
        if take_slice(&mut value, usize::from(len)).is_none() {
            return false;
        }
    }
    true
}
