//! The engine against a real Open vSwitch: making and adopting, repair, and everything that can go away.

use std::time::{Duration, Instant};

use dataplane::intent::{Change, ClientState, Flood, L2Vni, Local, RemoteMac, Service};
use dataplane::ovs::{OvsConfig, Switch};
use dataplane::reconciler::{Event, Output, Status};
use dataplane::rows::Key;
use dataplane::{Dataplane, Standing};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use types::Time;

use crate::harness::{BRIDGE, PATIENCE, Vswitch, client, clock, config, in_namespace, mac, sh, vni};

const REMOTE: &str = "02:00:00:00:00:09";

/// An engine, and the time it is told.
pub(crate) struct Engine {
    switch: Switch,
    start: Instant,
    locals: Vec<Local>,
    events: Vec<Event>,
}

fn here(config: OvsConfig) -> OvsConfig {
    OvsConfig { db: Some("unix:/run/ovs/db.sock".into()), rundir: Some("/run/ovs".into()), ..config }
}

impl Engine {
    pub(crate) fn new(changes: &[Change]) -> Self {
        Self::with(config(), changes)
    }

    fn with(config: OvsConfig, changes: &[Change]) -> Self {
        let switch = Switch::open(here(config)).expect("names");
        let mut engine = Self { switch, start: clock(), locals: Vec::new(), events: Vec::new() };
        engine.change(changes);
        engine
    }

    fn now(&self) -> Time {
        Time::ZERO + Duration::from_micros(1) + self.start.elapsed()
    }

    /// Works until there is nothing left to do now.
    fn work(&mut self) {
        let until = clock() + PATIENCE;
        loop {
            let now = self.now();
            let mut out = Vec::new();
            self.switch.handle(now, &mut out);
            for output in out {
                match output {
                    Output::Local(local) => self.locals.push(local),
                    Output::Event(event) => self.events.push(event),
                }
            }
            if self.switch.deadline() > now {
                return;
            }
            assert!(clock() < until, "never done: {:?}", self.switch);
        }
    }

    pub(crate) fn change(&mut self, changes: &[Change]) {
        for change in changes {
            self.switch.change(change);
        }
        self.work();
    }

    pub(crate) fn resync(&mut self) {
        self.switch.resync();
        self.work();
    }

    /// Works, and sleeps as the dataplane thread does, until this holds.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let until = clock() + PATIENCE;
        loop {
            self.work();
            if done(self) {
                return;
            }
            let last = self.locals.len().saturating_sub(10);
            assert!(
                clock() < until,
                "in vain: {what}\n{:?}\n{:?}\n{:?}",
                self.switch,
                &self.locals[last..],
                self.texts()
            );
            let wait = self.switch.deadline().since(self.now()).min(Duration::from_millis(50));
            let mut fds = Vec::new();
            self.switch.event_fds(&mut fds);
            let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            let _ = poll(&mut fds, Timespec::try_from(wait).ok().as_ref());
        }
    }

    fn hears(&mut self, what: &Local) {
        self.until(&format!("{what:?}"), |engine| engine.locals.contains(what));
    }

    fn hears_down(&mut self, client: &str) {
        self.until("down", |engine| {
            let down = |local: &Local| matches!(local, Local::Client { name, state: ClientState::Down { .. } } if **name == *client);
            engine.locals.iter().any(down)
        });
    }

    pub(crate) fn in_sync(&mut self) {
        self.until("in sync", |engine| engine.status().in_sync);
        let status = self.status();
        assert_eq!(status.desired, status.installed, "{status:?}");
    }

    pub(crate) fn status(&self) -> Status {
        self.switch.status()
    }

    fn texts(&self) -> Vec<String> {
        self.events.iter().map(ToString::to_string).collect()
    }

    fn says(&mut self, part: &str) {
        self.until(part, |engine| engine.texts().iter().any(|text| text.contains(part)));
    }
}

pub(crate) fn put_vni() -> Change {
    Change::PutVni(L2Vni {
        vni: vni(10),
        vtep: config().vtep,
        port: 4789,
        interfaces: vec![],
        arp_suppression: true,
        vlan: None,
    })
}

fn put_mac(m: &str) -> Change {
    Change::PutMac(vni(10), mac(m), RemoteMac { vtep: [192, 0, 2, 2].into(), vni: vni(10), sticky: false })
}

fn put_flood() -> Change {
    Change::PutFlood(vni(10), [192, 0, 2, 2].into(), Flood { vni: vni(10) })
}

fn put_client(port: u16) -> Change {
    let service = Service::L2 { vni: vni(10), ips: vec![[10, 0, 0, 7].into()] };
    Change::PutClient(client("vm7", port, None, "02:00:00:00:00:07", service))
}

