//! The daemon: a core, the sockets around it, the dataplane under it, and those who ask it things.
//!
//! One task owns the [`Core`] and everything in it. All that happens reaches it through one bounded channel; all it
//! wants done leaves through bounded channels it never waits on. It runs on the main thread; sockets are served by a
//! worker of the runtime, the dataplane by a thread of its own.

mod answer;
mod clients;
mod explain;
mod plane;
mod preflight;
pub(crate) mod setup;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bgp::session::ConnId;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use types::Time;

use crate::clock;
use crate::config::{Config, OnExit, io_text};
use crate::control::{self, notify::State, notify::notify};
use crate::core::neighbour::NeighbourId;
use crate::core::{Core, CoreConfig, Input, Output};
use crate::speaker::connection;
use crate::speaker::socket::{self, Keys};
use plane::Plane;

/// Things that happened and wait for the core. With chunks of 128 KiB it bounds what neighbours can have in memory.
const QUEUE: usize = 64;
/// Requests that wait for an answer.
const CALLS: usize = 64;
/// Things taken from the queue before the RIB's readers get their turn.
const TAKE: usize = 32;

/// What reaches the core's task.
enum Event {
    Accepted(TcpStream, SocketAddr),
    Connected(NeighbourId, std::io::Result<TcpStream>),
    Connection(ConnId, connection::Event),
    Dataplane(dataplane::thread::Update),
    /// Of the directory with this number.
    Clients(u64, crate::clients::Update),
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// What kept it from starting: an address it cannot listen on, no permission for netlink, another evpnd on the socket.
pub fn run(config: Config, path: PathBuf) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("sockets")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        // Before anything else: what arrives while it starts waits for it.
        let signals = Signals::catch()?;
        Agent::start(config, path)?.run(signals).await
    })
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

struct Agent {
    config: Config,
    path: PathBuf,
    core: Core,
    plane: Plane,
    clients: clients::Clients,
    events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
    calls: mpsc::Receiver<control::Call>,
    listeners: Vec<(SocketAddr, std::sync::Arc<TcpListener>, JoinHandle<()>)>,
    connections: HashMap<ConnId, connection::Handle>,
    connecting: HashMap<NeighbourId, JoinHandle<()>>,
    next_conn: u64,
    out: Vec<Output>,
    started: Time,
    logged: u64,
    followers: Vec<answer::Follower>,
    control: JoinHandle<()>,
    stopping: bool,
    /// While stopping: connections that still flush their NOTIFICATION.
    closing: Vec<JoinHandle<()>>,
}

impl Agent {
    fn start(config: Config, path: PathBuf) -> Result<Self> {
        let now = clock::now();
        let (sender, events) = mpsc::channel(QUEUE);
        let (asker, calls) = mpsc::channel(CALLS);
        // Everything that can be refused comes first; only then does anything change.
        let control = control::bind(&config.control.socket)
            .with_context(|| format!("cannot open the control socket {}", config.control.socket.display()))?;
        preflight::check(&config, None)?;
        preflight::hint(&config);
        let plane = Plane::start(&config, sender.clone())?;
        // Nothing in it yet, so that nothing happens before everything stands.
        let bare = CoreConfig {
            neighbours: Vec::new(),
            dynamic: Vec::new(),
            mac_vrfs: Vec::new(),
            ..setup::core_config(&config)
        };
        let mut agent = Self {
            core: Core::new(bare, seed(), now, &mut Vec::new()),
            control: tokio::spawn(control::serve(control, asker)),
            calls,
            config,
            path,
            plane,
            clients: clients::Clients::default(),
            events,
            sender,
            listeners: Vec::new(),
            connections: HashMap::new(),
            connecting: HashMap::new(),
            next_conn: 0,
            out: Vec::new(),
            started: now,
            logged: 0,
            followers: Vec::new(),
            stopping: false,
            closing: Vec::new(),
        };
        let wanted = agent.config.clone();
        agent.listen(&wanted)?;
        agent.core.reconfigure(setup::core_config(&wanted), now, &mut agent.out).context("configuration")?;
        agent.watch_clients(&wanted, None, now)?;
        Ok(agent)
    }

