//! Two sessions talking to each other over pipes, in virtual time.

#[path = "common/pair.rs"]
mod pair;

use std::net::Ipv4Addr;
use std::time::Duration;

use bgp::session::{DownReason, Input, Output, RemoteAsn, SessionConfig, State};
use bgp::wire::encode_eor;
use bgp::wire::notification::cease;
use bytes::BytesMut;

use pair::Pair;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// 65001 with the smaller and 65002 with the larger identifier.
fn configs() -> [SessionConfig; 2] {
    [
        SessionConfig::new(65001, Ipv4Addr::new(10, 0, 0, 1), RemoteAsn::Number(65002)),
        SessionConfig::new(65002, Ipv4Addr::new(10, 0, 0, 2), RemoteAsn::External),
    ]
}

fn with(change: impl Fn(&mut SessionConfig)) -> [SessionConfig; 2] {
    let mut both = configs();
    both.iter_mut().for_each(change);
    both
}

fn went_down(o: &Output) -> bool {
    matches!(o, Output::Down(_))
}

fn came_up(o: &Output) -> bool {
    matches!(o, Output::Established(_))
}

#[test]
fn whoever_connects_when_exactly_one_session_comes_up() {
    for seed in 0..3 {
        for apart_us in [0, 1, 250, 499, 500, 501, 750, 999, 1000, 1001, 1499, 1500, 1501, 2000, 5000] {
            for latency_us in [0, 500, 700] {
                for chunk in [usize::MAX, 1] {
                    let mut p = Pair::new(configs(), seed);
                    p.latency = Duration::from_micros(latency_us);
                    p.chunk = chunk;
                    p.start(Duration::from_micros(apart_us));
                    p.run_for(secs(5));
                    assert!(p.up(), "seed {seed} apart {apart_us} latency {latency_us}: {:?}", p.states());
                    assert_eq!(p.open_links(), 1);
                    for side in 0..2 {
                        assert_eq!(p.count(side, came_up), 1);
                        assert_eq!(p.count(side, went_down), 0);
                        // One that was not started yet refuses.
                        let refused = apart_us >= latency_us && side == 0;
                        let error = p.sessions[side].last_error();
                        assert!(
                            refused || error.is_none(),
                            "seed {seed} apart {apart_us} {latency_us}: {error:?}"
                        );
                    }
                    p.run_for(secs(600));
                    assert!(p.up() && p.open_links() == 1);
                    assert_eq!(p.count(0, went_down) + p.count(1, went_down), 0);
                }
            }
        }
    }
}

#[test]
fn connections_that_overtake_each_other_settle_too() {
    let (mut flaps, mut collisions) = (0, 0);
    for seed in 0..2000 {
        let mut p = Pair::new(configs(), seed);
        p.spread = Duration::from_millis(20);
        p.start(Duration::from_micros(seed * 7));
        p.run_for(secs(10));
        assert!(p.up() && p.open_links() == 1, "seed {seed}: {:?}", p.states());
        flaps += p.count(0, went_down) + p.count(1, went_down);
        collisions += p.sessions.iter().map(|s| s.counters().collisions).max().unwrap_or_default();
        let before = p.log.len();
        p.run_for(secs(60));
        assert!(p.up() && !p.log[before..].iter().any(|(.., o)| went_down(o)), "seed {seed}");
    }
    // Settled at the first OPEN, not one of them comes up on the connection the other gives up.
    assert_eq!(flaps, 0);
    assert!(collisions > 1000, "{collisions}");
}

#[test]
fn comes_up_within_a_few_round_trips() {
    let mut p = Pair::new(configs(), 1);
    p.start(Duration::ZERO);
    assert!(p.run_until_up(secs(1)) <= Duration::from_millis(4));
}

