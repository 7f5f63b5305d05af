//! Routes onto the wire.

use std::net::IpAddr;

use bytes::BufMut;
use ipnet::IpNet;

use super::decode::tail_len;
use super::{NlriBody, RouteKey};
use crate::wire::rd::{Esi, Rd};

/// An array being filled from the front. Big enough for every NLRI of types 1-5 (type 5 with IPv6: 60 octets).
struct Filling {
    octets: [u8; 64],
    len: usize,
}

impl Filling {
    #[inline]
    fn new(kind: u8, rd: Rd) -> Self {
        let mut filling = Self { octets: [0; 64], len: 2 };
        filling.octets[0] = kind;
        filling.put(rd.0);
        filling
    }

    #[inline]
    fn put<const N: usize>(&mut self, piece: [u8; N]) {
        self.octets[self.len..self.len + N].copy_from_slice(&piece);
        self.len += N;
    }

    /// Length in bits, then the address.
    #[inline]
    fn put_ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => {
                self.put([32]);
                self.put(ip.octets());
            }
            IpAddr::V6(ip) => {
                self.put([128]);
                self.put(ip.octets());
            }
        }
    }

    #[inline]
    fn finish(&mut self, out: &mut impl BufMut) {
        self.octets[1] = (self.len - 2) as u8;
        out.put_slice(&self.octets[..self.len]);
    }
}

/// Writes one NLRI: type, length, body.
///
/// A withdraw needs the key only: pass `NlriBody::default()`. A gateway of another family than the prefix has no place
/// on the wire and is written as none.
#[inline]
pub fn encode(key: &RouteKey, body: &NlriBody, out: &mut impl BufMut) {
    match key {
        // Straight into the buffer, piece by piece: the one that goes out by the million, and the copy of a whole
        // NLRI would wait for each of its pieces to be written.
        RouteKey::MacIp { rd, tag, mac, ip } => {
            out.put_slice(&[2, (encoded_len(key, body) - 2) as u8]);
            out.put_slice(&rd.0);
            out.put_slice(&body.esi.0);
            out.put_slice(&tag.to_be_bytes());
            out.put_slice(&[48]);
            out.put_slice(&mac.0);
            match ip {
                None => out.put_slice(&[0]),
                Some(IpAddr::V4(ip)) => {
                    out.put_slice(&[32]);
                    out.put_slice(&ip.octets());
                }
                Some(IpAddr::V6(ip)) => {
                    out.put_slice(&[128]);
                    out.put_slice(&ip.octets());
                }
            }
            out.put_slice(&body.label.to_be_bytes());
            if let Some(label2) = body.label2 {
                out.put_slice(&label2.to_be_bytes());
            }
        }
        RouteKey::EthernetAd { rd, esi, tag } => {
            let mut f = Filling::new(1, *rd);
            f.put(esi.0);
            f.put(tag.to_be_bytes());
            f.put(body.label.to_be_bytes());
            f.finish(out);
        }
        RouteKey::Imet { rd, tag, originator } => {
            let mut f = Filling::new(3, *rd);
            f.put(tag.to_be_bytes());
            f.put_ip(*originator);
            f.finish(out);
        }
        RouteKey::EthernetSegment { rd, esi, originator } => {
            let mut f = Filling::new(4, *rd);
            f.put(esi.0);
            f.put_ip(*originator);
            f.finish(out);
        }
        RouteKey::Prefix { rd, tag, prefix } => encode_prefix(*rd, *tag, prefix, body, out),
        RouteKey::Opaque { kind, key } => {
            let tail = &body.tail.octets[..tail_len(*kind)];
            out.put_slice(&[*kind, (key.len() + tail.len()) as u8]);
            out.put_slice(key);
            out.put_slice(tail);
        }
    }
}

fn encode_prefix(rd: Rd, tag: u32, prefix: &IpNet, body: &NlriBody, out: &mut impl BufMut) {
    let mut f = Filling::new(5, rd);
    let Esi(esi) = body.esi;
    f.put(esi);
    f.put(tag.to_be_bytes());
    f.put([prefix.prefix_len()]);
    match prefix {
        IpNet::V4(net) => {
            f.put(net.network().octets());
            f.put(if let Some(IpAddr::V4(gateway)) = body.gateway { gateway.octets() } else { [0; 4] });
        }
        IpNet::V6(net) => {
            f.put(net.network().octets());
            f.put(if let Some(IpAddr::V6(gateway)) = body.gateway { gateway.octets() } else { [0; 16] });
        }
    }
    f.put(body.label.to_be_bytes());
    f.finish(out);
}

/// How many octets [`encode`] writes.
#[inline]
pub fn encoded_len(key: &RouteKey, body: &NlriBody) -> usize {
    let ip_len = |ip: &IpAddr| if ip.is_ipv4() { 4 } else { 16 };
    match key {
        RouteKey::MacIp { ip, .. } => {
            35 + ip.as_ref().map_or(0, ip_len) + if body.label2.is_some() { 3 } else { 0 }
        }
        RouteKey::EthernetAd { .. } => 27,
        RouteKey::Imet { originator, .. } => 15 + ip_len(originator),
        RouteKey::EthernetSegment { originator, .. } => 21 + ip_len(originator),
        RouteKey::Prefix { prefix: IpNet::V4(_), .. } => 36,
        RouteKey::Prefix { prefix: IpNet::V6(_), .. } => 60,
        RouteKey::Opaque { kind, key } => 2 + key.len() + tail_len(*kind),
    }
}
