//! The engine: holds what should be ([`Pipeline`]) and what it believes is installed, and drives Open vSwitch's tools
//! until what is equals what should be.
//!
//! Level-triggered, as [`crate::Reconciler`] is: a change names units, units are rendered, and what differs from what
//! is installed goes out in one bundle, together with whatever else there is by then. On connecting, on a timer and
//! when told, all flows are read back and compared. Only flows with our cookie are ever changed or removed; and what
//! an earlier run left is removed only once everything has been heard again ([`Change::Settled`]), so that a restart
//! of evpnd costs no packet.
//!
//! While Open vSwitch cannot be reached, nothing is said upwards about clients: what was up stays announced, since
//! the datapath may well go on forwarding.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use types::Time;

use super::OvsConfig;
use super::bridge;
use super::flow::{Flow, FlowId};
use super::installed::{Installed, Stands};
use super::ovsdb::Db;
use super::pipeline::{Pipeline, Unit};
use super::tools::{Commands, Failure, Monitor, Tools};
use crate::backend::{Error, ErrorKind};
use crate::backoff::backoff;
use crate::intent::{Change, Local};
use crate::plane::{Dataplane, Standing, Step};
use crate::reconciler::{Event, Output, Status};
use crate::rows::Key;

mod compare;
mod link;
mod write;

/// Between full comparisons.
const COMPARE: Duration = Duration::from_secs(60);
/// A comparison that took long is followed by at least so many times as long without one.
const COMPARE_SHARE: u32 = 20;
/// After the first failure of a unit; doubled for each further one.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest wait before a unit is tried again.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Things to tell that may wait for Open vSwitch to come back before they are looked through.
const UNTOLD: usize = 1024;

#[derive(Clone, Debug, Default)]
struct Retry {
    attempts: u32,
    at: Time,
    /// What was said of it last.
    said: String,
}

/// A unit that was refused, whole or in part.
#[derive(Clone, Debug, Default)]
struct Refused {
    retry: Retry,
    /// It waits for its time; else it is being tried.
    waits: bool,
    /// The flows of it that are left out, and what they were; none: all of it.
    without: Vec<(FlowId, u64)>,
    /// Everything that was said of it, each once.
    said: Vec<String>,
}

/// Can a bridge or port be called that, here and on a command line?
fn is_device_name(name: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | '"' | '\\' | ',');
    (1..=15).contains(&name.len()) && !name.starts_with('-') && name.chars().all(plain)
}

/// The connection to the bridge.
#[derive(Debug)]
enum Link {
    /// There is none; to be tried at that time.
    Down { at: Time },
    /// There is.
    Up { monitor: Box<dyn Monitor> },
}

/// Flows that go out in bundles of their own.
#[derive(Debug)]
enum Piece {
    /// Units of a bundle that was refused.
    Units(Vec<Unit>),
    /// Lines that take out flows no unit knows.
    Strays(Vec<String>),
}

/// What an earlier run left at a place: digest, and length of the actions.
#[derive(Clone, Copy, Debug)]
struct Left {
    digest: u64,
    actions: u32,
}

