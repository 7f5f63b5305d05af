//! Networks of many shapes, from a seed.

use bgp::wire::RouteTarget;
use evpnd::core::CoreConfig;
use evpnd::evpn::{ImportRt, MacVrfConfig};
use types::Vni;

use super::model;
use super::net::{Dice, Net, controller, internal, neighbour, node, reflector, vni, vrf};

/// The broadcast domains, by their number: the VNI, but where nodes use VNIs of their own.
pub(crate) const DOMAINS: [u32; 3] = [100, 200, 300];

/// A network.
pub(crate) struct World {
    pub(crate) net: Net,
    /// Those who only pass routes on.
    pub(crate) controllers: Vec<usize>,
    /// Those with a dataplane.
    pub(crate) hosts: Vec<usize>,
    /// Each node uses VNIs of its own.
    pub(crate) downstream: bool,
    /// How every node is configured but for its VNIs.
    pub(crate) configs: Vec<CoreConfig>,
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// eBGP to controllers.
    Star,
    /// iBGP to route reflectors, which are each other's ordinary neighbours.
    Reflectors,
    /// eBGP, all to all.
    Mesh,
    /// iBGP, all to all.
    InternalMesh,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0xb111d);
        let shape = [Shape::Star, Shape::Star, Shape::Reflectors, Shape::Mesh, Shape::InternalMesh];
        let shape = shape[dice.below(shape.len())];
        let hosts = 2 + dice.below(4);
        let controllers = match shape {
            Shape::Star | Shape::Reflectors => 1 + dice.below(2),
            Shape::Mesh | Shape::InternalMesh => 0,
        };
        let mut net = Net::new(seed);
        net.jitter = [0, 0, 300, 50_000][dice.below(4)];
        net.lag = [0, 0, 200, 20_000][dice.below(4)];
        net.story = std::env::var_os("EVPND_SIM_STORY").map(|_| Vec::new());
        let downstream = dice.chance(25);
        net.tell(|| format!("{shape:?} of {controllers} and {hosts}, VNIs of their own: {downstream}"));
        let all = controllers + hosts;
        let mut world = Self {
            net,
            controllers: (0..controllers).collect(),
            hosts: (controllers..all).collect(),
            downstream,
            configs: (0..all).map(|n| config(shape, n, controllers, all)).collect(),
        };
        for n in 0..all {
            let mut config = world.configs[n].clone();
            if n >= controllers {
                config.discover = dice.chance(30).then(|| "nobody set it up".to_owned());
                world.configs[n].discover.clone_from(&config.discover);
                let domains: Vec<u32> = DOMAINS.into_iter().filter(|_| dice.chance(75)).collect();
                config.mac_vrfs = domains.into_iter().map(|d| world.mac_vrf(d, &mut dice)).collect();
            }
            world.net.add(config);
        }
        world
    }

    /// A domain as a node may have it.
    pub(crate) fn mac_vrf(&self, domain: u32, dice: &mut Dice) -> MacVrfConfig {
        if !self.downstream {
            return vrf(domain);
        }
        let target = RouteTarget::new(65000, domain).expect("small numbers");
        let mut config = vrf(domain + 1000 * dice.below(3) as u32);
        config.import_rt = vec![ImportRt::Exact(target)];
        config.export_rt = vec![target];
        config
    }

    /// The VNI a node uses for a domain; that of the domain itself if it has none.
    pub(crate) fn vni_of(&self, n: usize, domain: u32) -> Vni {
        let vnis = self.net.nodes[n].config.mac_vrfs.iter().map(|v| v.vni);
        vnis.into_iter().find(|v| model::domain(*v) == domain).unwrap_or(vni(domain))
    }
}

fn config(shape: Shape, n: usize, controllers: usize, all: usize) -> CoreConfig {
    const AS: u32 = 65000;
    let mut config = match shape {
        Shape::Star if n < controllers => return controller(n, 64512 + n as u32),
        Shape::Reflectors if n < controllers => {
            return reflector(n, AS, (0..controllers).filter(|&other| other != n));
        }
        Shape::Star | Shape::Mesh => node(n, AS + n as u32),
        Shape::Reflectors | Shape::InternalMesh => node(n, AS),
    };
    let others = if controllers > 0 { 0..controllers } else { 0..all };
    config.neighbours = others
        .filter(|&other| other != n)
        .map(|other| match shape {
            Shape::Star | Shape::Mesh => neighbour(&config, other),
            Shape::Reflectors | Shape::InternalMesh => internal(&config, other, false),
        })
        .collect();
    config
}
