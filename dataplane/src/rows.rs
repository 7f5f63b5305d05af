//! Rows: what stands, or should stand, in a dataplane, as values with keys.
//!
//! One table type serves three purposes: what is wanted ([`crate::intent::Intent`]), what is believed to be
//! installed, and what an observation found. It is compact, since a host may carry hundreds of thousands of
//! MACs: (VTEP, VNI) pairs are interned, a MAC costs six bytes of key and four of value.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use foldhash::fast::RandomState;
use ipnet::IpNet;
use types::{MacAddr, Vni};

use crate::intent::{Flood, L2Vni, Neighbour, RemoteMac};

/// What a row is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The devices of a VNI.
    Vni(Vni),
    /// A VTEP in the flood list of a VNI.
    Flood(Vni, IpAddr),
    /// A remote MAC in a VNI.
    Mac(Vni, MacAddr),
    /// An address in a VNI.
    Neighbour(Vni, IpAddr),
    /// A prefix in a VRF. It is never a row of a [`Rows`]: a dataplane that routes keeps it in its own way.
    Prefix(Vni, IpNet),
}

impl Key {
    /// The VNI it belongs to.
    pub const fn vni(&self) -> Vni {
        match *self {
            Self::Vni(vni)
            | Self::Flood(vni, _)
            | Self::Mac(vni, _)
            | Self::Neighbour(vni, _)
            | Self::Prefix(vni, _) => vni,
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vni(vni) => write!(f, "vni {vni}"),
            Self::Flood(vni, vtep) => write!(f, "vni {vni} flood to {vtep}"),
            Self::Mac(vni, mac) => write!(f, "vni {vni} mac {mac}"),
            Self::Neighbour(vni, ip) => write!(f, "vni {vni} neighbour {ip}"),
            Self::Prefix(vni, net) => write!(f, "vrf {vni} prefix {net}"),
        }
    }
}

/// One row: a key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// The devices of a VNI, as they should be.
    Vni(L2Vni),
    /// Flood to this VTEP.
    Flood(Vni, IpAddr, Flood),
    /// A remote MAC; `None`: there is something of ours, but not what it should be (half a row, say).
    Mac(Vni, MacAddr, Option<RemoteMac>),
    /// An address of a remote host.
    Neighbour(Vni, IpAddr, Neighbour),
}

impl Row {
    /// What it is known by.
    pub const fn key(&self) -> Key {
        match self {
            Self::Vni(l2) => Key::Vni(l2.vni),
            Self::Flood(vni, vtep, _) => Key::Flood(*vni, *vtep),
            Self::Mac(vni, mac, _) => Key::Mac(*vni, *mac),
            Self::Neighbour(vni, ip, _) => Key::Neighbour(*vni, *ip),
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = self.key();
        match self {
            Self::Vni(l2) => {
                write!(f, "{key} local {} port {}", l2.vtep, l2.port)?;
                if !l2.interfaces.is_empty() {
                    write!(f, " interfaces {}", l2.interfaces.join(" "))?;
                }
                Ok(())
            }
            Self::Flood(vni, _, flood) if flood.vni == *vni => write!(f, "{key}"),
            Self::Flood(_, _, flood) => write!(f, "{key} wire-vni {}", flood.vni),
            Self::Mac(_, _, None) => write!(f, "{key} damaged"),
            Self::Mac(vni, _, Some(to)) => {
                write!(f, "{key} via {}", to.vtep)?;
                if to.vni != *vni {
                    write!(f, " wire-vni {}", to.vni)?;
                }
                if to.sticky { f.write_str(" sticky") } else { Ok(()) }
            }
            Self::Neighbour(_, _, n) => {
                write!(f, "{key} mac {}{}", n.mac, if n.router { " router" } else { "" })
            }
        }
    }
}

/// A (VTEP, VNI) pair by number, with the sticky and damaged marks on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packed(u32);

impl Packed {
    const STICKY: u32 = 1 << 31;
    const DAMAGED: Self = Self(1 << 30);
}

/// Numbers for (VTEP, VNI) pairs, counted by use.
#[derive(Clone, Debug, Default)]
struct Pool {
    entries: Vec<(IpAddr, Vni, u32)>,
    free: Vec<u32>,
    ids: HashMap<(IpAddr, Vni), u32, RandomState>,
}

impl Pool {
    fn pack(&mut self, remote: Option<RemoteMac>) -> Packed {
        let Some(RemoteMac { vtep, vni, sticky }) = remote else { return Packed::DAMAGED };
        let id = if let Some(&id) = self.ids.get(&(vtep, vni)) {
            self.entries[id as usize].2 += 1;
            id
        } else {
            let id = self.free.pop().unwrap_or(self.entries.len() as u32);
            if id as usize == self.entries.len() {
                self.entries.push((vtep, vni, 1));
            } else {
                self.entries[id as usize] = (vtep, vni, 1);
            }
            self.ids.insert((vtep, vni), id);
            id
        };
        Packed(if sticky { id | Packed::STICKY } else { id })
    }

