//! Which VNIs and VRFs there are: those that are configured (with discovery: those that are found) and those that clients
//! name, and how one set becomes another with nothing touched that stays as it is.
//!
//! A VNI takes and sends what its section and all its clients say together; a VRF is made of clients alone. A section has
//! its route distinguisher even while its VNI is not found, so that nobody else gets it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bgp::wire::{Rd, RouteTarget};
use dataplane::intent::{Change, L2Vni, Service};
use types::{Time, Vni};

use super::client::Entry;
use super::config::{ClientConfig, ConfigError, Configured, MacVrfConfig};
use super::dests::Dests;
use super::endpoint::Endpoints;
use super::ipvrf::IpVrf;
use super::originate;
use super::rd::{Owner, Rds};
use super::target::{ImportRt, Imports, auto_export};
use super::vrf::MacVrf;
use super::{Evpn, FIRST_VRF, Map, Sections, with_vrf};

/// All VNIs and VRFs there shall be.
#[derive(Debug)]
struct Shape {
    macs: BTreeMap<Vni, MacVrfConfig>,
    ips: BTreeMap<Vni, Vec<ImportRt>>,
    rds: Rds,
}

/// Route targets of all clients of one VNI.
#[derive(Debug, Default)]
struct Targets {
    import: BTreeSet<ImportRt>,
    export: BTreeSet<RouteTarget>,
}

impl Evpn {
    /// Takes the VNIs there shall be beside those of clients; those that do not change are not touched.
    ///
    /// When a replay is needed, have the RIB show its reader everything once more (`Rib::replay`), withdrawals that it
    /// has not shown yet included.
    ///
    /// # Errors
    /// The configuration cannot be; nothing was changed.
    pub fn configure(&mut self, configs: Vec<MacVrfConfig>, now: Time) -> Result<Configured, ConfigError> {
        let mut sections = Sections::new();
        for config in configs {
            let vni = config.vni;
            if sections.insert(vni, config).is_some() {
                return Err(ConfigError::DuplicateVni(vni));
            }
        }
        let shape = self.shape(&sections, self.clients.values().map(|c| &c.config))?;
        self.sections = sections;
        let mut last = Vec::new();
        let configured = self.reshape(shape, &mut last, now);
        for change in last {
            self.out.change(change);
        }
        Ok(configured)
    }

    /// Takes the clients there shall be, each with a name of its own; those that do not change are not touched. They
    /// are announced once the dataplane says that they are up.
    ///
    /// # Errors
    /// They cannot be; nothing was changed.
    pub fn set_clients(&mut self, clients: Vec<ClientConfig>, now: Time) -> Result<Configured, ConfigError> {
        let mut wanted: BTreeMap<Arc<str>, ClientConfig> =
            clients.into_iter().map(|c| (c.client.name.clone(), c)).collect();
        let shape = self.shape(&self.sections, wanted.values())?;
        // What goes goes first, so that another may have it; but a VNI or VRF outlives its clients, and is there
        // before them.
        for name in self.clients.keys().cloned().collect::<Vec<_>>() {
            let new = wanted.get(&name);
            if new == self.clients.get(&name).map(|entry| &entry.config) {
                wanted.remove(&name);
                continue;
            }
            self.leave(&name, new, now);
            if new.is_none() {
                self.clients.remove(&name);
                self.out.change(Change::DelClient(name));
            }
        }
        let mut last = Vec::new();
        let configured = self.reshape(shape, &mut last, now);
        for (name, config) in wanted {
            let old = self.clients.get_mut(&name);
            if old.as_ref().is_none_or(|old| old.config.client != config.client) {
                self.out.change(Change::PutClient(config.client.clone()));
            }
            match old {
                Some(old) => old.config = config,
                None => drop(self.clients.insert(name.clone(), Entry { config, state: None })),
            }
            self.join(&name, now);
        }
        for change in last {
            self.out.change(change);
        }
        Ok(configured)
    }

