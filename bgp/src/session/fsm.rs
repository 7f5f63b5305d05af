//! The state machine itself; [`super`] says what it does and what it expects.

use std::mem;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use types::Time;

use crate::wire::message::{check_header, encode_keepalive};
use crate::wire::notification::cease;
use crate::wire::{
    DecodeContext, Frame, MAX_EXTENDED_MESSAGE, MessageType, Notification, Open, RefreshKind, RouteRefresh,
    decode_update,
};

use super::config::SessionConfig;
use super::conn::{Connection, Phase};
use super::negotiate::{negotiate, neighbour_wins, our_open};
use super::report::{Counters, DownReason, LastError, MessageCounts, Negotiated, State};
use super::timer::{Backoff, Rng, Timer, TimerTable};
use super::{COLLISION_HOLD, ConnId, Direction, Input, Output};

/// Whether the session wants to be up.
#[derive(Debug)]
enum Standing {
    /// Told to be down; `refusal` is what the neighbour hears if it connects.
    Stopped { refusal: Notification },
    /// Waits in Idle for the idle-hold timer.
    Pausing { refusal: Notification },
    /// Connects, or waits for the neighbour to.
    Running,
}

/// One neighbour.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    standing: Standing,
    /// An [`Output::Connect`] that was not answered yet.
    connecting: bool,
    /// The second is there only while two connections collide.
    conns: [Option<Connection>; 2],
    timers: TimerTable,
    rng: Rng,
    /// Pauses between TCP connections that fail.
    connect_pause: Backoff,
    /// Pauses between sessions that fail.
    failure_pause: Backoff,
    /// As last told.
    reported: State,
    state_since: Time,
    established_since: Option<Time>,
    last_error: Option<LastError>,
    /// How the latest attempt failed, if there was no session since.
    failing: Option<DownReason>,
    counters: Counters,
    /// Of the next connection.
    serial: u64,
}

/// No setting makes attempts follow each other faster.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// Where a connection is in [`Session::conns`].
type Slot = usize;

impl Session {
    /// A session that has yet to be started. Of `seed` depends nothing but the jitter of timers.
    pub fn new(config: SessionConfig, now: Time, seed: u64) -> Self {
        Self {
            config,
            standing: Standing::Stopped { refusal: Notification::cease(cease::CONNECTION_REJECTED) },
            connecting: false,
            conns: [None, None],
            timers: TimerTable::default(),
            rng: Rng::new(seed),
            connect_pause: Backoff::default(),
            failure_pause: Backoff::default(),
            reported: State::Idle,
            state_since: now,
            established_since: None,
            last_error: None,
            failing: None,
            counters: Counters::default(),
            serial: 0,
        }
    }

    /// Takes one input and appends what it leads to.
    pub fn handle(&mut self, input: Input, now: Time, out: &mut Vec<Output>) {
        match input {
            Input::Received { conn, data } => self.received(conn, data, now, out),
            Input::Written { conn, bytes } => {
                if let Some(slot) = self.slot(conn) {
                    self.with(slot, |c| c.written(bytes, now));
                }
            }
            Input::Send { data } => {
                if let Some(slot) = self.established_slot() {
                    count_messages(&data, &mut self.counters.sent);
                    self.send(slot, data, now, out);
                }
            }
            Input::Tick => self.tick(now, out),
            Input::Start => self.start(now, out),
            Input::Stop { subcode, text, hold_down } => {
                self.stop(subcode, text.as_deref(), hold_down, now, out);
            }
            Input::Connected { conn, direction } => match direction {
                Direction::Outgoing => self.connected(conn, now, out),
                Direction::Incoming => self.accepted(conn, now, out),
            },
            Input::ConnectFailed { reason } => self.connect_failed(reason, now, out),
            Input::Closed { conn, reason } => {
                if let Some(slot) = self.slot(conn) {
                    self.lose(slot, DownReason::Closed(reason), now, out);
                }
            }
            Input::ProtocolError(notification) => {
                if let Some(slot) = self.established_slot() {
                    self.fail(slot, notification, now, out);
                }
            }
            Input::RequestRefresh => self.request_refresh(now, out),
            Input::Reconfigure(config) => self.reconfigure(config, now, out),
        }
        self.report(now, out);
    }

