//! Clients on Open vSwitch with the kernel's datapath, as in production: between hosts of several kinds, through a
//! restart of ovs-vswitchd, and out by a router of FRR's that has the VRF in its kernel.

use crate::common::frr::Frr;
use crate::common::ovs::{CONTROLLER, Client, L2, L3, Site, config, tcp};
use crate::common::{Config, PATIENCE, Result, ensure, routes, wait_session};

/// Two hosts with Open vSwitch and one with the kernel's own bridge and VXLAN device, L2 and L3 clients on them.
#[test]
fn clients_of_three_hosts() -> Result<()> {
    let site = Site::new(2)?;
    let kernel = site.lab.host("k")?.underlay(&site.spine, &["10.0.0.3/24"])?;
    let far = site.lab.endpoint(&kernel, "far", "02:00:00:00:00:09", &["10.9.0.9/24", "fd00:9::9/64"])?;
    kernel
        .evpnd(&Config::host(65003, "10.0.0.3").neighbor(CONTROLLER, "64512", "").vni(L2, &["far"]).toml())?;

    let flat = site.attach(1, &Client::l2("flat", L2, 1))?;
    let vlan = site.attach(2, &Client::l2("vlan", L2, 2).vlan("t1", 200, 7))?;
    // Another VNI, where 10.9.0.2 is somebody else and 10.9.0.1 nobody, on the port that is shared, too.
    let red2 = site.attach(1, &Client::l2("red2", 200, 2).port(120))?;
    let red3 = site.attach(2, &Client::l2("red3", 200, 3).vlan("t1", 200, 8))?;
    let (left, right) = (Client::l3("left", L3, 1), Client::l3("right", L3, 2).vlan("t1", 200, 9));
    let (left, right) = (site.attach(1, &left.port(130))?, site.attach(2, &right)?);

    let all_meet = || -> Result<()> {
        for to in ["10.9.0.2", "fd00:9::2", "10.9.0.9"] {
            site.reach(&flat, to)?;
        }
        site.reach(&far, "10.9.0.2")?;
        site.reach(&red2, "10.9.0.3")?;
        site.reach(&left, "10.1.0.2")?;
        site.reach(&right, "fd00:1::1")
    };
    all_meet()?;
    tcp(&site.lab, &flat, &vlan, "10.9.0.2")?;
    tcp(&site.lab, &left, &right, "10.1.0.2")?;
    for (from, to) in [(&flat, "10.9.0.3"), (&red2, "10.9.0.1"), (&red3, "10.9.0.9"), (&left, "10.9.0.1")] {
        ensure(from.ping(to).is_err(), || format!("{} reaches {to}", from.name()))?;
    }

    // The datapath is the kernel's.
    let datapaths = site.host(1).ovs().appctl(&["dpif/show"])?;
    ensure(datapaths.contains("system@ovs-system"), || datapaths)?;
    // A new ovs-vswitchd knows no flow.
    site.host(1).ovs().stop_switchd("KILL")?;
    site.host(1).ovs().start_switchd(&[])?;
    all_meet()
}

/// Beyond the border.
const INTERNET: &str = "198.51.100.7";

/// FRR announces the default route of a VRF (type 5) from its L3 VNI, and learns the client's own prefix from evpnd. (With
/// `default-originate` FRR 8.4 says VNI 0 when it reads that before it knows the VNI.)
#[test]
fn a_border_router_with_its_own_vrf() -> Result<()> {
    let site = Site::idle(1)?;
    let border = site.lab.host("border")?.underlay(&site.spine, &["10.0.0.200/24"])?;
    let internet =
        site.lab.endpoint(&border, "internet", "02:00:00:00:ff:01", &[&format!("{INTERNET}/24")])?;
    internet.sh("ip route add default via 198.51.100.1")?;
    border.sh(&format!(
        "echo 1 > /proc/sys/net/ipv4/ip_forward
         ip link add red type vrf table 10; ip link set red up
         ip link add br{L3} type bridge; ip link set br{L3} address 02:b0:00:00:00:01; ip link set br{L3} master red addrgenmode none up
         ip link add vxlan{L3} type vxlan id {L3} local 10.0.0.200 dstport 4789 nolearning
         ip link set vxlan{L3} master br{L3} addrgenmode none up
         ip link set internet master red; ip addr add 198.51.100.1/24 dev internet"
    ))?;
    site.start(1, &config(1).neighbor("10.0.0.200", "65200", ""))?;
    let frr = Frr::start_with(
        &border,
        &format!("vrf red\n vni {L3}\nexit-vrf\n"),
        &format!(
            "router bgp 65200
 bgp router-id 10.0.0.200
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor 10.0.0.1 remote-as 65001
 neighbor 10.0.0.1 timers connect 1
 address-family l2vpn evpn
  neighbor 10.0.0.1 activate
  advertise-all-vni
 exit-address-family
router bgp 65200 vrf red
 bgp router-id 10.0.0.200
 no bgp network import-check
 address-family ipv4 unicast
  network 0.0.0.0/0
 exit-address-family
 address-family l2vpn evpn
  advertise ipv4 unicast
  route-target both 65000:{L3}
 exit-address-family
"
        ),
    )?;
    wait_session(&site.lab, site.host(1), "10.0.0.200", "established")?;
    let flat = site.attach(1, &Client::l3("flat", L3, 1))?;
    let vlan = site.attach(1, &Client::l3("vlan", L3, 2).vlan("t1", 200, 9))?;
    site.lab.wait("the way back in FRR's VRF", PATIENCE, || {
        let routes = border.run(&["ip", "route", "show", "vrf", "red"])?;
        ensure(routes.contains("10.1.0.1") && routes.contains("10.1.0.2"), || {
            let evpn = frr.json("bgpd", "show bgp l2vpn evpn route type prefix json");
            format!("{routes}\n{evpn:?}")
        })
    })?;
    site.lab.wait("FRR's default route", PATIENCE, || {
        let rows = routes(site.host(1), 5, "10.0.0.200")?;
        ensure(rows.iter().any(|row| row["prefix"] == "0.0.0.0/0" && row["best"] == true), || {
            format!("{rows:?}")
        })
    })?;
    for client in [&flat, &vlan] {
        site.reach(client, INTERNET)?;
    }
    site.reach(&internet, "10.1.0.1")?;
    tcp(&site.lab, &vlan, &internet, INTERNET)?;
    // Without the route the way out is closed.
    border.stop("bgpd", "KILL")?;
    site.lab.wait("no way out any more", PATIENCE, || {
        ensure(flat.ping(INTERNET).is_err(), || "still answers".to_owned())
    })?;
    site.reach(&flat, "10.1.0.2")
}
