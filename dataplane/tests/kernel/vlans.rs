//! What only the layout single-device has: VLANs, their mappings to VNIs and the VNI filter on devices that all share.

use dataplane::intent::{Change, L2Vni, Local};
use dataplane::kernel::KernelConfig;
use dataplane::plane::{Action, Step};
use dataplane::reconciler::{Event, Output};

use crate::devices::{base, veth};
use crate::earlier_runs::notes;
use crate::harness::*;
use crate::layout::*;

const M: &str = "02:00:00:00:00:01";

/// A VNI with a VLAN of its own choice.
pub(crate) fn in_vlan(n: u32, vlan: u16, interfaces: &[&str]) -> Change {
    Change::PutVni(L2Vni { vlan: Some(vlan), ..l2(n, interfaces) })
}

/// Everything there is but rows: what a test may compare. (Nobody has a VNI filter before the first VXLAN device.)
fn devices() -> Vec<String> {
    lines(
        "bridge vlan tunnelshow | tail -n +2; bridge vlan show; { bridge vni show 2>/dev/null || true; } | tail -n +2
         ip -o link show | sed 's/^[0-9]*: //; s/ state [A-Z]*//; s/,LOWER_UP//; s/NO-CARRIER,//; s/ qlen.*//'",
    )
}

#[test]
fn vlans_are_chosen_configured_and_kept() {
    in_namespace("vlans::vlans_are_chosen_configured_and_kept", || {
        veth("veth1");
        veth("veth2");
        let told = |n: u32, vlan: u16| Local::Vlan(vni(n), vlan);
        let mut host = Host::new(&[
            Change::PutVni(l2(100, &["veth1"])),
            Change::PutVni(l2(101, &["veth2"])),
            put_mac(100, M, "10.9.0.2"),
            put_neighbour(100, "192.0.2.1", M),
            put_mac(101, M, "10.9.0.3"),
            Change::Settled,
        ]);
        host.assert_in_sync();
        let vlans = || [100, 101, 102].map(vlan);
        assert_eq!(vlans(), [Some(2), Some(3), None]);
        host.hears(&told(100, 2));
        // One that is configured has it; whoever had it by chance moves, rows, neighbours, ports and all.
        host.change(&[in_vlan(102, 2, &[])]);
        host.until("all in sync", |host| host.r.status().in_sync);
        assert_eq!(vlans(), [Some(4), Some(3), Some(2)]);
        host.hears(&told(100, 4));
        let all_there = || {
            assert_eq!([place("veth1"), place("veth2")], ["vni 100", "vni 101"]);
            assert!(has_row(100, &format!("{M} dst 10.9.0.2")) && has_row(100, &format!("{M} extern_learn")));
            assert!(has_row(101, &format!("{M} dst 10.9.0.3")) && has_row(101, &format!("{M} extern_learn")));
            assert!(
                neighbours(100).iter().any(|line| line.starts_with("192.0.2.1 ")),
                "{:?}",
                neighbours(100)
            );
            assert_eq!(
                on_bridge(102, M),
                Vec::<String>::new(),
                "nothing is left in a VLAN that was given up"
            );
        };
        all_there();
        let error =
            "use VLAN 2 for VNI 103: it is configured for VNI 102, too: set another vlan for one of them";
        host.change(&[in_vlan(103, 2, &[])]);
        assert_eq!(host.r.status().last_error.as_deref(), Some(error));
        host.change(&[Change::DelVni(vni(103))]);
        host.assert_in_sync();
        // As after kill -9, and with everything in another order: the same VLANs, and nothing to do.
        drop(host);
        let before = devices();
        let watch = Watch::new("bridge monitor vlan");
        let mut host = Host::new(&[
            Change::PutVni(l2(101, &["veth2"])),
            in_vlan(102, 2, &[]),
            put_mac(101, M, "10.9.0.3"),
            Change::PutVni(l2(100, &["veth1"])),
            put_mac(100, M, "10.9.0.2"),
            put_neighbour(100, "192.0.2.1", M),
            Change::Settled,
        ]);
        host.assert_in_sync();
        assert_eq!(devices(), before);
        assert!(!watch.heard_any(), "nothing is done twice");
        all_there();
        // By its configuration a VNI moves to a VLAN, and when that no longer says one, it stays.
        host.change(&[in_vlan(101, 1000, &["veth2"])]);
        assert_eq!(vlans(), [Some(4), Some(1000), Some(2)]);
        host.hears(&told(101, 1000));
        all_there();
        host.change(&[Change::PutVni(l2(101, &["veth2"]))]);
        assert_eq!(vlans(), [Some(4), Some(1000), Some(2)]);
        host.resync();
        host.assert_in_sync();
        // What goes leaves its VLAN to the next that comes.
        host.change(&[Change::DelVni(vni(102)), Change::PutVni(l2(104, &[]))]);
        assert_eq!((vlan(102), vlan(104)), (None, Some(2)));
        assert_eq!(host.r.status().repairs, 0, "{:?}", host.outputs);
        assert_eq!(sh("ip -br link show type vlan | wc -l").trim(), "1", "only one has an address to keep");
        let (_, errors) = host.r.shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
        assert!(!succeeds("ip -br link | grep evpn"));
    });
}

