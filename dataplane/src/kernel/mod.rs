//! The kernel as a dataplane: bridges, VXLAN devices, their FDB and neighbour tables, over rtnetlink.
//!
//! Layout `device-per-vni`: see `devices` for devices and their ownership, `rows` for rows. All of it is
//! blocking, on the thread of the reconciler ([`crate::thread::spawn`]): the kernel does what a message says within
//! the `sendto`, so there is nothing to wait for. It needs CAP_NET_ADMIN in its network namespace.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustix::io::Errno;
use types::Vni;

use crate::backend::{Backend, Device, Error, ErrorKind, Fact, Outcome, PortPlace, Scope};
use crate::intent::L2Vni;
use crate::plan::Op;
use crate::rows::{Key, Row};

mod devices;
mod events;
mod links;
mod manage;
mod observe;
mod rows;
mod socket;
mod wire;

pub use devices::{KernelConfig, Layout};
pub use rows::PROTOCOL;

use links::{Kind, Link, Links};
use rows::Indexes;
use socket::{Heard, Monitor, RECEIVE, Refusal, Requests};
use wire::{Batch, Messages};

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
    /// Names of ports of clients, which one wants to hear of.
    asked: HashSet<Arc<str>, RandomState>,
    /// Links that could not be attached, by name: what they were then, and why.
    refused: HashMap<String, (Link, String), RandomState>,
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
            asked: HashSet::default(),
            refused: HashMap::default(),
        };
        kernel.read_links().map_err(io::Error::other)?;
        Ok(kernel)
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
        let kind = |op: &Op| match op {
            Op::Put(Row::Vni(_)) => 0,
            Op::Remove(_) => 1,
            _ => 2,
        };
        for run in ops.chunk_by(|a, b| kind(a) == kind(b)) {
            match kind(&run[0]) {
                0 => outcomes.extend(run.iter().filter_map(|op| match op {
                    Op::Put(Row::Vni(l2)) => Some(match self.put_devices(l2) {
                        Ok(None) => Outcome::Done,
                        Ok(Some(error)) => Outcome::Partly(error),
                        Err(error) => Outcome::Failed(error),
                    }),
                    _ => None,
                })),
                1 => self.remove(&run.iter().map(|op| op.key().vni()).collect::<Vec<_>>(), outcomes),
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
                self.plan_removal(*vni).iter().map(|step| format!("vni {vni}: {step}")).collect()
            }
            _ => vec![op.to_string()],
        }
    }

    fn port(&mut self, vni: Vni, interface: &str) -> Result<PortPlace, Error> {
        if !self.asked.contains(interface) {
            self.asked.insert(Arc::from(interface));
        }
        self.read_link(interface)?;
        let bridge = self.vnis.get(&vni).map(|devices| devices.at.bridge);
        let Some(link) = self.links.named(interface) else { return Ok(PortPlace::Missing) };
        if devices::owned(link).is_some() {
            return Ok(PortPlace::Refused(format!("{interface} is a device of evpnd's own")));
        }
        if let Some((_, reason)) = self.refused.get(interface).filter(|(then, _)| then == link) {
            return Ok(PortPlace::Refused(reason.clone()));
        }
        Ok(match link.master {
            None => PortPlace::Free,
            Some(master) if Some(master) == bridge => PortPlace::Attached,
            Some(master) => match self.links.get(master) {
                Some(other) if devices::owned(other).is_some() => PortPlace::Free,
                Some(other) if self.names_of(vni).contains(&other.name) => PortPlace::Free,
                Some(other) => PortPlace::Taken(other.name.clone()),
                None => PortPlace::Taken("another device".to_owned()),
            },
        })
    }

    fn forget_port(&mut self, interface: &str) {
        self.asked.remove(interface);
        self.refused.remove(interface);
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.monitor.fd())
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