fn up(port: &str) -> Local {
    Local::Client { name: "vm7".into(), state: ClientState::Up { interface: port.into() } }
}

fn all() -> Vec<Change> {
    vec![put_vni(), put_flood(), put_mac(REMOTE), put_client(7), Change::Settled]
}

fn has(ovs: &Vswitch, part: &str) -> bool {
    ovs.dump().iter().any(|flow| flow.to_string().contains(part))
}

fn texts(ovs: &Vswitch) -> Vec<String> {
    ovs.dump().iter().map(ToString::to_string).collect()
}

#[test]
fn it_makes_what_is_missing_and_removes_what_it_made() {
    in_namespace("engine::it_makes_what_is_missing_and_removes_what_it_made", || {
        let ovs = Vswitch::bare();
        let mut engine = Engine::new(&all());
        engine.in_sync();
        assert!(engine.locals.contains(&Local::VniReady(vni(10), true)));
        engine.hears_down("vm7");
        assert_eq!(ovs.vsctl(&format!("get-fail-mode {BRIDGE}")).trim(), "secure");
        assert_eq!(ovs.vsctl("get interface vxlan-evpn ofport").trim(), "65278");
        assert!(has(&ovs, &format!("dl_dst={REMOTE}")));

        // Its port comes later, with the number the client's file names.
        ovs.add_port("tap7", 7);
        engine.hears(&up("tap7"));
        engine.in_sync();
        assert!(has(&ovs, "in_port=7"));
        let key = Key::Mac(vni(10), mac(REMOTE));
        let Standing { wanted, installed } = engine.switch.standing(&key);
        assert!(wanted.is_some() && wanted == installed, "{wanted:?} {installed:?}");
        // And goes.
        engine.locals.clear();
        ovs.vsctl(&format!("del-port {BRIDGE} tap7"));
        engine.hears_down("vm7");
        engine.in_sync();
        assert!(!has(&ovs, "in_port=7"));

        // With somebody else's port and flow on it the bridge stays.
        sh("ip link del tap7");
        ovs.add_port("tap8", 8);
        ovs.bundle("add cookie=0x5,table=60,priority=7,reg6=0x1 actions=drop\n");
        assert_eq!(Box::new(engine.switch).shutdown(true), []);
        assert_eq!(texts(&ovs).len(), 1, "{:?}", texts(&ovs));
        assert_eq!(ovs.vsctl(&format!("list-ports {BRIDGE}")).trim(), "tap8");

        ovs.vsctl(&format!("del-port {BRIDGE} tap8"));
        let mut engine = Engine::new(&all());
        engine.in_sync();
        assert_eq!(Box::new(engine.switch).shutdown(true), []);
        assert_eq!(ovs.vsctl("list-br").trim(), "");
        assert_eq!(Box::new(Engine::new(&[]).switch).shutdown(false), []);
    });
}

#[test]
fn it_uses_what_stands() {
    in_namespace("engine::it_uses_what_stands", || {
        let ovs = Vswitch::bare();
        // As evpn-connector leaves it; the flow too.
        ovs.vsctl(&format!(
            "add-br {BRIDGE} -- set bridge {BRIDGE} datapath_type=netdev protocols=OpenFlow13 -- add-port {BRIDGE} \
             vxlan_out -- set interface vxlan_out type=vxlan options:in_key=flow options:out_key=flow \
             options:remote_ip=flow options:local_ip=192.0.2.1 options:dst_port=4789 ofport_request=65278"
        ));
        ovs.add_port("tap7", 7);
        let mut engine = Engine::new(&all());
        engine.in_sync();
        engine.hears(&up("tap7"));
        engine.says("set fail_mode of bridge br-evpn to secure");
        assert_eq!(
            ovs.vsctl(&format!("list-ports {BRIDGE}")).split_whitespace().collect::<Vec<_>>(),
            ["tap7", "vxlan_out"]
        );
        let before = texts(&ovs);
        let ages = || ovs.ofctl(&format!("--no-names dump-flows {BRIDGE}"));

        // kill -9 and start again: nothing is written, nothing is lost, before or after everything is heard again.
        drop(engine);
        let stats = ages();
        let mut engine = Engine::new(&[]);
        engine.change(&[put_vni(), put_flood()]);
        assert_eq!(texts(&ovs), before);
        engine.change(&all());
        engine.in_sync();
        assert_eq!(texts(&ovs), before);
        assert_eq!(engine.status().repairs, 0);
        let age = |dump: &str| -> Vec<f64> {
            let seconds = |l: &str| l.split("duration=").nth(1)?.split('s').next()?.parse().ok();
            dump.lines().filter_map(seconds).collect()
        };
        let (old, new) = (age(&stats), age(&ages()));
        assert_eq!(old.len(), new.len());
        assert!(old.iter().zip(&new).all(|(old, new)| old <= new), "none was written again: {old:?} {new:?}");

        // Ours go; the bridge and the port were there before us.
        assert_eq!(Box::new(engine.switch).shutdown(true), []);
        assert_eq!(texts(&ovs), [""; 0]);
        assert!(ovs.vsctl(&format!("list-ports {BRIDGE}")).contains("vxlan_out"));
    });
}

