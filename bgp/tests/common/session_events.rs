//! Random event sequences on one session, and what must be true whatever happens.
//!
//! [`run`] turns octets into a sequence of inputs, among them well-formed and broken messages of a neighbour, applies
//! them to a session and checks its outputs against a model that knows nothing but the contract: which connections are
//! open, whether the session is up, what was sent and not written. Used by a property test and by the fuzz target
//! `session_events`, so it panics where something is wrong.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use bgp::session::{ConnId, Counters, Direction, Input, Output, RemoteAsn, Session, SessionConfig, State};
use bgp::wire::capability::{Capabilities, GracefulRestart};
use bgp::wire::message::encode_keepalive;
use bgp::wire::{
    Framer, MAX_EXTENDED_MESSAGE, MAX_MESSAGE, MessageType, Notification, Open, RefreshKind, RouteRefresh,
    encode_eor,
};
use bytes::{BufMut, Bytes, BytesMut};
use types::Time;

const LOCAL_ASN: u32 = 65001;
const LOCAL_ID: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

/// The octets that decide; zeros when they are used up.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn octet(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.octet(), self.octet()])
    }

    fn octets(&mut self, n: usize) -> &[u8] {
        let (head, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        head
    }
}

fn config(c: &mut Choices<'_>) -> SessionConfig {
    let bits = c.octet();
    let remote = match bits & 3 {
        0 => RemoteAsn::Number(65002),
        1 => RemoteAsn::External,
        2 => RemoteAsn::Internal,
        _ => RemoteAsn::Number(LOCAL_ASN),
    };
    SessionConfig {
        hold_time: [90, 0, 1, 3, 9, 65_535, 180, 30][usize::from(bits >> 2 & 7)],
        passive: bits & 0x20 != 0,
        strict: bits & 0x40 != 0,
        ..SessionConfig::new(LOCAL_ASN, LOCAL_ID, remote)
    }
}

/// One message of the neighbour, more often right than wrong.
fn message(c: &mut Choices<'_>, out: &mut BytesMut) {
    match c.octet() % 16 {
        0..=3 => {
            let bits = c.octet();
            let asn = [65002, LOCAL_ASN, 4_200_000_000, 23456][usize::from(bits & 3)];
            let capabilities = Capabilities {
                multiprotocol: if bits & 0x1c == 0x1c { vec![(1, 1)] } else { vec![(1, 1), (25, 70)] },
                route_refresh: bits & 0x20 != 0,
                enhanced_refresh: bits & 0x40 != 0,
                extended_message: bits & 0x80 != 0,
                graceful_restart: (bits & 0x10 != 0).then(GracefulRestart::default),
                as4: (asn > 65_535 || bits & 8 != 0).then_some(asn),
                ..Capabilities::default()
            };
            let id = c.octet();
            let hold_time = [90, 0, 3, 2, 9, 65_535, 180, 30][usize::from(id >> 4 & 7)];
            Open { asn, hold_time, router_id: Ipv4Addr::new(10, 0, 0, id & 15), capabilities }.encode(out);
        }
        4..=7 => encode_keepalive(out),
        8 => encode_eor(out),
        9 => {
            let (code, subcode) = (c.octet() % 10, c.octet() % 12);
            let n = usize::from(c.octet() % 32);
            Notification::new(code, subcode, Bytes::copy_from_slice(c.octets(n))).encode(out);
        }
        10 => {
            let kind = [RefreshKind::Request, RefreshKind::Begin, RefreshKind::End, RefreshKind::Other(9)];
            RouteRefresh::evpn(kind[usize::from(c.octet() & 3)]).encode(out);
        }
        11 | 12 => {
            // The right header and any body.
            let kind = c.octet() % 7;
            let long = c.octet();
            let n = if long > 250 {
                usize::from(c.word()).min(MAX_EXTENDED_MESSAGE - 19)
            } else {
                usize::from(long)
            };
            out.put_bytes(0xff, 16);
            out.put_u16((19 + n) as u16);
            out.put_u8(kind);
            let given = c.octets(n).to_vec();
            out.put_slice(&given);
            out.put_bytes(0, n - given.len());
        }
        13 => {
            let n = usize::from(c.octet() % 40);
            let given = c.octets(n).to_vec();
            out.put_slice(&given);
        }
        14 => {
            for _ in 0..c.octet() {
                encode_eor(out);
            }
        }
        _ => {
            // Part of a message: the next chunk may or may not continue it.
            let mut whole = BytesMut::new();
            encode_keepalive(&mut whole);
            out.put_slice(&whole[..usize::from(c.octet()) % 20]);
        }
    }
}

