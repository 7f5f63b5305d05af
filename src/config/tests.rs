//! Every problem a configuration can have, with the exact place and words; what a good one becomes.

mod layouts;
mod ovs;

use super::*;

/// A configuration with nothing wrong, 6 lines, to put something wrong behind.
const ROUTER: &str = r#"[router]
asn = 65001
router-id = "10.0.0.1"
[dataplane]
vtep = "10.0.0.101"

"#;

/// Every key there is.
const EVERYTHING: &str = r#"
[router]
asn = 4_200_000_001
router-id = "10.0.0.1"
[bgp]
listen = ["10.0.0.1:1790", "[::]:1790"]
hold-time = 9
cluster-id = "1.2.3.4"
connect-retry = 30
[[bgp.neighbor]]
address = "2001:db8::10"
remote-asn = 4200000001
local-address = "2001:db8::1"
port = 1179
passive = true
ttl-security = 2
password = "s3cret"
hold-time = 0
route-reflector-client = true
max-routes = 1000
description = "spine 1"
strict = true
[[bgp.neighbor]]
address = "10.0.0.11"
remote-asn = "internal"
multihop = 5
[[bgp.dynamic-neighbor]]
range = "10.0.0.0/8"
remote-asn = "external"
[[bgp.dynamic-neighbor]]
range = "10.1.0.0/16"
remote-asn = 64512
max-peers = 7
[dataplane]
backend = "kernel"
vtep = "2001:db8::101"
vxlan-port = 8472
on-exit = "remove"
[dataplane.kernel]
layout = "device-per-vni"
bridge = "br"
vxlan = "vx"
manage-devices = false
discover = false
[clients]
dir = "clients"
[[l2vni]]
vni = 16777215
import-rt = ["65000:100", "*:7", "auto", "10.0.0.1:8", "65000:100"]
export-rt = "65000:100"
rd = "65000:1"
interfaces = ["eth1", "eth2"]
flood = "off"
advertise-macs = false
arp-suppression = false
[[l2vni]]
vni = 7
[duplicate-macs]
moves = 3
window = 60
recover-after = 600

[control]
socket = "evpnd.sock"
"#;

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, "evpnd.toml", Path::new("/nonexistent"))
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|errors| panic!("{errors}\nin\n{text}"))
}

/// All problems of a text, as `line:column key: message`.
fn problems(text: &str) -> Vec<String> {
    let Err(errors) = parse(text) else { panic!("nothing wrong with\n{text}") };
    let show = |p: &Problem| match (p.line(), p.column()) {
        (Some(line), Some(column)) => format!("{line}:{column} {}: {}", p.key(), p.message()),
        _ => format!("- {}: {}", p.key(), p.message()),
    };
    errors.problems().iter().map(show).collect()
}

/// Each text, put behind ROUTER (so that it starts in line 7), has exactly this problem.
fn each(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(problems(&format!("{ROUTER}{text}")), [*expected], "{text}");
    }
}

/// As [`each`], for lines of a neighbour that is fine otherwise (they start in line 10).
fn each_neighbor(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let text =
            format!("{ROUTER}[[bgp.neighbor]]\naddress = \"10.0.0.10\"\nremote-asn = \"external\"\n{text}\n");
        assert_eq!(problems(&text), [*expected], "{text}");
    }
}

/// As [`each`], for lines of a VNI that is fine otherwise (they start in line 9).
fn each_l2vni(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(problems(&format!("{ROUTER}[[l2vni]]\nvni = 100\n{text}\n")), [*expected], "{text}");
    }
}

