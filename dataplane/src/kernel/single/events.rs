//! What the kernel tells by itself: of VLANs and VNI filters beside links and rows.
//!
//! Nearly all of it is the echo of our own writes, and some is older than what was written since. So it does not change
//! what is believed before everything has been heard: then the last word on each VLAN counts. Where that is another than
//! expected, it is believed if it says all; if not, the VLANs of that one link are read anew.

use std::collections::BTreeSet;

use types::Vni;

use super::super::base::Base;
use super::super::links::{Kind, Link};
use super::super::rows::Place;
use super::super::wire::{RTM_DELLINK, RTM_NEWLINK, RTM_NEWNEIGH};
use super::SingleDevice;
use super::codec::{
    Entry, RTM_DELTUNNEL, RTM_DELVLAN, RTM_NEWTUNNEL, RTM_NEWVLAN, Run, read_filter, read_vlans,
    tells_of_no_tunnels,
};
use crate::backend::{Device, Fact};

/// The last that was heard of a VLAN of a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    /// How it is; `None`: the link is not in it.
    entry: Option<Entry>,
    /// That is all there is to say. Of a range, the kernel tells how its first VLAN is set; and of a new PVID, not
    /// which VLAN was that before.
    whole: bool,
}

impl Word {
    /// What news of a run of VLANs say of each.
    fn each(run: Run, stands: bool) -> impl Iterator<Item = ((u32, u16), Self)> {
        let whole = !stands || (run.first == run.last && !run.entry.pvid);
        run.each()
            .map(move |(vlan, entry)| ((run.link, vlan), Self { entry: stands.then_some(entry), whole }))
    }
}

impl SingleDevice {
    pub(super) fn hear(&mut self, facts: &mut Vec<Fact>) -> bool {
        self.fresh.clear();
        self.clean.clear();
        facts.append(&mut self.pending);
        let more = self.listen(facts);
        if !more {
            self.believe_vlans(facts);
            self.believe_filters(facts);
            self.tell_affected(facts);
        }
        more
    }

    /// Listens in the middle of much work, whose own echo would fill the buffer: what there is to tell waits.
    pub(super) fn listen_meanwhile(&mut self) {
        let mut facts = std::mem::take(&mut self.pending);
        self.listen(&mut facts);
        self.pending = facts;
    }

    fn listen(&mut self, facts: &mut Vec<Fact>) -> bool {
        let names = [self.base.config.bridge.clone(), self.base.config.vxlan.clone()];
        let shared = |base: &Base| names.each_ref().map(|name| base.links.named(name).map(|link| link.index));
        let before = shared(&self.base);
        let discover = self.base.config.discover;
        let Self { base, holders, heard, heard_filters, shaken, vlans, torn, ports, leftovers, .. } = self;
        let whose = |base: &_, n: &_| Self::whose(base, holders, n);
        let more = base.hear(facts, &mut |base, message, facts| match message.kind {
            RTM_NEWVLAN | RTM_DELVLAN => {
                let stands = message.kind == RTM_NEWVLAN;
                heard.extend(read_vlans(message.body).flat_map(|run| Word::each(run, stands)));
            }
            RTM_NEWTUNNEL | RTM_DELTUNNEL => {
                let Some((link, ranges)) = read_filter(message.body) else { return };
                let (added, removed) = heard_filters.entry(link).or_default();
                let (into, from) =
                    if message.kind == RTM_NEWTUNNEL { (added, removed) } else { (removed, added) };
                for (start, end) in ranges {
                    into.insert(start, end);
                    from.remove(start, end);
                }
            }
            RTM_NEWLINK | RTM_DELLINK => {
                let index = Link::index_of(message.body);
                let known = index.filter(|_| discover).and_then(|index| base.links.get(index)).cloned();
                base.event(message, &whose, facts);
                let mapped = |index: &u32| vlans.mappings(*index).next().is_some();
                torn.extend(index.filter(|_| tells_of_no_tunnels(message.body)).filter(mapped));
                if !discover {
                    *shaken |= before.contains(&index);
                } else if Link::is_of_port(message.body) {
                    ports.extend(index);
                } else {
                    // Who takes devices as they are has to look at every change of them.
                    let now = index.and_then(|index| base.links.get(index));
                    *shaken |= now != known.as_ref() && now.into_iter().chain(&known).any(may_carry);
                }
                // A VLAN device of somebody else's is a table, too.
                let link = index.and_then(|index| base.links.get(index));
                if let Some((index, vlan)) = link.and_then(|link| Some((link.index, link.vlan()?)))
                    && let Some(vni) = holders.get(&(vlan.lower, vlan.id))
                    && base.vnis.get(vni).is_some_and(|placed| placed.at.table != Some(index))
                {
                    base.affected.insert(*vni);
                }
            }
            RTM_NEWNEIGH => {
                // (An interface has its index in the same place in all of these.)
                let index = Link::index_of(message.body).unwrap_or_default();
                if leftovers.get_mut(&index).is_some_and(|left| !left.note(message.body)) {
                    leftovers.remove(&index);
                }
                base.event(message, &whose, facts);
            }
            _ => base.event(message, &whose, facts),
        });
        self.shaken |= shared(&self.base) != before;
        more
    }

