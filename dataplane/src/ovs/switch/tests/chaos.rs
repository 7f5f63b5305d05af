//! Whatever happens, it ends as wanted: random changes of the intent, while somebody takes, changes and adds flows,
//! flows are refused, ports come and go, and both daemons and evpnd itself die.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Change(Change),
    /// Several at once.
    Batch(Vec<Change>),
    /// Flows are taken, changed, replaced by somebody else's.
    Take(usize),
    Alter(usize),
    Usurp(usize),
    /// A flow with our cookie that nobody wants; one of somebody else.
    Stray(u8),
    Foreign(u8),
    /// Flows of this table are refused, or no longer.
    Refuse(u8),
    Accept,
    Port(u16, bool),
    Stop,
    Start,
    Database(bool),
    DeleteBridge,
    DeleteVxlan,
    /// kill -9, and start again.
    Restart,
    Settled,
    Resync,
    Wait(u64),
}

fn any_mac() -> impl Strategy<Value = MacAddr> {
    // Remote ones, and those of clients.
    prop_oneof![(1_u16..6).prop_map(host_mac), (1_u16..4).prop_map(|port| host_mac(0xaa00 + port))]
}

fn any_hops() -> impl Strategy<Value = Vec<Hop>> {
    let remote = |n: u8| Hop::Remote { vtep: vtep(n), vni: vni(50), router_mac: host_mac(n.into()) };
    let hop = prop_oneof![
        3 => (2_u8..6).prop_map(remote),
        1 => (4_u16..6).prop_map(|port| Hop::Client(format!("vm{port}").into())),
    ];
    prop::collection::btree_set(hop, 0..4).prop_map(|hops| hops.into_iter().collect())
}

fn l3_client(port: u16) -> Change {
    let prefix = IpNet::new([10, 50, port as u8, 0].into(), 24).unwrap();
    Change::PutClient(Client {
        name: format!("vm{port}").into(),
        port: Port::Number(port),
        vlan: Some(100),
        mac: host_mac(0xaa00 + port),
        anti_spoof: true,
        service: Service::L3 { vrf: vni(50), prefixes: vec![prefix] },
    })
}

fn any_change() -> impl Strategy<Value = Change> {
    let net = |n: u8| IpNet::new([10, 60, n, 0].into(), 24).unwrap();
    let neighbour = |mac| Neighbour { mac, router: false };
    prop_oneof![
        2 => Just(put_vni(10)),
        1 => Just(Change::DelVni(vni(10))),
        5 => (any_mac(), 2_u8..4).prop_map(|(mac, to)| {
            Change::PutMac(vni(10), mac, RemoteMac { vtep: vtep(to), vni: vni(10), sticky: false })
        }),
        3 => any_mac().prop_map(|mac| Change::DelMac(vni(10), mac)),
        3 => (2_u8..8).prop_map(|n| Change::PutFlood(vni(10), vtep(n), Flood { vni: vni(10) })),
        1 => (2_u8..8).prop_map(|n| Change::DelFlood(vni(10), vtep(n))),
        2 => (2_u8..5, any_mac()).prop_map(move |(n, mac)| Change::PutNeighbour(vni(10), vtep(n), neighbour(mac))),
        1 => (2_u8..5).prop_map(|n| Change::DelNeighbour(vni(10), vtep(n))),
        3 => (1_u16..4).prop_map(|port| put_client(&format!("vm{port}"), port)),
        2 => (4_u16..6).prop_map(l3_client),
        2 => (1_u16..6).prop_map(|port| Change::DelClient(format!("vm{port}").into())),
        2 => Just(Change::PutVrf(Vrf { vni: vni(50), router_mac: host_mac(1) })),
        1 => Just(Change::DelVrf(vni(50))),
        4 => (0_u8..4, any_hops()).prop_map(move |(n, hops)| Change::PutPrefix(vni(50), net(n), hops)),
        1 => (0_u8..4).prop_map(move |n| Change::DelPrefix(vni(50), net(n))),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => any_change().prop_map(Step::Change),
        5 => prop::collection::vec(any_change(), 2..30).prop_map(Step::Batch),
        2 => any::<usize>().prop_map(Step::Take),
        2 => any::<usize>().prop_map(Step::Alter),
        2 => any::<usize>().prop_map(Step::Usurp),
        1 => (0_u8..3).prop_map(Step::Stray),
        1 => (0_u8..3).prop_map(Step::Foreign),
        1 => (0_u8..61).prop_map(Step::Refuse),
        1 => Just(Step::Accept),
        3 => (1_u16..6, any::<bool>()).prop_map(|(port, there)| Step::Port(port, there)),
        1 => Just(Step::Stop),
        2 => Just(Step::Start),
        1 => any::<bool>().prop_map(Step::Database),
        1 => Just(Step::DeleteBridge),
        1 => Just(Step::DeleteVxlan),
        1 => Just(Step::Restart),
        1 => Just(Step::Settled),
        1 => Just(Step::Resync),
        4 => (0_u64..100).prop_map(Step::Wait),
    ]
}

