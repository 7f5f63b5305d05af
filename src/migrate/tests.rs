//! Realistic pairs of configurations, and what becomes of each kind of setting.

use super::*;
use crate::config::{Dataplane, Hops, RemoteAsn};

const GOBGP: &str = r#"[global.config]
as = 65100
router-id = "10.10.10.1"
local-address-list = [ "10.10.10.1" ]

[[neighbors]]
  [neighbors.config]
    peer-as = 65200
    neighbor-address = "10.10.10.2"
    description = "compute 2"
  [neighbors.ebgp-multihop.config]
    enabled = true
    multihop-ttl = 7
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "l2vpn-evpn"

[[neighbors]]
  [neighbors.config]
    peer-as = 65300
    neighbor-address = "10.10.10.3"
    auth-password = "s\"cret"
  [neighbors.ebgp-multihop.config]
    enabled = true
  [neighbors.timers.config]
    hold-time = 9.0
    keepalive-interval = 3.0
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "l2vpn-evpn"
    [neighbors.afi-safis.prefix-limit.config]
      max-prefixes = 5000
"#;

const CONNECTOR: &str = r#"[DEFAULT]
verbose = True
debug = True

[logging]
config = logging.yaml

[agent]
sync_period = 10

[victoria_metrics]
enabled = False
host = "127.0.0.1"

[sentry]
enabled = False
traces_sample_rate = 1.0

[gobgp]
gobgp_channel = "localhost:50051"
grpc_timeout_sec: 100
# Don't change this param without gobgp restart
source_ip = "10.10.10.1"
as_number = 1

[ovs]
switch_name = "evpn"
vxlan_udp_port = 4789
enable_sudo = True
ovs_vsctl_bin_path="/usr/bin/ovs-vsctl"
ovs_ofctl_bin_path="/opt/ovs/bin/ovs-ofctl"

[daemon]
configs_dir = /var/lib/evpn_connector/client_configs/
"#;

fn both(gobgp: Option<&str>, connector: Option<&str>) -> Migrated {
    let gobgp = gobgp.map(|text| bgp::Gobgp::read("gobgp.conf", text).unwrap());
    let connector = connector.map(|text| ovs::Connector::read("evpn.conf", text).unwrap());
    compose(gobgp, connector, None)
}

fn config(migrated: &Migrated) -> Config {
    Config::parse(&migrated.text, "evpnd.toml", Path::new("/etc/evpnd"))
        .unwrap_or_else(|errors| panic!("{errors}\nin\n{}", migrated.text))
}

/// A neighbour with these lines, and what was lost with it.
fn neighbour(lines: &str) -> (Config, Vec<String>, String) {
    let text = format!(
        "[global.config]\nas = 65100\nrouter-id = \"10.0.0.1\"\n[[neighbors]]\n[neighbors.config]\n\
         neighbor-address = \"10.0.0.2\"\npeer-as = 65200\n[[neighbors.afi-safis]]\n\
         [neighbors.afi-safis.config]\nafi-safi-name = \"l2vpn-evpn\"\n{lines}\n"
    );
    let migrated = both(Some(&text), None);
    (config(&migrated), migrated.lost, migrated.text)
}