#[test]
fn flows_are_put_right_and_those_of_others_left_alone() {
    in_namespace("engine::flows_are_put_right_and_those_of_others_left_alone", || {
        let ovs = Vswitch::bare();
        let mut engine = Engine::new(&all());
        ovs.add_port("tap7", 7);
        engine.hears(&up("tap7"));
        engine.in_sync();
        let before = texts(&ovs);
        let place = format!("table=30,priority=100,reg0=0xa,dl_dst={REMOTE}");
        ovs.bundle(&format!(
            "delete_strict {place}\nadd cookie=0x657670640000000a,table=60,priority=10,reg6=0x70000 actions=drop\n\
             add cookie=0x6576706400000063,table=30,priority=7,reg0=0x63 actions=drop\n"
        ));
        assert_ne!(texts(&ovs), before);
        engine.resync();
        assert_eq!(texts(&ovs), before, "{:?}", engine.texts());
        assert_eq!(engine.status().repairs, 2, "{:?}", engine.texts());
        engine.says("put right 2 flows that someone else changed");

        // Somebody else's flow in the place of one of ours is his.
        ovs.bundle(&format!("delete_strict {place}\nadd cookie=0x5,{place} actions=drop\n"));
        engine.resync();
        engine.says("somebody else's flow with the same match stands there");
        assert!(has(
            &ovs,
            &format!("cookie=0x5, table=30, priority=100,reg0=0xa,dl_dst={REMOTE} actions=drop")
        ));
        assert!(!engine.status().in_sync);
        ovs.ofctl(&format!("--strict del-flows {BRIDGE} {place}"));
        engine.resync();
        engine.in_sync();
        assert_eq!(texts(&ovs), before);
    });
}

#[test]
fn ovs_vswitchd_and_ovsdb_server_may_die() {
    in_namespace("engine::ovs_vswitchd_and_ovsdb_server_may_die", || {
        let ovs = Vswitch::bare();
        ovs.vsctl(&format!("add-br {BRIDGE} -- set bridge {BRIDGE} datapath_type=netdev"));
        ovs.add_port("tap7", 7);
        let mut engine = Engine::new(&all());
        engine.hears(&up("tap7"));
        engine.in_sync();
        let before = texts(&ovs);
        engine.locals.clear();

        ovs.kill("ovs-vswitchd");
        engine.says("ovs-vswitchd stopped, or the bridge was removed");
        engine.change(&[put_mac("02:00:00:00:00:0a")]);
        engine.says("ovs-vswitchd does not serve bridge br-evpn: is it running?");
        assert!(!engine.status().in_sync);
        assert_eq!(engine.locals, [], "nothing is said of what cannot be seen");
        ovs.start_vswitchd();
        engine.in_sync();
        assert_eq!(engine.locals, [], "and nobody noticed");
        engine.change(&[Change::DelMac(vni(10), mac("02:00:00:00:00:0a"))]);
        assert_eq!(texts(&ovs), before);

        // Without its database ovs-vswitchd forwards, but does not answer.
        ovs.kill("ovsdb-server");
        engine.change(&[put_mac("02:00:00:00:00:0b")]);
        engine.says("ovs-vswitchd did not answer within 5 s");
        engine.says("ovsdb-server is not running");
        assert!(!engine.status().in_sync);
        ovs.start_ovsdb();
        engine.in_sync();
        assert!(has(&ovs, "dl_dst=02:00:00:00:00:0b"));
        assert_eq!(engine.locals, []);

        // Both at once, as a restart of the service.
        ovs.kill("ovs-vswitchd");
        ovs.kill("ovsdb-server");
        engine.until("down", |engine| !engine.status().in_sync);
        ovs.start_ovsdb();
        ovs.start_vswitchd();
        engine.in_sync();
        assert!(has(&ovs, "dl_dst=02:00:00:00:00:0b"));
        assert_eq!(engine.locals, []);
    });
}

