//! What happened lately: a bounded log that `evpnd events` reads and the process log repeats.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;

use types::{MacAddr, Time, Vni};

use crate::evpn;

/// How many events are kept.
const KEPT: usize = 4096;

/// What an event is about; `evpnd events` shows it as a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A session came up, went down, or was refused.
    Session,
    /// Routes: limits, resets, what a neighbour sent that could not be used.
    Route,
    /// MAC addresses: moves, duplicates, conflicts.
    Mac,
    /// Clients: up, down, files that cannot be used.
    Client,
    /// The dataplane: writes that failed, repairs.
    Dataplane,
    /// Configuration and the process itself.
    Agent,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Session => "session",
            Self::Route => "route",
            Self::Mac => "mac",
            Self::Client => "client",
            Self::Dataplane => "dataplane",
            Self::Agent => "agent",
        })
    }
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Too ordinary for the process log: a full table makes a hundred thousand of them.
    Debug,
    /// The ordinary course.
    Info,
    /// Somebody should look.
    Warn,
}

/// Whom or what an event names, for filters and columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// A neighbour.
    pub neighbour: Option<IpAddr>,
    /// A VNI.
    pub vni: Option<Vni>,
    /// A MAC.
    pub mac: Option<MacAddr>,
}

impl About {
    /// A neighbour.
    pub const fn neighbour(address: IpAddr) -> Self {
        Self { neighbour: Some(address), vni: None, mac: None }
    }
}

impl From<&evpn::Event> for About {
    fn from(event: &evpn::Event) -> Self {
        Self { neighbour: None, vni: Some(event.vni), mac: event.mac() }
    }
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Counts up from 1 without gaps.
    pub sequence: u64,
    /// When.
    pub at: Time,
    /// About what.
    pub kind: Kind,
    /// How much it matters.
    pub level: Level,
    /// Whom it names.
    pub about: About,
    /// In words: who, what, why.
    pub text: Text,
}

/// Words, or what they are made from when somebody reads them.
#[derive(Clone, Debug)]
pub enum Text {
    /// Words.
    Said(String),
    /// What EVPN says.
    Evpn(evpn::Event),
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Said(text)
    }
}

impl From<evpn::Event> for Text {
    fn from(event: evpn::Event) -> Self {
        Self::Evpn(event)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said(text) => f.write_str(text),
            Self::Evpn(event) => event.fmt(f),
        }
    }
}

/// The log.
#[derive(Debug, Default)]
pub struct EventLog {
    events: VecDeque<Event>,
    written: u64,
}

impl EventLog {
    /// Notes an event; past the bound the oldest goes.
    pub fn push(&mut self, at: Time, kind: Kind, level: Level, about: About, text: impl Into<Text>) {
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.written += 1;
        self.events.push_back(Event { sequence: self.written, at, kind, level, about, text: text.into() });
    }

    /// The events after number `sequence`, oldest first.
    pub fn after(&self, sequence: u64) -> impl Iterator<Item = &Event> {
        let gone = self.written - self.events.len() as u64;
        self.events.iter().skip(sequence.saturating_sub(gone) as usize)
    }

    /// The number of the newest event.
    pub const fn newest(&self) -> u64 {
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_and_counts_on() {
        let mut log = EventLog::default();
        for n in 1..=(KEPT as u64 + 10) {
            log.push(Time::ZERO, Kind::Agent, Level::Info, About::default(), n.to_string());
        }
        assert_eq!(log.newest(), KEPT as u64 + 10);
        assert_eq!(log.after(0).next().unwrap().text.to_string(), "11");
        let last: Vec<_> = log.after(log.newest() - 2).map(|e| e.text.to_string()).collect();
        assert_eq!(last, ["4105", "4106"]);
        assert_eq!(log.after(log.newest()).count(), 0);
    }
}
