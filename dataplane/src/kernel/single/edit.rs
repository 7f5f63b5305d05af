//! Doing what many VNIs need in few messages.
//!
//! A message about a thousand VLANs is done up to the first that the kernel refuses. Then what stands is read again, and
//! what does not is tried by halves, until the one that cannot be had stands alone and all others are there.

use rustix::io::Errno;
use types::Vni;

use super::super::links;
use super::super::refused;
use super::super::socket::Refusal;
use super::super::wire::{RTM_DELLINK, RTM_SETLINK};
use super::SingleDevice;
use super::codec::{self, ENTRIES, Entry, RTM_DELTUNNEL, RTM_NEWTUNNEL};
use super::devices::Step;
use crate::backend::{Error, ErrorKind};

/// What became of a VNI.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// It does not stand.
    pub(super) failed: Option<Error>,
    /// It stands, without this.
    pub(super) partly: Option<Error>,
    /// What could not even be tried.
    pub(super) problem: Option<Error>,
    /// The steps that failed.
    pub(super) undone: Vec<Step>,
}

impl Fate {
    pub(super) fn of(error: Option<&Error>) -> Self {
        Self { failed: error.cloned(), ..Self::default() }
    }

    /// A step failed: without it there is no VNI, or less of one.
    pub(super) fn fail(&mut self, step: &Step, error: Error) {
        let vital = matches!(step, Step::Map { .. } | Step::Unmap { .. } | Step::Admit { .. })
            || error.kind == ErrorKind::Permission;
        let place = if vital { &mut self.failed } else { &mut self.partly };
        place.get_or_insert(error);
        self.undone.push(step.clone());
    }
}

/// A step of the VNI at this place in the group.
pub(super) type Item = (usize, Step);

/// The order in which kinds of steps are done: what goes makes room for what comes.
const fn stage(step: &Step) -> u8 {
    match step {
        Step::Release { .. } => 0,
        Step::Delete { .. } => 1,
        Step::Dismiss { .. } => 2,
        Step::Unmap { .. } => 3,
        Step::Map { .. } => 4,
        Step::Admit { .. } => 5,
        Step::Suppress { on: false, .. } => 6,
        Step::Suppress { on: true, .. } => 7,
        Step::CreateTable { .. } => 8,
        // In the order they were planned.
        _ => 9,
    }
}

/// The VLAN and the VNI a step is about, which are what is written.
const fn subject(step: &Step) -> Option<(u16, Vni)> {
    match step {
        Step::Map { vlan, vni, .. } | Step::Unmap { vlan, vni, .. } | Step::Suppress { vlan, vni, .. } => {
            Some((*vlan, *vni))
        }
        Step::Admit { vni, .. } | Step::Dismiss { vni, .. } => Some((0, *vni)),
        _ => None,
    }
}

impl SingleDevice {
    /// Does the steps of a group.
    pub(super) fn edit(&mut self, mut steps: Vec<Item>, fates: &mut [Fate]) {
        steps.sort_by_key(|(_, step)| stage(step));
        for run in steps.chunk_by_mut(|(_, a), (_, b)| stage(a) == stage(b)) {
            match &run[0].1 {
                Step::Release { .. } => self.one_by_one(run, fates),
                Step::Delete { .. } => {
                    self.delete_first(run.iter().map(|(_, step)| step));
                    self.one_by_one(run, fates);
                }
                Step::Map { .. }
                | Step::Unmap { .. }
                | Step::Admit { .. }
                | Step::Dismiss { .. }
                | Step::Suppress { .. } => {
                    // In order, consecutive ones become ranges.
                    run.sort_by_key(|(_, step)| subject(step));
                    run.chunks(ENTRIES).for_each(|part| self.part(part, fates));
                }
                Step::CreateTable { .. } => self.create_tables(run, fates),
                _ => self.set_ports(run, fates),
            }
        }
    }

    fn one_by_one(&mut self, items: &[Item], fates: &mut [Fate]) {
        for (at, step) in items {
            match self.execute(step) {
                Err(error) if error.kind != ErrorKind::NoDevice => fates[*at].fail(step, error),
                _ => {}
            }
        }
    }

