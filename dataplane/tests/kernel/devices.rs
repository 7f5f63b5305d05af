//! Devices: made, adopted, repaired, removed.

use dataplane::intent::{Change, Local};
use dataplane::plane::{Action, Step, Thing};
use dataplane::reconciler::{Event, Output};

use crate::harness::*;
use crate::layout::*;

const M: &str = "02:00:00:00:00:01";

/// A VNI with a port, and a host elsewhere.
pub(crate) fn base() -> Vec<Change> {
    vec![
        Change::PutVni(l2(100, &["veth1"])),
        put_flood(100, "10.9.0.2"),
        put_mac(100, "02:00:00:00:00:01", "10.9.0.2"),
        put_neighbour(100, "192.0.2.1", "02:00:00:00:00:01"),
        put_neighbour(100, "2001:db8::1", "02:00:00:00:00:01"),
        Change::Settled,
    ]
}

/// A port.
pub(crate) fn veth(name: &str) {
    sh(&format!("ip link add {name} type veth peer name {name}p && ip link set {name}p up"));
}

#[test]
fn creates_devices_as_they_should_be() {
    in_namespace("devices::creates_devices_as_they_should_be", || {
        veth("veth1");
        let host = Host::new(&base());
        host.assert_in_sync();
        let shows = |device: &str, parts: &[&str]| {
            let link = sh(&format!("ip -d link show {device}"));
            for part in parts {
                assert!(link.contains(part), "{part}: {link}");
            }
        };
        let (bridge, vxlan, mark) = (bridge(100), vxlan(100), format!("alias {}", alias(100)));
        let (id, tunnel) =
            if SHARED { ("external", "vlan_tunnel on") } else { ("id 100", "vlan_tunnel off") };
        shows(&bridge, &["mcast_snooping 0", "stp_state 0", &mark, "addrgenmode none", ",UP"]);
        if SHARED {
            shows(&bridge, &["vlan_filtering 1", "vlan_default_pvid 0"]);
        }
        let master = format!("master {bridge}");
        let parts = ["local 10.9.0.1", "dstport 4789", "nolearning", "learning off", "neigh_suppress on"];
        shows(&vxlan, &parts);
        shows(&vxlan, &[id, tunnel, &master, &mark, "addrgenmode none", ",UP"]);
        assert_eq!(place("veth1"), "vni 100");
        shows("veth1", &[",UP"]);
        let address = |name: &str| sh(&format!("ip -br link show {name} | awk '{{print $3}}'"));
        assert_ne!(address(&bridge), address(&vxlan));
        assert!(host.outputs.contains(&Output::Local(Local::VniReady(vni(100), true))));

        let rows = fdb(100);
        for row in [
            "00:00:00:00:00:00 dst 10.9.0.2 self extern_learn permanent".into(),
            format!("{M} extern_learn master {bridge}"),
            format!("{M} dst 10.9.0.2 self extern_learn permanent"),
        ] {
            assert!(rows.contains(&row), "{row}: {rows:?}");
        }
        let neighbours = neighbours(100);
        for address in ["192.0.2.1", "2001:db8::1"] {
            let line = format!("{address} lladdr {M} extern_learn NOARP proto 231");
            assert!(neighbours.contains(&line), "{line}: {neighbours:?}");
        }
    });
}

#[test]
fn the_largest_vni_and_ipv6_underlay_work() {
    in_namespace("devices::the_largest_vni_and_ipv6_underlay_work", || {
        const LARGEST: u32 = 16_777_215;
        let mut six = l2(LARGEST, &[]);
        six.vtep = ip("2001:db8::9");
        sh("ip addr add 2001:db8::9/128 dev lo nodad");
        let changes = [
            Change::PutVni(six),
            put_flood(LARGEST, "2001:db8::2"),
            put_mac(LARGEST, M, "2001:db8::2"),
            Change::Settled,
        ];
        let host = Host::with(config_at("2001:db8::9"), &changes);
        host.assert_in_sync();
        let link = sh(&format!("ip -d link show {}", vxlan(LARGEST)));
        assert!(link.contains("local 2001:db8::9") && link.contains("udp6zerocsumrx"), "{link}");
        assert!(has_row(LARGEST, &format!("{M} dst 2001:db8::2 self extern_learn")), "{:?}", fdb(LARGEST));
        // The name of its bridge is cut to what a name may be long.
        assert!(SHARED || succeeds("ip link show br-evp-16777215"));
    });
}

#[test]
fn a_deleted_bridge_is_rebuilt() {
    in_namespace("devices::a_deleted_bridge_is_rebuilt", || {
        veth("veth1");
        let mut host = Host::new(&base());
        sh(&format!("ip link del {}", bridge(100)));
        host.until("rebuilt", |_| has_row(100, &format!("{M} extern_learn master")));
        host.work();
        host.assert_in_sync();
        assert_eq!(place("veth1"), "vni 100");
        sh(&format!("ip link del {}", vxlan(100)));
        host.until("rebuilt", |_| has_row(100, &format!("{M} dst 10.9.0.2")));
        host.work();
        host.assert_in_sync();
        assert!(host.r.status().repairs > 2);
        assert!(host.outputs.iter().any(|o| matches!(o, Output::Event(Event::Repaired { .. }))));
        // A port flag turned by hand.
        learn(&mut host);
        sh(&format!("ip link set {} down", bridge(100)));
        host.until("up again", |_| {
            let up = sh(&format!("ip link show {}", bridge(100))).contains(",UP");
            up && neighbours(100).iter().any(|line| line.starts_with("192.0.2.1 "))
        });
        host.work();
        host.assert_in_sync();
    });
}

