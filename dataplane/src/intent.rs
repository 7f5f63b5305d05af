//! The intent: what this host should forward, free of any backend.
//!
//! It is changed by [`Change`]s and is the one truth the backends are compared with.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use types::{MacAddr, Vni};

use crate::rows::{Key, Row, Rows};

/// One change of what should be. Changes are idempotent: the same one twice is the same as once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This L2 VNI shall exist, like so.
    PutVni(L2Vni),
    /// This VNI, and all that hangs on it, shall not.
    DelVni(Vni),
    /// Flood to this VTEP, in the VNI the VTEP asked for (its PMSI label).
    PutFlood(Vni, IpAddr, Flood),
    /// Flood to this VTEP no longer.
    DelFlood(Vni, IpAddr),
    /// This MAC is behind that VTEP.
    PutMac(Vni, MacAddr, RemoteMac),
    /// This MAC is remote no longer.
    DelMac(Vni, MacAddr),
    /// This address is at that MAC (ARP/ND suppression).
    PutNeighbour(Vni, IpAddr, Neighbour),
    /// It is no longer.
    DelNeighbour(Vni, IpAddr),
    /// This client shall be attached, like so; its name is its key.
    PutClient(Client),
    /// It shall not.
    DelClient(Arc<str>),
    /// This VRF shall exist, like so.
    PutVrf(Vrf),
    /// This VRF, and all that hangs on it, shall not.
    DelVrf(Vni),
    /// Packets for this prefix go to one of these hops, which are in order and each there once; none: they are
    /// dropped, whatever shorter prefixes say.
    PutPrefix(Vni, IpNet, Vec<Hop>),
    /// This prefix has no route of its own.
    DelPrefix(Vni, IpNet),
    /// Everything heard before a restart has been heard again: what is installed and not wanted may go now.
    Settled,
}

/// An L2 VNI as the dataplane needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L2Vni {
    /// The VNI.
    pub vni: Vni,
    /// The source address of its VXLAN packets.
    pub vtep: IpAddr,
    /// UDP port of VXLAN; 4789.
    pub port: u16,
    /// Local ports to attach.
    pub interfaces: Vec<String>,
    /// Answer ARP and ND from what is known instead of flooding it.
    pub arp_suppression: bool,
    /// Host-local VLAN, where the layout has one; `None`: next free.
    pub vlan: Option<u16>,
}

/// A VTEP that wants a copy of broadcast, unknown unicast and multicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood {
    /// The VNI on the wire towards it; usually our own.
    pub vni: Vni,
}

/// Where a remote MAC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteMac {
    /// The VTEP.
    pub vtep: IpAddr,
    /// The VNI on the wire towards it; usually our own (downstream-assigned otherwise).
    pub vni: Vni,
    /// Must not move to a local port.
    pub sticky: bool,
}

/// An IP → MAC binding that a remote host announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The MAC.
    pub mac: MacAddr,
    /// The IPv6 router flag (RFC 9047).
    pub router: bool,
}

/// A client: a port, or a VLAN on one, that belongs to an L2 VNI or to a VRF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its name, unique on this host.
    pub name: Arc<str>,
    /// The port it is behind.
    pub port: Port,
    /// Its VLAN tag on that port, 1 to 4094; `None`: untagged.
    pub vlan: Option<u16>,
    /// Its MAC.
    pub mac: MacAddr,
    /// Drop what it sends from another MAC, or from addresses that are not its own.
    pub anti_spoof: bool,
    /// What it is attached to.
    pub service: Service,
}

/// Which port a client is behind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// An OpenFlow port number, 1 to 65279.
    Number(u16),
    /// The name of a network device.
    Name(Box<str>),
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "ofport {number}"),
            Self::Name(name) => f.pad(name),
        }
    }
}

/// What a client is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// An L2 VNI.
    L2 {
        /// The VNI.
        vni: Vni,
        /// Its addresses, as far as they are known.
        ips: Vec<IpAddr>,
    },
    /// A VRF: the port is a routed link with the client as its one neighbour.
    L3 {
        /// The VRF, named by its VNI.
        vrf: Vni,
        /// What is behind the client.
        prefixes: Vec<IpNet>,
    },
}

/// A VRF as the dataplane needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vrf {
    /// Its VNI: what arrives in it for our router MAC is routed in this VRF.
    pub vni: Vni,
    /// Our router MAC (RFC 9135 §5.1).
    pub router_mac: MacAddr,
}

