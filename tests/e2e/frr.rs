//! FRR 8.4 (bgpd + zebra) as the other VTEP: packets both ways, MACs learned by BGP both ways.

use serde_json::Value;

use crate::common::frr::Frr;
use crate::common::{
    Config, E1, E2, MAC1, MAC2, Node, PATIENCE, Pair, Result, V1, V2, VNI, ensure, forwards_to, routes, same,
    wait_session,
};

/// h1 runs evpnd in AS `ours`, h2 FRR in AS `theirs` with its devices made by hand.
fn vteps(ours: u32, theirs: u32, vni_lines: &str, frr_vni: &str) -> Result<(Pair, Frr)> {
    let pair = Pair::new()?;
    pair.h2.sh(&format!(
        "ip link add br{VNI} type bridge; ip link set br{VNI} addrgenmode none; ip link set br{VNI} up
         ip link add vxlan{VNI} type vxlan id {VNI} local {V2} dstport 4789 nolearning
         ip link set vxlan{VNI} master br{VNI} addrgenmode none
         bridge link set dev vxlan{VNI} learning off neigh_suppress on
         ip link set vxlan{VNI} up; ip link set e2 master br{VNI}"
    ))?;
    let config = Config::host(ours, V1).neighbor(V2, &theirs.to_string(), "hold-time = 9");
    pair.h1.evpnd(&config.bare_vni(VNI, vni_lines).toml())?;
    let frr = Frr::start(
        &pair.h2,
        &format!(
            "router bgp {theirs}
 bgp router-id {V2}
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor {V1} remote-as {ours}
 neighbor {V1} timers 3 9
 neighbor {V1} timers connect 1
 address-family l2vpn evpn
  neighbor {V1} activate
  advertise-all-vni
{frr_vni} exit-address-family
"
        ),
    )?;
    wait_session(&pair.lab, &pair.h1, V2, "established")?;
    Ok((pair, frr))
}

const OUR_RT: &str = "import-rt = [\"65000:100\"]\nexport-rt = [\"65000:100\"]\ninterfaces = [\"e1\"]";
const FRR_RT: &str = "  vni 100\n   route-target both 65000:100\n  exit-vni\n";

/// FRR's MAC table of [`VNI`].
fn frr_macs(frr: &Frr) -> Result<Value> {
    Ok(frr.json("zebra", &format!("show evpn mac vni {VNI} json"))?["macs"].clone())
}

/// Pings both ways, then what each side has learned from the other by BGP.
fn both_ways(pair: &Pair, frr: &Frr) -> Result<()> {
    pair.lab.wait("evpnd's endpoint reaches FRR's", PATIENCE, || pair.e1.ping(E2))?;
    pair.lab.wait("FRR's endpoint reaches evpnd's", PATIENCE, || pair.e2.ping(E1))?;
    pair.lab.wait("FRR's rows in our kernel", PATIENCE, || forwards_to(&pair.h1, V2, MAC2))?;
    pair.lab.wait("our rows in FRR's kernel", PATIENCE, || {
        let device = format!("vxlan{VNI}");
        same(&pair.h2.flood(&device)?, &[V1.to_owned()].into())?;
        same(&pair.h2.remote_macs(&device)?, &[(MAC1.to_owned(), V1.to_owned())].into())
    })?;
    pair.lab.wait("our MAC in zebra", PATIENCE, || {
        let macs = frr_macs(frr)?;
        ensure(macs[MAC1]["type"] == "remote" && macs[MAC2]["type"] == "local", || macs.to_string())
    })?;
    pair.e1.ping(E2)?;
    pair.e2.ping(E1)
}

#[test]
fn ebgp() -> Result<()> {
    let (pair, frr) = vteps(65001, 65002, OUR_RT, FRR_RT)?;
    both_ways(&pair, &frr)?;
    let rows = routes(&pair.h1, 3, V2)?;
    let row = rows.iter().find(|row| row["ip"] == V2).cloned().unwrap_or_default();
    ensure(row["next_hop"] == V2 && row["best"] == true, || format!("{rows:?}"))?;
    // FRR sends us our own routes back; a loop in the AS path is not used, nor passed on.
    let looped = rows.iter().find(|row| row["ip"] == V1);
    ensure(looped.is_none_or(|row| row["best"] == false), || format!("{rows:?}"))
}

#[test]
fn ibgp() -> Result<()> {
    let (pair, frr) = vteps(65000, 65000, OUR_RT, FRR_RT)?;
    both_ways(&pair, &frr)
}

