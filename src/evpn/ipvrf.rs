//! One IP-VRF: prefixes behind clients of this host, prefixes that routes speak of, and where packets for each go
//! (RFC 9136 §4.4.1, interface-less; RFC 9135 §5.2 for host routes of type 2).
//!
//! A prefix of a client that is up goes to it, whatever others announce; else it goes to the best of the routes taken,
//! and to all that are as good. A prefix that a client has but nobody reaches is dropped rather than sent along a
//! shorter one: packets for a host that is down do not circle through the default route. Not before it is known that it
//! is down, though: after a restart it is taken to be where it was until the dataplane has looked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bgp::wire::{Attributes, ExtCommunity, NlriBody, Rd, RouteKey, RouteTarget};
use dataplane::intent::{Change, Hop, Vrf};
use ipnet::IpNet;
use types::Vni;

use super::Map;
use super::config::EvpnConfig;
use super::event::{EventKind, Outputs};
use super::originate;
use super::path::{MAX_ECMP, Paths, Rank, RemoteHop, Way};
use super::pool::Pool;
use super::target::ImportRt;
use super::view::{PathStanding, PathView, PrefixStory};
use crate::control::view::VniView;

/// A client of the VRF.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    /// `None`: not known yet.
    up: Option<bool>,
    export: Vec<RouteTarget>,
}

/// A prefix that clients have.
#[derive(Debug, Default)]
struct Own {
    clients: BTreeSet<Arc<str>>,
    /// What its route carries, if it is out.
    announced: Option<Vec<ExtCommunity>>,
}

/// A prefix that routes speak of or clients have.
#[derive(Debug)]
struct Entry {
    paths: Paths,
    /// The number of the hops the dataplane was told, one user of which this is; [`NOTHING`]: it was told none.
    told: u32,
}

/// The dataplane has no row.
const NOTHING: u32 = u32::MAX;

impl Default for Entry {
    fn default() -> Self {
        Self { paths: Paths::None, told: NOTHING }
    }
}

/// Where the packets of a prefix go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Toward {
    Nowhere,
    Dropped,
    Clients,
    Others(IpAddr, usize),
}

impl Toward {
    fn of(hops: Option<&[Hop]>) -> Self {
        match hops {
            None => Self::Nowhere,
            Some([]) => Self::Dropped,
            Some([Hop::Client(_), ..]) => Self::Clients,
            Some(hops @ [Hop::Remote { vtep, .. }, ..]) => Self::Others(*vtep, hops.len()),
        }
    }
}

/// One IP-VRF.
#[derive(Debug)]
pub(super) struct IpVrf {
    pub slot: u32,
    pub vni: Vni,
    pub rd: Rd,
    pub import_rt: Vec<ImportRt>,
    members: BTreeMap<Arc<str>, Member>,
    own: BTreeMap<IpNet, Own>,
    prefixes: Map<IpNet, Entry>,
    ways: Pool<Way>,
    hops: Pool<Box<[Hop]>>,
    /// How many prefixes go to clients, and how many to other VTEPs.
    pub local: usize,
    pub remote: usize,
}

impl IpVrf {
    pub(super) fn new(slot: u32, vni: Vni, rd: Rd, import_rt: Vec<ImportRt>) -> Self {
        Self {
            slot,
            vni,
            rd,
            import_rt,
            members: BTreeMap::new(),
            own: BTreeMap::new(),
            prefixes: Map::default(),
            ways: Pool::default(),
            hops: Pool::default(),
            local: 0,
            remote: 0,
        }
    }

    /// As the dataplane needs it.
    pub(super) fn vrf(&self, node: &EvpnConfig) -> Vrf {
        Vrf { vni: self.vni, router_mac: node.router_mac() }
    }

    // ---- clients ----

    /// A client has these prefixes (or these too), and is up or is not, if that is known.
    pub(super) fn join(
        &mut self,
        node: &EvpnConfig,
        out: &mut Outputs,
        name: &Arc<str>,
        up: Option<bool>,
        export: Vec<RouteTarget>,
        prefixes: &[IpNet],
    ) {
        self.members.insert(name.clone(), Member { up, export });
        for prefix in prefixes.iter().map(IpNet::trunc) {
            self.own.entry(prefix).or_default().clients.insert(name.clone());
            self.sync(node, out, prefix);
        }
    }

    /// It has these no longer.
    pub(super) fn leave(
        &mut self,
        node: &EvpnConfig,
        out: &mut Outputs,
        name: &Arc<str>,
        prefixes: impl Iterator<Item = IpNet>,
    ) {
        for prefix in prefixes.map(|p| p.trunc()) {
            if let Some(own) = self.own.get_mut(&prefix) {
                own.clients.remove(name);
                self.sync(node, out, prefix);
            }
        }
    }

    /// It has left with all it had.
    pub(super) fn forget(&mut self, name: &Arc<str>) {
        self.members.remove(name);
    }

