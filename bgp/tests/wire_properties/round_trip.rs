//! What is encoded decodes to the same; what decodes, encodes and decodes to the same; no bytes cause a panic.

use std::hash::{BuildHasher, RandomState};

use bgp::wire::message::encode_keepalive;
use bgp::wire::{
    DecodeContext, Disposition, EncodeContext, Framer, Nlri, NlriBody, NlriIter, Notification, Open,
    RouteRefresh, decode_update, nlri,
};
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::values::{attributes, route, update};

const IBGP: DecodeContext = DecodeContext { ebgp: false, as4: true, strict: false };
const TO_IBGP: EncodeContext = EncodeContext { ebgp: false, as4: true };

/// Everything a stranger's bytes can reach.
fn read_all(bytes: &Bytes) {
    for bits in 0..8 {
        let ctx = DecodeContext { ebgp: bits & 1 != 0, as4: bits & 2 != 0, strict: bits & 4 != 0 };
        match decode_update(bytes, &ctx) {
            Ok(update) => {
                for n in update.routes().chain(update.withdrawn()) {
                    let _ = format!("{n:?}");
                }
            }
            Err(notification) => {
                let _ = notification.to_string();
            }
        }
    }
    let _ = Open::decode(bytes);
    let _ = RouteRefresh::decode(bytes);
    let _ = Notification::decode(bytes).map(|n| (n.to_string(), n.text()));
    let _ = NlriIter::withdrawn(bytes).count();
    let mut framer = Framer::default();
    framer.push(bytes.clone());
    while let Ok(Some(frame)) = framer.next(65535) {
        let _ = format!("{frame:?}");
    }
}

