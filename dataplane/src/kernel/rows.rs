//! Rows as the kernel holds them: how each is written, and what a message says about one.
//!
//! | row | in the kernel |
//! |---|---|
//! | flood | VXLAN FDB, MAC 00:00:00:00:00:00, one destination each, appended |
//! | MAC | bridge FDB (towards the VXLAN port) and VXLAN FDB (towards the VTEP), one message for both, replaced |
//! | neighbour | ARP or ND entry on the bridge, NUD_NOARP |
//!
//! Where VNIs share a bridge and a VXLAN device, the row in the bridge bears the VLAN of the VNI, and the one in the
//! VXLAN device the VNI itself (NDA_SRC_VNI; in questions the kernel wants it as NDA_VNI). A row there without a VNI for
//! the wire is sent with its own.
//!
//! All bear NTF_EXT_LEARNED: that is how ours are told from others', and keeps the kernel from ageing them.
//! Neighbours have [`PROTOCOL`] too. What was found by trying it (Linux 6.18):
//!
//! - The kernel takes no sticky mark together with NTF_EXT_LEARNED; a second message sets it.
//! - The mark of a flood row belongs to the MAC, not to the destination: if somebody appends a destination without
//!   it, all lose it. So a flood row that is wanted counts whether marked or not, and only marked ones are reaped.
//! - A removal in both tables stops at the first if the bridge has the MAC somewhere else by now. Then the VXLAN row
//!   is removed alone; the bridge's entry, a host that moved here, is not touched.
//! - In a VLAN that the port no longer has, the bridge lets no row go by its MAC, but all of them together.

use std::net::IpAddr;

use types::{MacAddr, Vni};

use super::wire::{
    AF_BRIDGE, AF_INET, AF_INET6, Batch, NDA_DST, NDA_LLADDR, NDA_MASTER, NDA_NDM_FLAGS_MASK, NDA_PROTOCOL,
    NDA_SRC_VNI, NDA_VLAN, NDA_VNI, NLM_F_APPEND, NLM_F_BULK, NLM_F_CREATE, NLM_F_REPLACE, NTF_EXT_LEARNED,
    NTF_MASTER, NTF_ROUTER, NTF_SELF, NTF_STICKY, NUD_NOARP, NUD_PERMANENT, NUD_REACHABLE, Neigh,
    RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH,
};
use crate::intent::{Flood, Neighbour, RemoteMac};
use crate::plan::Op;
use crate::rows::{Key, Row};

/// Who wrote a neighbour entry (NDA_PROTOCOL): a number of our own. zebra claims and sweeps 186 (BGP).
pub const PROTOCOL: u8 = 231;

/// Where the rows of a VNI are: interface indexes, and what tells them from those of others in the same tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bridge: u32,
    pub(super) vxlan: u32,
    /// The interface whose ARP and ND entries are those of this VNI: its own bridge, or the VLAN of a bridge that many
    /// share; `None`: it has none, and its neighbours are nowhere.
    pub(super) table: Option<u32>,
    /// The devices are shared: the VLAN of this VNI, which its rows in the bridge bear; those in the VXLAN device bear
    /// the VNI itself.
    pub(super) vlan: Option<u16>,
}

