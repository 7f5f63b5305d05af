//! `[dataplane]`, `[dataplane.kernel]`, `[dataplane.ovs]` and `[clients]`: what forwards packets, and for whom.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use dataplane::kernel::{KernelConfig, Layout};
use dataplane::ovs::OvsConfig;
use types::{MacAddr, Vni};

use super::parse::{MAX_INTERFACE_NAME, asn, interface_name, is_host, or};
use super::read::{Section, Value};
use super::vni::MAX_VLAN;
use super::{Clients, Datapath, Dataplane, Kernel, OnExit, Ovs, VXLAN_PORT};
use crate::evpn::default_router_mac;

#[derive(Clone, Copy, PartialEq)]
enum Backend {
    Kernel,
    Ovs,
    None,
}

/// What all backends share.
struct Common {
    vtep: Option<IpAddr>,
    vxlan_port: u16,
    on_exit: OnExit,
    router_mac: Option<MacAddr>,
}

pub(super) fn dataplane(mut s: Section<'_>, l2vnis: &[Section<'_>]) -> Option<Dataplane> {
    let words = [("kernel", Backend::Kernel), ("ovs", Backend::Ovs), ("none", Backend::None)];
    let backend = or(s.get("backend"), Backend::Kernel, |value| value.choice(&words));
    let common = common(&mut s, backend);
    let kernel = kernel(s.section("kernel"), l2vnis);
    let router_mac = common.as_ref().and_then(|c| c.router_mac.or(c.vtep.map(default_router_mac)));
    let ovs = ovs(s.section("ovs"), router_mac);
    s.finish();
    match backend {
        Some(Backend::None) => {
            let message =
                "needs a dataplane: remove it, or say backend = \"kernel\" or \"ovs\" in [dataplane]";
            for l2vni in l2vnis {
                l2vni.problem(message);
            }
        }
        Some(Backend::Ovs) => refuse(
            l2vnis,
            "are for the kernel backend; on Open vSwitch, ports are attached by client files: see [clients]",
            "is for the kernel backend; on Open vSwitch, VLANs are those of client files: see [clients]",
        ),
        Some(Backend::Kernel) => {
            if let Some(kernel) = &kernel {
                fit(kernel, l2vnis);
            }
        }
        None => {}
    }
    let (common, kernel, ovs) = (common?, kernel?, ovs?);
    let Common { vtep, vxlan_port, on_exit, .. } = common;
    Some(match backend? {
        Backend::None => Dataplane::None { vtep },
        Backend::Kernel => Dataplane::Kernel(Kernel { vtep: vtep?, vxlan_port, on_exit, ..kernel }),
        Backend::Ovs => {
            Dataplane::Ovs(Ovs { vtep: vtep?, vxlan_port, on_exit, router_mac: router_mac?, ..ovs })
        }
    })
}

