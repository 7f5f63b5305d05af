//! ARP suppression in one VNI and not in another, which share a device.

use std::net::Ipv4Addr;

use super::{Site, VNIS, config, mac, with_both};
use crate::common::{Node, PATIENCE, Result, ensure, frames, same};

/// An endpoint of host 1 says where an address is, as one does that takes over another's.
fn claim(site: &Site, v: usize, address: Ipv4Addr) -> Result<()> {
    let own = frames::mac(&mac(1, v));
    let said = frames::arp(frames::BROADCAST, own, 1, (own, address), ([0; 6], address));
    frames::inject(&site.hosts[0].ends[v - 1], &[said])
}

/// Has the endpoint of host 2 heard it?
fn heard(site: &Site, v: usize, address: Ipv4Addr) -> Result<bool> {
    let known = site.hosts[1].ends[v - 1].run(&["ip", "neigh", "show", &address.to_string()])?;
    Ok(known.contains(&mac(1, v)))
}

/// What the dataplane of a host cannot do; it has nothing left to do.
fn limits(node: &Node) -> Result<String> {
    let dataplane = node.show("dataplane")?;
    ensure(dataplane["in_sync"] == true && dataplane["failed"] == 0, || dataplane.to_string())?;
    Ok(dataplane["limits"].to_string())
}

#[test]
fn a_vni_without_arp_suppression_hears_whoever_takes_an_address_over() -> Result<()> {
    let site = Site::new(2)?;
    for end in &site.hosts[1].ends {
        end.sh("echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_accept")?;
    }
    let with = |n: usize, lines| {
        let config = config(n, &[3 - n]).dataplane("[dataplane.kernel]\nlayout = \"single-device\"");
        with_both(config, n, lines).toml()
    };
    for n in [1, 2] {
        site.host(n).evpnd(&with(n, ["", "arp-suppression = false"]))?;
    }
    site.all_meet_their_own()?;
    let first = Ipv4Addr::new(10, 9, 0, 77);
    claim(&site, 1, first)?;
    site.lab.wait("the second VNI, which does not suppress, hears it", PATIENCE, || {
        claim(&site, 2, first)?;
        ensure(heard(&site, 2, first)?, || "not heard".to_owned())
    })?;
    // A kernel that knows of VLANs here keeps it from the other VNI. One that does not must not, and says so.
    let limited = limits(site.host(1))?;
    let per_vlan = limited == "[]";
    ensure(per_vlan || limited.contains(&format!("VNI {} says", VNIS[1])), || limited.clone())?;
    if per_vlan {
        same(&heard(&site, 1, first)?, &false)?;
    } else {
        site.lab.wait("the first VNI hears it, too", PATIENCE, || {
            claim(&site, 1, first)?;
            ensure(heard(&site, 1, first)?, || "not heard".to_owned())
        })?;
        let told = site.host(1).evpnd_run(&["events"])?;
        same(&told.matches("arp-suppression = false").count(), &1)?;
    }

    // All of one mind: then it is kept from both.
    site.host(1).write(evpnd::lab::CONFIG, &with(1, ["", ""]))?;
    site.host(1).evpnd_run(&["reload"])?;
    site.lab
        .wait("nothing is left to be said", PATIENCE, || same(&limits(site.host(1))?, &"[]".to_owned()))?;
    let second = Ipv4Addr::new(10, 9, 0, 78);
    for v in [1, 2] {
        claim(&site, v, second)?;
    }
    // What is said after it crosses.
    site.all_meet_their_own()?;
    for v in [1, 2] {
        same(&heard(&site, v, second)?, &false)?;
    }
    Ok(())
}
