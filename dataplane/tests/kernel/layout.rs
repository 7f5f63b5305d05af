//! What the layouts call the same thing, in words: devices, rows, the place of a port. A test that uses these says what
//! it is about once, and holds for both.

use std::process::Command;

use dataplane::kernel::{KernelConfig, Layout};
use serde_json::Value;

use crate::LAYOUT;
use crate::harness::{ip, sh, sorted};

/// All VNIs are on one device?
pub(crate) const SHARED: bool = matches!(LAYOUT, Layout::SingleDevice);

/// The configuration of a host at this address.
pub(crate) fn config_at(vtep: &str) -> KernelConfig {
    KernelConfig { layout: LAYOUT, vtep: ip(vtep), ..KernelConfig::default() }
}

/// That of the tests that have but one host.
pub(crate) fn config() -> KernelConfig {
    config_at("10.9.0.1")
}

/// The bridge of a VNI.
pub(crate) fn bridge(n: u32) -> String {
    if SHARED { "br-evpn".into() } else { format!("br-evpn-{n}") }
}

/// The VXLAN device of a VNI.
pub(crate) fn vxlan(n: u32) -> String {
    if SHARED { "vxlan1".into() } else { format!("vxlan1-{n}") }
}

/// The mark that the devices of a VNI bear.
pub(crate) fn alias(n: u32) -> String {
    if SHARED { "evpnd overlay".into() } else { format!("evpnd vni {n}") }
}

/// What a command prints, nothing when it fails. (No shell: in a virtual machine each program takes its time to start.)
fn told(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().expect("a program")).args(words).output().expect("iproute2");
    if output.status.success() { String::from_utf8_lossy(&output.stdout).into_owned() } else { String::new() }
}

/// What `bridge -j` shows of the VLANs of a device: `key` of its one row.
fn shown(what: &str, device: &str, key: &str) -> Vec<Value> {
    let rows: Value =
        serde_json::from_str(&told(&format!("bridge -j vlan {what} dev {device}"))).unwrap_or_default();
    rows[0][key].as_array().cloned().unwrap_or_default()
}

/// The VLAN a VNI is mapped from, if it is.
pub(crate) fn vlan(n: u32) -> Option<u64> {
    shown("tunnelshow", "vxlan1", "tunnels").iter().find_map(|tunnel| {
        let (vlan, first) = (tunnel["vlan"].as_u64()?, tunnel["tunid"].as_u64()?);
        let last = tunnel["tunidEnd"].as_u64().unwrap_or(first);
        (first..=last).contains(&n.into()).then(|| vlan + u64::from(n) - first)
    })
}

/// The same for a VNI that has to be there.
fn own_vlan(n: u32) -> u64 {
    vlan(n).unwrap_or_else(|| panic!("no VLAN for VNI {n}: {}", sh("bridge vlan tunnelshow")))
}

/// The device that has the neighbours of a VNI.
pub(crate) fn table(n: u32) -> String {
    if SHARED { format!("br-evpn.{}", own_vlan(n)) } else { bridge(n) }
}

/// What follows the MAC in `bridge fdb add|del …` for a row of a VNI on its VXLAN device.
pub(crate) fn on_vxlan(n: u32) -> String {
    if SHARED { format!("dev vxlan1 vlan {} src_vni {n}", own_vlan(n)) } else { format!("dev vxlan1-{n}") }
}

/// The same for a row on a port.
pub(crate) fn on_port(n: u32, port: &str) -> String {
    if SHARED { format!("dev {port} vlan {}", own_vlan(n)) } else { format!("dev {port}") }
}

/// The rows of a VNI in what `bridge fdb show` tells (none of a device that is not there), sorted, and worded as if the VNI were alone on its devices.
fn rows_of(n: u32, what: &str) -> Vec<String> {
    let rows = sorted(&told(&format!("bridge fdb show {what}")));
    if !SHARED {
        return rows;
    }
    let Some(vlan) = vlan(n) else { return Vec::new() };
    let marks = [format!("vlan {vlan} "), format!("src_vni {n} ")];
    let own = |row: String| marks.iter().find(|mark| row.contains(*mark)).map(|mark| row.replace(mark, ""));
    rows.into_iter().filter_map(own).collect()
}

/// The rows on the VXLAN device of a VNI.
pub(crate) fn fdb(n: u32) -> Vec<String> {
    rows_of(n, &format!("dev {}", vxlan(n)))
}