    /// Makes the listening sockets those of `wanted`, with the MD5 keys of its neighbours.
    fn listen(&mut self, wanted: &Config) -> Result<()> {
        let none = Keys::new();
        let mut fresh = Vec::new();
        for &address in &wanted.bgp.listen {
            if !self.listeners.iter().any(|(a, ..)| *a == address) {
                let listener = socket::listen(address)
                    .with_context(|| format!("cannot listen on {address} (bgp.listen)"))?;
                fresh.push((address, std::sync::Arc::new(listener)));
            }
        }
        let (old, new) = (keys(&self.config), keys(wanted));
        let signed = (self.listeners.iter())
            .map(|(address, listener, _)| (address, listener, &old))
            .chain(fresh.iter().map(|(address, listener)| (address, listener, &none)))
            .try_for_each(|(address, listener, from)| {
                socket::sign(listener, address.is_ipv6(), from, &new)
                    .with_context(|| format!("cannot set the passwords of neighbours on {address}"))
            });
        if let Err(error) = signed {
            for (address, listener, _) in &self.listeners {
                if let Err(error) = socket::sign(listener, address.is_ipv6(), &new, &old) {
                    tracing::error!("the passwords on {address} are neither the old nor the new: {error}");
                }
            }
            return Err(error);
        }
        self.listeners.retain(|(address, _, task)| {
            let stays = wanted.bgp.listen.contains(address);
            if !stays {
                task.abort();
            }
            stays
        });
        for (address, listener) in fresh {
            let task = tokio::spawn(accept(std::sync::Arc::clone(&listener), self.sender.clone()));
            self.listeners.push((address, listener, task));
        }
        Ok(())
    }

    async fn run(mut self, mut signals: Signals) -> Result<()> {
        let mut events = Vec::with_capacity(TAKE);
        let mut more = true;
        tracing::info!(config = %self.path.display(), "evpnd {} started: {}", crate::VERSION, self.config.summary());
        notify(State::Ready);
        loop {
            let deadline = self.core.deadline();
            tokio::select! {
                biased;
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.hangup.recv() => {
                    if let Err(error) = self.reload() {
                        tracing::error!("reload refused, nothing changed: {error:#}");
                    }
                }
                Some(call) = self.calls.recv() => self.asked(call, clock::now()),
                _ = self.events.recv_many(&mut events, TAKE) => {}
                () = async {}, if more => {}
                () = tokio::time::sleep_until(clock::instant(deadline.unwrap_or_default())), if deadline.is_some() => {}
            }
            // Whoever asks without a pause must not keep neighbours from being heard.
            while events.len() < TAKE
                && let Ok(event) = self.events.try_recv()
            {
                events.push(event);
            }
            let now = clock::now();
            for event in events.drain(..) {
                self.happened(event, now);
            }
            if self.core.deadline().is_some_and(|at| at <= now) {
                self.core.handle(Input::Tick, now, &mut self.out);
            }
            more = self.core.work(self.plane.has_room(), now, &mut self.out);
            self.perform();
            self.tell();
        }
        self.stop().await;
        Ok(())
    }

    fn happened(&mut self, event: Event, now: Time) {
        match event {
            Event::Accepted(stream, from) => self.accepted(stream, from, now),
            Event::Connected(neighbour, result) => {
                self.connecting.remove(&neighbour);
                match result {
                    Ok(stream) => {
                        let conn = self.adopt(stream);
                        self.core.handle(Input::Connected { conn, neighbour }, now, &mut self.out);
                    }
                    Err(e) => {
                        let reason = io_text(&e);
                        self.core.handle(Input::ConnectFailed { neighbour, reason }, now, &mut self.out);
                    }
                }
            }
            Event::Connection(conn, event) => {
                let input = match event {
                    connection::Event::Received(data) => Input::Received { conn, data },
                    connection::Event::Written(octets) => Input::Written { conn, octets },
                    connection::Event::Closed(reason) => {
                        self.connections.remove(&conn);
                        Input::Closed { conn, reason }
                    }
                };
                self.core.handle(input, now, &mut self.out);
            }
            Event::Clients(generation, update) => self.clients_changed(generation, update, now),
            Event::Dataplane(update) => match update {
                dataplane::thread::Update::Room => self.plane.room(),
                dataplane::thread::Update::Output(dataplane::reconciler::Output::Local(local)) => {
                    self.core.handle(Input::Local(local), now, &mut self.out);
                }
                dataplane::thread::Update::Output(dataplane::reconciler::Output::Event(event)) => {
                    self.core.note_dataplane(&event, now);
                }
            },
        }
    }

    fn accepted(&mut self, stream: TcpStream, from: SocketAddr, now: Time) {
        let Some((neighbour, options)) = self.core.admit(from.ip(), now) else {
            tracing::info!(%from, "connection from nobody we know: closed");
            return;
        };
        if let Err(error) = socket::accepted(&stream, from.ip(), &options) {
            tracing::warn!(%from, "cannot ready the connection: {error}");
            self.core.forget_if_dynamic(neighbour);
            return;
        }
        let conn = self.adopt(stream);
        self.core.handle(Input::Accepted { conn, neighbour }, now, &mut self.out);
    }

