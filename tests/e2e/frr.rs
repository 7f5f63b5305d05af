//! FRR 8.4 (bgpd + zebra) as the other VTEP: packets both ways, MACs learned by BGP both ways.

use serde_json::Value;

use crate::common::frr::Frr;
use crate::common::{
    Config, E1, E2, MAC1, MAC2, PATIENCE, Pair, Result, V1, V2, VNI, ensure, forwards_to, routes, same,
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
    let row = routes(&pair.h1, 3, V2)?.first().cloned().unwrap_or_default();
    ensure(row["next_hop"] == V2 && row["best"] == true, || row.to_string())
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

/// MACs age out, are withdrawn, move: what each side hears of the other.
#[test]
fn withdrawals_both_ways() -> Result<()> {
    let (pair, frr) = vteps(65001, 65002, OUR_RT, FRR_RT)?;
    both_ways(&pair, &frr)?;
    // The port goes, and with it the MAC the bridge had learned there.
    pair.h1.run(&["ip", "link", "set", "e1", "down"])?;
    pair.lab.wait("our MAC gone from zebra", PATIENCE, || {
        let macs = frr_macs(&frr)?;
        ensure(macs[MAC1].is_null(), || macs.to_string())
    })?;
    pair.h2.run(&["ip", "link", "set", "e2", "down"])?;
    let device = pair.h1.vxlan(VNI)?;
    pair.lab.wait("FRR's MAC gone from our kernel", PATIENCE, || {
        same(&pair.h1.remote_macs(&device)?.len(), &0)?;
        same(&pair.h1.flood(&device)?.len(), &1)
    })?;
    for (host, port) in [(&pair.h1, "e1"), (&pair.h2, "e2")] {
        host.run(&["ip", "link", "set", port, "up"])?;
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
    let on1 = pair.lab.endpoint(&pair.h1, "m1", mac, &[])?;
    let on2 = pair.lab.endpoint(&pair.h2, "m2", mac, &[])?;
    for (port, like, host) in [("m1", "e1", &pair.h1), ("m2", "e2", &pair.h2)] {
        host.sh(&format!(
            "master=$(ip -j link show {like} | sed 's/.*\"master\":\"\\([^\"]*\\)\".*/\\1/'); ip link set {port} master $master"
        ))?;
    }
    let device = pair.h1.vxlan(VNI)?;
    for round in 0..3 {
        // A frame from the new place is what tells of the move.
        let says = |node: &evpnd::lab::Node| {
            node.sh("ip addr replace 10.9.0.170/24 dev eth0; ping -c 1 -W 1 10.9.0.250 || true")
        };
        pair.lab.wait(&format!("round {round}: on FRR"), PATIENCE, || {
            says(&on2)?;
            let have = pair.h1.remote_macs(&device)?;
            ensure(have.get(mac).is_some_and(|vtep| vtep == V2), || format!("{have:?}"))
        })?;
        pair.lab.wait(&format!("round {round}: on evpnd"), PATIENCE, || {
            says(&on1)?;
            let macs = frr_macs(&frr)?;
            ensure(macs[mac]["type"] == "remote", || macs.to_string())?;
            let have = pair.h1.remote_macs(&device)?;
            ensure(!have.contains_key(mac), || format!("{have:?}"))
        })?;
    }
    Ok(())
}
