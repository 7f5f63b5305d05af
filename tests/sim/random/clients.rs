//! Clients in the random test: files come, go and move between nodes, in any order, and ports with them.

use std::time::Duration;

use evpnd::evpn::ClientConfig;
use types::{MacAddr, Vni};

use super::{Run, ip_of};
use crate::clients::{l2, l3};
use crate::net::{mac, vni};
use crate::world::{DOMAINS, World};

/// Clients of L2 VNIs; each is at one node in the end.
const BRIDGED: u64 = 5;
/// Clients of the VRF; they may be at many nodes.
const ROUTED: u64 = 4;
/// The MACs of clients from here on.
const FIRST_MAC: u64 = 200;

/// Whether a MAC is one of a client: how often it may move is for files to say.
pub(super) fn is_client(m: MacAddr) -> bool {
    m >= mac(FIRST_MAC)
}

impl World {
    /// The VNI that node `n` has the VRF in.
    fn vrf_of(&self, n: usize) -> Vni {
        vni(if self.downstream { 5000 + 1000 * (n as u32 % 3) } else { 5000 })
    }

    /// Client number `k` as node `n` has it.
    fn client(&self, n: usize, k: u64) -> ClientConfig {
        if k < BRIDGED {
            let m = mac(FIRST_MAC + k);
            return l2(
                &format!("bridged{k}"),
                DOMAINS[k as usize % DOMAINS.len()],
                FIRST_MAC + k,
                &[ip_of(m)],
                None,
            );
        }
        let prefixes = [
            &["10.1.0.0/24", "fd00:1::/64"][..],
            &["10.1.0.0/24", "10.1.0.7/32"],
            &["0.0.0.0/0"],
            &["10.1.0.7/32"],
        ];
        let mut client = l3(&format!("routed{k}"), 0, prefixes[(k - BRIDGED) as usize], Some(5000));
        client.client.service = match client.client.service {
            dataplane::intent::Service::L3 { prefixes, .. } => {
                dataplane::intent::Service::L3 { vrf: self.vrf_of(n), prefixes }
            }
            other @ dataplane::intent::Service::L2 { .. } => other,
        };
        client
    }

    fn has(&self, n: usize, client: &ClientConfig) -> bool {
        self.net.nodes[n].clients.iter().any(|c| c.client.name == client.client.name)
    }

    fn put(&mut self, n: usize, client: &ClientConfig, there: bool) {
        let mut clients = self.net.nodes[n].clients.clone();
        clients.retain(|c| c.client.name != client.client.name);
        if there {
            clients.push(client.clone());
        }
        self.net.tell(|| format!("  node {n} has a file of {}: {there}", client.client.name));
        self.net.set_clients(n, clients);
    }
}

impl Run {
    /// One disturbance of clients.
    pub(super) fn disturb_clients(&mut self, n: usize) {
        let world = &mut self.world;
        // Where every node has VNIs of its own, a client would make a second one of the same domain.
        let first = if world.downstream { BRIDGED } else { 0 };
        let k = first + world.net.dice.next() % (BRIDGED + ROUTED - first);
        let client = world.client(n, k);
        let port = client.client.port.to_string();
        match world.net.dice.below(10) {
            0..=3 => {
                let there = !world.has(n, &client);
                world.put(n, &client, there);
            }
            4..=6 => {
                let first = world.net.dice.chance(50);
                if first {
                    world.put(n, &client, true);
                    world.net.run_for(Duration::from_millis(5));
                }
                for other in world.hosts.clone() {
                    if other != n && world.has(other, &client) {
                        world.put(other, &client, false);
                    }
                }
                if !first {
                    world.put(n, &client, true);
                }
            }
            7 => {
                world.net.tell(|| format!("  node {n} has no port {port}"));
                world.net.port(n, &port, false);
            }
            _ => {
                world.net.tell(|| format!("  node {n} has port {port}"));
                world.net.port(n, &port, true);
            }
        }
    }

    /// Leaves every client of an L2 VNI at one node: where a client is that two have is not for a model to say.
    pub(super) fn settle_clients(&mut self) {
        let hosts = self.world.hosts.clone();
        for k in 0..BRIDGED {
            let client = self.world.client(0, k);
            let mut here = hosts.iter().filter(|&&n| self.world.has(n, &client)).copied().collect::<Vec<_>>();
            let keep = self.world.net.dice.below(here.len().max(1)).min(here.len());
            if keep < here.len() {
                here.remove(keep);
            }
            for n in here {
                self.world.put(n, &client, false);
            }
        }
    }
}