    fn unpack(&self, p: Packed) -> Option<RemoteMac> {
        if p == Packed::DAMAGED {
            return None;
        }
        let (vtep, vni, _) = self.entries[(p.0 & !Packed::STICKY) as usize];
        Some(RemoteMac { vtep, vni, sticky: p.0 & Packed::STICKY != 0 })
    }

    fn release(&mut self, p: Packed) {
        if p == Packed::DAMAGED {
            return;
        }
        let id = p.0 & !Packed::STICKY;
        let (vtep, vni, uses) = &mut self.entries[id as usize];
        *uses -= 1;
        if *uses == 0 {
            self.ids.remove(&(*vtep, *vni));
            self.free.push(id);
        }
    }
}

/// The rows of one VNI.
#[derive(Clone, Debug, Default)]
struct VniRows {
    device: Option<L2Vni>,
    flood: BTreeMap<IpAddr, Flood>,
    macs: HashMap<MacAddr, Packed, RandomState>,
    neighbours: HashMap<IpAddr, Neighbour, RandomState>,
}

impl VniRows {
    fn len(&self) -> usize {
        usize::from(self.device.is_some()) + self.flood.len() + self.macs.len() + self.neighbours.len()
    }

    /// Hash tables keep their size; one that has become mostly empty gives it back.
    fn shrink(&mut self) {
        if self.macs.capacity() > 1024 && self.macs.len() < self.macs.capacity() / 8 {
            self.macs.shrink_to_fit();
        }
        if self.neighbours.capacity() > 1024 && self.neighbours.len() < self.neighbours.capacity() / 8 {
            self.neighbours.shrink_to_fit();
        }
    }
}

/// A table of rows.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    vnis: BTreeMap<Vni, VniRows>,
    pool: Pool,
    len: usize,
}

impl Rows {
    /// How many rows.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// None at all.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a row in the place of the one with its key. True if that changed something.
    pub fn insert(&mut self, row: Row) -> bool {
        let vni = row.key().vni();
        let rows = self.vnis.entry(vni).or_default();
        let before = rows.len();
        let changed = match row {
            Row::Vni(l2) => {
                let same = rows.device.as_ref() == Some(&l2);
                rows.device = Some(l2);
                !same
            }
            Row::Flood(_, vtep, flood) => rows.flood.insert(vtep, flood) != Some(flood),
            Row::Mac(_, mac, remote) => {
                let new = self.pool.pack(remote);
                let old = rows.macs.insert(mac, new);
                if let Some(old) = old {
                    self.pool.release(old);
                }
                old != Some(new)
            }
            Row::Neighbour(_, ip, n) => rows.neighbours.insert(ip, n) != Some(n),
        };
        self.len += rows.len() - before;
        changed
    }

    /// Removes a row; [`Key::Vni`] removes the device row alone. True if it was there.
    pub fn remove(&mut self, key: &Key) -> bool {
        let Entry::Occupied(mut entry) = self.vnis.entry(key.vni()) else { return false };
        let rows = entry.get_mut();
        let was = match key {
            Key::Vni(_) => rows.device.take().is_some(),
            Key::Flood(_, vtep) => rows.flood.remove(vtep).is_some(),
            Key::Mac(_, mac) => match rows.macs.remove(mac) {
                Some(old) => {
                    self.pool.release(old);
                    true
                }
                None => false,
            },
            Key::Neighbour(_, ip) => rows.neighbours.remove(ip).is_some(),
            Key::Prefix(..) => false,
        };
        rows.shrink();
        if rows.len() == 0 {
            entry.remove();
        }
        self.len -= usize::from(was);
        was
    }

    /// Removes a VNI and every row of it.
    pub fn remove_vni(&mut self, vni: Vni) {
        if let Some(rows) = self.vnis.remove(&vni) {
            self.len -= rows.len();
            for packed in rows.macs.values() {
                self.pool.release(*packed);
            }
        }
    }

    /// Puts the rows `other` has of a VNI in the place of our own, and takes them out of there.
    pub fn replace_vni(&mut self, vni: Vni, other: &mut Self) {
        self.remove_vni(vni);
        let Some(mut rows) = other.vnis.remove(&vni) else { return };
        other.len -= rows.len();
        // The other table numbers its VTEPs its own way.
        for packed in rows.macs.values_mut() {
            let remote = other.pool.unpack(*packed);
            other.pool.release(*packed);
            *packed = self.pool.pack(remote);
        }
        self.len += rows.len();
        self.vnis.insert(vni, rows);
    }

