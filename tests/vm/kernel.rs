//! The kernel of the virtual machine has what the other tests count on; when it has not, these say so in one line.

use evpnd::lab::system_datapath;

use crate::common::{PATIENCE, Result, ensure, lab, same};

/// These tests are about Debian's kernel with the kernel's datapath, and nothing says so but the runner.
#[test]
fn the_runner() -> Result<()> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    ensure(release.trim_end().ends_with("-amd64"), || format!("kernel {release}: use .ci/vm test"))?;
    ensure(system_datapath(), || "EVPND_LAB_DATAPATH is not system: use .ci/vm test".to_owned())
}

/// Two VLANs on one bridge do not hear each other, each on a VNI of its own on one VXLAN device: what the layout
/// `single-device` needs.
#[test]
fn vlans_on_a_bridge() -> Result<()> {
    let lab = lab()?;
    let host = lab.host("h1")?;
    host.sh("ip link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0 mcast_snooping 0; ip link set br0 up
         ip link add vx0 type vxlan dstport 4789 local 127.0.0.1 nolearning external vnifilter
         ip link set vx0 master br0 up; bridge link set dev vx0 vlan_tunnel on learning off
         for v in 10 20; do
             bridge vni add vni 50$v dev vx0
             bridge vlan add vid $v dev vx0; bridge vlan add vid $v dev vx0 tunnel_info id 50$v
         done")?;
    let mut ends = Vec::new();
    for (at, vlan) in [10, 10, 20, 20].into_iter().enumerate() {
        let name = format!("e{at}");
        let mac = format!("02:00:00:00:00:0{at}");
        ends.push(lab.endpoint(&host, &name, &mac, &[&format!("10.9.0.{}/24", at + 1)])?);
        host.sh(&format!(
            "ip link set {name} master br0; bridge vlan add vid {vlan} dev {name} pvid untagged"
        ))?;
    }
    for (from, to) in [(0, 2), (3, 3)] {
        lab.wait("a ping in a VLAN", PATIENCE, || ends[from].ping(&format!("10.9.0.{to}")))?;
    }
    ensure(ends[0].ping("10.9.0.3").is_err(), || "a ping between VLANs".to_owned())?;
    let tunnels = host.run(&["bridge", "-j", "vlan", "tunnelshow", "dev", "vx0"])?;
    ensure(tunnels.contains("5010") && tunnels.contains("5020"), || tunnels.clone())
}

/// Two VRFs with the same addresses, each with its own neighbours.
#[test]
fn vrfs() -> Result<()> {
    let lab = lab()?;
    let host = lab.host("h1")?;
    for (vrf, table) in [("red", 10), ("blue", 20)] {
        host.sh(&format!("ip link add {vrf} type vrf table {table}; ip link set {vrf} up"))?;
        for (side, net) in [("l", 1), ("r", 2)] {
            let name = format!("{vrf}-{side}");
            let mac = format!("02:00:00:00:{table}:0{net}");
            let end = lab.endpoint(&host, &name, &mac, &[&format!("10.{net}.0.2/24")])?;
            end.sh(&format!("ip route add default via 10.{net}.0.1"))?;
            host.sh(&format!("ip link set {name} master {vrf}; ip addr add 10.{net}.0.1/24 dev {name}"))?;
        }
    }
    host.sh("echo 1 > /proc/sys/net/ipv4/ip_forward")?;
    for vrf in ["red", "blue"] {
        let left = lab.node(&format!("{vrf}-l"))?;
        lab.wait("a ping through a VRF", PATIENCE, || left.ping("10.2.0.2"))?;
        let routes = host.run(&["ip", "-j", "route", "show", "vrf", vrf])?;
        same(&routes.matches("\"dst\"").count(), &2)?;
    }
    // The same address is someone else in each.
    let neighbour = |vrf: &str| host.run(&["ip", "neigh", "show", "10.2.0.2", "dev", &format!("{vrf}-r")]);
    let (red, blue) = (neighbour("red")?, neighbour("blue")?);
    ensure(red.contains(":10:02") && blue.contains(":20:02"), || format!("{red}{blue}"))
}
