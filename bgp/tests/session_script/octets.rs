//! What comes and goes as octets: messages in pieces, faults in UPDATEs, refreshes, neighbours that do not read.

use super::*;

#[test]
fn messages_are_found_however_the_stream_is_cut() {
    let mut stream = BytesMut::new();
    for _ in 0..3 {
        stream.extend_from_slice(&eor());
        stream.extend_from_slice(&keepalive());
    }
    let stream = stream.freeze();
    for step in 1..=stream.len() {
        let mut s = Script::established(config());
        let mut out = Vec::new();
        for from in (0..stream.len()).step_by(step) {
            let data = stream.slice(from..stream.len().min(from + step));
            s.session.handle(received(1, data), at(0), &mut out);
        }
        assert_eq!(lines(&out), ["end-of-rib"; 3], "{step}");
        assert_eq!(
            s.session.counters().octets_received as usize,
            stream.len() + 19 + open(65002, LOW, 90).len()
        );
    }
}

#[test]
fn open_keepalive_and_updates_in_one_piece() {
    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.go(0, outgoing(1), &["1: OPEN", "state opensent"]);
    let all = [open(65002, LOW, 90), keepalive(), eor()].concat();
    s.go(
        0,
        received(1, all.into()),
        &[
            "1: KEEPALIVE",
            "state openconfirm",
            "state established",
            "established AS 65002 hold 90",
            "end-of-rib",
        ],
    );
}

#[test]
fn nothing_after_an_error_is_looked_at() {
    let mut s = Script::established(config());
    let all = [eor(), raw(9, &[]), eor()].concat();
    s.go(
        0,
        received(1, all.into()),
        &["end-of-rib", "1: NOTIFICATION 1/3", "close 1", "down sent 1/3", "state idle"],
    );
}

#[test]
fn a_chunk_of_thousands_is_sliced_not_copied() {
    let mut stream = BytesMut::new();
    for _ in 0..10_000 {
        stream.extend_from_slice(&eor());
    }
    let mut s = Script::established(config());
    let mut out = Vec::new();
    s.session.handle(received(1, stream.freeze()), at(0), &mut out);
    assert_eq!(out.len(), 10_000);
    assert_eq!(s.session.counters().received.update, 10_000);
}

#[test]
fn long_messages_only_where_both_can() {
    // 5000 octets: withdrawn routes of IPv4, which nobody cares for, but whole.
    let mut body = vec![0x13, 0x70];
    body.resize(2 + 0x1370, 0);
    body.extend([0, 0]);
    let long = raw(2, &body);
    let mut s = Script::established(config());
    s.go(0, received(1, long.clone()), &["update"]);
    assert_eq!(s.session.negotiated().unwrap().max_message(), 65_535);

    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.go(0, outgoing(1), &["1: OPEN", "state opensent"]);
    let short = Capabilities { extended_message: false, ..capabilities(65002) };
    s.go(0, received(1, open_with(65002, LOW, 90, short)), &["1: KEEPALIVE", "state openconfirm"]);
    s.go(0, received(1, keepalive()), &["state established", "established AS 65002 hold 90"]);
    let down = ["1: NOTIFICATION 1/2", "close 1", "down sent 1/2", "state idle"];
    s.go(0, received(1, long), &down);
}

#[test]
fn an_update_that_cannot_be_saved_ends_the_session() {
    let mut s = Script::established(config());
    let overrun = raw(2, &[0, 9, 0, 0]);
    s.go(0, received(1, overrun), &["1: NOTIFICATION 3/1", "close 1", "down sent 3/1", "state idle"]);
}

