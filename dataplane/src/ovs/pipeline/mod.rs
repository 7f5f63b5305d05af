//! From what should be to flows: which flows there are, and which of them a change concerns.
//!
//! A [`Unit`] is the smallest thing whose flows are rendered together. A change names the units it touches, a handful
//! however large the tables are ([`Pipeline::change`]), and [`Pipeline::render`] says what flows a unit has now. What
//! a flow looks like depends on the intent and the ports alone, never on the way there, so that a restarted daemon
//! finds standing what it wants. The tables are drawn in `docs/ovs-pipeline.md`.

mod chunks;
mod clients;
mod hops;
mod render;
mod routed;
mod spoof;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use types::{MacAddr, Vni};

use crate::intent::{Change, Client, Hop, Intent, Local, Service, Vrf};
use crate::ovs::OvsConfig;
use crate::ovs::flow::Flow;
use crate::rows::Key;
use chunks::Chunks;
use clients::{Attached, Clients, Seat};
use hops::Sets;

/// The smallest thing whose flows are rendered together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// What is there before anything is configured.
    Base,
    /// An L2 VNI: its way in from the tunnel, and the heads of its flood lists.
    Vni(Vni),
    /// A piece of an L2 VNI's flood list: VTEPs.
    Tunnels(Vni, u16),
    /// A piece of an L2 VNI's flood list: clients.
    Locals(Vni, u16),
    /// A MAC in an L2 VNI, remote or a client's.
    Mac(Vni, MacAddr),
    /// An address in an L2 VNI, remote or a client's: answers to ARP and ND.
    Neighbour(Vni, IpAddr),
    /// A client: its way in, what it may send, the way out to it.
    Client(Arc<str>),
    /// A VRF: its way in from the tunnel, and the answers of its gateway.
    Vrf(Vni),
    /// A prefix of a VRF.
    Prefix(Vni, IpNet),
    /// The buckets of a set of hops.
    Hops(u32),
}

/// The prefixes of a VRF, each with the number of its set of hops.
#[derive(Clone, Debug, Default)]
struct VrfTable {
    vrf: Option<Vrf>,
    prefixes: BTreeMap<IpNet, u32>,
}

impl chunks::Member for IpAddr {
    fn place(&self) -> u64 {
        match self {
            Self::V4(ip) => hops::stable(4, &ip.octets()),
            Self::V6(ip) => hops::stable(6, &ip.octets()),
        }
    }
}

impl chunks::Member for Seat {
    fn place(&self) -> u64 {
        hops::mix(u64::from(self.0))
    }
}

type Touch<'a> = &'a mut dyn FnMut(Unit);

/// What should be, and the flows that make it so.
#[derive(Clone, Debug)]
pub struct Pipeline {
    vtep: IpAddr,
    vxlan_port: u16,
    gateway_mac: MacAddr,
    intent: Intent,
    tunnels: BTreeMap<Vni, Chunks<IpAddr>>,
    locals: BTreeMap<Vni, Chunks<Seat>>,
    clients: Clients,
    vrfs: BTreeMap<Vni, VrfTable>,
    sets: Sets,
    tunnel: Option<u16>,
}

impl Pipeline {
    /// Nothing wanted, no port known.
    pub fn new(config: &OvsConfig) -> Self {
        Self {
            vtep: config.vtep,
            vxlan_port: config.vxlan_port,
            gateway_mac: config.gateway_mac,
            intent: Intent::new(),
            tunnels: BTreeMap::new(),
            locals: BTreeMap::new(),
            clients: Clients::new(&config.bridge),
            vrfs: BTreeMap::new(),
            sets: Sets::default(),
            tunnel: None,
        }
    }

    /// The rows wanted: VNIs, flood lists, MACs, neighbours.
    pub const fn intent(&self) -> &Intent {
        &self.intent
    }

