//! Reading what there is: VLANs and VNI filters, and what is in the tables of many VNIs at once.

use std::collections::{BTreeSet, HashMap, HashSet};

use foldhash::fast::RandomState;
use rustix::io::Errno;
use types::Vni;

use super::super::rows::Place;
use super::super::wire::{
    AF_BRIDGE, NDA_IFINDEX, NDA_MASTER, NLM_F_DUMP, NTF_EXT_LEARNED, NTF_SELF, NUD_PERMANENT, Neigh,
    RTM_GETNEIGH,
};
use super::super::{ROUNDS, refused};
use super::codec::{self, RTM_NEWTUNNEL, RTM_NEWVLAN};
use super::devices;
use super::vlans::{Filter, Vlans};
use super::{Complete, SingleDevice};
use crate::backend::{Device, Error, Fact, Scope};

/// Up to so many VNIs, the neighbours of each are asked for by themselves.
const FEW: usize = 16;

/// VNIs with rows on a VXLAN device that are kept in mind: there are no more VLANs than a sixteenth of this.
const MOST_LEFT: usize = 65_536;

/// VLANs and VNIs that have rows on a VXLAN device, or had some when that was looked at, and those that others have
/// written to since.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    vlans: HashSet<u16, RandomState>,
    vnis: HashSet<Vni, RandomState>,
}

impl Leftovers {
    /// Takes note of a row on the device. (Its own address is in every VLAN that it is in.)
    fn take(&mut self, n: &Neigh) {
        if n.has(NTF_EXT_LEARNED) || n.has(NTF_SELF) || !n.is(NUD_PERMANENT) {
            self.vnis.extend(n.src_vni);
            self.vlans.extend(n.vlan);
        }
    }

    /// The same, of news of it. False if that is too much to keep: then all is to be looked at again.
    pub(super) fn note(&mut self, message: &[u8]) -> bool {
        if let Some(n) = Neigh::parse(message).filter(|n| n.family == AF_BRIDGE) {
            self.take(&n);
        }
        self.vnis.len() <= MOST_LEFT
    }
}

impl SingleDevice {
    /// Reads all VLANs of all links, and the VNI filters of all VXLAN devices.
    pub(super) fn read_vlans(&mut self) -> Result<(), Error> {
        let mut vlans = Vlans::default();
        self.ask_vlans(0, &mut vlans)?;
        self.heed_vlans(None);
        self.heed_filters();
        self.vlans = vlans;
        let filtering = self.base.links.iter().filter(|link| link.vxlan().is_some_and(|v| v.vnifilter));
        let filtering: Vec<u32> = filtering.map(|link| link.index).collect();
        self.filters.clear();
        self.leftovers.retain(|index, _| self.base.links.get(*index).is_some());
        filtering.into_iter().try_for_each(|index| self.read_filter(index))
    }

    /// Reads the VLANs of one link anew.
    pub(super) fn read_vlans_of(&mut self, link: u32) -> Result<(), Error> {
        let mut vlans = Vlans::default();
        self.ask_vlans(link, &mut vlans)?;
        self.heed_vlans(Some(link));
        self.vlans.clear(link);
        for (vlan, entry) in vlans.of(link) {
            self.vlans.set(link, vlan, entry);
        }
        Ok(())
    }

