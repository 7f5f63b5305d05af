//! Destinations with their paths: adding, replacing and removing one, and keeping the best in front.
//!
//! Adj-RIB-In and Loc-RIB are the same thing here: every path received is kept at its destination, the best first.

use crate::wire::RouteKey;

use super::attrs::{AttrSet, Extras, Interner};
use super::decision::{decide, prefer};
use super::slab::{NONE, Slab};
use super::table::{Path, Table};

/// What an added path did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upserted {
    /// The source had no path for this route.
    Added,
    /// It had another one.
    Replaced,
    /// It had this one.
    Unchanged,
}

/// What removing a path did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// There was none.
    Missing,
    /// Other paths are left.
    Left,
    /// It was the last: the caller buries or frees the destination.
    Last,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    pub table: Table,
    /// Second and further paths of destinations.
    pub further: Slab<Path>,
    pub attrs: Interner<AttrSet>,
    pub extras: Extras,
    /// The paths of the destination at hand and the slots they came from; kept for its capacity.
    scratch: Vec<Path>,
    slots: Vec<u32>,
}

impl Store {
    pub(super) fn new() -> Self {
        Self {
            table: Table::new(),
            further: Slab::new(),
            attrs: Interner::new(),
            extras: Extras::new(),
            scratch: Vec::new(),
            slots: Vec::new(),
        }
    }

    #[inline]
    fn peer_of(&self, path: &Path) -> u32 {
        self.attrs.get(path.attr).peer
    }

    /// The best path of a destination.
    #[inline]
    pub(super) fn best(&self, id: u32) -> Option<(Path, &AttrSet)> {
        let first = self.table.get(id).first();
        if first.attr == NONE {
            return None;
        }
        let set = self.attrs.get(first.attr);
        set.ineligible.is_none().then_some((first, set))
    }

