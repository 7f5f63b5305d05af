//! `evpnd plan`: it says what a run then does, and a run leaves it nothing to say; it changes nothing itself.

use evpnd::lab::BRIDGE;
use serde_json::{Value, json};

use crate::common::{
    Config, Error, Lab, MAC1, MAC2, Node, PATIENCE, Pair, Result, V1, VNI, c1, c2, ensure, lab, same,
};

/// The steps of a plan, as (action, kind, what).
fn plan(host: &Node) -> Result<Vec<(String, String, String)>> {
    let text = host.evpnd_run(&["plan", "-c", evpnd::lab::CONFIG, "--json"])?;
    let steps: Vec<Value> = serde_json::from_str(&text).map_err(|e| Error::new(format!("{e}: {text}")))?;
    let part = |step: &Value, key: &str| step[key].as_str().unwrap_or_default().to_owned();
    Ok(steps.iter().map(|s| (part(s, "action"), part(s, "kind"), part(s, "what"))).collect())
}

/// What a plan wants done to the dataplane, what perhaps goes left out.
fn work(host: &Node) -> Result<Vec<String>> {
    let steps = plan(host)?.into_iter();
    let steps =
        steps.filter(|(action, ..)| !["announce", "remove-unless-announced"].contains(&action.as_str()));
    Ok(steps.map(|(action, _, what)| format!("{action} {what}")).collect())
}

fn announced(host: &Node) -> Result<Vec<String>> {
    let steps = plan(host)?.into_iter().filter(|(action, ..)| action == "announce");
    Ok(steps.map(|(_, _, what)| what).collect())
}

fn nothing_left(lab: &Lab, host: &Node) -> Result<()> {
    lab.wait("a plan with nothing to do", PATIENCE, || same(&work(host)?, &Vec::<String>::new()))
}

#[test]
fn a_plan_for_the_kernel_says_what_a_run_does() -> Result<()> {
    let pair = Pair::new()?;
    pair.h1.write(evpnd::lab::CONFIG, &c1().toml())?;
    let links = || pair.h1.run(&["ip", "-j", "link"]);
    let before = links()?;
    let want = work(&pair.h1)?;
    for step in [
        format!("add vni {VNI}: create bridge br-evpn-{VNI}"),
        format!("add vni {VNI}: create VXLAN device vxlan-{VNI}"),
        format!("change vni {VNI}: attach e1 to br-evpn-{VNI}"),
    ] {
        ensure(want.contains(&step), || format!("no {step} in {want:#?}"))?;
    }
    same(&announced(&pair.h1)?, &vec![format!("[3]:[0]:[32]:[{V1}]")])?;
    same(&links()?, &before)?;

    pair.h1.evpnd(&c1().toml())?;
    pair.h2.evpnd(&c2().toml())?;
    pair.settle()?;
    nothing_left(&pair.lab, &pair.h1)?;
    let rows = pair.h1.run(&["bridge", "-j", "fdb"])?;
    // The other host's rows stand; a plan cannot know that they stay.
    let perhaps = plan(&pair.h1)?;
    let perhaps = perhaps.iter().filter(|(action, ..)| action == "remove-unless-announced").count();
    ensure(perhaps > 0, || "nothing perhaps goes".to_owned())?;
    same(&pair.h1.run(&["bridge", "-j", "fdb"])?, &rows)?;

    // For people.
    let text = pair.h1.evpnd_run(&["plan", "-c", evpnd::lab::CONFIG])?;
    for part in
        ["Nothing to do: what there is, is what should be.", "routes to announce", "0 to add, 0 to change"]
    {
        ensure(text.contains(part), || format!("no {part:?} in\n{text}"))?;
    }

    // A row somebody takes away is something to do, until evpnd finds out by itself.
    pair.h1.signal("evpnd", "STOP")?;
    let device = pair.h1.vxlan(VNI)?;
    pair.h1.run(&["ip", "link", "set", &device, "nomaster"])?;
    let step = format!("change vni {VNI}: attach {device} to br-evpn-{VNI}");
    let have = work(&pair.h1);
    pair.h1.signal("evpnd", "CONT")?;
    let have = have?;
    ensure(have.contains(&step), || format!("no {step} in {have:#?}"))?;
    nothing_left(&pair.lab, &pair.h1)
}

#[test]
fn a_plan_for_the_kernel_says_what_cannot_be() -> Result<()> {
    let pair = Pair::new()?;
    let config = Config::host(65001, V1).vni(VNI, &["nobody"]);
    pair.h1.write(evpnd::lab::CONFIG, &config.toml())?;
    let steps = plan(&pair.h1)?;
    let cannot: Vec<_> = steps.iter().filter(|(action, ..)| action == "cannot").collect();
    ensure(cannot.len() == 1 && cannot[0].2.contains("nobody"), || format!("{steps:#?}"))
}

