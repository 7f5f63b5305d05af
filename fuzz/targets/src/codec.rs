//! What must hold of every message and route that was read: it is what the [reference](crate::reference) says, and
//! written again it reads as the same.

use bgp::wire::{
    AsPath, AsSegment, Attributes, DecodeContext, Disposition, EncodeContext, MAX_EXTENDED_MESSAGE,
    MAX_MESSAGE, Nlri, NlriBody, NlriIter, Notification, Open, RouteKey, RouteRefresh, Update, decode_update,
    encode_attributes, encode_reach, nlri, reach_room,
};
use bytes::{Bytes, BytesMut};

use crate::reference::{self, Outcome};

/// The octets of a header.
const HEADER: usize = 19;

/// The body of a message just written, which has to be of that type and no longer than `max`.
pub(crate) fn body_of(message: BytesMut, kind: u8, max: usize) -> Bytes {
    assert!((HEADER..=max).contains(&message.len()), "{} octets", message.len());
    assert_eq!(message[..16], [0xff; 16]);
    assert_eq!(usize::from(u16::from_be_bytes([message[16], message[17]])), message.len());
    assert_eq!(message[18], kind);
    message.freeze().slice(HEADER..)
}

/// A NOTIFICATION, ours or the neighbour's.
pub(crate) fn check_notification(n: &Notification) {
    let mut out = BytesMut::new();
    n.encode(&mut out);
    let again = Notification::decode(&body_of(out, 3, MAX_MESSAGE)).expect("a NOTIFICATION");
    assert_eq!((again.code, again.subcode), (n.code, n.subcode));
    // One longer than 4096 octets, as only extended messages have them, is cut when it is passed on.
    assert!(n.data.starts_with(&again.data) && again.data.len() == n.data.len().min(MAX_MESSAGE - 21));
    let text = n.to_string();
    assert!(!text.is_empty() && text.len() < 2000, "{} octets of text", text.len());
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// Our answer to what cannot be read: of this class and well formed.
fn check_complaint(n: &Notification, code: u8) {
    assert_eq!(n.code, code, "{n}");
    assert!(n.data.len() <= MAX_MESSAGE - 21);
    check_notification(n);
}

/// An OPEN.
pub(crate) fn check_open(body: &Bytes) {
    let open = match Open::decode(body) {
        Ok(open) => open,
        Err(n) => return check_complaint(&n, 2),
    };
    assert!(open.asn != 0 && !open.router_id.is_unspecified() && !matches!(open.hold_time, 1 | 2));
    let mut out = BytesMut::new();
    open.encode(&mut out);
    let again = body_of(out, 1, MAX_MESSAGE);
    assert_eq!(Open::decode(&again), Ok(open));
}

/// A ROUTE-REFRESH.
pub(crate) fn check_refresh(body: &Bytes) {
    let refresh = match RouteRefresh::decode(body) {
        Ok(refresh) => refresh,
        Err(n) => return check_complaint(&n, 7),
    };
    let mut out = BytesMut::new();
    refresh.encode(&mut out);
    let again = body_of(out, 5, HEADER + 4);
    assert_eq!(RouteRefresh::decode(&again), Ok(refresh));
    assert_eq!(again, body[..4]);
}

/// The header of a message that framing refused.
pub(crate) fn check_refused(n: &Notification) {
    check_complaint(n, 1);
}

/// An UPDATE; what was read of it, unless the session ends.
pub(crate) fn check_update(body: &Bytes, ctx: DecodeContext) -> Option<Update> {
    let expected = reference::update(body, ctx);
    let update = match decode_update(body, &ctx) {
        Ok(update) => update,
        Err(n) => {
            assert_eq!(expected, Outcome::Reset, "{n}");
            check_complaint(&n, 3);
            return None;
        }
    };
    match update.disposition {
        Disposition::Accept => assert_eq!(expected, Outcome::Accept { discarded: update.attr_discards }),
        Disposition::TreatAsWithdraw(reason) => {
            assert_eq!(expected, Outcome::Withdraw, "{reason}");
            assert!(!reason.to_string().is_empty());
        }
    }
    let accepted = update.disposition == Disposition::Accept;
    assert_eq!(update.attributes.is_some(), accepted && !update.reach.is_empty());
    assert!(update.reach.len() + update.unreach.len() <= body.len());
    assert!(!update.eor || update.reach.is_empty() && update.unreach.is_empty() && !update.had_ipv4);
    let mut kept = Vec::new();
    for n in in_both_ways(update.routes()) {
        match n {
            Nlri::Route(key, route) => {
                assert!(accepted, "{key} announced");
                kept.push((key, route));
            }
            Nlri::Withdraw(..) | Nlri::Discard(_) => {}
        }
    }
    for n in in_both_ways(update.withdrawn()) {
        assert!(!matches!(n, Nlri::Withdraw(..)), "{n:?}");
    }
    if let Some(attributes) = &update.attributes {
        check_again(attributes, &kept, ctx);
    }
    Some(update)
}

/// The NLRI of a run, which the iterator has two ways to walk.
fn in_both_ways(run: NlriIter<'_>) -> Vec<Nlri> {
    let (mut stepped, mut folded) = (Vec::new(), Vec::new());
    for n in run.clone() {
        stepped.push(n);
    }
    run.for_each(|n| folded.push(n));
    assert_eq!(stepped, folded);
    folded
}

/// Attributes that were read in `ctx`, written to such a peer and read again.
fn check_again(attributes: &Attributes, routes: &[(RouteKey, NlriBody)], ctx: DecodeContext) {
    let mut wire = Vec::new();
    encode_attributes(attributes, &EncodeContext { ebgp: ctx.ebgp, as4: ctx.as4 }, &mut wire);
    let room = reach_room(wire.len(), attributes.next_hop, MAX_EXTENDED_MESSAGE);
    let (mut run, mut kept) = (Vec::new(), Vec::new());
    for (key, body) in routes {
        if run.len() + nlri::encoded_len(key, body) <= room {
            nlri::encode(key, body, &mut run);
            kept.push(Nlri::Route(key.clone(), *body));
        }
    }
    if kept.is_empty() {
        return;
    }
    let mut out = BytesMut::new();
    encode_reach(&wire, attributes.next_hop, &run, &mut out).expect("it was seen to fit");
    let body = body_of(out, 2, MAX_EXTENDED_MESSAGE);
    let again = decode_update(&body, &DecodeContext { strict: true, ..ctx }).expect("what we write is sound");
    assert_eq!((again.disposition, again.attr_discards), (Disposition::Accept, 0));
    assert_eq!(again.attributes.as_deref(), Some(&as_sent(attributes, ctx.ebgp, ctx.as4)));
    assert_eq!(again.routes().collect::<Vec<_>>(), kept);
}

/// What a peer reads of attributes written to it.
pub(crate) fn as_sent(attributes: &Attributes, ebgp: bool, as4: bool) -> Attributes {
    let mut a = attributes.clone();
    if ebgp {
        (a.local_pref, a.originator_id) = (None, None);
        a.cluster_list.clear();
        a.ext_communities.retain(|c| c.0[0] & 0x40 == 0);
        if a.ext_communities.is_empty() {
            // The attribute is not sent at all, and neither is its partial bit.
            a.partial &= !(1 << 16);
        }
    } else {
        a.local_pref = a.local_pref.or(Some(100));
    }
    if !as4 {
        a.as_path = two_octet_view(&a.as_path);
    }
    a
}

/// What is left of a path on its way through two-octet fields (RFC 6793 §4.2): AS4_PATH brings back all but
/// the segments of confederations, of which those in front stay, and of theirs what fits two octets.
fn two_octet_view(path: &AsPath) -> AsPath {
    let large = |asn: &u32| *asn > 65_535;
    let lost = path.0.iter().any(|s| !s.is_confed() && s.asns().iter().any(large));
    let mut view: Vec<AsSegment> = Vec::new();
    let mut in_front = true;
    for segment in &path.0 {
        in_front &= segment.is_confed();
        if lost && segment.is_confed() && !in_front {
            continue;
        }
        let mut segment = segment.clone();
        if let AsSegment::ConfedSequence(asns) | AsSegment::ConfedSet(asns) = &mut segment {
            asns.iter_mut().filter(|a| large(a)).for_each(|a| *a = 23456);
        }
        match (view.last_mut(), &segment) {
            (Some(AsSegment::Sequence(last)), AsSegment::Sequence(more)) => last.extend(more),
            _ => view.push(segment),
        }
    }
    AsPath(view)
}
