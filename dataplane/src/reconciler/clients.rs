//! Clients on a backend of bridges: each is a port of its VNI's bridge.
//!
//! A VNI's row has the ports of its clients beside those it was put with, as far as they are there: a port that is yet to
//! come is what a client waits for, not a failure. What a bridge cannot do (routing between ports, telling VLANs apart) the
//! client is told; checking what a client sends is not done here either.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use types::{MacAddr, Vni};

use super::{Output, Reconciler};
use crate::backend::{Backend, PortPlace};
use crate::intent::{Change, Client, ClientState, L2Vni, Local, Port, Service};

/// All clients, and what there is to do about them.
#[derive(Debug, Default)]
pub(super) struct Clients {
    all: BTreeMap<Arc<str>, Client>,
    /// Their names, by what they are in and what they are at.
    in_vni: BTreeMap<Vni, BTreeSet<Arc<str>>>,
    at_port: BTreeMap<Box<str>, BTreeSet<Arc<str>>>,
    /// VNIs as they were put, without ports of clients; which of them name an interface.
    sections: BTreeMap<Vni, L2Vni>,
    naming: BTreeMap<String, BTreeSet<Vni>>,
    /// The ports that clients add to each VNI; VNIs for which these have changed.
    ports: BTreeMap<Vni, BTreeSet<Box<str>>>,
    changed: BTreeSet<Vni>,
    /// What was said of each.
    told: BTreeMap<Arc<str>, ClientState>,
    /// To be looked at.
    dirty: BTreeSet<Arc<str>>,
    /// All are.
    all_dirty: bool,
}

impl Clients {
    pub(super) fn busy(&self) -> bool {
        self.all_dirty || !self.dirty.is_empty() || !self.changed.is_empty()
    }

    /// Look at all of them.
    pub(super) const fn look_at_all(&mut self) {
        self.all_dirty = true;
    }

    /// Look at those of a VNI.
    pub(super) fn look_at_vni(&mut self, vni: Vni) {
        self.dirty.extend(self.in_vni.get(&vni).into_iter().flatten().cloned());
    }

    /// Look at those at a port.
    pub(super) fn look_at_port(&mut self, interface: &str) {
        self.dirty.extend(self.at_port.get(interface).into_iter().flatten().cloned());
    }

    /// A client comes; the one that had its name is returned.
    fn insert(&mut self, client: &Client) -> Option<Client> {
        let old = self.remove(&client.name);
        let name = || client.name.clone();
        if let Some(vni) = client.vni() {
            self.in_vni.entry(vni).or_default().insert(name());
        }
        if let Port::Name(port) = &client.port {
            self.at_port.entry(port.clone()).or_default().insert(name());
        }
        self.all.insert(name(), client.clone());
        old
    }

    fn remove(&mut self, name: &str) -> Option<Client> {
        let old = self.all.remove(name)?;
        if let Some(vni) = old.vni() {
            drop_from(&mut self.in_vni, &vni, name);
        }
        if let Port::Name(port) = &old.port {
            drop_from(&mut self.at_port, port, name);
        }
        Some(old)
    }

    /// A VNI was put like so, or is gone: whoever is in it, or at a port that it names or named, is to be looked at.
    fn set_section(&mut self, vni: Vni, section: Option<&L2Vni>) {
        self.look_at_vni(vni);
        let old = match section {
            Some(l2) => self.sections.insert(vni, l2.clone()),
            None => self.sections.remove(&vni),
        };
        for interface in old.iter().flat_map(|l2| &l2.interfaces) {
            drop_from(&mut self.naming, interface, &vni);
            self.look_at_port(interface);
        }
        for interface in section.iter().flat_map(|l2| &l2.interfaces) {
            self.naming.entry(interface.clone()).or_default().insert(vni);
            self.look_at_port(interface);
        }
    }

    /// Makes a port one that clients add to a VNI, or not.
    fn set_port(&mut self, vni: Vni, port: &str, there: bool) {
        let changed = if there {
            self.ports.entry(vni).or_default().insert(port.into())
        } else {
            let before = self.ports.get(&vni).is_some_and(|ports| ports.contains(port));
            drop_from(&mut self.ports, &vni, port);
            before
        };
        if changed {
            self.changed.insert(vni);
        }
    }
}

