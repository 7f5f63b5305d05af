//! What only the layout device-per-vni has: devices of others that could carry a VNI, each looked at by itself.

use dataplane::intent::{Change, L2Vni, Local};
use dataplane::kernel::KernelConfig;
use dataplane::reconciler::Output;

use crate::devices::{base, veth};
use crate::harness::*;
use crate::layout::*;

#[test]
fn what_is_not_ours_is_named_and_not_touched() {
    in_namespace("per_vni::what_is_not_ours_is_named_and_not_touched", || {
        sh("ip link add br-evpn-100 type veth peer name x");
        sh("ip link add vxlan1-200 type vxlan id 201 local 10.9.0.1 dstport 4789");
        sh(
            "ip link add br0 type bridge && ip link add veth3 type veth peer name veth3p && ip link set veth3 master br0",
        );
        let before = lines("ip -o link show | sed 's/state.*//'");
        let mut host = Host::new(&[Change::PutVni(l2(100, &[]))]);
        let error = host.r.status().last_error.unwrap();
        assert_eq!(error, "use bridge br-evpn-100 for VNI 100: it exists and is a veth device");
        host.change(&[Change::DelVni(vni(100)), Change::PutVni(l2(200, &[]))]);
        let error = host.r.status().last_error.unwrap();
        assert_eq!(error, "use VXLAN device vxlan1-200 for VNI 200: vxlan1-200 exists and carries VNI 201");
        host.change(&[Change::DelVni(vni(200))]);
        assert_eq!(lines("ip -o link show | sed 's/state.*//'"), before);
        host.change(&[Change::PutVni(l2(300, &["veth3"]))]);
        let error = host.r.status().last_error.unwrap();
        assert_eq!(error, "attach veth3 to br-evpn-300: it is a port of br0");
        assert!(sh("ip link show veth3").contains("master br0"));
        sh("ip link add theirs type vxlan external dstport 4790 && ip link set theirs up");
        host.change(&[Change::PutVni(L2Vni { port: 4790, ..l2(400, &[]) })]);
        let error = host.r.status().last_error.unwrap();
        assert!(error.contains("theirs uses the UDP port; remove it, or set another vxlan-port"), "{error}");
        host.change(&[Change::DelVni(vni(400))]);
        sh("ip link del theirs");
        // Quiet while nothing changes; healed once the obstacle is gone.
        host.work();
        let outputs = host.outputs.len();
        std::thread::sleep(std::time::Duration::from_millis(50));
        host.work();
        assert_eq!(host.outputs.len(), outputs, "{:?}", host.outputs);
        sh("ip link set veth3 nomaster");
        host.until("attached", |_| sh("ip link show veth3").contains("master br-evpn-300"));
    });
}

#[test]
fn devices_found_are_used_and_never_deleted() {
    in_namespace("per_vni::devices_found_are_used_and_never_deleted", || {
        veth("veth1");
        sh("ip link add br0 type bridge && ip link set br0 up");
        sh("ip link add vx100 type vxlan id 100 local 10.9.0.1 dstport 4789 && ip link set vx100 master br0");
        for manage_devices in [true, false] {
            let config = KernelConfig { manage_devices, ..config() };
            let mut host = Host::with(config, &base());
            host.assert_in_sync();
            assert!(sh("ip -d link show vx100").contains("nolearning"));
            assert!(sh("ip link show veth1").contains("master br0"));
            assert!(
                sh("bridge fdb show dev vx100").contains("02:00:00:00:00:01 dst 10.9.0.2 self extern_learn")
            );
            assert!(!succeeds("ip link show br-evpn-100"));
            sh("bridge fdb add 02:00:00:00:00:99 dev vx100 dst 10.9.0.9 self static");
            host.change(&[Change::DelVni(vni(100))]);
            let fdb = sh("bridge fdb show dev vx100");
            assert!(!fdb.contains("extern_learn"), "ours are gone: {fdb}");
            assert!(fdb.contains("02:00:00:00:00:99"), "others' stay: {fdb}");
            assert!(!sh("ip link show veth1").contains("master"), "released");
            sh("bridge fdb del 02:00:00:00:00:99 dev vx100 self");
        }
        // Without managing, what is missing is an error.
        let config = KernelConfig { manage_devices: false, ..config() };
        let host = Host::with(config, &[Change::PutVni(l2(7, &[]))]);
        assert!(host.r.status().last_error.unwrap().contains("no VXLAN device carries it"));
    });
}

#[test]
fn what_was_made_for_the_other_layout_makes_room() {
    in_namespace("per_vni::what_was_made_for_the_other_layout_makes_room", || {
        veth("veth1");
        sh("ip link add br-evpn type bridge && ip link set br-evpn up alias 'evpnd overlay'");
        sh("ip link add vxlan1 type vxlan external local 10.9.0.1 dstport 4789");
        sh("ip link set vxlan1 master br-evpn up alias 'evpnd overlay' && ip link set veth1 master br-evpn");
        // One that is not evpnd's stays.
        sh("ip link add vxlan2 type vxlan external local 10.9.0.1 dstport 4790 && ip link set vxlan2 up");
        let host = Host::new(&base());
        host.assert_in_sync();
        assert!(!succeeds("ip link show br-evpn") && !succeeds("ip link show vxlan1"));
        assert!(succeeds("ip link show vxlan2"));
        assert_eq!(place("veth1"), "vni 100");
    });
}