#[test]
fn the_least_there_can_be() {
    let config = good("[router]\nasn = 65001\n[dataplane]\nvtep = \"10.0.0.101\"\n");
    assert_eq!(
        config,
        Config {
            router: Router { asn: 65001, router_id: Ipv4Addr::new(10, 0, 0, 101) },
            bgp: Bgp {
                listen: vec!["0.0.0.0:179".parse().unwrap()],
                hold_time: 90,
                cluster_id: Ipv4Addr::new(10, 0, 0, 101),
                connect_retry: Duration::from_secs(5),
                neighbors: vec![],
                dynamic_neighbors: vec![],
            },
            dataplane: Dataplane::Kernel(Kernel {
                vtep: "10.0.0.101".parse().unwrap(),
                vxlan_port: 4789,
                on_exit: OnExit::Keep,
                layout: Layout::DevicePerVni,
                bridge: "br-evpn".into(),
                vxlan: "vxlan".into(),
                manage_devices: true,
                discover: false,
            }),
            l2vnis: vec![],
            clients: None,
            duplicate_macs: DuplicateDetection::default(),
            control: Control { socket: DEFAULT_SOCKET.into() },
        }
    );
    assert_eq!(config.summary(), "0 neighbours, 0 VNIs");
}

#[test]
fn everything_there_can_be() {
    let config = good(EVERYTHING);
    let duplicates = DuplicateDetection {
        moves: 3,
        window: Duration::from_secs(60),
        recover_after: Some(Duration::from_secs(600)),
    };
    assert_eq!(config.duplicate_macs, duplicates);
    let options = |remote_asn| PeerOptions {
        remote_asn,
        hops: Hops::Default,
        password: None,
        hold_time: 9,
        route_reflector_client: false,
        max_routes: None,
        description: None,
        strict: false,
    };
    assert_eq!(
        config.bgp,
        Bgp {
            listen: vec!["10.0.0.1:1790".parse().unwrap(), "[::]:1790".parse().unwrap()],
            hold_time: 9,
            cluster_id: Ipv4Addr::new(1, 2, 3, 4),
            connect_retry: Duration::from_secs(30),
            neighbors: vec![
                Neighbor {
                    address: "2001:db8::10".parse().unwrap(),
                    local_address: Some("2001:db8::1".parse().unwrap()),
                    port: 1179,
                    passive: true,
                    options: PeerOptions {
                        remote_asn: RemoteAsn::Number(4_200_000_001),
                        hops: Hops::TtlSecurity(2),
                        password: Password::new(b"s3cret"),
                        hold_time: 0,
                        route_reflector_client: true,
                        max_routes: NonZeroU32::new(1000),
                        description: Some("spine 1".into()),
                        strict: true,
                    },
                },
                Neighbor {
                    address: "10.0.0.11".parse().unwrap(),
                    local_address: None,
                    port: 179,
                    passive: false,
                    options: PeerOptions { hops: Hops::Multihop(5), ..options(RemoteAsn::Internal) },
                },
            ],
            // The longest prefix first.
            dynamic_neighbors: vec![
                DynamicNeighbor {
                    range: "10.1.0.0/16".parse().unwrap(),
                    max_peers: 7,
                    options: options(RemoteAsn::Number(64512)),
                },
                DynamicNeighbor {
                    range: "10.0.0.0/8".parse().unwrap(),
                    max_peers: 1024,
                    options: options(RemoteAsn::External),
                },
            ],
        }
    );
    assert_eq!(
        config.dataplane,
        Dataplane::Kernel(Kernel {
            vtep: "2001:db8::101".parse().unwrap(),
            vxlan_port: 8472,
            on_exit: OnExit::Remove,
            layout: Layout::DevicePerVni,
            bridge: "br".into(),
            vxlan: "vx".into(),
            manage_devices: false,
            discover: false,
        })
    );
    // In order of VNI, with the automatic route targets and route distinguisher made out.
    let rt = |text: &str| text.parse::<RouteTarget>().unwrap();
    let small = L2Vni {
        vni: Vni::new(7).unwrap(),
        import_rt: vec![ImportRt::Auto],
        export_rt: vec![RouteTarget([0, 2, 0xea, 0x01, 0, 0, 0, 7])],
        rd: "10.0.0.1:7".parse().unwrap(),
        interfaces: vec![],
        vlan: None,
        flood: true,
        advertise_macs: true,
        arp_suppression: true,
    };
    let large = L2Vni {
        vni: Vni::MAX,
        import_rt: vec![
            ImportRt::Exact(rt("65000:100")),
            ImportRt::AnyAs(7),
            ImportRt::Auto,
            ImportRt::Exact(rt("10.0.0.1:8")),
        ],
        export_rt: vec![rt("65000:100")],
        rd: "65000:1".parse().unwrap(),
        interfaces: vec!["eth1".into(), "eth2".into()],
        vlan: None,
        flood: false,
        advertise_macs: false,
        arp_suppression: false,
    };
    assert_eq!(config.l2vnis, [small, large]);
    assert_eq!(config.clients, Some(Clients { dir: "/nonexistent/clients".into(), rt_asn: 4_200_000_001 }));
    assert_eq!(config.control.socket, Path::new("evpnd.sock"));
    assert_eq!(config.summary(), "2 neighbours, 2 ranges, 2 VNIs");
}

