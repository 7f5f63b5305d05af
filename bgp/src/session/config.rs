//! What a session is told about its neighbour and itself.

use std::net::Ipv4Addr;
use std::time::Duration;

/// Which AS the neighbour has to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteAsn {
    /// This one.
    Number(u32),
    /// Any but ours.
    External,
    /// Ours.
    Internal,
}

impl RemoteAsn {
    /// Whether a neighbour that says it is in `remote` is the one meant. AS 0 never is (RFC 7607).
    pub const fn accepts(self, local: u32, remote: u32) -> bool {
        remote != 0
            && match self {
                Self::Number(n) => n == remote,
                Self::External => remote != local,
                Self::Internal => remote == local,
            }
    }
}

/// The settings of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Our AS.
    pub local_asn: u32,
    /// Our BGP identifier.
    pub router_id: Ipv4Addr,
    /// The neighbour's AS.
    pub remote_asn: RemoteAsn,
    /// Hold time offered, in seconds; 0 for a session without keepalives, otherwise at least 3.
    pub hold_time: u16,
    /// Never connect, only accept.
    pub passive: bool,
    /// How long a connection attempt may take, and the longest pause between two that fail.
    pub connect_retry: Duration,
    /// The first pause after a session failed; doubled for each that follows.
    pub idle_hold: Duration,
    /// The longest such pause.
    pub idle_hold_max: Duration,
    /// A session that lasted this long proves the trouble over: the pauses start small again.
    pub stable_after: Duration,
    /// Malformed EVPN NLRI reset the session, where otherwise they are dropped one by one.
    pub strict: bool,
}

impl SessionConfig {
    /// The defaults for a neighbour.
    pub const fn new(local_asn: u32, router_id: Ipv4Addr, remote_asn: RemoteAsn) -> Self {
        Self {
            local_asn,
            router_id,
            remote_asn,
            hold_time: 90,
            passive: false,
            connect_retry: Duration::from_secs(15),
            idle_hold: Duration::from_secs(1),
            idle_hold_max: Duration::from_secs(60),
            stable_after: Duration::from_secs(30),
            strict: false,
        }
    }

    /// Whether a session running under `self` has to be torn down to run under `other`.
    pub(super) fn needs_reset(&self, other: &Self) -> bool {
        self.local_asn != other.local_asn
            || self.router_id != other.router_id
            || self.remote_asn != other.remote_asn
            || self.hold_time != other.hold_time
            || self.strict != other.strict
    }

    /// The hold time as offered: one and two seconds are not allowed (RFC 4271 §4.2).
    pub(super) const fn offered_hold_time(&self) -> u16 {
        match self.hold_time {
            1 | 2 => 3,
            n => n,
        }
    }
}