#[test]
fn bridge_and_vxlan_port_are_made_again() {
    in_namespace("engine::bridge_and_vxlan_port_are_made_again", || {
        let ovs = Vswitch::bare();
        let mut engine = Engine::new(&all());
        ovs.add_port("tap7", 7);
        engine.hears(&up("tap7"));
        engine.in_sync();
        let before = texts(&ovs);

        ovs.vsctl(&format!("del-port {BRIDGE} vxlan-evpn"));
        engine.until("VXLAN port", |_| ovs.vsctl(&format!("list-ports {BRIDGE}")).contains("vxlan-evpn"));
        engine.in_sync();
        assert_eq!(texts(&ovs), before);

        engine.locals.clear();
        ovs.vsctl(&format!("del-br {BRIDGE}"));
        engine.hears_down("vm7");
        engine.in_sync();
        assert!(has(&ovs, &format!("dl_dst={REMOTE}")) && !has(&ovs, "in_port=7"));
        ovs.vsctl(&format!("add-port {BRIDGE} tap7 -- set interface tap7 ofport_request=7"));
        engine.hears(&up("tap7"));
        engine.in_sync();
        assert_eq!(texts(&ovs), before);
    });
}

#[test]
fn each_thing_that_is_wrong_is_one_clear_line() {
    in_namespace("engine::each_thing_that_is_wrong_is_one_clear_line", || {
        // Nothing runs at all; later it does.
        let mut engine = Engine::new(&all());
        assert_eq!(engine.texts().len(), 1, "{:?}", engine.texts());
        engine.says("ovsdb-server is not running (unix:/run/ovs/db.sock: database connection failed");
        let ovs = Vswitch::bare();
        engine.in_sync();
        engine.says("Open vSwitch is there");
        drop(engine);
        ovs.vsctl(&format!("del-br {BRIDGE}"));

        // Not installed.
        let mut engine =
            Engine::with(OvsConfig { vsctl: "/nonexistent/ovs-vsctl".into(), ..config() }, &all());
        engine.says("/nonexistent/ovs-vsctl is not installed: install Open vSwitch");

        // No kernel module.
        let system = dataplane::ovs::Datapath::System;
        let mut engine = Engine::with(OvsConfig { datapath: system, ..config() }, &all());
        engine.says("this Open vSwitch has no system datapath, only netdev: load the kernel module");

        // A bridge that speaks something else; once it is allowed, all is well.
        ovs.vsctl(&format!(
            "add-br {BRIDGE} -- set bridge {BRIDGE} datapath_type=netdev protocols=OpenFlow10"
        ));
        let mut engine = Engine::new(&all());
        engine.says("ovs-vsctl add bridge br-evpn protocols OpenFlow13");
        ovs.vsctl(&format!("add bridge {BRIDGE} protocols OpenFlow13"));
        engine.in_sync();
        drop(engine);

        // The VXLAN port is somebody else's, somewhere else.
        ovs.vsctl(&format!("del-port {BRIDGE} vxlan-evpn"));
        ovs.vsctl(
            "add-br br-old -- set bridge br-old datapath_type=netdev -- add-port br-old vx -- set interface vx \
             type=vxlan options:key=flow options:remote_ip=flow options:local_ip=192.0.2.1",
        );
        let mut engine = Engine::new(&all());
        engine.says("port vx on bridge br-old has this VTEP and UDP port already: remove it (ovs-vsctl del-port br-old vx)");
        ovs.vsctl("del-port br-old vx");
        engine.in_sync();
    });
}

#[test]
fn without_ovs_vswitchd_everything_is_written_down_and_waits() {
    in_namespace("engine::without_ovs_vswitchd_everything_is_written_down_and_waits", || {
        let ovs = Vswitch::bare();
        // Waits until it runs.
        ovs.vsctl("add-br br-other -- set bridge br-other datapath_type=netdev");
        ovs.kill("ovs-vswitchd");
        let mut engine = Engine::new(&all());
        engine.says("ovs-vswitchd does not answer: is it running? (systemctl status openvswitch-switch)");
        engine.says("ovs-vswitchd does not serve bridge br-evpn: is it running?");
        engine.change(&[put_mac("02:00:00:00:00:0a")]);
        assert_eq!(engine.locals, []);
        ovs.start_vswitchd();
        engine.in_sync();
        assert!(has(&ovs, "dl_dst=02:00:00:00:00:0a"));
        engine.hears_down("vm7");
    });
}

#[test]
fn a_port_that_cannot_be_opened_is_no_port() {
    in_namespace("engine::a_port_that_cannot_be_opened_is_no_port", || {
        let ovs = Vswitch::bare();
        let mut engine = Engine::new(&all());
        engine.in_sync();
        engine.hears_down("vm7");
        // In the database, but there is no such device.
        sh(&format!(
            "ovs-vsctl --no-wait --db={} add-port {BRIDGE} tap7 -- set interface tap7 ofport_request=7",
            ovs.db()
        ));
        engine.locals.clear();
        engine.resync();
        assert_eq!(engine.locals, []);
        sh("ip link add tap7 type veth peer name tap7-peer && ip link set tap7 up");
        engine.hears(&up("tap7"));
        engine.in_sync();
    });
}
