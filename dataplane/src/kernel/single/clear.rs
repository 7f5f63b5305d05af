//! What is left beside all VNIs when everything has been compared: shared devices that nobody needs any more, and mappings
//! of which nobody can say whose they are.

use types::Vni;

use super::SingleDevice;
use super::devices::{self, Step};
use crate::backend::{Error, ErrorKind};
use crate::plane;

impl SingleDevice {
    /// What takes the shared devices away, as far as they were made here.
    fn plan_end(&self) -> Vec<Step> {
        if self.base.config.discover || !self.base.config.manage_devices {
            return Vec::new();
        }
        self.now(|now| devices::plan_end(now, &|link| self.base.ports.contains(link)))
    }

    /// Takes the shared devices away, as far as they were made here.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        let steps = self.plan_end();
        for step in &steps {
            match self.execute(step) {
                Err(error) if error.kind != ErrorKind::NoDevice => return Err(error),
                _ => {}
            }
        }
        if steps.is_empty() { Ok(()) } else { self.read_vlans() }
    }

    /// The same in words.
    pub(super) fn describe_end(&self) -> Vec<plane::Step> {
        let steps = self.plan_end();
        let planned = |step: &Step| plane::Step::new(step.action(), plane::Thing::Device, step.to_string());
        steps.iter().map(planned).collect()
    }

    /// On a VXLAN device that was not made here, a mapping that nobody wants may be one that an earlier run made, and was
    /// killed, or somebody else's: nothing about it tells. (A VNI's ARP table would, and then the mapping has gone with
    /// that. Its rows do not: zebra's look like ours.) So it stays, and people are told, once.
    pub(super) fn tell_of_strangers(&mut self) -> Option<String> {
        let vxlan = self.shared_devices().1.filter(|_| !self.base.config.discover && !self.owns_vxlan())?;
        if std::mem::replace(&mut self.noted, true) {
            return None;
        }
        let is_known = |vni: &Vni| self.base.vnis.contains_key(vni) || self.waiting.contains(vni);
        let mut strangers = self.vlans.mappings(vxlan).filter(|(_, vni)| !is_known(vni));
        let (vlan, vni) = strangers.next()?;
        let device = &self.vxlan_name;
        let more = match strangers.count() {
            0 => String::new(),
            more => format!(" ({more} more like it: bridge vlan tunnelshow dev {device})"),
        };
        Some(format!(
            "{device} maps VLAN {vlan} to VNI {vni}, which is not configured; it was not evpnd that made {device}, so this \
             may be another program's, or left by an earlier run; if nobody needs it: bridge vlan del dev {device} vid \
             {vlan}{more}"
        ))
    }
}
