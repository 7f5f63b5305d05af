//! The configuration: what `evpnd.toml` says, as types that cannot hold nonsense.
//!
//! [`Config::load`] parses instead of validating: a [`Config`] has every default filled in, every reference checked and
//! every range enforced, so that the rest of evpnd never asks "and if not?". A file with problems yields all of them at
//! once, each with its line and key ([`ConfigErrors`]). A `Config` is compared with `==` to find out what a reload
//! changed; nothing in it names a place in the file.
//!
//! - `read`: a TOML table as a stream of typed keys, each with its place
//! - `parse`, `peer`, `dataplane`, `vni`: the keys of evpnd.toml, their ranges, and what must agree between them
//! - `error`: problems and how they are shown

mod dataplane;
mod error;
mod parse;
mod peer;
mod read;
mod vni;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bgp::wire::community::RouteTarget;
use bgp::wire::rd::Rd;
use ipnet::IpNet;
use types::{MacAddr, Vni};

use crate::words::count;

pub(crate) use error::io_text;
pub use error::{ConfigErrors, Problem};
pub(crate) use parse::{check_interface_name, is_host};
pub(crate) use read::hint;

pub use ::dataplane::kernel::Layout;
pub use ::dataplane::ovs::Datapath;

pub use crate::evpn::{DuplicateDetection, ImportRt, auto_export as auto_rt};

/// The UDP port of VXLAN (RFC 7348 §5).
pub const VXLAN_PORT: u16 = 4789;
/// The TCP port of BGP (RFC 4271 §8.2.1).
pub const BGP_PORT: u16 = 179;
/// The control socket, where nothing else is said.
pub const DEFAULT_SOCKET: &str = "/run/evpnd/evpnd.sock";

/// A whole configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who we are.
    pub router: Router,
    /// The BGP speaker and its neighbours.
    pub bgp: Bgp,
    /// What forwards packets.
    pub dataplane: Dataplane,
    /// The L2 VNIs (MAC-VRFs), in order of VNI.
    pub l2vnis: Vec<L2Vni>,
    /// Where the files are that attach clients.
    pub clients: Option<Clients>,
    /// When a MAC that keeps moving is a duplicate (RFC 7432 §15.1).
    pub duplicate_macs: DuplicateDetection,
    /// How the running daemon is talked to.
    pub control: Control,
}

impl Config {
    /// Reads and checks a file. Relative paths in it are relative to its directory.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &name, path.parent().unwrap_or(Path::new("."))),
            Err(error) => Err(ConfigErrors::unreadable(&name, &error)),
        }
    }

    /// Checks the text of a file; `name` stands in its errors, `dir` is what relative paths are relative to.
    pub fn parse(text: &str, name: &str, dir: &Path) -> Result<Self, ConfigErrors> {
        parse::config(text, name, dir)
    }

    /// The address that VXLAN packets come from, and the next hop of what we announce; always there with a
    /// dataplane.
    pub fn vtep(&self) -> Option<IpAddr> {
        self.dataplane.vtep()
    }

    /// What this is, in a few words: `3 neighbours, 2 VNIs`.
    pub fn summary(&self) -> String {
        let mut parts = vec![count(self.bgp.neighbors.len(), "neighbour", "neighbours")];
        if !self.bgp.dynamic_neighbors.is_empty() {
            parts.push(count(self.bgp.dynamic_neighbors.len(), "range", "ranges"));
        }
        parts.push(count(self.l2vnis.len(), "VNI", "VNIs"));
        if self.dataplane.discovers() {
            parts.push("and those that are found".to_owned());
        }
        parts.join(", ")
    }
}

/// `[router]`: who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Router {
    /// Our AS number; neither 0 nor AS_TRANS.
    pub asn: u32,
    /// Our BGP identifier; not 0.0.0.0 (RFC 6286).
    pub router_id: Ipv4Addr,
}

/// `[bgp]`: the speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bgp {
    /// Where to accept connections; empty: connect only.
    pub listen: Vec<SocketAddr>,
    /// Proposed hold time in seconds: 0 (none) or 3 and more. Neighbours carry their own, this one filled in.
    pub hold_time: u16,
    /// The cluster we reflect for (RFC 4456 §8).
    pub cluster_id: Ipv4Addr,
    /// How long to wait between two attempts to connect, before jitter and back-off.
    pub connect_retry: Duration,
    /// The neighbours, one an address.
    pub neighbors: Vec<Neighbor>,
    /// Ranges from which anybody may connect, the longest prefix first.
    pub dynamic_neighbors: Vec<DynamicNeighbor>,
}

