//! Open vSwitch in a node: an ovsdb-server and an ovs-vswitchd of its own, with the userspace datapath, which needs no
//! kernel module and no root outside its namespaces, or with the kernel's (see [`system_datapath`]).
//!
//! - All files are in the node's own `/run/openvswitch`, where the tools and evpnd look by default; nothing of the
//!   system's Open vSwitch is touched.
//! - With the kernel's datapath the underlay is the kernel's, and the next two are of no concern.
//! - The underlay interface is a port of the bridge `br-phy`, which bears the VTEP's address: that is how the userspace
//!   datapath finds the way for VXLAN packets. A packet towards a VTEP whose MAC is not known yet is lost;
//!   [`Ovs::warm`] makes it known.
//! - The userspace datapath reads packets as they are: the far end of each veth must not leave checksums to the device.
//! - Many kernels in which tests run have no VLAN devices: clients with a VLAN are behind a switch of their own
//!   ([`Ovs::trunk`]), as VMs may be.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::net::{Lab, Switch, up};
use super::node::{Node, run};
use super::world::find;
use super::{Error, Result, until};

/// The bridge that evpnd looks after by default.
pub const BRIDGE: &str = "br-evpn";
/// The bridge with the underlay interface and the VTEP's address.
pub const UNDERLAY: &str = "br-phy";

const DIR: &str = "/run/openvswitch";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const DB: &str = "ovsdb-server";
const SWITCHD: &str = "ovs-vswitchd";
/// Both are there within a third of a second; this is for a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(20);

static MARK: AtomicUsize = AtomicUsize::new(0);

/// The environment variable that chooses the datapath: `system` is the kernel's, `netdev` the one in userspace.
const DATAPATH: &str = "EVPND_LAB_DATAPATH";

/// Whether Open vSwitch forwards in the kernel, as it does in production: where `EVPND_LAB_DATAPATH` is `system`. That
/// takes the module `openvswitch`, which many kernels in which tests run have not got.
pub fn system_datapath() -> bool {
    std::env::var_os(DATAPATH).is_some_and(|datapath| datapath == "system")
}

/// The name of the datapath in Open vSwitch's database and evpnd's configuration.
pub fn datapath() -> &'static str {
    if system_datapath() { "system" } else { "netdev" }
}

/// The Open vSwitch of a node.
#[derive(Clone, Debug)]
pub struct Ovs {
    node: Node,
}

/// Where an endpoint is plugged in.
#[derive(Clone, Copy, Debug)]
pub enum Plug<'a> {
    /// A port of [`BRIDGE`] with this OpenFlow number.
    Port(u16),
    /// Behind the trunk of this name, in this VLAN; 0: untagged.
    Trunk(&'a str, u16),
}

impl Node {
    /// Plugs the host into a switch and starts its Open vSwitch. With the userspace datapath `eth0` is a port of
    /// [`UNDERLAY`], which has these addresses.
    pub fn underlay_ovs(self, switch: &Switch, addresses: &[&str]) -> Result<Self> {
        if system_datapath() {
            let node = self.underlay(switch, addresses)?;
            node.ovs().create()?;
            return Ok(node);
        }
        let node = self.underlay(switch, &[])?;
        // Its far end is a port of the switch.
        let port = format!("{}-eth0", node.name());
        run(switch.world().enter(1).args(["ethtool", "-K", &port, "tx", "off"]))?;
        let ovs = node.ovs();
        ovs.create()?;
        ovs.add_bridge(UNDERLAY, "standalone")?;
        ovs.vsctl(&["add-port", UNDERLAY, "eth0"])?;
        // The same MAC after each start, or others would look for the old one.
        let link = node.run(&["ip", "-br", "link", "show", "dev", "eth0"])?;
        let mac = link.split_whitespace().nth(2).unwrap_or_default();
        ovs.vsctl(&["set", "Bridge", UNDERLAY, &format!("other_config:hwaddr=\"{mac}\"")])?;
        node.sh(&up("ip", UNDERLAY, addresses))?;
        Ok(node)
    }

    /// The node's Open vSwitch.
    pub fn ovs(&self) -> Ovs {
        Ovs { node: self.clone() }
    }
}

impl Lab {
    /// A new endpoint of a host with Open vSwitch: a namespace with an `eth0` whose other end bears the endpoint's name.
    pub fn ovs_endpoint(
        &self,
        host: &Node,
        name: &str,
        plug: Plug<'_>,
        mac: &str,
        addresses: &[&str],
    ) -> Result<Node> {
        let endpoint = self.host(name)?;
        self.plug_ovs(host, &endpoint, plug, mac, addresses)?;
        Ok(endpoint)
    }