/// A connection as the world sees it.
struct Wire {
    unwritten: usize,
    opened: bool,
    notified: bool,
}

/// What the contract says, derived from inputs and outputs alone.
struct Model {
    session: Session,
    now: Time,
    /// The latest time there ever was: it also runs backwards, and timers set before do not.
    latest: Time,
    wires: BTreeMap<u64, Wire>,
    next_conn: u64,
    connecting: bool,
    up: Option<u16>,
    max_message: usize,
    told: State,
    last_connect: Option<Time>,
    established: u64,
}

/// Runs the sequence of events that `data` stands for; what happened in it says how far it got.
pub(crate) fn run(data: &[u8]) -> Counters {
    let mut c = Choices(data);
    let seed = u64::from(c.octet());
    let mut m = Model {
        session: Session::new(config(&mut c), Time::ZERO, seed),
        now: Time::ZERO,
        latest: Time::ZERO,
        wires: BTreeMap::new(),
        next_conn: 0,
        connecting: false,
        up: None,
        max_message: MAX_MESSAGE,
        told: State::Idle,
        last_connect: None,
        established: 0,
    };
    while !c.0.is_empty() {
        m.step(&mut c);
    }
    m.settle();
    *m.session.counters()
}

impl Model {
    fn any_conn(&self, c: &mut Choices<'_>) -> ConnId {
        let n = usize::from(c.octet());
        // Sometimes one that is gone, or never was.
        let open = self.wires.keys().nth(n % (self.wires.len() + 1));
        ConnId(open.copied().unwrap_or(n as u64))
    }

    fn step(&mut self, c: &mut Choices<'_>) {
        match c.octet() % 24 {
            0 | 1 => self.input(Input::Start),
            2 => {
                let text = (c.octet() & 1 == 1).then(|| "words ".repeat(usize::from(c.octet())));
                self.input(Input::Stop { subcode: c.octet() % 12, text, hold_down: None });
            }
            3 => {
                let hold_down = Some(Duration::from_secs(u64::from(c.octet())));
                self.input(Input::Stop { subcode: 1, text: None, hold_down });
            }
            4..=6 => self.connected(Direction::Outgoing),
            7 | 8 => self.connected(Direction::Incoming),
            9 => self.input(Input::ConnectFailed { reason: String::new() }),
            10 => {
                let conn = self.any_conn(c);
                self.input(Input::Closed { conn, reason: String::new() });
            }
            11..=15 => {
                let conn = self.any_conn(c);
                let mut data = BytesMut::new();
                for _ in 0..=c.octet() % 3 {
                    message(c, &mut data);
                }
                let mut data = data.freeze();
                // Whole, or in two pieces.
                let cut = usize::from(c.octet()) % (data.len() + 1);
                let head = data.split_to(cut);
                self.input(Input::Received { conn, data: head });
                self.input(Input::Received { conn, data });
            }
            16 => {
                let conn = self.any_conn(c);
                let bytes = usize::from(c.octet());
                self.input(Input::Written { conn, bytes });
            }
            17 => {
                let mut data = BytesMut::new();
                for _ in 0..c.octet() % 8 {
                    encode_eor(&mut data);
                }
                self.input(Input::Send { data: data.freeze() });
            }
            18 | 19 => {
                if let Some(at) = self.session.deadline() {
                    self.now = self.now.max(at);
                }
                self.input(Input::Tick);
            }
            20 => {
                // Any time, also long after several timers were due; sometimes backwards.
                let wait = u64::from(c.word()) * 10_000;
                if c.octet() == 0 {
                    self.now = Time::from_micros(self.now.as_micros().saturating_sub(wait));
                    self.last_connect = None;
                } else {
                    self.now = self.now + Duration::from_micros(wait);
                }
                self.input(Input::Tick);
            }
            21 => match c.octet() % 3 {
                0 => self.input(Input::ProtocolError(Notification::new(3, c.octet(), Bytes::new()))),
                1 => self.input(Input::RequestRefresh),
                _ => {
                    let config = config(c);
                    self.input(Input::Reconfigure(config));
                }
            },
            _ => self.handshake(c),
        }
    }

    fn connected(&mut self, direction: Direction) {
        self.next_conn += 1;
        let conn = self.next_conn;
        self.wires.insert(conn, Wire { unwritten: 0, opened: false, notified: false });
        if direction == Direction::Outgoing {
            self.connecting = false;
        }
        self.input(Input::Connected { conn: ConnId(conn), direction });
    }

