//! The reconciler: owns the intent, the cache of what is installed and the set of keys to look at, and drives a
//! backend until what is equals what should be.
//!
//! Level-triggered: events only say where to look. A full resync (on start, on a timer, after lost events, when
//! told) observes each VNI and compares. Pure but for its backend: time is a parameter, so that it runs in a
//! simulation as it runs in the daemon.
//!
//! Two rules about MACs that are both remote and local:
//! - When the bridge learns a MAC on a local port over a row of ours, the host has moved here. The row is not put
//!   back (that would fight the bridge); [`Local::MacSeen`] goes up, and what comes down next decides.
//! - A later [`Change::PutMac`] for it means the host moved away: it replaces the bridge's entry. If a
//!   [`Change::DelMac`] comes before that was written, the bridge still has it, and [`Local::MacSeen`] goes up again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use types::{MacAddr, Time, Vni};

use crate::backend::{Backend, Error, Fact, Outcome, Scope};
use crate::intent::{Change, Intent, Local};
use crate::plan::{self, Op};
use crate::plane::Step;
use crate::rows::{Key, Row, Rows};
use clients::Clients;
use nowhere::Nowhere;

/// Row keys planned in one [`Reconciler::handle`]: some milliseconds of work, so that nothing new waits long.
const BATCH: usize = 2048;
/// VNIs put or removed in one [`Reconciler::handle`], where each has devices and tables of its own. Where these are shared, all that
/// wait are put at once: there a group costs little more than one.
const PUT_BATCH: usize = 64;
/// Rows observed in one [`Reconciler::handle`] before other work gets its turn.
const OBSERVE_BATCH: usize = 16 * 1024;
/// Rows looked at one by one in one [`Reconciler::handle`].
const AUDIT_BATCH: usize = 1024;

/// Where tables are shared, VNIs with less than this part of all rows are not looked at by walking all: looking a row up
/// costs as much as to come by some others.
const FEW_SHARE: usize = 8;

/// A full resync that took long is followed by at least so many times as long without one.
const RESYNC_SHARE: u32 = 20;

/// Intervals and limits.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Between full resyncs.
    pub resync: Duration,
    /// After the first failure of an op; doubled for each further one.
    pub retry_min: Duration,
    /// The longest wait before an op is tried again.
    pub retry_max: Duration,
    /// With more remote MACs than this, a VNI is not observed whole again after the first time; its rows are looked
    /// at one by one. (The kernel starts a bridge's list from its head for every 32 KiB it shows: that is quadratic.)
    pub observe_limit: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            resync: Duration::from_secs(60),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            observe_limit: 10_000,
        }
    }
}

/// What comes up from the dataplane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// For evpn: hosts and devices seen here.
    Local(Local),
    /// For the log and `evpnd events`.
    Event(Event),
}

/// Something worth telling an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Rows were found missing or changed behind our back, and are being put back.
    Repaired {
        /// In this VNI.
        vni: Vni,
        /// How many.
        rows: usize,
        /// One of them.
        example: Key,
    },
    /// Flows were found missing or changed behind our back, and are being put back.
    FlowsRepaired {
        /// How many.
        flows: usize,
        /// One of them.
        example: String,
    },
    /// Something was done, or found, that is worth a line.
    Note(String),
    /// Something is wanted that cannot be had here ([`Backend::limits`]).
    Limited(String),
    /// Ops failed; they will be tried again.
    Failed {
        /// The first failure.
        error: Error,
        /// How many more failed in the same batch.
        more: usize,
    },
    /// The dataplane lost events; everything is compared again.
    EventsLost,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repaired { vni, rows: 1, example } => {
                write!(f, "VNI {vni}: put right what someone else changed: {example}")
            }
            Self::Repaired { vni, rows, example } => {
                write!(f, "VNI {vni}: put right {rows} rows that someone else changed, one of them {example}")
            }
            Self::FlowsRepaired { flows: 1, example } => {
                write!(f, "put right a flow that someone else changed: {example}")
            }
            Self::FlowsRepaired { flows, example } => {
                write!(f, "put right {flows} flows that someone else changed, one of them {example}")
            }
            Self::Note(text) | Self::Limited(text) => f.write_str(text),
            Self::Failed { error, more: 0 } => error.fmt(f),
            Self::Failed { error, more } => write!(f, "{error} (and {more} more failures)"),
            Self::EventsLost => {
                f.write_str("the kernel's events came too fast and some are lost: comparing everything")
            }
        }
    }
}

