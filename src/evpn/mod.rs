//! EVPN proper: routes to what the dataplane should forward, and local MACs to routes (RFC 7432, 8365, 9047). Pure:
//! no IO, no clock.
//!
//! ```text
//!  Loc-RIB changes ─ route() ─►  target: which VNIs?  ─►  judge: usable?  ─►  vrf: MACs, neighbours, flood list
//!                                                                               │ contest (local)
//!  dataplane       ─ local() ─────────────────────────────────────────────►  local: claims, mobility
//!                                                                               ▼
//!  poll_output() ◄── Originate / Withdraw ◄── originate          Dataplane(Change), Event
//! ```
//!
//! - [`config`]: what it is told; [`rd`]: route distinguishers; [`target`]: route targets
//! - [`judge`]: which routes can be used and why others cannot
//! - [`originate`]: routes of our own and by hand; [`event`]: what comes out; [`view`]: what people see
//!
//! Best path per NLRI is the RIB's business; here the choice is per (VNI, MAC), over routes with different keys. The
//! rules are told in `docs/evpn.md`.

pub mod config;
mod dests;
mod endpoint;
pub mod event;
mod few;
pub mod judge;
mod local;
mod mac;
pub mod originate;
pub mod rd;
pub mod target;
pub mod view;
mod vrf;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use bgp::wire::{Attributes, Esi, NlriBody, Rd, RouteKey};
use dataplane::intent::{Change, L2Vni, Local};
use foldhash::fast::RandomState;
use types::{MacAddr, Time, Vni};

pub use config::{ClientConfig, ConfigError, Configured, DuplicateDetection, EvpnConfig, MacVrfConfig};
pub use event::{Event, EventKind, Output, Place};
pub use judge::Reject;
pub use originate::{ManualError, ManualKind, ManualRoute};
pub use target::{ImportRt, auto_export};
pub use view::{CandidateView, Counters, MacSource, MacStory, MacView, Standing, VniView};

use dests::Dests;
use endpoint::Endpoints;
use event::Outputs;
use judge::wire_vni;
use mac::Candidate;
use target::{Facts, Imports};
use vrf::{Cx, Imet, MacVrf};

/// Keys come from peers: the hash is seeded. What is said must not depend on it: iterate in order before saying things.
type Map<K, V> = HashMap<K, V, RandomState>;

/// The best route of a destination.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// Its attributes.
    pub attributes: &'a Attributes,
    /// A number for the attributes, to remember what they mean; it may be used for other attributes later.
    pub attr_id: u32,
    /// What the NLRI carries beside the key.
    pub body: &'a NlriBody,
    /// We originated it.
    pub local: bool,
}

/// What a VNI makes of a route that its import targets take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The VNI.
    pub vni: Vni,
    /// Why it cannot be used there; `None`: it can.
    pub reject: Option<Reject>,
}

/// Marks a type 1 route as the one per Ethernet segment (RFC 7432 §8.2.1).
const PER_SEGMENT: u32 = u32::MAX;

/// The EVPN part of a node.
#[derive(Debug)]
pub struct Evpn {
    node: EvpnConfig,
    duplicates: DuplicateDetection,
    vrfs: Vec<Option<Box<MacVrf>>>,
    by_vni: Map<Vni, u32>,
    imports: Imports,
    dests: Dests,
    endpoints: Endpoints,
    /// Type 1 per-ES routes by destination: the endpoint each announces.
    segments: Map<u32, u32>,
    out: Outputs,
    counters: Counters,
    thaw: VecDeque<(Time, u32, MacAddr)>,
}

/// Runs an expression with a VRF and the rest of `self` at once.
macro_rules! with_vrf {
    ($self:ident, $slot:expr, $now:expr, |$vrf:ident, $cx:ident| $do:expr) => {
        if let Some($vrf) = $self.vrfs.get_mut($slot as usize).and_then(Option::as_deref_mut) {
            #[allow(unused_mut)]
            let mut $cx = Cx {
                node: &$self.node,
                duplicates: $self.duplicates,
                endpoints: &mut $self.endpoints,
                out: &mut $self.out,
                counters: &mut $self.counters,
                thaw: &mut $self.thaw,
                now: $now,
            };
            Some($do)
        } else {
            None
        }
    };
}

