//! The session state machine, scenario by scenario: at this time this input, then exactly these outputs.
//!
//! RFC 4271 §6 and §8, 6286, 6608, 7313, 8654, 9003, 9687.

#[path = "../common/messages.rs"]
mod messages;
mod octets;
mod script;

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use bgp::session::{ConnId, DownReason, Input, Output, RemoteAsn, Session, SessionConfig, State};
use bgp::wire::capability::Capabilities;
use bgp::wire::notification::cease;
use bgp::wire::{Notification, RefreshKind, RouteRefresh};
use bytes::{Bytes, BytesMut};
use types::Time;

use messages::{capabilities, eor, keepalive, lines, notification, open, open_with, parse, raw};
use script::*;

// ---- the ordinary course

#[test]
fn comes_up_keeps_alive_and_goes_down() {
    let mut s = Script::established(config());
    assert_eq!(s.session.established_since(), Some(at(0)));
    let n = s.session.negotiated().unwrap();
    assert!(n.ebgp && n.as4 && n.extended_message && n.refresh && n.enhanced_refresh);
    assert_eq!(n.remote_id, Ipv4Addr::from(LOW));
    // A third of the hold time, less up to a quarter of that.
    for _ in 0..2 {
        s.tick_in(22_500..=30_000, &["1: KEEPALIVE"]);
    }
    s.go(s.now, received(1, eor()), &["end-of-rib"]);
    s.go(s.now, closed(1), &["down closed EOF", "state active"]);
    assert_eq!(s.session.established_since(), None);
    assert_eq!(s.session.state_since(), at(s.now));
    assert_eq!(s.session.last_error().unwrap().reason.to_string(), "connection closed: EOF");
    s.tick_in(750..=1000, &["connect", "state connect"]);
    let c = s.session.counters();
    assert_eq!((c.sent.open, c.sent.keepalive, c.received.open, c.received.keepalive), (1, 3, 1, 1));
    assert_eq!((c.received.update, c.established, c.connects, c.transitions), (1, 1, 2, 6));
}

#[test]
fn our_open_says_what_we_can_do() {
    let mut s = Script::new(SessionConfig { local_asn: 4_200_000_001, hold_time: 9, ..config() });
    s.go(0, Input::Start, &["connect", "state connect"]);
    let mut out = Vec::new();
    s.session.handle(outgoing(1), at(0), &mut out);
    let Output::Send { data, .. } = &out[0] else { panic!("{out:?}") };
    let mut hex = String::new();
    for octet in &data[19..] {
        let _ = write!(hex, "{octet:02x}");
    }
    // Version 4, AS_TRANS, hold time 9, identifier; one parameter with the capabilities, in any order.
    assert!(hex.starts_with("045ba000090a000005"), "{hex}");
    for capability in ["010400190046", "0200", "0600", "40020000", "4104fa56ea01", "4600"] {
        assert!(hex.contains(capability), "{capability} in {hex}");
    }
}

#[test]
fn silence_ends_the_session_and_the_neighbour_may_return_at_once() {
    let mut s = Script::established(SessionConfig { hold_time: 9, ..config() });
    s.tick(2250..=3000, &["1: KEEPALIVE"]);
    s.go(4000, received(1, keepalive()), &[]);
    assert_eq!(s.session.hold_expires(), Some(at(13_000)));
    while s.session.deadline().unwrap() < at(13_000) {
        s.tick_in(0..=3000, &["1: KEEPALIVE"]);
    }
    s.tick(13_000..=13_000, &["1: NOTIFICATION 4/0", "close 1", "down sent 4/0", "state active"]);
    s.go(13_100, incoming(2), &["2: OPEN", "state opensent"]);
}

