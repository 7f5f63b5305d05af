//! From routes to pictures: what is in them, where it is, and that both languages are spoken without mistakes.

mod invariants;
mod language;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::model::{Builder, Facts, Model, Observer};
use super::{Limits, View, dot, svg};
use crate::control::view::RouteView;

/// A route of some type from a VTEP.
fn route(route_type: u8, vni: u32, next_hop: &str) -> RouteView {
    RouteView {
        route_type,
        rd: "10.0.0.1:1".to_owned(),
        nlri: format!("[{route_type}]:[0]"),
        mac: None,
        ip: None,
        prefix: None,
        vni: Some(vni),
        next_hop: next_hop.parse().ok(),
        as_path: vec![64512, 65001],
        route_targets: Vec::new(),
        from: "10.0.0.10".to_owned(),
        best: true,
        imported_by: Vec::new(),
        sequence: None,
        sticky: None,
        esi: None,
        local_pref: None,
        med: None,
    }
}

fn flood(vni: u32, at: &str, tag: u32) -> RouteView {
    RouteView { nlri: format!("[3]:[{tag}]:[32]:[{at}]"), ..route(3, vni, at) }
}

fn mac(vni: u32, at: &str, mac: &str, ip: Option<&str>) -> RouteView {
    RouteView {
        nlri: format!("[2]:[0]:[48]:[{mac}]"),
        mac: mac.parse().ok(),
        ip: ip.and_then(|ip| ip.parse().ok()),
        sequence: Some(0),
        sticky: Some(false),
        ..route(2, vni, at)
    }
}

fn prefix(vni: u32, at: &str, prefix: &str) -> RouteView {
    RouteView { prefix: prefix.parse().ok(), ..route(5, vni, at) }
}

fn model(routes: &[RouteView]) -> Model {
    model_with(routes, &Facts::default())
}

fn model_with(routes: &[RouteView], facts: &Facts) -> Model {
    let mut builder = Builder::default();
    for row in routes {
        builder.add(row);
    }
    builder.finish(facts)
}

/// A model in short: `HOST: VNI[flags] things; …` line by line.
fn short(model: &Model) -> Vec<String> {
    let host = |host: &super::model::Host| {
        let members = host.members.iter().map(|m| {
            let vni = model.overlays[m.overlay].vni;
            let vlans: Vec<String> = m.vlans.iter().map(|v| format!("@{v}")).collect();
            let mut words = vec![format!("{vni}{}{}", if m.flood { "*" } else { "" }, vlans.concat())];
            for mac in &m.macs {
                let ips: Vec<String> = mac.ips.iter().map(|ip| format!("={ip}")).collect();
                let also: Vec<String> = mac.also.iter().map(|at| format!("&{at}")).collect();
                let sticky = if mac.sticky { "!" } else { "" };
                let [.., last] = mac.mac.0;
                words.push(format!("m{last}{}{sticky}{}", ips.concat(), also.concat()));
            }
            words.extend(m.prefixes.iter().map(ToString::to_string));
            words.join(" ")
        });
        format!("{}: {}", host.vtep, members.collect::<Vec<_>>().join("; "))
    };
    model.hosts.iter().map(host).collect()
}

const M1: &str = "02:00:00:00:00:01";
const M2: &str = "02:00:00:00:00:02";

