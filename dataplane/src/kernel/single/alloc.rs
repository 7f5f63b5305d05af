//! Which VLAN of this host stands for a VNI.
//!
//! In this order: the one configured; the one it is mapped from already, or whose device bears its mark (so that it is
//! the same after a restart, without a file to remember it); the lowest that is free from 2 on, and last of all 1, which
//! bridges like to put new ports into. A configured VLAN moves a VNI whose VLAN was chosen here out of the way.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use types::Vni;

use super::codec::LAST_VLAN;

const WORDS: usize = (LAST_VLAN as usize + 1).div_ceil(64);

/// The VLAN of each VNI, and the VNI of each VLAN.
#[derive(Debug)]
pub(super) struct Alloc {
    vlans: HashMap<Vni, Held, RandomState>,
    holders: Box<[Option<Vni>]>,
    /// One bit a VLAN: somebody holds it. (The ids 0 and 4095 are not to be had.)
    held: [u64; WORDS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    vlan: u16,
    configured: bool,
}

impl Default for Alloc {
    fn default() -> Self {
        let mut held = [0; WORDS];
        held[0] = 1;
        held[WORDS - 1] = 1 << 63;
        let holders = vec![None; usize::from(LAST_VLAN) + 1].into_boxed_slice();
        Self { vlans: HashMap::default(), holders, held }
    }
}

impl Alloc {
    /// The VLAN of a VNI.
    pub(super) fn vlan(&self, vni: Vni) -> Option<u16> {
        self.vlans.get(&vni).map(|held| held.vlan)
    }

    /// The VNI of a VLAN.
    pub(super) fn holder(&self, vlan: u16) -> Option<Vni> {
        self.holders.get(usize::from(vlan)).copied().flatten()
    }

    /// Gives a VNI the VLAN configured for it. The VNI that had to give it up, if one had; `Err`: the one whose
    /// configured VLAN it is, too.
    pub(super) fn configure(&mut self, vni: Vni, vlan: u16) -> Result<Option<Vni>, Vni> {
        let before = self.holder(vlan).filter(|holder| *holder != vni);
        if let Some(holder) = before {
            if self.vlans.get(&holder).is_some_and(|held| held.configured) {
                return Err(holder);
            }
            self.release(holder);
        }
        self.hold(vni, Held { vlan, configured: true });
        Ok(before)
    }

    /// Chooses a VLAN for a VNI with none configured, if it has none yet: one of those where it has been already, or the
    /// first that is free and not `taken` by somebody else. `None`: all are in use.
    pub(super) fn choose(
        &mut self,
        vni: Vni,
        before: impl IntoIterator<Item = u16>,
        taken: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        if let Some(held) = self.vlans.get_mut(&vni) {
            held.configured = false;
            return Some(held.vlan);
        }
        let vlan = before.into_iter().find(|vlan| self.is_free(*vlan)).or_else(|| self.lowest_free(taken))?;
        self.hold(vni, Held { vlan, configured: false });
        Some(vlan)
    }

    pub(super) fn release(&mut self, vni: Vni) {
        if let Some(Held { vlan, .. }) = self.vlans.remove(&vni) {
            self.holders[usize::from(vlan)] = None;
            self.held[usize::from(vlan / 64)] &= !(1 << (vlan % 64));
        }
    }

    fn hold(&mut self, vni: Vni, held: Held) {
        self.release(vni);
        self.vlans.insert(vni, held);
        self.holders[usize::from(held.vlan)] = Some(vni);
        self.held[usize::from(held.vlan / 64)] |= 1 << (held.vlan % 64);
    }

    fn is_free(&self, vlan: u16) -> bool {
        self.held.get(usize::from(vlan / 64)).is_some_and(|word| word & (1 << (vlan % 64)) == 0)
    }

    fn lowest_free(&self, taken: impl Fn(u16) -> bool) -> Option<u16> {
        let free = self.held.iter().zip(0_u16..).flat_map(|(word, nth)| {
            let mut left = !word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.wrapping_sub(1);
                (bit < 64).then_some(nth * 64 + bit as u16)
            })
        });
        let mut one = None;
        for vlan in free.filter(|vlan| !taken(*vlan)) {
            if vlan != 1 {
                return Some(vlan);
            }
            one = Some(vlan);
        }
        one
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn vni(n: u32) -> Vni {
        Vni::new(n).unwrap()
    }

    const NOBODY: fn(u16) -> bool = |_| false;

