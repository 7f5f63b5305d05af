//! What is shown, as JSON: scripts rely on these names. Keys may be added, never renamed; a value that is absent is
//! null, never missing and never another type.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use types::MacAddr;

/// A row of `show neighbors`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighborView {
    /// Its address.
    pub address: IpAddr,
    /// Its AS: as configured until it said so itself; null before that if any will do.
    pub remote_asn: Option<u32>,
    /// Where the session is.
    pub state: SessionState,
    /// Routes of it that we hold.
    pub routes_received: u64,
    /// Routes of ours that it has.
    pub routes_sent: u64,
    /// How long it has been established; null while it is not.
    pub uptime_seconds: Option<u64>,
    /// Why it last went down or did not come up.
    pub last_error: Option<String>,
    /// Its BGP identifier.
    pub router_id: Option<Ipv4Addr>,
    /// The hold time agreed upon, in seconds.
    pub hold_time: Option<u16>,
    /// It came from a range.
    pub dynamic: bool,
    /// What the configuration calls it.
    pub description: Option<String>,
    /// How often it has been established.
    pub sessions: u64,
    /// Messages received, all sessions together.
    pub messages_received: u64,
    /// Messages sent, all sessions together.
    pub messages_sent: u64,
    /// Octets that wait for it to read.
    pub backlog_bytes: u64,
}

/// The states of RFC 4271 §8.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// Told to stay down, or held down after an error.
    Idle,
    /// Connecting.
    Connect,
    /// Waiting to connect again, or to be connected to.
    Active,
    /// OPEN sent.
    OpenSent,
    /// OPEN received.
    OpenConfirm,
    /// Up.
    Established,
}

impl SessionState {
    /// As in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connect => "connect",
            Self::Active => "active",
            Self::OpenSent => "opensent",
            Self::OpenConfirm => "openconfirm",
            Self::Established => "established",
        }
    }
}

/// A row of `show routes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteView {
    /// EVPN route type.
    #[serde(rename = "type")]
    pub route_type: u8,
    /// Route distinguisher.
    pub rd: String,
    /// The whole key as text: `[2]:[0]:[48]:[02:00:5e:10:00:01]`.
    pub nlri: String,
    /// MAC of a type 2.
    pub mac: Option<MacAddr>,
    /// IP of a type 2, originator of a type 3.
    pub ip: Option<IpAddr>,
    /// Prefix of a type 5.
    pub prefix: Option<IpNet>,
    /// VNI in the label (types 1, 2, 5) or the PMSI attribute (type 3).
    pub vni: Option<u32>,
    /// Next hop: the VTEP.
    pub next_hop: Option<IpAddr>,
    /// The AS path, the nearest first; members of sets in the order received.
    pub as_path: Vec<u32>,
    /// Route targets.
    pub route_targets: Vec<String>,
    /// The neighbour's address, or `local`.
    pub from: String,
    /// It is the best path for its key.
    pub best: bool,
    /// The VNIs that took it.
    pub imported_by: Vec<u32>,
    /// MAC mobility sequence of a type 2.
    pub sequence: Option<u32>,
    /// MAC mobility sticky flag of a type 2.
    pub sticky: Option<bool>,
    /// Ethernet Segment; null if single-homed.
    pub esi: Option<String>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
}

/// A row of `show macs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacView {
    /// In this VNI.
    pub vni: u32,
    /// The MAC.
    pub mac: MacAddr,
    /// Its addresses, as announced or seen.
    pub ips: Vec<IpAddr>,
    /// Here or there.
    pub source: MacSource,
    /// Behind this VTEP, if remote.
    pub vtep: Option<IpAddr>,
    /// Behind this interface, if local.
    pub interface: Option<String>,
    /// MAC mobility sequence.
    pub sequence: u32,
    /// It must not move.
    pub sticky: bool,
    /// It kept moving and is held as a duplicate: neither announced nor installed (RFC 7432 §15.1).
    pub duplicate: bool,
}

/// Where a MAC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacSource {
    /// On this host.
    Local,
    /// On another.
    Remote,
}

impl MacSource {
    /// As in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }
}

/// A row of `show vnis`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VniView {
    /// The VNI.
    pub vni: u32,
    /// `l2`, or `l3` for a VRF.
    pub kind: String,
    /// The VTEPs that get a copy of what is flooded.
    pub flood: Vec<IpAddr>,
    /// Local MACs.
    pub local_macs: u64,
    /// Remote MACs.
    pub remote_macs: u64,
    /// Route targets that it takes.
    pub import_rt: Vec<String>,
    /// Route targets that it sends.
    pub export_rt: Vec<String>,
    /// Its route distinguisher.
    pub rd: String,
    /// Local ports.
    pub interfaces: Vec<String>,
    /// Its devices exist, or, of a VRF, a client is up; null without a dataplane.
    pub ready: Option<bool>,
    /// Of a VRF: prefixes that go to clients here.
    pub prefixes_local: Option<u64>,
    /// Of a VRF: prefixes that go to other VTEPs.
    pub prefixes_remote: Option<u64>,
    /// Of a VRF: what packets that are routed here come for.
    pub router_mac: Option<MacAddr>,
    /// The VLAN it is on this host; null if it has none, or none is known.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// The VTEP it is on, this host's own; null without one.
    #[serde(default)]
    pub vtep: Option<IpAddr>,
}

