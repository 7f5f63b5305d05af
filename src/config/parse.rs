//! The document and its plain sections: `[router]`, `[bgp]`, `[control]`; types, ranges, defaults, and
//! what must agree between them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::dataplane::{clients, dataplane};
use super::error::ConfigErrors;
use super::peer::{Context, dynamic_neighbors, hold_time, neighbors};
use super::read::{Document, Section, Value};
use super::vni::l2vnis;
use super::{BGP_PORT, Bgp, Config, Control, DEFAULT_SOCKET, Dataplane, DynamicNeighbor, Neighbor, Router};
use crate::evpn::DuplicateDetection;

/// AS_TRANS (RFC 6793): stands for a four-octet AS number towards those who know only two, and is nobody's own.
const AS_TRANS: u32 = 23456;
/// The hold time we propose (RFC 4271 §10).
const HOLD_TIME: u16 = 90;
/// Seconds between two attempts to connect. RFC 4271 §10 suggests 120; hosts come back faster than that.
const CONNECT_RETRY: u64 = 5;
/// The longest name of a network device in Linux (IFNAMSIZ without its zero).
pub(super) const MAX_INTERFACE_NAME: usize = 15;

pub(super) fn config(text: &str, name: &str, dir: &Path) -> Result<Config, ConfigErrors> {
    let document = Document::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        document.problem(error.span(), "", error.message());
    }
    // What is left of a document that is no TOML would only bring problems that are none.
    let config = if errors.is_empty() { root(&document, table.get_ref(), dir) } else { None };
    let problems = document.into_problems();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(ConfigErrors::new(name, problems)),
    }
}

/// The value of an optional key: what it says, its default, or `None` where it says something wrong.
pub(super) fn or<'a, T>(
    value: Option<Value<'a>>,
    default: T,
    read: impl FnOnce(&Value<'a>) -> Option<T>,
) -> Option<T> {
    match value {
        Some(value) => read(&value),
        None => Some(default),
    }
}

/// Reads every section, also after one that is wrong: all problems in one go.
fn root<'a>(document: &'a Document<'a>, table: &'a DeTable<'a>, dir: &Path) -> Option<Config> {
    let mut root = Section::root(document, table);
    let router = root.section("router");
    let bgp = root.section("bgp");
    let dataplane_section = root.section("dataplane");
    let l2vni = root.sections("l2vni");
    let duplicate_macs = root.section("duplicate-macs");
    root.not_yet("l3vni");
    let clients_section = root.section("clients");
    let control = root.section("control");
    root.finish();

    let dataplane = dataplane(dataplane_section, &l2vni);
    let vtep = dataplane.as_ref().and_then(Dataplane::vtep);
    let router = read_router(router, vtep, dataplane.is_some());
    // With an AS number or router id that is wrong, the rest is still read; nothing of it is used.
    let (asn, router_id) = router.map_or((1, None), |r| (r.asn, Some(r.router_id)));
    let clients = clients(clients_section, dataplane.as_ref(), dir, asn);
    let bgp = read_bgp(bgp, asn, router_id, vtep, dir);
    let l2vnis = l2vnis(l2vni, asn, router_id.unwrap_or(Ipv4Addr::UNSPECIFIED));
    let duplicate_macs = read_duplicate_macs(duplicate_macs);
    let control = read_control(control);
    let (router, bgp, dataplane, l2vnis) = (router?, bgp?, dataplane?, l2vnis?);
    let (duplicate_macs, control) = (duplicate_macs?, control?);
    Some(Config { router, bgp, dataplane, l2vnis, clients, duplicate_macs, control })
}

fn read_router(mut s: Section<'_>, vtep: Option<IpAddr>, vtep_is_known: bool) -> Option<Router> {
    let asn = s.required("asn", "required: our AS number, say asn = 65001", asn);
    let router_id = match (s.get("router-id"), vtep) {
        (Some(value), _) => value.parse_as("an IPv4 address like 10.0.0.1").and_then(|id: Ipv4Addr| {
            if id.is_unspecified() { value.bad("must not be 0.0.0.0 (RFC 6286)") } else { Some(id) }
        }),
        (None, Some(IpAddr::V4(vtep))) => Some(vtep),
        (None, _) => {
            if vtep_is_known {
                s.missing("router-id", "required, since there is no IPv4 dataplane.vtep to take it from");
            }
            None
        }
    };
    s.finish();
    Some(Router { asn: asn?, router_id: router_id? })
}

/// An AS number that somebody can have.
pub(super) fn asn(value: &Value<'_>) -> Option<u32> {
    let asn = value.integer(1..=u64::from(u32::MAX))?;
    if asn == AS_TRANS { value.bad("23456 is reserved (AS_TRANS, RFC 6793)") } else { Some(asn) }
}