    fn ask_vlans(&mut self, link: u32, vlans: &mut Vlans) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            *vlans = Vlans::default();
            self.base.batch.clear();
            codec::get_vlans(link, self.goes_by_vlans(), &mut self.base.batch);
            let asked = self.base.requests.ask(&mut self.base.batch, &mut |m| {
                if m.kind == RTM_NEWVLAN {
                    codec::read_vlans(m.body).for_each(|run| vlans.add(run));
                }
            });
            match asked {
                Ok(Complete::Yes) => break,
                Ok(Complete::Interrupted) => {}
                // A kernel without VLANs on bridges; a link that is gone, or no bridge port.
                Err(refusal) if is_nothing(refusal.errno) => break,
                Err(refusal) => return Err(refused("list VLANs".into(), refusal)),
            }
        }
        Ok(())
    }

    /// Reads the VNI filter of a VXLAN device anew.
    pub(super) fn read_filter(&mut self, vxlan: u32) -> Result<(), Error> {
        let mut filter = Filter::default();
        self.base.batch.clear();
        codec::get_filter(vxlan, &mut self.base.batch);
        let asked = self.base.requests.ask(&mut self.base.batch, &mut |m| {
            if m.kind == RTM_NEWTUNNEL
                && let Some((link, ranges)) = codec::read_filter(m.body)
                && link == vxlan
            {
                ranges.for_each(|(start, end)| filter.insert(start, end));
            }
        });
        match asked {
            Ok(_) => {
                self.filters.insert(vxlan, filter);
            }
            Err(refusal) if is_nothing(refusal.errno) => {
                self.filters.remove(&vxlan);
            }
            Err(refusal) => return Err(refused("list the VNIs of a VXLAN device".into(), refusal)),
        }
        Ok(())
    }

    /// Where the rows of a VNI are, whether it was put or not (a dry run asks).
    pub(super) fn place_of(&self, vni: Vni) -> Option<Place> {
        if let Some(placed) = self.base.vnis.get(&vni) {
            return Some(placed.at);
        }
        if self.base.config.discover {
            return self.discovered(vni);
        }
        let (Some(bridge), Some(vxlan)) = self.shared_devices() else { return None };
        let vlan = self.vlans.mapped(vxlan, vni)?;
        let table = self.base.links.vlan(bridge, vlan).map(|link| link.index);
        Some(Place { bridge, vxlan, table, vlan: Some(vlan) })
    }

    pub(super) fn observe_vnis(
        &mut self,
        vnis: &[Vni],
        scope: Scope,
        found: &mut dyn FnMut(Fact),
    ) -> Vec<Result<Device, Error>> {
        // What is true of all of them.
        let overlay = self.refresh_overlay();
        let mut states = Vec::with_capacity(vnis.len());
        let (mut look_at, mut clean) = (Vec::new(), Vec::new());
        for &vni in vnis {
            let state = match &overlay {
                Ok(right) => Ok(self.state(vni, *right)),
                Err(error) => Err(error.clone()),
            };
            if let (Ok(Device::Right | Device::Wrong), Some(at)) = (&state, self.place_of(vni)) {
                found(Fact::Vlan(vni, at.vlan.unwrap_or_default()));
                if self.fresh.remove(&vni) {
                    self.shown.insert(vni);
                } else if self.clean.remove(&vni) {
                    clean.push((vni, at));
                } else {
                    look_at.push((vni, at));
                }
            }
            states.push(state);
        }
        for (group, scope, whole) in [(look_at, scope, scope == Scope::All), (clean, Scope::Local, true)] {
            let looked = self.observe_rows(&group, scope, found);
            let group: HashSet<Vni, RandomState> = group.into_iter().map(|(vni, _)| vni).collect();
            match looked {
                Ok(()) if whole => self.shown.extend(group),
                Ok(()) => {}
                Err(error) => {
                    let failed = vnis.iter().zip(&mut states).filter(|(vni, _)| group.contains(vni));
                    failed.for_each(|(_, state)| *state = Err(error.clone()));
                }
            }
        }
        states
    }

    /// May there be something in the tables of a VNI that was not put or taken up in this run?
    pub(super) fn is_left(&mut self, vni: Vni, vxlan: u32, vlan: u16) -> bool {
        if !self.leftovers.contains_key(&vxlan) {
            let mut left = Leftovers::default();
            self.base.batch.clear();
            self.base.batch.begin(RTM_GETNEIGH, NLM_F_DUMP);
            self.base.batch.neigh(AF_BRIDGE, 0, 0, 0);
            self.base.batch.attr(NDA_IFINDEX, &vxlan.to_ne_bytes());
            let asked = self.base.dump("list the FDB", &mut |n| {
                if n.index == vxlan {
                    left.take(n);
                }
            });
            if asked.is_err() {
                return true;
            }
            self.leftovers.insert(vxlan, left);
        }
        let left = self.leftovers.get(&vxlan);
        left.is_none_or(|left| left.vnis.contains(&vni) || left.vlans.contains(&vlan))
    }

    /// How a VNI stands, given whether the shared devices do.
    pub(super) fn state(&self, vni: Vni, overlay: bool) -> Device {
        let Some(placed) = self.base.vnis.get(&vni) else {
            return if self.place_of(vni).is_some() { Device::Wrong } else { Device::Missing };
        };
        if self.base.config.discover {
            return match self.discovered(vni) {
                Some(at) if at == placed.at && self.learns(at).is_empty() => Device::Right,
                Some(_) => Device::Wrong,
                None => Device::Missing,
            };
        }
        let (at, l2) = (placed.at, &placed.l2);
        let (Some(bridge), Some(vxlan)) = self.shared_devices() else { return Device::Missing };
        let right = overlay
            && (at.bridge, at.vxlan) == (bridge, vxlan)
            && self.alloc.vlan(vni) == at.vlan
            && at.vlan.is_some_and(|vlan| {
                let undone = self.undone.get(&vni).map_or(&[][..], |steps| steps);
                self.now(|now| devices::plan_vni(l2, vlan, now).steps.iter().all(|s| undone.contains(s)))
                    && self.place(l2, vlan).is_some_and(|place| place == at)
            });
        if right { Device::Right } else { Device::Wrong }
    }

    /// What is in the tables of VNIs: one walk for all of them.
    pub(super) fn observe_rows(
        &mut self,
        at: &[(Vni, Place)],
        scope: Scope,
        found: &mut dyn FnMut(Fact),
    ) -> Result<(), Error> {
        self.observe_fdb(at, scope, found)?;
        if at.len() <= FEW {
            return at.iter().try_for_each(|(vni, at)| self.base.observe_neighbours(*vni, *at, found));
        }
        let tables: HashMap<u32, Vni, RandomState> =
            at.iter().filter_map(|(vni, at)| Some((at.table?, *vni))).collect();
        self.base.dump_neighbours(None, &|index| tables.get(&index).copied(), found)
    }

    /// Of that, what is in the FDB.
    pub(super) fn observe_fdb(
        &mut self,
        at: &[(Vni, Place)],
        scope: Scope,
        found: &mut dyn FnMut(Fact),
    ) -> Result<(), Error> {
        let places: HashMap<Vni, Place, RandomState> = at.iter().copied().collect();
        let holders: HashMap<(u32, u16), Vni, RandomState> =
            at.iter().filter_map(|(vni, at)| Some(((at.bridge, at.vlan?), *vni))).collect();
        let whose = |n: &Neigh| {
            let vni = match n.src_vni {
                Some(vni) if n.has(NTF_SELF) => vni,
                _ => *holders.get(&(n.master.unwrap_or(n.index), n.vlan?))?,
            };
            let at = *places.get(&vni)?;
            let here = n.index == at.vxlan || n.index == at.bridge || n.master == Some(at.bridge);
            here.then_some((vni, at))
        };
        let there = |index: &u32| self.base.links.get(*index).is_some();
        let bridges: BTreeSet<u32> = at.iter().map(|(_, at)| at.bridge).filter(there).collect();
        for bridge in bridges {
            match self.ports_to_look_at(bridge, at, scope) {
                Some(ports) => {
                    for port in ports {
                        self.base.dump_fdb((NDA_IFINDEX, port), &whose, found)?;
                    }
                }
                None => self.base.dump_fdb((NDA_MASTER, bridge), &whose, found)?,
            }
        }
        Ok(())
    }

    /// The local ports of these VNIs, if it is cheaper to walk the bridge's table for each than to have all of it shown.
    fn ports_to_look_at(&self, bridge: u32, at: &[(Vni, Place)], scope: Scope) -> Option<BTreeSet<u32>> {
        if scope == Scope::All {
            return None;
        }
        let mut ports = BTreeSet::new();
        for at in at.iter().map(|(_, at)| at).filter(|at| at.bridge == bridge) {
            for member in self.vlans.members(at.vlan?) {
                let here = self.base.links.get(member).is_some_and(|link| link.master == Some(bridge));
                if here && member != at.vxlan {
                    ports.insert(member);
                }
                if ports.len() > FEW {
                    return None;
                }
            }
        }
        Some(ports)
    }
}

/// Refusals that mean there is nothing to be read.
fn is_nothing(errno: Errno) -> bool {
    matches!(errno, Errno::OPNOTSUPP | Errno::NODEV | Errno::INVAL | Errno::NOENT)
}
