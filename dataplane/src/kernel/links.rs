//! The links of this network namespace: what of them matters here, and the messages that change them.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use foldhash::fast::RandomState;
use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoBridge, InfoBridgePort, InfoData,
    InfoKind, InfoPortData, InfoPortKind, InfoVlan, InfoVxlan, LinkAttribute, LinkExtentMask, LinkFlags,
    LinkInfo, LinkMessage,
};
use types::{MacAddr, Vni};

use super::marks;
use super::wire::{AF_BRIDGE, AF_UNSPEC, Batch};

/// What a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bridge(Bridge),
    Vxlan(Vxlan),
    Vlan(Vlan),
    /// Anything else, by the kernel's name for it (empty: a physical device).
    Other(String),
}

/// How a bridge is set, as far as VLANs go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bridge {
    /// `None`: this kernel knows no VLANs on a bridge.
    pub(super) vlan_filtering: Option<bool>,
    /// The VLAN that a new port is put into; 0: none.
    pub(super) default_pvid: Option<u16>,
}

/// An interface that is one VLAN of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Vlan {
    pub(super) id: u16,
    /// The other.
    pub(super) lower: u32,
}

/// What a VXLAN device was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vxlan {
    pub(super) vni: Vni,
    pub(super) local: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) learning: bool,
    /// Takes the VNI from each packet's metadata: no device of one VNI.
    pub(super) external: bool,
    /// Takes packets of those VNIs only that it was told of.
    pub(super) vnifilter: bool,
}

/// The settings of a bridge port that we care about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) learning: bool,
    pub(super) suppress: bool,
    /// Each VLAN says by itself whether it suppresses, and `suppress` does not count. `None`: this kernel (before Linux 6.4)
    /// knows no such thing, or the port was not seen yet.
    pub(super) vlan_suppress: Option<bool>,
    pub(super) flood: bool,
    /// VLANs of this port are VNIs of the tunnel behind it.
    pub(super) vlan_tunnel: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) master: Option<u32>,
    pub(super) up: bool,
    pub(super) alias: Option<String>,
    pub(super) group: u32,
    /// It is a bridge port, set like so.
    pub(super) port: Option<Port>,
}

