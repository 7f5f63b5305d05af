//! The words the scenarios are written in.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use bgp::session::{ConnId, Direction, Input, RemoteAsn, Session, SessionConfig, State};
use bgp::wire::notification::cease;
use bytes::Bytes;
use types::Time;

use super::messages::{keepalive, lines, open};

pub(crate) const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
/// Loses ties against us.
pub(crate) const LOW: [u8; 4] = [10, 0, 0, 1];
/// Wins them.
pub(crate) const HIGH: [u8; 4] = [10, 0, 0, 9];

pub(crate) fn config() -> SessionConfig {
    SessionConfig::new(65001, US, RemoteAsn::Number(65002))
}

pub(crate) fn at(ms: u64) -> Time {
    Time::from_micros(ms * 1000)
}

/// A session and the time, in milliseconds.
pub(crate) struct Script {
    pub(crate) session: Session,
    pub(crate) now: u64,
}

impl Script {
    pub(crate) fn new(config: SessionConfig) -> Self {
        Self { session: Session::new(config, Time::ZERO, 1), now: 0 }
    }

    /// Up on connection 1, which we opened, against a neighbour that loses ties.
    pub(crate) fn established(config: SessionConfig) -> Self {
        let mut s = Self::new(config);
        s.go(0, Input::Start, &["connect", "state connect"]);
        s.go(0, outgoing(1), &["1: OPEN", "state opensent"]);
        s.go(0, received(1, open(65002, LOW, 90)), &["1: KEEPALIVE", "state openconfirm"]);
        s.go(0, received(1, keepalive()), &["state established", &s.up_line()]);
        s
    }

    pub(crate) fn up_line(&self) -> String {
        format!("established AS 65002 hold {}", self.session.config().hold_time.min(90))
    }

    /// At `ms`, before any timer is due: the input, and what it leads to.
    #[track_caller]
    pub(crate) fn go(&mut self, ms: u64, input: Input, expected: &[&str]) {
        assert!(ms >= self.now);
        assert!(self.session.deadline().is_none_or(|d| d > at(ms)), "a timer is due before {ms}");
        self.now = ms;
        let mut out = Vec::new();
        self.session.handle(input, at(ms), &mut out);
        assert_eq!(lines(&out), expected, "at {ms}");
    }

    /// The next timer goes off at a time in `window` and leads to this.
    #[track_caller]
    pub(crate) fn tick(&mut self, window: RangeInclusive<u64>, expected: &[&str]) {
        let deadline = self.session.deadline().expect("a timer runs").as_micros().div_ceil(1000);
        assert!(window.contains(&deadline), "goes off at {deadline}, not in {window:?}");
        self.now = deadline;
        let mut out = Vec::new();
        self.session.handle(Input::Tick, at(deadline), &mut out);
        assert_eq!(lines(&out), expected, "at {deadline}");
        assert!(self.session.deadline().is_none_or(|d| d > at(deadline)), "the deadline moves on");
    }

    /// As `tick`, from now.
    #[track_caller]
    pub(crate) fn tick_in(&mut self, window: RangeInclusive<u64>, expected: &[&str]) {
        self.tick(self.now + window.start()..=self.now + window.end(), expected);
    }

    #[track_caller]
    pub(crate) fn state(&self, state: State) {
        assert_eq!(self.session.state(), state);
    }
}

pub(crate) fn outgoing(conn: u64) -> Input {
    Input::Connected { conn: ConnId(conn), direction: Direction::Outgoing }
}

pub(crate) fn incoming(conn: u64) -> Input {
    Input::Connected { conn: ConnId(conn), direction: Direction::Incoming }
}

pub(crate) fn received(conn: u64, data: Bytes) -> Input {
    Input::Received { conn: ConnId(conn), data }
}

pub(crate) fn closed(conn: u64) -> Input {
    Input::Closed { conn: ConnId(conn), reason: "EOF".to_owned() }
}

pub(crate) fn refused() -> Input {
    Input::ConnectFailed { reason: "refused".to_owned() }
}

pub(crate) fn stop() -> Input {
    Input::Stop { subcode: cease::ADMIN_SHUTDOWN, text: Some("back at noon".to_owned()), hold_down: None }
}
