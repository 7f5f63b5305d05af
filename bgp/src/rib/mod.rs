//! Adj-RIB-In, Loc-RIB with best path, Adj-RIB-Out: RFC 4271 §3.2 and §9, RFC 4456, RFC 7606 (treat-as-withdraw),
//! RFC 7313 (what a refresh did not repeat is gone).
//!
//! Paths of all peers and our own hang at their destination, the best one first (`store`). Destinations form
//! one list ordered by last change; peers and subscribers read it through cursors (`table`). What peers have
//! been told is one bit a route, shared by those in step (`send`). So nothing is queued for anyone: a slow
//! reader is a cursor that lags, and its lag costs neither memory nor the others' time.
//!
//! Everything long is cut in slices: [`Rib::poll_send`] and [`Rib::poll`] do a bounded amount of work and say whether
//! there is more, and the routes of a lost peer are removed by [`Rib::poll_send`] along the way.

mod attrs;
mod bitset;
mod decision;
mod export;
mod pack;
mod send;
mod slab;
mod store;
mod table;
mod view;

use std::net::{IpAddr, Ipv4Addr};

use crate::session::Negotiated;
use crate::wire::{
    Attributes, MAX_EXTENDED_MESSAGE, MAX_MESSAGE, Nlri, NlriBody, NlriIter, RouteKey, Update,
};

use attrs::Extra;
use bitset::Bitset;
use decision::Rank;
pub use decision::{Ineligible, Reason};
use pack::Packer;
use send::Subgroup;
use slab::NONE;
use store::{Removed, Store, Upserted};
use table::{CursorId, Path};
pub use view::{Counters, DestView, PathView, PeerCounters};

/// The source of our own routes, among the indices of peers.
const LOCAL: u32 = u32::MAX;

/// Destinations sent to a group of peers at a time.
const CHUNK: u32 = 2048;
/// Destinations looked at for what lost peers left behind, a slice.
const SWEEP_SLICE: u32 = 16 * 1024;

/// Who we are.
#[derive(Clone, Copy, Debug)]
pub struct RibConfig {
    /// Our AS.
    pub asn: u32,
    /// Our BGP identifier.
    pub router_id: Ipv4Addr,
    /// Our cluster, as a route reflector; usually the router id.
    pub cluster_id: Ipv4Addr,
}

/// An established session. Ids of peers that went down are used again, but not before their routes are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u32);

/// A destination; the id stays with the route for as long as it exists and every subscriber was told of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestId(u32);

impl DestId {
    /// The id as a number, to keep things by it.
    pub const fn index(self) -> u32 {
        self.0
    }

    /// The id of this number, which need not exist: for [`Rib::routes`] to go on from.
    pub const fn from_index(index: u32) -> Self {
        Self(index)
    }
}

/// A reader of the Loc-RIB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriberId(u32);

/// How routes pass between us and a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerKind {
    /// Another AS.
    Ebgp,
    /// Our AS.
    Ibgp,
    /// Our AS, a client of us as its route reflector.
    IbgpClient,
}

/// What the RIB has to know of a session.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: u32,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// What it is to us.
    pub kind: PeerKind,
    /// Four-octet AS numbers were negotiated (RFC 6793).
    pub as4: bool,
    /// The longest message it takes: 4096, or 65535 if negotiated (RFC 8654).
    pub max_message: usize,
    /// Enhanced route refresh was negotiated (RFC 7313).
    pub enhanced_refresh: bool,
}

impl PeerInfo {
    /// Of a session that came up.
    pub fn new(address: IpAddr, kind: PeerKind, negotiated: &Negotiated) -> Self {
        Self {
            address,
            asn: negotiated.remote_asn,
            router_id: negotiated.remote_id,
            kind,
            as4: negotiated.as4,
            max_message: negotiated.max_message(),
            enhanced_refresh: negotiated.enhanced_refresh,
        }
    }
}

/// Where a path came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Originated here.
    Local,
    /// Learned from this peer.
    Peer(PeerId),
}

