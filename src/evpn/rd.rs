//! Route distinguishers: unique per node and VNI (RFC 7432 §7.9), so that a route reflector never hides the path of one
//! VTEP behind that of another.
//!
//! The automatic one is `router-id:N`. N is a function of the set of configured VNIs alone, not of their order and not
//! of history, so that it survives restarts: a VNI up to 65535 takes its own number; then larger ones, in ascending
//! order, take their low 16 bits or, where those are taken (or zero), the next free number upwards, wrapping at 65535.
//! Numbers of configured distinguishers `router-id:N` are taken first. A large VNI may thus change its N when another
//! VNI comes that has a better right to it; give it an `rd` where that matters.

use std::net::Ipv4Addr;

use bgp::wire::Rd;
use types::Vni;

use super::Map;
use super::config::ConfigError;

const NUMBERS: usize = 1 << 16;

/// Numbers in use.
struct Taken(Vec<bool>);

impl Taken {
    fn new() -> Self {
        let mut taken = vec![false; NUMBERS];
        taken[0] = true;
        Self(taken)
    }

    /// The first free number from the low 16 bits of `vni` upwards.
    fn next(&self, vni: Vni) -> Option<u16> {
        let start = vni.get() as u16;
        (0..=u16::MAX).map(|step| start.wrapping_add(step)).find(|&n| !self.0[usize::from(n)])
    }
}

/// The N of `router-id:N`.
fn number(rd: Rd, router_id: Ipv4Addr) -> Option<u16> {
    let n = u16::from_be_bytes([rd.0[6], rd.0[7]]);
    (rd == Rd::from_ip(router_id, n)).then_some(n)
}

/// The distinguisher of each VNI.
pub(super) fn assign(
    router_id: Ipv4Addr,
    vnis: impl Iterator<Item = (Vni, Option<Rd>)>,
) -> Result<Map<Vni, Rd>, ConfigError> {
    let mut taken = Taken::new();
    let mut rds = Map::default();
    let mut owners = Map::default();
    let mut open = Vec::new();
    for (vni, rd) in vnis {
        let Some(rd) = rd else {
            open.push(vni);
            continue;
        };
        if owners.insert(rd, vni).is_some() {
            return Err(ConfigError::DuplicateRd(rd, vni));
        }
        if let Some(n) = number(rd, router_id) {
            taken.0[usize::from(n)] = true;
        }
        rds.insert(vni, rd);
    }
    open.sort_unstable();
    for vni in open {
        let n = taken.next(vni).ok_or(ConfigError::NoRdLeft(vni))?;
        taken.0[usize::from(n)] = true;
        rds.insert(vni, Rd::from_ip(router_id, n));
    }
    Ok(rds)
}

/// A distinguisher for a VNI that is not configured, that none of the configured ones has.
pub(super) fn spare(router_id: Ipv4Addr, used: impl Iterator<Item = Rd>, vni: Vni) -> Option<Rd> {
    let mut taken = Taken::new();
    for n in used.filter_map(|rd| number(rd, router_id)) {
        taken.0[usize::from(n)] = true;
    }
    taken.next(vni).map(|n| Rd::from_ip(router_id, n))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn numbers(vnis: &[(u32, Option<&str>)]) -> Vec<u16> {
        let list = vnis.iter().map(|&(v, rd)| (Vni::new(v).unwrap(), rd.map(|t| t.parse().unwrap())));
        let rds = assign(ROUTER, list).unwrap();
        vnis.iter().map(|(v, _)| number(rds[&Vni::new(*v).unwrap()], ROUTER).unwrap()).collect()
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
    fn the_same_twice_is_refused() {
        let rd: Rd = "65000:1".parse().unwrap();
        let list = [(Vni::new(1).unwrap(), Some(rd)), (Vni::new(2).unwrap(), Some(rd))];
        assert_eq!(assign(ROUTER, list.into_iter()), Err(ConfigError::DuplicateRd(rd, list[1].0)));
    }

    #[test]
    fn more_vnis_than_numbers_is_an_error_not_a_clash() {
        let all = (1..=65_536).map(|v| (Vni::new(v).unwrap(), None));
        assert_eq!(assign(ROUTER, all), Err(ConfigError::NoRdLeft(Vni::new(65_536).unwrap())));
        let used = (1..=100).map(|n| Rd::from_ip(ROUTER, n));
        assert_eq!(spare(ROUTER, used, Vni::new(50).unwrap()), Some(Rd::from_ip(ROUTER, 101)));
    }
}
