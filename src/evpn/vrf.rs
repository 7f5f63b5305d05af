//! One MAC-VRF: what routes say of it, what this host says, and what the dataplane was told.
//!
//! This file is the remote half: type 2 routes to MACs and neighbours (RFC 7432 §9-10), type 3 routes to the flood
//! list (§11). The local half is in [`super::local`], the routes of our own in [`super::originate`].

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use bgp::wire::{ExtCommunity, Rd, RouteTarget};
use dataplane::intent::{self, Change};
use types::{MacAddr, Time, Vni};

use super::Map;
use super::client::Ports;
use super::config::{DuplicateDetection, EvpnConfig, MacVrfConfig};
use super::endpoint::Endpoints;
use super::event::{EventKind, Outputs, Place};
use super::few::Few;
use super::judge::Reject;
use super::local::{Claim, Moves};
use super::mac::{Candidate, Candidates, Installed, MacEntry};
use super::view::Counters;

/// An address that more routes than this bind is not installed: the answer would be a guess, and finding it costs.
pub(super) const MAX_BINDINGS: usize = 256;

/// What a VRF works with beside itself.
#[derive(Debug)]
pub(super) struct Cx<'a> {
    pub node: &'a EvpnConfig,
    pub duplicates: DuplicateDetection,
    pub endpoints: &'a mut Endpoints,
    pub out: &'a mut Outputs,
    pub counters: &'a mut Counters,
    /// Duplicates to forgive, in the order of time.
    pub thaw: &'a mut VecDeque<(Time, u32, MacAddr)>,
    pub now: Time,
}

/// A type 3 route taken by a VNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Imet {
    /// Where floods should go and in which VNI, or why not.
    pub tunnel: Result<(IpAddr, Vni), Reject>,
}

/// Who wants floods at one address.
#[derive(Clone, Debug, Default)]
pub(super) struct FloodEntry {
    /// Not our VNI, the VNI, the destination: the least decides.
    wants: Few<(bool, Vni, u32)>,
    pub installed: Option<Vni>,
}

/// An address that remote hosts have.
#[derive(Clone, Debug, Default)]
pub(super) struct Neighbour {
    /// The MAC and destination of each route that binds it.
    claims: Few<(MacAddr, u32)>,
    /// What the dataplane was told.
    pub installed: Option<intent::Neighbour>,
}

impl Neighbour {
    /// The MACs routes bind the address to.
    pub(super) fn macs(&self) -> impl Iterator<Item = MacAddr> {
        self.claims.iter().map(|(mac, _)| mac)
    }
}

/// One MAC-VRF.
#[derive(Debug)]
pub(super) struct MacVrf {
    pub slot: u32,
    pub config: MacVrfConfig,
    pub rd: Rd,
    pub export: Vec<RouteTarget>,
    /// The communities every route of ours carries.
    pub communities: Vec<ExtCommunity>,
    /// The dataplane has its device.
    pub ready: bool,
    /// The VLAN of this host that stands for it, if the dataplane has such.
    pub vlan: Option<u16>,
    /// It was found, and people will hear of it when it can be used.
    pub untold: bool,
    pub imet_announced: bool,
    /// MACs that routes speak of.
    pub macs: Map<MacAddr, MacEntry>,
    /// How many of them are installed.
    pub remote_macs: usize,
    /// Addresses that routes speak of.
    pub neighbours: Map<IpAddr, Neighbour>,
    /// Type 3 routes by destination.
    pub imets: Map<u32, Imet>,
    pub flood: Map<IpAddr, FloodEntry>,
    /// MACs seen on local ports that are ours (or held as duplicates).
    pub claims: Map<MacAddr, Claim>,
    /// Addresses of local hosts, both ways.
    pub bindings: BTreeSet<(MacAddr, IpAddr)>,
    pub binding_of: Map<IpAddr, MacAddr>,
    /// Clients that are up, and the addresses their files say they have.
    pub clients: Map<MacAddr, Ports>,
    pub pinned: Map<IpAddr, Few<MacAddr>>,
    /// Recent moves between here and elsewhere.
    pub moves: Map<MacAddr, Moves>,
    /// Size of `moves` at which old ones are looked for.
    pub moves_limit: usize,
    /// Duplicates, since when.
    pub frozen: Map<MacAddr, Time>,
}