#[test]
fn passive_sides_wait_for_active_ones() {
    let mut both = configs();
    both[0].passive = true;
    let mut p = Pair::new(both, 1);
    p.start(secs(3));
    p.run_until_up(secs(1));
    assert_eq!(p.count(0, |o| matches!(o, Output::Connect)), 0);

    let mut p = Pair::new(with(|c| c.passive = true), 1);
    p.start(secs(3));
    p.run_for(secs(36_000));
    assert_eq!(p.states(), [State::Active; 2]);
    assert!(p.log.iter().all(|(.., o)| matches!(o, Output::StateChanged(State::Active))));
}

#[test]
fn silence_is_noticed_after_the_hold_time_and_recovery_follows() {
    let mut p = Pair::new(with(|c| c.hold_time = 9), 1);
    p.start(Duration::ZERO);
    p.run_for(secs(100));
    assert!(p.up());
    p.silent = true;
    let cut = p.now;
    while p.states().contains(&State::Established) {
        p.run_for(Duration::from_millis(10));
        assert!(p.now.since(cut) <= secs(9) + Duration::from_millis(10));
    }
    assert!(p.now.since(cut) >= secs(6));
    for side in 0..2 {
        let error = p.sessions[side].last_error().unwrap();
        assert_eq!(error.reason.to_string(), "sent Hold Timer Expired (4/0)");
    }
    p.run_for(secs(300));
    assert!(!p.up());
    p.silent = false;
    // A SYN lost in silence is repeated by our own timer here; a kernel does that sooner.
    p.run_until_up(secs(16));
}

#[test]
fn a_restarted_neighbour_is_back_at_once() {
    for seed in 0..50 {
        let mut p = Pair::new(configs(), seed);
        p.start(Duration::ZERO);
        p.run_for(secs(60));
        p.kill(1, true);
        p.run_for(Duration::from_millis(200));
        assert!(matches!(p.sessions[0].last_error().unwrap().reason, DownReason::Closed(_)));
        p.revive(1);
        assert!(p.run_until_up(secs(3)) < Duration::from_millis(10), "its own connection is accepted");
    }
}

#[test]
fn a_restarted_passive_neighbour_is_found_within_a_second_or_two() {
    for seed in 0..50 {
        let mut both = configs();
        both[1].passive = true;
        let mut p = Pair::new(both, seed);
        p.start(Duration::ZERO);
        p.run_for(secs(60));
        p.kill(1, true);
        p.run_for(Duration::from_millis(300));
        p.revive(1);
        assert!(p.run_until_up(secs(3)) < Duration::from_millis(1010));
    }
}

#[test]
fn a_host_that_crashed_is_back_long_before_the_hold_time() {
    for seed in 0..50 {
        let mut p = Pair::new(configs(), seed);
        p.start(Duration::ZERO);
        p.run_for(secs(60));
        assert!(p.up());
        // Without a word: the other side goes on believing in the session.
        p.kill(1, false);
        p.run_for(Duration::from_millis(500));
        assert_eq!(p.sessions[0].state(), State::Established);
        p.revive(1);
        let took = p.run_until_up(secs(90));
        assert!(took < secs(2), "{took:?}");
    }
}

#[test]
fn a_wrong_as_is_told_on_both_sides_without_a_hot_loop() {
    let mut both = configs();
    both[0].remote_asn = RemoteAsn::Number(64999);
    let mut p = Pair::new(both, 3);
    p.start(Duration::ZERO);
    p.run_for(secs(3600));
    assert!(p.log.iter().all(|(.., o)| !came_up(o)));
    assert!(p.log.iter().any(|(_, s, o)| *s == 0
        && matches!(o, Output::Failed(DownReason::Sent(n)) if (n.code, n.subcode) == (2, 2))));
    assert!(p.log.iter().any(|(_, s, o)| *s == 1
        && matches!(o, Output::Failed(DownReason::Received(n)) if (n.code, n.subcode) == (2, 2))));
    for side in 0..2 {
        let connects = p.count(side, |o| matches!(o, Output::Connect));
        assert!((60..300).contains(&connects), "{connects} attempts in an hour");
        // Not that they turn each other away while they pause.
        let error = p.sessions[side].last_error().unwrap().reason.to_string();
        assert!(error.contains("Bad Peer AS: AS 65002"), "{error}");
    }
    let mended = SessionConfig { remote_asn: RemoteAsn::External, ..p.sessions[0].config().clone() };
    p.input(0, Input::Reconfigure(mended));
    p.run_until_up(secs(61));
}

