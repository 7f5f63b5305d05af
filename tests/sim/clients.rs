//! Clients on whole nodes: attached, moved, routed to.

use std::net::IpAddr;
use std::time::Duration;

use bgp::wire::RouteTarget;
use dataplane::intent::{Client, Hop, Port, Service};
use evpnd::control::{ExplainQuery, Target};
use evpnd::evpn::{ClientConfig, ImportRt, ManualKind, ManualRoute};
use ipnet::IpNet;
use types::MacAddr;

use super::model;
use super::net::{Net, address, controller, mac, neighbour, node, vni};

fn client(name: &str, m: u64, service: Service, target: Option<u32>) -> ClientConfig {
    let rt = target.and_then(|n| RouteTarget::new(65000, n));
    ClientConfig {
        client: Client {
            name: name.into(),
            port: Port::Name(format!("{name}-port").into()),
            vlan: None,
            mac: mac(m),
            anti_spoof: true,
            service,
        },
        import_rt: rt.into_iter().map(ImportRt::Exact).collect(),
        export_rt: rt.into_iter().collect(),
    }
}

/// A client of an L2 VNI.
pub(crate) fn l2(name: &str, v: u32, m: u64, ips: &[IpAddr], target: Option<u32>) -> ClientConfig {
    client(name, m, Service::L2 { vni: vni(v), ips: ips.to_vec() }, target)
}

/// A client of a VRF.
pub(crate) fn l3(name: &str, v: u32, prefixes: &[&str], target: Option<u32>) -> ClientConfig {
    let prefixes = prefixes.iter().map(|p| p.parse().expect("a prefix")).collect();
    client(name, 1, Service::L3 { vrf: vni(v), prefixes }, target)
}

/// A way to node `n`, whose VRF is that of VNI `v`.
pub(crate) fn remote(n: usize, v: u32) -> Hop {
    let [a, b, c, d] = match address(n) {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(_) => unreachable!("address() makes IPv4"),
    };
    Hop::Remote { vtep: address(n), vni: vni(v), router_mac: MacAddr([0x02, 0xe5, a, b, c, d]) }
}

/// A controller, number 0, and nodes that have nothing but clients, each with its port.
fn star(hosts: &[Vec<ClientConfig>]) -> Net {
    let mut net = Net::new(1);
    net.add(controller(0, 64512));
    for (n, clients) in (1..).zip(hosts) {
        let mut config = node(n, 65000 + n as u32);
        config.neighbours = vec![neighbour(&config, 0)];
        net.add(config);
        attach(&mut net, n, clients.clone());
    }
    net.run_for(Duration::from_secs(10));
    net
}

/// The clients of a node from now on; all their ports are there.
fn attach(net: &mut Net, n: usize, clients: Vec<ClientConfig>) {
    for client in &clients {
        net.port(n, &client.client.port.to_string(), true);
    }
    net.set_clients(n, clients);
    net.run_for(Duration::from_secs(1));
}

fn hops(net: &Net, n: usize, v: u32, prefix: &str) -> Option<Vec<Hop>> {
    net.nodes[n].routing.prefixes.get(&(vni(v), prefix.parse().unwrap())).cloned()
}

/// The node a MAC of VNI 100 is behind, as node `n` has it.
fn place(net: &Net, n: usize, m: u64) -> Option<IpAddr> {
    model::table(net, n).macs.get(&(vni(100), mac(m))).and_then(|place| place.map(|(vtep, ..)| vtep))
}

fn explain(net: &Net, n: usize, prefix: &str) -> String {
    let target = Target::Prefix(prefix.parse::<IpNet>().unwrap());
    let told = net.core(n).explain(&ExplainQuery { target, vni: None });
    let steps = told.steps.iter().map(|step| format!("{}: {}\n", step.stage, step.text));
    steps.collect::<String>() + &told.verdict.1
}

#[test]
fn a_client_is_known_while_its_port_is_there() {
    let ips = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let mut net = star(&[vec![l2("a", 100, 1, &ips, None)], vec![l2("b", 100, 2, &[], None)]]);
    assert_eq!((place(&net, 2, 1), place(&net, 1, 2)), (Some(address(1)), Some(address(2))));
    let table = model::table(&net, 2);
    assert_eq!((table.flood.len(), table.neighbours.len()), (1, 2));
    // No frame of it for an hour: a client does not age.
    net.run_for(Duration::from_secs(3600));
    assert_eq!(place(&net, 2, 1), Some(address(1)));
    net.port(1, "a-port", false);
    net.run_for(Duration::from_secs(1));
    assert_eq!(place(&net, 2, 1), None);
    assert_eq!(model::table(&net, 2).neighbours.len(), 0);
    net.port(1, "a-port", true);
    net.run_for(Duration::from_secs(1));
    assert_eq!(place(&net, 2, 1), Some(address(1)));
    // With its last client a VNI goes, here and from the others' flood lists.
    net.set_clients(1, vec![]);
    net.run_for(Duration::from_secs(1));
    assert_eq!(model::table(&net, 1), model::Table::default());
    assert_eq!(model::table(&net, 2).flood.len(), 0);
}