impl MacVrf {
    pub(super) fn new(
        slot: u32,
        config: MacVrfConfig,
        rd: Rd,
        export: Vec<RouteTarget>,
        communities: Vec<ExtCommunity>,
    ) -> Self {
        Self {
            slot,
            config,
            rd,
            export,
            communities,
            ready: false,
            vlan: None,
            untold: false,
            imet_announced: false,
            macs: Map::default(),
            remote_macs: 0,
            neighbours: Map::default(),
            imets: Map::default(),
            flood: Map::default(),
            claims: Map::default(),
            bindings: BTreeSet::new(),
            binding_of: Map::default(),
            clients: Map::default(),
            pinned: Map::default(),
            moves: Map::default(),
            moves_limit: 0,
            frozen: Map::default(),
        }
    }

    pub(super) const fn vni(&self) -> Vni {
        self.config.vni
    }

    // ---- type 2 ----

    /// A type 2 route is here now, or is so now. The candidate brings a user of its endpoint.
    pub(super) fn put_candidate(&mut self, cx: &mut Cx<'_>, mac: MacAddr, candidate: Candidate) {
        let entry = self.macs.entry(mac).or_default();
        let old = entry.candidates.put(candidate, cx.endpoints);
        if old == Some(candidate) {
            cx.endpoints.release(candidate.endpoint);
            return;
        }
        cx.endpoints.attach(candidate.endpoint, self.slot, mac);
        let ip = candidate.ip();
        if let Some(old) = old {
            cx.endpoints.detach(old.endpoint, self.slot, mac);
            cx.endpoints.release(old.endpoint);
        } else if let Some(ip) = ip {
            self.neighbours.entry(ip).or_default().claims.insert((mac, candidate.dest));
        }
        let changed = if self.claims.is_empty() && self.frozen.is_empty() {
            // Nothing local to contest it: the entry at hand is all there is to change.
            let best = entry.candidates.best(cx.endpoints);
            let vni = self.config.vni;
            let changed =
                Self::install_entry(entry, &mut self.remote_macs, vni, cx, mac, best.as_ref(), false);
            if changed {
                self.choose_neighbours(cx, mac);
            }
            changed
        } else {
            self.choose(cx, mac, false)
        };
        if !changed && let Some(ip) = ip {
            self.choose_neighbour(cx, ip);
        }
        self.reclaim(cx, mac);
    }

    /// A type 2 route is here no longer.
    pub(super) fn remove_candidate(&mut self, cx: &mut Cx<'_>, mac: MacAddr, dest: u32) {
        let Some(old) = self.macs.get_mut(&mac).and_then(|e| e.candidates.remove(dest)) else { return };
        if let Some(ip) = old.ip()
            && let Some(neighbour) = self.neighbours.get_mut(&ip)
        {
            neighbour.claims.remove((mac, dest));
        }
        self.choose(cx, mac, false);
        if let Some(ip) = old.ip() {
            self.choose_neighbour(cx, ip);
        }
        cx.endpoints.detach(old.endpoint, self.slot, mac);
        cx.endpoints.release(old.endpoint);
        if self.macs.get(&mac).is_some_and(|e| e.candidates.is_empty()) {
            self.macs.remove(&mac);
        }
        self.reclaim(cx, mac);
    }

    /// An Ethernet segment one of the candidates of `mac` is on came or went.
    pub(super) fn segment_changed(&mut self, cx: &mut Cx<'_>, mac: MacAddr) {
        if let Some(entry) = self.macs.get_mut(&mac) {
            entry.candidates.rerank(cx.endpoints);
            if !self.choose(cx, mac, false) {
                self.choose_neighbours(cx, mac);
            }
            self.reclaim(cx, mac);
        }
    }

    /// The best route for a MAC, whether or not it is taken.
    pub(super) fn best(&self, cx: &Cx<'_>, mac: MacAddr) -> Option<Candidate> {
        self.macs.get(&mac)?.candidates.best(cx.endpoints)
    }

    /// Decides where `mac` is and tells the dataplane what changed; true if anything did (neighbours are done then).
    /// `told`: people know already.
    pub(super) fn choose(&mut self, cx: &mut Cx<'_>, mac: MacAddr, told: bool) -> bool {
        let mut best = self.best(cx, mac);
        let mut contested = false;
        if !self.claims.is_empty() || !self.frozen.is_empty() {
            (best, contested) = self.contest(cx, mac, best);
        }
        let changed = self.install(cx, mac, best.as_ref(), told || contested);
        if changed {
            self.choose_neighbours(cx, mac);
        }
        if contested {
            self.choose_bound_neighbours(cx, mac);
        }
        changed
    }

