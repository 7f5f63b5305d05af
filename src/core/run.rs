//! The core at work: inputs to sessions, sessions to the RIB, the RIB to its readers.

use std::net::IpAddr;
use std::time::Duration;

use bgp::rib::{PeerInfo, PeerKind, Source};
use bgp::session::{self, ConnId, Direction, Negotiated};
use bgp::wire::notification::cease;
use bgp::wire::{RefreshKind, RouteKey};
use dataplane::intent::Local;
use types::{MacAddr, Time, Vni};

use super::events::{About, Kind, Level};
use super::neighbour::{NeighbourConfig, NeighbourId, Up};
use super::{Core, Input, Output, REPLAY_GAP, Replay, Settling};
use crate::evpn::{self, EventKind, ManualError, ManualRoute};
use crate::speaker::socket::SocketOptions;

/// Octets handed to a connection and not yet in the kernel above which it gets no more routes.
const HIGH_WATER: usize = 256 * 1024;
/// Loc-RIB changes the EVPN importer takes at a time.
const IMPORT_SLICE: usize = 4096;
/// How long a neighbour that sent too many routes is kept away.
const MAX_ROUTES_HOLD_DOWN: Duration = Duration::from_secs(60);

impl Core {
    /// Who may have connected from this address: its neighbour, made on the spot if it is of a dynamic range, and
    /// what its socket needs. `None`: nobody we know; close it.
    pub fn admit(&mut self, from: IpAddr, now: Time) -> Option<(NeighbourId, SocketOptions)> {
        let id = match self.by_address.get(&from) {
            Some(&id) => id,
            None => self.admit_dynamic(from, now)?,
        };
        Some((id, self.neighbours.get(&id)?.config.socket.clone()))
    }

    fn admit_dynamic(&mut self, from: IpAddr, now: Time) -> Option<NeighbourId> {
        // The most specific range decides.
        let range = self
            .config
            .dynamic
            .iter()
            .filter(|d| d.range.contains(&from))
            .max_by_key(|d| d.range.prefix_len())?;
        let (prefix, max) = (range.range, range.max_peers);
        let config = NeighbourConfig { address: from, ..range.template.clone() };
        let present = self.neighbours.values().filter(|n| n.dynamic == Some(prefix)).count();
        if present >= max as usize {
            let text = format!("{from}: refused, {prefix} has its {max} dynamic neighbours (max-peers)");
            self.log.push(now, Kind::Session, Level::Warn, About::neighbour(from), text);
            return None;
        }
        let id = self.add(config, Some(prefix), now);
        // A dynamic neighbour is passive: starting it only makes it ready to be connected to.
        self.session(id, session::Input::Start, now, &mut Vec::new());
        Some(id)
    }

    /// Something happened.
    pub fn handle(&mut self, input: Input, now: Time, out: &mut Vec<Output>) {
        match input {
            Input::Accepted { conn, neighbour } => {
                self.opened(conn, neighbour, Direction::Incoming, now, out);
            }
            Input::Connected { conn, neighbour } => {
                self.opened(conn, neighbour, Direction::Outgoing, now, out);
            }
            Input::ConnectFailed { neighbour, reason } => {
                self.session(neighbour, session::Input::ConnectFailed { reason }, now, out);
            }
            Input::Closed { conn, reason } => {
                if let Some(id) = self.conns.remove(&conn) {
                    self.session(id, session::Input::Closed { conn, reason }, now, out);
                    self.forget_if_dynamic(id);
                }
            }
            Input::Received { conn, data } => {
                if let Some(&id) = self.conns.get(&conn) {
                    self.session(id, session::Input::Received { conn, data }, now, out);
                    if !self.conns.contains_key(&conn) {
                        self.forget_if_dynamic(id);
                    }
                }
            }
            Input::Written { conn, octets } => {
                if let Some(&id) = self.conns.get(&conn) {
                    self.session(id, session::Input::Written { conn, bytes: octets }, now, out);
                }
            }
            Input::Local(Local::Found(vni, there)) => {
                let configured = self.evpn.found(vni, there, now);
                self.configured(configured, now, out);
            }
            Input::Local(Local::FoundAll) => self.found_all = true,
            Input::Local(local) => {
                self.evpn.local(local, now);
                self.drain_evpn(now, out);
            }
            Input::Tick => self.tick(now, out),
        }
    }

