//! The bytes on the wire: dumpcap writes them, tshark reads them (Debian package tshark). tcpdump would do as well, but
//! as root it insists on becoming another user, which a user namespace of one user refuses.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::node::{Node, run};
use super::{Error, Result, until};

/// Each capture is a daemon of its own, also on one device.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A capture that runs in a node.
#[derive(Debug)]
pub struct Capture {
    node: Node,
    daemon: String,
    file: String,
}

impl Node {
    /// Starts to capture what passes a device and matches the filter; returns when it does.
    pub fn capture(&self, device: &str, filter: &str) -> Result<Capture> {
        let daemon = format!("dumpcap-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let file = format!("/run/log/{daemon}.pcapng");
        self.spawn(&daemon, &["dumpcap", "-q", "-i", device, "-f", filter, "-w", &file])?;
        until(Duration::from_secs(10), || {
            let log = self.log(&daemon);
            if log.contains("File:") {
                Ok(())
            } else if self.running(&daemon) {
                Err(Error::new("dumpcap does not start"))
            } else {
                Err(Error::last(format!("{}: dumpcap (Debian package tshark) ended: {log}", self.name())))
            }
        })?;
        Ok(Capture { node: self.clone(), daemon, file })
    }
}

impl Capture {
    /// The packets so far that match a display filter, each as the values of some fields; several values of one field
    /// are joined by commas.
    pub fn fields(&self, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
        let mut argv = vec!["-Y", filter, "-T", "fields"];
        argv.extend(fields.iter().flat_map(|field| ["-e", field]));
        let text = self.tshark(&argv)?;
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// The packets so far that match a display filter, as tshark's full decoding in text.
    pub fn text(&self, filter: &str) -> Result<String> {
        self.tshark(&["-Y", filter, "-V"])
    }

    fn tshark(&self, args: &[&str]) -> Result<String> {
        // Nobody's preferences: what a test reads must not depend on them.
        run(self.node.command("env").args(["HOME=/run", "tshark", "-n", "-r", &self.file]).args(args))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.node.signal(&self.daemon, "INT");
    }
}
