//! What a picture shows, made of the rows of `show routes`: hosts, the VNIs each takes part in, and what it has there.
//!
//! - type 3 (RFC 7432 §7.3): the host at the next hop wants what is flooded in the VNI of its PMSI attribute. Its Ethernet
//!   tag is the host's own VLAN, where a host tells it (RFC 8365 §5.1.2: "VLAN-aware bundle"; most announce 0).
//! - type 2 (§7.2): a MAC, perhaps with an address, is there. Where several hosts announce one MAC, those with the
//!   highest mobility sequence have it (§15), and with equal ones all are shown.
//! - type 5 (RFC 9136 §3): the VNI is a VRF, and a prefix is behind that host.
//!
//! Only best paths count. Types 1 and 4 say nothing of VNIs on hosts: they are counted and not drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use types::{MacAddr, Vni};

use crate::control::view::RouteView;

/// The network as a RIB tells it, in order: the same routes in any order make the same model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Whose RIB it is.
    pub observer: Option<Observer>,
    /// It is of this VNI alone.
    pub only: Option<Vni>,
    /// The hosts, by VTEP.
    pub hosts: Vec<Host>,
    /// The VNIs, by number; a VNI's place here is its colour in every picture.
    pub overlays: Vec<Overlay>,
    /// Routes looked at.
    pub routes: u64,
    /// Of those, best ones that no picture shows: type, and how many.
    pub undrawn: BTreeMap<u8, u64>,
}

/// Who tells all this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observer {
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// Its AS.
    pub asn: u32,
    /// Its VTEP address, if it has one.
    pub vtep: Option<IpAddr>,
}

/// What is known beside the routes.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whose RIB it is.
    pub observer: Option<Observer>,
    /// Only routes of this VNI were asked for.
    pub only: Option<Vni>,
    /// What the observer calls its neighbours.
    pub names: BTreeMap<IpAddr, String>,
    /// The VLANs that hosts have for VNIs: by VTEP and VNI. No route tells them of a host whose VLANs are its own.
    pub vlans: BTreeMap<(IpAddr, u32), u16>,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The address of its tunnels.
    pub vtep: IpAddr,
    /// Its AS.
    pub asn: Option<u32>,
    /// What it is called.
    pub name: Option<String>,
    /// It is the observer itself.
    pub local: bool,
    /// What it has in each VNI, by VNI.
    pub members: Vec<Member>,
}

/// A host's part in a VNI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The VNI's place in [`Model::overlays`].
    pub overlay: usize,
    /// It wants what is flooded (type 3).
    pub flood: bool,
    /// Its VLANs on that host, where that is known. One, unless a host says odd things.
    pub vlans: Vec<u16>,
    /// Its MACs, by MAC.
    pub macs: Vec<Mac>,
    /// Its prefixes, in order.
    pub prefixes: Vec<IpNet>,
}

/// A MAC on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mac {
    /// The MAC.
    pub mac: MacAddr,
    /// Its addresses, in order.
    pub ips: Vec<IpAddr>,
    /// It must not move.
    pub sticky: bool,
    /// Other hosts that announce it with the same right.
    pub also: Vec<IpAddr>,
}

/// A VNI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// The VNI.
    pub vni: u32,
    /// Its hosts: places in [`Model::hosts`], in order.
    pub hosts: Vec<usize>,
    /// MACs on all hosts.
    pub macs: usize,
    /// Prefixes on all hosts.
    pub prefixes: usize,
}

impl Overlay {
    /// It routes: type 5 routes, and nothing of layer 2.
    pub fn is_vrf(&self, model: &Model) -> bool {
        self.prefixes > 0 && self.macs == 0 && !self.members(model).any(|(_, member)| member.flood)
    }

    /// Its hosts, and their parts in it.
    pub fn members<'m>(&self, model: &'m Model) -> impl Iterator<Item = (&'m Host, &'m Member)> {
        let vni = self.vni;
        self.hosts.iter().filter_map(move |&at| {
            let host = model.hosts.get(at)?;
            let has = |m: &Member| model.overlays.get(m.overlay).map_or(0, |o| o.vni);
            let member = host.members.binary_search_by_key(&vni, has).ok()?;
            Some((host, host.members.get(member)?))
        })
    }
}

impl Model {
    /// MACs on all hosts.
    pub fn macs(&self) -> usize {
        self.overlays.iter().map(|o| o.macs).sum()
    }

    /// Prefixes on all hosts.
    pub fn prefixes(&self) -> usize {
        self.overlays.iter().map(|o| o.prefixes).sum()
    }
}

/// Takes routes, page by page, and makes a [`Model`] of them.
#[derive(Debug, Default)]
pub struct Builder {
    hosts: BTreeMap<IpAddr, Heard>,
    routes: u64,
    undrawn: BTreeMap<u8, u64>,
}

/// What was heard of a host.
#[derive(Debug, Default)]
struct Heard {
    asns: BTreeSet<u32>,
    vnis: BTreeMap<u32, HeardVni>,
}

#[derive(Debug, Default)]
struct HeardVni {
    flood: bool,
    tags: BTreeSet<u32>,
    macs: BTreeMap<MacAddr, HeardMac>,
    prefixes: BTreeSet<IpNet>,
}

/// Who has a MAC of a VNI, and by which right.
type Owners = BTreeMap<(u32, MacAddr), (Right, BTreeSet<IpAddr>)>;

