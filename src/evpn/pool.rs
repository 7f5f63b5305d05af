//! Values that many things share, by a number: each stored once, for as long as somebody uses it.

use std::hash::Hash;

use super::Map;

/// See the module.
#[derive(Debug)]
pub(super) struct Pool<T> {
    items: Vec<Option<(T, u32)>>,
    free: Vec<u32>,
    index: Map<T, u32>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { items: Vec::new(), free: Vec::new(), index: Map::default() }
    }
}

impl<T: Clone + Eq + Hash> Pool<T> {
    /// One more user of the value.
    pub(super) fn acquire(&mut self, value: T) -> u32 {
        if let Some(&id) = self.index.get(&value) {
            if let Some(Some((_, users))) = self.items.get_mut(id as usize) {
                *users += 1;
            }
            return id;
        }
        let item = Some((value.clone(), 1));
        let id = if let Some(id) = self.free.pop() {
            self.items[id as usize] = item;
            id
        } else {
            self.items.push(item);
            (self.items.len() - 1) as u32
        };
        self.index.insert(value, id);
        id
    }

    /// One user fewer.
    pub(super) fn release(&mut self, id: u32) {
        let Some(item) = self.items.get_mut(id as usize) else { return };
        if let Some((_, users)) = item
            && *users > 1
        {
            *users -= 1;
        } else if let Some((value, _)) = item.take() {
            self.index.remove(&value);
            self.free.push(id);
        }
    }

    /// The value; the number must have users.
    pub(super) fn get(&self, id: u32) -> &T {
        let item = self.items.get(id as usize).and_then(Option::as_ref);
        &item.expect("a number that is held has a value").0
    }

    /// Nothing is used.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_as_long_as_it_has_users() {
        let mut pool = Pool::default();
        let (a, b) = (pool.acquire("a"), pool.acquire("b"));
        assert_eq!((pool.acquire("a"), pool.get(a), pool.get(b)), (a, &"a", &"b"));
        pool.release(a);
        assert_eq!(pool.get(a), &"a");
        pool.release(a);
        assert_eq!(pool.acquire("c"), a, "the number is used again");
        pool.release(a);
        pool.release(b);
        assert!(pool.is_empty());
    }
}
