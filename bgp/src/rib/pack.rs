//! Packing routes into UPDATEs: NLRI of one attribute set that go to the same peers share messages, as many as fit.
//!
//! One [`Packer`] serves one chunk of destinations for one subgroup at a time. NLRI are written once into an arena in
//! the order they come; those of one bucket form a chain of runs there, usually a single one, from which the messages
//! are cut.

use std::net::IpAddr;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::wire::{
    Attributes, NlriBody, RouteKey, encode_attributes, encode_reach, encode_unreach, nlri, reach_room,
    unreach_room,
};

use super::export::Export;
use super::slab::NONE;

/// Which members of a subgroup a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Target {
    /// Every one.
    All,
    /// Every one but this peer.
    AllBut(u32),
    /// This peer.
    Only(u32),
}

/// A bucket for one attribute set or for withdrawals, and for whom it is.
#[derive(Debug)]
struct Bucket {
    target: Target,
    /// Where the attributes are in the arena and their next hop; `None` for withdrawals.
    reach: Option<(Range<usize>, IpAddr)>,
    /// Octets of NLRI a message has room for.
    room: usize,
    /// The chain of runs.
    first: u32,
    last: u32,
    len: usize,
}

#[derive(Debug)]
struct Run {
    octets: Range<usize>,
    next: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Packer {
    arena: Vec<u8>,
    attributes: Vec<u8>,
    buckets: Vec<Bucket>,
    runs: Vec<Run>,
    /// Buckets by attribute set, [`NONE`] for sets that do not go out.
    by_attr: HashMap<u32, u32, RandomState>,
    last_attr: Option<(u32, u32)>,
    by_target: HashMap<Target, u32, RandomState>,
    gathered: Vec<u8>,
    order: Vec<u32>,
}

impl Packer {
    /// Empties it for the next chunk.
    pub(super) fn clear(&mut self) {
        self.arena.clear();
        self.attributes.clear();
        self.buckets.clear();
        self.runs.clear();
        self.by_attr.clear();
        self.last_attr = None;
        self.by_target.clear();
        self.gathered.clear();
    }

    /// Octets of NLRI packed since.
    pub(super) const fn len(&self) -> usize {
        self.arena.len()
    }

    /// The bucket of an attribute set; `open` says, the first time it is asked for, what goes out and to whom.
    #[inline]
    pub(super) fn bucket<'a>(
        &mut self,
        attr: u32,
        export: &Export,
        open: impl FnOnce() -> Option<(std::borrow::Cow<'a, Attributes>, Target)>,
    ) -> Option<u32> {
        if let Some((last, bucket)) = self.last_attr
            && last == attr
        {
            return (bucket != NONE).then_some(bucket);
        }
        let bucket = if let Some(&bucket) = self.by_attr.get(&attr) {
            bucket
        } else {
            let bucket = match open() {
                Some((attributes, target)) => self.open(&attributes, target, export),
                None => NONE,
            };
            self.by_attr.insert(attr, bucket);
            bucket
        };
        self.last_attr = Some((attr, bucket));
        (bucket != NONE).then_some(bucket)
    }

    fn open(&mut self, attributes: &Attributes, target: Target, export: &Export) -> u32 {
        let start = self.attributes.len();
        encode_attributes(attributes, &export.context(), &mut self.attributes);
        let octets = start..self.attributes.len();
        let room = reach_room(octets.len(), attributes.next_hop, export.max_message);
        self.buckets.push(Bucket {
            target,
            reach: Some((octets, attributes.next_hop)),
            room,
            first: NONE,
            last: NONE,
            len: 0,
        });
        (self.buckets.len() - 1) as u32
    }

    /// For whom a bucket is.
    #[inline]
    pub(super) fn target(&self, bucket: u32) -> Target {
        self.buckets[bucket as usize].target
    }

