//! The change list, its cursors and the reaper, without routes.

use super::*;
use crate::wire::{Rd, RouteKey};
use types::MacAddr;

fn key(n: u8) -> RouteKey {
    RouteKey::MacIp { rd: Rd::default(), tag: 0, mac: MacAddr([2, 0, 0, 0, 0, n]), ip: None }
}

fn path() -> Path {
    Path { attr: 0, extra: 0, label: 7, next: NONE }
}

fn add(table: &mut Table, n: u8) -> u32 {
    let key = key(n);
    table.insert(table.hash(&key), key, path())
}

/// What a cursor has yet to visit.
fn ahead(table: &Table, cursor: CursorId) -> Vec<u32> {
    let mut at = table.position(cursor);
    let mut seen = Vec::new();
    while at != NONE {
        seen.push(at);
        at = table.get(at).following();
    }
    seen
}

fn bury(table: &mut Table, id: u32) {
    table.get_mut(id).set_first(Path::ABSENT);
    table.bury(id);
    table.touch(id);
}

#[test]
fn cursors_follow_what_moves_away_under_them() {
    let mut t = Table::new();
    let late = t.new_cursor();
    let [a, b, c] = [1, 2, 3].map(|n| add(&mut t, n));
    assert_eq!(ahead(&t, late), [a, b, c]);
    t.touch(a);
    assert_eq!(ahead(&t, late), [b, c, a]);
    t.seek(late, NONE);
    assert_eq!(ahead(&t, late), []);
    t.touch(b);
    assert_eq!(ahead(&t, late), [b]);
    t.touch(b);
    assert_eq!(ahead(&t, late), [b]);
    let new = t.new_cursor();
    assert_eq!(ahead(&t, new), [c, a, b]);
    let fork = t.fork_cursor(late);
    t.touch(c);
    assert_eq!((ahead(&t, new), ahead(&t, late), ahead(&t, fork)), (vec![a, b, c], vec![b, c], vec![b, c]));
    t.drop_cursor(late);
    t.drop_cursor(fork);
    assert_eq!(t.new_cursor(), late, "slots are used again");
}

#[test]
fn tombstones_wait_for_every_cursor() {
    let mut t = Table::new();
    let (fast, slow) = (t.new_cursor(), t.new_cursor());
    let [a, b] = [1, 2].map(|n| add(&mut t, n));
    t.seek(fast, NONE);
    t.seek(slow, NONE);
    bury(&mut t, a);
    assert_eq!((t.tombstones(), t.reap(100)), (1, false));
    t.seek(fast, NONE);
    assert_eq!((t.reap(100), t.tombstones()), (false, 1), "slow has not seen it");
    t.seek(slow, NONE);
    assert_eq!((t.reap(100), t.tombstones(), t.len()), (false, 0, 1));
    assert_eq!(t.find(t.hash(&key(1)), &key(1)), None);
    assert_eq!(t.find(t.hash(&key(2)), &key(2)), Some(b));
    assert_eq!(add(&mut t, 3), a, "the slot is used again");
}

#[test]
fn a_rewound_cursor_keeps_the_reaper_behind_it() {
    let mut t = Table::new();
    let one = t.new_cursor();
    let [a, _b] = [1, 2].map(|n| add(&mut t, n));
    t.seek(one, NONE);
    bury(&mut t, a);
    t.rewind(one);
    t.reap(100);
    assert_eq!(t.tombstones(), 1);
    t.seek(one, NONE);
    t.reap(100);
    assert_eq!(t.tombstones(), 0);
}

#[test]
fn reaping_is_bounded_and_goes_on() {
    let mut t = Table::new();
    let ids: Vec<u32> = (0..200).map(|n| add(&mut t, n)).collect();
    for id in ids {
        bury(&mut t, id);
    }
    assert!(t.reap(70) && t.tombstones() > 100);
    while t.reap(70) {}
    assert_eq!((t.tombstones(), t.len(), t.head, t.tail, t.reaper), (0, 0, NONE, NONE, NONE));
}

#[test]
fn the_index_survives_growth_and_deletions() {
    let mut t = Table::new();
    for round in 0..5_u8 {
        let ids: Vec<u32> = (0..250).map(|n| add(&mut t, n)).collect();
        for n in 0..250 {
            assert_eq!(t.find(t.hash(&key(n)), &key(n)), Some(ids[usize::from(n)]), "round {round}");
        }
        for id in ids {
            t.get_mut(id).set_first(Path::ABSENT);
            t.free(id);
        }
        assert_eq!(t.len(), 0);
    }
}
