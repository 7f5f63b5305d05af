//! One thing at a time: what is imported, what is not and why, what is announced.

use super::*;

#[test]
fn a_vni_announces_itself_as_peers_expect() {
    let mut node = Node::new(1, &[]);
    assert_eq!(node.configure(vec![MacVrfConfig::new(vni(100))]), [], "not before its device is there");
    let sent = node.local(Local::VniReady(vni(100), true));
    let [(key, Some((body, attributes)))] = &sent[..] else { panic!("{sent:?}") };
    let rd = "10.0.0.1:100".parse().unwrap();
    assert_eq!(*key, RouteKey::Imet { rd, tag: 0, originator: ip("10.0.0.1") });
    assert_eq!(*body, NlriBody::default());
    assert_eq!(attributes.next_hop, ip("10.0.0.1"));
    assert_eq!(attributes.ext_communities, [rt("65001:100").community(), ExtCommunity::VXLAN]);
    let tunnel = PmsiTunnel::IngressReplication(ip("10.0.0.1"));
    assert_eq!(attributes.pmsi, Some(Pmsi { flags: 0, vni: vni(100), tunnel }));
    assert_eq!(node.local(Local::VniReady(vni(100), false)), [(key.clone(), None)]);
}

#[test]
fn a_local_mac_and_its_addresses_are_announced() {
    let mut node = Node::new(1, &[100]);
    let sent = node.seen(100, mac(1));
    let rd = "10.0.0.1:100".parse().unwrap();
    let key = |ip| RouteKey::MacIp { rd, tag: 0, mac: mac(1), ip };
    let body = NlriBody { label: vni(100), ..NlriBody::default() };
    let plain = Attributes {
        ext_communities: vec![rt("65001:100").community(), ExtCommunity::VXLAN],
        ..Attributes::local(ip("10.0.0.1"))
    };
    assert_eq!(sent, [(key(None), Some((body, plain.clone())))], "sequence 0 has no community");
    assert_eq!(node.seen(100, mac(1)), [], "seen again");
    let v4 = node.address(100, mac(1), "192.0.2.1");
    assert_eq!(v4, [(key(Some(ip("192.0.2.1"))), Some((body, plain.clone())))], "no ARP/ND for IPv4");
    let v6 = node.address(100, mac(1), "2001:db8::1");
    let nd = ExtCommunity([6, 8, 2, 0, 0, 0, 0, 0]);
    assert_eq!(v6, [(key(Some(ip("2001:db8::1"))), Some((body, with(plain, nd))))], "exactly one for IPv6");
    assert_eq!(node.announced.len(), 4);
    // The address is of another host now, one that was not seen yet.
    assert_eq!(node.address(100, mac(2), "192.0.2.1"), [(key(Some(ip("192.0.2.1"))), None)]);
    assert_eq!(node.seen(100, mac(2)).len(), 2, "the address was kept for it");
    assert_eq!(node.local(Local::NeighbourGone { vni: vni(100), ip: ip("192.0.2.1") }).len(), 1);
    assert_eq!(node.gone(100, mac(1)), [(key(None), None), (key(Some(ip("2001:db8::1"))), None)]);
    assert_eq!(node.gone(100, mac(1)), []);
    // Not hosts.
    for (m, a) in [(MacAddr([0xff; 6]), "192.0.2.9"), (MacAddr::ZERO, "192.0.2.9"), (mac(2), "224.0.0.1")] {
        assert_eq!(node.address(100, m, a), []);
        assert_eq!(node.seen(100, m), []);
    }
}

