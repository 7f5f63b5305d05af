//! What a dataplane shows and tells: events, lookups, observations, and what follows from them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use types::{MacAddr, Time, Vni};

use super::{
    AUDIT_BATCH, Event, FEW_SHARE, LocalMac, LocalNeighbour, OBSERVE_BATCH, Output, RESYNC_SHARE, Reconciler,
    Retry, Seen,
};
use crate::backend::{Backend, Device, Error, Fact, Outcome, Scope};
use crate::intent::Local;
use crate::plan::{self, Op};
use crate::rows::{Key, Row, Rows};

/// What stands at a key.
#[derive(Debug, Default)]
struct Look {
    row: Option<Row>,
    local: Option<(Arc<str>, bool)>,
    neighbour: Option<(MacAddr, bool)>,
    foreign: bool,
}

impl<B: Backend> Reconciler<B> {
    pub(super) fn take_events(&mut self, out: &mut Vec<Output>) {
        let mut facts = Vec::new();
        self.more_events = self.backend.poll(&mut facts);
        for fact in facts {
            self.event(fact, out);
        }
    }

    pub(super) fn event(&mut self, fact: Fact, out: &mut Vec<Output>) {
        match fact {
            Fact::Lost => {
                out.push(Output::Event(Event::EventsLost));
                self.resync();
            }
            Fact::Device(vni) => {
                if self.installed.device(vni).is_some() && !self.retries.contains_key(&Key::Vni(vni)) {
                    self.observe.insert(vni);
                } else if self.intent.rows().device(vni).is_some() {
                    self.dirty_vnis.insert(vni);
                }
            }
            Fact::Found(vni, there) => {
                self.found_news.insert(vni, there);
            }
            Fact::Vlan(vni, vlan) => {
                if let Some(seen) = self.seen.get_mut(&vni)
                    && seen.vlan.replace(vlan) != Some(vlan)
                {
                    out.push(Output::Local(Local::Vlan(vni, vlan)));
                }
            }
            Fact::Port(interface) => self.clients.look_at_port(&interface),
            // The echo of our own removal is no news.
            Fact::Touched(key) => {
                if self.installed.contains(&key) {
                    self.look_at(key);
                }
            }
            Fact::Gone(row) => {
                let key = row.key();
                if self.installed.get(&key).as_ref() == Some(&row) {
                    self.installed.remove(&key);
                    if self.intent.rows().get(&key) == Some(row) {
                        self.repaired(key.vni(), 1, key, out);
                    }
                    self.push(key);
                }
            }
            Fact::Row { row, .. } => {
                let key = row.key();
                self.installed.insert(row);
                self.push(key);
            }
            // Somebody wrote over a row of ours, or the bridge learned its MAC. Before or after our last write?
            Fact::Local { vni, mac, .. } | Fact::Foreign(vni, mac)
                if self.installed.contains(&Key::Mac(vni, mac)) =>
            {
                self.look_at(Key::Mac(vni, mac));
            }
            Fact::Local { vni, mac, interface, sticky } => self.local(vni, mac, interface, sticky, out),
            Fact::Foreign(vni, mac) => self.foreign(vni, mac, out),
            Fact::MacGone(vni, mac) => self.mac_gone(vni, mac, out),
            Fact::Neighbour { vni, ip, mac, fixed } => self.neighbour(vni, ip, mac, fixed, out),
            Fact::NeighbourGone(vni, ip) => {
                let known = self.seen.get_mut(&vni).and_then(|seen| seen.neighbours.remove(&ip));
                if known.is_some() {
                    out.push(Output::Local(Local::NeighbourGone { vni, ip }));
                    self.push(Key::Neighbour(vni, ip));
                }
            }
        }
    }

    pub(super) fn local(
        &mut self,
        vni: Vni,
        mac: MacAddr,
        interface: Arc<str>,
        sticky: bool,
        out: &mut Vec<Output>,
    ) {
        let Some(seen) = self.seen.get_mut(&vni) else { return };
        seen.foreign.remove(&mac);
        let new = LocalMac { interface, sticky, superseded: false };
        let old = seen.macs.insert(mac, new.clone());
        if old.as_ref().is_some_and(|o| o.interface == new.interface && o.sticky == sticky && !o.superseded) {
            return;
        }
        out.push(Output::Local(new.seen(vni, mac)));
    }

