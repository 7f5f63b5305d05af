//! Devices: made, found, adopted, repaired, refused, removed.

use std::time::Duration;

use dataplane::intent::{Change, Local};
use dataplane::kernel::{Kernel, KernelConfig};
use dataplane::reconciler::{Config, Event, Output, Reconciler};

use crate::harness::*;

fn base() -> Vec<Change> {
    vec![
        Change::PutVni(l2(100, &["veth1"])),
        put_flood(100, "10.9.0.2"),
        put_mac(100, "02:00:00:00:00:01", "10.9.0.2"),
        put_neighbour(100, "192.0.2.1", "02:00:00:00:00:01"),
        put_neighbour(100, "2001:db8::1", "02:00:00:00:00:01"),
        Change::Settled,
    ]
}

fn veth(name: &str) {
    sh(&format!("ip link add {name} type veth peer name {name}p && ip link set {name}p up"));
}

#[test]
fn creates_devices_as_they_should_be() {
    in_namespace("devices::creates_devices_as_they_should_be", || {
        veth("veth1");
        let host = Host::new(&base());
        host.assert_in_sync();
        let bridge = sh("ip -d link show br-evpn-100");
        for part in ["mcast_snooping 0", "stp_state 0", "alias evpnd vni 100", "addrgenmode none", ",UP"] {
            assert!(bridge.contains(part), "{part}: {bridge}");
        }
        let vxlan = sh("ip -d link show vxlan1-100");
        for part in [
            "vxlan id 100 local 10.9.0.1",
            "dstport 4789",
            "nolearning",
            "learning off",
            "neigh_suppress on",
            "master br-evpn-100",
            "alias evpnd vni 100",
            "addrgenmode none",
            ",UP",
        ] {
            assert!(vxlan.contains(part), "{part}: {vxlan}");
        }
        assert!(sh("ip link show veth1").contains("master br-evpn-100"));
        assert!(sh("ip link show veth1").contains(",UP"));
        let address =
            |name: &str| sh(&format!("cat /proc/self/net/dev > /dev/null; ip -br link show {name}"));
        assert_ne!(
            address("br-evpn-100").split_whitespace().nth(2),
            address("vxlan1-100").split_whitespace().nth(2)
        );
        assert!(host.outputs.contains(&Output::Local(Local::VniReady(vni(100), true))));

        let fdb = sh("bridge fdb show dev vxlan1-100");
        assert!(fdb.contains("00:00:00:00:00:00 dst 10.9.0.2 self extern_learn permanent"), "{fdb}");
        assert!(fdb.contains("02:00:00:00:00:01 extern_learn master br-evpn-100"), "{fdb}");
        assert!(fdb.contains("02:00:00:00:00:01 dst 10.9.0.2 self extern_learn permanent"), "{fdb}");
        let neighbours = sh("ip -d neigh show dev br-evpn-100; ip -6 -d neigh show dev br-evpn-100");
        for address in ["192.0.2.1", "2001:db8::1"] {
            let line = format!("{address} lladdr 02:00:00:00:00:01 extern_learn NOARP proto 231");
            assert!(neighbours.contains(&line), "{line}: {neighbours}");
        }
    });
}

#[test]
fn the_largest_vni_and_ipv6_underlay_work() {
    in_namespace("devices::the_largest_vni_and_ipv6_underlay_work", || {
        let mut six = l2(16_777_215, &[]);
        six.vtep = ip("2001:db8::9");
        sh("ip addr add 2001:db8::9/128 dev lo nodad");
        let host = Host::new(&[
            Change::PutVni(six),
            put_flood(16_777_215, "2001:db8::2"),
            put_mac(16_777_215, "02:00:00:00:00:01", "2001:db8::2"),
            Change::Settled,
        ]);
        host.assert_in_sync();
        let link = sh("ip -d link show vxlan1-16777215");
        assert!(link.contains("local 2001:db8::9") && link.contains("udp6zerocsumrx"), "{link}");
        sh("ip link show br-evp-16777215");
        let fdb = sh("bridge fdb show dev vxlan1-16777215");
        assert!(fdb.contains("02:00:00:00:00:01 dst 2001:db8::2 self extern_learn"), "{fdb}");
    });
}