#[test]
fn switches_for_flooding_and_for_macs() {
    let mut node = Node::new(1, &[100]);
    node.hear(type3(2, with_pmsi(from(2, &["1:100"]), PmsiTunnel::IngressReplication(ip("10.0.0.2")), 100)));
    node.seen(100, mac(1));
    assert_eq!((node.announced.len(), node.flood(100).len()), (2, 1));
    let quiet = MacVrfConfig { flood: false, advertise_macs: false, ..MacVrfConfig::new(vni(100)) };
    node.configure(vec![quiet]);
    assert_eq!((node.announced.len(), node.flood(100).len()), (0, 0));
    node.configure(vec![MacVrfConfig::new(vni(100))]);
    assert_eq!((node.announced.len(), node.flood(100).len()), (2, 1));
    node.local(Local::VniReady(vni(100), false));
    assert_eq!(
        (node.announced.len(), node.flood(100).len()),
        (0, 1),
        "without a device we are no VTEP of it"
    );
}

#[test]
fn a_remote_mac_with_its_addresses() {
    let mut node = Node::new(1, &[100]);
    let plain = type2(2, mac(1), None, 100, from(2, &["1:100"]));
    let v4 = type2(2, mac(1), Some("192.0.2.1"), 100, from(2, &["1:100"]));
    let nd = ExtCommunity([6, 8, 1, 0, 0, 0, 0, 0]);
    let v6 = type2(2, mac(1), Some("2001:db8::1"), 100, with(from(2, &["1:100"]), nd));
    node.hear_all([plain.clone(), v4.clone(), v6.clone()]);
    let remote = RemoteMac { vtep: ip("10.0.0.2"), vni: vni(100), sticky: false };
    assert_eq!(node.table.macs, [((vni(100), mac(1)), remote)].into());
    let neighbour = |router| Neighbour { mac: mac(1), router };
    assert_eq!(
        node.table.neighbours,
        [((vni(100), ip("192.0.2.1")), neighbour(false)), ((vni(100), ip("2001:db8::1")), neighbour(true)),]
            .into()
    );
    let views: Vec<_> = node.evpn.macs(None).collect();
    assert_eq!(views[0].ips, [ip("192.0.2.1"), ip("2001:db8::1")]);
    assert_eq!((views.len(), views[0].source, views[0].vtep), (1, MacSource::Remote, Some(ip("10.0.0.2"))));
    assert_eq!(node.evpn.macs_of(ip("192.0.2.1")), [(vni(100), mac(1))]);
    node.hear(gone(&plain));
    assert_eq!(node.remote(100, mac(1)), Some(ip("10.0.0.2")), "MAC+IP routes are MACs too");
    node.hear(gone(&v4));
    node.hear(gone(&v6));
    assert!(node.table.macs.is_empty() && node.table.neighbours.is_empty());
    assert!(
        node.evpn.vrf(vni(100)).unwrap().macs.is_empty()
            && node.evpn.vrf(vni(100)).unwrap().neighbours.is_empty()
    );
}

#[test]
fn an_address_that_two_hosts_claim() {
    let mut node = Node::new(1, &[100]);
    let one = type2(2, mac(1), Some("192.0.2.1"), 100, from(2, &["1:100"]));
    let two = type2(3, mac(2), Some("192.0.2.1"), 100, from(3, &["1:100"]));
    let at = |node: &Node| node.table.neighbours.get(&(vni(100), ip("192.0.2.1"))).map(|n| n.mac);
    node.hear_all([two.clone(), one.clone()]);
    assert_eq!(at(&node), Some(mac(1)), "lower VTEP");
    // RFC 9047: a static binding stands, whatever the sequence of the other.
    let fixed = type2(
        3,
        mac(2),
        Some("192.0.2.1"),
        100,
        with(from(3, &["1:100"]), ExtCommunity([6, 8, 8, 0, 0, 0, 0, 0])),
    );
    let later = type2(
        2,
        mac(1),
        Some("192.0.2.1"),
        100,
        with(from(2, &["1:100"]), ExtCommunity::mac_mobility(9, false)),
    );
    node.hear_all([fixed, later]);
    assert_eq!(at(&node), Some(mac(2)));
    node.seen(100, mac(3));
    node.address(100, mac(3), "192.0.2.1");
    assert_eq!(at(&node), None, "a local host has it");
    node.gone(100, mac(3));
    assert_eq!(at(&node), Some(mac(2)));
    assert_eq!(node.evpn.macs_of(ip("192.0.2.1")), [(vni(100), mac(1)), (vni(100), mac(2))]);
}