#[test]
fn a_client_moves_with_its_file_in_either_order() {
    let vm = || l2("vm", 100, 7, &["192.0.2.7".parse().unwrap()], None);
    let other = |n: usize| l2(&format!("other{n}"), 100, 10 + n as u64, &[], None);
    let mut net = star(&[vec![other(1), vm()], vec![other(2)], vec![other(3)]]);
    assert_eq!(place(&net, 3, 7), Some(address(1)));
    // On the new node before it goes on the old one.
    attach(&mut net, 2, vec![other(2), vm()]);
    assert_eq!((place(&net, 3, 7), place(&net, 1, 7)), (Some(address(2)), Some(address(2))));
    // What the old one says of its port again changes nothing.
    net.memory(1).overrun();
    net.settle(1);
    net.run_for(Duration::from_secs(120));
    assert_eq!(place(&net, 3, 7), Some(address(2)));
    net.set_clients(1, vec![other(1)]);
    net.run_for(Duration::from_secs(1));
    assert_eq!((place(&net, 3, 7), place(&net, 1, 7)), (Some(address(2)), Some(address(2))));
    // It goes on the old node before it is on the new one.
    net.set_clients(2, vec![other(2)]);
    net.run_for(Duration::from_secs(1));
    assert_eq!(place(&net, 3, 7), None);
    attach(&mut net, 1, vec![other(1), vm()]);
    assert_eq!((place(&net, 3, 7), place(&net, 2, 7)), (Some(address(1)), Some(address(1))));
    // The new node fails: the old one, which still has the file, has the client again.
    attach(&mut net, 2, vec![other(2), vm()]);
    net.kill(2);
    net.run_for(Duration::from_secs(1));
    assert_eq!(place(&net, 3, 7), Some(address(1)));
}

#[test]
fn two_nodes_with_the_same_mac_agree_on_one() {
    let vm = || vec![l2("vm", 100, 7, &[], None)];
    let other = || vec![l2("other", 100, 8, &[], None)];
    let mut net = star(&[vm(), vm(), other()]);
    let winner = place(&net, 3, 7).unwrap();
    let (won, lost) = if winner == address(1) { (1, 2) } else { (2, 1) };
    net.run_for(Duration::from_secs(600));
    assert_eq!(
        (place(&net, 3, 7), place(&net, lost, 7), place(&net, won, 7)),
        (Some(winner), Some(winner), None)
    );
    assert!(net.duplicates(1).is_empty() && net.duplicates(2).is_empty(), "they do not fight");
    net.set_clients(won, vec![]);
    net.run_for(Duration::from_secs(1));
    assert_eq!(place(&net, 3, 7), Some(address(lost)));
}

