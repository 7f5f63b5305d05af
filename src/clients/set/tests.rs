use super::*;
use crate::clients::{Ases, parse};

const OURS: Ases = Ases { own: 65001, zero: 65001 };

fn file(port: u16, mac: u8) -> String {
    in_vni(port, mac, 10)
}

fn in_vni(port: u16, mac: u8, vni: u32) -> String {
    format!("{{\"mac\": \"02:00:00:00:00:{mac:02x}\", \"vni\": {vni}, \"ofport\": {port}}}")
}

fn tagged(port: u16, mac: u8, tag: u16) -> String {
    format!("{{\"type\": \"vlan\", \"tag\": {tag}, {}", file(port, mac).trim_start_matches('{'))
}

/// Writes files (an empty text: removes one) and says how all stand: `a:1 b:- c!2`: name, `:` in order, `!` broken, `x`
/// in conflict, and the port in use.
fn put(set: &mut Set, files: &[(&str, &str)]) -> String {
    told(set, files).0
}

fn told(set: &mut Set, files: &[(&str, &str)]) -> (String, Vec<String>) {
    let changes = files.iter().map(|(name, text)| {
        let name: Arc<str> = Arc::from(*name);
        let parsed = (!text.is_empty()).then(|| parse::client(&name, text, OURS));
        (name, parsed)
    });
    let changes = changes.collect();
    let notes = set.apply(changes).into_iter().map(|note| note.text).collect();
    let mut claimed = std::collections::HashSet::new();
    for client in set.clients() {
        for claim in claims(&client.client) {
            assert!(claimed.insert(claim.clone()), "{claim} is in use twice");
        }
    }
    let show = |status: &Status| {
        let mark = match status.standing {
            Standing::Accepted => ':',
            Standing::Broken(_) => '!',
            Standing::Conflict(_) => 'x',
        };
        let port = status.in_use.as_ref().map_or_else(
            || "-".to_owned(),
            |config| match config.client.port {
                Port::Number(port) => port.to_string(),
                Port::Name(_) => "?".to_owned(),
            },
        );
        format!("{}{mark}{port}", status.name)
    };
    (set.statuses().iter().map(show).collect::<Vec<_>>().join(" "), notes)
}

#[test]
fn a_broken_file_keeps_what_it_said_and_disturbs_nobody() {
    let mut set = Set::default();
    assert_eq!(put(&mut set, &[("a", &file(1, 1)), ("b", &file(2, 2)), ("c", "{")]), "a:1 b:2 c!-");
    let (state, notes) = told(&mut set, &[("a", "{\"vni\": 0}"), ("b", &file(3, 2))]);
    assert_eq!(state, "a!1 b:3 c!-");
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].starts_with("client a: line 1: ") && notes[0].ends_with("; what it said before stays"));
    assert_eq!(notes[1], "client b: changed: 02:00:00:00:00:02 in VNI 10 at ofport 3");
    // Its place is kept for it.
    assert_eq!(put(&mut set, &[("d", &file(1, 4))]), "a!1 b:3 c!- dx-");
    let (state, notes) = told(&mut set, &[("a", &file(1, 1))]);
    assert_eq!((state.as_str(), notes.join("\n").as_str()), ("a:1 b:3 c!- dx-", "client a: in order again"));
    let (state, notes) = told(&mut set, &[("a", "")]);
    assert_eq!(state, "b:3 c!- d:1");
    assert_eq!(notes, ["client a: removed", "client d: 02:00:00:00:00:04 in VNI 10 at ofport 1"]);
    assert_eq!(told(&mut set, &[("b", &file(3, 2))]).1, [""; 0], "the same again is no news");
}

#[test]
fn the_first_keeps_the_later_waits() {
    let mut set = Set::default();
    // At the start the order of names decides.
    assert_eq!(put(&mut set, &[("b", &file(1, 2)), ("a", &file(1, 1))]), "a:1 bx-");
    let Standing::Conflict(why) = set.statuses()[1].standing.clone() else { panic!() };
    assert_eq!(why, "a has ofport 1");
    // Later, who was first: not even a name before the others changes that.
    assert_eq!(put(&mut set, &[("0", &file(1, 3)), ("1", &file(9, 1))]), "0x- 1x- a:1 bx-");
    let Standing::Conflict(why) = set.statuses()[1].standing.clone() else { panic!() };
    assert_eq!(why, "a has 02:00:00:00:00:01 in VNI 10");
    assert_eq!(put(&mut set, &[("a", "")]), "0:1 1:9 bx-");
    assert_eq!(put(&mut set, &[("0", &file(5, 3))]), "0:5 1:9 b:1");
    // Another VNI, another tag: another place.
    let mut set = Set::default();
    let files = [
        ("a", file(1, 1)),
        ("b", in_vni(2, 1, 11)),
        ("c", tagged(1, 3, 5)),
        ("d", tagged(1, 4, 6)),
        ("e", tagged(1, 5, 6)),
    ];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    assert_eq!(put(&mut set, &files), "a:1 b:2 c:1 d:1 ex-");
}

