//! Steps and refusals, in the words an operator reads.

use super::super::super::config::Layout;
use super::super::super::fixtures::{l2, link, vni};
use super::super::super::links::{Bridge, Vlan, Vxlan};
use super::*;

fn config() -> KernelConfig {
    KernelConfig { layout: Layout::SingleDevice, ..KernelConfig::default() }
}

const BRIDGE: Bridge = Bridge { vlan_filtering: Some(true), default_pvid: Some(0) };
const PORT: Port =
    Port { learning: false, suppress: true, vlan_suppress: None, flood: true, vlan_tunnel: true };

fn vxlan_device() -> Vxlan {
    Vxlan {
        vni: Vni::ZERO,
        local: Some([10, 0, 0, 1].into()),
        port: 4789,
        learning: false,
        external: true,
        vnifilter: true,
    }
}

/// The shared devices as they should be: made here, or by somebody else.
fn devices(ours: bool) -> (Link, Link) {
    let alias = ours.then(|| marks::OVERLAY.to_owned());
    let bridge = Link { alias: alias.clone(), ..link(10, "br-evpn", Kind::Bridge(BRIDGE)) };
    let vxlan = link(11, "vxlan1", Kind::Vxlan(vxlan_device()));
    (bridge, Link { alias, master: Some(10), port: Some(PORT), ..vxlan })
}

fn links(all: impl IntoIterator<Item = Link>) -> Links {
    let mut links = Links::default();
    for link in all {
        links.insert(link);
    }
    links
}

fn texts(steps: &[Step]) -> Vec<String> {
    steps.iter().map(Step::to_string).collect()
}

fn overlay(config: &KernelConfig, all: impl IntoIterator<Item = Link>) -> Result<Vec<String>, String> {
    overlay_with(config, all, Wanted::Everywhere, false, &Vlans::default())
}

fn overlay_with(
    config: &KernelConfig,
    all: impl IntoIterator<Item = Link>,
    suppress: Wanted,
    attached: bool,
    vlans: &Vlans,
) -> Result<Vec<String>, String> {
    let want = Overlay { config, vtep: [10, 0, 0, 1].into(), port: 4789, suppress, attached };
    plan_overlay(want, &links(all), vlans).map(|steps| texts(&steps)).map_err(|error| error.to_string())
}

#[test]
fn shared_devices_are_made_and_then_left_alone() {
    let steps = overlay(&config(), []).unwrap();
    assert_eq!(
        steps,
        [
            "create bridge br-evpn",
            "create VXLAN device vxlan1",
            "attach vxlan1 to br-evpn",
            "set bridge port vxlan1: learning off, VLAN tunnel on, ARP suppression on",
            "set br-evpn up",
            "set vxlan1 up",
        ]
    );
    for ours in [true, false] {
        let (bridge, vxlan) = devices(ours);
        assert_eq!(overlay(&config(), [bridge, vxlan]).unwrap(), [""; 0]);
    }
}

#[test]
fn what_is_ours_is_changed_or_made_again() {
    type Damage = fn(&mut Link, &mut Link);
    type Change = fn(&mut Vxlan);
    let device = |link: &mut Link, change: fn(&mut Vxlan)| {
        let Kind::Vxlan(vxlan) = &mut link.kind else { unreachable!() };
        change(vxlan);
    };
    let again = [
        "delete vxlan1",
        "create VXLAN device vxlan1",
        "attach vxlan1 to br-evpn",
        "set bridge port",
        "set vxlan1 up",
    ];
    let set_port = "set bridge port vxlan1: learning off, VLAN tunnel on, ARP suppression on";
    let cases: &[(Damage, &[&str])] = &[
        (
            |bridge, _| bridge.kind = Kind::Bridge(Bridge { vlan_filtering: Some(false), ..BRIDGE }),
            &["turn on VLAN filtering of br-evpn"],
        ),
        (|_, vxlan| vxlan.port = Some(Port { vlan_tunnel: false, ..PORT }), &[set_port]),
        (|_, vxlan| vxlan.port = Some(Port { learning: true, ..PORT }), &[set_port]),
        (|_, vxlan| vxlan.master = None, &["attach vxlan1 to br-evpn", set_port]),
        (|bridge, _| bridge.up = false, &["set br-evpn up"]),
    ];
    for (damage, expected) in cases {
        let (mut bridge, mut vxlan) = devices(true);
        damage(&mut bridge, &mut vxlan);
        assert_eq!(overlay(&config(), [bridge, vxlan]).unwrap(), *expected);
    }
    let cases: &[(Change, &[&str])] = &[
        (|v| v.local = Some([10, 0, 0, 9].into()), &["change the local address of vxlan1 to 10.0.0.1"]),
        (|v| v.learning = true, &["turn off learning on vxlan1"]),
        (|v| v.external = false, &again),
        (|v| v.port = 8472, &again),
        (|v| v.local = Some([0, 0, 0, 0, 0, 0, 0, 1].into()), &again),
    ];
    for (change, expected) in cases {
        let (bridge, mut vxlan) = devices(true);
        device(&mut vxlan, *change);
        let steps = overlay(&config(), [bridge, vxlan]).unwrap();
        assert_eq!(steps.len(), expected.len(), "{steps:?}");
        assert!(steps.iter().zip(*expected).all(|(step, start)| step.starts_with(start)), "{steps:?}");
    }
}