#[test]
fn what_somebody_changes_is_put_right() {
    in_namespace("vlans::what_somebody_changes_is_put_right", || {
        veth("veth1");
        let mut host = Host::new(&base());
        host.assert_in_sync();
        let show = || {
            // (A device that is made again has another address, and a row of its own for that.)
            let mut rows = fdb(100);
            rows.retain(|row| row.contains("extern_learn"));
            [devices(), rows, neighbours(100)].concat()
        };
        let before = show();
        assert!(before.iter().any(|line| line.contains("br-evpn.2@br-evpn") && !line.contains(",UP")));
        assert!(sh("ip -d link show br-evpn.2").contains("alias evpnd vni 100"));
        for command in [
            "bridge vlan del vid 2 dev vxlan1 tunnel_info id 100",
            "bridge vlan del vid 2 dev vxlan1",
            "bridge vlan del vid 2 dev vxlan1; bridge vlan add vid 3 dev vxlan1; \
             bridge vlan add vid 3 dev vxlan1 tunnel_info id 100",
            "bridge link set dev vxlan1 vlan_tunnel off",
            "bridge link set dev vxlan1 vlan_tunnel off; bridge link set dev vxlan1 vlan_tunnel on",
            "ip link set vxlan1 type bridge_slave vlan_tunnel off; ip link set vxlan1 type bridge_slave vlan_tunnel on",
            "bridge vni delete vni 100 dev vxlan1",
            "bridge vlan del vid 2 dev veth1",
            "bridge vlan add vid 9 dev veth1 pvid untagged",
            "bridge vlan add vid 1 dev vxlan1 pvid untagged",
            "ip link del br-evpn.2",
            "ip link set br-evpn type bridge vlan_filtering 0",
            "ip link set vxlan1 nomaster",
            "ip link del vxlan1",
        ] {
            host.resync();
            let compared = host.r.status().last_resync;
            sh(command);
            host.until(command, |_| show() == before);
            host.until("all in sync", |host| host.r.status().in_sync);
            assert_eq!(host.r.status().last_resync, compared, "noticed by the timer alone: {command}");
        }
        // Nor does a default VLAN stay that comes later: there would be the packets of VNIs without a VLAN.
        sh("ip link set br-evpn type bridge vlan_default_pvid 1");
        host.until("out of VLAN 1", |_| !sh("bridge vlan show dev vxlan1").contains("PVID"));
        host.until("an access port again", |_| place("veth1") == "vni 100");
        // Who sets the table up loses what is in it; that comes back.
        sh("ip link set br-evpn.2 up; ip link set br-evpn.2 down");
        host.until("neighbours", |_| neighbours(100).iter().any(|line| line.starts_with("192.0.2.1 ")));
    });
}

/// A VNI that wants no ARP suppression.
fn without_suppression(n: u32) -> Change {
    Change::PutVni(L2Vni { arp_suppression: false, ..l2(n, &[]) })
}

