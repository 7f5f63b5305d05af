//! gobgpd 3.10 as the controller of evpnd hosts, and as the one that injects routes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::common::gobgp::Gobgp;
use crate::common::{
    Config, Lab, Node, PATIENCE, Pair, Result, V1, V2, VNI, ensure, forwards_to, lab, routes, same,
    wait_session,
};

const CONTROLLER: &str = "10.0.0.10";

/// gobgpd in AS 64512 that takes any peer from 10.0.0.0/24, as the lab evpnd replaces had it.
const DYNAMIC: &str = r#"
[global.config]
  as = 64512
  router-id = "10.0.0.10"
[[peer-groups]]
  [peer-groups.config]
    peer-group-name = "hosts"
  [[peer-groups.afi-safis]]
    [peer-groups.afi-safis.config]
      afi-safi-name = "l2vpn-evpn"
[[dynamic-neighbors]]
  [dynamic-neighbors.config]
    prefix = "10.0.0.0/24"
    peer-group = "hosts"
"#;

/// What a controller needs besides: by default gobgpd passes routes on to other ASes with itself as next hop, which is
/// wrong for VXLAN, since the packets would go to the controller.
const NEXT_HOP_UNCHANGED: &str = r#"
[global.apply-policy.config]
  export-policy-list = ["next-hop-unchanged"]
  default-export-policy = "accept-route"
[[policy-definitions]]
  name = "next-hop-unchanged"
  [[policy-definitions.statements]]
    name = "next-hop-unchanged"
    [policy-definitions.statements.actions]
      route-disposition = "accept-route"
    [policy-definitions.statements.actions.bgp-actions]
      set-next-hop = "unchanged"
"#;

fn host(node: &Node, asn: u32, vtep: &str, port: &str) -> Result<()> {
    node.evpnd(&Config::host(asn, vtep).neighbor(CONTROLLER, "64512", "").vni(VNI, &[port]).toml())
}

/// Everything the predecessor's lab did, with evpnd in place of gobgpd and agent on the hosts.
#[test]
fn the_controller_between_two_hosts() -> Result<()> {
    let pair = Pair::new()?;
    let controller = pair.lab.host("c")?.underlay(&pair.spine, &["10.0.0.10/24"])?;
    let gobgp = Gobgp::start(&controller, &[DYNAMIC, NEXT_HOP_UNCHANGED].concat())?;
    host(&pair.h1, 65001, V1, "e1")?;
    host(&pair.h2, 65002, V2, "e2")?;
    for node in [&pair.h1, &pair.h2] {
        wait_session(&pair.lab, node, CONTROLLER, "established")?;
    }
    pair.lab.wait("the endpoints reach each other", PATIENCE, || pair.e1.ping(crate::common::E2))?;
    pair.wait_forwarding()?;

    // gobgp read our bytes as we meant them.
    let rib = gobgp.json("global rib -a evpn")?;
    let text = rib.to_string();
    for part in [
        "[type:multicast][rd:10.0.0.1:",
        "[ip:10.0.0.2]",
        "[mac:02:00:00:00:00:01]",
        "\"tunnel-id\":\"10.0.0.1\"",
    ] {
        ensure(text.contains(part), || format!("no {part} in {text}"))?;
    }
    let rows =
        rib.as_object().map(|paths| paths.values().flat_map(|p| p.as_array().cloned().unwrap_or_default()));
    for path in rows.into_iter().flatten() {
        check_path(&path)?;
    }

    // The host's daemon dies: its rows go, and come back with it.
    pair.h2.kill9()?;
    let device = pair.h1.vxlan(VNI)?;
    pair.lab.wait("h2's rows gone from h1", PATIENCE, || {
        same(&(pair.h1.flood(&device)?.len(), pair.h1.remote_macs(&device)?.len()), &(0, 0))
    })?;
    pair.h2.start()?;
    pair.wait_forwarding()?;
    pair.e1.ping(crate::common::E2)
}

