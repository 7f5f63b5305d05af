//! What the kernel tells by itself, turned into facts.

use types::Vni;

use super::Kernel;
use super::links::Link;
use super::observe::found_neighbour;
use super::rows::Fdb;
use super::wire::{
    AF_BRIDGE, NUD_FAILED, NUD_INCOMPLETE, Neigh, RTM_DELLINK, RTM_DELNEIGH, RTM_NEWLINK, RTM_NEWNEIGH,
};
use crate::backend::{Device, Fact};
use crate::rows::{Key, Row};

impl Kernel {
    pub(super) fn event(&mut self, kind: u16, body: &[u8], facts: &mut Vec<Fact>) {
        match kind {
            RTM_NEWLINK | RTM_DELLINK => self.link_event(kind, body, facts),
            RTM_NEWNEIGH | RTM_DELNEIGH => {
                let Some(n) = Neigh::parse(body) else { return };
                if n.family == AF_BRIDGE {
                    self.fdb_event(kind, &n, facts);
                } else if let Some(&vni) = self.by_index.get(&n.index) {
                    self.neighbour_event(kind, &n, vni, facts);
                }
            }
            _ => {}
        }
    }

    pub(super) fn fdb_event(&mut self, kind: u16, n: &Neigh, facts: &mut Vec<Fact>) {
        let vni = self.by_index.get(&n.index).or_else(|| self.by_index.get(&n.master?));
        let Some((&vni, devices)) = vni.and_then(|vni| Some((vni, self.vnis.get(vni)?))) else { return };
        let fdb = Fdb::of(n, vni, devices.at);
        if kind == RTM_NEWNEIGH {
            match fdb {
                Fdb::Local { mac, port, sticky } => {
                    let interface = self.port_name(port);
                    facts.push(Fact::Local { vni, mac, interface, sticky });
                }
                Fdb::Foreign { mac } => facts.push(Fact::Foreign(vni, mac)),
                _ => {}
            }
            return;
        }
        match fdb {
            Fdb::Flood { vtep, flood, .. } => facts.push(Fact::Gone(Row::Flood(vni, vtep, flood))),
            Fdb::Bridge { mac, .. } | Fdb::Vxlan { mac, .. } => {
                facts.push(Fact::Touched(Key::Mac(vni, mac)));
            }
            Fdb::Local { mac, .. } | Fdb::Foreign { mac } => facts.push(Fact::MacGone(vni, mac)),
            Fdb::Nothing => {}
        }
    }

    pub(super) fn neighbour_event(&self, kind: u16, n: &Neigh, vni: Vni, facts: &mut Vec<Fact>) {
        if self.vnis.get(&vni).is_none_or(|devices| devices.at.bridge != n.index) {
            return;
        }
        let Some(ip) = n.dst else { return };
        if kind == RTM_DELNEIGH || n.is(NUD_FAILED | NUD_INCOMPLETE) {
            // An entry loses our mark before it goes, so it may have been either's.
            facts.push(Fact::Touched(Key::Neighbour(vni, ip)));
            facts.push(Fact::NeighbourGone(vni, ip));
        } else {
            found_neighbour(n, vni, &mut |fact| {
                if !matches!(fact, Fact::Row { .. }) {
                    facts.push(fact);
                }
            });
        }
    }

    /// Keeps the picture of the links, and remembers whose have changed.
    pub(super) fn link_event(&mut self, kind: u16, body: &[u8], facts: &mut Vec<Fact>) {
        self.affected.extend(Link::index_of(body).and_then(|index| self.by_index.get(&index)));
        let Some(link) = Link::parse(body) else { return };
        self.affected.extend(self.by_name.get(&link.name));
        facts.extend(self.asked.get(&*link.name).cloned().map(Fact::Port));
        // A rename takes a name away from what had it.
        let before = self.links.get(link.index).filter(|before| before.name != link.name);
        facts.extend(before.and_then(|before| self.asked.get(&*before.name)).cloned().map(Fact::Port));
        if kind == RTM_DELLINK {
            self.names.remove(&link.index);
            self.links.remove(link.index);
        } else {
            self.links.insert(link);
        }
    }

    /// Tells of the VNIs whose devices no longer are as they were put. An event may be older than what was done
    /// since, so the links are read anew.
    pub(super) fn tell_affected(&mut self, facts: &mut Vec<Fact>) {
        for vni in std::mem::take(&mut self.affected) {
            let read = self.refresh(vni);
            // Not put (any longer), or still to be: whoever waits for the link may try again.
            let right = self.vnis.get(&vni).is_some_and(|devices| self.state(devices) == Device::Right);
            if read.is_err() || !right {
                facts.push(Fact::Device(vni));
            }
        }
    }
}
