//! OPEN as the daemons send it, and every way to get it wrong.

use super::*;
use crate::wire::capability::{AddPath, ExtendedNextHop, Fqdn, GracefulRestart, LongLived};
use crate::wire::{AFI_L2VPN, SAFI_EVPN};

/// Version 4, AS 65001, 90 s, 10.0.0.1, then `parameters` with their length in one octet.
fn body(parameters: &[u8]) -> Bytes {
    [&[4, 0xfd, 0xe9, 0, 90, 10, 0, 0, 1, parameters.len() as u8][..], parameters].concat().into()
}

fn capability(code: u8, value: &[u8]) -> Vec<u8> {
    [&[2, value.len() as u8 + 2, code, value.len() as u8][..], value].concat()
}

fn decode(body: &Bytes) -> Capabilities {
    Open::decode(body).unwrap().capabilities
}

fn round(open: &Open) -> (Open, usize) {
    let mut out = BytesMut::new();
    open.encode(&mut out);
    let len = out.len();
    assert_eq!(usize::from(u16::from_be_bytes([out[16], out[17]])), len);
    (Open::decode(&out.freeze().slice(19..)).unwrap(), len)
}

fn everything() -> Capabilities {
    Capabilities {
        multiprotocol: vec![(AFI_L2VPN, SAFI_EVPN), (1, 1)],
        route_refresh: true,
        route_refresh_cisco: true,
        extended_next_hop: vec![ExtendedNextHop { afi: 25, safi: 70, next_hop_afi: 2 }],
        extended_message: true,
        graceful_restart: Some(GracefulRestart {
            restarting: true,
            notification: true,
            time: 120,
            families: vec![(25, 70, true), (1, 1, false)],
        }),
        as4: Some(4_200_000_000),
        add_path: vec![AddPath { afi: 25, safi: 70, mode: 1 }],
        enhanced_refresh: true,
        long_lived: vec![LongLived { afi: 25, safi: 70, forwarding: true, stale_time: 0x01_0203 }],
        fqdn: Some(Fqdn { host: Bytes::from_static(b"leaf1"), domain: Bytes::from_static(b"example") }),
        unknown: vec![(77, Bytes::from_static(&[1, 2, 3])), (78, Bytes::new())],
    }
}

#[test]
fn every_capability_both_ways() {
    let open = Open {
        asn: 4_200_000_000,
        hold_time: 90,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        capabilities: everything(),
    };
    assert_eq!(round(&open).0, open);
    assert!(open.capabilities.evpn());
    let mut out = BytesMut::new();
    open.encode(&mut out);
    assert_eq!(out[20..22], 23456_u16.to_be_bytes(), "AS_TRANS where four octets do not fit");
    let plain = Open { asn: 65001, capabilities: Capabilities::default(), ..open };
    assert_eq!(round(&plain), (plain.clone(), 29));
}

#[test]
fn as_frr_and_gobgp_send_it() {
    // FRR: a parameter a capability.
    let frr: Vec<u8> = [
        (1, &[0, 25, 0, 70][..]),
        (128, &[]),
        (2, &[]),
        (70, &[]),
        (65, &[0, 0, 0xfd, 0xe9]),
        (6, &[]),
        (69, &[0, 25, 70, 1]),
        (73, &[3, b't', b'o', b'r', 0]),
        (64, &[0xc0, 0x78]),
        (71, &[0, 25, 70, 0x80, 0, 0, 0]),
    ]
    .iter()
    .flat_map(|(code, value)| capability(*code, value))
    .collect();
    let c = decode(&body(&frr));
    assert!(c.evpn() && c.route_refresh && c.route_refresh_cisco && c.enhanced_refresh && c.extended_message);
    assert_eq!((c.as4, c.add_path.len(), c.long_lived.len(), c.unknown.len()), (Some(65001), 1, 1, 0));
    let gr = c.graceful_restart.unwrap();
    assert_eq!((gr.restarting, gr.notification, gr.time, gr.families.len()), (true, true, 120, 0));
    assert_eq!(c.fqdn.unwrap().host, "tor");

    // GoBGP: all in one parameter.
    let all = [2, 0, 1, 4, 0, 25, 0, 70, 65, 4, 0, 0, 0xfd, 0xe9, 5, 6, 0, 25, 0, 70, 0, 2];
    let c = decode(&body(&[&[2, all.len() as u8][..], &all].concat()));
    assert!(c.evpn() && c.route_refresh);
    assert_eq!(c.extended_next_hop, [ExtendedNextHop { afi: 25, safi: 70, next_hop_afi: 2 }]);
}

#[test]
fn the_four_octet_as_counts() {
    let with = |my_as: u16, as4: Option<u32>| {
        let parameters = as4.map(|asn| capability(65, &asn.to_be_bytes())).unwrap_or_default();
        let mut b = body(&parameters).to_vec();
        b[1..3].copy_from_slice(&my_as.to_be_bytes());
        Open::decode(&b.into()).map(|o| o.asn)
    };
    assert_eq!(with(23456, Some(4_200_000_000)), Ok(4_200_000_000));
    assert_eq!(with(65001, Some(65001)), Ok(65001));
    assert_eq!(with(65001, None), Ok(65001));
    assert_eq!(with(64512, Some(70_000)), Ok(70_000), "the two need not match");
    for (my_as, as4) in [(0, None), (0, Some(65001)), (23456, Some(0))] {
        assert_eq!(with(my_as, as4), Err(Notification::bad_peer_as(0)), "RFC 7607");
    }
}

