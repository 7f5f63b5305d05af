//! The layout `device-per-vni`: a bridge and a VXLAN device for each VNI.
//!
//! See `devices` for which devices that takes and whose they are, `manage` for how they are brought into shape.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::BorrowedFd;

use foldhash::fast::RandomState;
use types::Vni;

use super::base::{Base, Placed};
use super::config::KernelConfig;
use super::links::{Kind, Link};
use super::marks;
use super::observe::EVERYTHING;
use super::rows::Place;
use super::wire::{NDA_IFINDEX, NDA_MASTER, Neigh, RTM_DELLINK, RTM_NEWLINK};
use super::write::{Work, runs};
use crate::backend::{Backend, Device, Error, Fact, Outcome, PortPlace, Scope};
use crate::plan::Op;
use crate::plane;
use crate::rows::{Key, Row, Rows};

mod devices;
mod manage;

/// A walk through the FDB of one bridge looks at every device of the host. From so many VNIs on one walk through all
/// FDBs is shorter.
const MANY: usize = 32;
/// Unless it comes by more rows than these, which are not asked for.
const MOST_ROWS: usize = 256 * 1024;

/// The kernel backend with devices for each VNI.
#[derive(Debug)]
pub struct Kernel {
    base: Base,
    /// Both devices of these VNIs were just made: nothing can be in them yet.
    fresh: BTreeSet<Vni>,
    /// So many rows the last walk through everything came by; it fades, so that another is tried in time.
    walked: usize,
    /// VNIs others set up, as was last read or told.
    found: BTreeSet<Vni>,
    /// A dry run has said what goes of the other layout.
    described: bool,
}

/// A bridge of its own: all that is in it is of this VNI.
const fn place(bridge: u32, vxlan: u32) -> Place {
    Place { bridge, vxlan, table: Some(bridge), vlan: None }
}

impl Kernel {
    /// Opens the sockets in the network namespace of the calling thread, and reads the links there are.
    pub fn open(config: KernelConfig) -> io::Result<Self> {
        Ok(Self {
            base: Base::open(config, &[])?,
            fresh: BTreeSet::new(),
            walked: 0,
            found: BTreeSet::new(),
            described: false,
        })
    }

    /// Which VNI a row in an FDB belongs to, and where that one is.
    fn whose(base: &Base, n: &Neigh) -> Option<(Vni, Place)> {
        let vni = base.by_index.get(&n.index).or_else(|| base.by_index.get(&n.master?))?;
        Some((*vni, base.vnis.get(vni)?.at))
    }

    /// Everything in the FDB of a VNI; or what the bridge has on its local ports, with one walk of its table for each,
    /// however large that is.
    fn observe_fdb(
        &mut self,
        vni: Vni,
        at: Place,
        scope: Scope,
        found: &mut dyn FnMut(Fact),
    ) -> Result<(), Error> {
        // Before Linux 5.0 a dump is not filtered.
        let here = |n: &Neigh| n.index == at.vxlan || n.index == at.bridge || n.master == Some(at.bridge);
        let whose = |n: &Neigh| here(n).then_some((vni, at));
        match scope {
            Scope::All => self.base.dump_fdb((NDA_MASTER, at.bridge), &whose, found),
            Scope::Local => {
                let ports = self.base.links.ports(at.bridge).map(|link| link.index);
                let ports: Vec<u32> = ports.filter(|index| *index != at.vxlan).collect();
                ports.into_iter().try_for_each(|port| self.base.dump_fdb((NDA_IFINDEX, port), &whose, found))
            }
        }
    }

    fn observe_all(&mut self, vni: Vni, at: Place, found: &mut dyn FnMut(Fact)) -> Result<(), Error> {
        self.observe_fdb(vni, at, Scope::All, found)?;
        self.base.observe_neighbours(vni, at, found)
    }

    fn observe_one(&mut self, vni: Vni, scope: Scope, found: &mut dyn FnMut(Fact)) -> Result<Device, Error> {
        let Some(Placed { at, .. }) = self.base.vnis.get(&vni) else {
            return self.observe_unknown(vni, found);
        };
        let at = *at;
        let state = self.observe_devices(vni)?;
        if state != Device::Missing {
            self.observe_fdb(vni, at, scope, found)?;
            self.base.observe_neighbours(vni, at, found)?;
        }
        Ok(state)
    }

    fn observe_devices(&mut self, vni: Vni) -> Result<Device, Error> {
        self.refresh(vni)?;
        Ok(self.base.vnis.get(&vni).map_or(Device::Missing, |placed| self.state(placed)))
    }