/// Has the VXLAN port suppress ARP in a VLAN, or not. (By hand: not every iproute2 has words for it.)
fn suppress(vlan: u16, on: bool) {
    let index = sh("ip -o link show vxlan1 | cut -d: -f1");
    // RTM_NEWVLAN: struct br_vlan_msg, and in a BRIDGE_VLANDB_ENTRY which VLAN it is, options alone, and this one.
    sh(&format!(
        "perl -e 'use Socket; socket(my $s, 16, 3, 0) or die; my $m = pack(\"LSSLLCCSLSSSSSSSSCx3\", 44, 112, 5, 1, 0, \
         7, 0, 0, {}, 20, 0x8001, 8, 1, 0x40, {vlan}, 5, 9, {}); \
         send($s, $m, 0, pack(\"SSLL\", 16, 0, 0, 0)) or die; recv($s, my $r, 4096, 0); \
         die $r if unpack(\"x16 l\", $r)'",
        index.trim(),
        u8::from(on)
    ));
}

#[test]
fn one_vni_without_suppression_keeps_what_it_floods() {
    in_namespace("vlans::one_vni_without_suppression_keeps_what_it_floods", || {
        let port = || sh("bridge -d link show dev vxlan1");
        let mut host = Host::new(&[Change::PutVni(l2(100, &[])), Change::Settled]);
        assert!(port().contains("neigh_suppress on"));
        host.change(&[without_suppression(101), without_suppression(102)]);
        host.assert_in_sync();
        assert!(port().contains("neigh_suppress off"), "it would be for all of them");
        // A kernel that knows of VLANs in this does without. (These words of it iproute2 may not know.)
        let limits = host.r.status().limits;
        if !limits.is_empty() {
            let said = "and VNIs 101, 102 say arp-suppression = false";
            assert!(limits.len() == 1 && limits[0].contains(said), "{limits:?}");
            assert!(host.outputs.contains(&Output::Event(Event::Limited(limits[0].clone()))));
        }
        let mut repairs = 0;
        if limits.is_empty() {
            for (vlan, on) in [(2, false), (3, true)] {
                suppress(vlan, on);
                repairs += 1;
                host.until("put right at once", |host| {
                    host.r.status().repairs == repairs && host.r.status().in_sync
                });
            }
        }
        let outputs = host.outputs.len();
        host.resync();
        host.assert_in_sync();
        assert_eq!(host.outputs[outputs..], [], "it is told once");
        // One goes, the other changes its mind.
        host.change(&[Change::DelVni(vni(101))]);
        assert_eq!(host.r.status().limits.len(), limits.len());
        host.change(&[Change::PutVni(l2(102, &[]))]);
        assert!(port().contains("neigh_suppress on") && host.r.status().limits.is_empty());
        host.change(&[without_suppression(102)]);
        assert!(port().contains("neigh_suppress off"));
        host.change(&[Change::DelVni(vni(102))]);
        assert!(port().contains("neigh_suppress on") && host.r.status().limits.is_empty());
        host.change(&[Change::DelVni(vni(100)), without_suppression(103)]);
        assert!(port().contains("neigh_suppress off") && host.r.status().limits.is_empty());
        host.assert_in_sync();
        assert_eq!(host.r.status().repairs, repairs, "{:?}", host.outputs);
    });
}

#[test]
fn a_dry_run_knows_what_all_vnis_want() {
    in_namespace("vlans::a_dry_run_knows_what_all_vnis_want", || {
        let plan = |changes: &[Change]| {
            let mut r = reconciler(config());
            for change in changes {
                r.change(change);
            }
            r.dry_run(&mut Vec::new()).unwrap()
        };
        let words = |steps: &[Step], of: &str| -> Vec<String> {
            steps.iter().map(|step| step.what.clone()).filter(|what| what.contains(of)).collect()
        };
        let set = "set bridge port vxlan1: learning off, VLAN tunnel on, ARP suppression";
        let mixed = [without_suppression(100), Change::PutVni(l2(101, &[])), Change::Settled];
        let per_vlan = format!("vni 100: {set} per VLAN, if the kernel can");
        assert_eq!(words(&plan(&mixed), "bridge port"), [per_vlan]);
        let all = [Change::PutVni(l2(100, &[])), Change::PutVni(l2(101, &[])), Change::Settled];
        assert_eq!(words(&plan(&all), "bridge port"), [format!("vni 100: {set} on")]);
        // What stands in the way of one stands in the way of all.
        sh("ip link add vxlan1 type veth peer name x");
        let steps = plan(&all);
        let reason =
            "cannot use VXLAN device vxlan1: it exists and is a veth device; remove it, or set another vxlan";
        assert_eq!(words(&steps, ""), [format!("vni 100: {reason}"), format!("vni 101: {reason}")]);
        assert!(steps.iter().all(|step| step.action == Action::Cannot));
        sh("ip link del vxlan1");
        // Once done, nothing is left but what cannot be had.
        let host = Host::new(&mixed);
        assert_eq!(words(&plan(&mixed), ""), host.r.status().limits);
    });
}

