//! What all layouts have in common: the sockets, the links there are, which VNIs stand where, and the ports that were
//! attached or are asked for.
//!
//! A layout (`per_vni`) holds a [`Base`] and decides which devices a VNI needs. Rows are written (`write`), read
//! (`observe`) and heard of (`events`) here, the same way wherever they are.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustix::io::Errno;
use types::Vni;

use super::config::KernelConfig;
use super::links::{self, Link, Links};
use super::marks;
use super::ports::Ports;
use super::rows::Place;
use super::socket::{Complete, Monitor, RECEIVE, Refusal, Requests};
use super::wire::{Batch, NLM_F_DUMP, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK};
use super::{BATCH, ROUNDS, refused};
use crate::backend::{Error, ErrorKind, PortPlace};
use crate::intent::L2Vni;
use crate::plane::{Action, Step, Thing};

/// The first number tried for the group in which devices are deleted together.
const DELETE_GROUP: u32 = 0x6576_706e;

/// A VNI that was put, and where its rows are.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) l2: L2Vni,
    pub(super) at: Place,
    /// Of its own devices and the interfaces wanted.
    pub(super) names: Vec<String>,
}

/// A port that is to be released.
#[derive(Debug)]
struct Unwanted {
    port: String,
    bridge: String,
}

impl fmt::Display for Unwanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "release {} from {}", self.port, self.bridge)
    }
}

#[derive(Debug)]
pub(super) struct Base {
    pub(super) config: KernelConfig,
    pub(super) requests: Requests,
    pub(super) monitor: Monitor,
    pub(super) batch: Batch,
    /// Where events are read into.
    pub(super) heard: Vec<u8>,
    pub(super) links: Links,
    pub(super) vnis: BTreeMap<Vni, Placed>,
    /// Devices that one VNI alone uses.
    pub(super) by_index: HashMap<u32, Vni, RandomState>,
    /// Names of interfaces that VNIs want, and which.
    pub(super) by_name: HashMap<String, Vni, RandomState>,
    /// Ports that were attached here: to be released in the end.
    pub(super) ports: Ports,
    /// Names of ports, shared by the MACs behind them.
    names: HashMap<u32, Arc<str>, RandomState>,
    /// VNIs some link of which changed.
    pub(super) affected: BTreeSet<Vni>,
    /// Names of ports of clients, which one wants to hear of.
    pub(super) asked: HashSet<Arc<str>, RandomState>,
    /// Links that could not be attached, by name: what they were then, and why.
    refused: HashMap<String, (Link, String), RandomState>,
}