#[test]
fn an_address_with_too_many_claims_is_left_alone() {
    let mut node = Node::new(1, &[100]);
    let many = vrf::MAX_BINDINGS + 1;
    let claim = |n: usize| {
        let mac = MacAddr([2, 0, 0, 1, (n >> 8) as u8, n as u8]);
        type2(2, mac, Some("192.0.2.1"), 100, from(2, &["1:100"]))
    };
    node.hear_all((0..many).map(claim));
    assert_eq!((node.table.macs.len(), node.table.neighbours.len()), (many, 0));
    node.hear(gone(&claim(7)));
    assert_eq!(node.table.neighbours.len(), 1);
}

#[test]
fn downstream_vnis_are_honoured() {
    let mut node = Node::new(1, &[100]);
    let tunnel = PmsiTunnel::IngressReplication(ip("10.0.0.2"));
    for (label, wire) in [(777, 777), (0, 100), (100, 100)] {
        node.hear(type2(2, mac(1), None, label, from(2, &["1:100"])));
        node.hear(type3(2, with_pmsi(from(2, &["1:100"]), tunnel, label)));
        assert_eq!(node.table.macs[&(vni(100), mac(1))].vni, vni(wire));
        assert_eq!(node.flood(100), [(ip("10.0.0.2"), wire)]);
    }
}

#[test]
fn flood_lists() {
    let mut node = Node::new(1, &[100]);
    let to = |t: &str| PmsiTunnel::IngressReplication(ip(t));
    let route = |n, tunnel, label| type3(n, with_pmsi(from(n, &["1:100"]), tunnel, label));
    node.hear(type3(2, from(2, &["1:100"])));
    assert_eq!(node.flood(100), [], "no PMSI, no flood");
    node.hear(route(2, to("10.0.0.2"), 100));
    node.hear(route(3, to("0.0.0.0"), 100));
    node.hear(route(4, to("10.0.0.44"), 100));
    node.hear(route(5, PmsiTunnel::None, 100));
    node.hear(route(6, to("10.0.0.1"), 100));
    let addresses =
        |node: &Node| node.flood(100).into_iter().map(|(ip, _)| ip.to_string()).collect::<Vec<_>>();
    assert_eq!(addresses(&node), ["10.0.0.2", "10.0.0.3", "10.0.0.44"]);
    assert_eq!(node.evpn.counters().pmsi_mismatches, 2);
    assert_eq!(node.evpn.counters().rejected, 3, "no PMSI, no tunnel, and our own address");
    // Two routes to one address: it stays until both are gone, in our own VNI if either says so.
    let other = route(9, to("10.0.0.2"), 77);
    node.hear(other.clone());
    assert_eq!(node.flood(100)[0], (ip("10.0.0.2"), 100));
    node.hear(gone(&route(2, to("10.0.0.2"), 100)));
    assert_eq!(node.flood(100)[0], (ip("10.0.0.2"), 77));
    node.hear(gone(&other));
    assert_eq!(addresses(&node), ["10.0.0.3", "10.0.0.44"]);
    assert_eq!(node.evpn.vnis()[0].flood, [ip("10.0.0.3"), ip("10.0.0.44")]);
    // The tunnel moves: never without one.
    let before = node.events.len();
    node.hear(route(4, to("10.0.0.45"), 100));
    assert_eq!(addresses(&node), ["10.0.0.3", "10.0.0.45"]);
    assert_eq!(node.events.len(), before + 2);
}

