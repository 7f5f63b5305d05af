//! A border router: gobgpd announces a default route of a VRF, and the kernel routes behind a VXLAN device that bears
//! the VRF's VNI and the router MAC. What is beyond it is an address block on its loopback.

use evpnd::lab::{Node, Result};

use super::gobgp::Gobgp;
use super::ovs::{CONTROLLER, L3, Site, router_mac, vtep};

/// Beyond every border.
pub(crate) const INTERNET: &str = "198.51.100.1";
/// The same in IPv6.
pub(crate) const INTERNET6: &str = "2001:db8:ffff::1";

/// A border router.
#[derive(Debug)]
pub(crate) struct Border {
    pub(crate) node: Node,
    number: u8,
    gobgp: Gobgp,
}

impl Border {
    /// Border 1, 2, … at 10.0.0.(200 + number) with a session to the controller. It knows the way back to the clients
    /// of [`L3`] on each host, given as (host, number of the client); nothing is announced yet.
    pub(crate) fn new(site: &Site, number: u8, clients: &[(usize, u8)]) -> Result<Self> {
        let address = format!("10.0.0.{}", 200 + u16::from(number));
        let node = site.lab.host(&format!("border{number}"))?;
        let node = node.underlay(&site.spine, &[&format!("{address}/24")])?;
        node.sh(&format!(
            "ip link add vx type vxlan id {L3} local {address} dstport 4789 nolearning
             ip link set vx address 02:b0:00:00:00:{number:02x} addrgenmode none up
             ip addr add {INTERNET}/24 dev lo; ip addr add {INTERNET6}/128 dev lo
             for all in default all vx; do echo 0 > /proc/sys/net/ipv4/conf/$all/rp_filter; done"
        ))?;
        for (host, id) in clients {
            let (vtep, mac) = (vtep(*host), router_mac(*host));
            node.sh(&format!(
                "ip neigh replace {vtep} lladdr {mac} dev vx nud permanent
                 ip neigh replace fe80::{host} lladdr {mac} dev vx nud permanent
                 bridge fdb replace {mac} dev vx dst {vtep} self permanent
                 ip route add 10.1.0.{id}/32 via {vtep} dev vx onlink
                 ip -6 route add fd00:1::{id}/128 via fe80::{host} dev vx"
            ))?;
        }
        let config = format!(
            r#"[global.config]
  as = {asn}
  router-id = "{address}"
[[neighbors]]
  [neighbors.config]
    neighbor-address = "{CONTROLLER}"
    peer-as = 64512
  [neighbors.timers.config]
    connect-retry = 1
    hold-time = 9
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "l2vpn-evpn"
"#,
            asn = 64700 + u32::from(number)
        );
        let gobgp = Gobgp::start(&node, &config)?;
        for host in &site.hosts {
            host.ovs().warm(&[&address])?;
        }
        Ok(Self { node, number, gobgp })
    }

    /// Announces (`add`) or withdraws (`del`) a prefix.
    pub(crate) fn prefix(&self, verb: &str, prefix: &str) -> Result<()> {
        let address = format!("10.0.0.{}", 200 + u16::from(self.number));
        let mac = format!("02:b0:00:00:00:{:02x}", self.number);
        let more = format!("rt 65000:{L3} encap vxlan router-mac {mac}");
        let route = format!("prefix {prefix} etag 0 label {L3} rd {address}:{L3} {more}");
        self.gobgp.run(&format!("global rib -a evpn {verb} {route}")).map(drop)
    }
}