/// Open vSwitch as a dataplane. See the module's text.
pub struct Switch {
    config: OvsConfig,
    tools: Box<dyn Tools + Send>,
    pipeline: Pipeline,
    link: Link,
    /// Attempts to connect since a comparison succeeded.
    attempts: u32,
    /// It did not answer when it was last spoken to.
    silent: bool,
    /// What keeps Open vSwitch away, as it was told.
    trouble: Option<String>,
    /// What is wrong with bridge or VXLAN port, as it was told; while this stands they are looked at again.
    setup: Option<Retry>,
    /// What was remarked of the bridge.
    remarks: Vec<String>,
    /// The name of the VXLAN port, once known.
    vxlan: Option<String>,
    /// Look at the ports again.
    ports_due: bool,
    /// And once more then: the monitor may not have been listening yet.
    ports_at: Option<Time>,
    /// Units to be rendered and compared with what is installed.
    dirty: BTreeSet<Unit>,
    /// What goes out before that.
    pieces: Vec<Piece>,
    /// The bundle that ovs-vswitchd is at work on, if that is not waited for.
    flying: Option<write::Flying>,
    /// Lines in a bundle, at most.
    bundle_lines: usize,
    /// Bundles refused since all was well.
    refused: u32,
    installed: Installed<Unit>,
    /// Whose the flows of clients are: seats change hands.
    owners: HashMap<FlowId, Arc<str>, RandomState>,
    /// Flows that are not ours, as of the last comparison.
    foreign: HashSet<FlowId, RandomState>,
    /// Flows of ours that an earlier run left and nobody asked for yet.
    left: HashMap<FlowId, Left, RandomState>,
    /// Units that were refused, to be tried again.
    failing: BTreeMap<Unit, Refused>,
    /// Units with flows that foreign flows stand in the way of, and how many.
    blocked: BTreeMap<Unit, usize>,
    /// One of those flows, until it is told.
    blocking: Option<String>,
    /// The conflict that was told last.
    conflict: Option<String>,
    compare_at: Time,
    /// A comparison began then; how long it took shows at the next turn.
    comparing: Option<Time>,
    repairs: u64,
    last_error: Option<String>,
    last_resync: Option<Time>,
    untold: Vec<Local>,
    untold_limit: usize,
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch")
            .field("bridge", &self.config.bridge)
            .field("link", &self.link)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl Switch {
    /// An engine for this bridge. Nothing is looked at or run before the first [`Dataplane::handle`]: Open vSwitch
    /// may well come later. Fails if bridge or VXLAN port have names that cannot be made.
    pub fn open(config: OvsConfig) -> Result<Self, Error> {
        for (what, name) in [("bridge", &config.bridge), ("vxlan", &config.vxlan)] {
            if !is_device_name(name) {
                let reason = "not a name a network device can have: 1 to 15 characters, no space, no slash, \
                              no dash at the beginning";
                return Err(Error::new(ErrorKind::Other, format!("{what} = {name:?}"), reason));
            }
        }
        let tools = Commands {
            bridge: config.bridge.clone(),
            db: config.db.clone(),
            rundir: config.rundir.clone(),
            vsctl: config.vsctl.clone(),
            ofctl: config.ofctl.clone(),
        };
        Ok(Self::with_tools(config, Box::new(tools)))
    }

    fn with_tools(config: OvsConfig, tools: Box<dyn Tools + Send>) -> Self {
        Self {
            pipeline: Pipeline::new(&config),
            config,
            tools,
            link: Link::Down { at: Time::ZERO },
            attempts: 0,
            silent: false,
            trouble: None,
            setup: None,
            remarks: Vec::new(),
            vxlan: None,
            ports_due: false,
            ports_at: None,
            // What is there whatever is configured.
            dirty: BTreeSet::from([Unit::Base]),
            pieces: Vec::new(),
            flying: None,
            bundle_lines: write::LINES,
            refused: 0,
            installed: Installed::default(),
            owners: HashMap::default(),
            foreign: HashSet::default(),
            left: HashMap::default(),
            failing: BTreeMap::new(),
            blocked: BTreeMap::new(),
            blocking: None,
            conflict: None,
            compare_at: Time::ZERO,
            comparing: None,
            repairs: 0,
            last_error: None,
            last_resync: None,
            untold: Vec::new(),
            untold_limit: UNTOLD,
        }
    }

    const fn is_up(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// There is something to do at once.
    fn busy(&self) -> bool {
        if !self.is_up() {
            return false;
        }
        let work = !self.dirty.is_empty() || !self.pieces.is_empty() || self.flying.is_some();
        work || self.ports_due || self.comparing.is_some() || !self.untold.is_empty()
    }

    fn failed(&mut self, error: Error, more: usize, out: &mut Vec<Output>) {
        self.last_error = Some(error.to_string());
        out.push(Output::Event(Event::Failed { error, more }));
    }

    /// Only the last word on each client and VNI counts, should nobody be told for long.
    fn compact_untold(&mut self) {
        let mut heard = HashSet::new();
        let mut last: Vec<Local> = Vec::new();
        for local in self.untold.drain(..).rev() {
            let key = match &local {
                Local::Client { name, .. } => Some((Some(name.clone()), None)),
                Local::VniReady(vni, _) => Some((None, Some(*vni))),
                _ => None,
            };
            if key.is_none_or(|key| heard.insert(key)) {
                last.push(local);
            }
        }
        last.reverse();
        self.untold = last;
    }

    /// The unit a key is in.
    fn unit_of(key: &Key) -> Option<Unit> {
        match *key {
            Key::Vni(vni) => Some(Unit::Vni(vni)),
            Key::Mac(vni, mac) => Some(Unit::Mac(vni, mac)),
            Key::Neighbour(vni, ip) => Some(Unit::Neighbour(vni, ip)),
            Key::Prefix(vni, net) => Some(Unit::Prefix(vni, net.trunc())),
            Key::Flood(..) => None,
        }
    }

    fn render(&self, unit: &Unit) -> Vec<Flow> {
        let mut flows = Vec::new();
        self.pipeline.render(unit, &mut flows);
        flows
    }
}

impl Dataplane for Switch {
    fn change(&mut self, change: &Change) {
        if *change == Change::Settled && !self.pipeline.intent().settled() {
            self.compare_at = Time::ZERO;
        }
        self.pipeline.change(change, &mut self.dirty, &mut self.untold);
        if self.untold.len() >= self.untold_limit && !self.is_up() {
            self.compact_untold();
            self.untold_limit = UNTOLD + 2 * self.untold.len();
        }
    }

    fn resync(&mut self) {
        self.compare_at = Time::ZERO;
    }

    fn handle(&mut self, now: Time, out: &mut Vec<Output>) {
        self.measure(now);
        self.listen(now, out);
        let mut inspected = false;
        if matches!(self.link, Link::Down { at } if at <= now) {
            self.connect(now, out);
            inspected = true;
        }
        if self.is_up() {
            self.check_ports(now, out);
        }
        let retry = self.setup.as_ref().is_some_and(|retry| retry.at <= now);
        if self.is_up() && !inspected && (retry || self.compare_at <= now) {
            self.inspect(now, out);
        }
        if self.is_up() && self.compare_at <= now {
            self.land(now, out);
        }
        if self.is_up() && self.compare_at <= now {
            self.compare(now, out);
        }
        if self.is_up() {
            self.retry_due(now);
            self.write(now, out);
        }
        if self.is_up() {
            out.extend(self.untold.drain(..).map(Output::Local));
        }
    }

    fn deadline(&self) -> Time {
        if let Link::Down { at } = self.link {
            return at;
        }
        if self.busy() {
            return Time::ZERO;
        }
        let retries = self.failing.values().map(|refused| &refused.retry).chain(&self.setup).map(|r| r.at);
        retries.chain(self.ports_at).min().map_or(self.compare_at, |at| at.min(self.compare_at))
    }

    fn status(&self) -> Status {
        let blocked: usize = self.blocked.values().sum();
        let failing: usize = self.failing.values().map(|refused| refused.without.len().max(1)).sum();
        let flying = self.flying.as_ref().map_or(0, write::Flying::len);
        Status {
            backend: "ovs",
            in_sync: self.is_up()
                && self.setup.is_none()
                && self.dirty.is_empty()
                && self.pieces.is_empty()
                && self.flying.is_none()
                && self.failing.is_empty()
                && blocked == 0
                && self.compare_at != Time::ZERO
                && self.last_resync.is_some(),
            // While units wait, each is taken for one flow.
            desired: self.installed.len() + blocked + failing + self.dirty.len() + flying,
            installed: self.installed.len(),
            failing: failing + blocked,
            repairs: self.repairs,
            last_error: self.last_error.clone(),
            limits: Vec::new(),
            last_resync: self.last_resync,
        }
    }

    fn standing(&self, key: &Key) -> Standing {
        let Some(unit) = Self::unit_of(key) else { return Standing::default() };
        let wanted = self.render(&unit);
        let words = |flows: Vec<String>| (!flows.is_empty()).then(|| flows.join("; "));
        let stands = |stands: Stands<'_>| {
            let same = wanted.iter().find(|flow| flow.id() == stands.id() && flow.digest() == stands.digest);
            same.map_or_else(|| format!("{stands} with other actions"), ToString::to_string)
        };
        Standing {
            wanted: words(wanted.iter().map(ToString::to_string).collect()),
            installed: words(self.installed.get(&unit).map(stands).collect()),
        }
    }

    fn event_fds<'a>(&'a self, fds: &mut Vec<BorrowedFd<'a>>) {
        if let Link::Up { monitor } = &self.link {
            fds.extend(monitor.fd());
        }
    }

    fn dry_run(&mut self, out: &mut Vec<Output>) -> Result<Vec<Step>, Error> {
        self.rehearse(out).map_err(|failure| failure.error)
    }

    fn shutdown(mut self: Box<Self>, remove: bool) -> Vec<Error> {
        self.link = Link::Down { at: Time::ZERO };
        if !remove {
            return Vec::new();
        }
        self.remove().err().map(|failure| failure.error).into_iter().collect()
    }
}

impl Switch {
    /// Takes everything of ours out.
    fn remove(&self) -> Result<(), Failure> {
        let db = Db::read(&*self.tools)?;
        if db.bridge(&self.config.bridge).is_none() {
            return Ok(());
        }
        self.tools.bundle(&format!("delete {}\n", super::flow::OURS))?;
        bridge::tear_down(&self.config, &*self.tools, &db)
    }
}

#[cfg(test)]
mod tests;
