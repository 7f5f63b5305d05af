//! Adj-RIB-Out: what peers have been sent, and sending them what changed since.
//!
//! Peers for which the same bytes will do ([`Export`]) and that have read the change list equally far form a
//! *subgroup*: one cursor, one set of routes sent, each message encoded once. Members that cannot take more while
//! others can are split off with the cursor where it is; subgroups whose cursors meet become one again.
//!
//! A peer is never sent the routes it is itself the source of. It is therefore remembered apart, for each member, which
//! of the routes sent to the subgroup it was not: `Peer::suppressed`.

use bytes::{Bytes, BytesMut};

use crate::wire::{RefreshKind, RouteRefresh, encode_eor};

use super::bitset::Bitset;
use super::export::{Export, outgoing};
use super::pack::{Packer, Target};
use super::slab::NONE;
use super::store::Store;
use super::table::CursorId;
use super::{LOCAL, Peer, PeerId, PeerInfo, Rib, RibConfig};

/// Octets of NLRI a chunk: well below what a ready peer is expected to take.
const CHUNK_OCTETS: usize = 96 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Subgroup {
    export: Export,
    cursor: CursorId,
    members: Vec<u32>,
    /// Routes sent and not withdrawn since.
    pub sent: Bitset,
    /// Routes some member was perhaps not sent.
    suppressed: Bitset,
    /// Since the members joined, or asked for a refresh, the cursor has not been at the end of the list. Only there they
    /// have everything: a route that was on the list when they started may have changed and moved to its end since.
    dumping: bool,
    /// Nothing was visited yet.
    fresh: bool,
}

impl Rib {
    /// Puts a new peer where it starts reading.
    pub(super) fn join(&mut self, id: u32, info: &PeerInfo) {
        let export = Export::of(info);
        if let Some(group) = self.subgroups.iter_mut().find(|g| g.fresh && g.export == export) {
            // After a restart all peers come at about the same time: let them share the dump.
            group.members.push(id);
            return;
        }
        self.subgroups.push(Subgroup {
            export,
            cursor: self.store.table.new_cursor(),
            members: vec![id],
            sent: Bitset::default(),
            suppressed: Bitset::default(),
            dumping: true,
            fresh: true,
        });
    }

    /// Takes a peer out of its subgroup.
    pub(super) fn leave(&mut self, id: u32) {
        let Some(at) = self.subgroups.iter().position(|g| g.members.contains(&id)) else { return };
        let group = &mut self.subgroups[at];
        group.members.retain(|&m| m != id);
        if group.members.is_empty() {
            let group = self.subgroups.swap_remove(at);
            self.store.table.drop_cursor(group.cursor);
            if self.store.table.tombstones() > 0 {
                // Some may have been kept for this peer alone.
                self.orphan_rounds = 2;
            }
        }
    }

    /// A peer asked for all routes again (RFC 2918, RFC 7313).
    pub fn refresh(&mut self, id: PeerId) {
        let Some(at) = self.subgroups.iter().position(|g| g.members.contains(&id.0)) else { return };
        let Some(Some(peer)) = self.peers.get_mut(id.0 as usize) else { return };
        if peer.info.enhanced_refresh {
            peer.borr_due = true;
            peer.eorr_due = true;
        }
        let alone = if self.subgroups[at].members.len() == 1 {
            at
        } else {
            self.split(at, &[id.0]);
            self.subgroups.len() - 1
        };
        let group = &mut self.subgroups[alone];
        self.store.table.rewind(group.cursor);
        group.dumping = true;
    }

    /// Moves `members` of a subgroup to one of their own, at the same place.
    fn split(&mut self, at: usize, members: &[u32]) {
        let group = &mut self.subgroups[at];
        group.members.retain(|m| !members.contains(m));
        let new = Subgroup {
            export: group.export,
            cursor: self.store.table.fork_cursor(group.cursor),
            members: members.to_vec(),
            sent: group.sent.clone(),
            suppressed: group.suppressed.clone(),
            dumping: group.dumping,
            fresh: group.fresh,
        };
        self.subgroups.push(new);
    }

