use std::sync::Arc;

use dataplane::intent::{Client, Port, Service};

use super::*;
use crate::clients::json::KEPT;

const ASN: u32 = 65001;
const OURS: Ases = Ases { own: ASN, zero: ASN };

fn parse(text: &str) -> Parsed {
    client(&Arc::from("vm1.json"), text, OURS)
}

fn said(problems: &[Problem]) -> Vec<String> {
    let place = |p: &Problem| match (p.line(), p.column()) {
        (Some(line), Some(column)) => format!("{line}:{column}: "),
        _ => String::new(),
    };
    let key = |p: &Problem| if p.key().is_empty() { String::new() } else { format!("{}: ", p.key()) };
    problems.iter().map(|p| format!("{}{}{}", place(p), key(p), p.message())).collect()
}

fn errors(text: &str) -> Vec<String> {
    said(&parse(text).config.expect_err(text))
}

fn good(text: &str) -> ClientConfig {
    let parsed = parse(text);
    parsed.config.unwrap_or_else(|errors| panic!("{text}: {:?}", said(&errors)))
}

/// An l2 client with keys changed (`key: value`), added, or taken out (an empty value).
fn l2(changes: &[(&str, &str)]) -> String {
    let base = [
        ("cfg_type", "\"l2\""),
        ("mac", "\"36:e7:a5:7e:0c:81\""),
        ("vni", "10"),
        ("ofport", "1000"),
        ("imp_rt", "[\"65000:10\"]"),
        ("exp_rt", "[\"65000:10\"]"),
    ];
    let mut keys: Vec<(&str, &str)> = base.to_vec();
    for (key, value) in changes {
        keys.retain(|(k, _)| k != key);
        keys.push((key, value));
    }
    let lines: Vec<_> = keys
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("  \"{key}\": {value}"))
        .collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

fn l3(routes: &str) -> String {
    l2(&[("cfg_type", "\"l3\""), ("routes", routes)])
}

/// The two samples of evpn-connector's page, comments and all.
#[test]
fn the_files_of_evpn_connector() {
    let sample = r#"{
        "cfg_type": "l2",           // Config type for L2 connectivity use "l2"
        "mac": "36:e7:a5:7e:0c:81", // MAC address of client
        "ip": "10.0.0.1",           // IP address of client
        "vni": 10,                  // VXLAN segment identifier
        "ofport": 1000,             // OpenFlow port number in current OpenvSwitch switch
        "type": "flat",             // OpenvSwitch port type. May be "flat" and "vlan"
        "tag": 0,                   // OpenvSwitch port segment identifier. Ignored on "flat"
        "imp_rt": ["65000:10"],     // List of imported BGP Route Targets
        "exp_rt": ["65000:10"]      // List of exported BGP Route Targets
        }"#;
    let parsed = parse(sample);
    assert_eq!(parsed.warnings, []);
    let vni = Vni::new(10).unwrap();
    let rt: RouteTarget = "65000:10".parse().unwrap();
    let expected = ClientConfig {
        client: Client {
            name: "vm1.json".into(),
            port: Port::Number(1000),
            vlan: None,
            mac: "36:e7:a5:7e:0c:81".parse().unwrap(),
            anti_spoof: true,
            service: Service::L2 { vni, ips: vec!["10.0.0.1".parse().unwrap()] },
        },
        import_rt: vec![ImportRt::Exact(rt)],
        export_rt: vec![rt],
    };
    assert_eq!(parsed.config, Ok(expected.clone()));

    let routed = sample
        .replace("\"l2\", ", "\"l3\", ")
        .replace("\"ip\": \"10.0.0.1\"", "\"routes\": [\"10.0.0.1/32\"]");
    let prefixes = vec!["10.0.0.1/32".parse().unwrap()];
    let client = Client { service: Service::L3 { vrf: vni, prefixes }, ..expected.client };
    let parsed = parse(&routed);
    assert_eq!((parsed.config, parsed.warnings), (Ok(ClientConfig { client, ..expected }), vec![]));
}

