//! The kernel as a dataplane: bridges, VXLAN devices, their FDB and neighbour tables, over rtnetlink.
//!
//! Layout `device-per-vni`: see `devices` for devices and their ownership, `rows` for rows. All of it is
//! blocking, on the thread of the reconciler ([`crate::thread::spawn`]): the kernel does what a message says within
//! the `sendto`, so there is nothing to wait for. It needs CAP_NET_ADMIN in its network namespace.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustix::io::Errno;
use types::{MacAddr, Vni};

use crate::backend::{Backend, Device, Error, ErrorKind, Fact, Outcome, Scope};
use crate::intent::{L2Vni, Neighbour};
use crate::plan::Op;
use crate::rows::{Key, Row};

mod devices;
mod links;
mod rows;
mod socket;
mod wire;

pub use devices::KernelConfig;
pub use rows::PROTOCOL;

use devices::Step;
use links::{Kind, Link, Links};
use rows::{Fdb, Indexes};
use socket::{Complete, Heard, Monitor, RECEIVE, Refusal, Requests};
use wire::{
    AF_BRIDGE, AF_INET, AF_INET6, Batch, Message, Messages, NDA_IFINDEX, NDA_MASTER, NLM_F_CREATE,
    NLM_F_DUMP, NLM_F_EXCL, NTF_EXT_LEARNED, NTF_ROUTER, NUD_FAILED, NUD_INCOMPLETE, NUD_NOARP,
    NUD_PERMANENT, Neigh, RTM_DELLINK, RTM_DELNEIGH, RTM_GETLINK, RTM_GETNEIGH, RTM_NEWLINK, RTM_NEWNEIGH,
    RTM_SETLINK,
};

/// Messages to a `sendto`. Measured: 16 to 64 are best, larger batches are slower.
const BATCH: usize = 64;
/// And bytes: well below the send buffer.
const BATCH_BYTES: usize = 32 * 1024;
/// Datagrams read from the monitor in one [`Backend::poll`]: more than one turn of the reconciler causes by removing rows
/// (two for each of its 2048), or a large withdrawal would fill the buffer with our own echoes.
const POLL: usize = 8192;
/// Rounds of plan and execution for the devices of one VNI.
const ROUNDS: usize = 4;

/// What is known of the devices of a VNI that was put.
#[derive(Debug)]
struct VniDevices {
    l2: L2Vni,
    at: Indexes,
    /// Of the two devices and the interfaces wanted.
    names: Vec<String>,
}

/// The kernel backend.
#[derive(Debug)]
pub struct Kernel {
    config: KernelConfig,
    requests: Requests,
    monitor: Monitor,
    batch: Batch,
    /// Where events are read into.
    heard: Vec<u8>,
    links: Links,
    vnis: BTreeMap<Vni, VniDevices>,
    /// Bridges and VXLAN devices in use.
    by_index: HashMap<u32, Vni, RandomState>,
    /// Names of interfaces that VNIs want, and which.
    by_name: HashMap<String, Vni, RandomState>,
    /// Ports that were attached here: to be released in the end.
    attached: BTreeSet<String>,
    /// Names of ports, shared by the MACs behind them.
    names: HashMap<u32, Arc<str>, RandomState>,
    /// VNIs some link of which changed.
    affected: BTreeSet<Vni>,
}

