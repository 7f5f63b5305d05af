//! Talking to the running daemon: newline-delimited JSON over a unix socket.
//!
//! One [`Request`] a line, answered by exactly one [`Reply`] line, in order; only [`Request::Events`] with `follow` is
//! answered by as many as there are until the client hangs up. What could be large is asked for a page at a time: the
//! *client* comes back with the cursor of the last page, so a client that reads slowly costs the core nothing, and no
//! table is ever in memory as text.
//!
//! The server ([`serve`]) reads and writes sockets and passes each request to the core as a [`Call`]; the core answers
//! when it gets to it, without ever waiting for a client.

mod client;
pub mod notify;
mod server;
pub mod view;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use bgp::wire::community::RouteTarget;
use bgp::wire::rd::Rd;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use types::{MacAddr, Vni};

pub use client::{Client, ClientError};
pub use server::{Call, Listener, bind, serve};
use view::{
    ClientView, DataplaneView, EventView, ExplainView, MacView, NeighborView, RouteView, SummaryView, VniView,
};

/// The most rows in one page of a reply.
pub const MAX_PAGE: usize = 4096;

/// What a client may ask. On the wire: `{"request": "show-routes", "type": 2, ...}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// All neighbours: [`Reply::Neighbors`].
    ShowNeighbors,
    /// A page of routes: [`Reply::Routes`].
    ShowRoutes(RoutesQuery),
    /// All VNIs: [`Reply::Vnis`].
    ShowVnis,
    /// A page of MACs: [`Reply::Macs`].
    ShowMacs(MacsQuery),
    /// A page of clients: [`Reply::Clients`].
    ShowClients(ClientsQuery),
    /// The dataplane: [`Reply::Dataplane`].
    ShowDataplane,
    /// Everything in a few numbers: [`Reply::Summary`].
    ShowSummary,
    /// The story of one address: [`Reply::Explain`].
    Explain(ExplainQuery),
    /// What happened lately: [`Reply::Events`], once, or on and on with `follow`.
    Events(EventsQuery),
    /// Originate a route by hand: [`Reply::Done`].
    RouteAdd(LocalRoute),
    /// Withdraw a route made by hand: [`Reply::Done`].
    RouteDel(LocalRoute),
    /// Treat a duplicate MAC like any other again: [`Reply::Done`].
    ClearMac(ClearMac),
    /// Read the configuration again: [`Reply::Done`], or [`Reply::Error`] and nothing changed.
    Reload,
}

/// Which routes, and from where on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutesQuery {
    /// Only this EVPN route type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub route_type: Option<u8>,
    /// Only routes with this VNI in their label, or imported by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vni: Option<Vni>,
    /// Only routes from this neighbour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbor: Option<IpAddr>,
    /// Only routes for this MAC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Go on after this place: `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// So many rows, at most; [`MAX_PAGE`] if absent or more. A page may have fewer, even none, and still a `next`:
    /// the core looks at a bounded number of routes for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Which MACs, and from where on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacsQuery {
    /// Only this VNI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vni: Option<Vni>,
    /// Only this MAC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Go on after this one: `next` of the page before. MACs come in order of VNI and MAC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<(Vni, MacAddr)>,
    /// So many rows, at most; [`MAX_PAGE`] if absent or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Which clients, and from where on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientsQuery {
    /// Go on after this one: `next` of the page before. Clients come in order of name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// So many rows, at most; [`MAX_PAGE`] if absent or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Whose story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainQuery {
    /// The address.
    pub target: Target,
    /// In this VNI only; absent: in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vni: Option<Vni>,
}

/// What can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A MAC address.
    Mac(MacAddr),
    /// An IP address.
    Ip(IpAddr),
    /// An IP prefix.
    Prefix(IpNet),
}

impl std::str::FromStr for Target {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        (s.parse().map(Self::Mac).ok())
            .or_else(|| s.parse().map(Self::Ip).ok())
            .or_else(|| s.parse().map(Self::Prefix).ok())
            .ok_or_else(|| {
                "expected a MAC (02:00:5e:10:00:01), an IP address or a prefix (10.0.0.0/24)".to_owned()
            })
    }
}

/// Which events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsQuery {
    /// Stay after that, and send what happens from now on.
    #[serde(default)]
    pub follow: bool,
}

/// Which duplicate MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearMac {
    /// In this VNI.
    pub vni: Vni,
    /// The MAC.
    pub mac: MacAddr,
}

/// A route made by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalRoute {
    /// What it is for.
    pub kind: LocalKind,
    /// Its VNI.
    pub vni: Vni,
    /// Its route distinguisher; absent: the VNI's own, or router-id:VNI (VNI modulo 65536).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "opt_text")]
    pub rd: Option<Rd>,
    /// Its route targets; empty: those the VNI exports, or the automatic one.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "vec_text")]
    pub route_targets: Vec<RouteTarget>,
    /// Its next hop; absent: our VTEP address, or the router id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<IpAddr>,
}

/// What a route made by hand is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LocalKind {
    /// Type 3: flood to us.
    Imet,
    /// Type 2: this MAC, perhaps with an address, is here.
    Mac {
        /// The MAC.
        mac: MacAddr,
        /// Its address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ip: Option<IpAddr>,
        /// Must not move elsewhere (RFC 7432 §15.2).
        #[serde(default)]
        sticky: bool,
    },
    /// Type 5: this prefix is behind us.
    Prefix(IpNet),
}

/// What the daemon answers. On the wire: `{"reply": "routes", "data": {"rows": [...], "next": 17}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "data", rename_all = "kebab-case")]
pub enum Reply {
    /// All neighbours.
    Neighbors(Vec<NeighborView>),
    /// A page of routes.
    Routes(Page<RouteView, u64>),
    /// All VNIs.
    Vnis(Vec<VniView>),
    /// A page of MACs.
    Macs(Page<MacView, (Vni, MacAddr)>),
    /// A page of clients.
    Clients(Page<ClientView, String>),
    /// The dataplane.
    Dataplane(DataplaneView),
    /// Everything in a few numbers.
    Summary(SummaryView),
    /// The story of one address.
    Explain(ExplainView),
    /// Events, the oldest first.
    Events(Vec<EventView>),
    /// It is done; in words for humans.
    Done(String),
    /// It is not, and nothing changed; why, in words for humans.
    Error(String),
}

/// A part of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<T, K> {
    /// The rows, at most [`MAX_PAGE`].
    pub rows: Vec<T>,
    /// There may be more after this place; absent: that was all.
    pub next: Option<K>,
}

/// Values that travel as their text.
mod opt_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::ref_option)] // serde calls it like this
    pub(super) fn serialize<T: Display, S: Serializer>(v: &Option<T>, s: S) -> Result<S::Ok, S::Error> {
        match v {
            Some(v) => s.collect_str(v),
            None => s.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, T, D>(d: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Option::<String>::deserialize(d)?.map(|s| s.parse().map_err(D::Error::custom)).transpose()
    }
}

/// Lists of values that travel as their text.
mod vec_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(v: &[T], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(v.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, T, D>(d: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let texts = Vec::<String>::deserialize(d)?;
        texts.iter().map(|s| s.parse().map_err(D::Error::custom)).collect()
    }
}
