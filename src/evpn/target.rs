//! Which VNIs and VRFs a route belongs to: import route targets and a fast answer (RFC 7432 §7.10, RFC 8365 §5.1.2.1).
//!
//! `auto` imports `*:VNI` from any AS, as FRR does, and the form of RFC 8365 (number 0x10000000 + VNI, domain 0) from
//! any AS, as Junos sends it; it exports `(AS mod 65536):VNI` in the two-octet-AS form, as FRR does, since a four-octet
//! AS leaves only 16 bits for the number. NX-OS imports by exact value only: configure targets explicitly there.
//!
//! The answer is looked up by exact target and by number, so a route costs the same with 1 VNI and with 4,000, and
//! it is remembered per attribute set. Ids of attribute sets are reused by the RIB, so a remembered answer counts only
//! while the extended communities it was made from are, octet for octet, those of the route.

use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;

use bgp::wire::community::ParseRtError;
use bgp::wire::{ExtCommunity, RouteTarget};
use types::{MacAddr, Vni};

use super::Map;

/// Which routes a VNI takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImportRt {
    /// This route target, all eight octets of it.
    Exact(RouteTarget),
    /// `*:N`: this number under any AS, two or four octets long.
    AnyAs(u32),
    /// `*:VNI`, and the form of RFC 8365 §5.1.2.1 from any AS.
    Auto,
}

impl fmt::Display for ImportRt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(rt) => rt.fmt(f),
            Self::AnyAs(number) => f.pad(&format!("*:{number}")),
            Self::Auto => f.pad("auto"),
        }
    }
}

impl FromStr for ImportRt {
    type Err = ParseRtError;
    fn from_str(s: &str) -> Result<Self, ParseRtError> {
        if s == "auto" {
            return Ok(Self::Auto);
        }
        match s.strip_prefix("*:") {
            Some(number) => number.parse().map(Self::AnyAs).map_err(|_| ParseRtError),
            None => s.parse().map(Self::Exact),
        }
    }
}

/// The automatic export target: `(AS mod 65536):VNI`.
pub fn auto_export(asn: u32, vni: Vni) -> RouteTarget {
    let [_, _, hi, lo] = asn.to_be_bytes();
    let [a, b, c, d] = vni.get().to_be_bytes();
    RouteTarget([0x00, 0x02, hi, lo, a, b, c, d])
}

/// The number RFC 8365 §5.1.2.1 derives from a VNI: automatic, type VXLAN, domain 0.
const fn rfc8365(vni: Vni) -> u32 {
    0x1000_0000 | vni.get()
}

/// The number after the AS; targets that lead with an IPv4 address have no AS.
const fn number(rt: RouteTarget) -> Option<u32> {
    match rt.0 {
        [0, _, _, _, a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
        [2, _, _, _, _, _, c, d] => Some(u32::from_be_bytes([0, 0, c, d])),
        _ => None,
    }
}

/// What the extended communities of a route say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Encapsulation communities are there and none is VXLAN; with none at all VXLAN is assumed (RFC 8365 §5.1.3
    /// leaves it to configuration, and FRR assumes so too).
    pub not_vxlan: bool,
    /// MAC mobility.
    pub sequence: u32,
    /// MAC mobility, static flag.
    pub sticky: bool,
    /// Default gateway (RFC 7432 §10.1).
    pub gateway: bool,
    /// Flags of the first ARP/ND community (RFC 9047), zero without one.
    pub nd: u8,
    /// The first Router's MAC (RFC 9135 §8.1).
    pub router_mac: Option<MacAddr>,
}

/// ARP/ND flags: the binding is of a router.
pub(super) const ND_ROUTER: u8 = 0x01;
/// ARP/ND flags: override the neighbour cache.
pub(super) const ND_OVERRIDE: u8 = 0x02;
/// ARP/ND flags: the binding is static.
pub(super) const ND_IMMUTABLE: u8 = 0x08;

impl Facts {
    pub(super) fn of(communities: &[ExtCommunity]) -> Self {
        let mut facts = Self::default();
        let (mut mobility, mut nd, mut encapsulation, mut vxlan) = (None, None, false, false);
        for community in communities {
            match community.0 {
                [0x03, 0x0c, .., hi, lo] => {
                    encapsulation = true;
                    vxlan |= [hi, lo] == [0, 8];
                }
                [0x03, 0x0d, ..] => facts.gateway = true,
                [0x06, 0x00, ..] => mobility = mobility.or_else(|| community.as_mac_mobility()),
                [0x06, 0x08, flags, ..] => nd = nd.or(Some(flags)),
                [0x06, 0x03, ..] => facts.router_mac = facts.router_mac.or(community.as_router_mac()),
                _ => {}
            }
        }
        (facts.sequence, facts.sticky) = mobility.unwrap_or_default();
        facts.nd = nd.unwrap_or_default();
        facts.not_vxlan = encapsulation && !vxlan;
        facts
    }
}