    /// Somebody else's row: the bridge has one entry for a MAC, so that it is on no local port any more.
    fn foreign(&mut self, vni: Vni, mac: MacAddr, out: &mut Vec<Output>) {
        let Some(seen) = self.seen.get_mut(&vni) else { return };
        seen.foreign.insert(mac);
        if seen.macs.remove(&mac).is_some() {
            out.push(Output::Local(Local::MacGone { vni, mac }));
        }
    }

    pub(super) fn mac_gone(&mut self, vni: Vni, mac: MacAddr, out: &mut Vec<Output>) {
        let Some(seen) = self.seen.get_mut(&vni) else { return };
        let was_foreign = seen.foreign.remove(&mac);
        let was_local = seen.macs.remove(&mac).is_some();
        if was_local {
            out.push(Output::Local(Local::MacGone { vni, mac }));
        }
        if was_local || was_foreign {
            self.push(Key::Mac(vni, mac));
        }
    }

    pub(super) fn neighbour(
        &mut self,
        vni: Vni,
        ip: IpAddr,
        mac: MacAddr,
        fixed: bool,
        out: &mut Vec<Output>,
    ) {
        let Some(seen) = self.seen.get_mut(&vni) else { return };
        let new = LocalNeighbour { mac, fixed, superseded: false };
        let old = seen.neighbours.insert(ip, new);
        if old.is_none_or(|o| o.mac != mac || o.superseded) {
            out.push(Output::Local(Local::NeighbourSeen { vni, ip, mac }));
        }
        self.installed.remove(&Key::Neighbour(vni, ip));
    }

    pub(super) fn repaired(&mut self, vni: Vni, rows: usize, example: Key, out: &mut Vec<Output>) {
        self.repairs += rows as u64;
        out.push(Output::Event(Event::Repaired { vni, rows, example }));
    }

    pub(super) fn start_resync(&mut self, now: Time, out: &mut Vec<Output>) {
        self.resync_at = now + self.config.resync;
        self.resyncing = Some(now);
        self.ask_found = true;
        self.clients.look_at_all();
        let wanted = self.intent.rows();
        let with_device: Vec<Vni> = wanted.vnis().filter(|v| wanted.device(*v).is_some()).collect();
        for vni in with_device {
            if self.installed.device(vni).is_some() {
                self.observe.insert(vni);
            } else if !self.retries.contains_key(&Key::Vni(vni)) {
                self.dirty_vnis.insert(vni);
            }
        }
        match self.backend.vnis() {
            Ok(found) if self.intent.settled() => {
                let wanted = self.intent.rows();
                self.dirty_vnis.extend(found.into_iter().filter(|vni| wanted.device(*vni).is_none()));
                self.clear = true;
            }
            Ok(_) => {}
            Err(error) => self.failed(vec![error], out),
        }
    }

    /// Tells which VNIs others have set up or taken away: what was heard of that, or, after asking for all of them, what
    /// that makes of it.
    pub(super) fn take_found(&mut self, now: Time, out: &mut Vec<Output>) {
        let mut news = std::mem::take(&mut self.found_news);
        if std::mem::take(&mut self.ask_found) {
            match self.backend.found() {
                Ok(all) => {
                    let all: BTreeSet<Vni> = all.into_iter().collect();
                    let gone = self.found.difference(&all).map(|vni| (*vni, false));
                    news = gone.chain(all.difference(&self.found).map(|vni| (*vni, true))).collect();
                }
                // The next resync asks again.
                Err(error) => self.failed(vec![error], out),
            }
        }
        news.retain(|vni, there| self.found.contains(vni) != *there);
        let gone: Vec<Vni> = news.iter().filter(|(_, there)| !**there).map(|(vni, _)| *vni).collect();
        for &vni in &gone {
            self.found.remove(&vni);
            self.taken_away(vni, now, out);
        }
        // First of all: somebody else may have their place by now.
        self.leave(&gone, out);
        for vni in news.into_iter().filter_map(|(vni, there)| there.then_some(vni)) {
            self.found.insert(vni);
            out.push(Output::Local(Local::Found(vni, true)));
            if self.retries.remove(&Key::Vni(vni)).is_some() {
                self.dirty_vnis.insert(vni);
            }
        }
        if !self.found.is_empty() && !std::mem::replace(&mut self.found_some, true) {
            out.push(Output::Local(Local::FoundAll));
        }
    }

