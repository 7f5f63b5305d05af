//! One network of three kinds of hosts: FRR with one VXLAN device for all its VNIs, evpnd with one, and with one for each.

use std::fmt::Write as _;

use super::{Site, VNIS, config, forwards, mac, port, vtep, wait_forwarding, with_both};
use crate::common::frr::Frr;
use crate::common::{Node, PATIENCE, Result, ensure, frames};

/// The devices that FRR wants to find: as its documentation has them, with other VLANs than the other hosts.
fn frr_devices(site: &Site, n: usize) -> Result<()> {
    let mut script = format!(
        "ip link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0 mcast_snooping 0
         ip link set br0 address 02:b0:00:00:00:0{n} addrgenmode none; ip link set br0 up
         ip link add vxlan0 type vxlan dstport 4789 local {} nolearning external vnifilter
         ip link set vxlan0 master br0 addrgenmode none
         bridge link set dev vxlan0 vlan_tunnel on neigh_suppress on learning off\n",
        vtep(n)
    );
    for (at, vni) in VNIS.into_iter().enumerate() {
        let _ = write!(
            script,
            "bridge vlan add vid {vlan} dev br0 self
             ip link add link br0 name vlan{vlan} type vlan id {vlan}; ip link set vlan{vlan} addrgenmode none up
             bridge vni add vni {vni} dev vxlan0
             bridge vlan add dev vxlan0 vid {vlan}; bridge vlan add dev vxlan0 vid {vlan} tunnel_info id {vni}
             ip link set {end} master br0; bridge vlan add vid {vlan} dev {end} pvid untagged\n",
            vlan = 301 + at,
            end = port(n, at + 1),
        );
    }
    site.host(n).sh(&format!("{script} ip link set vxlan0 up")).map(drop)
}

fn frr_config(n: usize, neighbours: &[usize]) -> String {
    let (mut sessions, mut activate) = (String::new(), String::new());
    for other in neighbours {
        let address = vtep(*other);
        let _ = write!(
            sessions,
            " neighbor {address} remote-as {}\n neighbor {address} timers 3 9\n neighbor {address} timers connect 1\n",
            65000 + other
        );
        let _ = writeln!(activate, "  neighbor {address} activate");
    }
    format!(
        "router bgp {}
 bgp router-id {}
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
{sessions} address-family l2vpn evpn
{activate}  advertise-all-vni
 exit-address-family
",
        65000 + n,
        vtep(n)
    )
}

/// FRR is host 3. evpnd has a device for each VNI on host 4, and a single one on 1, which says its VLANs, and on 2, which
/// takes those that are free. Route targets are automatic everywhere.
#[test]
fn frr_and_both_layouts() -> Result<()> {
    let site = Site::new(4)?;
    let all_but = |n: usize| -> Vec<usize> { (1..=4).filter(|other| *other != n).collect() };
    let migrant = Migrant::new(&site)?;
    frr_devices(&site, 3)?;
    let frr = Frr::start_single(site.host(3), &frr_config(3, &all_but(3)))?;
    let single = "[dataplane.kernel]\nlayout = \"single-device\"";
    for (n, dataplane, lines) in
        [(1, single, ["vlan = 100", "vlan = 200"]), (2, single, ["", ""]), (4, "", ["", ""])]
    {
        let config = with_both(config(n, &all_but(n)).dataplane(dataplane), n, lines).toml();
        site.host(n).evpnd(&config.replace("[\"e11\"]", "[\"e11\", \"m1\"]"))?;
    }
    site.all_meet_their_own()?;
    for n in 1..=4 {
        wait_forwarding(&site, n, &all_but(n))?;
    }
    // zebra has all of it, each in the VLAN it has there.
    let macs = frr.json("zebra", "show evpn mac vni all json")?;
    for (at, vni) in VNIS.into_iter().enumerate() {
        let of = |n: usize| &macs[vni.to_string()]["macs"][mac(n, at + 1)];
        let right = of(1)["type"] == "remote" && of(3)["type"] == "local" && of(3)["vlan"] == 301 + at;
        ensure(right, || macs.to_string())?;
    }

    migrant.moves(&site)?;

    // One that stops takes its routes along, and no others.
    site.host(2).stop("evpnd", "TERM")?;
    wait_forwarding(&site, 4, &[1, 3])?;
    wait_forwarding(&site, 3, &[1, 4])
}

/// An endpoint in the first VNI that moves as virtual machines do: it is started where it is to be, says so once, and is stopped
/// where it was.
struct Migrant {
    on: [Node; 2],
}

impl Migrant {
    const MAC: &str = "02:00:00:00:00:aa";

    /// On evpnd's first host and on FRR's, on neither of them running.
    fn new(site: &Site) -> Result<Self> {
        let place = |n: usize| -> Result<Node> {
            let node = site.lab.host(&format!("m{n}"))?;
            // Not a word of its own accord.
            node.sh("cd /proc/sys/net/ipv6/conf; echo 1 > all/disable_ipv6; echo 1 > default/disable_ipv6")?;
            site.lab.plug_endpoint(site.host(n), &node, Self::MAC, &["10.9.0.170/16"])?;
            node.run(&["ip", "link", "set", "eth0", "down"])?;
            Ok(node)
        };
        let on = [place(1)?, place(3)?];
        Ok(Self { on })
    }

    /// There and back again: all follow. (It does not end on FRR's host: FRR leaves its VXLAN device's row for a MAC that has come
    /// to it, and says nothing of it to the kernel any more.)
    fn moves(&self, site: &Site) -> Result<()> {
        site.host(3).sh("ip link set m3 master br0; bridge vlan add vid 301 dev m3 pvid untagged")?;
        let stop = |node: &Node| node.run(&["ip", "link", "set", "eth0", "down"]).map(drop);
        let mut before: Option<&Node> = None;
        for n in [1, 3, 1] {
            let here = &self.on[n / 2];
            here.run(&["ip", "link", "set", "eth0", "up"])?;
            site.lab.wait(&format!("all know that the MAC is on h{n}"), PATIENCE, || {
                Self::speaks(site.host(n), here, &format!("m{n}"))?;
                for other in (1..=4).filter(|other| *other != n) {
                    let [(_, macs), _] = forwards(site.host(other))?;
                    ensure(macs.get(Self::MAC) == Some(&vtep(n)), || format!("h{other}: {macs:?}"))?;
                }
                Ok(())
            })?;
            before.replace(here).map(stop).transpose()?;
            let end = &site.hosts[3].ends[0];
            site.lab.wait("the endpoint where it is now", PATIENCE, || end.ping("10.9.0.170"))?;
        }
        before.map(stop).transpose().map(drop)
    }

    /// Says once where it is now; again only if its host has not heard it, as its port was still coming up.
    fn speaks(host: &Node, here: &Node, port: &str) -> Result<()> {
        let learnt = host.run(&["bridge", "fdb", "show", "brport", port])?;
        if learnt.contains(Self::MAC) {
            return Ok(());
        }
        let (own, address) = (frames::mac(Self::MAC), [10, 9, 0, 170].into());
        let unasked = frames::arp(frames::BROADCAST, own, 1, (own, address), ([0; 6], address));
        frames::inject(here, &[unasked])
    }
}
