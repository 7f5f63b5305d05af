//! Nodes for tests: an [`Evpn`] with what a RIB and a dataplane would make of what it says.

mod attached;
mod clients;
mod found;
mod mobility;
mod model;
mod random;
mod scenarios;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bgp::wire::attr::{Pmsi, PmsiTunnel};
use bgp::wire::{ExtCommunity, Rd, RouteTarget};
use dataplane::intent::{Client, Flood, Hop, L2Vni, Neighbour, RemoteMac, Vrf};
use ipnet::IpNet;

use super::*;
use crate::control::view::MacSource;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn rt(text: &str) -> RouteTarget {
    text.parse().unwrap()
}

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

fn vni(n: u32) -> Vni {
    Vni::new(n).unwrap()
}

/// What a dataplane has when it did all it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    vnis: BTreeMap<Vni, L2Vni>,
    flood: BTreeMap<(Vni, IpAddr), Flood>,
    macs: BTreeMap<(Vni, MacAddr), RemoteMac>,
    neighbours: BTreeMap<(Vni, IpAddr), Neighbour>,
    clients: BTreeMap<Arc<str>, Client>,
    vrfs: BTreeMap<Vni, Vrf>,
    prefixes: BTreeMap<(Vni, IpNet), Vec<Hop>>,
    settled: bool,
}

impl Table {
    /// Nothing may be put into a VNI that is not there, and nothing removed that is not.
    fn apply(&mut self, change: &Change) {
        let there = |vni| assert!(self.vnis.contains_key(&vni), "no such VNI: {change:?}");
        match *change {
            Change::PutVni(ref l2) => {
                self.vnis.insert(l2.vni, l2.clone());
            }
            Change::DelVni(vni) => {
                assert!(self.vnis.remove(&vni).is_some(), "{change:?}");
                self.flood.retain(|(v, _), _| *v != vni);
                self.macs.retain(|(v, _), _| *v != vni);
                self.neighbours.retain(|(v, _), _| *v != vni);
            }
            Change::PutFlood(vni, ip, flood) => {
                there(vni);
                self.flood.insert((vni, ip), flood);
            }
            Change::DelFlood(vni, ip) => assert!(self.flood.remove(&(vni, ip)).is_some(), "{change:?}"),
            Change::PutMac(vni, mac, remote) => {
                there(vni);
                self.macs.insert((vni, mac), remote);
            }
            Change::DelMac(vni, mac) => assert!(self.macs.remove(&(vni, mac)).is_some(), "{change:?}"),
            Change::PutNeighbour(vni, ip, neighbour) => {
                there(vni);
                self.neighbours.insert((vni, ip), neighbour);
            }
            Change::DelNeighbour(vni, ip) => {
                assert!(self.neighbours.remove(&(vni, ip)).is_some(), "{change:?}");
            }
            Change::PutClient(ref client) => {
                self.clients.insert(client.name.clone(), client.clone());
            }
            Change::DelClient(ref name) => assert!(self.clients.remove(name).is_some(), "{change:?}"),
            Change::PutVrf(vrf) => {
                self.vrfs.insert(vrf.vni, vrf);
            }
            Change::DelVrf(vni) => {
                assert!(self.vrfs.remove(&vni).is_some(), "{change:?}");
                self.prefixes.retain(|(v, _), _| *v != vni);
            }
            Change::PutPrefix(vni, prefix, ref hops) => {
                assert!(self.vrfs.contains_key(&vni), "no such VRF: {change:?}");
                assert!(hops.is_sorted_by(|a, b| a < b), "{change:?}");
                self.prefixes.insert((vni, prefix), hops.clone());
            }
            Change::DelPrefix(vni, prefix) => {
                assert!(self.prefixes.remove(&(vni, prefix)).is_some(), "{change:?}");
            }
            Change::Settled => self.settled = true,
        }
    }
}

type Content = (NlriBody, Attributes);
type Message = (RouteKey, Option<Content>);

/// One node.
#[derive(Debug)]
struct Node {
    evpn: Evpn,
    now: Time,
    table: Table,
    /// What it originates.
    announced: BTreeMap<RouteKey, Content>,
    /// What it heard from others.
    heard: BTreeMap<RouteKey, Content>,
    dests: BTreeMap<RouteKey, u32>,
    events: Vec<EventKind>,
    heard_count: u32,
}

impl Node {
    /// 10.0.0.`n`, AS 65000 + `n`, with these VNIs at their defaults, devices ready.
    fn new(n: u8, vnis: &[u32]) -> Self {
        let vtep = Ipv4Addr::new(10, 0, 0, n);
        let config = EvpnConfig {
            asn: 65000 + u32::from(n),
            router_id: vtep,
            vtep: Some(vtep.into()),
            vxlan_port: 4789,
            discover: false,
            router_mac: None,
        };
        let mut node = Self {
            evpn: Evpn::new(config),
            now: Time::ZERO,
            table: Table::default(),
            announced: BTreeMap::new(),
            heard: BTreeMap::new(),
            dests: BTreeMap::new(),
            events: Vec::new(),
            heard_count: 0,
        };
        node.configure(vnis.iter().map(|&v| MacVrfConfig::new(vni(v))).collect());
        for &v in vnis {
            node.local(Local::VniReady(vni(v), true));
        }
        node
    }