impl Kernel {
    /// Opens the sockets in the network namespace of the calling thread, and reads the links there are.
    pub fn open(config: KernelConfig) -> io::Result<Self> {
        config.validate().map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))?;
        let mut kernel = Self {
            // First listen, then look: what happens in between is seen twice rather than never.
            monitor: Monitor::open(config.receive_buffer)?,
            requests: Requests::open()?,
            config,
            batch: Batch::default(),
            heard: vec![0; RECEIVE],
            links: Links::default(),
            vnis: BTreeMap::new(),
            by_index: HashMap::default(),
            by_name: HashMap::default(),
            attached: BTreeSet::new(),
            names: HashMap::default(),
            affected: BTreeSet::new(),
        };
        kernel.read_links().map_err(io::Error::other)?;
        Ok(kernel)
    }

    // ---- links -----------------------------------------------------------------------------------------------

    fn read_links(&mut self) -> Result<(), Error> {
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
    fn read_link(&mut self, name: &str) -> Result<(), Error> {
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

    fn plan(&self, l2: &L2Vni) -> Result<devices::Plan, Error> {
        devices::plan(l2, &self.config, &self.links, &|name| self.attached.contains(name))
    }

    /// Brings the devices of a VNI into their shape. The error in `Ok` is what keeps some port from being attached.
    fn put_devices(&mut self, l2: &L2Vni) -> Result<Option<Error>, Error> {
        // Known by name before they are there: so their coming is noticed.
        for name in l2.interfaces.iter().cloned().chain(self.names_of(l2.vni)) {
            self.read_link(&name)?;
            self.by_name.insert(name, l2.vni);
        }
        let mut last = Vec::new();
        for _ in 0..ROUNDS {
            let plan = self.plan(l2)?;
            if plan.steps.is_empty() || plan.steps == last {
                return self.devices_stand(l2, plan);
            }
            for step in &plan.steps {
                self.execute(step, l2)?;
            }
            last = plan.steps;
        }
        let plan = self.plan(l2)?;
        self.devices_stand(l2, plan)
    }

    fn devices_stand(&mut self, l2: &L2Vni, plan: devices::Plan) -> Result<Option<Error>, Error> {
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

    fn names_of(&self, vni: Vni) -> [String; 2] {
        [self.config.bridge_name(vni), self.config.vxlan_name(vni)]
    }

    fn forget(&mut self, vni: Vni) {
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
    fn refresh(&mut self, vni: Vni) -> Result<(), Error> {
        let names = self.vnis.get(&vni).map_or_else(|| self.names_of(vni).to_vec(), |d| d.names.clone());
        names.iter().try_for_each(|name| self.read_link(name))
    }

    fn index(&self, name: &str, step: &Step) -> Result<u32, Error> {
        self.links.named(name).map(|link| link.index).ok_or_else(|| {
            Error::new(ErrorKind::NoDevice, step.to_string(), format!("there is no interface {name}"))
        })
    }

    /// Does one step, and reads back what it changed.
    fn execute(&mut self, step: &Step, l2: &L2Vni) -> Result<(), Error> {
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
        failure.map_or(Ok(()), |refusal| Err(refused(step.to_string(), refusal)))
    }

    fn remove(&mut self, vni: Vni) -> Outcome {
        match self.try_remove(vni) {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed(error),
        }
    }

    fn try_remove(&mut self, vni: Vni) -> Result<(), Error> {
        self.refresh(vni)?;
        // Devices that are not ours stay; our rows in them go.
        if let Some(devices) = self.vnis.get(&vni)
            && let Some(link) = self.links.get(devices.at.vxlan)
            && devices::owned(link).is_none()
        {
            let at = devices.at;
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
            if let Some(error) = outcomes.into_iter().find_map(failed) {
                return Err(error);
            }
        }
        let steps =
            devices::plan_removal(vni, &self.config, &self.links, &|name| self.attached.contains(name));
        let l2 = nothing(vni);
        for step in &steps {
            match self.execute(step, &l2) {
                Err(error) if error.kind != ErrorKind::NoDevice => return Err(error),
                _ => {}
            }
        }
        self.forget(vni);
        Ok(())
    }

    // ---- rows ------------------------------------------------------------------------------------------------

    fn dump(&mut self, what: &str, each: &mut dyn FnMut(&Neigh)) -> Result<(), Error> {
        self.requests
            .ask(&mut self.batch, &mut |m: &Message<'_>| {
                if m.kind == RTM_NEWNEIGH
                    && let Some(neigh) = Neigh::parse(m.body)
                {
                    each(&neigh);
                }
            })
            .map(|_| ())
            .map_err(|refusal| refused(what.to_owned(), refusal))
    }

    /// Everything in the FDB of a VNI.
    fn observe_fdb(&mut self, vni: Vni, at: Indexes, found: &mut dyn FnMut(Fact)) -> Result<(), Error> {
        self.dump_fdb(vni, at, (NDA_MASTER, at.bridge), found)
    }

    /// What the bridge has on its local ports. One walk of its table for each, however large that is.
    fn observe_ports(&mut self, vni: Vni, at: Indexes, found: &mut dyn FnMut(Fact)) -> Result<(), Error> {
        let ports: Vec<u32> =
            self.links.ports(at.bridge).map(|link| link.index).filter(|i| *i != at.vxlan).collect();
        ports.into_iter().try_for_each(|port| self.dump_fdb(vni, at, (NDA_IFINDEX, port), found))
    }

    fn dump_fdb(
        &mut self,
        vni: Vni,
        at: Indexes,
        filter: (u16, u32),
        found: &mut dyn FnMut(Fact),
    ) -> Result<(), Error> {
        self.batch.clear();
        self.batch.begin(RTM_GETNEIGH, NLM_F_DUMP);
        self.batch.neigh(AF_BRIDGE, 0, 0, 0);
        self.batch.attr(filter.0, &filter.1.to_ne_bytes());
        // The kernel shows a port's rows in the bridge before the device's own: the halves meet here.
        let mut halves: HashMap<MacAddr, bool, RandomState> = HashMap::default();
        let mut ports: Vec<(MacAddr, u32, bool)> = Vec::new();
        self.dump("list the FDB", &mut |n| {
            // Before Linux 5.0 a dump is not filtered.
            if n.index != at.vxlan && n.index != at.bridge && n.master != Some(at.bridge) {
                return;
            }
            match Fdb::of(n, vni, at) {
                Fdb::Flood { vtep, flood, own } => {
                    found(Fact::Row { row: Row::Flood(vni, vtep, flood), own });
                }
                Fdb::Bridge { mac, sticky } => {
                    halves.insert(mac, sticky);
                }
                Fdb::Vxlan { mac, to } => {
                    let row = rows::mac_row(vni, mac, halves.remove(&mac), to);
                    found(Fact::Row { row, own: true });
                }
                Fdb::Local { mac, port, sticky } => ports.push((mac, port, sticky)),
                Fdb::Foreign { mac } => found(Fact::Foreign(vni, mac)),
                Fdb::Nothing => {}
            }
        })?;
        for mac in halves.into_keys() {
            found(Fact::Row { row: Row::Mac(vni, mac, None), own: true });
        }
        for (mac, port, sticky) in ports {
            let interface = self.port_name(port);
            found(Fact::Local { vni, mac, interface, sticky });
        }
        Ok(())
    }

    fn observe_all(&mut self, vni: Vni, at: Indexes, found: &mut dyn FnMut(Fact)) -> Result<(), Error> {
        self.observe_fdb(vni, at, found)?;
        self.observe_neighbours(vni, at, found)
    }

    fn observe_neighbours(
        &mut self,
        vni: Vni,
        at: Indexes,
        found: &mut dyn FnMut(Fact),
    ) -> Result<(), Error> {
        for family in [AF_INET, AF_INET6] {
            self.batch.clear();
            self.batch.begin(RTM_GETNEIGH, NLM_F_DUMP);
            self.batch.neigh(family, 0, 0, 0);
            self.batch.attr(NDA_IFINDEX, &at.bridge.to_ne_bytes());
            self.dump("list neighbours", &mut |n| {
                if n.index == at.bridge && n.family == family {
                    found_neighbour(n, vni, found);
                }
            })?;
        }
        Ok(())
    }

    /// Looks up keys, many to a datagram: a MAC in the bridge and in the VXLAN device, a neighbour on the bridge.
    fn look_up(&mut self, keys: &[Key], found: &mut dyn FnMut(Fact)) -> Result<(), Error> {
        let mut seen: Vec<(usize, Neigh)> = Vec::new();
        for keys in keys.chunks(BATCH / 2) {
            self.batch.clear();
            let mut owners: Vec<usize> = Vec::with_capacity(BATCH);
            for (i, key) in keys.iter().enumerate() {
                let Some(VniDevices { at, .. }) = self.vnis.get(&key.vni()) else { continue };
                rows::encode_get(key, *at, &mut self.batch);
                owners.resize(self.batch.len(), i);
            }
            let mut failure = None;
            let sent = self.requests.batch(&mut self.batch, &mut |place, answer| match answer {
                Ok(message) => {
                    if let (RTM_NEWNEIGH, Some(neigh), Some(&i)) =
                        (message.kind, Neigh::parse(message.body), owners.get(place))
                    {
                        seen.push((i, neigh));
                    }
                }
                // Nothing there, or not even the device.
                Err(Refusal { errno: Errno::NOENT | Errno::NODEV | Errno::INVAL, .. }) => {}
                Err(refusal) => failure = Some(refusal),
            });
            if let Some(refusal) = sent.err().map(Refusal::from).or(failure) {
                return Err(refused("look rows up".into(), refusal));
            }
            for same in seen.chunk_by(|(a, _), (b, _)| a == b) {
                self.tell_found(keys[same[0].0], same, found);
            }
            seen.clear();
        }
        Ok(())
    }

    /// Tells what the answers to one key come to.
    fn tell_found(&mut self, key: Key, answers: &[(usize, Neigh)], found: &mut dyn FnMut(Fact)) {
        let vni = key.vni();
        let Some(VniDevices { at, .. }) = self.vnis.get(&vni) else { return };
        let at = *at;
        let Key::Mac(_, mac) = key else {
            return answers.iter().for_each(|(_, n)| found_neighbour(n, vni, found));
        };
        let (mut bridge, mut to, mut any) = (None, None, false);
        for (_, n) in answers {
            match Fdb::of(n, vni, at) {
                Fdb::Bridge { sticky, .. } => (bridge, any) = (Some(sticky), true),
                Fdb::Vxlan { to: leads, .. } => (to, any) = (leads, true),
                Fdb::Local { port, sticky, .. } => {
                    let interface = self.port_name(port);
                    found(Fact::Local { vni, mac, interface, sticky });
                }
                Fdb::Foreign { .. } => found(Fact::Foreign(vni, mac)),
                Fdb::Flood { .. } | Fdb::Nothing => {}
            }
        }
        if any {
            found(Fact::Row { row: rows::mac_row(vni, mac, bridge, to), own: true });
        }
    }

    fn port_name(&mut self, index: u32) -> Arc<str> {
        let name = self.links.get(index).map_or("?", |link| link.name.as_str());
        let known = self.names.entry(index).or_insert_with(|| Arc::from(name));
        if known.as_ref() != name {
            *known = Arc::from(name);
        }
        Arc::clone(known)
    }

    /// Applies ops on rows, many to a datagram.
    fn apply_rows(&mut self, ops: &[Op], outcomes: &mut Vec<Outcome>) {
        let start = outcomes.len();
        outcomes.resize(start + ops.len(), Outcome::Done);
        let mut halves: Vec<usize> = Vec::new();
        // Which op each message of the batch belongs to.
        let mut owners: Vec<usize> = Vec::with_capacity(BATCH + 1);
        self.batch.clear();
        for (i, op) in ops.iter().enumerate() {
            let vni = op.key().vni();
            match self.vnis.get(&vni) {
                Some(devices) => rows::encode(op, devices.at, &mut self.batch),
                None if matches!(op, Op::Put(_)) => {
                    let reason = format!("the devices of VNI {vni} are missing");
                    outcomes[start + i] =
                        Outcome::Failed(Error::new(ErrorKind::NoDevice, op.to_string(), reason));
                }
                None => {}
            }
            owners.resize(self.batch.len(), i);
            if self.batch.len() >= BATCH || self.batch.size() >= BATCH_BYTES || i + 1 == ops.len() {
                self.flush(ops, &owners, &mut outcomes[start..], &mut halves);
                owners.clear();
            }
        }
        // What the bridge has elsewhere by now goes from the VXLAN device alone; unless it has been put again.
        if !halves.is_empty() {
            let put: HashSet<Key> = ops.iter().filter(|op| matches!(op, Op::Put(_))).map(Op::key).collect();
            halves.retain(|&i| !put.contains(&ops[i].key()));
        }
        for chunk in halves.chunks(BATCH) {
            self.batch.clear();
            for &i in chunk {
                if let Key::Mac(vni, mac) = ops[i].key()
                    && let Some(devices) = self.vnis.get(&vni)
                {
                    rows::encode_del_self(mac, devices.at, &mut self.batch);
                }
            }
            self.flush(ops, chunk, &mut outcomes[start..], &mut Vec::new());
        }
    }

    fn flush(&mut self, ops: &[Op], owners: &[usize], outcomes: &mut [Outcome], halves: &mut Vec<usize>) {
        let sent = self.requests.batch(&mut self.batch, &mut |place, answer| {
            let (Some(&i), Err(refusal)) = (owners.get(place), answer) else { return };
            let op = &ops[i];
            let gone = matches!(refusal.errno, Errno::NOENT | Errno::NODEV | Errno::NXIO);
            match op {
                Op::Del(Row::Mac(..)) if refusal.errno == Errno::NOENT => halves.push(i),
                Op::Del(_) if gone => {}
                _ => outcomes[i] = Outcome::Failed(refused(op.to_string(), refusal)),
            }
        });
        if let Err(errno) = sent {
            for &i in owners {
                outcomes[i] = Outcome::Failed(refused(ops[i].to_string(), errno.into()));
            }
        }
    }

    // ---- events ----------------------------------------------------------------------------------------------

    fn event(&mut self, kind: u16, body: &[u8], facts: &mut Vec<Fact>) {
        match kind {
            RTM_NEWLINK | RTM_DELLINK => self.link_event(kind, body),
            RTM_NEWNEIGH | RTM_DELNEIGH => {
                let Some(n) = Neigh::parse(body) else { return };
                if n.family == AF_BRIDGE {
                    self.fdb_event(kind, &n, facts);
                } else if let Some(&vni) = self.by_index.get(&n.index) {
                    self.neighbour_event(kind, &n, vni, facts);
                }
            }
            _ => {}
        }
    }

    fn fdb_event(&mut self, kind: u16, n: &Neigh, facts: &mut Vec<Fact>) {
        let vni = self.by_index.get(&n.index).or_else(|| self.by_index.get(&n.master?));
        let Some((&vni, devices)) = vni.and_then(|vni| Some((vni, self.vnis.get(vni)?))) else { return };
        let fdb = Fdb::of(n, vni, devices.at);
        if kind == RTM_NEWNEIGH {
            match fdb {
                Fdb::Local { mac, port, sticky } => {
                    let interface = self.port_name(port);
                    facts.push(Fact::Local { vni, mac, interface, sticky });
                }
                Fdb::Foreign { mac } => facts.push(Fact::Foreign(vni, mac)),
                _ => {}
            }
            return;
        }
        match fdb {
            Fdb::Flood { vtep, flood, .. } => facts.push(Fact::Gone(Row::Flood(vni, vtep, flood))),
            Fdb::Bridge { mac, .. } | Fdb::Vxlan { mac, .. } => {
                facts.push(Fact::Touched(Key::Mac(vni, mac)));
            }
            Fdb::Local { mac, .. } | Fdb::Foreign { mac } => facts.push(Fact::MacGone(vni, mac)),
            Fdb::Nothing => {}
        }
    }

    fn neighbour_event(&self, kind: u16, n: &Neigh, vni: Vni, facts: &mut Vec<Fact>) {
        if self.vnis.get(&vni).is_none_or(|devices| devices.at.bridge != n.index) {
            return;
        }
        let Some(ip) = n.dst else { return };
        if kind == RTM_DELNEIGH || n.is(NUD_FAILED | NUD_INCOMPLETE) {
            // An entry loses our mark before it goes, so it may have been either's.
            facts.push(Fact::Touched(Key::Neighbour(vni, ip)));
            facts.push(Fact::NeighbourGone(vni, ip));
        } else {
            found_neighbour(n, vni, &mut |fact| {
                if !matches!(fact, Fact::Row { .. }) {
                    facts.push(fact);
                }
            });
        }
    }

    /// Keeps the picture of the links, and remembers whose have changed.
    fn link_event(&mut self, kind: u16, body: &[u8]) {
        self.affected.extend(Link::index_of(body).and_then(|index| self.by_index.get(&index)));
        let Some(link) = Link::parse(body) else { return };
        self.affected.extend(self.by_name.get(&link.name));
        if kind == RTM_DELLINK {
            self.names.remove(&link.index);
            self.links.remove(link.index);
        } else {
            self.links.insert(link);
        }
    }

    /// Tells of the VNIs whose devices no longer are as they were put. An event may be older than what was done
    /// since, so the links are read anew.
    fn tell_affected(&mut self, facts: &mut Vec<Fact>) {
        for vni in std::mem::take(&mut self.affected) {
            let read = self.refresh(vni);
            // Not put (any longer), or still to be: whoever waits for the link may try again.
            let right = self.vnis.get(&vni).is_some_and(|devices| self.state(devices) == Device::Right);
            if read.is_err() || !right {
                facts.push(Fact::Device(vni));
            }
        }
    }

    /// Are the devices as they were put, as far as is known?
    fn state(&self, devices: &VniDevices) -> Device {
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

impl Backend for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn vnis(&mut self) -> Result<Vec<Vni>, Error> {
        self.read_links()?;
        let mut vnis: BTreeSet<Vni> = self.vnis.keys().copied().collect();
        if self.config.manage_devices {
            let ours = |link: &&Link| matches!(link.kind, Kind::Bridge | Kind::Vxlan(_));
            vnis.extend(self.links.iter().filter(ours).filter_map(devices::owned));
        }
        Ok(vnis.into_iter().collect())
    }

    fn observe(&mut self, vni: Vni, scope: Scope, found: &mut dyn FnMut(Fact)) -> Result<Device, Error> {
        let Some(VniDevices { at, .. }) = self.vnis.get(&vni) else {
            return self.observe_unknown(vni, found);
        };
        let at = *at;
        self.refresh(vni)?;
        let state = self.vnis.get(&vni).map_or(Device::Missing, |devices| self.state(devices));
        if state != Device::Missing {
            match scope {
                Scope::All => self.observe_fdb(vni, at, found)?,
                Scope::Local => self.observe_ports(vni, at, found)?,
            }
            self.observe_neighbours(vni, at, found)?;
        }
        Ok(state)
    }

    fn look(&mut self, keys: &[Key], found: &mut dyn FnMut(Fact)) -> Result<(), Error> {
        self.look_up(keys, found)
    }

    fn apply(&mut self, ops: &[Op], outcomes: &mut Vec<Outcome>) {
        let is_device = |op: &Op| matches!(op, Op::Remove(_) | Op::Put(Row::Vni(_)));
        for run in ops.chunk_by(|a, b| !is_device(a) && !is_device(b)) {
            match &run[0] {
                Op::Put(Row::Vni(l2)) => outcomes.push(match self.put_devices(l2) {
                    Ok(None) => Outcome::Done,
                    Ok(Some(error)) => Outcome::Partly(error),
                    Err(error) => Outcome::Failed(error),
                }),
                Op::Remove(vni) => {
                    let outcome = self.remove(*vni);
                    outcomes.push(outcome);
                }
                _ => self.apply_rows(run, outcomes),
            }
        }
    }

    fn poll(&mut self, facts: &mut Vec<Fact>) -> bool {
        let mut buffer = std::mem::take(&mut self.heard);
        let mut more = true;
        for _ in 0..POLL {
            match self.monitor.read(&mut buffer) {
                Heard::Bytes(n) => {
                    for message in Messages(&buffer[..n]) {
                        self.event(message.kind, message.body, facts);
                    }
                }
                Heard::Lost => facts.push(Fact::Lost),
                Heard::Nothing => {
                    more = false;
                    break;
                }
            }
        }
        self.heard = buffer;
        self.tell_affected(facts);
        more
    }

    fn describe(&mut self, op: &Op) -> Vec<String> {
        match op {
            Op::Put(Row::Vni(l2)) => match self.plan(l2) {
                Ok(plan) => {
                    let steps = plan.steps.iter().map(|step| format!("vni {}: {step}", l2.vni));
                    let problems =
                        plan.problems.iter().map(|error| format!("vni {}: cannot {error}", l2.vni));
                    steps.chain(problems).collect()
                }
                Err(error) => vec![format!("vni {}: cannot {error}", l2.vni)],
            },
            Op::Remove(vni) => {
                devices::plan_removal(*vni, &self.config, &self.links, &|name| self.attached.contains(name))
                    .iter()
                    .map(|step| format!("vni {vni}: {step}"))
                    .collect()
            }
            _ => vec![op.to_string()],
        }
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.monitor.fd())
    }
}

impl Kernel {
    /// What there is in a VNI that was not put in this run (a dry run asks).
    fn observe_unknown(&mut self, vni: Vni, found: &mut dyn FnMut(Fact)) -> Result<Device, Error> {
        let at = self.links.carrying(vni).find_map(|vxlan| {
            let bridge = vxlan.master.filter(|index| self.links.get(*index).is_some())?;
            Some(Indexes { bridge, vxlan: vxlan.index })
        });
        match at {
            None => Ok(Device::Missing),
            Some(at) => self.observe_all(vni, at, found).map(|()| Device::Wrong),
        }
    }
}

/// A VNI about which nothing is known but its number: enough to take its devices away.
const fn nothing(vni: Vni) -> L2Vni {
    L2Vni {
        vni,
        vtep: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        port: 0,
        interfaces: Vec::new(),
        arp_suppression: false,
        vlan: None,
    }
}

/// An ARP or ND entry on a bridge: ours, or that of a host found here.
fn found_neighbour(n: &Neigh, vni: Vni, found: &mut dyn FnMut(Fact)) {
    let (Some(ip), Some(mac)) = (n.dst, n.mac) else { return };
    // The kernel's own entries for groups.
    if ip.is_multicast() || ip.is_unspecified() || !mac.is_host() {
        return;
    }
    if n.has(NTF_EXT_LEARNED) {
        let router = n.family == AF_INET6 && n.has(NTF_ROUTER);
        let row = Row::Neighbour(vni, ip, Neighbour { mac, router });
        found(Fact::Row { row, own: true });
    } else if !n.is(NUD_FAILED | NUD_INCOMPLETE) {
        found(Fact::Neighbour { vni, ip, mac, fixed: n.is(NUD_PERMANENT | NUD_NOARP) });
    }
}

/// What the kernel said, in words that help.
fn refused(action: String, refusal: Refusal) -> Error {
    let (kind, reason) = match refusal.errno {
        Errno::PERM | Errno::ACCESS => (
            ErrorKind::Permission,
            "permission denied: needs CAP_NET_ADMIN in this network namespace".to_owned(),
        ),
        errno => {
            let kind = match errno {
                // A VXLAN device that is no bridge port (any longer) does not take rows for its bridge.
                Errno::NODEV | Errno::NXIO | Errno::OPNOTSUPP | Errno::NOENT => ErrorKind::NoDevice,
                _ => ErrorKind::Other,
            };
            let system = io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
            (kind, refusal.text.map_or(system.clone(), |text| format!("{text} ({system})")))
        }
    };
    Error::new(kind, action, reason)
}
