//! What is believed of the VLANs of bridge ports and of a VXLAN device's VNI filter: read once, then kept by what is
//! written and by what the kernel tells.
//!
//! With thousands of VLANs, nobody wants to read them all for every one that changes. So everything one asks for has an
//! index: the VLANs of a link, the links in a VLAN, the VLAN a VNI is mapped from.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::RandomState;
use types::Vni;

use super::codec::{Entry, Run};

/// The VLANs of all links.
#[derive(Debug, Default)]
pub(super) struct Vlans {
    links: HashMap<u32, BTreeMap<u16, Entry>, RandomState>,
    members: BTreeSet<(u16, u32)>,
    /// The VLAN of a link that what comes in without a tag is in.
    pvids: HashMap<u32, u16, RandomState>,
    /// The VLAN that stands for a VNI on a link.
    mapped: HashMap<(u32, Vni), u16, RandomState>,
}

impl Vlans {
    pub(super) fn get(&self, link: u32, vlan: u16) -> Option<Entry> {
        self.links.get(&link)?.get(&vlan).copied()
    }

    pub(super) fn set(&mut self, link: u32, vlan: u16, entry: Entry) {
        self.unset(link, vlan);
        let vlans = self.links.entry(link).or_default();
        // A port has one PVID: the kernel takes it from the other without a word.
        if entry.pvid
            && let Some(old) = self.pvids.insert(link, vlan)
            && let Some(other) = vlans.get_mut(&old)
        {
            other.pvid = false;
        }
        vlans.insert(vlan, entry);
        self.members.insert((vlan, link));
        self.mapped.extend(entry.tunnel.map(|vni| ((link, vni), vlan)));
    }

    pub(super) fn unset(&mut self, link: u32, vlan: u16) {
        let Some(vlans) = self.links.get_mut(&link) else { return };
        let Some(old) = vlans.remove(&vlan) else { return };
        if vlans.is_empty() {
            self.links.remove(&link);
        }
        self.members.remove(&(vlan, link));
        if old.pvid {
            self.pvids.remove(&link);
        }
        if let Some(vni) = old.tunnel
            && self.mapped.get(&(link, vni)) == Some(&vlan)
        {
            self.mapped.remove(&(link, vni));
        }
    }

    pub(super) fn add(&mut self, run: Run) {
        run.each().for_each(|(vlan, entry)| self.set(run.link, vlan, entry));
    }

    /// The link is in no VLAN.
    pub(super) fn clear(&mut self, link: u32) {
        let vlans: Vec<u16> = self.of(link).map(|(vlan, _)| vlan).collect();
        for vlan in vlans {
            self.unset(link, vlan);
        }
    }

    /// The VLANs of a link, in order.
    pub(super) fn of(&self, link: u32) -> impl Iterator<Item = (u16, Entry)> {
        self.links.get(&link).into_iter().flatten().map(|(vlan, entry)| (*vlan, *entry))
    }

    /// The links in a VLAN.
    pub(super) fn members(&self, vlan: u16) -> impl Iterator<Item = u32> {
        self.members.range((vlan, 0)..=(vlan, u32::MAX)).map(|(_, link)| *link)
    }

    /// The VLAN of a link that what comes in without a tag is in.
    pub(super) fn pvid(&self, link: u32) -> Option<(u16, Entry)> {
        let vlan = *self.pvids.get(&link)?;
        Some((vlan, self.get(link, vlan)?))
    }

    /// The VLAN that stands for a VNI on a link.
    pub(super) fn mapped(&self, link: u32, vni: Vni) -> Option<u16> {
        self.mapped.get(&(link, vni)).copied()
    }

    /// The VNIs a link has VLANs for.
    pub(super) fn mappings(&self, link: u32) -> impl Iterator<Item = (u16, Vni)> {
        self.of(link).filter_map(|(vlan, entry)| Some((vlan, entry.tunnel?)))
    }

    /// Is the link in this VLAN and in no other, without a tag?
    pub(super) fn is_access(&self, link: u32, vlan: u16) -> bool {
        let mut vlans = self.of(link);
        let right = |(own, entry): (u16, Entry)| own == vlan && entry.is(Entry::ACCESS);
        vlans.next().is_some_and(right) && vlans.next().is_none()
    }
}

/// VNIs that a VXLAN device takes packets of. Ranges, since one message may name all sixteen million.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter(BTreeMap<u32, u32>);

impl Filter {
    pub(super) fn contains(&self, vni: Vni) -> bool {
        self.touches(vni.get(), vni.get())
    }

    /// Are all of these in it?
    pub(super) fn covers(&self, start: u32, end: u32) -> bool {
        self.0.range(..=start).next_back().is_some_and(|(_, last)| *last >= end)
    }

    /// Is any of these in it?
    pub(super) fn touches(&self, start: u32, end: u32) -> bool {
        self.0.range(..=end).next_back().is_some_and(|(_, last)| *last >= start)
    }