#[test]
fn every_message_type_but_route_refresh_is_a_sign_of_life() {
    let mut s = Script::established(SessionConfig { hold_time: 9, ..config() });
    s.go(1000, received(1, eor()), &["end-of-rib"]);
    assert_eq!(s.session.hold_expires(), Some(at(10_000)));
    let mut refresh = BytesMut::new();
    RouteRefresh::evpn(RefreshKind::Request).encode(&mut refresh);
    s.go(2000, received(1, refresh.freeze()), &["refresh Request"]);
    assert_eq!(s.session.hold_expires(), Some(at(10_000)));
}

#[test]
fn hold_time_zero_means_neither_keepalives_nor_expiry() {
    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.go(0, outgoing(1), &["1: OPEN", "state opensent"]);
    s.go(0, received(1, open(65002, LOW, 0)), &["1: KEEPALIVE", "state openconfirm"]);
    s.go(0, received(1, keepalive()), &["state established", "established AS 65002 hold 0"]);
    s.go(0, Input::Written { conn: ConnId(1), bytes: usize::MAX }, &[]);
    assert_eq!(s.session.deadline(), None);
    s.go(1_000_000_000, received(1, eor()), &["end-of-rib"]);
    assert_eq!(s.session.deadline(), None);
}

#[test]
fn the_open_is_awaited_for_four_minutes() {
    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.go(0, outgoing(1), &["1: OPEN", "state opensent"]);
    s.tick(240_000..=240_000, &["1: NOTIFICATION 4/0", "close 1", "failed sent 4/0", "state active"]);
}

#[test]
fn the_keepalive_is_awaited_for_the_hold_time() {
    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.go(0, outgoing(1), &["1: OPEN", "state opensent"]);
    s.go(5000, received(1, open(65002, LOW, 9)), &["1: KEEPALIVE", "state openconfirm"]);
    while s.session.deadline().unwrap() < at(14_000) {
        s.tick_in(2250..=3000, &["1: KEEPALIVE"]);
    }
    s.tick(14_000..=14_000, &["1: NOTIFICATION 4/0", "close 1", "failed sent 4/0", "state active"]);
}

// ---- connecting

#[test]
fn attempts_that_fail_wait_longer_each_time_up_to_connect_retry() {
    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    // Why is said once.
    s.go(5, refused(), &["failed connect refused", "state active"]);
    s.tick_in(750..=1000, &["connect", "state connect"]);
    for wait in [2000, 4000, 8000, 15_000, 15_000, 15_000] {
        s.go(s.now + 5, refused(), &["state active"]);
        s.tick_in(wait * 3 / 4..=wait, &["connect", "state connect"]);
    }
    s.go(s.now + 5, outgoing(1), &["1: OPEN", "state opensent"]);
    s.go(s.now, closed(1), &["failed closed EOF", "state active"]);
    s.tick_in(750..=1000, &["connect", "state connect"]);
    s.go(s.now, refused(), &["failed connect refused", "state active"]);
    s.tick_in(750..=1000, &["connect", "state connect"]);
}

#[test]
fn an_attempt_that_hangs_is_given_up() {
    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.tick(15_000..=15_000, &["abort", "failed connect timed out", "connect"]);
    s.tick(30_000..=30_000, &["abort", "connect"]);
    // Another reason is news.
    s.go(s.now, refused(), &["failed connect refused", "state active"]);
}

#[test]
fn why_it_cannot_connect_is_told_again_after_a_session() {
    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.go(0, refused(), &["failed connect refused", "state active"]);
    s.go(0, incoming(1), &["1: OPEN", "state opensent"]);
    s.go(0, received(1, open(65002, LOW, 90)), &["1: KEEPALIVE", "state openconfirm"]);
    let up = s.up_line();
    s.go(0, received(1, keepalive()), &["state established", &up]);
    s.go(0, closed(1), &["down closed EOF", "state active"]);
    s.tick_in(750..=1000, &["connect", "state connect"]);
    s.go(s.now, refused(), &["failed connect refused", "state active"]);
}

#[test]
fn a_connection_that_crosses_an_abort_is_closed() {
    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.go(1, stop(), &["abort", "state idle"]);
    s.go(2, outgoing(1), &["close 1"]);
    s.go(3, refused(), &[]);
    assert_eq!(s.session.deadline(), None);
}

