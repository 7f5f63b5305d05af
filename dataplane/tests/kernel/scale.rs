//! Many rows, and the thread they are written from.

use std::sync::mpsc;
use std::time::Duration;

use dataplane::backend::Backend;
use dataplane::intent::{Change, Local, RemoteMac};
use dataplane::kernel::KernelConfig;
use dataplane::reconciler::Output;
use dataplane::thread::{self, Update};
use types::{MacAddr, Time};

use crate::harness::*;
use crate::layout::*;

/// A test build takes its time over more, a virtual machine over fewer; the benchmark (`cargo bench`) goes to 300 000.
const N: u32 = if SHARED { 4_000 } else { 20_000 };

fn put(n: u32, to: u8) -> Change {
    let [_, a, b, c] = n.to_be_bytes();
    let remote = RemoteMac { vtep: [10, 9, 1, to].into(), vni: vni(100), sticky: false };
    Change::PutMac(vni(100), MacAddr([2, 0, 1, a, b, c]), remote)
}

fn del(n: u32) -> Change {
    match put(n, 0) {
        Change::PutMac(vni, mac, _) => Change::DelMac(vni, mac),
        _ => unreachable!(),
    }
}

fn count(what: &str) -> usize {
    fdb(100).iter().filter(|row| row.contains(what)).count()
}

#[test]
fn many_macs_come_stay_and_go() {
    in_namespace("scale::many_macs_come_stay_and_go", || {
        let mut host = Host::new(&[Change::PutVni(l2(100, &[])), Change::Settled]);
        let all: Vec<Change> = (0..N).map(|n| put(n, (n % 16) as u8)).collect();
        host.change(&all);
        host.assert_in_sync();
        assert_eq!(count("self extern_learn"), N as usize);
        assert_eq!(count("extern_learn master"), N as usize);
        // A resync finds nothing to do; a restart neither.
        host.resync();
        assert_eq!(host.r.status().repairs, 0);
        drop(host);
        let mut host = Host::new(&[Change::PutVni(l2(100, &[]))]);
        host.change(&all);
        host.change(&[Change::Settled]);
        host.assert_in_sync();
        assert_eq!(host.r.status().installed, N as usize + 1);
        // Lost behind our back, in great numbers.
        let device = vxlan(100);
        sh(&format!("bridge fdb flush dev {device} self || ip link set {device} down"));
        sh(&format!("ip link set {device} up"));
        host.resync();
        host.assert_in_sync();
        assert_eq!(count("self extern_learn"), N as usize);
        host.change(&(0..N).map(del).collect::<Vec<_>>());
        host.assert_in_sync();
        assert_eq!(count("extern_learn"), 0);
    });
}

#[test]
fn many_vnis_come_and_go() {
    in_namespace("scale::many_vnis_come_and_go", || {
        const VNIS: u32 = 64;
        let vnis = |n: u32| Change::PutVni(l2(n, &[]));
        let mut host = Host::new(&[Change::Settled]);
        sh("ip link add veth1 type veth peer name h1 && ip link set h1 up");
        let mut changes: Vec<Change> = (1..=VNIS).map(vnis).collect();
        changes[6] = Change::PutVni(l2(7, &["veth1"]));
        for n in 1..=VNIS {
            changes.push(put_mac(n, "02:00:00:00:00:01", "10.9.0.2"));
            changes.push(put_neighbour(n, "10.0.0.1", "02:00:00:00:00:01"));
            changes.push(put_flood(n, "10.9.0.2"));
        }
        host.change(&changes);
        host.assert_in_sync();
        host.resync();
        assert_eq!(host.r.status().repairs, 0);
        // A restart finds all of it, each in its VNI.
        sh(&format!("bridge fdb add 02:00:00:00:00:a1 {} master dynamic", on_port(7, "veth1")));
        drop(host);
        let mut host = Host::new(&changes);
        host.change(&[Change::Settled]);
        host.assert_in_sync();
        let elsewhere =
            |output: &Output| matches!(output, Output::Local(Local::MacSeen { vni, .. }) if vni.get() != 7);
        assert!(!host.outputs.iter().any(elsewhere), "{:?}", host.outputs);
        let vni = vni(7);
        let mac = mac("02:00:00:00:00:a1");
        host.hears(&Local::MacSeen { vni, mac, interface: "veth1".into(), sticky: false });
        host.resync();
        assert_eq!(host.r.status().repairs, 0);
        let (_, errors) = host.r.shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
        sh("ip link del h1");
        assert_eq!(lines("ip -br link show | cut -d' ' -f1"), ["lo"]);
    });
}

/// A VNI with a row of each kind.
fn whole(n: u32) -> [Change; 4] {
    let mac = "02:00:00:00:00:01";
    [
        Change::PutVni(l2(n, &[])),
        put_mac(n, mac, "10.9.0.2"),
        put_neighbour(n, "10.0.0.1", mac),
        put_flood(n, "10.9.0.2"),
    ]
}