/// A destination whose best path changed since the subscriber last saw it.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Which.
    pub dest: DestId,
    /// Its key.
    pub key: &'a RouteKey,
    /// The best path now; `None` if there is none any more.
    pub best: Option<Best<'a>>,
}

/// The best path of a destination.
#[derive(Clone, Copy, Debug)]
pub struct Best<'a> {
    /// Its attributes, as received or originated.
    pub attributes: &'a Attributes,
    /// Identifies the attribute set and its source for as long as some route has them.
    pub attr_id: u32,
    /// What the NLRI carried beside the key.
    pub body: NlriBody,
    /// Who it is from.
    pub source: Source,
}

/// What one UPDATE did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateStats {
    /// Routes new or changed.
    pub accepted: u32,
    /// Routes announced again as they were.
    pub unchanged: u32,
    /// Routes withdrawn.
    pub withdrawn: u32,
    /// Withdrawals of routes the peer never announced.
    pub spurious: u32,
    /// NLRI discarded: of unknown type or malformed.
    pub discarded: u32,
    /// Announced routes withdrawn because of an error in the attributes (RFC 7606 §2, treat-as-withdraw).
    pub treated_as_withdraw: u32,
    /// Of the accepted, those kept but not eligible.
    pub ineligible: u32,
    /// Routes the peer has now.
    pub routes: u32,
}

/// An established session's state in the RIB.
#[derive(Debug)]
struct Peer {
    info: PeerInfo,
    /// The session is up; otherwise only its last routes keep the entry.
    up: bool,
    routes: u32,
    /// The attribute set of its last UPDATE, one use held: most UPDATEs of a dump repeat it.
    last_attr: u32,
    /// Of what its subgroup was sent, what this peer was not: mostly the routes it is itself the source of.
    suppressed: Bitset,
    /// End-of-RIB is still to be sent.
    eor_due: bool,
    /// BoRR, EoRR are still to be sent (RFC 7313).
    borr_due: bool,
    eorr_due: bool,
    /// Between its BoRR and the end of what follows from its EoRR: what it has repeated since.
    repeated: Option<Bitset>,
    counters: PeerCounters,
}

#[derive(Debug)]
struct Subscriber {
    cursor: CursorId,
    /// Destinations it believes to have a best path.
    told: Bitset,
}

/// See the module.
#[derive(Debug)]
pub struct Rib {
    config: RibConfig,
    store: Store,
    peers: Vec<Option<Peer>>,
    local_routes: u32,
    subgroups: Vec<Subgroup>,
    subscribers: Vec<Option<Subscriber>>,
    packer: Packer,
    /// Peers that are down and still have routes.
    dying: u32,
    /// How often the sweep still has to come to the end of the table to have found all tombstones that only lost peers
    /// knew: twice from anywhere is once from the start.
    orphan_rounds: u8,
    sweep_at: u32,
    /// Peers whose EoRR came, and how far what they did not repeat has been removed.
    purges: Vec<(u32, u32)>,
    /// Tombstones of which the reader at hand was told; kept for its capacity.
    gone: Vec<u32>,
    chunk: u32,
    /// The routes of the UPDATE at hand: hash, key, and what to announce or `None` for a withdrawal that an error asks
    /// for. Kept for its capacity.
    batch: Vec<(u64, RouteKey, Option<NlriBody>)>,
}

impl Rib {
    /// An empty RIB.
    pub fn new(config: RibConfig) -> Self {
        Self {
            config,
            store: Store::new(),
            peers: Vec::new(),
            local_routes: 0,
            subgroups: Vec::new(),
            subscribers: Vec::new(),
            packer: Packer::default(),
            dying: 0,
            orphan_rounds: 0,
            sweep_at: 0,
            purges: Vec::new(),
            gone: Vec::new(),
            chunk: CHUNK,
            batch: Vec::new(),
        }
    }