    /// Others took a VNI away. Most likely it will not be wanted in a moment: it is not looked for before.
    fn taken_away(&mut self, vni: Vni, now: Time, out: &mut Vec<Output>) {
        out.push(Output::Local(Local::Found(vni, false)));
        if self.intent.rows().device(vni).is_none() {
            return;
        }
        self.observe.remove(&vni);
        self.dirty_vnis.remove(&vni);
        self.set_ready(vni, false, out);
        let at = now + self.config.retry_min;
        self.retries.insert(Key::Vni(vni), Retry { attempts: 0, at });
    }

    /// What is left of these VNIs goes, whether they are wanted or not.
    fn leave(&mut self, gone: &[Vni], out: &mut Vec<Output>) {
        let stood = gone.iter().filter(|vni| self.installed.device(**vni).is_some());
        let ops: Vec<Op> = stood.map(|vni| Op::Remove(*vni)).collect();
        let mut outcomes = Vec::with_capacity(ops.len());
        if !ops.is_empty() {
            self.backend.apply(&ops, &self.installed, &mut outcomes);
        }
        for (op, outcome) in ops.iter().zip(&outcomes) {
            let vni = op.key().vni();
            if *outcome == Outcome::Done {
                let seen = self.seen.remove(&vni).unwrap_or_default();
                out.extend(Seen::default().changes(&seen, vni).into_iter().map(Output::Local));
                self.installed.remove_vni(vni);
                self.nowhere.remove(vni);
            }
        }
        self.failed(outcomes.into_iter().filter_map(Outcome::error).collect(), out);
    }

    pub(super) fn finish_resync(&mut self, now: Time) {
        if let Some(start) = self.resyncing
            && self.observe.is_empty()
            && self.dirty_vnis.is_empty()
            && self.audit.is_empty()
        {
            self.resyncing = None;
            self.last_resync = Some(now);
            // Looking must not become the main occupation of a host with very many rows.
            // (Zero: another one was asked for meanwhile.)
            if self.resync_at != Time::ZERO {
                self.resync_at = self.resync_at.max(now + now.since(start) * RESYNC_SHARE);
            }
        }
    }

    /// Looks at some of the rows that are to be looked at.
    pub(super) fn audit_some(&mut self, out: &mut Vec<Output>) {
        let start = self.audit.len().saturating_sub(AUDIT_BATCH);
        let mut keys = self.audit.split_off(start);
        if self.audit.is_empty() {
            self.audit = Vec::new();
        }
        keys.retain(|key| self.installed.device(key.vni()).is_some() && !self.observe.contains(&key.vni()));
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() {
            return;
        }
        let mut looks: HashMap<Key, Look, RandomState> = HashMap::default();
        let result = self.backend.look(&keys, &mut |fact| match fact {
            Fact::Row { row, .. } => {
                let key = row.key();
                looks.entry(key).or_default().row = Some(row);
            }
            Fact::Local { vni, mac, interface, sticky } => {
                looks.entry(Key::Mac(vni, mac)).or_default().local = Some((interface, sticky));
            }
            Fact::Foreign(vni, mac) => looks.entry(Key::Mac(vni, mac)).or_default().foreign = true,
            Fact::Neighbour { vni, ip, mac, fixed } => {
                looks.entry(Key::Neighbour(vni, ip)).or_default().neighbour = Some((mac, fixed));
            }
            _ => {}
        });
        if let Err(error) = result {
            // Nothing is known of them: the next resync will.
            self.failed(vec![error], out);
            return;
        }
        let mut lost: BTreeMap<Vni, (usize, Key)> = BTreeMap::new();
        for key in keys {
            let look = looks.remove(&key).unwrap_or_default();
            if self.judge(key, look, out) {
                lost.entry(key.vni()).or_insert((0, key)).0 += 1;
            }
        }
        for (vni, (rows, example)) in lost {
            self.repaired(vni, rows, example, out);
        }
    }

