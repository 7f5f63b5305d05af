//! What must be true of every dataplane once things are quiet, said without looking at how evpnd comes to it.
//!
//! Of two nodes that can reach each other: each floods to the other's VTEP in every broadcast domain both have, in the
//! VNI the other uses for it; a MAC that one has on a local port the other has behind the one's VTEP, static if it is;
//! and an address the one has found for that MAC, the other knows too. Nobody has anything else, no MAC is local
//! twice, and what others put into a dataplane is untouched: a row of somebody else is where ours would be.
//!
//! A client whose port is there is as good as a MAC on a local port, with the addresses of its file. A prefix goes to the
//! clients here that have it, else to all nodes with clients that have it, else nowhere if it is of a client here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

use dataplane::intent::{Client, Hop, Service};
use dataplane::rows::Row;
use ipnet::IpNet;
use types::{MacAddr, Vni};

use super::clients::remote;
use super::net::{Net, address};

/// Where a MAC is: the VTEP, the VNI on the wire, and whether it must stay.
pub(crate) type Place = (IpAddr, Vni, bool);

/// What a dataplane holds of others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// The VTEPs flooded to, with the VNI on the wire.
    pub(crate) flood: BTreeMap<(Vni, IpAddr), Vni>,
    /// Remote MACs; `None`: half a row, left where the bridge learned the MAC.
    pub(crate) macs: BTreeMap<(Vni, MacAddr), Option<Place>>,
    /// Remote neighbours.
    pub(crate) neighbours: BTreeMap<(Vni, IpAddr), MacAddr>,
}

/// What a node's dataplane holds.
pub(crate) fn table(net: &Net, n: usize) -> Table {
    let rows = net.plane(n).backend().rows();
    let mut table = Table::default();
    let mut keys = Vec::new();
    for vni in rows.vnis() {
        rows.keys(vni, &mut keys);
    }
    for row in keys.iter().filter_map(|key| rows.get(key)) {
        match row {
            Row::Vni(_) => {}
            Row::Flood(vni, vtep, flood) => {
                table.flood.insert((vni, vtep), flood.vni);
            }
            Row::Mac(vni, mac, remote) => {
                table.macs.insert((vni, mac), remote.map(|r| (r.vtep, r.vni, r.sticky)));
            }
            Row::Neighbour(vni, ip, neighbour) => {
                table.neighbours.insert((vni, ip), neighbour.mac);
            }
        }
    }
    table
}

/// VNIs of one broadcast domain are told apart by thousands.
pub(crate) const fn domain(vni: Vni) -> u32 {
    vni.get() % 1000
}

/// The L2 VNIs of a node: of its configuration, and of its clients.
fn vnis(net: &Net, n: usize) -> BTreeSet<Vni> {
    let sections = net.nodes[n].config.mac_vrfs.iter().map(|v| v.vni);
    let clients = net.nodes[n].clients.iter().filter_map(|c| match c.client.service {
        Service::L2 { vni, .. } => Some(vni),
        Service::L3 { .. } => None,
    });
    sections.chain(clients).collect()
}

/// The clients of a node whose ports are there.
fn clients_up(net: &Net, n: usize) -> impl Iterator<Item = &Client> {
    let node = &net.nodes[n];
    node.clients.iter().map(|c| &c.client).filter(|c| node.routing.has_port(&c.port))
}

/// Prefixes, and the clients that have each.
type Owners = BTreeMap<IpNet, BTreeSet<Arc<str>>>;

/// The VNI of the VRF of a node, and the prefixes of its clients.
fn prefixes<'a>(clients: impl Iterator<Item = &'a Client>) -> Option<(Vni, Owners)> {
    let (mut of, mut all) = (None, Owners::new());
    for client in clients {
        if let Service::L3 { vrf, prefixes } = &client.service {
            of = Some(*vrf);
            for prefix in prefixes {
                all.entry(*prefix).or_default().insert(client.name.clone());
            }
        }
    }
    Some((of?, all))
}

/// What the VRF of a node should hold.
fn routed(net: &Net, n: usize, hosts: &[usize]) -> BTreeMap<(Vni, IpNet), Vec<Hop>> {
    let mut want = BTreeMap::new();
    let Some((vrf, own)) = prefixes(net.nodes[n].clients.iter().map(|c| &c.client)) else { return want };
    want.extend(own.into_keys().map(|prefix| ((vrf, prefix), Vec::new())));
    for &other in hosts.iter().filter(|&&o| o != n) {
        let Some((theirs, all)) = prefixes(clients_up(net, other)) else { continue };
        for prefix in all.into_keys() {
            want.entry((vrf, prefix)).or_default().push(remote(other, theirs.get()));
        }
    }
    for (prefix, clients) in prefixes(clients_up(net, n)).map(|(_, all)| all).unwrap_or_default() {
        want.insert((vrf, prefix), clients.into_iter().map(Hop::Client).collect());
    }
    for hops in want.values_mut() {
        hops.sort_unstable();
    }
    want
}

