//! VNIs that others set up: mappings on external VXLAN devices are taken up as they are, and nothing is made.

use std::collections::BTreeMap;

use types::Vni;

use super::super::config::KernelConfig;
use super::super::links::{Link, Port};
use super::super::rows::Place;
use super::SingleDevice;
use super::devices::Step;
use crate::backend::{Error, ErrorKind, Outcome};
use crate::intent::L2Vni;

impl SingleDevice {
    /// Looks for them. All of them, and where each is.
    pub(super) fn look_for_vnis(&mut self) {
        self.known = if self.base.config.discover { self.mapped_by_others() } else { BTreeMap::new() };
    }

    /// Looks for one of them.
    pub(super) fn look_for(&mut self, vni: Vni, devices: &[(u32, u32)]) -> Option<Place> {
        let found = devices.iter().rev().find_map(|&(vxlan, bridge)| {
            let vlan = self.vlans.mapped(vxlan, vni)?;
            Some(self.place_at(vxlan, bridge, vlan))
        });
        match found {
            Some(at) => self.known.insert(vni, at),
            None => self.known.remove(&vni),
        };
        found
    }

    pub(super) fn mapped_by_others(&self) -> BTreeMap<Vni, Place> {
        let mut known = BTreeMap::new();
        for (vxlan, bridge) in self.devices_of_others() {
            let mappings = self.vlans.mappings(vxlan);
            known.extend(mappings.map(|(vlan, vni)| (vni, self.place_at(vxlan, bridge, vlan))));
        }
        known
    }

    fn place_at(&self, vxlan: u32, bridge: u32, vlan: u16) -> Place {
        let table = self.base.links.vlan(bridge, vlan).map(|link| link.index);
        Place { bridge, vxlan, table, vlan: Some(vlan) }
    }

    /// The VXLAN devices that can be used, each with its bridge. Of a VNI that is on two, the one that comes later counts,
    /// which is the older.
    pub(super) fn devices_of_others(&self) -> Vec<(u32, u32)> {
        let (links, config) = (&self.base.links, &self.base.config);
        let fits = |link: &&Link| is_external(link) && unfit(link, config).is_none();
        let devices: Vec<&Link> = match links.named(&config.vxlan).filter(fits) {
            Some(link) => vec![link],
            None => links.iter().filter(fits).collect(),
        };
        let filtering =
            |link: &&Link| link.bridge().is_some_and(|b| b.vlan_filtering == Some(true)) && link.up;
        // What is down carries nothing, and must not draw what is meant for others.
        let bridge =
            |vxlan: &Link| Some(links.get(vxlan.master?).filter(filtering).filter(|_| vxlan.up)?.index);
        let mut devices: Vec<_> =
            devices.into_iter().filter_map(|vxlan| Some((vxlan.index, bridge(vxlan)?))).collect();
        devices.sort_unstable_by_key(|(vxlan, _)| std::cmp::Reverse(*vxlan));
        devices
    }

    /// Why the VXLAN device of the configured name is not used, if it is there: people are told, once.
    pub(super) fn tell_of_unfit(&mut self) -> Option<String> {
        let config = &self.base.config;
        let link =
            self.base.links.named(&config.vxlan).filter(|link| config.discover && is_external(link))?;
        let why = unfit(link, config)?;
        let again = std::mem::replace(&mut self.noted, true);
        (!again).then(|| format!("{} is not used, and no VNI on it found: {why}", config.vxlan))
    }

    /// Where a VNI is that others set up.
    pub(super) fn discovered(&self, vni: Vni) -> Option<Place> {
        self.known.get(&vni).copied()
    }

    /// Uses a VNI as it is.
    pub(super) fn take_up(&mut self, l2: &L2Vni, devices: &[(u32, u32)]) -> Outcome {
        let Some(at) = self.look_for(l2.vni, devices) else {
            self.waiting.insert(l2.vni);
            return Outcome::Failed(self.not_found(l2.vni));
        };
        if let Err(error) = self.stop_learning(at) {
            return Outcome::Failed(error);
        }
        let new = !self.base.vnis.contains_key(&l2.vni);
        if new && at.vlan.is_some_and(|vlan| !self.is_left(l2.vni, at.vxlan, vlan)) {
            self.clean.insert(l2.vni);
        }
        self.stands(l2, at);
        self.waiting.remove(&l2.vni);
        Outcome::Done
    }

    /// What keeps rows from standing: the bridge would take them for its own as soon as it learns their MACs.
    pub(super) fn learns(&self, at: Place) -> Vec<Step> {
        let Some(link) = self.base.links.get(at.vxlan) else { return Vec::new() };
        let name = &link.name;
        let device = link.vxlan().filter(|vxlan| vxlan.learning);
        let port = link.port.filter(|port| port.learning).map(|port| Port { learning: false, ..port });
        let device = device.map(|_| Step::StopLearning { name: name.clone() });
        device.into_iter().chain(port.map(|port| Step::SetPort { name: name.clone(), port })).collect()
    }

    /// It is the one thing that is changed on the devices of others.
    fn stop_learning(&mut self, at: Place) -> Result<(), Error> {
        self.learns(at).iter().try_for_each(|step| self.execute(step))
    }

    pub(super) fn not_found(&self, vni: Vni) -> Error {
        let reason = format!(
            "no external VXLAN device in a bridge with VLAN filtering maps it, and with discover = true evpnd makes \
             nothing: bridge vlan add dev {} vid VLAN tunnel_info id {vni}",
            self.vxlan_name
        );
        Error::new(ErrorKind::NoDevice, format!("find VNI {vni}"), reason)
    }
}

fn is_external(link: &Link) -> bool {
    link.vxlan().is_some_and(|vxlan| vxlan.external)
}

/// Why the VNIs of an external VXLAN device cannot be announced: nobody would find them where we say they are.
fn unfit(link: &Link, config: &KernelConfig) -> Option<String> {
    let vxlan = link.vxlan()?;
    if vxlan.port != config.port {
        return Some(format!("its UDP port is {}, and vxlan-port is {}", vxlan.port, config.port));
    }
    let other = vxlan.local.filter(|ip| !config.vtep.is_unspecified() && *ip != config.vtep)?;
    Some(format!("its local address is {other}, and vtep is {}", config.vtep))
}