    /// Sends what changed to every peer that is `ready`, one chunk at most, through `sink`: whole messages, at most
    /// about 128 KiB at a time. Also does a slice of housekeeping, so it is to be called now and then in any case.
    /// Returns whether it got anywhere: call again until it did not, then again once a peer becomes ready or the RIB
    /// has changed.
    pub fn poll_send(
        &mut self,
        mut ready: impl FnMut(PeerId) -> bool,
        mut sink: impl FnMut(PeerId, Bytes),
    ) -> bool {
        let mut progress = self.housekeeping();
        let mut packer = std::mem::take(&mut self.packer);
        for at in 0..self.subgroups.len() {
            if self.idle(at) {
                continue;
            }
            let members = &self.subgroups[at].members;
            let waiting: Vec<u32> = members.iter().copied().filter(|&m| !ready(PeerId(m))).collect();
            if waiting.len() == members.len() {
                continue;
            }
            if !waiting.is_empty() {
                self.split(at, &waiting);
            }
            self.send_chunk(at, &mut packer, &mut sink);
            progress = true;
        }
        self.packer = packer;
        if progress {
            self.merge();
        }
        progress
    }

    /// Nothing to send to this subgroup for now.
    fn idle(&self, at: usize) -> bool {
        let group = &self.subgroups[at];
        !group.dumping && self.store.table.position(group.cursor) == NONE
    }

    fn send_chunk(&mut self, at: usize, packer: &mut Packer, sink: &mut impl FnMut(PeerId, Bytes)) {
        let group = &mut self.subgroups[at];
        group.fresh = false;
        for &member in &group.members {
            if let Some(peer) = self.peers[member as usize].as_mut()
                && std::mem::take(&mut peer.borr_due)
            {
                peer.counters.messages_sent += 1;
                sink(PeerId(member), refresh_message(RefreshKind::Begin));
            }
        }
        packer.clear();
        let mut chunk = Chunk {
            config: &self.config,
            store: &self.store,
            peers: &mut self.peers,
            group,
            packer,
            gone: &mut self.gone,
        };
        let next = chunk.pack(self.chunk);
        self.store.table.seek(group.cursor, next);
        let peers = &mut self.peers;
        packer.flush(|target, octets, messages| {
            let mut hand = |member: u32| {
                if let Some(peer) = peers[member as usize].as_mut() {
                    peer.counters.messages_sent += u64::from(messages);
                }
                sink(PeerId(member), octets.clone());
            };
            match target {
                Target::Only(peer) => hand(peer),
                Target::All => group.members.iter().copied().for_each(&mut hand),
                Target::AllBut(peer) => {
                    group.members.iter().copied().filter(|&m| m != peer).for_each(&mut hand);
                }
            }
        });
        if next == NONE && std::mem::take(&mut group.dumping) {
            for &member in &group.members {
                if let Some(peer) = self.peers[member as usize].as_mut() {
                    end_of_dump(peer, |octets| sink(PeerId(member), octets));
                }
            }
        }
        self.free_gone();
    }

    /// Makes one of subgroups that have read equally far.
    fn merge(&mut self) {
        let mut at = 0;
        while at < self.subgroups.len() {
            let (a, position) = (&self.subgroups[at], self.store.table.position(self.subgroups[at].cursor));
            let other = (at + 1..self.subgroups.len()).find(|&b| {
                let b = &self.subgroups[b];
                a.export == b.export && self.store.table.position(b.cursor) == position
            });
            let Some(other) = other else {
                at += 1;
                continue;
            };
            let b = self.subgroups.swap_remove(other);
            self.store.table.drop_cursor(b.cursor);
            let a = &mut self.subgroups[at];
            // Before the cursor both have sent the same. What lies behind it one may have sent and the other not,
            // in an earlier state: to the members of the latter it is as if it had been suppressed.
            let (only_a, only_b) = (a.sent.difference(&b.sent), b.sent.difference(&a.sent));
            for (members, missing) in [(&a.members, only_b), (&b.members, only_a)] {
                if missing.len() > 0 {
                    for &member in members {
                        if let Some(peer) = self.peers[member as usize].as_mut() {
                            peer.suppressed.union(&missing);
                        }
                    }
                    a.sent.union(&missing);
                    a.suppressed.union(&missing);
                }
            }
            a.suppressed.union(&b.suppressed);
            // Whoever is in the middle of a dump is told of its end as a peer, so the others do not mind.
            a.dumping |= b.dumping;
            a.fresh &= b.fresh;
            a.members.extend_from_slice(&b.members);
        }
    }

    /// Which peers have been sent a route.
    pub(super) fn holders(&self, dest: u32) -> Vec<PeerId> {
        let mut holders: Vec<PeerId> = self
            .subgroups
            .iter()
            .filter(|g| g.sent.get(dest))
            .flat_map(|g| g.members.iter().copied())
            .filter(|&m| self.peer(m).is_some_and(|p| !p.suppressed.get(dest)))
            .map(PeerId)
            .collect();
        holders.sort_unstable();
        holders
    }