/// Which MACs a node's bridge has on local ports.
pub(crate) fn locals(net: &Net, n: usize) -> BTreeSet<(Vni, MacAddr)> {
    let memory = net.plane(n).backend();
    vnis(net, n).into_iter().flat_map(|v| memory.locals(v).map(move |(mac, _)| (v, mac))).collect()
}

/// Checks the whole network; `Err` says what is wrong where.
pub(crate) fn check(net: &Net, controllers: &[usize]) -> Result<(), String> {
    let hosts: Vec<usize> =
        (0..net.nodes.len()).filter(|n| !controllers.contains(n) && net.is_up(*n)).collect();
    let owners = owners(net, &hosts)?;
    for &n in &hosts {
        let plane = net.plane(n);
        let mut want = wanted(net, n, &hosts, &owners);
        // Where a row of somebody else is in the way, ours is not; and evpnd says so.
        let all = want.macs.len();
        want.macs.retain(|key, _| !plane.backend().foreign().contains(key));
        let in_the_way = all - want.macs.len();
        let have = table(net, n);
        if have != want {
            return Err(format!("node {n}: {}", difference(&want, &have)));
        }
        let (want, have) = (routed(net, n, &hosts), &net.nodes[n].routing.prefixes);
        let mut lines = Vec::new();
        compare("prefix", &want, have, &mut lines);
        if !lines.is_empty() {
            return Err(format!("node {n}: {}", lines.join("; ")));
        }
        let status = plane.status();
        if status.failing != in_the_way || status.in_sync != (in_the_way == 0) {
            return Err(format!("node {n}: {in_the_way} rows are in the way, and yet: {status:?}"));
        }
        if plane.backend().trespasses() > 0 {
            return Err(format!("node {n} wrote over what is not evpnd's"));
        }
    }
    Ok(())
}

fn wanted(net: &Net, n: usize, hosts: &[usize], owners: &BTreeMap<(u32, MacAddr), usize>) -> Table {
    let mut want = Table::default();
    for ours in vnis(net, n) {
        for &other in hosts.iter().filter(|&&o| o != n) {
            let memory = net.plane(other).backend();
            for theirs in vnis(net, other).into_iter().filter(|v| domain(*v) == domain(ours)) {
                want.flood.insert((ours, address(other)), theirs);
                let owns = |mac| owners.get(&(domain(ours), mac)) == Some(&other);
                for (mac, sticky) in memory.local_macs(theirs) {
                    if owns(mac) {
                        want.macs.insert((ours, mac), Some((address(other), theirs, sticky)));
                    }
                }
                for client in clients_up(net, other) {
                    if let Service::L2 { vni, ips } = &client.service
                        && *vni == theirs
                    {
                        want.macs.insert((ours, client.mac), Some((address(other), theirs, false)));
                        want.neighbours.extend(ips.iter().map(|ip| ((ours, *ip), client.mac)));
                    }
                }
                for (ip, mac) in memory.neighbours(theirs).filter(|(_, mac)| owns(*mac)) {
                    want.neighbours.insert((ours, ip), mac);
                }
            }
        }
    }
    want
}

/// Who has each MAC on a local port: nobody twice.
fn owners(net: &Net, hosts: &[usize]) -> Result<BTreeMap<(u32, MacAddr), usize>, String> {
    let mut owners = BTreeMap::new();
    for &n in hosts {
        for (vni, mac) in locals(net, n) {
            if let Some(other) = owners.insert((domain(vni), mac), n) {
                return Err(format!("{mac} in VNI {vni} is local on both node {other} and node {n}"));
            }
        }
    }
    Ok(owners)
}

fn difference(want: &Table, have: &Table) -> String {
    let mut lines = Vec::new();
    compare("flood", &want.flood, &have.flood, &mut lines);
    compare("MAC", &want.macs, &have.macs, &mut lines);
    compare("neighbour", &want.neighbours, &have.neighbours, &mut lines);
    lines.truncate(12);
    lines.join("; ")
}

fn compare<K: Ord + Debug, V: PartialEq + Debug>(
    what: &str,
    want: &BTreeMap<K, V>,
    have: &BTreeMap<K, V>,
    lines: &mut Vec<String>,
) {
    for key in want.keys().chain(have.keys().filter(|key| !want.contains_key(key))) {
        let (want, have) = (want.get(key), have.get(key));
        if want != have {
            lines.push(format!("{what} {key:?} should be {want:?}, is {have:?}"));
        }
    }
}
