//! What does not fit is folded: counted instead of listed. A picture has so many rows in all; where there are more, the
//! longest lists are cut first, to the length at which all fit.

use super::card::ROW;
use super::model::{Mac, Member};
use crate::words::count;

/// How much a picture may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows of all lists together.
    pub rows: usize,
    /// Parts of all hosts, or of all VNIs.
    pub blocks: usize,
    /// Hosts, or VNIs.
    pub cards: usize,
    /// Addresses of a MAC, and other hosts that announce it: a gateway's MAC may be at all of them.
    pub words: usize,
}

impl Limits {
    /// What can be looked at.
    pub const FOLDED: Self = Self { rows: 640, blocks: 800, cards: 120, words: 6 };
    /// Everything.
    pub const FULL: Self =
        Self { rows: usize::MAX, blocks: usize::MAX, cards: usize::MAX, words: usize::MAX };
}

/// The most that each of these lists may have so that all together have `budget`; one at least.
pub(super) fn level(lengths: &[usize], budget: usize) -> usize {
    let fits = |most: usize| {
        lengths.iter().try_fold(0usize, |sum, n| sum.checked_add(*n.min(&most))).is_some_and(|n| n <= budget)
    };
    let (mut low, mut high) = (1, lengths.iter().copied().max().unwrap_or(0).max(1));
    if fits(high) {
        return high;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    low
}

/// How much a host has in a VNI: `3 MACs, 1 prefix`.
pub(super) fn amount(macs: usize, prefixes: usize) -> String {
    match (macs, prefixes) {
        (macs, 0) => count(macs, "MAC", "MACs"),
        (0, prefixes) => count(prefixes, "prefix", "prefixes"),
        (macs, prefixes) => {
            format!("{}, {}", count(macs, "MAC", "MACs"), count(prefixes, "prefix", "prefixes"))
        }
    }
}

/// The most that is told in one list, and of one MAC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) rows: usize,
    pub(super) words: usize,
}

/// MACs and prefixes of a host in a VNI as rows, so many of them told, and how many are not.
pub(super) fn rows(member: &Member, most: Most) -> Vec<String> {
    let all = member.macs.len() + member.prefixes.len();
    let Most { rows: most, words } = most;
    // A row that says "and 1 more" is no shorter than that one.
    let most = if all <= most.saturating_add(1) { all } else { most };
    let mut rows: Vec<String> = member.macs.iter().take(most).flat_map(|mac| mac_rows(mac, words)).collect();
    let left = most.saturating_sub(member.macs.len());
    rows.extend(member.prefixes.iter().take(left).map(ToString::to_string));
    if all > most {
        rows.push(format!("… and {} more", all - most));
    }
    rows
}

/// A MAC and what is known of it, in rows of at most [`ROW`] characters: of its addresses, and of the other hosts that it
/// is at, so many.
fn mac_rows(mac: &Mac, most: usize) -> Vec<String> {
    let ips = if mac.ips.len() <= most.saturating_add(1) { mac.ips.len() } else { most };
    let mut words: Vec<String> = mac.ips.iter().take(ips).map(ToString::to_string).collect();
    let rest = mac.ips.len() - ips;
    words.extend((rest > 0).then(|| format!("and {rest} more addresses")));
    words.extend(mac.sticky.then(|| "sticky".to_owned()));
    match mac.also.len() {
        others if others > most => words.push(format!("also at {others} other hosts")),
        _ => words.extend(mac.also.iter().map(|vtep| format!("also at {vtep}"))),
    }
    let mut rows = vec![mac.mac.to_string()];
    for word in words {
        let Some(row) = rows.last_mut() else { break };
        if row.len() + 2 + word.len() <= ROW {
            row.push_str("  ");
            row.push_str(&word);
        } else {
            rows.push(format!("  {word}"));
        }
    }
    rows
}

/// All that a host has in a VNI, line by line.
pub(super) fn all_rows(member: &Member) -> impl Iterator<Item = String> {
    const WORDS: usize = 24;
    let macs = member.macs.iter().flat_map(|mac| mac_rows(mac, WORDS));
    macs.chain(member.prefixes.iter().map(ToString::to_string))
}

/// A text's first lines, for what is told when something is pointed at.
pub(super) fn tip(lines: impl IntoIterator<Item = String>) -> String {
    const MOST: usize = 40;
    let mut lines = lines.into_iter();
    let mut tip: Vec<String> = lines.by_ref().take(MOST).collect();
    let rest = lines.count();
    if rest > 0 {
        tip.push(format!("… and {rest} more"));
    }
    tip.join("\n")
}