/// `[[bgp.neighbor]]`: a neighbour by address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// Its address.
    pub address: IpAddr,
    /// The address we connect from; of the same family.
    pub local_address: Option<IpAddr>,
    /// The TCP port we connect to.
    pub port: u16,
    /// Wait for it to connect, never connect.
    pub passive: bool,
    /// What it shares with dynamic neighbours.
    pub options: PeerOptions,
}

/// `[[bgp.dynamic-neighbor]]`: whoever connects from a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicNeighbor {
    /// The range; no host bits set.
    pub range: IpNet,
    /// So many at the same time, at most.
    pub max_peers: u32,
    /// What they share with configured neighbours.
    pub options: PeerOptions,
}

/// What a neighbour may be told, however it came to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerOptions {
    /// The AS it must be in.
    pub remote_asn: RemoteAsn,
    /// How far away it may be.
    pub hops: Hops,
    /// TCP-MD5 (RFC 2385).
    pub password: Option<Password>,
    /// Proposed hold time in seconds: 0 (none) or 3 and more.
    pub hold_time: u16,
    /// It is a client of ours as route reflector (RFC 4456).
    pub route_reflector_client: bool,
    /// More routes than this end the session with a Cease (RFC 4486).
    pub max_routes: Option<NonZeroU32>,
    /// For humans.
    pub description: Option<String>,
    /// A malformed NLRI ends the session, as RFC 4760 would have it, instead of costing only itself.
    pub strict: bool,
}

/// `remote-asn`: the AS a neighbour must be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteAsn {
    /// This one; ours makes it internal.
    Number(u32),
    /// Any but ours.
    External,
    /// Ours.
    Internal,
}

/// How far away a neighbour may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hops {
    /// The default: TTL 1 towards an external neighbour, 64 towards an internal one.
    Default,
    /// We send with this TTL (`multihop`).
    Multihop(u8),
    /// It is at most this many hops away: we send with TTL 255 and accept from 256 minus this (RFC 5082).
    TtlSecurity(u8),
}

/// A secret of 1 to 80 octets; not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Vec<u8>);

impl Password {
    /// The most that TCP-MD5 takes: TCP_MD5SIG_MAXKEYLEN of Linux.
    pub const MAX: usize = 80;

    /// A secret, unless it is empty or longer than [`Self::MAX`].
    pub fn new(secret: &[u8]) -> Option<Self> {
        (1..=Self::MAX).contains(&secret.len()).then(|| Self(secret.to_vec()))
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// `[dataplane]`: what forwards packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dataplane {
    /// Nothing: a route reflector or controller only.
    None {
        /// Next hop of routes injected by hand.
        vtep: Option<IpAddr>,
    },
    /// Bridges and VXLAN devices of the Linux kernel.
    Kernel(Kernel),
    /// A bridge of Open vSwitch.
    Ovs(Ovs),
}

impl Dataplane {
    /// The address that VXLAN packets come from.
    pub fn vtep(&self) -> Option<IpAddr> {
        match self {
            Self::None { vtep } => *vtep,
            Self::Kernel(kernel) => Some(kernel.vtep),
            Self::Ovs(ovs) => Some(ovs.vtep),
        }
    }

    /// The UDP port of VXLAN.
    pub const fn vxlan_port(&self) -> u16 {
        match self {
            Self::None { .. } => VXLAN_PORT,
            Self::Kernel(kernel) => kernel.vxlan_port,
            Self::Ovs(ovs) => ovs.vxlan_port,
        }
    }

    /// Which devices carry the VNIs, in the word of the configuration; `None`: that is no question.
    pub const fn layout(&self) -> Option<&'static str> {
        match self {
            Self::Kernel(Kernel { layout: Layout::DevicePerVni, .. }) => Some("device-per-vni"),
            Self::Kernel(Kernel { layout: Layout::SingleDevice, .. }) => Some("single-device"),
            Self::None { .. } | Self::Ovs(_) => None,
        }
    }