#[test]
fn flooding_and_macs_do_not_depend_on_each_other() {
    let mut node = Node::new(1, &[100]);
    let imet = type3(2, with_pmsi(from(2, &["1:100"]), PmsiTunnel::IngressReplication(ip("10.0.0.2")), 100));
    let host = type2(2, mac(1), None, 100, from(2, &["1:100"]));
    node.hear_all([imet.clone(), host.clone(), gone(&imet)]);
    assert_eq!((node.flood(100).len(), node.remote(100, mac(1))), (0, Some(ip("10.0.0.2"))));
    node.hear_all([imet.clone(), gone(&host)]);
    assert_eq!((node.flood(100).len(), node.remote(100, mac(1))), (1, None));
}

#[test]
fn what_is_not_used_and_why() {
    let mut node = Node::new(1, &[100]);
    let good = || from(2, &["1:100"]);
    let hop = |text| Attributes { next_hop: ip(text), ..good() };
    let mut mpls = good();
    mpls.ext_communities.pop();
    let bare = mpls.clone();
    mpls.ext_communities.push(ExtCommunity([3, 0x0c, 0, 0, 0, 0, 0, 10]));
    let m = mac(1);
    for (mac, address, attributes, reject) in [
        (m, None, bare, None),
        (m, None, mpls, Some(Reject::NotVxlan)),
        (m, None, hop("10.0.0.1"), Some(Reject::OwnNextHop)),
        (m, None, hop("2001:db8::2"), Some(Reject::OtherFamily)),
        (m, None, hop("0.0.0.0"), Some(Reject::BadNextHop)),
        (m, None, hop("224.0.0.1"), Some(Reject::BadNextHop)),
        (MacAddr([3, 0, 0, 0, 0, 1]), None, good(), Some(Reject::NotHostMac)),
        (MacAddr::ZERO, None, good(), Some(Reject::NotHostMac)),
        (m, Some("224.0.0.1"), good(), Some(Reject::NotHostIp)),
        (m, Some("192.0.2.1"), good(), None),
    ] {
        let route = type2(2, mac, address, 100, attributes);
        node.hear(route.clone());
        let standing = reject.map_or(Standing::Chosen, Standing::Rejected);
        assert_eq!(node.standing(100, mac), [standing], "{route:?}");
        assert_eq!(node.table.macs.len(), usize::from(reject.is_none()), "{route:?}");
        let (body, attributes) = route.1.as_ref().unwrap();
        let given = Route { attributes, attr_id: 0, body, local: false };
        assert_eq!(node.evpn.verdicts(&route.0, &given), [Verdict { vni: vni(100), routed: false, reject }]);
        let own = Route { local: true, ..given };
        assert_eq!(node.evpn.verdicts(&route.0, &own), []);
        node.hear(gone(&route));
        assert!(node.table == Table { vnis: node.table.vnis.clone(), ..Table::default() });
    }
}

#[test]
fn tags_of_vlan_aware_bundles() {
    let mut node = Node::new(1, &[100]);
    for (tag, label, taken) in [(0, 100, true), (100, 100, true), (10, 100, true), (10, 777, false)] {
        let (key, content) = type2(2, mac(1), None, label, from(2, &["1:100"]));
        let RouteKey::MacIp { rd, mac, ip, .. } = key else { unreachable!() };
        let route = (RouteKey::MacIp { rd, tag, mac, ip }, content);
        node.hear(route.clone());
        assert_eq!(node.table.macs.len(), usize::from(taken), "tag {tag} label {label}");
        node.hear(gone(&route));
    }
}

