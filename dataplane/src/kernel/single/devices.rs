//! The devices of the layout `single-device`, and what a VNI needs on them. Pure plans: what is wanted × what there is →
//! steps.
//!
//! - One bridge that knows VLANs, one external VXLAN device in it: both by the names configured. Made here they bear
//!   `evpnd overlay`, and only then are they changed beyond the settings of the port, and deleted in the end. Found
//!   without that mark they are used if they are what is needed; else that is an error which says what to do.
//! - A VNI is a VLAN of the VXLAN port, mapped to the VNI; an entry in the VNI filter of the device, if it has one; and,
//!   from the first address on that is to be answered for, a VLAN device `<bridge>.<vlan>` on the bridge. That one is a
//!   table, not an interface: the bridge looks addresses up there, also while it is down, and down it stays, so that this
//!   host has no part in the overlay. It bears `evpnd vni N`. Where somebody else has a VLAN device in its place, that is used.
//! - A local port is an access port of the VLAN of its VNI, and in no other.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use types::Vni;

use super::super::config::{KernelConfig, NAME, cut};
use super::super::links::{Kind, Link, Links, Port};
use super::super::marks;
use super::codec::Entry;
use super::suppress::Wanted;
use super::vlans::{Filter, Vlans};
use crate::backend::{Error, ErrorKind};
use crate::intent::L2Vni;
use crate::plane::Action;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    CreateBridge { name: String },
    FilterVlans { bridge: String },
    CreateVxlan { name: String },
    SetLocal { name: String, to: IpAddr },
    StopLearning { name: String },
    SetPort { name: String, port: Port },
    Delete { name: String },
    Attach { port: String, bridge: String },
    Release { port: String, bridge: String },
    Up { name: String },
    Leave { port: String, vlan: u16 },
    Access { port: String, vlan: u16 },
    Map { vlan: u16, vxlan: Arc<str>, vni: Vni },
    Unmap { vlan: u16, vxlan: Arc<str>, vni: Vni },
    Admit { vxlan: Arc<str>, vni: Vni },
    Dismiss { vxlan: Arc<str>, vni: Vni },
    Suppress { vlan: u16, vxlan: Arc<str>, vni: Vni, on: bool },
    CreateTable { name: String, vlan: u16, vni: Vni },
}

impl Step {
    /// Does something come, change or go by it?
    pub(super) const fn action(&self) -> Action {
        match self {
            Self::CreateBridge { .. }
            | Self::CreateVxlan { .. }
            | Self::CreateTable { .. }
            | Self::Map { .. }
            | Self::Admit { .. } => Action::Add,
            Self::Delete { .. }
            | Self::Release { .. }
            | Self::Leave { .. }
            | Self::Unmap { .. }
            | Self::Dismiss { .. } => Action::Remove,
            Self::FilterVlans { .. }
            | Self::SetLocal { .. }
            | Self::StopLearning { .. }
            | Self::SetPort { .. }
            | Self::Attach { .. }
            | Self::Up { .. }
            | Self::Suppress { .. }
            | Self::Access { .. } => Action::Change,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = |on: bool| if on { "on" } else { "off" };
        match self {
            Self::CreateBridge { name } => write!(f, "create bridge {name}"),
            Self::FilterVlans { bridge } => write!(f, "turn on VLAN filtering of {bridge}"),
            Self::CreateVxlan { name } => write!(f, "create VXLAN device {name}"),
            Self::SetLocal { name, to } => write!(f, "change the local address of {name} to {to}"),
            Self::StopLearning { name } => write!(f, "turn off learning on {name}"),
            Self::SetPort { name, port } => write!(
                f,
                "set bridge port {name}: learning {}, VLAN tunnel {}, ARP suppression {}",
                on(port.learning),
                on(port.vlan_tunnel),
                match (port.suppress, port.vlan_suppress) {
                    (false, Some(true)) => "per VLAN, if the kernel can",
                    (all, _) => on(all),
                }
            ),
            Self::Delete { name } => write!(f, "delete {name}"),
            Self::Attach { port, bridge } => write!(f, "attach {port} to {bridge}"),
            Self::Release { port, bridge } => write!(f, "release {port} from {bridge}"),
            Self::Up { name } => write!(f, "set {name} up"),
            Self::Leave { port, vlan } => write!(f, "take {port} out of VLAN {vlan}, which is no VNI's"),
            Self::Access { port, vlan } => write!(f, "make {port} an access port of VLAN {vlan}"),
            Self::Map { vlan, vxlan, vni } => write!(f, "map VLAN {vlan} of {vxlan} to VNI {vni}"),
            Self::Unmap { vlan, vxlan, vni } => write!(f, "remove VLAN {vlan} (VNI {vni}) from {vxlan}"),
            Self::Admit { vxlan, vni } => write!(f, "have {vxlan} take packets of VNI {vni}"),
            Self::Dismiss { vxlan, vni } => write!(f, "have {vxlan} take no more packets of VNI {vni}"),
            Self::Suppress { vlan, vni, on: is, .. } => {
                write!(f, "turn ARP suppression {} in VLAN {vlan} (VNI {vni})", on(*is))
            }
            Self::CreateTable { name, vni, .. } => write!(f, "create {name} (ARP table of VNI {vni})"),
        }
    }
}

/// Without it, there is nothing to be had here.
pub(super) const NO_FILTERING: &str = "this kernel has no VLAN filtering (CONFIG_BRIDGE_VLAN_FILTERING): set layout = \
                                       \"device-per-vni\", or use another kernel";

/// What the shared devices are to be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlay<'a> {
    pub(super) config: &'a KernelConfig,
    pub(super) vtep: IpAddr,
    pub(super) port: u16,
    /// Which VNIs want ARP and ND answered.
    pub(super) suppress: Wanted,
    /// The VXLAN device was put into the bridge by us.
    pub(super) attached: bool,
}

