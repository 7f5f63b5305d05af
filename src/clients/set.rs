//! The set of clients: all files together, with conflicts decided. Pure.
//!
//! Three rules:
//! - What a file last said without error stays while it is broken: a typing mistake takes nobody off the network.
//! - Two clients cannot be at the same port and tag, nor have the same MAC in a VNI or VRF. Who has it keeps it for as
//!   long as his file says so; the other is in conflict until the place is free. Among new ones, the order of names decides.
//! - A file that changes into a conflict keeps its former place, if nobody else's file asks for that.
//!
//! Two clients of a VNI may name the same address (one takes over from the other, say): that is allowed, and told, since only
//! one of them is announced with it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use dataplane::intent::{Client, Port, Service};
use foldhash::fast::RandomState;
use types::{MacAddr, Vni};

use super::parse::Parsed;
use crate::config::Problem;
use crate::evpn::ClientConfig;

/// Changes of one turn above which single ones are only worth a debug message.
const MANY: usize = 16;

/// What only one client can have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Claim {
    Port(Port, Option<u16>),
    Mac { l3: bool, vni: Vni, mac: MacAddr },
}

fn claims(client: &Client) -> [Claim; 2] {
    let (l3, vni) = match client.service {
        Service::L2 { vni, .. } => (false, vni),
        Service::L3 { vrf, .. } => (true, vrf),
    };
    [Claim::Port(client.port.clone(), client.vlan), Claim::Mac { l3, vni, mac: client.mac }]
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port, None) => port.fmt(f),
            Self::Port(port, Some(tag)) => write!(f, "{port} VLAN {tag}"),
            Self::Mac { l3: false, vni, mac } => write!(f, "{mac} in VNI {vni}"),
            Self::Mac { l3: true, vni, mac } => write!(f, "{mac} in VRF {vni}"),
        }
    }
}

/// How a file stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What it says is in use.
    Accepted,
    /// It has errors, the first one here with its line; what it said before is in use, if anything.
    Broken(String),
    /// Another file has what it asks for; what it said before is in use, if anything.
    Conflict(String),
}

/// A file, as people are shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its name.
    pub name: Arc<str>,
    /// How it stands.
    pub standing: Standing,
    /// The line of the first error.
    pub line: Option<usize>,
    /// The client in use.
    pub in_use: Option<Arc<ClientConfig>>,
    /// The client it asks for, if not that one.
    pub asks: Option<Arc<ClientConfig>>,
    /// All its errors, with their lines.
    pub errors: Vec<String>,
    /// What is taken, and perhaps not as somebody hoped, with lines.
    pub warnings: Vec<String>,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How much it matters.
    pub weight: Weight,
    /// The VNI it is about.
    pub vni: Option<Vni>,
    /// The MAC it is about.
    pub mac: Option<MacAddr>,
    /// In words.
    pub text: String,
}

/// How much a [`Note`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// One of many.
    Detail,
    /// The ordinary course.
    News,
    /// Somebody should look.
    Warning,
}

/// The client of a file that is in use, if any.
type InUse = Option<Arc<ClientConfig>>;

/// What is known of a file.
#[derive(Debug)]
struct File {
    /// What it says now.
    parsed: Parsed,
    /// What it last said without error.
    good: Option<Arc<ClientConfig>>,
    /// What is in use of it.
    in_use: InUse,
    /// Why `good` is not.
    conflict: Option<String>,
}

impl File {
    fn standing(&self) -> Standing {
        match (&self.parsed.config, &self.conflict) {
            (Err(errors), _) => Standing::Broken(errors.first().map_or_else(String::new, line)),
            (Ok(_), Some(conflict)) => Standing::Conflict(conflict.clone()),
            (Ok(_), None) => Standing::Accepted,
        }
    }
}

/// A problem in one line: `line 3: ofport: expected …`.
fn line(problem: &Problem) -> String {
    let line = problem.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    let key = if problem.key().is_empty() { String::new() } else { format!("{}: ", problem.key()) };
    format!("{line}{key}{}", problem.message())
}

/// All files of a directory.
#[derive(Debug, Default)]
pub(super) struct Set {
    files: BTreeMap<Arc<str>, File>,
    /// Who has what.
    holders: HashMap<Claim, Arc<str>, RandomState>,
}

impl Set {
    /// The clients in use, in order of name.
    pub(super) fn clients(&self) -> Vec<ClientConfig> {
        self.files.values().filter_map(|file| file.in_use.as_deref().cloned()).collect()
    }

    /// The same, shared.
    pub(super) fn clients_in_use(&self) -> Vec<Arc<ClientConfig>> {
        self.files.values().filter_map(|file| file.in_use.clone()).collect()
    }

