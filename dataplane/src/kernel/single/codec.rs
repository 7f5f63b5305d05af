//! Messages about the VLANs of bridge ports, their tunnel mappings, and the VNI filter of a VXLAN device, by hand.
//!
//! netlink-packet-route knows nothing of RTM_NEWVLAN and RTM_NEWTUNNEL; and the messages that set VLANs carry up to a
//! thousand of them here, since the kernel answers each with the news of all VLANs of the port: one VLAN a message
//! would be quadratic. Layouts: `linux/if_bridge.h`, `linux/if_link.h`.
//!
//! VLANs are read with RTM_GETVLAN only. The older way (RTM_GETLINK of AF_BRIDGE) keeps them in one attribute, whose
//! length of 16 bits overflows at some thousands of mappings.

use types::Vni;

use super::super::wire::{AF_BRIDGE, Attrs, Batch, NLM_F_DUMP, u16_at, u32_at};

pub(super) const RTM_NEWVLAN: u16 = 112;
pub(super) const RTM_DELVLAN: u16 = 113;
const RTM_GETVLAN: u16 = 114;
pub(super) const RTM_NEWTUNNEL: u16 = 120;
pub(super) const RTM_DELTUNNEL: u16 = 121;
const RTM_GETTUNNEL: u16 = 122;

pub(super) const RTNLGRP_BRVLAN: u32 = 33;
pub(super) const RTNLGRP_TUNNEL: u32 = 35;

const IFLA_PROTINFO: u16 = 12;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_BRPORT_VLAN_TUNNEL: u16 = 29;
/// Length of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;
const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
const IFLA_BRIDGE_VLAN_TUNNEL_INFO: u16 = 3;
const TUNNEL_ID: u16 = 1;
const TUNNEL_VID: u16 = 2;
const TUNNEL_FLAGS: u16 = 3;

const DUMP_FLAGS: u16 = 1;
const DUMP_STATS: u32 = 1;

const VLANDB_ENTRY: u16 = 1;
const ENTRY_INFO: u16 = 1;
const ENTRY_RANGE: u16 = 2;
const ENTRY_TUNNEL_INFO: u16 = 4;
const ENTRY_NEIGH_SUPPRESS: u16 = 9;
const TINFO_ID: u16 = 1;

const NLA_F_NESTED: u16 = 0x8000;

const VNIFILTER_ENTRY: u16 = 1;
const ENTRY_START: u16 = 1;
const ENTRY_END: u16 = 2;

const PVID: u16 = 1 << 1;
const UNTAGGED: u16 = 1 << 2;
/// Nothing comes or goes, only what else is said of it counts.
const ONLY_OPTS: u16 = 1 << 6;
const RANGE_BEGIN: u16 = 1 << 3;
const RANGE_END: u16 = 1 << 4;

/// The largest VLAN id there is.
pub(super) const LAST_VLAN: u16 = 4094;

/// Entries to a message. A thousand mappings of no two consecutive VNIs are 28 kB, their VLANs another 8: less than
/// the 64 kB of an attribute.
pub(super) const ENTRIES: usize = 1000;

/// A VLAN as a port has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// What comes in without a tag is in it.
    pub(super) pvid: bool,
    /// It goes out without a tag.
    pub(super) untagged: bool,
    /// The VNI it stands for on a VXLAN device.
    pub(super) tunnel: Option<Vni>,
    /// ARP and ND are not flooded to the port but answered, if it goes by VLANs in that (Linux 6.4).
    pub(super) suppress: bool,
}

impl Entry {
    /// The VLAN of an access port.
    pub(super) const ACCESS: Self = Self { pvid: true, untagged: true, tunnel: None, suppress: false };

    /// The VLAN of a VXLAN port that stands for a VNI.
    pub(super) const fn mapping(vni: Vni) -> Self {
        Self { pvid: false, untagged: false, tunnel: Some(vni), suppress: false }
    }

    /// Is it the other, whatever they suppress?
    pub(super) fn is(self, other: Self) -> bool {
        Self { suppress: other.suppress, ..self } == other
    }

    const fn flags(self) -> u16 {
        (if self.pvid { PVID } else { 0 }) | (if self.untagged { UNTAGGED } else { 0 })
    }
}

/// Consecutive VLANs of a port that are alike; the VNIs they are mapped to count up with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) link: u32,
    pub(super) first: u16,
    pub(super) last: u16,
    /// As the first one is.
    pub(super) entry: Entry,
}

