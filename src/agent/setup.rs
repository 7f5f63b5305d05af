//! From the configuration file's words to the core's and the dataplane's: the one place that knows all of them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use bgp::session::{RemoteAsn, SessionConfig};
use dataplane::kernel::KernelConfig;
use dataplane::ovs::{OvsConfig, Switch};
use dataplane::{Dataplane, Reconciler};

use crate::config::{self, Config, Hops};
use crate::core::CoreConfig;
use crate::core::neighbour::{DynamicConfig, NeighbourConfig};
use crate::evpn::MacVrfConfig;
use crate::speaker::socket::SocketOptions;

/// The dataplane, if there is one. The kernel has to be there; Open vSwitch may come later.
pub(crate) fn dataplane(config: &Config) -> Result<Option<Box<dyn Dataplane + Send>>> {
    Ok(match &config.dataplane {
        config::Dataplane::None { .. } => None,
        config::Dataplane::Kernel(kernel) => {
            let backend = dataplane::kernel::open(KernelConfig {
                layout: kernel.layout,
                bridge: kernel.bridge.clone(),
                vxlan: kernel.vxlan.clone(),
                vtep: kernel.vtep,
                port: kernel.vxlan_port,
                manage_devices: kernel.manage_devices,
                discover: kernel.discover,
                ports: Some(ports(&config.control)),
                ..KernelConfig::default()
            })
            .context("the kernel dataplane cannot start")?;
            Some(Box::new(Reconciler::new(backend, dataplane::reconciler::Config::default())))
        }
        config::Dataplane::Ovs(ovs) => {
            let switch = Switch::open(ovs_config(ovs)).context("the Open vSwitch dataplane cannot start")?;
            Some(Box::new(switch))
        }
    })
}

/// Where it is kept which ports were attached: where a reboot forgets it, as it does bridges.
fn ports(control: &config::Control) -> PathBuf {
    let mut path = control.socket.clone().into_os_string();
    path.push(".ports");
    path.into()
}

fn ovs_config(ovs: &config::Ovs) -> OvsConfig {
    OvsConfig {
        bridge: ovs.bridge.clone(),
        datapath: ovs.datapath,
        vxlan: ovs.vxlan.clone(),
        vtep: ovs.vtep,
        vxlan_port: ovs.vxlan_port,
        gateway_mac: ovs.gateway_mac,
        db: ovs.db.clone(),
        rundir: ovs.rundir.clone(),
        vsctl: ovs.vsctl.clone(),
        ofctl: ovs.ofctl.clone(),
    }
}

/// What the core is to be.
pub(crate) fn core_config(config: &Config) -> CoreConfig {
    CoreConfig {
        asn: config.router.asn,
        router_id: config.router.router_id,
        cluster_id: config.bgp.cluster_id,
        vtep: config.vtep(),
        neighbours: config.bgp.neighbors.iter().map(|n| neighbour(config, n)).collect(),
        dynamic: config.bgp.dynamic_neighbors.iter().map(|d| dynamic(config, d)).collect(),
        vxlan_port: config.dataplane.vxlan_port(),
        discover: lack(&config.dataplane),
        router_mac: match &config.dataplane {
            config::Dataplane::Ovs(ovs) => Some(ovs.router_mac),
            config::Dataplane::Kernel(_) | config::Dataplane::None { .. } => None,
        },
        mac_vrfs: config.l2vnis.iter().map(|v| mac_vrf(config, v)).collect(),
        duplicate_macs: config.duplicate_macs,
    }
}

/// With discovery, what a VNI lacks that is not found.
fn lack(dataplane: &config::Dataplane) -> Option<String> {
    let config::Dataplane::Kernel(kernel) = dataplane else { return None };
    let lack = match kernel.layout {
        config::Layout::SingleDevice => format!(
            "no VLAN is mapped to it (bridge vlan add dev {} vid VLAN tunnel_info id VNI)",
            kernel.vxlan
        ),
        config::Layout::DevicePerVni => {
            "no VXLAN device in a bridge carries it (ip link add NAME type vxlan id VNI …)".to_owned()
        }
    };
    kernel.discover.then_some(lack)
}

fn neighbour(config: &Config, n: &config::Neighbor) -> NeighbourConfig {
    let mut out = options(config, &n.options);
    out.address = n.address;
    out.port = n.port;
    out.session.passive = n.passive;
    out.socket.local = n.local_address;
    out
}

fn dynamic(config: &Config, d: &config::DynamicNeighbor) -> DynamicConfig {
    let mut template = options(config, &d.options);
    template.session.passive = true;
    DynamicConfig { range: d.range, max_peers: d.max_peers, template }
}

/// What named and dynamic neighbours share; the address is yet to be filled in.
fn options(config: &Config, o: &config::PeerOptions) -> NeighbourConfig {
    let asn = config.router.asn;
    let remote_asn = match o.remote_asn {
        config::RemoteAsn::Number(n) => RemoteAsn::Number(n),
        config::RemoteAsn::External => RemoteAsn::External,
        config::RemoteAsn::Internal => RemoteAsn::Internal,
    };
    let internal = matches!(o.remote_asn, config::RemoteAsn::Internal)
        || matches!(o.remote_asn, config::RemoteAsn::Number(n) if n == asn);
    let (ttl, min_ttl) = match o.hops {
        // An external neighbour is on the same link unless multihop says otherwise (RFC 4271 §5.1.3 case 2).
        Hops::Default if internal => (64, None),
        Hops::Default => (1, None),
        Hops::Multihop(n) => (n, None),
        Hops::TtlSecurity(n) => (255, Some(255 - (n - 1))),
    };
    NeighbourConfig {
        address: std::net::Ipv4Addr::UNSPECIFIED.into(),
        port: config::BGP_PORT,
        session: SessionConfig {
            hold_time: o.hold_time,
            connect_retry: config.bgp.connect_retry,
            strict: o.strict,
            ..SessionConfig::new(asn, config.router.router_id, remote_asn)
        },
        socket: SocketOptions {
            local: None,
            md5: o.password.as_ref().map(|p| p.as_bytes().to_vec()),
            ttl: Some(ttl),
            min_ttl,
        },
        route_reflector_client: o.route_reflector_client,
        max_routes: o.max_routes.map(std::num::NonZero::get),
        description: o.description.clone(),
    }
}

fn mac_vrf(config: &Config, v: &config::L2Vni) -> MacVrfConfig {
    MacVrfConfig {
        rd: Some(v.rd),
        import_rt: v.import_rt.clone(),
        export_rt: v.export_rt.clone(),
        interfaces: v.interfaces.clone(),
        port: config.dataplane.vxlan_port(),
        vlan: v.vlan,
        flood: v.flood,
        advertise_macs: v.advertise_macs,
        arp_suppression: v.arp_suppression,
        ..MacVrfConfig::new(v.vni)
    }
}
