//! Clients: what their files and ports make of VNIs, VRFs and routes.

use dataplane::intent::{ClientState, Port, Service};

use super::*;

fn client(name: &str, m: u8, service: Service) -> ClientConfig {
    let client = Client {
        name: name.into(),
        port: Port::Number(1000 + u16::from(m)),
        vlan: None,
        mac: mac(m),
        anti_spoof: true,
        service,
    };
    ClientConfig { client, import_rt: Vec::new(), export_rt: Vec::new() }
}

/// A client of an L2 VNI.
pub(super) fn l2(name: &str, v: u32, m: u8, ips: &[&str]) -> ClientConfig {
    client(name, m, Service::L2 { vni: vni(v), ips: ips.iter().map(|t| ip(t)).collect() })
}

/// A client of a VRF.
fn l3(name: &str, v: u32, m: u8, prefixes: &[&str]) -> ClientConfig {
    client(name, m, Service::L3 { vrf: vni(v), prefixes: prefixes.iter().map(|t| net(t)).collect() })
}

pub(super) fn with_rt(config: ClientConfig, import: &[&str], export: &[&str]) -> ClientConfig {
    ClientConfig {
        import_rt: import.iter().map(|t| t.parse().unwrap()).collect(),
        export_rt: export.iter().map(|t| rt(t)).collect(),
        ..config
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A type 5 route of 10.0.0.`n`.
fn type5(n: u8, prefix: &str, label: u32, attributes: Attributes) -> Message {
    let key =
        RouteKey::Prefix { rd: Rd::from_ip(Ipv4Addr::new(10, 0, 0, n), 5), tag: 0, prefix: net(prefix) };
    (key, Some((NlriBody { label: vni(label), ..NlriBody::default() }, attributes)))
}

fn router(n: u8) -> MacAddr {
    MacAddr([2, 0xe5, 10, 0, 0, n])
}

/// Attributes of a type 5 route from 10.0.0.`n`.
fn routed(n: u8, targets: &[&str]) -> Attributes {
    with(from(n, targets), ExtCommunity::router_mac(router(n)))
}

fn remote(n: u8, label: u32) -> Hop {
    Hop::Remote { vtep: [10, 0, 0, n].into(), vni: vni(label), router_mac: router(n) }
}

impl Node {
    pub(super) fn set(&mut self, clients: Vec<ClientConfig>) -> Vec<Message> {
        let configured = self.evpn.set_clients(clients, self.now).unwrap();
        if configured.needs_replay {
            for (key, content) in self.heard.clone() {
                self.feed(&key, Some(&content));
            }
        }
        self.drain()
    }

    pub(super) fn up(&mut self, name: &str) -> Vec<Message> {
        self.local(Local::Client { name: name.into(), state: ClientState::Up { interface: "tap9".into() } })
    }

    fn down(&mut self, name: &str) -> Vec<Message> {
        self.local(Local::Client { name: name.into(), state: ClientState::Down { reason: "no port".into() } })
    }

    fn hops(&self, v: u32, prefix: &str) -> Option<Vec<Hop>> {
        self.table.prefixes.get(&(vni(v), net(prefix))).cloned()
    }

    /// The targets of the type 5 route announced for a prefix.
    fn targets(&self, prefix: &str) -> Option<Vec<String>> {
        self.announced.iter().find_map(|(key, (_, attributes))| match key {
            RouteKey::Prefix { prefix: p, .. } if *p == net(prefix) => {
                Some(attributes.route_targets().map(|t| t.to_string()).collect())
            }
            _ => None,
        })
    }
}

#[test]
fn a_client_is_announced_once_its_vni_is_ready_and_its_port_is_there() {
    let mut node = Node::new(1, &[]);
    assert_eq!(node.set(vec![l2("a", 100, 1, &["192.0.2.1", "2001:db8::1"])]), []);
    assert!(node.table.vnis.contains_key(&vni(100)) && node.table.clients.contains_key("a"));
    assert_eq!(node.up("a"), [], "not before its VNI is there");
    assert_eq!(node.local(Local::VniReady(vni(100), true)).len(), 4, "type 3, the MAC, two addresses");
    assert_eq!(node.announces(100, mac(1)), Some((0, false)));
    // The bridge may forget it, and think what it likes about its addresses.
    assert_eq!(node.gone(100, mac(1)), []);
    assert_eq!(node.address(100, mac(2), "192.0.2.1"), []);
    assert_eq!(node.local(Local::NeighbourGone { vni: vni(100), ip: ip("192.0.2.1") }), []);
    assert_eq!(node.up("a"), [], "said again");
    assert_eq!(node.down("a").len(), 3);
    assert_eq!(node.up("a").len(), 3);
    let view: Vec<_> = node.evpn.clients().map(|c| (c.routes, c.elsewhere)).collect();
    assert_eq!(view, [(3, None)]);
    assert_eq!(node.set(vec![]).len(), 4);
    assert_eq!(node.table, Table::default());
}

#[test]
fn addresses_come_and_go_without_the_mac() {
    let mut node = Node::new(1, &[100]);
    node.set(vec![l2("a", 100, 1, &["192.0.2.1"])]);
    node.up("a");
    let sent = node.set(vec![l2("a", 100, 1, &["192.0.2.2"])]);
    let ips: Vec<_> = sent
        .iter()
        .map(|(key, content)| match key {
            RouteKey::MacIp { ip, .. } => (*ip, content.is_some()),
            _ => panic!("{key:?}"),
        })
        .collect();
    assert_eq!(ips, [(Some(ip("192.0.2.1")), false), (Some(ip("192.0.2.2")), true)]);
    // Another MAC is another host.
    assert_eq!(node.set(vec![l2("a", 100, 2, &["192.0.2.2"])]).len(), 4);
    assert_eq!((node.announces(100, mac(1)), node.announces(100, mac(2))), (None, Some((0, false))));
}

#[test]
fn a_vni_says_and_takes_what_its_section_and_its_clients_say() {
    let mut node = Node::new(1, &[100]);
    let a = with_rt(l2("a", 100, 1, &[]), &["7:7"], &["7:7", "8:8"]);
    let b = with_rt(l2("b", 200, 2, &[]), &["7:7"], &["7:7"]);
    node.set(vec![a.clone(), b.clone()]);
    let views = node.evpn.vnis();
    assert_eq!(views[0].import_rt, ["7:7", "auto"]);
    assert_eq!(views[0].export_rt, ["65001:100", "7:7", "8:8"]);
    assert_eq!(
        (&*views[1].import_rt, &*views[1].export_rt),
        (&["7:7".to_owned()][..], &["7:7".to_owned()][..])
    );
    node.hear(type2(2, mac(9), None, 100, from(2, &["7:7"])));
    assert_eq!(node.table.macs.len(), 2, "both take it");
    node.set(vec![b]);
    assert_eq!(node.evpn.vnis()[0].import_rt, ["auto"]);
    assert_eq!(node.table.macs.len(), 1);
    // The section goes, the client stays.
    node.set(vec![a]);
    node.configure(vec![]);
    assert_eq!(node.evpn.vnis()[0].export_rt, ["7:7", "8:8"]);
}

#[test]
fn a_client_moves_and_the_old_place_does_not_take_it_back() {
    let (mut a, mut b) = (Node::new(1, &[100]), Node::new(2, &[100]));
    let file = || vec![l2("vm", 100, 1, &["192.0.2.1"])];
    a.set(file());
    let first = a.up("vm");
    b.hear_all(first);
    assert_eq!(b.remote(100, mac(1)), Some(ip("10.0.0.1")));
    // The file appears on B before it goes on A.
    b.set(file());
    let second = b.up("vm");
    assert_eq!(b.announces(100, mac(1)), Some((1, false)));
    let third = a.hear_all(second);
    assert_eq!((a.announces(100, mac(1)), a.remote(100, mac(1))), (None, Some(ip("10.0.0.2"))));
    assert_eq!(a.evpn.clients().next().unwrap().elsewhere, Some(ip("10.0.0.2")));
    b.hear_all(third);
    assert_eq!(a.up("vm"), [], "said again: no sign that the host is back");
    assert_eq!(a.set(vec![]), []);
    assert_eq!(b.announces(100, mac(1)), Some((1, false)));
    // It goes on B, then appears on A.
    let gone = b.set(vec![]);
    a.hear_all(gone);
    a.set(file());
    a.up("vm");
    assert_eq!(a.announces(100, mac(1)), Some((0, false)));
}

#[test]
fn a_client_that_lost_its_mac_has_it_again_when_the_other_is_gone() {
    let mut node = Node::new(1, &[100]);
    node.set(vec![l2("vm", 100, 1, &["192.0.2.1"])]);
    node.up("vm");
    let better = type2(2, mac(1), None, 100, with(from(2, &["1:100"]), ExtCommunity::mac_mobility(3, false)));
    assert_eq!(node.hear(better.clone()).len(), 2);
    assert_eq!(node.remote(100, mac(1)), Some(ip("10.0.0.2")));
    assert_eq!(node.hear(gone(&better)).len(), 2, "announced again");
    assert_eq!((node.remote(100, mac(1)), node.announces(100, mac(1))), (None, Some((0, false))));
    // Static elsewhere: theirs, until it is gone.
    let fixed = type2(2, mac(1), None, 100, with(from(2, &["1:100"]), ExtCommunity::mac_mobility(0, true)));
    node.hear(fixed.clone());
    assert_eq!(node.announces(100, mac(1)), None);
    node.hear(gone(&fixed));
    assert_eq!(node.announces(100, mac(1)), Some((0, false)));
}

#[test]
fn two_nodes_with_one_mac_do_not_fight() {
    let (mut a, mut b) = (Node::new(1, &[100]), Node::new(2, &[100]));
    for node in [&mut a, &mut b] {
        node.set(vec![l2("vm", 100, 1, &[])]);
    }
    let (of_a, of_b) = (a.up("vm"), b.up("vm"));
    let (mut to_a, mut to_b) = (of_b, of_a);
    let mut rounds = 0;
    while !to_a.is_empty() || !to_b.is_empty() {
        let (of_a, of_b) = (a.hear_all(to_a), b.hear_all(to_b));
        (to_a, to_b) = (of_b, of_a);
        rounds += 1;
        assert!(rounds < 10, "they go on for ever");
    }
    assert_eq!((a.announces(100, mac(1)), b.announces(100, mac(1))), (Some((0, false)), None));
    assert_eq!(b.remote(100, mac(1)), Some(ip("10.0.0.1")), "the lower address");
}

#[test]
fn a_vrf_announces_the_prefixes_of_clients_that_are_up() {
    let mut node = Node::new(1, &[]);
    let a = with_rt(l3("a", 5000, 1, &["10.1.0.1/32", "2001:db8::/64"]), &["7:7"], &["7:7"]);
    let b = with_rt(l3("b", 5000, 2, &["10.1.0.1/32"]), &["8:8"], &["8:8", "7:7"]);
    assert_eq!(node.set(vec![a.clone(), b.clone()]), []);
    assert_eq!(node.table.vrfs[&vni(5000)].router_mac, router(1));
    let hops = |names: &[&str]| Some(names.iter().map(|&name| Hop::Client(name.into())).collect::<Vec<_>>());
    assert_eq!(node.hops(5000, "10.1.0.1/32"), hops(&["a", "b"]), "as before a restart");
    assert_eq!(node.down("b"), []);
    assert_eq!(node.hops(5000, "10.1.0.1/32"), hops(&["a"]), "not all is known");
    assert_eq!(node.down("a"), []);
    assert_eq!(node.hops(5000, "10.1.0.1/32"), Some(vec![]), "dropped, not sent along a shorter one");
    let sent = node.up("a");
    let rd = "10.0.0.1:37768".parse().unwrap();
    let attributes = Attributes {
        ext_communities: vec![
            rt("7:7").community(),
            ExtCommunity::VXLAN,
            ExtCommunity::router_mac(MacAddr([2, 0xe5, 10, 0, 0, 1])),
        ],
        ..Attributes::local(ip("10.0.0.1"))
    };
    let route = |prefix: &str| {
        let body = NlriBody { label: vni(5000), ..NlriBody::default() };
        (RouteKey::Prefix { rd, tag: 0, prefix: net(prefix) }, Some((body, attributes.clone())))
    };
    assert_eq!(sent, [route("10.1.0.1/32"), route("2001:db8::/64")]);
    assert_eq!(node.hops(5000, "10.1.0.1/32"), Some(vec![Hop::Client("a".into())]));
    // Another one has one of them too.
    assert_eq!(node.up("b").len(), 1);
    assert_eq!(node.targets("10.1.0.1/32").unwrap(), ["7:7", "8:8"]);
    assert_eq!(node.hops(5000, "10.1.0.1/32").unwrap().len(), 2);
    let view = node.evpn.vnis().remove(0);
    assert_eq!((&*view.kind, view.router_mac), ("l3", Some(router(1))));
    assert_eq!((view.prefixes_local, view.prefixes_remote), (Some(2), Some(0)));
    assert_eq!(
        (view.import_rt, view.export_rt),
        (vec!["7:7".into(), "8:8".into()], vec!["7:7".into(), "8:8".into()])
    );
    assert_eq!(node.down("a").len(), 1, "its targets are those of the other, too");
    assert_eq!(node.targets("10.1.0.1/32").unwrap(), ["7:7", "8:8"]);
    assert_eq!(node.hops(5000, "2001:db8::/64"), Some(vec![]));
    // Targets change while it is up.
    let b = with_rt(b, &["8:8"], &["9:9"]);
    assert_eq!(node.set(vec![a, b.clone()]).len(), 1);
    assert_eq!(node.targets("10.1.0.1/32").unwrap(), ["9:9"]);
    assert_eq!(node.set(vec![b]), []);
    assert_eq!(node.hops(5000, "2001:db8::/64"), None);
    assert_eq!(node.set(vec![]).len(), 1);
    assert_eq!(node.table, Table::default());
}

#[test]
fn a_vrf_takes_prefixes_and_the_vni_they_say() {
    let mut node = Node::new(1, &[]);
    node.set(vec![l3("a", 5000, 1, &["10.1.0.1/32"])]);
    // Downstream: what the label says is what they understand.
    let default = type5(2, "0.0.0.0/0", 777, routed(2, &["1:5000"]));
    node.hear(default.clone());
    assert_eq!(node.hops(5000, "0.0.0.0/0"), Some(vec![remote(2, 777)]));
    assert_eq!(node.evpn.vnis()[0].prefixes_remote, Some(1));
    // A second border router, as good; then a worse one.
    let other = type5(3, "0.0.0.0/0", 5000, routed(3, &["1:5000"]));
    node.hear(other.clone());
    assert_eq!(node.hops(5000, "0.0.0.0/0"), Some(vec![remote(2, 777), remote(3, 5000)]));
    let worse = Attributes { local_pref: Some(50), ..routed(4, &["1:5000"]) };
    node.hear(type5(4, "0.0.0.0/0", 5000, worse));
    assert_eq!(node.hops(5000, "0.0.0.0/0").unwrap().len(), 2);
    node.hear(gone(&default));
    assert_eq!(node.hops(5000, "0.0.0.0/0"), Some(vec![remote(3, 5000)]));
    node.hear(gone(&other));
    assert_eq!(node.hops(5000, "0.0.0.0/0"), Some(vec![remote(4, 5000)]));
    // A client here is before all others; down, it leaves the prefix to them.
    node.hear(type5(2, "10.1.0.1/32", 5000, routed(2, &["1:5000"])));
    assert_eq!(node.hops(5000, "10.1.0.1/32"), Some(vec![remote(2, 5000)]));
    node.up("a");
    assert_eq!(node.hops(5000, "10.1.0.1/32"), Some(vec![Hop::Client("a".into())]));
    node.down("a");
    assert_eq!(node.hops(5000, "10.1.0.1/32"), Some(vec![remote(2, 5000)]));
    let story = node.evpn.explain_prefix(net("10.1.0.1/32")).remove(0);
    assert_eq!((story.clients, story.announced), (vec![("a".into(), false)], false));
    assert_eq!(story.hops, [remote(2, 5000)]);
    let story = node.evpn.explain_prefix(net("198.51.100.7/32")).remove(0);
    assert_eq!((story.prefix, story.paths[0].standing), (net("0.0.0.0/0"), PathStanding::Chosen));
    assert!(node.events.contains(&EventKind::PrefixLearned(net("0.0.0.0/0"), ip("10.0.0.2"), 1)));
}

#[test]
fn prefixes_that_cannot_be_used_and_why() {
    let mut node = Node::new(1, &[]);
    node.set(vec![l3("a", 5000, 1, &["10.1.0.1/32"])]);
    let good = || routed(2, &["1:5000"]);
    let mac_of = |m| with(from(2, &["1:5000"]), ExtCommunity::router_mac(m));
    let body = |body: NlriBody, attributes| {
        let (key, _) = type5(2, "10.9.0.0/16", 0, attributes);
        (key, Some((body, good())))
    };
    let labelled = NlriBody { label: vni(5000), ..NlriBody::default() };
    let plain = |attributes| type5(2, "10.9.0.0/16", 5000, attributes);
    let mut mpls = good();
    mpls.ext_communities.retain(|c| *c != ExtCommunity::VXLAN);
    mpls.ext_communities.push(ExtCommunity([3, 0x0c, 0, 0, 0, 0, 0, 10]));
    for (message, reject) in [
        (plain(good()), None),
        (plain(from(2, &["1:5000"])), Some(Reject::NoRouterMac)),
        (plain(mac_of(MacAddr([3, 0, 0, 0, 0, 1]))), Some(Reject::BadRouterMac)),
        (plain(mac_of(router(1))), Some(Reject::OwnRouterMac)),
        (plain(mpls), Some(Reject::NotVxlan)),
        (plain(Attributes { next_hop: ip("10.0.0.1"), ..good() }), Some(Reject::OwnNextHop)),
        (plain(Attributes { next_hop: ip("2001:db8::2"), ..good() }), Some(Reject::OtherFamily)),
        (type5(2, "10.9.0.0/16", 0, good()), Some(Reject::MacIndex)),
        (body(NlriBody { gateway: Some(ip("10.1.0.1")), ..labelled }, good()), Some(Reject::GatewayIndex)),
        (body(NlriBody { esi: Esi([1; 10]), ..labelled }, good()), Some(Reject::SegmentIndex)),
    ] {
        node.hear(plain(good()));
        node.hear(message.clone());
        let (key, content) = message;
        let (body, attributes) = content.unwrap();
        let route = Route { attributes: &attributes, attr_id: 0, body: &body, local: false };
        assert_eq!(node.evpn.verdicts(&key, &route), [Verdict { vni: vni(5000), routed: true, reject }]);
        assert_eq!(node.hops(5000, "10.9.0.0/16").is_some(), reject.is_none(), "{reject:?}");
    }
    node.hear(plain(routed(2, &["1:5001"])));
    assert_eq!(node.hops(5000, "10.9.0.0/16"), None, "another VRF's");
}

#[test]
fn a_host_route_of_a_symmetric_type_2() {
    let mut node = Node::new(1, &[100]);
    node.set(vec![l3("a", 5000, 1, &["10.1.0.1/32"])]);
    let (key, content) = type2(2, mac(7), Some("10.2.0.7"), 100, routed(2, &["1:100", "1:5000"]));
    let (body, attributes) = content.unwrap();
    let symmetric =
        |attributes| (key.clone(), Some((NlriBody { label2: Some(vni(777)), ..body }, attributes)));
    node.hear(symmetric(attributes.clone()));
    assert_eq!(node.hops(5000, "10.2.0.7/32"), Some(vec![remote(2, 777)]));
    assert_eq!(node.remote(100, mac(7)), Some(ip("10.0.0.2")), "and a MAC");
    node.hear((key.clone(), Some((body, attributes.clone()))));
    assert_eq!(node.hops(5000, "10.2.0.7/32"), None, "no second label: asymmetric");
    assert_eq!(node.remote(100, mac(7)), Some(ip("10.0.0.2")));
    // It moves: for a moment two announce it.
    node.hear(symmetric(attributes));
    let moved = with(routed(3, &["1:100", "1:5000"]), ExtCommunity::mac_mobility(1, false));
    let (key3, _) = type2(3, mac(7), Some("10.2.0.7"), 100, moved.clone());
    node.hear((key3, Some((NlriBody { label2: Some(vni(777)), ..body }, moved))));
    assert_eq!(node.hops(5000, "10.2.0.7/32"), Some(vec![remote(3, 777)]));
}

#[test]
fn distinguishers_stay_whoever_comes_and_goes() {
    let mut node = Node::new(1, &[]);
    let a = || l3("a", 10, 1, &["10.1.0.1/32"]);
    node.set(vec![a()]);
    node.up("a");
    let announced = node.announced.clone();
    assert!(announced.keys().all(|k| k.rd() == Some("10.0.0.1:32778".parse().unwrap())));
    // A VNI that would have had a better right to the number, and one that has the same number as the VRF.
    assert_eq!(node.set(vec![a(), l2("b", 32_778, 2, &[]), l2("c", 10, 3, &[])]), []);
    assert_eq!(node.announced, announced);
    let rds: Vec<_> = node.evpn.vnis().into_iter().map(|v| (v.kind, v.rd)).collect();
    assert_eq!(
        rds,
        [("l2", "10.0.0.1:10"), ("l3", "10.0.0.1:32778"), ("l2", "10.0.0.1:32779")]
            .map(|(kind, rd)| (kind.to_owned(), rd.to_owned()))
    );
    // Unless somebody configures it.
    let fixed = MacVrfConfig { rd: Some("10.0.0.1:32778".parse().unwrap()), ..MacVrfConfig::new(vni(7)) };
    let sent = node.configure(vec![fixed]);
    assert_eq!(
        sent.iter().filter(|(_, content)| content.is_some()).count(),
        1,
        "once withdrawn, once announced"
    );
    assert_eq!(node.announced.len(), 1);
}

#[test]
fn a_route_by_hand_is_of_the_vrf() {
    let mut node = Node::new(1, &[]);
    node.set(vec![with_rt(l3("a", 5000, 1, &["10.1.0.0/24"]), &["7:7"], &["7:7"])]);
    let own = node.up("a");
    let prefix = |p: &str| ManualKind::Prefix { prefix: net(p), gateway: None, router_mac: None };
    node.evpn.add_manual(&ManualRoute::new(vni(5000), prefix("10.2.0.0/16"))).unwrap();
    assert_eq!(node.drain()[0].1.as_ref().unwrap().1, own[0].1.as_ref().unwrap().1, "the same attributes");
    // One in front of a client's, and back.
    let twin =
        ManualRoute { next_hop: Some(ip("10.9.9.9")), ..ManualRoute::new(vni(5000), prefix("10.1.0.0/24")) };
    let key = node.evpn.add_manual(&twin).unwrap();
    assert_eq!(node.drain()[0].1.as_ref().unwrap().1.ext_communities.len(), 2, "not our router MAC");
    assert!(node.evpn.remove_manual_key(&key, Time::ZERO));
    assert_eq!(node.drain(), [(key, None), own[0].clone()]);
}

#[test]
fn a_thousand_clients_at_once_and_one_more() {
    let mut node = Node::new(1, &[]);
    let all = |n: u32| {
        (0..n).map(|n| {
            let m = MacAddr([2, 1, 0, 0, (n >> 8) as u8, n as u8]);
            let mut config = l2(&format!("vm{n}"), 100 + n, 1, &["192.0.2.1"]);
            config.client.mac = m;
            config
        })
    };
    node.set(all(1000).collect());
    for n in 0..1000 {
        node.local(Local::VniReady(vni(100 + n), true));
        assert_eq!(node.up(&format!("vm{n}")).len(), 2);
    }
    assert_eq!(node.announced.len(), 3000);
    assert!(node.evpn.set_clients(all(1001).collect(), Time::ZERO).unwrap().needs_replay);
    let mut said = Vec::new();
    while let Some(output) = node.evpn.poll_output() {
        said.push(output);
    }
    assert_eq!(said.len(), 2, "a VNI and a client: {said:?}");
}
