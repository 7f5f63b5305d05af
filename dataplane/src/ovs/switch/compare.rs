//! The full comparison: every flow of the bridge, as it is read back, against every flow that should be.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use types::Time;

use super::super::flow::{self, Dumped, Flow, FlowId};
use super::super::installed::{Packed, Stands};
use super::super::pipeline::Unit;
use super::super::tools::Failure;
use super::{COMPARE, COMPARE_SHARE, Left, Switch};
use crate::plane::{Action, Step, Thing};
use crate::reconciler::{Event, Output};

/// So many flows of others are remembered, in order not to write over them between two comparisons.
const FOREIGN: usize = 1 << 20;

impl Left {
    fn of(dumped: &Dumped<'_>) -> Self {
        Self { digest: dumped.digest(), actions: dumped.actions.len() as u32 }
    }
}

/// A flow that should be.
struct Wanted {
    digest: u64,
    unit: u32,
    /// What stands in its place; of ours.
    found: Option<Left>,
}

impl Wanted {
    fn is_right(&self) -> bool {
        self.found.is_some_and(|found| found.digest == self.digest)
    }
}

/// Everything that should be, by place.
struct Want {
    units: Vec<Unit>,
    /// How many flows each unit has.
    counts: Vec<u32>,
    flows: HashMap<FlowId, Wanted, RandomState>,
}

impl Switch {
    /// A comparison that took long is not repeated so soon.
    pub(super) fn measure(&mut self, now: Time) {
        if let Some(start) = self.comparing.take()
            && self.compare_at != Time::ZERO
        {
            self.compare_at = self.compare_at.max(now + now.since(start) * COMPARE_SHARE);
        }
    }

    fn want(&self) -> Want {
        let units: Vec<Unit> = self.pipeline.units().collect();
        let mut counts = Vec::with_capacity(units.len());
        let mut flows = HashMap::with_capacity_and_hasher(units.len(), RandomState::default());
        let mut rendered = Vec::new();
        for (unit, index) in units.iter().zip(0..) {
            rendered.clear();
            self.pipeline.render(unit, &mut rendered);
            counts.push(rendered.len() as u32);
            for flow in &rendered {
                let wanted = Wanted { digest: flow.digest(), unit: index, found: None };
                let other = flows.insert(flow.id(), wanted);
                debug_assert!(other.is_none(), "two units want {flow}");
            }
        }
        Want { units, counts, flows }
    }

    /// Flows that are believed to be installed for a unit which does not want them (any longer). `units` gets those
    /// units, and those whose flows are believed to be others than they should be.
    fn stale(&self, want: &Want, units: &mut BTreeMap<Unit, Packed>) -> HashMap<FlowId, Unit, RandomState> {
        let mut stale = HashMap::default();
        for unit in self.installed.units() {
            for stands in self.installed.get(unit) {
                let id = stands.id();
                let wanted = want.flows.get(&id).filter(|w| want.units[w.unit as usize] == *unit);
                if wanted.is_none() {
                    stale.insert(id, unit.clone());
                }
                if wanted.is_none_or(|w| w.digest != stands.digest) {
                    units.entry(unit.clone()).or_default();
                }
            }
        }
        stale
    }

    /// Reads all flows back; what is missing or wrong is dirty then, and what is installed is known.
    pub(super) fn compare(&mut self, now: Time, out: &mut Vec<Output>) {
        let settled = self.pipeline.intent().settled();
        let mut want = self.want();
        // Of each unit that has stale flows, those that stand.
        let mut stand: BTreeMap<Unit, Packed> = BTreeMap::new();
        let stale = self.stale(&want, &mut stand);
        let mut strays = Vec::new();
        self.foreign.clear();
        self.left.clear();
        let (foreign, left) = (&mut self.foreign, &mut self.left);
        let result = self.tools.dump(&mut |line| {
            let Some(dumped) = flow::parse_dump_line(line) else { return };
            let id = dumped.id();
            if !dumped.is_ours() {
                if foreign.len() < FOREIGN {
                    foreign.insert(id);
                }
                return;
            }
            if let Some(wanted) = want.flows.get_mut(&id) {
                wanted.found = Some(Left::of(&dumped));
            } else if let Some(unit) = stale.get(&id) {
                let (table, priority, matches) = (dumped.table, dumped.priority, dumped.matches);
                let stands = Stands { table, priority, matches, digest: dumped.digest() };
                stand.entry(unit.clone()).or_default().push(&stands);
            } else if settled {
                let mut line = String::new();
                flow::write_delete(dumped.table, dumped.priority, dumped.matches, &mut line);
                strays.push(line);
            } else {
                left.insert(id, Left::of(&dumped));
            }
        });
        if let Err(failure) = result {
            return self.lost(failure, now, out);
        }
        self.take_in(&want, stand, out);
        self.push_strays(strays);
        self.attempts = 0;
        self.last_resync = Some(now);
        self.compare_at = now + COMPARE;
        self.comparing = Some(now);
    }

