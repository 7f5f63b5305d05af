//! `discover = true` with a bridge and a VXLAN device for each VNI, which something else makes and takes away.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{
    Config, Error, MAC2, Node, PATIENCE, Pair, Result, V1, V2, VNI, c2, ensure, forwards_to, same, stays,
};

/// h1's configuration: of its VNIs only what is not by default.
fn discovering() -> String {
    let targets = format!("import-rt = [\"65000:{VNI}\"]\nexport-rt = [\"65000:{VNI}\"]");
    Config::host(65001, V1)
        .neighbor(V2, "65002", "")
        .dataplane("[dataplane.kernel]\ndiscover = true")
        .bare_vni(VNI, &targets)
        .toml()
}

/// What a script of somebody else does.
fn set_up(host: &Node) -> Result<String> {
    host.sh(&format!(
        "ip link add vx{VNI} type vxlan id {VNI} local {V1} dstport 4789 nolearning
         ip link add br{VNI} type bridge
         ip link set vx{VNI} master br{VNI}
         bridge link set dev vx{VNI} learning off
         ip link set e1 master br{VNI}
         ip link set br{VNI} up
         ip link set vx{VNI} up"
    ))
}

fn ready(host: &Node) -> Result<Value> {
    let row = host.rows("vnis")?.into_iter().find(|row| row["vni"] == VNI);
    row.map(|row| row["ready"].clone()).ok_or_else(|| Error::new("the VNI is not shown"))
}

#[test]
fn vnis_of_others_come_and_go_and_outlive_evpnd() -> Result<()> {
    let pair = Pair::new()?;
    let (lab, h1) = (&pair.lab, &pair.h1);
    h1.evpnd(&discovering())?;
    pair.h2.evpnd(&c2().toml())?;
    pair.wait_established()?;
    same(&ready(h1)?, &json!(false))?;
    lab.wait("what is missing is said", PATIENCE, || {
        let said = h1.log("evpnd");
        ensure(said.contains(&format!("VNI {VNI} is configured, but no VXLAN device")), || said)
    })?;

    set_up(h1)?;
    pair.settle()?;
    same(&ready(h1)?, &json!(true))?;
    let said = h1.evpnd_run(&["events"])?;
    ensure(said.contains(&format!("VNI {VNI}: found")), || said)?;

    // Nothing is lost while it is away, nor when it is back and has not heard of anybody yet.
    h1.kill9()?;
    stays(Duration::from_millis(500), || forwards_to(h1, V2, MAC2))?;
    h1.start()?;
    stays(Duration::from_secs(1), || forwards_to(h1, V2, MAC2))?;
    pair.settle()?;

    h1.sh(&format!("ip link del vx{VNI}"))?;
    lab.wait("the VNI is gone", PATIENCE, || {
        same(&ready(h1)?, &json!(false))?;
        same(&pair.h2.flood(&pair.h2.vxlan(VNI)?)?, &[].into())
    })?;
    let said = h1.evpnd_run(&["events"])?;
    ensure(said.contains(&format!("VNI {VNI}: gone")), || said)?;
    h1.sh(&format!("ip link del br{VNI}"))?;
    set_up(h1)?;
    pair.settle()?;

    // It made nothing of its own, and marked nothing.
    let links: Vec<Value> = serde_json::from_str(&h1.run(&["ip", "-j", "link", "show", "type", "bridge"])?)
        .map_err(|e| Error::new(e.to_string()))?;
    let names: Vec<_> = links.iter().map(|link| (&link["ifname"], link.get("ifalias"))).collect();
    same(&names, &vec![(&json!(format!("br{VNI}")), None)])
}
