//! The devices of an L2 VNI in the layout `device-per-vni`: a bridge, a VXLAN device in it, and local ports.
//!
//! A pure plan: what a VNI needs × the links there are → steps. Names, marks and the rules of ownership live here:
//!
//! - Names are `<prefix>-<vni>`, the prefix cut so that 15 characters suffice: `br-evpn-22001`, `br-evp-16777215`.
//!   The VNI is always whole, so no two VNIs can share a name.
//! - A device made here bears the interface alias `evpnd vni N`. Only such a device is ever deleted.
//! - A device found (by name, or a VXLAN device by VNI) that has no alias is adopted if it is what is needed: flags
//!   of the port are set, ports attached, rows written; but it is never deleted. If it is something else, that is an
//!   error that names it, and nothing is done to it.
//! - An interface that is in somebody else's bridge is not taken out of it.
//!
//! The MTU is left to the kernel. Which underlay a packet will take is not known here, and a bridge whose MTU is
//! smaller than its hosts' drops in silence; a VXLAN device whose packet does not fit the underlay answers with
//! "fragmentation needed" (or "packet too big"), and hosts adapt. Better is an underlay with 50 bytes more than the
//! hosts (70 over IPv6).

use std::collections::BTreeSet;
use std::fmt;
use types::Vni;

use super::super::config::{KernelConfig, NAME, cut};
use super::super::links::{Kind, Link, Links, Port};
use super::super::marks::{is_ours, owned};
use crate::backend::{Error, ErrorKind};
use crate::intent::L2Vni;
use crate::plane::Action;

impl KernelConfig {
    pub(super) fn bridge_name(&self, vni: Vni) -> String {
        name(&self.bridge, vni)
    }

    pub(super) fn vxlan_name(&self, vni: Vni) -> String {
        name(&self.vxlan, vni)
    }
}

fn name(prefix: &str, vni: Vni) -> String {
    let vni = vni.to_string();
    format!("{}-{vni}", cut(prefix, NAME - 1 - vni.len()))
}

/// One thing to do to the links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    CreateBridge { name: String },
    CreateVxlan { name: String },
    SetLocal { name: String },
    StopLearning { name: String },
    Attach { port: String, bridge: String },
    SetPort { name: String, port: Port },
    Up { name: String },
    Release { port: String, bridge: String },
    Delete { name: String },
}

impl Step {
    /// Does something come, change or go by it?
    pub(super) const fn action(&self) -> Action {
        match self {
            Self::CreateBridge { .. } | Self::CreateVxlan { .. } => Action::Add,
            Self::Release { .. } | Self::Delete { .. } => Action::Remove,
            Self::SetLocal { .. }
            | Self::StopLearning { .. }
            | Self::Attach { .. }
            | Self::SetPort { .. }
            | Self::Up { .. } => Action::Change,
        }
    }

    /// Does it only matter to this port?
    pub(super) fn is_about_port(&self, name: &str) -> bool {
        matches!(self, Self::Attach { port, .. } | Self::Up { name: port } if port == name)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateBridge { name } => write!(f, "create bridge {name}"),
            Self::CreateVxlan { name } => write!(f, "create VXLAN device {name}"),
            Self::SetLocal { name } => write!(f, "change the local address of {name}"),
            Self::StopLearning { name } => write!(f, "turn off learning on {name}"),
            Self::Attach { port, bridge } => write!(f, "attach {port} to {bridge}"),
            Self::SetPort { name, port } => write!(
                f,
                "set bridge port {name}: learning {}, ARP suppression {}",
                if port.learning { "on" } else { "off" },
                if port.suppress { "on" } else { "off" }
            ),
            Self::Up { name } => write!(f, "set {name} up"),
            Self::Release { port, bridge } => write!(f, "release {port} from {bridge}"),
            Self::Delete { name } => write!(f, "delete {name}"),
        }
    }
}

