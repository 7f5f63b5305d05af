//! The dataplane thread as the core's task sees it: changes are pushed, and wait here while the thread has no room.

use anyhow::{Context, Result};
use dataplane::backend::Error;
use dataplane::intent::Change;
use dataplane::reconciler::Status;
use dataplane::thread::Handle;
use tokio::sync::mpsc;

use super::{Event, setup};
use crate::clock;
use crate::config::Config;

/// Changes handed over at a time.
const BATCH: usize = 1024;

/// The dataplane, or that there is none.
#[derive(Debug)]
pub(super) struct Plane {
    thread: Option<Handle>,
    /// Bounded by what one slice of the core's work makes: nothing is added while there is no room.
    waiting: Vec<Change>,
    full: bool,
}

impl Plane {
    /// Starts the thread, if the configuration has a dataplane.
    pub(super) fn start(config: &Config, core: mpsc::Sender<Event>) -> Result<Self> {
        let thread = match setup::dataplane(config)? {
            None => None,
            Some(plane) => {
                let tell = move |update| {
                    // Blocks while the core is busy: then the dataplane waits, and nobody else.
                    let _ = core.blocking_send(Event::Dataplane(update));
                };
                let handle = dataplane::thread::spawn(plane, clock::now, tell)
                    .context("the dataplane thread cannot start")?;
                Some(handle)
            }
        };
        Ok(Self { thread, waiting: Vec::new(), full: false })
    }

    /// There is room for more changes.
    pub(super) const fn has_room(&self) -> bool {
        !self.full
    }

    /// The thread said so.
    pub(super) fn room(&mut self) {
        self.full = false;
        self.flush();
    }

    /// Takes a change in; nothing happens before [`Self::flush`].
    pub(super) fn push(&mut self, change: Change) {
        if self.thread.is_some() {
            self.waiting.push(change);
        }
    }

    /// Hands over what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        let Some(thread) = &self.thread else { return };
        while !self.full && !self.waiting.is_empty() {
            let rest = self.waiting.split_off(self.waiting.len().min(BATCH));
            let batch = std::mem::replace(&mut self.waiting, rest);
            if let Err(mut back) = thread.try_send(batch) {
                back.append(&mut self.waiting);
                self.waiting = back;
                self.full = true;
            }
        }
    }

    /// Has it compare everything with what is there.
    pub(super) fn resync(&self) {
        if let Some(thread) = &self.thread {
            thread.resync();
        }
    }

    /// How it stands; `None` without a dataplane.
    pub(super) fn status(&self) -> Option<Status> {
        self.thread.as_ref().map(Handle::status)
    }

    /// Nothing waits here.
    pub(super) const fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The thread, to ask it about rows.
    pub(super) const fn thread(&self) -> Option<&Handle> {
        self.thread.as_ref()
    }

    /// Hands over what waits and ends the thread.
    pub(super) fn shutdown(mut self, remove: bool) -> Vec<Error> {
        self.flush();
        self.thread.take().map(|t| t.shutdown(remove)).unwrap_or_default()
    }
}
