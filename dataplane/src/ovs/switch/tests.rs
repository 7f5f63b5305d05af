//! The engine over an Open vSwitch of paper: what it writes, when, and what it makes of what goes wrong.

use std::net::IpAddr;

use ipnet::IpNet;
use types::{MacAddr, Vni};

use super::super::Datapath;
use super::*;
use crate::intent::{Client, ClientState, Flood, Hop, L2Vni, Neighbour, Port, RemoteMac, Service, Vrf};
use crate::plane::{Action, Thing};

mod chaos;
mod paper;

use paper::{Paper, World};

struct Host {
    switch: Switch,
    now: Time,
    locals: Vec<Local>,
    events: Vec<Event>,
}

fn config() -> OvsConfig {
    OvsConfig { datapath: Datapath::Netdev, ..OvsConfig::new("br-x", [10, 0, 0, 1].into()) }
}

impl Host {
    fn new(paper: &Paper, changes: &[Change]) -> Self {
        let switch = Switch::with_tools(config(), Box::new(paper.clone()));
        let now = Time::ZERO + Duration::from_secs(1);
        let mut host = Self { switch, now, locals: vec![], events: vec![] };
        host.change(changes);
        host
    }

    /// Works until there is nothing left to do now.
    fn work(&mut self) {
        for _ in 0..10_000 {
            let mut out = Vec::new();
            self.switch.handle(self.now, &mut out);
            for output in out {
                match output {
                    Output::Local(local) => self.locals.push(local),
                    Output::Event(event) => self.events.push(event),
                }
            }
            if self.switch.deadline() > self.now {
                return;
            }
        }
        panic!("never done: {:?}", self.switch);
    }

    fn change(&mut self, changes: &[Change]) {
        for change in changes {
            self.switch.change(change);
        }
        self.work();
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.switch.deadline() <= until {
            self.now = self.switch.deadline().max(self.now);
            self.work();
        }
        self.now = until;
        self.work();
    }

    fn resync(&mut self) {
        self.switch.resync();
        self.work();
    }

    fn assert_in_sync(&self) {
        let status = self.switch.status();
        assert!(status.in_sync && status.desired == status.installed, "{status:?} {:?}", self.events);
    }

    fn texts(&self) -> Vec<String> {
        self.events.iter().map(ToString::to_string).collect()
    }

    fn heard(&self, part: &str) -> usize {
        self.texts().iter().filter(|text| text.contains(part)).count()
    }
}

fn vni(n: u32) -> Vni {
    Vni::new(n).unwrap()
}

fn vtep(n: u8) -> IpAddr {
    [10, 0, 0, n].into()
}

fn put_vni(n: u32) -> Change {
    Change::PutVni(L2Vni {
        vni: vni(n),
        vtep: vtep(1),
        port: 4789,
        interfaces: vec![],
        arp_suppression: true,
        vlan: None,
    })
}

fn put_mac(m: u16, to: u8) -> Change {
    Change::PutMac(vni(10), host_mac(m), RemoteMac { vtep: vtep(to), vni: vni(10), sticky: false })
}

fn host_mac(m: u16) -> MacAddr {
    let [a, b] = m.to_be_bytes();
    MacAddr([2, 0, 0, 0, a, b])
}

fn del_mac(m: u16) -> Change {
    Change::DelMac(vni(10), host_mac(m))
}

fn put_client(name: &str, port: u16) -> Change {
    Change::PutClient(Client {
        name: name.into(),
        port: Port::Number(port),
        vlan: None,
        mac: host_mac(0xaa00 + port),
        anti_spoof: true,
        service: Service::L2 { vni: vni(10), ips: vec![] },
    })
}

fn up(name: &str, port: &str) -> Local {
    Local::Client { name: name.into(), state: ClientState::Up { interface: port.into() } }
}

fn is_down(local: &Local, client: &str) -> bool {
    matches!(local, Local::Client { name, state: ClientState::Down { .. } } if **name == *client)
}

