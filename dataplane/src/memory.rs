//! A dataplane in memory, for the simulation and for tests: it behaves as the kernel does where that matters (a MAC
//! learned on a port takes over a remote row, a remote row replaces a learned one, foreign rows are not ours), and
//! it can be made to fail. With [`Memory::shared`] all VNIs are in the same tables, each with a VLAN, as in the kernel's
//! layout of one device.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use types::{MacAddr, Vni};

use crate::backend::{Backend, Device, Error, ErrorKind, Fact, Outcome, PortPlace, Scope};
use crate::plan::Op;
use crate::rows::{Key, Row, Rows};

/// Events kept for a reader before it is told that some were lost.
const EVENTS: usize = 4096;
/// Events handed out by one [`Backend::poll`].
const POLL: usize = 1024;

/// A dataplane in memory.
#[derive(Debug, Default)]
pub struct Memory {
    rows: Rows,
    locals: BTreeMap<(Vni, MacAddr), (Arc<str>, bool)>,
    foreign: BTreeSet<(Vni, MacAddr)>,
    neighbours: BTreeMap<(Vni, IpAddr), (MacAddr, bool)>,
    /// Interfaces that clients can be behind.
    interfaces: BTreeSet<Box<str>>,
    events: VecDeque<Fact>,
    lost: bool,
    deaf: bool,
    ops: u64,
    fail: BTreeMap<u64, ErrorKind>,
    refuse: Option<ErrorKind>,
    trespasses: u64,
    /// All VNIs are in the same tables.
    shared: bool,
    /// Which VLAN each VNI has, where tables are shared.
    vlans: BTreeMap<Vni, u16>,
    next_vlan: u16,
    /// VNIs made and not looked at since: nothing can be in them yet.
    fresh: BTreeSet<Vni>,
    /// VNIs that have no table for neighbours by somebody's will.
    tableless: BTreeSet<Vni>,
    /// VNIs others set up.
    found: BTreeSet<Vni>,
    surveys: u64,
    walks: u64,
    largest: usize,
}

impl Memory {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empty, with tables that all VNIs share.
    pub fn shared() -> Self {
        Self { shared: true, ..Self::default() }
    }

    /// Walks of the tables so far: one for each VNI that was observed, or, if tables are shared, one for each time that all
    /// there is was asked for.
    pub const fn walks(&self) -> u64 {
        self.walks
    }

    /// How often it was asked for all VNIs that others set up.
    pub const fn surveys(&self) -> u64 {
        self.surveys
    }

    /// The most VNIs that were ever put by one call of [`Backend::apply`].
    pub const fn largest_group(&self) -> usize {
        self.largest
    }

    /// The VLAN of a VNI.
    pub fn vlan(&self, vni: Vni) -> Option<u16> {
        self.vlans.get(&vni).copied()
    }

    /// Somebody gives a VNI another VLAN.
    pub fn set_vlan(&mut self, vni: Vni, vlan: u16) {
        if self.vlans.insert(vni, vlan) != Some(vlan) {
            self.event(Fact::Device(vni));
        }
    }

    /// Somebody sets a VNI up, to be taken up as it is, or takes it away.
    pub fn set_found(&mut self, vni: Vni, there: bool) {
        if if there { self.found.insert(vni) } else { self.found.remove(&vni) } {
            self.event(Fact::Found(vni, there));
        }
    }