    /// Takes in what was heard of VLANs.
    fn believe_vlans(&mut self, facts: &mut Vec<Fact>) {
        for link in self.heed_vlans(None) {
            self.read_again(link);
        }
        // With the tunnels of a port all its mappings go, without a word of them; also if they are on again by now.
        for link in std::mem::take(&mut self.torn) {
            let before: Vec<(u16, Entry)> = self.vlans.of(link).collect();
            self.read_again(link);
            let lost = before.into_iter().filter(|(vlan, entry)| self.vlans.get(link, *vlan) != Some(*entry));
            self.base.affected.extend(lost.filter_map(|(_, entry)| entry.tunnel));
        }
        facts.append(&mut self.pending);
    }

    fn read_again(&mut self, link: u32) {
        if let Err(error) = self.read_vlans_of(link) {
            // The next comparison of everything reads them again.
            tracing::debug!(%error, link, "VLANs that changed");
        }
    }

    /// Whom it concerns, what was heard of the VLANs of a link, or of all, and was not believed. The links of which not all
    /// was said: they are to be read anew.
    pub(super) fn heed_vlans(&mut self, of: Option<u32>) -> BTreeSet<u32> {
        let mut links = BTreeSet::new();
        let meant = |(link, _): &(u32, u16)| of.is_none_or(|of| *link == of);
        // Nothing that comes into it is to be without a tag, whichever VLAN that would be in.
        let vxlan = self.shared_devices().1.filter(|_| !self.base.config.discover);
        for ((link, vlan), word) in self.heard.extract_if(|key, _| meant(key)) {
            let (believed, heard) = (self.vlans.get(link, vlan), word.entry);
            if believed == heard {
                continue;
            }
            match heard {
                _ if !word.whole => {
                    links.insert(link);
                }
                Some(entry) => self.vlans.set(link, vlan, entry),
                None => self.vlans.unset(link, vlan),
            }
            self.shaken |= vxlan == Some(link) && heard.is_some_and(|entry| entry.pvid);
            let found = self.base.links.get(link);
            let bridge = found.and_then(|link| link.master).unwrap_or(link);
            self.base.affected.extend(self.holders.get(&(bridge, vlan)));
            let tunnels = [believed, heard].into_iter().flatten().filter_map(|entry| entry.tunnel);
            self.base.affected.extend(tunnels);
            // A VLAN that nobody has takes the port out of that of its VNI, if it becomes its PVID: the kernel says no more.
            self.base.affected.extend(found.and_then(|link| self.base.by_name.get(&link.name)));
            let asked = found.and_then(|link| self.base.asked.get(&*link.name));
            self.pending.extend(asked.cloned().map(Fact::Port));
        }
        links
    }