/// A host with a VNI and `macs` remote MACs, all in place.
fn host_with(paper: &Paper, macs: u16) -> Host {
    let mut changes = vec![put_vni(10)];
    changes.extend((0..macs).map(|m| put_mac(m, 2)));
    changes.push(Change::Settled);
    let host = Host::new(paper, &changes);
    host.assert_in_sync();
    host
}

#[test]
fn everything_is_made_and_a_change_costs_one_line() {
    let paper = Paper::new();
    let mut host = host_with(&paper, 100);
    assert_eq!(
        paper.world().steps,
        ["make bridge br-x", "make VXLAN port vxlan-evpn on bridge br-x"],
        "{:?}",
        host.texts()
    );
    assert!(host.locals.contains(&Local::VniReady(vni(10), true)), "{:?}", host.locals);
    let before = (paper.bundles(), paper.world().commands);
    host.change(&[put_mac(1000, 2)]);
    assert_eq!((paper.bundles(), paper.world().commands), (before.0 + 1, before.1 + 1), "one process");
    assert_eq!(paper.world().bundles.last().unwrap().lines().count(), 1);
    assert!(paper.has("dl_dst=02:00:00:00:03:e8"));
    host.change(&[put_mac(1000, 2)]);
    assert_eq!(paper.bundles(), before.0 + 1, "the same again is no change");
    host.change(&[del_mac(1000)]);
    assert!(!paper.has("dl_dst=02:00:00:00:03:e8"));
    host.assert_in_sync();
    assert_eq!(host.switch.status().repairs, 0);

    let key = Key::Mac(vni(10), host_mac(5));
    let standing = host.switch.standing(&key);
    assert!(standing.wanted.as_ref().unwrap().contains("dl_dst=02:00:00:00:00:05"), "{standing:?}");
    assert_eq!(standing.wanted, standing.installed);
    assert_eq!(host.switch.standing(&Key::Mac(vni(10), host_mac(1000))), Standing::default());
}

#[test]
fn a_restart_writes_nothing_it_finds_and_removes_the_rest_once_settled() {
    let paper = Paper::new();
    drop(host_with(&paper, 50));
    let (before, bundles) = (paper.lines(), paper.bundles());
    let mut changes = vec![put_vni(10)];
    changes.extend((0..20).map(|m| put_mac(m, 2)));
    let mut host = Host::new(&paper, &changes);
    host.change(&[put_mac(20, 2)]);
    host.resync();
    assert_eq!(paper.lines(), before, "nothing is lost before all has been heard again");
    assert_eq!(paper.bundles(), bundles, "and what stands is not written again");
    // One that moved meanwhile is written at once.
    host.change(&[put_mac(21, 3)]);
    assert_eq!(paper.bundles(), bundles + 1);
    host.change(&[Change::Settled]);
    assert!(paper.has("dl_dst=02:00:00:00:00:15") && !paper.has("dl_dst=02:00:00:00:00:16"));
    assert_eq!(paper.lines().len(), before.len() - 28);
    host.assert_in_sync();
    assert_eq!(host.switch.status().repairs, 0, "{:?}", host.texts());
}

#[test]
fn flood_lists_do_not_shrink_in_a_restart() {
    let flood = |n| Change::PutFlood(vni(10), vtep(n), Flood { vni: vni(10) });
    let paper = Paper::new();
    let mut changes = vec![put_vni(10)];
    changes.extend((2..10).map(flood));
    changes.push(Change::Settled);
    drop(Host::new(&paper, &changes));
    let before = paper.lines();
    let mut host = Host::new(&paper, &changes[..3]);
    assert_eq!(host.switch.dry_run(&mut Vec::new()).unwrap(), [], "a plan knows that it waits");
    host.resync();
    host.change(&[flood(4)]);
    assert_eq!(paper.lines(), before);
    host.change(&changes[4..8]);
    assert_eq!(paper.lines(), before);
    host.change(&[Change::Settled]);
    assert!(paper.has("10.0.0.8") && !paper.has("10.0.0.9"), "what was not announced again is gone");
    host.assert_in_sync();
}

