//! The commands with which the gobgp lab sets up its hosts, by hand, and evpnd that takes up what it finds.

use super::{Site, VNIS, config, forwards, port, vtep, wait_forwarding};
use crate::common::{Node, PATIENCE, Result, ensure, same};

/// Its bridge and its VXLAN device.
fn create_host(host: &Node) -> Result<()> {
    host.sh("ip link add name br0 type bridge vlan_filtering 1
         ip link add vxlan1 type vxlan dev eth0 dstport 4789 external
         ip link set vxlan1 master br0
         ip link set dev vxlan1 type bridge_slave vlan_tunnel on learning off
         ip link set br0 up; ip link set vxlan1 up")
        .map(drop)
}

/// Its endpoint: in the next VLAN that is free on the host, mapped to the VNI.
fn create_vm(site: &Site, n: usize, v: usize, vlan: u16) -> Result<()> {
    let (veth, vni) = (port(n, v), VNIS[v - 1]);
    site.host(n)
        .sh(&format!(
            "ip link set {veth} master br0; bridge vlan add vid {vlan} pvid untagged dev {veth}
             bridge vlan add dev vxlan1 vid {vlan}
             bridge vlan add dev vxlan1 vid {vlan} tunnel_info id {vni}"
        ))
        .map(drop)
}

/// All devices, what they are ports of, and their VLANs; without the bridge's timers, and without what comes when it likes:
/// carriers, and the states that follow from them.
fn devices(host: &Node) -> Result<String> {
    host.sh("ip -d -o link show | sed 's/[a-z_]*timer *[0-9.]*//g; s/<[^>]*>//; s/ state [A-Za-z]*//g'
         bridge vlan show; bridge vlan tunnelshow")
}

#[test]
fn what_the_gobgp_lab_sets_up_is_taken_up() -> Result<()> {
    let site = Site::new(2)?;
    for (n, vlan) in [(1, 10), (2, 20)] {
        create_host(site.host(n))?;
        create_vm(&site, n, 1, vlan)?;
    }
    let h1 = site.host(1);
    let untouched = devices(h1)?;
    for n in [1, 2] {
        let config = config(n, &[3 - n]).dataplane(
            "on-exit = \"remove\"\n[dataplane.kernel]\nlayout = \"single-device\"\ndiscover = true",
        );
        site.host(n).evpnd(&config.toml())?;
    }
    site.lab.wait("the first VNI", PATIENCE, || site.hosts[0].ends[0].ping("10.9.0.2"))?;
    // What was there is used as it is.
    same(&devices(h1)?, &untouched)?;
    // Another VNI comes, in other VLANs, the second of which is another VNI's here.
    create_vm(&site, 1, 2, 20)?;
    create_vm(&site, 2, 2, 30)?;
    let before = devices(h1)?;
    site.all_meet_their_own()?;
    wait_forwarding(&site, 1, &[2])?;
    wait_forwarding(&site, 2, &[1])?;
    // Its route targets are by the rule.
    let vnis = h1.rows("vnis")?;
    let found = vnis.iter().find(|row| row["vni"] == VNIS[1]).cloned().unwrap_or_default();
    let good = found["export_rt"] == serde_json::json!(["65001:5002"]) && found["vlan"] == 20;
    ensure(good, || format!("{vnis:?}"))?;

    // And goes, for the other host, too.
    h1.sh("bridge vlan del dev vxlan1 vid 20")?;
    site.lab.wait("the VNI gone", PATIENCE, || {
        let [first, second] = forwards(site.host(2))?;
        ensure(second.0.is_empty() && second.1.is_empty(), || format!("{second:?}"))?;
        same(&first.0, &[vtep(1)].into())?;
        same(&h1.rows("vnis")?.len(), &1)
    })?;
    create_vm(&site, 1, 2, 20)?;
    site.all_meet_their_own()?;

    // Nothing was made, changed or removed; in the end nothing of evpnd's is left.
    same(&devices(h1)?, &before)?;
    same(&h1.stop("evpnd", "TERM")?, &Some(0))?;
    same(&devices(h1)?, &before)?;
    let rows = h1.run(&["bridge", "fdb", "show"])?;
    ensure(!rows.contains("extern_learn") && !rows.contains("dst "), || rows.clone())
}
