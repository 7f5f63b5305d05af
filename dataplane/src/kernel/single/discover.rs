//! VNIs that others set up: mappings on external VXLAN devices are taken up as they are, and nothing is made.

use std::collections::BTreeMap;

use types::Vni;

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

    fn mapped_by_others(&self) -> BTreeMap<Vni, Place> {
        let (links, config) = (&self.base.links, &self.base.config);
        let external = |link: &&Link| link.vxlan().is_some_and(|vxlan| vxlan.external);
        let fits = |link: &&Link| {
            link.vxlan().is_some_and(|vxlan| {
                let local = vxlan.local.is_none_or(|ip| config.vtep.is_unspecified() || ip == config.vtep);
                vxlan.port == config.port && local
            })
        };
        let mut devices: Vec<&Link> = match links.named(&config.vxlan).filter(external) {
            Some(link) => vec![link],
            None => links.iter().filter(external).filter(fits).collect(),
        };
        // Of a VNI that is on two, the older device counts.
        devices.sort_unstable_by_key(|link| std::cmp::Reverse(link.index));
        let mut known = BTreeMap::new();
        for vxlan in devices {
            let bridge = vxlan.master.and_then(|index| links.get(index));
            let filtering = |link: &&Link| link.bridge().is_some_and(|b| b.vlan_filtering == Some(true));
            let Some(bridge) = bridge.filter(filtering) else { continue };
            known.extend(self.vlans.mappings(vxlan.index).map(|(vlan, vni)| {
                let table = links.vlan(bridge.index, vlan).map(|link| link.index);
                (vni, Place { bridge: bridge.index, vxlan: vxlan.index, table, vlan: Some(vlan) })
            }));
        }
        known
    }

    /// Where a VNI is that others set up.
    pub(super) fn discovered(&self, vni: Vni) -> Option<Place> {
        self.known.get(&vni).copied()
    }

    /// Uses a VNI as it is.
    pub(super) fn take_up(&mut self, l2: &L2Vni) -> Outcome {
        if self.discovered(l2.vni).is_none() {
            self.look_for_vnis();
        }
        let Some(at) = self.discovered(l2.vni) else {
            self.waiting.insert(l2.vni);
            return Outcome::Failed(self.not_found(l2.vni));
        };
        if let Err(error) = self.stop_learning(at) {
            return Outcome::Failed(error);
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
