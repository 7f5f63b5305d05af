//! What comes out of the EVPN part: routes to originate, changes of the dataplane's intent, and events for people.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bgp::wire::{Attributes, NlriBody, RouteKey};
use dataplane::intent::Change;
use ipnet::IpNet;
use types::{MacAddr, Vni};

/// One thing to be done; drain them in order after every call ([`super::Evpn::poll_output`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Announce this route, or replace it.
    Originate(RouteKey, NlriBody, Box<Attributes>),
    /// Withdraw it.
    Withdraw(RouteKey),
    /// Tell the dataplane.
    Dataplane(Change),
    /// Tell people.
    Event(Event),
}

/// Where a MAC is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Behind a local port.
    Port(Box<str>),
    /// Behind a VTEP.
    Vtep(IpAddr),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(name) => f.pad(name),
            Self::Vtep(ip) => ip.fmt(f),
        }
    }
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// In this VNI.
    pub vni: Vni,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A MAC is known that was not.
    Learned(MacAddr, Place),
    /// A MAC is somewhere else; with its mobility sequence now.
    Moved(MacAddr, Place, Place, u32),
    /// A MAC is known no longer.
    Gone(MacAddr, Place),
    /// A MAC keeps moving between here and elsewhere: neither announced nor installed until cleared.
    Duplicate(MacAddr, Place),
    /// A duplicate MAC is treated like any other again.
    Cleared(MacAddr),
    /// Seen on a local port, but announced as static by a VTEP: not announced.
    StaticElsewhere(MacAddr, Place, IpAddr),
    /// Static here and announced as static by a VTEP too: ours stays.
    StaticTwice(MacAddr, IpAddr),
    /// The mobility sequence cannot grow further.
    SequenceExhausted(MacAddr),
    /// A VTEP is flooded to.
    FloodAdded(IpAddr),
    /// It is no longer.
    FloodRemoved(IpAddr),
    /// A prefix is behind another VTEP, the first of so many.
    PrefixLearned(IpNet, IpAddr, usize),
    /// It is no longer.
    PrefixGone(IpNet),
    /// Others set the VNI up, as this VLAN where there are VLANs.
    Found(Option<u16>),
    /// They took it away.
    Lost,
    /// The VNI is this VLAN here, and was the other before.
    Vlan(u16, Option<u16>),
    /// A client's port is there.
    ClientUp(Arc<str>, Arc<str>),
    /// It is not, and why.
    ClientDown(Arc<str>, Box<str>),
}

impl Event {
    /// Wants an operator to look.
    pub const fn is_alert(&self) -> bool {
        matches!(
            self.kind,
            EventKind::Duplicate(..)
                | EventKind::StaticElsewhere(..)
                | EventKind::StaticTwice(..)
                | EventKind::SequenceExhausted(..)
        )
    }

    /// The MAC it is about.
    pub const fn mac(&self) -> Option<MacAddr> {
        match self.kind {
            EventKind::Learned(mac, _)
            | EventKind::Moved(mac, ..)
            | EventKind::Gone(mac, _)
            | EventKind::Duplicate(mac, _)
            | EventKind::Cleared(mac)
            | EventKind::StaticElsewhere(mac, ..)
            | EventKind::StaticTwice(mac, _)
            | EventKind::SequenceExhausted(mac) => Some(mac),
            EventKind::FloodAdded(_)
            | EventKind::FloodRemoved(_)
            | EventKind::PrefixLearned(..)
            | EventKind::PrefixGone(_)
            | EventKind::Found(_)
            | EventKind::Lost
            | EventKind::Vlan(..)
            | EventKind::ClientUp(..)
            | EventKind::ClientDown(..) => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VNI {}: ", self.vni)?;
        match &self.kind {
            EventKind::Learned(mac, at) => write!(f, "{mac} is at {at}"),
            EventKind::Moved(mac, from, to, sequence) => {
                write!(f, "{mac} moved from {from} to {to} (sequence {sequence})")
            }
            EventKind::Gone(mac, from) => write!(f, "{mac} is gone from {from}"),
            EventKind::Duplicate(mac, at) => write!(
                f,
                "{mac} is a duplicate: it keeps moving between here and {at}; neither announced nor installed \
                 until cleared"
            ),
            EventKind::Cleared(mac) => write!(f, "{mac} is no longer held as a duplicate"),
            EventKind::StaticElsewhere(mac, at, vtep) => {
                write!(f, "{mac} seen at {at} is static at {vtep}: not announced")
            }
            EventKind::StaticTwice(mac, vtep) => {
                write!(f, "{mac} is static here and at {vtep} too: ours stays")
            }
            EventKind::SequenceExhausted(mac) => {
                write!(f, "{mac}: the mobility sequence is at its end; the VTEP that has it keeps the MAC")
            }
            EventKind::FloodAdded(vtep) => write!(f, "flooding to {vtep}"),
            EventKind::FloodRemoved(vtep) => write!(f, "flooding to {vtep} no longer"),
            EventKind::PrefixLearned(prefix, vtep, 1) => write!(f, "{prefix} is behind {vtep}"),
            EventKind::PrefixLearned(prefix, vtep, n) => {
                write!(f, "{prefix} is behind {vtep} and {} more", n - 1)
            }
            EventKind::PrefixGone(prefix) => write!(f, "{prefix} is behind no VTEP any more"),
            EventKind::Found(None) => f.write_str("found"),
            EventKind::Found(Some(vlan)) => write!(f, "found, VLAN {vlan}"),
            EventKind::Lost => f.write_str("gone: whoever set it up has taken it away, or set it down"),
            EventKind::Vlan(vlan, None) => write!(f, "is VLAN {vlan} here"),
            EventKind::Vlan(vlan, Some(old)) => write!(f, "is VLAN {vlan} here now, not {old}"),
            EventKind::ClientUp(name, interface) => write!(f, "client {name} is up at {interface}"),
            EventKind::ClientDown(name, reason) => write!(f, "client {name} is down: {reason}"),
        }
    }
}

/// The outputs not yet drained, and the routes made by hand, which stand in front of our own of the same key.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    pub queue: VecDeque<Output>,
    pub manual: BTreeMap<RouteKey, (NlriBody, Box<Attributes>)>,
}

impl Outputs {
    pub(super) fn originate(&mut self, key: RouteKey, body: NlriBody, attributes: Attributes) {
        if !self.manual.contains_key(&key) {
            self.queue.push_back(Output::Originate(key, body, Box::new(attributes)));
        }
    }

    pub(super) fn withdraw(&mut self, key: RouteKey) {
        if !self.manual.contains_key(&key) {
            self.queue.push_back(Output::Withdraw(key));
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        self.queue.push_back(Output::Dataplane(change));
    }

    pub(super) fn event(&mut self, vni: Vni, kind: EventKind) {
        self.queue.push_back(Output::Event(Event { vni, kind }));
    }
}
