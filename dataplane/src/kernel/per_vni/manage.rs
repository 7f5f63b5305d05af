//! Bringing devices into their shape: executes what [`super::devices`] plans, and reads back what came of it.

use std::fs;

use types::Vni;

use super::super::ROUNDS;
use super::super::base::Placed;
use super::super::wire::{NLM_F_CREATE, NLM_F_EXCL, RTM_DELLINK, RTM_NEWLINK, RTM_SETLINK};
use super::super::{links, marks};
use super::devices::{self, Step};
use super::{Kernel, Place, place};
use crate::backend::{Device, Error, ErrorKind, Fact, Outcome};
use crate::intent::L2Vni;

impl Kernel {
    pub(super) fn plan(&self, l2: &L2Vni) -> Result<devices::Plan, Error> {
        devices::plan(l2, &self.base.config, &self.base.links, &|link| self.base.ports.may_go(link))
    }

    /// Takes away what an earlier run made for the other layout: its VXLAN device and ours cannot both be up.
    pub(super) fn make_room(&mut self) -> Result<(), Error> {
        let plan = |kernel: &Self| devices::make_room(&kernel.base.config, &kernel.base.links);
        let mut steps = plan(self);
        if steps.is_empty() {
            return Ok(());
        }
        // The tables on the bridge are gone by then, some thousands perhaps.
        for step in steps.iter().take(2) {
            self.execute(step, &marks::unknown(Vni::ZERO)).or_else(gone_is_fine)?;
        }
        self.base.read_links()?;
        steps = plan(self);
        steps.iter().try_for_each(|step| self.execute(step, &marks::unknown(Vni::ZERO)).or_else(gone_is_fine))
    }

    /// Brings the devices of a VNI into their shape. The error in `Ok` is what keeps some port from being attached.
    pub(super) fn put_devices(&mut self, l2: &L2Vni) -> Result<Option<Error>, Error> {
        // Known by name before they are there: so their coming is noticed.
        for name in l2.interfaces.iter().cloned().chain(self.names_of(l2.vni)) {
            self.base.read_link(&name)?;
            self.base.by_name.insert(name, l2.vni);
        }
        let mut last = Vec::new();
        let mut unattached = None;
        self.fresh.remove(&l2.vni);
        for _ in 0..ROUNDS {
            let plan = self.plan(l2)?;
            let made = |step: &&Step| matches!(step, Step::CreateBridge { .. } | Step::CreateVxlan { .. });
            if plan.steps.iter().filter(made).count() == 2 {
                self.fresh.insert(l2.vni);
            }
            if plan.steps.is_empty() || plan.steps == last {
                return Ok(self.devices_stand(l2, plan)?.map(|problem| unattached.unwrap_or(problem)));
            }
            for step in &plan.steps {
                match self.execute(step, l2) {
                    // One port that cannot be attached must not take the others with it.
                    Err(error)
                        if error.kind != ErrorKind::Permission
                            && l2.interfaces.iter().any(|name| step.is_about_port(name)) =>
                    {
                        unattached.get_or_insert(error);
                    }
                    result => result?,
                }
            }
            last = plan.steps;
        }
        let plan = self.plan(l2)?;
        self.devices_stand(l2, plan)
    }

    pub(super) fn devices_stand(&mut self, l2: &L2Vni, plan: devices::Plan) -> Result<Option<Error>, Error> {
        let find = |name: &str| self.base.links.named(name).map(|link| link.index);
        let (Some(bridge), Some(vxlan)) = (find(&plan.bridge), find(&plan.vxlan)) else {
            let action = format!("set up the devices of VNI {}", l2.vni);
            return Err(Error::new(ErrorKind::NoDevice, action, "they went away meanwhile"));
        };
        self.forget(l2.vni);
        let names =
            l2.interfaces.iter().cloned().chain([plan.bridge, plan.vxlan]).chain(self.names_of(l2.vni));
        let names = names.collect();
        self.base.stands(l2, place(bridge, vxlan), &[bridge, vxlan], names);
        self.base.claim(l2, bridge);
        if let Some(problem) = plan.problems.into_iter().next() {
            return Ok(Some(problem));
        }
        Ok(plan.steps.into_iter().next().map(|step| {
            let reason = "the kernel accepted it, and it is not so; another program may be at work";
            Error::new(ErrorKind::Other, step.to_string(), reason)
        }))
    }

