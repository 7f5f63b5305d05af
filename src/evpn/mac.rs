//! The remote side of a MAC table: candidates and the choice among them (RFC 7432 §15).
//!
//! Best path per NLRI is the RIB's; this is the second stage, per (VNI, MAC) over routes of different keys. A MAC-only
//! route and MAC+IP routes of one VTEP are candidates for the same place. The order: static (sticky or default gateway)
//! before movable, higher mobility sequence, lower VTEP address, lower VNI on the wire.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use types::Vni;

use super::Map;
use super::endpoint::{self, Endpoints};
use super::judge::Reject;
use super::target::{Facts, ND_IMMUTABLE, ND_ROUTER};

const STICKY: u32 = 1 << 24;
const GATEWAY: u32 = 1 << 25;
const ROUTER: u32 = 1 << 26;
const STATIC_BINDING: u32 = 1 << 27;
const REJECT_SHIFT: u32 = 28;
const VNI_BITS: u32 = 0x00ff_ffff;

/// A type 2 route that belongs to a VNI: 32 octets, since there may be 300,000 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Destination number in the RIB.
    pub dest: u32,
    /// Number of the [endpoint](Endpoints), one user of which this is.
    pub endpoint: u32,
    /// VNI on the wire, flags, [`Reject`] code.
    word: u32,
    /// Mobility sequence.
    pub sequence: u32,
    /// The address, IPv4 mapped into IPv6, all zeros for none.
    ip: [u8; 16],
}

impl Candidate {
    pub(super) fn new(
        dest: u32,
        endpoint: u32,
        wire: Vni,
        ip: Option<IpAddr>,
        facts: Facts,
        reject: Option<Reject>,
    ) -> Self {
        let flag = |on: bool, bit: u32| if on { bit } else { 0 };
        let v6 = matches!(ip, Some(IpAddr::V6(_)));
        let word = wire.get()
            | flag(facts.sticky, STICKY)
            | flag(facts.gateway, GATEWAY)
            | flag(facts.nd & ND_ROUTER != 0 && v6, ROUTER)
            | flag(facts.nd & ND_IMMUTABLE != 0, STATIC_BINDING)
            | reject.map_or(0, |r| (r as u32) << REJECT_SHIFT);
        let ip = match ip {
            None => [0; 16],
            Some(IpAddr::V4(v4)) => v4.to_ipv6_mapped().octets(),
            Some(IpAddr::V6(v6)) => v6.octets(),
        };
        Self { dest, endpoint, word, sequence: facts.sequence, ip }
    }

    pub(super) fn ip(&self) -> Option<IpAddr> {
        let ip = Ipv6Addr::from(self.ip);
        if ip.is_unspecified() {
            return None;
        }
        Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4))
    }

    pub(super) fn wire(&self) -> Vni {
        Vni::new(self.word & VNI_BITS).unwrap_or_default()
    }

    pub(super) const fn sticky(&self) -> bool {
        self.word & STICKY != 0
    }

    pub(super) const fn gateway(&self) -> bool {
        self.word & GATEWAY != 0
    }

    /// Does not move.
    pub(super) const fn fixed(&self) -> bool {
        self.word & (STICKY | GATEWAY) != 0
    }

    pub(super) const fn router(&self) -> bool {
        self.word & ROUTER != 0
    }

    pub(super) const fn static_binding(&self) -> bool {
        self.word & STATIC_BINDING != 0
    }

    /// Why it cannot be used, if so.
    pub(super) fn reject(&self, endpoints: &Endpoints) -> Option<Reject> {
        let reason = Reject::from_code((self.word >> REJECT_SHIFT) as u8);
        reason.or_else(|| (!endpoints.usable(self.endpoint)).then_some(Reject::NoEthernetAd))
    }

    pub(super) fn usable(&self, endpoints: &Endpoints) -> bool {
        self.word >> REJECT_SHIFT == 0 && endpoints.usable(self.endpoint)
    }

    pub(super) fn rank(&self, endpoints: &Endpoints) -> Rank {
        Rank {
            usable: self.usable(endpoints),
            fixed: self.fixed(),
            sequence: self.sequence,
            vtep: Reverse(endpoints.ip(self.endpoint)),
            wire: Reverse(self.wire()),
        }
    }
}

/// Which candidate is better: the greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    usable: bool,
    fixed: bool,
    sequence: u32,
    vtep: Reverse<IpAddr>,
    wire: Reverse<Vni>,
}

/// So many candidates are searched one by one; more are indexed, so that a MAC with very many addresses, or a gateway
/// behind very many VTEPs, does not cost its square.
const FEW: usize = 16;

/// Many candidates, by destination and by rank.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd {
    by_dest: Map<u32, (Candidate, Rank)>,
    ranked: BTreeSet<(Rank, u32)>,
}

impl Crowd {
    fn put(&mut self, candidate: Candidate, endpoints: &Endpoints) -> Option<Candidate> {
        let rank = candidate.rank(endpoints);
        let old = self.by_dest.insert(candidate.dest, (candidate, rank));
        if let Some((_, rank)) = old {
            self.ranked.remove(&(rank, candidate.dest));
        }
        self.ranked.insert((rank, candidate.dest));
        old.map(|(c, _)| c)
    }