/// What brings the devices of a VNI into their shape.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) bridge: String,
    pub(super) vxlan: String,
    pub(super) steps: Vec<Step>,
    /// What cannot be done now, and keeps a port from being attached; rows can be written all the same.
    pub(super) problems: Vec<Error>,
}

fn error(action: String, reason: String) -> Error {
    Error::new(ErrorKind::Conflict, action, reason)
}

/// The VXLAN device to use, if there is one that may be.
fn find_vxlan<'a>(
    l2: &L2Vni,
    config: &KernelConfig,
    links: &'a Links,
) -> Result<Option<(&'a Link, bool)>, Error> {
    let name = config.vxlan_name(l2.vni);
    let action = || format!("use VXLAN device {name} for VNI {}", l2.vni);
    if config.manage_devices
        && let Some(link) = links.named(&name)
    {
        let mine = owned(link).is_some();
        let Some(vxlan) = link.vxlan() else {
            return Err(error(action(), format!("{name} exists and is {}", link.what())));
        };
        if vxlan.external {
            return Err(error(
                action(),
                format!("{name} exists and is an external (collect metadata) device"),
            ));
        }
        if vxlan.vni != l2.vni {
            return Err(error(action(), format!("{name} exists and carries VNI {}", vxlan.vni)));
        }
        if !mine && vxlan.port != l2.port {
            return Err(error(action(), format!("{name} exists and uses UDP port {}", vxlan.port)));
        }
        if !mine && vxlan.local != Some(l2.vtep) {
            let local = vxlan.local.map_or_else(|| "no address".to_owned(), |ip| ip.to_string());
            return Err(error(action(), format!("{name} exists with local {local}, not {}", l2.vtep)));
        }
        return Ok(Some((link, mine)));
    }
    let usable = |link: &&Link| link.vxlan().is_some_and(|v| !v.external && v.port == l2.port);
    let Some(link) = links.carrying(l2.vni).find(usable) else {
        if config.manage_devices {
            return Ok(None);
        }
        let reason = format!("no VXLAN device carries it on port {}, and manage-devices is off", l2.port);
        return Err(error(format!("find the device of VNI {}", l2.vni), reason));
    };
    match link.vxlan().and_then(|vxlan| vxlan.local) {
        Some(local) if local != l2.vtep => {
            let reason = format!("it exists with local {local}, not {}", l2.vtep);
            Err(error(format!("use VXLAN device {} for VNI {}", link.name, l2.vni), reason))
        }
        _ => Ok(Some((link, owned(link).is_some()))),
    }
}

/// The VNIs that others set up: VXLAN devices for our VTEP and port, in a bridge.
pub(super) fn found(config: &KernelConfig, links: &Links) -> BTreeSet<Vni> {
    links.iter().filter_map(|link| carried(link, config, links)).collect()
}

/// Did others set up this one?
pub(super) fn is_found(vni: Vni, config: &KernelConfig, links: &Links) -> bool {
    links.carrying(vni).any(|link| carried(link, config, links) == Some(vni))
}

/// The VNIs for which it may matter how a link is: that of a VXLAN device, those of the VXLAN devices in a bridge.
pub(super) fn concerned(index: u32, links: &Links) -> impl Iterator<Item = Vni> {
    let devices = links.get(index).into_iter().chain(links.ports(index));
    devices.filter_map(|link| Some(link.vxlan()?.vni))
}

/// The VNI that a link carries, if it can be taken up as it is.
fn carried(link: &Link, config: &KernelConfig, links: &Links) -> Option<Vni> {
    let bridge = links.get(link.master?).filter(|master| master.is_bridge() && master.up);
    // What is down carries nothing, and must not draw what is meant for others.
    let vxlan = link.vxlan().filter(|_| link.up && bridge.is_some())?;
    let ours = vxlan.port == config.port && vxlan.local.is_none_or(|local| local == config.vtep);
    (ours && !vxlan.external).then_some(vxlan.vni)
}

