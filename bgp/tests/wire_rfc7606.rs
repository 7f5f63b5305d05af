//! RFC 7606 as a table: each line is one thing a peer can get wrong in an UPDATE, and what becomes of it.
#![allow(missing_docs, reason = "a test")]

use bgp::wire::{
    DecodeContext, Disposition, EncodeContext, Nlri, NlriDiscard, Problem, Update, decode_update,
    encode_attributes,
};
use bytes::Bytes;

/// What becomes of an UPDATE that announces the MAC route [`MAC`].
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The route is announced; this many attributes were left out.
    Announced { discarded: u16 },
    /// The route is withdrawn, for this attribute.
    Withdrawn(u8, Problem),
    /// The session ends with this NOTIFICATION.
    Reset(u8, u8),
}
use Outcome::{Announced, Reset, Withdrawn};
use Problem::{Flags, Length, Missing, Overrun, Value};

const FINE: Outcome = Announced { discarded: 0 };
const DISCARDED: Outcome = Announced { discarded: 1 };

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Peer {
    Ebgp,
    Ibgp,
}
use Peer::{Ebgp, Ibgp};

impl Peer {
    fn ctx(self) -> DecodeContext {
        DecodeContext { ebgp: self == Ebgp, as4: true, strict: false }
    }
}

/// RD 10.0.0.1:1, MAC 02:00:00:00:00:01, VNI 100.
const MAC: &[u8] = &[
    2, 33, 0, 1, 10, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 48, 2, 0, 0, 0, 0, 1, 0, 0, 0,
    100,
];

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];

fn attr(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    let mut a = vec![flags | 0x10, code];
    a.extend((value.len() as u16).to_be_bytes());
    a.extend(value);
    a
}

fn reach_with(next_hop: &[u8], nlri: &[u8]) -> Vec<u8> {
    attr(0x80, 14, &[&[0, 25, 70, next_hop.len() as u8], next_hop, &[0], nlri].concat())
}

fn reach(nlri: &[u8]) -> Vec<u8> {
    reach_with(&[10, 0, 0, 1], nlri)
}

fn unreach(nlri: &[u8]) -> Vec<u8> {
    attr(0x80, 15, &[&[0, 25, 70], nlri].concat())
}

fn body(withdrawn: &[u8], attributes: &[&[u8]], nlri: &[u8]) -> Bytes {
    let attributes = attributes.concat();
    [
        &(withdrawn.len() as u16).to_be_bytes()[..],
        withdrawn,
        &(attributes.len() as u16).to_be_bytes(),
        &attributes,
        nlri,
    ]
    .concat()
    .into()
}

/// An UPDATE that is fine but for `more`.
fn with(more: &[u8]) -> Bytes {
    body(&[], &[&reach(MAC), ORIGIN, AS_PATH, more], &[])
}

fn outcome(body: &Bytes, from: Peer) -> Outcome {
    match decode_update(body, &from.ctx()) {
        Err(n) => Reset(n.code, n.subcode),
        Ok(update) => {
            let routes: Vec<_> = update.routes().collect();
            match update.disposition {
                Disposition::Accept => {
                    assert!(matches!(routes[..], [Nlri::Route(..)]), "{routes:?}");
                    assert!(update.attributes.is_some());
                    Announced { discarded: update.attr_discards }
                }
                Disposition::TreatAsWithdraw(reason) => {
                    assert!(routes.iter().all(|n| matches!(n, Nlri::Withdraw(..))), "{routes:?}");
                    assert_eq!(update.attributes, None);
                    Withdrawn(reason.attribute, reason.problem)
                }
            }
        }
    }
}

fn check(table: Vec<(&str, Bytes, Outcome)>) {
    for (what, body, expected) in table {
        for from in [Ebgp, Ibgp] {
            assert_eq!(outcome(&body, from), expected, "{what}, {from:?}");
        }
    }
}