impl Evpn {
    /// A node without VNIs.
    pub fn new(node: EvpnConfig) -> Self {
        Self {
            node,
            duplicates: DuplicateDetection::default(),
            vrfs: Vec::new(),
            by_vni: Map::default(),
            imports: Imports::default(),
            dests: Dests::default(),
            endpoints: Endpoints::default(),
            segments: Map::default(),
            out: Outputs::default(),
            counters: Counters::default(),
            thaw: VecDeque::new(),
        }
    }

    /// Changes what counts as a duplicate; moves already counted stay.
    pub const fn set_duplicate_detection(&mut self, duplicates: DuplicateDetection) {
        self.duplicates = duplicates;
    }

    /// Takes the VNIs there shall be; those that do not change are not touched.
    ///
    /// When a replay is needed, have the RIB show its reader everything once more (`Rib::replay`), withdrawals that it
    /// has not shown yet included.
    ///
    /// # Errors
    /// The configuration cannot be; nothing was changed.
    pub fn configure(&mut self, configs: Vec<MacVrfConfig>, now: Time) -> Result<Configured, ConfigError> {
        let mut wanted = Map::default();
        for (at, config) in configs.iter().enumerate() {
            if config.vni == Vni::ZERO {
                return Err(ConfigError::ZeroVni);
            }
            if wanted.insert(config.vni, at).is_some() {
                return Err(ConfigError::DuplicateVni(config.vni));
            }
        }
        let rds = rd::assign(self.node.router_id, configs.iter().map(|c| (c.vni, c.rd)))?;

        let mut gone: Vec<_> = self.by_vni.keys().copied().filter(|vni| !wanted.contains_key(vni)).collect();
        gone.sort_unstable();
        for vni in gone {
            self.remove_vni(vni, now);
        }
        // Before anything is announced: the distinguisher one VNI gives up may be the one another gets.
        for slot in 0..self.vrfs.len() {
            with_vrf!(self, slot, now, |vrf, cx| {
                if vrf.rd != rds[&vrf.vni()] {
                    vrf.withdraw_all(&mut cx);
                }
            });
        }
        let mut needs_replay = false;
        for config in configs {
            let rd = rds[&config.vni];
            if let Some(&slot) = self.by_vni.get(&config.vni) {
                needs_replay |= self.change_vni(slot, config, rd, now);
            } else {
                self.add_vni(config, rd);
                needs_replay = true;
            }
        }
        let vrfs = self.vrfs.iter().flatten();
        self.imports.rebuild(vrfs.map(|v| (v.slot, v.vni(), &v.config.import_rt[..])));
        if self.by_vni.is_empty() {
            // Without VNIs no route is looked at; all come again when there is one.
            self.dests = Dests::default();
            self.endpoints = Endpoints::default();
            self.segments = Map::default();
            self.vrfs = Vec::new();
        }
        Ok(Configured { needs_replay })
    }

    fn add_vni(&mut self, config: MacVrfConfig, rd: Rd) {
        let slot = self.vrfs.iter().position(Option::is_none).unwrap_or(self.vrfs.len());
        if slot == self.vrfs.len() {
            self.vrfs.push(None);
        }
        self.by_vni.insert(config.vni, slot as u32);
        let export = self.export(&config);
        let communities = originate::communities(&export);
        self.put_vni(&config);
        self.vrfs[slot] = Some(Box::new(MacVrf::new(slot as u32, config, rd, export, communities)));
    }

    fn export(&self, config: &MacVrfConfig) -> Vec<bgp::wire::RouteTarget> {
        if config.export_rt.is_empty() {
            vec![auto_export(self.node.asn, config.vni)]
        } else {
            config.export_rt.clone()
        }
    }

    fn put_vni(&mut self, config: &MacVrfConfig) {
        if let Some(vni) = self.l2vni(config) {
            self.out.change(Change::PutVni(vni));
        }
    }

