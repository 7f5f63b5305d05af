use std::time::Duration;

use types::Time;

use super::super::Config;
use super::*;
use crate::fixtures::{self, vni};
use crate::intent::RemoteMac;
use crate::memory::Memory;
use crate::rows::Key;

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

fn l2(n: u32, interfaces: &[&str]) -> Change {
    Change::PutVni(fixtures::l2(n, interfaces))
}

fn client(name: &str, at: u32, port: &str) -> Client {
    Client {
        name: name.into(),
        port: Port::Name(port.into()),
        vlan: None,
        mac: mac(1),
        anti_spoof: true,
        service: Service::L2 { vni: vni(at), ips: vec![] },
    }
}

fn put(name: &str, at: u32, port: &str) -> Change {
    Change::PutClient(client(name, at, port))
}

struct Node {
    r: Reconciler<Memory>,
    now: Time,
}

impl Node {
    fn new(changes: &[Change]) -> Self {
        let r = Reconciler::new(Memory::new(), Config::default());
        let mut node = Self { r, now: Time::from_micros(1_000_000) };
        node.change(changes);
        node
    }

    /// Changes the intent and works; what was said of clients: `a up tap0`, `a down: why`.
    fn change(&mut self, changes: &[Change]) -> Vec<String> {
        for change in changes {
            self.r.change(change);
        }
        let mut out = Vec::new();
        for _ in 0..1000 {
            self.r.handle(self.now, &mut out);
            if self.r.deadline() > self.now {
                return said(&out);
            }
        }
        panic!("never quiet");
    }

    fn interfaces(&self, at: u32) -> Vec<String> {
        self.r.backend().rows().device(vni(at)).map(|l2| l2.interfaces.clone()).unwrap_or_default()
    }
}

fn said(out: &[Output]) -> Vec<String> {
    let client = |output: &Output| match output {
        Output::Local(Local::Client { name, state: ClientState::Up { interface } }) => {
            Some(format!("{name} up {interface}"))
        }
        Output::Local(Local::Client { name, state: ClientState::Down { reason } }) => {
            Some(format!("{name} down: {reason}"))
        }
        _ => None,
    };
    out.iter().filter_map(client).collect()
}

#[test]
fn a_port_comes_and_goes() {
    let mut node = Node::new(&[l2(7, &["eth9"]), Change::Settled]);
    assert_eq!(node.change(&[put("a", 7, "tap0")]), ["a down: there is no interface tap0 yet"]);
    assert_eq!(node.interfaces(7), ["eth9"]);
    assert!(node.r.status().in_sync, "waiting is no failure");
    node.r.backend_mut().add_interface("tap0");
    assert_eq!(node.change(&[]), ["a up tap0"]);
    assert_eq!(node.interfaces(7), ["eth9", "tap0"]);
    // The section changes; the client's port stays.
    assert_eq!(node.change(&[l2(7, &[])]), [""; 0]);
    assert_eq!(node.interfaces(7), ["tap0"]);
    node.r.backend_mut().remove_interface("tap0");
    assert_eq!(node.change(&[]), ["a down: there is no interface tap0 yet"]);
    assert_eq!(node.interfaces(7), [""; 0]);
    node.r.backend_mut().add_interface("tap0");
    assert_eq!(node.change(&[]), ["a up tap0"]);
    assert_eq!(node.change(&[Change::DelClient("a".into())]), [""; 0]);
    assert_eq!(node.interfaces(7), [""; 0]);
    assert!(node.r.status().in_sync);
}

/// Without a word from the backend, the next full look finds what is different.
#[test]
fn a_lost_event_is_made_good() {
    let mut node = Node::new(&[l2(7, &[]), put("a", 7, "tap0"), Change::Settled]);
    node.r.backend_mut().lose_events(true);
    node.r.backend_mut().add_interface("tap0");
    assert_eq!(node.change(&[]), [""; 0]);
    node.now = node.now + Duration::from_secs(61);
    assert_eq!(node.change(&[]), ["a up tap0"]);
}