#[test]
fn each_attribute_with_its_own_faults() {
    let without = |fault: &[u8]| body(&[], &[&reach(MAC), fault, AS_PATH], &[]);
    let path = |fault: &[u8]| body(&[], &[&reach(MAC), ORIGIN, fault], &[]);
    check(vec![
        ("nothing wrong", with(&[]), FINE),
        // ORIGIN, §7.1
        ("ORIGIN of no octet", without(&attr(0x40, 1, &[])), Withdrawn(1, Length)),
        ("ORIGIN of two octets", without(&attr(0x40, 1, &[0, 0])), Withdrawn(1, Length)),
        ("ORIGIN 3", without(&attr(0x40, 1, &[3])), Withdrawn(1, Value)),
        ("ORIGIN missing", without(&[]), Withdrawn(1, Missing)),
        // AS_PATH, §7.2
        ("AS_PATH empty, with extended length as FRR sends it", path(&[0x50, 2, 0, 0]), FINE),
        ("AS_PATH segment type 5", path(&attr(0x40, 2, &[5, 1, 0, 0, 0, 1])), Withdrawn(2, Value)),
        ("AS_PATH segment past the end", path(&attr(0x40, 2, &[2, 2, 0, 0, 0, 1])), Withdrawn(2, Value)),
        ("AS_PATH segment of none", path(&attr(0x40, 2, &[2, 0])), Withdrawn(2, Value)),
        ("AS_PATH with one octet left", path(&attr(0x40, 2, &[2, 1, 0, 0, 0, 1, 2])), Withdrawn(2, Value)),
        ("AS_PATH counting 255", path(&attr(0x40, 2, &[2, 255, 0, 0, 0, 1])), Withdrawn(2, Value)),
        ("AS_PATH with AS 0 (RFC 7607)", path(&attr(0x40, 2, &[2, 1, 0, 0, 0, 0])), Withdrawn(2, Value)),
        ("AS_PATH missing", path(&[]), Withdrawn(2, Missing)),
        // NEXT_HOP, §7.3: beside MP_REACH_NLRI it says nothing, but it must be well formed
        ("NEXT_HOP", with(&attr(0x40, 3, &[1, 2, 3, 4])), FINE),
        ("NEXT_HOP of three octets", with(&attr(0x40, 3, &[1, 2, 3])), Withdrawn(3, Length)),
        // MULTI_EXIT_DISC, §7.4
        ("MED", with(&attr(0x80, 4, &[0; 4])), FINE),
        ("MED of no octet", with(&attr(0x80, 4, &[])), Withdrawn(4, Length)),
        ("MED of five octets", with(&attr(0x80, 4, &[0; 5])), Withdrawn(4, Length)),
        // ATOMIC_AGGREGATE, AGGREGATOR, §7.6, §7.7
        ("ATOMIC_AGGREGATE", with(&attr(0x40, 6, &[])), FINE),
        ("ATOMIC_AGGREGATE with a value", with(&attr(0x40, 6, &[0])), DISCARDED),
        ("AGGREGATOR", with(&attr(0xc0, 7, &[0, 0, 0, 1, 10, 0, 0, 1])), FINE),
        ("AGGREGATOR of the two-octet form", with(&attr(0xc0, 7, &[0, 1, 10, 0, 0, 1])), DISCARDED),
        ("AGGREGATOR of no octet", with(&attr(0xc0, 7, &[])), DISCARDED),
        ("AGGREGATOR of AS 0 (RFC 7607)", with(&attr(0xc0, 7, &[0; 8])), DISCARDED),
        // Communities, §7.8, §7.14, RFC 8092 §6
        ("COMMUNITIES", with(&attr(0xc0, 8, &[0; 8])), FINE),
        ("COMMUNITIES of none", with(&attr(0xc0, 8, &[])), Withdrawn(8, Length)),
        ("COMMUNITIES of five octets", with(&attr(0xc0, 8, &[0; 5])), Withdrawn(8, Length)),
        ("EXTENDED COMMUNITIES of none", with(&attr(0xc0, 16, &[])), Withdrawn(16, Length)),
        ("EXTENDED COMMUNITIES of seven octets", with(&attr(0xc0, 16, &[0; 7])), Withdrawn(16, Length)),
        ("EXTENDED COMMUNITIES unknown to all", with(&attr(0xc0, 16, &[0xff; 16])), FINE),
        ("LARGE_COMMUNITY of none", with(&attr(0xc0, 32, &[])), Withdrawn(32, Length)),
        ("LARGE_COMMUNITY of 13 octets", with(&attr(0xc0, 32, &[0; 13])), Withdrawn(32, Length)),
        // AS4_* between four-octet speakers, RFC 6793 §4.1
        ("AS4_PATH", with(&attr(0xc0, 17, &[2, 1, 0, 0, 0, 1])), DISCARDED),
        ("AS4_AGGREGATOR", with(&attr(0xc0, 18, &[0; 8])), DISCARDED),
        // PMSI_TUNNEL, RFC 6514 §5
        ("PMSI of FRR", with(&attr(0xc0, 22, &[0, 6, 0, 0, 100, 10, 0, 0, 1])), FINE),
        ("PMSI with IPv6", with(&attr(0xc0, 22, &[&[0, 6, 0, 0, 100][..], &[1; 16]].concat())), FINE),
        ("PMSI without tunnel", with(&attr(0xc0, 22, &[0, 0, 0, 0, 0])), FINE),
        (
            "PMSI of an mLDP root in IPv6",
            with(&attr(0xc0, 22, &[&[0, 2, 0, 0, 0][..], &[1; 29]].concat())),
            FINE,
        ),
        ("PMSI of no octet", with(&attr(0xc0, 22, &[])), Withdrawn(22, Value)),
        ("PMSI of four octets", with(&attr(0xc0, 22, &[0, 6, 0, 0])), Withdrawn(22, Value)),
        (
            "PMSI with five octets of address",
            with(&attr(0xc0, 22, &[0, 6, 0, 0, 1, 1, 2, 3, 4, 5])),
            Withdrawn(22, Value),
        ),
        (
            "PMSI ingress replication to nowhere",
            with(&attr(0xc0, 22, &[0, 6, 0, 0, 1])),
            Withdrawn(22, Value),
        ),
        // Tunnel encapsulation, RFC 9012 §13
        ("tunnel of a type nobody knows", with(&attr(0xc0, 23, &[0xff, 0xff, 0, 1, 0])), FINE),
        ("tunnel encapsulation without tunnel", with(&attr(0xc0, 23, &[])), Withdrawn(23, Value)),
        (
            "tunnel past the end (CVE-2023-38802)",
            with(&attr(0xc0, 23, &[0, 8, 0, 2, 0])),
            Withdrawn(23, Value),
        ),
        ("tunnel with half a header", with(&attr(0xc0, 23, &[0, 8, 0])), Withdrawn(23, Value)),
    ]);
}

