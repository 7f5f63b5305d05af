//! The network of `evpnd lab`: a controller and hosts on one switch, endpoints on each host, all in one VNI.
//!
//! With Open vSwitch the endpoints are clients of three kinds in turn: flat and VLAN ones in the VNI, and routed ones in a
//! VRF, at 10.200.H.(100+E).
//!
//! The same shape and numbers as the gobgp lab it replaces: controller 10.0.0.10 in AS 64512 that takes any peer from
//! 10.0.0.0/24, host H at 10.0.0.(100+H) in AS 65000+H, endpoint E of host H at 10.100.H.(100+E)/16.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::args::{Backend, Size};
use super::net::Lab;
use super::node::Node;
use super::ovs::{Plug, datapath};
use super::{Error, Result};

/// The one overlay of the lab.
pub(super) const VNI: u32 = 22001;
pub(super) const CONTROLLER: &str = "10.0.0.10";
/// The VRF of routed endpoints.
pub(super) const VRF: u32 = 5000;
/// Where a host with Open vSwitch has its client files.
pub(super) const CLIENTS: &str = "/run/clients";
/// The port VLAN endpoints of a host share.
const TRUNK: &str = "trunk";
/// A dead peer is noticed this soon at the latest; one whose kernel still lives closes its connection at once.
const HOLD_TIME: u16 = 9;

/// The running network.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) backend: Backend,
    pub(super) lab: Lab,
    pub(super) controller: Node,
    pub(super) hosts: Vec<Host>,
}

/// One host and its endpoints.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) number: u8,
    pub(super) node: Node,
    pub(super) endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) node: Node,
    pub(super) kind: Kind,
    pub(super) mac: String,
    pub(super) address: String,
    /// Its OpenFlow port; several in VLANs share one.
    pub(super) ofport: u16,
}

/// How an endpoint is attached; all are flat with the kernel backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// In the VNI, untagged.
    Flat,
    /// In the VNI, in this VLAN of a shared port.
    Vlan(u16),
    /// In the VRF.
    Routed,
}

impl Net {
    /// Namespaces and links; no daemon runs yet.
    pub(super) fn build(lab: Lab, size: Size) -> Result<Self> {
        let spine = lab.switch("spine")?;
        let controller = lab.host("controller")?.underlay(&spine, &[&format!("{CONTROLLER}/24")])?;
        let mut hosts = Vec::new();
        for number in 1..=size.hosts {
            let node = lab.host(&format!("h{number}"))?;
            let address = format!("{}/24", vtep(number));
            let node = match size.backend {
                Backend::Kernel => node.underlay(&spine, &[&address])?,
                Backend::Ovs => node.underlay_ovs(&spine, &[&address])?,
            };
            if size.backend == Backend::Ovs {
                node.run(&["mkdir", CLIENTS])?;
            }
            let mut host = Host { number, node, endpoints: Vec::new() };
            for e in 1..=size.endpoints {
                let endpoint = endpoint(size, number, e, |name| lab.host(name))?;
                if size.backend == Backend::Kernel {
                    let address = format!("{}/16", endpoint.address);
                    lab.plug_endpoint(&host.node, &endpoint.node, &endpoint.mac, &[&address])?;
                }
                host.endpoints.push(endpoint);
            }
            hosts.push(host);
        }
        let net = Self { backend: size.backend, lab, controller, hosts };
        net.warm()?;
        Ok(net)
    }

    /// A network that another process has built, its nodes given by `adopt`.
    pub(super) fn adopt(lab: Lab, size: Size) -> Result<Self> {
        let mut hosts = Vec::new();
        for number in 1..=size.hosts {
            let mut host = Host { number, node: lab.node(&format!("h{number}"))?, endpoints: Vec::new() };
            for e in 1..=size.endpoints {
                host.endpoints.push(endpoint(size, number, e, |name| lab.node(name))?);
            }
            hosts.push(host);
        }
        let controller = lab.node("controller")?;
        Ok(Self { backend: size.backend, lab, controller, hosts })
    }

    /// Starts every evpnd.
    pub(super) fn start(&self) -> Result<()> {
        self.controller.evpnd(&controller_config())?;
        self.hosts.iter().try_for_each(|host| host.node.evpnd(&host.config(self.backend)))
    }