#[test]
fn what_nobody_wants_goes_whatever_it_was_made_for() {
    in_namespace("per_vni::what_nobody_wants_goes_whatever_it_was_made_for", || {
        let make = || {
            veth("veth1");
            sh("ip link add br-evpn type bridge && ip link set br-evpn up alias 'evpnd overlay'
                ip link add vxlan1 type vxlan external local 10.9.0.1 dstport 4789
                ip link set vxlan1 master br-evpn up alias 'evpnd overlay' && ip link set veth1 master br-evpn
                ip link add theirs type bridge")
        };
        make();
        let all = links();
        drop(Host::with(KernelConfig { manage_devices: false, ..config() }, &[Change::Settled]));
        drop(Host::new(&[]));
        assert_eq!(links(), all, "not before all neighbours have told everything");
        assert_eq!(planned_without_vnis(), ["delete vxlan1", "delete br-evpn"]);
        assert_eq!(links(), all, "a dry run changes nothing");
        drop(Host::new(&[Change::Settled]));
        assert_eq!(links(), ["lo", "theirs", "veth1@veth1p", "veth1p@veth1"]);
        // Before the end, too, if all is to go.
        sh("ip link del veth1; ip link del theirs");
        make();
        let (_, errors) = reconciler(config()).shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(links(), ["lo", "theirs", "veth1@veth1p", "veth1p@veth1"]);
    });
}

#[test]
fn other_prefixes_than_before() {
    in_namespace("per_vni::other_prefixes_than_before", || {
        veth("veth1");
        let before = KernelConfig { bridge: "old".into(), vxlan: "vx".into(), ..config() };
        drop(Host::with(before, &base()));
        assert!(sh("ip link show veth1").contains("master old-100"));
        let mut host = Host::new(&base());
        host.assert_in_sync();
        assert_eq!(place("veth1"), "vni 100");
        assert!(!succeeds("ip link show old-100"));
        host.change(&[Change::DelVni(vni(100))]);
        assert_eq!(lines("ip -br link show | cut -d' ' -f1"), ["lo", "veth1@veth1p", "veth1p@veth1"]);
    });
}

#[test]
fn what_others_set_up_is_found_and_used_as_it_is() {
    in_namespace("per_vni::what_others_set_up_is_found_and_used_as_it_is", || {
        let make = |n: u32, more: &str| {
            sh(&format!("ip link add br{n} type bridge && ip link set br{n} up"));
            sh(&format!("ip link add vx{n} type vxlan id {n} dstport 4789 nolearning {more}"));
            sh(&format!("ip link set vx{n} master br{n} up"));
        };
        make(100, "local 10.9.0.1");
        // Of another VTEP, and in no bridge.
        make(200, "local 10.9.0.99 port 4790 4791");
        sh("ip link add vx300 type vxlan id 300 dstport 4789 local 10.9.0.1 nolearning");
        let discover = KernelConfig { manage_devices: false, discover: true, ..config() };
        let mut host = Host::with(discover, &[Change::Settled]);
        host.hears(&Local::Found(vni(100), true));
        let all = host.outputs.iter().filter(|o| matches!(o, Output::Local(Local::Found(..)))).count();
        assert_eq!(all, 1, "{:?}", host.outputs);

        veth("veth1");
        sh("ip link set veth1 up master br100");
        // Without the bridge's timers, and what comes when it likes.
        let set = || {
            sh("for link in vx100 br100; do ip -d link show $link; done |
                sed 's/[a-z_]*timer *[0-9.]*//g; s/<[^>]*>//; s/ state [A-Za-z]*//g'")
        };
        let before = set();
        let put = Change::PutVni(l2(100, &[]));
        host.change(&[put, put_flood(100, "10.9.0.2"), put_mac(100, "02:00:00:00:00:01", "10.9.0.2")]);
        host.assert_in_sync();
        assert!(sh("bridge fdb show dev vx100").contains("02:00:00:00:00:01 dst 10.9.0.2 self extern_learn"));
        assert_eq!(set(), before.replace("learning on", "learning off"), "nothing else is set");
        sh("bridge fdb add 02:00:00:00:00:a1 dev veth1 master dynamic");
        let (mac, interface) = (mac("02:00:00:00:00:a1"), "veth1".to_owned());
        host.hears(&Local::MacSeen { vni: vni(100), mac, interface, sticky: false });

        // What is down is not there for others; whose rows stay until it is taken away.
        for device in ["br100", "vx100"] {
            sh(&format!("ip link set {device} down"));
            host.hears(&Local::Found(vni(100), false));
            host.outputs.clear();
            sh(&format!("ip link set {device} up"));
            host.hears(&Local::Found(vni(100), true));
            host.outputs.clear();
        }

        // Others come, and this one goes.
        sh("ip link set vx300 up master br100");
        host.hears(&Local::Found(vni(300), true));
        sh("ip link set vx300 nomaster");
        host.hears(&Local::Found(vni(300), false));
        host.change(&[Change::DelVni(vni(100))]);
        assert!(!sh("bridge fdb show dev vx100").contains("extern_learn"));
        sh("ip link del vx100");
        host.hears(&Local::Found(vni(100), false));
        assert!(sh("ip link show veth1").contains("master br100"), "ports are theirs");
    });
}