#[test]
fn a_flow_that_is_refused_holds_up_no_other() {
    for names_lines in [false, true] {
        let paper = Paper::new();
        let bad = ["00:00:07", "00:01:01", "00:01:f3"];
        {
            let mut world = paper.world();
            world.refuse = bad
                .iter()
                .map(|m| {
                    format!(
                        "add cookie=0x657670640000000a,table=30,priority=100,reg0=0xa,dl_dst=02:00:00:{m}"
                    )
                })
                .collect();
            world.names_lines = names_lines;
        }
        let mut changes = vec![put_vni(10), Change::Settled];
        changes.extend((0..500).map(|m| put_mac(m, 2)));
        let mut host = Host::new(&paper, &changes);
        for m in 0..500 {
            let text = format!("dl_dst={}", host_mac(m));
            assert_eq!(paper.has(&text), !bad.iter().any(|b| text.ends_with(b)), "{text}");
        }
        let status = host.switch.status();
        assert_eq!((status.failing, status.in_sync), (3, false));
        assert_eq!(host.heard("flow refused (add cookie="), 3, "{:?}", host.texts());
        let refused = paper.world().refused;
        assert!(refused <= if names_lines { 3 } else { 40 }, "{refused} bundles");

        // Tried again with growing pauses, and not told again.
        host.pass(Duration::from_secs(600));
        assert_eq!(host.heard("flow refused"), 3);
        assert!(paper.world().refused - refused <= 5 * 17, "{}", paper.world().refused - refused);
        paper.world().refuse.clear();
        host.pass(Duration::from_secs(61));
        host.assert_in_sync();
        assert!(paper.has("dl_dst=02:00:00:00:00:07"));
        assert_eq!(host.switch.status().repairs, 0, "{:?}", host.texts());
    }
}

#[test]
fn a_unit_does_without_the_one_flow_of_it_that_is_refused() {
    for names_lines in [false, true] {
        let paper = Paper::new();
        paper.world().ports.insert(7, "tap7".into());
        {
            let mut world = paper.world();
            world.refuse = ["table=26", "table=60,priority=20"].map(ToOwned::to_owned).into();
            world.names_lines = names_lines;
        }
        let mut host = Host::new(&paper, &[]);
        host.change(&[put_vni(10), put_client("vm7", 7), put_mac(1, 2), Change::Settled]);
        assert!(!paper.has("table=26") && !paper.has("table=60, priority=20"));
        assert!(paper.has("table=50") && paper.has("in_port=7") && paper.has("table=60, priority=10"));
        let told = host.events.len();
        assert_eq!(host.heard("flow refused (add cookie=0x65767064"), 3, "{:?}", host.texts());
        let status = host.switch.status();
        assert_eq!((status.failing, status.desired - status.installed), (3, 3), "{status:?}");
        host.pass(Duration::from_secs(600));
        assert_eq!(host.events.len(), told, "{:?}", host.texts());
        assert!(paper.has("table=50") && paper.has("in_port=7"));
        // Another client in its place is tried at once.
        paper.world().refuse.remove("table=60,priority=20");
        host.change(&[Change::DelClient("vm7".into()), put_client("vm8", 7)]);
        assert!(paper.has("table=60, priority=20"));
        paper.world().refuse.clear();
        host.pass(Duration::from_secs(61));
        host.assert_in_sync();
        assert!(paper.has("table=26"));
        assert_eq!(host.switch.status().repairs, 0);
    }
}

#[test]
fn when_everything_is_refused_it_does_not_try_for_ever() {
    let paper = Paper::new();
    let mut host = host_with(&paper, 1);
    paper.world().refuse.insert("add ".into());
    let changes: Vec<_> = (1000..6000).map(|m| put_mac(m, 2)).collect();
    host.change(&changes);
    assert_eq!(host.switch.status().failing, 5000);
    assert!(paper.world().refused < 600, "{}", paper.world().refused);
    paper.world().refuse.clear();
    host.pass(Duration::from_secs(70));
    host.assert_in_sync();
}