#[test]
fn listens_on_ipv6_where_somebody_could_come_that_way() {
    let config =
        good(&format!("{ROUTER}[[bgp.neighbor]]\naddress = \"2001:db8::1\"\nremote-asn = \"external\"\n"));
    assert_eq!(config.bgp.listen, ["0.0.0.0:179".parse().unwrap(), "[::]:179".parse().unwrap()]);
}

#[test]
fn route_distinguishers_are_unique() {
    // 65636 is 100 in its lower 16 bits, 65535 + 65536 is 65535; 0 is left out.
    let vnis = [100, 65_636, 65_535, 131_071, 131_072];
    let text = vnis.map(|vni| format!("[[l2vni]]\nvni = {vni}\n")).concat();
    let config = good(&format!("{ROUTER}{text}[[l2vni]]\nvni = 5\nrd = \"10.0.0.1:101\"\n"));
    let rds: Vec<_> = config.l2vnis.iter().map(|l2| format!("{} {}", l2.vni, l2.rd)).collect();
    assert_eq!(
        rds,
        [
            "5 10.0.0.1:101",
            "100 10.0.0.1:100",
            "65535 10.0.0.1:65535",
            "65636 10.0.0.1:102",
            "131071 10.0.0.1:1",
            "131072 10.0.0.1:2"
        ]
    );
}

#[test]
fn the_document() {
    for (text, expected) in [
        (
            "",
            &[
                "- dataplane.vtep: required: the source address of VXLAN packets; or say backend = \"none\"",
                "- router.asn: required: our AS number, say asn = 65001",
            ][..],
        ),
        ("[router]\nasn = \n", &["2:7 : string values must be quoted, expected literal string"]),
        ("[router]\nasn = 1\nasn = 2\n", &["3:1 : duplicate key"]),
        ("[router]\nasn = 1 [\n", &["2:9 : unexpected key or value, expected newline, `#`"]),
        (
            "router = 1\n[dataplane]\nbackend = \"none\"\n",
            &[
                "1:10 router: expected a table, found integer",
                "1:10 router.asn: required: our AS number, say asn = 65001",
                "1:10 router.router-id: required, since there is no IPv4 dataplane.vtep to take it from",
            ],
        ),
        (
            "[router]\nasn = 1\nrouterid = \"1.1.1.1\"\n[dataplane]\nbackend = \"none\"\nvtep = \"10.0.0.1\"\n[bpg]\n",
            &[
                "3:1 router.routerid: unknown key; did you mean router-id?",
                "7:2 bpg: unknown key; did you mean bgp?",
            ],
        ),
    ] {
        assert_eq!(problems(text), expected, "{text}");
    }
}