#[test]
fn what_an_internal_peer_may_send_and_an_external_may_not() {
    // §7.5, §7.9, §7.10: from outside the AS they are left out, whatever they hold.
    for (what, code, flags, good, bad) in [
        ("LOCAL_PREF", 5, 0x40, &[0, 0, 0, 100][..], &[&[][..], &[0; 3], &[0; 5]]),
        ("ORIGINATOR_ID", 9, 0x80, &[10, 0, 0, 1], &[&[][..], &[0; 3], &[0; 5]]),
        ("CLUSTER_LIST", 10, 0x80, &[10, 0, 0, 1, 10, 0, 0, 2], &[&[][..], &[0; 3], &[0; 5]]),
    ] {
        assert_eq!(outcome(&with(&attr(flags, code, good)), Ibgp), FINE, "{what}");
        assert_eq!(outcome(&with(&attr(flags, code, good)), Ebgp), DISCARDED, "{what}");
        for bad in bad {
            assert_eq!(
                outcome(&with(&attr(flags, code, bad)), Ibgp),
                Withdrawn(code, Length),
                "{what} {bad:?}"
            );
            assert_eq!(outcome(&with(&attr(flags, code, bad)), Ebgp), DISCARDED, "{what} {bad:?}");
        }
    }
    // 255 clusters are many, and fine.
    assert_eq!(outcome(&with(&attr(0x80, 10, &[7; 255 * 4])), Ibgp), FINE);
    // RFC 5065 §5: no confederation sends its inside out.
    let confed = body(&[], &[&reach(MAC), ORIGIN, &attr(0x40, 2, &[3, 1, 0, 0, 0, 1])], &[]);
    assert_eq!(outcome(&confed, Ebgp), Withdrawn(2, Value));
    assert_eq!(outcome(&confed, Ibgp), FINE);
}

#[test]
fn flags_that_conflict_with_the_type() {
    // §3 c. The value is fine each time; of the flags only optional and transitive are looked at.
    let values: [(u8, u8, &[u8]); 10] = [
        (3, 0x40, &[1, 2, 3, 4]),
        (4, 0x80, &[0; 4]),
        (5, 0x40, &[0; 4]),
        (6, 0x40, &[]),
        (7, 0xc0, &[0, 0, 0, 1, 10, 0, 0, 1]),
        (8, 0xc0, &[0; 4]),
        (9, 0x80, &[10, 0, 0, 1]),
        (16, 0xc0, &[0; 8]),
        (22, 0xc0, &[0, 0, 0, 0, 0]),
        (23, 0xc0, &[0, 8, 0, 0]),
    ];
    for (code, right, value) in values {
        for flags in [0x00, 0x40, 0x80, 0xc0] {
            let expected = if flags == right { FINE } else { Withdrawn(code, Flags) };
            assert_eq!(outcome(&with(&attr(flags, code, value)), Ibgp), expected, "{code} {flags:#x}");
            // Partial and the four low bits never matter.
            assert_eq!(outcome(&with(&attr(flags | 0x2f, code, value)), Ibgp), expected, "{code} {flags:#x}");
        }
    }
    let mut wrong = reach(MAC);
    wrong[0] = 0xd0;
    check(vec![
        (
            "MP_REACH_NLRI transitive (CVE-2023-46752)",
            body(&[], &[&wrong, ORIGIN, AS_PATH], &[]),
            Reset(3, 4),
        ),
        ("MP_UNREACH_NLRI well known", body(&[], &[&attr(0x40, 15, &[0, 25, 70])], &[]), Reset(3, 4)),
    ]);
}

