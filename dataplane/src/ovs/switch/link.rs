//! Coming to know Open vSwitch: bridge, VXLAN port, ports and the monitor that tells of them; and losing it.

use std::time::Duration;

use types::Time;

use super::super::bridge;
use super::super::tools::{Cause, Failure, News};
use super::{Link, Piece, RETRY_MAX, RETRY_MIN, Retry, Switch, backoff};
use crate::backend::{Error, ErrorKind};
use crate::plane::{Action, Step, Thing};
use crate::reconciler::{Event, Output};

/// After the first attempt to connect that failed; doubled for each further one.
const AWAY_MIN: Duration = Duration::from_millis(100);
/// ovs-vswitchd restarts within seconds, and has no flows then: it is not kept waiting.
const AWAY_MAX: Duration = Duration::from_secs(2);
/// After a failure to set up bridge or VXLAN port while the rest works: the longest wait.
const SETUP_MAX: Duration = Duration::from_secs(15);
/// The monitor is a process, and takes a moment to listen.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// Characters of a port's name that OpenFlow carries.
const NAME: usize = 15;

impl Switch {
    /// Takes in what the monitor has to say.
    pub(super) fn listen(&mut self, now: Time, out: &mut Vec<Output>) {
        let Link::Up { monitor } = &mut self.link else { return };
        match monitor.poll() {
            News::None => {}
            News::Ports => self.ports_due = true,
            News::Ended(said) => {
                let bridge = &self.config.bridge;
                let mut reason = "ovs-vswitchd stopped, or the bridge was removed".to_owned();
                if !said.is_empty() {
                    reason = format!("{reason} ({said})");
                }
                let action = format!("the connection to bridge {bridge} was lost");
                self.lost(Failure::away(ErrorKind::NoDevice, action, reason), now, out);
            }
        }
    }

    /// The connection is no more. What is installed is not known until all has been compared again.
    pub(super) fn lost(&mut self, failure: Failure, now: Time, out: &mut Vec<Output>) {
        let wait = match self.attempts {
            0 => Duration::ZERO, // The bridge may just have been deleted: it is made again at once.
            n => backoff(AWAY_MIN, AWAY_MAX, n - 1),
        };
        self.attempts += 1;
        self.silent = failure.cause == Cause::Silent;
        self.link = Link::Down { at: now + wait };
        for piece in self.pieces.drain(..) {
            match piece {
                Piece::Units(units) => self.dirty.extend(units),
                Piece::Strays(_) => {} // The comparison finds them again.
            }
        }
        self.dirty.extend(self.flying.take().into_iter().flat_map(super::write::Flying::into_units));
        self.comparing = None;
        self.away(failure.error, out);
    }

    /// Tells why Open vSwitch is away, once.
    fn away(&mut self, error: Error, out: &mut Vec<Output>) {
        let text = error.to_string();
        if self.trouble.as_ref() != Some(&text) {
            self.trouble = Some(text);
            self.failed(error, 0, out);
        }
    }

