//! Discovery: VNIs that others set up, with and without a section, as they come and go.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::clients::{l2, with_rt};
use super::*;

impl Node {
    /// As [`Node::new`], with the VNIs that are found.
    fn discovering(n: u8, sections: Vec<MacVrfConfig>) -> Self {
        let plain = Self::new(n, &[]);
        let evpn = Evpn::new(EvpnConfig { discover: true, ..plain.evpn.node });
        let mut node = Self { evpn, ..plain };
        node.configure(sections);
        node
    }

    fn found(&mut self, v: u32, there: bool) -> Vec<Message> {
        let configured = self.evpn.found(vni(v), there, self.now).unwrap();
        if configured.needs_replay {
            for (key, content) in self.heard.clone() {
                self.feed(&key, Some(&content));
            }
        }
        self.drain()
    }

    /// Found, as a VLAN, and ready.
    fn set_up(&mut self, v: u32, vlan: u16) -> Vec<Message> {
        let mut messages = self.found(v, true);
        messages.extend(self.local(Local::Vlan(vni(v), vlan)));
        messages.extend(self.local(Local::VniReady(vni(v), true)));
        messages
    }

    fn rd(&self, v: u32) -> String {
        let vnis = self.evpn.vnis();
        vnis.into_iter().find(|view| view.vni == v).map(|view| view.rd).unwrap_or_default()
    }

    /// The VNIs shown, and whether each is ready.
    fn shown(&self) -> Vec<(u32, bool)> {
        self.evpn.vnis().into_iter().map(|view| (view.vni, view.ready == Some(true))).collect()
    }
}

fn section(v: u32, target: &str) -> MacVrfConfig {
    MacVrfConfig {
        import_rt: vec![ImportRt::Exact(rt(target))],
        export_rt: vec![rt(target)],
        ..MacVrfConfig::new(vni(v))
    }
}

fn flood_of(n: u8, v: u32, target: &str) -> Message {
    let vtep = Ipv4Addr::new(10, 0, 0, n);
    type3(n, with_pmsi(from(n, &[target]), PmsiTunnel::IngressReplication(vtep.into()), v))
}

#[test]
fn a_vni_comes_with_every_default_and_goes_without_a_trace() {
    let mut node = Node::discovering(1, vec![]);
    node.hear(flood_of(2, 100, "65002:100"));
    assert!(node.table.vnis.is_empty());
    node.set_up(100, 12);
    assert_eq!(node.rd(100), "10.0.0.1:100");
    assert_eq!(node.flood(100), [(ip("10.0.0.2"), 100)], "what was heard before");
    let (_, attributes) = node.announced.values().next().expect("a type 3 route");
    assert_eq!(attributes.route_targets().collect::<Vec<_>>(), [rt("65001:100")]);
    node.seen(100, mac(1));
    assert_eq!(node.announces(100, mac(1)), Some((0, false)));
    let view = node.evpn.vnis().remove(0);
    assert_eq!((view.vlan, view.ready, view.import_rt), (Some(12), Some(true), vec!["auto".to_owned()]));
    assert!(node.found(100, true).is_empty(), "known already");

    let gone = node.found(100, false);
    assert_eq!(gone.iter().filter(|(_, content)| content.is_none()).count(), 2);
    assert!(node.announced.is_empty() && node.table.vnis.is_empty() && node.evpn.vnis().is_empty());
    assert!(node.found(100, false).is_empty(), "gone already");
    let told: Vec<_> =
        node.events.iter().filter(|e| matches!(e, EventKind::Found(_) | EventKind::Lost)).collect();
    assert_eq!(told, [&EventKind::Found(Some(12)), &EventKind::Lost]);
    // Once more: the same again.
    node.set_up(100, 13);
    assert_eq!((node.rd(100).as_str(), node.flood(100).len(), node.announced.len()), ("10.0.0.1:100", 1, 1));
}

