//! ROUTE-REFRESH: RFC 2918, and the beginning and end of a refresh marked as RFC 7313 does.

use bytes::{BufMut, Bytes, BytesMut};

use super::message::{MessageType, put_header};
use super::notification::Notification;
use super::{AFI_L2VPN, SAFI_EVPN};

/// What a ROUTE-REFRESH says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefreshKind {
    /// 0: send everything again.
    Request,
    /// 1: BoRR, everything follows again.
    Begin,
    /// 2: EoRR, that was everything; what was not repeated is gone.
    End,
    /// To be ignored (RFC 7313 §5).
    Other(u8),
}

/// A ROUTE-REFRESH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteRefresh {
    /// Address family.
    pub afi: u16,
    /// Subsequent address family.
    pub safi: u8,
    /// What it says.
    pub kind: RefreshKind,
}

impl RouteRefresh {
    /// For EVPN.
    pub const fn evpn(kind: RefreshKind) -> Self {
        Self { afi: AFI_L2VPN, safi: SAFI_EVPN, kind }
    }

    /// For EVPN.
    pub const fn is_evpn(&self) -> bool {
        self.afi == AFI_L2VPN && self.safi == SAFI_EVPN
    }

    /// From the body of a message. Outbound route filters (RFC 5291) after a request are not negotiated and not read.
    pub fn decode(body: &Bytes) -> Result<Self, Notification> {
        let whole = || {
            let mut message = BytesMut::new();
            put_header(&mut message, MessageType::RouteRefresh, body.len());
            message.put_slice(body);
            Notification::bad_refresh_length(message.freeze())
        };
        let &[a, b, kind, safi, ref rest @ ..] = &body[..] else { return Err(whole()) };
        let kind = match kind {
            0 => RefreshKind::Request,
            1 | 2 if !rest.is_empty() => return Err(whole()),
            1 => RefreshKind::Begin,
            2 => RefreshKind::End,
            n => RefreshKind::Other(n),
        };
        Ok(Self { afi: u16::from_be_bytes([a, b]), safi, kind })
    }

    /// The whole message.
    pub fn encode(&self, out: &mut BytesMut) {
        put_header(out, MessageType::RouteRefresh, 4);
        out.put_u16(self.afi);
        out.put_u8(match self.kind {
            RefreshKind::Request => 0,
            RefreshKind::Begin => 1,
            RefreshKind::End => 2,
            RefreshKind::Other(n) => n,
        });
        out.put_u8(self.safi);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        for kind in [RefreshKind::Request, RefreshKind::Begin, RefreshKind::End, RefreshKind::Other(9)] {
            let r = RouteRefresh::evpn(kind);
            let mut out = BytesMut::new();
            r.encode(&mut out);
            assert_eq!(out.len(), 23);
            assert_eq!(RouteRefresh::decode(&out.freeze().slice(19..)), Ok(r));
        }
    }

    #[test]
    fn length_matters_only_for_the_enhanced_kinds() {
        let decode = |b: &'static [u8]| RouteRefresh::decode(&Bytes::from_static(b));
        assert!(decode(&[0, 25, 0, 70, 1, 64, 0, 200, 1, 2]).unwrap().is_evpn());
        for kind in [1, 2] {
            let body = Bytes::copy_from_slice(&[0, 25, kind, 70, 0]);
            let n = RouteRefresh::decode(&body).unwrap_err();
            assert_eq!((n.code, n.subcode, n.data.len()), (7, 1, 24));
        }
        assert_eq!(decode(&[0, 25, 3, 70, 0]).unwrap().kind, RefreshKind::Other(3));
        assert!(decode(&[0, 25, 0]).is_err());
    }
}
