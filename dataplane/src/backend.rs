//! What a backend is: something that shows the rows it holds, takes ops, and tells what happens in it.
//!
//! Backends keep no intent of their own and decide nothing; the [`crate::Reconciler`] does. What they answer for
//! is ownership: only rows and devices of ours are ever reported as rows, changed or removed.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use types::{MacAddr, Vni};

use crate::plan::Op;
use crate::plane::Step;
use crate::rows::{Key, Row, Rows};

/// Something seen in a dataplane: a piece of an observation, or an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A row of ours stands. (A flood row nobody can tell from ours has `own: false`: it satisfies the intent, and
    /// it is not reaped.)
    Row {
        /// The row.
        row: Row,
        /// It bears our mark.
        own: bool,
    },
    /// Event: a row of ours went, or may have been changed. Look at the key again.
    Touched(Key),
    /// Event: a row of ours with just this value went.
    Gone(Row),
    /// A MAC is on a local port.
    Local {
        /// In this VNI.
        vni: Vni,
        /// The MAC.
        mac: MacAddr,
        /// The port.
        interface: Arc<str>,
        /// A static entry someone made.
        sticky: bool,
    },
    /// A MAC is covered by a row of somebody else: hands off.
    Foreign(Vni, MacAddr),
    /// Event: a MAC is no longer on a local port, or no longer covered by somebody else's row.
    MacGone(Vni, MacAddr),
    /// An address of a host was found by the host itself (ARP, ND), or written by someone (`fixed`).
    Neighbour {
        /// In this VNI.
        vni: Vni,
        /// The address.
        ip: IpAddr,
        /// The MAC.
        mac: MacAddr,
        /// Not ours to overwrite.
        fixed: bool,
    },
    /// Event: that address is known no longer.
    NeighbourGone(Vni, IpAddr),
    /// Event: the devices of this VNI are not as they were left. Look at all of it again.
    Device(Vni),
    /// Which VLAN of this host stands for a VNI.
    Vlan(Vni, u16),
    /// Event: others set up a VNI that is to be taken up (true), or took it away. [`Backend::found`] tells of all.
    Found(Vni, bool),
    /// Event: a port that was asked for ([`Backend::port`]) came, went, or was attached elsewhere.
    Port(Arc<str>),
    /// Event: events were lost. Look at everything again.
    Lost,
}

/// How much to observe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// What is cheap: the devices, the MACs on local ports and the neighbours; of our rows, whatever is at hand.
    Local,
}

/// The state of the devices of a VNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// As wanted by the last [`Row::Vni`] put.
    Right,
    /// There, but not as wanted.
    Wrong,
    /// Not there.
    Missing,
}

/// Where a port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortPlace {
    /// It is a port of the VNI's bridge.
    Attached,
    /// It is there, and can be attached.
    Free,
    /// It is a port of this device, which is not ours.
    Taken(String),
    /// It could not be attached, and why; nothing about it has changed since.
    Refused(String),
    /// There is no such interface.
    Missing,
}

/// What became of one op.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It stands (or is gone) as asked.
    Done,
    /// The devices stand and can take rows, but something of the op is still to be done.
    Partly(Error),
    /// There is no table such a row could be in, as is meant by whoever made the devices (or configured them): that
    /// is no failure, and the row is not missed until the devices of its VNI change.
    Nowhere,
    /// It failed.
    Failed(Error),
}

impl Outcome {
    /// What went wrong, if something did.
    pub fn error(self) -> Option<Error> {
        match self {
            Self::Done | Self::Nowhere => None,
            Self::Partly(error) | Self::Failed(error) => Some(error),
        }
    }
}

/// What kind of failure, so far as it changes what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// We may not do this at all: nothing else will work either.
    Permission,
    /// The device is not there (any longer): look at the VNI again.
    NoDevice,
    /// Something of somebody else stands in the way.
    Conflict,
    /// Anything else: try again later.
    Other,
}

/// A failure with its place: what was being done to what, and why it did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind.
    pub kind: ErrorKind,
    /// What was being done to what: `create bridge br-evpn-100`.
    pub action: String,
    /// Why it did not work: `permission denied: needs CAP_NET_ADMIN`.
    pub reason: String,
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, action: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { kind, action: action.into(), reason: reason.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.action, self.reason)
    }
}

impl std::error::Error for Error {}

/// A dataplane that can be shown, changed and listened to. No method blocks for longer than the work takes.
pub trait Backend: fmt::Debug {
    /// `kernel`, `ovs`, `memory`.
    fn name(&self) -> &'static str;

    /// The VNIs it holds devices of ours for, whether wanted or left by an earlier run.
    fn vnis(&mut self) -> Result<Vec<Vni>, Error>;