fn conflict(action: String, reason: String) -> Error {
    Error::new(ErrorKind::Conflict, action, reason)
}

/// Was it made here, for all VNIs?
fn is_overlay(link: &Link) -> bool {
    link.alias.as_deref() == Some(marks::OVERLAY)
}

/// Was it made here, in an earlier run, and is of no use now: for the layout that has devices for each VNI, or by another name
/// than is configured?
fn is_left(link: &Link, config: &KernelConfig) -> bool {
    let name = match &link.kind {
        Kind::Bridge(_) => &config.bridge,
        Kind::Vxlan(_) => &config.vxlan,
        Kind::Vlan(_) | Kind::Other(_) => return false,
    };
    config.manage_devices && (marks::owned(link).is_some() || is_overlay(link) && link.name != *name)
}

/// What takes these away; VXLAN devices, which have the UDP port, first.
fn plan_left(config: &KernelConfig, links: &Links) -> Vec<Step> {
    let mut left: Vec<&Link> = links.iter().filter(|link| is_left(link, config)).collect();
    left.sort_unstable_by_key(|link| (link.is_bridge(), link.index));
    left.into_iter().map(|link| Step::Delete { name: link.name.clone() }).collect()
}

/// What brings the shared devices into their shape. `Err`: something stands in the way that is not ours to change.
pub(super) fn plan_overlay(want: Overlay<'_>, links: &Links, vlans: &Vlans) -> Result<Vec<Step>, Error> {
    let config = want.config;
    let mut steps = Vec::new();
    let found = usable_vxlan(want, links)?;
    let bridge = usable_bridge(want, found, links, &mut steps)?;
    // A kernel that cannot filter VLANs shows with the bridge: nothing goes before that, unless it is in the way.
    let in_the_way = links.named(&config.bridge).is_some_and(|link| is_left(link, config));
    let at = if in_the_way { 0 } else { steps.len() };
    steps.splice(at..at, plan_left(config, links));
    let bridge_name = bridge.map_or(&config.bridge, |link| &link.name);
    let name = &config.vxlan;

    let mut vxlan = found;
    if let Some(link) = found
        && let Some(device) = link.vxlan()
        && is_overlay(link)
    {
        let same_family = device.local.is_some_and(|local| local.is_ipv4() == want.vtep.is_ipv4());
        if !device.external || device.port != want.port || !same_family {
            // What cannot be changed of a device.
            steps.push(Step::Delete { name: name.clone() });
            vxlan = None;
        } else if device.local != Some(want.vtep) {
            steps.push(Step::SetLocal { name: name.clone(), to: want.vtep });
        }
    }
    match vxlan.map(|link| link.vxlan()) {
        None => steps.push(Step::CreateVxlan { name: name.clone() }),
        Some(device) => {
            if device.is_some_and(|device| device.learning) {
                steps.push(Step::StopLearning { name: name.clone() });
            }
        }
    }
    let in_place = vxlan.is_some_and(|link| link.master.is_some() && link.master == bridge.map(|b| b.index));
    if !in_place {
        steps.push(Step::Attach { port: name.clone(), bridge: bridge_name.clone() });
    }
    let found = vxlan.filter(|_| in_place).and_then(|link| link.port);
    let port = want.suppress.port(found);
    if found != Some(port) {
        steps.push(Step::SetPort { name: name.clone(), port });
    }
    // A bridge may put its new ports into a VLAN. There, a VXLAN device hands it the packets of all VNIs that no VLAN stands
    // for.
    if let Some(link) = vxlan.filter(|link| in_place && (want.attached || is_overlay(link)))
        && let Some((vlan, Entry { tunnel: None, .. })) = vlans.pvid(link.index)
    {
        steps.push(Step::Leave { port: name.clone(), vlan });
    }
    for (name, link) in [(bridge_name, bridge), (name, vxlan)] {
        if !link.is_some_and(|link| link.up) {
            steps.push(Step::Up { name: name.clone() });
        }
    }
    Ok(steps)
}

