//! `evpnd lab run` with several overlays: which VLAN each host has for a VNI, who reaches whom and who must not, and a
//! host's forwarding rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use super::args::Layout;
use super::demo::{PATIENCE, Show, round_of_pings, wait_macs};
use super::matrix::{LEGEND, Round};
use super::shape::{Seat, Shape};
use super::topology::{Host, Net, VXLAN};
use super::{Error, Result};

/// Pings, the MACs they teach, and the first host's rows.
pub(super) fn work(show: &Show, net: &Net) -> Result<()> {
    if net.shape.layout == Layout::DevicePerVni {
        Show::detail(&table(net.shape, |_, _| None));
    }
    pings(show, net, true)?;
    show.step("MACs in the FDBs", || wait_macs(net, &[]))?;
    let host = &net.hosts[0];
    let rows = show.step("bridge fdb on h1", || {
        let rows = rows(host)?;
        let says = format!("{} rows with a VTEP", rows.len());
        Ok((rows, says))
    })?;
    Show::detail(&rows[..rows.len().min(40)].join("\n"));
    Ok(())
}

/// Every ping that must work, and every ping that must not; the table of them when something is wrong, and when asked for.
pub(super) fn pings(show: &Show, net: &Net, table: bool) -> Result<()> {
    let (mut matrix, within) = round_of_pings(show, net, "pings in the overlays", Round::Overlays);
    let (other, between) = round_of_pings(show, net, "pings between overlays", Round::Between);
    matrix.join(other);
    let outcome = within.and(between);
    if table || outcome.is_err() {
        Show::detail(&matrix.table(net));
        Show::detail(LEGEND);
    }
    outcome
}

/// Waits until each host has told the VLANs of its VNIs, and sees that its kernel has the same, that those that were
/// configured are, and that a VNI has not everywhere the same.
pub(super) fn vlans(show: &Show, net: &Net) -> Result<()> {
    let all = show.step("VLANs of the VNIs", || {
        let mut all: BTreeMap<(u8, u32), u16> = BTreeMap::new();
        for host in &net.hosts {
            let told = net.lab.wait("VLANs", PATIENCE, || told(host))?;
            for (vni, vlan) in told {
                if net.shape.vlan(host.number, vni).is_some_and(|wanted| wanted != vlan) {
                    let name = host.node.name();
                    return Err(Error::new(format!(
                        "{name}: VNI {vni} is VLAN {vlan}, not the one configured"
                    )));
                }
                all.insert((host.number, vni), vlan);
            }
        }
        let differ = |vni: &u32| {
            let vlans = all.iter().filter(|((_, of), _)| of == vni);
            vlans.map(|(_, vlan)| vlan).collect::<BTreeSet<_>>().len() > 1
        };
        let different = net.shape.vnis().filter(differ).count();
        if different == 0 {
            return Err(Error::new("every VNI has the same VLAN on all hosts"));
        }
        let says =
            format!("{} in all, {different} of {} VNIs with different ones", all.len(), net.shape.overlays);
        Ok((all, says))
    })?;
    Show::detail(&table(net.shape, |host, vni| all.get(&(host, vni)).copied()));
    Ok(())
}

/// The VLANs of a host's VNIs, as evpnd tells them and the kernel has them.
pub(super) fn told(host: &Host) -> Result<BTreeMap<u32, u16>> {
    let name = host.node.name();
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let vlan = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    let mut told = BTreeMap::new();
    for row in host.node.rows("vnis")? {
        let known = number(&row["vni"]).zip(vlan(&row["vlan"]));
        let (vni, vlan) = known.ok_or_else(|| Error::new(format!("{name}: no VLAN yet: {row}")))?;
        told.insert(vni, vlan);
    }
    let text = host.node.run(&["bridge", "-j", "vlan", "tunnelshow", "dev", VXLAN])?;
    let shown: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut kernel = BTreeMap::new();
    for tunnel in shown[0]["tunnels"].as_array().into_iter().flatten() {
        let Some((vni, first)) = number(&tunnel["tunid"]).zip(vlan(&tunnel["vlan"])) else { continue };
        // Neighbours in both are one row.
        let last = vlan(&tunnel["vlanEnd"]).unwrap_or(first);
        kernel.extend((vni..).zip(first..=last));
    }
    if kernel == told {
        Ok(told)
    } else {
        Err(Error::new(format!("{name}: {kernel:?}, not {told:?}: {text}")))
    }
}

/// Who is where: a row for each VNI on each host, with its VLAN if there is one.
fn table(shape: Shape, vlan: impl Fn(u8, u32) -> Option<u16>) -> String {
    let with = shape.layout == Layout::SingleDevice;
    let column = |text: &str| if with { format!("  {text:<16}") } else { String::new() };
    let mut text = format!("VNI    host{}  endpoints", column("VLAN"));
    if shape.hosts > 10 {
        return format!("{} hosts, {} endpoints each", shape.hosts, shape.endpoints);
    }
    for vni in shape.vnis() {
        let mut name = vni.to_string();
        for host in 1..=shape.hosts {
            let seats: Vec<Seat> = shape.seats(host).into_iter().filter(|seat| seat.vni == vni).collect();
            if seats.is_empty() {
                continue;
            }
            let told = vlan(host, vni).map_or_else(|| "?".to_owned(), |vlan| vlan.to_string());
            let set = if shape.vlan(host, vni).is_some() { " (configured)" } else { "" };
            let list: Vec<String> =
                seats.iter().map(|seat| format!("{} {}", seat.name, seat.address)).collect();
            let vlan = column(&format!("{told}{set}"));
            let _ = write!(text, "\n{name:<5}  {:<4}{vlan}  {}", format!("h{host}"), list.join(", "));
            name.clear();
        }
    }
    text
}

/// The rows of a host's VXLAN devices that lead elsewhere, as `bridge fdb` shows them, VNI by VNI.
fn rows(host: &Host) -> Result<Vec<String>> {
    let text = host.node.run(&["bridge", "fdb", "show"])?;
    let remote = text.lines().filter(|line| line.contains(" dst ")).map(|line| line.trim().to_owned());
    let mut rows: Vec<String> = remote.collect();
    let key = |row: &String| {
        let after = |word: &str| row.split_once(word).map_or("", |(_, rest)| rest).split(' ').next();
        // Of one device, the VNI; of several, the device.
        (after(" src_vni ").map(str::to_owned), after(" dev ").map(str::to_owned), row.clone())
    };
    rows.sort_by_cached_key(key);
    Ok(rows)
}