#[test]
fn router() {
    for (line, expected) in [
        ("asn = 0", "2:7 router.asn: expected a number from 1 to 4294967295, found 0"),
        ("asn = -1", "2:7 router.asn: expected a number from 1 to 4294967295, found -1"),
        ("asn = 0x1_0000_0000", "2:7 router.asn: expected a number from 1 to 4294967295, found 0x100000000"),
        ("asn = \"65001\"", "2:7 router.asn: expected a number from 1 to 4294967295, found string"),
        ("asn = 23456", "2:7 router.asn: 23456 is reserved (AS_TRANS, RFC 6793)"),
        ("asn = 1\nrouter-id = \"0.0.0.0\"", "3:13 router.router-id: must not be 0.0.0.0 (RFC 6286)"),
        (
            "asn = 1\nrouter-id = \"1.1.1\"",
            "3:13 router.router-id: expected an IPv4 address like 10.0.0.1, found \"1.1.1\"",
        ),
        ("asn = 1\nrouter-id = 7", "3:13 router.router-id: expected a text in quotes, found integer"),
        ("asn = 1\nhostname = \"a\"", "3:1 router.hostname: unknown key; known here: asn, router-id"),
    ] {
        let text = format!("[router]\n{line}\n[dataplane]\nvtep = \"10.0.0.101\"\n");
        assert_eq!(problems(&text), [expected], "{line}");
    }
    let text = "[router]\nasn = 1\n[dataplane]\nvtep = \"2001:db8::1\"\n";
    assert_eq!(
        problems(text),
        ["1:1 router.router-id: required, since there is no IPv4 dataplane.vtep to take it from"]
    );
}

#[test]
fn not_in_this_version() {
    each(&[
        ("[[l3vni]]\nvni = 5000\n", "7:3 l3vni: not in this version yet; remove it"),
        ("[control]\nhttp = \"127.0.0.1:9179\"\n", "8:1 control.http: not in this version yet; remove it"),
    ]);
    let errors = parse(&format!("{ROUTER}[[l3vni]]\nvni = 1\n")).unwrap_err();
    assert_eq!(
        errors.lines().collect::<Vec<_>>(),
        ["evpnd.toml:7: l3vni: not in this version yet; remove it"]
    );
}

#[test]
fn bgp() {
    each(&[
        ("[bgp]\nlisten = \"0.0.0.0:179\"\n", "8:10 bgp.listen: expected a list in [ ], found string"),
        (
            "[bgp]\nlisten = [\"0.0.0.0:179\", \"10.0.0.1\"]\n",
            "8:26 bgp.listen: expected an address and a port like 0.0.0.0:179 or [::]:179, found \"10.0.0.1\"",
        ),
        ("[bgp]\nlisten = [\"[::]:179\", \"[::]:179\"]\n", "8:23 bgp.listen: given twice"),
        (
            "[bgp]\nhold-time = 2\n",
            "8:13 bgp.hold-time: expected 0 (none) or a number from 3 to 65535, found 2",
        ),
        ("[bgp]\nhold-time = 65536\n", "8:13 bgp.hold-time: expected a number from 0 to 65535, found 65536"),
        (
            "[bgp]\ncluster-id = \"x\"\n",
            "8:14 bgp.cluster-id: expected an IPv4 address like 10.0.0.1, found \"x\"",
        ),
        ("[bgp]\nconnect-retry = 0\n", "8:17 bgp.connect-retry: expected a number from 1 to 3600, found 0"),
        ("[bgp]\nneighbour = []\n", "8:1 bgp.neighbour: unknown key; did you mean neighbor?"),
        (
            "[bgp.neighbor]\naddress = \"10.0.0.10\"\n",
            "7:1 bgp.neighbor: may be given more than once: write [[bgp.neighbor]]",
        ),
    ]);
}