#[test]
fn routes_become_hosts_and_what_they_have() {
    let sequence = |n: u32, row: RouteView| RouteView { sequence: Some(n), ..row };
    let sticky = |row: RouteView| RouteView { sticky: Some(true), ..row };
    let table: Vec<(&str, Vec<RouteView>, Vec<&str>)> = vec![
        ("nothing", vec![], vec![]),
        ("flooding alone", vec![flood(10, "10.0.0.1", 0)], vec!["10.0.0.1: 10*"]),
        ("a tag that is a VLAN", vec![flood(10, "10.0.0.1", 7)], vec!["10.0.0.1: 10*@7"]),
        ("a tag that is none", vec![flood(10, "10.0.0.1", 22001)], vec!["10.0.0.1: 10*"]),
        (
            "two tags, as nobody should",
            vec![flood(10, "10.0.0.1", 9), flood(10, "10.0.0.1", 7)],
            vec!["10.0.0.1: 10*@7@9"],
        ),
        (
            "a MAC with addresses, in whatever order",
            vec![
                mac(10, "10.0.0.1", M1, Some("fe80::1")),
                mac(10, "10.0.0.1", M1, Some("10.1.0.5")),
                mac(10, "10.0.0.1", M1, None),
                mac(10, "10.0.0.1", M1, Some("0.0.0.0")),
            ],
            vec!["10.0.0.1: 10 m1=10.1.0.5=fe80::1"],
        ),
        (
            "hosts and VNIs by number, not by text",
            vec![flood(100, "10.0.0.9", 0), flood(20, "10.0.0.10", 0), flood(20, "10.0.0.9", 0)],
            vec!["10.0.0.9: 20*; 100*", "10.0.0.10: 20*"],
        ),
        (
            "a MAC that moved is where its sequence is highest",
            vec![
                sequence(1, mac(10, "10.0.0.1", M1, None)),
                sequence(2, mac(10, "10.0.0.2", M1, None)),
                mac(10, "10.0.0.1", M2, None),
            ],
            vec!["10.0.0.1: 10 m2", "10.0.0.2: 10 m1"],
        ),
        (
            "a MAC that may not move stays, whatever others say",
            vec![sticky(mac(10, "10.0.0.1", M1, None)), sequence(9, mac(10, "10.0.0.2", M1, None))],
            vec!["10.0.0.1: 10 m1!", "10.0.0.2: 10"],
        ),
        (
            "a MAC at two hosts is at both",
            vec![mac(10, "10.0.0.1", M1, None), mac(10, "10.0.0.2", M1, None)],
            vec!["10.0.0.1: 10 m1&10.0.0.2", "10.0.0.2: 10 m1&10.0.0.1"],
        ),
        (
            "the same MAC in two VNIs is two",
            vec![mac(10, "10.0.0.1", M1, None), mac(11, "10.0.0.2", M1, None)],
            vec!["10.0.0.1: 10 m1", "10.0.0.2: 11 m1"],
        ),
        (
            "prefixes",
            vec![prefix(50, "10.0.0.1", "10.2.0.0/16"), prefix(50, "10.0.0.1", "10.1.0.0/16")],
            vec!["10.0.0.1: 50 10.1.0.0/16 10.2.0.0/16"],
        ),
        (
            "what is not best, has no VNI or is no host's MAC",
            vec![
                RouteView { best: false, ..flood(10, "10.0.0.1", 0) },
                RouteView { vni: None, ..flood(10, "10.0.0.2", 0) },
                flood(0, "10.0.0.3", 0),
                mac(10, "10.0.0.4", "ff:ff:ff:ff:ff:ff", None),
                route(1, 10, "10.0.0.5"),
                RouteView { next_hop: None, ..flood(10, "10.0.0.6", 0) },
            ],
            vec!["10.0.0.2: ", "10.0.0.3: ", "10.0.0.4: "],
        ),
    ];
    for (name, routes, expected) in table {
        let forth = model(&routes);
        assert_eq!(short(&forth), expected, "{name}");
        let back: Vec<RouteView> = routes.into_iter().rev().collect();
        assert_eq!(model(&back), forth, "{name}: the order of routes must not matter");
    }
}

#[test]
fn what_is_not_drawn_is_counted() {
    let routes = [route(1, 10, "10.0.0.1"), route(4, 10, "10.0.0.1"), route(1, 11, "10.0.0.1"), {
        RouteView { best: false, ..route(1, 12, "10.0.0.1") }
    }];
    let model = model(&routes);
    assert_eq!((model.routes, model.undrawn.clone()), (4, BTreeMap::from([(1, 2), (4, 1)])));
    assert!(svg(&model, View::Hosts, Limits::FOLDED).contains("Not drawn: 2 of type 1, 1 of type 4"));
}

