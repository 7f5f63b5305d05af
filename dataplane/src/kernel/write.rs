//! Writing rows: ops become messages, many to a datagram, and what the kernel answers becomes outcomes.

use std::collections::{BTreeSet, HashSet};

use rustix::io::Errno;

use super::base::Base;
use super::rows;
use super::{BATCH, BATCH_BYTES, refused};
use crate::backend::{Error, ErrorKind, Outcome};
use crate::plan::Op;
use crate::rows::{Key, Row};

/// What a run of ops is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Devices of VNIs, to be there.
    Put,
    /// VNIs, to be taken away.
    Remove,
    /// Rows.
    Rows,
}

/// Ops in runs of one kind each.
pub(super) fn runs(ops: &[Op]) -> impl Iterator<Item = (Work, &[Op])> {
    let work = |op: &Op| match op {
        Op::Put(Row::Vni(_)) => Work::Put,
        Op::Remove(_) => Work::Remove,
        _ => Work::Rows,
    };
    ops.chunk_by(move |a, b| work(a) == work(b)).map(move |run| (work(&run[0]), run))
}

/// Rows whose removal takes more than one message.
#[derive(Debug, Default)]
struct Left {
    /// The ops on those that the bridge does not have, or does not let go.
    halves: Vec<usize>,
    /// Ports, and VLANs they no longer have, out of which the bridge lets nothing go by its MAC.
    stuck: BTreeSet<(u32, u16)>,
}

impl Base {
    /// Applies ops on rows, many to a datagram.
    pub(super) fn apply_rows(&mut self, ops: &[Op], outcomes: &mut Vec<Outcome>) {
        let start = outcomes.len();
        outcomes.resize(start + ops.len(), Outcome::Done);
        let mut left = Left::default();
        // Which op each message of the batch belongs to.
        let mut owners: Vec<usize> = Vec::with_capacity(BATCH + 1);
        self.batch.clear();
        for (i, op) in ops.iter().enumerate() {
            let vni = op.key().vni();
            match self.vnis.get(&vni) {
                Some(placed) if placed.at.table.is_none() && matches!(op, Op::Put(Row::Neighbour(..))) => {
                    outcomes[start + i] = Outcome::Nowhere;
                }
                Some(placed) => rows::encode(op, placed.at, &mut self.batch),
                None if matches!(op, Op::Put(_)) => {
                    let reason = format!("the devices of VNI {vni} are missing");
                    outcomes[start + i] =
                        Outcome::Failed(Error::new(ErrorKind::NoDevice, op.to_string(), reason));
                }
                None => {}
            }
            owners.resize(self.batch.len(), i);
            if self.batch.len() >= BATCH || self.batch.size() >= BATCH_BYTES || i + 1 == ops.len() {
                self.flush(ops, &owners, &mut outcomes[start..], &mut left);
                owners.clear();
            }
        }
        let Left { mut halves, stuck } = left;
        // What the bridge has elsewhere by now goes from the VXLAN device alone; unless it has been put again.
        if !halves.is_empty() {
            let put: HashSet<Key> = ops.iter().filter(|op| matches!(op, Op::Put(_))).map(Op::key).collect();
            halves.retain(|&i| !put.contains(&ops[i].key()));
        }
        for chunk in halves.chunks(BATCH) {
            self.batch.clear();
            for &i in chunk {
                if let Key::Mac(vni, mac) = ops[i].key()
                    && let Some(placed) = self.vnis.get(&vni)
                {
                    rows::encode_del_self(vni, mac, placed.at, &mut self.batch);
                }
            }
            self.flush(ops, chunk, &mut outcomes[start..], &mut Left::default());
        }
        self.flush_vlans(&Vec::from_iter(stuck));
    }

    fn flush(&mut self, ops: &[Op], owners: &[usize], outcomes: &mut [Outcome], left: &mut Left) {
        let vnis = &self.vnis;
        let sent = self.requests.batch(&mut self.batch, &mut |place, answer| {
            let (Some(&i), Err(refusal)) = (owners.get(place), answer) else { return };
            let op = &ops[i];
            let gone = matches!(refusal.errno, Errno::NOENT | Errno::NODEV | Errno::NXIO);
            match op {
                Op::Del(Row::Mac(vni, ..)) if matches!(refusal.errno, Errno::NOENT | Errno::INVAL) => {
                    left.halves.push(i);
                    if refusal.errno == Errno::INVAL
                        && let Some(at) = vnis.get(vni).map(|placed| placed.at)
                    {
                        left.stuck.extend(at.vlan.map(|vlan| (at.vxlan, vlan)));
                    }
                }
                Op::Del(_) if gone => {}
                _ => outcomes[i] = Outcome::Failed(refused(op.to_string(), refusal)),
            }
        });
        if let Err(errno) = sent {
            for &i in owners {
                outcomes[i] = Outcome::Failed(refused(ops[i].to_string(), errno.into()));
            }
        }
    }

    /// Takes everything of ours out of VLANs that their port no longer has. Should some of it be wanted still, its going is
    /// heard of. A kernel that cannot do that keeps it, and nobody reaches it.
    fn flush_vlans(&mut self, stuck: &[(u32, u16)]) {
        for part in stuck.chunks(BATCH) {
            self.batch.clear();
            for &(port, vlan) in part {
                rows::encode_flush(port, vlan, &mut self.batch);
            }
            let _ = self.requests.batch(&mut self.batch, &mut |_, _| {});
        }
    }

    /// Takes rows away. The error is the first failure.
    pub(super) fn take_away(&mut self, rows: Vec<Row>) -> Result<(), Error> {
        let ops: Vec<Op> = rows.into_iter().map(Op::Del).collect();
        let mut outcomes = Vec::new();
        self.apply_rows(&ops, &mut outcomes);
        outcomes.into_iter().find_map(Outcome::error).map_or(Ok(()), Err)
    }
}