#[test]
fn neighbors() {
    each_neighbor(&[
        (
            "local-address = \"::1\"",
            "10:17 bgp.neighbor.local-address: must be of the same family as the neighbour's, 10.0.0.10",
        ),
        ("local-address = \"10.0.0.10\"", "10:17 bgp.neighbor.local-address: is the neighbour's address"),
        ("local-address = \"0.0.0.0\"", "10:17 bgp.neighbor.local-address: must be the address of one host"),
        (
            "local-address = \"eth0\"",
            "10:17 bgp.neighbor.local-address: expected an IP address like 10.0.0.1, found \"eth0\"",
        ),
        ("port = 0", "10:8 bgp.neighbor.port: expected a number from 1 to 65535, found 0"),
        ("passive = 1", "10:11 bgp.neighbor.passive: expected true or false, found integer"),
        ("multihop = 256", "10:12 bgp.neighbor.multihop: expected a number from 1 to 255, found 256"),
        ("ttl-security = 255", "10:16 bgp.neighbor.ttl-security: expected a number from 1 to 254, found 255"),
        (
            "ttl-security = 1\nmultihop = 2",
            "10:16 bgp.neighbor.ttl-security: cannot go with multihop: ttl-security = N says itself that the neighbour is up to N hops away",
        ),
        ("password = \"\"", "10:12 bgp.neighbor.password: is empty"),
        (
            "password = \"123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_1\"",
            "10:12 bgp.neighbor.password: too long: TCP-MD5 takes at most 80 octets, this has 81",
        ),
        (
            "password-file = \"key\"",
            "10:17 bgp.neighbor.password-file: /nonexistent/key cannot be read: no such file or directory",
        ),
        (
            "password = \"a\"\npassword-file = \"b\"",
            "11:17 bgp.neighbor.password-file: cannot go with password: give one of the two",
        ),
        (
            "hold-time = 1",
            "10:13 bgp.neighbor.hold-time: expected 0 (none) or a number from 3 to 65535, found 1",
        ),
        (
            "route-reflector-client = true",
            "10:26 bgp.neighbor.route-reflector-client: only an internal neighbour can be a client: remote-asn = \"internal\"",
        ),
        ("max-routes = 0", "10:14 bgp.neighbor.max-routes: expected a number from 1 to 4294967295, found 0"),
        (
            "description = \"a\\nb\"",
            "10:15 bgp.neighbor.description: expected one line of at most 255 octets",
        ),
        (
            "max-prefix = 5",
            "10:1 bgp.neighbor.max-prefix: unknown key; known here: address, remote-asn, multihop, ttl-security, \
          password, password-file, hold-time, route-reflector-client, max-routes, description, strict, local-address, port, passive",
        ),
        (
            "[[bgp.neighbor]]\naddress = \"10.0.0.10\"\nremote-asn = 1",
            "11:11 bgp.neighbor.address: 10.0.0.10 is a neighbour already, in line 8",
        ),
    ]);
    each(&[
        (
            "[[bgp.neighbor]]\nremote-asn = 1\n",
            "7:1 bgp.neighbor.address: required: the neighbour's IP address",
        ),
        (
            "[[bgp.neighbor]]\naddress = \"10.0.0.10\"\n",
            "7:1 bgp.neighbor.remote-asn: required: its AS number, \"external\" or \"internal\"",
        ),
        (
            "[[bgp.neighbor]]\naddress = \"10.0.0.10\"\nremote-asn = \"65001\"\n",
            "9:14 bgp.neighbor.remote-asn: expected an AS number, \"external\" or \"internal\"",
        ),
        (
            "[[bgp.neighbor]]\naddress = \"10.0.0.10\"\nremote-asn = 23456\n",
            "9:14 bgp.neighbor.remote-asn: 23456 is reserved (AS_TRANS, RFC 6793)",
        ),
        (
            "[[bgp.neighbor]]\naddress = \"tor1\"\nremote-asn = 1\n",
            "8:11 bgp.neighbor.address: expected an IP address like 10.0.0.10, found \"tor1\"",
        ),
        (
            "[[bgp.neighbor]]\naddress = \"224.0.0.1\"\nremote-asn = 1\n",
            "8:11 bgp.neighbor.address: must be the address of one host",
        ),
        (
            "[[bgp.neighbor]]\naddress = \"fe80::1\"\nremote-asn = 1\n",
            "8:11 bgp.neighbor.address: link-local addresses are not in this version yet; use a routed one",
        ),
        (
            "[[bgp.neighbor]]\naddress = \"10.0.0.101\"\nremote-asn = 1\n",
            "8:11 bgp.neighbor.address: is our own address (dataplane.vtep); give the neighbour's",
        ),
        (
            "[[bgp.neighbor]]\naddress = \"10.0.0.1\"\nremote-asn = 1\n",
            "8:11 bgp.neighbor.address: is our own address (router.router-id); give the neighbour's",
        ),
        (
            "[bgp]\nlisten = []\n[[bgp.neighbor]]\naddress = \"10.0.0.10\"\nremote-asn = 1\npassive = true\n",
            "12:11 bgp.neighbor.passive: nobody can connect with listen = [] in [bgp]: listen, or connect to it",
        ),
        (
            "[[bgp.neighbor]]\naddress = \"10.0.0.10\"\nremote-asn = 65002\nroute-reflector-client = true\n",
            "10:26 bgp.neighbor.route-reflector-client: only an internal neighbour can be a client: remote-asn = \"internal\"",
        ),
    ]);
}

