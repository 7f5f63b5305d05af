//! The intent: what this host should forward, free of any backend.
//!
//! It is changed by [`Change`]s and is the one truth the backends are compared with.

use std::net::IpAddr;

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
