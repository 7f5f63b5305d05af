//! Ports that were attached here, over restarts: what is not wanted any more is released, and nothing else.

use dataplane::intent::{Change, L2Vni, Local};
use dataplane::kernel::KernelConfig;
use dataplane::plane::{Action, Step, Thing};
use dataplane::reconciler::Output;

use crate::clients::client;
use crate::devices::veth;
use crate::harness::*;
use crate::layout::*;

/// That of a host which knows what the run before it attached.
fn remembering() -> KernelConfig {
    KernelConfig { ports: Some("/run/evpnd.ports".into()), ..config() }
}

fn put(n: u32, interfaces: &[&str]) -> Change {
    Change::PutVni(l2(n, interfaces))
}

/// What somebody does who puts an interface among those of a VNI.
fn attach_by_hand(port: &str, n: u32) {
    sh(&format!("ip link set {port} master {}", bridge(n)));
    if SHARED {
        sh(&format!("bridge vlan add dev {port} vid {} pvid untagged", vlan(n).expect("a VLAN")));
    }
    assert_eq!(place(port), format!("vni {n}"));
}

#[test]
fn after_a_restart_what_is_not_wanted_any_more_is_released() {
    in_namespace("ports::after_a_restart_what_is_not_wanted_any_more_is_released", || {
        ["gone", "stays", "hand", "moves"].into_iter().for_each(veth);
        sh("ip tuntap add tap0 mode tap; ip tuntap add tap1 mode tap");
        let clients = ["tap0", "tap1"].map(|tap| Change::PutClient(client(tap, 100, tap)));
        let mut first = Host::with(remembering(), &[put(100, &["gone", "stays", "moves"]), put(200, &[])]);
        first.change(&clients);
        first.change(&[Change::Settled]);
        for port in ["gone", "stays", "moves", "tap0", "tap1"] {
            first.until(port, |_| place(port) == "vni 100");
        }
        attach_by_hand("hand", 100);
        first.resync();
        drop(first);

        // One goes from the sections, one from the clients, and one to another VNI.
        let heard = Watch::new("ip -o monitor link");
        let sections = [put(100, &["stays"]), put(200, &["moves"])];
        let mut host = Host::with(remembering(), &sections);
        // It does not know of its clients yet: nothing leaves.
        for port in ["gone", "stays", "hand", "tap0", "tap1"] {
            assert_eq!(place(port), "vni 100", "{port}");
        }
        host.change(&[clients[0].clone(), Change::Settled]);
        let all = ["gone", "stays", "hand", "moves", "tap0", "tap1"];
        let expected = ["", "vni 100", "vni 100", "vni 200", "vni 100", ""];
        assert_eq!(all.map(place), expected);
        host.assert_in_sync();
        sh("ip link add done type bridge");
        let heard = heard.up_to(" done:");
        for port in ["stays", "hand", "tap0"] {
            // A port that leaves is said to have no master, and of its bridge to be deleted.
            let about = heard.iter().filter(|line| line.contains(&format!(" {port}")));
            let there = format!(" master {} ", bridge(100));
            let left: Vec<_> =
                about.filter(|line| !line.contains(&there) || line.starts_with("Deleted")).collect();
            assert!(left.is_empty(), "it never leaves: {left:?}");
        }
        for n in [100, 200] {
            let unready = Output::Local(Local::VniReady(vni(n), false));
            assert!(!host.outputs.contains(&unready), "VNI {n} is not disturbed: {:?}", host.outputs);
        }
        // And what was adopted is released as if this run had attached it.
        host.change(&[put(100, &[])]);
        assert_eq!(all.map(place), ["", "", "vni 100", "vni 200", "vni 100", ""]);
        let (_, errors) = host.r.shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
        assert!(!succeeds("test -e /run/evpnd.ports"), "nothing is left");
    });
}