/// What is remembered of an attribute set.
#[derive(Debug)]
struct Answer {
    /// Of VNIs as they were then.
    generation: u64,
    /// `None`: good for one look only.
    attr_id: Option<u32>,
    communities: Box<[ExtCommunity]>,
    slots: Box<[u32]>,
    facts: Facts,
}

/// Answers remembered; a power of two.
const REMEMBERED: usize = 4096;
/// Longer lists of communities are not remembered: a peer decides how long they are.
const LONGEST: usize = 64;

/// Route targets to slots (the numbers of VNIs and VRFs).
#[derive(Debug, Default)]
pub(super) struct Imports {
    exact: Map<RouteTarget, Vec<u32>>,
    any_as: Map<u32, Vec<u32>>,
    answers: Vec<Option<Box<Answer>>>,
    /// Counts changes: answers of before do not count.
    generation: u64,
}

impl Imports {
    /// How often a VNI came or went.
    #[cfg(test)]
    pub(super) const fn changes(&self) -> u64 {
        self.generation
    }

    /// One VNI more; its slot has none yet.
    pub(super) fn add(&mut self, slot: u32, vni: Vni, targets: &[ImportRt]) {
        self.generation += 1;
        for target in or_auto(targets) {
            match *target {
                ImportRt::Exact(rt) => self.exact.entry(rt).or_default().push(slot),
                ImportRt::AnyAs(number) => self.any_as.entry(number).or_default().push(slot),
                ImportRt::Auto => {
                    self.any_as.entry(vni.get()).or_default().push(slot);
                    self.any_as.entry(rfc8365(vni)).or_default().push(slot);
                }
            }
        }
    }

    /// One VNI fewer; with the targets that it was added with.
    pub(super) fn remove(&mut self, slot: u32, vni: Vni, targets: &[ImportRt]) {
        self.generation += 1;
        for target in or_auto(targets) {
            match *target {
                ImportRt::Exact(rt) => take_out(&mut self.exact, rt, slot),
                ImportRt::AnyAs(number) => take_out(&mut self.any_as, number, slot),
                ImportRt::Auto => {
                    take_out(&mut self.any_as, vni.get(), slot);
                    take_out(&mut self.any_as, rfc8365(vni), slot);
                }
            }
        }
    }

