//! gobgpd's part: `[router]`, `[bgp]` and the neighbours.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::page::{Page, quoted};
use super::source::{self, Key, Table, Value};
use super::{Error, Node, Place};
use crate::config::BGP_PORT;

/// The only address family evpnd speaks.
const EVPN: &str = "l2vpn-evpn";
/// What a neighbour of gobgpd is called in an evpnd.toml, at most.
const MAX_DESCRIPTION: usize = 255;

/// Whether something is missed.
#[derive(Clone, Copy, PartialEq)]
enum Missed {
    Yes,
    No,
}

/// Keys that are not carried over, by the beginning of their path, and why. The first that fits counts.
const LEFT_OUT: &[(&str, Missed, &str)] = &[
    ("graceful-restart", Missed::Yes, "no graceful restart: what a session told goes when it ends"),
    ("mp-graceful-restart", Missed::Yes, "no graceful restart: what a session told goes when it ends"),
    (
        "long-lived-graceful-restart",
        Missed::Yes,
        "no graceful restart: what a session told goes when it ends",
    ),
    ("add-paths", Missed::Yes, "one path for each route is sent and taken"),
    (
        "apply-policy",
        Missed::Yes,
        "no policies: every EVPN route is taken and passed on, and route targets decide who uses it",
    ),
    (
        "policy-definitions",
        Missed::Yes,
        "no policies: every EVPN route is taken and passed on, and route targets decide who uses it",
    ),
    ("defined-sets", Missed::No, "only of use to policies"),
    (
        "route-server",
        Missed::Yes,
        "no route server: our AS is put in front of the AS_PATH (next hops stay as they are)",
    ),
    (
        "as-path-options",
        Missed::Yes,
        "AS_PATH as RFC 4271 has it: routes with our AS in them are dropped, nothing is replaced",
    ),
    ("remove-private-as", Missed::Yes, "AS_PATH as RFC 4271 has it: nothing is removed from it"),
    ("replace-peer-as", Missed::Yes, "AS_PATH as RFC 4271 has it: nothing is replaced in it"),
    ("allow-own-as", Missed::Yes, "AS_PATH as RFC 4271 has it: routes with our AS in them are dropped"),
    ("route-reflector", Missed::Yes, "only internal neighbours can be clients of a route reflector"),
    ("confederation", Missed::Yes, "no confederations: neighbours see router.asn"),
    ("transport.bind-interface", Missed::Yes, "no VRF or interface to bind to: routing decides"),
    ("transport.tcp-mss", Missed::No, "the kernel's choice"),
    ("transport.mtu-discovery", Missed::No, "the kernel's choice"),
    ("transport", Missed::Yes, "no such option"),
    ("timers.connect-retry", Missed::No, "bgp.connect-retry, 5 s for all neighbours unless set"),
    ("timers.keepalive-interval", Missed::No, "a third of the hold time"),
    ("timers", Missed::No, "no such timer"),
    ("send-community", Missed::No, "communities are always sent"),
    ("peer-type", Missed::No, "follows from the AS numbers"),
    ("vrf", Missed::Yes, "no neighbours in VRFs"),
    ("logging-options", Missed::No, "see `evpnd events`"),
    ("error-handling", Missed::No, "always as RFC 7606 has it"),
    ("use-multiple-paths", Missed::No, "routed prefixes use all equal paths"),
    ("route-selection-options", Missed::Yes, "best paths are chosen as RFC 4271 §9.1.2.2 has it"),
    ("default-route-distance", Missed::No, "only of use to IPv4 and IPv6 routes"),
    ("mpls-label-range", Missed::No, "only of use to MPLS"),
    ("afi-safis", Missed::No, "EVPN is the only address family"),
    ("listen-config", Missed::No, "of older gobgpd; the keys of global.config count"),
    ("zebra", Missed::Yes, "nothing is exchanged with zebra"),
    ("rpki-servers", Missed::Yes, "no RPKI"),
    ("bmp-servers", Missed::Yes, "no BMP"),
    ("mrt-dump", Missed::Yes, "no MRT dumps"),
    ("vrfs", Missed::Yes, "VRFs come from client files"),
    ("collector", Missed::Yes, "no collector"),
    ("state", Missed::No, "state, no configuration"),
];

/// gobgpd's configuration.
#[derive(Debug)]
pub(super) struct Gobgp {
    pub(super) name: String,
    /// Our AS; looked up once, since keys are taken out as they are written.
    asn: Option<u32>,
    root: Table,
}

impl Gobgp {
    pub(super) fn read(name: &str, text: &str) -> Result<Self, Error> {
        let root = source::read(name, text)?;
        if !root.keys.iter().any(|key| key.path.starts_with("global.")) {
            let what = "no [global.config]: is this the configuration of gobgpd?".to_owned();
            return Err(Error::Malformed { name: name.to_owned(), line: 0, what });
        }
        let asn = root.get("global.as").and_then(Key::number);
        Ok(Self { name: name.to_owned(), asn, root })
    }