#[test]
fn attributes_nobody_knows() {
    let kept = |update: &Update| update.attributes.as_ref().map(|a| a.opaque.clone()).unwrap_or_default();
    // The classes of corruption seen carried through innocent routers: never a reset, never taken apart.
    for code in [25, 26, 28, 29, 35, 40, 128, 255] {
        let body = with(&attr(0xc0, code, &[0xde, 0xad, 0xff]));
        let update = decode_update(&body, &Ebgp.ctx()).unwrap();
        let [raw] = &kept(&update)[..] else { panic!("{code}") };
        assert_eq!(
            (raw.code, raw.flags, &raw.value[..]),
            (code, 0xe0, &[0xde, 0xad, 0xff][..]),
            "partial bit set"
        );
        // Optional, not transitive: ends here, quietly.
        let body = with(&attr(0x80, code, &[0xde, 0xad, 0xff]));
        let update = decode_update(&body, &Ebgp.ctx()).unwrap();
        assert_eq!((kept(&update).len(), update.attr_discards), (0, 0));
        // Well known, so everyone should: RFC 4271 §6.3.
        let attribute = attr(0x40, code, &[1]);
        let n = decode_update(&with(&attribute), &Ebgp.ctx()).unwrap_err();
        assert_eq!((n.code, n.subcode, &n.data[..]), (3, 2, &attribute[..]));
    }
    // Tunnel encapsulation is known: carried without the partial bit.
    let update = decode_update(&with(&attr(0xc0, 23, &[0, 8, 0, 0])), &Ebgp.ctx()).unwrap();
    assert_eq!(kept(&update)[0].flags, 0xc0);
}

#[test]
fn the_partial_bit_stays_set() {
    // RFC 4271 §5: also on attributes we do know.
    for (code, value) in [
        (7, &[0, 0, 0, 1, 10, 0, 0, 1][..]),
        (8, &[0; 4]),
        (16, &[0; 8]),
        (22, &[0, 6, 0, 0, 100, 10, 0, 0, 1]),
        (22, &[[0, 2, 0, 0, 0].as_slice(), &[1; 29]].concat()),
        (23, &[0, 8, 0, 0]),
        (32, &[1; 12]),
    ] {
        for flags in [0xc0, 0xe0] {
            let update = decode_update(&with(&attr(flags, code, value)), &Ibgp.ctx()).unwrap();
            let mut out = Vec::new();
            let ctx = EncodeContext { ebgp: false, as4: true };
            encode_attributes(&update.attributes.unwrap(), &ctx, &mut out);
            let short = [&[flags, code, value.len() as u8][..], value].concat();
            assert!(out.windows(short.len()).any(|w| w == short), "{code} {flags:#x}: {out:02x?}");
        }
    }
}

#[test]
fn attributes_that_do_not_fit_together() {
    let overrun: &[u8] = &[0xc0, 8, 200, 0, 0];
    check(vec![
        ("an attribute past the end", with(overrun), Withdrawn(8, Overrun)),
        ("an extended length past the end", with(&[0xd0, 8, 0xff, 0xff, 0]), Withdrawn(8, Overrun)),
        ("one octet left", with(&[0xc0]), Withdrawn(0, Overrun)),
        ("two octets left", with(&[0xc0, 8]), Withdrawn(8, Overrun)),
        ("half an extended length left", with(&[0xd0, 8, 0]), Withdrawn(8, Overrun)),
        (
            "past the end, and the routes after it",
            body(&[], &[ORIGIN, AS_PATH, overrun, &reach(MAC)], &[]),
            Reset(3, 1),
        ),
        (
            "MP_REACH_NLRI itself past the end",
            body(&[], &[ORIGIN, AS_PATH, &[0x80, 14, 200, 0, 25]], &[]),
            Reset(3, 1),
        ),
        ("MP_UNREACH_NLRI past the end", with(&[0x80, 15, 200, 0, 25]), Reset(3, 1)),
        ("the same attribute twice: the first counts", with(&attr(0x40, 1, &[9])), DISCARDED),
        ("MP_REACH_NLRI twice", with(&reach(MAC)), Reset(3, 1)),
        ("MP_UNREACH_NLRI twice", with(&[unreach(&[]), unreach(&[])].concat()), Reset(3, 1)),
        ("a fault, and worse behind it", with(&[attr(0xc0, 16, &[0; 7]), reach(MAC)].concat()), Reset(3, 1)),
        (
            "two faults: the first is told",
            with(&[attr(0xc0, 16, &[0; 7]), attr(0x80, 4, &[])].concat()),
            Withdrawn(16, Length),
        ),
        ("no attributes but the routes", body(&[], &[&reach(MAC)], &[]), Withdrawn(1, Missing)),
    ]);
}