    /// The same for many VNIs, ascending: every table is walked once, whatever else is in it.
    fn observe_many(
        &mut self,
        vnis: &[Vni],
        found: &mut dyn FnMut(Fact),
    ) -> Result<Vec<Result<Device, Error>>, Error> {
        let states = vnis.iter().map(|vni| self.observe_devices(*vni)).collect();
        let places: HashMap<u32, (Vni, Place), RandomState> = (vnis.iter())
            .filter_map(|vni| Some((*vni, self.base.vnis.get(vni)?.at)))
            .flat_map(|(vni, at)| [at.bridge, at.vxlan].map(|index| (index, (vni, at))))
            .collect();
        let walked = Cell::new(0);
        let whose = |n: &Neigh| {
            walked.set(walked.get() + 1);
            places.get(&n.index).or_else(|| places.get(&n.master?)).copied()
        };
        self.base.dump_fdb(EVERYTHING, &whose, found)?;
        self.walked = walked.get();
        let table = |index| places.get(&index).filter(|(_, at)| at.table == Some(index)).map(|(vni, _)| *vni);
        self.base.dump_neighbours(None, &table, found)?;
        Ok(states)
    }

    /// Where a VNI is, whether it was put or not.
    fn place_of(&self, vni: Vni) -> Option<Place> {
        let links = &self.base.links;
        let found = || {
            links.carrying(vni).find_map(|vxlan| {
                let bridge = vxlan.master.filter(|index| links.get(*index).is_some())?;
                Some(place(bridge, vxlan.index))
            })
        };
        self.base.vnis.get(&vni).map(|placed| placed.at).or_else(found)
    }

    /// What there is in a VNI that was not put in this run (a dry run asks).
    fn observe_unknown(&mut self, vni: Vni, found: &mut dyn FnMut(Fact)) -> Result<Device, Error> {
        match self.place_of(vni) {
            None => Ok(Device::Missing),
            Some(at) => self.observe_all(vni, at, found).map(|()| Device::Wrong),
        }
    }

    /// Tells which of these VNIs others have set up or taken away.
    fn tell_found(&mut self, concerned: BTreeSet<Vni>, facts: &mut Vec<Fact>) {
        for vni in concerned {
            let there = devices::is_found(vni, &self.base.config, &self.base.links);
            let news = if there { self.found.insert(vni) } else { self.found.remove(&vni) };
            facts.extend(news.then_some(Fact::Found(vni, there)));
        }
    }

    /// Tells of the VNIs whose devices no longer are as they were put. An event may be older than what was done
    /// since, so the links are read anew.
    fn tell_affected(&mut self, facts: &mut Vec<Fact>) {
        for vni in std::mem::take(&mut self.base.affected) {
            let read = self.refresh(vni);
            // Not put (any longer), or still to be: whoever waits for the link may try again.
            let right = self.base.vnis.get(&vni).is_some_and(|placed| self.state(placed) == Device::Right);
            if read.is_err() || !right {
                facts.push(Fact::Device(vni));
            }
        }
    }
}