#[test]
fn a_compute_host_with_a_border() {
    let migrated = both(Some(GOBGP), Some(CONNECTOR));
    assert_eq!(
        migrated.text,
        r#"# Made by `evpnd migrate` from gobgp.conf and evpn.conf.
# What could not be carried over is told where it would stand, with the line it came from.

[router]
asn = 65100
router-id = "10.10.10.1"

[bgp]
listen = ["10.10.10.1:179"]

[[bgp.neighbor]] # gobgp.conf:6
address = "10.10.10.2"
remote-asn = 65200
multihop = 7
description = "compute 2"

[[bgp.neighbor]] # gobgp.conf:18
address = "10.10.10.3"
remote-asn = 65300
multihop = 255
password = "s\"cret"
hold-time = 9
max-routes = 5000
# gobgp.conf:27: timers.keepalive-interval: not needed: a third of the hold time

[dataplane]
backend = "ovs"
vtep = "10.10.10.1"

[dataplane.ovs]
bridge = "evpn"
# The port that evpn-connector made is adopted; named like this, it is also found on the way back.
vxlan = "vxlan_out"
# The gateway's MAC as routed clients have it in their ARP tables: evpn-connector's, on every host.
gateway-mac = "12:34:56:78:90:ab"
ofctl = "/opt/ovs/bin/ovs-ofctl"
# evpn.conf:29: enable_sudo: not needed: evpnd runs as root, or as a user who may write to the sockets of Open vSwitch

[clients]
dir = "/var/lib/evpn_connector/client_configs/"
# A leading 0 in imp_rt and exp_rt ("0:10") goes on meaning evpn-connector's as_number (evpn.conf:24), which is not
#   gobgpd's AS. Its other use, route distinguishers that are the same on every host, has ended.
rt-asn = 1

# evpn.conf:2: [DEFAULT]: not needed: messages: see `evpnd run -v` and $EVPND_LOG
# evpn.conf:6: [logging]: not needed: messages go to stderr or the journal
# evpn.conf:9: [agent]: not needed: evpn-connector does not read this section
# evpn.conf:20: [gobgp] gobgp_channel: not needed: the BGP speaker is in the same process
# evpn.conf:21: [gobgp] grpc_timeout_sec: not needed: the BGP speaker is in the same process
"#
    );
    assert_eq!(migrated.lost, Vec::<String>::new());
    let config = config(&migrated);
    assert_eq!(config.bgp.neighbors.len(), 2);
    assert_eq!(config.clients.unwrap().rt_asn, 1);
    assert!(matches!(config.dataplane, Dataplane::Ovs(_)));
    assert_eq!(migrated.outcome.unwrap(), "2 neighbours, 0 VNIs");
}

#[test]
fn either_may_be_missing() {
    let migrated = both(Some(GOBGP), None);
    assert!(matches!(config(&migrated).dataplane, Dataplane::None { .. }));
    assert_eq!(migrated.lost, Vec::<String>::new());

    let migrated = both(None, Some(CONNECTOR));
    let config = config(&migrated);
    assert_eq!((config.router.asn, config.router.router_id.to_string()), (1, "10.10.10.1".to_owned()));
    assert!(migrated.lost[0].starts_with("[bgp]: without gobgpd's file"), "{:?}", migrated.lost);
}

#[test]
fn a_route_reflector_with_groups_and_ranges() {
    let text = r#"
[global.config]
  as = 65000
  router-id = "10.0.0.10"
  port = 1790
[[peer-groups]]
  [peer-groups.config]
    peer-group-name = "hosts"
    peer-as = 65000
    auth-password = "group"
  [peer-groups.timers.config]
    hold-time = 30
  [peer-groups.route-reflector.config]
    route-reflector-client = true
    route-reflector-cluster-id = 7
  [[peer-groups.afi-safis]]
    afi-safi-name = "l2vpn-evpn"
[[dynamic-neighbors]]
  [dynamic-neighbors.config]
    prefix = "10.0.0.99/24"
    peer-group = "hosts"
[[neighbors]]
  [neighbors.config]
    neighbor-address = "2001:db8::1"
    peer-group = "hosts"
    peer-as = 1
  [neighbors.timers.config]
    hold-time = 9
  [neighbors.transport.config]
    passive-mode = true
    local-address = "2001:db8::10"
    remote-port = 1179
"#;
    let migrated = both(Some(text), None);
    let config = config(&migrated);
    assert_eq!(migrated.lost, Vec::<String>::new(), "{}", migrated.text);
    assert_eq!(config.bgp.listen, ["0.0.0.0:1790".parse().unwrap(), "[::]:1790".parse().unwrap()]);
    assert_eq!(config.bgp.cluster_id.to_string(), "0.0.0.7");
    let [neighbor] = &config.bgp.neighbors[..] else { panic!("{}", migrated.text) };
    assert_eq!((neighbor.port, neighbor.passive), (1179, true));
    assert_eq!(neighbor.local_address, Some("2001:db8::10".parse().unwrap()));
    // Its own timer, the group's AS, password and role.
    assert_eq!(neighbor.options.hold_time, 9);
    assert_eq!(neighbor.options.remote_asn, RemoteAsn::Number(65000));
    assert!(neighbor.options.route_reflector_client);
    assert_eq!(neighbor.options.password.as_ref().unwrap().as_bytes(), b"group");
    let [range] = &config.bgp.dynamic_neighbors[..] else { panic!("{}", migrated.text) };
    assert_eq!(range.range, "10.0.0.0/24".parse().unwrap());
    assert_eq!((range.options.hold_time, range.options.route_reflector_client), (30, true));
}

