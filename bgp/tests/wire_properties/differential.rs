//! The same UPDATEs read by another implementation, rustbgpd-wire.
//!
//! Where both should agree they must: every field of every route and attribute, and what class of fault a changed
//! octet in an attribute is. Left out on purpose: types 6-11 (opaque here), AS_SET (refused there as RFC 9774 wants,
//! accepted here as RFC 4271 has it), confederation segments (not read there),
//! PMSI tunnels other than none and ingress replication (looked into there, carried here), tunnel encapsulation.

use std::net::IpAddr;

use bgp::wire::{
    AsSegment, Attributes, DecodeContext, Disposition, EncodeContext, Nlri, NlriBody, Origin, PmsiTunnel,
    Problem, RouteKey, decode_update,
};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use rustbgpd_wire as other;

use crate::values::{attributes, typed_route, update};

fn agreed_attributes() -> impl Strategy<Value = Attributes> {
    attributes(false).prop_map(|mut a| {
        if a.pmsi.is_some_and(|p| matches!(p.tunnel, PmsiTunnel::Other { .. })) {
            a.pmsi = None;
        }
        // Communities with a meaning of their own there are left to the other tests.
        a.ext_communities.retain(|c| c.as_router_mac().is_none());
        a.as_path.0.retain(|s| matches!(s, AsSegment::Sequence(_)));
        a.as_path.0.truncate(1);
        a.opaque.clear();
        a
    })
}

fn parse(body: &Bytes) -> Result<other::RevisedParsedUpdate, other::DecodeError> {
    other::UpdateMessage::decode(&mut body.clone(), body.len())?.parse_revised(true, true, false, &[])
}

/// The route as rustbgpd-wire has it, in our words.
fn translate(route: &other::evpn::EvpnRoute) -> (RouteKey, NlriBody) {
    use bgp::wire::{Esi, Rd};
    use other::evpn::{EvpnIpPrefixValue, EvpnRoute};
    use types::{MacAddr, Vni};
    let vni = |l: other::evpn::MplsLabel| Vni::new(l.as_vni()).unwrap();
    let body = NlriBody::default();
    match route {
        EvpnRoute::EadPerEs(r) => {
            let key = RouteKey::EthernetAd { rd: Rd(r.rd.0), esi: Esi(r.esi.0), tag: r.ethernet_tag.0 };
            (key, NlriBody { label: vni(r.label), ..body })
        }
        EvpnRoute::EadPerEvi(r) => {
            let key = RouteKey::EthernetAd { rd: Rd(r.rd.0), esi: Esi(r.esi.0), tag: r.ethernet_tag.0 };
            (key, NlriBody { label: vni(r.label), ..body })
        }
        EvpnRoute::MacIp(r) => {
            let key =
                RouteKey::MacIp { rd: Rd(r.rd.0), tag: r.ethernet_tag.0, mac: MacAddr(r.mac.0), ip: r.ip };
            (key, NlriBody { esi: Esi(r.esi.0), label: vni(r.label1), label2: r.label2.map(vni), ..body })
        }
        EvpnRoute::Imet(r) => {
            (RouteKey::Imet { rd: Rd(r.rd.0), tag: r.ethernet_tag.0, originator: r.originator_ip }, body)
        }
        EvpnRoute::Es(r) => {
            let key =
                RouteKey::EthernetSegment { rd: Rd(r.rd.0), esi: Esi(r.esi.0), originator: r.originator_ip };
            (key, body)
        }
        EvpnRoute::IpPrefix(r) => {
            let (ip, len) = match r.prefix {
                EvpnIpPrefixValue::V4(p) => (IpAddr::from(p.addr), p.len),
                EvpnIpPrefixValue::V6(p) => (IpAddr::from(p.addr), p.len),
            };
            let prefix = ipnet::IpNet::new(ip, len).unwrap();
            let gateway = Some(r.gateway).filter(|g| !g.is_unspecified());
            let key = RouteKey::Prefix { rd: Rd(r.rd.0), tag: r.ethernet_tag.0, prefix };
            (key, NlriBody { esi: Esi(r.esi.0), label: vni(r.label), gateway, ..body })
        }
        other => panic!("{other:?}"),
    }
}

/// Writes what rustbgpd-wire found over what we found: nothing may change.
fn overwrite(ours: &mut Attributes, theirs: &[other::PathAttribute]) -> Vec<(RouteKey, NlriBody)> {
    use other::PathAttribute as A;
    let mut routes = Vec::new();
    for attribute in theirs {
        match attribute {
            A::Origin(o) => {
                ours.origin = match o {
                    other::Origin::Igp => Origin::Igp,
                    other::Origin::Egp => Origin::Egp,
                    other::Origin::Incomplete => Origin::Incomplete,
                }
            }
            A::AsPath(p) => {
                ours.as_path.0 = p
                    .segments
                    .iter()
                    .map(|s| match s {
                        other::AsPathSegment::AsSet(a) => AsSegment::Set(a.clone()),
                        other::AsPathSegment::AsSequence(a) => AsSegment::Sequence(a.clone()),
                    })
                    .collect();
            }
            A::Med(v) => ours.med = Some(*v),
            A::LocalPref(v) => ours.local_pref = Some(*v),
            A::AtomicAggregate => ours.atomic_aggregate = true,
            A::Aggregator(a) => ours.aggregator = Some((a.asn, a.router_id)),
            A::Communities(c) => ours.communities.clone_from(c),
            A::ExtendedCommunities(c) => {
                ours.ext_communities =
                    c.iter().map(|c| bgp::wire::ExtCommunity(c.as_u64().to_be_bytes())).collect();
            }
            A::LargeCommunities(c) => {
                ours.large_communities =
                    c.iter().map(|c| [c.global_admin, c.local_data1, c.local_data2]).collect();
            }
            A::OriginatorId(id) => ours.originator_id = Some(*id),
            A::ClusterList(ids) => ours.cluster_list.clone_from(ids),
            A::PmsiTunnel(p) => {
                let pmsi = ours.pmsi.as_mut().expect("we saw one too");
                pmsi.flags = p.flags;
                pmsi.vni = types::Vni::new(p.mpls_label).unwrap();
                pmsi.tunnel = match p.tunnel_identifier {
                    other::PmsiTunnelIdentifier::Empty => PmsiTunnel::None,
                    other::PmsiTunnelIdentifier::Ipv4(ip) => PmsiTunnel::IngressReplication(ip.into()),
                    other::PmsiTunnelIdentifier::Ipv6(ip) => PmsiTunnel::IngressReplication(ip.into()),
                    ref id => panic!("{id:?}"),
                };
            }
            A::MpReachNlri(mp) => {
                ours.next_hop = mp.next_hop;
                routes = mp.evpn_announced.iter().map(translate).collect();
            }
            attribute => panic!("{attribute:?}"),
        }
    }
    routes
}

