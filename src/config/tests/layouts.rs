//! `layout = "single-device"`, VLANs of VNIs, and `discover`.

use super::*;

/// Every key there is with one device for all VNIs.
pub(super) const SINGLE: &str = r#"
[router]
asn = 65001
[dataplane]
vtep = "10.0.0.101"
[dataplane.kernel]
layout = "single-device"
bridge = "br-with-15-long"
vxlan = "vx-with-15-long"
manage-devices = false
[[l2vni]]
vni = 16777215
vlan = 4094
[[l2vni]]
vni = 7
vlan = 1
interfaces = ["eth1"]
[[l2vni]]
vni = 8
"#;

fn kernel(config: &Config) -> &Kernel {
    match &config.dataplane {
        Dataplane::Kernel(kernel) => kernel,
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_of_a_single_device() {
    let config = good(SINGLE);
    let expected = Kernel {
        vtep: "10.0.0.101".parse().unwrap(),
        vxlan_port: 4789,
        on_exit: OnExit::Keep,
        layout: Layout::SingleDevice,
        bridge: "br-with-15-long".into(),
        vxlan: "vx-with-15-long".into(),
        manage_devices: false,
        discover: false,
    };
    assert_eq!(kernel(&config), &expected);
    let vlans: Vec<_> = config.l2vnis.iter().map(|l2| (l2.vni.get(), l2.vlan)).collect();
    assert_eq!(vlans, [(7, Some(1)), (8, None), (16_777_215, Some(4094))]);
}

#[test]
fn the_least_of_each_layout() {
    for (keys, names, manage, discover) in [
        ("", ("br-evpn", "vxlan"), true, false),
        ("layout = \"single-device\"", ("br-evpn", "vxlan1"), true, false),
        ("layout = \"single-device\"\ndiscover = true", ("br-evpn", "vxlan1"), false, true),
        ("discover = true\nmanage-devices = false", ("br-evpn", "vxlan"), false, true),
        ("discover = false\nmanage-devices = true", ("br-evpn", "vxlan"), true, false),
    ] {
        let config = good(&format!("{ROUTER}[dataplane.kernel]\n{keys}\n[[l2vni]]\nvni = 7\n"));
        let kernel = kernel(&config);
        assert_eq!((&*kernel.bridge, &*kernel.vxlan), names, "{keys}");
        assert_eq!((kernel.manage_devices, kernel.discover), (manage, discover), "{keys}");
        let found = if discover { ", and those that are found" } else { "" };
        assert_eq!(config.summary(), format!("0 neighbours, 1 VNI{found}"));
    }
}

/// What a reload refuses is named.
#[test]
fn the_first_difference() {
    let plane = |keys: &str| good(&format!("{ROUTER}{keys}\n")).dataplane;
    let before = plane("vxlan-port = 4789\n[dataplane.kernel]\nlayout = \"single-device\"");
    for (keys, expected) in [
        ("[dataplane.kernel]\nlayout = \"single-device\"", None),
        ("[dataplane.kernel]\nlayout = \"device-per-vni\"", Some("dataplane.kernel.layout")),
        (
            "[dataplane.kernel]\nlayout = \"single-device\"\ndiscover = true",
            Some("dataplane.kernel.discover"),
        ),
        ("[dataplane.kernel]\nlayout = \"single-device\"\nvxlan = \"vx\"", Some("dataplane.kernel.vxlan")),
        ("on-exit = \"remove\"\n[dataplane.kernel]\nlayout = \"single-device\"", Some("dataplane.on-exit")),
        ("backend = \"ovs\"", Some("dataplane.backend")),
    ] {
        assert_eq!(plane(keys).difference(&before), expected, "{keys}");
    }
}

#[test]
fn vlans() {
    // After `layout`, a VNI's further lines start in line 11.
    for (lines, expected) in [
        ("vlan = 0", "11:8 l2vni.vlan: expected a number from 1 to 4094, found 0"),
        ("vlan = 4095", "11:8 l2vni.vlan: expected a number from 1 to 4094, found 4095"),
        ("vlan = \"2\"", "11:8 l2vni.vlan: expected a number from 1 to 4094, found string"),
        (
            "vlan = 2\n[[l2vni]]\nvni = 101\nvlan = 2",
            "14:8 l2vni.vlan: VLAN 2 is the one of VNI 100 already, in line 11",
        ),
    ] {
        let text = format!(
            "{ROUTER}[dataplane.kernel]\nlayout = \"single-device\"\n[[l2vni]]\nvni = 100\n{lines}\n"
        );
        assert_eq!(problems(&text), [expected], "{lines}");
    }
    each_l2vni(&[(
        "vlan = 2",
        "9:1 l2vni.vlan: needs layout = \"single-device\" in [dataplane.kernel]: with a bridge for each VNI there are no \
         VLANs",
    )]);
    let ovs = "[router]\nasn = 1\n[dataplane]\nbackend = \"ovs\"\nvtep = \"10.0.0.1\"\n[[l2vni]]\nvni = 7\nvlan = 2\n";
    assert_eq!(
        problems(ovs),
        [
            "8:1 l2vni.vlan: is for the kernel backend; on Open vSwitch, VLANs are those of client files: see [clients]"
        ]
    );
}

#[test]
fn as_many_vnis_as_vlans() {
    let vnis = |n: u32| (1..=n).map(|vni| format!("[[l2vni]]\nvni = {vni}\n")).collect::<Vec<_>>().concat();
    let single = format!("{ROUTER}[dataplane.kernel]\nlayout = \"single-device\"\n");
    assert_eq!(good(&format!("{single}{}", vnis(4094))).l2vnis.len(), 4094);
    assert_eq!(
        problems(&format!("{single}{}", vnis(4096))),
        [
            "8197:1 l2vni: no VLAN is left for it: with layout = \"single-device\" each VNI has one, and a bridge has 4094"
        ]
    );
    // The VNIs that exist are those that are found: of these there cannot be more.
    assert_eq!(good(&format!("{single}discover = true\n{}", vnis(4096))).l2vnis.len(), 4096);
    assert_eq!(good(&format!("{ROUTER}{}", vnis(4096))).l2vnis.len(), 4096);
}

#[test]
fn names_of_a_single_device() {
    for (lines, expected) in [
        (
            "bridge = \"br-evpn-too-long\"",
            "9:10 dataplane.kernel.bridge: too long: the name of a device has at most 15 characters, this one 16",
        ),
        ("vxlan = \"vx lan\"", "9:9 dataplane.kernel.vxlan: ' ' cannot be in the name of a network device"),
        (
            "bridge = \"bräu\"",
            "7:1 dataplane.kernel: bridge: an interface name has 1 to 15 letters, digits, dashes, dots and underscores",
        ),
        ("vxlan = \"br-evpn\"", "9:9 dataplane.kernel.vxlan: is the name of the bridge"),
    ] {
        let text = format!("{ROUTER}[dataplane.kernel]\nlayout = \"single-device\"\n{lines}\n");
        assert_eq!(problems(&text), [expected], "{lines}");
    }
}

#[test]
fn what_discover_does_not_go_with() {
    for (lines, expected) in [
        (
            "manage-devices = true",
            &[
                "9:18 dataplane.kernel.manage-devices: discover takes devices as they are: remove it, or say discover = false",
            ][..],
        ),
        (
            "layout = \"single\"",
            &[
                "9:10 dataplane.kernel.layout: expected \"device-per-vni\" or \"single-device\", found \"single\"",
            ],
        ),
        (
            "layout = \"single-device\"\n[[l2vni]]\nvni = 7\ninterfaces = [\"eth1\"]\nvlan = 2",
            &[
                "12:1 l2vni.interfaces: discover takes ports as they are: remove it, or say discover = false",
                "13:1 l2vni.vlan: discover takes VLANs as they are: remove it, or say discover = false",
            ],
        ),
        (
            "[[l2vni]]\nvni = 7\nvlan = 2",
            &["11:1 l2vni.vlan: discover takes VLANs as they are: remove it, or say discover = false"],
        ),
    ] {
        let text = format!("{ROUTER}[dataplane.kernel]\ndiscover = true\n{lines}\n");
        assert_eq!(problems(&text), expected, "{lines}");
    }
    let text = format!("{ROUTER}[dataplane.kernel]\ndiscover = 1\n");
    assert_eq!(problems(&text), ["8:12 dataplane.kernel.discover: expected true or false, found integer"]);
}