#[test]
fn faults_with_nothing_announced_cannot_be_contained() {
    // §5.2
    check(vec![
        (
            "a fault beside withdrawn routes",
            body(&[], &[&unreach(MAC), &attr(0xc0, 16, &[0; 7])], &[]),
            Reset(3, 5),
        ),
        ("a fault alone", body(&[], &[&attr(0x40, 1, &[3])], &[]), Reset(3, 6)),
        ("wrong flags alone", body(&[], &[&attr(0xc0, 1, &[0])], &[]), Reset(3, 4)),
        ("a bad AS_PATH alone", body(&[], &[&attr(0x40, 2, &[9, 9])], &[]), Reset(3, 11)),
        ("a bad NEXT_HOP alone", body(&[], &[&attr(0x40, 3, &[9])], &[]), Reset(3, 5)),
        ("a bad PMSI alone", body(&[], &[&attr(0xc0, 22, &[9])], &[]), Reset(3, 9)),
    ]);
    // An attribute discard costs nothing even here.
    let update = decode_update(&body(&[], &[&unreach(MAC), &attr(0x40, 6, &[1])], &[]), &Ibgp.ctx()).unwrap();
    assert_eq!((update.attr_discards, update.withdrawn().count(), update.eor), (1, 1, false));
}

#[test]
fn routes_that_cannot_be_told_apart() {
    let mp = |value: &[u8]| body(&[], &[&attr(0x80, 14, value), ORIGIN, AS_PATH], &[]);
    let nh = |len: u8, n: usize| mp(&[&[0, 25, 70, len][..], &vec![1; n], &[0], MAC].concat());
    let mut long = MAC.to_vec();
    long[1] = 34;
    check(vec![
        ("MP_REACH_NLRI of no octet", mp(&[]), Reset(3, 9)),
        ("MP_REACH_NLRI of four octets", mp(&[0, 25, 70, 0]), Reset(3, 9)),
        ("next hop of no octet", nh(0, 0), Reset(3, 9)),
        ("next hop of four octets", nh(4, 4), FINE),
        ("next hop of five octets", nh(5, 5), Reset(3, 9)),
        ("next hop of 16 octets", nh(16, 16), FINE),
        ("next hop of 24 octets", nh(24, 24), Reset(3, 9)),
        ("next hop of 32 octets", nh(32, 32), FINE),
        ("next hop of 255 octets that are not there", nh(255, 4), Reset(3, 9)),
        ("reserved octet not zero", mp(&[&[0, 25, 70, 4, 10, 0, 0, 1, 9][..], MAC].concat()), FINE),
        ("NLRI past the end", body(&[], &[&reach(&long), ORIGIN, AS_PATH], &[]), Reset(3, 9)),
        (
            "one octet of an NLRI",
            body(&[], &[&reach(&[MAC, &[2]].concat()), ORIGIN, AS_PATH], &[]),
            Reset(3, 9),
        ),
        ("withdrawn NLRI past the end", with(&unreach(&long)), Reset(3, 9)),
        ("MP_UNREACH_NLRI of two octets (CVE-2023-47234)", with(&attr(0x80, 15, &[0, 25])), Reset(3, 9)),
        ("MP_UNREACH_NLRI of no octet", body(&[], &[&attr(0x80, 15, &[])], &[]), Reset(3, 9)),
    ]);
}