/// Something both read well and judge differently, see above.
fn differs_on_purpose(a: &Attributes) -> bool {
    let sequences = a.as_path.0.iter().all(|s| matches!(s, AsSegment::Sequence(_)));
    !sequences || !a.opaque.is_empty() || a.pmsi.is_some_and(|p| matches!(p.tunnel, PmsiTunnel::Other { .. }))
}

/// The type codes of attributes, as far as they can be walked.
fn codes(mut attributes: &[u8]) -> Vec<u8> {
    let mut codes = Vec::new();
    while let [flags, code, rest @ ..] = attributes {
        codes.push(*code);
        let (len, rest) = match rest {
            [a, b, rest @ ..] if flags & 0x10 != 0 => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            [a, rest @ ..] => (usize::from(*a), rest),
            [] => break,
        };
        attributes = rest.get(len..).unwrap_or_default();
    }
    codes
}

/// What becomes of an UPDATE, as far as two readers of RFC 7606 must agree.
#[derive(Debug, PartialEq, Eq)]
enum Class {
    Fine,
    Withdraw,
    Reset,
}

proptest! {
    #[test]
    fn a_good_update_says_the_same_to_both(attributes in agreed_attributes(), routes in vec(typed_route(), 1..20)) {
        let body = update(&attributes, &routes, EncodeContext { ebgp: false, as4: true });
        let theirs = parse(&body).unwrap();
        prop_assert!(theirs.malformed.is_empty(), "{:?}", theirs.malformed);
        let ours = decode_update(&body, &DecodeContext { ebgp: false, as4: true, strict: false }).unwrap();
        let read: Vec<_> = ours.routes().collect();
        let mut both = *ours.attributes.unwrap();
        let before = both.clone();
        let their_routes = overwrite(&mut both, &theirs.update.attributes);
        prop_assert_eq!(both, before);
        prop_assert_eq!(read, their_routes.into_iter().map(|(k, b)| Nlri::Route(k, b)).collect::<Vec<_>>());
    }

    #[test]
    fn a_changed_octet_is_the_same_fault_to_both(
        attributes in agreed_attributes(),
        route in typed_route(),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let ctx = EncodeContext { ebgp: false, as4: true };
        let mut body = update(&attributes, std::slice::from_ref(&route), ctx).to_vec();
        // Only behind MP_REACH_NLRI: what a fault in there means is decided differently on purpose.
        let after = 4 + 4 + usize::from(u16::from_be_bytes([body[6], body[7]]));
        let at = after + at.index(body.len() - after);
        // The partial bit of a non-transitive attribute is refused there; RFC 7606 §3 c counts two bits only.
        if (body[at] ^ value) & 0xd0 == 0 && value & 0x20 != 0 {
            return Ok(());
        }
        body[at] = value;
        // Some codes are known there and not here.
        if codes(&body[4..]).iter().any(|c| !matches!(c, 1..=10 | 14..=18 | 22 | 32)) {
            return Ok(());
        }
        let body = Bytes::from(body);
        let ours = match decode_update(&body, &DecodeContext { ebgp: false, as4: true, strict: false }) {
            Err(_) => Class::Reset,
            // Of families nobody negotiated nothing is read here; there they end the session.
            Ok(u) if u.foreign_families > 0 => return Ok(()),
            Ok(u) if u.attributes.as_ref().is_some_and(|a| differs_on_purpose(a)) => return Ok(()),
            Ok(u) if u.disposition == Disposition::Accept => Class::Fine,
            // Looked for in another call there.
            Ok(u) if matches!(u.disposition, Disposition::TreatAsWithdraw(r) if r.problem == Problem::Missing) => return Ok(()),
            Ok(_) => Class::Withdraw,
        };
        let theirs = match parse(&body) {
            Err(_) => Class::Reset,
            Ok(u) if u.malformed.iter().any(|m| format!("{:?}", m.disposition) == "SessionReset") => Class::Reset,
            Ok(u) if u.malformed.iter().any(|m| format!("{:?}", m.disposition) == "TreatAsWithdraw") => Class::Withdraw,
            Ok(_) => Class::Fine,
        };
        prop_assert_eq!(ours, theirs, "octet {} = {:#04x} of {:02x?}", at, value, body);
    }
}
