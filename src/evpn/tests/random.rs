//! Anything in any order: after each step the dataplane and the routes of our own are what the model says.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::model::Model;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Hear(Box<Message>),
    Forget(proptest::sample::Index),
    Local(Local),
    Configure(Vec<MacVrfConfig>),
}

fn any_mac() -> impl Strategy<Value = MacAddr> {
    (1..4u8).prop_map(mac)
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    select(vec![ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::1")])
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let hop =
        select(vec!["10.0.0.1", "10.0.0.3", "10.0.0.4", "10.0.0.3", "10.0.0.2", "2001:db8::2", "0.0.0.0"]);
    let targets = select(vec![
        &["1:100"][..],
        &["1:100"],
        &["1:100"],
        &["1:200"],
        &["4200000000:100"],
        &["1:268435656"], // 0x1000_0000 + 200
        &["1:100", "1:200"],
        &["1:100", "1:200", "7:7"],
        &["7:7"],
        &["10.0.0.1:100"],
        &[],
    ]);
    let encapsulation = select(vec![8u8, 8, 8, 8, 0, 10]);
    let extra = vec(
        prop_oneof![
            4 => (0..4u32, prop::bool::weighted(0.2)).prop_map(|(n, sticky)| ExtCommunity::mac_mobility(n, sticky)),
            1 => Just(ExtCommunity::DEFAULT_GATEWAY),
            1 => select(vec![1, 8, 9]).prop_map(|flags| ExtCommunity([6, 8, flags, 0, 0, 0, 0, 0])),
        ],
        0..3,
    );
    let tunnel = prop_oneof![
        5 => select(vec!["10.0.0.1", "10.0.0.3", "10.0.0.4", "10.0.0.2", "0.0.0.0", "2001:db8::1"])
            .prop_map(|t| Some(PmsiTunnel::IngressReplication(ip(t)))),
        1 => Just(Some(PmsiTunnel::None)),
        1 => Just(None),
    ];
    (hop, targets, encapsulation, extra, tunnel, select(vec![0, 100, 200, 777])).prop_map(
        |(hop, targets, encapsulation, extra, tunnel, label)| {
            let mut attributes = Attributes::local(ip(hop));
            attributes.ext_communities = targets.iter().map(|t| rt(t).community()).collect();
            if encapsulation != 0 {
                attributes.ext_communities.push(ExtCommunity([3, 0x0c, 0, 0, 0, 0, 0, encapsulation]));
            }
            attributes.ext_communities.extend(extra);
            attributes.pmsi = tunnel.map(|tunnel| Pmsi { flags: 0, vni: vni(label), tunnel });
            attributes
        },
    )
}

fn route() -> impl Strategy<Value = Message> {
    let rd = select(vec!["10.0.0.9:1", "10.0.0.9:2"]).prop_map(|t| t.parse::<Rd>().unwrap());
    let tag = select(vec![0, 0, 0, 100, 7]);
    let esi = select(vec![Esi::ZERO, Esi::ZERO, Esi([1; 10]), Esi([2; 10])]);
    let key = prop_oneof![
        6 => (rd.clone(), tag.clone(), any_mac(), prop::option::of(any_ip()))
            .prop_map(|(rd, tag, mac, ip)| RouteKey::MacIp { rd, tag, mac, ip }),
        2 => (rd.clone(), tag, 1..4u8)
            .prop_map(|(rd, tag, n)| RouteKey::Imet { rd, tag, originator: [10, 0, 0, n].into() }),
        2 => (rd, esi.clone(), select(vec![u32::MAX, u32::MAX, 0]))
            .prop_map(|(rd, esi, tag)| RouteKey::EthernetAd { rd, esi, tag }),
    ];
    (key, attributes(), esi, select(vec![0, 100, 200, 777])).prop_map(|(key, attributes, esi, label)| {
        let body = match key {
            RouteKey::MacIp { .. } => NlriBody { esi, label: vni(label), ..NlriBody::default() },
            _ => NlriBody::default(),
        };
        (key, Some((body, attributes)))
    })
}

fn local() -> impl Strategy<Value = Local> {
    let at = || select(vec![100, 200, 300]).prop_map(vni);
    prop_oneof![
        5 => (at(), any_mac(), select(vec!["a", "b"]), prop::bool::weighted(0.15)).prop_map(|(vni, mac, i, sticky)| {
            Local::MacSeen { vni, mac, interface: i.into(), sticky }
        }),
        2 => (at(), any_mac()).prop_map(|(vni, mac)| Local::MacGone { vni, mac }),
        2 => (at(), any_ip(), any_mac()).prop_map(|(vni, ip, mac)| Local::NeighbourSeen { vni, ip, mac }),
        1 => (at(), any_ip()).prop_map(|(vni, ip)| Local::NeighbourGone { vni, ip }),
        1 => (at(), prop::bool::weighted(0.8)).prop_map(|(vni, ready)| Local::VniReady(vni, ready)),
    ]
}

fn config(n: u32) -> impl Strategy<Value = MacVrfConfig> {
    let import = select(vec![vec![], vec![], vec!["1:200"], vec!["*:100", "7:7"], vec!["auto", "1:100"]]);
    let rd = select(vec![None, None, Some(n)]);
    (import, rd, any::<[bool; 4]>()).prop_map(move |(import, rd, [flood, macs, export, ports])| {
        MacVrfConfig {
            import_rt: import.iter().map(|t| t.parse().unwrap()).collect(),
            export_rt: if export { vec![rt("5:5")] } else { vec![] },
            rd: rd.map(|n| format!("65000:{n}").parse().unwrap()),
            flood: flood || macs,
            advertise_macs: macs || ports,
            interfaces: if ports { vec!["tap0".into()] } else { vec![] },
            ..MacVrfConfig::new(vni(n))
        }
    })
}

fn configs() -> impl Strategy<Value = Vec<MacVrfConfig>> {
    (config(100), config(200), config(300), prop::sample::subsequence(vec![0usize, 1, 2], 0..=3)).prop_map(
        |(a, b, c, chosen)| {
            let all = [a, b, c];
            chosen.into_iter().rev().map(|i| all[i].clone()).collect()
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => route().prop_map(|m| Step::Hear(Box::new(m))),
        4 => any::<proptest::sample::Index>().prop_map(Step::Forget),
        8 => local().prop_map(Step::Local),
        1 => configs().prop_map(Step::Configure),
    ]
}

fn run(steps: Vec<Step>) {
    let mut node = Node::new(2, &[100, 200]);
    node.evpn.set_duplicate_detection(DuplicateDetection { moves: 0, ..Default::default() });
    let mut model = Model { asn: 65002, router: Some(Ipv4Addr::new(10, 0, 0, 2)), ..Model::default() };
    model.configure(&[MacVrfConfig::new(vni(100)), MacVrfConfig::new(vni(200))]);
    model.ready.extend([vni(100), vni(200)]);
    for step in steps {
        match step {
            Step::Hear(message) => {
                let (key, content) = *message;
                node.hear((key.clone(), content.clone()));
                model.routes.insert(key, content.unwrap());
            }
            Step::Forget(which) => {
                if model.routes.is_empty() {
                    continue;
                }
                let key = which.get(&model.routes.keys().cloned().collect::<Vec<_>>()).clone();
                model.routes.remove(&key);
                node.hear((key, None));
            }
            Step::Local(local) => {
                model.local(&local);
                node.local(local);
            }
            Step::Configure(configs) => {
                model.configure(&configs);
                node.configure(configs);
            }
        }
        model.settle();
        assert_eq!(node.table, model.table());
        assert_eq!(node.announced, model.announced());
        check_views(&node, &model);
    }
    // Nothing is left behind when all is gone.
    for key in model.routes.into_keys() {
        node.hear((key, None));
    }
    for vrf in node.evpn.vrfs.iter().flatten() {
        assert!(
            vrf.macs.is_empty() && vrf.neighbours.is_empty() && vrf.imets.is_empty() && vrf.flood.is_empty()
        );
        assert_eq!(vrf.remote_macs, 0);
    }
    assert!(node.evpn.endpoints.is_empty() && node.evpn.segments.is_empty());
    assert!((0..node.dests.len() as u32).all(|dest| !node.evpn.dests.is_imported(dest)));
}

/// How many runs: `PROPTEST_CASES`, else enough for every day.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400)
}

/// `show macs` and `show vnis` say the same.
fn check_views(node: &Node, model: &Model) {
    let (mut local, mut remote) = (0, 0);
    for view in node.evpn.macs(None) {
        let key = (vni(view.vni), view.mac);
        match view.source {
            MacSource::Local => {
                let claim = &model.claims[&key];
                assert_eq!(
                    (view.interface.as_ref(), view.sequence),
                    (Some(&claim.interface), claim.sequence)
                );
                local += 1;
            }
            MacSource::Remote => {
                assert_eq!(view.vtep, Some(node.table.macs[&key].vtep));
                remote += 1;
            }
        }
    }
    assert_eq!((local, remote), (model.claims.len(), node.table.macs.len()));
    let vnis = node.evpn.vnis();
    assert_eq!(vnis.iter().map(|v| v.local_macs as usize).sum::<usize>(), local);
    assert_eq!(vnis.iter().map(|v| v.remote_macs as usize).sum::<usize>(), remote);
    assert_eq!(vnis.iter().map(|v| v.flood.len()).sum::<usize>(), node.table.flood.len());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn whatever_happens_it_comes_to_what_the_model_says(steps in vec(step(), 1..120)) {
        run(steps);
    }
}