    fn l2vni(&self, config: &MacVrfConfig) -> Option<L2Vni> {
        Some(L2Vni {
            vni: config.vni,
            vtep: self.node.vtep?,
            port: config.port,
            interfaces: config.interfaces.clone(),
            arp_suppression: config.arp_suppression,
            vlan: config.vlan,
        })
    }

    fn change_vni(&mut self, slot: u32, config: MacVrfConfig, rd: Rd, now: Time) -> bool {
        let export = self.export(&config);
        let new_vni = self.l2vni(&config);
        let old = self.vrfs[slot as usize].as_deref().map(|v| v.config.clone());
        if let Some(vni) = new_vni
            && old.as_ref().and_then(|old| self.l2vni(old)).as_ref() != Some(&vni)
        {
            self.out.change(Change::PutVni(vni));
        }
        with_vrf!(self, slot, now, |vrf, cx| {
            let old = std::mem::replace(&mut vrf.config, config);
            let again = vrf.export != export;
            if again {
                vrf.communities = originate::communities(&export);
                vrf.export = export;
            }
            if vrf.rd == rd && again {
                vrf.announce_all_again(&mut cx);
            }
            vrf.rd = rd;
            vrf.sync_all(&mut cx);
            if old.flood != vrf.config.flood {
                vrf.choose_floods(&mut cx);
            }
            old.import_rt != vrf.config.import_rt
        })
        .unwrap_or(false)
    }

    fn remove_vni(&mut self, vni: Vni, now: Time) {
        let Some(slot) = self.by_vni.remove(&vni) else { return };
        with_vrf!(self, slot, now, |vrf, cx| {
            vrf.withdraw_all(&mut cx);
            vrf.release(cx.endpoints);
        });
        self.vrfs[slot as usize] = None;
        self.thaw.retain(|(_, s, _)| *s != slot);
        if self.node.vtep.is_some() {
            self.out.change(Change::DelVni(vni));
        }
    }

    /// The best route of a destination of the Loc-RIB is this now, or none. A destination keeps its number and its key
    /// until it was withdrawn here.
    #[inline]
    pub fn route(&mut self, dest: u32, key: &RouteKey, route: Option<Route<'_>>, now: Time) {
        if self.by_vni.is_empty() {
            return;
        }
        let route = route.filter(|r| !r.local);
        match *key {
            RouteKey::EthernetAd { esi, tag: PER_SEGMENT, .. } => self.segment(dest, esi, route, now),
            RouteKey::MacIp { .. } | RouteKey::Imet { .. } => {
                let (slots, facts) = match route {
                    Some(r) => self.imports.answer(r.attr_id, &r.attributes.ext_communities),
                    None => (&[][..], Facts::default()),
                };
                if slots.is_empty() && !self.dests.is_imported(dest) {
                    return;
                }
                if let [slot] = *slots {
                    self.import(dest, key, route, &[slot], facts, now);
                } else {
                    let slots = slots.to_vec();
                    self.import(dest, key, route, &slots, facts, now);
                }
            }
            _ => {}
        }
    }

    fn import(
        &mut self,
        dest: u32,
        key: &RouteKey,
        route: Option<Route<'_>>,
        slots: &[u32],
        facts: Facts,
        now: Time,
    ) {
        if !self.dests.is_only_in(dest, slots) {
            for slot in self.dests.slots(dest) {
                if slots.binary_search(&slot).is_err() {
                    with_vrf!(self, slot, now, |vrf, cx| match *key {
                        RouteKey::MacIp { mac, .. } => vrf.remove_candidate(&mut cx, mac, dest),
                        _ => vrf.remove_imet(&mut cx, dest),
                    });
                }
            }
            self.dests.set(dest, slots);
        }
        let Some(route) = route else { return };
        for &slot in slots {
            with_vrf!(self, slot, now, |vrf, cx| match *key {
                RouteKey::MacIp { tag, mac, ip, .. } => {
                    let reject = Self::judge_mac(cx.node, vrf.vni(), tag, mac, ip, &route, facts);
                    let endpoint = cx.endpoints.acquire(route.attributes.next_hop, route.body.esi);
                    // An address that is no host's must not be looked up as one.
                    let ip = ip.filter(|&ip| judge::is_host(ip));
                    let wire = wire_vni(route.body.label, vrf.vni());
                    cx.counters.rejected += u64::from(reject.is_some());
                    vrf.put_candidate(&mut cx, mac, Candidate::new(dest, endpoint, wire, ip, facts, reject));
                }
                RouteKey::Imet { tag, originator, .. } => {
                    let tunnel = Self::judge_imet(cx.node, vrf.vni(), tag, originator, &route, facts);
                    cx.counters.rejected += u64::from(tunnel.is_err());
                    cx.counters.pmsi_mismatches += u64::from(tunnel.is_ok_and(|t| t.mismatch));
                    let tunnel = tunnel.map(|t| (t.endpoint, t.wire));
                    vrf.put_imet(&mut cx, dest, Imet { tunnel });
                }
                _ => {}
            });
        }
    }