    /// Takes in what was heard of VNI filters.
    fn believe_filters(&mut self, facts: &mut Vec<Fact>) {
        for link in self.heed_filters() {
            if self.read_filter(link).is_err() {
                facts.push(Fact::Lost);
            }
        }
    }

    /// The same for VNI filters.
    pub(super) fn heed_filters(&mut self) -> Vec<u32> {
        let mut links = Vec::new();
        for (link, (added, removed)) in std::mem::take(&mut self.heard_filters) {
            let Some(filter) = self.filters.get(&link) else { continue };
            let same = added.ranges().all(|(start, end)| filter.covers(start, end))
                && removed.ranges().all(|(start, end)| !filter.touches(start, end));
            if same {
                continue;
            }
            for (start, end) in removed.ranges() {
                if let (Some(start), Some(end)) = (Vni::new(start), Vni::new(end)) {
                    self.base.affected.extend(self.base.vnis.range(start..=end).map(|(vni, _)| *vni));
                }
            }
            links.push(link);
        }
        links
    }

    /// Tells of the VNIs that no longer are as they were put.
    fn tell_affected(&mut self, facts: &mut Vec<Fact>) {
        self.look_at_ports();
        let shaken = std::mem::take(&mut self.shaken);
        let affected = std::mem::take(&mut self.base.affected);
        facts.extend(std::mem::take(&mut self.moved).into_iter().map(Fact::Device));
        if !shaken && affected.is_empty() {
            return;
        }
        if self.base.config.discover {
            return self.tell_found(shaken, affected, facts);
        }
        let overlay = self.refresh_overlay().unwrap_or(false);
        if shaken {
            facts.extend(std::mem::take(&mut self.waiting).into_iter().map(Fact::Device));
        }
        let shared = self.shared_devices();
        let elsewhere = |at: &Place| (Some(at.bridge), Some(at.vxlan)) != shared;
        // Right they may be again already, and still others than those that these VNIs were put on.
        if shaken && (!overlay || self.base.vnis.values().any(|placed| elsewhere(&placed.at))) {
            facts.extend(self.base.vnis.keys().copied().map(Fact::Device));
            return;
        }
        for vni in affected {
            // With everything heard, the links are as they were told last; what is wrong by that is looked at.
            if self.state(vni, overlay) == Device::Right {
                continue;
            }
            let read = self.refresh(vni);
            // Not put (any longer), or still to be: whoever waits for the link may try again.
            if read.is_err() || self.state(vni, overlay) != Device::Right {
                facts.push(Fact::Device(vni));
            }
        }
    }

    /// How a port is set, the kernel tells in words that are not read: so the VXLAN device is.
    fn look_at_ports(&mut self) {
        for index in std::mem::take(&mut self.ports) {
            let vxlan = self.base.links.get(index).filter(|link| link.vxlan().is_some());
            if let Some(name) = vxlan.map(|link| link.name.clone())
                && let Err(error) = self.read_device(&name)
            {
                tracing::debug!(%error, "a VXLAN device that changed");
            }
        }
    }

    /// Tells of VNIs that others set up, changed or took away: of those that are affected, or, if devices changed, of all.
    fn tell_found(&mut self, all: bool, affected: BTreeSet<Vni>, facts: &mut Vec<Fact>) {
        let mut looked_at = affected;
        if all {
            looked_at.extend(self.known.keys().chain(self.base.vnis.keys()));
            looked_at.extend(self.mapped_by_others().keys());
        }
        let devices = self.devices_of_others();
        for vni in looked_at {
            let before = self.known.contains_key(&vni);
            let now = self.look_for(vni, &devices);
            if before != now.is_some() {
                facts.push(Fact::Found(vni, now.is_some()));
            }
            if let Some(placed) = self.base.vnis.get(&vni) {
                let right = now == Some(placed.at) && self.learns(placed.at).is_empty();
                facts.extend((!right).then_some(Fact::Device(vni)));
            }
        }
    }
}

/// Can it be, or be what makes, a device that carries VNIs?
const fn may_carry(link: &Link) -> bool {
    matches!(link.kind, Kind::Bridge(_) | Kind::Vxlan(_))
}
