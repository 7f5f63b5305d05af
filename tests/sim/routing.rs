//! What a dataplane that routes does with clients of VRFs and with prefixes; clients of L2 VNIs are the reconciler's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dataplane::intent::{Change, Client, ClientState, Hop, Local, Port, Service, Vrf};
use evpnd::core::Core;
use evpnd::evpn::{ClientConfig, ManualRoute};
use ipnet::IpNet;
use types::Vni;

use super::net::Net;

/// VRFs, their clients and prefixes, as a dataplane has them that does all it is told.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    ports: BTreeSet<Box<str>>,
    clients: BTreeMap<Arc<str>, Client>,
    told: BTreeMap<Arc<str>, bool>,
    pub(crate) vrfs: BTreeMap<Vni, Vrf>,
    pub(crate) prefixes: BTreeMap<(Vni, IpNet), Vec<Hop>>,
    /// What stands since before a restart and was not wanted again yet.
    stale: BTreeSet<(Vni, IpNet)>,
    stale_vrfs: BTreeSet<Vni>,
    /// How often a prefix was to be dropped.
    pub(crate) drops: usize,
}

impl Routing {
    /// The process that drives it is another: it says everything again, and what stands stays.
    pub(crate) fn restart(&mut self) {
        self.clients.clear();
        self.told.clear();
        self.stale = self.prefixes.keys().copied().collect();
        self.stale_vrfs = self.vrfs.keys().copied().collect();
    }

    /// A port comes or goes.
    pub(crate) fn port(&mut self, name: &str, there: bool) {
        if there {
            self.ports.insert(name.into());
        } else {
            self.ports.remove(name);
        }
    }

    pub(crate) fn has_port(&self, port: &Port) -> bool {
        matches!(port, Port::Name(name) if self.ports.contains(name))
    }

    /// Takes a change in; what is left of it is the reconciler's.
    pub(crate) fn change(&mut self, change: Change) -> Option<Change> {
        match change {
            Change::PutClient(client) => {
                let was_here = self.clients.remove(&client.name).is_some();
                if matches!(client.service, Service::L2 { .. }) {
                    if was_here {
                        self.told.remove(&client.name);
                    }
                    return Some(Change::PutClient(client));
                }
                let name = client.name.clone();
                self.clients.insert(name.clone(), client);
                // It may have been one of the reconciler's.
                return (!was_here).then_some(Change::DelClient(name));
            }
            Change::DelClient(ref name) if self.clients.remove(name).is_some() => {
                self.told.remove(name);
            }
            Change::PutVrf(vrf) => {
                self.stale_vrfs.remove(&vrf.vni);
                self.vrfs.insert(vrf.vni, vrf);
            }
            Change::DelVrf(vni) => {
                assert!(self.vrfs.remove(&vni).is_some(), "VRF {vni} is not there");
                self.prefixes.retain(|(v, _), _| *v != vni);
            }
            Change::PutPrefix(vni, prefix, hops) => {
                assert!(self.vrfs.contains_key(&vni), "VRF {vni} is not there, and is to have {prefix}");
                for hop in &hops {
                    if let Hop::Client(name) = hop {
                        assert!(self.clients.contains_key(name), "{prefix} goes to {name}, who is not there");
                    }
                }
                self.stale.remove(&(vni, prefix));
                self.drops += usize::from(hops.is_empty());
                self.prefixes.insert((vni, prefix), hops);
            }
            Change::DelPrefix(vni, prefix) => {
                self.stale.remove(&(vni, prefix));
                assert!(self.prefixes.remove(&(vni, prefix)).is_some(), "{prefix} of {vni} is not there");
            }
            Change::Settled => {
                for key in std::mem::take(&mut self.stale) {
                    self.prefixes.remove(&key);
                }
                for vni in std::mem::take(&mut self.stale_vrfs) {
                    self.vrfs.remove(&vni);
                }
                return Some(Change::Settled);
            }
            other => return Some(other),
        }
        None
    }

    /// What is news of clients.
    pub(crate) fn say(&mut self) -> Vec<Local> {
        let mut said = Vec::new();
        for (name, client) in &self.clients {
            let Port::Name(port) = &client.port else { unreachable!("ports have names here") };
            let up = self.ports.contains(port);
            if self.told.insert(name.clone(), up) == Some(up) {
                continue;
            }
            let state = if up {
                ClientState::Up { interface: Arc::from(&**port) }
            } else {
                ClientState::Down { reason: format!("there is no port {port} yet") }
            };
            said.push(Local::Client { name: name.clone(), state });
        }
        said
    }
}

impl Net {
    /// A node has files of these clients from now on.
    pub(crate) fn set_clients(&mut self, n: usize, clients: Vec<ClientConfig>) {
        let mut out = Vec::new();
        let node = &mut self.nodes[n];
        node.clients.clone_from(&clients);
        if let Some(core) = &mut node.core {
            core.set_clients(clients, self.now, &mut out);
        }
        self.perform(n, out);
        self.settle(n);
    }

    /// A port that clients can be behind comes or goes.
    pub(crate) fn port(&mut self, n: usize, name: &str, there: bool) {
        self.nodes[n].routing.port(name, there);
        if there {
            self.memory(n).add_interface(name);
        } else {
            self.memory(n).remove_interface(name);
        }
        self.settle(n);
    }

    /// The core of a node that is up, to ask it things.
    pub(crate) fn core(&self, n: usize) -> &Core {
        self.nodes[n].core.as_ref().expect("the node is up")
    }

    /// Announces a route made by hand.
    pub(crate) fn add_route(&mut self, n: usize, route: &ManualRoute) {
        let mut out = Vec::new();
        let core = self.nodes[n].core.as_mut().expect("the node is up");
        core.add_route(route, self.now, &mut out).expect("a good route");
        self.perform(n, out);
        self.settle(n);
    }
}
