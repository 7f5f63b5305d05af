//! What a lab is like before there is any of it: who is where, under which address, in which VNI, and what each evpnd is
//! told. Pure: the same size is always the same lab.
//!
//! The numbers are those of the gobgp lab it replaces: controller 10.0.0.10 in AS 64512 that takes any peer from
//! 10.0.0.0/24, host H at 10.0.0.(100+H) in AS 65000+H, endpoint E of host H at 10.100.H.(100+E)/16, all in one VNI.
//!
//! With several overlays the endpoints of a host are in them by turns, from another one on each host, and the fourth
//! overlay is not on every host. All overlays are one and the same subnet, and the first two have the very same addresses:
//! the K-th endpoint of a host in either is 10.100.H.(100+K). In the third it is 130+K, in the fourth 160+K.
//!
//! With Open vSwitch the endpoints are clients of three kinds in turn: flat and VLAN ones in the VNI, and routed ones in a
//! VRF, at 10.200.H.(100+E).

use std::fmt::Write as _;

use clap::ValueEnum as _;
use clap::builder::PossibleValue;
use serde::{Deserialize, Serialize};

use super::args::{Backend, Layout, Size};
use super::ovs::datapath;

/// The first overlay of the lab; the others follow.
pub(super) const VNI: u32 = 22001;
pub(super) const CONTROLLER: &str = "10.0.0.10";
/// The VRF of routed endpoints.
pub(super) const VRF: u32 = 5000;
/// Where a host with Open vSwitch has its client files.
pub(super) const CLIENTS: &str = "/run/clients";
/// A dead peer is noticed this soon at the latest; one whose kernel still lives closes its connection at once.
const HOLD_TIME: u16 = 9;

/// How large a lab is, and of what kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    pub(super) hosts: u8,
    pub(super) endpoints: u8,
    #[serde(default)]
    pub(super) backend: Backend,
    #[serde(default)]
    pub(super) layout: Layout,
    #[serde(default = "one")]
    pub(super) overlays: u8,
}

/// An endpoint, before there is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) name: String,
    /// The VNI it is in, or of a routed one, its VRF's.
    pub(super) vni: u32,
    pub(super) kind: Kind,
    pub(super) mac: String,
    pub(super) address: String,
    /// Its OpenFlow port; several in VLANs share one.
    pub(super) ofport: u16,
}

/// How an endpoint is attached; all are flat with the kernel backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// In the VNI, untagged.
    Flat,
    /// In the VNI, in this VLAN of a shared port.
    Vlan(u16),
    /// In the VRF.
    Routed,
}

fn one() -> u8 {
    1
}

impl From<Size> for Shape {
    fn from(size: Size) -> Self {
        let overlays = size.overlays.unwrap_or(if size.layout == Layout::SingleDevice { 4 } else { 1 });
        Self {
            hosts: size.hosts,
            endpoints: size.endpoints.unwrap_or(if overlays > 1 { 6 } else { 3 }),
            backend: size.backend,
            layout: size.layout,
            overlays,
        }
    }
}

impl Shape {
    /// The arguments that make such a lab, for another evpnd.
    pub(super) fn arguments(self) -> Vec<String> {
        let Self { hosts, endpoints, overlays, .. } = self;
        let name = |value: Option<PossibleValue>| value.map(|v| v.get_name().to_owned()).unwrap_or_default();
        vec![
            format!("--hosts={hosts}"),
            format!("--endpoints={endpoints}"),
            format!("--backend={}", name(self.backend.to_possible_value())),
            format!("--layout={}", name(self.layout.to_possible_value())),
            format!("--overlays={overlays}"),
        ]
    }

    /// The overlays, all of them.
    pub(super) fn vnis(self) -> impl Iterator<Item = u32> {
        VNI..VNI + u32::from(self.overlays)
    }

    /// All endpoints of a host, in order.
    pub(super) fn seats(self, host: u8) -> Vec<Seat> {
        (1..=self.endpoints).map(|number| self.seat(host, number)).collect()
    }

    fn seat(self, host: u8, number: u8) -> Seat {
        let dash = if self.hosts < 10 && self.endpoints < 10 { "" } else { "-" };
        let kind = match (self.backend, number % 3) {
            (Backend::Kernel, _) | (Backend::Ovs, 1) => Kind::Flat,
            (Backend::Ovs, 2) => Kind::Vlan(100 + u16::from(number)),
            (Backend::Ovs, _) => Kind::Routed,
        };
        let overlay = self.overlay(host, number);
        // Its place among those of its host that are in the same overlay.
        let place = (1..=number).filter(|other| self.overlay(host, *other) == overlay).count();
        let last = place + [100, 100, 130, 160].get(usize::from(overlay)).copied().unwrap_or(100);
        let network = if kind == Kind::Routed { 200 } else { 100 };
        Seat {
            name: format!("e{host}{dash}{number}"),
            vni: if kind == Kind::Routed { VRF } else { VNI + u32::from(overlay) },
            kind,
            mac: format!("02:00:00:00:{host:02x}:{number:02x}"),
            address: format!("10.{network}.{host}.{last}"),
            ofport: if matches!(kind, Kind::Vlan(_)) { 2000 } else { 1000 + u16::from(number) },
        }
    }