/// What decides who has a MAC: that it may not move before all, then the sequence.
type Right = (bool, u32);

#[derive(Debug, Default)]
struct HeardMac {
    ips: BTreeSet<IpAddr>,
    right: Right,
}

impl Builder {
    /// One more row.
    pub fn add(&mut self, row: &RouteView) {
        self.routes += 1;
        if row.best && self.take(row).is_none() {
            *self.undrawn.entry(row.route_type).or_default() += 1;
        }
    }

    /// `None`: nothing in it to draw.
    fn take(&mut self, row: &RouteView) -> Option<()> {
        let vtep = row.next_hop?;
        if !matches!(row.route_type, 2 | 3 | 5) {
            return None;
        }
        let host = self.hosts.entry(vtep).or_default();
        host.asns.extend(row.as_path.last());
        // Zero means none where a label carries no meaning.
        let vni = host.vnis.entry(row.vni.filter(|vni| *vni != 0)?).or_default();
        match row.route_type {
            2 => {
                let mac = vni.macs.entry(row.mac.filter(|mac| mac.is_host())?).or_default();
                mac.ips.extend(row.ip.filter(|ip| !ip.is_unspecified()));
                mac.right = mac.right.max((row.sticky == Some(true), row.sequence.unwrap_or(0)));
            }
            3 => vni.flood = true,
            _ => {
                vni.prefixes.insert(row.prefix?);
            }
        }
        if row.route_type != 5 {
            vni.tags.extend(ethernet_tag(&row.nlri).filter(|tag| *tag != 0));
        }
        Some(())
    }

    /// The model of all that was taken.
    pub fn finish(mut self, facts: &Facts) -> Model {
        // A VNI may have been made for a route that was of no use then.
        for host in self.hosts.values_mut() {
            host.vnis.retain(|_, v| v.flood || !v.macs.is_empty() || !v.prefixes.is_empty());
        }
        let owners = self.owners();
        let vnis: BTreeSet<u32> = self.hosts.values().flat_map(|host| host.vnis.keys().copied()).collect();
        let mut overlays: Vec<Overlay> =
            (vnis.iter()).map(|&vni| Overlay { vni, hosts: Vec::new(), macs: 0, prefixes: 0 }).collect();
        let places: BTreeMap<u32, usize> = vnis.into_iter().enumerate().map(|(at, vni)| (vni, at)).collect();
        let own = facts.observer.and_then(|o| o.vtep);
        let mut hosts = Vec::new();
        for (vtep, heard) in self.hosts {
            let local = own == Some(vtep);
            let mut members = Vec::new();
            for (vni, heard) in heard.vnis {
                let (Some(&place), at) = (places.get(&vni), hosts.len()) else { continue };
                let mut vlans: BTreeSet<u16> =
                    heard.tags.iter().filter(|tag| **tag < 4095).map(|tag| *tag as u16).collect();
                vlans.extend(facts.vlans.get(&(vtep, vni)));
                let macs = heard.macs.into_iter().filter_map(|(mac, heard)| {
                    // Announced by one host only, or by several with this right.
                    let also = match owners.get(&(vni, mac)) {
                        Some((right, at)) if *right == heard.right => at.clone(),
                        Some(_) => return None,
                        None => BTreeSet::new(),
                    };
                    let also = also.into_iter().filter(|other| *other != vtep).collect();
                    let ips = heard.ips.into_iter().collect();
                    Some(Mac { mac, ips, sticky: heard.right.0, also })
                });
                let member = Member {
                    overlay: place,
                    flood: heard.flood,
                    vlans: vlans.into_iter().collect(),
                    macs: macs.collect(),
                    prefixes: heard.prefixes.into_iter().collect(),
                };
                let overlay = &mut overlays[place];
                overlay.hosts.push(at);
                overlay.macs += member.macs.len();
                overlay.prefixes += member.prefixes.len();
                members.push(member);
            }
            // Two paths to one VTEP should agree on its AS; if not, none is claimed.
            let asn = heard.asns.first().copied().filter(|_| heard.asns.len() == 1);
            let asn = if local { facts.observer.map(|o| o.asn) } else { asn };
            hosts.push(Host { vtep, asn, name: facts.names.get(&vtep).cloned(), local, members });
        }
        let (observer, only) = (facts.observer, facts.only);
        Model { observer, only, hosts, overlays, routes: self.routes, undrawn: self.undrawn }
    }

    /// MACs that several hosts announce: the best right, and who has that.
    fn owners(&self) -> Owners {
        let mut seen = Owners::new();
        for (vtep, host) in &self.hosts {
            for (vni, heard) in &host.vnis {
                for (mac, heard) in &heard.macs {
                    let (right, at) = seen.entry((*vni, *mac)).or_default();
                    if heard.right > *right {
                        (*right, *at) = (heard.right, BTreeSet::new());
                    }
                    if heard.right == *right {
                        at.insert(*vtep);
                    }
                }
            }
        }
        seen
    }
}

/// The Ethernet tag in the key's text: `[3]:[10]:[32]:[10.0.0.101]`.
fn ethernet_tag(nlri: &str) -> Option<u32> {
    let mut fields = nlri.split("]:[");
    fields.next()?;
    fields.next()?.parse().ok()
}
