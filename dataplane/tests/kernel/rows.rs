//! Rows: written, repaired, adopted; those of others left alone.

use dataplane::intent::{Change, Flood, Local, RemoteMac};
use dataplane::reconciler::{Event, Output};
use dataplane::rows::Key;

use crate::harness::*;
use crate::layout::*;

const M1: &str = "02:00:00:00:00:01";
const M2: &str = "02:00:00:00:00:02";
const FLOOD: &str = "00:00:00:00:00:00";

fn base() -> Vec<Change> {
    vec![
        Change::PutVni(l2(100, &["veth1"])),
        put_flood(100, "10.9.0.2"),
        put_flood(100, "10.9.0.3"),
        put_mac(100, M1, "10.9.0.2"),
        put_mac(100, M2, "10.9.0.3"),
        put_neighbour(100, "192.0.2.1", M1),
        Change::Settled,
    ]
}

fn host() -> Host {
    sh("ip link add veth1 type veth peer name veth1p && ip link set veth1p up");
    let host = Host::new(&base());
    host.assert_in_sync();
    host
}

/// The rows on the VXLAN device, as one text.
fn text() -> String {
    fdb(100).join("\n")
}

/// These rows and the neighbours.
fn all() -> Vec<String> {
    [fdb(100), neighbours(100)].concat()
}

#[test]
fn rows_change_and_go() {
    in_namespace("rows::rows_change_and_go", || {
        let mut host = host();
        // A move replaces; it never appends.
        host.change(&[put_mac(100, M1, "10.9.0.3")]);
        let mut rows = fdb(100);
        rows.retain(|row| row.starts_with(M1));
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(rows.contains(&format!("{M1} dst 10.9.0.3 self extern_learn permanent")), "{rows:?}");
        // Downstream-assigned VNIs.
        let asymmetric = RemoteMac { vtep: ip("10.9.0.3"), vni: vni(222), sticky: false };
        host.change(&[
            Change::PutMac(vni(100), mac(M1), asymmetric),
            Change::PutFlood(vni(100), ip("10.9.0.3"), Flood { vni: vni(222) }),
        ]);
        assert!(text().contains(&format!("{M1} dst 10.9.0.3 vni 222 self")), "{}", text());
        let mut flood = fdb(100);
        flood.retain(|row| row.starts_with(FLOOD));
        assert_eq!(
            flood,
            [
                "00:00:00:00:00:00 dst 10.9.0.2 self extern_learn permanent",
                "00:00:00:00:00:00 dst 10.9.0.3 vni 222 self extern_learn permanent"
            ]
        );
        // Sticky, and no longer so.
        let sticky = RemoteMac { vtep: ip("10.9.0.3"), vni: vni(100), sticky: true };
        host.change(&[Change::PutMac(vni(100), mac(M1), sticky)]);
        assert!(text().contains(&format!("{M1} extern_learn sticky master")), "{}", text());
        host.resync();
        host.assert_in_sync();
        host.change(&[put_mac(100, M1, "10.9.0.3")]);
        assert!(!text().contains("sticky"), "{}", text());
        host.change(&[
            Change::DelMac(vni(100), mac(M1)),
            Change::DelFlood(vni(100), ip("10.9.0.3")),
            Change::DelNeighbour(vni(100), ip("192.0.2.1")),
        ]);
        assert!(!text().contains(M1) && !text().contains("222"), "{}", text());
        assert_eq!(neighbours(100), Vec::<String>::new());
        host.resync();
        host.assert_in_sync();
        assert_eq!(host.r.status().repairs, 0);
    });
}

#[test]
fn rows_deleted_behind_our_back_come_back() {
    in_namespace("rows::rows_deleted_behind_our_back_come_back", || {
        let mut host = host();
        let before = all();
        let at = on_vxlan(100);
        for (i, command) in [
            format!("bridge fdb del {M1} {at} self master"),
            format!("bridge fdb del {M1} {at} self"),
            format!("bridge fdb del {M1} {at} master"),
            format!("bridge fdb del {FLOOD} {at} dst 10.9.0.3 self"),
            format!("ip neigh del 192.0.2.1 dev {}", table(100)),
        ]
        .into_iter()
        .enumerate()
        {
            sh(&command);
            host.until(&command, |_| all() == before);
            assert_eq!(host.r.status().repairs, i as u64 + 1, "{command}");
        }
        // Changed to what looks like ours: no event tells that apart, the timer finds it.
        sh(&format!("bridge fdb replace {M1} {at} dst 10.9.0.77 self extern_learn"));
        host.ahead += std::time::Duration::from_secs(61);
        host.work();
        assert_eq!(all(), before);
        host.assert_in_sync();
    });
}

