//! A network namespace with an Open vSwitch in it for each test.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dataplane::intent::{Change, Client, Local, Port, Service};
use dataplane::ovs::flow::{Flow, parse_dump_line};
use dataplane::ovs::pipeline::{Pipeline, Unit};
use dataplane::ovs::{Datapath, OvsConfig};
use types::{MacAddr, Vni};

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The bridge.
pub(crate) const BRIDGE: &str = "br-evpn";
/// The OpenFlow port of its tunnel.
pub(crate) const TUNNEL: u16 = 100;

/// Runs the body of the test of that name in namespaces of its own.
pub(crate) fn in_namespace(test: &str, body: impl FnOnce()) {
    // Its own /proc too, so that `ps` sees the processes of this test alone.
    let prepare = || {
        sh("mount -t tmpfs tmpfs /run && mount -t proc proc /proc && ip link set lo up");
    };
    crate::common::in_namespace(test, prepare, body);
}

fn run(command: &mut Command, input: Option<&str>) -> Result<String, String> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{command:?}: {e} (openvswitch-switch and iproute2 are needed)"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes()).map_err(|e| e.to_string())?;
    }
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("{command:?}\n{text}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// Runs a shell command that has to succeed; its output.
pub(crate) fn sh(command: &str) -> String {
    run(Command::new("sh").args(["-c", command]), None).unwrap_or_else(|e| panic!("{e}"))
}

pub(crate) fn vni(n: u32) -> Vni {
    Vni::new(n).unwrap()
}

pub(crate) fn mac(text: &str) -> MacAddr {
    text.parse().unwrap()
}

pub(crate) fn config() -> OvsConfig {
    OvsConfig { datapath: Datapath::Netdev, ..OvsConfig::new(BRIDGE, [192, 0, 2, 1].into()) }
}

pub(crate) fn client(name: &str, port: u16, vlan: Option<u16>, m: &str, service: Service) -> Client {
    Client { name: name.into(), port: Port::Number(port), vlan, mac: mac(m), anti_spoof: true, service }
}

/// An ovsdb-server and an ovs-vswitchd, with a bridge and its tunnel.
pub(crate) struct Vswitch {
    dir: PathBuf,
}

impl Vswitch {
    /// With a bridge and its tunnel.
    pub(crate) fn start() -> Self {
        let switch = Self::bare();
        switch.vsctl(&format!(
            "add-br {BRIDGE} -- set bridge {BRIDGE} datapath_type=netdev fail-mode=secure protocols=OpenFlow13 \
             -- add-port {BRIDGE} vxlan-evpn -- set interface vxlan-evpn type=vxlan options:local_ip=192.0.2.1 \
             options:remote_ip=flow options:key=flow ofport_request={TUNNEL}"
        ));
        switch
    }

    /// Without any bridge.
    pub(crate) fn bare() -> Self {
        let dir = PathBuf::from("/run/ovs");
        std::fs::create_dir(&dir).expect("a fresh /run");
        let switch = Self { dir };
        let conf = switch.path("conf.db");
        switch.tool("ovsdb-tool").run(&["create", &conf, "/usr/share/openvswitch/vswitch.ovsschema"]);
        switch.start_ovsdb();
        switch.vsctl("--no-wait init");
        switch.start_vswitchd();
        switch
    }

    pub(crate) fn start_ovsdb(&self) {
        let (conf, socket) = (self.path("conf.db"), self.path("db.sock"));
        self.daemon("ovsdb-server", &[&conf, &format!("--remote=punix:{socket}")]);
        until("ovsdb-server listens", || Path::new(&socket).exists());
    }

    pub(crate) fn start_vswitchd(&self) {
        self.daemon("ovs-vswitchd", &[&self.db(), "--disable-system"]);
    }

    /// Kills a daemon of ours, as a crash would.
    pub(crate) fn kill(&self, program: &str) {
        let pidfile = self.path(&format!("{program}.pid"));
        sh(&format!("kill -9 $(cat {pidfile}) && rm -f {pidfile}"));
    }

    /// Where the database is.
    pub(crate) fn db(&self) -> String {
        format!("unix:{}", self.path("db.sock"))
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for name in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
            command.env(name, &self.dir);
        }
        command
    }

    fn tool(&self, program: &str) -> Tool {
        Tool(self.command(program))
    }

    /// Ends with the process namespace.
    #[allow(clippy::zombie_processes, reason = "the process namespace ends before this process could wait")]
    fn daemon(&self, program: &str, args: &[&str]) {
        let log = std::fs::File::create(self.dir.join(program).with_extension("log")).expect("a log");
        let pidfile = format!("--pidfile={}", self.path(&format!("{program}.pid")));
        self.command(program)
            .args(args)
            .arg(pidfile)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("openvswitch-switch is needed");
    }

    pub(crate) fn vsctl(&self, words: &str) -> String {
        let db = format!("--db={}", self.db());
        let mut args = vec![db.as_str(), "--timeout=30"];
        args.extend(words.split(' '));
        self.tool("ovs-vsctl").run(&args)
    }

    pub(crate) fn ofctl(&self, words: &str) -> String {
        self.ofctl_with(words, None)
    }

    fn ofctl_with(&self, words: &str, input: Option<&str>) -> String {
        let mut args = vec!["-O", "OpenFlow13"];
        args.extend(words.split(' '));
        run(self.tool("ovs-ofctl").0.args(args), input).unwrap_or_else(|e| panic!("{e}"))
    }

    pub(crate) fn appctl(&self, args: &[&str]) -> String {
        self.tool("ovs-appctl").run(args)
    }

    /// A bundle, in `add-flows`' words: all of it or nothing.
    pub(crate) fn bundle(&self, lines: &str) {
        self.ofctl_with(&format!("--bundle add-flows {BRIDGE} -"), Some(lines));
    }

    /// A port with a veth behind it.
    pub(crate) fn add_port(&self, name: &str, number: u16) {
        sh(&format!("ip link add {name} type veth peer name {name}-peer && ip link set {name} up"));
        sh(&format!("ip link set {name}-peer up"));
        self.vsctl(&format!("add-port {BRIDGE} {name} -- set interface {name} ofport_request={number}"));
    }

    /// How many flows stand.
    pub(crate) fn count_flows(&self) -> u64 {
        let text = self.ofctl(&format!("dump-aggregate {BRIDGE}"));
        let count = text.split("flow_count=").nth(1).and_then(|n| n.trim().parse().ok());
        count.unwrap_or_else(|| panic!("{text}"))
    }

    /// What stands, as a dump shows it, sorted.
    pub(crate) fn dump(&self) -> Vec<Flow> {
        let text = self.ofctl(&format!("--no-names --no-stats dump-flows {BRIDGE}"));
        let mut flows: Vec<Flow> =
            text.lines().map(|line| parse_dump_line(line).expect(line).to_flow()).collect();
        sort(&mut flows);
        flows
    }
}