    /// Takes a change in. `touched` gets the units whose flows may be others now, `told` what is to be said upwards
    /// at once: how a client that was put stands, and a client whose MAC is remote no longer.
    pub fn change(&mut self, change: &Change, touched: &mut impl Extend<Unit>, told: &mut Vec<Local>) {
        let touch: Touch<'_> = &mut |unit| touched.extend(Some(unit));
        match change {
            Change::PutVni(l2) => {
                if self.intent.rows().device(l2.vni) != Some(l2) {
                    self.intent.apply(change);
                    self.touch_vni(l2.vni, touch);
                }
                if self.clients.ports_known() {
                    told.push(Local::VniReady(l2.vni, self.tunnel.is_some()));
                }
            }
            Change::DelVni(vni) => {
                self.touch_vni(*vni, touch);
                self.intent.apply(change);
                self.tunnels.remove(vni);
            }
            Change::PutFlood(vni, vtep, _) => {
                let chunks = self.tunnels.entry(*vni).or_default();
                // Also one that was there may have another VNI on the wire.
                let before = chunks.count();
                touch(Unit::Tunnels(*vni, chunks.chunk_of(vtep)));
                chunks.insert(*vtep, &mut |chunk| touch(Unit::Tunnels(*vni, chunk)));
                if chunks.count() != before {
                    touch(Unit::Vni(*vni));
                }
                self.intent.apply(change);
            }
            Change::DelFlood(vni, vtep) => {
                if let Some(chunks) = self.tunnels.get_mut(vni) {
                    let before = chunks.count();
                    chunks.remove(vtep, &mut |chunk| touch(Unit::Tunnels(*vni, chunk)));
                    let now = chunks.count();
                    if now != before {
                        touch(Unit::Vni(*vni));
                    }
                    if now == 0 {
                        self.tunnels.remove(vni);
                    }
                }
                self.intent.apply(change);
            }
            Change::PutMac(vni, mac, _) => {
                self.intent.apply(change);
                touch(Unit::Mac(*vni, *mac));
            }
            Change::DelMac(vni, mac) => {
                self.intent.apply(change);
                touch(Unit::Mac(*vni, *mac));
                if let Some(name) = self.clients.with_mac(*vni, *mac).map(|at| at.client.name.clone()) {
                    self.tell(&name, told);
                }
            }
            Change::PutNeighbour(vni, ip, _) | Change::DelNeighbour(vni, ip) => {
                self.intent.apply(change);
                touch(Unit::Neighbour(*vni, *ip));
            }
            Change::PutClient(client) => self.put_client(client, touch, told),
            Change::DelClient(name) => {
                let free = self.leave(name, touch);
                self.clients.remove(name);
                self.wake(free, touch, told);
            }
            Change::PutVrf(vrf) => {
                let table = self.vrfs.entry(vrf.vni).or_default();
                if table.vrf.replace(*vrf) != Some(*vrf) {
                    self.touch_vrf(vrf.vni, touch);
                }
            }
            Change::DelVrf(vni) => {
                self.touch_vrf(*vni, touch);
                for (net, set) in self.vrfs.remove(vni).unwrap_or_default().prefixes {
                    self.sets.give_back(set, net);
                }
            }
            Change::PutPrefix(vni, net, hops) => self.put_prefix(*vni, net.trunc(), hops, touch),
            Change::DelPrefix(vni, net) => self.del_prefix(*vni, net.trunc(), touch),
            Change::Settled => {
                self.intent.apply(change);
            }
        }
    }

    /// The bridge has these ports, and the tunnel is at that one (`None`: it is not there yet). Says which clients
    /// came up or went down by it, and whether VNIs can be used.
    pub fn set_ports<'a>(
        &mut self,
        ports: impl IntoIterator<Item = (u16, &'a str)>,
        tunnel: Option<u16>,
        touched: &mut impl Extend<Unit>,
        told: &mut Vec<Local>,
    ) {
        let touch: Touch<'_> = &mut |unit| touched.extend(Some(unit));
        let first = !self.clients.ports_known();
        self.clients.set_ports(ports, tunnel);
        self.look_again(touch, told);

        let ready = tunnel.is_some();
        if first || ready != self.tunnel.is_some() {
            let vnis = self.intent.rows().vnis().filter(|vni| self.intent.rows().device(*vni).is_some());
            told.extend(vnis.map(|vni| Local::VniReady(vni, ready)));
        }
        if tunnel != self.tunnel {
            self.tunnel = tunnel;
            touch(Unit::Base);
            for (vni, chunks) in &self.tunnels {
                (0..chunks.count()).for_each(|chunk| touch(Unit::Tunnels(*vni, chunk)));
            }
            self.intent.rows().vnis().for_each(|vni| touch(Unit::Vni(vni)));
            self.vrfs.keys().for_each(|vni| touch(Unit::Vrf(*vni)));
        }
    }

    /// Every client, where the ports say it is now. Those that are where they belong stay, whoever else may want
    /// their place.
    fn look_again(&mut self, touch: Touch<'_>, told: &mut Vec<Local>) {
        let before: Vec<_> =
            self.clients.iter().map(|at| (at.client.name.clone(), at.place.clone())).collect();
        let mut moved = Vec::new();
        for (name, _) in &before {
            if !self.clients.still_there(name) {
                self.leave(name, touch);
                moved.push(name);
            }
        }
        for name in moved {
            self.arrive(name, touch);
        }
        for (name, was) in &before {
            if self.clients.get(name).is_some_and(|at| at.place != *was) {
                self.tell(name, told);
            }
        }
    }

