//! What each neighbour should have: the decision of RFC 4271 §9.1.2.2 and what leaves for whom (§9.2, RFC 1997, 4456,
//! 5065), as plainly as possible.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use bgp::rib::{PeerInfo, PeerKind, Source};
use bgp::wire::{
    AsPath, AsSegment, Attributes, EncodeContext, NlriBody, RouteKey, encode_attributes, nlri, reach_room,
};

use super::{ASN, CLUSTER_ID, ROUTER_ID};
use crate::codec::as_sent;

/// A route's content. Attributes may be as long as a message; routes of one UPDATE share them here too.
pub(super) type Held = (Rc<Attributes>, NlriBody);

/// What one source announced; `None`: our own.
pub(super) type Announced<'a> = (Option<&'a PeerInfo>, Source, &'a BTreeMap<RouteKey, Held>);

/// Which source has the best path of a route.
pub(super) fn best(key: &RouteKey, announced: &[Announced<'_>]) -> Option<usize> {
    let mut all: Vec<(usize, &Attributes)> = announced
        .iter()
        .enumerate()
        .filter_map(|(at, (_, _, routes))| Some((at, &*routes.get(key)?.0)))
        .filter(|(at, a)| {
            announced[*at].0.is_none()
                || !a.as_path.0.iter().any(|s| s.asns().contains(&ASN))
                    && a.originator_id != Some(ROUTER_ID)
                    && !a.cluster_list.contains(&CLUSTER_ID)
        })
        .collect();
    fn keep<K: Ord>(all: &mut Vec<(usize, &Attributes)>, rank: impl Fn(usize, &Attributes) -> K) {
        if let Some(best) = all.iter().map(|(at, a)| rank(*at, a)).min() {
            all.retain(|(at, a)| rank(*at, a) == best);
        }
    }
    let peer = |at: usize| announced[at].0;
    if matches!(key, RouteKey::MacIp { .. }) {
        keep(&mut all, |_, a| !mobility(a).1);
        keep(&mut all, |_, a| !mobility(a).0);
    }
    keep(&mut all, |at, _| peer(at).is_some());
    keep(&mut all, |_, a| !a.local_pref.unwrap_or(100));
    keep(&mut all, |_, a| path_length(&a.as_path));
    keep(&mut all, |_, a| a.origin);
    let rivals = all.clone();
    let med = |a: &Attributes| a.med.unwrap_or(0);
    let neighbour = |a: &Attributes| a.as_path.first_as().unwrap_or(0);
    all.retain(|(_, a)| !rivals.iter().any(|(_, b)| neighbour(a) == neighbour(b) && med(b) < med(a)));
    keep(&mut all, |at, _| peer(at).is_some_and(|p| p.kind != PeerKind::Ebgp));
    keep(&mut all, |at, a| a.originator_id.or(peer(at).map(|p| p.router_id)).map_or(0, u32::from));
    keep(&mut all, |_, a| a.cluster_list.len());
    keep(&mut all, |at, _| at);
    all.first().map(|(at, _)| *at)
}

/// Sequence and stickiness.
fn mobility(a: &Attributes) -> (u32, bool) {
    let first = a.ext_communities.iter().find(|c| c.0[..2] == [6, 0]);
    first.map_or((0, false), |c| (u32::from_be_bytes([c.0[4], c.0[5], c.0[6], c.0[7]]), c.0[2] & 1 == 1))
}

fn path_length(path: &AsPath) -> usize {
    path.0
        .iter()
        .map(|s| match s {
            AsSegment::Sequence(asns) => asns.len(),
            AsSegment::Set(_) => 1,
            _ => 0,
        })
        .sum()
}

/// What the neighbour at `slot` should have been told, of the best paths.
pub(super) fn expected(
    to: &PeerInfo,
    slot: usize,
    announced: &[Announced<'_>],
    best: &[(RouteKey, usize)],
) -> BTreeMap<RouteKey, Held> {
    let mut table = BTreeMap::new();
    let mut known = HashMap::new();
    for (key, at) in best {
        let (from, _, routes) = announced[*at];
        let (attributes, body) = &routes[key];
        if *at == slot {
            continue;
        }
        let sent = known.entry(Rc::as_ptr(attributes)).or_insert_with(|| sent(attributes, from, to));
        // What fits no message that the neighbour takes is not sent, and must not be sent cut.
        if let Some((sent, room)) = sent
            && nlri::encoded_len(key, body) <= *room
        {
            table.insert(key.clone(), (Rc::clone(sent), *body));
        }
    }
    table
}

/// What the neighbour reads of attributes sent to it, and how much room for routes there is beside them.
fn sent(attributes: &Attributes, from: Option<&PeerInfo>, to: &PeerInfo) -> Option<(Rc<Attributes>, usize)> {
    let ebgp = to.kind == PeerKind::Ebgp;
    let attributes = exported(attributes, from, to.kind)?;
    let mut wire = Vec::new();
    encode_attributes(&attributes, &EncodeContext { ebgp, as4: to.as4 }, &mut wire);
    let room = reach_room(wire.len(), attributes.next_hop, to.max_message);
    Some((Rc::new(as_sent(&attributes, ebgp, to.as4)), room))
}

/// The attributes a route leaves with, if it does.
fn exported(attributes: &Attributes, from: Option<&PeerInfo>, to: PeerKind) -> Option<Attributes> {
    let external = to == PeerKind::Ebgp;
    let internal_source = from.filter(|p| p.kind != PeerKind::Ebgp);
    let kept_back = |c: &u32| match *c {
        0xffff_ff02 => true,
        0xffff_ff01 | 0xffff_ff03 => external,
        _ => false,
    };
    if attributes.communities.iter().any(kept_back) {
        return None;
    }
    if to == PeerKind::Ibgp && internal_source.is_some_and(|p| p.kind == PeerKind::Ibgp) {
        return None;
    }
    let mut a = attributes.clone();
    if external {
        // RFC 5065 §5: what is inside a confederation stays there.
        let mut path = vec![AsSegment::Sequence(vec![ASN])];
        for segment in a.as_path.0 {
            match (path.last_mut(), segment) {
                (Some(AsSegment::Sequence(last)), AsSegment::Sequence(more)) => last.extend(more),
                (_, segment) if segment.is_confed() => {}
                (_, segment) => path.push(segment),
            }
        }
        a.as_path = AsPath(path);
        if from.is_some() {
            a.med = None;
        }
    } else if let Some(from) = internal_source {
        a.originator_id = a.originator_id.or(Some(from.router_id));
        a.cluster_list.insert(0, CLUSTER_ID);
    }
    Some(a)
}