/// A port that somebody else attached, and that is configured after that, is configured all the same.
#[test]
fn a_port_of_our_bridge_that_was_wanted_is_ours_to_release() {
    in_namespace("ports::a_port_of_our_bridge_that_was_wanted_is_ours_to_release", || {
        veth("veth1");
        let mut host = Host::new(&[put(100, &[]), Change::Settled]);
        attach_by_hand("veth1", 100);
        host.change(&[put(100, &["veth1"])]);
        host.change(&[put(100, &[])]);
        assert_eq!(place("veth1"), "");
    });
}

#[test]
fn an_interface_made_again_by_somebody_else_is_not_ours() {
    in_namespace("ports::an_interface_made_again_by_somebody_else_is_not_ours", || {
        veth("veth1");
        for restart in [false, true] {
            let mut host = Host::with(remembering(), &[put(100, &["veth1"]), Change::Settled]);
            assert_eq!(place("veth1"), "vni 100");
            sh("ip link del veth1");
            if restart {
                drop(host);
                veth("veth1");
                attach_by_hand("veth1", 100);
                host = Host::with(remembering(), &[put(100, &[]), Change::Settled]);
            } else {
                host.change(&[put(100, &[])]);
                veth("veth1");
                attach_by_hand("veth1", 100);
                host.resync();
                host.change(&[put(100, &["none"])]);
            }
            assert_eq!(place("veth1"), "vni 100", "after a restart: {restart}");
            host.r.shutdown(true);
            sh("ip link set veth1 nomaster");
        }
    });
}

/// In a bridge that somebody else made, what evpnd did not put there stays, also where it is configured.
#[test]
fn out_of_the_bridge_of_somebody_else_only_what_was_put_there_is_released() {
    in_namespace("ports::out_of_the_bridge_of_somebody_else_only_what_was_put_there_is_released", || {
        ["ours", "theirs"].into_iter().for_each(veth);
        let (bridge, vxlan) = (bridge(100), vxlan(100));
        let (filtering, id) = if SHARED { ("vlan_filtering 1", "external") } else { ("", "id 100") };
        sh(&format!(
            "ip link add {bridge} type bridge {filtering} && ip link set {bridge} up
             ip link add {vxlan} type vxlan {id} local 10.9.0.1 dstport 4789
             ip link set {vxlan} master {bridge} && ip link set theirs master {bridge}"
        ));
        let master =
            |port: &str| sh(&format!("ip -o link show {port}")).contains(&format!("master {bridge} "));
        let both = ["ours", "theirs"];
        let wanted = [put(100, &both), Change::Settled];
        drop(Host::with(remembering(), &wanted));
        assert_eq!(both.map(master), [true, true]);
        let mut host = Host::with(remembering(), &[put(100, &[]), Change::Settled]);
        assert_eq!(both.map(master), [false, true]);
        host.change(&wanted[..1]);
        assert_eq!(both.map(master), [true, true]);
        drop(host);
        // The VNI is not even configured any more.
        drop(Host::with(remembering(), &wanted[1..]));
        assert_eq!(both.map(master), [false, true]);
    });
}

#[test]
fn a_dry_run_says_what_will_be_released() {
    in_namespace("ports::a_dry_run_says_what_will_be_released", || {
        ["gone", "moves"].into_iter().for_each(veth);
        drop(Host::with(remembering(), &[put(100, &["gone", "moves"]), put(200, &[]), Change::Settled]));
        let plan = |vnis: [L2Vni; 2]| {
            let mut r = reconciler(remembering());
            vnis.map(Change::PutVni).iter().chain([&Change::Settled]).for_each(|change| r.change(change));
            r.dry_run(&mut Vec::new()).unwrap()
        };
        let release =
            |port| Step::new(Action::Remove, Thing::Device, format!("release {port} from {}", bridge(100)));
        let steps = plan([l2(100, &["moves"]), l2(200, &[])]);
        assert_eq!(steps, [release("gone")]);
        // What moves is not released in between.
        let steps = plan([l2(100, &["gone"]), l2(200, &["moves"])]);
        assert!(!steps.is_empty() && !steps.contains(&release("moves")), "{steps:?}");
        assert_eq!(["gone", "moves"].map(place), ["vni 100", "vni 100"]);
    });
}