    /// Has each Open vSwitch know the other VTEPs' MACs, so that the first packet is not lost.
    pub(super) fn warm(&self) -> Result<()> {
        if self.backend == Backend::Kernel {
            return Ok(());
        }
        let all: Vec<String> = self.hosts.iter().map(Host::vtep).collect();
        let warm = |at: usize| {
            let others: Vec<&str> =
                all.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, vtep)| vtep.as_str()).collect();
            self.hosts[at].node.ovs().warm(&others)
        };
        (0..all.len()).try_for_each(warm)
    }

    /// Plugs an endpoint into its host's Open vSwitch and writes its client file.
    pub(super) fn attach(&self, host: &Host, endpoint: &Endpoint) -> Result<()> {
        let plug = match endpoint.kind {
            Kind::Vlan(tag) => {
                let ovs = host.node.ovs();
                if ovs.vsctl(&["port-to-br", TRUNK]).is_err() {
                    ovs.trunk(TRUNK, endpoint.ofport)?;
                }
                Plug::Trunk(TRUNK, tag)
            }
            Kind::Flat | Kind::Routed => Plug::Port(endpoint.ofport),
        };
        let length = if endpoint.kind == Kind::Routed { 32 } else { 16 };
        let address = format!("{}/{length}", endpoint.address);
        self.lab.plug_ovs(&host.node, &endpoint.node, plug, &endpoint.mac, &[&address])?;
        if endpoint.kind == Kind::Routed {
            // The gateway answers for any address.
            let route = "ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1";
            endpoint.node.sh(route)?;
        }
        let file = format!("{CLIENTS}/{}.json", endpoint.node.name());
        host.node.write(&file, &endpoint.client_file())
    }

    /// All endpoints with the index of their host.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = (usize, &Endpoint)> {
        self.hosts.iter().enumerate().flat_map(|(at, host)| host.endpoints.iter().map(move |e| (at, e)))
    }

    /// The VTEPs host `at` must flood to when the hosts `down` are gone.
    pub(super) fn expected_flood(&self, at: usize, down: &[usize]) -> BTreeSet<String> {
        let others = self.hosts.iter().enumerate().filter(|(i, _)| *i != at && !down.contains(i));
        others.map(|(_, host)| vtep(host.number)).collect()
    }

    /// The remote MACs host `at` must have when the hosts `down` are gone.
    pub(super) fn expected_macs(&self, at: usize, down: &[usize]) -> BTreeMap<String, String> {
        let others = self.endpoints().filter(|(host, _)| *host != at && !down.contains(host));
        others.map(|(host, e)| (e.mac.clone(), vtep(self.hosts[host].number))).collect()
    }

    /// Pings from every endpoint to every other one inside its host, or to those on other hosts.
    pub(super) fn ping(&self, inside: bool) -> Result<Matrix> {
        let all: Vec<_> = self.endpoints().collect();
        let mut answered = BTreeSet::new();
        let mut asked = 0;
        // As many pings at a time as keep a small machine busy without making it late.
        for batch in all.chunks(12) {
            let results: Vec<Result<Vec<(String, String, bool)>>> = std::thread::scope(|scope| {
                let running: Vec<_> = batch
                    .iter()
                    .map(|(host, from)| {
                        let targets = all.iter().filter(|(h, to)| (h == host) == inside && from.pings(to));
                        let targets: Vec<&str> = targets.map(|(_, to)| to.address.as_str()).collect();
                        scope.spawn(move || from.ping_all(&targets))
                    })
                    .collect();
                let died = || Err(Error::new("a ping thread died"));
                running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| died())).collect()
            });
            for (from, to, ok) in results.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten() {
                asked += 1;
                if ok {
                    answered.insert((from, to));
                }
            }
        }
        Ok(Matrix { inside, asked, answered })
    }
}

impl Host {
    /// The VTEP's address.
    pub(super) fn vtep(&self) -> String {
        vtep(self.number)
    }

    /// The configuration of this host's evpnd.
    fn config(&self, backend: Backend) -> String {
        let vtep = self.vtep();
        let dataplane = match backend {
            Backend::Kernel => {
                let interfaces: Vec<&str> = self.endpoints.iter().map(|e| e.node.name()).collect();
                format!(
                    r#"backend = "kernel"
vtep = "{vtep}"

[[l2vni]]
vni = {VNI}
import-rt = ["65000:{VNI}"]
export-rt = ["65000:{VNI}"]
interfaces = {interfaces:?}
"#
                )
            }
            Backend::Ovs => format!(
                r#"backend = "ovs"
vtep = "{vtep}"

[dataplane.ovs]
datapath = "{datapath}"

[clients]
dir = "{CLIENTS}"
"#,
                datapath = datapath()
            ),
        };
        format!(
            r#"[router]
asn = {asn}
router-id = "{vtep}"

[bgp]
listen = []
hold-time = {HOLD_TIME}

[[bgp.neighbor]]
address = "{CONTROLLER}"
remote-asn = 64512

[dataplane]
{dataplane}"#,
            asn = 65000 + u32::from(self.number),
        )
    }
}

impl Endpoint {
    /// Whether a ping from this one to that one shall be answered: routed endpoints are in a network of their own.
    fn pings(&self, to: &Self) -> bool {
        self.mac != to.mac && (self.kind == Kind::Routed) == (to.kind == Kind::Routed)
    }