    #[test]
    fn the_lowest_free_then_one_then_none() {
        let mut alloc = Alloc::default();
        assert_eq!(alloc.choose(vni(1), [], NOBODY), Some(2));
        assert_eq!(alloc.choose(vni(2), [], |vlan| vlan < 5), Some(5), "what others have is left out");
        assert_eq!(alloc.choose(vni(3), [], NOBODY), Some(3));
        assert_eq!(alloc.choose(vni(3), [9], NOBODY), Some(3), "it has one");
        assert_eq!(alloc.choose(vni(4), [5, 0, 4095, 65_535, 9], |_| true), Some(9), "where it was before");
        for n in 5..=4093 {
            assert!(alloc.choose(vni(n), [], NOBODY).is_some_and(|vlan| vlan > 1));
        }
        assert_eq!(alloc.choose(vni(4094), [], |vlan| vlan == 1), None);
        assert_eq!(alloc.choose(vni(4094), [], NOBODY), Some(1));
        assert_eq!(alloc.choose(vni(4095), [], NOBODY), None);
        let vlan = alloc.vlan(vni(100));
        alloc.release(vni(100));
        assert_eq!(alloc.choose(vni(4095), [], NOBODY), vlan);
    }

    #[test]
    fn a_configured_vlan_moves_a_chosen_one() {
        let mut alloc = Alloc::default();
        alloc.choose(vni(1), [], NOBODY);
        assert_eq!(alloc.configure(vni(2), 2), Ok(Some(vni(1))));
        assert_eq!(alloc.choose(vni(1), [2], NOBODY), Some(3));
        assert_eq!(alloc.configure(vni(3), 2), Err(vni(2)), "both are configured");
        assert_eq!(alloc.vlan(vni(3)), None);
        assert_eq!(alloc.configure(vni(2), 7), Ok(None), "and it moves itself");
        assert_eq!((alloc.holder(2), alloc.holder(7)), (None, Some(vni(2))));
        // No longer configured: it stays where it is, and may be moved.
        assert_eq!(alloc.choose(vni(2), [], NOBODY), Some(7));
        assert_eq!(alloc.configure(vni(3), 7), Ok(Some(vni(2))));
    }

    #[derive(Clone, Debug)]
    enum Act {
        Configure(u32, u16),
        Choose(u32),
        Release(u32),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0..40_u32, 1..30_u16).prop_map(|(vni, vlan)| Act::Configure(vni, vlan)),
            (0..40_u32).prop_map(Act::Choose),
            (0..40_u32).prop_map(Act::Release),
        ]
    }

    proptest! {
        #[test]
        fn no_two_share_one_and_a_restart_changes_nothing(acts in prop::collection::vec(act(), 0..200)) {
            let mut alloc = Alloc::default();
            // Somebody else's.
            let taken = |vlan: u16| vlan.is_multiple_of(5);
            let mut configured = BTreeMap::new();
            for act in acts {
                match act {
                    Act::Configure(n, vlan) => {
                        if let Ok(moved) = alloc.configure(vni(n), vlan) {
                            configured.insert(vni(n), vlan);
                            if let Some(moved) = moved {
                                prop_assert!(!configured.contains_key(&moved));
                                alloc.choose(moved, [], taken);
                            }
                        }
                    }
                    Act::Choose(n) => {
                        configured.remove(&vni(n));
                        prop_assert!(alloc.choose(vni(n), [], taken).is_some());
                    }
                    Act::Release(n) => {
                        configured.remove(&vni(n));
                        alloc.release(vni(n));
                    }
                }
                for vlan in 0..=LAST_VLAN {
                    prop_assert_eq!(alloc.holder(vlan).is_none(), alloc.is_free(vlan) || vlan == 0);
                }
                for (vni, vlan) in &configured {
                    prop_assert_eq!(alloc.vlan(*vni), Some(*vlan));
                }
                for &vni in alloc.vlans.keys() {
                    prop_assert_eq!(alloc.vlan(vni).and_then(|vlan| alloc.holder(vlan)), Some(vni));
                }
            }
            // From the mappings alone, in whatever order.
            let mut again = Alloc::default();
            for (vni, vlan) in &configured {
                prop_assert_eq!(again.configure(*vni, *vlan), Ok(None));
            }
            for &vni in alloc.vlans.keys() {
                if !configured.contains_key(&vni) {
                    prop_assert_eq!(again.choose(vni, alloc.vlan(vni), taken), alloc.vlan(vni));
                }
            }
        }
    }
}