#[test]
fn what_people_write() {
    // Comments of both kinds, commas at the end, a byte order mark, blanks, numbers in quotes.
    let text = "\u{feff}/* vm 7 */ {\n \"mac\": \" 02-00-00-00-00-07 \", // dashes\n \"vni\": \"7\", \"ofport\": \"7\",\n \
                \"imp_rt\": [\" 0:7 \",], \"exp_rt\": \"0:7\", \"ip\": [],}";
    let client = good(text);
    assert_eq!(client.client.service, Service::L2 { vni: Vni::new(7).unwrap(), ips: vec![] });
    assert_eq!(client.export_rt, ["65001:7".parse().unwrap()]);
    assert_eq!(client.import_rt, [ImportRt::Exact("65001:7".parse().unwrap())]);

    let client = good(&l2(&[
        ("ofport", ""),
        ("interface", "\"tap0\""),
        ("type", "\"vlan\""),
        ("tag", "4094"),
        ("ip", "[\"10.0.0.1\", \"2001:db8::1\", \"10.0.0.1\"]"),
        ("anti_spoof", "false"),
        ("imp_rt", "[\"4200000000:7\", \"10.0.0.1:7\", \"*:7\", \"auto\"]"),
        ("exp_rt", "\"auto\""),
    ]));
    assert_eq!((client.client.port, client.client.vlan), (Port::Name("tap0".into()), Some(4094)));
    assert!(!client.client.anti_spoof);
    let Service::L2 { ips, .. } = client.client.service else { panic!() };
    assert_eq!(ips, ["10.0.0.1".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
    assert_eq!(client.import_rt.len(), 4);
    assert_eq!(client.export_rt, [auto_rt(ASN, Vni::new(10).unwrap())]);

    let client =
        good(&l3("[\"10.0.0.0/24\", \" 10.0.1.1/32 \", \"2001:db8::/64\", \"10.0.2.1\", \"0.0.0.0/0\"]"));
    let Service::L3 { prefixes, .. } = client.client.service else { panic!() };
    let prefixes: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, ["10.0.0.0/24", "10.0.1.1/32", "2001:db8::/64", "10.0.2.1/32", "0.0.0.0/0"]);
}

#[test]
fn each_mistake_has_its_place_and_says_what_is_expected() {
    for (changes, expected) in [
        (&[("cfg_type", "\"l4\"")][..], "7:15: cfg_type: expected \"l2\" or \"l3\", found \"l4\""),
        (&[("mac", "")], "7:1: mac: is missing: expected the client's MAC like \"36:e7:a5:7e:0c:81\""),
        (&[("mac", "\"36:e7\"")], "7:10: mac: expected a MAC like \"36:e7:a5:7e:0c:81\", found \"36:e7\""),
        (&[("mac", "\"01:00:5e:00:00:01\"")], "7:10: mac: 01:00:5e:00:00:01 cannot be the MAC of one host"),
        (&[("vni", "0")], "7:10: vni: expected a number from 1 to 16777215, found 0"),
        (&[("vni", "16777216")], "7:10: vni: expected a number from 1 to 16777215, found 16777216"),
        (&[("vni", "1.5")], "7:10: vni: expected a number from 1 to 16777215, found 1.5"),
        (&[("vni", "-1")], "7:10: vni: expected a number from 1 to 16777215, found -1"),
        (&[("vni", "true")], "7:10: vni: expected a number from 1 to 16777215, found true"),
        (&[("vni", "null")], "8:1: vni: is missing: expected a number from 1 to 16777215"),
        (&[("ofport", "65280")], "7:13: ofport: expected a number from 1 to 65279, found 65280"),
        (
            &[("ofport", "")],
            "7:1: ofport: is missing: expected an OpenFlow port number from 1 to 65279, or the name of a port as \
             \"interface\"",
        ),
        (&[("interface", "\"tap0\"")], "8:16: interface: there is an ofport already: give one of the two"),
        (&[("type", "\"trunk\"")], "8:11: type: expected \"flat\" or \"vlan\", found \"trunk\""),
        (
            &[("type", "\"vlan\"")],
            "9:1: tag: is missing: expected the VLAN of a client of type \"vlan\": a number from 1 to 4094",
        ),
        (&[("type", "\"vlan\""), ("tag", "4095")], "9:10: tag: expected a number from 1 to 4094, found 4095"),
        (&[("tag", "70000")], "8:10: tag: expected a number from 0 to 4095, found 70000"),
        (
            &[("ip", "\"10.0.0.256\"")],
            "8:9: ip: expected an IP address like \"10.0.0.1\", found \"10.0.0.256\"",
        ),
        (&[("ip", "[\"10.0.0.1\", 7]")], "8:22: ip: expected an IP address like \"10.0.0.1\", found 7"),
        (&[("ip", "\"224.0.0.1\"")], "8:9: ip: 224.0.0.1 cannot be the address of one host"),
        (&[("anti_spoof", "\"no\"")], "8:17: anti_spoof: expected true or false, found \"no\""),
    ] {
        assert_eq!(errors(&l2(changes)), [expected], "{}", l2(changes));
    }
    let interface = |name: &str| errors(&l2(&[("ofport", ""), ("interface", name)])).join("\n");
    assert!(interface("\"much-too-long-name\"").contains("too long"));
    assert!(interface("\"a b\"").contains("cannot be in the name"));
    for rt in [
        "\"65536:65536\"",
        "\"65000:4294967296\"",
        "\"4294967296:1\"",
        "\"65000\"",
        "\"10.0.0.1:65536\"",
        "7",
    ] {
        for key in ["imp_rt", "exp_rt"] {
            let said = errors(&l2(&[(key, &format!("[{rt}]"))])).join("\n");
            assert!(said.contains(&format!("{key}: expected a route target like \"65000:10\"")), "{said}");
        }
    }
    assert!(errors(&l2(&[("exp_rt", "\"*:7\"")])).join("").contains("exp_rt: expected a route target"));
    for (routes, expected) in [
        (
            "[\"10.0.0.1/24\"]",
            "8:14: routes: 10.0.0.1/24 has host bits set: did you mean 10.0.0.0/24, or 10.0.0.1/32?",
        ),
        ("[\"10.0.0.0/33\"]", "8:14: routes: expected a prefix like \"10.0.0.0/24\", found \"10.0.0.0/33\""),
        ("", "8:1: routes: is missing: expected a list of prefixes like [\"10.0.0.1/32\"]"),
    ] {
        assert_eq!(errors(&l3(routes)), [expected]);
    }
}

#[test]
fn our_as_in_a_route_target_has_to_fit() {
    let text = l2(&[("exp_rt", "\"0:65536\"")]);
    let name = Arc::from("vm1.json");
    let zero = |zero| client(&name, &text, Ases { own: 4_200_000_001, zero }).config;
    assert_eq!(zero(1).unwrap().export_rt, ["1:65536".parse().unwrap()]);
    assert!(zero(4_200_000_000).is_err());
}

#[test]
fn all_mistakes_at_once_in_the_order_of_the_file() {
    let said = errors(
        "{\n\"mac\": 1,\n\"routes\": [\"x\", \"10.0.0.1/8\"],\n\"cfg_type\": \"l3\",\n\"vni\": 0, \"tag\": []\n}",
    );
    let places: Vec<_> =
        said.iter().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(places, ["2:8 mac", "3:12 routes", "3:17 routes", "5:8 vni", "5:18 tag", "6:1 ofport"]);
    let many = format!("{{\"ip\": [{}]}}", vec!["1"; 100_000].join(","));
    let said = errors(&many);
    assert_eq!((said.len(), said[20].as_str()), (21, "and 99983 more like these"));
}

/// A file is at most 1 MiB; what is told of it is far less, and is found out in a moment.
#[test]
fn a_file_full_of_nonsense_costs_little() {
    let keys: Vec<_> = (0..100_000).map(|n| format!("\"k{n}\":{n}")).collect();
    let parsed = parse(&format!("{{{}}}", keys.join(",")));
    assert_eq!(parsed.warnings.len(), KEPT + 1);
    let long = "x".repeat(1_000_000);
    let parsed = parse(&format!("{{\"{long}\": 1, \"mac\": \"{long}\"}}"));
    let told = format!("{:?}{:?}", parsed.config, parsed.warnings);
    assert!(told.len() < 10_000, "{}", told.len());
}

#[test]
fn what_is_no_json_says_where() {
    for (text, expected) in [
        ("{\n \"vni\": 10\n \"mac\": 1}", "is no JSON: expected comma"),
        ("{\"vni\": 10", "is no JSON: unterminated object"),
        ("[]", "1:1: expected an object in { }, found a list"),
        ("// nothing", "has nothing but comments: expected an object in { }"),
        ("{} {}", "is no JSON: text cannot contain more than one JSON value"),
        ("{'vni': 10}", "is no JSON: single-quoted strings are not allowed"),
        ("{vni: 10}", "is no JSON: expected string for object property"),
        ("# hash\n{}", "is no JSON: unexpected token"),
        ("\u{0}", "is no JSON"),
    ] {
        let said = errors(text);
        assert!(said.len() == 1 && said[0].contains(expected), "{text:?}: {said:?}");
    }
    assert!(errors("{\n \"vni\": 10\n \"mac\": 1}")[0].starts_with("2:"));
    for depth in [100, 100_000] {
        assert!(errors(&"[".repeat(depth)).len() == 1);
        assert!(errors(&"{\"a\":".repeat(depth)).len() == 1);
    }
}

#[test]
fn what_is_taken_with_a_warning() {
    for (text, expected) in [
        (
            l2(&[("tag", "100")]),
            "8:10: tag: ignored: the type is \"flat\"; for a VLAN say \"type\": \"vlan\"",
        ),
        (l2(&[("ofprt", "1")]), "8:3: ofprt: unknown key, ignored; did you mean ofport?"),
        (l2(&[("routes", "[]")]), "8:13: routes: only of \"cfg_type\": \"l3\": ignored"),
        (l2(&[("ip", "\"10.0.0.1/24\"")]), "8:9: ip: the prefix length is ignored: the address is 10.0.0.1"),
        (l2(&[("imp_rt", "[]")]), "7:13: imp_rt: is empty: taken as \"auto\""),
        (l3("[]"), "8:13: routes: is empty: nothing is announced for this client"),
        (
            l2(&[("ip", "\"10.0.0.1\""), ("cfg_type", "\"l3\""), ("routes", "[\"10.0.0.1/32\"]")]),
            "7:9: ip: only of \"cfg_type\": \"l2\": ignored; what is behind an l3 client is in \"routes\"",
        ),
        (
            l2(&[("anycast", "[{\"anycast_ip\": \"10.9.9.9\", \"dst_ip\": \"10.0.0.1\"}]")]),
            "8:15: anycast: anycast addresses with health checks are not supported: 10.9.9.9 is neither announced nor \
             translated to 10.0.0.1",
        ),
    ] {
        let parsed = parse(&text);
        assert!(parsed.config.is_ok(), "{text}");
        assert_eq!(said(&parsed.warnings), [expected]);
    }
    let twice = "{\"vni\": 1, \"vni\": 2, \"mac\": \"02:00:00:00:00:01\", \"ofport\": 1}";
    let parsed = parse(twice);
    assert_eq!(said(&parsed.warnings), ["1:12: vni: given more than once: this one counts"]);
    let Service::L2 { vni, .. } = parsed.config.unwrap().client.service else { panic!() };
    assert_eq!(vni.get(), 2);
}

proptest::proptest! {
    /// Whatever is in a file, it is a client or a list of problems, never neither.
    #[test]
    fn any_text_is_one_or_the_other(text in "[\\[\\]{}:,\"a-z0-9/* \n]{0,200}") {
        if let Err(errors) = parse(&text).config {
            assert!(!errors.is_empty());
        }
    }
}
