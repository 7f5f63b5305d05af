//! EVPN proper: routes to what the dataplane should forward, local MACs and clients to routes (RFC 7432, 8365, 9047,
//! 9135, 9136). Pure: no IO, no clock.
//!
//! ```text
//!  Loc-RIB changes ─ route() ─►  target: which VNIs?  ─►  judge: usable?  ─►  vrf: MACs, neighbours, flood list
//!                                                                 │             │ contest (local)
//!                                                                 └──────────►  ipvrf: prefixes
//!  dataplane       ─ local() ─────────────────────────────────────────────►  local: claims, mobility
//!  VNIs of others  ─ found() ───────►  found ─┐
//!  client files    ─ set_clients() ─►  shape: which VNIs and VRFs?  ─►  client: MACs and prefixes of clients
//!                                                                               ▼
//!  poll_output() ◄── Originate / Withdraw ◄── originate          Dataplane(Change), Event
//! ```
//!
//! - [`config`]: what it is told; [`rd`]: route distinguishers; [`target`]: route targets
//! - [`judge`]: which routes can be used and why others cannot
//! - [`manual`]: routes by hand; [`event`]: what comes out; [`view`]: what people see
//!
//! Best path per NLRI is the RIB's business; here the choice is per (VNI, MAC), over routes with different keys. The
//! rules are told in `docs/evpn.md`.

mod client;
pub mod config;
mod dests;
mod endpoint;
pub mod event;
mod few;
mod found;
mod ipvrf;
pub mod judge;
mod local;
mod mac;
pub mod manual;
mod originate;
mod path;
mod pool;
pub mod rd;
mod shape;
pub mod target;
pub mod view;
mod vrf;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use bgp::wire::{Attributes, Esi, NlriBody, RouteKey};
use dataplane::intent::{Change, Local};
use foldhash::fast::RandomState;
use ipnet::IpNet;
use types::{MacAddr, Time, Vni};

pub use client::ClientView;
pub use config::{
    ClientConfig, ConfigError, Configured, DuplicateDetection, EvpnConfig, MacVrfConfig, default_router_mac,
};
pub use event::{Event, EventKind, Output, Place};
pub use judge::Reject;
pub use manual::{ManualError, ManualKind, ManualRoute};
pub use target::{ImportRt, auto_export};
pub use view::{CandidateView, Counters, MacStory, PathStanding, PathView, PrefixStory, Standing};

use dests::Dests;
use endpoint::Endpoints;
use event::Outputs;
use ipvrf::IpVrf;
use judge::wire_vni;
use mac::Candidate;
use path::{Rank, RemoteHop, Way};
use rd::Rds;
use target::{Facts, Imports};
use vrf::{Imet, MacVrf};

use crate::control::view::{MacView, VniView};

/// Keys come from peers: the hash is seeded. What is said must not depend on it: iterate in order before saying things.
type Map<K, V> = HashMap<K, V, RandomState>;

/// The VNIs of a configuration.
type Sections = BTreeMap<Vni, MacVrfConfig>;

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

/// What a VNI or VRF makes of a route that its import targets take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The VNI.
    pub vni: Vni,
    /// It is that of a VRF.
    pub routed: bool,
    /// Why it cannot be used there; `None`: it can.
    pub reject: Option<Reject>,
}

/// Marks a type 1 route as the one per Ethernet segment (RFC 7432 §8.2.1).
const PER_SEGMENT: u32 = u32::MAX;

/// Slots are numbers of MAC-VRFs below this, and of IP-VRFs from here on.
const FIRST_VRF: u32 = 1 << 30;