#[test]
fn the_outer_lengths() {
    let raw = |b: &[u8]| Bytes::copy_from_slice(b);
    check(vec![
        ("nothing", raw(&[]), Reset(3, 1)),
        ("half a length", raw(&[0]), Reset(3, 1)),
        ("withdrawn routes past the end", raw(&[0, 9, 0, 0]), Reset(3, 1)),
        ("withdrawn routes up to the end", raw(&[0, 2, 8, 10]), Reset(3, 1)),
        ("all ones", raw(&[0xff; 4]), Reset(3, 1)),
        ("attributes past the end", raw(&[0, 0, 0, 9, 0]), Reset(3, 1)),
        (
            "a length of 233 bits and nothing behind it",
            body(&[], &[&reach(MAC), ORIGIN, AS_PATH], &[233]),
            Reset(3, 10),
        ),
        ("a withdrawn prefix of 33 bits", body(&[33, 1, 2, 3, 4, 5], &[], &[]), Reset(3, 10)),
        ("a withdrawn prefix past the end", body(&[24, 10, 0], &[], &[]), Reset(3, 10)),
        ("an announced prefix past the end", body(&[], &[ORIGIN, AS_PATH], &[32, 10]), Reset(3, 10)),
    ]);
}

#[test]
fn ipv4_unicast_is_checked_and_not_kept() {
    let next_hop = attr(0x40, 3, &[10, 0, 0, 1]);
    let parse = |b: Bytes| decode_update(&b, &Ebgp.ctx()).unwrap();
    let update = parse(body(&[8, 10], &[ORIGIN, AS_PATH, &next_hop], &[0, 24, 10, 0, 1]));
    assert!(update.had_ipv4 && update.reach.is_empty() && update.attributes.is_none() && !update.eor);
    // CVE-2023-41358, -46753: routes and no attributes at all.
    let update = parse(body(&[], &[], &[8, 10]));
    assert!(matches!(update.disposition, Disposition::TreatAsWithdraw(r) if r.problem == Missing));
    let update = parse(body(&[], &[ORIGIN, AS_PATH], &[8, 10]));
    assert!(matches!(update.disposition, Disposition::TreatAsWithdraw(r) if r.attribute == 3));
    // End-of-RIB of IPv4 unicast is not that of EVPN.
    let update = parse(body(&[], &[], &[]));
    assert!(!update.eor && !update.had_ipv4);
}

#[test]
fn other_families_are_not_ours_to_judge() {
    let ipv6 = attr(0x80, 14, &[&[0, 2, 1, 16][..], &[1; 16], &[0, 64, 1, 2, 3]].concat());
    let update = decode_update(&body(&[], &[&ipv6, ORIGIN, AS_PATH], &[]), &Ebgp.ctx()).unwrap();
    assert_eq!((update.foreign_families, update.reach.len(), update.attributes), (1, 0, None));
    let gone = attr(0x80, 15, &[0, 1, 128, 1, 2, 3]);
    let update = decode_update(&body(&[], &[&gone], &[]), &Ebgp.ctx()).unwrap();
    assert_eq!((update.foreign_families, update.unreach.len(), update.eor), (1, 0, false));
}

#[test]
fn end_of_rib() {
    let parse = |attributes: &[&[u8]]| decode_update(&body(&[], attributes, &[]), &Ebgp.ctx()).unwrap();
    // As FRR sends it, and with the short form of the length.
    assert!(parse(&[&[0x90, 15, 0, 3, 0, 25, 70]]).eor);
    assert!(parse(&[&[0x80, 15, 3, 0, 25, 70]]).eor);
    assert!(!parse(&[&[0x80, 15, 3, 0, 2, 1]]).eor);
    assert!(!parse(&[&unreach(MAC)]).eor);
    assert!(!parse(&[&unreach(&[]), ORIGIN]).eor);
}

/// One NLRI of a run that has a good route before and behind it: what becomes of it, and that the others stay.
fn between(nlri: &[u8], communities: &[u8]) -> Nlri {
    let mut other = MAC.to_vec();
    other[30] = 2;
    let run = [MAC, nlri, &other].concat();
    let ext = if communities.is_empty() { vec![] } else { attr(0xc0, 16, communities) };
    let update = decode_update(&body(&[], &[&reach(&run), ORIGIN, AS_PATH, &ext], &[]), &Ebgp.ctx()).unwrap();
    assert_eq!(update.disposition, Disposition::Accept);
    let mut routes: Vec<_> = update.routes().collect();
    assert_eq!(routes.len(), 3);
    assert!(matches!((&routes[0], &routes[2]), (Nlri::Route(..), Nlri::Route(..))));
    // Taking them one by one and all at once is the same.
    let mut again = Vec::new();
    update.routes().for_each(|n| again.push(n));
    assert_eq!(again, routes);
    routes.swap_remove(1)
}

const RD: [u8; 8] = [0, 1, 10, 0, 0, 1, 0, 1];

fn nlri(kind: u8, pieces: &[&[u8]]) -> Vec<u8> {
    let body = pieces.concat();
    [&[kind, body.len() as u8][..], &body].concat()
}

