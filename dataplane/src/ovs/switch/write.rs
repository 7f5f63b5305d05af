//! Writing: dirty units become one bundle, which goes in as a whole or not at all; one that is refused is cut in
//! halves until what is wrong with it stands alone, waits, and is tried again.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use types::Time;

use super::super::flow::{Flow, FlowId};
use super::super::installed::{Packed, Stands};
use super::super::pipeline::Unit;
use super::super::tools::{Cause, Failure, Ready};
use super::{Piece, RETRY_MAX, RETRY_MIN, Switch, backoff};
use crate::backend::{Error, ErrorKind};
use crate::reconciler::{Event, Output};

/// Lines in a bundle: some tenths of a second of work for ovs-vswitchd.
pub(super) const LINES: usize = 20_000;
/// Units rendered for one bundle, should there be little to write for them.
const UNITS: usize = 50_000;
/// Octets in a bundle; flood lists are long lines.
const OCTETS: usize = 16 * 1024 * 1024;
/// So many bundles may be refused while the culprits are sought; after that, what is left waits as a whole.
const REFUSALS: u32 = 512;

/// A bundle of this part of the lines it could have is worth being applied while the next one is made.
const LARGE: usize = 20;

/// Lines of a unit that are tried one by one, should it be refused.
const PROBES: usize = 256;
/// Characters of a refused line that an operator is shown.
const SHOWN: usize = 300;

/// What a unit comes to, and which of the bundle's lines are its.
#[derive(Debug)]
struct Planned {
    unit: Unit,
    /// Its flows, once the bundle is in.
    flows: Packed,
    deletes: std::ops::Range<usize>,
    adds: std::ops::Range<usize>,
    /// The flow of each line that adds one.
    added: Vec<(FlowId, u64)>,
}

/// What goes out at once. Flows go before others come: one may take the other's place.
#[derive(Debug, Default)]
struct Bundle {
    units: Vec<Planned>,
    deletes: String,
    delete_lines: usize,
    adds: String,
    add_lines: usize,
}

impl Bundle {
    const fn lines(&self) -> usize {
        self.delete_lines + self.add_lines
    }

    const fn is_full(&self, lines: usize) -> bool {
        let octets = self.deletes.len() + self.adds.len();
        self.lines() >= lines || octets >= OCTETS || self.units.len() >= UNITS
    }

    /// May the next bundle be made before it is known what became of this one? So it is for many units that have
    /// nothing to do with one another.
    fn may_fly(&self, lines: usize) -> bool {
        let alone = |unit: &Unit| matches!(unit, Unit::Mac(..) | Unit::Neighbour(..) | Unit::Prefix(..));
        self.lines() > lines / LARGE && self.units.iter().all(|planned| alone(&planned.unit))
    }

    fn text(&mut self) -> String {
        let mut text = std::mem::take(&mut self.deletes);
        text.push_str(&self.adds);
        text
    }

    /// Whose line is it, and which flow does it add?
    fn at(&self, line: usize) -> Option<(usize, Option<(FlowId, u64)>)> {
        let Some(line) = line.checked_sub(self.delete_lines) else {
            return Some((self.units.iter().position(|p| p.deletes.contains(&line))?, None));
        };
        let index = self.units.iter().position(|planned| planned.adds.contains(&line))?;
        let planned = &self.units[index];
        Some((index, planned.added.get(line - planned.adds.start).copied()))
    }
}

/// A bundle that ovs-vswitchd is at work on.
#[derive(Debug)]
pub(super) struct Flying {
    bundle: Bundle,
    text: String,
    units: HashSet<Unit, RandomState>,
    ready: Box<dyn Ready>,
}

impl Flying {
    /// How many units it has.
    pub(super) fn len(&self) -> usize {
        self.bundle.units.len()
    }

    /// Its units, to be looked at anew: whether it went in is not known.
    pub(super) fn into_units(self) -> impl Iterator<Item = Unit> {
        self.units.into_iter()
    }
}

