//! Clients: ports that come and go, that are somebody else's, and that cannot be attached.

use std::sync::Arc;

use dataplane::intent::{Change, Client, ClientState, Local, Port, Service};
use dataplane::reconciler::Output;

use crate::harness::*;
use crate::layout::*;

pub(crate) fn client(name: &str, at: u32, port: &str) -> Client {
    Client {
        name: name.into(),
        port: Port::Name(port.into()),
        vlan: None,
        mac: mac("02:00:00:00:00:a1"),
        anti_spoof: false,
        service: Service::L2 { vni: vni(at), ips: vec![] },
    }
}

fn up(name: &str, interface: &str) -> Local {
    Local::Client { name: name.into(), state: ClientState::Up { interface: Arc::from(interface) } }
}

fn down(name: &str, reason: &str) -> Local {
    Local::Client { name: name.into(), state: ClientState::Down { reason: reason.to_owned() } }
}

#[test]
fn ports_come_and_go() {
    in_namespace("clients::ports_come_and_go", || {
        let a = Change::PutClient(client("a", 100, "tap0"));
        let mut host = Host::new(&[Change::PutVni(l2(100, &[])), a, Change::Settled]);
        host.hears(&down("a", "there is no interface tap0 yet"));
        host.assert_in_sync();
        sh("ip tuntap add tap0 mode tap");
        host.hears(&up("a", "tap0"));
        assert_eq!(place("tap0"), "vni 100");
        assert!(sh("ip -o link show tap0").contains(",UP"), "{}", sh("ip link show tap0"));
        host.assert_in_sync();
        // By deletion, by rename, and back.
        host.outputs.clear();
        sh("ip link del tap0");
        host.hears(&down("a", "there is no interface tap0 yet"));
        host.outputs.clear();
        sh("ip tuntap add x mode tap && ip link set x name tap0");
        host.hears(&up("a", "tap0"));
        host.outputs.clear();
        // (Linux 6.1 renames only what is down.)
        sh("ip link set tap0 down; ip link set tap0 name y");
        host.hears(&down("a", "there is no interface tap0 yet"));
        sh("ip link set y name tap0");
        host.hears(&up("a", "tap0"));
        // Somebody takes it off the bridge.
        sh("ip link set tap0 nomaster");
        host.until("the port back on the bridge", |_| place("tap0") == "vni 100");
        // Another VNI; then none.
        let moved = Change::PutClient(client("a", 200, "tap0"));
        host.change(&[Change::PutVni(l2(200, &[])), moved]);
        assert_eq!(place("tap0"), "vni 200");
        host.change(&[Change::DelClient("a".into())]);
        assert_eq!(place("tap0"), "");
        host.assert_in_sync();
    });
}

#[test]
fn a_port_that_cannot_be_had_disturbs_no_other() {
    in_namespace("clients::a_port_that_cannot_be_had_disturbs_no_other", || {
        sh("ip link add br0 type bridge && ip tuntap add tap0 mode tap && ip tuntap add tap1 mode tap && \
            ip link set tap1 master br0");
        let clients = [
            client("a", 100, "lo"),
            client("b", 100, "tap0"),
            client("c", 100, "tap1"),
            client("d", 100, &vxlan(200)),
        ];
        let vnis = [Change::PutVni(l2(100, &[])), Change::PutVni(l2(200, &[])), Change::Settled];
        let mut host = Host::new(&vnis);
        host.change(&clients.map(Change::PutClient));
        host.hears(&up("b", "tap0"));
        host.hears(&down("c", "tap1 is a port of br0"));
        host.hears(&down("d", &format!("{} is a device of evpnd's own", vxlan(200))));
        let refused = |output: &Output| {
            let Output::Local(Local::Client { name, state: ClientState::Down { reason } }) = output else {
                return false;
            };
            &**name == "a" && reason.contains(&format!("attach lo to {}: ", bridge(100)))
        };
        host.until("why lo is no port", |host| host.outputs.iter().any(refused));
        host.until("all in sync", |host| host.r.status().in_sync);
        assert_eq!((place("tap0").as_str(), place("tap1").as_str()), ("vni 100", "br0"));
        assert!(sh(&format!("bridge link show dev {}", vxlan(100))).contains(&bridge(100)));
        // It is not tried over and over.
        let said = host.outputs.len();
        host.resync();
        host.resync();
        assert_eq!(host.outputs.len(), said, "{:?}", &host.outputs[said..]);
        sh("ip link set tap1 nomaster");
        host.hears(&up("c", "tap1"));
    });
}

#[test]
fn a_restart_finds_its_clients() {
    in_namespace("clients::a_restart_finds_its_clients", || {
        sh("ip tuntap add tap0 mode tap");
        let changes =
            [Change::PutVni(l2(100, &[])), Change::PutClient(client("a", 100, "tap0")), Change::Settled];
        drop(Host::new(&changes));
        let watch = Watch::new("ip monitor link");
        let host = Host::new(&changes);
        assert!(host.outputs.contains(&Output::Local(up("a", "tap0"))), "{:?}", host.outputs);
        assert!(!watch.heard_any(), "nothing is done twice");
        assert_eq!(place("tap0"), "vni 100");
    });
}

/// The kernel refuses a loopback device as a port: that is tried again and again, with growing pauses.
#[test]
fn an_interface_that_cannot_be_a_port_does_not_keep_it_busy() {
    in_namespace("clients::an_interface_that_cannot_be_a_port_does_not_keep_it_busy", || {
        let mut host = Host::new(&[Change::PutVni(l2(100, &["lo"])), Change::Settled]);
        host.hears(&Local::VniReady(vni(100), true));
        let status = host.r.status();
        assert!(!status.in_sync && status.failing == 1, "{status:?}");
    });
}