    /// The VNIs that others have set up.
    pub fn found_vnis(&self) -> impl Iterator<Item = Vni> + '_ {
        self.found.iter().copied()
    }

    /// Somebody makes the table for the neighbours of a VNI, or takes it away with all that is in it.
    pub fn set_table(&mut self, vni: Vni, there: bool) {
        if if there { self.tableless.remove(&vni) } else { self.tableless.insert(vni) } {
            if !there {
                self.forget_neighbours(vni);
            }
            self.event(Fact::Device(vni));
        }
    }

    /// The rows that stand.
    pub const fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Ops that went over what is not ours: a static entry on a port, a row of somebody else. It must be none.
    pub const fn trespasses(&self) -> u64 {
        self.trespasses
    }

    /// Ops applied so far.
    pub const fn ops(&self) -> u64 {
        self.ops
    }

    /// The MACs on local ports of a VNI, in order, with their port.
    pub fn locals(&self, vni: Vni) -> impl Iterator<Item = (MacAddr, &str)> + '_ {
        let range = (vni, MacAddr([0; 6]))..=(vni, MacAddr([0xff; 6]));
        self.locals.range(range).map(|((_, mac), (interface, _))| (*mac, interface.as_ref()))
    }

    /// The MACs on local ports of a VNI, in order, and whether each is a static entry.
    pub fn local_macs(&self, vni: Vni) -> impl Iterator<Item = (MacAddr, bool)> + '_ {
        let range = (vni, MacAddr([0; 6]))..=(vni, MacAddr([0xff; 6]));
        self.locals.range(range).map(|((_, mac), (_, sticky))| (*mac, *sticky))
    }

    /// An interface comes into being.
    pub fn add_interface(&mut self, name: &str) {
        self.interfaces.insert(name.into());
        self.event(Fact::Port(name.into()));
    }

    /// It goes, and what was learned behind it.
    pub fn remove_interface(&mut self, name: &str) {
        self.interfaces.remove(name);
        let gone: Vec<_> =
            self.locals.iter().filter(|(_, (port, _))| **port == *name).map(|(key, _)| *key).collect();
        for (vni, mac) in gone {
            self.age(vni, mac);
        }
        self.event(Fact::Port(name.into()));
    }

    /// A frame from this MAC comes in on a local port. As in the kernel's bridge, that takes over a remote row for
    /// it unless that one is sticky. False if it was not learned: there is no device, or a fixed row is in the way.
    pub fn learn(&mut self, vni: Vni, mac: MacAddr, interface: &str) -> bool {
        let fixed = self.locals.get(&(vni, mac)).is_some_and(|(_, sticky)| *sticky)
            || self.foreign.contains(&(vni, mac))
            || matches!(self.rows.get(&Key::Mac(vni, mac)), Some(Row::Mac(_, _, Some(r))) if r.sticky);
        if fixed || self.rows.device(vni).is_none() {
            return false;
        }
        self.local(vni, mac, interface, false);
        true
    }

    /// An operator puts a static entry for this MAC on a local port. False if there is no device.
    pub fn add_static(&mut self, vni: Vni, mac: MacAddr, interface: &str) -> bool {
        let there = self.rows.device(vni).is_some();
        if there {
            self.foreign.remove(&(vni, mac));
            self.local(vni, mac, interface, true);
        }
        there
    }

    /// The bridge has one entry for a MAC: of a remote row in its place, only the VXLAN device's half is left.
    fn local(&mut self, vni: Vni, mac: MacAddr, interface: &str, sticky: bool) {
        if self.rows.contains(&Key::Mac(vni, mac)) {
            self.rows.insert(Row::Mac(vni, mac, None));
        }
        let new = (Arc::from(interface), sticky);
        if self.locals.insert((vni, mac), new.clone()).as_ref() != Some(&new) {
            self.event(Fact::Local { vni, mac, interface: new.0, sticky });
        }
    }

    /// The addresses of local hosts in a VNI, in order, with their MACs.
    pub fn neighbours(&self, vni: Vni) -> impl Iterator<Item = (IpAddr, MacAddr)> + '_ {
        self.neighbours.iter().filter(move |((v, _), _)| *v == vni).map(|((_, ip), (mac, _))| (*ip, *mac))
    }

    /// A local MAC ages out, or its port goes.
    pub fn age(&mut self, vni: Vni, mac: MacAddr) {
        if self.locals.remove(&(vni, mac)).is_some() {
            self.event(Fact::MacGone(vni, mac));
        }
    }

    /// Somebody else installs a row for this MAC, in the place of whatever is there.
    pub fn add_foreign(&mut self, vni: Vni, mac: MacAddr) {
        self.rows.remove(&Key::Mac(vni, mac));
        self.locals.remove(&(vni, mac));
        self.foreign.insert((vni, mac));
        self.event(Fact::Foreign(vni, mac));
    }

    /// Somebody else's rows: must never change but by them.
    pub const fn foreign(&self) -> &BTreeSet<(Vni, MacAddr)> {
        &self.foreign
    }

    /// Somebody else takes his row away.
    pub fn remove_foreign(&mut self, vni: Vni, mac: MacAddr) {
        if self.foreign.remove(&(vni, mac)) {
            self.event(Fact::MacGone(vni, mac));
        }
    }

    /// The host finds a neighbour on a local port.
    pub fn add_neighbour(&mut self, vni: Vni, ip: IpAddr, mac: MacAddr, fixed: bool) {
        if self.rows.device(vni).is_some() {
            self.rows.remove(&Key::Neighbour(vni, ip));
            self.neighbours.insert((vni, ip), (mac, fixed));
            self.event(Fact::Neighbour { vni, ip, mac, fixed });
        }
    }

    /// It is known no longer.
    pub fn remove_neighbour(&mut self, vni: Vni, ip: IpAddr) {
        if self.neighbours.remove(&(vni, ip)).is_some() {
            self.event(Fact::NeighbourGone(vni, ip));
        }
    }

    /// Somebody writes one of our rows, or one that looks like ours, behind our back.
    pub fn set_row(&mut self, row: Row) {
        match &row {
            Row::Neighbour(vni, ..) if self.tableless.contains(vni) => return,
            Row::Vni(l2) => self.place(l2),
            _ => {}
        }
        self.fresh.remove(&row.key().vni());
        self.rows.insert(row);
    }

    /// Somebody removes a row of ours; [`Key::Vni`]: deletes the bridge with all that is in it.
    pub fn drop_row(&mut self, key: &Key) {
        if let Key::Vni(vni) = *key {
            self.forget(vni);
            self.foreign.retain(|(v, _)| *v != vni);
            self.event(Fact::Device(vni));
        } else if let Some(row) = self.rows.get(key) {
            self.rows.remove(key);
            self.event(if matches!(row, Row::Flood(..)) { Fact::Gone(row) } else { Fact::Touched(*key) });
        }
    }

    /// Fails the `n`th op from now on (0 is the next).
    pub fn fail_op(&mut self, n: u64, kind: ErrorKind) {
        self.fail.insert(self.ops + n, kind);
    }

    /// Fails every op, until told otherwise.
    pub const fn refuse(&mut self, kind: Option<ErrorKind>) {
        self.refuse = kind;
    }

    /// From now on (true), events are lost without a word, as they are when nobody listens.
    pub const fn lose_events(&mut self, lose: bool) {
        self.deaf = lose;
    }

    /// The reader is told that events were lost, as on a full netlink buffer.
    pub fn overrun(&mut self) {
        self.events.clear();
        self.lost = true;
    }

    /// A bridge goes, with its ports and what they know.
    fn forget(&mut self, vni: Vni) {
        self.rows.remove_vni(vni);
        self.vlans.remove(&vni);
        self.fresh.remove(&vni);
        self.locals.retain(|(v, _), _| *v != vni);
        self.neighbours.retain(|(v, _), _| *v != vni);
    }

    fn forget_neighbours(&mut self, vni: Vni) {
        let mut keys = Vec::new();
        self.rows.keys(vni, &mut keys);
        for key in keys.iter().filter(|key| matches!(key, Key::Neighbour(..))) {
            self.rows.remove(key);
        }
        self.neighbours.retain(|(v, _), _| *v != vni);
    }

    /// A VNI is put: where tables are shared, it gets the VLAN it wants, or just the next.
    fn place(&mut self, l2: &crate::intent::L2Vni) {
        if !self.shared {
            return;
        }
        if self.rows.device(l2.vni).is_none() {
            self.fresh.insert(l2.vni);
        }
        let vlan = l2.vlan.or(self.vlan(l2.vni)).unwrap_or_else(|| {
            self.next_vlan = self.next_vlan % 4094 + 1;
            self.next_vlan
        });
        self.vlans.insert(l2.vni, vlan);
    }

    fn event(&mut self, fact: Fact) {
        if self.deaf {
            return;
        }
        if self.events.len() == EVENTS {
            self.overrun();
        }
        self.events.push_back(fact);
    }

    fn apply_one(&mut self, op: &Op) -> Outcome {
        let number = self.ops;
        self.ops += 1;
        if let Some(kind) = self.fail.remove(&number).or(self.refuse) {
            return Outcome::Failed(Error::new(kind, op.to_string(), "made to fail"));
        }
        let key = op.key();
        let vni = key.vni();
        match op {
            Op::Put(Row::Vni(_)) | Op::Remove(_) => {}
            _ if self.rows.device(vni).is_none() => {
                return Outcome::Failed(Error::new(ErrorKind::NoDevice, op.to_string(), "no such device"));
            }
            _ => {}
        }
        match op {
            Op::Put(Row::Neighbour(..)) if self.tableless.contains(&vni) => return Outcome::Nowhere,
            Op::Put(row) => {
                match row {
                    Row::Vni(l2) => self.place(l2),
                    Row::Mac(_, mac, _) => {
                        let fixed = self.locals.remove(&(vni, *mac)).is_some_and(|(_, sticky)| sticky);
                        self.trespasses += u64::from(fixed || self.foreign.contains(&(vni, *mac)));
                    }
                    Row::Neighbour(_, ip, _) => {
                        self.neighbours.remove(&(vni, *ip));
                    }
                    Row::Flood(..) => {}
                }
                self.rows.insert(row.clone());
            }
            Op::Del(_) => {
                self.rows.remove(&key);
            }
            Op::Remove(_) => {
                self.forget(vni);
            }
        }
        Outcome::Done
    }

    /// Shows what there is in a VNI.
    fn show(&self, vni: Vni, scope: Scope, found: &mut dyn FnMut(Fact)) -> Device {
        if self.rows.device(vni).is_none() {
            return Device::Missing;
        }
        if let Some(vlan) = self.vlan(vni) {
            found(Fact::Vlan(vni, vlan));
        }
        let mut keys = Vec::new();
        self.rows.keys(vni, &mut keys);
        keys.retain(|key| match key {
            Key::Vni(_) | Key::Prefix(..) => false,
            Key::Mac(..) | Key::Flood(..) => scope == Scope::All,
            Key::Neighbour(..) => true,
        });
        for row in keys.iter().filter_map(|key| self.rows.get(key)) {
            found(Fact::Row { row, own: true });
        }
        let range = (vni, MacAddr([0; 6]))..=(vni, MacAddr([0xff; 6]));
        let macs: BTreeSet<MacAddr> = self
            .locals
            .range(range.clone())
            .map(|((_, mac), _)| *mac)
            .chain(self.foreign.range(range).map(|(_, mac)| *mac))
            .collect();
        for mac in macs {
            self.mac_facts(vni, mac, found);
        }
        for ((v, ip), (mac, fixed)) in &self.neighbours {
            if *v == vni {
                found(Fact::Neighbour { vni, ip: *ip, mac: *mac, fixed: *fixed });
            }
        }
        Device::Right
    }

    fn mac_facts(&self, vni: Vni, mac: MacAddr, found: &mut dyn FnMut(Fact)) {
        if let Some((interface, sticky)) = self.locals.get(&(vni, mac)) {
            found(Fact::Local { vni, mac, interface: interface.clone(), sticky: *sticky });
        }
        if self.foreign.contains(&(vni, mac)) {
            found(Fact::Foreign(vni, mac));
        }
    }
}