impl Switch {
    /// Sends out one bundle, if there is anything to do. A large one is not waited for: the next one is made, and read
    /// by the tool, while ovs-vswitchd applies it.
    pub(super) fn write(&mut self, now: Time, out: &mut Vec<Output>) {
        if !self.pieces.is_empty() {
            self.land(now, out);
            if !self.is_up() {
                return;
            }
        }
        match self.pieces.pop() {
            Some(Piece::Strays(lines)) => self.write_strays(lines, now, out),
            Some(Piece::Units(units)) => {
                let mut bundle = Bundle::default();
                for unit in units {
                    self.plan(unit, &mut bundle);
                }
                self.send(bundle, now, out);
            }
            None => {
                self.refused = 0;
                let mut bundle = Bundle::default();
                self.plan_hops(&mut bundle);
                while !bundle.is_full(self.bundle_lines)
                    && let Some(unit) = self.dirty.pop_first()
                {
                    if self.flying.as_ref().is_some_and(|flying| flying.units.contains(&unit)) {
                        // It changed again: what stands is known once that bundle is in.
                        self.dirty.insert(unit);
                        break;
                    }
                    self.plan(unit, &mut bundle);
                }
                if bundle.may_fly(self.bundle_lines) {
                    self.launch(bundle, now, out);
                } else if self.landed(&bundle, now, out) {
                    self.send(bundle, now, out);
                }
                if self.dirty.is_empty() {
                    self.tell_conflicts(out);
                }
            }
        }
    }

    /// Sets of hops come before the prefixes that share them (and go after them, as units are ordered): where many
    /// prefixes move to another set, they take several bundles.
    fn plan_hops(&mut self, bundle: &mut Bundle) {
        let sets: Vec<Unit> = self.dirty.range(Unit::Hops(0)..).cloned().collect();
        for unit in sets {
            if !self.render(&unit).is_empty() {
                self.dirty.remove(&unit);
                self.plan(unit, bundle);
            }
        }
    }

    /// Adds to a bundle what makes a unit what it should be.
    fn plan(&mut self, unit: Unit, bundle: &mut Bundle) {
        let wanted = self.render(&unit);
        let (deletes, adds) = (bundle.delete_lines, bundle.add_lines);
        let mut flows = Packed::default();
        let (mut blocked, mut added) = (0, Vec::new());
        let without = self.failing.get(&unit).map(|refused| refused.without.clone()).unwrap_or_default();
        let ids: Vec<FlowId> = wanted.iter().map(Flow::id).collect();
        let stands: Vec<(FlowId, u64)> =
            self.installed.get(&unit).map(|stands| (stands.id(), stands.digest)).collect();
        for (flow, id) in wanted.iter().zip(&ids) {
            let digest = flow.digest();
            if stands.contains(&(*id, digest)) {
                flows.push(&Stands::of(flow));
                continue;
            }
            if without.contains(&(*id, digest)) {
                continue;
            }
            if self.foreign.contains(id) {
                blocked += 1;
                self.blocks(flow);
                continue;
            }
            if let Some(left) = self.left.get(id) {
                if left.digest != digest && self.waits(&unit, flow, left.actions) {
                    continue;
                }
                if self.left.remove(id).is_some_and(|left| left.digest == digest) {
                    flows.push(&Stands::of(flow));
                    continue;
                }
            }
            flow.write_add(&mut bundle.adds);
            bundle.add_lines += 1;
            added.push((*id, digest));
            flows.push(&Stands::of(flow));
        }
        for stands in self.installed.get(&unit) {
            let id = stands.id();
            if !ids.contains(&id) && !self.belongs_to_another(&unit, id) {
                stands.write_delete(&mut bundle.deletes);
                bundle.delete_lines += 1;
            }
        }
        if blocked > 0 {
            self.blocked.insert(unit.clone(), blocked);
        } else if !self.blocked.is_empty() {
            self.blocked.remove(&unit);
        }
        let (deletes, adds) = (deletes..bundle.delete_lines, adds..bundle.add_lines);
        bundle.units.push(Planned { unit, flows, deletes, adds, added });
    }

    /// After a restart, flood lists fill up one by one. What an earlier run knew of them is more, and stays until all
    /// has been heard again.
    pub(super) fn waits(&self, unit: &Unit, flow: &Flow, left: u32) -> bool {
        let list = matches!(unit, Unit::Vni(_) | Unit::Tunnels(..) | Unit::Locals(..));
        list && !self.pipeline.intent().settled() && flow.actions.len() < left as usize
    }

    /// A client may take the place of another (the same port and tag), whose flows are then its own: they are not
    /// removed if it came first.
    fn belongs_to_another(&self, unit: &Unit, id: FlowId) -> bool {
        let Unit::Client(name) = unit else { return false };
        self.owners.get(&id).is_some_and(|owner| owner != name)
    }

