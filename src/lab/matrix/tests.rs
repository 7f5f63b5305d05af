//! What is asked in the lab of 18 endpoints, and what the answers mean.

use super::super::args::{Backend, Layout};
use super::super::shape::Shape;
use super::*;

const LAB: Shape =
    Shape { hosts: 3, endpoints: 6, backend: Backend::Kernel, layout: Layout::SingleDevice, overlays: 4 };

fn seats(shape: Shape) -> Vec<(usize, Seat)> {
    let of = |host: u8| shape.seats(host).into_iter().map(move |seat| (usize::from(host), seat));
    (1..=shape.hosts).flat_map(of).collect()
}

fn asked(round: Round, shape: Shape) -> usize {
    let seats = seats(shape);
    let all: Vec<_> = seats.iter().map(|(host, seat)| (*host, seat)).collect();
    all.iter().map(|from| targets(round, *from, &all).len()).sum()
}

#[test]
fn everybody_is_asked_for() {
    // 4, 5, 6 and 3 endpoints in an overlay.
    assert_eq!(asked(Round::Overlays, LAB), 4 * 3 + 5 * 4 + 6 * 5 + 3 * 2);
    assert_eq!(asked(Round::Inside, LAB) + asked(Round::Across, LAB), asked(Round::Overlays, LAB));
    // 14 addresses in all: nobody asks for those of his own overlay.
    assert_eq!(asked(Round::Between, LAB), 4 * (14 - 4) + 5 * (14 - 5) + 6 * (14 - 6) + 3 * (14 - 3));
    let one = Shape { endpoints: 3, overlays: 1, layout: Layout::DevicePerVni, ..LAB };
    assert_eq!(
        [asked(Round::Inside, one), asked(Round::Across, one), asked(Round::Between, one)],
        [18, 54, 0]
    );
}

/// e11 and e12 have the same address in the first and second overlay, e24 and e21 as well; e25 has one that only the
/// second knows.
#[test]
fn an_answer_is_known_by_its_mac() {
    let seats = seats(LAB);
    let seat =
        |name: &str| seats.iter().map(|(_, seat)| seat).find(|seat| seat.name == name).unwrap().clone();
    let (e11, e12, e21, e24, e25) = (seat("e11"), seat("e12"), seat("e21"), seat("e24"), seat("e25"));
    assert_eq!((&e11.address, &e21.address), (&e12.address, &e24.address));
    let heard = |own: bool, answered: bool, from: &Seat, to: &Seat, mac: Option<&Seat>| {
        let heard = Heard { own, answered, mac: mac.map(|seat| seat.mac.clone()) };
        Matrix { heard: BTreeMap::from([((from.name.clone(), to.address.clone()), heard)]) }
    };
    let marks = |matrix: &Matrix, from: &Seat| [&e24, &e21, &e25].map(|to| matrix.mark(from, to));
    // Asked for in the first overlay, which has that address.
    let own = |answered, mac| marks(&heard(true, answered, &e11, &e24, mac), &e11);
    assert_eq!(own(true, Some(&e24)), [Mark::Reached, Mark::Apart, Mark::Blank]);
    assert_eq!(own(true, Some(&e21)), [Mark::Wrong, Mark::Leak, Mark::Blank]);
    assert_eq!(own(true, None), [Mark::Wrong, Mark::Apart, Mark::Blank]);
    assert_eq!(own(false, Some(&e24)), [Mark::Lost, Mark::Apart, Mark::Blank]);
    // Asked for in the first overlay, which has it not.
    let other = |answered, mac| marks(&heard(false, answered, &e11, &e25, mac), &e11)[2];
    assert_eq!(other(false, None), Mark::Apart);
    assert_eq!(other(true, None), Mark::Leak);
    // Without an answer: that somebody is there is too much already.
    assert_eq!(other(false, Some(&e12)), Mark::Leak);
    assert_eq!(Matrix::default().mark(&e11, &e12), Mark::Same);
}

#[test]
fn neighbours_as_ip_shows_them() {
    let text = "10.100.1.102 lladdr 02:00:00:00:01:04 REACHABLE \n10.100.1.10 FAILED \n10.100.2.1 lladdr 02:00:00:00:02:01 STALE\n";
    assert_eq!(mac_of(text, "10.100.1.102").as_deref(), Some("02:00:00:00:01:04"));
    assert_eq!(mac_of(text, "10.100.2.1").as_deref(), Some("02:00:00:00:02:01"));
    assert_eq!((mac_of(text, "10.100.1.10"), mac_of(text, "10.100.1.1")), (None, None));
}