    /// All paths of a destination, the best first if one is eligible.
    pub(super) fn paths(&self, id: u32) -> impl Iterator<Item = Path> + '_ {
        let first = self.table.get(id).first();
        let first = (first.attr != NONE).then_some(first);
        std::iter::successors(first, |path| (path.next != NONE).then(|| *self.further.get(path.next)))
    }

    /// Adds a path, or replaces the one its source has there. `path` brings a use of its `extra` along; of its
    /// attribute set this takes one more only if the path is kept.
    #[inline]
    pub(super) fn upsert(&mut self, hash: u64, key: RouteKey, peer: u32, path: Path) -> Upserted {
        let Some(id) = self.table.find(hash, &key) else {
            self.attrs.retain(path.attr, 1);
            self.table.insert(hash, key, path);
            return Upserted::Added;
        };
        let first = self.table.get(id).first();
        if first.attr == NONE {
            self.attrs.retain(path.attr, 1);
            self.table.get_mut(id).set_first(path);
            self.table.revive(id);
            self.table.touch(id);
            return Upserted::Added;
        }
        if first.next == NONE && self.peer_of(&first) == peer {
            if first.same(&path) {
                self.extras.release(path.extra);
                return Upserted::Unchanged;
            }
            self.attrs.retain(path.attr, 1);
            self.table.get_mut(id).set_first(path);
            self.drop_path(&first);
            self.table.touch(id);
            return Upserted::Replaced;
        }
        self.upsert_among(id, peer, path)
    }

    fn upsert_among(&mut self, id: u32, peer: u32, path: Path) -> Upserted {
        self.load(id);
        let before = self.scratch[0];
        let at = self.scratch.iter().position(|p| self.attrs.get(p.attr).peer == peer);
        let outcome = if let Some(at) = at {
            if self.scratch[at].same(&path) {
                self.extras.release(path.extra);
                return Upserted::Unchanged;
            }
            self.scratch[at] = path;
            Upserted::Replaced
        } else {
            self.scratch.push(path);
            Upserted::Added
        };
        // The old path keeps its uses until the comparison is over, so that its id means what it did.
        let old = at.map(|at| if at == 0 { before } else { *self.further.get(self.slots[at - 1]) });
        self.attrs.retain(path.attr, 1);
        self.settle(id, before);
        if let Some(old) = old {
            self.drop_path(&old);
        }
        outcome
    }

    /// Removes the path of `peer`.
    pub(super) fn remove(&mut self, id: u32, peer: u32) -> Removed {
        let first = self.table.get(id).first();
        if first.attr == NONE {
            return Removed::Missing;
        }
        if first.next == NONE {
            if self.peer_of(&first) != peer {
                return Removed::Missing;
            }
            self.table.get_mut(id).set_first(Path::ABSENT);
            self.drop_path(&first);
            return Removed::Last;
        }
        self.load(id);
        let at = self.scratch.iter().position(|p| self.attrs.get(p.attr).peer == peer);
        let Some(at) = at else { return Removed::Missing };
        let old = self.scratch.remove(at);
        self.settle(id, first);
        self.drop_path(&old);
        Removed::Left
    }

    fn drop_path(&mut self, path: &Path) {
        self.attrs.release(path.attr);
        self.extras.release(path.extra);
    }

    /// Loads the paths of `id` into the scratch space.
    fn load(&mut self, id: u32) {
        self.scratch.clear();
        self.slots.clear();
        let mut path = self.table.get(id).first();
        while path.attr != NONE {
            self.scratch.push(path);
            if path.next == NONE {
                break;
            }
            self.slots.push(path.next);
            path = *self.further.get(path.next);
        }
    }

    /// Writes the paths in the scratch space back, the best first, and moves the destination to the tail of the change
    /// list if its best path is not what `before` (the first path until now) was.
    fn settle(&mut self, id: u32, before: Path) {
        let mobility = matches!(self.table.get(id).key, RouteKey::MacIp { .. });
        if let Some(best) = self.choose(mobility) {
            self.scratch.swap(0, best);
        }
        while self.slots.len() + 1 < self.scratch.len() {
            let slot = self.further.insert(Path::ABSENT);
            self.slots.push(slot);
        }
        while self.slots.len() + 1 > self.scratch.len() {
            if let Some(slot) = self.slots.pop() {
                self.further.remove(slot);
            }
        }
        for at in (0..self.scratch.len()).rev() {
            let path = Path { next: self.slots.get(at).copied().unwrap_or(NONE), ..self.scratch[at] };
            if at == 0 {
                self.table.get_mut(id).set_first(path);
            } else {
                *self.further.get_mut(self.slots[at - 1]) = path;
            }
        }
        let after = self.scratch[0];
        let eligible = |path: &Path| self.attrs.get(path.attr).ineligible.is_none();
        if !after.same(&before) && (eligible(&after) || eligible(&before)) {
            self.table.touch(id);
        }
    }

    /// Which path in the scratch space is best, if any is eligible.
    fn choose(&self, mobility: bool) -> Option<usize> {
        let eligible = |path: &Path| self.attrs.get(path.attr).ineligible.is_none();
        let rank = |at: usize| &self.attrs.get(self.scratch[at].attr).rank;
        let mut candidates = (0..self.scratch.len()).filter(|&at| eligible(&self.scratch[at]));
        let first = candidates.next()?;
        let mut best = first;
        for at in candidates {
            if !rank(at).same_med(rank(first)) && self.scratch.len() > 2 {
                return self.choose_with_med(mobility);
            }
            if !prefer(rank(best), rank(at), mobility) {
                best = at;
            }
        }
        Some(best)
    }

    /// The same for three paths or more with different MEDs, where going by pairs may go wrong.
    #[cold]
    fn choose_with_med(&self, mobility: bool) -> Option<usize> {
        let sets = self.scratch.iter().map(|path| self.attrs.get(path.attr)).enumerate();
        let (at, ranks): (Vec<usize>, Vec<_>) =
            sets.filter(|(_, set)| set.ineligible.is_none()).map(|(at, set)| (at, &set.rank)).unzip();
        (!ranks.is_empty()).then(|| at[decide(&ranks, mobility, |_, _| {})])
    }
}