    /// Gives a connection a number and its tasks.
    fn adopt(&mut self, stream: TcpStream) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        let handle =
            connection::spawn(stream, self.sender.clone(), move |event| Event::Connection(conn, event));
        self.connections.insert(conn, handle);
        conn
    }

    /// Does what the core asked for.
    fn perform(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        for output in out.drain(..) {
            match output {
                Output::Connect { neighbour, remote, options } => {
                    let sender = self.sender.clone();
                    let task = tokio::spawn(async move {
                        let result = socket::connect(remote, &options).await;
                        let _ = sender.send(Event::Connected(neighbour, result)).await;
                    });
                    if let Some(old) = self.connecting.insert(neighbour, task) {
                        old.abort();
                    }
                }
                Output::AbortConnect { neighbour } => {
                    if let Some(task) = self.connecting.remove(&neighbour) {
                        task.abort();
                    }
                }
                Output::Send { conn, data } => {
                    let full = self.connections.get(&conn).is_some_and(|c| !c.send(data));
                    if full {
                        // Far beyond what a session queues for a neighbour that reads at all.
                        self.connections.remove(&conn);
                        let sender = self.sender.clone();
                        tokio::spawn(async move {
                            let why = "does not read what we send".to_owned();
                            let _ =
                                sender.send(Event::Connection(conn, connection::Event::Closed(why))).await;
                        });
                    }
                }
                Output::Close { conn } => {
                    if let Some(handle) = self.connections.remove(&conn)
                        && self.stopping
                    {
                        self.closing.push(handle.close());
                    }
                }
                Output::Dataplane(change) => self.plane.push(change),
            }
        }
        self.out = out;
        self.plane.flush();
    }

    /// Reads the configuration again; all of it takes effect or nothing does.
    fn reload(&mut self) -> Result<String> {
        notify(State::Reloading);
        let result = self.reload_from(&self.path.clone());
        notify(State::Ready);
        result
    }

    fn reload_from(&mut self, path: &Path) -> Result<String> {
        let wanted = Config::load(path)?;
        let control = (wanted.control != self.config.control).then_some("control.socket");
        if let Some(what) = wanted.dataplane.difference(&self.config.dataplane).or(control) {
            anyhow::bail!("{what} cannot change while running: restart evpnd");
        }
        preflight::check(&wanted, Some(&self.config))?;
        let core_config = setup::core_config(&wanted);
        self.core.check(&core_config)?;
        self.listen(&wanted)?;
        let now = clock::now();
        self.core.reconfigure(core_config, now, &mut self.out)?;
        let summary = wanted.summary();
        let same = wanted == self.config;
        let running = std::mem::replace(&mut self.config, wanted.clone());
        self.watch_clients(&wanted, Some(&running), now)?;
        if same {
            // Whoever says "reload" and has changed nothing here means the dataplane. Otherwise one more VNI would cost
            // a look at all there are.
            self.plane.resync();
        }
        self.core.note_agent(format!("configuration read again: {summary}"), now);
        Ok(summary)
    }

    async fn stop(mut self) {
        notify(State::Stopping);
        tracing::info!("stopping");
        self.stopping = true;
        self.core.shutdown(clock::now(), &mut self.out);
        self.perform();
        self.control.abort();
        for (.., task) in &self.listeners {
            task.abort();
        }
        // Nobody reads the queue any more; whoever waits to write to it must not.
        self.events.close();
        let remove = self.config.dataplane.on_exit() == OnExit::Remove;
        for error in self.plane.shutdown(remove) {
            tracing::warn!("on the way out: {error}");
        }
        for connection in self.closing {
            let _ = connection.await;
        }
    }
}

/// The MD5 keys that listening sockets need, by whom they are for.
fn keys(config: &Config) -> Keys {
    let named = config.bgp.neighbors.iter().map(|n| (IpNet::from(n.address), &n.options));
    let ranges = config.bgp.dynamic_neighbors.iter().map(|d| (d.range, &d.options));
    named
        .chain(ranges)
        .filter_map(|(peer, o)| Some((peer, o.password.as_ref()?.as_bytes().to_vec())))
        .collect()
}

async fn accept(listener: std::sync::Arc<TcpListener>, core: mpsc::Sender<Event>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                if core.send(Event::Accepted(stream, from)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: they come back, a tight loop would not help.
                tracing::warn!("accept: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// A number nobody can guess, for the jitter of timers.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
