//! The thread a dataplane lives on: bounded channels in and out, asleep while there is nothing to do.
//!
//! The core never waits for it: [`Handle::try_send`] takes changes or gives them back, and once there is room again
//! the output callback hears [`Update::Room`]. The callback runs on this thread and may block; then the dataplane
//! waits, and nobody else.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use types::Time;

use crate::backend::Error;
use crate::intent::Change;
use crate::plane::{Dataplane, Standing};
use crate::reconciler::{Output, Status};
use crate::rows::Key;

/// Messages that wait for the thread; each carries as many changes as the sender saw fit.
const QUEUE: usize = 64;
/// Messages taken before the dataplane gets its turn.
const TAKE: usize = 16;

/// What the callback is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Something seen or done.
    Output(Output),
    /// [`Handle::try_send`] had no room; now there is.
    Room,
}

enum Message {
    Changes(Vec<Change>),
    Resync,
    Lookup(Vec<Key>, Box<dyn FnOnce(Vec<Standing>) + Send>),
    Shutdown { remove: bool },
}

#[derive(Debug)]
struct Shared {
    status: Mutex<Status>,
    wake: OwnedFd,
    full: AtomicBool,
}

impl Shared {
    fn wake(&self) {
        // Fails only when the counter is full, and then the thread is awake already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

/// The way to a dataplane thread. Dropping it ends the thread; what is installed stays.
pub struct Handle {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Vec<Error>>>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Handle {
    /// Hands changes over, or gives them back if there is no room now. Never blocks.
    pub fn try_send(&self, changes: Vec<Change>) -> Result<(), Vec<Change>> {
        match self.send(Message::Changes(changes)) {
            Err(Message::Changes(changes)) => Err(changes),
            _ => Ok(()),
        }
    }

    /// Compare everything now.
    pub fn resync(&self) {
        // With no room, the thread has work enough; its timer does the rest.
        let _ = self.send(Message::Resync);
    }

    /// How these rows stand; the answer comes on the dataplane thread. False if there is no room to ask.
    pub fn lookup(&self, keys: Vec<Key>, answer: impl FnOnce(Vec<Standing>) + Send + 'static) -> bool {
        self.send(Message::Lookup(keys, Box::new(answer))).is_ok()
    }

    fn send(&self, message: Message) -> Result<(), Message> {
        let sent = self.sender.try_send(message);
        if sent.is_err() {
            // The wake-up after the mark makes the thread take messages once more, and then see the mark.
            self.shared.full.store(true, Ordering::SeqCst);
        }
        self.shared.wake();
        sent.map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })
    }

    /// How things stand, as of the thread's last turn.
    pub fn status(&self) -> Status {
        self.shared.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the thread and waits for it. With `remove`, everything of ours is taken out of the dataplane first.
    pub fn shutdown(mut self, remove: bool) -> Vec<Error> {
        // The thread keeps taking messages, so this waits for no longer than a turn of it.
        let sent = self.sender.send(Message::Shutdown { remove });
        self.shared.wake();
        match self.thread.take() {
            Some(thread) if sent.is_ok() => thread.join().unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.sender.send(Message::Shutdown { remove: false });
            self.shared.wake();
            let _ = thread.join();
        }
    }
}

/// Starts a dataplane on a thread of its own. `clock` tells the time, `output` hears everything that comes up.
pub fn spawn<C, F>(plane: Box<dyn Dataplane + Send>, clock: C, output: F) -> io::Result<Handle>
where
    C: Fn() -> Time + Send + 'static,
    F: FnMut(Update) + Send + 'static,
{
    let (sender, receiver) = sync_channel(QUEUE);
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let shared = Arc::new(Shared { status: Mutex::default(), wake, full: AtomicBool::new(false) });
    let runner = Runner { plane, receiver, shared: Arc::clone(&shared), clock, output, out: Vec::new() };
    runner.publish();
    let thread = std::thread::Builder::new().name("dataplane".into()).spawn(move || runner.run())?;
    Ok(Handle { sender, shared, thread: Some(thread) })
}

/// What a look into the queue came to.
enum Took {
    /// Everything there was.
    All,
    /// As much as fits in one turn.
    Some,
    /// It is time to end.
    End { remove: bool },
}

struct Runner<C, F> {
    plane: Box<dyn Dataplane + Send>,
    receiver: Receiver<Message>,
    shared: Arc<Shared>,
    clock: C,
    output: F,
    out: Vec<Output>,
}

impl<C: Fn() -> Time, F: FnMut(Update)> Runner<C, F> {
    fn run(mut self) -> Vec<Error> {
        loop {
            let more = match self.messages() {
                Took::All => false,
                Took::Some => true,
                Took::End { remove } => return self.plane.shutdown(remove),
            };
            self.plane.handle((self.clock)(), &mut self.out);
            for output in self.out.drain(..) {
                (self.output)(Update::Output(output));
            }
            self.publish();
            if self.shared.full.swap(false, Ordering::SeqCst) {
                (self.output)(Update::Room);
            }
            let now = (self.clock)();
            let deadline = self.plane.deadline();
            if deadline > now && !more {
                self.sleep(deadline.since(now));
            }
        }
    }

    /// Takes what has been sent, up to a limit.
    fn messages(&mut self) -> Took {
        for _ in 0..TAKE {
            match self.receiver.try_recv() {
                Ok(Message::Changes(changes)) => changes.iter().for_each(|c| self.plane.change(c)),
                Ok(Message::Resync) => self.plane.resync(),
                Ok(Message::Lookup(keys, answer)) => {
                    answer(keys.iter().map(|key| self.plane.standing(key)).collect());
                }
                Ok(Message::Shutdown { remove }) => return Took::End { remove },
                Err(TryRecvError::Empty) => return Took::All,
                Err(TryRecvError::Disconnected) => return Took::End { remove: false },
            }
        }
        Took::Some
    }

    fn publish(&self) {
        let status = self.plane.status();
        *self.shared.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// Sleeps until a message, an event of the backend, or the deadline.
    fn sleep(&self, timeout: Duration) {
        let mut events = Vec::new();
        self.plane.event_fds(&mut events);
        let mut fds = vec![PollFd::new(&self.shared.wake, PollFlags::IN)];
        fds.extend(events.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        // Rounded up: woken a moment too early it would turn in circles.
        let timeout = Timespec::try_from(timeout + Duration::from_micros(50)).ok();
        if poll(&mut fds, timeout.as_ref()).is_ok() {
            let _ = rustix::io::read(self.shared.wake.as_fd(), &mut [0; 8]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::L2Vni;
    use crate::memory::Memory;
    use crate::reconciler::{Config, Reconciler};
    use std::sync::mpsc;
    use types::Vni;

    fn memory() -> Box<Reconciler<Memory>> {
        Box::new(Reconciler::new(Memory::new(), Config::default()))
    }

    #[test]
    fn changes_go_in_outputs_come_out_and_it_ends() {
        let (tx, rx) = mpsc::sync_channel(100);
        let clock = || Time::from_micros(1);
        let handle = spawn(memory(), clock, move |u| tx.send(u).unwrap()).unwrap();
        let vni = Vni::new(7).unwrap();
        let l2 = L2Vni {
            vni,
            vtep: [10, 0, 0, 1].into(),
            port: 4789,
            interfaces: vec![],
            arp_suppression: false,
            vlan: None,
        };
        handle.try_send(vec![Change::PutVni(l2.clone()), Change::Settled]).unwrap();
        let ready = Update::Output(Output::Local(crate::intent::Local::VniReady(vni, true)));
        while rx.recv_timeout(Duration::from_secs(10)).unwrap() != ready {}
        let (answer, answered) = mpsc::sync_channel(1);
        assert!(handle.lookup(vec![Key::Vni(vni)], move |s| answer.send(s).unwrap()));
        let standing = answered.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(standing[0].installed, Some(crate::rows::Row::Vni(l2).to_string()));
        assert!(handle.shutdown(true).is_empty());
    }

    #[test]
    fn a_sender_without_room_hears_of_room() {
        let (tx, rx) = mpsc::sync_channel(1);
        let (release, wait) = mpsc::sync_channel::<()>(1);
        let clock = || Time::from_micros(1);
        // The callback blocks on the first thing it hears, so that the queue fills.
        let handle = spawn(memory(), clock, move |u| match u {
            Update::Output(_) => drop(wait.recv()),
            Update::Room => drop(tx.try_send(())),
        })
        .unwrap();
        let l2 = L2Vni {
            vni: Vni::new(7).unwrap(),
            vtep: [10, 0, 0, 1].into(),
            port: 4789,
            interfaces: vec![],
            arp_suppression: false,
            vlan: None,
        };
        handle.try_send(vec![Change::PutVni(l2)]).unwrap();
        while handle.try_send(vec![Change::Settled]).is_ok() {}
        release.send(()).unwrap();
        drop(release);
        rx.recv_timeout(Duration::from_secs(10)).expect("told of room");
        handle.shutdown(false);
    }
}