    /// Sends at most so many destinations to a group of peers at a time, instead of 2048. Fewer make shorter turns and
    /// emptier messages.
    #[must_use]
    pub fn with_chunk(mut self, destinations: u32) -> Self {
        self.chunk = destinations.max(1);
        self
    }

    fn peer(&self, id: u32) -> Option<&Peer> {
        self.peers.get(id as usize)?.as_ref()
    }

    fn peer_mut(&mut self, id: u32) -> Option<&mut Peer> {
        self.peers.get_mut(id as usize)?.as_mut()
    }

    // Peers.

    /// A session came up: it will be sent all there is, then End-of-RIB, then changes.
    pub fn peer_up(&mut self, mut info: PeerInfo) -> PeerId {
        info.max_message = info.max_message.clamp(MAX_MESSAGE, MAX_EXTENDED_MESSAGE);
        let peer = Peer {
            info,
            up: true,
            routes: 0,
            last_attr: NONE,
            suppressed: Bitset::default(),
            eor_due: true,
            borr_due: false,
            eorr_due: false,
            repeated: None,
            counters: PeerCounters::default(),
        };
        let slot = self.peers.iter().position(Option::is_none).unwrap_or_else(|| {
            self.peers.push(None);
            self.peers.len() - 1
        });
        self.join(slot as u32, &peer.info);
        self.peers[slot] = Some(peer);
        PeerId(slot as u32)
    }

    /// A session went down. Its routes are removed over the next calls of [`Rib::poll_send`].
    pub fn peer_down(&mut self, id: PeerId) {
        let Some(peer) = self.peer_mut(id.0).filter(|p| p.up) else { return };
        peer.up = false;
        peer.suppressed = Bitset::default();
        peer.repeated = None;
        let last = std::mem::replace(&mut peer.last_attr, NONE);
        let routes = peer.routes;
        if last != NONE {
            self.store.attrs.release(last);
        }
        self.purges.retain(|&(peer, _)| peer != id.0);
        self.leave(id.0);
        if routes == 0 {
            self.peers[id.0 as usize] = None;
        } else {
            self.dying += 1;
        }
    }

    /// A peer is about to repeat all its routes (RFC 7313, BoRR): those it has now are stale until it does.
    pub fn refresh_begins(&mut self, id: PeerId) {
        self.purges.retain(|&(peer, _)| peer != id.0);
        if let Some(peer) = self.peer_mut(id.0).filter(|p| p.up) {
            peer.repeated = Some(Bitset::default());
        }
    }

    /// It has (EoRR): what it did not repeat is removed over the next calls of [`Rib::poll_send`]. Without a beginning
    /// this means nothing.
    pub fn refresh_ends(&mut self, id: PeerId) {
        let refreshing = self.peer(id.0).is_some_and(|p| p.repeated.is_some());
        if refreshing && self.purges.iter().all(|&(peer, _)| peer != id.0) {
            self.purges.push((id.0, 0));
        }
    }

    /// Removes what a peer did not repeat in a refresh, one slice. What it announces meanwhile counts as repeated.
    fn purge(&mut self) {
        let Some(&mut (peer, ref mut at)) = self.purges.last_mut() else { return };
        let from = *at;
        let end = self.store.table.end();
        let to = from.saturating_add(SWEEP_SLICE).min(end);
        *at = to;
        let Some(repeated) = self.peer_mut(peer).and_then(|p| p.repeated.take()) else {
            self.purges.pop();
            return;
        };
        let mut removed = 0;
        let mut id = from;
        // The last destination takes the table with it.
        while id < to && self.store.table.len() > 0 {
            if !repeated.get(id) {
                removed += u64::from(self.remove_path(id, peer));
            }
            id += 1;
        }
        let done = to == end;
        if done {
            self.purges.pop();
        }
        if let Some(peer) = self.peer_mut(peer) {
            peer.counters.withdrawn += removed;
            peer.repeated = (!done).then_some(repeated);
        }
    }