    /// Takes in what stands at a key now. True if a row was lost that is to be put back.
    fn judge(&mut self, key: Key, look: Look, out: &mut Vec<Output>) -> bool {
        let mut overtaken = look.foreign;
        match key {
            Key::Mac(vni, mac) => {
                let known = self.seen.get(&vni).is_some_and(|seen| seen.foreign.contains(&mac));
                if look.foreign && !known {
                    self.foreign(vni, mac, out);
                    self.push(key);
                } else if known && !look.foreign {
                    self.mac_gone(vni, mac, out);
                }
                if let Some((interface, sticky)) = look.local {
                    overtaken = true;
                    self.local(vni, mac, interface, sticky, out);
                }
            }
            Key::Neighbour(vni, ip) => {
                if let Some((mac, fixed)) = look.neighbour {
                    overtaken = true;
                    self.neighbour(vni, ip, mac, fixed, out);
                }
            }
            Key::Vni(_) | Key::Flood(..) | Key::Prefix(..) => {}
        }
        let before = self.installed.get(&key);
        if before == look.row {
            return false;
        }
        match look.row {
            Some(row) => self.installed.insert(row),
            None => self.installed.remove(&key),
        };
        self.push(key);
        !overtaken && before.is_some() && self.intent.rows().get(&key) == before
    }

    /// Observes some of the VNIs that are to be observed; where tables are shared, all of them: what was found must be
    /// compared before anything is written or heard, or it is no longer so.
    pub(super) fn observe_some(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.observe.is_empty() {
            return;
        }
        let mut errors = Vec::new();
        let observe = std::mem::take(&mut self.observe);
        let there = observe.into_iter().filter(|vni| self.installed.device(*vni).is_some());
        // Those never seen yet are a group of their own, and the first: nothing is written to them before, and if all
        // were just made, there is nothing to look at.
        let (seen, new): (Vec<Vni>, Vec<Vni>) = there.partition(|vni| self.seen.contains_key(vni));
        self.observe_vnis(&new, Scope::All, now, &mut errors, out);
        if self.backend.shared() {
            let scope = self.scope(&seen);
            self.observe_vnis(&seen, scope, now, &mut errors, out);
        } else {
            let (mut seen, mut small, mut rows) = (seen.into_iter(), Vec::new(), 0);
            while rows < OBSERVE_BATCH
                && let Some(vni) = seen.next()
            {
                let macs = self.installed.macs(vni);
                rows += macs + 16;
                if macs > self.config.observe_limit {
                    rows += self.observe_vnis(&[vni], Scope::Local, now, &mut errors, out);
                } else {
                    small.push(vni);
                }
            }
            self.observe_vnis(&small, Scope::All, now, &mut errors, out);
            self.observe.extend(seen);
        }
        self.failed(errors, out);
    }

    /// How much to observe of VNIs that were seen before and are in the same tables as others: all, if these tables are not too
    /// large, and a good part of what is in them is of these VNIs.
    fn scope(&self, vnis: &[Vni]) -> Scope {
        let rows: usize = vnis.iter().map(|vni| self.installed.count(*vni)).sum();
        let few = rows * FEW_SHARE < self.installed.len();
        let macs = || self.installed.vnis().map(|vni| self.installed.macs(vni)).sum::<usize>();
        if few || macs() > self.config.observe_limit { Scope::Local } else { Scope::All }
    }

    /// Compares VNIs with what stands in the dataplane: all of it, or, where that has been done once and there is
    /// much of it, without the MACs of others; these are then looked at one by one, some at a time. Returns how much was
    /// found.
    fn observe_vnis(
        &mut self,
        vnis: &[Vni],
        scope: Scope,
        now: Time,
        errors: &mut Vec<Error>,
        out: &mut Vec<Output>,
    ) -> usize {
        if vnis.is_empty() {
            return 0;
        }
        let mut found = Rows::default();
        let mut seen: HashMap<Vni, Seen, RandomState> = HashMap::default();
        let (wanted, installed) = (self.intent.rows(), &self.installed);
        let mut count = 0;
        let devices = self.backend.observe(vnis, scope, &mut |fact| {
            count += 1;
            match fact {
                Fact::Row { row, own } => {
                    let key = row.key();
                    if own || wanted.contains(&key) || installed.contains(&key) {
                        found.insert(row);
                    }
                }
                Fact::Local { vni, mac, interface, sticky } => {
                    let local = LocalMac { interface, sticky, superseded: false };
                    seen.entry(vni).or_default().macs.insert(mac, local);
                }
                Fact::Foreign(vni, mac) => {
                    seen.entry(vni).or_default().foreign.insert(mac);
                }
                Fact::Neighbour { vni, ip, mac, fixed } => {
                    let neighbour = LocalNeighbour { mac, fixed, superseded: false };
                    seen.entry(vni).or_default().neighbours.insert(ip, neighbour);
                }
                Fact::Vlan(vni, vlan) => seen.entry(vni).or_default().vlan = Some(vlan),
                _ => {}
            }
        });
        for (vni, device) in vnis.iter().zip(devices) {
            match device {
                Ok(device) => {
                    let seen = seen.remove(vni).unwrap_or_default();
                    self.compare(*vni, scope, device, &mut found, seen, out);
                }
                Err(error) => {
                    self.fail(Key::Vni(*vni), now);
                    errors.push(error);
                }
            }
        }
        count
    }