    fn install(&mut self, cx: &mut Cx<'_>, mac: MacAddr, best: Option<&Candidate>, told: bool) -> bool {
        let vni = self.vni();
        let Some(entry) = self.macs.get_mut(&mac) else { return false };
        Self::install_entry(entry, &mut self.remote_macs, vni, cx, mac, best, told)
    }

    fn install_entry(
        entry: &mut MacEntry,
        remote_macs: &mut usize,
        vni: Vni,
        cx: &mut Cx<'_>,
        mac: MacAddr,
        best: Option<&Candidate>,
        told: bool,
    ) -> bool {
        let (old, new) = (entry.installed, Installed::of(best));
        if old == new {
            return false;
        }
        entry.installed = new;
        let from = old.is_some().then(|| cx.endpoints.ip(old.endpoint));
        let to = new.is_some().then(|| cx.endpoints.ip(new.endpoint));
        if new.is_some() {
            cx.endpoints.retain(new.endpoint);
        }
        if old.is_some() {
            cx.endpoints.release(old.endpoint);
        }
        match (from, to) {
            (None, None) => return false,
            (None, Some(_)) => *remote_macs += 1,
            (Some(_), None) => *remote_macs -= 1,
            (Some(from), Some(to)) => {
                // Another segment of the same VTEP is the same to the dataplane.
                if from == to && (old.wire(), old.sticky()) == (new.wire(), new.sticky()) {
                    return false;
                }
            }
        }
        if let Some(vtep) = to {
            let remote = intent::RemoteMac { vtep, vni: new.wire(), sticky: new.sticky() };
            cx.out.change(Change::PutMac(vni, mac, remote));
        } else {
            cx.out.change(Change::DelMac(vni, mac));
        }
        // Moves from and to local ports are told where the claim is decided.
        let event = match (from, to) {
            _ if told => return true,
            (Some(from), Some(to)) if from != to => {
                let sequence = best.map_or(0, |b| b.sequence);
                EventKind::Moved(mac, Place::Vtep(from), Place::Vtep(to), sequence)
            }
            (None, Some(to)) => EventKind::Learned(mac, Place::Vtep(to)),
            (Some(from), None) => EventKind::Gone(mac, Place::Vtep(from)),
            _ => return true,
        };
        cx.out.event(vni, event);
        true
    }

    /// Tells the dataplane once more where a MAC is: of what its bridge learned meanwhile, nothing is to stay.
    pub(super) fn put_again(&self, cx: &mut Cx<'_>, mac: MacAddr) {
        if let Some(at) = self.macs.get(&mac).map(|e| e.installed).filter(|at| at.is_some()) {
            let vtep = cx.endpoints.ip(at.endpoint);
            let remote = intent::RemoteMac { vtep, vni: at.wire(), sticky: at.sticky() };
            cx.out.change(Change::PutMac(self.vni(), mac, remote));
        }
    }

    // ---- neighbours ----

    fn choose_neighbours(&mut self, cx: &mut Cx<'_>, mac: MacAddr) {
        let mut ips: Vec<_> = match self.macs.get(&mac).map(|e| &e.candidates) {
            None | Some(Candidates::None) => return,
            Some(Candidates::One(one)) => {
                if let Some(ip) = one.ip() {
                    self.choose_neighbour(cx, ip);
                }
                return;
            }
            Some(more) => more.iter().filter_map(Candidate::ip).collect(),
        };
        ips.sort_unstable();
        ips.dedup();
        for ip in ips {
            self.choose_neighbour(cx, ip);
        }
    }

    /// Decides what is installed for an address: nothing if it is a local host's, else the binding of a MAC whose
    /// VTEP announces it; static bindings first (RFC 9047 §3.2), then as for MACs, then the lower MAC.
    pub(super) fn choose_neighbour(&mut self, cx: &mut Cx<'_>, ip: IpAddr) {
        let Some(neighbour) = self.neighbours.get(&ip) else { return };
        let local = self.binding_of.get(&ip).is_some_and(|&mac| self.owns(mac));
        let few = neighbour.claims.len() <= MAX_BINDINGS;
        let wanted = if local || !few { None } else { self.best_binding(cx.endpoints, neighbour) };
        let (old, empty) = (neighbour.installed, neighbour.claims.is_empty());
        if empty {
            self.neighbours.remove(&ip);
        } else if old != wanted
            && let Some(neighbour) = self.neighbours.get_mut(&ip)
        {
            neighbour.installed = wanted;
        }
        if old != wanted {
            let vni = self.vni();
            cx.out.change(match wanted {
                Some(wanted) => Change::PutNeighbour(vni, ip, wanted),
                None => Change::DelNeighbour(vni, ip),
            });
        }
    }