/// A row of `show clients`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientView {
    /// The name of its file.
    pub name: String,
    /// `l2` or `l3`; null, as all that the file says, while nothing of it could be read.
    pub cfg_type: Option<String>,
    /// Its VNI, that of its VRF with `l3`.
    pub vni: Option<u32>,
    /// The port it asks for: `ofport 1000`, or the name of an interface.
    pub port: Option<String>,
    /// Its VLAN tag on that port; null: untagged.
    pub tag: Option<u16>,
    /// Its MAC.
    pub mac: Option<MacAddr>,
    /// Its addresses (`l2`).
    pub ips: Vec<IpAddr>,
    /// What is behind it (`l3`).
    pub routes: Vec<IpNet>,
    /// How it stands.
    pub state: ClientState,
    /// Why it does not stand better.
    pub problem: Option<String>,
    /// The line of the file that the problem is in.
    pub line: Option<u64>,
    /// What it sends from a MAC or an address that is not its own is dropped.
    pub anti_spoof: bool,
    /// The client is attached: as its file says, or as it last said without error.
    pub in_use: bool,
    /// The port it is up at.
    pub interface: Option<String>,
    /// Routes announced for it.
    pub announced: u64,
    /// The VTEP that has its MAC now, while another host has it.
    pub elsewhere: Option<IpAddr>,
    /// All that is wrong with its file.
    pub errors: Vec<String>,
    /// What is taken, and perhaps not as somebody hoped.
    pub warnings: Vec<String>,
}

/// How a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientState {
    /// Its port is there, and it is announced.
    Up,
    /// Its port is not there.
    Waiting,
    /// Its file has errors, and what it said before is in use.
    BrokenKept,
    /// Its file has errors, and never was without.
    Broken,
    /// Another client has its place.
    Conflict,
}

impl ClientState {
    /// As in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Waiting => "waiting",
            Self::BrokenKept => "broken-kept",
            Self::Broken => "broken",
            Self::Conflict => "conflict",
        }
    }
}

/// The clients in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientsSummary {
    /// Files.
    pub files: u64,
    /// Clients that are up.
    pub up: u64,
    /// Clients that wait for their port.
    pub waiting: u64,
    /// Files with errors.
    pub broken: u64,
    /// Files whose place another has.
    pub conflict: u64,
    /// What is wrong with the directory.
    pub problem: Option<String>,
}

/// `show dataplane`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataplaneView {
    /// `kernel` or `none`.
    pub backend: String,
    /// What is, is what should be.
    pub in_sync: bool,
    /// Rows that should be.
    pub desired: u64,
    /// Rows that are.
    pub installed: u64,
    /// Rows that someone else changed and we put right.
    pub repairs: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// What is wanted and cannot be had here: no failures, nothing is tried again.
    #[serde(default)]
    pub limits: Vec<String>,
    /// How long ago everything was last compared.
    pub last_resync_seconds: Option<u64>,
    /// Rows that still have to be written.
    pub pending: u64,
    /// Rows that could not be written and are tried again.
    pub failed: u64,
    /// `device-per-vni` or `single-device`; null but with the kernel.
    #[serde(default)]
    pub layout: Option<String>,
    /// The VNIs are those that others set up.
    #[serde(default)]
    pub discover: bool,
}

/// `show summary`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SummaryView {
    /// Of evpnd.
    pub version: String,
    /// Our BGP identifier.
    pub router_id: Ipv4Addr,
    /// Our AS.
    pub asn: u32,
    /// Our VTEP address.
    pub vtep: Option<IpAddr>,
    /// How long evpnd has been running.
    pub uptime_seconds: u64,
    /// Neighbours, dynamic ones included.
    pub neighbors: u64,
    /// Neighbours that are established.
    pub neighbors_established: u64,
    /// Distinct routes (keys).
    pub routes: u64,
    /// Paths of them, over all neighbours.
    pub paths: u64,
    /// VNIs.
    pub vnis: u64,
    /// VNIs whose devices are not there, or that are configured and were not found.
    #[serde(default)]
    pub vnis_not_ready: u64,
    /// Local MACs.
    pub local_macs: u64,
    /// Remote MACs.
    pub remote_macs: u64,
    /// The clients; null without a directory of them.
    pub clients: Option<ClientsSummary>,
    /// `kernel` or `none`.
    pub backend: String,
    /// `device-per-vni` or `single-device`; null but with the kernel.
    #[serde(default)]
    pub layout: Option<String>,
    /// The VNIs are those that others set up.
    #[serde(default)]
    pub discover: bool,
    /// The dataplane is as it should be.
    pub in_sync: bool,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// Counts up from 1 since evpnd started; a gap means events were lost to a slow reader.
    pub id: u64,
    /// Seconds since 1970.
    pub time: f64,
    /// What it is about: `session`, `route`, `mac`, `client`, `dataplane`, `agent`.
    pub kind: String,
    /// The neighbour it is about.
    pub neighbor: Option<IpAddr>,
    /// The VNI it is about.
    pub vni: Option<u32>,
    /// The MAC it is about.
    pub mac: Option<MacAddr>,
    /// In words, which name all that the event is about.
    pub text: String,
}

/// `explain`: the story of one address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainView {
    /// The address.
    pub target: String,
    /// The VNI asked for.
    pub vni: Option<u32>,
    /// It is reachable as far as we can tell; null if nothing is known of it.
    pub reachable: Option<bool>,
    /// The end of the story in one line.
    pub verdict: String,
    /// The story.
    pub steps: Vec<ExplainStep>,
}

/// One step on the way from a neighbour's UPDATE to an entry in the dataplane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainStep {
    /// `received`, `best`, `imported`, `selected`, `wanted`, `installed`.
    pub stage: String,
    /// The VNI, where it is one VNI's step.
    pub vni: Option<u32>,
    /// It went well; null if it is only told.
    pub ok: Option<bool>,
    /// In words.
    pub text: String,
}