/// Complains about what VNIs say of their ports and VLANs.
fn refuse(l2vnis: &[Section<'_>], interfaces: &str, vlan: &str) {
    for l2vni in l2vnis {
        l2vni.problem_with("interfaces", interfaces);
        l2vni.problem_with("vlan", vlan);
    }
}

/// Complains about what VNIs say and the layout does not have.
fn fit(kernel: &Kernel, l2vnis: &[Section<'_>]) {
    match kernel.layout {
        _ if kernel.discover => refuse(
            l2vnis,
            "discover takes ports as they are: remove it, or say discover = false",
            "discover takes VLANs as they are: remove it, or say discover = false",
        ),
        Layout::DevicePerVni => {
            let message = "needs layout = \"single-device\" in [dataplane.kernel]: with a bridge for each VNI there are no VLANs";
            for l2vni in l2vnis {
                l2vni.problem_with("vlan", message);
            }
        }
        Layout::SingleDevice => {
            if let Some(l2vni) = l2vnis.get(usize::from(MAX_VLAN)) {
                l2vni.problem(format!(
                    "no VLAN is left for it: with layout = \"single-device\" each VNI has one, and a bridge has {MAX_VLAN}"
                ));
            }
        }
    }
}

fn common(s: &mut Section<'_>, backend: Option<Backend>) -> Option<Common> {
    let vtep = or(s.get("vtep"), None, |value| {
        let vtep = value.parse_as("an IP address like 10.0.0.101")?;
        if is_host(vtep) { Some(Some(vtep)) } else { value.bad("must be the address of one host") }
    });
    if matches!(backend, Some(Backend::Kernel | Backend::Ovs)) && vtep == Some(None) {
        let message = "required: the source address of VXLAN packets; or say backend = \"none\"";
        s.missing("vtep", message);
    }
    let vxlan_port = or(s.get("vxlan-port"), VXLAN_PORT, |value| value.integer(1..=65535));
    let on_exit = or(s.get("on-exit"), OnExit::Keep, |value| {
        value.choice(&[("keep", OnExit::Keep), ("remove", OnExit::Remove)])
    });
    let router_mac = or(s.get("router-mac"), None, |value| {
        let mac = host_mac(value)?;
        if matches!(backend, Some(Backend::Kernel | Backend::None)) {
            return value.bad("is for routed clients, which need backend = \"ovs\"; remove it");
        }
        Some(Some(mac))
    });
    Some(Common { vtep: vtep?, vxlan_port: vxlan_port?, on_exit: on_exit?, router_mac: router_mac? })
}

/// `[dataplane.kernel]`; what the sections around it say is filled in by the caller.
fn kernel(mut s: Section<'_>, l2vnis: &[Section<'_>]) -> Option<Kernel> {
    let words = [("device-per-vni", Layout::DevicePerVni), ("single-device", Layout::SingleDevice)];
    let layout = or(s.get("layout"), Layout::DevicePerVni, |value| value.choice(&words));
    let (bridge, vxlan) = match layout {
        Some(Layout::SingleDevice) => {
            let bridge = or(s.get("bridge"), "br-evpn".to_owned(), interface_name);
            let vxlan = or(s.get("vxlan"), "vxlan1".to_owned(), |value| {
                let name = interface_name(value)?;
                if bridge.as_ref() == Some(&name) {
                    value.bad("is the name of the bridge")
                } else {
                    Some(name)
                }
            });
            (bridge, vxlan)
        }
        _ => prefixes(&mut s, l2vnis),
    };
    // The backend has the last word on names; better here, with a place, than when the daemon starts.
    let names = bridge.zip(vxlan).zip(layout).filter(|((bridge, vxlan), layout)| {
        let (bridge, vxlan, layout) = (bridge.clone(), vxlan.clone(), *layout);
        let devices = KernelConfig { layout, bridge, vxlan, ..KernelConfig::default() };
        devices.validate().map_err(|reason| s.problem(reason)).is_ok()
    });
    let discover = or(s.get("discover"), false, Value::boolean);
    let manage_devices = or(s.get("manage-devices"), discover != Some(true), |value| {
        let manage = value.boolean()?;
        if manage && discover == Some(true) {
            return value.bad("discover takes devices as they are: remove it, or say discover = false");
        }
        Some(manage)
    });
    s.finish();
    let ((bridge, vxlan), layout) = names?;
    Some(Kernel {
        vtep: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        vxlan_port: VXLAN_PORT,
        on_exit: OnExit::Keep,
        layout,
        bridge,
        vxlan,
        manage_devices: manage_devices?,
        discover: discover?,
    })
}

/// What the names of bridges and VXLAN devices start with. They are made from these and a VNI: the longest that is
/// configured has to fit.
fn prefixes(s: &mut Section<'_>, l2vnis: &[Section<'_>]) -> (Option<String>, Option<String>) {
    let vnis = l2vnis.iter().filter_map(|l2vni| l2vni.peek("vni"));
    let digits = vnis.filter(|n| *n <= u64::from(Vni::MAX.get())).max().unwrap_or(1).to_string().len();
    let mut prefix = |key, default: &str| {
        or(s.get(key), default.to_owned(), |value| {
            let name = interface_name(value)?;
            let most = MAX_INTERFACE_NAME.saturating_sub(digits + 1);
            if name.len() > most {
                return value.bad(format!(
                    "too long: a dash and a VNI of {digits} digits are put after it, and the name of a device has at \
                     most {MAX_INTERFACE_NAME} characters; at most {most} here"
                ));
            }
            Some(name)
        })
    };
    (prefix("bridge", "br-evpn"), prefix("vxlan", "vxlan"))
}

