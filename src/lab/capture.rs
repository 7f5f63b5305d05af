//! The bytes on the wire: tcpdump writes them, tshark reads them.

use std::time::Duration;

use super::node::Node;
use super::{Error, Result, until};

const FILE: &str = "/run/log/capture.pcap";

/// A tcpdump that runs in a node.
#[derive(Debug)]
pub struct Capture {
    node: Node,
}

impl Node {
    /// Starts to capture what passes a device and matches the filter; returns when it does.
    pub fn capture(&self, device: &str, filter: &str) -> Result<Capture> {
        self.spawn("tcpdump", &["tcpdump", "-Z", "root", "-n", "-U", "-i", device, "-w", FILE, filter])?;
        until(Duration::from_secs(10), || {
            let log = self.log("tcpdump");
            if log.contains("listening on") {
                Ok(())
            } else if self.running("tcpdump") {
                Err(Error::new("tcpdump does not start"))
            } else {
                Err(Error::last(format!("{}: tcpdump ended: {log}", self.name())))
            }
        })?;
        Ok(Capture { node: self.clone() })
    }
}

impl Capture {
    /// The packets so far that match a display filter, each as the values of some fields; several values of one field
    /// are joined by commas.
    pub fn fields(&self, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
        let mut argv = vec!["tshark", "-n", "-r", FILE, "-Y", filter, "-T", "fields"];
        argv.extend(fields.iter().flat_map(|field| ["-e", field]));
        let text = self.node.run(&argv)?;
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// The packets so far that match a display filter, as tshark's full decoding in text.
    pub fn text(&self, filter: &str) -> Result<String> {
        self.node.run(&["tshark", "-n", "-r", FILE, "-Y", filter, "-V"])
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.node.signal("tcpdump", "INT");
    }
}
