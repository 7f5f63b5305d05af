//! Which path of a route is best, and why another is not: RFC 4271 §9.1.2.2 with RFC 4456 §9 (originator, cluster list
//! length), preceded for type 2 by RFC 7432 §15 (sticky, then the higher MAC mobility sequence).
//!
//! Mobility is compared among paths of *one* route only. Choosing between routes of different RDs that carry the same
//! MAC is up to whoever imports them; a reflector that did it here would hide routes.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr};

use crate::wire::Attributes;

use super::{PeerInfo, PeerKind};

/// Why a path is not the best: the step of the decision at which it lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Another path of this MAC is sticky (RFC 7432 §15.2).
    Sticky,
    /// Another path has a higher MAC mobility sequence (RFC 7432 §15).
    MobilitySequence,
    /// Another path is our own.
    LocalOrigin,
    /// Lower LOCAL_PREF.
    LocalPref,
    /// Longer AS_PATH.
    AsPathLength,
    /// Higher ORIGIN.
    Origin,
    /// Higher MED than another path through the same neighbouring AS.
    Med,
    /// Internal, and another path is external.
    InternalPath,
    /// Higher ORIGINATOR_ID or router id.
    RouterId,
    /// Longer CLUSTER_LIST.
    ClusterListLength,
    /// Higher neighbour address.
    PeerAddress,
}

impl Reason {
    /// In words, as in "not best: …".
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Sticky => "another path is sticky",
            Self::MobilitySequence => "lower mobility sequence",
            Self::LocalOrigin => "another path is local",
            Self::LocalPref => "lower local preference",
            Self::AsPathLength => "longer AS path",
            Self::Origin => "higher origin",
            Self::Med => "higher MED",
            Self::InternalPath => "internal, another path is external",
            Self::RouterId => "higher router id",
            Self::ClusterListLength => "longer cluster list",
            Self::PeerAddress => "higher neighbour address",
        }
    }
}

/// Why a path takes no part in the decision at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ineligible {
    /// Our AS is in its AS_PATH (RFC 4271 §9.1.2).
    AsLoop,
    /// Its ORIGINATOR_ID is our router id (RFC 4456 §8).
    OriginatorLoop,
    /// Our cluster is in its CLUSTER_LIST (RFC 4456 §8).
    ClusterLoop,
}

impl Ineligible {
    /// In words, as in "not eligible: …".
    pub const fn describe(self) -> &'static str {
        match self {
            Self::AsLoop => "our AS is in its AS path",
            Self::OriginatorLoop => "we are its originator",
            Self::ClusterLoop => "our cluster is in its cluster list",
        }
    }
}

/// What the decision looks at, drawn from an attribute set and its source once. In every field lower is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rank {
    not_sticky: bool,
    /// Complement of the mobility sequence.
    sequence: u32,
    not_local: bool,
    /// Complement of LOCAL_PREF.
    local_pref: u32,
    as_path: u32,
    origin: u8,
    med: u32,
    neighbor_as: u32,
    internal: bool,
    router_id: u32,
    clusters: u32,
    address: IpAddr,
}

/// LOCAL_PREF where none is given.
const DEFAULT_LOCAL_PREF: u32 = 100;