/// Which of the VNIs that share the tables it is about, as far as these flags (NTF_SELF, NTF_MASTER) need it.
fn tag(vni: Vni, at: Place, flags: u8, batch: &mut Batch) {
    let Some(vlan) = at.vlan else { return };
    if flags & NTF_MASTER != 0 {
        batch.attr(NDA_VLAN, &vlan.to_ne_bytes());
    }
    if flags & NTF_SELF != 0 {
        batch.attr(NDA_SRC_VNI, &vni.get().to_ne_bytes());
    }
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// Appends the messages of an op on a row.
pub(super) fn encode(op: &Op, at: Place, batch: &mut Batch) {
    match op {
        Op::Put(row) => encode_put(row, at, batch),
        Op::Del(row) => encode_del(row, at, batch),
        Op::Remove(_) => {}
    }
}

fn encode_put(row: &Row, at: Place, batch: &mut Batch) {
    match row {
        Row::Flood(vni, vtep, flood) => {
            batch.begin(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_APPEND);
            batch.neigh(AF_BRIDGE, at.vxlan, NUD_PERMANENT, NTF_SELF | NTF_EXT_LEARNED);
            batch.attr(NDA_LLADDR, &MacAddr::ZERO.0);
            tag(*vni, at, NTF_SELF, batch);
            destination(*vni, *vtep, flood.vni, batch);
        }
        Row::Mac(vni, mac, Some(remote)) => {
            batch.begin(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
            batch.neigh(AF_BRIDGE, at.vxlan, NUD_PERMANENT, NTF_SELF | NTF_MASTER | NTF_EXT_LEARNED);
            batch.attr(NDA_LLADDR, &mac.0);
            tag(*vni, at, NTF_SELF | NTF_MASTER, batch);
            destination(*vni, remote.vtep, remote.vni, batch);
            if remote.sticky {
                batch.begin(RTM_NEWNEIGH, NLM_F_REPLACE);
                batch.neigh(AF_BRIDGE, at.vxlan, NUD_REACHABLE, NTF_MASTER | NTF_STICKY);
                batch.attr(NDA_LLADDR, &mac.0);
                tag(*vni, at, NTF_MASTER, batch);
            }
        }
        Row::Neighbour(_, ip, Neighbour { mac, router }) => {
            let Some(table) = at.table else { return };
            batch.begin(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
            let router = if *router && ip.is_ipv6() { NTF_ROUTER } else { 0 };
            batch.neigh(family(*ip), table, NUD_NOARP, NTF_EXT_LEARNED | router);
            batch.attr_ip(NDA_DST, *ip);
            batch.attr(NDA_LLADDR, &mac.0);
            batch.attr(NDA_PROTOCOL, &[PROTOCOL]);
        }
        // Devices are not rows of a table, and nobody wants a damaged row.
        Row::Vni(_) | Row::Mac(_, _, None) => {}
    }
}

fn encode_del(row: &Row, at: Place, batch: &mut Batch) {
    match row {
        Row::Flood(vni, vtep, flood) => {
            batch.begin(RTM_DELNEIGH, 0);
            batch.neigh(AF_BRIDGE, at.vxlan, 0, NTF_SELF);
            batch.attr(NDA_LLADDR, &MacAddr::ZERO.0);
            tag(*vni, at, NTF_SELF, batch);
            destination(*vni, *vtep, flood.vni, batch);
        }
        Row::Mac(vni, mac, _) => {
            batch.begin(RTM_DELNEIGH, 0);
            batch.neigh(AF_BRIDGE, at.vxlan, 0, NTF_SELF | NTF_MASTER);
            batch.attr(NDA_LLADDR, &mac.0);
            tag(*vni, at, NTF_SELF | NTF_MASTER, batch);
        }
        Row::Neighbour(_, ip, _) => {
            let Some(table) = at.table else { return };
            batch.begin(RTM_DELNEIGH, 0);
            batch.neigh(family(*ip), table, 0, 0);
            batch.attr_ip(NDA_DST, *ip);
        }
        Row::Vni(_) => {}
    }
}

/// The removal of the VXLAN half of a MAC row.
pub(super) fn encode_del_self(vni: Vni, mac: MacAddr, at: Place, batch: &mut Batch) {
    batch.begin(RTM_DELNEIGH, 0);
    batch.neigh(AF_BRIDGE, at.vxlan, 0, NTF_SELF);
    batch.attr(NDA_LLADDR, &mac.0);
    tag(vni, at, NTF_SELF, batch);
}

/// The removal of everything of ours that a VXLAN port has in a VLAN of its bridge; since Linux 5.19.
pub(super) fn encode_flush(vxlan: u32, vlan: u16, batch: &mut Batch) {
    batch.begin(RTM_DELNEIGH, NLM_F_BULK);
    batch.neigh(AF_BRIDGE, vxlan, 0, NTF_MASTER | NTF_EXT_LEARNED);
    batch.attr(NDA_VLAN, &vlan.to_ne_bytes());
    batch.attr(NDA_NDM_FLAGS_MASK, &[NTF_EXT_LEARNED]);
}

/// The questions that show what stands at a key.
pub(super) fn encode_get(key: &Key, at: Place, batch: &mut Batch) {
    match key {
        Key::Mac(vni, mac) => {
            batch.begin(RTM_GETNEIGH, 0);
            batch.neigh(AF_BRIDGE, 0, 0, 0);
            batch.attr(NDA_MASTER, &at.bridge.to_ne_bytes());
            batch.attr(NDA_LLADDR, &mac.0);
            tag(*vni, at, NTF_MASTER, batch);
            batch.begin(RTM_GETNEIGH, 0);
            batch.neigh(AF_BRIDGE, at.vxlan, 0, NTF_SELF);
            batch.attr(NDA_LLADDR, &mac.0);
            if at.vlan.is_some() {
                batch.attr(NDA_VNI, &vni.get().to_ne_bytes());
            }
        }
        Key::Neighbour(_, ip) => {
            let Some(table) = at.table else { return };
            batch.begin(RTM_GETNEIGH, 0);
            batch.neigh(family(*ip), table, 0, 0);
            batch.attr_ip(NDA_DST, *ip);
        }
        Key::Vni(_) | Key::Flood(..) | Key::Prefix(..) => {}
    }
}

/// The VTEP, and the VNI on the wire where that is not our own (downstream-assigned, RFC 8365 §5.1.3).
fn destination(own: Vni, vtep: IpAddr, wire: Vni, batch: &mut Batch) {
    batch.attr_ip(NDA_DST, vtep);
    if wire != own {
        batch.attr(NDA_VNI, &wire.get().to_ne_bytes());
    }
}

/// What a message of AF_BRIDGE tells about a VNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fdb {
    /// A destination of the flood list; `own` if it bears our mark.
    Flood { vtep: IpAddr, flood: Flood, own: bool },
    /// Our half of a MAC row in the bridge.
    Bridge { mac: MacAddr, sticky: bool },
    /// Our half of a MAC row in the VXLAN device; `None`: it leads nowhere that makes sense.
    Vxlan { mac: MacAddr, to: Option<(IpAddr, Vni)> },
    /// A MAC on the local port with this index.
    Local { mac: MacAddr, port: u32, sticky: bool },
    /// An address of a device, or an entry somebody else wrote.
    Foreign { mac: MacAddr },
    /// Nothing that matters here.
    Nothing,
}

impl Fdb {
    pub(super) fn of(n: &Neigh, vni: Vni, at: Place) -> Self {
        let in_vxlan = n.index == at.vxlan && n.has(NTF_SELF);
        let ours = match at.vlan {
            Some(_) if in_vxlan => n.src_vni == Some(vni),
            Some(vlan) => n.vlan == Some(vlan),
            // Entries of a VLAN belong to another layout.
            None => n.vlan.is_none() && n.src_vni.is_none(),
        };
        let (Some(mac), true) = (n.mac, ours) else { return Self::Nothing };
        let own = n.has(NTF_EXT_LEARNED);
        if mac.is_zero() {
            let flood = Flood { vni: n.vni.unwrap_or(vni) };
            return match n.dst {
                Some(vtep) if n.index == at.vxlan => Self::Flood { vtep, flood, own },
                _ => Self::Nothing,
            };
        }
        if mac.is_group() {
            return Self::Nothing;
        }
        match (n.index == at.vxlan, n.has(NTF_SELF)) {
            (true, true) if own => Self::Vxlan { mac, to: n.dst.map(|vtep| (vtep, n.vni.unwrap_or(vni))) },
            // The kernel's own note about a write, which the device tells of by itself, and better.
            (true, true) if n.dst.is_none() && !n.nexthop => Self::Nothing,
            (true, false) if own => Self::Bridge { mac, sticky: n.has(NTF_STICKY) },
            // Learned by the bridge before learning was turned off: it ages out, or we replace it.
            (true, false) if !n.is(NUD_NOARP | NUD_PERMANENT) => Self::Nothing,
            (true, _) => Self::Foreign { mac },
            // The unicast filter of a port.
            (false, true) => Self::Nothing,
            (false, false) if n.is(NUD_PERMANENT) || n.index == at.bridge => Self::Foreign { mac },
            (false, false) => Self::Local { mac, port: n.index, sticky: n.is(NUD_NOARP) && !own },
        }
    }
}

/// A MAC row from its two halves.
pub(super) fn mac_row(vni: Vni, mac: MacAddr, bridge: Option<bool>, to: Option<(IpAddr, Vni)>) -> Row {
    let remote = match (bridge, to) {
        (Some(sticky), Some((vtep, wire))) => Some(RemoteMac { vtep, vni: wire, sticky }),
        _ => None,
    };
    Row::Mac(vni, mac, remote)
}

#[cfg(test)]
mod tests;