#[test]
fn dynamic_neighbors() {
    each(&[
        (
            "[[bgp.dynamic-neighbor]]\nremote-asn = 1\n",
            "7:1 bgp.dynamic-neighbor.range: required: whom to accept, say range = \"10.0.0.0/24\"",
        ),
        (
            "[[bgp.dynamic-neighbor]]\nrange = \"10.0.0.0\"\nremote-asn = 1\n",
            "8:9 bgp.dynamic-neighbor.range: expected a range like 10.0.0.0/24, found \"10.0.0.0\"",
        ),
        (
            "[[bgp.dynamic-neighbor]]\nrange = \"10.0.0.1/24\"\nremote-asn = 1\n",
            "8:9 bgp.dynamic-neighbor.range: has host bits set; did you mean 10.0.0.0/24?",
        ),
        (
            "[[bgp.dynamic-neighbor]]\nrange = \"10.0.0.0/24\"\nremote-asn = 1\n\
          [[bgp.dynamic-neighbor]]\nrange = \"10.0.0.0/24\"\nremote-asn = 1\n",
            "11:9 bgp.dynamic-neighbor.range: 10.0.0.0/24 is there already, in line 8",
        ),
        (
            "[[bgp.dynamic-neighbor]]\nrange = \"10.0.0.0/24\"\nremote-asn = 1\nmax-peers = 0\n",
            "10:13 bgp.dynamic-neighbor.max-peers: expected a number from 1 to 65535, found 0",
        ),
        (
            "[[bgp.dynamic-neighbor]]\nrange = \"10.0.0.0/24\"\nremote-asn = 1\nport = 1179\n",
            "10:1 bgp.dynamic-neighbor.port: unknown key; known here: range, remote-asn, multihop, ttl-security, password, \
          password-file, hold-time, route-reflector-client, max-routes, description, strict, max-peers",
        ),
        (
            "[bgp]\nlisten = []\n[[bgp.dynamic-neighbor]]\nrange = \"10.0.0.0/24\"\nremote-asn = 1\n",
            "9:1 bgp.dynamic-neighbor: nobody can connect with listen = [] in [bgp]: listen, or remove it",
        ),
    ]);
}

