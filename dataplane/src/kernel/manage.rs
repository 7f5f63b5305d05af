//! Bringing devices into their shape: executes what [`super::devices`] plans, and reads back what came of it.

use std::net::{IpAddr, Ipv4Addr};

use rustix::io::Errno;
use types::Vni;

use super::devices::{self, Step};
use super::links::{self, Link, Links};
use super::rows::Indexes;
use super::socket::{Complete, Refusal};
use super::wire::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK, RTM_SETLINK};
use super::{BATCH, Kernel, ROUNDS, VniDevices, refused};
use crate::backend::{Device, Error, ErrorKind, Fact, Outcome};
use crate::intent::L2Vni;
use crate::plan::Op;

/// The first number tried for the group in which devices are deleted together.
const DELETE_GROUP: u32 = 0x6576_706e;

impl Kernel {
    pub(super) fn read_links(&mut self) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            let mut links = Links::default();
            links::push(&mut self.batch, RTM_GETLINK, NLM_F_DUMP, &links::get(None));
            let complete = self
                .requests
                .ask(&mut self.batch, &mut |m| {
                    if let Some(link) = Link::parse(m.body) {
                        links.insert(link);
                    }
                })
                .map_err(|refusal| refused("list interfaces".into(), refusal))?;
            self.links = links;
            if complete == Complete::Yes {
                break;
            }
        }
        Ok(())
    }

    /// Reads one link anew.
    pub(super) fn read_link(&mut self, name: &str) -> Result<(), Error> {
        let mut found = None;
        links::push(&mut self.batch, RTM_GETLINK, 0, &links::get(Some(name)));
        match self.requests.ask(&mut self.batch, &mut |m| found = Link::parse(m.body).or(found.take())) {
            Err(refusal) if refusal.errno != Errno::NODEV => {
                return Err(refused(format!("look at interface {name}"), refusal));
            }
            _ => {}
        }
        match found {
            Some(link) => self.links.insert(link),
            None => self.links.remove_name(name),
        }
        Ok(())
    }

    pub(super) fn plan(&self, l2: &L2Vni) -> Result<devices::Plan, Error> {
        devices::plan(l2, &self.config, &self.links, &|name| self.attached.contains(name))
    }

    /// Brings the devices of a VNI into their shape. The error in `Ok` is what keeps some port from being attached.
    pub(super) fn put_devices(&mut self, l2: &L2Vni) -> Result<Option<Error>, Error> {
        // Known by name before they are there: so their coming is noticed.
        for name in l2.interfaces.iter().cloned().chain(self.names_of(l2.vni)) {
            self.read_link(&name)?;
            self.by_name.insert(name, l2.vni);
        }
        let mut last = Vec::new();
        let mut unattached = None;
        for _ in 0..ROUNDS {
            let plan = self.plan(l2)?;
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
        let find = |name: &str| self.links.named(name).map(|link| link.index);
        let (Some(bridge), Some(vxlan)) = (find(&plan.bridge), find(&plan.vxlan)) else {
            let action = format!("set up the devices of VNI {}", l2.vni);
            return Err(Error::new(ErrorKind::NoDevice, action, "they went away meanwhile"));
        };
        self.forget(l2.vni);
        let names: Vec<String> = l2
            .interfaces
            .iter()
            .cloned()
            .chain([plan.bridge, plan.vxlan])
            .chain(self.names_of(l2.vni))
            .collect();
        for name in &names {
            self.by_name.insert(name.clone(), l2.vni);
        }
        self.by_index.insert(bridge, l2.vni);
        self.by_index.insert(vxlan, l2.vni);
        self.vnis.insert(l2.vni, VniDevices { l2: l2.clone(), at: Indexes { bridge, vxlan }, names });
        if let Some(problem) = plan.problems.into_iter().next() {
            return Ok(Some(problem));
        }
        Ok(plan.steps.into_iter().next().map(|step| {
            let reason = "the kernel accepted it, and it is not so; another program may be at work";
            Error::new(ErrorKind::Other, step.to_string(), reason)
        }))
    }

    pub(super) fn names_of(&self, vni: Vni) -> [String; 2] {
        [self.config.bridge_name(vni), self.config.vxlan_name(vni)]
    }

    pub(super) fn forget(&mut self, vni: Vni) {
        let mut names = self.names_of(vni).to_vec();
        if let Some(devices) = self.vnis.remove(&vni) {
            self.by_index.remove(&devices.at.bridge);
            self.by_index.remove(&devices.at.vxlan);
            names.extend(devices.names);
        }
        for name in names {
            if self.by_name.get(&name) == Some(&vni) {
                self.by_name.remove(&name);
            }
        }
    }

    /// Reads the links of a VNI anew.
    pub(super) fn refresh(&mut self, vni: Vni) -> Result<(), Error> {
        let names = self.vnis.get(&vni).map_or_else(|| self.names_of(vni).to_vec(), |d| d.names.clone());
        names.iter().try_for_each(|name| self.read_link(name))
    }

    pub(super) fn index(&self, name: &str, step: &Step) -> Result<u32, Error> {
        self.links.named(name).map(|link| link.index).ok_or_else(|| {
            Error::new(ErrorKind::NoDevice, step.to_string(), format!("there is no interface {name}"))
        })
    }

    /// Does one step, and reads back what it changed.
    pub(super) fn execute(&mut self, step: &Step, l2: &L2Vni) -> Result<(), Error> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        // Failures of these messages do not matter.
        let mut optional = usize::MAX;
        let create = NLM_F_CREATE | NLM_F_EXCL;
        let changed = match step {
            Step::CreateBridge { name } | Step::CreateVxlan { name } => {
                let message = if matches!(step, Step::CreateBridge { .. }) {
                    links::new_bridge(name, devices::bridge_address(l2.vni, l2.vtep))
                } else {
                    links::new_vxlan(name, l2.vni, l2.vtep, l2.port)
                };
                links::push(&mut batch, RTM_NEWLINK, create, &message);
                // In the same datagram, so that no kill -9 falls between a device and its mark.
                let mark = links::set_alias(name, &devices::alias(l2.vni));
                links::push(&mut batch, RTM_SETLINK, 0, &mark);
                // Where IPv6 is off, there is nothing to turn off.
                optional = batch.len();
                links::push(&mut batch, RTM_SETLINK, 0, &links::set_no_link_local(name));
                name
            }
            Step::SetLocal { name } => {
                let index = self.index(name, step)?;
                links::push(&mut batch, RTM_NEWLINK, 0, &links::set_local(index, l2.vni, l2.vtep));
                name
            }
            Step::StopLearning { name } => {
                let index = self.index(name, step)?;
                let message = links::set_vxlan_learning(index, l2.vni, false);
                links::push(&mut batch, RTM_NEWLINK, 0, &message);
                name
            }
            Step::Attach { port, bridge } => {
                let (index, master) = (self.index(port, step)?, self.index(bridge, step)?);
                links::push(&mut batch, RTM_SETLINK, 0, &links::set_master(index, master));
                self.attached.insert(port.clone());
                port
            }
            Step::SetPort { name, port } => {
                let index = self.index(name, step)?;
                links::push(&mut batch, RTM_NEWLINK, 0, &links::set_port(index, *port));
                name
            }
            Step::Up { name } => {
                links::push(&mut batch, RTM_SETLINK, 0, &links::set_up(self.index(name, step)?));
                name
            }
            Step::Release { port, .. } => {
                links::push(&mut batch, RTM_SETLINK, 0, &links::set_master(self.index(port, step)?, 0));
                self.attached.remove(port);
                port
            }
            Step::Delete { name } => {
                links::push(&mut batch, RTM_DELLINK, 0, &links::delete(self.index(name, step)?));
                name
            }
        };
        let mut failure = None;
        let sent = self.requests.batch(&mut batch, &mut |place, answer| {
            if place < optional && failure.is_none() {
                failure = answer.err();
            }
        });
        self.batch = batch;
        let failure = sent.err().map(Refusal::from).or(failure);
        self.read_link(changed)?;
        let Some(refusal) = failure else { return Ok(()) };
        let error = refused(step.to_string(), refusal);
        if let Step::Attach { port, .. } = step {
            self.attached.remove(port);
            if let Some(link) = self.links.named(port) {
                self.refused.insert(port.clone(), (link.clone(), error.to_string()));
            }
        }
        Err(error)
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
        // One by one, each deletion waits for every CPU: some 60 ms a VNI. Those of a group wait together.
        if gone.len() > 4 {
            self.delete_together(&gone);
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
        if let Some(VniDevices { at, .. }) = self.vnis.get(&vni)
            && self.links.get(at.vxlan).is_some_and(|link| devices::owned(link).is_none())
        {
            self.remove_rows(vni, *at)?;
        }
        let mut names = Vec::new();
        for step in self.plan_removal(vni) {
            match step {
                Step::Delete { name } => names.push(name),
                step => self.execute(&step, &nothing(vni)).or_else(gone_is_fine)?,
            }
        }
        Ok(names)
    }

    fn remove_rows(&mut self, vni: Vni, at: Indexes) -> Result<(), Error> {
        let mut ops = Vec::new();
        self.observe_all(vni, at, &mut |fact| {
            if let Fact::Row { row, own: true } = fact {
                ops.push(Op::Del(row));
            }
        })?;
        let mut outcomes = Vec::new();
        self.apply_rows(&ops, &mut outcomes);
        let failed = |outcome| match outcome {
            Outcome::Failed(error) | Outcome::Partly(error) => Some(error),
            Outcome::Done => None,
        };
        outcomes.into_iter().find_map(failed).map_or(Ok(()), Err)
    }

    pub(super) fn plan_removal(&self, vni: Vni) -> Vec<Step> {
        devices::plan_removal(vni, &self.config, &self.links, &|name| self.attached.contains(name))
    }

    fn delete_devices(&mut self, vni: Vni) -> Result<(), Error> {
        for step in self.plan_removal(vni) {
            self.execute(&step, &nothing(vni)).or_else(gone_is_fine)?;
        }
        Ok(())
    }

    /// Deletes devices in one go, by putting them into a group nobody is in. Where that fails, nothing is lost: each
    /// is then deleted by itself.
    fn delete_together(&mut self, names: &[String]) {
        let taken = |group| self.links.iter().any(|link| link.group == group);
        let Some(group) = (DELETE_GROUP..DELETE_GROUP + 64).find(|group| !taken(*group)) else { return };
        let mut refusal = None;
        for names in names.chunks(BATCH) {
            self.batch.clear();
            for index in names.iter().filter_map(|name| Some(self.links.named(name)?.index)) {
                links::push(&mut self.batch, RTM_SETLINK, 0, &links::set_group(index, group));
            }
            let sent = self
                .requests
                .batch(&mut self.batch, &mut |_, answer| refusal = answer.err().or(refusal.take()));
            refusal = sent.err().map(Refusal::from).or(refusal);
        }
        self.batch.clear();
        links::push(&mut self.batch, RTM_DELLINK, 0, &links::set_group(0, group));
        let sent =
            self.requests.batch(&mut self.batch, &mut |_, answer| refusal = answer.err().or(refusal.take()));
        if sent.is_err() || refusal.is_some() {
            tracing::debug!(?refusal, "devices are deleted one by one");
        }
        for name in names {
            // What cannot be read is found out by the deletion that follows.
            let _ = self.read_link(name);
        }
    }

    /// Are the devices as they were put, as far as is known?
    pub(super) fn state(&self, devices: &VniDevices) -> Device {
        let at = devices.at;
        if self.links.get(at.bridge).is_none() || self.links.get(at.vxlan).is_none() {
            return Device::Missing;
        }
        match self.plan(&devices.l2) {
            Ok(plan) if plan.steps.is_empty() => {
                let same = |name: &str, index| self.links.named(name).is_some_and(|l| l.index == index);
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

/// A VNI about which nothing is known but its number: enough to take its devices away.
const fn nothing(vni: Vni) -> L2Vni {
    L2Vni {
        vni,
        vtep: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        port: 0,
        interfaces: Vec::new(),
        arp_suppression: false,
        vlan: None,
    }
}

/// What was to be taken away is gone already.
fn gone_is_fine(error: Error) -> Result<(), Error> {
    if error.kind == ErrorKind::NoDevice { Ok(()) } else { Err(error) }
}
