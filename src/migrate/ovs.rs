//! evpn-connector's part: `[dataplane]`, `[dataplane.ovs]` and `[clients]`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::ini::{Entry, Ini, is_true};
use super::page::Page;
use super::{Error, Node, Place};
use crate::config::VXLAN_PORT;

/// What evpn-connector answers its routed clients' ARP with, on every host, and has no key for.
const GATEWAY_MAC: &str = "12:34:56:78:90:ab";
/// The VXLAN port it makes.
const VXLAN: &str = "vxlan_out";
/// Its sample directory of client files, which its documentation gives on the command line.
const CONFIGS_DIR: &str = "/var/lib/evpn_connector/client_configs";

/// Keys and sections (`key` empty) that nothing has to be done for, and why.
const NEEDLESS: &[(&str, &str, &str)] = &[
    ("DEFAULT", "", "messages: see `evpnd run -v` and $EVPND_LOG"),
    ("logging", "", "messages go to stderr or the journal"),
    ("gobgp", "gobgp_channel", "the BGP speaker is in the same process"),
    ("gobgp", "grpc_timeout_sec", "the BGP speaker is in the same process"),
    ("gobgp", "policy_enabled", "only routes with a client's imp_rt are used, without a policy"),
    ("ovs", "tmp_flow_file_path", "flows are handed over without a file"),
    ("daemon", "sync_period", "files are watched and changes written at once"),
    ("agent", "", "evpn-connector does not read this section"),
];

/// Switches that are off, with all that belongs to them; on, they are missed.
const SWITCHES: &[(&str, &str, &str)] = &[
    ("victoria_metrics", "enabled", "metrics are not pushed; `evpnd show … --json` has them"),
    ("sentry", "enabled", "errors are not sent to Sentry; `evpnd events --follow --json` has them"),
];

/// evpn-connector's configuration.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) name: String,
    ini: Ini,
}

impl Connector {
    pub(super) fn read(name: &str, text: &str) -> Result<Self, Error> {
        let ini = Ini::read(name, text)?;
        if !ini.entries.iter().any(|entry| ["gobgp", "ovs", "daemon"].contains(&entry.section.as_str())) {
            let what =
                "no [gobgp], [ovs] or [daemon]: is this the configuration of evpn-connector?".to_owned();
            return Err(Error::Malformed { name: name.to_owned(), line: 0, what });
        }
        Ok(Self { name: name.to_owned(), ini })
    }

    /// The AS in its route distinguishers, and what a leading 0 in route targets means to it.
    pub(super) fn as_number(&self) -> u32 {
        self.ini.get("gobgp", "as_number").and_then(|entry| entry.value.parse().ok()).unwrap_or(1)
    }

    pub(super) fn vtep(&self) -> Option<IpAddr> {
        self.ini.get("gobgp", "source_ip")?.value.parse().ok()
    }

    fn place(&self, line: usize) -> Place<'_> {
        Place(&self.name, line)
    }
}

/// Writes `[dataplane]` and what is below it; where client files are.
pub(super) fn write(
    connector: Option<&mut Connector>,
    node: Node,
    clients: Option<&Path>,
    page: &mut Page,
) -> Option<PathBuf> {
    page.header("[dataplane]");
    let Some(connector) = connector else {
        page.comment(
            "Without evpn-connector's file: a route reflector or controller, which forwards nothing itself.",
        );
        page.text("backend", "none");
        return None;
    };
    page.text("backend", "ovs");
    match connector.ini.take("gobgp", "source_ip") {
        Some(entry) => page.text("vtep", &entry.value),
        None => page
            .lost(&connector.name, "no [gobgp] source_ip: put the source address of VXLAN packets into vtep"),
    }
    let port = connector.ini.take("ovs", "vxlan_udp_port").map(|entry| entry.value);
    if let Some(port) = port.filter(|port| *port != VXLAN_PORT.to_string()) {
        page.line(format_args!("vxlan-port = {port}"));
    }
    router_mac(connector, page);
    switch(connector, page);
    let dir = directory(connector, node, clients, page);
    rest(connector, page);
    Some(dir)
}

fn router_mac(connector: &mut Connector, page: &mut Page) {
    let Some(entry) = connector.ini.take("gobgp", "router_mac_type5") else { return };
    page.needless(
        connector.place(entry.line),
        &format!(
            "router_mac_type5 = {}: not carried over: evpnd's is made of the vtep, since every node needs its own; other \
             nodes take the new one from our routes. If this one is of this node alone: router-mac",
            entry.value
        ),
    );
}