#[test]
fn a_deleted_bridge_is_rebuilt() {
    in_namespace("devices::a_deleted_bridge_is_rebuilt", || {
        veth("veth1");
        let mut host = Host::new(&base());
        sh("ip link del br-evpn-100");
        host.until("rebuilt", |_| {
            succeeds("bridge fdb show dev vxlan1-100 | grep -q 'extern_learn master br-evpn-100'")
        });
        host.work();
        host.assert_in_sync();
        assert!(sh("ip link show veth1").contains("master br-evpn-100"));
        sh("ip link del vxlan1-100");
        host.until("rebuilt", |_| {
            succeeds("bridge fdb show dev vxlan1-100 | grep -q '02:00:00:00:00:01 dst 10.9.0.2'")
        });
        host.work();
        host.assert_in_sync();
        assert!(host.r.status().repairs > 2);
        assert!(host.outputs.iter().any(|o| matches!(o, Output::Event(Event::Repaired { .. }))));
        // A port flag turned by hand.
        sh("bridge link set dev vxlan1-100 learning on");
        host.until("learning off", |_| sh("ip -d link show vxlan1-100").contains("learning off"));
        sh("ip link set br-evpn-100 down");
        host.until("up again", |_| sh("ip -d neigh show dev br-evpn-100").contains("192.0.2.1"));
        host.work();
        host.assert_in_sync();
    });
}

#[test]
fn a_port_that_somebody_set_down_stays_down() {
    in_namespace("devices::a_port_that_somebody_set_down_stays_down", || {
        veth("veth1");
        let mut host = Host::new(&base());
        assert!(sh("ip link show veth1").contains(",UP"), "a port is set up when it is attached");
        sh("ip link set veth1 down");
        // A repair that happens after the event was seen, and a full comparison: neither touches the port.
        sh("bridge link set dev vxlan1-100 learning on");
        host.until("learning off", |_| sh("ip -d link show vxlan1-100").contains("learning off"));
        host.resync();
        host.assert_in_sync();
        assert!(!sh("ip link show veth1").contains(",UP"));
    });
}

#[test]
fn an_interface_that_comes_later_is_attached_then() {
    in_namespace("devices::an_interface_that_comes_later_is_attached_then", || {
        let mut host = Host::new(&base());
        let status = host.r.status();
        assert!(!status.in_sync);
        let error = status.last_error.unwrap();
        assert!(error.contains("attach veth1 to br-evpn-100: there is no such interface"), "{error}");
        assert!(
            sh("bridge fdb show dev vxlan1-100").contains("02:00:00:00:00:01"),
            "rows do not wait for it"
        );
        veth("veth1");
        host.until("attached", |_| sh("ip link show veth1").contains("master br-evpn-100"));
        host.work();
        host.assert_in_sync();
    });
}

#[test]
fn what_is_not_ours_is_named_and_not_touched() {
    in_namespace("devices::what_is_not_ours_is_named_and_not_touched", || {
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
        // Quiet while nothing changes; healed once the obstacle is gone.
        host.work();
        let outputs = host.outputs.len();
        std::thread::sleep(Duration::from_millis(50));
        host.work();
        assert_eq!(host.outputs.len(), outputs, "{:?}", host.outputs);
        sh("ip link set veth3 nomaster");
        host.until("attached", |_| sh("ip link show veth3").contains("master br-evpn-300"));
    });
}

