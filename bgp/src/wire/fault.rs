//! What is wrong with a path attribute, and the NOTIFICATION it makes where RFC 7606 leaves nothing but a reset.
//!
//! The approach taken (discard, treat-as-withdraw, reset) is decided by the decoders; the translation into codes of
//! RFC 4271 §6.3 happens here and nowhere else.

use std::fmt;

use bytes::Bytes;

use super::attr::code;
use super::notification::Notification;

/// Why an UPDATE is treated as a withdraw of its routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reason {
    /// Type code of the attribute at fault.
    pub attribute: u8,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a path attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    /// Optional or transitive bit conflicts with the type.
    Flags,
    /// A length the type cannot have.
    Length,
    /// A value the type cannot have.
    Value,
    /// Mandatory and not there.
    Missing,
    /// Runs past the end of the attributes, or the attributes end inside its header.
    Overrun,
}

impl Reason {
    pub(super) const fn new(attribute: u8, problem: Problem) -> Self {
        Self { attribute, problem }
    }

    /// The NOTIFICATION for this fault; `attribute` are the octets of the attribute as received.
    pub fn notification(self, attribute: Bytes) -> Notification {
        match self.problem {
            Problem::Flags => Notification::update(4, attribute),
            Problem::Length => Notification::update(5, attribute),
            Problem::Missing => Notification::update(3, Bytes::copy_from_slice(&[self.attribute])),
            Problem::Overrun => Notification::update(1, Bytes::new()),
            Problem::Value => match self.attribute {
                code::ORIGIN => Notification::update(6, attribute),
                code::NEXT_HOP => Notification::update(8, attribute),
                code::AS_PATH => Notification::update(11, Bytes::new()),
                _ => Notification::update(9, attribute),
            },
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            Problem::Flags => "wrong flags",
            Problem::Length => "wrong length",
            Problem::Value => "malformed",
            Problem::Missing => "missing",
            Problem::Overrun => "runs past the attributes",
        };
        match name(self.attribute) {
            Some(name) => write!(f, "{name} {problem}"),
            None => write!(f, "attribute {} {problem}", self.attribute),
        }
    }
}

/// An attribute's name in the RFCs.
const fn name(attribute: u8) -> Option<&'static str> {
    Some(match attribute {
        code::ORIGIN => "ORIGIN",
        code::AS_PATH => "AS_PATH",
        code::NEXT_HOP => "NEXT_HOP",
        code::MED => "MULTI_EXIT_DISC",
        code::LOCAL_PREF => "LOCAL_PREF",
        code::ATOMIC_AGGREGATE => "ATOMIC_AGGREGATE",
        code::AGGREGATOR => "AGGREGATOR",
        code::COMMUNITIES => "COMMUNITIES",
        code::ORIGINATOR_ID => "ORIGINATOR_ID",
        code::CLUSTER_LIST => "CLUSTER_LIST",
        code::MP_REACH_NLRI => "MP_REACH_NLRI",
        code::MP_UNREACH_NLRI => "MP_UNREACH_NLRI",
        code::EXT_COMMUNITIES => "EXTENDED COMMUNITIES",
        code::AS4_PATH => "AS4_PATH",
        code::AS4_AGGREGATOR => "AS4_AGGREGATOR",
        code::PMSI_TUNNEL => "PMSI_TUNNEL",
        code::TUNNEL_ENCAP => "TUNNEL_ENCAPSULATION",
        code::LARGE_COMMUNITIES => "LARGE_COMMUNITY",
        _ => return None,
    })
}
