//! The RIB as people and scripts look at it: `show routes`, `explain`, counters.

use crate::wire::{Attributes, NlriBody, RouteKey};

use super::decision::decide;
use super::{DestId, Ineligible, PeerId, Reason, Rib, Source, UpdateStats, source};

/// A destination with all its paths.
#[derive(Clone, Debug)]
pub struct DestView<'a> {
    /// Its id, to go on from.
    pub id: DestId,
    /// Its key.
    pub key: &'a RouteKey,
    /// Its paths, the best first if one is eligible.
    pub paths: Vec<PathView<'a>>,
}

/// One path of a destination.
#[derive(Clone, Copy, Debug)]
pub struct PathView<'a> {
    /// Who it is from.
    pub source: Source,
    /// Its attributes.
    pub attributes: &'a Attributes,
    /// What the NLRI carried beside the key.
    pub body: NlriBody,
    /// It is the one used and sent on.
    pub best: bool,
    /// Why it cannot be best.
    pub ineligible: Option<Ineligible>,
    /// At which step of the decision it lost to others.
    pub lost: Option<Reason>,
}

/// What a peer did and was sent since its session came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounters {
    /// Routes it has announced and not withdrawn.
    pub routes_received: u32,
    /// Routes it has been sent and that were not withdrawn.
    pub routes_sent: u32,
    /// Announcements, new or changed.
    pub accepted: u64,
    /// Announcements that changed nothing.
    pub unchanged: u64,
    /// Withdrawals.
    pub withdrawn: u64,
    /// Withdrawals of what it never announced.
    pub spurious: u64,
    /// NLRI discarded.
    pub discarded: u64,
    /// Routes treated as withdrawn.
    pub treated_as_withdraw: u64,
    /// Announcements kept but not eligible.
    pub ineligible: u64,
    /// UPDATEs and refresh markers it was sent.
    pub messages_sent: u64,
}

impl PeerCounters {
    pub(super) fn add(&mut self, stats: &UpdateStats) {
        self.accepted += u64::from(stats.accepted);
        self.unchanged += u64::from(stats.unchanged);
        self.withdrawn += u64::from(stats.withdrawn);
        self.spurious += u64::from(stats.spurious);
        self.discarded += u64::from(stats.discarded);
        self.treated_as_withdraw += u64::from(stats.treated_as_withdraw);
        self.ineligible += u64::from(stats.ineligible);
    }
}

/// The size of the RIB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Destinations with at least one path.
    pub destinations: usize,
    /// Paths of all sources.
    pub paths: usize,
    /// Of these, our own.
    pub local: usize,
    /// Destinations without a path that somebody is still to be told of.
    pub tombstones: usize,
    /// Attribute sets, one for each source.
    pub attribute_sets: usize,
    /// Different rare parts of NLRI: segment, second label, gateway.
    pub nlri_extras: usize,
    /// Groups of peers that are sent the same bytes.
    pub subgroups: usize,
    /// Octets held, but for what attribute sets own on the heap.
    pub memory: usize,
}

impl Rib {
    /// The destinations after `after` (from the first one without), in an order that does not change while they live.
    /// For paging: take some, go on from the last one's id.
    pub fn routes(&self, after: Option<DestId>) -> impl Iterator<Item = DestView<'_>> {
        self.search(after, |_| true)
    }

    /// Of [`Rib::routes`], those whose key is wanted. A million keys are looked through in some ten milliseconds.
    pub fn search(
        &self,
        after: Option<DestId>,
        mut wanted: impl FnMut(&RouteKey) -> bool,
    ) -> impl Iterator<Item = DestView<'_>> {
        let start = after.map_or(0, |d| d.0.saturating_add(1));
        (start..self.store.table.end()).filter_map(move |id| {
            let dest = self.store.table.get(id);
            (dest.is_live() && dest.has_path() && wanted(&dest.key)).then(|| self.view(id))
        })
    }

    /// The destination of a key.
    pub fn lookup(&self, key: &RouteKey) -> Option<DestView<'_>> {
        let id = self.store.table.find(self.store.table.hash(key), key)?;
        self.store.table.get(id).has_path().then(|| self.view(id))
    }

    /// Which peers have been sent a destination.
    pub fn sent(&self, dest: DestId) -> Vec<PeerId> {
        self.holders(dest.0)
    }

    fn view(&self, id: u32) -> DestView<'_> {
        let key = &self.store.table.get(id).key;
        let mut paths = Vec::new();
        let mut ranks = Vec::new();
        for path in self.store.paths(id) {
            let set = self.store.attrs.get(path.attr);
            if set.ineligible.is_none() {
                ranks.push((paths.len(), &set.rank));
            }
            paths.push(PathView {
                source: source(set.peer),
                attributes: &set.attributes,
                body: self.store.extras.body(path.extra, path.label),
                best: false,
                ineligible: set.ineligible,
                lost: None,
            });
        }
        if !ranks.is_empty() {
            let (at, ranks): (Vec<usize>, Vec<_>) = ranks.into_iter().unzip();
            let mobility = matches!(key, RouteKey::MacIp { .. });
            let best = decide(&ranks, mobility, |loser, step| paths[at[loser]].lost = Some(step));
            paths[at[best]].best = true;
        }
        DestView { id: DestId(id), key, paths }
    }

    /// What a peer did and was sent.
    pub fn peer_counters(&self, id: PeerId) -> Option<PeerCounters> {
        let peer = self.peer(id.0)?;
        Some(PeerCounters { routes_received: peer.routes, routes_sent: self.sent_to(id.0), ..peer.counters })
    }

    /// The size of the RIB.
    pub fn counters(&self) -> Counters {
        let store = &self.store;
        let peers: usize = self.peers.iter().flatten().map(|p| p.routes as usize).sum();
        let sets = self.subgroups.iter().map(|g| g.sent.memory()).sum::<usize>()
            + self.subscribers.iter().flatten().map(|s| s.told.memory()).sum::<usize>()
            + self.peers.iter().flatten().map(|p| p.suppressed.memory()).sum::<usize>();
        Counters {
            destinations: store.table.len() - store.table.tombstones(),
            paths: peers + self.local_routes as usize,
            local: self.local_routes as usize,
            tombstones: store.table.tombstones(),
            attribute_sets: store.attrs.len(),
            nlri_extras: store.extras.len(),
            subgroups: self.subgroups.len(),
            memory: store.table.memory()
                + store.further.memory()
                + store.attrs.memory()
                + store.extras.memory()
                + self.packer.memory()
                + sets,
        }
    }
}