    /// These, and no others, are believed to be the flows of this unit now.
    pub(super) fn set_installed(&mut self, unit: &Unit, flows: Packed) {
        if let Unit::Client(name) = unit {
            for stands in self.installed.get(unit) {
                let id = stands.id();
                if self.owners.get(&id) == Some(name) {
                    self.owners.remove(&id);
                }
            }
            self.owners.extend(flows.iter().map(|stands| (stands.id(), name.clone())));
        }
        self.installed.set(unit, flows);
    }

    /// Waits for the bundle that is on its way, if there is one.
    pub(super) fn land(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(flying) = self.flying.take() else { return };
        match flying.ready.finish() {
            Ok(()) => self.commit(flying.bundle),
            Err(failure) => self.refused(flying.bundle, &flying.text, failure, now, out),
        }
    }

    /// The same, with another bundle at hand: true if that one may go next. If not, its units come again.
    fn landed(&mut self, next: &Bundle, now: Time, out: &mut Vec<Output>) -> bool {
        self.land(now, out);
        let clear = self.is_up() && self.pieces.is_empty();
        if !clear {
            self.dirty.extend(next.units.iter().map(|planned| planned.unit.clone()));
        }
        clear
    }

    /// Has the tool read a bundle while the one before is being applied, and lets it go after that.
    fn launch(&mut self, mut bundle: Bundle, now: Time, out: &mut Vec<Output>) {
        let text = bundle.text();
        let ready = self.tools.ready(&text);
        if !self.landed(&bundle, now, out) {
            return;
        }
        match ready {
            Ok(mut ready) => {
                ready.go();
                let units = bundle.units.iter().map(|planned| planned.unit.clone()).collect();
                self.flying = Some(Flying { bundle, text, units, ready });
            }
            Err(failure) => self.refused(bundle, &text, failure, now, out),
        }
    }

    fn send(&mut self, mut bundle: Bundle, now: Time, out: &mut Vec<Output>) {
        if bundle.units.is_empty() {
            return;
        }
        if bundle.lines() > 0 {
            let text = bundle.text();
            if let Err(failure) = self.tools.bundle(&text) {
                return self.refused(bundle, &text, failure, now, out);
            }
        }
        self.commit(bundle);
    }

    /// A bundle is in.
    fn commit(&mut self, bundle: Bundle) {
        for planned in bundle.units {
            if self.failing.get(&planned.unit).is_some_and(|refused| refused.without.is_empty()) {
                self.failing.remove(&planned.unit);
            }
            self.set_installed(&planned.unit, planned.flows);
        }
    }

    fn refused(
        &mut self,
        mut bundle: Bundle,
        text: &str,
        failure: Failure,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let line = match failure.cause {
            Cause::Refused(line) => line,
            Cause::Away | Cause::Silent => {
                self.dirty.extend(bundle.units.into_iter().map(|planned| planned.unit));
                return self.lost(failure, now, out);
            }
        };
        self.refused += 1;
        if let Some((index, flow)) = line.and_then(|line| bundle.at(line)) {
            let shown = line.and_then(|line| text.lines().nth(line)).unwrap_or_default();
            let culprit = bundle.units[index].unit.clone();
            // A unit of one line is out as a whole.
            let whole = bundle.units[index].deletes.len() + bundle.units[index].added.len() == 1;
            let flow = flow.filter(|_| !whole);
            if flow.is_none() {
                bundle.units.swap_remove(index);
            }
            self.quarantine(culprit, flow, shown, failure.error, now, out);
            self.pieces.push(Piece::Units(bundle.units.into_iter().map(|p| p.unit).collect()));
            return;
        }
        if let [planned] = &bundle.units[..]
            && (2..=PROBES).contains(&bundle.lines())
        {
            return self.probe(planned, text, now, out);
        }
        if bundle.units.len() == 1 || self.refused > REFUSALS {
            let shown = text.lines().next().unwrap_or_default();
            for (index, planned) in bundle.units.into_iter().enumerate() {
                if index == 0 {
                    self.quarantine(planned.unit, None, shown, failure.error.clone(), now, out);
                } else {
                    self.fail(planned.unit, None, &failure.error, now);
                }
            }
            return;
        }
        let mut units: Vec<Unit> = bundle.units.into_iter().map(|planned| planned.unit).collect();
        let half = units.split_off(units.len() / 2);
        self.pieces.push(Piece::Units(half));
        self.pieces.push(Piece::Units(units));
    }