/// Neither side says any route target: FRR's automatic ones and ours import each other, also across ASes.
#[test]
fn automatic_route_targets() -> Result<()> {
    let (pair, frr) = vteps(4_200_065_001, 65002, "interfaces = [\"e1\"]", "")?;
    both_ways(&pair, &frr)
}

/// MACs that go are withdrawn, and only they: what each side hears of the other.
#[test]
fn withdrawals_both_ways() -> Result<()> {
    let (pair, frr) = vteps(65001, 65002, OUR_RT, FRR_RT)?;
    both_ways(&pair, &frr)?;
    // The port loses its carrier, and with it the MAC the bridge had learned there.
    pair.e1.run(&["ip", "link", "set", "eth0", "down"])?;
    pair.lab.wait("our MAC gone from zebra", PATIENCE, || {
        let macs = frr_macs(&frr)?;
        ensure(macs[MAC1].is_null(), || macs.to_string())
    })?;
    pair.e2.run(&["ip", "link", "set", "eth0", "down"])?;
    let device = pair.h1.vxlan(VNI)?;
    pair.lab.wait("FRR's MAC gone from our kernel", PATIENCE, || {
        same(&pair.h1.remote_macs(&device)?.len(), &0)?;
        same(&pair.h1.flood(&device)?.len(), &1)
    })?;
    for endpoint in [&pair.e1, &pair.e2] {
        endpoint.run(&["ip", "link", "set", "eth0", "up"])?;
    }
    both_ways(&pair, &frr)
}

/// bgpd is killed: its rows go, at once; it comes back: so do they.
#[test]
fn bgpd_dies_and_returns() -> Result<()> {
    let (pair, frr) = vteps(65001, 65002, OUR_RT, FRR_RT)?;
    both_ways(&pair, &frr)?;
    pair.h2.stop("bgpd", "KILL")?;
    let device = pair.h1.vxlan(VNI)?;
    pair.lab.wait("FRR's rows gone", PATIENCE, || {
        same(&(pair.h1.flood(&device)?.len(), pair.h1.remote_macs(&device)?.len()), &(0, 0))
    })?;
    pair.h2.restart("bgpd")?;
    both_ways(&pair, &frr)
}

/// A MAC moves from FRR to evpnd and back: each side gives way to the higher sequence number.
#[test]
fn a_mac_moves_between_frr_and_evpnd() -> Result<()> {
    let (pair, frr) = vteps(65001, 65002, OUR_RT, FRR_RT)?;
    both_ways(&pair, &frr)?;
    let mac = "02:00:00:00:00:aa";
    let [on1, on2] =
        [(&pair.h1, "m1", "e1"), (&pair.h2, "m2", "e2")].map(|(host, port, like)| -> Result<Node> {
            let endpoint = pair.lab.host(port)?;
            // It must not say a word of its own accord: both places are up all the time.
            endpoint
                .sh("cd /proc/sys/net/ipv6/conf; echo 1 > all/disable_ipv6; echo 1 > default/disable_ipv6")?;
            pair.lab.plug_endpoint(host, &endpoint, mac, &["10.9.0.170/24"])?;
            endpoint.sh("echo 1 > /proc/sys/net/ipv4/neigh/eth0/mcast_solicit")?;
            host.run(&["ip", "link", "set", port, "master", &host.bridge_of(like)?])?;
            Ok(endpoint)
        });
    let (on1, on2) = (on1?, on2?);
    let device = pair.h1.vxlan(VNI)?;
    // Two rounds are four moves: with the fifth, both sides would take it for a duplicate (RFC 7432 §15.1).
    for round in 0..2 {
        speak(&on2)?;
        pair.lab.wait(&format!("round {round}: on FRR"), PATIENCE, || {
            let have = pair.h1.remote_macs(&device)?;
            ensure(have.get(mac).is_some_and(|vtep| vtep == V2), || format!("{have:?}"))
        })?;
        speak(&on1)?;
        pair.lab.wait(&format!("round {round}: on evpnd"), PATIENCE, || {
            let macs = frr_macs(&frr)?;
            ensure(macs[mac]["type"] == "remote", || macs.to_string())?;
            let have = pair.h1.remote_macs(&device)?;
            ensure(!have.contains_key(mac), || format!("{have:?}"))
        })?;
    }
    Ok(())
}

/// One broadcast frame from an endpoint that does not speak otherwise: an ARP request nobody answers.
fn speak(endpoint: &Node) -> Result<()> {
    endpoint.sh("ip neigh flush all; ping -c 1 -W 1 10.9.0.250 >/dev/null || true").map(drop)
}
