//! What must be true of every dataplane once things are quiet, said without looking at how evpnd comes to it.
//!
//! Of two nodes that can reach each other through the controller: each floods to the other's VTEP in every VNI both
//! have, and a MAC that one has on a local port the other has behind the one's VTEP. Nobody has anything else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dataplane::rows::{Key, Row};
use types::{MacAddr, Vni};

use super::net::{Net, address};

/// What a dataplane holds of others: flood rows and MAC rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) flood: BTreeSet<(Vni, IpAddr)>,
    pub(crate) macs: BTreeMap<(Vni, MacAddr), IpAddr>,
}

/// What a node's dataplane holds.
pub(crate) fn table(net: &Net, n: usize) -> Table {
    let rows = net.plane(n).backend().rows();
    let mut table = Table::default();
    let mut keys = Vec::new();
    for vni in rows.vnis() {
        rows.keys(vni, &mut keys);
    }
    for key in keys {
        match (key, rows.get(&key)) {
            (Key::Flood(vni, vtep), Some(_)) => {
                table.flood.insert((vni, vtep));
            }
            (Key::Mac(vni, mac), Some(Row::Mac(_, _, Some(remote)))) => {
                table.macs.insert((vni, mac), remote.vtep);
            }
            _ => {}
        }
    }
    table
}

/// Which MACs a node's bridge has on local ports.
pub(crate) fn locals(net: &Net, n: usize) -> BTreeSet<(Vni, MacAddr)> {
    let vnis = net.nodes[n].config.mac_vrfs.iter().map(|v| v.vni);
    let memory = net.plane(n).backend();
    vnis.flat_map(|vni| memory.locals(vni).map(move |(mac, _)| (vni, mac))).collect()
}

/// Checks the whole network; `Err` says what is wrong where.
pub(crate) fn check(net: &Net, controllers: &[usize]) -> Result<(), String> {
    let hosts: Vec<usize> =
        (0..net.nodes.len()).filter(|n| !controllers.contains(n) && net.is_up(*n)).collect();
    let owners = owners(net, &hosts)?;
    for &n in &hosts {
        let vnis: BTreeSet<Vni> = net.nodes[n].config.mac_vrfs.iter().map(|v| v.vni).collect();
        let mut want = Table::default();
        for &other in hosts.iter().filter(|&&o| o != n) {
            for vrf in net.nodes[other].config.mac_vrfs.iter().filter(|v| vnis.contains(&v.vni)) {
                want.flood.insert((vrf.vni, address(other)));
            }
        }
        for (&(vni, mac), &owner) in &owners {
            if owner != n && vnis.contains(&vni) {
                want.macs.insert((vni, mac), address(owner));
            }
        }
        let have = table(net, n);
        if have != want {
            return Err(format!("node {n}: {}", difference(&want, &have)));
        }
        if !net.plane(n).status().in_sync {
            return Err(format!("node {n} is not in sync: {:?}", net.plane(n).status()));
        }
    }
    Ok(())
}

/// Who has each MAC on a local port: nobody twice.
fn owners(net: &Net, hosts: &[usize]) -> Result<BTreeMap<(Vni, MacAddr), usize>, String> {
    let mut owners = BTreeMap::new();
    for &n in hosts {
        for key in locals(net, n) {
            if let Some(other) = owners.insert(key, n) {
                return Err(format!("{} in VNI {} is local on both node {other} and node {n}", key.1, key.0));
            }
        }
    }
    Ok(owners)
}

fn difference(want: &Table, have: &Table) -> String {
    let mut lines = Vec::new();
    for f in want.flood.difference(&have.flood) {
        lines.push(format!("flood {f:?} is missing"));
    }
    for f in have.flood.difference(&want.flood) {
        lines.push(format!("flood {f:?} is too much"));
    }
    for (key, vtep) in &want.macs {
        if have.macs.get(key) != Some(vtep) {
            lines.push(format!("MAC {key:?} should be at {vtep}, is at {:?}", have.macs.get(key)));
        }
    }
    for (key, vtep) in &have.macs {
        if !want.macs.contains_key(key) {
            lines.push(format!("MAC {key:?} at {vtep} is too much"));
        }
    }
    lines.truncate(12);
    lines.join("; ")
}