fn read_bgp(
    mut s: Section<'_>,
    asn: u32,
    router_id: Option<Ipv4Addr>,
    vtep: Option<IpAddr>,
    dir: &Path,
) -> Option<Bgp> {
    let listen = s.get("listen").map(|value| listen(&value));
    let hold_time = or(s.get("hold-time"), HOLD_TIME, hold_time);
    let cluster_id = or(s.get("cluster-id"), router_id.unwrap_or(Ipv4Addr::UNSPECIFIED), |value| {
        value.parse_as("an IPv4 address like 10.0.0.1")
    });
    let connect_retry = or(s.get("connect-retry"), CONNECT_RETRY, |value| value.integer(1..=3600));
    let context = Context {
        asn,
        vtep,
        router_id: router_id.map(IpAddr::V4),
        hold_time: hold_time.unwrap_or(HOLD_TIME),
        dir,
        listens: !matches!(&listen, Some(Some(addresses)) if addresses.is_empty()),
    };
    let neighbors = neighbors(s.sections("neighbor"), &context);
    let dynamic_neighbors = dynamic_neighbors(s.sections("dynamic-neighbor"), &context);
    s.finish();
    let (neighbors, dynamic_neighbors) = (neighbors?, dynamic_neighbors?);
    Some(Bgp {
        listen: listen.unwrap_or_else(|| Some(default_listen(&neighbors, &dynamic_neighbors)))?,
        hold_time: hold_time?,
        cluster_id: cluster_id?,
        connect_retry: Duration::from_secs(connect_retry?),
        neighbors,
        dynamic_neighbors,
    })
}

fn listen(value: &Value<'_>) -> Option<Vec<SocketAddr>> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let mut all_good = true;
    for item in value.list()? {
        match item.parse_as::<SocketAddr>("an address and a port like 0.0.0.0:179 or [::]:179") {
            Some(address) if addresses.contains(&address) => item.problem("given twice"),
            Some(address) => addresses.push(address),
            None => all_good = false,
        }
    }
    all_good.then_some(addresses)
}

/// IPv4 always; IPv6 where somebody could come that way: not every host has it.
fn default_listen(neighbors: &[Neighbor], dynamic: &[DynamicNeighbor]) -> Vec<SocketAddr> {
    let v6 =
        neighbors.iter().any(|n| n.address.is_ipv6()) || dynamic.iter().any(|d| d.range.addr().is_ipv6());
    let mut listen = vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, BGP_PORT))];
    listen.extend(v6.then(|| SocketAddr::from((Ipv6Addr::UNSPECIFIED, BGP_PORT))));
    listen
}

/// `[duplicate-macs]`: RFC 7432 §15.1, whose N and M are the defaults.
fn read_duplicate_macs(mut s: Section<'_>) -> Option<DuplicateDetection> {
    let default = DuplicateDetection::default();
    let moves = or(s.get("moves"), default.moves, |value| value.integer(0..=1000));
    let window =
        or(s.get("window"), default.window, |value| value.integer(1..=86_400).map(Duration::from_secs));
    let recover_after = or(s.get("recover-after"), default.recover_after, |value| {
        value.integer(0..=604_800).map(|s: u64| (s > 0).then(|| Duration::from_secs(s)))
    });
    s.finish();
    Some(DuplicateDetection { moves: moves?, window: window?, recover_after: recover_after? })
}

fn read_control(mut s: Section<'_>) -> Option<Control> {
    let socket = or(s.get("socket"), PathBuf::from(DEFAULT_SOCKET), |value| {
        let path = value.string()?;
        // sun_path has 108 octets, one of them the zero at the end.
        match path.len() {
            0 => value.bad("expected a path like /run/evpnd/evpnd.sock"),
            1..=107 => Some(PathBuf::from(path)),
            n => value.bad(format!("too long: the path of a socket has at most 107 octets, this one {n}")),
        }
    });
    s.not_yet("http");
    s.finish();
    Some(Control { socket: socket? })
}

/// The name of a network device, as Linux allows it.
pub(super) fn interface_name(value: &Value<'_>) -> Option<String> {
    let name = value.string()?;
    match check_interface_name(name) {
        Ok(()) => Some(name.to_owned()),
        Err(reason) => value.bad(reason),
    }
}

/// Why this cannot be the name of a network device.
pub(crate) fn check_interface_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name == "." || name == ".." {
        return Err("expected the name of a network device".to_owned());
    }
    if let Some(bad) = name.chars().find(|c| c.is_whitespace() || c.is_control() || "/:".contains(*c)) {
        return Err(format!("{bad:?} cannot be in the name of a network device"));
    }
    if name.len() > MAX_INTERFACE_NAME {
        let length = name.len();
        return Err(format!(
            "too long: the name of a device has at most {MAX_INTERFACE_NAME} characters, this one {length}"
        ));
    }
    Ok(())
}

/// The address of one host, that is: not of none, many or all.
pub(crate) fn is_host(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}
