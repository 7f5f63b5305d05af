//! Looking at the directory: what has changed since the last look, and what follows.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use types::Time;

use super::Ases;
use super::dir::{self, Content, Stamp};
use super::parse::{self, Parsed};
use super::set::{Note, Set, Status, Weight};
use crate::clock;
use crate::config::io_text;
use crate::evpn::ClientConfig;

/// How long a file that has just become bad may be in the middle of being written.
const DOUBT: Duration = Duration::from_millis(400);

/// What a look at the directory came to, where that is anything new.
#[derive(Clone, Debug)]
pub struct Update {
    /// All clients in use, if that changed.
    pub clients: Option<Vec<ClientConfig>>,
    /// All files.
    pub files: Arc<Vec<Status>>,
    /// What is wrong with the directory itself.
    pub problem: Option<String>,
    /// What to tell.
    pub notes: Vec<Note>,
}

impl Update {
    /// There are no clients any more.
    pub(crate) fn none() -> Self {
        Self { clients: Some(Vec::new()), files: Arc::default(), problem: None, notes: Vec::new() }
    }
}

/// Which files to read again even if they look the same.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// These.
    pub(super) names: HashSet<Arc<str>>,
    /// All: events were lost.
    pub(super) all: bool,
}

/// How a file looked when it was read.
#[derive(Debug)]
struct Known {
    /// `None`: read it again in any case.
    stamp: Option<Result<Stamp, String>>,
    /// It was bad, and is believed at this time.
    doubt: Option<Time>,
}

/// A directory, and what is in it as of the last look.
#[derive(Debug)]
pub(super) struct Scan {
    dir: PathBuf,
    ases: Ases,
    set: Set,
    known: HashMap<Arc<str>, Known>,
    problem: Option<String>,
    /// Nothing has been handed over yet.
    first: bool,
}

impl Scan {
    pub(super) fn new(dir: &Path, ases: Ases) -> Self {
        Self {
            dir: dir.to_owned(),
            ases,
            set: Set::default(),
            known: HashMap::new(),
            problem: None,
            first: true,
        }
    }

    pub(super) const fn set(&self) -> &Set {
        &self.set
    }

    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// When a file that was bad is believed to be.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.known.values().filter_map(|known| known.doubt).min()
    }

    /// Reads everything, and believes it; the names of other files that are there.
    pub(super) fn once(&mut self) -> Vec<String> {
        let listing = self.list();
        let changes = listing.files.into_iter().map(|found| {
            let parsed = match &found.stamp {
                Ok(_) => self.read(&found.name).unwrap_or_else(|| Parsed::broken("is empty".to_owned())),
                Err(reason) => Parsed::broken(reason.clone()),
            };
            (found.name, Some(parsed))
        });
        let changes = changes.collect();
        self.set.apply(changes);
        listing.others
    }

    /// The directory; where it cannot be listed, nothing is known and all stays as it is.
    fn list(&mut self) -> dir::Listing {
        match dir::list(&self.dir) {
            Ok(listing) => {
                self.problem.clone_from(&listing.problem);
                listing
            }
            Err(error) => {
                let dir = self.dir.display();
                self.problem = Some(match error.kind() {
                    io::ErrorKind::NotFound => format!("{dir}: there is no such directory (yet)"),
                    _ => format!("{dir}: cannot be read: {}", io_text(&error)),
                });
                dir::Listing { unreadable: true, ..dir::Listing::default() }
            }
        }
    }

    /// What a file says; `None`: nothing at all.
    fn read(&self, name: &Arc<str>) -> Option<Parsed> {
        match dir::read(&self.dir.join(&**name)) {
            Content::Text(text) => Some(parse::client(name, &text, self.ases)),
            Content::Empty => None,
            Content::Bad(reason) => Some(Parsed::broken(reason)),
        }
    }

    /// Looks at the directory; what is new is what is returned. The first look always returns something.
    pub(super) fn look(&mut self, suspects: &Suspects, now: Time) -> Option<Update> {
        let before = self.problem.clone();
        let listing = self.list();
        let mut changes = Vec::new();
        if !listing.unreadable {
            let mut gone: HashSet<Arc<str>> = self.known.keys().cloned().collect();
            for found in listing.files {
                gone.remove(&found.name);
                if let Some(parsed) = self.file(&found, suspects, now) {
                    changes.push((found.name, Some(parsed)));
                }
            }
            for name in gone {
                self.known.remove(&name);
                changes.push((name, None));
            }
        }
        let in_use = self.set.clients_in_use();
        let mut notes = self.set.apply(changes);
        if self.problem != before
            && let Some(problem) = &self.problem
        {
            let kept = if listing.unreadable && !self.first { "; the clients stay as they are" } else { "" };
            let text = format!("clients: {problem}{kept}");
            notes.push(Note { weight: Weight::Warning, vni: None, mac: None, text });
        }
        let first = std::mem::replace(&mut self.first, false);
        let changed = first || self.set.clients_in_use() != in_use;
        if !changed && notes.is_empty() && self.problem == before {
            return None;
        }
        Some(Update {
            clients: changed.then(|| self.set.clients()),
            files: Arc::new(self.set.statuses()),
            problem: self.problem.clone(),
            notes,
        })
    }

    /// What a file says now, if there is anything new about it.
    fn file(&mut self, found: &dir::Found, suspects: &Suspects, now: Time) -> Option<Parsed> {
        let known = self.known.get(&found.name);
        let doubt = known.and_then(|known| known.doubt);
        let same = known.is_some_and(|known| known.stamp.as_ref() == Some(&found.stamp));
        let suspect = suspects.all || suspects.names.contains(&found.name);
        if same && !suspect && doubt.is_none_or(|until| now < until) {
            return None;
        }
        let parsed = match &found.stamp {
            Ok(_) => self.read(&found.name),
            Err(reason) => Some(Parsed::broken(reason.clone())),
        };
        // A file that is bad may be in the middle of being written. At the start it is most likely what it is; an
        // empty one is always worth a moment.
        let bad = parsed.as_ref().is_none_or(|parsed| parsed.config.is_err());
        let until = doubt.unwrap_or(now + DOUBT);
        let wait = bad && now < until && (parsed.is_none() || !self.first);
        let fresh = found.stamp.as_ref().is_ok_and(|stamp| stamp.is_fresh(clock::wall()));
        let stamp = (!fresh).then(|| found.stamp.clone());
        let doubt = wait.then_some(until);
        self.known.insert(Arc::clone(&found.name), Known { stamp, doubt });
        if wait {
            return None;
        }
        Some(parsed.unwrap_or_else(|| Parsed::broken("is empty".to_owned())))
    }
}
