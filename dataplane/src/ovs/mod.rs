//! The Open vSwitch backend: clients and remote MACs, neighbours and prefixes as OpenFlow flows on one bridge.
//!
//! [`pipeline`] turns what should be into flows, [`flow`] is how a flow is written down and compared: both are pure.
//! [`Switch`] is the engine that makes Open vSwitch have those flows, through `ovs-vsctl` and `ovs-ofctl`.
//! What the flows do is drawn in `docs/ovs-pipeline.md`.

use std::net::IpAddr;
use std::path::PathBuf;

use types::MacAddr;

mod bridge;
pub mod flow;
mod installed;
mod ovsdb;
pub mod pipeline;
mod process;
mod switch;
mod tools;

pub use switch::Switch;

/// Which datapath a bridge is created with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Datapath {
    /// The kernel's.
    #[default]
    System,
    /// The one in ovs-vswitchd itself.
    Netdev,
}

/// Where the Open vSwitch is, and what is to be used of it.
#[derive(Clone, Debug)]
pub struct OvsConfig {
    /// The bridge.
    pub bridge: String,
    /// Its datapath, if it has to be created.
    pub datapath: Datapath,
    /// The name of the VXLAN port, if it has to be made.
    pub vxlan: String,
    /// The source address of VXLAN packets.
    pub vtep: IpAddr,
    /// UDP port of VXLAN; 4789.
    pub vxlan_port: u16,
    /// What L3 clients see as the MAC of their gateway: the same on all nodes (RFC 9135 §4.1's anycast MAC).
    pub gateway_mac: MacAddr,
    /// The database's socket, if it is not where `ovs-vsctl` looks for it.
    pub db: Option<String>,
    /// Where ovs-vswitchd has its sockets, if that is not the default.
    pub rundir: Option<PathBuf>,
    /// `ovs-vsctl`.
    pub vsctl: PathBuf,
    /// `ovs-ofctl`.
    pub ofctl: PathBuf,
}

impl OvsConfig {
    /// The name of a VXLAN port made here.
    pub const VXLAN: &str = "vxlan-evpn";
    /// The MAC that routed clients see as their gateway, on every node: that of a virtual router in VRRP's range
    /// (RFC 9135 §4.1, RFC 5798 §7.3), which nobody else bears on a client's link.
    pub const GATEWAY_MAC: MacAddr = MacAddr([0x00, 0x00, 0x5e, 0x00, 0x01, 0x01]);

    /// This bridge, with this source address of VXLAN packets, and all else as it usually is.
    pub fn new(bridge: &str, vtep: IpAddr) -> Self {
        Self {
            bridge: bridge.to_owned(),
            datapath: Datapath::default(),
            vxlan: Self::VXLAN.to_owned(),
            vtep,
            vxlan_port: 4789,
            gateway_mac: Self::GATEWAY_MAC,
            db: None,
            rundir: None,
            vsctl: "ovs-vsctl".into(),
            ofctl: "ovs-ofctl".into(),
        }
    }
}
