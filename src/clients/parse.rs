//! One client file: its fields, their ranges, and what must agree between them. Pure.
//!
//! The fields are those of evpn-connector, whose files are taken as they are; what is new is `interface`, `anti_spoof`, lists
//! of addresses, IPv6, and all forms of a route target. `docs/clients.md` describes them.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use bgp::wire::RouteTarget;
use dataplane::intent::{Client, Port, Service};
use ipnet::IpNet;
use types::{MacAddr, Vni};

use super::Ases;
use super::json::{Document, Object, Value};
use crate::config::{ImportRt, Problem, auto_rt, check_interface_name, is_host};
use crate::evpn::ClientConfig;

/// What a file comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    /// The client, unless there are errors.
    pub(super) config: Result<ClientConfig, Vec<Problem>>,
    /// What is taken, and perhaps not as somebody hoped.
    pub(super) warnings: Vec<Problem>,
}

impl Parsed {
    /// Not even a text.
    pub(super) fn broken(reason: String) -> Self {
        Self { config: Err(vec![Problem::new("", None, String::new(), reason)]), warnings: Vec::new() }
    }
}

/// Reads the client called `name`.
pub(super) fn client(name: &Arc<str>, text: &str, ases: Ases) -> Parsed {
    let document = Document::new(text.strip_prefix('\u{feff}').unwrap_or(text));
    let config = document.object(|mut object| {
        let config = read(name, &mut object, ases);
        object.finish();
        config
    });
    let (errors, warnings) = document.finish();
    let config = config.filter(|_| errors.is_empty()).ok_or(errors);
    Parsed { config, warnings }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    L2,
    L3,
}

fn read(name: &Arc<str>, object: &mut Object<'_>, ases: Ases) -> Option<ClientConfig> {
    // evpn-connector's oldest files have no type.
    let kind = match object.get("cfg_type") {
        Some(value) => value.parse("\"l2\" or \"l3\"", |text| match text {
            "l2" => Some(Kind::L2),
            "l3" => Some(Kind::L3),
            _ => None,
        }),
        None => Some(Kind::L2),
    };
    let mac = object.required("mac", "the client's MAC like \"36:e7:a5:7e:0c:81\"");
    let mac = mac.and_then(|value| mac_address(&value));
    let ips = object.get("ip");
    let routes = object.get("routes");
    let vni = object.required("vni", "a number from 1 to 16777215");
    let vni = vni.and_then(|value| Vni::new(value.integer(1..=u64::from(Vni::MAX.get()))?));
    let port = port(object);
    let vlan = vlan(object);
    // With a VNI that is wrong the rest is still read; nothing of it is used.
    let number = vni.unwrap_or(Vni::ZERO);
    let import_rt = object.get("imp_rt").map(|value| targets(&value, |item| import(item, ases)));
    let export_rt = object.get("exp_rt").map(|value| targets(&value, |item| export(item, ases, number)));
    let anti_spoof = object.get("anti_spoof").map_or(Some(true), |value| value.boolean());
    if let Some(anycast) = object.get("anycast") {
        warn_of_anycast(&anycast);
    }
    let service = match kind {
        Some(Kind::L2) => {
            if let Some(routes) = routes {
                routes.warn("only of \"cfg_type\": \"l3\": ignored");
            }
            let ips = ips.map_or(Some(Vec::new()), |value| addresses(&value));
            vni.zip(ips).map(|(vni, ips)| Service::L2 { vni, ips })
        }
        Some(Kind::L3) => {
            if let Some(ips) = ips {
                ips.warn(
                    "only of \"cfg_type\": \"l2\": ignored; what is behind an l3 client is in \"routes\"",
                );
            }
            if routes.is_none() {
                object.missing("routes", "a list of prefixes like [\"10.0.0.1/32\"]");
            }
            let prefixes = routes.and_then(|value| prefixes(&value));
            vni.zip(prefixes).map(|(vrf, prefixes)| Service::L3 { vrf, prefixes })
        }
        None => None,
    };
    let client = Client {
        name: Arc::clone(name),
        port: port?,
        vlan: Some(vlan?).filter(|tag| *tag != 0),
        mac: mac?,
        anti_spoof: anti_spoof?,
        service: service?,
    };
    let (import_rt, export_rt) =
        (import_rt.unwrap_or(Some(Vec::new()))?, export_rt.unwrap_or(Some(Vec::new()))?);
    Some(ClientConfig { client, import_rt, export_rt })
}

fn mac_address(value: &Value<'_>) -> Option<MacAddr> {
    let mac: MacAddr = value.parse("a MAC like \"36:e7:a5:7e:0c:81\"", |text| text.parse().ok())?;
    if mac.is_host() { Some(mac) } else { value.bad(format!("{mac} cannot be the MAC of one host")) }
}

/// `ofport` or `interface`: exactly one of them.
fn port(object: &mut Object<'_>) -> Option<Port> {
    match (object.get("ofport"), object.get("interface")) {
        (Some(number), None) => number.integer(1..=65279).map(Port::Number),
        (None, Some(name)) => {
            let text = name.text("the name of a network device like \"tap0\"")?;
            match check_interface_name(text) {
                Ok(()) => Some(Port::Name(text.into())),
                Err(reason) => name.bad(reason),
            }
        }
        (Some(_), Some(interface)) => interface.bad("there is an ofport already: give one of the two"),
        (None, None) => {
            object.missing(
                "ofport",
                "an OpenFlow port number from 1 to 65279, or the name of a port as \"interface\"",
            );
            None
        }
    }
}

