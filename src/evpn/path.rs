//! Paths to a prefix: routes that a VRF takes, and which of them are used (RFC 4271 §9.1.2.2, up to MED).
//!
//! The RIB has chosen among the paths of one route; these are routes of different distinguishers. All that are as good
//! as the best carry traffic (ECMP). Preceding the steps of BGP, as for MACs: a host route made from a type 2 route
//! carries the MAC's mobility, and a host is where it moved to (RFC 9135 §7). MEDs are compared between paths through
//! the same neighbouring AS only.
//!
//! There may be hundreds of thousands of prefixes with a path or two each, and one prefix (a default route) with a path
//! from every VTEP: what a path says is shared, a path costs eight octets, and many paths of one prefix are indexed.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Bound;

use bgp::wire::Attributes;
use foldhash::fast::RandomState;
use types::{MacAddr, Vni};

use super::pool::Pool;
use super::target::Facts;

/// So many ways are used at once.
pub(super) const MAX_ECMP: usize = 64;
/// Ways looked at for them: with very many neighbouring ASes, many may lead to the same hop.
const MAX_LOOKS: usize = 1024;
/// So many paths are searched one by one; more are indexed.
const FEW: usize = 16;

/// How good a path is: in every field lower is better, and earlier fields count first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Rank {
    not_sticky: bool,
    /// Complement of the mobility sequence.
    sequence: u32,
    /// Complement of LOCAL_PREF.
    local_pref: u32,
    as_path: u32,
    origin: u8,
    /// The first AS of the path: MEDs of different ones do not compare.
    neighbour_as: u32,
    med: u32,
}

/// LOCAL_PREF where none is given.
const DEFAULT_LOCAL_PREF: u32 = 100;

impl Rank {
    /// `mobility`: a host that may move (type 2).
    pub(super) fn new(attributes: &Attributes, facts: Facts, mobility: bool) -> Self {
        Self {
            not_sticky: !(mobility && facts.sticky),
            sequence: !if mobility { facts.sequence } else { 0 },
            local_pref: !attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
            as_path: attributes.as_path.length() as u32,
            origin: attributes.origin as u8,
            neighbour_as: attributes.as_path.first_as().unwrap_or(0),
            med: attributes.med.unwrap_or(0),
        }
    }

    /// All but what depends on the neighbouring AS.
    const fn tier(&self) -> (bool, u32, u32, u32, u8) {
        (self.not_sticky, self.sequence, self.local_pref, self.as_path, self.origin)
    }

    /// The step at which this loses to `best`, in words; `None`: it does not.
    pub(super) fn lost_to(&self, best: &Self) -> Option<&'static str> {
        Some(if self.not_sticky != best.not_sticky {
            "another path is sticky"
        } else if self.sequence != best.sequence {
            "lower mobility sequence"
        } else if self.local_pref != best.local_pref {
            "lower local preference"
        } else if self.as_path != best.as_path {
            "longer AS path"
        } else if self.origin != best.origin {
            "higher origin"
        } else if self.neighbour_as == best.neighbour_as && self.med != best.med {
            "higher MED"
        } else {
            return None;
        })
    }
}

/// Where packets go: the VTEP, the VNI on the wire, the router MAC there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RemoteHop {
    pub vtep: IpAddr,
    pub vni: Vni,
    pub router_mac: MacAddr,
}

impl RemoteHop {
    const LEAST: Self =
        Self { vtep: IpAddr::V4(Ipv4Addr::UNSPECIFIED), vni: Vni::ZERO, router_mac: MacAddr::ZERO };
}

/// What a path says; the least is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Way {
    pub rank: Rank,
    pub hop: RemoteHop,
}

/// A path: the destination number of its route, and the number of what it says, one user of which this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub dest: u32,
    pub way: u32,
}

/// Many paths, by destination and by rank.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    by_dest: HashMap<u32, u32, RandomState>,
    ranked: BTreeSet<(Way, u32)>,
}

/// The paths of a prefix.
#[derive(Debug, Default)]
pub(super) enum Paths {
    #[default]
    None,
    One(Path),
    Few(Vec<Path>),
    Many(Box<Crowd>),
}

