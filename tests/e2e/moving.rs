//! Moving over from evpn-connector: its bridge, its VXLAN port and its flows as it leaves them, and what `evpnd migrate`
//! makes of its configuration and gobgpd's.

use evpnd::lab::Plug;
use serde_json::Value;

use crate::common::{
    E1, E2, Lab, MAC1, MAC2, Node, PATIENCE, Result, V1, V2, ensure, lab, same, wait_session,
};

/// The name of the bridge in evpn-connector's sample.
const BRIDGE: &str = "evpn";
/// The number of its VXLAN port.
const VXLAN: u16 = 65278;
const VNI: u32 = 10;

struct Moving {
    lab: Lab,
    h1: Node,
    h2: Node,
    e1: Node,
}

/// Two hosts as evpn-connector left them, a client each.
fn moving() -> Result<Moving> {
    let lab = lab()?;
    let spine = lab.switch("spine")?;
    let h1 = lab.host("h1")?.underlay_ovs(&spine, &[&format!("{V1}/24")])?;
    let h2 = lab.host("h2")?.underlay_ovs(&spine, &[&format!("{V2}/24")])?;
    let e1 = client(&lab, &h1, "e1", MAC1, E1)?;
    client(&lab, &h2, "e2", MAC2, E2)?;
    for (host, own, other, mac, far) in [(&h1, V1, V2, MAC1, MAC2), (&h2, V2, V1, MAC2, MAC1)] {
        left_by_the_predecessor(host, own, other, mac, far)?;
        files(host, own, other, mac)?;
    }
    h1.ovs().warm(&[V2])?;
    h2.ovs().warm(&[V1])?;
    Ok(Moving { lab, h1, h2, e1 })
}

fn client(lab: &Lab, host: &Node, name: &str, mac: &str, ip: &str) -> Result<Node> {
    let ovs = host.ovs();
    ovs.add_bridge(BRIDGE, "secure")?;
    ovs.vsctl(&["set", "bridge", BRIDGE, "protocols=OpenFlow13"])?;
    // The harness plugs into evpnd's bridge by default; a trunk's switch is a bridge of any name.
    ovs.add_bridge("sw-none", "standalone")?;
    let endpoint = lab.ovs_endpoint(host, name, Plug::Trunk("none", 0), mac, &[&format!("{ip}/24")])?;
    ovs.vsctl(&["del-port", "sw-none", name])?;
    ovs.add_port(BRIDGE, name, Some(1000))?;
    Ok(endpoint)
}

/// The port and the flows that evpn-connector makes for one client here and one there.
fn left_by_the_predecessor(host: &Node, own: &str, other: &str, mac: &str, far: &str) -> Result<()> {
    let ovs = host.ovs();
    ovs.add_port(BRIDGE, "vxlan_out", Some(VXLAN))?;
    let local = format!("options:local_ip={own}");
    let options =
        ["options:in_key=flow", "options:out_key=flow", "options:remote_ip=flow", "options:dst_port=4789"];
    ovs.vsctl(&[&["set", "Interface", "vxlan_out", "type=vxlan", &local], &options[..]].concat())?;
    let tunnel = format!("set_field:{VNI}->tun_id,set_field:{other}->tun_dst,output:{VXLAN}");
    for flow in [
        "table=0,priority=0,actions=drop".to_owned(),
        "table=1,priority=0,actions=drop".to_owned(),
        format!(
            "table=0,priority=10,in_port=1000,actions=set_field:{VNI}->reg0,set_field:1->reg1,resubmit(,1)"
        ),
        format!(
            "table=0,priority=10,in_port={VXLAN},tun_id={VNI},actions=set_field:{VNI}->reg0,set_field:0->reg1,resubmit(,1)"
        ),
        format!("table=1,priority=10,reg0={VNI},dl_dst={mac},actions=output:1000"),
        format!("table=1,priority=10,reg0={VNI},reg1=1,dl_dst={far},actions={tunnel}"),
        format!("table=1,priority=9,reg0={VNI},reg1=0,actions=output:1000"),
        format!("table=1,priority=9,reg0={VNI},reg1=1,actions=output:1000,{tunnel}"),
    ] {
        ovs.ofctl(&["add-flow", BRIDGE, &flow])?;
    }
    Ok(())
}