    pub(super) const fn asn(&self) -> Option<u32> {
        self.asn
    }

    fn place(&self, line: usize) -> Place<'_> {
        Place(&self.name, line)
    }
}

/// Writes `[router]` and `[bgp]`; without gobgpd's file, what can be said nevertheless.
pub(super) fn write(gobgp: Option<&mut Gobgp>, node: Node, page: &mut Page) {
    page.header("[router]");
    let Some(gobgp) = gobgp else {
        let asn = node.rt_asn.unwrap_or(1);
        page.lost(
            "[bgp]",
            "without gobgpd's file neither our AS nor the neighbours are known: asn is evpn-connector's as_number here, and \
             [[bgp.neighbor]] is up to you",
        );
        page.line(format_args!("asn = {asn}"));
        if !matches!(node.vtep, Some(IpAddr::V4(_))) {
            page.text("router-id", "0.0.0.1");
        }
        return;
    };
    let router_id = global(gobgp, page);
    let own: Vec<IpAddr> = node.vtep.into_iter().chain(router_id.map(IpAddr::V4)).collect();
    let listens = listen(gobgp, page);
    neighbours(gobgp, &own, page);
    dynamic(gobgp, listens, page);
    let rest = std::mem::take(&mut gobgp.root.keys);
    left_out(&gobgp.name, &rest, page);
}

/// AS and router id; `[bgp]` is begun.
fn global(gobgp: &mut Gobgp, page: &mut Page) -> Option<Ipv4Addr> {
    match gobgp.root.take("global.as") {
        Some(key) => page.line(format_args!("asn = {}", key.text())),
        None => page.lost(&gobgp.name, "no global.config.as: put our AS into asn"),
    }
    let router_id = gobgp.root.take("global.router-id").map(|key| key.text());
    if let Some(id) = &router_id {
        page.text("router-id", id);
    }
    page.header("[bgp]");
    router_id.and_then(|id| id.parse().ok())
}

/// Where it listens; false: nowhere.
fn listen(gobgp: &mut Gobgp, page: &mut Page) -> bool {
    let port = gobgp.root.take("global.port").or_else(|| gobgp.root.take("global.listen-config.port"));
    let port: i64 = port.and_then(|key| key.number()).filter(|port| *port != 0).unwrap_or(BGP_PORT.into());
    let list = gobgp.root.take("global.local-address-list");
    let list = list.or_else(|| gobgp.root.take("global.listen-config.local-address-list"));
    if port < 0 {
        page.line("listen = []");
        return false;
    }
    let addresses: Vec<String> = match list.map(|key| key.value) {
        Some(Value::List(list)) if !list.is_empty() => list
            .iter()
            .map(|v| if let Value::Text(text) = v { text.clone() } else { v.to_string() })
            .collect(),
        // As evpnd without the key.
        _ if port == i64::from(BGP_PORT) => return true,
        _ => vec!["0.0.0.0".to_owned(), "::".to_owned()],
    };
    let listen = addresses.iter().map(|a| {
        if a.contains(':') { quoted(&format!("[{a}]:{port}")) } else { quoted(&format!("{a}:{port}")) }
    });
    page.line(format_args!("listen = [{}]", listen.collect::<Vec<_>>().join(", ")));
    true
}

fn groups(gobgp: &Gobgp) -> Vec<(String, Table)> {
    let Some(Key { value: Value::Tables(tables), .. }) = gobgp.root.get("peer-groups") else {
        return Vec::new();
    };
    tables.iter().filter_map(|t| Some((t.get("peer-group-name")?.text(), t.clone()))).collect()
}

fn neighbours(gobgp: &mut Gobgp, own: &[IpAddr], page: &mut Page) {
    let groups = groups(gobgp);
    let asn = gobgp.asn();
    let mut seen: Vec<String> = Vec::new();
    let mut clusters: Vec<Key> = Vec::new();
    for mut table in gobgp.root.take_tables("neighbors") {
        let place = gobgp.place(table.line);
        let mut why_not = None;
        if let Some(group) = table.take("peer-group").map(|key| key.text()).filter(|name| !name.is_empty()) {
            match groups.iter().find(|(name, _)| *name == group) {
                Some((_, group)) => table.inherit(group),
                None => why_not = Some(format!("there is no peer-group {group}")),
            }
        }
        let address = table.take("neighbor-address").map(|key| key.text()).unwrap_or_default();
        let parsed: Option<IpAddr> = address.parse().ok();
        why_not = why_not.or_else(|| match parsed {
            None if address.is_empty() => {
                Some("it has no address: unnumbered neighbours are not supported".to_owned())
            }
            None => Some(format!("{address} is no IP address of a routed host")),
            Some(ip) if own.contains(&ip) => Some(format!("{address} is our own address")),
            Some(ip) if seen.contains(&ip.to_string()) => Some(format!("{address} is there already")),
            Some(_) => unusable(&mut table, asn),
        });
        page.empty();
        if let Some(why) = &why_not {
            page.lost(&place, &format!("the neighbour {address} is not carried over: {why}"));
            page.mute(true);
        } else if let Some(ip) = parsed {
            seen.push(ip.to_string());
        }
        page.line(format_args!("[[bgp.neighbor]] # {place}"));
        page.text("address", &address);
        options(&mut table, asn, page);
        connection(&mut table, page);
        clusters.extend(table.take("route-reflector.route-reflector-cluster-id"));
        let name = gobgp.name.clone();
        page.mute(false);
        if why_not.is_none() {
            left_out(&name, &table.keys, page);
        }
    }
    if let Some(first) = clusters.first() {
        cluster(gobgp, first, &clusters, page);
    }
}