#[test]
fn devices_of_others_that_will_not_do() {
    in_namespace("vlans::devices_of_others_that_will_not_do", || {
        for (make, error) in [
            (
                "ip link add br-evpn type veth peer name x",
                "use bridge br-evpn: it exists and is a veth device; remove it, or set another bridge",
            ),
            (
                "ip link add br-evpn type bridge",
                "use bridge br-evpn: it exists without VLAN filtering: ip link set br-evpn type bridge vlan_filtering 1, \
                 or set another bridge",
            ),
            (
                "ip link add vxlan1 type vxlan id 5 local 10.9.0.1 dstport 4789",
                "use VXLAN device vxlan1: it exists and carries VNI 5 alone: it was made without \"external\"; remove it, \
                 or set another vxlan",
            ),
            (
                "ip link add vxlan1 type vxlan external local 10.9.0.1 dstport 8472",
                "use VXLAN device vxlan1: it exists and uses UDP port 8472, not 4789; remove it, or set another vxlan or \
                 vxlan-port",
            ),
            (
                "ip link add vxlan1 type vxlan external local 10.9.0.77 dstport 4789",
                "use VXLAN device vxlan1: it exists with local 10.9.0.77, not 10.9.0.1; remove it, or set another vxlan or \
                 vtep",
            ),
            (
                "ip link add vxlan1 type vxlan external local 10.9.0.1 dstport 4789; ip link add br7 type bridge; \
                 ip link set vxlan1 master br7",
                "use VXLAN device vxlan1: it is a port of br7, not of br-evpn; set bridge = \"br7\"",
            ),
        ] {
            sh(make);
            let before = devices();
            let mut host = Host::new(&[Change::PutVni(l2(100, &[])), Change::Settled]);
            assert_eq!(host.r.status().last_error.as_deref(), Some(error), "{make}");
            assert_eq!(devices(), before, "{make}");
            for device in ["br-evpn", "vxlan1", "br7"] {
                sh(&format!("ip link del {device} 2>/dev/null || true"));
            }
            // Once the obstacle is gone.
            host.until(make, |host| host.r.status().in_sync && vlan(100).is_some());
            let (_, errors) = host.r.shutdown(true);
            assert!(errors.is_empty(), "{errors:?}");
        }
        // The name of a table: the VNI works without.
        sh("ip link add br-evpn.2 type veth peer name x");
        let address = put_neighbour(100, "192.0.2.1", M);
        let changes = [Change::PutVni(l2(100, &[])), put_mac(100, M, "10.9.0.2"), address, Change::Settled];
        let mut host = Host::new(&changes);
        let error = "create br-evpn.2, the ARP table of VNI 100: it exists and is a veth device; remove it, or set \
                     arp-suppression = false";
        assert_eq!(host.r.status().last_error.as_deref(), Some(error));
        assert!(has_row(100, &format!("{M} dst 10.9.0.2")));
        sh("ip link del br-evpn.2");
        host.until("its table", |host| {
            host.r.status().in_sync && succeeds("ip -d link show br-evpn.2 | grep -q 802.1Q")
        });
    });
}