    fn shape<'a>(
        &self,
        sections: &Sections,
        clients: impl Iterator<Item = &'a ClientConfig>,
    ) -> Result<Shape, ConfigError> {
        let section = |vni| sections.get(&vni).cloned().unwrap_or_else(|| self.without_section(vni));
        let mut macs = if self.node.discover {
            self.found.iter().map(|&vni| (vni, section(vni))).collect()
        } else {
            sections.clone()
        };
        let (mut l2, mut l3) = (BTreeMap::<_, Targets>::new(), BTreeMap::<_, Targets>::new());
        for client in clients {
            let (vni, targets) = match client.client.service {
                Service::L2 { vni, .. } => (vni, l2.entry(vni).or_default()),
                Service::L3 { vrf, .. } => (vrf, l3.entry(vrf).or_default()),
            };
            targets.import.extend(import(&client.import_rt));
            targets.export.extend(self.export_of(&client.export_rt, vni));
        }
        for (vni, targets) in l2 {
            let config = macs.entry(vni).or_insert_with(|| section(vni));
            let (mut imports, mut exports) = (Vec::new(), Vec::new());
            if sections.contains_key(&vni) {
                imports.extend(import(&config.import_rt));
                exports.extend(self.export_of(&config.export_rt, vni));
            }
            imports.extend(targets.import.into_iter().filter(|t| !config.import_rt.contains(t)));
            let more: Vec<_> = targets.export.into_iter().filter(|t| !exports.contains(t)).collect();
            exports.extend(more);
            imports.sort_unstable();
            imports.dedup();
            (config.import_rt, config.export_rt) = (imports, exports);
        }
        let ips: BTreeMap<Vni, Vec<ImportRt>> =
            l3.into_iter().map(|(vni, targets)| (vni, targets.import.into_iter().collect())).collect();
        if macs.contains_key(&Vni::ZERO) || sections.contains_key(&Vni::ZERO) || ips.contains_key(&Vni::ZERO)
        {
            return Err(ConfigError::ZeroVni);
        }
        let not_found = sections.values().filter(|config| !macs.contains_key(&config.vni));
        let bridged = macs.values().chain(not_found).map(|config| (Owner::Mac(config.vni), config.rd));
        let routed = ips.keys().map(|&vni| (Owner::Ip(vni), None));
        let rds = self.rds.assign(bridged.chain(routed))?;
        Ok(Shape { macs, ips, rds })
    }

    /// Makes it so. What is to be told to the dataplane once clients have moved is put aside.
    fn reshape(&mut self, shape: Shape, last: &mut Vec<Change>, now: Time) -> Configured {
        let Shape { macs, ips, rds } = shape;
        self.rds = rds;
        let mut gone: Vec<_> = self.by_vni.keys().copied().filter(|vni| !macs.contains_key(vni)).collect();
        gone.sort_unstable();
        for vni in gone {
            self.remove_vni(vni, last, now);
        }
        let mut gone: Vec<_> = self.by_vrf.keys().copied().filter(|vni| !ips.contains_key(vni)).collect();
        gone.sort_unstable();
        for vni in gone {
            self.remove_vrf(vni, last);
        }
        // Before anything is announced: the distinguisher one gives up may be the one another gets.
        for slot in 0..self.vrfs.len() {
            with_vrf!(self, slot, now, |vrf, cx| {
                if self.rds.get(Owner::Mac(vrf.vni())) != Some(vrf.rd) {
                    vrf.withdraw_all(&mut cx);
                }
            });
        }
        for vrf in self.ip_vrfs.iter_mut().flatten() {
            if self.rds.get(Owner::Ip(vrf.vni)) != Some(vrf.rd) {
                vrf.withdraw_all(&mut self.out);
            }
        }
        let mut needs_replay = false;
        for (vni, config) in macs {
            let Some(rd) = self.rds.get(Owner::Mac(vni)) else { continue };
            if let Some(&slot) = self.by_vni.get(&vni) {
                needs_replay |= self.change_vni(slot, config, rd, now);
            } else {
                self.add_vni(config, rd);
                needs_replay = true;
            }
        }
        for (vni, import_rt) in ips {
            let Some(rd) = self.rds.get(Owner::Ip(vni)) else { continue };
            let Some(&at) = self.by_vrf.get(&vni) else {
                self.add_vrf(vni, rd, import_rt);
                needs_replay = true;
                continue;
            };
            if let Some(vrf) = self.ip_vrfs[at as usize].as_deref_mut() {
                if vrf.import_rt != import_rt {
                    self.imports.remove(vrf.slot, vni, &vrf.import_rt);
                    self.imports.add(vrf.slot, vni, &import_rt);
                    vrf.import_rt = import_rt;
                    needs_replay = true;
                }
                if vrf.rd != rd {
                    vrf.rd = rd;
                    vrf.sync_all(&self.node, &mut self.out);
                }
            }
        }
        self.rest_if_idle();
        Configured { needs_replay }
    }

    /// With nothing to import into no route is looked at: all come again when there is a VNI or VRF.
    pub(super) fn rest_if_idle(&mut self) {
        if self.is_idle() {
            self.imports = Imports::default();
            self.dests = Dests::default();
            self.endpoints = Endpoints::default();
            self.segments = Map::default();
            self.vrfs = Vec::new();
            self.ip_vrfs = Vec::new();
        }
    }

    /// A VNI that no section speaks of.
    pub(super) fn without_section(&self, vni: Vni) -> MacVrfConfig {
        MacVrfConfig { port: self.node.vxlan_port, ..MacVrfConfig::new(vni) }
    }

    // ---- VNIs ----

    /// Makes a VNI; its slot.
    pub(super) fn add_vni(&mut self, config: MacVrfConfig, rd: Rd) -> u32 {
        let slot = free_place(&mut self.vrfs, self.by_vni.len());
        self.by_vni.insert(config.vni, slot as u32);
        self.imports.add(slot as u32, config.vni, &config.import_rt);
        let export = self.export_of(&config.export_rt, config.vni);
        let communities = originate::communities(&export);
        if let Some(vni) = self.l2vni(&config) {
            self.out.change(Change::PutVni(vni));
        }
        self.vrfs[slot] = Some(Box::new(MacVrf::new(slot as u32, config, rd, export, communities)));
        slot as u32
    }

    /// What routes of ours carry; the automatic target where nothing is said.
    pub(super) fn export_of(&self, configured: &[RouteTarget], vni: Vni) -> Vec<RouteTarget> {
        if configured.is_empty() { vec![auto_export(self.node.asn, vni)] } else { configured.to_vec() }
    }

    fn l2vni(&self, config: &MacVrfConfig) -> Option<L2Vni> {
        Some(L2Vni {
            vni: config.vni,
            vtep: self.node.vtep?,
            port: config.port,
            interfaces: config.interfaces.clone(),
            arp_suppression: config.arp_suppression,
            vlan: config.vlan,
        })
    }

    /// True if it takes other routes than before.
    fn change_vni(&mut self, slot: u32, config: MacVrfConfig, rd: Rd, now: Time) -> bool {
        let Some(old) = self.vrfs[slot as usize].as_deref() else { return false };
        let export = self.export_of(&config.export_rt, config.vni);
        if old.config == config && old.rd == rd && old.export == export {
            return false;
        }
        let new_vni = self.l2vni(&config);
        if let Some(vni) = new_vni
            && self.l2vni(&old.config).as_ref() != Some(&vni)
        {
            self.out.change(Change::PutVni(vni));
        }
        with_vrf!(self, slot, now, |vrf, cx| {
            let old = std::mem::replace(&mut vrf.config, config);
            let again = vrf.export != export;
            if again {
                vrf.communities = originate::communities(&export);
                vrf.export = export;
            }
            if vrf.rd == rd && again {
                vrf.announce_all_again(&mut cx);
            }
            vrf.rd = rd;
            vrf.sync_all(&mut cx);
            if old.flood != vrf.config.flood {
                vrf.choose_floods(&mut cx);
            }
            let retarget = old.import_rt != vrf.config.import_rt;
            if retarget {
                self.imports.remove(slot, vrf.vni(), &old.import_rt);
                self.imports.add(slot, vrf.vni(), &vrf.config.import_rt);
            }
            retarget
        })
        .unwrap_or(false)
    }

    pub(super) fn remove_vni(&mut self, vni: Vni, last: &mut Vec<Change>, now: Time) {
        let Some(slot) = self.by_vni.remove(&vni) else { return };
        with_vrf!(self, slot, now, |vrf, cx| {
            vrf.withdraw_all(&mut cx);
            vrf.release(cx.endpoints);
            self.imports.remove(slot, vni, &vrf.config.import_rt);
        });
        self.vrfs[slot as usize] = None;
        self.thaw.retain(|(_, s, _)| *s != slot);
        if self.node.vtep.is_some() {
            last.push(Change::DelVni(vni));
        }
    }

    // ---- VRFs ----

    fn add_vrf(&mut self, vni: Vni, rd: Rd, import_rt: Vec<ImportRt>) {
        let at = free_place(&mut self.ip_vrfs, self.by_vrf.len());
        self.by_vrf.insert(vni, at as u32);
        self.imports.add(FIRST_VRF + at as u32, vni, &import_rt);
        let vrf = IpVrf::new(FIRST_VRF + at as u32, vni, rd, import_rt);
        if self.node.vtep.is_some() {
            self.out.change(Change::PutVrf(vrf.vrf(&self.node)));
        }
        self.ip_vrfs[at] = Some(Box::new(vrf));
    }

    fn remove_vrf(&mut self, vni: Vni, last: &mut Vec<Change>) {
        let Some(at) = self.by_vrf.remove(&vni) else { return };
        if let Some(mut vrf) = self.ip_vrfs[at as usize].take() {
            vrf.withdraw_all(&mut self.out);
            self.imports.remove(vrf.slot, vni, &vrf.import_rt);
        }
        if self.node.vtep.is_some() {
            last.push(Change::DelVrf(vni));
        }
    }
}

/// What is imported; the automatic targets where nothing is said.
fn import(configured: &[ImportRt]) -> impl Iterator<Item = ImportRt> + '_ {
    let auto = if configured.is_empty() { Some(ImportRt::Auto) } else { None };
    configured.iter().copied().chain(auto)
}

/// The index of an empty place in a list of which `used` places are not.
fn free_place<T>(places: &mut Vec<Option<T>>, used: usize) -> usize {
    if used == places.len() {
        places.push(None);
        return used;
    }
    places.iter().position(Option::is_none).unwrap_or(used)
}