/// Why no session like this one can be had, if so. Families and the switches that turn it off are looked at here.
fn unusable(table: &mut Table, asn: Option<u32>) -> Option<String> {
    let evpn = families(table);
    let down = table.take_flag("admin-down");
    let local =
        table.take("local-as").and_then(|key| key.number::<u32>()).filter(|n| *n != 0 && Some(*n) != asn);
    if !evpn {
        Some(format!("it has no afi-safi \"{EVPN}\", and EVPN is all that evpnd speaks"))
    } else if down {
        Some("it is shut down (admin-down)".to_owned())
    } else if let Some(local) = local {
        Some(format!("it knows us as AS {local} (local-as), and evpnd has one AS for all"))
    } else if table.get("peer-as").is_none() {
        Some("it has no peer-as".to_owned())
    } else {
        None
    }
}

/// Takes the address families; what remains of EVPN's own options becomes the neighbour's.
fn families(table: &mut Table) -> bool {
    let mut evpn = false;
    for mut family in table.take_tables("afi-safis") {
        let name = family.take("afi-safi-name").map(|key| key.text()).unwrap_or_default();
        let enabled = family.take("enabled").is_none_or(|key| key.is_true());
        if name == EVPN && enabled {
            evpn = true;
            table.keys.append(&mut family.keys);
        } else if enabled {
            table.keys.push(Key {
                path: format!("afi-safis ({name})"),
                line: family.line,
                value: Value::Text(name),
            });
        }
    }
    evpn
}

/// What neighbours and ranges share.
fn options(table: &mut Table, asn: Option<u32>, page: &mut Page) {
    let remote: Option<u32> = table.take("peer-as").and_then(|key| key.number());
    match remote {
        Some(0) | None => page.text("remote-asn", "external"),
        Some(number) => page.line(format_args!("remote-asn = {number}")),
    }
    let internal = remote.is_some() && remote == asn;
    if table.take_flag("ebgp-multihop.enabled") && !internal {
        let ttl = table.get("ebgp-multihop.multihop-ttl").and_then(Key::number).filter(|n| *n != 0_u8);
        page.line(format_args!("multihop = {}", ttl.unwrap_or(255)));
    }
    table.take("ebgp-multihop.multihop-ttl");
    if table.take_flag("ttl-security.enabled") {
        let least = table.get("ttl-security.ttl-min").and_then(Key::number).filter(|n| *n != 0_u8);
        page.line(format_args!("ttl-security = {}", 256 - u16::from(least.unwrap_or(255))));
    }
    table.take("ttl-security.ttl-min");
    if let Some(key) = table.take("auth-password").filter(|key| !key.text().is_empty()) {
        page.text("password", &key.text());
    }
    if let Some(seconds) = table.take("timers.hold-time").and_then(|key| key.number::<u32>()) {
        page.line(format_args!("hold-time = {seconds}"));
    }
    if internal && table.take_flag("route-reflector.route-reflector-client") {
        page.line("route-reflector-client = true");
    }
    for limit in ["prefix-limit.max-prefixes", "prefix-limit.maxprefixes"] {
        if let Some(max) = table.take(limit).and_then(|key| key.number::<u32>()).filter(|n| *n != 0) {
            page.line(format_args!("max-routes = {max}"));
        }
    }
    if let Some(key) = table.take("description").filter(|key| !key.text().is_empty()) {
        let mut line: String = key.text().split_whitespace().collect::<Vec<_>>().join(" ");
        while line.len() > MAX_DESCRIPTION {
            line.pop();
        }
        page.text("description", &line);
    }
}

