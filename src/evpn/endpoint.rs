//! Where remote MACs are: VTEPs and Ethernet segments behind them, each stored once, and whether they can be used.
//!
//! A MAC announced with an Ethernet segment counts only while the same VTEP also announces the segment itself with an
//! Ethernet A-D per-ES route (RFC 7432 §8.2, §9.2.1); the withdraw of that one route thus removes all its MACs. Such
//! routes are taken whatever their route targets: Junos sends them with another target than its MACs.

use std::net::IpAddr;

use bgp::wire::Esi;
use types::MacAddr;

use super::Map;
use super::judge::Reject;

/// No endpoint.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Endpoint {
    ip: IpAddr,
    esi: Esi,
    /// Who refers to this: candidates, installed MACs, A-D routes.
    users: u32,
    /// A-D per-ES routes that announce it.
    announced: u32,
    /// With an Ethernet segment, the (slot, MAC)s that have candidates here and how many.
    macs: Map<(u32, MacAddr), u32>,
}

/// All of them, by a number that lives as long as it has users.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    items: Vec<Endpoint>,
    free: Vec<u32>,
    index: Map<(IpAddr, Esi), u32>,
    /// The one asked for last: routes come in runs of one next hop.
    last: u32,
}

impl Endpoints {
    /// One more user of the endpoint.
    pub(super) fn acquire(&mut self, ip: IpAddr, esi: Esi) -> u32 {
        if let Some(item) = self.items.get_mut(self.last as usize)
            && item.users > 0
            && item.ip == ip
            && item.esi == esi
        {
            item.users += 1;
            return self.last;
        }
        if let Some(&id) = self.index.get(&(ip, esi)) {
            self.items[id as usize].users += 1;
            self.last = id;
            return id;
        }
        let item = Endpoint { ip, esi, users: 1, announced: 0, macs: Map::default() };
        let id = if let Some(id) = self.free.pop() {
            self.items[id as usize] = item;
            id
        } else {
            self.items.push(item);
            (self.items.len() - 1) as u32
        };
        self.index.insert((ip, esi), id);
        id
    }

    /// One more user of an endpoint that has some.
    pub(super) fn retain(&mut self, id: u32) {
        self.items[id as usize].users += 1;
    }

    /// One user fewer.
    pub(super) fn release(&mut self, id: u32) {
        let item = &mut self.items[id as usize];
        item.users -= 1;
        if item.users == 0 {
            self.index.remove(&(item.ip, item.esi));
            item.macs = Map::default();
            self.free.push(id);
        }
    }

    #[inline]
    pub(super) fn ip(&self, id: u32) -> IpAddr {
        self.items[id as usize].ip
    }

    pub(super) fn esi(&self, id: u32) -> Esi {
        self.items[id as usize].esi
    }

    /// Single-homed, or its segment is announced.
    #[inline]
    pub(super) fn usable(&self, id: u32) -> bool {
        let item = &self.items[id as usize];
        item.announced > 0 || item.esi.is_zero()
    }

    /// Why a route of this next hop and segment cannot be used, if so.
    pub(super) fn missing(&self, ip: IpAddr, esi: Esi) -> Option<Reject> {
        let usable = esi.is_zero() || self.index.get(&(ip, esi)).is_some_and(|&id| self.usable(id));
        (!usable).then_some(Reject::NoEthernetAd)
    }

    /// None has users.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// A MAC has a (further) candidate here.
    pub(super) fn attach(&mut self, id: u32, slot: u32, mac: MacAddr) {
        let item = &mut self.items[id as usize];
        if !item.esi.is_zero() {
            *item.macs.entry((slot, mac)).or_default() += 1;
        }
    }

    /// A MAC has a candidate fewer here.
    pub(super) fn detach(&mut self, id: u32, slot: u32, mac: MacAddr) {
        let item = &mut self.items[id as usize];
        if let Some(count) = item.macs.get_mut(&(slot, mac)) {
            *count -= 1;
            if *count == 0 {
                item.macs.remove(&(slot, mac));
            }
        }
    }

    /// An A-D route came; returns the MACs to look at anew.
    pub(super) fn announce(&mut self, id: u32) -> Vec<(u32, MacAddr)> {
        let item = &mut self.items[id as usize];
        item.announced += 1;
        if item.announced == 1 { item.sorted_macs() } else { Vec::new() }
    }

    /// An A-D route went; returns the MACs to look at anew.
    pub(super) fn unannounce(&mut self, id: u32) -> Vec<(u32, MacAddr)> {
        let item = &mut self.items[id as usize];
        item.announced -= 1;
        if item.announced == 0 { item.sorted_macs() } else { Vec::new() }
    }
}

impl Endpoint {
    fn sorted_macs(&self) -> Vec<(u32, MacAddr)> {
        let mut macs: Vec<_> = self.macs.keys().copied().collect();
        macs.sort_unstable();
        macs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_as_long_as_it_has_users() {
        let mut all = Endpoints::default();
        let (ip, esi) = ("10.0.0.1".parse().unwrap(), Esi([1; 10]));
        let plain = all.acquire(ip, Esi::ZERO);
        let segment = all.acquire(ip, esi);
        assert_eq!(all.acquire(ip, esi), segment);
        assert_ne!(plain, segment);
        assert!(all.usable(plain) && !all.usable(segment));
        let mac = MacAddr([2; 6]);
        all.attach(segment, 7, mac);
        all.attach(segment, 7, mac);
        all.detach(segment, 7, mac);
        assert_eq!(all.announce(segment), [(7, mac)]);
        assert_eq!(all.announce(segment), [], "a second announcement changes nothing");
        assert!(all.usable(segment) && all.missing(ip, esi).is_none());
        assert_eq!(all.unannounce(segment), []);
        assert_eq!(all.unannounce(segment), [(7, mac)]);
        assert_eq!(all.missing(ip, esi), Some(Reject::NoEthernetAd));
        for id in [segment, segment, plain] {
            all.release(id);
        }
        assert!(all.index.is_empty());
        assert_eq!(all.free.len(), 2);
    }
}
