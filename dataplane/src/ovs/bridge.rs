//! The bridge and its VXLAN port: made where they are missing, used as they are where they exist.
//!
//! One VXLAN port carries all VNIs to all VTEPs: flows say which (`key=flow`, `remote_ip=flow`). What we make bears
//! our mark in `external_ids`; only that is changed or removed later.

use std::collections::BTreeMap;

use super::ovsdb::{Bridge, Db, Vxlan, conflict};
use super::tools::{Cause, Failure, Tools};
use super::{Datapath, OvsConfig};
use crate::backend::{Error, ErrorKind};

/// The key of our mark in `external_ids`.
const MARK: &str = "evpnd";
/// The OpenFlow port number we ask for: out of the way of those that ports of clients have (and evpn-connector's).
pub(crate) const OFPORT: u16 = 65278;
/// UDP port of VXLAN where a port names none.
const DEFAULT_UDP: u16 = 4789;

/// One `ovs-vsctl` to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// What it does: `make bridge br-evpn`.
    pub(crate) action: String,
    /// Its arguments.
    pub(crate) args: Vec<String>,
}

impl Step {
    fn new(action: String, args: &[&str]) -> Self {
        Self { action, args: args.iter().map(|a| (*a).to_owned()).collect() }
    }
}

/// As an operator would type it.
impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ovs-vsctl {}", self.args.join(" "))
    }
}

/// What is to be done so that bridge and VXLAN port stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setup {
    /// What to run.
    pub(crate) steps: Vec<Step>,
    /// The name of the VXLAN port, once that is done.
    pub(crate) vxlan: String,
    /// What an operator may want to know about what was found.
    pub(crate) remarks: Vec<String>,
}

fn marked(external_ids: &BTreeMap<String, String>) -> bool {
    external_ids.contains_key(MARK)
}

impl Vxlan {
    fn option(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }

    fn udp(&self) -> Option<u16> {
        self.option("dst_port").map_or(Some(DEFAULT_UDP), |port| port.parse().ok())
    }

    fn is_flow_based(&self) -> bool {
        let flow = |key| self.option(key) == Some("flow");
        flow("remote_ip") && (flow("key") || (flow("in_key") && flow("out_key")))
    }

    /// Is it what is wanted, whatever its name?
    fn serves(&self, config: &OvsConfig) -> bool {
        let local = self.option("local_ip").and_then(|ip| ip.parse().ok());
        self.is_flow_based() && local == Some(config.vtep) && self.udp() == Some(config.vxlan_port)
    }
}

/// What has to be done. Looks at nothing but what it is given.
pub(crate) fn plan(config: &OvsConfig, db: &Db) -> Result<Setup, Error> {
    let mut setup = Setup::default();
    let bridge = db.bridge(&config.bridge);
    plan_bridge(config, db, bridge, &mut setup)?;
    plan_vxlan(config, db, &mut setup)?;
    Ok(setup)
}

fn plan_bridge(config: &OvsConfig, db: &Db, bridge: Option<&Bridge>, setup: &mut Setup) -> Result<(), Error> {
    let name = &config.bridge;
    let wanted = match config.datapath {
        Datapath::System => "system",
        Datapath::Netdev => "netdev",
    };
    let kind = match bridge {
        Some(Bridge { datapath, .. }) if datapath.is_empty() => "system",
        Some(bridge) => &bridge.datapath,
        None => wanted,
    };
    if !db.datapaths.is_empty() && !db.datapaths.iter().any(|have| have == kind) {
        let what_to_do = match kind {
            "system" => {
                "load the kernel module (modprobe openvswitch), or use the userspace datapath: datapath = \"netdev\""
            }
            _ => "use the kernel's: datapath = \"system\"",
        };
        return Err(Error::new(
            ErrorKind::Other,
            format!("bridge {name}"),
            format!(
                "this Open vSwitch has no {kind} datapath, only {}: {what_to_do}",
                db.datapaths.join(", ")
            ),
        ));
    }
    let Some(bridge) = bridge else {
        if let Some(other) = db.bridge_with_port(name) {
            return Err(conflict(
                format!("make bridge {name}"),
                format!("bridge {other} has a port of that name: name another bridge in [dataplane.ovs]"),
            ));
        }
        let (datapath, id) = (format!("datapath_type={wanted}"), format!("external_ids:{MARK}=bridge"));
        setup.steps.push(Step::new(
            format!("make bridge {name}"),
            &["--may-exist", "add-br", name, "--", "set", "bridge", name, &datapath, "fail_mode=secure", &id],
        ));
        return Ok(());
    };
    if !bridge.protocols.is_empty() && !bridge.protocols.iter().any(|p| p == "OpenFlow13") {
        return Err(conflict(
            format!("bridge {name}"),
            format!(
                "it allows only {}, and OpenFlow13 is needed: allow it with: ovs-vsctl add bridge {name} \
                 protocols OpenFlow13",
                bridge.protocols.join(", ")
            ),
        ));
    }
    match bridge.fail_mode.as_deref() {
        Some("secure") => {}
        Some(mode) => setup.remarks.push(format!(
            "bridge {name} has fail_mode {mode}, which is left as it is: what no flow matches may be forwarded \
             as by a plain switch (ovs-vsctl set-fail-mode {name} secure)"
        )),
        None => {
            setup.steps.push(Step::new(
                format!("set fail_mode of bridge {name} to secure, since it had none"),
                &["set-fail-mode", name, "secure"],
            ));
        }
    }
    if kind != wanted {
        setup.remarks.push(format!("bridge {name} exists, with datapath {kind}: it is used as it is"));
    }
    Ok(())
}