    fn is_up(&self, name: &Arc<str>) -> bool {
        self.state(name) == Some(true)
    }

    fn state(&self, name: &Arc<str>) -> Option<bool> {
        self.members.get(name)?.up
    }

    /// Announces or withdraws a prefix of our own, and decides where it goes, as things stand.
    fn sync(&mut self, node: &EvpnConfig, out: &mut Outputs, prefix: IpNet) {
        let Some(own) = self.own.get(&prefix) else { return };
        let up = own.clients.iter().filter_map(|name| self.members.get(name)).filter(|m| m.up == Some(true));
        let targets: BTreeSet<RouteTarget> = up.clone().flat_map(|m| m.export.iter().copied()).collect();
        let wanted = (up.count() > 0 && node.vtep.is_some())
            .then(|| originate::prefix_communities(targets, Some(node.router_mac())));
        if own.announced != wanted {
            match (&wanted, node.vtep) {
                (Some(communities), Some(vtep)) => self.announce(out, vtep, prefix, communities.clone()),
                _ => out.withdraw(self.key(prefix)),
            }
        }
        if own.clients.is_empty() {
            self.own.remove(&prefix);
        } else if let Some(own) = self.own.get_mut(&prefix) {
            own.announced = wanted;
        }
        self.choose(out, prefix);
    }

    // ---- routes of our own ----

    const fn key(&self, prefix: IpNet) -> RouteKey {
        RouteKey::Prefix { rd: self.rd, tag: 0, prefix }
    }

    fn announce(&self, out: &mut Outputs, vtep: IpAddr, prefix: IpNet, communities: Vec<ExtCommunity>) {
        let attributes = Attributes { ext_communities: communities, ..Attributes::local(vtep) };
        out.originate(self.key(prefix), NlriBody { label: self.vni, ..NlriBody::default() }, attributes);
    }

    /// Announces what is announced once more: a route made by hand no longer stands in front of it.
    pub(super) fn announce_again(&self, node: &EvpnConfig, out: &mut Outputs, prefix: IpNet) {
        let communities = self.own.get(&prefix).and_then(|own| own.announced.clone());
        if let (Some(vtep), Some(communities)) = (node.vtep, communities) {
            self.announce(out, vtep, prefix, communities);
        }
    }

    /// What routes of ours carry: all targets of all clients.
    pub(super) fn export(&self) -> Vec<RouteTarget> {
        let all: BTreeSet<_> = self.members.values().flat_map(|m| m.export.iter().copied()).collect();
        all.into_iter().collect()
    }

    /// How many routes are out that a client has a part in.
    pub(super) fn announced(&self, name: &Arc<str>, prefixes: &[IpNet]) -> usize {
        let out = |p: &IpNet| self.own.get(&p.trunc()).is_some_and(|own| own.announced.is_some());
        if self.is_up(name) { prefixes.iter().filter(|p| out(p)).count() } else { 0 }
    }

    /// Withdraws everything.
    pub(super) fn withdraw_all(&mut self, out: &mut Outputs) {
        let rd = self.rd;
        for (&prefix, own) in &mut self.own {
            if own.announced.take().is_some() {
                out.withdraw(RouteKey::Prefix { rd, tag: 0, prefix });
            }
        }
    }

    /// Announces or withdraws everything as things stand.
    pub(super) fn sync_all(&mut self, node: &EvpnConfig, out: &mut Outputs) {
        for prefix in self.own.keys().copied().collect::<Vec<_>>() {
            self.sync(node, out, prefix);
        }
    }

    // ---- routes of others ----

    /// A route leads to a prefix, or does so now.
    pub(super) fn put_path(&mut self, out: &mut Outputs, prefix: IpNet, dest: u32, way: Way) {
        if self.prefixes.entry(prefix).or_default().paths.put(dest, way, &mut self.ways) {
            self.choose(out, prefix);
        }
    }

    /// It does so no longer.
    pub(super) fn remove_path(&mut self, out: &mut Outputs, prefix: IpNet, dest: u32) {
        if let Some(entry) = self.prefixes.get_mut(&prefix)
            && entry.paths.remove(dest, &mut self.ways)
        {
            self.choose(out, prefix);
        }
    }

    // ---- the choice ----

