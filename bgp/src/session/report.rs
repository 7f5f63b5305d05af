//! What a session tells about itself: state, counters, and why it is not up.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use types::Time;

use crate::wire::notification::cease;
use crate::wire::{MessageType, Notification};

/// The states of RFC 4271 §8.2.2.
///
/// With two connections open it is the state of the one further on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Stopped, or pausing after an error.
    #[default]
    Idle,
    /// A connection attempt is under way.
    Connect,
    /// Waiting for the neighbour to connect, or for the time of our next attempt.
    Active,
    /// Connected; the neighbour's OPEN is awaited.
    OpenSent,
    /// The neighbour's OPEN was good; its KEEPALIVE is awaited.
    OpenConfirm,
    /// Up.
    Established,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Idle => "idle",
            Self::Connect => "connect",
            Self::Active => "active",
            Self::OpenSent => "opensent",
            Self::OpenConfirm => "openconfirm",
            Self::Established => "established",
        })
    }
}

/// What two OPENs agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The neighbour's AS, four octets.
    pub remote_asn: u32,
    /// The neighbour's BGP identifier.
    pub remote_id: Ipv4Addr,
    /// Different ASes.
    pub ebgp: bool,
    /// Hold time in seconds, the smaller of both; 0: neither hold time nor keepalives.
    pub hold_time: u16,
    /// AS numbers in AS_PATH have four octets (RFC 6793).
    pub as4: bool,
    /// Messages up to 65535 octets (RFC 8654).
    pub extended_message: bool,
    /// The neighbour answers ROUTE-REFRESH (RFC 2918).
    pub refresh: bool,
    /// Refreshes are marked at both ends (RFC 7313).
    pub enhanced_refresh: bool,
    /// The neighbour speaks graceful restart (RFC 4724), so it sends an End-of-RIB and waits for ours.
    pub graceful_restart: bool,
}

impl Negotiated {
    /// The largest message either side may send.
    pub const fn max_message(&self) -> usize {
        if self.extended_message { crate::wire::MAX_EXTENDED_MESSAGE } else { crate::wire::MAX_MESSAGE }
    }

    /// Time between two KEEPALIVEs, before jitter; `None` without a hold time.
    pub fn keepalive(&self) -> Option<Duration> {
        (self.hold_time > 0).then(|| Duration::from_secs(u64::from(self.hold_time)) / 3)
    }
}

/// Why a connection, an attempt or the session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// We sent a NOTIFICATION.
    Sent(Notification),
    /// The neighbour sent one.
    Received(Notification),
    /// The connection ended without one.
    Closed(String),
    /// It never came to be.
    ConnectFailed(String),
}

impl DownReason {
    /// The NOTIFICATION, whoever sent it.
    pub const fn notification(&self) -> Option<&Notification> {
        match self {
            Self::Sent(n) | Self::Received(n) => Some(n),
            Self::Closed(_) | Self::ConnectFailed(_) => None,
        }
    }

    /// Whether the same thing is bound to happen again until somebody changes something: one side understood the
    /// other and did not like it. A silent neighbour, a closed connection, a Cease are not of that kind.
    pub(super) fn lasts(&self) -> bool {
        self.notification().is_some_and(|n| !matches!(n.code, 4 | 6 | 8))
    }

    /// The neighbour does not want to talk now: Cease / Connection Rejected (RFC 4486).
    pub(super) const fn is_rejection(&self) -> bool {
        matches!(self, Self::Received(n) if n.code == 6 && n.subcode == cease::CONNECTION_REJECTED)
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(n) => write!(f, "sent {n} ({}/{})", n.code, n.subcode),
            Self::Received(n) => write!(f, "received {n} ({}/{})", n.code, n.subcode),
            Self::Closed(why) if why.is_empty() => f.write_str("connection closed"),
            Self::Closed(why) => write!(f, "connection closed: {why}"),
            Self::ConnectFailed(why) => write!(f, "cannot connect: {why}"),
        }
    }
}

/// The latest trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: Time,
    /// What.
    pub reason: DownReason,
}

/// Messages by type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// OPEN
    pub open: u64,
    /// UPDATE
    pub update: u64,
    /// NOTIFICATION
    pub notification: u64,
    /// KEEPALIVE
    pub keepalive: u64,
    /// ROUTE-REFRESH
    pub route_refresh: u64,
}

impl MessageCounts {
    pub(super) const fn add(&mut self, kind: MessageType) {
        *match kind {
            MessageType::Open => &mut self.open,
            MessageType::Update => &mut self.update,
            MessageType::Notification => &mut self.notification,
            MessageType::Keepalive => &mut self.keepalive,
            MessageType::RouteRefresh => &mut self.route_refresh,
        } += 1;
    }

    /// Of all types.
    pub const fn total(&self) -> u64 {
        self.open + self.update + self.notification + self.keepalive + self.route_refresh
    }
}

/// What happened since the session was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages received.
    pub received: MessageCounts,
    /// Messages sent.
    pub sent: MessageCounts,
    /// Octets received.
    pub octets_received: u64,
    /// Octets sent.
    pub octets_sent: u64,
    /// Connection attempts.
    pub connects: u64,
    /// Connections refused: while stopped or pausing, or one too many.
    pub refused: u64,
    /// Times a second connection was closed in favour of the first, or the other way round.
    pub collisions: u64,
    /// Times the session came up.
    pub established: u64,
    /// Changes of state.
    pub transitions: u64,
}
