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

/// What a VRF brings.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claim {
    /// It is configured.
    Fixed(Rd),
    /// It was given this one before.
    Has(Rd),
    /// It is new.
    Any,
}

/// Numbers in use.
struct Taken(Vec<bool>);

impl Taken {
    fn new() -> Self {
        let mut taken = vec![false; NUMBERS];
        taken[0] = true;
        Self(taken)
    }

    fn take(&mut self, n: u16) {
        self.0[usize::from(n)] = true;
    }

    /// The first free number from `start` upwards.
    fn next(&self, start: u16) -> Option<u16> {
        (0..=u16::MAX).map(|step| start.wrapping_add(step)).find(|&n| !self.0[usize::from(n)])
    }
}

/// The N of `router-id:N`.
fn number(rd: Rd, router_id: Ipv4Addr) -> Option<u16> {
    let n = u16::from_be_bytes([rd.0[6], rd.0[7]]);
    (rd == Rd::from_ip(router_id, n)).then_some(n)
}

/// The distinguisher of each.
pub(super) fn assign(
    router_id: Ipv4Addr,
    all: impl Iterator<Item = (Owner, Claim)>,
) -> Result<Map<Owner, Rd>, ConfigError> {
    let mut taken = Taken::new();
    let mut rds = Map::default();
    let mut owners = Map::default();
    let (mut have, mut open) = (Vec::new(), Vec::new());
    for (owner, claim) in all {
        let rd = match claim {
            Claim::Fixed(rd) => rd,
            Claim::Has(rd) => {
                have.push((owner, rd));
                continue;
            }
            Claim::Any => {
                open.push(owner);
                continue;
            }
        };
        if owners.insert(rd, owner).is_some() {
            return Err(ConfigError::DuplicateRd(rd, owner.vni()));
        }
        if let Some(n) = number(rd, router_id) {
            taken.take(n);
        }
        rds.insert(owner, rd);
    }
    for (owner, rd) in have {
        match number(rd, router_id) {
            Some(n) if !owners.contains_key(&rd) => {
                taken.take(n);
                rds.insert(owner, rd);
            }
            _ => open.push(owner),
        }
    }
    open.sort_unstable();
    for owner in open {
        let n = taken.next(owner.wants()).ok_or(ConfigError::NoRdLeft(owner.vni()))?;
        taken.take(n);
        rds.insert(owner, Rd::from_ip(router_id, n));
    }
    Ok(rds)
}

/// A distinguisher for a VNI that is not configured, that none of the configured ones has.
pub(super) fn spare(router_id: Ipv4Addr, used: impl Iterator<Item = Rd>, owner: Owner) -> Option<Rd> {
    let mut taken = Taken::new();
    for n in used.filter_map(|rd| number(rd, router_id)) {
        taken.take(n);
    }
    taken.next(owner.wants()).map(|n| Rd::from_ip(router_id, n))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn vni(n: u32) -> Vni {
        Vni::new(n).unwrap()
    }

    fn assigned(list: &[(Owner, Claim)]) -> Vec<u16> {
        let rds = assign(ROUTER, list.iter().copied()).unwrap();
        list.iter().map(|(owner, _)| number(rds[owner], ROUTER).unwrap()).collect()
    }

    fn numbers(vnis: &[(u32, Option<&str>)]) -> Vec<u16> {
        let claim = |rd: Option<&str>| rd.map_or(Claim::Any, |t| Claim::Fixed(t.parse().unwrap()));
        let list: Vec<_> = vnis.iter().map(|&(v, rd)| (Owner::Mac(vni(v)), claim(rd))).collect();
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
        assert_eq!(assigned(&[(ip, Claim::Any), (mac, Claim::Any)]), [32_778, 10]);
        let other = Owner::Mac(vni(32_778));
        assert_eq!(assigned(&[(ip, Claim::Any), (other, Claim::Any)]), [32_779, 32_778]);
        assert_eq!(assigned(&[(Owner::Ip(vni(32_768)), Claim::Any)]), [1], "never 0");
    }

    #[test]
    fn what_has_a_number_keeps_it() {
        let (ip, mac) = (Owner::Ip(vni(10)), Owner::Mac(vni(32_778)));
        let has = Claim::Has(Rd::from_ip(ROUTER, 32_778));
        assert_eq!(assigned(&[(mac, Claim::Any), (ip, has)]), [32_779, 32_778]);
        let fixed = Claim::Fixed(Rd::from_ip(ROUTER, 32_778));
        assert_eq!(
            assigned(&[(mac, fixed), (ip, has)]),
            [32_778, 32_779],
            "unless it is configured elsewhere"
        );
    }

    #[test]
    fn the_same_twice_is_refused() {
        let rd: Rd = "65000:1".parse().unwrap();
        let list = [1, 2].map(|n| (Owner::Mac(vni(n)), Claim::Fixed(rd)));
        assert_eq!(assign(ROUTER, list.into_iter()), Err(ConfigError::DuplicateRd(rd, vni(2))));
    }

    #[test]
    fn more_vnis_than_numbers_is_an_error_not_a_clash() {
        let all = (1..=65_536).map(|v| (Owner::Mac(vni(v)), Claim::Any));
        assert_eq!(assign(ROUTER, all), Err(ConfigError::NoRdLeft(vni(65_536))));
        let used = (1..=100).map(|n| Rd::from_ip(ROUTER, n));
        assert_eq!(spare(ROUTER, used, Owner::Mac(vni(50))), Some(Rd::from_ip(ROUTER, 101)));
    }
}