#[test]
fn a_passive_session_only_waits() {
    let mut s = Script::new(SessionConfig { passive: true, ..config() });
    s.go(0, Input::Start, &["state active"]);
    assert_eq!(s.session.deadline(), None);
    s.go(1000, incoming(1), &["1: OPEN", "state opensent"]);
    s.go(1000, closed(1), &["failed closed EOF", "state active"]);
    assert_eq!(s.session.deadline(), None);
    s.go(1000, incoming(2), &["2: OPEN", "state opensent"]);
    s.go(1000, received(2, open(65002, LOW, 90)), &["2: KEEPALIVE", "state openconfirm"]);
    s.go(1000, received(2, keepalive()), &["state established", "established AS 65002 hold 90"]);
}

// ---- OPEN

/// Sends `bytes` where an OPEN is due; the NOTIFICATION must be `code`, and a pause must follow.
#[track_caller]
fn bad_open(config: SessionConfig, bytes: Bytes, code: &str) -> Script {
    let mut s = Script::new(config);
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.go(0, outgoing(1), &["1: OPEN", "state opensent"]);
    let (sent, failed) = (format!("1: NOTIFICATION {code}"), format!("failed sent {code}"));
    s.go(10, received(1, bytes), &[&sent, "close 1", &failed, "state idle"]);
    s.go(20, incoming(2), &["2: NOTIFICATION 6/5", "close 2"]);
    s.go(20, received(2, open(65002, LOW, 90)), &[]);
    assert_eq!(s.session.counters().refused, 1);
    s.tick(760..=1010, &["connect", "state connect"]);
    s
}

#[test]
fn opens_we_cannot_accept_are_refused_as_the_rfc_says() {
    let good = open(65002, LOW, 90);
    let patch = |at: usize, octet: u8| {
        let mut b = good.to_vec();
        b[19 + at] = octet;
        Bytes::from(b)
    };
    bad_open(config(), patch(0, 3), "2/1");
    bad_open(config(), open(65003, LOW, 90), "2/2");
    bad_open(SessionConfig { remote_asn: RemoteAsn::Internal, ..config() }, good.clone(), "2/2");
    bad_open(SessionConfig { remote_asn: RemoteAsn::External, ..config() }, open(65001, LOW, 90), "2/2");
    bad_open(config(), open(65002, [0; 4], 90), "2/3");
    bad_open(
        SessionConfig { remote_asn: RemoteAsn::Internal, ..config() },
        open(65001, US.octets(), 90),
        "2/3",
    );
    bad_open(config(), open(65002, LOW, 1), "2/6");
    bad_open(config(), open(65002, LOW, 2), "2/6");
    let no_evpn = Capabilities { multiprotocol: vec![(1, 1)], ..capabilities(65002) };
    bad_open(config(), open_with(65002, LOW, 90, no_evpn), "2/7");
    bad_open(config(), raw(1, &[4, 253, 234, 0, 90, 10, 0, 0, 1, 9, 2]), "2/0");
    // Headers are checked before.
    bad_open(config(), Bytes::from_static(b"SSH-2.0-OpenSSH_9.2\r\n"), "1/1");
    bad_open(config(), raw(9, &[]), "1/3");
    bad_open(config(), raw(2, &[0; 4078]), "1/2");
    bad_open(config(), raw(4, &[0]), "1/2");
}

#[test]
fn a_missing_family_is_told_with_the_capability_we_want() {
    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.go(0, outgoing(1), &["1: OPEN", "state opensent"]);
    let mut out = Vec::new();
    let theirs = open_with(65002, LOW, 90, Capabilities::default());
    s.session.handle(received(1, theirs), at(0), &mut out);
    let Output::Send { data, .. } = &out[0] else { panic!("{out:?}") };
    assert_eq!(parse(data)[0].1, Bytes::from_static(&[2, 7, 1, 4, 0, 25, 0, 70]));
    let error = s.session.last_error().unwrap();
    assert!(error.reason.to_string().contains("Unsupported Capability"), "{}", error.reason);
}

