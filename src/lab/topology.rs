//! The network of `evpnd lab`, made: a controller and hosts on one switch, endpoints on each host, as [`Shape`] says.

use std::collections::{BTreeMap, BTreeSet};

use super::args::{Backend, Layout};
use super::net::{AT_A_TIME, Lab};
use super::node::{FLOOD, FdbRow, Node};
use super::ovs::Plug;
use super::shape::{CLIENTS, CONTROLLER, Kind, Seat, Shape, controller_config, vtep};
use super::{Result, several};

/// The port VLAN endpoints of a host share.
const TRUNK: &str = "trunk";
/// The one VXLAN device of a host that has one for all VNIs.
pub(super) const VXLAN: &str = "vxlan1";

/// The running network.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) shape: Shape,
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
    pub(super) seat: Seat,
}

/// What a host's VXLAN device has for one VNI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Forwarding {
    /// The VTEPs that it floods to.
    pub(super) flood: BTreeSet<String>,
    /// The VTEP of each remote MAC.
    pub(super) macs: BTreeMap<String, String>,
}

impl Net {
    /// Namespaces and links; no daemon runs yet.
    pub(super) fn build(lab: Lab, shape: Shape) -> Result<Self> {
        let spine = lab.switch("spine")?;
        let controller = lab.host("controller")?.underlay(&spine, &[&format!("{CONTROLLER}/24")])?;
        let mut hosts = Vec::new();
        for number in 1..=shape.hosts {
            let seats = shape.seats(number);
            let mut names = vec![format!("h{number}")];
            names.extend(seats.iter().map(|seat| seat.name.clone()));
            let mut nodes = lab.hosts(&names)?.into_iter();
            let Some(node) = nodes.next() else { continue };
            let endpoints: Vec<Endpoint> =
                nodes.zip(seats).map(|(node, seat)| Endpoint { node, seat }).collect();
            let address = format!("{}/24", vtep(number));
            let node = match shape.backend {
                Backend::Kernel => node.underlay(&spine, &[&address])?,
                Backend::Ovs => node.underlay_ovs(&spine, &[&address])?,
            };
            match shape.backend {
                Backend::Kernel => several(&endpoints, AT_A_TIME, |endpoint| {
                    let address = format!("{}/16", endpoint.seat.address);
                    lab.plug_new(&node, &endpoint.node, &endpoint.seat.mac, &[&address])
                })
                .map(drop)?,
                Backend::Ovs => node.run(&["mkdir", CLIENTS]).map(drop)?,
            }
            hosts.push(Host { number, node, endpoints });
        }
        let net = Self { shape, lab, controller, hosts };
        net.warm()?;
        Ok(net)
    }

    /// A network that another process has built, its nodes given by `adopt`.
    pub(super) fn adopt(lab: Lab, shape: Shape) -> Result<Self> {
        let mut hosts = Vec::new();
        for number in 1..=shape.hosts {
            let mut host = Host { number, node: lab.node(&format!("h{number}"))?, endpoints: Vec::new() };
            for seat in shape.seats(number) {
                host.endpoints.push(Endpoint { node: lab.node(&seat.name)?, seat });
            }
            hosts.push(host);
        }
        let controller = lab.node("controller")?;
        Ok(Self { shape, lab, controller, hosts })
    }

    /// Starts every evpnd.
    pub(super) fn start(&self) -> Result<()> {
        self.controller.evpnd(&controller_config())?;
        self.hosts.iter().try_for_each(|host| host.node.evpnd(&self.shape.config(host.number)))
    }

    /// Has each Open vSwitch know the other VTEPs' MACs, so that the first packet is not lost.
    pub(super) fn warm(&self) -> Result<()> {
        if self.shape.backend == Backend::Kernel {
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
        let Endpoint { node, seat } = endpoint;
        let plug = match seat.kind {
            Kind::Vlan(tag) => {
                let ovs = host.node.ovs();
                if ovs.vsctl(&["port-to-br", TRUNK]).is_err() {
                    ovs.trunk(TRUNK, seat.ofport)?;
                }
                Plug::Trunk(TRUNK, tag)
            }
            Kind::Flat | Kind::Routed => Plug::Port(seat.ofport),
        };
        let length = if seat.kind == Kind::Routed { 32 } else { 16 };
        let address = format!("{}/{length}", seat.address);
        self.lab.plug_ovs(&host.node, node, plug, &seat.mac, &[&address])?;
        if seat.kind == Kind::Routed {
            // The gateway answers for any address.
            let route = "ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1";
            node.sh(route)?;
        }
        host.node.write(&format!("{CLIENTS}/{}.json", seat.name), &seat.client_file())
    }

    /// All endpoints with the index of their host.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = (usize, &Endpoint)> {
        self.hosts.iter().enumerate().flat_map(|(at, host)| host.endpoints.iter().map(move |e| (at, e)))
    }

    /// What host `at` must have for each of its VNIs when the hosts `down` are gone.
    pub(super) fn expected(&self, at: usize, down: &[usize]) -> BTreeMap<u32, Forwarding> {
        let own = self.hosts[at].vnis().into_iter();
        let mut all: BTreeMap<u32, Forwarding> = own.map(|vni| (vni, Forwarding::default())).collect();
        for (host, endpoint) in self.endpoints().filter(|(host, _)| *host != at && !down.contains(host)) {
            if let Some(vni) = all.get_mut(&endpoint.seat.vni) {
                let vtep = self.hosts[host].vtep();
                vni.flood.insert(vtep.clone());
                vni.macs.insert(endpoint.seat.mac.clone(), vtep);
            }
        }
        all
    }

    /// What the kernel of host `at` has for each VNI.
    pub(super) fn found(&self, at: usize) -> Result<BTreeMap<u32, Forwarding>> {
        let host = &self.hosts[at];
        let mut all: BTreeMap<u32, Forwarding> = BTreeMap::new();
        match self.shape.layout {
            Layout::DevicePerVni => {
                for vni in host.vnis() {
                    let found = all.entry(vni).or_default();
                    host.node.fdb(&host.node.vxlan(vni)?)?.into_iter().for_each(|row| found.add(row));
                }
            }
            Layout::SingleDevice => {
                for row in host.node.fdb(VXLAN)? {
                    // A row of the bridge has a VLAN and no VNI.
                    if let Some(vni) = row.src_vni {
                        all.entry(vni).or_default().add(row);
                    }
                }
            }
        }
        Ok(all)
    }
}

impl Forwarding {
    fn add(&mut self, row: FdbRow) {
        let Some(dst) = row.dst else { return };
        if row.mac == FLOOD {
            self.flood.insert(dst);
        } else {
            self.macs.insert(row.mac, dst);
        }
    }
}

impl Host {
    /// The VTEP's address.
    pub(super) fn vtep(&self) -> String {
        vtep(self.number)
    }

    /// The VNIs of its endpoints.
    pub(super) fn vnis(&self) -> BTreeSet<u32> {
        self.endpoints.iter().map(|endpoint| endpoint.seat.vni).collect()
    }
}
