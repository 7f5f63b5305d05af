//! Bringing devices and VNIs into their shape: what is planned is done, for as many VNIs at once as are put.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use types::Vni;

use super::super::ROUNDS;
use super::super::links::{self, Port};
use super::super::marks;
use super::super::rows::Place;
use super::super::wire::{NLM_F_CREATE, NLM_F_EXCL, RTM_DELLINK, RTM_NEWLINK, RTM_SETLINK};
use super::SingleDevice;
use super::codec::{self, Entry};
use super::devices::{self, NO_FILTERING, Overlay, Plan, Step};
use super::edit::Fate;
use super::suppress::Suppression;
use crate::backend::{Error, ErrorKind, Outcome};
use crate::intent::L2Vni;
use crate::plan::Op;
use crate::plane::{self, Action, Thing};
use crate::rows::{Row, Rows};

/// The kernel has done as it was told, and it is not so.
fn undone(step: &Step) -> Error {
    let reason = "the kernel accepted it, and it is not so; another program may be at work";
    Error::new(ErrorKind::Other, step.to_string(), reason)
}

impl SingleDevice {
    // ---- the shared devices -----------------------------------------------------------------------------------

    fn plan_overlay(&self) -> Result<Vec<Step>, Error> {
        let (vtep, port) = self.underlay;
        let config = &self.base.config;
        let suppress = self.suppression.wanted();
        let vxlan = self.base.links.named(&config.vxlan);
        let attached = vxlan.is_some_and(|link| self.base.ports.contains(link));
        let want = Overlay { config, vtep, port, suppress, attached };
        devices::plan_overlay(want, &self.base.links, &self.vlans)
    }

    /// The settings of the port of the VXLAN device, if it is one.
    fn vxlan_port(&self) -> Option<Port> {
        self.base.links.get(self.shared_devices().1?)?.port
    }

    /// Is the port set as the VNIs that there are now want ARP and ND answered?
    pub(super) fn suppresses_as_wanted(&self) -> bool {
        self.vxlan_port().is_none_or(|found| {
            let wanted = self.suppression.wanted().port(Some(found));
            (wanted.suppress, wanted.vlan_suppress) == (found.suppress, found.vlan_suppress)
        })
    }

    /// Does the port go by VLANs in what it suppresses?
    pub(super) fn goes_by_vlans(&self) -> bool {
        self.vxlan_port().is_some_and(|port| port.vlan_suppress == Some(true))
    }

    /// What cannot be had here.
    pub(super) fn limit(&self) -> Option<String> {
        if self.base.config.discover {
            return None;
        }
        self.suppression.limit(&self.vxlan_name, self.vxlan_port()?)
    }

    /// Reads the shared devices anew. Are they as they should be?
    pub(super) fn refresh_overlay(&mut self) -> Result<bool, Error> {
        for name in [self.base.config.bridge.clone(), self.base.config.vxlan.clone()] {
            self.read_device(&name)?;
        }
        Ok(self.base.config.discover || self.plan_overlay().is_ok_and(|steps| steps.is_empty()))
    }

    /// Reads one of them anew. Who takes devices as they are has to know of every change of them.
    pub(super) fn read_device(&mut self, name: &str) -> Result<(), Error> {
        let known = self.base.links.named(name).cloned();
        self.base.read_link(name)?;
        self.shaken |= self.base.config.discover && self.base.links.named(name) != known.as_ref();
        Ok(())
    }

    /// Reads the links of a VNI anew.
    pub(super) fn refresh(&mut self, vni: Vni) -> Result<(), Error> {
        let Some(placed) = self.base.vnis.get(&vni) else { return Ok(()) };
        let table = placed.at.table.and_then(|index| self.base.links.get(index));
        let names: Vec<String> =
            placed.names.iter().cloned().chain(table.map(|link| link.name.clone())).collect();
        names.iter().try_for_each(|name| self.base.read_link(name))
    }

    /// Brings the shared devices into their shape.
    pub(super) fn put_overlay(&mut self) -> Result<(), Error> {
        self.refresh_overlay()?;
        let mut last = Vec::new();
        for _ in 0..ROUNDS {
            let steps = self.plan_overlay()?;
            let Some(first) = steps.first() else { break };
            if steps == last {
                return Err(undone(first));
            }
            self.delete_first(steps.iter());
            for step in &steps {
                self.execute(step)?;
            }
            last = steps;
            // New devices, or ones that were changed: nothing is known of their VLANs.
            self.read_vlans()?;
        }
        Ok(())
    }

