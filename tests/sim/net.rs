//! A network of whole nodes in virtual time: one process, one thread, everything decided by a seed.
//!
//! A node is what the daemon runs (sessions, RIB, EVPN, reconciler) on a dataplane in memory; what the daemon does
//! with sockets is done here with byte pipes that have a delay and can be cut.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bgp::session::{ConnId, RemoteAsn, SessionConfig};
use bytes::Bytes;
use dataplane::intent::{Change, Local};
use dataplane::memory::Memory;
use dataplane::reconciler::{Config as ReconcilerConfig, Output as PlaneOutput, Reconciler};
use evpnd::control::MacsQuery;
use evpnd::core::neighbour::{DynamicConfig, NeighbourConfig, NeighbourId};
use evpnd::core::{Core, CoreConfig, Input, Output};
use evpnd::evpn::{ClientConfig, DuplicateDetection, MacVrfConfig};
use evpnd::speaker::socket::SocketOptions;
use types::{MacAddr, Time, Vni};

use super::routing::Routing;

/// A small, good generator: SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..n`.
    pub(crate) const fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) const fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// What happens on the wire, at its time.
#[derive(Debug)]
enum Happening {
    Accept { attempt: Attempt, to: usize },
    Refused { attempt: Attempt },
    Connected { attempt: Attempt, conn: ConnId },
    Octets { conn: ConnId, data: Bytes },
    Written { conn: ConnId, octets: usize },
    Closed { conn: ConnId },
}

/// A connection that a node opens. A number is used once, and so an attempt that was given up, or is of an earlier
/// life of the node, is known by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attempt {
    node: usize,
    neighbour: NeighbourId,
    number: u64,
}

#[derive(Debug)]
struct Scheduled {
    at: Time,
    order: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// One end of a pipe.
#[derive(Debug)]
struct End {
    node: usize,
    /// The node of the other end.
    peer: usize,
    /// The other end; gone once that side has let go.
    other: ConnId,
    /// Octets the node's reader has not taken, while it is stalled.
    held: Vec<Bytes>,
    /// Octets on their way here that the network does not let through. As with TCP they are not lost: they come when
    /// the network is mended, if both sides still stand.
    stuck: Vec<Bytes>,
    /// When the last thing sent here arrives; nothing overtakes it.
    last: Time,
}

/// A queue between two threads of a node: what goes in comes out in order, each thing after some time.
#[derive(Debug)]
struct Queue<T>(VecDeque<(Time, T)>);

impl<T> Queue<T> {
    fn push(&mut self, at: Time, thing: T) {
        let at = self.0.back().map_or(at, |(last, _)| at.max(*last));
        self.0.push_back((at, thing));
    }

    fn pop(&mut self, now: Time) -> Option<T> {
        self.deadline().filter(|at| *at <= now)?;
        self.0.pop_front().map(|(_, thing)| thing)
    }

    fn deadline(&self) -> Option<Time> {
        self.0.front().map(|(at, _)| *at)
    }
}

/// A node: alive, or only what its dataplane kept.
#[derive(Debug)]
pub(crate) struct Node {
    /// With discovery, its VNIs are those that others have set up; its core is told of those only that are not as one is
    /// by default.
    pub(crate) config: CoreConfig,
    /// The clients it has files of.
    pub(crate) clients: Vec<ClientConfig>,
    pub(crate) core: Option<Core>,
    plane: Option<Reconciler<Memory>>,
    pub(crate) routing: Routing,
    /// The connections it is opening.
    attempts: BTreeMap<NeighbourId, u64>,
    /// It does not read what comes.
    stalled: bool,
    /// The last event of its log that is in the story.
    told: u64,
    /// On their way from the core's thread to the dataplane's, and back.
    down: Queue<Change>,
    up: Queue<Local>,
}

/// The network.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) now: Time,
    pub(crate) nodes: Vec<Node>,
    ends: BTreeMap<ConnId, End>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    next_conn: u64,
    next_attempt: u64,
    /// At most so many microseconds are added to what a pipe takes, anew for each write.
    pub(crate) jitter: usize,
    /// At most so many microseconds pass between the core's thread and the dataplane's.
    pub(crate) lag: usize,
    /// Pairs of nodes between which nothing arrives.
    cut: Vec<(usize, usize)>,
    pub(crate) dice: Dice,
    /// Octets that crossed a pipe: two runs of one seed agree on it.
    pub(crate) octets: u64,
    /// What happened, line by line, if it is to be told.
    pub(crate) story: Option<Vec<String>>,
}

