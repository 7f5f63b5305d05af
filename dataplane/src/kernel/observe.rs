//! Reading what stands in the kernel: dumps, and lookups of single rows.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use rustix::io::Errno;
use types::{MacAddr, Vni};

use super::base::{Base, Placed};
use super::rows::{self, Fdb, Place};
use super::socket::Refusal;
use super::wire::{
    AF_BRIDGE, AF_INET, AF_INET6, Message, NDA_IFINDEX, NLM_F_DUMP, NTF_EXT_LEARNED, NTF_ROUTER, NUD_FAILED,
    NUD_INCOMPLETE, NUD_NOARP, NUD_PERMANENT, Neigh, RTM_GETNEIGH, RTM_NEWNEIGH,
};
use super::{BATCH, refused};
use crate::backend::{Error, Fact};
use crate::intent::Neighbour;
use crate::rows::{Key, Row};

/// The filter of a walk through all FDBs: no interface has this index.
pub(super) const EVERYTHING: (u16, u32) = (NDA_IFINDEX, 0);

impl Base {
    pub(super) fn dump(&mut self, what: &str, each: &mut dyn FnMut(&Neigh)) -> Result<(), Error> {
        self.requests
            .ask(&mut self.batch, &mut |m: &Message<'_>| {
                if m.kind == RTM_NEWNEIGH
                    && let Some(neigh) = Neigh::parse(m.body)
                {
                    each(&neigh);
                }
            })
            .map(|_| ())
            .map_err(|refusal| refused(what.to_owned(), refusal))
    }

    /// Walks an FDB. `whose` says which VNI a row is of, and where that one is.
    pub(super) fn dump_fdb(
        &mut self,
        filter: (u16, u32),
        whose: &dyn Fn(&Neigh) -> Option<(Vni, Place)>,
        found: &mut dyn FnMut(Fact),
    ) -> Result<(), Error> {
        self.batch.clear();
        self.batch.begin(RTM_GETNEIGH, NLM_F_DUMP);
        self.batch.neigh(AF_BRIDGE, 0, 0, 0);
        self.batch.attr(filter.0, &filter.1.to_ne_bytes());
        // The kernel shows a port's rows in the bridge before the device's own: the halves meet here.
        let mut halves: HashMap<(Vni, MacAddr), bool, RandomState> = HashMap::default();
        let mut ports: Vec<(Vni, MacAddr, u32, bool)> = Vec::new();
        self.dump("list the FDB", &mut |n| {
            let Some((vni, at)) = whose(n) else { return };
            match Fdb::of(n, vni, at) {
                Fdb::Flood { vtep, flood, own } => {
                    found(Fact::Row { row: Row::Flood(vni, vtep, flood), own });
                }
                Fdb::Bridge { mac, sticky } => {
                    halves.insert((vni, mac), sticky);
                }
                Fdb::Vxlan { mac, to } => {
                    let row = rows::mac_row(vni, mac, halves.remove(&(vni, mac)), to);
                    found(Fact::Row { row, own: true });
                }
                Fdb::Local { mac, port, sticky } => ports.push((vni, mac, port, sticky)),
                Fdb::Foreign { mac } => found(Fact::Foreign(vni, mac)),
                Fdb::Nothing => {}
            }
        })?;
        for (vni, mac) in halves.into_keys() {
            found(Fact::Row { row: Row::Mac(vni, mac, None), own: true });
        }
        for (vni, mac, port, sticky) in ports {
            let interface = self.port_name(port);
            found(Fact::Local { vni, mac, interface, sticky });
        }
        Ok(())
    }

    pub(super) fn observe_neighbours(
        &mut self,
        vni: Vni,
        at: Place,
        found: &mut dyn FnMut(Fact),
    ) -> Result<(), Error> {
        let Some(table) = at.table else { return Ok(()) };
        self.dump_neighbours(Some(table), &|index| (index == table).then_some(vni), found)
    }

    /// Walks the ARP and ND entries of an interface, or of all. `whose` says which VNI those of an interface are of.
    pub(super) fn dump_neighbours(
        &mut self,
        interface: Option<u32>,
        whose: &dyn Fn(u32) -> Option<Vni>,
        found: &mut dyn FnMut(Fact),
    ) -> Result<(), Error> {
        for family in [AF_INET, AF_INET6] {
            self.batch.clear();
            self.batch.begin(RTM_GETNEIGH, NLM_F_DUMP);
            self.batch.neigh(family, 0, 0, 0);
            if let Some(index) = interface {
                self.batch.attr(NDA_IFINDEX, &index.to_ne_bytes());
            }
            self.dump("list neighbours", &mut |n| {
                if n.family == family
                    && let Some(vni) = whose(n.index)
                {
                    found_neighbour(n, vni, found);
                }
            })?;
        }
        Ok(())
    }

    /// Looks up keys, many to a datagram: a MAC in the bridge and in the VXLAN device, a neighbour on the bridge.
    pub(super) fn look_up(&mut self, keys: &[Key], found: &mut dyn FnMut(Fact)) -> Result<(), Error> {
        let mut seen: Vec<(usize, Neigh)> = Vec::new();
        for keys in keys.chunks(BATCH / 2) {
            self.batch.clear();
            let mut owners: Vec<usize> = Vec::with_capacity(BATCH);
            for (i, key) in keys.iter().enumerate() {
                let Some(Placed { at, .. }) = self.vnis.get(&key.vni()) else { continue };
                rows::encode_get(key, *at, &mut self.batch);
                owners.resize(self.batch.len(), i);
            }
            let mut failure = None;
            let sent = self.requests.batch(&mut self.batch, &mut |place, answer| match answer {
                Ok(message) => {
                    if let (RTM_NEWNEIGH, Some(neigh), Some(&i)) =
                        (message.kind, Neigh::parse(message.body), owners.get(place))
                    {
                        seen.push((i, neigh));
                    }
                }
                // Nothing there, or not even the device.
                Err(Refusal { errno: Errno::NOENT | Errno::NODEV | Errno::INVAL, .. }) => {}
                Err(refusal) => failure = Some(refusal),
            });
            if let Some(refusal) = sent.err().map(Refusal::from).or(failure) {
                return Err(refused("look rows up".into(), refusal));
            }
            for same in seen.chunk_by(|(a, _), (b, _)| a == b) {
                self.tell_found(keys[same[0].0], same, found);
            }
            seen.clear();
        }
        Ok(())
    }

    /// Tells what the answers to one key come to.
    pub(super) fn tell_found(&mut self, key: Key, answers: &[(usize, Neigh)], found: &mut dyn FnMut(Fact)) {
        let vni = key.vni();
        let Some(Placed { at, .. }) = self.vnis.get(&vni) else { return };
        let at = *at;
        let Key::Mac(_, mac) = key else {
            return answers.iter().for_each(|(_, n)| found_neighbour(n, vni, found));
        };
        let (mut bridge, mut to, mut any) = (None, None, false);
        for (_, n) in answers {
            match Fdb::of(n, vni, at) {
                Fdb::Bridge { sticky, .. } => (bridge, any) = (Some(sticky), true),
                Fdb::Vxlan { to: leads, .. } => (to, any) = (leads, true),
                Fdb::Local { port, sticky, .. } => {
                    let interface = self.port_name(port);
                    found(Fact::Local { vni, mac, interface, sticky });
                }
                Fdb::Foreign { .. } => found(Fact::Foreign(vni, mac)),
                Fdb::Flood { .. } | Fdb::Nothing => {}
            }
        }
        if any {
            found(Fact::Row { row: rows::mac_row(vni, mac, bridge, to), own: true });
        }
    }
}

/// An ARP or ND entry: ours, or that of a host found here.
pub(super) fn found_neighbour(n: &Neigh, vni: Vni, found: &mut dyn FnMut(Fact)) {
    let (Some(ip), Some(mac)) = (n.dst, n.mac) else { return };
    // The kernel's own entries for groups.
    if ip.is_multicast() || ip.is_unspecified() || !mac.is_host() {
        return;
    }
    if n.has(NTF_EXT_LEARNED) {
        let router = n.family == AF_INET6 && n.has(NTF_ROUTER);
        let row = Row::Neighbour(vni, ip, Neighbour { mac, router });
        found(Fact::Row { row, own: true });
    } else if !n.is(NUD_FAILED | NUD_INCOMPLETE) {
        found(Fact::Neighbour { vni, ip, mac, fixed: n.is(NUD_PERMANENT | NUD_NOARP) });
    }
}
