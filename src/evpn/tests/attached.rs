//! Whatever way the clients came and went: the dataplane, the routes of our own and the views are as if those that are
//! left had been there from the start.

use dataplane::intent::{ClientState, Port, Service};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Clients(Vec<ClientConfig>),
    Sections(Vec<u32>),
    Port(&'static str, bool),
    Hear(u8, &'static str, &'static str, u32),
    Forget(u8, &'static str),
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const PREFIXES: [&str; 4] = ["10.1.0.1/32", "10.1.0.0/16", "0.0.0.0/0", "2001:db8::/64"];
const IPS: [&str; 3] = ["192.0.2.1", "192.0.2.2", "2001:db8::1"];
const TARGETS: [&str; 3] = ["1:100", "7:7", "8:8"];

fn targets() -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(TARGETS.to_vec(), 0..=2)
}

fn service() -> impl Strategy<Value = Service> {
    prop_oneof![
        (select(vec![100, 200]), subsequence(IPS.to_vec(), 0..=2))
            .prop_map(|(v, ips)| Service::L2 { vni: vni(v), ips: ips.into_iter().map(ip).collect() }),
        (select(vec![100, 5000]), subsequence(PREFIXES.to_vec(), 0..=3)).prop_map(|(v, prefixes)| {
            Service::L3 { vrf: vni(v), prefixes: prefixes.into_iter().map(|p| p.parse().unwrap()).collect() }
        }),
    ]
}

fn client(at: usize) -> impl Strategy<Value = ClientConfig> {
    (service(), targets(), targets(), prop::bool::weighted(0.2)).prop_map(
        move |(service, import, export, moved)| ClientConfig {
            client: Client {
                name: NAMES[at].into(),
                port: Port::Number(if moved { 7 } else { 8 }),
                vlan: None,
                mac: mac(at as u8 + 1 + 10 * u8::from(moved)),
                anti_spoof: true,
                service,
            },
            import_rt: import.iter().map(|t| t.parse().unwrap()).collect(),
            export_rt: export.iter().map(|t| rt(t)).collect(),
        },
    )
}

fn clients() -> impl Strategy<Value = Vec<ClientConfig>> {
    let all = (client(0), client(1), client(2), client(3), client(4));
    (all, subsequence(vec![0usize, 1, 2, 3, 4], 0..=5)).prop_map(|((a, b, c, d, e), chosen)| {
        let all = [a, b, c, d, e];
        chosen.into_iter().rev().map(|i| all[i].clone()).collect()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => clients().prop_map(Step::Clients),
        1 => subsequence(vec![100, 200, 300], 0..=2).prop_map(Step::Sections),
        4 => (select(NAMES.to_vec()), any::<bool>()).prop_map(|(name, up)| Step::Port(name, up)),
        4 => (2..5u8, select(PREFIXES.to_vec()), select(TARGETS.to_vec()), select(vec![50, 100]))
            .prop_map(|(n, prefix, target, pref)| Step::Hear(n, prefix, target, pref)),
        2 => (2..5u8, select(PREFIXES.to_vec())).prop_map(|(n, prefix)| Step::Forget(n, prefix)),
    ]
}

fn key(n: u8, prefix: &str) -> RouteKey {
    RouteKey::Prefix {
        rd: Rd::from_ip(Ipv4Addr::new(10, 0, 0, n), 5),
        tag: 0,
        prefix: prefix.parse().unwrap(),
    }
}

/// A node with a dataplane that says how ports are.
struct Host {
    node: Node,
    ports: BTreeMap<Arc<str>, bool>,
    told: BTreeMap<Arc<str>, bool>,
}

impl Host {
    fn new() -> Self {
        Self { node: Node::new(1, &[]), ports: BTreeMap::new(), told: BTreeMap::new() }
    }

    fn set_clients(&mut self, clients: Vec<ClientConfig>) {
        let configured = self.node.evpn.set_clients(clients, Time::ZERO).unwrap();
        if configured.needs_replay {
            for (key, content) in self.node.heard.clone() {
                self.node.feed(&key, Some(&content));
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        self.node.drain();
        for v in self.node.table.vnis.keys().copied().collect::<Vec<_>>() {
            self.node.local(Local::VniReady(v, true));
        }
        let names: Vec<_> = self.node.table.clients.keys().cloned().collect();
        self.told.retain(|name, _| names.contains(name));
        for name in names {
            let up = self.ports.get(&name).copied().unwrap_or(false);
            if self.told.insert(name.clone(), up) == Some(up) {
                continue;
            }
            let state = if up {
                ClientState::Up { interface: "tap0".into() }
            } else {
                ClientState::Down { reason: "no port".into() }
            };
            self.node.local(Local::Client { name, state });
        }
    }
}

fn run(steps: Vec<Step>) {
    let mut host = Host::new();
    let (mut last, mut sections) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Clients(clients) => {
                last.clone_from(&clients);
                host.set_clients(clients);
            }
            Step::Sections(vnis) => {
                sections = vnis.into_iter().map(|v| MacVrfConfig::new(vni(v))).collect();
                host.node.configure(sections.clone());
                host.settle();
            }
            Step::Port(name, up) => {
                host.ports.insert(name.into(), up);
                host.settle();
            }
            Step::Hear(n, prefix, target, pref) => {
                let router = ExtCommunity::router_mac(mac(100 + n));
                let attributes = Attributes { local_pref: Some(pref), ..with(from(n, &[target]), router) };
                let body = NlriBody { label: vni(5000), ..NlriBody::default() };
                host.node.hear((key(n, prefix), Some((body, attributes))));
            }
            Step::Forget(n, prefix) => {
                host.node.hear((key(n, prefix), None));
            }
        }
    }
    let mut fresh = Host::new();
    fresh.ports.clone_from(&host.ports);
    fresh.node.configure(sections);
    fresh.set_clients(last);
    let messages = host.node.heard.clone();
    fresh.node.hear_all(messages.into_iter().map(|(key, content)| (key, Some(content))));
    assert_eq!(host.node.announced, fresh.node.announced);
    assert_eq!(host.node.table, fresh.node.table);
    assert_eq!(host.node.evpn.vnis(), fresh.node.evpn.vnis());
    let routes = |host: &Host| host.node.evpn.clients().map(|c| c.routes).collect::<Vec<_>>();
    assert_eq!(routes(&host), routes(&fresh));
    // Nothing is left behind when all is gone.
    host.set_clients(vec![]);
    host.node.configure(vec![]);
    assert_eq!(host.node.table, Table::default());
    assert!(host.node.announced.is_empty() && host.node.evpn.is_idle());
}

/// How many runs: `PROPTEST_CASES`, else enough for every day.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn the_order_in_which_clients_came_does_not_matter(steps in vec(step(), 1..40)) {
        run(steps);
    }
}