impl Link {
    /// From the body of an RTM_NEWLINK or RTM_DELLINK.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        // The news of a bridge about its port says little of the link, and with thousands of VLANs the kernel writes
        // them past the end of their attribute: nobody can read that.
        if *body.first()? != AF_UNSPEC {
            return None;
        }
        let message = match LinkMessage::parse(body) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%error, "a link message that cannot be read");
                return None;
            }
        };
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            kind: Kind::Other(String::new()),
            master: None,
            up: message.header.flags.contains(LinkFlags::Up),
            alias: None,
            group: 0,
            port: None,
        };
        let mut lower = 0;
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::Link(index) => lower = index,
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
                LinkAttribute::Group(group) => link.group = group,
                LinkAttribute::Controller(index) => link.master = (index != 0).then_some(index),
                LinkAttribute::LinkInfo(infos) => link.read_info(&infos),
                _ => {}
            }
        }
        if let Kind::Vlan(vlan) = &mut link.kind {
            vlan.lower = lower;
        }
        Some(link)
    }

    /// Is the message a bridge's news of its port?
    pub(super) fn is_of_port(body: &[u8]) -> bool {
        body.first().is_some_and(|family| *family == AF_BRIDGE)
    }

    /// The index of the link a message is about, whatever else it says.
    pub(super) fn index_of(body: &[u8]) -> Option<u32> {
        Some(u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?))
    }

    fn read_info(&mut self, infos: &[LinkInfo]) {
        for info in infos {
            match info {
                // More is known once its data are read, which follow.
                LinkInfo::Kind(InfoKind::Bridge) => self.kind = Kind::Bridge(Bridge::default()),
                LinkInfo::Kind(InfoKind::Vlan) => self.kind = Kind::Vlan(Vlan::default()),
                LinkInfo::Kind(InfoKind::Vxlan) => {}
                LinkInfo::Kind(kind) => self.kind = Kind::Other(kind.to_string()),
                LinkInfo::Data(InfoData::Vxlan(attributes)) => self.kind = read_vxlan(attributes),
                LinkInfo::Data(InfoData::Bridge(attributes)) => self.kind = read_bridge(attributes),
                LinkInfo::Data(InfoData::Vlan(attributes)) => {
                    let id = attributes
                        .iter()
                        .find_map(|a| if let InfoVlan::Id(id) = a { Some(*id) } else { None });
                    self.kind = Kind::Vlan(Vlan { id: id.unwrap_or(0), lower: 0 });
                }
                LinkInfo::PortData(InfoPortData::BridgePort(attributes)) => {
                    let mut port = Port {
                        learning: true,
                        suppress: false,
                        vlan_suppress: None,
                        flood: true,
                        vlan_tunnel: false,
                    };
                    for attribute in attributes {
                        match attribute {
                            InfoBridgePort::Learning(on) => port.learning = *on,
                            InfoBridgePort::NeighSupress(on) => port.suppress = *on,
                            InfoBridgePort::NeighVlanSuppress(on) => port.vlan_suppress = Some(*on),
                            InfoBridgePort::UnicastFlood(on) => port.flood = *on,
                            InfoBridgePort::VlanTunnel(on) => port.vlan_tunnel = *on,
                            _ => {}
                        }
                    }
                    self.port = Some(port);
                }
                _ => {}
            }
        }
    }

    pub(super) const fn vxlan(&self) -> Option<&Vxlan> {
        match &self.kind {
            Kind::Vxlan(vxlan) => Some(vxlan),
            _ => None,
        }
    }

    pub(super) const fn vlan(&self) -> Option<&Vlan> {
        match &self.kind {
            Kind::Vlan(vlan) => Some(vlan),
            _ => None,
        }
    }

    pub(super) const fn bridge(&self) -> Option<&Bridge> {
        match &self.kind {
            Kind::Bridge(bridge) => Some(bridge),
            _ => None,
        }
    }

    pub(super) const fn is_bridge(&self) -> bool {
        self.bridge().is_some()
    }

    /// For humans: `a bridge`, `a VXLAN device`, `a veth device`.
    pub(super) fn what(&self) -> String {
        match &self.kind {
            Kind::Bridge(_) => "a bridge".into(),
            Kind::Vxlan(_) => "a VXLAN device".into(),
            Kind::Vlan(_) => "a VLAN device".into(),
            Kind::Other(kind) if kind.is_empty() => "a physical device".into(),
            Kind::Other(kind) => format!("a {kind} device"),
        }
    }
}

fn read_bridge(attributes: &[InfoBridge]) -> Kind {
    let mut bridge = Bridge::default();
    for attribute in attributes {
        match attribute {
            InfoBridge::VlanFiltering(on) => bridge.vlan_filtering = Some(*on),
            InfoBridge::VlanDefaultPvid(vlan) => bridge.default_pvid = Some(*vlan),
            _ => {}
        }
    }
    Kind::Bridge(bridge)
}

fn read_vxlan(attributes: &[InfoVxlan]) -> Kind {
    let mut vxlan =
        Vxlan { vni: Vni::ZERO, local: None, port: 0, learning: false, external: false, vnifilter: false };
    for attribute in attributes {
        match attribute {
            InfoVxlan::Id(id) => vxlan.vni = Vni::new(*id).unwrap_or_default(),
            InfoVxlan::Local(ip) => vxlan.local = Some((*ip).into()),
            InfoVxlan::Local6(ip) => vxlan.local = Some((*ip).into()),
            InfoVxlan::Port(port) => vxlan.port = *port,
            InfoVxlan::Learning(on) => vxlan.learning = *on,
            InfoVxlan::CollectMetadata(on) => vxlan.external = *on,
            InfoVxlan::Vnifilter(on) => vxlan.vnifilter = *on,
            _ => {}
        }
    }
    Kind::Vxlan(vxlan)
}

/// All links, by index, name and VNI.
#[derive(Debug, Default)]
pub(super) struct Links {
    all: HashMap<u32, Link, RandomState>,
    names: HashMap<String, u32, RandomState>,
    vnis: BTreeSet<(Vni, u32)>,
    ports: BTreeSet<(u32, u32)>,
    vlans: BTreeSet<(u32, u16, u32)>,
    marked: BTreeSet<(Vni, u32)>,
}