    /// The overlay of an endpoint, from zero.
    fn overlay(self, host: u8, number: u8) -> u8 {
        // Host 1, 4, … has no part in the fourth.
        let here = if host % 3 == 1 { self.overlays.min(3) } else { self.overlays };
        (number - 1 + (host - 1) % here) % here
    }

    /// The VNIs of a host in the order of its first endpoints, each with its endpoints' names.
    fn sections(self, host: u8) -> Vec<(u32, Vec<String>)> {
        let mut sections: Vec<(u32, Vec<String>)> = Vec::new();
        for seat in self.seats(host) {
            match sections.iter_mut().find(|(vni, _)| *vni == seat.vni) {
                Some((_, names)) => names.push(seat.name),
                None => sections.push((seat.vni, vec![seat.name])),
            }
        }
        sections
    }

    /// The VLAN that a host's configuration names for a VNI. Most take what is free; some are named, so that one VNI has
    /// another VLAN on each host: on host 2, 5, … that of the first overlay, and on host 3, 6, … the last overlay has
    /// the VLAN that would otherwise be taken first.
    pub(super) fn vlan(self, host: u8, vni: u32) -> Option<u16> {
        let wanted = match host % 3 {
            2 => (VNI, 200 + u16::from(host)),
            0 => (VNI + u32::from(self.overlays) - 1, 2),
            _ => return None,
        };
        (self.layout == Layout::SingleDevice && wanted.0 == vni).then_some(wanted.1)
    }

    /// The configuration of a host's evpnd.
    pub(super) fn config(self, host: u8) -> String {
        let vtep = vtep(host);
        let dataplane = match self.backend {
            Backend::Kernel => self.kernel(host),
            Backend::Ovs => format!(
                r#"backend = "ovs"
vtep = "{vtep}"

[dataplane.ovs]
datapath = "{datapath}"

[clients]
dir = "{CLIENTS}"
"#,
                datapath = datapath()
            ),
        };
        format!(
            r#"[router]
asn = {asn}
router-id = "{vtep}"

[bgp]
listen = []
hold-time = {HOLD_TIME}

[[bgp.neighbor]]
address = "{CONTROLLER}"
remote-asn = 64512

[dataplane]
{dataplane}"#,
            asn = 65000 + u32::from(host),
        )
    }

    fn kernel(self, host: u8) -> String {
        let mut text = format!("backend = \"kernel\"\nvtep = \"{}\"\n", vtep(host));
        if self.layout == Layout::SingleDevice {
            text += "\n[dataplane.kernel]\nlayout = \"single-device\"\n";
        }
        for (vni, interfaces) in self.sections(host) {
            let _ = write!(
                text,
                r#"
[[l2vni]]
vni = {vni}
import-rt = ["65000:{vni}"]
export-rt = ["65000:{vni}"]
interfaces = {interfaces:?}
"#
            );
            if let Some(vlan) = self.vlan(host, vni) {
                let _ = writeln!(text, "vlan = {vlan}");
            }
        }
        text
    }
}

impl Seat {
    /// Its client file, in the words of evpn-connector.
    pub(super) fn client_file(&self) -> String {
        let Self { mac, address, ofport, vni, .. } = self;
        let (kind, tag) = match self.kind {
            Kind::Vlan(tag) => ("vlan", tag),
            Kind::Flat | Kind::Routed => ("flat", 0),
        };
        let service = if self.kind == Kind::Routed {
            format!(r#""cfg_type": "l3", "routes": ["{address}/32"]"#)
        } else {
            format!(r#""cfg_type": "l2", "ip": "{address}""#)
        };
        let rt = format!(r#"["65000:{vni}"]"#);
        format!(
            r#"{{ {service}, "vni": {vni}, "mac": "{mac}", "ofport": {ofport}, "type": "{kind}", "tag": {tag},
  "imp_rt": {rt}, "exp_rt": {rt} }}
"#
        )
    }
}

/// A host's VTEP.
pub(super) fn vtep(host: u8) -> String {
    format!("10.0.0.{}", 100 + u16::from(host))
}

/// The configuration of the controller's evpnd.
pub(super) fn controller_config() -> String {
    format!(
        r#"[router]
asn = 64512
router-id = "{CONTROLLER}"

[bgp]
listen = ["{CONTROLLER}:179"]
hold-time = {HOLD_TIME}

[[bgp.dynamic-neighbor]]
range = "10.0.0.0/24"
remote-asn = "external"

[dataplane]
backend = "none"
"#
    )
}

#[cfg(test)]
mod tests;
