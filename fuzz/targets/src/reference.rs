//! What an UPDATE must come to, written a second time from the RFCs and as plainly as possible: no values are built,
//! each attribute and route is only judged. RFC 7606 §3-§7, RFC 4760, 6514, 6793, 7432, 7607, 8092, 9012, 9136, 9251,
//! 9572.

use bgp::wire::DecodeContext;

/// What becomes of one NLRI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is a route.
    Route,
    /// Well formed, and not to be kept.
    Refused,
    /// Not what its type says.
    Malformed,
    /// A type nobody knows.
    Unknown,
}

/// What becomes of an UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The session ends.
    Reset,
    /// The announced routes are withdrawn.
    Withdraw,
    /// They are announced, and so many attributes left out.
    Accept {
        /// How many.
        discarded: u16,
    },
}

/// The octets of a big-endian number that long, cut off the front.
fn length(b: &mut &[u8], octets: usize) -> Option<usize> {
    let (head, rest) = b.split_at_checked(octets)?;
    *b = rest;
    Some(head.iter().fold(0, |n, &octet| n << 8 | usize::from(octet)))
}

/// A field behind its length.
fn field<'a>(b: &mut &'a [u8], octets: usize) -> Option<&'a [u8]> {
    let n = length(b, octets)?;
    let (head, rest) = b.split_at_checked(n)?;
    *b = rest;
    Some(head)
}

/// Judges the body of one NLRI.
pub(crate) fn nlri(kind: u8, b: &[u8]) -> Verdict {
    let well_formed = match kind {
        1 => b.len() == 25,
        2 => mac_ip(b).is_some(),
        3 => address_at(b, 12) == Some(b.len()),
        4 => address_at(b, 18) == Some(b.len()),
        5 => b.len() == 34 || b.len() == 58,
        6 => multicast(b, 12, 1),
        7 => multicast(b, 22, 1),
        8 => multicast(b, 22, 6),
        9 => b.len() == 20,
        10 => multicast(b, 12, 0),
        11 => b.len() > 5,
        _ => return Verdict::Unknown,
    };
    let refused = match kind {
        2 if well_formed => b[23] & 1 == 1 || b[23..29] == [0; 6],
        5 if well_formed => b[22] > if b.len() == 34 { 32 } else { 128 },
        _ => false,
    };
    match (well_formed, refused) {
        (false, _) => Verdict::Malformed,
        (true, true) => Verdict::Refused,
        (true, false) => Verdict::Route,
    }
}

fn mac_ip(b: &[u8]) -> Option<()> {
    let address = match *b.get(29)? {
        0 => 0,
        32 => 4,
        128 => 16,
        _ => return None,
    };
    (b[22] == 48 && matches!(b.len().checked_sub(30 + address)?, 3 | 6)).then_some(())
}

/// Where the address whose length in bits stands at `at` ends.
fn address_at(b: &[u8], at: usize) -> Option<usize> {
    match *b.get(at)? {
        32 => Some(at + 5),
        128 => Some(at + 17),
        _ => None,
    }
}

/// Source and group, either of which may be absent, originator, then `tail` octets.
fn multicast(b: &[u8], head: usize, tail: usize) -> bool {
    let or_absent = |at: usize| if b.get(at) == Some(&0) { Some(at + 1) } else { address_at(b, at) };
    let end = or_absent(head).and_then(or_absent).and_then(|at| address_at(b, at));
    end.is_some_and(|end| end + tail == b.len())
}

/// Each NLRI of a run; `None` if the lengths do not fit.
fn run(mut b: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut all = Vec::new();
    while !b.is_empty() {
        let kind = length(&mut b, 1)? as u8;
        all.push((kind, field(&mut b, 1)?));
    }
    Some(all)
}

/// What is to be done about an attribute.
enum Fault {
    Discard,
    Withdraw,
    Reset,
}
use Fault::{Discard, Reset, Withdraw};

/// Judges the body of an UPDATE.
pub(crate) fn update(body: &[u8], ctx: DecodeContext) -> Outcome {
    let Some((withdraw, announces, discarded)) = walk(body, ctx) else { return Outcome::Reset };
    match (withdraw, announces) {
        (false, _) => Outcome::Accept { discarded },
        (true, true) => Outcome::Withdraw,
        (true, false) => Outcome::Reset,
    }
}

