//! Sets of hops: what several prefixes share that go the same ways, and which way each of 256 buckets takes.
//!
//! The owner of a bucket is found by rendezvous hashing (Thaler and Ravishankar 1998) over the hops alone: a hop that
//! goes gives its buckets to the others and moves nothing else; a hop that comes takes some of each.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;
use ipnet::IpNet;
use types::Vni;

use crate::intent::Hop;

/// Buckets a set is spread over; what the `multipath` action is told too. With 64 of them, one of eight hops would get
/// nothing at all once in 600 sets, and the shares of two would differ by a quarter.
pub(super) const BUCKETS: u16 = 256;

/// A number that says nothing of the one it was made of, the same in every process (splitmix64's finalizer).
pub(super) const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash of octets, the same in every process: flows carry it, and shall be found again after a restart.
pub(super) fn stable(seed: u64, bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(mix(seed ^ bytes.len() as u64), |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(hash ^ u64::from_le_bytes(word))
    })
}

fn hash(hop: &Hop) -> u64 {
    match hop {
        Hop::Client(name) => stable(1, name.as_bytes()),
        Hop::Remote { vtep, vni, router_mac } => {
            let seed = match vtep {
                std::net::IpAddr::V4(ip) => stable(4, &ip.octets()),
                std::net::IpAddr::V6(ip) => stable(6, &ip.octets()),
            };
            stable(seed ^ u64::from(vni.get()), &router_mac.0)
        }
    }
}

/// The owner of each bucket among these hops, by index; nobody if there are none.
pub(super) fn owners<'a>(hops: impl Iterator<Item = &'a Hop>) -> [Option<usize>; BUCKETS as usize] {
    let mut best = [None::<(u64, usize)>; BUCKETS as usize];
    for (index, hop) in hops.enumerate() {
        let hash = hash(hop);
        for (bucket, best) in best.iter_mut().enumerate() {
            let score = mix(hash ^ mix(bucket as u64));
            if best.is_none_or(|(other, _)| score > other) {
                *best = Some((score, index));
            }
        }
    }
    best.map(|best| best.map(|(_, index)| index))
}

/// Hops that some prefixes of a VRF share.
#[derive(Clone, Debug)]
pub(super) struct Set {
    /// The VRF.
    pub(super) vrf: Vni,
    /// The hops, as the intent has them.
    pub(super) hops: Box<[Hop]>,
    uses: u32,
    /// The prefixes, where there is a client among the hops: their flows change with its port.
    local: BTreeSet<IpNet>,
}

impl Set {
    /// Are there several ways?
    pub(super) const fn is_ecmp(&self) -> bool {
        self.hops.len() > 1
    }

    /// The prefixes whose own flows change with the port of a client.
    pub(super) fn local(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.local.iter().copied()
    }
}

/// All sets, by number. A number is a hash of what is in the set, so that it is the same after a restart.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets {
    sets: HashMap<u32, Set, RandomState>,
    /// Those with this client among their hops.
    of_client: HashMap<std::sync::Arc<str>, BTreeSet<u32>, RandomState>,
}

impl Sets {
    /// The set of this number.
    pub(super) fn get(&self, number: u32) -> Option<&Set> {
        self.sets.get(&number)
    }

