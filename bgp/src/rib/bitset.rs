//! A growing set of destination ids, one bit each: what a consumer of the RIB has been told.

/// A set of small integers that knows its size.
#[derive(Clone, Debug, Default)]
pub(super) struct Bitset {
    words: Vec<u64>,
    len: u32,
}

impl Bitset {
    /// How many are in it.
    #[inline]
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Is `id` in it?
    #[inline]
    pub(super) fn get(&self, id: u32) -> bool {
        self.words.get(id as usize / 64).is_some_and(|w| w >> (id % 64) & 1 == 1)
    }

    /// Adds `id`; was it in already?
    #[inline]
    pub(super) fn set(&mut self, id: u32) -> bool {
        let at = id as usize / 64;
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        let bit = 1 << (id % 64);
        let was = self.words[at] & bit != 0;
        self.words[at] |= bit;
        self.len += u32::from(!was);
        was
    }

    /// Takes `id` out; was it in?
    #[inline]
    pub(super) fn clear(&mut self, id: u32) -> bool {
        let Some(word) = self.words.get_mut(id as usize / 64) else { return false };
        let bit = 1 << (id % 64);
        let was = *word & bit != 0;
        *word &= !bit;
        self.len -= u32::from(was);
        was
    }

    /// Adds all of `other`.
    pub(super) fn union(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.len = 0;
        for (at, word) in self.words.iter_mut().enumerate() {
            *word |= other.words.get(at).copied().unwrap_or(0);
            self.len += word.count_ones();
        }
    }

    /// What is in here and not in `other`.
    pub(super) fn difference(&self, other: &Self) -> Self {
        let words: Vec<u64> = self
            .words
            .iter()
            .enumerate()
            .map(|(at, word)| word & !other.words.get(at).copied().unwrap_or(0))
            .collect();
        let len = words.iter().map(|w| w.count_ones()).sum();
        Self { words, len }
    }

    /// Gives its memory back once nothing is in it.
    pub(super) fn shrink(&mut self) {
        if self.len == 0 {
            self.words = Vec::new();
        }
    }

    /// Octets held.
    pub(super) const fn memory(&self) -> usize {
        self.words.capacity() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_counts() {
        let mut a = Bitset::default();
        assert!(!a.set(3) && !a.set(200) && a.set(3));
        assert_eq!((a.len(), a.get(3), a.get(4), a.get(100_000)), (2, true, false, false));
        let mut b = Bitset::default();
        b.set(64);
        b.set(3);
        assert_eq!(a.difference(&b).len(), 1);
        assert!(a.difference(&b).get(200));
        b.union(&a);
        assert_eq!(b.len(), 3);
        assert!(b.clear(64) && !b.clear(64) && !b.clear(1 << 20));
        assert!(b.clear(3) && b.clear(200));
        b.shrink();
        assert_eq!(b.memory(), 0);
    }
}
