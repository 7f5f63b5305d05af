//! Clients: one JSON file each in a directory that is watched (`[clients]`, `docs/clients.md`).
//!
//! ```text
//!  inotify, timer ─► watch ─► dir: which files, changed? ─► parse: one file ─► set: conflicts ─► Update ─► the agent
//! ```
//!
//! A thread keeps up with the directory and hands over whole sets of clients; the core finds out what is different.
//! Events only say when to look: what counts is what is there, and it is looked at every few seconds anyway.
//!
//! - `json`, `parse`: a text to a client, with all problems and their places
//! - `set`: all clients together; who keeps a place that two want
//! - `dir`: names, time stamps, reading
//! - `scan`: what has changed since the last look; `watch`: when to look

mod dir;
mod json;
mod parse;
mod scan;
mod set;
mod watch;

#[cfg(test)]
mod tests;

use std::path::Path;

use crate::config::{Config, ConfigErrors};
use crate::evpn::ClientConfig;

pub use scan::Update;
pub use set::{Note, Standing, Status, Weight};
pub use watch::Watch;

/// A directory read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The clients that can be used, in order of name.
    pub clients: Vec<ClientConfig>,
    /// What is wrong with files, one value a file.
    pub errors: Vec<ConfigErrors>,
    /// What is taken, and perhaps not as somebody hoped.
    pub warnings: Vec<ConfigErrors>,
    /// What is wrong with the directory itself; it may well come later.
    pub problem: Option<String>,
    /// Other files in it, which are not read: the first few names.
    pub others: Vec<String>,
}

/// The AS numbers that route targets may be made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ases {
    /// Ours, for automatic route targets.
    pub own: u32,
    /// What a leading 0 stands for.
    pub zero: u32,
}

impl Ases {
    /// Of a configuration.
    pub fn of(config: &Config) -> Self {
        let own = config.router.asn;
        Self { own, zero: config.clients.as_ref().map_or(own, |clients| clients.rt_asn) }
    }
}

/// Reads a directory once.
pub fn load(dir: &Path, ases: Ases) -> Loaded {
    let mut scan = scan::Scan::new(dir, ases);
    let others = scan.once();
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    for (name, wrong, doubtful) in scan.set().problems() {
        let file = dir.join(&**name).display().to_string();
        if !wrong.is_empty() {
            errors.push(ConfigErrors::new(&file, wrong));
        }
        if !doubtful.is_empty() {
            warnings.push(ConfigErrors::new(&file, doubtful));
        }
    }
    let problem = scan.problem().map(str::to_owned);
    Loaded { clients: scan.set().clients(), errors, warnings, problem, others }
}