#[test]
fn what_somebody_changed_is_put_right() {
    let paper = Paper::new();
    let mut host = host_with(&paper, 10);
    let before = paper.lines();
    let victim =
        |world: &mut World, n: usize| world.flows.keys().filter(|k| k.0 == 30).nth(n).cloned().unwrap();
    {
        let mut world = paper.world();
        let gone = victim(&mut world, 3);
        world.flows.remove(&gone);
        let changed = victim(&mut world, 5);
        world.flows.get_mut(&changed).unwrap().actions = "drop".into();
    }
    paper.put(" cookie=0x6576706400000063, table=30, priority=7,reg0=0x63 actions=drop");
    paper.put(" cookie=0x5, table=30, priority=7,reg0=0x64 actions=drop");
    host.pass(Duration::from_secs(70));
    let mut expected = before.clone();
    expected.push("cookie=0x5, table=30, priority=7,reg0=0x64 actions=drop".into());
    expected.sort();
    let mut now = paper.lines();
    now.sort();
    assert_eq!(now, expected);
    assert_eq!(host.switch.status().repairs, 2);
    assert_eq!(host.heard("put right 2 flows that someone else changed, one of them table="), 1);
    host.assert_in_sync();
    host.pass(Duration::from_secs(200));
    assert_eq!(host.events.len(), 3, "{:?}", host.texts());
}

#[test]
fn a_foreign_flow_is_left_alone_and_told_once() {
    let paper = Paper::new();
    let foreign = " cookie=0x7, table=30, priority=100,reg0=0xa,dl_dst=02:00:00:00:00:63 actions=drop";
    let mut host = host_with(&paper, 10);
    paper.put(foreign);
    host.resync();
    host.change(&[put_mac(0x63, 2)]);
    assert!(paper.has(foreign.trim()));
    let status = host.switch.status();
    assert_eq!((status.in_sync, status.failing, status.desired - status.installed), (false, 1, 1));
    assert_eq!(host.heard("somebody else's flow with the same match stands there"), 1, "{:?}", host.texts());
    host.pass(Duration::from_secs(300));
    assert_eq!(host.heard("somebody else's flow"), 1);
    assert!(paper.has(foreign.trim()));
    paper.world().flows.retain(|_, flow| flow.cookie != 7);
    host.pass(Duration::from_secs(61));
    host.assert_in_sync();
    assert!(paper.has("dl_dst=02:00:00:00:00:63"));
    // One that took the place of ours.
    paper.put(foreign);
    host.resync();
    assert!(paper.has(foreign.trim()));
    assert_eq!(host.switch.status().repairs, 0);
    host.change(&[del_mac(0x63)]);
    assert!(paper.has(foreign.trim()));
    host.assert_in_sync();
}

#[test]
fn a_restart_of_ovs_vswitchd_is_told_once_and_costs_nobody_upstairs_anything() {
    let paper = Paper::new();
    paper.world().ports.insert(7, "tap7".into());
    let mut host = host_with(&paper, 100);
    host.change(&[put_client("vm7", 7)]);
    assert_eq!(host.locals.last(), Some(&up("vm7", "tap7")));
    let before = paper.lines();
    host.locals.clear();
    host.events.clear();

    paper.stop();
    host.work();
    host.change(&[put_mac(200, 2), put_client("vm8", 8), put_client("vm7", 7)]);
    host.pass(Duration::from_secs(30));
    assert!(host.locals.is_empty(), "{:?}", host.locals);
    assert!(!host.switch.status().in_sync);
    assert_eq!(host.texts().len(), 2, "{:?}", host.texts());
    assert_eq!(host.heard("ovs-vswitchd stopped, or the bridge was removed"), 1);
    for _ in 0..5000 {
        host.switch.change(&put_client("vm8", 8));
    }
    assert!(host.switch.untold.len() <= 2 * UNTOLD, "{}", host.switch.untold.len());
    let commands = paper.world().commands;
    host.pass(Duration::from_secs(60));
    assert!(paper.world().commands - commands <= 2 * 31, "{}", paper.world().commands - commands);

    paper.world().vswitchd = true;
    host.pass(Duration::from_secs(2));
    assert_eq!(paper.lines().len(), before.len() + 1);
    assert!(!host.locals.iter().any(|local| is_down(local, "vm7")), "{:?}", host.locals);
    assert!(host.locals.iter().any(|local| is_down(local, "vm8")), "{:?}", host.locals);
    assert_eq!(host.heard("Open vSwitch is there"), 1, "{:?}", host.texts());
    // A new one has no flows; that is nobody's doing.
    assert_eq!(host.heard("before the connection was lost"), 1, "{:?}", host.texts());
    assert_eq!(host.switch.status().repairs, 0);
    host.assert_in_sync();
}