/// The EVPN part of a node.
#[derive(Debug)]
pub struct Evpn {
    node: EvpnConfig,
    duplicates: DuplicateDetection,
    /// The VNIs that are configured; clients add to them.
    sections: Sections,
    /// With discovery, those of others that are there.
    found: BTreeSet<Vni>,
    rds: Rds,
    clients: BTreeMap<Arc<str>, client::Entry>,
    vrfs: Vec<Option<Box<MacVrf>>>,
    by_vni: Map<Vni, u32>,
    ip_vrfs: Vec<Option<Box<IpVrf>>>,
    by_vrf: Map<Vni, u32>,
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
            let mut $cx = $crate::evpn::vrf::Cx {
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
use with_vrf;

impl Evpn {
    /// A node without VNIs.
    pub fn new(node: EvpnConfig) -> Self {
        Self {
            node,
            duplicates: DuplicateDetection::default(),
            sections: Sections::new(),
            found: BTreeSet::new(),
            rds: Rds::new(node.router_id),
            clients: BTreeMap::new(),
            vrfs: Vec::new(),
            by_vni: Map::default(),
            ip_vrfs: Vec::new(),
            by_vrf: Map::default(),
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

    /// The best route of a destination of the Loc-RIB is this now, or none. A destination keeps its number and its key
    /// until it was withdrawn here.
    #[inline]
    pub fn route(&mut self, dest: u32, key: &RouteKey, route: Option<Route<'_>>, now: Time) {
        if self.is_idle() {
            return;
        }
        let route = route.filter(|r| !r.local);
        match *key {
            RouteKey::EthernetAd { esi, tag: PER_SEGMENT, .. } => self.segment(dest, esi, route, now),
            RouteKey::MacIp { .. } | RouteKey::Imet { .. } | RouteKey::Prefix { .. } => {
                let (slots, facts) = match route {
                    Some(r) => {
                        let (slots, facts) = self.imports.answer(r.attr_id, &r.attributes.ext_communities);
                        (concerned(key, &r, slots), facts)
                    }
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
                    if slot >= FIRST_VRF {
                        let vrf = self.ip_vrfs.get_mut((slot - FIRST_VRF) as usize);
                        if let (Some(Some(vrf)), Some(prefix)) = (vrf, destination(key)) {
                            vrf.remove_path(&mut self.out, prefix, dest);
                        }
                        continue;
                    }
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
            if slot >= FIRST_VRF {
                self.import_prefix(dest, key, &route, slot, facts);
                continue;
            }
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

    fn import_prefix(&mut self, dest: u32, key: &RouteKey, route: &Route<'_>, slot: u32, facts: Facts) {
        let Some(prefix) = destination(key) else { return };
        let at = (slot - FIRST_VRF) as usize;
        let Some(vrf) = self.ip_vrfs.get_mut(at).and_then(Option::as_deref_mut) else { return };
        if let Ok(hop) = Self::judge_prefix(&self.node, key, route, facts) {
            let mobility = matches!(key, RouteKey::MacIp { .. });
            let rank = Rank::new(route.attributes, facts, mobility);
            vrf.put_path(&mut self.out, prefix, dest, Way { rank, hop });
        } else {
            self.counters.rejected += 1;
            vrf.remove_path(&mut self.out, prefix, dest);
        }
    }

    /// Where a VRF sends the packets of a prefix by this route.
    fn judge_prefix(
        node: &EvpnConfig,
        key: &RouteKey,
        route: &Route<'_>,
        facts: Facts,
    ) -> Result<RemoteHop, Reject> {
        let vtep = route.attributes.next_hop;
        let body = route.body;
        let label = match *key {
            _ if let Some(reject) = judge::common(facts, vtep, node.vtep) => return Err(reject),
            RouteKey::MacIp { mac, ip, .. } => match judge::host(mac, ip) {
                Some(reject) => return Err(reject),
                None => body.label2.ok_or(Reject::NotSymmetric)?,
            },
            _ => judge::interface_less(body.esi, body.gateway).map_or(Ok(body.label), Err)?,
        };
        let router_mac = judge::router_mac(label, facts.router_mac, node.router_mac())?;
        Ok(RemoteHop { vtep, vni: label, router_mac })
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
        let vni = match local {
            Local::MacSeen { vni, .. }
            | Local::MacGone { vni, .. }
            | Local::NeighbourSeen { vni, .. }
            | Local::NeighbourGone { vni, .. }
            | Local::VniReady(vni, _)
            | Local::Vlan(vni, _) => vni,
            // What follows from it is told by `Self::found`.
            Local::Found(..) | Local::FoundAll => return,
            Local::Client { name, state } => {
                self.client_is(&name, state, now);
                return;
            }
        };
        let Some(&slot) = self.by_vni.get(&vni) else { return };
        with_vrf!(self, slot, now, |vrf, cx| match local {
            Local::MacSeen { mac, interface, sticky, .. } => vrf.mac_seen(&mut cx, mac, &interface, sticky),
            Local::MacGone { mac, .. } => vrf.mac_aged(&mut cx, mac),
            // What a client's file says of an address is no guess.
            Local::NeighbourSeen { ip, .. } | Local::NeighbourGone { ip, .. }
                if vrf.pinned.contains_key(&ip) => {}
            Local::NeighbourSeen { ip, mac, .. } => vrf.neighbour_seen(&mut cx, ip, mac),
            Local::NeighbourGone { ip, .. } => vrf.neighbour_gone(&mut cx, ip),
            Local::VniReady(_, ready) => vrf.device_is(&mut cx, ready),
            Local::Vlan(_, vlan) => vrf.vlan_is(&mut cx, vlan),
            Local::Found(..) | Local::FoundAll | Local::Client { .. } => {}
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

    // ---- views ----

    /// There is nothing to import into.
    fn is_idle(&self) -> bool {
        self.by_vni.is_empty() && self.by_vrf.is_empty()
    }

    fn ip_vrf(&self, vni: Vni) -> Option<&IpVrf> {
        self.by_vrf.get(&vni).and_then(|&at| self.ip_vrfs[at as usize].as_deref())
    }

    fn vrf(&self, vni: Vni) -> Option<&MacVrf> {
        self.by_vni.get(&vni).and_then(|&slot| self.vrfs[slot as usize].as_deref())
    }

    /// The L2 VNIs, ascending.
    pub fn l2vnis(&self) -> Vec<Vni> {
        let mut vnis: Vec<_> = self.by_vni.keys().copied().collect();
        vnis.sort_unstable();
        vnis
    }

    /// There is an L2 VNI or a VRF of this number.
    pub fn has(&self, vni: Vni) -> bool {
        self.by_vni.contains_key(&vni) || self.by_vrf.contains_key(&vni)
    }

    /// The VNIs that flood to a VTEP, ascending.
    pub fn flooding(&self, vtep: IpAddr) -> Vec<Vni> {
        let floods = |vrf: &MacVrf| vrf.flood.get(&vtep).is_some_and(|e| e.installed.is_some());
        let mut vnis: Vec<_> =
            self.vrfs.iter().flatten().filter(|vrf| floods(vrf)).map(|v| v.vni()).collect();
        vnis.sort_unstable();
        vnis
    }

    /// The VNIs and VRFs, ascending.
    pub fn vnis(&self) -> Vec<VniView> {
        let macs = self.vrfs.iter().flatten().map(|v| v.view(&self.node));
        let ips = self.ip_vrfs.iter().flatten().map(|v| v.view(&self.node));
        let mut vnis: Vec<_> = macs.chain(ips).chain(self.missing_views()).collect();
        vnis.sort_unstable_by(|a, b| (a.vni, &a.kind).cmp(&(b.vni, &b.kind)));
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

    /// Everything known in each VRF of the prefix that decides about this one: itself, or the longest that contains
    /// it.
    pub fn explain_prefix(&self, wanted: IpNet) -> Vec<PrefixStory> {
        let mut stories: Vec<_> =
            self.ip_vrfs.iter().flatten().filter_map(|vrf| vrf.story(vrf.covering(wanted)?)).collect();
        stories.sort_unstable_by_key(|story| story.vni);
        stories
    }

    /// Which VNIs and VRFs take a route by its route targets, and whether they can use it (`imported_by` of
    /// `show routes`).
    pub fn verdicts(&self, key: &RouteKey, route: &Route<'_>) -> Vec<Verdict> {
        if route.local
            || !matches!(key, RouteKey::MacIp { .. } | RouteKey::Imet { .. } | RouteKey::Prefix { .. })
        {
            return Vec::new();
        }
        let facts = Facts::of(&route.attributes.ext_communities);
        let slots = self.imports.slots(&route.attributes.ext_communities);
        let verdict = |&slot: &u32| {
            if slot >= FIRST_VRF {
                let vni = self.ip_vrfs.get((slot - FIRST_VRF) as usize)?.as_deref()?.vni;
                let reject = Self::judge_prefix(&self.node, key, route, facts).err();
                return Some(Verdict { vni, routed: true, reject });
            }
            let vni = self.vrfs.get(slot as usize)?.as_deref()?.vni();
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
            Some(Verdict { vni, routed: false, reject })
        };
        concerned(key, route, &slots).iter().filter_map(verdict).collect()
    }

    /// What was counted.
    pub const fn counters(&self) -> Counters {
        self.counters
    }
}

/// Of the slots whose targets a route has, those that it can mean something to.
fn concerned<'a>(key: &RouteKey, route: &Route<'_>, slots: &'a [u32]) -> &'a [u32] {
    let bridges = slots.partition_point(|slot| *slot < FIRST_VRF);
    match key {
        RouteKey::Prefix { .. } => &slots[bridges..],
        // With a second label it is a host route, too (RFC 9135 §5.2).
        RouteKey::MacIp { ip: Some(_), .. } if route.body.label2.is_some() => slots,
        _ => &slots[..bridges],
    }
}

/// The prefix a route leads to.
fn destination(key: &RouteKey) -> Option<IpNet> {
    match *key {
        RouteKey::Prefix { prefix, .. } => Some(prefix),
        RouteKey::MacIp { ip, .. } => ip.map(IpNet::from),
        _ => None,
    }
}