#[test]
fn a_client_that_moves_lets_go_of_its_place() {
    let mut node = Node::new(&[l2(7, &[]), l2(8, &[])]);
    for port in ["tap0", "tap1"] {
        node.r.backend_mut().add_interface(port);
    }
    assert_eq!(node.change(&[put("a", 7, "tap0")]), ["a up tap0"]);
    assert_eq!(node.change(&[put("a", 8, "tap0")]), [""; 0], "up as it was");
    assert_eq!((node.interfaces(7), node.interfaces(8)), (vec![], vec!["tap0".to_owned()]));
    assert_eq!(node.change(&[put("a", 8, "tap1")]), ["a up tap1"]);
    assert_eq!(node.interfaces(8), ["tap1"]);
    // One that takes the place of another in the same breath.
    assert_eq!(node.change(&[Change::DelClient("a".into()), put("b", 8, "tap1")]), ["b up tap1"]);
    assert_eq!(node.interfaces(8), ["tap1"]);
    // The VNI goes, and comes again.
    assert_eq!(node.change(&[Change::DelVni(vni(8))]), ["b down: VNI 8 is not there yet"]);
    assert_eq!(node.change(&[l2(8, &[])]), ["b up tap1"]);
}

#[test]
fn what_a_bridge_cannot_do_is_said() {
    let mut node = Node::new(&[l2(7, &[]), l2(8, &["tap8"])]);
    node.r.backend_mut().add_interface("tap8");
    for (changed, expected) in [
        (
            Client { service: Service::L3 { vrf: vni(9), prefixes: vec![] }, ..client("a", 7, "tap0") },
            "a down: an l3 client needs backend = \"ovs\"",
        ),
        (
            Client { port: Port::Number(5), ..client("a", 7, "tap0") },
            "a down: an ofport needs backend = \"ovs\"; here a port is named by \"interface\"",
        ),
        (
            Client { vlan: Some(100), ..client("a", 7, "tap0") },
            "a down: a client of type \"vlan\" needs backend = \"ovs\"; here make a VLAN interface and say \
             \"interface\": \"tap0.100\", \"type\": \"flat\"",
        ),
        (client("a", 7, "tap8"), "a down: tap8 is among the interfaces of VNI 8"),
    ] {
        assert_eq!(node.change(&[Change::PutClient(changed)]), [expected]);
    }
    // In its own VNI a port may well be named in both places.
    assert_eq!(node.change(&[put("a", 8, "tap8")]), ["a up tap8"]);
    assert_eq!(node.change(&[Change::DelClient("a".into())]), [""; 0]);
    assert_eq!(node.interfaces(8), ["tap8"]);
}

/// When a MAC is another host's no longer, the client is there to claim it.
#[test]
fn a_mac_that_is_given_back_is_claimed_again() {
    let mut node = Node::new(&[l2(7, &[]), put("a", 7, "tap0")]);
    node.r.backend_mut().add_interface("tap0");
    assert_eq!(node.change(&[]), ["a up tap0"]);
    let remote = RemoteMac { vtep: [10, 0, 0, 2].into(), vni: vni(7), sticky: false };
    assert_eq!(node.change(&[Change::PutMac(vni(7), mac(1), remote)]), [""; 0]);
    assert_eq!(node.change(&[Change::DelMac(vni(7), mac(1))]), ["a up tap0"]);
    assert!(node.r.backend().rows().get(&Key::Mac(vni(7), mac(1))).is_none());
}

#[test]
fn a_dry_run_says_how_clients_would_be() {
    let mut r = Reconciler::new(Memory::new(), Config::default());
    r.backend_mut().add_interface("tap0");
    for change in [l2(7, &[]), put("a", 7, "tap0"), put("b", 7, "tap1")] {
        r.change(&change);
    }
    let mut out = Vec::new();
    let steps = r.dry_run(&mut out).unwrap();
    assert_eq!(said(&out), ["b down: there is no interface tap1 yet", "a up tap0"]);
    assert!(steps.iter().any(|step| step.what.contains("tap0")), "{steps:?}");
    assert_eq!(r.backend().ops(), 0);
}