impl Run {
    /// Each VLAN of it.
    pub(super) fn each(self) -> impl Iterator<Item = (u16, Entry)> {
        (self.first..=self.last).map(move |vlan| {
            let nth = u32::from(vlan - self.first);
            let tunnel = self.entry.tunnel.and_then(|first| Vni::new(first.get() + nth));
            (vlan, Entry { tunnel, ..self.entry })
        })
    }
}

/// Asks for the VLANs of a link; 0: of all. `each` by itself: the kernel (6.12 at the least) takes VLANs for alike, and shows
/// them as the first of them, that differ in whether they suppress. Statistics, which come along, have none that are alike.
pub(super) fn get_vlans(link: u32, each: bool, batch: &mut Batch) {
    batch.begin(RTM_GETVLAN, NLM_F_DUMP);
    link_header(link, batch);
    if each {
        batch.attr(DUMP_FLAGS, &DUMP_STATS.to_ne_bytes());
    }
}

/// Asks for the VNI filter of a VXLAN device.
pub(super) fn get_filter(link: u32, batch: &mut Batch) {
    batch.begin(RTM_GETTUNNEL, NLM_F_DUMP);
    link_header(link, batch);
}

/// `struct br_vlan_msg` and `struct tunnel_msg` look alike.
fn link_header(link: u32, batch: &mut Batch) {
    let [a, b, c, d] = link.to_ne_bytes();
    batch.body(&[AF_BRIDGE, 0, 0, 0, a, b, c, d]);
}

/// The VLANs an RTM_NEWVLAN or RTM_DELVLAN tells of. What makes no sense is left out.
pub(super) fn read_vlans(body: &[u8]) -> impl Iterator<Item = Run> {
    let link = u32_at(body, 4).filter(|_| body[0] == AF_BRIDGE);
    let entries = Attrs(body.get(8..).unwrap_or(&[])).filter(|(kind, _)| *kind == VLANDB_ENTRY);
    entries.filter_map(move |(_, entry)| read_run(link?, entry))
}

fn read_run(link: u32, entry: &[u8]) -> Option<Run> {
    let (mut info, mut last, mut tunnel, mut suppress) = (None, None, None, false);
    for (kind, value) in Attrs(entry) {
        match kind {
            ENTRY_INFO => info = Some((u16_at(value, 0)?, u16_at(value, 2)?)),
            ENTRY_RANGE => last = Some(u16_at(value, 0)?),
            ENTRY_NEIGH_SUPPRESS => suppress = value.first().is_some_and(|on| *on != 0),
            ENTRY_TUNNEL_INFO => {
                let id = Attrs(value).find(|(kind, _)| *kind == TINFO_ID);
                tunnel = id.and_then(|(_, id)| Vni::new(u32_at(id, 0)?));
            }
            _ => {}
        }
    }
    let (flags, first) = info?;
    let last = last.unwrap_or(first);
    let entry = Entry { pvid: flags & PVID != 0, untagged: flags & UNTAGGED != 0, tunnel, suppress };
    (1 <= first && first <= last && last <= LAST_VLAN).then_some(Run { link, first, last, entry })
}

/// Does the news of a bridge about its port (an RTM_NEWLINK of AF_BRIDGE) say that the VLANs of the port are no tunnels? The
/// settings of the port stand before the list of its VLANs, which may be longer than its attribute can tell, and is not
/// read.
pub(super) fn tells_of_no_tunnels(body: &[u8]) -> bool {
    let settings = body.get(IFINFOMSG..).filter(|_| body[0] == AF_BRIDGE).and_then(|attributes| {
        Attrs(attributes).find(|(kind, _)| *kind == IFLA_PROTINFO).map(|(_, settings)| settings)
    });
    let tunnel = Attrs(settings.unwrap_or(&[])).find(|(kind, _)| *kind == IFLA_BRPORT_VLAN_TUNNEL);
    tunnel.is_some_and(|(_, on)| on == [0])
}

/// The link and the ranges of VNIs an RTM_NEWTUNNEL or RTM_DELTUNNEL tells of.
pub(super) fn read_filter(body: &[u8]) -> Option<(u32, impl Iterator<Item = (u32, u32)>)> {
    let link = u32_at(body, 4)?;
    let entries = Attrs(body.get(8..)?).filter(|(kind, _)| *kind == VNIFILTER_ENTRY);
    let ranges = entries.filter_map(|(_, entry)| {
        let number = |wanted| {
            let value = Attrs(entry).find(|(kind, _)| *kind == wanted);
            value.and_then(|(_, value)| u32_at(value, 0))
        };
        let start = number(ENTRY_START)?;
        let end = number(ENTRY_END).unwrap_or(start);
        (start <= end && end <= Vni::MAX.get()).then_some((start, end))
    });
    Some((link, ranges))
}