#[test]
fn neighbours_that_cannot_be_carried_over_are_comments() {
    let reason = |neighbor: &str| {
        let text = format!(
            "[global.config]\nas = 65100\nrouter-id = \"10.0.0.1\"\n[[neighbors]]\n[neighbors.config]\n{neighbor}\n"
        );
        let migrated = both(Some(&text), None);
        assert_eq!(config(&migrated).bgp.neighbors, [], "{}", migrated.text);
        assert_eq!(migrated.lost.len(), 1, "{:?}", migrated.lost);
        migrated.lost[0].clone()
    };
    let evpn = "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"l2vpn-evpn\"";
    let family = "it has no afi-safi \"l2vpn-evpn\", and EVPN is all that evpnd speaks";
    for (lines, expected) in [
        ("neighbor-address = \"10.0.0.2\"\npeer-as = 1".to_owned(), format!("10.0.0.2 is not carried over: {family}")),
        (
            "neighbor-address = \"10.0.0.2\"\npeer-as = 1\n[[neighbors.afi-safis]]\nafi-safi-name = \"ipv4-unicast\""
                .to_owned(),
            format!("10.0.0.2 is not carried over: {family}"),
        ),
        (
            format!("neighbor-address = \"10.0.0.1\"\npeer-as = 1\n{evpn}"),
            "10.0.0.1 is not carried over: 10.0.0.1 is our own address".to_owned(),
        ),
        (
            format!("neighbor-address = \"10.0.0.2\"\npeer-as = 1\nlocal-as = 7\n{evpn}"),
            "10.0.0.2 is not carried over: it knows us as AS 7 (local-as), and evpnd has one AS for all".to_owned(),
        ),
        (
            format!("neighbor-address = \"10.0.0.2\"\npeer-as = 1\nadmin-down = true\n{evpn}"),
            "10.0.0.2 is not carried over: it is shut down (admin-down)".to_owned(),
        ),
        (
            format!("neighbor-interface = \"eth0\"\npeer-as = 1\n{evpn}"),
            " is not carried over: it has no address: unnumbered neighbours are not supported".to_owned(),
        ),
        (
            format!("neighbor-address = \"10.0.0.2\"\npeer-group = \"x\"\n{evpn}"),
            "10.0.0.2 is not carried over: there is no peer-group x".to_owned(),
        ),
    ] {
        assert_eq!(reason(&lines), format!("gobgp.conf:4: the neighbour {expected}"));
    }
}