/// The address of node `n`.
pub(crate) fn address(n: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, (n >> 8) as u8, n as u8).into()
}

/// What a node of AS `asn` is before it has neighbours and VNIs.
pub(crate) fn node(n: usize, asn: u32) -> CoreConfig {
    let IpAddr::V4(router_id) = address(n) else { unreachable!("address() makes IPv4") };
    CoreConfig {
        asn,
        router_id,
        cluster_id: router_id,
        vtep: Some(router_id.into()),
        neighbours: Vec::new(),
        dynamic: Vec::new(),
        vxlan_port: 4789,
        discover: None,
        router_mac: None,
        mac_vrfs: Vec::new(),
        duplicate_macs: DuplicateDetection::default(),
    }
}

/// How `of` sees node `n`.
pub(crate) fn neighbour(of: &CoreConfig, n: usize) -> NeighbourConfig {
    NeighbourConfig {
        address: address(n),
        port: 179,
        session: SessionConfig {
            hold_time: 9,
            connect_retry: Duration::from_secs(5),
            idle_hold_max: Duration::from_secs(5),
            ..SessionConfig::new(of.asn, of.router_id, RemoteAsn::External)
        },
        socket: SocketOptions::default(),
        route_reflector_client: false,
        max_routes: None,
        description: None,
    }
}

/// How `of` sees node `n` of its own AS; `client`: it reflects for it.
pub(crate) fn internal(of: &CoreConfig, n: usize, client: bool) -> NeighbourConfig {
    let mut seen = neighbour(of, n);
    seen.session.remote_asn = RemoteAsn::Internal;
    seen.route_reflector_client = client;
    seen
}

/// A route reflector that takes whoever comes, beside others of its kind.
pub(crate) fn reflector(n: usize, asn: u32, others: impl Iterator<Item = usize>) -> CoreConfig {
    let mut config = controller(n, asn);
    config.dynamic[0].template.session.remote_asn = RemoteAsn::Internal;
    config.dynamic[0].template.route_reflector_client = true;
    config.neighbours = others.map(|other| internal(&config, other, false)).collect();
    config
}

/// A controller that takes whoever comes.
pub(crate) fn controller(n: usize, asn: u32) -> CoreConfig {
    let mut config = CoreConfig { vtep: None, ..node(n, asn) };
    let mut template = neighbour(&config, n);
    template.session.passive = true;
    config.dynamic.push(DynamicConfig { range: "10.0.0.0/8".parse().unwrap(), max_peers: 1000, template });
    config
}

pub(crate) fn mac(n: u64) -> MacAddr {
    let [.., a, b, c] = n.to_be_bytes();
    MacAddr([0x02, 0, 0, a, b, c])
}

pub(crate) fn vni(n: u32) -> Vni {
    Vni::new(n).unwrap()
}

pub(crate) fn vrf(n: u32) -> MacVrfConfig {
    MacVrfConfig::new(vni(n))
}

impl Node {
    /// What its core is told of its configuration.
    fn told(&self) -> CoreConfig {
        let mut config = self.config.clone();
        if config.discover.is_some() {
            config.mac_vrfs.retain(|v| *v != MacVrfConfig::new(v.vni));
        }
        config
    }