    /// Its client file, in the words of evpn-connector.
    fn client_file(&self) -> String {
        let Self { mac, address, ofport, .. } = self;
        let (kind, tag) = match self.kind {
            Kind::Vlan(tag) => ("vlan", tag),
            Kind::Flat | Kind::Routed => ("flat", 0),
        };
        let service = if self.kind == Kind::Routed {
            format!(r#""cfg_type": "l3", "routes": ["{address}/32"], "vni": {VRF}"#)
        } else {
            format!(r#""cfg_type": "l2", "ip": "{address}", "vni": {VNI}"#)
        };
        let vni = if self.kind == Kind::Routed { VRF } else { VNI };
        let rt = format!(r#"["65000:{vni}"]"#);
        format!(
            r#"{{ {service}, "mac": "{mac}", "ofport": {ofport}, "type": "{kind}", "tag": {tag},
  "imp_rt": {rt}, "exp_rt": {rt} }}
"#
        )
    }

    /// One ping to each of some addresses: (own address, address, whether it answered).
    fn ping_all(&self, targets: &[&str]) -> Result<Vec<(String, String, bool)>> {
        let script = "for to; do ping -n -q -c 1 -W 2 $to >/dev/null && echo $to || true; done";
        let mut argv = vec!["sh", "-ec", script, "ping"];
        argv.extend(targets);
        let answered = self.node.run(&argv)?;
        let answered: BTreeSet<&str> = answered.lines().collect();
        Ok(targets.iter().map(|&to| (self.address.clone(), to.to_owned(), answered.contains(to))).collect())
    }
}

/// What a round of pings gave.
#[derive(Debug)]
pub(super) struct Matrix {
    inside: bool,
    asked: usize,
    answered: BTreeSet<(String, String)>,
}

impl Matrix {
    pub(super) fn passed(&self) -> bool {
        self.answered.len() == self.asked
    }

    pub(super) fn summary(&self) -> String {
        format!("{} of {} pings answered", self.answered.len(), self.asked)
    }

    /// The matrix itself, a row for each source; only the gaps when it is too wide for a screen.
    pub(super) fn table(&self, net: &Net) -> String {
        let all: Vec<_> = net.endpoints().collect();
        let asked =
            |a: usize, b: usize, from: &Endpoint, to: &Endpoint| (a == b) == self.inside && from.pings(to);
        let ok = |from: &Endpoint, to: &Endpoint| {
            self.answered.contains(&(from.address.clone(), to.address.clone()))
        };
        let mut text = String::new();
        if all.len() <= 24 {
            let _ = write!(text, "{:<19}", "from \\ to");
            for (_, to) in &all {
                let _ = write!(text, " {:>5}", to.node.name());
            }
        }
        for (a, from) in &all {
            if all.len() <= 24 {
                let _ = write!(text, "\n{:<5} {:<13}", from.node.name(), from.address);
            }
            for (b, to) in &all {
                if all.len() <= 24 {
                    let mark = match asked(*a, *b, from, to) {
                        false => "",
                        true if ok(from, to) => "ok",
                        true => "LOST",
                    };
                    let _ = write!(text, " {mark:>5}");
                } else if asked(*a, *b, from, to) && !ok(from, to) {
                    let _ = writeln!(text, "no answer: {} from {}", to.address, from.address);
                }
            }
        }
        text
    }
}

fn vtep(number: u8) -> String {
    format!("10.0.0.{}", 100 + u16::from(number))
}

/// Endpoint `e` of a host, with its node by name.
fn endpoint(size: Size, host: u8, e: u8, node: impl FnOnce(&str) -> Result<Node>) -> Result<Endpoint> {
    let dash = if size.hosts < 10 && size.endpoints < 10 { "" } else { "-" };
    let kind = match (size.backend, e % 3) {
        (Backend::Kernel, _) | (Backend::Ovs, 1) => Kind::Flat,
        (Backend::Ovs, 2) => Kind::Vlan(100 + u16::from(e)),
        (Backend::Ovs, _) => Kind::Routed,
    };
    let network = if kind == Kind::Routed { 200 } else { 100 };
    Ok(Endpoint {
        node: node(&format!("e{host}{dash}{e}"))?,
        kind,
        mac: format!("02:00:00:00:{host:02x}:{e:02x}"),
        address: format!("10.{network}.{host}.{}", 100 + u16::from(e)),
        ofport: if matches!(kind, Kind::Vlan(_)) { 2000 } else { 1000 + u16::from(e) },
    })
}

fn controller_config() -> String {
    format!(
        r#"[router]
asn = 64512
router-id = "{CONTROLLER}"

[bgp]
listen = ["{CONTROLLER}:179"]
hold-time = {HOLD_TIME}

[[bgp.dynamic-neighbor]]
range = "10.0.0.0/24"
remote-asn = "external"

[dataplane]
backend = "none"
"#
    )
}