    fn opened(
        &mut self,
        conn: ConnId,
        id: NeighbourId,
        direction: Direction,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        if self.neighbours.contains_key(&id) {
            self.conns.insert(conn, id);
            self.session(id, session::Input::Connected { conn, direction }, now, out);
        } else {
            out.push(Output::Close { conn });
        }
    }

    /// A dynamic neighbour is forgotten with its last connection; not while it is kept away, or its next connection
    /// would be let in.
    pub fn forget_if_dynamic(&mut self, id: NeighbourId) {
        let may_go =
            self.neighbours.get(&id).is_some_and(|n| n.dynamic.is_some() && n.session.retry_at().is_none());
        if may_go
            && !self.conns.values().any(|owner| *owner == id)
            && let Some(gone) = self.neighbours.remove(&id)
        {
            self.by_address.remove(&gone.config.address);
        }
    }

    fn tick(&mut self, now: Time, out: &mut Vec<Output>) {
        let due: Vec<_> = self
            .neighbours
            .iter()
            .filter(|(_, n)| n.session.deadline().is_some_and(|at| at <= now))
            .map(|(&id, _)| id)
            .collect();
        for id in due {
            self.session(id, session::Input::Tick, now, out);
            self.forget_if_dynamic(id);
        }
        if matches!(self.settling, Settling::Until(at) if at <= now) {
            self.settling = Settling::Due;
        }
        if self.replay.not_before <= now {
            self.replay.not_before = Time::ZERO;
        }
        if self.missing_at.is_some_and(|at| at <= now) {
            self.missing_at = None;
            self.tell_missing(now);
        }
        if self.evpn.deadline().is_some_and(|at| at <= now) {
            self.evpn.tick(now);
            self.drain_evpn(now, out);
        }
    }

