//! OPEN: RFC 4271 §4.2 and §6.2, capabilities in optional parameters (RFC 5492), extended optional parameters
//! (RFC 9072), four-octet AS (RFC 6793), identifiers (RFC 6286), AS 0 (RFC 7607).

use std::net::Ipv4Addr;

use bytes::{BufMut, Bytes, BytesMut};

use super::as_path::as_trans;
use super::capability::Capabilities;
use super::message::{MessageType, put_header};
use super::notification::Notification;
use super::read::{take, take_slice, take_u8, take_u16};

/// BGP-4.
const VERSION: u8 = 4;
/// Optional parameter: capabilities.
const PARAMETER_CAPABILITIES: u8 = 2;
/// The parameter type that says the parameters have extended lengths (RFC 9072 §2).
const PARAMETER_EXTENDED: u8 = 255;

/// An OPEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The speaker's AS: from the four-octet-AS capability if there is one.
    pub asn: u32,
    /// Hold time offered, in seconds: zero, or three and more.
    pub hold_time: u16,
    /// BGP identifier, not zero.
    pub router_id: Ipv4Addr,
    /// Capabilities; `as4` is `None` if the speaker knows two-octet ASes only.
    pub capabilities: Capabilities,
}

impl Open {
    /// From the body of a message.
    ///
    /// What needs to know the neighbour's configuration (is this the AS we expect, is EVPN among the families, is the
    /// identifier not ours) is left to the session.
    pub fn decode(body: &Bytes) -> Result<Self, Notification> {
        let mut b = &body[..];
        let (version, my_as, hold_time, id, parameters) =
            fixed_fields(&mut b).ok_or_else(Notification::malformed_open)?;
        if version != VERSION {
            return Err(Notification::unsupported_version());
        }
        let capabilities = decode_parameters(body, parameters, b)?;
        let asn = capabilities.as4.unwrap_or(u32::from(my_as));
        if my_as == 0 || asn == 0 {
            return Err(Notification::bad_peer_as(0));
        }
        if matches!(hold_time, 1 | 2) {
            return Err(Notification::unacceptable_hold_time());
        }
        let router_id = Ipv4Addr::from(id);
        if router_id.is_unspecified() {
            return Err(Notification::bad_identifier());
        }
        Ok(Self { asn, hold_time, router_id, capabilities })
    }

    /// The whole message.
    ///
    /// All capabilities go into one parameter; where that is longer than 255 octets the extended form of RFC 9072 is
    /// used. Capabilities past the 4096 octets an OPEN may have are left out.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut capabilities = Vec::new();
        self.capabilities.encode(&mut capabilities);
        let len = whole_capabilities(&capabilities, super::MAX_MESSAGE - 29 - 6);
        let capabilities = &capabilities[..len];
        let mut parameters = BytesMut::new();
        if len == 0 {
            parameters.put_u8(0);
        } else if len + 2 <= 255 {
            parameters.put_slice(&[(len + 2) as u8, PARAMETER_CAPABILITIES, len as u8]);
        } else {
            parameters.put_slice(&[255, PARAMETER_EXTENDED]);
            parameters.put_u16((len + 3) as u16);
            parameters.put_u8(PARAMETER_CAPABILITIES);
            parameters.put_u16(len as u16);
        }
        put_header(out, MessageType::Open, 9 + parameters.len() + len);
        out.put_u8(VERSION);
        out.put_u16(as_trans(self.asn));
        out.put_u16(self.hold_time);
        out.put_slice(&self.router_id.octets());
        out.put_slice(&parameters);
        out.put_slice(capabilities);
    }
}

/// How many of the octets of `list` are whole capabilities that fit `max`.
fn whole_capabilities(list: &[u8], max: usize) -> usize {
    let mut end = 0;
    while let Some(&[_, len]) = list.get(end..).and_then(|l| l.first_chunk()) {
        let next = end + 2 + usize::from(len);
        if next > max {
            break;
        }
        end = next;
    }
    end
}

fn fixed_fields(b: &mut &[u8]) -> Option<(u8, u16, u16, [u8; 4], u8)> {
    Some((take_u8(b)?, take_u16(b)?, take_u16(b)?, take(b)?, take_u8(b)?))
}

/// The optional parameters `b` of a message `body`, which says they are `len` octets.
fn decode_parameters(body: &Bytes, len: u8, mut b: &[u8]) -> Result<Capabilities, Notification> {
    let mut capabilities = Capabilities::default();
    if len == 0 {
        // RFC 9072 §2: zero always means that there are none.
        return if b.is_empty() { Ok(capabilities) } else { Err(Notification::malformed_open()) };
    }
    // RFC 9072 §2: the type alone says that the lengths are extended; `len` then says nothing.
    let extended = b.first() == Some(&PARAMETER_EXTENDED);
    let len = if extended {
        take_u8(&mut b);
        take_u16(&mut b).map(usize::from)
    } else {
        Some(usize::from(len))
    };
    if len != Some(b.len()) {
        return Err(Notification::malformed_open());
    }
    while !b.is_empty() {
        let (kind, value) = parameter(&mut b, extended).ok_or_else(Notification::malformed_open)?;
        if kind != PARAMETER_CAPABILITIES {
            return Err(Notification::unsupported_parameter());
        }
        capabilities.decode(&body.slice_ref(value)).ok_or_else(Notification::malformed_open)?;
    }
    Ok(capabilities)
}

fn parameter<'a>(b: &mut &'a [u8], extended: bool) -> Option<(u8, &'a [u8])> {
    let kind = take_u8(b)?;
    let len = if extended { usize::from(take_u16(b)?) } else { usize::from(take_u8(b)?) };
    Some((kind, take_slice(b, len)?))
}

#[cfg(test)]
mod tests;