#[test]
fn what_the_neighbour_hears_of_each_fault_in_an_update() {
    // `wire_rfc7606` has every attribute; here is one of each class, and what goes out on the wire.
    const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
    const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xea];
    let mp = |code: u8, value: &[u8]| [&[0x80, code, value.len() as u8][..], value].concat();
    let nlri = |len: u8| {
        let mut nlri = vec![2, len, 0, 1, 10, 0, 0, 1, 0, 1];
        nlri.extend([0; 14]);
        nlri.extend([48, 2, 0, 0, 0, 0, 1, 0, 0, 0, 100]);
        nlri
    };
    let hop = |len: u8| [&[0, 25, 70, len][..], &vec![10; usize::from(len)], &[0], &nlri(33)].concat();
    let reach = mp(14, &hop(4));
    let update = |attributes: &[&[u8]]| {
        let attributes = attributes.concat();
        raw(2, &[&[0, 0][..], &(attributes.len() as u16).to_be_bytes(), &attributes].concat())
    };
    let good = |more: &[u8]| update(&[&reach, ORIGIN, AS_PATH, more]);
    let transitive_mp = [&[0xc0, 14][..], &reach[2..]].concat();
    let mut too_long = hop(4);
    too_long[10] = 34;
    for (what, message, heard) in [
        ("nothing wrong", good(&[]), None),
        ("treat-as-withdraw: communities of seven octets", good(&[0xc0, 16, 1, 7]), None),
        ("treat-as-withdraw: no ORIGIN", update(&[&reach, AS_PATH]), None),
        ("treat-as-withdraw: flags", good(&[0x40, 8, 4, 0, 0, 0, 1]), None),
        ("treat-as-withdraw: past the attributes", good(&[0xc0, 8, 200]), None),
        ("attribute discard", good(&[0x40, 6, 1, 1]), None),
        ("the same twice", good(ORIGIN), None),
        ("PMSI", good(&[0xc0, 22, 1, 0]), None),
        (
            "an unknown route type",
            update(&[&mp(14, &[0, 25, 70, 4, 1, 1, 1, 1, 0, 99, 0]), ORIGIN, AS_PATH]),
            None,
        ),
        (
            "a malformed route",
            update(&[&mp(14, &[0, 25, 70, 4, 1, 1, 1, 1, 0, 2, 1, 0]), ORIGIN, AS_PATH]),
            None,
        ),
        ("MP_REACH_NLRI twice", good(&reach), Some("3/1")),
        ("MP_REACH_NLRI of four octets", update(&[&mp(14, &[0, 25, 70, 0]), ORIGIN, AS_PATH]), Some("3/9")),
        ("MP_REACH_NLRI transitive", update(&[&transitive_mp, ORIGIN, AS_PATH]), Some("3/4")),
        ("next hop of five octets", update(&[&mp(14, &hop(5)), ORIGIN, AS_PATH]), Some("3/9")),
        ("next hop of 24 octets", update(&[&mp(14, &hop(24)), ORIGIN, AS_PATH]), Some("3/9")),
        ("MP_UNREACH_NLRI of two octets", update(&[&mp(15, &[0, 25])]), Some("3/9")),
        ("NLRI past the end", update(&[&mp(14, &too_long), ORIGIN, AS_PATH]), Some("3/9")),
        ("a fault and no routes", update(&[&[0x40, 1, 1, 9]]), Some("3/6")),
        ("a well-known attribute nobody knows", good(&[0x40, 99, 0]), Some("3/2")),
        ("attributes past the end", raw(2, &[0, 0, 0, 9]), Some("3/1")),
        ("withdrawn routes past the end", raw(2, &[0, 9, 0, 0]), Some("3/1")),
        ("an unknown message type", raw(9, &[]), Some("1/3")),
        ("an UPDATE too short", raw(2, &[0, 0]), Some("1/2")),
        ("a KEEPALIVE too long", raw(4, &[0]), Some("1/2")),
        ("no marker", Bytes::from_static(&[0; 19]), Some("1/1")),
    ] {
        let mut s = Script::established(config());
        let mut out = Vec::new();
        s.session.handle(received(1, message), at(0), &mut out);
        let expected = match heard {
            None => vec!["update".to_owned()],
            Some(code) => vec![
                format!("1: NOTIFICATION {code}"),
                "close 1".to_owned(),
                format!("down sent {code}"),
                "state idle".to_owned(),
            ],
        };
        assert_eq!(lines(&out), expected, "{what}");
    }
}

// ---- refresh