#[test]
fn facts_name_hosts_and_tell_vlans() {
    let own: IpAddr = [10, 0, 0, 1].into();
    let facts = Facts {
        observer: Some(Observer { router_id: [10, 0, 0, 1].into(), asn: 65009, vtep: Some(own) }),
        only: None,
        names: BTreeMap::from([([10, 0, 0, 2].into(), "rack 2".to_owned())]),
        vlans: BTreeMap::from([((own, 10), 7), (([10, 0, 0, 2].into(), 10), 8), ((own, 11), 9)]),
    };
    let own_route = RouteView { as_path: Vec::new(), ..flood(10, "10.0.0.1", 0) };
    let model = model_with(&[own_route, flood(10, "10.0.0.2", 0)], &facts);
    assert_eq!(short(&model), ["10.0.0.1: 10*@7", "10.0.0.2: 10*@8"]);
    let [first, second] = &model.hosts[..] else { panic!("{model:?}") };
    assert_eq!((first.local, first.asn, first.name.as_deref()), (true, Some(65009), None));
    assert_eq!((second.local, second.asn, second.name.as_deref()), (false, Some(65001), Some("rack 2")));
    let picture = svg(&model, View::Hosts, Limits::FOLDED);
    for words in ["this node", "rack 2 · AS 65001", "in the RIB of 10.0.0.1 (AS 65009)", "VLAN 7"] {
        assert!(picture.contains(words), "{words}");
    }
}

#[test]
fn a_vrf_is_told_from_a_bridge() {
    let model = model(&[
        prefix(50, "10.0.0.1", "10.1.0.0/16"),
        flood(10, "10.0.0.1", 0),
        // Routes and bridges, as it should not be: no VRF by itself.
        prefix(10, "10.0.0.1", "10.1.0.0/16"),
    ]);
    let vrfs: Vec<bool> = model.overlays.iter().map(|o| o.is_vrf(&model)).collect();
    assert_eq!(vrfs, [false, true]);
    let vlans = svg(&model, View::Vlans, Limits::FOLDED);
    assert!(
        vlans.contains(">VRF<") && vlans.contains(">VLAN ?<") && vlans.contains("does not tell its VLAN")
    );
}

#[test]
fn an_empty_picture_says_what_to_look_at() {
    let only = Model { only: "99".parse().ok(), ..Model::default() };
    for (model, words) in
        [(Model::default(), "nothing is known of any host"), (only, "No route of type 2, 3 or 5 has VNI 99")]
    {
        for view in View::ALL {
            assert!(svg(&model, view, Limits::FOLDED).contains(words), "{view:?}");
            let dot = dot(&model, view, Limits::FOLDED);
            assert!(dot.contains(words) && language::dot(&dot).is_ok(), "{view:?}: {dot}");
        }
    }
}