#[test]
fn a_notification_in_opensent_is_the_end_of_that_connection() {
    for (n, next) in [
        (Notification::unsupported_version(), "state idle"),
        (Notification::bad_peer_as(65001), "state idle"),
        (Notification::cease(cease::CONNECTION_REJECTED), "state active"),
        (Notification::cease(cease::COLLISION), "state active"),
    ] {
        let mut s = Script::new(config());
        s.go(0, Input::Start, &["connect", "state connect"]);
        s.go(0, outgoing(1), &["1: OPEN", "state opensent"]);
        let failed = format!("failed received {}/{}", n.code, n.subcode);
        s.go(0, received(1, notification(&n)), &["close 1", &failed, next]);
        s.go(0, closed(1), &[]);
        s.tick(750..=1000, &["connect", "state connect"]);
    }
}

#[test]
fn messages_out_of_place_are_fsm_errors() {
    let refresh = raw(5, &[0, 25, 0, 70]);
    for message in [keepalive(), eor(), refresh.clone()] {
        bad_open(config(), message, "5/1");
    }
    for message in [open(65002, LOW, 90), eor(), refresh] {
        let mut s = Script::new(config());
        s.go(0, Input::Start, &["connect", "state connect"]);
        s.go(0, outgoing(1), &["1: OPEN", "state opensent"]);
        s.go(0, received(1, open(65002, LOW, 90)), &["1: KEEPALIVE", "state openconfirm"]);
        s.go(0, received(1, message), &["1: NOTIFICATION 5/2", "close 1", "failed sent 5/2", "state idle"]);
    }
    let mut s = Script::established(config());
    let again = open(65002, LOW, 90);
    s.go(0, received(1, again), &["1: NOTIFICATION 5/3", "close 1", "down sent 5/3", "state idle"]);
}

// ---- collisions

/// Both connections in OpenSent: 1 is ours, 2 the neighbour's.
fn collided() -> Script {
    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.go(0, incoming(2), &["2: OPEN", "state opensent"]);
    s.go(0, outgoing(1), &["1: OPEN"]);
    s
}

#[test]
fn the_connection_of_the_larger_identifier_stays() {
    // First OPEN on the one that stays, then on the one that goes, for both outcomes.
    for (id, winner, loser) in [(HIGH, 2, 1), (LOW, 1, 2)] {
        let hears = open(65002, id, 90);
        let mut s = collided();
        let bye = [format!("{loser}: NOTIFICATION 6/7"), format!("close {loser}")];
        let keepalive_out = format!("{winner}: KEEPALIVE");
        s.go(0, received(winner, hears.clone()), &[&bye[0], &bye[1], &keepalive_out, "state openconfirm"]);
        s.go(0, received(loser, hears.clone()), &[]);
        s.go(0, received(winner, keepalive()), &["state established", "established AS 65002 hold 90"]);
        assert_eq!(s.session.counters().collisions, 1);
        assert_eq!(s.session.last_error(), None);

        let mut s = collided();
        s.go(0, received(loser, hears.clone()), &[&bye[0], &bye[1]]);
        // Not for four minutes: that OPEN is on its way or will never come.
        assert_eq!(s.session.deadline(), Some(at(20_000)));
        s.go(0, received(winner, hears), &[&keepalive_out, "state openconfirm"]);
        s.go(0, received(winner, keepalive()), &["state established", "established AS 65002 hold 90"]);
    }
}