#[test]
fn without_discovery_nothing_is_found() {
    let mut node = Node::new(1, &[100]);
    assert!(node.found(200, true).is_empty());
    assert_eq!(node.shown(), [(100, true)]);
    assert_eq!(node.evpn.missing().count(), 0);
}

#[test]
fn a_section_waits_for_its_vni() {
    let mut node = Node::discovering(1, vec![section(100, "7:1"), section(200, "7:2")]);
    assert!(node.table.vnis.is_empty() && node.announced.is_empty());
    assert_eq!(node.shown(), [(100, false), (200, false)]);
    assert_eq!(node.evpn.missing().collect::<Vec<_>>(), [vni(100), vni(200)]);
    node.hear(flood_of(2, 100, "7:1"));
    node.set_up(100, 12);
    assert_eq!(node.shown(), [(100, true), (200, false)]);
    assert_eq!(node.evpn.missing().collect::<Vec<_>>(), [vni(200)]);
    assert_eq!(node.flood(100), [(ip("10.0.0.2"), 100)]);
    let (_, attributes) = node.announced.values().next().expect("a type 3 route");
    assert_eq!(attributes.route_targets().collect::<Vec<_>>(), [rt("7:1")]);
    node.found(100, false);
    assert_eq!(node.shown(), [(100, false), (200, false)]);
    assert!(node.announced.is_empty() && node.table.vnis.is_empty());
    // Local news of a VNI that is not there mean nothing.
    node.local(Local::VniReady(vni(200), true));
    node.seen(200, mac(1));
    assert!(node.announced.is_empty());
}

#[test]
fn a_reload_keeps_what_was_found() {
    let mut node = Node::discovering(1, vec![section(100, "7:1")]);
    node.hear(flood_of(2, 100, "7:1"));
    node.hear(flood_of(3, 300, "65003:300"));
    node.set_up(100, 12);
    node.set_up(300, 13);
    assert!(node.configure(vec![section(100, "7:1")]).is_empty(), "nothing changed");
    assert_eq!(node.flood(300), [(ip("10.0.0.3"), 300)]);
    // Another target for one, a section for the other.
    node.configure(vec![section(100, "7:9"), section(300, "7:3")]);
    assert_eq!((node.flood(100), node.flood(300)), (vec![], vec![]));
    node.hear(flood_of(2, 100, "7:9"));
    assert_eq!(node.flood(100), [(ip("10.0.0.2"), 100)]);
    // None for either: they are still there, with everything by default.
    node.configure(vec![]);
    assert_eq!((node.flood(100), node.flood(300)), (vec![], vec![(ip("10.0.0.3"), 300)]));
    assert_eq!(node.shown(), [(100, true), (300, true)]);
    let vlans: Vec<_> = node.evpn.vnis().into_iter().map(|view| view.vlan).collect();
    assert_eq!(vlans, [Some(12), Some(13)]);
}

#[test]
fn route_distinguishers_do_not_change_when_others_come() {
    // 65636 is 100 in its low half, which it gets while its section is the only one that wants it.
    let mut node = Node::discovering(1, vec![MacVrfConfig::new(vni(65_636)), section(7, "7:7")]);
    assert_eq!((node.rd(65_636).as_str(), node.rd(7).as_str()), ("10.0.0.1:100", "10.0.0.1:7"));
    node.set_up(100, 12);
    assert_eq!(node.rd(100), "10.0.0.1:101", "that of a section is its own, found or not");
    node.set_up(131_172, 13);
    assert_eq!(node.rd(131_172), "10.0.0.1:102");
    let before = node.announced.clone();
    node.set_up(65_636, 14);
    node.found(65_636, false);
    assert_eq!(node.rd(65_636), "10.0.0.1:100");
    assert_eq!(node.announced, before);
    // What is free is what nobody has.
    node.found(100, false);
    node.set_up(65_637, 15);
    assert_eq!((node.rd(65_637).as_str(), node.rd(131_172).as_str()), ("10.0.0.1:101", "10.0.0.1:102"));
    // A section that says one takes it from whoever has it by default, at a reload.
    let fixed = MacVrfConfig { rd: Some("10.0.0.1:102".parse().unwrap()), ..MacVrfConfig::new(vni(8)) };
    node.configure(vec![MacVrfConfig::new(vni(65_636)), section(7, "7:7"), fixed]);
    assert_eq!((node.rd(8).as_str(), node.rd(131_172).as_str()), ("10.0.0.1:102", "10.0.0.1:103"));
}