#[test]
fn a_malformed_body_costs_that_route_only() {
    let (esi, tag) = ([0; 10], [0; 4]);
    let t2 = |mac_len: u8, mac: &[u8], rest: &[u8]| nlri(2, &[&RD, &esi, &tag, &[mac_len], mac, rest]);
    let mac = [2, 0, 0, 0, 0, 9];
    let malformed = [
        nlri(1, &[&RD, &esi, &tag, &[0, 0]]),
        nlri(1, &[&RD, &esi, &tag, &[0; 4]]),
        nlri(1, &[]),
        t2(48, &mac, &[]),
        t2(48, &mac, &[0, 0, 0]),
        t2(48, &mac, &[0, 0, 0, 1, 0]),
        t2(48, &mac, &[0, 0, 0, 1, 0, 0, 1, 9]),
        t2(40, &mac, &[0, 0, 0, 1]),
        t2(40, &mac[1..], &[0, 0, 0, 1]),
        t2(0, &[], &[0, 0, 0, 1]),
        t2(48, &mac, &[24, 10, 0, 0, 0, 0, 1]),
        t2(48, &mac, &[32, 10, 0, 0, 0, 1]),
        t2(48, &mac, &[128, 10, 0, 0, 0, 0, 0, 1]),
        t2(48, &mac, &[33, 10, 0, 0, 1, 0, 0, 0, 1]),
        nlri(2, &[&RD]),
        nlri(3, &[&RD, &tag, &[32, 10, 0, 0]]),
        nlri(3, &[&RD, &tag, &[32, 10, 0, 0, 1, 0]]),
        nlri(3, &[&RD, &tag, &[24, 10, 0, 0]]),
        nlri(3, &[&RD, &tag, &[0]]),
        nlri(3, &[&RD, &tag]),
        nlri(4, &[&RD, &esi, &[128, 10, 0, 0, 1]]),
        nlri(4, &[&RD, &esi]),
        nlri(5, &[&RD, &esi, &tag, &[24], &[0; 10]]),
        nlri(5, &[&RD, &esi, &tag, &[24], &[0; 12]]),
        nlri(5, &[]),
    ];
    for bad in malformed {
        let kind = bad[0];
        let got = between(&bad, &[]);
        assert!(
            matches!(got, Nlri::Discard(NlriDiscard::Malformed(k, _)) if k == kind),
            "{bad:02x?}: {got:?}"
        );
        // A strict session ends, as RFC 7606 §5.3 read to the letter has it.
        let strict = DecodeContext { strict: true, ..Ebgp.ctx() };
        for attribute in [reach(&bad), unreach(&bad)] {
            let n = decode_update(&body(&[], &[&attribute, ORIGIN, AS_PATH], &[]), &strict).unwrap_err();
            assert_eq!((n.code, n.subcode), (3, 9));
        }
    }
}

#[test]
fn routes_that_are_well_formed_and_still_no_routes() {
    let (esi, tag) = ([0; 10], [0; 4]);
    let t2 = |mac: &[u8; 6]| nlri(2, &[&RD, &esi, &tag, &[48], mac, &[0, 0, 0, 1]]);
    let t5 = |bits: u8| nlri(5, &[&RD, &esi, &tag, &[bits], &[10, 0, 0, 0], &[0; 4], &[0, 0, 1]]);
    let refused = [t2(&[0; 6]), t2(&[1, 0, 0x5e, 0, 0, 1]), t2(&[0xff; 6]), t5(33), t5(255)];
    for bad in refused {
        assert!(matches!(between(&bad, &[]), Nlri::Discard(NlriDiscard::Refused(..))), "{bad:?}");
        let strict = DecodeContext { strict: true, ..Ebgp.ctx() };
        assert!(decode_update(&body(&[], &[&reach(&bad), ORIGIN, AS_PATH], &[]), &strict).is_ok());
    }
    for kind in [0, 12, 99, 255] {
        for body in [&[][..], &[1, 2, 3]] {
            assert_eq!(between(&nlri(kind, &[body]), &[]), Nlri::Discard(NlriDiscard::UnknownType(kind)));
        }
    }
}