    /// The way up, so that sequences get somewhere.
    fn handshake(&mut self, c: &mut Choices<'_>) {
        self.input(Input::Start);
        self.connected(if self.connecting { Direction::Outgoing } else { Direction::Incoming });
        let asn = match self.session.config().remote_asn {
            RemoteAsn::Number(n) => n,
            RemoteAsn::External => 65002,
            RemoteAsn::Internal => LOCAL_ASN,
        };
        let bits = c.octet();
        let capabilities = Capabilities {
            multiprotocol: vec![(25, 70)],
            route_refresh: true,
            enhanced_refresh: bits & 1 != 0,
            extended_message: bits & 2 != 0,
            as4: Some(asn),
            ..Capabilities::default()
        };
        let id = if bits & 4 == 0 { 1 } else { 9 };
        let hold_time = if bits & 8 == 0 { 9 } else { 0 };
        let mut data = BytesMut::new();
        Open { asn, hold_time, router_id: Ipv4Addr::new(10, 0, 0, id), capabilities }.encode(&mut data);
        if bits & 16 == 0 {
            encode_keepalive(&mut data);
        }
        self.input(Input::Received { conn: ConnId(self.next_conn), data: data.freeze() });
    }

    fn input(&mut self, input: Input) {
        self.latest = self.latest.max(self.now);
        let deadline = self.session.deadline();
        let was_up = self.up.is_some();
        let ticked = matches!(input, Input::Tick);
        let stopped = match &input {
            // A stop with a pause does nothing to what is stopped already; it is then as closed as before.
            Input::Stop { hold_down, .. } => Some(hold_down.is_none() || self.session.is_stopped()),
            _ => None,
        };
        match &input {
            Input::Closed { conn, .. } => drop(self.wires.remove(&conn.0)),
            Input::ConnectFailed { .. } => self.connecting = false,
            Input::Written { conn, bytes } => {
                if let Some(w) = self.wires.get_mut(&conn.0) {
                    w.unwritten = w.unwritten.saturating_sub(*bytes);
                }
            }
            Input::Start | Input::Stop { .. } | Input::Reconfigure(_) => self.last_connect = None,
            _ => {}
        }
        let mut out = Vec::new();
        self.session.handle(input, self.now, &mut out);
        for output in &out {
            self.output(output);
        }
        self.check();
        if ticked && deadline.is_some_and(|at| at <= self.now) {
            assert!(self.session.deadline().is_none_or(|at| at > self.now), "a tick moves the deadline on");
        }
        if ticked && deadline.is_none_or(|at| at > self.now) {
            assert!(out.is_empty(), "a tick before the deadline does nothing: {out:?}");
        }
        if let Some(for_good) = stopped {
            assert_eq!(self.session.state(), State::Idle);
            assert!(self.wires.is_empty() && !self.connecting, "a stopped session has no connections");
            assert_eq!(self.session.deadline().is_none(), for_good);
        }
        if was_up && self.up.is_none() {
            assert!(self.session.last_error().is_some(), "a session that went down says why");
        }
    }

    fn output(&mut self, output: &Output) {
        match output {
            Output::Connect => {
                assert!(!self.connecting, "one attempt at a time");
                assert!(self.wires.is_empty(), "no attempt while there is a connection");
                assert!(!self.session.config().passive);
                if let Some(last) = self.last_connect {
                    let pause = self.now.since(last);
                    assert!(pause >= Duration::from_millis(750), "attempts {pause:?} apart");
                }
                self.last_connect = Some(self.now);
                self.connecting = true;
            }
            Output::AbortConnect => {
                assert!(self.connecting, "nothing to abort");
                self.connecting = false;
            }
            Output::Send { conn, data } => self.sent(conn.0, data),
            Output::Close { conn } => {
                assert!(self.wires.remove(&conn.0).is_some(), "closes what is not open");
            }
            Output::Established(n) => {
                assert!(self.up.is_none(), "up twice");
                assert_eq!(self.wires.len(), 1, "one connection in Established");
                assert_ne!(n.remote_asn, 0);
                assert_eq!(n.ebgp, n.remote_asn != LOCAL_ASN);
                assert!(n.hold_time == 0 || n.hold_time >= 3);
                self.up = Some(n.hold_time);
                self.max_message = n.max_message();
                self.established += 1;
            }
            Output::Update(_) | Output::Refresh(_) => assert!(self.up.is_some(), "routes while not up"),
            Output::Down(reason) => {
                assert!(self.up.take().is_some(), "down while not up: {reason}");
                assert!(!reason.to_string().is_empty());
            }
            Output::Failed(reason) => assert!(!reason.to_string().is_empty()),
            Output::StateChanged(state) => {
                assert_ne!(*state, self.told, "told twice");
                self.told = *state;
            }
        }
    }