    /// Plugs an endpoint into a host, away from where it was if it was plugged in (a migration); the port it had
    /// elsewhere is for the caller to delete.
    pub fn plug_ovs(
        &self,
        host: &Node,
        endpoint: &Node,
        plug: Plug<'_>,
        mac: &str,
        addresses: &[&str],
    ) -> Result<()> {
        self.plug_endpoint(host, endpoint, mac, addresses)?;
        // The tunnel's headers have to fit in, too: Open vSwitch does not fragment.
        endpoint.sh("ethtool -K eth0 tx off; ip link set eth0 mtu 1430")?;
        let (ovs, name) = (host.ovs(), endpoint.name());
        match plug {
            Plug::Port(ofport) => ovs.add_port(BRIDGE, name, Some(ofport)),
            Plug::Trunk(trunk, tag) => {
                ovs.vsctl(&["add-port", &format!("sw-{trunk}"), name, &format!("tag={tag}")]).map(drop)
            }
        }
    }
}

impl Ovs {
    /// An empty database, and both daemons.
    fn create(&self) -> Result<()> {
        for tool in [DB, SWITCHD, "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "ovs-appctl"] {
            require(tool, "openvswitch-switch")?;
        }
        require("ethtool", "ethtool")?;
        if !Path::new(SCHEMA).is_file() {
            return Err(Error::new(format!("no {SCHEMA} (Debian package openvswitch-common)")));
        }
        let (db, socket) = (format!("{DIR}/conf.db"), format!("{DIR}/db.sock"));
        self.node.sh(&format!("mkdir {DIR} && ovsdb-tool create {db} {SCHEMA}"))?;
        self.spawn(DB, &[&db, &format!("--remote=punix:{socket}")])?;
        until(PATIENCE, || self.vsctl(&["--no-wait", "init"]))?;
        // One thread each: many nodes share few cores.
        let threads = ["other_config:n-handler-threads=1", "other_config:n-revalidator-threads=1"];
        self.vsctl(&[&["--no-wait", "set", "Open_vSwitch", "."][..], &threads].concat())?;
        let kernel = if system_datapath() { &[][..] } else { &["--disable-system"] };
        self.spawn(SWITCHD, &[kernel, &[&format!("unix:{socket}")]].concat())?;
        self.ready()
    }

    fn spawn(&self, name: &str, args: &[&str]) -> Result<()> {
        let (dir, pid) = (format!("OVS_RUNDIR={DIR}"), format!("--pidfile={DIR}/{name}.pid"));
        let control = format!("--unixctl={DIR}/{name}.ctl");
        let argv = [&["env", &dir, name][..], args, &[&pid, &control, "-vconsole:warn"]].concat();
        self.node.spawn(name, &argv)
    }

    /// Waits until ovs-vswitchd has done what the database says.
    fn ready(&self) -> Result<()> {
        until(PATIENCE, || {
            if !self.node.running(SWITCHD) {
                return Err(Error::last(format!(
                    "{}: {SWITCHD} ended:\n{}",
                    self.node.name(),
                    self.node.log(SWITCHD)
                )));
            }
            // Waits for ovs-vswitchd when it changes something: a number that was not there before.
            let mark = format!("external_ids:lab={}", MARK.fetch_add(1, Ordering::Relaxed));
            self.vsctl(&["set", "Open_vSwitch", ".", &mark]).map(drop)
        })
    }

    fn tool(&self, name: &str, args: &[&str]) -> Result<String> {
        let dir = format!("OVS_RUNDIR={DIR}");
        self.node.run(&[&["env", &dir, "timeout", "20", name][..], args].concat())
    }

    /// Runs `ovs-vsctl ARGS`.
    pub fn vsctl(&self, args: &[&str]) -> Result<String> {
        self.tool("ovs-vsctl", &[&["--timeout=10"][..], args].concat())
    }

    /// Runs `ovs-ofctl -O OpenFlow13 ARGS`.
    pub fn ofctl(&self, args: &[&str]) -> Result<String> {
        self.tool("ovs-ofctl", &[&["-O", "OpenFlow13"][..], args].concat())
    }

    /// Runs `ovs-appctl ARGS` with ovs-vswitchd.
    pub fn appctl(&self, args: &[&str]) -> Result<String> {
        let target = format!("{DIR}/{SWITCHD}.ctl");
        self.tool("ovs-appctl", &[&["-t", &target][..], args].concat())
    }