fn walk(mut b: &[u8], ctx: DecodeContext) -> Option<(bool, bool, u16)> {
    let withdrawn = field(&mut b, 2)?;
    let mut attributes = field(&mut b, 2)?;
    if !ipv4(withdrawn) || !ipv4(b) {
        return None;
    }
    let (mut seen, mut withdraw, mut announces, mut discarded) = (Vec::new(), false, !b.is_empty(), 0);
    while !attributes.is_empty() {
        let start = attributes;
        let mut next = || {
            let flags = length(&mut attributes, 1)? as u8;
            let code = length(&mut attributes, 1)? as u8;
            Some((flags, code, field(&mut attributes, if flags & 0x10 == 0 { 1 } else { 2 })?))
        };
        let Some((flags, code, value)) = next() else {
            if matches!(start.get(1), Some(14 | 15)) {
                return None;
            }
            withdraw = true;
            break;
        };
        let fault = if seen.contains(&code) {
            if matches!(code, 14 | 15) { Err(Reset) } else { Err(Discard) }
        } else {
            attribute(flags, code, value, ctx)
        };
        seen.push(code);
        match fault {
            Ok(()) => announces |= code == 14 && value.len() > 5 + usize::from(value[3]),
            Err(Discard) => discarded += 1,
            Err(Withdraw) => withdraw = true,
            Err(Reset) => return None,
        }
    }
    let missing = |code| !seen.contains(&code);
    withdraw |= announces && (missing(1) || missing(2) || !b.is_empty() && missing(3));
    Some((withdraw, announces, discarded))
}

/// IPv4 unicast: prefixes to the end.
fn ipv4(mut b: &[u8]) -> bool {
    while !b.is_empty() {
        let octets = usize::from(b[0]).div_ceil(8);
        if b[0] > 32 || b.len() < 1 + octets {
            return false;
        }
        b = &b[1 + octets..];
    }
    true
}

fn attribute(flags: u8, code: u8, value: &[u8], ctx: DecodeContext) -> Result<(), Fault> {
    let wanted = match code {
        1 | 2 | 3 | 5 | 6 => 0x40,
        4 | 9 | 10 | 14 | 15 => 0x80,
        7 | 8 | 16 | 17 | 18 | 22 | 23 | 32 => 0xc0,
        _ => return if flags & 0x80 == 0 { Err(Reset) } else { Ok(()) },
    };
    if flags & 0xc0 != wanted {
        return Err(if matches!(code, 14 | 15) { Reset } else { Withdraw });
    }
    let n = value.len();
    let some = |unit| n > 0 && n.is_multiple_of(unit);
    let (good, fault) = match code {
        5 | 9 | 10 if ctx.ebgp => (false, Discard),
        1 => (n == 1 && value[0] < 3, Withdraw),
        2 => (path(value, if ctx.as4 { 4 } else { 2 }, !ctx.ebgp), Withdraw),
        3 | 4 | 5 | 9 => (n == 4, Withdraw),
        6 => (n == 0, Discard),
        7 => (aggregator(value, if ctx.as4 { 4 } else { 2 }), Discard),
        8 | 10 => (some(4), Withdraw),
        16 => (some(8), Withdraw),
        32 => (some(12), Withdraw),
        17 => (!ctx.as4 && n > 0 && path(value, 4, true), Discard),
        18 => (!ctx.as4 && aggregator(value, 4), Discard),
        22 => (pmsi(value), Withdraw),
        23 => (tunnels(value), Withdraw),
        14 => (mp(value, true, ctx).is_some(), Reset),
        15 => (mp(value, false, ctx).is_some(), Reset),
        _ => (true, Reset),
    };
    if good { Ok(()) } else { Err(fault) }
}

/// Segments of one AS and more, none of them AS 0.
fn path(mut b: &[u8], width: usize, confederations: bool) -> bool {
    while !b.is_empty() {
        let most = if confederations { 4 } else { 2 };
        let [kind @ 1..=255, count @ 1..=255, ref rest @ ..] = *b else { return false };
        let Some((asns, rest)) = rest.split_at_checked(usize::from(count) * width) else { return false };
        if kind > most || asns.chunks(width).any(|asn| asn.iter().all(|&octet| octet == 0)) {
            return false;
        }
        b = rest;
    }
    true
}

fn aggregator(value: &[u8], width: usize) -> bool {
    value.len() == width + 4 && value[..width].iter().any(|&octet| octet != 0)
}

fn pmsi(value: &[u8]) -> bool {
    match (value.get(1), value.len()) {
        (_, ..5) | (None, _) => false,
        (Some(0), n) => n == 5,
        (Some(6), n) => n == 9 || n == 21,
        _ => true,
    }
}

fn tunnels(mut value: &[u8]) -> bool {
    let mut any = false;
    while !value.is_empty() {
        if length(&mut value, 2).is_none() || field(&mut value, 2).is_none() {
            return false;
        }
        any = true;
    }
    any
}

/// An MP attribute; `None` if the routes in it cannot be told, or must not be as they are.
fn mp(mut value: &[u8], reach: bool, ctx: DecodeContext) -> Option<()> {
    let family = length(&mut value, 3)?;
    let next_hop = if reach {
        let next_hop = field(&mut value, 1)?;
        length(&mut value, 1)?;
        next_hop
    } else {
        &[0; 4]
    };
    if family != 0x1946 {
        return Some(());
    }
    let all = run(value)?;
    let malformed = |&(kind, b): &(u8, &[u8])| kind <= 5 && nlri(kind, b) == Verdict::Malformed;
    (matches!(next_hop.len(), 4 | 16 | 32) && !(ctx.strict && all.iter().any(malformed))).then_some(())
}