fn files(host: &Node, own: &str, other: &str, mac: &str) -> Result<()> {
    let (asn, far) = if own == V1 { (65001, 65002) } else { (65002, 65001) };
    host.sh("mkdir /run/old /run/old/clients")?;
    let gobgp = format!(
        "[global.config]\nas = {asn}\nrouter-id = \"{own}\"\nlocal-address-list = [\"{own}\"]\n[[neighbors]]\n\
         [neighbors.config]\nneighbor-address = \"{other}\"\npeer-as = {far}\n[neighbors.ebgp-multihop.config]\n\
         enabled = true\nmultihop-ttl = 7\n[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"l2vpn-evpn\"\n"
    );
    host.write("/run/old/gobgp.conf", &gobgp)?;
    let connector = format!(
        "[gobgp]\nsource_ip = \"{own}\"\nas_number = 1\n[ovs]\nswitch_name = \"{BRIDGE}\"\n[daemon]\n\
         configs_dir = /run/old/clients\n"
    );
    host.write("/run/old/evpn.conf", &connector)?;
    // A leading 0 is evpn-connector's AS, which is not that of either gobgpd.
    let client = format!(
        "{{\"cfg_type\": \"l2\", \"mac\": \"{mac}\", \"vni\": {VNI}, \"ofport\": 1000, \"type\": \"flat\", \"tag\": 0, \
         \"imp_rt\": [\"0:10\"], \"exp_rt\": [\"0:10\"]}}"
    );
    host.write("/run/old/clients/vm.json", &client)
}

/// Makes evpnd of what is there, and starts it.
fn moves(host: &Node) -> Result<()> {
    let toml = host.evpnd_run(&[
        "migrate",
        "--gobgp",
        "/run/old/gobgp.conf",
        "--evpn-connector",
        "/run/old/evpn.conf",
    ])?;
    host.write(evpnd::lab::CONFIG, &toml)?;
    let plan = host.evpnd_run(&["plan", "-c", evpnd::lab::CONFIG, "--json"])?;
    let steps: Vec<Value> =
        serde_json::from_str(&plan).map_err(|e| evpnd::lab::Error::new(format!("{e}: {plan}")))?;
    let commands: Vec<_> =
        steps.iter().filter(|s| s["kind"] == "command" || s["action"] == "cannot").collect();
    ensure(commands.is_empty(), || format!("not everything is adopted: {commands:#?}"))?;
    host.evpnd(&toml)
}

/// The flows with a cookie: those of the pipelines, and those of Open vSwitch's own table, which has no cookie either.
fn flows(host: &Node, cookie: &str) -> Result<(usize, usize)> {
    let text = host.ovs().ofctl(&["dump-flows", BRIDGE, cookie])?;
    let (own, ours): (Vec<&str>, Vec<&str>) =
        text.lines().filter(|line| line.contains("actions=")).partition(|line| line.contains("table=254"));
    Ok((ours.len(), own.len()))
}

#[test]
fn hosts_of_evpn_connector_become_hosts_of_evpnd() -> Result<()> {
    let Moving { lab, h1, h2, e1 } = moving()?;
    lab.wait("the flows of evpn-connector forward", PATIENCE, || e1.ping(E2))?;

    moves(&h1)?;
    moves(&h2)?;
    wait_session(&lab, &h1, V2, "established")?;
    for host in [&h1, &h2] {
        lab.wait("the client up, everything in sync", PATIENCE, || {
            let clients = host.rows("clients")?;
            ensure(clients.len() == 1 && clients[0]["state"] == "up", || format!("{clients:?}"))?;
            let dataplane = host.show("dataplane")?;
            ensure(dataplane["in_sync"] == true, || dataplane.to_string())
        })?;
    }
    lab.wait("the other client's MAC", PATIENCE, || {
        let macs = h1.rows("macs")?;
        ensure(macs.iter().any(|m| m["mac"] == MAC2 && m["vtep"] == V2), || format!("{macs:?}"))
    })?;
    lab.wait("evpnd's flows forward", PATIENCE, || e1.ping(E2))?;

    // Its flows are still there; none of them is needed.
    for host in [&h1, &h2] {
        let (theirs, own) = flows(host, "cookie=0/-1")?;
        same(&theirs, &8)?;
        host.ovs().ofctl(&["del-flows", BRIDGE, "cookie=0/-1"])?;
        same(&flows(host, "cookie=0/-1")?, &(0, own))?;
        ensure(flows(host, "cookie=0x6576706400000000/0xffffffff00000000")?.0 > 10, || {
            "no flows of ours".to_owned()
        })?;
    }
    lab.wait("they do so alone", PATIENCE, || e1.ping(E2))?;
    // Under a number of its own AS, not of gobgpd's: hosts that have not moved take it.
    let routes = h1.rows("routes")?;
    let targets = routes.iter().all(|r| r["route_targets"] == serde_json::json!(["1:10"]));
    ensure(targets, || format!("{routes:?}"))
}