#[test]
fn without_its_database_it_works_on() {
    let paper = Paper::new();
    let mut host = host_with(&paper, 10);
    host.events.clear();
    paper.world().db = false;
    host.resync();
    host.change(&[put_mac(99, 2)]);
    assert!(paper.has("dl_dst=02:00:00:00:00:63"));
    host.pass(Duration::from_secs(120));
    assert_eq!(host.texts(), ["read the Open vSwitch database: ovsdb-server is not running"]);
    // ovs-vswitchd restarts meanwhile: what the database said before is still so.
    paper.stop();
    paper.world().vswitchd = true;
    host.pass(Duration::from_secs(3));
    assert!(paper.has("dl_dst=02:00:00:00:00:63"));
    paper.world().db = true;
    host.pass(Duration::from_secs(20));
    host.assert_in_sync();
}

#[test]
fn a_deleted_bridge_and_a_deleted_vxlan_port_are_made_again() {
    let paper = Paper::new();
    paper.world().ports.insert(7, "tap7".into());
    let mut host = host_with(&paper, 10);
    host.change(&[put_client("vm7", 7)]);
    {
        let mut world = paper.world();
        (world.bridge, world.ended) = (false, true);
        world.ports.clear();
        world.flows.clear();
        world.steps.clear();
    }
    host.pass(Duration::from_secs(1));
    assert_eq!(paper.world().steps.len(), 2);
    assert!(is_down(host.locals.last().unwrap(), "vm7"), "{:?}", host.locals);
    assert!(paper.has("dl_dst=02:00:00:00:00:09"));
    host.assert_in_sync();
    // Its port comes again; the VXLAN port goes.
    {
        let mut world = paper.world();
        world.ports.insert(7, "tap7".into());
        world.ports.remove(&65278);
        world.events = true;
    }
    host.work();
    assert_eq!(paper.world().steps.len(), 3);
    assert!(host.locals.contains(&up("vm7", "tap7")));
    host.assert_in_sync();
}

#[test]
fn one_client_takes_the_place_of_another() {
    let paper = Paper::new();
    paper.world().ports.insert(7, "tap7".into());
    for (old, new) in [("a", "b"), ("b", "a")] {
        let mut host = host_with(&paper, 1);
        host.change(&[put_client(old, 7)]);
        assert!(paper.has("in_port=7"));
        host.change(&[Change::DelClient(old.into()), put_client(new, 7)]);
        assert!(paper.has("in_port=7"));
        host.resync();
        assert_eq!(host.switch.status().repairs, 0);
        host.change(&[Change::DelClient(new.into())]);
        assert!(!paper.has("in_port=7"));
        assert!(host.switch.owners.is_empty());
        host.assert_in_sync();
    }
}

/// Prefixes that share two ways, so many that they take several bundles.
#[test]
fn prefixes_never_point_to_a_set_of_hops_that_is_not_there() {
    let hop = |n| Hop::Remote { vtep: vtep(n), vni: vni(50), router_mac: host_mac(n.into()) };
    let prefixes = |hops: &[Hop]| -> Vec<Change> {
        let net = |n: u8| IpNet::new([10, 7, n, 0].into(), 24).unwrap();
        (0..60).map(|n| Change::PutPrefix(vni(50), net(n), hops.to_vec())).collect()
    };
    let paper = Paper::new();
    let mut host = host_with(&paper, 1);
    host.switch.bundle_lines = 25;
    let set = |line: &str| line.split("->reg3").next().unwrap().rsplit(':').next().unwrap().to_owned();
    for hops in [[hop(2), hop(3)], [hop(2), hop(4)]] {
        let mut changes = vec![Change::PutVrf(Vrf { vni: vni(50), router_mac: host_mac(9) })];
        changes.extend(prefixes(&hops));
        for change in &changes {
            host.switch.change(change);
        }
        let before = paper.bundles();
        while host.switch.deadline() <= host.now {
            host.switch.handle(host.now, &mut Vec::new());
            let lines = paper.lines();
            let sets: BTreeSet<String> =
                lines.iter().filter(|l| l.contains("->reg3")).map(|l| set(l)).collect();
            for set in sets {
                let there =
                    lines.iter().any(|l| l.contains("table=45") && l.contains(&format!("reg3={set}")));
                assert!(there, "{set} {lines:#?}");
            }
        }
        assert!(paper.bundles() >= before + 3, "{}", paper.bundles() - before);
        host.assert_in_sync();
    }
}

