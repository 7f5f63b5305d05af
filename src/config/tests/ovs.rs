//! `backend = "ovs"` and `[clients]`.

use super::*;

/// Every key there is with Open vSwitch.
pub(super) const OVS: &str = r#"
[router]
asn = 65001
[dataplane]
backend = "ovs"
vtep = "10.0.0.101"
vxlan-port = 8472
on-exit = "remove"
router-mac = "02:00:00:00:00:01"
[dataplane.ovs]
bridge = "br-int"
datapath = "netdev"
vxlan = "vxlan_out"
gateway-mac = "02:00:00:00:00:02"
db = "tcp:127.0.0.1:6640"
rundir = "/run/other"
vsctl = "/opt/ovs/bin/ovs-vsctl"
ofctl = "/opt/ovs/bin/ovs-ofctl"
[clients]
dir = "/var/lib/evpnd/clients"
rt-asn = 1
"#;

#[test]
fn everything_of_open_vswitch() {
    let config = good(OVS);
    assert_eq!(
        config.dataplane,
        Dataplane::Ovs(Ovs {
            vtep: "10.0.0.101".parse().unwrap(),
            vxlan_port: 8472,
            on_exit: OnExit::Remove,
            router_mac: MacAddr([0x02, 0, 0, 0, 0, 1]),
            bridge: "br-int".into(),
            datapath: Datapath::Netdev,
            vxlan: "vxlan_out".into(),
            gateway_mac: MacAddr([0x02, 0, 0, 0, 0, 2]),
            db: Some("tcp:127.0.0.1:6640".into()),
            rundir: Some("/run/other".into()),
            vsctl: "/opt/ovs/bin/ovs-vsctl".into(),
            ofctl: "/opt/ovs/bin/ovs-ofctl".into(),
        })
    );
    assert_eq!(config.clients, Some(Clients { dir: "/var/lib/evpnd/clients".into(), rt_asn: 1 }));
    assert_eq!(config.dataplane.vxlan_port(), 8472);
}

#[test]
fn the_least_of_open_vswitch() {
    let least = |vtep| {
        let text = format!(
            "[router]\nasn = 1\nrouter-id = \"1.1.1.1\"\n[dataplane]\nbackend = \"ovs\"\nvtep = \"{vtep}\"\n"
        );
        match good(&text).dataplane {
            Dataplane::Ovs(ovs) => ovs,
            other => panic!("{other:?}"),
        }
    };
    let expected = Ovs {
        vtep: "10.0.0.101".parse().unwrap(),
        vxlan_port: 4789,
        on_exit: OnExit::Keep,
        router_mac: "02:e5:0a:00:00:65".parse().unwrap(),
        bridge: "br-evpn".into(),
        datapath: Datapath::System,
        vxlan: "vxlan-evpn".into(),
        gateway_mac: "00:00:5e:00:01:01".parse().unwrap(),
        db: None,
        rundir: None,
        vsctl: "ovs-vsctl".into(),
        ofctl: "ovs-ofctl".into(),
    };
    assert_eq!(least("10.0.0.101"), expected);
    // Of IPv6, never another one than this: other nodes hold it in their flows.
    assert_eq!(least("2001:db8::101").router_mac.to_string(), "32:51:a8:46:38:d9");
    assert_ne!(least("2001:db8::101").router_mac, least("2001:db8::102").router_mac);
}

#[test]
fn open_vswitch() {
    // The lines begin in line 7.
    for (lines, expected) in [
        ("bridge = \"br:1\"", "8:10 dataplane.ovs.bridge: ':' cannot be in the name of a network device"),
        (
            "bridge = \"--br\"",
            "8:10 dataplane.ovs.bridge: expected letters, digits and - _ . only, and no - at the front",
        ),
        (
            "vxlan = \"a,b=c\"",
            "8:9 dataplane.ovs.vxlan: expected letters, digits and - _ . only, and no - at the front",
        ),
        (
            "vxlan = \"vxlan-evpn-10000\"",
            "8:9 dataplane.ovs.vxlan: too long: the name of a device has at most 15 characters, this one 16",
        ),
        ("vxlan = \"br-evpn\"", "8:9 dataplane.ovs.vxlan: is the name of the bridge"),
        (
            "datapath = \"dpdk\"",
            "8:12 dataplane.ovs.datapath: expected \"system\" or \"netdev\", found \"dpdk\"",
        ),
        (
            "gateway-mac = \"00:00:5e:00:01\"",
            "8:15 dataplane.ovs.gateway-mac: a MAC address is written like 02:00:5e:10:00:01",
        ),
        (
            "gateway-mac = \"01:00:5e:00:00:01\"",
            "8:15 dataplane.ovs.gateway-mac: must be the MAC of one host: no group address, not all zeros",
        ),
        (
            "gateway-mac = \"02:e5:0a:00:00:01\"",
            "8:15 dataplane.ovs.gateway-mac: is the router-mac: that one is of this node alone, the gateway's is the same on all",
        ),
        (
            "db = \"/run/db.sock\"",
            "8:6 dataplane.ovs.db: expected where ovsdb-server listens, like unix:/run/openvswitch/db.sock, \
          tcp:127.0.0.1:6640 or ssl:127.0.0.1:6640, found \"/run/db.sock\"",
        ),
        ("rundir = \"run\"", "8:10 dataplane.ovs.rundir: expected a path from / on"),
        ("vsctl = \"\"", "8:9 dataplane.ovs.vsctl: expected a path"),
        ("bridg = \"b\"", "8:1 dataplane.ovs.bridg: unknown key; did you mean bridge?"),
        (
            "[[l2vni]]\nvni = 7\ninterfaces = [\"eth1\"]",
            "10:1 l2vni.interfaces: are for the kernel backend; on Open vSwitch, ports are attached by client files: see [clients]",
        ),
        ("[clients]\n", "8:1 clients.dir: required: the directory of the client files"),
        ("[clients]\ndir = 1", "9:7 clients.dir: expected a text in quotes, found integer"),
        ("[clients]\ndir = \"/d\"\nmode = 1", "10:1 clients.mode: unknown key; known here: dir, rt-asn"),
    ] {
        let text = format!(
            "[router]\nasn = 1\nrouter-id = \"1.1.1.1\"\n[dataplane]\nbackend = \"ovs\"\nvtep = \"10.0.0.1\"\n\
             [dataplane.ovs]\n{lines}\n"
        );
        assert_eq!(problems(&text), [expected], "{lines}");
    }
    for (mac, expected) in [
        ("02:00:00:00:00", "a MAC address is written like 02:00:5e:10:00:01"),
        ("ff:ff:ff:ff:ff:ff", "must be the MAC of one host: no group address, not all zeros"),
    ] {
        let text = format!(
            "[router]\nasn = 1\n[dataplane]\nbackend = \"ovs\"\nvtep = \"10.0.0.1\"\nrouter-mac = \"{mac}\"\n"
        );
        assert_eq!(problems(&text), [format!("6:14 dataplane.router-mac: {expected}")]);
    }
    assert_eq!(
        problems("[router]\nasn = 1\nrouter-id = \"1.1.1.1\"\n[dataplane]\nbackend = \"ovs\"\n"),
        ["4:1 dataplane.vtep: required: the source address of VXLAN packets; or say backend = \"none\""]
    );
}
