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
fn what_is_freed_under_a_cursor_moves_it_on() {
    let mut t = Table::new();
    let ids: Vec<u32> = (0..200).map(|n| add(&mut t, n)).collect();
    let cursor = t.new_cursor();
    for &id in &ids[..199] {
        t.get_mut(id).set_first(Path::ABSENT);
        t.bury(id);
        t.bury(id);
    }
    assert_eq!(t.tombstones(), 199);
    t.get_mut(ids[5]).set_first(path());
    t.revive(ids[5]);
    t.touch(ids[5]);
    t.free_all(&[&ids[..5], &ids[6..199]].concat());
    assert_eq!((t.tombstones(), t.len()), (0, 2));
    assert_eq!(ahead(&t, cursor), [ids[199], ids[5]]);
    assert_eq!((t.find(t.hash(&key(1)), &key(1)), t.find(t.hash(&key(5)), &key(5))), (None, Some(ids[5])));
    assert_eq!(add(&mut t, 3), ids[198], "the slot is used again");
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