#[test]
fn dataplane() {
    for (lines, expected) in [
        (
            "backend = \"linux\"\nvtep = \"10.0.0.1\"",
            "5:11 dataplane.backend: expected \"kernel\" or \"ovs\" or \"none\", found \"linux\"",
        ),
        ("", "4:1 dataplane.vtep: required: the source address of VXLAN packets; or say backend = \"none\""),
        (
            "vtep = \"10.0.0.1/32\"",
            "5:8 dataplane.vtep: expected an IP address like 10.0.0.101, found \"10.0.0.1/32\"",
        ),
        ("vtep = \"239.0.0.1\"", "5:8 dataplane.vtep: must be the address of one host"),
        (
            "vtep = \"10.0.0.1\"\nvxlan-port = 0",
            "6:14 dataplane.vxlan-port: expected a number from 1 to 65535, found 0",
        ),
        (
            "vtep = \"10.0.0.1\"\non-exit = \"flush\"",
            "6:11 dataplane.on-exit: expected \"keep\" or \"remove\", found \"flush\"",
        ),
        (
            "vtep = \"10.0.0.1\"\n[dataplane.kernel]\nmanage-devices = \"no\"",
            "7:18 dataplane.kernel.manage-devices: expected true or false, found string",
        ),
        (
            "vtep = \"10.0.0.1\"\n[dataplane.kernel]\nlayout = \"x\"",
            "7:10 dataplane.kernel.layout: expected \"device-per-vni\" or \"single-device\", found \"x\"",
        ),
        (
            "vtep = \"10.0.0.1\"\n[dataplane.kernel]\nbridge = \"br/evpn\"",
            "7:10 dataplane.kernel.bridge: '/' cannot be in the name of a network device",
        ),
        (
            "vtep = \"10.0.0.1\"\n[dataplane.kernel]\nbridge = \"br-evpn-1\"\n[[l2vni]]\nvni = 0xf4240",
            "7:10 dataplane.kernel.bridge: too long: a dash and a VNI of 7 digits are put after it, and the name of a device \
          has at most 15 characters; at most 7 here",
        ),
        (
            "vtep = \"10.0.0.1\"\n[dataplane.kernel]\nbridge = \"vxlan\"",
            "6:1 dataplane.kernel: bridge and vxlan: the prefixes must differ in their first 6 characters",
        ),
        (
            "backend = \"none\"\n[[l2vni]]\nvni = 7",
            "6:1 l2vni: needs a dataplane: remove it, or say backend = \"kernel\" or \"ovs\" in [dataplane]",
        ),
        (
            "backend = \"none\"\n[clients]\ndir = \"/d\"",
            "6:1 clients: needs a dataplane: remove it, or say backend = \"ovs\" or \"kernel\" in [dataplane]",
        ),
        (
            "vtep = \"10.0.0.1\"\nrouter-mac = \"02:00:00:00:00:01\"",
            "6:14 dataplane.router-mac: is for routed clients, which need backend = \"ovs\"; remove it",
        ),
    ] {
        let text = format!("[router]\nasn = 1\nrouter-id = \"1.1.1.1\"\n[dataplane]\n{lines}\n");
        assert_eq!(problems(&text), [expected], "{lines}");
    }
}

#[test]
fn l2vni() {
    each_l2vni(&[
        (
            "import-rt = [\"100\"]",
            "9:14 l2vni.import-rt: expected a route target like 65000:100, 10.0.0.1:100 or 4200000000:100, \"*:100\" (any AS) \
          or \"auto\", found \"100\"",
        ),
        (
            "import-rt = [\"4200000000:65536\"]",
            "9:14 l2vni.import-rt: expected a route target like 65000:100, 10.0.0.1:100 or 4200000000:100, \"*:100\" (any AS) \
          or \"auto\", found \"4200000000:65536\"",
        ),
        ("import-rt = []", "9:13 l2vni.import-rt: is empty: give at least one, or remove it for \"auto\""),
        (
            "export-rt = [\"65000:1\", \"*:100\"]",
            "9:25 l2vni.export-rt: a route target that is sent needs an AS: 65000:100; \"*\" is for import-rt",
        ),
        (
            "export-rt = [\"65000:4294967296\"]",
            "9:14 l2vni.export-rt: expected a route target like 65000:100, 10.0.0.1:100 or 4200000000:100, or \"auto\", found \
          \"65000:4294967296\"",
        ),
        (
            "rd = \"10.0.0.1:65536\"",
            "9:6 l2vni.rd: a route distinguisher is written 10.0.0.1:100 (0-65535), 65000:100 or 4200000000:100 (0-65535)",
        ),
        (
            "rd = \"1:1\"\n[[l2vni]]\nvni = 101\nrd = \"1:1\"",
            "12:6 l2vni.rd: is the one of VNI 100 already, in line 9",
        ),
        ("[[l2vni]]\nvni = 100", "10:7 l2vni.vni: VNI 100 is there already, in line 8"),
        (
            "interfaces = [\"eth1\", \"interface-name-too-long\"]",
            "9:23 l2vni.interfaces: too long: the name of a device has at most 15 characters, this one 23",
        ),
        ("interfaces = [\"eth 1\"]", "9:15 l2vni.interfaces: ' ' cannot be in the name of a network device"),
        ("interfaces = [\"\"]", "9:15 l2vni.interfaces: expected the name of a network device"),
        (
            "interfaces = [\"eth1\"]\n[[l2vni]]\nvni = 101\ninterfaces = [\"eth1\"]",
            "12:15 l2vni.interfaces: eth1 is attached to VNI 100 already, in line 9; it can be in one",
        ),
        ("interfaces = \"eth1\"", "9:14 l2vni.interfaces: expected a list in [ ], found string"),
        ("flood = false", "9:9 l2vni.flood: expected a text in quotes, found boolean"),
        (
            "flood = \"multicast\"",
            "9:9 l2vni.flood: expected \"ingress-replication\" or \"off\", found \"multicast\"",
        ),
        ("advertise-mac = true", "9:1 l2vni.advertise-mac: unknown key; did you mean advertise-macs?"),
    ]);
    each(&[
        ("[[l2vni]]\n", "7:1 l2vni.vni: required: a number from 1 to 16777215"),
        ("[[l2vni]]\nvni = 0\n", "8:7 l2vni.vni: expected a number from 1 to 16777215, found 0"),
        (
            "[[l2vni]]\nvni = 16777216\n",
            "8:7 l2vni.vni: expected a number from 1 to 16777215, found 16777216",
        ),
        ("[l2vni]\nvni = 1\n", "7:1 l2vni: may be given more than once: write [[l2vni]]"),
    ]);
}

