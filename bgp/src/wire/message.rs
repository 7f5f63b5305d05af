//! Message framing: RFC 4271 §4.1 and §6.1, extended messages (RFC 8654).

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::notification::Notification;
use super::{MAX_EXTENDED_MESSAGE, MAX_MESSAGE};

/// Marker, length, type.
pub const HEADER_LEN: usize = 19;

/// The type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// 1
    Open,
    /// 2
    Update,
    /// 3
    Notification,
    /// 4
    Keepalive,
    /// 5 (RFC 2918)
    RouteRefresh,
}

impl MessageType {
    const fn from_wire(kind: u8) -> Option<Self> {
        Some(match kind {
            1 => Self::Open,
            2 => Self::Update,
            3 => Self::Notification,
            4 => Self::Keepalive,
            5 => Self::RouteRefresh,
            _ => return None,
        })
    }

    /// The number on the wire.
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Notification => 3,
            Self::Keepalive => 4,
            Self::RouteRefresh => 5,
        }
    }

    /// The shortest message of this type, header included.
    const fn min_len(self) -> usize {
        match self {
            Self::Open => 29,
            Self::Update | Self::RouteRefresh => 23,
            Self::Notification => 21,
            Self::Keepalive => HEADER_LEN,
        }
    }

    /// The longest, where `max` is what the session negotiated. RFC 8654 §3: OPEN and KEEPALIVE stay as they were.
    fn max_len(self, max: usize) -> usize {
        match self {
            Self::Open => max.min(MAX_MESSAGE),
            Self::Keepalive => HEADER_LEN,
            Self::Update | Self::Notification | Self::RouteRefresh => max,
        }
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Open => "OPEN",
            Self::Update => "UPDATE",
            Self::Notification => "NOTIFICATION",
            Self::Keepalive => "KEEPALIVE",
            Self::RouteRefresh => "ROUTE-REFRESH",
        })
    }
}

/// One message, without its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: MessageType,
    /// What follows the header.
    pub body: Bytes,
}

/// Type and whole length of the message at the start of `buf`; `None` until the header is there.
///
/// The marker is compared as far as it has come, so a peer that speaks something else is told after its first octets.
pub fn check_header(buf: &[u8], max_len: usize) -> Result<Option<(MessageType, usize)>, Notification> {
    let synchronized = match buf.first_chunk::<16>() {
        Some(marker) => *marker == [0xff; 16],
        None => buf.iter().all(|&b| b == 0xff),
    };
    if !synchronized {
        return Err(Notification::not_synchronized());
    }
    let Some(&[.., hi, lo, kind]) = buf.first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let length = u16::from_be_bytes([hi, lo]);
    let len = usize::from(length);
    if len < HEADER_LEN || len > max_len {
        return Err(Notification::bad_length(length));
    }
    let kind = MessageType::from_wire(kind).ok_or_else(|| Notification::bad_type(kind))?;
    if len < kind.min_len() || len > kind.max_len(max_len) {
        return Err(Notification::bad_length(length));
    }
    Ok(Some((kind, len)))
}

/// Cuts a byte stream into messages without copying those that arrive whole.
///
/// Holds the data given last and at most one incomplete message.
#[derive(Debug, Default)]
pub struct Framer {
    /// The start of a message whose rest has not come.
    partial: BytesMut,
    data: Bytes,
}

impl Framer {
    /// Takes the next octets of the stream. Call [`Framer::next`] until it has no more before the next `push`.
    pub fn push(&mut self, data: Bytes) {
        if self.data.is_empty() {
            self.data = data;
        } else {
            let mut joined = BytesMut::with_capacity(self.data.len() + data.len());
            joined.put_slice(&self.data);
            joined.put_slice(&data);
            self.data = joined.freeze();
        }
    }

    /// The next whole message, if there is one. `max_len` may change between calls (RFC 8654: after OPEN).
    ///
    /// After an error the stream has no meaning any more.
    #[allow(clippy::should_implement_trait, reason = "it takes a parameter and fails")]
    pub fn next(&mut self, max_len: usize) -> Result<Option<Frame>, Notification> {
        let max_len = max_len.min(MAX_EXTENDED_MESSAGE);
        if !self.partial.is_empty() {
            return self.complete(max_len);
        }
        match check_header(&self.data, max_len)? {
            Some((kind, len)) if self.data.len() >= len => {
                let mut body = self.data.split_to(len);
                body.advance(HEADER_LEN);
                Ok(Some(Frame { kind, body }))
            }
            header => {
                if !self.data.is_empty() {
                    self.partial.reserve(header.map_or(HEADER_LEN, |(_, len)| len));
                    self.partial.put_slice(&self.data);
                    self.data = Bytes::new();
                }
                Ok(None)
            }
        }
    }