impl Backend for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn vnis(&mut self) -> Result<Vec<Vni>, Error> {
        // What is described after this is of another look.
        self.described = false;
        self.base.read_links()?;
        let mut vnis: BTreeSet<Vni> = self.base.vnis.keys().copied().collect();
        if self.base.config.manage_devices {
            let ours = |link: &&Link| matches!(link.kind, Kind::Bridge(_) | Kind::Vxlan(_));
            vnis.extend(self.base.links.iter().filter(ours).filter_map(marks::owned));
        }
        Ok(vnis.into_iter().collect())
    }

    fn observe(
        &mut self,
        vnis: &[Vni],
        scope: Scope,
        found: &mut dyn FnMut(Fact),
    ) -> Vec<Result<Device, Error>> {
        let fresh: BTreeSet<Vni> = vnis.iter().copied().filter(|vni| self.fresh.remove(vni)).collect();
        let others: Vec<Vni> = vnis.iter().copied().filter(|vni| !fresh.contains(vni)).collect();
        let mut states: HashMap<Vni, Result<Device, Error>, RandomState> = HashMap::default();
        for vni in fresh {
            let state = self.base.vnis.get(&vni).map_or(Device::Missing, |placed| self.state(placed));
            states.insert(vni, Ok(state));
        }
        let many = scope == Scope::All
            && others.len() >= MANY
            && others.iter().all(|vni| self.base.vnis.contains_key(vni));
        if many && self.walked <= MOST_ROWS {
            match self.observe_many(&others, found) {
                Ok(all) => states.extend(others.into_iter().zip(all)),
                Err(error) => states.extend(others.into_iter().map(|vni| (vni, Err(error.clone())))),
            }
        } else {
            self.walked -= if many { self.walked / 64 } else { 0 };
            for vni in others {
                let state = self.observe_one(vni, scope, found);
                states.insert(vni, state);
            }
        }
        vnis.iter().map(|vni| states.remove(vni).unwrap_or(Ok(Device::Missing))).collect()
    }

    fn found(&mut self) -> Result<Vec<Vni>, Error> {
        if self.base.config.discover {
            self.base.read_links()?;
            self.found = devices::found(&self.base.config, &self.base.links);
        }
        Ok(self.found.iter().copied().collect())
    }

    fn look(&mut self, keys: &[Key], found: &mut dyn FnMut(Fact)) -> Result<(), Error> {
        self.base.look_up(keys, found)
    }

    fn apply(&mut self, ops: &[Op], _standing: &Rows, outcomes: &mut Vec<Outcome>) {
        for (work, run) in runs(ops) {
            match work {
                Work::Put => {
                    let put = run.iter().filter_map(|op| match op {
                        Op::Put(Row::Vni(l2)) => Some(l2),
                        _ => None,
                    });
                    put.for_each(|l2| self.base.wants(l2));
                    let room = self.make_room();
                    outcomes.extend(run.iter().filter_map(|op| match op {
                        Op::Put(Row::Vni(l2)) => {
                            Some(match room.clone().and_then(|()| self.put_devices(l2)) {
                                Ok(None) => Outcome::Done,
                                Ok(Some(error)) => Outcome::Partly(error),
                                Err(error) => Outcome::Failed(error),
                            })
                        }
                        _ => None,
                    }));
                }
                Work::Remove => {
                    self.remove(&run.iter().map(|op| op.key().vni()).collect::<Vec<_>>(), outcomes);
                }
                Work::Rows => self.base.apply_rows(run, outcomes),
            }
        }
    }

    fn poll(&mut self, facts: &mut Vec<Fact>) -> bool {
        // What has come into them since is told now.
        self.fresh.clear();
        let discover = self.base.config.discover;
        let mut concerned = BTreeSet::new();
        let more = self.base.hear(facts, &mut |base, message, facts| {
            let link = matches!(message.kind, RTM_NEWLINK | RTM_DELLINK) && discover;
            let link = Link::index_of(message.body).filter(|_| link);
            // As it was, and as it is.
            concerned.extend(link.into_iter().flat_map(|index| devices::concerned(index, &base.links)));
            base.event(message, &Self::whose, facts);
            concerned.extend(link.into_iter().flat_map(|index| devices::concerned(index, &base.links)));
        });
        self.tell_found(concerned, facts);
        self.tell_affected(facts);
        more
    }

    fn clear(&mut self, _wanted: bool, notes: &mut Vec<String>) -> Result<(), Error> {
        // With VNIs, it was made for the first of them.
        let room = self.make_room();
        room.and(self.base.clear_ports(notes))
    }

    fn describe_clear(&mut self, _wanted: bool) -> Vec<plane::Step> {
        let described = std::mem::replace(&mut self.described, true);
        let room = devices::make_room(&self.base.config, &self.base.links);
        let room = room.iter().filter(|_| !described);
        let room = room.map(|step| plane::Step::new(step.action(), plane::Thing::Device, step.to_string()));
        room.chain(self.base.describe_ports()).collect()
    }

    fn describe(&mut self, ops: &[Op]) -> Vec<plane::Step> {
        let planned = |vni, step: &devices::Step| plane::Step::device(step.action(), vni, step);
        // What goes of the other layout goes with the first that comes.
        let mut room = devices::make_room(&self.base.config, &self.base.links);
        let mut lines = Vec::new();
        for op in ops {
            match op {
                Op::Put(Row::Vni(l2)) => {
                    self.base.wants(l2);
                    match self.plan(l2) {
                        Ok(plan) => {
                            self.described = true;
                            let steps = room.drain(..).chain(plan.steps);
                            lines.extend(steps.map(|step| planned(l2.vni, &step)));
                            lines
                                .extend(plan.problems.iter().map(|error| plane::Step::cannot(l2.vni, error)));
                        }
                        Err(error) => lines.push(plane::Step::cannot(l2.vni, &error)),
                    }
                }
                Op::Remove(vni) => {
                    lines.extend(self.plan_removal(*vni).iter().map(|step| planned(*vni, step)));
                }
                _ => lines.push(plane::Step::of(op)),
            }
        }
        lines
    }

    fn port(&mut self, vni: Vni, interface: &str) -> Result<PortPlace, Error> {
        let bridge = self.base.vnis.get(&vni).map(|placed| placed.at.bridge);
        // Before it is put, who is in the right place must not be taken for being in a wrong one.
        let found = self.place_of(vni).map(|at| at.bridge);
        let names = self.names_of(vni);
        self.base.port_place(interface, &|base, link| match link.master {
            None => PortPlace::Free,
            Some(master) if Some(master) == bridge => PortPlace::Attached,
            Some(master) if Some(master) == found => PortPlace::Free,
            Some(master) => {
                base.place_elsewhere(master, &|other| marks::is_ours(other) || names.contains(&other.name))
            }
        })
    }

    fn forget_port(&mut self, interface: &str) {
        self.base.forget_port(interface);
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.base.monitor.fd())
    }

    fn messages(&self) -> u64 {
        self.base.requests.count()
    }
}