impl Rank {
    /// The rank of `attributes` learned from `peer`, or of our own without one.
    pub(super) fn new(attributes: &Attributes, peer: Option<&PeerInfo>) -> Self {
        let (sequence, sticky) = attributes.mac_mobility();
        Self {
            not_sticky: !sticky,
            sequence: !sequence,
            not_local: peer.is_some(),
            local_pref: !attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
            as_path: attributes.as_path.length() as u32,
            origin: attributes.origin as u8,
            med: attributes.med.unwrap_or(0),
            neighbor_as: attributes.as_path.first_as().unwrap_or(0),
            internal: peer.is_some_and(|p| p.kind != PeerKind::Ebgp),
            router_id: attributes.originator_id.or(peer.map(|p| p.router_id)).map_or(0, u32::from),
            clusters: attributes.cluster_list.len() as u32,
            address: peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |p| p.address),
        }
    }

    /// Their MEDs do not tell them apart.
    pub(super) const fn same_med(&self, other: &Self) -> bool {
        self.med == other.med
    }

    fn key(&self, step: Reason) -> u128 {
        u128::from(match step {
            Reason::Sticky => u32::from(self.not_sticky),
            Reason::MobilitySequence => self.sequence,
            Reason::LocalOrigin => u32::from(self.not_local),
            Reason::LocalPref => self.local_pref,
            Reason::AsPathLength => self.as_path,
            Reason::Origin => u32::from(self.origin),
            Reason::Med => self.med,
            Reason::InternalPath => u32::from(self.internal),
            Reason::RouterId => self.router_id,
            Reason::ClusterListLength => self.clusters,
            Reason::PeerAddress => {
                return match self.address {
                    IpAddr::V4(a) => u128::from(u32::from(a)),
                    IpAddr::V6(a) => u128::from(a),
                };
            }
        })
    }
}

/// The steps in order.
const STEPS: [Reason; 11] = [
    Reason::Sticky,
    Reason::MobilitySequence,
    Reason::LocalOrigin,
    Reason::LocalPref,
    Reason::AsPathLength,
    Reason::Origin,
    Reason::Med,
    Reason::InternalPath,
    Reason::RouterId,
    Reason::ClusterListLength,
    Reason::PeerAddress,
];

/// Picks the best of `ranks`, which is not empty, and reports each loser with the step it lost at.
///
/// The steps eliminate, as RFC 4271 writes them, rather than compare pairs: MED compares only paths through the same
/// neighbour, so a pairwise "better" is not transitive and its outcome would depend on the order of arrival.
/// `mobility`: the route is a type 2.
pub(super) fn decide(ranks: &[&Rank], mobility: bool, mut lost: impl FnMut(usize, Reason)) -> usize {
    let steps = if mobility { &STEPS[..] } else { &STEPS[2..] };
    let mut alive: Vec<usize> = (0..ranks.len()).collect();
    for &step in steps {
        if alive.len() == 1 {
            break;
        }
        let best = alive.iter().map(|&i| ranks[i].key(step)).min().unwrap_or(0);
        let loses = |i: usize, alive: &[usize]| {
            if step == Reason::Med {
                alive
                    .iter()
                    .any(|&j| ranks[j].neighbor_as == ranks[i].neighbor_as && ranks[j].med < ranks[i].med)
            } else {
                ranks[i].key(step) != best
            }
        };
        let losers: Vec<usize> = alive.iter().copied().filter(|&i| loses(i, &alive)).collect();
        for &i in &losers {
            lost(i, step);
        }
        alive.retain(|i| !losers.contains(i));
    }
    alive[0]
}

/// Is `a` to be preferred to `b`? The decision between two, or among more whose MEDs are all equal (see
/// [`Rank::same_med`]), without the bookkeeping of [`decide`].
pub(super) fn prefer(a: &Rank, b: &Rank, mobility: bool) -> bool {
    let moves = |r: &Rank| (r.not_sticky, r.sequence);
    let before = |r: &Rank| (r.not_local, r.local_pref, r.as_path, r.origin);
    let after = |r: &Rank| (r.internal, r.router_id, r.clusters, r.key(Reason::PeerAddress));
    let med = |r: &Rank| if a.neighbor_as == b.neighbor_as { r.med } else { 0 };
    let order = if mobility { moves(a).cmp(&moves(b)) } else { Ordering::Equal };
    let order = order.then_with(|| before(a).cmp(&before(b))).then_with(|| med(a).cmp(&med(b)));
    order.then_with(|| after(a).cmp(&after(b))).is_le()
}

#[cfg(test)]
mod tests;
