//! NOTIFICATION: RFC 4271 §4.5 and §6, cease subcodes (RFC 4486, 8538), shutdown communication (RFC 9003),
//! ROUTE-REFRESH errors (RFC 7313 §5), send hold timer (RFC 9687).

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::message::{HEADER_LEN, MessageType, put_header};
use super::{AFI_L2VPN, MAX_MESSAGE, SAFI_EVPN};

/// Cease subcodes (RFC 4486 §3, 8538 §3, 9384).
pub mod cease {
    #![allow(missing_docs, reason = "the names are the documentation")]
    pub const MAX_PREFIXES: u8 = 1;
    pub const ADMIN_SHUTDOWN: u8 = 2;
    pub const PEER_DECONFIGURED: u8 = 3;
    pub const ADMIN_RESET: u8 = 4;
    pub const CONNECTION_REJECTED: u8 = 5;
    pub const CONFIG_CHANGE: u8 = 6;
    pub const COLLISION: u8 = 7;
    pub const OUT_OF_RESOURCES: u8 = 8;
    pub const HARD_RESET: u8 = 9;
    pub const BFD_DOWN: u8 = 10;
}

/// A NOTIFICATION, sent or received.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// What the code says about the data.
    pub data: Bytes,
}

impl Notification {
    /// Any code; the data is cut to what fits a message.
    pub fn new(code: u8, subcode: u8, mut data: Bytes) -> Self {
        data.truncate(MAX_MESSAGE - HEADER_LEN - 2);
        Self { code, subcode, data }
    }

    /// 1/1: the marker is not all ones.
    pub fn not_synchronized() -> Self {
        Self::new(1, 1, Bytes::new())
    }

    /// 1/2: a length no message, or no message of this type, can have.
    pub fn bad_length(length: u16) -> Self {
        Self::new(1, 2, Bytes::copy_from_slice(&length.to_be_bytes()))
    }

    /// 1/3: an unknown message type.
    pub fn bad_type(kind: u8) -> Self {
        Self::new(1, 3, Bytes::copy_from_slice(&[kind]))
    }

    /// 2/0: optional parameters that cannot be walked.
    pub fn malformed_open() -> Self {
        Self::new(2, 0, Bytes::new())
    }

    /// 2/1, with the version spoken here.
    pub fn unsupported_version() -> Self {
        Self::new(2, 1, Bytes::from_static(&[0, 4]))
    }

    /// 2/2: not the AS that was configured, or AS 0; with the AS it is about, so that either side's operator sees
    /// which of the two ends is wrong.
    pub fn bad_peer_as(asn: u32) -> Self {
        Self::new(2, 2, Bytes::copy_from_slice(&asn.to_be_bytes()))
    }

    /// 2/3: identifier zero, or our own inside the AS (RFC 6286).
    pub fn bad_identifier() -> Self {
        Self::new(2, 3, Bytes::new())
    }

    /// 2/4: an optional parameter other than capabilities.
    pub fn unsupported_parameter() -> Self {
        Self::new(2, 4, Bytes::new())
    }

    /// 2/6: hold time one or two seconds.
    pub fn unacceptable_hold_time() -> Self {
        Self::new(2, 6, Bytes::new())
    }

    /// 2/7: the peer lacks L2VPN EVPN; the data is that capability (RFC 5492 §5).
    pub fn evpn_required() -> Self {
        let [a, b] = AFI_L2VPN.to_be_bytes();
        Self::new(2, 7, Bytes::copy_from_slice(&[1, 4, a, b, 0, SAFI_EVPN]))
    }

    /// 3/`subcode`: an UPDATE beyond treat-as-withdraw.
    pub fn update(subcode: u8, data: Bytes) -> Self {
        Self::new(3, subcode, data)
    }

    /// 4: nothing heard for the hold time.
    pub fn hold_timer_expired() -> Self {
        Self::new(4, 0, Bytes::new())
    }

    /// 5: a message the state does not expect. Subcodes (RFC 6608): 1 in OpenSent, 2 OpenConfirm, 3 Established.
    pub fn fsm_error(subcode: u8) -> Self {
        Self::new(5, subcode, Bytes::new())
    }

    /// 6/`subcode`, see [`cease`].
    pub fn cease(subcode: u8) -> Self {
        Self::new(6, subcode, Bytes::new())
    }

    /// 6/2 or 6/4 with words for the other side's operator, cut to 255 octets at a character boundary (RFC 9003).
    pub fn shutdown(subcode: u8, text: &str) -> Self {
        let end = (0..=text.len().min(255)).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        let text = &text[..end];
        let mut data = BytesMut::with_capacity(1 + text.len());
        data.put_u8(text.len() as u8);
        data.put_slice(text.as_bytes());
        Self::new(6, subcode, data.freeze())
    }

