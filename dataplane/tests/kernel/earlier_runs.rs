//! What earlier runs left: with another layout, other names, other VNIs, or killed in the middle of it.

use dataplane::intent::Change;
use dataplane::kernel::{KernelConfig, Layout};
use dataplane::reconciler::{Event, Output};

use crate::devices::{base, veth};
use crate::harness::*;
use crate::layout::*;
use crate::vlans::in_vlan;

const M: &str = "02:00:00:00:00:01";

/// What is left when everything of ours has gone.
const BARE: [&str; 3] = ["lo", "veth1@veth1p", "veth1p@veth1"];

/// Devices that a run with the other layout left make room: they are ours.
#[test]
fn the_layout_changes() {
    in_namespace("earlier_runs::the_layout_changes", || {
        veth("veth1");
        let per_vni = KernelConfig { layout: Layout::DevicePerVni, ..config() };
        drop(Host::with(per_vni, &base()));
        assert!(succeeds("ip link show vxlan1-100"));
        let host = Host::new(&base());
        host.assert_in_sync();
        assert!(!succeeds("ip link show vxlan1-100 || ip link show br-evpn-100"));
        assert_eq!(place("veth1"), "vni 100");
        // And back.
        drop(host);
        let per_vni = KernelConfig { layout: Layout::DevicePerVni, ..config() };
        let host = Host::with(per_vni, &base());
        host.assert_in_sync();
        assert!(!succeeds("ip link show vxlan1") && !succeeds("ip link show br-evpn"));
        assert_eq!(sh("ip -br link show type vlan | wc -l").trim(), "0");
        assert!(sh("bridge fdb show dev vxlan1-100").contains(M));
        assert_eq!(place("veth1"), "vni 100");
        // Both ways with no VNI any more.
        drop(host);
        drop(Host::new(&[Change::Settled]));
        assert_eq!(links(), BARE);
        drop(Host::new(&base()));
        let per_vni = KernelConfig { layout: Layout::DevicePerVni, ..config() };
        drop(Host::with(per_vni, &[Change::Settled]));
        assert_eq!(links(), BARE);
    });
}

/// Rows stay when mappings go, and a kill -9 leaves both: whoever gets the VLAN or the VNI next must not have them.
#[test]
fn what_an_earlier_run_left_is_found_wherever_it_is() {
    in_namespace("earlier_runs::what_an_earlier_run_left_is_found_wherever_it_is", || {
        let first = [
            Change::PutVni(l2(100, &[])),
            put_flood(100, "10.9.0.2"),
            put_mac(100, M, "10.9.0.2"),
            Change::Settled,
        ];
        drop(Host::new(&first));
        sh("bridge vlan del vid 2 dev vxlan1");
        let host = Host::new(&[Change::PutVni(l2(100, &[])), put_flood(100, "10.9.0.3"), Change::Settled]);
        host.assert_in_sync();
        assert_eq!((vlan(100), has_row(100, "00:00:00:00:00:00 dst 10.9.0.3")), (Some(2), true));
        let left = sh("bridge fdb show dev vxlan1");
        assert!(!left.contains("10.9.0.2") && !left.contains(M), "{left}");
        drop(host);
        // It has another VLAN now, and there is another VNI.
        drop(Host::new(&first));
        let mut host = Host::new(&[in_vlan(100, 50, &[]), Change::PutVni(l2(200, &[]))]);
        host.change(&[put_flood(100, "10.9.0.2"), put_mac(100, M, "10.9.0.2"), Change::Settled]);
        host.assert_in_sync();
        assert_eq!([100, 200].map(vlan), [Some(50), Some(3)]);
        assert!(has_row(100, &format!("{M} dst 10.9.0.2")) && has_row(100, &format!("{M} extern_learn")));
        assert_eq!(sh("bridge fdb show dev vxlan1 | grep -c 'vlan 2 extern_learn' || true").trim(), "0");
        assert_eq!(host.r.status().repairs, 0);
    });
}

/// Shared devices bear no VNI: nothing but their mark says that they are to go, when no VNI is mapped on them either.
#[test]
fn shared_devices_go_when_no_vni_is_wanted() {
    in_namespace("earlier_runs::shared_devices_go_when_no_vni_is_wanted", || {
        veth("veth1");
        let leave = || {
            drop(Host::new(&base()));
            sh(
                "ip link del br-evpn.2; bridge vni delete vni 100 dev vxlan1; bridge vlan del vid 2 dev vxlan1",
            );
        };
        leave();
        let all = links();
        let unmanaged = KernelConfig { manage_devices: false, ..config() };
        drop(Host::with(unmanaged.clone(), &[Change::Settled]));
        drop(Host::with(KernelConfig { discover: true, ..unmanaged }, &[Change::Settled]));
        drop(Host::new(&[]));
        assert_eq!(links(), all, "they are not to be managed, or neighbours have not told everything yet");
        assert_eq!(planned_without_vnis(), ["delete vxlan1", "delete br-evpn"]);
        assert_eq!(links(), all, "a dry run changes nothing");
        drop(Host::new(&[Change::Settled]));
        assert_eq!(links(), BARE);
        // One of them alone; and in the end, if everything is to go then.
        leave();
        sh("ip link del vxlan1");
        drop(Host::new(&[Change::Settled]));
        assert_eq!(links(), BARE);
        leave();
        let (_, errors) = reconciler(config()).shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(links(), BARE);
    });
}

