//! VNIs that are configured, with discovery, and that nobody has set up: people are told what is missing.

use types::{Time, Vni};

use super::Core;
use super::events::{About, Kind, Level};

/// VNIs told of one by one; the rest is counted.
const ONE_BY_ONE: usize = 10;

impl Core {
    /// What a VNI lacks that is configured and was not found; `None` if that is not so.
    pub fn lack(&self, vni: Vni) -> Option<String> {
        let lack = self.config.discover.as_ref().filter(|_| self.evpn.is_missing(vni))?;
        Some(format!("VNI {vni} is configured, but {lack}; with discover evpnd makes nothing itself"))
    }

    /// The VNIs that are configured and were not found, ascending.
    pub fn missing(&self) -> impl Iterator<Item = Vni> + '_ {
        self.evpn.missing()
    }

    pub(super) fn tell_missing(&mut self, now: Time) {
        let missing: Vec<Vni> = self.evpn.missing().collect();
        for &vni in missing.iter().take(ONE_BY_ONE) {
            if let Some(text) = self.lack(vni) {
                let about = About { vni: Some(vni), ..About::default() };
                self.log.push(now, Kind::Dataplane, Level::Warn, about, text);
            }
        }
        if let Some(more) = missing.len().checked_sub(ONE_BY_ONE).filter(|more| *more > 0) {
            let text =
                format!("and {more} more VNIs that are configured and were not found: see evpnd show vnis");
            self.log.push(now, Kind::Dataplane, Level::Warn, About::default(), text);
        }
    }
}