    /// Announces a route made by hand.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub fn add_route(
        &mut self,
        route: &ManualRoute,
        now: Time,
        out: &mut Vec<Output>,
    ) -> Result<RouteKey, ManualError> {
        let key = self.evpn.add_manual(route)?;
        self.drain_evpn(now, out);
        Ok(key)
    }

    /// Withdraws a route made by hand; false if there is none.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn remove_route(
        &mut self,
        route: &ManualRoute,
        now: Time,
        out: &mut Vec<Output>,
    ) -> Result<bool, ManualError> {
        let removed = self.evpn.remove_manual(route, now)?;
        self.drain_evpn(now, out);
        Ok(removed)
    }

    /// Treats a duplicate MAC like any other again; false if it is none.
    pub fn clear_duplicate(&mut self, vni: Vni, mac: MacAddr, now: Time, out: &mut Vec<Output>) -> bool {
        let cleared = self.evpn.clear(vni, mac, now);
        self.drain_evpn(now, out);
        cleared
    }

    /// Notes what the dataplane says of itself.
    pub fn note_dataplane(&mut self, event: &dataplane::reconciler::Event, now: Time) {
        let level = match event {
            dataplane::reconciler::Event::Note(_) => Level::Info,
            _ => Level::Warn,
        };
        self.log.push(now, Kind::Dataplane, level, About::default(), event.to_string());
    }

    /// Notes what became of a client's file.
    pub fn note_client(&mut self, level: Level, about: About, text: String, now: Time) {
        self.log.push(now, Kind::Client, level, about, text);
    }

    /// Notes what the process around the core did.
    pub fn note_agent(&mut self, text: String, now: Time) {
        self.log.push(now, Kind::Agent, Level::Info, About::default(), text);
    }

    /// When [`Input::Tick`] wants to be heard next.
    pub fn deadline(&self) -> Option<Time> {
        let sessions = self.neighbours.values().filter_map(|n| n.session.deadline());
        let settling = match self.settling {
            Settling::Until(at) => Some(at),
            Settling::Due | Settling::Done => None,
        };
        let waits = self.replay.wanted && !self.replay.running && self.replay.not_before > Time::ZERO;
        let replay = waits.then_some(self.replay.not_before);
        sessions.chain(settling).chain(replay).chain(self.missing_at).chain(self.evpn.deadline()).min()
    }

    /// Hands one input to a session and does what it says.
    pub(super) fn session(
        &mut self,
        id: NeighbourId,
        input: session::Input,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let mut said = Vec::new();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
            neighbour.session.handle(input, now, &mut said);
            for output in said.drain(..) {
                if let Some(answer) = self.session_said(id, output, now, out) {
                    inputs.push(answer);
                }
            }
        }
    }

    fn session_said(
        &mut self,
        id: NeighbourId,
        output: session::Output,
        now: Time,
        out: &mut Vec<Output>,
    ) -> Option<session::Input> {
        let neighbour = self.neighbours.get_mut(&id)?;
        match output {
            session::Output::Connect => out.push(Output::Connect {
                neighbour: id,
                remote: neighbour.config.remote(),
                options: neighbour.config.socket.clone(),
            }),
            session::Output::AbortConnect => out.push(Output::AbortConnect { neighbour: id }),
            session::Output::Send { conn, data } => out.push(Output::Send { conn, data }),
            session::Output::Close { conn } => {
                self.conns.remove(&conn);
                out.push(Output::Close { conn });
            }
            session::Output::Established(negotiated) => self.established(id, negotiated, now),
            session::Output::Update(update) => {
                let up = neighbour.up.as_mut().filter(|up| !up.over_limit)?;
                if update.eor {
                    up.heard_all = true;
                }
                let stats = self.rib.update(up.peer, update);
                let max = neighbour.config.max_routes?;
                if stats.routes > max {
                    up.over_limit = true;
                    let who = neighbour.config.address;
                    let text = format!("{who}: sent more than {max} routes (max-routes); kept away for 60 s");
                    self.log.push(now, Kind::Route, Level::Warn, About::neighbour(who), text);
                    return Some(session::Input::Stop {
                        subcode: cease::MAX_PREFIXES,
                        text: None,
                        hold_down: Some(MAX_ROUTES_HOLD_DOWN),
                    });
                }
            }
            session::Output::Refresh(refresh) => {
                let peer = neighbour.up.as_ref()?.peer;
                match refresh.kind {
                    RefreshKind::Request => self.rib.refresh(peer),
                    // A neighbour may repeat its routes unasked (RFC 7313 §4).
                    RefreshKind::Begin => self.rib.refresh_begins(peer),
                    RefreshKind::End => self.rib.refresh_ends(peer),
                    RefreshKind::Other(_) => {}
                }
            }
            session::Output::Down(reason) => {
                let who = neighbour.config.address;
                if let Some(up) = neighbour.up.take() {
                    self.peers.remove(&up.peer);
                    self.rib.peer_down(up.peer);
                }
                self.log.push(
                    now,
                    Kind::Session,
                    Level::Warn,
                    About::neighbour(who),
                    format!("{who}: down: {reason}"),
                );
            }
            session::Output::Failed(reason) => {
                let who = neighbour.config.address;
                self.log.push(
                    now,
                    Kind::Session,
                    Level::Info,
                    About::neighbour(who),
                    format!("{who}: {reason}"),
                );
            }
            session::Output::StateChanged(_) => {}
        }
        None
    }

    fn established(&mut self, id: NeighbourId, negotiated: Negotiated, now: Time) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        let kind = if negotiated.ebgp {
            PeerKind::Ebgp
        } else if neighbour.config.route_reflector_client {
            PeerKind::IbgpClient
        } else {
            PeerKind::Ibgp
        };
        let info = PeerInfo::new(neighbour.config.address, kind, &negotiated);
        let peer = self.rib.peer_up(info);
        let who = neighbour.config.address;
        let text = format!("{who}: established with AS {}", negotiated.remote_asn);
        self.log.push(now, Kind::Session, Level::Info, About::neighbour(who), text);
        neighbour.up = Some(Up { peer, negotiated, since: now, heard_all: false, over_limit: false });
        self.peers.insert(peer, id);
    }

    /// Lets the RIB's readers take a bounded slice of what changed: EVPN while the dataplane has room, each neighbour
    /// while its connection has. Says whether there is more to do right away.
    pub fn work(&mut self, dataplane_has_room: bool, now: Time, out: &mut Vec<Output>) -> bool {
        let mut more = false;
        if dataplane_has_room {
            self.start_replay(now);
            let evpn = &mut self.evpn;
            let taken = self.rib.poll(self.importer, IMPORT_SLICE, |change| {
                let route = change.best.as_ref().map(|best| evpn::Route {
                    attributes: best.attributes,
                    attr_id: best.attr_id,
                    body: &best.body,
                    local: best.source == Source::Local,
                });
                evpn.route(change.dest.index(), change.key, route, now);
            });
            self.drain_evpn(now, out);
            if taken == IMPORT_SLICE {
                more = true;
            } else {
                self.replay.running = false;
                if self.replay.wanted {
                    more |= self.replay.not_before <= now;
                } else {
                    self.settle(now, out);
                }
            }
        }
        let neighbours = &self.neighbours;
        let peers = &self.peers;
        let mut sent = Vec::new();
        let ready = |peer| {
            peers
                .get(&peer)
                .and_then(|id| neighbours.get(id))
                .is_some_and(|n| n.session.backlog() < HIGH_WATER)
        };
        more |= self.rib.poll_send(ready, |peer, data| sent.push((peer, data)));
        for (peer, data) in sent {
            if let Some(&id) = self.peers.get(&peer) {
                self.session(id, session::Input::Send { data }, now, out);
            }
        }
        more
    }

    /// Starts the replay that is wanted, if it may be.
    fn start_replay(&mut self, now: Time) {
        if self.replay.wanted && !self.replay.running && self.replay.not_before <= now {
            self.rib.replay(self.importer);
            let gap = REPLAY_GAP.saturating_mul(self.rib.counters().destinations as u32);
            self.replay = Replay { wanted: false, running: true, not_before: now + gap };
        }
    }

    /// Tells the dataplane that what was not heard again may go: once every configured neighbour has sent its
    /// End-of-RIB and all of it was imported, or when the time for that is over.
    fn settle(&mut self, now: Time, out: &mut Vec<Output>) {
        let due = match self.settling {
            Settling::Done => return,
            Settling::Due => true,
            Settling::Until(_) => {
                // What is found late would lose rows that are only about to be heard of again.
                if self.clients_unread || self.config.discover.is_some() && !self.found_all {
                    return;
                }
                let mut expected = self.neighbours.values().filter(|n| n.dynamic.is_none()).peekable();
                expected.peek().is_some() && expected.all(|n| n.up.as_ref().is_some_and(|up| up.heard_all))
            }
        };
        if due {
            self.settling = Settling::Done;
            self.evpn.settled();
            self.drain_evpn(now, out);
        }
    }

    pub(super) fn drain_evpn(&mut self, now: Time, out: &mut Vec<Output>) {
        while let Some(output) = self.evpn.poll_output() {
            match output {
                evpn::Output::Originate(key, body, attributes) => self.rib.originate(key, &body, *attributes),
                evpn::Output::Withdraw(key) => {
                    self.rib.withdraw_local(&key);
                }
                evpn::Output::Dataplane(change) => out.push(Output::Dataplane(change)),
                evpn::Output::Event(event) => {
                    let (kind, level) = match event.kind {
                        _ if event.is_alert() => (Kind::Mac, Level::Warn),
                        EventKind::Learned(..) | EventKind::Gone(..) => (Kind::Mac, Level::Debug),
                        EventKind::PrefixLearned(..) | EventKind::PrefixGone(_) => {
                            (Kind::Route, Level::Debug)
                        }
                        EventKind::ClientUp(..) | EventKind::ClientDown(..) => (Kind::Client, Level::Info),
                        EventKind::Vlan(_, None) => (Kind::Dataplane, Level::Debug),
                        EventKind::Vlan(..) | EventKind::Found(_) | EventKind::Lost => {
                            (Kind::Dataplane, Level::Info)
                        }
                        _ => (Kind::Mac, Level::Info),
                    };
                    self.log.push(now, kind, level, About::from(&event), event);
                }
            }
        }
    }
}