/// `[dataplane.ovs]`; what the section around it says is filled in by the caller.
fn ovs(mut s: Section<'_>, router_mac: Option<MacAddr>) -> Option<Ovs> {
    let bridge = or(s.get("bridge"), "br-evpn".to_owned(), ovs_name);
    let datapath = or(s.get("datapath"), Datapath::System, |value| {
        value.choice(&[("system", Datapath::System), ("netdev", Datapath::Netdev)])
    });
    let vxlan = or(s.get("vxlan"), OvsConfig::VXLAN.to_owned(), |value| {
        let name = ovs_name(value)?;
        if bridge.as_ref() == Some(&name) { value.bad("is the name of the bridge") } else { Some(name) }
    });
    let gateway_mac = or(s.get("gateway-mac"), OvsConfig::GATEWAY_MAC, |value| {
        let mac = host_mac(value)?;
        if router_mac == Some(mac) {
            let message =
                "is the router-mac: that one is of this node alone, the gateway's is the same on all";
            return value.bad(message);
        }
        Some(mac)
    });
    let db = or(s.get("db"), None, |value| {
        let db = value.string()?;
        let remote = db.split_once(':').filter(|(kind, rest)| {
            ["unix", "tcp", "ssl"].contains(kind) && !rest.is_empty() && !rest.contains(char::is_whitespace)
        });
        if remote.is_none() {
            return value.bad(format!(
                "expected where ovsdb-server listens, like unix:/run/openvswitch/db.sock, tcp:127.0.0.1:6640 or \
                 ssl:127.0.0.1:6640, found \"{db}\""
            ));
        }
        Some(Some(db.to_owned()))
    });
    let rundir = or(s.get("rundir"), None, |value| {
        let path = path(value)?;
        if path.is_absolute() { Some(Some(path)) } else { value.bad("expected a path from / on") }
    });
    let vsctl = or(s.get("vsctl"), PathBuf::from("ovs-vsctl"), path);
    let ofctl = or(s.get("ofctl"), PathBuf::from("ovs-ofctl"), path);
    s.finish();
    Some(Ovs {
        vtep: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        vxlan_port: VXLAN_PORT,
        on_exit: OnExit::Keep,
        router_mac: MacAddr::ZERO,
        bridge: bridge?,
        datapath: datapath?,
        vxlan: vxlan?,
        gateway_mac: gateway_mac?,
        db: db?,
        rundir: rundir?,
        vsctl: vsctl?,
        ofctl: ofctl?,
    })
}

/// `[clients]`: where client files are; `None` without it, and with problems (which are noted).
pub(super) fn clients(
    mut s: Section<'_>,
    dataplane: Option<&Dataplane>,
    config_dir: &Path,
    our_asn: u32,
) -> Option<Clients> {
    if !s.exists() {
        return None;
    }
    let dir = s.required("dir", "required: the directory of the client files", path);
    let rt_asn = or(s.get("rt-asn"), our_asn, asn);
    if matches!(dataplane, Some(Dataplane::None { .. })) {
        s.problem("needs a dataplane: remove it, or say backend = \"ovs\" or \"kernel\" in [dataplane]");
    }
    s.finish();
    Some(Clients { dir: config_dir.join(dir?), rt_asn: rt_asn? })
}

fn host_mac(value: &Value<'_>) -> Option<MacAddr> {
    let mac: MacAddr = value.parse()?;
    if mac.is_host() {
        Some(mac)
    } else {
        value.bad("must be the MAC of one host: no group address, not all zeros")
    }
}

fn path(value: &Value<'_>) -> Option<PathBuf> {
    match value.string()? {
        "" => value.bad("expected a path"),
        path if path.contains('\0') => value.bad("a path has no zero octet"),
        path => Some(PathBuf::from(path)),
    }
}

/// The name of a bridge or port that Open vSwitch makes: an argument of its tools, so nothing that means something to
/// them.
fn ovs_name(value: &Value<'_>) -> Option<String> {
    let name = interface_name(value)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.starts_with('-') || !name.chars().all(plain) {
        return value.bad("expected letters, digits and - _ . only, and no - at the front");
    }
    Some(name)
}
