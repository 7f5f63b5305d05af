//! `[[bgp.neighbor]]` and `[[bgp.dynamic-neighbor]]`: the neighbours and their options.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use super::error::io_text;
use super::parse::{asn, is_host, or};
use super::read::{Section, Value};
use super::{BGP_PORT, DynamicNeighbor, Hops, Neighbor, Password, PeerOptions, RemoteAsn};

/// So many neighbours from one range, unless it says otherwise.
const MAX_PEERS: u32 = 1024;
const MAX_DESCRIPTION: usize = 255;

/// What the options of a neighbour depend on.
pub(super) struct Context<'a> {
    pub(super) asn: u32,
    pub(super) vtep: Option<IpAddr>,
    pub(super) router_id: Option<IpAddr>,
    pub(super) hold_time: u16,
    /// What relative paths are relative to.
    pub(super) dir: &'a Path,
    /// Somebody can connect to us.
    pub(super) listens: bool,
}

/// `hold-time`: none, or long enough to be kept (RFC 4271 §4.2).
pub(super) fn hold_time(value: &Value<'_>) -> Option<u16> {
    match value.integer(0..=65535)? {
        n @ (1 | 2) => value.bad(format!("expected 0 (none) or a number from 3 to 65535, found {n}")),
        n => Some(n),
    }
}

pub(super) fn neighbors(sections: Vec<Section<'_>>, context: &Context<'_>) -> Option<Vec<Neighbor>> {
    let mut seen: Vec<(IpAddr, usize)> = Vec::new();
    let neighbors: Vec<_> = sections.into_iter().map(|s| neighbor(s, context, &mut seen)).collect();
    neighbors.into_iter().collect()
}

fn neighbor(mut s: Section<'_>, context: &Context<'_>, seen: &mut Vec<(IpAddr, usize)>) -> Option<Neighbor> {
    let address = s.required("address", "required: the neighbour's IP address", |value| {
        let address = address(value, context)?;
        if let Some((_, line)) = seen.iter().find(|(other, _)| *other == address) {
            return value.bad(format!("{address} is a neighbour already, in line {line}"));
        }
        seen.push((address, value.line()));
        Some(address)
    });
    let options = options(&mut s, context);
    let local_address = or(s.get("local-address"), None, |value| {
        let local: IpAddr = value.parse_as("an IP address like 10.0.0.1")?;
        match address {
            _ if !is_host(local) => value.bad("must be the address of one host"),
            Some(address) if address.is_ipv4() != local.is_ipv4() => {
                value.bad(format!("must be of the same family as the neighbour's, {address}"))
            }
            Some(address) if address == local => value.bad("is the neighbour's address"),
            _ => Some(Some(local)),
        }
    });
    let port = or(s.get("port"), BGP_PORT, |value| value.integer(1..=65535));
    let passive = or(s.get("passive"), false, |value| {
        let passive = value.boolean()?;
        if passive && !context.listens {
            return value.bad("nobody can connect with listen = [] in [bgp]: listen, or connect to it");
        }
        Some(passive)
    });
    s.finish();
    Some(Neighbor {
        address: address?,
        local_address: local_address?,
        port: port?,
        passive: passive?,
        options: options?,
    })
}

fn address(value: &Value<'_>, context: &Context<'_>) -> Option<IpAddr> {
    let address: IpAddr = value.parse_as("an IP address like 10.0.0.10")?;
    if !is_host(address) {
        return value.bad("must be the address of one host");
    }
    if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        return value.bad("link-local addresses are not in this version yet; use a routed one");
    }
    for (own, key) in [(context.vtep, "dataplane.vtep"), (context.router_id, "router.router-id")] {
        if own == Some(address) {
            return value.bad(format!("is our own address ({key}); give the neighbour's"));
        }
    }
    Some(address)
}

pub(super) fn dynamic_neighbors(
    sections: Vec<Section<'_>>,
    context: &Context<'_>,
) -> Option<Vec<DynamicNeighbor>> {
    let mut seen: Vec<(IpNet, usize)> = Vec::new();
    let all: Vec<_> = sections.into_iter().map(|s| dynamic_neighbor(s, context, &mut seen)).collect();
    let mut all: Vec<_> = all.into_iter().collect::<Option<_>>()?;
    // The first that contains an address is the one that fits it best.
    all.sort_by_key(|d: &DynamicNeighbor| (std::cmp::Reverse(d.range.prefix_len()), d.range));
    Some(all)
}

