//! What the kernel tells by itself, turned into facts.

use types::Vni;

use super::base::Base;
use super::links::Link;
use super::marks;
use super::observe::found_neighbour;
use super::rows::{Fdb, Place};
use super::socket::Heard;
use super::wire::{
    AF_BRIDGE, Message, Messages, NUD_FAILED, NUD_INCOMPLETE, Neigh, RTM_DELLINK, RTM_DELNEIGH, RTM_NEWLINK,
    RTM_NEWNEIGH,
};
use crate::backend::Fact;
use crate::rows::{Key, Row};

/// Datagrams read from the monitor in one poll: more than one turn of the reconciler causes by removing rows (two for
/// each of its 2048), or a large withdrawal would fill the buffer with our own echoes.
const POLL: usize = 8192;

/// Which VNI a row in an FDB belongs to, and where that one is.
pub(super) type Whose<'a> = &'a dyn Fn(&Base, &Neigh) -> Option<(Vni, Place)>;

impl Base {
    /// Reads a bounded number of datagrams, and hands on each message; true if there may be more.
    pub(super) fn hear(
        &mut self,
        facts: &mut Vec<Fact>,
        event: &mut dyn FnMut(&mut Self, &Message<'_>, &mut Vec<Fact>),
    ) -> bool {
        let mut buffer = std::mem::take(&mut self.heard);
        let mut more = true;
        for _ in 0..POLL {
            match self.monitor.read(&mut buffer) {
                Heard::Bytes(n) => {
                    for message in Messages(&buffer[..n]) {
                        event(self, &message, facts);
                    }
                }
                Heard::Lost => facts.push(Fact::Lost),
                Heard::Nothing => {
                    more = false;
                    break;
                }
            }
        }
        self.heard = buffer;
        more
    }

    /// Links and neighbours: what is the same in every layout.
    pub(super) fn event(&mut self, message: &Message<'_>, whose: Whose<'_>, facts: &mut Vec<Fact>) {
        let (kind, body) = (message.kind, message.body);
        match kind {
            RTM_NEWLINK | RTM_DELLINK => self.link_event(kind, body, facts),
            RTM_NEWNEIGH | RTM_DELNEIGH => {
                let Some(n) = Neigh::parse(body) else { return };
                if n.family == AF_BRIDGE {
                    self.fdb_event(kind, &n, whose, facts);
                } else if let Some(&vni) = self.by_index.get(&n.index) {
                    self.neighbour_event(kind, &n, vni, facts);
                }
            }
            _ => {}
        }
    }

    fn fdb_event(&mut self, kind: u16, n: &Neigh, whose: Whose<'_>, facts: &mut Vec<Fact>) {
        let Some((vni, at)) = whose(self, n) else { return };
        let fdb = Fdb::of(n, vni, at);
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

    fn neighbour_event(&self, kind: u16, n: &Neigh, vni: Vni, facts: &mut Vec<Fact>) {
        if self.vnis.get(&vni).is_none_or(|placed| placed.at.table != Some(n.index)) {
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
    fn link_event(&mut self, kind: u16, body: &[u8], facts: &mut Vec<Fact>) {
        self.affected.extend(Link::index_of(body).and_then(|index| self.by_index.get(&index)));
        let Some(mut link) = Link::parse(body) else { return };
        // The news of how it was made are older than its mark, of which a device that is down says nothing.
        let known =
            self.links.get(link.index).filter(|known| known.name == link.name && marks::is_ours(known));
        if link.alias.is_none() {
            link.alias = known.and_then(|known| known.alias.clone());
        }
        self.affected.extend(self.by_name.get(&link.name));
        facts.extend(self.asked.get(&*link.name).cloned().map(Fact::Port));
        // A rename takes a name away from what had it.
        let before = self.links.get(link.index).filter(|before| before.name != link.name);
        facts.extend(before.and_then(|before| self.asked.get(&*before.name)).cloned().map(Fact::Port));
        if kind == RTM_DELLINK {
            self.link_gone(link.index);
        } else {
            self.links.insert(link);
        }
    }
}