#[test]
fn suppression_is_per_vlan_where_the_kernel_has_that() {
    let steps = |found: Option<bool>, wanted| {
        let (bridge, vxlan) = devices(false);
        let port = Some(Port { suppress: false, vlan_suppress: found, ..PORT });
        let all = [bridge, Link { port, ..vxlan }];
        overlay_with(&config(), all, wanted, false, &Vlans::default()).unwrap()
    };
    let set =
        |what| [format!("set bridge port vxlan1: learning off, VLAN tunnel on, ARP suppression {what}")];
    assert_eq!(steps(None, Wanted::Everywhere), set("on"));
    assert_eq!(steps(None, Wanted::Somewhere), [""; 0], "for all or for none");
    assert_eq!(steps(Some(false), Wanted::Somewhere), set("per VLAN, if the kernel can"));
    assert_eq!(steps(Some(true), Wanted::Somewhere), [""; 0]);
    assert_eq!(steps(Some(true), Wanted::Nowhere), [""; 0]);
    assert_eq!(steps(Some(false), Wanted::Nowhere), [""; 0]);
    // Not there yet: who plans does not know what the kernel can.
    let plan = |wanted| overlay_with(&config(), [], wanted, false, &Vlans::default()).unwrap()[3].clone();
    assert_eq!([plan(Wanted::Somewhere)], set("per VLAN, if the kernel can"));
    assert_eq!([plan(Wanted::Everywhere)], set("on"));
    assert_eq!([plan(Wanted::Nowhere)], set("off"));
}

#[test]
fn our_device_leaves_a_vlan_that_is_no_vnis() {
    let mut vlans = Vlans::default();
    vlans.set(11, 1, Entry::ACCESS);
    let steps = |ours, attached, vlans: &Vlans| {
        let (bridge, vxlan) = devices(ours);
        overlay_with(&config(), [bridge, vxlan], Wanted::Everywhere, attached, vlans).unwrap()
    };
    assert_eq!(steps(true, false, &vlans), ["take vxlan1 out of VLAN 1, which is no VNI's"]);
    assert_eq!(steps(false, true, &vlans).len(), 1);
    assert_eq!(steps(false, false, &vlans), [""; 0], "somebody else put it there");
    // Of a VLAN that is a VNI's, that VNI sees to it.
    vlans.set(11, 1, Entry { pvid: true, ..Entry::mapping(vni(100)) });
    assert_eq!(steps(true, false, &vlans), [""; 0]);
}

