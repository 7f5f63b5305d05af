//! The target `nlri`: one EVPN NLRI.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use bgp::wire::{
    DecodeContext, Disposition, Nlri, NlriBody, NlriDiscard, NlriIter, RouteKey, decode_update, nlri as codec,
};
use bytes::{BufMut, Bytes, BytesMut};

use crate::choices::Choices;
use crate::reference::{self, Verdict};

/// One NLRI as it is withdrawn, announced, and treated as withdrawn.
///
/// The first octet is the route type, the second says what is announced beside it, the rest is the body.
pub fn nlri(data: &[u8]) {
    let mut c = Choices(data);
    let (kind, bits) = (c.octet(), c.octet());
    let body = c.octets(255);
    let run = [&[kind, body.len() as u8], body].concat();
    let verdict = reference::nlri(kind, body);
    let withdrawn = alone(NlriIter::withdrawn(&run));
    match (verdict, &withdrawn) {
        (Verdict::Route, Nlri::Route(key, content)) => check_route(&run, key, content),
        (Verdict::Refused, Nlri::Discard(NlriDiscard::Refused(k, _)))
        | (Verdict::Malformed, Nlri::Discard(NlriDiscard::Malformed(k, _)))
        | (Verdict::Unknown, Nlri::Discard(NlriDiscard::UnknownType(k))) => assert_eq!(*k, kind),
        (verdict, got) => panic!("{verdict:?}, not {got:?}"),
    }
    announce(&run, bits, verdict, &withdrawn);
}

fn alone(mut run: NlriIter<'_>) -> Nlri {
    let one = run.next().expect("there is one");
    assert_eq!(run.next(), None);
    one
}

fn hash(key: &RouteKey) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
}

fn check_route(run: &[u8], key: &RouteKey, content: &NlriBody) {
    assert_eq!(key.route_type(), run[0]);
    let mut again = Vec::new();
    codec::encode(key, content, &mut again);
    assert_eq!(codec::encoded_len(key, content), again.len());
    assert_eq!(again, canonical(run), "{key:?} {content:?}");
    assert_eq!(alone(NlriIter::withdrawn(&again)), Nlri::Route(key.clone(), *content));

    // A withdraw needs the key alone, and names the same route.
    let mut gone = Vec::new();
    codec::encode(key, &NlriBody::default(), &mut gone);
    let Nlri::Route(same, _) = alone(NlriIter::withdrawn(&gone)) else {
        panic!("{key:?} cannot be withdrawn")
    };
    assert_eq!((&same, hash(&same)), (key, hash(key)));
    if let Some(rd) = key.rd() {
        assert_eq!(run[2..10], rd.0);
    }
    let text = key.to_string();
    assert!(text.starts_with(&format!("[{}]:[", run[0])) && text.len() < 600, "{text}");
}

/// The octets a route has to be written with: as they came, but for the host bits of a prefix.
fn canonical(run: &[u8]) -> Vec<u8> {
    let mut octets = run.to_vec();
    if run[0] == 5 {
        let bits = usize::from(run[24]);
        let prefix = if run.len() == 36 { 25..29 } else { 25..41 };
        for (at, octet) in octets[prefix].iter_mut().enumerate() {
            let kept = bits.saturating_sub(8 * at).min(8);
            *octet &= (0xff00_u16 >> kept) as u8;
        }
    }
    octets
}

/// The same NLRI in an UPDATE: with a Router's MAC or without, with an error in the attributes or without, to a session
/// that is strict or is not.
fn announce(run: &[u8], bits: u8, verdict: Verdict, withdrawn: &Nlri) {
    let mac = [0, 2, 3, 0xfe][usize::from(bits & 3)];
    let (faulty, strict) = (bits & 4 != 0, bits & 8 != 0);
    let mut attributes = vec![0x90, 14, 0, (9 + run.len()) as u8, 0, 25, 70, 4, 10, 0, 0, 1, 0];
    attributes[2..4].copy_from_slice(&((9 + run.len()) as u16).to_be_bytes());
    attributes.extend_from_slice(run);
    attributes.extend([0x40, 1, 1, if faulty { 9 } else { 0 }, 0x40, 2, 0]);
    if mac != 0 {
        attributes.extend([0xc0, 16, 8, 6, 3, mac, 0, 0, 0, 0, 1]);
    }
    let mut update = BytesMut::new();
    update.put_u16(0);
    update.put_u16(attributes.len() as u16);
    update.put_slice(&attributes);
    let body: Bytes = update.freeze();
    let ctx = DecodeContext { ebgp: true, as4: true, strict };
    let update = match decode_update(&body, &ctx) {
        Ok(update) => update,
        Err(n) => {
            assert!(strict && run[0] <= 5 && verdict == Verdict::Malformed, "{n}");
            return;
        }
    };
    assert!(!(strict && run[0] <= 5 && verdict == Verdict::Malformed), "a strict session would end");
    assert_eq!(update.disposition == Disposition::Accept, !faulty);
    let announced = alone(update.routes());
    let Nlri::Route(key, content) = withdrawn else {
        assert_eq!(announced, *withdrawn);
        return;
    };
    // RFC 9136 §3.2.
    let unusable = run[0] == 5 && {
        let (esi, gateway) = (!content.esi.is_zero(), content.gateway.is_some());
        let group = mac & 1 == 1;
        group || esi && gateway || mac == 0 && !esi && !gateway && content.label.get() == 0
    };
    match announced {
        Nlri::Withdraw(same, why) => {
            assert!(faulty || unusable, "{why}");
            assert_eq!(same, *key);
        }
        route => {
            assert!(!faulty && !unusable, "{route:?}");
            assert_eq!(route, *withdrawn);
        }
    }
}