/// The place of some flow of ours.
fn some_place(world: &World, n: usize) -> Option<(u8, u16, Vec<String>)> {
    let ours: Vec<_> = world.flows.iter().filter(|(_, flow)| flow.cookie >> 32 == 0x6576_7064).collect();
    ours.get(n.checked_rem(ours.len())?).map(|(place, _)| (*place).clone())
}

fn change_port(world: &mut World, port: u16, there: bool) {
    if there && world.bridge {
        world.ports.insert(port, format!("tap{port}"));
    } else {
        world.ports.remove(&port);
    }
    world.events = true;
}

/// What stands when all this is told to a fresh switch at once.
fn expected(changes: &[Change], ports: &BTreeMap<u16, String>) -> Vec<String> {
    let paper = Paper::new();
    paper.world().ports.clone_from(ports);
    paper.world().bridge = true;
    let mut all = changes.to_vec();
    all.push(Change::Settled);
    let host = Host::new(&paper, &all);
    host.assert_in_sync();
    paper.lines()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_it_ends_as_wanted(
        steps in prop::collection::vec(any_step(), 1..80),
        lines in prop_oneof![Just(3_usize), Just(20), Just(20_000)],
    ) {
        let paper = Paper::new();
        let mut host = Host::new(&paper, &[]);
        host.switch.bundle_lines = lines;
        let mut told: Vec<Change> = Vec::new();
        for step in steps {
            match step {
                Step::Change(change) => {
                    host.change(std::slice::from_ref(&change));
                    told.push(change);
                }
                Step::Batch(changes) => {
                    host.change(&changes);
                    told.extend(changes);
                }
                Step::Take(n) => {
                    let mut world = paper.world();
                    let place = some_place(&world, n);
                    place.and_then(|place| world.flows.remove(&place));
                }
                Step::Alter(n) => {
                    let mut world = paper.world();
                    let place = some_place(&world, n);
                    if let Some(flow) = place.and_then(|place| world.flows.get_mut(&place)) {
                        flow.actions = "drop,drop".into();
                    }
                }
                Step::Usurp(n) => {
                    let mut world = paper.world();
                    let place = some_place(&world, n);
                    if let Some(flow) = place.and_then(|place| world.flows.get_mut(&place)) {
                        (flow.cookie, flow.actions) = (7, "NORMAL".into());
                    }
                }
                Step::Stray(n) => {
                    paper.put(&format!(" cookie=0x6576706400000063, table=30, priority=7,reg0={n:#x} actions=drop"));
                }
                Step::Foreign(n) => {
                    paper.put(&format!(" cookie=0x8, table=30, priority=8,reg0={n:#x} actions=drop"));
                }
                Step::Refuse(table) => {
                    paper.world().refuse.insert(format!("add cookie=0x657670640000000a,table={table},"));
                }
                Step::Accept => paper.world().refuse.clear(),
                Step::Port(port, there) => change_port(&mut paper.world(), port, there),
                Step::Stop => paper.stop(),
                Step::Start => paper.world().vswitchd = true,
                Step::Database(runs) => paper.world().db = runs,
                Step::DeleteBridge => {
                    let mut world = paper.world();
                    (world.bridge, world.ended) = (false, true);
                    world.ports.clear();
                    world.flows.clear();
                }
                Step::DeleteVxlan => {
                    let mut world = paper.world();
                    world.ports.remove(&65278);
                    world.events = true;
                }
                Step::Restart => {
                    host = Host { now: host.now, ..Host::new(&paper, &told) };
                    host.switch.bundle_lines = lines;
                }
                Step::Settled => host.change(&[Change::Settled]),
                Step::Resync => host.resync(),
                Step::Wait(n) => host.pass(Duration::from_secs(n)),
            }
            host.work();
        }

        {
            let mut world = paper.world();
            (world.db, world.vswitchd) = (true, true);
            world.refuse.clear();
            // Whoever stood in the way goes.
            world.flows.retain(|_, flow| flow.cookie != 7);
        }
        host.change(&[Change::Settled]);
        host.pass(Duration::from_secs(200));
        let status = host.switch.status();
        prop_assert!(status.in_sync, "{status:?} {:?}", host.texts());
        prop_assert_eq!(status.desired, status.installed);
        let ports = paper.world().ports.clone();
        let mut lines = paper.lines();
        lines.retain(|line| !line.contains("cookie=0x8,"));
        prop_assert_eq!(lines.join("\n"), expected(&told, &ports).join("\n"));

        let (bundles, repairs) = (paper.bundles(), status.repairs);
        host.resync();
        host.pass(Duration::from_secs(100));
        prop_assert_eq!(paper.bundles(), bundles, "once as wanted, nothing is written");
        prop_assert_eq!(host.switch.status().repairs, repairs);
    }
}