/// The VXLAN device of that name, if it may be used.
fn usable_vxlan<'a>(want: Overlay<'_>, links: &'a Links) -> Result<Option<&'a Link>, Error> {
    let name = &want.config.vxlan;
    let wrong = |reason: String| Err(conflict(format!("use VXLAN device {name}"), reason));
    let Some(link) = links.named(name).filter(|link| !is_left(link, want.config)) else {
        return if want.config.manage_devices {
            Ok(None)
        } else {
            wrong("there is none, and manage-devices is off".to_owned())
        };
    };
    let Some(device) = link.vxlan() else {
        return wrong(format!("it exists and is {}; remove it, or set another vxlan", link.what()));
    };
    if is_overlay(link) {
        return Ok(Some(link));
    }
    if !device.external {
        let reason = format!(
            "it exists and carries VNI {} alone: it was made without \"external\"; remove it, or set another vxlan",
            device.vni
        );
        return wrong(reason);
    }
    if device.port != want.port {
        let reason = format!(
            "it exists and uses UDP port {}, not {}; remove it, or set another vxlan or vxlan-port",
            device.port, want.port
        );
        return wrong(reason);
    }
    match device.local {
        Some(local) if local != want.vtep => wrong(format!(
            "it exists with local {local}, not {}; remove it, or set another vxlan or vtep",
            want.vtep
        )),
        _ => Ok(Some(link)),
    }
}

/// The bridge to use, with what it takes to have it.
fn usable_bridge<'a>(
    want: Overlay<'_>,
    vxlan: Option<&Link>,
    links: &'a Links,
    steps: &mut Vec<Step>,
) -> Result<Option<&'a Link>, Error> {
    let config = want.config;
    let mut bridge = links.named(&config.bridge).filter(|link| !is_left(link, config));
    if let Some(vxlan) = vxlan
        && let Some(master) = vxlan.master
        && !is_overlay(vxlan)
        && !links.get(master).is_some_and(|master| is_left(master, config))
        && bridge.is_none_or(|bridge| bridge.index != master)
    {
        // A device that was found stays in the bridge it is in.
        let master = links.get(master);
        let usable = master.filter(|master| master.is_bridge() && !config.manage_devices);
        if usable.is_none() {
            let of = master.map_or("another device", |master| &master.name);
            let reason = format!("it is a port of {of}, not of {}; set bridge = \"{of}\"", config.bridge);
            return Err(conflict(format!("use VXLAN device {}", vxlan.name), reason));
        }
        bridge = usable;
    }
    let name = &config.bridge;
    let wrong = |reason: String| Err(conflict(format!("use bridge {name}"), reason));
    let Some(link) = bridge else {
        if !config.manage_devices {
            return wrong("there is none, and manage-devices is off".to_owned());
        }
        steps.push(Step::CreateBridge { name: name.clone() });
        return Ok(None);
    };
    let Some(settings) = link.bridge() else {
        return wrong(format!("it exists and is {}; remove it, or set another bridge", link.what()));
    };
    match settings.vlan_filtering {
        None => wrong(NO_FILTERING.to_owned()),
        Some(true) => Ok(Some(link)),
        Some(false) if is_overlay(link) => {
            steps.push(Step::FilterVlans { bridge: name.clone() });
            Ok(Some(link))
        }
        Some(false) => wrong(format!(
            "it exists without VLAN filtering: ip link set {0} type bridge vlan_filtering 1, or set another bridge",
            link.name
        )),
    }
}

