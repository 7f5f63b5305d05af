//! Namespaces, links and daemons as a few verbs: what `evpnd lab` and the end-to-end tests are written in.
//!
//! ```no_run
//! # fn main() -> evpnd::lab::Result<()> {
//! let lab = evpnd::lab::Lab::new()?;
//! let spine = lab.switch("spine")?;
//! let h1 = lab.host("h1")?.underlay(&spine, &["10.0.0.101/24"])?;
//! let e1 = lab.endpoint(&h1, "e1", "02:00:00:00:01:01", &["10.100.1.101/16"])?;
//! h1.evpnd("…")?;
//! e1.ping("10.100.2.101")?;
//! # Ok(())
//! # }
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::node::{Node, run};
use super::world::World;
use super::{Error, Result, several, until};

/// As many nodes are made at a time as a small machine has use for.
pub(super) const AT_A_TIME: usize = 4;

/// A set of nodes and links in namespaces of their own, which end with this value (see [`Lab::new`]).
#[derive(Debug)]
pub struct Lab {
    world: Arc<World>,
    binary: PathBuf,
    nodes: Mutex<Vec<Node>>,
}

/// A switch (a plain bridge) hosts are plugged into.
#[derive(Clone, Debug)]
pub struct Switch {
    name: String,
    world: Arc<World>,
}

impl Lab {
    /// An empty lab. All in it ends with this value, and with this process however that ends.
    pub fn new() -> Result<Self> {
        let binary = std::env::current_exe().map_err(|e| Error::new(format!("own path: {e}")))?;
        Self::with_binary(binary)
    }

    /// The same, running a given evpnd.
    pub fn with_binary(binary: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self::made_of(World::new()?, &binary.into()))
    }

    pub(super) fn made_of(world: World, binary: &Path) -> Self {
        Self { world: Arc::new(world), binary: binary.to_owned(), nodes: Mutex::new(Vec::new()) }
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    /// A new switch.
    pub fn switch(&self, name: &str) -> Result<Switch> {
        self.outside(&format!(
            "ip link add {name} type bridge forward_delay 0 mcast_snooping 0 && ip link set {name} up"
        ))?;
        Ok(Switch { name: name.to_owned(), world: Arc::clone(&self.world) })
    }

    /// A new host, not yet plugged in anywhere.
    pub fn host(&self, name: &str) -> Result<Node> {
        let node = Node::new(&self.world, name, &self.binary)?;
        self.nodes().push(node.clone());
        Ok(node)
    }

    /// New hosts, several at a time.
    pub(super) fn hosts(&self, names: &[String]) -> Result<Vec<Node>> {
        let new = several(names, AT_A_TIME, |name| Node::new(&self.world, name, &self.binary))?;
        self.nodes().extend(new.iter().cloned());
        Ok(new)
    }

    /// A new endpoint of a host: a namespace with an `eth0` whose other end, on the host, bears the endpoint's name.
    pub fn endpoint(&self, host: &Node, name: &str, mac: &str, addresses: &[&str]) -> Result<Node> {
        let endpoint = self.host(name)?;
        self.plug_new(host, &endpoint, mac, addresses)?;
        Ok(endpoint)
    }

    /// Plugs an endpoint into a host, away from where it was if it was plugged in (a migration).
    pub fn plug_endpoint(&self, host: &Node, endpoint: &Node, mac: &str, addresses: &[&str]) -> Result<()> {
        endpoint.sh("ip link del eth0 2>/dev/null || true")?;
        self.plug_new(host, endpoint, mac, addresses)
    }

    /// The same for an endpoint that was not plugged in anywhere: in one script, since what takes its time is starting
    /// programs.
    pub(super) fn plug_new(&self, host: &Node, endpoint: &Node, mac: &str, addresses: &[&str]) -> Result<()> {
        let (host, name) = (host.name(), endpoint.name());
        self.outside(&format!(
            "ip link add name {name} netns {host} type veth peer name eth0 address {mac} netns {name}
             ip -n {host} link set dev {name} up
             {}",
            up(&format!("ip -n {name}"), "eth0", addresses)
        ))
        .map(drop)
    }

    /// All nodes made so far.
    pub fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Result<Node> {
        let found = self.nodes().iter().find(|node| node.name() == name).cloned();
        found.ok_or_else(|| {
            let names: Vec<String> = self.nodes().iter().map(|node| node.name().to_owned()).collect();
            Error::new(format!("no node {name}; there are {}", names.join(", ")))
        })
    }

    pub(super) fn adopt(&self, name: &str, pid: u32) -> Node {
        let node = Node::attach(&self.world, name, pid, &self.binary);
        self.nodes().push(node.clone());
        node
    }

    /// Waits until `check` succeeds; when `limit` has passed, its last complaint with a report of all nodes.
    pub fn wait<T>(&self, what: &str, limit: Duration, check: impl FnMut() -> Result<T>) -> Result<T> {
        until(limit, check).map_err(|e| {
            let nodes = self.nodes().clone();
            let report: String = nodes.iter().map(Node::report).collect();
            Error::new(format!("after {} s: {what}: {e}\n{report}", limit.as_secs()))
        })
    }

    /// Runs a script in the world itself, where the switches are.
    fn outside(&self, script: &str) -> Result<String> {
        run(self.world.enter(1).args(["sh", "-ec", script]))
    }
}

impl Switch {
    /// The world it is in.
    pub(super) fn world(&self) -> &World {
        &self.world
    }
}

/// Handles of its nodes may still be about: the world ends all the same.
impl Drop for Lab {
    fn drop(&mut self) {
        self.world.end();
    }
}

impl Node {
    /// Plugs the host into a switch: `eth0` (then `eth1`…) with these addresses.
    pub fn underlay(self, switch: &Switch, addresses: &[&str]) -> Result<Self> {
        let device = format!("eth{}", self.next_underlay());
        let port = format!("{}-{device}", self.name());
        run(switch.world.enter(1).args(["sh", "-ec", &format!(
            "ip link add {port} type veth peer name {device} netns {name}; ip link set {port} master {switch} up",
            name = self.name(),
            switch = switch.name
        )]))?;
        self.sh(&up("ip", &device, addresses))?;
        Ok(self)
    }
}

/// The commands that give a device its addresses, `ip` being the program, perhaps with the namespace. IPv6 ones are usable at once only without duplicate detection.
pub(super) fn up(ip: &str, device: &str, addresses: &[&str]) -> String {
    let add = |a: &&str| {
        let nodad = if a.contains(':') { " nodad" } else { "" };
        format!("; {ip} addr add {a} dev {device}{nodad}")
    };
    format!("{ip} link set {device} up{}", addresses.iter().map(add).collect::<String>())
}