#[test]
fn what_a_neighbour_loses_is_told_with_its_line() {
    let (config, lost, _) = neighbour("[neighbors.ttl-security.config]\nenabled = true\nttl-min = 254");
    assert_eq!(config.bgp.neighbors[0].options.hops, Hops::TtlSecurity(2));
    assert_eq!(lost, Vec::<String>::new());

    for (lines, expected) in [
        (
            "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 120",
            Some(
                "gobgp.conf:12: graceful-restart is not carried over: no graceful restart: what a session told goes when it ends",
            ),
        ),
        ("[neighbors.graceful-restart.config]\nenabled = false\nrestart-time = 120", None),
        ("[neighbors.add-paths.config]\nreceive = false", None),
        (
            "[neighbors.add-paths.config]\nsend-max = 8",
            Some("gobgp.conf:12: add-paths is not carried over: one path for each route is sent and taken"),
        ),
        (
            "[neighbors.wormhole.config]\nlength = 8",
            Some("gobgp.conf:12: wormhole.length is not carried over: it is not known here"),
        ),
    ] {
        let (config, lost, text) = neighbour(lines);
        assert_eq!(config.bgp.neighbors.len(), 1, "{text}");
        assert_eq!(lost, expected.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{text}");
    }
}

#[test]
fn policies_and_servers_are_told() {
    let text = format!(
        "{GOBGP}\n[global.apply-policy.config]\ndefault-import-policy = \"reject-route\"\n[[policy-definitions]]\nname = \"p\"\n\
         [[defined-sets.prefix-sets]]\nprefix-set-name = \"ps\"\n[[bmp-servers]]\n[bmp-servers.config]\naddress = \"127.0.0.1\"\n"
    );
    let migrated = both(Some(&text), None);
    let begin: Vec<_> = migrated.lost.iter().map(|l| l.split(" is not").next().unwrap_or_default()).collect();
    assert_eq!(
        begin,
        ["gobgp.conf:35: apply-policy", "gobgp.conf:36: policy-definitions", "gobgp.conf:40: bmp-servers"]
    );
    config(&migrated);
}

#[test]
fn what_evpn_connector_loses_is_told() {
    let text = "[gobgp]\nsource_ip = 10.0.0.1\nas_number = 65100\nfail_static = true\nrouter_mac_type5 = 02:00:00:00:00:01\n\
                [ovs]\nswitch_name = 'br'\nspeed: 9\n[sentry]\nenabled = true\n[anycast]\nanycast_status_file = /tmp/a\n";
    let migrated = both(Some(GOBGP), Some(text));
    let begin: Vec<_> = migrated.lost.iter().map(|l| l.split(" is not").next().unwrap_or_default()).collect();
    assert_eq!(
        begin,
        [
            "evpn.conf: no [daemon] configs_dir: evpn-connector has it from --daemon-configs_dir, then; put its value here, or say --clients DIR",
            "evpn.conf:10: [sentry]",
            "evpn.conf:4: fail_static",
            "evpn.conf:12: [anycast]",
            "evpn.conf:8: [ovs] speed",
        ]
    );
    let config = config(&migrated);
    // The same AS: nothing to be said about a leading 0.
    assert!(!migrated.text.contains("rt-asn"));
    assert_eq!(config.clients.unwrap().dir, Path::new("/var/lib/evpn_connector/client_configs"));
}

#[test]
fn what_evpnd_does_not_take_is_an_outcome() {
    let text = GOBGP.replace("10.10.10.3", "fe80::3");
    let migrated = both(Some(&text), Some(CONNECTOR));
    let errors = migrated.outcome.unwrap_err();
    assert!(errors.lines().next().unwrap().contains("link-local"), "{errors}");
}

#[test]
fn the_wrong_files() {
    let gobgp = |text| bgp::Gobgp::read("g.conf", text).unwrap_err().to_string();
    assert_eq!(
        gobgp("global:\n  config:\n    as: 1\n"),
        "g.conf:1: key with no value, expected `=` (gobgpd reads YAML and JSON too; this reads its TOML)"
    );
    assert_eq!(
        gobgp("[router]\nasn = 1\n"),
        "g.conf: no [global.config]: is this the configuration of gobgpd?"
    );
    let connector = |text| ovs::Connector::read("e.conf", text).unwrap_err().to_string();
    assert_eq!(connector("[gobgp\n"), "e.conf:1: expected [section]");
    assert_eq!(connector("a = 1\n"), "e.conf:1: a key outside of any [section]");
    assert_eq!(connector("[ovs]\nnonsense\n"), "e.conf:2: expected [section], key = value or key: value");
    assert_eq!(
        connector("[x]\n"),
        "e.conf: no [gobgp], [ovs] or [daemon]: is this the configuration of evpn-connector?"
    );
    let error =
        migrate(Sources { gobgp: Some(Path::new("/nonexistent")), ..Sources::default() }).unwrap_err();
    assert_eq!(error.to_string(), "/nonexistent: cannot be read: no such file or directory");
}

#[test]
fn ini_as_oslo_config_reads_it() {
    let text = "; c\n[a]\nk-ey = one # not a comment\nlong = x\n  y\n# c\nquoted: \"z: =\"\nk_ey = two\n";
    let mut ini = ini::Ini::read("i", text).unwrap();
    assert_eq!(ini.get("a", "quoted").unwrap().value, "z: =");
    assert_eq!(ini.get("a", "long").unwrap().value, "x\ny");
    let last = ini.take("a", "k_ey").unwrap();
    assert_eq!((last.value.as_str(), last.line), ("two", 8));
    assert_eq!(ini.get("a", "k_ey"), None);
}