    fn best_binding(&self, endpoints: &Endpoints, neighbour: &Neighbour) -> Option<intent::Neighbour> {
        let eligible = neighbour.claims.iter().filter_map(|(mac, dest)| {
            let entry = self.macs.get(&mac)?;
            let candidate = entry.candidates.get(dest)?;
            let vtep = endpoints.ip(candidate.endpoint);
            let good = entry.installed.is_some()
                && endpoints.ip(entry.installed.endpoint) == vtep
                && candidate.usable(endpoints);
            let rank = (
                candidate.static_binding(),
                candidate.sequence,
                Reverse(vtep),
                Reverse(mac),
                candidate.router(),
            );
            good.then_some(rank)
        });
        eligible.max().map(|(_, _, _, Reverse(mac), router)| intent::Neighbour { mac, router })
    }

    // ---- type 3 ----

    /// A type 3 route is here now, or is so now.
    pub(super) fn put_imet(&mut self, cx: &mut Cx<'_>, dest: u32, imet: Imet) {
        let old = self.imets.insert(dest, imet);
        if old == Some(imet) {
            return;
        }
        // The new one first: an address that is in both stays without a gap.
        if let Ok((ip, wire)) = imet.tunnel {
            self.flood.entry(ip).or_default().wants.insert((wire != self.config.vni, wire, dest));
        }
        if let Some(Ok((ip, wire))) = old.map(|o| o.tunnel) {
            self.unwant(cx, ip, dest, wire);
        }
        if let Ok((ip, _)) = imet.tunnel {
            self.choose_flood(cx, ip);
        }
    }

    /// A type 3 route is here no longer.
    pub(super) fn remove_imet(&mut self, cx: &mut Cx<'_>, dest: u32) {
        if let Some(Ok((ip, wire))) = self.imets.remove(&dest).map(|i| i.tunnel) {
            self.unwant(cx, ip, dest, wire);
        }
    }

    fn unwant(&mut self, cx: &mut Cx<'_>, ip: IpAddr, dest: u32, wire: Vni) {
        if let Some(entry) = self.flood.get_mut(&ip) {
            entry.wants.remove((wire != self.config.vni, wire, dest));
        }
        self.choose_flood(cx, ip);
    }

    /// Decides in which VNI an address is flooded to: ours if any route says so, else the lowest.
    fn choose_flood(&mut self, cx: &mut Cx<'_>, ip: IpAddr) {
        let vni = self.vni();
        let Some(entry) = self.flood.get_mut(&ip) else { return };
        let wanted = entry.wants.first().map(|(_, wire, _)| wire).filter(|_| self.config.flood);
        let old = std::mem::replace(&mut entry.installed, wanted);
        if entry.wants.is_empty() {
            self.flood.remove(&ip);
        }
        if old == wanted {
            return;
        }
        let Some(wire) = wanted else {
            cx.out.change(Change::DelFlood(vni, ip));
            cx.out.event(vni, EventKind::FloodRemoved(ip));
            return;
        };
        cx.out.change(Change::PutFlood(vni, ip, intent::Flood { vni: wire }));
        if old.is_none() {
            cx.out.event(vni, EventKind::FloodAdded(ip));
        }
    }

    /// Flooding was turned on or off.
    pub(super) fn choose_floods(&mut self, cx: &mut Cx<'_>) {
        let mut ips: Vec<_> = self.flood.keys().copied().collect();
        ips.sort_unstable();
        for ip in ips {
            self.choose_flood(cx, ip);
        }
    }

    /// Leaves nothing behind in what is shared with other VRFs.
    pub(super) fn release(&mut self, endpoints: &mut Endpoints) {
        for (&mac, entry) in &self.macs {
            for candidate in entry.candidates.iter() {
                endpoints.detach(candidate.endpoint, self.slot, mac);
                endpoints.release(candidate.endpoint);
            }
            if entry.installed.is_some() {
                endpoints.release(entry.installed.endpoint);
            }
        }
    }
}
