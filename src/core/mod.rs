//! One node's mind: sessions, RIB and EVPN joined, pure.
//!
//! Everything that happens is an [`Input`] with the time it happened; everything to be done comes back as an
//! [`Output`]. The daemon runs one of these around real sockets, the simulation many around byte pipes. The flow is the
//! street of the design: a session hands UPDATEs to the RIB; [`Core::work`] lets the RIB's readers (EVPN, and each
//! group of neighbours) take what changed, as much as they can hold. Nothing queues beyond that.

pub mod events;
pub mod neighbour;

pub mod explain;
mod found;
mod run;
mod views;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bgp::rib::{PeerId, Rib, RibConfig, SubscriberId};
use bgp::session::{self, ConnId, Session};
use bgp::wire::notification::cease;
use bytes::Bytes;
use dataplane::intent::{Change, Local};
use types::{MacAddr, Time};

use crate::evpn::{
    ClientConfig, ClientView, ConfigError, Configured, DuplicateDetection, Evpn, EvpnConfig, MacVrfConfig,
};
use crate::speaker::socket::SocketOptions;
use events::{About, EventLog, Kind, Level};
use neighbour::{DynamicConfig, Neighbour, NeighbourConfig, NeighbourId};

/// How long after the start neighbours may take to tell everything again before what they did not repeat is removed
/// from the dataplane.
pub const SETTLE_AFTER: Duration = Duration::from_secs(60);

/// How long after the start or a reload a VNI that is configured may take to be found before that is told.
const FOUND_WITHIN: Duration = Duration::from_secs(5);

/// Between the starts of two replays, for each destination of the RIB: ten times what one takes, or so.
const REPLAY_GAP: Duration = Duration::from_micros(1);

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub struct CoreConfig {
    /// Our AS.
    pub asn: u32,
    /// Our router id.
    pub router_id: Ipv4Addr,
    /// The cluster we reflect for; the router id unless configured.
    pub cluster_id: Ipv4Addr,
    /// Our VTEP address, unless there is no dataplane.
    pub vtep: Option<IpAddr>,
    /// Neighbours by address.
    pub neighbours: Vec<NeighbourConfig>,
    /// Neighbours by range.
    pub dynamic: Vec<DynamicConfig>,
    /// UDP port of VXLAN, for VNIs that only clients name.
    pub vxlan_port: u16,
    /// The VNIs are those that the dataplane finds, and what is configured is how they are once they are found; what one
    /// that is not found lacks, in words.
    pub discover: Option<String>,
    /// What packets that we are to route come for; `None`: made from the VTEP address.
    pub router_mac: Option<MacAddr>,
    /// L2 VNIs.
    pub mac_vrfs: Vec<MacVrfConfig>,
    /// When a MAC that keeps moving is a duplicate.
    pub duplicate_macs: DuplicateDetection,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// A neighbour connected to us; ask [`Core::admit`] first.
    Accepted {
        /// A number nobody used before.
        conn: ConnId,
        /// Whose connection it is.
        neighbour: NeighbourId,
    },
    /// What [`Output::Connect`] asked for worked.
    Connected {
        /// A number nobody used before.
        conn: ConnId,
        /// Who was called.
        neighbour: NeighbourId,
    },
    /// It did not.
    ConnectFailed {
        /// Who was called.
        neighbour: NeighbourId,
        /// Why, in words.
        reason: String,
    },
    /// A connection ended.
    Closed {
        /// Which.
        conn: ConnId,
        /// Why, in words.
        reason: String,
    },
    /// Octets arrived.
    Received {
        /// On which connection.
        conn: ConnId,
        /// The octets.
        data: Bytes,
    },
    /// So many octets of what we sent are in the kernel.
    Written {
        /// On which connection.
        conn: ConnId,
        /// How many.
        octets: usize,
    },
    /// The dataplane saw something.
    Local(Local),
    /// [`Core::deadline`] has come.
    Tick,
}

/// Something to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a connection and say how it went.
    Connect {
        /// For whom.
        neighbour: NeighbourId,
        /// Whereto.
        remote: SocketAddr,
        /// How.
        options: SocketOptions,
    },
    /// Give up the connection being opened; nothing need be said.
    AbortConnect {
        /// For whom.
        neighbour: NeighbourId,
    },
    /// Send octets.
    Send {
        /// On which connection.
        conn: ConnId,
        /// The octets.
        data: Bytes,
    },
    /// Close a connection once what was sent is flushed; nothing need be said.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Tell the dataplane.
    Dataplane(Change),
}