    /// With discovery, others see to it that its VNIs are there, and no others.
    fn set_up_by_others(&mut self) {
        let Some(plane) = self.plane.as_mut().filter(|_| self.config.discover.is_some()) else { return };
        let wanted: BTreeSet<Vni> = self.config.mac_vrfs.iter().map(|v| v.vni).collect();
        let memory = plane.backend_mut();
        let stand: BTreeSet<Vni> = memory.found_vnis().collect();
        for vni in wanted.symmetric_difference(&stand) {
            memory.set_found(*vni, wanted.contains(vni));
        }
    }
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Time::ZERO,
            nodes: Vec::new(),
            ends: BTreeMap::new(),
            queue: BinaryHeap::new(),
            order: 0,
            next_conn: 0,
            next_attempt: 0,
            jitter: 0,
            lag: 0,
            cut: Vec::new(),
            dice: Dice::new(seed),
            octets: 0,
            story: None,
        }
    }

    /// Adds a node; its number is its place, which its configuration must know already.
    pub(crate) fn add(&mut self, config: CoreConfig) -> usize {
        self.nodes.push(Node {
            config,
            clients: Vec::new(),
            core: None,
            plane: None,
            routing: Routing::default(),
            attempts: BTreeMap::new(),
            stalled: false,
            told: 0,
            down: Queue(VecDeque::new()),
            up: Queue(VecDeque::new()),
        });
        let n = self.nodes.len() - 1;
        self.start(n);
        n
    }

    /// Starts a node that is down; its dataplane is as it was left.
    pub(crate) fn start(&mut self, n: usize) {
        let seed = self.dice.next();
        let mut out = Vec::new();
        let node = &mut self.nodes[n];
        // Every second node has all its VNIs in the same tables.
        let new = || if n % 2 == 1 { Memory::shared() } else { Memory::new() };
        let memory = node.plane.take().map_or_else(new, |plane| plane.shutdown(false).0);
        node.plane = Some(Reconciler::new(memory, ReconcilerConfig::default()));
        node.set_up_by_others();
        node.attempts.clear();
        node.told = 0;
        // Everything about time is relative: a node that starts late finds its clock where the others' are.
        let mut core = Core::new(node.told(), seed, self.now, &mut out);
        node.routing.restart();
        core.set_clients(node.clients.clone(), self.now, &mut out);
        node.core = Some(core);
        self.perform(n, out);
        self.settle(n);
    }

    /// Kills a node as SIGKILL would: the kernel closes its connections, the dataplane stays.
    pub(crate) fn kill(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.core = None;
        node.attempts.clear();
        node.down.0.clear();
        node.up.0.clear();
        let conns: Vec<_> = self.ends.iter().filter(|(_, e)| e.node == n).map(|(&c, _)| c).collect();
        for conn in conns {
            self.close(conn);
        }
    }

    pub(crate) fn is_up(&self, n: usize) -> bool {
        self.nodes[n].core.is_some()
    }

    pub(crate) fn plane(&self, n: usize) -> &Reconciler<Memory> {
        self.nodes[n].plane.as_ref().expect("the node was started once")
    }

    /// The dataplane, to make things happen in it.
    pub(crate) fn memory(&mut self, n: usize) -> &mut Memory {
        self.nodes[n].plane.as_mut().expect("the node was started once").backend_mut()
    }

    /// Gives a running node another configuration.
    pub(crate) fn reconfigure(&mut self, n: usize, config: CoreConfig) {
        let mut out = Vec::new();
        let node = &mut self.nodes[n];
        node.config = config;
        node.set_up_by_others();
        let config = node.told();
        if let Some(core) = &mut node.core {
            core.reconfigure(config, self.now, &mut out).expect("nothing that needs a restart");
        }
        self.perform(n, out);
        self.settle(n);
    }

    /// Nothing crosses between two nodes any more, and neither notices but by time.
    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        self.cut.push((a.min(b), a.max(b)));
    }

    pub(crate) fn mend(&mut self, a: usize, b: usize) {
        self.cut.retain(|pair| *pair != (a.min(b), a.max(b)));
        self.let_through();
    }

    pub(crate) fn mend_all(&mut self) {
        self.cut.clear();
        self.let_through();
    }

    /// What was sent again and again arrives at last, or finds that nobody is there any more.
    fn let_through(&mut self) {
        let conns: Vec<_> = self
            .ends
            .iter()
            .filter(|(_, end)| !self.severed(end.node, end.peer))
            .map(|(&conn, end)| (conn, end.other))
            .collect();
        for (conn, other) in conns {
            let stuck = self.ends.get_mut(&conn).map(|e| std::mem::take(&mut e.stuck)).unwrap_or_default();
            for data in stuck {
                self.deliver(conn, Happening::Octets { conn, data });
            }
            if !self.ends.contains_key(&other) {
                self.deliver(conn, Happening::Closed { conn });
            }
        }
    }

    /// Breaks every connection between two nodes; both are told.
    pub(crate) fn reset(&mut self, a: usize, b: usize) {
        let conns: Vec<_> = self
            .ends
            .iter()
            .filter(|(_, e)| e.node == a && e.peer == b)
            .map(|(&c, e)| (c, e.other))
            .collect();
        for (one, other) in conns {
            self.schedule(Duration::ZERO, Happening::Closed { conn: one });
            self.schedule(Duration::ZERO, Happening::Closed { conn: other });
        }
    }

    /// The node stops reading (true), or reads on.
    pub(crate) fn stall(&mut self, n: usize, stalled: bool) {
        self.nodes[n].stalled = stalled;
        if stalled {
            return;
        }
        let conns: Vec<_> = self.ends.iter().filter(|(_, e)| e.node == n).map(|(&c, _)| c).collect();
        for conn in conns {
            let held = self.ends.get_mut(&conn).map(|e| std::mem::take(&mut e.held)).unwrap_or_default();
            for data in held {
                self.octets_arrive(conn, data);
            }
        }
    }

    /// Notes a line of the story.
    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>12} {}", self.now.as_micros(), line()));
        }
    }

    /// Adds what the node's log says since last time.
    fn tell_events(&mut self, n: usize) {
        let (Some(story), node) = (&mut self.story, &mut self.nodes[n]) else { return };
        let Some(core) = &node.core else { return };
        for event in core.log().after(node.told) {
            story.push(format!("{:>12} node {n}: {}", event.at.as_micros(), event.text));
        }
        node.told = core.log().newest();
    }

    fn severed(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    fn latency(a: usize, b: usize) -> Duration {
        // Each pair has its own, the same both ways, so that order on a pipe holds.
        Duration::from_micros(500 + 37 * ((a * 31 + b * 31) % 97) as u64)
    }

    fn schedule(&mut self, after: Duration, what: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at: self.now + after, order: self.order, what }));
    }

    /// Runs until `until`, or nothing is left to happen.
    pub(crate) fn run_until(&mut self, until: Time) {
        loop {
            let wire = self.queue.peek().map(|Reverse(s)| s.at);
            let nodes = (0..self.nodes.len()).filter_map(|n| self.deadline(n)).min();
            let Some(next) = [wire, nodes].into_iter().flatten().min().filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(next);
            while self.queue.peek().is_some_and(|Reverse(s)| s.at <= self.now) {
                if let Some(Reverse(s)) = self.queue.pop() {
                    self.happen(s.what);
                }
            }
            for n in 0..self.nodes.len() {
                if self.deadline(n).is_some_and(|at| at <= self.now) {
                    self.tick(n);
                }
            }
        }
        self.now = self.now.max(until);
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    fn deadline(&self, n: usize) -> Option<Time> {
        let node = &self.nodes[n];
        let core = node.core.as_ref()?.deadline();
        let plane = node.plane.as_ref().map(Reconciler::deadline);
        [core, plane, node.down.deadline(), node.up.deadline()].into_iter().flatten().min()
    }

    fn tick(&mut self, n: usize) {
        let mut out = Vec::new();
        if let Some(core) = &mut self.nodes[n].core
            && core.deadline().is_some_and(|at| at <= self.now)
        {
            core.handle(Input::Tick, self.now, &mut out);
        }
        self.perform(n, out);
        self.settle(n);
    }

    fn input(&mut self, n: usize, input: Input) {
        let mut out = Vec::new();
        if let Some(core) = &mut self.nodes[n].core {
            core.handle(input, self.now, &mut out);
        }
        self.perform(n, out);
        self.settle(n);
    }

    /// Lets a node do all it can do without anything new happening: what the daemon's threads do between two events.
    pub(crate) fn settle(&mut self, n: usize) {
        loop {
            let mut out = Vec::new();
            let Some(core) = &mut self.nodes[n].core else { return };
            let more = core.work(true, self.now, &mut out);
            let idle = out.is_empty();
            self.perform(n, out);
            let plane_has_more = self.turn_plane(n);
            let heard = self.hear(n);
            if !more && idle && !heard && !plane_has_more {
                return;
            }
        }
    }

    /// One turn of the dataplane's thread; true if it wants another at once.
    fn turn_plane(&mut self, n: usize) -> bool {
        let now = self.now;
        let node = &mut self.nodes[n];
        let plane = node.plane.as_mut().expect("a node that is up has one");
        while let Some(change) = node.down.pop(now) {
            if let Some(change) = node.routing.change(change) {
                plane.change(&change);
            }
        }
        let mut said = Vec::new();
        plane.handle(now, &mut said);
        said.extend(node.routing.say().into_iter().map(PlaneOutput::Local));
        let more = plane.deadline() <= now;
        for output in said {
            self.tell(|| format!("node {n} ^ {output:?}"));
            if let PlaneOutput::Local(local) = output {
                let at = self.after_lag();
                self.nodes[n].up.push(at, local);
            }
        }
        more
    }

    /// The core hears what the dataplane said; false if it was nothing.
    fn hear(&mut self, n: usize) -> bool {
        let mut heard = false;
        while let Some(local) = self.nodes[n].up.pop(self.now) {
            heard = true;
            let mut out = Vec::new();
            if let Some(core) = &mut self.nodes[n].core {
                core.handle(Input::Local(local), self.now, &mut out);
            }
            self.perform(n, out);
        }
        heard
    }

    fn after_lag(&mut self) -> Time {
        let lag = if self.lag == 0 { 0 } else { self.dice.below(self.lag) as u64 };
        self.now + Duration::from_micros(lag)
    }

    /// Forgives every duplicate, as an operator would.
    pub(crate) fn clear_duplicates(&mut self) {
        for n in 0..self.nodes.len() {
            let mut out = Vec::new();
            for (vni, mac) in self.duplicates(n) {
                if let Some(core) = &mut self.nodes[n].core {
                    core.clear_duplicate(vni, mac, self.now, &mut out);
                }
            }
            self.perform(n, out);
            self.settle(n);
        }
    }

    /// The MACs a node holds as duplicates.
    pub(crate) fn duplicates(&self, n: usize) -> Vec<(Vni, MacAddr)> {
        let Some(core) = &self.nodes[n].core else { return Vec::new() };
        let page = core.mac_views(&MacsQuery::default());
        assert!(page.next.is_none(), "more MACs than fit one page");
        page.rows.iter().filter(|m| m.duplicate).map(|m| (vni(m.vni), m.mac)).collect()
    }

    /// Does what a core asked for.
    pub(crate) fn perform(&mut self, n: usize, out: Vec<Output>) {
        self.tell_events(n);
        for output in out {
            match output {
                Output::Connect { neighbour, remote, .. } => self.connect(n, neighbour, remote.ip()),
                Output::AbortConnect { neighbour } => {
                    self.nodes[n].attempts.remove(&neighbour);
                }
                Output::Send { conn, data } => {
                    let Some(end) = self.ends.get(&conn) else { continue };
                    let (to, peer) = (end.other, end.peer);
                    if self.severed(n, peer) {
                        // It counts as written, as the kernel's buffer would take it.
                        let octets = data.len();
                        if let Some(end) = self.ends.get_mut(&to) {
                            end.stuck.push(data);
                        }
                        // Not at once: what else this node is about to send goes before whatever follows from it.
                        self.schedule(Duration::ZERO, Happening::Written { conn, octets });
                        continue;
                    }
                    self.octets += data.len() as u64;
                    self.deliver(to, Happening::Octets { conn: to, data });
                }
                Output::Close { conn } => self.close(conn),
                Output::Dataplane(change) => {
                    self.tell(|| format!("node {n} v {change:?}"));
                    let at = self.after_lag();
                    self.nodes[n].down.push(at, change);
                }
            }
        }
    }

    /// Sends something to an end of a pipe.
    fn deliver(&mut self, to: ConnId, what: Happening) {
        let jitter = if self.jitter == 0 { 0 } else { self.dice.below(self.jitter) as u64 };
        let Some(end) = self.ends.get_mut(&to) else { return };
        let takes = Self::latency(end.node, end.peer) + Duration::from_micros(jitter);
        end.last = end.last.max(self.now + takes);
        let after = end.last.since(self.now);
        self.schedule(after, what);
    }

    fn close(&mut self, conn: ConnId) {
        let Some(end) = self.ends.remove(&conn) else { return };
        if !self.severed(end.node, end.peer) {
            self.deliver(end.other, Happening::Closed { conn: end.other });
        }
    }

    fn connect(&mut self, from: usize, neighbour: NeighbourId, remote: IpAddr) {
        self.next_attempt += 1;
        let attempt = Attempt { node: from, neighbour, number: self.next_attempt };
        self.nodes[from].attempts.insert(neighbour, attempt.number);
        let Some(to) = (0..self.nodes.len()).find(|&n| address(n) == remote) else {
            self.schedule(Self::latency(from, from), Happening::Refused { attempt });
            return;
        };
        if !self.severed(from, to) {
            self.schedule(Self::latency(from, to), Happening::Accept { attempt, to });
        } // Else a SYN into nowhere: the session gives up by itself.
    }

    /// The attempt is over; false if nobody waits for it any more.
    fn attempted(&mut self, attempt: Attempt) -> bool {
        let attempts = &mut self.nodes[attempt.node].attempts;
        let current = attempts.get(&attempt.neighbour) == Some(&attempt.number);
        if current {
            attempts.remove(&attempt.neighbour);
        }
        current
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Accept { attempt, to } => {
                let from = attempt.node;
                if self.severed(from, to) {
                    return;
                }
                let delay = Self::latency(from, to);
                let now = self.now;
                let admitted = self.nodes[to].core.as_mut().and_then(|core| core.admit(address(from), now));
                let Some((theirs, _)) = admitted else {
                    self.schedule(delay, Happening::Refused { attempt });
                    return;
                };
                let (near, far) = (ConnId(self.next_conn + 1), ConnId(self.next_conn + 2));
                self.next_conn += 2;
                let end = |node, peer, other| End {
                    node,
                    peer,
                    other,
                    held: Vec::new(),
                    stuck: Vec::new(),
                    last: Time::ZERO,
                };
                self.ends.insert(near, end(from, to, far));
                self.ends.insert(far, end(to, from, near));
                self.deliver(near, Happening::Connected { attempt, conn: near });
                self.input(to, Input::Accepted { conn: far, neighbour: theirs });
            }
            Happening::Refused { attempt } => {
                if self.attempted(attempt) {
                    let reason = "connection refused".to_owned();
                    self.input(attempt.node, Input::ConnectFailed { neighbour: attempt.neighbour, reason });
                }
            }
            Happening::Connected { attempt, conn } => {
                if self.attempted(attempt) {
                    self.input(attempt.node, Input::Connected { conn, neighbour: attempt.neighbour });
                } else {
                    self.close(conn);
                }
            }
            Happening::Octets { conn, data } => self.octets_arrive(conn, data),
            Happening::Written { conn, octets } => {
                if let Some(node) = self.ends.get(&conn).map(|e| e.node) {
                    self.input(node, Input::Written { conn, octets });
                }
            }
            Happening::Closed { conn } => {
                if let Some(end) = self.ends.remove(&conn) {
                    self.input(
                        end.node,
                        Input::Closed { conn, reason: "closed by the neighbour".to_owned() },
                    );
                }
            }
        }
    }

    fn octets_arrive(&mut self, conn: ConnId, data: Bytes) {
        let Some(end) = self.ends.get_mut(&conn) else { return };
        let (node, other) = (end.node, end.other);
        if self.nodes[node].stalled {
            end.held.push(data);
            return;
        }
        let octets = data.len();
        self.input(node, Input::Received { conn, data });
        if let Some(sender) = self.ends.get(&other).map(|e| e.node) {
            self.input(sender, Input::Written { conn: other, octets });
        }
    }
}