fn plan_vxlan(config: &OvsConfig, db: &Db, setup: &mut Setup) -> Result<(), Error> {
    let (bridge, name) = (&config.bridge, &config.vxlan);
    let here = |v: &&Vxlan| v.bridge == *bridge;
    let action = || format!("make VXLAN port {name} on bridge {bridge}");

    // One that works before one that does not: the switch opens only one of a kind.
    let serving = db.vxlans.iter().filter(here).filter(|v| v.serves(config));
    if let Some(vxlan) = serving.max_by_key(|v| (v.ofport.is_some(), v.error.is_none())) {
        setup.vxlan.clone_from(&vxlan.name);
        if let Some(error) = &vxlan.error {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("VXLAN port {} on bridge {bridge}", vxlan.name),
                format!("ovs-vswitchd cannot open it: {error}"),
            ));
        }
        return Ok(());
    }
    if let Some(other) =
        db.vxlans.iter().find(|v| v.bridge != *bridge && !v.bridge.is_empty() && v.serves(config))
    {
        return Err(conflict(
            action(),
            format!(
                "port {0} on bridge {1} has this VTEP and UDP port already: remove it (ovs-vsctl del-port {1} \
                 {0}), or set bridge = \"{1}\" in [dataplane.ovs]",
                other.name, other.bridge
            ),
        ));
    }
    let options = [
        "type=vxlan".to_owned(),
        "options:key=flow".to_owned(),
        "options:remote_ip=flow".to_owned(),
        // A colon of an IPv6 address means something to ovs-vsctl, unless it is quoted.
        format!("options:local_ip=\"{}\"", config.vtep),
        format!("options:dst_port={}", config.vxlan_port),
        format!("external_ids:{MARK}=vxlan"),
    ];
    let options = options.iter().map(String::as_str);
    let ours = db.vxlans.iter().filter(here).find(|v| marked(&v.external_ids));
    if let Some(ours) = ours {
        // The configuration changed.
        setup.vxlan.clone_from(&ours.name);
        let mut args = vec!["--", "set", "interface", &ours.name];
        args.extend(options);
        setup.steps.push(Step::new(format!("change VXLAN port {}", ours.name), &args));
        return Ok(());
    }
    if let Some(holder) = db.bridge_with_port(name) {
        return Err(conflict(
            action(),
            format!(
                "bridge {holder} has a port {name}, which is not a flow-based VXLAN port from {} to UDP port {}: \
                 remove it (ovs-vsctl del-port {holder} {name}), or set another name as vxlan in [dataplane.ovs]",
                config.vtep, config.vxlan_port
            ),
        ));
    }
    setup.vxlan.clone_from(name);
    let ofport = format!("ofport_request={OFPORT}");
    let mut args = vec!["add-port", bridge, name, "--", "set", "interface", name, &ofport];
    args.extend(options);
    setup.steps.push(Step::new(action(), &args));
    Ok(())
}

/// What [`set_up`] has to say.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// What was done.
    pub(crate) done: Vec<String>,
    /// What an operator may want to know about what was found.
    pub(crate) remarks: Vec<String>,
}

/// Makes bridge and VXLAN port stand; gives the name of the VXLAN port.
pub(crate) fn set_up(config: &OvsConfig, tools: &dyn Tools, said: &mut Said) -> Result<String, Failure> {
    let db = Db::read(tools)?;
    let setup = plan(config, &db).map_err(|error| Failure { cause: Cause::Away, error })?;
    said.remarks = setup.remarks;
    for step in setup.steps {
        tools.vsctl(&step.action, &step.args)?;
        said.done.push(format!("Open vSwitch: {}", step.action));
    }
    Ok(setup.vxlan)
}

/// Removes the VXLAN port and the bridge, if they are ours, and the bridge only if nobody else's ports are on it.
pub(crate) fn tear_down(config: &OvsConfig, tools: &dyn Tools, db: &Db) -> Result<(), Failure> {
    for step in removal(config, db) {
        tools.vsctl(&step.action, &step.args)?;
    }
    Ok(())
}

fn removal(config: &OvsConfig, db: &Db) -> Vec<Step> {
    let Some(bridge) = db.bridge(&config.bridge) else { return Vec::new() };
    let name = &bridge.name;
    let ours: Vec<&str> = db
        .vxlans
        .iter()
        .filter(|v| v.bridge == *name && marked(&v.external_ids))
        .map(|v| v.name.as_str())
        .collect();
    let foreign = bridge.ports.iter().any(|port| port != name && !ours.contains(&port.as_str()));
    if marked(&bridge.external_ids) && !foreign {
        return vec![Step::new(format!("remove bridge {name}"), &["--if-exists", "del-br", name])];
    }
    let remove =
        |port: &str| Step::new(format!("remove VXLAN port {port}"), &["--if-exists", "del-port", name, port]);
    ours.into_iter().map(remove).collect()
}

#[cfg(test)]
mod tests;