#[test]
fn a_plan_for_a_single_device_says_what_is_made() -> Result<()> {
    let pair = Pair::new()?;
    let config = Config::host(65001, V1)
        .dataplane("[dataplane.kernel]\nlayout = \"single-device\"")
        .bare_vni(VNI, "")
        .bare_vni(200, "vlan = 7");
    pair.h1.write(evpnd::lab::CONFIG, &config.toml())?;
    let steps = work(&pair.h1)?;
    for step in [
        "create bridge br-evpn".to_owned(),
        "create VXLAN device vxlan1".to_owned(),
        format!("map VLAN 2 of vxlan1 to VNI {VNI}"),
        "map VLAN 7 of vxlan1 to VNI 200".to_owned(),
    ] {
        ensure(steps.iter().any(|s| s.contains(&step)), || format!("no {step} in {steps:#?}"))?;
    }
    same(&announced(&pair.h1)?.len(), &2)
}

#[test]
fn a_plan_for_open_vswitch_says_what_a_run_does() -> Result<()> {
    let lab = lab()?;
    let spine = lab.switch("spine")?;
    let h1 = lab.host("h1")?.underlay_ovs(&spine, &["10.0.0.1/24"])?;
    let toml = "[router]\nasn = 65001\n[bgp]\nlisten = []\n[dataplane]\nbackend = \"ovs\"\nvtep = \"10.0.0.1\"\n\
                [dataplane.ovs]\ndatapath = \"netdev\"\n[clients]\ndir = \"/run/clients\"\n";
    h1.write(evpnd::lab::CONFIG, toml)?;
    let client = json!({
        "cfg_type": "l2", "mac": MAC1, "ip": "10.9.0.1", "vni": 10, "ofport": 7, "type": "flat", "tag": 0,
        "imp_rt": ["65000:10"], "exp_rt": ["65000:10"],
    });
    h1.sh("mkdir /run/clients")?;
    h1.write("/run/clients/vm1.json", &client.to_string())?;

    let routed = json!({
        "cfg_type": "l3", "mac": MAC2, "routes": ["10.8.0.1/32", "fd00:8::/64"], "vni": 20, "ofport": 8, "type": "vlan",
        "tag": 100, "imp_rt": ["65000:20"], "exp_rt": ["65000:20"],
    });
    h1.write("/run/clients/vm2.json", &routed.to_string())?;

    // There is no bridge, and so no port of the client's.
    let steps = plan(&h1)?;
    let of = |action: &str, kind: &str| {
        let steps = steps.iter().filter(|(a, k, _)| (a.as_str(), k.as_str()) == (action, kind));
        steps.map(|(_, _, what)| what.as_str()).collect::<Vec<_>>()
    };
    ensure(of("add", "command").iter().any(|c| c.contains(&format!("add-br {BRIDGE}"))), || {
        format!("{steps:#?}")
    })?;
    ensure(of("cannot", "client").iter().any(|c| c.starts_with("vm1.json: ")), || format!("{steps:#?}"))?;
    // The VNI is there all the same; the client's MAC is not.
    same(&of("announce", "route"), &vec!["[3]:[0]:[32]:[10.0.0.1]"])?;
    ensure(h1.ovs().vsctl(&["br-exists", BRIDGE]).is_err(), || "plan made the bridge".to_owned())?;

    // With the bridge and the port, everything.
    h1.ovs().add_bridge(BRIDGE, "secure")?;
    for (tap, ofport) in [("tap1", 7), ("tap2", 8)] {
        h1.sh(&format!("ip link add {tap} type veth peer name {tap}-far && ip link set {tap} up"))?;
        h1.ovs().add_port(BRIDGE, tap, Some(ofport))?;
    }
    let mut flows: Vec<String> = plan(&h1)?
        .into_iter()
        .filter(|(a, k, _)| a == "add" && k == "flow")
        .map(|(_, _, what)| what)
        .collect();
    same(&h1.ovs().flows()?.iter().filter(|f| f.contains("cookie=0x65767064")).count(), &0)?;
    let routes = announced(&h1)?;
    for route in [
        "[3]:[0]:[32]:[10.0.0.1]",
        &format!("[2]:[0]:[48]:[{MAC1}]:[32]:[10.9.0.1]"),
        "[5]:[0]:[32]:[10.8.0.1]",
        "[5]:[0]:[64]:[fd00:8::]",
    ] {
        ensure(routes.iter().any(|r| r == route), || format!("no {route} in {routes:?}"))?;
    }

    h1.evpnd(toml)?;
    nothing_left(&lab, &h1)?;
    // Exactly those.
    let count = h1.ovs().ofctl(&["dump-flows", BRIDGE, "cookie=0x6576706400000000/0xffffffff00000000"])?;
    let count = count.lines().filter(|line| line.contains("actions=")).count();
    flows.sort_unstable();
    same(&count, &flows.len())?;
    same(&h1.rows("routes")?.len(), &routes.len())
}
