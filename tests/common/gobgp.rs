//! gobgpd in a node, and its command line client.

use evpnd::lab::{Error, Node, Result, until};

use super::PATIENCE;

/// gobgpd running in a node.
#[derive(Debug)]
pub(crate) struct Gobgp {
    node: Node,
}

impl Gobgp {
    /// Starts it with a configuration in TOML.
    pub(crate) fn start(node: &Node, config: &str) -> Result<Self> {
        node.write("/run/gobgpd.toml", config)?;
        node.spawn(
            "gobgpd",
            &["gobgpd", "-f", "/run/gobgpd.toml", "--api-hosts", "127.0.0.1:50051", "-l", "info"],
        )?;
        let gobgp = Self { node: node.clone() };
        until(PATIENCE, || {
            if !node.running("gobgpd") {
                return Err(Error::last(format!(
                    "gobgpd ended (Debian package gobgpd): {}",
                    node.log("gobgpd")
                )));
            }
            gobgp.run("global").map(drop)
        })?;
        Ok(gobgp)
    }

    /// Runs `gobgp ARGS` (split at blanks).
    pub(crate) fn run(&self, args: &str) -> Result<String> {
        let mut argv = vec!["timeout", "10", "gobgp"];
        argv.extend(args.split_whitespace());
        self.node.run(&argv)
    }

    /// Runs `gobgp ARGS -j`.
    pub(crate) fn json(&self, args: &str) -> Result<serde_json::Value> {
        let text = self.run(&format!("{args} -j"))?;
        serde_json::from_str(&text).map_err(|e| Error::new(format!("gobgp {args}: {e}: {text}")))
    }
}