    /// Moves just what is missing from the new data to the incomplete message.
    fn complete(&mut self, max_len: usize) -> Result<Option<Frame>, Notification> {
        self.fill(HEADER_LEN);
        let Some((kind, len)) = check_header(&self.partial, max_len)? else { return Ok(None) };
        self.fill(len);
        if self.partial.len() < len {
            return Ok(None);
        }
        let mut body = std::mem::take(&mut self.partial).freeze();
        body.advance(HEADER_LEN);
        Ok(Some(Frame { kind, body }))
    }

    fn fill(&mut self, to: usize) {
        let n = to.saturating_sub(self.partial.len()).min(self.data.len());
        self.partial.put_slice(&self.data[..n]);
        self.data.advance(n);
    }

    /// Octets held that are not a whole message yet, or not yet asked for.
    pub fn buffered(&self) -> usize {
        self.partial.len() + self.data.len()
    }
}

/// Writes the header of a message with a body of `body_len` octets.
pub(super) fn put_header(out: &mut BytesMut, kind: MessageType, body_len: usize) {
    debug_assert!(HEADER_LEN + body_len <= MAX_EXTENDED_MESSAGE);
    out.reserve(HEADER_LEN + body_len);
    out.put_bytes(0xff, 16);
    out.put_u16((HEADER_LEN + body_len) as u16);
    out.put_u8(kind.to_wire());
}

/// KEEPALIVE (RFC 4271 §4.4).
pub fn encode_keepalive(out: &mut BytesMut) {
    put_header(out, MessageType::Keepalive, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(len: u16, kind: u8) -> Vec<u8> {
        let mut m = vec![0xff; 16];
        m.extend(len.to_be_bytes());
        m.push(kind);
        m
    }

    fn one(bytes: Vec<u8>, max: usize) -> Result<Option<Frame>, Notification> {
        let mut f = Framer::default();
        f.push(bytes.into());
        f.next(max)
    }

    #[test]
    fn header_errors_are_told_as_rfc_4271_6_1() {
        let n = |r: Result<_, Notification>| r.map(|_: Option<Frame>| ()).unwrap_err();
        assert_eq!(n(one(b"GET / HTTP/1.1\r\n".to_vec(), 4096)), Notification::not_synchronized());
        assert_eq!(n(one(vec![0xff, 0xff, 0], 4096)), Notification::not_synchronized());
        for (len, kind) in
            [(18, 4), (0, 4), (4097, 2), (28, 1), (22, 2), (20, 3), (20, 4), (22, 5), (65535, 2)]
        {
            assert_eq!(n(one(header(len, kind), 4096)), Notification::bad_length(len), "{len} {kind}");
        }
        for (len, kind) in [(4097, 1), (20, 4)] {
            assert_eq!(n(one(header(len, kind), 65535)), Notification::bad_length(len), "{len} {kind}");
        }
        for kind in [0, 6, 128, 255] {
            assert_eq!(n(one(header(19, kind), 4096)), Notification::bad_type(kind));
        }
    }

    #[test]
    fn extended_messages_only_when_negotiated() {
        let mut m = header(65535, 2);
        m.resize(65535, 0);
        assert!(one(m.clone(), MAX_MESSAGE).is_err());
        assert_eq!(one(m, MAX_EXTENDED_MESSAGE).unwrap().unwrap().body.len(), 65535 - HEADER_LEN);
    }

    #[test]
    fn any_cut_of_the_stream_gives_the_same_messages() {
        let mut stream = BytesMut::new();
        encode_keepalive(&mut stream);
        Notification::cease(2).encode(&mut stream);
        Notification::shutdown(2, "bye").encode(&mut stream);
        encode_keepalive(&mut stream);
        let stream = stream.freeze();
        let collect = |step: usize| {
            let mut f = Framer::default();
            let mut got = Vec::new();
            for chunk in stream.chunks(step) {
                f.push(Bytes::copy_from_slice(chunk));
                while let Some(frame) = f.next(MAX_MESSAGE).unwrap() {
                    got.push(frame);
                }
            }
            assert_eq!(f.buffered(), 0);
            got
        };
        let whole = collect(stream.len());
        assert_eq!(whole.len(), 4);
        for step in 1..stream.len() {
            assert_eq!(collect(step), whole, "{step}");
        }
    }
}