    /// 6/1: more routes than allowed; AFI, SAFI and the bound (RFC 4486 §4).
    pub fn max_prefixes(limit: u32) -> Self {
        let mut data = BytesMut::with_capacity(7);
        data.put_u16(AFI_L2VPN);
        data.put_u8(SAFI_EVPN);
        data.put_u32(limit);
        Self::new(6, cease::MAX_PREFIXES, data.freeze())
    }

    /// 7/1: an enhanced ROUTE-REFRESH of the wrong length; the data is the whole message.
    pub fn bad_refresh_length(message: Bytes) -> Self {
        Self::new(7, 1, message)
    }

    /// 8: the peer would not take our bytes for the send hold time (RFC 9687).
    pub fn send_hold_timer_expired() -> Self {
        Self::new(8, 0, Bytes::new())
    }

    /// From the body of a message; `None` if it lacks code and subcode (which framing already refuses).
    pub fn decode(body: &Bytes) -> Option<Self> {
        let &[code, subcode, ..] = &body[..] else { return None };
        Some(Self { code, subcode, data: body.slice(2..) })
    }

    /// The whole message.
    pub fn encode(&self, out: &mut BytesMut) {
        let data = &self.data[..self.data.len().min(MAX_MESSAGE - HEADER_LEN - 2)];
        put_header(out, MessageType::Notification, 2 + data.len());
        out.put_u8(self.code);
        out.put_u8(self.subcode);
        out.put_slice(data);
    }

    /// The operator's words in an administrative shutdown or reset, made safe to print.
    pub fn text(&self) -> Option<String> {
        if self.code != 6 || !matches!(self.subcode, cease::ADMIN_SHUTDOWN | cease::ADMIN_RESET) {
            return None;
        }
        let (&len, rest) = self.data.split_first()?;
        let text = rest.get(..usize::from(len))?;
        if text.is_empty() {
            return None;
        }
        // The words come from the network and go to a terminal: no control characters, no broken UTF-8.
        Some(String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    }
}

/// The names of code and subcode in the IANA registry.
const fn names(code: u8, subcode: u8) -> (Option<&'static str>, Option<&'static str>) {
    match code {
        1 => (
            Some("Message Header Error"),
            match subcode {
                1 => Some("Connection Not Synchronized"),
                2 => Some("Bad Message Length"),
                3 => Some("Bad Message Type"),
                _ => None,
            },
        ),
        2 => (
            Some("OPEN Message Error"),
            match subcode {
                1 => Some("Unsupported Version Number"),
                2 => Some("Bad Peer AS"),
                3 => Some("Bad BGP Identifier"),
                4 => Some("Unsupported Optional Parameter"),
                5 => Some("Authentication Failure"),
                6 => Some("Unacceptable Hold Time"),
                7 => Some("Unsupported Capability"),
                11 => Some("Role Mismatch"),
                _ => None,
            },
        ),
        3 => (
            Some("UPDATE Message Error"),
            match subcode {
                1 => Some("Malformed Attribute List"),
                2 => Some("Unrecognized Well-known Attribute"),
                3 => Some("Missing Well-known Attribute"),
                4 => Some("Attribute Flags Error"),
                5 => Some("Attribute Length Error"),
                6 => Some("Invalid ORIGIN Attribute"),
                8 => Some("Invalid NEXT_HOP Attribute"),
                9 => Some("Optional Attribute Error"),
                10 => Some("Invalid Network Field"),
                11 => Some("Malformed AS_PATH"),
                _ => None,
            },
        ),
        4 => (Some("Hold Timer Expired"), None),
        5 => (
            Some("Finite State Machine Error"),
            match subcode {
                1 => Some("Unexpected Message in OpenSent"),
                2 => Some("Unexpected Message in OpenConfirm"),
                3 => Some("Unexpected Message in Established"),
                _ => None,
            },
        ),
        6 => (
            Some("Cease"),
            match subcode {
                cease::MAX_PREFIXES => Some("Maximum Number of Prefixes Reached"),
                cease::ADMIN_SHUTDOWN => Some("Administrative Shutdown"),
                cease::PEER_DECONFIGURED => Some("Peer De-configured"),
                cease::ADMIN_RESET => Some("Administrative Reset"),
                cease::CONNECTION_REJECTED => Some("Connection Rejected"),
                cease::CONFIG_CHANGE => Some("Other Configuration Change"),
                cease::COLLISION => Some("Connection Collision Resolution"),
                cease::OUT_OF_RESOURCES => Some("Out of Resources"),
                cease::HARD_RESET => Some("Hard Reset"),
                cease::BFD_DOWN => Some("BFD Down"),
                _ => None,
            },
        ),
        7 => (
            Some("ROUTE-REFRESH Message Error"),
            if subcode == 1 { Some("Invalid Message Length") } else { None },
        ),
        8 => (Some("Send Hold Timer Expired"), None),
        _ => (None, None),
    }
}

impl fmt::Display for Notification {
    /// `Cease / Administrative Shutdown: back at noon`, `UPDATE Message Error / Malformed Attribute List`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, subcode) = names(self.code, self.subcode);
        match code {
            Some(code) => f.write_str(code)?,
            None => write!(f, "error {}", self.code)?,
        }
        match (subcode, self.subcode) {
            (Some(subcode), _) => write!(f, " / {subcode}")?,
            (None, 0) => {}
            (None, n) => write!(f, " / subcode {n}")?,
        }
        if let Some(text) = self.text() {
            return write!(f, ": {text}");
        }
        // RFC 8538 §3.1: a hard reset wraps the NOTIFICATION it stands for.
        if (self.code, self.subcode) == (6, cease::HARD_RESET)
            && let Some(inner) =
                Self::decode(&self.data).filter(|n| (n.code, n.subcode) != (6, cease::HARD_RESET))
        {
            return write!(f, ": {inner}");
        }
        match (self.code, self.subcode, &self.data[..]) {
            (_, _, []) => return Ok(()),
            (2, 2, &[a, b, c, d]) => return write!(f, ": AS {}", u32::from_be_bytes([a, b, c, d])),
            (2, 2, &[a, b]) => return write!(f, ": AS {}", u16::from_be_bytes([a, b])),
            _ => {}
        }
        f.write_str(" (data")?;
        for octet in self.data.iter().take(16) {
            write!(f, " {octet:02x}")?;
        }
        f.write_str(if self.data.len() > 16 { " …)" } else { ")" })
    }
}

