//! Bytes both ways, and bytes nobody should trust.

use proptest::prelude::*;

use super::super::super::wire::Messages;
use super::*;

fn vni(n: u32) -> Vni {
    Vni::new(n).unwrap()
}

fn body(batch: &mut Batch) -> Vec<u8> {
    let bytes = batch.sealed(1).to_vec();
    Messages(&bytes).next().unwrap().body.to_vec()
}

/// An RTM_NEWVLAN as the kernel writes it: first VLAN, last, flags, tunnel.
fn newvlan(link: u32, entries: &[(u16, Option<u16>, u16, Option<u32>)]) -> Vec<u8> {
    let mut batch = Batch::default();
    batch.begin(RTM_NEWVLAN, 0);
    link_header(link, &mut batch);
    for (first, last, flags, tunnel) in entries {
        let entry = batch.nest(VLANDB_ENTRY | 0x8000);
        let (f, v) = (flags.to_ne_bytes(), first.to_ne_bytes());
        batch.attr(ENTRY_INFO, &[f[0], f[1], v[0], v[1]]);
        if let Some(last) = last {
            batch.attr(ENTRY_RANGE, &last.to_ne_bytes());
        }
        batch.attr(3, &[3]);
        if let Some(id) = tunnel {
            let info = batch.nest(ENTRY_TUNNEL_INFO | 0x8000);
            batch.attr(TINFO_ID, &id.to_ne_bytes());
            batch.attr(2, &[0; 4]);
            batch.end_nest(info);
        }
        batch.end_nest(entry);
    }
    body(&mut batch)
}

#[test]
fn vlans_are_read() {
    let bytes = newvlan(7, &[(1, None, 6, None), (12, None, 0, Some(22_001)), (20, Some(22), 0, Some(500))]);
    let runs: Vec<Run> = read_vlans(&bytes).collect();
    assert_eq!(runs.len(), 3);
    assert_eq!(runs[0], Run { link: 7, first: 1, last: 1, entry: Entry::ACCESS });
    let flat: Vec<_> =
        runs[1..].iter().flat_map(|run| run.each()).map(|(v, e)| (v, e.tunnel.unwrap().get())).collect();
    assert_eq!(flat, [(12, 22_001), (20, 500), (21, 501), (22, 502)]);
}

#[test]
fn suppression_is_read_as_written() {
    let mut batch = Batch::default();
    change_suppression(7, &[5, 6, 7, 9], true, &mut batch);
    let bytes = body(&mut batch);
    let of = |entry: Entry| Entry { suppress: true, ..entry };
    let run = |first, last| Run { link: 7, first, last, entry: of(Entry::default()) };
    assert_eq!(read_vlans(&bytes).collect::<Vec<_>>(), [run(5, 7), run(9, 9)]);
    assert!(of(Entry::ACCESS).is(Entry::ACCESS) && !of(Entry::ACCESS).is(Entry::default()));
    let mut batch = Batch::default();
    change_suppression(7, &[5], false, &mut batch);
    assert!(!read_vlans(&body(&mut batch)).next().unwrap().entry.suppress);
}

#[test]
fn what_makes_no_sense_is_left_out() {
    let bytes = newvlan(
        7,
        &[(0, None, 0, None), (9, Some(8), 0, None), (5, Some(4095), 0, None), (6, None, 0, Some(1 << 24))],
    );
    let runs: Vec<Run> = read_vlans(&bytes).collect();
    assert_eq!(runs, [Run { link: 7, first: 6, last: 6, entry: Entry::default() }]);
    // Tunnel ids that count past the largest VNI.
    let run = Run { link: 7, first: 1, last: 2, entry: Entry { tunnel: Some(Vni::MAX), ..Entry::default() } };
    assert_eq!(run.each().map(|(_, entry)| entry.tunnel).collect::<Vec<_>>(), [Some(Vni::MAX), None]);
    // Another family.
    let mut bytes = newvlan(7, &[(6, None, 0, None)]);
    bytes[0] = 2;
    assert_eq!(read_vlans(&bytes).count(), 0);
}

