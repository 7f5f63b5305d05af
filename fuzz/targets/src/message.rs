//! The target `message`: a stream of octets into messages, and each of them into values.

use bgp::wire::{DecodeContext, Frame, Framer, MAX_EXTENDED_MESSAGE, MAX_MESSAGE, MessageType, Notification};
use bytes::{BufMut, Bytes, BytesMut};

use crate::choices::Choices;
use crate::codec::{check_notification, check_open, check_refresh, check_refused, check_update};

/// Every message parser behind the framing.
///
/// The first octet says how to read: external peer, four-octet ASes, strict, extended messages, and whether what
/// follows the second octet is a stream as it comes from the network or the body of one message. The second octet is
/// the size of the pieces a stream comes in, or the type of the message.
pub fn message(data: &[u8]) {
    let mut c = Choices(data);
    let (bits, second) = (c.octet(), c.octet());
    let ctx = DecodeContext { ebgp: bits & 1 != 0, as4: bits & 2 != 0, strict: bits & 4 != 0 };
    let max = if bits & 8 != 0 { MAX_EXTENDED_MESSAGE } else { MAX_MESSAGE };
    let stream = if bits & 16 == 0 {
        let body = c.octets(MAX_EXTENDED_MESSAGE - 19);
        let mut message = BytesMut::new();
        message.put_bytes(0xff, 16);
        message.put_u16((19 + body.len()) as u16);
        message.put_u8(second % 8);
        message.put_slice(body);
        message.freeze()
    } else {
        Bytes::copy_from_slice(c.0)
    };
    let whole = frames(&stream, stream.len().max(1), max);
    let pieces = frames(&stream, usize::from(second) + 1, max);
    assert_eq!(whole, pieces, "the cuts of the stream change nothing");
    let (frames, refused) = whole;
    let octets: usize = frames.iter().map(|f| 19 + f.body.len()).sum();
    assert!(octets <= stream.len());
    for frame in frames {
        let limit = if matches!(frame.kind, MessageType::Open) { MAX_MESSAGE } else { max };
        assert!(19 + frame.body.len() <= limit);
        match frame.kind {
            MessageType::Open => check_open(&frame.body),
            MessageType::Update => drop(check_update(&frame.body, ctx)),
            MessageType::Notification => {
                check_notification(&Notification::decode(&frame.body).expect("framing saw to its length"));
            }
            MessageType::Keepalive => assert!(frame.body.is_empty()),
            MessageType::RouteRefresh => check_refresh(&frame.body),
        }
    }
    match refused {
        Some(n) => check_refused(&n),
        // RFC 4271 §6.1: whoever speaks something else is told at once, not when he has said enough for a header.
        None => assert!(stream[octets..].iter().take(16).all(|&octet| octet == 0xff)),
    }
}

/// The messages of a stream that comes in pieces of `step` octets, and what is wrong with the one after.
fn frames(stream: &Bytes, step: usize, max: usize) -> (Vec<Frame>, Option<Notification>) {
    let (mut framer, mut frames) = (Framer::default(), Vec::new());
    for at in (0..stream.len()).step_by(step) {
        framer.push(stream.slice(at..stream.len().min(at + step)));
        loop {
            match framer.next(max) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(n) => return (frames, Some(n)),
            }
        }
        assert!(framer.buffered() < max, "an incomplete message is less than a message");
    }
    let read: usize = frames.iter().map(|f| 19 + f.body.len()).sum();
    assert_eq!(read + framer.buffered(), stream.len(), "no octet is lost");
    (frames, None)
}