    /// How many routes a peer has announced and not withdrawn.
    pub fn peer_routes(&self, id: PeerId) -> u32 {
        self.peer(id.0).map_or(0, |p| p.routes)
    }

    /// Removes routes of lost peers, and tombstones that are waiting for lost peers, one slice.
    fn sweep(&mut self) {
        let end = self.store.table.end();
        if self.sweep_at >= end {
            self.sweep_at = 0;
        }
        let mut id = self.sweep_at;
        let to = id.saturating_add(SWEEP_SLICE).min(end);
        // Neighbours in memory mostly share their attribute set: ask once for each run whether its source is lost.
        let mut known = (NONE, false);
        // The last destination takes the table with it.
        while id < to && self.store.table.len() > 0 {
            let dest = self.store.table.get(id);
            let first = dest.first();
            if first.attr == NONE {
                if dest.is_live() && !self.is_known(id) {
                    self.store.table.free(id);
                }
            } else if first.next == NONE {
                let peer = self.store.attrs.get(first.attr).peer;
                if known.0 != first.attr {
                    known = (first.attr, self.is_dying(peer));
                }
                if known.1 {
                    self.remove_path(id, peer);
                    // The id of a set that just lost its last user may be given out again.
                    known = (NONE, false);
                }
            } else {
                let peers = self.store.paths(id).map(|path| self.store.attrs.get(path.attr).peer);
                for peer in peers.filter(|&peer| self.is_dying(peer)).collect::<Vec<_>>() {
                    self.remove_path(id, peer);
                }
                known = (NONE, false);
            }
            id += 1;
        }
        self.sweep_at = id;
        if id == end {
            self.orphan_rounds = self.orphan_rounds.saturating_sub(1);
        }
    }

    /// Does some reader believe that the destination has a best path?
    fn is_known(&self, id: u32) -> bool {
        self.subgroups.iter().any(|g| g.sent.get(id))
            || self.subscribers.iter().flatten().any(|s| s.told.get(id))
    }

    /// Frees those of the tombstones in `gone` that nobody else is to be told of.
    fn free_gone(&mut self) {
        let mut gone = std::mem::take(&mut self.gone);
        gone.retain(|&id| !self.is_known(id));
        self.store.table.free_all(&gone);
        gone.clear();
        self.gone = gone;
    }

    fn is_dying(&self, peer: u32) -> bool {
        self.peer(peer).is_some_and(|p| !p.up)
    }

    // Routes in.

    /// Takes in what a peer sent. An UPDATE of a peer that is down does nothing.
    pub fn update(&mut self, id: PeerId, update: Update) -> UpdateStats {
        let mut stats = UpdateStats::default();
        if self.peer(id.0).is_none_or(|p| !p.up) {
            return stats;
        }
        if !update.unreach.is_empty() {
            self.decode(update.withdrawn(), &mut stats);
            self.apply(id.0, NONE, &mut stats);
        }
        if !update.reach.is_empty() {
            self.decode(update.routes(), &mut stats);
            let attr = update.attributes.map_or(NONE, |attributes| self.intern_for(id.0, attributes));
            self.apply(id.0, attr, &mut stats);
        }
        if let Some(peer) = self.peer_mut(id.0) {
            stats.routes = peer.routes;
            peer.counters.add(&stats);
        }
        stats
    }

    /// The id of an attribute set of a peer; it stays used until the peer's next set.
    fn intern_for(&mut self, id: u32, attributes: Box<Attributes>) -> u32 {
        let Some(peer) = self.peers.get_mut(id as usize).and_then(Option::as_mut) else { return NONE };
        let attrs = &mut self.store.attrs;
        if peer.last_attr != NONE && *attrs.get(peer.last_attr).attributes == *attributes {
            return peer.last_attr;
        }
        let (config, info) = (self.config, &peer.info);
        let attr = attrs.intern_set(id, attributes, |a| (Rank::new(a, Some(info)), ineligible(&config, a)));
        let last = std::mem::replace(&mut peer.last_attr, attr);
        if last != NONE {
            attrs.release(last);
        }
        attr
    }