#[test]
fn refreshes_go_both_ways_where_negotiated() {
    let refresh = |kind, afi: u16| {
        let mut out = BytesMut::new();
        RouteRefresh { afi, safi: 70, kind }.encode(&mut out);
        out.freeze()
    };
    let mut s = Script::established(config());
    s.go(0, Input::RequestRefresh, &["1: ROUTE-REFRESH"]);
    s.go(0, received(1, refresh(RefreshKind::Request, 25)), &["refresh Request"]);
    s.go(0, received(1, refresh(RefreshKind::Begin, 25)), &["refresh Begin"]);
    s.go(0, received(1, refresh(RefreshKind::End, 25)), &["refresh End"]);
    s.go(0, received(1, refresh(RefreshKind::Other(7), 25)), &[]);
    s.go(0, received(1, refresh(RefreshKind::Request, 1)), &[]);
    let down = ["1: NOTIFICATION 7/1", "close 1", "down sent 7/1", "state idle"];
    s.go(0, received(1, raw(5, &[0, 25, 1, 70, 0])), &down);

    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.go(0, outgoing(1), &["1: OPEN", "state opensent"]);
    let plain = Capabilities { multiprotocol: vec![(25, 70)], ..Capabilities::default() };
    s.go(0, received(1, open_with(65002, LOW, 90, plain)), &["1: KEEPALIVE", "state openconfirm"]);
    s.go(0, received(1, keepalive()), &["state established", "established AS 65002 hold 90"]);
    s.go(0, Input::RequestRefresh, &[]);
    s.go(0, received(1, refresh(RefreshKind::Begin, 25)), &[]);
}

// ---- sending

#[test]
fn updates_are_passed_on_and_counted_while_established() {
    let mut s = Script::established(config());
    let two = Bytes::from([eor(), eor()].concat());
    let before = s.session.backlog();
    s.go(0, Input::Send { data: two.clone() }, &["1: UPDATE", "1: UPDATE"]);
    assert_eq!(s.session.backlog(), before + two.len());
    assert_eq!(s.session.counters().sent.update, 2);
    s.go(0, Input::Written { conn: ConnId(1), bytes: before + 1 }, &[]);
    assert_eq!(s.session.backlog(), two.len() - 1);
    s.go(0, closed(1), &["down closed EOF", "state active"]);
    assert_eq!(s.session.backlog(), 0);
    s.go(0, Input::Send { data: two }, &[]);
}

#[test]
fn a_neighbour_that_takes_nothing_is_dropped_after_eight_minutes() {
    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.go(0, outgoing(1), &["1: OPEN", "state opensent"]);
    s.go(0, received(1, open(65002, LOW, 0)), &["1: KEEPALIVE", "state openconfirm"]);
    s.go(0, received(1, keepalive()), &["state established", "established AS 65002 hold 0"]);
    s.go(0, Input::Written { conn: ConnId(1), bytes: 1000 }, &[]);
    assert_eq!(s.session.deadline(), None);
    s.go(1000, Input::Send { data: eor() }, &["1: UPDATE"]);
    // Later octets do not postpone it, one octet taken does.
    s.go(300_000, Input::Send { data: eor() }, &["1: UPDATE"]);
    assert_eq!(s.session.deadline(), Some(at(481_000)));
    s.go(480_000, Input::Written { conn: ConnId(1), bytes: 1 }, &[]);
    s.tick(960_000..=960_000, &["1: NOTIFICATION 8/0", "close 1", "down sent 8/0", "state active"]);
    assert_eq!(
        s.session.last_error().unwrap().reason,
        DownReason::Sent(Notification::send_hold_timer_expired())
    );
}

#[test]
fn inputs_about_connections_long_gone_are_ignored() {
    let mut s = Script::established(config());
    s.go(0, received(77, eor()), &[]);
    s.go(0, closed(77), &[]);
    s.go(0, Input::Written { conn: ConnId(77), bytes: 9 }, &[]);
    s.go(0, refused(), &[]);
    // Nor is a name used twice a reason to fall over.
    s.go(0, incoming(1), &[]);
    s.go(0, outgoing(1), &[]);
    s.state(State::Established);
}
