//! What a node should come to, worked out afresh each time from all routes, all local MACs and the configuration: no
//! indexes, no increments, nothing shared with the code under test but types.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::*;

#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub interface: String,
    pub sticky: bool,
    pub sequence: u32,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub asn: u32,
    pub router: Option<Ipv4Addr>,
    pub configs: BTreeMap<Vni, MacVrfConfig>,
    pub routes: BTreeMap<RouteKey, Content>,
    pub claims: BTreeMap<(Vni, MacAddr), Claim>,
    pub bindings: BTreeMap<(Vni, IpAddr), MacAddr>,
    pub ready: BTreeSet<Vni>,
}

/// A type 2 route as one VNI sees it.
struct Host {
    ip: Option<IpAddr>,
    vtep: IpAddr,
    wire: Vni,
    sequence: u32,
    fixed: bool,
    router: bool,
    immutable: bool,
}

impl Model {
    fn own(&self) -> IpAddr {
        self.router.unwrap().into()
    }

    fn takes(config: &MacVrfConfig, attributes: &Attributes) -> bool {
        let import =
            if config.import_rt.is_empty() { vec![ImportRt::Auto] } else { config.import_rt.clone() };
        attributes.route_targets().any(|target| {
            let text = target.to_string();
            let (admin, number) = text.split_once(':').unwrap();
            let number: u32 = number.parse().unwrap();
            let of_as = !admin.contains('.');
            import.iter().any(|i| match i {
                ImportRt::Exact(rt) => rt.0 == target.0,
                ImportRt::AnyAs(n) => of_as && *n == number,
                ImportRt::Auto => of_as && [config.vni.get(), config.vni.get() + (1 << 28)].contains(&number),
            })
        })
    }

    fn encapsulated(attributes: &Attributes) -> bool {
        let mut kinds = attributes.ext_communities.iter().filter_map(|c| c.as_encapsulation()).peekable();
        kinds.peek().is_none() || kinds.any(|kind| kind == 8)
    }

    fn good_hop(&self, hop: IpAddr) -> bool {
        hop.is_ipv4() && hop != self.own() && !hop.is_unspecified()
    }

    fn segment_announced(&self, wanted: Esi, hop: IpAddr) -> bool {
        self.routes.iter().any(|(key, (_, attributes))| {
            matches!(key, RouteKey::EthernetAd { esi, tag: u32::MAX, .. } if *esi == wanted)
                && attributes.next_hop == hop
                && Self::encapsulated(attributes)
                && self.good_hop(hop)
        })
    }

