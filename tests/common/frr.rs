//! FRR (bgpd + zebra) in a node, started by hand: no watchfrr, no system service, its files in the node's own /run.

use evpnd::lab::{Error, Node, Result, until};

use super::{PATIENCE, ensure};

const DIR: &str = "/usr/lib/frr";

/// bgpd and zebra running in a node.
#[derive(Debug)]
pub(crate) struct Frr {
    node: Node,
}

impl Frr {
    /// Starts both with the given configuration of bgpd.
    pub(crate) fn start(node: &Node, config: &str) -> Result<Self> {
        Self::start_with(node, "", config)
    }

    /// The same, with lines for zebra.
    pub(crate) fn start_with(node: &Node, zebra: &str, config: &str) -> Result<Self> {
        ensure(std::path::Path::new(DIR).join("bgpd").is_file(), || {
            "FRR is not installed (Debian package frr)".to_owned()
        })?;
        node.sh("grep -q allow /proc/self/setgroups").map_err(|_| {
            Error::new("FRR changes its user: run the tests as root, not in a user namespace")
        })?;
        node.sh("install -d -m 755 -o frr -g frr /run/frr")?;
        node.write("/run/frr/zebra.conf", &format!("hostname zebra\n{zebra}"))?;
        node.write("/run/frr/bgpd.conf", config)?;
        let frr = Self { node: node.clone() };
        for daemon in ["zebra", "bgpd"] {
            let (path, conf) = (format!("{DIR}/{daemon}"), format!("/run/frr/{daemon}.conf"));
            node.spawn(daemon, &[&path, "-f", &conf, "-A", "127.0.0.1", "--log", "stdout"])?;
            until(PATIENCE, || {
                if !node.running(daemon) {
                    return Err(Error::last(format!("{daemon} ended:\n{}", node.log(daemon))));
                }
                frr.vtysh_to(daemon, "show version").map(drop)
            })?;
        }
        Ok(frr)
    }

    fn vtysh_to(&self, daemon: &str, command: &str) -> Result<String> {
        self.node.run(&["timeout", "10", "vtysh", "-d", daemon, "-c", command])
    }

    /// What a `show … json` command gives.
    pub(crate) fn json(&self, daemon: &str, command: &str) -> Result<serde_json::Value> {
        let text = self.vtysh_to(daemon, command)?;
        serde_json::from_str(&text).map_err(|e| Error::new(format!("vtysh {command}: {e}: {text}")))
    }
}