    /// How many routes a peer has been sent.
    pub(super) fn sent_to(&self, id: u32) -> u32 {
        let group = self.subgroups.iter().find(|g| g.members.contains(&id));
        let sent = group.map_or(0, |g| g.sent.len());
        sent - self.peer(id).map_or(0, |p| p.suppressed.len()).min(sent)
    }
}

/// Tells a peer that it has everything.
fn end_of_dump(peer: &mut Peer, mut sink: impl FnMut(Bytes)) {
    if std::mem::take(&mut peer.eor_due) {
        let mut out = BytesMut::with_capacity(32);
        encode_eor(&mut out);
        peer.counters.messages_sent += 1;
        sink(out.freeze());
    }
    if std::mem::take(&mut peer.eorr_due) {
        peer.counters.messages_sent += 1;
        sink(refresh_message(RefreshKind::End));
    }
}

fn refresh_message(kind: RefreshKind) -> Bytes {
    let mut out = BytesMut::with_capacity(32);
    RouteRefresh::evpn(kind).encode(&mut out);
    out.freeze()
}

/// One chunk of destinations on its way to one subgroup.
struct Chunk<'a> {
    config: &'a RibConfig,
    store: &'a Store,
    peers: &'a mut Vec<Option<Peer>>,
    group: &'a mut Subgroup,
    packer: &'a mut Packer,
    /// Tombstones this subgroup has now been told of.
    gone: &'a mut Vec<u32>,
}

impl Chunk<'_> {
    /// Packs what lies at the cursor, up to `max` destinations. Returns where the cursor
    /// has to go.
    fn pack(&mut self, max: u32) -> u32 {
        let mut at = self.store.table.position(self.group.cursor);
        let mut visited = 0;
        while at != NONE && visited < max && self.packer.len() < CHUNK_OCTETS {
            visited += 1;
            if !self.announce(at) && self.group.sent.clear(at) {
                self.withdraw(at);
                if !self.store.table.get(at).has_path() {
                    self.gone.push(at);
                }
            }
            at = self.store.table.get(at).following();
        }
        at
    }

    /// Announces a destination's best path, if there is one that goes to this subgroup.
    #[inline]
    fn announce(&mut self, at: u32) -> bool {
        let Some((path, set)) = self.store.best(at) else { return false };
        let (config, peers, members) = (self.config, &*self.peers, &self.group.members);
        let bucket = self.packer.bucket(path.attr, &self.group.export, || {
            let source = peers.get(set.peer as usize).and_then(Option::as_ref).map(|p| &p.info);
            let attributes = outgoing(config, &set.attributes, source, self.group.export.kind)?;
            let target = if members.contains(&set.peer) { Target::AllBut(set.peer) } else { Target::All };
            Some((attributes, target))
        });
        let Some(bucket) = bucket else { return false };
        let target = self.packer.target(bucket);
        let source = if let Target::AllBut(source) = target { source } else { LOCAL };
        let audience = members.len() - usize::from(source != LOCAL);
        let key = &self.store.table.get(at).key;
        if audience > 0 {
            let body = self.store.extras.body(path.extra, path.label);
            if !self.packer.announce(bucket, key, &body) {
                return false;
            }
        }
        let again = self.group.sent.set(at);
        if again && self.group.suppressed.get(at) {
            for &member in &self.group.members {
                if member != source
                    && let Some(peer) = self.peers[member as usize].as_mut()
                {
                    peer.suppressed.clear(at);
                }
            }
        }
        if source == LOCAL {
            if again {
                self.group.suppressed.clear(at);
            }
        } else if let Some(peer) = self.peers[source as usize].as_mut() {
            self.group.suppressed.set(at);
            if !peer.suppressed.set(at) && again {
                // It was sent somebody else's path before; its own is best now.
                self.packer.withdraw(Target::Only(source), key, &self.group.export);
            }
        }
        true
    }

    /// Withdraws a destination from whoever has been sent it.
    fn withdraw(&mut self, at: u32) {
        let key = &self.store.table.get(at).key;
        let export = &self.group.export;
        if !self.group.suppressed.clear(at) {
            self.packer.withdraw(Target::All, key, export);
            return;
        }
        let mut without = Vec::new();
        for &member in &self.group.members {
            if let Some(peer) = self.peers[member as usize].as_mut()
                && peer.suppressed.clear(at)
            {
                without.push(member);
            }
        }
        match without[..] {
            [] => self.packer.withdraw(Target::All, key, export),
            _ if without.len() == self.group.members.len() => {}
            [one] => self.packer.withdraw(Target::AllBut(one), key, export),
            _ => {
                for &member in self.group.members.iter().filter(|m| !without.contains(m)) {
                    self.packer.withdraw(Target::Only(member), key, export);
                }
            }
        }
    }
}