    fn remove(&mut self, dest: u32) -> Option<Candidate> {
        let (old, rank) = self.by_dest.remove(&dest)?;
        self.ranked.remove(&(rank, dest));
        Some(old)
    }
}

/// The candidates of a MAC: nearly always one.
#[derive(Clone, Debug, Default)]
pub(super) enum Candidates {
    #[default]
    None,
    One(Candidate),
    Few(Vec<Candidate>),
    Many(Box<Crowd>),
}

impl Candidates {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Candidate> {
        let (few, many) = match self {
            Self::None => (&[][..], None),
            Self::One(one) => (std::slice::from_ref(one), None),
            Self::Few(few) => (&few[..], None),
            Self::Many(many) => (&[][..], Some(many.by_dest.values().map(|(c, _)| c))),
        };
        few.iter().chain(many.into_iter().flatten())
    }

    /// Puts a candidate in, in the place of that of the same destination, which is returned. Its endpoint and that of
    /// all others must have users.
    pub(super) fn put(&mut self, candidate: Candidate, endpoints: &Endpoints) -> Option<Candidate> {
        match self {
            Self::None => *self = Self::One(candidate),
            Self::One(one) if one.dest == candidate.dest => return Some(std::mem::replace(one, candidate)),
            Self::One(one) => *self = Self::Few(vec![*one, candidate]),
            Self::Few(few) => {
                if let Some(old) = few.iter_mut().find(|c| c.dest == candidate.dest) {
                    return Some(std::mem::replace(old, candidate));
                }
                if few.len() < FEW {
                    few.push(candidate);
                } else {
                    let mut crowd = Crowd::default();
                    for c in few.drain(..).chain([candidate]) {
                        crowd.put(c, endpoints);
                    }
                    *self = Self::Many(Box::new(crowd));
                }
            }
            Self::Many(many) => return many.put(candidate, endpoints),
        }
        None
    }

    pub(super) fn remove(&mut self, dest: u32) -> Option<Candidate> {
        match self {
            Self::One(one) if one.dest == dest => {
                let old = *one;
                *self = Self::None;
                Some(old)
            }
            Self::Few(few) => {
                let at = few.iter().position(|c| c.dest == dest)?;
                let old = few.swap_remove(at);
                if let [last] = few[..] {
                    *self = Self::One(last);
                }
                Some(old)
            }
            Self::Many(many) => {
                let old = many.remove(dest)?;
                if many.by_dest.len() <= FEW / 2 {
                    *self = Self::Few(many.by_dest.values().map(|(c, _)| *c).collect());
                }
                Some(old)
            }
            _ => None,
        }
    }

    pub(super) fn get(&self, dest: u32) -> Option<&Candidate> {
        match self {
            Self::None => None,
            Self::One(one) => (one.dest == dest).then_some(one),
            Self::Few(few) => few.iter().find(|c| c.dest == dest),
            Self::Many(many) => many.by_dest.get(&dest).map(|(c, _)| c),
        }
    }

    /// The best one that can be used.
    pub(super) fn best(&self, endpoints: &Endpoints) -> Option<Candidate> {
        match self {
            Self::None => None,
            Self::One(one) => one.usable(endpoints).then_some(*one),
            Self::Few(few) => {
                few.iter().filter(|c| c.usable(endpoints)).max_by_key(|c| c.rank(endpoints)).copied()
            }
            Self::Many(many) => {
                let (rank, dest) = many.ranked.last()?;
                if rank.usable { many.by_dest.get(dest).map(|(c, _)| *c) } else { None }
            }
        }
    }

    /// An Ethernet segment came or went: ranks changed.
    pub(super) fn rerank(&mut self, endpoints: &Endpoints) {
        if let Self::Many(many) = self {
            for (&dest, (candidate, rank)) in &mut many.by_dest {
                let new = candidate.rank(endpoints);
                if *rank != new {
                    many.ranked.remove(&(*rank, dest));
                    many.ranked.insert((new, dest));
                    *rank = new;
                }
            }
        }
    }
}

/// What the dataplane was told of a MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    /// One user of it is this; [`endpoint::NONE`] if nothing is installed.
    pub endpoint: u32,
    word: u32,
}

impl Installed {
    pub(super) const NOTHING: Self = Self { endpoint: endpoint::NONE, word: 0 };

    pub(super) fn of(best: Option<&Candidate>) -> Self {
        best.map_or(Self::NOTHING, |c| Self {
            endpoint: c.endpoint,
            word: c.word & VNI_BITS | if c.fixed() { STICKY } else { 0 },
        })
    }

    pub(super) const fn is_some(self) -> bool {
        self.endpoint != endpoint::NONE
    }

    pub(super) fn wire(self) -> Vni {
        Vni::new(self.word & VNI_BITS).unwrap_or_default()
    }

    pub(super) const fn sticky(self) -> bool {
        self.word & STICKY != 0
    }
}

/// A MAC that routes speak of.
#[derive(Clone, Debug)]
pub(super) struct MacEntry {
    pub candidates: Candidates,
    pub installed: Installed,
}