#[test]
fn a_dry_run_shows_everything_and_does_nothing() {
    let paper = Paper::new();
    let mut switch = Switch::with_tools(config(), Box::new(paper.clone()));
    let mut out = Vec::new();
    for change in [put_vni(10), put_mac(1, 2), put_client("vm7", 7)] {
        switch.change(&change);
    }
    let steps = switch.dry_run(&mut out).unwrap();
    assert!(steps[0].what.starts_with("ovs-vsctl --may-exist add-br br-x"), "{steps:?}");
    assert!(steps[1].what.starts_with("ovs-vsctl add-port br-x vxlan-evpn"), "{steps:?}");
    assert!(steps[..2].iter().all(|step| step.thing == Thing::Command));
    let adds = |text: &str| {
        let flow = |step: &&Step| step.thing == Thing::Flow && step.action == Action::Add;
        steps.iter().filter(flow).any(|step| step.what.starts_with("cookie=") && step.what.contains(text))
    };
    assert!(adds("dl_dst=02:00:00:00:00:01"), "{steps:?}");
    assert!(adds("in_port=65278"), "as if the VXLAN port were there: {steps:?}");
    assert!(out.iter().any(|o| matches!(o, Output::Local(local) if is_down(local, "vm7"))), "{out:?}");
    assert!(paper.world().steps.is_empty() && paper.bundles() == 0);

    drop(host_with(&paper, 3));
    paper.world().ports.insert(7, "tap7".into());
    let mut switch = Switch::with_tools(config(), Box::new(paper.clone()));
    for change in
        [put_vni(10), put_mac(1, 3), put_mac(2, 2), put_mac(9, 2), put_client("vm7", 7), Change::Settled]
    {
        switch.change(&change);
    }
    let (bundles, mut out) = (paper.bundles(), Vec::new());
    let steps = switch.dry_run(&mut out).unwrap();
    for action in [Action::Remove, Action::Change] {
        let with =
            steps.iter().filter(|step| step.action == action && step.what.contains("dl_dst=02:00:00:00:"));
        assert_eq!(with.count(), 1, "{steps:#?}");
    }
    assert!(out.contains(&Output::Local(up("vm7", "tap7"))));
    assert_eq!(paper.bundles(), bundles);

    paper.world().db = false;
    assert!(switch.dry_run(&mut out).is_err());
}

#[test]
fn it_leaves_everything_or_nothing() {
    let paper = Paper::new();
    let host = host_with(&paper, 10);
    let before = paper.lines();
    assert!(Box::new(host.switch).shutdown(false).is_empty());
    assert_eq!(paper.lines(), before);
    let host = host_with(&paper, 10);
    paper.put(" cookie=0x5, table=30, priority=7,reg0=0x64 actions=drop");
    // A port of somebody else, as far as this database of paper goes: the bridge stays.
    assert!(Box::new(host.switch).shutdown(true).is_empty());
    assert!(!paper.world().bridge, "it was ours, and empty");
    assert!(Box::new(Host::new(&paper, &[]).switch).shutdown(true).is_empty());
    let host = host_with(&paper, 1);
    paper.world().db = false;
    assert_eq!(Box::new(host.switch).shutdown(true).len(), 1);
}

#[test]
fn names_that_no_device_can_have_are_refused() {
    for name in ["", "-x", "a b", "a/b", "0123456789abcdef", "a,b"] {
        assert!(Switch::open(OvsConfig { bridge: name.into(), ..config() }).is_err(), "{name}");
    }
    assert!(Switch::open(config()).is_ok());
}
