//! Where each route of the Loc-RIB was imported, so that its withdraw finds the VNIs without looking through all.
//!
//! One word a route: nothing, one VNI, or (rare: several route targets) the number of a shared list of VNIs.

use super::Map;

const NOWHERE: u32 = 0;
const SHARED: u32 = 1 << 31;

/// Import places by destination number of the RIB.
#[derive(Debug, Default)]
pub(super) struct Dests {
    words: Vec<u32>,
    lists: Vec<(Box<[u32]>, u32)>,
    free: Vec<u32>,
    index: Map<Box<[u32]>, u32>,
}

impl Dests {
    /// Imported anywhere?
    #[inline]
    pub(super) fn is_imported(&self, dest: u32) -> bool {
        self.words.get(dest as usize).is_some_and(|&w| w != NOWHERE)
    }

    /// Imported just there?
    #[inline]
    pub(super) fn is_only_in(&self, dest: u32, slots: &[u32]) -> bool {
        matches!(slots, [slot] if self.words.get(dest as usize) == Some(&(slot + 1)))
    }

    /// Where `dest` is imported.
    pub(super) fn slots(&self, dest: u32) -> Vec<u32> {
        match self.words.get(dest as usize) {
            None | Some(&NOWHERE) => Vec::new(),
            Some(&word) if word & SHARED != 0 => self.lists[(word & !SHARED) as usize].0.to_vec(),
            Some(&word) => vec![word - 1],
        }
    }

    /// It is now imported there (ascending slots).
    pub(super) fn set(&mut self, dest: u32, slots: &[u32]) {
        let word = match slots {
            [] => NOWHERE,
            [slot] => slot + 1,
            _ => self.share(slots),
        };
        let at = dest as usize;
        if at >= self.words.len() {
            if word == NOWHERE {
                return;
            }
            self.words.resize(at + 1, NOWHERE);
        }
        let old = std::mem::replace(&mut self.words[at], word);
        if old & SHARED != 0 {
            self.unshare(old & !SHARED);
        }
    }

    fn share(&mut self, slots: &[u32]) -> u32 {
        if let Some(&id) = self.index.get(slots) {
            self.lists[id as usize].1 += 1;
            return id | SHARED;
        }
        let id = if let Some(id) = self.free.pop() {
            self.lists[id as usize] = (slots.into(), 1);
            id
        } else {
            self.lists.push((slots.into(), 1));
            (self.lists.len() - 1) as u32
        };
        self.index.insert(slots.into(), id);
        id | SHARED
    }

    fn unshare(&mut self, id: u32) {
        let (slots, users) = &mut self.lists[id as usize];
        *users -= 1;
        if *users == 0 {
            self.index.remove(slots);
            *slots = Box::default();
            self.free.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_shared_and_forgotten_with_their_last_user() {
        let mut dests = Dests::default();
        for (dest, slots) in [(5, &[3][..]), (1, &[1, 2]), (2, &[1, 2]), (3, &[0, 9])] {
            dests.set(dest, slots);
        }
        assert_eq!(dests.slots(5), [3]);
        assert!(dests.is_only_in(5, &[3]) && !dests.is_only_in(5, &[2]) && !dests.is_only_in(1, &[1, 2]));
        assert_eq!((dests.slots(1), dests.slots(2)), (vec![1, 2], vec![1, 2]));
        assert_eq!((dests.slots(4), dests.slots(99)), (vec![], vec![]));
        assert!(dests.is_imported(1) && !dests.is_imported(4) && !dests.is_imported(99));
        assert_eq!(dests.index.len(), 2);
        for dest in [1, 2, 3, 5, 4, 99] {
            dests.set(dest, &[]);
        }
        assert_eq!((dests.index.len(), dests.free.len(), dests.words.len()), (0, 2, 6));
        dests.set(1, &[4, 5]);
        assert_eq!((dests.slots(1), dests.lists.len()), (vec![4, 5], 2));
    }
}