/// What there is, as far as VNIs go.
#[derive(Clone, Copy)]
pub(super) struct Now<'a> {
    pub(super) config: &'a KernelConfig,
    pub(super) links: &'a Links,
    pub(super) vlans: &'a Vlans,
    /// `None`: the VXLAN device takes packets of any VNI.
    pub(super) filter: Option<&'a Filter>,
    pub(super) bridge: Option<u32>,
    pub(super) vxlan: Option<u32>,
    pub(super) vxlan_name: &'a Arc<str>,
    /// The VNI that has an interface, if one has.
    pub(super) owner: &'a dyn Fn(&str) -> Option<Vni>,
    /// The VNIs that have had an address to keep.
    pub(super) tabled: &'a HashSet<Vni, RandomState>,
}

impl Now<'_> {
    /// Does the VXLAN port go by VLANs in what it suppresses?
    fn per_vlan(&self) -> bool {
        let port = self.vxlan.and_then(|index| self.links.get(index)?.port);
        port.is_some_and(|port| port.vlan_suppress == Some(true))
    }
}

/// What a VNI needs.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// What cannot be done now, and keeps a port from being attached or ARP from being answered.
    pub(super) problems: Vec<Error>,
}

/// The name of the VLAN device that is the ARP table of a VLAN.
pub(super) fn table_name(config: &KernelConfig, vlan: u16) -> String {
    let vlan = vlan.to_string();
    format!("{}.{vlan}", cut(&config.bridge, NAME - 1 - vlan.len()))
}

/// What has to be done for a VNI that has this VLAN.
pub(super) fn plan_vni(l2: &L2Vni, vlan: u16, now: &Now<'_>) -> Plan {
    let mut plan = Plan::default();
    let vni = l2.vni;
    let vxlan = || now.vxlan_name.clone();
    if let Some(index) = now.vxlan {
        if let Some(old) = now.vlans.mapped(index, vni).filter(|old| *old != vlan) {
            plan.steps.push(Step::Unmap { vlan: old, vxlan: vxlan(), vni });
        }
        let other = now.vlans.get(index, vlan).and_then(|entry| entry.tunnel).filter(|other| *other != vni);
        if let Some(other) = other {
            plan.steps.push(Step::Unmap { vlan, vxlan: vxlan(), vni: other });
        }
    }
    let entry = now.vxlan.and_then(|index| now.vlans.get(index, vlan));
    if !entry.is_some_and(|entry| entry.is(Entry::mapping(vni))) {
        plan.steps.push(Step::Map { vlan, vxlan: vxlan(), vni });
    }
    if now.filter.is_some_and(|filter| !filter.contains(vni)) {
        plan.steps.push(Step::Admit { vxlan: vxlan(), vni });
    }
    // What was another VNI's goes first, and what it says of suppression with it.
    let kept = entry.filter(|entry| entry.tunnel.is_none_or(|own| own == vni));
    if now.per_vlan() && kept.is_some_and(|entry| entry.suppress) != l2.arp_suppression {
        plan.steps.push(Step::Suppress { vlan, vxlan: vxlan(), vni, on: l2.arp_suppression });
    }
    plan_table(l2, vlan, now, &mut plan);
    for name in &l2.interfaces {
        plan_port(name, l2, vlan, now, &mut plan);
    }
    plan
}

fn plan_table(l2: &L2Vni, vlan: u16, now: &Now<'_>, plan: &mut Plan) {
    let there = now.bridge.and_then(|bridge| now.links.vlan(bridge, vlan));
    let mut right = there.is_some();
    for link in tables(l2.vni, now.links) {
        if !l2.arp_suppression || there.is_none_or(|there| there.index != link.index) {
            plan.steps.push(Step::Delete { name: link.name.clone() });
        }
    }
    if !l2.arp_suppression || !now.config.manage_devices {
        return;
    }
    // One of ours that was another VNI's.
    if let Some(link) = there
        && marks::owned(link).is_some_and(|vni| vni != l2.vni)
    {
        plan.steps.push(Step::Delete { name: link.name.clone() });
        right = false;
    }
    if right || !now.tabled.contains(&l2.vni) {
        return;
    }
    let name = table_name(now.config, vlan);
    match now.links.named(&name) {
        Some(link) if marks::owned(link).is_none() => plan.problems.push(conflict(
            format!("create {name}, the ARP table of VNI {}", l2.vni),
            format!("it exists and is {}; remove it, or set arp-suppression = false", link.what()),
        )),
        _ => plan.steps.push(Step::CreateTable { name, vlan, vni: l2.vni }),
    }
}