impl Backend for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn vnis(&mut self) -> Result<Vec<Vni>, Error> {
        Ok(self.rows.vnis().collect())
    }

    fn observe(
        &mut self,
        vnis: &[Vni],
        scope: Scope,
        found: &mut dyn FnMut(Fact),
    ) -> Vec<Result<Device, Error>> {
        let stale = vnis.iter().filter(|vni| !self.fresh.remove(vni)).count();
        let whole = stale > 0 && scope == Scope::All;
        self.walks += if self.shared { u64::from(whole) } else { stale as u64 };
        // Of many in one table, showing all is less work than picking out what was asked for.
        let scope = if self.shared && vnis.len() > 2 { Scope::All } else { scope };
        vnis.iter().map(|vni| Ok(self.show(*vni, scope, found))).collect()
    }

    fn shared(&self) -> bool {
        self.shared
    }

    fn found(&mut self) -> Result<Vec<Vni>, Error> {
        self.surveys += 1;
        Ok(self.found.iter().copied().collect())
    }

    fn look(&mut self, keys: &[Key], found: &mut dyn FnMut(Fact)) -> Result<(), Error> {
        for key in keys {
            if let Some(row) = self.rows.get(key) {
                found(Fact::Row { row, own: true });
            }
            match *key {
                Key::Mac(vni, mac) => self.mac_facts(vni, mac, found),
                Key::Neighbour(vni, ip) => {
                    if let Some((mac, fixed)) = self.neighbours.get(&(vni, ip)) {
                        found(Fact::Neighbour { vni, ip, mac: *mac, fixed: *fixed });
                    }
                }
                Key::Vni(_) | Key::Flood(..) | Key::Prefix(..) => {}
            }
        }
        Ok(())
    }

    fn apply(&mut self, ops: &[Op], _standing: &Rows, outcomes: &mut Vec<Outcome>) {
        self.largest = self.largest.max(ops.iter().filter(|op| matches!(op, Op::Put(Row::Vni(_)))).count());
        for op in ops {
            let outcome = self.apply_one(op);
            outcomes.push(outcome);
        }
    }

    fn port(&mut self, vni: Vni, interface: &str) -> Result<PortPlace, Error> {
        let attached = |l2: &crate::intent::L2Vni| l2.interfaces.iter().any(|i| i == interface);
        Ok(match self.rows.device(vni) {
            _ if !self.interfaces.contains(interface) => PortPlace::Missing,
            Some(l2) if attached(l2) => PortPlace::Attached,
            _ => PortPlace::Free,
        })
    }

    fn forget_port(&mut self, _interface: &str) {}

    fn poll(&mut self, facts: &mut Vec<Fact>) -> bool {
        if std::mem::take(&mut self.lost) {
            facts.push(Fact::Lost);
        }
        let n = self.events.len().min(POLL);
        facts.extend(self.events.drain(..n));
        !self.events.is_empty()
    }
}
