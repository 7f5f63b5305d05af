//! The Loc-RIB's destinations: storage, index by key, and the change list with its cursors.
//!
//! All destinations hang on one doubly linked list ordered by last change; one that changes moves to the tail. A
//! consumer is a *cursor*: the next destination it has to look at. What lies before it, it has seen in its present
//! state; what lies behind, it has not. So a change costs the same however many read and however slowly they do, a new
//! reader is a cursor at the head, and many changes of one route reach a slow reader as one.
//!
//! A destination that lost its last path stays on the list as a tombstone for as long as some reader that knows the
//! route has not been told; whoever tells the last of them frees it.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::wire::RouteKey;

use super::slab::{NONE, Slab, Slot};

/// One path of a destination: attributes (which include its source) and what the NLRI carried beside the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// In the attribute table; [`NONE`] for no path at all.
    pub attr: u32,
    /// In the table of rare NLRI parts; zero for none.
    pub extra: u32,
    /// The first label, 24 bits.
    pub label: u32,
    /// The next path of the same destination, in the slab of further paths.
    pub next: u32,
}

impl Path {
    /// No path.
    pub(super) const ABSENT: Self = Self { attr: NONE, extra: 0, label: 0, next: NONE };

    /// Same content, wherever it is linked?
    pub(super) const fn same(&self, other: &Self) -> bool {
        self.attr == other.attr && self.extra == other.extra && self.label == other.label
    }
}

impl Slot for Path {
    fn vacate(&mut self, next: u32) {
        *self = Self { next, ..Self::ABSENT };
    }
    fn next_vacant(&self) -> u32 {
        self.next
    }
}

/// A destination: one cache line. The first path, the best if any is eligible, lives in it.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Dest {
    pub key: RouteKey,
    prev: u32,
    next: u32,
    attr: u32,
    extra: u32,
    /// The label in the low 24 bits, flags above.
    label: u32,
    more: u32,
}

const _: () = assert!(size_of::<Dest>() == 64);

/// Some cursor points here.
const MARKED: u32 = 1 << 24;
/// Not a vacant slot.
const LIVE: u32 = 1 << 25;
/// Has no path, and somebody is still to be told.
const TOMBSTONE: u32 = 1 << 26;
const LABEL: u32 = 0x00ff_ffff;

impl Dest {
    /// The first path, [`Path::ABSENT`] if there is none.
    #[inline]
    pub(super) const fn first(&self) -> Path {
        Path { attr: self.attr, extra: self.extra, label: self.label & LABEL, next: self.more }
    }

    #[inline]
    pub(super) const fn set_first(&mut self, path: Path) {
        self.attr = path.attr;
        self.extra = path.extra;
        self.label = self.label & !LABEL | path.label;
        self.more = path.next;
    }

    #[inline]
    pub(super) const fn has_path(&self) -> bool {
        self.attr != NONE
    }

    #[inline]
    pub(super) const fn is_live(&self) -> bool {
        self.label & LIVE != 0
    }

    /// The next on the change list.
    #[inline]
    pub(super) const fn following(&self) -> u32 {
        self.next
    }
}

impl Slot for Dest {
    fn vacate(&mut self, next: u32) {
        self.key = RouteKey::Opaque { kind: 0, key: Box::default() };
        self.set_first(Path::ABSENT);
        self.label = 0;
        self.next = next;
    }
    fn next_vacant(&self) -> u32 {
        self.next
    }
}

/// A reader's place on the change list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CursorId(u32);

