//! One neighbour: the finite state machine of RFC 4271 §8, pure.
//!
//! [`Session::handle`] takes an [`Input`] and the time and appends what is to be done to a list of [`Output`]s;
//! [`Session::deadline`] says when it wants an [`Input::Tick`]. It owns no socket, reads no clock and never fails:
//! every input has a defined outcome in every state.
//!
//! Implemented: RFC 4271 §6 and §8 with all mandatory timers and DampPeerOscillations, collision detection (§6.8) with
//! the tie-break of RFC 6286, capabilities (RFC 5492), four-octet AS (RFC 6793), extended messages (RFC 8654), route
//! refresh (RFC 2918, 7313), Cease subcodes and words (RFC 4486, 9003), FSM error subcodes (RFC 6608), send hold timer
//! (RFC 9687). Not implemented: DelayOpen, which is optional and only makes sessions slower to come up.
//!
//! # What the caller does
//!
//! - [`Output::Connect`]: opens a TCP connection, answers [`Input::Connected`] (outgoing) or [`Input::ConnectFailed`].
//! - Every connection from the neighbour's address: [`Input::Connected`] (incoming). Both get a [`ConnId`] of their own.
//! - [`Output::Send`]: writes, and tells of every piece the kernel took by [`Input::Written`].
//! - [`Output::Close`]: writes what was handed out before (the NOTIFICATION), for a few seconds at most, then closes.
//!   Nothing about that connection matters any more; inputs that name it are ignored.
//! - Where octets received and a tick are due together the octets go first: a caller that was busy for long must not
//!   take its own slowness for the neighbour's silence.
//!
//! # Pauses
//!
//! What is bound to happen again until somebody changes something (an error in a message, sent or received) is followed
//! by a pause in Idle in which the neighbour's connections are refused with Cease / Connection Rejected. All else
//! (the connection closed, the neighbour silent, a Cease) leads to Active: the neighbour may come back the next moment,
//! only our own attempts wait. Both pauses double from one second to a minute, less up to a quarter, and start small
//! again once a session was stable; a failed TCP connection never waits longer than `connect_retry`.
//!
//! # Two connections at once
//!
//! While neither is Established the OPEN that arrives first settles it, also against a connection still in OpenSent:
//! the neighbour's identifier is known then, whichever connection brought it. Both sides choose the same one, since all
//! that counts is who has the larger identifier and which connection he opened; waiting for OpenConfirm, as RFC 4271
//! allows, lets one side be Established on the loser. An Established session wins against any newcomer, but a newcomer
//! is a sign that the neighbour has restarted without the old connection's end reaching us: a KEEPALIVE sent at once
//! makes the neighbour's kernel reset what it no longer knows. (RFC 4724 §4.2 would drop the old session unasked where
//! graceful restart was announced; with no family preserved there is nothing to win by believing a mere connection.)

mod config;
mod conn;
mod fsm;
mod negotiate;
mod report;
mod timer;

use std::time::Duration;

use bytes::Bytes;
use types::Time;

pub use config::{RemoteAsn, SessionConfig};
pub use fsm::Session;
pub use report::{Counters, DownReason, LastError, MessageCounts, Negotiated, State};

use crate::wire::{Notification, RouteRefresh, Update};

/// A TCP connection, named by the caller; no two have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// We did, asked by [`Output::Connect`].
    Outgoing,
    /// The neighbour did.
    Incoming,
}

/// What happens to a session.
#[derive(Clone, Debug)]
pub enum Input {
    /// Leave Idle, also out of a pause. Nothing happens to a session that runs.
    Start,
    /// Close whatever is open with Cease / `subcode`, and stay in Idle.
    Stop {
        /// See [`crate::wire::notification::cease`].
        subcode: u8,
        /// Words for the other side's operator, sent with an administrative shutdown or reset.
        text: Option<String>,
        /// Start again by itself after this time; `None`: only when told to. A stopped session stays stopped.
        hold_down: Option<Duration>,
    },
    /// A TCP connection is there.
    Connected {
        /// Its name from now on.
        conn: ConnId,
        /// Who opened it.
        direction: Direction,
    },
    /// The attempt asked for by [`Output::Connect`] failed.
    ConnectFailed {
        /// Why, in words.
        reason: String,
    },
    /// A connection was closed by the neighbour or broke.
    Closed {
        /// Which.
        conn: ConnId,
        /// Why, in words.
        reason: String,
    },
    /// Octets came.
    Received {
        /// On which connection.
        conn: ConnId,
        /// The octets; messages are sliced out of them, not copied.
        data: Bytes,
    },
    /// The kernel took octets handed out earlier.
    Written {
        /// On which connection.
        conn: ConnId,
        /// How many.
        bytes: usize,
    },
    /// Whole UPDATEs (or ROUTE-REFRESH) for the neighbour; dropped unless Established.
    Send {
        /// One message or several.
        data: Bytes,
    },
    /// The deadline was reached.
    Tick,
    /// What the session passed up cannot be accepted: end the session with this NOTIFICATION.
    ProtocolError(Notification),
    /// Ask the neighbour to send all its routes again, if it can.
    RequestRefresh,
    /// New settings. A session that depends on what changed is reset with Cease / Other Configuration Change.
    Reconfigure(SessionConfig),
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a TCP connection to the neighbour.
    Connect,
    /// Give up the attempt. A connection that came to be meanwhile may still be told of: it is closed.
    AbortConnect,
    /// Send octets.
    Send {
        /// On which connection.
        conn: ConnId,
        /// Whole messages.
        data: Bytes,
    },
    /// Flush and close.
    Close {
        /// Which connection.
        conn: ConnId,
    },
    /// The session is up.
    Established(Negotiated),
    /// An UPDATE came. Only between `Established` and `Down`.
    Update(Update),
    /// A ROUTE-REFRESH for EVPN came; BoRR and EoRR only where negotiated. Only between `Established` and `Down`.
    Refresh(RouteRefresh),
    /// The session that was up is down: forget its routes.
    Down(DownReason),
    /// A session that was not up yet did not come to be; for the log. A connection that cannot be
    /// made is told once, and again when that is for another reason or there was a session in between.
    Failed(DownReason),
    /// The state is another.
    StateChanged(State),
}

/// How long to wait for OPEN (RFC 4271 §8.2.2: "a large value").
const OPEN_HOLD: Duration = Duration::from_secs(240);
/// How long to wait for OPEN on a connection that has just won against another.
const COLLISION_HOLD: Duration = Duration::from_secs(20);
/// Least send hold time (RFC 9687 §3.1).
const SEND_HOLD: Duration = Duration::from_secs(8 * 60);

/// When the neighbour must have taken some of the octets waiting for it (RFC 9687): twice the hold time, at least eight
/// minutes.
fn send_hold(hold_time: u16, now: Time) -> Time {
    now + SEND_HOLD.max(2 * Duration::from_secs(u64::from(hold_time)))
}
