//! UPDATE: RFC 4271 §4.3 and §6.3, MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760), faults (RFC 7606), End-of-RIB
//! (RFC 4724 §2).
//!
//! What RFC 7606 leaves open is decided so: a body of type 1-5 that is malformed costs that NLRI only (or, with
//! `strict`, the session); NLRI whose lengths do not fit cost the session, since nothing after them can be told.

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};

use super::attr::{Attributes, code, flag};
use super::attr_decode::Reader;
use super::fault::{Problem, Reason};
use super::message::{HEADER_LEN, MessageType, put_header};
use super::nlri::{NlriIter, RouterMac, check_framing, check_strict};
use super::notification::Notification;
use super::read::{take_slice, take_u8, take_u16};
use super::{AFI_L2VPN, MAX_EXTENDED_MESSAGE, SAFI_EVPN};

/// What decides how an UPDATE is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeContext {
    /// From an external peer.
    pub ebgp: bool,
    /// Both sides know four-octet ASes.
    pub as4: bool,
    /// Malformed bodies of types 1-5 end the session instead of being skipped.
    pub strict: bool,
}

/// What becomes of the announced routes of an UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// They are announced.
    Accept,
    /// They are withdrawn (RFC 7606 §2).
    TreatAsWithdraw(Reason),
}

/// An UPDATE whose framing is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The attributes of the announced routes; `None` where none is announced.
    pub attributes: Option<Box<Attributes>>,
    /// The announced EVPN routes, as they came. [`Update::routes`] reads them.
    pub reach: Bytes,
    /// The withdrawn EVPN routes, as they came. [`Update::withdrawn`] reads them.
    pub unreach: Bytes,
    /// What becomes of the announced routes.
    pub disposition: Disposition,
    /// Attributes left out as RFC 7606 wants: faulty ones of little weight, those not for external peers, repetitions.
    pub attr_discards: u16,
    /// This is the End-of-RIB marker of EVPN.
    pub eor: bool,
    /// There was IPv4 unicast in the classic fields; checked, not kept.
    pub had_ipv4: bool,
    /// MP attributes of families other than EVPN; not looked into.
    pub foreign_families: u16,
}

impl Update {
    /// The announced routes. Where [`Disposition::TreatAsWithdraw`] holds, each of them comes as a withdraw.
    pub fn routes(&self) -> NlriIter<'_> {
        match (&self.attributes, self.disposition) {
            (Some(attributes), Disposition::Accept) => NlriIter::reach(&self.reach, router_mac(attributes)),
            _ => NlriIter::treat_as_withdraw(&self.reach, "faulty attributes"),
        }
    }

    /// The withdrawn routes: of each only the key has meaning.
    pub fn withdrawn(&self) -> NlriIter<'_> {
        NlriIter::withdrawn(&self.unreach)
    }
}

fn router_mac(attributes: &Attributes) -> RouterMac {
    match attributes.ext_communities.iter().find_map(|c| c.as_router_mac()) {
        None => RouterMac::Absent,
        Some(mac) if mac.is_group() => RouterMac::Group,
        Some(mac) if mac.is_zero() => RouterMac::Absent,
        Some(_) => RouterMac::Host,
    }
}

/// Reads the body of an UPDATE. An error means that the session ends with this NOTIFICATION.
pub fn decode_update(body: &Bytes, ctx: &DecodeContext) -> Result<Update, Notification> {
    let malformed_list = || Notification::update(1, Bytes::new());
    let mut rest = &body[..];
    let mut field = || {
        let len = take_u16(&mut rest)?;
        take_slice(&mut rest, usize::from(len))
    };
    let withdrawn = field().ok_or_else(malformed_list)?;
    let attributes = field().ok_or_else(malformed_list)?;
    let announced = rest;
    for run in [withdrawn, announced] {
        check_ipv4(run).ok_or_else(|| Notification::update(10, Bytes::new()))?;
    }

    let mut reader = Reader::new(ctx, body);
    reader.read(attributes)?;
    for run in [&reader.reach, &reader.unreach].into_iter().flatten() {
        if check_framing(run).is_none() || ctx.strict && !check_strict(run) {
            return Err(Notification::update(9, Bytes::new()));
        }
    }
    let announces = reader.announces || !announced.is_empty();
    if announces {
        for (attribute, needed) in
            [(code::ORIGIN, true), (code::AS_PATH, true), (code::NEXT_HOP, !announced.is_empty())]
        {
            if needed && !reader.has(attribute) {
                reader.withdraw(attribute, Problem::Missing, Bytes::new());
            }
        }
    }
    let disposition = match reader.fault.take() {
        None => Disposition::Accept,
        // RFC 7606 §5.2: with nothing announced there is nothing to withdraw, so the fault cannot be contained.
        Some((reason, octets)) if !announces => return Err(reason.notification(octets)),
        Some((reason, _)) => Disposition::TreatAsWithdraw(reason),
    };
    let had_ipv4 = !withdrawn.is_empty() || !announced.is_empty();
    let eor = reader.unreach.as_ref().is_some_and(Bytes::is_empty) && reader.count == 0 && !had_ipv4;
    let reach = reader.reach.take().unwrap_or_default();
    let unreach = reader.unreach.take().unwrap_or_default();
    let (attr_discards, foreign_families) = (reader.discards, reader.foreign);
    let attributes =
        (!reach.is_empty() && disposition == Disposition::Accept).then(|| Box::new(reader.finish()));
    Ok(Update { attributes, reach, unreach, disposition, attr_discards, eor, had_ipv4, foreign_families })
}