#[test]
fn a_neighbour_that_is_off_is_tried_again_and_again_but_not_often() {
    let mut p = Pair::new(configs(), 1);
    p.listening[1] = false;
    p.input(0, Input::Start);
    p.run_for(secs(3600));
    let connects = p.count(0, |o| matches!(o, Output::Connect));
    assert!((240..330).contains(&connects), "{connects}");
    p.listening[1] = true;
    p.input(1, Input::Start);
    assert!(p.run_until_up(secs(1)) < Duration::from_millis(10), "the other side connects itself");
}

#[test]
fn one_octet_at_a_time_is_as_good_as_all_at_once() {
    let mut p = Pair::new(configs(), 1);
    p.chunk = 1;
    p.start(Duration::from_micros(300));
    p.run_until_up(secs(1));
    let mut updates = BytesMut::new();
    for _ in 0..100 {
        encode_eor(&mut updates);
    }
    p.input(0, Input::Send { data: updates.freeze() });
    p.run_for(secs(1));
    assert_eq!(p.count(1, |o| matches!(o, Output::Update(u) if u.eor)), 100);
    assert_eq!(p.sessions[0].backlog(), 0);
}

#[test]
fn an_hour_costs_its_keepalives_and_nothing_else() {
    let mut p = Pair::new(with(|c| c.hold_time = 9), 1);
    p.start(Duration::ZERO);
    p.run_until_up(secs(1));
    let before = p.log.len();
    p.run_for(secs(3600));
    assert!(p.up());
    let sent = p.log.len() - before;
    assert!((2400..=3200).contains(&sent), "{sent} outputs, KEEPALIVEs every 2.25 to 3 s on each side");
    assert!(p.log[before..].iter().all(|(.., o)| matches!(o, Output::Send { data, .. } if data.len() == 19)));

    let mut p = Pair::new(with(|c| c.hold_time = 0), 1);
    p.start(Duration::ZERO);
    p.run_until_up(secs(1));
    let before = p.log.len();
    p.run_for(secs(36_000));
    assert!(p.up());
    assert_eq!(p.log.len(), before);
}

#[test]
fn shutdown_and_start_again() {
    let mut p = Pair::new(configs(), 5);
    p.start(Duration::ZERO);
    p.run_until_up(secs(1));
    let text = Some("moving racks".to_owned());
    p.input(0, Input::Stop { subcode: cease::ADMIN_SHUTDOWN, text, hold_down: None });
    p.run_for(secs(3600));
    assert_eq!(p.states()[0], State::Idle);
    assert_eq!(p.open_links(), 0);
    let heard = p.sessions[1].last_error().unwrap().reason.to_string();
    assert_eq!(heard, "received Cease / Administrative Shutdown: moving racks (6/2)");
    // The neighbour knocks seldom by now, and never refuses.
    let knocks = p.count(1, |o| matches!(o, Output::Connect));
    assert!(knocks < 300, "{knocks}");
    p.input(0, Input::Start);
    assert!(p.run_until_up(secs(1)) < Duration::from_millis(10));
}

#[test]
fn both_restart_at_once() {
    for seed in 0..50 {
        let mut p = Pair::new(configs(), seed);
        p.start(Duration::ZERO);
        p.run_for(secs(40));
        for side in 0..2 {
            p.kill(side, seed % 2 == 0);
        }
        p.run_for(Duration::from_micros(300 * seed));
        p.revive(0);
        p.run_for(Duration::from_micros(170 * seed));
        p.revive(1);
        p.run_until_up(secs(3));
        p.run_for(secs(300));
        assert!(p.up());
    }
}