fn switch(connector: &mut Connector, page: &mut Page) {
    page.header("[dataplane.ovs]");
    match connector.ini.take("ovs", "switch_name") {
        Some(entry) => page.text("bridge", &entry.value),
        None => page.lost(&connector.name, "no [ovs] switch_name: put the name of the bridge into bridge"),
    }
    page.comment(
        "The port that evpn-connector made is adopted; named like this, it is also found on the way back.",
    );
    page.text("vxlan", VXLAN);
    page.comment(
        "The gateway's MAC as routed clients have it in their ARP tables: evpn-connector's, on every host.",
    );
    page.text("gateway-mac", GATEWAY_MAC);
    for (key, ours, plain) in [
        ("ovs_vsctl_bin_path", "vsctl", "/usr/bin/ovs-vsctl"),
        ("ovs_ofctl_bin_path", "ofctl", "/usr/bin/ovs-ofctl"),
    ] {
        if let Some(entry) = connector.ini.take("ovs", key).filter(|entry| entry.value != plain) {
            page.text(ours, &entry.value);
        }
    }
    if let Some(entry) = connector.ini.take("ovs", "enable_sudo").filter(|entry| is_true(&entry.value)) {
        page.needless(
            connector.place(entry.line),
            "enable_sudo: not needed: evpnd runs as root, or as a user who may write to the sockets of Open vSwitch",
        );
    }
}

fn directory(connector: &mut Connector, node: Node, clients: Option<&Path>, page: &mut Page) -> PathBuf {
    page.header("[clients]");
    let told = connector.ini.take("daemon", "configs_dir");
    let dir = match (clients, told) {
        (Some(dir), _) => dir.to_path_buf(),
        (None, Some(entry)) => PathBuf::from(entry.value),
        (None, None) => {
            page.lost(
                &connector.name,
                "no [daemon] configs_dir: evpn-connector has it from --daemon-configs_dir, then; put its value here, or say \
                 --clients DIR",
            );
            PathBuf::from(CONFIGS_DIR)
        }
    };
    page.text("dir", &dir.to_string_lossy());
    let as_number = connector.as_number();
    let line = connector.ini.take("gobgp", "as_number").map_or(0, |entry| entry.line);
    if node.asn != Some(as_number) && node.asn.is_some() {
        let from = if line == 0 { "its default".to_owned() } else { connector.place(line).to_string() };
        page.comment(&format!(
            "A leading 0 in imp_rt and exp_rt (\"0:10\") goes on meaning evpn-connector's as_number ({from}), which is not \
             gobgpd's AS. Its other use, route distinguishers that are the same on every host, has ended."
        ));
        page.line(format_args!("rt-asn = {as_number}"));
    }
    dir
}

/// Tells of everything that is left.
fn rest(connector: &mut Connector, page: &mut Page) {
    page.empty();
    let name = connector.name.clone();
    for (section, switch, why) in SWITCHES {
        let on = connector.ini.get(section, switch).filter(|entry| is_true(&entry.value)).cloned();
        if let Some(entry) = on {
            page.lost(Place(&name, entry.line), &format!("[{section}] is not carried over: {why}"));
        }
        connector.ini.entries.retain(|entry| entry.section != *section);
    }
    if let Some(entry) = connector.ini.take("gobgp", "fail_static").filter(|entry| is_true(&entry.value)) {
        page.lost(
            Place(&name, entry.line),
            "fail_static is not carried over: flows of routes go when their session is lost; two route reflectors are the way",
        );
    }
    connector.ini.take("gobgp", "fail_static_min_peers");
    let anycast = connector.ini.entries.iter().find(|entry| entry.section == "anycast").cloned();
    if let Some(entry) = anycast {
        page.lost(
            Place(&name, entry.line),
            "[anycast] is not carried over: \"anycast\" of client files is not in evpnd; clients without it are not concerned",
        );
        connector.ini.entries.retain(|entry| entry.section != "anycast");
    }
    let mut told: Vec<(&str, &str)> = Vec::new();
    for Entry { section, key, line, .. } in &connector.ini.entries {
        let place = Place(&name, *line);
        let known = NEEDLESS.iter().find(|(s, k, _)| s == section && (k.is_empty() || k == key));
        match known {
            Some((section, key, _)) if told.contains(&(section, key)) => {}
            Some((section, key, why)) => {
                told.push((section, key));
                let what = if key.is_empty() { format!("[{section}]") } else { format!("[{section}] {key}") };
                page.needless(place, &format!("{what}: not needed: {why}"));
            }
            None => page.lost(place, &format!("[{section}] {key} is not carried over: it is not known here")),
        }
    }
}