#[test]
fn control() {
    let long = "x".repeat(108);
    each(&[
        ("[control]\nsocket = \"\"\n", "8:10 control.socket: expected a path like /run/evpnd/evpnd.sock"),
        (
            &format!("[control]\nsocket = \"{long}\"\n"),
            "8:10 control.socket: too long: the path of a socket has at most 107 octets, this one 108",
        ),
    ]);
}

#[test]
fn all_problems_at_once_with_the_place_shown() {
    let errors = parse(
        "[router]\nasn = 0\n[bgp]\nhold-tme = 3\n[[bgp.neighbor]]\naddress = \"10.0.0.256\"\nremote-asn = 1\n\
         password = \"\"\n[dataplane]\nvtep = \"10.0.0.1\"\n\n[[l2vni]]\nvni = 0\n\tflood = \"öff\"",
    )
    .unwrap_err();
    assert_eq!(
        errors.to_string(),
        r#"evpnd.toml:2: router.asn: expected a number from 1 to 4294967295, found 0
    2 | asn = 0
      |       ^
evpnd.toml:4: bgp.hold-tme: unknown key; did you mean hold-time?
    4 | hold-tme = 3
      | ^^^^^^^^
evpnd.toml:6: bgp.neighbor.address: expected an IP address like 10.0.0.10, found "10.0.0.256"
    6 | address = "10.0.0.256"
      |           ^^^^^^^^^^^^
evpnd.toml:8: bgp.neighbor.password: is empty
evpnd.toml:13: l2vni.vni: expected a number from 1 to 16777215, found 0
   13 | vni = 0
      |       ^
evpnd.toml:14: l2vni.flood: expected "ingress-replication" or "off", found "öff"
   14 |  flood = "öff"
      |          ^^^^^"#
    );
}

#[test]
fn files() {
    let dir = std::env::temp_dir().join(format!("evpnd-config-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("evpnd.toml");
    let error = Config::load(&file).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: cannot be read: no such file or directory", file.display()));

    std::fs::write(dir.join("key"), "from a file\n").unwrap();
    let text = format!(
        "{ROUTER}[[bgp.neighbor]]\naddress = \"10.0.0.10\"\nremote-asn = 1\npassword-file = \"key\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let config = Config::load(&file).unwrap();
    let password = config.bgp.neighbors[0].options.password.as_ref().unwrap();
    assert_eq!(password.as_bytes(), b"from a file");
    assert_eq!(format!("{password:?}"), "Password(..)");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn every_key_is_documented() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    for line in EVERYTHING
        .lines()
        .chain(ovs::OVS.lines())
        .chain(layouts::SINGLE.lines())
        .filter(|line| !line.is_empty())
    {
        let key = line.split(" = ").next().unwrap();
        assert!(docs.contains(&format!("`{key}`")), "{key} is not in docs/configuration.md");
    }
}

#[test]
fn every_sample_loads() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
            count += 1;
        }
    }
    assert!(count >= 4, "only {count} samples found");
}
