//! Clients and the ports they are behind: who is where, who holds which port and tag, and whose MACs and addresses
//! are local.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use types::{MacAddr, Vni};

use crate::intent::{Client, ClientState, Port, Service};

/// A place for one client: the port above, the tag (none: 0) below; what registers 5 and 6 hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Seat(pub(super) u32);

impl Seat {
    const fn new(port: u16, vlan: Option<u16>) -> Self {
        let tag = match vlan {
            Some(vlan) => vlan,
            None => 0,
        };
        Self((port as u32) << 16 | tag as u32)
    }

    /// The OpenFlow port.
    pub(super) const fn port(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The VLAN tag.
    pub(super) const fn vlan(self) -> Option<u16> {
        match (self.0 & 0xffff) as u16 {
            0 => None,
            tag => Some(tag),
        }
    }
}

/// Where a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nobody has looked yet.
    Unknown,
    /// At a port of this name.
    At(Seat, Arc<str>),
    /// Nowhere, and why.
    Nowhere(String),
}

/// A client, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Attached {
    pub(super) client: Client,
    pub(super) place: Place,
}

impl Attached {
    /// Its port and tag, if it has them.
    pub(super) const fn seat(&self) -> Option<Seat> {
        match &self.place {
            Place::At(seat, _) => Some(*seat),
            _ => None,
        }
    }

    /// How to say it; nothing before anybody has looked.
    pub(super) fn state(&self) -> Option<ClientState> {
        match &self.place {
            Place::Unknown => None,
            Place::At(_, name) => Some(ClientState::Up { interface: name.clone() }),
            Place::Nowhere(reason) => Some(ClientState::Down { reason: reason.clone() }),
        }
    }
}

/// The ports of the bridge.
#[derive(Clone, Debug, Default)]
struct Ports {
    names: BTreeMap<u16, Arc<str>>,
    numbers: HashMap<Arc<str>, u16, RandomState>,
    tunnel: Option<u16>,
}

type Names = BTreeSet<Arc<str>>;

/// All clients.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    bridge: Box<str>,
    all: BTreeMap<Arc<str>, Attached>,
    ports: Option<Ports>,
    seats: HashMap<Seat, Arc<str>, RandomState>,
    /// Those that want a seat that is taken.
    waiting: BTreeSet<(Seat, Arc<str>)>,
    macs: HashMap<(Vni, MacAddr), Names, RandomState>,
    ips: HashMap<(Vni, IpAddr), Names, RandomState>,
}

impl Clients {
    pub(super) fn new(bridge: &str) -> Self {
        Self {
            bridge: bridge.into(),
            all: BTreeMap::new(),
            ports: None,
            seats: HashMap::default(),
            waiting: BTreeSet::new(),
            macs: HashMap::default(),
            ips: HashMap::default(),
        }
    }

    /// Is it known which ports there are?
    pub(super) const fn ports_known(&self) -> bool {
        self.ports.is_some()
    }

    /// The client of this name.
    pub(super) fn get(&self, name: &str) -> Option<&Attached> {
        self.all.get(name)
    }