#[test]
fn places_are_swapped_and_taken_over_in_one_go() {
    let mut set = Set::default();
    assert_eq!(put(&mut set, &[("a", &file(1, 1)), ("b", &file(2, 2))]), "a:1 b:2");
    assert_eq!(put(&mut set, &[("a", &file(2, 1)), ("b", &file(1, 2))]), "a:2 b:1");
    // a goes, c takes its place.
    assert_eq!(put(&mut set, &[("a", ""), ("c", &file(2, 1))]), "b:1 c:2");
    // Three wait for one another's places.
    assert_eq!(put(&mut set, &[("a", &file(3, 3))]), "a:3 b:1 c:2");
    assert_eq!(put(&mut set, &[("a", &file(1, 3)), ("b", &file(2, 2)), ("c", &file(3, 1))]), "a:1 b:2 c:3");
}

#[test]
fn a_change_into_a_conflict_keeps_the_former_place() {
    let mut set = Set::default();
    assert_eq!(put(&mut set, &[("a", &file(1, 1)), ("b", &file(2, 2))]), "a:1 b:2");
    let (state, notes) = told(&mut set, &[("b", &file(1, 2))]);
    assert_eq!(
        (state.as_str(), notes.join("\n").as_str()),
        ("a:1 bx2", "client b: conflict: a has ofport 1; what it said before stays")
    );
    // A file that asks for it goes before one that no longer does.
    assert_eq!(put(&mut set, &[("c", &file(2, 3))]), "a:1 bx- c:2");
    assert_eq!(put(&mut set, &[("a", "")]), "b:1 c:2");
}

#[test]
fn many_are_told_in_one_line() {
    let mut set = Set::default();
    let files: Vec<_> = (1..=1000_u16).map(|n| (format!("{n}"), in_vni(n, 1, n.into()))).collect();
    let changes: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let changes = changes.iter().map(|(name, text)| {
        let name: Arc<str> = Arc::from(*name);
        let parsed = parse::client(&name, text, OURS);
        (name, Some(parsed))
    });
    let notes = set.apply(changes.collect());
    let news: Vec<_> =
        notes.iter().filter(|note| note.weight != Weight::Detail).map(|n| n.text.as_str()).collect();
    assert_eq!(news, ["clients: 1000 new, 0 changed, 0 removed"]);
    assert_eq!(notes.len(), 1001);
}

proptest::proptest! {
    /// However files come, change and go, no place is given out twice, and once everybody asks for a place of his own
    /// everybody has it.
    #[test]
    fn no_place_is_given_twice(steps in proptest::collection::vec((0..6_u8, 0..6_u16, 0..6_u8, 0..8_u8), 1..60)) {
        let mut set = Set::default();
        for (name, port, mac, what) in steps {
            let text = match what {
                0 => String::new(),
                1 => "{".to_owned(),
                _ => file(port + 1, mac + 1),
            };
            put(&mut set, &[(&name.to_string(), &text)]);
        }
        let files: Vec<_> = (0..6_u8).map(|n| (n.to_string(), file(u16::from(n) + 1, n + 1))).collect();
        let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        proptest::prop_assert_eq!(put(&mut set, &files), "0:1 1:2 2:3 3:4 4:5 5:6");
    }
}

#[test]
fn an_address_that_two_clients_have_is_told() {
    let with_ip = |port: u16, mac: u8, vni: u32, ip: &str| {
        format!("{}, \"ip\": \"{ip}\"}}", in_vni(port, mac, vni).trim_end_matches('}'))
    };
    let mut set = Set::default();
    let (a, b) = (with_ip(1, 1, 10, "10.0.0.1"), with_ip(2, 2, 10, "10.0.0.1"));
    // In another VNI it is another address.
    let (state, notes) = told(&mut set, &[("a", &a), ("b", &b), ("c", &with_ip(3, 3, 11, "10.0.0.1"))]);
    assert_eq!(state, "a:1 b:2 c:3", "allowed");
    let text = "10.0.0.1 is the address of a in VNI 10, too: one of them is announced with it";
    assert_eq!(notes.last().unwrap(), &format!("client b: {text}"));
    let warnings = |set: &Set| set.statuses().into_iter().map(|s| s.warnings).collect::<Vec<_>>();
    assert_eq!(warnings(&set), [vec![], vec![text.to_owned()], vec![]]);
    assert_eq!(put(&mut set, &[("a", "")]), "b:2 c:3");
    assert!(warnings(&set).iter().all(Vec::is_empty));
}