#[test]
fn no_number_left_is_said_and_changes_nothing() {
    let mut node = Node::discovering(1, (1..=65_535).map(|v| MacVrfConfig::new(vni(v))).collect());
    node.found(100, true);
    let refused = node.evpn.found(vni(70_000), true, node.now).unwrap_err();
    assert_eq!(refused, ConfigError::NoRdLeft(vni(70_000)));
    assert!(!node.table.vnis.contains_key(&vni(70_000)));
    assert_eq!(node.table.vnis.len(), 1);
}

#[test]
fn clients_make_vnis_that_are_not_found() {
    let mut node = Node::discovering(1, vec![section(100, "7:1")]);
    let both = vec![l2("a", 100, 1, &[]), with_rt(l2("b", 200, 2, &[]), &["7:2"], &["7:2"])];
    node.set(both);
    assert_eq!(node.table.vnis.len(), 2);
    node.hear(flood_of(2, 100, "7:1"));
    node.local(Local::VniReady(vni(200), true));
    node.up("b");
    assert_eq!(node.announces(200, mac(2)), Some((0, false)));
    assert_eq!(node.flood(100), [(ip("10.0.0.2"), 100)], "its section counts");
    let before = node.announced.clone();
    node.set_up(200, 12);
    assert_eq!(node.announced, before, "found, too: that changes nothing");
    assert_eq!(node.events.iter().filter(|e| matches!(e, EventKind::Found(_))).count(), 1);
    node.found(200, false);
    assert_eq!(node.announced, before, "its client stays");
    node.found(200, true);
    node.set(vec![]);
    assert_eq!(node.table.vnis.keys().collect::<Vec<_>>(), [&vni(200)]);
    assert_eq!(node.shown(), [(100, false), (200, true)]);
    node.found(200, false);
    assert!(node.table.vnis.is_empty() && node.announced.is_empty());
}

#[test]
fn vlans_are_told_when_nobody_said_them_and_when_they_change() {
    let fixed = MacVrfConfig { vlan: Some(30), ..MacVrfConfig::new(vni(300)) };
    let mut node = Node::new(1, &[]);
    node.configure(vec![MacVrfConfig::new(vni(200)), fixed]);
    for (v, vlan) in [(200, 2), (300, 30), (200, 2), (200, 3)] {
        node.local(Local::Vlan(vni(v), vlan));
        node.local(Local::VniReady(vni(v), true));
    }
    assert_eq!(node.events, [EventKind::Vlan(2, None), EventKind::Vlan(3, Some(2))]);
    let views: Vec<_> = node.evpn.vnis().into_iter().map(|view| view.vlan).collect();
    assert_eq!(views, [Some(3), Some(30)]);
}

#[test]
fn a_vni_that_comes_or_goes_changes_its_own_imports_and_tells_of_nothing_else() {
    const VNIS: u32 = 4000;
    let all: Vec<_> = (1..=VNIS).map(|v| section(v, &format!("7:{v}"))).collect();
    let (mut plain, mut found) = (Node::new(1, &[]), Node::discovering(1, vec![]));
    plain.configure(all[1..].to_vec());
    for v in 2..=VNIS {
        found.set_up(v, 1);
    }
    let changes = |node: &Node| node.evpn.imports.changes();
    let (plain_before, found_before) = (changes(&plain), changes(&found));
    plain.configure(all.clone());
    plain.configure(all[..all.len() - 1].to_vec());
    assert_eq!((changes(&plain) - plain_before, plain.table.vnis.len()), (2, VNIS as usize - 1));
    found.set_up(1, 1);
    found.found(VNIS, false);
    assert_eq!((changes(&found) - found_before, found.table.vnis.len()), (2, VNIS as usize - 1));
    // Another target: the old one out, the new one in.
    plain.configure(
        all[..all.len() - 1]
            .iter()
            .cloned()
            .map(|c| if c.vni == vni(9) { section(9, "7:1") } else { c })
            .collect(),
    );
    assert_eq!(changes(&plain) - plain_before, 4);
}

