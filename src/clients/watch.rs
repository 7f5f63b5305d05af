//! When to look at the directory: inotify says where something happens, a timer sees what it does not.
//!
//! A thread of its own, since reading files blocks. One change is looked at after some milliseconds, in case it is the
//! first of many; a burst of a thousand files is a few looks.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use types::Time;

use super::scan::{Scan, Suspects, Update};
use super::{Ases, dir};
use crate::clock;

/// It has been quiet for so long: whoever writes many files is done, or slow.
const QUIET: Duration = Duration::from_millis(20);
/// But nobody's change waits longer than this.
const BURST: Duration = Duration::from_millis(200);
/// Between two looks, at least.
const PAUSE: Duration = Duration::from_millis(100);
/// Between looks when nothing happens: targets of symbolic links, file systems without events.
const RESCAN: Duration = Duration::from_secs(10);
/// Between looks while nothing tells of changes: the directory is not there, or cannot be watched.
const BLIND: Duration = Duration::from_millis(500);

/// What may mean another content.
const CONTENT: ReadFlags = ReadFlags::MODIFY.union(ReadFlags::CLOSE_WRITE).union(ReadFlags::ATTRIB);

/// A directory that is being watched; dropping this ends that.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    wake: OwnedFd,
    stop: AtomicBool,
    rescan: AtomicBool,
}

impl Shared {
    fn wake(&self) {
        // Fails only when the counter is full, and then the thread is awake already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Watch {
    /// Reads the directory, and goes on watching it on a thread. `tell` hears what is new; it may block, and ends the
    /// thread by saying false.
    ///
    /// # Errors
    /// No thread, or no descriptor for it.
    pub fn start(
        dir: &Path,
        ases: Ases,
        tell: impl FnMut(Update) -> bool + Send + 'static,
    ) -> io::Result<(Self, Option<Update>)> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { wake, stop: AtomicBool::new(false), rescan: AtomicBool::new(false) });
        let mut watcher =
            Watcher { scan: Scan::new(dir, ases), events: Events::open(), shared: Arc::clone(&shared) };
        let first = watcher.look(&Suspects::default());
        std::thread::Builder::new().name("clients".into()).spawn(move || watcher.run(tell))?;
        Ok((Self { shared }, first))
    }

    /// Read everything again, now.
    pub fn rescan(&self) {
        self.shared.rescan.store(true, Ordering::SeqCst);
        self.shared.wake();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake();
    }
}

struct Watcher {
    scan: Scan,
    events: Events,
    shared: Arc<Shared>,
}

impl Watcher {
    /// First listen, then look: what happens in between is seen twice rather than never.
    fn look(&mut self, suspects: &Suspects) -> Option<Update> {
        self.events.watch(self.scan.dir());
        self.scan.look(suspects, clock::now())
    }

    fn run(mut self, mut tell: impl FnMut(Update) -> bool) {
        let mut suspects = Suspects::default();
        let mut looked = clock::now();
        // Since when something has been waiting to be looked at.
        let mut since: Option<Time> = None;
        loop {
            let now = clock::now();
            let timer = looked + if self.events.watching.is_some() { RESCAN } else { BLIND };
            let due = self.scan.deadline().map_or(timer, |doubt| doubt.min(timer));
            let settled = since.map(|since| (now + QUIET).min(since + BURST).max(looked + PAUSE));
            let happened = self.sleep(settled.map_or(due, |at| at.min(due)).since(now));
            if self.shared.stop.load(Ordering::SeqCst) {
                return;
            }
            let asked = self.shared.rescan.swap(false, Ordering::SeqCst);
            suspects.all |= asked;
            let now = clock::now();
            let events = happened && self.events.take(&mut suspects);
            if events {
                since = since.or(Some(now));
            }
            let settled =
                since.is_some_and(|since| now >= looked + PAUSE && (!events || now >= since + BURST));
            if !(asked || settled || now >= due) {
                continue;
            }
            (since, looked) = (None, now);
            let news = self.look(&std::mem::take(&mut suspects));
            if news.is_some_and(|update| !tell(update)) {
                return;
            }
        }
    }

    /// Sleeps until there is an event (true), something is asked, or the time is over.
    fn sleep(&self, time: Duration) -> bool {
        let mut fds = vec![PollFd::new(&self.shared.wake, PollFlags::IN)];
        fds.extend(self.events.fd.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        // Rounded up: woken a moment too early it would turn in circles.
        let timeout = Timespec::try_from(time + Duration::from_micros(50)).ok();
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return false;
        }
        let happened = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
        happened
    }
}

/// What the kernel says of the directory.
struct Events {
    fd: Option<OwnedFd>,
    /// The watch on the directory, while it is there.
    watching: Option<i32>,
    buffer: Vec<MaybeUninit<u8>>,
}

impl Events {
    /// Without inotify (its instances are counted per user), there is the timer.
    fn open() -> Self {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK);
        if let Err(error) = &fd {
            let every = BLIND.as_millis();
            tracing::warn!("clients: no inotify ({error}): the directory is looked at every {every} ms");
        }
        Self { fd: fd.ok(), watching: None, buffer: vec![MaybeUninit::uninit(); 64 * 1024] }
    }

    /// Watches what is now at this path; of the same directory it is the same watch.
    fn watch(&mut self, dir: &Path) {
        let Some(fd) = &self.fd else { return };
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let new = inotify::add_watch(fd, dir, flags).ok();
        if let Some(old) = self.watching.filter(|old| Some(*old) != new) {
            let _ = inotify::remove_watch(fd, old);
        }
        self.watching = new;
    }

    /// Takes all events there are. True if one of them asks for a look.
    fn take(&mut self, suspects: &mut Suspects) -> bool {
        let Some(fd) = &self.fd else { return false };
        let mut look = false;
        let mut reader = Reader::new(fd, &mut self.buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(_) => return look,
            };
            let what = event.events();
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                suspects.all = true;
                look = true;
            } else if Some(event.wd()) != self.watching {
                // Of a directory that was here before.
            } else if what.intersects(ReadFlags::IGNORED | ReadFlags::UNMOUNT) {
                self.watching = None;
                look = true;
            } else {
                let name = event.file_name().map(std::ffi::CStr::to_bytes).unwrap_or_default();
                let client = dir::is_client_file(name);
                // What others write beside client files is no news; but what comes and goes there may be what
                // symbolic links lead through.
                look |= client || !what.intersects(CONTENT);
                if client && let Ok(name) = std::str::from_utf8(name) {
                    suspects.names.insert(name.into());
                }
            }
        }
    }
}