/// Takes something out of the set at a key; empty sets are not kept.
fn drop_from<K, Q, V, W>(sets: &mut BTreeMap<K, BTreeSet<V>>, key: &Q, value: &W)
where
    K: Borrow<Q> + Ord,
    Q: Ord + ?Sized,
    V: Borrow<W> + Ord,
    W: Ord + ?Sized,
{
    if let Some(set) = sets.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

/// What a client needs of a backend of bridges.
enum Need {
    /// A port of this VNI's bridge.
    Port(Vni, Box<str>),
    /// What is not to be had here, and what helps.
    Other(String),
}

impl Client {
    /// The VNI of an l2 client.
    const fn vni(&self) -> Option<Vni> {
        match self.service {
            Service::L2 { vni, .. } => Some(vni),
            Service::L3 { .. } => None,
        }
    }

    fn need(&self) -> Need {
        let other = |text: &str| Need::Other(text.to_owned());
        match (&self.service, &self.port, self.vlan) {
            (Service::L3 { .. }, ..) => other("an l3 client needs backend = \"ovs\""),
            (_, Port::Number(_), _) => {
                other("an ofport needs backend = \"ovs\"; here a port is named by \"interface\"")
            }
            (_, Port::Name(name), Some(tag)) => Need::Other(format!(
                "a client of type \"vlan\" needs backend = \"ovs\"; here make a VLAN interface and say \"interface\": \
                 \"{name}.{tag}\", \"type\": \"flat\""
            )),
            (Service::L2 { vni, .. }, Port::Name(name), None) => Need::Port(*vni, name.clone()),
        }
    }
}

impl<B: Backend> Reconciler<B> {
    /// Takes in what concerns clients. What is to be applied to the intent in its place is returned.
    pub(super) fn client_change(&mut self, change: &Change) -> Option<Change> {
        match change {
            Change::PutVni(l2) => {
                self.clients.set_section(l2.vni, Some(l2));
                return Some(Change::PutVni(self.with_clients(l2)));
            }
            Change::DelVni(vni) => self.clients.set_section(*vni, None),
            Change::PutClient(client) => {
                let old = self.clients.insert(client);
                if let Some(old) = old.filter(|old| old.port != client.port || old.vni() != client.vni()) {
                    self.left(&old);
                }
                self.clients.dirty.insert(client.name.clone());
            }
            Change::DelClient(name) => {
                self.clients.told.remove(name);
                self.clients.dirty.remove(name);
                if let Some(old) = self.clients.remove(name) {
                    self.left(&old);
                }
            }
            Change::DelMac(vni, mac) => self.claim_again(*vni, *mac),
            _ => {}
        }
        None
    }

    /// A client whose MAC was remote and is so no longer is told of again.
    fn claim_again(&mut self, vni: Vni, mac: MacAddr) {
        let Some(names) = self.clients.in_vni.get(&vni) else { return };
        let has = |name: &&Arc<str>| self.clients.all.get(*name).is_some_and(|client| client.mac == mac);
        if let Some(name) = names.iter().find(has).cloned() {
            self.clients.told.remove(&name);
            self.clients.dirty.insert(name);
        }
    }

    /// A client is at this place no more.
    fn left(&mut self, old: &Client) {
        let Need::Port(vni, port) = old.need() else { return };
        self.backend.forget_port(&port);
        // Another one may have been waiting for it.
        self.clients.look_at_port(&port);
        self.clients.set_port(vni, &port, false);
    }

    /// A VNI with the ports of its clients.
    fn with_clients(&self, l2: &L2Vni) -> L2Vni {
        let mut l2 = l2.clone();
        for port in self.clients.ports.get(&l2.vni).into_iter().flatten() {
            if !l2.interfaces.iter().any(|interface| **interface == **port) {
                l2.interfaces.push(port.to_string());
            }
        }
        l2
    }

    /// Looks at the clients that are to be looked at, and says how they are.
    pub(super) fn look_at_clients(&mut self, out: &mut Vec<Output>) {
        if std::mem::take(&mut self.clients.all_dirty) {
            self.clients.dirty = self.clients.all.keys().cloned().collect();
        }
        for name in std::mem::take(&mut self.clients.dirty) {
            let Some(client) = self.clients.all.get(&name) else { continue };
            let Some(state) = self.client_state(client.need()) else { continue };
            if self.clients.told.get(&name) != Some(&state) {
                self.clients.told.insert(name.clone(), state.clone());
                out.push(Output::Local(Local::Client { name, state }));
            }
        }
        for vni in std::mem::take(&mut self.clients.changed) {
            if let Some(l2) = self.clients.sections.get(&vni) {
                let put = Change::PutVni(self.with_clients(l2));
                self.intent.apply(&put);
                self.dirty_vnis.insert(vni);
            }
        }
    }

    /// Looks at all clients, and says how they would be: a port that can be attached will be.
    pub(super) fn look_at_clients_dry(&mut self, out: &mut Vec<Output>) {
        self.clients.look_at_all();
        self.look_at_clients(out);
        let untold = self.clients.all.iter().filter(|(name, _)| !self.clients.told.contains_key(*name));
        out.extend(untold.map(|(name, client)| {
            let interface = Arc::from(client.port.to_string());
            Output::Local(Local::Client { name: name.clone(), state: ClientState::Up { interface } })
        }));
    }

    /// How a client with this need is; `None`: that is seen once its port is attached.
    fn client_state(&mut self, need: Need) -> Option<ClientState> {
        let (vni, port) = match need {
            Need::Port(vni, port) => (vni, port),
            Need::Other(reason) => return Some(ClientState::Down { reason }),
        };
        let section = self.clients.naming.get(&*port).and_then(BTreeSet::first).copied();
        let place = match section {
            Some(other) if other != vni => Err(format!("{port} is among the interfaces of VNI {other}")),
            _ if !self.clients.sections.contains_key(&vni) => Err(format!("VNI {vni} is not there yet")),
            _ => self.backend.port(vni, &port).map_err(|error| error.to_string()),
        };
        let (there, state) = match place {
            Ok(PortPlace::Attached) => (true, Some(ClientState::Up { interface: Arc::from(&*port) })),
            Ok(PortPlace::Free) => (true, None),
            Ok(PortPlace::Missing) => (false, Some(down(format!("there is no interface {port} yet")))),
            Ok(PortPlace::Taken(master)) => (false, Some(down(format!("{port} is a port of {master}")))),
            Ok(PortPlace::Refused(reason)) | Err(reason) => (false, Some(down(reason))),
        };
        self.clients.set_port(vni, &port, there);
        state
    }
}

const fn down(reason: String) -> ClientState {
    ClientState::Down { reason }
}

#[cfg(test)]
mod tests;