/// What takes away what evpnd made, in an earlier run, for the layout that has one device for all VNIs. The VXLAN device
/// goes first, since it has the UDP port; with the bridge go the tables on it.
pub(super) fn make_room(config: &KernelConfig, links: &Links) -> Vec<Step> {
    let of_other_layout = |link: &&Link| {
        is_ours(link)
            && (owned(link).is_none() || matches!(link.kind, Kind::Vlan(_)))
            && config.manage_devices
    };
    let mut left: Vec<&Link> = links.iter().filter(of_other_layout).collect();
    left.sort_unstable_by_key(|link| (link.vxlan().is_none(), !link.is_bridge(), link.index));
    left.into_iter().map(|link| Step::Delete { name: link.name.clone() }).collect()
}

/// What has to be done for a VNI. `Err`: devices stand in the way that are not ours to change.
pub(super) fn plan(
    l2: &L2Vni,
    config: &KernelConfig,
    links: &Links,
    attached: &dyn Fn(&Link) -> bool,
) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    let mut vxlan = find_vxlan(l2, config, links)?;
    // The UDP port of a device cannot be changed.
    if let Some((link, true)) = vxlan
        && link.vxlan().is_some_and(|v| v.port != l2.port)
    {
        plan.steps.push(Step::Delete { name: link.name.clone() });
        vxlan = None;
    }

    let adopted_bridge = match vxlan {
        // A device that was found stays in the bridge it is in.
        Some((link, false)) => match link.master.map(|index| links.get(index)) {
            Some(Some(master)) if master.is_bridge() => Some(master),
            Some(Some(master)) => {
                let reason = format!("{} is a port of {}, {}", link.name, master.name, master.what());
                return Err(error(format!("find the bridge of VNI {}", l2.vni), reason));
            }
            _ if !config.manage_devices => {
                let reason = format!("{} is in no bridge, and manage-devices is off", link.name);
                return Err(error(format!("find the bridge of VNI {}", l2.vni), reason));
            }
            _ => None,
        },
        _ => None,
    };
    let bridge = match adopted_bridge {
        Some(link) => Some(link),
        None => links.named(&config.bridge_name(l2.vni)),
    };
    match bridge {
        Some(link) if link.is_bridge() => plan.bridge.clone_from(&link.name),
        Some(link) => {
            let action = format!("use bridge {} for VNI {}", link.name, l2.vni);
            return Err(error(action, format!("it exists and is {}", link.what())));
        }
        None => {
            plan.bridge = config.bridge_name(l2.vni);
            plan.steps.push(Step::CreateBridge { name: plan.bridge.clone() });
        }
    }
    plan.vxlan = vxlan.map_or_else(|| config.vxlan_name(l2.vni), |(link, _)| link.name.clone());
    let bridge_index = bridge.map(|link| link.index);

    match vxlan {
        None => plan.steps.push(Step::CreateVxlan { name: plan.vxlan.clone() }),
        Some((link, mine)) => {
            let found = link.vxlan();
            if mine && found.is_some_and(|v| v.local != Some(l2.vtep)) {
                plan.steps.push(Step::SetLocal { name: plan.vxlan.clone() });
            }
            if found.is_some_and(|v| v.learning) {
                plan.steps.push(Step::StopLearning { name: plan.vxlan.clone() });
            }
        }
    }
    let in_place = vxlan.is_some_and(|(link, _)| link.master.is_some() && link.master == bridge_index);
    if !in_place {
        plan.steps.push(Step::Attach { port: plan.vxlan.clone(), bridge: plan.bridge.clone() });
    }
    let found = vxlan.and_then(|(link, _)| link.port);
    // What somebody set for VLANs of a bridge that knows them is left to them.
    let vlan_tunnel = found.is_some_and(|port| port.vlan_tunnel);
    let vlan_suppress = found.and_then(|port| port.vlan_suppress);
    let port = match found {
        // Those who made it know what they want of it; but remote MACs are not learned, they are heard of.
        Some(port) if config.discover => Port { learning: false, ..port },
        _ => Port { learning: false, suppress: l2.arp_suppression, vlan_suppress, flood: true, vlan_tunnel },
    };
    if !in_place || found != Some(port) {
        plan.steps.push(Step::SetPort { name: plan.vxlan.clone(), port });
    }
    for (name, link) in [(&plan.bridge, bridge), (&plan.vxlan, vxlan.map(|(link, _)| link))] {
        if !config.discover && !link.is_some_and(|link| link.up) {
            plan.steps.push(Step::Up { name: name.clone() });
        }
    }
    plan_ports(l2, links, bridge_index, attached, &mut plan);
    // By prefixes that were configured before.
    let used = [&plan.bridge, &plan.vxlan];
    let left = links.marked(l2.vni).filter(|link| config.manage_devices && !used.contains(&&link.name));
    let left: Vec<Step> = left.map(|link| Step::Delete { name: link.name.clone() }).collect();
    plan.steps.extend(left);
    Ok(plan)
}