    /// The row with this key.
    pub fn get(&self, key: &Key) -> Option<Row> {
        let rows = self.vnis.get(&key.vni())?;
        Some(match key {
            Key::Vni(_) => Row::Vni(rows.device.clone()?),
            Key::Flood(vni, vtep) => Row::Flood(*vni, *vtep, *rows.flood.get(vtep)?),
            Key::Mac(vni, mac) => Row::Mac(*vni, *mac, self.pool.unpack(*rows.macs.get(mac)?)),
            Key::Neighbour(vni, ip) => Row::Neighbour(*vni, *ip, *rows.neighbours.get(ip)?),
            Key::Prefix(..) => return None,
        })
    }

    /// Is there a row with this key?
    pub fn contains(&self, key: &Key) -> bool {
        self.vnis.get(&key.vni()).is_some_and(|rows| match key {
            Key::Vni(_) => rows.device.is_some(),
            Key::Flood(_, vtep) => rows.flood.contains_key(vtep),
            Key::Mac(_, mac) => rows.macs.contains_key(mac),
            Key::Neighbour(_, ip) => rows.neighbours.contains_key(ip),
            Key::Prefix(..) => false,
        })
    }

    /// The device row of a VNI.
    pub fn device(&self, vni: Vni) -> Option<&L2Vni> {
        self.vnis.get(&vni)?.device.as_ref()
    }

    /// How many rows of a VNI.
    pub fn count(&self, vni: Vni) -> usize {
        self.vnis.get(&vni).map_or(0, VniRows::len)
    }

    /// How many MACs in a VNI.
    pub fn macs(&self, vni: Vni) -> usize {
        self.vnis.get(&vni).map_or(0, |rows| rows.macs.len())
    }

    /// How many neighbours in a VNI.
    pub fn neighbours(&self, vni: Vni) -> usize {
        self.vnis.get(&vni).map_or(0, |rows| rows.neighbours.len())
    }

    /// Every VNI with at least one row, in order.
    pub fn vnis(&self) -> impl Iterator<Item = Vni> + '_ {
        self.vnis.keys().copied()
    }

    /// Appends the keys of every row of a VNI, in no order.
    pub fn keys(&self, vni: Vni, out: &mut Vec<Key>) {
        let Some(rows) = self.vnis.get(&vni) else { return };
        out.reserve(rows.len());
        out.extend(rows.device.is_some().then_some(Key::Vni(vni)));
        out.extend(rows.flood.keys().map(|vtep| Key::Flood(vni, *vtep)));
        out.extend(rows.macs.keys().map(|mac| Key::Mac(vni, *mac)));
        out.extend(rows.neighbours.keys().map(|ip| Key::Neighbour(vni, *ip)));
    }
}

/// Two tables are equal if they hold equal rows; how each numbers its VTEPs does not matter.
impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
            && self.vnis().all(|vni| {
                let mut keys = Vec::new();
                self.keys(vni, &mut keys);
                keys.iter().all(|key| self.get(key) == other.get(key))
            })
    }
}

impl Eq for Rows {}

#[cfg(test)]
mod tests {
    use super::*;

    fn vni(n: u32) -> Vni {
        Vni::new(n).unwrap()
    }

    fn mac_row(m: u8, to: u8) -> Row {
        let remote = RemoteMac { vtep: IpAddr::from([10, 0, 0, to]), vni: vni(1), sticky: m == 9 };
        Row::Mac(vni(1), MacAddr([2, 0, 0, 0, 0, m]), Some(remote))
    }

    #[test]
    fn rows_come_back_as_they_went_in_and_the_count_is_right() {
        let mut rows = Rows::default();
        assert!(rows.insert(mac_row(1, 1)));
        assert!(!rows.insert(mac_row(1, 1)), "the same again is no change");
        assert!(rows.insert(mac_row(1, 2)));
        assert!(rows.insert(mac_row(9, 2)));
        assert_eq!(rows.len(), 2);
        assert_eq!(rows.get(&mac_row(9, 2).key()), Some(mac_row(9, 2)));
        assert!(rows.remove(&mac_row(1, 2).key()));
        assert!(!rows.remove(&mac_row(1, 2).key()));
        rows.remove_vni(vni(1));
        assert!(rows.is_empty());
        assert_eq!(rows.vnis().count(), 0);
    }

    #[test]
    fn numbers_of_vteps_are_used_again() {
        let mut rows = Rows::default();
        for to in 0..=255 {
            rows.insert(mac_row(1, to));
        }
        assert!(rows.pool.entries.len() <= 2, "one in use, one being replaced");
    }
}
