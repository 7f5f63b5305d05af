//! One TCP connection of a session: how far its OPEN exchange has come, its timers, and octets on their way.

use std::time::Duration;

use bytes::Bytes;
use types::Time;

use crate::wire::{Framer, MAX_MESSAGE, Notification};

use super::report::{Negotiated, State};
use super::timer::{Timer, TimerTable};
use super::{ConnId, Direction, OPEN_HOLD, send_hold};

/// How far a connection has come; our OPEN is always sent.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// The neighbour's OPEN is awaited.
    OpenSent,
    /// The neighbour's KEEPALIVE is awaited.
    OpenConfirm(Negotiated),
    /// UPDATEs flow.
    Established(Negotiated),
}

/// A connection that is open.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) direction: Direction,
    pub(super) phase: Phase,
    pub(super) timers: TimerTable,
    pub(super) framer: Framer,
    /// Octets handed out and not taken by the kernel.
    pub(super) unwritten: usize,
    /// Counts up: which of two is older.
    pub(super) serial: u64,
}

impl Connection {
    pub(super) fn new(id: ConnId, direction: Direction, serial: u64, now: Time) -> Self {
        let mut timers = TimerTable::default();
        timers.set(Timer::Hold, now + OPEN_HOLD);
        Self {
            id,
            direction,
            phase: Phase::OpenSent,
            timers,
            framer: Framer::default(),
            unwritten: 0,
            serial,
        }
    }

    pub(super) const fn state(&self) -> State {
        match self.phase {
            Phase::OpenSent => State::OpenSent,
            Phase::OpenConfirm(_) => State::OpenConfirm,
            Phase::Established(_) => State::Established,
        }
    }

    pub(super) const fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Established(_))
    }

    pub(super) const fn negotiated(&self) -> Option<&Negotiated> {
        match &self.phase {
            Phase::OpenSent => None,
            Phase::OpenConfirm(n) | Phase::Established(n) => Some(n),
        }
    }

    /// The largest message acceptable now: extended ones only after both OPENs (RFC 8654 §4).
    pub(super) fn max_message(&self) -> usize {
        self.negotiated().map_or(MAX_MESSAGE, Negotiated::max_message)
    }

    fn hold_time(&self) -> u16 {
        self.negotiated().map_or(0, |n| n.hold_time)
    }

    /// Starts the hold time anew: the neighbour gave a sign of life.
    pub(super) fn heard(&mut self, now: Time) {
        match self.hold_time() {
            0 => self.timers.stop(Timer::Hold),
            n => self.timers.set(Timer::Hold, now + Duration::from_secs(u64::from(n))),
        }
    }

    /// Notes octets handed out.
    pub(super) fn handed_out(&mut self, data: &Bytes, now: Time) {
        if self.unwritten == 0 && !data.is_empty() {
            self.timers.set(Timer::SendHold, send_hold(self.hold_time(), now));
        }
        self.unwritten += data.len();
    }

    /// Notes octets the kernel took.
    pub(super) fn written(&mut self, bytes: usize, now: Time) {
        self.unwritten = self.unwritten.saturating_sub(bytes);
        if self.unwritten == 0 {
            self.timers.stop(Timer::SendHold);
        } else if bytes > 0 {
            self.timers.set(Timer::SendHold, send_hold(self.hold_time(), now));
        }
    }

    /// What a message that does not belong here is answered with (RFC 6608).
    pub(super) fn unexpected(&self) -> Notification {
        Notification::fsm_error(match self.phase {
            Phase::OpenSent => 1,
            Phase::OpenConfirm(_) => 2,
            Phase::Established(_) => 3,
        })
    }
}
