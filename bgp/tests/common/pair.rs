//! Two sessions, the wires between them and the time: everything in one thread, from a seed.
//!
//! Like quinn's `Pair`: `run_until` steps virtual time to whatever is next, a delivery or a deadline of either side.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bgp::session::{ConnId, Direction, Input, Output, Session, SessionConfig, State};
use bytes::Bytes;
use types::Time;

/// Which of the two.
pub(crate) type Side = usize;

/// Something on its way.
enum Event {
    /// To a side, about a link (`None`: about a connection attempt), for the life it was sent to.
    Input { side: Side, life: u32, link: Option<u64>, input: Input },
    /// A SYN arrives at a side.
    Syn { side: Side, attempt: u64 },
    /// The answer arrives at the side that asked.
    SynAck { side: Side, attempt: u64, accepted: bool },
}

/// A TCP connection. Both ends use its number as [`ConnId`].
#[derive(Clone, Copy)]
struct Link {
    /// Whether each end still has it.
    open: [bool; 2],
}

/// The two and what is between them.
pub(crate) struct Pair {
    pub(crate) sessions: [Session; 2],
    configs: [SessionConfig; 2],
    /// One way.
    pub(crate) latency: Duration,
    /// Each connection takes up to this much longer in each direction, so that they overtake each other.
    pub(crate) spread: Duration,
    /// Octets arrive in pieces of this size.
    pub(crate) chunk: usize,
    /// Everything sent vanishes, SYNs too.
    pub(crate) silent: bool,
    /// The host runs and refuses connections.
    pub(crate) listening: [bool; 2],
    pub(crate) now: Time,
    /// All that each side put out.
    pub(crate) log: Vec<(Time, Side, Output)>,
    /// Counts the restarts of each side.
    life: [u32; 2],
    seed: u64,
    events: BTreeMap<(Time, u64), Event>,
    sequence: u64,
    links: BTreeMap<u64, Link>,
    /// The attempt each side waits for.
    attempts: [Option<u64>; 2],
    /// Attempts given up by the side that made them.
    aborted: BTreeSet<u64>,
}

impl Pair {
    pub(crate) fn new(configs: [SessionConfig; 2], seed: u64) -> Self {
        let session = |side: usize| Session::new(configs[side].clone(), Time::ZERO, seed * 2 + side as u64);
        Self {
            sessions: [session(0), session(1)],
            configs,
            latency: Duration::from_micros(500),
            spread: Duration::ZERO,
            chunk: usize::MAX,
            silent: false,
            listening: [true, true],
            now: Time::ZERO,
            log: Vec::new(),
            life: [0, 0],
            seed,
            events: BTreeMap::new(),
            sequence: 0,
            links: BTreeMap::new(),
            attempts: [None, None],
            aborted: BTreeSet::new(),
        }
    }

    pub(crate) fn input(&mut self, side: Side, input: Input) {
        let mut out = Vec::new();
        self.sessions[side].handle(input, self.now, &mut out);
        for output in out {
            self.carry_out(side, &output);
            self.log.push((self.now, side, output));
        }
    }

