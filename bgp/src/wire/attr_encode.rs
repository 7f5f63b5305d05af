//! Path attributes onto the wire, all but MP_REACH_NLRI and MP_UNREACH_NLRI, which [`super::update`] puts in front.

use std::net::IpAddr;

use bytes::BufMut;

use super::as_path::{AsPath, AsSegment, as_trans};
use super::attr::{Attributes, Origin, Pmsi, PmsiTunnel, code, flag};

/// LOCAL_PREF where a route has none; an internal peer must be sent one (RFC 4271 §5.1.5).
const DEFAULT_LOCAL_PREF: u32 = 100;

/// To whom the attributes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EncodeContext {
    /// An external peer: LOCAL_PREF, ORIGINATOR_ID, CLUSTER_LIST and extended communities that are not transitive
    /// stay inside the AS.
    pub ebgp: bool,
    /// The peer knows four-octet ASes.
    pub as4: bool,
}

/// Appends all attributes but the MP ones, in the order of their type codes.
///
/// A value may pass the 65535 octets of its length field: an AS path of two-octet ASes grows to twice its size. What is
/// written then is longer than any message, so there is no room for routes beside it and it is never sent.
pub fn encode_attributes(attributes: &Attributes, ctx: &EncodeContext, out: &mut Vec<u8>) {
    const WELL_KNOWN: u8 = flag::TRANSITIVE;
    const OPTIONAL: u8 = flag::OPTIONAL;
    const TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;
    let a = attributes;
    let transitive = |code: u8| TRANSITIVE | if a.partial >> code & 1 == 1 { flag::PARTIAL } else { 0 };

    let origin = match a.origin {
        Origin::Igp => 0,
        Origin::Egp => 1,
        Origin::Incomplete => 2,
    };
    put(out, WELL_KNOWN, code::ORIGIN, 1, |out| out.push(origin));
    put_as_path(out, WELL_KNOWN, code::AS_PATH, &a.as_path, ctx.as4);
    if let Some(med) = a.med {
        put(out, OPTIONAL, code::MED, 4, |out| out.put_u32(med));
    }
    if !ctx.ebgp {
        let local_pref = a.local_pref.unwrap_or(DEFAULT_LOCAL_PREF);
        put(out, WELL_KNOWN, code::LOCAL_PREF, 4, |out| out.put_u32(local_pref));
    }
    if a.atomic_aggregate {
        put(out, WELL_KNOWN, code::ATOMIC_AGGREGATE, 0, |_| {});
    }
    if let Some((asn, id)) = a.aggregator {
        put(out, transitive(code::AGGREGATOR), code::AGGREGATOR, if ctx.as4 { 8 } else { 6 }, |out| {
            if ctx.as4 {
                out.put_u32(asn);
            } else {
                out.put_u16(as_trans(asn));
            }
            out.put_slice(&id.octets());
        });
    }
    if !a.communities.is_empty() {
        put(out, transitive(code::COMMUNITIES), code::COMMUNITIES, a.communities.len() * 4, |out| {
            a.communities.iter().for_each(|&c| out.put_u32(c));
        });
    }
    if !ctx.ebgp {
        if let Some(id) = a.originator_id {
            put(out, OPTIONAL, code::ORIGINATOR_ID, 4, |out| out.put_slice(&id.octets()));
        }
        if !a.cluster_list.is_empty() {
            put(out, OPTIONAL, code::CLUSTER_LIST, a.cluster_list.len() * 4, |out| {
                a.cluster_list.iter().for_each(|c| out.put_slice(&c.octets()));
            });
        }
    }
    let sent = || a.ext_communities.iter().filter(|c| !ctx.ebgp || c.is_transitive());
    let ext = sent().count();
    if ext > 0 {
        put(out, transitive(code::EXT_COMMUNITIES), code::EXT_COMMUNITIES, ext * 8, |out| {
            sent().for_each(|c| out.put_slice(&c.0));
        });
    }
    if !ctx.as4 {
        if a.as_path.needs_as4() {
            let mut path = a.as_path.clone();
            path.0.retain(|s| !s.is_confed());
            put_as_path(out, TRANSITIVE, code::AS4_PATH, &path, true);
        }
        if let Some((asn, id)) = a.aggregator.filter(|&(asn, _)| asn > u32::from(u16::MAX)) {
            put(out, TRANSITIVE, code::AS4_AGGREGATOR, 8, |out| {
                out.put_u32(asn);
                out.put_slice(&id.octets());
            });
        }
    }
    if let Some(pmsi) = &a.pmsi {
        put_pmsi(out, transitive(code::PMSI_TUNNEL), pmsi);
    }
    let (before, after) = a.opaque.split_at(a.opaque.partition_point(|o| o.code < code::LARGE_COMMUNITIES));
    for o in before {
        put(out, o.flags, o.code, o.value.len(), |out| out.put_slice(&o.value));
    }
    if !a.large_communities.is_empty() {
        put(
            out,
            transitive(code::LARGE_COMMUNITIES),
            code::LARGE_COMMUNITIES,
            a.large_communities.len() * 12,
            |out| {
                a.large_communities.iter().flatten().for_each(|&n| out.put_u32(n));
            },
        );
    }
    for o in after {
        put(out, o.flags, o.code, o.value.len(), |out| out.put_slice(&o.value));
    }
}