#[test]
fn a_segment_must_be_announced_and_its_withdraw_takes_all() {
    let mut node = Node::new(1, &[100, 200]);
    let esi = Esi([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let on_segment = |n, m, targets: &[&str]| {
        let (key, content) = type2(n, m, Some(&format!("192.0.2.{}", m.0[5])), 0, from(n, targets));
        (key, content.map(|(body, attributes)| (NlriBody { esi, ..body }, attributes)))
    };
    node.hear_all((1..=20).map(|m| on_segment(2, mac(m), &["1:100", "1:200"])));
    assert_eq!(node.table.macs.len(), 0);
    assert_eq!(node.standing(100, mac(1)), [Standing::Rejected(Reject::NoEthernetAd)]);
    node.hear(type1(3, esi));
    assert_eq!(node.table.macs.len(), 0, "another next hop's");
    node.hear(type1(2, esi));
    assert_eq!((node.table.macs.len(), node.table.neighbours.len()), (40, 40));
    // The same host behind the other VTEP of the segment takes over at once.
    node.hear(on_segment(3, mac(1), &["1:100"]));
    assert_eq!(node.remote(100, mac(1)), Some(ip("10.0.0.2")));
    node.hear(gone(&type1(2, esi)));
    assert_eq!((node.table.macs.len(), node.remote(100, mac(1))), (1, Some(ip("10.0.0.3"))));
    // No longer multihomed: usable without.
    node.hear(type2(2, mac(5), Some("192.0.2.5"), 0, from(2, &["1:100"])));
    assert_eq!(node.remote(100, mac(5)), Some(ip("10.0.0.2")));
    assert_eq!(node.remote(200, mac(5)), None, "the implicit replace has one route target less");
    node.hear_all((1..=20).map(|m| gone(&on_segment(2, mac(m), &[]))));
    node.hear_all([gone(&on_segment(3, mac(1), &[])), gone(&type1(3, esi))]);
    assert!(node.evpn.segments.is_empty() && node.table.macs.is_empty() && node.table.neighbours.is_empty());
}

#[test]
fn vnis_and_route_targets_come_and_go() {
    let mut node = Node::new(1, &[]);
    let hosts = [("1:100", 1), ("1:200", 2), ("7:300", 3)];
    for (target, m) in hosts {
        node.hear(type2(2, mac(m), None, 0, from(2, &[target])));
    }
    let tunnel = PmsiTunnel::IngressReplication(ip("10.0.0.2"));
    node.hear(type3(2, with_pmsi(from(2, &["1:200"]), tunnel, 0)));
    let installed = |node: &Node| node.table.macs.keys().map(|(v, m)| (v.get(), m.0[5])).collect::<Vec<_>>();
    node.configure(vec![MacVrfConfig::new(vni(100))]);
    assert_eq!(installed(&node), [(100, 1)]);
    node.configure(vec![MacVrfConfig::new(vni(100)), MacVrfConfig::new(vni(200))]);
    assert_eq!(installed(&node), [(100, 1), (200, 2)]);
    assert_eq!(node.flood(200).len(), 1);
    let exact =
        |v, t: &str| MacVrfConfig { import_rt: vec![t.parse().unwrap()], ..MacVrfConfig::new(vni(v)) };
    node.configure(vec![exact(100, "7:300"), exact(200, "*:100")]);
    assert_eq!(installed(&node), [(100, 3), (200, 1)]);
    assert_eq!(node.flood(200).len(), 0);
    node.configure(vec![exact(200, "*:100")]);
    assert_eq!(installed(&node), [(200, 1)]);
    node.configure(vec![exact(300, "7:300"), exact(200, "*:100")]);
    assert_eq!(installed(&node), [(200, 1), (300, 3)]);
    node.configure(vec![]);
    assert_eq!(node.table, Table::default());
    node.configure(vec![MacVrfConfig::new(vni(100))]);
    assert_eq!(installed(&node), [(100, 1)]);
}

#[test]
fn changed_export_targets_and_distinguishers_are_announced() {
    let mut node = Node::new(1, &[100]);
    node.seen(100, mac(1));
    let export = MacVrfConfig { export_rt: vec![rt("5:5"), rt("6:6")], ..MacVrfConfig::new(vni(100)) };
    assert_eq!(node.configure(vec![export.clone()]).len(), 2);
    for (_, attributes) in node.announced.values() {
        assert_eq!(attributes.route_targets().collect::<Vec<_>>(), [rt("5:5"), rt("6:6")]);
    }
    assert_eq!(node.configure(vec![export.clone()]), [], "no change, nothing said");
    let rd: Rd = "65000:7".parse().unwrap();
    let sent = node.configure(vec![MacVrfConfig { rd: Some(rd), ..export }]);
    assert_eq!(sent.iter().filter(|(_, content)| content.is_none()).count(), 2);
    let of = |key: &RouteKey| match *key {
        RouteKey::MacIp { rd, .. } | RouteKey::Imet { rd, .. } => rd,
        _ => panic!(),
    };
    assert!(node.announced.len() == 2 && node.announced.keys().all(|key| of(key) == rd));
}

#[test]
fn distinguishers_that_change_hands_do_not_withdraw_each_other() {
    let mut node = Node::new(1, &[100, 200]);
    for v in [100, 200] {
        node.seen(v, mac(1));
    }
    let rds = |node: &Node| node.evpn.vnis().into_iter().map(|v| v.rd).collect::<Vec<_>>();
    for (one, other) in [("1:1", "1:2"), ("1:2", "1:1")] {
        let configs = [(100, one), (200, other)]
            .map(|(v, rd)| MacVrfConfig { rd: Some(rd.parse().unwrap()), ..MacVrfConfig::new(vni(v)) });
        node.configure(configs.into());
        assert_eq!(rds(&node), [one, other]);
        assert_eq!(node.announced.len(), 4, "a type 3 and a type 2 of each");
        for v in [100, 200] {
            assert_eq!(node.announces(v, mac(1)), Some((0, false)));
        }
    }
}

#[test]
fn a_large_vni_keeps_its_number_when_a_small_one_comes() {
    // 65536 + 100 and 2 * 65536 + 100 have 100 and 101, and VNI 100 comes.
    let mut node = Node::new(1, &[65_636, 131_172]);
    let rds = |node: &Node| node.evpn.vnis().into_iter().map(|v| v.rd).collect::<Vec<_>>();
    assert_eq!(rds(&node), ["10.0.0.1:100", "10.0.0.1:101"]);
    assert_eq!(node.configure([65_636, 131_172, 100].map(|v| MacVrfConfig::new(vni(v))).into()), []);
    assert_eq!(rds(&node), ["10.0.0.1:102", "10.0.0.1:100", "10.0.0.1:101"]);
}

#[test]
fn configurations_that_cannot_be() {
    let mut node = Node::new(1, &[100]);
    let same: Rd = "1:1".parse().unwrap();
    let rd = Some(same);
    for (configs, error) in [
        (vec![MacVrfConfig::new(Vni::ZERO)], ConfigError::ZeroVni),
        (vec![MacVrfConfig::new(vni(1)); 2], ConfigError::DuplicateVni(vni(1))),
        (
            vec![
                MacVrfConfig { rd, ..MacVrfConfig::new(vni(1)) },
                MacVrfConfig { rd, ..MacVrfConfig::new(vni(2)) },
            ],
            ConfigError::DuplicateRd(same, vni(2)),
        ),
    ] {
        assert_eq!(node.evpn.configure(configs, Time::ZERO), Err(error));
        assert_eq!(node.drain(), []);
        assert_eq!(node.evpn.vnis().len(), 1, "nothing changed");
    }
}

#[test]
fn routes_by_hand() {
    let mut node = Node::new(1, &[100]);
    let host = ManualKind::Mac { mac: mac(1), ip: Some(ip("192.0.2.1")), sequence: 3, sticky: true };
    let key = node.evpn.add_manual(&ManualRoute::new(vni(100), host)).unwrap();
    node.drain();
    let (body, attributes) = &node.announced[&key];
    assert_eq!((body.label, attributes.next_hop), (vni(100), ip("10.0.0.1")));
    assert_eq!(attributes.mac_mobility(), (3, true));
    assert_eq!(attributes.route_targets().collect::<Vec<_>>(), [rt("65001:100")]);
    // A VNI that is not configured has an RD of its own all the same.
    let prefix =
        ManualKind::Prefix { prefix: "10.1.2.3/24".parse().unwrap(), gateway: None, router_mac: None };
    let key = node.evpn.add_manual(&ManualRoute::new(vni(65_636), prefix)).unwrap();
    let rd = "10.0.0.1:101".parse().unwrap();
    assert_eq!(key, RouteKey::Prefix { rd, tag: 0, prefix: "10.1.2.0/24".parse().unwrap() });
    node.drain();
    assert_eq!(node.announced[&key].1.route_targets().collect::<Vec<_>>(), [rt("65001:65636")]);
    assert_eq!(node.evpn.remove_manual(&ManualRoute::new(vni(65_636), prefix), Time::ZERO), Ok(true));
    assert_eq!(node.evpn.remove_manual(&ManualRoute::new(vni(65_636), prefix), Time::ZERO), Ok(false));
    assert_eq!(node.drain(), [(key, None)]);

    // In front of one of ours, and back.
    node.seen(100, mac(2));
    let own =
        node.announced.iter().find(|(k, _)| matches!(k, RouteKey::MacIp { mac: m, .. } if *m == mac(2)));
    let own = (own.unwrap().0.clone(), own.unwrap().1.clone());
    let twin = ManualKind::Mac { mac: mac(2), ip: None, sequence: 9, sticky: false };
    let by_hand = ManualRoute { next_hop: Some(ip("10.9.9.9")), ..ManualRoute::new(vni(100), twin) };
    assert_eq!(node.evpn.add_manual(&by_hand).as_ref(), Ok(&own.0));
    node.drain();
    assert_eq!(node.announced[&own.0].1.next_hop, ip("10.9.9.9"));
    node.gone(100, mac(2));
    assert_eq!(node.announced[&own.0].1.next_hop, ip("10.9.9.9"), "ours went, that by hand stays");
    node.seen(100, mac(2));
    assert_eq!(node.evpn.manual_routes().count(), 2);
    assert!(node.evpn.remove_manual_key(&own.0, Time::ZERO));
    node.drain();
    assert_eq!(node.announced[&own.0], own.1);

    let refused = |kind| {
        Evpn::new(EvpnConfig { vtep: None, ..node.evpn.node }).add_manual(&ManualRoute::new(vni(1), kind))
    };
    assert_eq!(refused(ManualKind::Imet), Err(ManualError::NoNextHop));
    let bad = |mac, ip| ManualKind::Mac { mac, ip, sequence: 0, sticky: false };
    assert_eq!(refused(bad(MacAddr([1; 6]), None)), Err(ManualError::NotHostMac(MacAddr([1; 6]))));
    assert_eq!(refused(bad(mac(1), Some(ip("::")))), Err(ManualError::NotHostIp(ip("::"))));
}

#[test]
fn a_node_without_vtep_takes_nothing() {
    let mut node = Node::new(1, &[]);
    node.evpn.node.vtep = None;
    node.configure(vec![MacVrfConfig::new(vni(100))]);
    node.local(Local::VniReady(vni(100), true));
    node.seen(100, mac(1));
    node.hear(type2(2, mac(2), None, 100, from(2, &["1:100"])));
    node.hear(type3(2, with_pmsi(from(2, &["1:100"]), PmsiTunnel::IngressReplication(ip("10.0.0.2")), 100)));
    node.configure(vec![]);
    assert_eq!((node.table, node.announced.len()), (Table::default(), 0));
}

#[test]
fn all_was_heard_again() {
    let mut node = Node::new(1, &[100]);
    node.evpn.settled();
    node.drain();
    assert!(node.table.settled);
}