    /// Deletes what steps delete, in one go if it is much.
    pub(super) fn delete_first<'a>(&mut self, steps: impl Iterator<Item = &'a Step>) {
        let names = steps.filter_map(|step| match step {
            Step::Delete { name } => Some(name.clone()),
            _ => None,
        });
        let names: Vec<String> = names.collect();
        if names.len() > 4 {
            self.base.delete_together(&names);
        }
    }

    /// Does one step on a device, and reads back what it changed.
    pub(super) fn execute(&mut self, step: &Step) -> Result<(), Error> {
        let mut batch = std::mem::take(&mut self.base.batch);
        batch.clear();
        // Failures of these messages do not matter.
        let mut optional = usize::MAX;
        let (vtep, udp) = self.underlay;
        let index = |name: &str| self.base.index(name, step);
        let changed = match step {
            Step::CreateBridge { name } | Step::CreateVxlan { name } => {
                let message = if matches!(step, Step::CreateBridge { .. }) {
                    links::new_bridge(name, marks::bridge_address(Vni::ZERO, vtep), true)
                } else {
                    links::new_vxlan(name, None, vtep, udp)
                };
                links::push(&mut batch, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message);
                // In the same datagram, so that no kill -9 falls between a device and its mark.
                links::push(&mut batch, RTM_SETLINK, 0, &links::set_alias(name, marks::OVERLAY));
                // Where IPv6 is off, there is nothing to turn off.
                optional = batch.len();
                links::push(&mut batch, RTM_SETLINK, 0, &links::set_no_link_local(name));
                name
            }
            Step::FilterVlans { bridge } => {
                links::push(&mut batch, RTM_NEWLINK, 0, &links::set_vlan_filtering(index(bridge)?));
                bridge
            }
            Step::SetLocal { name, to } => {
                // All VNIs: the kernel wants to hear zero again.
                links::push(&mut batch, RTM_NEWLINK, 0, &links::set_local(index(name)?, Vni::ZERO, *to));
                name
            }
            Step::StopLearning { name } => {
                let message = links::set_vxlan_learning(index(name)?, Vni::ZERO, false);
                links::push(&mut batch, RTM_NEWLINK, 0, &message);
                name
            }
            Step::SetPort { name, port } => {
                links::push(&mut batch, RTM_NEWLINK, 0, &links::set_port(index(name)?, *port));
                name
            }
            Step::Attach { port, bridge } => {
                let (index, master) = (index(port)?, index(bridge)?);
                links::push(&mut batch, RTM_SETLINK, 0, &links::set_master(index, master));
                self.base.attaches(index, master);
                port
            }
            Step::Release { port, .. } => {
                links::push(&mut batch, RTM_SETLINK, 0, &links::set_master(index(port)?, 0));
                port
            }
            Step::Leave { port, vlan } => {
                let vlans = [(*vlan, Entry::default())];
                codec::change_vlans(RTM_DELLINK, index(port)?, &vlans, &[], &mut batch);
                port
            }
            Step::Up { name } => {
                links::push(&mut batch, RTM_SETLINK, 0, &links::set_up(index(name)?));
                name
            }
            Step::Delete { name } => {
                match self.base.links.named(name) {
                    // It went together with others.
                    None => return Ok(()),
                    Some(link) => links::push(&mut batch, RTM_DELLINK, 0, &links::delete(link.index)),
                }
                name
            }
            Step::Access { .. }
            | Step::Map { .. }
            | Step::Unmap { .. }
            | Step::Admit { .. }
            | Step::Dismiss { .. }
            | Step::Suppress { .. }
            | Step::CreateTable { .. } => return Ok(()),
        };
        self.base.batch = batch;
        let changed = self.base.change_link(step, changed, optional);
        match step {
            Step::CreateBridge { name } => match changed {
                // A kernel without VLAN filtering refuses it (that of bridges at all says more), ...
                Err(error) if error.kind == ErrorKind::NoDevice && !error.reason.contains("Unknown") => {
                    Err(Error::new(ErrorKind::Conflict, error.action, NO_FILTERING))
                }
                changed => changed.and_then(|()| self.check_filtering(name)),
            },
            Step::Up { name } => changed.map_err(|error| self.base.name_rival(name, error)),
            Step::Release { port, .. } if changed.is_ok() => {
                self.base.released(port);
                Ok(())
            }
            _ => changed,
        }
    }

    /// ... or makes a bridge all the same, which is of no use.
    fn check_filtering(&mut self, name: &str) -> Result<(), Error> {
        let made = self.base.links.named(name).and_then(|link| link.bridge());
        if made.is_none_or(|bridge| bridge.vlan_filtering.is_some()) {
            return Ok(());
        }
        let error = self.plan_overlay().err();
        self.execute(&Step::Delete { name: name.to_owned() })?;
        error.map_or(Ok(()), Err)
    }

    // ---- VNIs -------------------------------------------------------------------------------------------------

    /// Gives each VNI its VLAN, those configured first. Those that have to make room come after those that were put.
    fn assign(&mut self, vnis: &mut Vec<L2Vni>) -> Vec<Result<u16, Error>> {
        let mut vlans: Vec<Option<Result<u16, Error>>> = vec![None; vnis.len()];
        for at in 0..vlans.len() {
            if let (vni, Some(vlan)) = (vnis[at].vni, vnis[at].vlan) {
                vlans[at] = Some(self.assign_configured(vni, vlan, vnis));
            }
        }
        vlans.resize(vnis.len(), None);
        let assigned = vlans.into_iter().zip(&*vnis);
        let assigned = assigned.map(|(vlan, l2)| vlan.unwrap_or_else(|| self.assign_free(l2.vni)));
        assigned.collect()
    }

    fn assign_configured(&mut self, vni: Vni, vlan: u16, vnis: &mut Vec<L2Vni>) -> Result<u16, Error> {
        let action = || format!("use VLAN {vlan} for VNI {vni}");
        let (_, vxlan) = self.shared_devices();
        let mapped = vxlan.and_then(|index| self.vlans.get(index, vlan)).and_then(|entry| entry.tunnel);
        // One that is wanted finds another VLAN, whoever gave it this one.
        let wanted =
            |other: &Vni| self.base.vnis.contains_key(other) || vnis.iter().any(|l2| l2.vni == *other);
        let fixed = |other: &Vni| *other != vni && !self.is_ours(*other) && !wanted(other);
        if let Some(other) = mapped.filter(fixed) {
            let reason = format!(
                "it is mapped to VNI {other} on {0}, and not by evpnd: set another vlan, or bridge vlan del dev {0} vid \
                 {vlan}",
                self.vxlan_name
            );
            return Err(Error::new(ErrorKind::Conflict, action(), reason));
        }
        let moved = self.alloc.configure(vni, vlan).map_err(|other| {
            let reason = format!("it is configured for VNI {other}, too: set another vlan for one of them");
            Error::new(ErrorKind::Conflict, action(), reason)
        })?;
        if let Some(moved) = moved
            && !vnis.iter().any(|l2| l2.vni == moved)
            && let Some(placed) = self.base.vnis.get(&moved)
        {
            vnis.push(placed.l2.clone());
        }
        Ok(vlan)
    }

    /// May the mapping of this VNI be changed? On a device made here all may, on another one those made in this run.
    fn is_ours(&self, vni: Vni) -> bool {
        self.owns_vxlan() || self.made.contains(&vni)
    }

    fn assign_free(&mut self, vni: Vni) -> Result<u16, Error> {
        let (bridge, vxlan) = self.shared_devices();
        let (links, vlans) = (&self.base.links, &self.vlans);
        let on_device = vxlan.and_then(|index| vlans.mapped(index, vni));
        // A VLAN may have been mapped to another VNI since.
        let is_free = |vlan: &u16| {
            vxlan.and_then(|index| vlans.get(index, *vlan)).is_none_or(|entry| entry.tunnel.is_none())
        };
        let table = links.marked(vni).filter_map(|link| link.vlan()).find(|vlan| Some(vlan.lower) == bridge);
        let before = on_device.into_iter().chain(table.map(|table| table.id).filter(is_free));
        let taken = |vlan: u16| {
            bridge.is_some_and(|bridge| {
                let here = |link: u32| {
                    link == bridge || links.get(link).is_some_and(|link| link.master == Some(bridge))
                };
                links.vlan(bridge, vlan).is_some() || vlans.members(vlan).any(here)
            })
        };
        self.alloc.choose(vni, before, taken).ok_or_else(|| {
            let action = format!("find a VLAN for VNI {vni}");
            let reason = format!(
                "all 4094 VLANs of bridge {} are in use: VNI {vni} gets none; remove VNIs or use layout = \
                 \"device-per-vni\"",
                self.base.config.bridge
            );
            Error::new(ErrorKind::Other, action, reason)
        })
    }

    /// Brings VNIs into their shape. The outcomes are those of the VNIs given, in order.
    pub(super) fn put_vnis(&mut self, mut group: Vec<L2Vni>, standing: &Rows) -> Vec<Outcome> {
        let Some(last) = group.last() else { return Vec::new() };
        if self.base.config.discover {
            let moved = |l2: &&L2Vni| {
                let at = self.base.vnis.get(&l2.vni).map(|placed| placed.at);
                let place = |at: Place| (at.bridge, at.vlan);
                at.is_some_and(|at| self.discovered(l2.vni).is_some_and(|now| place(at) != place(now)))
            };
            let leaving: Vec<Vni> = group.iter().filter(moved).map(|l2| l2.vni).collect();
            self.empty(&leaving, standing);
            let devices = self.devices_of_others();
            return group.iter().map(|l2| self.take_up(l2, &devices)).collect();
        }
        self.underlay = (last.vtep, last.port);
        for l2 in &group {
            self.suppression.hear(l2);
        }
        self.watch(&group);
        if let Err(error) = self.put_overlay() {
            self.waiting.extend(group.iter().map(|l2| l2.vni));
            return vec![Outcome::Failed(error); group.len()];
        }
        let put = group.len();
        let vlans = self.assign(&mut group);
        self.moved.extend(group[put..].iter().map(|l2| l2.vni));
        let mut fates: Vec<Fate> = vlans.iter().map(|vlan| Fate::of(vlan.as_ref().err())).collect();
        self.leave_vlans(&group, &vlans, standing);
        let vlans: Vec<u16> = vlans.into_iter().map(Result::unwrap_or_default).collect();

        let mut steps = Vec::new();
        let mut fresh = Vec::new();
        let shared = self.shared_devices();
        for (at, (l2, vlan)) in group.iter().zip(&vlans).enumerate() {
            if fates[at].failed.is_some() {
                continue;
            }
            let Plan { steps: needed, problems } = self.now(|now| devices::plan_vni(l2, *vlan, now));
            fates[at].problem = problems.into_iter().next();
            let new = needed.iter().any(|step| matches!(step, Step::Map { .. }));
            // A mapping that goes takes no rows with it.
            if new
                && !self.base.vnis.contains_key(&l2.vni)
                && self.vlans.members(*vlan).next().is_none()
                && shared.1.is_some_and(|vxlan| !self.is_left(l2.vni, vxlan, *vlan))
            {
                fresh.push(l2.vni);
            }
            steps.extend(needed.into_iter().map(|step| (at, step)));
        }
        steps.extend(self.releases().into_iter().map(|step| (0, step)));
        self.edit(steps, &mut fates);
        self.fresh.extend(fresh);

        let mut outcomes = Vec::with_capacity(put);
        for ((l2, vlan), fate) in group.iter().zip(vlans).zip(fates) {
            outcomes.push(self.settle(l2, vlan, fate));
        }
        outcomes.truncate(put);
        outcomes
    }

    /// Takes in what became of a VNI.
    fn settle(&mut self, l2: &L2Vni, vlan: u16, fate: Fate) -> Outcome {
        let vni = l2.vni;
        let place = self.place(l2, vlan).filter(|_| fate.failed.is_none());
        let Some(at) = place else {
            self.fresh.remove(&vni);
            self.waiting.insert(vni);
            let gone = || {
                let action = format!("set up VNI {vni}");
                Error::new(ErrorKind::NoDevice, action, "the shared devices went away meanwhile")
            };
            return Outcome::Failed(fate.failed.unwrap_or_else(gone));
        };
        self.stands(l2, at);
        self.base.claim(l2, at.bridge);
        self.made.insert(vni);
        self.waiting.remove(&vni);
        if fate.undone.is_empty() {
            self.undone.remove(&vni);
        } else {
            self.undone.insert(vni, fate.undone);
        }
        fate.partly.or(fate.problem).map_or(Outcome::Done, Outcome::Partly)
    }

    /// Interfaces are known by name before they are there, so that their coming is noticed.
    fn watch(&mut self, group: &[L2Vni]) {
        let again: HashSet<Vni, RandomState> = group.iter().map(|l2| l2.vni).collect();
        self.base.by_name.retain(|_, vni| !again.contains(vni));
        for l2 in group {
            for name in &l2.interfaces {
                // What cannot be read is found out when it is attached.
                let _ = self.base.read_link(name);
                self.base.by_name.entry(name.clone()).or_insert(l2.vni);
            }
        }
    }

    /// Ports of the bridge that were attached here and that no VNI wants any more.
    fn releases(&self) -> Vec<Step> {
        let (bridge, vxlan) = self.shared_devices();
        let Some(bridge) = bridge.and_then(|index| self.base.links.get(index)) else { return Vec::new() };
        let gone = self.base.ports.indices().filter_map(|index| self.base.links.get(index)).filter(|link| {
            link.master == Some(bridge.index)
                && Some(link.index) != vxlan
                && self.base.ports.may_go(link)
                && !self.base.by_name.contains_key(&link.name)
        });
        gone.map(|port| Step::Release { port: port.name.clone(), bridge: bridge.name.clone() }).collect()
    }

    /// VNIs that get other VLANs than they had, in this run or an earlier one: what is in the old ones goes.
    fn leave_vlans(&mut self, group: &[L2Vni], vlans: &[Result<u16, Error>], standing: &Rows) {
        let leaves = |(l2, vlan): &(&L2Vni, &Result<u16, Error>)| {
            let before = self.place_of(l2.vni).and_then(|at| at.vlan);
            vlan.as_ref().is_ok_and(|vlan| before.is_some_and(|before| before != *vlan))
        };
        let leaving: Vec<Vni> = group.iter().zip(vlans).filter(leaves).map(|(l2, _)| l2.vni).collect();
        self.empty(&leaving, standing);
    }

    /// Empties the VLANs of VNIs that leave them.
    fn empty(&mut self, leaving: &[Vni], standing: &Rows) {
        if let Err(error) = self.vacate(leaving, false, standing) {
            tracing::warn!(%error, "rows in VLANs that were given up");
        }
    }

    /// What ops would do. They are all that is wanted: each VNI has its say before the shared devices are planned.
    pub(super) fn describe_ops(&mut self, ops: &[Op]) -> Vec<plane::Step> {
        let vnis = ops.iter().filter_map(|op| match op {
            Op::Put(Row::Vni(l2)) => Some(l2),
            _ => None,
        });
        self.suppression = Suppression::default();
        for l2 in vnis {
            self.underlay = (l2.vtep, l2.port);
            self.suppression.hear(l2);
        }
        let mut overlay = self.plan_overlay();
        let limit = self.limit().map(|limit| plane::Step::new(Action::Cannot, Thing::Device, limit));
        let mut lines = Vec::from_iter(limit);
        for op in ops {
            match op {
                Op::Put(Row::Vni(l2)) => self.describe_vni(l2, &mut overlay, &mut lines),
                Op::Remove(vni) => {
                    let planned = |step: &Step| plane::Step::device(step.action(), *vni, step);
                    lines.extend(self.removal(*vni).iter().map(planned));
                }
                _ => lines.push(plane::Step::of(op)),
            }
        }
        lines
    }

    /// What putting a VNI would do; the first one has the shared devices made.
    fn describe_vni(
        &mut self,
        l2: &L2Vni,
        overlay: &mut Result<Vec<Step>, Error>,
        lines: &mut Vec<plane::Step>,
    ) {
        let vni = l2.vni;
        let cannot = |error: &Error| plane::Step::cannot(vni, error);
        let planned = |step: &Step| plane::Step::device(step.action(), vni, step);
        if self.base.config.discover {
            if self.discovered(vni).is_none() {
                lines.push(cannot(&self.not_found(vni)));
            }
            return;
        }
        self.watch(std::slice::from_ref(l2));
        match overlay {
            Ok(steps) => lines.extend(std::mem::take(steps).iter().map(planned)),
            Err(error) => return lines.push(cannot(error)),
        }
        match self.assign(&mut vec![l2.clone()]).into_iter().next() {
            Some(Ok(vlan)) => {
                let plan = self.now(|now| devices::plan_vni(l2, vlan, now));
                lines.extend(plan.steps.iter().map(planned));
                lines.extend(plan.problems.iter().map(cannot));
            }
            Some(Err(error)) => lines.push(cannot(&error)),
            None => {}
        }
    }
}