#[test]
fn shared_devices_have_other_names_than_before() {
    in_namespace("earlier_runs::shared_devices_have_other_names_than_before", || {
        veth("veth1");
        let old = KernelConfig { bridge: "old".into(), vxlan: "vx".into(), ..config() };
        drop(Host::with(old.clone(), &base()));
        let mut host = Host::new(&base());
        host.assert_in_sync();
        assert_eq!(place("veth1"), "vni 100");
        assert!(!links().iter().any(|link| link.starts_with("old") || link == "vx"), "{:?}", links());
        // A name has changed sides.
        drop(host);
        host = Host::with(
            KernelConfig { bridge: "vxlan1".into(), vxlan: "br-evpn".into(), ..config() },
            &base(),
        );
        host.assert_in_sync();
        assert!(
            sh("ip link show veth1").contains("master vxlan1")
                && sh("ip link show br-evpn").contains("master vxlan1")
        );
        let (_, errors) = host.r.shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(links(), BARE);
        // A VXLAN device of somebody else's in a bridge of ours, which goes.
        sh("ip link add vxlan1 type vxlan external local 10.9.0.1 dstport 4789");
        let theirs = KernelConfig { vxlan: "vxlan1".into(), ..old };
        drop(Host::with(theirs.clone(), &base()));
        host = Host::new(&base());
        host.assert_in_sync();
        assert_eq!((place("veth1"), succeeds("ip link show old")), ("vni 100".into(), false));
        // And nothing is wanted any more: then what is not ours stays.
        drop(host);
        drop(Host::with(theirs, &[Change::Settled]));
        assert_eq!(links(), ["lo", "veth1@veth1p", "veth1p@veth1", "vxlan1"]);
    });
}

/// On a device that is not ours, only the ARP table of a VNI says that a mapping was.
#[test]
fn mappings_on_a_device_of_somebody_else() {
    in_namespace("earlier_runs::mappings_on_a_device_of_somebody_else", || {
        sh("ip link add br-evpn type bridge vlan_filtering 1 vlan_default_pvid 0; ip link set br-evpn up
            ip link add vxlan1 type vxlan external dstport 4789; ip link set vxlan1 master br-evpn up
            bridge link set dev vxlan1 vlan_tunnel on learning off
            bridge vlan add vid 30 dev vxlan1; bridge vlan add vid 30 dev vxlan1 tunnel_info id 777");
        let put = |n, vlan| [in_vlan(n, vlan, &[]), put_flood(n, "10.9.0.2"), put_mac(n, M, "10.9.0.2")];
        let mut host = Host::new(&[put(100, 10), put(101, 20), put(102, 40)].concat());
        host.change(&[put_neighbour(100, "192.0.2.1", M), Change::Settled]);
        host.assert_in_sync();
        let line = |vlan: u32, vni: u32, more: &str| {
            format!(
                "vxlan1 maps VLAN {vlan} to VNI {vni}, which is not configured; it was not evpnd that made vxlan1, so this \
                 may be another program's, or left by an earlier run; if nobody needs it: bridge vlan del dev vxlan1 vid \
                 {vlan}{more}"
            )
        };
        assert_eq!(notes(&host), [line(30, 777, "")]);
        drop(host);
        let mut host = Host::new(&put(102, 40));
        host.change(&[Change::Settled]);
        host.until("all in sync", |host| host.r.status().in_sync);
        assert_eq!([100, 101, 102, 777].map(vlan), [None, Some(20), Some(40), Some(30)]);
        assert_eq!(sh("bridge fdb show | grep -E 'vlan 10 |src_vni 100 ' || true").trim(), "");
        let more = " (1 more like it: bridge vlan tunnelshow dev vxlan1)";
        assert_eq!(notes(&host), [line(20, 101, more)]);
        host.resync();
        assert_eq!(notes(&host).len(), 1, "once is enough");
        // What the line says to do is enough for whoever has the VLAN and the VNI next.
        sh("bridge vlan del dev vxlan1 vid 20");
        host.change(&[in_vlan(101, 50, &[]), in_vlan(103, 20, &[])]);
        host.assert_in_sync();
        assert_eq!(
            sh("bridge fdb show | grep extern_learn | grep -E 'vlan 20 |src_vni 101 ' || true").trim(),
            ""
        );
        // And so is a configured VLAN, for one whose VLAN an earlier run has given to another that is still wanted.
        drop(host);
        let mut host = Host::new(&[in_vlan(104, 50, &[]), Change::PutVni(l2(101, &[])), Change::Settled]);
        host.until("all in sync", |host| host.r.status().in_sync);
        assert_eq!((vlan(104), vlan(101).is_some_and(|vlan| vlan != 50)), (Some(50), true));
    });
}

/// What people were told.
pub(crate) fn notes(host: &Host) -> Vec<String> {
    let note = |output: &Output| match output {
        Output::Event(Event::Note(text)) => Some(text.clone()),
        _ => None,
    };
    host.outputs.iter().filter_map(note).collect()
}
