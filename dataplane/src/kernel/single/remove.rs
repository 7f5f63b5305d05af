//! Taking VNIs away: what is in their tables, what they have on the shared devices, and in the end these.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use types::{MacAddr, Vni};

use super::super::wire::{AF_BRIDGE, NDA_LLADDR, NDA_VLAN, NTF_MASTER, RTM_DELNEIGH};
use super::super::{BATCH, marks};
use super::SingleDevice;
use super::devices::{self, Step};
use super::edit::Fate;
use crate::backend::{Error, Fact, Outcome, Scope};
use crate::rows::{Row, Rows};

impl SingleDevice {
    /// What takes a VNI away.
    pub(super) fn removal(&self, vni: Vni) -> Vec<Step> {
        if self.base.config.discover {
            return Vec::new();
        }
        let vlan = self.place_of(vni).and_then(|at| at.vlan);
        self.now(|now| devices::plan_removal(vni, vlan, now, &|link| self.base.ports.contains(link)))
    }

    /// Takes VNIs away; the shared devices too, if it was the `last` that is to be done and no VNI is left.
    pub(super) fn remove_vnis(&mut self, vnis: &[Vni], last: bool, standing: &Rows) -> Vec<Outcome> {
        let gone: HashSet<Vni, RandomState> = vnis.iter().copied().collect();
        // Those of an earlier run that could not be put are still on them.
        let mapped = self.shared_devices().1.into_iter().flat_map(|vxlan| self.vlans.mappings(vxlan));
        let all =
            self.base.vnis.keys().copied().chain(mapped.map(|(_, vni)| vni)).all(|vni| gone.contains(&vni));
        let ends = last && all && self.owns_vxlan() && self.owns_bridge();
        // With the devices everything goes that is in them.
        let vacated = if ends { Ok(()) } else { self.vacate(vnis, true, standing) };
        let mut fates: Vec<Fate> = vnis.iter().map(|_| Fate::of(vacated.as_ref().err())).collect();
        let steps = vnis.iter().enumerate().filter(|(at, _)| fates[*at].failed.is_none());
        let steps = steps.flat_map(|(at, vni)| self.removal(*vni).into_iter().map(move |step| (at, step)));
        self.edit(steps.collect(), &mut fates);
        self.base.by_name.retain(|_, vni| !gone.contains(vni));
        let mut failures: Vec<Option<Error>> =
            fates.into_iter().map(|fate| fate.failed.or(fate.partly)).collect();
        for (vni, _) in vnis.iter().zip(&failures).filter(|(_, failure)| failure.is_none()) {
            self.gone(*vni);
        }
        if last
            && !self.base.config.discover
            && let Err(error) = self.end_or_shrink()
        {
            for failure in &mut failures {
                failure.get_or_insert_with(|| error.clone());
            }
        }
        failures.into_iter().map(|failure| failure.map_or(Outcome::Done, Outcome::Failed)).collect()
    }

    /// Nothing is known of a VNI any more.
    fn gone(&mut self, vni: Vni) {
        self.forget(vni);
        self.alloc.release(vni);
        self.suppression.forget(vni);
        self.tabled.remove(&vni);
        self.made.remove(&vni);
        self.fresh.remove(&vni);
        self.shown.remove(&vni);
        self.undone.remove(&vni);
        self.waiting.remove(&vni);
    }

    pub(super) fn owns_bridge(&self) -> bool {
        let alias = self.base.links.named(&self.base.config.bridge).and_then(|link| link.alias.as_deref());
        alias == Some(marks::OVERLAY)
    }

    /// Takes the shared devices away if no VNI is left on them; else it may be that they are to answer ARP
    /// no more, or now they can.
    fn end_or_shrink(&mut self) -> Result<(), Error> {
        let (_, vxlan) = self.shared_devices();
        let mapped =
            vxlan.is_some_and(|index| self.owns_vxlan() && self.vlans.mappings(index).next().is_some());
        if !self.base.vnis.is_empty() {
            return if self.suppresses_as_wanted() { Ok(()) } else { self.put_overlay() };
        }
        if mapped { Ok(()) } else { self.end() }
    }

    /// Takes everything out of the tables of VNIs: our rows, and what the bridge learned in their VLANs. Flood rows, which
    /// are of no VLAN, only if they go for good.
    ///
    /// Of VNIs of which all was shown, `standing` says what that is; only what was learned is looked for.
    pub(super) fn vacate(&mut self, vnis: &[Vni], for_good: bool, standing: &Rows) -> Result<(), Error> {
        // What an earlier run left: known from here on, so that its rows can be addressed.
        for &vni in vnis {
            if !self.base.vnis.contains_key(&vni)
                && let Some(at) = self.place_of(vni)
            {
                self.stands(&marks::unknown(vni), at);
            }
        }
        let places = vnis.iter().filter_map(|vni| Some((*vni, self.base.vnis.get(vni)?.at)));
        let (known, unknown): (Vec<_>, Vec<_>) = places.partition(|(vni, _)| self.shown.contains(vni));
        let mut keys = Vec::new();
        for (vni, _) in &known {
            standing.keys(*vni, &mut keys);
        }
        let mut rows: Vec<Row> = keys.iter().filter_map(|key| standing.get(key)).collect();
        let all_ours = self.owns_vxlan();
        let mut learned: Vec<(Vni, MacAddr, String)> = Vec::new();
        let mut look = |fact| match fact {
            Fact::Row { row, own } if own || all_ours => rows.push(row),
            Fact::Local { vni, mac, interface, sticky: false } => {
                learned.push((vni, mac, interface.to_string()));
            }
            _ => {}
        };
        self.observe_rows(&unknown, Scope::All, &mut look)?;
        if !self.base.config.discover {
            self.observe_fdb(&known, Scope::Local, &mut look)?;
        }
        rows.retain(|row| for_good || !matches!(row, Row::Flood(..)));
        self.base.take_away(rows)?;
        if !self.base.config.discover {
            self.unlearn(&learned);
        }
        Ok(())
    }

    /// Takes what the bridge learned away. What is gone by itself meanwhile is just as well.
    fn unlearn(&mut self, learned: &[(Vni, MacAddr, String)]) {
        for part in learned.chunks(BATCH) {
            self.base.batch.clear();
            for (vni, mac, port) in part {
                let vlan = self.base.vnis.get(vni).and_then(|placed| placed.at.vlan);
                let (Some(vlan), Some(link)) = (vlan, self.base.links.named(port)) else { continue };
                self.base.batch.begin(RTM_DELNEIGH, 0);
                self.base.batch.neigh(AF_BRIDGE, link.index, 0, NTF_MASTER);
                self.base.batch.attr(NDA_LLADDR, &mac.0);
                self.base.batch.attr(NDA_VLAN, &vlan.to_ne_bytes());
            }
            let _ = self.base.requests.batch(&mut self.base.batch, &mut |_, _| {});
        }
    }
}