    fn put_client(&mut self, client: &Client, touch: Touch<'_>, told: &mut Vec<Local>) {
        let name = &client.name;
        if self.clients.get(name).is_none_or(|at| at.client != *client) {
            let free = self.leave(name, touch);
            self.clients.insert(client.clone());
            self.arrive(name, touch);
            self.tell(name, told);
            // If it did not sit down again where it was.
            self.wake(free, touch, told);
        } else {
            self.tell(name, told);
        }
    }

    fn tell(&self, name: &Arc<str>, told: &mut Vec<Local>) {
        if let Some(state) = self.clients.get(name).and_then(Attached::state) {
            told.push(Local::Client { name: name.clone(), state });
        }
    }

    fn wake(&mut self, seat: Option<Seat>, touch: Touch<'_>, told: &mut Vec<Local>) {
        let Some(seat) = seat else { return };
        if let Some(name) = self.clients.next(seat) {
            self.clients.called(seat, &name);
            self.arrive(&name, touch);
            self.tell(&name, told);
        }
    }

    fn arrive(&mut self, name: &Arc<str>, touch: Touch<'_>) {
        if !self.clients.arrive(name) {
            return;
        }
        self.touch_client(name, touch);
        let Some(at) = self.clients.get(name) else { return };
        if let (Service::L2 { vni, .. }, Some(seat)) = (&at.client.service, at.seat()) {
            let chunks = self.locals.entry(*vni).or_default();
            let before = chunks.count();
            chunks.insert(seat, &mut |chunk| touch(Unit::Locals(*vni, chunk)));
            if chunks.count() != before {
                touch(Unit::Vni(*vni));
            }
        }
    }

    fn leave(&mut self, name: &str, touch: Touch<'_>) -> Option<Seat> {
        self.touch_client(name, touch);
        let seat = self.clients.leave(name)?;
        if let Some(Service::L2 { vni, .. }) = self.clients.get(name).map(|at| &at.client.service)
            && let Some(chunks) = self.locals.get_mut(vni)
        {
            let before = chunks.count();
            chunks.remove(&seat, &mut |chunk| touch(Unit::Locals(*vni, chunk)));
            let now = chunks.count();
            if now != before {
                touch(Unit::Vni(*vni));
            }
            if now == 0 {
                self.locals.remove(vni);
            }
        }
        Some(seat)
    }

    /// What depends on a client being at a port; nothing if it is at none.
    fn touch_client(&self, name: &str, touch: Touch<'_>) {
        let Some(Attached { client, .. }) = self.clients.get(name).filter(|at| at.seat().is_some()) else {
            return;
        };
        touch(Unit::Client(client.name.clone()));
        if let Service::L2 { vni, ips } = &client.service {
            touch(Unit::Mac(*vni, client.mac));
            for ip in ips {
                touch(Unit::Neighbour(*vni, *ip));
            }
        }
        for number in self.sets.with_client(name) {
            match self.sets.get(number) {
                Some(set) if set.is_ecmp() => touch(Unit::Hops(number)),
                Some(set) => set.local().for_each(|net| touch(Unit::Prefix(set.vrf, net))),
                None => (),
            }
        }
    }

    fn touch_vni(&self, vni: Vni, touch: Touch<'_>) {
        touch(Unit::Vni(vni));
        let mut keys = Vec::new();
        self.intent.rows().keys(vni, &mut keys);
        keys.iter().filter_map(unit_of).for_each(&mut *touch);
        let chunks = |count: u16, unit: fn(Vni, u16) -> Unit| (0..count).map(move |n| unit(vni, n));
        chunks(self.tunnels.get(&vni).map_or(0, Chunks::count), Unit::Tunnels).for_each(&mut *touch);
        chunks(self.locals.get(&vni).map_or(0, Chunks::count), Unit::Locals).for_each(&mut *touch);
        for at in self.clients.iter() {
            if matches!(&at.client.service, Service::L2 { vni: of, .. } if *of == vni) {
                self.touch_client(&at.client.name, touch);
            }
        }
    }

    fn touch_vrf(&self, vni: Vni, touch: Touch<'_>) {
        touch(Unit::Vrf(vni));
        for at in self.clients.iter() {
            if matches!(&at.client.service, Service::L3 { vrf, .. } if *vrf == vni) {
                touch(Unit::Client(at.client.name.clone()));
            }
        }
        let Some(table) = self.vrfs.get(&vni) else { return };
        let mut last = None;
        for (net, set) in &table.prefixes {
            touch(Unit::Prefix(vni, *net));
            if last != Some(*set) {
                last = Some(*set);
                touch(Unit::Hops(*set));
            }
        }
    }

