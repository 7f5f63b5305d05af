//! Neighbours as the core keeps them: who may speak to us, and each one's session.

use std::net::{IpAddr, SocketAddr};

use bgp::rib::PeerId;
use bgp::session::{Negotiated, Session, SessionConfig};
use ipnet::IpNet;
use types::Time;

use crate::speaker::socket::SocketOptions;

/// A neighbour, for as long as the process lives; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighbourId(pub u32);

/// One `[[bgp.neighbor]]`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct NeighbourConfig {
    /// Its address.
    pub address: IpAddr,
    /// The TCP port we connect to; 179.
    pub port: u16,
    /// Timers, ASes and the like.
    pub session: SessionConfig,
    /// What the sockets need.
    pub socket: SocketOptions,
    /// Reflect to it what other iBGP neighbours say (RFC 4456).
    pub route_reflector_client: bool,
    /// More routes than this end the session with Cease/1 (RFC 4486).
    pub max_routes: Option<u32>,
    /// For humans.
    pub description: Option<String>,
}

impl NeighbourConfig {
    /// Where we connect to.
    pub const fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// One `[[bgp.dynamic-neighbor]]`: any peer from a range may connect to us.
#[derive(Clone, Debug, PartialEq)]
pub struct DynamicConfig {
    /// The range.
    pub range: IpNet,
    /// How many at once.
    pub max_peers: u32,
    /// The rest, with `address` yet to be filled in.
    pub template: NeighbourConfig,
}

/// A neighbour and its session.
#[derive(Debug)]
pub struct Neighbour {
    pub(super) config: NeighbourConfig,
    /// The range it came from, if it was not configured by address.
    pub(super) dynamic: Option<IpNet>,
    pub(super) session: Session,
    /// Set while established.
    pub(super) up: Option<Up>,
}

/// What an established session adds.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) peer: PeerId,
    pub(super) negotiated: Negotiated,
    pub(super) since: Time,
    /// Its End-of-RIB has come.
    pub(super) heard_all: bool,
    /// It sent more routes than it may: what else it sent before the session ended does not count.
    pub(super) over_limit: bool,
}