#[test]
fn a_default_route_and_hosts_of_two_nodes() {
    // Node 3 is the border: what it calls its VRF is its own business.
    let border = l3("border", 7000, &["0.0.0.0/0", "::/0"], Some(5000));
    let host = |n: usize| l3("vm", 5000, &[&format!("10.1.0.{n}/32")], Some(5000));
    let net = star(&[vec![host(1)], vec![host(2)], vec![border]]);
    let local = |name: &str| Some(vec![Hop::Client(name.into())]);
    assert_eq!(hops(&net, 1, 5000, "10.1.0.1/32"), local("vm"));
    assert_eq!(hops(&net, 1, 5000, "10.1.0.2/32"), Some(vec![remote(2, 5000)]));
    assert_eq!(hops(&net, 1, 5000, "0.0.0.0/0"), Some(vec![remote(3, 7000)]), "in the VNI of the border");
    assert_eq!(hops(&net, 1, 5000, "::/0"), Some(vec![remote(3, 7000)]));
    assert_eq!(hops(&net, 3, 7000, "10.1.0.1/32"), Some(vec![remote(1, 5000)]));
    let told = explain(&net, 1, "198.51.100.0/24");
    for part in
        ["VRF: imported by 65000:5000", "router MAC 02:e5:0a:00:00:03: chosen", "is behind VTEP 10.0.0.3"]
    {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn one_of_two_ways_goes_and_comes_back() {
    let anycast = || vec![l3("vm", 5000, &["10.1.0.0/24"], None)];
    let mut net = star(&[anycast(), anycast(), vec![l3("user", 5000, &["10.2.0.1/32"], None)]]);
    let both = Some(vec![remote(1, 5000), remote(2, 5000)]);
    assert_eq!(hops(&net, 3, 5000, "10.1.0.0/24"), both);
    net.port(1, "vm-port", false);
    net.run_for(Duration::from_secs(1));
    assert_eq!(hops(&net, 3, 5000, "10.1.0.0/24"), Some(vec![remote(2, 5000)]));
    assert_eq!(hops(&net, 1, 5000, "10.1.0.0/24"), Some(vec![remote(2, 5000)]), "its own client being down");
    net.port(1, "vm-port", true);
    net.run_for(Duration::from_secs(1));
    assert_eq!(hops(&net, 3, 5000, "10.1.0.0/24"), both);
    net.kill(2);
    net.run_for(Duration::from_secs(1));
    assert_eq!(hops(&net, 3, 5000, "10.1.0.0/24"), Some(vec![remote(1, 5000)]));
}

#[test]
fn a_host_that_is_down_is_not_looked_for_at_the_border() {
    let border = l3("border", 5000, &["0.0.0.0/0"], None);
    let mut net = star(&[vec![l3("vm", 5000, &["10.1.0.1/32"], None)], vec![border]]);
    net.port(1, "vm-port", false);
    net.run_for(Duration::from_secs(1));
    assert_eq!(hops(&net, 1, 5000, "10.1.0.1/32"), Some(vec![]));
    assert_eq!(hops(&net, 2, 5000, "10.1.0.1/32"), None);
    assert!(
        explain(&net, 1, "10.1.0.1/32")
            .ends_with("is dropped: none of its clients is up, and no other node has it")
    );
    // Its file goes: nothing keeps the prefix from the default route.
    net.set_clients(1, vec![l3("other", 5000, &["10.1.0.2/32"], None)]);
    assert_eq!(hops(&net, 1, 5000, "10.1.0.1/32"), None);
}

#[test]
fn targets_follow_the_clients() {
    let shared = |name: &str, target| l3(name, 5000, &["10.1.0.0/24"], Some(target));
    let only = |target| vec![l3("user", target, &["10.2.0.1/32"], Some(target))];
    let mut net = star(&[vec![shared("a", 7), shared("b", 8)], only(7), only(8)]);
    let seen = |net: &Net| [2, 3].map(|n| hops(net, n, n as u32 + 5, "10.1.0.0/24").is_some());
    assert_eq!(seen(&net), [true, true]);
    net.port(1, "b-port", false);
    net.run_for(Duration::from_secs(1));
    assert_eq!(seen(&net), [true, false]);
    net.set_clients(1, vec![shared("a", 8), shared("b", 7)]);
    net.run_for(Duration::from_secs(1));
    assert_eq!(seen(&net), [false, true]);
}

#[test]
fn a_prefix_that_cannot_be_used_is_told_why() {
    let mut net = star(&[vec![l3("a", 5000, &["10.1.0.1/32"], None)], vec![]]);
    let by_hand = |prefix: &str, gateway: Option<&str>, next_hop: Option<&str>| ManualRoute {
        next_hop: next_hop.map(|t| t.parse().unwrap()),
        ..ManualRoute::new(
            vni(5000),
            ManualKind::Prefix {
                prefix: prefix.parse().unwrap(),
                gateway: gateway.map(|t| t.parse().unwrap()),
                router_mac: None,
            },
        )
    };
    net.add_route(2, &by_hand("10.8.0.0/16", Some("10.1.0.9"), None));
    net.add_route(2, &by_hand("10.9.0.0/16", None, Some("10.0.0.99")));
    net.add_route(2, &by_hand("10.10.0.0/16", None, None));
    net.run_for(Duration::from_secs(1));
    for (prefix, why) in [
        ("10.8.0.0/16", "it leads to a gateway address"),
        ("10.9.0.0/16", "it has no Router's MAC"),
        ("10.10.0.0/16", "is behind VTEP 10.0.0.2"),
    ] {
        let told = explain(&net, 1, prefix);
        assert!(told.contains(why), "{told}");
    }
    assert_eq!(hops(&net, 1, 5000, "10.8.0.0/16"), None);
    assert_eq!(hops(&net, 1, 5000, "10.10.0.0/16"), Some(vec![remote(2, 5000)]));
}

#[test]
fn a_restart_keeps_what_is_still_wanted_and_reaps_the_rest() {
    let host = |n: usize| l3("vm", 5000, &[&format!("10.1.0.{n}/32"), "10.9.0.0/16"], None);
    let mut net = star(&[vec![host(1)], vec![host(2)], vec![host(3)]]);
    net.kill(1);
    net.set_clients(2, vec![]);
    net.run_for(Duration::from_secs(1));
    assert_eq!(hops(&net, 1, 5000, "10.1.0.2/32"), Some(vec![remote(2, 5000)]), "it is dead, and forwards");
    net.lag = 20_000;
    let drops = net.nodes[1].routing.drops;
    net.start(1);
    net.run_for(Duration::from_secs(20));
    assert_eq!(hops(&net, 1, 5000, "10.1.0.2/32"), None);
    assert_eq!(hops(&net, 1, 5000, "10.1.0.3/32"), Some(vec![remote(3, 5000)]));
    assert_eq!(hops(&net, 3, 5000, "10.1.0.1/32"), Some(vec![remote(1, 5000)]));
    assert_eq!(net.nodes[1].routing.drops, drops, "its own client was not cut off for a moment");
}

#[test]
fn a_thousand_clients_come_at_once() {
    let all = (0..1000).map(|n| l2(&format!("vm{n}"), 1000 + n, u64::from(n), &[], None)).collect();
    let mut net = star(&[all, vec![l2("other", 1500, 5000, &[], None)]]);
    net.run_for(Duration::from_secs(5));
    assert_eq!(net.core(1).clients().map(|c| c.routes).sum::<usize>(), 1000);
    let table = model::table(&net, 2);
    assert_eq!((table.macs.len(), table.flood.len()), (1, 1));
}
