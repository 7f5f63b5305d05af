//! The layout `single-device`: one bridge that knows VLANs, one external VXLAN device, and a VLAN of this host for each
//! VNI.
//!
//! See `devices` for what that takes and whose it is, `alloc` for which VLAN a VNI has, `codec` for how VLANs are read and
//! written, `manage` for how all is brought into shape, `clear` for what is left of earlier runs, `discover` for VNIs that others
//! set up.
//!
//! The kernel tells of every VLAN of a port whenever one of them changes, and shows them all or none. So what there is
//! is kept in `vlans`, by what is written and heard; changes of many VNIs go into few messages; and nothing is read
//! again for a change but what it is about.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use foldhash::fast::RandomState;
use types::Vni;

use super::base::{Base, Placed};
use super::config::KernelConfig;
use super::links::{Kind, Link};
use super::marks;
use super::rows::Place;
use super::socket::Complete;
use super::wire::{NTF_SELF, Neigh};
use super::write::{Work, runs};
use crate::backend::{Backend, Device, Error, Fact, Outcome, PortPlace, Scope};
use crate::intent::L2Vni;
use crate::plan::Op;
use crate::plane;
use crate::rows::{Key, Row, Rows};
use alloc::Alloc;
use codec::{RTNLGRP_BRVLAN, RTNLGRP_TUNNEL};
use devices::{Now, Step};
use suppress::Suppression;
use vlans::{Filter, Vlans};

mod alloc;
mod clear;
mod codec;
mod devices;
mod discover;
mod edit;
mod events;
mod look;
mod manage;
mod remove;
mod suppress;
mod tables;
mod vlans;

/// VNIs of a VNI filter that are looked at: there are no more VLANs.
const MOST: usize = 4096;

/// The kernel backend with one VXLAN device for all VNIs.
#[derive(Debug)]
pub struct SingleDevice {
    base: Base,
    /// The VLANs of all links.
    vlans: Vlans,
    /// The VNI filter of each VXLAN device that has one.
    filters: HashMap<u32, Filter, RandomState>,
    alloc: Alloc,
    /// The VNI whose rows are those of a VLAN of a bridge.
    holders: HashMap<(u32, u16), Vni, RandomState>,
    /// Which of the VNIs that were put want their hosts' ARP answered.
    suppression: Suppression,
    /// Those that have had an address to keep.
    tabled: HashSet<Vni, RandomState>,
    /// Mapped on a VXLAN device in this run: on one that is not ours, only these are.
    made: HashSet<Vni, RandomState>,
    /// Made since the last poll, so that there can be nothing in them.
    fresh: HashSet<Vni, RandomState>,
    /// Taken up since the last poll, with nothing on the VXLAN device: only local ports have to be looked at.
    clean: HashSet<Vni, RandomState>,
    /// All that is in them was shown, so that whoever keeps that knows their rows.
    shown: HashSet<Vni, RandomState>,
    /// Moved to other VLANs, for the sake of VNIs these are configured for: to be told of.
    moved: BTreeSet<Vni>,
    /// Source address and UDP port of VXLAN, as the last VNI was put.
    underlay: (IpAddr, u16),
    /// The name of the VXLAN device, which is in many steps.
    vxlan_name: Arc<str>,
    /// What others and earlier runs have left on VXLAN devices, once that was looked at.
    leftovers: HashMap<u32, look::Leftovers, RandomState>,
    /// What was last heard of VLANs since the last look at it.
    heard: HashMap<(u32, u16), events::Word, RandomState>,
    /// The same of VNI filters: what was added last, and what was removed.
    heard_filters: HashMap<u32, (Filter, Filter), RandomState>,
    /// VXLAN ports that were heard to have no mappings, at least for a moment.
    torn: BTreeSet<u32>,
    /// What was heard in the middle of other work.
    pending: Vec<Fact>,
    /// The bridge or the VXLAN device may have changed.
    shaken: bool,
    /// With discovery: links that a bridge has told of as its ports since they were last read.
    ports: BTreeSet<u32>,
    /// Steps of VNIs that failed when they were put: to be tried again when the VNI is put again.
    undone: HashMap<Vni, Vec<Step>, RandomState>,
    /// People were told of what is left alone: mappings of others, or a device.
    noted: bool,
    /// The VNIs that others set up, as last looked.
    known: BTreeMap<Vni, Place>,
    /// VNIs that could not be put: they are told of when the shared devices change.
    waiting: BTreeSet<Vni>,
}