impl Links {
    pub(super) fn insert(&mut self, link: Link) {
        self.take(link.index);
        if let Some(vxlan) = link.vxlan() {
            self.vnis.insert((vxlan.vni, link.index));
        }
        self.ports.extend(link.master.map(|master| (master, link.index)));
        self.vlans.extend(link.vlan().map(|vlan| (vlan.lower, vlan.id, link.index)));
        self.marked.extend(marks::owned(&link).map(|vni| (vni, link.index)));
        self.names.insert(link.name.clone(), link.index);
        self.all.insert(link.index, link);
    }

    /// It is gone, and its ports are nobody's: the kernel says so of each only later.
    pub(super) fn remove(&mut self, index: u32) -> Option<Link> {
        let ports: Vec<(u32, u32)> = self.ports.range((index, 0)..=(index, u32::MAX)).copied().collect();
        for port in ports {
            self.ports.remove(&port);
            if let Some(link) = self.all.get_mut(&port.1) {
                (link.master, link.port) = (None, None);
            }
        }
        self.take(index)
    }

    fn take(&mut self, index: u32) -> Option<Link> {
        let link = self.all.remove(&index)?;
        if self.names.get(&link.name) == Some(&index) {
            self.names.remove(&link.name);
        }
        if let Some(vxlan) = link.vxlan() {
            self.vnis.remove(&(vxlan.vni, index));
        }
        if let Some(master) = link.master {
            self.ports.remove(&(master, index));
        }
        if let Some(vlan) = link.vlan() {
            self.vlans.remove(&(vlan.lower, vlan.id, index));
        }
        if let Some(vni) = marks::owned(&link) {
            self.marked.remove(&(vni, index));
        }
        Some(link)
    }

    pub(super) fn get(&self, index: u32) -> Option<&Link> {
        self.all.get(&index)
    }

    pub(super) fn named(&self, name: &str) -> Option<&Link> {
        self.get(*self.names.get(name)?)
    }

    /// VXLAN devices that carry this VNI.
    pub(super) fn carrying(&self, vni: Vni) -> impl Iterator<Item = &Link> {
        self.vnis.range((vni, 0)..=(vni, u32::MAX)).filter_map(|(_, index)| self.get(*index))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.all.values()
    }

    /// What was made here for a VNI.
    pub(super) fn marked(&self, vni: Vni) -> impl Iterator<Item = &Link> {
        self.marked.range((vni, 0)..=(vni, u32::MAX)).filter_map(|(_, index)| self.get(*index))
    }

    /// The interface that is this VLAN of that one.
    pub(super) fn vlan(&self, lower: u32, id: u16) -> Option<&Link> {
        let (_, _, index) = self.vlans.range((lower, id, 0)..=(lower, id, u32::MAX)).next()?;
        self.get(*index)
    }

    pub(super) fn ports(&self, bridge: u32) -> impl Iterator<Item = &Link> {
        self.ports.range((bridge, 0)..=(bridge, u32::MAX)).filter_map(|(_, index)| self.get(*index))
    }
}

// ---- messages ------------------------------------------------------------------------------------------------

fn message(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = attributes;
    message
}

pub(super) fn push(batch: &mut Batch, kind: u16, flags: u16, message: &LinkMessage) {
    let mut body = vec![0; message.buffer_len()];
    message.emit(&mut body);
    batch.begin(kind, flags);
    batch.body(&body);
}

/// Everything; or the one with this name. Nobody asked for counters.
pub(super) fn get(name: Option<&str>) -> LinkMessage {
    let mut attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
    attributes.extend(name.map(|name| LinkAttribute::IfName(name.to_owned())));
    message(0, attributes)
}

/// A bridge that neither snoops nor speaks STP. Its address is given, so that it stays when ports come and go.
/// With `vlans` it tells VLANs apart, and a new port is in none.
pub(super) fn new_bridge(name: &str, address: MacAddr, vlans: bool) -> LinkMessage {
    let mut data = vec![InfoBridge::MulticastSnooping(false), InfoBridge::StpState(BridgeStpState::Disabled)];
    if vlans {
        data.extend([InfoBridge::VlanFiltering(true), InfoBridge::VlanDefaultPvid(0)]);
    }
    let info = vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(InfoData::Bridge(data))];
    let attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(address.0.to_vec()),
        LinkAttribute::LinkInfo(info),
    ];
    message(0, attributes)
}