    /// The slots that take a route with these communities, ascending.
    pub(super) fn slots(&self, communities: &[ExtCommunity]) -> Vec<u32> {
        let mut slots = Vec::new();
        for rt in communities.iter().filter_map(|c| c.as_route_target()) {
            slots.extend(self.exact.get(&rt).into_iter().flatten());
            slots.extend(number(rt).and_then(|n| self.any_as.get(&n)).into_iter().flatten());
        }
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// The same with what else the communities say, remembered.
    pub(super) fn answer(&mut self, attr_id: u32, communities: &[ExtCommunity]) -> (&[u32], Facts) {
        if self.answers.is_empty() {
            self.answers.resize_with(REMEMBERED, || None);
        }
        let place = attr_id as usize & (REMEMBERED - 1);
        let generation = self.generation;
        let good = |a: &Answer| {
            a.generation == generation && a.attr_id == Some(attr_id) && *a.communities == *communities
        };
        if !self.answers[place].as_deref().is_some_and(good) {
            let (slots, facts) = (self.slots(communities).into(), Facts::of(communities));
            let long = communities.len() > LONGEST;
            let (attr_id, communities) = if long { (None, &[][..]) } else { (Some(attr_id), communities) };
            let answer = Answer { generation, attr_id, communities: communities.into(), slots, facts };
            self.answers[place] = Some(Box::new(answer));
        }
        let answer = self.answers[place].as_deref().expect("just put there");
        (&answer.slots, answer.facts)
    }
}

/// The targets that count where none is said.
fn or_auto(targets: &[ImportRt]) -> &[ImportRt] {
    if targets.is_empty() { &[ImportRt::Auto] } else { targets }
}

fn take_out<K: Hash + Eq>(lists: &mut Map<K, Vec<u32>>, key: K, slot: u32) {
    if let Entry::Occupied(mut list) = lists.entry(key) {
        list.get_mut().retain(|s| *s != slot);
        if list.get().is_empty() {
            list.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vni(n: u32) -> Vni {
        Vni::new(n).unwrap()
    }

    fn communities(targets: &[&str]) -> Vec<ExtCommunity> {
        targets.iter().map(|t| t.parse::<RouteTarget>().unwrap().community()).collect()
    }

    #[test]
    fn every_form_matches_what_it_should_and_nothing_else() {
        let mut imports = Imports::default();
        let exact = ["65000:100".parse().unwrap(), "4200000000:100".parse().unwrap()];
        let any = ["*:200".parse().unwrap()];
        for (slot, number, targets) in [(0, 1, &exact[..]), (1, 2, &any), (2, 300, &[])] {
            imports.add(slot, vni(number), targets);
        }
        for (targets, slots) in [
            (&["65000:100"][..], &[0][..]),
            (&["65001:100"], &[]),
            (&["4200000000:100"], &[0]),
            (&["10.0.0.1:100"], &[]),
            (&["1:200"], &[1]),
            (&["4200000000:200"], &[1]),
            (&["10.0.0.1:200"], &[]),
            (&["65000:300"], &[2]),
            (&["23456:300"], &[2]),
            (&["4200000000:300"], &[2]),
            (&["7:268435756"], &[2]), // 0x1000_0000 + 300
            (&["7:301"], &[]),
            (&["7:300", "1:200", "65000:100", "9:300"], &[0, 1, 2]),
            (&[], &[]),
        ] {
            assert_eq!(imports.slots(&communities(targets)), slots, "{targets:?}");
        }
    }

    #[test]
    fn four_octet_and_two_octet_forms_of_an_as_differ() {
        let two: RouteTarget = "65000:100".parse().unwrap();
        let four = RouteTarget([2, 2, 0, 0, 0xfd, 0xe8, 0, 100]);
        let mut imports = Imports::default();
        imports.add(0, vni(1), &[ImportRt::Exact(two)]);
        assert_eq!(imports.slots(&[two.community()]), [0]);
        assert_eq!(imports.slots(&[four.community()]), [0; 0]);
    }

    #[test]
    fn automatic_export_is_the_low_half_of_the_as() {
        assert_eq!(auto_export(65001, vni(100)).to_string(), "65001:100");
        assert_eq!(auto_export(4_200_000_001, vni(16_777_215)).0, [0, 2, 0xea, 1, 0, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn a_reused_attribute_id_is_looked_up_again() {
        let mut imports = Imports::default();
        imports.add(0, vni(100), &[]);
        imports.add(1, vni(200), &[]);
        assert_eq!(imports.answer(7, &communities(&["1:100"])).0, [0]);
        assert_eq!(imports.answer(7, &communities(&["1:100"])).0, [0]);
        assert_eq!(imports.answer(7, &communities(&["1:200"])).0, [1]);
        assert_eq!(imports.answer(7 + REMEMBERED as u32, &communities(&["1:100"])).0, [0]);
        let long: Vec<_> = communities(&["1:100"]).into_iter().cycle().take(1000).collect();
        for _ in 0..2 {
            assert_eq!(imports.answer(9, &long).0, [0]);
        }
        assert_eq!(imports.answer(9, &[]).0, [0; 0]);
    }

    #[test]
    fn vnis_come_and_go_one_by_one() {
        let mut imports = Imports::default();
        let targets = ["1:100".parse().unwrap(), "*:7".parse().unwrap(), ImportRt::Auto];
        imports.add(0, vni(100), &[]);
        assert_eq!(imports.answer(1, &communities(&["1:100"])).0, [0]);
        imports.add(1, vni(7), &targets);
        assert_eq!(imports.answer(1, &communities(&["1:100"])).0, [0, 1], "what is remembered is of before");
        imports.remove(0, vni(100), &[]);
        assert_eq!(imports.answer(1, &communities(&["1:100"])).0, [1]);
        imports.remove(1, vni(7), &targets);
        assert_eq!(imports.answer(1, &communities(&["1:100", "9:7"])).0, [0; 0]);
        assert!(imports.exact.is_empty() && imports.any_as.is_empty(), "{imports:?}");
    }

    #[test]
    fn facts_take_the_first_of_repeated_communities() {
        let mut list = vec![ExtCommunity::mac_mobility(7, true), ExtCommunity::mac_mobility(9, false)];
        assert_eq!(Facts::of(&list), Facts { sequence: 7, sticky: true, ..Facts::default() });
        list.push(ExtCommunity([3, 0x0c, 0, 0, 0, 0, 0, 10]));
        assert!(Facts::of(&list).not_vxlan);
        list.push(ExtCommunity::VXLAN);
        list.push(ExtCommunity::DEFAULT_GATEWAY);
        list.push(ExtCommunity([6, 8, ND_ROUTER, 0, 0, 0, 0, 0]));
        list.push(ExtCommunity([6, 8, ND_IMMUTABLE, 0, 0, 0, 0, 0]));
        list.extend([1, 2].map(|n| ExtCommunity::router_mac(MacAddr([2, 0, 0, 0, 0, n]))));
        let facts = Facts {
            sequence: 7,
            sticky: true,
            gateway: true,
            nd: ND_ROUTER,
            not_vxlan: false,
            router_mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
        };
        assert_eq!(Facts::of(&list), facts);
    }
}