    /// When the next [`Input::Tick`] is wanted. A tick then moves it on.
    pub fn deadline(&self) -> Option<Time> {
        let conns = self.conns.iter().flatten().map(|c| c.timers.next());
        conns.chain([self.timers.next()]).flatten().min()
    }

    /// The state of RFC 4271.
    pub fn state(&self) -> State {
        match (self.conns.iter().flatten().map(Connection::state).max(), &self.standing) {
            (Some(state), _) => state,
            (None, Standing::Running) if self.connecting => State::Connect,
            (None, Standing::Running) => State::Active,
            (None, Standing::Stopped { .. } | Standing::Pausing { .. }) => State::Idle,
        }
    }

    /// Since when.
    pub const fn state_since(&self) -> Time {
        self.state_since
    }

    /// What happened so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Octets handed out for the neighbour that the kernel did not take yet.
    pub fn backlog(&self) -> usize {
        self.established().map_or(0, |c| c.unwritten)
    }

    /// What the running session agreed on.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.established()?.negotiated()
    }

    /// Since when the session is up.
    pub const fn established_since(&self) -> Option<Time> {
        self.established_since
    }

    /// The latest reason a session or an attempt ended.
    pub const fn last_error(&self) -> Option<&LastError> {
        self.last_error.as_ref()
    }

    /// The settings.
    pub const fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// Whether it waits for [`Input::Start`].
    pub const fn is_stopped(&self) -> bool {
        matches!(self.standing, Standing::Stopped { .. })
    }

    /// When the session tries again by itself, while it waits to.
    pub fn retry_at(&self) -> Option<Time> {
        match self.standing {
            Standing::Stopped { .. } => None,
            Standing::Pausing { .. } => self.timers.get(Timer::IdleHold),
            Standing::Running if self.connecting => None,
            Standing::Running => self.timers.get(Timer::ConnectRetry),
        }
    }

    /// When the connection furthest on is given up unless the neighbour says something.
    pub fn hold_expires(&self) -> Option<Time> {
        self.conns.iter().flatten().max_by_key(|c| c.state())?.timers.get(Timer::Hold)
    }

    // ---- start, stop, settings

    fn start(&mut self, now: Time, out: &mut Vec<Output>) {
        if !matches!(self.standing, Standing::Running) {
            self.connect_pause.reset();
            self.failure_pause.reset();
            self.begin(now, out);
        }
    }

    /// Out of Idle.
    fn begin(&mut self, now: Time, out: &mut Vec<Output>) {
        self.standing = Standing::Running;
        self.timers.stop(Timer::IdleHold);
        if !self.config.passive {
            self.connect(now, out);
        }
    }

    fn stop(
        &mut self,
        subcode: u8,
        text: Option<&str>,
        hold_down: Option<Duration>,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let notification = match text {
            Some(text) if matches!(subcode, cease::ADMIN_SHUTDOWN | cease::ADMIN_RESET) => {
                Notification::shutdown(subcode, text)
            }
            _ => Notification::cease(subcode),
        };
        if self.is_stopped() && hold_down.is_some() {
            return;
        }
        self.close_all(&notification, now, out);
        self.last_error = Some(LastError { at: now, reason: DownReason::Sent(notification.clone()) });
        if let Some(pause) = hold_down {
            self.pause(pause, notification, now, out);
        } else {
            self.standing = Standing::Stopped { refusal: notification };
            self.abort_connect(out);
            self.timers = TimerTable::default();
        }
    }

    fn reconfigure(&mut self, config: SessionConfig, now: Time, out: &mut Vec<Output>) {
        let old = mem::replace(&mut self.config, config);
        let reset = old.needs_reset(&self.config);
        if reset {
            // It was the old configuration's.
            self.last_error = None;
            self.failing = None;
            let notification = Notification::cease(cease::CONFIG_CHANGE);
            if self.conns.iter().any(Option::is_some) {
                self.close_all(&notification, now, out);
                self.last_error = Some(LastError { at: now, reason: DownReason::Sent(notification) });
            }
            self.connect_pause.reset();
            self.failure_pause.reset();
        }
        match self.standing {
            // What the pause was for may be mended.
            Standing::Pausing { .. } if reset => return self.begin(now, out),
            Standing::Stopped { .. } | Standing::Pausing { .. } => return,
            Standing::Running => {}
        }
        let idle = self.conns.iter().all(Option::is_none);
        if self.config.passive {
            self.abort_connect(out);
            self.timers.stop(Timer::ConnectRetry);
        } else if idle && !self.connecting && (reset || old.passive) {
            self.connect(now, out);
        }
    }

    /// Into Idle for a while.
    fn pause(&mut self, pause: Duration, refusal: Notification, now: Time, out: &mut Vec<Output>) {
        self.standing = Standing::Pausing { refusal };
        self.abort_connect(out);
        self.timers.stop(Timer::ConnectRetry);
        self.timers.set(Timer::IdleHold, now + pause);
    }

    // ---- connections come

    fn connect(&mut self, now: Time, out: &mut Vec<Output>) {
        self.connecting = true;
        self.counters.connects += 1;
        self.timers.set(Timer::ConnectRetry, now + self.connect_retry());
        out.push(Output::Connect);
    }

    /// Never zero: a deadline has to move on.
    fn connect_retry(&self) -> Duration {
        self.config.connect_retry.max(Duration::from_secs(1))
    }

    fn abort_connect(&mut self, out: &mut Vec<Output>) {
        if mem::take(&mut self.connecting) {
            self.timers.stop(Timer::ConnectRetry);
            out.push(Output::AbortConnect);
        }
    }

    /// Our attempt worked.
    fn connected(&mut self, id: ConnId, now: Time, out: &mut Vec<Output>) {
        if self.slot(id).is_some() {
            return;
        }
        if !self.connecting {
            // Crossed our change of mind.
            out.push(Output::Close { conn: id });
            return;
        }
        self.connecting = false;
        self.timers.stop(Timer::ConnectRetry);
        self.connect_pause.reset();
        self.open(id, Direction::Outgoing, now, out);
    }

    /// The neighbour connected.
    fn accepted(&mut self, id: ConnId, now: Time, out: &mut Vec<Output>) {
        if self.slot(id).is_some() {
            return;
        }
        match &self.standing {
            Standing::Running => {}
            Standing::Stopped { refusal } | Standing::Pausing { refusal } => {
                let refusal = refusal.clone();
                self.refuse(id, &refusal, out);
                return;
            }
        }
        if !self.connecting {
            self.timers.stop(Timer::ConnectRetry);
        }
        self.open(id, Direction::Incoming, now, out);
        if let Some(slot) = self.established_slot() {
            self.keepalive(slot, now, out);
        }
    }

    fn open(&mut self, id: ConnId, direction: Direction, now: Time, out: &mut Vec<Output>) {
        let Some(slot) = self.conns.iter().position(Option::is_none) else {
            self.refuse(id, &Notification::cease(cease::CONNECTION_REJECTED), out);
            return;
        };
        self.serial += 1;
        self.conns[slot] = Some(Connection::new(id, direction, self.serial, now));
        let mut open = BytesMut::new();
        our_open(&self.config).encode(&mut open);
        self.send_message(slot, MessageType::Open, open.freeze(), now, out);
        self.report(now, out);
    }

    /// Closes a connection that never was ours.
    fn refuse(&mut self, conn: ConnId, why: &Notification, out: &mut Vec<Output>) {
        self.counters.refused += 1;
        self.counters.sent.add(MessageType::Notification);
        let mut data = BytesMut::new();
        why.encode(&mut data);
        self.counters.octets_sent += data.len() as u64;
        out.push(Output::Send { conn, data: data.freeze() });
        out.push(Output::Close { conn });
    }

    fn connect_failed(&mut self, reason: String, now: Time, out: &mut Vec<Output>) {
        if !mem::take(&mut self.connecting) {
            return;
        }
        self.timers.stop(Timer::ConnectRetry);
        let reason = DownReason::ConnectFailed(reason);
        self.note(reason, now, out);
        if self.conns.iter().all(Option::is_none) {
            let longest = self.connect_retry();
            let pause = self.connect_pause.fail(self.config.idle_hold, longest);
            self.retry_after(pause, now);
        }
    }

    /// Waits in Active for the time of the next attempt.
    fn retry_after(&mut self, pause: Duration, now: Time) {
        let pause = self.jitter(pause);
        self.timers.set(Timer::ConnectRetry, now + pause);
    }

    /// Never zero either.
    fn jitter(&mut self, pause: Duration) -> Duration {
        self.rng.jitter(pause.max(LEAST_PAUSE))
    }

    // ---- connections go

    /// Sends a NOTIFICATION and closes.
    fn fail(&mut self, slot: Slot, notification: Notification, now: Time, out: &mut Vec<Output>) {
        self.notify_and_close(slot, &notification, now, out);
        self.lose(slot, DownReason::Sent(notification), now, out);
    }

    fn notify_and_close(
        &mut self,
        slot: Slot,
        notification: &Notification,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let mut data = BytesMut::new();
        notification.encode(&mut data);
        self.send_message(slot, MessageType::Notification, data.freeze(), now, out);
        if let Some(conn) = &self.conns[slot] {
            out.push(Output::Close { conn: conn.id });
        }
    }

    /// A connection is gone. If it was the last, decides how to go on.
    fn lose(&mut self, slot: Slot, reason: DownReason, now: Time, out: &mut Vec<Output>) {
        let Some(conn) = self.conns[slot].take() else { return };
        let lasts = reason.lasts();
        let alone = self.conns.iter().all(Option::is_none);
        if conn.is_established() {
            self.down(reason, now, out);
        } else if alone || reason.notification().is_none_or(|n| (n.code, n.subcode) != (6, cease::COLLISION))
        {
            self.note(reason, now, out);
        } else {
            // The neighbour chose between two, as it should.
            self.counters.collisions += 1;
        }
        if alone && matches!(self.standing, Standing::Running) {
            let pause = self.failure_pause.fail(self.config.idle_hold, self.config.idle_hold_max);
            if lasts {
                let pause = self.jitter(pause);
                self.pause(pause, Notification::cease(cease::CONNECTION_REJECTED), now, out);
            } else if !self.config.passive && !self.connecting {
                self.retry_after(pause, now);
            }
        }
        self.report(now, out);
    }

    /// Closes every connection; nothing follows from it.
    fn close_all(&mut self, notification: &Notification, now: Time, out: &mut Vec<Output>) {
        for slot in 0..self.conns.len() {
            self.notify_and_close(slot, notification, now, out);
            if self.conns[slot].take().is_some_and(|c| c.is_established()) {
                self.down(DownReason::Sent(notification.clone()), now, out);
            }
        }
    }

    /// Closes the loser of a collision.
    fn close_loser(&mut self, slot: Slot, now: Time, out: &mut Vec<Output>) {
        self.counters.collisions += 1;
        self.notify_and_close(slot, &Notification::cease(cease::COLLISION), now, out);
        self.conns[slot] = None;
    }

    /// The session that was up is not.
    fn down(&mut self, reason: DownReason, now: Time, out: &mut Vec<Output>) {
        if self.established_since.take().is_some_and(|since| now.since(since) >= self.config.stable_after) {
            self.failure_pause.reset();
        }
        out.push(Output::Down(reason.clone()));
        self.last_error = Some(LastError { at: now, reason });
    }

    /// Something short of a session ended.
    fn note(&mut self, reason: DownReason, now: Time, out: &mut Vec<Output>) {
        // A neighbour that is away fills the log with its own line otherwise, and nobody finds another one.
        let again = matches!(reason, DownReason::ConnectFailed(_)) && self.failing.as_ref() == Some(&reason);
        if !again {
            self.failing = Some(reason.clone());
            out.push(Output::Failed(reason.clone()));
        }
        // Turned away while the neighbour's pause lasts: what the pause is for says more.
        let says_more = |last: &LastError| last.reason.lasts() && reason.is_rejection();
        if !self.last_error.as_ref().is_some_and(says_more) {
            self.last_error = Some(LastError { at: now, reason });
        }
    }

    // ---- messages

    fn received(&mut self, id: ConnId, data: Bytes, now: Time, out: &mut Vec<Output>) {
        let Some(slot) = self.slot(id) else { return };
        self.counters.octets_received += data.len() as u64;
        self.with(slot, |c| c.framer.push(data));
        // Any message may end the connection.
        while let Some(conn) = &mut self.conns[slot] {
            match conn.framer.next(conn.max_message()) {
                Ok(Some(frame)) => self.message(slot, &frame, now, out),
                Ok(None) => return,
                Err(notification) => self.fail(slot, notification, now, out),
            }
        }
    }

    fn message(&mut self, slot: Slot, frame: &Frame, now: Time, out: &mut Vec<Output>) {
        self.counters.received.add(frame.kind);
        let Some(conn) = &mut self.conns[slot] else { return };
        match (frame.kind, &conn.phase) {
            (MessageType::Update, Phase::Established(negotiated)) => {
                let context =
                    DecodeContext { ebgp: negotiated.ebgp, as4: negotiated.as4, strict: self.config.strict };
                match decode_update(&frame.body, &context) {
                    Ok(update) => {
                        conn.heard(now);
                        out.push(Output::Update(update));
                    }
                    Err(notification) => self.fail(slot, notification, now, out),
                }
            }
            (MessageType::Keepalive, Phase::Established(_)) => conn.heard(now),
            (MessageType::Keepalive, Phase::OpenConfirm(_)) => self.establish(slot, now, out),
            (MessageType::RouteRefresh, Phase::Established(negotiated)) => {
                let enhanced = negotiated.enhanced_refresh;
                match RouteRefresh::decode(&frame.body) {
                    Ok(refresh) => {
                        if refresh.is_evpn()
                            && match refresh.kind {
                                RefreshKind::Request => true,
                                RefreshKind::Begin | RefreshKind::End => enhanced,
                                RefreshKind::Other(_) => false,
                            }
                        {
                            out.push(Output::Refresh(refresh));
                        }
                    }
                    Err(notification) => self.fail(slot, notification, now, out),
                }
            }
            (MessageType::Open, Phase::OpenSent) => {
                let negotiated = Open::decode(&frame.body).and_then(|open| negotiate(&self.config, &open));
                match negotiated {
                    Ok(negotiated) => self.opened(slot, negotiated, now, out),
                    Err(notification) => self.fail(slot, notification, now, out),
                }
            }
            (MessageType::Notification, _) => {
                // Framing lets none pass that is too short.
                let notification = Notification::decode(&frame.body)
                    .unwrap_or_else(|| Notification::new(0, 0, Bytes::new()));
                out.push(Output::Close { conn: conn.id });
                self.lose(slot, DownReason::Received(notification), now, out);
            }
            (
                MessageType::Open | MessageType::Keepalive | MessageType::Update | MessageType::RouteRefresh,
                Phase::OpenSent | Phase::OpenConfirm(_) | Phase::Established(_),
            ) => {
                let notification = conn.unexpected();
                self.fail(slot, notification, now, out);
            }
        }
    }

    /// The neighbour's OPEN is good.
    fn opened(&mut self, slot: Slot, negotiated: Negotiated, now: Time, out: &mut Vec<Output>) {
        let other = 1 - slot;
        if let Some(loser) = self.collision(slot, other, &negotiated) {
            self.close_loser(loser, now, out);
            if loser == slot {
                self.with(other, |c| {
                    if matches!(c.phase, Phase::OpenSent) {
                        let soon = now + COLLISION_HOLD;
                        let hold = c.timers.get(Timer::Hold).map_or(soon, |at| at.min(soon));
                        c.timers.set(Timer::Hold, hold);
                    }
                });
                self.report(now, out);
                return;
            }
        }
        let mut keepalives = None;
        self.with(slot, |c| {
            keepalives = negotiated.keepalive();
            c.phase = Phase::OpenConfirm(negotiated);
            c.heard(now);
        });
        self.keepalive(slot, now, out);
        self.report(now, out);
    }

    /// Which of two connections has to go, now that the neighbour is known on `slot`.
    fn collision(&self, slot: Slot, other: Slot, negotiated: &Negotiated) -> Option<Slot> {
        let conn = self.conns[slot].as_ref()?;
        let rival = self.conns[other].as_ref()?;
        if rival.is_established() {
            return Some(slot);
        }
        if rival.direction == conn.direction {
            // The same side opened both: it has given up the one that was there before.
            return Some(if conn.serial > rival.serial { other } else { slot });
        }
        let winner =
            if neighbour_wins(&self.config, negotiated) { Direction::Incoming } else { Direction::Outgoing };
        Some(if conn.direction == winner { other } else { slot })
    }

    /// Both sides have agreed.
    fn establish(&mut self, slot: Slot, now: Time, out: &mut Vec<Output>) {
        let other = 1 - slot;
        if self.conns[other].is_some() {
            self.close_loser(other, now, out);
        }
        self.abort_connect(out);
        let Some(conn) = &mut self.conns[slot] else { return };
        let Phase::OpenConfirm(negotiated) = &conn.phase else { return };
        let negotiated = negotiated.clone();
        conn.phase = Phase::Established(negotiated.clone());
        conn.heard(now);
        self.counters.established += 1;
        self.established_since = Some(now);
        self.report(now, out);
        self.failing = None;
        out.push(Output::Established(negotiated));
    }

    fn request_refresh(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(slot) = self.established_slot() else { return };
        if self.negotiated().is_some_and(|n| n.refresh) {
            let mut data = BytesMut::new();
            RouteRefresh::evpn(RefreshKind::Request).encode(&mut data);
            self.send_message(slot, MessageType::RouteRefresh, data.freeze(), now, out);
        }
    }

    // ---- time

    fn tick(&mut self, now: Time, out: &mut Vec<Output>) {
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::ConnectRetry => self.connect_retry_due(now, out),
                Timer::IdleHold => self.begin(now, out),
                Timer::Hold | Timer::SendHold | Timer::Keepalive => {}
            }
        }
        for slot in 0..self.conns.len() {
            while let Some(timer) = self.conns[slot].as_mut().and_then(|c| c.timers.take_due(now)) {
                match timer {
                    Timer::Hold => self.fail(slot, Notification::hold_timer_expired(), now, out),
                    Timer::SendHold => self.fail(slot, Notification::send_hold_timer_expired(), now, out),
                    Timer::Keepalive => self.keepalive(slot, now, out),
                    Timer::ConnectRetry | Timer::IdleHold => {}
                }
            }
        }
    }

    fn connect_retry_due(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.connecting {
            self.abort_connect(out);
            self.note(DownReason::ConnectFailed("timed out".to_owned()), now, out);
        }
        let waiting = matches!(self.standing, Standing::Running) && self.conns.iter().all(Option::is_none);
        if waiting && !self.config.passive {
            self.connect(now, out);
        }
    }

    /// Sends a KEEPALIVE and sets the time for the next.
    fn keepalive(&mut self, slot: Slot, now: Time, out: &mut Vec<Output>) {
        let Some(conn) = &mut self.conns[slot] else { return };
        if let Some(interval) = conn.negotiated().and_then(Negotiated::keepalive) {
            conn.timers.set(Timer::Keepalive, now + self.rng.jitter(interval));
        }
        let mut data = BytesMut::new();
        encode_keepalive(&mut data);
        self.send_message(slot, MessageType::Keepalive, data.freeze(), now, out);
    }

    // ---- small things

    fn slot(&self, id: ConnId) -> Option<Slot> {
        self.conns.iter().position(|c| c.as_ref().is_some_and(|c| c.id == id))
    }

    fn established_slot(&self) -> Option<Slot> {
        self.conns.iter().position(|c| c.as_ref().is_some_and(Connection::is_established))
    }

    fn established(&self) -> Option<&Connection> {
        self.conns.iter().flatten().find(|c| c.is_established())
    }

    fn with(&mut self, slot: Slot, f: impl FnOnce(&mut Connection)) {
        if let Some(conn) = &mut self.conns[slot] {
            f(conn);
        }
    }

    fn send_message(&mut self, slot: Slot, kind: MessageType, data: Bytes, now: Time, out: &mut Vec<Output>) {
        if self.conns[slot].is_some() {
            self.counters.sent.add(kind);
            self.send(slot, data, now, out);
        }
    }

    fn send(&mut self, slot: Slot, data: Bytes, now: Time, out: &mut Vec<Output>) {
        if let Some(conn) = &mut self.conns[slot] {
            self.counters.octets_sent += data.len() as u64;
            conn.handed_out(&data, now);
            out.push(Output::Send { conn: conn.id, data });
        }
    }

    /// Tells of the state if it is another than the last told.
    fn report(&mut self, now: Time, out: &mut Vec<Output>) {
        let state = self.state();
        if state != self.reported {
            self.reported = state;
            self.state_since = now;
            self.counters.transitions += 1;
            out.push(Output::StateChanged(state));
        }
    }
}

/// Counts the messages in what the RIB wants sent, which is well-formed.
fn count_messages(mut data: &[u8], counts: &mut MessageCounts) {
    while let Ok(Some((kind, len))) = check_header(data, MAX_EXTENDED_MESSAGE) {
        counts.add(kind);
        data = data.get(len..).unwrap_or_default();
    }
}