/// Label, route target, encapsulation and next hop of a path as gobgp understood them.
fn check_path(path: &Value) -> Result<()> {
    let attributes = path["attrs"].as_array().cloned().unwrap_or_default();
    let of = |kind: u64| attributes.iter().find(|a| a["type"] == kind).cloned().unwrap_or_default();
    let next_hop = of(14)["nexthop"].as_str().unwrap_or_default().to_owned();
    ensure(next_hop == V1 || next_hop == V2, || format!("next hop {next_hop}: {path}"))?;
    let communities = of(16).to_string();
    ensure(communities.contains("\"65000:100\"") && communities.contains("\"tunnel_type\":8"), || {
        path.to_string()
    })?;
    match path["nlri"]["type"].as_u64() {
        Some(2) => same(&path["nlri"]["value"]["labels"], &serde_json::json!([VNI])),
        Some(3) => same(
            &(of(22)["label"].as_u64(), of(22)["tunnel-type"].as_u64()),
            &(Some(u64::from(VNI)), Some(6)),
        ),
        other => ensure(false, || format!("a route of type {other:?}: {path}")),
    }
}

/// gobgpd without hosts behind it, its next hops made up; one evpnd host.
fn injector() -> Result<(Lab, Node, Gobgp)> {
    let lab = lab()?;
    let spine = lab.switch("spine")?;
    let controller = lab.host("c")?.underlay(&spine, &["10.0.0.10/24"])?;
    let h1 = lab.host("h1")?.underlay(&spine, &["10.0.0.1/24"])?;
    lab.endpoint(&h1, "e1", crate::common::MAC1, &["10.9.0.1/24"])?;
    let gobgp = Gobgp::start(&controller, DYNAMIC)?;
    h1.evpnd(&Config::host(65001, V1).neighbor(CONTROLLER, "64512", "").vni(VNI, &["e1"]).toml())?;
    wait_session(&lab, &h1, CONTROLLER, "established")?;
    Ok((lab, h1, gobgp))
}

#[test]
fn injected_multicast_and_mac_reach_the_kernel_and_go() -> Result<()> {
    let (lab, h1, gobgp) = injector()?;
    let imet = "multicast 10.0.0.10 etag 0 rd 10.0.0.10:100 rt 65000:100 encap vxlan pmsi ingress-repl 100 10.0.0.10";
    let mac = "macadv 02:00:00:00:00:77 10.9.0.77 etag 0 label 100 rd 10.0.0.10:100 rt 65000:100 encap vxlan";
    gobgp.run(&format!("global rib -a evpn add {imet}"))?;
    gobgp.run(&format!("global rib -a evpn add {mac}"))?;
    lab.wait("flood and MAC row", PATIENCE, || forwards_to(&h1, CONTROLLER, "02:00:00:00:00:77"))?;
    let rows = routes(&h1, 2, CONTROLLER)?;
    let row = rows.first().cloned().unwrap_or_default();
    for (key, want) in [
        ("mac", "02:00:00:00:00:77"),
        ("ip", "10.9.0.77"),
        ("next_hop", "10.0.0.10"),
        ("rd", "10.0.0.10:100"),
    ] {
        ensure(row[key] == want, || format!("{key} of {row}"))?;
    }
    ensure(row["vni"] == VNI && row["best"] == true, || row.to_string())?;
    // The address went to the neighbour table, for ARP suppression.
    lab.wait("the neighbour", PATIENCE, || {
        let neighbours = h1.run(&["ip", "neigh", "show"])?;
        let found =
            neighbours.lines().any(|line| line.contains("10.9.0.77") && line.contains("02:00:00:00:00:77"));
        ensure(found, || neighbours)
    })?;

    gobgp.run(&format!("global rib -a evpn del {mac}"))?;
    let device = h1.vxlan(VNI)?;
    lab.wait("the MAC gone, the flood row not", PATIENCE, || {
        same(&h1.remote_macs(&device)?, &BTreeMap::new())?;
        same(&h1.flood(&device)?, &[CONTROLLER.to_owned()].into())
    })?;
    gobgp.run(&format!("global rib -a evpn del {imet}"))?;
    lab.wait("the flood row gone", PATIENCE, || same(&h1.flood(&device)?.len(), &0))
}