    /// What leaves is whole, well-formed, in the right order, on a connection that is open.
    fn sent(&mut self, conn: u64, data: &Bytes) {
        let up = self.up.is_some();
        let wire = self.wires.get_mut(&conn).expect("sends on an open connection");
        wire.unwritten += data.len();
        let mut framer = Framer::default();
        framer.push(data.clone());
        let limit = if up { self.max_message } else { MAX_MESSAGE };
        while let Some(frame) = framer.next(limit).expect("sends well-formed messages") {
            assert!(!wire.notified, "nothing follows a NOTIFICATION");
            match frame.kind {
                MessageType::Open => {
                    assert!(!wire.opened, "one OPEN a connection");
                    let open = Open::decode(&frame.body).expect("a readable OPEN");
                    assert_eq!((open.asn, open.router_id), (LOCAL_ASN, LOCAL_ID));
                    wire.opened = true;
                }
                MessageType::Notification => {
                    Notification::decode(&frame.body).expect("a readable NOTIFICATION");
                    wire.notified = true;
                }
                MessageType::Keepalive => assert!(wire.opened, "KEEPALIVE before OPEN"),
                MessageType::Update | MessageType::RouteRefresh => assert!(up, "routes while not up"),
            }
        }
        assert_eq!(framer.buffered(), 0, "sends whole messages");
    }

    /// What holds between any two inputs.
    fn check(&self) {
        let s = &self.session;
        let state = s.state();
        assert_eq!(state, self.told, "every change of state is told");
        assert!(self.wires.len() <= 2, "two connections at most");
        assert!(self.wires.values().all(|w| w.opened && !w.notified), "what was refused is closed");
        assert_eq!(self.up.is_some(), state == State::Established);
        assert_eq!(self.up.is_some(), s.negotiated().is_some() && s.established_since().is_some());
        assert_eq!(s.counters().established, self.established);
        match state {
            State::Idle => {
                assert!(self.wires.is_empty() && !self.connecting);
                assert_eq!(s.retry_at().is_none(), s.is_stopped(), "Idle ends by itself unless stopped");
            }
            State::Connect => assert!(self.connecting && self.wires.is_empty() && s.deadline().is_some()),
            State::Active => {
                assert!(self.wires.is_empty() && !self.connecting);
                assert_eq!(
                    s.retry_at().is_none(),
                    s.config().passive,
                    "Active ends by itself unless passive"
                );
            }
            State::OpenSent => assert!(s.hold_expires().is_some(), "OPEN is not awaited forever"),
            State::OpenConfirm => {}
            State::Established => {
                assert_eq!(s.hold_expires().is_some(), self.up != Some(0), "silence is noticed");
                let unwritten: Vec<_> = self.wires.values().map(|w| w.unwritten).collect();
                assert!(unwritten.contains(&s.backlog()), "{unwritten:?} {}", s.backlog());
                assert!(s.backlog() == 0 || s.deadline().is_some(), "a stuck neighbour is noticed");
            }
        }
        assert_eq!(state >= State::OpenSent, !self.wires.is_empty());
        assert!(self.wires.is_empty() || s.retry_at().is_none(), "no attempt is planned beside a connection");
        assert!(self.up.is_none() || !self.connecting, "no attempt goes on beside a session that is up");
    }

    /// With nothing from outside the session keeps to its timers, and every connection ends or keeps alive.
    fn settle(&mut self) {
        self.now = self.latest.max(self.session.deadline().unwrap_or_default());
        // With keepalives every three quarters of a second this is more than the four minutes OPEN is awaited.
        for _ in 0..400 {
            let Some(at) = self.session.deadline() else { break };
            self.now = self.now.max(at);
            self.input(Input::Tick);
        }
        // A neighbour with a hold time of zero may say nothing for ever, others not; nobody else is left.
        let silent_for_ever = self.up == Some(0);
        assert!(silent_for_ever || self.up.is_none() || self.session.hold_expires().is_some());
        assert!(self.wires.len() <= 1, "a second connection does not stay");
        let stop = Input::Stop { subcode: 2, text: None, hold_down: None };
        self.input(stop);
        assert!(self.wires.is_empty() && self.session.deadline().is_none());
    }
}