#[test]
fn a_collision_with_openconfirm_is_settled_by_the_second_open() {
    for (id, winner, loser) in [(HIGH, 2, 1), (LOW, 1, 2)] {
        let mut s = Script::new(config());
        s.go(0, Input::Start, &["connect", "state connect"]);
        let (first, second) = (loser, winner);
        let connected = |n| if n == 1 { outgoing(1) } else { incoming(2) };
        s.go(0, connected(first), &[&format!("{first}: OPEN"), "state opensent"]);
        let hears = open(65002, id, 90);
        s.go(0, received(first, hears.clone()), &[&format!("{first}: KEEPALIVE"), "state openconfirm"]);
        if second == 1 {
            s.go(0, connected(second), &["1: OPEN"]);
        } else {
            s.go(0, connected(second), &["2: OPEN"]);
        }
        let bye = format!("{loser}: NOTIFICATION 6/7");
        let close = format!("close {loser}");
        s.go(0, received(second, hears), &[&bye, &close, &format!("{winner}: KEEPALIVE")]);
        s.go(0, received(winner, keepalive()), &["state established", "established AS 65002 hold 90"]);
    }
}

#[test]
fn equal_identifiers_are_told_apart_by_the_as() {
    // Ours is 65001: the neighbour's 65002 is larger, so its connection stays.
    let mut s = collided();
    s.go(0, received(1, open(65002, US.octets(), 90)), &["1: NOTIFICATION 6/7", "close 1"]);
}

#[test]
fn a_bad_open_on_one_connection_leaves_the_other_alone() {
    let mut s = collided();
    s.go(0, received(1, open(65009, HIGH, 90)), &["1: NOTIFICATION 2/2", "close 1", "failed sent 2/2"]);
    s.state(State::OpenSent);
    s.go(0, received(2, open(65002, HIGH, 90)), &["2: KEEPALIVE", "state openconfirm"]);
}

#[test]
fn the_neighbour_may_settle_the_collision() {
    let mut s = collided();
    let bye = notification(&Notification::cease(cease::COLLISION));
    s.go(0, received(1, bye), &["close 1"]);
    s.go(0, closed(1), &[]);
    s.go(0, received(2, open(65002, HIGH, 90)), &["2: KEEPALIVE", "state openconfirm"]);
    assert_eq!(s.session.last_error(), None);
}

#[test]
fn an_established_session_wins_and_is_probed() {
    let mut s = Script::established(config());
    // HIGH would win a tie, but there is none.
    s.go(1000, incoming(2), &["2: OPEN", "1: KEEPALIVE"]);
    s.go(1000, incoming(3), &["3: NOTIFICATION 6/5", "close 3", "1: KEEPALIVE"]);
    s.go(1000, received(2, open(65002, HIGH, 90)), &["2: NOTIFICATION 6/7", "close 2"]);
    s.state(State::Established);
    // The neighbour had restarted: the probe finds nobody there.
    s.go(1001, closed(1), &["down closed EOF", "state active"]);
    s.go(1500, incoming(4), &["4: OPEN", "state opensent"]);
}

#[test]
fn a_newcomer_takes_over_when_the_old_session_dies_first() {
    let mut s = Script::established(config());
    s.go(1000, incoming(2), &["2: OPEN", "1: KEEPALIVE"]);
    s.go(1001, closed(1), &["down closed EOF", "state opensent"]);
    s.go(1002, received(2, open(65002, HIGH, 90)), &["2: KEEPALIVE", "state openconfirm"]);
    s.go(1002, received(2, keepalive()), &["state established", "established AS 65002 hold 90"]);
}

#[test]
fn coming_up_ends_everything_else() {
    // While an attempt of ours runs.
    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.go(0, incoming(2), &["2: OPEN", "state opensent"]);
    s.go(0, received(2, open(65002, LOW, 90)), &["2: KEEPALIVE", "state openconfirm"]);
    s.go(0, received(2, keepalive()), &["abort", "state established", "established AS 65002 hold 90"]);
    s.go(0, outgoing(1), &["close 1"]);
    // While our connection has not brought an OPEN.
    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.go(0, incoming(2), &["2: OPEN", "state opensent"]);
    s.go(0, received(2, open(65002, LOW, 90)), &["2: KEEPALIVE", "state openconfirm"]);
    s.go(0, outgoing(1), &["1: OPEN"]);
    s.go(
        0,
        received(2, keepalive()),
        &["1: NOTIFICATION 6/7", "close 1", "state established", "established AS 65002 hold 90"],
    );
}