#[test]
fn what_is_not_ours_is_named_with_what_to_do() {
    let (bridge, vxlan) = devices(false);
    let of = |change: fn(&mut Vxlan)| {
        let mut device = vxlan_device();
        change(&mut device);
        Link { kind: Kind::Vxlan(device), ..vxlan.clone() }
    };
    let unfiltered =
        |on| Link { kind: Kind::Bridge(Bridge { vlan_filtering: on, ..BRIDGE }), ..bridge.clone() };
    let veth = |name| link(12, name, Kind::Other("veth".into()));
    let elsewhere = Link { master: Some(20), ..vxlan.clone() };
    let other = link(20, "br9", Kind::Bridge(BRIDGE));
    let cases = [
        (
            vec![bridge.clone(), of(|v| v.external = false)],
            "use VXLAN device vxlan1: it exists and carries VNI 0 alone: it was made without \"external\"; remove it, or \
             set another vxlan",
        ),
        (
            vec![bridge.clone(), of(|v| v.port = 8472)],
            "use VXLAN device vxlan1: it exists and uses UDP port 8472, not 4789; remove it, or set another vxlan or \
             vxlan-port",
        ),
        (
            vec![bridge.clone(), of(|v| v.local = Some([10, 0, 0, 9].into()))],
            "use VXLAN device vxlan1: it exists with local 10.0.0.9, not 10.0.0.1; remove it, or set another vxlan or \
             vtep",
        ),
        (
            vec![bridge.clone(), veth("vxlan1")],
            "use VXLAN device vxlan1: it exists and is a veth device; remove it, or set another vxlan",
        ),
        (
            vec![bridge.clone(), elsewhere, other],
            "use VXLAN device vxlan1: it is a port of br9, not of br-evpn; set bridge = \"br9\"",
        ),
        (
            vec![veth("br-evpn")],
            "use bridge br-evpn: it exists and is a veth device; remove it, or set another bridge",
        ),
        (
            vec![unfiltered(Some(false)), vxlan.clone()],
            "use bridge br-evpn: it exists without VLAN filtering: ip link set br-evpn type bridge vlan_filtering 1, or \
             set another bridge",
        ),
        (
            vec![unfiltered(None)],
            "use bridge br-evpn: this kernel has no VLAN filtering (CONFIG_BRIDGE_VLAN_FILTERING): set layout = \
             \"device-per-vni\", or use another kernel",
        ),
    ];
    for (all, expected) in cases {
        assert_eq!(overlay(&config(), all).unwrap_err(), expected);
    }
    let unmanaged = KernelConfig { manage_devices: false, ..config() };
    for (all, expected) in [
        (vec![], "use VXLAN device vxlan1: there is none, and manage-devices is off"),
        (
            vec![Link { master: None, ..vxlan.clone() }],
            "use bridge br-evpn: there is none, and manage-devices is off",
        ),
    ] {
        assert_eq!(overlay(&unmanaged, all).unwrap_err(), expected);
    }
    // Any local address is right for a device that has none; and without managing, its bridge is the bridge.
    assert_eq!(overlay(&config(), [bridge.clone(), of(|v| v.local = None)]).unwrap(), [""; 0]);
    let its = Link { index: 10, name: "br9".into(), ..bridge };
    assert_eq!(overlay(&unmanaged, [its, vxlan]).unwrap(), [""; 0]);
}

#[test]
fn devices_of_the_other_layout_make_room() {
    let left =
        |index, name: &str, kind| Link { alias: Some(marks::alias(vni(7))), ..link(index, name, kind) };
    let (bridge, vxlan) = devices(true);
    let all = [
        bridge,
        vxlan,
        left(30, "br-evpn-7", Kind::Bridge(Bridge::default())),
        left(31, "vxlan1-7", Kind::Vxlan(Vxlan { vni: vni(7), external: false, ..vxlan_device() })),
        left(32, "br-evpn.2", Kind::Vlan(Vlan { id: 2, lower: 10 })),
    ];
    assert_eq!(overlay(&config(), all.clone()).unwrap(), ["delete vxlan1-7", "delete br-evpn-7"]);
    // A kernel that cannot filter VLANs refuses the bridge: until then, what there is goes on working.
    let start = |all: &[Link]| overlay(&config(), all.iter().cloned()).unwrap()[..3].to_vec();
    let first = ["create bridge br-evpn", "delete vxlan1-7", "delete br-evpn-7"];
    assert_eq!(start(&all[2..]), first);
    // Unless it has the name that is needed.
    let named = Link { name: "br-evpn".into(), ..all[2].clone() };
    assert_eq!(start(&[named]), ["delete br-evpn", "create bridge br-evpn", "create VXLAN device vxlan1"]);
}

#[test]
fn shared_devices_by_other_names_make_room() {
    let renamed = KernelConfig { bridge: "br1".into(), vxlan: "vx1".into(), ..config() };
    let (bridge, vxlan) = devices(true);
    let create = |start: &[&str], all: Vec<Link>| {
        let steps = overlay(&renamed, all).unwrap();
        assert_eq!(steps[..start.len()], *start);
    };
    create(
        &["create bridge br1", "delete vxlan1", "delete br-evpn", "create VXLAN device vx1"],
        vec![bridge.clone(), vxlan],
    );
    // A device of somebody else's comes out of a bridge of ours that goes; those of others stay.
    let (theirs, vxlan) = devices(false);
    let vxlan = Link { name: "vx1".into(), ..vxlan };
    create(
        &["create bridge br1", "delete br-evpn", "attach vx1 to br1"],
        vec![bridge.clone(), vxlan.clone()],
    );
    let error = overlay(&renamed, [theirs, vxlan]).unwrap_err();
    assert_eq!(error, "use VXLAN device vx1: it is a port of br-evpn, not of br1; set bridge = \"br-evpn\"");
    let unmanaged = KernelConfig { manage_devices: false, ..renamed.clone() };
    assert!(overlay(&unmanaged, [bridge]).is_err());
}