/// IPv4 unicast in the classic fields (RFC 4271 §4.3): do the prefixes fill the field?
fn check_ipv4(mut run: &[u8]) -> Option<()> {
    while !run.is_empty() {
        let bits = take_u8(&mut run).filter(|bits| *bits <= 32)?;
        take_slice(&mut run, usize::from(bits.div_ceil(8)))?;
    }
    Some(())
}

/// More than fits an UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("more attributes and routes than fit an UPDATE")
    }
}

impl std::error::Error for TooLong {}

/// Both length fields of an UPDATE.
const LENGTHS: usize = 4;
/// Flags, type and extended length of an MP attribute; the same form always, so that the overhead is known.
const MP_HEADER: usize = 4;

/// Octets before the NLRI of an MP_REACH_NLRI: family, next hop, reserved.
const fn reach_head(next_hop: IpAddr) -> usize {
    if next_hop.is_ipv4() { 9 } else { 21 }
}

/// How many octets of NLRI fit one UPDATE of `max_message` octets beside these attributes.
pub const fn reach_room(attrs_len: usize, next_hop: IpAddr, max_message: usize) -> usize {
    max_message.saturating_sub(HEADER_LEN + LENGTHS + MP_HEADER + reach_head(next_hop) + attrs_len)
}

/// How many octets of NLRI fit one UPDATE that withdraws.
pub const fn unreach_room(max_message: usize) -> usize {
    max_message.saturating_sub(HEADER_LEN + LENGTHS + MP_HEADER + 3)
}

/// Header of an UPDATE that starts with an MP attribute of `mp_len` octets.
fn put_update(out: &mut BytesMut, mp: u8, mp_len: usize, attrs_len: usize) -> Result<(), TooLong> {
    let attributes = MP_HEADER + mp_len + attrs_len;
    if HEADER_LEN + LENGTHS + attributes > MAX_EXTENDED_MESSAGE {
        return Err(TooLong);
    }
    put_header(out, MessageType::Update, LENGTHS + attributes);
    out.put_u16(0);
    out.put_u16(attributes as u16);
    out.put_slice(&[flag::OPTIONAL | flag::EXTENDED, mp]);
    out.put_u16(mp_len as u16);
    out.put_u16(AFI_L2VPN);
    out.put_u8(SAFI_EVPN);
    Ok(())
}

/// One whole UPDATE that announces `nlris`: MP_REACH_NLRI first (RFC 7606 §5.1), then `attrs_wire` as
/// [`encode_attributes`](super::encode_attributes) wrote them. Nothing is written where it does not fit 65535 octets;
/// ask [`reach_room`] how much fits the session.
pub fn encode_reach(
    attrs_wire: &[u8],
    next_hop: IpAddr,
    nlris: &[u8],
    out: &mut BytesMut,
) -> Result<(), TooLong> {
    put_update(out, code::MP_REACH_NLRI, reach_head(next_hop) + nlris.len(), attrs_wire.len())?;
    match next_hop {
        IpAddr::V4(ip) => {
            out.put_u8(4);
            out.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_u8(16);
            out.put_slice(&ip.octets());
        }
    }
    out.put_u8(0);
    out.put_slice(nlris);
    out.put_slice(attrs_wire);
    Ok(())
}

/// One whole UPDATE that withdraws `nlris`. See [`unreach_room`].
pub fn encode_unreach(nlris: &[u8], out: &mut BytesMut) -> Result<(), TooLong> {
    put_update(out, code::MP_UNREACH_NLRI, 3 + nlris.len(), 0)?;
    out.put_slice(nlris);
    Ok(())
}

/// The End-of-RIB marker of EVPN: an UPDATE that withdraws nothing.
pub fn encode_eor(out: &mut BytesMut) {
    let fits = encode_unreach(&[], out);
    debug_assert_eq!(fits, Ok(()));
}
