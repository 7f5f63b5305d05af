//! Messages as a neighbour would send them, and outputs as one line of text each.

use bgp::session::{DownReason, Output};
use bgp::wire::capability::Capabilities;
use bgp::wire::message::encode_keepalive;
use bgp::wire::{Framer, MAX_EXTENDED_MESSAGE, MessageType, Notification, Open, encode_eor};
use bytes::{BufMut, Bytes, BytesMut};

/// What the neighbour of a test can do.
pub(crate) fn capabilities(asn: u32) -> Capabilities {
    Capabilities {
        multiprotocol: vec![(25, 70)],
        route_refresh: true,
        enhanced_refresh: true,
        extended_message: true,
        as4: Some(asn),
        ..Capabilities::default()
    }
}

pub(crate) fn open_with(asn: u32, id: [u8; 4], hold_time: u16, capabilities: Capabilities) -> Bytes {
    let mut out = BytesMut::new();
    Open { asn, hold_time, router_id: id.into(), capabilities }.encode(&mut out);
    out.freeze()
}

pub(crate) fn open(asn: u32, id: [u8; 4], hold_time: u16) -> Bytes {
    open_with(asn, id, hold_time, capabilities(asn))
}

pub(crate) fn keepalive() -> Bytes {
    let mut out = BytesMut::new();
    encode_keepalive(&mut out);
    out.freeze()
}

pub(crate) fn notification(n: &Notification) -> Bytes {
    let mut out = BytesMut::new();
    n.encode(&mut out);
    out.freeze()
}

pub(crate) fn eor() -> Bytes {
    let mut out = BytesMut::new();
    encode_eor(&mut out);
    out.freeze()
}

/// Any header with any body.
pub(crate) fn raw(kind: u8, body: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_bytes(0xff, 16);
    out.put_u16((19 + body.len()) as u16);
    out.put_u8(kind);
    out.put_slice(body);
    out.freeze()
}

/// The messages in octets a session wants sent. Panics if they are not whole and well-formed.
pub(crate) fn parse(data: &Bytes) -> Vec<(MessageType, Bytes)> {
    let mut framer = Framer::default();
    framer.push(data.clone());
    let mut messages = Vec::new();
    while let Some(frame) = framer.next(MAX_EXTENDED_MESSAGE).expect("what we send is well-formed") {
        match frame.kind {
            MessageType::Open => drop(Open::decode(&frame.body).expect("our OPEN is readable")),
            MessageType::Notification => drop(Notification::decode(&frame.body).expect("readable")),
            MessageType::Update | MessageType::Keepalive | MessageType::RouteRefresh => {}
        }
        messages.push((frame.kind, frame.body));
    }
    assert_eq!(framer.buffered(), 0, "only whole messages are sent");
    messages
}

fn reason(reason: &DownReason) -> String {
    match reason {
        DownReason::Sent(n) => format!("sent {}/{}", n.code, n.subcode),
        DownReason::Received(n) => format!("received {}/{}", n.code, n.subcode),
        DownReason::Closed(why) => format!("closed {why}"),
        DownReason::ConnectFailed(why) => format!("connect {why}"),
    }
}

/// One line for each output: `1: OPEN`, `1: NOTIFICATION 6/7`, `close 1`, `state active`, `down sent 4/0`, …
pub(crate) fn lines(outputs: &[Output]) -> Vec<String> {
    let mut lines = Vec::new();
    for output in outputs {
        lines.push(match output {
            Output::Connect => "connect".to_owned(),
            Output::AbortConnect => "abort".to_owned(),
            Output::Send { conn, data } => {
                for (kind, body) in parse(data) {
                    lines.push(match kind {
                        MessageType::Notification => format!("{}: {kind} {}/{}", conn.0, body[0], body[1]),
                        _ => format!("{}: {kind}", conn.0),
                    });
                }
                continue;
            }
            Output::Close { conn } => format!("close {}", conn.0),
            Output::Established(n) => format!("established AS {} hold {}", n.remote_asn, n.hold_time),
            Output::Update(u) if u.eor => "end-of-rib".to_owned(),
            Output::Update(_) => "update".to_owned(),
            Output::Refresh(r) => format!("refresh {:?}", r.kind),
            Output::Down(r) => format!("down {}", reason(r)),
            Output::Failed(r) => format!("failed {}", reason(r)),
            Output::StateChanged(s) => format!("state {s}"),
        });
    }
    lines
}