#[test]
fn rows_of_others_survive() {
    in_namespace("rows::rows_of_others_survive", || {
        let mut host = host();
        let (at, on_veth1) = (on_vxlan(100), on_port(100, "veth1"));
        sh(&format!(
            "bridge fdb add 02:00:00:00:00:91 {at} dst 10.9.0.91 self static
             bridge fdb add 02:00:00:00:00:92 {at} dst 10.9.0.92 self master static
             bridge fdb add 02:00:00:00:00:93 {on_veth1} master static
             bridge fdb add 02:00:00:00:00:94 {on_veth1} master permanent
             ip neigh add 192.0.2.91 lladdr 02:00:00:00:00:91 dev {} nud permanent
             bridge fdb append {FLOOD} {at} dst 10.9.0.91 self permanent",
            table(100)
        ));
        let others = || {
            let mut rows = [all(), on_bridge(100, "02:00:00:00:00:9")].concat();
            rows.retain(|row| row.contains("00:00:9") || row.contains(".91"));
            rows
        };
        let before = others();
        // That of :92 on the bridge is shown by both.
        assert_eq!(before.len(), 8, "{before:?}");
        let port = sh("ip -br link show veth1");
        let port = port.split_whitespace().nth(2).unwrap();
        let mut changes: Vec<Change> =
            (1..=4).map(|n| put_mac(100, &format!("02:00:00:00:00:9{n}"), "10.9.0.2")).collect();
        changes.push(put_mac(100, port, "10.9.0.2"));
        changes.push(put_neighbour(100, "192.0.2.91", M1));
        host.work();
        host.change(&changes);
        assert_eq!(others(), before);
        let status = host.r.status();
        assert_eq!(status.failing, 6, "{status:?}");
        assert!(status.last_error.unwrap().contains("covers"));
        let sticky = Local::MacSeen {
            vni: vni(100),
            mac: mac("02:00:00:00:00:93"),
            interface: "veth1".into(),
            sticky: true,
        };
        host.hears(&sticky);
        host.resync();
        let deletes: Vec<Change> = changes
            .iter()
            .map(|change| match change {
                Change::PutMac(v, m, _) => Change::DelMac(*v, *m),
                Change::PutNeighbour(v, n, _) => Change::DelNeighbour(*v, *n),
                _ => unreachable!(),
            })
            .collect();
        host.change(&deletes);
        assert_eq!(others(), before);
        // With the flood list's mark gone, our rows still come and go.
        host.change(&[Change::DelFlood(vni(100), ip("10.9.0.3")), put_flood(100, "10.9.0.4")]);
        let mut flood = fdb(100);
        flood.retain(|row| row.starts_with(FLOOD));
        let flood: Vec<&str> = flood.iter().filter_map(|row| row.split_whitespace().nth(2)).collect();
        assert_eq!(flood, ["10.9.0.2", "10.9.0.4", "10.9.0.91"]);
        host.resync();
        host.assert_in_sync();
    });
}

#[test]
fn a_restart_adopts_and_deletes_nothing() {
    in_namespace("rows::a_restart_adopts_and_deletes_nothing", || {
        let mut first = host();
        first.change(&[put_mac(100, "02:00:00:00:00:07", "10.9.0.2"), put_flood(100, "10.9.0.7")]);
        // As after kill -9: nobody cleans up.
        drop(first);
        let before = lines("(bridge fdb show; ip neigh show) | grep extern_learn");
        let watch = Watch::new("stdbuf -oL ip monitor link neigh");
        let fdb_watch = Watch::new("stdbuf -oL bridge monitor fdb");
        let on_veth1 = on_port(100, "veth1");
        let touch = |mac: &str| {
            sh(&format!(
                "bridge fdb add {mac} {on_veth1} master static; bridge fdb del {mac} {on_veth1} master"
            ));
        };
        // The watchers are up once they tell of something.
        let until = clock() + patience();
        while clock() < until && fdb_watch_idle(&fdb_watch) {
            touch("02:00:00:00:0a:00");
        }
        let mut changes = base();
        let settled = changes.pop().unwrap();
        let mut host = Host::new(&changes);
        assert_eq!(lines("(bridge fdb show; ip neigh show) | grep extern_learn"), before);
        touch("02:00:00:00:0b:00");
        let seen = fdb_watch.up_to("02:00:00:00:0b:00");
        assert!(seen.iter().all(|line| line.contains("00:0a:00")), "rows were written: {seen:?}");
        drop(watch);
        host.change(&[settled]);
        host.assert_in_sync();
        assert!(!text().contains("00:07") && !text().contains("10.9.0.7"), "{}", text());
        assert!(text().contains(M1));
        assert_eq!(host.r.status().repairs, 0);
    });
}

fn fdb_watch_idle(watch: &Watch) -> bool {
    std::thread::sleep(std::time::Duration::from_millis(20));
    !watch.heard_any()
}

#[test]
fn a_bad_row_is_told_and_the_others_go_on() {
    in_namespace("rows::a_bad_row_is_told_and_the_others_go_on", || {
        let mut host = host();
        // An IPv6 VTEP on an IPv4 device: the kernel refuses it.
        let mut changes: Vec<Change> =
            (10..200).map(|n| put_mac(100, &format!("02:00:00:00:01:{n:02x}"), "10.9.0.2")).collect();
        changes.insert(77, put_mac(100, "02:00:00:00:02:00", "2001:db8::1"));
        host.change(&changes);
        let status = host.r.status();
        assert_eq!(status.failing, 1, "{status:?}");
        assert!(
            status.last_error.as_ref().unwrap().contains("put vni 100 mac 02:00:00:00:02:00"),
            "{status:?}"
        );
        let written = fdb(100).iter().filter(|row| row.contains("00:01:") && row.contains("self")).count();
        assert_eq!(written, 190);
        let failed = host.outputs.iter().any(|o| matches!(o, Output::Event(Event::Failed { more: 0, .. })));
        assert!(failed, "{:?}", host.outputs);
        host.change(&[Change::DelMac(vni(100), mac("02:00:00:00:02:00"))]);
        host.assert_in_sync();
        assert!(!host.r.installed().contains(&Key::Mac(vni(100), mac("02:00:00:00:02:00"))));
    });
}
