//! Writing: devices and rows, what may be written, and what happens when it fails.

use std::collections::BTreeSet;
use std::time::Duration;

use types::{Time, Vni};

use super::{BATCH, Event, Output, PUT_BATCH, Reconciler, Retry};
use crate::backend::{Backend, Error, ErrorKind, Outcome};
use crate::backoff::backoff;
use crate::intent::Local;
use crate::plan::{self, Op};
use crate::rows::{Key, Row};

impl<B: Backend> Reconciler<B> {
    pub(super) fn put_devices(&mut self, now: Time, out: &mut Vec<Output>) {
        let mut ops: Vec<Op> = Vec::new();
        let dirty = std::mem::take(&mut self.dirty_vnis);
        // What goes first makes room (an interface that changes its VNI) for what comes.
        let (mut put, mut gone): (Vec<Vni>, Vec<Vni>) =
            dirty.into_iter().partition(|vni| self.intent.rows().device(*vni).is_some());
        if !self.backend.shared() {
            let room = PUT_BATCH.saturating_sub(gone.len());
            self.dirty_vnis.extend(gone.drain(PUT_BATCH.min(gone.len())..));
            self.dirty_vnis.extend(put.drain(room.min(put.len())..));
        }
        ops.extend(gone.into_iter().map(Op::Remove));
        let spec = |vni: Vni| self.intent.rows().device(vni).cloned();
        ops.extend(put.into_iter().filter_map(spec).map(|l2| Op::Put(Row::Vni(l2))));
        if ops.is_empty() {
            return;
        }
        let mut outcomes = Vec::with_capacity(ops.len());
        self.backend.apply(&ops, &self.installed, &mut outcomes);
        self.tell_limits(out);
        let mut errors = Vec::new();
        let mut gone = BTreeSet::new();
        for (op, outcome) in ops.into_iter().zip(outcomes) {
            let key = op.key();
            let vni = key.vni();
            let stands = !matches!(outcome, Outcome::Failed(_));
            let error = outcome.error();
            match (op, stands) {
                (Op::Put(row), true) => {
                    self.installed.insert(row);
                    self.observe.insert(vni);
                    self.clients.look_at_vni(vni);
                }
                (Op::Remove(_), true) => {
                    self.forget(vni);
                    gone.insert(vni);
                }
                (_, false) => {
                    self.installed.remove(&key);
                    self.set_ready(vni, false, out);
                }
                (Op::Del(_), true) => {}
            }
            match error {
                None => {
                    self.retries.remove(&key);
                }
                Some(error) => {
                    if self.refused(&error, now) {
                        self.dirty_vnis.insert(vni);
                    } else {
                        self.fail(key, now);
                    }
                    errors.push(error);
                }
            }
        }
        gone.retain(|vni| self.intent.rows().device(*vni).is_none());
        if !gone.is_empty() {
            self.retries.retain(|key, _| !gone.contains(&key.vni()));
        }
        self.failed(errors, out);
    }

    /// In a full resync, once all VNIs were put, with the ports of their clients, or removed: what else an earlier run has
    /// left goes, too.
    pub(super) fn clear_away(&mut self, out: &mut Vec<Output>) {
        if !self.clear || !self.dirty_vnis.is_empty() || self.clients.busy() {
            return;
        }
        self.clear = false;
        let mut notes = Vec::new();
        let cleared = self.backend.clear(self.wants_devices(), &mut notes);
        out.extend(notes.into_iter().map(|text| Output::Event(Event::Note(text))));
        self.failed(cleared.err().into_iter().collect(), out);
    }

    /// Tells of limits that were not there before.
    fn tell_limits(&mut self, out: &mut Vec<Output>) {
        let before = std::mem::replace(&mut self.limits, self.backend.limits());
        let new = self.limits.iter().filter(|limit| !before.contains(limit));
        out.extend(new.map(|limit| Output::Event(Event::Limited(limit.clone()))));
    }

    fn forget(&mut self, vni: Vni) {
        self.installed.remove_vni(vni);
        self.seen.remove(&vni);
        self.observe.remove(&vni);
        self.nowhere.remove(vni);
    }

    pub(super) fn set_ready(&mut self, vni: Vni, ready: bool, out: &mut Vec<Output>) {
        if let Some(seen) = self.seen.get_mut(&vni)
            && seen.ready != ready
        {
            seen.ready = ready;
            out.push(Output::Local(Local::VniReady(vni, ready)));
        }
    }

