//! The plan: rows wanted × rows installed → ordered ops. A pure function.
//!
//! It works on keys, so that one changed MAC among hundreds of thousands costs one op and no scan;
//! [`differences`] finds all keys of a VNI that need one.

use std::fmt;

use types::Vni;

use crate::rows::{Key, Row, Rows};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Make this row stand, in place of whatever of ours has its key.
    Put(Row),
    /// Take this row away; never a [`Row::Vni`].
    Del(Row),
    /// Take away the devices of a VNI that are ours, and everything of ours in those that are not.
    Remove(Vni),
}

impl Op {
    /// The key of the row it is about.
    pub const fn key(&self) -> Key {
        match self {
            Self::Put(row) | Self::Del(row) => row.key(),
            Self::Remove(vni) => Key::Vni(*vni),
        }
    }

    /// Devices before flood rows before MACs before neighbours; removals first, and the other way around, so that
    /// what goes (a port that changes its VNI) is out of the way of what comes.
    const fn rank(&self) -> u8 {
        match self {
            Self::Del(Row::Neighbour(..)) => 0,
            Self::Del(Row::Mac(..)) => 1,
            Self::Del(Row::Flood(..)) => 2,
            Self::Remove(_) | Self::Del(Row::Vni(_)) => 3,
            Self::Put(Row::Vni(_)) => 4,
            Self::Put(Row::Flood(..)) => 5,
            Self::Put(Row::Mac(..)) => 6,
            Self::Put(Row::Neighbour(..)) => 7,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(row) => write!(f, "put {row}"),
            Self::Del(row) => write!(f, "del {row}"),
            Self::Remove(vni) => write!(f, "remove vni {vni}"),
        }
    }
}

/// Appends the ops that bring the rows with these keys from `have` to `want`.
///
/// Rows whose VNI has no device yet are left out: they come up again once it has.
pub fn plan(want: &Rows, have: &Rows, keys: &[Key], ops: &mut Vec<Op>) {
    let start = ops.len();
    for key in keys {
        let wanted = want.get(key);
        let present = have.get(key);
        let is_device = matches!(key, Key::Vni(_));
        if !is_device && have.device(key.vni()).is_none() {
            continue;
        }
        match (wanted, present) {
            (None, None) => {}
            (Some(wanted), Some(present)) if wanted == present => {}
            (Some(wanted), Some(present)) => {
                if !replaceable(&present, &wanted) {
                    ops.push(Op::Del(present));
                }
                ops.push(Op::Put(wanted));
            }
            (Some(wanted), None) => ops.push(Op::Put(wanted)),
            (None, Some(Row::Vni(l2))) => ops.push(Op::Remove(l2.vni)),
            (None, Some(present)) => ops.push(Op::Del(present)),
        }
    }
    ops[start..].sort_by_key(Op::rank);
}

/// Can one write turn the first row into the second? Flood rows are a list (another VNI would be a second entry), a
/// sticky mark only goes with its row, and of a damaged row it is not known what is wrong.
fn replaceable(present: &Row, wanted: &Row) -> bool {
    match (present, wanted) {
        (Row::Mac(_, _, Some(old)), Row::Mac(_, _, Some(new))) => !old.sticky || new.sticky,
        (Row::Mac(..) | Row::Flood(..), _) => false,
        (Row::Vni(_) | Row::Neighbour(..), _) => true,
    }
}

/// Appends the keys of a VNI's rows that differ; those installed and not wanted only if `reap`. In order.
pub fn differences(want: &Rows, have: &Rows, vni: Vni, reap: bool, out: &mut Vec<Key>) {
    let mut keys = Vec::new();
    want.keys(vni, &mut keys);
    keys.retain(|key| want.get(key) != have.get(key));
    if reap {
        let mut present = Vec::new();
        have.keys(vni, &mut present);
        present.retain(|key| !want.contains(key));
        keys.append(&mut present);
    }
    keys.sort_unstable();
    out.append(&mut keys);
}
