//! Storage addressed by 32-bit ids that grows by chunks: a million routes are never moved to grow the table, and what
//! the process holds is what it uses.

/// Ids that lead nowhere: the end of a list, no path, no free slot.
pub(super) const NONE: u32 = u32::MAX;

/// Slots a chunk.
const CHUNK: usize = 4096;

/// What a [`Slab`] can hold: while vacant, an item stores the id of the next vacant one.
pub(super) trait Slot {
    /// Drops what the item holds and remembers the next vacant slot.
    fn vacate(&mut self, next: u32);
    /// The next vacant slot, of a vacant item.
    fn next_vacant(&self) -> u32;
}

/// Items with stable ids.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    vacant: u32,
    len: usize,
}

impl<T: Slot> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), vacant: NONE, len: 0 }
    }

    /// How many items live in it.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// One past the largest id ever given out since the slab was last empty.
    pub(super) fn end(&self) -> u32 {
        self.chunks.last().map_or(0, |last| ((self.chunks.len() - 1) * CHUNK + last.len()) as u32)
    }

    /// Puts `item` somewhere.
    #[inline]
    pub(super) fn insert(&mut self, item: T) -> u32 {
        self.len += 1;
        let id = self.vacant;
        if id != NONE {
            let slot = self.get_mut(id);
            let next = slot.next_vacant();
            *slot = item;
            self.vacant = next;
            return id;
        }
        if self.chunks.last().is_none_or(|c| c.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let base = (self.chunks.len() - 1) * CHUNK;
        let chunk = &mut self.chunks[base / CHUNK];
        chunk.push(item);
        (base + chunk.len() - 1) as u32
    }

    /// Takes the item at `id` out.
    #[inline]
    pub(super) fn remove(&mut self, id: u32) {
        let next = self.vacant;
        self.get_mut(id).vacate(next);
        self.vacant = id;
        self.len -= 1;
        if self.len == 0 {
            // Nothing lives here: give the memory back, but for what a quiet daemon uses anyway.
            self.chunks.truncate(1);
            if let Some(first) = self.chunks.first_mut() {
                first.clear();
            }
            self.vacant = NONE;
        }
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> &T {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: u32) -> &mut T {
        &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    /// Octets held.
    pub(super) fn memory(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<T>()
    }
}