    pub(super) fn ranges(&self) -> impl Iterator<Item = (u32, u32)> {
        self.0.iter().map(|(start, end)| (*start, *end))
    }

    /// Every VNI, from the first; so many at most.
    pub(super) fn vnis(&self, most: usize) -> impl Iterator<Item = Vni> {
        self.0.iter().flat_map(|(start, end)| *start..=*end).filter_map(Vni::new).take(most)
    }

    pub(super) fn insert(&mut self, mut start: u32, mut end: u32) {
        // What it touches becomes one with it.
        while let Some((&from, &to)) = self.0.range(..=end.saturating_add(1)).next_back()
            && to.saturating_add(1) >= start
        {
            self.0.remove(&from);
            (start, end) = (start.min(from), end.max(to));
        }
        self.0.insert(start, end);
    }

    pub(super) fn remove(&mut self, start: u32, end: u32) {
        while let Some((&from, &to)) = self.0.range(..=end).next_back()
            && to >= start
        {
            self.0.remove(&from);
            if to > end {
                self.0.insert(end + 1, to);
            }
            if from < start {
                self.0.insert(from, start - 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn vni(n: u32) -> Vni {
        Vni::new(n).unwrap()
    }

    fn tunnel(n: u32) -> Entry {
        Entry { tunnel: Some(vni(n)), ..Entry::default() }
    }

    #[test]
    fn every_index_follows() {
        let mut vlans = Vlans::default();
        vlans.add(Run { link: 7, first: 12, last: 14, entry: tunnel(22_001) });
        vlans.set(8, 13, Entry::ACCESS);
        assert_eq!(vlans.mapped(7, vni(22_002)), Some(13));
        assert_eq!(vlans.members(13).collect::<Vec<_>>(), [7, 8]);
        assert!(vlans.is_access(8, 13));
        assert_eq!((vlans.pvid(8), vlans.pvid(7)), (Some((13, Entry::ACCESS)), None));
        // The PVID moves; the old VLAN stays.
        vlans.set(8, 14, Entry::ACCESS);
        assert_eq!(vlans.get(8, 13), Some(Entry { pvid: false, ..Entry::ACCESS }));
        assert!(!vlans.is_access(8, 14));
        assert_eq!(vlans.pvid(8), Some((14, Entry::ACCESS)));
        // Another VNI in the place of one, which then is mapped from elsewhere: the order does not matter.
        vlans.set(7, 20, tunnel(22_001));
        vlans.set(7, 12, tunnel(5));
        assert_eq!((vlans.mapped(7, vni(22_001)), vlans.mapped(7, vni(5))), (Some(20), Some(12)));
        assert_eq!(vlans.mappings(7).count(), 4);
        vlans.clear(7);
        assert_eq!(vlans.members(13).collect::<Vec<_>>(), [8]);
        assert_eq!(vlans.mapped(7, vni(22_001)), None);
        vlans.clear(8);
        assert!(vlans.links.is_empty() && vlans.members.is_empty() && vlans.mapped.is_empty());
        assert!(vlans.pvids.is_empty());
    }

    proptest! {
        #[test]
        fn a_filter_is_a_set(ops in prop::collection::vec((any::<bool>(), 0..60_u32, 0..20_u32), 0..40)) {
            let mut filter = Filter::default();
            let mut set = BTreeSet::new();
            for (insert, start, len) in ops {
                if insert {
                    filter.insert(start, start + len);
                    set.extend(start..=start + len);
                } else {
                    filter.remove(start, start + len);
                    set.retain(|n| !(start..=start + len).contains(n));
                }
                for n in 0..100 {
                    prop_assert_eq!(filter.contains(vni(n)), set.contains(&n));
                    prop_assert_eq!(filter.covers(n, n + 5), (n..=n + 5).all(|n| set.contains(&n)));
                    prop_assert_eq!(filter.touches(n, n + 5), (n..=n + 5).any(|n| set.contains(&n)));
                }
                prop_assert!(filter.vnis(1000).map(Vni::get).eq(set.iter().copied()));
                // Neighbours are one range.
                let ranges: Vec<_> = filter.0.iter().collect();
                prop_assert!(ranges.windows(2).all(|two| *two[0].1 + 1 < *two[1].0));
            }
        }
    }

    #[test]
    fn a_filter_of_all_vnis_is_one_range() {
        let mut filter = Filter::default();
        filter.insert(0, Vni::MAX.get());
        filter.remove(5, 5);
        assert!(!filter.contains(vni(5)) && filter.contains(Vni::MAX));
        assert_eq!((filter.0.len(), filter.vnis(3).count()), (2, 3));
        filter.insert(u32::MAX - 1, u32::MAX);
        filter.remove(0, u32::MAX);
        assert_eq!(filter.ranges().count(), 0);
    }
}