    fn judge_mac(
        node: &EvpnConfig,
        vni: Vni,
        tag: u32,
        mac: MacAddr,
        ip: Option<IpAddr>,
        route: &Route<'_>,
        facts: Facts,
    ) -> Option<Reject> {
        judge::common(facts, route.attributes.next_hop, node.vtep)
            .or_else(|| judge::tag(tag, route.body.label, vni))
            .or_else(|| judge::host(mac, ip))
    }

    fn judge_imet(
        node: &EvpnConfig,
        vni: Vni,
        tag: u32,
        originator: IpAddr,
        route: &Route<'_>,
        facts: Facts,
    ) -> Result<judge::Tunnel, Reject> {
        let (hop, pmsi) = (route.attributes.next_hop, route.attributes.pmsi);
        if let Some(reject) = judge::common(facts, hop, node.vtep) {
            return Err(reject);
        }
        if let Some(reject) = judge::tag(tag, pmsi.map_or(Vni::ZERO, |p| p.vni), vni) {
            return Err(reject);
        }
        judge::tunnel(pmsi, hop, originator, node.vtep.ok_or(Reject::NoVtep)?, vni)
    }

    /// A type 1 per-ES route.
    fn segment(&mut self, dest: u32, esi: Esi, route: Option<Route<'_>>, now: Time) {
        let good = route.filter(|r| {
            let facts = Facts::of(&r.attributes.ext_communities);
            !esi.is_zero() && judge::common(facts, r.attributes.next_hop, self.node.vtep).is_none()
        });
        let new = good.map(|r| self.endpoints.acquire(r.attributes.next_hop, esi));
        let old = match new {
            Some(endpoint) => self.segments.insert(dest, endpoint),
            None => self.segments.remove(&dest),
        };
        let mut macs = Vec::new();
        if old != new {
            macs.extend(new.map(|endpoint| self.endpoints.announce(endpoint)).into_iter().flatten());
            macs.extend(old.map(|endpoint| self.endpoints.unannounce(endpoint)).into_iter().flatten());
        }
        for (slot, mac) in macs {
            with_vrf!(self, slot, now, |vrf, cx| vrf.segment_changed(&mut cx, mac));
        }
        if let Some(old) = old {
            self.endpoints.release(old);
        }
    }

    /// The dataplane saw something.
    pub fn local(&mut self, local: Local, now: Time) {
        let vni = match &local {
            Local::MacSeen { vni, .. }
            | Local::MacGone { vni, .. }
            | Local::NeighbourSeen { vni, .. }
            | Local::NeighbourGone { vni, .. }
            | Local::VniReady(vni, _) => *vni,
            Local::Client { .. } => return,
        };
        let Some(&slot) = self.by_vni.get(&vni) else { return };
        with_vrf!(self, slot, now, |vrf, cx| match local {
            Local::MacSeen { mac, interface, sticky, .. } => vrf.mac_seen(&mut cx, mac, &interface, sticky),
            Local::MacGone { mac, .. } => vrf.mac_gone(&mut cx, mac),
            Local::NeighbourSeen { ip, mac, .. } => vrf.neighbour_seen(&mut cx, ip, mac),
            Local::NeighbourGone { ip, .. } => vrf.neighbour_gone(&mut cx, ip),
            Local::VniReady(_, ready) => {
                vrf.ready = ready;
                vrf.sync_all(&mut cx);
            }
            Local::Client { .. } => {}
        });
    }

