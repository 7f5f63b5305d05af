//! `evpnd lab run --layout single-device`, from its first line to its last: 18 endpoints in four overlays, on a VXLAN device
//! a host.

use std::fs;
use std::process::Command;

use crate::common::{Error, Result, ensure};

/// What it must show, in this order.
const STEPS: [&str; 16] = [
    "VNIs 22001-22004 on one VXLAN device",
    "22 in a network namespace",
    "11 in all, 4 of 4 VNIs with different ones",
    "22001  h1    2                 e11 10.100.1.101, e14 10.100.1.102",
    "       h2    202 (configured)",
    "22004  h2",
    "68 of 68 pings answered, 28 of them at addresses that another overlay has, too",
    "none of 166 pings answered",
    "h1 9, h2 12, h3 12",
    "15 rows with a VTEP",
    "00:00:00:00:00:00 dev vxlan1 dst 10.0.0.102 src_vni 22001 self",
    "kill -9 of h3's evpnd",
    "the VLANs it had",
    "68 of 68 pings answered",
    "none of 166 pings answered",
    "nothing is left behind",
];

#[test]
fn eighteen_endpoints() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("evpnd-vm-lab-{}", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_evpnd"))
        .args(["lab", "run", "--layout", "single-device", "--pictures"])
        .arg(&dir)
        // Here or nowhere.
        .env("EVPND_LAB_VM", "0")
        .output()
        .map_err(|e| Error::new(format!("evpnd lab: {e}")))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure(output.status.success(), || format!("{}:\n{said}", output.status))?;
    let mut rest = said.as_str();
    for step in STEPS {
        let at =
            rest.find(step).ok_or_else(|| Error::new(format!("no {step:?} at its place in:\n{said}")))?;
        rest = &rest[at..];
    }
    // The controller has heard of no VLAN; the hosts have told theirs.
    for view in ["hosts", "vlans", "overlays"] {
        let picture = fs::read_to_string(dir.join(format!("{view}.svg")))
            .map_err(|e| Error::new(format!("{view}.svg: {e}")))?;
        ensure(picture.contains("VLAN 202") && !picture.contains("VLAN ?"), || picture.clone())?;
    }
    fs::remove_dir_all(&dir).map_err(|e| Error::new(format!("{}: {e}", dir.display())))
}