    /// Writes the lines of a unit one by one, and leaves out those that are refused.
    fn probe(&mut self, planned: &Planned, text: &str, now: Time, out: &mut Vec<Output>) {
        let mut added = planned.added.iter().copied();
        let mut left_out = 0;
        for (index, line) in text.lines().enumerate() {
            let flow = if index < planned.deletes.len() { None } else { added.next() };
            match self.tools.bundle(&format!("{line}\n")) {
                Ok(()) => {}
                Err(Failure { cause: Cause::Refused(_), error }) if flow.is_some() => {
                    left_out += 1;
                    self.quarantine(planned.unit.clone(), flow, line, error, now, out);
                }
                Err(Failure { cause: Cause::Refused(_), error }) => {
                    return self.quarantine(planned.unit.clone(), None, line, error, now, out);
                }
                Err(failure) => {
                    self.dirty.insert(planned.unit.clone());
                    return self.lost(failure, now, out);
                }
            }
        }
        if left_out < planned.added.len() {
            self.pieces.push(Piece::Units(vec![planned.unit.clone()]));
        }
    }

    /// Sets a unit, or one of its flows, aside for a while, and says why if that is new.
    fn quarantine(
        &mut self,
        unit: Unit,
        flow: Option<(FlowId, u64)>,
        line: &str,
        error: Error,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let line: String = line.chars().take(SHOWN).collect();
        let error = Error { action: format!("flow refused ({line})"), ..error };
        if self.fail(unit, flow, &error, now) {
            self.failed(error, 0, out);
        } else {
            self.last_error = Some(error.to_string());
        }
    }

    /// It is tried again later. True if this was not said of it before.
    fn fail(&mut self, unit: Unit, flow: Option<(FlowId, u64)>, error: &Error, now: Time) -> bool {
        let refused = self.failing.entry(unit).or_default();
        if !std::mem::replace(&mut refused.waits, true) {
            refused.retry.at = now + backoff(RETRY_MIN, RETRY_MAX, refused.retry.attempts);
            refused.retry.attempts += 1;
        }
        refused.without.extend(flow);
        let text = error.to_string();
        let news = !refused.said.contains(&text);
        if news && refused.said.len() < PROBES {
            refused.said.push(text);
        }
        news
    }

    /// Takes out flows that no unit knows.
    fn write_strays(&mut self, mut lines: Vec<String>, now: Time, out: &mut Vec<Output>) {
        let text = lines.concat();
        match self.tools.bundle(&text) {
            Ok(()) => {}
            Err(failure) if !matches!(failure.cause, Cause::Refused(_)) => self.lost(failure, now, out),
            Err(Failure { error, .. }) => {
                self.refused += 1;
                if lines.len() == 1 || self.refused > REFUSALS {
                    // It stays, and is found again by the next comparison.
                    return self.failed(error, lines.len() - 1, out);
                }
                let half = lines.split_off(lines.len() / 2);
                self.pieces.push(Piece::Strays(half));
                self.pieces.push(Piece::Strays(lines));
            }
        }
    }

    /// Lines that take out flows no unit knows, to be written before anything else.
    pub(super) fn push_strays(&mut self, mut lines: Vec<String>) {
        while !lines.is_empty() {
            let rest = lines.split_off(lines.len().min(self.bundle_lines));
            self.pieces.push(Piece::Strays(std::mem::replace(&mut lines, rest)));
        }
    }

    fn blocks(&mut self, flow: &Flow) {
        if self.blocking.is_none() {
            self.blocking = Some(Stands::of(flow).to_string());
        }
    }

    /// Tells of flows that foreign ones stand in the way of, once.
    fn tell_conflicts(&mut self, out: &mut Vec<Output>) {
        let count: usize = self.blocked.values().sum();
        let Some(example) = self.blocking.take().filter(|_| count > 0) else {
            if count == 0 {
                self.conflict = None;
            }
            return;
        };
        let bridge = &self.config.bridge;
        let error = Error::new(
            ErrorKind::Conflict,
            format!("install flow {example}"),
            format!(
                "somebody else's flow with the same match stands there, and is left alone: if it is not needed, \
                 remove it with: ovs-ofctl -O OpenFlow13 --strict del-flows {bridge} '{example}'"
            ),
        );
        let text = format!("{count} {error}");
        if self.conflict.as_ref() != Some(&text) {
            self.conflict = Some(text);
            self.last_error = Some(error.to_string());
            out.push(Output::Event(Event::Failed { error, more: count - 1 }));
        }
    }
}