#[test]
fn of_two_connections_of_the_neighbour_the_newer_stays() {
    let mut s = Script::new(SessionConfig { passive: true, ..config() });
    s.go(0, Input::Start, &["state active"]);
    s.go(0, incoming(1), &["1: OPEN", "state opensent"]);
    s.go(9000, incoming(2), &["2: OPEN"]);
    s.go(9000, incoming(3), &["3: NOTIFICATION 6/5", "close 3"]);
    s.go(
        9000,
        received(2, open(65002, LOW, 90)),
        &["1: NOTIFICATION 6/7", "close 1", "2: KEEPALIVE", "state openconfirm"],
    );
}

// ---- stopping

#[test]
fn stop_says_why_and_stays_down() {
    let mut s = Script::established(config());
    s.go(10, stop(), &["1: NOTIFICATION 6/2", "close 1", "down sent 6/2", "state idle"]);
    assert_eq!(s.session.deadline(), None);
    assert_eq!(
        s.session.last_error().unwrap().reason.to_string(),
        "sent Cease / Administrative Shutdown: back at noon (6/2)"
    );
    // Whoever knocks is told the same.
    s.go(20, incoming(2), &["2: NOTIFICATION 6/2", "close 2"]);
    for input in [Input::Tick, closed(1), received(1, keepalive()), Input::Send { data: eor() }, refused()] {
        s.go(30, input, &[]);
    }
    s.go(40, Input::Start, &["connect", "state connect"]);
    s.go(40, Input::Start, &[]);
}

#[test]
fn stop_closes_both_of_two_connections() {
    let mut s = collided();
    let expected = ["2: NOTIFICATION 6/2", "close 2", "1: NOTIFICATION 6/2", "close 1", "state idle"];
    s.go(0, stop(), &expected);
}

#[test]
fn hold_down_keeps_away_for_a_while() {
    let mut s = Script::established(config());
    let too_many =
        Input::Stop { subcode: cease::MAX_PREFIXES, text: None, hold_down: Some(Duration::from_secs(60)) };
    s.go(0, too_many.clone(), &["1: NOTIFICATION 6/1", "close 1", "down sent 6/1", "state idle"]);
    s.go(30_000, incoming(2), &["2: NOTIFICATION 6/1", "close 2"]);
    assert_eq!(s.session.retry_at(), Some(at(60_000)));
    s.tick(60_000..=60_000, &["connect", "state connect"]);
    // A stopped session is not started by it.
    s.go(60_000, stop(), &["abort", "state idle"]);
    s.go(60_000, too_many, &[]);
    assert_eq!(s.session.deadline(), None);
}

#[test]
fn the_neighbours_shutdown_is_repeated_in_its_words() {
    let mut s = Script::established(config());
    let bye = notification(&Notification::shutdown(2, "maintenance"));
    s.go(0, received(1, bye), &["close 1", "down received 6/2", "state active"]);
    assert_eq!(
        s.session.last_error().unwrap().reason.to_string(),
        "received Cease / Administrative Shutdown: maintenance (6/2)"
    );
}

#[test]
fn new_settings_reset_only_what_depends_on_them() {
    let mut s = Script::established(config());
    let lazy = SessionConfig { connect_retry: Duration::from_secs(99), passive: true, ..config() };
    s.go(0, Input::Reconfigure(lazy), &[]);
    s.go(0, Input::Reconfigure(config()), &[]);
    let other = SessionConfig { hold_time: 30, ..config() };
    s.go(
        0,
        Input::Reconfigure(other),
        &["1: NOTIFICATION 6/6", "close 1", "down sent 6/6", "connect", "state connect"],
    );
    // To passive and back, out of Connect.
    let passive = SessionConfig { hold_time: 30, passive: true, ..config() };
    s.go(0, Input::Reconfigure(passive), &["abort", "state active"]);
    let active = SessionConfig { hold_time: 30, ..config() };
    s.go(0, Input::Reconfigure(active.clone()), &["connect", "state connect"]);
    // What is stopped stays stopped.
    s.go(0, stop(), &["abort", "state idle"]);
    s.go(0, Input::Reconfigure(config()), &[]);
    assert_eq!(s.session.deadline(), None);
}