    /// Addresses that a client shares with one before it, in words, by the client's name.
    fn shared_addresses(&self) -> BTreeMap<&Arc<str>, Vec<String>> {
        let mut first: HashMap<(Vni, IpAddr), &Arc<str>, RandomState> = HashMap::default();
        let mut shared: BTreeMap<&Arc<str>, Vec<String>> = BTreeMap::new();
        for (name, file) in &self.files {
            let Some(Service::L2 { vni, ips }) = file.in_use.as_ref().map(|config| &config.client.service)
            else {
                continue;
            };
            for ip in ips {
                let other = *first.entry((*vni, *ip)).or_insert(name);
                if other != name {
                    let text = format!(
                        "{ip} is the address of {other} in VNI {vni}, too: one of them is announced with it"
                    );
                    shared.entry(name).or_default().push(text);
                }
            }
        }
        shared
    }

    /// All files, in order of name.
    pub(super) fn statuses(&self) -> Vec<Status> {
        let mut shared = self.shared_addresses();
        let status = |(name, file): (&Arc<str>, &File)| {
            let errors = file.parsed.config.as_ref().err().map_or(&[][..], Vec::as_slice);
            Status {
                name: Arc::clone(name),
                standing: file.standing(),
                line: errors.first().and_then(Problem::line),
                in_use: file.in_use.clone(),
                asks: file.good.clone().filter(|good| file.in_use.as_ref() != Some(good)),
                errors: errors.iter().map(line).collect(),
                warnings: (file.parsed.warnings.iter().map(line))
                    .chain(shared.remove(name).into_iter().flatten())
                    .collect(),
            }
        };
        self.files.iter().map(status).collect()
    }

    /// The problems of the files, by name, in order: errors and conflicts, and warnings.
    pub(super) fn problems(&self) -> impl Iterator<Item = (&Arc<str>, Vec<Problem>, Vec<Problem>)> {
        let mut shared = self.shared_addresses();
        self.files.iter().map(move |(name, file)| {
            let mut errors = file.parsed.config.as_ref().err().cloned().unwrap_or_default();
            if let Standing::Conflict(text) = file.standing() {
                errors.push(Problem::new("", None, String::new(), text));
            }
            let shared = shared.remove(name).into_iter().flatten();
            let shared = shared.map(|text| Problem::new("", None, String::new(), text));
            (name, errors, file.parsed.warnings.iter().cloned().chain(shared).collect())
        })
    }

    /// Takes in what files say now; `None`: the file is gone. Says what is worth telling of it.
    pub(super) fn apply(&mut self, changes: Vec<(Arc<str>, Option<Parsed>)>) -> Vec<Note> {
        let mut before = Before::default();
        for (name, parsed) in changes {
            let Some(parsed) = parsed else {
                if let Some(file) = self.files.remove(&name) {
                    before.0.insert(name, Some((file.standing(), file.in_use)));
                }
                continue;
            };
            if self.files.get(&name).is_some_and(|file| file.parsed == parsed) {
                continue;
            }
            let good = parsed.config.as_ref().ok().map(|config| Arc::new(config.clone()));
            if let Some(file) = self.files.get_mut(&name) {
                before.note(&name, file);
                file.good = good.or_else(|| file.in_use.clone());
                file.parsed = parsed;
            } else {
                before.0.insert(Arc::clone(&name), None);
                self.files.insert(name, File { parsed, good, in_use: None, conflict: None });
            }
        }
        if before.0.is_empty() {
            return Vec::new();
        }
        // Each round may free a place that another waits for; a few are enough for any change that people make, and
        // the next change goes on from there.
        for _ in 0..8 {
            if !self.decide(&mut before) {
                break;
            }
        }
        before.notes(&self.files, &self.shared_addresses())
    }

    /// Gives out what files ask for. True if that changed anything.
    fn decide(&mut self, before: &mut Before) -> bool {
        let wants = |name: &Arc<str>, claim: &Claim| {
            let good = self.files.get(name).and_then(|file| file.good.as_ref());
            good.is_some_and(|good| claims(&good.client).contains(claim))
        };
        let mut taken: HashMap<Claim, Arc<str>, RandomState> = HashMap::default();
        let mut outcome: BTreeMap<Arc<str>, (InUse, Option<String>)> = BTreeMap::new();
        for (name, file) in &self.files {
            let Some(good) = &file.good else {
                outcome.insert(Arc::clone(name), (None, None));
                continue;
            };
            let claims = claims(&good.client);
            let other = claims.iter().find_map(|claim| {
                let holder = self.holders.get(claim).filter(|holder| *holder != name && wants(holder, claim));
                holder.or_else(|| taken.get(claim)).map(|holder| (claim, holder))
            });
            if let Some((claim, holder)) = other {
                outcome.insert(Arc::clone(name), (None, Some(format!("{holder} has {claim}"))));
            } else {
                taken.extend(claims.map(|claim| (claim, Arc::clone(name))));
                outcome.insert(Arc::clone(name), (Some(Arc::clone(good)), None));
            }
        }
        // Those that went for a place they do not get stay where they were, if that is still free.
        for (name, (in_use, conflict)) in &mut outcome {
            let was = self.files.get(name).and_then(|file| file.in_use.as_ref());
            let Some(was) = was.filter(|_| conflict.is_some()) else { continue };
            let claims = claims(&was.client);
            if claims.iter().all(|claim| !taken.contains_key(claim)) {
                taken.extend(claims.map(|claim| (claim, Arc::clone(name))));
                *in_use = Some(Arc::clone(was));
            }
        }
        let mut changed = false;
        for (name, (in_use, conflict)) in outcome {
            let Some(file) = self.files.get_mut(&name) else { continue };
            if file.in_use != in_use || file.conflict != conflict {
                before.note(&name, file);
                (file.in_use, file.conflict, changed) = (in_use, conflict, true);
            }
        }
        self.holders = taken;
        changed
    }
}