/// Where a cursor slot nobody uses points; never a destination, and not the end either.
const UNUSED: u32 = NONE - 1;

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    dests: Slab<Dest>,
    index: HashTable<u32>,
    hasher: RandomState,
    head: u32,
    tail: u32,
    /// Positions: the next destination to visit, [`NONE`] at the end.
    cursors: Vec<u32>,
    tombstones: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            dests: Slab::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            head: NONE,
            tail: NONE,
            cursors: Vec::new(),
            tombstones: 0,
        }
    }

    /// Destinations, tombstones included.
    pub(super) const fn len(&self) -> usize {
        self.dests.len()
    }

    pub(super) const fn tombstones(&self) -> usize {
        self.tombstones
    }

    /// One past the largest id.
    pub(super) fn end(&self) -> u32 {
        self.dests.end()
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> &Dest {
        self.dests.get(id)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: u32) -> &mut Dest {
        self.dests.get_mut(id)
    }

    #[inline]
    pub(super) fn hash(&self, key: &RouteKey) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, key: &RouteKey) -> Option<u32> {
        self.index.find(hash, |&id| self.dests.get(id).key == *key).copied()
    }

    /// A new destination without a path, at the tail.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, key: RouteKey, path: Path) -> u32 {
        if self.index.len() == self.index.capacity() {
            self.rebuild_index();
        }
        let mut dest = Dest { key, prev: NONE, next: NONE, attr: NONE, extra: 0, label: LIVE, more: NONE };
        dest.set_first(path);
        let id = self.dests.insert(dest);
        let (dests, hasher) = (&self.dests, &self.hasher);
        self.index.insert_unique(hash, id, |&id| hasher.hash_one(&dests.get(id).key));
        self.append(id);
        id
    }

    /// Grows the index (or sweeps its deleted entries) by walking the destinations in the order they lie in memory,
    /// which is several times faster than hashbrown's own growth: that visits them in the order of their hashes.
    #[cold]
    fn rebuild_index(&mut self) {
        let len = self.index.len();
        self.index = HashTable::new(); // the old one goes first: not both at once
        let mut index = HashTable::with_capacity(len + len / 4 + 16);
        for id in 0..self.dests.end() {
            let dest = self.dests.get(id);
            if dest.is_live() {
                index.insert_unique(self.hasher.hash_one(&dest.key), id, |_| 0);
            }
        }
        self.index = index;
    }

    /// Moves `id` to the tail: it changed.
    #[inline]
    pub(super) fn touch(&mut self, id: u32) {
        self.unlink(id);
        self.append(id);
    }

    fn append(&mut self, id: u32) {
        let tail = self.tail;
        let dest = self.dests.get_mut(id);
        dest.prev = tail;
        dest.next = NONE;
        if tail == NONE {
            self.head = id;
        } else {
            self.dests.get_mut(tail).next = id;
        }
        self.tail = id;
        if self.cursors.contains(&NONE) {
            for cursor in self.cursors.iter_mut().filter(|c| **c == NONE) {
                *cursor = id;
            }
            self.dests.get_mut(id).label |= MARKED;
        }
    }

    fn unlink(&mut self, id: u32) {
        let dest = self.dests.get_mut(id);
        let (prev, next) = (dest.prev, dest.next);
        let marked = dest.label & MARKED != 0;
        dest.label &= !MARKED;
        if prev == NONE {
            self.head = next;
        } else {
            self.dests.get_mut(prev).next = next;
        }
        if next == NONE {
            self.tail = prev;
        } else {
            self.dests.get_mut(next).prev = prev;
        }
        if marked {
            for cursor in self.cursors.iter_mut().filter(|c| **c == id) {
                *cursor = next;
            }
            if next != NONE {
                self.dests.get_mut(next).label |= MARKED;
            }
        }
    }

    // Tombstones.

    /// `id` lost its last path and somebody has yet to hear of it.
    pub(super) fn bury(&mut self, id: u32) {
        let dest = self.dests.get_mut(id);
        if dest.label & TOMBSTONE == 0 {
            dest.label |= TOMBSTONE;
            self.tombstones += 1;
        }
    }

    /// `id` has a path again.
    pub(super) fn revive(&mut self, id: u32) {
        let dest = self.dests.get_mut(id);
        if dest.label & TOMBSTONE != 0 {
            dest.label &= !TOMBSTONE;
            self.tombstones -= 1;
        }
    }

    /// Forgets `id`, which has no path.
    pub(super) fn free(&mut self, id: u32) {
        let hash = self.hasher.hash_one(&self.dests.get(id).key);
        self.free_hashed(id, hash);
    }

    fn free_hashed(&mut self, id: u32, hash: u64) {
        self.revive(id);
        self.unlink(id);
        if let Ok(entry) = self.index.find_entry(hash, |&at| at == id) {
            entry.remove();
        }
        self.dests.remove(id);
        if self.dests.len() == 0 {
            self.index = HashTable::new();
        }
    }

    /// Forgets `ids`, which have no path.
    pub(super) fn free_all(&mut self, ids: &[u32]) {
        const BATCH: usize = 64;
        for ids in ids.chunks(BATCH) {
            let mut hashes = [0; BATCH];
            for (hash, &id) in hashes.iter_mut().zip(ids) {
                *hash = self.hasher.hash_one(&self.dests.get(id).key);
            }
            // Read the index for the whole batch first: these cache misses overlap, those of removals would not.
            let found =
                ids.iter().zip(hashes).filter(|(id, hash)| self.index.find(*hash, |at| at == *id).is_some());
            std::hint::black_box(found.count());
            for (&id, hash) in ids.iter().zip(hashes) {
                self.free_hashed(id, hash);
            }
        }
    }

    // Cursors.

    /// A new cursor, at the head.
    pub(super) fn new_cursor(&mut self) -> CursorId {
        let id = self.unused_cursor();
        self.rewind(id);
        id
    }

    /// A new cursor where `other` is.
    pub(super) fn fork_cursor(&mut self, other: CursorId) -> CursorId {
        let id = self.unused_cursor();
        self.seek(id, self.position(other));
        id
    }

    fn unused_cursor(&mut self) -> CursorId {
        let slot = self.cursors.iter().position(|c| *c == UNUSED).unwrap_or_else(|| {
            self.cursors.push(UNUSED);
            self.cursors.len() - 1
        });
        CursorId(slot as u32)
    }

    /// Back to the head.
    pub(super) fn rewind(&mut self, cursor: CursorId) {
        self.seek(cursor, self.head);
    }

    pub(super) fn drop_cursor(&mut self, cursor: CursorId) {
        self.seek(cursor, UNUSED);
    }

    /// The next destination `cursor` has to visit.
    #[inline]
    pub(super) fn position(&self, cursor: CursorId) -> u32 {
        self.cursors[cursor.0 as usize]
    }

    /// Moves a cursor forward to `to`.
    pub(super) fn seek(&mut self, cursor: CursorId, to: u32) {
        let from = std::mem::replace(&mut self.cursors[cursor.0 as usize], to);
        if from < UNUSED && !self.cursors.contains(&from) {
            self.dests.get_mut(from).label &= !MARKED;
        }
        if to < UNUSED {
            self.dests.get_mut(to).label |= MARKED;
        }
    }

    /// Octets held.
    pub(super) fn memory(&self) -> usize {
        self.dests.memory() + self.index.allocation_size()
    }
}

#[cfg(test)]
mod tests;