    /// The first key that is not the same in another configuration.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let keys = match (self, other) {
            (Self::Kernel(a), Self::Kernel(b)) => vec![
                ("dataplane.vtep", a.vtep != b.vtep),
                ("dataplane.vxlan-port", a.vxlan_port != b.vxlan_port),
                ("dataplane.kernel.layout", a.layout != b.layout),
                ("dataplane.kernel.discover", a.discover != b.discover),
                ("dataplane.kernel.bridge", a.bridge != b.bridge),
                ("dataplane.kernel.vxlan", a.vxlan != b.vxlan),
                ("dataplane.kernel.manage-devices", a.manage_devices != b.manage_devices),
                ("dataplane.on-exit", a.on_exit != b.on_exit),
            ],
            (Self::None { .. }, Self::None { .. }) | (Self::Ovs(_), Self::Ovs(_)) => Vec::new(),
            _ => vec![("dataplane.backend", true)],
        };
        let key = keys.into_iter().find_map(|(key, differs)| differs.then_some(key));
        key.or((self != other).then_some("dataplane"))
    }

    /// The VNIs are those that others set up.
    pub const fn discovers(&self) -> bool {
        matches!(self, Self::Kernel(kernel) if kernel.discover)
    }

    /// What becomes of what we wrote when we are told to stop.
    pub const fn on_exit(&self) -> OnExit {
        match self {
            Self::None { .. } => OnExit::Keep,
            Self::Kernel(kernel) => kernel.on_exit,
            Self::Ovs(ovs) => ovs.on_exit,
        }
    }
}

/// `[dataplane]` and `[dataplane.kernel]` with `backend = "kernel"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Source address of VXLAN packets.
    pub vtep: IpAddr,
    /// UDP port of VXLAN.
    pub vxlan_port: u16,
    /// What becomes of the devices and rows we wrote when we stop.
    pub on_exit: OnExit,
    /// Which devices carry the VNIs.
    pub layout: Layout,
    /// The bridge of a VNI is this followed by the VNI; with [`Layout::SingleDevice`] this is the bridge.
    pub bridge: String,
    /// The VXLAN device of a VNI is this followed by the VNI; with [`Layout::SingleDevice`] this is the device.
    pub vxlan: String,
    /// Create and remove devices; otherwise only use those that exist.
    pub manage_devices: bool,
    /// The VNIs are those that others set up; ports, VLANs and devices stay as they are. Never with `manage_devices`.
    pub discover: bool,
}

/// `[dataplane]` and `[dataplane.ovs]` with `backend = "ovs"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ovs {
    /// Source address of VXLAN packets.
    pub vtep: IpAddr,
    /// UDP port of VXLAN.
    pub vxlan_port: u16,
    /// What becomes of the bridge's flows when we stop.
    pub on_exit: OnExit,
    /// What other nodes send packets to that we are to route; of this node alone.
    pub router_mac: MacAddr,
    /// The bridge.
    pub bridge: String,
    /// What the bridge is made with, where we make it.
    pub datapath: Datapath,
    /// The VXLAN port, where we make it; another one that fits is adopted.
    pub vxlan: String,
    /// What routed clients see as their gateway; the same on all nodes. Not the router MAC.
    pub gateway_mac: MacAddr,
    /// Where ovsdb-server is, in the words of `ovs-vsctl --db`.
    pub db: Option<String>,
    /// Where the sockets of ovs-vswitchd are (`OVS_RUNDIR`).
    pub rundir: Option<PathBuf>,
    /// The `ovs-vsctl` program.
    pub vsctl: PathBuf,
    /// The `ovs-ofctl` program.
    pub ofctl: PathBuf,
}

/// `on-exit`: what becomes of what we wrote when we are told to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExit {
    /// It stays: forwarding goes on, the next start adopts it.
    #[default]
    Keep,
    /// It goes.
    Remove,
}

/// `[[l2vni]]`: a MAC-VRF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L2Vni {
    /// The VNI; not 0.
    pub vni: Vni,
    /// Routes with any of these are ours; never empty.
    pub import_rt: Vec<ImportRt>,
    /// Our routes carry all of these (automatic ones made out already); never empty.
    pub export_rt: Vec<RouteTarget>,
    /// The route distinguisher of our routes; no other VNI has it.
    pub rd: Rd,
    /// Local ports to attach; no other VNI has them.
    pub interfaces: Vec<String>,
    /// The VLAN that stands for it on this host, 1 to 4094, which no other VNI has; `None`: one that is free.
    pub vlan: Option<u16>,
    /// Flood by ingress replication; otherwise not at all.
    pub flood: bool,
    /// Announce the MACs learned on local ports.
    pub advertise_macs: bool,
    /// Answer ARP and ND from what is known.
    pub arp_suppression: bool,
}

/// `[clients]`: whom we attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// The directory of their files, one client each.
    pub dir: PathBuf,
    /// What a leading 0 in their route targets stands for: our AS, unless configured.
    pub rt_asn: u32,
}

/// `[control]`: how the running daemon is talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The unix socket.
    pub socket: PathBuf,
}