    /// The flows of [`BRIDGE`] without their counters, sorted.
    pub fn flows(&self) -> Result<Vec<String>> {
        let text = self.ofctl(&["--no-names", "--no-stats", "dump-flows", BRIDGE])?;
        let mut flows: Vec<String> =
            text.lines().map(str::trim).filter(|line| line.contains("actions=")).map(str::to_owned).collect();
        flows.sort();
        Ok(flows)
    }

    /// Makes a bridge.
    pub fn add_bridge(&self, name: &str, fail_mode: &str) -> Result<()> {
        let (kind, fail_mode) = (format!("datapath_type={}", datapath()), format!("fail_mode={fail_mode}"));
        self.vsctl(&["add-br", name, "--", "set", "Bridge", name, &kind, &fail_mode]).map(drop)
    }

    /// Makes a device a port of a bridge.
    pub fn add_port(&self, bridge: &str, device: &str, ofport: Option<u16>) -> Result<()> {
        let mut args = vec!["add-port", bridge, device];
        let ofport = ofport.map(|number| format!("ofport_request={number}"));
        args.extend(ofport.iter().flat_map(|request| ["--", "set", "Interface", device, request.as_str()]));
        self.vsctl(&args).map(drop)
    }

    /// A trunk of [`BRIDGE`]: a port with this name and number, behind which a switch of its own, `sw-NAME`, sorts
    /// packets by VLAN.
    pub fn trunk(&self, name: &str, ofport: u16) -> Result<()> {
        let (far, switch) = (format!("{name}-sw"), format!("sw-{name}"));
        self.node.sh(&format!(
            "ip link add {name} type veth peer name {far}; ip link set {name} up; ip link set {far} up
             ethtool -K {name} tx off; ethtool -K {far} tx off"
        ))?;
        self.add_bridge(&switch, "standalone")?;
        self.add_port(&switch, &far, None)?;
        self.add_port(BRIDGE, name, Some(ofport))
    }

    /// Tells the tunnels the MACs of other VTEPs, so that no packet waits for them.
    pub fn warm(&self, vteps: &[&str]) -> Result<()> {
        for vtep in vteps {
            let mac = until(PATIENCE, || {
                self.node.ping(vtep)?;
                if system_datapath() {
                    return Ok(None);
                }
                let known = self.node.run(&["ip", "neigh", "show", vtep, "dev", UNDERLAY])?;
                let mac = known.split("lladdr ").nth(1).and_then(|rest| rest.split(' ').next());
                let mac = mac.map(|mac| Some(mac.to_owned()));
                mac.ok_or_else(|| Error::new(format!("no MAC of {vtep}: {known}")))
            })?;
            if let Some(mac) = mac {
                self.appctl(&["tnl/neigh/set", UNDERLAY, vtep, &mac])?;
            }
        }
        Ok(())
    }

    /// Ends ovs-vswitchd; with it go all flows and the bridges' own devices. The kernel's datapath goes on with what it
    /// had learned.
    pub fn stop_switchd(&self, signal: &str) -> Result<()> {
        self.node.stop(SWITCHD, signal).map(drop)
    }

    /// Starts ovs-vswitchd again, with these addresses for [`UNDERLAY`].
    pub fn start_switchd(&self, addresses: &[&str]) -> Result<()> {
        self.node.restart(SWITCHD)?;
        self.ready()?;
        if system_datapath() {
            return Ok(());
        }
        self.node
            .sh(&format!("ip addr flush dev {UNDERLAY} scope global; {}", up("ip", UNDERLAY, addresses)))
            .map(drop)
    }

    /// Ends ovsdb-server. Without it ovs-vswitchd answers nobody, and its userspace datapath does not forward.
    pub fn stop_db(&self, signal: &str) -> Result<()> {
        self.node.stop(DB, signal).map(drop)
    }

    /// Starts ovsdb-server again.
    pub fn start_db(&self) -> Result<()> {
        self.node.restart(DB)?;
        self.ready()
    }

    /// What the switch is like, for a failure's report.
    pub(super) fn report(&self) -> String {
        if self.node.daemon_pid(SWITCHD).is_err() {
            return String::new();
        }
        let name = self.node.name();
        let or = |text: Result<String>| text.unwrap_or_else(|e| e.to_string());
        let flows = or(self.ofctl(&["dump-flows", BRIDGE]));
        let show = or(self.ofctl(&["show", BRIDGE]));
        let vsctl = or(self.vsctl(&["--no-wait", "show"]));
        format!("---- {name}: ovs-vsctl show\n{vsctl}\n{show}\n---- {name}: flows\n{flows}\n")
    }
}

fn require(tool: &str, package: &str) -> Result<()> {
    let missing = || Error::new(format!("`{tool}` is not installed (Debian package {package})"));
    find(tool).map(drop).ok_or_else(missing)
}