/// Has a VNI a row that begins like this on its VXLAN device?
pub(crate) fn has_row(n: u32, beginning: &str) -> bool {
    fdb(n).iter().any(|row| row.starts_with(beginning))
}

/// The rows of the bridge of a VNI for a MAC.
pub(crate) fn on_bridge(n: u32, mac: &str) -> Vec<String> {
    let mut rows = rows_of(n, &format!("br {}", bridge(n)));
    rows.retain(|row| row.starts_with(mac) && row.contains(" master "));
    rows
}

/// The neighbours of a VNI, in the words of `ip -d neigh`.
pub(crate) fn neighbours(n: u32) -> Vec<String> {
    sorted(&told(&format!("ip -d neigh show dev {}", table(n))))
}

/// Where a port is attached: `vni 100`, the name of a bridge that is not ours, or nothing.
pub(crate) fn place(port: &str) -> String {
    let link = told(&format!("ip -o link show {port}"));
    let mut words = link.split_whitespace().skip_while(|word| *word != "master").skip(1);
    let Some(master) = words.next() else { return String::new() };
    if let Some(vni) = master.strip_prefix("br-evpn-") {
        return format!("vni {vni}");
    }
    if !SHARED || master != "br-evpn" {
        return master.to_owned();
    }
    // It has one VLAN, untagged, and that is mapped.
    let vlans = shown("show", port, "vlans");
    let tunnels = shown("tunnelshow", "vxlan1", "tunnels");
    let access = |vlan: &Value| vlan["flags"] == serde_json::json!(["PVID", "Egress Untagged"]);
    match &vlans[..] {
        [one] if access(one) => {
            let vlan = one["vlan"].as_u64().unwrap_or_default();
            let vni = tunnels.iter().find_map(|tunnel| {
                let first = tunnel["vlan"].as_u64()?;
                let last = tunnel["vlanEnd"].as_u64().unwrap_or(first);
                (first..=last).contains(&vlan).then_some(tunnel["tunid"].as_u64()? + vlan - first)
            });
            vni.map_or_else(|| format!("VLAN {vlan}"), |vni| format!("vni {vni}"))
        }
        _ => format!("VLANs {vlans:?}"),
    }
}

/// Is there anything of a VNI?
pub(crate) fn stands(n: u32) -> bool {
    if SHARED {
        vlan(n).is_some()
    } else {
        [bridge(n), vxlan(n)].iter().any(|device| !told(&format!("ip link show {device}")).is_empty())
    }
}

/// Somebody else sets the devices up that all VNIs share, if any are.
pub(crate) fn others_begin() {
    if SHARED {
        sh("ip link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0; ip link set br0 up
            ip link add vxlan1 type vxlan dev lo dstport 4789 external nolearning; ip link set vxlan1 master br0
            ip link set vxlan1 type bridge_slave vlan_tunnel on learning off; ip link set vxlan1 up");
    }
}

/// Somebody else sets VNIs up.
pub(crate) fn others_set_up(vnis: impl Iterator<Item = u32>) {
    let lines = vnis.map(|n| {
        if SHARED {
            let vlan = n + 1;
            format!("vlan add dev vxlan1 vid {vlan}\nvlan add dev vxlan1 vid {vlan} tunnel_info id {n}\n")
        } else {
            format!(
                "link add br{n} type bridge\nlink set br{n} up\n\
                 link add vx{n} type vxlan id {n} dstport 4789 local 10.9.0.1 nolearning\n\
                 link set vx{n} master br{n}\nlink set vx{n} up\n"
            )
        }
    });
    let (program, lines) = (if SHARED { "bridge" } else { "ip" }, lines.collect::<String>());
    sh(&format!("{program} -batch - <<END\n{lines}END"));
}

/// All of that goes.
pub(crate) fn others_end() {
    sh("for link in $(ip -o link show | grep -oE ' (br|vx|vxlan)[0-9]+:' | tr -d ' :'); do ip link set $link group 77; done
        ip link del group 77");
}

/// Somebody takes what makes a VNI, ours or not, away.
pub(crate) fn break_vni(n: u32) {
    if SHARED {
        sh(&format!("bridge vlan del dev vxlan1 vid {}", own_vlan(n)));
    } else {
        let device = [vxlan(n), format!("vx{n}")]
            .into_iter()
            .find(|name| !told(&format!("ip link show {name}")).is_empty());
        sh(&format!("ip link del {}", device.expect("a VXLAN device")));
    }
}