struct Tool(Command);

impl Tool {
    fn run(mut self, args: &[&str]) -> String {
        run(self.0.args(args), None).unwrap_or_else(|e| panic!("{e}"))
    }
}

pub(crate) fn sort(flows: &mut [Flow]) {
    flows.sort_by(|a, b| (a.table, a.priority, &a.matches).cmp(&(b.table, b.priority, &b.matches)));
}

#[allow(clippy::disallowed_methods, reason = "a test has to give up some time")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let until = clock() + PATIENCE;
    while !done() {
        assert!(clock() < until, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A pipeline, and the switch that is told what it says.
pub(crate) struct Node {
    pub(crate) switch: Vswitch,
    pub(crate) pipeline: Pipeline,
    ports: Vec<(u16, String)>,
    standing: Vec<Flow>,
}

impl Node {
    pub(crate) fn new(ports: &[u16]) -> Self {
        let switch = Vswitch::start();
        let mut ports: Vec<(u16, String)> = ports.iter().map(|n| (*n, format!("port{n}"))).collect();
        for (number, name) in &ports {
            switch.add_port(name, *number);
        }
        ports.push((TUNNEL, "vxlan-evpn".to_owned()));
        let mut node = Self { switch, pipeline: Pipeline::new(&config()), ports, standing: Vec::new() };
        let named = node.ports.iter().map(|(number, name)| (*number, name.as_str()));
        node.pipeline.set_ports(named, Some(TUNNEL), &mut Vec::<Unit>::new(), &mut Vec::<Local>::new());
        node
    }

    pub(crate) fn change(&mut self, changes: &[Change]) {
        for change in changes {
            self.pipeline.change(change, &mut Vec::<Unit>::new(), &mut Vec::<Local>::new());
        }
    }

    /// All flows there should be, sorted.
    pub(crate) fn rendered(&self) -> Vec<Flow> {
        let mut flows = Vec::new();
        for unit in self.pipeline.units() {
            self.pipeline.render(&unit, &mut flows);
        }
        sort(&mut flows);
        flows
    }

    /// Makes the switch do what the pipeline says now.
    pub(crate) fn apply(&mut self) {
        let wanted = self.rendered();
        let mut lines = String::new();
        for gone in self.standing.iter().filter(|old| wanted.iter().all(|new| new.id() != old.id())) {
            gone.write_delete(&mut lines);
        }
        for flow in &wanted {
            flow.write_add(&mut lines);
        }
        self.switch.bundle(&lines);
        self.standing = wanted;
    }

    /// What becomes of a packet: the trace, and what the datapath is told.
    pub(crate) fn trace(&self, packet: &str) -> Trace {
        // A protocol has to be named before its fields.
        let mut fields: Vec<&str> = packet.split(',').collect();
        fields.sort_by_key(|field| field.contains('='));
        Trace(self.switch.appctl(&["ofproto/trace", BRIDGE, &fields.join(",")]))
    }
}

/// What `ofproto/trace` says.
pub(crate) struct Trace(String);

impl Trace {
    /// Each copy that leaves, in order: `port 6 vlan 100`, `192.0.2.2 vni 11`.
    pub(crate) fn copies(&self) -> Vec<String> {
        let (mut vlan, mut tun_id, mut tun_dst) = (None, 0, "nowhere");
        let mut copies = Vec::new();
        let steps = self.0.split("Final flow:").next().unwrap_or_default();
        for step in steps.lines().map(str::trim) {
            if step == "pop_vlan" {
                vlan = None;
            } else if let Some((value, field)) =
                step.strip_prefix("set_field:").and_then(|s| s.split_once("->"))
            {
                match field {
                    "vlan_vid" => vlan = Some(value.parse::<u16>().expect(step) - 0x1000),
                    "tun_id" => tun_id = u32::from_str_radix(&value[2..], 16).expect(step),
                    "tun_dst" => tun_dst = value,
                    _ => (),
                }
            } else if let Some(port) = step.strip_prefix("output:") {
                copies.push(match vlan {
                    _ if port == TUNNEL.to_string() => format!("{tun_dst} vni {tun_id}"),
                    Some(vlan) => format!("port {port} vlan {vlan}"),
                    None => format!("port {port}"),
                });
            }
        }
        copies
    }

    /// Is the packet so in the end?
    pub(crate) fn ends_with(&self, fields: &str) -> bool {
        let end = self.0.lines().find_map(|line| line.strip_prefix("Final flow: ")).unwrap_or_default();
        let end: Vec<&str> = end.split(',').collect();
        fields.split(',').all(|field| end.contains(&field))
    }
}

impl std::fmt::Display for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