impl SingleDevice {
    /// Opens the sockets in the network namespace of the calling thread, and reads what there is.
    pub fn open(config: KernelConfig) -> io::Result<Self> {
        let underlay = (config.vtep, config.port);
        let vxlan_name = Arc::from(&*config.vxlan);
        let base = Base::open(config, &[RTNLGRP_BRVLAN, RTNLGRP_TUNNEL])?;
        let mut single = Self {
            base,
            vlans: Vlans::default(),
            filters: HashMap::default(),
            alloc: Alloc::default(),
            holders: HashMap::default(),
            suppression: Suppression::default(),
            tabled: HashSet::default(),
            made: HashSet::default(),
            fresh: HashSet::default(),
            clean: HashSet::default(),
            shown: HashSet::default(),
            moved: BTreeSet::new(),
            underlay,
            vxlan_name,
            leftovers: HashMap::default(),
            heard: HashMap::default(),
            heard_filters: HashMap::default(),
            torn: BTreeSet::new(),
            pending: Vec::new(),
            shaken: false,
            ports: BTreeSet::new(),
            undone: HashMap::default(),
            noted: false,
            known: BTreeMap::new(),
            waiting: BTreeSet::new(),
        };
        single.read_vlans().map_err(io::Error::other)?;
        single.look_for_vnis();
        Ok(single)
    }

    /// The shared devices, by index, as far as they are there.
    fn shared_devices(&self) -> (Option<u32>, Option<u32>) {
        let links = &self.base.links;
        let vxlan = links.named(&self.base.config.vxlan).filter(|link| link.vxlan().is_some());
        let own = links.named(&self.base.config.bridge).filter(|link| link.is_bridge());
        let master = vxlan.and_then(|vxlan| links.get(vxlan.master?)).filter(|link| link.is_bridge());
        // Without managing devices, the VXLAN device says which bridge it is.
        let bridge = if self.base.config.manage_devices { own } else { master.or(own) };
        (bridge.map(|link| link.index), vxlan.map(|link| link.index))
    }

    /// Runs a plan on what there is now.
    fn now<T>(&self, plan: impl FnOnce(&Now<'_>) -> T) -> T {
        let (bridge, vxlan) = self.shared_devices();
        let owner = |name: &str| self.base.by_name.get(name).copied();
        plan(&Now {
            config: &self.base.config,
            links: &self.base.links,
            vlans: &self.vlans,
            filter: vxlan.and_then(|index| self.filters.get(&index)),
            bridge,
            vxlan,
            vxlan_name: &self.vxlan_name,
            owner: &owner,
            tabled: &self.tabled,
        })
    }

    /// Was the VXLAN device made here? Then all that is mapped on it is ours.
    fn owns_vxlan(&self) -> bool {
        let alias = self.base.links.named(&self.base.config.vxlan).and_then(|link| link.alias.as_deref());
        alias == Some(marks::OVERLAY)
    }

    /// Where the rows of a VNI are that has this VLAN.
    fn place(&self, l2: &L2Vni, vlan: u16) -> Option<Place> {
        let (Some(bridge), Some(vxlan)) = self.shared_devices() else { return None };
        let table = self.base.links.vlan(bridge, vlan).filter(|_| l2.arp_suppression).map(|link| link.index);
        Some(Place { bridge, vxlan, table, vlan: Some(vlan) })
    }

    /// A VNI stands there.
    fn stands(&mut self, l2: &L2Vni, at: Place) {
        // A table that is made for it has nothing of it.
        let here = |placed: &Placed| Place { table: at.table, ..placed.at } == at;
        if !self.base.vnis.get(&l2.vni).is_some_and(here) {
            self.shown.remove(&l2.vni);
        }
        self.forget(l2.vni);
        if let Some(vlan) = at.vlan {
            self.holders.insert((at.bridge, vlan), l2.vni);
        }
        let own: Vec<u32> = at.table.into_iter().collect();
        self.base.stands(l2, at, &own, l2.interfaces.clone());
    }

    fn forget(&mut self, vni: Vni) {
        if let Some(at) = self.base.vnis.get(&vni).map(|placed| placed.at)
            && let Some(vlan) = at.vlan
            && self.holders.get(&(at.bridge, vlan)) == Some(&vni)
        {
            self.holders.remove(&(at.bridge, vlan));
        }
        self.base.forget(vni, &[]);
    }

    /// Which VNI a row in an FDB belongs to, and where that one is.
    fn whose(
        base: &Base,
        holders: &HashMap<(u32, u16), Vni, RandomState>,
        n: &Neigh,
    ) -> Option<(Vni, Place)> {
        let vni = match n.src_vni {
            Some(vni) if n.has(NTF_SELF) => vni,
            _ => *holders.get(&(n.master.unwrap_or(n.index), n.vlan?))?,
        };
        Some((vni, base.vnis.get(&vni)?.at))
            .filter(|(_, at)| n.index == at.vxlan || n.index == at.bridge || n.master == Some(at.bridge))
    }
}

impl Backend for SingleDevice {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn shared(&self) -> bool {
        true
    }