    /// All, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Attached> + '_ {
        self.all.values()
    }

    /// Those at a port of L2 VNIs: the MACs.
    pub(super) fn macs(&self) -> impl Iterator<Item = (Vni, MacAddr)> + '_ {
        self.macs.keys().copied()
    }

    /// And the addresses.
    pub(super) fn ips(&self) -> impl Iterator<Item = (Vni, IpAddr)> + '_ {
        self.ips.keys().copied()
    }

    /// The client at a port that has this MAC in an L2 VNI; the first by name, should there be two.
    pub(super) fn with_mac(&self, vni: Vni, mac: MacAddr) -> Option<&Attached> {
        self.all.get(self.macs.get(&(vni, mac))?.first()?)
    }

    /// The client at a port that has this address in an L2 VNI.
    pub(super) fn with_ip(&self, vni: Vni, ip: IpAddr) -> Option<&Attached> {
        self.all.get(self.ips.get(&(vni, ip))?.first()?)
    }

    /// Takes a client in, in the place of one of its name that is not at a port.
    pub(super) fn insert(&mut self, client: Client) {
        self.all.insert(client.name.clone(), Attached { client, place: Place::Unknown });
    }

    /// Takes it out; it has left its port.
    pub(super) fn remove(&mut self, name: &str) {
        self.all.remove(name);
    }

    /// The ports are these from now on.
    pub(super) fn set_ports<'a>(
        &mut self,
        ports: impl IntoIterator<Item = (u16, &'a str)>,
        tunnel: Option<u16>,
    ) {
        let mut known = Ports { tunnel, ..Ports::default() };
        for (number, name) in ports {
            let name: Arc<str> = name.into();
            known.names.insert(number, name.clone());
            known.numbers.insert(name, number);
        }
        self.ports = Some(known);
    }

    /// Where the ports say this client is, whoever else is there.
    fn look(&self, client: &Client) -> Place {
        let Some(ports) = &self.ports else { return Place::Unknown };
        let found = match &client.port {
            Port::Number(number) => ports.names.get_key_value(number),
            Port::Name(name) => ports.numbers.get(&**name).and_then(|n| ports.names.get_key_value(n)),
        };
        match found {
            None => {
                let port = match &client.port {
                    Port::Number(number) => number as &dyn std::fmt::Display,
                    Port::Name(name) => name,
                };
                Place::Nowhere(format!("no port {port} on bridge {} yet", self.bridge))
            }
            Some((number, name)) if ports.tunnel == Some(*number) => {
                Place::Nowhere(format!("port {name} is the VXLAN port"))
            }
            Some((number, name)) => Place::At(Seat::new(*number, client.vlan), name.clone()),
        }
    }

    /// Is this client where the ports say it should be? Its port may have got another name.
    pub(super) fn still_there(&mut self, name: &str) -> bool {
        let Some(attached) = self.all.get(name) else { return false };
        let place = self.look(&attached.client);
        let (Some(attached), Place::At(seat, _)) = (self.all.get_mut(name), &place) else { return false };
        if attached.seat() != Some(*seat) {
            return false;
        }
        attached.place = place;
        true
    }

    /// Puts a client where it belongs, if nobody is there. True if it is at a port now.
    pub(super) fn arrive(&mut self, name: &Arc<str>) -> bool {
        let Some(attached) = self.all.get(name) else { return false };
        let mut place = self.look(&attached.client);
        if let Place::At(seat, port) = &place {
            let seat = *seat;
            match self.seats.get(&seat) {
                Some(other) if other != name => {
                    let tag = seat.vlan().map_or("untagged".to_owned(), |vlan| format!("VLAN {vlan}"));
                    place = Place::Nowhere(format!("port {port}, {tag}, belongs to client {other}"));
                    self.waiting.insert((seat, name.clone()));
                }
                _ => {
                    self.seats.insert(seat, name.clone());
                    if let Service::L2 { vni, ips } = &attached.client.service {
                        self.macs.entry((*vni, attached.client.mac)).or_default().insert(name.clone());
                        for ip in ips {
                            self.ips.entry((*vni, *ip)).or_default().insert(name.clone());
                        }
                    }
                }
            }
        }
        let Some(attached) = self.all.get_mut(name) else { return false };
        attached.place = place;
        attached.seat().is_some()
    }

    /// Takes a client away from where it is; the seat that is free now, if it had one.
    pub(super) fn leave(&mut self, name: &str) -> Option<Seat> {
        self.waiting.retain(|(_, waiting)| **waiting != *name);
        let attached = self.all.get_mut(name)?;
        let seat = attached.seat();
        attached.place = Place::Unknown;
        let seat = seat?;
        self.seats.remove(&seat);
        if let Service::L2 { vni, ips } = &attached.client.service {
            forget(&mut self.macs, &(*vni, attached.client.mac), name);
            for ip in ips {
                forget(&mut self.ips, &(*vni, *ip), name);
            }
        }
        Some(seat)
    }

    /// The next client that waits for this seat, if it is free.
    pub(super) fn next(&self, seat: Seat) -> Option<Arc<str>> {
        if self.seats.contains_key(&seat) {
            return None;
        }
        let first = (seat, Arc::from(""));
        self.waiting.range(first..).next().filter(|(s, _)| *s == seat).map(|(_, name)| name.clone())
    }

    /// It waits no longer.
    pub(super) fn called(&mut self, seat: Seat, name: &Arc<str>) {
        self.waiting.remove(&(seat, name.clone()));
    }
}

fn forget<K: Eq + std::hash::Hash>(map: &mut HashMap<K, Names, RandomState>, key: &K, name: &str) {
    if let Some(names) = map.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            map.remove(key);
        }
    }
}
