//! What is made, what is adopted, what is in the way.

use super::*;
use crate::ovs::ovsdb::{Bridge, Vxlan};

fn config() -> OvsConfig {
    OvsConfig { datapath: Datapath::Netdev, ..OvsConfig::new("br-x", [10, 0, 0, 1].into()) }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn bridge(ports: &[&str]) -> Bridge {
    Bridge {
        name: "br-x".into(),
        datapath: "netdev".into(),
        fail_mode: Some("secure".into()),
        ports: ["br-x"].iter().chain(ports).map(|p| (*p).to_owned()).collect(),
        ..Bridge::default()
    }
}

fn vxlan(name: &str) -> Vxlan {
    Vxlan {
        name: name.into(),
        bridge: "br-x".into(),
        ofport: Some(7),
        options: map(&[
            ("key", "flow"),
            ("remote_ip", "flow"),
            ("local_ip", "10.0.0.1"),
            ("dst_port", "4789"),
        ]),
        ..Vxlan::default()
    }
}

fn db(bridges: Vec<Bridge>, vxlans: Vec<Vxlan>) -> Db {
    Db { bridges, vxlans, datapaths: vec!["netdev".into()] }
}

fn steps(db: &Db) -> Vec<String> {
    plan(&config(), db).unwrap().steps.iter().map(ToString::to_string).collect()
}

fn refusal(db: &Db) -> String {
    plan(&config(), db).unwrap_err().to_string()
}

#[test]
fn what_is_missing_is_made() {
    let empty = db(vec![], vec![]);
    assert_eq!(
        steps(&empty),
        [
            "ovs-vsctl --may-exist add-br br-x -- set bridge br-x datapath_type=netdev fail_mode=secure \
             external_ids:evpnd=bridge",
            "ovs-vsctl add-port br-x vxlan-evpn -- set interface vxlan-evpn ofport_request=65278 type=vxlan \
             options:key=flow options:remote_ip=flow options:local_ip=\"10.0.0.1\" options:dst_port=4789 \
             external_ids:evpnd=vxlan",
        ]
    );
    assert_eq!(plan(&config(), &empty).unwrap().vxlan, "vxlan-evpn");
}

#[test]
fn what_stands_is_used_as_it_is() {
    // evpn-connector's port, and its way to say flow-based.
    let mut theirs = vxlan("vxlan_out");
    theirs.options =
        map(&[("in_key", "flow"), ("out_key", "flow"), ("remote_ip", "flow"), ("local_ip", "10.0.0.1")]);
    let setup = plan(&config(), &db(vec![bridge(&["vxlan_out"])], vec![theirs.clone()])).unwrap();
    assert_eq!(setup, Setup { vxlan: "vxlan_out".into(), ..Setup::default() });

    // Of two the switch has opened one.
    let mut second = vxlan("vxlan-evpn");
    second.ofport = None;
    second.error = Some("could not add network device vxlan-evpn to ofproto (File exists)".into());
    for vxlans in [vec![second.clone(), theirs.clone()], vec![theirs, second.clone()]] {
        let setup = plan(&config(), &db(vec![bridge(&["vxlan_out", "vxlan-evpn"])], vxlans)).unwrap();
        assert_eq!(setup.vxlan, "vxlan_out");
    }
    let alone = db(vec![bridge(&["vxlan-evpn"])], vec![second]);
    assert_eq!(
        refusal(&alone),
        "VXLAN port vxlan-evpn on bridge br-x: ovs-vswitchd cannot open it: could not add network device \
         vxlan-evpn to ofproto (File exists)"
    );
}

#[test]
fn fail_mode_is_set_only_where_there_is_none() {
    let mut none = bridge(&["vx"]);
    none.fail_mode = None;
    assert_eq!(steps(&db(vec![none.clone()], vec![vxlan("vx")])), ["ovs-vsctl set-fail-mode br-x secure"]);
    none.fail_mode = Some("standalone".into());
    none.datapath = String::new();
    let setup = plan(&config(), &Db { datapaths: vec![], ..db(vec![none], vec![vxlan("vx")]) }).unwrap();
    assert!(setup.steps.is_empty());
    assert!(setup.remarks[0].contains("fail_mode standalone"), "{:?}", setup.remarks);
    assert!(setup.remarks[1].contains("datapath system: it is used as it is"), "{:?}", setup.remarks);
}

#[test]
fn what_is_in_the_way_is_named_with_what_to_do() {
    let mut old = bridge(&[]);
    old.protocols = vec!["OpenFlow10".into()];
    assert_eq!(
        refusal(&db(vec![old], vec![])),
        "bridge br-x: it allows only OpenFlow10, and OpenFlow13 is needed: allow it with: ovs-vsctl add bridge \
         br-x protocols OpenFlow13"
    );

    let mut other = vxlan("vxlan-evpn");
    other.options.insert("local_ip".into(), "10.0.0.9".into());
    assert_eq!(
        refusal(&db(vec![bridge(&["vxlan-evpn"])], vec![other])),
        "make VXLAN port vxlan-evpn on bridge br-x: bridge br-x has a port vxlan-evpn, which is not a flow-based \
         VXLAN port from 10.0.0.1 to UDP port 4789: remove it (ovs-vsctl del-port br-x vxlan-evpn), or set another \
         name as vxlan in [dataplane.ovs]"
    );

    let elsewhere = Vxlan { bridge: "br-y".into(), ..vxlan("vx") };
    assert_eq!(
        refusal(&db(vec![bridge(&[])], vec![elsewhere])),
        "make VXLAN port vxlan-evpn on bridge br-x: port vx on bridge br-y has this VTEP and UDP port already: \
         remove it (ovs-vsctl del-port br-y vx), or set bridge = \"br-y\" in [dataplane.ovs]"
    );

    let system = OvsConfig { datapath: Datapath::System, ..config() };
    assert_eq!(
        plan(&system, &db(vec![], vec![])).unwrap_err().to_string(),
        "bridge br-x: this Open vSwitch has no system datapath, only netdev: load the kernel module (modprobe \
         openvswitch), or use the userspace datapath: datapath = \"netdev\""
    );
}

#[test]
fn a_port_of_ours_follows_the_configuration() {
    let mut ours = vxlan("vx");
    ours.options.insert("local_ip".into(), "10.0.0.9".into());
    ours.external_ids = map(&[("evpnd", "vxlan")]);
    let db = db(vec![bridge(&["vx"])], vec![ours]);
    assert_eq!(
        steps(&db),
        ["ovs-vsctl -- set interface vx type=vxlan options:key=flow options:remote_ip=flow \
          options:local_ip=\"10.0.0.1\" options:dst_port=4789 external_ids:evpnd=vxlan"]
    );
    assert_eq!(plan(&config(), &db).unwrap().vxlan, "vx");
}

#[test]
fn only_what_is_ours_is_removed_and_the_bridge_only_if_it_is_empty() {
    let ours = || Vxlan { external_ids: map(&[("evpnd", "vxlan")]), ..vxlan("vx") };
    let marked = |ports: &[&str]| Bridge { external_ids: map(&[("evpnd", "bridge")]), ..bridge(ports) };
    let removed = |bridge: Bridge, vxlan: Vxlan| -> Vec<String> {
        removal(&config(), &db(vec![bridge], vec![vxlan])).iter().map(ToString::to_string).collect()
    };
    assert_eq!(removed(marked(&["vx"]), ours()), ["ovs-vsctl --if-exists del-br br-x"]);
    assert_eq!(removed(marked(&["vx", "tap0"]), ours()), ["ovs-vsctl --if-exists del-port br-x vx"]);
    assert_eq!(removed(bridge(&["vx"]), ours()), ["ovs-vsctl --if-exists del-port br-x vx"]);
    assert!(removed(marked(&["vx"]), vxlan("vx")).is_empty(), "somebody else's VXLAN port keeps the bridge");
    assert!(removed(bridge(&["vx"]), vxlan("vx")).is_empty());
    assert!(removal(&config(), &db(vec![], vec![])).is_empty());
}
