//! Route distinguishers: unique per node and MAC-VRF or IP-VRF (RFC 7432 §7.9, RFC 9136 §3.1), so that a route
//! reflector never hides the path of one VTEP behind that of another, and withdrawing a route of one VRF never
//! withdraws one of another.
//!
//! The automatic one is `router-id:N`. A VNI up to 65535 takes its own number, a VRF of such a VNI the number 32768
//! away from it; larger ones want what their low 16 bits say. Who cannot have what it wants takes the next free number
//! upwards, wrapping at 65535; MAC-VRFs are served before IP-VRFs, and small VNIs before large ones.
//!
//! What has a number keeps it while it is there, whoever comes or goes, unless the configuration gives that very
//! distinguisher to another. So N is a function of the VNIs and VRFs alone, and survives restarts, but where two want
//! the same number: give a VNI an `rd` where that matters.

use std::net::Ipv4Addr;

use bgp::wire::Rd;
use types::Vni;

use super::Map;
use super::config::ConfigError;

const NUMBERS: usize = 1 << 16;

/// Who has a route distinguisher, in the order they are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    /// The MAC-VRF of a VNI.
    Mac(Vni),
    /// The IP-VRF of a VNI.
    Ip(Vni),
}

impl Owner {
    const fn vni(self) -> Vni {
        match self {
            Self::Mac(vni) | Self::Ip(vni) => vni,
        }
    }

    /// The number it would have if it were alone.
    const fn wants(self) -> u16 {
        match self {
            Self::Mac(vni) => vni.get() as u16,
            Self::Ip(vni) => vni.get() as u16 ^ 0x8000,
        }
    }
}

/// A distinguisher, and whether the configuration says so.
#[derive(Clone, Copy, Debug)]
struct Given {
    rd: Rd,
    fixed: bool,
}

/// Who has which distinguisher.
#[derive(Debug)]
pub(super) struct Rds {
    router_id: Ipv4Addr,
    given: Map<Owner, Given>,
    /// Which N of `router-id:N` are in use; 0 is never free.
    taken: Vec<bool>,
}

impl Rds {
    /// Nobody has any.
    pub(super) fn new(router_id: Ipv4Addr) -> Self {
        let mut taken = vec![false; NUMBERS];
        taken[0] = true;
        Self { router_id, given: Map::default(), taken }
    }

    /// The one that somebody has.
    pub(super) fn get(&self, owner: Owner) -> Option<Rd> {
        self.given.get(&owner).map(|given| given.rd)
    }

    /// The distinguishers of these, with what the configuration says of each; who has an automatic one keeps it, if it
    /// can be.
    pub(super) fn assign(&self, all: impl Iterator<Item = (Owner, Option<Rd>)>) -> Result<Self, ConfigError> {
        let mut new = Self::new(self.router_id);
        let mut owners = Map::default();
        let mut open = Vec::new();
        for (owner, rd) in all {
            let Some(rd) = rd else {
                open.push(owner);
                continue;
            };
            if owners.insert(rd, owner).is_some() {
                return Err(ConfigError::DuplicateRd(rd, owner.vni()));
            }
            new.put(owner, Given { rd, fixed: true });
        }
        open.retain(|owner| match self.given.get(owner) {
            Some(&given) if !given.fixed && !owners.contains_key(&given.rd) => {
                new.put(*owner, given);
                false
            }
            _ => true,
        });
        open.sort_unstable();
        for owner in open {
            new.give(owner)?;
        }
        Ok(new)
    }

    /// The one of somebody; an automatic one, if there is none yet.
    pub(super) fn give(&mut self, owner: Owner) -> Result<Rd, ConfigError> {
        if let Some(rd) = self.get(owner) {
            return Ok(rd);
        }
        let rd = self.spare(owner).ok_or(ConfigError::NoRdLeft(owner.vni()))?;
        self.put(owner, Given { rd, fixed: false });
        Ok(rd)
    }

    /// The one of somebody is free again.
    pub(super) fn take_back(&mut self, owner: Owner) {
        if let Some(n) = self.given.remove(&owner).and_then(|given| number(given.rd, self.router_id)) {
            self.taken[usize::from(n)] = false;
        }
    }

    /// What somebody would get who has none.
    pub(super) fn spare(&self, owner: Owner) -> Option<Rd> {
        let from = owner.wants();
        let mut numbers = (0..=u16::MAX).map(|step| from.wrapping_add(step));
        let n = numbers.find(|&n| !self.taken[usize::from(n)])?;
        Some(Rd::from_ip(self.router_id, n))
    }

    fn put(&mut self, owner: Owner, given: Given) {
        if let Some(n) = number(given.rd, self.router_id) {
            self.taken[usize::from(n)] = true;
        }
        self.given.insert(owner, given);
    }
}