#[test]
fn prefixes_without_a_usable_overlay_index() {
    // RFC 9136 §3.2: what is made of ESI, gateway, Router's MAC and label.
    let t5 = |esi: u8, gateway: u8, label: u8| {
        nlri(5, &[&RD, &[esi; 10], &[0; 4], &[24, 10, 1, 0, 0], &[gateway; 4], &[0, 0, label]])
    };
    let host: &[u8] = &[6, 3, 2, 0, 0, 0, 0, 1];
    let group: &[u8] = &[6, 3, 1, 0, 0, 0, 0, 1];
    for (what, nlri, communities, announced) in [
        ("ESI", t5(1, 0, 0), &[][..], true),
        ("gateway", t5(0, 1, 0), &[], true),
        ("Router's MAC without label", t5(0, 0, 0), host, true),
        ("Router's MAC and label: the usual one", t5(0, 0, 9), host, true),
        ("label alone", t5(0, 0, 9), &[], true),
        ("ESI and gateway", t5(1, 1, 9), host, false),
        ("nothing at all", t5(0, 0, 0), &[], false),
        ("Router's MAC of a group", t5(0, 0, 9), group, false),
        ("Router's MAC of a group beside a gateway", t5(0, 1, 9), group, false),
    ] {
        match between(&nlri, communities) {
            Nlri::Route(..) => assert!(announced, "{what}"),
            Nlri::Withdraw(..) => assert!(!announced, "{what}"),
            Nlri::Discard(why) => panic!("{what}: {why}"),
        }
    }
}

#[test]
fn of_several_arp_nd_communities_one_is_kept() {
    let nd = |flags: u8| [6, 8, flags, 0, 0, 0, 0, 0];
    let value = [nd(1), [3, 12, 0, 0, 0, 0, 0, 8], nd(2), nd(8)].concat();
    let update = decode_update(&with(&attr(0xc0, 16, &value)), &Ebgp.ctx()).unwrap();
    let kept: Vec<_> = update.attributes.unwrap().ext_communities.iter().map(ToString::to_string).collect();
    assert_eq!(kept, ["arp-nd:R", "encap:vxlan"]);
}

#[test]
fn two_octet_speakers_are_put_together_again() {
    let ctx = DecodeContext { as4: false, ..Ebgp.ctx() };
    let parse = |more: &[&[u8]]| {
        let path = attr(0x40, 2, &[2, 2, 0, 10, 0x5b, 0xa0]);
        let update =
            decode_update(&body(&[], &[&reach(MAC), ORIGIN, &path, &more.concat()], &[]), &ctx).unwrap();
        let a = update.attributes.unwrap();
        (a.as_path.to_string(), a.aggregator.map(|(asn, _)| asn), update.attr_discards)
    };
    let as4_path = attr(0xc0, 17, &[2, 1, 0, 1, 0x11, 0x70]);
    let trans = attr(0xc0, 7, &[0x5b, 0xa0, 10, 0, 0, 1]);
    let as4_aggregator = attr(0xc0, 18, &[0, 1, 0x11, 0x70, 10, 0, 0, 2]);
    assert_eq!(parse(&[]), ("10 23456".into(), None, 0));
    assert_eq!(parse(&[&as4_path]), ("10 70000".into(), None, 0));
    assert_eq!(parse(&[&trans, &as4_aggregator, &as4_path]), ("10 70000".into(), Some(70000), 0));
    // Aggregated since by someone who knows no AS4_*: they tell of what was before.
    let aggregator = attr(0xc0, 7, &[0, 20, 10, 0, 0, 1]);
    assert_eq!(parse(&[&aggregator, &as4_aggregator, &as4_path]), ("10 23456".into(), Some(20), 0));
    // By someone whose AS fits two octets, and who knows them: there is no AS4_AGGREGATOR then (§4.2.2).
    assert_eq!(parse(&[&aggregator, &as4_path]), ("10 70000".into(), Some(20), 0));
    // RFC 6793 §6: malformed, they are left out.
    assert_eq!(parse(&[&attr(0xc0, 17, &[2, 2, 0, 1, 0x11, 0x70])]), ("10 23456".into(), None, 1));
    assert_eq!(parse(&[&trans, &attr(0xc0, 18, &[0; 7])]), ("10 23456".into(), Some(23456), 1));
}

#[test]
fn whatever_was_cut_short() {
    // Every prefix of a good UPDATE, and every octet of it changed: an answer each time, never a panic.
    let whole = with(&attr(0xc0, 22, &[0, 6, 0, 0, 100, 10, 0, 0, 1]));
    for end in 0..whole.len() {
        assert!(decode_update(&whole.slice(..end), &Ebgp.ctx()).is_err(), "{end}");
    }
    for i in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = whole.to_vec();
            changed[i] = value;
            for from in [Ebgp, Ibgp] {
                if let Ok(update) = decode_update(&changed.clone().into(), &from.ctx()) {
                    assert!(update.routes().chain(update.withdrawn()).count() <= 1 + whole.len() / 2);
                }
            }
        }
    }
}