    /// What there is in these VNIs, now, and in what state the devices of each are: an answer for each, in order.
    ///
    /// If tables are [shared](Self::shared), what was put is observed before the next [`Self::poll`]. So a backend that
    /// knows of a VNI it has just made that nothing can be in it need not look: what comes later comes as events.
    fn observe(
        &mut self,
        vnis: &[Vni],
        scope: Scope,
        found: &mut dyn FnMut(Fact),
    ) -> Vec<Result<Device, Error>>;

    /// All VNIs are in the same tables, so that a look at many costs what a look at one does.
    fn shared(&self) -> bool {
        false
    }

    /// The VNIs that others set up and that are to be taken up as they are, if that is what was configured.
    fn found(&mut self) -> Result<Vec<Vni>, Error> {
        Ok(Vec::new())
    }

    /// What there is at these keys, of MACs and neighbours, now; nothing is told of one where there is nothing.
    fn look(&mut self, keys: &[Key], found: &mut dyn FnMut(Fact)) -> Result<(), Error>;

    /// Applies ops in order and appends one outcome for each. All ops are idempotent.
    ///
    /// `standing` is what stands of ours, as far as it was put or [observed](Self::observe), so that what is to be taken
    /// away need not be looked for.
    fn apply(&mut self, ops: &[Op], standing: &Rows, outcomes: &mut Vec<Outcome>);

    /// Appends a bounded number of events; true if there may be more at once.
    fn poll(&mut self, facts: &mut Vec<Fact>) -> bool;

    /// Ends a comparison of everything, after what is wanted was put and what is not was removed: takes away what of ours
    /// is left beside that, for the most part by an earlier run; what all VNIs share only if none is `wanted`. Of what it
    /// has to leave, `notes` tell people.
    fn clear(&mut self, _wanted: bool, _notes: &mut Vec<String>) -> Result<(), Error> {
        Ok(())
    }

    /// What [`Self::clear`] would do after all that was described.
    fn describe_clear(&mut self, _wanted: bool) -> Vec<Step> {
        Vec::new()
    }

    /// What ops would do, which are all there is to be done: a dry run asks once.
    fn describe(&mut self, ops: &[Op]) -> Vec<Step> {
        ops.iter().map(Step::of).collect()
    }

    /// What is wanted of it, as it was last told, and cannot be had here: a line each, with what to do. Those are no
    /// failures, and nothing is tried again.
    fn limits(&self) -> Vec<String> {
        Vec::new()
    }

    /// Where the port of a client is, as seen from a VNI. From now on there is a [`Fact::Port`] when that changes.
    fn port(&mut self, vni: Vni, interface: &str) -> Result<PortPlace, Error>;

    /// Nobody asks for this port any more.
    fn forget_port(&mut self, interface: &str);

    /// Becomes readable when there are events.
    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// How many messages the dataplane was sent and answered so far, if that is how one talks to it: what things cost,
    /// however fast the machine is. Events do not count.
    fn messages(&self) -> u64 {
        0
    }
}

impl<B: Backend + ?Sized> Backend for Box<B> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn vnis(&mut self) -> Result<Vec<Vni>, Error> {
        (**self).vnis()
    }

    fn observe(
        &mut self,
        vnis: &[Vni],
        scope: Scope,
        found: &mut dyn FnMut(Fact),
    ) -> Vec<Result<Device, Error>> {
        (**self).observe(vnis, scope, found)
    }

    fn shared(&self) -> bool {
        (**self).shared()
    }

    fn found(&mut self) -> Result<Vec<Vni>, Error> {
        (**self).found()
    }

    fn look(&mut self, keys: &[Key], found: &mut dyn FnMut(Fact)) -> Result<(), Error> {
        (**self).look(keys, found)
    }

    fn apply(&mut self, ops: &[Op], standing: &Rows, outcomes: &mut Vec<Outcome>) {
        (**self).apply(ops, standing, outcomes);
    }

    fn poll(&mut self, facts: &mut Vec<Fact>) -> bool {
        (**self).poll(facts)
    }

    fn clear(&mut self, wanted: bool, notes: &mut Vec<String>) -> Result<(), Error> {
        (**self).clear(wanted, notes)
    }

    fn describe_clear(&mut self, wanted: bool) -> Vec<Step> {
        (**self).describe_clear(wanted)
    }

    fn describe(&mut self, ops: &[Op]) -> Vec<Step> {
        (**self).describe(ops)
    }

    fn limits(&self) -> Vec<String> {
        (**self).limits()
    }

    fn port(&mut self, vni: Vni, interface: &str) -> Result<PortPlace, Error> {
        (**self).port(vni, interface)
    }

    fn forget_port(&mut self, interface: &str) {
        (**self).forget_port(interface);
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        (**self).event_fd()
    }

    fn messages(&self) -> u64 {
        (**self).messages()
    }
}