impl Default for MacEntry {
    fn default() -> Self {
        Self { candidates: Candidates::None, installed: Installed::NOTHING }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bgp::wire::Esi;

    #[test]
    fn stays_small() {
        assert_eq!(size_of::<Candidate>(), 32);
        assert!(size_of::<(types::MacAddr, MacEntry)>() <= 56);
    }

    #[test]
    fn the_order_of_choice() {
        let mut endpoints = Endpoints::default();
        let one = endpoints.acquire("10.0.0.1".parse().unwrap(), Esi::ZERO);
        let two = endpoints.acquire("10.0.0.2".parse().unwrap(), Esi::ZERO);
        let far = endpoints.acquire("10.0.0.0".parse().unwrap(), Esi([1; 10]));
        let vni = Vni::new(100).unwrap();
        let facts = |sequence, sticky| Facts { sequence, sticky, ..Facts::default() };
        let new = |dest, endpoint, f| Candidate::new(dest, endpoint, vni, None, f, None);
        let choose = |list: &[Candidate]| {
            let mut candidates = Candidates::default();
            for &c in list {
                candidates.put(c, &endpoints);
            }
            candidates.best(&endpoints).map(|c| c.dest)
        };
        assert_eq!(choose(&[]), None);
        assert_eq!(
            choose(&[new(1, two, facts(0, false)), new(2, one, facts(0, false))]),
            Some(2),
            "lower VTEP"
        );
        assert_eq!(
            choose(&[new(1, two, facts(1, false)), new(2, one, facts(0, false))]),
            Some(1),
            "sequence first"
        );
        assert_eq!(
            choose(&[new(1, two, facts(0, true)), new(2, one, facts(9, false))]),
            Some(1),
            "static first"
        );
        let gateway = Facts { gateway: true, ..Facts::default() };
        assert_eq!(choose(&[new(1, two, gateway), new(2, one, facts(9, false))]), Some(1), "so is a gateway");
        assert_eq!(
            choose(&[new(1, far, facts(9, false)), new(2, one, facts(0, false))]),
            Some(2),
            "no A-D route"
        );
        let bad = Candidate::new(3, one, vni, None, facts(9, true), Some(Reject::NotVxlan));
        assert_eq!(choose(&[bad, new(2, two, facts(0, false))]), Some(2));
    }

    #[test]
    fn candidates_come_and_go_few_and_many_alike() {
        let mut endpoints = Endpoints::default();
        let at: Vec<_> =
            (0..50u8).map(|n| endpoints.acquire([10, 0, 0, 1 + n % 5].into(), Esi([n % 3; 10]))).collect();
        let c = |dest: u32, sequence| {
            let facts = Facts { sequence, ..Facts::default() };
            Candidate::new(dest, at[dest as usize], Vni::ZERO, None, facts, None)
        };
        let mut all = Candidates::default();
        let mut list: Vec<Candidate> = Vec::new();
        let check = |all: &Candidates, list: &[Candidate], endpoints: &Endpoints| {
            let best = list.iter().filter(|c| c.usable(endpoints)).map(|c| c.rank(endpoints)).max();
            assert_eq!(all.best(endpoints).map(|c| c.rank(endpoints)), best);
            let mut dests: Vec<_> = all.iter().map(|c| c.dest).collect();
            dests.sort_unstable();
            let mut expected: Vec<_> = list.iter().map(|c| c.dest).collect();
            expected.sort_unstable();
            assert_eq!(dests, expected);
        };
        for step in 0..2000u32 {
            let dest = step.wrapping_mul(2_654_435_761) >> 7;
            let (dest, sequence) = (dest % 50, dest % 7);
            // Grows for a while, shrinks for a while.
            if step * 7 % 10 < if step / 200 % 2 == 0 { 8 } else { 2 } {
                let old = list.iter().position(|c| c.dest == dest).map(|at| list.swap_remove(at));
                assert_eq!(all.put(c(dest, sequence), &endpoints), old);
                list.push(c(dest, sequence));
            } else {
                let old = list.iter().position(|c| c.dest == dest).map(|at| list.swap_remove(at));
                assert_eq!(all.remove(dest), old);
            }
            if step % 50 == 0 {
                if step % 100 == 0 {
                    endpoints.announce(at[1])
                } else {
                    endpoints.unannounce(at[1])
                };
                all.rerank(&endpoints);
            }
            assert_eq!(all.get(dest), list.iter().find(|c| c.dest == dest));
            check(&all, &list, &endpoints);
        }
    }

    #[test]
    fn addresses_survive_packing() {
        for ip in ["10.0.0.1", "2001:db8::1", "fe80::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(Candidate::new(0, 0, Vni::MAX, Some(ip), Facts::default(), None).ip(), Some(ip));
        }
        let c = Candidate::new(0, 0, Vni::MAX, None, Facts::default(), Some(Reject::NoEthernetAd));
        assert_eq!((c.ip(), c.wire(), c.sticky()), (None, Vni::MAX, false));
        assert_eq!(c.reject(&Endpoints::default()), Some(Reject::NoEthernetAd));
    }
}