/// Appends a message (`kind`: RTM_SETLINK puts, RTM_DELLINK takes away) about VLANs of a link, and then about
/// mappings of such: at most [`ENTRIES`] of each, in order.
pub(super) fn change_vlans(
    kind: u16,
    link: u32,
    vlans: &[(u16, Entry)],
    mappings: &[(u16, Vni)],
    batch: &mut Batch,
) {
    debug_assert!(vlans.len() <= ENTRIES && mappings.len() <= ENTRIES);
    batch.begin(kind, 0);
    // struct ifinfomsg
    let [a, b, c, d] = link.to_ne_bytes();
    batch.body(&[AF_BRIDGE, 0, 0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0]);
    let spec = batch.nest(IFLA_AF_SPEC);
    // There is one PVID, so there is no range of them.
    let follows =
        |a: &(u16, Entry), b: &(u16, Entry)| a.0 + 1 == b.0 && a.1.flags() == b.1.flags() && !a.1.pvid;
    for run in vlans.chunk_by(follows) {
        for (range, &(vlan, entry)) in ends(run) {
            let (flags, vlan) = ((entry.flags() | range).to_ne_bytes(), vlan.to_ne_bytes());
            batch.attr(IFLA_BRIDGE_VLAN_INFO, &[flags[0], flags[1], vlan[0], vlan[1]]);
        }
    }
    for run in mappings.chunk_by(|a, b| a.0 + 1 == b.0 && a.1.get() + 1 == b.1.get()) {
        for (range, (vlan, vni)) in ends(run) {
            let nest = batch.nest(IFLA_BRIDGE_VLAN_TUNNEL_INFO);
            batch.attr(TUNNEL_ID, &vni.get().to_ne_bytes());
            batch.attr(TUNNEL_VID, &vlan.to_ne_bytes());
            batch.attr(TUNNEL_FLAGS, &range.to_ne_bytes());
            batch.end_nest(nest);
        }
    }
    batch.end_nest(spec);
}

/// The ends of a run with the marks that make it one.
fn ends<T>(run: &[T]) -> impl Iterator<Item = (u16, &T)> {
    let last = run.len() - 1;
    let marked = if last == 0 { [0, 0] } else { [RANGE_BEGIN, RANGE_END] };
    marked.into_iter().zip([&run[0], &run[last]]).take(run.len().min(2))
}

/// Appends a message that says of VLANs of a link, at most [`ENTRIES`] in order, whether ARP and ND are answered in them. They
/// have to be there.
pub(super) fn change_suppression(link: u32, vlans: &[u16], on: bool, batch: &mut Batch) {
    debug_assert!(vlans.len() <= ENTRIES);
    batch.begin(RTM_NEWVLAN, 0);
    link_header(link, batch);
    for run in vlans.chunk_by(|a, b| a + 1 == *b) {
        let (first, last) = (run[0], run[run.len() - 1]);
        let nest = batch.nest(VLANDB_ENTRY | NLA_F_NESTED);
        let (flags, vlan) = (ONLY_OPTS.to_ne_bytes(), first.to_ne_bytes());
        batch.attr(ENTRY_INFO, &[flags[0], flags[1], vlan[0], vlan[1]]);
        if last != first {
            batch.attr(ENTRY_RANGE, &last.to_ne_bytes());
        }
        batch.attr(ENTRY_NEIGH_SUPPRESS, &[u8::from(on)]);
        batch.end_nest(nest);
    }
}

/// Appends a message (RTM_NEWTUNNEL, RTM_DELTUNNEL) about VNIs in the filter of a VXLAN device: at most [`ENTRIES`], in
/// order.
pub(super) fn change_filter(kind: u16, link: u32, vnis: &[Vni], batch: &mut Batch) {
    debug_assert!(vnis.len() <= ENTRIES);
    batch.begin(kind, 0);
    link_header(link, batch);
    for run in vnis.chunk_by(|a, b| a.get() + 1 == b.get()) {
        // Here the kernel insists on the mark of a nest.
        let nest = batch.nest(VNIFILTER_ENTRY | NLA_F_NESTED);
        batch.attr(ENTRY_START, &run[0].get().to_ne_bytes());
        batch.attr(ENTRY_END, &run[run.len() - 1].get().to_ne_bytes());
        batch.end_nest(nest);
    }
}

#[cfg(test)]
mod tests;