/// Somebody turns learning on, and the host off again.
fn learn(host: &mut Host) {
    let device = vxlan(100);
    sh(&format!("bridge link set dev {device} learning on"));
    host.until("learning off", |_| sh(&format!("ip -d link show {device}")).contains("learning off"));
}

#[test]
fn a_port_that_somebody_set_down_stays_down() {
    in_namespace("devices::a_port_that_somebody_set_down_stays_down", || {
        veth("veth1");
        let mut host = Host::new(&base());
        assert!(sh("ip link show veth1").contains(",UP"), "a port is set up when it is attached");
        sh("ip link set veth1 down");
        // A repair that happens after the event was seen, and a full comparison: neither touches the port.
        learn(&mut host);
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
        let missing = format!("attach veth1 to {}: there is no such interface", bridge(100));
        assert!(error.contains(&missing), "{error}");
        assert!(has_row(100, M), "rows do not wait for it");
        veth("veth1");
        host.until("attached", |_| place("veth1") == "vni 100");
        host.work();
        host.assert_in_sync();
    });
}

#[test]
fn settings_change_in_place() {
    in_namespace("devices::settings_change_in_place", || {
        veth("veth1");
        veth("veth2");
        sh("ip addr add 10.9.0.7/32 dev lo");
        let mut host = Host::new(&base());
        let show = || sh(&format!("ip -d -o link show {}", vxlan(100)));
        let index = || show().split(':').next().map(str::to_owned);
        let before = index();
        let mut l2 = l2(100, &["veth2"]);
        l2.vtep = ip("10.9.0.7");
        l2.arp_suppression = false;
        host.change(&[Change::PutVni(l2.clone())]);
        host.assert_in_sync();
        let link = show();
        assert!(link.contains("local 10.9.0.7") && link.contains("neigh_suppress off"), "{link}");
        assert_eq!(index(), before, "the same device");
        assert_eq!((place("veth1").as_str(), place("veth2").as_str()), ("", "vni 100"));
        l2.port = 8472;
        host.change(&[Change::PutVni(l2)]);
        host.assert_in_sync();
        assert!(show().contains("dstport 8472"));
        assert!(has_row(100, &format!("{M} dst 10.9.0.2 self extern_learn")));
    });
}

#[test]
fn an_interface_moves_from_vni_to_vni() {
    in_namespace("devices::an_interface_moves_from_vni_to_vni", || {
        veth("veth1");
        let mut host = Host::new(&base());
        host.change(&[Change::PutVni(l2(100, &[])), Change::PutVni(l2(101, &["veth1"]))]);
        host.assert_in_sync();
        assert_eq!(place("veth1"), "vni 101");
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
        assert!(has_row(100, &format!("{M} extern_learn")));
        // Adopted by a later run, and removed by it.
        let host = Host::new(&base());
        let (_, errors) = host.r.shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(lines("ip -br link show | cut -d' ' -f1"), before);
        assert_eq!(place("veth1"), "");
    });
}

#[test]
fn devices_of_an_earlier_run_go_once_settled() {
    in_namespace("devices::devices_of_an_earlier_run_go_once_settled", || {
        veth("veth1");
        drop(Host::new(&base()));
        let mut host = Host::new(&[Change::PutVni(l2(200, &[]))]);
        assert!(stands(100));
        host.change(&[Change::Settled]);
        assert!(!stands(100) && stands(200));
        host.assert_in_sync();
    });
}

#[test]
fn a_dry_run_changes_nothing() {
    in_namespace("devices::a_dry_run_changes_nothing", || {
        veth("veth1");
        let before = lines("ip -o link show | sed 's/NO-CARRIER,//; s/state.*//'");
        let plan = || {
            let mut r = reconciler(config());
            for change in base() {
                r.change(&change);
            }
            r.dry_run(&mut Vec::new()).unwrap()
        };
        let steps = plan();
        let create = format!("create bridge {}", bridge(100));
        assert_eq!(steps[0], Step::device(Action::Add, vni(100), create));
        let attach = format!("attach veth1 to {}", bridge(100));
        assert!(steps.contains(&Step::device(Action::Change, vni(100), attach)), "{steps:?}");
        let row = Step::new(Action::Add, Thing::Row, "vni 100 flood to 10.9.0.2");
        assert!(steps.contains(&row), "{steps:?}");
        assert_eq!(lines("ip -o link show | sed 's/NO-CARRIER,//; s/state.*//'"), before);
        drop(Host::new(&base()));
        assert_eq!(plan(), [], "once done, there is nothing to do");
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
        assert_eq!(error, format!("create bridge {}: {reason}", bridge(100)));
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
