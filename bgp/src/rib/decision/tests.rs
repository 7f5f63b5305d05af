use std::net::Ipv4Addr;

use super::*;
use crate::wire::{AsPath, AsSegment, ExtCommunity, Origin};

fn peer(n: u8, kind: PeerKind) -> PeerInfo {
    PeerInfo {
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)),
        asn: 65000 + u32::from(n),
        router_id: Ipv4Addr::new(1, 1, 1, n),
        kind,
        as4: true,
        max_message: 4096,
        enhanced_refresh: false,
    }
}

fn attributes(path: &[u32]) -> Attributes {
    let mut a = Attributes::local(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    if !path.is_empty() {
        a.as_path = AsPath(vec![AsSegment::Sequence(path.to_vec())]);
    }
    a
}

fn mobile(sequence: u32, sticky: bool) -> Attributes {
    let mut a = attributes(&[65001, 65002, 65003]);
    a.ext_communities.push(ExtCommunity::mac_mobility(sequence, sticky));
    a
}

/// Both orders, both implementations: `better` wins over `worse` at `step`.
#[track_caller]
fn beats(better: &Rank, worse: &Rank, mobility: bool, step: Reason) {
    for (ranks, winner) in [([better, worse], 0), ([worse, better], 1)] {
        let mut why = None;
        assert_eq!(decide(&ranks, mobility, |loser, step| why = Some((loser, step))), winner);
        assert_eq!(why, Some((1 - winner, step)));
        assert_eq!(prefer(ranks[0], ranks[1], mobility), winner == 0);
    }
}

#[test]
fn each_step_in_order() {
    let e = |n| peer(n, PeerKind::Ebgp);
    let i = |n| peer(n, PeerKind::Ibgp);
    let rank = |a: &Attributes, p: &PeerInfo| Rank::new(a, Some(p));
    let plain = attributes(&[65001, 65002]);
    let with = |change: &dyn Fn(&mut Attributes)| {
        let mut a = plain.clone();
        change(&mut a);
        a
    };

    // Every "worse" is better in the step that would follow, where there is one.
    beats(&rank(&mobile(0, true), &e(2)), &rank(&mobile(9, false), &e(1)), true, Reason::Sticky);
    beats(
        &rank(&mobile(2, false), &e(2)),
        &Rank::new(&mobile(1, false), None),
        true,
        Reason::MobilitySequence,
    );
    beats(
        &Rank::new(&attributes(&[]), None),
        &rank(&with(&|a| a.local_pref = Some(900)), &i(1)),
        true,
        Reason::LocalOrigin,
    );
    beats(
        &rank(&with(&|a| a.local_pref = Some(101)), &i(2)),
        &rank(&attributes(&[65001]), &i(1)),
        true,
        Reason::LocalPref,
    );
    beats(
        &rank(&plain, &e(2)),
        &rank(&Attributes { origin: Origin::Igp, ..attributes(&[65001, 65002, 65003]) }, &e(1)),
        true,
        Reason::AsPathLength,
    );
    beats(
        &rank(&with(&|a| (a.origin, a.med) = (Origin::Igp, Some(9))), &e(2)),
        &rank(&with(&|a| (a.origin, a.med) = (Origin::Egp, Some(1))), &e(1)),
        true,
        Reason::Origin,
    );
    beats(
        &rank(&with(&|a| a.med = None), &i(2)),
        &rank(&with(&|a| a.med = Some(1)), &e(1)),
        true,
        Reason::Med,
    );
    beats(&rank(&plain, &e(2)), &rank(&plain, &i(1)), true, Reason::InternalPath);
    beats(&rank(&plain, &e(1)), &rank(&plain, &e(2)), true, Reason::RouterId);
    let from = |id: u8, clusters: usize| {
        with(&|a| {
            a.originator_id = Some(Ipv4Addr::new(9, 9, 9, id));
            a.cluster_list = vec![Ipv4Addr::new(7, 7, 7, 7); clusters];
        })
    };
    beats(&rank(&from(1, 3), &i(2)), &rank(&from(2, 1), &i(1)), true, Reason::RouterId);
    beats(&rank(&from(1, 1), &i(2)), &rank(&from(1, 2), &i(1)), true, Reason::ClusterListLength);
    beats(&rank(&from(1, 1), &i(1)), &rank(&from(1, 1), &i(2)), true, Reason::PeerAddress);
}

#[test]
fn mobility_counts_for_type_2_alone() {
    let (a, b) = (mobile(9, true), mobile(0, false));
    let (a, b) =
        (Rank::new(&a, Some(&peer(2, PeerKind::Ebgp))), Rank::new(&b, Some(&peer(1, PeerKind::Ebgp))));
    beats(&a, &b, true, Reason::Sticky);
    beats(&b, &a, false, Reason::RouterId);
}

#[test]
fn med_is_compared_within_one_neighbour_as_whatever_the_order() {
    // a and c come through 65001: c has the lower MED, so a is out; b, of another AS, then wins by router id over c.
    // Comparing pairs in the order a, b, c would keep a, then prefer c.
    let med = |asn: u32, med: u32| Attributes { med: Some(med), ..attributes(&[asn]) };
    let a = Rank::new(&med(65001, 10), Some(&peer(1, PeerKind::Ebgp)));
    let b = Rank::new(&med(65002, 50), Some(&peer(2, PeerKind::Ebgp)));
    let c = Rank::new(&med(65001, 5), Some(&peer(3, PeerKind::Ebgp)));
    for order in [[&a, &b, &c], [&a, &c, &b], [&b, &a, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a]] {
        let mut why = Vec::new();
        let best = decide(&order, true, |loser, step| why.push((*order[loser], step)));
        assert_eq!(order[best], &b);
        assert!(why.contains(&(a, Reason::Med)) && why.contains(&(c, Reason::RouterId)));
    }
}