    /// Both start, the second a little later.
    pub(crate) fn start(&mut self, apart: Duration) {
        self.input(0, Input::Start);
        self.run_for(apart);
        self.input(1, Input::Start);
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + after, self.sequence), event);
    }

    /// How long something for `side` takes on a connection: always the same, so nothing overtakes within it.
    fn delay(&self, side: Side, link: u64) -> Duration {
        let mut z = (self.seed << 32 | link << 1 | side as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^= z >> 32;
        self.latency + Duration::from_micros(z % (self.spread.as_micros() as u64 + 1))
    }

    fn tell(&mut self, after: Duration, side: Side, link: Option<u64>, input: Input) {
        let life = self.life[side];
        self.schedule(after, Event::Input { side, life, link, input });
    }

    fn carry_out(&mut self, side: Side, output: &Output) {
        let other = 1 - side;
        match output {
            Output::Connect => {
                self.sequence += 1;
                let attempt = self.sequence;
                self.attempts[side] = Some(attempt);
                if !self.silent {
                    self.schedule(self.delay(other, attempt), Event::Syn { side: other, attempt });
                }
            }
            Output::AbortConnect => self.aborted.extend(self.attempts[side].take()),
            Output::Send { conn, data } => {
                // A side that closed may not send; one whose link broke may not know yet.
                let Some(link) = self.links.get(&conn.0).copied() else { return };
                assert!(link.open[side], "sends on a connection it has closed");
                self.tell(
                    Duration::ZERO,
                    side,
                    Some(conn.0),
                    Input::Written { conn: *conn, bytes: data.len() },
                );
                if !self.silent {
                    let delay = self.delay(other, conn.0);
                    for piece in data.chunks(self.chunk) {
                        let input = Input::Received { conn: *conn, data: Bytes::copy_from_slice(piece) };
                        self.tell(delay, other, Some(conn.0), input);
                    }
                }
            }
            Output::Close { conn } => self.close(side, conn.0),
            Output::Established(_)
            | Output::Update(_)
            | Output::Refresh(_)
            | Output::Down(_)
            | Output::Failed(_)
            | Output::StateChanged(_) => {}
        }
    }

    /// One end lets go; the other hears of it.
    fn close(&mut self, side: Side, link: u64) {
        if let Some(l) = self.links.get_mut(&link) {
            l.open[side] = false;
            if !self.silent {
                let input = Input::Closed { conn: ConnId(link), reason: "EOF".to_owned() };
                self.tell(self.delay(1 - side, link), 1 - side, Some(link), input);
            }
        }
    }

    /// A side's process ends. `clean`: its kernel says so on every connection; otherwise the host is gone, and answers
    /// what comes for old connections with a reset once it is back.
    pub(crate) fn kill(&mut self, side: Side, clean: bool) {
        self.life[side] += 1;
        self.listening[side] = false;
        self.attempts[side] = None;
        let open: Vec<u64> = self.links.iter().filter(|(_, l)| l.open[side]).map(|(&id, _)| id).collect();
        for link in open {
            if clean {
                self.close(side, link);
            } else if let Some(l) = self.links.get_mut(&link) {
                l.open[side] = false;
            }
        }
        let seed = self.seed.wrapping_add(u64::from(self.life[side]) * 1000) * 2 + side as u64;
        self.sessions[side] = Session::new(self.configs[side].clone(), self.now, seed);
    }

    /// And begins again.
    pub(crate) fn revive(&mut self, side: Side) {
        self.listening[side] = true;
        self.input(side, Input::Start);
    }

    fn deliver(&mut self, event: Event) {
        match event {
            Event::Input { side, life, link, input } => {
                if life != self.life[side] {
                    return;
                }
                if let Some(id) = link
                    && !self.links.get(&id).is_some_and(|l| l.open[side])
                {
                    // Nobody there: a reset, if the host answers at all.
                    if matches!(input, Input::Received { .. }) && self.listening[side] && !self.silent {
                        let input = Input::Closed { conn: ConnId(id), reason: "reset".to_owned() };
                        self.tell(self.delay(1 - side, id), 1 - side, Some(id), input);
                    }
                    return;
                }
                if let (Some(id), Input::Closed { .. }) = (link, &input)
                    && let Some(l) = self.links.get_mut(&id)
                {
                    l.open[side] = false;
                }
                self.input(side, input);
            }
            Event::Syn { side, attempt } => {
                let accepted = self.listening[side];
                if accepted {
                    self.links.insert(attempt, Link { open: [true, true] });
                }
                self.schedule(
                    self.delay(1 - side, attempt),
                    Event::SynAck { side: 1 - side, attempt, accepted },
                );
                if accepted {
                    self.input(
                        side,
                        Input::Connected { conn: ConnId(attempt), direction: Direction::Incoming },
                    );
                }
            }
            Event::SynAck { side, attempt, accepted } => {
                if self.attempts[side] != Some(attempt) {
                    // Given up meanwhile.
                    if accepted {
                        self.close(side, attempt);
                    }
                    return;
                }
                self.attempts[side] = None;
                if accepted {
                    let input = Input::Connected { conn: ConnId(attempt), direction: Direction::Outgoing };
                    self.input(side, input);
                } else {
                    self.input(side, Input::ConnectFailed { reason: "refused".to_owned() });
                }
            }
        }
    }

    /// Steps to whatever is next, until `end`.
    pub(crate) fn run_until(&mut self, end: Time) {
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < 1_000_000, "does not come to rest");
            let event = self.events.first_key_value().map(|(&key, _)| key);
            let tick = (0..2).filter_map(|side| Some((self.sessions[side].deadline()?, side))).min();
            match (event, tick) {
                (Some((at, n)), tick) if at <= end && tick.is_none_or(|(t, _)| at <= t) => {
                    self.now = self.now.max(at);
                    if let Some(event) = self.events.remove(&(at, n)) {
                        self.deliver(event);
                    }
                }
                (_, Some((at, side))) if at <= end => {
                    self.now = self.now.max(at);
                    self.input(side, Input::Tick);
                }
                _ => break,
            }
        }
        self.now = self.now.max(end);
    }

    pub(crate) fn run_for(&mut self, d: Duration) {
        self.run_until(self.now + d);
    }

    /// Until both are up; how long that took.
    #[track_caller]
    pub(crate) fn run_until_up(&mut self, limit: Duration) -> Duration {
        let start = self.now;
        let step = Duration::from_millis(1);
        while !self.up() {
            assert!(self.now.since(start) <= limit, "not up after {limit:?}: {:?}", self.states());
            self.run_for(step);
        }
        self.now.since(start)
    }

    pub(crate) fn states(&self) -> [State; 2] {
        [self.sessions[0].state(), self.sessions[1].state()]
    }

    pub(crate) fn up(&self) -> bool {
        self.states() == [State::Established; 2]
    }

    /// Connections that either end still has.
    pub(crate) fn open_links(&self) -> usize {
        self.links.values().filter(|l| l.open != [false, false]).count()
    }

    /// How many outputs of `side` are like this.
    pub(crate) fn count(&self, side: Side, like: impl Fn(&Output) -> bool) -> usize {
        self.log.iter().filter(|(_, s, o)| *s == side && like(o)).count()
    }
}