    fn vtep(&self) -> IpAddr {
        self.evpn.node.vtep.unwrap()
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    /// Does what it says; returns what its peers hear.
    fn drain(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(output) = self.evpn.poll_output() {
            match output {
                Output::Originate(key, body, attributes) => {
                    self.announced.insert(key.clone(), (body, (*attributes).clone()));
                    messages.push((key, Some((body, *attributes))));
                }
                Output::Withdraw(key) => {
                    assert!(
                        self.announced.remove(&key).is_some(),
                        "withdraw of what was not announced: {key:?}"
                    );
                    messages.push((key, None));
                }
                Output::Dataplane(change) => self.table.apply(&change),
                Output::Event(event) => self.events.push(event.kind),
            }
        }
        messages
    }

    fn configure(&mut self, configs: Vec<MacVrfConfig>) -> Vec<Message> {
        let configured = self.evpn.configure(configs, self.now).unwrap();
        if configured.needs_replay {
            for (key, content) in self.heard.clone() {
                self.feed(&key, Some(&content));
            }
        }
        self.drain()
    }

    fn feed(&mut self, key: &RouteKey, content: Option<&Content>) {
        let next = self.dests.len() as u32;
        let dest = *self.dests.entry(key.clone()).or_insert(next);
        // Few ids of attributes, reused all the time.
        self.heard_count += 1;
        let attr_id = self.heard_count % 4;
        let route = content.map(|(body, attributes)| Route { attributes, attr_id, body, local: false });
        self.evpn.route(dest, key, route, self.now);
    }

    fn hear(&mut self, (key, content): Message) -> Vec<Message> {
        self.feed(&key, content.as_ref());
        match content {
            Some(content) => self.heard.insert(key, content),
            None => self.heard.remove(&key),
        };
        self.drain()
    }

    fn hear_all(&mut self, messages: impl IntoIterator<Item = Message>) -> Vec<Message> {
        messages.into_iter().flat_map(|m| self.hear(m)).collect()
    }

    fn local(&mut self, local: Local) -> Vec<Message> {
        self.evpn.local(local, self.now);
        self.drain()
    }

    fn seen(&mut self, v: u32, mac: MacAddr) -> Vec<Message> {
        self.local(Local::MacSeen { vni: vni(v), mac, interface: "tap0".into(), sticky: false })
    }

    fn seen_static(&mut self, v: u32, mac: MacAddr) -> Vec<Message> {
        self.local(Local::MacSeen { vni: vni(v), mac, interface: "tap0".into(), sticky: true })
    }

    fn gone(&mut self, v: u32, mac: MacAddr) -> Vec<Message> {
        self.local(Local::MacGone { vni: vni(v), mac })
    }

    fn address(&mut self, v: u32, mac: MacAddr, address: &str) -> Vec<Message> {
        self.local(Local::NeighbourSeen { vni: vni(v), ip: ip(address), mac })
    }

    /// Where the dataplane has a MAC.
    fn remote(&self, v: u32, mac: MacAddr) -> Option<IpAddr> {
        self.table.macs.get(&(vni(v), mac)).map(|r| r.vtep)
    }

    /// The MAC-only route announced for a MAC: its sequence and sticky flag.
    fn announces(&self, v: u32, mac: MacAddr) -> Option<(u32, bool)> {
        self.announced.iter().find_map(|(key, (body, attributes))| match *key {
            RouteKey::MacIp { mac: m, ip: None, .. } if m == mac && body.label == vni(v) => {
                Some(attributes.mac_mobility())
            }
            _ => None,
        })
    }

    fn flood(&self, v: u32) -> Vec<(IpAddr, u32)> {
        let rows = self.table.flood.iter().filter(|((at, _), _)| *at == vni(v));
        rows.map(|((_, ip), flood)| (*ip, flood.vni.get())).collect()
    }

    fn standing(&self, v: u32, mac: MacAddr) -> Vec<Standing> {
        self.evpn.explain(vni(v), mac).unwrap().candidates.iter().map(|c| c.standing).collect()
    }
}

/// Attributes of a route from 10.0.0.`n` with these route targets.
fn from(n: u8, targets: &[&str]) -> Attributes {
    let mut attributes = Attributes::local(Ipv4Addr::new(10, 0, 0, n).into());
    attributes.ext_communities =
        targets.iter().map(|t| rt(t).community()).chain([ExtCommunity::VXLAN]).collect();
    attributes
}

/// A type 2 route of 10.0.0.`n`'s RD.
fn type2(n: u8, mac: MacAddr, address: Option<&str>, label: u32, attributes: Attributes) -> Message {
    let rd = Rd::from_ip(Ipv4Addr::new(10, 0, 0, n), 1);
    let key = RouteKey::MacIp { rd, tag: 0, mac, ip: address.map(ip) };
    (key, Some((NlriBody { label: vni(label), ..NlriBody::default() }, attributes)))
}

/// A type 3 route of 10.0.0.`n`.
fn type3(n: u8, attributes: Attributes) -> Message {
    let originator = Ipv4Addr::new(10, 0, 0, n);
    let key = RouteKey::Imet { rd: Rd::from_ip(originator, 1), tag: 0, originator: originator.into() };
    (key, Some((NlriBody::default(), attributes)))
}

/// A type 1 per-ES route of 10.0.0.`n`.
fn type1(n: u8, esi: Esi) -> Message {
    let key = RouteKey::EthernetAd { rd: Rd::from_ip(Ipv4Addr::new(10, 0, 0, n), 1), esi, tag: u32::MAX };
    (key, Some((NlriBody::default(), from(n, &["9:9"]))))
}

fn with_pmsi(attributes: Attributes, tunnel: PmsiTunnel, label: u32) -> Attributes {
    Attributes { pmsi: Some(Pmsi { flags: 0, vni: vni(label), tunnel }), ..attributes }
}

fn with(mut attributes: Attributes, community: ExtCommunity) -> Attributes {
    attributes.ext_communities.push(community);
    attributes
}

fn gone(message: &Message) -> Message {
    (message.0.clone(), None)
}