/// The news of a bridge about a port with 4,000 mappings: their list is longer than the length of its attribute tells.
#[test]
fn settings_of_a_port_are_read_whatever_follows() {
    let news = |family, tunnel: u8| {
        let mut batch = Batch::default();
        batch.begin(16, 0);
        batch.body(&[family, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        batch.attr(3, b"vxlan1\0");
        let port = batch.nest(IFLA_PROTINFO | NLA_F_NESTED);
        batch.attr(8, &[0]);
        batch.attr(IFLA_BRPORT_VLAN_TUNNEL, &[tunnel]);
        batch.end_nest(port);
        batch.body(&[12, 0, 26, 0x80]);
        batch.body(&vec![0xff; 112_000]);
        body(&mut batch)
    };
    assert!(tells_of_no_tunnels(&news(AF_BRIDGE, 0)));
    assert!(!tells_of_no_tunnels(&news(AF_BRIDGE, 1)));
    assert!(!tells_of_no_tunnels(&news(0, 0)), "that is read as a whole");
    let bytes = news(AF_BRIDGE, 0);
    for cut in 0..60 {
        assert_eq!(tells_of_no_tunnels(&bytes[..cut]), cut >= 48, "{cut}");
    }
}

#[test]
fn a_filter_is_read_as_written() {
    let mut batch = Batch::default();
    change_filter(RTM_NEWTUNNEL, 9, &[vni(5), vni(6), vni(7), vni(100)], &mut batch);
    let bytes = body(&mut batch);
    assert_eq!(bytes.len(), 8 + 2 * 20);
    let (link, ranges) = read_filter(&bytes).unwrap();
    assert_eq!((link, ranges.collect::<Vec<_>>()), (9, vec![(5, 7), (100, 100)]));
    for cut in 0..bytes.len() {
        if let Some((_, ranges)) = read_filter(&bytes[..cut]) {
            assert!(ranges.count() <= 1);
        }
    }
}

/// The attributes of IFLA_AF_SPEC: VLANs as (flags, id), mappings as (flags, id, VNI).
fn spec(bytes: &[u8]) -> Vec<(u16, u16, Option<u32>)> {
    let (kind, spec) = Attrs(&bytes[16..]).next().unwrap();
    assert_eq!(kind, IFLA_AF_SPEC);
    Attrs(spec)
        .map(|(kind, value)| {
            if kind == IFLA_BRIDGE_VLAN_INFO {
                return (u16_at(value, 0).unwrap(), u16_at(value, 2).unwrap(), None);
            }
            assert_eq!(kind, IFLA_BRIDGE_VLAN_TUNNEL_INFO);
            let inner: Vec<_> = Attrs(value).collect();
            let number = |at: usize| u16_at(inner[at].1, 0).unwrap();
            (number(2), number(1), u32_at(inner[0].1, 0))
        })
        .collect()
}

#[test]
fn consecutive_vlans_are_one_range_and_access_vlans_none() {
    let mut batch = Batch::default();
    let plain = Entry::default();
    let vlans = [(5, plain), (6, plain), (7, plain), (9, plain), (10, Entry::ACCESS), (11, Entry::ACCESS)];
    let mappings = [(5, vni(100)), (6, vni(101)), (7, vni(300)), (9, vni(302))];
    change_vlans(19, 7, &vlans, &mappings, &mut batch);
    let bytes = body(&mut batch);
    assert_eq!(&bytes[..8], &[7, 0, 0, 0, 7, 0, 0, 0]);
    let begin = (RANGE_BEGIN, RANGE_END);
    assert_eq!(
        spec(&bytes),
        [
            (begin.0, 5, None),
            (begin.1, 7, None),
            (0, 9, None),
            (PVID | UNTAGGED, 10, None),
            (PVID | UNTAGGED, 11, None),
            (begin.0, 5, Some(100)),
            (begin.1, 6, Some(101)),
            (0, 7, Some(300)),
            (0, 9, Some(302)),
        ]
    );
}

#[test]
fn the_largest_message_fits_its_attribute() {
    let vlans: Vec<_> = (1..=ENTRIES as u16).map(|n| (n * 4, Entry::default())).collect();
    let mappings: Vec<_> = (1..=ENTRIES as u16).map(|n| (n * 4, vni(u32::from(n) * 7))).collect();
    let mut batch = Batch::default();
    change_vlans(19, 7, &vlans, &mappings, &mut batch);
    assert!(batch.size() < 40_000, "{}", batch.size());
    assert_eq!(spec(&body(&mut batch)).len(), 2 * ENTRIES);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for run in read_vlans(&bytes) {
            prop_assert!(run.each().count() <= 4094);
        }
        if let Some((_, ranges)) = read_filter(&bytes) {
            prop_assert!(ranges.count() <= bytes.len());
        }
    }

    #[test]
    fn damaged_messages_are_survived(at in 0..200_usize, to in any::<u8>(), len in 0..200_usize) {
        let entries: Vec<_> = (1..5).map(|n| (n * 10, Some(n * 10 + 5), 0, Some(u32::from(n)))).collect();
        let mut bytes = newvlan(7, &entries);
        let last = bytes.len() - 1;
        bytes[at.min(last)] = to;
        bytes.truncate(len);
        for run in read_vlans(&bytes) {
            prop_assert!(run.each().count() <= 4094);
        }
    }
}