/// A VNI has no table before it has an address to keep; one that somebody else makes meanwhile will do.
#[test]
fn a_table_of_somebody_else_is_used() {
    in_namespace("vlans::a_table_of_somebody_else_is_used", || {
        let mut host = Host::new(&[Change::PutVni(l2(100, &[])), Change::Settled]);
        assert_eq!(sh("ip -br link show type vlan"), "");
        sh("ip link add link br-evpn name theirs type vlan id 2");
        sh(&format!("ip neigh add 192.0.2.50 lladdr {M} dev theirs nud reachable"));
        host.hears(&Local::NeighbourSeen { vni: vni(100), ip: ip("192.0.2.50"), mac: mac(M) });
        host.change(&[put_neighbour(100, "192.0.2.1", M)]);
        assert!(sh("ip neigh show dev theirs").contains("192.0.2.1 "), "ours are there, too");
        // Without it, one of our own.
        sh("ip link del theirs");
        host.until("a table", |_| succeeds("ip neigh show dev br-evpn.2 | grep -q ^192.0.2.1"));
        let (_, errors) = host.r.shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
    });
}

/// A bridge that somebody made, with a port in nearly all VLANs.
#[test]
fn vlans_of_others_are_left_out_and_may_be_all() {
    in_namespace("vlans::vlans_of_others_are_left_out_and_may_be_all", || {
        veth("veth1");
        sh("ip link add br-evpn type bridge vlan_filtering 1 vlan_default_pvid 0; ip link set br-evpn up
            ip link set veth1 master br-evpn; bridge vlan add vid 2-4092 dev veth1
            bridge vlan add vid 4093 dev br-evpn self
            ip link add link br-evpn name theirs type vlan id 4094");
        let before = devices();
        let mut host =
            Host::new(&[Change::PutVni(l2(100, &[])), Change::PutVni(l2(101, &[])), Change::Settled]);
        assert_eq!([100, 101].map(vlan), [Some(1), None]);
        let error = "find a VLAN for VNI 101: all 4094 VLANs of bridge br-evpn are in use: VNI 101 gets none; remove VNIs \
                     or use layout = \"device-per-vni\"";
        assert_eq!(host.r.status().last_error.as_deref(), Some(error));
        // A VLAN that is said to be a VNI's is stretched over the overlay, whoever is in it.
        host.change(&[in_vlan(102, 10, &[])]);
        assert_eq!(vlan(102), Some(10));
        sh("bridge vlan del vid 7 dev veth1");
        host.resync();
        host.until("the VLAN that is free now", |_| vlan(101) == Some(7));
        host.until("all in sync", |host| host.r.status().in_sync);
        sh("bridge vlan add vid 7 dev veth1");
        let (_, errors) = host.r.shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(devices(), before, "what is others' stays");
    });
}

#[test]
fn a_vxlan_device_that_is_found_keeps_what_others_mapped() {
    in_namespace("vlans::a_vxlan_device_that_is_found_keeps_what_others_mapped", || {
        sh("ip link add br-evpn type bridge vlan_filtering 1 vlan_default_pvid 0; ip link set br-evpn up
            ip link add vxlan1 type vxlan external dstport 4789; ip link set vxlan1 master br-evpn
            bridge link set dev vxlan1 vlan_tunnel on neigh_suppress on learning off; ip link set vxlan1 up
            bridge vlan add vid 20 dev vxlan1; bridge vlan add vid 20 dev vxlan1 tunnel_info id 777
            bridge vlan add vid 30 dev vxlan1; bridge vlan add vid 30 dev vxlan1 tunnel_info id 101
            bridge fdb add 02:00:00:00:00:99 dev vxlan1 dst 10.9.0.9 src_vni 777 self static");
        let before = devices();
        let rows = || lines("bridge fdb show dev vxlan1 | grep src_vni || true");
        let rows_before = rows();
        sh("bridge link set dev vxlan1 learning on");
        let mut host = Host::new(&[in_vlan(100, 20, &[]), Change::PutVni(l2(101, &[])), Change::Settled]);
        let error = "use VLAN 20 for VNI 100: it is mapped to VNI 777 on vxlan1, and not by evpnd: set another vlan, or \
                     bridge vlan del dev vxlan1 vid 20";
        assert_eq!(host.r.status().last_error.as_deref(), Some(error));
        assert_eq!([100, 101, 777].map(vlan), [None, Some(30), Some(20)]);
        assert!(sh("ip -d link show vxlan1").contains("learning off"), "that would hide other hosts' moves");
        host.change(&[
            Change::PutVni(l2(100, &[])),
            put_mac(100, M, "10.9.0.2"),
            put_mac(101, M, "10.9.0.2"),
        ]);
        host.assert_in_sync();
        assert_eq!([100, 101, 777].map(vlan), [Some(2), Some(30), Some(20)]);
        host.change(&[Change::DelVni(vni(100))]);
        assert_eq!(rows().len(), rows_before.len() + 1);
        // Unwanted, though made by others: one that was wanted is ours to remove.
        let (_, errors) = host.r.shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(rows(), rows_before);
        let left: Vec<String> = devices().into_iter().filter(|line| !before.contains(line)).collect();
        assert_eq!((vlan(777), left), (Some(20), Vec::new()));
    });
}

#[test]
fn vnis_that_scripts_set_up_are_found_and_lost() {
    in_namespace("vlans::vnis_that_scripts_set_up_are_found_and_lost", || {
        veth("veth1");
        sh("ip link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0; ip link set br0 up
            ip link add vxlan1 type vxlan dev lo dstport 4789 external; ip link set vxlan1 master br0
            ip link set vxlan1 type bridge_slave vlan_tunnel on learning off; ip link set vxlan1 up
            ip link set veth1 master br0 up");
        let map = |vlan: u16, vni: u32| {
            sh(&format!(
                "bridge vlan add dev vxlan1 vid {vlan}; bridge vlan add dev vxlan1 vid {vlan} tunnel_info id {vni}"
            ))
        };
        map(10, 100);
        sh("bridge vlan add dev veth1 vid 10 pvid untagged");
        let config = KernelConfig { discover: true, manage_devices: false, ..config() };
        let mut host = Host::with(config.clone(), &[]);
        host.hears(&Local::Found(vni(100), true));
        let before = devices();
        let rows =
            [put_flood(100, "10.9.0.2"), put_mac(100, M, "10.9.0.2"), put_neighbour(100, "192.0.2.1", M)];
        host.change(&[Change::PutVni(l2(100, &[]))]);
        host.change(&rows);
        host.change(&[Change::Settled]);
        host.until("all in sync", |host| host.r.status().in_sync);
        assert!(host.outputs.contains(&Output::Local(Local::Vlan(vni(100), 10))), "{:?}", host.outputs);
        assert!(has_row(100, &format!("{M} dst 10.9.0.2")) && has_row(100, &format!("{M} extern_learn")));
        sh("bridge fdb add 02:00:00:00:00:a1 dev veth1 vlan 10 master dynamic");
        host.hears(&Local::MacSeen {
            vni: vni(100),
            mac: mac("02:00:00:00:00:a1"),
            interface: "veth1".into(),
            sticky: false,
        });
        assert_eq!(devices(), before, "nothing is made, nothing is changed");
        sh("bridge link set dev vxlan1 learning on");
        host.until("learning off", |_| sh("ip -d link show vxlan1").contains("learning off"));
        // What is down is not there for others.
        for device in ["br0", "vxlan1"] {
            host.outputs.clear();
            sh(&format!("ip link set {device} down"));
            host.hears(&Local::Found(vni(100), false));
            host.outputs.clear();
            sh(&format!("ip link set {device} up"));
            host.hears(&Local::Found(vni(100), true));
        }
        // Another comes, and moves to another VLAN; the first goes.
        map(20, 200);
        host.hears(&Local::Found(vni(200), true));
        host.change(&[Change::PutVni(l2(200, &[])), put_mac(200, M, "10.9.0.3")]);
        sh("bridge vlan del dev vxlan1 vid 20");
        map(30, 200);
        host.until("the row in the new VLAN", |_| has_row(200, &format!("{M} extern_learn")));
        // The VLAN it had stays on the port: somebody else's from now on.
        sh("bridge vlan add dev vxlan1 vid 31; bridge vlan del dev vxlan1 vid 30 tunnel_info id 200
            bridge vlan add dev vxlan1 vid 31 tunnel_info id 200");
        host.until("the row in the next VLAN", |_| has_row(200, &format!("{M} extern_learn")));
        let left = || sh("bridge fdb show dev vxlan1 | grep -c 'vlan 30 extern_learn' || true");
        assert_eq!((vlan(200), left().trim()), (Some(31), "0"));
        sh("bridge vlan del dev vxlan1 vid 31");
        map(30, 200);
        host.until("the row in the last VLAN", |_| has_row(200, &format!("{M} extern_learn")));
        host.outputs.clear();
        sh("bridge vlan del dev vxlan1 vid 10");
        host.hears(&Local::Found(vni(100), false));
        host.change(&[Change::DelVni(vni(100))]);
        host.until("all in sync", |host| host.r.status().in_sync);
        // (Also out of a VLAN that its port no longer has: there the bridge lets no row go by itself.)
        let left = "bridge fdb show | grep extern_learn | grep -cE 'vlan 10 |vlan 20 |src_vni 100 ' || true";
        assert_eq!(sh(left).trim(), "0");
        // With the tunnels of the port all mappings go, though they are on again at once.
        sh("bridge link set dev vxlan1 vlan_tunnel off; bridge link set dev vxlan1 vlan_tunnel on");
        host.hears(&Local::Found(vni(200), false));
        host.outputs.clear();
        map(30, 200);
        host.hears(&Local::Found(vni(200), true));
        host.until("all in sync", |host| host.r.status().in_sync);
        assert!(has_row(200, &format!("{M} dst 10.9.0.3")));
        let (_, errors) = host.r.shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(vlan(200), Some(30));
        assert_eq!(sh("bridge fdb show | grep -c extern_learn || true").trim(), "0");
        // A device of the right name on which nobody would find us.
        sh("ip link set vxlan1 down; ip link set vxlan1 name vx0 up
            ip link add vxlan1 type vxlan dev lo dstport 8472 external; ip link set vxlan1 master br0 up");
        let mut host = Host::with(config, &[Change::Settled]);
        host.hears(&Local::Found(vni(200), true));
        let note = "vxlan1 is not used, and no VNI on it found: its UDP port is 8472, and vxlan-port is 4789";
        host.until("the note", |host| notes(host) == [note]);
    });
}

/// A bridge that puts its new ports into VLAN 1, as bridges do unless told otherwise.
#[test]
fn the_default_vlan_of_a_bridge_that_is_found_is_no_vni() {
    in_namespace("vlans::the_default_vlan_of_a_bridge_that_is_found_is_no_vni", || {
        veth("veth1");
        sh("ip link add br-evpn type bridge vlan_filtering 1; ip link set br-evpn up");
        let before = devices();
        let host = Host::new(&base());
        host.assert_in_sync();
        assert_eq!(place("veth1"), "vni 100");
        let vlans = sh("bridge vlan show dev vxlan1");
        assert!(!vlans.contains("PVID"), "packets of VNIs without a VLAN would be in it: {vlans}");
        let (_, errors) = host.r.shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
        let left: Vec<String> = devices().into_iter().filter(|line| !before.contains(line)).collect();
        assert!(!left.iter().any(|line| line.contains("vxlan1") || line.contains("br-evpn.")), "{left:?}");
    });
}

#[test]
fn devices_that_could_not_be_finished_are_removed_too() {
    in_namespace("vlans::devices_that_could_not_be_finished_are_removed_too", || {
        sh("ip link add other type vxlan id 5 local 10.9.0.1 dstport 4789; ip link set other up");
        let host = Host::new(&[Change::PutVni(l2(100, &[])), Change::Settled]);
        let error = host.r.status().last_error.unwrap_or_default();
        assert!(error.contains("other uses the UDP port; remove it, or set another vxlan-port"), "{error}");
        assert!(succeeds("ip link show vxlan1"));
        let (_, errors) = host.r.shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
        assert!(!succeeds("ip link show vxlan1") && !succeeds("ip link show br-evpn"));
    });
}