/// A snapshot for `show dataplane`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The backend's name.
    pub backend: &'static str,
    /// All that is wanted stands, and nothing is left to do.
    pub in_sync: bool,
    /// Rows wanted.
    pub desired: usize,
    /// Rows of ours that stand.
    pub installed: usize,
    /// Rows whose last write failed, waiting for another try.
    pub failing: usize,
    /// Rows put back because someone took or changed them.
    pub repairs: u64,
    /// The last failure: what was being done, and why it did not work.
    pub last_error: Option<String>,
    /// What is wanted and cannot be had here ([`Backend::limits`]).
    pub limits: Vec<String>,
    /// When everything was last compared.
    pub last_resync: Option<Time>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct LocalMac {
    interface: Arc<str>,
    sticky: bool,
    /// A [`Change::PutMac`] came after we saw it here: the host has moved away.
    superseded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LocalNeighbour {
    mac: MacAddr,
    fixed: bool,
    superseded: bool,
}

/// What the dataplane shows of a VNI beside our rows.
#[derive(Debug, Default)]
struct Seen {
    ready: bool,
    vlan: Option<u16>,
    macs: HashMap<MacAddr, LocalMac, RandomState>,
    foreign: HashSet<MacAddr, RandomState>,
    neighbours: HashMap<IpAddr, LocalNeighbour, RandomState>,
}

impl LocalMac {
    fn is_at(&self, other: &Self) -> bool {
        self.interface == other.interface && self.sticky == other.sticky
    }

    fn seen(&self, vni: Vni, mac: MacAddr) -> Local {
        Local::MacSeen { vni, mac, interface: self.interface.to_string(), sticky: self.sticky }
    }
}

impl Seen {
    /// What to tell upwards of a VNI that looks like this and looked like `before`.
    fn changes(&self, before: &Self, vni: Vni) -> Vec<Local> {
        let mut told = Vec::new();
        let vlan = self.vlan.filter(|vlan| before.vlan != Some(*vlan));
        told.extend(vlan.map(|vlan| Local::Vlan(vni, vlan)));
        if self.ready != before.ready {
            told.push(Local::VniReady(vni, self.ready));
        }
        let known = |mac, local: &LocalMac| before.macs.get(mac).is_some_and(|old| old.is_at(local));
        let new = self.macs.iter().filter(|(mac, local)| !known(mac, local));
        let gone = before.macs.keys().filter(|mac| !self.macs.contains_key(*mac));
        let mut macs: Vec<_> = new
            .map(|(mac, local)| (*mac, local.seen(vni, *mac)))
            .chain(gone.map(|mac| (*mac, Local::MacGone { vni, mac: *mac })))
            .collect();
        macs.sort_unstable_by_key(|(mac, _)| *mac);
        told.extend(macs.into_iter().map(|(_, local)| local));

        let known = |ip, mac| before.neighbours.get(ip).is_some_and(|old| old.mac == mac);
        let new = self.neighbours.iter().filter(|(ip, n)| !known(*ip, n.mac));
        let gone = before.neighbours.keys().filter(|ip| !self.neighbours.contains_key(*ip));
        let mut ips: Vec<_> = new
            .map(|(ip, n)| (*ip, Local::NeighbourSeen { vni, ip: *ip, mac: n.mac }))
            .chain(gone.map(|ip| (*ip, Local::NeighbourGone { vni, ip: *ip })))
            .collect();
        ips.sort_unstable_by_key(|(ip, _)| *ip);
        told.extend(ips.into_iter().map(|(_, local)| local));
        told
    }
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    attempts: u32,
    at: Time,
}

/// Drives a backend towards an intent. See the module's text.
#[derive(Debug)]
pub struct Reconciler<B> {
    backend: B,
    config: Config,
    intent: Intent,
    installed: Rows,
    seen: BTreeMap<Vni, Seen>,
    clients: Clients,
    /// What changes of the intent give to tell upwards.
    untold: Vec<Local>,
    /// VNIs whose devices are to be put or removed.
    dirty_vnis: BTreeSet<Vni>,
    /// Rows to plan; may hold a key twice. Taken from the end: what is newest goes first.
    dirty: Vec<Key>,
    /// Rows to look at in the backend; may hold a key twice.
    audit: Vec<Key>,
    /// Rows that cannot be looked at one by one, or that are not worth a look: to be written again, which does no harm.
    rewrite: Vec<Key>,
    /// VNIs to observe.
    observe: BTreeSet<Vni>,
    /// VNIs that have no table for neighbours.
    nowhere: Nowhere,
    /// VNIs others set up, as they were told upwards; what was heard of them since; whether to ask for all.
    found: BTreeSet<Vni>,
    found_news: BTreeMap<Vni, bool>,
    ask_found: bool,
    /// Some were.
    found_some: bool,
    resync_at: Time,
    /// A full resync goes on since then.
    resyncing: Option<Time>,
    /// In it, what is left beside all VNIs is to be cleared away.
    clear: bool,
    more_events: bool,
    retries: BTreeMap<Key, Retry>,
    /// Nothing works (no permission): wait.
    hold: Option<Retry>,
    repairs: u64,
    last_error: Option<String>,
    limits: Vec<String>,
    last_resync: Option<Time>,
}

impl<B: Backend> Reconciler<B> {
    /// A reconciler that knows nothing yet; the first [`Self::handle`] looks at what there is.
    pub fn new(backend: B, config: Config) -> Self {
        Self {
            backend,
            config,
            intent: Intent::new(),
            installed: Rows::default(),
            seen: BTreeMap::new(),
            clients: Clients::default(),
            untold: Vec::new(),
            dirty_vnis: BTreeSet::new(),
            dirty: Vec::new(),
            audit: Vec::new(),
            rewrite: Vec::new(),
            observe: BTreeSet::new(),
            nowhere: Nowhere::default(),
            found: BTreeSet::new(),
            found_news: BTreeMap::new(),
            ask_found: false,
            found_some: false,
            resync_at: Time::ZERO,
            resyncing: None,
            clear: false,
            more_events: false,
            retries: BTreeMap::new(),
            hold: None,
            repairs: 0,
            last_error: None,
            limits: Vec::new(),
            last_resync: None,
        }
    }

    /// Takes a change of the intent in. Nothing happens before [`Self::handle`].
    pub fn change(&mut self, change: &Change) {
        match *change {
            Change::PutMac(vni, mac, _) => {
                if let Some(local) = self.seen.get_mut(&vni).and_then(|s| s.macs.get_mut(&mac)) {
                    local.superseded = true;
                }
            }
            Change::PutNeighbour(vni, ip, _) => {
                if let Some(local) = self.seen.get_mut(&vni).and_then(|s| s.neighbours.get_mut(&ip)) {
                    local.superseded = true;
                }
            }
            Change::DelMac(vni, mac) => {
                // It was given up for a place that is gone before our row took the bridge's entry.
                if let Some(local) = self.seen.get_mut(&vni).and_then(|s| s.macs.get_mut(&mac))
                    && std::mem::take(&mut local.superseded)
                {
                    self.untold.push(local.seen(vni, mac));
                }
            }
            Change::DelNeighbour(vni, ip) => {
                if let Some(local) = self.seen.get_mut(&vni).and_then(|s| s.neighbours.get_mut(&ip))
                    && std::mem::take(&mut local.superseded)
                {
                    self.untold.push(Local::NeighbourSeen { vni, ip, mac: local.mac });
                }
            }
            // Whoever configures it again starts from nothing, and so must what we tell. That it is gone is told too,
            // for the case that the new one has heard of it already.
            Change::DelVni(vni) => {
                if let Some(seen) = self.seen.remove(&vni) {
                    self.untold.extend(Seen::default().changes(&seen, vni));
                }
            }
            Change::Settled if !self.intent.settled() => self.resync(),
            _ => {}
        }
        let instead = self.client_change(change);
        let key = self.intent.apply(instead.as_ref().unwrap_or(change));
        if let Some(key) = key {
            self.nowhere.count(key.vni(), self.intent.rows());
        }
        match key {
            Some(Key::Vni(vni)) => {
                self.dirty_vnis.insert(vni);
            }
            Some(key) => self.push(key),
            None => {}
        }
    }

    /// Compare everything at the next [`Self::handle`].
    pub fn resync(&mut self) {
        self.resync_at = Time::ZERO;
    }

    /// Does a bounded piece of the work there is. Call again at [`Self::deadline`], after changes, and when the
    /// backend has events.
    pub fn handle(&mut self, now: Time, out: &mut Vec<Output>) {
        out.extend(self.untold.drain(..).map(Output::Local));
        self.take_events(out);
        let hold = self.hold;
        if hold.is_some_and(|hold| now < hold.at) {
            return;
        }
        if now >= self.resync_at {
            self.start_resync(now, out);
        }
        self.retry_due(now);
        self.take_found(now, out);
        self.look_at_clients(out);
        self.put_devices(now, out);
        self.clear_away(out);
        self.audit_some(out);
        self.observe_some(now, out);
        self.put_rows(now, out);
        self.finish_resync(now);
        if hold.is_some_and(|old| self.hold.is_some_and(|hold| hold.at == old.at)) {
            self.hold = None; // It was not renewed: something is permitted again.
        }
    }

    /// When [`Self::handle`] wants to be called next, if nothing happens before: `now` or earlier while there is
    /// work left.
    pub fn deadline(&self) -> Time {
        if !self.untold.is_empty() {
            return Time::ZERO;
        }
        if let Some(hold) = self.hold {
            return hold.at;
        }
        if self.busy() {
            return Time::ZERO;
        }
        let retry = self.retries.values().map(|r| r.at).min();
        retry.map_or(self.resync_at, |at| at.min(self.resync_at))
    }

    /// A snapshot of how things stand.
    pub fn status(&self) -> Status {
        Status {
            backend: self.backend.name(),
            in_sync: self.hold.is_none()
                && !self.busy()
                && self.retries.is_empty()
                && self.last_resync.is_some(),
            desired: self.desired(),
            installed: self.installed.len(),
            failing: self.retries.len(),
            repairs: self.repairs,
            last_error: self.last_error.clone(),
            limits: self.limits.clone(),
            last_resync: self.last_resync,
        }
    }

    /// Is any VNI wanted?
    fn wants_devices(&self) -> bool {
        let wanted = self.intent.rows();
        wanted.vnis().any(|vni| wanted.device(vni).is_some())
    }

    /// Rows wanted that can stand somewhere.
    fn desired(&self) -> usize {
        self.intent.rows().len() - self.nowhere.neighbours()
    }

    /// What is wanted.
    pub const fn intent(&self) -> &Intent {
        &self.intent
    }

    /// What is believed to be installed.
    pub const fn installed(&self) -> &Rows {
        &self.installed
    }

    /// The backend.
    pub const fn backend(&self) -> &B {
        &self.backend
    }

    /// The backend, to play with (the simulation does).
    pub const fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    /// Ends. With `remove`, everything of ours is taken out of the dataplane; without, all stays as it is and goes
    /// on forwarding.
    pub fn shutdown(mut self, remove: bool) -> (B, Vec<Error>) {
        let mut errors = Vec::new();
        if remove {
            let mut vnis: BTreeSet<Vni> = self.installed.vnis().collect();
            match self.backend.vnis() {
                Ok(found) => vnis.extend(found),
                Err(error) => errors.push(error),
            }
            let ops: Vec<Op> = vnis.into_iter().map(Op::Remove).collect();
            let mut outcomes = Vec::new();
            self.backend.apply(&ops, &self.installed, &mut outcomes);
            errors.extend(outcomes.into_iter().filter_map(Outcome::error));
            errors.extend(self.backend.clear(false, &mut Vec::new()).err());
        }
        (self.backend, errors)
    }

    /// A dry run: what would be done to the dataplane now, and how clients would be. Changes nothing in it.
    pub fn dry_run(&mut self, out: &mut Vec<Output>) -> Result<Vec<Step>, Error> {
        self.ask_found = true;
        self.take_found(Time::ZERO, out);
        self.look_at_clients_dry(out);
        let (mut devices, mut ops) = (Vec::new(), Vec::new());
        let wanted = self.intent.rows();
        let settled = self.intent.settled();
        for vni in self.backend.vnis()? {
            if settled && wanted.device(vni).is_none() {
                ops.push(Op::Remove(vni));
            }
        }
        let vnis: Vec<Vni> = wanted.vnis().filter(|vni| wanted.device(*vni).is_some()).collect();
        let mut have = Rows::default();
        let states = self.backend.observe(&vnis, Scope::All, &mut |fact| {
            if let Fact::Row { row, .. } = fact {
                have.insert(row);
            }
        });
        for (vni, state) in vnis.into_iter().zip(states) {
            state?;
            let Some(device) = wanted.device(vni).cloned().map(Row::Vni) else { continue };
            devices.push(Op::Put(device.clone()));
            have.insert(device);
            let mut keys = Vec::new();
            plan::differences(wanted, &have, vni, settled, &mut keys);
            plan::plan(wanted, &have, &keys, &mut ops);
        }
        devices.append(&mut ops);
        let mut steps = self.backend.describe(&devices);
        if settled {
            steps.append(&mut self.backend.describe_clear(self.wants_devices()));
        }
        Ok(steps)
    }

    fn busy(&self) -> bool {
        self.more_events
            || !self.dirty.is_empty()
            || !self.dirty_vnis.is_empty()
            || !self.observe.is_empty()
            || !self.audit.is_empty()
            || !self.rewrite.is_empty()
            || self.ask_found
            || !self.found_news.is_empty()
            || self.clients.busy()
            || self.resync_at == Time::ZERO
    }

    /// A key may stand in the queue twice; but the queue must not outgrow what it is about.
    fn push(&mut self, key: Key) {
        if self.dirty.len() >= 4 * BATCH + 2 * (self.intent.rows().len() + self.installed.len()) {
            self.dirty.sort_unstable();
            self.dirty.dedup();
        }
        self.dirty.push(key);
    }

    /// The same for what is to be looked at: somebody may rewrite our rows faster than we look.
    fn look_at(&mut self, key: Key) {
        if self.audit.len() >= 4 * AUDIT_BATCH + 2 * self.installed.len() {
            self.audit.sort_unstable();
            self.audit.dedup();
        }
        self.audit.push(key);
    }
}

mod clients;
mod look;
mod nowhere;
mod write;

#[cfg(test)]
mod tests;