/// `type` and `tag`: the tag, or 0 without one.
fn vlan(object: &mut Object<'_>) -> Option<u16> {
    let words = "\"flat\" or \"vlan\"";
    let tagged = match object.get("type") {
        Some(value) => value.parse(words, |text| match text {
            "flat" => Some(false),
            "vlan" => Some(true),
            _ => None,
        }),
        None => Some(false),
    };
    let tag = object.get("tag");
    match (tagged?, tag) {
        (false, None) => Some(0),
        (false, Some(tag)) => {
            // evpn-connector ignores it here, and its files often have one.
            if tag.integer::<u16>(0..=4095)? != 0 {
                tag.warn("ignored: the type is \"flat\"; for a VLAN say \"type\": \"vlan\"");
            }
            Some(0)
        }
        (true, Some(tag)) => tag.integer(1..=4094),
        (true, None) => {
            object.missing("tag", "the VLAN of a client of type \"vlan\": a number from 1 to 4094");
            None
        }
    }
}

/// One address or a list of them; an empty text is none.
fn addresses(value: &Value<'_>) -> Option<Vec<IpAddr>> {
    const EXPECTED: &str = "an IP address like \"10.0.0.1\"";
    let read = |item: &Value<'_>| {
        let text = item.text(EXPECTED)?;
        if text.is_empty() {
            return Some(None);
        }
        // evpn-connector does not look at it, so there may be anything; this has one meaning.
        if let Ok(net) = text.parse::<IpNet>() {
            item.warn(format!("the prefix length is ignored: the address is {}", net.addr()));
        }
        let ip = item.parse(EXPECTED, |text| {
            text.parse().ok().or_else(|| text.parse::<IpNet>().ok().map(|net| net.addr()))
        })?;
        if is_host(ip) { Some(Some(ip)) } else { item.bad(format!("{ip} cannot be the address of one host")) }
    };
    let all: Vec<_> = value.elements().iter().map(read).collect();
    let all: Option<Vec<_>> = all.into_iter().collect();
    Some(unique(all?.into_iter().flatten()))
}

/// One prefix or a list of them; an address alone is its host route.
fn prefixes(value: &Value<'_>) -> Option<Vec<IpNet>> {
    const EXPECTED: &str = "a prefix like \"10.0.0.0/24\"";
    let read = |item: &Value<'_>| {
        let host = |text: &str| text.parse::<IpAddr>().ok().map(IpNet::from);
        let net: IpNet = item.parse(EXPECTED, |text| text.parse().ok().or_else(|| host(text)))?;
        if net == net.trunc() {
            Some(net)
        } else {
            item.bad(format!(
                "{net} has host bits set: did you mean {}, or {}?",
                net.trunc(),
                IpNet::from(net.addr())
            ))
        }
    };
    let items = value.elements();
    if items.is_empty() {
        value.warn("is empty: nothing is announced for this client");
    }
    let all: Vec<_> = items.iter().map(read).collect();
    let all: Option<Vec<_>> = all.into_iter().collect();
    Some(unique(all?))
}

/// One route target or a list of them; none means automatic ones.
fn targets<T: Copy + Eq + Hash>(
    value: &Value<'_>,
    read: impl FnMut(&Value<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let items = value.elements();
    if items.is_empty() {
        value.warn("is empty: taken as \"auto\"");
    }
    let all: Vec<_> = items.iter().map(read).collect();
    let all: Option<Vec<_>> = all.into_iter().collect();
    Some(unique(all?))
}

const TARGET: &str = "a route target like \"65000:10\", \"10.0.0.1:10\", \"4200000000:10\" or \"0:10\" (our AS); the \
                      number has 32 bits behind an AS below 65536, else 16";

fn import(item: &Value<'_>, ases: Ases) -> Option<ImportRt> {
    item.parse(TARGET, |text| match target(text, ases) {
        Some(rt) => Some(ImportRt::Exact(rt)),
        None => text.parse().ok(),
    })
}

fn export(item: &Value<'_>, ases: Ases, vni: Vni) -> Option<RouteTarget> {
    item.parse(TARGET, |text| if text == "auto" { Some(auto_rt(ases.own, vni)) } else { target(text, ases) })
}

/// `ASN:NUM`; AS 0 is ours, or what the configuration says.
fn target(text: &str, ases: Ases) -> Option<RouteTarget> {
    let (admin, number) = text.split_once(':')?;
    if admin.parse() == Ok(0_u32) {
        RouteTarget::new(ases.zero, number.parse().ok()?)
    } else {
        text.parse().ok()
    }
}

fn warn_of_anycast(value: &Value<'_>) {
    for item in value.elements() {
        let (anycast, to) = (item.member("anycast_ip"), item.member("dst_ip"));
        let what = match (anycast, to) {
            (Some(anycast), Some(to)) => format!("{anycast} is neither announced nor translated to {to}"),
            (Some(anycast), None) => format!("{anycast} is neither announced nor translated"),
            _ => "it is ignored".to_owned(),
        };
        item.warn(format!("anycast addresses with health checks are not supported: {what}"));
    }
}

fn unique<T: Copy + Eq + Hash>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    all.into_iter().filter(|item| seen.insert(*item)).collect()
}

#[cfg(test)]
mod tests;