    fn put_prefix(&mut self, vni: Vni, net: IpNet, hops: &[Hop], touch: Touch<'_>) {
        let table = self.vrfs.entry(vni).or_default();
        let old = table.prefixes.get(&net).copied();
        if old.and_then(|old| self.sets.get(old)).is_some_and(|set| *set.hops == *hops) {
            return;
        }
        let (number, new) = self.sets.take(vni, net, hops);
        if new {
            touch(Unit::Hops(number));
        }
        table.prefixes.insert(net, number);
        touch(Unit::Prefix(vni, net));
        if let Some(old) = old
            && self.sets.give_back(old, net)
        {
            touch(Unit::Hops(old));
        }
    }

    fn del_prefix(&mut self, vni: Vni, net: IpNet, touch: Touch<'_>) {
        let Some(table) = self.vrfs.get_mut(&vni) else { return };
        let Some(old) = table.prefixes.remove(&net) else { return };
        if table.prefixes.is_empty() && table.vrf.is_none() {
            self.vrfs.remove(&vni);
        }
        touch(Unit::Prefix(vni, net));
        if self.sets.give_back(old, net) {
            touch(Unit::Hops(old));
        }
    }

    /// Every unit there is, each once.
    pub fn units(&self) -> impl Iterator<Item = Unit> + '_ {
        let rows = self.intent.rows();
        let of_vni = |vni| {
            let mut keys = Vec::new();
            rows.keys(vni, &mut keys);
            keys.into_iter().filter_map(|key| unit_of(&key))
        };
        let tunnels = self.tunnels.iter().flat_map(|(vni, chunks)| {
            let vni = *vni;
            (0..chunks.count()).map(move |chunk| Unit::Tunnels(vni, chunk))
        });
        let locals = self.locals.iter().flat_map(|(vni, chunks)| {
            let vni = *vni;
            (0..chunks.count()).map(move |chunk| Unit::Locals(vni, chunk))
        });
        let macs = self.clients.macs().filter(|(vni, mac)| !rows.contains(&Key::Mac(*vni, *mac)));
        let ips = self.clients.ips().filter(|(vni, ip)| !rows.contains(&Key::Neighbour(*vni, *ip)));
        let prefixes = self.vrfs.iter().flat_map(|(vni, table)| {
            let vni = *vni;
            table.prefixes.keys().map(move |net| Unit::Prefix(vni, *net))
        });
        std::iter::once(Unit::Base)
            .chain(rows.vnis().flat_map(of_vni))
            .chain(tunnels)
            .chain(locals)
            .chain(macs.map(|(vni, mac)| Unit::Mac(vni, mac)))
            .chain(ips.map(|(vni, ip)| Unit::Neighbour(vni, ip)))
            .chain(self.clients.iter().map(|at| Unit::Client(at.client.name.clone())))
            .chain(self.vrfs.keys().map(|vni| Unit::Vrf(*vni)))
            .chain(prefixes)
            .chain(self.sets.numbers().map(Unit::Hops))
    }

    /// Appends the flows of a unit as they should be now: none, if it should not be.
    pub fn render(&self, unit: &Unit, out: &mut Vec<Flow>) {
        match unit {
            Unit::Base => self.base(out),
            Unit::Vni(vni) => self.vni(*vni, out),
            Unit::Tunnels(vni, chunk) => self.tunnels(*vni, *chunk, out),
            Unit::Locals(vni, chunk) => self.locals(*vni, *chunk, out),
            Unit::Mac(vni, mac) => self.mac(*vni, *mac, out),
            Unit::Neighbour(vni, ip) => self.neighbour(*vni, *ip, out),
            Unit::Client(name) => self.client(name, out),
            Unit::Vrf(vni) => self.vrf(*vni, out),
            Unit::Prefix(vni, net) => self.prefix(*vni, *net, out),
            Unit::Hops(number) => self.hops(*number, out),
        }
    }
}

/// The unit of a row; members of flood lists are in chunks.
const fn unit_of(key: &Key) -> Option<Unit> {
    match *key {
        Key::Vni(vni) => Some(Unit::Vni(vni)),
        Key::Flood(..) => None,
        Key::Mac(vni, mac) => Some(Unit::Mac(vni, mac)),
        Key::Neighbour(vni, ip) => Some(Unit::Neighbour(vni, ip)),
        Key::Prefix(vni, net) => Some(Unit::Prefix(vni, net)),
    }
}