    pub(super) fn names_of(&self, vni: Vni) -> [String; 2] {
        [self.base.config.bridge_name(vni), self.base.config.vxlan_name(vni)]
    }

    pub(super) fn forget(&mut self, vni: Vni) {
        self.base.forget(vni, &self.names_of(vni));
    }

    /// Reads the links of a VNI anew.
    pub(super) fn refresh(&mut self, vni: Vni) -> Result<(), Error> {
        let names = self
            .base
            .vnis
            .get(&vni)
            .map_or_else(|| self.names_of(vni).to_vec(), |placed| placed.names.clone());
        names.iter().try_for_each(|name| self.base.read_link(name))
    }

    /// Does one step, and reads back what it changed.
    pub(super) fn execute(&mut self, step: &Step, l2: &L2Vni) -> Result<(), Error> {
        let mut batch = std::mem::take(&mut self.base.batch);
        batch.clear();
        // Failures of these messages do not matter.
        let mut optional = usize::MAX;
        let create = NLM_F_CREATE | NLM_F_EXCL;
        let changed = match step {
            Step::CreateBridge { name } | Step::CreateVxlan { name } => {
                let message = if matches!(step, Step::CreateBridge { .. }) {
                    links::new_bridge(name, marks::bridge_address(l2.vni, l2.vtep), false)
                } else {
                    links::new_vxlan(name, Some(l2.vni), l2.vtep, l2.port)
                };
                links::push(&mut batch, RTM_NEWLINK, create, &message);
                // In the same datagram, so that no kill -9 falls between a device and its mark.
                let mark = links::set_alias(name, &marks::alias(l2.vni));
                links::push(&mut batch, RTM_SETLINK, 0, &mark);
                // Where IPv6 is off, there is nothing to turn off.
                optional = batch.len();
                links::push(&mut batch, RTM_SETLINK, 0, &links::set_no_link_local(name));
                name
            }
            Step::SetLocal { name } => {
                let index = self.base.index(name, step)?;
                links::push(&mut batch, RTM_NEWLINK, 0, &links::set_local(index, l2.vni, l2.vtep));
                name
            }
            Step::StopLearning { name } => {
                let index = self.base.index(name, step)?;
                let message = links::set_vxlan_learning(index, l2.vni, false);
                links::push(&mut batch, RTM_NEWLINK, 0, &message);
                name
            }
            Step::Attach { port, bridge } => {
                let (index, master) = (self.base.index(port, step)?, self.base.index(bridge, step)?);
                links::push(&mut batch, RTM_SETLINK, 0, &links::set_master(index, master));
                self.base.attaches(index, master);
                port
            }
            Step::SetPort { name, port } => {
                let index = self.base.index(name, step)?;
                links::push(&mut batch, RTM_NEWLINK, 0, &links::set_port(index, *port));
                name
            }
            Step::Up { name } => {
                links::push(&mut batch, RTM_SETLINK, 0, &links::set_up(self.base.index(name, step)?));
                name
            }
            Step::Release { port, .. } => {
                links::push(&mut batch, RTM_SETLINK, 0, &links::set_master(self.base.index(port, step)?, 0));
                port
            }
            Step::Delete { name } => {
                links::push(&mut batch, RTM_DELLINK, 0, &links::delete(self.base.index(name, step)?));
                name
            }
        };
        self.base.batch = batch;
        let mut result = self.base.change_link(step, changed, optional);
        if let Step::Up { name } = step {
            result = result.map_err(|error| self.base.name_rival(name, error));
        }
        if let (Step::Attach { port, .. }, Err(error)) = (step, &result) {
            self.base.unattachable(port, error);
        }
        if let (Step::Release { port, .. }, Ok(())) = (step, &result) {
            self.base.released(port);
        }
        if let (Step::CreateVxlan { name }, Ok(())) = (step, &result) {
            // A bridge port needs no IPv6 of its own, and its route for ff00::/8 is looked at whenever any device is set up
            // or goes: of 4,000 that is a third of the time. Not permitted, or IPv6 is off: then it costs that.
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
        }
        result
    }

