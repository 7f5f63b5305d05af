//! AS paths: RFC 4271 §4.3 b and §9.1.2.2 a, confederations as far as a speaker outside one meets them (RFC 5065),
//! and the merging of AS4_PATH (RFC 6793 §4.2.3).

use std::fmt;

use super::AS_TRANS;

/// An AS path of four-octet ASes.
///
/// Kept in normal form: no segment is empty and no two sequences are neighbours (on the wire a sequence holds at most
/// 255 ASes; here it holds any number and the encoder splits it).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AsPath(pub Vec<AsSegment>);

/// One segment of an AS path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AsSegment {
    /// AS_SEQUENCE
    Sequence(Vec<u32>),
    /// AS_SET
    Set(Vec<u32>),
    /// AS_CONFED_SEQUENCE (RFC 5065)
    ConfedSequence(Vec<u32>),
    /// AS_CONFED_SET (RFC 5065)
    ConfedSet(Vec<u32>),
}

impl AsSegment {
    /// A segment from its type on the wire.
    pub(super) fn from_wire(kind: u8, asns: Vec<u32>) -> Option<Self> {
        match kind {
            1 => Some(Self::Set(asns)),
            2 => Some(Self::Sequence(asns)),
            3 => Some(Self::ConfedSequence(asns)),
            4 => Some(Self::ConfedSet(asns)),
            _ => None,
        }
    }

    /// Its type on the wire.
    pub(super) const fn wire_type(&self) -> u8 {
        match self {
            Self::Set(_) => 1,
            Self::Sequence(_) => 2,
            Self::ConfedSequence(_) => 3,
            Self::ConfedSet(_) => 4,
        }
    }

    /// The ASes in it.
    pub fn asns(&self) -> &[u32] {
        match self {
            Self::Sequence(a) | Self::Set(a) | Self::ConfedSequence(a) | Self::ConfedSet(a) => a,
        }
    }

    /// From inside a confederation.
    pub const fn is_confed(&self) -> bool {
        matches!(self, Self::ConfedSequence(_) | Self::ConfedSet(_))
    }

    /// What it adds to the path length: a set counts one, confederation segments nothing (RFC 5065 §5.3).
    const fn length(&self) -> usize {
        match self {
            Self::Sequence(asns) => asns.len(),
            Self::Set(_) => 1,
            Self::ConfedSequence(_) | Self::ConfedSet(_) => 0,
        }
    }
}

impl AsPath {
    /// The length the decision process compares (RFC 4271 §9.1.2.2 a).
    pub fn length(&self) -> usize {
        self.0.iter().map(AsSegment::length).sum()
    }

    /// Whether the path has been through `asn`.
    pub fn contains(&self, asn: u32) -> bool {
        self.0.iter().any(|s| s.asns().contains(&asn))
    }

    /// The AS the path was heard from: the first of a leading sequence.
    pub fn first_as(&self) -> Option<u32> {
        match self.0.first() {
            Some(AsSegment::Sequence(asns)) => asns.first().copied(),
            _ => None,
        }
    }

    /// The AS that originated the path: the last of a trailing sequence.
    pub fn origin_as(&self) -> Option<u32> {
        match self.0.last() {
            Some(AsSegment::Sequence(asns)) => asns.last().copied(),
            _ => None,
        }
    }

    /// Puts `asn` in front, as a speaker does towards an external peer (RFC 4271 §5.1.2 b).
    pub fn prepend(&mut self, asn: u32) {
        if let Some(AsSegment::Sequence(asns)) = self.0.first_mut() {
            asns.insert(0, asn);
        } else {
            self.0.insert(0, AsSegment::Sequence(vec![asn]));
        }
    }

    /// Drops the segments that are from inside a confederation, as a speaker does towards external peers (RFC 5065 §4).
    pub(crate) fn leave_confederation(&mut self) {
        if self.0.iter().any(AsSegment::is_confed) {
            for segment in std::mem::take(&mut self.0) {
                if !segment.is_confed() {
                    self.push(segment);
                }
            }
        }
    }

    /// Adds a segment at the end, keeping the normal form.
    pub(super) fn push(&mut self, segment: AsSegment) {
        if segment.asns().is_empty() {
            return;
        }
        match (self.0.last_mut(), segment) {
            (Some(AsSegment::Sequence(last)), AsSegment::Sequence(more))
            | (Some(AsSegment::ConfedSequence(last)), AsSegment::ConfedSequence(more)) => last.extend(more),
            (_, segment) => self.0.push(segment),
        }
    }

    /// Some AS does not fit two octets, so a two-octet peer needs AS4_PATH.
    pub(super) fn needs_as4(&self) -> bool {
        self.0.iter().filter(|s| !s.is_confed()).flat_map(AsSegment::asns).any(|&a| a > u32::from(u16::MAX))
    }