    /// The usable routes for MACs.
    fn hosts(&self, config: &MacVrfConfig) -> BTreeMap<MacAddr, Vec<Host>> {
        let mut hosts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, (body, attributes)) in &self.routes {
            let RouteKey::MacIp { tag, mac, ip, .. } = *key else { continue };
            let vtep = attributes.next_hop;
            let good = Self::takes(config, attributes)
                && Self::encapsulated(attributes)
                && self.good_hop(vtep)
                && (tag == 0 || tag == config.vni.get() || body.label == config.vni)
                && mac.is_host()
                && (body.esi.is_zero() || self.segment_announced(body.esi, vtep));
            if !good {
                continue;
            }
            let (sequence, sticky) = attributes.mac_mobility();
            let has = |prefix: [u8; 2], flag| {
                attributes
                    .ext_communities
                    .iter()
                    .find(|c| c.0[..2] == prefix)
                    .is_some_and(|c| c.0[2] & flag == flag)
            };
            hosts.entry(mac).or_default().push(Host {
                ip,
                vtep,
                wire: if body.label == Vni::ZERO { config.vni } else { body.label },
                sequence,
                fixed: sticky || has([3, 0x0d], 0),
                router: has([6, 8], 1) && ip.is_some_and(|ip| ip.is_ipv6()),
                immutable: has([6, 8], 8),
            });
        }
        hosts
    }

    fn best(hosts: &[Host]) -> Option<&Host> {
        hosts.iter().max_by_key(|h| (h.fixed, h.sequence, Reverse(h.vtep), Reverse(h.wire)))
    }

    /// Claims that lose to a route end.
    pub(super) fn settle(&mut self) {
        for config in self.configs.values() {
            let hosts = self.hosts(config);
            let own = self.own();
            self.claims.retain(|(vni, mac), claim| {
                let best = hosts.get(mac).filter(|_| *vni == config.vni).and_then(|h| Self::best(h));
                best.is_none_or(|b| {
                    claim.sticky || !b.fixed && (claim.sequence, Reverse(own)) > (b.sequence, Reverse(b.vtep))
                })
            });
        }
    }

    pub(super) fn local(&mut self, local: &Local) {
        match *local {
            Local::MacSeen { vni, mac, ref interface, sticky } => {
                let Some(config) = self.configs.get(&vni) else { return };
                let mut claim = Claim { interface: interface.clone(), sticky, sequence: 0 };
                if let Some(old) = self.claims.get(&(vni, mac)) {
                    claim.sequence = old.sequence;
                } else if !sticky && let Some(best) = self.hosts(config).get(&mac).and_then(|h| Self::best(h))
                {
                    if best.fixed {
                        return;
                    }
                    claim.sequence = best.sequence + 1;
                }
                self.claims.insert((vni, mac), claim);
            }
            Local::MacGone { vni, mac } => {
                self.claims.remove(&(vni, mac));
            }
            Local::NeighbourSeen { vni, ip, mac } => {
                if self.configs.contains_key(&vni) {
                    self.bindings.insert((vni, ip), mac);
                }
            }
            Local::NeighbourGone { vni, ip } => {
                self.bindings.remove(&(vni, ip));
            }
            Local::VniReady(vni, ready) => {
                self.ready.remove(&vni);
                if ready && self.configs.contains_key(&vni) {
                    self.ready.insert(vni);
                }
            }
            // The model knows no clients, nor does a VLAN change what is announced.
            Local::Client { .. } | Local::Vlan(..) | Local::Found(..) | Local::FoundAll => {}
        }
    }

    pub(super) fn configure(&mut self, configs: &[MacVrfConfig]) {
        self.configs = configs.iter().map(|c| (c.vni, c.clone())).collect();
        let there = |vni: &Vni| self.configs.contains_key(vni);
        self.claims.retain(|(vni, _), _| there(vni));
        self.bindings.retain(|(vni, _), _| there(vni));
        self.ready.retain(there);
    }

    /// What the dataplane should have.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::default();
        for (&vni, config) in &self.configs {
            let l2 = L2Vni {
                vni,
                vtep: self.own(),
                port: config.port,
                interfaces: config.interfaces.clone(),
                arp_suppression: config.arp_suppression,
                vlan: config.vlan,
            };
            table.vnis.insert(vni, l2);
            let hosts = self.hosts(config);
            let mut bindings: BTreeMap<IpAddr, Vec<_>> = BTreeMap::new();
            for (&mac, hosts) in &hosts {
                let Some(best) = Self::best(hosts).filter(|_| !self.claims.contains_key(&(vni, mac))) else {
                    continue;
                };
                let remote = RemoteMac { vtep: best.vtep, vni: best.wire, sticky: best.fixed };
                table.macs.insert((vni, mac), remote);
                for host in hosts.iter().filter(|h| h.vtep == best.vtep) {
                    if let Some(ip) = host.ip {
                        let rank =
                            (host.immutable, host.sequence, Reverse(host.vtep), Reverse(mac), host.router);
                        bindings.entry(ip).or_default().push(rank);
                    }
                }
            }
            for (ip, ranks) in bindings {
                let ours =
                    self.bindings.get(&(vni, ip)).is_some_and(|&m| self.claims.contains_key(&(vni, m)));
                if !ours && let Some(&(_, _, _, Reverse(mac), router)) = ranks.iter().max() {
                    table.neighbours.insert((vni, ip), Neighbour { mac, router });
                }
            }
            if config.flood {
                table.flood.extend(
                    self.flood(config).into_iter().map(|(ip, wire)| ((vni, ip), Flood { vni: wire })),
                );
            }
        }
        table
    }

    fn flood(&self, config: &MacVrfConfig) -> BTreeMap<IpAddr, Vni> {
        let mut flood: BTreeMap<IpAddr, Vni> = BTreeMap::new();
        for (key, (_, attributes)) in &self.routes {
            let RouteKey::Imet { tag, .. } = *key else { continue };
            let Some(Pmsi { vni: label, tunnel: PmsiTunnel::IngressReplication(id), .. }) = attributes.pmsi
            else {
                continue;
            };
            let good = Self::takes(config, attributes)
                && Self::encapsulated(attributes)
                && self.good_hop(attributes.next_hop)
                && id != self.own()
                && (tag == 0 || tag == config.vni.get() || label == config.vni);
            if !good {
                continue;
            }
            let endpoint = if self.good_hop(id) { id } else { attributes.next_hop };
            let wire = if label == Vni::ZERO { config.vni } else { label };
            let at = flood.entry(endpoint).or_insert(wire);
            if wire == config.vni || *at != config.vni && wire < *at {
                *at = wire;
            }
        }
        flood
    }

    /// What should be originated: key, label or PMSI, targets, mobility.
    pub(super) fn announced(&self) -> BTreeMap<RouteKey, Content> {
        let mut announced = BTreeMap::new();
        let own = self.own();
        for (&vni, config) in self.configs.iter().filter(|(vni, _)| self.ready.contains(vni)) {
            let rd = config.rd.unwrap_or(Rd::from_ip(self.router.unwrap(), vni.get() as u16));
            let export = if config.export_rt.is_empty() {
                vec![rt(&format!("{}:{}", self.asn, vni.get()))]
            } else {
                config.export_rt.clone()
            };
            let mut base = Attributes::local(own);
            base.ext_communities =
                export.iter().map(|t| t.community()).chain([ExtCommunity::VXLAN]).collect();
            if config.flood {
                let tunnel = PmsiTunnel::IngressReplication(own);
                let attributes = with_pmsi(base.clone(), tunnel, vni.get());
                let key = RouteKey::Imet { rd, tag: 0, originator: own };
                announced.insert(key, (NlriBody::default(), attributes));
            }
            for (&(_, mac), claim) in
                self.claims.iter().filter(|((at, _), _)| *at == vni && config.advertise_macs)
            {
                let bound = self.bindings.iter().filter(|((at, _), m)| *at == vni && **m == mac);
                for ip in bound.map(|((_, ip), _)| Some(*ip)).chain([None]) {
                    let mut attributes = base.clone();
                    if claim.sticky || claim.sequence > 0 {
                        attributes =
                            with(attributes, ExtCommunity::mac_mobility(claim.sequence, claim.sticky));
                    }
                    if ip.is_some_and(|ip| ip.is_ipv6()) {
                        attributes = with(attributes, ExtCommunity([6, 8, 2, 0, 0, 0, 0, 0]));
                    }
                    let body = NlriBody { label: vni, ..NlriBody::default() };
                    announced.insert(RouteKey::MacIp { rd, tag: 0, mac, ip }, (body, attributes));
                }
            }
        }
        announced
    }
}
