//! The lab of 18 endpoints on paper: who is where, and what each evpnd is told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::*;
use crate::config::Config;

const LAB: Shape =
    Shape { hosts: 3, endpoints: 6, backend: Backend::Kernel, layout: Layout::SingleDevice, overlays: 4 };

fn all(shape: Shape) -> Vec<(u8, Seat)> {
    (1..=shape.hosts).flat_map(|host| shape.seats(host).into_iter().map(move |seat| (host, seat))).collect()
}

#[test]
fn eighteen_endpoints_in_four_overlays() {
    let all = all(LAB);
    assert_eq!(all.len(), 18);
    let mut hosts: BTreeMap<u32, BTreeSet<u8>> = BTreeMap::new();
    for (host, seat) in &all {
        hosts.entry(seat.vni).or_default().insert(*host);
    }
    let everywhere = BTreeSet::from([1, 2, 3]);
    let expected = BTreeMap::from([
        (22001, everywhere.clone()),
        (22002, everywhere.clone()),
        (22003, everywhere),
        (22004, BTreeSet::from([2, 3])),
    ]);
    assert_eq!(hosts, expected);
    // Within an overlay everybody has an address of his own, and a MAC of his own altogether.
    let addresses: BTreeSet<_> = all.iter().map(|(_, seat)| (seat.vni, &seat.address)).collect();
    let macs: BTreeSet<_> = all.iter().map(|(_, seat)| &seat.mac).collect();
    assert_eq!((addresses.len(), macs.len()), (18, 18));
    let of = |vni: u32| -> BTreeSet<&str> {
        all.iter().filter(|(_, seat)| seat.vni == vni).map(|(_, seat)| seat.address.as_str()).collect()
    };
    // The first two overlays have addresses in common, and each some that the other has not.
    assert_eq!(
        of(22001).intersection(&of(22002)).copied().collect::<Vec<_>>(),
        ["10.100.1.101", "10.100.1.102", "10.100.2.101", "10.100.3.101"]
    );
    assert_eq!(of(22002).difference(&of(22001)).copied().collect::<Vec<_>>(), ["10.100.2.102"]);
    assert!(of(22001).is_disjoint(&of(22003)) && of(22003).is_disjoint(&of(22004)));
}

/// The lowest free VLAN for those that are not told theirs, in whichever order: a VNI's are not all the same.
#[test]
fn a_vni_has_different_vlans() {
    for by_number in [false, true] {
        let mut vlans: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
        for host in 1..=LAB.hosts {
            let mut vnis: Vec<u32> = LAB.sections(host).into_iter().map(|(vni, _)| vni).collect();
            if by_number {
                vnis.sort_unstable();
            }
            let mut taken: BTreeSet<u16> = vnis.iter().filter_map(|vni| LAB.vlan(host, *vni)).collect();
            for vni in vnis {
                let vlan =
                    LAB.vlan(host, vni).or_else(|| (2..4095).find(|vlan| !taken.contains(vlan))).unwrap();
                taken.insert(vlan);
                vlans.entry(vni).or_default().push(vlan);
            }
        }
        for (vni, vlans) in vlans {
            let different: BTreeSet<_> = vlans.iter().collect();
            assert!(different.len() > 1, "VNI {vni}: {vlans:?}");
        }
    }
}

#[test]
fn one_overlay_is_the_lab_that_was_always_there() {
    let size = Size {
        hosts: 3,
        endpoints: None,
        backend: Backend::Kernel,
        layout: Layout::DevicePerVni,
        overlays: None,
    };
    let all = all(size.into());
    let last = all.last().map(|(_, seat)| (seat.name.as_str(), seat.address.as_str(), seat.vni));
    assert_eq!((all.len(), last), (9, Some(("e33", "10.100.3.103", 22001))));
    let ovs = Shape::from(Size { backend: Backend::Ovs, ..size });
    let kinds: Vec<_> = ovs.seats(2).into_iter().map(|seat| (seat.kind, seat.vni, seat.address)).collect();
    assert_eq!(
        kinds,
        [
            (Kind::Flat, 22001, "10.100.2.101".to_owned()),
            (Kind::Vlan(102), 22001, "10.100.2.102".to_owned()),
            (Kind::Routed, 5000, "10.200.2.103".to_owned()),
        ]
    );
}

/// Addresses stay apart, and octets octets, in labs of any size.
#[test]
fn all_sizes() {
    for (hosts, endpoints, overlays) in [(2, 1, 4), (100, 50, 1), (100, 50, 2), (7, 50, 3), (100, 50, 4)] {
        let shape = Shape { hosts, endpoints, overlays, ..LAB };
        let all = all(shape);
        let addresses: BTreeSet<_> = all.iter().map(|(_, seat)| (seat.vni, &seat.address)).collect();
        assert_eq!(addresses.len(), all.len(), "{shape:?}");
        for (_, seat) in &all {
            assert!(seat.address.parse::<std::net::Ipv4Addr>().is_ok(), "{seat:?}");
        }
    }
}

#[test]
fn every_configuration_is_one() {
    let shapes = [
        LAB,
        Shape { layout: Layout::DevicePerVni, ..LAB },
        Shape { layout: Layout::DevicePerVni, overlays: 1, ..LAB },
        Shape { layout: Layout::DevicePerVni, overlays: 1, backend: Backend::Ovs, ..LAB },
    ];
    for shape in shapes {
        for host in 1..=shape.hosts {
            let text = shape.config(host);
            Config::parse(&text, "evpnd.toml", Path::new("/")).unwrap_or_else(|e| panic!("{e}\n{text}"));
        }
    }
    Config::parse(&controller_config(), "evpnd.toml", Path::new("/")).unwrap();
}