/// One way to a prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// A client of this host, by name.
    Client(Arc<str>),
    /// Another VTEP.
    Remote {
        /// The VTEP.
        vtep: IpAddr,
        /// The VNI on the wire towards it: that of its VRF (downstream-assigned).
        vni: Vni,
        /// Its router MAC.
        router_mac: MacAddr,
    },
}

/// Whether a client can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// It can, at this port.
    Up {
        /// The name of the port.
        interface: Arc<str>,
    },
    /// It cannot.
    Down {
        /// Why, in words, with what to do: `no port 1000 on bridge br-evpn yet`.
        reason: String,
    },
}

/// What the dataplane saw by itself, to be told upwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Local {
    /// The bridge learned (or confirmed) a MAC on a local port.
    MacSeen {
        /// In this VNI.
        vni: Vni,
        /// The MAC.
        mac: MacAddr,
        /// The port it is behind.
        interface: String,
        /// A static entry that an operator made: announce as sticky.
        sticky: bool,
    },
    /// The MAC aged out, its port went, or someone removed it.
    MacGone {
        /// In this VNI.
        vni: Vni,
        /// The MAC.
        mac: MacAddr,
    },
    /// A local host's address became known.
    NeighbourSeen {
        /// In this VNI.
        vni: Vni,
        /// The address.
        ip: IpAddr,
        /// The MAC.
        mac: MacAddr,
    },
    /// It is known no longer.
    NeighbourGone {
        /// In this VNI.
        vni: Vni,
        /// The address.
        ip: IpAddr,
    },
    /// The device of a VNI came into being (true) or is missing (false).
    VniReady(Vni, bool),
    /// Which VLAN of this host stands for a VNI, where the layout has them; told before the VNI is ready, and when it
    /// changes.
    Vlan(Vni, u16),
    /// Somebody set a VNI up on devices that we are to take as they are, and it is to be taken up (true); or that is
    /// there no longer (false).
    Found(Vni, bool),
    /// All that others have set up was told; once, behind the first of [`Self::Found`].
    FoundAll,
    /// A client's port came or went; told for each client that was put, as soon as it is known. Told again when a
    /// remote MAC or prefix that took its place is gone ([`Change::DelMac`]).
    Client {
        /// The client.
        name: Arc<str>,
        /// How it is now.
        state: ClientState,
    },
}

/// The whole of what should be.
#[derive(Clone, Debug, Default)]
pub struct Intent {
    rows: Rows,
    settled: bool,
}

impl Intent {
    /// Nothing wanted, nothing settled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one change in; the key is what has to be looked at again ([`Key::Vni`]: the VNI with all its rows).
    ///
    /// Rows of a VNI may come before the VNI itself; they wait for it.
    pub fn apply(&mut self, change: &Change) -> Option<Key> {
        let row = match change {
            Change::PutVni(l2) => Row::Vni(l2.clone()),
            Change::PutFlood(vni, vtep, flood) => Row::Flood(*vni, *vtep, *flood),
            Change::PutMac(vni, mac, remote) => Row::Mac(*vni, *mac, Some(*remote)),
            Change::PutNeighbour(vni, ip, n) => Row::Neighbour(*vni, *ip, *n),
            Change::DelVni(vni) => {
                self.rows.remove_vni(*vni);
                return Some(Key::Vni(*vni));
            }
            Change::DelFlood(vni, vtep) => return Some(self.remove(Key::Flood(*vni, *vtep))),
            Change::DelMac(vni, mac) => return Some(self.remove(Key::Mac(*vni, *mac))),
            Change::DelNeighbour(vni, ip) => return Some(self.remove(Key::Neighbour(*vni, *ip))),
            Change::Settled => {
                self.settled = true;
                return None;
            }
            // Backends that know clients and VRFs keep them beside the rows.
            Change::PutClient(_)
            | Change::DelClient(_)
            | Change::PutVrf(_)
            | Change::DelVrf(_)
            | Change::PutPrefix(..)
            | Change::DelPrefix(..) => return None,
        };
        let key = row.key();
        self.rows.insert(row);
        Some(key)
    }

    fn remove(&mut self, key: Key) -> Key {
        self.rows.remove(&key);
        key
    }

    /// The rows wanted.
    pub const fn rows(&self) -> &Rows {
        &self.rows
    }

    /// True once everything heard before a restart has been heard again.
    pub const fn settled(&self) -> bool {
        self.settled
    }
}
