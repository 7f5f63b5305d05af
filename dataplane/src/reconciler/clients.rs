//! Clients on a backend of bridges: each is a port of its VNI's bridge.
//!
//! A VNI's row has the ports of its clients beside those it was put with, as far as they are there: a port that is yet to
//! come is what a client waits for, not a failure. What a bridge cannot do (routing between ports, telling VLANs apart) the
//! client is told; checking what a client sends is not done here either.

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
    /// VNIs as they were put, without ports of clients.
    sections: BTreeMap<Vni, L2Vni>,
    /// The ports that clients add to each VNI.
    ports: BTreeMap<Vni, BTreeSet<Box<str>>>,
    /// What was said of each.
    told: BTreeMap<Arc<str>, ClientState>,
    /// To be looked at.
    dirty: BTreeSet<Arc<str>>,
    /// All are.
    all_dirty: bool,
}

impl Clients {
    pub(super) fn busy(&self) -> bool {
        self.all_dirty || !self.dirty.is_empty()
    }

    /// Look at all of them.
    pub(super) const fn look_at_all(&mut self) {
        self.all_dirty = true;
    }

    /// Look at those of these VNIs.
    pub(super) fn look_at_vnis(&mut self, vnis: &BTreeSet<Vni>) {
        let of = |client: &Client| client.vni().is_some_and(|vni| vnis.contains(&vni));
        let names = self.all.iter().filter(|(_, client)| of(client)).map(|(name, _)| name.clone());
        self.dirty.extend(names);
    }

    /// Look at those at a port.
    pub(super) fn look_at_port(&mut self, interface: &str) {
        let at = |client: &Client| matches!(&client.port, Port::Name(name) if **name == *interface);
        let names = self.all.iter().filter(|(_, client)| at(client)).map(|(name, _)| name.clone());
        self.dirty.extend(names);
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
                self.clients.sections.insert(l2.vni, l2.clone());
                self.clients.look_at_all();
                return Some(Change::PutVni(self.with_clients(l2)));
            }
            Change::DelVni(vni) => {
                self.clients.sections.remove(vni);
                self.clients.look_at_all();
            }
            Change::PutClient(client) => {
                let old = self.clients.all.insert(client.name.clone(), client.clone());
                if let Some(old) = old.filter(|old| old.port != client.port || old.vni() != client.vni()) {
                    self.left(&old);
                }
                self.clients.dirty.insert(client.name.clone());
            }
            Change::DelClient(name) => {
                self.clients.told.remove(name);
                self.clients.dirty.remove(name);
                if let Some(old) = self.clients.all.remove(name) {
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
        if self.clients.all.is_empty() {
            return;
        }
        let has = |client: &&Client| client.mac == mac && client.vni() == Some(vni);
        if let Some(client) = self.clients.all.values().find(has) {
            self.clients.told.remove(&client.name);
            self.clients.dirty.insert(client.name.clone());
        }
    }

    /// A client is at this place no more.
    fn left(&mut self, old: &Client) {
        let Need::Port(vni, port) = old.need() else { return };
        self.backend.forget_port(&port);
        // Another one may have been waiting for it.
        self.clients.look_at_port(&port);
        self.set_port(vni, &port, false);
    }

    /// Makes a port one that clients add to a VNI, or not.
    fn set_port(&mut self, vni: Vni, port: &str, there: bool) {
        let ports = self.clients.ports.entry(vni).or_default();
        let changed = if there { ports.insert(port.into()) } else { ports.remove(port) };
        if ports.is_empty() {
            self.clients.ports.remove(&vni);
        }
        let Some(l2) = self.clients.sections.get(&vni).filter(|_| changed) else { return };
        let put = Change::PutVni(self.with_clients(l2));
        self.intent.apply(&put);
        self.dirty_vnis.insert(vni);
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
        let named = |l2: &&L2Vni| l2.interfaces.iter().any(|interface| **interface == *port);
        let section = self.clients.sections.values().find(named).map(|l2| l2.vni);
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
        self.set_port(vni, &port, there);
        state
    }
}

const fn down(reason: String) -> ClientState {
    ClientState::Down { reason }
}

#[cfg(test)]
mod tests;