/// A host with two ports, and the VNIs 100 (VLAN 2) and 200 (VLAN 3) as they should be.
struct Host {
    links: Links,
    vlans: Vlans,
    filter: Filter,
    tabled: HashSet<Vni, RandomState>,
}

fn table(index: u32, id: u16, n: u32) -> Link {
    let alias = Some(marks::alias(vni(n)));
    Link { alias, up: false, ..link(index, &format!("br-evpn.{id}"), Kind::Vlan(Vlan { id, lower: 10 })) }
}

impl Host {
    fn new() -> Self {
        let (bridge, vxlan) = devices(true);
        let veth = |index, name| Link { master: Some(10), ..link(index, name, Kind::Other("veth".into())) };
        let all = [bridge, vxlan, veth(12, "veth1"), veth(13, "veth2"), table(14, 2, 100), table(15, 3, 200)];
        let tabled = [vni(100), vni(22_001)].into_iter().collect();
        let mut host = Self { links: links(all), vlans: Vlans::default(), filter: Filter::default(), tabled };
        for (vlan, n, port) in [(2, 100, 12), (3, 200, 13)] {
            host.vlans.set(11, vlan, Entry::mapping(vni(n)));
            host.vlans.set(port, vlan, Entry::ACCESS);
            host.filter.insert(n, n);
        }
        host
    }