/// To be sent as RTM_NEWLINK.
pub(super) fn set_vlan_filtering(index: u32) -> LinkMessage {
    let data = LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::VlanFiltering(true)]));
    message(index, vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge), data])])
}

/// One VLAN of a bridge.
pub(super) fn new_vlan(name: &str, bridge: u32, id: u16) -> LinkMessage {
    let data = LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id)]));
    let attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Link(bridge),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan), data]),
    ];
    message(0, attributes)
}

fn vxlan_info(data: Vec<InfoVxlan>) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vxlan), LinkInfo::Data(InfoData::Vxlan(data))])
}

fn local(ip: IpAddr) -> InfoVxlan {
    match ip {
        IpAddr::V4(ip) => InfoVxlan::Local(ip),
        IpAddr::V6(ip) => InfoVxlan::Local6(ip),
    }
}

/// A VXLAN device that learns nothing by itself; without a VNI, one of many: they come with the packets, and it takes
/// those only that it is told of. Over IPv6, packets without a UDP checksum are taken too: switches send them so (RFC 6935).
pub(super) fn new_vxlan(name: &str, vni: Option<Vni>, vtep: IpAddr, port: u16) -> LinkMessage {
    let mut data = vec![local(vtep), InfoVxlan::Port(port), InfoVxlan::Learning(false)];
    match vni {
        Some(vni) => data.push(InfoVxlan::Id(vni.get())),
        None => data.extend([InfoVxlan::CollectMetadata(true), InfoVxlan::Vnifilter(true)]),
    }
    if vtep.is_ipv6() {
        data.push(InfoVxlan::UDPZeroCsumRX(true));
    }
    message(0, vec![LinkAttribute::IfName(name.to_owned()), vxlan_info(data)])
}

/// Another source address for a VXLAN device; the kernel insists on hearing the VNI again.
pub(super) fn set_local(index: u32, vni: Vni, vtep: IpAddr) -> LinkMessage {
    message(index, vec![vxlan_info(vec![InfoVxlan::Id(vni.get()), local(vtep)])])
}

pub(super) fn set_vxlan_learning(index: u32, vni: Vni, on: bool) -> LinkMessage {
    message(index, vec![vxlan_info(vec![InfoVxlan::Id(vni.get()), InfoVxlan::Learning(on)])])
}

pub(super) fn set_alias(name: &str, alias: &str) -> LinkMessage {
    message(0, vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::IfAlias(alias.to_owned())])
}

/// No link-local address of its own, and so no router solicitations and reports into the overlay.
pub(super) fn set_no_link_local(name: &str) -> LinkMessage {
    let inet6 = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    message(0, vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::AfSpecUnspec(vec![inet6])])
}

/// Makes it a port of a bridge; 0: of none.
pub(super) fn set_master(index: u32, master: u32) -> LinkMessage {
    message(index, vec![LinkAttribute::Controller(master)])
}

/// Puts it into a group; of index 0, all that are in it are meant.
pub(super) fn set_group(index: u32, group: u32) -> LinkMessage {
    message(index, vec![LinkAttribute::Group(group)])
}

pub(super) fn set_up(index: u32) -> LinkMessage {
    let mut message = message(index, vec![]);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

/// The settings of a bridge port. To be sent as RTM_NEWLINK: RTM_SETLINK ignores them, and says nothing.
pub(super) fn set_port(index: u32, port: Port) -> LinkMessage {
    let mut data = vec![
        InfoBridgePort::Learning(port.learning),
        InfoBridgePort::NeighSupress(port.suppress),
        InfoBridgePort::UnicastFlood(port.flood),
        InfoBridgePort::VlanTunnel(port.vlan_tunnel),
    ];
    // A kernel that does not know it does not mind it.
    data.extend(port.vlan_suppress.map(InfoBridgePort::NeighVlanSuppress));
    let info =
        vec![LinkInfo::PortKind(InfoPortKind::Bridge), LinkInfo::PortData(InfoPortData::BridgePort(data))];
    message(index, vec![LinkAttribute::LinkInfo(info)])
}

pub(super) fn delete(index: u32) -> LinkMessage {
    message(index, vec![])
}
