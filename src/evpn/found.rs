//! Discovery: VNIs that others set up come and go one by one, and so they do here: what one costs does not depend on how
//! many there are.
//!
//! A VNI that is found is as its section says, or as one is by default; a section whose VNI is not found waits.

use dataplane::intent::Service;
use types::{Time, Vni};

use super::config::{ConfigError, Configured};
use super::event::EventKind;
use super::rd::Owner;
use super::view::import_words;
use super::vrf::{Cx, MacVrf};
use super::{Evpn, with_vrf};
use crate::control::view::VniView;

impl Evpn {
    /// Somebody set a VNI up, or took it away; means something with discovery only.
    ///
    /// # Errors
    /// The VNI cannot be; nothing was changed.
    pub fn found(&mut self, vni: Vni, there: bool, now: Time) -> Result<Configured, ConfigError> {
        let unchanged = Ok(Configured { needs_replay: false });
        if !self.node.discover || vni == Vni::ZERO || there == self.found.contains(&vni) {
            return unchanged;
        }
        if !there {
            self.lost(vni, now);
            return unchanged;
        }
        // A client may have named it before.
        let known = self.by_vni.get(&vni).copied();
        let slot = match known {
            Some(slot) => slot,
            None => self.make(vni)?,
        };
        self.found.insert(vni);
        with_vrf!(self, slot, now, |vrf, cx| {
            vrf.untold = true;
            vrf.tell_found(&mut cx);
        });
        Ok(Configured { needs_replay: known.is_none() })
    }

    fn make(&mut self, vni: Vni) -> Result<u32, ConfigError> {
        let rd = self.rds.give(Owner::Mac(vni))?;
        let section = self.sections.get(&vni).cloned();
        let config = section.unwrap_or_else(|| self.without_section(vni));
        Ok(self.add_vni(config, rd))
    }

    fn lost(&mut self, vni: Vni, now: Time) {
        self.found.remove(&vni);
        let Some(&slot) = self.by_vni.get(&vni) else { return };
        let told = with_vrf!(self, slot, now, |vrf, _cx| !std::mem::take(&mut vrf.untold)).unwrap_or(false);
        if told {
            self.out.event(vni, EventKind::Lost);
        }
        let named = |service: &Service| matches!(service, Service::L2 { vni: v, .. } if *v == vni);
        if self.clients.values().any(|entry| named(&entry.config.client.service)) {
            return;
        }
        let mut last = Vec::new();
        self.remove_vni(vni, &mut last, now);
        for change in last {
            self.out.change(change);
        }
        if !self.sections.contains_key(&vni) {
            self.rds.take_back(Owner::Mac(vni));
        }
        self.rest_if_idle();
    }

    /// The VNIs that are configured and that nobody set up, ascending.
    pub fn missing(&self) -> impl Iterator<Item = Vni> + '_ {
        self.sections.keys().copied().filter(|vni| self.is_missing(*vni))
    }

    /// It is configured, and nobody set it up.
    pub fn is_missing(&self, vni: Vni) -> bool {
        self.node.discover && self.sections.contains_key(&vni) && !self.found.contains(&vni)
    }

    /// How those look that are not there at all.
    pub(super) fn missing_views(&self) -> impl Iterator<Item = VniView> + '_ {
        let configs = self.missing().filter_map(|vni| self.sections.get(&vni));
        configs.filter(|config| !self.by_vni.contains_key(&config.vni)).map(|config| VniView {
            vni: config.vni.get(),
            kind: "l2".to_owned(),
            flood: Vec::new(),
            local_macs: 0,
            remote_macs: 0,
            import_rt: import_words(&config.import_rt),
            export_rt: self
                .export_of(&config.export_rt, config.vni)
                .iter()
                .map(ToString::to_string)
                .collect(),
            rd: self.rds.get(Owner::Mac(config.vni)).map(|rd| rd.to_string()).unwrap_or_default(),
            interfaces: Vec::new(),
            ready: Some(false),
            prefixes_local: None,
            prefixes_remote: None,
            router_mac: None,
            vlan: None,
            vtep: self.node.vtep,
        })
    }
}

impl MacVrf {
    /// The dataplane has its device, or has not.
    pub(super) fn device_is(&mut self, cx: &mut Cx<'_>, ready: bool) {
        let new = ready && !self.ready;
        self.ready = ready;
        if new && self.untold {
            self.tell_found(cx);
        } else if new && let Some(vlan) = self.vlan.filter(|_| self.config.vlan.is_none()) {
            // Nobody said which: it may be worth knowing.
            cx.out.event(self.vni(), EventKind::Vlan(vlan, None));
        }
        self.sync_all(cx);
    }

    /// The dataplane says which VLAN stands for it.
    pub(super) fn vlan_is(&mut self, cx: &mut Cx<'_>, vlan: u16) {
        let old = self.vlan.replace(vlan).filter(|old| *old != vlan);
        if old.is_some() {
            cx.out.event(self.vni(), EventKind::Vlan(vlan, old));
        }
    }

    /// People hear that it was found, once it can be used.
    fn tell_found(&mut self, cx: &mut Cx<'_>) {
        if self.ready && std::mem::take(&mut self.untold) {
            cx.out.event(self.vni(), EventKind::Found(self.vlan));
        }
    }
}
