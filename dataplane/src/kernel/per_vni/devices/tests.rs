//! Names, marks and steps.

use types::Vni;

use super::super::super::config::{KernelConfig, Layout};
use super::super::super::fixtures::{l2, link, vni};
use super::super::super::links::{Bridge, Kind, Link, Links, Port, Vxlan};
use super::super::super::marks::{alias, bridge_address, owned};
use super::{Step, plan, plan_removal};
use crate::intent::L2Vni;

fn veth(index: u32, name: &str) -> Link {
    link(index, name, Kind::Other("veth".into()))
}

/// The devices of VNI 100, as they should be.
fn devices() -> (Link, Link) {
    let vxlan = Vxlan {
        vni: vni(100),
        local: Some([10, 0, 0, 1].into()),
        port: 4789,
        learning: false,
        external: false,
        vnifilter: false,
    };
    let mark = Some(alias(vni(100)));
    let bridge = Link { alias: mark.clone(), ..link(10, "br-evpn-100", Kind::Bridge(Bridge::default())) };
    let port = Port { learning: false, suppress: true, vlan_suppress: None, flood: true, vlan_tunnel: false };
    let port = Some(port);
    let vxlan = Link { alias: mark, master: Some(10), port, ..link(11, "vxlan1-100", Kind::Vxlan(vxlan)) };
    (bridge, vxlan)
}

fn links(all: impl IntoIterator<Item = Link>) -> Links {
    let mut links = Links::default();
    all.into_iter().for_each(|link| links.insert(link));
    links
}

fn steps(l2: &L2Vni, links: &Links) -> Vec<String> {
    let plan = plan(l2, &KernelConfig::default(), links, &|link| link.name.starts_with("ours")).unwrap();
    plan.steps.iter().map(Step::to_string).collect()
}

#[test]
fn names_fit_whatever_the_vni() {
    let config = KernelConfig::default();
    assert_eq!(config.bridge_name(vni(22001)), "br-evpn-22001");
    assert_eq!(config.bridge_name(Vni::MAX), "br-evp-16777215");
    assert_eq!(config.vxlan_name(Vni::MAX), "vxlan1-16777215");
    let long = KernelConfig { bridge: "a-very-long-one".into(), ..config };
    assert_eq!(long.bridge_name(vni(7)), "a-very-long-o-7", "no dash at the seam, fifteen at most");
    assert_eq!(long.bridge_name(Vni::MAX), "a-very-16777215");
}

#[test]
fn prefixes_are_checked() {
    let with = |bridge: &str, vxlan: &str| {
        KernelConfig { bridge: bridge.into(), vxlan: vxlan.into(), ..KernelConfig::default() }.validate()
    };
    assert_eq!(with("br-evpn", "vxlan1"), Ok(()));
    assert!(with("", "vxlan1").unwrap_err().starts_with("bridge:"));
    assert!(with("br", "vx/lan").unwrap_err().starts_with("vxlan:"));
    assert!(with("br", "a-name-that-is-too-long").unwrap_err().starts_with("vxlan:"));
    assert!(with("overlay-br", "overlay-vx").unwrap_err().contains("differ in their first 6"));
    let whole = |bridge: &str, vxlan: &str| {
        let layout = Layout::SingleDevice;
        KernelConfig { layout, bridge: bridge.into(), vxlan: vxlan.into(), ..KernelConfig::default() }
            .validate()
    };
    assert_eq!(whole("overlay-br", "overlay-vx"), Ok(()), "whole names may begin alike");
    assert!(whole("overlay", "overlay").unwrap_err().contains("must differ"));
}

#[test]
fn addresses_of_bridges_are_their_own_and_stay() {
    let a = bridge_address(vni(1), [10, 0, 0, 1].into());
    assert_eq!(a, bridge_address(vni(1), [10, 0, 0, 1].into()));
    assert_ne!(a, bridge_address(vni(2), [10, 0, 0, 1].into()));
    assert_ne!(a, bridge_address(vni(1), [10, 0, 0, 2].into()));
    assert!(a.is_host() && a.0[0] & 2 == 2, "locally administered");
}

#[test]
fn from_nothing_and_from_all() {
    let none = steps(&l2(100, &["tap0"]), &links([veth(5, "tap0")]));
    assert_eq!(
        none,
        [
            "create bridge br-evpn-100",
            "create VXLAN device vxlan1-100",
            "attach vxlan1-100 to br-evpn-100",
            "set bridge port vxlan1-100: learning off, ARP suppression on",
            "set br-evpn-100 up",
            "set vxlan1-100 up",
            "attach tap0 to br-evpn-100",
        ]
    );
    let (bridge, vxlan) = devices();
    let tap = Link { master: Some(10), ..veth(5, "tap0") };
    assert_eq!(steps(&l2(100, &["tap0"]), &links([bridge, vxlan, tap])), [""; 0]);
}

#[test]
fn only_ports_put_there_by_us_are_released() {
    let (bridge, vxlan) = devices();
    let ours = Link { master: Some(10), ..veth(5, "ours1") };
    let others = Link { master: Some(10), ..veth(6, "tap6") };
    let all = links([bridge, vxlan, ours, others]);
    assert_eq!(steps(&l2(100, &[]), &all), ["release ours1 from br-evpn-100"]);
}

#[test]
fn another_port_number_takes_another_device() {
    let (bridge, vxlan) = devices();
    let wanted = L2Vni { port: 8472, ..l2(100, &[]) };
    let steps = steps(&wanted, &links([bridge, vxlan]));
    assert_eq!(steps[..2], ["delete vxlan1-100", "create VXLAN device vxlan1-100"]);
}

#[test]
fn marks_decide_what_is_deleted() {
    let config = KernelConfig::default();
    let (bridge, vxlan) = devices();
    assert_eq!(owned(&bridge), Some(vni(100)));
    let stranger = Link { alias: Some("evpnd vni x".into()), ..bridge.clone() };
    assert_eq!(owned(&stranger), None);
    let delete = |links: &Links| -> Vec<String> {
        let attached = |link: &Link| link.name == "tap0";
        plan_removal(vni(100), &config, links, &attached).iter().map(Step::to_string).collect()
    };
    let tap = Link { master: Some(10), ..veth(5, "tap0") };
    let ours = links([bridge.clone(), vxlan.clone(), tap.clone()]);
    assert_eq!(delete(&ours), ["delete vxlan1-100", "delete br-evpn-100"]);
    let found = links([Link { alias: None, ..bridge }, Link { alias: None, ..vxlan }, tap]);
    assert_eq!(delete(&found), ["release tap0 from br-evpn-100"]);
}