/// How files stood before a change: `None` if they were not there.
#[derive(Default)]
struct Before(BTreeMap<Arc<str>, Option<(Standing, InUse)>>);

impl Before {
    fn note(&mut self, name: &Arc<str>, file: &File) {
        let before = || Some((file.standing(), file.in_use.clone()));
        self.0.entry(Arc::clone(name)).or_insert_with(before);
    }

    fn notes(self, files: &BTreeMap<Arc<str>, File>, shared: &BTreeMap<&Arc<str>, Vec<String>>) -> Vec<Note> {
        let (mut notes, mut warnings) = (Vec::new(), Vec::new());
        let (mut new, mut changed, mut gone) = (0, 0, 0);
        for (name, before) in self.0 {
            let (stood, used) = before.unzip();
            let used = used.flatten();
            let file = files.get(&name);
            let using = file.and_then(|file| file.in_use.as_ref());
            let about = |weight, client: Option<&Arc<ClientConfig>>, text| {
                let client = client.map(|config| &config.client);
                let vni = client.map(|client| match client.service {
                    Service::L2 { vni, .. } => vni,
                    Service::L3 { vrf, .. } => vrf,
                });
                Note {
                    weight,
                    vni,
                    mac: client.map(|client| client.mac),
                    text: format!("client {name}: {text}"),
                }
            };
            match (&used, using) {
                (None, Some(now)) => {
                    new += 1;
                    notes.push(about(Weight::Detail, using, describe(&now.client)));
                }
                (Some(was), Some(now)) if was != now => {
                    changed += 1;
                    notes.push(about(Weight::Detail, using, format!("changed: {}", describe(&now.client))));
                }
                (Some(was), None) => {
                    gone += 1;
                    notes.push(about(Weight::Detail, Some(was), "removed".to_owned()));
                }
                _ => {}
            }
            let Some(file) = file else { continue };
            let kept = if using.is_some() { "; what it said before stays" } else { "" };
            match file.standing() {
                standing if Some(&standing) == stood.as_ref() => {}
                Standing::Broken(why) => notes.push(about(Weight::Warning, using, format!("{why}{kept}"))),
                Standing::Conflict(why) => {
                    notes.push(about(Weight::Warning, file.good.as_ref(), format!("conflict: {why}{kept}")));
                }
                Standing::Accepted if used.as_ref() == using && stood.is_some() => {
                    notes.push(about(Weight::News, using, "in order again".to_owned()));
                }
                Standing::Accepted => {}
            }
            if using.is_some() && matches!(file.standing(), Standing::Accepted) {
                let own = file.parsed.warnings.iter().map(line);
                let shared = shared.get(&name).into_iter().flatten().cloned();
                warnings.extend(own.chain(shared).map(|text| about(Weight::Warning, using, text)));
            }
        }
        if new + changed + gone <= MANY {
            for note in notes.iter_mut().filter(|note| note.weight == Weight::Detail) {
                note.weight = Weight::News;
            }
        } else {
            let text = format!("clients: {new} new, {changed} changed, {gone} removed");
            notes.push(Note { weight: Weight::News, vni: None, mac: None, text });
        }
        // A directory taken over from elsewhere may have the same doubtful key in every file.
        if warnings.len() > MANY {
            let text = format!("clients: {} warnings, see evpnd show clients", warnings.len());
            for note in &mut warnings {
                note.weight = Weight::Detail;
            }
            warnings.push(Note { weight: Weight::Warning, vni: None, mac: None, text });
        }
        notes.append(&mut warnings);
        notes
    }
}

/// A client in a few words.
fn describe(client: &Client) -> String {
    let port = &client.port;
    let tag = client.vlan.map(|tag| format!(" VLAN {tag}")).unwrap_or_default();
    match &client.service {
        Service::L2 { vni, .. } => format!("{} in VNI {vni} at {port}{tag}", client.mac),
        Service::L3 { vrf, prefixes } => {
            let n = prefixes.len();
            let what = if n == 1 { "prefix" } else { "prefixes" };
            format!("{n} {what} in VRF {vrf} behind {} at {port}{tag}", client.mac)
        }
    }
}

#[cfg(test)]
mod tests;
