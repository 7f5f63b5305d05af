//! How the kernel backend is to make, name and find devices.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// The longest name of an interface.
pub(super) const NAME: usize = 15;
/// What is left of it for a prefix: a dash and eight digits follow.
const PREFIX: usize = NAME - 9;

/// Which devices carry the VNIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A bridge and a VXLAN device for each VNI.
    DevicePerVni,
    /// One bridge that knows VLANs and one VXLAN device for all VNIs, each of which is a VLAN of this host.
    SingleDevice,
}

/// How the kernel backend makes, names and finds devices.
#[derive(Clone, Debug)]
pub struct KernelConfig {
    /// Which devices carry the VNIs.
    pub layout: Layout,
    /// Prefix of the names of bridges; the name of the one bridge of [`Layout::SingleDevice`].
    pub bridge: String,
    /// Prefix of the names of VXLAN devices; the name of the one of [`Layout::SingleDevice`].
    pub vxlan: String,
    /// The source address of VXLAN packets.
    pub vtep: IpAddr,
    /// UDP port of VXLAN; 4789.
    pub port: u16,
    /// Make, repair and delete devices. Without, the VXLAN device that carries a VNI is looked for, and its bridge
    /// used.
    pub manage_devices: bool,
    /// Tell of the VNIs that others set up on devices which are there, and use these as they are: nothing is made.
    pub discover: bool,
    /// Where it is kept which ports were attached, for the run after this one; without, that is forgotten.
    pub ports: Option<PathBuf>,
    /// Size of the receive buffer for events. When it overflows, everything is compared again.
    pub receive_buffer: usize,
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self {
            layout: Layout::DevicePerVni,
            bridge: "br-evpn".into(),
            vxlan: "vxlan1".into(),
            vtep: Ipv4Addr::UNSPECIFIED.into(),
            port: 4789,
            manage_devices: true,
            discover: false,
            ports: None,
            receive_buffer: 32 << 20,
        }
    }
}

impl KernelConfig {
    /// Checks the names; the error says which key is wrong and why.
    pub fn validate(&self) -> Result<(), String> {
        let whole = self.layout == Layout::SingleDevice;
        let what = if whole { "an interface name" } else { "a prefix of interface names" };
        for (key, prefix) in [("bridge", &self.bridge), ("vxlan", &self.vxlan)] {
            let fits = (1..=NAME).contains(&prefix.len());
            let clean = prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            if !fits || !clean {
                return Err(format!(
                    "{key}: {what} has 1 to {NAME} letters, digits, dashes, dots and underscores"
                ));
            }
        }
        if whole && self.bridge == self.vxlan {
            return Err("bridge and vxlan: the names must differ".to_owned());
        }
        if !whole && cut(&self.bridge, PREFIX) == cut(&self.vxlan, PREFIX) {
            return Err(format!(
                "bridge and vxlan: the prefixes must differ in their first {PREFIX} characters"
            ));
        }
        Ok(())
    }
}

/// So much of a prefix, without a dash at the seam.
pub(super) fn cut(prefix: &str, len: usize) -> &str {
    prefix.get(..len).unwrap_or(prefix).trim_end_matches('-')
}