    pub(super) fn put_rows(&mut self, now: Time, out: &mut Vec<Output>) {
        let start = self.dirty.len().saturating_sub(BATCH);
        let mut keys = self.dirty.split_off(start);
        if self.dirty.is_empty() && self.dirty.capacity() > 64 * BATCH {
            self.dirty = Vec::new();
        }
        keys.sort_unstable();
        keys.dedup();
        // A key that needs nothing any more needs no further try.
        for key in &keys {
            if !self.intent.rows().contains(key) && !self.installed.contains(key) {
                self.retries.remove(key);
            }
        }
        let mut errors = Vec::new();
        keys.retain(|key| self.allowed(key, now, &mut errors));
        let mut ops = Vec::with_capacity(keys.len());
        plan::plan(self.intent.rows(), &self.installed, &keys, &mut ops);
        let start = self.rewrite.len().saturating_sub(BATCH);
        for key in self.rewrite.split_off(start) {
            let row = self.installed.get(&key);
            if row == self.intent.rows().get(&key) && self.allowed(&key, now, &mut errors) {
                ops.extend(row.map(Op::Put));
            }
        }
        let mut outcomes = Vec::with_capacity(ops.len());
        if !ops.is_empty() {
            self.backend.apply(&ops, &self.installed, &mut outcomes);
        }
        for (op, outcome) in ops.into_iter().zip(outcomes) {
            let key = op.key();
            match outcome {
                Outcome::Done => {
                    self.retries.remove(&key);
                    match op {
                        Op::Put(row) => {
                            self.installed.insert(row);
                            self.moved_away(key, out);
                        }
                        Op::Del(_) | Op::Remove(_) => {
                            self.installed.remove(&key);
                        }
                    }
                }
                Outcome::Nowhere => {
                    self.retries.remove(&key);
                    self.installed.remove(&key);
                    self.nowhere.insert(key.vni(), self.intent.rows());
                }
                Outcome::Partly(error) | Outcome::Failed(error) => {
                    if self.refused(&error, now) {
                        self.dirty.push(key);
                    } else {
                        if error.kind == ErrorKind::NoDevice {
                            self.observe.insert(key.vni());
                        }
                        self.fail(key, now);
                    }
                    errors.push(error);
                }
            }
        }
        for key in keys {
            if self.retries.contains_key(&key) && self.intent.rows().get(&key) == self.installed.get(&key) {
                self.retries.remove(&key);
            }
        }
        self.failed(errors, out);
    }

    /// May this key be written? Not over rows of others, and not over a host that has just moved here.
    pub(super) fn allowed(&mut self, key: &Key, now: Time, errors: &mut Vec<Error>) -> bool {
        // Not seen yet: what stands there may be another's. The look at the VNI that is due brings the key back.
        let Some(seen) = self.seen.get(&key.vni()) else { return false };
        let conflict = match key {
            // It waits for another look at the VNI.
            Key::Neighbour(vni, _) if self.nowhere.contains(*vni) => {
                self.retries.remove(key);
                return false;
            }
            Key::Mac(_, mac) if seen.foreign.contains(mac) => {
                self.installed.remove(key);
                Some("a static entry that is not evpnd's covers this MAC".to_owned())
            }
            _ if !self.intent.rows().contains(key) => return true,
            Key::Mac(_, mac) => match seen.macs.get(mac) {
                Some(local) if local.sticky => {
                    Some(format!("a static entry on {} covers it", local.interface))
                }
                Some(local) => return local.superseded,
                None => return true,
            },
            Key::Neighbour(_, ip) => match seen.neighbours.get(ip) {
                Some(local) if local.fixed => {
                    Some(format!("a permanent entry with MAC {} covers it", local.mac))
                }
                Some(local) => return local.superseded,
                None => return true,
            },
            Key::Vni(_) | Key::Flood(..) | Key::Prefix(..) => return true,
        };
        if let Some(reason) = conflict
            && self.intent.rows().contains(key)
        {
            self.fail(*key, now);
            errors.push(Error::new(ErrorKind::Conflict, format!("install {key}"), reason));
        }
        false
    }

    /// Our row has replaced what the bridge had learned.
    pub(super) fn moved_away(&mut self, key: Key, out: &mut Vec<Output>) {
        let Some(seen) = self.seen.get_mut(&key.vni()) else { return };
        match key {
            Key::Mac(vni, mac) if seen.macs.remove(&mac).is_some() => {
                out.push(Output::Local(Local::MacGone { vni, mac }));
            }
            Key::Neighbour(vni, ip) if seen.neighbours.remove(&ip).is_some() => {
                out.push(Output::Local(Local::NeighbourGone { vni, ip }));
            }
            _ => {}
        }
    }

    pub(super) fn retry_due(&mut self, now: Time) {
        if !self.retries.values().any(|retry| retry.at <= now) {
            return;
        }
        let due: Vec<Key> = self.retries.iter().filter(|(_, r)| r.at <= now).map(|(key, _)| *key).collect();
        for key in due {
            match key {
                Key::Vni(vni) => {
                    self.dirty_vnis.insert(vni);
                }
                _ => self.push(key),
            }
            // Tried once now; another failure pushes it further out.
            if let Some(retry) = self.retries.get_mut(&key) {
                retry.at = now + self.config.retry_max;
            }
        }
    }

    pub(super) fn backoff(&self, attempts: u32) -> Duration {
        backoff(self.config.retry_min, self.config.retry_max, attempts)
    }

    pub(super) fn fail(&mut self, key: Key, now: Time) {
        let attempts = self.retries.get(&key).map_or(0, |retry| retry.attempts + 1);
        self.retries.insert(key, Retry { attempts, at: now + self.backoff(attempts) });
    }

    /// If nothing is permitted at all, waits as a whole instead of failing row by row.
    pub(super) fn refused(&mut self, error: &Error, now: Time) -> bool {
        if error.kind != ErrorKind::Permission {
            return false;
        }
        if self.hold.is_none_or(|hold| hold.at <= now) {
            let attempts = self.hold.map_or(0, |hold| hold.attempts + 1);
            self.hold = Some(Retry { attempts, at: now + self.backoff(attempts) });
        }
        true
    }

    pub(super) fn failed(&mut self, errors: Vec<Error>, out: &mut Vec<Output>) {
        let more = errors.len().saturating_sub(1);
        if let Some(error) = errors.into_iter().next() {
            self.last_error = Some(error.to_string());
            out.push(Output::Event(Event::Failed { error, more }));
        }
    }
}