    /// Mappings, what they say of ARP, or entries of a VNI filter: all in one message.
    fn part(&mut self, items: &[Item], fates: &mut [Fate]) {
        let Some((_, kind)) = items.first() else { return };
        let Some(vxlan) = self.shared_devices().1 else { return };
        let subjects: Vec<(u16, Vni)> = {
            let mut all: Vec<_> = items.iter().filter_map(|(_, step)| subject(step)).collect();
            all.dedup();
            all
        };
        let vnis = || subjects.iter().map(|(_, vni)| *vni).collect::<Vec<_>>();
        let vlans = || subjects.iter().map(|(vlan, _)| (*vlan, Entry::default())).collect::<Vec<_>>();
        let batch = &mut self.base.batch;
        batch.clear();
        match kind {
            Step::Map { .. } => codec::change_vlans(RTM_SETLINK, vxlan, &vlans(), &subjects, batch),
            // The mapping goes with the VLAN.
            Step::Unmap { .. } => codec::change_vlans(RTM_DELLINK, vxlan, &vlans(), &[], batch),
            Step::Suppress { on, .. } => {
                let vlans: Vec<u16> = subjects.iter().map(|(vlan, _)| *vlan).collect();
                codec::change_suppression(vxlan, &vlans, *on, batch);
            }
            Step::Admit { .. } => codec::change_filter(RTM_NEWTUNNEL, vxlan, &vnis(), batch),
            _ => codec::change_filter(RTM_DELTUNNEL, vxlan, &vnis(), batch),
        }
        let Some(refusal) = self.send() else {
            for (_, step) in items {
                self.believe(vxlan, step);
            }
            return;
        };
        let read = match kind {
            Step::Admit { .. } | Step::Dismiss { .. } => self.read_filter(vxlan),
            _ => self.read_vlans_of(vxlan),
        };
        let left: Vec<Item> = items.iter().filter(|(_, step)| !self.holds(vxlan, step)).cloned().collect();
        if left.len() > 1 && read.is_ok() && !matches!(refusal.errno, Errno::PERM | Errno::ACCESS) {
            let (first, second) = left.split_at(left.len() / 2);
            self.part(first, fates);
            self.part(second, fates);
            return;
        }
        for (at, step) in left {
            fates[at].fail(&step, refused(step.to_string(), refusal.clone()));
        }
    }

    /// Sends the batch; what was refused of it first.
    pub(super) fn send(&mut self) -> Option<Refusal> {
        let mut refusal = None;
        let sent = self.base.requests.batch(&mut self.base.batch, &mut |_, answer| {
            if refusal.is_none() {
                refusal = answer.err();
            }
        });
        sent.err().map(Refusal::from).or(refusal)
    }

    /// The kernel did it: so it is now.
    fn believe(&mut self, vxlan: u32, step: &Step) {
        match step {
            Step::Map { vlan, vni, .. } => {
                let suppress = self.vlans.get(vxlan, *vlan).is_some_and(|before| before.suppress);
                self.vlans.set(vxlan, *vlan, Entry { suppress, ..Entry::mapping(*vni) });
            }
            Step::Suppress { vlan, on, .. } => {
                if let Some(entry) = self.vlans.get(vxlan, *vlan) {
                    self.vlans.set(vxlan, *vlan, Entry { suppress: *on, ..entry });
                }
            }
            Step::Unmap { vlan, .. } => self.vlans.unset(vxlan, *vlan),
            Step::Admit { vni, .. } => {
                self.filters.entry(vxlan).or_default().insert(vni.get(), vni.get());
            }
            Step::Dismiss { vni, .. } => {
                self.filters.entry(vxlan).or_default().remove(vni.get(), vni.get());
            }
            _ => {}
        }
    }