/// One attribute of `len` octets, which `value` writes.
fn put(out: &mut Vec<u8>, flags: u8, code: u8, len: usize, value: impl FnOnce(&mut Vec<u8>)) {
    match u16::try_from(len) {
        Ok(len @ ..=255) => out.put_slice(&[flags & !flag::EXTENDED, code, len as u8]),
        Ok(len) => {
            out.put_slice(&[flags | flag::EXTENDED, code]);
            out.put_u16(len);
        }
        // Not left out: what lacks an attribute would be sent, and be malformed or mean something else.
        Err(_) => {
            out.put_slice(&[flags | flag::EXTENDED, code]);
            out.put_u16(u16::MAX);
        }
    }
    let start = out.len();
    value(out);
    debug_assert_eq!(out.len() - start, len, "attribute {code}");
}

/// A segment on the wire holds at most 255 ASes: longer sequences become several segments. (A set never is longer:
/// it came from one segment.)
fn put_as_path(out: &mut Vec<u8>, flags: u8, code: u8, path: &AsPath, as4: bool) {
    let width = if as4 { 4 } else { 2 };
    let pieces = || path.0.iter().flat_map(|s| s.asns().chunks(255).map(move |asns| (s, asns)));
    let len = pieces().map(|(_, asns)| 2 + asns.len() * width).sum();
    put(out, flags, code, len, |out| {
        for (segment, asns) in pieces() {
            out.put_slice(&[AsSegment::wire_type(segment), asns.len() as u8]);
            for &asn in asns {
                if as4 {
                    out.put_u32(asn);
                } else {
                    out.put_u16(as_trans(asn));
                }
            }
        }
    });
}

fn put_pmsi(out: &mut Vec<u8>, flags: u8, pmsi: &Pmsi) {
    let (v4, v6);
    let (kind, id): (u8, &[u8]) = match &pmsi.tunnel {
        PmsiTunnel::None => (0, &[]),
        PmsiTunnel::IngressReplication(IpAddr::V4(ip)) => {
            v4 = ip.octets();
            (6, &v4)
        }
        PmsiTunnel::IngressReplication(IpAddr::V6(ip)) => {
            v6 = ip.octets();
            (6, &v6)
        }
        PmsiTunnel::Other { kind, len, id } => (*kind, &id[..usize::from(*len).min(id.len())]),
    };
    put(out, flags, code::PMSI_TUNNEL, 5 + id.len(), |out| {
        out.put_slice(&[pmsi.flags, kind]);
        out.put_slice(&pmsi.vni.to_be_bytes());
        out.put_slice(id);
    });
}