    /// Compares what was found in a VNI with what is believed to stand there.
    fn compare(
        &mut self,
        vni: Vni,
        scope: Scope,
        device: Device,
        found: &mut Rows,
        mut seen: Seen,
        out: &mut Vec<Output>,
    ) {
        self.nowhere.remove(vni);
        // In another VLAN there is nothing of it yet, and that is nobody's doing.
        let vlan = self.seen.get(&vni).and_then(|before| before.vlan);
        let moved = vlan.is_some() && seen.vlan.is_some() && vlan != seen.vlan;
        if scope == Scope::Local && device != Device::Missing {
            if let Some(before) = self.seen.get(&vni) {
                seen.foreign.extend(&before.foreign);
            }
            let mut keys = Vec::new();
            self.installed.keys(vni, &mut keys);
            self.intent.rows().keys(vni, &mut keys);
            for key in keys {
                match key {
                    // A backend may have shown it all the same.
                    _ if found.contains(&key) => continue,
                    Key::Mac(..) if !moved => self.audit.push(key),
                    Key::Mac(..) | Key::Flood(..) => self.rewrite.push(key),
                    Key::Vni(_) | Key::Neighbour(..) | Key::Prefix(..) => continue,
                }
                if let Some(row) = self.installed.get(&key) {
                    found.insert(row);
                }
            }
        }

        // The device row itself: right, or to be put again.
        let spec = self.installed.device(vni).cloned();
        if device == Device::Right {
            seen.ready = true;
            if let Some(spec) = spec {
                found.insert(Row::Vni(spec));
            }
        } else if !self.retries.contains_key(&Key::Vni(vni)) {
            self.dirty_vnis.insert(vni);
        }

        let mut keys = Vec::new();
        self.installed.keys(vni, &mut keys);
        keys.sort_unstable();
        let mut lost = 0;
        let mut example = None;
        for key in keys {
            let before = self.installed.get(&key);
            let overtaken = match key {
                Key::Mac(_, mac) => seen.macs.contains_key(&mac) || seen.foreign.contains(&mac),
                Key::Flood(..) => scope == Scope::Local,
                _ => false,
            };
            if found.get(&key) != before && !overtaken && self.intent.rows().get(&key) == before {
                lost += 1;
                example.get_or_insert(key);
            }
        }
        if let Some(example) = example.filter(|_| !moved) {
            self.repaired(vni, lost, example, out);
        }
        self.installed.replace_vni(vni, found);
        self.merge_seen(vni, seen, out);

        let mut keys = Vec::new();
        plan::differences(self.intent.rows(), &self.installed, vni, self.intent.settled(), &mut keys);
        for key in keys {
            if !matches!(key, Key::Vni(_)) && !self.retries.contains_key(&key) {
                self.push(key);
            }
        }
    }

    /// Tells upwards how what is seen now differs from what was seen before.
    pub(super) fn merge_seen(&mut self, vni: Vni, mut now: Seen, out: &mut Vec<Output>) {
        let before = self.seen.remove(&vni).unwrap_or_default();
        for (mac, local) in &mut now.macs {
            if let Some(old) = before.macs.get(mac).filter(|old| old.is_at(local)) {
                local.superseded = old.superseded;
            }
        }
        for (ip, neighbour) in &mut now.neighbours {
            if let Some(old) = before.neighbours.get(ip).filter(|old| old.mac == neighbour.mac) {
                neighbour.superseded = old.superseded;
            }
        }
        out.extend(now.changes(&before, vni).into_iter().map(Output::Local));
        self.seen.insert(vni, now);
    }
}