    fn vnis(&mut self) -> Result<Vec<Vni>, Error> {
        self.base.read_links()?;
        self.read_vlans()?;
        let mut vnis: BTreeSet<Vni> = self.base.vnis.keys().copied().collect();
        if self.base.config.discover {
            self.look_for_vnis();
            return Ok(vnis.into_iter().collect());
        }
        let (_, vxlan) = self.shared_devices();
        if let Some(vxlan) = vxlan
            && self.owns_vxlan()
        {
            vnis.extend(self.vlans.mappings(vxlan).map(|(_, vni)| vni));
            vnis.extend(self.filters.get(&vxlan).into_iter().flat_map(|filter| filter.vnis(MOST)));
        }
        // Those that could not be put have shared devices all the same, made for them.
        if self.owns_bridge() && (vxlan.is_none() || self.owns_vxlan()) {
            vnis.extend(&self.waiting);
        }
        if self.base.config.manage_devices {
            // Tables of VNIs, on whichever bridge, and devices of the other layout.
            let kinds = |link: &&Link| !matches!(link.kind, Kind::Other(_));
            vnis.extend(self.base.links.iter().filter(kinds).filter_map(marks::owned));
        }
        Ok(vnis.into_iter().collect())
    }

    fn found(&mut self) -> Result<Vec<Vni>, Error> {
        if !self.base.config.discover {
            return Ok(Vec::new());
        }
        // Kept by what is read for a comparison of everything, and by what is heard since.
        self.look_for_vnis();
        Ok(self.known.keys().copied().collect())
    }

    fn observe(
        &mut self,
        vnis: &[Vni],
        scope: Scope,
        found: &mut dyn FnMut(Fact),
    ) -> Vec<Result<Device, Error>> {
        self.observe_vnis(vnis, scope, found)
    }

    fn look(&mut self, keys: &[Key], found: &mut dyn FnMut(Fact)) -> Result<(), Error> {
        self.base.look_up(keys, found)
    }

    fn apply(&mut self, ops: &[Op], standing: &Rows, outcomes: &mut Vec<Outcome>) {
        let mut runs = runs(ops).peekable();
        while let Some((work, run)) = runs.next() {
            match work {
                Work::Put => {
                    let vnis = run.iter().filter_map(|op| match op {
                        Op::Put(Row::Vni(l2)) => Some(l2.clone()),
                        _ => None,
                    });
                    outcomes.extend(self.put_vnis(vnis.collect(), standing));
                }
                Work::Remove => {
                    let vnis: Vec<Vni> = run.iter().map(|op| op.key().vni()).collect();
                    let last = runs.peek().is_none_or(|(work, _)| *work != Work::Put);
                    outcomes.extend(self.remove_vnis(&vnis, last, standing));
                }
                Work::Rows => self.put_rows(run, standing, outcomes),
            }
        }
    }

    fn poll(&mut self, facts: &mut Vec<Fact>) -> bool {
        self.hear(facts)
    }

    fn clear(&mut self, wanted: bool, notes: &mut Vec<String>) -> Result<(), Error> {
        let cleared = self.base.clear_ports(notes);
        let ended = if wanted { Ok(()) } else { self.end() };
        notes.extend(self.tell_of_strangers());
        notes.extend(self.tell_of_unfit());
        cleared.and(ended)
    }

    fn describe_clear(&mut self, wanted: bool) -> Vec<plane::Step> {
        let end = if wanted { Vec::new() } else { self.describe_end() };
        self.base.describe_ports().chain(end).collect()
    }

    fn describe(&mut self, ops: &[Op]) -> Vec<plane::Step> {
        self.describe_ops(ops)
    }

    fn limits(&self) -> Vec<String> {
        self.limit().into_iter().collect()
    }

    fn port(&mut self, vni: Vni, interface: &str) -> Result<PortPlace, Error> {
        let at = self.base.vnis.get(&vni).map(|placed| placed.at);
        let name = self.base.config.bridge.clone();
        let (vlans, discover) = (&self.vlans, self.base.config.discover);
        self.base.port_place(interface, &|base, link| {
            let Some(master) = link.master else {
                return if discover {
                    let reason = "it is in no bridge, and with discover = true evpnd attaches nothing";
                    PortPlace::Refused(format!("{interface}: {reason}"))
                } else {
                    PortPlace::Free
                };
            };
            if let Some(at) = at.filter(|at| at.bridge == master) {
                return match at.vlan {
                    Some(vlan) if discover && vlans.get(link.index, vlan).is_some() => PortPlace::Attached,
                    Some(vlan) if !discover && vlans.is_access(link.index, vlan) => PortPlace::Attached,
                    Some(vlan) if discover => PortPlace::Refused(format!(
                        "{interface} is not in VLAN {vlan}, and with discover = true evpnd does not change that"
                    )),
                    _ => PortPlace::Free,
                };
            }
            let free = |other: &Link| !discover && (marks::is_ours(other) || other.name == name);
            base.place_elsewhere(master, &free)
        })
    }

    fn forget_port(&mut self, interface: &str) {
        self.base.forget_port(interface);
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.base.monitor.fd())
    }

    fn messages(&self) -> u64 {
        self.base.requests.count()
    }
}