    pub(super) fn connect(&mut self, now: Time, out: &mut Vec<Output>) {
        match self.try_connect(now, out) {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    let text = format!("Open vSwitch is there: bridge {}", self.config.bridge);
                    out.push(Output::Event(Event::Note(text)));
                }
                self.silent = false;
                self.ports_at = Some(now + SECOND_LOOK);
                self.compare_at = Time::ZERO;
            }
            Err(failure) => {
                self.attempts += 1;
                self.silent |= failure.cause == Cause::Silent;
                // What only an operator can put right is looked at less often.
                let max = match failure.error.kind {
                    ErrorKind::NoDevice => AWAY_MAX,
                    _ => 5 * AWAY_MAX,
                };
                self.link = Link::Down { at: now + backoff(AWAY_MIN, max, self.attempts - 1) };
                self.away(failure.error, out);
            }
        }
    }

    fn try_connect(&mut self, now: Time, out: &mut Vec<Output>) -> Result<(), Failure> {
        match self.set_up(out) {
            Ok(()) => self.setup = None,
            // The database may be away, and what it said before still be so, if the bridge answers. (It does not if
            // it is ovs-vswitchd's database too.)
            Err(failure)
                if self.vxlan.is_some() && !self.silent && failure.error.kind == ErrorKind::NoDevice =>
            {
                self.setup_failed(failure.error, now, out);
            }
            Err(failure) => return Err(failure),
        }
        let opened = self.look_at_ports()?;
        self.ports_due = !opened;
        self.link = Link::Up { monitor: self.tools.monitor()? };
        Ok(())
    }

    /// Makes bridge and VXLAN port stand.
    fn set_up(&mut self, out: &mut Vec<Output>) -> Result<(), Failure> {
        let mut said = bridge::Said::default();
        let result = bridge::set_up(&self.config, &*self.tools, &mut said);
        let new = said.remarks.iter().filter(|remark| !self.remarks.contains(remark)).cloned();
        out.extend(said.done.into_iter().chain(new).map(|text| Output::Event(Event::Note(text))));
        if result.is_ok() {
            self.remarks = said.remarks;
        }
        self.vxlan = Some(result?);
        Ok(())
    }

    /// Looks at bridge, VXLAN port and ports, and makes what is missing.
    pub(super) fn inspect(&mut self, now: Time, out: &mut Vec<Output>) {
        let failure = self.set_up(out).err();
        let failed = failure.is_some();
        if let Some(failure) = failure {
            self.setup_failed(failure.error, now, out);
        }
        match self.look_at_ports() {
            Ok(_) if failed => {}
            Ok(true) => self.setup = None,
            Ok(false) => {
                let name = self.vxlan.as_deref().unwrap_or_default();
                let reason = "ovs-vswitchd has not opened it; its log says why";
                let action = format!("VXLAN port {name} on bridge {}", self.config.bridge);
                self.setup_failed(Error::new(ErrorKind::NoDevice, action, reason), now, out);
            }
            Err(failure) => self.lost(failure, now, out),
        }
    }

    fn setup_failed(&mut self, error: Error, now: Time, out: &mut Vec<Output>) {
        let old = self.setup.take().unwrap_or_default();
        let said = error.to_string();
        let news = said != old.said;
        let at = now + backoff(RETRY_MIN, SETUP_MAX, old.attempts);
        self.setup = Some(Retry { attempts: old.attempts + 1, at, said });
        if news {
            self.failed(error, 0, out);
        }
    }

    /// Looks at the ports if something was said of them, or nobody may have been listening.
    pub(super) fn check_ports(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.ports_at.is_some_and(|at| at <= now) {
            self.ports_at = None;
            self.ports_due = true;
        }
        if !self.ports_due {
            return;
        }
        match self.look_at_ports() {
            // Somebody removed the VXLAN port: it is made again.
            Ok(false) if self.setup.is_none() => self.inspect(now, out),
            Ok(_) => {}
            Err(failure) => self.lost(failure, now, out),
        }
    }

    /// Looks at the ports of the bridge. True if the VXLAN port is among them.
    fn look_at_ports(&mut self) -> Result<bool, Failure> {
        let ports = self.tools.ports()?;
        self.ports_due = false;
        Ok(self.set_ports(&ports, None))
    }

    /// The ports are these; without a VXLAN port among them, it would be that one.
    fn set_ports(&mut self, ports: &[(u16, String)], planned: Option<u16>) -> bool {
        let name = self.vxlan.as_deref().map(|name| name.get(..NAME).unwrap_or(name));
        let tunnel = ports.iter().find(|(_, port)| Some(port.as_str()) == name).map(|(number, _)| *number);
        let ports = ports.iter().map(|(number, name)| (*number, name.as_str()));
        self.pipeline.set_ports(ports, tunnel.or(planned), &mut self.dirty, &mut self.untold);
        tunnel.is_some()
    }

    /// Units whose time has come are tried again.
    pub(super) fn retry_due(&mut self, now: Time) {
        for (unit, refused) in &mut self.failing {
            if refused.retry.at <= now {
                // All of it; another failure says when next.
                refused.retry.at = now + RETRY_MAX;
                refused.waits = false;
                refused.without.clear();
                self.dirty.insert(unit.clone());
            }
        }
    }

    /// What a dry run shows: looks at everything, changes nothing.
    pub(super) fn rehearse(&mut self, out: &mut Vec<Output>) -> Result<Vec<Step>, Failure> {
        let db = super::Db::read(&*self.tools)?;
        let setup = bridge::plan(&self.config, &db).map_err(|error| Failure { cause: Cause::Away, error })?;
        let command = |step: &bridge::Step| Step::new(Action::Add, Thing::Command, step.to_string());
        let mut steps: Vec<Step> = setup.steps.iter().map(command).collect();
        self.vxlan = Some(setup.vxlan);
        let stands = db.bridge(&self.config.bridge).is_some();
        let ports = if stands { self.tools.ports()? } else { Vec::new() };
        let planned = (!setup.steps.is_empty()).then_some(bridge::OFPORT);
        self.set_ports(&ports, planned);
        out.extend(self.untold.drain(..).map(Output::Local));
        steps.extend(self.differences(stands)?);
        Ok(steps)
    }
}