impl std::error::Error for Notification {}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(n: &Notification) -> Notification {
        let mut out = BytesMut::new();
        n.encode(&mut out);
        Notification::decode(&out.freeze().slice(HEADER_LEN..)).unwrap()
    }

    #[test]
    fn says_what_happened() {
        for (n, text) in [
            (Notification::bad_peer_as(4_200_000_000), "OPEN Message Error / Bad Peer AS: AS 4200000000"),
            (Notification::shutdown(2, "back at noon"), "Cease / Administrative Shutdown: back at noon"),
            (Notification::shutdown(4, ""), "Cease / Administrative Reset (data 00)"),
            (Notification::cease(cease::COLLISION), "Cease / Connection Collision Resolution"),
            (Notification::hold_timer_expired(), "Hold Timer Expired"),
            (Notification::send_hold_timer_expired(), "Send Hold Timer Expired"),
            (Notification::bad_length(18), "Message Header Error / Bad Message Length (data 00 12)"),
            (Notification::new(2, 99, Bytes::new()), "OPEN Message Error / subcode 99"),
            (Notification::new(77, 1, Bytes::new()), "error 77 / subcode 1"),
            (
                Notification::new(6, 9, Bytes::from_static(&[6, 2, 2, b'h', b'i'])),
                "Cease / Hard Reset: Cease / Administrative Shutdown: hi",
            ),
        ] {
            assert_eq!(round(&n), n);
            assert_eq!(n.to_string(), text);
        }
    }

    #[test]
    fn shutdown_text_is_cut_between_characters() {
        let n = Notification::shutdown(2, &"ä".repeat(200));
        assert_eq!(n.data[0], 254);
        assert_eq!(n.text().unwrap(), "ä".repeat(127));
    }

    #[test]
    fn shutdown_text_from_a_stranger_is_harmless() {
        for (data, text) in [
            (&b"\x05a\x1b[2J"[..], Some("a [2J")),
            (b"\x02\xff\xfe", Some("\u{fffd}\u{fffd}")),
            (b"\x09short", None),
            (b"\x00", None),
            (b"", None),
        ] {
            let n = Notification::new(6, 2, Bytes::copy_from_slice(data));
            assert_eq!(n.text().as_deref(), text, "{data:?}");
        }
    }

    #[test]
    fn nested_hard_resets_end() {
        let n = Notification::new(6, 9, Bytes::from([6, 9].repeat(1000)));
        assert!(n.to_string().starts_with("Cease / Hard Reset (data 06 09"));
    }

    #[test]
    fn data_is_cut_to_a_message() {
        let mut out = BytesMut::new();
        Notification::update(1, Bytes::from(vec![0; 60_000])).encode(&mut out);
        assert_eq!(out.len(), MAX_MESSAGE);
    }
}