    /// Decodes a run of NLRI into the batch and hashes the keys.
    fn decode(&mut self, run: NlriIter<'_>, stats: &mut UpdateStats) {
        let table = &self.store.table;
        for nlri in run {
            let (key, what) = match nlri {
                Nlri::Route(key, body) => (key, Some(body)),
                Nlri::Withdraw(key, _) => (key, None),
                Nlri::Discard(_) => {
                    stats.discarded += 1;
                    continue;
                }
            };
            self.batch.push((table.hash(&key), key, what));
        }
        // Look all of them up at once, for no other reason than to have the index in the cache: here the misses of
        // one lookup overlap the next, among the insertions that follow they would add up.
        let found = self.batch.iter().filter(|(hash, key, _)| table.find(*hash, key).is_some());
        std::hint::black_box(found.count());
    }

    /// Applies the batch: announcements with the attributes `attr`; without, all of it withdraws.
    fn apply(&mut self, id: u32, attr: u32, stats: &mut UpdateStats) {
        let mut batch = std::mem::take(&mut self.batch);
        let mut added = 0;
        let mut accepted = 0;
        let refreshing = self.peer(id).is_some_and(|p| p.repeated.is_some());
        for (hash, key, what) in batch.drain(..) {
            let Some(body) = what.filter(|_| attr != NONE) else {
                self.count_routes(id, std::mem::take(&mut added));
                let removed =
                    self.store.table.find(hash, &key).is_some_and(|dest| self.remove_path(dest, id));
                match (removed, what) {
                    (true, Some(_)) => stats.withdrawn += 1,
                    (false, Some(_)) => stats.spurious += 1,
                    (removed, None) => stats.treated_as_withdraw += u32::from(removed),
                }
                continue;
            };
            let extra = self.store.extras.intern(Extra::of(&body));
            let path = Path { attr, extra, label: body.label.get(), next: NONE };
            let again = refreshing.then(|| key.clone());
            let upserted = self.store.upsert(hash, key, id, path);
            if let Some(dest) = again.and_then(|key| self.store.table.find(hash, &key))
                && let Some(repeated) = self.peer_mut(id).and_then(|p| p.repeated.as_mut())
            {
                repeated.set(dest);
            }
            match upserted {
                Upserted::Added => {
                    added += 1;
                    accepted += 1;
                }
                Upserted::Replaced => accepted += 1,
                Upserted::Unchanged => stats.unchanged += 1,
            }
        }
        self.batch = batch;
        stats.accepted += accepted;
        if attr != NONE && self.store.attrs.get(attr).ineligible.is_some() {
            stats.ineligible += accepted;
        }
        self.count_routes(id, added);
    }

    fn count_routes(&mut self, id: u32, added: u32) {
        if let Some(peer) = self.peer_mut(id) {
            peer.routes += added;
        }
    }

    /// Removes the path of `peer` at a destination; was there one?
    fn remove_path(&mut self, id: u32, peer: u32) -> bool {
        match self.store.remove(id, peer) {
            Removed::Missing => return false,
            Removed::Left => {}
            Removed::Last => {
                if self.is_known(id) {
                    self.store.table.bury(id);
                    self.store.table.touch(id);
                } else {
                    // Nobody heard of it. Were such destinations kept for a peer that does not read, a neighbour that
                    // announces and withdraws ever new routes could fill the memory.
                    self.store.table.free(id);
                }
            }
        }
        if peer == LOCAL {
            self.local_routes -= 1;
        } else if let Some(p) = self.peer_mut(peer) {
            p.routes -= 1;
            if p.routes == 0 && !p.up {
                self.peers[peer as usize] = None;
                self.dying -= 1;
            }
        }
        true
    }