#[test]
fn a_mended_setting_ends_the_pause() {
    let mut s = bad_open(config(), open(65003, LOW, 90), "2/2");
    s.go(s.now, outgoing(5), &["5: OPEN", "state opensent"]);
    s.go(
        s.now,
        received(5, open(65003, LOW, 90)),
        &["5: NOTIFICATION 2/2", "close 5", "failed sent 2/2", "state idle"],
    );
    let mended = SessionConfig { remote_asn: RemoteAsn::Number(65003), ..config() };
    s.go(s.now, Input::Reconfigure(mended), &["connect", "state connect"]);
}

// ---- pauses

#[test]
fn pauses_grow_with_each_failure_and_shrink_after_a_stable_session() {
    let mut s = Script::new(config());
    s.go(0, Input::Start, &["connect", "state connect"]);
    let mut conn = 0;
    let mut up = |s: &mut Script| {
        conn += 1;
        s.go(s.now, outgoing(conn), &[&format!("{conn}: OPEN"), "state opensent"]);
        let keepalive_out = format!("{conn}: KEEPALIVE");
        s.go(s.now, received(conn, open(65002, LOW, 0)), &[&keepalive_out, "state openconfirm"]);
        let both = ["state established", "established AS 65002 hold 0"];
        s.go(s.now, received(conn, keepalive()), &both);
        s.go(s.now, Input::Written { conn: ConnId(conn), bytes: 1000 }, &[]);
        conn
    };
    let unacceptable = || Input::ProtocolError(Notification::update(1, Bytes::new()));
    for wait in [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
        let conn = up(&mut s);
        let sent = format!("{conn}: NOTIFICATION 3/1");
        s.go(s.now, unacceptable(), &[&sent, &format!("close {conn}"), "down sent 3/1", "state idle"]);
        s.tick_in(wait * 3 / 4..=wait, &["connect", "state connect"]);
    }
    let conn = up(&mut s);
    let sent = format!("{conn}: NOTIFICATION 3/1");
    s.go(s.now + 30_000, unacceptable(), &[&sent, &format!("close {conn}"), "down sent 3/1", "state idle"]);
    s.tick_in(750..=1000, &["connect", "state connect"]);
}

#[test]
fn nothing_makes_attempts_follow_each_other_without_a_pause() {
    let hasty = SessionConfig {
        connect_retry: Duration::ZERO,
        idle_hold: Duration::ZERO,
        idle_hold_max: Duration::ZERO,
        ..config()
    };
    let mut s = Script::new(hasty);
    s.go(0, Input::Start, &["connect", "state connect"]);
    s.tick(1000..=1000, &["abort", "failed connect timed out", "connect"]);
    s.go(1000, refused(), &["failed connect refused", "state active"]);
    s.tick_in(75..=100, &["connect", "state connect"]);
}

#[test]
fn timers_differ_from_neighbour_to_neighbour_and_from_time_to_time() {
    let mut keepalives = std::collections::BTreeSet::new();
    let mut s = Script::established(config());
    for _ in 0..3 {
        let before = s.now;
        s.tick_in(22_500..=30_000, &["1: KEEPALIVE"]);
        keepalives.insert(s.now - before);
    }
    assert_eq!(keepalives.len(), 3);
    let retry = |seed| {
        let mut session = Session::new(config(), Time::ZERO, seed);
        let mut out = Vec::new();
        session.handle(Input::Start, at(0), &mut out);
        session.handle(refused(), at(0), &mut out);
        session.retry_at()
    };
    assert_eq!(retry(1), retry(1));
    assert_ne!(retry(1), retry(2));
}
