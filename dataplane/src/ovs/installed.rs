//! What is believed to be installed: the flows of each unit, in few octets, since there may be hundreds of thousands.
//!
//! Of a flow its place (table, priority, match) is kept in words, for it is needed to take the flow out, and of its
//! actions and cookie a digest.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;

use super::flow::{self, Flow, FlowId};

/// One flow that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stands<'a> {
    pub(crate) table: u8,
    pub(crate) priority: u16,
    pub(crate) matches: &'a str,
    pub(crate) digest: u64,
}

impl<'a> Stands<'a> {
    /// A flow as it would stand.
    pub(crate) fn of(flow: &'a Flow) -> Self {
        Self { table: flow.table, priority: flow.priority, matches: &flow.matches, digest: flow.digest() }
    }

    /// What it is known by.
    pub(crate) fn id(&self) -> FlowId {
        FlowId::new(self.table, self.priority, self.matches)
    }

    /// Appends the line that takes it out.
    pub(crate) fn write_delete(&self, out: &mut String) {
        flow::write_delete(self.table, self.priority, self.matches, out);
    }
}

impl std::fmt::Display for Stands<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "table={},priority={}", self.table, self.priority)?;
        if self.matches.is_empty() { Ok(()) } else { write!(f, ",{}", self.matches) }
    }
}

/// Table, priority, digest, length of the match.
const HEAD: usize = 1 + 2 + 8 + 2;

/// Some flows, packed: for each [`HEAD`] octets and the match's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packed(Vec<u8>);

impl Packed {
    /// Appends a flow.
    pub(crate) fn push(&mut self, flow: &Stands<'_>) {
        // Longer than any match OpenFlow can carry; a flow like that is refused before it comes here.
        let Ok(len) = u16::try_from(flow.matches.len()) else { return };
        self.0.reserve_exact(HEAD + flow.matches.len());
        self.0.push(flow.table);
        self.0.extend_from_slice(&flow.priority.to_le_bytes());
        self.0.extend_from_slice(&flow.digest.to_le_bytes());
        self.0.extend_from_slice(&len.to_le_bytes());
        self.0.extend_from_slice(flow.matches.as_bytes());
    }

    /// The flows, in the order they were pushed.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Stands<'_>> {
        unpack(&self.0)
    }

    /// None.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn unpack(mut octets: &[u8]) -> impl Iterator<Item = Stands<'_>> {
    std::iter::from_fn(move || {
        let (head, rest) = octets.split_first_chunk::<HEAD>()?;
        let [table, p0, p1, digest @ .., l0, l1] = *head;
        let (matches, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([l0, l1])))?;
        octets = rest;
        Some(Stands {
            table,
            priority: u16::from_le_bytes([p0, p1]),
            digest: u64::from_le_bytes(digest),
            matches: std::str::from_utf8(matches).ok()?,
        })
    })
}

/// The flows of every unit.
#[derive(Debug)]
pub(crate) struct Installed<U> {
    units: HashMap<U, Box<[u8]>, RandomState>,
    flows: usize,
}

impl<U> Default for Installed<U> {
    fn default() -> Self {
        Self { units: HashMap::default(), flows: 0 }
    }
}

impl<U: Eq + Hash + Clone> Installed<U> {
    /// How many flows.
    pub(crate) const fn len(&self) -> usize {
        self.flows
    }

    /// The flows of a unit.
    pub(crate) fn get(&self, unit: &U) -> impl Iterator<Item = Stands<'_>> {
        unpack(self.units.get(unit).map_or(&[], |octets| octets))
    }

    /// These, and no others, are the flows of this unit now.
    pub(crate) fn set(&mut self, unit: &U, flows: Packed) {
        self.flows += flows.iter().count();
        let old = if flows.is_empty() {
            self.units.remove(unit)
        } else {
            self.units.insert(unit.clone(), flows.0.into_boxed_slice())
        };
        self.flows -= old.map_or(0, |old| unpack(&old).count());
        if self.units.capacity() > 1024 && self.units.len() < self.units.capacity() / 8 {
            self.units.shrink_to_fit();
        }
    }

    /// Every unit that has flows, in no order.
    pub(crate) fn units(&self) -> impl Iterator<Item = &U> {
        self.units.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_come_back_as_they_went_in_and_the_count_is_right() {
        let flow = |table, matches: &str| Flow {
            table,
            priority: 0x1234,
            cookie: 7,
            matches: matches.to_owned(),
            actions: "drop".to_owned(),
        };
        let flows = [flow(30, "reg0=0xa,dl_dst=02:00:00:00:00:01"), flow(0, "")];
        let mut packed = Packed::default();
        for flow in &flows {
            packed.push(&Stands::of(flow));
        }
        let mut installed = Installed::default();
        installed.set(&1, packed.clone());
        installed.set(&2, packed.clone());
        assert_eq!(installed.len(), 4);
        let back: Vec<_> = installed.get(&1).collect();
        assert_eq!(back, flows.iter().map(Stands::of).collect::<Vec<_>>());
        assert_eq!(back[0].id(), flows[0].id());
        let (mut a, mut b) = (String::new(), String::new());
        back[0].write_delete(&mut a);
        flows[0].write_delete(&mut b);
        assert_eq!(a, b);
        let mut one = Packed::default();
        one.push(&back[1]);
        installed.set(&1, one);
        assert_eq!((installed.len(), installed.units().count()), (3, 2));
        installed.set(&1, Packed::default());
        installed.set(&3, Packed::default());
        assert_eq!((installed.len(), installed.units().count()), (2, 1));
        assert_eq!(installed.get(&1).count(), 0);
    }
}
