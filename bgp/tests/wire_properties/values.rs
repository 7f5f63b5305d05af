//! Generators of everything an UPDATE can carry.

use std::net::{IpAddr, Ipv4Addr};

use bgp::wire::nlri::Tail;
use bgp::wire::{
    AsPath, AsSegment, Attributes, EncodeContext, Esi, ExtCommunity, NlriBody, Origin, Pmsi, PmsiTunnel,
    RawAttr, Rd, RouteKey, encode_attributes, encode_reach, nlri,
};
use bytes::{Bytes, BytesMut};
use ipnet::IpNet;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use types::{MacAddr, Vni};

pub(crate) fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

fn ipv4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

fn vni() -> impl Strategy<Value = Vni> {
    any::<[u8; 3]>().prop_map(Vni::from_be_bytes)
}

fn mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(|[first, rest @ .., last]| {
        let [b, c, d, e] = rest;
        MacAddr([first & 0xfe, b, c, d, e, last.max(1)])
    })
}

fn rd() -> impl Strategy<Value = Rd> {
    any::<[u8; 8]>().prop_map(Rd)
}

fn esi() -> impl Strategy<Value = Esi> {
    prop_oneof![Just(Esi::ZERO), any::<[u8; 10]>().prop_map(Esi)]
}

fn mac_ip() -> impl Strategy<Value = (RouteKey, NlriBody)> {
    (rd(), any::<u32>(), mac(), option::of(ip()), esi(), vni(), option::of(vni())).prop_map(
        |(rd, tag, mac, ip, esi, label, label2)| {
            (RouteKey::MacIp { rd, tag, mac, ip }, NlriBody { esi, label, label2, ..NlriBody::default() })
        },
    )
}

/// Type 5, as RFC 9136 §3.2 allows it without a Router's MAC.
fn prefix() -> impl Strategy<Value = (RouteKey, NlriBody)> {
    (rd(), any::<u32>(), ip(), 0..=128u8, esi(), any::<bool>(), ip(), vni()).prop_map(
        |(rd, tag, ip, bits, esi, via, gateway, label)| {
            let net = IpNet::new(ip, bits.min(if ip.is_ipv4() { 32 } else { 128 })).unwrap().trunc();
            let usable =
                esi.is_zero() && via && gateway.is_ipv4() == ip.is_ipv4() && !gateway.is_unspecified();
            let gateway = usable.then_some(gateway);
            let label = if label == Vni::ZERO { Vni::MAX } else { label };
            (
                RouteKey::Prefix { rd, tag, prefix: net },
                NlriBody { esi, label, gateway, ..NlriBody::default() },
            )
        },
    )
}

/// Types 1-5.
pub(crate) fn typed_route() -> impl Strategy<Value = (RouteKey, NlriBody)> {
    let body = NlriBody::default;
    prop_oneof![
        4 => mac_ip(),
        1 => (rd(), esi(), any::<u32>(), vni()).prop_map(move |(rd, esi, tag, label)| {
            (RouteKey::EthernetAd { rd, esi, tag }, NlriBody { label, ..body() })
        }),
        1 => (rd(), any::<u32>(), ip())
            .prop_map(move |(rd, tag, originator)| (RouteKey::Imet { rd, tag, originator }, body())),
        1 => (rd(), any::<[u8; 9]>(), ip()).prop_map(move |(rd, rest, originator)| {
            let mut esi = [1; 10];
            esi[1..].copy_from_slice(&rest);
            (RouteKey::EthernetSegment { rd, esi: Esi(esi), originator }, body())
        }),
        2 => prefix(),
    ]
}

fn counted_ip(wildcard: bool) -> impl Strategy<Value = Vec<u8>> {
    (prop::bool::weighted(0.3), ip()).prop_map(move |(any, ip)| match ip {
        _ if any && wildcard => vec![0],
        IpAddr::V4(ip) => [&[32][..], &ip.octets()].concat(),
        IpAddr::V6(ip) => [&[128][..], &ip.octets()].concat(),
    })
}

/// Types 6-11.
fn opaque_route() -> impl Strategy<Value = (RouteKey, NlriBody)> {
    let multicast =
        (counted_ip(true), counted_ip(true), counted_ip(false)).prop_map(|(s, g, o)| [s, g, o].concat());
    (6..=11u8, any::<[u8; 22]>(), multicast, vec(any::<u8>(), 6..200), any::<[u8; 6]>()).prop_map(
        |(kind, head, multicast, leaf, mut octets)| {
            let (key, tail) = match kind {
                6 => ([&head[..12], &multicast].concat(), 1),
                7 => ([&head[..], &multicast].concat(), 1),
                8 => ([&head[..], &multicast].concat(), 6),
                9 => (head[..20].to_vec(), 0),
                10 => ([&head[..12], &multicast].concat(), 0),
                _ => (leaf, 0),
            };
            octets[tail..].fill(0);
            let tail = Tail { len: tail as u8, octets };
            (RouteKey::Opaque { kind, key: key.into() }, NlriBody { tail, ..NlriBody::default() })
        },
    )
}