impl Paths {
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Each with what it says, in no order.
    pub(super) fn iter<'a>(&'a self, ways: &'a Pool<Way>) -> impl Iterator<Item = (u32, &'a Way)> {
        let (few, many) = match self {
            Self::None => (&[][..], None),
            Self::One(one) => (std::slice::from_ref(one), None),
            Self::Few(few) => (&few[..], None),
            Self::Many(many) => (&[][..], Some(many.by_dest.iter().map(|(&dest, &way)| (dest, way)))),
        };
        let all = few.iter().map(|p| (p.dest, p.way)).chain(many.into_iter().flatten());
        all.map(|(dest, way)| (dest, ways.get(way)))
    }

    /// Puts a path in, in the place of that of the same destination; true if that changed something.
    pub(super) fn put(&mut self, dest: u32, way: Way, ways: &mut Pool<Way>) -> bool {
        let new = Path { dest, way: ways.acquire(way) };
        let old = match self {
            Self::None => {
                *self = Self::One(new);
                None
            }
            Self::One(one) if one.dest == dest => Some(std::mem::replace(one, new)),
            Self::One(one) => {
                *self = Self::Few(vec![*one, new]);
                None
            }
            Self::Few(few) => {
                if let Some(old) = few.iter_mut().find(|p| p.dest == dest) {
                    Some(std::mem::replace(old, new))
                } else {
                    few.push(new);
                    if few.len() > FEW {
                        let mut crowd = Crowd::default();
                        for path in few.drain(..) {
                            crowd.by_dest.insert(path.dest, path.way);
                            crowd.ranked.insert((*ways.get(path.way), path.dest));
                        }
                        *self = Self::Many(Box::new(crowd));
                    }
                    None
                }
            }
            Self::Many(many) => {
                let old = many.by_dest.insert(dest, new.way).map(|way| Path { dest, way });
                if let Some(old) = old {
                    many.ranked.remove(&(*ways.get(old.way), dest));
                }
                many.ranked.insert((way, dest));
                old
            }
        };
        if let Some(old) = old {
            ways.release(old.way);
        }
        old != Some(new)
    }

    /// Takes a path out; true if it was there.
    pub(super) fn remove(&mut self, dest: u32, ways: &mut Pool<Way>) -> bool {
        let way = match self {
            Self::One(one) if one.dest == dest => {
                let way = one.way;
                *self = Self::None;
                way
            }
            Self::Few(few) => {
                let Some(at) = few.iter().position(|p| p.dest == dest) else { return false };
                let way = few.swap_remove(at).way;
                if let [last] = few[..] {
                    *self = Self::One(last);
                }
                way
            }
            Self::Many(many) => {
                let Some(way) = many.by_dest.remove(&dest) else { return false };
                many.ranked.remove(&(*ways.get(way), dest));
                if many.by_dest.len() <= FEW / 2 {
                    let left = many.by_dest.iter();
                    *self = Self::Few(left.map(|(&dest, &way)| Path { dest, way }).collect());
                }
                way
            }
            _ => return false,
        };
        ways.release(way);
        true
    }

    /// The hops of the best path and of all that are as good, ascending.
    pub(super) fn hops(&self, ways: &Pool<Way>) -> BTreeSet<RemoteHop> {
        match self {
            Self::None => BTreeSet::new(),
            Self::One(one) => BTreeSet::from([ways.get(one.way).hop]),
            Self::Few(few) => {
                let mut all: Vec<Way> = few.iter().map(|p| *ways.get(p.way)).collect();
                all.sort_unstable();
                select(|from| match from {
                    Bound::Excluded(way) => all.get(all.partition_point(|w| *w <= way)).copied(),
                    Bound::Included(way) => all.get(all.partition_point(|w| *w < way)).copied(),
                    Bound::Unbounded => all.first().copied(),
                })
            }
            Self::Many(many) => select(|from| {
                let from = match from {
                    Bound::Excluded(way) => Bound::Excluded((way, u32::MAX)),
                    Bound::Included(way) => Bound::Included((way, 0)),
                    Bound::Unbounded => Bound::Unbounded,
                };
                many.ranked.range((from, Bound::Unbounded)).next().map(|(way, _)| *way)
            }),
        }
    }
}

