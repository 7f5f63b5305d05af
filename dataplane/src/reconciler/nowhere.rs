//! VNIs that have no table for neighbours, and how many neighbours are wanted in them all the same: counted as they come
//! and go, since every turn asks for the sum.

use std::collections::BTreeMap;

use types::Vni;

use crate::rows::Rows;

/// Those VNIs, each with the neighbours wanted in it.
#[derive(Debug, Default)]
pub(super) struct Nowhere {
    vnis: BTreeMap<Vni, usize>,
    neighbours: usize,
}

impl Nowhere {
    /// The neighbours wanted in all of them.
    pub(super) const fn neighbours(&self) -> usize {
        self.neighbours
    }

    pub(super) fn contains(&self, vni: Vni) -> bool {
        self.vnis.contains_key(&vni)
    }

    pub(super) fn insert(&mut self, vni: Vni, wanted: &Rows) {
        self.vnis.entry(vni).or_default();
        self.count(vni, wanted);
    }

    pub(super) fn remove(&mut self, vni: Vni) {
        self.neighbours -= self.vnis.remove(&vni).unwrap_or_default();
    }

    /// More are wanted in a VNI, or fewer, if it is one of them.
    pub(super) fn count(&mut self, vni: Vni, wanted: &Rows) {
        if let Some(count) = self.vnis.get_mut(&vni) {
            let now = wanted.neighbours(vni);
            self.neighbours = self.neighbours + now - *count;
            *count = now;
        }
    }

    #[cfg(test)]
    pub(super) fn vnis(&self) -> impl Iterator<Item = Vni> {
        self.vnis.keys().copied()
    }
}
