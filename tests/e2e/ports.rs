//! Ports over restarts: what is configured no more is released, and what still is never leaves its bridge.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::common::{Config, E2, Error, Node, PATIENCE, Pair, Result, V1, V2, VNI, ensure, same, stays};

const DIR: &str = "/run/clients";
/// The endpoint that goes from the configuration.
const MAC3: &str = "02:00:00:00:00:03";

fn config(interfaces: &[&str]) -> String {
    let host = Config::host(65001, V1).neighbor(V2, "65002", "").vni(VNI, interfaces);
    format!("{}\n[clients]\ndir = \"{DIR}\"\n", host.toml())
}

fn client(host: &Node, port: &str) -> Result<()> {
    let text = format!(
        "{{ \"cfg_type\": \"l2\", \"mac\": \"02:00:00:00:01:0{}\", \"vni\": {VNI}, \"interface\": \"{port}\", \
         \"type\": \"flat\", \"imp_rt\": [\"65000:{VNI}\"], \"exp_rt\": [\"65000:{VNI}\"] }}",
        &port[1..]
    );
    host.sh(&format!("mkdir -p {DIR}"))?;
    host.write(&format!("{DIR}/{port}.json"), &text)
}

/// The ports of the VNI's bridge, but for its VXLAN device.
fn ports(host: &Node) -> Result<BTreeSet<String>> {
    let bridge = host.bridge_of(&host.vxlan(VNI)?)?;
    let text = host.run(&["ip", "-j", "link", "show", "master", &bridge])?;
    let links: Vec<serde_json::Value> =
        serde_json::from_str(&text).map_err(|e| Error::new(format!("{e}: {text}")))?;
    let names = links.iter().filter_map(|link| link["ifname"].as_str());
    Ok(names.filter(|name| name.starts_with('e')).map(str::to_owned).collect())
}

fn wait_ports(pair: &Pair, expected: &[&str]) -> Result<()> {
    let expected = expected.iter().map(|&port| port.to_owned()).collect();
    pair.lab.wait(&format!("just {expected:?} attached"), PATIENCE, || same(&ports(&pair.h1)?, &expected))
}

#[test]
fn a_restart_releases_what_is_configured_no_more_and_nothing_else() -> Result<()> {
    let pair = Pair::new()?;
    let h1 = &pair.h1;
    let e3 = pair.lab.endpoint(h1, "e3", MAC3, &["10.9.0.3/24"])?;
    h1.sh("for n in 4 5 6; do ip link add e$n type veth peer name p$n; ip link set p$n up; done")?;
    ["e4", "e5"].into_iter().try_for_each(|port| client(h1, port))?;
    h1.evpnd(&config(&["e1", "e3"]))?;
    // It waits to be called: two who call each other at once lose time over it.
    let h2 = Config::host(65002, V2).neighbor(V1, "65001", "passive = true").vni(VNI, &["e2"]);
    pair.h2.evpnd(&h2.toml())?;
    pair.wait_established()?;
    wait_ports(&pair, &["e1", "e3", "e4", "e5"])?;
    // As whoever starts virtual machines does, or looks for a fault.
    h1.run(&["ip", "link", "set", "e6", "up", "master", &h1.bridge_of("e1")?])?;
    for endpoint in [&pair.e1, &e3] {
        pair.lab.wait("a ping", PATIENCE, || endpoint.ping(E2))?;
    }
    let heard_of_e3 = |expected: bool| {
        pair.lab.wait(&format!("e3's MAC on h2: {expected}"), PATIENCE, || {
            same(&pair.h2.remote_macs(&pair.h2.vxlan(VNI)?)?.contains_key(MAC3), &expected)
        })
    };
    heard_of_e3(true)?;
    h1.spawn("links", &["ip", "-o", "monitor", "link"])?;

    // Its section names it no more.
    same(&h1.stop("evpnd", "TERM")?, &Some(0))?;
    h1.write(evpnd::lab::CONFIG, &config(&["e1"]))?;
    h1.start()?;
    wait_ports(&pair, &["e1", "e4", "e5", "e6"])?;
    heard_of_e3(false)?;
    ensure(e3.ping(E2).is_err(), || "who was taken out of the overlay is still in it".to_owned())?;
    pair.wait_established()?;
    pair.lab.wait("a ping", PATIENCE, || pair.e1.ping(E2))?;

    // A client's file goes while nobody looks.
    h1.kill9()?;
    h1.sh(&format!("rm {DIR}/e5.json"))?;
    h1.start()?;
    wait_ports(&pair, &["e1", "e4", "e6"])?;
    pair.lab.wait("a ping", PATIENCE, || pair.e1.ping(E2))?;

    // Nor does anybody leave because the directory is not there yet.
    h1.kill9()?;
    h1.sh(&format!("mv {DIR} {DIR}.away"))?;
    h1.start()?;
    pair.wait_established()?;
    pair.lab.wait("a ping", PATIENCE, || pair.e1.ping(E2))?;
    stays(Duration::from_secs(2), || same(&ports(h1)?.len(), &3))?;
    h1.sh(&format!("mv {DIR}.away {DIR}"))?;
    pair.lab.wait("the client is up", PATIENCE, || {
        let rows = h1.rows("clients")?;
        ensure(rows.iter().any(|row| row["state"] == "up"), || format!("{rows:?}"))
    })?;

    // Those who stayed never left. (Of a port that leaves, the bridge says that it is deleted.)
    h1.run(&["ip", "link", "add", "last", "type", "bridge"])?;
    pair.lab.wait("all that was heard of links", PATIENCE, || {
        ensure(h1.log("links").contains(" last:"), || "the last is not among it".to_owned())
    })?;
    let heard = h1.log("links");
    let left = |port: &str| {
        let leaves = |line: &&str| line.starts_with("Deleted") && line.contains(&format!(": {port}@"));
        heard.lines().filter(leaves).count()
    };
    same(&["e3", "e5"].map(left), &[1, 1])?;
    same(&["e1", "e4", "e6"].map(left), &[0, 0, 0])
}
