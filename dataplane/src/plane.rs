//! A dataplane: what a thread, a dry run and a simulation drive. It is told what should be, and makes it so.
//!
//! [`crate::Reconciler`] is one, over a [`Backend`] of rows; Open vSwitch, whose rows depend on one another, is one of
//! its own.

use std::fmt;
use std::os::fd::BorrowedFd;

use types::{Time, Vni};

use crate::backend::{Backend, Error};
use crate::intent::Change;
use crate::plan::Op;
use crate::reconciler::{Output, Reconciler, Status};
use crate::rows::{Key, Row};

/// How a row stands: what is wanted, and what is installed, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What is wanted.
    pub wanted: Option<String>,
    /// What is installed; the same words if it is what is wanted.
    pub installed: Option<String>,
}

/// What is done with a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It comes.
    Add,
    /// It is there, and becomes another.
    Change,
    /// It goes.
    Remove,
    /// It cannot be done now; why is said.
    Cannot,
}

/// What kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Thing {
    /// A network device, or how it is set.
    Device,
    /// A command of Open vSwitch.
    Command,
    /// A row of a forwarding or neighbour table.
    Row,
    /// An OpenFlow flow.
    Flow,
}

/// One step of a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// With what kind of thing.
    pub thing: Thing,
    /// The thing, or the step, in words: `vni 100: create bridge br-evpn-100`, a flow as `ovs-ofctl` has it.
    pub what: String,
}

impl Step {
    /// Something done with something.
    pub fn new(action: Action, thing: Thing, what: impl Into<String>) -> Self {
        Self { action, thing, what: what.into() }
    }

    /// A step about the devices of a VNI.
    pub fn device(action: Action, vni: Vni, step: impl fmt::Display) -> Self {
        Self::new(action, Thing::Device, format!("vni {vni}: {step}"))
    }

    /// The devices of a VNI cannot be what they should be.
    pub fn cannot(vni: Vni, error: &Error) -> Self {
        Self::device(Action::Cannot, vni, format_args!("cannot {error}"))
    }

    /// An op, of which nothing is known but itself.
    pub fn of(op: &Op) -> Self {
        match op {
            Op::Put(row @ Row::Vni(_)) => Self::new(Action::Add, Thing::Device, row.to_string()),
            Op::Put(row) => Self::new(Action::Add, Thing::Row, row.to_string()),
            Op::Del(row) => Self::new(Action::Remove, Thing::Row, row.to_string()),
            Op::Remove(vni) => Self::new(Action::Remove, Thing::Device, format!("vni {vni}")),
        }
    }
}

/// What is told what should be, and makes it so.
pub trait Dataplane: fmt::Debug {
    /// Takes a change of the intent in. Nothing happens before [`Self::handle`].
    fn change(&mut self, change: &Change);

    /// Compare everything at the next [`Self::handle`].
    fn resync(&mut self);

    /// Does a bounded piece of the work there is. Call again at [`Self::deadline`], after changes, and when one of
    /// [`Self::event_fds`] is readable.
    fn handle(&mut self, now: Time, out: &mut Vec<Output>);

    /// When [`Self::handle`] wants to be called next, if nothing happens before: `now` or earlier while there is work
    /// left.
    fn deadline(&self) -> Time;

    /// A snapshot of how things stand.
    fn status(&self) -> Status;

    /// How one row stands.
    fn standing(&self, key: &Key) -> Standing;

    /// What becomes readable when there are events.
    fn event_fds<'a>(&'a self, fds: &mut Vec<BorrowedFd<'a>>);

    /// A dry run: looks at what there is, tells what it sees of ports and clients (as [`Self::handle`] would), and
    /// says what would be done now. Changes nothing but its own idea of what there is.
    fn dry_run(&mut self, out: &mut Vec<Output>) -> Result<Vec<Step>, Error>;

    /// Ends. With `remove`, everything of ours is taken out of the dataplane; without, all stays as it is and goes on
    /// forwarding.
    fn shutdown(self: Box<Self>, remove: bool) -> Vec<Error>;
}

impl<B: Backend> Dataplane for Reconciler<B> {
    fn change(&mut self, change: &Change) {
        self.change(change);
    }

    fn resync(&mut self) {
        self.resync();
    }

    fn handle(&mut self, now: Time, out: &mut Vec<Output>) {
        self.handle(now, out);
    }

    fn deadline(&self) -> Time {
        self.deadline()
    }

    fn status(&self) -> Status {
        self.status()
    }

    fn standing(&self, key: &Key) -> Standing {
        let text = |row: Row| row.to_string();
        Standing {
            wanted: self.intent().rows().get(key).map(text),
            installed: self.installed().get(key).map(text),
        }
    }

    fn event_fds<'a>(&'a self, fds: &mut Vec<BorrowedFd<'a>>) {
        fds.extend(self.backend().event_fd());
    }

    fn dry_run(&mut self, out: &mut Vec<Output>) -> Result<Vec<Step>, Error> {
        self.dry_run(out)
    }

    fn shutdown(self: Box<Self>, remove: bool) -> Vec<Error> {
        (*self).shutdown(remove).1
    }
}
