//! A host with a single device by itself: what somebody breaks is repaired, and neither a crash nor a new configuration
//! stops what has nothing to do with it. All others are made by hand, so that every packet lost is its doing.

use std::fmt::Write as _;

use super::{Site, VNIS, config, forwards, mac, port, vtep, with_both};
use crate::common::{Config, PATIENCE, Result, ensure, same, wait_session};

const CONTROLLER: &str = "10.0.0.10";

/// Host 2 without evpnd, and a controller that announces what it has.
fn others(site: &Site) -> Result<()> {
    let controller = site.lab.host("c")?.underlay(&site.spine, &[&format!("{CONTROLLER}/24")])?;
    controller.evpnd(&Config::controller(64512, CONTROLLER).range("10.0.0.0/24", "external", "").toml())?;
    let mut script = String::new();
    for (at, vni) in VNIS.into_iter().enumerate() {
        let (there, mac) = (vtep(2), mac(2, at + 1));
        let (vni, rt) = (vni.to_string(), format!("65000:{vni}"));
        let rest = ["--vni", &vni, "--rt", &rt, "--next-hop", &there];
        controller.evpnd_run(&[&["route", "add", "imet"][..], &rest].concat())?;
        let address = ["route", "add", "mac", "--mac", &mac, "--ip", "10.9.0.2"];
        controller.evpnd_run(&[&address[..], &rest].concat())?;
        let _ = writeln!(
            script,
            "ip link add br{vni} type bridge; ip link set br{vni} up; ip link set {} master br{vni}
             ip link add vx{vni} type vxlan id {vni} local {there} dstport 4789 nolearning
             ip link set vx{vni} master br{vni} up
             bridge fdb append 00:00:00:00:00:00 dev vx{vni} dst {} self permanent",
            port(2, at + 1),
            vtep(1)
        );
    }
    site.host(2).sh(&script).map(drop)
}

/// Waits until host 1 has what the controller says, and nothing is left to be done.
fn settled(site: &Site) -> Result<()> {
    wait_session(&site.lab, site.host(1), CONTROLLER, "established")?;
    site.lab.wait("everything as it should be", PATIENCE, || {
        let want = [1, 2].map(|v| ([vtep(2)].into(), [(mac(2, v), vtep(2))].into()));
        same(&forwards(site.host(1))?, &want)?;
        let dataplane = site.host(1).show("dataplane")?;
        ensure(dataplane["in_sync"] == true && dataplane["installed"] == dataplane["desired"], || {
            dataplane.to_string()
        })
    })
}

/// Its devices, VLANs and rows.
fn state(site: &Site) -> Result<Vec<String>> {
    let text = site
        .host(1)
        .sh("ip -br link show | cut -d' ' -f1; bridge vlan show; bridge vlan tunnelshow; bridge vni show
         bridge fdb show | grep extern_learn")?;
    let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    Ok(lines)
}

#[test]
fn repairs_restarts_and_reloads() -> Result<()> {
    let site = Site::new(2)?;
    others(&site)?;
    let h1 = site.host(1);
    let empty = || {
        config(1, &[])
            .neighbor(CONTROLLER, "64512", "")
            .dataplane("on-exit = \"remove\"\n[dataplane.kernel]\nlayout = \"single-device\"")
    };
    let rt = |vni: u32| format!("import-rt = \"65000:{vni}\"\nexport-rt = \"65000:{vni}\"");
    let [one, two] = VNIS.map(rt);
    let links_before = h1.run(&["ip", "-br", "link"])?;
    h1.evpnd(&with_both(empty(), 1, [&one, &two]).toml())?;
    settled(&site)?;
    site.all_meet_their_own()?;
    let before = state(&site)?;

    // Broken by hand: mapping, VNI filter, VLAN of a port, rows; then the devices.
    for damage in [
        "bridge vlan del vid 2 dev vxlan1 tunnel_info id 5001; bridge vni delete vni 5002 dev vxlan1
         bridge vlan del vid 3 dev e12
         bridge fdb del 02:00:00:00:01:02 dev vxlan1 src_vni 5001 self
         bridge fdb del 00:00:00:00:00:00 dev vxlan1 src_vni 5002 dst 10.0.0.2 self",
        "ip link del vxlan1",
        "ip link del br-evpn",
    ] {
        h1.sh(damage)?;
        site.lab.wait(&format!("all again after {damage}"), PATIENCE, || same(&state(&site)?, &before))?;
        settled(&site)?;
    }
    site.all_meet_their_own()?;
    let dataplane = h1.show("dataplane")?;
    ensure(dataplane["repairs"].as_u64().is_some_and(|n| n >= 6), || dataplane.to_string())?;

    // kill -9, and a configuration with everything in another order: no packet is lost, the VLANs are the same.
    let end = &site.hosts[0].ends[0];
    end.spawn("ping", &["ping", "-n", "-i", "0.1", "10.9.0.2"])?;
    site.lab.wait("the first answers", PATIENCE, || {
        ensure(end.log("ping").contains("seq=3"), || end.log("ping"))
    })?;
    h1.kill9()?;
    same(&state(&site)?, &before)?;
    let turned = Config::default().bare_vni(VNIS[1], &format!("interfaces = [\"e12\"]\n{two}"));
    let turned = empty().toml() + &turned.bare_vni(VNIS[0], &format!("interfaces = [\"e11\"]\n{one}")).toml();
    h1.evpnd(&turned)?;
    settled(&site)?;
    end.stop("ping", "INT")?;
    // (But for the one under way in the end.)
    let said = end.log("ping");
    let sent = said.lines().find_map(|line| line.split_once(" packets transmitted")?.0.parse::<usize>().ok());
    let answered =
        said.lines().filter_map(|line| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse().ok());
    let answered: Vec<usize> = answered.collect();
    same(&answered, &(1..=answered.len()).collect())?;
    ensure(sent.is_some_and(|sent| answered.len() + 1 >= sent), || said.clone())?;
    same(&state(&site)?, &before)?;

    // Another VNI comes, in the next VLAN, and goes; one gets a VLAN of its own.
    let reload = |toml: &str| -> Result<()> {
        h1.write(evpnd::lab::CONFIG, toml)?;
        h1.evpnd_run(&["reload"]).map(drop)
    };
    let vlan_of = |vni: u32| -> Result<serde_json::Value> {
        let rows = h1.rows("vnis")?;
        Ok(rows.iter().find(|row| row["vni"] == vni).map(|row| row["vlan"].clone()).unwrap_or_default())
    };
    reload(&(turned.clone() + "\n[[l2vni]]\nvni = 5003\n"))?;
    site.lab.wait("a third VNI", PATIENCE, || same(&vlan_of(5003)?, &4.into()))?;
    reload(&turned)?;
    site.lab.wait("it is gone", PATIENCE, || same(&state(&site)?, &before))?;
    reload(&turned.replace("vni = 5001", "vni = 5001\nvlan = 700"))?;
    site.lab.wait("the other VLAN", PATIENCE, || same(&vlan_of(5001)?, &700.into()))?;
    settled(&site)?;
    site.all_meet_their_own()?;
    let mapped = h1.run(&["bridge", "vlan", "tunnelshow", "dev", "vxlan1"])?;
    ensure(mapped.contains("700") && !mapped.contains(" 2 "), || mapped.clone())?;

    // It goes with all it has made.
    same(&h1.stop("evpnd", "TERM")?, &Some(0))?;
    same(&h1.run(&["ip", "-br", "link"])?, &links_before)
}