    /// Packs a route; `false` if with these attributes it fits no message this peer takes.
    #[inline]
    pub(super) fn announce(&mut self, bucket: u32, key: &RouteKey, body: &NlriBody) -> bool {
        let start = self.arena.len();
        nlri::encode(key, body, &mut self.arena);
        let end = self.arena.len();
        if end - start > self.buckets[bucket as usize].room {
            self.arena.truncate(start);
            return false;
        }
        self.extend(bucket, start..end);
        true
    }

    /// Packs the withdrawal of a route.
    pub(super) fn withdraw(&mut self, target: Target, key: &RouteKey, export: &Export) {
        let buckets = &mut self.buckets;
        let bucket = *self.by_target.entry(target).or_insert_with(|| {
            let room = unreach_room(export.max_message);
            buckets.push(Bucket { target, reach: None, room, first: NONE, last: NONE, len: 0 });
            (buckets.len() - 1) as u32
        });
        let start = self.arena.len();
        nlri::encode(key, &NlriBody::default(), &mut self.arena);
        self.extend(bucket, start..self.arena.len());
    }

    #[inline]
    fn extend(&mut self, bucket: u32, octets: Range<usize>) {
        let run = self.runs.len() as u32;
        let bucket = &mut self.buckets[bucket as usize];
        bucket.len += octets.len();
        if bucket.last == NONE {
            bucket.first = run;
        } else {
            let last = &mut self.runs[bucket.last as usize];
            if last.octets.end == octets.start {
                last.octets.end = octets.end;
                return;
            }
            last.next = run;
        }
        bucket.last = run;
        self.runs.push(Run { octets, next: NONE });
    }

    /// Cuts the messages, and hands those for one target over in one piece, with their number.
    pub(super) fn flush(&mut self, mut hand: impl FnMut(Target, Bytes, u32)) {
        let Self { arena, attributes, buckets, runs, gathered, order, .. } = self;
        order.clear();
        order.extend((0..buckets.len() as u32).filter(|&b| buckets[b as usize].len > 0));
        order.sort_by_key(|&b| buckets[b as usize].target);
        for group in order.chunk_by(|&a, &b| buckets[a as usize].target == buckets[b as usize].target) {
            let size = |b: &Bucket| {
                let head = 64 + b.reach.as_ref().map_or(0, |(octets, _)| octets.len());
                b.len + (b.len / b.room.max(1) + 1) * head
            };
            let mut out = BytesMut::with_capacity(group.iter().map(|&b| size(&buckets[b as usize])).sum());
            let mut messages = 0;
            for &b in group {
                let bucket = &buckets[b as usize];
                let first = &runs[bucket.first as usize];
                let octets = if first.next == NONE {
                    &arena[first.octets.clone()]
                } else {
                    gathered.clear();
                    let mut at = bucket.first;
                    while at != NONE {
                        let run = &runs[at as usize];
                        gathered.extend_from_slice(&arena[run.octets.clone()]);
                        at = run.next;
                    }
                    &gathered[..]
                };
                for piece in pieces(octets, bucket.room) {
                    let fits = match &bucket.reach {
                        Some((a, next_hop)) => {
                            encode_reach(&attributes[a.clone()], *next_hop, piece, &mut out)
                        }
                        None => encode_unreach(piece, &mut out),
                    };
                    debug_assert_eq!(fits, Ok(()), "pieces are cut to fit");
                    messages += 1;
                }
            }
            let target = buckets[group[0] as usize].target;
            hand(target, out.freeze(), messages);
        }
    }

    /// Octets held.
    pub(super) fn memory(&self) -> usize {
        self.arena.capacity() + self.attributes.capacity() + self.gathered.capacity()
    }
}

/// Cuts a run of NLRI between routes into pieces of at most `room` octets; a single longer NLRI stands alone.
fn pieces(octets: &[u8], room: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let mut end = 0;
        while let Some(&len) = rest.get(end + 1) {
            let next = end + 2 + usize::from(len);
            if next > room && end > 0 {
                break;
            }
            end = next;
        }
        let (piece, after) = rest.split_at_checked(end)?;
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}
