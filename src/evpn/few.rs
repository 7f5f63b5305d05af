//! A set that nearly always has one member.

use std::collections::BTreeSet;

/// None, one, or a set on the heap.
#[derive(Clone, Debug, Default)]
pub(super) enum Few<T> {
    #[default]
    None,
    One(T),
    Many(BTreeSet<T>),
}

impl<T: Ord + Copy> Few<T> {
    pub(super) fn insert(&mut self, item: T) {
        match self {
            Self::None => *self = Self::One(item),
            Self::One(one) => *self = Self::Many(BTreeSet::from([*one, item])),
            Self::Many(many) => {
                many.insert(item);
            }
        }
    }

    pub(super) fn remove(&mut self, item: T) {
        match self {
            Self::One(one) if *one == item => *self = Self::None,
            Self::Many(many) => {
                many.remove(&item);
                match (many.len(), many.first()) {
                    (0, _) => *self = Self::None,
                    (1, Some(&last)) => *self = Self::One(last),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(many) => many.len(),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The least.
    pub(super) fn first(&self) -> Option<T> {
        self.iter().next()
    }

    /// Ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = T> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(one) => (Some(*one), None),
            Self::Many(many) => (None, Some(many.iter().copied())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_set() {
        let mut few = Few::default();
        for item in [3, 1, 3, 2] {
            few.insert(item);
        }
        assert_eq!((few.len(), few.first(), few.iter().collect::<Vec<_>>()), (3, Some(1), vec![1, 2, 3]));
        for (item, left) in [(9, 3), (1, 2), (3, 1), (3, 1), (2, 0)] {
            few.remove(item);
            assert_eq!((few.len(), few.is_empty()), (left, left == 0));
        }
        few.insert(1);
        few.insert(1);
        few.remove(1);
        assert!(few.is_empty());
    }
}