/// Any route.
pub(crate) fn route() -> impl Strategy<Value = (RouteKey, NlriBody)> {
    prop_oneof![5 => typed_route(), 1 => opaque_route()]
}

/// A path in normal form, with or without segments from inside a confederation.
fn as_path(confed: bool) -> impl Strategy<Value = AsPath> {
    let segment = (0..if confed { 4 } else { 2 }, vec(prop_oneof![1..65536u32, 1..=u32::MAX], 1..6))
        .prop_map(|(kind, asns)| match kind {
            0 => AsSegment::Sequence(asns),
            1 => AsSegment::Set(asns),
            2 => AsSegment::ConfedSequence(asns),
            _ => AsSegment::ConfedSet(asns),
        });
    vec(segment, 0..4).prop_map(|mut segments| {
        segments.dedup_by(|b, a| std::mem::discriminant(a) == std::mem::discriminant(b));
        AsPath(segments)
    })
}

fn pmsi() -> impl Strategy<Value = Pmsi> {
    let tunnel = prop_oneof![
        Just(PmsiTunnel::None),
        ip().prop_map(PmsiTunnel::IngressReplication),
        (1..=5u8, vec(any::<u8>(), 0..=24)).prop_map(|(kind, value)| {
            let mut id = [0; 24];
            id[..value.len()].copy_from_slice(&value);
            PmsiTunnel::Other { kind, len: value.len() as u8, id }
        }),
    ];
    (any::<u8>(), vni(), tunnel).prop_map(|(flags, vni, tunnel)| Pmsi { flags, vni, tunnel })
}

/// Attributes nobody knows, by code.
fn opaque() -> impl Strategy<Value = Vec<RawAttr>> {
    let code = prop_oneof![11..=13u8, 19..=21u8, 24..=31u8, 33..=255u8];
    btree_map(code, vec(any::<u8>(), 0..300), 0..3).prop_map(|all| {
        all.into_iter().map(|(code, value)| RawAttr { code, flags: 0xe0, value: value.into() }).collect()
    })
}

fn ext_community() -> impl Strategy<Value = ExtCommunity> {
    // ARP/ND appears once at most; the table of RFC 7606 has the test where it does not.
    any::<[u8; 8]>().prop_map(ExtCommunity).prop_filter("not ARP/ND", |c| c.as_arp_nd().is_none())
}

/// Attributes as an internal peer sends them.
pub(crate) fn attributes(confed: bool) -> impl Strategy<Value = Attributes> {
    (
        (
            prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)],
            as_path(confed),
            ip(),
            option::of(any::<u32>()),
            any::<u32>(),
            any::<bool>(),
            option::of((65536..=u32::MAX, ipv4())),
        ),
        (
            option::of(ipv4()),
            vec(ipv4(), 0..4),
            vec(any::<u32>(), 0..4),
            vec(ext_community(), 0..40),
            proptest::collection::btree_set(any::<[u32; 3]>(), 0..3),
            option::of(pmsi()),
            opaque(),
        ),
    )
        .prop_map(
            |((origin, as_path, next_hop, med, local_pref, atomic_aggregate, aggregator), more)| {
                let (originator_id, cluster_list, communities, ext_communities, large, pmsi, opaque) = more;
                Attributes {
                    origin,
                    as_path,
                    next_hop,
                    med,
                    local_pref: Some(local_pref),
                    atomic_aggregate,
                    aggregator,
                    originator_id,
                    cluster_list,
                    communities,
                    ext_communities,
                    large_communities: large.into_iter().collect(),
                    pmsi,
                    opaque,
                    partial: 0,
                }
            },
        )
}

/// The body of the UPDATE that announces `routes`.
pub(crate) fn update(attributes: &Attributes, routes: &[(RouteKey, NlriBody)], ctx: EncodeContext) -> Bytes {
    let (mut wire, mut run) = (Vec::new(), Vec::new());
    encode_attributes(attributes, &ctx, &mut wire);
    for (key, body) in routes {
        nlri::encode(key, body, &mut run);
    }
    let mut out = BytesMut::new();
    encode_reach(&wire, attributes.next_hop, &run, &mut out).unwrap();
    out.freeze().slice(19..)
}