#[test]
fn links_are_told_in_few_words() {
    let told = |rows: &[RouteView], view: View| {
        let picture = svg(&model(rows), view, Limits::FOLDED);
        let words = picture.split_once(" in words").unwrap().1;
        let lines = words.lines().filter_map(|line| line.split_once("\">")?.1.strip_suffix("</text>"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (a, b, c) = ("10.0.0.1", "10.0.0.2", "10.0.0.3");
    // Most in common first; a host by itself.
    let rows = [flood(1, a, 0), flood(2, a, 0), flood(1, b, 0), flood(1, c, 7), flood(2, c, 7)];
    let alone = flood(3, "10.0.0.4", 0);
    let rows = [&rows[..], &[alone]].concat();
    let words = told(&rows, View::Hosts);
    for line in ["VNI 1+2: 10.0.0.3; VNI 1: 10.0.0.2", "VNI 1: 10.0.0.1, 10.0.0.3", "no other host"] {
        assert!(words.iter().any(|told| told == line), "{line}: {words:?}");
    }
    assert!(told(&rows, View::Vlans).contains(&"VLAN ?: 10.0.0.1, 10.0.0.2; VLAN 7: 10.0.0.3".to_owned()));
    // All hosts in all VNIs: nobody wants to read that fifty times. More VNIs than can be read are counted.
    for (vnis, by) in [(2, "VNI 1+2"), (7, "7 VNIs")] {
        let host = |n: u32| (1..=vnis).map(move |vni| flood(vni, &format!("10.0.0.{n}"), 5));
        let rows: Vec<RouteView> = (1..=50).flat_map(host).collect();
        let all = format!("{by}: all 49 other hosts");
        assert_eq!(told(&rows, View::Hosts).iter().filter(|line| **line == all).count(), 50);
        assert!(told(&rows, View::Vlans).contains(&"VLAN 5: all 50 hosts".to_owned()));
        // Where there is room, every host is named.
        let words = told(&rows, View::Overlays).concat();
        assert!(words.contains("10.0.0.50 (0 MACs)") && !words.contains("more"), "{words}");
    }
}

#[test]
fn long_lists_are_folded_and_counted() {
    let routes: Vec<RouteView> = (0..5000u32)
        .map(|n| {
            let [_, a, b, c] = n.to_be_bytes();
            mac(10, "10.0.0.1", &format!("02:00:00:{a:02x}:{b:02x}:{c:02x}"), None)
        })
        .collect();
    let model = model(&routes);
    for view in [View::Hosts, View::Overlays] {
        let folded = svg(&model, view, Limits::FOLDED);
        assert!(folded.contains(">… and 4360 more<"), "{view:?}");
        assert!(folded.len() < 120_000, "{view:?}: {}", folded.len());
        let full = svg(&model, view, Limits::FULL);
        assert!(!full.contains(">… and") && full.contains("02:00:00:00:13:87"), "{view:?}");
        assert!(dot(&model, view, Limits::FOLDED).contains("… and 4360 more"), "{view:?}");
    }
}

/// A gateway's MAC is at every host, and a router may have thousands of addresses.
#[test]
fn what_is_told_of_one_mac_is_folded_too() {
    let at = |n: u32| format!("10.0.0.{n}");
    let routes = |hosts: u32, addresses: u32| -> Vec<RouteView> {
        let everywhere = (1..=hosts).map(|n| mac(10, &at(n), M1, Some("10.1.0.1")));
        let address = |n| std::net::Ipv4Addr::from_bits(0x0a02_0000 + n).to_string();
        let many = (1..=addresses).map(|n| mac(10, &at(1), M2, Some(&address(n))));
        everywhere.chain(many).collect()
    };
    for view in [View::Hosts, View::Overlays] {
        for draw in [svg, dot] {
            let few = draw(&model(&routes(7, 7)), view, Limits::FOLDED);
            assert!(few.contains("also at 10.0.0.7") && few.contains("10.2.0.7"), "{view:?}");
            let many = model(&routes(50, 5000));
            let folded = draw(&many, view, Limits::FOLDED);
            for words in ["also at 49 other hosts", "10.2.0.6", "and 4994 more addresses"] {
                assert!(folded.contains(words), "{view:?}: {words}");
            }
            assert!(folded.len() < 100_000, "{view:?}: {}", folded.len());
            let full = draw(&many, view, Limits::FULL);
            assert!(full.contains("also at 10.0.0.50") && full.contains("10.2.19.136"), "{view:?}");
        }
    }
}

/// The routes of the controller of `evpnd lab up --layout single-device`, the VLANs of its hosts, and the pictures of them
/// that the documentation shows. To draw them anew: `EVPND_BLESS=1 cargo test -p evpnd --lib graph`.
#[test]
fn the_pictures_in_the_documentation() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures");
    let rows: Vec<RouteView> = serde_json::from_slice(&std::fs::read(dir.join("lab.json")).unwrap()).unwrap();
    let told = ["h1", "h2", "h3"].map(|host| {
        let file = std::fs::File::open(dir.join(format!("{host}.json"))).unwrap();
        super::read::vlans(file).unwrap()
    });
    let model = model_with(&rows, &Facts { vlans: told.into_iter().flatten().collect(), ..Facts::default() });
    for view in View::ALL {
        let file = dir.join(format!("{}.svg", view.name()));
        let drawn = svg(&model, view, Limits::FOLDED);
        if std::env::var_os("EVPND_BLESS").is_some() {
            std::fs::write(&file, &drawn).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap();
        assert!(kept == drawn, "{} is not what is drawn of the files beside it", file.display());
    }
}