/// A host with few VNIs, and one with many, that others set up or not.
fn few_and_many(discover: bool, costs: impl Fn(&mut Host, u32) -> Vec<u64>) {
    let [few, many] = [8, 64].map(|vnis| {
        let config = KernelConfig { discover, manage_devices: !discover, ..config() };
        if discover {
            others_begin();
            others_set_up(1..=vnis);
        }
        let mut host = Host::with(config, &[Change::Settled]);
        host.change(&(1..=vnis).flat_map(whole).collect::<Vec<_>>());
        host.until("all in sync", |host| host.r.status().in_sync);
        let costs = costs(&mut host, vnis);
        host.until("all in sync", |host| host.r.status().in_sync);
        let (_, errors) = host.r.shutdown(true);
        assert!(errors.is_empty(), "{errors:?}");
        if discover {
            others_end();
        }
        costs
    });
    // Not to the last message, since the kernel tells of some things twice or once; but 56 VNIs would be more.
    let same = few.iter().zip(&many).all(|(few, many)| *many <= few * 3 / 2 + 8);
    assert!(same, "messages with few VNIs: {few:?}, with many: {many:?}");
}

/// Messages to the kernel and back for what this does and what follows from it.
fn cost(host: &mut Host, act: impl FnOnce(&mut Host)) -> u64 {
    let before = host.r.backend().messages();
    act(host);
    host.until("all in sync", |host| host.r.status().in_sync);
    // The echo of it.
    host.work();
    host.r.backend().messages() - before
}

#[test]
fn one_vni_costs_what_it_costs_among_many() {
    in_namespace("scale::one_vni_costs_what_it_costs_among_many", || {
        few_and_many(false, |host, vnis| {
            let more = cost(host, |host| host.change(&whole(vnis + 1)));
            let gone = cost(host, |host| host.change(&[Change::DelVni(vni(3))]));
            let repaired = cost(host, |host| {
                break_vni(5);
                host.until("repaired", |_| {
                    stands(5) && fdb(5).iter().filter(|row| row.contains("self extern_learn")).count() == 2
                });
            });
            vec![more, gone, repaired]
        });
    });
}

#[test]
fn one_vni_of_others_costs_what_it_costs_among_many() {
    in_namespace("scale::one_vni_of_others_costs_what_it_costs_among_many", || {
        few_and_many(true, |host, vnis| {
            let more = cost(host, |host| {
                others_set_up(std::iter::once(vnis + 1));
                host.hears(&Local::Found(vni(vnis + 1), true));
                host.change(&whole(vnis + 1));
            });
            let gone = cost(host, |host| {
                break_vni(3);
                host.hears(&Local::Found(vni(3), false));
                host.change(&[Change::DelVni(vni(3))]);
            });
            vec![more, gone]
        });
    });
}

#[test]
fn on_its_thread_it_sleeps_wakes_and_ends() {
    in_namespace("scale::on_its_thread_it_sleeps_wakes_and_ends", || {
        sh("ip link add veth1 type veth peer name h1 && ip link set h1 up");
        let (tx, rx) = mpsc::sync_channel(10_000);
        let start = clock();
        let time = move || Time::from_micros(u64::try_from(start.elapsed().as_micros()).unwrap() + 1);
        let reconciler = Box::new(reconciler(config()));
        let handle = thread::spawn(reconciler, time, move |u| tx.send(u).unwrap()).unwrap();
        handle.try_send(vec![Change::PutVni(l2(100, &["veth1"])), put(1, 1), Change::Settled]).unwrap();
        let hears = |what: &Local| {
            let wanted = Update::Output(Output::Local(what.clone()));
            while rx.recv_timeout(patience()).expect("heard in time") != wanted {}
        };
        hears(&Local::VniReady(vni(100), true));
        // An event of the kernel wakes it.
        sh(&format!("bridge fdb add 02:00:00:00:00:a1 {} master dynamic", on_port(100, "veth1")));
        let seen =
            |m| Local::MacSeen { vni: vni(100), mac: mac(m), interface: "veth1".into(), sticky: false };
        hears(&seen("02:00:00:00:00:a1"));
        // So does a change.
        let deadline = clock() + patience();
        handle.try_send(vec![put(2, 2)]).unwrap();
        while count("02:00:01:00:00:02 dst") == 0 {
            assert!(clock() < deadline);
        }
        // With nothing to do it does nothing at all.
        let switches = || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap();
            let dataplane = tasks
                .map(|task| task.unwrap().path())
                .find(|path| std::fs::read_to_string(path.join("comm")).unwrap().trim() == "dataplane");
            let status = std::fs::read_to_string(dataplane.unwrap().join("status")).unwrap();
            status.lines().filter(|l| l.contains("ctxt_switches")).map(str::to_owned).collect::<Vec<_>>()
        };
        std::thread::sleep(Duration::from_millis(200));
        let before = switches();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(switches(), before, "no wake-ups when nothing happens");
        assert!(handle.status().in_sync);
        assert!(handle.shutdown(true).is_empty());
        assert!(!stands(100));
    });
}