    /// Takes VNIs away: our rows out of devices that are not ours, and the devices that are.
    pub(super) fn remove(&mut self, vnis: &[Vni], outcomes: &mut Vec<Outcome>) {
        let start = outcomes.len();
        let mut gone = Vec::new();
        for &vni in vnis {
            outcomes.push(match self.vacate(vni) {
                Ok(names) => {
                    gone.extend(names);
                    Outcome::Done
                }
                Err(error) => Outcome::Failed(error),
            });
        }
        // Some 60 ms a VNI, one by one.
        if gone.len() > 4 {
            self.base.delete_together(&gone);
        }
        for (vni, outcome) in vnis.iter().zip(&mut outcomes[start..]) {
            if *outcome == Outcome::Done {
                match self.delete_devices(*vni) {
                    Ok(()) => self.forget(*vni),
                    Err(error) => *outcome = Outcome::Failed(error),
                }
            }
        }
    }

    /// Does all of a removal but the deletion of devices; tells the names of those.
    fn vacate(&mut self, vni: Vni) -> Result<Vec<String>, Error> {
        self.refresh(vni)?;
        if let Some(Placed { at, .. }) = self.base.vnis.get(&vni)
            && self.base.links.get(at.vxlan).is_some_and(|link| marks::owned(link).is_none())
        {
            self.remove_rows(vni, *at)?;
        }
        let mut names = Vec::new();
        for step in self.plan_removal(vni) {
            match step {
                Step::Delete { name } => names.push(name),
                step => self.execute(&step, &marks::unknown(vni)).or_else(gone_is_fine)?,
            }
        }
        Ok(names)
    }

    fn remove_rows(&mut self, vni: Vni, at: Place) -> Result<(), Error> {
        let mut rows = Vec::new();
        self.observe_all(vni, at, &mut |fact| {
            if let Fact::Row { row, own: true } = fact {
                rows.push(row);
            }
        })?;
        self.base.take_away(rows)
    }

    pub(super) fn plan_removal(&self, vni: Vni) -> Vec<Step> {
        devices::plan_removal(vni, &self.base.config, &self.base.links, &|link| {
            self.base.ports.contains(link)
        })
    }

    fn delete_devices(&mut self, vni: Vni) -> Result<(), Error> {
        for step in self.plan_removal(vni) {
            self.execute(&step, &marks::unknown(vni)).or_else(gone_is_fine)?;
        }
        Ok(())
    }

    /// Are the devices as they were put, as far as is known?
    pub(super) fn state(&self, placed: &Placed) -> Device {
        let at = placed.at;
        if self.base.links.get(at.bridge).is_none() || self.base.links.get(at.vxlan).is_none() {
            return Device::Missing;
        }
        // What the kernel refused as a port keeps nothing else from working; it is tried again in time.
        let in_vain = |step: &Step| {
            placed
                .l2
                .interfaces
                .iter()
                .any(|name| step.is_about_port(name) && self.base.is_unattachable(name))
                // Nor does one that is there still.
                || matches!(step, Step::Release { .. })
        };
        match self.plan(&placed.l2) {
            Ok(plan) if plan.steps.iter().all(in_vain) => {
                let same = |name: &str, index| self.base.links.named(name).is_some_and(|l| l.index == index);
                if same(&plan.bridge, at.bridge) && same(&plan.vxlan, at.vxlan) {
                    Device::Right
                } else {
                    Device::Wrong
                }
            }
            _ => Device::Wrong,
        }
    }
}

/// What was to be taken away is gone already.
fn gone_is_fine(error: Error) -> Result<(), Error> {
    if error.kind == ErrorKind::NoDevice { Ok(()) } else { Err(error) }
}