#[test]
fn devices_found_are_used_and_never_deleted() {
    in_namespace("devices::devices_found_are_used_and_never_deleted", || {
        veth("veth1");
        sh("ip link add br0 type bridge && ip link set br0 up");
        sh("ip link add vx100 type vxlan id 100 local 10.9.0.1 dstport 4789 && ip link set vx100 master br0");
        for manage_devices in [true, false] {
            let config = KernelConfig { manage_devices, ..KernelConfig::default() };
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
        let config = KernelConfig { manage_devices: false, ..KernelConfig::default() };
        let host = Host::with(config, &[Change::PutVni(l2(7, &[]))]);
        assert!(host.r.status().last_error.unwrap().contains("no VXLAN device carries it"));
    });
}

#[test]
fn settings_change_in_place() {
    in_namespace("devices::settings_change_in_place", || {
        veth("veth1");
        veth("veth2");
        sh("ip addr add 10.9.0.7/32 dev lo");
        let mut host = Host::new(&base());
        let index = sh("cat /sys/class/net/lo/ifindex >/dev/null; ip -o link show vxlan1-100 | cut -d: -f1");
        let mut l2 = l2(100, &["veth2"]);
        l2.vtep = ip("10.9.0.7");
        l2.arp_suppression = false;
        host.change(&[Change::PutVni(l2.clone())]);
        host.assert_in_sync();
        let link = sh("ip -d link show vxlan1-100");
        assert!(link.contains("local 10.9.0.7") && link.contains("neigh_suppress off"), "{link}");
        assert_eq!(sh("ip -o link show vxlan1-100 | cut -d: -f1"), index, "the same device");
        assert!(!sh("ip link show veth1").contains("master"));
        assert!(sh("ip link show veth2").contains("master br-evpn-100"));
        l2.port = 8472;
        host.change(&[Change::PutVni(l2)]);
        host.assert_in_sync();
        assert!(sh("ip -d link show vxlan1-100").contains("dstport 8472"));
        assert!(
            sh("bridge fdb show dev vxlan1-100").contains("02:00:00:00:00:01 dst 10.9.0.2 self extern_learn")
        );
    });
}

#[test]
fn an_interface_moves_from_vni_to_vni() {
    in_namespace("devices::an_interface_moves_from_vni_to_vni", || {
        veth("veth1");
        let mut host = Host::new(&base());
        host.change(&[Change::PutVni(l2(100, &[])), Change::PutVni(l2(101, &["veth1"]))]);
        host.assert_in_sync();
        assert!(sh("ip link show veth1").contains("master br-evpn-101"));
    });
}

#[test]
fn removal_leaves_nothing_and_keeping_leaves_all() {
    in_namespace("devices::removal_leaves_nothing_and_keeping_leaves_all", || {
        veth("veth1");
        let before = lines("ip -br link show | cut -d' ' -f1");
        let host = Host::new(&base());
        let (_, errors) = host.r.shutdown(false);
        assert!(errors.is_empty());
        assert!(sh("bridge fdb show dev vxlan1-100").contains("extern_learn"));
        // Adopted by a later run, and removed by it.
        let host = Host::new(&base());
        let (_, errors) = host.r.shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(lines("ip -br link show | cut -d' ' -f1"), before);
        assert!(!sh("ip link show veth1").contains("master"));
    });
}

#[test]
fn devices_of_an_earlier_run_go_once_settled() {
    in_namespace("devices::devices_of_an_earlier_run_go_once_settled", || {
        veth("veth1");
        drop(Host::new(&base()));
        let mut host = Host::new(&[Change::PutVni(l2(200, &[]))]);
        assert!(succeeds("ip link show br-evpn-100"));
        host.change(&[Change::Settled]);
        assert!(!succeeds("ip link show br-evpn-100") && !succeeds("ip link show vxlan1-100"));
        host.assert_in_sync();
    });
}

#[test]
fn a_dry_run_changes_nothing() {
    in_namespace("devices::a_dry_run_changes_nothing", || {
        veth("veth1");
        let before = lines("ip -o link show | sed 's/state.*//'");
        let plan = || {
            let mut r = Reconciler::new(Kernel::open(KernelConfig::default()).unwrap(), Config::default());
            for change in base() {
                r.change(&change);
            }
            r.dry_run(&mut Vec::new()).unwrap()
        };
        let lines_planned = plan();
        assert_eq!(lines_planned[0], "vni 100: create bridge br-evpn-100");
        assert!(lines_planned.contains(&"vni 100: attach veth1 to br-evpn-100".into()), "{lines_planned:?}");
        assert!(lines_planned.contains(&"put vni 100 flood to 10.9.0.2".into()), "{lines_planned:?}");
        assert_eq!(lines("ip -o link show | sed 's/state.*//'"), before);
        drop(Host::new(&base()));
        assert_eq!(plan(), Vec::<String>::new(), "once done, there is nothing to do");
    });
}

#[test]
fn without_permission_it_says_what_it_needs() {
    const TEST: &str = "devices::without_permission_it_says_what_it_needs";
    // Set in a copy of this test, in a user namespace that may change nothing.
    const REFUSED: &str = "EVPND_TEST_REFUSED";
    if std::env::var_os(REFUSED).is_some() {
        assert!(!succeeds("ip link add probe type bridge"), "this test wants to be refused");
        let host = Host::new(&base());
        let error = host.r.status().last_error.unwrap();
        let reason = "permission denied: needs CAP_NET_ADMIN in this network namespace";
        assert_eq!(error, format!("create bridge br-evpn-100: {reason}"));
        return;
    }
    in_namespace(TEST, || {
        // The namespace of the parent belongs to somebody else: a user namespace below may not change ours.
        let exe = std::env::current_exe().unwrap();
        let copy = format!("unshare --user --map-root-user {} {TEST} --exact --nocapture", exe.display());
        let said = sh(&format!("{REFUSED}=1 {copy}"));
        assert!(said.contains("1 passed"), "the copy ran: {said}");
    });
}
