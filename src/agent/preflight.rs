//! What can be seen to be wrong with this host before anything on it is changed: no right to change its network, or
//! an interface that is not there. What vanishes later is waited for; what was never there is most likely a typo.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::UdpSocket;

use anyhow::{Result, bail};

use crate::config::{Config, Dataplane};

/// capabilities(7): CAP_NET_ADMIN.
const CAP_NET_ADMIN: u64 = 1 << 12;

/// Looks at what `wanted` needs, as far as `running` did not need it already.
///
/// Open vSwitch is not looked for here: it may come later, and what keeps it away is told, and tried again, by the
/// dataplane.
///
/// # Errors
/// What is missing, in one line.
pub(super) fn check(wanted: &Config, running: Option<&Config>) -> Result<()> {
    if !matches!(wanted.dataplane, Dataplane::Kernel(_)) {
        return Ok(());
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if effective(&status).is_some_and(|held| held & CAP_NET_ADMIN == 0) {
        bail!("no permission to change the network: run evpnd as root, or with the capability CAP_NET_ADMIN");
    }
    // Of the network namespace this process is in; /sys/class/net may be of another one.
    let present = || fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    if let Some(what) = missing(wanted, running, present) {
        bail!(what);
    }
    Ok(())
}

/// Says what may well be meant so, but most likely is not: the VTEP's address may come later, as that of a loopback
/// that somebody else sets up.
pub(super) fn hint(config: &Config) {
    let Some(vtep) = config.vtep().filter(|_| !matches!(config.dataplane, Dataplane::None { .. })) else {
        return;
    };
    let bound = UdpSocket::bind((vtep, 0));
    if bound.is_err_and(|e| e.kind() == ErrorKind::AddrNotAvailable) {
        tracing::warn!(
            "dataplane.vtep {vtep} is not on any interface: no VXLAN packet is sent or received until it is"
        );
    }
}

/// The effective capabilities in `/proc/self/status`.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The first interface that is neither in `/proc/net/dev` nor in use already.
fn missing(wanted: &Config, running: Option<&Config>, present: impl FnOnce() -> String) -> Option<String> {
    let used: BTreeSet<&str> = running.iter().flat_map(|c| interfaces(c)).map(|(_, name)| name).collect();
    let mut new = interfaces(wanted).filter(|(_, name)| !used.contains(name)).peekable();
    // A line for each interface there is, with all that was counted on it: not written for nothing.
    new.peek()?;
    let present = present();
    let present: BTreeSet<&str> =
        present.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    let (vni, name) = new.find(|(_, name)| !present.contains(name))?;
    Some(format!("l2vni {vni}: interfaces: there is no interface {name}"))
}

fn interfaces(config: &Config) -> impl Iterator<Item = (types::Vni, &str)> {
    config.l2vnis.iter().flat_map(|l2vni| l2vni.interfaces.iter().map(|name| (l2vni.vni, name.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: &str =
        "Inter-|   Receive  |  Transmit\n face |bytes    packets|bytes\n    lo:  0  0\n  tap1: 12  3\n";

    fn config(interfaces: &str) -> Config {
        let text = format!(
            "[router]\nasn = 65001\n[dataplane]\nvtep = \"10.0.0.1\"\n[[l2vni]]\nvni = 100\ninterfaces = {interfaces}\n"
        );
        match Config::parse(&text, "evpnd.toml", std::path::Path::new("/")) {
            Ok(config) => config,
            Err(e) => panic!("{e}"),
        }
    }

    #[test]
    fn an_interface_must_be_there_unless_it_was_in_use() {
        let present = || DEV.to_owned();
        let both = config("[\"tap1\", \"tap2\"]");
        assert_eq!(missing(&config("[\"tap1\"]"), None, present), None);
        assert_eq!(
            missing(&both, None, present).as_deref(),
            Some("l2vni 100: interfaces: there is no interface tap2")
        );
        assert_eq!(missing(&both, Some(&both), || panic!("not looked at")), None);
    }

    #[test]
    fn capabilities_are_read() {
        let status = "Name:\tevpnd\nCapPrm:\t0000000000000000\nCapEff:\t0000000000001000\n";
        assert_eq!(effective(status), Some(CAP_NET_ADMIN));
        assert_eq!(effective("Name:\tevpnd\n"), None);
    }
}