/// The VLAN devices made here for a VNI.
fn tables(vni: Vni, links: &Links) -> impl Iterator<Item = &Link> {
    links.marked(vni).filter(|link| matches!(link.kind, Kind::Vlan(_)))
}

fn plan_port(name: &str, l2: &L2Vni, vlan: u16, now: &Now<'_>, plan: &mut Plan) {
    let bridge = now.bridge.and_then(|index| now.links.get(index));
    let bridge_name = bridge.map_or(&now.config.bridge, |link| &link.name);
    let action = || format!("attach {name} to {bridge_name}");
    let Some(link) = now.links.named(name) else {
        let reason = "there is no such interface (yet)".to_owned();
        plan.problems.push(Error::new(ErrorKind::Other, action(), reason));
        return;
    };
    if let Some(other) = (now.owner)(name).filter(|other| *other != l2.vni) {
        plan.problems.push(conflict(action(), format!("it is a port of VNI {other} already")));
        return;
    }
    let attached = link.master.is_some() && link.master == now.bridge;
    if let Some(master) = link.master.filter(|_| !attached) {
        let master = now.links.get(master);
        if master.is_none_or(|master| !marks::is_ours(master)) {
            let of = master.map_or("another device", |master| &master.name);
            plan.problems.push(conflict(action(), format!("it is a port of {of}")));
            return;
        }
    }
    if !attached {
        plan.steps.push(Step::Attach { port: name.to_owned(), bridge: bridge_name.clone() });
    }
    if !attached || !now.vlans.is_access(link.index, vlan) {
        plan.steps.push(Step::Access { port: name.to_owned(), vlan });
    }
    // Only a port just attached is set up: one that somebody set down since is meant to be down.
    if !attached && !link.up {
        plan.steps.push(Step::Up { name: name.to_owned() });
    }
}

/// What takes a VNI away. `attached` says which ports were put into the bridge by us.
pub(super) fn plan_removal(
    vni: Vni,
    vlan: Option<u16>,
    now: &Now<'_>,
    attached: &dyn Fn(&Link) -> bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let vxlan = || now.vxlan_name.clone();
    if let (Some(bridge), Some(vlan)) = (now.bridge.and_then(|index| now.links.get(index)), vlan) {
        // Nothing else uses the ports of a bridge that was made here.
        let released = |link: &&Link| {
            let ours = attached(link) || is_overlay(bridge);
            link.master == Some(bridge.index) && ours && now.vlans.is_access(link.index, vlan)
        };
        let ports = now.vlans.members(vlan).filter_map(|index| now.links.get(index)).filter(released);
        steps
            .extend(ports.map(|link| Step::Release { port: link.name.clone(), bridge: bridge.name.clone() }));
    }
    if now.filter.is_some_and(|filter| filter.contains(vni)) {
        steps.push(Step::Dismiss { vxlan: vxlan(), vni });
    }
    if let Some(vlan) = now.vxlan.and_then(|index| now.vlans.mapped(index, vni)) {
        steps.push(Step::Unmap { vlan, vxlan: vxlan(), vni });
    }
    let mut gone: Vec<&Link> = now.links.marked(vni).collect();
    gone.sort_unstable_by_key(|link| (link.is_bridge(), link.index));
    steps.extend(gone.into_iter().map(|link| Step::Delete { name: link.name.clone() }));
    steps
}

/// What takes the shared devices away, once no VNI is left: those made here.
pub(super) fn plan_end(now: &Now<'_>, attached: &dyn Fn(&Link) -> bool) -> Vec<Step> {
    let mut steps = plan_left(now.config, now.links);
    let bridge = now.bridge.and_then(|index| now.links.get(index));
    if let Some(vxlan) = now.vxlan.and_then(|index| now.links.get(index)) {
        if is_overlay(vxlan) {
            steps.push(Step::Delete { name: vxlan.name.clone() });
        } else if let Some(bridge) = bridge.filter(|_| attached(vxlan)) {
            steps.push(Step::Release { port: vxlan.name.clone(), bridge: bridge.name.clone() });
        }
    }
    if let Some(bridge) = bridge.filter(|bridge| is_overlay(bridge)) {
        steps.push(Step::Delete { name: bridge.name.clone() });
    }
    steps
}

#[cfg(test)]
mod tests;