    /// Every neighbour has told everything again after a restart (End-of-RIB), and it was handed to [`Self::route`].
    pub fn settled(&mut self) {
        self.out.change(Change::Settled);
    }

    /// Treats a duplicate like any other MAC again; false if it is none.
    pub fn clear(&mut self, vni: Vni, mac: MacAddr, now: Time) -> bool {
        let Some(&slot) = self.by_vni.get(&vni) else { return false };
        with_vrf!(self, slot, now, |vrf, cx| vrf.clear(&mut cx, mac)).unwrap_or(false)
    }

    /// When [`Self::tick`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        self.thaw.front().map(|(at, _, _)| *at)
    }

    /// Forgives duplicates whose time has come.
    pub fn tick(&mut self, now: Time) {
        while let Some(&(_, slot, mac)) = self.thaw.front().filter(|(at, _, _)| *at <= now) {
            self.thaw.pop_front();
            let Some(after) = self.duplicates.recover_after else { continue };
            with_vrf!(self, slot, now, |vrf, cx| {
                // Cleared by hand and found again since, its time is another.
                if vrf.frozen.get(&mac).is_some_and(|&since| since + after <= now) {
                    vrf.clear(&mut cx, mac);
                }
            });
        }
    }

    /// The next thing to be done, in order; drain after every call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.queue.pop_front()
    }

    // ---- routes by hand ----

    /// Announces a route made by hand, in front of one of ours with the same key.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub fn add_manual(&mut self, route: &ManualRoute) -> Result<RouteKey, ManualError> {
        let (key, body, attributes) = self.build_manual(route)?;
        let attributes = Box::new(attributes);
        self.out.manual.insert(key.clone(), (body, attributes.clone()));
        self.out.queue.push_back(Output::Originate(key.clone(), body, attributes));
        Ok(key)
    }

    /// Takes one back; false if there is none with its key.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn remove_manual(&mut self, route: &ManualRoute, now: Time) -> Result<bool, ManualError> {
        let (key, ..) = self.build_manual(route)?;
        Ok(self.remove_manual_key(&key, now))
    }

    /// Takes the one with this key back; false if there is none.
    pub fn remove_manual_key(&mut self, key: &RouteKey, now: Time) -> bool {
        if self.out.manual.remove(key).is_none() {
            return false;
        }
        self.out.queue.push_back(Output::Withdraw(key.clone()));
        // One of ours may have stood behind it.
        let (RouteKey::MacIp { rd, .. } | RouteKey::Imet { rd, .. }) = *key else { return true };
        let Some(slot) = self.vrfs.iter().flatten().find(|v| v.rd == rd).map(|v| v.slot) else { return true };
        with_vrf!(self, slot, now, |vrf, cx| match *key {
            RouteKey::MacIp { mac, .. } => vrf.announce_again(&mut cx, mac),
            _ => vrf.announce_imet(&mut cx),
        });
        true
    }

    /// The routes made by hand.
    pub fn manual_routes(&self) -> impl Iterator<Item = (&RouteKey, &NlriBody, &Attributes)> {
        self.out.manual.iter().map(|(key, (body, attributes))| (key, body, &**attributes))
    }

    fn build_manual(&self, route: &ManualRoute) -> Result<(RouteKey, NlriBody, Attributes), ManualError> {
        if route.vni == Vni::ZERO {
            return Err(ManualError::ZeroVni);
        }
        match route.kind {
            ManualKind::Mac { mac, .. } if !mac.is_host() => return Err(ManualError::NotHostMac(mac)),
            ManualKind::Mac { ip: Some(ip), .. } if !judge::is_host(ip) => {
                return Err(ManualError::NotHostIp(ip));
            }
            ManualKind::Prefix { prefix, gateway: Some(gateway), .. }
                if prefix.addr().is_ipv4() != gateway.is_ipv4() =>
            {
                return Err(ManualError::OtherFamily(gateway));
            }
            _ => {}
        }
        let vrf = self.vrf(route.vni);
        let next_hop = route.next_hop.or(self.node.vtep).ok_or(ManualError::NoNextHop)?;
        let used = || self.vrfs.iter().flatten().map(|v| v.rd);
        let rd = route
            .rd
            .or_else(|| vrf.map(|v| v.rd))
            .or_else(|| rd::spare(self.node.router_id, used(), route.vni))
            .ok_or(ManualError::NoRdLeft)?;
        let auto = [auto_export(self.node.asn, route.vni)];
        let export = match vrf {
            _ if !route.route_targets.is_empty() => &route.route_targets[..],
            Some(vrf) => &vrf.export[..],
            None => &auto,
        };
        Ok(originate::manual(route.kind, route.vni, rd, next_hop, export))
    }

    // ---- views ----

    fn vrf(&self, vni: Vni) -> Option<&MacVrf> {
        self.by_vni.get(&vni).and_then(|&slot| self.vrfs[slot as usize].as_deref())
    }

    /// The VNIs, ascending.
    pub fn vnis(&self) -> Vec<VniView> {
        let mut vnis: Vec<_> = self.vrfs.iter().flatten().map(|v| v.view()).collect();
        vnis.sort_unstable_by_key(|v| v.vni);
        vnis
    }

    /// The MACs of every VNI, or of one, in no order.
    pub fn macs(&self, vni: Option<Vni>) -> impl Iterator<Item = MacView> + '_ {
        let vrfs = self.vrfs.iter().flatten().filter(move |v| vni.is_none_or(|vni| v.vni() == vni));
        vrfs.flat_map(|v| v.mac_views(&self.endpoints))
    }

    /// The MACs that [`Self::macs`] would show, without looking into them: for paging.
    pub fn mac_keys(&self, vni: Option<Vni>) -> impl Iterator<Item = (Vni, MacAddr)> + '_ {
        let vrfs = self.vrfs.iter().flatten().filter(move |v| vni.is_none_or(|vni| v.vni() == vni));
        vrfs.flat_map(|v| v.mac_keys().map(|mac| (v.vni(), mac)))
    }

    /// One of them.
    pub fn mac(&self, vni: Vni, mac: MacAddr) -> Option<MacView> {
        self.vrf(vni)?.mac_view(&self.endpoints, mac)
    }

    /// Everything known of a MAC in a VNI; `None`: the VNI is not configured.
    pub fn explain(&self, vni: Vni, mac: MacAddr) -> Option<MacStory> {
        self.vrf(vni).map(|v| v.story(&self.endpoints, mac))
    }

    /// The MACs that have an address, by VNI.
    pub fn macs_of(&self, ip: IpAddr) -> Vec<(Vni, MacAddr)> {
        let vrfs = self.vrfs.iter().flatten();
        let mut macs: Vec<_> =
            vrfs.flat_map(|v| v.macs_of(&self.endpoints, ip).into_iter().map(|mac| (v.vni(), mac))).collect();
        macs.sort_unstable();
        macs
    }

    /// Which VNIs take a route by its route targets, and whether they can use it (`imported_by` of `show routes`).
    pub fn verdicts(&self, key: &RouteKey, route: &Route<'_>) -> Vec<Verdict> {
        if route.local || !matches!(key, RouteKey::MacIp { .. } | RouteKey::Imet { .. }) {
            return Vec::new();
        }
        let facts = Facts::of(&route.attributes.ext_communities);
        let slots = self.imports.slots(&route.attributes.ext_communities);
        let vnis = slots.into_iter().filter_map(|slot| Some(self.vrfs.get(slot as usize)?.as_deref()?.vni()));
        vnis.map(|vni| {
            let reject = match *key {
                RouteKey::Imet { tag, originator, .. } => {
                    Self::judge_imet(&self.node, vni, tag, originator, route, facts).err()
                }
                RouteKey::MacIp { tag, mac, ip, .. } => {
                    let reject = Self::judge_mac(&self.node, vni, tag, mac, ip, route, facts);
                    reject.or_else(|| self.endpoints.missing(route.attributes.next_hop, route.body.esi))
                }
                _ => None,
            };
            Verdict { vni, reject }
        })
        .collect()
    }

    /// What was counted.
    pub const fn counters(&self) -> Counters {
        self.counters
    }
}