/// How the session is set up.
fn connection(table: &mut Table, page: &mut Page) {
    let local = table.take("transport.local-address").map(|key| key.text());
    if let Some(local) = local.filter(|text| text.parse().is_ok_and(|ip: IpAddr| !ip.is_unspecified())) {
        page.text("local-address", &local);
    }
    let port = table.take("transport.remote-port").and_then(|key| key.number::<u16>());
    if let Some(port) = port.filter(|port| ![0, BGP_PORT].contains(port)) {
        page.line(format_args!("port = {port}"));
    }
    if table.take_flag("transport.passive-mode") {
        page.line("passive = true");
    }
}

/// gobgpd has a cluster id for each neighbour, evpnd one for the node.
fn cluster(gobgp: &Gobgp, first: &Key, all: &[Key], page: &mut Page) {
    let text = first.text();
    let id = text.parse::<Ipv4Addr>().ok().or_else(|| text.parse::<u32>().ok().map(Ipv4Addr::from));
    let place = gobgp.place(first.line);
    let Some(id) = id else {
        page.lost(
            place,
            &format!("route-reflector-cluster-id \"{text}\" is neither an address nor a number"),
        );
        return;
    };
    // [bgp] is behind us in the text; its key goes there all the same.
    let key = format!("[bgp]\ncluster-id = \"{id}\"\n");
    page.text = page.text.replacen("[bgp]\n", &key, 1);
    if let Some(other) = all.iter().find(|key| key.text() != text) {
        page.lost(
            gobgp.place(other.line),
            &format!(
                "route-reflector-cluster-id {}: one cluster for all neighbours, bgp.cluster-id = {id}",
                other.text()
            ),
        );
    }
}

fn dynamic(gobgp: &mut Gobgp, listens: bool, page: &mut Page) {
    let groups = groups(gobgp);
    let asn = gobgp.asn();
    for mut table in gobgp.root.take_tables("dynamic-neighbors") {
        let place = gobgp.place(table.line);
        let prefix = table.take("prefix").map(|key| key.text()).unwrap_or_default();
        let group = table.take("peer-group").map(|key| key.text()).unwrap_or_default();
        let group = groups.iter().find(|(name, _)| *name == group);
        if let Some((_, group)) = group {
            table.inherit(group);
        }
        let evpn = families(&mut table);
        let local = table.take("local-as").and_then(|key| key.number::<u32>());
        let why_not = if group.is_none() {
            Some("its peer-group is not there")
        } else if !evpn {
            Some("its peer-group has no afi-safi \"l2vpn-evpn\", and EVPN is all that evpnd speaks")
        } else if local.is_some_and(|n| n != 0 && Some(n) != asn) {
            Some("it knows us as another AS (local-as), and evpnd has one AS for all")
        } else if !listens {
            Some("nobody can connect while it does not listen (port = -1)")
        } else {
            None
        };
        page.empty();
        if let Some(why) = why_not {
            page.lost(&place, &format!("the range {prefix} is not carried over: {why}"));
            page.mute(true);
        }
        let range = prefix.parse::<IpNet>().map_or(prefix, |net| net.trunc().to_string());
        page.line(format_args!("[[bgp.dynamic-neighbor]] # {place}"));
        page.text("range", &range);
        options(&mut table, asn, page);
        page.mute(false);
        // Its members connect to us from wherever they like.
        for key in ["transport.local-address", "transport.remote-port", "transport.passive-mode"] {
            table.take(key);
        }
        table.take("route-reflector.route-reflector-cluster-id");
        let name = gobgp.name.clone();
        if why_not.is_none() {
            left_out(&name, &table.keys, page);
        }
    }
    gobgp.root.take("peer-groups");
}

/// Tells of what is left of a table: one remark for each reason.
fn left_out(name: &str, keys: &[Key], page: &mut Page) {
    let off = |path: &str, keys: &[Key]| {
        // `[neighbors.graceful-restart.config] enabled = false`: nothing of it was in use.
        path.split_once('.').is_some_and(|(head, _)| {
            let switch = format!("{head}.enabled");
            keys.iter().any(|key| key.path == switch && key.value == Value::Flag(false))
        })
    };
    let mut told: Vec<&str> = Vec::new();
    for key in keys {
        let path = key.path.strip_prefix("global.").unwrap_or(&key.path);
        if key.value == Value::Flag(false) || off(&key.path, keys) || path == "peer-group-name" {
            continue;
        }
        let starts = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ' ']))
        };
        let place = Place(name, key.line);
        let Some((prefix, missed, why)) = LEFT_OUT.iter().find(|(prefix, ..)| starts(prefix)) else {
            page.lost(place, &format!("{path} is not carried over: it is not known here"));
            continue;
        };
        if told.contains(prefix) {
            continue;
        }
        told.push(prefix);
        let shown = if *prefix == "afi-safis" { path } else { prefix };
        match missed {
            Missed::Yes => page.lost(place, &format!("{shown} is not carried over: {why}")),
            Missed::No => page.needless(place, &format!("{shown}: not needed: {why}")),
        }
    }
}