/// Walks the ways in order: the hops of those that are as good as the first. `next` says which is the first from a
/// bound on.
fn select(next: impl Fn(Bound<Way>) -> Option<Way>) -> BTreeSet<RemoteHop> {
    let mut hops = BTreeSet::new();
    let Some(first) = next(Bound::Unbounded) else { return hops };
    // The first of each neighbouring AS has its lowest MED.
    let mut lead = first.rank;
    let mut at = Some(first);
    for _ in 0..MAX_LOOKS {
        let Some(way) = at.filter(|w| w.rank.tier() == first.rank.tier()) else { break };
        if way.rank.neighbour_as != lead.neighbour_as {
            lead = way.rank;
        }
        if way.rank.med == lead.med {
            hops.insert(way.hop);
            if hops.len() == MAX_ECMP {
                break;
            }
            at = next(Bound::Excluded(way));
        } else {
            // The rest of this AS has higher MEDs: on to the next.
            let Some(neighbour_as) = lead.neighbour_as.checked_add(1) else { break };
            let rank = Rank { neighbour_as, med: 0, ..lead };
            at = next(Bound::Included(Way { rank, hop: RemoteHop::LEAST }));
        }
    }
    hops
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(local_pref: u32, neighbour_as: u32, med: u32, to: u8) -> Way {
        let rank = Rank {
            not_sticky: true,
            sequence: !0,
            local_pref: !local_pref,
            as_path: 1,
            origin: 0,
            neighbour_as,
            med,
        };
        let hop = RemoteHop { vtep: [10, 0, 0, to].into(), vni: Vni::MAX, router_mac: MacAddr([2; 6]) };
        Way { rank, hop }
    }

    /// What should be used, straight from the rules.
    fn model(ways: &[Way]) -> BTreeSet<RemoteHop> {
        let Some(tier) = ways.iter().map(|w| w.rank.tier()).min() else { return BTreeSet::new() };
        let alive: Vec<_> = ways.iter().filter(|w| w.rank.tier() == tier).collect();
        let beaten = |w: &Way| {
            alive.iter().any(|o| o.rank.neighbour_as == w.rank.neighbour_as && o.rank.med < w.rank.med)
        };
        alive.iter().filter(|w| !beaten(w)).map(|w| w.hop).collect()
    }

    #[test]
    fn a_path_is_small() {
        assert_eq!(size_of::<Path>(), 8);
        assert!(size_of::<Paths>() <= 24);
    }

    #[test]
    fn whatever_comes_and_goes_the_rules_decide() {
        let mut ways = Pool::default();
        let mut paths = Paths::default();
        let mut list: Vec<(u32, Way)> = Vec::new();
        for step in 0..6000u32 {
            let dice = step.wrapping_mul(2_654_435_761) >> 7;
            let dest = dice % 60;
            list.retain(|(d, _)| *d != dest);
            // Grows for a while, shrinks for a while.
            if step * 7 % 10 < if step / 300 % 2 == 0 { 8 } else { 2 } {
                let new = way(100 + dice / 60 % 2, dice / 120 % 3, dice / 360 % 2, (dice / 720 % 40) as u8);
                paths.put(dest, new, &mut ways);
                list.push((dest, new));
            } else {
                paths.remove(dest, &mut ways);
            }
            let all: Vec<_> = list.iter().map(|(_, w)| *w).collect();
            assert_eq!(paths.hops(&ways), model(&all), "step {step}");
            let mut there: Vec<_> = paths.iter(&ways).map(|(dest, way)| (dest, *way)).collect();
            there.sort_unstable();
            list.sort_unstable();
            assert_eq!(there, list);
        }
        for (dest, _) in list {
            assert!(paths.remove(dest, &mut ways));
        }
        assert!(paths.is_empty() && ways.is_empty());
    }

    #[test]
    fn the_same_again_is_no_change() {
        let mut ways = Pool::default();
        let mut paths = Paths::default();
        assert!(paths.put(1, way(100, 0, 0, 1), &mut ways));
        assert!(!paths.put(1, way(100, 0, 0, 1), &mut ways));
        assert!(paths.put(1, way(100, 0, 0, 2), &mut ways));
        assert!(!paths.remove(2, &mut ways));
    }

    #[test]
    fn no_more_than_64_and_always_the_same() {
        let mut ways = Pool::default();
        let (mut up, mut down) = (Paths::default(), Paths::default());
        for n in 0..200 {
            up.put(n, way(100, 7, 0, n as u8), &mut ways);
            down.put(199 - n, way(100, 7, 0, 199 - n as u8), &mut ways);
        }
        assert_eq!(up.hops(&ways).len(), MAX_ECMP);
        assert_eq!(up.hops(&ways), down.hops(&ways));
    }
}