    /// All numbers.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.sets.keys().copied()
    }

    /// The sets that have this client as a hop.
    pub(super) fn with_client(&self, name: &str) -> impl Iterator<Item = u32> + '_ {
        self.of_client.get(name).into_iter().flatten().copied()
    }

    /// A prefix of the VRF uses these hops; the set's number, and whether the set is new.
    pub(super) fn take(&mut self, vrf: Vni, net: IpNet, hops: &[Hop]) -> (u32, bool) {
        let seed = stable(9, &vrf.to_be_bytes());
        let mut number = hops.iter().fold(seed, |hash, hop| mix(hash ^ self::hash(hop))) as u32;
        // Two sets of one number: the later one takes the next that is free.
        while number == 0 || self.sets.get(&number).is_some_and(|set| set.vrf != vrf || *set.hops != *hops) {
            number = number.wrapping_add(1);
        }
        let new = !self.sets.contains_key(&number);
        let set = self.sets.entry(number).or_insert_with(|| Set {
            vrf,
            hops: hops.into(),
            uses: 0,
            local: BTreeSet::new(),
        });
        set.uses += 1;
        let mut local = false;
        for hop in hops {
            if let Hop::Client(name) = hop {
                local = true;
                self.of_client.entry(name.clone()).or_default().insert(number);
            }
        }
        if local {
            set.local.insert(net);
        }
        (number, new)
    }

    /// A prefix uses this set no longer; true if nobody does.
    pub(super) fn give_back(&mut self, number: u32, net: IpNet) -> bool {
        let Some(set) = self.sets.get_mut(&number) else { return false };
        set.local.remove(&net);
        set.uses -= 1;
        if set.uses > 0 {
            return false;
        }
        let Some(set) = self.sets.remove(&number) else { return false };
        for hop in &set.hops {
            let Hop::Client(name) = hop else { continue };
            if let Some(sets) = self.of_client.get_mut(name) {
                sets.remove(&number);
                if sets.is_empty() {
                    self.of_client.remove(name);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::MacAddr;

    use super::*;

    fn remote(n: u8) -> Hop {
        Hop::Remote {
            vtep: [10, 0, 0, n].into(),
            vni: Vni::new(5000).unwrap(),
            router_mac: MacAddr([2, 0, 0, 0, 0, n]),
        }
    }

    proptest! {
        #[test]
        fn a_hop_that_goes_moves_only_its_own_buckets(
            hops in proptest::collection::btree_set(0_u8..=255, 2..=64), pick: prop::sample::Index,
        ) {
            let hops: Vec<Hop> = hops.into_iter().map(remote).collect();
            let gone = pick.index(hops.len());
            let mut fewer = hops.clone();
            fewer.remove(gone);
            let before = owners(hops.iter());
            let after = owners(fewer.iter());
            for (b, a) in before.into_iter().zip(after) {
                let (b, a) = (b.unwrap(), a.unwrap());
                prop_assert!(b == gone || hops[b] == fewer[a]);
            }
        }
    }

    #[test]
    fn buckets_are_spread_over_the_hops() {
        for n in [2_u8, 3, 4, 8] {
            let hops: Vec<Hop> = (1..=n).map(remote).collect();
            let mut counts = vec![0; usize::from(n)];
            for owner in owners(hops.iter()) {
                counts[owner.unwrap()] += 1;
            }
            let fair = i32::from(BUCKETS) / i32::from(n);
            assert!(counts.iter().all(|c| (c - fair).abs() <= fair / 2), "{counts:?}");
        }
        assert_eq!(owners([].iter())[0], None);
    }

    #[test]
    fn prefixes_that_go_the_same_ways_share_a_set() {
        let vrf = Vni::new(5000).unwrap();
        let net = |n: u8| IpNet::new([10, 1, n, 0].into(), 24).unwrap();
        let mut sets = Sets::default();
        let hops = [remote(1), remote(2)];
        let (a, new) = sets.take(vrf, net(1), &hops);
        assert!(new);
        assert_eq!(sets.take(vrf, net(2), &hops), (a, false));
        let (b, _) = sets.take(Vni::new(5001).unwrap(), net(1), &hops);
        assert_ne!(a, b, "VRFs have router MACs of their own");
        assert!(!sets.give_back(a, net(1)));
        assert!(sets.give_back(a, net(2)));
        assert!(sets.get(a).is_none() && sets.get(b).is_some());
    }

    #[test]
    fn a_client_knows_its_sets_and_prefixes() {
        let vrf = Vni::new(5000).unwrap();
        let net: IpNet = "10.1.0.1/32".parse().unwrap();
        let mut sets = Sets::default();
        let (number, _) = sets.take(vrf, net, &[Hop::Client("a".into()), remote(1)]);
        assert_eq!(sets.with_client("a").collect::<Vec<_>>(), [number]);
        assert_eq!(sets.get(number).unwrap().local().collect::<Vec<_>>(), [net]);
        sets.give_back(number, net);
        assert_eq!(sets.with_client("a").count(), 0);
    }
}
