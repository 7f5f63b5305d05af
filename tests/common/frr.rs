//! FRR (bgpd + zebra) in a node, started by hand: no watchfrr, no system service, its files in the node's own /run.
//!
//! The installed one, or the one that lies in `EVPND_FRR` with the libraries it was made for (see `.ci/frr`).

use evpnd::lab::{Error, Node, Result, until};

use super::{PATIENCE, ensure};

/// The directory of an FRR that is newer than the installed one; not set where that is new enough.
const NEWER: &str = "EVPND_FRR";

/// bgpd and zebra running in a node.
#[derive(Debug)]
pub(crate) struct Frr {
    node: Node,
    /// What stands before each path of a program, and the loader that brings its libraries.
    root: String,
    loader: Vec<String>,
}

impl Frr {
    /// Starts both with the given configuration of bgpd.
    pub(crate) fn start(node: &Node, config: &str) -> Result<Self> {
        Self::start_with(node, "", config)
    }

    /// The same, with lines for zebra.
    pub(crate) fn start_with(node: &Node, zebra: &str, config: &str) -> Result<Self> {
        Self { node: node.clone(), root: String::new(), loader: Vec::new() }.run(zebra, config)
    }

    /// Starts an FRR that knows a single VXLAN device (9.0 and newer).
    #[allow(dead_code, reason = "for the tests of tests/vm")]
    pub(crate) fn start_single(node: &Node, config: &str) -> Result<Self> {
        let root = std::env::var(NEWER).unwrap_or_default();
        let mut loader = Vec::new();
        if !root.is_empty() {
            let libraries = format!("{root}/usr/lib/x86_64-linux-gnu");
            loader.push(format!("{libraries}/ld-linux-x86-64.so.2"));
            loader.extend(["--library-path".to_owned(), format!("{libraries}/frr:{libraries}")]);
        }
        Self { node: node.clone(), root, loader }.run("", config)
    }

    fn run(self, zebra: &str, config: &str) -> Result<Self> {
        let (node, installed) = (&self.node, self.program("/usr/lib/frr/bgpd"));
        ensure(installed.last().is_some_and(|path| std::path::Path::new(path).is_file()), || {
            match self.root.as_str() {
                "" => "FRR is not installed (Debian package frr)".to_owned(),
                _ => "Debian 13's FRR is not there: see what .ci/frr says".to_owned(),
            }
        })?;
        node.sh("grep -q allow /proc/self/setgroups").map_err(|_| {
            Error::new("FRR changes its user: run the tests as root, not in a user namespace")
        })?;
        node.sh("install -d -m 755 -o frr -g frr /run/frr")?;
        node.write("/run/frr/zebra.conf", &format!("hostname zebra\n{zebra}"))?;
        node.write("/run/frr/bgpd.conf", config)?;
        for daemon in ["zebra", "bgpd"] {
            let conf = format!("/run/frr/{daemon}.conf");
            let mut argv = self.program(&format!("/usr/lib/frr/{daemon}"));
            argv.extend(["-f", &conf, "-A", "127.0.0.1", "--log", "stdout"].map(str::to_owned));
            node.spawn(daemon, &argv.iter().map(String::as_str).collect::<Vec<_>>())?;
            until(PATIENCE, || {
                if !node.running(daemon) {
                    return Err(Error::last(format!("{daemon} ended:\n{}", node.log(daemon))));
                }
                self.vtysh_to(daemon, "show version").map(drop)
            })?;
        }
        Ok(self)
    }

    /// The words that run a program of this FRR.
    fn program(&self, path: &str) -> Vec<String> {
        self.loader.iter().cloned().chain([format!("{}{path}", self.root)]).collect()
    }

    fn vtysh_to(&self, daemon: &str, command: &str) -> Result<String> {
        let vtysh = self.program("/usr/bin/vtysh");
        let mut argv = vec!["timeout", "20"];
        argv.extend(vtysh.iter().map(String::as_str));
        argv.extend(["-d", daemon, "-c", command]);
        self.node.run(&argv)
    }

    /// What a `show … json` command gives.
    pub(crate) fn json(&self, daemon: &str, command: &str) -> Result<serde_json::Value> {
        let text = self.vtysh_to(daemon, command)?;
        serde_json::from_str(&text).map_err(|e| Error::new(format!("vtysh {command}: {e}: {text}")))
    }
}