#[test]
fn extended_parameters() {
    // RFC 9072: type 255, a length of two octets, and each parameter's length in two octets.
    let list = [1, 4, 0, 25, 0, 70];
    let extended = |first: u8, len: u16| {
        let mut b = body(&[]).to_vec();
        b[9] = first;
        b.push(255);
        b.extend(len.to_be_bytes());
        b.extend([2, 0, 6]);
        b.extend(list);
        Bytes::from(b)
    };
    assert!(decode(&extended(255, 9)).evpn());
    assert!(decode(&extended(3, 9)).evpn(), "the octet before means nothing then");
    for bad in [extended(255, 8), extended(255, 10), extended(0, 9)] {
        assert_eq!(Open::decode(&bad), Err(Notification::malformed_open()));
    }
    // Too few octets for the extended length itself.
    for cut in 0..3 {
        let whole = extended(255, 9);
        assert_eq!(Open::decode(&whole.slice(..11 + cut)), Err(Notification::malformed_open()));
    }
    // Sent only where it is needed.
    let many = |n: u16| Open {
        asn: 65001,
        hold_time: 90,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        capabilities: Capabilities {
            multiprotocol: (0..n).map(|i| (i, 1)).collect(),
            ..Capabilities::default()
        },
    };
    assert_eq!(round(&many(42)), (many(42), 29 + 2 + 42 * 6));
    assert_eq!(round(&many(43)), (many(43), 29 + 6 + 43 * 6));
    // And never past what an OPEN may be.
    let (open, len) = round(&many(1000));
    assert!(len <= crate::wire::MAX_MESSAGE && open.capabilities.multiprotocol.len() > 600, "{len}");
    // But up to there: 4061 octets of capabilities make 4096.
    let mut full = many(0);
    full.capabilities.unknown = vec![(99, vec![1; 253].into()); 15];
    full.capabilities.unknown.push((99, vec![1; 234].into()));
    assert_eq!(round(&full), (full, crate::wire::MAX_MESSAGE));
}

#[test]
fn a_capability_of_the_wrong_length_is_left_out() {
    // CVE-2022-40302, -40318, -43681 and their kin.
    let empty = Capabilities::default();
    for (code, lengths) in [
        (1, &[0, 3, 5][..]),
        (2, &[1]),
        (5, &[5, 7]),
        (6, &[1]),
        (64, &[0, 1, 3, 7]),
        (65, &[0, 2, 3, 5]),
        (69, &[1, 3, 5]),
        (70, &[2]),
        (71, &[1, 6, 8]),
        (73, &[0, 1]),
        (128, &[4]),
    ] {
        for &len in lengths {
            let c = decode(&body(&capability(code, &vec![1; len])));
            assert_eq!(c, empty, "capability {code} of {len} octets");
            // What stands beside it is read.
            let beside = [capability(code, &vec![1; len]), capability(1, &[0, 25, 0, 70])].concat();
            assert!(decode(&body(&beside)).evpn());
        }
    }
    // Names that run past the end, or stop short of it.
    for value in [&[9, b'x'][..], &[1, b'x', 9], &[1, b'x', 0, 7]] {
        assert_eq!(decode(&body(&capability(73, value))), empty);
    }
    // RFC 7911 §4: an entry with another mode is no entry.
    assert_eq!(decode(&body(&capability(69, &[0, 25, 70, 0, 0, 25, 70, 4]))), empty);
}

#[test]
fn errors_of_rfc_4271_6_2() {
    let changed = |at: usize, bytes: &[u8]| {
        let mut b = body(&[]).to_vec();
        b[at..at + bytes.len()].copy_from_slice(bytes);
        Open::decode(&b.into()).unwrap_err()
    };
    let n = changed(0, &[5]);
    assert_eq!((n.code, n.subcode, &n.data[..]), (2, 1, &[0, 4][..]));
    assert_eq!(changed(0, &[3]), Notification::unsupported_version());
    assert_eq!(changed(1, &[0, 0]), Notification::bad_peer_as(0));
    assert_eq!(changed(3, &[0, 1]), Notification::unacceptable_hold_time());
    assert_eq!(changed(3, &[0, 2]), Notification::unacceptable_hold_time());
    assert_eq!(changed(5, &[0; 4]), Notification::bad_identifier());
    assert_eq!(changed(9, &[1]), Notification::malformed_open(), "parameters past the end");
    for hold in [0_u16, 3] {
        let mut b = body(&[]).to_vec();
        b[3..5].copy_from_slice(&hold.to_be_bytes());
        assert_eq!(Open::decode(&b.into()).unwrap().hold_time, hold);
    }
    for parameters in [&[1, 0][..], &[3, 1, 0], &[254, 0]] {
        assert_eq!(Open::decode(&body(parameters)), Err(Notification::unsupported_parameter()));
    }
    for parameters in [&[2][..], &[2, 1], &[2, 9, 1, 4], &[2, 1, 1], &[2, 2, 1, 4], &[2, 3, 1, 2, 0]] {
        assert_eq!(Open::decode(&body(parameters)), Err(Notification::malformed_open()), "{parameters:?}");
    }
    assert_eq!(Notification::evpn_required().data[..], [1, 4, 0, 25, 0, 70]);
    let whole = body(&capability(1, &[0, 25, 0, 70]));
    for end in 0..whole.len() {
        assert!(Open::decode(&whole.slice(..end)).is_err(), "{end}");
    }
}