fn plan_ports(
    l2: &L2Vni,
    links: &Links,
    bridge: Option<u32>,
    attached: &dyn Fn(&Link) -> bool,
    plan: &mut Plan,
) {
    // Ports we put there and that are no longer wanted; ports others put there stay.
    if let Some(index) = bridge {
        let mut gone: Vec<&str> = links
            .ports(index)
            .filter(|link| link.name != plan.vxlan && attached(link) && !l2.interfaces.contains(&link.name))
            .map(|link| link.name.as_str())
            .collect();
        gone.sort_unstable();
        for port in gone {
            plan.steps.push(Step::Release { port: port.to_owned(), bridge: plan.bridge.clone() });
        }
    }
    for name in &l2.interfaces {
        let action = || format!("attach {name} to {}", plan.bridge);
        let Some(link) = links.named(name) else {
            let reason = "there is no such interface (yet)".to_owned();
            plan.problems.push(Error::new(ErrorKind::Other, action(), reason));
            continue;
        };
        match link.master {
            Some(master) if Some(master) == bridge => {}
            Some(master) => {
                let master = links.get(master);
                if master.is_none_or(|master| !is_ours(master)) {
                    let of = master.map_or("another device", |master| master.name.as_str());
                    plan.problems.push(error(action(), format!("it is a port of {of}")));
                    continue;
                }
                plan.steps.push(Step::Attach { port: name.clone(), bridge: plan.bridge.clone() });
            }
            None => plan.steps.push(Step::Attach { port: name.clone(), bridge: plan.bridge.clone() }),
        }
        // Only a port just attached is set up: one that somebody set down since is meant to be down.
        let ours_already = bridge.is_some() && link.master == bridge;
        if !link.up && !ours_already {
            plan.steps.push(Step::Up { name: name.clone() });
        }
    }
}

/// What takes the devices of a VNI away: those made here are deleted, ports we put into others are released.
pub(super) fn plan_removal(
    vni: Vni,
    config: &KernelConfig,
    links: &Links,
    attached: &dyn Fn(&Link) -> bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut gone: Vec<&Link> = links.marked(vni).collect();
    // The VXLAN device first: no frame goes out that nobody can answer.
    gone.sort_unstable_by_key(|link| (link.is_bridge(), link.index));
    let bridges = links
        .carrying(vni)
        .filter_map(|link| link.master)
        .chain(links.named(&config.bridge_name(vni)).filter(|link| link.is_bridge()).map(|link| link.index));
    let mut released: Vec<(&str, &str)> = Vec::new();
    for index in bridges {
        let Some(bridge) = links.get(index).filter(|link| owned(link).is_none()) else { continue };
        let ports = links.ports(index).filter(|link| attached(link));
        released.extend(ports.map(|port| (port.name.as_str(), bridge.name.as_str())));
    }
    released.sort_unstable();
    released.dedup();
    steps.extend(
        released
            .into_iter()
            .map(|(port, bridge)| Step::Release { port: port.to_owned(), bridge: bridge.to_owned() }),
    );
    steps.extend(gone.into_iter().map(|link| Step::Delete { name: link.name.clone() }));
    steps
}

#[cfg(test)]
mod tests;
