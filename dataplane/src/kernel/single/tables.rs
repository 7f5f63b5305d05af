//! The ARP and ND tables of VNIs: a VLAN device on the bridge for each that has an address to keep.
//!
//! It is made when the first address comes. The kernel takes the longer for one the more there are, and most VNIs of a
//! host with thousands may never have an address: those that have none cost nothing.

use std::collections::{BTreeMap, BTreeSet};

use rustix::io::Errno;
use types::Vni;

use super::super::links::{self, Link};
use super::super::wire::{NLM_F_CREATE, NLM_F_EXCL, RTM_GETLINK, RTM_NEWLINK, RTM_SETLINK};
use super::super::{BATCH, marks, refused};
use super::SingleDevice;
use super::devices::Step;
use super::edit::{Fate, Item};
use crate::backend::{Error, ErrorKind, Outcome};
use crate::plan::Op;
use crate::rows::{Row, Rows};

/// Messages to make a table: made, marked, without a link-local address, shown.
const TABLE: usize = 4;
/// Tables to be made before somebody listens: the kernel tells some 16 kB of each.
const LISTEN: usize = 256;

impl SingleDevice {
    /// Applies ops on rows, after making the tables they need.
    pub(super) fn put_rows(&mut self, ops: &[Op], standing: &Rows, outcomes: &mut Vec<Outcome>) {
        let errors = self.make_tables(ops, standing);
        let start = outcomes.len();
        self.base.apply_rows(ops, outcomes);
        for (op, outcome) in ops.iter().zip(&mut outcomes[start..]) {
            if *outcome == Outcome::Nowhere
                && let Some(error) = errors.get(&op.key().vni())
            {
                *outcome = Outcome::Failed(error.clone());
            }
            if matches!(outcome, Outcome::Failed(_)) {
                // Half of it may be there.
                self.shown.remove(&op.key().vni());
            }
        }
    }

    /// Makes the tables of VNIs that get an address and have none; why not, for those where that failed.
    fn make_tables(&mut self, ops: &[Op], standing: &Rows) -> BTreeMap<Vni, Error> {
        if self.base.config.discover || !self.base.config.manage_devices {
            return BTreeMap::new();
        }
        let without: BTreeSet<Vni> = ops
            .iter()
            .filter(|op| matches!(op, Op::Put(Row::Neighbour(..))))
            .map(|op| op.key().vni())
            .filter(|vni| {
                let placed = self.base.vnis.get(vni);
                placed.is_some_and(|placed| placed.at.table.is_none() && placed.l2.arp_suppression)
            })
            .collect();
        self.tabled.extend(&without);
        let group = without.iter().filter_map(|vni| Some(self.base.vnis.get(vni)?.l2.clone())).collect();
        let outcomes = self.put_vnis(group, standing);
        without.into_iter().zip(outcomes).filter_map(|(vni, outcome)| Some((vni, outcome.error()?))).collect()
    }

    /// Makes VLAN devices on the bridge.
    pub(super) fn create_tables(&mut self, items: &[Item], fates: &mut [Fate]) {
        let Some(bridge) = self.shared_devices().0 else { return };
        let mut items = items.iter();
        let mut made = 0;
        while !items.as_slice().is_empty() {
            let part: Vec<&Item> = items.by_ref().take(BATCH / TABLE).collect();
            made += part.len();
            if made >= LISTEN {
                self.listen_meanwhile();
                made = 0;
            }
            let batch = &mut self.base.batch;
            batch.clear();
            for (_, step) in &part {
                let Step::CreateTable { name, vlan, vni } = step else { continue };
                let message = links::new_vlan(name, bridge, *vlan);
                links::push(batch, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message);
                // In the same datagram, so that no kill -9 falls between a device and its mark.
                links::push(batch, RTM_SETLINK, 0, &links::set_alias(name, &marks::alias(*vni)));
                // Where IPv6 is off, there is nothing to turn off.
                links::push(batch, RTM_SETLINK, 0, &links::set_no_link_local(name));
                links::push(batch, RTM_GETLINK, 0, &links::get(Some(name)));
            }
            let mut without_module = None;
            let found = &mut self.base.links;
            let sent = self.base.requests.batch(batch, &mut |place, answer| {
                let Some((at, step)) = part.get(place / TABLE) else { return };
                match (place % TABLE, answer) {
                    (_, Ok(message)) => {
                        if let Some(link) = Link::parse(message.body) {
                            found.insert(link);
                        }
                    }
                    (0, Err(refusal)) if refusal.errno == Errno::OPNOTSUPP => {
                        let error = no_module(step);
                        without_module = Some(error.clone());
                        fates[*at].fail(step, error);
                    }
                    (0 | 1, Err(refusal)) => fates[*at].fail(step, refused(step.to_string(), refusal)),
                    _ => {}
                }
            });
            if let Err(errno) = sent {
                for (at, step) in &part {
                    fates[*at].fail(step, refused(step.to_string(), errno.into()));
                }
            }
            if without_module.is_some() {
                items.by_ref().for_each(|(at, step)| fates[*at].fail(step, no_module(step)));
            }
        }
    }
}

fn no_module(step: &Step) -> Error {
    let reason =
        "ARP suppression needs the kernel's 8021q module: modprobe 8021q, or arp-suppression = false";
    Error::new(ErrorKind::Other, step.to_string(), reason)
}
