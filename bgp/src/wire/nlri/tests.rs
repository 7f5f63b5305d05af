//! Layouts octet by octet, and the hash of keys.

use std::collections::HashSet;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::*;

const RD: [u8; 8] = [0, 1, 10, 0, 0, 1, 0, 2];

fn both_ways(wire: &[u8], key: &RouteKey, body: &NlriBody, text: &str) {
    let mut out = Vec::new();
    encode(key, body, &mut out);
    assert_eq!(out, wire, "{text}");
    assert_eq!(encoded_len(key, body), wire.len(), "{text}");
    let mut run = NlriIter::withdrawn(wire);
    assert_eq!(run.next(), Some(Nlri::Route(key.clone(), *body)), "{text}");
    assert_eq!(run.next(), None);
    assert_eq!(key.to_string(), text);
}

fn vni(n: u32) -> Vni {
    Vni::new(n).unwrap()
}

#[test]
fn layouts() {
    let rd = Rd(RD);
    let esi = Esi([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let e = esi.0;
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    let body = NlriBody::default();
    let wire = |kind: u8, parts: &[&[u8]]| {
        let b = [&RD[..], &parts.concat()].concat();
        [&[kind, b.len() as u8][..], &b].concat()
    };
    both_ways(
        &wire(1, &[&e, &[0xff; 4], &[0; 3]]),
        &RouteKey::EthernetAd { rd, esi, tag: u32::MAX },
        &body,
        "[1]:[4294967295]:[00:01:02:03:04:05:06:07:08:09]",
    );
    both_ways(
        &wire(2, &[&e, &[0; 4], &[48], &mac.0, &[0], &[0, 0, 0x64]]),
        &RouteKey::MacIp { rd, tag: 0, mac, ip: None },
        &NlriBody { esi, label: vni(100), ..body },
        "[2]:[0]:[48]:[02:00:00:00:00:01]",
    );
    // The VNI fills the label field and is not shifted.
    both_ways(
        &wire(2, &[&[0; 10], &[0, 0, 0, 7], &[48], &mac.0, &[32, 10, 0, 0, 9], &[0xff; 3], &[0, 0x13, 0x88]]),
        &RouteKey::MacIp { rd, tag: 7, mac, ip: Some("10.0.0.9".parse().unwrap()) },
        &NlriBody { label: Vni::MAX, label2: Some(vni(5000)), ..body },
        "[2]:[7]:[48]:[02:00:00:00:00:01]:[32]:[10.0.0.9]",
    );
    both_ways(
        &wire(2, &[&[0; 10], &[0; 4], &[48], &mac.0, &[128, 0xfd], &[0; 14], &[1], &[0, 0x10, 0]]),
        &RouteKey::MacIp { rd, tag: 0, mac, ip: Some("fd00::1".parse().unwrap()) },
        &NlriBody { label: vni(4096), ..body },
        "[2]:[0]:[48]:[02:00:00:00:00:01]:[128]:[fd00::1]",
    );
    both_ways(
        &wire(3, &[&[0; 4], &[32, 10, 0, 0, 1]]),
        &RouteKey::Imet { rd, tag: 0, originator: "10.0.0.1".parse().unwrap() },
        &body,
        "[3]:[0]:[32]:[10.0.0.1]",
    );
    both_ways(
        &wire(4, &[&e, &[128, 0xfd], &[0; 14], &[1]]),
        &RouteKey::EthernetSegment { rd, esi, originator: "fd00::1".parse().unwrap() },
        &body,
        "[4]:[00:01:02:03:04:05:06:07:08:09]:[128]:[fd00::1]",
    );
    both_ways(
        &wire(5, &[&[0; 10], &[0; 4], &[24], &[10, 1, 2, 0], &[10, 1, 2, 1], &[0, 0x13, 0x88]]),
        &RouteKey::Prefix { rd, tag: 0, prefix: "10.1.2.0/24".parse().unwrap() },
        &NlriBody { label: vni(5000), gateway: Some("10.1.2.1".parse().unwrap()), ..body },
        "[5]:[0]:[24]:[10.1.2.0]",
    );
    both_ways(
        &wire(5, &[&e, &[0; 4], &[8], &[0xfd], &[0; 15], &[0; 16], &[0; 3]]),
        &RouteKey::Prefix { rd, tag: 0, prefix: "fd00::/8".parse().unwrap() },
        &NlriBody { esi, ..body },
        "[5]:[0]:[8]:[fd00::]",
    );
    // Type 6, (*, 239.1.1.1) from 10.0.0.1: the flags are not key.
    let smet = wire(6, &[&[0; 4], &[0], &[32, 239, 1, 1, 1], &[32, 10, 0, 0, 1], &[0x04]]);
    both_ways(
        &smet,
        &RouteKey::Opaque { kind: 6, key: smet[2..smet.len() - 1].into() },
        &NlriBody { tail: Tail { len: 1, octets: [4, 0, 0, 0, 0, 0] }, ..body },
        "[6]:[00010a0000010002000000000020ef010101200a000001]",
    );
    // Type 8: reserved, maximum response time and flags are not key.
    let leave = wire(8, &[&e, &[0; 4], &[0], &[0], &[32, 10, 0, 0, 1], &[1, 2, 3, 4, 5, 6]]);
    both_ways(
        &leave,
        &RouteKey::Opaque { kind: 8, key: leave[2..leave.len() - 6].into() },
        &NlriBody { tail: Tail { len: 6, octets: [1, 2, 3, 4, 5, 6] }, ..body },
        "[8]:[00010a00000100020001020304050607080900000000000020 0a000001]".replace(' ', "").as_str(),
    );
}

#[test]
fn host_bits_of_a_prefix_are_cleared() {
    let mut wire = vec![5, 34];
    wire.extend(RD);
    wire.extend([0; 14]);
    wire.extend([24, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 1]);
    let Some(Nlri::Route(RouteKey::Prefix { prefix, .. }, _)) = NlriIter::withdrawn(&wire).next() else {
        panic!("a prefix")
    };
    assert_eq!(prefix.to_string(), "10.1.2.0/24");
    assert_eq!(prefix, prefix.trunc());
}

#[test]
fn opaque_types_are_whole_or_nothing() {
    for kind in 6..=11 {
        for len in [0, 5, 13] {
            let mut wire = vec![kind, len];
            wire.resize(2 + usize::from(len), 0);
            let got = NlriIter::withdrawn(&wire).next();
            // A leaf route says nothing about itself but that it is there.
            if (kind, len) != (11, 13) {
                assert!(
                    matches!(got, Some(Nlri::Discard(NlriDiscard::Malformed(..)))),
                    "{kind} {len}: {got:?}"
                );
            }
        }
    }
}

#[test]
fn keys_that_differ_hash_differently() {
    // One key for each way to differ; a hash that leaves a field out would make two of them meet.
    let rd = Rd(RD);
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    let v4: IpAddr = "10.0.0.1".parse().unwrap();
    let v6: IpAddr = "fd00::1".parse().unwrap();
    let high: IpAddr = "fd01::1".parse().unwrap();
    let esi = |n: usize| {
        let mut e = [0; 10];
        e[n] = 1;
        Esi(e)
    };
    let mut keys = vec![
        RouteKey::MacIp { rd, tag: 0, mac, ip: None },
        RouteKey::MacIp { rd: Rd([9; 8]), tag: 0, mac, ip: None },
        RouteKey::MacIp { rd, tag: 1, mac, ip: None },
        RouteKey::MacIp { rd, tag: 0, mac: MacAddr([2, 0, 0, 0, 0, 2]), ip: None },
        RouteKey::MacIp { rd, tag: 0, mac, ip: Some("0.0.0.0".parse().unwrap()) },
        RouteKey::MacIp { rd, tag: 0, mac, ip: Some("::".parse().unwrap()) },
        RouteKey::Opaque { kind: 6, key: Box::from([1, 2]) },
        RouteKey::Opaque { kind: 6, key: Box::from([1, 2, 0]) },
        RouteKey::Opaque { kind: 7, key: Box::from([1, 2]) },
    ];
    for ip in [v4, v6, high] {
        keys.push(RouteKey::MacIp { rd, tag: 0, mac, ip: Some(ip) });
        keys.push(RouteKey::Imet { rd, tag: 0, originator: ip });
        keys.push(RouteKey::Imet { rd, tag: 1, originator: ip });
        keys.push(RouteKey::EthernetSegment { rd, esi: esi(0), originator: ip });
        keys.push(RouteKey::EthernetSegment { rd, esi: esi(9), originator: ip });
        for bits in [8, 16] {
            keys.push(RouteKey::Prefix { rd, tag: 0, prefix: IpNet::new(ip, bits).unwrap().trunc() });
        }
    }
    for n in 0..10 {
        keys.push(RouteKey::EthernetAd { rd, esi: esi(n), tag: 0 });
        keys.push(RouteKey::EthernetAd { rd, esi: esi(n), tag: 1 });
    }
    keys.sort();
    keys.dedup();
    let hasher = RandomState::default();
    let hashes: HashSet<_> = keys.iter().map(|k| hasher.hash_one(k)).collect();
    assert_eq!(hashes.len(), keys.len());
}