fn dynamic_neighbor(
    mut s: Section<'_>,
    context: &Context<'_>,
    seen: &mut Vec<(IpNet, usize)>,
) -> Option<DynamicNeighbor> {
    if !context.listens {
        s.problem("nobody can connect with listen = [] in [bgp]: listen, or remove it");
    }
    let range = s.required("range", "required: whom to accept, say range = \"10.0.0.0/24\"", |value| {
        let range: IpNet = value.parse_as("a range like 10.0.0.0/24")?;
        if range.trunc() != range {
            return value.bad(format!("has host bits set; did you mean {}?", range.trunc()));
        }
        if let Some((_, line)) = seen.iter().find(|(other, _)| *other == range) {
            return value.bad(format!("{range} is there already, in line {line}"));
        }
        seen.push((range, value.line()));
        Some(range)
    });
    let options = options(&mut s, context);
    let max_peers = or(s.get("max-peers"), MAX_PEERS, |value| value.integer(1..=65535));
    s.finish();
    Some(DynamicNeighbor { range: range?, max_peers: max_peers?, options: options? })
}

fn options(s: &mut Section<'_>, context: &Context<'_>) -> Option<PeerOptions> {
    let required = "required: its AS number, \"external\" or \"internal\"";
    let remote_asn = s.required("remote-asn", required, remote_asn);
    let multihop = s.get("multihop");
    let ttl_security = s.get("ttl-security");
    let hops = match (&multihop, &ttl_security) {
        (Some(_), Some(ttl_security)) => ttl_security.bad(
            "cannot go with multihop: ttl-security = N says itself that the neighbour is up to N hops away",
        ),
        (Some(multihop), None) => multihop.integer(1..=255).map(Hops::Multihop),
        (None, Some(ttl_security)) => ttl_security.integer(1..=254).map(Hops::TtlSecurity),
        (None, None) => Some(Hops::Default),
    };
    let password = match (s.get("password"), s.get("password-file")) {
        (Some(_), Some(file)) => file.bad("cannot go with password: give one of the two"),
        (Some(value), None) => value.string().and_then(|text| password(&value, text.as_bytes()).map(Some)),
        (None, Some(value)) => password_file(&value, context.dir).map(Some),
        (None, None) => Some(None),
    };
    let hold_time = or(s.get("hold-time"), context.hold_time, hold_time);
    let route_reflector_client = or(s.get("route-reflector-client"), false, |value| {
        let external = match remote_asn {
            Some(RemoteAsn::External) => true,
            Some(RemoteAsn::Number(asn)) => asn != context.asn,
            _ => false,
        };
        let client = value.boolean()?;
        if client && external {
            return value.bad("only an internal neighbour can be a client: remote-asn = \"internal\"");
        }
        Some(client)
    });
    let max_routes = or(s.get("max-routes"), None, |value| {
        value.integer(1..=u64::from(u32::MAX)).map(std::num::NonZero::new)
    });
    let description = or(s.get("description"), None, |value| {
        let text = value.string()?;
        if text.len() > MAX_DESCRIPTION || text.contains(char::is_control) {
            return value.bad(format!("expected one line of at most {MAX_DESCRIPTION} octets"));
        }
        Some(Some(text.to_owned()))
    });
    let strict = or(s.get("strict"), false, Value::boolean);
    Some(PeerOptions {
        remote_asn: remote_asn?,
        hops: hops?,
        password: password?,
        hold_time: hold_time?,
        route_reflector_client: route_reflector_client?,
        max_routes: max_routes?,
        description: description?,
        strict: strict?,
    })
}

fn remote_asn(value: &Value<'_>) -> Option<RemoteAsn> {
    match value.text() {
        Some("external") => Some(RemoteAsn::External),
        Some("internal") => Some(RemoteAsn::Internal),
        None if value.is_integer() => asn(value).map(RemoteAsn::Number),
        _ => value.bad("expected an AS number, \"external\" or \"internal\""),
    }
}

fn password(value: &Value<'_>, secret: &[u8]) -> Option<Password> {
    Password::new(secret).or_else(|| match secret.len() {
        0 => value.bad("is empty"),
        n => value.bad(format!("too long: TCP-MD5 takes at most {} octets, this has {n}", Password::MAX)),
    })
}

/// The first line of a file; a systemd credential, for one.
fn password_file(value: &Value<'_>, dir: &Path) -> Option<Password> {
    let path = dir.join(value.string()?);
    let mut secret = Vec::new();
    // More than fits is only read to be refused; a device would never end.
    let read = File::open(&path).and_then(|file| file.take(4096).read_to_end(&mut secret));
    match read {
        Ok(_) => password(value, secret.trim_ascii_end()),
        Err(error) => value.bad(format!("{} cannot be read: {}", path.display(), io_text(&error))),
    }
}