proptest! {
    #[test]
    fn a_route(routes in vec(route(), 0..20)) {
        let mut run = Vec::new();
        for (key, body) in &routes {
            let before = run.len();
            nlri::encode(key, body, &mut run);
            prop_assert_eq!(run.len() - before, nlri::encoded_len(key, body));
        }
        let mut read = Vec::new();
        for n in NlriIter::withdrawn(&run) {
            let Nlri::Route(key, body) = n else { panic!("{n:?}") };
            read.push((key, body));
        }
        prop_assert_eq!(&read, &routes);
        let hasher = RandomState::new();
        for ((a, _), (b, _)) in read.iter().zip(&routes) {
            prop_assert_eq!(hasher.hash_one(a), hasher.hash_one(b));
            // A withdraw carries the key alone.
            let mut gone = Vec::new();
            nlri::encode(a, &NlriBody::default(), &mut gone);
            let same = matches!(NlriIter::withdrawn(&gone).next(), Some(Nlri::Route(key, _)) if key == *b);
            prop_assert!(same);
        }
    }

    #[test]
    fn an_update(attributes in attributes(true), routes in vec(route(), 1..20)) {
        let decoded = decode_update(&update(&attributes, &routes, TO_IBGP), &IBGP).unwrap();
        prop_assert_eq!(decoded.disposition, Disposition::Accept);
        prop_assert_eq!(decoded.attr_discards, 0);
        prop_assert_eq!(decoded.attributes.as_deref(), Some(&attributes));
        // A random community may happen to be the Router's MAC of a group, which withdraws type 5.
        let group = attributes.ext_communities.iter().any(|c| c.as_router_mac().is_some_and(types::MacAddr::is_group));
        prop_assume!(!group);
        let read: Vec<_> = decoded.routes().map(|n| match n {
            Nlri::Route(key, body) => (key, body),
            n => panic!("{n:?}"),
        }).collect();
        prop_assert_eq!(read, routes);
    }

    #[test]
    fn an_update_to_a_two_octet_speaker(attributes in attributes(false), routes in vec(route(), 1..3)) {
        let wire = update(&attributes, &routes, EncodeContext { as4: false, ..TO_IBGP });
        let decoded = decode_update(&wire, &DecodeContext { as4: false, ..IBGP }).unwrap();
        prop_assert_eq!(decoded.attributes.as_deref(), Some(&attributes));
    }

    #[test]
    fn what_leaves_the_as(attributes in attributes(false), routes in vec(route(), 1..3)) {
        let wire = update(&attributes, &routes, EncodeContext { ebgp: true, as4: true });
        let decoded = decode_update(&wire, &DecodeContext { ebgp: true, ..IBGP }).unwrap();
        prop_assert_eq!(decoded.attr_discards, 0, "nothing an external peer would have to leave out");
        let mut expected = attributes;
        expected.local_pref = None;
        expected.originator_id = None;
        expected.cluster_list.clear();
        expected.ext_communities.retain(|c| c.is_transitive());
        prop_assert_eq!(decoded.attributes.as_deref(), Some(&expected));
    }

    #[test]
    fn changed_octets_that_still_decode_encode_to_the_same(
        attributes in attributes(true),
        routes in vec(route(), 1..4),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut wire = update(&attributes, &routes, TO_IBGP).to_vec();
        for (at, value) in changes {
            let at = at.index(wire.len());
            wire[at] = value;
        }
        let wire = Bytes::from(wire);
        read_all(&wire);
        let Ok(first) = decode_update(&wire, &IBGP) else { return Ok(()) };
        let Some(mut attributes) = first.attributes.clone() else { return Ok(()) };
        attributes.local_pref.get_or_insert(100);
        let kept: Vec<_> = first.routes().filter_map(|n| match n {
            Nlri::Route(key, body) => Some((key, body)),
            _ => None,
        }).collect();
        if kept.is_empty() {
            return Ok(());
        }
        let second = decode_update(&update(&attributes, &kept, TO_IBGP), &IBGP).unwrap();
        prop_assert_eq!(&second.attributes, &Some(attributes));
        let again: Vec<_> = second.routes().collect();
        prop_assert_eq!(again, kept.into_iter().map(|(k, b)| Nlri::Route(k, b)).collect::<Vec<_>>());
    }

    #[test]
    fn any_octets(bytes in vec(any::<u8>(), 0..300)) {
        read_all(&bytes.into());
    }

    #[test]
    fn any_attribute(flags in any::<u8>(), code in any::<u8>(), value in vec(any::<u8>(), 0..80)) {
        let mut body = vec![0, 0, 0, (value.len() + 4) as u8, flags | 0x10, code, 0, value.len() as u8];
        body.extend(value);
        read_all(&body.into());
    }

    #[test]
    fn any_body(kind in 0..13u8, body in vec(any::<u8>(), 0..70)) {
        let mut run = vec![kind, body.len() as u8];
        run.extend(&body);
        read_all(&run.clone().into());
        // Whatever is taken is written as it came, but for the host bits of a prefix.
        if let Some(Nlri::Route(key, body)) = NlriIter::withdrawn(&run).next()
            && kind != 5
        {
            let mut out = Vec::new();
            nlri::encode(&key, &body, &mut out);
            prop_assert_eq!(out, run);
        }
    }

    #[test]
    fn any_open(parameters in vec(any::<u8>(), 0..80)) {
        let mut body = vec![4, 0xfd, 0xe9, 0, 90, 10, 0, 0, 1, parameters.len() as u8];
        body.extend(parameters);
        let Ok(open) = Open::decode(&body.into()) else { return Ok(()) };
        let mut out = BytesMut::new();
        open.encode(&mut out);
        prop_assert_eq!(Open::decode(&out.freeze().slice(19..)), Ok(open));
    }

    #[test]
    fn any_stream_of_capabilities(code in any::<u8>(), value in vec(any::<u8>(), 0..60)) {
        let mut body = vec![4, 0xfd, 0xe9, 0, 90, 10, 0, 0, 1, (value.len() + 4) as u8, 2, (value.len() + 2) as u8, code, value.len() as u8];
        body.extend(&value);
        // A capability that is ill-formed is left out, it never costs the OPEN.
        let open = Open::decode(&body.into());
        prop_assert!(open.is_ok() || (code == 65 && value == [0; 4]), "{:?}", open);
    }
}

#[test]
fn keepalives_by_the_thousand() {
    let mut out = BytesMut::new();
    for _ in 0..10_000 {
        encode_keepalive(&mut out);
    }
    let mut framer = Framer::default();
    framer.push(out.freeze());
    let mut n = 0;
    while framer.next(4096).unwrap().is_some() {
        n += 1;
    }
    assert_eq!((n, framer.buffered()), (10_000, 0));
}