#[derive(Clone, Debug)]
enum Step {
    Found(u32, bool),
    Configure(Vec<MacVrfConfig>),
    Clients(Vec<ClientConfig>),
    Hear(u8, u32, u32),
}

fn any_vni() -> impl Strategy<Value = u32> {
    (1..6u32).prop_map(|n| n * 100)
}

fn step() -> impl Strategy<Value = Step> {
    let config = (any_vni(), 1..4u32).prop_map(|(v, n)| section(v, &format!("7:{n}")));
    let sections = vec(config, 0..4).prop_map(|mut list| {
        list.sort_by_key(|c| c.vni);
        list.dedup_by_key(|c| c.vni);
        list
    });
    let clients = btree_set((any_vni(), 1..4u8), 0..3)
        .prop_map(|list| list.into_iter().map(|(v, m)| l2(&format!("c{v}-{m}"), v, m, &[])).collect());
    prop_oneof![
        6 => (any_vni(), any::<bool>()).prop_map(|(v, there)| Step::Found(v, there)),
        1 => sections.prop_map(Step::Configure),
        1 => clients.prop_map(Step::Clients),
        2 => (2..5u8, any_vni(), 1..4u32).prop_map(|(n, v, target)| Step::Hear(n, v, target)),
    ]
}

proptest! {
    /// Whatever came and went: all is as with a node that was told from the start that there are just these VNIs.
    #[test]
    fn the_same_as_configured(steps in vec(step(), 1..40)) {
        let mut node = Node::discovering(1, vec![]);
        let (mut found, mut sections, mut clients) = (BTreeSet::new(), vec![], vec![]);
        for step in steps {
            match step {
                Step::Found(v, there) => {
                    node.found(v, there);
                    if there { found.insert(v) } else { found.remove(&v) };
                }
                Step::Configure(list) => {
                    sections.clone_from(&list);
                    node.configure(list);
                }
                Step::Clients(list) => {
                    clients.clone_from(&list);
                    node.set(list);
                }
                Step::Hear(n, v, target) => {
                    node.hear(flood_of(n, v, &format!("7:{target}")));
                    node.hear(type2(n, mac(n), None, v, from(n, &[&format!("65000:{v}")])));
                }
            }
            for v in node.table.vnis.keys().copied().collect::<Vec<_>>() {
                node.local(Local::VniReady(v, true));
            }
        }
        let mut plain = Node::new(1, &[]);
        let named = |v: &u32| clients.iter().any(|c| c.client.service == l2("", *v, 1, &[]).client.service);
        let there: Vec<u32> = (1..6).map(|n| n * 100).filter(|v| found.contains(v) || named(v)).collect();
        let config = |v: &u32| sections.iter().find(|c| c.vni == vni(*v)).cloned();
        let without = |v: &u32| (found.contains(v) && !named(v)).then(|| MacVrfConfig::new(vni(*v)));
        plain.configure(there.iter().filter_map(|v| config(v).or_else(|| without(v))).collect());
        plain.set(clients.clone());
        for v in &there {
            plain.local(Local::VniReady(vni(*v), true));
        }
        for message in &node.heard {
            plain.hear((message.0.clone(), Some(message.1.clone())));
        }
        prop_assert_eq!(&node.table, &plain.table);
        prop_assert_eq!(&node.announced, &plain.announced);
    }
}