    /// Originates a route, or changes one originated before.
    pub fn originate(&mut self, key: RouteKey, body: &NlriBody, attributes: Attributes) {
        let attr = self.store.attrs.intern_set(LOCAL, Box::new(attributes), |a| (Rank::new(a, None), None));
        let extra = self.store.extras.intern(Extra::of(body));
        let path = Path { attr, extra, label: body.label.get(), next: NONE };
        let hash = self.store.table.hash(&key);
        if self.store.upsert(hash, key, LOCAL, path) == Upserted::Added {
            self.local_routes += 1;
        }
        self.store.attrs.release(attr);
    }

    /// Withdraws a route originated before; was there one?
    pub fn withdraw_local(&mut self, key: &RouteKey) -> bool {
        let hash = self.store.table.hash(key);
        self.store.table.find(hash, key).is_some_and(|dest| self.remove_path(dest, LOCAL))
    }

    // Subscribers.

    /// A new reader of the Loc-RIB: it will see every route there is, then changes.
    pub fn subscribe(&mut self) -> SubscriberId {
        let cursor = self.store.table.new_cursor();
        self.subscribers.push(Some(Subscriber { cursor, told: Bitset::default() }));
        SubscriberId((self.subscribers.len() - 1) as u32)
    }

    /// Lets a subscriber see everything once more, withdrawals that it has not seen yet included.
    pub fn replay(&mut self, id: SubscriberId) {
        if let Some(Some(subscriber)) = self.subscribers.get(id.0 as usize) {
            self.store.table.rewind(subscriber.cursor);
        }
    }

    /// Shows a subscriber what changed, looking at up to `max` destinations. Returns how many it looked at: zero when
    /// there is nothing more for now. Several changes of one route may be seen as one, or as none.
    pub fn poll(&mut self, id: SubscriberId, max: usize, mut see: impl FnMut(Change<'_>)) -> usize {
        let Some(Some(subscriber)) = self.subscribers.get_mut(id.0 as usize) else { return 0 };
        let store = &mut self.store;
        let mut at = store.table.position(subscriber.cursor);
        let mut visited = 0;
        while at != NONE && visited < max {
            visited += 1;
            let dest = store.table.get(at);
            let best = store.best(at).map(|(path, set)| Best {
                attributes: &set.attributes,
                attr_id: path.attr,
                body: store.extras.body(path.extra, path.label),
                source: source(set.peer),
            });
            let tell = if best.is_some() {
                subscriber.told.set(at);
                true
            } else {
                let told = subscriber.told.clear(at);
                if told && !dest.has_path() {
                    self.gone.push(at);
                }
                told
            };
            if tell {
                see(Change { dest: DestId(at), key: &dest.key, best });
            }
            at = dest.following();
        }
        store.table.seek(subscriber.cursor, at);
        self.free_gone();
        visited
    }

    /// A slice of the work that waits for nobody. Is there more?
    fn housekeeping(&mut self) -> bool {
        if self.dying > 0 || self.orphan_rounds > 0 {
            self.sweep();
        }
        self.purge();
        if self.store.table.len() == 0 {
            for set in self.subgroups.iter_mut().map(|g| &mut g.sent) {
                set.shrink();
            }
            for set in self.subscribers.iter_mut().flatten().map(|s| &mut s.told) {
                set.shrink();
            }
            for set in self.peers.iter_mut().flatten().map(|p| &mut p.suppressed) {
                set.shrink();
            }
            self.orphan_rounds = 0;
        }
        self.dying > 0 || self.orphan_rounds > 0 || !self.purges.is_empty()
    }
}

const fn source(peer: u32) -> Source {
    if peer == LOCAL { Source::Local } else { Source::Peer(PeerId(peer)) }
}

/// Whether a received path may take part in the decision.
fn ineligible(config: &RibConfig, attributes: &Attributes) -> Option<Ineligible> {
    if attributes.as_path.contains(config.asn) {
        Some(Ineligible::AsLoop)
    } else if attributes.originator_id == Some(config.router_id) {
        Some(Ineligible::OriginatorLoop)
    } else if attributes.cluster_list.contains(&config.cluster_id) {
        Some(Ineligible::ClusterLoop)
    } else {
        None
    }
}
