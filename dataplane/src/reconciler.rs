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

use crate::backend::{Backend, Device, Error, ErrorKind, Fact, Outcome};
use crate::intent::{Change, Intent, Local};
use crate::plan::{self, Op};
use crate::rows::{Key, Row, Rows};

/// Row keys planned in one [`Reconciler::handle`]: some milliseconds of work, so that nothing new waits long.
const BATCH: usize = 2048;
/// Rows observed in one [`Reconciler::handle`] before other work gets its turn.
const OBSERVE_BATCH: usize = 16 * 1024;
/// More keys to look at in one VNI than this: observe it whole instead.
const LOOK_LIMIT: usize = 256;

/// Intervals.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Between full resyncs.
    pub resync: Duration,
    /// After the first failure of an op; doubled for each further one.
    pub retry_min: Duration,
    /// The longest wait before an op is tried again.
    pub retry_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            resync: Duration::from_secs(60),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
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
    /// What changes of the intent give to tell upwards.
    untold: Vec<Local>,
    /// VNIs whose devices are to be put or removed.
    dirty_vnis: BTreeSet<Vni>,
    /// Rows to plan; may hold a key twice. Taken from the end: what is newest goes first.
    dirty: Vec<Key>,
    /// Rows to look at in the backend.
    touched: BTreeMap<Vni, BTreeSet<Key>>,
    /// VNIs to observe.
    observe: BTreeSet<Vni>,
    resync_at: Time,
    resyncing: bool,
    more_events: bool,
    retries: BTreeMap<Key, Retry>,
    /// Nothing works (no permission): wait.
    hold: Option<Retry>,
    repairs: u64,
    last_error: Option<String>,
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
            untold: Vec::new(),
            dirty_vnis: BTreeSet::new(),
            dirty: Vec::new(),
            touched: BTreeMap::new(),
            observe: BTreeSet::new(),
            resync_at: Time::ZERO,
            resyncing: false,
            more_events: false,
            retries: BTreeMap::new(),
            hold: None,
            repairs: 0,
            last_error: None,
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
        match self.intent.apply(change) {
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
        self.put_devices(now, out);
        self.look(out);
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
            desired: self.intent.rows().len(),
            installed: self.installed.len(),
            failing: self.retries.len(),
            repairs: self.repairs,
            last_error: self.last_error.clone(),
            last_resync: self.last_resync,
        }
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
            self.backend.apply(&ops, &mut outcomes);
            errors.extend(outcomes.into_iter().filter_map(|outcome| match outcome {
                Outcome::Failed(error) | Outcome::Partly(error) => Some(error),
                Outcome::Done => None,
            }));
        }
        (self.backend, errors)
    }

    /// A dry run: what would be done to the dataplane now, one line a step. Changes nothing in it.
    pub fn dry_run(&mut self) -> Result<Vec<String>, Error> {
        let mut lines = Vec::new();
        let mut ops = Vec::new();
        let wanted: Vec<Vni> = self.intent.rows().vnis().collect();
        for vni in self.backend.vnis()? {
            if self.intent.settled() && self.intent.rows().device(vni).is_none() {
                ops.push(Op::Remove(vni));
            }
        }
        for vni in wanted {
            let Some(device) = self.intent.rows().device(vni).cloned() else { continue };
            let put = Op::Put(Row::Vni(device.clone()));
            lines.append(&mut self.backend.describe(&put));
            let mut have = Rows::default();
            self.backend.observe(vni, &mut |fact| {
                if let Fact::Row { row, .. } = fact {
                    have.insert(row);
                }
            })?;
            have.insert(Row::Vni(device));
            let mut keys = Vec::new();
            plan::differences(self.intent.rows(), &have, vni, self.intent.settled(), &mut keys);
            plan::plan(self.intent.rows(), &have, &keys, &mut ops);
        }
        for op in &ops {
            lines.append(&mut self.backend.describe(op));
        }
        Ok(lines)
    }

    fn busy(&self) -> bool {
        self.more_events
            || !self.dirty.is_empty()
            || !self.dirty_vnis.is_empty()
            || !self.observe.is_empty()
            || !self.touched.is_empty()
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

    // ---- what the dataplane tells -------------------------------------------------------------------------

    fn take_events(&mut self, out: &mut Vec<Output>) {
        let mut facts = Vec::new();
        self.more_events = self.backend.poll(&mut facts);
        for fact in facts {
            self.event(fact, out);
        }
    }

    fn event(&mut self, fact: Fact, out: &mut Vec<Output>) {
        match fact {
            Fact::Lost => {
                out.push(Output::Event(Event::EventsLost));
                self.resync();
            }
            Fact::Device(vni) => {
                if self.installed.device(vni).is_some() && !self.retries.contains_key(&Key::Vni(vni)) {
                    self.observe.insert(vni);
                } else if self.intent.rows().device(vni).is_some() {
                    self.dirty_vnis.insert(vni);
                }
            }
            // The echo of our own removal is no news.
            Fact::Touched(key) if !self.installed.contains(&key) => {}
            Fact::Touched(key) => {
                self.touched.entry(key.vni()).or_default().insert(key);
            }
            Fact::Row { row, .. } => {
                let key = row.key();
                self.installed.insert(row);
                self.push(key);
            }
            // Somebody wrote over a row of ours, or the bridge learned its MAC. Before or after our last write?
            Fact::Local { vni, mac, .. } | Fact::Foreign(vni, mac)
                if self.installed.contains(&Key::Mac(vni, mac)) =>
            {
                self.touched.entry(vni).or_default().insert(Key::Mac(vni, mac));
            }
            Fact::Local { vni, mac, interface, sticky } => self.local(vni, mac, interface, sticky, out),
            Fact::Foreign(vni, mac) => self.foreign(vni, mac, out),
            Fact::MacGone(vni, mac) => self.mac_gone(vni, mac, out),
            Fact::Neighbour { vni, ip, mac, fixed } => self.neighbour(vni, ip, mac, fixed, out),
            Fact::NeighbourGone(vni, ip) => {
                let known = self.seen.get_mut(&vni).and_then(|seen| seen.neighbours.remove(&ip));
                if known.is_some() {
                    out.push(Output::Local(Local::NeighbourGone { vni, ip }));
                    self.push(Key::Neighbour(vni, ip));
                }
            }
        }
    }

    fn local(&mut self, vni: Vni, mac: MacAddr, interface: Arc<str>, sticky: bool, out: &mut Vec<Output>) {
        let Some(seen) = self.seen.get_mut(&vni) else { return };
        seen.foreign.remove(&mac);
        let new = LocalMac { interface, sticky, superseded: false };
        let old = seen.macs.insert(mac, new.clone());
        if old.as_ref().is_some_and(|o| o.interface == new.interface && o.sticky == sticky && !o.superseded) {
            return;
        }
        out.push(Output::Local(new.seen(vni, mac)));
    }

    /// Somebody else's row: the bridge has one entry for a MAC, so that it is on no local port any more.
    fn foreign(&mut self, vni: Vni, mac: MacAddr, out: &mut Vec<Output>) {
        let Some(seen) = self.seen.get_mut(&vni) else { return };
        seen.foreign.insert(mac);
        if seen.macs.remove(&mac).is_some() {
            out.push(Output::Local(Local::MacGone { vni, mac }));
        }
    }

    fn mac_gone(&mut self, vni: Vni, mac: MacAddr, out: &mut Vec<Output>) {
        let Some(seen) = self.seen.get_mut(&vni) else { return };
        let was_foreign = seen.foreign.remove(&mac);
        let was_local = seen.macs.remove(&mac).is_some();
        if was_local {
            out.push(Output::Local(Local::MacGone { vni, mac }));
        }
        if was_local || was_foreign {
            self.push(Key::Mac(vni, mac));
        }
    }

    fn neighbour(&mut self, vni: Vni, ip: IpAddr, mac: MacAddr, fixed: bool, out: &mut Vec<Output>) {
        let Some(seen) = self.seen.get_mut(&vni) else { return };
        let new = LocalNeighbour { mac, fixed, superseded: false };
        let old = seen.neighbours.insert(ip, new);
        if old.is_none_or(|o| o.mac != mac || o.superseded) {
            out.push(Output::Local(Local::NeighbourSeen { vni, ip, mac }));
        }
        self.installed.remove(&Key::Neighbour(vni, ip));
    }

    fn repaired(&mut self, vni: Vni, rows: usize, example: Key, out: &mut Vec<Output>) {
        self.repairs += rows as u64;
        out.push(Output::Event(Event::Repaired { vni, rows, example }));
    }

    // ---- looking -------------------------------------------------------------------------------------------

    fn start_resync(&mut self, now: Time, out: &mut Vec<Output>) {
        self.resync_at = now + self.config.resync;
        self.resyncing = true;
        let wanted = self.intent.rows();
        let with_device: Vec<Vni> = wanted.vnis().filter(|v| wanted.device(*v).is_some()).collect();
        for vni in with_device {
            if self.installed.device(vni).is_some() {
                self.observe.insert(vni);
            } else if !self.retries.contains_key(&Key::Vni(vni)) {
                self.dirty_vnis.insert(vni);
            }
        }
        match self.backend.vnis() {
            Ok(found) if self.intent.settled() => {
                let wanted = self.intent.rows();
                self.dirty_vnis.extend(found.into_iter().filter(|vni| wanted.device(*vni).is_none()));
            }
            Ok(_) => {}
            Err(error) => self.failed(vec![error], out),
        }
    }

    fn finish_resync(&mut self, now: Time) {
        if self.resyncing && self.observe.is_empty() && self.dirty_vnis.is_empty() {
            self.resyncing = false;
            self.last_resync = Some(now);
        }
    }

    fn look(&mut self, out: &mut Vec<Output>) {
        for (vni, keys) in std::mem::take(&mut self.touched) {
            if self.installed.device(vni).is_none() || self.observe.contains(&vni) {
                continue;
            }
            // A flood list is only shown as a whole.
            if keys.len() > LOOK_LIMIT || keys.iter().any(|key| matches!(key, Key::Flood(..) | Key::Vni(_))) {
                self.observe.insert(vni);
                continue;
            }
            for key in keys {
                self.look_at(key, out);
            }
        }
    }

    fn look_at(&mut self, key: Key, out: &mut Vec<Output>) {
        let mut facts = Vec::new();
        if let Err(error) = self.backend.look(&key, &mut |fact| facts.push(fact)) {
            self.observe.insert(key.vni());
            self.failed(vec![error], out);
            return;
        }
        let before = self.installed.get(&key);
        let mut after = None;
        let mut overtaken = false;
        for fact in facts {
            match fact {
                Fact::Row { row, .. } => after = Some(row),
                Fact::Local { vni, mac, interface, sticky } => {
                    overtaken = true;
                    self.local(vni, mac, interface, sticky, out);
                }
                Fact::Foreign(vni, mac) => {
                    overtaken = true;
                    self.foreign(vni, mac, out);
                }
                other => self.event(other, out),
            }
        }
        if before == after {
            return;
        }
        match after {
            Some(row) => self.installed.insert(row),
            None => self.installed.remove(&key),
        };
        if !overtaken && before.is_some() && self.intent.rows().get(&key) == before {
            self.repaired(key.vni(), 1, key, out);
        }
        self.push(key);
    }

    fn observe_some(&mut self, now: Time, out: &mut Vec<Output>) {
        let mut rows = 0;
        while rows < OBSERVE_BATCH {
            let Some(vni) = self.observe.pop_first() else { break };
            if self.installed.device(vni).is_none() {
                continue;
            }
            match self.observe_vni(vni, out) {
                Ok(n) => rows += n + 64,
                Err(error) => {
                    self.fail(Key::Vni(vni), now);
                    self.failed(vec![error], out);
                }
            }
        }
    }

    /// Compares one VNI with what stands in the dataplane.
    fn observe_vni(&mut self, vni: Vni, out: &mut Vec<Output>) -> Result<usize, Error> {
        let mut found = Rows::default();
        let mut seen = Seen::default();
        let (wanted, installed) = (self.intent.rows(), &self.installed);
        let mut count = 0;
        let device = self.backend.observe(vni, &mut |fact| {
            count += 1;
            match fact {
                Fact::Row { row, own } => {
                    let key = row.key();
                    if own || wanted.contains(&key) || installed.contains(&key) {
                        found.insert(row);
                    }
                }
                Fact::Local { mac, interface, sticky, .. } => {
                    seen.macs.insert(mac, LocalMac { interface, sticky, superseded: false });
                }
                Fact::Foreign(_, mac) => {
                    seen.foreign.insert(mac);
                }
                Fact::Neighbour { ip, mac, fixed, .. } => {
                    seen.neighbours.insert(ip, LocalNeighbour { mac, fixed, superseded: false });
                }
                _ => {}
            }
        })?;

        // The device row itself: right, or to be put again.
        let spec = self.installed.device(vni).cloned();
        if device == Device::Right {
            seen.ready = true;
            if let Some(spec) = spec {
                found.insert(Row::Vni(spec));
            }
        } else {
            self.dirty_vnis.insert(vni);
        }

        let mut keys = Vec::new();
        self.installed.keys(vni, &mut keys);
        keys.sort_unstable();
        let mut lost = 0;
        let mut example = None;
        for key in keys {
            let before = self.installed.get(&key);
            let overtaken = match key {
                Key::Mac(_, mac) => seen.macs.contains_key(&mac) || seen.foreign.contains(&mac),
                _ => false,
            };
            if found.get(&key) != before && !overtaken && self.intent.rows().get(&key) == before {
                lost += 1;
                example.get_or_insert(key);
            }
        }
        if let Some(example) = example {
            self.repaired(vni, lost, example, out);
        }
        self.installed.replace_vni(vni, found);
        self.merge_seen(vni, seen, out);

        let mut keys = Vec::new();
        plan::differences(self.intent.rows(), &self.installed, vni, self.intent.settled(), &mut keys);
        for key in keys {
            if !matches!(key, Key::Vni(_)) && !self.retries.contains_key(&key) {
                self.push(key);
            }
        }
        Ok(count)
    }

    /// Tells upwards how what is seen now differs from what was seen before.
    fn merge_seen(&mut self, vni: Vni, mut now: Seen, out: &mut Vec<Output>) {
        let before = self.seen.remove(&vni).unwrap_or_default();
        for (mac, local) in &mut now.macs {
            if let Some(old) = before.macs.get(mac).filter(|old| old.is_at(local)) {
                local.superseded = old.superseded;
            }
        }
        for (ip, neighbour) in &mut now.neighbours {
            if let Some(old) = before.neighbours.get(ip).filter(|old| old.mac == neighbour.mac) {
                neighbour.superseded = old.superseded;
            }
        }
        out.extend(now.changes(&before, vni).into_iter().map(Output::Local));
        self.seen.insert(vni, now);
    }

    // ---- writing -------------------------------------------------------------------------------------------

    fn put_devices(&mut self, now: Time, out: &mut Vec<Output>) {
        let mut ops: Vec<Op> = Vec::new();
        let dirty = std::mem::take(&mut self.dirty_vnis);
        // What goes first makes room (an interface that changes its VNI) for what comes.
        let (put, gone): (Vec<Vni>, Vec<Vni>) =
            dirty.into_iter().partition(|vni| self.intent.rows().device(*vni).is_some());
        ops.extend(gone.into_iter().map(Op::Remove));
        let spec = |vni: Vni| self.intent.rows().device(vni).cloned();
        ops.extend(put.into_iter().filter_map(spec).map(|l2| Op::Put(Row::Vni(l2))));
        if ops.is_empty() {
            return;
        }
        let mut outcomes = Vec::with_capacity(ops.len());
        self.backend.apply(&ops, &mut outcomes);
        let mut errors = Vec::new();
        for (op, outcome) in ops.into_iter().zip(outcomes) {
            let key = op.key();
            let vni = key.vni();
            let (stands, error) = match outcome {
                Outcome::Done => (true, None),
                Outcome::Partly(error) => (true, Some(error)),
                Outcome::Failed(error) => (false, Some(error)),
            };
            match (op, stands) {
                (Op::Put(row), true) => {
                    self.installed.insert(row);
                    self.observe.insert(vni);
                }
                (Op::Remove(_), true) => self.forget(vni),
                (_, false) => {
                    self.installed.remove(&key);
                    self.set_ready(vni, false, out);
                }
                (Op::Del(_), true) => {}
            }
            match error {
                None => {
                    self.retries.remove(&key);
                }
                Some(error) => {
                    if self.refused(&error, now) {
                        self.dirty_vnis.insert(vni);
                    } else {
                        self.fail(key, now);
                    }
                    errors.push(error);
                }
            }
        }
        self.failed(errors, out);
    }

    fn forget(&mut self, vni: Vni) {
        self.installed.remove_vni(vni);
        self.seen.remove(&vni);
        self.observe.remove(&vni);
        self.touched.remove(&vni);
        if self.intent.rows().device(vni).is_none() {
            self.retries.retain(|key, _| key.vni() != vni);
        }
    }

    fn set_ready(&mut self, vni: Vni, ready: bool, out: &mut Vec<Output>) {
        if let Some(seen) = self.seen.get_mut(&vni)
            && seen.ready != ready
        {
            seen.ready = ready;
            out.push(Output::Local(Local::VniReady(vni, ready)));
        }
    }

    fn put_rows(&mut self, now: Time, out: &mut Vec<Output>) {
        let start = self.dirty.len().saturating_sub(BATCH);
        let mut keys = self.dirty.split_off(start);
        if self.dirty.is_empty() && self.dirty.capacity() > 64 * BATCH {
            self.dirty = Vec::new();
        }
        keys.sort_unstable();
        keys.dedup();
        // A key that needs nothing any more needs no further try.
        for key in &keys {
            if !self.intent.rows().contains(key) && !self.installed.contains(key) {
                self.retries.remove(key);
            }
        }
        let mut errors = Vec::new();
        keys.retain(|key| self.allowed(key, now, &mut errors));
        let mut ops = Vec::with_capacity(keys.len());
        plan::plan(self.intent.rows(), &self.installed, &keys, &mut ops);
        let mut outcomes = Vec::with_capacity(ops.len());
        if !ops.is_empty() {
            self.backend.apply(&ops, &mut outcomes);
        }
        for (op, outcome) in ops.into_iter().zip(outcomes) {
            let key = op.key();
            match outcome {
                Outcome::Done => {
                    self.retries.remove(&key);
                    match op {
                        Op::Put(row) => {
                            self.installed.insert(row);
                            self.moved_away(key, out);
                        }
                        Op::Del(_) | Op::Remove(_) => {
                            self.installed.remove(&key);
                        }
                    }
                }
                Outcome::Partly(error) | Outcome::Failed(error) => {
                    if self.refused(&error, now) {
                        self.dirty.push(key);
                    } else {
                        if error.kind == ErrorKind::NoDevice {
                            self.observe.insert(key.vni());
                        }
                        self.fail(key, now);
                    }
                    errors.push(error);
                }
            }
        }
        for key in keys {
            if self.retries.contains_key(&key) && self.intent.rows().get(&key) == self.installed.get(&key) {
                self.retries.remove(&key);
            }
        }
        self.failed(errors, out);
    }

    /// May this key be written? Not over rows of others, and not over a host that has just moved here.
    fn allowed(&mut self, key: &Key, now: Time, errors: &mut Vec<Error>) -> bool {
        // Not seen yet: what stands there may be another's. The look at the VNI that is due brings the key back.
        let Some(seen) = self.seen.get(&key.vni()) else { return false };
        let conflict = match key {
            Key::Mac(_, mac) if seen.foreign.contains(mac) => {
                self.installed.remove(key);
                Some("a static entry that is not evpnd's covers this MAC".to_owned())
            }
            _ if !self.intent.rows().contains(key) => return true,
            Key::Mac(_, mac) => match seen.macs.get(mac) {
                Some(local) if local.sticky => {
                    Some(format!("a static entry on {} covers it", local.interface))
                }
                Some(local) => return local.superseded,
                None => return true,
            },
            Key::Neighbour(_, ip) => match seen.neighbours.get(ip) {
                Some(local) if local.fixed => {
                    Some(format!("a permanent entry with MAC {} covers it", local.mac))
                }
                Some(local) => return local.superseded,
                None => return true,
            },
            Key::Vni(_) | Key::Flood(..) => return true,
        };
        if let Some(reason) = conflict
            && self.intent.rows().contains(key)
        {
            self.fail(*key, now);
            errors.push(Error::new(ErrorKind::Conflict, format!("install {key}"), reason));
        }
        false
    }

    /// Our row has replaced what the bridge had learned.
    fn moved_away(&mut self, key: Key, out: &mut Vec<Output>) {
        let Some(seen) = self.seen.get_mut(&key.vni()) else { return };
        match key {
            Key::Mac(vni, mac) if seen.macs.remove(&mac).is_some() => {
                out.push(Output::Local(Local::MacGone { vni, mac }));
            }
            Key::Neighbour(vni, ip) if seen.neighbours.remove(&ip).is_some() => {
                out.push(Output::Local(Local::NeighbourGone { vni, ip }));
            }
            _ => {}
        }
    }

    // ---- failures ------------------------------------------------------------------------------------------

    fn retry_due(&mut self, now: Time) {
        if !self.retries.values().any(|retry| retry.at <= now) {
            return;
        }
        let due: Vec<Key> = self.retries.iter().filter(|(_, r)| r.at <= now).map(|(key, _)| *key).collect();
        for key in due {
            match key {
                Key::Vni(vni) => {
                    self.dirty_vnis.insert(vni);
                }
                _ => self.push(key),
            }
            // Tried once now; another failure pushes it further out.
            if let Some(retry) = self.retries.get_mut(&key) {
                retry.at = now + self.config.retry_max;
            }
        }
    }

    fn backoff(&self, attempts: u32) -> Duration {
        let doubled = self.config.retry_min.saturating_mul(1 << attempts.min(16));
        doubled.min(self.config.retry_max)
    }

    fn fail(&mut self, key: Key, now: Time) {
        let attempts = self.retries.get(&key).map_or(0, |retry| retry.attempts + 1);
        self.retries.insert(key, Retry { attempts, at: now + self.backoff(attempts) });
    }

    /// If nothing is permitted at all, waits as a whole instead of failing row by row.
    fn refused(&mut self, error: &Error, now: Time) -> bool {
        if error.kind != ErrorKind::Permission {
            return false;
        }
        if self.hold.is_none_or(|hold| hold.at <= now) {
            let attempts = self.hold.map_or(0, |hold| hold.attempts + 1);
            self.hold = Some(Retry { attempts, at: now + self.backoff(attempts) });
        }
        true
    }

    fn failed(&mut self, errors: Vec<Error>, out: &mut Vec<Output>) {
        let more = errors.len().saturating_sub(1);
        if let Some(error) = errors.into_iter().next() {
            self.last_error = Some(error.to_string());
            out.push(Output::Event(Event::Failed { error, more }));
        }
    }
}

#[cfg(test)]
mod tests;
