//! Flood lists in pieces: a set whose members are spread over chunks of some dozens, so that one member that comes or
//! goes rewrites one small flow.
//!
//! Where a member is depends on the set alone, not on how it came to be, so that a restarted daemon renders the flows
//! that stand. That is linear hashing (Litwin 1980): a chunk more splits one of the others and leaves the rest alone.

use std::collections::BTreeSet;

/// Members a chunk holds on average, once there is more than one chunk.
const FILL: usize = 64;

/// What can be a member.
pub(super) trait Member: Ord + Clone {
    /// A hash that is the same in every process.
    fn place(&self) -> u64;
}

/// A set in chunks.
#[derive(Clone, Debug)]
pub(super) struct Chunks<M> {
    chunks: Vec<BTreeSet<M>>,
    len: usize,
}

impl<M> Default for Chunks<M> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<M: Member> Chunks<M> {
    /// How many chunks there are; none if the set is empty.
    pub(super) fn count(&self) -> u16 {
        self.chunks.len() as u16
    }

    /// The members of a chunk, in order.
    pub(super) fn chunk(&self, number: u16) -> Option<&BTreeSet<M>> {
        self.chunks.get(usize::from(number))
    }

    /// The chunk a member is in, or would be.
    pub(super) fn chunk_of(&self, member: &M) -> u16 {
        chunk_of(member.place(), self.chunks.len().max(1)) as u16
    }

    /// Adds a member; says which chunks are not what they were.
    pub(super) fn insert(&mut self, member: M, touch: &mut dyn FnMut(u16)) {
        if self.chunks.is_empty() {
            self.chunks.push(BTreeSet::new());
        }
        let at = chunk_of(member.place(), self.chunks.len());
        if !self.chunks[at].insert(member) {
            return;
        }
        self.len += 1;
        touch(at as u16);
        if self.len > self.chunks.len() * FILL && self.chunks.len() < usize::from(u16::MAX) {
            self.split(touch);
        }
    }

    /// Removes a member; says which chunks are not what they were (one of them may be there no longer).
    pub(super) fn remove(&mut self, member: &M, touch: &mut dyn FnMut(u16)) {
        if self.chunks.is_empty() {
            return;
        }
        let at = chunk_of(member.place(), self.chunks.len());
        if !self.chunks[at].remove(member) {
            return;
        }
        self.len -= 1;
        touch(at as u16);
        if self.len <= (self.chunks.len() - 1) * FILL {
            self.merge(touch);
        }
    }

    fn split(&mut self, touch: &mut dyn FnMut(u16)) {
        let new = self.chunks.len();
        let from = partner(new);
        let members = std::mem::take(&mut self.chunks[from]);
        self.chunks.push(BTreeSet::new());
        for member in members {
            let at = chunk_of(member.place(), new + 1);
            self.chunks[at].insert(member);
        }
        touch(from as u16);
        touch(new as u16);
    }

    fn merge(&mut self, touch: &mut dyn FnMut(u16)) {
        let Some(members) = self.chunks.pop() else { return };
        let gone = self.chunks.len();
        touch(gone as u16);
        if gone > 0 {
            self.chunks[partner(gone)].extend(members);
            touch(partner(gone) as u16);
        }
    }
}

/// The chunk that is split to make chunk `new`, and that it goes back into.
const fn partner(new: usize) -> usize {
    if new == 0 { 0 } else { new - (1 << new.ilog2()) }
}

/// Where something with this hash is among so many chunks.
const fn chunk_of(hash: u64, chunks: usize) -> usize {
    let level = chunks.ilog2();
    let wide = (hash & ((2 << level) - 1)) as usize;
    if wide < chunks { wide } else { wide - (1 << level) }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Member for u64 {
        fn place(&self) -> u64 {
            super::super::hops::mix(*self)
        }
    }

    fn check(c: &Chunks<u64>, expected: &BTreeSet<u64>) {
        let mut fresh = Chunks::default();
        for member in expected.iter().rev() {
            fresh.insert(*member, &mut |_| ());
        }
        assert_eq!(c.chunks, fresh.chunks, "the set alone says where its members are");
        let all: BTreeSet<u64> = c.chunks.iter().flatten().copied().collect();
        assert_eq!(&all, expected);
    }

    #[test]
    fn one_member_more_or_less_touches_at_most_three_chunks() {
        let mut chunks = Chunks::default();
        let mut expected = BTreeSet::new();
        let mut largest = 0;
        for n in 0..3000_u64 {
            let mut touched = Vec::new();
            chunks.insert(n, &mut |c| touched.push(c));
            assert!(!touched.is_empty() && touched.len() <= 3, "{touched:?}");
            expected.insert(n);
            if n % 97 == 0 {
                check(&chunks, &expected);
            }
            largest = largest.max(chunks.chunks.iter().map(BTreeSet::len).max().unwrap());
        }
        assert_eq!(usize::from(chunks.count()), 3000_usize.div_ceil(FILL));
        assert!(largest < 4 * FILL, "{largest} members in one chunk");
        for n in 0..3000_u64 {
            let mut touched = Vec::new();
            chunks.remove(&n, &mut |c| touched.push(c));
            assert!(!touched.is_empty() && touched.len() <= 3, "{touched:?}");
            expected.remove(&n);
            if n % 97 == 0 {
                check(&chunks, &expected);
            }
        }
        assert_eq!(chunks.count(), 0);
    }

    #[test]
    fn the_same_twice_touches_nothing() {
        let mut chunks = Chunks::default();
        chunks.insert(7_u64, &mut |_| ());
        chunks.insert(7, &mut |_| panic!("it was there"));
        chunks.remove(&8, &mut |_| panic!("it was not there"));
    }
}