impl Base {
    /// Opens the sockets in the network namespace of the calling thread, and reads the links there are. `groups` are
    /// listened to beside links and neighbours, where the kernel has them.
    pub(super) fn open(config: KernelConfig, groups: &[u32]) -> io::Result<Self> {
        config.validate().map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))?;
        let mut base = Self {
            // First listen, then look: what happens in between is seen twice rather than never.
            monitor: Monitor::open(config.receive_buffer, groups)?,
            requests: Requests::open()?,
            config,
            batch: Batch::default(),
            heard: vec![0; RECEIVE],
            links: Links::default(),
            vnis: BTreeMap::new(),
            by_index: HashMap::default(),
            by_name: HashMap::default(),
            ports: Ports::default(),
            names: HashMap::default(),
            affected: BTreeSet::new(),
            asked: HashSet::default(),
            refused: HashMap::default(),
        };
        base.read_links().map_err(io::Error::other)?;
        // Who only takes things as they are has attached nothing, and releases nothing.
        let file = base.config.ports.clone().filter(|_| !base.config.discover);
        base.ports = Ports::read(file, &base.links);
        Ok(base)
    }

    // ---- links -----------------------------------------------------------------------------------------------

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
            None => {
                if let Some(index) = self.links.named(name).map(|link| link.index) {
                    self.link_gone(index);
                }
            }
        }
        Ok(())
    }

    /// The index of a link that a step is about.
    pub(super) fn index(&self, name: &str, step: &dyn fmt::Display) -> Result<u32, Error> {
        self.links.named(name).map(|link| link.index).ok_or_else(|| {
            Error::new(ErrorKind::NoDevice, step.to_string(), format!("there is no interface {name}"))
        })
    }

    /// Sends the batch, which is a step, and reads the link that it changes anew. Whether messages from the
    /// `optional`th on fail does not matter.
    pub(super) fn change_link(
        &mut self,
        step: &dyn fmt::Display,
        name: &str,
        optional: usize,
    ) -> Result<(), Error> {
        let mut failure = None;
        let sent = self.requests.batch(&mut self.batch, &mut |place, answer| {
            if place < optional && failure.is_none() {
                failure = answer.err();
            }
        });
        let failure = sent.err().map(Refusal::from).or(failure);
        self.read_link(name)?;
        failure.map_or(Ok(()), |refusal| Err(refused(step.to_string(), refusal)))
    }

    /// A VXLAN device that cannot be set up because another has its UDP port: which one.
    pub(super) fn name_rival(&self, name: &str, error: Error) -> Error {
        let Some(own) = self.links.named(name).and_then(Link::vxlan) else { return error };
        // Ordinary ones share a port among themselves.
        let is_rival = |link: &&Link| {
            let vxlan =
                link.vxlan().filter(|vxlan| vxlan.port == own.port && (vxlan.external || own.external));
            link.name != name && link.up && vxlan.is_some()
        };
        let Some(rival) = self.links.iter().find(is_rival) else { return error };
        let reason = format!(
            "{}: {} uses the UDP port; remove it, or set another vxlan-port",
            error.reason, rival.name
        );
        Error::new(error.kind, error.action, reason)
    }

    /// Deletes devices in one go, by putting them into a group nobody is in: one by one, each deletion waits for every
    /// CPU. Where that fails, nothing is lost: what is still there has to be deleted by itself.
    pub(super) fn delete_together(&mut self, names: &[String]) {
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

    // ---- VNIs ------------------------------------------------------------------------------------------------

    /// A VNI stands. `own` are the devices that nobody else uses, `names` what is watched for it.
    pub(super) fn stands(&mut self, l2: &L2Vni, at: Place, own: &[u32], names: Vec<String>) {
        for name in &names {
            self.by_name.insert(name.clone(), l2.vni);
        }
        self.by_index.extend(own.iter().map(|index| (*index, l2.vni)));
        self.vnis.insert(l2.vni, Placed { l2: l2.clone(), at, names });
    }

    /// A VNI stands no more, and nothing is watched for it; neither are these names.
    pub(super) fn forget(&mut self, vni: Vni, names: &[String]) {
        let placed = self.vnis.remove(&vni);
        let at = placed.as_ref().map(|placed| placed.at);
        for index in at.iter().flat_map(|at| [Some(at.bridge), Some(at.vxlan), at.table]).flatten() {
            if self.by_index.get(&index) == Some(&vni) {
                self.by_index.remove(&index);
            }
        }
        for name in placed.iter().flat_map(|placed| &placed.names).chain(names) {
            if self.by_name.get(name) == Some(&vni) {
                self.by_name.remove(name);
            }
        }
    }

    /// VNIs want these interfaces, whatever else becomes of them.
    pub(super) fn wants(&mut self, l2: &L2Vni) {
        self.by_name.extend(l2.interfaces.iter().map(|name| (name.clone(), l2.vni)));
    }

    // ---- ports -----------------------------------------------------------------------------------------------

    pub(super) fn port_name(&mut self, index: u32) -> Arc<str> {
        let name = self.links.get(index).map_or("?", |link| link.name.as_str());
        let known = self.names.entry(index).or_insert_with(|| Arc::from(name));
        if known.as_ref() != name {
            *known = Arc::from(name);
        }
        Arc::clone(known)
    }

    /// A link went.
    pub(super) fn link_gone(&mut self, index: u32) {
        self.names.remove(&index);
        self.ports.link_gone(index);
        self.links.remove(index);
    }

    /// A link is about to be attached. This comes first: what the file says too much does not count, and what it does not
    /// say is never released. Devices of ours go as a whole.
    pub(super) fn attaches(&mut self, index: u32, bridge: u32) {
        if let Some(link) = self.links.get(index).filter(|link| !marks::is_ours(link)) {
            self.ports.insert(link, bridge);
        }
    }

    /// The interfaces that a VNI wants and that are in a bridge of ours are ours to release, whoever attached them.
    pub(super) fn claim(&mut self, l2: &L2Vni, bridge: u32) {
        if !self.links.get(bridge).is_some_and(marks::is_ours) {
            return;
        }
        let wanted = l2.interfaces.iter().filter_map(|name| self.links.named(name));
        for link in wanted.filter(|link| link.master == Some(bridge)) {
            self.ports.insert(link, bridge);
        }
    }

    /// Ports that were attached here, in whatever run, and that no VNI wants. (VXLAN devices go with their VNIs.)
    fn unwanted_ports(&self) -> Vec<Unwanted> {
        let attached = self.ports.indices().filter_map(|index| self.links.get(index));
        let unwanted = attached.filter(|link| {
            self.ports.contains(link) && link.vxlan().is_none() && !self.by_name.contains_key(&link.name)
        });
        let unwanted = unwanted.filter_map(|link| {
            Some(Unwanted { port: link.name.clone(), bridge: self.links.get(link.master?)?.name.clone() })
        });
        unwanted.collect()
    }

    /// All that is wanted was put: releases ports that are not wanted, also those of earlier runs.
    pub(super) fn clear_ports(&mut self, notes: &mut Vec<String>) -> Result<(), Error> {
        self.ports.settle();
        let mut result = Ok(());
        for step in self.unwanted_ports() {
            let released = self.index(&step.port, &step).and_then(|index| {
                self.batch.clear();
                links::push(&mut self.batch, RTM_SETLINK, 0, &links::set_master(index, 0));
                self.change_link(&step, &step.port, usize::MAX)
            });
            match released {
                Ok(()) => {
                    self.released(&step.port);
                    let Unwanted { port, bridge } = step;
                    notes.push(format!(
                        "{port} was attached to {bridge} by evpnd, and nothing wants it now: released"
                    ));
                }
                // It went by itself.
                Err(error) if error.kind == ErrorKind::NoDevice => {}
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    /// The same in words, after all VNIs that are wanted were described.
    pub(super) fn describe_ports(&self) -> impl Iterator<Item = Step> {
        let planned = |step: Unwanted| Step::new(Action::Remove, Thing::Device, step.to_string());
        self.unwanted_ports().into_iter().map(planned)
    }

    /// A port was released.
    pub(super) fn released(&mut self, port: &str) {
        if let Some(link) = self.links.named(port) {
            self.ports.remove(link.index);
        }
    }

    /// A port could not be attached: the same will not be tried again and again.
    pub(super) fn unattachable(&mut self, port: &str, error: &Error) {
        if let Some(link) = self.links.named(port) {
            self.ports.remove(link.index);
            self.refused.insert(port.to_owned(), (link.clone(), error.to_string()));
        }
    }

    /// Where a port is that a client asks for; of one that could be used, `place` says it.
    pub(super) fn port_place(
        &mut self,
        interface: &str,
        place: &dyn Fn(&Self, &Link) -> PortPlace,
    ) -> Result<PortPlace, Error> {
        if !self.asked.contains(interface) {
            self.asked.insert(Arc::from(interface));
        }
        self.read_link(interface)?;
        let Some(link) = self.links.named(interface) else { return Ok(PortPlace::Missing) };
        if marks::is_ours(link) {
            return Ok(PortPlace::Refused(format!("{interface} is a device of evpnd's own")));
        }
        if let Some(reason) = self.why_unattachable(link) {
            return Ok(PortPlace::Refused(reason.to_owned()));
        }
        Ok(place(self, link))
    }

    /// Where a port is that is in another device than it should be; out of a `free` one it may be taken.
    pub(super) fn place_elsewhere(&self, master: u32, free: &dyn Fn(&Link) -> bool) -> PortPlace {
        match self.links.get(master) {
            Some(other) if free(other) => PortPlace::Free,
            Some(other) => PortPlace::Taken(other.name.clone()),
            None => PortPlace::Taken("another device".to_owned()),
        }
    }

    /// Why a port could not be attached, if nothing about it has changed since.
    fn why_unattachable(&self, link: &Link) -> Option<&str> {
        self.refused.get(&link.name).filter(|(then, _)| then == link).map(|(_, reason)| reason.as_str())
    }

    /// This port could not be attached, and nothing about it has changed since.
    pub(super) fn is_unattachable(&self, name: &str) -> bool {
        self.links.named(name).is_some_and(|link| self.why_unattachable(link).is_some())
    }

    pub(super) fn forget_port(&mut self, interface: &str) {
        self.asked.remove(interface);
        self.refused.remove(interface);
    }
}