/// The N of `router-id:N`.
fn number(rd: Rd, router_id: Ipv4Addr) -> Option<u16> {
    let n = u16::from_be_bytes([rd.0[6], rd.0[7]]);
    (rd == Rd::from_ip(router_id, n)).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn vni(n: u32) -> Vni {
        Vni::new(n).unwrap()
    }

    fn rd(n: u16) -> Rd {
        Rd::from_ip(ROUTER, n)
    }

    /// What each gets, beside those who have one already.
    fn after(before: &Rds, list: &[(Owner, Option<Rd>)]) -> Vec<u16> {
        let rds = before.assign(list.iter().copied()).unwrap();
        list.iter().map(|(owner, _)| number(rds.get(*owner).unwrap(), ROUTER).unwrap()).collect()
    }

    fn assigned(list: &[(Owner, Option<Rd>)]) -> Vec<u16> {
        after(&Rds::new(ROUTER), list)
    }

    fn numbers(vnis: &[(u32, Option<&str>)]) -> Vec<u16> {
        let list: Vec<_> =
            vnis.iter().map(|&(v, rd)| (Owner::Mac(vni(v)), rd.map(|text| text.parse().unwrap()))).collect();
        assigned(&list)
    }

    #[test]
    fn small_vnis_take_their_own_number_and_large_ones_the_next_free() {
        assert_eq!(numbers(&[(100, None), (65535, None)]), [100, 65535]);
        // 65636 = 65536 + 100, 131172 = 2 * 65536 + 100
        assert_eq!(numbers(&[(131_172, None), (65_636, None), (100, None)]), [102, 101, 100]);
        assert_eq!(
            numbers(&[(100, None), (65_636, None), (131_172, None)]),
            [100, 101, 102],
            "order is nothing"
        );
        assert_eq!(numbers(&[(65_536, None), (131_071, None)]), [1, 65535], "never 0");
        assert_eq!(numbers(&[(100, None), (7, Some("10.0.0.1:100"))]), [101, 100], "configured ones first");
    }

    #[test]
    fn the_vrf_of_a_vni_has_another_number_than_its_mac_vrf() {
        let (mac, ip) = (Owner::Mac(vni(10)), Owner::Ip(vni(10)));
        assert_eq!(assigned(&[(ip, None), (mac, None)]), [32_778, 10]);
        let other = Owner::Mac(vni(32_778));
        assert_eq!(assigned(&[(ip, None), (other, None)]), [32_779, 32_778]);
        assert_eq!(assigned(&[(Owner::Ip(vni(32_768)), None)]), [1], "never 0");
    }

    #[test]
    fn what_has_a_number_keeps_it() {
        let (ip, mac) = (Owner::Ip(vni(10)), Owner::Mac(vni(32_778)));
        let before = Rds::new(ROUTER).assign([(ip, None)].into_iter()).unwrap();
        assert_eq!(after(&before, &[(mac, None), (ip, None)]), [32_779, 32_778]);
        assert_eq!(
            after(&before, &[(mac, Some(rd(32_778))), (ip, None)]),
            [32_778, 32_779],
            "unless it is configured elsewhere"
        );
        let fixed = Rds::new(ROUTER).assign([(mac, Some(rd(7)))].into_iter()).unwrap();
        assert_eq!(after(&fixed, &[(mac, None)]), [32_778], "or was, and is no longer");
    }

    #[test]
    fn one_more_takes_what_is_free_and_gives_it_back() {
        let (small, large) = (Owner::Mac(vni(100)), Owner::Mac(vni(65_636)));
        let mut rds = Rds::new(ROUTER).assign([(Owner::Mac(vni(7)), Some(rd(101)))].into_iter()).unwrap();
        assert_eq!(rds.give(large), Ok(rd(100)));
        assert_eq!(rds.give(large), Ok(rd(100)));
        assert_eq!(rds.give(small), Ok(rd(102)));
        rds.take_back(large);
        assert_eq!((rds.get(large), rds.give(small)), (None, Ok(rd(102))));
        assert_eq!(rds.spare(large), Some(rd(100)));
        rds.take_back(large);
    }

    #[test]
    fn the_same_twice_is_refused() {
        let rd: Rd = "65000:1".parse().unwrap();
        let list = [1, 2].map(|n| (Owner::Mac(vni(n)), Some(rd)));
        let refused = Rds::new(ROUTER).assign(list.into_iter()).unwrap_err();
        assert_eq!(refused, ConfigError::DuplicateRd(rd, vni(2)));
    }

    #[test]
    fn more_vnis_than_numbers_is_an_error_not_a_clash() {
        let all = |n| (1..=n).map(|v| (Owner::Mac(vni(v)), None));
        let refused = Rds::new(ROUTER).assign(all(65_536)).unwrap_err();
        assert_eq!(refused, ConfigError::NoRdLeft(vni(65_536)));
        let some = Rds::new(ROUTER).assign(all(100)).unwrap();
        assert_eq!(some.spare(Owner::Mac(vni(65_586))), Some(rd(101)));
    }
}