    /// The path a two-octet speaker meant: `self` is its AS_PATH, `as4` the AS4_PATH beside it.
    ///
    /// AS4_PATH holds the true tail; the ASes that two-octet speakers prepended since come from the front of AS_PATH.
    /// A longer AS4_PATH is a lie and counts for nothing.
    pub(super) fn merge_as4(self, as4: Self) -> Self {
        let Some(mut missing) = self.length().checked_sub(as4.length()) else { return self };
        let mut merged = Self::default();
        for segment in self.0 {
            match segment {
                s if s.is_confed() => merged.push(s),
                _ if missing == 0 => break,
                AsSegment::Sequence(mut asns) => {
                    asns.truncate(missing);
                    missing -= asns.len();
                    merged.push(AsSegment::Sequence(asns));
                }
                set => {
                    missing -= 1;
                    merged.push(set);
                }
            }
        }
        for segment in as4.0 {
            // RFC 6793 §3: confederation segments do not belong into AS4_PATH and are dropped from it.
            if !segment.is_confed() {
                merged.push(segment);
            }
        }
        merged
    }
}

/// `asn` as a two-octet field carries it.
pub(super) fn as_trans(asn: u32) -> u16 {
    u16::try_from(asn).unwrap_or(AS_TRANS)
}

impl fmt::Display for AsPath {
    /// `65001 65002 {65003,65004} (65005)`, like every other router prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Vec<_> = self
            .0
            .iter()
            .map(|s| {
                let asns = |sep: &str| s.asns().iter().map(u32::to_string).collect::<Vec<_>>().join(sep);
                match s {
                    AsSegment::Sequence(_) => asns(" "),
                    AsSegment::Set(_) => format!("{{{}}}", asns(",")),
                    AsSegment::ConfedSequence(_) => format!("({})", asns(" ")),
                    AsSegment::ConfedSet(_) => format!("[{}]", asns(",")),
                }
            })
            .collect();
        f.pad(&text.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AsSegment::{ConfedSequence, Sequence, Set};

    #[test]
    fn sets_count_one_and_confederations_nothing() {
        let path = AsPath(vec![ConfedSequence(vec![1, 2]), Sequence(vec![3, 4]), Set(vec![5, 6, 7])]);
        assert_eq!(path.length(), 3);
        assert!(path.contains(1) && path.contains(7) && !path.contains(8));
        assert_eq!(path.first_as(), None);
        assert_eq!(path.to_string(), "(1 2) 3 4 {5,6,7}");
    }

    #[test]
    fn prepending_extends_the_first_sequence_or_starts_one() {
        let mut path = AsPath::default();
        path.prepend(2);
        path.prepend(1);
        assert_eq!(path, AsPath(vec![Sequence(vec![1, 2])]));
        assert_eq!((path.first_as(), path.origin_as()), (Some(1), Some(2)));
        let mut path = AsPath(vec![Set(vec![9])]);
        path.prepend(1);
        assert_eq!(path, AsPath(vec![Sequence(vec![1]), Set(vec![9])]));
    }

    #[test]
    fn confederations_stay_inside() {
        let mut path = AsPath(vec![
            ConfedSequence(vec![1]),
            Sequence(vec![2]),
            ConfedSequence(vec![3]),
            Sequence(vec![4]),
        ]);
        path.leave_confederation();
        assert_eq!(path, AsPath(vec![Sequence(vec![2, 4])]));
    }

    #[test]
    fn as4_path_replaces_the_tail() {
        let t = u32::from(AS_TRANS);
        let two = AsPath(vec![Sequence(vec![10, t, 20, t])]);
        let four = AsPath(vec![Sequence(vec![70_000, 20, 80_000])]);
        assert_eq!(two.clone().merge_as4(four), AsPath(vec![Sequence(vec![10, 70_000, 20, 80_000])]));
        let longer = AsPath(vec![Sequence(vec![1, 2, 3, 4, 5])]);
        assert_eq!(two.clone().merge_as4(longer), two);
        let confed = AsPath(vec![ConfedSequence(vec![1]), Sequence(vec![t])]);
        let four = AsPath(vec![ConfedSequence(vec![9]), Sequence(vec![70_000])]);
        assert_eq!(confed.merge_as4(four), AsPath(vec![ConfedSequence(vec![1]), Sequence(vec![70_000])]));
        let set = AsPath(vec![Set(vec![1, 2]), Sequence(vec![t])]);
        let four = AsPath(vec![Sequence(vec![70_000])]);
        assert_eq!(set.merge_as4(four), AsPath(vec![Set(vec![1, 2]), Sequence(vec![70_000])]));
    }
}
