//! `[[l2vni]]`: the MAC-VRFs, with their route targets and route distinguishers.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use bgp::wire::community::RouteTarget;
use bgp::wire::rd::Rd;
use types::Vni;

use super::parse::{interface_name, or};
use super::read::{Section, Value};
use super::{ImportRt, L2Vni, auto_rt};

/// The highest VLAN (IEEE 802.1Q: 4095 is reserved).
pub(super) const MAX_VLAN: u16 = 4094;

/// What no two VNIs may have, and in which line one has it.
#[derive(Default)]
struct Seen {
    vnis: HashMap<Vni, usize>,
    rds: HashMap<Rd, (Vni, usize)>,
    interfaces: HashMap<String, (Vni, usize)>,
    vlans: HashMap<u16, (Vni, usize)>,
}

/// Reads all VNIs; in order of VNI, each with its route distinguisher.
pub(super) fn l2vnis(sections: Vec<Section<'_>>, asn: u32, router_id: Ipv4Addr) -> Option<Vec<L2Vni>> {
    let mut seen = Seen::default();
    let all: Vec<_> = sections.into_iter().map(|s| l2vni(s, asn, &mut seen)).collect();
    let all: Vec<_> = all.into_iter().collect::<Option<_>>()?;
    let mut rds: BTreeMap<Vni, Option<Rd>> = all.iter().map(|(l2vni, rd)| (l2vni.vni, *rd)).collect();
    assign_rds(&mut rds, router_id);
    let mut l2vnis: Vec<_> = all
        .into_iter()
        .filter_map(|(l2vni, _)| {
            let rd = rds.get(&l2vni.vni).copied().flatten()?;
            Some(L2Vni { rd, ..l2vni })
        })
        .collect();
    l2vnis.sort_by_key(|l2vni| l2vni.vni);
    Some(l2vnis)
}

/// Gives each VNI without a route distinguisher `router-id:N`: N is the VNI where it fits 16 bits, else the first that
/// is free from its lower 16 bits on. The same configuration always yields the same.
fn assign_rds(rds: &mut BTreeMap<Vni, Option<Rd>>, router_id: Ipv4Addr) {
    let mut taken: std::collections::HashSet<Rd> = rds.values().filter_map(|rd| *rd).collect();
    for (vni, rd) in rds.iter_mut().filter(|(_, rd)| rd.is_none()) {
        let wanted = (vni.get() & 0xffff) as u16;
        let candidates = (0..=u16::MAX).map(|i| wanted.wrapping_add(i)).filter(|n| *n != 0);
        *rd = candidates.map(|n| Rd::from_ip(router_id, n)).find(|rd| taken.insert(*rd));
    }
}

/// One VNI, and the route distinguisher it asks for.
fn l2vni(mut s: Section<'_>, asn: u32, seen: &mut Seen) -> Option<(L2Vni, Option<Rd>)> {
    let vni = s.required("vni", "required: a number from 1 to 16777215", |value| {
        let vni = Vni::new(value.integer(1..=u64::from(Vni::MAX.get()))?)?;
        if let Some(line) = seen.vnis.get(&vni) {
            return value.bad(format!("VNI {vni} is there already, in line {line}"));
        }
        seen.vnis.insert(vni, value.line());
        Some(vni)
    });
    // Stands for a VNI that is wrong, to find what else is; nothing of it is used.
    let number = vni.unwrap_or(Vni::ZERO);
    let import_rt = or(s.get("import-rt"), vec![ImportRt::Auto], |value| route_targets(value, import_rt));
    let export_rt = or(s.get("export-rt"), vec![auto_rt(asn, number)], |value| {
        route_targets(value, |item| export_rt(item, asn, number))
    });
    let rd = or(s.get("rd"), None, |value| {
        let rd: Rd = value.parse()?;
        if let Some((other, line)) = seen.rds.get(&rd) {
            return value.bad(format!("is the one of VNI {other} already, in line {line}"));
        }
        seen.rds.insert(rd, (number, value.line()));
        Some(Some(rd))
    });
    let interfaces = or(s.get("interfaces"), Vec::new(), |value| interfaces(value, number, seen));
    let vlan = or(s.get("vlan"), None, |value| {
        let vlan = value.integer(1..=u64::from(MAX_VLAN))?;
        if let Some((other, line)) = seen.vlans.get(&vlan) {
            return value.bad(format!("VLAN {vlan} is the one of VNI {other} already, in line {line}"));
        }
        seen.vlans.insert(vlan, (number, value.line()));
        Some(Some(vlan))
    });
    let flood =
        or(s.get("flood"), true, |value| value.choice(&[("ingress-replication", true), ("off", false)]));
    let advertise_macs = or(s.get("advertise-macs"), true, Value::boolean);
    let arp_suppression = or(s.get("arp-suppression"), true, Value::boolean);
    s.finish();
    let l2vni = L2Vni {
        vni: vni?,
        import_rt: import_rt?,
        export_rt: export_rt?,
        rd: Rd::default(),
        interfaces: interfaces?,
        vlan: vlan?,
        flood: flood?,
        advertise_macs: advertise_macs?,
        arp_suppression: arp_suppression?,
    };
    Some((l2vni, rd?))
}

/// One route target or a list of them, each once.
fn route_targets<T: PartialEq>(
    value: &Value<'_>,
    mut read: impl FnMut(&Value<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    if value.text().is_some() {
        return read(value).map(|rt| vec![rt]);
    }
    let items = value.list()?;
    if items.is_empty() {
        return value.bad("is empty: give at least one, or remove it for \"auto\"");
    }
    let all: Vec<_> = items.iter().map(read).collect();
    let mut unique = Vec::with_capacity(all.len());
    for rt in all {
        let rt = rt?;
        if !unique.contains(&rt) {
            unique.push(rt);
        }
    }
    Some(unique)
}

fn import_rt(value: &Value<'_>) -> Option<ImportRt> {
    let text = value.string()?;
    text.parse().ok().or_else(|| {
        value.bad(format!(
            "expected a route target like 65000:100, 10.0.0.1:100 or 4200000000:100, \"*:100\" (any AS) or \"auto\", \
             found \"{text}\""
        ))
    })
}

fn export_rt(value: &Value<'_>, asn: u32, vni: Vni) -> Option<RouteTarget> {
    match value.string()? {
        "auto" => Some(auto_rt(asn, vni)),
        text if text.starts_with("*:") => {
            value.bad("a route target that is sent needs an AS: 65000:100; \"*\" is for import-rt")
        }
        text => text.parse().ok().or_else(|| {
            value.bad(format!(
                "expected a route target like 65000:100, 10.0.0.1:100 or 4200000000:100, or \"auto\", found \"{text}\""
            ))
        }),
    }
}

fn interfaces(value: &Value<'_>, vni: Vni, seen: &mut Seen) -> Option<Vec<String>> {
    let mut read = |item: &Value<'_>| {
        let name = interface_name(item)?;
        if let Some((other, line)) = seen.interfaces.get(&name) {
            let message =
                format!("{name} is attached to VNI {other} already, in line {line}; it can be in one");
            return item.bad(message);
        }
        seen.interfaces.insert(name.clone(), (vni, item.line()));
        Some(name)
    };
    let all: Vec<_> = value.list()?.iter().map(&mut read).collect();
    all.into_iter().collect()
}