    /// Decides where packets for a prefix go, and tells the dataplane what changed.
    fn choose(&mut self, out: &mut Outputs, prefix: IpNet) {
        let own = self.own.get(&prefix);
        let clients = own.into_iter().flat_map(|own| &own.clients).filter(|name| self.is_up(name));
        let mut hops: Vec<Hop> = clients.take(MAX_ECMP).cloned().map(Hop::Client).collect();
        let unknown = own.into_iter().flat_map(|own| &own.clients).filter(|name| self.state(name).is_none());
        let unknown: Vec<Hop> = unknown.take(MAX_ECMP).cloned().map(Hop::Client).collect();
        let here = own.is_some();
        let entry = self.prefixes.entry(prefix).or_default();
        if hops.is_empty() {
            let remote = |RemoteHop { vtep, vni, router_mac }| Hop::Remote { vtep, vni, router_mac };
            hops.extend(entry.paths.hops(&self.ways).into_iter().map(remote));
        }
        let old = entry.told;
        let before = Toward::of((old != NOTHING).then(|| &**self.hops.get(old)));
        if hops.is_empty() && before != Toward::Dropped {
            // After a restart: said to be wanted, or what stands would be taken away before the dataplane has looked.
            hops.extend(unknown);
        }
        let wanted = (here || !hops.is_empty()).then_some(hops);
        let after = Toward::of(wanted.as_deref());
        let new = wanted.as_ref().map_or(NOTHING, |hops| self.hops.acquire(hops.clone().into()));
        if old != NOTHING {
            self.hops.release(old);
        }
        entry.told = new;
        if entry.paths.is_empty() && new == NOTHING {
            self.prefixes.remove(&prefix);
        }
        if old == new {
            return;
        }
        out.change(match wanted {
            Some(hops) => Change::PutPrefix(self.vni, prefix, hops),
            None => Change::DelPrefix(self.vni, prefix),
        });
        for (toward, add) in [(before, false), (after, true)] {
            let count = match toward {
                Toward::Clients => &mut self.local,
                Toward::Others(..) => &mut self.remote,
                Toward::Nowhere | Toward::Dropped => continue,
            };
            *count = if add { *count + 1 } else { *count - 1 };
        }
        let remote = |toward| matches!(toward, Toward::Others(..));
        match after {
            Toward::Others(vtep, hops) if !remote(before) => {
                out.event(self.vni, EventKind::PrefixLearned(prefix, vtep, hops));
            }
            _ if remote(before) && !remote(after) => out.event(self.vni, EventKind::PrefixGone(prefix)),
            _ => {}
        }
    }
}

/// What people see.
impl IpVrf {
    pub(super) fn view(&self, node: &EvpnConfig) -> VniView {
        let text = |rt: &RouteTarget| rt.to_string();
        VniView {
            vni: self.vni.get(),
            kind: "l3".to_owned(),
            flood: Vec::new(),
            local_macs: 0,
            remote_macs: 0,
            import_rt: self.import_rt.iter().map(ToString::to_string).collect(),
            export_rt: self.export().iter().map(text).collect(),
            rd: self.rd.to_string(),
            interfaces: Vec::new(),
            ready: Some(self.members.values().any(|m| m.up == Some(true))),
            prefixes_local: Some(self.local as u64),
            prefixes_remote: Some(self.remote as u64),
            router_mac: Some(node.router_mac()),
            vlan: None,
            vtep: node.vtep,
        }
    }

    /// The prefix that decides where packets for `wanted` go.
    pub(super) fn covering(&self, wanted: IpNet) -> Option<IpNet> {
        let lengths = (0..=wanted.prefix_len()).rev();
        let mut covering = lengths.filter_map(|len| Some(IpNet::new(wanted.addr(), len).ok()?.trunc()));
        covering.find(|prefix| self.prefixes.contains_key(prefix))
    }

    pub(super) fn story(&self, prefix: IpNet) -> Option<PrefixStory> {
        let entry = self.prefixes.get(&prefix)?;
        let own = self.own.get(&prefix);
        let clients = own.into_iter().flat_map(|own| &own.clients).map(|c| (c.clone(), self.is_up(c)));
        let clients: Vec<_> = clients.collect();
        let mut paths: Vec<_> = entry.paths.iter(&self.ways).map(|(dest, way)| (*way, dest)).collect();
        paths.sort_unstable();
        let used = entry.paths.hops(&self.ways);
        let here = clients.iter().any(|(_, up)| *up);
        // The first of each neighbouring AS has its lowest MED.
        let mut best: Option<Rank> = None;
        let view = |(way, dest): (Way, u32)| {
            let lost = best.and_then(|best| way.rank.lost_to(&best));
            if lost.is_none() {
                best = Some(way.rank);
            }
            let standing = match lost {
                Some(why) => PathStanding::Lost(why),
                None if !used.contains(&way.hop) => PathStanding::TooMany,
                None if here => PathStanding::Local,
                None => PathStanding::Chosen,
            };
            let RemoteHop { vtep, vni, router_mac } = way.hop;
            PathView { dest, vtep, wire_vni: vni, router_mac, standing }
        };
        Some(PrefixStory {
            vni: self.vni,
            prefix,
            clients,
            announced: own.is_some_and(|own| own.announced.is_some()),
            paths: paths.into_iter().map(view).collect(),
            hops: if entry.told == NOTHING { Vec::new() } else { self.hops.get(entry.told).to_vec() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_small() {
        assert!(size_of::<(IpNet, Entry)>() <= 56);
    }
}
