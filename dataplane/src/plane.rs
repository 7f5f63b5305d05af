//! A dataplane: what a thread, a dry run and a simulation drive. It is told what should be, and makes it so.
//!
//! [`crate::Reconciler`] is one, over a [`Backend`] of rows; Open vSwitch, whose rows depend on one another, is one of
//! its own.

use std::fmt;
use std::os::fd::BorrowedFd;

use types::Time;

use crate::backend::{Backend, Error};
use crate::intent::Change;
use crate::reconciler::{Output, Reconciler, Status};
use crate::rows::Key;

/// How a row stands: what is wanted, and what is installed, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What is wanted.
    pub wanted: Option<String>,
    /// What is installed; the same words if it is what is wanted.
    pub installed: Option<String>,
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
    /// says what would be done now, one line a step. Changes nothing but its own idea of what there is.
    fn dry_run(&mut self, out: &mut Vec<Output>) -> Result<Vec<String>, Error>;

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
        let text = |row: crate::rows::Row| row.to_string();
        Standing {
            wanted: self.intent().rows().get(key).map(text),
            installed: self.installed().get(key).map(text),
        }
    }

    fn event_fds<'a>(&'a self, fds: &mut Vec<BorrowedFd<'a>>) {
        fds.extend(self.backend().event_fd());
    }

    fn dry_run(&mut self, out: &mut Vec<Output>) -> Result<Vec<String>, Error> {
        self.dry_run(out)
    }

    fn shutdown(self: Box<Self>, remove: bool) -> Vec<Error> {
        (*self).shutdown(remove).1
    }
}