    /// Is it so now?
    fn holds(&self, vxlan: u32, step: &Step) -> bool {
        let entry = |vlan: &u16| self.vlans.get(vxlan, *vlan);
        let admitted = |vni: &Vni| self.filters.get(&vxlan).is_some_and(|filter| filter.contains(*vni));
        match step {
            Step::Map { vlan, vni, .. } => entry(vlan).is_some_and(|entry| entry.is(Entry::mapping(*vni))),
            Step::Unmap { vlan, .. } => entry(vlan).is_none(),
            Step::Suppress { vlan, on, .. } => entry(vlan).is_some_and(|entry| entry.suppress == *on),
            Step::Admit { vni, .. } => admitted(vni),
            Step::Dismiss { vni, .. } => !admitted(vni),
            _ => false,
        }
    }

    /// Attaches ports and sets their VLANs: what one needs, in one datagram.
    fn set_ports(&mut self, items: &[Item], fates: &mut [Fate]) {
        let port = |step: &Step| match step {
            Step::Attach { port: name, .. } | Step::Access { port: name, .. } | Step::Up { name } => {
                name.clone()
            }
            _ => String::new(),
        };
        for steps in items.chunk_by(|(_, a), (_, b)| port(a) == port(b)) {
            if let Err((step, error)) = self.set_port(&port(&steps[0].1), steps) {
                fates[steps[0].0].fail(&step, error);
                // What would have followed is not missed either.
                fates[steps[0].0].undone.extend(steps.iter().map(|(_, step)| step.clone()));
            }
        }
    }

    fn set_port(&mut self, name: &str, steps: &[Item]) -> Result<(), (Step, Error)> {
        let mut owners = Vec::new();
        let mut batch = std::mem::take(&mut self.base.batch);
        batch.clear();
        let mut vlan_set = None;
        for (_, step) in steps {
            let index = self.base.index(name, step).map_err(|error| (step.clone(), error))?;
            match step {
                Step::Attach { bridge, .. } => {
                    let master = self.base.index(bridge, step).map_err(|error| (step.clone(), error))?;
                    links::push(&mut batch, RTM_SETLINK, 0, &links::set_master(index, master));
                    self.base.attaches(index, master);
                    // It leaves the VLANs of another bridge, and comes into the default one of this.
                    self.vlans.clear(index);
                }
                Step::Access { vlan, .. } => {
                    codec::change_vlans(RTM_SETLINK, index, &[(*vlan, Entry::ACCESS)], &[], &mut batch);
                    let default = self.shared_devices().0.and_then(|bridge| {
                        self.base.links.get(bridge)?.bridge()?.default_pvid.filter(|default| *default != 0)
                    });
                    let known = self.vlans.of(index).map(|(other, _)| other);
                    let mut others: Vec<u16> = known.chain(default).filter(|other| other != vlan).collect();
                    others.sort_unstable();
                    others.dedup();
                    for others in others.chunks(ENTRIES) {
                        let others: Vec<_> = others.iter().map(|other| (*other, Entry::default())).collect();
                        codec::change_vlans(RTM_DELLINK, index, &others, &[], &mut batch);
                    }
                    vlan_set = Some((index, *vlan));
                }
                _ => links::push(&mut batch, RTM_SETLINK, 0, &links::set_up(index)),
            }
            owners.resize(batch.len(), step);
        }
        self.base.batch = batch;
        let mut failure = None;
        let sent = self.base.requests.batch(&mut self.base.batch, &mut |place, answer| {
            if let (None, Some(step), Err(refusal)) = (&failure, owners.get(place), answer) {
                failure = Some(((*step).clone(), refused(step.to_string(), refusal)));
            }
        });
        if let (Err(errno), Some(step)) = (sent, owners.first()) {
            failure = Some(((*step).clone(), refused(step.to_string(), errno.into())));
        }
        if let Err(error) = self.base.read_link(name) {
            return Err((steps[0].1.clone(), error));
        }
        match failure {
            None => {
                if let Some((index, vlan)) = vlan_set {
                    self.vlans.clear(index);
                    self.vlans.set(index, vlan, Entry::ACCESS);
                }
                Ok(())
            }
            Some((step, error)) => {
                if matches!(step, Step::Attach { .. }) {
                    self.base.unattachable(name, &error);
                }
                if let Some((index, _)) = vlan_set {
                    // Nothing is known of them: the next comparison of everything reads them again.
                    let _ = self.read_vlans_of(index);
                }
                Err((step, error))
            }
        }
    }
}
