//! Interned attribute sets and the rare parts of NLRI, counted by their users.
//!
//! An attribute set is interned together with its source, so that one 32-bit id tells everything of a path that its
//! NLRI does not: attributes, peer, rank in the decision, eligibility.

use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::wire::nlri::Tail;
use crate::wire::{Attributes, Esi, NlriBody};
use types::Vni;

use super::decision::{Ineligible, Rank};
use super::slab::{Slab, Slot};

/// An attribute set of one source.
#[derive(Debug)]
pub(super) struct AttrSet {
    pub attributes: Box<Attributes>,
    /// Index of the peer it was learned from, [`super::LOCAL`] for our own.
    pub peer: u32,
    pub rank: Rank,
    pub ineligible: Option<Ineligible>,
}

/// Values of `T` by id, each stored once and dropped with its last user.
#[derive(Debug)]
pub(super) struct Interner<T> {
    items: Slab<Item<T>>,
    index: HashTable<u32>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Item<T> {
    value: Option<T>,
    users: u32,
    hash: u64,
}

impl<T> Slot for Item<T> {
    fn vacate(&mut self, next: u32) {
        *self = Self { value: None, users: next, hash: 0 };
    }
    fn next_vacant(&self) -> u32 {
        self.users
    }
}

impl<T> Interner<T> {
    pub(super) fn new() -> Self {
        Self { items: Slab::new(), index: HashTable::new(), hasher: RandomState::default() }
    }

    /// How many values live in it.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// The value of an id that has users.
    #[inline]
    pub(super) fn get(&self, id: u32) -> &T {
        self.items.get(id).value.as_ref().expect("an id in use")
    }

    #[inline]
    pub(super) fn retain(&mut self, id: u32, users: u32) {
        self.items.get_mut(id).users += users;
    }

    #[inline]
    pub(super) fn release(&mut self, id: u32) {
        let item = self.items.get_mut(id);
        item.users -= 1;
        if item.users == 0 {
            self.evict(id);
        }
    }

    #[cold]
    fn evict(&mut self, id: u32) {
        if let Ok(entry) = self.index.find_entry(self.items.get(id).hash, |&at| at == id) {
            entry.remove();
        }
        self.items.remove(id);
        if self.index.is_empty() {
            self.index = HashTable::new();
        }
    }

    /// The id of the value that is `equal`, with one more user.
    fn reuse(&mut self, hash: u64, equal: impl Fn(&T) -> bool) -> Option<u32> {
        let found = self.index.find(hash, |&id| {
            let item = self.items.get(id);
            item.hash == hash && item.value.as_ref().is_some_and(&equal)
        });
        let id = *found?;
        self.retain(id, 1);
        Some(id)
    }

    /// The id of a value that is not in it yet, with one user.
    fn add(&mut self, hash: u64, value: T) -> u32 {
        let id = self.items.insert(Item { value: Some(value), users: 1, hash });
        let items = &self.items;
        self.index.insert_unique(hash, id, |&id| items.get(id).hash);
        id
    }

    /// Octets held, without what the values own on the heap.
    pub(super) fn memory(&self) -> usize {
        self.items.memory() + self.index.allocation_size()
    }
}

impl Interner<AttrSet> {
    /// Interns `attributes` of `peer` for one user; `judge` is asked for the rank and eligibility of a new set.
    pub(super) fn intern_set(
        &mut self,
        peer: u32,
        attributes: Box<Attributes>,
        judge: impl FnOnce(&Attributes) -> (Rank, Option<Ineligible>),
    ) -> u32 {
        let hash = self.hasher.hash_one((peer, &*attributes));
        if let Some(id) = self.reuse(hash, |set| set.peer == peer && set.attributes == attributes) {
            return id;
        }
        let (rank, ineligible) = judge(&attributes);
        self.add(hash, AttrSet { attributes, peer, rank, ineligible })
    }
}

/// What few NLRI have beside key and first label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Extra {
    esi: Esi,
    label2: Option<Vni>,
    gateway: Option<IpAddr>,
    tail: Tail,
}

impl Extra {
    /// The rare part of `body`.
    pub(super) const fn of(body: &NlriBody) -> Self {
        Self { esi: body.esi, label2: body.label2, gateway: body.gateway, tail: body.tail }
    }

    /// The body again.
    pub(super) fn body(&self, label: u32) -> NlriBody {
        NlriBody {
            esi: self.esi,
            label: Vni::new(label).unwrap_or(Vni::MAX),
            label2: self.label2,
            gateway: self.gateway,
            tail: self.tail,
        }
    }

    fn is_empty(&self) -> bool {
        self.esi.is_zero() && self.label2.is_none() && self.gateway.is_none() && self.tail.len == 0
    }
}

/// The interner of [`Extra`], where id zero is the empty one and costs nothing.
#[derive(Debug)]
pub(super) struct Extras {
    values: Interner<Extra>,
}

impl Extras {
    pub(super) fn new() -> Self {
        Self { values: Interner::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Interns `extra` for one user.
    #[inline]
    pub(super) fn intern(&mut self, extra: Extra) -> u32 {
        if extra.is_empty() {
            return 0;
        }
        let hash = self.values.hasher.hash_one(extra);
        let id = self.values.reuse(hash, |e| *e == extra);
        id.unwrap_or_else(|| self.values.add(hash, extra)) + 1
    }

    #[inline]
    pub(super) fn release(&mut self, id: u32) {
        if id != 0 {
            self.values.release(id - 1);
        }
    }

    /// The NLRI body of a path.
    #[inline]
    pub(super) fn body(&self, id: u32, label: u32) -> NlriBody {
        if id == 0 { Extra::default().body(label) } else { self.values.get(id - 1).body(label) }
    }

    pub(super) fn memory(&self) -> usize {
        self.values.memory()
    }
}