    /// What was found is what is installed; what is not as it should be is dirty.
    fn take_in(&mut self, want: &Want, mut stand: BTreeMap<Unit, Packed>, out: &mut Vec<Output>) {
        let mut wrong = vec![false; want.units.len()];
        for wanted in want.flows.values().filter(|wanted| !wanted.is_right()) {
            wrong[wanted.unit as usize] = true;
        }
        let settled = self.pipeline.intent().settled();
        let (mut lost, mut example) = (0_usize, None);
        let mut rendered = Vec::new();
        for (index, unit) in want.units.iter().enumerate() {
            let stale = stand.remove(unit);
            let known = self.installed.get(unit).count() == want.counts[index] as usize;
            if !wrong[index] && stale.is_none() && known {
                continue;
            }
            rendered.clear();
            self.pipeline.render(unit, &mut rendered);
            for flow in &rendered {
                if self.was_lost(unit, flow, want) {
                    lost += 1;
                    example.get_or_insert_with(|| Stands::of(flow).to_string());
                }
            }
            let mut flows = stale.clone().unwrap_or_default();
            for flow in &rendered {
                let id = flow.id();
                let Some(wanted) = want.flows.get(&id) else { continue };
                let Some(found) = wanted.found else { continue };
                if !wanted.is_right() && !settled && self.installed.get(unit).all(|stands| stands.id() != id)
                {
                    self.left.insert(id, found); // Not of this run.
                } else {
                    flows.push(&Stands { digest: found.digest, ..Stands::of(flow) });
                }
            }
            self.set_installed(unit, flows);
            if wrong[index] || stale.is_some() {
                self.look_again_at(unit.clone());
            }
        }
        for (unit, flows) in stand {
            self.set_installed(&unit, flows);
            self.look_again_at(unit);
        }
        if let Some(example) = example {
            if self.attempts > 0 {
                // A new ovs-vswitchd, or a new bridge, has no flows. Nobody is to blame.
                let text =
                    format!("of the flows that stood before the connection was lost, {lost} are put back");
                out.push(Output::Event(Event::Note(text)));
            } else {
                self.repairs += lost as u64;
                out.push(Output::Event(Event::FlowsRepaired { flows: lost, example }));
            }
        }
    }

    /// Was this flow believed to be right, and is not? (One that somebody replaced by a flow of his own is a
    /// conflict, and is not put right.)
    fn was_lost(&self, unit: &Unit, flow: &Flow, want: &Want) -> bool {
        let id = flow.id();
        let right = want.flows.get(&id).is_some_and(Wanted::is_right);
        let digest = flow.digest();
        !right
            && !self.foreign.contains(&id)
            && self.installed.get(unit).any(|stands| stands.digest == digest && stands.id() == id)
    }

    /// A unit that was refused waits for its time.
    fn look_again_at(&mut self, unit: Unit) {
        if !self.failing.contains_key(&unit) {
            self.dirty.insert(unit);
        }
    }

    /// What a comparison would do now; changes nothing.
    pub(super) fn differences(&self, bridge_stands: bool) -> Result<Vec<Step>, Failure> {
        let mut want = self.want();
        let settled = self.pipeline.intent().settled();
        let mut steps = Vec::new();
        let step = |action, flow: String| Step::new(action, Thing::Flow, flow);
        if bridge_stands {
            self.tools.dump(&mut |line| {
                let Some(dumped) = flow::parse_dump_line(line) else { return };
                match want.flows.get_mut(&dumped.id()) {
                    Some(wanted) if dumped.is_ours() => wanted.found = Some(Left::of(&dumped)),
                    Some(_) => {
                        let kept = format!("keep somebody else's flow {}, in the way", dumped.to_flow());
                        steps.push(step(Action::Cannot, kept));
                    }
                    None if dumped.is_ours() && settled => {
                        steps.push(step(Action::Remove, dumped.to_flow().to_string()));
                    }
                    None => {}
                }
            })?;
        }
        for unit in &want.units {
            for flow in self.render(unit) {
                match want.flows.get(&flow.id()) {
                    Some(wanted) if wanted.is_right() => {}
                    Some(Wanted { found: Some(found), .. }) if self.waits(unit, &flow, found.actions) => {}
                    Some(Wanted { found: Some(_), .. }) => steps.push(step(Action::Change, flow.to_string())),
                    _ => steps.push(step(Action::Add, flow.to_string())),
                }
            }
        }
        Ok(steps)
    }
}