    fn now<T>(&self, plan: impl FnOnce(&Now<'_>) -> T) -> T {
        let owner = |name: &str| (name == "veth1").then(|| vni(100));
        plan(&Now {
            config: &config(),
            links: &self.links,
            vlans: &self.vlans,
            filter: Some(&self.filter),
            bridge: Some(10),
            vxlan: Some(11),
            vxlan_name: &"vxlan1".into(),
            owner: &owner,
            tabled: &self.tabled,
        })
    }

    fn plan(&self, l2: &L2Vni, vlan: u16) -> Vec<String> {
        let plan = self.now(|now| plan_vni(l2, vlan, now));
        let problems = plan.problems.iter().map(|problem| format!("cannot {problem}"));
        texts(&plan.steps).into_iter().chain(problems).collect()
    }
}

#[test]
fn a_vni_gets_what_it_lacks() {
    let host = Host::new();
    assert_eq!(host.plan(&l2(100, &["veth1"]), 2), [""; 0]);
    assert_eq!(
        host.plan(&l2(22_001, &["veth2", "veth9", "veth1"]), 12),
        [
            "map VLAN 12 of vxlan1 to VNI 22001",
            "have vxlan1 take packets of VNI 22001",
            "create br-evpn.12 (ARP table of VNI 22001)",
            "make veth2 an access port of VLAN 12",
            "cannot attach veth9 to br-evpn: there is no such interface (yet)",
            "cannot attach veth1 to br-evpn: it is a port of VNI 100 already",
        ]
    );
    // Without an address to keep, no table.
    assert_eq!(
        host.plan(&l2(300, &[]), 13),
        ["map VLAN 13 of vxlan1 to VNI 300", "have vxlan1 take packets of VNI 300"]
    );
    // Another VLAN: the table is made again; what is in its place goes.
    assert_eq!(
        host.plan(&l2(100, &["veth1"]), 3),
        [
            "remove VLAN 2 (VNI 100) from vxlan1",
            "remove VLAN 3 (VNI 200) from vxlan1",
            "map VLAN 3 of vxlan1 to VNI 100",
            "delete br-evpn.2",
            "delete br-evpn.3",
            "create br-evpn.3 (ARP table of VNI 100)",
            "make veth1 an access port of VLAN 3",
        ]
    );
    assert_eq!(host.plan(&L2Vni { arp_suppression: false, ..l2(100, &[]) }, 2), ["delete br-evpn.2"]);
}

#[test]
fn a_vlan_says_whether_it_suppresses_if_the_port_goes_by_vlans() {
    let mut host = Host::new();
    let off = |n| L2Vni { arp_suppression: false, ..l2(n, &[]) };
    let set = |host: &mut Host, suppress| {
        let entry = Entry { suppress, ..Entry::mapping(vni(100)) };
        host.vlans.set(11, 2, entry);
    };
    set(&mut host, true);
    assert_eq!(host.plan(&l2(100, &[]), 2), [""; 0], "the port does not go by that");
    let (_, vxlan) = devices(true);
    host.links.insert(Link { port: Some(Port { vlan_suppress: Some(true), ..PORT }), ..vxlan });
    assert_eq!(host.plan(&l2(100, &[]), 2), [""; 0]);
    assert_eq!(host.plan(&off(100), 2), ["turn ARP suppression off in VLAN 2 (VNI 100)", "delete br-evpn.2"]);
    set(&mut host, false);
    assert_eq!(host.plan(&l2(100, &[]), 2), ["turn ARP suppression on in VLAN 2 (VNI 100)"]);
    // A VLAN that has yet to come suppresses nothing.
    assert_eq!(
        host.plan(&l2(300, &[]), 13),
        [
            "map VLAN 13 of vxlan1 to VNI 300",
            "have vxlan1 take packets of VNI 300",
            "turn ARP suppression on in VLAN 13 (VNI 300)",
        ]
    );
    assert_eq!(host.plan(&off(300), 13).len(), 2);
    // Neither does one that another VNI leaves.
    set(&mut host, true);
    let steps = host.plan(&l2(300, &[]), 2);
    assert!(steps.contains(&"turn ARP suppression on in VLAN 2 (VNI 300)".to_owned()), "{steps:?}");
}

#[test]
fn what_somebody_changed_is_put_right() {
    type Damage = fn(&mut Host);
    let cases: &[(Damage, &[&str])] = &[
        (|h| h.vlans.unset(11, 2), &["map VLAN 2 of vxlan1 to VNI 100"]),
        (|h| h.vlans.set(11, 2, Entry::default()), &["map VLAN 2 of vxlan1 to VNI 100"]),
        // Untagged, frames would lose the tag before it is looked at.
        (
            |h| h.vlans.set(11, 2, Entry { untagged: true, ..Entry::mapping(vni(100)) }),
            &["map VLAN 2 of vxlan1 to VNI 100"],
        ),
        (|h| h.filter.remove(100, 100), &["have vxlan1 take packets of VNI 100"]),
        (|h| drop(h.links.remove(14)), &["create br-evpn.2 (ARP table of VNI 100)"]),
        (|h| h.vlans.set(12, 3, Entry::default()), &["make veth1 an access port of VLAN 2"]),
        (
            |h| {
                h.links.insert(Link { up: false, ..link(12, "veth1", Kind::Other("veth".into())) });
            },
            &["attach veth1 to br-evpn", "make veth1 an access port of VLAN 2", "set veth1 up"],
        ),
    ];
    for (damage, expected) in cases {
        let mut host = Host::new();
        damage(&mut host);
        assert_eq!(host.plan(&l2(100, &["veth1"]), 2), *expected);
    }
}

#[test]
fn the_vlan_device_of_somebody_else_is_used_and_other_devices_are_named() {
    let mut host = Host::new();
    host.links.insert(Link { alias: None, ..table(14, 2, 100) });
    assert_eq!(host.plan(&l2(100, &[]), 2), [""; 0]);
    host.links.insert(link(14, "br-evpn.2", Kind::Other("dummy".into())));
    assert_eq!(
        host.plan(&l2(100, &[]), 2),
        [
            "cannot create br-evpn.2, the ARP table of VNI 100: it exists and is a dummy device; remove it, or set \
          arp-suppression = false"
        ]
    );
}

#[test]
fn a_removal_takes_what_was_made() {
    let host = Host::new();
    let removal = |n, vlan| texts(&host.now(|now| plan_removal(vni(n), vlan, now, &|_| false)));
    assert_eq!(
        removal(100, Some(2)),
        [
            "release veth1 from br-evpn",
            "have vxlan1 take no more packets of VNI 100",
            "remove VLAN 2 (VNI 100) from vxlan1",
            "delete br-evpn.2",
        ]
    );
    assert_eq!(removal(300, None), [""; 0]);
    let end = |host: &Host| texts(&host.now(|now| plan_end(now, &|_| false)));
    assert_eq!(end(&host), ["delete vxlan1", "delete br-evpn"]);
    // In somebody else's bridge, on somebody else's device: only what we did.
    let mut host = Host::new();
    let (bridge, vxlan) = devices(false);
    host.links.insert(bridge);
    host.links.insert(vxlan);
    let attached = |link: &Link| link.name == "veth2";
    let removal = |n, vlan| texts(&host.now(|now| plan_removal(vni(n), vlan, now, &attached)));
    assert_eq!(removal(100, Some(2))[0], "have vxlan1 take no more packets of VNI 100");
    assert_eq!(removal(200, Some(3))[0], "release veth2 from br-evpn");
    assert_eq!(end(&host), [""; 0]);
}

#[test]
fn names_of_tables_fit() {
    let long = KernelConfig { bridge: "bridge-of-evpnd".into(), ..config() };
    assert_eq!(table_name(&long, 4094), "bridge-of.4094");
    assert_eq!(table_name(&config(), 12), "br-evpn.12");
}