/// A reload asked for something that only a restart can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} cannot change while running: restart evpnd")]
pub struct NeedsRestart(pub &'static str);

/// Whether the dataplane may drop what was not heard again since the start.
#[derive(Clone, Copy, Debug)]
enum Settling {
    /// Not before all neighbours have told everything, or this moment.
    Until(Time),
    /// The moment has come; as soon as all that was heard is imported.
    Due,
    /// It was told so.
    Done,
}

/// Every route of the RIB shown to EVPN once more, for VNIs that are new.
///
/// That costs as much as the RIB is large. So where VNIs come one by one it is neither started over for each of them,
/// which would never come to the end, where the news is, nor right after the last time: a burst of them costs little
/// more than one.
#[derive(Clone, Copy, Debug, Default)]
struct Replay {
    /// Somebody has not seen all yet, and another one has to follow.
    wanted: bool,
    running: bool,
    /// When another one may start; zero: whenever the dataplane has room.
    not_before: Time,
}

/// The node.
#[derive(Debug)]
pub struct Core {
    config: CoreConfig,
    neighbours: BTreeMap<NeighbourId, Neighbour>,
    by_address: HashMap<IpAddr, NeighbourId>,
    next_neighbour: u32,
    conns: HashMap<ConnId, NeighbourId>,
    peers: HashMap<PeerId, NeighbourId>,
    rib: Rib,
    importer: SubscriberId,
    evpn: Evpn,
    log: EventLog,
    settling: Settling,
    /// With discovery: those VNIs that stood were told.
    found_all: bool,
    /// Nothing could be read of the clients yet.
    clients_unread: bool,
    replay: Replay,
    /// When those VNIs are told of that are configured and were not found.
    missing_at: Option<Time>,
    seed: u64,
}

impl Core {
    /// A node that has just started. `seed` decides every jitter.
    pub fn new(config: CoreConfig, seed: u64, now: Time, out: &mut Vec<Output>) -> Self {
        let mut rib = Rib::new(RibConfig {
            asn: config.asn,
            router_id: config.router_id,
            cluster_id: config.cluster_id,
        });
        let importer = rib.subscribe();
        let evpn = Evpn::new(EvpnConfig {
            asn: config.asn,
            router_id: config.router_id,
            vtep: config.vtep,
            vxlan_port: config.vxlan_port,
            discover: config.discover.is_some(),
            router_mac: config.router_mac,
        });
        let mut core = Self {
            neighbours: BTreeMap::new(),
            by_address: HashMap::new(),
            next_neighbour: 0,
            conns: HashMap::new(),
            peers: HashMap::new(),
            rib,
            importer,
            evpn,
            log: EventLog::default(),
            settling: Settling::Until(now + SETTLE_AFTER),
            found_all: false,
            clients_unread: false,
            replay: Replay::default(),
            missing_at: None,
            seed,
            config: CoreConfig {
                neighbours: Vec::new(),
                dynamic: Vec::new(),
                mac_vrfs: Vec::new(),
                ..config.clone()
            },
        };
        core.apply(config, now, out);
        core
    }

    /// Makes a changed configuration so. Neighbours that did not change keep their sessions.
    ///
    /// # Errors
    /// What cannot change while running; nothing was changed then.
    pub fn reconfigure(
        &mut self,
        config: CoreConfig,
        now: Time,
        out: &mut Vec<Output>,
    ) -> Result<(), NeedsRestart> {
        self.check(&config)?;
        self.apply(config, now, out);
        Ok(())
    }

    /// Whether [`Core::reconfigure`] would take this.
    ///
    /// # Errors
    /// What cannot change while running.
    pub fn check(&self, config: &CoreConfig) -> Result<(), NeedsRestart> {
        let have = &self.config;
        let fixed = [
            ("router.asn", config.asn != have.asn),
            ("router.router-id", config.router_id != have.router_id),
            ("bgp.cluster-id", config.cluster_id != have.cluster_id),
            ("dataplane.vtep", config.vtep != have.vtep),
            ("dataplane.vxlan-port", config.vxlan_port != have.vxlan_port),
            ("dataplane.kernel.discover", config.discover != have.discover),
            ("dataplane.router-mac", config.router_mac != have.router_mac),
        ];
        fixed.iter().find(|(_, differs)| *differs).map_or(Ok(()), |(key, _)| Err(NeedsRestart(key)))
    }

    /// Ends every session with Cease / Administrative Shutdown.
    pub fn shutdown(&mut self, now: Time, out: &mut Vec<Output>) {
        for id in self.neighbours.keys().copied().collect::<Vec<_>>() {
            self.session(
                id,
                session::Input::Stop { subcode: cease::ADMIN_SHUTDOWN, text: None, hold_down: None },
                now,
                out,
            );
        }
    }

    /// What happened lately.
    pub const fn log(&self) -> &EventLog {
        &self.log
    }

    /// Takes the clients there shall be, each with a name of its own: those not among them go, those that do not
    /// change are not touched. Independent of [`Core::reconfigure`].
    pub fn set_clients(&mut self, clients: Vec<ClientConfig>, now: Time, out: &mut Vec<Output>) {
        let configured = self.evpn.set_clients(clients, now);
        self.configured(configured, now, out);
    }

    /// Whether the clients cannot be read: what none of them asks for may yet be wanted.
    pub const fn clients_unread(&mut self, unread: bool) {
        self.clients_unread = unread;
    }

    /// The clients, in order of name, and how each stands.
    pub fn clients(&self) -> impl Iterator<Item = ClientView<'_>> {
        self.evpn.clients()
    }

    fn configured(&mut self, configured: Result<Configured, ConfigError>, now: Time, out: &mut Vec<Output>) {
        match configured {
            Ok(configured) => self.replay.wanted |= configured.needs_replay,
            // The checks of configuration and client files are stricter; this is for callers that skipped them.
            Err(error) => self.log.push(now, Kind::Agent, Level::Warn, About::default(), error.to_string()),
        }
        self.drain_evpn(now, out);
    }

    fn apply(&mut self, config: CoreConfig, now: Time, out: &mut Vec<Output>) {
        self.evpn.set_duplicate_detection(config.duplicate_macs);
        let configured = self.evpn.configure(config.mac_vrfs.clone(), now);
        self.configured(configured, now, out);
        self.missing_at = self.evpn.missing().next().map(|_| now + FOUND_WITHIN);
        let stay: Vec<IpAddr> = config.neighbours.iter().map(|n| n.address).collect();
        let go: Vec<NeighbourId> = self
            .neighbours
            .iter()
            .filter(|(_, n)| match n.dynamic {
                None => !stay.contains(&n.config.address),
                Some(range) => {
                    stay.contains(&n.config.address) || !config.dynamic.iter().any(|d| d.range == range)
                }
            })
            .map(|(&id, _)| id)
            .collect();
        for id in go {
            self.remove(id, now, out);
        }
        for wanted in &config.neighbours {
            if let Some(&id) = self.by_address.get(&wanted.address) {
                self.change(id, wanted.clone(), now, out);
            } else {
                let id = self.add(wanted.clone(), None, now);
                self.session(id, session::Input::Start, now, out);
            }
        }
        let dynamic: Vec<_> = self.neighbours.iter().filter_map(|(&id, n)| Some((id, n.dynamic?))).collect();
        for (id, range) in dynamic {
            if let Some(template) =
                config.dynamic.iter().find(|d| d.range == range).map(|d| d.template.clone())
            {
                let address = self.neighbours[&id].config.address;
                self.change(id, NeighbourConfig { address, ..template }, now, out);
            }
        }
        self.config = config;
    }

    fn add(&mut self, config: NeighbourConfig, dynamic: Option<ipnet::IpNet>, now: Time) -> NeighbourId {
        let id = NeighbourId(self.next_neighbour);
        self.next_neighbour += 1;
        let seed = self.seed ^ (u64::from(id.0) << 32 | u64::from(id.0)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let session = Session::new(config.session.clone(), now, seed);
        self.by_address.insert(config.address, id);
        self.neighbours.insert(id, Neighbour { config, dynamic, session, up: None });
        id
    }

    fn remove(&mut self, id: NeighbourId, now: Time, out: &mut Vec<Output>) {
        let Some(neighbour) = self.neighbours.get(&id) else { return };
        self.by_address.remove(&neighbour.config.address);
        self.session(
            id,
            session::Input::Stop { subcode: cease::PEER_DECONFIGURED, text: None, hold_down: None },
            now,
            out,
        );
        self.neighbours.remove(&id);
        self.conns.retain(|_, owner| *owner != id);
    }

    fn change(&mut self, id: NeighbourId, wanted: NeighbourConfig, now: Time, out: &mut Vec<Output>) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else { return };
        if neighbour.config == wanted {
            return;
        }
        let same_session = NeighbourConfig {
            max_routes: neighbour.config.max_routes,
            description: neighbour.config.description.clone(),
            ..wanted.clone()
        } == neighbour.config;
        if same_session {
            neighbour.config = wanted;
            return;
        }
        let dynamic = neighbour.dynamic;
        let subcode = cease::CONFIG_CHANGE;
        self.session(id, session::Input::Stop { subcode, text: None, hold_down: None }, now, out);
        self.neighbours.remove(&id);
        self.by_address.remove(&wanted.address);
        self.conns.retain(|_, owner| *owner != id);
        // A dynamic one is made anew when it connects again.
        if dynamic.is_none() {
            let id = self.add(wanted, None, now);
            self.session(id, session::Input::Start, now, out);
        }
    }
}

#[cfg(test)]
mod tests;