/// A MAC whose VTEP floods nothing, and the reverse: neither row depends on the other.
#[test]
fn flood_row_and_mac_do_not_hang_together() -> Result<()> {
    let (lab, h1, gobgp) = injector()?;
    let imet = "multicast 10.0.0.10 etag 0 rd 10.0.0.10:100 rt 65000:100 encap vxlan pmsi ingress-repl 100 10.0.0.10";
    let mac = "macadv 02:00:00:00:00:77 0.0.0.0 etag 0 label 100 rd 10.0.0.10:100 rt 65000:100 encap vxlan";
    gobgp.run(&format!("global rib -a evpn add {mac}"))?;
    let device = h1.vxlan(VNI)?;
    let macs: BTreeMap<_, _> = [("02:00:00:00:00:77".to_owned(), CONTROLLER.to_owned())].into();
    lab.wait("the MAC alone", PATIENCE, || same(&h1.remote_macs(&device)?, &macs))?;
    same(&h1.flood(&device)?.len(), &0)?;
    gobgp.run(&format!("global rib -a evpn add {imet}"))?;
    lab.wait("both", PATIENCE, || same(&h1.flood(&device)?.len(), &1))?;
    gobgp.run(&format!("global rib -a evpn del {imet}"))?;
    lab.wait("the MAC alone again", PATIENCE, || same(&h1.flood(&device)?.len(), &0))?;
    same(&h1.remote_macs(&device)?, &macs)
}

/// A route for another VNI's route target is kept, shown, and not used.
#[test]
fn other_route_targets_and_prefixes_are_not_imported() -> Result<()> {
    let (lab, h1, gobgp) = injector()?;
    gobgp.run("global rib -a evpn add macadv 02:00:00:00:00:77 0.0.0.0 etag 0 label 101 rd 10.0.0.10:101 rt 65000:101 encap vxlan")?;
    gobgp.run("global rib -a evpn add prefix 10.77.0.0/24 etag 0 label 5000 rd 10.0.0.10:5000 rt 65000:5000 encap vxlan")?;
    lab.wait("both routes in show routes", PATIENCE, || {
        let mac = routes(&h1, 2, CONTROLLER)?;
        same(&mac.len(), &1)?;
        ensure(mac[0]["imported_by"].as_array().is_none_or(Vec::is_empty), || mac[0].to_string())?;
        let prefix = routes(&h1, 5, CONTROLLER)?;
        same(&prefix.len(), &1)?;
        ensure(prefix[0]["prefix"] == "10.77.0.0/24" && prefix[0]["vni"] == 5000, || prefix[0].to_string())
    })?;
    let device = h1.vxlan(VNI)?;
    same(&(h1.flood(&device)?.len(), h1.remote_macs(&device)?.len()), &(0, 0))?;
    gobgp.run("global rib -a evpn del prefix 10.77.0.0/24 etag 0 label 5000 rd 10.0.0.10:5000")?;
    lab.wait("the prefix gone", PATIENCE, || same(&routes(&h1, 5, CONTROLLER)?.len(), &0))
}

/// What `evpnd route add` makes arrives at gobgpd, and goes.
#[test]
fn routes_by_hand() -> Result<()> {
    let (lab, h1, gobgp) = injector()?;
    let rib = || gobgp.run("global rib -a evpn");
    for (route, shows) in [
        ("mac --vni 100 --mac 02:00:00:00:00:88 --ip 10.9.0.88", "[mac:02:00:00:00:00:88][ip:10.9.0.88]"),
        ("imet --vni 4711", "[type:multicast][rd:10.0.0.1:4711]"),
        ("prefix --vni 5000 10.88.0.0/24", "[prefix:10.88.0.0/24]"),
    ] {
        for (verb, there) in [("add", true), ("del", false)] {
            let mut args = vec!["route", verb];
            args.extend(route.split(' '));
            h1.evpnd_run(&args)?;
            lab.wait(&format!("route {verb} {route}"), PATIENCE, || {
                let table = rib()?;
                ensure(table.contains(shows) == there, || table)
            })?;
        }
    }
    Ok(())
}
